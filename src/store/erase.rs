//! Erasing a person: what they wrote and what was made of it goes, what the law needs stays under a keyed hash.
//!
//! One transaction, so that a person is there or erased. What has to be looked for in every row is looked for before it, and
//! within it only in what came since: while it holds the locks of the number, nobody else's texts wait for a search. It must
//! not forget an opt-out: whoever is erased is still not texted. What other systems know is not in its reach.
//!
//! Messages and parts stay for a few days as empty rows, so that a late copy of a gateway's is known as one and not taken for
//! a new text; then [`Store::forget_erased`] deletes them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ErasureKey, Store, StoreError, consent, queue};
use crate::phone::{self, Address};

/// How long the empty rows stay: gateways repeat for two days at most.
const RETRY_WINDOW: Duration = Duration::from_hours(7 * 24);
/// Deleted in one statement at most, so that a sweep holds nobody up.
const CHUNK: i64 = 1_000;
/// So much earlier than its start the second look begins: what was committed late may have an early ID.
const OVERLAP: Duration = Duration::from_mins(15);
/// Fewer digits are not looked for in bodies: they would be found in too many.
const FEWEST_DIGITS: usize = 7;
/// What may stand between the digits of a number in a body, also in a form's (`%20`) or in bytes that are not ASCII, as
/// Postgres shows them (`\240`).
const BETWEEN_DIGITS: &str = r"(?:[-+./()_\s\u00a0]|%[0-9A-Fa-f]{2}|\\[0-7]{3})*";

/// Whom to erase: the number in each of its spellings.
#[derive(Clone)]
pub struct Person {
    address: Address,
    /// As rows name a sender.
    spellings: Vec<String>,
    /// A regular expression (Postgres) that finds the number in a body.
    pattern: String,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Person").field(&self.address).finish()
    }
}

impl Person {
    /// `None` for what is not the number of a person: a short code, a name.
    pub fn new(address: &Address) -> Option<Self> {
        let spellings = address.suppression_keys();
        let digits: BTreeSet<String> = spellings.iter().filter_map(|spelling| digits_of(spelling)).collect();
        let has_shorter = |one: &String| digits.iter().any(|other| other != one && one.ends_with(other.as_str()));
        let alternatives: Vec<String> = digits
            .iter()
            .filter(|digits| !has_shorter(digits))
            .map(|digits| spaced(digits))
            .collect();
        let is_number = address
            .key()
            .trim_start_matches('+')
            .bytes()
            .all(|byte| byte.is_ascii_digit());
        (is_number && !alternatives.is_empty()).then(|| Self {
            address: address.clone(),
            spellings,
            pattern: format!("(?:{})(?![0-9])", alternatives.join("|")),
        })
    }

    /// All that may be shown.
    pub fn last_four(&self) -> &str {
        self.address.last_four()
    }

    fn key(&self) -> String {
        self.address.suppression_key()
    }
}

/// The digits that every way to write this spelling ends in: those without the country's code, unless they are too few.
fn digits_of(spelling: &str) -> Option<String> {
    let national = phone::spellings(spelling).map(|spellings| spellings.national);
    let long_enough = |digits: &String| digits.len() >= FEWEST_DIGITS;
    let all = || Some(spelling.trim_start_matches('+').to_owned()).filter(long_enough);
    national.filter(long_enough).or_else(all)
}

fn spaced(digits: &str) -> String {
    let digits: Vec<String> = digits.chars().map(String::from).collect();
    digits.join(BETWEEN_DIGITS)
}

/// What became of a person's rows, and of others' that held the number: how many.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Erased {
    /// Messages emptied.
    pub messages: u64,
    /// Parts of longer texts emptied.
    pub parts: u64,
    /// Jobs deleted, with their payload and results.
    pub jobs: u64,
    /// Attempts of these deleted, with their errors.
    pub attempts: u64,
    /// Texts to the person that are on record, deleted.
    pub sends: u64,
    /// Gateways' reports deleted.
    pub gateway_events: u64,
    /// Deliveries that could not be read, deleted.
    pub quarantined: u64,
    /// Kept deliveries that did not verify, deleted.
    pub refused: u64,
    /// What was remembered of the person in other systems, deleted.
    pub links: u64,
    /// Trips of the loop guard deleted.
    pub loop_trips: u64,
    /// Notices to webhooks that were not delivered yet and never will be.
    pub notices_given_up: u64,
    /// Bodies emptied that had come with texts of others.
    pub bodies_of_others: u64,
    /// Opt-outs kept under the keyed hash.
    pub opt_outs_kept: u64,
    /// Of these, those in force.
    pub opt_outs_in_force: u64,
    /// Events of consent kept under the keyed hash, without words, notes and numbers.
    pub consent_events_kept: u64,
    /// Texts of others that mention the number, left as they are.
    pub mentions_left: u64,
    /// Messages left whose sender is written in a way that may mean the same number.
    pub written_otherwise_left: u64,
}

