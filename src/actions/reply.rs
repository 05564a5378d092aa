//! A text back to the sender, through the gateway the message came by.
//!
//! It must not send without the store's gate, which looks at opt-outs, expiry and loops in the transaction that records
//! the send, nor without the last look, which its client takes once it is connected; and it never cuts a text short.

use std::time::Duration;

use serde_json::json;

use super::answer::Verdict;
use super::client::Client;
use super::context::{context, operation_key, reply_context};
use super::http::watched_exchange;
use super::progress::{Journal, Progress, Sending};
use super::request::Rendered;
use crate::config::ReplyChannel;
use crate::config::action::OnUnknown;
use crate::job::{Job, JobKind, Outcome};
use crate::store::{LoopLimits, Report, SendGate};
use crate::template::Template;

/// How long to wait for the gateway's own report on a reply whose fate is unknown.
const REPORT: Duration = Duration::from_mins(1);

/// What to reply and how.
pub(super) struct Reply<'a> {
    pub(super) channel: &'a ReplyChannel,
    pub(super) text: &'a Template,
    pub(super) on_unknown: OnUnknown,
    /// What runs when the provider says that the sender has opted out.
    pub(super) on_opt_out: &'a [String],
    /// Whether a rule of the gateway's own that matched counts as an answer.
    pub(super) skip_if_gateway_rule_matched: bool,
}

/// Runs an attempt.
pub(super) async fn run(
    journal: &Journal,
    client: &Client,
    limits: &LoopLimits,
    job: &Job,
    reply: &Reply<'_>,
) -> Outcome {
    attempt(journal, client, limits, job, reply)
        .await
        .unwrap_or_else(|outcome| outcome)
}

async fn attempt(
    journal: &Journal,
    client: &Client,
    limits: &LoopLimits,
    job: &Job,
    reply: &Reply<'_>,
) -> Result<Outcome, Outcome> {
    let reference = operation_key(job);
    let mut progress = Progress::of(job)?;
    if progress.sending.is_some() {
        settle_unknown(journal, job, &reference, reply.on_unknown, &mut progress).await?;
        // To be sent again: the gate takes a `sending` that is left over for a reason to stop.
        journal.save(job, &progress).await?;
    }
    may_answer(job, reply)?;
    let text = text(job, reply)?;
    let request = render(job, reply, &text, progress.request.take())?;
    progress.request = Some(request.clone());
    progress.sending = Some(Sending::by(job));
    let gate = journal.begin_send(job, &reference, &text, limits, &progress).await?;
    let (group, again) = pass(job, gate)?;
    let look = journal.last_look(job, group);
    let (spec, on_unknown) = (&reply.channel.request, reply.on_unknown);
    let signs = &reply.channel.opted_out;
    let (verdict, opted_out) = watched_exchange(client, job, spec, on_unknown, &request, Some(&look), signs).await;
    if let Some(code) = opted_out {
        journal
            .note_opt_out(job, &code, reply.on_opt_out, &mut progress)
            .await?;
        return Err(Outcome::Cancel(
            "the provider holds the sender for opted out".to_owned(),
        ));
    }
    match verdict {
        Verdict::Done { .. } => {}
        Verdict::NotSent(_) => journal.take_back(job, &mut progress, again).await?,
        Verdict::Unknown(_) => wait_for_report(journal, job, &mut progress).await?,
        _ => journal.clear_sending(job, &mut progress).await?,
    }
    Ok(match verdict {
        // The store ties the gateway's reports to the reply by `reference`, and by the `id` among the captures.
        Verdict::Done { status, captures } => {
            Outcome::Done(json!({ "reference": reference, "status": status, "captures": captures }))
        }
        Verdict::Passing { error, after } => Outcome::Retry { error, after },
        Verdict::NotSent(_) if look.found_suppressed() => Outcome::Cancel(withheld(job).to_owned()),
        Verdict::NotSent(error) => Outcome::Retry { error, after: None },
        // An answer that comes hours late is worse than none, so replies do not wait for new credentials.
        Verdict::Refused(error) | Verdict::Unauthorized(error) => Outcome::Discard(error),
        // The next attempt asks what the gateway has reported meanwhile before it decides.
        Verdict::Unknown(error) => Outcome::Retry {
            error: format!("{error}; it may have been sent"),
            after: Some(REPORT),
        },
    })
}

