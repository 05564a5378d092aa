//! Changes of consent on their way to webhooks: an outbox that is written with the change and emptied in order.
//!
//! A notice is claimed with a lease and a fence, and only while no earlier one of the same webhook and number is left: so an
//! opt-in never overtakes the opt-out before it, and a number whose notice fails holds up no other. What a notice says to the
//! webhook and how it is sent is not this file's work.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Store, StoreError, storable_text};

/// What is said on [`super::JOBS_CHANNEL`] when a notice was written; as a hint only.
pub const NOTICE_WRITTEN: &str = "notice";
/// How long a webhook is tried, from the change on. Standard Webhooks advises several days.
const TRIED_FOR: Duration = Duration::from_hours(72);
/// And how often at least: a change that nobody could tell because no process ran is not given up for its age.
const TRIED_AT_LEAST: i32 = 10;

/// A claimed notice.
#[derive(Clone, PartialEq)]
pub struct ClaimedNotice {
    /// Identity.
    pub id: i64,
    /// The fence: only the holder of the latest may settle.
    pub claim: i32,
    /// The attempt that this claim is, from 1.
    pub attempt: i32,
    /// The process that held it before ended without reporting.
    pub lost_before: bool,
    /// What is to be told, or why there is nothing to tell any more.
    pub change: Result<ChangeOfConsent, &'static str>,
}

/// What changed: an opt-out began, or is over.
#[derive(Clone, PartialEq)]
pub struct ChangeOfConsent {
    /// The event in `consent_events`: rises with each change of one number in one group.
    pub event_id: i64,
    /// Whose: E.164, or as the gateway wrote it.
    pub number: String,
    /// The suppression group.
    pub group: String,
    /// Whether they must not be texted from now on.
    pub opted_out: bool,
    /// message, provider, operator or import.
    pub source: Option<String>,
    /// When they asked, if that is known.
    pub asked_at: Option<DateTime<Utc>>,
    /// When it was committed.
    pub recorded_at: DateTime<Utc>,
}

impl std::fmt::Debug for ClaimedNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClaimedNotice {{ id: {}, attempt: {} }}", self.id, self.attempt)
    }
}

impl std::fmt::Debug for ChangeOfConsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChangeOfConsent {{ event_id: {} }}", self.event_id)
    }
}

/// What an attempt came to.
#[derive(Clone, PartialEq, Debug)]
pub enum NoticeEnd {
    /// The webhook has taken it.
    Delivered,
    /// It has not, and is asked again; unless it has been for three days.
    Failed {
        /// What went wrong, for a person; no secret, number or text.
        error: String,
        /// Not before this long from now.
        wait: Duration,
    },
    /// There is nothing to tell any more.
    Discarded(String),
    /// The process is stopping and gives it back; costs no attempt.
    Released,
}

impl NoticeEnd {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed { .. } => "failed",
            Self::Discarded(_) => "discarded",
            Self::Released => "released",
        }
    }
}

/// The end of a claim.
#[derive(Clone, PartialEq, Debug)]
pub struct NoticeSettlement {
    /// The notice.
    pub id: i64,
    /// The claim that ends.
    pub claim: i32,
    /// How.
    pub end: NoticeEnd,
}

/// A notice as it was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettledNotice {
    /// The notice.
    pub id: i64,
    /// Whether it was given up.
    pub is_discarded: bool,
}

/// What a webhook still has to be told, or never was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoticesLeft {
    /// Whom to tell.
    pub webhook: String,
    /// Waiting or on their way.
    pub waiting: i64,
    /// Since when the oldest of these waits, in seconds.
    pub oldest_seconds: i64,
    /// How the latest attempt at one of these failed, if one did.
    pub error: Option<String>,
    /// Given up within the last 30 days while the person could still be told of.
    pub given_up: i64,
}

struct ClaimedRow {
    id: i64,
    claim: i32,
    attempt: i32,
    lost: bool,
    event_id: i64,
    event: Option<String>,
    number: Option<String>,
    suppression_group: Option<String>,
    source: Option<String>,
    asked_at: Option<DateTime<Utc>>,
    recorded_at: Option<DateTime<Utc>>,
    erased: bool,
}

