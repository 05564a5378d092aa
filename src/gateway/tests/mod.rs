//! The built-in files against what the gateways document, and every kind of body that may come instead.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use secrecy::SecretString;
use uuid::Uuid;

mod samples;
mod vendors;

use super::{Gateway, Reading, Sample, SampleDelivery, builtin, builtin_names};
use crate::message::{DeliveryState, GatewayEvent, InboundMessage, Item};
use crate::phone::NumberFormat;
use crate::signature::{self, Keys, Received, SecretSpec, VerifiedBody};

const SAMPLE: &str = include_str!("../../../gateways/mobile-api-connect.sample.json");

const ID: Uuid = Uuid::from_u128(0x0190_a7c4_7b1e_7000_8000_0000_0000_0001);

/// What a gateway has to say: the body, or for GET the query.
fn payload(sent: &SampleDelivery) -> &[u8] {
    if sent.method == http::Method::GET {
        sent.query.as_bytes()
    } else {
        &sent.body
    }
}

fn at(time: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(time).unwrap().to_utc()
}

fn mobile_api_connect() -> Gateway {
    Gateway::from_toml(builtin("mobile-api-connect").unwrap()).unwrap()
}

fn verified(body: &[u8]) -> VerifiedBody {
    VerifiedBody::verified_when_stored(Bytes::copy_from_slice(body))
}

fn read(body: &[u8]) -> Vec<Item> {
    let gateway = mobile_api_connect();
    gateway.parse(&verified(body), &Reading::with(gateway.numbers))
}

fn message(body: &str) -> InboundMessage {
    let mut items = read(body.as_bytes());
    match items.remove(0) {
        Item::Message(message) if items.is_empty() => *message,
        other => panic!("{body:.200}: {other:?} and {} more", items.len()),
    }
}

