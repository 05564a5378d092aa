//! A gateway file and what follows from it: how its deliveries are verified, what they mean, what it wants to hear back,
//! and how a reply goes out through it.
//!
//! This room is pure. Everything that sets one gateway apart from another is in `gateways/*.toml`: its name must not turn
//! up in code. It must not parse bytes that nobody verified; the type of [`Gateway::parse`] sees to that.

mod json;
mod mapping;
mod sample;
#[cfg(test)]
mod tests;
mod timestamp;

use std::collections::BTreeMap;

use http::{HeaderValue, StatusCode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::message::Item;
use crate::phone::NumberFormat;
use crate::signature::{Scheme, VerifiedBody};
use mapping::{EventMapping, Mapping};

pub use sample::Sample;

/// The built-in gateway files by name, as they are in `gateways/`.
const BUILTIN: [(&str, &str); 1] = [(
    "mobile-api-connect",
    include_str!("../../gateways/mobile-api-connect.toml"),
)];

/// The text of a built-in gateway's file.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the built-in gateways.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// One SMS gateway, as its file describes it. The same keys make a gateway of the user's own in `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The name by which endpoints refer to it.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The pages that the file was written from.
    #[serde(default)]
    pub sources: Vec<String>,
    /// How it signs.
    pub signature: Scheme,
    /// The answer to a delivery without a signature: 401 unless the gateway wants another, such as 503 to have it resent.
    #[serde(default = "unauthorized", deserialize_with = "status")]
    pub missing_signature_status: StatusCode,
    /// The answer to a delivery whose signature is wrong; 401 unless the gateway wants another.
    #[serde(default = "unauthorized", deserialize_with = "status")]
    pub invalid_signature_status: StatusCode,
    /// How it writes numbers, where the endpoint does not say otherwise.
    #[serde(deserialize_with = "number_format")]
    pub numbers: NumberFormat,
    /// Whether a rule of the gateway's own, when a message names one, may already have answered the sender.
    #[serde(default)]
    pub answers_itself: bool,
    /// The answer to what was stored.
    #[serde(default)]
    pub ack: Ack,
    /// The request that sends a reply through this gateway, as typed; `config` compiles it.
    pub reply: Option<toml::Table>,
    #[serde(rename = "message")]
    mapping: Mapping,
    event: Option<EventMapping>,
    sample: Option<String>,
}

/// What the gateway wants to hear when a delivery was stored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ack {
    /// A 2xx.
    #[serde(deserialize_with = "success")]
    pub status: StatusCode,
    /// The content type of `body`.
    #[serde(deserialize_with = "header_value")]
    pub content_type: HeaderValue,
    /// The body, where the gateway reads it; otherwise ours (`{"status": …, "id": …}`).
    pub body: Option<String>,
}

impl Default for Ack {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static("application/json"),
            body: None,
        }
    }
}

/// What the endpoint knows that a gateway's deliveries do not say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// How numbers are written.
    pub numbers: NumberFormat,
    /// Numbers of ours by what the gateway says in their place (a device's name), as it says it.
    pub recipients: BTreeMap<String, String>,
}

impl Reading {
    /// Numbers written so, and nothing else to know.
    pub const fn with(numbers: NumberFormat) -> Self {
        Self {
            numbers,
            recipients: BTreeMap::new(),
        }
    }
}

/// Why a gateway file cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GatewayError {
    /// Not TOML, or not a gateway; says where.
    #[error(transparent)]
    File(#[from] toml::de::Error),
}

impl Gateway {
    /// Reads a gateway file.
    pub fn from_toml(text: &str) -> Result<Self, GatewayError> {
        Ok(toml::from_str(text)?)
    }

    /// What a delivery holds, read as the endpoint says. Never empty: what cannot be read is an
    /// [`Item::Unreadable`] with the reason.
    pub fn parse(&self, body: &VerifiedBody, reading: &Reading) -> Vec<Item> {
        mapping::read(&self.mapping, self.event.as_ref(), body.bytes(), reading.numbers)
    }

    /// The body that this gateway would send for `sample`; `None` when its file has no `sample`.
    pub fn sample_body(&self, sample: &Sample<'_>) -> Option<String> {
        self.sample.as_deref().map(|template| sample.fill(template.trim()))
    }
}

const fn unauthorized() -> StatusCode {
    StatusCode::UNAUTHORIZED
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    let code = u16::deserialize(deserializer)?;
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| D::Error::custom(format_args!("{code} is not an HTTP status from 200 to 599")))
}

fn success<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    let status = status(deserializer)?;
    let is_success = status.is_success();
    is_success
        .then_some(status)
        .ok_or_else(|| D::Error::custom("only a 2xx acknowledges a delivery"))
}

fn header_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderValue, D::Error> {
    let text = String::deserialize(deserializer)?;
    HeaderValue::from_str(&text).map_err(|_| D::Error::custom("not a content type"))
}

fn number_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NumberFormat, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
