//! What every built-in gateway is held to, from outside: a delivery as its pages show it, signed here and not by the code
//! under test, over a real socket into a real database.
//!
//! [`ROWS`] is the table of what is known of each: what is signed and whether that covers the text, how long a signature is
//! good, by what a copy is recognised, how numbers are written, what is answered. No test looks into a gateway file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::{hmac, signature::Ed25519KeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use smshook::gateway::{Gateway, Sample, SampleDelivery, SamplePart, SampleReport, builtin, builtin_names};
use smshook::message::DeliveryState;
use smshook::signature::{self, Outgoing, Signer};
use url::form_urlencoded;
use uuid::Uuid;

use crate::helpers::{Answer, App, Fake, Intake, Response, count, eventually, raw};

/// The sender, as every gateway's number is remembered.
pub(crate) const SENDER: &str = "+14155550101";
/// Our number.
const OURS: &str = "+12025550199";
const HOST: &str = "https://sms.example.com";
/// Telnyx signs with a key that only it has: RFC 8032, 7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

/// What is known of one gateway.
struct Row {
    name: &'static str,
    /// What is signed and how, done here by hand.
    sign: fn(&mut Parcel, &str),
    secret: &'static str,
    /// Whether another text cannot have the same signature.
    bound: Bound,
    window: Window,
    copies: Copies,
    numbers: Numbers,
    /// Status, content type and body of the answer to what was stored; our own receipt where there is no body.
    ack: (u16, Option<(&'static str, &'static str)>),
    /// The answers to a delivery that is not signed, and to one that is signed wrongly.
    refused: (u16, u16),
    /// A text as its pages show it, with `@ID@`, `@TEXT@`, `@FROM@`, `@TO@` (as the gateway writes numbers).
    text: &'static str,
    form: bool,
    /// When the text was sent, if the gateway says so.
    sent_at: Option<&'static str>,
    /// A delivery report as its pages show it, for the state `delivered`; none where that is not known.
    report: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// The signature covers the payload.
    Payload,
    /// It covers something that is used once and is remembered.
    Once,
    /// Nothing is covered.
    Nothing,
}

