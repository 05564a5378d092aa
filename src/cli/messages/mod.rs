//! `smshook messages`: one message with all it caused, and the deliveries that could not be read or verified at first.

mod reverify;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use uuid::Uuid;

use super::database::{self, Database};
use super::failure::Failure;
use super::output::{self, Printer, stamp};
use crate::config::{Config, Endpoint};
use crate::http::{Labels, plan};
use crate::metrics::Metrics;
use crate::rules::Standing;
use crate::signature::VerifiedBody;
use crate::store::{
    AcceptedStatus, Acceptor, Delivery, EventRow, JobFilter, JobRow, MessageRow, Origin, PlannedItem, QuarantineRow,
    QuarantinedDelivery,
};

/// What to do with messages.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show one message, its jobs and what the gateway reported about its replies
    Show {
        /// The message, or the quarantined delivery
        id: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read quarantined deliveries again, with the gateway file and the rules of now
    Replay {
        /// The quarantined delivery [default: all of them]
        id: Option<Uuid>,
        /// Every delivery in quarantine, the oldest first (what `replay` alone does)
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Verify refused deliveries that were kept again, with the secrets of now
    Reverify {
        /// The refused delivery [default: all of them, the oldest first]
        id: Option<Uuid>,
    },
}

/// Quarantined deliveries read into memory at once, each up to the largest body taken.
const PAGE: u16 = 1_000;
/// More jobs than one message can have.
const JOBS_OF_A_MESSAGE: i64 = 1_000;

/// Does it.
pub(super) async fn run(config: Option<&Path>, command: Command) -> Result<(), Failure> {
    let database = database::open(config).await?;
    let done = match command {
        Command::Show { id, json } => show(&database, id, json).await,
        Command::Replay { id, all: _ } => replay(&database, id).await,
        Command::Reverify { id } => reverify::run(&database, id).await,
    };
    let closed = database.close().await;
    done.and(closed)
}

async fn show(database: &Database, id: Uuid, json: bool) -> Result<(), Failure> {
    let store = &database.store;
    let Some(message) = store.message(id).await.map_err(database::failed)? else {
        return show_quarantined(database, id, json).await;
    };
    let filter = JobFilter {
        message: Some(id),
        limit: JOBS_OF_A_MESSAGE,
        ..JobFilter::default()
    };
    let jobs = store.list_jobs(&filter).await.map_err(database::failed)?;
    let events = store.events_of(id).await.map_err(database::failed)?;
    if json {
        return output::print_json(&serde_json::json!({ "message": message, "jobs": jobs, "events": events }));
    }
    output::print(&describe(&message, &jobs, &events))
}

async fn show_quarantined(database: &Database, id: Uuid, json: bool) -> Result<(), Failure> {
    match database.store.quarantine_entry(id).await.map_err(database::failed)? {
        None => Err(anyhow::anyhow!("there is no message {id}, nor a quarantined delivery").into()),
        Some(entry) if json => output::print_json(&serde_json::json!({ "quarantined": entry })),
        Some(entry) => output::print(&describe_quarantined(&entry)),
    }
}

fn missing_parts(message: &MessageRow) -> String {
    let missing = message.missing_parts.filter(|parts| *parts > 0);
    missing.map(|parts| parts.to_string()).unwrap_or_default()
}

fn media(message: &MessageRow) -> String {
    let files = message.media.iter().filter_map(serde_json::Value::as_array).flatten();
    let urls = files.filter_map(|file| file.get("url")?.as_str());
    urls.map(|url| output::one_line(url, 200))
        .collect::<Vec<_>>()
        .join(", ")
}

fn describe(message: &MessageRow, jobs: &[JobRow], events: &[EventRow]) -> String {
    let facts = output::facts(&[
        ("message", message.id.to_string()),
        ("endpoint", message.endpoint.clone()),
        ("gateway's id", message.message_id.clone().unwrap_or_default()),
        ("from", message.sender.clone()),
        ("to", message.recipient.clone()),
        ("sent", message.sent_at.map(stamp).unwrap_or_default()),
        ("received", stamp(message.received_at)),
        ("duplicates", message.duplicates.to_string()),
        ("conversation", message.conversation_id.to_string()),
        ("consent", message.consent_event.clone().unwrap_or_default()),
        ("rule", message.rule.clone().unwrap_or_default()),
        ("gateway's rules", message.gateway_rules.join(", ")),
        (
            "signature",
            if message.verified { "" } else { "did not verify" }.to_owned(),
        ),
        ("encrypted", if message.encrypted { "yes" } else { "" }.to_owned()),
        ("missing parts", missing_parts(message)),
        ("media", media(message)),
    ]);
    let mut parts = vec![facts, output::indented(&message.text, "  ")];
    if !jobs.is_empty() {
        parts.push(super::jobs::table(jobs));
    }
    if !events.is_empty() {
        parts.push(events_table(events));
    }
    parts.join("\n\n")
}

fn events_table(events: &[EventRow]) -> String {
    let row = |event: &EventRow| {
        let job = event.job_id.map(|id| id.to_string()).unwrap_or_default();
        [stamp(event.received_at), job, output::one_line(&event.kind, 80)]
    };
    output::table(
        ["reported", "job", "event"],
        &events.iter().map(row).collect::<Vec<_>>(),
    )
}

fn describe_quarantined(entry: &QuarantineRow) -> String {
    output::facts(&[
        ("quarantined", entry.id.to_string()),
        ("endpoint", entry.endpoint.clone()),
        ("reason", entry.reason.clone()),
        ("received", stamp(entry.received_at)),
        ("admitted", entry.admitted_at.map(stamp).unwrap_or_default()),
        (
            "message",
            entry.admitted_as.map(|id| id.to_string()).unwrap_or_default(),
        ),
    ])
}

async fn replay(database: &Database, id: Option<Uuid>) -> Result<(), Failure> {
    let quarantined = database
        .store
        .quarantined(id, i64::from(PAGE))
        .await
        .map_err(database::failed)?;
    if quarantined.is_empty() {
        return nothing_to_replay(id);
    }
    let (config, acceptor) = (&database.config, door(database, quarantined.len())?);
    let mut unread = 0;
    let mut printer = Printer::default();
    for delivery in quarantined {
        unread += usize::from(!admit(config, &acceptor, delivery, &mut printer).await?);
    }
    if unread == 0 {
        return printer.done();
    }
    output::note("\nhint: correct the gateway's file (`[message]` says where the fields are), then replay again");
    Err(Failure::AnswerIsNo)
}

/// The way by which every delivery is stored; says so if these are not all there are.
fn door(database: &Database, deliveries: usize) -> Result<Acceptor, Failure> {
    if deliveries == usize::from(PAGE) {
        output::note(&format!(
            "only the {PAGE} oldest are read this time; do it again for the others"
        ));
    }
    let deadline = database.config.server.accept_deadline;
    let acceptor = Acceptor::start(&database.store, deadline, &Arc::new(Metrics::new()));
    Ok(acceptor.context("starting the batch writer")?)
}

fn nothing_to_replay(id: Option<Uuid>) -> Result<(), Failure> {
    match id {
        None => {
            output::note("nothing is in quarantine");
            Ok(())
        }
        Some(id) => Err(Failure::hinted(
            anyhow::anyhow!("no delivery {id} is in quarantine"),
            "a message that was stored is not read again; `smshook jobs retry` runs its jobs again",
        )),
    }
}

/// Whether the delivery could be read this time.
async fn admit(
    config: &Config,
    acceptor: &Acceptor,
    quarantined: QuarantinedDelivery,
    printer: &mut Printer,
) -> Result<bool, Failure> {
    let id = quarantined.id;
    let Some(endpoint) = config
        .endpoints
        .iter()
        .find(|endpoint| endpoint.name == quarantined.endpoint)
    else {
        output::note(&format!(
            "{id}: the endpoint `{}` is not configured any more",
            quarantined.endpoint
        ));
        return Ok(false);
    };
    let delivery = planned(config, endpoint, quarantined);
    if let [PlannedItem::Unreadable(reason)] = delivery.items.as_slice() {
        output::note(&format!("{id}: still cannot be read: {reason}"));
        return Ok(false);
    }
    let accepted = acceptor
        .accept(delivery)
        .await
        .with_context(|| format!("storing {id}"))?;
    let became = accepted.id.map(|id| format!(" as {id}")).unwrap_or_default();
    let status = accepted.status.as_str();
    if accepted.status == AcceptedStatus::Quarantined {
        output::note(&format!("{id}: still cannot be read"));
        return Ok(false);
    }
    printer.print(&format!("{id}: {status}{became}"));
    Ok(true)
}

fn planned(config: &Config, endpoint: &Endpoint, quarantined: QuarantinedDelivery) -> Delivery {
    let standing = if quarantined.verified {
        Standing::Verified
    } else {
        Standing::Unverified { runs_actions: false }
    };
    let stored = VerifiedBody::verified_when_stored(quarantined.raw);
    let origin = Origin::Quarantine(quarantined.id);
    plan(config, endpoint, &Labels::of(endpoint), &stored, standing, origin)
}
