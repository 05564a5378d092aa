//! How a gateway signs, as the `[signature]` table of its file says: the keys as typed, and what they mean for each kind.
//!
//! A key that has no meaning for its kind is an error, and so is a scheme that would let a delivery through unproven. It must
//! not hold a secret.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::algorithm::{Algorithm, Encoding};
use super::content::{Content, ContentError, Part};
use super::fixed::{Fixed, FixedPlace};
use super::jwt::Jwt;
use super::keys::{Key, SecretEncoding};
use super::moment::Unit;
use super::signed::{Place, Signed, TimestampPlace};
use super::{Keys, Nonce, Outgoing, Received, Refusal, parameters};

/// Five minutes, as the Standard Webhooks specification and most gateways have it.
const TOLERANCE_SECONDS: u64 = 300;
/// Nonces are remembered so long.
const NONCE_DAYS: u64 = 90;
/// For `exp` and `nbf`, by RFC 7519 "usually no more than a few minutes".
const LEEWAY_SECONDS: u64 = 60;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How a gateway signs.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub struct Scheme(pub(super) Kind);

/// The kinds of schemes.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A signature beside what it covers.
    Signed(Box<Signed>),
    /// A JSON Web Token.
    Jwt(Box<Jwt>),
    /// The secret itself.
    Fixed(Fixed),
}

/// The `[signature]` table as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    kind: KindName,
    #[serde(default)]
    headers: Vec<String>,
    param: Option<String>,
    #[serde(default)]
    prefix: String,
    prefix_optional: Option<bool>,
    separator: Option<String>,
    keys: Option<Vec<String>>,
    encoding: Option<Encoding>,
    algorithm: Option<Algorithm>,
    content: Option<String>,
    body_hash_param: Option<String>,
    timestamp_header: Option<OneOrMany>,
    timestamp_key: Option<String>,
    timestamp_param: Option<String>,
    timestamp_unit: Option<Unit>,
    tolerance_seconds: Option<u64>,
    nonce_header: Option<String>,
    nonce_days: Option<u64>,
    secret_encoding: Option<SecretEncoding>,
    issuer: Option<String>,
    audience: Option<bool>,
    body_hash_claim: Option<String>,
    url_hash_claim: Option<String>,
    max_age_seconds: Option<u64>,
    leeway_seconds: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    #[default]
    Signature,
    Jwt,
    Static,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Why a `[signature]` table makes no scheme.
#[derive(Debug, thiserror::Error)]
enum SchemeError {
    #[error("`headers` names no header, and there is no `param`")]
    NoPlace,
    #[error("`headers` and `param` are two places; the signature is in one")]
    TwoPlaces,
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    #[error("`prefix` cannot stand in a header")]
    Prefix,
    #[error("`separator` is one character of ASCII")]
    Separator,
    #[error("`keys` names no key")]
    NoKey,
    #[error("`encoding = \"plain\"` is for kind \"static\" alone, which takes \"plain\" and \"base64\"")]
    Encoding,
    #[error("kind = \"signature\" needs `{0}`")]
    Needed(&'static str),
    #[error(
        "`content` cannot hold {{{0}}}: it is made of {{body}}, {{timestamp}}, {{header:NAME}}, {{url}}, {{base_url}}, \
         {{body_sha256}}, {{form_sorted}}, {{params_vonage}} and plain text"
    )]
    Token(String),
    #[error("`content` holds the same thing twice")]
    Twice,
    #[error(
        "`content` covers nothing of the payload ({{body}}, {{body_sha256}}, {{form_sorted}} or {{params_vonage}}): such a \
         signature needs `nonce_header`, signed as well, or one delivery seen by somebody would sign any other"
    )]
    Unbound,
    #[error(
        "a timestamp counts only where it is signed: `content` with {{timestamp}} needs `timestamp_header` or \
         `timestamp_key`, {{params_vonage}} may have `timestamp_param`, and a place needs its {{timestamp}}"
    )]
    Timestamp,
    #[error("`{key}` has no meaning for kind = \"{kind}\"")]
    Meaningless { key: &'static str, kind: &'static str },
    #[error("a JWT needs `algorithm` \"hmac-sha256\", \"hmac-sha384\" or \"hmac-sha512\"")]
    JwtAlgorithm,
}

