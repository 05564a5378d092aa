//! The notifier: tells each configured webhook of every change of consent, at least once and in order.
//!
//! A loop of its own for each webhook, beside the worker: one that is away holds up neither another nor any job. What is left
//! to tell is in Postgres; this keeps nothing that a restart would lose. It must not know what a notice says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::actions::{Told, WebhookSender};
use crate::config::Config;
use crate::job::RetryPolicy;
use crate::metrics::Metrics;
use crate::store::{ClaimedNotice, NoticeEnd, NoticeSettlement, Store, StoreError};

/// Notices on their way to one webhook at once, of as many numbers.
const AT_ONCE: usize = 8;
/// How much longer a lease is than the attempt it covers: time to settle.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// The wait after a failure; when it ends for good is the store's rule, which counts days and not attempts.
const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: i32::MAX,
    base: Duration::from_secs(2),
    cap: Duration::from_hours(1),
};
/// What was to be told to webhooks that are gone is looked for so seldom.
const POLLS_PER_SWEEP: u32 = 10;

/// How long the database may take: far longer than it needs, so that only one that is frozen or behind a dead network is
/// given up, and a stop is heard.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the store answers, unless it takes too long.
async fn patiently<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_hangs| Err(StoreError::hangs()))
}

/// The notifier of one process.
#[derive(Debug)]
pub struct Notifier {
    config: Arc<Config>,
    store: Store,
    sender: Arc<WebhookSender>,
    metrics: Arc<Metrics>,
    woken: watch::Sender<()>,
}

impl Notifier {
    /// A notifier for every configured webhook.
    pub fn new(config: Arc<Config>, store: Store, sender: Arc<WebhookSender>, metrics: Arc<Metrics>) -> Self {
        Self {
            config,
            store,
            sender,
            metrics,
            woken: watch::Sender::new(()),
        }
    }

    /// What is to be sent a unit when a notice may have been written. A hint: polling is the truth.
    pub fn waker(&self) -> watch::Sender<()> {
        self.woken.clone()
    }

    /// Works until `stop`, then gives running attempts the configured grace and gives back what is left.
    pub async fn run(self, stop: CancellationToken) {
        let mut couriers = JoinSet::new();
        for (name, webhook) in &self.config.webhooks {
            let courier = Courier {
                webhook: name.clone(),
                lease: webhook.timeout + LEASE_MARGIN,
                poll: self.config.worker.poll,
                grace: self.config.worker.stop_grace,
                store: self.store.clone(),
                sender: Arc::clone(&self.sender),
                metrics: Arc::clone(&self.metrics),
                running: HashMap::new(),
                attempts: JoinSet::new(),
                unsettled: Vec::new(),
                more: true,
            };
            couriers.spawn(courier.run(self.woken.subscribe(), stop.clone()));
        }
        self.sweep(&stop).await;
        while let Some(ended) = couriers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "a part of the notifier ended by itself; this is a bug in smshook");
            }
        }
    }

    /// Looks now and then for what was to be told to webhooks that are gone, until `stop`.
    async fn sweep(&self, stop: &CancellationToken) {
        let period = self.config.worker.poll.saturating_mul(POLLS_PER_SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            match patiently(self.store.discard_unregistered_notices()).await {
                Ok(0) => {}
                Ok(notices) => tracing::warn!(
                    notices,
                    "discarded notices for webhooks that are not configured any more"
                ),
                Err(error) => tracing::debug!(error = %error, "could not look for notices of unknown webhooks"),
            }
        }
    }
}

/// An attempt on its way.
struct Running {
    id: i64,
    claim: i32,
    attempt: i32,
    since: Instant,
}

/// An attempt that ended, and whether that is written.
struct Ended {
    settlement: NoticeSettlement,
    attempt: i32,
    duration: Duration,
}

/// The loop of one webhook.
struct Courier {
    webhook: String,
    lease: Duration,
    poll: Duration,
    grace: Duration,
    store: Store,
    sender: Arc<WebhookSender>,
    metrics: Arc<Metrics>,
    running: HashMap<Id, Running>,
    attempts: JoinSet<Told>,
    unsettled: Vec<Ended>,
    more: bool,
}

impl Courier {
    async fn run(mut self, mut woken: watch::Receiver<()>, stop: CancellationToken) {
        let mut poll = tokio::time::interval(self.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            if std::mem::take(&mut self.more) {
                self.claim().await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.attempts.join_next_with_id() => self.finish(ended).await,
                // the notifier holds a sender for as long as this runs
                Ok(()) = woken.changed() => self.more = true,
                _ = poll.tick() => {
                    self.more = true;
                    self.settle().await;
                }
            }
        }
        self.drain().await;
    }

    async fn claim(&mut self) {
        let free = AT_ONCE.saturating_sub(self.running.len() + self.unsettled.len());
        if free == 0 {
            return;
        }
        match patiently(self.store.claim_notices(&self.webhook, free, self.lease)).await {
            Ok(claimed) => {
                for notice in claimed {
                    self.start(notice);
                }
                self.settle().await;
            }
            Err(error) => tracing::warn!(webhook = self.webhook, error = %error, "could not look for notices"),
        }
    }

