//! Proves that a delivery comes from the gateway, over the body exactly as it was received.
//!
//! This room is pure. It knows headers, secrets and bytes. It must not parse a body (only [`VerifiedBody`] leaves it, and
//! nothing else in the crate can make one), must not read a clock, and must not say why a signature failed to anybody but
//! the log and `smshook verify`.
//!
//! What holds for every scheme: the algorithm follows from the secret and never from the delivery; what is compared is
//! compared in constant time; what a delivery must have once it may not have twice; and a time or a claim is judged only
//! after the signature.

mod algorithm;
mod content;
pub mod diagnosis;
mod fixed;
mod jwt;
mod keys;
mod moment;
mod parameters;
mod scheme;
mod signed;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, Method};

pub use algorithm::{Algorithm, Encoding};
pub use keys::{KeyError, Keys, SecretEncoding, SecretSpec, Signer};
pub use scheme::Scheme;

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
    /// What the delivery says: the body, or for GET the query. [`Scheme::payload`] leaves out a secret.
    fn payload(&self) -> Bytes {
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
    /// Whether other deliveries of the same moment may rightly have the same value: it is remembered, and not held against
    /// this one.
    pub is_shared: bool,
}

/// A payload that may be parsed: the body, or for GET the query. Only this room makes one.
#[derive(Clone)]
pub struct VerifiedBody {
    bytes: Bytes,
    proof: Proof,
    nonce: Option<Nonce>,
    delivery_id: Option<String>,
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
            delivery_id: None,
        }
    }

    /// A payload that did not verify, at an endpoint that only observes.
    pub const fn observed(bytes: Bytes, _observes: Observe) -> Self {
        Self {
            bytes,
            proof: Proof::Observed,
            nonce: None,
            delivery_id: None,
        }
    }

    /// A body out of our own database or spool, which only holds what was verified before it was stored.
    pub const fn verified_when_stored(bytes: Bytes) -> Self {
        Self {
            bytes,
            proof: Proof::Stored,
            nonce: None,
            delivery_id: None,
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

    /// The delivery's ID in a header that the signature covers, where the scheme has one; the same on every retry.
    pub fn delivery_id(&self) -> Option<&str> {
        self.delivery_id.as_deref()
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
            .finish_non_exhaustive()
    }
}

/// Why a delivery was refused. For our log and our metrics; the answer to the sender never says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing that the scheme looks for is there.
    #[error("no signature")]
    Missing,
    /// What must be there once is there twice.
    #[error("more than one signature header")]
    Duplicated,
    /// The value is not written as the gateway writes it.
    #[error("the signature header is not written as the gateway writes it")]
    Malformed,
    /// A digest, but not of the algorithm that any of the secrets is for.
    #[error("the signature has the wrong length")]
    WrongLength,
    /// A JWT of another algorithm than the secret is for, be it none.
    #[error("the token names another algorithm than the secret is for")]
    Algorithm,
    /// Another header that is signed is not there, or twice.
    #[error("a header that the signature covers is missing")]
    PartMissing,
    /// The scheme signs a timestamp, and it is not there.
    #[error("no timestamp header")]
    TimestampMissing,
    /// The timestamp is there twice or is not a Unix time of 10 or 13 digits.
    #[error("the timestamp header is not a Unix time")]
    TimestampMalformed,
    /// Signed by the gateway, and too long ago or too far ahead by our clock.
    #[error("the signature is genuine, but its time is outside the tolerance")]
    TimestampOutside,
    /// A genuine token that is past its end, not begun, or has no end.
    #[error("the token is genuine, but has expired or has not begun")]
    Expired,
    /// A genuine token of another issuer.
    #[error("the token is genuine, but of another issuer")]
    Issuer,
    /// A genuine token for another URL.
    #[error("the token is genuine, but for another URL")]
    Audience,
    /// Genuine, and made for another body.
    #[error("the signature is genuine, but for another body")]
    BodyHash,
    /// Genuine, and made for another URL.
    #[error("the signature is genuine, but for another URL")]
    UrlHash,
    /// The signature does not cover the payload, and what it must not be used for twice came before with another payload.
    #[error("the nonce was used before")]
    Replayed,
    /// Well-formed, and made with none of our secrets over this delivery.
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
            Self::Algorithm => "algorithm",
            Self::PartMissing => "part_missing",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampMalformed => "timestamp_malformed",
            Self::TimestampOutside => "timestamp_outside",
            Self::Expired => "expired",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::BodyHash => "body_hash",
            Self::UrlHash => "url_hash",
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
    let (secret, nonce) = scheme.verify(keys, received)?;
    Ok(VerifiedBody {
        bytes: scheme.payload(received),
        proof: Proof::Secret(secret),
        nonce,
        delivery_id: scheme.delivery_id(received.headers),
    })
}

/// Signs a request as the gateway would: adds its headers and parameters.
pub fn sign(scheme: &Scheme, signer: &Signer, outgoing: &mut Outgoing) {
    scheme.sign(signer.key(), outgoing);
}
