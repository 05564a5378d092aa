//! Schemes that sign with a JSON Web Token (RFC 7519) of the HMAC family (RFC 7518, 3.2).
//!
//! The token's header never chooses: its `alg` must be the name of the one algorithm that the secret is for, so neither
//! `none` nor another strength gets through. The time is a parameter, as everywhere in this room. A token whose claims do not
//! bind the body authorises any body while it lasts, so it may be used for one only.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _};

use super::algorithm::{Algorithm, Digest};
use super::content::{is_hash_of, spellings, whole};
use super::keys::{Key, SecretEncoding};
use super::moment::is_near;
use super::signed::{once, put};
use super::{Keys, Nonce, Outgoing, Received, Refusal};

/// How long a gateway may take to deliver what it has signed: two attempts of seconds each, and clocks that differ a little.
const FRESH: Duration = Duration::from_secs(30);
/// How long a token of ours lasts.
const LIFE_SECONDS: i64 = 600;

/// Such a scheme.
#[derive(Clone, Debug)]
pub(super) struct Jwt {
    pub(super) headers: Vec<HeaderName>,
    pub(super) prefix: String,
    pub(super) algorithm: Algorithm,
    pub(super) secret_encoding: SecretEncoding,
    pub(super) issuer: Option<String>,
    pub(super) audience: bool,
    pub(super) body_hash_claim: Option<String>,
    pub(super) url_hash_claim: Option<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) leeway: Duration,
}

/// The header that a token begins with.
#[derive(Deserialize)]
struct Head {
    alg: String,
    /// Extensions that must be understood (RFC 7515, 4.1.11): we understand none.
    crit: Option<Value>,
}

/// A token taken apart.
struct Token<'a> {
    algorithm: String,
    signed: &'a [u8],
    signature: Digest,
    claims: Map<String, Value>,
    text: &'a [u8],
}

impl Jwt {
    /// The place of the secret that signed the token, and the token where it may be used only once.
    pub(super) fn verify(&self, keys: &Keys, received: &Received<'_>) -> Result<(u32, Option<Nonce>), Refusal> {
        let token = self.token(received)?;
        let mut matched = Choice::from(0);
        let mut secret = 0_u32;
        let mut is_taken = false;
        for (place, key) in (0_u32..).zip(keys.iter()) {
            if key.algorithm.jwt_name() != Some(&token.algorithm) {
                continue;
            }
            is_taken = true;
            let hit = key.ready.verifies(std::iter::once(token.signed), &token.signature);
            secret.conditional_assign(&place, hit);
            matched |= hit;
        }
        if !is_taken {
            return Err(Refusal::Algorithm);
        }
        if !bool::from(matched) {
            return Err(Refusal::Mismatch);
        }
        self.judge(&token.claims, received)?;
        Ok((secret, self.nonce(&token, received)))
    }