/// Decides about an earlier attempt that may have sent: ends the job, or waits, unless it may be sent again.
async fn settle_unknown(
    journal: &Journal,
    job: &Job,
    reference: &str,
    on_unknown: OnUnknown,
    progress: &mut Progress,
) -> Result<(), Outcome> {
    if let Some(report) = journal.report_on(reference).await? {
        return Err(reported(reference, &report));
    }
    match &progress.sending {
        _ if on_unknown == OnUnknown::Resend => {
            progress.sending = None;
            Ok(())
        }
        // Its time was up or its process died: nobody has asked the gateway to report yet.
        Some(earlier) if !earlier.waited => {
            let reason = format!(
                "attempt {} may have been sent; waiting for the gateway's report",
                earlier.attempt
            );
            wait_for_report(journal, job, progress).await?;
            Err(Outcome::Snooze { after: REPORT, reason })
        }
        earlier => Err(Outcome::Discard(format!(
            "not known whether attempt {} was sent: it ended before the gateway answered, and the gateway has reported \
             nothing since; `smshook jobs retry {}` sends it again",
            earlier.as_ref().map_or(job.attempt, |earlier| earlier.attempt),
            job.id
        ))),
    }
}

/// The gateway had it: it is done, or the gateway says that it will not arrive.
fn reported(reference: &str, report: &Report) -> Outcome {
    if report.is_failure() {
        let why = report.error.as_deref().unwrap_or(&report.kind);
        return Outcome::Discard(format!("the gateway could not deliver it: {why}"));
    }
    let mut result = json!({ "reference": reference, "event": report.kind });
    if let (Some(state), Some(members)) = (&report.state, result.as_object_mut()) {
        members.insert("state".to_owned(), json!(state));
    }
    Outcome::Done(result)
}

/// Notes that the next attempt finds a gateway that has had its time.
async fn wait_for_report(journal: &Journal, job: &Job, progress: &mut Progress) -> Result<(), Outcome> {
    if let Some(sending) = &mut progress.sending {
        sending.waited = true;
    }
    journal.save(job, progress).await
}

/// Whether this sender is to be answered at all.
fn may_answer(job: &Job, reply: &Reply<'_>) -> Result<(), Outcome> {
    if !job.message.sender_answerable {
        return Err(Outcome::Cancel(
            "the sender is not a number that can be answered".to_owned(),
        ));
    }
    if reply.skip_if_gateway_rule_matched && !job.message.gateway_rules.is_empty() {
        return Err(Outcome::Cancel(
            "a rule of the gateway's own matched and may have answered".to_owned(),
        ));
    }
    Ok(())
}

/// The gateway's request with the text in it: the stored one, or a new one.
pub(super) fn render(job: &Job, reply: &Reply<'_>, text: &str, stored: Option<Rendered>) -> Result<Rendered, Outcome> {
    let names = reply_context(job, job.claimed_at, text);
    let (spec, key) = (&reply.channel.request, operation_key(job));
    Rendered::reuse_or_make(stored, spec, reply.text.source(), &key, &names)
        .map_err(|error| Outcome::Discard(error.to_string()))
}

/// The text, if it is one that may be sent.
pub(super) fn text(job: &Job, reply: &Reply<'_>) -> Result<String, Outcome> {
    let names = context(job, job.claimed_at);
    let text = reply
        .text
        .render(&names)
        .map_err(|error| Outcome::Discard(format!("the reply's text does not render: {error}")))?;
    if text.trim().is_empty() {
        return Err(Outcome::Discard("the reply's text is empty".to_owned()));
    }
    let (chars, most) = (text.chars().count(), reply.channel.max_text_chars);
    if chars > most {
        return Err(Outcome::Discard(format!(
            "the reply's text has {chars} characters and the gateway takes {most}"
        )));
    }
    Ok(text)
}

/// What the last look needs, where the gate lets the text through.
fn pass(job: &Job, gate: SendGate) -> Result<(String, bool), Outcome> {
    let reason = match gate {
        SendGate::Clear { group, again } => return Ok((group, again)),
        SendGate::LeaseLost => return Err(Outcome::Release),
        SendGate::Suppressed if job.kind == JobKind::OptOutConfirmation => {
            "the opt-out that this confirms is no longer in force".to_owned()
        }
        SendGate::Suppressed => "the sender has opted out".to_owned(),
        SendGate::Expired => "it is too late to send this".to_owned(),
        SendGate::LoopGuard(withheld) => format!("loop guard: {}", withheld.reason),
        // Our own `sending` was dealt with before the gate, so it was another job that did it.
        SendGate::AlreadySent => "another job has sent this confirmation".to_owned(),
    };
    Err(Outcome::Cancel(reason))
}

/// Why the last look held it back: told apart from the gate, so that the record shows how far it got.
fn withheld(job: &Job) -> &'static str {
    match job.kind {
        JobKind::OptOutConfirmation => {
            "the opt-out that this confirms was no longer in force when it was about to be sent, or its five minutes were over"
        }
        _ => "the sender opted out while this was about to be sent",
    }
}
