//! Published vectors and hostile headers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;

use super::{AllowUnsigned, KeyError, Keys, Outgoing, Proof, Received, Refusal, Scheme, SecretSpec, VerifiedBody};

/// GitHub's own example for `X-Hub-Signature-256`
/// (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>).
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB_BODY: &str = "Hello, World!";
const GITHUB_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

const NOW: i64 = 1_781_274_720;

/// Headers as names and values.
type Values<'a> = &'a [(&'a str, &'a [u8])];

fn scheme(extra: &str) -> Scheme {
    toml::from_str(&format!(
        "headers = [\"X-Signature\", \"X-Old-Signature\"]\nalgorithm = \"hmac-sha256\"\n{extra}"
    ))
    .unwrap()
}

fn plain() -> Scheme {
    scheme("prefix = \"sha256=\"\nencoding = \"hex\"")
}

fn keys(scheme: &Scheme, secrets: &[&str]) -> Keys {
    let labelled = |(place, secret): (usize, &&str)| SecretSpec {
        label: format!("secret {place}"),
        secret: SecretString::from(*secret),
        algorithm: None,
    };
    Keys::new(scheme, &secrets.iter().enumerate().map(labelled).collect::<Vec<_>>()).unwrap()
}

fn headers(values: Values<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    headers
}

fn received<'a>(headers: &'a HeaderMap, body: &'a Bytes) -> Received<'a> {
    Received {
        method: &Method::POST,
        url: "",
        query: None,
        headers,
        body,
        at: NOW * 1000,
    }
}

fn verify(scheme: &Scheme, keys: &Keys, headers: &HeaderMap, body: &[u8]) -> Result<VerifiedBody, Refusal> {
    super::verify(scheme, keys, &received(headers, &Bytes::copy_from_slice(body)))
}

fn sign(scheme: &Scheme, keys: &Keys, body: &[u8], at: i64) -> HeaderMap {
    let mut outgoing = Outgoing {
        method: Method::POST,
        url: String::new(),
        query: String::new(),
        headers: HeaderMap::new(),
        body: body.to_vec(),
        at: at * 1000,
    };
    super::sign(scheme, &keys.signer().unwrap(), &mut outgoing);
    outgoing.headers
}

fn outcome(scheme: &Scheme, keys: &Keys, headers: &HeaderMap, body: &str) -> Result<Proof, Refusal> {
    verify(scheme, keys, headers, body.as_bytes()).map(|body| body.proof())
}

/// The outcome for GitHub's example with its header's value replaced.
fn with_value(value: &[u8]) -> Result<Proof, Refusal> {
    let scheme = plain();
    outcome(
        &scheme,
        &keys(&scheme, &[GITHUB_SECRET]),
        &headers(&[("X-Signature", value)]),
        GITHUB_BODY,
    )
}

#[test]
fn githubs_published_example_verifies_and_is_what_we_sign() {
    assert_eq!(with_value(GITHUB_SIGNATURE.as_bytes()), Ok(Proof::Secret(0)));
    let scheme = plain();
    let signed = sign(&scheme, &keys(&scheme, &[GITHUB_SECRET]), GITHUB_BODY.as_bytes(), NOW);
    assert_eq!(signed.get("x-signature").unwrap(), GITHUB_SIGNATURE);
    assert_eq!(signed.len(), 1);
}

/// RFC 4231, test cases 1 to 4, 6 and 7. Case 5 is truncated to 128 bits, which no gateway does.
#[test]
fn the_vectors_of_rfc_4231_verify() {
    let long_key = "aa".repeat(131);
    let vectors: [(&str, &[u8], &str); 6] = [
        (
            &"0b".repeat(20),
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            "4a656665",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &"aa".repeat(20),
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            &long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &long_key,
            b"This is a test using a larger than block-size key and a larger than block-size data. \
              The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    let scheme = scheme("encoding = \"hex\"\nsecret_encoding = \"hex\"");
    for (key, data, mac) in vectors {
        let headers = headers(&[("X-Signature", mac.as_bytes())]);
        let verified = verify(&scheme, &keys(&scheme, &[key]), &headers, data);
        assert_eq!(verified.unwrap().bytes(), data);
    }
}

#[test]
fn no_changed_bit_of_body_or_signature_verifies() {
    let body = include_bytes!("../../gateways/mobile-api-connect.sample.json");
    let scheme = plain();
    let keys = keys(&scheme, &["whsec_one", "whsec_two"]);
    let signed = sign(&scheme, &keys, body, NOW);
    let is_verified = |headers: &HeaderMap, body: &[u8]| verify(&scheme, &keys, headers, body).is_ok();
    assert!(is_verified(&signed, body));
    for bit in 0..body.len() * 8 {
        let mut changed = body.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_verified(&signed, &changed), "bit {bit} of the body");
    }
    let value = signed.get("x-signature").unwrap().as_bytes();
    for bit in 0..value.len() * 8 {
        let mut changed = value.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(changed) = HeaderValue::from_bytes(&changed) else {
            continue;
        };
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-signature"), changed)]);
        assert!(!is_verified(&headers, body), "bit {bit} of the signature");
    }
    for length in 0..body.len() {
        assert!(
            !is_verified(&signed, &body[..length]),
            "only {length} bytes of the body"
        );
    }
}

