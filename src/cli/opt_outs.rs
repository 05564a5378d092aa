//! `smshook opt-outs`: who must not be texted, and the changes people ask for by other ways than a text.

use std::path::Path;

use super::database::{self, Database};
use super::endpoint;
use super::failure::Failure;
use super::output::{self, stamp};
use crate::config::Config;
use crate::phone::{self, Address, Kind};
use crate::store::{ConsentChange, Effect, OptOutRow, Source};

/// What to do with opt-outs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List opt-outs, the newest first
    List {
        /// Those that were lifted, too
        #[arg(long)]
        ended: bool,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Record that somebody asked not to be texted, by a call or a letter for instance
    Add {
        #[command(flatten)]
        whom: Whom,
        /// How they asked; kept as evidence
        #[arg(long)]
        note: Option<String>,
    },
    /// Lift an opt-out because the person asked for it
    Remove {
        #[command(flatten)]
        whom: Whom,
    },
}

/// Whose opt-out, and for which endpoints.
#[derive(Debug, clap::Args)]
pub(super) struct Whom {
    /// Number, with its country code: +12025550143
    number: String,
    /// An endpoint of the suppression group that is meant [default: the only group]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
}

/// Does it.
pub(super) async fn run(config: Option<&Path>, command: Command) -> Result<(), Failure> {
    let database = database::open(config).await?;
    let done = match command {
        Command::List { ended, limit, json } => list(&database, ended, limit, json).await,
        Command::Add { whom, note } => add(&database, &whom, note.as_deref()).await,
        Command::Remove { whom } => remove(&database, &whom).await,
    };
    let closed = database.close().await;
    done.and(closed)
}

async fn list(database: &Database, ended: bool, limit: i64, json: bool) -> Result<(), Failure> {
    let opt_outs = database
        .store
        .list_opt_outs(ended, limit)
        .await
        .map_err(database::failed)?;
    if json {
        return output::print_json(&opt_outs);
    }
    if opt_outs.is_empty() {
        output::note("no opt-outs");
        return Ok(());
    }
    let row = |opt_out: &OptOutRow| {
        let evidence = opt_out
            .keyword
            .as_deref()
            .or(opt_out.note.as_deref())
            .unwrap_or_default();
        [
            opt_out.number.clone(),
            opt_out.suppression_group.clone(),
            stamp(opt_out.opted_out_at),
            opt_out.opted_in_at.map(stamp).unwrap_or_default(),
            opt_out.source.clone(),
            output::one_line(evidence, 60),
        ]
    };
    let head = ["number", "group", "opted out", "lifted", "source", "evidence"];
    output::print(&output::table(head, &opt_outs.iter().map(row).collect::<Vec<_>>()))
}

async fn add(database: &Database, whom: &Whom, note: Option<&str>) -> Result<(), Failure> {
    let (group, number) = meant(&database.config, whom)?;
    let change = ConsentChange {
        group: &group,
        address: &number,
        opts_out: true,
        source: Source::Operator,
        asked_at: None,
        note,
    };
    let effect = database.store.change_consent(&change).await.map_err(database::failed)?;
    let what = if effect == Effect::Began {
        "will not be texted any more"
    } else {
        "had opted out already"
    };
    output::print(&format!("{} {what} (group `{group}`)", number.key()))
}

async fn remove(database: &Database, whom: &Whom) -> Result<(), Failure> {
    let (group, number) = meant(&database.config, whom)?;
    let change = ConsentChange {
        group: &group,
        address: &number,
        opts_out: false,
        source: Source::Operator,
        asked_at: None,
        note: None,
    };
    let effect = database.store.change_consent(&change).await.map_err(database::failed)?;
    if effect == Effect::Lifted {
        return output::print(&format!("{} may be texted again (group `{group}`)", number.key()));
    }
    Err(anyhow::anyhow!("{} has no opt-out in force (group `{group}`)", number.key()).into())
}

/// The suppression group and the number's one spelling.
fn meant(config: &Config, whom: &Whom) -> Result<(String, Address), Failure> {
    let endpoint = match (&whom.endpoint, config.endpoints.as_slice()) {
        (None, [first, others @ ..])
            if others
                .iter()
                .all(|other| other.suppression_group() == first.suppression_group()) =>
        {
            first
        }
        (name, _) => endpoint::choose(config, name.as_deref())?,
    };
    let address = phone::normalise(&whom.number, &endpoint.reading.numbers);
    match address.kind() {
        Kind::Number | Kind::Short => Ok((endpoint.suppression_group().to_owned(), address)),
        Kind::Alpha | Kind::Opaque | Kind::Missing => Err(Failure::usage(
            format!("`{}` is not a number", whom.number),
            "write it with its country code, as in `+12025550143`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};

    fn whom(number: &str, endpoint: Option<&str>) -> Whom {
        Whom {
            number: number.to_owned(),
            endpoint: endpoint.map(str::to_owned),
        }
    }

    #[test]
    fn a_number_gets_its_one_spelling_and_the_group_of_its_endpoint() {
        let config = configured(TWO_ENDPOINTS);
        let pair = |group: &str| (group.to_owned(), "+12025550143".to_owned());
        let asked = |number: &str, endpoint: &str| {
            let (group, address) = meant(&config, &whom(number, Some(endpoint))).unwrap();
            (group, address.key().to_owned())
        };
        assert_eq!(asked("+1 (202) 555-0143", "main"), pair("main"));
        assert_eq!(asked("12025550143", "other"), pair("other"));
    }

    #[test]
    fn two_groups_need_an_endpoint_and_a_name_is_no_number() {
        let config = configured(TWO_ENDPOINTS);
        assert!(matches!(
            meant(&config, &whom("+12025550143", None)),
            Err(Failure::Usage { .. })
        ));
        assert!(matches!(
            meant(&config, &whom("AMAZON", Some("main"))),
            Err(Failure::Usage { .. })
        ));
    }

    #[test]
    fn one_group_needs_no_endpoint() {
        let config =
            configured(&TWO_ENDPOINTS.replace("suppression_group = \"other\"", "suppression_group = \"main\""));
        assert_eq!(meant(&config, &whom("+12025550143", None)).unwrap().0, "main");
    }
}
