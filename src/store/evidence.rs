//! Consent for people: lists of opt-outs out and in, everything that is recorded about one number, phrases to decide about, and
//! whether a number may be texted.
//!
//! It only adds to the evidence. Whether a request counts is `consent`'s to decide; a list of many is decided here by the same
//! rules, many at a time, and a test holds the two together.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::consent::{self, Source};
use super::{JOBS_CHANNEL, NOTICE_WRITTEN, Store, StoreError, storable_text};
use crate::phone::Address;

/// Rows read at once by an export: few enough to hold, many enough that asking costs little.
const EXPORT_PAGE: i64 = 1_000;

/// An opt-out as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct OptOutRow {
    /// Identity; rises with the order of recording.
    #[serde(skip)]
    pub id: i64,
    /// Suppression group.
    pub suppression_group: String,
    /// Number; after an erasure `hmac:` and a keyed hash of it.
    pub number: String,
    /// message, provider, operator or import.
    pub source: String,
    /// The keyword that matched.
    pub keyword: Option<String>,
    /// How it matched: 0 to 3.
    pub tier: Option<i16>,
    /// The operator's note.
    pub note: Option<String>,
    /// The message that asked for it.
    pub message_id: Option<Uuid>,
    /// When the person asked.
    pub opted_out_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// When it was lifted.
    pub opted_in_at: Option<DateTime<Utc>>,
    /// Who lifted it.
    pub opted_in_source: Option<String>,
}

/// One event of the record, as it was written.
#[derive(Clone, Debug, Serialize)]
pub struct ConsentEventRow {
    /// Identity; the order of recording.
    pub id: i64,
    /// `opt_out`, `opt_in`, `review`, `dismissed`, `confirmed`, `unconfirmed`, `adopted` or `erased`.
    pub event: String,
    /// Suppression group.
    pub suppression_group: String,
    /// Number as given then, or `hmac:` and a keyed hash of it.
    pub number: String,
    /// message, provider, operator or import.
    pub source: Option<String>,
    /// What the request came to.
    pub effect: Option<String>,
    /// The opt-out that it began, met, lifted or confirmed.
    pub opt_out_id: Option<i64>,
    /// The message that asked.
    pub message_id: Option<Uuid>,
    /// The endpoint that received it.
    pub endpoint: Option<String>,
    /// The number of ours that was texted.
    pub recipient: Option<String>,
    /// The words of the person.
    pub words: Option<String>,
    /// The keyword or phrase that decided.
    pub keyword: Option<String>,
    /// How it matched: 0 to 3.
    pub tier: Option<i16>,
    /// Version of the rules that decided.
    pub rules_version: Option<String>,
    /// Language of the keyword, ISO 639-1.
    pub language: Option<String>,
    /// Whether the message's delivery was signed as it should be.
    pub verified: Option<bool>,
    /// When the person asked, as the gateway or the operator says.
    pub asked_at: Option<DateTime<Utc>>,
    /// The time by which it was compared with other requests.
    pub counts_from: Option<DateTime<Utc>>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What became of the confirmation, or why none is owed.
    pub confirmation: Option<String>,
    /// The job that confirmed it, or should have.
    pub job_id: Option<i64>,
    /// The reference under which the confirmation was handed to the gateway.
    pub reference: Option<String>,
    /// The operator's note.
    pub note: Option<String>,
    /// When the person was erased.
    pub erased_at: Option<DateTime<Utc>>,
}

/// A text that was handed to a gateway for the number.
#[derive(Clone, Debug, Serialize)]
pub struct SentRow {
    /// Its job.
    pub job_id: i64,
    /// `action`, `opt_out_confirmation`, `opt_in_confirmation` or `help_reply`.
    pub kind: String,
    /// The action.
    pub action: String,
    /// The suppression group it was sent in; none where that is not known any more.
    pub suppression_group: Option<String>,
    /// When the latest attempt to hand it over began.
    pub started_at: DateTime<Utc>,
    /// Our reference of it.
    pub reference: String,
    /// The gateway's ID of it, if it said one.
    pub gateway_message_id: Option<String>,
    /// How far it is, by the gateway's reports.
    pub state: Option<String>,
    /// The opt-out that it confirms.
    pub opt_out_id: Option<i64>,
}

