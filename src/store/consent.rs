//! Consent as rows: opting out, opting in, what each means for texts already queued, and the evidence of both.
//!
//! Every change is made under a lock on the number, in the order of the times at which people asked, whichever process hears
//! of it first; and every change is an event that is never altered. Deciding what a text asks for is the pure room
//! `consent`'s work, not this file's.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::parts::lock_in_order;
use super::{JOBS_CHANNEL, NOTICE_WRITTEN, Store, StoreError, queue, storable_text};
use crate::consent::{Decision, TIER_OF_THE_PROVIDER};
use crate::phone::{Address, NumberFormat, normalise, suppression_key};

/// How old a STOP may say that it is. Gateways repeat for two days at most; a clock that is further off must not make a STOP
/// older than an opt-in that was heard before it.
const PLAUSIBLE_AGE: f64 = 7.0 * 86_400.0;

/// What one person asks for, and the evidence of it.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) group: &'a str,
    pub(super) address: &'a Address,
    /// Every key under which the number may be kept: as it is, and hashed ([`Store::keys_of`]).
    pub(super) keys: Vec<String>,
    pub(super) source: Source,
    /// When, by their provider's clock.
    pub(super) at: Option<DateTime<Utc>>,
    /// How it was recognised; `None` if nobody texted it.
    pub(super) decision: Option<&'a Decision>,
    pub(super) rules_version: Option<&'a str>,
    /// Of an opt-out: why none is owed, if no confirmation is.
    pub(super) unconfirmed: Option<&'a str>,
    pub(super) note: Option<&'a str>,
    pub(super) message: Option<Evidence<'a>>,
}

/// The message that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) id: Uuid,
    pub(super) endpoint: &'a str,
    pub(super) recipient: &'a str,
    /// `None` where texts are not kept.
    pub(super) words: Option<&'a str>,
    pub(super) verified: bool,
}

/// Who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The person, in a text.
    Message,
    /// The gateway's provider.
    Provider,
    /// The operator.
    Operator,
    /// A list that the operator imported.
    Import,
}

impl Source {
    /// The stored word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Provider => "provider",
            Self::Operator => "operator",
            Self::Import => "import",
        }
    }

    /// Of what a text, or the provider about a text, says.
    pub(super) const fn of(decision: &Decision) -> Self {
        if decision.tier == TIER_OF_THE_PROVIDER {
            Self::Provider
        } else {
            Self::Message
        }
    }
}

/// What a request came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// An opt-out is in force from now on.
    Began,
    /// It was already.
    InForce,
    /// The person opted in later than they asked for this.
    Superseded,
    /// The opt-out is over.
    Lifted,
    /// There was none.
    NotOptedOut,
    /// The person opted out at the same time or later.
    Stale,
}

impl Effect {
    /// The stored word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::InForce => "in_force",
            Self::Superseded => "superseded",
            Self::Lifted => "lifted",
            Self::NotOptedOut => "not_opted_out",
            Self::Stale => "stale",
        }
    }

    /// Whether things are now as was asked for.
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Superseded | Self::Stale)
    }

    /// Whether things were otherwise before: then webhooks are told.
    pub const fn changes(self) -> bool {
        matches!(self, Self::Began | Self::Lifted)
    }
}

/// The lock under which everything about one number in one group happens: exclusive for changes, shared while a text to it
/// is handed to a gateway.
pub(super) fn number_lock(group: &str, number_key: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(group.as_bytes());
    hash.update([0]);
    hash.update(number_key.as_bytes());
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..]: [u8; 32] = hash.finalize().into();
    i64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
}

/// Takes the locks of these numbers until the end of the transaction, in one order for everybody.
pub(super) async fn lock<'a>(
    connection: &mut PgConnection,
    numbers: impl Iterator<Item = (&'a str, &'a Address)>,
) -> Result<(), StoreError> {
    let mut locks: Vec<i64> = numbers
        .map(|(group, address)| number_lock(group, &address.suppression_key()))
        .collect();
    if locks.is_empty() {
        return Ok(());
    }
    locks.sort_unstable();
    locks.dedup();
    lock_in_order(connection, &locks).await
}

