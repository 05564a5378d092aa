//! The gate before a text leaves: the last look at consent, in the transaction that records the send.
//!
//! It must not send anything: the caller does, after the gate's commit.

use serde_json::Value;
use sqlx::PgConnection;

use super::loop_guard::{self, Hashes, LoopLimits, Withheld};
use super::{Store, StoreError, consent};
use crate::job::{Job, JobKind};

/// Whether a text may leave now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendGate {
    /// Recorded; send it.
    Clear,
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
            match opt_out_of(&mut transaction, job).await? {
                None => return Ok(SendGate::Suppressed),
                Some(opt_out) if opt_out.is_late => return Ok(SendGate::Expired),
                Some(opt_out) => Some(opt_out.id),
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
        if !record(&mut transaction, job, reference, &hashes, confirms, progress).await? {
            return Ok(SendGate::AlreadySent);
        }
        transaction.commit().await?;
        Ok(SendGate::Clear)
    }
}

async fn hold(connection: &mut PgConnection, job: &Job) -> Result<Option<Held>, StoreError> {
    Ok(sqlx::query_as!(
        Held,
        r#"
        SELECT send_group, coalesce(expires_at <= now(), false) AS "expired!",
               coalesce(jsonb_typeof(progress -> 'sending') <> 'null', false) AS "sending!"
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

struct OptOut {
    id: i64,
    is_late: bool,
}

/// The opt-out that this job's message began, while it is in force. Five minutes count from the opt-out, which is older than
/// its job where it came in a part of a longer text.
async fn opt_out_of(connection: &mut PgConnection, job: &Job) -> Result<Option<OptOut>, StoreError> {
    Ok(sqlx::query_as!(
        OptOut,
        r#"
        SELECT id, recorded_at < now() - make_interval(secs => $2) AS "is_late!"
        FROM smshook.opt_outs WHERE message_id = $1 AND opted_in_at IS NULL
        "#,
        job.message.id,
        super::queue::CONFIRM_WITHIN.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await?)
}

/// False if this opt-out has been confirmed by another job.
async fn record(
    connection: &mut PgConnection,
    job: &Job,
    reference: &str,
    hashes: &Hashes,
    confirms: Option<i64>,
    progress: &Value,
) -> Result<bool, StoreError> {
    let confirmed = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM smshook.sends WHERE opt_out_id = $1 AND job_id <> $2) AS "confirmed!""#,
        confirms,
        job.id
    )
    .fetch_one(&mut *connection)
    .await?;
    if confirmed {
        return Ok(false);
    }
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
    Ok(true)
}
