//! The texts to send: from the command line, from a file, counted up for a burst, or cut into parts.
//!
//! It must not know how a gateway writes them down, nor send anything.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use crate::cli::failure::Failure;
use crate::gateway::parts_of;

/// 555-0100 to 555-0199 belong to nobody (ATIS-0300115, numbers for fictional use).
pub(in crate::cli) const FICTIONAL_SENDER: &str = "+12025550143";
/// See [`FICTIONAL_SENDER`].
pub(in crate::cli) const FICTIONAL_RECIPIENT: &str = "+12025550100";

/// The columns of a file of texts.
const COLUMNS: [&str; 3] = ["from", "to", "text"];
/// Bad lines that are shown; a wrong file has thousands.
const MOST_SHOWN: usize = 20;

/// What somebody would send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sms {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) text: String,
}

/// Reads `from`, `to` and `text`, separated by tabs, one text per line; `-` is standard input. A first line with these
/// words is a header. Every bad line is named.
pub(super) fn read(file: &Path) -> Result<Vec<Sms>, Failure> {
    let content = if file == Path::new("-") {
        let mut content = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut content);
        read.map(|_bytes| content)
            .context("reading texts from standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("reading texts from `{}`", file.display()))?
    };
    table(&content).map_err(|bad| {
        let shown = bad.iter().take(MOST_SHOWN).map(|line| format!("\n  {line}"));
        let said = shown.collect::<String>();
        let more = match bad.len().saturating_sub(MOST_SHOWN) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        Failure::hinted(
            anyhow::anyhow!("`{}` has lines that are no texts:{said}{more}", file.display()),
            "each line is the sender, the recipient and the text, with a tab between them",
        )
    })
}

/// The texts, or what is wrong with which lines; never the text itself, which is a person's.
fn table(content: &str) -> Result<Vec<Sms>, Vec<String>> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut texts = Vec::new();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(content.lines()) {
        if line.trim_matches(' ').is_empty() || (number == 1 && is_header(line)) {
            continue;
        }
        match row(line) {
            Ok(text) => texts.push(text),
            Err(why) => bad.push(format!("line {number}: {why}")),
        }
    }
    if texts.is_empty() && bad.is_empty() {
        bad.push("it has none at all".to_owned());
    }
    if bad.is_empty() { Ok(texts) } else { Err(bad) }
}

fn is_header(line: &str) -> bool {
    line.split('\t')
        .map(|cell| cell.trim().to_ascii_lowercase())
        .eq(COLUMNS)
}

fn row(line: &str) -> Result<Sms, String> {
    let mut cells = line.splitn(COLUMNS.len(), '\t');
    let mut number = |column: &str| match cells.next().map(str::trim) {
        None | Some("") => Err(format!("there is no `{column}`")),
        Some(cell) => Ok(cell.to_owned()),
    };
    let (from, to) = (number("from")?, number("to")?);
    let text = cells.next().ok_or("there is no `text`; a tab must stand before it")?;
    Ok(Sms {
        from,
        to,
        text: text.to_owned(),
    })
}

/// The `nth` of a burst, from 1: no two are the same. Where nobody said who sends, as many senders as there are numbers for
/// fiction take turns, since a burst from one phone is one conversation.
pub(super) fn of_a_burst(text: &str, from: Option<&str>, to: &str, nth: u32) -> Sms {
    let from = from.map_or_else(|| format!("+120255501{:02}", nth % 100), str::to_owned);
    Sms {
        from,
        to: to.to_owned(),
        text: format!("{text} {nth}"),
    }
}

/// A second text, for the same message ID.
pub(super) fn another(text: &Sms) -> Sms {
    Sms {
        text: format!("{} (another text)", text.text),
        ..text.clone()
    }
}

/// A text as phone networks cut it. One that would go as a whole is cut in two all the same: that is what is asked for.
/// `None` if it has fewer than two characters, or makes more parts than can be counted.
pub(super) fn parts(text: &str) -> Option<Vec<&str>> {
    let parts = parts_of(text);
    if parts.len() > 1 {
        return u8::try_from(parts.len()).is_ok().then_some(parts);
    }
    let (middle, _) = text
        .char_indices()
        .nth(text.chars().count() / 2)
        .filter(|(at, _)| *at > 0)?;
    text.split_at_checked(middle).map(|(first, second)| vec![first, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_texts_is_read_with_and_without_its_header() {
        let rows = "+15551230001\t+15551230002\thi\tthere \n\n919876543210\t5678\t\n";
        let expected = [
            ("+15551230001", "+15551230002", "hi\tthere "),
            ("919876543210", "5678", ""),
        ];
        for header in ["", "\u{feff}From\tTO\ttext\r\n"] {
            let read = table(&format!("{header}{rows}")).unwrap();
            let read: Vec<_> = read
                .iter()
                .map(|text| (text.from.as_str(), text.to.as_str(), text.text.as_str()))
                .collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn every_bad_line_is_named_by_its_number_and_none_is_quoted() {
        let bad =
            table("from\tto\ttext\n+1\t+2\tfine\nno tabs\n\t+2\tno sender\n+1\t\tno recipient\n+1\t+2\n").unwrap_err();
        assert_eq!(
            bad,
            [
                "line 3: there is no `to`",
                "line 4: there is no `from`",
                "line 5: there is no `to`",
                "line 6: there is no `text`; a tab must stand before it",
            ]
        );
        assert_eq!(table("from\tto\ttext\n").unwrap_err(), ["it has none at all"]);
    }

    #[test]
    fn no_two_texts_of_a_burst_are_the_same() {
        let said: std::collections::BTreeSet<_> = (1..=300)
            .map(|nth| of_a_burst("hi", None, "+1", nth))
            .map(|text| (text.from, text.text))
            .collect();
        assert_eq!(said.len(), 300);
        assert_eq!(of_a_burst("hi", Some("+1555"), "+1", 7).from, "+1555");
    }

    #[test]
    fn a_long_text_has_the_parts_it_has_and_a_short_one_two() {
        assert_eq!(parts(&"a".repeat(161)).unwrap().len(), 2);
        assert_eq!(parts("hello").unwrap(), ["he", "llo"]);
        assert_eq!(parts("👍👍").unwrap(), ["👍", "👍"]);
        assert_eq!(parts("a"), None);
        assert_eq!(parts(""), None);
        assert_eq!(parts(&"a".repeat(153 * 256)), None);
    }
}