/// What a search has found.
#[derive(Default)]
struct Found {
    sets: BTreeSet<Uuid>,
    messages: BTreeSet<Uuid>,
    /// SHA-256 of the bodies that these came in.
    bodies: BTreeSet<Vec<u8>>,
    other_messages: BTreeSet<Uuid>,
    other_parts: BTreeSet<(Uuid, i16)>,
    events: BTreeSet<Uuid>,
    quarantined: BTreeSet<Uuid>,
    refused: BTreeSet<Uuid>,
    mentions: BTreeSet<Uuid>,
    written_otherwise: BTreeSet<Uuid>,
}

fn listed<T: Clone>(set: &BTreeSet<T>) -> Vec<T> {
    set.iter().cloned().collect()
}

impl Store {
    /// How many messages of this person there are.
    pub async fn messages_of(&self, person: &Person) -> Result<usize, StoreError> {
        let mut found = Found::default();
        let mut connection = self.pool.acquire().await?;
        found.own_messages(&mut connection, person, Uuid::nil()).await?;
        Ok(found.messages.len())
    }

    /// Erases a person: all of it or nothing. What is erased already is not counted again.
    ///
    /// `groups`: the suppression groups of the configuration.
    ///
    /// # Errors
    /// [`StoreError::OtherErasureKey`] if anybody was erased under another key than `key`.
    pub async fn erase(&self, key: &ErasureKey, person: &Person, groups: &[String]) -> Result<Erased, StoreError> {
        self.check_erasure_key().await?;
        let mut connection = self.pool.acquire().await?;
        let since = sqlx::query_scalar!(
            r#"SELECT smshook.first_id(now() - make_interval(secs => $1)) AS "since!""#,
            OVERLAP.as_secs_f64()
        )
        .fetch_one(&mut *connection)
        .await?;
        let mut found = Found::default();
        found.own_sets(&mut connection, person, Uuid::nil()).await?;
        found.rest(&mut connection, person, Uuid::nil()).await?;
        let groups = groups_of(&mut connection, person, groups).await?;
        drop(connection);

        let mut transaction = self.pool.begin().await?;
        remember_key(&mut transaction, key).await?;
        self.same_erasure_key(&mut transaction).await?;
        consent::lock(
            &mut transaction,
            groups.iter().map(|group| (group.as_str(), &person.address)),
        )
        .await?;
        found.own_sets(&mut transaction, person, since).await?;
        // closed before messages are looked for: from here on none of them becomes one
        let mut erased = Erased {
            parts: empty_parts(&mut transaction, &listed(&found.sets)).await?,
            ..Erased::default()
        };
        found.rest(&mut transaction, person, since).await?;
        erase_rows(&mut transaction, person, &found, &mut erased).await?;
        erase_consent(&mut transaction, key, person, &mut erased).await?;
        transaction.commit().await?;
        Ok(erased)
    }

    /// Deletes the empty rows of erased people whose time is over, some at a time. How many.
    pub async fn forget_erased(&self) -> Result<u64, StoreError> {
        let messages = sqlx::query!(
            r#"
            DELETE FROM smshook.messages WHERE id IN (
                SELECT id FROM smshook.messages WHERE erased_at < now() - make_interval(secs => $1)
                ORDER BY erased_at LIMIT $2)
            "#,
            RETRY_WINDOW.as_secs_f64(),
            CHUNK
        )
        .execute(&self.pool)
        .await?;
        let sets = sqlx::query!(
            r#"
            DELETE FROM smshook.part_sets WHERE id IN (
                SELECT id FROM smshook.part_sets WHERE erased_at < now() - make_interval(secs => $1)
                ORDER BY erased_at LIMIT $2)
            "#,
            RETRY_WINDOW.as_secs_f64(),
            CHUNK
        )
        .execute(&self.pool)
        .await?;
        Ok(messages.rows_affected() + sets.rows_affected())
    }
}