impl TryFrom<Table> for Scheme {
    type Error = SchemeError;

    fn try_from(table: Table) -> Result<Self, SchemeError> {
        HeaderValue::from_str(&table.prefix).map_err(|_| SchemeError::Prefix)?;
        table.refuse_meaningless()?;
        Ok(Self(match table.kind {
            KindName::Signature => Kind::Signed(Box::new(table.signed()?)),
            KindName::Jwt => Kind::Jwt(Box::new(table.jwt()?)),
            KindName::Static => Kind::Fixed(table.fixed()?),
        }))
    }
}

impl Table {
    /// A key that would be read and then not used is a misunderstanding.
    fn refuse_meaningless(&self) -> Result<(), SchemeError> {
        let of_signature = [
            ("prefix_optional", self.prefix_optional.is_some()),
            ("separator", self.separator.is_some()),
            ("keys", self.keys.is_some()),
            ("content", self.content.is_some()),
            ("body_hash_param", self.body_hash_param.is_some()),
            ("timestamp_header", self.timestamp_header.is_some()),
            ("timestamp_key", self.timestamp_key.is_some()),
            ("timestamp_param", self.timestamp_param.is_some()),
            ("timestamp_unit", self.timestamp_unit.is_some()),
            ("tolerance_seconds", self.tolerance_seconds.is_some()),
            ("nonce_header", self.nonce_header.is_some()),
            ("nonce_days", self.nonce_days.is_some()),
        ];
        let of_jwt = [
            ("issuer", self.issuer.is_some()),
            ("audience", self.audience.is_some()),
            ("body_hash_claim", self.body_hash_claim.is_some()),
            ("url_hash_claim", self.url_hash_claim.is_some()),
            ("max_age_seconds", self.max_age_seconds.is_some()),
            ("leeway_seconds", self.leeway_seconds.is_some()),
        ];
        let keyed = [
            ("algorithm", self.algorithm.is_some()),
            ("secret_encoding", self.secret_encoding.is_some()),
        ];
        let (kind, foreign): (_, Vec<_>) = match self.kind {
            KindName::Signature => ("signature", of_jwt.to_vec()),
            KindName::Jwt => {
                let own = [("encoding", self.encoding.is_some()), ("param", self.param.is_some())];
                ("jwt", of_signature.into_iter().chain(own).collect())
            }
            KindName::Static => ("static", of_signature.into_iter().chain(of_jwt).chain(keyed).collect()),
        };
        match foreign.into_iter().find(|(_, is_there)| *is_there) {
            Some((key, _)) => Err(SchemeError::Meaningless { key, kind }),
            None => Ok(()),
        }
    }

