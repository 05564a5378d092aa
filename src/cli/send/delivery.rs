//! One request as the gateway would make it, signed, and what should become of it.
//!
//! It must not send anything.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use uuid::Uuid;

use super::target::Target;
use super::texts::{self, Sms};
use crate::actions::local::LocalAnswer;
use crate::cli::failure::Failure;
use crate::gateway::{Gateway, Sample, SampleDelivery, SamplePart};
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
    /// What the gateway makes its message ID of.
    pub(in crate::cli) id: Uuid,
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
    // It never hears a 4xx from us.
    let usual = if gateway.never_4xx {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        gateway.invalid_signature_status
    };
    status == usual || [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status)
}

impl Target {
    /// The gateway's request for these words, signed at `at`.
    pub(super) fn deliver(&self, words: &Words, at: DateTime<Utc>) -> Result<Outgoing, Failure> {
        Ok(self.finish(write(&self.gateway, words, at)?, at))
    }

    /// One text as the parts that the gateway would send of it.
    pub(super) fn parts(&self, words: &Words, at: DateTime<Utc>) -> Result<Vec<Outgoing>, Failure> {
        let parts = texts::parts(&words.text).ok_or_else(|| {
            let hint = "a text of two characters can be cut in two; one of more than 255 parts cannot be sent";
            Failure::usage("this text has no parts", hint)
        })?;
        let total = u8::try_from(parts.len()).unwrap_or(u8::MAX);
        let reference = rand::random();
        let part = |(index, text)| {
            let part = SamplePart {
                reference,
                total,
                index,
                text,
            };
            // Each part is a message of its own to the gateway.
            let words = words.clone().with_id(Uuid::now_v7());
            self.gateway.sample_part(&words.sample(at), &part)
        };
        let written: Option<Vec<_>> = (1..=total).zip(parts).map(part).collect();
        let written = written.ok_or_else(|| {
            Failure::usage(
                format!("the gateway `{}` puts long texts together by itself", self.gateway.name),
                "leave `--parts` out: it sends a long text as one",
            )
        })?;
        Ok(written.into_iter().map(|part| self.finish(request(part), at)).collect())
    }

    /// Two texts with one message ID between them.
    pub(super) fn with_one_id(&self, one: &Words, other: &Words, at: DateTime<Utc>) -> Result<[Outgoing; 2], Failure> {
        let same = write(&self.gateway, one, at)?;
        let renamed = write(&self.gateway, &one.clone().with_id(Uuid::now_v7()), at)?;
        if same.body == renamed.body && same.query == renamed.query {
            return Err(Failure::usage(
                format!(
                    "the gateway `{}` sends no message ID that could be used twice",
                    self.gateway.name
                ),
                "leave `--collide` out",
            ));
        }
        let other = write(&self.gateway, &other.clone().with_id(one.id), at)?;
        Ok([self.finish(same, at), self.finish(other, at)])
    }

    /// Addresses and signs a request.
    fn finish(&self, mut outgoing: Outgoing, at: DateTime<Utc>) -> Outgoing {
        outgoing.url.clone_from(&self.public_url);
        let parts = [self.query.as_str(), outgoing.query.as_str()];
        outgoing.query = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("&");
        outgoing.at = at.timestamp_millis();
        sign(&self.gateway, self.signer.as_ref(), &mut outgoing);
        outgoing
    }
}

/// Signs if there is anything to sign with.
pub(in crate::cli) fn sign(gateway: &Gateway, signer: Option<&Signer>, outgoing: &mut Outgoing) {
    if let Some(signer) = signer {
        signature::sign(&gateway.signature, signer, outgoing);
    }
}

/// The gateway's request for these words: not signed, and for nobody yet.
pub(in crate::cli) fn write(gateway: &Gateway, words: &Words, at: DateTime<Utc>) -> Result<Outgoing, Failure> {
    let written = gateway.sample_delivery(&words.sample(at)).ok_or_else(|| {
        Failure::hinted(
            anyhow::anyhow!("the gateway `{}` has no sample to send", gateway.name),
            format!("add `sample` to [gateway.{}]", gateway.name),
        )
    })?;
    Ok(request(written))
}

/// What a gateway has to say as a request that is not signed yet.
pub(in crate::cli) fn request(written: SampleDelivery) -> Outgoing {
    let mut headers = HeaderMap::new();
    if let Some(content_type) = written.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    Outgoing {
        method: written.method,
        url: String::new(),
        query: written.query,
        headers,
        body: written.body,
        at: 0,
    }
}

impl Words {
    /// As the gateway file's samples take them, delivered at `now`.
    pub(in crate::cli) fn sample(&self, now: DateTime<Utc>) -> Sample<'_> {
        Sample {
            from: &self.from,
            to: &self.to,
            text: &self.text,
            sent_at: self.sent_at,
            now,
            id: self.id,
        }
    }

    const fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }
}

impl Sms {
    /// As sent at this time.
    pub(super) fn at(&self, sent_at: DateTime<Utc>) -> Words {
        Words {
            from: self.from.clone(),
            to: self.to.clone(),
            text: self.text.clone(),
            sent_at,
            id: Uuid::now_v7(),
        }
    }
}
