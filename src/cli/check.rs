//! `smshook check`: everything that is wrong with the configuration, and what it amounts to when nothing is.

use std::collections::BTreeMap;
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
        .chain(shared_groups(config))
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

/// The suppression groups that several endpoints or numbers of ours are in: who stops one of them stops all.
fn shared_groups(config: &Config) -> Vec<String> {
    let mut members: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for endpoint in &config.endpoints {
        let groups = &endpoint.policy.groups;
        let of_endpoint = format!("endpoint `{}`", endpoint.name);
        members.entry(&groups.own).or_default().push(of_endpoint);
        for (number, group) in &groups.by_recipient {
            let last = number.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
            let last = number.get(last..).unwrap_or_default();
            let of_number = format!("the number …{last} at `{}`", endpoint.name);
            members.entry(group).or_default().push(of_number);
        }
    }
    members.retain(|_, members| members.len() > 1);
    let line = |(group, members): (&str, Vec<String>)| {
        format!(
            "suppression group `{group}`, an opt-out from one is one from all: {}",
            members.join(", ")
        )
    };
    members.into_iter().map(line).collect()
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};

    #[test]
    fn groups_are_named_that_several_are_in() {
        assert!(shared_groups(&configured(TWO_ENDPOINTS)).is_empty());
        let shared = TWO_ENDPOINTS.replace(
            "suppression_group = \"other\"",
            "suppression_group = \"main\"\nsuppression_groups = { \"+15551110000\" = \"main\", \"+15551112222\" = \"own\" }",
        );
        assert_eq!(
            shared_groups(&configured(&shared)),
            [
                "suppression group `main`, an opt-out from one is one from all: endpoint `main`, endpoint `other`, the number \
              …0000 at `other`"
            ]
        );
    }
}
