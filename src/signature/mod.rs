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
use http::{HeaderMap, HeaderName, HeaderValue};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

pub use keys::{KeyError, Keys};
pub use scheme::{Algorithm, Encoding, Scheme, SecretEncoding};

/// The bytes of a body that may be parsed. Only this room makes one.
#[derive(Clone)]
pub struct VerifiedBody {
    bytes: Bytes,
    proof: Proof,
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
        }
    }

    /// A body out of our own database or spool, which only holds what was verified before it was stored.
    pub const fn verified_when_stored(bytes: Bytes) -> Self {
        Self {
            bytes,
            proof: Proof::Stored,
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
            Self::Mismatch => "mismatch",
        }
    }

    /// Whether nothing was signed, as against signed wrongly: some gateways want another status for it.
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// Verifies `body` as `scheme` says: the only way from bytes off the network to a [`VerifiedBody`].
///
/// A header that is not a digest is refused before anything is hashed; its shape is no secret.
pub fn verify(scheme: &Scheme, keys: &Keys, headers: &HeaderMap, body: Bytes) -> Result<VerifiedBody, Refusal> {
    let presented = scheme.presented(headers)?;
    let timestamp = scheme.timestamp(headers)?;
    let mut matched = Choice::from(0);
    let mut secret = 0_u32;
    for (place, key) in (0_u32..).zip(keys.iter()) {
        let hit = scheme.digest(key, timestamp, &body).ct_eq(&presented);
        secret.conditional_assign(&place, hit);
        matched |= hit;
    }
    if bool::from(matched) {
        Ok(VerifiedBody {
            bytes: body,
            proof: Proof::Secret(secret),
        })
    } else {
        Err(Refusal::Mismatch)
    }
}

/// The headers with which the gateway would send `body` at `unix_seconds`, signed with the first secret.
///
/// The time only matters to a scheme that signs one.
pub fn sign(scheme: &Scheme, keys: &Keys, body: &[u8], unix_seconds: u64) -> HeaderMap {
    let timestamp = unix_seconds.to_string();
    let digest = scheme.digest(keys.first(), timestamp.as_bytes(), body);
    let mut headers = HeaderMap::new();
    put(&mut headers, scheme.header(), &scheme.spell(digest));
    if let Some(name) = scheme.timestamp_header() {
        put(&mut headers, name, &timestamp);
    }
    headers
}

/// A scheme's prefix is checked when it is read, so every value it spells is one that a header can hold.
fn put(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name.clone(), value);
    }
}
