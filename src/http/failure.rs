//! What happens after a signature failed and the answer has gone: why it failed is looked for and written into the
//! request's log line, and the delivery is kept where the operator wants that.
//!
//! It must never delay or change an answer: nothing here runs before the answer is made, and what costs time runs on a
//! thread for that. It is bounded whatever a stranger sends: so many failures looked into per second, so many bytes hashed
//! for each. No value of a header, no query, no body goes into the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request_line::RequestLine;
use crate::config::{Config, Endpoint};
use crate::metrics::Metrics;
use crate::signature::diagnosis::{self, Case};
use crate::signature::{Keys, Received, Refusal};
use crate::store::{RefusedDelivery, RefusedLimits, Store};

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
    /// Whether it is of the kind that an endpoint may keep.
    keeps: bool,
}

impl Failed {
    /// `keeps`: whether it was refused, and not a test of ours.
    pub(super) fn of(place: usize, received: &Received<'_>, unproven: Unproven, keeps: bool) -> Self {
        Self {
            place,
            unproven,
            // Without a signature it could never verify, and anybody can send any number of those.
            keeps: keeps && !unproven.is_missing(),
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

/// Refused deliveries on their way into the database at once; beyond them they are dropped and counted.
const MOST_KEEPING: usize = 8;

/// Looks into failures.
pub(super) struct Failures {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    store: Store,
    looked_into: Pace,
    /// Those without any signature have a pace of their own: scanners must not keep the others from being looked into.
    unsigned: Pace,
    /// Held while one is looked into: a burst of them costs one core, not all.
    looking: Mutex<()>,
    shouted: Pace,
    keeping: Arc<Semaphore>,
}

impl Failures {
    pub(super) fn of(config: Arc<Config>, metrics: Arc<Metrics>, store: Store) -> Self {
        Self {
            config,
            metrics,
            store,
            looked_into: Pace::begin(),
            unsigned: Pace::begin(),
            looking: Mutex::new(()),
            shouted: Pace::begin(),
            keeping: Arc::new(Semaphore::new(MOST_KEEPING)),
        }
    }

    /// Finds out why, writes the line, shouts where the delivery was taken all the same, and keeps it where the operator
    /// wants that. Returns at once.
    pub(super) fn look_into(self: &Arc<Self>, mut line: RequestLine, failed: Failed) {
        if line.is_taken_unverified() {
            self.metrics.unverified(line.endpoint());
        }
        let permit = self.permit_to_keep(&failed, line.endpoint());
        line.cause = self.known_without_looking(&failed);
        if line.cause.is_some() {
            self.finish(&line);
            drop(line);
            self.keep(failed, None, permit);
            return;
        }
        let failures = Arc::clone(self);
        // The line outlives the answer; should this never run, it is written without a cause.
        drop(tokio::task::spawn_blocking(move || {
            line.cause = failures.cause(&failed);
            failures.finish(&line);
            let cause = line.cause.clone();
            drop(line);
            failures.keep(failed, cause, permit);
        }));
    }

    /// What stands in for a cause that is not looked for.
    fn known_without_looking(&self, failed: &Failed) -> Option<String> {
        match failed.unproven {
            Unproven::NoSecret => Some("the endpoint has no secret yet".to_owned()),
            Unproven::Refused(_) if failed.body.len() > LARGEST => Some(format!(
                "not looked into: the body is larger than {} KiB; `smshook verify` does it",
                LARGEST / 1024
            )),
            Unproven::Refused(refusal) if !self.pace(refusal).goes() => {
                Some("not looked into: too many signatures fail at once".to_owned())
            }
            Unproven::Refused(_) => None,
        }
    }

    const fn pace(&self, refusal: Refusal) -> &Pace {
        if refusal.is_missing() {
            &self.unsigned
        } else {
            &self.looked_into
        }
    }

    /// The right to write one refused delivery, where its endpoint keeps any.
    fn permit_to_keep(&self, failed: &Failed, endpoint: &str) -> Option<OwnedSemaphorePermit> {
        let limits = self.config.endpoints.get(failed.place)?.keep_refused;
        limits.filter(|_| failed.keeps)?;
        let permit = Arc::clone(&self.keeping).try_acquire_owned().ok();
        if permit.is_none() {
            self.metrics.refused_kept(endpoint, "dropped");
        }
        permit
    }

    /// Writes it on a task of its own, if there is the right to.
    fn keep(self: &Arc<Self>, failed: Failed, cause: Option<String>, permit: Option<OwnedSemaphorePermit>) {
        let Some(permit) = permit else {
            return;
        };
        let failures = Arc::clone(self);
        drop(tokio::spawn(async move {
            failures.write(failed, cause).await;
            drop(permit);
        }));
    }

    async fn write(&self, failed: Failed, cause: Option<String>) {
        let Some(endpoint) = self.config.endpoints.get(failed.place) else {
            return;
        };
        let Some(keep) = endpoint.keep_refused else {
            return;
        };
        let limits = RefusedLimits {
            count: keep.count,
            bytes: keep.bytes,
            age: keep.age,
        };
        let outcome = match self.store.keep_refused(&kept(endpoint, failed, cause), limits).await {
            Ok(Some(_)) => "kept",
            Ok(None) => "too_large",
            Err(_) => "failed",
        };
        self.metrics.refused_kept(&endpoint.name, outcome);
    }

    fn cause(&self, failed: &Failed) -> Option<String> {
        // What a panic left behind is nothing.
        let _one_at_a_time = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = self.config.endpoints.get(failed.place)?;
        cause(&self.config, endpoint, failed.received(endpoint))
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

/// What is kept of it: of the headers those that the scheme reads, and what the body is said to be.
fn kept(endpoint: &Endpoint, failed: Failed, cause: Option<String>) -> RefusedDelivery {
    let mut names = endpoint.gateway.signature.all_headers();
    names.push(&CONTENT_TYPE);
    names.sort_unstable_by_key(|name| name.as_str());
    names.dedup();
    let values = |name: &&HeaderName| failed.headers.get_all(*name).into_iter();
    let headers = names
        .iter()
        .flat_map(|name| values(name).map(|value| (name.as_str().to_owned(), value.as_bytes().to_vec())))
        .collect();
    RefusedDelivery {
        endpoint: endpoint.name.clone(),
        reason: failed.unproven.as_str().to_owned(),
        cause,
        method: failed.method.as_str().to_owned(),
        url: endpoint.url.clone(),
        headers,
        query: failed.query,
        body: failed.body,
    }
}

/// Why a delivery to `endpoint` does not verify, in one short sentence; `None` for an endpoint without a secret.
pub fn cause(config: &Config, endpoint: &Endpoint, received: Received<'_>) -> Option<String> {
    let others = other_secrets(config, endpoint);
    let others: Vec<(&str, &Keys)> = others.iter().map(|(owner, keys)| (owner.as_str(), *keys)).collect();
    let findings = diagnosis::diagnose(&Case {
        scheme: &endpoint.gateway.signature,
        keys: endpoint.keys.as_ref()?,
        others: &others,
        received,
        budget: BUDGET,
    });
    Some(diagnosis::cause(&findings))
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