    fn start(&mut self, notice: ClaimedNotice) {
        let running = Running {
            id: notice.id,
            claim: notice.claim,
            attempt: notice.attempt,
            since: Instant::now(),
        };
        if notice.lost_before {
            tracing::warn!(
                notice.id,
                webhook = self.webhook,
                "took over a notice whose process ended or stalled"
            );
            self.metrics.notice(&self.webhook, "lost");
        }
        match notice.change {
            Ok(change) => {
                let (sender, webhook) = (Arc::clone(&self.sender), self.webhook.clone());
                let attempt = async move { sender.tell(&webhook, &change).await };
                let id = self.attempts.spawn(attempt).id();
                self.running.insert(id, running);
            }
            Err(reason) => {
                self.unsettled
                    .push(running.ended(NoticeEnd::Discarded(reason.to_owned())));
                self.more = true;
            }
        }
    }

    /// Settles an attempt that ended, together with all others that ended by now.
    async fn finish(&mut self, ended: Result<(Id, Told), JoinError>) {
        self.record(ended);
        while let Some(ended) = self.attempts.try_join_next_with_id() {
            self.record(ended);
        }
        self.settle().await;
        self.more = true;
    }

    fn record(&mut self, ended: Result<(Id, Told), JoinError>) {
        let (id, told) = match ended {
            Ok((id, told)) => (id, Some(told)),
            Err(error) if error.is_cancelled() => (error.id(), None),
            Err(error) => (
                error.id(),
                Some(Told::Failed {
                    error: "the attempt panicked; this is a bug in smshook".to_owned(),
                    after: None,
                }),
            ),
        };
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        let end = match told {
            Some(Told::Delivered) => NoticeEnd::Delivered,
            Some(Told::Failed { error, after }) => NoticeEnd::Failed {
                error,
                wait: RETRY.wait(running.attempt, after, rand::random()),
            },
            None => NoticeEnd::Released,
        };
        self.unsettled.push(running.ended(end));
    }

    /// Writes what is unsettled. A database that is away keeps it for the next try; a lease that ended meanwhile is another
    /// process's, and the fence keeps us off.
    async fn settle(&mut self) {
        if self.unsettled.is_empty() {
            return;
        }
        let settlements: Vec<NoticeSettlement> = self.unsettled.iter().map(|ended| ended.settlement.clone()).collect();
        match patiently(self.store.settle_notices(&settlements)).await {
            Ok(settled) => {
                for ended in std::mem::take(&mut self.unsettled) {
                    let left = settled.iter().find(|settled| settled.id == ended.settlement.id);
                    self.report(&ended, left.map(|left| left.is_discarded));
                }
            }
            Err(error @ StoreError::Refused(_)) => {
                tracing::error!(webhook = self.webhook, error = %error, "a settlement was refused; the notices are told again when their leases end");
                self.unsettled.clear();
            }
            Err(error) => tracing::warn!(webhook = self.webhook, error = %error, "could not settle, trying again"),
        }
    }

    /// Says how an attempt ended; `is_discarded` is `None` if its claim was not the latest any more.
    fn report(&self, ended: &Ended, is_discarded: Option<bool>) {
        let outcome = match (&ended.settlement.end, is_discarded) {
            (_, None) => {
                tracing::warn!(
                    notice.id = ended.settlement.id,
                    webhook = self.webhook,
                    "an attempt ended after its lease and changed nothing"
                );
                return;
            }
            (_, Some(true)) => "discarded",
            (NoticeEnd::Delivered, _) => "delivered",
            (NoticeEnd::Released, _) => "release",
            (NoticeEnd::Failed { .. } | NoticeEnd::Discarded(_), _) => "retry",
        };
        self.metrics.notice(&self.webhook, outcome);
        let (id, attempt, webhook) = (ended.settlement.id, ended.attempt, self.webhook.as_str());
        let duration_ms = u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            "retry" => tracing::warn!(
                notice.id = id,
                webhook,
                attempt,
                duration_ms,
                "a webhook did not take a change of consent; it is told again (v1.notices has the error)"
            ),
            "discarded" => tracing::error!(
                notice.id = id,
                webhook,
                attempt,
                "a change of consent is not told to a webhook (v1.notices has the reason)"
            ),
            _ => tracing::info!(
                notice.id = id,
                webhook,
                attempt,
                outcome,
                duration_ms,
                "attempt {attempt} of notice {id}: {outcome}"
            ),
        }
    }

    /// No new claims; running attempts may end within the grace; what is left is given back at no cost.
    async fn drain(&mut self) {
        let deadline = Instant::now() + self.grace;
        while !self.attempts.is_empty() {
            match tokio::time::timeout_at(deadline, self.attempts.join_next_with_id()).await {
                Ok(Some(ended)) => self.finish(ended).await,
                Ok(None) => break,
                Err(_elapsed) => {
                    self.attempts.abort_all();
                    while let Some(ended) = self.attempts.join_next_with_id().await {
                        self.record(ended);
                    }
                }
            }
        }
        for _ in 0..3 {
            self.settle().await;
        }
    }
}

impl Running {
    fn ended(self, end: NoticeEnd) -> Ended {
        Ended {
            settlement: NoticeSettlement {
                id: self.id,
                claim: self.claim,
                end,
            },
            attempt: self.attempt,
            duration: self.since.elapsed(),
        }
    }
}