    fn signed(self) -> Result<Signed, SchemeError> {
        let content = self
            .content
            .as_deref()
            .map_or_else(|| Ok(Content::body()), parse_content)?;
        let encoding = self.encoding.ok_or(SchemeError::Needed("encoding"))?;
        if encoding == Encoding::Plain {
            return Err(SchemeError::Encoding);
        }
        let nonce_header = self.nonce_header.as_deref().map(header_name).transpose()?;
        let signs_nonce = |name: &HeaderName| content.headers().any(|known| known == name);
        let is_bound = content.binds_body() || nonce_header.as_ref().is_some_and(signs_nonce);
        if !is_bound {
            return Err(SchemeError::Unbound);
        }
        let timestamp = self.timestamp(&content)?;
        let tolerance = match (&timestamp, self.tolerance_seconds) {
            (None, Some(_)) => return Err(SchemeError::Timestamp),
            (None, None) | (Some(_), Some(0)) => None,
            (Some(_), seconds) => Some(Duration::from_secs(seconds.unwrap_or(TOLERANCE_SECONDS))),
        };
        Ok(Signed {
            place: self.place()?,
            prefix_optional: self.prefix_optional.unwrap_or_default(),
            separator: self.separator.as_deref().map(one_character).transpose()?,
            encoding,
            algorithm: self.algorithm.ok_or(SchemeError::Needed("algorithm"))?,
            content,
            timestamp,
            unit: self.timestamp_unit.unwrap_or_default(),
            tolerance,
            nonce_header,
            nonce_memory: Duration::from_secs(self.nonce_days.unwrap_or(NONCE_DAYS).saturating_mul(DAY_SECONDS)),
            secret_encoding: self.secret_encoding.unwrap_or_default(),
            prefix: self.prefix,
            body_hash_param: self.body_hash_param,
        })
    }

    fn place(&self) -> Result<Place, SchemeError> {
        let names = header_names(&self.headers)?;
        match (&self.param, names.is_empty(), &self.keys) {
            (None, true, _) => Err(SchemeError::NoPlace),
            (Some(_), false, _) | (Some(_), _, Some(_)) => Err(SchemeError::TwoPlaces),
            (Some(param), true, None) => Ok(Place::Param(param.clone())),
            (None, false, None) => Ok(Place::Headers(names)),
            (None, false, Some(keys)) if keys.is_empty() => Err(SchemeError::NoKey),
            (None, false, Some(keys)) => Ok(Place::Keys(names, keys.clone())),
        }
    }

    /// Where the timestamp is; only one that is signed is worth reading.
    fn timestamp(&self, content: &Content) -> Result<Option<TimestampPlace>, SchemeError> {
        let is_signed = content.has(&Part::Timestamp);
        let header = match &self.timestamp_header {
            None => None,
            Some(OneOrMany::One(name)) => Some(vec![header_name(name)?]),
            Some(OneOrMany::Many(names)) => Some(header_names(names)?),
        };
        match (header, &self.timestamp_key, &self.timestamp_param) {
            (None, None, None) if !is_signed => Ok(None),
            (Some(names), None, None) if is_signed && !names.is_empty() => Ok(Some(TimestampPlace::Headers(names))),
            (None, Some(key), None) if is_signed && self.keys.is_some() => Ok(Some(TimestampPlace::Key(key.clone()))),
            (None, None, Some(param)) if content.has(&Part::ParamsVonage) && !is_signed => {
                Ok(Some(TimestampPlace::Param(param.clone())))
            }
            _ => Err(SchemeError::Timestamp),
        }
    }

    fn jwt(self) -> Result<Jwt, SchemeError> {
        let headers = header_names(&self.headers)?;
        if headers.is_empty() {
            return Err(SchemeError::NoPlace);
        }
        let algorithm = self.algorithm.filter(|algorithm| algorithm.jwt_name().is_some());
        Ok(Jwt {
            headers,
            prefix: self.prefix,
            algorithm: algorithm.ok_or(SchemeError::JwtAlgorithm)?,
            secret_encoding: self.secret_encoding.unwrap_or_default(),
            issuer: self.issuer,
            audience: self.audience.unwrap_or_default(),
            body_hash_claim: self.body_hash_claim,
            url_hash_claim: self.url_hash_claim,
            max_age: self.max_age_seconds.map(Duration::from_secs),
            leeway: Duration::from_secs(self.leeway_seconds.unwrap_or(LEEWAY_SECONDS)),
        })
    }

