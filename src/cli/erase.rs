//! `smshook erase`: removes what is stored of a person and keeps, under a keyed hash, what the law needs.
//!
//! It says what is removed, what is kept and what is out of its reach. A number is never printed in full.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::database::{self, Database};
use super::failure::Failure;
use super::output;
use crate::config::Config;
use crate::phone::{self, Address, NumberFormat};
use crate::store::{Erased, ErasureKey, Person};

/// Whom to erase.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Number, with its country code: +12025550143
    number: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What this command cannot erase, whatever it finds.
const OUT_OF_REACH: [&str; 4] = [
    "what actions made in other systems: contacts, tickets, notes, mails, chat messages",
    "what the gateway and its provider keep",
    "backups, and the database's files until vacuum and the write-ahead log have gone over them",
    "deliveries that the gateway repeats in another form, or that come from now on: they are new messages",
];

#[derive(Serialize)]
struct Report<'a> {
    /// The last four digits.
    number: &'a str,
    #[serde(flatten)]
    erased: Erased,
    out_of_reach: [&'static str; 4],
}

/// Asks, erases, and prints what was done.
pub(super) async fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.yes && !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "this cannot be undone, and there is no terminal to ask at",
            "add `--yes`",
        ));
    }
    let database = database::open(config).await?;
    let done = erase(&database, arguments).await;
    let closed = database.close().await;
    done.and(closed)
}

async fn erase(database: &Database, arguments: &Arguments) -> Result<(), Failure> {
    let person = person(&database.config, &arguments.number)?;
    let key = database
        .store
        .erasure_key()
        .ok_or_else(|| without_key(&database.config))?;
    database.store.check_erasure_key().await.map_err(database::failed)?;
    if !arguments.yes && !agreed(database, &person).await? {
        output::note("nothing was erased");
        return Err(Failure::AnswerIsNo);
    }
    let erased = erased(database, key, &person).await?;
    let report = Report {
        number: person.last_four(),
        erased,
        out_of_reach: OUT_OF_REACH,
    };
    if arguments.json {
        return output::print_json(&report);
    }
    output::print(&text(&report))
}

async fn erased(database: &Database, key: &ErasureKey, person: &Person) -> Result<Erased, Failure> {
    let groups = database.config.endpoints.iter().map(|endpoint| &endpoint.policy.groups);
    let groups = groups.flat_map(|groups| std::iter::once(&groups.own).chain(groups.by_recipient.values()));
    let groups: Vec<String> = groups.map(ToString::to_string).collect();
    let erased = database.store.erase(key, person, &groups).await;
    erased.map_err(database::failed)
}

/// The one person that the number means, whichever endpoint it is read for.
fn person(config: &Config, number: &str) -> Result<Person, Failure> {
    let formats = config.endpoints.iter().map(|endpoint| endpoint.reading.numbers);
    let formats: Vec<NumberFormat> = if number.trim_start().starts_with('+') {
        vec![NumberFormat::E164]
    } else {
        formats.collect()
    };
    let mut read: Vec<Address> = formats.iter().map(|format| phone::normalise(number, format)).collect();
    read.dedup_by(|one, other| one.key() == other.key());
    let person = match read.as_slice() {
        [address] => Person::new(address),
        _ => None,
    };
    person.ok_or_else(|| {
        Failure::usage(
            "this is not the number of one person",
            "write it with `+` and its country code, as in `+12025550143`",
        )
    })
}

fn without_key(config: &Config) -> Failure {
    let hint = if config.database.url.is_some() {
        "set `erasure_key` in [privacy], the same for every process on this database, restart them, and erase then"
    } else {
        "the first start of `smshook serve` makes it; erase then"
    };
    Failure::hinted(
        anyhow::anyhow!("there is no key to hash the number with, and without it an opt-out would be forgotten"),
        hint,
    )
}