/// Records an opt-out, unless the person has asked for an opt-in later, and cancels the texts queued for that number. To be
/// called under the number's lock.
///
/// Times are the provider's, so that two processes that hear of STOP and START in another order come to the same end; on a
/// tie the opt-out wins. A time that lies ahead is now. A STOP that says to be implausibly old is taken all the same: a
/// gateway's wrong clock must not lose it. What an operator or a list says of years ago is of years ago.
pub(super) async fn opt_out(connection: &mut PgConnection, asked: &Asked<'_>) -> Result<Effect, StoreError> {
    let row = sqlx::query!(
        r#"
        WITH at AS (
            SELECT least(coalesce($7::timestamptz, clock_timestamp()), clock_timestamp()) AS counts_from,
                   $4::text IN ('message', 'provider')
                     AND coalesce($7::timestamptz < clock_timestamp() - make_interval(secs => $8), false) AS is_implausible
        ), later AS (
            SELECT EXISTS (
                SELECT FROM smshook.consent_events e, at
                WHERE NOT at.is_implausible AND e.number_key = ANY ($3) AND e.suppression_group = $1 AND e.event = 'opt_in' AND e.effect <> 'stale'
                  AND e.counts_from > at.counts_from) AS opted_in
        ), known AS (
            UPDATE smshook.opt_outs o SET opted_out_at = greatest(o.opted_out_at, at.counts_from)
            FROM at, later
            WHERE o.number_key = ANY ($3) AND o.suppression_group = $1 AND o.opted_in_at IS NULL AND NOT later.opted_in
            RETURNING o.id
        ), begun AS (
            INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, message_id, keyword, tier, note,
                opted_out_at, confirm_until)
            SELECT $1, $2, $9, $4, $5, $6, $10, $11, at.counts_from,
                CASE WHEN $12::text IS NULL THEN clock_timestamp() + make_interval(secs => $13) END
            FROM at, later WHERE NOT later.opted_in AND NOT EXISTS (SELECT FROM known)
            RETURNING id
        )
        SELECT at.counts_from AS "counts_from!", later.opted_in AS "superseded!",
               (SELECT min(id) FROM begun) AS begun, (SELECT min(id) FROM known) AS known
        FROM at, later
        "#,
        asked.group,
        asked.address.key(),
        &asked.keys,
        asked.source.as_str(),
        asked.message.map(|message| message.id),
        asked.decision.map(|decision| &*decision.keyword),
        asked.at,
        PLAUSIBLE_AGE,
        asked.address.suppression_key(),
        asked.decision.map(|decision| i16::from(decision.tier)),
        asked.note,
        asked.unconfirmed,
        queue::CONFIRM_WITHIN.as_secs_f64(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let effect = match (row.superseded, row.begun) {
        (true, _) => Effect::Superseded,
        (false, Some(_)) => Effect::Began,
        (false, None) => Effect::InForce,
    };
    let confirmation = match effect {
        Effect::Began => asked.unconfirmed.unwrap_or("owed"),
        Effect::InForce => "the opt-out was in force already",
        _ => "an opt-in was asked for later",
    };
    let opt_out_id = row.begun.or(row.known);
    let came = Came {
        effect: Some(effect),
        counts_from: Some(row.counts_from),
        opt_out_id,
        confirmation: Some(confirmation),
    };
    record(connection, "opt_out", asked, came).await?;
    if effect != Effect::Superseded {
        cancel_queued(connection, asked.group, asked.address.key()).await?;
    }
    Ok(effect)
}

/// Lifts an opt-out that was asked for before this request; a tie leaves it in force. To be called under the number's lock.
pub(super) async fn opt_in(connection: &mut PgConnection, asked: &Asked<'_>) -> Result<Effect, StoreError> {
    let row = sqlx::query!(
        r#"
        WITH at AS (
            SELECT least(coalesce($3::timestamptz, clock_timestamp()), clock_timestamp()) AS counts_from
        ), later AS (
            SELECT EXISTS (
                SELECT FROM smshook.opt_outs o, at
                WHERE o.number_key = ANY ($2) AND o.suppression_group = $1 AND o.opted_in_at IS NULL
                  AND o.opted_out_at >= at.counts_from) AS opted_out
        ), lifted AS (
            UPDATE smshook.opt_outs o
            SET opted_in_at = clock_timestamp(), opted_in_source = $4, opted_in_message_id = $5
            FROM later
            WHERE o.number_key = ANY ($2) AND o.suppression_group = $1 AND o.opted_in_at IS NULL AND NOT later.opted_out
            RETURNING o.id
        )
        SELECT at.counts_from AS "counts_from!", later.opted_out AS "stale!", (SELECT min(id) FROM lifted) AS lifted
        FROM at, later
        "#,
        asked.group,
        &asked.keys,
        asked.at,
        asked.source.as_str(),
        asked.message.map(|message| message.id),
    )
    .fetch_one(&mut *connection)
    .await?;
    let effect = match (row.stale, row.lifted) {
        (true, _) => Effect::Stale,
        (false, Some(_)) => Effect::Lifted,
        (false, None) => Effect::NotOptedOut,
    };
    let came = Came {
        effect: Some(effect),
        counts_from: Some(row.counts_from),
        opt_out_id: row.lifted,
        confirmation: None,
    };
    record(connection, "opt_in", asked, came).await?;
    Ok(effect)
}

/// What a request came to, as it is recorded; nothing of one that waits for a person.
#[derive(Clone, Copy, Default)]
struct Came<'a> {
    effect: Option<Effect>,
    counts_from: Option<DateTime<Utc>>,
    opt_out_id: Option<i64>,
    confirmation: Option<&'a str>,
}

