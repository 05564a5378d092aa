//! What connectors remember: contacts, tickets and threads of a sender in an outside account, whose turn it is to find or
//! create there, and how other actions of a message ended.
//!
//! Links are hints: the engine asks the outside system before it relies on one. It must not know what any of them means.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError, queue, storable, storable_text};
use crate::job::{Job, JobKind};

/// What is remembered of a sender in an outside account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkKind {
    /// The person; shared by all actions of the account.
    Contact,
    /// The latest ticket of an action.
    Ticket,
    /// The thread of an action.
    Thread,
}

impl LinkKind {
    /// The word stored in `links.kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::Ticket => "ticket",
            Self::Thread => "thread",
        }
    }

    /// Reads the stored word.
    fn from_stored(word: &str) -> Option<Self> {
        [Self::Contact, Self::Ticket, Self::Thread]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// The action that a link of this kind belongs to: contacts belong to the account as a whole.
    const fn owner(self, action: &str) -> &str {
        match self {
            Self::Contact => "",
            Self::Ticket | Self::Thread => action,
        }
    }
}

/// Something remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Its ID in the outside system.
    pub remote_id: String,
    /// Further values of it that templates use, an object.
    pub kept: Value,
}

/// What to remember from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkChange {
    /// What it is about.
    pub kind: LinkKind,
    /// ID and kept values; `None` forgets.
    pub link: Option<(String, Value)>,
}

/// Whether a job may find or create for its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It may, until it ends or leaves the turn.
    Taken,
    /// Another job does; try again a little later.
    Busy,
    /// Another claim holds the job: stop, write nothing.
    LeaseLost,
}

/// How another action of the same message ended, or where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActionResult {
    /// The action.
    pub action: String,
    /// waiting, available, running, done, discarded, cancelled.
    pub state: String,
    /// What it did, once it is done.
    pub result: Option<Value>,
}

impl Store {
    /// Takes the turn to find or create for this job's sender in `account`. A job keeps it through retries and the death of
    /// its process, since nobody knows what its last request made until it has looked; it is free again when the job ended
    /// or left it.
    pub async fn take_turn(&self, job: &Job, account: &str) -> Result<Turn, StoreError> {
        // `ended` is seen in the statement's snapshot, the row as it is now: only the very claim that was seen to have ended
        // is replaced, so that a turn taken meanwhile stays
        let row = sqlx::query!(
            r#"
            WITH held AS (
                SELECT id, claim FROM smshook.jobs WHERE id = $1 AND claim = $2 AND state = 'running' FOR UPDATE
            ), ended AS (
                SELECT t.job_id, t.claim FROM smshook.turns t JOIN smshook.jobs o ON o.id = t.job_id
                WHERE t.account = $3 AND t.sender = $4 AND o.state NOT IN ('available', 'running')
            ), taken AS (
                INSERT INTO smshook.turns AS t (account, sender, job_id, claim)
                SELECT $3, $4, id, claim FROM held
                ON CONFLICT (account, sender) DO UPDATE
                SET job_id = excluded.job_id, claim = excluded.claim, taken_at = now()
                WHERE t.job_id = excluded.job_id OR (t.job_id, t.claim) IN (SELECT job_id, claim FROM ended)
                RETURNING t.job_id
            )
            SELECT EXISTS (SELECT FROM held) AS "held!", EXISTS (SELECT FROM taken) AS "taken!"
            "#,
            job.id,
            job.claim,
            account,
            job.message.sender,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(match (row.held, row.taken) {
            (false, _) => Turn::LeaseLost,
            (true, true) => Turn::Taken,
            (true, false) => Turn::Busy,
        })
    }

    /// Leaves every turn of a job: what it found or created is remembered, the next one will see it.
    pub async fn leave_turn(&self, job_id: i64) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM smshook.turns WHERE job_id = $1", job_id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// What is remembered of a sender: the contact of the account, ticket and thread of the action. Noted, to the day, as
    /// used: what nobody uses may be forgotten.
    pub async fn links(&self, account: &str, action: &str, sender: &str) -> Result<Vec<Link>, StoreError> {
        let rows = sqlx::query!(
            r#"
            WITH used AS (
                UPDATE smshook.links SET updated_at = now()
                WHERE account = $1 AND action IN ('', $2) AND sender = $3 AND updated_at < now() - interval '1 day'
            )
            SELECT kind, remote_id, kept FROM smshook.links
            WHERE account = $1 AND action IN ('', $2) AND sender = $3 ORDER BY kind
            "#,
            account,
            action,
            sender,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let kind = LinkKind::from_stored(&row.kind).ok_or_else(|| StoreError::Inconsistent {
                    table: "links",
                    what: format!("kind `{}`", row.kind),
                })?;
                Ok(Link {
                    kind,
                    remote_id: row.remote_id,
                    kept: row.kept,
                })
            })
            .collect()
    }

    /// Saves what an attempt has done so far and what is to be remembered of it, both or neither. False: the lease was lost,
    /// nothing was written and the attempt must stop. U+0000, which Postgres cannot hold, becomes U+FFFD.
    pub async fn save_step(
        &self,
        job: &Job,
        account: &str,
        progress: &Value,
        changes: &[LinkChange],
    ) -> Result<bool, StoreError> {
        if changes.is_empty() {
            return self.save_progress(job.id, job.claim, progress).await;
        }
        let mut transaction = self.pool.begin().await?;
        if !queue::write_progress(&mut transaction, job.id, job.claim, progress).await? {
            return Ok(false);
        }
        // one order for every job of the sender, so that two cannot wait for each other in a circle
        let mut changes: Vec<&LinkChange> = changes.iter().collect();
        changes.sort_by_key(|change| change.kind);
        for change in changes {
            write_link(&mut transaction, job, account, change).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// How these actions of a message ended or where they are; an action that was not ordered for it is left out.
    pub async fn results_of(&self, message_id: Uuid, actions: &[String]) -> Result<Vec<ActionResult>, StoreError> {
        Ok(sqlx::query_as!(
            ActionResult,
            r#"
            SELECT action, state, result FROM smshook.jobs
            WHERE message_id = $1 AND kind = $2 AND action = ANY ($3) ORDER BY id
            "#,
            message_id,
            JobKind::Action.as_str(),
            actions,
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

async fn write_link(
    connection: &mut PgConnection,
    job: &Job,
    account: &str,
    change: &LinkChange,
) -> Result<(), StoreError> {
    let owner = change.kind.owner(&job.action);
    let Some((remote_id, kept)) = &change.link else {
        sqlx::query!(
            "DELETE FROM smshook.links WHERE account = $1 AND action = $2 AND sender = $3 AND kind = $4",
            account,
            owner,
            job.message.sender,
            change.kind.as_str(),
        )
        .execute(connection)
        .await?;
        return Ok(());
    };
    sqlx::query!(
        r#"
        INSERT INTO smshook.links (account, action, sender, kind, remote_id, kept) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (account, action, sender, kind) DO UPDATE
        SET remote_id = excluded.remote_id, kept = excluded.kept, updated_at = now()
        "#,
        account,
        owner,
        job.message.sender,
        change.kind.as_str(),
        &*storable_text(remote_id),
        &*storable(kept),
    )
    .execute(connection)
    .await?;
    Ok(())
}
