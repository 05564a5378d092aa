//! One operation, once: rendered, written down, sent, judged; and after an unclear end, cleared up first.
//!
//! Whatever happens in between, the rule is: nothing leaves before the journal says that the job is still ours, and nothing
//! is sent again before it is known whether that is safe.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Run;
use super::classify::{Judgement, judge};
use super::hits::{self, Hit};
use super::steps::{Made, Pending};
use crate::actions::client::{Answer, Failure};
use crate::actions::exchange::Letter;
use crate::actions::http::unknown;
use crate::actions::progress::Sending;
use crate::actions::redact::Redaction;
use crate::actions::request::Rendered;
use crate::config::action::{HttpSpec, OnUnknown};
use crate::config::connector::{EffectClass, Meaning, Operation, OperationName};
use crate::job::Outcome;

/// Shortest wait before an unclear operation is looked at again.
const NOT_AT_ONCE: Duration = Duration::from_millis(1);

/// How an operation ended that the flow has to think about.
pub(super) enum Performed {
    /// It is done; what it made.
    Done(Made),
    /// What it is about is not there.
    Gone,
    /// The ticket takes nothing more.
    Closed,
    /// What it was to create is there already.
    Exists,
}

/// What came back of one request.
pub(super) enum Said {
    /// The answer, as JSON where it is that.
    Done(Answer, Option<Value>),
    /// No, and why.
    No {
        meaning: Meaning,
        error: String,
        after: Option<Duration>,
    },
    /// It did not leave.
    NotSent(String),
    /// It must not leave.
    Refused(String),
    /// It may have been received.
    Unknown(String),
}

