//! Every key of `[message]` and `[event]` on what the gateway that needs it really sends. The tables here are the least
//! that reads it; the built-in files have more.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{at, verified};
use crate::gateway::{Gateway, Reading};
use crate::message::{AnsweredEvent, DeliveryState, GatewayAnswer, GatewayEvent, InboundMessage, Item, Part};
use crate::phone::Address;

/// A gateway with these keys besides the ones that every gateway needs.
pub(super) fn gateway(numbers: &str, keys: &str) -> Gateway {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nnumbers = \"{numbers}\"\n\
         signature = {{ headers = [\"X-S\"], encoding = \"hex\", algorithm = \"hmac-sha256\" }}\n{keys}"
    );
    Gateway::from_toml(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn read(gateway: &Gateway, body: impl AsRef<[u8]>) -> Vec<Item> {
    gateway.parse(&verified(body.as_ref()), &Reading::with(gateway.numbers))
}

fn message(gateway: &Gateway, body: impl AsRef<[u8]>) -> InboundMessage {
    match &mut read(gateway, body)[..] {
        [Item::Message(message)] => (**message).clone(),
        other => panic!("{other:?}"),
    }
}

fn event(gateway: &Gateway, body: impl AsRef<[u8]>) -> GatewayEvent {
    match &mut read(gateway, body)[..] {
        [Item::Event(event)] => event.clone(),
        other => panic!("{other:?}"),
    }
}

fn media(message: &InboundMessage) -> Vec<(&str, Option<&str>)> {
    message
        .media
        .iter()
        .map(|media| (media.url.as_str(), media.content_type.as_deref()))
        .collect()
}

fn twilio() -> Gateway {
    gateway(
        "e164",
        r#"
        methods = ["POST", "GET"]
        format = "form"
        [message]
        id = "/MessageSid"
        from = "/From"
        to = "/To"
        text = "/Body"
        tenant_id = "/AccountSid"
        media = { url = "/MediaUrl{i}", content_type = "/MediaContentType{i}" }
        answered = { at = "/OptOutType", opt_out = ["STOP"], opt_in = ["START"], help = ["HELP"] }
        [event]
        kind = ["/MessageStatus", "/SmsStatus"]
        messages = ["received"]
        id = "/MessageSid"
        error = "/ErrorCode"
        states = { queued = ["queued", "sending"], sent = ["sent"], delivered = ["delivered"], failed = ["failed", "undelivered"] }
        "#,
    )
}

#[test]
fn a_twilio_form_with_media_is_one_message() {
    let body = "ToCountry=US&SmsStatus=received&Body=Look+%F0%9F%91%80+50%25+%26+more&NumMedia=2\
        &MediaUrl0=https%3A%2F%2Fapi.twilio.com%2F2010-04-01%2FAccounts%2FAC1%2FMedia%2FME1&MediaContentType0=image%2Fjpeg\
        &MediaUrl1=https%3A%2F%2Fapi.twilio.com%2F2010-04-01%2FAccounts%2FAC1%2FMedia%2FME2&MediaContentType1=text%2Fvcard\
        &To=%2B14155550199&MessageSid=MM0123456789abcdef0123456789abcdef&AccountSid=AC1&From=%2B14155550123";
    let read = message(&twilio(), body);
    assert_eq!(read.text, "Look 👀 50% & more");
    assert_eq!(read.sender.e164(), Some("+14155550123"));
    assert_eq!(read.recipient.e164(), Some("+14155550199"));
    assert_eq!(read.message_id.as_deref(), Some("MM0123456789abcdef0123456789abcdef"));
    assert_eq!(read.tenant_id.as_deref(), Some("AC1"));
    assert_eq!(read.sent_at, None);
    assert_eq!(read.answered, None);
    assert_eq!(
        media(&read),
        [
            (
                "https://api.twilio.com/2010-04-01/Accounts/AC1/Media/ME1",
                Some("image/jpeg")
            ),
            (
                "https://api.twilio.com/2010-04-01/Accounts/AC1/Media/ME2",
                Some("text/vcard")
            ),
        ]
    );
}

#[test]
fn what_the_provider_has_answered_is_known_by_its_word() {
    let answered = |word: &str| message(&twilio(), format!("From=%2B14155550123&Body=x&OptOutType={word}")).answered;
    let expected = |event, word: &str| {
        Some(GatewayAnswer {
            event,
            word: word.into(),
        })
    };
    assert_eq!(answered("STOP"), expected(AnsweredEvent::OptOut, "STOP"));
    assert_eq!(answered("stop"), expected(AnsweredEvent::OptOut, "stop"));
    assert_eq!(answered("+START+"), expected(AnsweredEvent::OptIn, "START"));
    assert_eq!(answered("HELP"), expected(AnsweredEvent::Help, "HELP"));
    assert_eq!(answered("OTHER"), None);
    assert_eq!(answered(""), None);
}

#[test]
fn a_status_callback_is_an_event_with_a_state() {
    let body = |status: &str, code: &str| {
        format!("SmsSid=SM1&SmsStatus={status}&MessageStatus={status}&To=%2B1&MessageSid=SM1&From=%2B2{code}")
    };
    let delivered = event(&twilio(), body("delivered", ""));
    assert_eq!(delivered.kind, "delivered");
    assert_eq!(delivered.state, Some(DeliveryState::Delivered));
    assert_eq!(delivered.gateway_id.as_deref(), Some("SM1"));
    assert_eq!(delivered.error, None);
    let failed = event(&twilio(), body("undelivered", "&ErrorCode=30003"));
    assert_eq!(failed.state, Some(DeliveryState::Failed));
    assert_eq!(failed.error.as_deref(), Some("30003"));
    let unknown = event(&twilio(), body("teleported", "&ErrorCode=7"));
    assert_eq!((unknown.state, unknown.error.as_deref()), (None, Some("7")));
    // A code that comes with success is no error.
    assert_eq!(event(&twilio(), body("sent", "&ErrorCode=0")).error, None);
}

#[test]
fn no_form_loses_a_message_to_its_encoding() {
    let long = format!("From=1&Body={}", "%F0%9F%91%80".repeat(80_000));
    let cases: [(&[u8], &str); 14] = [
        (b"From=1&Body=hi", "hi"),
        (b"\xEF\xBB\xBFFrom=1&Body=hi", "hi"),
        (b"From=1&Body=", ""),
        (b"From=1&Body", ""),
        (b"From=1&Body=a=b=c", "a=b=c"),
        (b"&&From=1&&&Body=hi&", "hi"),
        (b"From=1&Body=a%00b", "a\u{FFFD}b"),
        (b"From=1&Body=caf%E9", "caf\u{FFFD}"),
        (b"From=1&Body=caf\xE9", "caf\u{FFFD}"),
        (b"From=1&Body=%ED%A0%BD", "\u{FFFD}\u{FFFD}\u{FFFD}"),
        (b"From=1&Body=100%&x=%zz%4", "100%"),
        (b"From=1&Body=%5Cud83d%22%7B%0A", "\\ud83d\"{\n"),
        (b"Fr%6Fm=1&B%6fdy=hi", "hi"),
        (b"From=1&Body=first&Body=last&From=2", "last"),
    ];
    for (body, text) in cases {
        assert_eq!(message(&twilio(), body).text, text, "{}", body.escape_ascii());
    }
    assert_eq!(message(&twilio(), long).text.chars().count(), 80_000);
}

#[test]
fn a_form_that_is_no_message_is_kept_with_a_reason() {
    let many = "a=1&".repeat(20_000);
    let cases: [(&[u8], &str); 6] = [
        (b"", "the body is empty"),
        (b" \r\n", "the body is empty"),
        (b"&", "no sender at /From"),
        (br#"{"From":"1","Body":"hi"}"#, "no sender at /From"),
        (b"From=1", "no text at /Body"),
        (many.as_bytes(), "20000 fields in one form; at most 10000 are read"),
    ];
    for (body, reason) in cases {
        assert_eq!(read(&twilio(), body), [Item::Unreadable(reason.into())]);
    }
}

fn bandwidth() -> Gateway {
    gateway(
        "e164",
        r#"
        [message]
        id = "/message/id"
        from = "/message/from"
        to = ["/message/owner", "/message/to/0"]
        text = "/message/text"
        sent_at = ["/message/time", "/time"]
        media = { list = "/message/media", url = "" }
        only = { "/message/direction" = ["in"] }
        [event]
        kind = "/type"
        messages = ["message-received"]
        id = "/message/id"
        reference = "/message/tag"
        occurred_at = "/time"
        error = "/errorCode"
        states = { sent = ["message-sending"], delivered = ["message-delivered"], failed = ["message-failed"] }
        "#,
    )
}

#[test]
fn a_bandwidth_list_of_events_is_read_one_by_one() {
    let body = r#"[
        {"type":"message-received","time":"2026-06-12T14:32:01.145Z","description":"Incoming message received",
         "to":"+14155550199","message":{"id":"14762070468292kw2fuqty55yp2b2","time":"2026-06-12T14:32:00.000Z",
         "to":["+14155550188","+14155550199"],"owner":"+14155550199","from":"+14155550123","text":"Hey, check this out!",
         "applicationId":"93de2206","media":["https://messaging.bandwidth.com/api/v2/users/1/media/cat.png",""],
         "direction":"in","segmentCount":1}},
        {"type":"message-received","time":"2026-06-12T14:32:01Z","to":"+14155550123","message":{"id":"m2",
         "to":["+14155550123"],"owner":"+14155550199","from":"+14155550199","text":"ours","direction":"out","tag":"r-1"}},
        {"type":"message-failed","time":"2026-06-12T14:32:02Z","to":"+14155550123","description":"rejected",
         "errorCode":4470,"message":{"id":"m3","tag":"r-2","direction":"out"}}]"#;
    let items = read(&bandwidth(), body);
    let [Item::Message(text), Item::Event(outbound), Item::Event(failed)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!(text.recipient.e164(), Some("+14155550199"));
    assert_eq!(text.sender.e164(), Some("+14155550123"));
    assert_eq!(text.sent_at, Some(at("2026-06-12T14:32:00Z")));
    assert_eq!(
        media(text),
        [("https://messaging.bandwidth.com/api/v2/users/1/media/cat.png", None)]
    );
    assert_eq!(outbound.kind, "out");
    assert_eq!((outbound.gateway_id.as_deref(), outbound.state), (Some("m2"), None));
    assert_eq!(
        *failed,
        GatewayEvent {
            kind: "message-failed".into(),
            reference: Some("r-2".into()),
            gateway_id: Some("m3".into()),
            occurred_at: Some(at("2026-06-12T14:32:02Z")),
            state: Some(DeliveryState::Failed),
            error: Some("4470".into()),
            opted_out: false,
        }
    );
}

#[test]
fn a_condition_on_what_is_not_there_excludes_nothing() {
    let without = r#"[{"type":"message-received","message":{"from":"+14155550123","text":"hi"}}]"#;
    assert_eq!(message(&bandwidth(), without).text, "hi");
    let flag = gateway(
        "e164",
        r#"
        [message]
        from = "/from"
        text = "/text"
        only = { "/incoming" = ["true"], "/kind" = ["SMS", "text"] }
        "#,
    );
    let body = |rest: &str| format!(r#"{{"from":"1","text":"hi"{rest}}}"#);
    assert_eq!(message(&flag, body(r#","incoming":true,"kind":" sms ""#)).text, "hi");
    assert_eq!(message(&flag, body(r#","incoming":null,"kind":{}"#)).text, "hi");
    assert_eq!(event(&flag, body(r#","incoming":false"#)).kind, "false");
    assert_eq!(event(&flag, body(r#","kind":"call""#)).kind, "call");
}

fn infobip() -> Gateway {
    gateway(
        "e164_no_plus",
        r#"
        [message]
        items = "/results"
        id = "/messageId"
        from = "/from"
        to = "/to"
        text = "/text"
        sent_at = "/receivedAt"
        reference = "/callbackData"
        [event]
        kind = "/status/groupName"
        messages = []
        id = "/messageId"
        reference = "/callbackData"
        occurred_at = "/doneAt"
        error = "/error/name"
        states = { queued = ["PENDING"], delivered = ["DELIVERED"], failed = ["UNDELIVERABLE", "EXPIRED", "REJECTED"] }
        "#,
    )
}

#[test]
fn an_infobip_batch_is_all_of_its_messages() {
    let body = r#"{"results":[
        {"messageId":"817790313235066447","from":"385916242493","to":"385921004026","text":"QUIZ Correct answer is Paris",
         "cleanText":"Correct answer is Paris","keyword":"QUIZ","receivedAt":"2026-06-12T14:32:00.000+0000","smsCount":1,
         "price":{"pricePerMessage":0,"currency":"EUR"},"callbackData":"callbackData"},
        {"messageId":"817790313235066448","from":"385916242494","to":"385921004026","text":"two","keyword":"",
         "receivedAt":"2026-06-12T16:32:00.000+0200","smsCount":1,"callbackData":null}],
        "messageCount":2,"pendingMessageCount":0}"#;
    let items = read(&infobip(), body);
    let [Item::Message(one), Item::Message(two)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!(one.text, "QUIZ Correct answer is Paris");
    assert_eq!(one.sender.e164(), Some("+385916242493"));
    assert_eq!(one.reference.as_deref(), Some("callbackData"));
    assert_eq!(one.sent_at, Some(at("2026-06-12T14:32:00Z")));
    assert_eq!(two.sent_at, one.sent_at);
    assert_eq!(two.message_id.as_deref(), Some("817790313235066448"));
}

#[test]
fn an_infobip_report_is_an_event_though_its_fields_have_the_same_names() {
    let report = |group: &str, error: &str| {
        format!(
            r#"{{"results":[{{"bulkId":"b","messageId":"m","to":"385916242493","callbackData":"r-3",
            "doneAt":"2026-06-12T14:32:00.000+0000","status":{{"groupId":3,"groupName":"{group}"}},
            "error":{{"groupId":0,"name":"{error}"}}}}]}}"#
        )
    };
    let delivered = event(&infobip(), report("DELIVERED", "NO_ERROR"));
    assert_eq!(delivered.state, Some(DeliveryState::Delivered));
    assert_eq!(delivered.error, None);
    assert_eq!(delivered.reference.as_deref(), Some("r-3"));
    assert_eq!(delivered.gateway_id.as_deref(), Some("m"));
    assert_eq!(delivered.occurred_at, Some(at("2026-06-12T14:32:00Z")));
    let failed = event(&infobip(), report("UNDELIVERABLE", "EC_ABSENT_SUBSCRIBER"));
    assert_eq!(failed.state, Some(DeliveryState::Failed));
    assert_eq!(failed.error.as_deref(), Some("EC_ABSENT_SUBSCRIBER"));
}

fn vonage_sms() -> Gateway {
    gateway(
        "e164_no_plus",
        r#"
        methods = ["GET", "POST"]
        format = "auto"
        [message]
        id = "/messageId"
        from = "/msisdn"
        to = "/to"
        text = "/text"
        sent_at = "/message-timestamp"
        parts = { reference = "/concat-ref", total = "/concat-total", index = "/concat-part" }
        [event]
        kind = "/status"
        messages = []
        id = "/messageId"
        reference = "/client-ref"
        error = "/err-code"
        states = { queued = ["buffered"], sent = ["accepted"], delivered = ["delivered"], failed = ["failed", "expired"] }
        "#,
    )
}

#[test]
fn a_vonage_part_says_which_it_is_by_query_form_and_json() {
    let query = "msisdn=447700900001&to=447700900000&messageId=0A0000000123ABCD1&text=first+half&type=text&keyword=FIRST\
        &message-timestamp=2026-06-12+14%3A32%3A00&timestamp=1781274720&nonce=aaaaaaaa-bbbb&concat=true&concat-ref=17\
        &concat-total=2&concat-part=1&sig=00";
    let json = r#" {"msisdn":"447700900001","to":"447700900000","messageId":"0A0000000123ABCD1","text":"first half",
        "message-timestamp":"2026-06-12 14:32:00","concat":"true","concat-ref":17,"concat-total":"2","concat-part":1}"#;
    let read = message(&vonage_sms(), query);
    assert_eq!(
        read.part,
        Some(Part {
            reference: "17".into(),
            total: 2,
            index: 1
        })
    );
    assert_eq!(read.text, "first half");
    assert_eq!(read.sent_at, Some(at("2026-06-12T14:32:00Z")));
    assert_eq!(read.sender.e164(), Some("+447700900001"));
    assert!(read == message(&vonage_sms(), json));
}

#[test]
fn what_is_no_possible_part_is_a_message_of_its_own() {
    let part = |reference: &str, total: &str, index: &str| {
        let body =
            format!("msisdn=447700900001&text=x&concat-ref={reference}&concat-total={total}&concat-part={index}");
        message(&vonage_sms(), body).part
    };
    assert!(part("1", "255", "255").is_some());
    for (reference, total, index) in [
        ("", "2", "1"),
        ("1", "1", "1"),
        ("1", "0", "0"),
        ("1", "2", "0"),
        ("1", "2", "3"),
        ("1", "256", "1"),
        ("1", "99999999999999999999", "1"),
        ("1", "-2", "1"),
        ("1", "two", "1"),
        ("1", "", ""),
        (&"9".repeat(300), "2", "1"),
    ] {
        assert_eq!(part(reference, total, index), None, "{total} {index}");
    }
}

#[test]
fn two_parts_that_read_the_same_are_two_and_a_part_that_comes_again_is_one() {
    let key = |index: u8| {
        let body = format!("msisdn=447700900001&to=1&text=hahaha&concat-ref=1&concat-total=3&concat-part={index}");
        message(&vonage_sms(), body).dedupe_key()
    };
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
    assert_ne!(
        key(1),
        message(&vonage_sms(), "msisdn=447700900001&to=1&text=hahaha").dedupe_key()
    );
}

#[test]
fn a_vonage_receipt_by_query_is_an_event() {
    let receipt = event(
        &vonage_sms(),
        "msisdn=447700900001&to=447700900000&messageId=0A1&status=delivered&err-code=0&client-ref=r-4&scts=2606121432",
    );
    assert_eq!(receipt.state, Some(DeliveryState::Delivered));
    assert_eq!((receipt.reference.as_deref(), receipt.error), (Some("r-4"), None));
}

#[test]
fn a_json_gateway_that_may_call_with_get_has_its_query_read_as_a_form() {
    let both = gateway(
        "e164",
        "methods = [\"POST\", \"GET\"]\n[message]\nfrom = \"/from\"\ntext = \"/text\"",
    );
    assert_eq!(message(&both, "from=1&text=by+query").text, "by query");
    assert_eq!(
        message(&both, "\u{FEFF}\n {\"from\":\"1\",\"text\":\"by body\"}").text,
        "by body"
    );
    let post = gateway("e164", "[message]\nfrom = \"/from\"\ntext = \"/text\"");
    assert!(matches!(&read(&post, "from=1&text=x")[..], [Item::Unreadable(reason)] if reason.starts_with("not JSON")));
}

#[test]
fn an_httpsms_text_that_is_encrypted_says_so() {
    let gateway = gateway(
        "e164",
        r#"
        [message]
        id = "/data/message_id"
        from = "/data/contact"
        to = "/data/owner"
        text = "/data/content"
        sent_at = ["/data/timestamp", "/time"]
        encrypted = "/data/encrypted"
        media = { list = "/data/attachments", url = "" }
        [event]
        kind = "/type"
        messages = ["message.phone.received"]
        id = "/data/id"
        states = { delivered = ["message.phone.delivered"] }
        "#,
    );
    let body = |encrypted: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"5e4d","source":"/v1/messages/receive","type":"message.phone.received",
            "datacontenttype":"application/json","time":"2026-06-12T14:32:00.123456789Z","data":{{"message_id":"3b8c",
            "user_id":"u","owner":"+14155550199","contact":"+14155550123","timestamp":"2026-06-12T14:32:00.1Z",
            "content":"bW9ja2VkIGNpcGhlcnRleHQ=","sim":"SIM1","encrypted":{encrypted},"attachments":null}}}}"#
        )
    };
    let read = message(&gateway, body("true"));
    assert!(read.encrypted);
    assert_eq!(read.text, "bW9ja2VkIGNpcGhlcnRleHQ=");
    assert_eq!(read.message_id.as_deref(), Some("3b8c"));
    assert!(read.media.is_empty());
    for yes in ["\"true\"", "\"True\"", "1", "\"1\""] {
        assert!(message(&gateway, body(yes)).encrypted, "{yes}");
    }
    for no in ["false", "null", "\"\"", "\"false\"", "0", "{}", "[true]", "2"] {
        assert!(!message(&gateway, body(no)).encrypted, "{no}");
    }
    let call = body("false").replace("message.phone.received", "message.call.missed");
    assert_eq!(event(&gateway, call).kind, "message.call.missed");
}

fn telnyx() -> Gateway {
    gateway(
        "e164",
        r#"
        [message]
        id = "/data/payload/id"
        from = "/data/payload/from/phone_number"
        to = "/data/payload/to/0/phone_number"
        text = "/data/payload/text"
        sent_at = "/data/payload/received_at"
        media = { list = "/data/payload/media", url = "/url", content_type = "/content_type" }
        answered = { at = "/data/payload/autoresponse_type", opt_out = ["STOP"], opt_in = ["START"], help = ["HELP"] }
        only = { "/data/payload/direction" = ["inbound"] }
        [event]
        kind = "/data/event_type"
        messages = ["message.received"]
        id = "/data/payload/id"
        occurred_at = "/data/occurred_at"
        state = ["/data/payload/to/0/status", "/data/event_type"]
        error = "/data/payload/errors/0/code"
        states = { queued = ["queued"], sent = ["sent", "message.sent"], delivered = ["delivered"], failed = ["delivery_failed"] }
        "#,
    )
}

#[test]
fn a_telnyx_picture_and_its_autoresponse_are_read() {
    let body = |text: &str, autoresponse: &str, media: &str| {
        format!(
            r#"{{"data":{{"event_type":"message.received","id":"e1","occurred_at":"2026-06-12T14:32:01Z","payload":{{
            "direction":"inbound","errors":[],"from":{{"phone_number":"+14155550123","carrier":""}},"id":"84cca175",
            "media":{media},"parts":1,"received_at":"2026-06-12T14:32:00.000+00:00","record_type":"message",
            "text":{text},"autoresponse_type":{autoresponse},"to":[{{"phone_number":"+14155550199",
            "status":"webhook_delivered"}}],"type":"MMS"}},"record_type":"event"}},"meta":{{"attempt":1}}}}"#
        )
    };
    let files = r#"[{"url":"https://media.example/1.jpg","content_type":"image/jpeg","size":102400,"hash_sha256":"ab"},
        {"url":null,"content_type":"image/png"},7,null,[],{"url":" https://media.example/2.bin "}]"#;
    let read = message(&telnyx(), body("\"see\"", "null", files));
    assert_eq!(
        media(&read),
        [
            ("https://media.example/1.jpg", Some("image/jpeg")),
            ("https://media.example/2.bin", None)
        ]
    );
    assert_eq!(read.message_id.as_deref(), Some("84cca175"));
    assert_eq!(read.answered, None);
    let silent = message(&telnyx(), body("null", "null", files));
    assert_eq!((silent.text.as_str(), silent.media.len()), ("", 2));
    let stop = message(&telnyx(), body("\"Stop\"", "\"STOP\"", "[]"));
    assert_eq!(stop.answered.map(|answer| answer.event), Some(AnsweredEvent::OptOut));
    let nothing = self::read(&telnyx(), body("null", "null", "[]"));
    assert!(matches!(&nothing[..], [Item::Unreadable(_)]));
}

