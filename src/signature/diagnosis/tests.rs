//! Each known mistake, made for real, and the sentence that names it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::{Algorithm, Keys, Outgoing, Received, Scheme, SecretSpec, Signer, sign};
use super::{Case, Change, Finding, Shape, cause, diagnose};

const NOW: i64 = 1_781_274_720;
const URL: &str = "https://sms.example.com/hooks/sms";
const BODY: &str = r#"{"from":"15550001234","text":"say \"hi\""}"#;
const FORM: &str = "From=%2B15550001234&Body=say+hi+%26+bye&AccountSid=AC0";

/// The scheme of a built-in gateway.
fn of_file(text: &str) -> Scheme {
    let file: toml::Table = toml::from_str(text).unwrap();
    file["signature"].clone().try_into().unwrap()
}

macro_rules! gateway {
    ($name:literal) => {
        of_file(include_str!(concat!("../../../gateways/", $name, ".toml")))
    };
}

fn scheme(text: &str) -> Scheme {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn plain() -> Scheme {
    scheme(
        "headers = [\"X-Signature\", \"X-Old-Signature\"]\nalgorithm = \"hmac-sha256\"\nprefix = \"sha256=\"\nencoding = \"hex\"",
    )
}

fn keys(scheme: &Scheme, secrets: &[&str]) -> Keys {
    let labelled = |(place, secret): (usize, &&str)| SecretSpec {
        label: format!("secret {place}"),
        secret: SecretString::from(*secret),
        algorithm: None,
    };
    Keys::new(scheme, &secrets.iter().enumerate().map(labelled).collect::<Vec<_>>()).unwrap()
}

/// A delivery on its way, to be tampered with.
#[derive(Clone)]
struct Delivery(Outgoing);

impl Delivery {
    fn post(body: &str) -> Self {
        Self(Outgoing {
            method: Method::POST,
            url: URL.to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            at: NOW * 1000,
        })
    }

    fn signed(self, scheme: &Scheme, secret: &str) -> Self {
        self.signed_by(scheme, secret, None)
    }

    fn signed_by(mut self, scheme: &Scheme, secret: &str, algorithm: Option<Algorithm>) -> Self {
        let signer = Signer::new(scheme, &SecretString::from(secret), algorithm).unwrap();
        sign(scheme, &signer, &mut self.0);
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.0.body = body.to_vec();
        self
    }

    fn url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.0.url);
        self
    }

    fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.0.query);
        self
    }

    fn get(mut self) -> Self {
        self.0.method = Method::GET;
        self
    }

    fn later(mut self, seconds: i64) -> Self {
        self.0.at += seconds * 1000;
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn also(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// The value of a header, and the delivery without it.
    fn without(mut self, name: &str) -> (String, Self) {
        let value = self.0.headers.remove(name).unwrap();
        (value.to_str().unwrap().to_owned(), self)
    }

    /// The same with what `spell` makes of a header.
    fn respelt(self, name: &'static str, spell: impl Fn(&str) -> String) -> Self {
        let (value, rest) = self.without(name);
        rest.header(name, &spell(&value))
    }

    fn findings(&self, scheme: &Scheme, keys: &Keys, others: &[(&str, &Keys)]) -> Vec<Finding> {
        let body = Bytes::from(self.0.body.clone());
        diagnose(&Case {
            scheme,
            keys,
            others,
            received: Received {
                method: &self.0.method,
                url: &self.0.url,
                query: Some(self.0.query.as_str()).filter(|query| !query.is_empty()),
                headers: &self.0.headers,
                body: &body,
                at: self.0.at,
            },
            budget: 1 << 24,
        })
    }

    /// What is said where `secret` is configured.
    fn cause(&self, scheme: &Scheme, secret: &str) -> String {
        cause(&self.findings(scheme, &keys(scheme, &[secret]), &[]))
    }

    /// Holds where exactly this is said.
    fn says(&self, scheme: &Scheme, secret: &str, sentence: &str) {
        assert_eq!(self.cause(scheme, secret), sentence);
    }

    /// Holds where the secret and this change are named, and nothing else.
    fn needs(&self, scheme: &Scheme, secret: &str, change: &str) {
        self.says(
            scheme,
            secret,
            &format!("the signature would be right with secret 0 and {change}"),
        );
    }
}

// where the signature is

#[test]
fn a_missing_signature_names_what_was_looked_for_and_what_came_instead() {
    let bare = Delivery::post(BODY);
    bare.says(&plain(), "s", "there is no header x-signature or x-old-signature");
    let (value, rest) = bare.signed(&plain(), "s").without("x-signature");
    rest.header("x-hub-signature-256", &value)
        .header("x-request-id", "0123456789abcdef0123456789abcdef")
        .says(
            &plain(),
            "s",
            "there is no header x-signature or x-old-signature; \
         the header x-hub-signature-256 looks like a signature; if the gateway signs there, add it to `headers`; \
         the signature would be right with secret 0 and the signature that is in the header x-hub-signature-256",
        );
    Delivery::post(FORM).says(&gateway!("vonage-sms"), "s", "there is no parameter `sig`");
}

#[test]
fn a_header_that_is_there_twice_says_so() {
    let twice = Delivery::post(BODY)
        .signed(&plain(), "s")
        .also("x-signature", "sha256=00");
    twice.says(
        &plain(),
        "s",
        "the header x-signature is there 2 times; a proxy may have added one; \
         the signature would be right with secret 0 and the signature spelt as the scheme says",
    );
}

#[test]
fn each_wrong_spelling_of_a_signature_is_told_from_the_others() {
    let scheme = plain();
    let right = Delivery::post(BODY).signed(&scheme, "s");
    let spelling = "; the signature would be right with secret 0 and the signature spelt as the scheme says";
    let says = |spell: &dyn Fn(&str) -> String, shape: &str, rest: &str| {
        let sentence = format!("the header x-signature is not as the gateway writes it: {shape}{rest}");
        right
            .clone()
            .respelt("x-signature", spell)
            .says(&scheme, "s", &sentence);
    };
    let unexplained =
        "; no known mistake explains the signature: the gateway has another secret, or the body is not as it was sent";
    let digest = |value: &str| value.replace("sha256=", "");
    let base64 = |value: &str| {
        let bytes = hex::decode(digest(value)).unwrap();
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
    };
    says(&digest, "the prefix is missing or spelt otherwise", spelling);
    says(
        &|value| format!("SHA256={}", digest(value)),
        "the prefix is missing or spelt otherwise",
        spelling,
    );
    says(
        &|value| format!("sha256={}", digest(value).to_uppercase()),
        "its hexadecimal digits are in upper case",
        spelling,
    );
    says(
        &|value| format!("sha256={}", base64(value)),
        "it is not in the encoding that the scheme says",
        spelling,
    );
    says(&|value| format!("\"{value}\""), "it is in quotes", spelling);
    says(&|value| value.replace('=', "= "), "it holds blanks", spelling);
    says(
        &|value| format!("{value},{value}"),
        "it holds a comma, as when a proxy joins two headers",
        spelling,
    );
    says(
        &|_| "sha256=abcd".to_owned(),
        "it has another length than a digest of SHA-256",
        unexplained,
    );
    says(&|_| "sha256=".to_owned(), "it is empty", unexplained);
    says(
        &|_| format!("sha256={}", "0".repeat(40)),
        "it has another length than a digest of SHA-256",
        unexplained,
    );
    let mut beyond = right.clone();
    beyond
        .0
        .headers
        .insert("x-signature", HeaderValue::from_bytes("é".as_bytes()).unwrap());
    beyond.says(
        &scheme,
        "s",
        &format!(
            "the header x-signature is not as the gateway writes it: it holds bytes that are not ASCII{unexplained}"
        ),
    );
}

#[test]
fn lists_and_pairs_and_parameters_have_their_own_mistakes() {
    let list = gateway!("standard-webhooks");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let right = Delivery::post(BODY).header("webhook-id", "msg_1").signed(&list, secret);
    right.says(
        &list,
        secret,
        "the signature is right: it was made with secret 0 over these bytes",
    );
    right
        .clone()
        .respelt("webhook-signature", |value| value.replace("v1,", ""))
        .says(
            &list,
            secret,
            "the header webhook-signature is not as the gateway writes it: the prefix is missing or spelt otherwise; \
         the signature would be right with secret 0 and the signature spelt as the scheme says",
        );
    let (_, rest) = right.without("webhook-id");
    let said = rest.cause(&list, secret);
    assert!(
        said.starts_with("the header webhook-id is not there once; its value belongs to the signature"),
        "{said}"
    );
    let pairs = scheme(
        "headers = [\"X-Sig\"]\nkeys = [\"v1\"]\ntimestamp_key = \"t\"\nalgorithm = \"hmac-sha256\"\nencoding = \"hex\"\ncontent = \"{timestamp}.{body}\"",
    );
    let right = Delivery::post(BODY).signed(&pairs, "s");
    right.says(
        &pairs,
        "s",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    right.respelt("x-sig", |value| value.replace("v1=", "v0=")).says(
        &pairs,
        "s",
        "the header x-sig is not as the gateway writes it: none of the keys that the scheme reads is in it; \
         the signature would be right with secret 0 and the signature spelt as the scheme says",
    );
    let param = gateway!("vonage-sms");
    let right = Delivery::post("msisdn=1&to=2&text=a%26b&messageId=3").signed(&param, "s");
    right.says(
        &param,
        "s",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    let form = String::from_utf8(right.0.body.clone()).unwrap();
    let (rest, sig) = form.split_once("sig=").unwrap();
    let cut = format!("{rest}sig={}", sig.get(..10).unwrap());
    let said = right.clone().body(cut.as_bytes()).cause(&param, "s");
    assert!(
        said.starts_with("the parameter `sig` is not as the gateway writes it: it has another length than"),
        "{said}"
    );
    // a value of it is changed by a proxy
    let changed = form.replace("text=a%26b", "text=a%26c");
    let said = right.body(changed.as_bytes()).cause(&param, "s");
    assert!(said.starts_with("no known mistake explains the signature"), "{said}");
}

#[test]
fn a_second_header_of_the_gateways_that_matches_is_named() {
    // the main account's signature beside that of the subaccount
    let scheme = plain();
    let main = Delivery::post(BODY).signed(&scheme, "main").without("x-signature").0;
    let both = Delivery::post(BODY)
        .signed(&scheme, "sub")
        .header("x-signature-ma", &main);
    both.needs(&scheme, "main", "the signature that is in the header x-signature-ma");
}

// the secret

#[test]
fn what_was_done_to_the_secret_is_named() {
    let bare = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let hex = "00112233445566778899aabbccddeeff";
    let whsec = format!("whsec_{bare}");
    let trimmed = "the secret without the blanks or line end around it (a file or variable ends in a line end)";
    let line_end = "a line end after the secret (the gateway's copy has one)";
    for (signer, configured, change) in [
        ("secret", "secret\n", trimmed),
        ("secret", " secret", trimmed),
        ("secret", "\"secret\"", "the secret without the quotes around it"),
        ("secret\n", "secret", line_end),
        ("secret\r\n", "secret", line_end),
        (
            "secret ",
            "secret",
            "a blank after the secret (the gateway's copy has one)",
        ),
        (bare, &whsec, "the secret without `whsec_`, as text"),
        (&whsec, bare, "`whsec_` in front of the secret, as text"),
    ] {
        Delivery::post(BODY)
            .signed(&plain(), signer)
            .needs(&plain(), configured, change);
    }
    let encoded = |encoding: &str| {
        scheme(&format!(
            "headers = [\"X-Signature\"]\nalgorithm = \"hmac-sha256\"\nprefix = \"sha256=\"\nencoding = \"hex\"\nsecret_encoding = \"{encoding}\""
        ))
    };
    for (signs, verifies, secret) in [
        ("whsec", "utf8", whsec.as_str()),
        ("utf8", "whsec", &whsec),
        ("base64", "utf8", bare),
        ("utf8", "base64", bare),
        ("hex", "utf8", hex),
        ("utf8", "hex", hex),
    ] {
        let change = format!("secret_encoding = \"{signs}\"");
        Delivery::post(BODY)
            .signed(&encoded(signs), secret)
            .needs(&encoded(verifies), secret, &change);
    }
}

#[test]
fn a_retired_secret_and_that_of_another_endpoint_are_named() {
    let scheme = plain();
    let (active, retired, elsewhere) = (
        keys(&scheme, &["new"]),
        keys(&scheme, &["older", "old"]),
        keys(&scheme, &["other"]),
    );
    let others = [
        ("the retired secret", &retired),
        ("the secret of the endpoint other", &elsewhere),
    ];
    let said = |delivery: Delivery| cause(&delivery.findings(&scheme, &active, &others));
    let signed = |secret: &str| Delivery::post(BODY).signed(&scheme, secret);
    assert_eq!(
        said(signed("old")),
        "the signature was made with the retired secret (secret 1)"
    );
    assert_eq!(
        said(signed("other")),
        "the signature was made with the secret of the endpoint other (secret 0)"
    );
    assert_eq!(
        said(signed("old").body(format!("{BODY}\n").as_bytes())),
        "the signature would be right with the retired secret (secret 1) and the body without the blanks or line ends around it"
    );
    // both are active: the second verifies by itself
    let both = keys(&scheme, &["new", "old"]);
    assert_eq!(
        cause(&signed("old").findings(&scheme, &both, &[])),
        "the signature is right: it was made with secret 1 over these bytes"
    );
    // not every secret of a large configuration is tried
    let many: Vec<String> = (0..40).map(|nth| format!("other {nth}")).collect();
    let many = keys(&scheme, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let crowd = [("the secret of the endpoint many", &many)];
    let found = |nth: u32| cause(&signed(&format!("other {nth}")).findings(&scheme, &active, &crowd));
    assert!(found(15).contains("secret 15"), "{}", found(15));
    assert!(found(16).starts_with("no known mistake"), "{}", found(16));
}

// the algorithm

#[test]
fn another_algorithm_is_named() {
    let (sha256, all) = (plain(), Algorithm::ALL);
    for algorithm in all
        .into_iter()
        .filter(|algorithm| !matches!(algorithm, Algorithm::HmacSha256 | Algorithm::Ed25519))
    {
        let said = Delivery::post(BODY)
            .signed_by(&sha256, "s", Some(algorithm))
            .cause(&sha256, "s");
        let change = format!(
            "the signature would be right with secret 0 and algorithm = \"{}\"",
            algorithm.as_str()
        );
        assert!(said.ends_with(&change), "{said}");
    }
    // the example of <https://en.wikipedia.org/wiki/HMAC#Examples>
    let fox = Delivery::post("The quick brown fox jumps over the lazy dog")
        .header("x-signature", "sha1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9");
    fox.says(
        &sha256,
        "key",
        "the header x-signature is not as the gateway writes it: the prefix is missing or spelt otherwise; \
         the signature would be right with secret 0 and algorithm = \"hmac-sha1\"",
    );
    // a secret that is pinned to another algorithm than the one it was used with
    let pinned = Keys::new(
        &sha256,
        &[SecretSpec {
            label: "env SHARED".to_owned(),
            secret: SecretString::from("s"),
            algorithm: Some(Algorithm::HmacSha512),
        }],
    )
    .unwrap();
    let said = cause(
        &Delivery::post(BODY)
            .signed(&sha256, "s")
            .findings(&sha256, &pinned, &[]),
    );
    assert!(
        said.ends_with("right with env SHARED and algorithm = \"hmac-sha256\""),
        "{said}"
    );
    assert!(said.contains("another length than a digest of SHA-512"), "{said}");
}

#[test]
fn a_public_key_verifies_nothing_but_its_own_and_the_order_of_the_pieces_is_named() {
    let telnyx = gateway!("telnyx");
    let seed = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let public = Signer::new(&telnyx, &SecretString::from(seed), None)
        .unwrap()
        .public_key()
        .unwrap();
    let right = Delivery::post(BODY).signed(&telnyx, seed);
    right.says(
        &telnyx,
        &public,
        "the signature is right: it was made with secret 0 over these bytes",
    );
    right.clone().body(format!("{BODY}\n").as_bytes()).needs(
        &telnyx,
        &public,
        "the body without the blanks or line ends around it",
    );
    let dotted = scheme(
        "headers = [\"telnyx-signature-ed25519\"]\nalgorithm = \"ed25519\"\nencoding = \"base64\"\nsecret_encoding = \"base64\"\n\
         content = \"{timestamp}.{body}\"\ntimestamp_header = \"telnyx-timestamp\"",
    );
    Delivery::post(BODY)
        .signed(&dotted, seed)
        .needs(&telnyx, &public, "content = \"{timestamp}.{body}\"");
    right.respelt("telnyx-signature-ed25519", |value| value.get(..80).unwrap().to_owned()).says(
        &telnyx,
        &public,
        "the header telnyx-signature-ed25519 is not as the gateway writes it: it has another length than a signature of Ed25519; \
         no known mistake explains the signature: the gateway has another secret, or the body is not as it was sent",
    );
}

// the body

/// A body that was signed as the one and came as the other: this is what is different.
fn travelled(signed: &str, received: &[u8], change: &str) {
    let delivery = Delivery::post(signed).signed(&plain(), "s").body(received);
    delivery.needs(&plain(), "s", change);
}

#[test]
fn what_was_done_to_the_body_is_named() {
    let compact = BODY;
    let spaced = r#"{"from": "15550001234", "text": "say \"hi\""}"#;
    let indented = "{\n  \"from\": \"15550001234\",\n  \"text\": \"say \\\"hi\\\"\"\n}";
    for (signed, received, change) in [
        (
            compact,
            format!("{compact}\n").as_str(),
            "the body without the blanks or line ends around it",
        ),
        ("{}\n", "{}", "a line end after the body (it was lost on the way)"),
        ("{\r\n}", "{\n}", "CRLF line ends in the body"),
        ("{\n}", "{\r\n}", "LF line ends in the body"),
        ("{}", "\u{FEFF}{}", "the body without its byte order mark"),
        (
            compact,
            indented,
            "the body as compact JSON (something on the way formatted it)",
        ),
        (
            spaced,
            compact,
            "the body as JSON with a blank after each comma and colon (something on the way took them out)",
        ),
        (
            indented,
            compact,
            "the body as indented JSON (something on the way made it compact)",
        ),
        (
            r#"{"a":1,"b":2}"#,
            r#"{"b":2,"a":1}"#,
            "the body as compact JSON with its keys sorted (something on the way wrote them in another order)",
        ),
        (
            r#"{"a":"x/y"}"#,
            r#"{"a":"x\/y"}"#,
            "the body with plain slashes (something on the way escaped them)",
        ),
        (
            r#"{"a":"x\/y"}"#,
            r#"{"a":"x/y"}"#,
            "the body with its slashes escaped (something on the way wrote it again)",
        ),
        (
            r#"{"a":"\u00e9"}"#,
            r#"{"a":"é"}"#,
            "the body with `\\u` escapes (something on the way wrote the characters out)",
        ),
        (
            r#"{"a":"é"}"#,
            r#"{"a":"\u00e9"}"#,
            "the body without its `\\u` escapes (something on the way put them in)",
        ),
        (
            r#"{"a":"é"}"#,
            r#"{"a":"Ã©"}"#,
            "the body before its bytes were taken for Latin-1 and made UTF-8 on the way",
        ),
    ] {
        travelled(signed, received.as_bytes(), change);
    }
}

#[test]
fn a_body_that_was_wrapped_or_turned_into_something_else_is_named() {
    for (signed, received, change) in [
        (
            "a=x+y",
            "a=x%20y",
            "the form encoded otherwise (something on the way decoded and encoded it again)",
        ),
        (
            "a=x+y&b=1",
            r#"{"a":"x y","b":"1"}"#,
            "the body as a form (something on the way made JSON of it)",
        ),
        (
            r#"{"b":"x y","a":"1"}"#,
            "b=x+y&a=1",
            "the body as a JSON object (something on the way made a form of it)",
        ),
        (
            r#"{"a":1}"#,
            "payload=%7B%22a%22%3A1%7D",
            "the text in the form's only field (something on the way wrapped the body)",
        ),
        (
            r#"{"a":1}"#,
            r#"{"body":"{\"a\":1}"}"#,
            "the text inside the body's JSON (something on the way wrapped the body)",
        ),
        (
            "eyJh 1",
            "eyJh%201",
            "the body percent-decoded (something on the way encoded it)",
        ),
        (
            r#"{"a":1}"#,
            "eyJhIjoxfQ==",
            "the body decoded from base64 (something on the way encoded it)",
        ),
        ("", "{}", "an empty body (the body was lost before it was signed)"),
    ] {
        travelled(signed, received.as_bytes(), change);
    }
    let latin = b"{\"a\":\"\xE9\"}";
    travelled(
        r#"{"a":"é"}"#,
        latin,
        "the body in UTF-8 (something on the way made it Latin-1)",
    );
}

#[test]
fn a_body_that_cannot_be_put_back_is_suspected() {
    let unexplained =
        "no known mistake explains the signature: the gateway has another secret, or the body is not as it was sent";
    Delivery::post("{}")
        .signed(&plain(), "other")
        .says(&plain(), "s", unexplained);
    let empty = format!("the body is empty; was it captured?; {unexplained}");
    Delivery::post("{}")
        .signed(&plain(), "s")
        .body(b"")
        .says(&plain(), "s", &empty);
    let zipped = format!("the body is compressed with gzip; the signature may cover what it was before; {unexplained}");
    Delivery::post("{}")
        .signed(&plain(), "s")
        .body(b"\x1f\x8b\x08\0")
        .says(&plain(), "s", &zipped);
    let unzipped = format!(
        "the header content-encoding says gzip, and the body is not compressed: something on the way has undone it, \
         and the signature may cover the compressed bytes; {unexplained}"
    );
    let compressed = Delivery::post("\u{1f}\u{8b}")
        .signed(&plain(), "s")
        .header("content-encoding", "gzip");
    compressed.body(b"{}").says(&plain(), "s", &unzipped);
}

// the time

fn stamped(content: &str, unit: &str) -> Scheme {
    scheme(&format!(
        "headers = [\"X-Signature\"]\nalgorithm = \"hmac-sha256\"\nprefix = \"sha256=\"\nencoding = \"hex\"\n\
         content = \"{content}\"\ntimestamp_header = \"X-Time\"\ntimestamp_unit = \"{unit}\""
    ))
}

#[test]
fn a_clock_that_is_off_says_how_far_and_which_way() {
    let scheme = stamped("{timestamp}.{body}", "auto");
    let right = Delivery::post(BODY).signed(&scheme, "s");
    right.clone().later(372).says(
        &scheme,
        "s",
        "the signature is right, but its time is 372 s before it was received, and 300 s is allowed",
    );
    right.clone().later(-301).says(
        &scheme,
        "s",
        "the signature is right, but its time is 301 s after it was received, and 300 s is allowed",
    );
    right.later(7200).body(format!("{BODY}\n").as_bytes()).says(
        &scheme,
        "s",
        "the signature would be right with secret 0 and the body without the blanks or line ends around it; \
         its time is 7200 s before it was received as well, and 300 s is allowed",
    );
}

#[test]
fn a_timestamp_in_another_unit_or_spelling_says_so() {
    let (seconds, milliseconds) = (stamped("{timestamp}.{body}", "s"), stamped("{timestamp}.{body}", "ms"));
    let apart = "; the signature covers it; ";
    let right = "apart from that the signature is right: it was made with secret 0";
    Delivery::post(BODY).signed(&milliseconds, "s").says(
        &seconds,
        "s",
        &format!("the timestamp header is not a Unix time{apart}the timestamp is in milliseconds, and the scheme says seconds; {right}"),
    );
    Delivery::post(BODY).signed(&seconds, "s").says(
        &milliseconds,
        "s",
        &format!("the timestamp header is not a Unix time{apart}the timestamp is in seconds, and the scheme says milliseconds; {right}"),
    );
    for (value, shape) in [
        ("2026-06-12T14:32:00Z", "a date"),
        ("1781274720.5", "a number with a fraction"),
        ("+1781274720", "a number with a sign"),
        ("1781274720000000", "in microseconds"),
        ("1781274720000000000", "in nanoseconds"),
        ("\"1781274720\"", "in blanks or quotes"),
    ] {
        let said = Delivery::post(BODY)
            .signed(&seconds, "s")
            .header("x-time", value)
            .cause(&seconds, "s");
        let shape = format!("the timestamp is {shape}, not a Unix time of digits only");
        assert!(said.contains(&shape), "{said}");
    }
    let (time, rest) = Delivery::post(BODY).signed(&seconds, "s").without("x-time");
    let missing = "no timestamp header; the signature covers it; ";
    rest.header("x-sent", &time).says(
        &seconds,
        "s",
        &format!("{missing}the signature would be right with secret 0 and the timestamp of the header x-sent"),
    );
    // the signed text is in the other unit than the header
    let (auto, at) = (stamped("{timestamp}.{body}", "auto"), NOW.to_string());
    Delivery::post(BODY)
        .signed(&milliseconds, "s")
        .header("x-time", &at)
        .needs(&auto, "s", "the timestamp in milliseconds");
    Delivery::post(BODY)
        .signed(&auto, "s")
        .header("x-time", &format!("{NOW}000"))
        .needs(&auto, "s", "the timestamp in seconds");
}

#[test]
fn another_order_of_body_and_timestamp_is_named() {
    let contents = [
        "{body}",
        "{body}{timestamp}",
        "{timestamp}.{body}",
        "{body}.{timestamp}",
        "{timestamp}{body}",
        "{timestamp}|{body}",
        "{timestamp}:{body}",
        "v0:{timestamp}:{body}",
    ];
    for signs in contents {
        let signed = match signs {
            "{body}" => Delivery::post(BODY)
                .signed(&plain(), "s")
                .header("x-time", &NOW.to_string()),
            signs => Delivery::post(BODY).signed(&stamped(signs, "auto"), "s"),
        };
        let change = format!("content = \"{signs}\"");
        for verifies in contents
            .into_iter()
            .filter(|verifies| *verifies != signs && *verifies != "{body}")
        {
            signed.needs(&stamped(verifies, "auto"), "s", &change);
        }
        if signs != "{body}" {
            signed.needs(&plain(), "s", &change);
        }
    }
    // the pieces of the gateway's own file, in another order
    let sinch = gateway!("sinch");
    let other = scheme(
        "headers = [\"x-sinch-webhook-signature\"]\nalgorithm = \"hmac-sha256\"\nencoding = \"base64\"\n\
         content = \"{body}.{timestamp}.{header:x-sinch-webhook-signature-nonce}\"\n\
         timestamp_header = \"x-sinch-webhook-signature-timestamp\"\nnonce_header = \"x-sinch-webhook-signature-nonce\"",
    );
    Delivery::post(BODY).signed(&other, "s").needs(
        &sinch,
        "s",
        "content = \"{body}.{timestamp}.{header:x-sinch-webhook-signature-nonce}\"",
    );
}

// the URL

/// A form for Twilio as it calls `url`.
fn called_at(url: &str) -> Delivery {
    Delivery::post(FORM).url(url).signed(&gateway!("twilio"), "token")
}

/// What would have to be different where one URL was called and the other is configured, and this header came.
fn needs_of_url(called: &str, configured: &str, header: Option<(&'static str, &str)>, change: &str) {
    let mut delivery = called_at(called).url(configured);
    if let Some((name, value)) = header {
        delivery = delivery.header(name, value);
    }
    delivery.needs(&gateway!("twilio"), "token", change);
}

#[test]
fn a_wrong_public_url_says_what_is_wrong_about_it() {
    let twilio = gateway!("twilio");
    let named = |header: &str| format!("`public_url` with the host that the header {header} names");
    let signed = called_at;
    signed(URL).says(
        &twilio,
        "token",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    for (called, configured, header, change) in [
        (
            URL,
            "http://sms.example.com/hooks/sms",
            None,
            "`public_url` with https".to_owned(),
        ),
        (
            "http://sms.example.com/hooks/sms",
            URL,
            None,
            "`public_url` with http".to_owned(),
        ),
        (
            "https://sms.example.com/hooks/sms/",
            URL,
            None,
            "`public_url` with a slash at its end".to_owned(),
        ),
        (
            URL,
            "https://sms.example.com/hooks/sms/",
            None,
            "`public_url` without the slash at its end".to_owned(),
        ),
        (
            URL,
            "https://other.example.com/hooks/sms",
            Some(("host", "sms.example.com")),
            named("host"),
        ),
        (
            URL,
            "https://other.example.com/hooks/sms",
            Some(("x-forwarded-host", "sms.example.com")),
            named("x-forwarded-host"),
        ),
    ] {
        needs_of_url(called, configured, header, &change);
    }
    // the usual beginner's: nothing but the local address is known
    let local = signed(URL)
        .url("http://127.0.0.1:8080/hooks/sms")
        .header("host", "sms.example.com");
    local.needs(&twilio, "token", &format!("`public_url` with https; {}", named("host")));
    // with and without the port is taken as it is
    signed("https://sms.example.com:443/hooks/sms").url(URL).says(
        &twilio,
        "token",
        "the signature is right: it was made with secret 0 over these bytes",
    );
}

#[test]
fn what_a_proxy_did_to_the_path_or_the_port_is_named() {
    for (called, configured, header, change) in [
        (
            "https://sms.example.com:8443/hooks/sms",
            URL,
            Some(("x-forwarded-port", "8443")),
            "`public_url` with the port that the header x-forwarded-port names".to_owned(),
        ),
        (
            "https://sms.example.com/gw/hooks/sms",
            URL,
            Some(("x-forwarded-prefix", "/gw")),
            "`public_url` with the path's prefix that the header x-forwarded-prefix names (a proxy takes it off)"
                .to_owned(),
        ),
        (
            "https://sms.example.com/sms",
            URL,
            None,
            "`public_url` without the first part of its path".to_owned(),
        ),
        (
            "https://sms.example.com/twilio-in",
            URL,
            Some(("x-original-uri", "/twilio-in")),
            "`public_url` with the path that the header x-original-uri names".to_owned(),
        ),
    ] {
        needs_of_url(called, configured, header, &change);
    }
}

#[test]
fn a_query_that_was_changed_on_the_way_says_so() {
    let twilio = gateway!("twilio");
    let signed = Delivery::post(FORM).query("b=x%20y&a=1").signed(&twilio, "token");
    signed.clone().query("b=x+y&a=1").needs(
        &twilio,
        "token",
        "the query encoded otherwise (something on the way decoded and encoded it again)",
    );
    signed
        .query("")
        .header("x-original-uri", "/hooks/sms?b=x%20y&a=1")
        .needs(
            &twilio,
            "token",
            "the query that the header x-original-uri names (something on the way took it off)",
        );
    Delivery::post(FORM).signed(&twilio, "token").query("proxied=1").needs(
        &twilio,
        "token",
        "the URL without its query (something on the way added it)",
    );
    Delivery::post(FORM)
        .query("a=1&b=2")
        .signed(&twilio, "token")
        .query("b=2&a=1")
        .needs(
            &twilio,
            "token",
            "the query with its parameters sorted (something on the way wrote them in another order)",
        );
}

#[test]
fn a_signed_form_has_mistakes_of_its_own() {
    let twilio = gateway!("twilio");
    let signed = Delivery::post(FORM).signed(&twilio, "token");
    let as_json = json!({ "From": "+15550001234", "Body": "say hi & bye", "AccountSid": "AC0" }).to_string();
    signed.clone().body(as_json.as_bytes()).needs(
        &twilio,
        "token",
        "the body as a form (something on the way made JSON of it)",
    );
    // a body of JSON that is signed by its hash in the URL, and changed on the way
    let hashed = Delivery::post(r#"{"a":1}"#).signed(&twilio, "token");
    assert!(hashed.0.query.starts_with("bodySHA256="), "{}", hashed.0.query);
    hashed.clone().body(b"{\"a\": 1}").says(
        &twilio,
        "token",
        "the parameter `bodySHA256` is the hash of another body; \
         it would be right with the body as compact JSON (something on the way formatted it); \
         apart from that the signature is right: it was made with secret 0",
    );
    hashed.body(b"{\"b\":1}").says(
        &twilio,
        "token",
        "the parameter `bodySHA256` is the hash of another body; \
         apart from that the signature is right: it was made with secret 0",
    );
    // which account's token?
    signed.says(
        &twilio,
        "the token of the main account",
        "no known mistake explains the signature: the gateway has another secret, calls another URL, or the delivery is not as it was sent; \
         the delivery names an account in `AccountSid`: a main account and each of its subaccounts sign with secrets of their own",
    );
    let said = signed.url("").cause(&twilio, "token");
    assert!(
        said.starts_with("the signature covers the URL that the gateway calls, and nobody said what that is"),
        "{said}"
    );
}

#[test]
fn a_get_is_explained_by_its_query() {
    let twilio = gateway!("twilio");
    let signed = Delivery::post("")
        .get()
        .query("From=%2B1&Body=hi")
        .signed(&twilio, "token");
    signed.says(
        &twilio,
        "token",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    signed
        .url("http://sms.example.com/hooks/sms")
        .needs(&twilio, "token", "`public_url` with https");
}

#[test]
fn a_signature_that_covers_only_the_url_and_a_nonce_names_both() {
    let plivo = gateway!("plivo");
    let signed = Delivery::post("From=1&Text=hi").signed(&plivo, "token");
    signed.says(
        &plivo,
        "token",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    signed
        .clone()
        .url("http://sms.example.com/hooks/sms")
        .needs(&plivo, "token", "`public_url` with https");
    let (_, rest) = signed.without("x-plivo-signature-v2-nonce");
    let said = rest.cause(&plivo, "token");
    assert!(
        said.starts_with("the header x-plivo-signature-v2-nonce is not there once; its value belongs"),
        "{said}"
    );
}

// tokens

fn claims_of(delivery: &Delivery, header: &str) -> Value {
    let value = delivery.0.headers[header].to_str().unwrap();
    let claims = value.split('.').nth(1).unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// A token of these claims, made here.
fn token(alg: &str, claims: &Value, secret: &str) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let encode = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
    let head = json!({ "typ": "JWT", "alg": alg }).to_string();
    let signed = format!("{}.{}", encode(head.as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = match alg {
        "HS512" => {
            let mut mac = hmac::Hmac::<sha2::Sha512>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            encode(&mac.finalize().into_bytes())
        }
        "HS256" => {
            let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            encode(&mac.finalize().into_bytes())
        }
        _ => String::new(),
    };
    format!("{signed}.{signature}")
}

#[test]
fn a_token_says_what_is_wrong_with_its_spelling_and_its_algorithm() {
    let httpsms = gateway!("httpsms");
    let right = Delivery::post(BODY).signed(&httpsms, "key");
    right.says(
        &httpsms,
        "key",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    let claims = claims_of(&right, "authorization");
    let says = |value: &str, sentence: &str| {
        right
            .clone()
            .header("authorization", value)
            .says(&httpsms, "key", sentence);
    };
    let bare = token("HS256", &claims, "key");
    let malformed = |shape: &str| format!("the header authorization is not as the gateway writes it: {shape}");
    says(&bare, &malformed("the prefix is missing or spelt otherwise"));
    says(
        &format!("bearer {bare}"),
        &malformed("the prefix is missing or spelt otherwise"),
    );
    says(&format!("Bearer \"{bare}\""), &malformed("it is in quotes"));
    says(&format!("Bearer  {bare}"), &malformed("it holds blanks"));
    says("Bearer opaque", &malformed("it is no JSON Web Token"));
    says(
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30=.x",
        &malformed("it is no JSON Web Token"),
    );
    let expected = "the token is signed with HS512, and HS256 is expected";
    says(&format!("Bearer {}", token("HS512", &claims, "key")), expected);
    let unsigned = "the token is not signed (its `alg` is `none`)";
    says(&format!("Bearer {}", token("none", &claims, "key")), unsigned);
    let unknown = "the token says an algorithm in `alg` that is not taken: HS256, HS384 and HS512 are";
    says(&format!("Bearer {}", token("RS256", &claims, "key")), unknown);
    says(
        &format!("Bearer {}", token("HS256", &claims, "another")),
        "no known mistake explains the token: the gateway has another secret",
    );
    says(
        &format!("Bearer {}", token("HS256", &claims, "key\n")),
        "the signature would be right with secret 0 and a line end after the secret (the gateway's copy has one)",
    );
    let (value, rest) = right.clone().without("authorization");
    rest.clone().says(&httpsms, "key", "there is no header authorization");
    rest.header("x-token", &value).says(
        &httpsms,
        "key",
        "there is no header authorization; the header x-token looks like a signature; if the gateway signs there, add it to `headers`",
    );
    right.also("authorization", "Basic x").says(
        &httpsms,
        "key",
        "the header authorization is there 2 times; a proxy may have added one",
    );
}

#[test]
fn a_token_says_which_of_its_claims_does_not_hold() {
    let (httpsms, vonage, bird) = (
        gateway!("httpsms"),
        gateway!("vonage-messages"),
        gateway!("messagebird"),
    );
    let right = "the token's signature is right, but ";
    let says = |delivery: Delivery, scheme: &Scheme, sentence: &str| {
        delivery.says(scheme, "key", &format!("{right}{sentence}"));
    };
    let signed = |scheme: &Scheme| Delivery::post(BODY).signed(scheme, "key");
    says(
        signed(&httpsms).later(700),
        &httpsms,
        "it expired 100 s before it was received",
    );
    says(
        signed(&httpsms).later(-700),
        &httpsms,
        "it is not valid for another 100 s",
    );
    says(
        signed(&vonage).later(400),
        &vonage,
        "it was issued 400 s before it was received, and 300 s is allowed",
    );
    says(
        signed(&httpsms).url("http://sms.example.com/hooks/sms"),
        &httpsms,
        "its audience (`aud`) is not the endpoint's `public_url`; it would be right with `public_url` with https",
    );
    says(
        signed(&httpsms).url("https://elsewhere.example/x"),
        &httpsms,
        "its audience (`aud`) is not the endpoint's `public_url`",
    );
    let body_claim = "its claim `payload_hash` is the hash of another body";
    says(
        signed(&vonage).body(format!("{BODY}\n").as_bytes()),
        &vonage,
        &format!("{body_claim}; it would be right with the body without the blanks or line ends around it"),
    );
    says(signed(&vonage).body(b"{}"), &vonage, body_claim);
    says(
        signed(&vonage).body(b""),
        &vonage,
        "its claim `payload_hash` is there without a body, or a body without it",
    );
    says(
        signed(&bird).url("http://sms.example.com/hooks/sms"),
        &bird,
        "its claim `url_hash` is the hash of another URL than `public_url`; it would be right with `public_url` with https",
    );
    let mut claims = claims_of(&signed(&httpsms), "authorization");
    claims["iss"] = json!("somebody else");
    let other =
        |claims: &Value| signed(&httpsms).header("authorization", &format!("Bearer {}", token("HS256", claims, "key")));
    says(other(&claims), &httpsms, "its issuer (`iss`) is not the one expected");
    claims.as_object_mut().unwrap().remove("exp");
    says(other(&claims), &httpsms, "it has no claim `exp`");
}

#[test]
fn a_token_made_with_a_retired_secret_is_recognised() {
    let scheme = gateway!("httpsms");
    let old = keys(&scheme, &["old"]);
    let signed = Delivery::post(BODY).signed(&scheme, "old");
    let found = signed.findings(&scheme, &keys(&scheme, &["new"]), &[("the retired secret", &old)]);
    assert_eq!(
        cause(&found),
        "the signature was made with the retired secret (secret 0)"
    );
}

// secrets that are sent as they are

#[test]
fn a_secret_in_a_header_says_how_it_is_spelt_wrongly() {
    let bearer = scheme("kind = \"static\"\nheaders = [\"Authorization\"]\nprefix = \"Bearer \"");
    let right = Delivery::post(BODY).signed(&bearer, "Token/1+2");
    right.says(
        &bearer,
        "Token/1+2",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    let spelt = |value: &str, shape: &str| {
        let sentence = format!("the secret in it is right, but {shape}");
        right
            .clone()
            .header("authorization", value)
            .says(&bearer, "Token/1+2", &sentence);
    };
    spelt("Token/1+2", "the prefix is missing or spelt otherwise");
    spelt("bearer Token/1+2", "the prefix is missing or spelt otherwise");
    spelt("BearerToken/1+2", "the prefix is missing or spelt otherwise");
    spelt("Bearer  Token/1+2", "there are blanks or line ends around it");
    spelt("Bearer \"Token/1+2\"", "it is in quotes");
    spelt("Bearer Token%2F1%2B2", "it is percent-encoded");
    spelt("Bearer token/1+2", "its letters are in another case");
    spelt("Bearer VG9rZW4vMSsy", "it is not in the encoding that the scheme says");
    right.says(
        &bearer,
        "Token/1+2\n",
        "the secret in it is right, but the configured one has blanks, a line end or quotes around it",
    );
    right.says(&bearer, "another", "it holds another secret");
    right
        .clone()
        .without("authorization")
        .1
        .says(&bearer, "x", "there is no header authorization");
    right.clone().also("authorization", "x").says(
        &bearer,
        "x",
        "the header authorization is there 2 times; a proxy may have added one",
    );
    let old = keys(&bearer, &["Token/1+2"]);
    let found = right.findings(&bearer, &keys(&bearer, &["new"]), &[("the retired secret", &old)]);
    assert_eq!(
        cause(&found),
        "the signature was made with the retired secret (secret 0)"
    );
}

#[test]
fn a_user_and_a_password_are_told_apart() {
    let basic = gateway!("bandwidth");
    let right = Delivery::post("[]").signed(&basic, "user:password");
    right.says(
        &basic,
        "user:password",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    right.says(
        &basic,
        "user:other",
        "the user name in it is right, but the password is another",
    );
    right.says(
        &basic,
        "other:password",
        "the password in it is right, but the user name is another",
    );
    right.clone().header("authorization", "Basic user:password").says(
        &basic,
        "user:password",
        "the secret in it is right, but it is not in the encoding that the scheme says",
    );
}

#[test]
fn a_token_in_the_query_says_how_it_is_spelt_wrongly() {
    let query = scheme("kind = \"static\"\nparam = \"token\"");
    let right = Delivery::post(BODY).signed(&query, "a+b");
    right.says(
        &query,
        "a+b",
        "the signature is right: it was made with secret 0 over these bytes",
    );
    let plus = "the secret in it is right, but a `+` in it came as a blank (in a query it has to be written %2B)";
    right.clone().query("token=a+b").says(&query, "a+b", plus);
    right
        .clone()
        .query("token=a%252Bb")
        .says(&query, "a+b", "the secret in it is right, but it is percent-encoded");
    right
        .clone()
        .query("")
        .says(&query, "a+b", "there is no parameter `token`");
    right
        .query("token=a&token=b")
        .says(&query, "a+b", "more than one signature header");
}

// what must not be said, and how long it may take

#[test]
fn no_finding_shows_a_secret_a_digest_or_what_was_sent() {
    let scheme = gateway!("twilio");
    let delivery = Delivery::post(FORM)
        .query("private=query")
        .signed(&scheme, "topsecret\n")
        .url("http://127.0.0.1/hooks/sms")
        .header("host", "sms.example.com")
        .header("x-forwarded-prefix", "/private-prefix")
        .header("x-other", &"ab".repeat(32));
    let signature = delivery.0.headers["x-twilio-signature"].to_str().unwrap().to_owned();
    let retired = keys(&scheme, &["retired-secret"]);
    let findings = delivery.findings(
        &scheme,
        &keys(&scheme, &["topsecret"]),
        &[("the retired secret", &retired)],
    );
    let shown = format!("{findings:?} {}", cause(&findings));
    assert!(shown.contains("a line end after the secret"), "{shown}");
    for private in [
        "topsecret",
        "retired-secret",
        &signature,
        "private",
        "15550001234",
        "say",
        "sms.example.com",
        "abab",
        "AC0",
    ] {
        assert!(!shown.contains(private), "{private}: {shown}");
    }
}

#[test]
fn the_budget_ends_the_search_and_it_is_said() {
    let scheme = plain();
    let signed = Delivery::post(BODY).signed(&scheme, "other");
    let body = Bytes::from(signed.0.body.clone());
    let keys = keys(&scheme, &["s"]);
    let found = |budget| {
        diagnose(&Case {
            scheme: &scheme,
            keys: &keys,
            others: &[],
            received: Received {
                method: &Method::POST,
                url: URL,
                query: None,
                headers: &signed.0.headers,
                body: &body,
                at: NOW * 1000,
            },
            budget,
        })
    };
    assert_eq!(found(10_000), [Finding::Exhausted, Finding::Unexplained]);
    assert_eq!(found(1 << 24), [Finding::Unexplained]);
}

#[test]
fn whatever_a_stranger_sends_is_explained_without_a_panic() {
    let schemes = [
        plain(),
        gateway!("twilio"),
        gateway!("telnyx"),
        gateway!("httpsms"),
        gateway!("vonage-sms"),
        gateway!("standard-webhooks"),
        gateway!("bandwidth"),
    ];
    let values = [
        "",
        "=",
        "sha256=",
        "v1,",
        "Bearer ",
        "Basic ",
        "eyJ.eyJ.",
        "eyJ..",
        "t=,v1=",
        "é",
        ",,,",
        "%",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ];
    for scheme in &schemes {
        let secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        for value in values {
            let mut delivery = Delivery::post("{").query("%&=&a");
            for name in scheme.all_headers() {
                delivery
                    .0
                    .headers
                    .insert(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            for name in ["host", "forwarded", "x-forwarded-prefix", "x-original-url"] {
                let name = HeaderName::from_static(name);
                delivery
                    .0
                    .headers
                    .insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            for body in [&b""[..], b"{", b"\xff", b"a=%e&sig=", b"{\"sig\":1}"] {
                let said = delivery.clone().body(body).cause(scheme, secret);
                assert!(!said.is_empty());
            }
        }
    }
}

#[test]
fn a_change_and_a_shape_read_as_sentences() {
    assert_eq!(Change::ContentBody.to_string(), "content = \"{body}\"");
    assert_eq!(
        Shape::Length(Algorithm::HmacMd5).to_string(),
        "it has another length than a digest of MD5"
    );
}
