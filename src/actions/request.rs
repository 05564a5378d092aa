//! A request, from its definition to the bytes that leave: rendered once, stored, and sent the same on every attempt.
//!
//! It must not send anything. Secrets and signatures are added by [`dispatch`] and never get into [`Rendered`].

use std::fmt;

use chrono::{DateTime, Utc};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use super::signing;
use crate::config::action::{BodySpec, HeaderSource, HttpSpec};
use crate::template::{Context, Template, TemplateError};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The member of an operation's body whose own members belong to the object around it.
const SPREAD: &str = "...";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A request as it is stored with its job.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rendered {
    /// Hash of the definition it was made from: after an operator changed that, the new one counts.
    definition: String,
    method: String,
    pub(super) url: String,
    headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Rendered {{ method: {}, body_bytes: {:?} }}",
            self.method,
            self.body.as_ref().map(String::len)
        )
    }
}

/// Why a request cannot be made; no attempt can change that.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the {0} does not render: {1}")]
    Template(String, TemplateError),
    #[error("the rendered URL is not one: {0}")]
    Url(url::ParseError),
    #[error("the rendered URL {0}")]
    Strayed(&'static str),
    #[error("plain http:// is off; `allow_http = true` turns it on")]
    PlainHttp,
    #[error("header `{0}` would get a line break or another control character")]
    Header(HeaderName),
    #[error("the stored request has a method or header that HTTP does not know")]
    Stored,
    #[error(transparent)]
    Signing(#[from] signing::NotBase64),
}

impl Rendered {
    /// The stored request if it was made from this definition, else a new one. `extra` is what else the definition
    /// depends on, such as the template of a reply's text.
    pub(super) fn reuse_or_make(
        stored: Option<Self>,
        spec: &HttpSpec,
        extra: &str,
        key: &str,
        context: &Context,
    ) -> Result<Self, RequestError> {
        let definition = definition(spec, extra);
        match stored {
            Some(stored) if stored.definition == definition => Ok(stored),
            _ => Self::make(spec, definition, key, context),
        }
    }

    fn make(spec: &HttpSpec, definition: String, key: &str, context: &Context) -> Result<Self, RequestError> {
        let (body, content_type) = body(spec, context)?;
        let mut headers = Vec::new();
        for (name, source) in &spec.headers {
            if let HeaderSource::Rendered(template) = source {
                let value = render(template, context, || format!("header `{name}`"))?;
                header_value(name, &value)?;
                headers.push((name.to_string(), value));
            }
        }
        let given = |wanted: &HeaderName| spec.headers.iter().any(|(name, _)| name == wanted);
        if let (Some(content_type), false) = (content_type, given(&CONTENT_TYPE)) {
            headers.push((CONTENT_TYPE.to_string(), content_type));
        }
        if spec.method != Method::GET && !spec.is_operation && !given(&IDEMPOTENCY_KEY) {
            headers.push((IDEMPOTENCY_KEY.to_string(), key.to_owned()));
        }
        let url = url(spec, context)?;
        Ok(Self {
            definition,
            method: spec.method.to_string(),
            url,
            headers,
            body,
        })
    }

    /// A request with this JSON of our own as its body; nothing of the definition depends on a message.
    pub(super) fn of_our_own(spec: &HttpSpec, key: &str, json: &Value) -> Result<Self, RequestError> {
        let mut request = Self::make(spec, String::new(), key, &Context::new(json!({})))?;
        request
            .headers
            .push((CONTENT_TYPE.to_string(), "application/json".to_owned()));
        request.body = Some(json.to_string());
        Ok(request)
    }

    /// The request for a person to read, with `***` for secrets.
    pub(super) fn preview(&self, spec: &HttpSpec) -> Value {
        let secret = |(name, source): &(HeaderName, HeaderSource)| match source {
            HeaderSource::Secret { prefix, .. } => Some((name.to_string(), json!(format!("{prefix}***")))),
            HeaderSource::Rendered(_) => None,
        };
        let rendered = self.headers.iter().map(|(name, value)| (name.clone(), json!(value)));
        let headers: serde_json::Map<_, _> = rendered.chain(spec.headers.iter().filter_map(secret)).collect();
        let body = self
            .body
            .as_ref()
            .map(|body| serde_json::from_str(body).unwrap_or_else(|_| json!(body)));
        json!({ "method": self.method, "url": self.url, "headers": headers, "body": body, "signed": spec.sign.is_some() })
    }
}

/// A request that is ready to be sent, secrets included. Not to be shown or stored.
pub(super) struct Dispatch {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<String>,
}

/// A header that proves who we are, fetched for the moment. Not to be shown or stored.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) name: HeaderName,
    pub(super) value: SecretString,
}

