//! What we make up as a gateway would send it, and gateways that are like others.

use chrono::DateTime;
use http::Method;
use proptest::prelude::*;

use super::vendors::gateway;
use super::{ID, at, payload, verified};
use crate::gateway::{
    Gateway, Reading, Sample, SampleDelivery, SamplePart, SampleReport, builtin_names, merged, parts_of,
};
use crate::message::{DeliveryState, InboundMessage, Item, Part};

fn sample(text: &str) -> Sample<'_> {
    Sample {
        from: "+14155550123",
        to: "+14155550199",
        text,
        sent_at: at("2026-06-12T14:32:00.250Z"),
        now: at("2026-06-12T14:33:00Z"),
        id: ID,
    }
}

fn item(gateway: &Gateway, sent: &SampleDelivery) -> Item {
    let mut items = gateway.parse(&verified(payload(sent)), &Reading::with(gateway.numbers));
    assert_eq!(items.len(), 1);
    items.remove(0)
}

fn message(gateway: &Gateway, sent: &SampleDelivery) -> InboundMessage {
    match item(gateway, sent) {
        Item::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

const FORM: &str = r#"
format = "form"
sample = '{"Sid":"SM{id_hex32}","From":"{from}","To":"{to}","Body":"{text}","N":{now_s},"Absent":null,"Is":true}'
[message]
id = "/Sid"
from = "/From"
to = "/To"
text = "/Body"
"#;

#[test]
fn a_form_gateways_sample_is_a_form() {
    let gateway = gateway("e164", FORM);
    let sent = gateway.sample_delivery(&sample("50% & {to} \"é\"\n")).unwrap();
    assert_eq!((&sent.method, sent.query.as_str()), (&Method::POST, ""));
    assert_eq!(sent.content_type, Some("application/x-www-form-urlencoded"));
    assert_eq!(
        String::from_utf8(sent.body.clone()).unwrap(),
        "Sid=SM0190a7c47b1e70008000000000000001&From=%2B14155550123&To=%2B14155550199\
         &Body=50%25+%26+%7Bto%7D+%22%C3%A9%22%0A&N=1781274780&Is=true"
    );
    let read = message(&gateway, &sent);
    assert_eq!(read.text, "50% & {to} \"é\"\n");
    assert_eq!(read.recipient.e164(), Some("+14155550199"));
}

#[test]
fn a_get_gateways_sample_is_a_query_and_its_parts_and_reports_too() {
    let gateway = gateway(
        "e164_no_plus",
        r#"
        methods = ["GET", "POST"]
        format = "auto"
        sample = '{"msisdn":"{from_digits}","to":"{to_digits}","text":"{text}","message-timestamp":"{sent_at_sql}","timestamp":"{now_s}"}'
        sample_part = '{"msisdn":"{from_digits}","to":"{to_digits}","text":"{part_text}","ref":{part_ref},"n":"{part_total}","i":"{part_index}"}'
        sample_event = '{"msisdn":"{from_digits}","status":"{state}","messageId":"{reply_id}","client-ref":"{reply_ref}"}'
        [message]
        from = "/msisdn"
        to = "/to"
        text = "/text"
        sent_at = "/message-timestamp"
        parts = { reference = "/ref", total = "/n", index = "/i" }
        [event]
        kind = "/status"
        messages = []
        id = "/messageId"
        reference = "/client-ref"
        states = { sent = ["accepted", "submitted"], delivered = ["delivered"] }
        "#,
    );
    let sent = gateway.sample_delivery(&sample("hi there")).unwrap();
    assert_eq!(
        (&sent.method, sent.content_type, sent.body.len()),
        (&Method::GET, None, 0)
    );
    assert_eq!(
        sent.query,
        "msisdn=14155550123&to=14155550199&text=hi+there&message-timestamp=2026-06-12+14%3A32%3A00&timestamp=1781274780"
    );
    assert_eq!(message(&gateway, &sent).sent_at, Some(at("2026-06-12T14:32:00Z")));
    let part = SamplePart {
        reference: 9,
        total: 3,
        index: 2,
        text: "middle",
    };
    let read = message(&gateway, &gateway.sample_part(&sample("whole"), &part).unwrap());
    let expected = Part {
        reference: "9".into(),
        total: 3,
        index: 2,
    };
    assert_eq!((read.text.as_str(), read.part), ("middle", Some(expected)));
    let report = |state| SampleReport {
        reply_ref: "r-1",
        reply_id: "out-1",
        state,
    };
    let sent = gateway.sample_event(&sample(""), &report(DeliveryState::Sent)).unwrap();
    let Item::Event(event) = item(&gateway, &sent) else {
        panic!("{}", sent.query)
    };
    assert_eq!(
        (event.kind.as_str(), event.state),
        ("accepted", Some(DeliveryState::Sent))
    );
    assert_eq!(
        (event.reference.as_deref(), event.gateway_id.as_deref()),
        (Some("r-1"), Some("out-1"))
    );
    assert!(
        gateway
            .sample_event(&sample(""), &report(DeliveryState::Failed))
            .is_none()
    );
}

#[test]
fn a_json_gateways_tokens_stand_within_words_and_alone() {
    let gateway = gateway(
        "e164",
        r#"
        sample = '[{"a":"x{id}y","ms":{sent_at_ms},"s":"{sent_at_s}","at":"{sent_at}","f":"{from}","t":"{text}","e":{},"o":{"k":1}}]'
        [message]
        from = "/f"
        text = "/t"
        "#,
    );
    let sent = gateway.sample_delivery(&sample("\u{1}{\"from}")).unwrap();
    assert_eq!(
        String::from_utf8(sent.body).unwrap(),
        r#"[{"a":"x0190a7c4-7b1e-7000-8000-000000000001y","ms":1781274720250,"s":"1781274720","at":"2026-06-12T14:32:00.250Z","f":"+14155550123","t":"\u0001{\"from}","e":{},"o":{"k":1}}]"#
    );
    assert!(
        gateway
            .sample_part(
                &sample(""),
                &SamplePart {
                    reference: 1,
                    total: 2,
                    index: 1,
                    text: ""
                }
            )
            .is_none()
    );
}

#[test]
fn a_mistake_in_a_sample_is_found_when_the_file_is_read() {
    for (sample, part) in [
        (
            r#"sample = '{"a":"{form}"}'"#,
            "there is no {form} here; there are: {from}, ",
        ),
        (r#"sample = '{"a":"{part_text}"}'"#, "there is no {part_text} here"),
        (r#"sample_part = '{"a":"{state}"}'"#, "there is no {state} here"),
        (r#"sample_event = '{"a":"{part_ref}"}'"#, "there is no {part_ref} here"),
        (r#"sample = '{"a":{from}}'"#, "the sample is not JSON: it is malformed"),
        ("sample = 'a=b'", "the sample is not JSON"),
        ("sample = ''", "the sample is empty"),
    ] {
        let text = format!(
            "name = \"x\"\ntitle = \"X\"\nnumbers = \"auto\"\n{sample}\n\
             signature = {{ headers = [\"X-S\"], encoding = \"hex\", algorithm = \"hmac-sha256\" }}\n\
             [message]\nfrom = \"/f\"\ntext = \"/t\"\n"
        );
        let error = Gateway::from_toml(&text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{sample}: {error}");
    }
}

#[test]
fn a_long_text_is_cut_as_networks_cut_it() {
    assert_eq!(parts_of(""), [""]);
    assert_eq!(parts_of(&"a".repeat(160)).len(), 1);
    let lengths = |text: &str| {
        parts_of(text)
            .iter()
            .map(|part| part.chars().count())
            .collect::<Vec<_>>()
    };
    assert_eq!(lengths(&"a".repeat(161)), [153, 8]);
    assert_eq!(lengths(&"é".repeat(70)), [70]);
    assert_eq!(lengths(&"é".repeat(71)), [67, 4]);
    assert_eq!(lengths(&"😀".repeat(36)), [33, 3]);
}

#[test]
fn every_file_of_the_folder_is_built_in() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/gateways");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()?
                .strip_suffix(".toml")
                .map(str::to_owned)
        })
        .collect();
    files.sort();
    let mut listed: Vec<_> = builtin_names().collect();
    listed.sort_unstable();
    assert_eq!(files, listed);
}

fn table(text: &str) -> toml::Table {
    toml::from_str(text).unwrap()
}

#[test]
fn a_gateway_like_another_has_its_keys_but_for_its_own() {
    let base = table(
        "name = \"base\"\nsources = [\"a\", \"b\"]\n[signature]\nheaders = [\"A\", \"B\"]\nencoding = \"hex\"\n\
         [message]\nfrom = \"/from\"\ntext = \"/text\"\nmedia = { list = \"/m\", url = \"/u\" }\n[event]\nkind = \"/k\"\nmessages = []",
    );
    let own = table(
        "name = \"mine\"\nanswers_itself = true\nsources = [\"c\"]\n[signature]\nheaders = [\"C\"]\n\
         [message]\ntext = [\"/a\", \"/b\"]\nmedia = { url = \"\" }\n[event]\nkind = \"/other\"",
    );
    let expected = table(
        "name = \"mine\"\nanswers_itself = true\nsources = [\"c\"]\n[signature]\nheaders = [\"C\"]\nencoding = \"hex\"\n\
         [message]\nfrom = \"/from\"\ntext = [\"/a\", \"/b\"]\nmedia = { list = \"/m\", url = \"\" }\n\
         [event]\nkind = \"/other\"\nmessages = []",
    );
    assert_eq!(merged(&base, &own), expected);
    assert_eq!(merged(&base, &toml::Table::new()), base);
    assert_eq!(merged(&toml::Table::new(), &own), own);
    let flat = table("signature = 7");
    assert_eq!(merged(&base, &flat)["signature"], toml::Value::Integer(7));
    assert_eq!(merged(&flat, &base)["signature"], base["signature"]);
}

#[test]
fn a_signature_of_another_kind_keeps_nothing_of_the_base() {
    let base = table("[signature]\nheaders = [\"A\"]\nencoding = \"hex\"");
    let other = table("[signature]\nkind = \"static\"\nparam = \"token\"");
    assert_eq!(merged(&base, &other), other);
    assert_eq!(
        merged(&other, &table("[signature]\nkind = \"static\"\nprefix = \"x\""))["signature"]["param"].as_str(),
        Some("token")
    );
    let same = table("[signature]\nkind = \"signature\"\nprefix = \"sha256=\"");
    assert_eq!(merged(&base, &same)["signature"]["encoding"].as_str(), Some("hex"));
}

proptest! {
    #[test]
    fn any_sample_text_comes_back_by_form_and_query(text in any::<String>()) {
        for keys in [FORM.to_owned(), format!("methods = [\"GET\"]\n{FORM}")] {
            let gateway = gateway("e164", &keys);
            let sent = gateway.sample_delivery(&sample(&text)).unwrap();
            prop_assert_eq!(message(&gateway, &sent).text, text.replace('\0', "\u{FFFD}"));
        }
    }

    #[test]
    fn the_parts_of_a_text_are_the_text(text in any::<String>(), more in "[a-z😀]{0,400}") {
        let whole = format!("{text}{more}");
        prop_assert_eq!(parts_of(&whole).concat(), whole);
    }
}

#[test]
fn a_sample_of_no_time_is_no_trouble() {
    let gateway = gateway("e164", FORM);
    let early = Sample {
        sent_at: DateTime::UNIX_EPOCH,
        ..sample("x")
    };
    assert!(gateway.sample_delivery(&early).is_some());
}