    fn fixed(self) -> Result<Fixed, SchemeError> {
        let encoding = self.encoding.unwrap_or(Encoding::Plain);
        if !matches!(encoding, Encoding::Plain | Encoding::Base64) {
            return Err(SchemeError::Encoding);
        }
        let names = header_names(&self.headers)?;
        let place = match (self.param, names.is_empty()) {
            (None, true) => return Err(SchemeError::NoPlace),
            (Some(_), false) => return Err(SchemeError::TwoPlaces),
            (Some(param), true) => FixedPlace::Param(param),
            (None, false) => FixedPlace::Headers(names),
        };
        Ok(Fixed {
            place,
            prefix: self.prefix,
            encoding,
        })
    }
}

fn parse_content(template: &str) -> Result<Content, SchemeError> {
    Content::parse(template).map_err(|error| match error {
        ContentError::Token(token) => SchemeError::Token(token),
        ContentError::Twice => SchemeError::Twice,
    })
}

fn header_names(names: &[String]) -> Result<Vec<HeaderName>, SchemeError> {
    names.iter().map(|name| header_name(name)).collect()
}

fn header_name(name: &str) -> Result<HeaderName, SchemeError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| SchemeError::HeaderName(name.to_owned()))
}

fn one_character(text: &str) -> Result<char, SchemeError> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) if character.is_ascii() => Ok(character),
        _ => Err(SchemeError::Separator),
    }
}

