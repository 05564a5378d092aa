//! The secrets of one endpoint, made ready once: a verification clones a keyed MAC instead of keying a new one.
//!
//! It must never show a secret: not in `Debug`, not in an error.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::scheme::{Algorithm, Scheme, SecretEncoding};

/// Base64 as secrets are copied about: with or without padding.
pub(super) const BASE64_OF_SECRETS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secrets of one endpoint; several while one takes over from another. Never none.
#[derive(Clone)]
pub struct Keys {
    first: Key,
    others: Vec<Key>,
}

/// One secret and the MAC keyed with it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) label: String,
    /// As configured, for [`super::diagnosis`].
    pub(super) secret: SecretString,
    pub(super) mac: Hmac<Sha256>,
}

/// A secret as configured.
#[derive(Clone, Debug)]
pub struct SecretSpec {
    /// What may be shown of it: `env SMS_WEBHOOK_SECRET`, `number 2 of the list`.
    pub label: String,
    /// The secret itself.
    pub secret: SecretString,
    /// The algorithm it is for, where that is not the scheme's.
    pub algorithm: Option<Algorithm>,
}

/// What a gateway signs with.
#[derive(Clone)]
pub struct Signer(Key);

impl Signer {
    /// Makes `secret` ready; for Ed25519 it is the seed of the private key, 32 bytes in base64.
    pub fn new(scheme: &Scheme, secret: &SecretString, _algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        Key::new(scheme, "the signing secret", secret).map(Self)
    }

    pub(super) const fn key(&self) -> &Key {
        &self.0
    }
}

/// Why a list of secrets cannot be used. Names the secret by its label.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Without a secret nothing can be verified, and nothing may be let through.
    #[error("there is no secret")]
    None,
    /// A secret of no characters, as an unset variable makes one: everybody knows it.
    #[error("the secret {0} is empty")]
    Empty(String),
    /// The secret is not in the encoding that the scheme says.
    #[error("the secret {label} is not {encoding}")]
    Undecodable {
        /// The label of the secret.
        label: String,
        /// The encoding it should have.
        encoding: SecretEncoding,
    },
}

impl Keys {
    /// Makes ready the `secrets`.
    pub fn new(scheme: &Scheme, secrets: &[SecretSpec]) -> Result<Self, KeyError> {
        let mut keys = secrets.iter().map(|spec| Key::new(scheme, &spec.label, &spec.secret));
        let first = keys.next().ok_or(KeyError::None)??;
        Ok(Self {
            first,
            others: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The label of the secret at `place`, from 0, as [`super::Proof::Secret`] names it.
    pub fn label(&self, place: u32) -> Option<&str> {
        let place = usize::try_from(place).ok()?;
        self.iter().nth(place).map(|key| key.label.as_str())
    }

    /// What the gateway signs with, if the first secret is one that signs; a public key is not.
    pub fn signer(&self) -> Option<Signer> {
        Some(Signer(self.first.clone()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|key| &key.label)).finish()
    }
}

impl Key {
    fn new(scheme: &Scheme, label: &str, secret: &SecretString) -> Result<Self, KeyError> {
        let encoding = scheme.secret_encoding();
        let undecodable = || KeyError::Undecodable {
            label: label.to_owned(),
            encoding,
        };
        let text = secret.expose_secret();
        if text.trim().is_empty() {
            return Err(KeyError::Empty(label.to_owned()));
        }
        let bytes = encoding
            .bytes(text)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(undecodable)?;
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| undecodable())?;
        Ok(Self {
            label: label.to_owned(),
            secret: secret.clone(),
            mac,
        })
    }
}

impl SecretEncoding {
    /// The bytes that `secret` stands for; `None` when it is not in this encoding.
    pub(super) fn bytes(self, secret: &str) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(secret.as_bytes().to_vec()),
            Self::Base64 => BASE64_OF_SECRETS.decode(secret).ok(),
            Self::Whsec => BASE64_OF_SECRETS
                .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
                .ok(),
            Self::Hex => hex::decode(secret).ok(),
        }
    }
}