#[test]
fn every_active_secret_verifies_and_is_named() {
    let scheme = plain();
    let all = keys(&scheme, &["old", "current", "next"]);
    for (place, secret) in (0..).zip(["old", "current", "next"]) {
        let signed = sign(&scheme, &keys(&scheme, &[secret]), b"{}", NOW);
        assert_eq!(outcome(&scheme, &all, &signed, "{}"), Ok(Proof::Secret(place)));
        assert_eq!(all.label(place), Some(format!("secret {place}").as_str()));
    }
    assert_eq!(all.label(3), None);
    let retired = sign(&scheme, &keys(&scheme, &["retired"]), b"{}", NOW);
    assert_eq!(outcome(&scheme, &all, &retired, "{}"), Err(Refusal::Mismatch));
}

#[test]
fn a_header_that_is_not_one_digest_is_refused_by_its_kind() {
    let digest = GITHUB_SIGNATURE.strip_prefix("sha256=").unwrap();
    let upper = format!("sha256={}", digest.to_uppercase());
    let joined = format!("{GITHUB_SIGNATURE}, {GITHUB_SIGNATURE}");
    let twice = format!("{GITHUB_SIGNATURE}{digest}");
    let wrong = format!("sha256={}", "0".repeat(64));
    let cases: [(&[u8], Refusal); 21] = [
        (b"", Refusal::Malformed),
        (b"sha256=", Refusal::Malformed),
        (b"sha256", Refusal::Malformed),
        (b"=", Refusal::Malformed),
        (digest.as_bytes(), Refusal::Malformed),
        (upper.as_bytes(), Refusal::Malformed),
        (&[b"SHA256=", digest.as_bytes()].concat(), Refusal::Malformed),
        (&[b"sha1=", digest.as_bytes()].concat(), Refusal::Malformed),
        (&[b"sha256=sha256=", digest.as_bytes()].concat(), Refusal::Malformed),
        (&[b"sha256= ", digest.as_bytes()].concat(), Refusal::Malformed),
        (&[b" sha256=", digest.as_bytes()].concat(), Refusal::Malformed),
        (&[GITHUB_SIGNATURE.as_bytes(), b" "].concat(), Refusal::Malformed),
        (
            &[b"\"", GITHUB_SIGNATURE.as_bytes(), b"\""].concat(),
            Refusal::Malformed,
        ),
        (joined.as_bytes(), Refusal::Malformed),
        (
            &[b"sha256=", "é".as_bytes(), digest.as_bytes()].concat(),
            Refusal::Malformed,
        ),
        (b"sha256=\xFF\xFE", Refusal::Malformed),
        (b"sha256=0x757107ea", Refusal::Malformed),
        (
            &GITHUB_SIGNATURE.as_bytes()[..GITHUB_SIGNATURE.len() - 1],
            Refusal::WrongLength,
        ),
        (
            &GITHUB_SIGNATURE.as_bytes()[..GITHUB_SIGNATURE.len() - 2],
            Refusal::WrongLength,
        ),
        (twice.as_bytes(), Refusal::WrongLength),
        (wrong.as_bytes(), Refusal::Mismatch),
    ];
    for (value, refusal) in cases {
        assert_eq!(with_value(value), Err(refusal), "{}", value.escape_ascii());
    }
    let huge = [b"sha256=".as_slice(), &b"a".repeat(60_000)].concat();
    assert_eq!(with_value(&huge), Err(Refusal::WrongLength));
}

