//! Which jobs one message causes: consent first, then the operator's rules in order.
//!
//! This room is pure: no clock, no database, no look at who is opted out (the moment of sending decides that). It must not
//! know what an action does beyond whether it sends something to the sender.

mod explain;
mod matcher;
mod sender;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::consent::{self, ConsentEvent, Decision};
use crate::job::JobKind;
use crate::message::{AnsweredEvent, InboundMessage};
use crate::phone::Address;

pub use explain::{Explanation, LeftOutJob, TriedRule, explain};
pub use matcher::{Keyword, Matcher, RuleError};
pub use sender::SenderFilter;

use matcher::Text;

/// One rule of the operator's.
#[derive(Debug)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: String,
    /// What the text must be like.
    pub matcher: Matcher,
    /// The endpoints it is for; empty means every one.
    pub endpoints: Vec<String>,
    /// The senders it is for, any of these; empty means everyone.
    pub senders: Vec<SenderFilter>,
    /// The actions it orders, in this order.
    pub actions: Vec<String>,
    /// Whether later rules are tried although this one matched.
    pub continues: bool,
}

/// Every rule, in order, with the one thing about actions that planning must know.
#[derive(Debug, Default)]
pub struct Rulebook {
    /// Tried from the first to the last.
    pub rules: Vec<Rule>,
    /// Names of the actions that send something to the sender.
    pub replying_actions: BTreeSet<String>,
}

/// What an endpoint says about consent and replies.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the configuration, read by name"
)]
pub struct EndpointPolicy {
    /// The endpoint's name.
    pub endpoint: String,
    /// Opt-out, opt-in and help words.
    pub vocabulary: consent::Vocabulary,
    /// Whose opt-outs count here, and where those made here count.
    pub groups: Groups,
    /// Actions for every message whose opt-out counts; none of them sends anything to the sender.
    pub on_opt_out: Vec<String>,
    /// Actions for every message whose opt-in counts; none of them sends anything to the sender.
    pub on_opt_in: Vec<String>,
    /// Whether the endpoint's gateway can send at all, as configured.
    pub can_reply: bool,
    /// Whether an opt-out is confirmed once.
    pub confirm_opt_out: bool,
    /// Whether an opt-in is confirmed.
    pub confirm_opt_in: bool,
    /// Whether HELP is answered with the endpoint's help text.
    pub answer_help: bool,
    /// Whether rules stay silent when the gateway's own rule matched, since it may have answered already.
    pub skip_reply_if_gateway_rule_matched: bool,
}

/// The suppression groups of an endpoint: what counts as one programme, so that an opt-out from it is one from all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    /// That of every recipient not named below.
    pub own: Arc<str>,
    /// Numbers of ours that belong to another programme, by their [`Address::suppression_key`].
    pub by_recipient: BTreeMap<String, Arc<str>>,
}

impl Groups {
    /// One group whatever the recipient.
    pub fn all(group: &str) -> Self {
        Self {
            own: Arc::from(group),
            by_recipient: BTreeMap::new(),
        }
    }

    /// The group of a text to this number of ours.
    pub fn of(&self, recipient: &Address) -> Arc<str> {
        let named = if self.by_recipient.is_empty() {
            None
        } else {
            self.by_recipient.get(&recipient.suppression_key())
        };
        Arc::clone(named.unwrap_or(&self.own))
    }
}

/// What one message causes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// What the message says about consent.
    pub consent: Option<consent::Decision>,
    /// The version of the rules that decided about consent; empty where nothing was decided.
    pub rules_version: String,
    /// The suppression group of the conversation.
    pub group: Arc<str>,
    /// Of an opt-out: why no confirmation is planned, if none is.
    pub unconfirmed: Option<&'static str>,
    /// The first rule that matched.
    pub rule: Option<String>,
    /// The jobs to store with the message; at most one of them sends, and no action appears twice.
    pub jobs: Vec<PlannedJob>,
}