impl Found {
    async fn own_sets(
        &mut self,
        connection: &mut PgConnection,
        person: &Person,
        since: Uuid,
    ) -> Result<(), StoreError> {
        let sets = sqlx::query_scalar!(
            r#"
            SELECT s.id FROM smshook.part_sets s
            WHERE s.id >= $2 AND s.erased_at IS NULL AND (s.sender = ANY ($1) OR EXISTS (
                SELECT FROM smshook.parts p WHERE p.set_id = s.id AND p.sender_raw = ANY ($1)))
            "#,
            &person.spellings,
            since,
        )
        .fetch_all(connection)
        .await?;
        self.sets.extend(sets);
        Ok(())
    }

    async fn own_messages(
        &mut self,
        connection: &mut PgConnection,
        person: &Person,
        since: Uuid,
    ) -> Result<(), StoreError> {
        let messages = sqlx::query_scalar!(
            r#"
            SELECT id FROM smshook.messages
            WHERE id >= $2 AND erased_at IS NULL AND (sender = ANY ($1) OR sender_raw = ANY ($1))
            UNION
            SELECT id FROM smshook.messages WHERE id = ANY ($3) AND erased_at IS NULL
            "#,
            &person.spellings,
            since,
            &listed(&self.sets),
        )
        .fetch_all(connection)
        .await?;
        self.messages.extend(messages.into_iter().flatten());
        Ok(())
    }

    /// All but the sets.
    async fn rest(&mut self, connection: &mut PgConnection, person: &Person, since: Uuid) -> Result<(), StoreError> {
        self.own_messages(connection, person, since).await?;
        self.own_bodies(connection).await?;
        self.messages_of_others(connection, person, since).await?;
        self.parts_of_others(connection, person, since).await?;
        self.other_deliveries(connection, person, since).await
    }

    async fn own_bodies(&mut self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let bodies = sqlx::query_scalar!(
            r#"
            SELECT sha256(raw) FROM smshook.messages WHERE id = ANY ($1) AND raw <> ''
            UNION
            SELECT sha256(raw) FROM smshook.parts WHERE set_id = ANY ($2) AND raw <> ''
            "#,
            &listed(&self.messages),
            &listed(&self.sets),
        )
        .fetch_all(connection)
        .await?;
        self.bodies.extend(bodies.into_iter().flatten());
        Ok(())
    }

    /// A body that several texts came in is with each of them. One that holds the number only because its own text mentions
    /// it stays.
    async fn messages_of_others(
        &mut self,
        connection: &mut PgConnection,
        person: &Person,
        since: Uuid,
    ) -> Result<(), StoreError> {
        let others = sqlx::query!(
            r#"
            SELECT m.id, m.text ~ $2 AS "mentions!", m.sender ~ $2 OR m.sender_raw ~ $2 AS "written_otherwise!",
                   sha256(m.raw) = ANY ($3) AS "shares!",
                   (SELECT count(*) FROM regexp_matches(encode(m.raw, 'escape'), $2, 'g'))
                       > (SELECT count(*) FROM regexp_matches(m.text, $2, 'g')) AS "holds!"
            FROM smshook.messages m
            WHERE m.id >= $4 AND m.erased_at IS NULL AND m.sender <> ALL ($1) AND m.sender_raw <> ALL ($1)
              AND (encode(m.raw, 'escape') ~ $2 OR m.text ~ $2 OR sha256(m.raw) = ANY ($3))
            "#,
            &person.spellings,
            person.pattern,
            &listed(&self.bodies),
            since,
        )
        .fetch_all(connection)
        .await?;
        for row in others.into_iter().filter(|row| !self.messages.contains(&row.id)) {
            if row.mentions {
                self.mentions.insert(row.id);
            }
            if row.written_otherwise {
                self.written_otherwise.insert(row.id);
            }
            if row.shares || (row.holds && !row.written_otherwise) {
                self.other_messages.insert(row.id);
            }
        }
        Ok(())
    }

