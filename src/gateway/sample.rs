//! Builds what a gateway would send, for `smshook send`, the pretend phone and tests.
//!
//! The templates are JSON in the gateway's file, in which tokens such as `{from}` are replaced; a gateway that sends forms
//! or queries has its fields in a JSON object. It must not be used for anything that goes to a customer.

use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::json::Node;
use crate::message::DeliveryState;

/// What a made-up delivery says.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The sender; templates may take the digits alone.
    pub from: &'a str,
    /// The recipient.
    pub to: &'a str,
    /// The text.
    pub text: &'a str,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// When it is delivered; some gateways say both.
    pub now: DateTime<Utc>,
    /// What IDs are made of: the same one makes a copy.
    pub id: Uuid,
}

/// One part of a long text.
#[derive(Clone, Copy, Debug)]
pub struct SamplePart<'a> {
    /// What the parts of one text have in common.
    pub reference: u8,
    /// How many there are.
    pub total: u8,
    /// Which one it is, from 1.
    pub index: u8,
    /// The text of this part.
    pub text: &'a str,
}

/// How far a reply is on its way.
#[derive(Clone, Copy, Debug)]
pub struct SampleReport<'a> {
    /// The reference that we gave the reply.
    pub reply_ref: &'a str,
    /// The ID that the gateway's API answered.
    pub reply_id: &'a str,
    /// The state.
    pub state: DeliveryState,
}

/// A delivery as the gateway would make it, but for its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SampleDelivery {
    /// POST or GET.
    pub method: Method,
    /// The query without `?`; empty for POST.
    pub query: String,
    /// The content type of the body; `None` for GET.
    pub content_type: Option<&'static str>,
    /// The body; empty for GET.
    pub body: Vec<u8>,
}

/// What may stand in every sample.
const TOKENS: [&str; 12] = [
    "from",
    "from_digits",
    "to",
    "to_digits",
    "text",
    "sent_at",
    "sent_at_s",
    "sent_at_ms",
    "sent_at_sql",
    "now_s",
    "id",
    "id_hex32",
];
/// What may stand in `sample_part` besides.
const PART_TOKENS: [&str; 4] = ["part_ref", "part_total", "part_index", "part_text"];
/// What may stand in `sample_event` besides.
const EVENT_TOKENS: [&str; 3] = ["reply_ref", "reply_id", "state"];

/// JSON with tokens in it.
#[derive(Clone, Debug)]
pub(super) struct Template(String);

/// `sample`.
pub(super) fn message<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    template(deserializer, &[])
}

/// `sample_part`.
pub(super) fn part<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    template(deserializer, &PART_TOKENS)
}

/// `sample_event`.
pub(super) fn event<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    template(deserializer, &EVENT_TOKENS)
}

/// A sample is tried when the file is read, so that a mistake in it does not wait for somebody to send it.
fn template<'de, D: Deserializer<'de>>(deserializer: D, besides: &[&str]) -> Result<Option<Template>, D::Error> {
    let template = Template(String::deserialize(deserializer)?.trim().to_owned());
    if template.0.is_empty() {
        return Err(D::Error::custom("the sample is empty"));
    }
    let mut unknown = None;
    let tried = template.fill(|token| {
        if !TOKENS.contains(&token) && !besides.contains(&token) {
            unknown = Some(token.to_owned());
        }
        Some(if is_number(token) { "0" } else { "x" }.to_owned())
    });
    if let Some(token) = unknown {
        let known = [&TOKENS, besides].concat().join("}, {");
        return Err(D::Error::custom(format_args!(
            "there is no {{{token}}} here; there are: {{{known}}}"
        )));
    }
    Node::parse(&tried).map_err(|reason| D::Error::custom(format_args!("the sample is {reason}")))?;
    Ok(Some(template))
}

impl Template {
    /// One pass, so that a text that holds `{to}` stays as it is.
    fn fill(&self, mut value: impl FnMut(&str) -> Option<String>) -> String {
        let mut body = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            body.push_str(before);
            let token = after.split_once('}').filter(|(token, _)| is_token(token));
            if let Some((value, tail)) = token.and_then(|(token, tail)| Some((value(token)?, tail))) {
                push_escaped(&mut body, value);
                rest = tail;
            } else {
                body.push('{');
                rest = after;
            }
        }
        body.push_str(rest);
        body
    }
}

/// What stands inside the quotes of a JSON string.
fn push_escaped(body: &mut String, value: String) {
    let quoted = serde_json::Value::String(value).to_string();
    body.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
}

/// What may stand in JSON without quotes.
fn is_number(token: &str) -> bool {
    let numbers = ["from_digits", "to_digits", "sent_at_s", "sent_at_ms", "now_s"];
    numbers.contains(&token) || matches!(token, "part_ref" | "part_total" | "part_index")
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

impl Sample<'_> {
    pub(super) fn fill(&self, template: &Template) -> String {
        template.fill(|token| self.value(token))
    }

    /// A part of it.
    pub(super) fn fill_part(&self, template: &Template, part: &SamplePart<'_>) -> String {
        template.fill(|token| match token {
            "part_ref" => Some(part.reference.to_string()),
            "part_total" => Some(part.total.to_string()),
            "part_index" => Some(part.index.to_string()),
            "part_text" => Some(part.text.to_owned()),
            token => self.value(token),
        })
    }

    /// A report about it; `word` is the gateway's for the state.
    pub(super) fn fill_event(&self, template: &Template, report: &SampleReport<'_>, word: &str) -> String {
        template.fill(|token| match token {
            "reply_ref" => Some(report.reply_ref.to_owned()),
            "reply_id" => Some(report.reply_id.to_owned()),
            "state" => Some(word.to_owned()),
            token => self.value(token),
        })
    }

    fn value(&self, token: &str) -> Option<String> {
        let digits = |number: &str| number.trim_start_matches('+').to_owned();
        Some(match token {
            "from" => self.from.to_owned(),
            "from_digits" => digits(self.from),
            "to" => self.to.to_owned(),
            "to_digits" => digits(self.to),
            "text" => self.text.to_owned(),
            "sent_at" => self.sent_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "sent_at_s" => self.sent_at.timestamp().to_string(),
            "sent_at_ms" => self.sent_at.timestamp_millis().to_string(),
            "sent_at_sql" => self.sent_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            "now_s" => self.now.timestamp().to_string(),
            "id" => self.id.to_string(),
            "id_hex32" => self.id.simple().to_string(),
            _ => return None,
        })
    }
}

/// A text as phone networks cut it: whole up to 160 characters, else in parts of 153; 70 and 67 where it holds anything but
/// ASCII (which stands for the GSM alphabet here). Never cut within a character.
pub fn parts_of(text: &str) -> Vec<&str> {
    let (whole, part) = if text.is_ascii() { (160, 153) } else { (70, 67) };
    if text.encode_utf16().count() <= whole {
        return vec![text];
    }
    let mut parts = Vec::new();
    let (mut start, mut units) = (0, 0);
    for (at, character) in text.char_indices() {
        if units + character.len_utf16() > part {
            parts.extend(text.get(start..at));
            (start, units) = (at, 0);
        }
        units += character.len_utf16();
    }
    parts.extend(text.get(start..));
    parts
}
