//! The algorithms, and what a secret becomes for each of them: a keyed MAC, a public key or the text itself.
//!
//! Which algorithm is used follows from the secret and never from the delivery: a header that names another one is only
//! compared with it. It must not know where a signature stands or what it covers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _};
use md5::Md5;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::Refusal;

/// How a signature is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Algorithm {
    /// HMAC-SHA1, RFC 2104. Still sound as a MAC; Twilio's classic signature.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// HMAC-SHA256, RFC 2104 and FIPS 180-4.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC-SHA384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC-SHA512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
    /// HMAC-MD5; Vonage offers it.
    #[serde(rename = "hmac-md5")]
    HmacMd5,
    /// MD5 over what is signed and then the secret: Vonage's oldest method, weak, and still its default for some accounts.
    #[serde(rename = "md5-suffix")]
    Md5Suffix,
    /// Ed25519, RFC 8032. The secret is the gateway's public key.
    #[serde(rename = "ed25519")]
    Ed25519,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
        Self::HmacMd5,
        Self::Md5Suffix,
        Self::Ed25519,
    ];

    /// Its name in gateway files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
            Self::HmacMd5 => "hmac-md5",
            Self::Md5Suffix => "md5-suffix",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Its name in a JWT's header (RFC 7518, 3.1), where it has one that we take.
    pub const fn jwt_name(self) -> Option<&'static str> {
        match self {
            Self::HmacSha256 => Some("HS256"),
            Self::HmacSha384 => Some("HS384"),
            Self::HmacSha512 => Some("HS512"),
            Self::HmacSha1 | Self::HmacMd5 | Self::Md5Suffix | Self::Ed25519 => None,
        }
    }

    /// Bytes of a signature.
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::HmacMd5 | Self::Md5Suffix => 16,
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 | Self::Ed25519 => 64,
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(())
    }
}

/// The longest signature: SHA-512 and Ed25519.
const MOST_BYTES: usize = 64;

/// A signature of up to 64 bytes, on the stack.
#[derive(Clone, Copy)]
pub(super) struct Digest {
    bytes: [u8; MOST_BYTES],
    len: usize,
}

impl Digest {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; MOST_BYTES],
        len: 0,
    };

    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut digest = Self::EMPTY;
        digest.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        digest.len = bytes.len();
        Some(digest)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// In constant time for one length; the length is no secret.
    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes().ct_eq(other.bytes())
    }
}

/// How a digest is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Hexadecimal in either case.
    HexAnyCase,
    /// Base64 of the standard alphabet, padded.
    Base64,
    /// As it is; only for secrets that are sent themselves.
    Plain,
}

impl Encoding {
    /// Reads a digest, strictly: but for `hex-any-case` each has one spelling.
    pub(super) fn read(self, text: &[u8]) -> Result<Digest, Refusal> {
        if text.is_empty() {
            return Err(Refusal::Malformed);
        }
        match self {
            Self::Hex if text.iter().any(u8::is_ascii_uppercase) => Err(Refusal::Malformed),
            Self::Hex | Self::HexAnyCase => from_hex(text),
            // The decoder refuses missing padding and stray bits in the last letter.
            Self::Base64 => {
                let bytes = STANDARD.decode(text).map_err(|_| Refusal::Malformed)?;
                Digest::of(&bytes).ok_or(Refusal::WrongLength)
            }
            Self::Plain => Err(Refusal::Malformed),
        }
    }

    /// Writes a digest.
    pub(super) fn write(self, digest: &Digest) -> String {
        match self {
            Self::Hex | Self::HexAnyCase | Self::Plain => hex::encode(digest.bytes()),
            Self::Base64 => STANDARD.encode(digest.bytes()),
        }
    }
}

fn from_hex(text: &[u8]) -> Result<Digest, Refusal> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refusal::Malformed);
    }
    let mut digest = Digest {
        len: text.len() / 2,
        ..Digest::EMPTY
    };
    let bytes = digest.bytes.get_mut(..text.len() / 2).ok_or(Refusal::WrongLength)?;
    hex::decode_to_slice(text, bytes).map_err(|_| Refusal::WrongLength)?;
    Ok(digest)
}