    async fn parts_of_others(
        &mut self,
        connection: &mut PgConnection,
        person: &Person,
        since: Uuid,
    ) -> Result<(), StoreError> {
        let others = sqlx::query!(
            r#"
            SELECT p.set_id, p.part
            FROM smshook.parts p JOIN smshook.part_sets s ON s.id = p.set_id
            WHERE s.id >= $4 AND s.erased_at IS NULL AND s.id <> ALL ($5)
              AND (sha256(p.raw) = ANY ($3) OR (
                  encode(p.raw, 'escape') ~ $2 AND s.sender !~ $2 AND p.sender_raw !~ $2
                  AND (SELECT count(*) FROM regexp_matches(encode(p.raw, 'escape'), $2, 'g'))
                      > (SELECT count(*) FROM regexp_matches(p.text, $2, 'g'))))
              AND s.sender <> ALL ($1)
            "#,
            &person.spellings,
            person.pattern,
            &listed(&self.bodies),
            since,
            &listed(&self.sets),
        )
        .fetch_all(connection)
        .await?;
        self.other_parts
            .extend(others.into_iter().map(|row| (row.set_id, row.part)));
        Ok(())
    }

    /// Reports, and deliveries that became nothing.
    async fn other_deliveries(
        &mut self,
        connection: &mut PgConnection,
        person: &Person,
        since: Uuid,
    ) -> Result<(), StoreError> {
        let bodies = listed(&self.bodies);
        let rows = sqlx::query!(
            r#"
            SELECT 'event' AS "what!", id AS "id!" FROM smshook.gateway_events
            WHERE id >= $3 AND (encode(raw, 'escape') ~ $1 OR sha256(raw) = ANY ($2) OR reference ~ $1 OR gateway_id ~ $1
                OR error ~ $1)
            UNION ALL
            SELECT 'quarantined', id FROM smshook.quarantine
            WHERE id >= $3 AND (encode(raw, 'escape') ~ $1 OR sha256(raw) = ANY ($2) OR reason ~ $1)
            UNION ALL
            SELECT 'refused', id FROM smshook.refused
            WHERE id >= $3 AND (encode(body, 'escape') ~ $1 OR sha256(body) = ANY ($2) OR url ~ $1 OR query ~ $1
                OR headers::text ~ $1 OR cause ~ $1)
            "#,
            person.pattern,
            &bodies,
            since,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            match &*row.what {
                "event" => self.events.insert(row.id),
                "quarantined" => self.quarantined.insert(row.id),
                _ => self.refused.insert(row.id),
            };
        }
        Ok(())
    }
}

/// The suppression groups in which anything is known of the person, and those of the configuration.
async fn groups_of(
    connection: &mut PgConnection,
    person: &Person,
    configured: &[String],
) -> Result<BTreeSet<String>, StoreError> {
    let known = sqlx::query_scalar!(
        r#"
        SELECT suppression_group FROM smshook.opt_outs WHERE number_key = $1
        UNION
        SELECT suppression_group FROM smshook.consent_events WHERE number_key = $1
        "#,
        person.key(),
    )
    .fetch_all(connection)
    .await?;
    Ok(known.into_iter().flatten().chain(configured.iter().cloned()).collect())
}