/// A job before it has an identity.
#[derive(Clone, PartialEq)]
pub struct PlannedJob {
    /// What it is for.
    pub kind: JobKind,
    /// The action to run (for compliance replies: the kind's own word).
    pub action: String,
    /// The rule that ordered it.
    pub rule: Option<String>,
    /// What the rule's regular expression captured: `{"0": …, "1": …, "name": …}`; `{}` for other rules. A group that took
    /// no part is an empty string, so that a strict template may use it.
    pub captures: Value,
    /// Whether it sends something to the sender.
    pub sends: bool,
    /// Whether it runs only if what the message says about consent counts.
    pub follows_consent: bool,
}

impl PlannedJob {
    /// Why an action runs, in words, that no rule has ordered: what the message says about consent.
    pub fn because(&self, consent: Option<&Decision>) -> Option<&'static str> {
        if self.kind != JobKind::Action || self.rule.is_some() {
            return None;
        }
        match consent?.event {
            ConsentEvent::OptOut => Some("the message opts out"),
            ConsentEvent::OptIn => Some("the message opts in"),
            ConsentEvent::Help | ConsentEvent::Review => None,
        }
    }
}

impl std::fmt::Debug for PlannedJob {
    /// Without the captures: they are the customer's text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedJob")
            .field("kind", &self.kind)
            .field("action", &self.action)
            .field("rule", &self.rule)
            .field("sends", &self.sends)
            .finish_non_exhaustive()
    }
}

/// What became of one rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It matched.
    Matched,
    /// It is not for this endpoint.
    OtherEndpoint,
    /// It is not for this sender.
    OtherSender,
    /// The text is not like that.
    OtherText,
    /// An earlier rule matched and did not continue.
    NotReached,
}

/// How far a message can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its delivery was signed, or the operator takes unsigned ones at this endpoint.
    Verified,
    /// Its delivery did not verify at an endpoint that only observes.
    Unverified {
        /// Whether the operator wants its actions run all the same.
        runs_actions: bool,
    },
}

/// Why a job that a rule (or the law) would have made was left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOut {
    /// The message is an opt-out: nothing but its confirmation may go back.
    OptedOut,
    /// The message may be an opt-out, and a person decides whether it is.
    AwaitsReview,
    /// The message has its one reply already.
    AlreadyReplying,
    /// The sender is a short code, a name or missing.
    SenderNotAnswerable,
    /// The endpoint's gateway cannot send as configured.
    EndpointCannotReply,
    /// The gateway's own rule matched and may have answered.
    GatewayRuleMatched,
    /// The same action runs for this message already, by an earlier rule or because of what the message says of consent.
    AlreadyOrdered,
    /// The endpoint's configuration says not to.
    SwitchedOff,
    /// The provider has replied to this message by itself.
    ProviderAnswered,
}

impl LeftOut {
    /// In words: for the evidence, and for whoever tries a text.
    pub const fn why(self) -> &'static str {
        match self {
            Self::OptedOut => "the sender opts out with this message",
            Self::AlreadyReplying => "the message has its one reply already",
            Self::SenderNotAnswerable => "the sender is not a number that can be answered",
            Self::EndpointCannotReply => "the endpoint cannot reply as configured",
            Self::GatewayRuleMatched => "a rule of the gateway's own matched and may have answered",
            Self::AlreadyOrdered => "this message runs the action already",
            Self::SwitchedOff => "the configuration says not to",
            Self::ProviderAnswered => "the provider has replied by itself",
            Self::AwaitsReview => "the message may be an opt-out, which a person decides",
        }
    }
}

