//! The loop guard: two machines that answer each other must stop by themselves.
//!
//! It counts what was sent, in the database, so that a restart resets nothing. What it holds back is on record while it does
//! so, and it lets go by itself. It must not send, nor decide about consent; the confirmation of an opt-out never comes here.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Lane, Store, StoreError};
use crate::job::{Job, JobKind};
use crate::message::InboundMessage;
use crate::metrics::{GuardCounts, GuardLabel};
use crate::phone::suppression_key;

/// How long a trip over a number of ours stays on record as active: there is nothing that would end it.
const OWN_NUMBER_IS_SHOWN: Duration = Duration::from_hours(1);
/// Numbers of ours that a writer remembers; whoever has more of them asks the database again now and then.
const MOST_REMEMBERED: usize = 10_000;

/// What the loop guard goes by.
#[derive(Clone, Debug)]
pub struct LoopLimits {
    /// So many texts of ours to one conversation within so long; all of these hold.
    pub windows: Vec<(u32, Duration)>,
    /// The same text of ours to one conversation so often within so long.
    pub same_reply: Option<(u32, Duration)>,
    /// When the same text of theirs silences us.
    pub same_text: Option<SameText>,
    /// The keys of numbers that are known to be ours, besides those that texts were addressed to.
    pub own_numbers: BTreeSet<String>,
    /// Counts what is held back.
    pub withheld: GuardCounts,
}

/// The same text from one conversation again and again: a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SameText {
    /// The one that is not answered any more; at least 2.
    pub texts: u32,
    /// Within so long.
    pub within: Duration,
    /// How long rules answer nothing then.
    pub silence: Duration,
}

impl Default for LoopLimits {
    fn default() -> Self {
        Self {
            windows: vec![(5, Duration::from_mins(10)), (20, Duration::from_hours(24))],
            same_reply: Some((2, Duration::from_mins(30))),
            same_text: Some(SameText {
                texts: 3,
                within: Duration::from_mins(10),
                silence: Duration::from_hours(1),
            }),
            own_numbers: BTreeSet::new(),
            withheld: GuardCounts::default(),
        }
    }
}

/// Which of the guards held a text back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// Too many texts of ours.
    Rate,
    /// The same text of ours again.
    SameReply,
    /// The same text of theirs again.
    SameText,
    /// The number is ours.
    OwnNumber,
}

impl Guard {
    /// The stored word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::SameReply => "same_reply",
            Self::SameText => "same_text",
            Self::OwnNumber => "own_number",
        }
    }
}

/// A text that is held back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withheld {
    /// By which guard.
    pub guard: Guard,
    /// Why, in words, without a number or a text.
    pub reason: String,
    /// From then on texts go out again.
    pub clears_at: DateTime<Utc>,
}

/// The texts of one exchange, as the guard recognises them again: hashed with their conversation, so that nothing can be told
/// of two conversations by comparing them.
pub(super) struct Hashes {
    /// Of what is sent.
    pub(super) text: [u8; 32],
    /// Of what it answers; none of a picture without words.
    pub(super) asked: Option<[u8; 32]>,
}

impl Hashes {
    pub(super) fn of(job: &Job, text: &str) -> Self {
        let message = &job.message;
        let hash = |text: &str| hash(message.conversation_id, text);
        Self {
            text: hash(text),
            asked: (!message.text.trim().is_empty()).then(|| hash(&message.text)),
        }
    }
}

fn hash(conversation: Uuid, text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(conversation.as_bytes());
    hash.update(text.as_bytes());
    hash.finalize().into()
}

/// One limit: so many matching sends within so long.
struct Limit {
    guard: Guard,
    most: u32,
    within: Duration,
}

/// The limits that hold for this job, the one that says most first.
fn limits_for(job: &Job, limits: &LoopLimits, asked: bool) -> Vec<Limit> {
    let same_text = limits
        .same_text
        .filter(|_| asked && is_silenced(job))
        .map(|same| Limit {
            guard: Guard::SameText,
            most: same.texts.saturating_sub(1).max(1),
            within: same.within,
        });
    let rates = limits.windows.iter().map(|&(most, within)| Limit {
        guard: Guard::Rate,
        most,
        within,
    });
    let same_reply = limits.same_reply.map(|(most, within)| Limit {
        guard: Guard::SameReply,
        most,
        within,
    });
    same_text.into_iter().chain(rates).chain(same_reply).collect()
}

