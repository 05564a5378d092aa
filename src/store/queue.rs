//! The queue: jobs into lanes, out of them by claim, and back by settlement.
//!
//! A lane holds at most one claimable job, its head; the others wait, out of every index that a claim reads, so a lane with
//! a hundred thousand jobs costs the other lanes nothing. A unique index enforces the single head, also between processes.
//!
//! A job that queues behind a head does not lock it. Whoever settles a head promotes its successor, and whoever queued a job
//! looks again after its own commit: one of the two sees both. Should a process die between its commit and that look, the
//! sweep of any worker finds the lane. Locks are taken in the order of lanes, so that no two batches wait in a circle.
//!
//! An expired lease is simply claimable again: there is no rescuer and no leader.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};
use uuid::Uuid;

use super::events::{self, Named};
use super::pauses::{self, Refused};
use super::{Store, StoreError, awaited, consent, retention, storable, storable_text};
use crate::job::{Job, JobKind, JobMessage, Outcome, waited_for};
use crate::message::InboundMessage;
use crate::rules::PlannedJob;

/// A confirmation is sent within five minutes or not at all (47 CFR 64.1200(a)(12)).
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_mins(5);
/// The action of such a job.
const CONFIRMATION: &str = JobKind::OptOutConfirmation.as_str();
/// How long the worker waits for one answer of the database: far longer than any takes, so that only a server that is frozen
/// or behind a dead network is given up, and the worker can still poll, settle and stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lane: one conversation and one action, hashed. Two lanes that share a hash merely take turns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(pub i64);

impl Lane {
    /// The lane of an action in a conversation.
    pub fn of(conversation: Uuid, action: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(conversation.as_bytes());
        hash.update(action.as_bytes());
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..]: [u8; 32] = hash.finalize().into();
        Self(i64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]))
    }
}

/// A job about to be inserted.
pub(super) struct NewJob<'a> {
    message_id: Uuid,
    kind: JobKind,
    action: &'a str,
    rule: Option<&'a str>,
    lane: Lane,
    captures: Option<&'a Value>,
    send_to: Option<&'a str>,
    send_group: Option<&'a str>,
    send_keys: Option<String>,
    expires_in: Option<Duration>,
}

impl<'a> NewJob<'a> {
    /// `None` for a confirmation of what was already in force.
    pub(super) fn of(
        planned: &'a PlannedJob,
        message_id: Uuid,
        conversation: Uuid,
        message: &'a InboundMessage,
        group: &'a str,
        may_confirm: bool,
        store: &Store,
    ) -> Option<Self> {
        let confirms = matches!(planned.kind, JobKind::OptOutConfirmation | JobKind::OptInConfirmation);
        if confirms && !may_confirm {
            return None;
        }
        let bypasses = planned.kind == JobKind::OptOutConfirmation;
        Some(Self {
            message_id,
            kind: planned.kind,
            action: &planned.action,
            rule: planned.rule.as_deref(),
            lane: Lane::of(conversation, &planned.action),
            captures: (!planned.captures.is_null()).then_some(&planned.captures),
            send_to: planned.sends.then(|| message.sender.key()),
            send_group: planned.sends.then_some(group),
            // the confirmation is the one text that an opt-out allows
            send_keys: (planned.sends && !bypasses).then(|| store.keys_of(message.sender.key()).join("\n")),
            expires_in: confirms.then_some(CONFIRM_WITHIN),
        })
    }
}

impl<'a> NewJob<'a> {
    /// An action that follows a change of consent which the provider told of, long after its message came.
    pub(super) fn following(action: &'a str, message_id: Uuid, conversation: Uuid) -> Self {
        Self {
            message_id,
            kind: JobKind::Action,
            action,
            rule: None,
            lane: Lane::of(conversation, action),
            captures: None,
            send_to: None,
            send_group: None,
            send_keys: None,
            expires_in: None,
        }
    }
}

/// What an insertion came to.
#[derive(Debug, Default)]
pub(super) struct Queued {
    /// Whether any job can be claimed now.
    pub(super) claimable: bool,
    /// Lanes in which a job waits: to be given to [`promote`] after the commit, in case the head ended meanwhile.
    pub(super) behind: Vec<i64>,
}

