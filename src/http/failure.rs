//! What happens after a signature failed and the answer has gone: why it failed is looked for and written into the
//! request's log line.
//!
//! It must never delay or change an answer: nothing here runs before the answer is made, and what costs time runs on a
//! thread for that. It is bounded whatever a stranger sends: so many failures looked into per second, so many bytes hashed
//! for each. No value of a header, no query, no body goes into the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::request_line::RequestLine;
use crate::config::{Config, Endpoint};
use crate::metrics::Metrics;
use crate::signature::diagnosis::{self, Case};
use crate::signature::{Keys, Received, Refusal};

/// Why a delivery proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unproven {
    /// Its signature was looked at.
    Refused(Refusal),
    /// The endpoint only observes, and has no secret yet.
    NoSecret,
}

impl Unproven {
    /// The word for it in logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::NoSecret => "no_secret",
        }
    }

    pub(super) const fn is_missing(self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_missing())
    }
}

/// A delivery whose signature failed, as much of it as finding out why may need.
pub(super) struct Failed {
    /// The endpoint's place in the configuration.
    place: usize,
    unproven: Unproven,
    method: Method,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
    at: i64,
}

impl Failed {
    pub(super) fn of(place: usize, received: &Received<'_>, unproven: Unproven) -> Self {
        Self {
            place,
            unproven,
            method: received.method.clone(),
            query: received.query.map(str::to_owned),
            headers: received.headers.clone(),
            body: received.body.clone(),
            at: received.at,
        }
    }

    fn received<'a>(&'a self, endpoint: &'a Endpoint) -> Received<'a> {
        Received {
            method: &self.method,
            url: &endpoint.url,
            query: self.query.as_deref(),
            headers: &self.headers,
            body: &self.body,
            at: self.at,
        }
    }
}

/// Bodies larger than this are not looked into.
const LARGEST: usize = 64 * 1024;
/// Bytes hashed for one failure at most: a tenth of a second of one core.
const BUDGET: u64 = 16 * 1024 * 1024;

/// Looks into failures.
pub(super) struct Failures {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    looked_into: Pace,
    shouted: Pace,
}

impl Failures {
    pub(super) fn of(config: Arc<Config>, metrics: Arc<Metrics>) -> Self {
        Self {
            config,
            metrics,
            looked_into: Pace::begin(),
            shouted: Pace::begin(),
        }
    }

    /// Finds out why, writes the line, and shouts where the delivery was taken all the same. Returns at once.
    pub(super) fn look_into(self: &Arc<Self>, mut line: RequestLine, failed: Failed) {
        if line.is_taken_unverified() {
            self.metrics.unverified(line.endpoint());
        }
        let cause = match failed.unproven {
            Unproven::NoSecret => Some("the endpoint has no secret yet".to_owned()),
            Unproven::Refused(_) if failed.body.len() > LARGEST => Some(format!(
                "not looked into: the body is larger than {} KiB; `smshook verify` does it",
                LARGEST / 1024
            )),
            Unproven::Refused(_) if !self.looked_into.goes() => {
                Some("not looked into: too many signatures fail at once".to_owned())
            }
            Unproven::Refused(_) => None,
        };
        if let Some(cause) = cause {
            line.cause = Some(cause);
            return self.finish(&line);
        }
        let failures = Arc::clone(self);
        // The line outlives the answer; should this never run, it is written without a cause.
        drop(tokio::task::spawn_blocking(move || {
            line.cause = failures.cause(&failed);
            failures.finish(&line);
        }));
    }

    fn cause(&self, failed: &Failed) -> Option<String> {
        let endpoint = self.config.endpoints.get(failed.place)?;
        let keys = endpoint.keys.as_ref()?;
        let others = other_secrets(&self.config, endpoint);
        let others: Vec<(&str, &Keys)> = others.iter().map(|(owner, keys)| (owner.as_str(), *keys)).collect();
        let findings = diagnosis::diagnose(&Case {
            scheme: &endpoint.gateway.signature,
            keys,
            others: &others,
            received: failed.received(endpoint),
            budget: BUDGET,
        });
        Some(diagnosis::cause(&findings))
    }

    /// A delivery that was taken without proof is more than a line among others.
    fn finish(&self, line: &RequestLine) {
        if !line.is_taken_unverified() || !self.shouted.goes() {
            return;
        }
        tracing::warn!(
            target: "smshook::http",
            endpoint = line.endpoint(),
            message.id = line.message_id.map(tracing::field::display),
            reason = line.reason,
            cause = line.cause.as_deref(),
            unsaid = self.shouted.unsaid(),
            "a delivery that did not verify was taken, because this endpoint only observes (`mode = \"observe\"`)"
        );
    }
}

/// The secrets that a delivery to `endpoint` may have been signed with by mistake: its retired ones, and those of the other
/// endpoints, each with what to call it.
pub fn other_secrets<'a>(config: &'a Config, endpoint: &'a Endpoint) -> Vec<(String, &'a Keys)> {
    let retired = endpoint
        .retired
        .iter()
        .map(|keys| ("the retired secret".to_owned(), keys));
    let elsewhere = config.endpoints.iter().filter(|other| other.name != endpoint.name);
    let elsewhere = elsewhere.flat_map(|other| {
        let (keys, retired) = (other.keys.iter(), other.retired.iter());
        let keys = keys.map(|keys| (format!("the secret of the endpoint {}", other.name), keys));
        keys.chain(retired.map(|keys| (format!("the retired secret of the endpoint {}", other.name), keys)))
    });
    retired.chain(elsewhere).collect()
}

/// So many at once, and then one per second.
struct Pace {
    begun: Instant,
    /// When all may go at once again, in milliseconds after `begun`.
    rested_at: AtomicU64,
    /// Those that might not go since the last that was told of them.
    unsaid: AtomicU64,
}

const AT_ONCE: u64 = 10;
const EVERY_MS: u64 = 1000;

impl Pace {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            rested_at: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    fn goes(&self) -> bool {
        self.goes_at(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn goes_at(&self, now: u64) -> bool {
        let next = |rested_at: u64| {
            let next = rested_at.max(now) + EVERY_MS;
            (next <= now + AT_ONCE * EVERY_MS).then_some(next)
        };
        // Nothing else hangs on the order in which two threads see this number.
        let goes = self
            .rested_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok();
        if !goes {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
        }
        goes
    }

    /// How many did not go since this was last asked; `None` for none.
    fn unsaid(&self) -> Option<u64> {
        Some(self.unsaid.swap(0, Ordering::Relaxed)).filter(|unsaid| *unsaid > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_go_at_once_and_then_one_per_second() {
        let pace = Pace::begin();
        let go = |now: u64| (0..100).filter(|_| pace.goes_at(now)).count();
        assert_eq!(go(0), 10);
        assert_eq!(pace.unsaid(), Some(90));
        assert_eq!(pace.unsaid(), None);
        assert_eq!((go(999), go(1000), go(3500)), (0, 1, 2));
        assert_eq!(go(60_000), 10);
    }
}
