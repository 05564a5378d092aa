//! What is made up for a gateway is what that gateway sends.

use std::sync::Arc;

use base64::Engine as _;
use http::Method;
use secrecy::SecretString;

use super::key::NewKey;
use super::target::Target;
use super::{Arguments, Way, plan};
use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};
use crate::config::{Config, Source};
use crate::gateway::Gateway;
use crate::message::Item;
use crate::signature::{self, Keys, Received, Refusal, SecretSpec, Signer, VerifiedBody};

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
    Target::choose(&Source::Default, config, &arguments(typed)).unwrap_or_else(|error| panic!("{error}"))
}

/// The delivery of a typed line as the endpoint would read it.
fn read_back(config: &Config, name: &str, typed: &[&str]) -> Vec<Item> {
    let endpoint = config.endpoints.iter().find(|endpoint| endpoint.name == name).unwrap();
    let arguments = arguments(typed);
    let target = Target::choose(&Source::Default, config, &arguments).unwrap();
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
    let typed = [
        "--endpoint",
        "main",
        "--text",
        "x",
        "--public-url",
        "https://public.example.com/in?a=%20b",
    ];
    let queried = target(&config, &typed);
    assert_eq!(queried.public_url, "https://public.example.com/in");
    assert_eq!(queried.query, "a=%20b");
}

/// Every built-in gateway, with what it signs with and what we verify that with.
fn gateways() -> Vec<(Arc<Gateway>, Signer, Keys)> {
    let made = crate::gateway::builtin_names().map(|name| {
        let gateway = Gateway::from_toml(crate::gateway::builtin(name).unwrap()).unwrap();
        // Both are read by every encoding of secrets but that of a private key's seed, which takes the second only.
        let secrets = [
            "6b".repeat(32),
            base64::engine::general_purpose::STANDARD.encode([7; 32]),
        ];
        let made = secrets.into_iter().find_map(|secret| {
            let secret = SecretString::from(secret);
            let signer = Signer::new(&gateway.signature, &secret, None).ok()?;
            Some((secret, signer))
        });
        let (secret, signer) = made.unwrap();
        let secret = signer.public_key().map_or(secret, SecretString::from);
        let spec = SecretSpec {
            label: "of the tests".to_owned(),
            secret,
            algorithm: None,
        };
        let keys = Keys::new(&gateway.signature, &[spec]).unwrap();
        (Arc::new(gateway), signer, keys)
    });
    made.collect()
}

fn playing(gateway: &Arc<Gateway>, signer: Signer) -> Target {
    Target {
        gateway: Arc::clone(gateway),
        signer: Some(signer),
        public_url: "https://sms.example.com/hooks/sms".to_owned(),
        url: "http://127.0.0.1:8080/hooks/sms".to_owned(),
        query: String::new(),
        observes: false,
    }
}

/// What these flags make a gateway send, and what we make of each delivery of it.
fn judged(target: &Target, keys: &Keys, typed: &[&str]) -> Vec<Result<VerifiedBody, Refusal>> {
    let deliveries = plan::deliveries(target, &arguments(typed), chrono::Utc::now());
    let verify = |delivery: &super::delivery::Delivery| {
        let sent = &delivery.outgoing;
        let received = Received {
            method: &sent.method,
            url: &sent.url,
            query: (!sent.query.is_empty()).then_some(sent.query.as_str()),
            headers: &sent.headers,
            body: &sent.body.clone().into(),
            at: chrono::Utc::now().timestamp_millis(),
        };
        signature::verify(&target.gateway.signature, keys, &received)
    };
    let deliveries = deliveries.unwrap_or_else(|error| panic!("{}: {error}", target.gateway.name));
    deliveries.iter().map(verify).collect()
}

#[test]
fn what_every_built_in_gateway_sends_verifies_and_is_the_text_meant() {
    let text = "say \"hi\" & {to}=1\n👍";
    for (gateway, signer, keys) in gateways() {
        let name = gateway.name.clone();
        let reading = crate::gateway::Reading::with(gateway.numbers);
        let target = playing(&gateway, signer);
        let judged = judged(&target, &keys, &["--text", text]);
        let [Ok(verified)] = judged.as_slice() else {
            panic!("{name}: {judged:?}")
        };
        let items = gateway.parse(verified, &reading);
        let [Item::Message(message)] = items.as_slice() else {
            panic!("{name}: {items:?}")
        };
        assert_eq!(
            (message.text.as_str(), message.sender.key()),
            (text, super::FICTIONAL_SENDER),
            "{name}"
        );
    }
}

#[test]
fn a_wrong_signature_of_every_built_in_gateway_is_one() {
    for (gateway, _, keys) in gateways() {
        let forger = super::target::forger(&gateway, None).unwrap_or_else(|error| panic!("{error}"));
        let target = playing(&gateway, forger);
        let judged = judged(&target, &keys, &["--text", "hi", "--bad-signature"]);
        assert!(matches!(judged.as_slice(), [Err(_)]), "{}: {judged:?}", gateway.name);
    }
}

