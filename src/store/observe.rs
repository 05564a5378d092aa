//! What the gauges show, read at the moment of a scrape.
//!
//! It must stay cheap on a large queue: states that grow for ever (done, cancelled) are not counted.

use super::{PausedAction, Store, StoreError};
use crate::metrics::{ActionLabel, ActionState, Metrics, WebhookLabel};

impl Store {
    /// Fills the gauges of the queue, the quarantine, consent, the loop guard, the webhooks and the paused actions.
    pub async fn observe(&self, metrics: &Metrics) -> Result<(), StoreError> {
        let jobs = sqlx::query!(
            r#"
            SELECT action AS "action!", state AS "state!", count(*) AS "jobs!",
                   coalesce(extract(epoch FROM now() - min(run_at) FILTER (WHERE state = 'available')), 0)::int8 AS "due_for!"
            FROM (
                -- one partial index each
                SELECT action, state, run_at FROM smshook.jobs WHERE state IN ('available', 'running')
                UNION ALL SELECT action, state, run_at FROM smshook.jobs WHERE state = 'waiting'
                UNION ALL SELECT action, state, run_at FROM smshook.jobs WHERE state = 'discarded'
            ) j
            GROUP BY action, state
            "#
        )
        .fetch_all(&self.pool)
        .await?;
        metrics.jobs.clear();
        metrics.oldest_due_seconds.clear();
        for row in jobs {
            if row.state == "available" {
                metrics
                    .oldest_due_seconds
                    .get_or_create(&ActionLabel {
                        action: row.action.clone(),
                    })
                    .set(row.due_for.max(0));
            }
            metrics
                .jobs
                .get_or_create(&ActionState {
                    action: row.action,
                    state: row.state,
                })
                .set(row.jobs);
        }
        let counts = sqlx::query!(
            r#"
            SELECT (SELECT count(DISTINCT lane) FROM smshook.jobs WHERE state = 'waiting') AS "blocked!",
                   (SELECT count(*) FROM smshook.quarantine WHERE admitted_at IS NULL) AS "quarantined!",
                   (SELECT count(*) FROM smshook.opt_outs WHERE opted_in_at IS NULL) AS "suppressions!"
            "#
        )
        .fetch_one(&self.pool)
        .await?;
        metrics.blocked_lanes.set(counts.blocked);
        metrics.quarantined.set(counts.quarantined);
        metrics.suppressions.set(counts.suppressions);
        metrics.loop_guard_active.set(self.loops_held().await?);
        let paused = self.paused_actions().await?;
        metrics.action_paused.clear();
        for PausedAction { action, .. } in paused {
            metrics.action_paused.get_or_create(&ActionLabel { action }).set(1);
        }
        self.observe_notices(metrics).await
    }

    async fn observe_notices(&self, metrics: &Metrics) -> Result<(), StoreError> {
        let waiting = sqlx::query!(
            r#"
            SELECT w.name AS "webhook!", count(n.id) AS "waiting!"
            FROM smshook.webhooks w
            LEFT JOIN smshook.notices n ON n.webhook = w.name AND n.state IN ('waiting', 'running')
            GROUP BY w.name
            "#
        )
        .fetch_all(&self.pool)
        .await?;
        metrics.notices_waiting.clear();
        for row in waiting {
            metrics
                .notices_waiting
                .get_or_create(&WebhookLabel { webhook: row.webhook })
                .set(row.waiting);
        }
        Ok(())
    }
}
