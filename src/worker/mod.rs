//! The worker: wake, claim, run, settle; and at the end, drain.
//!
//! One loop per process decides everything; actions run beside it, each bounded by its timeout, and report back to it.
//! LISTEN wakes it at once, polling is the truth. It must not know what an action does, nor keep anything that a restart
//! would lose: the queue is in Postgres.

mod housekeeping;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::housekeeping::Housekeeping;
use crate::actions::Actions;
use crate::config::{Config, Worker as WorkerConfig};
use crate::job::{Job, JobKind, Outcome, RetryPolicy};
use crate::metrics::Metrics;
use crate::store::{Claimed, JOBS_CHANNEL, NOTICE_WRITTEN, Settlement, Store, StoreError, Want};

/// How much longer a lease is than the attempt it covers: time to settle.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// Compliance replies have no configuration of their own.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long arming the listener may take: without it polling finds the work.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries of a settlement that Postgres would not take.
const SETTLE_AGAIN: Duration = Duration::from_millis(250);

/// What the worker must know of one action.
#[derive(Clone, Debug)]
struct Limits {
    timeout: Duration,
    concurrency: usize,
    retry: RetryPolicy,
    /// Whether other actions of a message wait for this one.
    awaited: bool,
    running: usize,
}

/// A running attempt.
struct Running {
    job_id: i64,
    claim: i32,
    attempt: i32,
    action: String,
    since: Instant,
}

/// The worker of one process.
pub struct Worker {
    store: Store,
    actions: Arc<Actions>,
    metrics: Arc<Metrics>,
    settings: WorkerConfig,
    limits: HashMap<String, Limits>,
    running: HashMap<Id, Running>,
    attempts: JoinSet<Outcome>,
    unsettled: Vec<Settlement>,
    /// Until it runs.
    housekeeping: Option<Housekeeping>,
    more: bool,
    /// Whether the paused actions have been given the trial that a start owes them.
    tried: bool,
    /// Who hears of notices; this loop is the only one that listens.
    notices: Option<watch::Sender<()>>,
}

impl Worker {
    /// A worker for every configured action.
    pub fn new(config: &Config, store: Store, actions: Arc<Actions>, metrics: Arc<Metrics>) -> Self {
        let configured = config.actions.values().map(|action| {
            let limits = Limits {
                timeout: action.timeout,
                concurrency: action.concurrency,
                retry: action.retry,
                awaited: config.actions.values().any(|other| other.after.contains(&action.name)),
                running: 0,
            };
            (action.name.clone(), limits)
        });
        let compliance = [
            JobKind::OptOutConfirmation,
            JobKind::OptInConfirmation,
            JobKind::HelpReply,
        ]
        .map(|kind| {
            let limits = Limits {
                timeout: REPLY_TIMEOUT,
                concurrency: 8,
                retry: RetryPolicy::default(),
                awaited: false,
                running: 0,
            };
            (kind.as_str().to_owned(), limits)
        });
        Self {
            housekeeping: Some(Housekeeping::new(config, store.clone())),
            store,
            actions,
            metrics,
            settings: config.worker,
            limits: configured.chain(compliance).collect(),
            running: HashMap::new(),
            attempts: JoinSet::new(),
            unsettled: Vec::new(),
            more: true,
            tried: false,
            notices: None,
        }
    }

    /// The same, passing on that a notice was written.
    #[must_use]
    pub fn waking(self, notices: watch::Sender<()>) -> Self {
        Self {
            notices: Some(notices),
            ..self
        }
    }