/// Everything that is recorded about consent of one number, at one moment.
#[derive(Clone, Debug)]
pub struct ConsentRecord {
    /// Its opt-outs, in the order of recording.
    pub opt_outs: Vec<OptOut>,
    /// Its events, in the order of recording.
    pub events: Vec<ConsentEventRow>,
    /// The texts handed to gateways for it that are still known, in order.
    pub sent: Vec<SentRow>,
}

/// An opt-out of a [`ConsentRecord`].
#[derive(Clone, Debug)]
pub struct OptOut {
    /// Identity.
    pub id: i64,
    /// Suppression group.
    pub suppression_group: String,
    /// Who asked.
    pub source: String,
    /// The latest time at which the person asked for it.
    pub opted_out_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// When it was lifted.
    pub opted_in_at: Option<DateTime<Utc>>,
    /// Who lifted it.
    pub opted_in_source: Option<String>,
}

/// A phrase that a person has to decide about.
#[derive(Clone, Debug, Serialize)]
pub struct ReviewRow {
    /// Suppression group.
    pub suppression_group: String,
    /// Who wrote it.
    pub number: String,
    /// The message.
    pub message_id: Option<Uuid>,
    /// The endpoint that received it.
    pub endpoint: Option<String>,
    /// The words; none where texts are not kept.
    pub words: Option<String>,
    /// The phrase in them.
    pub phrase: Option<String>,
    /// When they were written, by the gateway's clock.
    pub asked_at: Option<DateTime<Utc>>,
    /// When they were recorded.
    pub recorded_at: DateTime<Utc>,
}

/// Whether a number may be texted in one suppression group.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The group.
    pub group: String,
    /// The opt-out in force, if there is one.
    pub opted_out: Option<InForce>,
}

/// An opt-out in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// When the person asked.
    pub opted_out_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Who says so: message, provider, operator or import.
    pub source: String,
}

/// One opt-out of a list.
#[derive(Clone, Debug)]
pub struct ListedOptOut {
    /// Whose.
    pub address: Address,
    /// When the person asked; `None` means now.
    pub asked_at: Option<DateTime<Utc>>,
    /// What the list says about it.
    pub note: Option<String>,
}

/// A list as Postgres takes it, column by column.
#[derive(Default)]
struct Columns {
    numbers: Vec<String>,
    keys: Vec<String>,
    hashes: Vec<Option<String>>,
    asked_at: Vec<Option<DateTime<Utc>>>,
    notes: Vec<Option<String>>,
}

/// What became of the opt-outs of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Imported {
    /// In force from now on.
    pub began: u64,
    /// In force already.
    pub in_force: u64,
    /// Older than an opt-in: nothing came of them.
    pub superseded: u64,
}

impl std::ops::AddAssign for Imported {
    fn add_assign(&mut self, other: Self) {
        self.began += other.began;
        self.in_force += other.in_force;
        self.superseded += other.superseded;
    }
}

/// Opt-outs page by page, all as they were at one moment.
#[derive(Debug)]
pub struct OptOutPages {
    snapshot: Transaction<'static, Postgres>,
    ended: bool,
    group: Option<String>,
    after: i64,
}

impl OptOutPages {
    /// The next rows in the order of recording; none at the end.
    pub async fn next_page(&mut self) -> Result<Vec<OptOutRow>, StoreError> {
        let rows = sqlx::query_as!(
            OptOutRow,
            r#"
            SELECT id, suppression_group, number, source, keyword, tier, note, message_id, opted_out_at, recorded_at, opted_in_at,
                   opted_in_source
            FROM smshook.opt_outs
            WHERE id > $1 AND ($2 OR opted_in_at IS NULL) AND ($3::text IS NULL OR suppression_group = $3)
            ORDER BY id LIMIT $4
            "#,
            self.after,
            self.ended,
            self.group,
            EXPORT_PAGE,
        )
        .fetch_all(&mut *self.snapshot)
        .await?;
        self.after = rows.last().map_or(self.after, |row| row.id);
        Ok(rows)
    }
}