/// Adds what is never stored, and checks once more where the request goes: the definition may have changed meanwhile.
pub(super) fn dispatch(
    spec: &HttpSpec,
    rendered: &Rendered,
    key: &str,
    credential: Option<&Credential>,
    now: DateTime<Utc>,
) -> Result<Dispatch, RequestError> {
    let url = match &spec.secret_url {
        Some(secret) => secret_target(spec, secret.expose_secret(), &rendered.url)?,
        None => within_origin(spec, &rendered.url)?,
    };
    let method = Method::from_bytes(rendered.method.as_bytes()).map_err(|_unknown| RequestError::Stored)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &rendered.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_unknown| RequestError::Stored)?;
        let value = header_value(&name, value)?;
        headers.append(name, value);
    }
    for (name, source) in &spec.headers {
        if let HeaderSource::Secret { prefix, secret } = source {
            let mut value = header_value(name, &format!("{prefix}{}", secret.expose_secret()))?;
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
    }
    if let Some(Credential { name, value }) = credential {
        let mut value = header_value(name, value.expose_secret())?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    if let Some(sign) = &spec.sign {
        let body = rendered.body.as_deref().unwrap_or_default();
        let signature = signing::sign(sign, key, now.timestamp(), body.as_bytes())?;
        for (name, value) in [
            (HeaderName::from_static("webhook-id"), key.to_owned()),
            (
                HeaderName::from_static("webhook-timestamp"),
                now.timestamp().to_string(),
            ),
            (HeaderName::from_static("webhook-signature"), signature),
        ] {
            let value = header_value(&name, &value)?;
            headers.insert(name, value);
        }
    }
    Ok(Dispatch {
        method,
        url,
        headers,
        body: rendered.body.clone(),
    })
}

/// The secret URL, with the query of the rendered one.
fn secret_target(spec: &HttpSpec, secret: &str, rendered: &str) -> Result<Url, RequestError> {
    let rendered = within_origin(spec, rendered)?;
    let mut url = within_origin(spec, secret)?;
    if let Some(query) = rendered.query() {
        let all = url
            .query()
            .map_or_else(|| query.to_owned(), |own| format!("{own}&{query}"));
        url.set_query(Some(&all));
    }
    Ok(url)
}

/// Everything that makes the rendered request what it is. Debug shows a template's source and no secret.
fn definition(spec: &HttpSpec, extra: &str) -> String {
    let rendered_headers: Vec<_> = spec
        .headers
        .iter()
        .filter(|(_, source)| matches!(source, HeaderSource::Rendered(_)))
        .collect();
    let parts = (
        &spec.method,
        &spec.url,
        &spec.query,
        rendered_headers,
        &spec.body,
        extra,
    );
    hex::encode(Sha256::digest(format!("{parts:?}")))
}

fn render(template: &Template, context: &Context, what: impl FnOnce() -> String) -> Result<String, RequestError> {
    template
        .render(context)
        .map_err(|error| RequestError::Template(what(), error))
}

/// The URL with its query, proved to lead where the definition says.
fn url(spec: &HttpSpec, context: &Context) -> Result<String, RequestError> {
    let mut url = render(&spec.url, context, || "URL".to_owned())?;
    for (name, template) in &spec.query {
        let value = render(template, context, || format!("query parameter `{name}`"))?;
        if value.is_empty() && spec.is_operation {
            continue;
        }
        url.push(if url.contains('?') { '&' } else { '?' });
        url.extend(utf8_percent_encode(name, UNRESERVED));
        url.push('=');
        url.extend(utf8_percent_encode(&value, UNRESERVED));
    }
    within_origin(spec, &url)?;
    Ok(url)
}

/// Parses a rendered URL and refuses what a value could have bent: another origin, `..` segments, a fragment, or the
/// characters that URL parsers drop or read as slashes.
fn within_origin(spec: &HttpSpec, rendered: &str) -> Result<Url, RequestError> {
    if rendered
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return Err(RequestError::Strayed(
            "has white space, a control character or a backslash; `urlencode` the value",
        ));
    }
    let url = Url::parse(rendered).map_err(RequestError::Url)?;
    if url.origin() != spec.origin.origin() || !url.has_host() {
        return Err(RequestError::Strayed(
            "leads to another scheme, host or port than the one configured",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RequestError::Strayed("has a user name or password in it"));
    }
    if url.fragment().is_some() {
        return Err(RequestError::Strayed("has a `#` in it; `urlencode` the value"));
    }
    let path = rendered
        .split_once('?')
        .map_or(rendered, |(path, _)| path)
        .to_ascii_lowercase()
        .replace("%2e", ".");
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(RequestError::Strayed(
            "has a `.` or `..` segment, which would change its path",
        ));
    }
    if url.scheme() != "https" && !spec.allow_http {
        return Err(RequestError::PlainHttp);
    }
    Ok(url)
}

/// The body and the content type that goes with it.
fn body(spec: &HttpSpec, context: &Context) -> Result<(Option<String>, Option<String>), RequestError> {
    let failed = |error| RequestError::Template("body".to_owned(), error);
    match &spec.body {
        BodySpec::Empty => Ok((None, None)),
        BodySpec::Json(tree) => {
            let mut value = tree.render(context).map_err(failed)?;
            if spec.is_operation {
                value = tidied(value);
            }
            Ok((Some(value.to_string()), Some("application/json".to_owned())))
        }
        BodySpec::Form(fields) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, template) in fields {
                form.append_pair(name, &render(template, context, || format!("form field `{name}`"))?);
            }
            Ok((
                Some(form.finish()),
                Some("application/x-www-form-urlencoded".to_owned()),
            ))
        }
        BodySpec::Text { template, content_type } => Ok((
            Some(template.render(context).map_err(failed)?),
            Some(content_type.clone()),
        )),
    }
}

/// A body without its null members, and with every `"..."` spread into the object it stands in; what is written beside it
/// wins over what is in it.
fn tidied(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(tidied).collect(),
        Value::Object(members) => {
            let mut tidy = serde_json::Map::new();
            let mut spread = None;
            for (name, member) in members {
                match tidied(member) {
                    Value::Null => {}
                    Value::Object(more) if name == SPREAD => spread = Some(more),
                    member => drop(tidy.insert(name, member)),
                }
            }
            for (name, member) in spread.into_iter().flatten() {
                tidy.entry(name).or_insert(member);
            }
            Value::Object(tidy)
        }
        other => other,
    }
}

/// A header's value; UTF-8 passes, line breaks do not.
fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, RequestError> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_control| RequestError::Header(name.clone()))
}
