//! What is wrong with a configuration, shown where it is wrong: file, line, column, the line itself and a caret under it.
//!
//! It must never show a secret: source lines come from the masked copy that `mask` makes, and values found where a secret
//! belongs are not quoted.

use std::fmt;

/// Everything wrong with a configuration, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong, or (as a warning) that is likely not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Whether it stops smshook.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// Where, unless it is about no place in a file.
    pub location: Option<Location>,
    /// What to do about it.
    pub help: Option<String>,
}

/// Whether a problem stops smshook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// A place in a file, with the line to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The file as the operator named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line, secrets masked.
    pub source: String,
    /// How many characters the carets cover; at least 1.
    pub width: usize,
}

impl std::error::Error for Problems {}

impl Problems {
    /// Sorts by place, then by text; `None` if there is nothing to report.
    pub(super) fn new(mut problems: Vec<Problem>) -> Option<Self> {
        sort(&mut problems);
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The configuration file itself cannot be read.
pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Problems {
    Problems(vec![Problem {
        severity: Severity::Error,
        what: format!("the configuration `{file}` cannot be read: {error}"),
        location: None,
        help: Some("name another with --config or SMSHOOK_CONFIG".to_owned()),
    }])
}

/// The order in which problems are shown: by place in the file, those without a place last; repeated ones once.
pub(super) fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by_cached_key(|problem| {
        let place = problem
            .location
            .as_ref()
            .map(|location| (location.line, location.column));
        (place.is_none(), place, problem.what.clone())
    });
    problems.dedup();
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}\n")?;
        }
        let errors = self
            .0
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count();
        let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        write!(f, "{} in the configuration", counted(errors, "error"))?;
        match self.0.len() - errors {
            0 => Ok(()),
            warnings => write!(f, ", {}", counted(warnings, "warning")),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.what)?;
        if let Some(location) = &self.location {
            write!(f, "\n{location}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(self.column.saturating_sub(1));
        writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.source.trim_end())?;
        write!(f, "{gutter} | {indent}{}", "^".repeat(self.width.max(1)))
    }
}

impl Location {
    /// The place of the bytes `span` in `masked`, the masked copy of a file's text.
    ///
    /// A span over several lines is shown on its first.
    pub(super) fn of(file: &str, masked: &str, span: &std::ops::Range<usize>) -> Self {
        let before = masked.get(..span.start).unwrap_or(masked);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = masked
            .get(line_start..)
            .and_then(|rest| rest.lines().next())
            .unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let covered = masked
            .get(span.clone())
            .and_then(|text| text.lines().next())
            .unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            // One column per character, whatever it was: a tab or an escape would put the caret elsewhere.
            source: line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            width: covered.trim_end().chars().count().max(1),
        }
    }
}
