//! Texts whose parts came one by one: put together when the last part has come or the wait is over, and handed on like any
//! other message.
//!
//! What waits is in Postgres: a process may die at any instant, and any process may go on. It must not keep anything that a
//! restart would lose, and it decides nothing about consent or rules: the rules of now do, on the text as a whole.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Endpoint, Mode};
use crate::consent::Decision;
use crate::message::InboundMessage;
use crate::rules::{self, Standing};
use crate::store::{AcceptedStatus, Acceptor, ClosedSet, Delivery, Origin, PlannedItem, Store, StoreError};

/// Sets read at once.
const PAGE: u16 = 100;
/// Sets of endpoints that are not configured any more are looked for at the start and then so seldom: they wait, and somebody
/// should know.
const POLLS_PER_LOOK_AROUND: u64 = 300;

/// The task of one process that puts texts together.
pub struct Reassembly {
    config: Arc<Config>,
    store: Store,
    acceptor: Acceptor,
    /// Every configured endpoint's place in the configuration.
    places: HashMap<String, usize>,
    endpoints: Vec<String>,
    /// Endpoints that are not configured any more and have been warned of.
    told: BTreeSet<String>,
}

impl Reassembly {
    /// Stores what it puts together through `acceptor`, which also wakes it.
    pub fn new(config: Arc<Config>, store: Store, acceptor: Acceptor) -> Self {
        let endpoints: Vec<String> = config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let places = endpoints.iter().cloned().zip(0..).collect();
        Self {
            config,
            store,
            acceptor,
            places,
            endpoints,
            told: BTreeSet::new(),
        }
    }

    /// Works until `stop`. What is not put together by then waits in Postgres.
    pub async fn run(mut self, stop: CancellationToken) {
        let closed = self.acceptor.closed_sets();
        let mut poll = tokio::time::interval(self.config.worker.poll.max(Duration::from_millis(10)));
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut polls: u64 = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = closed.notified() => {}
                _ = poll.tick() => {
                    if polls.is_multiple_of(POLLS_PER_LOOK_AROUND) {
                        self.look_around().await;
                    }
                    polls = polls.wrapping_add(1);
                }
            }
            while !stop.is_cancelled() && self.assemble_some().await {}
        }
    }

    /// Puts together what is due now, up to a page of it; true if there may be more.
    async fn assemble_some(&self) -> bool {
        let sets = match self.store.due_sets(&self.endpoints, i64::from(PAGE)).await {
            Ok(sets) => sets,
            Err(error) => {
                tracing::debug!(error = %error, "could not look for texts in parts");
                return false;
            }
        };
        let is_page = sets.len() >= usize::from(PAGE);
        // one after the other: within a conversation the order of arrival is kept
        for set in sets {
            if !self.assemble(set).await {
                return false;
            }
        }
        is_page
    }

    /// False if it could not be stored: it is tried again.
    async fn assemble(&self, set: ClosedSet) -> bool {
        let place = self.places.get(&set.endpoint);
        let Some(endpoint) = place.and_then(|place| self.config.endpoints.get(*place)) else {
            return true;
        };
        let (id, parts) = (set.id, set.parts.len());
        let Some(delivery) = self.plan(endpoint, set) else {
            return true;
        };
        match self.acceptor.accept(delivery).await {
            // another process was quicker
            Ok(accepted) if accepted.status == AcceptedStatus::Duplicate => true,
            Ok(accepted) => {
                tracing::info!(endpoint = %endpoint.name, message.id = %id, parts, outcome = accepted.status.as_str(), "put a text together from its parts");
                true
            }
            Err(error) => {
                tracing::warn!(endpoint = %endpoint.name, error = %error, "a text in parts was not stored, trying again");
                false
            }
        }
    }

    /// `None` for a set without parts, which is nothing.
    fn plan(&self, endpoint: &Endpoint, set: ClosedSet) -> Option<Delivery> {
        let (id, verified) = (set.id, set.verified);
        let whole = Whole::of(set)?;
        let standing = match (verified, endpoint.mode) {
            (true, _) => Standing::Verified,
            (false, Mode::Observe { runs_actions }) => Standing::Unverified { runs_actions },
            (false, Mode::Enforce) => Standing::Unverified { runs_actions: false },
        };
        let (rulebook, policy) = (&self.config.rulebook, &endpoint.policy);
        let plan = match whole.opt_out {
            Some(opt_out) => rules::plan_opted_out(rulebook, policy, &whole.message, standing, opt_out),
            None => rules::plan(rulebook, policy, &whole.message, standing),
        };
        Some(Delivery {
            endpoint: Arc::from(endpoint.name.as_str()),
            raw: whole.raw,
            items: vec![PlannedItem::Message(Box::new(whole.message), plan)],
            verified,
            nonce: None,
            part_wait: endpoint.reassembly_wait,
            origin: Origin::Parts(id),
            keep_text: endpoint.store_text,
        })
    }

    /// Says, once each, which endpoints have texts waiting that nobody here puts together.
    async fn look_around(&mut self) {
        match self.store.sets_of_other_endpoints(&self.endpoints).await {
            Ok(waiting) => {
                for (endpoint, texts) in waiting {
                    if self.told.insert(endpoint.clone()) {
                        tracing::warn!(%endpoint, texts, "texts in parts wait for an endpoint that is not configured; they are put together when it is");
                    }
                }
            }
            Err(error) => tell_of(&error),
        }
    }
}

