//! What one message causes: every matcher, who comes first, who may answer.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::phone::{Address, NumberFormat, normalise};

const NUMBER: &str = "+15551234567";

fn message(text: &str) -> InboundMessage {
    from(NUMBER, text)
}

fn from(sender: &str, text: &str) -> InboundMessage {
    InboundMessage::new(address(sender), Address::missing(), text.to_owned())
}

fn plan(rulebook: &Rulebook, policy: &EndpointPolicy, message: &InboundMessage) -> Plan {
    super::plan(rulebook, policy, message, Standing::Verified)
}

fn address(raw: &str) -> Address {
    normalise(raw, &NumberFormat::E164)
}

fn policy() -> EndpointPolicy {
    EndpointPolicy {
        endpoint: "main".to_owned(),
        groups: Groups::all("main"),
        on_opt_out: Vec::new(),
        on_opt_in: Vec::new(),
        vocabulary: consent::Vocabulary::default(),
        can_reply: true,
        confirm_opt_out: true,
        confirm_opt_in: true,
        answer_help: true,
        skip_reply_if_gateway_rule_matched: false,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn rule(name: &str, matcher: Matcher, actions: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        matcher,
        endpoints: Vec::new(),
        senders: Vec::new(),
        actions: words(actions),
        continues: false,
    }
}

/// Actions whose name starts with `reply` send.
fn book(rules: Vec<Rule>) -> Rulebook {
    let named = rules.iter().flat_map(|rule| rule.actions.clone());
    let replying_actions = named.filter(|action| action.starts_with("reply")).collect();
    Rulebook {
        rules,
        replying_actions,
    }
}

fn matches(matcher: &Matcher, text: &str) -> bool {
    matcher.find(&Text::new(text)).is_some()
}

fn actions(plan: &Plan) -> Vec<&str> {
    plan.jobs.iter().map(|job| job.action.as_str()).collect()
}

#[test]
fn exact_ignores_case_punctuation_and_spacing_and_nothing_else() {
    let exact = Matcher::exact(words(&["opening hours", "open"])).unwrap();
    for text in ["Opening  Hours?", "OPEN!", " open ", "opening-hours"] {
        assert!(matches(&exact, text), "{text}");
    }
    for text in ["are you open", "openings", "", "opening"] {
        assert!(!matches(&exact, text), "{text}");
    }
}

#[test]
fn a_first_word_is_a_whole_word_at_the_start() {
    let first = Matcher::first_word(words(&["order", "call me"])).unwrap();
    assert!(matches(&first, "Order: two pizzas"));
    assert!(matches(&first, "call me, please"));
    assert!(!matches(&first, "ordering two pizzas"));
    assert!(!matches(&first, "my order"));
    assert!(!matches(&first, "call mercury"));
}

#[test]
fn contains_means_whole_words() {
    let balance = Matcher::contains(words(&["balance", "how much"])).unwrap();
    for text in [
        "what is my BALANCE?",
        "balance",
        "balances balance",
        "tell me how much it is",
    ] {
        assert!(matches(&balance, text), "{text}");
    }
    for text in ["I feel unbalanced", "balances", "rebalance", "how muchness"] {
        assert!(!matches(&balance, text), "{text}");
    }
}

#[test]
fn starts_with_may_end_inside_a_word() {
    let prefix = Matcher::starts_with(words(&["ord"])).unwrap();
    assert!(matches(&prefix, "ORD12345"));
    assert!(!matches(&prefix, "my ORD12345"));
}

#[test]
fn a_keyword_of_nothing_but_symbols_is_compared_as_written() {
    let exact = Matcher::exact(words(&["👍", "❤️"])).unwrap();
    for text in [" 👍 ", "👍🏽", "❤", "❤️"] {
        assert!(matches(&exact, text), "{text}");
    }
    for text in ["", "👎", "nice 👍", "!!!"] {
        assert!(!matches(&exact, text), "{text}");
    }
    assert!(matches(&Matcher::contains(words(&["👍"])).unwrap(), "nice👍👍"));
    assert!(matches(&Matcher::first_word(words(&["👍"])).unwrap(), "👍 thanks"));
}

#[test]
fn a_regular_expression_sees_the_text_as_received_and_ignores_case() {
    let regex = Matcher::regex(words(&[r"^order #(\d+)( now)?$", r"(?<city>Paris|Rome)"])).unwrap();
    let found = |text: &str| regex.find(&Text::new(text));
    assert_eq!(found("ORDER #42"), Some(json!({"0": "ORDER #42", "1": "42", "2": ""})));
    assert_eq!(
        found("to rome!"),
        Some(json!({"0": "rome", "1": "rome", "city": "rome"}))
    );
    assert_eq!(found("order 42"), None);
    assert!(!matches(&Matcher::regex(words(&["(?-i)Rome"])).unwrap(), "rome"));
}

#[test]
fn any_matches_the_empty_text_too() {
    assert!(matches(&Matcher::Any, ""));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let regex = |pattern: &str| Matcher::regex(words(&[pattern])).unwrap_err().to_string();
    insta_like(&regex("a(?!b)"), "`a(?!b)` uses look-around");
    insta_like(&regex(r"(a)\1"), r"`(a)\1` uses a backreference");
    insta_like(
        &regex("(?:a{1000}){1000}"),
        "`(?:a{1000}){1000}` becomes too large when compiled",
    );
    insta_like(&regex("a("), "`a(` is not a regular expression: unclosed group");
    insta_like(
        &regex(&"a".repeat(3_000)),
        "the regular expression is 3000 bytes long; at most 2048 are allowed",
    );
    assert_eq!(Matcher::exact(Vec::new()).unwrap_err(), RuleError::NoKeywords);
    assert_eq!(Matcher::regex(Vec::new()).unwrap_err(), RuleError::NoKeywords);
    assert_eq!(
        Matcher::contains(words(&["ok", " "])).unwrap_err(),
        RuleError::EmptyKeyword
    );
    assert_eq!(Matcher::regex(words(&[""])).unwrap_err(), RuleError::EmptyKeyword);
}

fn insta_like(said: &str, start: &str) {
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn the_first_match_wins_and_later_rules_are_not_run() {
    let rules = book(vec![
        rule(
            "hours",
            Matcher::exact(words(&["hours"])).unwrap(),
            &["reply_hours", "crm"],
        ),
        rule("rest", Matcher::Any, &["ticket"]),
    ]);
    let plan = plan(&rules, &policy(), &message("Hours"));
    assert_eq!(plan.rule.as_deref(), Some("hours"));
    assert_eq!(actions(&plan), ["reply_hours", "crm"]);
    assert_eq!(plan.jobs[0].rule.as_deref(), Some("hours"));
    assert_eq!(plan.jobs.iter().map(|job| job.sends).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_rule_that_continues_adds_its_actions_but_no_second_reply_and_no_action_twice() {
    let mut hours = rule(
        "hours",
        Matcher::contains(words(&["hours"])).unwrap(),
        &["reply_hours", "crm"],
    );
    hours.continues = true;
    let rules = book(vec![
        hours,
        rule("rest", Matcher::Any, &["crm", "reply_rest", "ticket", "ticket"]),
    ]);
    let explained = explain(&rules, &policy(), &message("your hours?"));
    assert_eq!(actions(&explained.plan), ["reply_hours", "crm", "ticket"]);
    assert_eq!(explained.plan.rule.as_deref(), Some("hours"));
    let reasons: Vec<_> = explained
        .left_out
        .iter()
        .map(|left| (left.action.as_str(), left.reason))
        .collect();
    let twice = LeftOut::AlreadyOrdered;
    assert_eq!(
        reasons,
        [
            ("crm", twice),
            ("reply_rest", LeftOut::AlreadyReplying),
            ("ticket", twice)
        ]
    );
}

#[test]
fn no_rule_and_no_match_plan_nothing() {
    let none = book(vec![rule(
        "hours",
        Matcher::exact(words(&["hours"])).unwrap(),
        &["crm"],
    )]);
    assert_eq!(
        plan(&none, &policy(), &message("other")),
        Plan {
            group: "main".into(),
            ..Plan::default()
        }
    );
    assert!(plan(&Rulebook::default(), &policy(), &message("other")).jobs.is_empty());
}

#[test]
fn a_rule_is_only_for_its_endpoints_and_senders() {
    let mut elsewhere = rule("elsewhere", Matcher::Any, &["a"]);
    elsewhere.endpoints = words(&["other"]);
    let mut banks = rule("banks", Matcher::Any, &["b"]);
    banks.senders = vec!["short".parse().unwrap(), "+44*".parse().unwrap()];
    let rules = book(vec![elsewhere, banks, rule("rest", Matcher::Any, &["c"])]);
    let chosen = |sender: &str| plan(&rules, &policy(), &from(sender, "hello")).rule.unwrap();
    assert_eq!(chosen("12345"), "banks");
    assert_eq!(chosen("+447911123456"), "banks");
    assert_eq!(chosen(NUMBER), "rest");
    let explained = explain(&rules, &policy(), &from("12345", "hello"));
    let verdicts: Vec<_> = explained.rules.iter().map(|tried| tried.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::OtherEndpoint, Verdict::Matched, Verdict::NotReached]
    );
}

#[test]
fn senders_are_recognised_by_number_prefix_name_and_kind() {
    let admits = |filter: &str, sender: &str| filter.parse::<SenderFilter>().unwrap().admits(&address(sender));
    assert!(admits("+1 (555) 123-4567", NUMBER));
    assert!(!admits("+15551234568", NUMBER));
    assert!(admits("+1555*", NUMBER) && admits("1555*", NUMBER));
    assert!(
        !admits("+1*", "12345"),
        "a short code is not a number in the United States"
    );
    assert!(admits("12345", "12345"));
    assert!(admits("amazon", "AMAZON") && !admits("amazon", "AMAZON2"));
    assert!(admits("alpha", "AMAZON") && !admits("alpha", NUMBER));
    assert!(admits("number", NUMBER) && !admits("number", "12345"));
    for wrong in ["", "*", "+", "+1*5", "1,2", "+1555**"] {
        assert!(wrong.parse::<SenderFilter>().is_err(), "{wrong}");
    }
}

#[test]
fn an_opt_out_is_confirmed_and_its_rules_run_without_their_replies() {
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest", "crm"])]);
    let stopped = plan(&rules, &policy(), &message("STOP"));
    assert_eq!(stopped.consent.as_ref().unwrap().event, ConsentEvent::OptOut);
    assert_eq!(actions(&stopped), ["opt_out_confirmation", "crm"]);
    assert_eq!(stopped.jobs[0].kind, JobKind::OptOutConfirmation);
    assert!(stopped.jobs[0].sends);
    let quiet = EndpointPolicy {
        confirm_opt_out: false,
        ..policy()
    };
    assert_eq!(actions(&plan(&rules, &quiet, &message("STOP"))), ["crm"]);
}

#[test]
fn an_opt_in_confirmation_is_the_one_reply_and_without_it_a_rule_may_answer() {
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest", "crm"])]);
    assert_eq!(
        actions(&plan(&rules, &policy(), &message("START"))),
        ["opt_in_confirmation", "crm"]
    );
    let quiet = EndpointPolicy {
        confirm_opt_in: false,
        ..policy()
    };
    assert_eq!(actions(&plan(&rules, &quiet, &message("START"))), ["reply_rest", "crm"]);
}

#[test]
fn help_is_answered_once_and_otherwise_left_to_the_rules() {
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest"])]);
    assert_eq!(actions(&plan(&rules, &policy(), &message("HELP"))), ["help_reply"]);
    let left = EndpointPolicy {
        answer_help: false,
        ..policy()
    };
    assert_eq!(actions(&plan(&rules, &left, &message("HELP"))), ["reply_rest"]);
}

#[test]
fn who_cannot_be_answered_is_not() {
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest", "crm"])]);
    for sender in ["12345", "AMAZON", ""] {
        for text in ["hello", "STOP", "HELP"] {
            assert_eq!(
                actions(&plan(&rules, &policy(), &from(sender, text))),
                ["crm"],
                "{sender} {text}"
            );
        }
    }
    let mute = EndpointPolicy {
        can_reply: false,
        ..policy()
    };
    assert_eq!(actions(&plan(&rules, &mute, &message("STOP"))), ["crm"]);
    assert_eq!(actions(&plan(&rules, &mute, &message("hello"))), ["crm"]);
}

#[test]
fn after_the_gateways_own_rule_rules_stay_silent_and_the_law_does_not() {
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest", "crm"])]);
    let skipping = EndpointPolicy {
        skip_reply_if_gateway_rule_matched: true,
        ..policy()
    };
    let by_rule = |text: &str| InboundMessage {
        gateway_rule: Some("7".to_owned()),
        ..message(text)
    };
    assert_eq!(actions(&plan(&rules, &skipping, &by_rule("hello"))), ["crm"]);
    assert_eq!(
        actions(&plan(&rules, &skipping, &by_rule("STOP"))),
        ["opt_out_confirmation", "crm"]
    );
    assert_eq!(
        actions(&plan(&rules, &skipping, &message("hello"))),
        ["reply_rest", "crm"]
    );
    assert_eq!(
        actions(&plan(&rules, &policy(), &by_rule("hello"))),
        ["reply_rest", "crm"]
    );
}

#[test]
fn captures_reach_the_job_and_never_its_debug_output() {
    let regex = Matcher::regex(words(&[r"code (?<code>\w+)"])).unwrap();
    let plan = plan(
        &book(vec![rule("code", regex, &["crm"])]),
        &policy(),
        &message("my code XK42 please"),
    );
    assert_eq!(plan.jobs[0].captures["code"], "XK42");
    assert!(!format!("{plan:?}").contains("XK42"));
}

#[test]
fn an_explanation_says_what_each_rule_looks_for() {
    let rules = book(vec![
        rule("hours", Matcher::exact(words(&["Hours", "open"])).unwrap(), &[]),
        rule("rest", Matcher::Any, &[]),
    ]);
    let explained = explain(&rules, &policy(), &message("hello"));
    assert_eq!(explained.rules[0].looks_for, "exact `Hours` or `open`");
    assert_eq!(explained.rules[0].verdict, Verdict::OtherText);
    assert_eq!(explained.rules[1].looks_for, "any text");
}

fn following() -> EndpointPolicy {
    EndpointPolicy {
        on_opt_out: words(&["crm", "mail"]),
        on_opt_in: words(&["crm"]),
        ..policy()
    }
}

/// The actions of a plan that run only if the change counts.
fn followers(plan: &Plan) -> Vec<&str> {
    let jobs = plan.jobs.iter().filter(|job| job.follows_consent);
    jobs.map(|job| job.action.as_str()).collect()
}

#[test]
fn a_change_of_consent_has_its_actions_whatever_the_rules_say() {
    let none = Rulebook::default();
    let stopped = plan(&none, &following(), &message("STOP"));
    assert_eq!(actions(&stopped), ["opt_out_confirmation", "crm", "mail"]);
    assert_eq!(followers(&stopped), ["crm", "mail"]);
    assert_eq!(
        stopped.jobs[1].because(stopped.consent.as_ref()),
        Some("the message opts out")
    );
    assert_eq!(stopped.jobs[0].because(stopped.consent.as_ref()), None);
    assert_eq!(followers(&plan(&none, &following(), &message("START"))), ["crm"]);
    for text in ["HELP", "hello"] {
        assert!(
            followers(&plan(&none, &following(), &message(text))).is_empty(),
            "{text}"
        );
    }
}

#[test]
fn an_action_that_a_rule_orders_too_runs_once_and_whether_or_not_the_change_counts() {
    let regex = Matcher::regex(words(&["^(?<word>stop)"])).unwrap();
    let rules = book(vec![rule("all", regex, &["crm"])]);
    let explained = explain(&rules, &following(), &message("STOP"));
    assert_eq!(actions(&explained.plan), ["opt_out_confirmation", "crm", "mail"]);
    assert_eq!(followers(&explained.plan), ["mail"], "the rule's is not conditional");
    assert_eq!(explained.plan.jobs[1].captures["word"], "STOP");
    let left: Vec<_> = explained
        .left_out
        .iter()
        .map(|left| (left.action.as_str(), left.rule.as_deref(), left.reason))
        .collect();
    assert_eq!(left, [("crm", Some("all"), LeftOut::AlreadyOrdered)]);
}

#[test]
fn a_phrase_that_a_person_reviews_is_answered_by_nothing_and_runs_the_other_actions() {
    let additions = consent::Additions {
        phrases: consent::PhrasePolicy::Review,
        ..consent::Additions::default()
    };
    let reviewing = || EndpointPolicy {
        vocabulary: consent::Vocabulary::with(&additions).unwrap(),
        ..following()
    };
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest", "ticket"])]);
    let phrase = message("please stop texting me");
    let explained = explain(&rules, &reviewing(), &phrase);
    assert_eq!(explained.plan.consent.as_ref().unwrap().event, ConsentEvent::Review);
    assert_eq!(
        actions(&explained.plan),
        ["ticket"],
        "and nothing follows a change that is none yet"
    );
    assert_eq!(explained.left_out[0].reason, LeftOut::AwaitsReview);
    let unverified = super::plan(
        &rules,
        &reviewing(),
        &phrase,
        Standing::Unverified { runs_actions: true },
    );
    assert_eq!(unverified.consent, None, "what nobody signed is no note for a person");
    assert_eq!(actions(&unverified), ["ticket"]);
    let dropped = super::plan(
        &rules,
        &reviewing(),
        &phrase,
        Standing::Unverified { runs_actions: false },
    );
    assert_eq!((dropped.consent, dropped.jobs.len()), (None, 0));
    assert_eq!(
        actions(&plan(&rules, &reviewing(), &message("STOP"))),
        ["opt_out_confirmation", "crm", "mail", "ticket"]
    );
}

#[test]
fn what_nobody_signed_changes_nothing_for_the_better_and_has_no_actions_of_an_opt_in() {
    let rules = book(vec![rule("rest", Matcher::Any, &["ticket"])]);
    let unsigned = |text: &str| {
        super::plan(
            &rules,
            &following(),
            &message(text),
            Standing::Unverified { runs_actions: true },
        )
    };
    assert_eq!(actions(&unsigned("STOP")), ["crm", "mail", "ticket"]);
    assert_eq!(actions(&unsigned("START")), ["ticket"]);
}

#[test]
fn a_word_that_is_exempt_reaches_the_rules_and_stop_stays_stop() {
    let additions = consent::Additions {
        exempt: words(&["cancel", "end"]),
        ..consent::Additions::default()
    };
    let appointments = EndpointPolicy {
        vocabulary: consent::Vocabulary::with(&additions).unwrap(),
        ..policy()
    };
    let rules = book(vec![rule("rest", Matcher::Any, &["reply_rest"])]);
    for text in ["cancel", "Cancel!", "CANCEL please", "end"] {
        assert_eq!(
            actions(&plan(&rules, &appointments, &message(text))),
            ["reply_rest"],
            "{text}"
        );
        assert_eq!(
            actions(&plan(&rules, &policy(), &message(text))),
            ["opt_out_confirmation"],
            "{text}"
        );
    }
    for text in ["STOP", "stop all", "unsubscribe", "opt out", "quit", "ARRET"] {
        assert_eq!(
            actions(&plan(&rules, &appointments, &message(text))),
            ["opt_out_confirmation"],
            "{text}"
        );
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let matcher = prop_oneof![Just(0_u8), Just(1), Just(2), Just(3),];
    let action = prop_oneof!["reply_[ab]", "crm", "ticket"];
    (matcher, prop::collection::vec(action, 0..4), any::<bool>()).prop_map(|(matcher, actions, continues)| {
        let matcher = match matcher {
            0 => Matcher::Any,
            1 => Matcher::contains(words(&["stop", "hello"])).unwrap(),
            2 => Matcher::regex(words(&["(?<first>[a-z]+)"])).unwrap(),
            _ => Matcher::first_word(words(&["help", "hello"])).unwrap(),
        };
        Rule {
            actions,
            continues,
            ..rule("some", matcher, &[])
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_message_never_gets_two_sends_nor_an_action_twice_and_an_opt_out_never_a_rules_reply(
        rules in prop::collection::vec(any_rule(), 0..6),
        text in prop_oneof!["STOP", "start", "help", "hello stop", "stop texting me", "hello", "\\PC{0,20}"],
        sender in prop_oneof![6 => "\\+1555[0-9]{7}", 1 => "12345", 1 => "AMAZON", 1 => ""],
        switches in any::<[bool; 6]>(),
    ) {
        let [can_reply, confirm_opt_out, confirm_opt_in, answer_help, skip, by_gateway] = switches;
        let policy = EndpointPolicy {
            can_reply, confirm_opt_out, confirm_opt_in, answer_help, skip_reply_if_gateway_rule_matched: skip, ..policy()
        };
        let message = InboundMessage { gateway_rule: by_gateway.then(|| "7".to_owned()), ..from(&sender, &text) };
        let rules = book(rules);
        let explained = explain(&rules, &policy, &message);
        let plan = plan(&rules, &policy, &message);
        prop_assert_eq!(&explained.plan, &plan);
        let sends: Vec<_> = plan.jobs.iter().filter(|job| job.sends).collect();
        prop_assert!(sends.len() <= 1);
        prop_assert!(sends.is_empty() || (can_reply && message.sender.can_be_answered()));
        let ordered: BTreeSet<_> = plan.jobs.iter().map(|job| &job.action).collect();
        prop_assert_eq!(ordered.len(), plan.jobs.len());
        if plan.consent.as_ref().is_some_and(|decision| decision.event == ConsentEvent::OptOut) {
            prop_assert!(sends.iter().all(|job| job.kind == JobKind::OptOutConfirmation));
        }
        prop_assert_eq!(explained.rules.len(), rules.rules.len());
    }
}
