//! Deliveries whose signature did not verify, kept within bounds until the secret is right.
//!
//! Anybody may have written them: nothing here is read, planned or answered. What is admitted goes through the same accept
//! transaction as everything else, with [`super::Origin::Refused`].

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError, storable_text};

/// Deleted in one statement at most, so that a sweep holds nobody up.
const CHUNK: i64 = 1_000;

/// A request as it came, without the claim that anybody in particular sent it.
///
/// Copies are recognised by method, query, `headers` and body. Leave out of `headers` what changes with each try and no
/// scheme reads (Date, Traceparent), else each try is kept by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct RefusedDelivery {
    /// The endpoint that refused it.
    pub endpoint: String,
    /// The word for it in the log.
    pub reason: String,
    /// What the diagnosis found, if it was made.
    pub cause: Option<String>,
    /// HTTP method.
    pub method: String,
    /// The endpoint's public URL, without a query; empty where none is configured.
    pub url: String,
    /// The query.
    pub query: Option<String>,
    /// Name and value of each header to keep, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl std::fmt::Debug for RefusedDelivery {
    /// Without what a stranger wrote, and without what may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusedDelivery")
            .field("endpoint", &self.endpoint)
            .field("reason", &self.reason)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// How much of an endpoint's refused deliveries is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedLimits {
    /// Deliveries; the oldest go first.
    pub count: u32,
    /// Bytes of all together, headers included.
    pub bytes: usize,
    /// How long.
    pub age: Duration,
}

/// A kept delivery, ready to be verified again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptDelivery {
    /// Identity: goes into [`super::Origin::Refused`].
    pub id: Uuid,
    /// When the first copy came: the moment to verify it at.
    pub received_at: DateTime<Utc>,
    /// Copies that came after the first.
    pub duplicates: i32,
    /// The request.
    pub delivery: RefusedDelivery,
}

/// A kept delivery as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedRow {
    /// Identity.
    pub id: Uuid,
    /// Endpoint.
    pub endpoint: String,
    /// Why it was refused.
    pub reason: String,
    /// What the diagnosis found.
    pub cause: Option<String>,
    /// When the first copy came.
    pub received_at: DateTime<Utc>,
    /// Copies that came after the first.
    pub duplicates: i32,
    /// How much it holds.
    pub bytes: i64,
    /// When it was verified after all.
    pub admitted_at: Option<DateTime<Utc>>,
    /// The message or event it became.
    pub admitted_as: Option<Uuid>,
}

impl RefusedDelivery {
    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.body.len() + self.url.len() + self.query.as_ref().map_or(0, String::len) + headers
    }

    /// Each piece behind its length, so that no two deliveries share an input.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut piece = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        piece(self.method.as_bytes());
        piece(self.query.as_deref().unwrap_or_default().as_bytes());
        piece(&self.body);
        for (name, value) in &self.headers {
            piece(name.as_bytes());
            piece(value);
        }
        hash.finalize().into()
    }
}

/// Header values are bytes: each one a character of Latin-1, so that JSON can hold it and gives it back.
fn headers_to_json(headers: &[(String, Vec<u8>)]) -> Value {
    headers
        .iter()
        .map(|(name, value)| json!([name, value.iter().map(|&byte| char::from(byte)).collect::<String>()]))
        .collect()
}

fn headers_of_json(headers: Value) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let unreadable = |_| StoreError::Inconsistent {
        table: "refused",
        what: "headers that are no list of names and values".to_owned(),
    };
    let pairs: Vec<(String, String)> = serde_json::from_value(headers).map_err(unreadable)?;
    let latin = |text: &str| text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect();
    Ok(pairs.into_iter().map(|(name, value)| (name, latin(&value))).collect())
}

