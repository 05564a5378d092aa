//! What a gateway reports besides texts, and what it says about a reply of ours: how far it is.
//!
//! A report and the gateway's ID of the reply it is about arrive in either order: whoever comes second finds the first, since
//! both hold a lock on that ID. What nobody has signed is kept and changes nothing.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::parts::lock_in_order;
use super::{Store, StoreError, storable_text};
use crate::message::GatewayEvent;

/// An event of the batch.
pub(super) struct NewEvent<'a> {
    pub(super) delivery: usize,
    pub(super) endpoint: &'a str,
    pub(super) raw: &'a [u8],
    pub(super) verified: bool,
    /// Whether its body is kept.
    pub(super) keep_raw: bool,
    pub(super) event: &'a GatewayEvent,
}

/// What a gateway has reported about a reply since it was sent last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The gateway's word.
    pub kind: String,
    /// queued, sent, delivered or failed; `None` where it does not tell.
    pub state: Option<String>,
    /// Why it failed, in the gateway's words.
    pub error: Option<String>,
}

impl Report {
    /// Whether the reply will not arrive.
    pub fn is_failure(&self) -> bool {
        self.state.as_deref() == Some("failed")
    }
}

/// Stores events once each and ties them to the reply that they are about. The ID of each that is new, in their order.
pub(super) async fn accept(
    connection: &mut PgConnection,
    events: &[NewEvent<'_>],
) -> Result<Vec<Option<Uuid>>, StoreError> {
    let named = events.iter().filter(|new| new.verified);
    let ids = named.flat_map(|new| [new.event.gateway_id.as_deref(), new.event.reference.as_deref()]);
    lock_ids(connection, ids.flatten()).await?;
    let mut seen = HashSet::new();
    let mut accepted = Vec::with_capacity(events.len());
    for (position, new) in events.iter().enumerate() {
        // Several events of one body share its hash: the position keeps them apart.
        let earlier = events.iter().take(position);
        let nth = earlier.filter(|earlier| earlier.delivery == new.delivery).count();
        let digest = digest(new, nth);
        let id = if seen.insert((new.endpoint, digest)) {
            insert(connection, new, &digest).await?
        } else {
            None
        };
        accepted.push(id);
    }
    Ok(accepted)
}

/// A forged event has a hash of its own kind: it must not take the place of the genuine one.
fn digest(new: &NewEvent<'_>, nth: usize) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(new.raw);
    hash.update((nth as u64).to_be_bytes());
    if !new.verified {
        hash.update(b"unverified");
    }
    hash.finalize().into()
}

/// The locks on IDs of a gateway, in one order for everybody.
async fn lock_ids(connection: &mut PgConnection, ids: impl Iterator<Item = &str>) -> Result<(), StoreError> {
    let number = |id: &str| {
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..]: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        i64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
    };
    let mut locks: Vec<i64> = ids.map(number).collect();
    if locks.is_empty() {
        return Ok(());
    }
    locks.sort_unstable();
    locks.dedup();
    lock_in_order(connection, &locks).await
}

