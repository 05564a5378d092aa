//! What an operator says of consent: programmes and their numbers, what is answered, and what follows.

use super::*;
use crate::phone::{self, NumberFormat};

fn endpoint(text: &str) -> Endpoint {
    loaded(&format!("{ENDPOINT}{text}")).config.endpoints.remove(0)
}

#[track_caller]
fn says(text: &str, what: &str) {
    let problems = refused(&format!("{ENDPOINT}{text}"));
    assert!(problems.contains(what), "{text}\n{problems}");
}

const REPLY: &str = "reply = { token = { env = \"SMS_API_TOKEN\" } }\n";

fn warned(text: &str) -> Vec<String> {
    warnings(&format!("{ENDPOINT}{text}"))
}

fn group_of(endpoint: &Endpoint, recipient: &str) -> String {
    let recipient = phone::normalise(recipient, &NumberFormat::E164NoPlus);
    endpoint.policy.groups.of(&recipient).to_string()
}

#[test]
fn a_programme_is_the_endpoint_unless_it_or_the_number_is_of_another() {
    assert_eq!(group_of(&endpoint(""), "15551110000"), "main");
    let shop = endpoint("suppression_group = \"shop\"");
    assert_eq!(shop.suppression_group(), "shop");
    assert_eq!(group_of(&shop, "15551110000"), "shop");
    let numbers = endpoint(
        "suppression_group = \"shop\"\n\
         suppression_groups = { \"+1 555 111-0000\" = \"sales\", \"12345\" = \"alerts\", \"+5215512345678\" = \"mx\" }",
    );
    for (recipient, group) in [
        ("15551110000", "sales"),
        ("15551110001", "shop"),
        ("12345", "alerts"),
        ("525512345678", "mx"),
        ("", "shop"),
    ] {
        assert_eq!(group_of(&numbers, recipient), group, "{recipient}");
    }
}

