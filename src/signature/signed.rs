//! Schemes that send a signature beside what it covers: HMACs, Ed25519 and their like, whatever the gateway.
//!
//! What every one of them has in common:
//!
//! * Each header named that is there is a candidate. A header that is there twice is [`Refusal::Duplicated`], even when one
//!   of the two is right: which one a proxy in between has judged cannot be known.
//! * A value is the prefix, as it is spelt, and the digest, nothing else. Quotes, blanks and bytes beyond ASCII are
//!   [`Refusal::Malformed`]. In a list, elements of another version are passed over.
//! * The whole digest is compared with that of every secret, in constant time and without an early exit.
//! * The time counts after the signature: only what is genuine can be late.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _};

use super::algorithm::{Algorithm, Digest, Encoding};
use super::content::{Content, Material, Part, spellings};
use super::keys::{Key, SecretEncoding};
use super::moment::{Unit, is_near};
use super::{Keys, Nonce, Outgoing, Received, Refusal, parameters};

/// Signatures looked at in one delivery; gateways send one per secret while they rotate.
const MOST_CANDIDATES: usize = 8;

/// Such a scheme.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) place: Place,
    pub(super) prefix: String,
    pub(super) prefix_optional: bool,
    pub(super) separator: Option<char>,
    pub(super) encoding: Encoding,
    pub(super) algorithm: Algorithm,
    pub(super) content: Content,
    pub(super) body_hash_param: Option<String>,
    pub(super) timestamp: Option<TimestampPlace>,
    pub(super) unit: Unit,
    /// `None`: its age is not checked.
    pub(super) tolerance: Option<Duration>,
    pub(super) nonce_header: Option<HeaderName>,
    pub(super) nonce_memory: Duration,
    pub(super) secret_encoding: SecretEncoding,
}

/// Where the signature stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In each of these headers that is there; the first is the one that we write.
    Headers(Vec<HeaderName>),
    /// In headers of pairs, `t=…,v1=…`, under each of these keys.
    Keys(Vec<HeaderName>, Vec<String>),
    /// In a parameter of the payload.
    Param(String),
}

/// Where the timestamp stands.
#[derive(Clone, Debug)]
pub(super) enum TimestampPlace {
    /// In the first of these headers that is there.
    Headers(Vec<HeaderName>),
    /// Beside the signature, under this key.
    Key(String),
    /// In a parameter of the payload.
    Param(String),
}

/// The signatures that a delivery presents.
pub(super) struct Candidates {
    digests: [Digest; MOST_CANDIDATES],
    count: usize,
}

impl Candidates {
    fn push(&mut self, digest: Digest) {
        if let Some(slot) = self.digests.get_mut(self.count) {
            *slot = digest;
            self.count += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.digests.iter().take(self.count)
    }
}

impl Signed {
    pub(super) fn headers(&self) -> &[HeaderName] {
        match &self.place {
            Place::Headers(names) | Place::Keys(names, _) => names,
            Place::Param(_) => &[],
        }
    }

    /// The place of the secret that signed the delivery, and what of it may be used only once.
    pub(super) fn verify(&self, keys: &Keys, received: &Received<'_>) -> Result<(u32, Option<Nonce>), Refusal> {
        let candidates = self.presented(received)?;
        let timestamp = self.timestamp(received)?;
        let own = match &self.place {
            Place::Param(name) => Some(name.as_str()),
            _ => None,
        };
        let time = timestamp.clone().unwrap_or_default();
        let mut material = Material::gather(&self.content, received, time, own, self.body_hash_param.as_deref())?;
        let nonce = self.nonce(received)?;
        let mut secret = self.matching(keys, &candidates, &material);
        if self.content.needs_url() {
            for url in spellings(received.url).skip(1) {
                material.place(&url, received.query);
                secret = secret.or_else(|| self.matching(keys, &candidates, &material));
            }
        }
        let secret = secret.ok_or_else(|| why_not(keys, &candidates))?;
        if let Some(text) = timestamp
            && !is_near(self.unit.read(&text)?, received.at, self.tolerance)
        {
            return Err(Refusal::TimestampOutside);
        }
        Ok((secret, nonce))
    }

    fn matching(&self, keys: &Keys, candidates: &Candidates, material: &Material<'_>) -> Option<u32> {
        let mut matched = Choice::from(0);
        let mut secret = 0_u32;
        for (place, key) in (0_u32..).zip(keys.iter()) {
            for candidate in candidates.iter() {
                let hit = key.ready.verifies(self.content.pieces(material), candidate);
                secret.conditional_assign(&place, hit);
                matched |= hit;
            }
        }
        bool::from(matched).then_some(secret)
    }

