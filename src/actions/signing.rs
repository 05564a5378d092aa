//! Standard Webhooks signatures (<https://github.com/standard-webhooks/standard-webhooks>), so that the receiver can tell
//! our requests from anybody's and drop what it has seen.
//!
//! It must not read a clock: the caller says when.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use crate::config::action::SignSpec;

/// A secret that is not base64 after `whsec_`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a signing secret must be base64, `whsec_` before it or not")]
pub(super) struct NotBase64;

/// The value of `webhook-signature`: one `v1,…` per secret in force, separated by spaces.
pub(super) fn sign(spec: &SignSpec, id: &str, unix_seconds: i64, body: &[u8]) -> Result<String, NotBase64> {
    let one = |secret: &secrecy::SecretString| {
        let secret = secret.expose_secret();
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
            .map_err(|_undecodable| NotBase64)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_unusable| NotBase64)?;
        mac.update(format!("{id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    Ok(spec.secrets.iter().map(one).collect::<Result<Vec<_>, _>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference vector of the Standard Webhooks libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signed(secrets: &[&str]) -> Result<String, NotBase64> {
        let secrets = secrets.iter().map(|secret| (*secret).into()).collect();
        sign(
            &SignSpec { secrets },
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        )
    }

    #[test]
    fn the_reference_vector_comes_out() {
        assert_eq!(signed(&[SECRET]).unwrap(), SIGNATURE);
    }

    #[test]
    fn each_secret_in_force_adds_its_signature() {
        let both = signed(&["whsec_c2Vjb25kIHNlY3JldCBvZiAyNCBieXRlcw==", SECRET]).unwrap();
        let (first, second) = both.split_once(' ').unwrap();
        assert!(first.starts_with("v1,") && first != SIGNATURE);
        assert_eq!(second, SIGNATURE);
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused_without_being_shown() {
        assert!(!signed(&["whsec_hunter2!"]).unwrap_err().to_string().contains("hunter2"));
    }
}
