//! `smshook check`: everything that is wrong with the configuration, and what it amounts to when nothing is.

use std::path::Path;

use super::failure::Failure;
use super::{endpoint, output};
use crate::config::{self, Config, Endpoint, Loaded, Mode, Source};

/// Problems and warnings go to standard error, the summary to standard output.
pub(super) fn run(config: Option<&Path>) -> Result<(), Failure> {
    let loaded = endpoint::load(config)?;
    for warning in &loaded.warnings {
        output::note(&format!("{warning}\n"));
    }
    output::print(&summary(&first_line(config, &loaded), &loaded.config))
}

fn summary(first: &str, config: &Config) -> String {
    let endpoints = config.endpoints.iter().map(|endpoint| describe(config, endpoint));
    std::iter::once(first.to_owned())
        .chain(endpoints)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Which configuration it is, and how much is in it.
pub(super) fn first_line(path: Option<&Path>, loaded: &Loaded) -> String {
    let source = match config::locate(path) {
        Source::File(path) => path.display().to_string(),
        Source::Default => "built-in settings".to_owned(),
    };
    let counts = [
        count(loaded.config.endpoints.len(), "endpoint"),
        count(loaded.config.actions.len(), "action"),
        count(loaded.config.rulebook.rules.len(), "rule"),
        count(loaded.warnings.len(), "warning"),
    ];
    format!("{source} can be used: {}", counts.join(", "))
}

fn describe(config: &Config, endpoint: &Endpoint) -> String {
    let sources: Vec<String> = endpoint.secret_sources.iter().map(ToString::to_string).collect();
    let secrets = match (&endpoint.keys, endpoint.mode) {
        (Some(_), _) => format!("secret from {}", sources.join(" and ")),
        (None, Mode::Enforce) => "unsigned deliveries allowed".to_owned(),
        (None, Mode::Observe { .. }) => "no secret yet".to_owned(),
    };
    let mode = match endpoint.mode {
        Mode::Enforce => "",
        Mode::Observe { runs_actions: false } => ", ONLY OBSERVES: what does not verify is stored",
        Mode::Observe { runs_actions: true } => ", ONLY OBSERVES: what does not verify is stored and runs its actions",
    };
    let replies = if endpoint.reply.is_some() {
        "can reply"
    } else {
        "cannot reply"
    };
    let url = if endpoint.url.is_empty() {
        super::endpoint::base_url(config) + &endpoint.path
    } else {
        endpoint.url.clone()
    };
    format!(
        "endpoint `{}`: {} at {url}, {secrets}, {replies}{mode}",
        endpoint.name, endpoint.gateway.title
    )
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
