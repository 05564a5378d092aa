//! Texts that come in parts: each part durable when it arrives, put together when the last one has come or the wait is over.
//!
//! A set is open (takes parts), closed (takes none any more) and then assembled (it has become the message with its ID).
//! Only closed sets are assembled, so a part that arrives meanwhile never waits for a message, nor the other way round.
//! Joining the texts and planning what follows is not this file's work.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

use super::accept::AcceptedStatus;
use super::{Store, StoreError, consent, storable};
use crate::consent::{ConsentEvent, Decision};
use crate::message::{AnsweredEvent, Dedupe, GatewayAnswer, InboundMessage, Media, Part};
use crate::phone::{Address, Kind};
use crate::rules::PartPlan;

/// A part of the batch.
pub(super) struct NewPart<'a> {
    pub(super) delivery: usize,
    pub(super) endpoint: &'a str,
    pub(super) raw: &'a [u8],
    pub(super) verified: bool,
    pub(super) wait: Duration,
    pub(super) message: &'a InboundMessage,
    pub(super) part: &'a Part,
    pub(super) plan: &'a PartPlan,
    pub(super) keep_text: bool,
}

/// What became of a part, and of its set.
pub(super) struct Kept {
    pub(super) status: AcceptedStatus,
    pub(super) set: Uuid,
    pub(super) closed_one: bool,
}

/// A set that takes no parts any more and is not a message yet.
#[derive(Clone, Debug)]
pub struct ClosedSet {
    /// Its ID, which becomes the message's.
    pub id: Uuid,
    /// The endpoint that received it.
    pub endpoint: String,
    /// Whether its parts verified.
    pub verified: bool,
    /// The parts that came, in the order of the text; never empty.
    pub parts: Vec<ClosedPart>,
}

/// A part of such a set.
#[derive(Clone, Debug)]
pub struct ClosedPart {
    /// What came; its `part` says which it is.
    pub message: InboundMessage,
    /// The opt-out in it, in force since it came.
    pub opt_out: Option<Decision>,
    /// The body it came in.
    pub raw: Bytes,
}

impl NewPart<'_> {
    /// What the parts of one text have in common.
    fn set_key(&self) -> [u8; 32] {
        hash(&[
            self.endpoint.as_bytes(),
            &[u8::from(self.verified)],
            self.message.sender.key().as_bytes(),
            self.message.recipient.key().as_bytes(),
            self.part.reference.as_bytes(),
            &[self.part.total],
        ])
    }

    /// By what copies of this part are recognised: the message's key knows which part it is.
    fn dedupe_key(&self) -> [u8; 32] {
        hash(&[
            self.endpoint.as_bytes(),
            &[u8::from(self.verified)],
            &self.message.dedupe_key(),
        ])
    }
}

/// The key of the message that a set becomes: as unique as the set.
pub(super) fn dedupe_key_of_set(set: Uuid) -> [u8; 32] {
    hash(&[b"parts", set.as_bytes()])
}

/// SHA-256 over pieces, each behind its length, so that no two lists share an input.
pub(super) fn hash(pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.finalize().into()
}

/// The files that came with a text, as stored.
pub(super) fn media_to_json(media: &[Media]) -> Option<Value> {
    let file = |media: &Media| json!({ "url": media.url, "content_type": media.content_type });
    let list: Value = media.iter().map(file).collect();
    (!media.is_empty()).then(|| storable(&list).into_owned())
}

fn media_of_json(media: &Value) -> Vec<Media> {
    let text = |file: &Value, name: &str| file.get(name).and_then(Value::as_str).map(str::to_owned);
    let file = |file: &Value| {
        text(file, "url").map(|url| Media {
            url,
            content_type: text(file, "content_type"),
        })
    };
    media.as_array().into_iter().flatten().filter_map(file).collect()
}