impl Store {
    /// Opt-outs, the newest first; only those in force unless `ended`, only of `group` if one is named.
    pub async fn list_opt_outs(
        &self,
        ended: bool,
        group: Option<&str>,
        limit: i64,
    ) -> Result<Vec<OptOutRow>, StoreError> {
        Ok(sqlx::query_as!(
            OptOutRow,
            r#"
            SELECT id, suppression_group, number, source, keyword, tier, note, message_id, opted_out_at, recorded_at, opted_in_at,
                   opted_in_source
            FROM smshook.opt_outs
            WHERE ($1 OR opted_in_at IS NULL) AND ($2::text IS NULL OR suppression_group = $2)
            ORDER BY id DESC LIMIT $3
            "#,
            ended,
            group,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The same opt-outs, the oldest first and however many, without holding more than a page of them.
    pub async fn export_opt_outs(&self, ended: bool, group: Option<&str>) -> Result<OptOutPages, StoreError> {
        Ok(OptOutPages {
            snapshot: self.snapshot().await?,
            ended,
            group: group.map(str::to_owned),
            after: 0,
        })
    }

    async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        Ok(self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?)
    }

    /// Records the opt-outs of a list, all in one transaction; few hundred at a time are right, because each holds a lock of
    /// the database until the end. No number may be there twice.
    ///
    /// What the list says again of an opt-out in force changes nothing, so that a list may be imported any number of times.
    pub async fn import_opt_outs(&self, group: &str, list: &[ListedOptOut]) -> Result<Imported, StoreError> {
        let mut transaction = self.pool.begin().await?;
        consent::lock(&mut transaction, list.iter().map(|listed| (group, &listed.address))).await?;
        let imported = self.record_list(&mut transaction, group, list).await?;
        if imported.began > 0 {
            let numbers: Vec<String> = list
                .iter()
                .flat_map(|listed| consent::spellings(listed.address.key()))
                .collect();
            consent::cancel_queued_to(&mut transaction, group, &numbers).await?;
        }
        transaction.commit().await?;
        Ok(imported)
    }

    /// Lets the database count its opt-outs and events. Plans are kept, and one that was made while the tables were empty reads
    /// all of a group for each number: to be called early in an import that makes them grow, so that nobody waits for autovacuum.
    pub async fn count_consent_anew(&self) -> Result<(), StoreError> {
        sqlx::query!("ANALYZE smshook.opt_outs, smshook.consent_events")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    fn columns(&self, list: &[ListedOptOut]) -> Columns {
        let mut columns = Columns::default();
        for listed in list {
            let key = listed.address.suppression_key();
            columns.numbers.push(listed.address.key().to_owned());
            columns
                .hashes
                .push(self.erasure_key().map(|erasure| erasure.hashed(&key)));
            columns.keys.push(key);
            columns.asked_at.push(listed.asked_at);
            let note = listed.note.as_deref().map(storable_text);
            columns.notes.push(note.map(std::borrow::Cow::into_owned));
        }
        columns
    }

    async fn record_list(
        &self,
        connection: &mut PgConnection,
        group: &str,
        list: &[ListedOptOut],
    ) -> Result<Imported, StoreError> {
        let columns = self.columns(list);
        let counts = sqlx::query!(
            r#"
            WITH asked AS MATERIALIZED (
                SELECT a.number, a.number_key, a.hash, a.asked_at, a.note,
                       least(coalesce(a.asked_at, clock_timestamp()), clock_timestamp()) AS counts_from
                FROM UNNEST($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
                    AS a (number, number_key, hash, asked_at, note)
            ), known AS (
                SELECT a.*, k.opt_out_id, k.opt_out_ids, k.opted_out_at,
                       k.opt_out_id IS NOT NULL AND coalesce(a.counts_from <= k.opted_out_at, true) AS says_nothing_new,
                       EXISTS (
                           SELECT FROM smshook.consent_events e
                           WHERE e.number_key IN (a.number_key, a.hash) AND e.suppression_group = $1 AND e.event = 'opt_in'
                             AND e.effect <> 'stale' AND e.counts_from > a.counts_from) AS opted_in_later
                FROM asked a CROSS JOIN LATERAL (
                    SELECT min(o.id) AS opt_out_id, array_agg(o.id) AS opt_out_ids, max(o.opted_out_at) AS opted_out_at
                    FROM smshook.opt_outs o
                    WHERE o.number_key IN (a.number_key, a.hash) AND o.suppression_group = $1 AND o.opted_in_at IS NULL) k
            ), decided AS MATERIALIZED (
                SELECT k.*, k.says_nothing_new OR (k.opt_out_id IS NOT NULL AND k.asked_at IS NULL) AS is_known,
                       CASE WHEN k.says_nothing_new THEN 'in_force'
                            WHEN k.opted_in_later THEN 'superseded'
                            WHEN k.opt_out_id IS NOT NULL THEN 'in_force'
                            ELSE 'began' END AS effect
                FROM known k
            ), begun AS (
                INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, note, opted_out_at)
                SELECT $1, d.number, d.number_key, $7, d.note, d.counts_from FROM decided d WHERE d.effect = 'began'
                RETURNING id, number_key
            ), renewed AS (
                UPDATE smshook.opt_outs o SET opted_out_at = greatest(o.opted_out_at, d.counts_from)
                FROM decided d
                WHERE d.effect = 'in_force' AND NOT d.is_known AND o.id = ANY (d.opt_out_ids)
            ), recorded AS (
                INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, source, effect, opt_out_id,
                    asked_at, counts_from, confirmation, note)
                SELECT 'opt_out', $1, d.number, d.number_key, $7, d.effect, coalesce(b.id, d.opt_out_id), d.asked_at,
                    d.counts_from,
                    CASE d.effect WHEN 'began' THEN 'asked for by another way than a text'
                                  WHEN 'in_force' THEN 'the opt-out was in force already'
                                  ELSE 'an opt-in was asked for later' END,
                    d.note
                FROM decided d LEFT JOIN begun b ON b.number_key = d.number_key
                WHERE NOT d.is_known AND NOT EXISTS (
                    SELECT FROM smshook.consent_events e
                    WHERE d.effect = 'superseded' AND e.number_key IN (d.number_key, d.hash) AND e.suppression_group = $1
                      AND e.event = 'opt_out' AND e.effect = 'superseded' AND e.source = $7 AND e.asked_at = d.asked_at)
                RETURNING id, number_key, effect
            ), told AS (
                INSERT INTO smshook.notices (webhook, event_id, number_key)
                SELECT w.name, r.id, r.number_key FROM recorded r, smshook.webhooks w WHERE r.effect = 'began'
                ORDER BY r.id
                RETURNING pg_notify($8, $9)
            )
            SELECT count(*) FILTER (WHERE effect = 'began') AS "began!", count(*) FILTER (WHERE effect = 'in_force') AS "in_force!",
                   count(*) FILTER (WHERE effect = 'superseded') AS "superseded!"
            FROM decided
            "#,
            group,
            &columns.numbers,
            &columns.keys,
            &columns.hashes as &[Option<String>],
            &columns.asked_at as &[Option<DateTime<Utc>>],
            &columns.notes as &[Option<String>],
            Source::Import.as_str(),
            JOBS_CHANNEL,
            NOTICE_WRITTEN,
        )
        .fetch_one(connection)
        .await?;
        Ok(Imported {
            began: counts.began.unsigned_abs(),
            in_force: counts.in_force.unsigned_abs(),
            superseded: counts.superseded.unsigned_abs(),
        })
    }

    /// Everything that is recorded about consent of a number, whether it is kept under the number or under its keyed hash.
    ///
    /// # Errors
    /// [`StoreError::OtherErasureKey`] where it could not all be found.
    pub async fn consent_record(&self, address: &Address) -> Result<ConsentRecord, StoreError> {
        let keys = self.keys_of(address.key());
        let mut snapshot = self.snapshot().await?;
        self.same_erasure_key(&mut snapshot).await?;
        let opt_outs = sqlx::query_as!(
            OptOut,
            r#"
            SELECT id, suppression_group, source, opted_out_at, recorded_at, opted_in_at, opted_in_source
            FROM smshook.opt_outs WHERE number_key = ANY ($1) ORDER BY id
            "#,
            &keys
        )
        .fetch_all(&mut *snapshot)
        .await?;
        let events = sqlx::query_as!(
            ConsentEventRow,
            r#"
            SELECT id, event, suppression_group, number, source, effect, opt_out_id, message_id, endpoint, recipient, words,
                   keyword, tier, rules_version, language, verified, asked_at, counts_from, recorded_at, confirmation, job_id,
                   reference, note, erased_at
            FROM smshook.consent_events WHERE number_key = ANY ($1) ORDER BY id
            "#,
            &keys
        )
        .fetch_all(&mut *snapshot)
        .await?;
        let ids: Vec<i64> = opt_outs.iter().map(|opt_out| opt_out.id).collect();
        let sent = sqlx::query_as!(
            SentRow,
            r#"
            SELECT s.job_id, j.kind, j.action, j.send_group AS suppression_group, s.started_at, s.reference,
                   s.gateway_message_id, s.state, s.opt_out_id
            FROM smshook.sends s JOIN smshook.jobs j ON j.id = s.job_id
            WHERE j.send_to = ANY ($1) OR s.opt_out_id = ANY ($2)
            ORDER BY s.started_at, s.job_id
            "#,
            &consent::spellings(address.key()),
            &ids
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        Ok(ConsentRecord { opt_outs, events, sent })
    }

    /// Phrases that nobody has decided about yet, the oldest first.
    pub async fn open_reviews(&self, group: Option<&str>, limit: i64) -> Result<Vec<ReviewRow>, StoreError> {
        Ok(sqlx::query_as!(
            ReviewRow,
            r#"
            SELECT e.suppression_group, e.number, e.message_id, e.endpoint, e.words, e.keyword AS phrase, e.asked_at, e.recorded_at
            FROM smshook.consent_events e
            WHERE e.event = 'review' AND e.erased_at IS NULL AND ($1::text IS NULL OR e.suppression_group = $1)
              AND NOT EXISTS (
                SELECT FROM smshook.consent_events d
                WHERE d.number_key = e.number_key AND d.suppression_group = e.suppression_group AND d.id > e.id
                  AND d.event IN ('opt_out', 'dismissed'))
            ORDER BY e.id LIMIT $2
            "#,
            group,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Records that the phrases of this number are no opt-out. False if none is waiting to be decided about.
    pub async fn dismiss_review(&self, group: &str, address: &Address, note: Option<&str>) -> Result<bool, StoreError> {
        let note = note.map(storable_text);
        let mut transaction = self.pool.begin().await?;
        consent::lock(&mut transaction, std::iter::once((group, address))).await?;
        let dismissed = sqlx::query!(
            r#"
            INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, source, message_id, endpoint, note)
            SELECT 'dismissed', e.suppression_group, e.number, e.number_key, $4, e.message_id, e.endpoint, $3
            FROM smshook.consent_events e
            WHERE e.event = 'review' AND e.number_key = $2 AND e.suppression_group = $1 AND NOT EXISTS (
                SELECT FROM smshook.consent_events d
                WHERE d.number_key = e.number_key AND d.suppression_group = e.suppression_group AND d.id > e.id
                  AND d.event IN ('opt_out', 'dismissed'))
            ORDER BY e.id
            "#,
            group,
            address.suppression_key(),
            note.as_deref(),
            Source::Operator.as_str(),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(dismissed.rows_affected() > 0)
    }

    /// Whether a number may be texted in each of these groups, in their order.
    ///
    /// # Errors
    /// [`StoreError::OtherErasureKey`] where that cannot be told: then nobody may be texted.
    pub async fn standing(&self, address: &Address, groups: &[String]) -> Result<Vec<Standing>, StoreError> {
        let fingerprint = self.erasure_key().map(super::ErasureKey::fingerprint);
        let rows = sqlx::query!(
            r#"
            SELECT g.name AS "group!", o.opted_out_at AS "opted_out_at?", o.recorded_at AS "recorded_at?", o.source AS "source?",
                   EXISTS (SELECT FROM smshook.erasure_keys k WHERE k.fingerprint IS DISTINCT FROM $3) AS "other_key!"
            FROM UNNEST($2::text[]) WITH ORDINALITY AS g (name, nth)
            LEFT JOIN LATERAL (
                SELECT o.opted_out_at, o.recorded_at, o.source FROM smshook.opt_outs o
                WHERE o.number_key = ANY ($1) AND o.suppression_group = g.name AND o.opted_in_at IS NULL
                ORDER BY o.id LIMIT 1) o ON true
            ORDER BY g.nth
            "#,
            &self.keys_of(address.key()),
            groups,
            fingerprint.as_ref().map(<[u8; 32]>::as_slice),
        )
        .fetch_all(&self.pool)
        .await?;
        if rows.iter().any(|row| row.other_key) {
            return Err(StoreError::OtherErasureKey);
        }
        let in_force = |at, recorded, source| {
            Some(InForce {
                opted_out_at: at?,
                recorded_at: recorded?,
                source: source?,
            })
        };
        Ok(rows
            .into_iter()
            .map(|row| Standing {
                group: row.group,
                opted_out: in_force(row.opted_out_at, row.recorded_at, row.source),
            })
            .collect())
    }
}
