//! What has to be looked after now and then, beside the loop that claims: lanes that a dead process left behind, opt-outs
//! that delivery reports tell of, and everything that is not kept any longer.
//!
//! It must not hold up a job: it has a task of its own, and gives a database that hangs up at the next stop or after a while.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Retention};
use crate::store::{MOST_NONCES_PER_ENDPOINT, Position, Store, StoreError};

/// Lanes without a head are the trace of a death between two statements: rare, and not worth a look at every poll.
const POLLS_PER_LANE_CHECK: u64 = 5;
/// What is kept for a time only is looked through so seldom; and how many nonces there are, more seldom still.
const POLLS_PER_FORGETTING: u64 = 10;
const POLLS_PER_COUNT_OF_NONCES: u64 = 60;
/// Far longer than one round takes: only a server that is frozen or behind a dead network is given up, until the next round.
const PATIENCE: Duration = Duration::from_secs(30);

/// The housekeeping of one process.
pub(super) struct Housekeeping {
    store: Store,
    poll: Duration,
    /// The actions that follow an opt-out, by endpoint.
    on_opt_out: HashMap<String, Vec<String>>,
    retention: Retention,
    /// Where the looks for what is not kept have got to.
    position: Position,
    polls: u64,
}

impl Housekeeping {
    pub(super) fn new(config: &Config, store: Store) -> Self {
        let actions = config.endpoints.iter();
        Self {
            store,
            poll: config.worker.poll,
            on_opt_out: actions
                .map(|endpoint| (endpoint.name.clone(), endpoint.policy.on_opt_out.clone()))
                .collect(),
            retention: config.retention,
            position: Position::default(),
            polls: 0,
        }
    }

    /// One round each poll, until `stop`. A round may be left at any point: each of its statements is whole by itself.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut poll = tokio::time::interval(self.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = poll.tick() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ended = tokio::time::timeout(PATIENCE, self.round()) => {
                    if ended.is_err() {
                        tracing::warn!("the database does not answer to housekeeping; trying again");
                    }
                }
            }
        }
    }

    async fn round(&mut self) {
        let follows = |endpoint: &str| self.on_opt_out.get(endpoint).cloned().unwrap_or_default();
        if let Err(error) = self.store.record_reported_opt_outs(follows).await {
            tracing::warn!(error = %error, "could not record the opt-outs that delivery reports tell of");
        }
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_LANE_CHECK)
            && let Err(error) = self.store.promote_forgotten().await
        {
            tracing::debug!(error = %error, "could not look for forgotten lanes");
        }
        if let Err(error) = self.store.remove_texts(&mut self.position).await {
            tracing::debug!(error = %error, "could not remove texts that are not kept");
        }
        if self.polls.is_multiple_of(POLLS_PER_FORGETTING)
            && let Err(error) = self.forget().await
        {
            tracing::debug!(error = %error, "could not delete what is not kept any longer");
        }
    }

    /// Nonces and refused deliveries whose time is over, nonces beyond what is kept, what is left of erased people, and what
    /// is older than the operator wants to keep; some of them each time.
    async fn forget(&mut self) -> Result<(), StoreError> {
        self.store.forget_refused().await?;
        self.store.forget_nonces().await?;
        self.store.forget_erased().await?;
        if let Some(age) = self.retention.messages {
            self.store.forget_messages(age, &mut self.position).await?;
        }
        if let Some(age) = self.retention.consent {
            self.store.forget_consent(age, &mut self.position).await?;
        }
        if self.polls.is_multiple_of(POLLS_PER_COUNT_OF_NONCES) {
            self.store.forget_oldest_nonces(MOST_NONCES_PER_ENDPOINT).await?;
        }
        Ok(())
    }
}
