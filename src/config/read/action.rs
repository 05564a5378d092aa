//! Actions: what each does, and when it is tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reader;
use super::http::{Credentials, Spot};
use crate::config::action::{ActionSpec, Effect, LogSpec, OnUnknown, ReplySpec};
use crate::config::tree::Place;
use crate::config::{Endpoint, file};
use crate::job::{JobKind, RetryPolicy};

/// Names under which jobs of our own run.
const RESERVED: [&str; 3] = [
    JobKind::OptOutConfirmation.as_str(),
    JobKind::OptInConfirmation.as_str(),
    JobKind::HelpReply.as_str(),
];

/// An attempt longer than this holds its lane and its lease for too long to be meant.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(10);

impl Reader<'_> {
    pub(super) fn actions(&mut self) -> BTreeMap<String, ActionSpec> {
        let entries = self.named_entries::<file::Action>("action");
        let specs = entries
            .into_iter()
            .filter_map(|(name, place, typed)| self.action(name, &place, typed));
        specs.map(|spec| (spec.name.clone(), spec)).collect()
    }

    fn action(&mut self, name: String, place: &Place, typed: file::Action) -> Option<ActionSpec> {
        self.check_name(place, "an action", &name);
        if RESERVED.contains(&name.as_str()) {
            self.error(
                place,
                format!("`{name}` is the name of a job of smshook's own"),
                "choose another name",
            );
        }
        let retry = self.retry_policy(place, &typed);
        let timeout_place = place.key("timeout");
        let timeout = self.duration(&timeout_place, typed.timeout.as_ref(), Duration::from_secs(10));
        if timeout > LONGEST_TIMEOUT {
            self.error(
                &timeout_place,
                "an attempt may take ten minutes at most",
                "the next attempt comes by itself",
            );
        }
        let concurrency = self.count(&place.key("concurrency"), typed.concurrency, 16);
        let effect = self.effect(place, typed)?;
        Some(ActionSpec {
            name,
            effect,
            retry,
            timeout,
            concurrency,
            after: Vec::new(),
        })
    }

    fn retry_policy(&mut self, place: &Place, typed: &file::Action) -> RetryPolicy {
        let default = RetryPolicy::default();
        let cap_place = place.key("retry_cap");
        let policy = RetryPolicy {
            max_attempts: self.count(&place.key("max_attempts"), typed.max_attempts, default.max_attempts),
            base: self.duration(&place.key("retry_base"), typed.retry_base.as_ref(), default.base),
            cap: self.duration(&cap_place, typed.retry_cap.as_ref(), default.cap),
        };
        if policy.base > policy.cap {
            self.error(
                &cap_place,
                "`retry_cap` is shorter than `retry_base`",
                "the cap is the longest wait of all",
            );
        }
        policy
    }

    fn effect(&mut self, place: &Place, typed: file::Action) -> Option<Effect> {
        if typed.connector.is_some() {
            let help = "until then use `http` with the system's own API";
            self.error(&place.key("connector"), "connectors come with a later version", help);
            return None;
        }
        match (typed.reply, typed.http, typed.log) {
            (Some(reply), None, None) => self.reply(&place.key("reply"), &reply).map(Effect::Reply),
            (None, Some(http), None) => {
                let spec = self.http(&Spot::Typed(place.key("http")), http, &Credentials::new())?;
                Some(Effect::Http(Box::new(spec)))
            }
            (None, None, Some(log)) => {
                let message = self.template(&Spot::Typed(place.key("log").key("message")), &log.message)?;
                Some(Effect::Log(LogSpec { message }))
            }
            (None, None, None) => {
                self.error(
                    place,
                    "this action does nothing",
                    "give it one of `reply`, `http` and `log`",
                );
                None
            }
            _ => {
                self.error(
                    place,
                    "this action does several things",
                    "make one action for each, and name both in the rule",
                );
                None
            }
        }
    }

    fn reply(&mut self, place: &Place, typed: &file::Reply) -> Option<ReplySpec> {
        let place = place.key("text");
        if typed.text.trim().is_empty() {
            self.error(
                &place,
                "the reply is empty",
                "leave the action out of the rule to stay silent",
            );
        }
        let text = self.template(&Spot::Typed(place), &typed.text)?;
        // A text sent twice annoys and costs; a gateway cannot say whether it has one already.
        Some(ReplySpec {
            text,
            on_unknown: typed.on_unknown.map_or(OnUnknown::Skip, OnUnknown::from),
        })
    }

    /// Replies that no endpoint can send are likely not meant.
    pub(super) fn check_replies(&mut self, actions: &BTreeMap<String, ActionSpec>, endpoints: &[Endpoint]) {
        if endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.reply.is_some()) {
            return;
        }
        for action in actions.values().filter(|action| action.effect.sends()) {
            let place = Place::root().key("action").key(&action.name).key("reply");
            let help = "add `reply = { token = { env = \"SMS_API_TOKEN\" } }` to an [[endpoint]]";
            self.warn(&place, "no endpoint can reply, so this is never sent", help);
        }
    }
}
