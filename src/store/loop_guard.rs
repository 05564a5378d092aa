//! The loop guard: two machines that answer each other must stop by themselves.
//!
//! It counts what was sent; it must not send, nor decide about consent.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Lane, StoreError};
use crate::job::Job;

/// How many texts of ours one conversation may get: two machines answering each other must stop by themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoopLimits {
    /// So many texts within so long; all of these hold.
    pub windows: Vec<(u32, Duration)>,
}

impl Default for LoopLimits {
    fn default() -> Self {
        Self {
            windows: vec![(5, Duration::from_mins(10)), (20, Duration::from_hours(24))],
        }
    }
}

/// The limit that one more text would break, if any. Texts of one conversation take turns here, so that two actions cannot
/// both be the last one allowed.
pub(super) async fn over_limit(
    connection: &mut PgConnection,
    job: &Job,
    limits: &LoopLimits,
) -> Result<Option<String>, StoreError> {
    let turn = Lane::of(job.message.conversation_id, "").0;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", turn)
        .fetch_one(&mut *connection)
        .await?;
    for &(most, window) in &limits.windows {
        let sent = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "sent!" FROM smshook.sends
            WHERE conversation_id = $1 AND job_id <> $2 AND opt_out_id IS NULL
              AND started_at > now() - make_interval(secs => $3)
            "#,
            job.message.conversation_id,
            job.id,
            window.as_secs_f64(),
        )
        .fetch_one(&mut *connection)
        .await?;
        if sent >= i64::from(most) {
            return Ok(Some(format!("{most} texts within {} minutes", window.as_secs() / 60)));
        }
    }
    Ok(None)
}
