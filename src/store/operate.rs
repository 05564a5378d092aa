//! What an operator asks and changes: jobs, messages, quarantine.
//!
//! Reads for people, one page at a time; never on the receive path.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Store, StoreError};

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only this state.
    pub state: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only this message's.
    pub message: Option<Uuid>,
    /// At most this many, the newest first.
    pub limit: i64,
}

/// A job as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct JobRow {
    /// Identity.
    pub id: i64,
    /// The message it is for.
    pub message_id: Uuid,
    /// waiting, available, running, done, discarded, cancelled.
    pub state: String,
    /// action, or the kind of compliance reply.
    pub kind: String,
    /// The action.
    pub action: String,
    /// The rule that ordered it.
    pub rule: Option<String>,
    /// Attempts that count.
    pub attempt: i32,
    /// Not before; while running, the end of the lease.
    pub run_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// What it did.
    pub result: Option<Value>,
}

/// One execution of a job.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub attempt: i32,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// When it was settled.
    pub finished_at: DateTime<Utc>,
    /// How it ended.
    pub outcome: String,
    /// Why it did not succeed.
    pub error: Option<String>,
}

/// A message as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct MessageRow {
    /// Identity.
    pub id: Uuid,
    /// Endpoint.
    pub endpoint: String,
    /// The gateway's ID.
    pub message_id: Option<String>,
    /// Conversation.
    pub conversation_id: Uuid,
    /// Sender.
    pub sender: String,
    /// Recipient.
    pub recipient: String,
    /// Text.
    pub text: String,
    /// By the gateway's clock.
    pub sent_at: Option<DateTime<Utc>>,
    /// By ours.
    pub received_at: DateTime<Utc>,
    /// First rule that matched.
    pub rule: Option<String>,
    /// What it asked for.
    pub consent_event: Option<String>,
    /// Whether its delivery was signed as it should be.
    pub verified: bool,
    /// Whether it is ciphertext.
    pub encrypted: bool,
    /// Files that came with it: a list of `{"url": …, "content_type": …}`.
    pub media: Option<serde_json::Value>,
    /// Parts that never came, of a text that was put together.
    pub missing_parts: Option<i16>,
    /// Copies after the first.
    pub duplicates: i32,
    /// The gateway's own rules.
    pub gateway_rules: Vec<String>,
}

/// A gateway's report about a reply.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// The gateway's word.
    pub kind: String,
    /// The reply's job.
    pub job_id: Option<i64>,
    /// When we stored it.
    pub received_at: DateTime<Utc>,
}

/// A text handed to a gateway, as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ReplyRow {
    /// Its job.
    pub job_id: i64,
    /// Our reference of it.
    pub reference: String,
    /// The gateway's ID of it, if it said one.
    pub gateway_message_id: Option<String>,
    /// How far it is, by the gateway's reports: queued, sent, delivered or failed.
    pub state: Option<String>,
    /// The gateway's error code, if it failed.
    pub error: Option<String>,
}

/// A quarantine entry as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineRow {
    /// Identity.
    pub id: Uuid,
    /// Endpoint.
    pub endpoint: String,
    /// Why it could not be read.
    pub reason: String,
    /// When the first copy arrived.
    pub received_at: DateTime<Utc>,
    /// When a replay admitted it.
    pub admitted_at: Option<DateTime<Utc>>,
    /// The message it became.
    pub admitted_as: Option<Uuid>,
}

/// A quarantined delivery, ready to be parsed again.
#[derive(Clone, Debug)]
pub struct QuarantinedDelivery {
    /// The entry.
    pub id: Uuid,
    /// The endpoint that verified it.
    pub endpoint: String,
    /// The body as verified then.
    pub raw: Bytes,
    /// False for what an observing endpoint took: what is read of it now is not verified either.
    pub verified: bool,
}

impl Store {
    /// Jobs, the newest first.
    pub async fn list_jobs(&self, filter: &JobFilter) -> Result<Vec<JobRow>, StoreError> {
        Ok(sqlx::query_as!(
            JobRow,
            r#"
            SELECT id, message_id, state, kind, action, rule, attempt, run_at, created_at, finished_at, reason, result
            FROM smshook.jobs
            WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR action = $2)
              AND ($3::uuid IS NULL OR message_id = $3)
            ORDER BY id DESC LIMIT $4
            "#,
            filter.state,
            filter.action,
            filter.message,
            filter.limit,
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// One job.
    pub async fn job(&self, id: i64) -> Result<Option<JobRow>, StoreError> {
        Ok(sqlx::query_as!(
            JobRow,
            r#"
            SELECT id, message_id, state, kind, action, rule, attempt, run_at, created_at, finished_at, reason, result
            FROM smshook.jobs WHERE id = $1
            "#,
            id
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Every execution of a job, in order.
    pub async fn attempts(&self, job_id: i64) -> Result<Vec<AttemptRow>, StoreError> {
        Ok(sqlx::query_as!(
            AttemptRow,
            "SELECT attempt, started_at, finished_at, outcome, error FROM smshook.attempts WHERE job_id = $1 ORDER BY claim",
            job_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// One message.
    pub async fn message(&self, id: Uuid) -> Result<Option<MessageRow>, StoreError> {
        Ok(sqlx::query_as!(
            MessageRow,
            r#"
            SELECT id, endpoint, message_id, conversation_id, sender, recipient, text, sent_at, received_at, rule,
                   consent_event, verified, encrypted, media, missing_parts, duplicates, gateway_rules
            FROM smshook.messages WHERE id = $1
            "#,
            id
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// What gateways reported about the replies to a message.
    pub async fn events_of(&self, message: Uuid) -> Result<Vec<EventRow>, StoreError> {
        Ok(sqlx::query_as!(
            EventRow,
            r#"
            SELECT e.kind, e.job_id, e.received_at
            FROM smshook.gateway_events e JOIN smshook.jobs j ON j.id = e.job_id
            WHERE j.message_id = $1 ORDER BY e.received_at
            "#,
            message
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The texts that answer a message, in the order in which they were handed to the gateway.
    pub async fn replies_to(&self, message: Uuid) -> Result<Vec<ReplyRow>, StoreError> {
        Ok(sqlx::query_as!(
            ReplyRow,
            r#"
            SELECT s.job_id, s.reference, s.gateway_message_id, s.state, s.error
            FROM smshook.sends s JOIN smshook.jobs j ON j.id = s.job_id
            WHERE j.message_id = $1 ORDER BY s.started_at, s.job_id
            "#,
            message
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// One quarantine entry.
    pub async fn quarantine_entry(&self, id: Uuid) -> Result<Option<QuarantineRow>, StoreError> {
        Ok(sqlx::query_as!(
            QuarantineRow,
            "SELECT id, endpoint, reason, received_at, admitted_at, admitted_as FROM smshook.quarantine WHERE id = $1",
            id
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Quarantined deliveries that were not admitted yet, the oldest first: all, or the one named.
    pub async fn quarantined(&self, id: Option<Uuid>, limit: i64) -> Result<Vec<QuarantinedDelivery>, StoreError> {
        let rows = sqlx::query!(
            r#"
            SELECT id, endpoint, raw, verified FROM smshook.quarantine
            WHERE admitted_at IS NULL AND ($1::uuid IS NULL OR id = $1) ORDER BY received_at, id LIMIT $2
            "#,
            id,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| QuarantinedDelivery {
                id: row.id,
                endpoint: row.endpoint,
                raw: Bytes::from(row.raw),
                verified: row.verified,
            })
            .collect())
    }
}
