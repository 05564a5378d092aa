//! What an attempt writes down before it acts, so that the next one knows what may have happened.
//!
//! It must not send anything, and it holds no secret: those are added to a request at the moment of sending.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::email::Mail;
use super::look::{Finding, Look};
use super::request::Rendered;
use crate::job::{Job, JobKind, Outcome};
use crate::store::{ActionResult, LastLook, Link, LinkChange, LoopLimits, Report, SendGate, Store, StoreError, Turn};

/// Between two tries to write down that nothing was sent.
const TAKE_BACK_AGAIN: Duration = Duration::from_millis(250);

/// `jobs.progress` of an action that sends a request.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The request as it goes out on every attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Rendered>,
    /// The mail as it goes out on every attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mail: Option<Mail>,
    /// There before the first byte leaves, gone once the end is known. Left over, it means that nobody knows. The store
    /// looks for this name too: at the send gate, and when a person retries the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sending: Option<Sending>,
}

/// An attempt that may have sent.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sending {
    /// Which attempt.
    pub(super) attempt: i32,
    /// Whether the other side has had its time to report on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) waited: bool,
}

impl Sending {
    /// This attempt, about to send.
    pub(super) const fn by(job: &Job) -> Self {
        Self {
            attempt: job.attempt,
            waited: false,
        }
    }
}

impl Progress {
    /// What earlier attempts of this job wrote down.
    pub(super) fn of(job: &Job) -> Result<Self, Outcome> {
        if job.progress.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(&job.progress).map_err(|_unreadable| {
            Outcome::Discard("the job's progress was written by another version and cannot be read".to_owned())
        })
    }

    pub(super) fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Where progress is kept and texts are let through.
pub(super) enum Journal {
    /// Postgres.
    Store(Store),
    /// Nowhere: one attempt is made to be watched, and leaves no trace of ours.
    Trial,
    /// A scripted stand-in: the room's tests need no database.
    #[cfg(test)]
    Scripted(super::tests::Script),
}

impl Journal {
    /// Saves progress. The error is what the attempt ends with: nothing may be sent then.
    pub(super) async fn save(&self, job: &Job, progress: &Progress) -> Result<(), Outcome> {
        let value = progress.to_value();
        let saved = match self {
            Self::Store(store) => store.save_progress(job.id, job.claim, &value).await,
            Self::Trial => Ok(true),
            #[cfg(test)]
            Self::Scripted(script) => Ok(script.save(&value)),
        };
        match saved {
            Ok(true) => Ok(()),
            Ok(false) => Err(Outcome::Release),
            Err(error) => Err(Outcome::Retry {
                error: format!("progress was not saved: {error}"),
                after: None,
            }),
        }
    }

    /// Notes that the attempt's end is known after all.
    pub(super) async fn clear_sending(&self, job: &Job, progress: &mut Progress) -> Result<(), Outcome> {
        progress.sending = None;
        self.save(job, progress).await
    }

    /// The gate before a text leaves.
    pub(super) async fn begin_send(
        &self,
        job: &Job,
        reference: &str,
        text: &str,
        limits: &LoopLimits,
        progress: &Progress,
    ) -> Result<SendGate, Outcome> {
        let value = progress.to_value();
        let gate = match self {
            Self::Store(store) => store.begin_send(job, reference, text, limits, &value).await,
            Self::Trial => Ok(SendGate::Clear {
                group: String::new(),
                again: false,
            }),
            #[cfg(test)]
            Self::Scripted(script) => Ok(script.begin_send(&value)),
        };
        gate.map_err(|error| Outcome::Retry {
            error: format!("the send gate did not answer: {error}"),
            after: None,
        })
    }

    /// Notes that the provider refused a text because it holds the sender for opted out: nothing was sent.
    pub(super) async fn note_opt_out(
        &self,
        job: &Job,
        code: &str,
        follows: &[String],
        progress: &mut Progress,
    ) -> Result<(), Outcome> {
        progress.sending = None;
        let Some(store) = self.store() else {
            return self.save(job, progress).await;
        };
        match store.provider_opted_out(job, code, follows, &progress.to_value()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Outcome::Release),
            Err(error) => {
                // it was refused and is refused again: that is no reason to wonder whether it was sent
                self.save(job, progress).await?;
                Err(passing("the provider's opt-out was not recorded", &error))
            }
        }
    }