    fn token<'a>(&self, received: &Received<'a>) -> Result<Token<'a>, Refusal> {
        let name = self.headers.iter().find(|name| received.headers.contains_key(*name));
        let value = once(received.headers, name.ok_or(Refusal::Missing)?).ok_or(Refusal::Duplicated)?;
        let text = value.as_bytes().strip_prefix(self.prefix.as_bytes());
        Token::parse(text.ok_or(Refusal::Malformed)?).ok_or(Refusal::Malformed)
    }

    /// The claims of a delivery's token, before anything has been verified: for the diagnosis alone.
    pub(super) fn claims(&self, received: &Received<'_>) -> Option<Map<String, Value>> {
        self.token(received).ok().map(|token| token.claims)
    }

    /// The algorithm that a delivery's token names: for the diagnosis alone.
    pub(super) fn named_algorithm(&self, received: &Received<'_>) -> Option<String> {
        self.token(received).ok().map(|token| token.algorithm)
    }

    /// Whether the claims of a token that is genuine hold for this delivery.
    pub(super) fn judge(&self, claims: &Map<String, Value>, received: &Received<'_>) -> Result<(), Refusal> {
        self.judge_time(claims, received.at)?;
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Refusal::Issuer);
        }
        let is_ours = |text: &str| {
            let with_query = whole(received.url, received.query);
            let mut known = spellings(received.url).chain(spellings(&with_query));
            !text.is_empty() && known.any(|url| url == text)
        };
        if self.audience {
            let named = match claims.get("aud") {
                Some(Value::String(one)) => is_ours(one),
                Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).any(is_ours),
                _ => false,
            };
            if !named {
                return Err(Refusal::Audience);
            }
        }
        if let Some(claim) = &self.url_hash_claim {
            let url = whole(received.url, received.query);
            let hash = claims.get(claim).and_then(Value::as_str).unwrap_or_default();
            if !spellings(&url).any(|url| is_hash_of(hash, url.as_bytes())) {
                return Err(Refusal::UrlHash);
            }
        }
        if let Some(claim) = &self.body_hash_claim {
            let is_right = match claims.get(claim) {
                Some(Value::String(hash)) => !received.body.is_empty() && is_hash_of(hash, received.body),
                Some(_) => false,
                None => received.body.is_empty(),
            };
            if !is_right {
                return Err(Refusal::BodyHash);
            }
        }
        Ok(())
    }

    fn judge_time(&self, claims: &Map<String, Value>, at: i64) -> Result<(), Refusal> {
        let leeway = milliseconds(self.leeway);
        let time = |name: &str| {
            claims
                .get(name)
                .map(|value| numeric_date(value).ok_or(Refusal::Expired))
        };
        let (expires, begins, issued) = (
            time("exp").transpose()?,
            time("nbf").transpose()?,
            time("iat").transpose()?,
        );
        if expires.is_some_and(|expires| expires.saturating_add(leeway) < at) {
            return Err(Refusal::Expired);
        }
        if begins.is_some_and(|begins| begins.saturating_sub(leeway) > at) {
            return Err(Refusal::Expired);
        }
        match (self.max_age, issued, expires) {
            (Some(_), Some(issued), _) if is_near(issued, at, self.max_age) => Ok(()),
            // Something must end it.
            (None, _, Some(_)) => Ok(()),
            (Some(_), Some(_), _) => Err(Refusal::TimestampOutside),
            _ => Err(Refusal::Expired),
        }
    }

    fn nonce(&self, token: &Token<'_>, received: &Received<'_>) -> Option<Nonce> {
        if self.binds_body() {
            return None;
        }
        let expires = token.claims.get("exp").and_then(numeric_date);
        let aged = received
            .at
            .saturating_add(milliseconds(self.max_age.unwrap_or_default()));
        let ends = expires.unwrap_or(aged).saturating_add(milliseconds(self.leeway));
        Some(Nonce {
            digest: Sha256::digest(token.text).into(),
            payload: Sha256::digest(received.payload()).into(),
            keep_until: ends.div_euclid(1000).saturating_add(1),
            is_shared: is_shared(&token.claims, received.at),
        })
    }

    pub(super) const fn binds_body(&self) -> bool {
        self.body_hash_claim.is_some()
    }

    /// How long after it was issued a token of ours is taken.
    pub(super) fn good_for(&self) -> Duration {
        let life = Duration::from_secs(LIFE_SECONDS.unsigned_abs());
        self.max_age.unwrap_or(life + self.leeway)
    }

    /// Signs a request as the gateway would.
    pub(super) fn sign(&self, key: &Key, outgoing: &mut Outgoing) {
        let now = outgoing.at.div_euclid(1000);
        let mut claims = Map::new();
        claims.insert("iat".to_owned(), json!(now));
        if self.max_age.is_none() {
            claims.insert("nbf".to_owned(), json!(now - LIFE_SECONDS));
            claims.insert("exp".to_owned(), json!(now + LIFE_SECONDS));
        }
        if let Some(issuer) = &self.issuer {
            claims.insert("iss".to_owned(), json!(issuer));
        }
        let query = Some(outgoing.query.as_str()).filter(|query| !query.is_empty());
        let url = whole(&outgoing.url, query);
        if self.audience {
            claims.insert("aud".to_owned(), json!(url));
        }
        if let Some(claim) = &self.url_hash_claim {
            claims.insert(claim.clone(), json!(hex::encode(Sha256::digest(&url))));
        }
        if let Some(claim) = &self.body_hash_claim
            && !outgoing.body.is_empty()
        {
            claims.insert(claim.clone(), json!(hex::encode(Sha256::digest(&outgoing.body))));
        }
        // Gateways that bind the body give their tokens an ID; httpSMS does neither.
        if self.binds_body() {
            let mut unique = Sha256::new();
            unique.update(outgoing.at.to_be_bytes());
            unique.update(&outgoing.query);
            unique.update(&outgoing.body);
            let unique = hex::encode(unique.finalize());
            claims.insert("jti".to_owned(), json!(unique.get(..32)));
        }
        let head = json!({ "alg": key.algorithm.jwt_name(), "typ": "JWT" }).to_string();
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(head), encode(Value::Object(claims).to_string()));
        let signature = key.ready.sign(std::iter::once(signed.as_bytes()));
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap_or(Digest::EMPTY).bytes());
        let value = format!("{}{signed}.{signature}", self.prefix);
        put(&mut outgoing.headers, self.headers.first(), &value);
    }
}

impl<'a> Token<'a> {
    /// Three parts, each in its one spelling of base64url (the decoder refuses padding and stray bits).
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b'.');
        let (head, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok();
        let read: Head = serde_json::from_slice(&decode(head)?).ok()?;
        if read.crit.is_some() {
            return None;
        }
        Some(Self {
            algorithm: read.alg,
            signed: text.get(..head.len() + 1 + claims.len())?,
            signature: Digest::of(&decode(signature)?)?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            text,
        })
    }
}

/// A `NumericDate` (RFC 7519, 2: seconds, whole or not) in milliseconds, for the years 1970 to 9999.
fn numeric_date(value: &Value) -> Option<i64> {
    const LAST: i64 = 253_402_300_799;
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        None => whole_seconds(value.as_f64()?)?,
    };
    (0..=LAST).contains(&seconds).then_some(seconds * 1000)
}

/// Tokens count in seconds, so without an ID of its own (`jti`) one token stands for all that the gateway sends within a
/// second: two texts at once, a text and a report. While it is fresh that must not cost any of them.
fn is_shared(claims: &Map<String, Value>, at: i64) -> bool {
    let issued = claims.get("iat").and_then(numeric_date);
    !claims.contains_key("jti") && issued.is_some_and(|issued| is_near(issued, at, Some(FRESH)))
}

fn whole_seconds(seconds: f64) -> Option<i64> {
    let text = format!("{:.0}", seconds.floor());
    text.parse().ok()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
