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
    Delivery::post(FORM).says(
        &gateway!("vonage-sms"),
        "s",
        "there is no parameter `sig`; the delivery X",
    );
}
