//! How a gateway's API wants to be asked for a reply, and where in that request the text stands: found out by looking at one
//! reply as it would be sent, so that no gateway need be known here.

use chrono::Utc;
use http::{Method, StatusCode};
use serde_json::Value;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::rehearsal::{PROBE, PROBE_TEXT};
use crate::actions::Actions;
use crate::cli::send::{FICTIONAL_RECIPIENT, FICTIONAL_SENDER};
use crate::cli::trial;
use crate::config::Endpoint;
use crate::http::{Heard, StandInRoute};

/// An endpoint's way of asking its gateway for a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ReplyShape {
    method: Method,
    path: String,
    text: Option<Place>,
    to: Option<Place>,
}

/// Where something stands in a request.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    /// A JSON pointer into the body.
    Json(String),
    /// A field of the form in the body.
    Form(String),
    /// A parameter of the query.
    Query(String),
}

impl ReplyShape {
    /// Looks at one; what keeps a reply from being made is the error.
    pub(super) fn of(actions: &Actions, endpoint: &Endpoint) -> Result<Self, String> {
        let now = Utc::now();
        let message = trial::message(endpoint, FICTIONAL_SENDER, FICTIONAL_RECIPIENT, "");
        let job = trial::job(endpoint, &message, PROBE, Uuid::nil(), now);
        let preview = actions.preview(PROBE, &job, now).map_err(|error| error.to_string())?;
        let text = |pointer: &str| preview.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let url = Url::parse(text("/request/url")).map_err(|error| error.to_string())?;
        let body = preview.pointer("/request/body").unwrap_or(&Value::Null);
        let digits = FICTIONAL_SENDER.trim_start_matches('+');
        let is_to = |found: &str| found.trim_start_matches('+') == digits;
        Ok(Self {
            method: text("/request/method").parse().unwrap_or(Method::POST),
            path: url.path().to_owned(),
            text: find(body, url.query(), &|found| found.contains(PROBE_TEXT)),
            to: find(body, url.query(), &is_to),
        })
    }

    /// What the stand-in does about such a request: as the gateway's file says that it is answered.
    pub(super) fn route(&self, endpoint: &Endpoint) -> Option<StandInRoute> {
        let channel = endpoint.reply.as_ref()?;
        let status = channel.request.success.ranges.first().map(|&(first, _)| first);
        let answer = endpoint
            .gateway
            .reply
            .as_ref()
            .and_then(|reply| reply.get("sample_answer")?.as_str());
        let answer = answer.unwrap_or("{}");
        let content_type = match answer.trim_start().chars().next() {
            Some('{' | '[') => "application/json",
            Some('<') => "text/xml",
            _ => "text/plain",
        };
        Some(StandInRoute {
            name: endpoint.name.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            status: status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::OK),
            content_type,
            answer: answer.to_owned(),
        })
    }

    /// The text of the reply, as the gateway was given it.
    pub(super) fn text(&self, heard: &Heard) -> Option<String> {
        self.text.as_ref()?.read(heard)
    }

    /// Whom it goes to, as the gateway was told.
    pub(super) fn to(&self, heard: &Heard) -> Option<String> {
        self.to.as_ref()?.read(heard)
    }
}

impl Place {
    fn read(&self, heard: &Heard) -> Option<String> {
        let body = std::str::from_utf8(&heard.body).unwrap_or_default();
        match self {
            Self::Json(pointer) => {
                let body: Value = serde_json::from_str(body).ok()?;
                body.pointer(pointer)?.as_str().map(str::to_owned)
            }
            Self::Form(name) => parameter(body, name),
            Self::Query(name) => parameter(heard.query.as_deref()?, name),
        }
    }
}

fn parameter(form: &str, wanted: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(form.as_bytes());
    pairs
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.into_owned())
}

fn find(body: &Value, query: Option<&str>, is_it: &dyn Fn(&str) -> bool) -> Option<Place> {
    let in_form = |form: &str| {
        let mut pairs = form_urlencoded::parse(form.as_bytes());
        pairs.find(|(_, value)| is_it(value)).map(|(name, _)| name.into_owned())
    };
    let in_body = match body {
        Value::String(form) => in_form(form).map(Place::Form),
        json => pointer(json, "", is_it).map(Place::Json),
    };
    in_body.or_else(|| in_form(query?).map(Place::Query))
}

fn pointer(value: &Value, at: &str, is_it: &dyn Fn(&str) -> bool) -> Option<String> {
    match value {
        Value::String(text) => is_it(text).then(|| at.to_owned()),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(place, item)| pointer(item, &format!("{at}/{place}"), is_it))
        }
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            pointer(member, &format!("{at}/{name}"), is_it)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn heard(query: Option<&str>, body: &str) -> Heard {
        Heard {
            route: None,
            method: Method::POST,
            path: "/".to_owned(),
            query: query.map(str::to_owned),
            key: None,
            body: Bytes::from(body.to_owned()),
            at: Utc::now(),
            status: StatusCode::OK,
            reply_id: String::new(),
        }
    }

    #[test]
    fn a_text_is_found_wherever_a_gateway_wants_it() {
        let is_it = |found: &str| found.contains("here");
        let json = json!({ "messages": [{ "a/b": "here" }], "other": "there" });
        let place = find(&json, None, &is_it).unwrap();
        assert_eq!(place, Place::Json("/messages/0/a~1b".to_owned()));
        let body = json!({ "messages": [{ "a/b": "read \"this\"" }] }).to_string();
        assert_eq!(place.read(&heard(None, &body)).as_deref(), Some("read \"this\""));
        let place = find(&json!("To=x&Body=here"), None, &is_it).unwrap();
        assert_eq!(place, Place::Form("Body".to_owned()));
        assert_eq!(place.read(&heard(None, "To=y&Body=a+b%26")).as_deref(), Some("a b&"));
        let place = find(&Value::Null, Some("text=here"), &is_it).unwrap();
        assert_eq!(place.read(&heard(Some("text=%C3%BC"), "")).as_deref(), Some("ü"));
        assert_eq!(find(&json!({}), None, &is_it), None);
        assert_eq!(place.read(&heard(None, "{}")), None);
    }
}
