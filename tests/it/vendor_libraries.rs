//! The signature room against the vendors' own libraries: the deliveries in `tests/data/signatures`, which those libraries
//! made and judged (`tests/vendor_libraries`), and, with `SMSHOOK_TEST_VENDOR_LIBRARIES=1`, what we sign, which the libraries
//! then judge.
//!
//! A vector that seems wrong is never changed here: the script makes them, and only what the libraries say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smshook::gateway::{self, Gateway};
use smshook::signature::{
    self, Algorithm, Keys, Outgoing, Received, Refusal, Scheme, SecretSpec, Signer, VerifiedBody,
};

use crate::helpers::smshook;

/// How many vectors of a gateway there are at least: valid ones, invalid ones. A file that lost some is a check that lost
/// its teeth.
const LEAST: [(&str, usize, usize); 17] = [
    ("bandwidth", 3, 10),
    ("bird", 5, 18),
    ("clicksend", 6, 9),
    ("generic", 40, 130),
    ("httpsms", 7, 29),
    ("infobip", 3, 10),
    ("messagebird", 30, 49),
    ("mobile-api-connect", 10, 13),
    ("plivo", 8, 21),
    ("sinch", 6, 16),
    ("smsgate", 4, 17),
    ("standard-webhooks", 14, 33),
    ("telnyx", 5, 21),
    ("textbee", 5, 11),
    ("twilio", 26, 47),
    ("vonage-messages", 5, 29),
    ("vonage-sms", 35, 126),
];

/// Holds the secret of what `smshook send` signs.
const SECRET_VARIABLE: &str = "SMSHOOK_TEST_VENDOR_SECRET";

/// The seed of the private key that the vectors' first Ed25519 key belongs to: 0, 1, 2 … 31.
fn seed() -> String {
    STANDARD.encode(std::array::from_fn::<u8, 32, _>(|place| u8::try_from(place).unwrap()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    made_with: Vec<String>,
    vectors: Vec<Vector>,
}

/// A delivery, what it is checked with, and what must come of it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing)]
    like: Option<toml::Table>,
    method: String,
    url: String,
    query: Option<String>,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    secret: String,
    algorithm: Option<String>,
    at: i64,
    valid: bool,
    #[serde(skip_serializing)]
    #[expect(dead_code, reason = "for people")]
    note: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signatures")
}

/// Every fixture by the name of its gateway.
fn fixtures() -> BTreeMap<String, Fixture> {
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let fixture = serde_json::from_str(&std::fs::read_to_string(&path).unwrap());
        let fixture: Fixture = fixture.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!fixture.made_with.is_empty(), "{name} does not say what made it");
        (name, fixture)
    };
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .map(read)
        .collect()
}

