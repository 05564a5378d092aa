//! What a signature covers, as a gateway file's `content` says it: pieces of the delivery and plain text, one after another.
//!
//! Nothing is copied that lies in the request already. It must not know keys or algorithms.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::{Received, Refusal, parameters};

/// A compiled `content`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Content(pub(super) Vec<Part>);

/// A piece of what is signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// `{body}`: the body, byte for byte.
    Body,
    /// `{timestamp}`: the timestamp as the gateway wrote it.
    Timestamp,
    /// `{header:A|B}`: the value of the first of these headers that is there.
    Header(Vec<HeaderName>),
    /// `{url}`: the URL with its query.
    Url,
    /// `{base_url}`: the URL without its query.
    BaseUrl,
    /// `{body_sha256}`: the 32 bytes of the body's SHA-256.
    BodySha256,
    /// `{form_sorted}`: the form's fields as Twilio sorts them.
    FormSorted,
    /// `{params_vonage}`: the parameters as Vonage sorts them.
    ParamsVonage,
    /// Plain text.
    Literal(String),
}

/// Why a `content` cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ContentError {
    /// A brace is left open, or its word is none of ours.
    Token(String),
    /// The same token twice.
    Twice,
}

impl Content {
    /// The body alone.
    pub(super) fn body() -> Self {
        Self(vec![Part::Body])
    }

    pub(super) fn parse(template: &str) -> Result<Self, ContentError> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((literal, tail)) = rest.split_once('{') {
            let (token, tail) = tail
                .split_once('}')
                .ok_or_else(|| ContentError::Token(tail.to_owned()))?;
            push_literal(&mut parts, literal);
            let part = Part::parse(token).ok_or_else(|| ContentError::Token(token.to_owned()))?;
            if parts.contains(&part) {
                return Err(ContentError::Twice);
            }
            parts.push(part);
            rest = tail;
        }
        push_literal(&mut parts, rest);
        Ok(Self(parts))
    }

    pub(super) fn has(&self, part: &Part) -> bool {
        self.0.contains(part)
    }

    /// Whether no byte of the payload can change without changing what is signed.
    pub(super) fn binds_body(&self) -> bool {
        let binding = [Part::Body, Part::BodySha256, Part::FormSorted, Part::ParamsVonage];
        binding.iter().any(|part| self.has(part))
    }

    pub(super) fn needs_url(&self) -> bool {
        self.has(&Part::Url) || self.has(&Part::BaseUrl)
    }

    /// The headers whose values are signed.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().flat_map(|part| match part {
            Part::Header(names) => names.as_slice(),
            _ => &[],
        })
    }

    /// The value of the first header that is signed here, as text.
    pub(super) fn first_header(&self, headers: &HeaderMap) -> Option<String> {
        let names = self.0.iter().find_map(|part| match part {
            Part::Header(names) => Some(names),
            _ => None,
        })?;
        let value = std::str::from_utf8(value_of(headers, names)?).ok()?;
        Some(value.to_owned())
    }

    /// The pieces, in order, out of `material`.
    pub(super) fn pieces<'a>(&'a self, material: &'a Material<'_>) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().map(move |part| match part {
            Part::Body => material.body,
            Part::Timestamp => &*material.timestamp,
            Part::Header(names) => value_of(material.headers, names).unwrap_or_default(),
            Part::Url => material.url.as_bytes(),
            Part::BaseUrl => material.base_url.as_bytes(),
            Part::BodySha256 => material.body_sha256.as_slice(),
            Part::FormSorted => material.form.as_bytes(),
            Part::ParamsVonage => material.params.as_bytes(),
            Part::Literal(text) => text.as_bytes(),
        })
    }
}

impl Part {
    fn parse(token: &str) -> Option<Self> {
        Some(match token {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "url" => Self::Url,
            "base_url" => Self::BaseUrl,
            "body_sha256" => Self::BodySha256,
            "form_sorted" => Self::FormSorted,
            "params_vonage" => Self::ParamsVonage,
            _ => {
                let names = token.strip_prefix("header:")?.split('|');
                let names = names.map(|name| HeaderName::from_bytes(name.as_bytes()));
                Self::Header(names.collect::<Result<_, _>>().ok()?)
            }
        })
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) {
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
}

/// The value of the first of these headers that is there.
fn value_of<'a>(headers: &'a HeaderMap, names: &[HeaderName]) -> Option<&'a [u8]> {
    names.iter().find_map(|name| Some(headers.get(name)?.as_bytes()))
}

/// The pieces of one delivery, those made that the content names.
pub(super) struct Material<'a> {
    body: &'a [u8],
    timestamp: Cow<'a, [u8]>,
    headers: &'a HeaderMap,
    url: String,
    base_url: String,
    body_sha256: [u8; 32],
    form: String,
    params: String,
}

