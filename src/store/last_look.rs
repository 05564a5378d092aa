//! The last look at consent before the first byte of a text leaves, and the hold that a STOP waits for.
//!
//! The gate in `sends` comes first and records; between its commit and the write lie DNS, TCP and TLS. This look comes after
//! them. It must not write anything, and nobody may wait for a second connection of the pool while holding one of these.

use std::time::Instant;

use sqlx::{Postgres, Transaction};

use super::{Store, StoreError, consent};
use crate::job::Job;
use crate::phone::suppression_key;

/// How a look begins. Each statement sees what was committed when it began, whatever the server's default. A process that
/// is frozen while it holds must not hold up a STOP beyond the deadline of its delivery: the server ends it, and the lock goes. One whose client
/// has given up must not wait on either.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
                     SET LOCAL idle_in_transaction_session_timeout = '500ms'; SET LOCAL statement_timeout = '1500ms'";

/// What a look finds.
#[derive(Debug)]
pub enum LastLook {
    /// The text may leave while the hold lasts.
    Clear(Hold),
    /// The person opted out after the gate; or, of a confirmation, what it confirms is no longer in force.
    Suppressed,
    /// The lease is over, and another may have the job.
    LeaseLost,
}

struct Found {
    is_suppressed: bool,
    is_ours: bool,
}

impl Found {
    fn with(&self, hold: Hold) -> LastLook {
        match self {
            Self {
                is_suppressed: true, ..
            } => LastLook::Suppressed,
            Self { is_ours: false, .. } => LastLook::LeaseLost,
            Self { .. } => LastLook::Clear(hold),
        }
    }
}

/// Keeps an opt-out of the number from being committed until it is dropped, for at most half a second.
#[derive(Debug)]
pub struct Hold {
    /// Ends by itself: dropped, it rolls back in the background.
    _transaction: Option<Transaction<'static, Postgres>>,
    since: Instant,
}

impl Hold {
    /// No later than the half second of the hold began.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl Store {
    /// Whether the text of this job, which belongs to `group`, may leave at this moment. An opt-out that is being committed is
    /// waited for, and one that comes after this waits for the hold.
    pub async fn last_look(&self, job: &Job, group: &str) -> Result<LastLook, StoreError> {
        let number = &job.message.sender;
        let mut transaction = self.pool.begin_with(BEGIN).await?;
        let lock = consent::number_lock(group, &suppression_key(number));
        sqlx::query!("SELECT pg_advisory_xact_lock_shared($1)", lock)
            .fetch_one(&mut *transaction)
            .await?;
        let since = Instant::now();
        // a statement of its own: what was committed while it waited for the lock is seen
        let found = sqlx::query_as!(
            Found,
            r#"
            SELECT EXISTS (
                SELECT FROM smshook.opt_outs
                WHERE number_key = ANY ($2) AND suppression_group = $1 AND opted_in_at IS NULL) AS "is_suppressed!",
            EXISTS (
                SELECT FROM smshook.jobs
                WHERE id = $3 AND claim = $4 AND state = 'running' AND run_at > clock_timestamp()) AS "is_ours!"
            "#,
            group,
            &self.keys_of(number),
            job.id,
            job.claim,
        )
        .fetch_one(&mut *transaction)
        .await?;
        Ok(found.with(Hold {
            _transaction: Some(transaction),
            since,
        }))
    }

    /// The look of an opt-out's confirmation: the opt-out is in force, and this job has spent its token, which is still good.
    /// It holds nothing, because an opt-out does not stop its own confirmation.
    pub async fn last_look_at_confirmation(&self, job: &Job) -> Result<LastLook, StoreError> {
        let since = Instant::now();
        let found = sqlx::query_as!(
            Found,
            r#"
            SELECT NOT EXISTS (
                SELECT FROM smshook.opt_outs
                WHERE message_id = $1 AND opted_in_at IS NULL AND confirm_job_id = $2
                  AND confirm_until > clock_timestamp()) AS "is_suppressed!",
            EXISTS (
                SELECT FROM smshook.jobs
                WHERE id = $2 AND claim = $3 AND state = 'running' AND run_at > clock_timestamp()) AS "is_ours!"
            "#,
            job.message.id,
            job.id,
            job.claim,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(found.with(Hold {
            _transaction: None,
            since,
        }))
    }
}
