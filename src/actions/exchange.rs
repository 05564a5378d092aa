//! One request and its answer, for whoever wants to watch: `smshook actions test` shows each as it happens.
//!
//! It must not show a secret: requests come as previews, and what an answer repeats of a secret is struck out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::client::{Answer, Client, Failure};
use super::look::Look;
use super::redact::Redaction;
use super::request::{Credential, Rendered, dispatch};
use crate::config::action::HttpSpec;

/// A request that was made and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The connector's operation, if it was one.
    pub operation: Option<&'static str>,
    /// Method, URL, headers and body; `***` for secrets.
    pub request: Value,
    /// The answer, or why there is none.
    pub answer: Result<ExchangeAnswer, String>,
    /// From the first byte to the end of the answer.
    pub took: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct ExchangeAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, cookies aside.
    pub headers: Vec<(String, String)>,
    /// As much of its body as was read; `***` for secrets.
    pub body: String,
}

/// Is told of every exchange.
pub type Observer = Arc<dyn Fn(&Exchange) + Send + Sync>;

/// A stored request about to be sent.
pub(super) struct Letter<'a> {
    pub(super) spec: &'a HttpSpec,
    pub(super) request: &'a Rendered,
    /// The stable name of the operation.
    pub(super) key: &'a str,
    pub(super) operation: Option<&'static str>,
    /// A header that was fetched for it.
    pub(super) credential: Option<&'a Credential>,
    /// What must not be repeated.
    pub(super) redaction: &'a Redaction,
    /// For a text to the sender: taken when nothing is left but to write.
    pub(super) look: Option<&'a Arc<Look>>,
}

impl Letter<'_> {
    /// Sends it; the failure says where.
    pub(super) async fn send(&self, client: &Client, now: DateTime<Utc>) -> Result<Answer, Failure> {
        let dispatch = dispatch(self.spec, self.request, self.key, self.credential, now)
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let origin = dispatch.url.origin().ascii_serialization();
        let begun = Instant::now();
        let answer = client
            .send(dispatch, self.spec.max_response_bytes, self.look)
            .await
            .map_err(|failure| failure.at(&origin));
        if let Some(observer) = client.observer() {
            observer(&self.exchange(&answer, begun.elapsed()));
        }
        answer
    }

    fn exchange(&self, answer: &Result<Answer, Failure>, took: Duration) -> Exchange {
        let shown = |answer: &Answer| ExchangeAnswer {
            status: answer.status,
            headers: answer
                .headers
                .iter()
                .filter(|(name, _)| *name != http::header::SET_COOKIE)
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    (name.to_string(), self.redaction.without_secrets(&value))
                })
                .collect(),
            body: self.redaction.without_secrets(&String::from_utf8_lossy(&answer.body)),
        };
        Exchange {
            operation: self.operation,
            request: self.request.preview(self.spec),
            answer: answer.as_ref().map(shown).map_err(ToString::to_string),
            took,
        }
    }
}