#[derive(Clone, Copy)]
enum Window {
    /// Nothing signed says when.
    None,
    /// Seconds, to both sides.
    Both(i64),
    /// Seconds after which a token is over; our clock may be off by a minute.
    Expires(i64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// By the gateway's ID.
    Id,
    /// By device, numbers, time and text, whatever the ID.
    Fingerprint,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Plus,
    NoPlus,
}

/// A request in the making.
#[derive(Clone)]
struct Parcel {
    method: &'static str,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// When it is signed, Unix seconds.
    at: i64,
    url: String,
}

const TWIML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";

const ROWS: &[Row] = &[
    Row {
        name: "mobile-api-connect",
        sign: |parcel, secret| {
            parcel.header(
                "X-MAC-Signature",
                format!("sha256={}", hex(hmac::HMAC_SHA256, secret, &parcel.body)),
            );
        },
        secret: "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw",
        bound: Bound::Payload,
        window: Window::None,
        copies: Copies::Fingerprint,
        numbers: Numbers::NoPlus,
        ack: (200, None),
        refused: (401, 401),
        text: r#"{"event":"message.received","from":"@FROM@","to":"@TO@","text":"@TEXT@","ref":null,"receivedAt":"2026-06-12T14:32:00.000Z","deviceId":"dev_1","tenantId":"ten_1","tenantName":"Acme"}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: None,
    },
    Row {
        name: "smsgate",
        sign: |parcel, secret| {
            let time = parcel.at.to_string();
            let signed = [&parcel.body[..], time.as_bytes()].concat();
            parcel.header("X-Signature", hex(hmac::HMAC_SHA256, secret, &signed));
            parcel.header("X-Timestamp", time);
        },
        secret: "xIRgt4Rk",
        bound: Bound::Payload,
        window: Window::Both(300),
        copies: Copies::Fingerprint,
        numbers: Numbers::Plus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"{"deviceId":"ffffffffceb0b1db0000018e937c815b","event":"sms:received","id":"@ID@","payload":{"messageId":"5f3a9c11","message":"@TEXT@","sender":"@FROM@","recipient":"@TO@","phoneNumber":"@FROM@","simNumber":1,"receivedAt":"2026-06-12T22:32:00.000+08:00"},"webhookId":"w1"}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"deviceId":"ffffffffceb0b1db0000018e937c815b","event":"sms:delivered","id":"@ID@","payload":{"messageId":"@REPLY@","phoneNumber":"@FROM@","simNumber":1,"deliveredAt":"2026-06-12T22:33:00.000+08:00"},"webhookId":"w1"}"#,
        ),
    },
    Row {
        name: "textbee",
        sign: |parcel, secret| parcel.header("X-Signature", hex(hmac::HMAC_SHA256, secret, &parcel.body)),
        secret: "a secret of twenty characters",
        bound: Bound::Payload,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (204, None),
        // A 4xx would lose a text for good.
        refused: (503, 503),
        text: r#"{"smsId":"@ID@","message":"@TEXT@","deviceId":"dev_1","webhookSubscriptionId":"65f0000000000000000000cc","webhookEvent":"MESSAGE_RECEIVED","idempotencyKey":"3f0c1a1e-0000-4000-8000-000000000001","sender":"@FROM@","receivedAt":"2026-06-12T14:32:00.000Z"}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"smsId":"65f0000000000000000000dd","message":"x","deviceId":"dev_1","webhookSubscriptionId":"65f0000000000000000000cc","webhookEvent":"MESSAGE_DELIVERED","idempotencyKey":"@ID@","smsBatchId":"@REPLY@","status":"delivered","recipient":"@FROM@","sentAt":"2026-06-12T14:32:30.000Z","deliveredAt":"2026-06-12T14:33:00.000Z"}"#,
        ),
    },
    Row {
        name: "httpsms",
        sign: |parcel, secret| {
            // No `jti`: that is all there is.
            let claims = json!({
                "iss": "api.httpsms.com", "aud": parcel.url, "sub": "user", "iat": parcel.at, "exp": parcel.at + 600, "nbf": parcel.at - 600,
            });
            parcel.header("Authorization", format!("Bearer {}", jwt(secret, &claims)));
        },
        secret: "signing key",
        bound: Bound::Once,
        window: Window::Expires(600),
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"{"data":{"attachments":["https://api.httpsms.com/v1/attachments/1.jpg"],"contact":"@FROM@","content":"@TEXT@","encrypted":false,"message_id":"@ID@","owner":"@TO@","sim":"SIM1","timestamp":"2026-06-12T14:32:00.123456789Z","user_id":"u1"},"datacontenttype":"application/json","id":"e1","source":"/v1/messages/receive","specversion":"1.0","time":"2026-06-12T14:32:01Z","type":"message.phone.received"}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00.123456Z"),
        report: Some(
            r#"{"data":{"id":"@REPLY@","owner":"@TO@","contact":"@FROM@","timestamp":"2026-06-12T14:33:00Z","content":"x"},"id":"@ID@","specversion":"1.0","type":"message.phone.delivered"}"#,
        ),
    },
    Row {
        name: "twilio",
        sign: |parcel, secret| {
            let mut fields: Vec<(String, String)> = form_urlencoded::parse(&parcel.body).into_owned().collect();
            fields.sort();
            let signed = fields.iter().fold(parcel.full_url(), |signed, (name, value)| {
                format!("{signed}{name}{value}")
            });
            parcel.header(
                "X-Twilio-Signature",
                b64(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret, signed.as_bytes()),
            );
        },
        secret: "0123456789abcdef0123456789abcdef",
        bound: Bound::Payload,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (200, Some(("text/xml; charset=utf-8", TWIML))),
        refused: (401, 401),
        text: "ToCountry=US&SmsMessageSid=@ID@&NumMedia=2&SmsSid=@ID@&SmsStatus=received&Body=@TEXT@&To=@TO@&NumSegments=1&MessageSid=@ID@&AccountSid=AC1&From=@FROM@&MediaUrl0=https%3A%2F%2Fapi.twilio.com%2F1&MediaContentType0=image%2Fjpeg&MediaUrl1=https%3A%2F%2Fapi.twilio.com%2F2&MediaContentType1=image%2Fpng&ApiVersion=2010-04-01",
        form: true,
        sent_at: None,
        report: Some(
            "SmsSid=@REPLY@&SmsStatus=delivered&MessageStatus=delivered&To=@FROM@&MessageSid=@REPLY@&AccountSid=AC1&From=@TO@&ApiVersion=2010-04-01",
        ),
    },
    Row {
        name: "telnyx",
        sign: |parcel, _| {
            let time = parcel.at.to_string();
            let signed = [time.as_bytes(), b"|", &parcel.body].concat();
            let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
            parcel.header("telnyx-signature-ed25519", STANDARD.encode(pair.sign(&signed)));
            parcel.header("telnyx-timestamp", time);
        },
        secret: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        bound: Bound::Payload,
        window: Window::Both(300),
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"{"data":{"event_type":"message.received","id":"e1","occurred_at":"2026-06-12T14:32:01.000+00:00","payload":{"direction":"inbound","from":{"carrier":"T-MOBILE USA, INC.","line_type":"Wireless","phone_number":"@FROM@"},"id":"@ID@","media":[{"url":"https://media.telnyx.example/1.png","content_type":"image/png","size":10}],"parts":1,"received_at":"2026-06-12T14:32:00.000+00:00","record_type":"message","text":"@TEXT@","to":[{"phone_number":"@TO@","status":"delivered"}],"type":"MMS"},"record_type":"event"},"meta":{"attempt":1,"delivered_to":"https://sms.example.com"}}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"data":{"event_type":"message.finalized","id":"@ID@","occurred_at":"2026-06-12T14:33:00.000+00:00","payload":{"direction":"outbound","from":{"phone_number":"@TO@"},"id":"@REPLY@","errors":[],"to":[{"phone_number":"@FROM@","status":"delivered"}]},"record_type":"event"},"meta":{"attempt":1}}"#,
        ),
    },
    Row {
        name: "vonage-messages",
        sign: |parcel, secret| {
            let claims = json!({
                "iat": parcel.at, "jti": Uuid::now_v7(), "iss": "Vonage", "api_key": "abcd1234",
                "payload_hash": hex::encode(Sha256::digest(&parcel.body)),
            });
            parcel.header("Authorization", format!("Bearer {}", jwt(secret, &claims)));
        },
        secret: "signature secret",
        bound: Bound::Payload,
        window: Window::Both(300),
        copies: Copies::Id,
        numbers: Numbers::NoPlus,
        ack: (200, None),
        refused: (503, 401),
        text: r#"{"channel":"sms","message_uuid":"@ID@","to":"@TO@","from":"@FROM@","timestamp":"2026-06-12T14:32:00Z","text":"@TEXT@","message_type":"text","sms":{"num_messages":"2","keyword":"HELLO"},"usage":{"currency":"EUR","price":"0.0333"},"origin":{"network_code":"12345"}}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"message_uuid":"@REPLY@","to":"@FROM@","from":"@TO@","timestamp":"2026-06-12T14:33:00.000Z","status":"delivered","client_ref":"r-@ID@","channel":"sms"}"#,
        ),
    },
    Row {
        name: "vonage-sms",
        sign: |parcel, secret| {
            parcel
                .body
                .extend(format!("&timestamp={}&nonce={}", parcel.at, Uuid::now_v7()).into_bytes());
            let sig = hex::encode(md5(
                &[vonage_string(&parcel.body).as_bytes(), secret.as_bytes()].concat()
            ));
            parcel.body.extend(format!("&sig={sig}").into_bytes());
        },
        secret: "signature secret",
        bound: Bound::Payload,
        // A day, as long as it tries again.
        window: Window::Both(86_400),
        copies: Copies::Id,
        numbers: Numbers::NoPlus,
        ack: (200, None),
        refused: (401, 401),
        text: "msisdn=@FROM@&to=@TO@&messageId=@ID@&text=@TEXT@&type=text&keyword=HELLO&api-key=abcd1234&message-timestamp=2026-06-12+14%3A32%3A00",
        form: true,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            "msisdn=@FROM@&to=@TO@&network-code=23410&messageId=@REPLY@&price=0.03330000&status=delivered&scts=2606121433&err-code=0&api-key=abcd1234&client-ref=r-@ID@&message-timestamp=2026-06-12+14%3A33%3A00",
        ),
    },
    Row {
        name: "plivo",
        sign: |parcel, secret| {
            let nonce = Uuid::now_v7().simple().to_string();
            let signed = format!("{}{nonce}", parcel.url);
            parcel.header(
                "X-Plivo-Signature-V2",
                b64(hmac::HMAC_SHA256, secret, signed.as_bytes()),
            );
            parcel.header("X-Plivo-Signature-V2-Nonce", nonce);
        },
        secret: "auth token",
        bound: Bound::Once,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::NoPlus,
        ack: (200, Some(("application/xml; charset=utf-8", TWIML))),
        refused: (401, 401),
        text: "From=@FROM@&TotalRate=0&Text=@TEXT@&To=@TO@&Units=1&TotalAmount=0&Type=sms&MessageUUID=@ID@",
        form: true,
        sent_at: None,
        report: Some(
            "Status=delivered&From=@TO@&ParentMessageUUID=@REPLY@&PartInfo=1+of+1&ErrorCode=000&To=@FROM@&Units=1&MessageUUID=@ID@",
        ),
    },
    Row {
        name: "sinch",
        sign: |parcel, secret| {
            let (nonce, time) = (Uuid::now_v7().simple().to_string(), parcel.at.to_string());
            let signed = [&parcel.body[..], b".", nonce.as_bytes(), b".", time.as_bytes()].concat();
            parcel.header("x-sinch-webhook-signature", b64(hmac::HMAC_SHA256, secret, &signed));
            parcel.header("x-sinch-webhook-signature-algorithm", "HmacSHA256".to_owned());
            parcel.header("x-sinch-webhook-signature-nonce", nonce);
            parcel.header("x-sinch-webhook-signature-timestamp", time);
        },
        secret: "webhook secret",
        bound: Bound::Payload,
        // Two days, as long as it tries again.
        window: Window::Both(172_800),
        copies: Copies::Id,
        numbers: Numbers::NoPlus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"{"body":"@TEXT@","from":"@FROM@","id":"@ID@","operator_id":"35000","received_at":"2026-06-12T14:32:02.000Z","sent_at":"2026-06-12T14:32:00.000Z","to":"@TO@","type":"mo_text"}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"at":"2026-06-12T14:33:00.000Z","batch_id":"@REPLY@","client_reference":"r-@ID@","code":0,"recipient":"@FROM@","status":"Delivered","type":"recipient_delivery_report_sms"}"#,
        ),
    },
    Row {
        name: "messagebird",
        sign: |parcel, secret| {
            let claims = json!({
                "iss": "MessageBird", "nbf": parcel.at, "exp": parcel.at + 60, "jti": Uuid::now_v7(),
                "url_hash": hex::encode(Sha256::digest(parcel.full_url())), "payload_hash": hex::encode(Sha256::digest(&parcel.body)),
            });
            parcel.header("MessageBird-Signature-JWT", jwt(secret, &claims));
        },
        secret: "signing key",
        bound: Bound::Payload,
        window: Window::Expires(60),
        copies: Copies::Id,
        numbers: Numbers::NoPlus,
        ack: (200, Some(("text/plain; charset=utf-8", "OK"))),
        refused: (401, 401),
        text: "id=@ID@&recipient=@TO@&originator=@FROM@&body=@TEXT@&createdDatetime=2026-06-12T14%3A32%3A00%2B00%3A00",
        form: true,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            "id=@REPLY@&reference=r-@ID@&recipient=@FROM@&status=delivered&statusDatetime=2026-06-12T14%3A33%3A00%2B00%3A00",
        ),
    },
    Row {
        name: "bird",
        sign: |parcel, secret| {
            let time = parcel.at.to_string();
            let head = format!("{time}\n{}\n", parcel.full_url());
            let signed = [head.as_bytes(), &Sha256::digest(&parcel.body)[..]].concat();
            parcel.header("messagebird-signature", b64(hmac::HMAC_SHA256, secret, &signed));
            parcel.header("messagebird-request-timestamp", time);
        },
        secret: "signing key",
        bound: Bound::Payload,
        // A day: retries come with the time of the first attempt.
        window: Window::Both(86_400),
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"{"service":"channels","event":"sms.inbound","payload":{"id":"@ID@","channelId":"c1","sender":{"contact":{"id":"k1","identifierKey":"phonenumber","identifierValue":"@FROM@"}},"receiver":{"connector":{"id":"dev_1"}},"body":{"type":"text","text":{"text":"@TEXT@"}},"parts":[{"platformReference":"p"}],"status":"delivered","direction":"incoming","createdAt":"2026-06-12T14:32:00.000Z","updatedAt":"2026-06-12T14:32:00.000Z"}}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"service":"channels","event":"sms.outbound","payload":{"id":"@REPLY@","channelId":"c1","reference":"r-@ID@","receiver":{"contacts":[{"identifierValue":"@FROM@"}]},"body":{"type":"text","text":{"text":"x"}},"status":"delivered","direction":"outgoing","lastStatusAt":"2026-06-12T14:33:00.000Z"}}"#,
        ),
    },
    Row {
        name: "bandwidth",
        sign: |parcel, secret| parcel.header("Authorization", format!("Basic {}", STANDARD.encode(secret))),
        secret: "user:pass word",
        bound: Bound::Nothing,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"[{"type":"message-received","time":"2026-06-12T14:32:01.000Z","description":"Incoming message received","to":"@TO@","message":{"id":"@ID@","time":"2026-06-12T14:32:00.000Z","to":["@TO@","+19195550100"],"from":"@FROM@","text":"@TEXT@","applicationId":"a1","media":["https://messaging.bandwidth.com/api/v2/users/1/media/1"],"owner":"@TO@","direction":"in","segmentCount":1}}]"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"[{"type":"message-delivered","time":"2026-06-12T14:33:00.000Z","description":"Message delivered to carrier.","to":"@FROM@","message":{"id":"@REPLY@","time":"2026-06-12T14:32:30.000Z","to":["@FROM@"],"from":"@TO@","text":"","applicationId":"a1","owner":"@TO@","direction":"out","segmentCount":1,"tag":"r-@ID@"}}]"#,
        ),
    },
    Row {
        name: "infobip",
        sign: |parcel, secret| parcel.header("Authorization", format!("Basic {}", STANDARD.encode(secret))),
        secret: "user:password",
        bound: Bound::Nothing,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::NoPlus,
        ack: (200, None),
        refused: (401, 401),
        text: r#"{"results":[{"messageId":"@ID@","from":"@FROM@","to":"@TO@","text":"@TEXT@","cleanText":"@TEXT@","keyword":"","receivedAt":"2026-06-12T16:32:00.000+0200","smsCount":1,"price":{"pricePerMessage":0,"currency":"EUR"},"callbackData":null}],"messageCount":1,"pendingMessageCount":0}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: Some(
            r#"{"results":[{"bulkId":"b1","messageId":"@REPLY@","to":"@FROM@","sentAt":"2026-06-12T14:32:30.000+0000","doneAt":"2026-06-12T14:33:00.000+0000","smsCount":1,"callbackData":"r-@ID@","status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET"},"error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR"}}]}"#,
        ),
    },
    Row {
        name: "clicksend",
        sign: |parcel, secret| parcel.query = format!("token={secret}"),
        secret: "a0b1c2d3e4f5",
        bound: Bound::Nothing,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (200, None),
        refused: (401, 401),
        text: "timestamp=1781274720&from=@FROM@&body=@TEXT@&original_body=&original_message_id=&to=@TO@&custom_string=&message_id=@ID@&user_id=1",
        form: true,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: None,
    },
    Row {
        name: "standard-webhooks",
        sign: |parcel, secret| {
            let (id, time) = (format!("msg_{}", Uuid::now_v7().simple()), parcel.at.to_string());
            let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &parcel.body].concat();
            let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
            parcel.header(
                "webhook-signature",
                format!("v1a,AAAA v1,AAAA v1,{}", STANDARD.encode(tag)),
            );
            parcel.header("webhook-id", id);
            parcel.header("webhook-timestamp", time);
        },
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        bound: Bound::Payload,
        window: Window::Both(300),
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (204, None),
        refused: (401, 401),
        text: r#"{"type":"message.received","timestamp":"2026-06-12T14:32:00Z","data":{"id":"@ID@","from":"@FROM@","to":"@TO@","text":"@TEXT@"}}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: None,
    },
    Row {
        name: "generic",
        sign: |parcel, secret| parcel.header("X-Signature", hex(hmac::HMAC_SHA256, secret, &parcel.body)),
        secret: "a secret",
        bound: Bound::Payload,
        window: Window::None,
        copies: Copies::Id,
        numbers: Numbers::Plus,
        ack: (200, None),
        refused: (401, 401),
        text: r#"{"message_id":"@ID@","msisdn":"@FROM@","destination":"@TO@","content":"@TEXT@","received_at":"2026-06-12 14:32:00","attachments":[{"url":"https://example.com/1"}]}"#,
        form: false,
        sent_at: Some("2026-06-12T14:32:00Z"),
        report: None,
    },
];

