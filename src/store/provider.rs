//! What the provider says about a person by refusing a text of ours: that it holds them for opted out.
//!
//! It is recorded as their opt-out in the group of the refused text, without a confirmation, which the provider would refuse
//! too. It counts from when the text was handed over: a START that came later lifts it, whatever is heard first. Reading what
//! a provider says is the business of the gateway's file, not of this one.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::consent::{self, Asked, Effect, Evidence, Source};
use super::queue::{self, NewJob};
use super::{Store, StoreError};
use crate::consent::{ConsentEvent, Decision, TIER_OF_THE_PROVIDER};
use crate::job::Job;
use crate::phone::{NumberFormat, normalise};

/// Why such an opt-out is not confirmed, and why the refused text's job ends.
const REFUSED: &str = "the provider holds the sender for opted out";
/// How many reports one sweep looks at.
const MOST_PER_SWEEP: usize = 100;

/// A text of ours that the provider refused.
struct RefusedText {
    message_id: Uuid,
    conversation_id: Uuid,
    endpoint: String,
    recipient: String,
    sender: String,
    verified: bool,
    group: String,
    handed_over_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Records that the provider's answer to this job's text says so, in one transaction with the actions that follow, and
    /// saves `progress`. False: the lease was lost, nothing was recorded.
    ///
    /// `code`: the provider's word for it. `follows`: the actions that run when somebody opts out, unless they ran for the
    /// message already.
    pub async fn provider_opted_out(
        &self,
        job: &Job,
        code: &str,
        follows: &[String],
        progress: &Value,
    ) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let message = &job.message;
        let text = sqlx::query!(
            r#"
            SELECT coalesce(j.send_group, m.endpoint) AS "group!", s.started_at AS "handed_over_at?"
            FROM smshook.jobs j JOIN smshook.messages m ON m.id = j.message_id LEFT JOIN smshook.sends s ON s.job_id = j.id
            WHERE j.id = $1
            "#,
            job.id
        )
        .fetch_one(&mut *transaction)
        .await?;
        let text = RefusedText {
            message_id: message.id,
            conversation_id: message.conversation_id,
            endpoint: message.endpoint.clone(),
            recipient: message.recipient.clone(),
            sender: message.sender.clone(),
            verified: message.verified,
            group: text.group,
            handed_over_at: text.handed_over_at,
        };
        self.lock_number(&mut transaction, &text).await?;
        if !queue::write_progress(&mut transaction, job.id, job.claim, progress).await? {
            return Ok(false);
        }
        let behind = self
            .record_refusal(
                &mut transaction,
                &text,
                code,
                "the provider's answer to a reply",
                follows,
            )
            .await?;
        transaction.commit().await?;
        queue::promote_after_commit(&mut connection, &behind).await?;
        Ok(true)
    }

    /// Records the opt-outs that delivery reports have told of, whichever came first, the report or what ties it to a reply.
    /// Returns how many reports.
    ///
    /// `follows` tells the actions that run when somebody opts out at an endpoint.
    pub async fn record_reported_opt_outs(&self, follows: impl Fn(&str) -> Vec<String>) -> Result<usize, StoreError> {
        let mut connection = self.pool.acquire().await?;
        for recorded in 0..MOST_PER_SWEEP {
            if !self.record_one_report(&mut connection, &follows).await? {
                return Ok(recorded);
            }
        }
        Ok(MOST_PER_SWEEP)
    }

    /// False: there is none, or other processes are at it.
    async fn record_one_report(
        &self,
        connection: &mut PgConnection,
        follows: &impl Fn(&str) -> Vec<String>,
    ) -> Result<bool, StoreError> {
        let mut transaction = connection.begin().await?;
        let report = sqlx::query!(
            r#"
            WITH report AS (
                SELECT id, job_id, error FROM smshook.gateway_events
                WHERE opted_out AND opt_out_recorded_at IS NULL AND job_id IS NOT NULL
                ORDER BY received_at LIMIT 1 FOR UPDATE SKIP LOCKED
            ), seen AS (
                UPDATE smshook.gateway_events e SET opt_out_recorded_at = now() FROM report r WHERE e.id = r.id
            )
            SELECT coalesce(r.error, '') AS "code!", m.id AS message_id, m.conversation_id, m.endpoint, m.recipient,
                   m.sender, m.verified, coalesce(j.send_group, m.endpoint) AS "group!", s.started_at AS "handed_over_at?"
            FROM report r JOIN smshook.jobs j ON j.id = r.job_id JOIN smshook.messages m ON m.id = j.message_id
            LEFT JOIN smshook.sends s ON s.job_id = j.id
            "#
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(report) = report else { return Ok(false) };
        let follows = follows(&report.endpoint);
        let text = RefusedText {
            message_id: report.message_id,
            conversation_id: report.conversation_id,
            endpoint: report.endpoint,
            recipient: report.recipient,
            sender: report.sender,
            verified: report.verified,
            group: report.group,
            handed_over_at: report.handed_over_at,
        };
        self.lock_number(&mut transaction, &text).await?;
        let what = "the provider's report on a reply";
        let behind = self
            .record_refusal(&mut transaction, &text, &report.code, what, &follows)
            .await?;
        transaction.commit().await?;
        queue::promote_after_commit(connection, &behind).await?;
        Ok(true)
    }

    async fn lock_number(&self, connection: &mut PgConnection, text: &RefusedText) -> Result<(), StoreError> {
        self.same_erasure_key(connection).await?;
        let address = normalise(&text.sender, &NumberFormat::E164);
        consent::lock(connection, std::iter::once((&*text.group, &address))).await
    }

    /// Under the number's lock. The lanes in which a job was queued behind another.
    async fn record_refusal(
        &self,
        connection: &mut PgConnection,
        text: &RefusedText,
        code: &str,
        what: &str,
        follows: &[String],
    ) -> Result<Vec<i64>, StoreError> {
        let address = normalise(&text.sender, &NumberFormat::E164);
        let decision = Decision {
            event: ConsentEvent::OptOut,
            tier: TIER_OF_THE_PROVIDER,
            keyword: code.to_owned().into(),
            language: None,
        };
        let asked = Asked {
            group: &text.group,
            address: &address,
            keys: self.keys_of(&text.sender),
            source: Source::Provider,
            at: text.handed_over_at,
            decision: Some(&decision),
            rules_version: None,
            unconfirmed: Some(REFUSED),
            note: Some(what),
            message: Some(Evidence {
                id: text.message_id,
                endpoint: &text.endpoint,
                recipient: &text.recipient,
                // they ask for something else
                words: None,
                verified: text.verified,
            }),
        };
        let effect = consent::opt_out(connection, &asked).await?;
        tracing::info!(endpoint = %text.endpoint, effect = effect.as_str(), "{what} says that it holds the sender for opted out");
        if effect != Effect::Began {
            return Ok(Vec::new());
        }
        follow(connection, text, code, follows).await
    }
}

/// Queues the actions that follow an opt-out, but for those that the message has ordered already.
async fn follow(
    connection: &mut PgConnection,
    text: &RefusedText,
    code: &str,
    follows: &[String],
) -> Result<Vec<i64>, StoreError> {
    let ordered = sqlx::query_scalar!(
        "SELECT action FROM smshook.jobs WHERE message_id = $1 AND kind = 'action' AND action = ANY ($2)",
        text.message_id,
        follows,
    )
    .fetch_all(&mut *connection)
    .await?;
    let new: Vec<String> = follows
        .iter()
        .filter(|action| !ordered.contains(action))
        .cloned()
        .collect();
    let jobs: Vec<NewJob<'_>> = new
        .iter()
        .map(|action| NewJob::following(action, text.message_id, text.conversation_id))
        .collect();
    let queued = queue::insert(connection, &jobs).await?;
    sqlx::query!(
        "UPDATE smshook.jobs SET provider_code = $3 WHERE message_id = $1 AND kind = 'action' AND action = ANY ($2)",
        text.message_id,
        &new,
        code,
    )
    .execute(&mut *connection)
    .await?;
    if queued.claimable {
        queue::notify(connection).await?;
    }
    Ok(queued.behind)
}