/// Keeps the parts of a batch, each in the open set of its text, and records the opt-outs in them. In the order of `parts`.
pub(super) async fn accept(
    connection: &mut PgConnection,
    parts: &[NewPart<'_>],
    store: &Store,
) -> Result<Vec<Kept>, StoreError> {
    let keys: Vec<[u8; 32]> = parts.iter().map(NewPart::set_key).collect();
    take_turns(connection, &keys).await?;
    let mut kept = Vec::with_capacity(parts.len());
    for (new, key) in parts.iter().zip(&keys) {
        let one = keep(connection, new, key).await?;
        if let (AcceptedStatus::Stored, Some(decision)) = (one.status, &new.plan.opt_out) {
            opt_out(connection, new, one.set, decision, store).await?;
        }
        kept.push(one);
    }
    Ok(kept)
}

/// Parts of one text are kept one at a time, also by several processes; in one order for all of them.
async fn take_turns(connection: &mut PgConnection, keys: &[[u8; 32]]) -> Result<(), StoreError> {
    let number = |key: &[u8; 32]| {
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *key;
        i64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
    };
    let mut turns: Vec<i64> = keys.iter().map(number).collect();
    turns.sort_unstable();
    turns.dedup();
    lock_in_order(connection, &turns).await
}

/// Takes advisory locks, held to the end of the transaction, in the order given.
pub(super) async fn lock_in_order(connection: &mut PgConnection, locks: &[i64]) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(l) FROM UNNEST($1::int8[]) AS l", locks)
        .fetch_all(connection)
        .await?;
    Ok(())
}

async fn keep(connection: &mut PgConnection, new: &NewPart<'_>, key: &[u8; 32]) -> Result<Kept, StoreError> {
    let dedupe_key = new.dedupe_key();
    if let Some(set) = count_copy(connection, &dedupe_key).await? {
        return Ok(Kept {
            status: AcceptedStatus::Duplicate,
            set,
            closed_one: false,
        });
    }
    let mut set = open(connection, new, key).await?;
    let mut closed_one = false;
    match text_at(connection, set, new.part.index).await? {
        Some(text) if text == new.message.text => {
            count_copy_at(connection, set, new.part.index).await?;
            return Ok(Kept {
                status: AcceptedStatus::Duplicate,
                set,
                closed_one,
            });
        }
        Some(_) => {
            // The gateway has begun its references anew: what came before is another text.
            close(connection, &[set]).await?;
            closed_one = true;
            set = open(connection, new, key).await?;
        }
        None => {}
    }
    insert(connection, new, set, &dedupe_key).await?;
    closed_one |= close_if_complete(connection, set).await?;
    Ok(Kept {
        status: AcceptedStatus::Stored,
        set,
        closed_one,
    })
}

async fn count_copy(connection: &mut PgConnection, dedupe_key: &[u8; 32]) -> Result<Option<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        "UPDATE smshook.parts SET duplicates = duplicates + 1 WHERE dedupe_key = $1 RETURNING set_id",
        dedupe_key.as_slice()
    )
    .fetch_optional(connection)
    .await?)
}

async fn count_copy_at(connection: &mut PgConnection, set: Uuid, index: u8) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE smshook.parts SET duplicates = duplicates + 1 WHERE set_id = $1 AND part = $2",
        set,
        i16::from(index)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The open set of this text, held until the end of the transaction: nobody closes it meanwhile.
async fn open(connection: &mut PgConnection, new: &NewPart<'_>, key: &[u8; 32]) -> Result<Uuid, StoreError> {
    let (sender, recipient) = (&new.message.sender, &new.message.recipient);
    Ok(sqlx::query_scalar!(
        r#"
        INSERT INTO smshook.part_sets
            (id, endpoint, verified, set_key, sender, sender_kind, recipient, recipient_kind, reference, total, due_at,
            keep_text)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + make_interval(secs => $11), $12)
        ON CONFLICT (set_key) WHERE closed_at IS NULL DO UPDATE SET set_key = excluded.set_key
        RETURNING id
        "#,
        Uuid::now_v7(),
        new.endpoint,
        new.verified,
        key.as_slice(),
        sender.key(),
        sender.kind().as_str(),
        recipient.key(),
        recipient.kind().as_str(),
        new.part.reference,
        i16::from(new.part.total),
        new.wait.as_secs_f64(),
        new.keep_text,
    )
    .fetch_one(connection)
    .await?)
}

