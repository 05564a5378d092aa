//! Telling a webhook of a change of consent: the body, its signature, and what the answer means.
//!
//! It must not decide when it is tried again nor remember anything: the outbox is the store's. Nothing of what a person wrote
//! is told, only that they opted out or in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::ActionsError;
use super::answer::{Verdict, judge};
use super::client::{Client, Clients, Failure};
use super::exchange::Letter;
use super::redact::Redaction;
use super::request::Rendered;
use crate::config::action::{HttpSpec, OnUnknown};
use crate::config::{Config, WebhookSpec};
use crate::store::ChangeOfConsent;

/// What an attempt to tell came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// The webhook has taken it.
    Delivered,
    /// It has not, or nobody knows: to be told again.
    Failed {
        /// What went wrong, for a person; no secret, number or text.
        error: String,
        /// When the webhook wants to hear from us, if it said so.
        after: Option<Duration>,
    },
}

impl Told {
    fn failed(error: impl Into<String>) -> Self {
        Self::Failed {
            error: error.into(),
            after: None,
        }
    }
}

/// The way to every configured webhook.
#[derive(Debug)]
pub struct WebhookSender {
    config: Arc<Config>,
    clients: BTreeMap<String, Client>,
}

impl WebhookSender {
    /// A client for each webhook.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(config: Arc<Config>) -> Result<Self, ActionsError> {
        let mut clients = Clients::default();
        let client =
            |spec: &WebhookSpec| Ok((spec.name.clone(), clients.client_for(&spec.request, OnUnknown::Resend)?));
        let clients = config
            .webhooks
            .values()
            .map(client)
            .collect::<Result<_, ActionsError>>()?;
        Ok(Self { config, clients })
    }

    /// Tells `webhook` of a change, within the time it is given. This future may be dropped at any point: then the webhook may
    /// have been told or not.
    pub async fn tell(&self, webhook: &str, change: &ChangeOfConsent) -> Told {
        let (Some(spec), Some(client)) = (self.config.webhooks.get(webhook), self.clients.get(webhook)) else {
            return Told::failed("this process does not have the webhook in its configuration");
        };
        tokio::time::timeout(spec.timeout, attempt(client, &spec.request, change))
            .await
            .unwrap_or_else(|_elapsed| Told::failed(format!("no end after {} ms", spec.timeout.as_millis())))
    }
}

async fn attempt(client: &Client, spec: &HttpSpec, change: &ChangeOfConsent) -> Told {
    let now = Utc::now();
    let id = webhook_id(change);
    let request = match Rendered::of_our_own(spec, &id, &body(change)) {
        Ok(request) => request,
        Err(error) => return Told::failed(error.to_string()),
    };
    let redaction = Redaction::of_notice(spec, &change.number, &request);
    let letter = Letter {
        spec,
        request: &request,
        key: &id,
        operation: None,
        credential: None,
        redaction: &redaction,
        look: None,
    };
    match letter.send(client, now).await {
        Ok(answer) => told(judge(spec, OnUnknown::Resend, &answer, &redaction, now)),
        Err(Failure::NotSent(error) | Failure::Refused(error)) => Told::failed(error),
        Err(Failure::Unknown(error)) => Told::failed(format!("{error}; it may have been received")),
    }
}

/// Only a 2xx is the end of it.
fn told(verdict: Verdict) -> Told {
    match verdict {
        Verdict::Done { .. } => Told::Delivered,
        Verdict::Passing { error, after } => Told::Failed { error, after },
        Verdict::Refused(error) | Verdict::Unauthorized(error) | Verdict::NotSent(error) | Verdict::Unknown(error) => {
            Told::failed(error)
        }
    }
}

/// The name of a change, the same on every attempt: who has seen it may ignore it.
fn webhook_id(change: &ChangeOfConsent) -> String {
    format!("evt_{}", change.event_id)
}

/// What is told, the same bytes on every attempt.
fn body(change: &ChangeOfConsent) -> Value {
    json!({
        "type": "opt_out.changed",
        "timestamp": instant(change.recorded_at),
        "data": {
            "number": change.number,
            "group": change.group,
            "opted_out": change.opted_out,
            "source": change.source,
            "asked_at": change.asked_at.map(instant),
            "recorded_at": instant(change.recorded_at),
            "event_id": change.event_id,
        },
    })
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