#[test]
fn a_telnyx_report_has_the_state_of_its_first_known_word() {
    let body = |kind: &str, status: &str, errors: &str| {
        format!(
            r#"{{"data":{{"event_type":"{kind}","occurred_at":"2026-06-12T14:32:01Z","payload":{{"direction":"outbound",
            "errors":{errors},"id":"m9","to":[{{"phone_number":"+14155550123","status":"{status}"}}]}}}}}}"#
        )
    };
    let state = |kind, status| event(&telnyx(), body(kind, status, "[]")).state;
    assert_eq!(state("message.finalized", "delivered"), Some(DeliveryState::Delivered));
    assert_eq!(state("message.sent", "something_new"), Some(DeliveryState::Sent));
    assert_eq!(state("message.finalized", "something_new"), None);
    let failed = event(
        &telnyx(),
        body(
            "message.finalized",
            "delivery_failed",
            r#"[{"code":"40008","title":"x"}]"#,
        ),
    );
    assert_eq!(failed.error.as_deref(), Some("40008"));
    assert_eq!(failed.gateway_id.as_deref(), Some("m9"));
    assert_eq!(event(&telnyx(), body("message.received", "x", "[]")).kind, "outbound");
}

fn smsgate() -> Gateway {
    gateway(
        "auto:SG",
        r#"
        [message]
        id = "/id"
        dedupe = "fingerprint"
        from = ["/payload/sender", "/payload/phoneNumber"]
        to = "/payload/recipient"
        text = "/payload/message"
        sent_at = "/payload/receivedAt"
        device_id = "/deviceId"
        [event]
        kind = "/event"
        messages = ["sms:received"]
        reference = "/payload/messageId"
        occurred_at = ["/payload/deliveredAt", "/payload/failedAt"]
        error = "/payload/reason"
        states = { sent = ["sms:sent"], delivered = ["sms:delivered"], failed = ["sms:failed"] }
        "#,
    )
}

