//! What the doctor found, as lines for a person or as one JSON document.
//!
//! It must not judge: each check comes with its own.

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{self, Printer};

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warning,
    Failed,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Check {
    pub(super) status: Status,
    /// What was tried: a part of smshook, and its name where there are several.
    pub(super) what: String,
    /// What was found; further lines are shown under the first.
    pub(super) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Check {
    pub(super) fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status: Status::Ok,
            what: what.into(),
            detail: detail.into(),
            advice: None,
        }
    }

    pub(super) fn warning(what: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Warning,
            advice: Some(advice.into()),
            ..Self::ok(what, detail)
        }
    }

    pub(super) fn failed(what: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            ..Self::warning(what, detail, advice)
        }
    }

    fn text(&self) -> String {
        let (first, rest) = self.detail.split_once('\n').unwrap_or((&self.detail, ""));
        let head = format!(
            "{:8} {:20} {}",
            self.status.as_str(),
            output::one_line(&self.what, 80),
            output::one_line(first, MAX_LINE)
        );
        let rest = (!rest.is_empty()).then(|| output::indented(rest, INDENT));
        let advice = self
            .advice
            .as_ref()
            .map(|advice| format!("{INDENT}do: {}", output::one_line(advice, MAX_LINE)));
        let lines = std::iter::once(head).chain(rest).chain(advice);
        lines.collect::<Vec<_>>().join("\n")
    }
}

const INDENT: &str = "         ";
/// Characters of a line: what another system answered may be in it.
const MAX_LINE: usize = 1_000;

/// The checks so far.
pub(super) struct Report {
    json: bool,
    checks: Vec<Check>,
    printer: Printer,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            checks: Vec::new(),
            printer: Printer::default(),
        }
    }

    /// Takes a check down; for a person it is printed at once, since some take seconds.
    pub(super) fn add(&mut self, check: Check) {
        if !self.json {
            self.printer.print(&check.text());
        }
        self.checks.push(check);
    }

    /// Prints what is left to print; no if a check failed.
    pub(super) fn end(self) -> Result<(), Failure> {
        let count = |status| self.checks.iter().filter(|check| check.status == status).count();
        let (failed, warnings) = (count(Status::Failed), count(Status::Warning));
        self.printer.done()?;
        if self.json {
            output::print_json(&serde_json::json!({ "ok": failed == 0, "checks": self.checks }))?;
        } else {
            output::print(&format!(
                "\n{failed} failed, {warnings} to look at, {} fine",
                count(Status::Ok)
            ))?;
        }
        if failed == 0 { Ok(()) } else { Err(Failure::AnswerIsNo) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_and_what_to_do_about_it_another() {
        let fine = Check::ok("database", "PostgreSQL 17.6");
        assert_eq!(fine.text(), "ok       database             PostgreSQL 17.6");
        let wrong = Check::failed("config", "no such key\n--> config.toml:1:1", "take it out");
        let lines: Vec<_> = wrong.text().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "failed   config               no such key",
                "         --> config.toml:1:1",
                "         do: take it out"
            ]
        );
    }
}