#[test]
fn a_missing_header_and_one_that_is_there_twice_are_refused() {
    let scheme = plain();
    let keys = keys(&scheme, &[GITHUB_SECRET]);
    let right = GITHUB_SIGNATURE.as_bytes();
    let cases: [(Values<'_>, Result<Proof, Refusal>); 9] = [
        (&[], Err(Refusal::Missing)),
        (&[("X-Hub-Signature-256", right)], Err(Refusal::Missing)),
        (&[("x-SIGNATURE", right)], Ok(Proof::Secret(0))),
        (&[("X-Old-Signature", right)], Ok(Proof::Secret(0))),
        (
            &[("X-Signature", right), ("X-Signature", right)],
            Err(Refusal::Duplicated),
        ),
        (
            &[("X-Old-Signature", b"old"), ("X-Signature", right)],
            Ok(Proof::Secret(0)),
        ),
        // Each is a candidate: a gateway may sign twice, with two secrets of which we have one.
        (
            &[("X-Old-Signature", right), ("X-Signature", b"old")],
            Ok(Proof::Secret(0)),
        ),
        (
            &[("X-Old-Signature", b"older"), ("X-Signature", b"old")],
            Err(Refusal::Malformed),
        ),
        (
            &[
                ("X-Old-Signature", right),
                ("X-Signature", right),
                ("X-Old-Signature", right),
            ],
            Err(Refusal::Duplicated),
        ),
    ];
    for (values, expected) in cases {
        assert_eq!(
            outcome(&scheme, &keys, &headers(values), GITHUB_BODY),
            expected,
            "{values:?}"
        );
    }
    assert!(Refusal::Missing.is_missing());
    assert!(!Refusal::Duplicated.is_missing());
}

#[test]
fn base64_has_one_spelling_per_digest() {
    let scheme = scheme("encoding = \"base64\"");
    let keys = keys(&scheme, &["secret"]);
    let signed = sign(&scheme, &keys, b"{}", NOW);
    let value = signed.get("x-signature").unwrap().to_str().unwrap().to_owned();
    let check = |value: &str| outcome(&scheme, &keys, &headers(&[("X-Signature", value.as_bytes())]), "{}");
    assert_eq!(check(&value), Ok(Proof::Secret(0)));
    assert_eq!(check(value.trim_end_matches('=')), Err(Refusal::Malformed));
    assert_eq!(check("AAAA"), Err(Refusal::WrongLength));
    assert_eq!(check(""), Err(Refusal::Malformed));
    let last = value.len() - 2;
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".chars() {
        let changed = format!("{}{letter}=", &value[..last]);
        assert_eq!(check(&changed).is_ok(), changed == value, "{letter}");
    }
}

#[test]
fn a_signed_timestamp_is_a_whole_unix_time_and_nothing_slides_across() {
    let text = "encoding = \"hex\"\ncontent = \"{body}{timestamp}\"\ntimestamp_header = \"X-Timestamp\"";
    let scheme = scheme(text);
    let keys = keys(&scheme, &["secret"]);
    let mut signed = sign(&scheme, &keys, b"{}1", NOW);
    assert_eq!(outcome(&scheme, &keys, &signed, "{}1"), Ok(Proof::Secret(0)));
    for (timestamp, body, refusal) in [
        ("1781274720", "{}2", Refusal::Mismatch),
        ("1781274721", "{}1", Refusal::Mismatch),
        ("11781274720", "{}", Refusal::TimestampMalformed),
        ("781274720", "{}11", Refusal::TimestampMalformed),
        ("178127472x", "{}1", Refusal::TimestampMalformed),
        ("", "{}1", Refusal::TimestampMalformed),
    ] {
        signed.insert("x-timestamp", HeaderValue::from_static(timestamp));
        assert_eq!(outcome(&scheme, &keys, &signed, body), Err(refusal), "{timestamp}");
    }
    signed.insert("x-timestamp", HeaderValue::from_static("1781274720"));
    signed.append("x-timestamp", HeaderValue::from_static("1781274720"));
    assert_eq!(
        outcome(&scheme, &keys, &signed, "{}1"),
        Err(Refusal::TimestampMalformed)
    );
    signed.remove("x-timestamp");
    assert_eq!(outcome(&scheme, &keys, &signed, "{}1"), Err(Refusal::TimestampMissing));
}