fn smsgate_body(id: &str, device: &str, recipient: &str, text: &str, time: &str) -> String {
    format!(
        r#"{{"deviceId":"{device}","event":"sms:received","id":"{id}","payload":{{"messageId":"5f3a9c11",
        "message":"{text}","sender":"+6591234567"{recipient},"simNumber":1,"receivedAt":"{time}"}},"webhookId":"w"}}"#
    )
}

#[test]
fn by_fingerprint_a_text_with_two_ids_is_one_and_two_texts_with_one_id_are_two() {
    let time = "2026-06-12T22:32:00.000+08:00";
    let key = |id, text, time| message(&smsgate(), smsgate_body(id, "d1", "", text, time)).dedupe_key();
    let first = key("a", "hi", time);
    assert_eq!(first, key("b", "hi", time));
    assert_eq!(first, key("b", "hi", "2026-06-12T14:32:00Z"));
    assert_ne!(first, key("a", "ho", time));
    assert_ne!(first, key("a", "hi", "2026-06-12T22:32:01.000+08:00"));
    assert_eq!(
        message(&smsgate(), smsgate_body("a", "d1", "", "hi", time))
            .message_id
            .as_deref(),
        Some("a")
    );
}

#[test]
fn an_event_whose_kind_is_its_state_needs_no_other_place() {
    let failed = event(
        &smsgate(),
        r#"{"deviceId":"d1","event":"sms:failed","id":"e","payload":{"messageId":"out-1","recipient":"+6591234567",
        "failedAt":"2026-06-12T22:32:00.000+08:00","reason":"Generic failure"},"webhookId":"w"}"#,
    );
    assert_eq!(failed.state, Some(DeliveryState::Failed));
    assert_eq!(failed.error.as_deref(), Some("Generic failure"));
    assert_eq!(failed.reference.as_deref(), Some("out-1"));
    assert_eq!(failed.occurred_at, Some(at("2026-06-12T14:32:00Z")));
    let ping = event(
        &smsgate(),
        r#"{"deviceId":"d1","event":"system:ping","id":"e","payload":{}}"#,
    );
    assert_eq!((ping.kind.as_str(), ping.state), ("system:ping", None));
}