    /// The digests that the delivery presents; at least one.
    pub(super) fn presented(&self, received: &Received<'_>) -> Result<Candidates, Refusal> {
        let mut candidates = Candidates {
            digests: [Digest::EMPTY; MOST_CANDIDATES],
            count: 0,
        };
        let mut refusal = Refusal::Missing;
        match &self.place {
            Place::Headers(names) => {
                for value in each_once(received.headers, names)? {
                    refusal = self.read(value.as_bytes(), &mut candidates).err().unwrap_or(refusal);
                }
            }
            Place::Keys(names, keys) => {
                for value in each_once(received.headers, names)? {
                    refusal = Refusal::Malformed;
                    for (key, value) in pairs(value) {
                        if keys.iter().any(|known| known == key)
                            && let Ok(digest) = self.encoding.read(value.as_bytes())
                        {
                            candidates.push(digest);
                        }
                    }
                }
            }
            Place::Param(name) => {
                let payload = parameters::of_payload(received);
                match parameters::only(&payload, name) {
                    Ok(value) => refusal = self.read(value.as_bytes(), &mut candidates).err().unwrap_or(refusal),
                    Err(0) => {}
                    Err(_) => return Err(Refusal::Duplicated),
                }
            }
        }
        if candidates.count == 0 {
            Err(refusal)
        } else {
            Ok(candidates)
        }
    }

    /// Reads the value of one header: one digest, or a list of them.
    fn read(&self, value: &[u8], candidates: &mut Candidates) -> Result<(), Refusal> {
        let Some(separator) = self.separator else {
            candidates.push(self.read_one(value)?);
            return Ok(());
        };
        let is_separator = |byte: &u8| char::from(*byte) == separator;
        for element in value.split(is_separator) {
            if let Ok(digest) = self.read_one(element) {
                candidates.push(digest);
            }
        }
        if candidates.count == 0 {
            Err(Refusal::Malformed)
        } else {
            Ok(())
        }
    }

    fn read_one(&self, value: &[u8]) -> Result<Digest, Refusal> {
        let digest = match value.strip_prefix(self.prefix.as_bytes()) {
            Some(digest) => digest,
            None if self.prefix_optional => value,
            None => return Err(Refusal::Malformed),
        };
        self.encoding.read(digest)
    }