#[test]
fn a_number_of_a_programme_is_ours_and_is_named_once() {
    for (wrong, what) in [
        ("\"15551110000\" = \"sales\"", "not a number of yours"),
        ("\"our phone\" = \"sales\"", "not a number of yours"),
        (
            "\"+15551110000\" = \"the sales\"",
            "cannot be the name of a suppression group",
        ),
        ("\"+15551110000\" = 5", "expected a string"),
        (
            "\"+15551110000\" = \"a\", \"+1 (555) 111 0000\" = \"a\"",
            "twice, in two spellings",
        ),
        (
            "\"+525512345678\" = \"a\", \"+5215512345678\" = \"b\"",
            "twice, in two spellings",
        ),
    ] {
        says(&format!("suppression_groups = {{ {wrong} }}"), what);
    }
    says("suppression_group = \"\"", "cannot be the name of a suppression group");
    shows(
        "suppression_groups = { \"+15551110000\" = \"a\", \"+1 555 111 0000\" = \"b\" }",
        "
error: this number is here twice, in two spellings
 --> config.toml:6:46
  |
6 | suppression_groups = { \"+15551110000\" = \"a\", \"+1 555 111 0000\" = \"b\" }
  |                                              ^^^^^^^^^^^^^^^^^
help: take one of them out

1 error in the configuration
",
    );
}

#[test]
fn every_number_that_is_said_to_be_ours_is_known() {
    let ours = |text: &str| -> Vec<String> {
        loaded(&format!("{ENDPOINT}{text}"))
            .config
            .own_numbers
            .into_iter()
            .collect()
    };
    assert!(ours("").is_empty());
    assert_eq!(
        ours(
            "recipients = { \"dev\" = \"+15551110001\", \"sim\" = \"12345\" }\n\
             suppression_groups = { \"+1 555 111 0002\" = \"sales\" }"
        ),
        ["+15551110001", "+15551110002", "12345"]
    );
    let from = |typed: &str| {
        let endpoint =
            ENDPOINT.replace("mobile-api-connect", "httpsms") + "public_url = \"https://a.example/hooks/sms\"\n";
        let reply = format!("[endpoint.reply]\ntoken = {{ env = \"SMS_API_TOKEN\" }}\nfrom = {typed}\n");
        let config = loaded(&format!("{endpoint}{reply}")).config;
        config.own_numbers.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(from("\"+1 555 111 0003\""), ["+15551110003"]);
    assert_eq!(from("\"14155550100\""), ["+14155550100"]);
    assert_eq!(from("14155550100"), ["+14155550100"]);
    assert!(from("\"ACME\"").is_empty());
}

/// What is answered to a word of this language, by the template's source.
fn answer(texts: Option<&Texts>, language: Option<&str>) -> String {
    texts.as_ref().unwrap().for_language(language).source().to_owned()
}

#[test]
fn the_built_in_answers_name_the_brand_in_every_language_and_the_contact_in_the_help() {
    let plain = endpoint("");
    let named = endpoint("[endpoint.consent]\nbrand = \" Acme \"\ncontact = \"help@acme.example\"");
    for language in ["en", "fr", "es", "de", "pt", "it", "nl"] {
        for (plain, named) in [
            (plain.opt_out_text.as_ref(), named.opt_out_text.as_ref()),
            (plain.opt_in_text.as_ref(), named.opt_in_text.as_ref()),
        ] {
            let plain = answer(plain, Some(language));
            assert_eq!(answer(named, Some(language)), format!("Acme: {plain}"));
        }
        let help = answer(named.help_text.as_ref(), Some(language));
        assert!(
            help.starts_with("Acme: ") && help.contains("help@acme.example"),
            "{help}"
        );
        assert!(help.contains("STOP") && answer(plain.help_text.as_ref(), Some(language)).contains("STOP"));
        assert!(answer(plain.opt_out_text.as_ref(), Some(language)).contains("START"));
        assert!(answer(plain.opt_in_text.as_ref(), Some(language)).contains("STOP"));
    }
    let help = answer(named.help_text.as_ref(), None);
    assert!(help.contains("Msg & data rates may apply"), "{help}");
}

#[test]
fn an_answer_is_in_the_language_of_the_word_or_else_of_the_endpoint() {
    let consent = |text: &str| endpoint(&format!("[endpoint.consent]\n{text}"));
    let plain = consent("");
    let french = answer(plain.opt_out_text.as_ref(), Some("fr"));
    assert!(french.contains("Répondez START"), "{french}");
    for of_none in [None, Some("tr"), Some("en")] {
        assert!(answer(plain.opt_out_text.as_ref(), of_none).starts_with("You have been unsubscribed"));
    }
    let quebec = consent("language = \"fr\"");
    assert_eq!(answer(quebec.opt_out_text.as_ref(), None), french);
    assert!(answer(quebec.opt_out_text.as_ref(), Some("en")).starts_with("You have been unsubscribed"));
    let own = consent("opt_out_text = { fr = \"Fini, {{ sender }}\", tr = \"Tamam\" }");
    assert_eq!(answer(own.opt_out_text.as_ref(), Some("fr")), "Fini, {{ sender }}");
    assert_eq!(answer(own.opt_out_text.as_ref(), Some("tr")), "Tamam");
    assert!(answer(own.opt_out_text.as_ref(), Some("de")).starts_with("Sie sind abgemeldet"));
    let one = consent("opt_out_text = \"Bye\"\nlanguage = \"sv\"\nopt_in_text = { sv = \"Hej\" }\nhelp_text = false");
    assert_eq!(answer(one.opt_out_text.as_ref(), Some("fr")), "Bye");
    assert_eq!(answer(one.opt_in_text.as_ref(), None), "Hej");
    assert!(answer(one.opt_in_text.as_ref(), Some("en")).starts_with("You are subscribed again"));
}

#[test]
fn texts_that_cannot_be_meant_are_shown_where_they_stand() {
    let says = |text: &str, what: &str| says(&format!("[endpoint.consent]\n{text}"), what);
    says("opt_out_text = { en = \"\" }", "this text is empty");
    says(
        "opt_out_text = { english = \"Bye\" }",
        "`english` is not the code of a language",
    );
    says("opt_out_text = { EN = \"Bye\" }", "`EN` is not the code of a language");
    says("opt_out_text = { en = 5 }", "expected a string");
    says("opt_out_text = { en = \"{{ nope }}\" }", "`nope` is undefined");
    says(
        "opt_out_text = 5",
        "a text, a table of texts by language, or false for none",
    );
    says("language = \"english\"", "not the code of a language");
    says("brand = \"\"", "cannot stand in a text");
    says("brand = \"a\\nb\"", "cannot stand in a text");
    says("contact = \"{{ sender }}\"", "it is no template");
    let problems = refused(&format!(
        "{ENDPOINT}[endpoint.consent]\nlanguage = \"sv\"\nopt_out_text = \"Hej\""
    ));
    assert_eq!(
        problems.matches("in the language `sv`, built in or here").count(),
        2,
        "{problems}"
    );
    assert!(
        problems.contains("help: add one: `sv = \"…\"`, or a text for every language"),
        "{problems}"
    );
}

#[test]
fn a_text_that_no_word_chooses_is_warned_about() {
    let warned = |text: &str| warned(&format!("[endpoint.consent]\n{text}"));
    let swedish = warned("opt_out_text = { eo = \"Hej\", fr = \"Fini\" }");
    assert_eq!(swedish.len(), 1, "{swedish:?}");
    assert!(swedish[0].contains("nothing chooses this text") && swedish[0].contains("config.toml:7:23\n"));
    let all = "opt_out_text = { sv = \"a\" }\nopt_in_text = { sv = \"a\" }\nhelp_text = false";
    assert_eq!(warned(&format!("language = \"sv\"\n{all}")), Vec::<String>::new());
}

#[test]
fn who_can_answer_and_does_not_say_who_it_is_is_warned_once() {
    let warned_of_brand = |text: &str| {
        let said = warned(text);
        said.iter()
            .filter(|said| said.contains("do not say who sends them"))
            .count()
    };
    assert_eq!(warned_of_brand(REPLY), 1);
    assert!(warned(REPLY)[0].contains("help: add `brand = \"…\"`"));
    assert_eq!(warned_of_brand(""), 0, "it cannot answer");
    assert_eq!(warned_of_brand(&format!("{REPLY}consent = {{ brand = \"Acme\" }}")), 0);
    let own = "[endpoint.consent]\nopt_out_text = \"Acme: bye\"\nopt_in_text = \"Acme: hi\"\n";
    assert_eq!(warned_of_brand(&format!("{REPLY}{own}help_text = false")), 0);
    assert_eq!(warned_of_brand(&format!("{REPLY}{own}")), 1, "the built-in help");
    assert_eq!(
        warned_of_brand(&format!("{REPLY}{own}help_text = {{ en = \"Acme: hm\" }}")),
        1
    );
}

#[test]
fn an_exempt_word_that_the_law_names_is_warned_about_where_it_stands() {
    let warned = warned("[endpoint.consent]\nexempt = [\"remove\", \"Cancel\", \"end\"]");
    assert_eq!(warned.len(), 2, "{warned:?}");
    for (said, word, place) in [(&warned[0], "`cancel`", "7:21"), (&warned[1], "`end`", "7:31")] {
        assert!(said.contains(word) && said.contains("47 CFR 64.1200(a)(10)"), "{said}");
        assert!(said.contains(&format!("config.toml:{place}\n")), "{said}");
        assert!(said.contains("about an appointment"), "{said}");
    }
}

#[test]
fn actions_follow_a_change_of_consent_if_they_exist_and_do_not_reply() {
    let actions = "[action.crm]\nlog.message = \"{{ message.consent.event }} {{ message.consent.keyword }} \
                   {{ message.consent.language }}\"\n[action.note]\nafter = [\"crm\"]\nlog.message = \
                   \"{{ results.crm.line }}\"\n[action.hours]\nreply.text = \"hi\"\n";
    let consent = |keys: &str| format!("{REPLY}consent = {{ brand = \"Acme\", {keys} }}\n{actions}");
    let rule = "[[rule]]\nname = \"all\"\nany = true\nactions = [\"hours\"]\n";
    let sound = consent("on_opt_out = [\"crm\", \"note\"], on_opt_in = [\"crm\"]") + rule;
    let policy = endpoint(&sound).policy;
    assert_eq!(
        (policy.on_opt_out.len(), policy.on_opt_in.as_slice()),
        (2, &["crm".to_owned()][..])
    );
    assert_eq!(warned(&sound), Vec::<String>::new(), "they are used");
    for (keys, what, place) in [
        ("on_opt_out = [\"crn\"]", "there is no action `crn`", "7:43"),
        ("on_opt_in = [\"crm\", \"crm\"]", "`crm` is here twice", "7:49"),
        ("on_opt_out = [\"hours\"]", "`hours` replies to the sender", "7:43"),
        ("on_opt_out = [5]", "expected a string", "7:43"),
    ] {
        let said = refused(&format!("{ENDPOINT}{}", consent(keys)));
        assert!(
            said.contains(what) && said.contains(&format!("config.toml:{place}\n")),
            "{said}"
        );
    }
    assert!(refused(&format!("{ENDPOINT}{}", consent("on_opt_out = [\"crn\"]"))).contains("did you mean `crm`?"));
    let alone = warned(&(consent("on_opt_out = [\"note\"]") + rule));
    assert!(
        alone.iter().any(|said| said.contains("add `crm` to this list")),
        "{alone:?}"
    );
}

/// Canadian short codes: STOP, ARRET, HELP, AIDE and INFO, the French words in French.
#[test]
fn the_words_that_canada_wants_are_answered_in_their_language() {
    let endpoint = endpoint("[endpoint.consent]\nbrand = \"Acme\"");
    for (word, texts, start) in [
        ("ARRET", &endpoint.opt_out_text, "Acme: Votre désinscription"),
        ("arrêt", &endpoint.opt_out_text, "Acme: Votre désinscription"),
        ("AIDE", &endpoint.help_text, "Acme: Ceci est un service"),
        ("STOP", &endpoint.opt_out_text, "Acme: You have been"),
        ("HELP", &endpoint.help_text, "Acme: This is"),
        ("INFO", &endpoint.help_text, "Acme: This is"),
    ] {
        let decision = crate::consent::classify(word, &endpoint.policy.vocabulary).unwrap();
        let said = answer(texts.as_ref(), decision.language);
        assert!(said.starts_with(start), "{word}: {said}");
    }
}
