//! What is kept for a time only: messages and evidence of consent by the operator's two clocks, and texts of endpoints that
//! do not keep them, which go as soon as their actions have run.
//!
//! Some rows at each call, found by the time in their ID, so that a sweep holds nobody up however much there is; where to go
//! on is the caller's to keep. It must not delete a message whose jobs have not ended, nor an opt-out in force with its
//! evidence. What operators did not ask to be deleted is kept for ever.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::erase::may_change_evidence;
use super::{Store, StoreError};

/// Rows that one call looks at, of each kind.
const PAGE: i64 = 500;
/// How long a discarded job of an endpoint that does not keep texts holds its text: so long a person can retry it.
const DISCARDED_JOB_HOLDS_TEXT: Duration = Duration::from_hours(24);

/// Where the next call goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    messages: Uuid,
    texts: Uuid,
    events: i64,
}

/// A page of rows.
struct Page<I> {
    seen: i64,
    last: Option<I>,
    changed: i64,
}

impl<I: Default> Page<I> {
    /// Behind this page, or at the start again.
    fn next(self) -> I {
        if self.seen < PAGE {
            return I::default();
        }
        self.last.unwrap_or_default()
    }
}

impl Store {
    /// Deletes messages that are older than `age` and whose jobs have ended (those that wait for a person have), with their
    /// jobs; and what else of that age came from gateways or is remembered of senders. Returns how many messages.
    pub async fn forget_messages(&self, age: Duration, position: &mut Position) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let page = sqlx::query_as!(
            Page,
            r#"
            WITH page AS (
                SELECT id FROM smshook.messages
                WHERE id > $1 AND id < smshook.first_id(now() - make_interval(secs => $2)) ORDER BY id LIMIT $3
            ), over AS (
                SELECT m.id FROM smshook.messages m
                WHERE m.id IN (SELECT id FROM page) AND NOT EXISTS (
                    SELECT FROM smshook.jobs j
                    WHERE j.message_id = m.id AND j.state IN ('waiting', 'available', 'running'))
                ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
            ), deleted AS (
                DELETE FROM smshook.messages WHERE id IN (SELECT id FROM over) RETURNING id
            )
            SELECT (SELECT count(*) FROM page) AS "seen!", (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last,
                   (SELECT count(*) FROM deleted) AS "changed!"
            "#,
            position.messages,
            age.as_secs_f64(),
            PAGE,
        )
        .fetch_one(&mut *connection)
        .await?;
        let deleted = page.changed.unsigned_abs();
        position.messages = page.next();
        forget_deliveries(&mut connection, age).await?;
        forget_what_is_remembered(&mut connection, age).await?;
        Ok(deleted)
    }

