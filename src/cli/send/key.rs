//! A key pair to rehearse with, for gateways that sign with a private key of their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::cli::failure::Failure;
use crate::cli::output;

/// The seed of a private key and the public key that belongs to it, both in base64.
pub(in crate::cli) struct NewKey {
    pub(in crate::cli) seed: String,
    pub(in crate::cli) public: String,
}

impl NewKey {
    pub(in crate::cli) fn make() -> Result<Self, Failure> {
        let seed: [u8; 32] = rand::random();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|error| anyhow::anyhow!("a new key pair is refused: {error}"))?;
        Ok(Self {
            seed: STANDARD.encode(seed),
            public: STANDARD.encode(pair.public_key()),
        })
    }
}

/// Prints a pair that nobody has used before. It is for rehearsals: a gateway never shows its private key.
pub(super) fn print_new() -> Result<(), Failure> {
    let key = NewKey::make()?;
    output::print(&output::facts(&[("signing key", key.seed), ("public key", key.public)]))?;
    output::note(
        "\nthe signing key goes into a file for `--signing-key-file`, the public key into the endpoint's `secrets`",
    );
    Ok(())
}