/// Plans `message`: what it says about consent, the rule that matched, the jobs it causes.
///
/// Consent is classified before any rule. An opt-out allows its confirmation and nothing else to be sent; an opt-in's
/// confirmation and the answer to HELP are the message's one reply. The first matching rule wins unless it continues.
///
/// What nobody has signed may stop messages to a number, but not begin them again; unless the operator wants its actions run,
/// nothing else follows from it. In ciphertext nothing is looked for. Where the provider has replied already, its word about
/// consent is recorded and nothing is sent on top.
pub fn plan(rulebook: &Rulebook, policy: &EndpointPolicy, message: &InboundMessage, standing: Standing) -> Plan {
    if message.encrypted {
        return Plan {
            group: policy.groups.of(&message.recipient),
            ..Plan::default()
        };
    }
    let consent = consent_of(policy, message);
    plan_with(rulebook, policy, message, standing, consent)
}

/// As [`plan`], for a text put together from parts of which one opted out when it came: whatever the whole says, it did.
pub fn plan_opted_out(
    rulebook: &Rulebook,
    policy: &EndpointPolicy,
    message: &InboundMessage,
    standing: Standing,
    opt_out: Decision,
) -> Plan {
    plan_with(rulebook, policy, message, standing, Some(opt_out))
}

fn plan_with(
    rulebook: &Rulebook,
    policy: &EndpointPolicy,
    message: &InboundMessage,
    standing: Standing,
    consent: Option<Decision>,
) -> Plan {
    let mut plan = match standing {
        // of ciphertext, only what was readable counts
        _ if message.encrypted => Plan {
            consent,
            ..Plan::default()
        },
        Standing::Verified | Standing::Unverified { runs_actions: true } => {
            decide(rulebook, policy, message, consent, &mut |_| {})
        }
        Standing::Unverified { runs_actions: false } => Plan {
            consent,
            ..Plan::default()
        },
    };
    if standing != Standing::Verified {
        plan.consent = plan.consent.filter(|decision| decision.event == ConsentEvent::OptOut);
        plan.jobs
            .retain(|job| job.kind == JobKind::Action && !(job.follows_consent && plan.consent.is_none()));
        plan.unconfirmed = Some("the message was not signed as it should be");
    }
    plan.completed(policy, message)
}

impl Plan {
    /// With what does not depend on the rules.
    fn completed(mut self, policy: &EndpointPolicy, message: &InboundMessage) -> Self {
        if self.consent.is_some() {
            policy.vocabulary.rules_version().clone_into(&mut self.rules_version);
        }
        self.group = policy.groups.of(&message.recipient);
        self
    }
}

/// What one part of a longer text causes before the rest has come.
#[derive(Clone, PartialEq, Debug)]
pub struct PartPlan {
    /// The opt-out in it: it holds at once.
    pub opt_out: Option<Decision>,
    /// The version of the rules that decided.
    pub rules_version: String,
    /// The suppression group of the conversation.
    pub group: Arc<str>,
    /// Why an opt-out in it is not confirmed, if it is not.
    pub unconfirmed: Option<&'static str>,
}

/// Plans one part: an opt-out in it holds before the rest has come, and is confirmed with the whole.
pub fn plan_part(policy: &EndpointPolicy, message: &InboundMessage, standing: Standing) -> PartPlan {
    let opt_out = consent_of(policy, message)
        .filter(|decision| decision.event == ConsentEvent::OptOut)
        .filter(|_| !message.encrypted);
    let rules_version = match opt_out {
        Some(_) => policy.vocabulary.rules_version().to_owned(),
        None => String::new(),
    };
    PartPlan {
        opt_out,
        rules_version,
        group: policy.groups.of(&message.recipient),
        unconfirmed: match standing {
            Standing::Verified if message.answered.is_some() => Some(LeftOut::ProviderAnswered.why()),
            Standing::Verified => None,
            Standing::Unverified { .. } => Some("the message was not signed as it should be"),
        },
    }
}

/// What the text says about consent, or what the provider says that it says.
fn consent_of(policy: &EndpointPolicy, message: &InboundMessage) -> Option<Decision> {
    let own = consent::classify(&message.text, &policy.vocabulary);
    let answered = message.answered.as_ref().map(|answered| Decision {
        event: match answered.event {
            AnsweredEvent::OptOut => ConsentEvent::OptOut,
            AnsweredEvent::OptIn => ConsentEvent::OptIn,
            AnsweredEvent::Help => ConsentEvent::Help,
        },
        tier: consent::TIER_OF_THE_PROVIDER,
        keyword: answered.word.clone().into(),
        language: None,
    });
    // Whoever of the two hears STOP is believed.
    match own {
        Some(own) if own.event == ConsentEvent::OptOut => Some(own),
        own => answered.or(own),
    }
}

