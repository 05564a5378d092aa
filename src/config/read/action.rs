//! Actions: what each does, and when it is tried again.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Reader;
use super::connector::OwnConnectors;
use super::http::{Credentials, Names, Spot};
use crate::config::action::{ActionSpec, Effect, LogSpec, OnUnknown, ReplySpec};
use crate::config::tree::{Place, nearest};
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
        let own = self.own_connectors();
        let mut waiting = self.named_entries::<file::Action>("action");
        for (name, place, typed) in &mut waiting {
            self.after(name, &place.key("after"), &mut typed.after);
        }
        let mut specs = BTreeMap::new();
        // In turn, so that the members of a result are known to the templates that use it. What has a mistake is left out,
        // and with it what waits for it.
        let mut broken: Vec<String> = self.document.keys(&Place::root().key("action"));
        broken.retain(|name| !waiting.iter().any(|(waits, ..)| waits == name));
        while !waiting.is_empty() {
            let is_ready = |(_, _, typed): &(String, Place, file::Action)| {
                let known = |name: &String| specs.contains_key(name) || broken.contains(name);
                typed.after.iter().all(known)
            };
            let (ready, still): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
            if ready.is_empty() {
                self.circle(&still);
                break;
            }
            for (name, place, typed) in ready {
                let is_whole = !typed.after.iter().any(|name| broken.contains(name));
                let names = Rc::new(names(&typed.after, &specs));
                match is_whole
                    .then(|| self.action(name.clone(), &place, typed, &own, &names))
                    .flatten()
                {
                    Some(spec) => drop(specs.insert(name, spec)),
                    None => broken.push(name),
                }
            }
            waiting = still;
        }
        specs
    }

    /// Takes out what an action cannot wait for, noting it.
    fn after(&mut self, name: &str, place: &Place, after: &mut Vec<String>) {
        let known = self.document.keys(&Place::root().key("action"));
        for (item, other) in after.iter().enumerate() {
            let place = place.item(item);
            if RESERVED.contains(&other.as_str()) {
                let help = "wait for an action of your own";
                self.error(&place, format!("`{other}` is a job of smshook's own"), help);
            } else if other == name {
                self.error(&place, "an action cannot wait for itself", "take it out");
            } else if !known.contains(other) {
                let help = match nearest(other, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}", known.join(", ")),
                };
                self.error(&place, format!("there is no action `{other}`"), help);
            }
        }
        after.retain(|other| other != name && known.contains(other));
        let mut seen = Vec::new();
        after.retain(|other| {
            let is_new = !seen.contains(other);
            seen.push(other.clone());
            is_new
        });
    }

    /// Actions that wait for each other.
    fn circle(&mut self, waiting: &[(String, Place, file::Action)]) {
        let reaches = |from: &str, to: &str| {
            let mut open = vec![from];
            let mut seen: Vec<&str> = Vec::new();
            while let Some(at) = open.pop() {
                let next = waiting.iter().filter(|(name, ..)| name == at);
                for other in next.flat_map(|(_, _, typed)| &typed.after) {
                    if other == to {
                        return true;
                    }
                    if !seen.contains(&other.as_str()) {
                        seen.push(other);
                        open.push(other);
                    }
                }
            }
            false
        };
        for (name, place, typed) in waiting {
            for (item, other) in typed.after.iter().enumerate() {
                if reaches(other, name) {
                    let what = format!("`{name}` and `{other}` wait for each other");
                    self.error(&place.key("after").item(item), what, "one of them has to come first");
                }
            }
        }
    }

    fn action(
        &mut self,
        name: String,
        place: &Place,
        typed: file::Action,
        own: &OwnConnectors,
        names: &Rc<Names>,
    ) -> Option<ActionSpec> {
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
        let after = typed.after.clone();
        let effect = self.effect(place, typed, own, names)?;
        Some(ActionSpec {
            name,
            effect,
            retry,
            timeout,
            concurrency,
            after,
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

    fn effect(&mut self, place: &Place, typed: file::Action, own: &OwnConnectors, names: &Rc<Names>) -> Option<Effect> {
        let given = [
            typed.reply.is_some(),
            typed.http.is_some(),
            typed.connector.is_some(),
            typed.email.is_some(),
            typed.log.is_some(),
        ];
        if given.into_iter().filter(|is_given| *is_given).count() > 1 {
            self.error(
                place,
                "this action does several things",
                "make one action for each, and name both in the rule",
            );
            return None;
        }
        if let Some(reply) = &typed.reply {
            return self.reply(&place.key("reply"), reply, names).map(Effect::Reply);
        }
        if let Some(http) = typed.http {
            let spot = Spot::named(place.key("http"), names);
            let spec = self.http(&spot, http, &Credentials::new())?;
            return Some(Effect::Http(Box::new(spec)));
        }
        if typed.connector.is_some() {
            let spec = self.connector(&place.key("connector"), own, names)?;
            return Some(Effect::Connector(Box::new(spec)));
        }
        if let Some(email) = &typed.email {
            let spec = self.email(&place.key("email"), email, names)?;
            return Some(Effect::Email(Box::new(spec)));
        }
        if let Some(log) = &typed.log {
            let message = self.template(&Spot::named(place.key("log").key("message"), names), &log.message)?;
            return Some(Effect::Log(LogSpec { message }));
        }
        self.error(
            place,
            "this action does nothing",
            "give it one of `reply`, `http`, `connector`, `email` and `log`",
        );
        None
    }

    fn reply(&mut self, place: &Place, typed: &file::Reply, names: &Rc<Names>) -> Option<ReplySpec> {
        let place = place.key("text");
        if typed.text.trim().is_empty() {
            self.error(
                &place,
                "the reply is empty",
                "leave the action out of the rule to stay silent",
            );
        }
        let text = self.template(&Spot::named(place, names), &typed.text)?;
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

/// What the templates of an action may use that waits for `after`: what every action's may, and the members that the
/// results of those have.
fn names(after: &[String], specs: &BTreeMap<String, ActionSpec>) -> Names {
    let names = Names::of_messages();
    if after.is_empty() {
        return names;
    }
    let results = |fill: &dyn Fn(Value) -> Value| -> Value {
        let specs = after.iter().filter_map(|name| specs.get(name));
        specs
            .map(|spec| (spec.name.clone(), fill(spec.empty_result())))
            .collect()
    };
    Names {
        all: names.all.with("results", results(&made_up)),
        sparse: names
            .sparse
            .map(|sparse| sparse.with("results", results(&|empty| empty))),
        must_be_complete: names.must_be_complete,
    }
}

/// A result whose members all have a value.
fn made_up(empty: Value) -> Value {
    match empty {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, made_up(value)))
            .collect(),
        _ => json!("1"),
    }
}