/// The sample with one field's JSON replaced, or left out.
fn sample_with(field: &str, json: Option<&str>) -> String {
    let sample: serde_json::Value = serde_json::from_str(SAMPLE).unwrap();
    let fields = sample.as_object().unwrap().iter().filter_map(|(name, value)| {
        let value = value.to_string();
        let json = if name == field { json? } else { &value };
        Some(format!("\"{name}\":{json}"))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

#[test]
fn the_documented_sample_verifies_and_is_a_message() {
    let gateway = mobile_api_connect();
    let secret = SecretSpec {
        label: "secret".to_owned(),
        secret: SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        algorithm: None,
    };
    let keys = Keys::new(&gateway.signature, &[secret]).unwrap();
    // Made with: openssl dgst -sha256 -hmac "$SECRET" gateways/mobile-api-connect.sample.json
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-mac-signature"),
        HeaderValue::from_static("sha256=793b3fd361927d2df8bddd8131683ea6311689394d5121745cc8e7b65cc227b0"),
    )]);
    let body = Bytes::from_static(SAMPLE.as_bytes());
    let received = Received {
        method: &http::Method::POST,
        url: "",
        query: None,
        headers: &headers,
        body: &body,
        at: 0,
    };
    let verified = signature::verify(&gateway.signature, &keys, &received).unwrap();
    let items = gateway.parse(&verified, &Reading::with(gateway.numbers));
    let [Item::Message(message)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(message.message_id, None);
    assert_eq!(message.sender.raw(), "919876543210");
    assert_eq!(message.sender.e164(), Some("+919876543210"));
    assert_eq!(message.recipient.e164(), Some("+911234500000"));
    assert_eq!(message.text, "balance");
    assert_eq!(message.reference, None);
    assert_eq!(message.sent_at.unwrap().to_rfc3339(), "2026-06-12T14:32:00+00:00");
    assert_eq!(message.device_id.as_deref(), Some("dev_sample"));
    assert_eq!(message.tenant_id.as_deref(), Some("ten_sample"));
    assert_eq!(message.tenant_name.as_deref(), Some("Acme Corp"));
    assert_eq!(message.gateway_rule.as_deref(), Some("rule_sample"));
}

#[test]
fn every_built_in_file_reads_and_bears_its_name() {
    for name in builtin_names() {
        let gateway = Gateway::from_toml(builtin(name).unwrap()).unwrap();
        assert_eq!(gateway.name, name);
        // A gateway of one vendor says which pages it follows.
        assert!(!gateway.sources.is_empty() || name == "generic", "{name}");
        let sent_at = DateTime::UNIX_EPOCH + chrono::Duration::days(20_000);
        let sample = Sample {
            from: "+14155550123",
            to: "+14155550199",
            text: "{to} \"\n😀",
            sent_at,
            now: sent_at,
            id: ID,
        };
        let sent = gateway.sample_delivery(&sample).unwrap();
        // Some name the device that received a text and not its number.
        let reading = Reading {
            numbers: gateway.numbers,
            recipients: [("dev_sample".to_owned(), sample.to.to_owned())].into(),
        };
        let items = gateway.parse(&verified(payload(&sent)), &reading);
        let [Item::Message(message)] = items.as_slice() else {
            panic!("{name}: {items:?}")
        };
        assert_eq!(message.text, sample.text, "{name}");
        assert_eq!(message.sender.e164(), Some(sample.from), "{name}");
        assert_eq!(message.recipient.e164(), Some(sample.to), "{name}");
        // And some say no time.
        let says_when = !matches!(name, "twilio" | "plivo");
        assert_eq!(message.sent_at, says_when.then_some(sent_at), "{name}");
    }
    assert!(builtin("no-such-gateway").is_none());
}

#[test]
fn what_we_send_as_a_sample_is_the_documented_body() {
    let sample = Sample {
        from: "+919876543210",
        to: "911234500000",
        text: "balance",
        sent_at: at("2026-06-12T14:32:00Z"),
        now: at("2026-06-12T14:32:00Z"),
        id: ID,
    };
    let forward_all = SAMPLE.replace(",\"matchedRuleId\":\"rule_sample\"", "");
    let sent = mobile_api_connect().sample_delivery(&sample).unwrap();
    assert_eq!(sent.method, http::Method::POST);
    assert_eq!(sent.content_type, Some("application/json"));
    assert_eq!(String::from_utf8(sent.body).unwrap(), forward_all);
}

#[test]
fn the_file_says_how_to_answer_and_how_to_reply() {
    let gateway = mobile_api_connect();
    assert_eq!(gateway.ack.status, 200);
    assert_eq!(gateway.ack.body, None);
    assert_eq!(gateway.missing_signature_status, 401);
    assert_eq!(gateway.invalid_signature_status, 401);
    assert_eq!(gateway.numbers, NumberFormat::E164NoPlus);
    assert!(gateway.answers_itself);
    let reply = gateway.reply.unwrap();
    assert_eq!(reply["url"].as_str(), Some("{{ base_url }}/messages"));
    assert_eq!(reply["headers"]["Authorization"]["credential"].as_str(), Some("token"));
    assert_eq!(reply["max_text_chars"].as_integer(), Some(1600));
}

#[test]
fn the_copies_of_one_sms_are_one_message_and_another_text_or_time_is_another() {
    let key = |body: &str| message(body).dedupe_key();
    let rule = key(SAMPLE);
    assert_eq!(rule, key(&sample_with("matchedRuleId", None)));
    assert_eq!(rule, key(&sample_with("matchedRuleId", Some("\"rule_other\""))));
    assert_eq!(rule, key(&sample_with("tenantName", Some("\"Renamed\""))));
    assert_eq!(rule, key(&sample_with("ref", Some("\"order-1\""))));
    assert_eq!(rule, key(&sample_with("from", Some("\"+919876543210\""))));
    assert_eq!(rule, key(&sample_with("from", Some("919876543210"))));
    assert_eq!(rule, key(&sample_with("from", Some("9.1987654321E11"))));
    assert_eq!(
        rule,
        key(&sample_with("receivedAt", Some("\"2026-06-12T20:02:00+05:30\"")))
    );
    assert_eq!(rule, key(&sample_with("receivedAt", Some("1781274720000"))));
    assert_ne!(rule, key(&sample_with("text", Some("\"Balance\""))));
    assert_ne!(
        rule,
        key(&sample_with("receivedAt", Some("\"2026-06-12T14:32:00.001Z\"")))
    );
    assert_ne!(rule, key(&sample_with("from", Some("\"919876543211\""))));
    assert_ne!(rule, key(&sample_with("to", None)));
    assert_ne!(rule, key(&sample_with("deviceId", Some("\"dev_other\""))));
}

#[test]
fn a_message_id_is_taken_from_the_first_place_that_has_one() {
    let id = |fields: &str| message(&format!("{{\"from\":\"1\",\"text\":\"x\",{fields}}}")).message_id;
    assert_eq!(id(r#""id":"a","messageId":"b""#).as_deref(), Some("a"));
    assert_eq!(id(r#""id":"","messageId":"b""#).as_deref(), Some("b"));
    assert_eq!(id(r#""id":null,"message_id":"c""#).as_deref(), Some("c"));
    assert_eq!(id(r#""id":{"x":1},"messageId":17"#).as_deref(), Some("17"));
    assert_eq!(
        id(r#""id":12345678901234567890123"#).as_deref(),
        Some("12345678901234567890123")
    );
    assert_eq!(id(r#""id":" ""#), None);
    assert_eq!(id(&format!("\"id\":\"{}\"", "x".repeat(257))), None);
}

#[test]
fn another_event_is_stored_as_what_it_is() {
    let body = r#"{"event":"message.delivered","id":"msg_1","ref":"r-7","status":"delivered",
                   "from":"1","text":"x","updatedAt":"2026-06-12T14:32:05Z"}"#;
    let event = GatewayEvent {
        kind: "message.delivered".into(),
        reference: Some("r-7".into()),
        gateway_id: Some("msg_1".into()),
        occurred_at: Some(DateTime::parse_from_rfc3339("2026-06-12T14:32:05Z").unwrap().to_utc()),
        state: Some(DeliveryState::Delivered),
        error: None,
        opted_out: false,
    };
    assert_eq!(read(body.as_bytes()), [Item::Event(event)]);
    let long = format!("{{\"event\":\"{}\"}}", "é".repeat(500));
    let items = read(long.as_bytes());
    assert!(matches!(&items[..], [Item::Event(event)] if event.kind.chars().count() == 100));
}

/// What one hostile body is expected to be.
enum Expected {
    Message(&'static str),
    Event(&'static str),
    /// A part of the reason.
    Unreadable(&'static str),
}
use Expected::{Event, Message, Unreadable};

fn assert_reads(body: &[u8], expected: &Expected) {
    let items = read(body);
    let shown = body[..body.len().min(120)].escape_ascii();
    match (&items[..], expected) {
        ([Item::Message(message)], Message(text)) => assert_eq!(message.text, *text, "{shown}"),
        ([Item::Event(event)], Event(kind)) => assert_eq!(event.kind, *kind, "{shown}"),
        ([Item::Unreadable(reason)], Unreadable(part)) => assert!(reason.contains(part), "{shown}: {reason}"),
        _ => panic!("{shown}: {items:?}"),
    }
}

#[test]
fn bodies_that_are_not_a_message_are_kept_with_a_reason() {
    let cases: [(&[u8], Expected); 34] = [
        (b"", Unreadable("the body is empty")),
        (b" \r\n\t", Unreadable("the body is empty")),
        (b"\xEF\xBB\xBF", Unreadable("the body is empty")),
        (b"\0", Unreadable("not JSON")),
        (b"hello", Unreadable("not JSON: it is malformed at line 1 column 1")),
        (b"<xml/>", Unreadable("not JSON")),
        (b"from=1&text=hi", Unreadable("not JSON")),
        (b"\xFF\xFE{\0}\0", Unreadable("not JSON")),
        (b"\x1F\x8B\x08\0\0\0\0\0", Unreadable("not JSON")),
        (b"{", Unreadable("it ends too early at line 1 column 1")),
        (br#"{"from":"1","text":"hi"#, Unreadable("it ends too early")),
        (
            br#"{"from":"1","text":"hi"}}"#,
            Unreadable("malformed at line 1 column 25"),
        ),
        (
            br#"{"from":"1","text":"hi"}{"from":"1","text":"hi"}"#,
            Unreadable("not JSON"),
        ),
        (br#"{"from":"1","text":"hi",}"#, Unreadable("not JSON")),
        (b"{'from':'1','text':'hi'}", Unreadable("not JSON")),
        (
            b"{\"from\":\"1\",\"text\":\"a\nb\"}",
            Unreadable("not JSON: it is malformed at line 1 column 21"),
        ),
        (br#"{"from":"1","text":"\x41"}"#, Unreadable("not JSON")),
        (br#"{"from":"1","text":"\u12"}"#, Unreadable("not JSON")),
        (br#"{"from":"1","text":NaN}"#, Unreadable("not JSON")),
        (b"null", Unreadable("a message is null, not an object")),
        (b"true", Unreadable("a message is a boolean")),
        (b"17", Unreadable("a message is a number")),
        (br#""a text""#, Unreadable("a message is a string")),
        (b"[]", Unreadable("the list of messages is empty")),
        (b"[[]]", Unreadable("a message is a list")),
        (b"{}", Unreadable("no sender at /from")),
        (br#"{"event":"message.received"}"#, Unreadable("no sender at /from")),
        (
            br#"{"event":"message.received","from":null,"text":"hi"}"#,
            Unreadable("no sender"),
        ),
        (
            br#"{"event":"message.received","from":" ","text":"hi"}"#,
            Unreadable("no sender"),
        ),
        (
            br#"{"event":"message.received","from":true,"text":"hi"}"#,
            Unreadable("no sender"),
        ),
        (
            br#"{"event":"message.received","from":"1"}"#,
            Unreadable("no text at /text"),
        ),
        (
            br#"{"event":"message.received","from":"1","text":null}"#,
            Unreadable("no text at /text"),
        ),
        (
            br#"{"event":"message.received","from":"1","text":["hi"]}"#,
            Unreadable("there is no string at /text"),
        ),
        (br#"{"FROM":"1","Text":"hi"}"#, Unreadable("no sender at /from")),
    ];
    for (body, expected) in cases {
        assert_reads(body, &expected);
    }
}

#[test]
fn what_can_be_read_is_a_message_however_it_is_written() {
    let cases: [(&[u8], Expected); 29] = [
        (br#"{"from":"1","text":"hi"}"#, Message("hi")),
        (b" \r\n{ \"from\" : \"1\" ,\t\"text\" : \"hi\" }\n\n", Message("hi")),
        (b"\xEF\xBB\xBF{\"from\":\"1\",\"text\":\"hi\"}", Message("hi")),
        (br#"{"from":"1","text":""}"#, Message("")),
        (br#"{"from":"1","text":"  "}"#, Message("  ")),
        (br#"{"from":"1","text":123456}"#, Message("123456")),
        (br#"{"from":"1","text":1.0}"#, Message("1.0")),
        (br#"{"event":null,"from":"1","text":"hi"}"#, Message("hi")),
        (br#"{"event":"","from":"1","text":"hi"}"#, Message("hi")),
        (br#"{"event":{},"from":"1","text":"hi"}"#, Message("hi")),
        (
            br#"{"event":" Message.Received ","from":"1","text":"hi"}"#,
            Message("hi"),
        ),
        (
            br#"{"from":"1","from":"2","text":"first","text":"last"}"#,
            Message("last"),
        ),
        (br#"{"from":"1","text":"a\u0000b"}"#, Message("a\u{FFFD}b")),
        (br#"{"from":"1","text":"cut \ud83d"}"#, Message("cut \u{FFFD}")),
        (br#"{"from":"1","text":"\ude00 cut"}"#, Message("\u{FFFD} cut")),
        (br#"{"from":"1","text":"\ud83d\ude00"}"#, Message("😀")),
        (br#"{"from":"1","text":"\\ud83d"}"#, Message("\\ud83d")),
        (br#"{"\ud83d":"\udc00","from":"1","text":"hi"}"#, Message("hi")),
        (b"{\"from\":\"1\",\"text\":\"caf\xE9\"}", Message("caf\u{FFFD}")),
        (
            b"{\"from\":\"1\",\"text\":\"\xED\xA0\xBD\"}",
            Message("\u{FFFD}\u{FFFD}\u{FFFD}"),
        ),
        (br#"{"\u0066rom":"1","te\u0078t":"hi"}"#, Message("hi")),
        (
            "{\"from\":\"1\",\"text\":\"\u{202E}abc\u{7F}\u{2028}\"}".as_bytes(),
            Message("\u{202E}abc\u{7F}\u{2028}"),
        ),
        (
            br#"{"from":"1","text":"\u001b[31m\r\n\t"}"#,
            Message("\u{1B}[31m\r\n\t"),
        ),
        (
            br#"{"from":"AMAZON","text":"hi","to":[],"receivedAt":{},"deviceId":[1]}"#,
            Message("hi"),
        ),
        (br#"{"from":-1,"text":"hi","x":1e999}"#, Message("hi")),
        (
            br#"[{"from":"1","text":"alone in a list"}]"#,
            Message("alone in a list"),
        ),
        (
            br#"{"from":"1","text":"<script>alert(1)</script>"}"#,
            Message("<script>alert(1)</script>"),
        ),
        (
            br#"{"event":"message.sent","from":"1","text":"hi"}"#,
            Event("message.sent"),
        ),
        (br#"{"event":5}"#, Event("5")),
    ];
    for (body, expected) in cases {
        assert_reads(body, &expected);
    }
}

#[test]
fn nul_is_replaced_in_every_field() {
    let nul = |field: &str| sample_with(field, Some("\"a\\u0000b\""));
    let clean = "a\u{FFFD}b";
    assert_eq!(message(&nul("from")).sender.raw(), clean);
    assert_eq!(message(&nul("to")).recipient.raw(), clean);
    assert_eq!(message(&nul("ref")).reference.unwrap(), clean);
    assert_eq!(message(&nul("deviceId")).device_id.unwrap(), clean);
    assert_eq!(message(&nul("tenantId")).tenant_id.unwrap(), clean);
    assert_eq!(message(&nul("tenantName")).tenant_name.unwrap(), clean);
    assert_eq!(message(&nul("matchedRuleId")).gateway_rule.unwrap(), clean);
    assert!(matches!(&read(nul("event").as_bytes())[..], [Item::Event(event)] if event.kind == clean));
}

#[test]
fn a_recipient_or_time_that_is_missing_loses_no_message() {
    for json in [None, Some("null"), Some("\"\""), Some("{}"), Some("false")] {
        assert_eq!(
            message(&sample_with("to", json)).recipient,
            crate::phone::Address::missing()
        );
        assert_eq!(message(&sample_with("receivedAt", json)).sent_at, None);
    }
    for time in [
        "\"soon\"",
        "0",
        "-1",
        "1e300",
        "\"292277026596-12-04T15:30:08Z\"",
        "99999999999999999999999",
    ] {
        assert_eq!(message(&sample_with("receivedAt", Some(time))).sent_at, None, "{time}");
    }
}

#[test]
fn a_batch_is_read_one_by_one_and_a_huge_one_is_kept_whole() {
    let items = read(br#"[{"from":"1","text":"a"},7,{"event":"x"},{"from":"2","text":"b"}]"#);
    assert!(matches!(
        &items[..],
        [Item::Message(_), Item::Unreadable(_), Item::Event(_), Item::Message(_)]
    ));
    let huge = format!("[{}0]", "0,".repeat(400_000));
    assert_reads(huge.as_bytes(), &Unreadable("400001 messages in one delivery"));
}

#[test]
fn a_million_brackets_are_no_trouble() {
    let half = 500_000;
    assert_reads("[".repeat(1 << 20).as_bytes(), &Unreadable("ends too early"));
    assert_reads("{\"a\":".repeat(half).as_bytes(), &Unreadable("ends too early"));
    assert_reads(
        format!("{}{}", "[".repeat(half), "]".repeat(half)).as_bytes(),
        &Unreadable("a list"),
    );
    let nested = format!(
        "{{\"from\":\"1\",\"text\":\"hi\",\"x\":{}{}}}",
        "[".repeat(half),
        "]".repeat(half)
    );
    assert_reads(nested.as_bytes(), &Message("hi"));
    assert_reads("\\".repeat(1 << 20).as_bytes(), &Unreadable("not JSON"));
    let cut = format!("{{\"from\":\"1\",\"text\":\"{}\"}}", "\\ud83d".repeat(100_000));
    assert_eq!(message(&cut).text.chars().count(), 100_000);
}

#[test]
fn a_reason_never_quotes_the_body() {
    for body in [
        r#"{"from":"919876543210","text":["private"]}"#,
        r#"{"from":"919876543210","text":"private""#,
        r#""private 919876543210""#,
        r#"{"from":{"private":919876543210}}"#,
        "private 919876543210",
    ] {
        let items = read(body.as_bytes());
        let [Item::Unreadable(reason)] = &items[..] else {
            panic!("{items:?}")
        };
        assert!(!reason.contains("private") && !reason.contains("3210"), "{reason}");
    }
}

/// Another gateway's shape: nested, batched, with fallbacks.
const NESTED: &str = r#"
name = "nested"
title = "Nested"
numbers = "e164"
ack = { status = 202, content_type = "text/xml", body = "<Response/>" }
missing_signature_status = 503
[signature]
headers = ["X-Signature"]
encoding = "base64"
algorithm = "hmac-sha256"
[message]
items = ["/results", "/data/messages"]
from = ["/sender/number", "/sender"]
to = "/to/0/number"
text = ["/body/text", "/body"]
"#;

#[test]
fn a_gateway_of_another_shape_is_only_another_file() {
    let gateway = Gateway::from_toml(NESTED).unwrap();
    let body = br#"{"data":{"messages":[
        {"sender":{"number":"+14155550123"},"to":[{"number":"+14155550199"}],"body":{"text":"one"}},
        {"sender":"+14155550123","body":"two"}]}}"#;
    let items = gateway.parse(&verified(body), &Reading::with(gateway.numbers));
    let [Item::Message(one), Item::Message(two)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((one.text.as_str(), one.recipient.e164()), ("one", Some("+14155550199")));
    assert_eq!((two.text.as_str(), two.sender.e164()), ("two", Some("+14155550123")));
    let elsewhere = gateway.parse(&verified(b"{}"), &Reading::with(gateway.numbers));
    assert_eq!(
        elsewhere,
        [Item::Unreadable("no messages at /results or /data/messages".into())]
    );
    assert_eq!(gateway.ack.status, 202);
    assert_eq!(gateway.ack.content_type, "text/xml");
    assert_eq!(gateway.missing_signature_status, 503);
    assert!(
        gateway
            .sample_delivery(&Sample {
                from: "",
                to: "",
                text: "",
                sent_at: DateTime::UNIX_EPOCH,
                now: DateTime::UNIX_EPOCH,
                id: ID,
            })
            .is_none()
    );
}

#[test]
fn a_file_that_makes_no_gateway_says_where_and_why() {
    for (from, to, part) in [
        ("numbers = \"e164\"", "numbers = \"martian\"", "unknown number format"),
        ("numbers = \"e164\"", "number = \"e164\"", "unknown field `number`"),
        ("status = 202", "status = 302", "only a 2xx"),
        ("= 503", "= 99", "99 is not an HTTP status"),
        ("to = \"/to/0/number\"", "to = \"to.0.number\"", "is not a JSON pointer"),
        ("[\"/body/text\", \"/body\"]", "[\"/body/text\", 7]", "invalid type"),
        ("[\"/body/text\", \"/body\"]", "7", "a JSON pointer or a list"),
        ("\"text/xml\"", "\"text\\u0000xml\"", "not a content type"),
        ("from = ", "form = ", "unknown field `form`"),
    ] {
        let error = Gateway::from_toml(&NESTED.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("line "), "{to}: {error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_at_least_one_item(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!read(&body).is_empty());
    }

    #[test]
    fn any_changed_sample_gives_at_least_one_item(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut body = SAMPLE.as_bytes().to_vec();
        for (place, byte) in changes {
            *place.get_mut(&mut body) = byte;
        }
        if is_cut {
            body.truncate(cut.index(body.len()));
        }
        prop_assert!(!read(&body).is_empty());
    }

    #[test]
    fn any_text_arrives_as_it_was_sent(text in any::<String>(), from in "\\+?[0-9]{1,20}|[A-Za-z ]{1,11}") {
        let body = serde_json::json!({ "event": "message.received", "from": from, "text": text }).to_string();
        let read = message_or_none(&body);
        let is_blank = from.trim().is_empty();
        prop_assert_eq!(read.map(|message| message.text), (!is_blank).then(|| text.replace('\0', "\u{FFFD}")));
    }

    #[test]
    fn any_json_text_of_escapes_gives_a_message(escapes in "(\\\\u[dD][89abAB][0-9a-f]{2}|\\\\u[dD][c-fC-F][0-9a-f]{2}|\\\\\\\\|a|\\\\n){0,40}") {
        let body = format!("{{\"from\":\"1\",\"text\":\"{escapes}\"}}");
        prop_assert!(message_or_none(&body).is_some());
    }
}

fn message_or_none(body: &str) -> Option<InboundMessage> {
    match read(body.as_bytes()).pop() {
        Some(Item::Message(message)) => Some(*message),
        _ => None,
    }
}

#[test]
fn a_message_without_an_id_has_that_of_its_delivery_where_the_gateway_signs_one() {
    let gateway = Gateway::from_toml(builtin("standard-webhooks").unwrap()).unwrap();
    let secret = SecretSpec {
        label: "secret".to_owned(),
        secret: SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        algorithm: None,
    };
    let keys = Keys::new(&gateway.signature, &[secret]).unwrap();
    let read = |id: &'static str, body: &str| {
        let mut outgoing = signature::Outgoing {
            method: http::Method::POST,
            url: String::new(),
            query: String::new(),
            headers: HeaderMap::from_iter([(
                http::HeaderName::from_static("webhook-id"),
                HeaderValue::from_static(id),
            )]),
            body: body.as_bytes().to_vec(),
            at: 1_781_274_720_000,
        };
        signature::sign(&gateway.signature, &keys.signer().unwrap(), &mut outgoing);
        let received = Received {
            method: &outgoing.method,
            url: "",
            query: None,
            headers: &outgoing.headers,
            body: &outgoing.body.clone().into(),
            at: outgoing.at,
        };
        let verified = signature::verify(&gateway.signature, &keys, &received).unwrap();
        match gateway.parse(&verified, &Reading::with(gateway.numbers)).pop() {
            Some(Item::Message(message)) => (message.message_id.clone(), message.dedupe_key()),
            other => panic!("{other:?}"),
        }
    };
    let body = r#"{"type":"message.received","data":{"from":"+14155550123","text":"yes"}}"#;
    let (id, once) = read("msg_1", body);
    assert_eq!(id.as_deref(), Some("msg_1"));
    assert_eq!(read("msg_1", body).1, once, "a retry");
    assert_ne!(read("msg_2", body).1, once, "the same words said again");
    let own = r#"{"type":"message.received","data":{"id":"7","from":"+14155550123","text":"yes"}}"#;
    assert_eq!(read("msg_3", own).0.as_deref(), Some("7"));
}