async fn insert(
    connection: &mut PgConnection,
    new: &NewEvent<'_>,
    digest: &[u8; 32],
) -> Result<Option<Uuid>, StoreError> {
    let event = new.event;
    let inserted = sqlx::query!(
        r#"
        INSERT INTO smshook.gateway_events
            (id, endpoint, kind, reference, gateway_id, occurred_at, state, error, verified, raw_sha256, raw, opted_out, job_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $9 THEN coalesce(
            (SELECT s.job_id FROM smshook.sends s WHERE s.reference = $4),
            -- an ID of the gateway's means something at its own endpoint only
            (SELECT s.job_id
             FROM smshook.sends s JOIN smshook.jobs j ON j.id = s.job_id JOIN smshook.messages m ON m.id = j.message_id
             WHERE (s.gateway_message_id = $5 OR s.gateway_message_id = $4) AND m.endpoint = $2
             ORDER BY s.started_at DESC LIMIT 1)) END)
        ON CONFLICT (endpoint, raw_sha256) DO NOTHING
        RETURNING id, job_id
        "#,
        Uuid::now_v7(),
        new.endpoint,
        event.kind,
        event.reference,
        event.gateway_id,
        event.occurred_at,
        event.state.map(crate::message::DeliveryState::as_str),
        event.error,
        new.verified,
        digest.as_slice(),
        if new.keep_raw { new.raw } else { &[] },
        event.opted_out,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(inserted) = inserted else { return Ok(None) };
    if let (Some(job), Some(state)) = (inserted.job_id, event.state) {
        advance(
            connection,
            job,
            state.as_str(),
            event.occurred_at,
            event.error.as_deref(),
        )
        .await?;
    }
    Ok(Some(inserted.id))
}

/// Only forwards.
async fn advance(
    connection: &mut PgConnection,
    job: i64,
    state: &str,
    at: Option<DateTime<Utc>>,
    error: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        UPDATE smshook.sends
        SET state = $2, state_at = coalesce($3, now()), error = CASE WHEN $2 = 'failed' THEN $4 END
        WHERE job_id = $1 AND smshook.state_rank($2) > smshook.state_rank(state)
        "#,
        job,
        state,
        at,
        error
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The gateway's ID of a reply, just learnt.
pub(super) struct Named {
    pub(super) job_id: i64,
    pub(super) id: String,
}

/// To be called before the rows of those jobs are locked: events lock in this order, too.
pub(super) async fn lock_names(connection: &mut PgConnection, named: &[Named]) -> Result<(), StoreError> {
    lock_ids(connection, named.iter().map(|named| named.id.as_str())).await
}

/// Notes the gateway's ID of a reply, and what the gateway has reported under it before we knew.
pub(super) async fn name(connection: &mut PgConnection, named: &Named) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH tied AS (
            UPDATE smshook.gateway_events e SET job_id = s.job_id
            FROM smshook.sends s JOIN smshook.jobs j ON j.id = s.job_id JOIN smshook.messages m ON m.id = j.message_id
            WHERE s.job_id = $1 AND e.job_id IS NULL AND e.verified AND (e.gateway_id = $2 OR e.reference = $2)
              AND e.endpoint = m.endpoint AND e.received_at >= s.started_at
            RETURNING e.state, e.error, coalesce(e.occurred_at, e.received_at) AS at
        ), furthest AS (
            SELECT t.* FROM tied t ORDER BY smshook.state_rank(t.state) DESC, t.at LIMIT 1
        )
        UPDATE smshook.sends s
        SET gateway_message_id = $2,
            state = CASE WHEN n.forwards THEN n.state ELSE s.state END,
            state_at = CASE WHEN n.forwards THEN n.at ELSE s.state_at END,
            error = CASE WHEN NOT n.forwards THEN s.error WHEN n.state = 'failed' THEN n.error END
        FROM (
            SELECT f.state, f.error, f.at, smshook.state_rank(f.state) > smshook.state_rank(k.state) AS forwards
            FROM smshook.sends k LEFT JOIN furthest f ON true WHERE k.job_id = $1) n
        WHERE s.job_id = $1
        "#,
        named.job_id,
        &storable_text(&named.id),
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// What the gateway has reported about the reply with this reference since it was sent last: it did arrive there.
    pub async fn report_on(&self, reference: &str) -> Result<Option<Report>, StoreError> {
        Ok(sqlx::query_as!(
            Report,
            r#"
            SELECT e.kind, s.state, s.error
            FROM smshook.sends s JOIN smshook.gateway_events e ON e.reference = s.reference AND e.job_id = s.job_id
            WHERE s.reference = $1 AND e.verified AND e.received_at >= s.started_at
            ORDER BY e.received_at DESC, e.id DESC LIMIT 1
            "#,
            reference
        )
        .fetch_optional(&self.pool)
        .await?)
    }
}
