//! How a command ends when it does not end well: what is said on standard error, and the exit code.

use std::fmt;
use std::process::ExitCode;

use super::output;
use crate::config::Problems;

/// Why a command stops early.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed: exit code 1, the chain of causes, then the hints.
    Failed {
        /// What we were doing, on what, and why it did not work.
        error: anyhow::Error,
        /// What to try; shown as `hint:` lines.
        hints: Vec<String>,
    },
    /// The configuration cannot be used: exit code 1, every problem at its place in the file.
    Configuration(Problems),
    /// The answer is no, and has been printed: exit code 1.
    AnswerIsNo,
    /// What was typed does not fit what is configured: exit code 2.
    Usage {
        /// What does not fit.
        what: String,
        /// What to type instead.
        hint: String,
    },
    /// `clap` has its own words for what was typed, and for `--help`.
    CommandLine(Box<clap::Error>),
    /// Whoever read our output has read enough (`smshook jobs list | head`): nothing is wrong.
    OutputClosed,
}

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

impl Failure {
    /// A failure with something to try.
    pub(super) fn hinted(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self::Failed {
            error: error.into(),
            hints: vec![hint.into()],
        }
    }

    /// What was typed does not fit.
    pub(super) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Says it and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::OutputClosed => return ExitCode::SUCCESS,
            Self::AnswerIsNo => return ExitCode::from(FAILED),
            Self::CommandLine(error) => {
                // Help and version are not failures and go to standard output; `clap` knows which is which.
                drop(error.print());
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USAGE));
            }
            Self::Failed { .. } | Self::Configuration(_) | Self::Usage { .. } => {}
        }
        output::note(&self.to_string());
        match self {
            Self::Usage { .. } => ExitCode::from(WRONG_USAGE),
            _ => ExitCode::from(FAILED),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { error, hints } => {
                write!(f, "error: {}", causes(error))?;
                hinted(f, hints)
            }
            Self::Usage { what, hint } => {
                write!(f, "error: {what}")?;
                hinted(f, std::slice::from_ref(hint))
            }
            Self::Configuration(problems) => problems.fmt(f),
            Self::CommandLine(error) => error.fmt(f),
            Self::AnswerIsNo | Self::OutputClosed => Ok(()),
        }
    }
}

/// The chain of causes on one line. Many errors repeat their cause in their own words: what was said is not said again.
fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match (said.is_empty(), said.contains(&cause)) {
            (true, _) => cause,
            (false, true) => said,
            (false, false) => format!("{said}: {cause}"),
        }
    })
}

fn hinted(f: &mut fmt::Formatter<'_>, hints: &[String]) -> fmt::Result {
    if !hints.is_empty() {
        writeln!(f)?;
    }
    hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed {
            error,
            hints: Vec::new(),
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::CommandLine(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_causes_on_one_line_and_its_hints_after_a_blank_one() {
        let error = anyhow::anyhow!("no such file").context("reading `body.json`");
        let failure = Failure::hinted(error, "`-` reads standard input");
        assert_eq!(
            failure.to_string(),
            "error: reading `body.json`: no such file\n\nhint: `-` reads standard input"
        );
    }

    #[test]
    fn a_cause_that_has_been_said_is_not_said_again() {
        let error = anyhow::anyhow!("no port")
            .context("reading the URL: no port")
            .context("opening");
        assert_eq!(
            Failure::from(error).to_string(),
            "error: opening: reading the URL: no port"
        );
    }

    #[test]
    fn a_failure_without_hints_is_one_line() {
        assert_eq!(Failure::from(anyhow::anyhow!("no")).to_string(), "error: no");
    }
}