    /// Works until `stop`, then gives running attempts the configured grace and gives back what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        // armed before the first look, so that no job falls between the two
        let mut listener = self.listen().await;
        self.try_paused().await;
        let housekeeping = self
            .housekeeping
            .take()
            .map(|keeping| tokio::spawn(keeping.run(stop.clone())));
        let mut poll = tokio::time::interval(self.settings.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            if self.more {
                self.more = false;
                self.claim().await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.attempts.join_next_with_id() => self.finish(ended).await,
                heard = notified(&mut listener) => self.wake(heard),
                _ = poll.tick() => {
                    self.more = true;
                    self.sweep().await;
                    if listener.is_none() {
                        listener = self.listen().await;
                    }
                }
            }
        }
        self.drain().await;
        if let Some(housekeeping) = housekeeping
            && let Err(error) = housekeeping.await
        {
            tracing::error!(error = %error, "housekeeping ended by itself; this is a bug in smshook");
        }
    }

    /// Whoever restarts may have mended the credentials: each paused action has a trial at once.
    async fn try_paused(&mut self) {
        let configured: Vec<String> = self.limits.keys().cloned().collect();
        match self.store.try_paused_actions(&configured).await {
            Ok(paused) => {
                self.tried = true;
                if paused > 0 {
                    tracing::info!(paused, "trying each paused action with one job");
                }
            }
            Err(error) => tracing::debug!(error = %error, "could not look for paused actions"),
        }
    }

    async fn listen(&self) -> Option<PgListener> {
        let armed = async {
            let mut listener = PgListener::connect_with(self.store.pool()).await?;
            listener.listen(JOBS_CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let armed = tokio::time::timeout(LISTEN_WITHIN, armed).await;
        let listener = armed.ok().and_then(Result::ok);
        self.metrics.listening.set(i64::from(listener.is_some()));
        listener
    }

    fn wake(&mut self, heard: Heard) {
        self.more |= heard.of_jobs;
        if let (true, Some(notices)) = (heard.of_notices, &self.notices) {
            notices.send_replace(());
        }
    }

    /// Claims as much as there are free slots, and starts it. Slots are not shared out beforehand: an action with nothing due
    /// would keep its share from the others. A busy action must not always have the first choice, so the order is drawn.
    async fn claim(&mut self) {
        let free = self.settings.concurrency.saturating_sub(self.running.len());
        let want = |(action, limits): (&String, &Limits)| Want {
            action: action.clone(),
            slots: limits.concurrency.saturating_sub(limits.running),
            lease: limits.timeout + LEASE_MARGIN,
        };
        let is_wanted = |want: &Want| want.slots > 0 && !self.actions.is_held_up(&want.action);
        let mut wants: Vec<Want> = self.limits.iter().map(want).filter(is_wanted).collect();
        if free == 0 || wants.is_empty() {
            return;
        }
        wants.shuffle(&mut rand::rng());
        match self.store.claim_at_most(free, &wants).await {
            Ok(claimed) => {
                for claimed in claimed {
                    self.start(claimed);
                }
            }
            Err(error) => tracing::warn!(error = %error, "could not look for jobs"),
        }
    }

    fn start(&mut self, claimed: Claimed) {
        let Claimed { job, lost_before } = claimed;
        let Some(limits) = self.limits.get_mut(&job.action) else {
            return;
        };
        if lost_before {
            tracing::warn!(
                job.id,
                job.action,
                job.attempt,
                "took over a job whose process ended or stalled"
            );
            self.metrics.attempt(&job.action, "lost");
        }
        limits.running += 1;
        let running = Running {
            job_id: job.id,
            claim: job.claim,
            attempt: job.attempt,
            action: job.action.clone(),
            since: Instant::now(),
        };
        let attempt = attempt(
            Arc::clone(&self.actions),
            job,
            limits.timeout,
            limits.retry.max_attempts,
        );
        let id = self.attempts.spawn(attempt).id();
        self.running.insert(id, running);
    }

    /// Settles an attempt that ended, together with all others that ended by now.
    async fn finish(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        self.record(ended);
        while let Some(ended) = self.attempts.try_join_next_with_id() {
            self.record(ended);
        }
        self.settle().await;
        self.more = true;
    }

    fn record(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => (error.id(), Outcome::Release),
            Err(error) => (
                error.id(),
                Outcome::Retry {
                    error: "the action panicked; this is a bug in smshook".to_owned(),
                    after: None,
                },
            ),
        };
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        if let Some(limits) = self.limits.get_mut(&running.action) {
            limits.running -= 1;
        }
        let settlement = self.judge(&running, outcome);
        self.unsettled.push(settlement);
    }

    /// Turns an outcome into what is written: the last attempt's failure discards, the others wait.
    fn judge(&self, running: &Running, outcome: Outcome) -> Settlement {
        let limits = self.limits.get(&running.action);
        let retry = limits.map_or_else(RetryPolicy::default, |limits| limits.retry);
        let awaited = limits.is_some_and(|limits| limits.awaited);
        let (outcome, wait) = match outcome {
            Outcome::Retry { error, .. } if retry.exhausted(running.attempt) => (
                Outcome::Discard(format!("gave up after {} attempts: {error}", running.attempt)),
                Duration::ZERO,
            ),
            Outcome::Retry { error, after } => {
                let wait = retry.wait(running.attempt, after, rand::random());
                (Outcome::Retry { error, after }, wait)
            }
            Outcome::Snooze { after, reason } => (Outcome::Snooze { after, reason }, after),
            other => (other, Duration::ZERO),
        };
        let word = word(&outcome);
        self.metrics.attempt(&running.action, word);
        let duration_ms = u64::try_from(running.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            job.id = running.job_id,
            job.action = running.action,
            job.attempt = running.attempt,
            outcome = word,
            duration_ms,
            "attempt {} of job {}: {word}",
            running.attempt,
            running.job_id,
        );
        Settlement {
            job_id: running.job_id,
            claim: running.claim,
            outcome,
            wait,
            awaited,
        }
    }

    /// Writes what is unsettled. A database that is away keeps it for the next try; a lease that ended meanwhile is another
    /// process's, and the fence keeps us off.
    async fn settle(&mut self) {
        if self.unsettled.is_empty() {
            return;
        }
        match self.store.settle(&self.unsettled).await {
            Ok(settled) => {
                if settled < self.unsettled.len() {
                    let lost = self.unsettled.len() - settled;
                    tracing::warn!(lost, "attempts ended after their lease and changed nothing");
                }
                self.unsettled.clear();
            }
            Err(StoreError::Refused(error)) if self.unsettled.len() > 1 => {
                tracing::error!(error = %StoreError::Refused(error), "a settlement was refused, writing them one by one");
                self.settle_one_by_one().await;
            }
            Err(error) => {
                tracing::warn!(error = %error, attempts = self.unsettled.len(), "could not settle, trying again");
                if matches!(error, StoreError::Refused(_)) {
                    self.unsettled.clear();
                } else {
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
            }
        }
    }

    async fn settle_one_by_one(&mut self) {
        for settlement in std::mem::take(&mut self.unsettled) {
            if let Err(error) = self.store.settle(std::slice::from_ref(&settlement)).await {
                tracing::error!(job.id = settlement.job_id, error = %error, "a settlement was refused; the job runs again when its lease ends");
            }
        }
    }

    /// Work of each poll: what could not be settled, and jobs of actions that are gone.
    async fn sweep(&mut self) {
        self.settle().await;
        if !self.tried {
            self.try_paused().await;
        }
        let configured: Vec<String> = self.limits.keys().cloned().collect();
        match self.store.discard_unconfigured(&configured).await {
            Ok(0) => {}
            Ok(jobs) => tracing::warn!(jobs, "discarded jobs of actions that are not configured any more"),
            Err(error) => tracing::debug!(error = %error, "could not look for jobs of unknown actions"),
        }
    }

    /// No new claims; running attempts may end within the grace; what is left is given back at no cost.
    async fn drain(&mut self) {
        let deadline = Instant::now() + self.settings.stop_grace;
        while !self.attempts.is_empty() {
            match tokio::time::timeout_at(deadline, self.attempts.join_next_with_id()).await {
                Ok(Some(ended)) => self.finish(ended).await,
                Ok(None) => break,
                Err(_) => {
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

/// The word of an outcome in logs and metrics.
const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Retry { .. } => "retry",
        Outcome::Snooze { .. } | Outcome::Pause(_) => "snooze",
        Outcome::Discard(_) => "discard",
        Outcome::Cancel(_) => "cancel",
        Outcome::Release => "release",
    }
}

/// One attempt, bounded in time. Attempts count when they start, so a job that kills its process ends here, too.
async fn attempt(actions: Arc<Actions>, job: Job, timeout: Duration, max_attempts: i32) -> Outcome {
    if job.attempt > max_attempts {
        return Outcome::Discard(format!(
            "gave up: {max_attempts} attempts began and the last did not report its end"
        ));
    }
    if job.expires_at.is_some_and(|expires| expires <= job.claimed_at) {
        return Outcome::Cancel("it was too late to run".to_owned());
    }
    tokio::time::timeout(timeout, actions.run(&job))
        .await
        .unwrap_or_else(|_| Outcome::Retry {
            error: format!("no end after {} ms", timeout.as_millis()),
            after: None,
        })
}

/// What notifications were of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Heard {
    of_jobs: bool,
    of_notices: bool,
}

impl Heard {
    fn add(&mut self, payload: &str) {
        if payload == NOTICE_WRITTEN {
            self.of_notices = true;
        } else {
            self.of_jobs = true;
        }
    }
}

/// Waits for a notification. A connection that breaks is one, too: whatever was missed is found by looking.
async fn notified(listener: &mut Option<PgListener>) -> Heard {
    let Some(listening) = listener else {
        return std::future::pending().await;
    };
    let mut heard = Heard::default();
    match listening.recv().await {
        Ok(notification) => heard.add(notification.payload()),
        Err(_broken) => {
            *listener = None;
            return Heard {
                of_jobs: true,
                of_notices: true,
            };
        }
    }
    // one look answers however many said so
    while let Some(notification) = listening.next_buffered() {
        heard.add(notification.payload());
    }
    heard
}