    /// The text of the timestamp that was signed; `None` for a scheme that signs none.
    pub(super) fn timestamp<'a>(&self, received: &Received<'a>) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        let text = match &self.timestamp {
            None => return Ok(None),
            Some(TimestampPlace::Headers(names)) => {
                let name = names.iter().find(|name| received.headers.contains_key(*name));
                let name = name.ok_or(Refusal::TimestampMissing)?;
                let value = once(received.headers, name).ok_or(Refusal::TimestampMalformed)?;
                Cow::Borrowed(value.as_bytes())
            }
            Some(TimestampPlace::Key(key)) => {
                let values = each_once(received.headers, self.headers())?;
                let mut found = values.flat_map(pairs).filter(|(known, _)| known == key);
                let (_, value) = found.next().ok_or(Refusal::TimestampMissing)?;
                if found.next().is_some() {
                    return Err(Refusal::TimestampMalformed);
                }
                Cow::Borrowed(value.as_bytes())
            }
            Some(TimestampPlace::Param(name)) => {
                let payload = parameters::of_payload(received);
                match parameters::only(&payload, name) {
                    Ok(value) => Cow::Owned(value.as_bytes().to_vec()),
                    Err(0) => return Err(Refusal::TimestampMissing),
                    Err(_) => return Err(Refusal::TimestampMalformed),
                }
            }
        };
        self.unit.read(&text)?;
        Ok(Some(text))
    }

    fn nonce(&self, received: &Received<'_>) -> Result<Option<Nonce>, Refusal> {
        let Some(name) = &self.nonce_header else {
            return Ok(None);
        };
        let value = once(received.headers, name).ok_or(Refusal::PartMissing)?;
        let memory = i64::try_from(self.nonce_memory.as_secs()).unwrap_or(i64::MAX);
        Ok(Some(Nonce {
            digest: Sha256::digest(value.as_bytes()).into(),
            payload: Sha256::digest(received.payload()).into(),
            keep_until: received.at.div_euclid(1000).saturating_add(memory),
            is_shared: false,
        }))
    }

    /// Signs a request as the gateway would.
    pub(super) fn sign(&self, key: &Key, outgoing: &mut Outgoing) {
        let time = self.unit.write(outgoing.at);
        match &self.timestamp {
            Some(TimestampPlace::Headers(names)) => put(&mut outgoing.headers, names.first(), &time),
            Some(TimestampPlace::Param(name)) => parameters::set(outgoing, name, &time),
            Some(TimestampPlace::Key(_)) | None => {}
        }
        if let Some(name) = &self.body_hash_param
            && outgoing.body.first() == Some(&b'{')
        {
            let hash = hex::encode(Sha256::digest(&outgoing.body));
            parameters::set_in_query(outgoing, name, &hash);
        }
        self.fill_in_headers(outgoing);
        let spelt = self.signature(key, outgoing, &time).unwrap_or_default();
        match (&self.place, &self.timestamp) {
            (Place::Headers(names), _) => put(&mut outgoing.headers, names.first(), &spelt),
            (Place::Keys(names, keys), timestamp) => {
                let time = match timestamp {
                    Some(TimestampPlace::Key(key)) => format!("{key}={time},"),
                    _ => String::new(),
                };
                let key = keys.first().map(String::as_str).unwrap_or_default();
                put(&mut outgoing.headers, names.first(), &format!("{time}{key}={spelt}"));
            }
            (Place::Param(name), _) => parameters::set(outgoing, name, &spelt),
        }
    }

    /// Headers that are signed and that the caller has not set: an ID or a nonce, the same for the same delivery.
    fn fill_in_headers(&self, outgoing: &mut Outgoing) {
        let mut hash = Sha256::new();
        hash.update(outgoing.at.to_be_bytes());
        hash.update(&outgoing.query);
        hash.update(&outgoing.body);
        let made_up = hex::encode(hash.finalize());
        let made_up = made_up.get(..32).unwrap_or_default();
        for part in &self.content.0 {
            if let Part::Header(names) = part
                && !names.iter().any(|name| outgoing.headers.contains_key(name))
            {
                put(&mut outgoing.headers, names.first(), made_up);
            }
        }
        if let Some(name) = &self.nonce_header
            && !outgoing.headers.contains_key(name)
        {
            put(&mut outgoing.headers, Some(name), made_up);
        }
    }

    fn signature(&self, key: &Key, outgoing: &Outgoing, time: &str) -> Option<String> {
        let body = bytes::Bytes::copy_from_slice(&outgoing.body);
        let received = Received {
            method: &outgoing.method,
            url: &outgoing.url,
            query: Some(outgoing.query.as_str()).filter(|query| !query.is_empty()),
            headers: &outgoing.headers,
            body: &body,
            at: outgoing.at,
        };
        let own = match &self.place {
            Place::Param(name) => Some(name.as_str()),
            _ => None,
        };
        let time = Cow::Borrowed(time.as_bytes());
        let material = Material::gather(&self.content, &received, time, own, self.body_hash_param.as_deref()).ok()?;
        let digest = key.ready.sign(self.content.pieces(&material))?;
        Some(format!("{}{}", self.prefix, self.encoding.write(&digest)))
    }
}

/// Why none of the candidates matched: none has the length that any of the secrets would give, or they are wrong.
fn why_not(keys: &Keys, candidates: &Candidates) -> Refusal {
    let fits = |digest: &Digest| {
        keys.iter()
            .any(|key| key.algorithm.signature_bytes() == digest.bytes().len())
    };
    if candidates.iter().any(fits) {
        Refusal::Mismatch
    } else {
        Refusal::WrongLength
    }
}

/// The values of these headers, each of which may be there once.
fn each_once<'h, 'n>(
    headers: &'h HeaderMap,
    names: &'n [HeaderName],
) -> Result<impl Iterator<Item = &'h HeaderValue> + use<'h, 'n>, Refusal> {
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if names.iter().any(is_repeated) {
        return Err(Refusal::Duplicated);
    }
    Ok(names.iter().filter_map(|name| headers.get(name)))
}

/// The header's value if it is there once.
pub(super) fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The pairs of `t=…,v1=…`; what is none is passed over.
fn pairs(value: &HeaderValue) -> impl Iterator<Item = (&str, &str)> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').filter_map(|pair| pair.trim().split_once('='))
}

/// A scheme's prefix is checked when it is read, so every value it spells is one that a header can hold.
pub(super) fn put(headers: &mut HeaderMap, name: Option<&HeaderName>, value: &str) {
    if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name.clone(), value);
    }
}
