//! Why a message gets the jobs it gets, for `smshook rules test`.
//!
//! It listens to the very same planning as the receive path, so it can never tell another story; it decides nothing itself.

use super::{EndpointPolicy, LeftOut, Note, Plan, Rulebook, Verdict, consent_of, decide};
use crate::message::InboundMessage;

/// A plan and the reasons for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// What would happen.
    pub plan: Plan,
    /// Every rule in order, with what became of it.
    pub rules: Vec<TriedRule>,
    /// The jobs that were left out.
    pub left_out: Vec<LeftOutJob>,
}

/// One rule and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TriedRule {
    /// The rule's name.
    pub rule: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What it looks for, in words: `` exact `hours` or `open` ``.
    pub looks_for: String,
}

/// A job that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOutJob {
    /// The action's name (for compliance replies: the kind's own word).
    pub action: String,
    /// The rule that named it.
    pub rule: Option<String>,
    /// Why.
    pub reason: LeftOut,
}

/// Plans `message` and keeps every reason.
pub fn explain(rulebook: &Rulebook, policy: &EndpointPolicy, message: &InboundMessage) -> Explanation {
    let mut rules = Vec::new();
    let mut left_out = Vec::new();
    let consent = consent_of(policy, message);
    let plan = decide(rulebook, policy, message, consent, &mut |note| match note {
        Note::Tried { rule, verdict } => rules.push(TriedRule::new(rule, verdict)),
        Note::LeftOut { action, rule, reason } => left_out.push(LeftOutJob {
            action: action.to_owned(),
            rule: rule.map(|rule| rule.name.clone()),
            reason,
        }),
    });
    let unreached = rulebook.rules.iter().skip(rules.len());
    let unreached: Vec<_> = unreached
        .map(|rule| TriedRule::new(rule, Verdict::NotReached))
        .collect();
    rules.extend(unreached);
    let plan = plan.completed(policy, message);
    Explanation { plan, rules, left_out }
}

impl TriedRule {
    fn new(rule: &super::Rule, verdict: Verdict) -> Self {
        Self {
            rule: rule.name.clone(),
            verdict,
            looks_for: rule.matcher.to_string(),
        }
    }
}