impl<'a> Material<'a> {
    /// Gathers what `content` names; `own` is the parameter that carries the signature itself, `body_hash` the one in whose
    /// presence the query vouches for the body.
    pub(super) fn gather(
        content: &Content,
        received: &Received<'a>,
        timestamp: Cow<'a, [u8]>,
        own: Option<&str>,
        body_hash: Option<&str>,
    ) -> Result<Self, Refusal> {
        let mut material = Self {
            body: received.body,
            timestamp,
            headers: received.headers,
            url: String::new(),
            base_url: String::new(),
            body_sha256: [0; 32],
            form: String::new(),
            params: String::new(),
        };
        for part in &content.0 {
            match part {
                Part::Header(names) => {
                    let is_repeated = |name: &HeaderName| received.headers.get_all(name).iter().count() > 1;
                    if value_of(received.headers, names).is_none() || names.iter().any(is_repeated) {
                        return Err(Refusal::PartMissing);
                    }
                }
                Part::BodySha256 => material.body_sha256 = Sha256::digest(received.body).into(),
                Part::FormSorted => material.form = form_of(received, body_hash)?,
                Part::ParamsVonage => {
                    material.params = parameters::sorted_for_vonage(parameters::of_payload(received), own)
                        .ok_or(Refusal::Duplicated)?;
                }
                Part::Body | Part::Timestamp | Part::Url | Part::BaseUrl | Part::Literal(_) => {}
            }
        }
        if content.needs_url() {
            material.place(received.url, received.query);
        }
        Ok(material)
    }

    /// Says at which URL the delivery was made.
    pub(super) fn place(&mut self, base_url: &str, query: Option<&str>) {
        base_url.clone_into(&mut self.base_url);
        self.url = whole(base_url, query);
    }
}

/// The URL with its query.
pub(super) fn whole(base_url: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{base_url}?{query}"),
        None => base_url.to_owned(),
    }
}

/// The form, sorted; nothing for GET, and nothing where the query holds the hash of the body, which then must be right.
fn form_of(received: &Received<'_>, body_hash: Option<&str>) -> Result<String, Refusal> {
    if received.method == http::Method::GET {
        return Ok(String::new());
    }
    if let Some(name) = body_hash {
        let query = parameters::of_form(received.query.unwrap_or_default().as_bytes());
        match parameters::only(&query, name) {
            Ok(hash) if is_hash_of(hash, received.body) => return Ok(String::new()),
            Ok(_) => return Err(Refusal::BodyHash),
            Err(0) => {}
            Err(_) => return Err(Refusal::Duplicated),
        }
    }
    Ok(parameters::sorted_and_joined(parameters::of_form(received.body)))
}

/// Whether this is the body's SHA-256 in hexadecimal, in lower case as every vendor writes it. A public fact on both sides:
/// the signature covers it.
pub(super) fn is_hash_of(hex: &str, body: &[u8]) -> bool {
    hex == hex::encode(Sha256::digest(body))
}

/// The ways in which the same address can be written: as it is, and with the scheme's own port added or a port taken out.
/// Vendors disagree with their own proxies about it; their libraries try both.
pub(super) fn spellings(url: &str) -> impl Iterator<Item = Cow<'_, str>> {
    std::iter::once(Cow::Borrowed(url)).chain(other_port(url).map(Cow::Owned))
}

fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host_ends = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let port = authority.get(host_ends..)?.rfind(':').map(|colon| host_ends + colon);
    let authority = match port {
        Some(colon) => authority.get(..colon)?.to_owned(),
        None if scheme.eq_ignore_ascii_case("https") => format!("{authority}:443"),
        None => format!("{authority}:80"),
    };
    Some(format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_is_tried_with_and_without_its_port() {
        for (url, other) in [
            ("https://a.example/x", "https://a.example:443/x"),
            ("http://a.example/x", "http://a.example:80/x"),
            ("https://a.example:443/x", "https://a.example/x"),
            ("https://a.example:8443/x", "https://a.example/x"),
            ("https://[::1]/x", "https://[::1]:443/x"),
            ("https://[::1]:443/x:y", "https://[::1]/x:y"),
            ("https://a.example", "https://a.example:443"),
        ] {
            let spelt: Vec<_> = spellings(url).collect();
            assert_eq!(spelt, [url, other]);
        }
        assert_eq!(spellings("nonsense").count(), 1);
    }

    #[test]
    fn a_content_is_read_to_its_end_or_not_at_all() {
        let part = |text: &str| Content::parse(text).unwrap().0;
        assert_eq!(part("{timestamp}.{body}").len(), 3);
        let headers = part("{header:webhook-id|svix-id}");
        assert!(matches!(&headers[..], [Part::Header(names)] if names.len() == 2));
        for wrong in ["{body", "{bodi}", "{header:}", "{header:a b}", "{}", "{body}{body}"] {
            assert!(Content::parse(wrong).is_err(), "{wrong}");
        }
    }
}
