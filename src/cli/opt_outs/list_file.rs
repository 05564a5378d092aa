//! A list of opt-outs as people have it (CSV from a spreadsheet or another system, JSON as exported, one number per line) →
//! its entries, and what in it cannot be read, line by line.
//!
//! Pure: no file, no clock, no database. What a number is, and which groups there are, is not known here. What is said of a bad
//! line shows no number beyond its last four digits.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::cells;

/// A column may be called any of these, whatever the case.
const NUMBER: &[&str] = &["number", "phone", "phone_number"];
const GROUP: &[&str] = &["group", "suppression_group"];
const ASKED_AT: &[&str] = &["opted_out_at"];
const NOTE: &[&str] = &["note"];
const SOURCE: &[&str] = &["source"];
const LIFTED_AT: &[&str] = &["opted_in_at"];
/// What an export has besides, and an import has no use for.
const EXPORTED: &[&str] = &["recorded_at", "keyword", "tier", "message_id", "opted_in_source"];
/// How far ahead a time may lie, for want of a time zone.
const AHEAD_DAYS: u64 = 1;

/// One entry of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// Its line, from 1; in a JSON array its place.
    pub(super) line: u64,
    /// The number as it stands there.
    pub(super) number: String,
    /// The suppression group, if the list names one.
    pub(super) group: Option<String>,
    /// When the person asked, if the list says so.
    pub(super) asked_at: Option<DateTime<Utc>>,
    /// What the list says about it, and by whom it says that the person was opted out.
    pub(super) note: Option<String>,
}

/// Why a line cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bad {
    /// As [`Entry::line`].
    pub(super) line: u64,
    /// Why.
    pub(super) why: String,
}

/// What a list says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct List {
    /// Its opt-outs.
    pub(super) entries: Vec<Entry>,
    /// What cannot be read.
    pub(super) bad: Vec<Bad>,
    /// How many were lifted, says the list: they are not among the entries.
    pub(super) lifted: usize,
    /// How many are of people who were erased: they are not among the entries.
    pub(super) erased: usize,
    /// Columns that are not known here.
    pub(super) ignored: Vec<String>,
}

impl List {
    /// Reads a list; an error if it is none at all.
    pub(super) fn read(bytes: &[u8], now: DateTime<Utc>) -> Result<Self, String> {
        let text = text_of(bytes)?;
        let mut reading = Reading {
            list: Self::default(),
            now,
        };
        match text.trim_start().chars().next() {
            None => {}
            Some('[') => reading.json_array(text)?,
            Some('{') => reading.json_lines(text),
            Some(_) => reading.table(text)?,
        }
        Ok(reading.list)
    }
}

