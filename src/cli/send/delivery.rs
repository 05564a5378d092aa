//! One request as the gateway would make it, signed, and what should become of it.
//!
//! It must not send anything.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use super::target::Target;
use super::texts::Text;
use crate::actions::local::LocalAnswer;
use crate::cli::failure::Failure;
use crate::gateway::{Gateway, Sample};
use crate::signature::{self, Outgoing, Signer};

/// A request and what should become of it.
pub(in crate::cli) struct Delivery {
    pub(in crate::cli) outgoing: Outgoing,
    pub(super) expected: Expected,
}

/// What a delivery says, and when.
#[derive(Clone)]
pub(in crate::cli) struct Words {
    pub(in crate::cli) from: String,
    pub(in crate::cli) to: String,
    pub(in crate::cli) text: String,
    /// By the sender's clock.
    pub(in crate::cli) sent_at: DateTime<Utc>,
}

/// What should become of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// It is acknowledged.
    Taken,
    /// It is acknowledged as a text of its own.
    Stored,
    /// It is acknowledged as one that was there before.
    Duplicate,
    /// It is refused for its signature.
    Refused,
}

/// The receipt that smshook gives where the gateway wants no words of its own.
#[derive(Deserialize)]
struct Receipt {
    status: String,
}

impl Expected {
    /// For a person, after "expected: ".
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Taken => "a 2xx",
            Self::Stored => "a 2xx that says `stored`: a text of its own",
            Self::Duplicate => "a 2xx that says `duplicate`: the same text once more",
            Self::Refused => "a refusal, since the signature does not hold",
        }
    }

    /// Whether the answer is what was expected. Where the gateway wants other words than ours, a 2xx has to do.
    pub(super) fn is_met(self, gateway: &Gateway, answer: &LocalAnswer) -> bool {
        let said = || serde_json::from_str::<Receipt>(&answer.body).ok();
        let taken_as =
            |wanted: &str| answer.status.is_success() && said().is_none_or(|receipt| receipt.status.as_str() == wanted);
        match self {
            Self::Taken => answer.status.is_success(),
            Self::Stored => taken_as("stored"),
            Self::Duplicate => taken_as("duplicate"),
            Self::Refused => is_refusal(gateway, answer.status),
        }
    }
}

/// A receiver that is not ours may refuse in its own way.
pub(super) fn is_refusal(gateway: &Gateway, status: StatusCode) -> bool {
    status == gateway.invalid_signature_status
        || [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status)
}

impl Target {
    /// The gateway's request for these words, signed at `at`.
    pub(super) fn deliver(&self, words: &Words, at: DateTime<Utc>) -> Result<Outgoing, Failure> {
        let mut outgoing = write(&self.gateway, words)?;
        outgoing.url.clone_from(&self.public_url);
        if !self.query.is_empty() {
            let own = std::mem::take(&mut outgoing.query);
            outgoing.query = match own.as_str() {
                "" => self.query.clone(),
                own => format!("{}&{own}", self.query),
            };
        }
        outgoing.at = at.timestamp_millis();
        sign(&self.gateway, self.signer.as_ref(), &mut outgoing);
        Ok(outgoing)
    }
}

impl Target {
    /// One text as the parts that the gateway would send of it.
    pub(super) fn parts(&self, words: &Words, at: DateTime<Utc>) -> Result<Vec<Outgoing>, Failure> {
        let _ = (words, at);
        Err(Failure::usage(
            format!("the gateway `{}` puts long texts together by itself", self.gateway.name),
            "leave `--parts` out: it sends a long text as one",
        ))
    }

    /// Two texts with one message ID between them.
    pub(super) fn with_one_id(&self, one: &Words, other: &Words, at: DateTime<Utc>) -> Result<[Outgoing; 2], Failure> {
        let _ = (one, other, at);
        Err(Failure::usage(
            format!(
                "the gateway `{}` sends no message ID that could be used twice",
                self.gateway.name
            ),
            "leave `--collide` out",
        ))
    }
}

/// Signs if there is anything to sign with.
pub(in crate::cli) fn sign(gateway: &Gateway, signer: Option<&Signer>, outgoing: &mut Outgoing) {
    if let Some(signer) = signer {
        signature::sign(&gateway.signature, signer, outgoing);
    }
}

/// The gateway's request for these words: not signed, and for nobody yet.
pub(in crate::cli) fn write(gateway: &Gateway, words: &Words) -> Result<Outgoing, Failure> {
    let sample = Sample {
        from: &words.from,
        to: &words.to,
        text: &words.text,
        sent_at: words.sent_at,
    };
    let body = gateway.sample_body(&sample).ok_or_else(|| {
        Failure::hinted(
            anyhow::anyhow!("the gateway `{}` has no sample to send", gateway.name),
            format!("add `sample` to [gateway.{}]", gateway.name),
        )
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Outgoing {
        method: Method::POST,
        url: String::new(),
        query: String::new(),
        headers,
        body: body.into_bytes(),
        at: words.sent_at.timestamp_millis(),
    })
}

impl Text {
    /// As sent at this time.
    pub(super) fn at(&self, sent_at: DateTime<Utc>) -> Words {
        Words {
            from: self.from.clone(),
            to: self.to.clone(),
            text: self.text.clone(),
            sent_at,
        }
    }
}
