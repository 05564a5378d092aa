//! How a gateway signs, as the `[signature]` table of its file says: where the signature is, how it is spelt, and over what.
//!
//! It must not hold a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::Refusal;
use super::keys::Key;

/// A digest of HMAC-SHA256.
pub(super) type Digest = [u8; 32];

/// How a gateway signs.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub struct Scheme {
    header: HeaderName,
    aliases: Vec<HeaderName>,
    prefix: String,
    encoding: Encoding,
    content: Vec<Part>,
    timestamp_header: Option<HeaderName>,
    secret_encoding: SecretEncoding,
}

/// The `[signature]` table as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    headers: Vec<String>,
    #[serde(default)]
    prefix: String,
    encoding: Encoding,
    #[expect(
        dead_code,
        reason = "there is one algorithm so far; naming it keeps a file's meaning when there are two"
    )]
    algorithm: Algorithm,
    #[serde(default = "the_body")]
    content: String,
    timestamp_header: Option<String>,
    #[serde(default)]
    secret_encoding: SecretEncoding,
}

fn the_body() -> String {
    "{body}".to_owned()
}

/// How a digest is written in its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 of the standard alphabet, padded.
    Base64,
}

/// How a digest is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Algorithm {
    /// HMAC-SHA256, RFC 2104 and FIPS 180-4.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

/// How the key's bytes are had from the secret's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretEncoding {
    /// The text itself, prefix and all.
    #[default]
    Utf8,
    /// Base64 after `whsec_`, as the Standard Webhooks convention has it.
    Whsec,
    /// Base64.
    Base64,
    /// Hexadecimal.
    Hex,
}

impl std::fmt::Display for SecretEncoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8 text",
            Self::Whsec => "base64 after whsec_",
            Self::Base64 => "base64",
            Self::Hex => "hexadecimal",
        })
    }
}

/// A piece of what is signed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Body,
    Timestamp,
    Literal(String),
}

/// Why a `[signature]` table makes no scheme.
#[derive(Debug, thiserror::Error)]
enum SchemeError {
    #[error("`headers` names no header")]
    NoHeader,
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    #[error("`prefix` cannot stand in a header")]
    Prefix,
    #[error("`content` must hold {{body}} once; what else it may hold is {{timestamp}} once and plain text")]
    Content,
    #[error("`content` with {{timestamp}} needs `timestamp_header`, and only then")]
    TimestampHeader,
}

impl TryFrom<Table> for Scheme {
    type Error = SchemeError;

    fn try_from(table: Table) -> Result<Self, SchemeError> {
        let mut names = table.headers.iter().map(|name| header_name(name));
        let header = names.next().ok_or(SchemeError::NoHeader)??;
        let aliases = names.collect::<Result<_, _>>()?;
        HeaderValue::from_str(&table.prefix).map_err(|_| SchemeError::Prefix)?;
        let content = parts(&table.content)?;
        let timestamp_header = table.timestamp_header.as_deref().map(header_name).transpose()?;
        if content.contains(&Part::Timestamp) != timestamp_header.is_some() {
            return Err(SchemeError::TimestampHeader);
        }
        let Table {
            prefix,
            encoding,
            secret_encoding,
            ..
        } = table;
        Ok(Self {
            header,
            aliases,
            prefix,
            encoding,
            content,
            timestamp_header,
            secret_encoding,
        })
    }
}

fn header_name(name: &str) -> Result<HeaderName, SchemeError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| SchemeError::HeaderName(name.to_owned()))
}

/// Splits a content template. A body that is not signed would be no signature at all, so `{body}` is asked for.
fn parts(template: &str) -> Result<Vec<Part>, SchemeError> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (token, tail) = tail.split_once('}').ok_or(SchemeError::Content)?;
        push_literal(&mut parts, literal);
        parts.push(match token {
            "body" => Part::Body,
            "timestamp" => Part::Timestamp,
            _ => return Err(SchemeError::Content),
        });
        rest = tail;
    }
    push_literal(&mut parts, rest);
    let count = |wanted: &Part| parts.iter().filter(|part| *part == wanted).count();
    if count(&Part::Body) == 1 && count(&Part::Timestamp) <= 1 {
        Ok(parts)
    } else {
        Err(SchemeError::Content)
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) {
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
}