#[test]
fn a_late_delivery_of_every_built_in_gateway_that_signs_a_time_is_too_late() {
    let mut timed = 0;
    for (gateway, signer, keys) in gateways() {
        let target = playing(&gateway, signer);
        let typed = ["--text", "hi", "--late"];
        if gateway.signature.good_for().is_none() {
            assert!(plan::deliveries(&target, &arguments(&typed), chrono::Utc::now()).is_err());
            continue;
        }
        timed += 1;
        let late = judged(&target, &keys, &typed);
        assert!(matches!(late.as_slice(), [Err(_)]), "{}: {late:?}", gateway.name);
        let bit_late = judged(&target, &keys, &[&typed[..], &["30s"]].concat());
        assert!(matches!(bit_late.as_slice(), [Ok(_)]), "{}: {bit_late:?}", gateway.name);
    }
    assert!(timed >= 6, "{timed}");
}

#[test]
fn parts_are_messages_of_their_own_that_know_their_place() {
    let has_parts = |gateway: &Gateway| gateway.name == "vonage-sms";
    let (gateway, signer, keys) = gateways().into_iter().find(|(gateway, ..)| has_parts(gateway)).unwrap();
    let text = "я".repeat(150);
    let target = playing(&gateway, signer);
    let reading = crate::gateway::Reading::with(gateway.numbers);
    let mut parts: Vec<_> = judged(&target, &keys, &["--text", &text, "--parts", "--reorder"])
        .into_iter()
        .flat_map(|verified| gateway.parse(&verified.unwrap(), &reading))
        .map(|item| match item {
            Item::Message(message) => (
                message.part.clone().unwrap(),
                message.message_id.clone(),
                message.text.clone(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parts.iter().map(|(part, ..)| part.index).collect::<Vec<_>>(), [3, 2, 1]);
    assert!(
        parts
            .iter()
            .all(|(part, ..)| part.total == 3 && part.reference == parts[0].0.reference)
    );
    parts.reverse();
    assert_eq!(parts.iter().map(|(_, _, text)| text.as_str()).collect::<String>(), text);
    let ids: std::collections::BTreeSet<_> = parts.iter().map(|(_, id, _)| id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_collision_is_two_texts_with_one_id_where_the_gateway_sends_one() {
    for (gateway, signer, keys) in gateways() {
        let target = playing(&gateway, signer);
        let typed = ["--text", "hi", "--collide"];
        let reading = crate::gateway::Reading::with(gateway.numbers);
        if gateway.name == "mobile-api-connect" {
            assert!(plan::deliveries(&target, &arguments(&typed), chrono::Utc::now()).is_err());
            continue;
        }
        let read = |verified: Result<VerifiedBody, Refusal>| gateway.parse(&verified.unwrap(), &reading);
        let items: Vec<Item> = judged(&target, &keys, &typed).into_iter().flat_map(read).collect();
        let [Item::Message(one), Item::Message(other)] = items.as_slice() else {
            panic!("{}: {items:?}", gateway.name)
        };
        assert_ne!(one.text, other.text);
        assert_eq!(one.message_id, other.message_id, "{}", gateway.name);
        assert_ne!(one.dedupe_key(), other.dedupe_key(), "{}", gateway.name);
    }
}

#[test]
fn a_gateway_that_has_several_ways_to_write_is_read_in_each() {
    let (gateway, signer, keys) = gateways()
        .into_iter()
        .find(|(gateway, ..)| gateway.name == "vonage-sms")
        .unwrap();
    for (way, method) in [
        (Way::Json, Method::POST),
        (Way::Form, Method::POST),
        (Way::Get, Method::GET),
    ] {
        let gateway = super::target::written(&gateway, way).unwrap_or_else(|error| panic!("{error}"));
        let target = playing(&gateway, signer.clone());
        let sent = plan::deliveries(&target, &arguments(&["--text", "hi"]), chrono::Utc::now()).unwrap();
        assert_eq!(sent[0].outgoing.method, method);
        assert!(judged(&target, &keys, &["--text", "hi"]).remove(0).is_ok(), "{way:?}");
    }
    let (json, ..) = gateways()
        .into_iter()
        .find(|(gateway, ..)| gateway.name == "telnyx")
        .unwrap();
    assert!(super::target::written(&json, Way::Get).is_err() && super::target::written(&json, Way::Form).is_err());
}

#[test]
fn a_signing_key_of_ours_signs_for_a_gateway_with_key_pairs() {
    let key = NewKey::make().unwrap_or_else(|error| panic!("{error}"));
    let (gateway, ..) = gateways()
        .into_iter()
        .find(|(gateway, ..)| gateway.name == "telnyx")
        .unwrap();
    let signer = Signer::new(&gateway.signature, &SecretString::from(key.seed), None).unwrap();
    let spec = SecretSpec {
        label: "of the tests".to_owned(),
        secret: SecretString::from(key.public),
        algorithm: None,
    };
    let keys = Keys::new(&gateway.signature, &[spec]).unwrap();
    assert!(
        judged(&playing(&gateway, signer), &keys, &["--text", "hi"])
            .remove(0)
            .is_ok()
    );
}