/// Inserts jobs, each as the head of its lane or behind it; those that send to an opted-out number as cancelled.
pub(super) async fn insert(connection: &mut PgConnection, jobs: &[NewJob<'_>]) -> Result<Queued, StoreError> {
    if jobs.is_empty() {
        return Ok(Queued::default());
    }
    let messages: Vec<Uuid> = jobs.iter().map(|j| j.message_id).collect();
    let kinds: Vec<String> = jobs.iter().map(|j| j.kind.as_str().to_owned()).collect();
    let actions: Vec<String> = jobs.iter().map(|j| j.action.to_owned()).collect();
    let rules: Vec<Option<&str>> = jobs.iter().map(|j| j.rule).collect();
    let lanes: Vec<i64> = jobs.iter().map(|j| j.lane.0).collect();
    let captures: Vec<Option<Value>> = jobs.iter().map(|j| j.captures.cloned()).collect();
    let send_to: Vec<Option<&str>> = jobs.iter().map(|j| j.send_to).collect();
    let groups: Vec<Option<&str>> = jobs.iter().map(|j| j.send_group).collect();
    let keys: Vec<Option<&str>> = jobs.iter().map(|j| j.send_keys.as_deref()).collect();
    let expire: Vec<Option<f64>> = jobs.iter().map(|j| j.expires_in.map(|d| d.as_secs_f64())).collect();
    let rows = sqlx::query!(
        r#"
        WITH n AS (
            SELECT n.*, n.send_keys IS NOT NULL AND EXISTS (
                SELECT FROM smshook.opt_outs o
                WHERE o.suppression_group = n.send_group AND o.number_key = ANY (string_to_array(n.send_keys, E'\n'))
                  AND o.opted_in_at IS NULL) AS suppressed
            FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::jsonb[], $7::text[], $8::text[],
                $9::text[], $10::float8[]) WITH ORDINALITY
                AS n (message_id, kind, action, rule, lane, captures, send_to, send_group, send_keys, expires_in, nth)
        ), heads AS (
            INSERT INTO smshook.jobs
                (message_id, state, kind, action, rule, lane, captures, send_to, send_group, expires_at, finished_at, reason)
            SELECT n.message_id, CASE WHEN n.suppressed THEN 'cancelled' ELSE 'available' END, n.kind, n.action, n.rule,
                n.lane, n.captures, n.send_to, n.send_group, now() + make_interval(secs => n.expires_in),
                CASE WHEN n.suppressed THEN now() END,
                CASE WHEN n.suppressed THEN 'the sender has opted out' END
            FROM n
            -- whoever waits in the lane already came before
            WHERE n.suppressed OR NOT EXISTS (
                SELECT FROM smshook.jobs w WHERE w.lane = n.lane AND w.state = 'waiting')
            ORDER BY n.lane, n.nth
            ON CONFLICT (lane) WHERE state IN ('available', 'running') DO NOTHING
            RETURNING message_id, kind, action, state
        ), behind AS (
            INSERT INTO smshook.jobs
                (message_id, state, kind, action, rule, lane, captures, send_to, send_group, expires_at)
            SELECT n.message_id, 'waiting', n.kind, n.action, n.rule, n.lane, n.captures, n.send_to, n.send_group,
                now() + make_interval(secs => n.expires_in)
            FROM n
            WHERE NOT EXISTS (
                SELECT FROM heads h WHERE h.message_id = n.message_id AND h.kind = n.kind AND h.action = n.action)
            ORDER BY n.lane, n.nth
            RETURNING lane
        )
        SELECT NULL::int8 AS lane FROM heads WHERE state = 'available'
        UNION ALL
        SELECT lane FROM behind
        "#,
        &messages,
        &kinds,
        &actions,
        &rules as &[Option<&str>],
        &lanes,
        &captures as &[Option<Value>],
        &send_to as &[Option<&str>],
        &groups as &[Option<&str>],
        &keys as &[Option<&str>],
        &expire as &[Option<f64>],
    )
    .fetch_all(connection)
    .await?;
    Ok(Queued {
        claimable: rows.iter().any(|row| row.lane.is_none()),
        behind: rows.into_iter().filter_map(|row| row.lane).collect(),
    })
}

