//! What an operator says of consent: programmes and their numbers.

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