/// A secret made ready for its algorithm: a verification clones a keyed MAC instead of keying a new one.
#[derive(Clone)]
pub(super) enum Ready {
    HmacSha1(Hmac<Sha1>),
    HmacSha256(Hmac<Sha256>),
    HmacSha384(Box<Hmac<Sha384>>),
    HmacSha512(Box<Hmac<Sha512>>),
    HmacMd5(Hmac<Md5>),
    Md5Suffix(Arc<[u8]>),
    /// The gateway's public key.
    Ed25519([u8; 32]),
    /// A pair of ours, for rehearsals.
    Ed25519Pair(Arc<Ed25519KeyPair>),
}

impl Ready {
    /// `None` when these bytes cannot be such a key.
    pub(super) fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::HmacSha1 => Self::HmacSha1(Hmac::new_from_slice(bytes).ok()?),
            Algorithm::HmacSha256 => Self::HmacSha256(Hmac::new_from_slice(bytes).ok()?),
            Algorithm::HmacSha384 => Self::HmacSha384(Box::new(Hmac::new_from_slice(bytes).ok()?)),
            Algorithm::HmacSha512 => Self::HmacSha512(Box::new(Hmac::new_from_slice(bytes).ok()?)),
            Algorithm::HmacMd5 => Self::HmacMd5(Hmac::new_from_slice(bytes).ok()?),
            Algorithm::Md5Suffix => Self::Md5Suffix(bytes.into()),
            Algorithm::Ed25519 => Self::Ed25519(bytes.try_into().ok()?),
        })
    }

    /// The pair of keys whose private half grows from this seed of 32 bytes.
    pub(super) fn pair(seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self::Ed25519Pair(Arc::new(pair)))
    }

    /// The public half, where there are two.
    pub(super) fn public_key(&self) -> Option<&[u8]> {
        match self {
            Self::Ed25519Pair(pair) => Some(pair.public_key().as_ref()),
            Self::Ed25519(key) => Some(key),
            _ => None,
        }
    }

    /// What this key makes of the pieces, one after another; nothing for a public key, which cannot sign.
    pub(super) fn sign<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Digest> {
        fn mac<'a, M: hmac::Mac + Clone>(keyed: &M, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Digest> {
            let mut mac = keyed.clone();
            pieces.for_each(|piece| mac.update(piece));
            Digest::of(&mac.finalize().into_bytes())
        }
        match self {
            Self::HmacSha1(keyed) => mac(keyed, pieces),
            Self::HmacSha256(keyed) => mac(keyed, pieces),
            Self::HmacSha384(keyed) => mac(&**keyed, pieces),
            Self::HmacSha512(keyed) => mac(&**keyed, pieces),
            Self::HmacMd5(keyed) => mac(keyed, pieces),
            Self::Md5Suffix(secret) => {
                let mut hash = Md5::new();
                pieces.for_each(|piece| hash.update(piece));
                hash.update(secret);
                Digest::of(&hash.finalize())
            }
            Self::Ed25519(_) => None,
            Self::Ed25519Pair(pair) => Digest::of(pair.sign(&joined(pieces)).as_ref()),
        }
    }

    /// Whether `presented` was made with this key over the pieces.
    pub(super) fn verifies<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, presented: &Digest) -> Choice {
        let public = match self {
            Self::Ed25519(key) => &key[..],
            Self::Ed25519Pair(pair) => pair.public_key().as_ref(),
            keyed => {
                return keyed
                    .sign(pieces)
                    .map_or(Choice::from(0), |digest| digest.ct_eq(presented));
            }
        };
        // Nothing here is secret: the key is public, and so are message and signature.
        let verified = UnparsedPublicKey::new(&ED25519, public).verify(&joined(pieces), presented.bytes());
        Choice::from(u8::from(verified.is_ok()))
    }
}

/// Ed25519 hashes what it signs twice and wants it in one piece.
fn joined<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    pieces.flatten().copied().collect()
}