    /// Deletes events of consent and opt-outs that are over, both older than `age`. Returns how many events.
    pub async fn forget_consent(&self, age: Duration, position: &mut Position) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        may_change_evidence(&mut transaction).await?;
        let page = sqlx::query_as!(
            Page,
            r#"
            WITH page AS (
                SELECT id, recorded_at FROM smshook.consent_events WHERE id > $1 ORDER BY id LIMIT $3
            ), deleted AS (
                DELETE FROM smshook.consent_events e
                WHERE e.id IN (SELECT id FROM page WHERE recorded_at < now() - make_interval(secs => $2))
                  AND NOT EXISTS (
                    SELECT FROM smshook.opt_outs o
                    WHERE o.opted_in_at IS NULL AND (o.id = e.opt_out_id OR (e.event = 'erased'
                        AND o.number_key = e.number_key AND o.suppression_group = e.suppression_group)))
                RETURNING e.id
            ), told AS (
                DELETE FROM smshook.notices WHERE event_id IN (SELECT id FROM deleted)
            )
            -- events are numbered as they are recorded: behind one that is not old enough there is none
            SELECT (SELECT count(*) FROM page WHERE recorded_at < now() - make_interval(secs => $2)) AS "seen!",
                   (SELECT max(id) FROM page) AS last, (SELECT count(*) FROM deleted) AS "changed!"
            "#,
            position.events,
            age.as_secs_f64(),
            PAGE,
        )
        .fetch_one(&mut *transaction)
        .await?;
        let deleted = page.changed.unsigned_abs();
        position.events = page.next();
        forget_opt_outs(&mut transaction, age).await?;
        transaction.commit().await?;
        Ok(deleted)
    }

    /// Removes the texts that are not to be kept and whose actions have run, with what was made of them. Returns how many
    /// messages lost theirs.
    pub async fn remove_texts(&self, position: &mut Position) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let messages = sqlx::query_scalar!(
            r#"
            SELECT id FROM smshook.messages WHERE NOT keep_text AND text_removed_at IS NULL AND id > $1 ORDER BY id LIMIT $2
            "#,
            position.texts,
            PAGE,
        )
        .fetch_all(&mut *connection)
        .await?;
        let page = Page {
            seen: i64::try_from(messages.len()).unwrap_or(PAGE),
            last: messages.last().copied(),
            changed: 0,
        };
        position.texts = page.next();
        remove_texts_of_parts(&mut connection).await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let mut transaction = connection.begin().await?;
        let over = lock_ended(&mut transaction, &messages).await?;
        if over.is_empty() {
            return Ok(0);
        }
        remove_payloads(&mut transaction, &over).await?;
        let removed = remove_texts_of_messages(&mut transaction, &over).await?;
        transaction.commit().await?;
        Ok(removed)
    }

    /// Whether the text that a job was ordered for is gone, because its endpoint does not keep texts or its sender was erased.
    pub async fn is_text_gone(&self, job_id: i64) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        is_text_gone(&mut connection, job_id).await
    }
}

