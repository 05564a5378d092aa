//! Builds the body that a gateway would send, for `smshook send` and for tests.
//!
//! The template is JSON in the gateway's file, in which the strings `"{from}"`, `"{from_digits}"`, `"{to}"`,
//! `"{to_digits}"`, `"{text}"` and `"{sent_at}"` are replaced. It must not be used for anything that goes to a customer.

use chrono::{DateTime, SecondsFormat, Utc};

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
}

impl Sample<'_> {
    /// One pass, so that a text that holds `{to}` stays as it is.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut body = String::with_capacity(template.len() + self.text.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("\"{") {
            body.push_str(before);
            let token = after.split_once("}\"");
            if let Some((value, tail)) = token.and_then(|(token, tail)| Some((self.value(token)?, tail))) {
                body.push_str(&serde_json::Value::String(value).to_string());
                rest = tail;
            } else {
                body.push_str("\"{");
                rest = after;
            }
        }
        body.push_str(rest);
        body
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
            _ => return None,
        })
    }
}