async fn text_at(connection: &mut PgConnection, set: Uuid, index: u8) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar!(
        "SELECT text FROM smshook.parts WHERE set_id = $1 AND part = $2",
        set,
        i16::from(index)
    )
    .fetch_optional(connection)
    .await?)
}

async fn insert(
    connection: &mut PgConnection,
    new: &NewPart<'_>,
    set: Uuid,
    dedupe_key: &[u8; 32],
) -> Result<(), StoreError> {
    let message = new.message;
    let answered = message.answered.as_ref();
    let opt_out = new.plan.opt_out.as_ref();
    sqlx::query!(
        r#"
        INSERT INTO smshook.parts (set_id, part, dedupe_key, message_id, sender_raw, recipient_raw, text, sent_at,
            reference, device_id, tenant_id, tenant_name, gateway_rule, encrypted, media, answered_event, answered_word,
            opt_out_tier, opt_out_keyword, raw, opt_out_language)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        "#,
        set,
        i16::from(new.part.index),
        dedupe_key.as_slice(),
        message.message_id,
        message.sender.raw(),
        message.recipient.raw(),
        message.text,
        message.sent_at,
        message.reference,
        message.device_id,
        message.tenant_id,
        message.tenant_name,
        message.gateway_rule,
        message.encrypted,
        media_to_json(&message.media),
        answered.map(|answered| event_word(answered.event)),
        answered.map(|answered| answered.word.as_str()),
        opt_out.map(|decision| i16::from(decision.tier)),
        opt_out.map(|decision| &*decision.keyword),
        new.raw,
        opt_out.and_then(|decision| decision.language),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Closed sets take no parts any more and are due at once.
async fn close(connection: &mut PgConnection, sets: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        UPDATE smshook.part_sets SET closed_at = now(), due_at = least(due_at, now())
        WHERE id = ANY ($1) AND closed_at IS NULL
        "#,
        sets
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn close_if_complete(connection: &mut PgConnection, set: Uuid) -> Result<bool, StoreError> {
    let closed = sqlx::query!(
        r#"
        UPDATE smshook.part_sets s SET closed_at = now(), due_at = least(s.due_at, now())
        WHERE s.id = $1 AND s.closed_at IS NULL
          AND s.total <= (SELECT count(*) FROM smshook.parts p WHERE p.set_id = s.id)
        "#,
        set
    )
    .execute(connection)
    .await?;
    Ok(closed.rows_affected() == 1)
}

/// Under the ID of the message that the set becomes.
async fn opt_out(
    connection: &mut PgConnection,
    new: &NewPart<'_>,
    set: Uuid,
    decision: &Decision,
    store: &Store,
) -> Result<(), StoreError> {
    let asked = consent::Asked {
        group: &new.plan.group,
        address: &new.message.sender,
        keys: store.keys_of(new.message.sender.key()),
        source: consent::Source::of(decision),
        at: new.message.sent_at,
        decision: Some(decision),
        rules_version: Some(&new.plan.rules_version),
        unconfirmed: new.plan.unconfirmed,
        note: None,
        message: Some(consent::Evidence {
            id: set,
            endpoint: new.endpoint,
            recipient: new.message.recipient.key(),
            words: new.keep_text.then_some(new.message.text.as_str()),
            verified: new.verified,
        }),
    };
    consent::opt_out(connection, &asked).await?;
    Ok(())
}

/// What an opt-out in a part has come to by now.
pub(super) struct OptedOut {
    /// A part asked for it, and it was recorded then.
    pub(super) in_a_part: bool,
    /// What this set asked for began an opt-out that is still in force: it may be confirmed.
    pub(super) in_force: bool,
}

/// Whether a part of this set has opted out.
pub(super) async fn opted_out(connection: &mut PgConnection, set: Uuid) -> Result<OptedOut, StoreError> {
    Ok(sqlx::query_as!(
        OptedOut,
        r#"
        SELECT EXISTS (SELECT FROM smshook.parts WHERE set_id = $1 AND opt_out_tier IS NOT NULL) AS "in_a_part!",
               EXISTS (SELECT FROM smshook.opt_outs WHERE message_id = $1 AND opted_in_at IS NULL) AS "in_force!"
        "#,
        set
    )
    .fetch_one(connection)
    .await?)
}

/// Marks sets as put together and returns how many parts each lacks; those that another process was quicker with are left
/// out.
pub(super) async fn take(connection: &mut PgConnection, sets: &[Uuid]) -> Result<HashMap<Uuid, i16>, StoreError> {
    let taken = sqlx::query!(
        r#"
        UPDATE smshook.part_sets s SET assembled_at = now(), closed_at = coalesce(s.closed_at, now())
        FROM (SELECT id FROM smshook.part_sets WHERE id = ANY ($1) AND assembled_at IS NULL ORDER BY id FOR UPDATE) t
        WHERE s.id = t.id
        RETURNING s.id, (s.total - (SELECT count(*) FROM smshook.parts p WHERE p.set_id = s.id))::int2 AS "missing!"
        "#,
        sets
    )
    .fetch_all(connection)
    .await?;
    Ok(taken.into_iter().map(|row| (row.id, row.missing)).collect())
}

const fn event_word(event: AnsweredEvent) -> &'static str {
    match event {
        AnsweredEvent::OptOut => "opt_out",
        AnsweredEvent::OptIn => "opt_in",
        AnsweredEvent::Help => "help",
    }
}

fn event_of_word(word: &str) -> Option<AnsweredEvent> {
    [AnsweredEvent::OptOut, AnsweredEvent::OptIn, AnsweredEvent::Help]
        .into_iter()
        .find(|event| event_word(*event) == word)
}

/// A part with its set, as stored.
struct PartRow {
    set_id: Uuid,
    endpoint: String,
    verified: bool,
    sender: String,
    sender_kind: String,
    recipient: String,
    recipient_kind: String,
    part_reference: String,
    total: i16,
    part: i16,
    message_id: Option<String>,
    sender_raw: String,
    recipient_raw: String,
    text: String,
    sent_at: Option<DateTime<Utc>>,
    reference: Option<String>,
    device_id: Option<String>,
    tenant_id: Option<String>,
    tenant_name: Option<String>,
    gateway_rule: Option<String>,
    encrypted: bool,
    media: Option<Value>,
    answered_event: Option<String>,
    answered_word: Option<String>,
    opt_out_tier: Option<i16>,
    opt_out_keyword: Option<String>,
    opt_out_language: Option<String>,
    raw: Vec<u8>,
}

fn address(raw: String, key: String, kind: &str) -> Result<Address, StoreError> {
    let kind = Kind::from_stored(kind).ok_or_else(|| StoreError::Inconsistent {
        table: "part_sets",
        what: format!("kind of address `{kind}`"),
    })?;
    Ok(Address::stored(raw, key, kind))
}

impl TryFrom<PartRow> for ClosedPart {
    type Error = StoreError;

    fn try_from(row: PartRow) -> Result<Self, StoreError> {
        let number = |number: i16| u8::try_from(number).unwrap_or_default();
        let answered = row.answered_event.as_deref().and_then(event_of_word);
        let message = InboundMessage {
            message_id: row.message_id,
            sender: address(row.sender_raw, row.sender, &row.sender_kind)?,
            recipient: address(row.recipient_raw, row.recipient, &row.recipient_kind)?,
            text: row.text,
            sent_at: row.sent_at,
            unread_time: None,
            reference: row.reference,
            device_id: row.device_id,
            tenant_id: row.tenant_id,
            tenant_name: row.tenant_name,
            gateway_rule: row.gateway_rule,
            media: row.media.as_ref().map(media_of_json).unwrap_or_default(),
            encrypted: row.encrypted,
            answered: answered
                .zip(row.answered_word)
                .map(|(event, word)| GatewayAnswer { event, word }),
            part: Some(Part {
                reference: row.part_reference,
                total: number(row.total),
                index: number(row.part),
            }),
            dedupe: Dedupe::Id,
        };
        let opt_out = row
            .opt_out_tier
            .zip(row.opt_out_keyword)
            .map(|(tier, keyword)| Decision {
                event: ConsentEvent::OptOut,
                tier: number(tier),
                keyword: keyword.into(),
                language: row.opt_out_language.as_deref().and_then(crate::consent::language),
            });
        Ok(Self {
            message,
            opt_out,
            raw: Bytes::from(row.raw),
        })
    }
}

impl Store {
    /// Sets of these endpoints that are complete or past their wait, the longest due first, closed from now on. Several
    /// processes may get the same one: [`super::Origin::Parts`] lets one of them make the message.
    pub async fn due_sets(&self, endpoints: &[String], limit: i64) -> Result<Vec<ClosedSet>, StoreError> {
        let due = sqlx::query_scalar!(
            r#"
            SELECT id FROM smshook.part_sets
            WHERE assembled_at IS NULL AND due_at <= now() AND endpoint = ANY ($1) ORDER BY due_at, id LIMIT $2
            "#,
            endpoints,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        // committed before anything is put together: a part that comes from here on opens another set
        close(&mut *self.pool.acquire().await?, &due).await?;
        self.closed_sets(&due).await
    }

    async fn closed_sets(&self, ids: &[Uuid]) -> Result<Vec<ClosedSet>, StoreError> {
        let rows = sqlx::query_as!(
            PartRow,
            r#"
            SELECT p.set_id, s.endpoint, s.verified, s.sender, s.sender_kind, s.recipient, s.recipient_kind,
                   s.reference AS part_reference, s.total, p.part, p.message_id, p.sender_raw, p.recipient_raw, p.text,
                   p.sent_at, p.reference, p.device_id, p.tenant_id, p.tenant_name, p.gateway_rule, p.encrypted, p.media,
                   p.answered_event, p.answered_word, p.opt_out_tier, p.opt_out_keyword, p.opt_out_language, p.raw
            FROM smshook.part_sets s JOIN smshook.parts p ON p.set_id = s.id
            WHERE s.id = ANY ($1) AND s.assembled_at IS NULL AND s.closed_at IS NOT NULL
            ORDER BY s.due_at, s.id, p.part
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        let mut sets: Vec<ClosedSet> = Vec::new();
        for row in rows {
            let (id, endpoint, verified) = (row.set_id, row.endpoint.clone(), row.verified);
            let part = ClosedPart::try_from(row)?;
            match sets.last_mut() {
                Some(set) if set.id == id => set.parts.push(part),
                _ => sets.push(ClosedSet {
                    id,
                    endpoint,
                    verified,
                    parts: vec![part],
                }),
            }
        }
        Ok(sets)
    }

    /// Endpoints other than these with sets that are due, and how many each has.
    pub async fn sets_of_other_endpoints(&self, endpoints: &[String]) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"
            SELECT endpoint, count(*) AS "sets!" FROM smshook.part_sets
            WHERE assembled_at IS NULL AND due_at <= now() AND endpoint <> ALL ($1) GROUP BY endpoint
            "#,
            endpoints
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.endpoint, row.sets)).collect())
    }
}
