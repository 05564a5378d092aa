//! Lists of opt-outs in and out: `opt-outs import` and `opt-outs export`.
//!
//! An import is understood as a whole before anything of it is recorded; an export holds no more than a page of rows. Numbers go
//! to the list and to nowhere else: what is said about them shows their last four digits.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::list_file::{self, Bad, Entry, List};
use super::whom::{self, Group, Reach, Scope};
use super::{Database, cells};
use crate::cli::database;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::config::Config;
use crate::store::{Imported, ListedOptOut, OptOutPages, OptOutRow};

/// Opt-outs recorded in one transaction: each holds a lock, and Postgres has room for a few thousand by default.
const AT_ONCE: usize = 500;
/// The chunks of a long list before which the database counts what it has by now.
const COUNTED_BEFORE: [usize; 3] = [2, 20, 200];
/// Bad lines that are shown.
const SHOWN: usize = 20;

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(in crate::cli) enum Format {
    /// Comma-separated values, RFC 4180
    #[default]
    Csv,
    /// One array of objects
    Json,
}

/// One row of an export; its names are those of the columns.
#[derive(Serialize)]
struct Exported<'a> {
    number: &'a str,
    group: &'a str,
    opted_out_at: String,
    recorded_at: String,
    source: &'a str,
    keyword: Option<&'a str>,
    tier: Option<i16>,
    note: Option<&'a str>,
    message_id: Option<String>,
    opted_in_at: Option<String>,
    opted_in_source: Option<&'a str>,
}

const COLUMNS: [&str; 11] = [
    "number",
    "group",
    "opted_out_at",
    "recorded_at",
    "source",
    "keyword",
    "tier",
    "note",
    "message_id",
    "opted_in_at",
    "opted_in_source",
];

impl<'a> Exported<'a> {
    fn of(row: &'a OptOutRow) -> Self {
        // to the microsecond, as it is kept: what is imported again must not be older than it was
        let exact = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        Self {
            number: &row.number,
            group: &row.suppression_group,
            opted_out_at: exact(row.opted_out_at),
            recorded_at: exact(row.recorded_at),
            source: &row.source,
            keyword: row.keyword.as_deref(),
            tier: row.tier,
            note: row.note.as_deref(),
            message_id: row.message_id.map(|id| id.to_string()),
            opted_in_at: row.opted_in_at.map(exact),
            opted_in_source: row.opted_in_source.as_deref(),
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let text = |text: &str| cells::written(text).into_owned();
        let perhaps = |given: Option<&str>| given.map(text).unwrap_or_default();
        [
            text(self.number),
            text(self.group),
            self.opted_out_at.clone(),
            self.recorded_at.clone(),
            text(self.source),
            perhaps(self.keyword),
            self.tier.map(|tier| tier.to_string()).unwrap_or_default(),
            perhaps(self.note),
            perhaps(self.message_id.as_deref()),
            perhaps(self.opted_in_at.as_deref()),
            perhaps(self.opted_in_source),
        ]
    }
}

/// `opt-outs export`.
pub(super) async fn export(
    database: &Database,
    format: Format,
    ended: bool,
    scope: &Scope,
    to: Option<&Path>,
) -> Result<(), Failure> {
    let group = whom::chosen(&database.config, scope)?.map(|group| group.name);
    let pages = database
        .store
        .export_opt_outs(ended, group)
        .await
        .map_err(database::failed)?;
    let Some(path) = to.filter(|path| !whom::is_stream(path)) else {
        let written = write_list(pages, format, BufWriter::new(io::stdout()), "standard output").await;
        return written.map(drop);
    };
    let draft = Draft::beside(path)?;
    let name = format!("`{}`", path.display());
    let file = draft.file.try_clone().with_context(|| format!("writing to {name}"))?;
    let rows = write_list(pages, format, BufWriter::new(file), &name).await?;
    draft.keep_as(path)?;
    output::note(&format!("{rows} opt-outs are in `{}`", path.display()));
    Ok(())
}

async fn write_list(mut pages: OptOutPages, format: Format, out: impl Write, place: &str) -> Result<usize, Failure> {
    let mut sink = output::written(Sink::open(format, out), place)?;
    let mut rows = 0;
    loop {
        let page = pages.next_page().await.map_err(database::failed)?;
        if page.is_empty() {
            break;
        }
        rows += page.len();
        output::written(page.iter().try_for_each(|row| sink.write(&Exported::of(row))), place)?;
    }
    output::written(sink.close(), place)?;
    Ok(rows)
}

/// A list that is being written.
enum Sink<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Json { out: W, is_first: bool },
}

