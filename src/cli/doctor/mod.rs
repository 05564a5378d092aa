//! `smshook doctor`: tries everything that a message needs on its way, and says what to do about what fails.
//!
//! It changes nothing and sends nothing that counts: no job runs, no message is stored, no system outside is asked to do
//! anything. Every check is made even if an earlier one failed, as far as it does not build on it. It must not print a
//! secret, a text or a number.

mod clock;
mod endpoints;
mod notices;
mod outside;
mod report;
mod storage;

use std::path::Path;
use std::sync::Arc;

use super::failure::Failure;
use super::{check, endpoint, output};
use crate::config::{Config, Problem, Severity};

use report::{Check, Report};

/// What to try.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Try only this machine and its database: no public URL, no gateway, no system that actions use
    #[arg(long)]
    offline: bool,
}

/// Prints one line per check, and what to do under each that is not fine. The answer is no if one failed.
pub(super) async fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let mut report = Report::new(arguments.json);
    if let Some(config) = configuration(config, &mut report) {
        let config = Arc::new(config);
        let database = storage::check(&config, &mut report).await;
        endpoints::check(&config, arguments.offline, &mut report).await;
        if arguments.offline {
            output::note("note: --offline: nothing beyond this machine and its database was tried");
        } else {
            outside::check(&config, &mut report).await;
        }
        if let Some(database) = database
            && let Err(error) = database.close().await
        {
            report.add(Check::failed(
                "database",
                format!("it could not be closed: {error:#}"),
                "look at its log",
            ));
        }
    }
    report.end()
}

/// The configuration, unless it cannot be used: then nothing else can be tried.
fn configuration(path: Option<&Path>, report: &mut Report) -> Option<Config> {
    let (config, problems) = match endpoint::load(path) {
        Ok(loaded) => {
            let summary = check::first_line(path, &loaded);
            report.add(Check::ok("config", summary));
            (Some(loaded.config), loaded.warnings)
        }
        Err(Failure::Configuration(problems)) => (None, problems.iter().cloned().collect()),
        Err(other) => {
            report.add(Check::failed("config", other.to_string(), LOOK));
            return None;
        }
    };
    for problem in problems {
        report.add(of_problem(problem));
    }
    config
}

const LOOK: &str = "correct the configuration; `smshook check` looks at nothing else";

/// As `smshook check` shows it.
fn of_problem(mut problem: Problem) -> Check {
    let advice = problem.help.take().unwrap_or_else(|| LOOK.to_owned());
    let place = problem.location.as_ref().map(|location| format!("\n{location}"));
    let detail = format!("{}{}", problem.what, place.unwrap_or_default());
    match problem.severity {
        Severity::Error => Check::failed("config", detail, advice),
        Severity::Warning => Check::warning("config", detail, advice),
    }
}