/// Makes the next waiting job of each lane its head, unless the lane has one. After the statement that ended the old head,
/// or after the commit that queued behind one.
pub(super) async fn promote(connection: &mut PgConnection, lanes: &[i64]) -> Result<u64, StoreError> {
    if lanes.is_empty() {
        return Ok(0);
    }
    let promoted = sqlx::query!(
        r#"
        UPDATE smshook.jobs SET state = 'available'
        WHERE state = 'waiting' AND id IN (
            SELECT (SELECT w.id FROM smshook.jobs w WHERE w.lane = l.lane AND w.state = 'waiting' ORDER BY w.id LIMIT 1)
            FROM UNNEST($1::int8[]) AS l (lane)
            WHERE NOT EXISTS (
                SELECT FROM smshook.jobs h WHERE h.lane = l.lane AND h.state IN ('available', 'running')))
        "#,
        lanes
    )
    .execute(connection)
    .await?;
    Ok(promoted.rows_affected())
}

/// Looks again, after the commit, at lanes in which a job was queued behind a head. Somebody who does the same for the same
/// lane may come first: then the unique index stops us, and there is nothing left to do.
pub(super) async fn promote_after_commit(connection: &mut PgConnection, lanes: &[i64]) -> Result<(), StoreError> {
    match promote(connection, lanes).await {
        Ok(0) => Ok(()),
        Ok(_) => notify(connection).await,
        Err(StoreError::Other(error)) if is_lane_taken(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Says that there is work; heard after the commit.
pub(super) async fn notify(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_notify($1, '')", super::JOBS_CHANNEL)
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Whether the lane has got another head: a lost race, not bad data.
pub(super) fn is_lane_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint)
        == Some("jobs_one_head_per_lane")
}

/// How many jobs of an action to claim, and for how long.
#[derive(Clone, Debug)]
pub struct Want {
    /// The action's name; for compliance replies their kind's word.
    pub action: String,
    /// Jobs at most.
    pub slots: usize,
    /// The lease: a little longer than the longest attempt.
    pub lease: Duration,
}

/// A claimed job; `lost_before` says that the process which held it last ended without reporting.
#[derive(Debug)]
pub struct Claimed {
    /// The job.
    pub job: Job,
    /// Its previous lease expired.
    pub lost_before: bool,
}

/// A claimed job and its message, as the claim returns them.
struct ClaimedRow {
    id: i64,
    claim: i32,
    attempt: i32,
    kind: String,
    action: String,
    rule: Option<String>,
    captures: Option<Value>,
    progress: Option<Value>,
    expires_at: Option<DateTime<Utc>>,
    claimed_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    lost: bool,
    message_row: Uuid,
    endpoint: String,
    gateway_message_id: Option<String>,
    conversation_id: Uuid,
    sender: String,
    sender_raw: String,
    sender_answerable: bool,
    recipient: String,
    recipient_raw: String,
    text: String,
    sent_at: Option<DateTime<Utc>>,
    received_at: DateTime<Utc>,
    reference: Option<String>,
    device_id: Option<String>,
    tenant_name: Option<String>,
    media: Option<Value>,
    missing_parts: Option<i16>,
    verified: bool,
    duplicates: i32,
    gateway_rules: Vec<String>,
    consent_event: Option<String>,
    consent_keyword: Option<String>,
    consent_language: Option<String>,
}

impl TryFrom<ClaimedRow> for Claimed {
    type Error = StoreError;

    fn try_from(row: ClaimedRow) -> Result<Self, StoreError> {
        let kind = JobKind::from_stored(&row.kind).ok_or_else(|| StoreError::Inconsistent {
            table: "jobs",
            what: format!("kind `{}`", row.kind),
        })?;
        let message = JobMessage {
            id: row.message_row,
            endpoint: row.endpoint,
            message_id: row.gateway_message_id,
            conversation_id: row.conversation_id,
            sender: row.sender,
            sender_raw: row.sender_raw,
            sender_answerable: row.sender_answerable,
            recipient: row.recipient,
            recipient_raw: row.recipient_raw,
            text: row.text,
            sent_at: row.sent_at,
            received_at: row.received_at,
            reference: row.reference,
            device_id: row.device_id,
            tenant_name: row.tenant_name,
            media: row.media.unwrap_or_default(),
            missing_parts: row.missing_parts.unwrap_or_default(),
            verified: row.verified,
            duplicates: row.duplicates,
            gateway_rules: row.gateway_rules,
            consent_event: row.consent_event,
            consent_keyword: row.consent_keyword,
            consent_language: row.consent_language,
        };
        let job = Job {
            id: row.id,
            claim: row.claim,
            attempt: row.attempt,
            kind,
            action: row.action,
            rule: row.rule,
            captures: row.captures.unwrap_or(Value::Null),
            results: Value::Null,
            progress: row.progress.unwrap_or(Value::Null),
            expires_at: row.expires_at,
            claimed_at: row.claimed_at,
            created_at: row.created_at,
            message,
        };
        Ok(Self {
            job,
            lost_before: row.lost,
        })
    }
}

/// What to write about a finished attempt.
#[derive(Debug)]
pub struct Settlement {
    /// The job.
    pub job_id: i64,
    /// The claim it was run under.
    pub claim: i32,
    /// What it came to.
    pub outcome: Outcome,
    /// For a retry: when, from now.
    pub wait: Duration,
    /// Whether other actions of the message may wait for this one: its end wakes them.
    pub awaited: bool,
}

/// A settled job.
struct Settled {
    id: i64,
    lane: i64,
    action: String,
    message_id: Uuid,
    claimed_at: DateTime<Utc>,
    /// It will not run again.
    ended: bool,
    /// Its end lets its paused action go on.
    resumes: bool,
}

impl Settlement {
    /// State, word for the attempt, reason, result, and whether the attempt is refunded.
    fn columns(&self) -> (&'static str, &'static str, Option<String>, Option<Value>, bool) {
        match &self.outcome {
            Outcome::Done(result) => ("done", "done", None, (!result.is_null()).then(|| result.clone()), false),
            Outcome::Retry { error, .. } => ("available", "retry", Some(error.clone()), None, false),
            Outcome::Snooze { reason, .. } | Outcome::Pause(reason) => {
                ("available", "snooze", Some(reason.clone()), None, true)
            }
            Outcome::Discard(reason) => ("discarded", "discard", Some(reason.clone()), None, false),
            Outcome::Cancel(reason) => ("cancelled", "cancel", Some(reason.clone()), None, false),
            Outcome::Release => ("available", "release", None, None, true),
        }
    }

    /// The gateway's ID of a reply that it took: the result of a reply has our `reference`, and what was captured.
    fn named(&self) -> Option<Named> {
        let Outcome::Done(result) = &self.outcome else {
            return None;
        };
        result.get("reference")?;
        let id = match result.pointer("/captures/id")? {
            Value::String(id) if !id.is_empty() => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return None,
        };
        Some(Named {
            job_id: self.job_id,
            id,
        })
    }
}

impl Store {
    /// Claims due jobs, the longest due first, each with a fresh lease. The previous holder of an expired lease is recorded
    /// as lost. Of a paused action none is claimed, or one as a trial when its time has come; the next has to wait until the
    /// lease of that one ends.
    pub async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        self.claim_at_most(usize::MAX, wants).await
    }

    /// As [`Store::claim`], no more than `most` in all.
    pub async fn claim_at_most(&self, most: usize, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        let actions: Vec<String> = wants.iter().map(|w| w.action.clone()).collect();
        let slots: Vec<i64> = wants
            .iter()
            .map(|w| i64::try_from(w.slots).unwrap_or(i64::MAX))
            .collect();
        let leases: Vec<f64> = wants.iter().map(|w| w.lease.as_secs_f64()).collect();
        let mut connection = self.pool.acquire().await?;
        let claiming = sqlx::query_as!(
            ClaimedRow,
            r#"
            WITH trials AS (
                -- whoever comes second finds the row locked, or its time put off
                SELECT action FROM smshook.paused_actions
                WHERE action = ANY ($1) AND trial_at <= now() FOR UPDATE SKIP LOCKED
            ), wanted AS (
                SELECT w.action, w.lease,
                       CASE WHEN p.action IS NULL THEN w.slots WHEN t.action IS NULL THEN 0 ELSE 1 END AS slots
                FROM UNNEST($1::text[], $2::int8[], $3::float8[]) AS w (action, slots, lease)
                LEFT JOIN smshook.paused_actions p ON p.action = w.action
                LEFT JOIN trials t ON t.action = w.action
            ), due AS (
                SELECT j.*, w.lease
                FROM wanted w
                CROSS JOIN LATERAL (
                    SELECT id, action, state, claim, attempt, claimed_at FROM smshook.jobs
                    WHERE action = w.action AND state IN ('available', 'running') AND run_at <= now()
                    ORDER BY run_at LIMIT w.slots FOR UPDATE SKIP LOCKED) j
                LIMIT $4
            ), lost AS (
                INSERT INTO smshook.attempts (job_id, claim, attempt, started_at, outcome, error)
                SELECT id, claim, attempt, claimed_at, 'lost', 'its process ended or stalled before it reported'
                FROM due WHERE state = 'running'
                ON CONFLICT (job_id, claim) DO NOTHING
            ), put_off AS (
                UPDATE smshook.paused_actions p SET trial_at = now() + make_interval(secs => due.lease)
                FROM due WHERE p.action = due.action
            )
            UPDATE smshook.jobs j
            SET state = 'running', claim = j.claim + 1, attempt = j.attempt + 1, claimed_at = now(),
                run_at = now() + make_interval(secs => due.lease)
            FROM due, smshook.messages m
            -- the array keeps the planner, which cannot know how few are due, from reading both tables in full
            WHERE j.id = ANY (ARRAY(SELECT id FROM due)) AND due.id = j.id AND m.id = j.message_id
            RETURNING j.id, j.claim, j.attempt, j.kind, j.action, j.rule, j.captures, j.progress, j.expires_at,
                j.claimed_at AS "claimed_at!", j.created_at, due.state = 'running' AS "lost!",
                m.id AS message_row, m.endpoint, m.message_id AS gateway_message_id, m.conversation_id, m.sender,
                m.sender_raw, m.sender_answerable, m.recipient, m.recipient_raw, m.text, m.sent_at, m.received_at,
                m.reference, m.device_id, m.tenant_name, m.media, m.missing_parts, m.verified,
                m.duplicates, m.gateway_rules,
                CASE WHEN j.provider_code IS NULL THEN m.consent_event ELSE 'opt_out' END AS consent_event,
                coalesce(j.provider_code, m.consent_keyword) AS consent_keyword,
                CASE WHEN j.provider_code IS NULL THEN m.consent_language END AS consent_language
            "#,
            &actions,
            &slots,
            &leases,
            i64::try_from(most).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *connection);
        let rows = match tokio::time::timeout(PATIENCE, claiming).await {
            Ok(rows) => rows?,
            Err(_hangs) => return Err(leave_behind(connection)),
        };
        rows.into_iter().map(Claimed::try_from).collect()
    }

    /// Writes what attempts came to and frees the lanes of those that ended. Returns how many still held their lease: a
    /// stale holder changes nothing.
    pub async fn settle(&self, settlements: &[Settlement]) -> Result<usize, StoreError> {
        let mut connection = self.pool.acquire().await?;
        match tokio::time::timeout(PATIENCE, settle_all(&mut connection, settlements)).await {
            Ok(settled) => settled,
            Err(_hangs) => Err(leave_behind(connection)),
        }
    }

    /// Ends due jobs of actions that nobody configured any more, with that reason, and their pauses. Returns how many jobs.
    pub async fn discard_unconfigured(&self, configured: &[String]) -> Result<usize, StoreError> {
        let mut connection = self.pool.acquire().await?;
        match tokio::time::timeout(PATIENCE, Self::discard_orphans(&mut connection, configured)).await {
            Ok(discarded) => discarded,
            Err(_hangs) => Err(leave_behind(connection)),
        }
    }

    /// Ends due jobs of actions that are not in `configured`; returns how many.
    async fn discard_orphans(connection: &mut PgConnection, configured: &[String]) -> Result<usize, StoreError> {
        let mut transaction = connection.begin().await?;
        // one probe of the index per action, however many jobs it has
        let lanes = sqlx::query_scalar!(
            r#"
            WITH RECURSIVE actions AS (
                (SELECT action FROM smshook.jobs WHERE state IN ('available', 'running') ORDER BY action LIMIT 1)
                UNION ALL
                SELECT (SELECT j.action FROM smshook.jobs j
                        WHERE j.state IN ('available', 'running') AND j.action > a.action ORDER BY j.action LIMIT 1)
                FROM actions a WHERE a.action IS NOT NULL
            ), orphans AS (
                SELECT j.id FROM actions a CROSS JOIN LATERAL (
                    SELECT id FROM smshook.jobs
                    WHERE action = a.action AND state IN ('available', 'running') AND run_at <= now()
                    ORDER BY run_at LIMIT 100 FOR UPDATE SKIP LOCKED) j
                WHERE a.action IS NOT NULL AND a.action <> ALL ($1)
            ), pauses AS (
                DELETE FROM smshook.paused_actions WHERE action <> ALL ($1)
            )
            UPDATE smshook.jobs j
            SET state = 'discarded', finished_at = now(),
                reason = 'action `' || j.action || '` is not configured any more'
            FROM orphans o WHERE j.id = o.id
            RETURNING j.lane
            "#,
            configured
        )
        .fetch_all(&mut *transaction)
        .await?;
        promote(&mut transaction, &lanes).await?;
        transaction.commit().await?;
        Ok(lanes.len())
    }

    /// Finds lanes whose jobs wait behind nobody, because a process died between its commit and its second look, and gives
    /// each a head. Returns how many lanes it looked at.
    pub async fn promote_forgotten(&self) -> Result<usize, StoreError> {
        // one probe of the index per lane, however many jobs it has
        let lanes = sqlx::query_scalar!(
            r#"
            WITH RECURSIVE lanes AS (
                (SELECT lane FROM smshook.jobs WHERE state = 'waiting' ORDER BY lane LIMIT 1)
                UNION ALL
                SELECT (SELECT j.lane FROM smshook.jobs j
                        WHERE j.state = 'waiting' AND j.lane > l.lane ORDER BY j.lane LIMIT 1)
                FROM lanes l WHERE l.lane IS NOT NULL
            )
            SELECT l.lane AS "lane!" FROM lanes l
            WHERE l.lane IS NOT NULL AND NOT EXISTS (
                SELECT FROM smshook.jobs h WHERE h.lane = l.lane AND h.state IN ('available', 'running'))
            "#
        )
        .fetch_all(&self.pool)
        .await?;
        for &lane in &lanes {
            // one at a time: a lane that somebody else has promoted meanwhile must not fail the others
            promote_after_commit(&mut *self.pool.acquire().await?, &[lane]).await?;
        }
        Ok(lanes.len())
    }

    /// Saves what an attempt has done so far. False: the lease was lost, the attempt must stop. U+0000 becomes U+FFFD.
    pub async fn save_progress(&self, job_id: i64, claim: i32, progress: &Value) -> Result<bool, StoreError> {
        write_progress(&mut *self.pool.acquire().await?, job_id, claim, progress).await
    }

    /// Puts a discarded or cancelled job back at its place in its lane, with its attempts forgotten but on record. False if
    /// there is no such job in such a state, or the text that it was ordered for is gone.
    ///
    /// A cancelled text to a person who opted out stays refused: the send gate looks again.
    pub async fn retry_job(&self, job_id: i64) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let lane = sqlx::query_scalar!(
            r#"
            UPDATE smshook.jobs
            SET state = 'waiting', finished_at = NULL, attempt = 0, run_at = now(), reason = NULL,
                progress = CASE WHEN jsonb_typeof(progress) = 'object' THEN progress - 'sending' ELSE progress END
            WHERE id = $1 AND state IN ('discarded', 'cancelled')
            RETURNING lane
            "#,
            job_id
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(lane) = lane else { return Ok(false) };
        if retention::is_text_gone(&mut transaction, job_id).await? {
            return Ok(false);
        }
        transaction.commit().await?;
        promote_after_commit(&mut connection, &[lane]).await?;
        Ok(true)
    }

    /// Ends a job that is not running, by an operator's decision; one that waits for a person is closed for good. False if
    /// there is no such job, or it runs, is done or was cancelled.
    pub async fn discard_job(&self, job_id: i64, reason: &str) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let discarded = sqlx::query!(
            r#"
            UPDATE smshook.jobs SET state = 'cancelled', finished_at = now(), reason = $2
            WHERE id = $1 AND state IN ('waiting', 'available', 'discarded') RETURNING lane, message_id, action
            "#,
            job_id,
            reason
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(job) = discarded else { return Ok(false) };
        promote(&mut transaction, &[job.lane]).await?;
        if job.action == CONFIRMATION {
            consent::record_confirmations(&mut transaction, &[job_id]).await?;
        }
        transaction.commit().await?;
        if awaited::wake(&mut connection, &[job.message_id], &[job.action]).await? > 0 {
            notify(&mut connection).await?;
        }
        Ok(true)
    }
}

/// False if another claim holds the job: nothing was written.
pub(super) async fn write_progress(
    connection: &mut PgConnection,
    job_id: i64,
    claim: i32,
    progress: &Value,
) -> Result<bool, StoreError> {
    let written = sqlx::query!(
        "UPDATE smshook.jobs SET progress = $3 WHERE id = $1 AND claim = $2 AND state = 'running'",
        job_id,
        claim,
        &*storable(progress),
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// One transaction: the settlements, the actions that they pause or let go on, and then the successors of those that ended.
async fn settle_all(connection: &mut PgConnection, settlements: &[Settlement]) -> Result<usize, StoreError> {
    let mut transaction = connection.begin().await?;
    let named: Vec<Named> = settlements.iter().filter_map(Settlement::named).collect();
    events::lock_names(&mut transaction, &named).await?;
    let settled = settle_rows(&mut transaction, settlements).await?;
    let row = |settlement: &Settlement| settled.iter().find(|row| row.id == settlement.job_id);
    let refused: Vec<Refused<'_>> = settlements.iter().filter_map(|s| refusal(s, row)).collect();
    let paused = pauses::pause(&mut transaction, &refused).await?;
    for named in named
        .iter()
        .filter(|named| settled.iter().any(|row| row.id == named.job_id))
    {
        events::name(&mut transaction, named).await?;
    }
    let resumed: BTreeSet<&str> = settled
        .iter()
        .filter(|row| row.resumes)
        .map(|row| &*row.action)
        .collect();
    if !resumed.is_empty() {
        notify(&mut transaction).await?;
    }
    let ended: Vec<i64> = settled.iter().filter(|row| row.ended).map(|row| row.lane).collect();
    promote(&mut transaction, &ended).await?;
    let confirmations = settled.iter().filter(|row| row.ended && row.action == CONFIRMATION);
    let confirmations: Vec<i64> = confirmations.map(|row| row.id).collect();
    if !confirmations.is_empty() {
        consent::record_confirmations(&mut transaction, &confirmations).await?;
    }
    transaction.commit().await?;
    for action in paused {
        tracing::warn!(
            action,
            "the action is paused: its credentials are refused, and its jobs wait. Mend them and restart, or run `smshook jobs resume {action}`; v1.paused_actions tells the reason"
        );
    }
    for action in resumed {
        tracing::info!(action, "the action goes on: a job of it got through");
    }
    let (messages, actions): (Vec<Uuid>, Vec<String>) = settlements.iter().filter_map(|s| awaiting(s, row)).unzip();
    // Committed: whatever fails from here on, a job that waits runs when its wait is over.
    if !messages.is_empty()
        && let Err(error) = awaited::wake(connection, &messages, &actions).await
    {
        tracing::warn!(error = %error, "could not wake the jobs that waited for others");
    }
    Ok(settled.len())
}

fn refusal<'a>(
    settlement: &'a Settlement,
    row: impl FnOnce(&Settlement) -> Option<&'a Settled>,
) -> Option<Refused<'a>> {
    let Outcome::Pause(reason) = &settlement.outcome else {
        return None;
    };
    row(settlement).map(|row| Refused {
        action: &row.action,
        reason,
        claimed_at: row.claimed_at,
    })
}

/// The message to look at and the action that is waited for: one that ended, or one that may have ended while the job was
/// on its way to wait for it.
fn awaiting<'a>(
    settlement: &Settlement,
    row: impl FnOnce(&Settlement) -> Option<&'a Settled>,
) -> Option<(Uuid, String)> {
    if let Outcome::Snooze { reason, .. } = &settlement.outcome {
        let action = waited_for(reason)?.to_owned();
        return row(settlement).map(|row| (row.message_id, action));
    }
    if !settlement.awaited {
        return None;
    }
    row(settlement)
        .filter(|row| row.ended)
        .map(|row| (row.message_id, row.action.clone()))
}