impl<W: Write> Sink<W> {
    fn open(format: Format, mut out: W) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new()
                    .terminator(csv::Terminator::CRLF)
                    .from_writer(out);
                writer.write_record(COLUMNS).map_err(plain)?;
                Self::Csv(Box::new(writer))
            }
            Format::Json => {
                out.write_all(b"[")?;
                Self::Json { out, is_first: true }
            }
        })
    }

    fn write(&mut self, row: &Exported<'_>) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.write_record(row.cells()).map_err(plain),
            Self::Json { out, is_first } => {
                out.write_all(if std::mem::take(is_first) { b"\n" } else { b",\n" })?;
                serde_json::to_writer(out, row).map_err(io::Error::from)
            }
        }
    }

    fn close(self) -> io::Result<()> {
        match self {
            Self::Csv(mut writer) => writer.flush(),
            Self::Json { mut out, .. } => out.write_all(b"\n]\n").and_then(|()| out.flush()),
        }
    }
}

/// The error beneath: a reader who has gone away must be recognised.
fn plain(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// A file that gets its name when it is whole: nobody must take half a list for all of it.
struct Draft {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn beside(path: &Path) -> Result<Self, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let draft = path.with_file_name(name);
        // Numbers are nobody else's business.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .with_context(|| format!("writing to `{}`", path.display()))?;
        Ok(Self {
            file,
            path: draft,
            is_kept: false,
        })
    }

    fn keep_as(mut self, path: &Path) -> Result<(), Failure> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, path))
            .with_context(|| format!("writing to `{}`", path.display()))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // The failure that brought us here has been reported; what is left is a file called partial.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// `opt-outs import`.
pub(super) async fn import(
    database: &Database,
    file: &Path,
    reach: &Reach,
    note: Option<&str>,
    skips_bad: bool,
) -> Result<(), Failure> {
    let name = if whom::is_stream(file) {
        "standard input".to_owned()
    } else {
        format!("`{}`", file.display())
    };
    let bytes = bytes_of(file).with_context(|| format!("reading {name}"))?;
    let list = List::read(&bytes, Utc::now()).map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
    let understood = Understood::of(&database.config, reach, note, &list)?;
    remark(&list, &understood);
    if !understood.bad.is_empty() && !skips_bad {
        return Err(Failure::hinted(
            anyhow::anyhow!(
                "{name}: {} of {} entries cannot be taken; nothing was imported",
                understood.bad.len(),
                understood.bad.len() + understood.good
            ),
            "mend those lines, or leave them out with `--skip-bad`",
        ));
    }
    database.store.check_erasure_key().await.map_err(database::failed)?;
    for (group, listed) in &understood.groups {
        let imported = record(database, group, listed).await?;
        output::print(&format!(
            "group `{group}`: {} new, {} in force already, {} opted in later",
            imported.began, imported.in_force, imported.superseded
        ))?;
    }
    if understood.groups.is_empty() {
        output::note("there was nothing to import");
    }
    Ok(())
}

fn bytes_of(file: &Path) -> io::Result<Vec<u8>> {
    if whom::is_stream(file) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    fs::read(file)
}

async fn record(database: &Database, group: &str, listed: &[ListedOptOut]) -> Result<Imported, Failure> {
    let mut imported = Imported::default();
    for (nth, chunk) in listed.chunks(AT_ONCE).enumerate() {
        if COUNTED_BEFORE.contains(&nth) {
            database.store.count_consent_anew().await.map_err(database::failed)?;
        }
        match database.store.import_opt_outs(group, chunk).await {
            Ok(more) => imported += more,
            Err(error) => {
                let done = imported.began + imported.in_force + imported.superseded;
                output::note(&format!(
                    "{done} of the {} opt-outs of group `{group}` are recorded; import the list again for the rest",
                    listed.len()
                ));
                return Err(database::failed(error));
            }
        }
    }
    Ok(imported)
}

/// A list with its numbers read and its groups found.
struct Understood<'a> {
    /// Each number once for each group.
    groups: BTreeMap<&'a str, Vec<ListedOptOut>>,
    /// What cannot be taken, in the order of the lines.
    bad: Vec<Bad>,
    /// Entries that can be taken.
    good: usize,
    /// Entries that repeat another's number.
    repeated: usize,
}