    /// The look to be taken when the gate was clear and the connection stands.
    pub(super) fn last_look(&self, job: &Job, group: String) -> Arc<Look> {
        match self {
            Self::Store(store) => {
                let (store, job) = (store.clone(), job.clone());
                Look::new(Box::pin(async move {
                    let look = match job.kind {
                        JobKind::OptOutConfirmation => store.last_look_at_confirmation(&job).await,
                        _ => store.last_look(&job, &group).await,
                    };
                    Ok(match look.map_err(|error| error.to_string())? {
                        LastLook::Clear(hold) => Finding::Clear {
                            since: hold.since(),
                            held: Box::new(hold),
                        },
                        LastLook::Suppressed => Finding::Suppressed,
                        LastLook::LeaseLost => return Err("the attempt took longer than its lease".to_owned()),
                    })
                }))
            }
            Self::Trial => Look::at_nothing(),
            #[cfg(test)]
            Self::Scripted(script) => script.last_look(),
        }
    }

    /// Notes that an attempt which passed the gate wrote nothing. That is known only now, and whoever finds `sending` left
    /// over believes that it may have been sent: so a database that is away is asked until the attempt's time is up.
    pub(super) async fn take_back(&self, job: &Job, progress: &mut Progress, again: bool) -> Result<(), Outcome> {
        progress.sending = None;
        let (value, mut pause) = (progress.to_value(), tokio::time::interval(TAKE_BACK_AGAIN));
        loop {
            pause.tick().await;
            let taken = match self.store() {
                // the record of an earlier attempt, which may have left, stays
                Some(store) if again => store.save_progress(job.id, job.claim, &value).await,
                Some(store) => store.take_back_send(job, &value).await,
                None => return self.save(job, progress).await,
            };
            match taken {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Outcome::Release),
                Err(error) => {
                    tracing::warn!(job = job.id, error = %error, "a text was not sent, and that was not noted yet");
                }
            }
        }
    }

    /// What the gateway has told us about the reply with this reference.
    pub(super) async fn report_on(&self, reference: &str) -> Result<Option<Report>, Outcome> {
        let report = match self {
            Self::Store(store) => store.report_on(reference).await,
            Self::Trial => Ok(None),
            #[cfg(test)]
            Self::Scripted(script) => Ok(script.report_on(reference)),
        };
        report.map_err(|error| Outcome::Retry {
            error: format!("the reply was not looked up: {error}"),
            after: None,
        })
    }

    /// The store, where there is one.
    const fn store(&self) -> Option<&Store> {
        match self {
            Self::Store(store) => Some(store),
            Self::Trial => None,
            #[cfg(test)]
            Self::Scripted(_) => None,
        }
    }

    /// The right to find or create things for the sender in an account.
    pub(super) async fn take_turn(&self, job: &Job, account: &str) -> Result<Turn, Outcome> {
        let Some(store) = self.store() else {
            return Ok(Turn::Taken);
        };
        let turn = store.take_turn(job, account).await;
        turn.map_err(|error| passing("the turn was not taken", &error))
    }

    /// Gives that right back.
    pub(super) async fn leave_turn(&self, job: &Job) -> Result<(), Outcome> {
        let Some(store) = self.store() else {
            return Ok(());
        };
        let left = store.leave_turn(job.id).await;
        left.map_err(|error| passing("the turn was not given back", &error))
    }

    /// What is remembered of a sender.
    pub(super) async fn links(&self, account: &str, action: &str, sender: &str) -> Result<Vec<Link>, Outcome> {
        let Some(store) = self.store() else {
            return Ok(Vec::new());
        };
        let links = store.links(account, action, sender).await;
        links.map_err(|error| passing("what is remembered of the sender was not read", &error))
    }

    /// Saves where a flow is, and what it has learnt about the sender.
    pub(super) async fn save_step(
        &self,
        job: &Job,
        account: &str,
        progress: &Value,
        changes: &[LinkChange],
    ) -> Result<(), Outcome> {
        let Some(store) = self.store() else {
            return Ok(());
        };
        match store.save_step(job, account, progress, changes).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Outcome::Release),
            Err(error) => Err(passing("progress was not saved", &error)),
        }
    }

    /// What other actions of a message have come to.
    pub(super) async fn results_of(&self, job: &Job, actions: &[String]) -> Result<Vec<ActionResult>, Outcome> {
        let Some(store) = self.store() else {
            return Ok(Vec::new());
        };
        let results = store.results_of(job.message.id, actions).await;
        results.map_err(|error| passing("the results of other actions were not read", &error))
    }
}

fn passing(what: &str, error: &StoreError) -> Outcome {
    Outcome::Retry {
        error: format!("{what}: {error}"),
        after: None,
    }
}