/// The text of a file: UTF-8, with or without the mark that some programs put before it.
fn text_of(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16: save it as CSV in UTF-8".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        let line = 1 + before.matches('\n').count();
        format!("line {line} is not UTF-8: save it as CSV in UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

struct Reading {
    list: List,
    now: DateTime<Utc>,
}

/// The cells of one line that matter, still as text.
#[derive(Default)]
struct Cells<'a> {
    number: &'a str,
    group: &'a str,
    asked_at: &'a str,
    note: &'a str,
    source: &'a str,
    lifted_at: &'a str,
}

impl Reading {
    /// CSV with a header, or one number per line.
    fn table(&mut self, text: &str) -> Result<(), String> {
        let header_line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let delimiter = delimiter_of(header_line);
        let header: Vec<String> = records(header_line, delimiter)
            .next()
            .and_then(Result::ok)
            .map(|record| record.iter().map(column_name).collect())
            .unwrap_or_default();
        match Columns::of(&header) {
            Some(columns) => {
                self.list.ignored = columns.ignored(&header);
                self.rows(text, delimiter, &columns, header.len())
            }
            None if header.len() <= 1 && header_line.contains(|c: char| c.is_numeric()) => {
                self.plain(text);
                Ok(())
            }
            None => Err(format!(
                "the first line names no column `number`: it has `{}`",
                header.iter().map(|name| shown(name)).collect::<Vec<_>>().join("`, `")
            )),
        }
    }

    fn plain(&mut self, text: &str) {
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let cells = Cells {
                number: cells::read(line.trim()),
                ..Cells::default()
            };
            self.entry(number, &cells);
        }
    }

    fn rows(&mut self, text: &str, delimiter: u8, columns: &Columns, width: usize) -> Result<(), String> {
        let mut last = (0, 0);
        let mut is_header = true;
        for record in records(text, delimiter) {
            let record = record.map_err(|error| format!("it cannot be read as CSV: {error}"))?;
            let (line, start) = begin_of(&record, text);
            last = (line, start);
            if std::mem::take(&mut is_header) {
                continue;
            }
            if record.len() > width {
                let why = format!("it has {} cells, and the first line {width}", record.len());
                self.list.bad.push(Bad { line, why });
                continue;
            }
            let cell = |at: Option<usize>| cells::read(at.and_then(|at| record.get(at)).unwrap_or_default());
            let cells = Cells {
                number: cell(Some(columns.number)),
                group: cell(columns.group),
                asked_at: cell(columns.asked_at),
                note: cell(columns.note),
                source: cell(columns.source),
                lifted_at: cell(columns.lifted_at),
            };
            self.entry(line, &cells);
        }
        // A quotation mark that nobody closes makes all that follows one cell: numbers would be lost without a word.
        let rest = text.get(last.1..).unwrap_or_default();
        if rest.matches('"').count() % 2 == 1 {
            return Err(format!("line {} opens a quotation mark that nothing closes", last.0));
        }
        Ok(())
    }

    fn json_array(&mut self, text: &str) -> Result<(), String> {
        let entries: Vec<Value> = serde_json::from_str(text)
            .map_err(|error| format!("it begins as JSON and cannot be read as such: {error}"))?;
        for (place, entry) in (1..).zip(&entries) {
            self.json(place, entry);
        }
        Ok(())
    }

    fn json_lines(&mut self, text: &str) {
        for (place, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Value>(line) {
                Ok(entry) => self.json(place, &entry),
                Err(error) => self.list.bad.push(Bad {
                    line: place,
                    why: format!(
                        "it is not JSON: {}",
                        error.to_string().split(" at line").next().unwrap_or_default()
                    ),
                }),
            }
        }
    }

    fn json(&mut self, line: u64, entry: &Value) {
        let Value::Object(members) = entry else {
            let why = "it is not an object with a member `number`".to_owned();
            self.list.bad.push(Bad { line, why });
            return;
        };
        for name in members.keys().filter(|name| !is_known(name)) {
            if !self.list.ignored.contains(name) {
                self.list.ignored.push(name.clone());
            }
        }
        let cells = Cells {
            number: member(members, NUMBER),
            group: member(members, GROUP),
            asked_at: member(members, ASKED_AT),
            note: member(members, NOTE),
            source: member(members, SOURCE),
            lifted_at: member(members, LIFTED_AT),
        };
        self.entry(line, &cells);
    }

    fn entry(&mut self, line: u64, cells: &Cells<'_>) {
        let given = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        let Some(number) = given(cells.number) else {
            let why = "it has no number".to_owned();
            self.list.bad.push(Bad { line, why });
            return;
        };
        if number.starts_with("hmac:") {
            self.list.erased += 1;
            return;
        }
        if given(cells.lifted_at).is_some() {
            self.list.lifted += 1;
            return;
        }
        match time(cells.asked_at.trim(), self.now) {
            Ok(asked_at) => self.list.entries.push(Entry {
                line,
                number,
                group: given(cells.group),
                asked_at,
                // as it is: it is evidence
                note: noted(given(cells.note).map(|_| cells.note.to_owned()), given(cells.source)),
            }),
            Err(why) => self.list.bad.push(Bad { line, why }),
        }
    }
}

/// The note, and who said so in the system that the list is from.
fn noted(note: Option<String>, source: Option<String>) -> Option<String> {
    match (note, source.filter(|source| source != "import")) {
        (note, None) => note,
        (None, Some(source)) => Some(format!("source: {source}")),
        (Some(note), Some(source)) => Some(format!("{note} (source: {source})")),
    }
}

/// When somebody asked. A day alone is its end: a person who opted out on that day must not be opted in again by what they
/// said in its morning.
fn time(text: &str, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let at = DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .ok()
        .or_else(|| {
            local(
                text,
                &["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"],
            )
        })
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(day.and_time(NaiveTime::from_hms_opt(23, 59, 59)?).and_utc())
        })
        .ok_or_else(|| {
            "its time cannot be read: write it as 2026-11-20T16:30:00-05:00, 2026-11-20 16:30 (in UTC) or 2026-11-20"
                .to_owned()
        })?;
    let latest = now.checked_add_days(Days::new(AHEAD_DAYS)).unwrap_or(now);
    if at > latest {
        return Err("its time lies ahead".to_owned());
    }
    Ok(Some(at.min(now)))
}