/// Writes the event; webhooks are told of it if it changes something.
async fn record(
    connection: &mut PgConnection,
    event: &str,
    asked: &Asked<'_>,
    came: Came<'_>,
) -> Result<(), StoreError> {
    let message = asked.message;
    sqlx::query!(
        r#"
        WITH recorded AS (
            INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, source, effect, opt_out_id,
                message_id, endpoint, recipient, words, keyword, tier, rules_version, language, verified, asked_at,
                counts_from, confirmation, note)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
            RETURNING id, number_key
        )
        INSERT INTO smshook.notices (webhook, event_id, number_key)
        SELECT w.name, r.id, r.number_key FROM recorded r, smshook.webhooks w WHERE $21
        RETURNING pg_notify($22, $23)
        "#,
        event,
        asked.group,
        asked.address.key(),
        asked.address.suppression_key(),
        asked.source.as_str(),
        came.effect.map(Effect::as_str),
        came.opt_out_id,
        message.map(|message| message.id),
        message.map(|message| message.endpoint),
        message.map(|message| message.recipient),
        message.and_then(|message| message.words),
        asked.decision.map(|decision| &*decision.keyword),
        asked.decision.map(|decision| i16::from(decision.tier)),
        asked.rules_version,
        asked.decision.and_then(|decision| decision.language),
        message.map(|message| message.verified),
        asked.at,
        came.counts_from,
        came.confirmation,
        asked.note,
        came.effect.is_some_and(Effect::changes),
        JOBS_CHANNEL,
        NOTICE_WRITTEN,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes a phrase that a person has to decide about.
pub(super) async fn ask_for_review(connection: &mut PgConnection, asked: &Asked<'_>) -> Result<(), StoreError> {
    record(connection, "review", asked, Came::default()).await
}

/// What became of the confirmations among jobs that have just ended: once for each opt-out and end.
pub(super) async fn record_confirmations(connection: &mut PgConnection, jobs: &[i64]) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, opt_out_id, message_id, endpoint,
            recipient, job_id, reference, confirmation)
        SELECT CASE WHEN j.state = 'done' THEN 'confirmed' ELSE 'unconfirmed' END, o.suppression_group, o.number,
            o.number_key, o.id, m.id, m.endpoint, m.recipient, j.id, s.reference,
            CASE WHEN j.state <> 'done' THEN coalesce(j.reason, j.state) END
        FROM smshook.jobs j
        JOIN smshook.messages m ON m.id = j.message_id
        JOIN smshook.opt_outs o ON o.message_id = m.id
        LEFT JOIN smshook.sends s ON s.job_id = j.id
        WHERE j.id = ANY ($1) AND j.kind = 'opt_out_confirmation' AND j.state IN ('done', 'discarded', 'cancelled')
        "#,
        jobs
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Cancels the texts queued for a number and frees their lanes. One that is running meets the same check before it sends.
/// The confirmation of an opt-out stays: whoever says STOP twice is owed one, and the gate knows which.
pub(super) async fn cancel_queued(connection: &mut PgConnection, group: &str, number: &str) -> Result<(), StoreError> {
    cancel_queued_to(connection, group, &spellings(number)).await
}

/// As [`cancel_queued`], for every number of which this has each spelling.
pub(super) async fn cancel_queued_to(
    connection: &mut PgConnection,
    group: &str,
    numbers: &[String],
) -> Result<(), StoreError> {
    let lanes = sqlx::query_scalar!(
        r#"
        UPDATE smshook.jobs
        SET state = 'cancelled', finished_at = now(), reason = 'the sender opted out while this was queued'
        WHERE id IN (
            SELECT id FROM smshook.jobs
            WHERE send_to = ANY ($1) AND send_group = $2 AND state IN ('waiting', 'available')
              AND kind <> 'opt_out_confirmation'
            ORDER BY lane FOR UPDATE)
          AND state IN ('waiting', 'available')
        RETURNING lane
        "#,
        numbers,
        group,
    )
    .fetch_all(&mut *connection)
    .await?;
    queue::promote(connection, &lanes).await?;
    Ok(())
}