fn hex(algorithm: hmac::Algorithm, secret: &str, signed: &[u8]) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), signed))
}

fn b64(algorithm: hmac::Algorithm, secret: &str, signed: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), signed))
}

fn jwt(secret: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn md5(bytes: &[u8]) -> Vec<u8> {
    use md5::Digest as _;
    md5::Md5::digest(bytes).to_vec()
}

/// Every parameter as `&name=value`, in the order of the names; `&` and `=` in values become `_`.
fn vonage_string(form: &[u8]) -> String {
    let mut fields: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    fields.sort();
    let written = fields
        .iter()
        .map(|(name, value)| format!("&{name}={}", value.replace(['&', '='], "_")));
    written.collect()
}

/// The bytes of a request, as behind a proxy: neither the host nor the scheme is the public one.
fn wire<'a>(
    method: &str,
    path: &str,
    query: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    body: &[u8],
) -> Vec<u8> {
    let mark = if query.is_empty() { "" } else { "?" };
    let headers: String = headers.flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let head = format!(
        "{method} {path}{mark}{query} HTTP/1.1\r\nhost: 10.0.0.7:8080\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Parcel {
    fn header(&mut self, name: &'static str, value: String) {
        self.headers.push((name, value));
    }

    fn full_url(&self) -> String {
        match self.query.as_str() {
            "" => self.url.clone(),
            query => format!("{}?{query}", self.url),
        }
    }

    async fn deliver(&self, address: SocketAddr) -> Response {
        let path = self.url.strip_prefix(HOST).unwrap();
        let headers = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        raw(address, &wire(self.method, path, &self.query, headers, &self.body)).await
    }
}

impl Row {
    fn url(&self) -> String {
        format!("{HOST}/hooks/{}", self.name)
    }

    /// `template` with these words in it, not signed yet.
    fn parcel(&self, template: &str, id: &str, text: &str) -> Parcel {
        let number = |number: &str| match self.numbers {
            Numbers::Plus => number.to_owned(),
            Numbers::NoPlus => number.trim_start_matches('+').to_owned(),
        };
        let word = |word: String| {
            if self.form {
                form_urlencoded::byte_serialize(word.as_bytes()).collect()
            } else {
                word
            }
        };
        let words = [
            ("@FROM@", number(SENDER)),
            ("@TO@", number(OURS)),
            ("@ID@", id.to_owned()),
            ("@TEXT@", text.to_owned()),
            ("@REPLY@", format!("reply-{id}")),
        ];
        let body = words.into_iter().fold(template.to_owned(), |body, (place, value)| {
            body.replace(place, &word(value))
        });
        let content_type = if self.form {
            "application/x-www-form-urlencoded"
        } else {
            "application/json"
        };
        Parcel {
            method: "POST",
            query: String::new(),
            headers: vec![("Content-Type", content_type.to_owned())],
            body: body.into_bytes(),
            at: Utc::now().timestamp(),
            url: self.url(),
        }
    }

    /// A text, signed now.
    fn text(&self, id: &str, text: &str) -> Parcel {
        self.text_at(id, text, Utc::now().timestamp())
    }

    fn text_at(&self, id: &str, text: &str, at: i64) -> Parcel {
        let mut parcel = self.parcel(self.text, id, text);
        parcel.at = at;
        (self.sign)(&mut parcel, self.secret);
        parcel
    }

    fn assert_acked(&self, answer: &Response) {
        let (status, body) = self.ack;
        assert_eq!(answer.status, status, "{}: {answer:?}", self.name);
        match body {
            Some((content_type, body)) => {
                assert_eq!(answer.body, body, "{}", self.name);
                assert!(
                    answer.head.contains(&format!("content-type: {content_type}")),
                    "{}: {}",
                    self.name,
                    answer.head
                );
            }
            None if status == 204 => assert_eq!(answer.body, "", "{}", self.name),
            None => assert!(answer.json()["status"].is_string(), "{}: {answer:?}", self.name),
        }
    }
}

/// An endpoint for every gateway, named as the gateway is.
fn endpoints() -> String {
    let endpoint = |row: &Row| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\npath = \"/hooks/{name}\"\ngateway = \"{name}\"\npublic_url = \"{url}\"\nsecrets = [{secret}]\nrecipients = {{ dev_1 = \"{OURS}\" }}\n",
            name = row.name,
            url = row.url(),
            secret = json!(row.secret),
        )
    };
    ROWS.iter().map(endpoint).collect::<String>()
        + "[action.note]\nlog = { message = \"a text\" }\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"note\"]\n"
}