/// Gives up on a database that hangs, and on this connection with it: returned to the pool, it would keep its place there
/// until the database answers. Whether it committed shows in the lease or at the fence.
fn leave_behind(connection: PoolConnection<Postgres>) -> StoreError {
    drop(connection.detach());
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}

/// Those that still held their lease.
async fn settle_rows(connection: &mut PgConnection, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
    let ids: Vec<i64> = settlements.iter().map(|s| s.job_id).collect();
    let claims: Vec<i32> = settlements.iter().map(|s| s.claim).collect();
    let waits: Vec<f64> = settlements.iter().map(|s| s.wait.as_secs_f64()).collect();
    let (mut states, mut words, mut reasons, mut results, mut refunds) = (vec![], vec![], vec![], vec![], vec![]);
    for settlement in settlements {
        let (state, word, reason, result, refund) = settlement.columns();
        states.push(state.to_owned());
        words.push(word.to_owned());
        reasons.push(reason.map(|reason| storable_text(&reason).into_owned()));
        results.push(result.map(|result| storable(&result).into_owned()));
        refunds.push(i32::from(refund));
    }
    let rows = sqlx::query_as!(
        Settled,
        r#"
        WITH s AS (
            SELECT * FROM UNNEST($1::int8[], $2::int4[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::int4[],
                $8::float8[]) AS s (id, claim, state, word, reason, result, refund, wait)
        ), held AS (
            SELECT j.id, j.action, j.claim, j.attempt, j.claimed_at, s.state, s.word, s.reason, s.result, s.refund, s.wait
            FROM smshook.jobs j JOIN s ON s.id = j.id AND s.claim = j.claim
            WHERE j.state = 'running' ORDER BY j.lane FOR UPDATE OF j
        ), settled AS (
            UPDATE smshook.jobs j
            SET state = h.state,
                attempt = j.attempt - h.refund,
                reason = h.reason,
                result = coalesce(h.result, j.result),
                run_at = CASE WHEN h.state = 'available' THEN now() + make_interval(secs => h.wait) ELSE j.run_at END,
                finished_at = CASE WHEN h.state <> 'available' THEN now() END
            FROM held h WHERE j.id = h.id
            RETURNING j.id, j.lane, j.action, j.message_id, j.claimed_at, j.state <> 'available' AS ended
        ), resumed AS (
            -- an attempt that began before the pause says nothing about the credentials of now
            DELETE FROM smshook.paused_actions p USING held h
            WHERE p.action = h.action AND h.state IN ('done', 'discarded') AND h.claimed_at > p.paused_at
            RETURNING p.action
        ), recorded AS (
            INSERT INTO smshook.attempts (job_id, claim, attempt, started_at, outcome, error)
            SELECT h.id, h.claim, h.attempt, h.claimed_at, h.word, h.reason FROM held h
            ON CONFLICT (job_id, claim) DO NOTHING
        )
        SELECT id AS "id!", lane AS "lane!", action AS "action!", message_id AS "message_id!", claimed_at AS "claimed_at!",
               ended AS "ended!", action IN (SELECT action FROM resumed) AS "resumes!"
        FROM settled
        "#,
        &ids,
        &claims,
        &states,
        &words,
        &reasons as &[Option<String>],
        &results as &[Option<Value>],
        &refunds,
        &waits,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}
