//! What is made up for a gateway is what that gateway sends.

use http::Method;

use super::delivery::write;
use super::target::Target;
use super::{Arguments, plan};
use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};
use crate::config::Config;
use crate::message::Item;
use crate::signature::{self, Received};

/// The arguments of a command line.
fn arguments(typed: &[&str]) -> Arguments {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    <Line as clap::Parser>::try_parse_from(std::iter::once(&"send").chain(typed))
        .unwrap_or_else(|error| panic!("{error}"))
        .arguments
}

fn target(config: &Config, typed: &[&str]) -> Target {
    Target::choose(config, &arguments(typed)).unwrap_or_else(|error| panic!("{error}"))
}

/// The delivery of a typed line as the endpoint would read it.
fn read_back(config: &Config, name: &str, typed: &[&str]) -> Vec<Item> {
    let endpoint = config.endpoints.iter().find(|endpoint| endpoint.name == name).unwrap();
    let arguments = arguments(typed);
    let target = Target::choose(config, &arguments).unwrap();
    let deliveries = plan::deliveries(&target, &arguments, chrono::Utc::now()).unwrap();
    let read = |sent: &super::delivery::Delivery| {
        let sent = &sent.outgoing;
        let received = Received {
            method: &sent.method,
            url: &endpoint.url,
            query: (!sent.query.is_empty()).then_some(sent.query.as_str()),
            headers: &sent.headers,
            body: &sent.body.clone().into(),
            at: chrono::Utc::now().timestamp_millis(),
        };
        let keys = endpoint.keys.as_ref().unwrap();
        let verified = signature::verify(&endpoint.gateway.signature, keys, &received).unwrap();
        endpoint.gateway.parse(&verified, &endpoint.reading)
    };
    deliveries.iter().flat_map(read).collect()
}

#[test]
fn what_is_sent_verifies_and_reads_back_as_the_message_meant() {
    let config = configured(TWO_ENDPOINTS);
    let text = "say \"hi\" {to}\n👍";
    let read = read_back(&config, "main", &["--endpoint", "main", "--text", text]);
    let [Item::Message(message)] = read.as_slice() else {
        panic!("{read:?}")
    };
    assert_eq!(message.text, text);
    assert_eq!(
        (message.sender.key(), message.recipient.key()),
        (super::FICTIONAL_SENDER, super::FICTIONAL_RECIPIENT)
    );
    let target = target(&config, &["--endpoint", "main", "--text", "x"]);
    assert_eq!(target.url, "http://127.0.0.1:8080/hooks/sms");
    assert_eq!(
        (target.public_url.as_str(), target.query.as_str()),
        (target.url.as_str(), "")
    );
}

#[test]
fn several_texts_were_sent_one_after_the_other_and_reorder_turns_them_round() {
    let config = configured(TWO_ENDPOINTS);
    let typed = ["--endpoint", "main", "--text", "one", "--text", "two", "--reorder"];
    let read = read_back(&config, "main", &typed);
    let [Item::Message(first), Item::Message(second)] = read.as_slice() else {
        panic!("{read:?}")
    };
    assert_eq!((first.text.as_str(), second.text.as_str()), ("two", "one"));
    assert!(first.sent_at.unwrap() > second.sent_at.unwrap());
}

#[test]
fn a_url_with_a_query_is_called_with_it_and_signed_as_the_gateway_knows_it() {
    let config = configured(TWO_ENDPOINTS);
    let typed = [
        "--endpoint",
        "main",
        "--text",
        "x",
        "--url",
        "https://sms.example.com/in?key=1#part",
    ];
    let elsewhere = target(&config, &typed);
    assert_eq!(
        (elsewhere.url.as_str(), elsewhere.query.as_str()),
        ("https://sms.example.com/in", "key=1")
    );
    assert_eq!(elsewhere.public_url, "https://sms.example.com/in");
    let behind = target(
        &config,
        &[&typed[..], &["--public-url", "https://public.example.com/in"]].concat(),
    );
    assert_eq!(behind.url, "https://sms.example.com/in");
    assert_eq!(behind.public_url, "https://public.example.com/in");
}

#[test]
fn every_built_in_gateway_has_a_sample_that_it_can_write() {
    for name in crate::gateway::builtin_names() {
        let gateway = crate::gateway::Gateway::from_toml(crate::gateway::builtin(name).unwrap()).unwrap();
        let words = super::delivery::Words {
            from: "+15551230001".to_owned(),
            to: "+15551230002".to_owned(),
            text: "hello".to_owned(),
            sent_at: chrono::Utc::now(),
            id: uuid::Uuid::now_v7(),
        };
        let sent = write(&gateway, &words, words.sent_at).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(sent.method == Method::GET || !sent.body.is_empty(), "{name}");
    }
}