impl Scheme {
    /// Every header that may carry the signature.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let names: &[HeaderName] = match &self.0 {
            Kind::Signed(signed) => signed.headers(),
            Kind::Jwt(jwt) => &jwt.headers,
            Kind::Fixed(fixed) => match &fixed.place {
                FixedPlace::Headers(names) => names,
                FixedPlace::Param(_) => &[],
            },
        };
        names.iter()
    }

    /// Every header that has a part in the verification: that of the signature, of its time, of a nonce, and those that are
    /// signed.
    pub fn all_headers(&self) -> Vec<&HeaderName> {
        let mut names: Vec<&HeaderName> = self.headers().collect();
        if let Kind::Signed(signed) = &self.0 {
            if let Some(TimestampPlace::Headers(headers)) = &signed.timestamp {
                names.extend(headers);
            }
            names.extend(signed.content.headers());
            names.extend(&signed.nonce_header);
        }
        names
    }

    /// How the key is had from the secret.
    pub fn secret_encoding(&self) -> SecretEncoding {
        match &self.0 {
            Kind::Signed(signed) => signed.secret_encoding,
            Kind::Jwt(jwt) => jwt.secret_encoding,
            Kind::Fixed(_) => SecretEncoding::Utf8,
        }
    }

    /// What a secret is for that does not say so itself.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Kind::Signed(signed) => signed.algorithm,
            Kind::Jwt(jwt) => jwt.algorithm,
            // It is not used: the secret is compared.
            Kind::Fixed(_) => Algorithm::HmacSha256,
        }
    }

    /// Whether a secret may be for this algorithm.
    pub fn takes(&self, algorithm: Algorithm) -> bool {
        match &self.0 {
            Kind::Signed(_) => true,
            Kind::Jwt(_) => algorithm.jwt_name().is_some(),
            Kind::Fixed(_) => algorithm == Algorithm::HmacSha256,
        }
    }

    /// Whether the endpoint's public URL takes part in the verification.
    pub fn needs_url(&self) -> bool {
        match &self.0 {
            Kind::Signed(signed) => signed.content.needs_url(),
            Kind::Jwt(jwt) => jwt.audience || jwt.url_hash_claim.is_some(),
            Kind::Fixed(_) => false,
        }
    }

    /// Whether no byte of the payload can change without the signature becoming wrong.
    pub fn binds_body(&self) -> bool {
        match &self.0 {
            Kind::Signed(signed) => signed.content.binds_body(),
            Kind::Jwt(jwt) => jwt.binds_body(),
            Kind::Fixed(_) => false,
        }
    }

    /// How far the time that is signed may be from that of receipt, either way; `None` where it is not looked at.
    pub fn tolerance(&self) -> Option<Duration> {
        match &self.0 {
            Kind::Signed(signed) => signed.tolerance,
            Kind::Jwt(jwt) => jwt.max_age,
            Kind::Fixed(_) => None,
        }
    }

    /// How long after it was made a signature of ours is taken; `None` where that is not looked at.
    pub fn good_for(&self) -> Option<Duration> {
        match &self.0 {
            Kind::Signed(signed) => signed.tolerance,
            Kind::Jwt(jwt) => Some(jwt.good_for()),
            Kind::Fixed(_) => None,
        }
    }

    /// Whether deliveries carry a time that is signed, so that a tolerance has a meaning.
    pub fn has_time(&self) -> bool {
        match &self.0 {
            Kind::Signed(signed) => signed.timestamp.is_some(),
            Kind::Jwt(jwt) => jwt.max_age.is_some(),
            Kind::Fixed(_) => false,
        }
    }

    /// The same with another tolerance, where there is a time; none at all for zero, but a JWT keeps what ends it.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        let wanted = (!tolerance.is_zero()).then_some(tolerance);
        match &mut self.0 {
            Kind::Signed(signed) if signed.timestamp.is_some() => signed.tolerance = wanted,
            Kind::Jwt(jwt) if jwt.max_age.is_some() && wanted.is_some() => jwt.max_age = wanted,
            Kind::Signed(_) | Kind::Jwt(_) | Kind::Fixed(_) => {}
        }
        self
    }

    /// Whether deliveries carry a value that is used once and remembered.
    pub fn has_nonce(&self) -> bool {
        match &self.0 {
            Kind::Signed(signed) => signed.nonce_header.is_some(),
            Kind::Jwt(jwt) => !jwt.binds_body(),
            Kind::Fixed(_) => false,
        }
    }

    /// The same with nonces remembered so long; tokens are remembered as long as they are good.
    #[must_use]
    pub fn with_nonce_memory(mut self, memory: Duration) -> Self {
        if let Kind::Signed(signed) = &mut self.0 {
            signed.nonce_memory = memory;
        }
        self
    }

    /// The parameter of the query that is a secret, if there is one: it must not be stored.
    pub(super) fn secret_param(&self) -> Option<&str> {
        match &self.0 {
            Kind::Fixed(fixed) => fixed.secret_param(),
            Kind::Signed(_) | Kind::Jwt(_) => None,
        }
    }

    /// The value of the first header that is signed as part of the content and is no nonce.
    pub(super) fn delivery_id(&self, headers: &HeaderMap) -> Option<String> {
        match &self.0 {
            Kind::Signed(signed) if signed.nonce_header.is_none() => signed.content.first_header(headers),
            Kind::Signed(_) | Kind::Jwt(_) | Kind::Fixed(_) => None,
        }
    }

    /// What a delivery says: the body, or for GET the query, without a parameter that is a secret.
    pub fn payload(&self, received: &Received<'_>) -> Bytes {
        match (self.secret_param(), received.query) {
            (Some(name), Some(query)) if received.method == Method::GET => {
                Bytes::from(parameters::without(query, name))
            }
            _ => received.payload(),
        }
    }

    pub(super) fn verify(&self, keys: &Keys, received: &Received<'_>) -> Result<(u32, Option<Nonce>), Refusal> {
        match &self.0 {
            Kind::Signed(signed) => signed.verify(keys, received),
            Kind::Jwt(jwt) => jwt.verify(keys, received),
            Kind::Fixed(fixed) => fixed.verify(keys, received).map(|secret| (secret, None)),
        }
    }

    pub(super) fn sign(&self, key: &Key, outgoing: &mut Outgoing) {
        match &self.0 {
            Kind::Signed(signed) => signed.sign(key, outgoing),
            Kind::Jwt(jwt) => jwt.sign(key, outgoing),
            Kind::Fixed(fixed) => fixed.sign(key, outgoing),
        }
    }
}