async fn messages(intake: &Intake, endpoint: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM v1.messages WHERE endpoint = $1")
        .bind(endpoint)
        .fetch_one(intake.pool())
        .await
        .unwrap()
}

#[test]
fn every_built_in_gateway_has_its_row_here_its_page_and_its_line_in_the_readme() {
    let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    let mut built_in: Vec<_> = builtin_names().collect();
    names.sort_unstable();
    built_in.sort_unstable();
    assert_eq!(names, built_in);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for name in names {
        let page = std::fs::read_to_string(root.join(format!("docs/gateways/{name}.md"))).unwrap();
        assert!(page.contains(&format!("gateway = \"{name}\"")), "{name}");
        assert!(
            page.contains("**Limits.**") && page.contains("**Secret**") || name == "generic",
            "{name}"
        );
        let line = format!("[`{name}`](docs/gateways/{name}.md)");
        assert!(readme.contains(&line), "{name}");
    }
}

#[test]
fn every_key_that_a_gateway_file_has_is_on_the_page_about_them() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateway-files.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut seen = BTreeSet::new();
    for name in builtin_names() {
        let file: toml::Table = builtin(name).unwrap().parse().unwrap();
        for (key, value) in &file {
            seen.insert(key.clone());
            let tables = ["signature", "message", "event", "ack", "reply"];
            if let (Some(table), true) = (value.as_table(), tables.contains(&key.as_str())) {
                seen.extend(table.keys().cloned());
            }
        }
    }
    assert!(seen.len() > 50, "{seen:?}");
    let missing = |key: &&String| !page.contains(&format!("`{key}`")) && !page.contains(&format!("`[{key}]`"));
    let missing: Vec<_> = seen.iter().filter(missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_text_as_each_gateway_sends_it_is_stored_with_all_it_says_and_acknowledged_in_its_terms() {
    type Stored = (
        String,
        String,
        String,
        Option<DateTime<Utc>>,
        Option<String>,
        bool,
        Option<Value>,
    );
    let intake = Intake::start(&endpoints()).await;
    for row in ROWS {
        let parcel = row.text("id-1", "Grüße & 100% = \u{1f600}?");
        row.assert_acked(&parcel.deliver(intake.address).await);
        let stored: Stored = sqlx::query_as(
            "SELECT sender, recipient, text, sent_at, message_id, verified, media FROM v1.messages WHERE endpoint = $1",
        )
        .bind(row.name)
        .fetch_one(intake.pool())
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", row.name));
        let (sender, recipient, text, sent_at, id, verified, media) = stored;
        assert_eq!((sender.as_str(), recipient.as_str()), (SENDER, OURS), "{}", row.name);
        assert_eq!(text, "Grüße & 100% = \u{1f600}?", "{}", row.name);
        let expected = row.sent_at.map(|at| DateTime::parse_from_rfc3339(at).unwrap().to_utc());
        assert_eq!(sent_at, expected, "{}", row.name);
        assert_eq!(id.is_some(), row.name != "mobile-api-connect", "{}", row.name);
        assert!(verified, "{}", row.name);
        let media: Vec<(String, Option<String>)> = media.map_or_else(Vec::new, |media| {
            let each = |file: &Value| {
                (
                    file["url"].as_str().unwrap().to_owned(),
                    file["content_type"].as_str().map(str::to_owned),
                )
            };
            media.as_array().unwrap().iter().map(each).collect()
        });
        let expected: &[(&str, Option<&str>)] = match row.name {
            "twilio" => &[
                ("https://api.twilio.com/1", Some("image/jpeg")),
                ("https://api.twilio.com/2", Some("image/png")),
            ],
            "telnyx" => &[("https://media.telnyx.example/1.png", Some("image/png"))],
            "httpsms" => &[("https://api.httpsms.com/v1/attachments/1.jpg", None)],
            "bandwidth" => &[("https://messaging.bandwidth.com/api/v2/users/1/media/1", None)],
            "generic" => &[("https://example.com/1", None)],
            _ => &[],
        };
        let media: Vec<_> = media
            .iter()
            .map(|(url, kind)| (url.as_str(), kind.as_deref()))
            .collect();
        assert_eq!(media, expected, "{}", row.name);
    }
}

#[tokio::test]
async fn what_is_sent_again_is_one_message_and_another_one_is_another() {
    let intake = Intake::start(&endpoints()).await;
    for row in ROWS {
        let first = row.text("id-1", "where are you?");
        row.assert_acked(&first.deliver(intake.address).await);
        // The same bytes, and the same text signed anew, as gateways do either.
        row.assert_acked(&first.deliver(intake.address).await);
        row.assert_acked(&row.text("id-1", "where are you?").deliver(intake.address).await);
        assert_eq!(messages(&intake, row.name).await, 1, "{}", row.name);
        row.assert_acked(&row.text("id-2", "where are you?").deliver(intake.address).await);
        let another = i64::from(row.copies == Copies::Id);
        assert_eq!(messages(&intake, row.name).await, 1 + another, "{}", row.name);
        // An ID that comes with another text is not taken for a copy: a text must not be lost to a gateway's mistake.
        row.assert_acked(&row.text("id-1", "found you").deliver(intake.address).await);
        assert_eq!(messages(&intake, row.name).await, 2 + another, "{}", row.name);
    }
}

#[tokio::test]
async fn what_is_not_signed_or_signed_wrongly_is_refused_as_the_gateway_wants_it() {
    let intake = Intake::start(&endpoints()).await;
    for row in ROWS {
        let bare = row.parcel(row.text, "id-1", "x");
        let answer = bare.deliver(intake.address).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (row.refused.0, ""),
            "{}",
            row.name
        );
        let mut wrong = row.parcel(row.text, "id-1", "x");
        if row.name == "telnyx" {
            (row.sign)(&mut wrong, row.secret);
            wrong.body.push(b' ');
        } else {
            let secret = if row.name == "standard-webhooks" {
                "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            } else {
                "not the secret"
            };
            (row.sign)(&mut wrong, secret);
            wrong.query = wrong.query.replace(' ', "+");
        }
        let answer = wrong.deliver(intake.address).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (row.refused.1, ""),
            "{}",
            row.name
        );
        assert_eq!(messages(&intake, row.name).await, 0, "{}", row.name);
    }
}

#[tokio::test]
async fn a_signature_is_good_for_one_text_where_it_can_be() {
    let intake = Intake::start(&endpoints()).await;
    for row in ROWS {
        let at = match (row.bound, row.window) {
            // A fresh token of seconds may stand for two texts: below.
            (Bound::Once, Window::Expires(_)) => Utc::now().timestamp() - 120,
            _ => Utc::now().timestamp(),
        };
        let signed = row.text_at("id-1", "first words", at);
        let mut moved = signed.clone();
        let other = String::from_utf8(signed.body.clone())
            .unwrap()
            .replace("first", "other");
        moved.body = other.into_bytes();
        let answer = moved.deliver(intake.address).await;
        match row.bound {
            Bound::Payload => assert_eq!(answer.status, row.refused.1, "{}", row.name),
            Bound::Nothing => row.assert_acked(&answer),
            Bound::Once => {
                row.assert_acked(&answer);
                // Whoever came second is refused, and the same once more is not.
                assert_eq!(
                    signed.deliver(intake.address).await.status,
                    row.refused.1,
                    "{}",
                    row.name
                );
                row.assert_acked(&moved.deliver(intake.address).await);
                assert_eq!(messages(&intake, row.name).await, 1, "{}", row.name);
            }
        }
    }
}

/// httpSMS counts its tokens in seconds and gives them no ID: texts of one second come with one token.
#[tokio::test]
async fn two_texts_of_one_second_are_two_although_they_have_one_token() {
    let intake = Intake::start(&endpoints()).await;
    let (row, now) = (row("httpsms"), Utc::now().timestamp());
    let texts = ["one", "two", "three"].map(|text| row.text_at(text, text, now));
    assert_eq!(texts[0].headers, texts[1].headers, "not the same token");
    for text in &texts {
        row.assert_acked(&text.deliver(intake.address).await);
        row.assert_acked(&text.deliver(intake.address).await);
    }
    assert_eq!(messages(&intake, "httpsms").await, 3);
}

