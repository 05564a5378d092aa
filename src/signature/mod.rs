//! Proves that a delivery comes from the gateway, over the body exactly as it was received.
//!
//! This room is pure. It knows headers, secrets and bytes. It must not parse a body (only [`VerifiedBody`] leaves it, and
//! nothing else in the crate can make one), must not read a clock, and must not say why a signature failed to anybody but
//! the log and `smshook verify`.
//!
//! What the scheme decides, the same for every gateway:
//!
//! * The first of the scheme's headers that is present counts; none is [`Refusal::Missing`].
//! * That header twice is [`Refusal::Duplicated`], even when one of the two is right: which one a proxy in between has
//!   judged cannot be known.
//! * The value is the prefix, as it is spelt, and the digest, nothing else. A list, quotes, blanks and bytes beyond ASCII
//!   are [`Refusal::Malformed`], and so is hex in upper case: gateways document lower case, and with one spelling only,
//!   every changed bit of a header is a refusal.
//! * The whole digest is compared with that of every secret, in constant time and without an early exit.

pub mod diagnosis;
mod keys;
mod scheme;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

pub use keys::{KeyError, Keys, SecretSpec, Signer};
pub use scheme::{Algorithm, Encoding, Scheme, SecretEncoding};

/// One request of a gateway as it was received: everything that a signature can cover.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    /// POST or GET.
    pub method: &'a Method,
    /// The endpoint as the gateway calls it: scheme, host and path, no query. Empty where nobody said.
    pub url: &'a str,
    /// What followed the `?` on the request line.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body; empty for GET.
    pub body: &'a Bytes,
    /// When it was received, in milliseconds of Unix time.
    pub at: i64,
}

impl Received<'_> {
    /// What the delivery says: the body, or for GET the query.
    pub fn payload(&self) -> Bytes {
        if self.method == Method::GET {
            Bytes::copy_from_slice(self.query.unwrap_or_default().as_bytes())
        } else {
            self.body.clone()
        }
    }
}

impl std::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// One request that we make up as a gateway would, to be signed.
#[derive(Clone)]
pub struct Outgoing {
    /// POST or GET.
    pub method: Method,
    /// The endpoint as the gateway knows it: scheme, host and path, no query.
    pub url: String,
    /// The query, without `?`; empty for none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty for GET.
    pub body: Vec<u8>,
    /// When it is signed, in milliseconds of Unix time.
    pub at: i64,
}

/// What a gateway uses once, and what for: a signature that does not cover the payload must not come with another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce {
    /// SHA-256 of the value that is used once.
    pub digest: [u8; 32],
    /// SHA-256 of the payload.
    pub payload: [u8; 32],
    /// Until when it has to be remembered, in seconds of Unix time.
    pub keep_until: i64,
}

/// A payload that may be parsed: the body, or for GET the query. Only this room makes one.
#[derive(Clone)]
pub struct VerifiedBody {
    bytes: Bytes,
    proof: Proof,
    nonce: Option<Nonce>,
}

/// Why a [`VerifiedBody`] may be parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The signature matched the secret at this place of the list, from 0; [`Keys::label`] names it.
    Secret(u32),
    /// The operator allows unsigned deliveries at this endpoint.
    Unsigned,
    /// The bytes were verified when they were stored.
    Stored,
    /// None: it did not verify, and the endpoint only observes.
    Observed,
}

/// The operator's word that an endpoint only observes while its signature is being set up.
#[derive(Clone, Copy, Debug)]
pub struct Observe(());

impl Observe {
    /// To be called where `mode = "observe"` was read from the configuration, and nowhere else.
    pub const fn by_the_operator() -> Self {
        Self(())
    }
}

/// The operator's word that an endpoint takes deliveries without a signature.
#[derive(Clone, Copy, Debug)]
pub struct AllowUnsigned(());

impl AllowUnsigned {
    /// To be called where `allow_unsigned = true` was read from the configuration, and nowhere else.
    pub const fn by_the_operator() -> Self {
        Self(())
    }
}

impl VerifiedBody {
    /// A body that nobody signed, at an endpoint where the operator allows that.
    pub const fn unsigned(bytes: Bytes, _allowed: AllowUnsigned) -> Self {
        Self {
            bytes,
            proof: Proof::Unsigned,
            nonce: None,
        }
    }

