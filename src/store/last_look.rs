//! The last look at consent before the first byte of a text leaves, and the hold that a STOP waits for.
//!
//! The gate in `sends` comes first and records; between its commit and the write lie DNS, TCP and TLS. This look comes after
//! them. It must not write anything, and nobody may wait for a second connection of the pool while holding one of these.

use std::time::Instant;

use sha2::{Digest as _, Sha256};
use sqlx::{Postgres, Transaction};

use super::{Store, StoreError, consent, sends};
use crate::job::Job;

/// How a look begins. Each statement sees what was committed when it began, whatever the server's default. A process that
/// is frozen while it holds must not hold up a STOP: the server ends it after a second, and the lock goes. One whose client
/// has given up must not wait on either.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
                     SET LOCAL idle_in_transaction_session_timeout = '1s'; SET LOCAL statement_timeout = '1500ms'";

/// What a look finds.
#[derive(Debug)]
pub enum LastLook {
    /// The text may leave while the hold lasts.
    Clear(Hold),
    /// It must not: the person opted out after the gate, or, for the confirmation of an opt-out, that is not in force any
    /// more or another job's to confirm.
    Suppressed,
}

/// Keeps an opt-out of the number from being committed until it is dropped, for at most a second.
#[derive(Debug)]
pub struct Hold {
    /// Ends by itself: dropped, it rolls back in the background.
    _transaction: Option<Transaction<'static, Postgres>>,
    since: Instant,
}

impl Hold {
    /// No later than the second of the hold began.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl Store {
    /// Whether a text of `group` may leave for `number` at this moment. An opt-out that is being committed is waited for, and
    /// one that comes after this waits for the hold.
    pub async fn last_look(&self, group: &str, number: &str) -> Result<LastLook, StoreError> {
        let mut transaction = self.pool.begin_with(BEGIN).await?;
        sqlx::query!("SELECT pg_advisory_xact_lock_shared($1)", number_lock(group, number))
            .fetch_one(&mut *transaction)
            .await?;
        let since = Instant::now();
        // a statement of its own: what was committed while it waited for the lock is seen
        Ok(if sends::suppressed(&mut transaction, group, number).await? {
            LastLook::Suppressed
        } else {
            LastLook::Clear(Hold {
                _transaction: Some(transaction),
                since,
            })
        })
    }

    /// The look of an opt-out's confirmation: the opt-out is in force, and this job is the one that confirms it. It holds
    /// nothing, because an opt-out does not stop its own confirmation.
    pub async fn last_look_at_confirmation(&self, job: &Job) -> Result<LastLook, StoreError> {
        let since = Instant::now();
        let is_owed = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (
                SELECT FROM smshook.sends s JOIN smshook.opt_outs o ON o.id = s.opt_out_id
                WHERE s.job_id = $1 AND o.opted_in_at IS NULL) AS "owed!"
            "#,
            job.id
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if is_owed {
            LastLook::Clear(Hold {
                _transaction: None,
                since,
            })
        } else {
            LastLook::Suppressed
        })
    }
}

/// The advisory lock of a number in a group, whatever its spelling.
fn number_lock(group: &str, number: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(group);
    hash.update([0]);
    hash.update(consent::spellings(number).iter().min().map_or(number, String::as_str));
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..]: [u8; 32] = hash.finalize().into();
    i64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
}
