//! What a secret may have been meant as, where it is not what was configured.

use secrecy::ExposeSecret as _;

use super::super::Keys;
use super::super::algorithm::Algorithm;
use super::super::keys::{Key, SecretEncoding};
use super::Change;

/// Secrets tried that are not the endpoint's own.
const MOST_OTHERS: usize = 16;

/// A key that may have made the signature.
pub(super) struct Guess {
    /// What to call the secret.
    pub(super) label: String,
    /// Whether it is one of the endpoint's own.
    pub(super) is_own: bool,
    /// What would have to be different about it.
    pub(super) changes: Vec<Change>,
    /// The algorithm that it is configured for.
    pub(super) algorithm: Algorithm,
    pub(super) bytes: Vec<u8>,
}

/// The endpoint's own secrets and what they may have been meant as, and the others as they are.
pub(super) fn guesses(scheme: SecretEncoding, keys: &Keys, others: &[(&str, &Keys)]) -> Vec<Guess> {
    let own = keys.iter().flat_map(|key| {
        spelt(scheme, key).into_iter().map(|(changes, bytes)| Guess {
            label: key.label.clone(),
            is_own: true,
            changes,
            algorithm: key.algorithm,
            bytes,
        })
    });
    let others = others.iter().flat_map(|(owner, keys)| {
        keys.iter().filter_map(move |key| {
            Some(Guess {
                label: format!("{owner} ({})", key.label),
                is_own: false,
                changes: Vec::new(),
                algorithm: key.algorithm,
                bytes: encoding_of(scheme, key).bytes(key.secret.expose_secret())?,
            })
        })
    });
    own.chain(others.take(MOST_OTHERS)).collect()
}

/// A public key is never text.
const fn encoding_of(scheme: SecretEncoding, key: &Key) -> SecretEncoding {
    match (key.algorithm, scheme) {
        (Algorithm::Ed25519, SecretEncoding::Utf8) => SecretEncoding::Base64,
        (_, encoding) => encoding,
    }
}

fn spelt(scheme: SecretEncoding, key: &Key) -> Vec<(Vec<Change>, Vec<u8>)> {
    let configured = encoding_of(scheme, key);
    let text = key.secret.expose_secret();
    let trimmed = text.trim();
    let unquoted = trimmed.trim_matches(['"', '\'']);
    let mut spellings = vec![
        (None, text.to_owned()),
        (Some(Change::SecretTrimmed), trimmed.to_owned()),
        (Some(Change::SecretUnquoted), unquoted.to_owned()),
    ];
    if configured == SecretEncoding::Utf8 {
        spellings.push((Some(Change::SecretLineEnd), format!("{text}\n")));
        spellings.push((Some(Change::SecretLineEnd), format!("{text}\r\n")));
        spellings.push((Some(Change::SecretBlank), format!("{text} ")));
        spellings.push((Some(Change::SecretWithPrefix), format!("whsec_{unquoted}")));
        if let Some(bare) = unquoted.strip_prefix("whsec_") {
            spellings.push((Some(Change::SecretWithoutPrefix), bare.to_owned()));
        }
    }
    let encodings = [
        (SecretEncoding::Utf8, Change::SecretUtf8),
        // The same where there is no `whsec_`; then it is called what it is.
        (SecretEncoding::Base64, Change::SecretBase64),
        (SecretEncoding::Whsec, Change::SecretWhsec),
        (SecretEncoding::Hex, Change::SecretHex),
    ];
    let mut secrets: Vec<(Vec<Change>, Vec<u8>)> = Vec::new();
    for (spelling_change, spelling) in &spellings {
        for (encoding, change) in &encodings {
            let encoding_change = (*encoding != configured).then_some(change);
            let changes = spelling_change.iter().chain(encoding_change).cloned().collect();
            secrets.extend(encoding.bytes(spelling).map(|bytes| (changes, bytes)));
        }
    }
    // The same bytes by another way are no other guess; those with the fewest changes stay.
    secrets.sort_by_key(|(changes, _)| changes.len());
    let mut known: Vec<Vec<u8>> = Vec::new();
    secrets.retain(|(_, bytes)| {
        let is_new = !bytes.is_empty() && !known.contains(bytes);
        known.push(bytes.clone());
        is_new
    });
    secrets
}
