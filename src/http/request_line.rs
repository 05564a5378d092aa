//! The one log line and the one count of a webhook request.
//!
//! It must never hold a header's value, a query, a body or a number: it is written as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use uuid::Uuid;

use super::self_test;
use crate::metrics::Metrics;
use crate::store::AcceptedStatus;

/// What became of a request; the words of the log and of the metric `requests`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Accepted(AcceptedStatus),
    /// `smshook doctor` asked whether the way here is clear: nothing was stored.
    SelfTest,
    NotFound,
    MethodNotAllowed,
    Refused,
    TooLarge,
    Timeout,
    Broken,
    Unavailable,
    /// The connection ended before the answer.
    Abandoned,
    /// The handler panicked.
    Bug,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted(status) => status.as_str(),
            Self::SelfTest => self_test::WORD,
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Unavailable => "unavailable",
            Self::Abandoned => "abandoned",
            Self::Bug => "bug",
        }
    }
}

/// An answer and what it means.
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) response: Response,
    pub(super) reason: Option<&'static str>,
    pub(super) message_id: Option<Uuid>,
}

impl Answer {
    pub(super) const fn new(outcome: Outcome, response: Response) -> Self {
        Self {
            outcome,
            response,
            reason: None,
            message_id: None,
        }
    }

    pub(super) const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }
}

/// Written on drop: also a request that panics, or whose connection is torn down in the middle, leaves its line. Where a
/// signature failed it outlives the answer until the cause has been looked for.
pub(super) struct RequestLine {
    metrics: Arc<Metrics>,
    begun: Instant,
    /// From the first byte of the request's head to the answer; `None` before there is one.
    took: Option<Duration>,
    /// `None` for an unknown path, which is the stranger's wording: all of them share one label.
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) bytes: usize,
    outcome: Outcome,
    status: StatusCode,
    pub(super) reason: Option<&'static str>,
    pub(super) message_id: Option<Uuid>,
    /// The place in `secrets`, from 1, of the one that matched: who rotates must know when the old one is unused.
    pub(super) secret: Option<u32>,
    /// False where a delivery was taken that did not verify; not said otherwise.
    pub(super) verified: Option<bool>,
    /// Why a signature failed, in a sentence for the operator.
    pub(super) cause: Option<String>,
}

impl RequestLine {
    pub(super) fn begin(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            begun: Instant::now(),
            took: None,
            endpoint: None,
            bytes: 0,
            outcome: Outcome::Abandoned,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: None,
            message_id: None,
            secret: None,
            verified: None,
            cause: None,
        }
    }

    /// The request is answered: counts it and lets the answer go.
    pub(super) fn answered(&mut self, answer: Answer) -> Response {
        self.took = Some(self.begun.elapsed());
        self.outcome = answer.outcome;
        self.status = answer.response.status();
        self.reason = self.reason.or(answer.reason);
        self.message_id = answer.message_id;
        self.count();
        answer.response
    }

    /// The endpoint's name, as the log and the metrics have it.
    pub(super) fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("unknown")
    }

    /// Whether a delivery was stored that proves nothing.
    pub(super) const fn is_taken_unverified(&self) -> bool {
        matches!((self.verified, self.outcome), (Some(false), Outcome::Accepted(_)))
    }

    fn count(&self) {
        self.metrics.request(self.endpoint(), self.outcome.as_str());
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        if self.took.is_none() {
            if std::thread::panicking() {
                self.outcome = Outcome::Bug;
            }
            self.count();
        }
        tracing::info!(
            target: "smshook::http",
            endpoint = self.endpoint(),
            outcome = self.outcome.as_str(),
            status = (self.outcome != Outcome::Abandoned).then(|| self.status.as_u16()),
            duration_ms = self.took.unwrap_or_else(|| self.begun.elapsed()).as_secs_f64() * 1e3,
            message.id = self.message_id.map(tracing::field::display),
            bytes = self.bytes,
            reason = self.reason,
            secret = self.secret,
            verified = self.verified,
            cause = self.cause.as_deref(),
            "request"
        );
    }
}