fn local(text: &str, formats: &[&str]) -> Option<DateTime<Utc>> {
    let read = |format: &&str| NaiveDateTime::parse_from_str(text, format).ok();
    formats.iter().find_map(read).map(|at| at.and_utc())
}

/// Where the columns are.
struct Columns {
    number: usize,
    group: Option<usize>,
    asked_at: Option<usize>,
    note: Option<usize>,
    source: Option<usize>,
    lifted_at: Option<usize>,
}

impl Columns {
    /// `None` if there is no column of numbers: then the line is no header.
    fn of(header: &[String]) -> Option<Self> {
        let at = |names: &[&str]| header.iter().position(|name| names.contains(&name.as_str()));
        Some(Self {
            number: at(NUMBER)?,
            group: at(GROUP),
            asked_at: at(ASKED_AT),
            note: at(NOTE),
            source: at(SOURCE),
            lifted_at: at(LIFTED_AT),
        })
    }

    fn ignored(&self, header: &[String]) -> Vec<String> {
        let used = [
            Some(self.number),
            self.group,
            self.asked_at,
            self.note,
            self.source,
            self.lifted_at,
        ];
        let unused = header.iter().enumerate().filter(|(at, _)| !used.contains(&Some(*at)));
        unused
            .map(|(_, name)| name)
            .filter(|name| !name.is_empty() && !EXPORTED.contains(&name.as_str()))
            .cloned()
            .collect()
    }
}

fn is_known(name: &str) -> bool {
    [NUMBER, GROUP, ASKED_AT, NOTE, SOURCE, LIFTED_AT, EXPORTED]
        .iter()
        .any(|names| names.contains(&name))
}

/// The first of these members that is text.
fn member<'a>(members: &'a Map<String, Value>, names: &[&str]) -> &'a str {
    let mut texts = names.iter().filter_map(|name| members.get(*name)?.as_str());
    texts.next().unwrap_or_default()
}

fn column_name(cell: &str) -> String {
    cells::read(cell).trim().to_lowercase().replace([' ', '-'], "_")
}

/// What stands between the cells: whichever of these the header has most of, outside quotation marks.
fn delimiter_of(header: &str) -> u8 {
    let mut in_quotes = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for byte in header.bytes() {
        if byte == b'"' {
            in_quotes = !in_quotes;
        }
        for (delimiter, count) in &mut counts {
            *count += usize::from(byte == *delimiter && !in_quotes);
        }
    }
    let mut best = (b',', 0);
    for (delimiter, count) in counts {
        if count > best.1 {
            best = (delimiter, count);
        }
    }
    best.0
}

fn records(text: &str, delimiter: u8) -> impl Iterator<Item = Result<StringRecord, csv::Error>> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(std::io::Cursor::new(text.to_owned().into_bytes()))
        .into_records()
}

/// The line in which a record begins, and its place in the text. The reader's position is that before blank lines.
fn begin_of(record: &StringRecord, text: &str) -> (u64, usize) {
    let (line, start) = record.position().map_or((1, 0), |position| {
        (position.line(), usize::try_from(position.byte()).unwrap_or(usize::MAX))
    });
    let blank = text.get(start..).unwrap_or_default();
    let blank = blank.len() - blank.trim_start_matches(['\r', '\n']).len();
    let skipped = text.get(start..start.saturating_add(blank)).unwrap_or_default();
    let lines = skipped.matches('\n').count();
    (
        line.saturating_add(u64::try_from(lines).unwrap_or_default()),
        start.saturating_add(blank),
    )
}