/// What planning saw on its way; borrowed, so that saying it costs the receive path nothing.
enum Note<'a> {
    Tried {
        rule: &'a Rule,
        verdict: Verdict,
    },
    LeftOut {
        action: &'a str,
        rule: Option<&'a Rule>,
        reason: LeftOut,
    },
}

fn decide<'a>(
    rulebook: &'a Rulebook,
    policy: &'a EndpointPolicy,
    message: &'a InboundMessage,
    consent: Option<Decision>,
    note: &mut dyn FnMut(Note<'a>),
) -> Plan {
    let mut planner = Planner {
        rulebook,
        policy,
        message,
        silence: None,
        unconfirmed: None,
        jobs: Vec::new(),
        note,
    };
    planner.silence = planner.answer_consent(consent.as_ref().map(|decision| decision.event));
    planner.follow_consent(consent.as_ref().map(|decision| decision.event));
    let rule = planner.run_rules();
    Plan {
        consent,
        rule,
        jobs: planner.jobs,
        unconfirmed: planner.unconfirmed.map(LeftOut::why),
        ..Plan::default()
    }
}

struct Planner<'a, 'n> {
    rulebook: &'a Rulebook,
    policy: &'a EndpointPolicy,
    message: &'a InboundMessage,
    /// Why rules may send nothing (any more); none while they may.
    silence: Option<LeftOut>,
    /// Why the compliance reply is not planned.
    unconfirmed: Option<LeftOut>,
    jobs: Vec<PlannedJob>,
    note: &'n mut dyn FnMut(Note<'a>),
}