#[tokio::test]
async fn a_signature_is_good_for_as_long_as_the_gateway_tries_and_no_longer() {
    const SLACK: i64 = 30;
    let intake = Intake::start(&endpoints()).await;
    for row in ROWS {
        let now = Utc::now().timestamp();
        let (taken, refused) = match row.window {
            // Signed years ago, for all we know.
            Window::None => (vec![now - 300_000_000], vec![]),
            Window::Both(seconds) => (
                vec![now - seconds + SLACK, now + seconds - SLACK],
                vec![now - seconds - SLACK, now + seconds + SLACK],
            ),
            Window::Expires(seconds) => (vec![now - seconds + SLACK], vec![now - seconds - 60 - SLACK]),
        };
        for (nth, at) in taken.into_iter().enumerate() {
            row.assert_acked(
                &row.text_at(&format!("in-{nth}"), "in time", at)
                    .deliver(intake.address)
                    .await,
            );
        }
        for (nth, at) in refused.into_iter().enumerate() {
            let answer = row
                .text_at(&format!("out-{nth}"), "too late", at)
                .deliver(intake.address)
                .await;
            assert_eq!(answer.status, row.refused.1, "{} at {}", row.name, at - now);
        }
    }
}

#[tokio::test]
async fn a_delivery_report_is_an_event_that_names_our_reply_and_its_state() {
    type Reported = (
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<DateTime<Utc>>,
    );
    let intake = Intake::start(&endpoints()).await;
    let mut seen = 0;
    for row in ROWS {
        let Some(report) = row.report else { continue };
        seen += 1;
        let mut parcel = row.parcel(report, "7", "");
        (row.sign)(&mut parcel, row.secret);
        row.assert_acked(&parcel.deliver(intake.address).await);
        row.assert_acked(&parcel.deliver(intake.address).await);
        let reported: Vec<Reported> = sqlx::query_as(
            "SELECT kind, gateway_id, reference, state, occurred_at FROM v1.gateway_events WHERE endpoint = $1",
        )
        .bind(row.name)
        .fetch_all(intake.pool())
        .await
        .unwrap();
        let [(_, id, reference, state, occurred_at)] = reported.as_slice() else {
            panic!("{}: {reported:?}", row.name)
        };
        let named = [id, reference].into_iter().flatten().any(|name| name == "reply-7");
        assert!(named, "{}: {reported:?}", row.name);
        assert_eq!(
            reference.as_deref().filter(|name| name.starts_with("r-")),
            report.contains("r-@ID@").then_some("r-7"),
            "{}",
            row.name
        );
        assert_eq!(state.as_deref(), Some("delivered"), "{}", row.name);
        let says_when = !matches!(row.name, "twilio" | "plivo");
        assert_eq!(
            occurred_at.map(|at| at.to_rfc3339()).as_deref(),
            says_when.then_some("2026-06-12T14:33:00+00:00"),
            "{}",
            row.name
        );
        assert_eq!(messages(&intake, row.name).await, 0, "{}", row.name);
    }
    assert!(seen >= 13, "the table lost its reports");
}

/// Sends what the simulator made up, signed as it signs.
async fn simulate(intake: &Intake, row: &Row, gateway: &Gateway, delivery: SampleDelivery) -> Response {
    let secret = if row.name == "telnyx" {
        STANDARD.encode(SEED)
    } else {
        row.secret.to_owned()
    };
    let signer = Signer::new(&gateway.signature, &secret.into(), None).unwrap();
    let content_type = delivery.content_type.map(|kind| kind.parse().unwrap());
    let mut outgoing = Outgoing {
        method: delivery.method,
        url: row.url(),
        query: delivery.query,
        headers: content_type
            .map(|kind| (http::header::CONTENT_TYPE, kind))
            .into_iter()
            .collect(),
        body: delivery.body,
        at: Utc::now().timestamp_millis(),
    };
    signature::sign(&gateway.signature, &signer, &mut outgoing);
    let path = format!("/hooks/{}", row.name);
    let headers = outgoing
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let request = wire(
        outgoing.method.as_str(),
        &path,
        &outgoing.query,
        headers,
        &outgoing.body,
    );
    let answer = raw(intake.address, &request).await;
    row.assert_acked(&answer);
    answer
}

#[tokio::test]
async fn what_the_simulator_sends_for_each_gateway_is_what_the_gateway_would() {
    let intake = Intake::start(&endpoints().replace("dev_1 =", "dev_sample =")).await;
    for row in ROWS {
        let gateway = Gateway::from_toml(builtin(row.name).unwrap()).unwrap();
        let now = Utc::now();
        let sample = Sample {
            from: SENDER,
            to: OURS,
            text: "hours & \"days\"\n?",
            sent_at: now,
            now,
            id: Uuid::now_v7(),
        };
        simulate(&intake, row, &gateway, gateway.sample_delivery(&sample).unwrap()).await;
        let stored: (String, String, String) =
            sqlx::query_as("SELECT sender, recipient, text FROM v1.messages WHERE endpoint = $1")
                .bind(row.name)
                .fetch_one(intake.pool())
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", row.name));
        let expected = (SENDER.to_owned(), OURS.to_owned(), sample.text.to_owned());
        assert_eq!(stored, expected, "{}", row.name);
        let part = SamplePart {
            reference: 7,
            total: 2,
            index: 2,
            text: "days",
        };
        if let Some(part) = gateway.sample_part(&sample, &part) {
            simulate(&intake, row, &gateway, part).await;
            let part: (i16, i16, String) = sqlx::query_as("SELECT part, total, text FROM v1.message_parts")
                .fetch_one(intake.pool())
                .await
                .unwrap();
            assert_eq!(part, (2, 2, "days".to_owned()), "{}", row.name);
        }
        let report = SampleReport {
            reply_ref: "ref-1",
            reply_id: "reply-1",
            state: DeliveryState::Delivered,
        };
        let Some(report) = gateway.sample_event(&sample, &report) else {
            assert!(row.report.is_none(), "{} has no sample of a report", row.name);
            continue;
        };
        simulate(&intake, row, &gateway, report).await;
        let state: Option<String> = sqlx::query_scalar(
            "SELECT state FROM v1.gateway_events WHERE endpoint = $1 AND (gateway_id = 'reply-1' OR reference IN ('ref-1', 'reply-1'))",
        )
        .bind(row.name)
        .fetch_one(intake.pool())
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", row.name));
        assert_eq!(state.as_deref(), Some("delivered"), "{}", row.name);
    }
}

/// A text of another shape than the row's, signed now.
async fn send(intake: &Intake, name: &str, template: &str, id: &str, text: &str) -> Response {
    let row = row(name);
    let mut parcel = row.parcel(template, id, text);
    (row.sign)(&mut parcel, row.secret);
    let answer = parcel.deliver(intake.address).await;
    row.assert_acked(&answer);
    answer
}

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap()
}

#[tokio::test]
async fn a_gateway_that_calls_with_get_says_in_the_query_what_it_would_in_a_form() {
    let intake = Intake::start(&endpoints()).await;
    for name in ["vonage-sms", "plivo", "clicksend"] {
        let row = row(name);
        let mut parcel = row.parcel(row.text, "id-1", "Gr\u{fc}\u{df}e & 100%");
        parcel.method = "GET";
        parcel.headers.clear();
        if name == "vonage-sms" {
            // It signs parameters, wherever they are.
            (row.sign)(&mut parcel, row.secret);
            parcel.query = String::from_utf8(std::mem::take(&mut parcel.body)).unwrap();
        } else {
            parcel.query = String::from_utf8(std::mem::take(&mut parcel.body)).unwrap();
            let fields = parcel.query.clone();
            (row.sign)(&mut parcel, row.secret);
            if name == "clicksend" {
                parcel.query = format!("{fields}&{}", parcel.query);
            }
        }
        row.assert_acked(&parcel.deliver(intake.address).await);
        let stored: (String, String, String, String) =
            sqlx::query_as("SELECT sender, recipient, text, raw FROM v1.messages WHERE endpoint = $1")
                .bind(name)
                .fetch_one(intake.pool())
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (sender, recipient, text, raw) = stored;
        assert_eq!((sender.as_str(), recipient.as_str()), (SENDER, OURS), "{name}");
        assert_eq!(text, "Gr\u{fc}\u{df}e & 100%", "{name}");
        assert!(!raw.contains("a0b1c2d3e4f5"), "the token was stored");
        // The same by POST is a copy.
        row.assert_acked(&row.text("id-1", &text).deliver(intake.address).await);
        assert_eq!(messages(&intake, name).await, 1, "{name}");
    }
    for name in ["smsgate", "twilio"] {
        let refused = Parcel {
            method: "GET",
            ..row(name).text("id-1", "x")
        };
        assert_eq!(refused.deliver(intake.address).await.status, 405, "{name}");
    }
}