impl<'a> Run<'a> {
    fn operation(&self, name: OperationName) -> Result<&'a Operation, Outcome> {
        self.spec
            .operations
            .get(&name)
            .ok_or_else(|| Outcome::Discard(format!("connector `{}` has no operation `{name}`", self.spec.connector)))
    }

    /// Does `name` unless this job has done it.
    pub(super) async fn perform(&mut self, name: OperationName) -> Result<Performed, Outcome> {
        let operation = self.operation(name)?;
        if let Some(made) = self.steps.done.get(name.as_str()) {
            return Ok(Performed::Done(made.clone()));
        }
        if self.steps.is_unclear(name)
            && let Some(hit) = self.clear_up(name, operation).await?
        {
            return Ok(Performed::Done(self.finish(name, hit)));
        }
        // Where nothing can be looked up it is a person's word that sends it again, and what they hear of it counts.
        let by_hand = operation.effect == EffectClass::AtMostOnce && operation.on_unknown != OnUnknown::Resend;
        let still_unclear = self.steps.is_unclear(name) && !by_hand;
        let request = self.request(name, operation)?;
        self.leave_to_send().await?;
        self.write_down(name, &request).await?;
        let said = self.say(name, operation, &request).await?;
        self.conclude(name, operation, said, still_unclear).await
    }

    /// The bytes to send: those of before where their end is not known, or where nothing has changed since.
    fn request(&mut self, name: OperationName, operation: &Operation) -> Result<Rendered, Outcome> {
        let pending = self.steps.pending.clone();
        let pending = pending.filter(|pending| pending.operation == name.as_str());
        let first_at = pending.as_ref().map(|pending| pending.first_at);
        let request = match pending {
            Some(pending) if pending.unclear => pending.request,
            pending => {
                let names = self.names(name);
                let stored = pending.map(|pending| pending.request);
                let made = Rendered::reuse_or_make(stored, &operation.request, "", &self.key(name), &names);
                made.map_err(|error| Outcome::Discard(format!("{name}: {error}")))?
            }
        };
        self.first_at = first_at;
        Ok(request)
    }

    /// Writes down that the request is about to leave.
    async fn write_down(&mut self, name: OperationName, request: &Rendered) -> Result<(), Outcome> {
        let now = Utc::now();
        self.steps.pending = Some(Pending {
            operation: name.as_str().to_owned(),
            request: request.clone(),
            first_at: self.first_at.unwrap_or(now),
            sent_at: now,
            unclear: true,
        });
        self.steps.sending = Some(Sending::by(self.job));
        self.save().await
    }

    /// What the operation's end means for the flow, or for the job. That it could not be sent again says nothing about an
    /// earlier time whose end is `still_unclear`.
    async fn conclude(
        &mut self,
        name: OperationName,
        operation: &Operation,
        said: Said,
        still_unclear: bool,
    ) -> Result<Performed, Outcome> {
        match said {
            Said::Done(answer, json) => match self.made(name, operation, json.as_ref())? {
                Some(hit) => Ok(Performed::Done(self.finish(name, hit))),
                None => Err(self.unclear(
                    name,
                    operation,
                    &format!("answered {} without saying what it made", answer.status),
                    None,
                )),
            },
            Said::No {
                meaning: Meaning::Gone, ..
            } => Ok(self.ended(Performed::Gone)),
            Said::No {
                meaning: Meaning::Closed,
                ..
            } => Ok(self.ended(Performed::Closed)),
            Said::No {
                meaning: Meaning::Exists,
                ..
            } => Ok(self.ended(Performed::Exists)),
            Said::No {
                meaning: Meaning::Unknown,
                error,
                after,
            } => Err(self.unclear(name, operation, &error, after)),
            Said::Unknown(error) => Err(self.unclear(name, operation, &error, None)),
            other => {
                let outcome = self.outcome(name, other);
                if matches!(outcome, Outcome::Discard(_)) {
                    self.steps.clear();
                    // A person's retry is to render it anew: what was wrong may have been mended.
                    self.steps.drop_pending();
                } else if !still_unclear {
                    self.steps.clear();
                }
                self.save().await?;
                Err(outcome)
            }
        }
    }

    fn ended(&mut self, performed: Performed) -> Performed {
        self.steps.drop_pending();
        performed
    }

    /// What an answer that ends the attempt means for the job.
    fn outcome(&self, name: OperationName, said: Said) -> Outcome {
        match said {
            Said::No {
                meaning: Meaning::Auth,
                error,
                ..
            } => Outcome::Pause(format!("{name}: {error}")),
            Said::No {
                meaning: Meaning::Retry,
                error,
                after,
            } => match after {
                // Told how long: that is no failure, and costs no attempt.
                Some(after) => {
                    self.connection.bucket.quiet_for(after);
                    Outcome::Snooze {
                        after,
                        reason: format!("{name}: {error}"),
                    }
                }
                None => Outcome::Retry {
                    error: format!("{name}: {error}"),
                    after,
                },
            },
            Said::No { error, .. } | Said::Refused(error) => Outcome::Discard(format!("{name}: {error}")),
            Said::NotSent(error) | Said::Unknown(error) => Outcome::Retry {
                error: format!("{name}: {error}"),
                after: None,
            },
            Said::Done(..) => Outcome::Discard(format!("{name}: an answer was not understood")),
        }
    }

    /// The job's outcome when nobody knows whether the operation was done; `after` is what the other side asked for. What was
    /// written down before sending stays: it is cleared up, or sent again as it is, before anything else is looked for. What
    /// was made after all would be taken for somebody else's.
    fn unclear(&self, name: OperationName, operation: &Operation, error: &str, after: Option<Duration>) -> Outcome {
        if let Some(after) = after {
            self.connection.bucket.quiet_for(after);
        }
        let error = format!("{name}: {error}");
        match (operation.effect, operation.on_unknown) {
            (EffectClass::AtMostOnce, OnUnknown::Skip | OnUnknown::Hold) => unknown(self.job.attempt, &error),
            (EffectClass::Reconcilable, _) => Outcome::Retry {
                error: format!("{error}; it may have been received and is looked up first"),
                after: Some(after.unwrap_or_default().max(operation.settle).max(NOT_AT_ONCE)),
            },
            _ => Outcome::Retry {
                error: format!("{error}; it may have been received"),
                after,
            },
        }
    }

    /// Finds out what became of an operation whose end is not known. `None`: it is to be sent again.
    async fn clear_up(&mut self, name: OperationName, operation: &Operation) -> Result<Option<Hit>, Outcome> {
        let Some(pending) = &self.steps.pending else {
            return Ok(None);
        };
        let (first_at, sent_at) = (pending.first_at, pending.sent_at);
        match operation.effect {
            EffectClass::Read | EffectClass::Unique => Ok(None),
            EffectClass::Keyed(remembered) if is_within(first_at, remembered) => Ok(None),
            EffectClass::Keyed(_) | EffectClass::Reconcilable if !operation.reconcile.is_empty() => {
                let settled = sent_at + operation.settle;
                let missing = (settled - Utc::now()).to_std().unwrap_or_default();
                if !missing.is_zero() {
                    return Err(Outcome::Snooze {
                        after: missing,
                        reason: format!("{name}: waits until what may have been received can be found"),
                    });
                }
                let found = self.look_up(name, operation).await?;
                if let (None, Some(pending)) = (&found, &mut self.steps.pending) {
                    // Its key is as good as new. It stays unclear all the same: what is still on its way can be found by the
                    // next lookup, and by nobody else.
                    pending.first_at = Utc::now();
                }
                Ok(found)
            }
            EffectClass::Keyed(_) | EffectClass::Reconcilable | EffectClass::AtMostOnce => {
                match (operation.on_unknown, &self.steps.sending) {
                    (OnUnknown::Skip | OnUnknown::Hold, Some(earlier)) => Err(unknown(
                        earlier.attempt,
                        &format!("{name}: it ended before an answer came"),
                    )),
                    // A person's retry took `sending` away: it is meant to be sent again.
                    _ => Ok(None),
                }
            }
        }
    }

    /// What the answer says was made; `None` if it does not say and has to.
    fn made(&self, name: OperationName, operation: &Operation, json: Option<&Value>) -> Result<Option<Hit>, Outcome> {
        let nothing = Hit {
            id: String::new(),
            kept: serde_json::Map::new(),
            value: Value::Null,
        };
        let Some(json) = json else {
            return Ok((!needs_id(name)).then_some(nothing));
        };
        let found = hits::read(&operation.hits, json, &self.job.message.sender, &self.names(name))
            .map_err(|error| Outcome::Discard(format!("{name}: the answer cannot be read: {error}")))?;
        let hit = found.into_iter().next().unwrap_or(nothing);
        Ok((!hit.id.is_empty() || !needs_id(name)).then_some(hit))
    }

    /// Notes that `name` is done, to be saved with whatever follows from it.
    fn finish(&mut self, name: OperationName, hit: Hit) -> Made {
        let made = Made {
            id: hit.id,
            kept: hit.kept,
        };
        self.steps.done.insert(name.as_str().to_owned(), made.clone());
        self.steps.drop_pending();
        made
    }

    /// A read: nothing is written down, and whatever goes wrong ends the attempt. `None`: what it is about is gone.
    pub(super) async fn read(&mut self, name: OperationName) -> Result<Option<Vec<Hit>>, Outcome> {
        let operation = self.operation(name)?;
        let names = self.names(name);
        let request = Rendered::reuse_or_make(None, &operation.request, "", &self.key(name), &names)
            .map_err(|error| Outcome::Discard(format!("{name}: {error}")))?;
        self.leave_to_send().await?;
        match self.say(name, operation, &request).await? {
            Said::Done(_, json) => hits::read(
                &operation.hits,
                &json.unwrap_or_default(),
                &self.job.message.sender,
                &names,
            )
            .map(Some)
            .map_err(|error| Outcome::Discard(format!("{name}: the answer cannot be read: {error}"))),
            Said::No {
                meaning: Meaning::Gone, ..
            } => Ok(None),
            Said::No {
                meaning: Meaning::Unknown,
                error,
                after,
            } => Err(self.outcome(
                name,
                Said::No {
                    meaning: Meaning::Retry,
                    error,
                    after,
                },
            )),
            other => Err(self.outcome(name, other)),
        }
    }

    /// Waits for the account's turn to send; too long a wait gives the job back.
    pub(super) async fn leave_to_send(&self) -> Result<(), Outcome> {
        self.connection.bucket.leave().await.map_err(|after| Outcome::Snooze {
            after,
            reason: "the account's rate limit".to_owned(),
        })
    }

    /// Sends a request of `name` and says what came back; a token that is not taken is renewed once.
    async fn say(&self, name: OperationName, operation: &Operation, request: &Rendered) -> Result<Said, Outcome> {
        self.converse(name, &operation.request, request, |answer, json, now| {
            judge(self.spec, name, operation, answer, json, now)
        })
        .await
    }

    pub(super) async fn converse(
        &self,
        name: OperationName,
        spec: &HttpSpec,
        request: &Rendered,
        judge: impl Fn(&Answer, Option<&Value>, DateTime<Utc>) -> Judgement,
    ) -> Result<Said, Outcome> {
        let mut renewed = false;
        loop {
            let credential = self.connection.credential(self.spec, &self.knobs).await?;
            let mut secrets = self.spec.secrets.clone();
            secrets.extend(credential.iter().map(|credential| credential.value.clone()));
            let redaction = Redaction::with(spec, &secrets, self.job, request);
            let letter = Letter {
                spec,
                request,
                key: &self.key(name),
                operation: Some(name.as_str()),
                credential: credential.as_ref(),
                redaction: &redaction,
                look: None,
            };
            let now = Utc::now();
            let answer = match letter.send(&self.connection.client, now).await {
                Ok(answer) => answer,
                Err(Failure::NotSent(error)) => return Ok(Said::NotSent(error)),
                Err(Failure::Refused(error)) => return Ok(Said::Refused(error)),
                Err(Failure::Unknown(error)) => return Ok(Said::Unknown(error)),
            };
            let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
            match judge(&answer, json.as_ref(), now) {
                Judgement::Done => return Ok(Said::Done(answer, json)),
                Judgement::Failed(Meaning::Auth, _) if credential.is_some() && !renewed => {
                    renewed = true;
                    if let Some(credential) = &credential {
                        self.connection.token.refused(credential).await;
                    }
                }
                Judgement::Failed(meaning, after) => {
                    let excerpt = redaction.excerpt(&String::from_utf8_lossy(&answer.body));
                    let error = match excerpt.as_str() {
                        "" => format!("answered {}", answer.status),
                        excerpt => format!("answered {}: {excerpt}", answer.status),
                    };
                    return Ok(Said::No { meaning, error, after });
                }
            }
        }
    }
}

/// Whether the flow cannot go on without the ID of what was made.
const fn needs_id(name: OperationName) -> bool {
    matches!(name, OperationName::CreateContact | OperationName::CreateTicket)
}

fn is_within(since: DateTime<Utc>, period: Duration) -> bool {
    (Utc::now() - since).to_std().map_or(true, |passed| passed < period)
}