impl<'a> Planner<'a, '_> {
    /// Plans the compliance reply, if there is one; says why rules may then send nothing.
    fn answer_consent(&mut self, event: Option<ConsentEvent>) -> Option<LeftOut> {
        let answer = event.and_then(|event| match event {
            ConsentEvent::OptOut => Some((JobKind::OptOutConfirmation, self.policy.confirm_opt_out)),
            ConsentEvent::OptIn => Some((JobKind::OptInConfirmation, self.policy.confirm_opt_in)),
            ConsentEvent::Help => Some((JobKind::HelpReply, self.policy.answer_help)),
            ConsentEvent::Review => None,
        });
        let by_provider = self.message.answered.is_some();
        if by_provider {
            self.unconfirmed = Some(LeftOut::ProviderAnswered);
        }
        let answered = by_provider || answer.is_some_and(|(kind, wanted)| self.compliance_reply(kind, wanted));
        match event {
            Some(ConsentEvent::OptOut) => Some(LeftOut::OptedOut),
            Some(ConsentEvent::Review) => Some(LeftOut::AwaitsReview),
            _ if by_provider => Some(LeftOut::ProviderAnswered),
            _ if answered => Some(LeftOut::AlreadyReplying),
            _ if self.cannot_send().is_some() => self.cannot_send(),
            _ if self.policy.skip_reply_if_gateway_rule_matched && self.message.gateway_rule.is_some() => {
                Some(LeftOut::GatewayRuleMatched)
            }
            _ => None,
        }
    }

    fn compliance_reply(&mut self, kind: JobKind, wanted: bool) -> bool {
        let obstacle = if wanted {
            self.cannot_send()
        } else {
            Some(LeftOut::SwitchedOff)
        };
        if let Some(reason) = obstacle {
            self.unconfirmed = Some(reason);
            (self.note)(Note::LeftOut {
                action: kind.as_str(),
                rule: None,
                reason,
            });
            return false;
        }
        self.jobs.push(PlannedJob {
            kind,
            action: kind.as_str().to_owned(),
            rule: None,
            captures: Value::Object(serde_json::Map::new()),
            sends: true,
            follows_consent: false,
        });
        true
    }

    /// The actions that a change of consent has of itself: it reaches the CRM, whatever the rules say.
    fn follow_consent(&mut self, event: Option<ConsentEvent>) {
        let policy = self.policy;
        let actions = match event {
            Some(ConsentEvent::OptOut) => &policy.on_opt_out,
            Some(ConsentEvent::OptIn) => &policy.on_opt_in,
            Some(ConsentEvent::Help | ConsentEvent::Review) | None => return,
        };
        for action in actions {
            self.jobs.push(PlannedJob {
                kind: JobKind::Action,
                action: action.clone(),
                rule: None,
                captures: Value::Object(serde_json::Map::new()),
                sends: false,
                follows_consent: true,
            });
        }
    }

    /// Why nothing at all can be sent to this sender from this endpoint.
    fn cannot_send(&self) -> Option<LeftOut> {
        if !self.message.sender.can_be_answered() {
            Some(LeftOut::SenderNotAnswerable)
        } else if !self.policy.can_reply {
            Some(LeftOut::EndpointCannotReply)
        } else {
            None
        }
    }

    /// Tries the rules in order; the name of the first that matched.
    fn run_rules(&mut self) -> Option<String> {
        let rulebook = self.rulebook;
        let text = Text::new(&self.message.text);
        let mut first = None;
        for rule in &rulebook.rules {
            match self.try_rule(rule, &text) {
                Err(verdict) => (self.note)(Note::Tried { rule, verdict }),
                Ok(captures) => {
                    (self.note)(Note::Tried {
                        rule,
                        verdict: Verdict::Matched,
                    });
                    first.get_or_insert_with(|| rule.name.clone());
                    self.order(rule, &captures);
                    if !rule.continues {
                        break;
                    }
                }
            }
        }
        first
    }

    fn try_rule(&self, rule: &Rule, text: &Text<'_>) -> Result<Value, Verdict> {
        if !rule.endpoints.is_empty() && !rule.endpoints.contains(&self.policy.endpoint) {
            return Err(Verdict::OtherEndpoint);
        }
        if !rule.senders.is_empty() && !rule.senders.iter().any(|filter| filter.admits(&self.message.sender)) {
            return Err(Verdict::OtherSender);
        }
        rule.matcher.find(text).ok_or(Verdict::OtherText)
    }

    fn order(&mut self, rule: &'a Rule, captures: &Value) {
        for action in &rule.actions {
            let sends = self.rulebook.replying_actions.contains(action);
            if let Some(reason) = self.obstacle(action, sends) {
                if reason == LeftOut::AlreadyOrdered {
                    self.order_anyway(action, captures);
                }
                (self.note)(Note::LeftOut {
                    action,
                    rule: Some(rule),
                    reason,
                });
                continue;
            }
            if sends {
                self.silence = Some(LeftOut::AlreadyReplying);
            }
            self.jobs.push(PlannedJob {
                kind: JobKind::Action,
                action: action.clone(),
                rule: Some(rule.name.clone()),
                captures: captures.clone(),
                sends,
                follows_consent: false,
            });
        }
    }

    /// What follows a change of consent and is ordered by a rule too runs whether or not the change counts, and has what the
    /// rule captured.
    fn order_anyway(&mut self, action: &str, captures: &Value) {
        let following = |job: &&mut PlannedJob| job.follows_consent && job.action == action;
        if let Some(job) = self.jobs.iter_mut().find(following) {
            job.follows_consent = false;
            job.captures = captures.clone();
        }
    }

    fn obstacle(&self, action: &str, sends: bool) -> Option<LeftOut> {
        if self
            .jobs
            .iter()
            .any(|job| job.kind == JobKind::Action && job.action == action)
        {
            return Some(LeftOut::AlreadyOrdered);
        }
        if sends { self.silence } else { None }
    }
}