#[tokio::test]
async fn what_the_provider_has_answered_by_itself_is_recorded_and_met_with_silence() {
    let twilio = "MessageSid=@ID@&From=@FROM@&To=@TO@&Body=@TEXT@&OptOutType=@WORD@".to_owned();
    let with_a_word = "\"autoresponse_type\":\"@WORD@\",\"direction\"";
    let telnyx = row("telnyx").text.replace("\"direction\"", with_a_word);
    for (name, template) in [("twilio", twilio), ("telnyx", telnyx)] {
        let intake = Intake::start(&endpoints()).await;
        // In words that are in no list of ours, as a provider's customer may choose them.
        for (nth, word, text, in_force) in [
            (1, "STOP", "enough of that", 1),
            (2, "HELP", "what is this?", 1),
            (3, "START", "all right again", 0),
        ] {
            let template = template
                .replace("@WORD@", word)
                .replace("14:32:00", &format!("14:3{nth}:00"));
            send(&intake, name, &template, &format!("id-{nth}"), text).await;
            let opted_out: i64 = sqlx::query_scalar("SELECT count(*) FROM v1.opt_outs WHERE number = $1 AND in_force")
                .bind(SENDER)
                .fetch_one(intake.pool())
                .await
                .unwrap();
            assert_eq!(opted_out, in_force, "{name}: {word}");
        }
        let consent: Vec<(Option<String>, Option<i16>, Option<String>)> =
            sqlx::query_as("SELECT consent_event, consent_tier, consent_keyword FROM v1.messages ORDER BY message_id")
                .fetch_all(intake.pool())
                .await
                .unwrap();
        let expected = [("opt_out", "STOP"), ("help", "HELP"), ("opt_in", "START")];
        let expected = expected.map(|(event, word)| (Some(event.to_owned()), Some(0), Some(word.to_owned())));
        assert_eq!(consent, expected, "{name}");
        let confirmations = count(intake.pool(), "SELECT count(*) FROM v1.jobs WHERE kind <> 'action'").await;
        assert_eq!(confirmations, 0, "{name}");
    }
}

#[tokio::test]
async fn nothing_looks_into_a_text_that_the_phone_encrypted() {
    let intake = Intake::start(&endpoints()).await;
    let template = row("httpsms").text.replace("\"encrypted\":false", "\"encrypted\":true");
    send(&intake, "httpsms", &template, "id-1", "STOP").await;
    let stored: (bool, Option<String>, Option<String>) =
        sqlx::query_as("SELECT encrypted, rule, consent_event FROM v1.messages")
            .fetch_one(intake.pool())
            .await
            .unwrap();
    assert_eq!(stored, (true, None, None));
    assert_eq!(count(intake.pool(), "SELECT count(*) FROM v1.jobs").await, 0);
}

#[tokio::test]
async fn what_is_no_text_to_us_is_an_event_whatever_it_looks_like() {
    let intake = Intake::start(&endpoints()).await;
    let change = |name: &str, from: &str, to: &str| {
        let changed = row(name).text.replace(from, to);
        assert_ne!(changed, row(name).text, "{name}");
        changed
    };
    for (name, template, kind) in [
        (
            "vonage-messages",
            change("vonage-messages", "\"channel\":\"sms\"", "\"channel\":\"whatsapp\""),
            "whatsapp",
        ),
        ("vonage-sms", change("vonage-sms", "type=text", "type=binary"), "binary"),
        ("sinch", change("sinch", "mo_text", "mo_binary"), "mo_binary"),
        (
            "smsgate",
            change("smsgate", "sms:received", "sms:data-received"),
            "sms:data-received",
        ),
        (
            "telnyx",
            change("telnyx", "\"direction\":\"inbound\"", "\"direction\":\"outbound\""),
            "outbound",
        ),
        (
            "bandwidth",
            change("bandwidth", "\"direction\":\"in\"", "\"direction\":\"out\""),
            "out",
        ),
        (
            "bird",
            change("bird", "\"direction\":\"incoming\"", "\"direction\":\"outgoing\""),
            "outgoing",
        ),
        (
            "textbee",
            change("textbee", "MESSAGE_RECEIVED", "MESSAGE_SENT"),
            "MESSAGE_SENT",
        ),
        (
            "httpsms",
            change("httpsms", "message.phone.received", "message.phone.sent"),
            "message.phone.sent",
        ),
        (
            "standard-webhooks",
            change("standard-webhooks", "message.received", "message.delivered"),
            "message.delivered",
        ),
        (
            "generic",
            change(
                "generic",
                "{\"message_id\"",
                "{\"direction\":\"outbound\",\"message_id\"",
            ),
            "outbound",
        ),
    ] {
        send(&intake, name, &template, "id-1", "hello").await;
        let found: String = sqlx::query_scalar("SELECT kind FROM v1.gateway_events WHERE endpoint = $1")
            .bind(name)
            .fetch_one(intake.pool())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, kind, "{name}");
        assert_eq!(messages(&intake, name).await, 0, "{name}");
    }
}

#[tokio::test]
async fn a_batch_is_stored_as_a_whole_each_of_its_texts_once() {
    let intake = Intake::start(&endpoints()).await;
    for name in ["bandwidth", "infobip"] {
        let (text, report) = (row(name).text, row(name).report.unwrap());
        let element = |batch: &str| {
            let (start, end) = (batch.find("[{").unwrap() + 1, batch.rfind("}]").unwrap() + 1);
            batch[start..end].to_owned()
        };
        let another = element(text).replace("@ID@", "@ID@-b");
        let batch = text.replacen("[{", &format!("[{},{another},{{", element(report)), 1);
        send(&intake, name, &batch, "id-1", "two at once").await;
        send(&intake, name, &batch, "id-1", "two at once").await;
        assert_eq!(messages(&intake, name).await, 2, "{name}");
        let events: i64 = sqlx::query_scalar("SELECT count(*) FROM v1.gateway_events WHERE endpoint = $1")
            .bind(name)
            .fetch_one(intake.pool())
            .await
            .unwrap();
        assert_eq!(events, 1, "{name}");
    }
}

/// One text of two that Postgres refuses: neither is a message, and the delivery is kept as it came, to be replayed.
#[tokio::test]
async fn a_batch_of_which_one_text_cannot_be_stored_is_not_stored_in_part() {
    let intake = Intake::start(&endpoints()).await;
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.message_id LIKE '%-b' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22P05'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON smshook.messages FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .execute(intake.pool())
    .await
    .unwrap();
    for name in ["bandwidth", "infobip"] {
        let text = row(name).text;
        let (start, end) = (text.find("[{").unwrap() + 1, text.rfind("}]").unwrap() + 1);
        let another = text[start..end].replace("@ID@", "@ID@-b");
        let batch = text.replacen("[{", &format!("[{another},{{"), 1);
        let answer = send(&intake, name, &batch, "id-1", "two at once").await;
        assert!(answer.status < 300, "{name}: {}", answer.status);
        assert_eq!(messages(&intake, name).await, 0, "{name}");
        let kept: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM v1.quarantine WHERE endpoint = $1 AND raw LIKE '%id-1-b%' AND raw LIKE '%two at once%'",
        )
        .bind(name)
        .fetch_one(intake.pool())
        .await
        .unwrap();
        assert_eq!(kept, 1, "{name}");
    }
}

#[tokio::test]
async fn what_reached_the_operator_has_not_reached_the_phone() {
    let intake = Intake::start(&endpoints()).await;
    let report = row("infobip").report.unwrap();
    let early = report.replace("DELIVERED_TO_HANDSET", "DELIVERED_TO_OPERATOR");
    assert_ne!(early, report);
    send(&intake, "infobip", &early, "7", "").await;
    send(&intake, "infobip", report, "7", "").await;
    let states: Vec<String> = sqlx::query_scalar("SELECT state FROM v1.gateway_events ORDER BY received_at, id")
        .fetch_all(intake.pool())
        .await
        .unwrap();
    assert_eq!(states, ["sent", "delivered"]);
}

