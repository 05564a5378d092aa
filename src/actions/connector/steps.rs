//! What a flow has written down on its job: where it got to, and what it was doing.
//!
//! It must not send anything, and it holds no secret.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hits::Hit;
use crate::actions::progress::Sending;
use crate::actions::request::Rendered;
use crate::config::connector::OperationName;
use crate::job::{Job, Outcome};

/// `jobs.progress` of a connector's job.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Steps {
    /// The account that all of this is about.
    #[serde(default)]
    pub(super) account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contact: Option<Thing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<Thing>,
    /// The closed ticket that a new one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Thing>,
    /// The ticket has to be opened again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) reopen: bool,
    /// Operations with an effect that are done, and what they made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) done: BTreeMap<String, Made>,
    /// The operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
    /// As for every job that sends: there while an attempt's end is not known. A person's retry takes it away (see the
    /// store), which says "send it again" where nothing can be looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sending: Option<Sending>,
}

/// A contact, ticket or thread.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Thing {
    pub(super) id: String,
    #[serde(default)]
    pub(super) kept: Map<String, Value>,
    /// Made by this job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) created: bool,
}

/// What an operation made.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) id: String,
    #[serde(default)]
    pub(super) kept: Map<String, Value>,
}

/// An operation that was begun.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) operation: String,
    /// Its request, sent the same on every attempt.
    pub(super) request: Rendered,
    /// When it was first sent.
    pub(super) first_at: DateTime<Utc>,
    /// When it was last sent.
    pub(super) sent_at: DateTime<Utc>,
    /// Whether its end is not known.
    pub(super) unclear: bool,
}

impl Steps {
    /// What earlier attempts wrote down about this account.
    pub(super) fn of(job: &Job, account: &str) -> Result<Self, Outcome> {
        let fresh = || Self {
            account: account.to_owned(),
            ..Self::default()
        };
        if job.progress.is_null() {
            return Ok(fresh());
        }
        let steps = Self::deserialize(&job.progress).map_err(|_unreadable| {
            Outcome::Discard("the job's progress was written by another version and cannot be read".to_owned())
        })?;
        let unclear = steps.pending.as_ref().is_some_and(|pending| pending.unclear);
        match (steps.account == account, unclear && steps.sending.is_some()) {
            (true, _) => Ok(steps),
            (false, true) => Err(Outcome::Discard(
                "the action was pointed at another account while it was not known whether a request had been received; \
                 `smshook jobs retry` starts over with the new one"
                    .to_owned(),
            )),
            (false, false) => Ok(fresh()),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether the end of `name` is not known.
    pub(super) fn is_unclear(&self, name: OperationName) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| pending.unclear && pending.operation == name.as_str())
    }

    /// Notes that the operation under way has an end that is known. What it was stays, to be sent again as it is.
    pub(super) fn clear(&mut self) {
        self.sending = None;
        if let Some(pending) = &mut self.pending {
            pending.unclear = false;
        }
    }

    /// Notes that the operation under way will not be sent again.
    pub(super) fn drop_pending(&mut self) {
        self.sending = None;
        self.pending = None;
    }
}

impl Thing {
    pub(super) fn of(hit: Hit, created: bool) -> Self {
        Self {
            id: hit.id,
            kept: hit.kept,
            created,
        }
    }
}