/// What a cell holds, for a person to recognise it, without any number that it may hold.
pub(super) fn shown(cell: &str) -> String {
    let mut last: Vec<char> = cell.trim().chars().rev().take(4).collect();
    last.reverse();
    let digits = cell.chars().filter(|c| c.is_numeric()).count();
    let whole = cell.chars().count();
    if digits > 4 || whole > 40 {
        format!("…{}", last.into_iter().collect::<String>())
    } else {
        cell.chars().filter(|c| !c.is_control()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn read(text: &str) -> List {
        List::read(text.as_bytes(), now()).unwrap()
    }

    fn refused(text: &str) -> String {
        List::read(text.as_bytes(), now()).unwrap_err()
    }

    fn entry(line: u64, number: &str) -> Entry {
        Entry {
            line,
            number: number.to_owned(),
            group: None,
            asked_at: None,
            note: None,
        }
    }

    #[test]
    fn a_list_of_numbers_needs_no_header() {
        let list = read("\u{feff}+12025550143\r\n\r\n'+12025550144\r\n 1 202 555 0145 \r\n");
        let expected = [
            entry(1, "+12025550143"),
            entry(3, "+12025550144"),
            entry(4, "1 202 555 0145"),
        ];
        assert_eq!(list.entries, expected);
        assert!(list.bad.is_empty());
        assert_eq!(read(""), List::default());
        assert_eq!(read("number\n"), List::default());
    }

    #[test]
    fn columns_are_found_by_name_whatever_stands_between_them() {
        let full = Entry {
            group: Some("shop".to_owned()),
            asked_at: Some("2026-11-20T09:14:03Z".parse().unwrap()),
            note: Some("by phone, twice (source: operator)".to_owned()),
            ..entry(2, "+12025550143")
        };
        for list in [
            "Number,Group,Opted-out at,note,source\n'+12025550143,shop,2026-11-20T09:14:03Z,\"by phone, twice\",operator\n",
            "\"number\";group;opted_out_at;note;source\n+12025550143;shop;2026-11-20 09:14:03;by phone, twice;operator\n",
            "note\tphone number\tsource\tsuppression_group\topted out at\nby phone, twice\t+12025550143\toperator\tshop\t2026-11-20T10:14:03+01:00\n",
            "[{\"note\": \"by phone, twice\"}]",
        ] {
            if list.starts_with('[') {
                assert_eq!(read(list).bad[0].why, "it has no number");
                continue;
            }
            assert_eq!(read(list).entries, std::slice::from_ref(&full), "{list}");
        }
    }

    #[test]
    fn unknown_columns_are_named_and_exported_ones_are_not() {
        assert_eq!(
            read("number,colour,recorded_at\n+12025550143,blue,\n").ignored,
            ["colour"]
        );
        assert_eq!(
            read("{\"number\": \"+12025550143\", \"colour\": \"blue\"}\n").ignored,
            ["colour"]
        );
    }

    #[test]
    fn every_bad_line_is_named_by_its_number() {
        let list = read("number,opted_out_at\n\n,\n+12025550143,11/20/2026\n\n\"+12025550144\",2999-01-01\n+1,2,3\n");
        let lines: Vec<u64> = list.bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [3, 4, 6, 7], "{:?}", list.bad);
        assert!(list.bad[1].why.contains("2026-11-20T16:30:00-05:00"), "{:?}", list.bad);
        assert!(list.bad[2].why.contains("ahead"), "{:?}", list.bad);
        assert!(list.bad[3].why.contains("3 cells"), "{:?}", list.bad);
        let lines = read("{\"number\": \"+12025550143\"}\nnonsense\n[]\n");
        assert_eq!(lines.entries, [entry(1, "+12025550143")]);
        assert_eq!(lines.bad.len(), 2);
    }

    #[test]
    fn what_is_no_list_is_refused_as_a_whole() {
        assert!(refused("name,mobile\nJo,+12025550143\n").contains("no column `number`: it has `name`, `mobile`"));
        let headless = refused("+12025550143,Jo\n");
        assert!(
            headless.contains("…0143") && !headless.contains("2025550143"),
            "{headless}"
        );
        assert!(refused("[{\"number\": ").contains("JSON"));
        let unclosed = refused("number,note\n+12025550143,\"by phone\n+12025550144,x\n");
        assert!(unclosed.contains("line 2 opens a quotation mark"), "{unclosed}");
        let utf16: Vec<u8> = "number".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16 = [&[0xff, 0xfe], utf16.as_slice()].concat();
        assert!(List::read(&utf16, now()).unwrap_err().contains("UTF-16"));
        let latin = b"number,note\n+12025550143,Jos\xe9\n";
        assert!(List::read(latin, now()).unwrap_err().contains("line 2 is not UTF-8"));
    }

    #[test]
    fn lifted_opt_outs_and_erased_people_are_no_entries() {
        let list = read("number,opted_in_at\n+12025550143,2026-11-20T09:14:03Z\nhmac:00ff,\n+12025550144,\n");
        assert_eq!((list.lifted, list.erased), (1, 1));
        assert_eq!(list.entries, [entry(4, "+12025550144")]);
    }

    #[test]
    fn a_day_alone_is_its_end_and_never_ahead() {
        let at = |text: &str| time(text, now()).unwrap().unwrap().to_rfc3339();
        assert_eq!(at("2026-11-20"), "2026-11-20T23:59:59+00:00");
        assert_eq!(at("2026-11-21"), "2026-11-21T12:00:00+00:00");
        assert_eq!(at("2026-11-20 16:30"), "2026-11-20T16:30:00+00:00");
        assert_eq!(time("", now()), Ok(None));
    }
}