impl ClaimedRow {
    fn change(self) -> Result<ChangeOfConsent, &'static str> {
        if self.erased {
            return Err("the person was erased before it was delivered");
        }
        match (self.event, self.number, self.suppression_group, self.recorded_at) {
            (Some(event), Some(number), Some(group), Some(recorded_at)) => Ok(ChangeOfConsent {
                event_id: self.event_id,
                number,
                group,
                opted_out: event == "opt_out",
                source: self.source,
                asked_at: self.asked_at,
                recorded_at,
            }),
            _ => Err("what changed is not kept any longer"),
        }
    }
}

impl From<ClaimedRow> for ClaimedNotice {
    fn from(row: ClaimedRow) -> Self {
        Self {
            id: row.id,
            claim: row.claim,
            attempt: row.attempt,
            lost_before: row.lost,
            change: row.change(),
        }
    }
}

impl Store {
    /// Makes these the webhooks that are told of changes from now on; what was to be told to others is given up.
    pub async fn register_webhooks(&self, names: &[String]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("DELETE FROM smshook.webhooks WHERE name <> ALL ($1)", names)
            .execute(&mut *transaction)
            .await?;
        sqlx::query!(
            "INSERT INTO smshook.webhooks (name) SELECT UNNEST($1::text[]) ON CONFLICT (name) DO NOTHING",
            names
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.discard_unregistered_notices().await?;
        Ok(())
    }

    /// Gives up what was to be told to webhooks that are not registered any more. Returns how many there were.
    ///
    /// A change that was committed at the moment of their removal may have written some more, so this is done again.
    pub async fn discard_unregistered_notices(&self) -> Result<u64, StoreError> {
        let discarded = sqlx::query!(
            r#"
            UPDATE smshook.notices
            SET state = 'discarded', finished_at = now(), error = 'the webhook is not configured any more'
            WHERE state IN ('waiting', 'running') AND id IN (
                SELECT n.id FROM smshook.notices n
                WHERE n.state IN ('waiting', 'running')
                  AND NOT EXISTS (SELECT FROM smshook.webhooks w WHERE w.name = n.webhook)
                ORDER BY n.id FOR UPDATE)
            "#
        )
        .execute(&self.pool)
        .await?;
        Ok(discarded.rows_affected())
    }

    /// Claims notices that are due for a webhook: of each number at most the earliest one that is left.
    ///
    /// `lease`: a little longer than the longest attempt; once it ends, anybody may claim the notice anew.
    pub async fn claim_notices(
        &self,
        webhook: &str,
        most: usize,
        lease: Duration,
    ) -> Result<Vec<ClaimedNotice>, StoreError> {
        let rows = sqlx::query_as!(
            ClaimedRow,
            r#"
            WITH due AS (
                SELECT n.id, n.state = 'running' AS lost
                FROM smshook.notices n
                WHERE n.webhook = $1 AND n.state IN ('waiting', 'running') AND n.run_at <= now()
                  -- looked up row by row, and not joined, which on a long backlog takes minutes
                  AND n.id = (
                    SELECT min(b.id) FROM smshook.notices b
                    WHERE b.webhook = n.webhook AND b.number_key = n.number_key AND b.state IN ('waiting', 'running'))
                ORDER BY n.run_at, n.id
                LIMIT $2
                FOR UPDATE OF n SKIP LOCKED
            ), claimed AS (
                UPDATE smshook.notices n
                SET state = 'running', claim = n.claim + 1, attempt = n.attempt + 1,
                    run_at = now() + make_interval(secs => $3)
                FROM due WHERE n.id = due.id
                RETURNING n.id, n.claim, n.attempt, n.event_id, due.lost
            )
            SELECT c.id AS "id!", c.claim AS "claim!", c.attempt AS "attempt!", c.lost AS "lost!", c.event_id AS "event_id!",
                   e.event AS "event?", e.number AS "number?", e.suppression_group AS "suppression_group?",
                   e.source AS "source?", e.asked_at AS "asked_at?", e.recorded_at AS "recorded_at?",
                   coalesce(e.erased_at IS NOT NULL OR starts_with(e.number, 'hmac:'), false) AS "erased!"
            FROM claimed c LEFT JOIN smshook.consent_events e ON e.id = c.event_id
            ORDER BY c.id
            "#,
            webhook,
            i64::try_from(most).unwrap_or(i64::MAX),
            lease.as_secs_f64(),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(ClaimedNotice::from).collect())
    }

    /// Ends claims. Returns what was written; a claim that is not the latest, or whose webhook is gone, changes nothing.
    pub async fn settle_notices(&self, settlements: &[NoticeSettlement]) -> Result<Vec<SettledNotice>, StoreError> {
        let ids: Vec<i64> = settlements.iter().map(|s| s.id).collect();
        let claims: Vec<i32> = settlements.iter().map(|s| s.claim).collect();
        let ends: Vec<String> = settlements.iter().map(|s| s.end.as_str().to_owned()).collect();
        let (errors, waits): (Vec<Option<String>>, Vec<f64>) = settlements
            .iter()
            .map(|settlement| match &settlement.end {
                NoticeEnd::Failed { error, wait } => (Some(storable_text(error).into_owned()), wait.as_secs_f64()),
                NoticeEnd::Discarded(reason) => (Some(storable_text(reason).into_owned()), 0.0),
                NoticeEnd::Delivered | NoticeEnd::Released => (None, 0.0),
            })
            .unzip();
        let rows = sqlx::query!(
            r#"
            WITH ended AS (
                SELECT n.id, s.outcome, s.error, s.wait,
                       s.outcome = 'failed' AND n.attempt >= $6
                         AND n.created_at <= now() - make_interval(secs => $7) AS given_up
                FROM smshook.notices n
                JOIN UNNEST($1::int8[], $2::int4[], $3::text[], $4::text[], $5::float8[])
                    AS s (id, claim, outcome, error, wait) ON s.id = n.id AND s.claim = n.claim
                WHERE n.state = 'running'
                ORDER BY n.id FOR UPDATE OF n
            )
            UPDATE smshook.notices n
            SET state = CASE WHEN e.given_up THEN 'discarded' WHEN e.outcome IN ('failed', 'released') THEN 'waiting'
                             ELSE e.outcome END,
                finished_at = CASE WHEN e.given_up OR e.outcome IN ('delivered', 'discarded') THEN now() END,
                attempt = n.attempt - CASE WHEN e.outcome = 'released' THEN 1 ELSE 0 END,
                run_at = now() + make_interval(secs => e.wait),
                error = CASE WHEN e.given_up THEN format('gave up after %s attempts: %s', n.attempt, e.error)
                             WHEN e.outcome = 'released' THEN n.error ELSE e.error END
            FROM ended e WHERE n.id = e.id
            RETURNING n.id, n.state = 'discarded' AS "is_discarded!"
            "#,
            &ids,
            &claims,
            &ends,
            &errors as &[Option<String>],
            &waits,
            TRIED_AT_LEAST,
            TRIED_FOR.as_secs_f64(),
        )
        .fetch_all(&self.pool)
        .await?;
        let settled = rows.into_iter().map(|row| SettledNotice {
            id: row.id,
            is_discarded: row.is_discarded,
        });
        Ok(settled.collect())
    }

    /// What each registered webhook still has to be told, and what it never was.
    pub async fn notices_left(&self) -> Result<Vec<NoticesLeft>, StoreError> {
        Ok(sqlx::query_as!(
            NoticesLeft,
            r#"
            SELECT w.name AS "webhook!", coalesce(l.waiting, 0) AS "waiting!", coalesce(l.seconds, 0) AS "oldest_seconds!",
                   l.error AS "error?",
                   (SELECT count(*) FROM smshook.notices g
                    WHERE g.webhook = w.name AND g.state = 'discarded' AND g.error LIKE 'gave up after %'
                      AND g.finished_at > now() - interval '30 days') AS "given_up!"
            FROM smshook.webhooks w
            LEFT JOIN LATERAL (
                SELECT count(*) AS waiting, extract(epoch FROM now() - min(n.created_at))::int8 AS seconds,
                       (array_agg(n.error ORDER BY n.id) FILTER (WHERE n.error IS NOT NULL))[1] AS error
                FROM smshook.notices n WHERE n.webhook = w.name AND n.state IN ('waiting', 'running')
            ) l ON true
            ORDER BY w.name
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
