//! The secrets of one endpoint, made ready once.
//!
//! It must never show a secret: not in `Debug`, not in an error.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::algorithm::{Algorithm, Ready};
use super::scheme::Scheme;

/// Base64 as secrets are copied about: with or without padding.
pub(super) const BASE64_OF_SECRETS: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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

/// The secrets of one endpoint; several while one takes over from another. Never none.
#[derive(Clone)]
pub struct Keys {
    first: Key,
    others: Vec<Key>,
}

/// One secret, made ready for its one algorithm.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) label: String,
    /// As configured, for [`super::diagnosis`] and for schemes that send it.
    pub(super) secret: SecretString,
    pub(super) algorithm: Algorithm,
    pub(super) ready: Ready,
}

/// What a gateway signs with.
#[derive(Clone)]
pub struct Signer(Key);

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
    /// The secret cannot be a key of its algorithm.
    #[error("the secret {label} is no key for {}", .algorithm.as_str())]
    Unfit {
        /// The label of the secret.
        label: String,
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// The scheme has no use for this algorithm.
    #[error("the secret {label} is for {}, which this gateway's scheme cannot use", .algorithm.as_str())]
    Algorithm {
        /// The label of the secret.
        label: String,
        /// The algorithm.
        algorithm: Algorithm,
    },
}

impl Keys {
    /// Makes ready the `secrets`.
    pub fn new(scheme: &Scheme, secrets: &[SecretSpec]) -> Result<Self, KeyError> {
        let mut keys = secrets.iter().map(|spec| Key::new(scheme, spec));
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
        let signs = !matches!(self.first.ready, Ready::Ed25519(_));
        signs.then(|| Signer(self.first.clone()))
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

impl Signer {
    /// Makes `secret` ready; for Ed25519 it is the seed of the private key, 32 bytes in base64.
    ///
    /// # Errors
    /// When the secret cannot be used so.
    pub fn new(scheme: &Scheme, secret: &SecretString, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let spec = SecretSpec {
            label: "to sign with".to_owned(),
            secret: secret.clone(),
            algorithm,
        };
        let mut key = Key::new(scheme, &spec)?;
        if let Ready::Ed25519(seed) = &key.ready {
            key.ready = Ready::pair(seed).ok_or(KeyError::Unfit {
                label: spec.label,
                algorithm: Algorithm::Ed25519,
            })?;
        }
        Ok(Self(key))
    }

    /// The public key to configure, in base64, where this signs with a private one.
    pub fn public_key(&self) -> Option<String> {
        let key = self.0.ready.public_key()?;
        Some(base64::engine::general_purpose::STANDARD.encode(key))
    }

    pub(super) const fn key(&self) -> &Key {
        &self.0
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.0.algorithm).finish()
    }
}

impl Key {
    pub(super) fn new(scheme: &Scheme, spec: &SecretSpec) -> Result<Self, KeyError> {
        let label = &spec.label;
        let algorithm = spec.algorithm.unwrap_or_else(|| scheme.algorithm());
        // A public key is 32 bytes, which nobody hands out as text.
        let encoding = match (algorithm, scheme.secret_encoding()) {
            (Algorithm::Ed25519, SecretEncoding::Utf8) => SecretEncoding::Base64,
            (_, encoding) => encoding,
        };
        if !scheme.takes(algorithm) {
            let label = label.clone();
            return Err(KeyError::Algorithm { label, algorithm });
        }
        let text = spec.secret.expose_secret();
        if text.trim().is_empty() {
            return Err(KeyError::Empty(label.clone()));
        }
        let bytes = encoding
            .bytes(text)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| KeyError::Undecodable {
                label: label.clone(),
                encoding,
            })?;
        let ready = Ready::new(algorithm, &bytes).ok_or_else(|| KeyError::Unfit {
            label: label.clone(),
            algorithm,
        })?;
        Ok(Self {
            label: label.clone(),
            secret: spec.secret.clone(),
            algorithm,
            ready,
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