/// As [`Store::is_text_gone`]. Whoever holds the job's row keeps the text from going afterwards.
pub(super) async fn is_text_gone(connection: &mut PgConnection, job_id: i64) -> Result<bool, StoreError> {
    let gone = sqlx::query_scalar!(
        r#"
        SELECT m.text_removed_at IS NOT NULL AS "gone!"
        FROM smshook.jobs j JOIN smshook.messages m ON m.id = j.message_id WHERE j.id = $1
        "#,
        job_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(gone.unwrap_or(false))
}

/// What gateways sent besides texts, or what was not read, and parts, all with IDs that tell their time.
async fn forget_deliveries(connection: &mut PgConnection, age: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH bound AS (
            SELECT smshook.first_id(now() - make_interval(secs => $1)) AS id
        ), events AS (
            DELETE FROM smshook.gateway_events WHERE id IN (
                SELECT id FROM smshook.gateway_events WHERE id < (SELECT id FROM bound) ORDER BY id LIMIT $2)
        ), quarantined AS (
            DELETE FROM smshook.quarantine WHERE id IN (
                SELECT id FROM smshook.quarantine WHERE id < (SELECT id FROM bound) ORDER BY id LIMIT $2)
        ), refused AS (
            DELETE FROM smshook.refused WHERE id IN (
                SELECT id FROM smshook.refused WHERE id < (SELECT id FROM bound) ORDER BY id LIMIT $2)
        )
        DELETE FROM smshook.part_sets WHERE id IN (
            SELECT id FROM smshook.part_sets WHERE id < (SELECT id FROM bound) ORDER BY id LIMIT $2)
        "#,
        age.as_secs_f64(),
        PAGE,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What stands for senders in other systems and was not used since, and old trips of the loop guard.
async fn forget_what_is_remembered(connection: &mut PgConnection, age: Duration) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH trips AS (
            DELETE FROM smshook.loop_trips WHERE id IN (
                SELECT id FROM smshook.loop_trips WHERE clears_at < now() - make_interval(secs => $1)
                ORDER BY clears_at LIMIT $2)
        )
        DELETE FROM smshook.links WHERE (account, action, sender, kind) IN (
            SELECT account, action, sender, kind FROM smshook.links
            WHERE updated_at < now() - make_interval(secs => $1) ORDER BY updated_at LIMIT $2)
        "#,
        age.as_secs_f64(),
        PAGE,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those that were lifted so long ago. A text that confirmed one may be kept longer.
async fn forget_opt_outs(connection: &mut PgConnection, age: Duration) -> Result<(), StoreError> {
    let over = sqlx::query_scalar!(
        r#"
        SELECT id FROM smshook.opt_outs
        WHERE opted_in_at < now() - make_interval(secs => $1) ORDER BY opted_in_at LIMIT $2 FOR UPDATE SKIP LOCKED
        "#,
        age.as_secs_f64(),
        PAGE,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE smshook.sends SET opt_out_id = NULL WHERE opt_out_id = ANY ($1)",
        &over
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("DELETE FROM smshook.opt_outs WHERE id = ANY ($1)", &over)
        .execute(connection)
        .await?;
    Ok(())
}

/// Those of these messages whose jobs have all ended, the discarded ones long enough ago. Their jobs are held until the end of
/// the transaction: nobody sets one going again whose text is about to go.
async fn lock_ended(connection: &mut PgConnection, messages: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query!(
        r#"
        SELECT id FROM smshook.jobs
        WHERE message_id = ANY ($1) AND state IN ('done', 'cancelled', 'discarded') ORDER BY lane, id FOR UPDATE
        "#,
        messages
    )
    .fetch_all(&mut *connection)
    .await?;
    // a statement of its own: what was set going while it waited for the locks is seen
    Ok(sqlx::query_scalar!(
        r#"
        SELECT m.id AS "id!" FROM UNNEST($1::uuid[]) AS m (id)
        WHERE NOT EXISTS (
            SELECT FROM smshook.jobs j
            WHERE j.message_id = m.id AND (j.state IN ('waiting', 'available', 'running')
                OR (j.state = 'discarded' AND j.finished_at > now() - make_interval(secs => $2))))
        "#,
        messages,
        DISCARDED_JOB_HOLDS_TEXT.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?)
}

/// What jobs captured, wrote down and kept. Of an error what the other side said goes, since it may have quoted the text.
async fn remove_payloads(connection: &mut PgConnection, messages: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH ended AS (
            SELECT j.id, m.text FROM smshook.jobs j JOIN smshook.messages m ON m.id = j.message_id WHERE m.id = ANY ($1)
        ), attempts AS (
            UPDATE smshook.attempts a SET error = smshook.without_quotes(a.error, e.text)
            FROM ended e WHERE a.job_id = e.id AND a.error IS NOT NULL
        )
        UPDATE smshook.jobs j
        SET captures = NULL, progress = NULL, result = NULL, reason = smshook.without_quotes(j.reason, e.text)
        FROM ended e WHERE j.id = e.id
        "#,
        messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn remove_texts_of_messages(connection: &mut PgConnection, messages: &[Uuid]) -> Result<u64, StoreError> {
    let removed = sqlx::query!(
        r#"
        UPDATE smshook.messages
        SET text = '', raw = '', media = NULL, text_chars = coalesce(text_chars, char_length(text)), text_removed_at = now()
        WHERE id = ANY ($1) AND text_removed_at IS NULL
        "#,
        messages
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Of texts that have been put together.
async fn remove_texts_of_parts(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        WITH over AS (
            UPDATE smshook.part_sets SET text_removed_at = now()
            WHERE id IN (
                SELECT id FROM smshook.part_sets
                WHERE NOT keep_text AND text_removed_at IS NULL AND assembled_at IS NOT NULL
                ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
            RETURNING id
        )
        UPDATE smshook.parts p SET text = '', raw = '', media = NULL FROM over WHERE p.set_id = over.id
        "#,
        PAGE
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What could not be read, or did not verify, and has become messages since: of endpoints that do not keep texts the body
/// goes.
pub(super) async fn remove_admitted_body(connection: &mut PgConnection, entry: Uuid) -> Result<(), StoreError> {
    sqlx::query!("UPDATE smshook.quarantine SET raw = '' WHERE id = $1", entry)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "UPDATE smshook.refused SET body = '', query = NULL, headers = '[]' WHERE id = $1",
        entry
    )
    .execute(connection)
    .await?;
    Ok(())
}
