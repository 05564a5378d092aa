//! A message that nobody sent, for commands that show or try what it would cause. Nothing of it is stored.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::send::{FICTIONAL_RECIPIENT, FICTIONAL_SENDER};
use crate::config::Endpoint;
use crate::consent;
use crate::job::{Job, JobKind, JobMessage};
use crate::message::InboundMessage;
use crate::phone;

/// The message as the endpoint would read it.
pub(super) fn message(endpoint: &Endpoint, from: &str, to: &str, text: &str) -> InboundMessage {
    InboundMessage::new(
        phone::normalise(from, &endpoint.reading.numbers),
        phone::normalise(to, &endpoint.reading.numbers),
        text.to_owned(),
    )
}

/// The job of an action for the message, as it would be claimed for the first time. `id` stands for the message: it makes
/// the keys by which other systems recognise what they have done before.
pub(super) fn job(endpoint: &Endpoint, message: &InboundMessage, action: &str, id: Uuid, now: DateTime<Utc>) -> Job {
    Job {
        id: 0,
        claim: 1,
        attempt: 1,
        kind: JobKind::Action,
        action: action.to_owned(),
        rule: None,
        captures: json!({}),
        results: Value::Null,
        progress: Value::Null,
        expires_at: None,
        claimed_at: now,
        created_at: now,
        message: stored(endpoint, message, id, now),
    }
}

/// A job for asking whether a connection works: it is about nobody.
pub(super) fn nobodys_job(endpoint: &Endpoint, action: &str) -> Job {
    let message = message(endpoint, FICTIONAL_SENDER, FICTIONAL_RECIPIENT, "");
    job(endpoint, &message, action, Uuid::now_v7(), Utc::now())
}

fn stored(endpoint: &Endpoint, message: &InboundMessage, id: Uuid, now: DateTime<Utc>) -> JobMessage {
    let consent = consent::classify(&message.text, &endpoint.policy.vocabulary);
    JobMessage {
        id,
        endpoint: endpoint.name.clone(),
        message_id: None,
        conversation_id: message.conversation_id(),
        sender: message.sender.key().to_owned(),
        sender_raw: message.sender.raw().to_owned(),
        sender_answerable: message.sender.can_be_answered(),
        recipient: message.recipient.key().to_owned(),
        recipient_raw: message.recipient.raw().to_owned(),
        text: message.text.clone(),
        sent_at: Some(now),
        received_at: now,
        reference: None,
        device_id: None,
        tenant_name: None,
        media: Value::Null,
        consent_event: consent.as_ref().map(|decision| decision.event.as_str().to_owned()),
        consent_keyword: consent.as_ref().map(|decision| decision.keyword.clone().into_owned()),
        consent_language: consent.and_then(|decision| decision.language).map(str::to_owned),
        missing_parts: 0,
        verified: true,
        duplicates: 0,
        gateway_rules: Vec::new(),
    }
}
