//! The one place that writes to standard output and standard error.

use std::io::{self, Write};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::failure::Failure;

/// Prints data: `text` and a line end, on standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write_line(&mut io::stdout().lock(), text)
}

/// Prints what has been changed, line by line: a reader who has gone away must not leave the change half done.
pub(super) struct Printer(Result<(), Failure>);

impl Default for Printer {
    fn default() -> Self {
        Self(Ok(()))
    }
}

impl Printer {
    /// Prints `text`, unless that failed before.
    pub(super) fn print(&mut self, text: &str) {
        if self.0.is_ok() {
            self.0 = print(text);
        }
    }

    /// Whether all of it could be printed.
    pub(super) fn done(self) -> Result<(), Failure> {
        self.0
    }
}

/// Prints data as one JSON document, on standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).context("writing JSON")?;
    print(&text)
}

/// Says something to the person at the terminal, on standard error.
pub(super) fn note(text: &str) {
    // Nobody is left to tell when standard error itself cannot be written.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Asks for a line at the terminal, on standard error.
pub(super) fn prompt(text: &str) {
    let mut terminal = io::stderr().lock();
    // As with `note`.
    drop(write!(terminal, "{text}").and_then(|()| terminal.flush()));
}

fn write_line(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    written(writeln!(out, "{text}").and_then(|()| out.flush()), "standard output")
}

/// What became of writing data to `place`; for those who write too much of it to hold.
pub(super) fn written<T>(done: io::Result<T>, place: &str) -> Result<T, Failure> {
    match done {
        Ok(done) => Ok(done),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(anyhow::Error::new(error).context(format!("writing to {place}")).into()),
    }
}

/// Columns as wide as their widest cell; the last one is left as it is, so that long texts do not stretch every row.
pub(super) fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let head = head.map(str::to_owned);
    let all: Vec<&[String; COLUMNS]> = std::iter::once(&head).chain(rows).collect();
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| {
            all.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &&[String; COLUMNS]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Names and values, aligned; values that are empty are left out.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or_default();
    let known = facts.iter().filter(|(_, value)| !value.is_empty());
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}", one_line(value, 2_000));
    known.map(line).collect::<Vec<_>>().join("\n")
}

/// An instant to the second, in UTC.
pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `text` on one line and not endless, for a table; control characters cannot reach the terminal.
pub(super) fn one_line(text: &str, max_chars: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= max_chars {
        return text.chars().map(clean).collect();
    }
    let shortened = text.chars().take(max_chars.saturating_sub(1)).map(clean);
    shortened.chain(std::iter::once('…')).collect()
}

/// `text` with each line indented; control characters other than line ends cannot reach the terminal.
pub(super) fn indented(text: &str, by: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let line = |line: &str| format!("{by}{}", line.chars().map(clean).collect::<String>());
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_read_enough_is_no_error_and_a_full_disk_is() {
        let written = |kind| write_line(&mut Closed(kind), "data");
        assert!(matches!(written(io::ErrorKind::BrokenPipe), Err(Failure::OutputClosed)));
        assert!(matches!(
            written(io::ErrorKind::StorageFull),
            Err(Failure::Failed { .. })
        ));
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let rows = [
            ["1".to_owned(), "discarded".to_owned()],
            ["250".to_owned(), String::new()],
        ];
        assert_eq!(table(["id", "state"], &rows), "id   state\n1    discarded\n250");
    }

    #[test]
    fn facts_that_are_not_known_are_left_out() {
        let known = [
            ("job", "1".to_owned()),
            ("rule", String::new()),
            ("action", "crm".to_owned()),
        ];
        assert_eq!(facts(&known), "job     1\naction  crm");
    }

    #[test]
    fn nothing_that_a_stranger_sent_can_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc", 20), "a [2Jb c");
        assert_eq!(one_line("long text", 5), "long…");
        assert_eq!(indented("a\u{7}\nb", "  "), "  a \n  b");
    }
}
