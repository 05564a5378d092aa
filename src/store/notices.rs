//! Changes of consent on their way to webhooks: an outbox that is written with the change and emptied in order.
//!
//! What a notice says and how it is sent is not this file's work.

use super::{Store, StoreError};

impl Store {
    /// Makes these the webhooks that are told of changes from now on; what was to be told to others is given up.
    pub async fn register_webhooks(&self, names: &[String]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("DELETE FROM smshook.webhooks WHERE name <> ALL ($1)", names)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!(
            "INSERT INTO smshook.webhooks (name) SELECT UNNEST($1::text[]) ON CONFLICT (name) DO NOTHING",
            names
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