#[tokio::test]
async fn a_picture_needs_no_words() {
    let intake = Intake::start(&endpoints()).await;
    let mms = r#"{"channel":"mms","message_uuid":"@ID@","to":"@TO@","from":"@FROM@","timestamp":"2026-06-12T14:32:00Z","message_type":"image","image":{"url":"https://media.vonage.example/1.jpg","name":"1.jpg"}}"#;
    send(&intake, "vonage-messages", mms, "id-1", "").await;
    let stored: (String, Value) = sqlx::query_as("SELECT text, media FROM v1.messages")
        .fetch_one(intake.pool())
        .await
        .unwrap();
    assert_eq!(stored.0, "");
    assert_eq!(stored.1[0]["url"], "https://media.vonage.example/1.jpg");
}

#[tokio::test]
async fn a_url_with_another_port_is_tried_where_twilio_would_and_with_another_host_it_is_not() {
    let intake = Intake::start(&endpoints()).await;
    let row = row("twilio");
    for (nth, (url, status)) in [
        ("https://sms.example.com:443/hooks/twilio", 200),
        ("https://sms.example.com/hooks/twilio", 200),
        ("https://sms.example.com:8443/hooks/twilio", 401),
        ("http://sms.example.com/hooks/twilio", 401),
        ("https://sms.example.com/hooks/twilio/", 401),
        ("https://sms.example.org/hooks/twilio", 401),
    ]
    .into_iter()
    .enumerate()
    {
        let mut parcel = row.parcel(row.text, &format!("id-{nth}"), "x");
        let public = std::mem::replace(&mut parcel.url, url.to_owned());
        (row.sign)(&mut parcel, row.secret);
        parcel.url = public;
        assert_eq!(parcel.deliver(intake.address).await.status, status, "{url}");
    }
    // A query is part of what is signed.
    let mut parcel = row.parcel(row.text, "id-q", "x");
    parcel.query = "shop=7&x=%20".to_owned();
    (row.sign)(&mut parcel, row.secret);
    row.assert_acked(&parcel.deliver(intake.address).await);
    parcel.query = "shop=8&x=%20".to_owned();
    assert_eq!(parcel.deliver(intake.address).await.status, 401);
}

#[tokio::test]
async fn a_long_text_that_comes_in_parts_in_any_order_is_one_message() {
    let app = App::start(&endpoints()).await;
    let row = row("vonage-sms");
    for (part, text) in [(3, "here?"), (1, "is anybo"), (2, "dy out t"), (1, "is anybo")] {
        let template = format!(
            "{}&concat=true&concat-ref=77&concat-total=3&concat-part={part}",
            row.text
        );
        let mut parcel = row.parcel(&template, &format!("id-{part}"), text);
        (row.sign)(&mut parcel, row.secret);
        row.assert_acked(&parcel.deliver(app.address()).await);
    }
    eventually("the parts are a message", async || {
        count(app.pool(), "SELECT count(*) FROM v1.messages").await == 1
    })
    .await;
    let stored: (String, String, Option<i16>) = sqlx::query_as("SELECT sender, text, missing_parts FROM v1.messages")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(stored, (SENDER.to_owned(), "is anybody out there?".to_owned(), Some(0)));
}