fn tell_of(error: &StoreError) {
    tracing::debug!(error = %error, "could not look for texts of other endpoints");
}

/// A text as far as its parts came.
struct Whole {
    message: InboundMessage,
    /// The first opt-out that a part asked for.
    opt_out: Option<Decision>,
    raw: Bytes,
}

impl Whole {
    /// The text is that of the parts in their order; what else a message has is the first part's, where it has it.
    fn of(set: ClosedSet) -> Option<Self> {
        let mut parts = set.parts.into_iter();
        let first = parts.next()?;
        let mut whole = Self {
            message: InboundMessage {
                part: None,
                ..first.message
            },
            opt_out: first.opt_out,
            raw: first.raw,
        };
        for part in parts {
            whole.append(part.message);
            whole.opt_out = whole.opt_out.or(part.opt_out);
        }
        Some(whole)
    }

    fn append(&mut self, part: InboundMessage) {
        let message = &mut self.message;
        message.text.push_str(&part.text);
        message.sent_at = match (message.sent_at, part.sent_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        message.media.extend(part.media);
        message.encrypted |= part.encrypted;
        message.answered = message.answered.take().or(part.answered);
        message.gateway_rule = message.gateway_rule.take().or(part.gateway_rule);
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::*;
    use crate::message::{Media, Part};
    use crate::phone::{NumberFormat, normalise};
    use crate::store::ClosedPart;

    fn part(index: u8, text: &str, sent_at: Option<&str>) -> ClosedPart {
        let number = normalise("+14155550100", &NumberFormat::E164);
        let mut message = InboundMessage::new(number.clone(), number, text.to_owned());
        message.message_id = Some(format!("id-{index}"));
        message.sent_at = sent_at.map(|at| at.parse::<DateTime<Utc>>().unwrap());
        message.part = Some(Part {
            reference: "7".to_owned(),
            total: 3,
            index,
        });
        ClosedPart {
            message,
            opt_out: None,
            raw: Bytes::from(format!("body {index}")),
        }
    }

    fn whole(parts: Vec<ClosedPart>) -> Option<Whole> {
        Whole::of(ClosedSet {
            id: Uuid::nil(),
            endpoint: "main".to_owned(),
            verified: true,
            parts,
        })
    }

    #[test]
    fn a_text_is_that_of_its_parts_with_the_first_ones_id_and_bytes_and_the_earliest_time() {
        let mut middle = part(2, "lo wor", Some("2026-01-01T00:00:01Z"));
        middle.message.media.push(Media {
            url: "https://media.example.com/1".to_owned(),
            content_type: None,
        });
        let whole = whole(vec![
            part(1, "hel", Some("2026-01-01T00:00:02Z")),
            middle,
            part(3, "ld", None),
        ])
        .unwrap();
        assert_eq!(whole.message.text, "hello world");
        assert_eq!(whole.message.message_id.as_deref(), Some("id-1"));
        assert_eq!(whole.message.sent_at, Some("2026-01-01T00:00:01Z".parse().unwrap()));
        assert_eq!(whole.message.media.len(), 1);
        assert_eq!(whole.message.part, None);
        assert_eq!(whole.raw, "body 1");
    }

    #[test]
    fn one_part_in_ciphertext_makes_the_whole_unreadable() {
        let mut second = part(2, "…", None);
        second.message.encrypted = true;
        assert!(whole(vec![part(1, "a", None), second]).unwrap().message.encrypted);
    }

    #[test]
    fn a_set_without_parts_is_no_message() {
        assert!(whole(Vec::new()).is_none());
    }
}
