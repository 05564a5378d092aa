//! Actions whose credentials are refused: their queue waits unharmed, one job at a time is tried, and the first that gets
//! through lets all of them go on.
//!
//! The row in `paused_actions` is the pause, for every process; a claim reads it and settlements write it. This file must
//! not know why an action is refused.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::{Store, StoreError, queue, storable_text};

/// An action that waits for working credentials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PausedAction {
    /// The configured action.
    pub action: String,
    /// What the other side said last.
    pub reason: String,
    /// When it was paused.
    pub paused_at: DateTime<Utc>,
    /// From then on one job is tried; while it runs, when its lease ends.
    pub trial_at: DateTime<Utc>,
}

/// An attempt whose credentials were refused.
pub(super) struct Refused<'a> {
    pub(super) action: &'a str,
    pub(super) reason: &'a str,
    /// When the attempt was claimed: one that began before the pause is no trial.
    pub(super) claimed_at: DateTime<Utc>,
}

/// Pauses actions, or puts off the next trial of those that are paused: by a minute, and twice as long each time, up to 15
/// minutes. Returns those that were not paused before.
pub(super) async fn pause(connection: &mut PgConnection, refused: &[Refused<'_>]) -> Result<Vec<String>, StoreError> {
    // several attempts of one action may have been running; the latest speaks for all
    let mut latest: BTreeMap<&str, &Refused<'_>> = BTreeMap::new();
    for one in refused {
        let known = latest.entry(one.action).or_insert(one);
        if known.claimed_at < one.claimed_at {
            *known = one;
        }
    }
    if latest.is_empty() {
        return Ok(Vec::new());
    }
    let actions: Vec<String> = latest.values().map(|one| one.action.to_owned()).collect();
    let reasons: Vec<String> = latest
        .values()
        .map(|one| storable_text(one.reason).into_owned())
        .collect();
    let claimed: Vec<DateTime<Utc>> = latest.values().map(|one| one.claimed_at).collect();
    let rows = sqlx::query!(
        r#"
        WITH n AS (
            SELECT * FROM UNNEST($1::text[], $2::text[], $3::timestamptz[]) AS n (action, reason, claimed_at)
        )
        INSERT INTO smshook.paused_actions AS p (action, reason, trial_at)
        SELECT n.action, n.reason, now() + interval '1 minute' FROM n ORDER BY n.action
        ON CONFLICT (action) DO UPDATE
        SET reason = excluded.reason, failures = p.failures + 1,
            trial_at = now() + least(interval '15 minutes', interval '1 minute' * power(2, least(p.failures, 10)))
        WHERE p.paused_at <= (SELECT n.claimed_at FROM n WHERE n.action = excluded.action)
        RETURNING action, failures
        "#,
        &actions,
        &reasons,
        &claimed,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.failures == 1)
        .map(|row| row.action)
        .collect())
}

impl Store {
    /// Every paused action, by name.
    pub async fn paused_actions(&self) -> Result<Vec<PausedAction>, StoreError> {
        Ok(sqlx::query_as!(
            PausedAction,
            "SELECT action, reason, paused_at, trial_at FROM smshook.paused_actions ORDER BY action"
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Lets a paused action go on at once. False if it is not paused.
    pub async fn resume_action(&self, action: &str) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let resumed = sqlx::query!("DELETE FROM smshook.paused_actions WHERE action = $1", action)
            .execute(&mut *transaction)
            .await?;
        if resumed.rows_affected() == 0 {
            return Ok(false);
        }
        queue::notify(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Lets each of these actions that is paused have its trial now. Returns how many are paused.
    pub async fn try_paused_actions(&self, actions: &[String]) -> Result<u64, StoreError> {
        let paused = sqlx::query!(
            "UPDATE smshook.paused_actions SET trial_at = now() WHERE action = ANY ($1)",
            actions
        )
        .execute(&self.pool)
        .await?;
        Ok(paused.rows_affected())
    }
}
