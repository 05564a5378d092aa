//! Consent as rows: opting out, opting in, and what each means for texts already queued.
//!
//! Deciding what a text asks for is the pure room `consent`'s work, not this file's.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, queue};
use crate::phone::{Address, NumberFormat, normalise};

/// A person's request, as found in a message.
pub(super) struct Asked<'a> {
    pub group: &'a str,
    pub address: &'a Address,
    pub message_id: Uuid,
    pub sent_at: Option<DateTime<Utc>>,
    pub keyword: &'a str,
    pub tier: i16,
}

/// Records an opt-out and cancels the texts queued for that number. True if it was not in force before: then, and only then,
/// it is confirmed.
///
/// An opt-out counts on arrival whatever its timestamp says: a gateway's wrong clock must not lose a STOP. Its time is kept,
/// because an opt-in only lifts it when it is newer.
pub(super) async fn opt_out(connection: &mut PgConnection, asked: &Asked<'_>) -> Result<bool, StoreError> {
    let number = asked.address.key();
    let begun = sqlx::query_scalar!(
        r#"
        WITH known AS (
            -- under this spelling of the number or another
            UPDATE smshook.opt_outs SET opted_out_at = greatest(opted_out_at, least(coalesce($6, now()), now()))
            WHERE suppression_group = $1 AND number = ANY ($7) AND opted_in_at IS NULL
            RETURNING id
        ), begun AS (
            INSERT INTO smshook.opt_outs (suppression_group, number, source, message_id, keyword, tier, opted_out_at)
            SELECT $1, $2, 'message', $3, $4, $5, least(coalesce($6, now()), now()) WHERE NOT EXISTS (SELECT FROM known)
            ON CONFLICT (suppression_group, number) WHERE opted_in_at IS NULL
                DO UPDATE SET opted_out_at = greatest(opt_outs.opted_out_at, excluded.opted_out_at)
            RETURNING message_id
        )
        SELECT EXISTS (SELECT FROM begun WHERE message_id = $3) AS "begun!"
        "#,
        asked.group,
        number,
        asked.message_id,
        asked.keyword,
        asked.tier,
        asked.sent_at,
        &asked.address.suppression_keys(),
    )
    .fetch_one(&mut *connection)
    .await?;
    cancel_queued(connection, asked.group, number).await?;
    Ok(begun)
}

/// Lifts an opt-out that is older than this request; a tie leaves it in force. Always true: an opt-in may be confirmed, and
/// the suppression check at plan and at send stops the confirmation if the opt-out stays.
pub(super) async fn opt_in(connection: &mut PgConnection, asked: &Asked<'_>) -> Result<bool, StoreError> {
    let numbers = asked.address.suppression_keys();
    sqlx::query!(
        r#"
        UPDATE smshook.opt_outs
        SET opted_in_at = now(), opted_in_source = 'message', opted_in_message_id = $3
        WHERE suppression_group = $1 AND number = ANY ($2) AND opted_in_at IS NULL
          AND opted_out_at < least(coalesce($4, now()), now())
        "#,
        asked.group,
        &numbers,
        asked.message_id,
        asked.sent_at,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Cancels the texts queued for a number and frees their lanes. One that is running meets the same check before it sends.
/// The confirmation of an opt-out stays: whoever says STOP twice is owed one, and the gate knows which.
pub(super) async fn cancel_queued(connection: &mut PgConnection, group: &str, number: &str) -> Result<(), StoreError> {
    let numbers = spellings(number);
    let lanes = sqlx::query_scalar!(
        r#"
        UPDATE smshook.jobs
        SET state = 'cancelled', finished_at = now(), reason = 'the sender opted out while this was queued'
        WHERE id IN (
            SELECT id FROM smshook.jobs
            WHERE send_to = ANY ($1) AND send_group = $2 AND state IN ('waiting', 'available')
              AND kind <> 'opt_out_confirmation'
            ORDER BY lane FOR UPDATE)
          AND state IN ('waiting', 'available')
        RETURNING lane
        "#,
        &numbers,
        group,
    )
    .fetch_all(&mut *connection)
    .await?;
    queue::promote(connection, &lanes).await?;
    Ok(())
}

/// Every spelling under which an opt-out of this number may be stored.
pub(super) fn spellings(number: &str) -> Vec<String> {
    normalise(number, &NumberFormat::E164).suppression_keys()
}