/// Whether silence is for this text: what rules answer. HELP and START are answered within the other limits.
fn is_silenced(job: &Job) -> bool {
    job.kind == JobKind::Action
}

/// Holds a text back if a guard says so, and puts that on record; the caller commits. Texts of one conversation take turns
/// here, so that two of them cannot both be the last one allowed.
pub(super) async fn hold_back(
    connection: &mut PgConnection,
    job: &Job,
    hashes: &Hashes,
    limits: &LoopLimits,
) -> Result<Option<(Withheld, IsFirst)>, StoreError> {
    let turn = Lane::of(job.message.conversation_id, "").0;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", turn)
        .fetch_one(&mut *connection)
        .await?;
    let Some(withheld) = judge(connection, job, hashes, limits).await? else {
        return Ok(None);
    };
    let is_first = record(connection, job, &withheld).await?;
    Ok(Some((withheld, is_first)))
}

/// Whether a trip began with this text.
pub(super) type IsFirst = bool;

async fn judge(
    connection: &mut PgConnection,
    job: &Job,
    hashes: &Hashes,
    limits: &LoopLimits,
) -> Result<Option<Withheld>, StoreError> {
    let key = suppression_key(&job.message.sender);
    let state = sqlx::query!(
        r#"
        SELECT now() AS "now!", EXISTS (SELECT FROM smshook.our_numbers WHERE number_key = $1) AS "is_ours!",
               (SELECT max(clears_at) FROM smshook.loop_trips
                WHERE conversation_id = $2 AND guard = 'same_text' AND clears_at > now()) AS silent_until
        "#,
        key,
        job.message.conversation_id,
    )
    .fetch_one(&mut *connection)
    .await?;
    if state.is_ours || limits.own_numbers.contains(&key) {
        return Ok(Some(Withheld {
            guard: Guard::OwnNumber,
            reason: "the sender is a number of ours".to_owned(),
            clears_at: state.now + OWN_NUMBER_IS_SHOWN,
        }));
    }
    let silent = state.silent_until.filter(|_| is_silenced(job)).zip(limits.same_text);
    if let Some((until, same)) = silent {
        return Ok(Some(same_text(same, until)));
    }
    let all = limits_for(job, limits, hashes.asked.is_some());
    let broken = broken(connection, job, hashes, &all).await?;
    let Some((first, _)) = broken.first() else {
        return Ok(None);
    };
    if let (Guard::SameText, Some(same)) = (first.guard, limits.same_text) {
        return Ok(Some(same_text(same, state.now + same.silence)));
    }
    let of_its_kind = broken.iter().filter(|(limit, _)| limit.guard == first.guard);
    Ok(of_its_kind
        .map(|(_, frees_at)| *frees_at)
        .max()
        .map(|clears_at| Withheld {
            guard: first.guard,
            reason: reason(first),
            clears_at,
        }))
}

fn same_text(same: SameText, clears_at: DateTime<Utc>) -> Withheld {
    Withheld {
        guard: Guard::SameText,
        reason: format!(
            "the sender has sent the same text {} times within {}",
            same.texts,
            span(same.within)
        ),
        clears_at,
    }
}

fn reason(limit: &Limit) -> String {
    let (most, within) = (limit.most, span(limit.within));
    match limit.guard {
        Guard::SameReply => format!("the sender has had this same text {most} times within {within}"),
        _ => format!("the sender has had {most} texts within {within}"),
    }
}

fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