    /// A payload that did not verify, at an endpoint that only observes.
    pub const fn observed(bytes: Bytes, _observes: Observe) -> Self {
        Self {
            bytes,
            proof: Proof::Observed,
            nonce: None,
        }
    }

    /// A body out of our own database or spool, which only holds what was verified before it was stored.
    pub const fn verified_when_stored(bytes: Bytes) -> Self {
        Self {
            bytes,
            proof: Proof::Stored,
            nonce: None,
        }
    }

    /// The body, byte for byte as it was received.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body, byte for byte as it was received.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What must not come with another payload; `None` where the signature covers the payload.
    pub const fn nonce(&self) -> Option<&Nonce> {
        self.nonce.as_ref()
    }

    /// Why it may be parsed.
    pub const fn proof(&self) -> Proof {
        self.proof
    }
}

impl std::fmt::Debug for VerifiedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedBody")
            .field("bytes", &self.bytes.len())
            .field("proof", &self.proof)
            .finish()
    }
}

/// Why a delivery was refused. For our log and our metrics; the answer to the sender never says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// None of the scheme's headers is there.
    #[error("no signature header")]
    Missing,
    /// The signature header is there more than once.
    #[error("more than one signature header")]
    Duplicated,
    /// The header is not the prefix and a digest in the scheme's encoding.
    #[error("the signature header is not written as the gateway writes it")]
    Malformed,
    /// A digest, but not of the scheme's algorithm.
    #[error("the signature has the wrong length")]
    WrongLength,
    /// The scheme signs a timestamp, and its header is not there.
    #[error("no timestamp header")]
    TimestampMissing,
    /// The timestamp header is there twice or is not a Unix time of 10 or 13 digits.
    #[error("the timestamp header is not a Unix time")]
    TimestampMalformed,
    /// The signature does not cover the payload, and what it must not be used for twice came before with another payload.
    #[error("the nonce was used before")]
    Replayed,
    /// Well-formed, and made with none of our secrets over these bytes.
    #[error("the signature does not match")]
    Mismatch,
}

impl Refusal {
    /// The word for it in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Malformed => "malformed",
            Self::WrongLength => "wrong_length",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampMalformed => "timestamp_malformed",
            Self::Replayed => "replayed",
            Self::Mismatch => "mismatch",
        }
    }

    /// Whether nothing was signed, as against signed wrongly: some gateways want another status for it.
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// Verifies a delivery as `scheme` says: the only way from bytes off the network to a [`VerifiedBody`].
///
/// A header that is not a digest is refused before anything is hashed; its shape is no secret.
pub fn verify(scheme: &Scheme, keys: &Keys, received: &Received<'_>) -> Result<VerifiedBody, Refusal> {
    let presented = scheme.presented(received.headers)?;
    let timestamp = scheme.timestamp(received.headers)?;
    let mut matched = Choice::from(0);
    let mut secret = 0_u32;
    for (place, key) in (0_u32..).zip(keys.iter()) {
        let hit = scheme.digest(key, timestamp, received.body).ct_eq(&presented);
        secret.conditional_assign(&place, hit);
        matched |= hit;
    }
    if bool::from(matched) {
        Ok(VerifiedBody {
            bytes: received.payload(),
            proof: Proof::Secret(secret),
            nonce: None,
        })
    } else {
        Err(Refusal::Mismatch)
    }
}

/// Signs a request as the gateway would: adds its headers and parameters.
pub fn sign(scheme: &Scheme, signer: &Signer, outgoing: &mut Outgoing) {
    let timestamp = (outgoing.at / 1000).to_string();
    let digest = scheme.digest(signer.key(), timestamp.as_bytes(), &outgoing.body);
    put(&mut outgoing.headers, scheme.header(), &scheme.spell(digest));
    if let Some(name) = scheme.timestamp_header() {
        put(&mut outgoing.headers, name, &timestamp);
    }
}

/// A scheme's prefix is checked when it is read, so every value it spells is one that a header can hold.
fn put(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name.clone(), value);
    }
}