async fn agreed(database: &Database, person: &Person) -> Result<bool, Failure> {
    let messages = database.store.messages_of(person).await.map_err(database::failed)?;
    output::note(&format!(
        "erase the person with the number …{}: {messages} messages and all that belongs to them? This cannot be undone. [y/N]",
        person.last_four()
    ));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("reading the answer")?;
    Ok(["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}

fn text(report: &Report<'_>) -> String {
    let Report { number, erased, .. } = report;
    let mut lines = vec![format!("erased the person with the number …{number}"), String::new()];
    let removed = [
        ("messages", erased.messages),
        ("parts of longer texts", erased.parts),
        ("jobs, with payload and result", erased.jobs),
        ("attempts, with their errors", erased.attempts),
        ("texts sent, on record", erased.sends),
        ("gateway reports", erased.gateway_events),
        ("deliveries that could not be read", erased.quarantined),
        ("refused deliveries", erased.refused),
        ("links to other systems", erased.links),
        ("trips of the loop guard", erased.loop_trips),
        ("bodies that texts of others came in", erased.bodies_of_others),
        (
            "notices not yet delivered: tell those systems yourself",
            erased.notices_given_up,
        ),
    ];
    push(&mut lines, "removed", &removed);
    let kept = [
        ("opt-outs", erased.opt_outs_kept),
        ("opt-outs in force: still not texted", erased.opt_outs_in_force),
        ("events of consent, without words and notes", erased.consent_events_kept),
    ];
    push(&mut lines, "kept under a keyed hash", &kept);
    let left = [
        ("texts of others that mention the number", erased.mentions_left),
        (
            "messages whose sender is written otherwise and may be the same",
            erased.written_otherwise_left,
        ),
    ];
    push(&mut lines, "left as it is", &left);
    lines.push("out of reach".to_owned());
    lines.extend(OUT_OF_REACH.iter().map(|what| format!("  {what}")));
    lines.join("\n")
}

/// A heading, and what there is of it: what there is none of is left out.
fn push(lines: &mut Vec<String>, heading: &str, counts: &[(&str, u64)]) {
    lines.push(heading.to_owned());
    let there: Vec<&(&str, u64)> = counts.iter().filter(|(_, count)| *count > 0).collect();
    if there.is_empty() {
        lines.push("  nothing".to_owned());
    }
    lines.extend(there.iter().map(|(what, count)| format!("  {count:>6}  {what}")));
    lines.push(String::new());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};

    #[test]
    fn one_number_is_one_person_and_what_is_none_is_refused() {
        let config = configured(TWO_ENDPOINTS);
        assert_eq!(person(&config, "+1 (202) 555-0143").unwrap().last_four(), "0143");
        assert_eq!(person(&config, "12025550143").unwrap().last_four(), "0143");
        for wrong in ["AMAZON", "12345", ""] {
            assert!(matches!(person(&config, wrong), Err(Failure::Usage { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_number_that_two_endpoints_read_differently_must_have_its_country_code() {
        let other = TWO_ENDPOINTS.replacen("name = \"other\"", "numbers = \"national:GB\"\nname = \"other\"", 1);
        let config = configured(&other);
        assert!(matches!(person(&config, "07911123456"), Err(Failure::Usage { .. })));
        assert_eq!(person(&config, "+447911123456").unwrap().last_four(), "3456");
    }

    #[test]
    fn the_report_shows_what_there_is_and_what_is_out_of_reach() {
        let erased = Erased {
            messages: 2,
            opt_outs_kept: 1,
            ..Erased::default()
        };
        let said = text(&Report {
            number: "0143",
            erased,
            out_of_reach: OUT_OF_REACH,
        });
        assert!(
            said.contains("…0143") && said.contains("     2  messages\n") && !said.contains("jobs"),
            "{said}"
        );
        assert!(said.contains("left as it is\n  nothing"), "{said}");
        for what in OUT_OF_REACH {
            assert!(said.contains(what), "{what}");
        }
    }
}