/// Notes by which key people are erased here. Nobody else does at the same time: of two keys one must see the other.
async fn remember_key(connection: &mut PgConnection, key: &ErasureKey) -> Result<(), StoreError> {
    sqlx::query!("LOCK TABLE smshook.erasure_keys IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await?;
    let fingerprint = key.fingerprint();
    sqlx::query!(
        "INSERT INTO smshook.erasure_keys (fingerprint) VALUES ($1) ON CONFLICT (fingerprint) DO NOTHING",
        fingerprint.as_slice()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The sets take no parts any more and are put together no more. Returns how many parts they had.
async fn empty_parts(connection: &mut PgConnection, sets: &[Uuid]) -> Result<u64, StoreError> {
    sqlx::query!(
        r#"
        UPDATE smshook.part_sets s
        SET sender = 'erased', sender_kind = 'missing', reference = 'erased', erased_at = now(),
            set_key = sha256(uuid_send(gen_random_uuid())),
            closed_at = coalesce(s.closed_at, now()), assembled_at = coalesce(s.assembled_at, now()),
            text_removed_at = coalesce(s.text_removed_at, now())
        FROM (SELECT id FROM smshook.part_sets WHERE id = ANY ($1) ORDER BY id FOR UPDATE) o
        WHERE s.id = o.id
        "#,
        sets
    )
    .execute(&mut *connection)
    .await?;
    let parts = sqlx::query!(
        r#"
        UPDATE smshook.parts
        SET message_id = NULL, sender_raw = 'erased', text = '', sent_at = NULL, reference = NULL, device_id = NULL,
            tenant_id = NULL, tenant_name = NULL, gateway_rule = NULL, media = NULL, answered_event = NULL,
            answered_word = NULL, opt_out_tier = NULL, opt_out_keyword = NULL, opt_out_language = NULL, raw = ''
        WHERE set_id = ANY ($1)
        "#,
        sets
    )
    .execute(connection)
    .await?;
    Ok(parts.rows_affected())
}

/// Everything but consent. Jobs come first: who holds one waits for nothing that this holds.
async fn erase_rows(
    connection: &mut PgConnection,
    person: &Person,
    found: &Found,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let messages = listed(&found.messages);
    let jobs = delete_jobs(connection, &messages, &listed(&found.events), erased).await?;
    queue::promote(connection, &jobs).await?;
    queue::notify(connection).await?;
    erased.messages = empty_messages(connection, &messages).await?;
    empty_bodies_of_others(connection, found, erased).await?;
    erased.mentions_left = found.mentions.len() as u64;
    erased.written_otherwise_left = found.written_otherwise.len() as u64;
    delete_deliveries(connection, found, erased).await?;
    delete_what_names(connection, person, erased).await
}

/// A job that runs is deleted, too: its attempt finds itself fenced off. Returns the lanes.
async fn delete_jobs(
    connection: &mut PgConnection,
    messages: &[Uuid],
    events: &[Uuid],
    erased: &mut Erased,
) -> Result<Vec<i64>, StoreError> {
    let jobs = sqlx::query!(
        "SELECT id, lane FROM smshook.jobs WHERE message_id = ANY ($1) ORDER BY lane, id FOR UPDATE",
        messages
    )
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
    let counted = sqlx::query!(
        r#"
        SELECT (SELECT count(*) FROM smshook.attempts WHERE job_id = ANY ($1)) AS "attempts!",
               (SELECT count(*) FROM smshook.sends WHERE job_id = ANY ($1)) AS "sends!"
        "#,
        &ids
    )
    .fetch_one(&mut *connection)
    .await?;
    erased.attempts = counted.attempts.unsigned_abs();
    erased.sends = counted.sends.unsigned_abs();
    delete_events(connection, &ids, events, erased).await?;
    // attempts, sends and turns go with them
    let deleted = sqlx::query!("DELETE FROM smshook.jobs WHERE id = ANY ($1)", &ids)
        .execute(connection)
        .await?;
    erased.jobs = deleted.rows_affected();
    Ok(jobs.into_iter().map(|job| job.lane).collect())
}

/// Reports about replies to the person, and about nobody's that hold the number. One about somebody else's reply loses its
/// body.
async fn delete_events(
    connection: &mut PgConnection,
    jobs: &[i64],
    found: &[Uuid],
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let deleted = sqlx::query!(
        "DELETE FROM smshook.gateway_events WHERE job_id = ANY ($1) OR (id = ANY ($2) AND job_id IS NULL)",
        jobs,
        found
    )
    .execute(&mut *connection)
    .await?;
    erased.gateway_events = deleted.rows_affected();
    let emptied = sqlx::query!(
        "UPDATE smshook.gateway_events SET raw = '', error = NULL WHERE id = ANY ($1)",
        found
    )
    .execute(connection)
    .await?;
    erased.bodies_of_others += emptied.rows_affected();
    Ok(())
}

/// What a late copy is recognised by stays, and nothing else that could be anybody's.
async fn empty_messages(connection: &mut PgConnection, messages: &[Uuid]) -> Result<u64, StoreError> {
    let emptied = sqlx::query!(
        r#"
        UPDATE smshook.messages
        SET sender = 'erased', sender_raw = 'erased', sender_answerable = false, recipient_raw = recipient, text = '',
            raw = '', message_id = NULL, conversation_id = gen_random_uuid(), sent_at = NULL, rule = NULL,
            consent_event = NULL, consent_tier = NULL, consent_keyword = NULL, consent_language = NULL,
            gateway_rules = '{}', reference = NULL, device_id = NULL, tenant_id = NULL, tenant_name = NULL, media = NULL,
            missing_parts = NULL, text_chars = NULL, text_removed_at = coalesce(text_removed_at, now()), erased_at = now()
        WHERE id = ANY ($1)
        "#,
        messages
    )
    .execute(connection)
    .await?;
    Ok(emptied.rows_affected())
}

async fn empty_bodies_of_others(
    connection: &mut PgConnection,
    found: &Found,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let messages = sqlx::query!(
        "UPDATE smshook.messages SET raw = '' WHERE id = ANY ($1)",
        &listed(&found.other_messages)
    )
    .execute(&mut *connection)
    .await?;
    let (sets, parts): (Vec<Uuid>, Vec<i16>) = found.other_parts.iter().copied().unzip();
    let parts = sqlx::query!(
        r#"
        UPDATE smshook.parts p SET raw = ''
        FROM UNNEST($1::uuid[], $2::int2[]) AS o (set_id, part) WHERE p.set_id = o.set_id AND p.part = o.part
        "#,
        &sets,
        &parts
    )
    .execute(connection)
    .await?;
    erased.bodies_of_others += messages.rows_affected() + parts.rows_affected();
    Ok(())
}

async fn delete_deliveries(
    connection: &mut PgConnection,
    found: &Found,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let quarantined = sqlx::query!(
        "DELETE FROM smshook.quarantine WHERE id = ANY ($1)",
        &listed(&found.quarantined)
    )
    .execute(&mut *connection)
    .await?;
    erased.quarantined = quarantined.rows_affected();
    let refused = sqlx::query!(
        "DELETE FROM smshook.refused WHERE id = ANY ($1)",
        &listed(&found.refused)
    )
    .execute(connection)
    .await?;
    erased.refused = refused.rows_affected();
    Ok(())
}

/// Rows that name the number itself.
async fn delete_what_names(
    connection: &mut PgConnection,
    person: &Person,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let links = sqlx::query!("DELETE FROM smshook.links WHERE sender = ANY ($1)", &person.spellings)
        .execute(&mut *connection)
        .await?;
    erased.links = links.rows_affected();
    let trips = sqlx::query!(
        "DELETE FROM smshook.loop_trips WHERE number = ANY ($1)",
        &person.spellings
    )
    .execute(&mut *connection)
    .await?;
    erased.loop_trips = trips.rows_affected();
    // what another system said last may quote anything
    sqlx::query!(
        "UPDATE smshook.paused_actions SET reason = 'its credentials are refused' WHERE reason ~ $1",
        person.pattern
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Consent stays under the keyed hash, with what a dispute needs and a person is not known by.
async fn erase_consent(
    connection: &mut PgConnection,
    key: &ErasureKey,
    person: &Person,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let (number_key, hashed) = (person.key(), key.hashed(&person.key()));
    erased.opt_outs_kept = hash_opt_outs(connection, &number_key, &hashed).await?;
    erased.opt_outs_in_force = sqlx::query_scalar!(
        r#"SELECT count(*) AS "in_force!" FROM smshook.opt_outs WHERE number_key = $1 AND opted_in_at IS NULL"#,
        hashed
    )
    .fetch_one(&mut *connection)
    .await?
    .unsigned_abs();
    erased.consent_events_kept = hash_events(connection, person, &number_key, &hashed).await?;
    let given_up = sqlx::query_scalar!(
        r#"
        WITH given_up AS (
            SELECT id FROM smshook.notices WHERE number_key = $1 AND state IN ('waiting', 'running') ORDER BY id FOR UPDATE
        ), hashed AS (
            UPDATE smshook.notices n
            SET number_key = $2, claim = n.claim + 1,
                error = CASE WHEN n.id IN (SELECT id FROM given_up) THEN 'the person was erased before it was delivered' END,
                finished_at = coalesce(n.finished_at, now()),
                state = CASE WHEN n.id IN (SELECT id FROM given_up) THEN 'discarded' ELSE n.state END
            WHERE n.number_key = $1
        )
        SELECT count(*) AS "given_up!" FROM given_up
        "#,
        number_key,
        hashed,
    )
    .fetch_one(connection)
    .await?;
    erased.notices_given_up = given_up.unsigned_abs();
    Ok(())
}

/// Where one is in force under the hash already, because a process without the key has recorded another, that one goes on to
/// count and the other is told apart by its ID.
async fn hash_opt_outs(connection: &mut PgConnection, number_key: &str, hashed: &str) -> Result<u64, StoreError> {
    let kept = sqlx::query!(
        r#"
        UPDATE smshook.opt_outs o
        SET number_key = h.name, number = h.name, note = NULL
        FROM (
            SELECT p.id, CASE WHEN p.opted_in_at IS NULL AND EXISTS (
                SELECT FROM smshook.opt_outs k
                WHERE k.number_key = $2 AND k.suppression_group = p.suppression_group AND k.opted_in_at IS NULL)
                THEN $2 || ':' || p.id ELSE $2 END AS name
            FROM smshook.opt_outs p WHERE p.number_key = $1) h
        WHERE o.id = h.id
        "#,
        number_key,
        hashed,
    )
    .execute(connection)
    .await?;
    Ok(kept.rows_affected())
}

/// The events, and for each group that has any one more: that the person was erased.
async fn hash_events(
    connection: &mut PgConnection,
    person: &Person,
    number_key: &str,
    hashed: &str,
) -> Result<u64, StoreError> {
    may_change_evidence(connection).await?;
    let groups = sqlx::query_scalar!(
        r#"
        UPDATE smshook.consent_events
        SET number = $2, number_key = $2, words = NULL, note = NULL, recipient = NULL, reference = NULL, erased_at = now(),
            confirmation = CASE WHEN confirmation ~ $3 THEN 'erased' ELSE confirmation END
        WHERE number_key = $1
        RETURNING suppression_group
        "#,
        number_key,
        hashed,
        person.pattern,
    )
    .fetch_all(&mut *connection)
    .await?;
    let kept = groups.len() as u64;
    let groups: BTreeSet<String> = groups.into_iter().collect();
    sqlx::query!(
        r#"
        INSERT INTO smshook.consent_events (event, suppression_group, number, number_key, source, erased_at)
        SELECT 'erased', g, $2, $2, 'operator', now() FROM UNNEST($1::text[]) AS g
        "#,
        &listed(&groups),
        hashed,
    )
    .execute(connection)
    .await?;
    Ok(kept)
}

/// Says so for the rest of the transaction: without it a trigger refuses.
pub(super) async fn may_change_evidence(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT set_config('smshook.may_change_evidence', 'on', true) AS said")
        .fetch_one(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::{NumberFormat, normalise};

    fn person(number: &str) -> Option<Person> {
        Person::new(&normalise(number, &NumberFormat::E164))
    }

    #[test]
    fn a_person_has_a_number() {
        assert!(person("+15551230001").is_some());
        assert!(
            person("15551230001").is_some(),
            "digits that nobody could read as a number"
        );
        for other in ["12345", "AMAZON", "", "+1", "555-CALL"] {
            assert!(person(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_number_is_looked_for_by_the_digits_that_all_its_spellings_end_in() {
        let pattern = person("+14155550100").unwrap().pattern.replace(BETWEEN_DIGITS, "");
        assert_eq!(pattern, "(?:4155550100)(?![0-9])");
        let mexican = person("+5215512345678").unwrap();
        assert!(mexican.spellings.contains(&"525512345678".to_owned()));
        assert!(mexican.pattern.replace(BETWEEN_DIGITS, "").contains("5512345678"));
        // Niue: four digits behind the country's code would be found in too many bodies
        let short = person("+6834000").unwrap().pattern.replace(BETWEEN_DIGITS, "");
        assert_eq!(short, "(?:6834000)(?![0-9])");
    }

    #[test]
    fn a_person_is_not_shown_in_full() {
        assert_eq!(
            format!("{:?}", person("+14155550100").unwrap()),
            "Person(Address(number …0100))"
        );
    }
}
