//! A token that is fetched with the client's credentials (RFC 6749 §4.4), shared by all jobs of an account and renewed when
//! most of its life is over or when the other side does not take it any more.
//!
//! One fetch at a time. It must not show or store a token, nor what the other side answered to the credentials.

use std::time::Duration;

use chrono::Utc;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::actions::client::{Client, Failure};
use crate::actions::exchange::{Exchange, ExchangeAnswer};
use crate::actions::request::{Credential, Rendered, dispatch};
use crate::config::connector::TokenSpec;
use crate::job::Outcome;
use crate::template::Context;

/// Where the other side does not say how long a token lives, it is used until it is refused.
const UNTOLD: Duration = Duration::from_hours(24);
/// Of a token's life, in hundredths: renewed after that, long before a request could meet its end.
const USED_FOR: u32 = 80;

/// The token of one account in this process.
#[derive(Default)]
pub(super) struct TokenCache {
    current: Mutex<Option<Token>>,
}

struct Token {
    value: SecretString,
    renew_at: Instant,
}

impl TokenCache {
    /// The header to send; fetched if there is none or its time is over.
    pub(super) async fn credential(
        &self,
        client: &Client,
        spec: &TokenSpec,
        knobs: &Value,
    ) -> Result<Credential, Outcome> {
        let mut current = self.current.lock().await;
        let token = match current.take().filter(|token| Instant::now() < token.renew_at) {
            Some(token) => token,
            None => fetch(client, spec, knobs).await?,
        };
        let value = token.value.expose_secret();
        let credential = Credential {
            name: spec.header.clone(),
            value: format!("{}{value}", spec.prefix).into(),
        };
        *current = Some(token);
        Ok(credential)
    }

    /// Throws away the token that `refused` carries, unless somebody has renewed it already.
    pub(super) async fn refused(&self, refused: &Credential) {
        let mut current = self.current.lock().await;
        let is_refused = |token: &Token| refused.value.expose_secret().ends_with(token.value.expose_secret());
        if current.as_ref().is_some_and(is_refused) {
            *current = None;
        }
    }
}

async fn fetch(client: &Client, spec: &TokenSpec, knobs: &Value) -> Result<Token, Outcome> {
    let secrets: Map<String, Value> = spec
        .secrets
        .iter()
        .map(|(name, secret)| (name.clone(), Value::from(secret.expose_secret())))
        .collect();
    let names = Context::new(json!({ "knob": knobs, "secret": secrets }));
    let now = Utc::now();
    let dispatch = Rendered::reuse_or_make(None, &spec.request, "", "", &names)
        .and_then(|request| dispatch(&spec.request, &request, "", None, now))
        .map_err(|error| Outcome::Pause(format!("the request for a token cannot be made: {error}")))?;
    let url = dispatch.url.clone();
    let begun = Instant::now();
    let answer = client.send(dispatch, spec.request.max_response_bytes, None).await;
    if let Some(observer) = client.observer() {
        observer(&Exchange {
            operation: Some("token"),
            request: json!({ "method": "POST", "url": url.as_str(), "headers": {}, "body": "***" }),
            answer: answer
                .as_ref()
                .map_err(ToString::to_string)
                .map(|answer| ExchangeAnswer {
                    status: answer.status,
                    headers: Vec::new(),
                    body: "***".to_owned(),
                }),
            took: begun.elapsed(),
        });
    }
    let passing = |error: String| Outcome::Retry { error, after: None };
    let answer = answer.map_err(|failure| match failure {
        Failure::Refused(error) => Outcome::Pause(format!("no token: {error}")),
        Failure::NotSent(error) | Failure::Unknown(error) => passing(format!("no token: {error}")),
    })?;
    let (status, host) = (answer.status, url.host_str().unwrap_or_default());
    // The body may repeat the credentials, so the status has to do.
    match status {
        200..=299 => {}
        408 | 425 | 429 | 500..=599 => return Err(passing(format!("no token: {host} answered {status}"))),
        _ => {
            return Err(Outcome::Pause(format!(
                "no token: {host} answered {status} to the credentials"
            )));
        }
    }
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(value) = json.pointer(&spec.access_token).and_then(Value::as_str) else {
        return Err(Outcome::Pause(format!(
            "no token: {host} answered {status} without one"
        )));
    };
    let life = json.pointer(&spec.expires_in).and_then(Value::as_u64);
    let life = life.map_or(UNTOLD, Duration::from_secs);
    Ok(Token {
        value: value.into(),
        renew_at: Instant::now() + life * USED_FOR / 100,
    })
}
