//! What a job's templates may use, and the names under which a job is known to other systems.
//!
//! It must not decide anything: it only spells out a job.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::job::Job;
use crate::template::Context;

/// The names that an action's templates may use: the gateway's own (`from`, `text`, `ref`, `now`, `tenantName`,
/// `deviceId`, so that a rule moves over as it is) and ours. The same names as [`crate::template::sample`].
pub fn context(job: &Job, now: DateTime<Utc>) -> Context {
    Context::new(names(job, now))
}

/// The same names before they are a context, for who has more to add.
pub(super) fn names(job: &Job, now: DateTime<Utc>) -> Value {
    let message = &job.message;
    let mut names = json!({
        "from": message.sender_raw,
        "to": message.recipient_raw,
        "text": message.text,
        "ref": message.reference,
        "now": instant(now),
        "tenantName": message.tenant_name,
        "deviceId": message.device_id,
        "sender": message.sender,
        "recipient": message.recipient,
        "endpoint": message.endpoint,
        "message": {
            "id": message.id,
            "message_id": message.message_id,
            "sent_at": message.sent_at.map(instant),
            "received_at": instant(message.received_at),
            "conversation_id": message.conversation_id,
            "duplicates": message.duplicates,
            "media": if message.media.is_array() { message.media.clone() } else { json!([]) },
            "missing_parts": message.missing_parts,
            "verified": message.verified,
            "consent": {
                "event": message.consent_event,
                "keyword": message.consent_keyword,
                "language": message.consent_language,
            },
        },
        "rule": job.rule,
        "action": job.action,
        "m": if job.captures.is_object() { job.captures.clone() } else { json!({}) },
        "job": { "id": job.id, "attempt": job.attempt },
    });
    if let (Value::Object(names), true) = (&mut names, job.results.is_object()) {
        names.insert("results".to_owned(), job.results.clone());
    }
    names
}

/// The names that a gateway file's reply request may use; the same names as [`crate::template::sample_reply`].
pub(super) fn reply_context(job: &Job, now: DateTime<Utc>, text: &str) -> Context {
    let message = &job.message;
    Context::new(json!({
        "to": message.sender,
        "from": message.recipient,
        "reply_text": text,
        "reply_ref": operation_key(job),
        "deviceId": message.device_id,
        "now": instant(now),
    }))
}

/// How long to wait for something that has not happened since the job was made: a quarter of that again, so that a long
/// wait is not a busy one.
pub(super) fn growing(job: &Job, least: Duration) -> Duration {
    let age = (job.claimed_at - job.created_at).to_std().unwrap_or_default();
    (age / 4).clamp(least, Duration::from_mins(1))
}

/// The stable name of what a job does, the same on every attempt: idempotency key, reference of a reply, id of a signed
/// webhook. At most 60 characters (Mobile API Connect takes a `ref` of 64).
pub(super) fn operation_key(job: &Job) -> String {
    format!("smshook-{}-{}", job.message.id.simple(), job.id)
}

fn instant(at: DateTime<Utc>) -> Value {
    Value::String(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}
