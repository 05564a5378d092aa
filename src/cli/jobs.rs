//! `smshook jobs`: what is waiting, running, done or given up, and setting it going again.

use std::path::Path;

use uuid::Uuid;

use super::database::{self, Database};
use super::failure::Failure;
use super::output::{self, Printer, stamp};
use crate::store::{AttemptRow, JobFilter, JobRow};

/// What to do with jobs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List jobs, the newest first
    List {
        /// Only jobs in this state
        #[arg(long, value_parser = ["waiting", "available", "running", "done", "discarded", "cancelled"])]
        state: Option<String>,
        /// Only jobs of this action
        #[arg(long, value_name = "NAME")]
        action: Option<String>,
        /// Only jobs of this message
        #[arg(long, value_name = "ID")]
        message: Option<Uuid>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one job with each of its attempts
    Show {
        /// The job
        id: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run discarded or cancelled jobs again, each at its place in its lane
    Retry {
        /// The jobs
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
    },
    /// Cancel jobs that are due or waiting
    Discard {
        /// The jobs
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
        /// Why; kept with the job
        #[arg(long, default_value = "discarded by an operator", hide_default_value = true)]
        reason: String,
    },
    /// Let paused actions go on at once, their credentials being mended
    Resume {
        /// The actions
        #[arg(required = true, value_name = "ACTION")]
        actions: Vec<String>,
    },
}

/// Does it.
pub(super) async fn run(config: Option<&Path>, command: Command) -> Result<(), Failure> {
    let database = database::open(config).await?;
    let done = match command {
        Command::List {
            state,
            action,
            message,
            limit,
            json,
        } => {
            list(
                &database,
                &JobFilter {
                    state,
                    action,
                    message,
                    limit,
                },
                json,
            )
            .await
        }
        Command::Show { id, json } => show(&database, id, json).await,
        Command::Retry { ids } => retry(&database, &ids).await,
        Command::Discard { ids, reason } => discard(&database, &ids, &reason).await,
        Command::Resume { actions } => resume(&database, &actions).await,
    };
    let closed = database.close().await;
    done.and(closed)
}

async fn list(database: &Database, filter: &JobFilter, json: bool) -> Result<(), Failure> {
    let jobs = database.store.list_jobs(filter).await.map_err(database::failed)?;
    if json {
        return output::print_json(&jobs);
    }
    if jobs.is_empty() {
        output::note("no such jobs");
        return Ok(());
    }
    output::print(&table(&jobs))
}

/// The jobs in columns; also what `messages show` lists.
pub(super) fn table(jobs: &[JobRow]) -> String {
    let row = |job: &JobRow| {
        [
            job.id.to_string(),
            job.state.clone(),
            output::one_line(&job.action, 40),
            job.attempt.to_string(),
            stamp(job.created_at),
            job.message_id.to_string(),
            output::one_line(job.reason.as_deref().unwrap_or_default(), 120),
        ]
    };
    let head = ["id", "state", "action", "attempt", "created", "message", "reason"];
    output::table(head, &jobs.iter().map(row).collect::<Vec<_>>())
}

async fn show(database: &Database, id: i64, json: bool) -> Result<(), Failure> {
    let Some(job) = database.store.job(id).await.map_err(database::failed)? else {
        return Err(Failure::hinted(
            anyhow::anyhow!("there is no job {id}"),
            "`smshook jobs list` shows which there are",
        ));
    };
    let attempts = database.store.attempts(id).await.map_err(database::failed)?;
    if json {
        return output::print_json(&serde_json::json!({ "job": job, "attempts": attempts }));
    }
    output::print(&describe(&job, &attempts))
}

fn describe(job: &JobRow, attempts: &[AttemptRow]) -> String {
    let when = if job.state == "running" {
        "lease ends"
    } else {
        "not before"
    };
    let mut facts = vec![
        ("job", job.id.to_string()),
        ("state", job.state.clone()),
        ("reason", job.reason.clone().unwrap_or_default()),
        ("kind", job.kind.clone()),
        ("action", job.action.clone()),
        ("rule", job.rule.clone().unwrap_or_default()),
        ("message", job.message_id.to_string()),
        ("attempts", job.attempt.to_string()),
        ("created", stamp(job.created_at)),
    ];
    match job.finished_at {
        Some(at) => facts.push(("finished", stamp(at))),
        None => facts.push((when, stamp(job.run_at))),
    }
    facts.push((
        "result",
        job.result.as_ref().map(ToString::to_string).unwrap_or_default(),
    ));
    let mut text = output::facts(&facts);
    if !attempts.is_empty() {
        text.push_str("\n\n");
        text.push_str(&attempts_table(attempts));
    }
    text
}

fn attempts_table(attempts: &[AttemptRow]) -> String {
    let row = |attempt: &AttemptRow| {
        let took = (attempt.finished_at - attempt.started_at).num_milliseconds();
        [
            attempt.attempt.to_string(),
            stamp(attempt.started_at),
            format!("{took} ms"),
            attempt.outcome.clone(),
            output::one_line(attempt.error.as_deref().unwrap_or_default(), 500),
        ]
    };
    output::table(
        ["attempt", "started", "took", "outcome", "error"],
        &attempts.iter().map(row).collect::<Vec<_>>(),
    )
}

async fn retry(database: &Database, ids: &[i64]) -> Result<(), Failure> {
    let (mut refused, mut printer) = (false, Printer::default());
    for &id in ids {
        if database.store.retry_job(id).await.map_err(database::failed)? {
            printer.print(&format!("job {id} will run again"));
        } else if database.store.is_text_gone(id).await.map_err(database::failed)? {
            output::note(&format!("the text that job {id} was ordered for is not kept any more"));
            refused = true;
        } else {
            output::note(&format!("job {id} is not there, or is neither discarded nor cancelled"));
            refused = true;
        }
    }
    if refused {
        Err(Failure::AnswerIsNo)
    } else {
        printer.done()
    }
}

async fn discard(database: &Database, ids: &[i64], reason: &str) -> Result<(), Failure> {
    let (mut refused, mut printer) = (false, Printer::default());
    for &id in ids {
        if database.store.discard_job(id, reason).await.map_err(database::failed)? {
            printer.print(&format!("job {id} is cancelled"));
        } else {
            output::note(&format!("job {id} is not there, is running, or has ended already"));
            refused = true;
        }
    }
    if refused {
        Err(Failure::AnswerIsNo)
    } else {
        printer.done()
    }
}

async fn resume(database: &Database, actions: &[String]) -> Result<(), Failure> {
    let (mut refused, mut printer) = (false, Printer::default());
    for action in actions {
        if database.store.resume_action(action).await.map_err(database::failed)? {
            printer.print(&format!("action `{action}` goes on"));
        } else {
            output::note(&format!("action `{action}` is not paused"));
            refused = true;
        }
    }
    if refused {
        Err(Failure::AnswerIsNo)
    } else {
        printer.done()
    }
}
