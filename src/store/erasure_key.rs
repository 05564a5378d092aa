//! The key under which the numbers of erased people are hashed, so that they are still not texted.
//!
//! A bare hash of a telephone number is found by trying all numbers; one under a key is not, without the key. The key is the
//! operator's and never in the database: what is there is its fingerprint, by which a process with another key is found out.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::PgConnection;
use std::sync::Arc;

use super::{Store, StoreError};

/// What stands before a hash in the place of a number.
const PREFIX: &str = "hmac:";

/// A key; cheap to clone.
#[derive(Clone)]
pub struct ErasureKey(Arc<Hmac<Sha256>>);

impl std::fmt::Debug for ErasureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ErasureKey(…)")
    }
}

impl ErasureKey {
    /// From the secret as configured; `None` for an empty one.
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        Hmac::<Sha256>::new_from_slice(secret)
            .ok()
            .map(|mac| Self(Arc::new(mac)))
    }

    /// What stands in the place of a number: `hmac:` and 64 hexadecimal digits.
    pub fn hashed(&self, number_key: &str) -> String {
        format!("{PREFIX}{}", hex::encode(self.mac("number", number_key)))
    }

    /// By which two processes find out whether they have the same key.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.mac("fingerprint", "")
    }

    fn mac(&self, purpose: &str, text: &str) -> [u8; 32] {
        let mut mac = (*self.0).clone();
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl Store {
    /// Whether everybody who was erased was erased under this process's key.
    ///
    /// # Errors
    /// [`StoreError::OtherErasureKey`] if not: whoever goes on might text somebody who has opted out.
    pub async fn check_erasure_key(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        self.same_erasure_key(&mut connection).await
    }

    pub(super) async fn same_erasure_key(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let ours = self.erasure_key().map(ErasureKey::fingerprint);
        let other = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (SELECT FROM smshook.erasure_keys WHERE fingerprint IS DISTINCT FROM $1) AS "other!"
            "#,
            ours.as_ref().map(<[u8; 32]>::as_slice)
        )
        .fetch_one(connection)
        .await?;
        if other {
            Err(StoreError::OtherErasureKey)
        } else {
            Ok(())
        }
    }
}
