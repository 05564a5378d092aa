//! What a gateway reports besides texts: how an event is told from a message, and how far a reply of ours is by it.
//!
//! It must not guess: a word that the file does not list is no state.

use serde::Deserialize;

use super::json::Object;
use super::pointers::{Pointers, is_among, words};
use crate::message::{DeliveryState, GatewayEvent};

/// Characters that are kept of an event's kind and of an error.
const MAX_WORD_CHARS: usize = 100;

/// The `[event]` table: how a message is told from another event at the same URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventMapping {
    /// Where the kind of the event is.
    kind: Pointers,
    /// The kinds that are messages; case does not matter.
    messages: Vec<String>,
    #[serde(default)]
    id: Pointers,
    #[serde(default)]
    reference: Pointers,
    #[serde(default)]
    occurred_at: Pointers,
    /// Where a delivery report says how far it is; the kind, unless it says otherwise.
    #[serde(default)]
    state: Pointers,
    #[serde(default)]
    states: States,
    #[serde(default)]
    error: Pointers,
    /// The errors by which the provider says that it holds the person for opted out.
    #[serde(default)]
    opted_out: Vec<String>,
}

/// The gateway's words for each of our states.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct States {
    queued: Vec<String>,
    sent: Vec<String>,
    delivered: Vec<String>,
    failed: Vec<String>,
}

impl States {
    fn words_for(&self, state: DeliveryState) -> &[String] {
        match state {
            DeliveryState::Queued => &self.queued,
            DeliveryState::Sent => &self.sent,
            DeliveryState::Delivered => &self.delivered,
            DeliveryState::Failed => &self.failed,
        }
    }

    fn of(&self, word: &str) -> Option<DeliveryState> {
        use DeliveryState::{Delivered, Failed, Queued, Sent};
        [Queued, Sent, Delivered, Failed]
            .into_iter()
            .find(|state| is_among(word, self.words_for(*state)))
    }
}

impl EventMapping {
    /// The kind of the event, if it says to be anything but a message. Without a kind the fields decide: a sender and a
    /// text are one.
    pub(super) fn other_than_message(&self, object: &Object<'_>) -> Option<String> {
        let kind = self.kind.find(object, words)?;
        (!is_among(&kind, &self.messages)).then(|| clipped(&kind))
    }

    /// The event, of which `kind` is known already.
    pub(super) fn event(&self, kind: String, object: &Object<'_>) -> GatewayEvent {
        let state = self.state(object);
        // Codes such as 0 come with what went well, too.
        let went_wrong = matches!(state, Some(DeliveryState::Failed) | None);
        let error = went_wrong.then(|| self.error.find(object, words)).flatten();
        GatewayEvent {
            kind,
            reference: self.reference.words(object),
            gateway_id: self.id.id(object),
            occurred_at: self.occurred_at.time(object),
            state,
            opted_out: error.as_deref().is_some_and(|error| is_among(error, &self.opted_out)),
            error: error.map(|error| clipped(&error)),
        }
    }

    fn state(&self, object: &Object<'_>) -> Option<DeliveryState> {
        let places = if self.state.is_empty() { &self.kind } else { &self.state };
        places.find(object, |field| self.states.of(&words(field)?))
    }

    /// The gateway's own word for `state`, if it has one.
    pub(super) fn word_for(&self, state: DeliveryState) -> Option<&str> {
        self.states.words_for(state).first().map(String::as_str)
    }
}

/// An event of which nothing but its kind is known.
pub(super) fn bare(kind: String) -> GatewayEvent {
    GatewayEvent {
        kind,
        reference: None,
        gateway_id: None,
        occurred_at: None,
        state: None,
        error: None,
        opted_out: false,
    }
}

/// The word without space around it, at most 100 characters of it.
pub(super) fn clipped(word: &str) -> String {
    word.trim().chars().take(MAX_WORD_CHARS).collect()
}