fn preset(name: &str) -> Gateway {
    let text = gateway::builtin(name).unwrap_or_else(|| panic!("{name} is no built-in gateway"));
    Gateway::from_toml(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Vector {
    /// How its gateway signs: as the preset says, or as one of a user's own that is like the generic one.
    fn scheme(&self) -> Scheme {
        let Some(own) = &self.like else {
            return preset(self.gateway.as_deref().unwrap()).signature;
        };
        let generic = toml::from_str(gateway::builtin("generic").unwrap()).unwrap();
        let text = toml::to_string(&gateway::merged(&generic, own)).unwrap();
        let gateway = Gateway::from_toml(&text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        gateway.signature
    }

    fn algorithm(&self) -> Option<Algorithm> {
        let known = |name: &String| name.parse().unwrap_or_else(|()| panic!("{name} is no algorithm"));
        self.algorithm.as_ref().map(known)
    }

    fn keys(&self, scheme: &Scheme) -> Keys {
        let spec = |label: &str, secret: String| SecretSpec {
            label: label.to_owned(),
            secret: SecretString::from(secret),
            algorithm: self.algorithm(),
        };
        Keys::new(scheme, &[spec("the vector's", self.secret.clone())])
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn body(&self) -> Bytes {
        match (&self.body, &self.body_base64) {
            (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
            (None, Some(text)) => STANDARD.decode(text).unwrap().into(),
            _ => panic!("{}: one of body and body_base64", self.name),
        }
    }

    fn headers(&self) -> HeaderMap {
        let header = |(name, value): (&String, &String)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        self.headers.iter().map(header).collect()
    }

    fn verify_with(&self, scheme: &Scheme) -> Result<VerifiedBody, Refusal> {
        let received = Received {
            method: &self.method.parse().unwrap(),
            url: &self.url,
            query: self.query.as_deref(),
            headers: &self.headers(),
            body: &self.body(),
            at: self.at * 1000,
        };
        signature::verify(scheme, &self.keys(scheme), &received)
    }

    fn verify(&self) -> Result<VerifiedBody, Refusal> {
        self.verify_with(&self.scheme())
    }

    fn with_another_secret(&self) -> Self {
        Self {
            secret: STANDARD.encode([7; 32]),
            ..self.clone()
        }
    }

    /// The same delivery, signed by us. Nothing of the first signature is left in it.
    fn signed_by_us(&self, scheme: &Scheme) -> Self {
        let is_ed25519 = scheme.algorithm() == Algorithm::Ed25519;
        let secret = if is_ed25519 { seed() } else { self.secret.clone() };
        let signer = Signer::new(scheme, &SecretString::from(secret.clone()), self.algorithm()).unwrap();
        let mut headers = self.headers();
        for name in scheme.all_headers() {
            headers.remove(name);
        }
        let mut outgoing = Outgoing {
            method: self.method.parse().unwrap(),
            url: self.url.clone(),
            query: self.query.clone().unwrap_or_default(),
            headers,
            body: self.body().to_vec(),
            at: self.at * 1000,
        };
        signature::sign(scheme, &signer, &mut outgoing);
        let text = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
        Self {
            query: Some(outgoing.query).filter(|query| !query.is_empty()),
            headers: outgoing.headers.iter().map(text).collect(),
            body: None,
            body_base64: Some(STANDARD.encode(&outgoing.body)),
            secret,
            ..self.clone()
        }
    }
}

/// The vectors of presets, which the libraries can judge by the preset's name.
fn valid_of_presets() -> impl Iterator<Item = Vector> {
    let vectors = fixtures().into_values().flat_map(|fixture| fixture.vectors);
    vectors.filter(|vector| vector.valid && vector.gateway.is_some())
}

#[test]
fn every_delivery_is_judged_as_the_vendors_libraries_judge_it() {
    let mut wrong = Vec::new();
    for (file, fixture) in fixtures() {
        for vector in fixture.vectors {
            match (vector.verify(), vector.valid) {
                (Ok(_), true) | (Err(_), false) => {}
                (Ok(_), false) => wrong.push(format!("{file}: accepted: {}", vector.name)),
                (Err(refusal), true) => wrong.push(format!("{file}: refused ({refusal}): {}", vector.name)),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} verdicts differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn no_gateway_is_left_out_and_no_file_has_lost_vectors() {
    let fixtures = fixtures();
    let files: Vec<_> = fixtures.keys().map(String::as_str).collect();
    assert_eq!(files, LEAST.map(|(gateway, ..)| gateway));
    let mut builtin: Vec<_> = gateway::builtin_names().collect();
    builtin.sort_unstable();
    assert_eq!(
        files, builtin,
        "a gateway without vectors, or vectors without a gateway"
    );
    for (gateway, valid, invalid) in LEAST {
        let vectors = &fixtures[gateway].vectors;
        let good = vectors.iter().filter(|vector| vector.valid).count();
        assert!(good >= valid, "{gateway} has {good} valid vectors");
        let bad = vectors.len() - good;
        assert!(bad >= invalid, "{gateway} has {bad} invalid vectors");
        let of_another = |vector: &&Vector| vector.gateway.as_deref().unwrap_or("generic") != gateway;
        assert_eq!(
            vectors.iter().filter(of_another).count(),
            0,
            "{gateway}.json is of its gateway"
        );
    }
}

#[test]
fn a_signature_that_does_not_bind_the_payload_is_good_for_one_payload_only() {
    for (gateway, one, other) in [
        (
            "httpsms",
            "a text",
            "another text with the same token: nothing binds the body",
        ),
        (
            "plivo",
            "a text signed with the account's token",
            "another text with the same nonce: nothing binds the body",
        ),
    ] {
        let vectors = fixtures().remove(gateway).unwrap().vectors;
        let nonce = |name: &str| {
            let vector = vectors.iter().find(|vector| vector.name == name).unwrap();
            *vector.verify().unwrap().nonce().unwrap()
        };
        let (one, other) = (nonce(one), nonce(other));
        assert_eq!(one.digest, other.digest, "{gateway}: the same nonce");
        assert_ne!(one.payload, other.payload, "{gateway}: for another payload");
    }
    for vector in valid_of_presets() {
        let scheme = vector.scheme();
        let has_nonce = vector.verify().unwrap().nonce().is_some();
        assert_eq!(has_nonce, scheme.has_nonce(), "{}", vector.name);
        assert!(
            !(has_nonce && scheme.binds_body()),
            "{} is remembered for nothing",
            vector.name
        );
    }
}

#[test]
fn what_we_sign_as_a_gateway_verifies_as_that_gateways() {
    let mut deliveries = 0;
    for vector in valid_of_presets() {
        let scheme = vector.scheme();
        let mut ours = vector.signed_by_us(&scheme);
        if scheme.algorithm() == Algorithm::Ed25519 {
            let signer = Signer::new(&scheme, &SecretString::from(seed()), None).unwrap();
            ours.secret = signer.public_key().unwrap();
        }
        let (name, gateway) = (&vector.name, vector.gateway.as_deref().unwrap());
        let verdict = ours.verify_with(&scheme);
        assert!(verdict.is_ok(), "{gateway}: {name}: {:?}", verdict.err());
        if scheme.binds_body() && ours.method != Method::GET.as_str() {
            let mut body = ours.body().to_vec();
            body.push(b'x');
            ours.body_base64 = Some(STANDARD.encode(body));
            assert!(ours.verify_with(&scheme).is_err(), "{gateway}: {name}: one byte more");
        }
        deliveries += 1;
    }
    assert!(deliveries > 150, "{deliveries} deliveries");
}

/// Whether the libraries were asked for, which are installed from their registries; says so if not.
#[expect(clippy::print_stderr, reason = "the output of a test")]
fn libraries_are_asked_for() -> bool {
    let asked_for = std::env::var("SMSHOOK_TEST_VENDOR_LIBRARIES").is_ok_and(|value| value == "1");
    if !asked_for {
        eprintln!("skipped, because it installs the vendors' libraries; SMSHOOK_TEST_VENDOR_LIBRARIES=1 asks for that");
    }
    asked_for
}

/// What the script prints, and whether the libraries were content.
fn run(arguments: &[&str]) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor_libraries/run");
    let output = Command::new(script)
        .args(arguments)
        .env(SECRET_VARIABLE, seed())
        .output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (output.status.success(), said.concat())
}

/// The libraries' verdict on deliveries of ours, one JSON object per line.
fn judged(lines: &[String], options: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ours.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    run(&[&["--ours", file.to_str().unwrap()], options].concat())
}

/// What `smshook send` would send as this gateway, one JSON object per line.
fn sent_as(gateway: &str) -> Vec<String> {
    let mut arguments = vec![
        "send",
        "--gateway",
        gateway,
        "--dry-run",
        "--json",
        "--text",
        "",
        "--text",
    ];
    arguments.push("Tom & Jerry = 100% + \"50's\" \\ Grüße, 你好 😀 ~");
    arguments.extend(["--public-url", "https://sms.example.com/hooks/sms?tenant=a%20b"]);
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, seed()).unwrap();
    if preset(gateway).signature.algorithm() == Algorithm::Ed25519 {
        arguments.extend(["--signing-key-file", key.to_str().unwrap()]);
    } else {
        arguments.extend(["--secret-env", SECRET_VARIABLE]);
    }
    let output = smshook(&arguments).env(SECRET_VARIABLE, seed()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{gateway}: {error}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(str::to_owned).collect()
}

/// One test, because the first step may have to install the libraries.
#[test]
fn the_vendors_libraries_make_these_vectors_and_accept_what_we_sign() {
    if !libraries_are_asked_for() {
        return;
    }
    let (is_so, said) = run(&["--check"]);
    assert!(
        is_so && said.contains("17 files are as the libraries make them"),
        "{said}"
    );
    the_libraries_accept_what_the_signature_room_signs();
    the_libraries_accept_what_smshook_send_would_send();
}

fn the_libraries_accept_what_the_signature_room_signs() {
    let (mut ours, mut forged) = (Vec::new(), Vec::new());
    for vector in valid_of_presets() {
        let delivery = vector.signed_by_us(&vector.scheme());
        ours.push(serde_json::to_string(&delivery).unwrap());
        forged.push(serde_json::to_string(&delivery.with_another_secret()).unwrap());
    }
    let (is_so, said) = judged(&ours, &[]);
    assert!(is_so && said.contains("none against"), "{said}");
    // They judge each of them: with another secret, each is refused.
    let (is_so, said) = judged(&forged, &[]);
    let refused: BTreeSet<_> = said.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert!(
        !is_so && refused.len() == forged.len(),
        "{} of {}:\n{said}",
        refused.len(),
        forged.len()
    );
}

fn the_libraries_accept_what_smshook_send_would_send() {
    let mut lines = Vec::new();
    for gateway in gateway::builtin_names() {
        let sent = sent_as(gateway);
        assert_eq!(sent.len(), 2, "{gateway}");
        for line in sent {
            let mut delivery: serde_json::Map<String, Value> = serde_json::from_str(&line).unwrap();
            delivery.insert("gateway".to_owned(), gateway.into());
            lines.push(Value::from(delivery).to_string());
        }
    }
    let (is_so, said) = judged(&lines, &["--secret-env", SECRET_VARIABLE]);
    assert!(is_so && said.contains("none against"), "{said}");
}
