//! Published vectors, hostile headers, and what the diagnosis says about each known mistake.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;

use super::diagnosis::{Case, Change, Finding, Shape};
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

fn verify(scheme: &Scheme, keys: &Keys, headers: &HeaderMap, body: Bytes) -> Result<VerifiedBody, Refusal> {
    super::verify(scheme, keys, &received(headers, &body))
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

fn diagnose(scheme: &Scheme, keys: &Keys, headers: &HeaderMap, body: &[u8]) -> Vec<Finding> {
    super::diagnosis::diagnose(&Case {
        scheme,
        keys,
        others: &[],
        received: received(headers, &Bytes::copy_from_slice(body)),
        budget: 1 << 24,
    })
}

fn outcome(scheme: &Scheme, keys: &Keys, headers: &HeaderMap, body: &str) -> Result<Proof, Refusal> {
    verify(scheme, keys, headers, Bytes::copy_from_slice(body.as_bytes())).map(|body| body.proof())
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
        let verified = verify(&scheme, &keys(&scheme, &[key]), &headers, Bytes::copy_from_slice(data));
        assert_eq!(verified.unwrap().bytes(), data);
    }
}

#[test]
fn no_changed_bit_of_body_or_signature_verifies() {
    let body = include_bytes!("../../gateways/mobile-api-connect.sample.json");
    let scheme = plain();
    let keys = keys(&scheme, &["whsec_one", "whsec_two"]);
    let signed = sign(&scheme, &keys, body, NOW);
    let is_verified =
        |headers: &HeaderMap, body: &[u8]| verify(&scheme, &keys, headers, Bytes::copy_from_slice(body)).is_ok();
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

/// What the diagnosis says of a delivery that `signer` signed as `sent`, received as `received` with `secret` configured.
fn explained(signer: &str, sent: &str, secret: &str, received: &str) -> Vec<Finding> {
    let scheme = plain();
    let headers = sign(&scheme, &keys(&scheme, &[signer]), sent.as_bytes(), NOW);
    diagnose(&scheme, &keys(&scheme, &[secret]), &headers, received.as_bytes())
}

fn would_match(changes: &[Change]) -> Vec<Finding> {
    vec![Finding::WouldMatch {
        secret: "secret 0".into(),
        changes: changes.to_vec(),
    }]
}

#[test]
fn the_diagnosis_names_what_was_done_to_the_secret() {
    let decoded = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (signer, configured, change) in [
        ("secret", "secret\n", Change::SecretTrimmed),
        ("secret", " secret", Change::SecretTrimmed),
        ("secret", "\"secret\"", Change::SecretUnquoted),
        ("secret\n", "secret", Change::SecretLineEnd),
        ("secret\r\n", "secret", Change::SecretLineEnd),
        ("secret ", "secret", Change::SecretBlank),
        (decoded, &format!("whsec_{decoded}"), Change::SecretWithoutPrefix),
        (&format!("whsec_{decoded}"), decoded, Change::SecretWithPrefix),
    ] {
        assert_eq!(
            explained(signer, "{}", configured, "{}"),
            would_match(&[change]),
            "{configured:?}"
        );
    }
    let whsec = scheme("prefix = \"sha256=\"\nencoding = \"hex\"\nsecret_encoding = \"whsec\"");
    let secret = format!("whsec_{decoded}");
    let signed = sign(&whsec, &keys(&whsec, &[&secret]), b"{}", NOW);
    let found = diagnose(&plain(), &keys(&plain(), &[&secret]), &signed, b"{}");
    assert_eq!(found, would_match(&[Change::SecretWhsec]));
}

#[test]
fn the_diagnosis_names_what_was_done_to_the_body() {
    for (signed, received, change) in [
        ("{}", "{}\n", Change::BodyTrimmed),
        ("{}\n", "{}", Change::BodyLineEnd),
        ("{\r\n}", "{\n}", Change::BodyCrlf),
        ("{\n}", "{\r\n}", Change::BodyLf),
        ("{}", "\u{FEFF}{}", Change::BodyWithoutBom),
        (
            r#"{"b":"x \" y","a":1}"#,
            "{\n  \"b\": \"x \\\" y\",\n  \"a\": 1\n}",
            Change::BodyCompact,
        ),
        (r#"{"a":"x/y"}"#, r#"{"a":"x\/y"}"#, Change::BodySlashes),
        ("", "{}", Change::BodyEmpty),
    ] {
        assert_eq!(
            explained("secret", signed, "secret", received),
            would_match(&[change]),
            "{received:?}"
        );
    }
    assert_eq!(explained("other", "{}", "secret", "{}"), [Finding::Unexplained]);
    assert_eq!(
        explained("secret", "{}", "secret", ""),
        [Finding::EmptyBody, Finding::Unexplained]
    );
    assert_eq!(
        explained("secret", "{}", "secret", "{}"),
        [Finding::Verifies {
            secret: "secret 0".into()
        }]
    );
}

#[test]
fn the_diagnosis_names_another_header_and_another_spelling() {
    let scheme = plain();
    let keys = keys(&scheme, &[GITHUB_SECRET]);
    let found = |values: &[(&str, &[u8])]| diagnose(&scheme, &keys, &headers(values), GITHUB_BODY.as_bytes());
    let missing = Finding::HeaderMissing {
        expected: "x-signature or x-old-signature".into(),
    };
    let malformed = |shape| Finding::Malformed {
        header: HeaderName::from_static("x-signature"),
        shape,
    };
    let spelling = would_match(&[Change::Spelling]).remove(0);
    let right = GITHUB_SIGNATURE.as_bytes();
    assert_eq!(found(&[])[..], *std::slice::from_ref(&missing));
    let elsewhere = Finding::HeaderElsewhere {
        header: HeaderName::from_static("x-hub-signature-256"),
    };
    assert_eq!(
        found(&[("x-hub-signature-256", right), ("date", b"now")]),
        [missing, elsewhere, spelling.clone()]
    );
    let repeated = Finding::HeaderRepeated {
        header: HeaderName::from_static("x-signature"),
        count: 2,
    };
    assert_eq!(
        found(&[("x-signature", right), ("x-signature", b"?")]),
        [repeated, spelling.clone()]
    );
    let digest = GITHUB_SIGNATURE.strip_prefix("sha256=").unwrap();
    let spelt: [(String, Shape); 6] = [
        (digest.to_owned(), Shape::Prefix),
        (format!("sha256={}", digest.to_uppercase()), Shape::UpperCase),
        (
            "sha256=dXEH6g6yUJ/CESIczphLijdXC211hsIsRvQ3nIsEPhc=".into(),
            Shape::OtherEncoding,
        ),
        (format!("\"{GITHUB_SIGNATURE}\""), Shape::Quoted),
        (format!("sha256= {digest}"), Shape::Blank),
        (format!("{GITHUB_SIGNATURE},"), Shape::Joined),
    ];
    for (value, shape) in spelt {
        assert_eq!(
            found(&[("x-signature", value.as_bytes())]),
            [malformed(shape), spelling.clone()],
            "{value}"
        );
    }
    assert_eq!(
        found(&[("x-signature", b"sha256=")]),
        [malformed(Shape::Empty), Finding::Unexplained]
    );
    assert_eq!(
        found(&[("x-signature", "é".as_bytes())]),
        [malformed(Shape::NotAscii), Finding::Unexplained]
    );
    assert_eq!(
        found(&[("x-signature", b"sha256=abcd")]),
        [malformed(Shape::Length), Finding::Unexplained]
    );
}

#[test]
fn the_diagnosis_names_another_algorithm_and_another_content() {
    let scheme = plain();
    let keys = keys(&scheme, &["key"]);
    // HMAC-SHA1 of this sentence with the key "key": https://en.wikipedia.org/wiki/HMAC#Examples
    let body = b"The quick brown fox jumps over the lazy dog";
    let found = diagnose(
        &scheme,
        &keys,
        &headers(&[("X-Signature", b"sha1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9")]),
        body,
    );
    assert!(found.contains(&would_match(&[Change::Sha1]).remove(0)), "{found:?}");
    let stamped = self::scheme(
        "prefix = \"sha256=\"\nencoding = \"hex\"\ncontent = \"{timestamp}.{body}\"\ntimestamp_header = \"X-Time\"",
    );
    let signed = sign(&stamped, &keys, b"{}", NOW);
    assert_eq!(
        diagnose(&scheme, &keys, &signed, b"{}"),
        would_match(&[Change::ContentTimestampBody])
    );
    let unstamped = sign(&scheme, &keys, b"{}", NOW);
    let found = diagnose(&stamped, &keys, &unstamped, b"{}");
    assert_eq!(found[0], Finding::Timestamp(Refusal::TimestampMissing));
    assert_eq!(found[1..], would_match(&[Change::ContentBody]));
    let wrong = diagnose(&stamped, &self::keys(&stamped, &["other"]), &signed, b"{}");
    assert_eq!(wrong, [Finding::Unexplained]);
}

#[test]
fn the_diagnosis_shows_neither_secret_nor_digest() {
    let findings = explained("topsecret\n", "{ }", "topsecret", "{ }\n");
    let right = sign(&plain(), &keys(&plain(), &["topsecret"]), b"{ }\n", NOW);
    let right = right
        .get("x-signature")
        .unwrap()
        .to_str()
        .unwrap()
        .split_once('=')
        .unwrap()
        .1
        .to_owned();
    let shown = format!(
        "{findings:?} {:?}",
        findings.iter().map(Finding::to_string).collect::<Vec<_>>()
    );
    assert!(!shown.contains("topsecret") && !shown.contains(&right), "{shown}");
    assert!(shown.contains("secret 0"), "{shown}");
}