impl Scheme {
    /// The header that carries the signature; where there are aliases, the first.
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Every header that may carry the signature, in the order in which they are looked for.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        std::iter::once(&self.header).chain(&self.aliases)
    }

    /// The header that carries the signed time, for a scheme that signs one.
    pub const fn timestamp_header(&self) -> Option<&HeaderName> {
        self.timestamp_header.as_ref()
    }

    /// What stands before the digest in its header.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How the digest is written.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How the key is had from the secret.
    pub const fn secret_encoding(&self) -> SecretEncoding {
        self.secret_encoding
    }

    /// The digest that the delivery presents.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Result<Digest, Refusal> {
        let name = self
            .headers()
            .find(|name| headers.contains_key(*name))
            .ok_or(Refusal::Missing)?;
        let value = only(headers, name).ok_or(Refusal::Duplicated)?;
        let digest = value
            .as_bytes()
            .strip_prefix(self.prefix.as_bytes())
            .ok_or(Refusal::Malformed)?;
        match self.encoding {
            Encoding::Hex => from_lower_hex(digest),
            Encoding::Base64 => from_base64(digest),
        }
    }

    /// The text of the timestamp that was signed; empty for a scheme that signs none.
    ///
    /// Nothing separates it from the body in some schemes, so only a whole Unix time is taken: 10 digits of seconds or 13
    /// of milliseconds.
    pub(super) fn timestamp<'a>(&self, headers: &'a HeaderMap) -> Result<&'a [u8], Refusal> {
        let Some(name) = &self.timestamp_header else {
            return Ok(b"");
        };
        if !headers.contains_key(name) {
            return Err(Refusal::TimestampMissing);
        }
        only(headers, name)
            .map(HeaderValue::as_bytes)
            .filter(|text| is_unix_time(text))
            .ok_or(Refusal::TimestampMalformed)
    }

    /// The digest that `key` gives for these bytes.
    pub(super) fn digest(&self, key: &Key, timestamp: &[u8], body: &[u8]) -> Digest {
        let mut mac = key.mac.clone();
        for piece in self.pieces(timestamp, body) {
            mac.update(piece);
        }
        mac.finalize().into_bytes().into()
    }

    /// What is signed, in one piece; [`Scheme::digest`] spares the copy.
    pub(super) fn signed_bytes(&self, timestamp: &[u8], body: &[u8]) -> Vec<u8> {
        self.pieces(timestamp, body).flatten().copied().collect()
    }

    fn pieces<'a>(&'a self, timestamp: &'a [u8], body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.content.iter().map(move |part| match part {
            Part::Body => body,
            Part::Timestamp => timestamp,
            Part::Literal(text) => text.as_bytes(),
        })
    }

    /// The digest as its header spells it.
    pub(super) fn spell(&self, digest: Digest) -> String {
        let digest = match self.encoding {
            Encoding::Hex => hex::encode(digest),
            Encoding::Base64 => STANDARD.encode(digest),
        };
        format!("{}{digest}", self.prefix)
    }
}

/// The header's value if it is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

pub(super) fn is_unix_time(text: &[u8]) -> bool {
    matches!(text.len(), 10 | 13) && text.iter().all(u8::is_ascii_digit)
}

fn from_lower_hex(text: &[u8]) -> Result<Digest, Refusal> {
    if text.is_empty() || !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Refusal::Malformed);
    }
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).map_err(|_| Refusal::WrongLength)?;
    Ok(digest)
}

/// The decoder refuses missing padding and stray bits in the last letter, so each digest has one spelling.
fn from_base64(text: &[u8]) -> Result<Digest, Refusal> {
    if text.is_empty() {
        return Err(Refusal::Malformed);
    }
    let bytes = STANDARD.decode(text).map_err(|_| Refusal::Malformed)?;
    bytes.try_into().map_err(|_| Refusal::WrongLength)
}