impl<'a> Understood<'a> {
    fn of(config: &'a Config, reach: &Reach, note: Option<&str>, list: &List) -> Result<Self, Failure> {
        let said = said_for_all(config, reach)?;
        let known = whom::groups(config);
        let mut understood = Self {
            groups: BTreeMap::new(),
            bad: list.bad.clone(),
            good: 0,
            repeated: 0,
        };
        let mut places = BTreeMap::new();
        for entry in &list.entries {
            match listed(&said, &known, entry, note) {
                Ok(each) => {
                    understood.good += 1;
                    for (group, listed) in each {
                        understood.add(&mut places, group, listed);
                    }
                }
                Err(why) => understood.bad.push(Bad { line: entry.line, why }),
            }
        }
        understood.bad.sort_by_key(|bad| bad.line);
        Ok(understood)
    }

    /// Of two entries for one number the later request counts.
    fn add(&mut self, places: &mut BTreeMap<(&'a str, String), usize>, group: &'a str, listed: ListedOptOut) {
        let of_group = self.groups.entry(group).or_default();
        let key = (group, listed.address.suppression_key());
        let Some(before) = places.get(&key).and_then(|&place| of_group.get_mut(place)) else {
            places.insert(key, of_group.len());
            of_group.push(listed);
            return;
        };
        self.repeated += 1;
        // none means now, which is later than any time
        if before
            .asked_at
            .is_some_and(|at| listed.asked_at.is_none_or(|other| other > at))
        {
            *before = listed;
        }
    }
}

/// The groups that were named for the whole list; none if each line is asked.
fn said_for_all<'a>(config: &'a Config, reach: &Reach) -> Result<Vec<Group<'a>>, Failure> {
    if reach.all_groups {
        return Ok(whom::groups(config));
    }
    Ok(whom::chosen(config, &reach.scope)?.into_iter().collect())
}

/// What one entry asks for, in which groups.
fn listed<'a>(
    said: &[Group<'a>],
    known: &[Group<'a>],
    entry: &Entry,
    note: Option<&str>,
) -> Result<Vec<(&'a str, ListedOptOut)>, String> {
    let names = || known.iter().map(|group| group.name).collect::<Vec<_>>().join("`, `");
    let groups = match (said, entry.group.as_deref(), known) {
        ([_, ..], _, _) => said.to_vec(),
        ([], Some(name), _) => known.iter().copied().filter(|group| group.name == name).collect(),
        ([], None, &[only]) => vec![only],
        ([], None, _) => {
            return Err(format!(
                "it names no group: add a column `group`, or `--group` for all lines (the configuration has `{}`)",
                names()
            ));
        }
    };
    if groups.is_empty() {
        let name = list_file::shown(entry.group.as_deref().unwrap_or_default());
        return Err(format!(
            "there is no suppression group `{name}`: the configuration has `{}`",
            names()
        ));
    }
    let each = groups.into_iter().map(|group| {
        let address = whom::read(&entry.number, group).ok_or_else(|| {
            format!(
                "`{}` is not a number (group `{}` reads them as `{}`): write it with its country code",
                list_file::shown(&entry.number),
                group.name,
                group.numbers
            )
        })?;
        let listed = ListedOptOut {
            address,
            asked_at: entry.asked_at,
            note: entry.note.clone().or_else(|| note.map(str::to_owned)),
        };
        Ok((group.name, listed))
    });
    each.collect()
}

/// What the operator should know about the list, before anything else.
fn remark(list: &List, understood: &Understood<'_>) {
    if !list.ignored.is_empty() {
        let names: Vec<String> = list.ignored.iter().map(|name| list_file::shown(name)).collect();
        output::note(&format!(
            "ignored, because nothing here is called so: `{}`",
            names.join("`, `")
        ));
    }
    let counts = [
        (list.lifted, "were lifted, says the list: not imported"),
        (
            list.erased,
            "are of people who were erased: nobody can tell who they are, not imported",
        ),
        (
            understood.repeated,
            "name a number that another line has: the later request counts",
        ),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        output::note(&format!("{count} entries {what}"));
    }
    for bad in understood.bad.iter().take(SHOWN) {
        output::note(&format!("line {}: {}", bad.line, bad.why));
    }
    if let Some(more) = understood.bad.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        output::note(&format!("and {more} more"));
    }
}
