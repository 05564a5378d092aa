//! Values that a gateway uses once: remembered in the transaction that stores what came with them, and forgotten in time.
//!
//! It must not decide what a nonce is; the scheme's file and the room `signature` do.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::accept::Nonce;
use super::{Store, StoreError};

/// Nonces kept of one endpoint at most; beyond it the oldest go, whatever their time. At five messages a second these are
/// more than two days; a million take about 200 MB.
pub const MOST_NONCES_PER_ENDPOINT: u32 = 1_000_000;
/// Deleted in one statement at most, so that a sweep holds nobody up.
const CHUNK: i64 = 10_000;

/// A nonce of the batch.
pub(super) struct NewNonce<'a> {
    pub(super) delivery: usize,
    pub(super) endpoint: &'a str,
    pub(super) nonce: Nonce,
}

impl NewNonce<'_> {
    fn key(&self) -> (String, [u8; 32]) {
        (self.endpoint.to_owned(), self.nonce.digest)
    }
}

/// Remembers nonces and returns the deliveries whose nonce was used before for another payload, in this batch or ever.
/// Without nonces there is no statement.
pub(super) async fn remember(connection: &mut PgConnection, nonces: &[NewNonce<'_>]) -> Result<Vec<usize>, StoreError> {
    let mut owners: Owners = HashMap::with_capacity(nonces.len());
    for new in nonces {
        owners.entry(new.key()).or_insert(new.nonce);
    }
    if !owners.is_empty() {
        insert(connection, &mut owners).await?;
    }
    let is_replayed = |new: &&NewNonce<'_>| {
        let owner = owners.get(&new.key());
        !new.nonce.is_shared && owner.is_some_and(|owner| owner.payload != new.nonce.payload)
    };
    Ok(nonces.iter().filter(is_replayed).map(|new| new.delivery).collect())
}

/// Who used a value first: by endpoint and digest.
type Owners = HashMap<(String, [u8; 32]), Nonce>;

/// Inserts those that are new; of the others, puts in what they were used for before.
async fn insert(connection: &mut PgConnection, owners: &mut Owners) -> Result<(), StoreError> {
    let endpoints: Vec<String> = owners.keys().map(|(endpoint, _)| endpoint.clone()).collect();
    let digests: Vec<Vec<u8>> = owners.keys().map(|(_, digest)| digest.to_vec()).collect();
    let payloads: Vec<Vec<u8>> = owners.values().map(|nonce| nonce.payload.to_vec()).collect();
    let keep: Vec<DateTime<Utc>> = owners.values().map(|nonce| nonce.keep_until).collect();
    let inserted = sqlx::query!(
        r#"
        INSERT INTO smshook.nonces (endpoint, digest, payload, keep_until)
        SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::bytea[], $4::timestamptz[])
            AS n (endpoint, digest, payload, keep_until)
        -- one order for every process, as for messages
        ORDER BY n.endpoint, n.digest
        ON CONFLICT (endpoint, digest) DO NOTHING
        "#,
        &endpoints,
        &digests,
        &payloads,
        &keep,
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == endpoints.len() as u64 {
        return Ok(());
    }
    // another statement, so that what another process has committed meanwhile is seen
    let known = sqlx::query!(
        r#"
        SELECT k.endpoint, k.digest, k.payload
        FROM UNNEST($1::text[], $2::bytea[]) AS n (endpoint, digest)
        JOIN smshook.nonces k ON k.endpoint = n.endpoint AND k.digest = n.digest
        "#,
        &endpoints,
        &digests,
    )
    .fetch_all(connection)
    .await?;
    for row in known {
        let (Ok(digest), Ok(payload)) = (<[u8; 32]>::try_from(row.digest), <[u8; 32]>::try_from(row.payload)) else {
            continue;
        };
        if let Some(owner) = owners.get_mut(&(row.endpoint, digest)) {
            owner.payload = payload;
        }
    }
    Ok(())
}

impl Store {
    /// Forgets nonces whose time is over, some at a time. How many.
    pub async fn forget_nonces(&self) -> Result<u64, StoreError> {
        let forgotten = sqlx::query!(
            r#"
            WITH RECURSIVE endpoints AS (
                -- one step of the index for each endpoint
                SELECT min(endpoint) AS endpoint FROM smshook.nonces
                UNION ALL
                SELECT (SELECT min(n.endpoint) FROM smshook.nonces n WHERE n.endpoint > e.endpoint)
                FROM endpoints e WHERE e.endpoint IS NOT NULL
            ), over AS (
                SELECT o.* FROM endpoints e CROSS JOIN LATERAL (
                    SELECT n.endpoint, n.digest FROM smshook.nonces n
                    WHERE n.endpoint = e.endpoint AND n.keep_until <= now() ORDER BY n.keep_until LIMIT $1) o
            )
            DELETE FROM smshook.nonces n USING over o WHERE n.endpoint = o.endpoint AND n.digest = o.digest
            "#,
            CHUNK
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }

    /// Forgets the oldest nonces of endpoints that have more than `most`, some at a time. How many.
    pub async fn forget_oldest_nonces(&self, most: u32) -> Result<u64, StoreError> {
        let forgotten = sqlx::query!(
            r#"
            WITH RECURSIVE endpoints AS (
                SELECT min(endpoint) AS endpoint FROM smshook.nonces
                UNION ALL
                SELECT (SELECT min(n.endpoint) FROM smshook.nonces n WHERE n.endpoint > e.endpoint)
                FROM endpoints e WHERE e.endpoint IS NOT NULL
            ), over AS (
                SELECT o.* FROM endpoints e CROSS JOIN LATERAL (
                    SELECT n.endpoint, n.digest FROM smshook.nonces n
                    WHERE n.endpoint = e.endpoint ORDER BY n.keep_until DESC OFFSET $1 LIMIT $2) o
            )
            DELETE FROM smshook.nonces n USING over o WHERE n.endpoint = o.endpoint AND n.digest = o.digest
            "#,
            i64::from(most),
            CHUNK
        )
        .execute(&self.pool)
        .await?;
        Ok(forgotten.rows_affected())
    }
}