impl Store {
    /// Keeps a refused delivery, or counts it on the copy that is kept, and lets the oldest of its endpoint go beyond
    /// `limits`. Its ID; `None` for one that is larger than everything that may be kept.
    pub async fn keep_refused(
        &self,
        delivery: &RefusedDelivery,
        limits: RefusedLimits,
    ) -> Result<Option<Uuid>, StoreError> {
        if delivery.bytes() > limits.bytes || limits.count == 0 {
            return Ok(None);
        }
        let mut transaction = self.pool.begin().await?;
        // one at a time for each endpoint: two that do not see each other would exceed the bounds together
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended('smshook.refused ' || $1, 0))",
            delivery.endpoint
        )
        .fetch_one(&mut *transaction)
        .await?;
        let id = insert(&mut transaction, delivery, limits.age).await?;
        trim(&mut transaction, &delivery.endpoint, limits).await?;
        transaction.commit().await?;
        Ok(Some(id))
    }

    /// Kept deliveries that were not admitted yet, the oldest first: all, or the one named.
    pub async fn refused(&self, id: Option<Uuid>, limit: i64) -> Result<Vec<KeptDelivery>, StoreError> {
        let rows = sqlx::query!(
            r#"
            SELECT id, endpoint, reason, cause, received_at, duplicates, method, url, query, headers, body
            FROM smshook.refused
            WHERE admitted_at IS NULL AND ($1::uuid IS NULL OR id = $1) ORDER BY received_at, id LIMIT $2
            "#,
            id,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(KeptDelivery {
                    id: row.id,
                    received_at: row.received_at,
                    duplicates: row.duplicates,
                    delivery: RefusedDelivery {
                        endpoint: row.endpoint,
                        reason: row.reason,
                        cause: row.cause,
                        method: row.method,
                        url: row.url,
                        query: row.query,
                        headers: headers_of_json(row.headers)?,
                        body: Bytes::from(row.body),
                    },
                })
            })
            .collect()
    }

    /// One kept delivery, admitted or not, as an operator sees it.
    pub async fn refused_entry(&self, id: Uuid) -> Result<Option<RefusedRow>, StoreError> {
        Ok(sqlx::query_as!(
            RefusedRow,
            r#"
            SELECT id, endpoint, reason, cause, received_at, duplicates, bytes, admitted_at, admitted_as
            FROM smshook.refused WHERE id = $1
            "#,
            id
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Deletes kept deliveries whose time is over, some at a time. How many.
    pub async fn forget_refused(&self) -> Result<u64, StoreError> {
        let forgotten = sqlx::query!(
            r#"
            DELETE FROM smshook.refused WHERE id IN (
                SELECT id FROM smshook.refused WHERE keep_until <= now() ORDER BY keep_until LIMIT $1)
            "#,
            CHUNK
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }
}

async fn insert(connection: &mut PgConnection, delivery: &RefusedDelivery, age: Duration) -> Result<Uuid, StoreError> {
    let (cause, query) = (
        delivery.cause.as_deref().map(storable_text),
        delivery.query.as_deref().map(storable_text),
    );
    let digest = delivery.digest();
    Ok(sqlx::query_scalar!(
        r#"
        INSERT INTO smshook.refused
            (id, endpoint, reason, cause, keep_until, method, url, query, headers, body, bytes, digest)
        VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (endpoint, digest) DO UPDATE
        SET duplicates = refused.duplicates + 1, cause = coalesce(refused.cause, excluded.cause)
        RETURNING id
        "#,
        Uuid::now_v7(),
        delivery.endpoint,
        &storable_text(&delivery.reason),
        cause.as_deref(),
        age.as_secs_f64(),
        &storable_text(&delivery.method),
        &storable_text(&delivery.url),
        query.as_deref(),
        headers_to_json(&delivery.headers),
        &delivery.body[..],
        i64::try_from(delivery.bytes()).unwrap_or(i64::MAX),
        digest.as_slice(),
    )
    .fetch_one(connection)
    .await?)
}

async fn trim(connection: &mut PgConnection, endpoint: &str, limits: RefusedLimits) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        DELETE FROM smshook.refused WHERE id IN (
            SELECT id FROM (
                SELECT id, keep_until, row_number() OVER newest AS nth, sum(bytes) OVER newest AS total
                FROM smshook.refused WHERE endpoint = $1
                WINDOW newest AS (ORDER BY received_at DESC, id DESC ROWS UNBOUNDED PRECEDING)) r
            WHERE r.nth > $2 OR r.total > $3::int8 OR r.keep_until <= now())
        "#,
        endpoint,
        i64::from(limits.count),
        i64::try_from(limits.bytes).unwrap_or(i64::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn admit(connection: &mut PgConnection, entry: Uuid, became: Option<Uuid>) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE smshook.refused SET admitted_at = now(), admitted_as = $2 WHERE id = $1 AND admitted_at IS NULL",
        entry,
        became
    )
    .execute(connection)
    .await?;
    Ok(())
}
