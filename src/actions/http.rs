//! One request of the user's own: render, write down, send, judge.
//!
//! It must not send before the journal says that the job is still ours.

use std::sync::Arc;

use chrono::Utc;
use serde_json::json;

use super::answer::{Verdict, judge, opted_out};
use super::client::{Client, Failure};
use super::context::{context, operation_key};
use super::exchange::Letter;
use super::look::Look;
use super::progress::{Journal, Progress, Sending};
use super::redact::Redaction;
use super::request::Rendered;
use crate::config::OptedOutSign;
use crate::config::action::{HttpSpec, OnUnknown};
use crate::job::{Job, Outcome};

/// Runs an attempt.
pub(super) async fn run(journal: &Journal, client: &Client, job: &Job, spec: &HttpSpec) -> Outcome {
    attempt(journal, client, job, spec)
        .await
        .unwrap_or_else(|outcome| outcome)
}

async fn attempt(journal: &Journal, client: &Client, job: &Job, spec: &HttpSpec) -> Result<Outcome, Outcome> {
    let mut progress = Progress::of(job)?;
    if let (Some(earlier), true) = (&progress.sending, spec.on_unknown != OnUnknown::Resend) {
        return Err(unknown(earlier.attempt, "it ended before an answer came"));
    }
    let names = context(job, job.claimed_at);
    let request = Rendered::reuse_or_make(progress.request.take(), spec, "", &operation_key(job), &names)
        .map_err(|error| Outcome::Discard(error.to_string()))?;
    progress.request = Some(request.clone());
    progress.sending = Some(Sending::by(job));
    journal.save(job, &progress).await?;
    let verdict = exchange(client, job, spec, spec.on_unknown, &request, None).await;
    if !matches!(verdict, Verdict::Done { .. } | Verdict::Unknown(_)) {
        journal.clear_sending(job, &mut progress).await?;
    }
    Ok(match verdict {
        Verdict::Done { status, captures } => Outcome::Done(json!({ "status": status, "captures": captures })),
        Verdict::Passing { error, after } => Outcome::Retry { error, after },
        Verdict::NotSent(error) => Outcome::Retry { error, after: None },
        // Every other message would end like this one: they wait until somebody has mended it.
        Verdict::Unauthorized(error) => Outcome::Pause(error),
        Verdict::Refused(error) => Outcome::Discard(error),
        Verdict::Unknown(error) if spec.on_unknown == OnUnknown::Resend => Outcome::Retry {
            error: format!("{error}; it may have been received"),
            after: None,
        },
        Verdict::Unknown(error) => unknown(job.attempt, &error),
    })
}

/// Sends a stored request and reads what came back. A text to the sender brings its last look.
pub(super) async fn exchange(
    client: &Client,
    job: &Job,
    spec: &HttpSpec,
    on_unknown: OnUnknown,
    request: &Rendered,
    look: Option<&Arc<Look>>,
) -> Verdict {
    watched_exchange(client, job, spec, on_unknown, request, look, &[])
        .await
        .0
}

/// As [`exchange`]; with it the code by which a refusal says that the provider holds the sender for opted out, if it does.
pub(super) async fn watched_exchange(
    client: &Client,
    job: &Job,
    spec: &HttpSpec,
    on_unknown: OnUnknown,
    request: &Rendered,
    look: Option<&Arc<Look>>,
    signs: &[OptedOutSign],
) -> (Verdict, Option<String>) {
    let now = Utc::now();
    let redaction = Redaction::new(spec, job, request);
    let letter = Letter {
        spec,
        request,
        key: &operation_key(job),
        operation: None,
        credential: None,
        redaction: &redaction,
        look,
    };
    match letter.send(client, now).await {
        Ok(answer) => match judge(spec, on_unknown, &answer, &redaction, now) {
            done @ Verdict::Done { .. } => (done, None),
            verdict => (verdict, opted_out(signs, &answer)),
        },
        Err(Failure::NotSent(error)) => (Verdict::NotSent(error), None),
        Err(Failure::Refused(error)) => (Verdict::Refused(error), None),
        Err(Failure::Unknown(error)) => (Verdict::Unknown(error), None),
    }
}

/// The end of a job that must not be sent twice and may have been sent once. `sending` stays in its progress, so that
/// only a person's retry, which removes it, sends again.
pub(super) fn unknown(attempt: i32, why: &str) -> Outcome {
    Outcome::Discard(format!("not known whether attempt {attempt} was received: {why}"))
}