/// The example that the libraries of the Standard Webhooks specification share
/// (<https://github.com/standard-webhooks/standard-webhooks>); its ID is plain text to this scheme.
#[test]
fn a_whsec_secret_is_decoded_when_the_scheme_says_so() {
    let text = "prefix = \"v1,\"\nencoding = \"base64\"\nsecret_encoding = \"whsec\"\n\
                content = \"msg_p5jXN8AQM9LWM0D4loKWxJek.{timestamp}.{body}\"\ntimestamp_header = \"webhook-timestamp\"\ntolerance_seconds = 0";
    let scheme = scheme(text);
    let headers = headers(&[
        ("webhook-timestamp", b"1614265330"),
        ("X-Signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]);
    for secret in [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ] {
        let keys = keys(&scheme, &[secret]);
        assert_eq!(
            outcome(&scheme, &keys, &headers, "{\"test\": 2432232314}"),
            Ok(Proof::Secret(0))
        );
    }
}

#[test]
fn secrets_that_cannot_be_used_are_errors_that_do_not_show_them() {
    let hex = scheme("encoding = \"hex\"\nsecret_encoding = \"hex\"");
    let make = |scheme: &Scheme, secrets: &[&str]| {
        let labelled = |secret: &&str| SecretSpec {
            label: "env SECRET".to_owned(),
            secret: SecretString::from(*secret),
            algorithm: None,
        };
        Keys::new(scheme, &secrets.iter().map(labelled).collect::<Vec<_>>()).unwrap_err()
    };
    assert_eq!(make(&plain(), &[]), KeyError::None);
    assert_eq!(make(&plain(), &["good", ""]), KeyError::Empty("env SECRET".into()));
    assert_eq!(make(&plain(), &[" \n"]), KeyError::Empty("env SECRET".into()));
    let error = make(&hex, &["topsecret"]);
    assert_eq!(error.to_string(), "the secret env SECRET is not hexadecimal");
    let shown = format!("{:?}", keys(&plain(), &["topsecret"]));
    assert_eq!(shown, "[\"secret 0\"]");
}

#[test]
fn a_table_that_makes_no_scheme_is_an_error() {
    for (text, part) in [
        ("headers = []", "names no header"),
        ("headers = [\"X Signature\"]", "not a header name"),
        ("headers = [\"X\"]\nprefix = \"a\\nb\"", "`prefix`"),
        ("headers = [\"X\"]\ncontent = \"{timestamp}\"", "{body}"),
        ("headers = [\"X\"]\ncontent = \"{url}\"", "{body}"),
        ("headers = [\"X\"]\ncontent = \"{body}{body}\"", "twice"),
        ("headers = [\"X\"]\ncontent = \"{body}{uri}\"", "{body}"),
        ("headers = [\"X\"]\nissuer = \"me\"", "no meaning"),
        (
            "headers = [\"X\"]\nnonce_header = \"N\"\ncontent = \"{url}\"",
            "covers nothing",
        ),
        ("headers = [\"X\"]\nparam = \"sig\"", "two places"),
        ("headers = [\"X\"]\nseparator = \", \"", "one character"),
        ("headers = [\"X\"]\ntolerance_seconds = 300", "timestamp"),
        ("headers = [\"X\"]\nkind = \"jwt\"", "no meaning"),
        ("headers = [\"X\"]\nkind = \"static\"", "no meaning"),
        ("headers = [\"X\"]\ncontent = \"{body\"", "{body}"),
        ("headers = [\"X\"]\ncontent = \"{body}{timestamp}\"", "timestamp_header"),
        ("headers = [\"X\"]\ntimestamp_header = \"T\"", "timestamp_header"),
        ("headers = [\"X\"]\nsecret = \"oops\"", "unknown field"),
        ("headers = [\"X\"]\nsecret_encoding = \"rot13\"", "unknown variant"),
    ] {
        let table = format!("encoding = \"hex\"\nalgorithm = \"hmac-sha256\"\n{text}");
        let error = toml::from_str::<Scheme>(&table).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn unsigned_and_stored_bodies_say_so_and_show_no_bytes() {
    let body = Bytes::from_static(b"hello");
    let unsigned = VerifiedBody::unsigned(body.clone(), AllowUnsigned::by_the_operator());
    assert_eq!((unsigned.proof(), unsigned.bytes()), (Proof::Unsigned, &body));
    let stored = VerifiedBody::verified_when_stored(body.clone());
    assert_eq!(stored.proof(), Proof::Stored);
    assert_eq!(format!("{stored:?}"), "VerifiedBody { bytes: 5, proof: Stored, .. }");
    assert_eq!(stored.into_bytes(), body);
}