fn recipient(gateway: &Gateway, known: &[(&str, &str)], body: &str) -> InboundMessage {
    let reading = Reading {
        numbers: gateway.numbers,
        recipients: known
            .iter()
            .map(|(said, number)| ((*said).into(), (*number).into()))
            .collect::<BTreeMap<_, _>>(),
    };
    match &gateway.parse(&verified(body.as_bytes()), &reading)[..] {
        [Item::Message(message)] => (**message).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_stands_for_our_number_where_the_gateway_names_none() {
    let textbee = gateway(
        "auto",
        r#"
        never_4xx = true
        [message]
        id = "/smsId"
        from = "/sender"
        text = "/message"
        sent_at = "/receivedAt"
        device_id = "/deviceId"
        "#,
    );
    assert!(textbee.never_4xx);
    let body = r#"{"smsId":"66f1","message":"hi","deviceId":"66ab","webhookSubscriptionId":"s","sender":"+14155550123",
        "webhookEvent":"MESSAGE_RECEIVED","idempotencyKey":"k","receivedAt":"2026-06-12T14:32:00.000Z"}"#;
    let unknown = recipient(&textbee, &[("66ac", "+14155550199")], body);
    assert_eq!(unknown.recipient, Address::missing());
    let known = recipient(&textbee, &[("66ab", "+14155550199")], body);
    assert_eq!(known.recipient.e164(), Some("+14155550199"));
    assert_eq!(known.recipient.raw(), "+14155550199");
    assert_ne!(known.conversation_id(), unknown.conversation_id());
    // So that a retry stays a retry when the device is given a number in between.
    assert_eq!(known.dedupe_key(), unknown.dedupe_key());
}

#[test]
fn what_stands_at_to_is_looked_up_before_the_device() {
    let time = "2026-06-12T14:32:00Z";
    let with = |to: &str| smsgate_body("a", "d1", &format!(r#","recipient":"{to}""#), "hi", time);
    let known = [("d1", "+6580000001"), ("SIM 2", "91234568")];
    let said = |body: &str| recipient(&smsgate(), &known, body).recipient;
    assert_eq!(said(&with(" SIM 2 ")).e164(), Some("+6591234568"));
    assert_eq!(said(&with("+6580000003")).e164(), Some("+6580000003"));
    assert_eq!(
        said(&smsgate_body("a", "d1", "", "hi", time)).e164(),
        Some("+6580000001")
    );
    let keys: Vec<_> = [&known[..], &[]]
        .into_iter()
        .map(|known| recipient(&smsgate(), known, &with("SIM 2")).dedupe_key())
        .collect();
    assert_eq!(keys[0], keys[1]);
}

fn sinch() -> Gateway {
    gateway(
        "e164_no_plus",
        r#"
        [message]
        id = "/id"
        from = "/from"
        to = "/to"
        text = ["/body", "/body/message", "/body/subject"]
        sent_at = ["/sent_at", "/received_at"]
        media = { list = "/body/media", url = "/url", content_type = "/content_type" }
        [event]
        kind = "/type"
        messages = ["mo_text", "mo_media"]
        id = "/batch_id"
        reference = "/client_reference"
        state = "/status"
        error = "/code"
        states = { sent = ["Dispatched"], delivered = ["Delivered"], failed = ["Failed", "Rejected"] }
        "#,
    )
}

#[test]
fn a_sinch_body_may_be_a_text_or_an_object() {
    let body = |kind: &str, body: &str| {
        format!(
            r#"{{"id":"01FC66621ABCDE119Z8PMV1QPA","type":"{kind}","from":"16051234567","to":"13185551234","body":{body},
            "received_at":"2026-06-12T14:32:00.912Z","operator_id":"35000"}}"#
        )
    };
    assert_eq!(message(&sinch(), body("mo_text", "\"Hello\"")).text, "Hello");
    let object = |message: &str| {
        format!(
            r#"{{"subject":"Subject"{message},"media":[{{"url":"https://example.com/a.jpg","content_type":"image/jpeg",
            "status":"Uploaded","code":0}}]}}"#
        )
    };
    let both = message(&sinch(), body("mo_media", &object(r#","message":"Look""#)));
    assert_eq!(both.text, "Look");
    assert_eq!(media(&both), [("https://example.com/a.jpg", Some("image/jpeg"))]);
    let titled = message(&sinch(), body("mo_media", &object("")));
    assert_eq!((titled.text.as_str(), titled.media.len()), ("Subject", 1));
    let bare = object("").replace(r#""subject":"Subject","#, "");
    let bare = message(&sinch(), body("mo_media", &bare));
    assert_eq!((bare.text.as_str(), bare.media.len()), ("", 1));
    assert_eq!(bare.sender.e164(), Some("+16051234567"));
    let nothing = read(&sinch(), body("mo_media", "{}"));
    assert!(matches!(&nothing[..], [Item::Unreadable(reason)] if reason.starts_with("there is no string at /body or")));
    let report = r#"{"type":"recipient_delivery_report_sms","batch_id":"01F","client_reference":"r-5","recipient":"1605",
        "status":"Rejected","code":402,"at":"2026-06-12T14:32:00.912Z"}"#;
    let report = event(&sinch(), report);
    assert_eq!(
        (report.state, report.error.as_deref()),
        (Some(DeliveryState::Failed), Some("402"))
    );
}

#[test]
fn one_file_alone_and_a_field_that_is_repeated_are_lists_too() {
    let vonage = gateway(
        "e164_no_plus",
        r#"
        [message]
        from = "/from"
        text = ["/text", "/image/caption"]
        media = { list = ["/image", "/video"], url = "/url" }
        "#,
    );
    let read = message(
        &vonage,
        r#"{"channel":"mms","from":"447700900001","image":{"url":"https://example.com/i.jpg","caption":"mine"}}"#,
    );
    assert_eq!(
        (read.text.as_str(), media(&read)),
        ("mine", vec![("https://example.com/i.jpg", None)])
    );
    let video = message(
        &vonage,
        r#"{"from":"447700900001","image":null,"video":{"url":"https://example.com/v"}}"#,
    );
    assert_eq!(
        (video.text.as_str(), media(&video)),
        ("", vec![("https://example.com/v", None)])
    );
    let messagebird = gateway(
        "e164_no_plus",
        "format = \"form\"\n[message]\nfrom = \"/originator\"\ntext = \"/body\"\nmedia = { list = \"/mediaUrls\", url = \"\" }",
    );
    let urls = |body: &str| {
        let read = message(&messagebird, body);
        read.media.into_iter().map(|media| media.url).collect::<Vec<_>>()
    };
    assert_eq!(urls("originator=1&mediaUrls=a&body=x&mediaUrls=b"), ["a", "b"]);
    assert_eq!(urls("originator=1&mediaUrls=a"), ["a"]);
    assert!(urls("originator=1&mediaUrls=&body=x").is_empty());
}

#[test]
fn media_are_bounded_in_number_and_length() {
    let listed = |elements: &str| {
        let body = format!(
            r#"{{"data":{{"payload":{{"from":{{"phone_number":"+14155550123"}},"text":"x","media":{elements}}}}}}}"#
        );
        message(&telnyx(), body).media
    };
    let many = format!("[{}]", vec![r#"{"url":"https://example.com"}"#; 20_000].join(","));
    assert_eq!(listed(&many).len(), 50);
    let long = format!(
        r#"[{{"url":"https://{}"}},{{"url":"u","content_type":"{}"}}]"#,
        "x".repeat(9_000),
        "y".repeat(256)
    );
    let long = listed(&long);
    assert!(matches!(&long[..], [one] if one.url == "u" && one.content_type.is_none()));
    assert!(matches!(&listed(r#"[{"url":"a\u0000\ud83d"}]"#)[..], [one] if one.url == "a\u{FFFD}\u{FFFD}"));
    for nothing in [
        "[]",
        "{}",
        "null",
        "\"x\"",
        "7",
        "[[[]]]",
        "[{\"url\":{}}]",
        "[{\"url\":\" \"}]",
    ] {
        assert!(listed(nothing).is_empty(), "{nothing}");
    }
    let nested = format!("[{}{}]", "[".repeat(300_000), "]".repeat(300_000));
    assert!(listed(&nested).is_empty());
    let numbered: Vec<_> = (0..80).map(|number| format!("MediaUrl{number}=u{number}")).collect();
    let read = message(&twilio(), format!("From=1&Body=x&{}", numbered.join("&")));
    assert_eq!(media(&read).len(), 50);
    assert_eq!(media(&read)[49], ("u49", None));
    let gap = message(&twilio(), "From=1&MediaUrl0=a&MediaUrl2=c&Body=x");
    assert_eq!(media(&gap), [("a", None)]);
}

#[test]
fn a_message_without_words_has_the_first_place_that_is_there() {
    let generic = gateway(
        "auto",
        "[message]\nitems = [\"/results\", \"\"]\nfrom = \"/from\"\ntext = [\"/a\", \"/b\", \"/c\"]",
    );
    let text = |fields: &str| match &read(&generic, format!("{{\"from\":\"1\"{fields}}}"))[..] {
        [Item::Message(message)] => Some(message.text.clone()),
        _ => None,
    };
    assert_eq!(text(r#","a":{},"b":"","c":"words""#).as_deref(), Some("words"));
    assert_eq!(text(r#","a":"","b":{}"#).as_deref(), Some(""));
    assert_eq!(text(r#","a":{},"b":true"#), None);
    assert_eq!(
        read(&generic, r#"{"results":[{"from":"1","a":"x"},{"from":"2","a":"y"}]}"#).len(),
        2
    );
}

#[test]
fn a_table_that_cannot_be_read_by_says_why() {
    let base = "name = \"x\"\ntitle = \"X\"\nnumbers = \"auto\"\nKEY\n\
        signature = { headers = [\"X-S\"], encoding = \"hex\", algorithm = \"hmac-sha256\" }\n\
        [message]\nfrom = \"/f\"\ntext = \"/t\"\nMESSAGE\n[event]\nkind = \"/k\"\nmessages = []\nEVENT\n";
    let whole = |key: &str, message: &str, event: &str| {
        Gateway::from_toml(
            &base
                .replace("KEY", key)
                .replace("MESSAGE", message)
                .replace("EVENT", event),
        )
    };
    assert!(whole("", "", "").is_ok());
    for (key, message, event, part) in [
        ("methods = []", "", "", "`methods` needs one"),
        ("methods = [\"get\"]", "", "", "\"get\" is neither \"POST\" nor \"GET\""),
        ("methods = [\"GET\", \"GET\"]", "", "", "GET is there twice"),
        ("format = \"xml\"", "", "", "unknown variant `xml`"),
        ("never_4xx = 1", "", "", "invalid type"),
        ("", "dedupe = \"time\"", "", "unknown variant `time`"),
        (
            "",
            "media = { url = \"/MediaUrl\" }",
            "",
            "`media` needs `list`, or a number",
        ),
        (
            "",
            "media = { url = \"/U{i}\", content_type = \"/T\" }",
            "",
            "`media` needs `list`, or a number",
        ),
        ("", "media = { list = \"/m\" }", "", "missing field `url`"),
        (
            "",
            "media = { list = \"/m\", url = \"url\" }",
            "",
            "is not a JSON pointer",
        ),
        (
            "",
            "parts = { reference = \"/r\", total = \"/t\" }",
            "",
            "missing field `index`",
        ),
        ("", "answered = { at = \"/a\", stop = [] }", "", "unknown field `stop`"),
        (
            "",
            "only = { direction = [\"in\"] }",
            "",
            "\"direction\" is not a JSON pointer",
        ),
        ("", "only = { \"/direction\" = \"in\" }", "", "invalid type"),
        ("", "", "states = { arrived = [] }", "unknown field `arrived`"),
    ] {
        let error = whole(key, message, event).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{key}{message}{event}: {error}");
    }
}

fn pair() -> impl Strategy<Value = (String, String)> {
    (
        prop_oneof![
            Just("From".to_owned()),
            Just("Body".to_owned()),
            Just("MediaUrl0".to_owned()),
            any::<String>()
        ],
        any::<String>(),
    )
}

proptest! {
    #[test]
    fn any_bytes_as_a_form_give_at_least_one_item(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!read(&twilio(), &body).is_empty());
        prop_assert!(!read(&vonage_sms(), &body).is_empty());
    }

    #[test]
    fn a_form_with_a_sender_and_a_text_is_a_message_whatever_bytes_they_are(
        from in proptest::collection::vec(any::<u8>(), 1..40),
        text in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let encoded = |bytes: &[u8]| url::form_urlencoded::byte_serialize(bytes).collect::<String>();
        let body = format!("From={}&Body={}", encoded(&from), encoded(&text));
        let is_blank = String::from_utf8_lossy(&from).trim_ascii().is_empty();
        match &read(&twilio(), body)[..] {
            [Item::Message(message)] => {
                prop_assert!(!is_blank);
                prop_assert_eq!(&message.text, &String::from_utf8_lossy(&text).replace('\0', "\u{FFFD}"));
            }
            [Item::Unreadable(_)] => prop_assert!(is_blank),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn the_last_of_a_repeated_field_counts(pairs in proptest::collection::vec(pair(), 0..12)) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let last = |name: &str| pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let sender = last("From").filter(|from| !from.trim_ascii().is_empty());
        if let (Some(_), Some(text)) = (sender, last("Body")) {
            let read = message(&twilio(), body);
            prop_assert_eq!(read.text, text.replace('\0', "\u{FFFD}"));
        } else {
            prop_assert_eq!(read(&twilio(), body).len(), 1);
        }
    }
}