/// How a gateway's API takes a text, as its pages show it.
struct Sending {
    name: &'static str,
    /// What an endpoint sets besides the token.
    settings: &'static str,
    /// Below the base.
    path: &'static str,
    authorization: (&'static str, &'static str),
    /// JSON, or a form; with `@REF@` for our reference.
    body: &'static str,
    answer: (u16, &'static str),
}

const SENDING: &[Sending] = &[
    Sending {
        name: "mobile-api-connect",
        settings: "",
        path: "/messages",
        authorization: ("authorization", "Bearer tok"),
        body: r#"{"to":"+14155550101","text":"We are open & glad.","ref":"@REF@"}"#,
        answer: (
            202,
            r#"{"id":"reply-7","status":"queued","createdAt":"2026-06-12T14:32:00.000Z"}"#,
        ),
    },
    Sending {
        name: "smsgate",
        settings: "username = \"USER\"",
        path: "",
        authorization: ("authorization", "Basic VVNFUjp0b2s="),
        body: r#"{"textMessage":{"text":"We are open & glad."},"phoneNumbers":["+14155550101"],"withDeliveryReport":true}"#,
        answer: (
            202,
            r#"{"id":"reply-7","state":"Pending","isHashed":false,"recipients":[{"phoneNumber":"+14155550101","state":"Pending"}],"states":{}}"#,
        ),
    },
    Sending {
        name: "textbee",
        settings: "",
        path: "/gateway/send-sms",
        authorization: ("x-api-key", "tok"),
        body: r#"{"message":"We are open & glad.","recipients":["+14155550101"],"deviceId":"dev_1"}"#,
        answer: (
            201,
            r#"{"data":{"success":true,"message":"SMS added to queue for processing","smsBatchId":"reply-7","recipientCount":1}}"#,
        ),
    },
    Sending {
        name: "httpsms",
        settings: "",
        path: "/messages/send",
        authorization: ("x-api-key", "tok"),
        body: r#"{"from":"+12025550199","to":"+14155550101","content":"We are open & glad.","request_id":"@REF@"}"#,
        answer: (
            200,
            r#"{"data":{"id":"reply-7","status":"pending"},"message":"message added to queue","status":"success"}"#,
        ),
    },
    Sending {
        name: "twilio",
        settings: "account = \"AC1\"",
        path: "/Accounts/AC1/Messages.json",
        authorization: ("authorization", "Basic QUMxOnRvaw=="),
        body: "Body=We+are+open+%26+glad.&From=%2B12025550199&To=%2B14155550101",
        answer: (
            201,
            r#"{"account_sid":"AC1","body":"We are open & glad.","error_code":null,"sid":"reply-7","status":"queued"}"#,
        ),
    },
    Sending {
        name: "telnyx",
        settings: "",
        path: "/messages",
        authorization: ("authorization", "Bearer tok"),
        body: r#"{"from":"+12025550199","to":"+14155550101","text":"We are open & glad."}"#,
        answer: (
            200,
            r#"{"data":{"record_type":"message","direction":"outbound","id":"reply-7","to":[{"phone_number":"+14155550101","status":"queued"}]}}"#,
        ),
    },
    Sending {
        name: "vonage-messages",
        settings: "account = \"abcd1234\"",
        path: "/messages",
        authorization: ("authorization", "Basic YWJjZDEyMzQ6dG9r"),
        body: r#"{"channel":"sms","message_type":"text","to":"14155550101","from":"12025550199","text":"We are open & glad.","client_ref":"@REF@"}"#,
        answer: (202, r#"{"message_uuid":"reply-7"}"#),
    },
    Sending {
        name: "vonage-sms",
        settings: "account = \"abcd1234\"",
        path: "/sms/json",
        authorization: ("authorization", "Basic YWJjZDEyMzQ6dG9r"),
        body: "client-ref=@REF@&from=12025550199&text=We+are+open+%26+glad.&to=14155550101&type=unicode",
        answer: (
            200,
            r#"{"message-count":"1","messages":[{"to":"14155550101","message-id":"reply-7","status":"0","remaining-balance":"3.14","message-price":"0.0333","network":"12345"}]}"#,
        ),
    },
    Sending {
        name: "plivo",
        settings: "account = \"MA1\"",
        path: "/Account/MA1/Message/",
        authorization: ("authorization", "Basic TUExOnRvaw=="),
        body: r#"{"src":"12025550199","dst":"14155550101","text":"We are open & glad.","type":"sms"}"#,
        answer: (
            202,
            r#"{"api_id":"a1","message":"message(s) queued","message_uuid":["reply-7"]}"#,
        ),
    },
    Sending {
        name: "sinch",
        settings: "service_plan = \"plan1\"",
        path: "/xms/v1/plan1/batches",
        authorization: ("authorization", "Bearer tok"),
        body: r#"{"from":"12025550199","to":["14155550101"],"body":"We are open & glad.","delivery_report":"per_recipient","client_reference":"@REF@"}"#,
        answer: (
            201,
            r#"{"id":"reply-7","to":["14155550101"],"from":"12025550199","canceled":false,"body":"We are open & glad.","type":"mt_text"}"#,
        ),
    },
    Sending {
        name: "messagebird",
        settings: "",
        path: "/messages",
        authorization: ("authorization", "AccessKey tok"),
        body: r#"{"originator":"+12025550199","recipients":["14155550101"],"body":"We are open & glad.","datacoding":"auto","reference":"@REF@"}"#,
        answer: (
            201,
            r#"{"id":"reply-7","href":"https://rest.messagebird.com/messages/reply-7","recipients":{"totalCount":1,"items":[{"recipient":14155550101,"status":"sent"}]}}"#,
        ),
    },
    Sending {
        name: "bird",
        settings: "workspace = \"w1\", channel = \"c1\"",
        path: "/workspaces/w1/channels/c1/messages",
        authorization: ("authorization", "AccessKey tok"),
        body: r#"{"receiver":{"contacts":[{"identifierKey":"phonenumber","identifierValue":"+14155550101"}]},"body":{"type":"text","text":{"text":"We are open & glad."}},"reference":"@REF@"}"#,
        answer: (202, r#"{"id":"reply-7","channelId":"c1","status":"accepted"}"#),
    },
    Sending {
        name: "bandwidth",
        settings: "username = \"api\", account = \"9900000\", application = \"a1\"",
        path: "/users/9900000/messages",
        authorization: ("authorization", "Basic YXBpOnRvaw=="),
        body: r#"{"from":"+12025550199","to":["+14155550101"],"text":"We are open & glad.","applicationId":"a1","tag":"@REF@"}"#,
        answer: (
            202,
            r#"{"id":"reply-7","time":"2026-06-12T14:32:00.000Z","to":["+14155550101"],"from":"+12025550199","text":"We are open & glad.","owner":"+12025550199","direction":"out"}"#,
        ),
    },
    Sending {
        name: "infobip",
        settings: "",
        path: "/sms/3/messages",
        authorization: ("authorization", "App tok"),
        body: r#"{"messages":[{"sender":"12025550199","destinations":[{"to":"14155550101"}],"content":{"text":"We are open & glad."},"webhooks":{"callbackData":"@REF@"}}]}"#,
        answer: (
            200,
            r#"{"bulkId":"b1","messages":[{"messageId":"reply-7","status":{"groupId":1,"groupName":"PENDING","id":26,"name":"PENDING_ACCEPTED","description":"Message sent to next instance"},"destination":"14155550101"}]}"#,
        ),
    },
    Sending {
        name: "clicksend",
        settings: "username = \"me\"",
        path: "/sms/send",
        authorization: ("authorization", "Basic bWU6dG9r"),
        body: r#"{"messages":[{"source":"smshook","from":"+12025550199","to":"+14155550101","body":"We are open & glad.","custom_string":"@REF@"}]}"#,
        answer: (
            200,
            r#"{"http_code":200,"response_code":"SUCCESS","response_msg":"Messages queued for delivery.","data":{"total_price":0.06,"messages":[{"to":"+14155550101","message_id":"reply-7","status":"SUCCESS"}]}}"#,
        ),
    },
];

/// Every endpoint, those of [`SENDING`] with a way to answer through `fake`.
pub(crate) fn replying_endpoints(fake: &Fake) -> String {
    let with_reply = |config: String, sending: &Sending| {
        let path = format!("path = \"/hooks/{}\"\n", sending.name);
        let comma = if sending.settings.is_empty() { "" } else { ", " };
        let reply = format!(
            "{path}reply = {{ token = \"tok\"{comma}{}, base_url = \"{}\", allow_private = [\"127.0.0.0/8\"], allow_http = true }}\n",
            sending.settings,
            fake.url(&format!("/{}", sending.name))
        );
        config.replace(&path, &reply)
    };
    let config = SENDING.iter().fold(endpoints(), with_reply);
    let answer = "reply = { text = \"We are open & glad.\" }";
    config.replace("log = { message = \"a text\" }", answer)
        + "[loop_guard]\nlimits = [{ replies = 1000, within = \"10m\" }]\nsame_reply = false\nsame_text = false\n"
}

/// A text to a gateway's endpoint, as the gateway sends it.
pub(crate) async fn send_text(app: &App, gateway: &str, id: &str, text: &str) {
    let row = row(gateway);
    row.assert_acked(&row.text(id, text).deliver(app.address()).await);
}

/// A report about the reply `reply-ID`, written as the gateway writes it.
pub(crate) async fn send_report(app: &App, gateway: &str, report: &str, id: &str) {
    let row = row(gateway);
    let mut report = row.parcel(report, id, "");
    (row.sign)(&mut report, row.secret);
    row.assert_acked(&report.deliver(app.address()).await);
}

/// What the gateway's API answers when it takes a text, and which ID it gives it.
pub(crate) fn taken(gateway: &str, id: &str) -> Answer {
    let sending = SENDING.iter().find(|sending| sending.name == gateway).unwrap();
    Answer::Now(sending.answer.0, vec![], sending.answer.1.replace("reply-7", id))
}

#[tokio::test]
async fn a_reply_goes_out_as_each_gateways_api_wants_it_and_its_report_is_about_it() {
    let fake = Fake::start().await;
    let app = App::start(&replying_endpoints(&fake)).await;
    for (nth, sending) in SENDING.iter().enumerate() {
        let row = row(sending.name);
        fake.always(Answer::Now(
            sending.answer.0,
            vec![],
            sending.answer.1.replace("reply-7", &format!("reply-{nth}")),
        ));
        row.assert_acked(&row.text("id-1", "are you open?").deliver(app.address()).await);
        fake.came(nth + 1).await;
        app.all_jobs_ended().await;
        let sent: Vec<(String, Option<String>, String)> =
            sqlx::query_as("SELECT reference, gateway_message_id, job_state FROM v1.replies WHERE endpoint = $1")
                .bind(sending.name)
                .fetch_all(app.pool())
                .await
                .unwrap();
        let [(reference, id, state)] = sent.as_slice() else {
            panic!("{}: {sent:?}; {:?}", sending.name, app.jobs().await)
        };
        assert_eq!(state, "done", "{}: {:?}", sending.name, app.jobs().await);
        assert_eq!(id.as_deref(), Some(format!("reply-{nth}").as_str()), "{}", sending.name);
        let asked = fake.asked().pop().unwrap();
        assert_eq!(asked.method, http::Method::POST, "{}", sending.name);
        assert_eq!(asked.path, format!("/{}{}", sending.name, sending.path));
        let (header, value) = sending.authorization;
        assert_eq!(asked.headers[header], value, "{}", sending.name);
        let body = sending.body.replace("@REF@", reference);
        match serde_json::from_str::<Value>(&body) {
            Ok(json) => assert_eq!(asked.json(), json, "{}", sending.name),
            Err(_) => assert_eq!(asked.body, body, "{}", sending.name),
        }
        let Some(report) = row.report else { continue };
        let mut report = row.parcel(report, &nth.to_string(), "");
        (row.sign)(&mut report, row.secret);
        row.assert_acked(&report.deliver(app.address()).await);
        eventually("the reply is delivered", async || {
            let state: Option<String> = sqlx::query_scalar("SELECT state FROM v1.replies WHERE endpoint = $1")
                .bind(sending.name)
                .fetch_one(app.pool())
                .await
                .unwrap();
            state.as_deref() == Some("delivered")
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_says_no_with_a_status_of_200_is_no() {
    let fake = Fake::start().await;
    let app = App::start(&replying_endpoints(&fake)).await;
    for (nth, (name, answer, word)) in [
        (
            "vonage-sms",
            r#"{"message-count":"1","messages":[{"to":"14155550101","status":"29","error-text":"Non-Whitelisted Destination"}]}"#,
            "Non-Whitelisted Destination",
        ),
        (
            "clicksend",
            r#"{"http_code":200,"response_code":"SUCCESS","data":{"messages":[{"to":"+14155550101","status":"COUNTRY_NOT_ENABLED"}]}}"#,
            "COUNTRY_NOT_ENABLED",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fake.always(Answer::Now(200, vec![], answer.to_owned()));
        let row = row(name);
        row.assert_acked(&row.text("id-1", "are you open?").deliver(app.address()).await);
        fake.came(nth + 1).await;
        app.all_jobs_ended().await;
        let job: (String, Option<String>) = sqlx::query_as("SELECT state, reason FROM v1.jobs WHERE endpoint = $1")
            .bind(name)
            .fetch_one(app.pool())
            .await
            .unwrap();
        assert_eq!(job.0, "discarded", "{name}");
        assert!(job.1.as_deref().unwrap().contains(word), "{name}: {:?}", job.1);
    }
}
