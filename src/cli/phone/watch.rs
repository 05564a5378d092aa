//! What becomes of a text in the queue: every change of its jobs and of its replies, once.
//!
//! It only looks; polling is good enough for one person.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::job::waited_for;
use crate::store::{AttemptRow, JobFilter, JobRow, ReplyRow, Store, StoreError};

/// Jobs that are looked at: more than one text ever makes.
const MOST: i64 = 200;
/// A job that would go on later than this is left to itself.
const SOON: chrono::Duration = chrono::Duration::seconds(10);

/// The jobs since the phone was switched on.
pub(super) struct Watch {
    store: Store,
    /// The latest job that was there before.
    before: i64,
    seen: BTreeMap<i64, Seen>,
}

#[derive(Default)]
struct Seen {
    /// The row as it was shown last.
    row: Option<JobRow>,
    attempts: usize,
    reply_state: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// An attempt went wrong, and there will be another.
    Tried(JobRow, AttemptRow),
    /// The job waits for longer than it is worth waiting for.
    Waits(JobRow),
    /// The job is over.
    Ended(JobRow),
    /// The gateway has a text, and the job that handed it over is done.
    Taken(JobRow, ReplyRow),
    /// The gateway reported how far a text is.
    Reported(JobRow, ReplyRow),
}

impl Change {
    /// When it happened, as far as that is on record.
    pub(super) fn at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Tried(_, attempt) => attempt.finished_at,
            Self::Ended(job) | Self::Taken(job, _) => job.finished_at.unwrap_or(now),
            Self::Waits(_) | Self::Reported(..) => now,
        }
    }
}

impl Watch {
    /// Watches what comes from now on.
    pub(super) async fn begin(store: Store) -> Result<Self, StoreError> {
        let filter = JobFilter {
            limit: 1,
            ..JobFilter::default()
        };
        let before = store.list_jobs(&filter).await?.first().map_or(0, |job| job.id);
        Ok(Self {
            store,
            before,
            seen: BTreeMap::new(),
        })
    }

    /// What has happened since the last look, oldest job first.
    pub(super) async fn look(&mut self) -> Result<Vec<Change>, StoreError> {
        let filter = JobFilter {
            limit: MOST,
            ..JobFilter::default()
        };
        let jobs = self.store.list_jobs(&filter).await?;
        let mut changes = Vec::new();
        let before = self.before;
        for job in jobs.into_iter().rev().filter(|job| job.id > before) {
            self.compare(job, &mut changes).await?;
        }
        Ok(changes)
    }

    async fn compare(&mut self, job: JobRow, changes: &mut Vec<Change>) -> Result<(), StoreError> {
        let seen = self.seen.entry(job.id).or_default();
        let is_news = seen.row.as_ref().is_none_or(|row| {
            (row.state.as_str(), row.attempt, row.run_at) != (job.state.as_str(), job.attempt, job.run_at)
        });
        if is_news {
            if job.state != "done" || job.attempt > 1 {
                let attempts = self.store.attempts(job.id).await?;
                // What ended the job is said with its end.
                let last = attempts.len() - usize::from(is_over(&job) && job.state != "done" && !attempts.is_empty());
                // An action that comes after another one only waits for its turn.
                let waited =
                    |attempt: &&AttemptRow| attempt.error.as_deref().is_none_or(|why| waited_for(why).is_some());
                let news = attempts.iter().take(last).skip(seen.attempts);
                let failed = news.filter(|attempt| !waited(attempt));
                changes.extend(failed.map(|attempt| Change::Tried(job.clone(), attempt.clone())));
                seen.attempts = attempts.len();
            }
            if is_over(&job) {
                changes.push(Change::Ended(job.clone()));
            } else if is_later(&job, Utc::now()) {
                changes.push(Change::Waits(job.clone()));
            }
        }
        let first_done = is_news && job.state == "done";
        seen.row = Some(job.clone());
        if is_reply(&job) {
            let replies = self.store.replies_to(job.message_id).await?;
            if let Some(reply) = replies.into_iter().find(|reply| reply.job_id == job.id) {
                if first_done {
                    changes.push(Change::Taken(job.clone(), reply.clone()));
                }
                if reply.state != seen.reply_state {
                    seen.reply_state.clone_from(&reply.state);
                    changes.push(Change::Reported(job, reply));
                }
            }
        }
        Ok(())
    }

    /// Whether every job is over, or waits for longer than it is worth waiting for.
    pub(super) fn is_settled(&self, now: DateTime<Utc>) -> bool {
        let rows = self.seen.values().filter_map(|seen| seen.row.as_ref());
        rows.into_iter().all(|row| is_over(row) || is_later(row, now))
    }

    /// How far the gateway says that this job's text is.
    pub(super) fn reply_state(&self, job: i64) -> Option<&str> {
        self.seen.get(&job)?.reply_state.as_deref()
    }
}

fn is_over(job: &JobRow) -> bool {
    matches!(job.state.as_str(), "done" | "discarded" | "cancelled")
}

fn is_later(job: &JobRow, now: DateTime<Utc>) -> bool {
    !is_over(job) && job.state != "running" && job.run_at > now + SOON
}

/// Whether this job has handed a text to the gateway, by what it left.
fn is_reply(job: &JobRow) -> bool {
    let result = job.result.as_ref();
    job.state == "done"
        && result.is_some_and(|result| result.get("reference").is_some_and(serde_json::Value::is_string))
}
