//! A key pair to rehearse with, for gateways that sign with a private key of their own.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::signature::{Algorithm, Scheme, Signer};

/// The seed of a private key and the public key that belongs to it, both in base64.
pub(in crate::cli) struct NewKey {
    pub(in crate::cli) seed: String,
    pub(in crate::cli) public: String,
}

/// Which header carries a signature does not matter to the key.
const ANY_SCHEME: &str =
    "headers = [\"x-signature\"]\nencoding = \"base64\"\nalgorithm = \"ed25519\"\nsecret_encoding = \"base64\"";

impl NewKey {
    pub(in crate::cli) fn make() -> Result<Self, Failure> {
        let seed = STANDARD.encode(rand::random::<[u8; 32]>());
        let scheme: Scheme = toml::from_str(ANY_SCHEME).context("making a key pair")?;
        let signer = Signer::new(&scheme, &SecretString::from(seed.as_str()), Some(Algorithm::Ed25519));
        let public = signer.context("making a key pair")?.public_key();
        let public = public.context("a key pair has no public key")?;
        Ok(Self { seed, public })
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