/// The limits that one more text would break, each with the time at which it would not any more.
async fn broken<'a>(
    connection: &mut PgConnection,
    job: &Job,
    hashes: &Hashes,
    limits: &'a [Limit],
) -> Result<Vec<(&'a Limit, DateTime<Utc>)>, StoreError> {
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    let most: Vec<i64> = limits.iter().map(|limit| i64::from(limit.most)).collect();
    let within: Vec<f64> = limits.iter().map(|limit| limit.within.as_secs_f64()).collect();
    let guards: Vec<String> = limits.iter().map(|limit| limit.guard.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT l.nth AS "nth!", s.started_at + make_interval(secs => l.within) AS "frees_at!"
        FROM UNNEST($3::int8[], $4::float8[], $5::text[]) WITH ORDINALITY AS l (most, within, guard, nth)
        -- the limit is broken while the oldest of so many is within the window
        CROSS JOIN LATERAL (
            SELECT started_at FROM smshook.sends
            WHERE conversation_id = $1 AND job_id <> $2 AND opt_out_id IS NULL
              AND started_at > now() - make_interval(secs => l.within)
              AND (l.guard <> 'same_reply' OR text_sha256 = $6) AND (l.guard <> 'same_text' OR asked_sha256 = $7)
            ORDER BY started_at DESC OFFSET l.most - 1 LIMIT 1) s
        ORDER BY l.nth
        "#,
        job.message.conversation_id,
        job.id,
        &most,
        &within,
        &guards,
        hashes.text.as_slice(),
        hashes.asked.as_ref().map(<[u8; 32]>::as_slice),
    )
    .fetch_all(connection)
    .await?;
    let limit_of = |nth: i64| limits.get(usize::try_from(nth).ok()?.checked_sub(1)?);
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((limit_of(row.nth)?, row.frees_at)))
        .collect())
}

/// Opens a trip, or counts one more text on the one that is open.
async fn record(connection: &mut PgConnection, job: &Job, withheld: &Withheld) -> Result<IsFirst, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"
        WITH known AS (
            UPDATE smshook.loop_trips
            SET withheld = withheld + 1, last_withheld_at = now(), detail = $5, clears_at = greatest(clears_at, $6)
            WHERE conversation_id = $1 AND guard = $4 AND clears_at > now()
            RETURNING id
        ), opened AS (
            INSERT INTO smshook.loop_trips (conversation_id, endpoint, number, guard, detail, clears_at)
            SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM known)
            RETURNING id
        )
        SELECT EXISTS (SELECT FROM opened) AS "is_first!"
        "#,
        job.message.conversation_id,
        job.message.endpoint,
        job.message.sender,
        withheld.guard.as_str(),
        withheld.reason,
        withheld.clears_at,
    )
    .fetch_one(connection)
    .await?)
}

/// Counts what was held back, and says so once for each trip; after the commit.
pub(super) fn tell(job: &Job, limits: &LoopLimits, withheld: &Withheld, is_first: IsFirst) {
    let guard = withheld.guard.as_str();
    limits.withheld.get_or_create(&GuardLabel { guard }).inc();
    if is_first {
        tracing::warn!(
            endpoint = %job.message.endpoint,
            job.id = job.id,
            guard,
            clears_at = %withheld.clears_at,
            "the loop guard holds back texts to one number: {}; it lets go by itself, v1.loop_guard shows whom it is about",
            withheld.reason
        );
    }
}

/// The numbers of ours that a writer has put on record already.
#[derive(Debug, Default)]
pub(super) struct OurNumbers(Mutex<HashSet<String>>);

impl OurNumbers {
    /// Puts on record to which numbers of ours these verified texts were addressed. A number that is known costs nothing.
    pub(super) async fn learn<'a>(
        &self,
        connection: &mut PgConnection,
        verified: impl Iterator<Item = &'a InboundMessage>,
    ) -> Result<(), StoreError> {
        let new = self.new_among(verified);
        if new.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO smshook.our_numbers (number_key) SELECT * FROM UNNEST($1::text[]) ON CONFLICT DO NOTHING",
            &new
        )
        .execute(connection)
        .await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + new.len() > MOST_REMEMBERED {
            known.clear();
        }
        known.extend(new);
        Ok(())
    }

    /// In one order for every process, so that no two wait for each other.
    fn new_among<'a>(&self, messages: impl Iterator<Item = &'a InboundMessage>) -> Vec<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = messages.filter(|message| message.recipient.can_be_answered());
        let keys: BTreeSet<String> = numbers.map(|message| message.recipient.suppression_key()).collect();
        keys.into_iter().filter(|key| !known.contains(key)).collect()
    }
}

impl Store {
    /// Conversations in which the loop guard holds texts back now.
    pub async fn loops_held(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT count(DISTINCT conversation_id) AS "held!" FROM smshook.loop_trips WHERE clears_at > now()"#
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
