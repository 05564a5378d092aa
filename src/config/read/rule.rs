//! Rules: which texts, of whom, at which endpoints, order which actions.

use std::collections::BTreeMap;

use super::Reader;
use crate::config::Endpoint;
use crate::config::action::ActionSpec;
use crate::config::file::{self, Words};
use crate::config::tree::{Place, nearest};
use crate::rules::{Matcher, Rule, RuleError, Rulebook, SenderFilter};

type Make = fn(Vec<String>) -> Result<Matcher, RuleError>;

impl Reader<'_> {
    /// The rules in order; `endpoints` set actions going by themselves.
    pub(super) fn rules(&mut self, actions: &BTreeMap<String, ActionSpec>, endpoints: &[Endpoint]) -> Rulebook {
        let mut seen = Vec::new();
        let mut rules = Vec::new();
        let mut used = Vec::new();
        let mut unreachable_after: Option<String> = None;
        for (place, typed) in self.entries::<file::Rule>("rule") {
            self.rule_name(&place.key("name"), &typed.name, &mut seen);
            if let Some(earlier) = &unreachable_after {
                let help = format!("move it before the rule `{earlier}`, or give that one `continue = true`");
                self.warn(&place.key("name"), "this rule is never reached", help);
            }
            used.extend(typed.actions.iter().cloned());
            if let Some(rule) = self.rule(&place, typed) {
                self.check_after(&place.key("actions"), &rule, &rules, actions);
                let takes_all =
                    matches!(rule.matcher, Matcher::Any) && rule.endpoints.is_empty() && rule.senders.is_empty();
                if takes_all && !rule.continues && unreachable_after.is_none() {
                    unreachable_after = Some(rule.name.clone());
                }
                rules.push(rule);
            }
        }
        let policies = endpoints.iter().map(|endpoint| &endpoint.policy);
        used.extend(policies.flat_map(|policy| policy.on_opt_out.iter().chain(&policy.on_opt_in).cloned()));
        for action in actions.keys().filter(|action| !used.contains(action)) {
            let place = Place::root().key("action").key(action);
            self.warn(
                &place,
                format!("no rule uses the action `{action}`"),
                "name it in a rule's `actions`, or take it out",
            );
        }
        let replying = actions.values().filter(|action| action.effect.sends());
        Rulebook {
            rules,
            replying_actions: replying.map(|action| action.name.clone()).collect(),
        }
    }

    /// An action that waits for another must be ordered together with it, or it waits for nothing.
    fn check_after(&mut self, place: &Place, rule: &Rule, earlier: &[Rule], actions: &BTreeMap<String, ActionSpec>) {
        for (item, name) in rule.actions.iter().enumerate() {
            let after = actions
                .get(name)
                .map(|action| action.after.as_slice())
                .unwrap_or_default();
            for other in after {
                let continued = earlier.iter().filter(|earlier| earlier.continues);
                if rule.actions.contains(other) || continued.flat_map(|rule| &rule.actions).any(|name| name == other) {
                    continue;
                }
                let what = format!("`{name}` uses the result of `{other}`, which nothing orders with it");
                let help =
                    format!("add `{other}` to this rule's `actions`, or to an earlier rule with `continue = true`");
                self.warn(&place.item(item), what, help);
            }
        }
    }

    fn rule_name(&mut self, place: &Place, name: &str, seen: &mut Vec<String>) {
        if name.trim().is_empty() || name.chars().count() > 120 || name.chars().any(char::is_control) {
            self.error(
                place,
                "this cannot be the name of a rule",
                "use one line of at most 120 characters",
            );
        } else if seen.iter().any(|earlier| earlier == name) {
            self.error(
                place,
                format!("there is a rule `{name}` already"),
                "messages remember their rule by its name",
            );
        }
        seen.push(name.to_owned());
    }

    fn rule(&mut self, place: &Place, typed: file::Rule) -> Option<Rule> {
        self.references(&place.key("actions"), "action", &typed.actions);
        self.references(&place.key("endpoints"), "endpoint", &typed.endpoints);
        let senders = self.senders(&place.key("from"), &typed.from);
        let file::Rule {
            name,
            endpoints,
            actions,
            r#continue: continues,
            ..
        } = &typed;
        let (name, endpoints, actions, continues) = (name.clone(), endpoints.clone(), actions.clone(), *continues);
        let matcher = self.matcher(place, typed)?;
        Some(Rule {
            name,
            matcher,
            endpoints,
            senders,
            actions,
            continues,
        })
    }

    fn matcher(&mut self, place: &Place, typed: file::Rule) -> Option<Matcher> {
        if typed.any == Some(false) {
            self.error(&place.key("any"), "`any = false` matches nothing", "take it out");
        }
        let given: [(&str, Make, Option<Words>); 6] = [
            ("exact", Matcher::exact, typed.exact),
            ("first_word", Matcher::first_word, typed.first_word),
            ("contains", Matcher::contains, typed.contains),
            ("starts_with", Matcher::starts_with, typed.starts_with),
            ("regex", Matcher::regex, typed.regex),
            ("any", |_| Ok(Matcher::Any), typed.any.map(|_| Words(Vec::new()))),
        ];
        let mut given = given
            .into_iter()
            .filter_map(|(key, make, words)| Some((key, make, words?)));
        let Some((key, make, Words(words))) = given.next() else {
            let help = "add one of exact, first_word, contains, starts_with and regex, or `any = true`";
            self.error(&place.key("name"), "this rule does not say which texts it is for", help);
            return None;
        };
        if let Some((other, ..)) = given.next() {
            let help = "make two rules, or one `regex`";
            self.error(
                &place.key(other),
                format!("this rule has both `{key}` and `{other}`"),
                help,
            );
        }
        self.words(&place.key(key), make, words)
    }

    /// Each word is tried alone first, so that the caret is under the one that is wrong.
    fn words(&mut self, place: &Place, make: Make, words: Vec<String>) -> Option<Matcher> {
        let is_list = self.document.items(place).is_some();
        let mut sound = true;
        for (item, word) in words.iter().enumerate() {
            if let Err(error) = make(vec![word.clone()]) {
                let place = if is_list { place.item(item) } else { place.clone() };
                self.error(&place, error.to_string(), "see the rules in config.example.toml");
                sound = false;
            }
        }
        match make(words) {
            Ok(matcher) => Some(matcher),
            Err(error) if sound => {
                self.error(place, error.to_string(), "see the rules in config.example.toml");
                None
            }
            Err(_) => None,
        }
    }

    fn senders(&mut self, place: &Place, typed: &[String]) -> Vec<SenderFilter> {
        let mut senders = Vec::new();
        for (item, sender) in typed.iter().enumerate() {
            if let Ok(filter) = sender.parse() {
                senders.push(filter);
            } else {
                let help = "write a number (\"+15551234567\"), a prefix (\"+1555*\"), \"number\", \"short\", \"alpha\" or a name";
                self.error(&place.item(item), "this is not a sender", help);
            }
        }
        senders
    }

    /// Names must be those of entries, also of entries that have mistakes of their own.
    pub(super) fn references(&mut self, place: &Place, kind: &str, typed: &[String]) {
        let known = self.names_of(kind);
        for (item, name) in typed.iter().enumerate().filter(|(_, name)| !known.contains(name)) {
            let help = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => format!("there is no {kind} at all"),
                None => format!("there are: {}", known.join(", ")),
            };
            self.error(&place.item(item), format!("there is no {kind} `{name}`"), help);
        }
    }

    fn names_of(&self, kind: &str) -> Vec<String> {
        let section = Place::root().key(kind);
        if kind == "action" {
            return self.document.keys(&section);
        }
        let entries = 0..self.document.items(&section).unwrap_or_default();
        let names = entries.filter_map(|item| self.document.get(&section.item(item).key("name")));
        names
            .filter_map(|name| name.get_ref().as_str().map(str::to_owned))
            .collect()
    }
}
