//! Every built-in gateway's scheme under attack: a delivery signed as the gateway signs verifies, and with any byte of it
//! changed it does not.
//!
//! What the vendor's own canonical form leaves open is left out by comparing canonical forms, never by naming a gateway.

use std::sync::LazyLock;

use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::Index;
use secrecy::SecretString;
use smshook::gateway::{self, Gateway, Sample};
use smshook::signature::{self, Keys, Outgoing, Received, SecretSpec, Signer, VerifiedBody};

/// When everything is signed.
const AT: i64 = 1_781_274_720_000;
/// 32 bytes in base64: good as a text, as a decoded key, and as the seed of a key pair; `user:password` for Basic besides.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

static PRESETS: LazyLock<Vec<Gateway>> = LazyLock::new(|| {
    let read = |name| Gateway::from_toml(gateway::builtin(name).unwrap()).unwrap();
    gateway::builtin_names().map(read).collect()
});

/// A signed delivery of this gateway and the keys that verify it.
fn signed(gateway: &Gateway, text: &str) -> (Outgoing, Keys) {
    let scheme = &gateway.signature;
    let secret = SecretString::from(SECRET);
    let signer = Signer::new(scheme, &secret, None).unwrap();
    let spec = SecretSpec {
        label: "the secret".to_owned(),
        secret: signer.public_key().map_or(secret, SecretString::from),
        algorithm: None,
    };
    let keys = Keys::new(scheme, &[spec]).unwrap();
    let at = DateTime::from_timestamp_millis(AT).unwrap();
    let sample = Sample {
        from: "+12025550143",
        to: "+12025550100",
        text,
        sent_at: at,
        now: at,
        id: uuid::Uuid::from_u128(7),
    };
    let made = gateway.sample_delivery(&sample).unwrap();
    let query = if made.method == Method::POST && made.query.is_empty() {
        "tenant=a%2Fb&x".to_owned()
    } else {
        made.query
    };
    let mut outgoing = Outgoing {
        method: made.method,
        url: "https://sms.example.com/hooks/sms".to_owned(),
        query,
        headers: HeaderMap::new(),
        body: made.body,
        at: AT,
    };
    signature::sign(scheme, &signer, &mut outgoing);
    (outgoing, keys)
}

fn verify(gateway: &Gateway, keys: &Keys, delivery: &Outgoing) -> Option<VerifiedBody> {
    let received = Received {
        method: &delivery.method,
        url: &delivery.url,
        query: Some(delivery.query.as_str()).filter(|query| !query.is_empty()),
        headers: &delivery.headers,
        body: &Bytes::copy_from_slice(&delivery.body),
        at: delivery.at,
    };
    signature::verify(&gateway.signature, keys, &received).ok()
}

#[test]
fn what_every_gateway_signs_verifies_and_with_another_secret_does_not() {
    let mut seen = 0;
    for gateway in PRESETS.iter() {
        let (delivery, keys) = signed(gateway, "hours? 100% & more = 👍");
        assert!(verify(gateway, &keys, &delivery).is_some(), "{}", gateway.name);
        let other = Signer::new(
            &gateway.signature,
            &SecretString::from("ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="),
            None,
        );
        let mut forged = Outgoing {
            headers: HeaderMap::new(),
            ..delivery.clone()
        };
        signature::sign(&gateway.signature, &other.unwrap(), &mut forged);
        assert!(verify(gateway, &keys, &forged).is_none(), "{}", gateway.name);
        seen += 1;
    }
    assert!(seen >= 17, "{seen} gateways");
}

/// The time of a genuine delivery counts, to the millisecond and both ways.
#[test]
fn a_genuine_delivery_is_late_beyond_its_gateways_tolerance() {
    let mut timed = 0;
    for gateway in PRESETS.iter() {
        let Some(tolerance) = gateway.signature.tolerance() else {
            continue;
        };
        let (delivery, keys) = signed(gateway, "late");
        let tolerance = i64::try_from(tolerance.as_millis()).unwrap();
        for (apart, holds) in [
            (tolerance, true),
            (-tolerance, true),
            (tolerance + 1000, false),
            (-tolerance - 1000, false),
        ] {
            let moved = Outgoing {
                at: AT + apart,
                ..delivery.clone()
            };
            assert_eq!(
                verify(gateway, &keys, &moved).is_some(),
                holds,
                "{} {apart}",
                gateway.name
            );
        }
        timed += 1;
    }
    assert!(timed >= 7, "{timed} gateways sign a time");
}

#[test]
fn the_address_may_be_written_with_or_without_its_port_and_not_otherwise() {
    let mut bound = 0;
    for gateway in PRESETS.iter().filter(|gateway| gateway.signature.needs_url()) {
        let (delivery, keys) = signed(gateway, "where");
        let at = |url: &str| {
            let elsewhere = Outgoing {
                url: url.to_owned(),
                ..delivery.clone()
            };
            verify(gateway, &keys, &elsewhere).is_some()
        };
        assert!(at("https://sms.example.com:443/hooks/sms"), "{}", gateway.name);
        for other in [
            "http://sms.example.com/hooks/sms",
            "https://sms.example.com/hooks/sms/",
            "https://sms.example.com/hooks/other",
            "https://sms.example.org/hooks/sms",
            "",
        ] {
            assert!(!at(other), "{} {other}", gateway.name);
        }
        bound += 1;
    }
    assert!(bound >= 4, "{bound} gateways sign the URL");
}

