//! A gateway file and what follows from it: how its deliveries are verified, what they mean, what it wants to hear back,
//! and how a reply goes out through it.
//!
//! This room is pure. Everything that sets one gateway apart from another is in `gateways/*.toml`: its name must not turn
//! up in code. It must not parse bytes that nobody verified; the type of [`Gateway::parse`] sees to that.

mod event;
mod form;
mod json;
mod mapping;
mod media;
mod merge;
mod pointers;
mod sample;
#[cfg(test)]
mod tests;
mod timestamp;

use std::collections::BTreeMap;

use http::{HeaderValue, Method, StatusCode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::message::Item;
use crate::phone::NumberFormat;
use crate::signature::{Scheme, VerifiedBody};
use event::EventMapping;
use mapping::Mapping;
use sample::Template;

pub use merge::merged;
pub use sample::{Sample, SampleDelivery, SamplePart, SampleReport, parts_of};

/// The built-in gateway files by name, as they are in `gateways/`.
const BUILTIN: &[(&str, &str)] = &[
    (
        "mobile-api-connect",
        include_str!("../../gateways/mobile-api-connect.toml"),
    ),
    ("smsgate", include_str!("../../gateways/smsgate.toml")),
    ("textbee", include_str!("../../gateways/textbee.toml")),
    ("httpsms", include_str!("../../gateways/httpsms.toml")),
    ("twilio", include_str!("../../gateways/twilio.toml")),
    ("telnyx", include_str!("../../gateways/telnyx.toml")),
    ("vonage-messages", include_str!("../../gateways/vonage-messages.toml")),
    ("vonage-sms", include_str!("../../gateways/vonage-sms.toml")),
    ("plivo", include_str!("../../gateways/plivo.toml")),
    ("sinch", include_str!("../../gateways/sinch.toml")),
    ("messagebird", include_str!("../../gateways/messagebird.toml")),
    ("bird", include_str!("../../gateways/bird.toml")),
    ("bandwidth", include_str!("../../gateways/bandwidth.toml")),
    ("infobip", include_str!("../../gateways/infobip.toml")),
    ("clicksend", include_str!("../../gateways/clicksend.toml")),
    (
        "standard-webhooks",
        include_str!("../../gateways/standard-webhooks.toml"),
    ),
    ("generic", include_str!("../../gateways/generic.toml")),
];

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
    /// How it calls: POST, GET, or either. For GET the query is what it has to say. Never empty; samples are sent by the
    /// first.
    #[serde(default = "post", deserialize_with = "methods")]
    pub methods: Vec<Method>,
    /// Whether it gives up for good on any 4xx, so that what we would answer so has to be a 503.
    #[serde(default)]
    pub never_4xx: bool,
    /// How it writes its payload.
    #[serde(default)]
    pub format: Format,
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
    #[serde(default, deserialize_with = "sample::message")]
    sample: Option<Template>,
    #[serde(default, deserialize_with = "sample::part")]
    sample_part: Option<Template>,
    #[serde(default, deserialize_with = "sample::event")]
    sample_event: Option<Template>,
}

/// How a payload is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON. Where the gateway may call with GET, a query is read all the same: as [`Format::Auto`].
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`; pointers are names behind a slash.
    Form,
    /// JSON if it begins as an object or a list does, else a form.
    Auto,
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
        let format = match self.format {
            Format::Json if self.methods.contains(&Method::GET) => Format::Auto,
            format => format,
        };
        let mut items = mapping::read(&self.mapping, self.event.as_ref(), format, body.bytes(), reading);
        if let (true, Some(id)) = (self.mapping.delivery_id, body.delivery_id()) {
            items
                .iter_mut()
                .zip(0_u32..)
                .for_each(|(item, nth)| name(item, id, nth));
        }
        items
    }

    /// What this gateway would send for `sample`, unsigned; `None` when its file has no `sample`.
    pub fn sample_delivery(&self, sample: &Sample<'_>) -> Option<SampleDelivery> {
        self.delivery(sample.fill(self.sample.as_ref()?))
    }

    /// What it would send for one part of a long text; `None` when its file has no `sample_part`, because it sends long
    /// texts whole.
    pub fn sample_part(&self, sample: &Sample<'_>, part: &SamplePart<'_>) -> Option<SampleDelivery> {
        self.delivery(sample.fill_part(self.sample_part.as_ref()?, part))
    }

    /// What it would report about the reply to `sample`: tokens stand for the text that is answered, so `{from}` is whom
    /// the reply went to. `None` when its file has no `sample_event`, or no word for this state.
    pub fn sample_event(&self, sample: &Sample<'_>, report: &SampleReport<'_>) -> Option<SampleDelivery> {
        let word = self.event.as_ref()?.word_for(report.state)?;
        self.delivery(sample.fill_event(self.sample_event.as_ref()?, report, word))
    }

    /// JSON as this gateway sends it.
    fn delivery(&self, json: String) -> Option<SampleDelivery> {
        let method = self.methods.first().cloned().unwrap_or(Method::POST);
        Some(if method == Method::GET {
            SampleDelivery {
                method,
                query: form::of_json(&json)?,
                content_type: None,
                body: Vec::new(),
            }
        } else if self.format == Format::Form {
            SampleDelivery {
                method,
                query: String::new(),
                content_type: Some("application/x-www-form-urlencoded"),
                body: form::of_json(&json)?.into_bytes(),
            }
        } else {
            SampleDelivery {
                method,
                query: String::new(),
                content_type: Some("application/json"),
                body: json.into_bytes(),
            }
        })
    }
}

/// Gives a message that has no ID that of its delivery; of several, each has its own.
fn name(item: &mut Item, delivery_id: &str, nth: u32) {
    if let Item::Message(message) = item
        && message.message_id.is_none()
        && (1..=pointers::MAX_ID_BYTES).contains(&delivery_id.len())
    {
        message.message_id = Some(match nth {
            0 => delivery_id.to_owned(),
            nth => format!("{delivery_id}#{nth}"),
        });
    }
}

const fn unauthorized() -> StatusCode {
    StatusCode::UNAUTHORIZED
}

fn post() -> Vec<Method> {
    vec![Method::POST]
}

fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Method>, D::Error> {
    let mut methods = Vec::new();
    for name in Vec::<String>::deserialize(deserializer)? {
        let method = match name.as_str() {
            "POST" => Method::POST,
            "GET" => Method::GET,
            _ => {
                return Err(D::Error::custom(format_args!(
                    "\"{name}\" is neither \"POST\" nor \"GET\""
                )));
            }
        };
        if methods.contains(&method) {
            return Err(D::Error::custom(format_args!("{name} is there twice")));
        }
        methods.push(method);
    }
    if methods.is_empty() {
        return Err(D::Error::custom("`methods` needs one: \"POST\", \"GET\" or both"));
    }
    Ok(methods)
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