/// Every spelling in which a job may name this number.
pub(super) fn spellings(number: &str) -> Vec<String> {
    normalise(number, &NumberFormat::E164).suppression_keys()
}

/// Whether an opt-out of this number is in force in this group, whatever it is kept under.
pub(super) async fn is_opted_out(
    connection: &mut PgConnection,
    group: &str,
    keys: &[String],
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM smshook.opt_outs
            WHERE number_key = ANY ($2) AND suppression_group = $1 AND opted_in_at IS NULL) AS "opted_out!"
        "#,
        group,
        keys
    )
    .fetch_one(connection)
    .await?)
}

impl Store {
    /// Every key under which consent of a number may be kept: its one spelling, and the keyed hash of that, which stands for
    /// it once the person was erased.
    pub(super) fn keys_of(&self, number: &str) -> Vec<String> {
        let key = suppression_key(number);
        let hashed = self.erasure_key().map(|erasure| erasure.hashed(&key));
        std::iter::once(key).chain(hashed).collect()
    }

    /// Records what an operator, a list or the provider says of a number. Nobody is sent a confirmation.
    pub async fn change_consent(&self, change: &ConsentChange<'_>) -> Result<Effect, StoreError> {
        let note = change.note.map(storable_text);
        let asked = Asked {
            group: change.group,
            address: change.address,
            keys: self.keys_of(change.address.key()),
            source: change.source,
            at: change.asked_at,
            decision: None,
            rules_version: None,
            unconfirmed: Some("asked for by another way than a text"),
            note: note.as_deref(),
            message: None,
        };
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, std::iter::once((change.group, change.address))).await?;
        let effect = if change.opts_out {
            opt_out(&mut transaction, &asked).await?
        } else {
            opt_in(&mut transaction, &asked).await?
        };
        transaction.commit().await?;
        Ok(effect)
    }

    /// Copies the opt-outs of the shared group `default`, which was every endpoint's until groups were their own, to the
    /// groups of the endpoints that belonged to it; once. Returns how many there were.
    ///
    /// `groups`: those of the endpoints that name none.
    pub async fn adopt_default_opt_outs(&self, groups: &[String]) -> Result<u64, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let adopted = sqlx::query!(
            r#"
            WITH former AS (
                SELECT * FROM smshook.opt_outs
                WHERE suppression_group = 'default' AND opted_in_at IS NULL AND adopted_at IS NULL
                  AND recorded_at < (SELECT installed_on FROM _sqlx_migrations WHERE version = 20261121000005)
                FOR UPDATE
            ), marked AS (
                UPDATE smshook.opt_outs o SET adopted_at = now() FROM former f WHERE o.id = f.id
            ), copied AS (
                INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, keyword, tier, note, opted_out_at,
                    recorded_at)
                SELECT g.name, f.number, f.number_key, f.source, f.keyword, f.tier, f.note, f.opted_out_at, f.recorded_at
                FROM former f, UNNEST($1::text[]) AS g (name)
                WHERE g.name <> 'default' AND NOT EXISTS (
                    SELECT FROM smshook.opt_outs o
                    WHERE o.number_key = f.number_key AND o.suppression_group = g.name AND o.opted_in_at IS NULL)
                ON CONFLICT (number_key, suppression_group) WHERE opted_in_at IS NULL DO NOTHING
                RETURNING id, suppression_group, number, number_key
            )
            INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, opt_out_id, note)
            SELECT 'adopted', c.suppression_group, c.number, c.number_key, c.id, 'from the former shared group `default`'
            FROM copied c
            "#,
            groups
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(adopted.rows_affected())
    }
}

/// A change that nobody texted.
#[derive(Clone, Copy, Debug)]
pub struct ConsentChange<'a> {
    /// The suppression group.
    pub group: &'a str,
    /// Whose.
    pub address: &'a Address,
    /// To be texted no more; else again.
    pub opts_out: bool,
    /// Who says so.
    pub source: Source,
    /// When the person asked, if that is known.
    pub asked_at: Option<DateTime<Utc>>,
    /// How they asked.
    pub note: Option<&'a str>,
}
