//! `smshook opt-outs`: who must not be texted, the changes people ask for by other ways than a text, and the proof.

mod cells;
mod list_file;
mod proof;
mod review;
mod transfer;
mod whom;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::database::{self, Database};
use super::failure::Failure;
use super::output::{self, Printer, stamp};
use crate::phone::Address;
use crate::store::{ConsentChange, Effect, OptOutRow, Source};
use whom::{Group, Reach, Scope};

/// What to do with opt-outs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List opt-outs, the newest first
    List {
        /// Those that were lifted, too
        #[arg(long)]
        ended: bool,
        #[command(flatten)]
        scope: Scope,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Record that people asked not to be texted, by a call or a letter for instance
    Add {
        /// Numbers, with their country code: +12025550143
        #[arg(required = true, value_name = "NUMBER")]
        numbers: Vec<String>,
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        how: How,
    },
    /// Lift opt-outs because the people asked for it
    Remove {
        /// Numbers, with their country code: +12025550143
        #[arg(required = true, value_name = "NUMBER")]
        numbers: Vec<String>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        how: How,
    },
    /// Record the opt-outs of a list: CSV with a column `number`, JSON as exported, or one number per line
    Import {
        /// The list; `-` reads standard input
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
        /// For lines without a note of their own: where the list is from; kept as evidence
        #[arg(long)]
        note: Option<String>,
        /// Leave out what cannot be read, instead of importing nothing
        #[arg(long)]
        skip_bad: bool,
    },
    /// Write every opt-out as CSV or JSON
    Export {
        /// The format
        #[arg(long, value_enum, default_value_t)]
        format: transfer::Format,
        /// Those that were lifted, too
        #[arg(long)]
        ended: bool,
        #[command(flatten)]
        scope: Scope,
        /// Write to this file, readable by you alone, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show everything that is recorded about the consent of one number
    Proof {
        /// The number, with its country code: +12025550143
        number: String,
        #[command(flatten)]
        scope: Scope,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the phrases that may be an opt-out and wait for a person to decide, the oldest first
    Review {
        #[command(flatten)]
        scope: Scope,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Record that what somebody wrote is no opt-out
    Dismiss {
        /// The number, with its country code: +12025550143
        number: String,
        #[command(flatten)]
        scope: Scope,
        /// Why; kept as evidence
        #[arg(long)]
        note: Option<String>,
    },
}

/// How and when they asked.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// How they asked; kept as evidence
    #[arg(long)]
    note: Option<String>,
    /// When they asked, if not just now: 2026-11-20T16:30:00Z
    #[arg(long, value_name = "TIME", value_parser = whom::asked_at)]
    asked_at: Option<DateTime<Utc>>,
}

/// Does it.
pub(super) async fn run(config: Option<&Path>, command: Command) -> Result<(), Failure> {
    let database = database::open(config).await?;
    let done = dispatch(&database, command).await;
    let closed = database.close().await;
    done.and(closed)
}

async fn dispatch(database: &Database, command: Command) -> Result<(), Failure> {
    match command {
        Command::List {
            ended,
            scope,
            limit,
            json,
        } => list(database, ended, &scope, limit, json).await,
        Command::Add { numbers, reach, how } => {
            let groups = whom::each(&database.config, &reach)?;
            change(database, &numbers, &groups, &how, true).await
        }
        Command::Remove { numbers, scope, how } => {
            let group = whom::one(&database.config, &scope)?;
            change(database, &numbers, &[group], &how, false).await
        }
        Command::Import {
            file,
            reach,
            note,
            skip_bad,
        } => transfer::import(database, &file, &reach, note.as_deref(), skip_bad).await,
        Command::Export {
            format,
            ended,
            scope,
            output,
        } => transfer::export(database, format, ended, &scope, output.as_deref()).await,
        Command::Proof { number, scope, json } => proof::run(database, &number, &scope, json).await,
        Command::Review { scope, limit, json } => review::list(database, &scope, limit, json).await,
        Command::Dismiss { number, scope, note } => review::dismiss(database, &number, &scope, note.as_deref()).await,
    }
}

async fn list(database: &Database, ended: bool, scope: &Scope, limit: i64, json: bool) -> Result<(), Failure> {
    let group = whom::chosen(&database.config, scope)?;
    let opt_outs = database
        .store
        .list_opt_outs(ended, group.map(|group| group.name), limit)
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
            output::one_line(&opt_out.number, 20),
            output::one_line(&opt_out.suppression_group, 40),
            stamp(opt_out.opted_out_at),
            opt_out.opted_in_at.map(stamp).unwrap_or_default(),
            opt_out.source.clone(),
            output::one_line(evidence, 60),
        ]
    };
    let head = ["number", "group", "opted out", "lifted", "source", "evidence"];
    output::print(&output::table(head, &opt_outs.iter().map(row).collect::<Vec<_>>()))
}

/// Records what each of these numbers asked for in each of these groups: all can be read, or nothing is done.
async fn change(
    database: &Database,
    numbers: &[String],
    groups: &[Group<'_>],
    how: &How,
    opts_out: bool,
) -> Result<(), Failure> {
    let mut asked = Vec::new();
    for number in numbers {
        for &group in groups {
            asked.push((whom::typed(number, group)?, group.name));
        }
    }
    database.store.check_erasure_key().await.map_err(database::failed)?;
    let (mut printer, mut refused) = (Printer::default(), Vec::new());
    for (address, group) in &asked {
        let change = ConsentChange {
            group,
            address,
            opts_out,
            source: Source::Operator,
            asked_at: how.asked_at,
            note: how.note.as_deref(),
        };
        let effect = database.store.change_consent(&change).await.map_err(database::failed)?;
        match said(effect, address, group) {
            Ok(said) => printer.print(&said),
            Err(said) => refused.push(said),
        }
    }
    printer.done()?;
    if refused.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!(refused.join("\n       ")).into())
}

/// What came of it; an error if things are not as was asked for.
fn said(effect: Effect, address: &Address, group: &str) -> Result<String, String> {
    let about = |what: &str| format!("{} {what} (group `{group}`)", address.key());
    match effect {
        Effect::Began => Ok(about("will not be texted any more")),
        Effect::InForce => Ok(about("had opted out already")),
        Effect::Lifted => Ok(about("may be texted again")),
        Effect::Superseded => Err(about("has opted in later than that: nothing changed")),
        Effect::NotOptedOut => Err(about("has no opt-out in force")),
        Effect::Stale => Err(about(
            "has opted out later than that, or at the same time: nothing changed",
        )),
    }
}