/// The fields of a form as any canonical form sees them: decoded, in order of name, Vonage's separators alike, hex in one
/// case; for everything else the bytes.
fn canonical(gateway: &Gateway, bytes: &[u8]) -> Vec<(String, String)> {
    if gateway.format == gateway::Format::Json {
        return vec![(String::new(), format!("{bytes:?}"))];
    }
    let alike = |value: &str| value.replace(['&', '='], "_");
    let mut fields: Vec<_> = url::form_urlencoded::parse(bytes)
        .map(|(name, value)| {
            let value = if name == "sig" {
                value.to_lowercase()
            } else {
                alike(&value)
            };
            (name.into_owned(), value)
        })
        .collect();
    fields.sort();
    fields
}

/// One byte of something replaced by another.
fn flipped(bytes: &[u8], place: Index, by: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    if let Some(byte) = (!changed.is_empty()).then(|| place.get_mut(&mut changed)) {
        *byte ^= by;
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_changed_byte_of_the_payload_is_refused_wherever_the_payload_is_signed(
        which in any::<Index>(), place in any::<Index>(), by in 1..=255_u8, text in "\\PC{0,40}",
    ) {
        let gateway = which.get(&PRESETS);
        prop_assume!(gateway.signature.binds_body());
        let (delivery, keys) = signed(gateway, &text);
        prop_assert!(verify(gateway, &keys, &delivery).is_some());
        let mut changed = delivery.clone();
        let (before, after) = if delivery.method == Method::GET {
            let query = String::from_utf8_lossy(&flipped(delivery.query.as_bytes(), place, by)).into_owned();
            changed.query.clone_from(&query);
            (canonical(gateway, delivery.query.as_bytes()), canonical(gateway, query.as_bytes()))
        } else {
            changed.body = flipped(&delivery.body, place, by);
            (canonical(gateway, &delivery.body), canonical(gateway, &changed.body))
        };
        prop_assume!(before != after);
        prop_assert!(verify(gateway, &keys, &changed).is_none(), "{}", gateway.name);
    }

    #[test]
    fn a_shortened_or_lengthened_payload_is_refused_wherever_the_payload_is_signed(
        which in any::<Index>(), cut in any::<Index>(), more in "[a-z0-9]{1,10}", at_the_end in any::<bool>(),
    ) {
        let gateway = which.get(&PRESETS);
        prop_assume!(gateway.signature.binds_body());
        let (delivery, keys) = signed(gateway, "a text");
        let payload = if delivery.method == Method::GET { delivery.query.clone().into_bytes() } else { delivery.body.clone() };
        let other = if at_the_end {
            [&payload[..], more.as_bytes()].concat()
        } else {
            payload[..cut.index(payload.len())].to_vec()
        };
        prop_assume!(canonical(gateway, &payload) != canonical(gateway, &other));
        let mut changed = delivery.clone();
        if delivery.method == Method::GET {
            changed.query = String::from_utf8(other).unwrap();
        } else {
            changed.body = other;
        }
        prop_assert!(verify(gateway, &keys, &changed).is_none(), "{}", gateway.name);
    }

    #[test]
    fn a_changed_byte_of_a_header_that_proves_something_is_refused(
        which in any::<Index>(), header in any::<Index>(), place in any::<Index>(), by in 1..=127_u8,
    ) {
        let gateway = which.get(&PRESETS);
        let (delivery, keys) = signed(gateway, "a text");
        let names: Vec<HeaderName> = gateway.signature.all_headers().into_iter()
            .filter(|name| delivery.headers.contains_key(*name)).cloned().collect();
        prop_assume!(!names.is_empty());
        let name = header.get(&names);
        let value = flipped(delivery.headers[name].as_bytes(), place, by);
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut changed = delivery.clone();
        changed.headers.insert(name.clone(), value);
        prop_assert!(verify(gateway, &keys, &changed).is_none(), "{} {name}", gateway.name);
    }

    #[test]
    fn a_changed_byte_of_the_url_is_refused_wherever_the_url_is_signed(
        which in any::<Index>(), place in any::<Index>(), by in 1..=127_u8, in_query in any::<bool>(),
    ) {
        let binding: Vec<_> = PRESETS.iter().filter(|gateway| gateway.signature.needs_url()).collect();
        let gateway = *which.get(&binding);
        let (delivery, keys) = signed(gateway, "a text");
        let mut changed = delivery.clone();
        changed.url = String::from_utf8_lossy(&flipped(delivery.url.as_bytes(), place, by)).into_owned();
        prop_assert!(verify(gateway, &keys, &changed).is_none(), "{} {}", gateway.name, changed.url);
        // Some schemes leave the query out of what they sign; none of those binds the payload either.
        if in_query && gateway.signature.binds_body() && delivery.method == Method::POST {
            let mut changed = delivery.clone();
            changed.query = String::from_utf8_lossy(&flipped(delivery.query.as_bytes(), place, by)).into_owned();
            prop_assert!(verify(gateway, &keys, &changed).is_none(), "{} ?{}", gateway.name, changed.query);
        }
    }

    #[test]
    fn random_bytes_neither_verify_nor_panic(
        values in proptest::collection::vec((any::<Index>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        query in "\\PC{0,60}",
        is_get in any::<bool>(),
        at in any::<i64>(),
    ) {
        for gateway in PRESETS.iter() {
            let (_, keys) = signed(gateway, "");
            let names: Vec<HeaderName> = gateway.signature.all_headers().into_iter().cloned().collect();
            let mut delivery = Outgoing {
                method: if is_get { Method::GET } else { Method::POST },
                url: "https://sms.example.com/".to_owned(),
                query: query.clone(),
                headers: HeaderMap::new(),
                body: body.clone(),
                at,
            };
            for (name, value) in &values {
                if let (false, Ok(value)) = (names.is_empty(), HeaderValue::from_bytes(value)) {
                    delivery.headers.append(name.get(&names).clone(), value);
                }
            }
            prop_assert!(verify(gateway, &keys, &delivery).is_none(), "{}", gateway.name);
        }
    }
}
