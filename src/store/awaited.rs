//! Jobs that wait for another action of their message: waking them when it has ended.
//!
//! A job that waits is snoozed with the reason that [`waits_for`] gives. Whoever commits the end of what it waits for, and
//! whoever commits the snooze, looks afterwards: one of the two sees both. Should a process die in between, the job runs
//! when its wait is over.

use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::job::waits_for;

/// Makes jobs of these messages due that wait for one of these actions, if that has ended. After the commit. Returns how
/// many.
pub(super) async fn wake(
    connection: &mut PgConnection,
    messages: &[Uuid],
    actions: &[String],
) -> Result<u64, StoreError> {
    let reasons: Vec<String> = actions.iter().map(|action| waits_for(action)).collect();
    let woken = sqlx::query!(
        r#"
        UPDATE smshook.jobs SET run_at = now()
        WHERE state = 'available' AND run_at > now() AND id IN (
            SELECT j.id
            FROM smshook.jobs j
            JOIN UNNEST($2::text[], $3::text[]) AS w (action, reason) ON w.reason = j.reason
            WHERE j.message_id = ANY ($1) AND j.state = 'available' AND j.run_at > now() AND EXISTS (
                SELECT FROM smshook.jobs a
                WHERE a.message_id = j.message_id AND a.kind = 'action' AND a.action = w.action
                  AND a.state IN ('done', 'discarded', 'cancelled'))
            -- one order, so that two who look cannot wait for each other in a circle
            ORDER BY j.id FOR UPDATE OF j)
        "#,
        messages,
        actions,
        &reasons,
    )
    .execute(connection)
    .await?;
    Ok(woken.rows_affected())
}
