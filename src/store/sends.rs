//! The gate before a text leaves: consent, expiry and loops, in the transaction that records the send.
//!
//! It must not send anything: the caller does, after the gate's commit and one more look (`last_look`).

use serde_json::Value;
use sqlx::PgConnection;

use super::loop_guard::{self, Hashes, LoopLimits, Withheld};
use super::{Store, StoreError, consent, storable};
use crate::job::{Job, JobKind};

/// Whether a text may leave now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendGate {
    /// Recorded; send it.
    Clear {
        /// The suppression group that the last look asks about.
        group: String,
        /// Whether it had been recorded before: then an earlier attempt may have left.
        again: bool,
    },
    /// Another claim holds the job: stop, write nothing.
    LeaseLost,
    /// The person opted out (or, for a confirmation, opted in again).
    Suppressed,
    /// Too late to be sent.
    Expired,
    /// The loop guard holds it back, and has put that on record.
    LoopGuard(Withheld),
    /// An earlier attempt may have sent it.
    AlreadySent,
}

struct Held {
    send_group: Option<String>,
    expired: bool,
    sending: bool,
    recorded: bool,
}

impl Store {
    /// In one transaction, before the socket write of a text to the sender: fence, suppression, expiry, the single use of a
    /// confirmation, the loop guard; then records the send of `text` under `reference` and saves `progress`.
    pub async fn begin_send(
        &self,
        job: &Job,
        reference: &str,
        text: &str,
        limits: &LoopLimits,
        progress: &Value,
    ) -> Result<SendGate, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let Some(held) = hold(&mut transaction, job).await? else {
            return Ok(SendGate::LeaseLost);
        };
        self.same_erasure_key(&mut transaction).await?;
        if held.sending {
            return Ok(SendGate::AlreadySent);
        }
        if held.expired {
            return Ok(SendGate::Expired);
        }
        let group = held.send_group.unwrap_or_default();
        let hashes = Hashes::of(job, text);
        let confirms = if job.kind == JobKind::OptOutConfirmation {
            match spend_token(&mut transaction, job).await? {
                Ok(opt_out) => Some(opt_out),
                Err(gate) => return Ok(gate),
            }
        } else {
            if consent::is_opted_out(&mut transaction, &group, &self.keys_of(&job.message.sender)).await? {
                return Ok(SendGate::Suppressed);
            }
            if let Some((withheld, is_first)) = loop_guard::hold_back(&mut transaction, job, &hashes, limits).await? {
                transaction.commit().await?;
                loop_guard::tell(job, limits, &withheld, is_first);
                return Ok(SendGate::LoopGuard(withheld));
            }
            None
        };
        record(&mut transaction, job, reference, &hashes, confirms, progress).await?;
        transaction.commit().await?;
        Ok(SendGate::Clear {
            group,
            again: held.recorded,
        })
    }

    /// Takes back what the gate recorded of an attempt that wrote nothing, and saves `progress`: it counts for no limit and
    /// is nobody's reply. False if another claim holds the job.
    pub async fn take_back_send(&self, job: &Job, progress: &Value) -> Result<bool, StoreError> {
        let taken = sqlx::query!(
            r#"
            WITH held AS (
                UPDATE smshook.jobs SET progress = $3 WHERE id = $1 AND claim = $2 AND state = 'running' RETURNING id
            ), gone AS (
                DELETE FROM smshook.sends WHERE job_id IN (SELECT id FROM held)
            )
            SELECT id FROM held
            "#,
            job.id,
            job.claim,
            &*storable(progress),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.is_some())
    }
}

async fn hold(connection: &mut PgConnection, job: &Job) -> Result<Option<Held>, StoreError> {
    Ok(sqlx::query_as!(
        Held,
        r#"
        SELECT send_group, coalesce(expires_at <= now(), false) AS "expired!",
               coalesce(jsonb_typeof(progress -> 'sending') <> 'null', false) AS "sending!",
               EXISTS (SELECT FROM smshook.sends WHERE job_id = jobs.id) AS "recorded!"
        FROM smshook.jobs
        WHERE id = $1 AND claim = $2 AND state = 'running' AND run_at > now()
        FOR UPDATE
        "#,
        job.id,
        job.claim,
    )
    .fetch_optional(connection)
    .await?)
}

/// Spends the token of the opt-out that this job's message began, and returns that opt-out. Whoever has spent it may do so
/// again, for another attempt; nobody else ever may. The error is what stands against it.
async fn spend_token(connection: &mut PgConnection, job: &Job) -> Result<Result<i64, SendGate>, StoreError> {
    let spent = sqlx::query_scalar!(
        r#"
        UPDATE smshook.opt_outs SET confirm_spent_at = clock_timestamp(), confirm_job_id = $2
        WHERE message_id = $1 AND opted_in_at IS NULL AND confirm_until > clock_timestamp()
          AND (confirm_spent_at IS NULL OR confirm_job_id = $2)
        RETURNING id
        "#,
        job.message.id,
        job.id,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(opt_out) = spent {
        return Ok(Ok(opt_out));
    }
    let anothers = sqlx::query_scalar!(
        r#"
        SELECT coalesce(confirm_job_id <> $2, false) AS "anothers!"
        FROM smshook.opt_outs WHERE message_id = $1 AND opted_in_at IS NULL
        "#,
        job.message.id,
        job.id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(Err(match anothers {
        None => SendGate::Suppressed,
        Some(true) => SendGate::AlreadySent,
        Some(false) => SendGate::Expired,
    }))
}

/// Records the send, and what the next attempt has to know.
async fn record(
    connection: &mut PgConnection,
    job: &Job,
    reference: &str,
    hashes: &Hashes,
    confirms: Option<i64>,
    progress: &Value,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO smshook.sends (job_id, conversation_id, reference, opt_out_id, text_sha256, asked_sha256)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (job_id) DO UPDATE
        -- another text under the same reference: what was reported of the last one is not about it
        SET started_at = now(), gateway_message_id = NULL, state = NULL, state_at = NULL, error = NULL,
            text_sha256 = EXCLUDED.text_sha256, asked_sha256 = EXCLUDED.asked_sha256
        "#,
        job.id,
        job.message.conversation_id,
        reference,
        confirms,
        hashes.text.as_slice(),
        hashes.asked.as_ref().map(<[u8; 32]>::as_slice),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("UPDATE smshook.jobs SET progress = $2 WHERE id = $1", job.id, progress)
        .execute(connection)
        .await?;
    Ok(())
}
