//! Schemes that send the secret itself with every delivery: HTTP Basic, a token in a header, a token in the query.
//!
//! They prove who calls and nothing about what is said: only TLS and deduplication stand behind them. The comparison is of
//! hashes, so that neither the secret's bytes nor its length can be timed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::algorithm::Encoding;
use super::keys::Key;
use super::signed::{once, put};
use super::{Keys, Outgoing, Received, Refusal, parameters};

/// Such a scheme.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) place: FixedPlace,
    pub(super) prefix: String,
    pub(super) encoding: Encoding,
}

/// Where the secret stands.
#[derive(Clone, Debug)]
pub(super) enum FixedPlace {
    /// In the first of these headers that is there.
    Headers(Vec<HeaderName>),
    /// In a parameter of the query.
    Param(String),
}

impl Fixed {
    /// The place of the secret that was presented.
    pub(super) fn verify(&self, keys: &Keys, received: &Received<'_>) -> Result<u32, Refusal> {
        let presented = Sha256::digest(self.presented(received)?);
        let mut matched = Choice::from(0);
        let mut secret = 0_u32;
        for (place, key) in (0_u32..).zip(keys.iter()) {
            let hit = Sha256::digest(self.spell(key)).ct_eq(&presented);
            secret.conditional_assign(&place, hit);
            matched |= hit;
        }
        if bool::from(matched) {
            Ok(secret)
        } else {
            Err(Refusal::Mismatch)
        }
    }

    fn presented(&self, received: &Received<'_>) -> Result<Vec<u8>, Refusal> {
        let value = match &self.place {
            FixedPlace::Headers(names) => {
                let name = names.iter().find(|name| received.headers.contains_key(*name));
                let value = once(received.headers, name.ok_or(Refusal::Missing)?);
                value.ok_or(Refusal::Duplicated)?.as_bytes().to_vec()
            }
            FixedPlace::Param(name) => {
                let query = parameters::of_form(received.query.unwrap_or_default().as_bytes());
                match parameters::only(&query, name) {
                    Ok(value) => value.as_bytes().to_vec(),
                    Err(0) => return Err(Refusal::Missing),
                    Err(_) => return Err(Refusal::Duplicated),
                }
            }
        };
        let secret = value.strip_prefix(self.prefix.as_bytes()).ok_or(Refusal::Malformed)?;
        if secret.is_empty() {
            return Err(Refusal::Malformed);
        }
        Ok(secret.to_vec())
    }

    /// The secret as it is sent, without the prefix.
    fn spell(&self, key: &Key) -> String {
        let secret = key.secret.expose_secret();
        match self.encoding {
            Encoding::Base64 => STANDARD.encode(secret),
            Encoding::Plain | Encoding::Hex | Encoding::HexAnyCase => secret.to_owned(),
        }
    }

    /// Adds the secret as the gateway would.
    pub(super) fn sign(&self, key: &Key, outgoing: &mut Outgoing) {
        let value = format!("{}{}", self.prefix, self.spell(key));
        match &self.place {
            FixedPlace::Headers(names) => put(&mut outgoing.headers, names.first(), &value),
            FixedPlace::Param(name) => parameters::set_in_query(outgoing, name, &value),
        }
    }

    /// The parameter that is a secret, if there is one.
    pub(super) fn secret_param(&self) -> Option<&str> {
        match &self.place {
            FixedPlace::Param(name) => Some(name),
            FixedPlace::Headers(_) => None,
        }
    }
}
