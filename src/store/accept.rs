//! The batch writer: many deliveries per transaction, each acknowledged only after the commit.
//!
//! The writer takes whatever is queued the moment its connection is free: no artificial delay when idle, hundreds of messages
//! per commit under load. A delivery is all or nothing; a batch that Postgres refuses is written again one delivery at a
//! time, so that one bad row cannot fail its neighbours, and the refused one is kept in quarantine.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use super::events::{self, NewEvent};
use super::loop_guard::OurNumbers;
use super::nonces::{self, NewNonce};
use super::parts::{self, NewPart};
use super::{Store, StoreError, consent, queue, refused, retention};
use crate::consent::ConsentEvent;
use crate::message::{GatewayEvent, InboundMessage, Item, Part};
use crate::metrics::{EndpointLabel, Metrics};
use crate::phone::Address;
use crate::rules::{self, EndpointPolicy, PartPlan, Plan, Rulebook, Standing};

/// Deliveries written in one transaction at most: beyond this a commit gets slower, not the service faster.
const MOST_PER_BATCH: usize = 256;
/// Deliveries that may wait for a writer; beyond this we are overloaded and say so at once.
const MOST_WAITING: usize = 8192;

/// One verified, parsed and planned request.
#[derive(Debug)]
pub struct Delivery {
    /// The endpoint that received it.
    pub endpoint: Arc<str>,
    /// The body as verified.
    pub raw: Bytes,
    /// What it holds; never empty.
    pub items: Vec<PlannedItem>,
    /// False for what an observing endpoint took without a right signature.
    pub verified: bool,
    /// What must not come again with another payload, for a signature that does not cover the payload.
    pub nonce: Option<Nonce>,
    /// How long a part of a longer text waits for the others.
    pub part_wait: Duration,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether its texts are kept once their actions have run.
    pub keep_text: bool,
}

/// A value that a gateway uses once, and what it was used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce {
    /// SHA-256 of the value.
    pub digest: [u8; 32],
    /// SHA-256 of the payload that came with it: the same again is a retry.
    pub payload: [u8; 32],
    /// Until when it is remembered.
    pub keep_until: DateTime<Utc>,
    /// Whether other deliveries of the same moment may rightly have the same value.
    pub is_shared: bool,
}

/// Where a delivery comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// From the gateway, just now.
    Gateway,
    /// From this entry of the quarantine, read again.
    Quarantine(Uuid),
    /// From this delivery that was refused and kept, verified now.
    Refused(Uuid),
    /// From this set of parts, put together. The set's ID becomes the message's.
    Parts(Uuid),
}

/// One part of a delivery with what it causes.
#[derive(Debug)]
pub enum PlannedItem {
    /// An inbound text and its plan.
    Message(Box<InboundMessage>, Plan),
    /// A part of a longer text, and what it causes before the rest has come.
    Part(Box<InboundMessage>, PartPlan),
    /// Another event.
    Event(GatewayEvent),
    /// Unreadable, with the reason.
    Unreadable(String),
}

impl PlannedItem {
    /// Plans one item of a parsed delivery.
    pub fn of(item: Item, rulebook: &Rulebook, policy: &EndpointPolicy, standing: Standing) -> Self {
        match item {
            Item::Message(message) if message.part.as_ref().is_some_and(is_one_of_several) => {
                let plan = rules::plan_part(policy, &message, standing);
                Self::Part(message, plan)
            }
            Item::Message(message) => {
                let plan = rules::plan(rulebook, policy, &message, standing);
                Self::Message(message, plan)
            }
            Item::Event(event) => Self::Event(event),
            Item::Unreadable(reason) => Self::Unreadable(reason),
        }
    }
}

/// Anything else is taken for a whole text.
fn is_one_of_several(part: &Part) -> bool {
    part.total >= 2 && (1..=part.total).contains(&part.index)
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcceptedStatus {
    /// At least one message, or part of one, is new.
    Stored,
    /// Every message was known.
    Duplicate,
    /// It held no message but other events.
    Event,
    /// It could not be read and is kept.
    Quarantined,
}

impl AcceptedStatus {
    /// The word in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Event => "event",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A committed delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// What became of it.
    pub status: AcceptedStatus,
    /// The first message (for a part: the one that it will be part of), event or quarantine entry it became; `None` for a
    /// repeated event or unreadable delivery.
    pub id: Option<Uuid>,
}

/// Why a delivery is not known to be committed. The gateway must try again; a late commit is then a duplicate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AcceptError {
    /// Postgres cannot be reached.
    #[error("the database cannot be reached")]
    Unavailable,
    /// The commit took longer than the deadline.
    #[error("the commit took longer than the deadline")]
    Late,
    /// Too many deliveries wait for a writer.
    #[error("too many deliveries are waiting")]
    Overloaded,
    /// Its nonce was used before, for something else: not our fault, and no reason to try again.
    #[error("its nonce was used before for another payload")]
    Replayed,
}

/// Hands deliveries to the writer; cheap to clone. The writer ends when every clone is gone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    queue: mpsc::Sender<Waiting>,
    deadline: Duration,
    /// Only to look whether the database is there; the writer has its own.
    store: Store,
    closed_sets: Arc<Notify>,
}

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    answer: oneshot::Sender<Result<Accepted, AcceptError>>,
}

impl Acceptor {
    /// Starts the writer. `deadline` bounds each [`Acceptor::accept`].
    ///
    /// It has a thread and a connection of its own: a commit must not queue behind the requests that arrive meanwhile. One
    /// is enough: a second would halve the batches, and was measured to be slower.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: &Store, deadline: Duration, metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = store.pool().connect_options();
        let erasure_key = store.erasure_key().cloned();
        let metrics = Arc::clone(metrics);
        let closed_sets = Arc::new(Notify::new());
        let wake = Arc::clone(&closed_sets);
        let write = move || {
            runtime.block_on(async {
                let store = Store::new((*options).clone(), 1).with_erasure_key(erasure_key);
                let writer = Writer {
                    store: store.clone(),
                    waiting,
                    patience: deadline * 3,
                    metrics,
                    closed_sets: wake,
                    our_numbers: OurNumbers::default(),
                };
                writer.run().await;
                store.close().await;
            });
        };
        std::thread::Builder::new()
            .name("smshook-accept".to_owned())
            .spawn(write)?;
        Ok(Self {
            queue,
            deadline,
            store: store.clone(),
            closed_sets,
        })
    }

    /// Told whenever a text in parts became complete here: a hint, polling is the truth.
    pub fn closed_sets(&self) -> Arc<Notify> {
        Arc::clone(&self.closed_sets)
    }

    /// The database that it writes to.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Whether a delivery that came now could be committed in time, as far as can be told without writing.
    pub async fn ready(&self) -> bool {
        let takes_more = !self.queue.is_closed() && self.queue.capacity() > 0;
        takes_more
            && matches!(
                tokio::time::timeout(self.deadline, self.store.ready()).await,
                Ok(Ok(()))
            )
    }

    /// Commits a delivery with all it causes, or says that it may not be committed.
    ///
    /// # Errors
    /// [`AcceptError`]: answer 503, never 4xx; but [`AcceptError::Replayed`] is a signature that does not hold.
    pub async fn accept(&self, delivery: Delivery) -> Result<Accepted, AcceptError> {
        let (answer, committed) = oneshot::channel();
        match self.queue.try_send(Waiting { delivery, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(AcceptError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(AcceptError::Unavailable),
        }
        match tokio::time::timeout(self.deadline, committed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(AcceptError::Unavailable),
            Err(_) => Err(AcceptError::Late),
        }
    }
}

struct Writer {
    store: Store,
    waiting: mpsc::Receiver<Waiting>,
    patience: Duration,
    metrics: Arc<Metrics>,
    closed_sets: Arc<Notify>,
    our_numbers: OurNumbers,
}

impl Writer {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(MOST_PER_BATCH);
        loop {
            if self.waiting.recv_many(&mut batch, MOST_PER_BATCH).await == 0 {
                return;
            }
            // Nobody waits for these any more: their gateway was told to try again and will.
            batch.retain(|waiting: &Waiting| !waiting.answer.is_closed());
            if !batch.is_empty() {
                self.write(&mut batch).await;
            }
        }
    }

    async fn write(&self, batch: &mut Vec<Waiting>) {
        let started = Instant::now();
        self.metrics
            .batch_size
            .observe(f64::from(u16::try_from(batch.len()).unwrap_or(u16::MAX)));
        match self.commit(batch.as_slice()).await {
            Ok(accepted) => {
                self.metrics.accept_seconds.observe(started.elapsed().as_secs_f64());
                for (waiting, verdict) in batch.drain(..).zip(accepted) {
                    tell(waiting.answer, verdict);
                }
            }
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::warn!(error = %error, deliveries = batch.len(), "deliveries not stored, their gateways will try again");
                for waiting in batch.drain(..) {
                    tell(waiting.answer, Err(AcceptError::Unavailable));
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, deliveries = batch.len(), "a batch was refused, writing its deliveries one by one");
                for waiting in batch.drain(..) {
                    let result = self.write_alone(&waiting).await;
                    tell(waiting.answer, result);
                }
            }
        }
    }

    /// One delivery in its own transaction; what Postgres refuses is kept in quarantine.
    async fn write_alone(&self, waiting: &Waiting) -> Result<Accepted, AcceptError> {
        let alone = std::slice::from_ref(waiting);
        let refused = match self.commit(alone).await {
            Ok(verdicts) => return verdicts.first().copied().unwrap_or(Err(AcceptError::Unavailable)),
            Err(StoreError::Refused(error)) => format!("the database refused it: {}", super::describe(&error)),
            Err(error) => {
                tracing::error!(error = %error, "a delivery could not be stored");
                return Err(AcceptError::Unavailable);
            }
        };
        tracing::error!(endpoint = %waiting.delivery.endpoint, reason = %refused, "a delivery is kept in quarantine");
        let ids = self.quarantine(&waiting.delivery, &refused).await;
        let ids = ids.map_err(|_: StoreError| AcceptError::Unavailable)?;
        Ok(Accepted {
            status: AcceptedStatus::Quarantined,
            id: ids.first().copied().flatten(),
        })
    }

    /// Of a text put together, the parts stay where they are; it is not tried again.
    async fn quarantine(&self, delivery: &Delivery, reason: &str) -> Result<Vec<Option<Uuid>>, StoreError> {
        let entry = [Unreadable {
            endpoint: &delivery.endpoint,
            reason,
            raw: &delivery.raw,
            verified: delivery.verified,
        }];
        let mut transaction = self.store.pool().begin().await?;
        let ids = insert_quarantine(&mut transaction, &entry).await?;
        if let Origin::Parts(set) = delivery.origin {
            parts::take(&mut transaction, &[set]).await?;
        }
        transaction.commit().await?;
        Ok(ids)
    }

    /// One transaction. A database that hangs is left behind with its connection: whether it committed shows in the retry.
    async fn commit(&self, batch: &[Waiting]) -> Result<Vec<Verdict>, StoreError> {
        let mut connection = self.store.pool().acquire().await?;
        let writing = async {
            let written = write_batch(&mut connection, batch, &self.metrics, &self.store).await?;
            // Committed: whatever fails from here on, the deliveries are stored, and the next text to the number brings it again.
            if let Err(error) = self.our_numbers.learn(&mut connection, verified_texts(batch)).await {
                tracing::warn!(error = %error, "could not put on record which numbers are ours");
            }
            Ok::<_, StoreError>(written)
        };
        if let Ok(result) = tokio::time::timeout(self.patience, writing).await {
            let written = result?;
            if written.closed_sets {
                self.closed_sets.notify_one();
            }
            return Ok(written.verdicts);
        }
        drop(connection.detach());
        Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut))
    }
}

/// The texts of a batch that somebody has signed.
fn verified_texts(batch: &[Waiting]) -> impl Iterator<Item = &InboundMessage> {
    let deliveries = batch.iter().map(|waiting| &waiting.delivery);
    let items = deliveries
        .filter(|delivery| delivery.verified)
        .flat_map(|delivery| &delivery.items);
    items.filter_map(|item| match item {
        PlannedItem::Message(message, _) | PlannedItem::Part(message, _) => Some(&**message),
        PlannedItem::Event(_) | PlannedItem::Unreadable(_) => None,
    })
}

/// What is told to whoever waits for a delivery.
type Verdict = Result<Accepted, AcceptError>;

/// The other side may have gone: then nobody needs the answer.
fn tell(answer: oneshot::Sender<Verdict>, verdict: Verdict) {
    if answer.send(verdict).is_err() {
        tracing::debug!("a delivery was settled after its deadline");
    }
}

/// A message of the batch with everything computed that its rows need.
struct NewMessage<'a> {
    id: Uuid,
    delivery: usize,
    endpoint: &'a str,
    raw: &'a [u8],
    verified: bool,
    keep_text: bool,
    message: &'a InboundMessage,
    plan: &'a Plan,
    dedupe_key: [u8; 32],
    conversation_id: Uuid,
    /// Of a text put together: how many parts are missing.
    missing_parts: Option<i16>,
}

impl NewMessage<'_> {
    const fn is_of_parts(&self) -> bool {
        self.missing_parts.is_some()
    }
}

struct Unreadable<'a> {
    endpoint: &'a str,
    reason: &'a str,
    raw: &'a [u8],
    verified: bool,
}

/// The batch, turned from deliveries into rows by kind.
#[derive(Default)]
struct Rows<'a> {
    messages: Vec<NewMessage<'a>>,
    parts: Vec<NewPart<'a>>,
    events: Vec<NewEvent<'a>>,
    unreadable: Vec<Unreadable<'a>>,
    unreadable_of: Vec<usize>,
}

impl<'a> Rows<'a> {
    /// Without the deliveries whose verdict is known. `missing` tells of each set of parts how many it lacks.
    fn of(batch: &'a [Waiting], verdicts: &Verdicts, missing: &HashMap<Uuid, i16>) -> Self {
        let mut rows = Self {
            messages: Vec::with_capacity(batch.len()),
            ..Self::default()
        };
        for (index, waiting) in batch.iter().enumerate() {
            if verdicts.is_known(index) {
                continue;
            }
            let set = match waiting.delivery.origin {
                Origin::Parts(set) => missing.get(&set).map(|missing| (set, *missing)),
                Origin::Gateway | Origin::Quarantine(_) | Origin::Refused(_) => None,
            };
            for item in &waiting.delivery.items {
                rows.push(index, &waiting.delivery, item, set);
            }
        }
        rows
    }

    fn push(&mut self, index: usize, delivery: &'a Delivery, item: &'a PlannedItem, set: Option<(Uuid, i16)>) {
        let endpoint = &*delivery.endpoint;
        let raw = &*delivery.raw;
        let verified = delivery.verified;
        match item {
            PlannedItem::Message(message, plan) => self.messages.push(NewMessage {
                id: set.map_or_else(Uuid::now_v7, |(set, _)| set),
                delivery: index,
                endpoint,
                raw,
                verified,
                keep_text: delivery.keep_text,
                message,
                plan,
                dedupe_key: dedupe_key(message, verified, set.map(|(set, _)| set)),
                conversation_id: message.conversation_id(),
                missing_parts: set.map(|(_, missing)| missing),
            }),
            PlannedItem::Part(message, plan) => {
                if let Some(part) = &message.part {
                    self.parts.push(NewPart {
                        delivery: index,
                        endpoint,
                        raw,
                        verified,
                        keep_text: delivery.keep_text,
                        wait: delivery.part_wait,
                        message,
                        part,
                        plan,
                    });
                }
            }
            PlannedItem::Event(event) => self.events.push(NewEvent {
                delivery: index,
                endpoint,
                raw,
                verified,
                keep_raw: delivery.keep_text,
                event,
            }),
            PlannedItem::Unreadable(reason) => {
                self.unreadable.push(Unreadable {
                    endpoint,
                    reason,
                    raw,
                    verified,
                });
                self.unreadable_of.push(index);
            }
        }
    }
}

/// What nobody has signed has keys of its own kind: a forged message must not take the place of the genuine one.
fn dedupe_key(message: &InboundMessage, verified: bool, set: Option<Uuid>) -> [u8; 32] {
    match set {
        Some(set) => parts::dedupe_key_of_set(set),
        None if verified => message.dedupe_key(),
        None => parts::hash(&[b"unverified", &message.dedupe_key()]),
    }
}

/// What each delivery came to, the most telling part winning: a new message, a copy, an unreadable part, an event.
struct Verdicts(Vec<Option<Verdict>>);

impl Verdicts {
    fn note(&mut self, delivery: usize, status: AcceptedStatus, id: Option<Uuid>) {
        let rank = |status| match status {
            AcceptedStatus::Stored => 3,
            AcceptedStatus::Duplicate => 2,
            AcceptedStatus::Quarantined => 1,
            AcceptedStatus::Event => 0,
        };
        let Some(slot) = self.0.get_mut(delivery) else { return };
        let is_telling = match slot {
            None => true,
            Some(Ok(known)) => rank(status) > rank(known.status),
            Some(Err(_)) => false,
        };
        if is_telling {
            *slot = Some(Ok(Accepted { status, id }));
        }
    }

    fn refuse(&mut self, delivery: usize, error: AcceptError) {
        if let Some(slot) = self.0.get_mut(delivery) {
            *slot = Some(Err(error));
        }
    }

    fn is_known(&self, delivery: usize) -> bool {
        self.0.get(delivery).is_some_and(Option::is_some)
    }

    /// One for each delivery. A delivery that holds nothing is an event that says nothing.
    fn finish(self) -> Vec<Verdict> {
        let nothing = Accepted {
            status: AcceptedStatus::Event,
            id: None,
        };
        self.0
            .into_iter()
            .map(|verdict| verdict.unwrap_or(Ok(nothing)))
            .collect()
    }
}

/// A committed batch.
struct Written {
    verdicts: Vec<Verdict>,
    /// Whether a text in parts can be put together now.
    closed_sets: bool,
}

async fn write_batch(
    connection: &mut PgConnection,
    batch: &[Waiting],
    metrics: &Metrics,
    store: &Store,
) -> Result<Written, StoreError> {
    let mut verdicts = Verdicts(vec![None; batch.len()]);
    let mut transaction = connection.begin().await?;
    consent::lock(&mut transaction, changes_of_consent(batch)).await?;
    refuse_replays(&mut transaction, batch, &mut verdicts).await?;
    let missing = take_sets(&mut transaction, batch, &mut verdicts).await?;
    let rows = Rows::of(batch, &verdicts, &missing);
    let mut behind = Vec::new();
    if !rows.messages.is_empty() {
        behind = accept_messages(&mut transaction, &rows.messages, &mut verdicts, metrics, store).await?;
    }
    let mut closed_sets = false;
    if !rows.parts.is_empty() {
        let kept = parts::accept(&mut transaction, &rows.parts, store).await?;
        for (part, kept) in rows.parts.iter().zip(kept) {
            verdicts.note(part.delivery, kept.status, Some(kept.set));
            closed_sets |= kept.closed_one;
        }
    }
    if !rows.events.is_empty() {
        let ids = events::accept(&mut transaction, &rows.events).await?;
        for (event, id) in rows.events.iter().zip(ids) {
            verdicts.note(event.delivery, AcceptedStatus::Event, id);
        }
    }
    if !rows.unreadable.is_empty() {
        let ids = insert_quarantine(&mut transaction, &rows.unreadable).await?;
        for (&delivery, id) in rows.unreadable_of.iter().zip(ids) {
            verdicts.note(delivery, AcceptedStatus::Quarantined, id);
        }
    }
    admit_all(&mut transaction, batch, &verdicts).await?;
    transaction.commit().await?;
    // Committed: whatever fails from here on, the deliveries are stored, and a worker's sweep finds what is forgotten.
    if let Err(error) = queue::promote_after_commit(connection, &behind).await {
        tracing::warn!(error = %error, "could not look again at lanes whose head may have ended");
    }
    Ok(Written {
        verdicts: verdicts.finish(),
        closed_sets,
    })
}

/// Whose consent a batch may change. Their locks come before any row's: whoever waits for one holds nothing that others of
/// the same mind need. Where nobody asks for anything there is no statement.
fn changes_of_consent(batch: &[Waiting]) -> impl Iterator<Item = (&str, &Address)> {
    let items = batch.iter().flat_map(|waiting| &waiting.delivery.items);
    items.filter_map(|item| match item {
        PlannedItem::Message(message, plan) if plan.consent.is_some() => Some((&*plan.group, &message.sender)),
        PlannedItem::Part(message, plan) if plan.opt_out.is_some() => Some((&*plan.group, &message.sender)),
        PlannedItem::Message(..) | PlannedItem::Part(..) | PlannedItem::Event(_) | PlannedItem::Unreadable(_) => None,
    })
}

/// Where no delivery has a nonce there is no statement.
async fn refuse_replays(
    connection: &mut PgConnection,
    batch: &[Waiting],
    verdicts: &mut Verdicts,
) -> Result<(), StoreError> {
    let mut nonces = Vec::new();
    for (delivery, Waiting { delivery: of, .. }) in batch.iter().enumerate() {
        nonces.extend(of.nonce.map(|nonce| NewNonce {
            delivery,
            endpoint: &of.endpoint,
            nonce,
        }));
    }
    for replayed in nonces::remember(connection, &nonces).await? {
        verdicts.refuse(replayed, AcceptError::Replayed);
    }
    Ok(())
}

/// Takes the sets of parts that this batch makes messages of; those that another process has made are copies. Where there is
/// none there is no statement.
async fn take_sets(
    connection: &mut PgConnection,
    batch: &[Waiting],
    verdicts: &mut Verdicts,
) -> Result<HashMap<Uuid, i16>, StoreError> {
    let set_of = |waiting: &Waiting| match waiting.delivery.origin {
        Origin::Parts(set) => Some(set),
        Origin::Gateway | Origin::Quarantine(_) | Origin::Refused(_) => None,
    };
    let sets: Vec<Uuid> = batch.iter().filter_map(set_of).collect();
    if sets.is_empty() {
        return Ok(HashMap::new());
    }
    let missing = parts::take(connection, &sets).await?;
    let mut free: HashSet<Uuid> = missing.keys().copied().collect();
    for (delivery, waiting) in batch.iter().enumerate() {
        if let Some(set) = set_of(waiting)
            && !free.remove(&set)
        {
            verdicts.note(delivery, AcceptedStatus::Duplicate, Some(set));
        }
    }
    Ok(missing)
}

/// Notes on what was kept that it has become a message now.
async fn admit_all(connection: &mut PgConnection, batch: &[Waiting], verdicts: &Verdicts) -> Result<(), StoreError> {
    for (waiting, verdict) in batch.iter().zip(&verdicts.0) {
        let Some(Ok(accepted)) = verdict else { continue };
        match waiting.delivery.origin {
            Origin::Quarantine(entry) if accepted.status != AcceptedStatus::Quarantined => {
                admit(connection, entry, accepted.id).await?;
            }
            Origin::Refused(entry) => refused::admit(connection, entry, accepted.id).await?,
            Origin::Quarantine(_) | Origin::Gateway | Origin::Parts(_) => {}
        }
        if let (false, Origin::Quarantine(entry) | Origin::Refused(entry)) =
            (waiting.delivery.keep_text, waiting.delivery.origin)
            && accepted.status != AcceptedStatus::Quarantined
        {
            retention::remove_admitted_body(connection, entry).await?;
        }
    }
    Ok(())
}

/// Returns the lanes in which a job was queued behind another.
async fn accept_messages(
    connection: &mut PgConnection,
    messages: &[NewMessage<'_>],
    verdicts: &mut Verdicts,
    metrics: &Metrics,
    store: &Store,
) -> Result<Vec<i64>, StoreError> {
    let new: HashSet<Uuid> = insert_messages(connection, messages).await?.into_iter().collect();
    let (fresh, copies): (Vec<_>, Vec<_>) = messages.iter().partition(|message| new.contains(&message.id));
    for message in &fresh {
        verdicts.note(message.delivery, AcceptedStatus::Stored, Some(message.id));
    }
    if !copies.is_empty() {
        for (copy, id) in copies.iter().zip(count_copies(connection, &copies).await?) {
            verdicts.note(copy.delivery, AcceptedStatus::Duplicate, id);
        }
    }
    warn_of_shared_ids(connection, &fresh, metrics).await?;
    let jobs = plan_jobs(connection, &fresh, store).await?;
    let queued = queue::insert(connection, &jobs).await?;
    if queued.claimable {
        queue::notify(connection).await?;
    }
    Ok(queued.behind)
}

/// Applies each message's consent change and lists the jobs of all.
async fn plan_jobs<'a>(
    connection: &mut PgConnection,
    fresh: &[&NewMessage<'a>],
    store: &Store,
) -> Result<Vec<queue::NewJob<'a>>, StoreError> {
    let mut jobs = Vec::with_capacity(fresh.len() * 2);
    for message in fresh {
        let consent = change_consent(connection, message, store).await?;
        let planned = message.plan.jobs.iter();
        jobs.extend(
            planned
                .filter(|job| consent.counts || !job.follows_consent)
                .filter_map(|job| {
                    queue::NewJob::of(
                        job,
                        message.id,
                        message.conversation_id,
                        message.message,
                        &message.plan.group,
                        consent.may_confirm,
                        store,
                    )
                }),
        );
    }
    Ok(jobs)
}

/// What a message's word about consent has come to.
struct Changed {
    /// Things are as was asked for: the actions that follow it run.
    counts: bool,
    /// It may be answered.
    may_confirm: bool,
}

impl Changed {
    const fn of(effect: consent::Effect) -> Self {
        Self {
            counts: effect.counts(),
            may_confirm: matches!(
                effect,
                consent::Effect::Began | consent::Effect::Lifted | consent::Effect::NotOptedOut
            ),
        }
    }
}

async fn change_consent(
    connection: &mut PgConnection,
    message: &NewMessage<'_>,
    store: &Store,
) -> Result<Changed, StoreError> {
    let nothing = Changed {
        counts: true,
        may_confirm: true,
    };
    let Some(decision) = &message.plan.consent else {
        return Ok(nothing);
    };
    let asked = consent::Asked {
        group: &message.plan.group,
        address: &message.message.sender,
        keys: store.keys_of(message.message.sender.key()),
        source: consent::Source::of(decision),
        at: message.message.sent_at,
        decision: Some(decision),
        rules_version: Some(&message.plan.rules_version),
        unconfirmed: message.plan.unconfirmed,
        note: None,
        message: Some(consent::Evidence {
            id: message.id,
            endpoint: message.endpoint,
            recipient: message.message.recipient.key(),
            words: message.keep_text.then_some(message.message.text.as_str()),
            verified: message.verified,
        }),
    };
    match decision.event {
        ConsentEvent::OptOut if message.is_of_parts() => opt_out_of_parts(connection, &asked, message.id).await,
        ConsentEvent::OptOut => Ok(Changed::of(consent::opt_out(connection, &asked).await?)),
        ConsentEvent::OptIn => Ok(Changed::of(consent::opt_in(connection, &asked).await?)),
        ConsentEvent::Review => {
            consent::ask_for_review(connection, &asked).await?;
            Ok(nothing)
        }
        ConsentEvent::Help => Ok(nothing),
    }
}

/// What a part has asked for was recorded when it came, and may have been lifted since: it is not recorded again.
async fn opt_out_of_parts(
    connection: &mut PgConnection,
    asked: &consent::Asked<'_>,
    set: Uuid,
) -> Result<Changed, StoreError> {
    let earlier = parts::opted_out(connection, set).await?;
    if earlier.in_a_part {
        return Ok(Changed {
            counts: earlier.in_force,
            may_confirm: earlier.in_force,
        });
    }
    Ok(Changed::of(consent::opt_out(connection, asked).await?))
}

/// Inserts the messages that are new and returns their IDs; the unique index decides, also against other processes.
async fn insert_messages(connection: &mut PgConnection, messages: &[NewMessage<'_>]) -> Result<Vec<Uuid>, StoreError> {
    let column = |get: &dyn Fn(&NewMessage<'_>) -> String| messages.iter().map(get).collect::<Vec<_>>();
    let optional = |get: &dyn Fn(&NewMessage<'_>) -> Option<String>| messages.iter().map(get).collect::<Vec<_>>();
    let ids: Vec<Uuid> = messages.iter().map(|m| m.id).collect();
    let keys: Vec<&[u8]> = messages.iter().map(|m| m.dedupe_key.as_slice()).collect();
    let conversations: Vec<Uuid> = messages.iter().map(|m| m.conversation_id).collect();
    let answerable: Vec<bool> = messages.iter().map(|m| m.message.sender.can_be_answered()).collect();
    let sent: Vec<Option<DateTime<Utc>>> = messages.iter().map(|m| m.message.sent_at).collect();
    let raw: Vec<&[u8]> = messages.iter().map(|m| m.raw).collect();
    let senders = column(&|m| m.message.sender.key().to_owned());
    let senders_raw = column(&|m| m.message.sender.raw().to_owned());
    let recipients = column(&|m| m.message.recipient.key().to_owned());
    let recipients_raw = column(&|m| m.message.recipient.raw().to_owned());
    let gateway_ids = optional(&|m| m.message.message_id.clone());
    let references = optional(&|m| m.message.reference.clone());
    let devices = optional(&|m| m.message.device_id.clone());
    let tenants = optional(&|m| m.message.tenant_id.clone());
    let tenant_names = optional(&|m| m.message.tenant_name.clone());
    let gateway_rules = optional(&|m| m.message.gateway_rule.clone());
    let more = MoreColumns::of(messages);
    let inserted = sqlx::query_scalar!(
        r#"
        INSERT INTO smshook.messages (id, endpoint, dedupe_key, conversation_id, sender, sender_raw, sender_answerable,
            recipient, recipient_raw, text, sent_at, message_id, reference, device_id, tenant_id, tenant_name,
            gateway_rules, rule, consent_event, consent_tier, consent_keyword, raw, verified, encrypted, media,
            missing_parts, consent_language, keep_text, text_chars, text_removed_at)
        SELECT m.id, m.endpoint, m.dedupe_key, m.conversation_id, m.sender, m.sender_raw, m.sender_answerable,
            m.recipient, m.recipient_raw, CASE WHEN m.is_over THEN '' ELSE m.text END, m.sent_at, m.message_id, m.reference,
            m.device_id, m.tenant_id, m.tenant_name, array_remove(ARRAY[m.gateway_rule], NULL), m.rule, m.consent_event,
            m.consent_tier, m.consent_keyword, CASE WHEN m.is_over THEN '' ELSE m.raw END, m.verified, m.encrypted,
            CASE WHEN NOT m.is_over THEN m.media END, m.missing_parts, m.consent_language, m.keep_text,
            CASE WHEN NOT m.keep_text THEN char_length(m.text) END, CASE WHEN m.is_over THEN now() END
        FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::uuid[], $5::text[], $6::text[], $7::bool[], $8::text[],
            $9::text[], $10::text[], $11::timestamptz[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
            $17::text[], $18::text[], $19::text[], $20::int2[], $21::text[], $22::bytea[], $23::bool[],
            $24::bool[], $25::jsonb[], $26::int2[], $27::text[], $28::bool[], $29::bool[])
            AS m (id, endpoint, dedupe_key, conversation_id, sender, sender_raw, sender_answerable, recipient,
            recipient_raw, text, sent_at, message_id, reference, device_id, tenant_id, tenant_name, gateway_rule, rule,
            consent_event, consent_tier, consent_keyword, raw, verified, encrypted, media, missing_parts, consent_language,
            keep_text, is_over)
        -- one order for every process, so that two batches with the same copies cannot wait for each other in a circle
        ORDER BY m.dedupe_key, m.id
        ON CONFLICT (endpoint, dedupe_key) DO NOTHING
        RETURNING id
        "#,
        &ids,
        &column(&|m| m.endpoint.to_owned()),
        &keys as &[&[u8]],
        &conversations,
        &senders,
        &senders_raw,
        &answerable,
        &recipients,
        &recipients_raw,
        &column(&|m| m.message.text.clone()),
        &sent as &[Option<DateTime<Utc>>],
        &gateway_ids as &[Option<String>],
        &references as &[Option<String>],
        &devices as &[Option<String>],
        &tenants as &[Option<String>],
        &tenant_names as &[Option<String>],
        &gateway_rules as &[Option<String>],
        &more.rules as &[Option<&str>],
        &more.events as &[Option<&str>],
        &more.tiers as &[Option<i16>],
        &more.keywords as &[Option<String>],
        &raw as &[&[u8]],
        &more.verified,
        &more.encrypted,
        &more.media as &[Option<Value>],
        &more.missing_parts as &[Option<i16>],
        &more.languages as &[Option<&str>],
        &more.keep_text,
        &more.is_over,
    )
    .fetch_all(connection)
    .await?;
    Ok(inserted)
}

/// What messages say about consent, and what is known of them besides the text: one column each.
#[derive(Default)]
struct MoreColumns<'a> {
    rules: Vec<Option<&'a str>>,
    events: Vec<Option<&'static str>>,
    tiers: Vec<Option<i16>>,
    keywords: Vec<Option<String>>,
    verified: Vec<bool>,
    encrypted: Vec<bool>,
    media: Vec<Option<Value>>,
    missing_parts: Vec<Option<i16>>,
    languages: Vec<Option<&'static str>>,
    keep_text: Vec<bool>,
    /// Nothing is to be done with the text, and it is not to be kept.
    is_over: Vec<bool>,
}

impl<'a> MoreColumns<'a> {
    fn of(messages: &[NewMessage<'a>]) -> Self {
        let mut columns = Self::default();
        for new in messages {
            let decision = new.plan.consent.as_ref();
            columns.rules.push(new.plan.rule.as_deref());
            columns.events.push(decision.map(|decision| decision.event.as_str()));
            columns.tiers.push(decision.map(|decision| i16::from(decision.tier)));
            columns
                .keywords
                .push(decision.map(|decision| decision.keyword.clone().into_owned()));
            columns.verified.push(new.verified);
            columns.encrypted.push(new.message.encrypted);
            columns.media.push(parts::media_to_json(&new.message.media));
            columns.missing_parts.push(new.missing_parts);
            columns.languages.push(decision.and_then(|decision| decision.language));
            columns.keep_text.push(new.keep_text);
            columns.is_over.push(!new.keep_text && new.plan.jobs.is_empty());
        }
        columns
    }
}

/// Counts copies on the message they are copies of and merges the gateway rules they name. In the order of `copies`.
async fn count_copies(
    connection: &mut PgConnection,
    copies: &[&NewMessage<'_>],
) -> Result<Vec<Option<Uuid>>, StoreError> {
    let endpoints: Vec<String> = copies.iter().map(|m| m.endpoint.to_owned()).collect();
    let keys: Vec<&[u8]> = copies.iter().map(|m| m.dedupe_key.as_slice()).collect();
    let rules: Vec<Option<String>> = copies.iter().map(|m| m.message.gateway_rule.clone()).collect();
    let counted = sqlx::query!(
        r#"
        UPDATE smshook.messages m
        SET duplicates = m.duplicates + d.copies,
            last_duplicate_at = now(),
            gateway_rules = m.gateway_rules || ARRAY(
                SELECT r FROM UNNEST(d.rules) AS r WHERE r <> ALL (m.gateway_rules) ORDER BY r)
        FROM (
            SELECT c.endpoint, c.dedupe_key, count(*)::int4 AS copies,
                   coalesce(array_agg(DISTINCT c.rule) FILTER (WHERE c.rule IS NOT NULL), '{}') AS rules
            FROM UNNEST($1::text[], $2::bytea[], $3::text[]) AS c (endpoint, dedupe_key, rule)
            GROUP BY c.endpoint, c.dedupe_key
        ) d
        WHERE m.endpoint = d.endpoint AND m.dedupe_key = d.dedupe_key
        RETURNING m.id, m.endpoint, m.dedupe_key
        "#,
        &endpoints,
        &keys as &[&[u8]],
        &rules as &[Option<String>],
    )
    .fetch_all(connection)
    .await?;
    let known: HashMap<(&str, &[u8]), Uuid> = counted
        .iter()
        .map(|row| ((row.endpoint.as_str(), row.dedupe_key.as_slice()), row.id))
        .collect();
    Ok(copies
        .iter()
        .map(|m| known.get(&(m.endpoint, m.dedupe_key.as_slice())).copied())
        .collect())
}

/// A gateway's ID that another text already carries: both are kept, and somebody should know.
async fn warn_of_shared_ids(
    connection: &mut PgConnection,
    fresh: &[&NewMessage<'_>],
    metrics: &Metrics,
) -> Result<(), StoreError> {
    let named: Vec<_> = fresh.iter().filter(|m| m.message.message_id.is_some()).collect();
    if named.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = named.iter().map(|m| m.id).collect();
    let endpoints: Vec<String> = named.iter().map(|m| m.endpoint.to_owned()).collect();
    let gateway_ids: Vec<String> = named.iter().filter_map(|m| m.message.message_id.clone()).collect();
    let shared = sqlx::query!(
        r#"
        SELECT n.id AS "id!", n.endpoint AS "endpoint!"
        FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS n (id, endpoint, message_id)
        WHERE EXISTS (
            SELECT FROM smshook.messages o
            WHERE o.message_id = n.message_id AND o.endpoint = n.endpoint AND o.id <> n.id)
        "#,
        &ids,
        &endpoints,
        &gateway_ids,
    )
    .fetch_all(connection)
    .await?;
    for row in shared {
        tracing::warn!(endpoint = %row.endpoint, message.id = %row.id, "two different texts carry one message ID of the gateway, both are kept");
        metrics
            .id_collisions
            .get_or_create(&EndpointLabel { endpoint: row.endpoint })
            .inc();
    }
    Ok(())
}

/// Keeps what could not be read; a repeated delivery is counted on its entry.
async fn insert_quarantine(
    connection: &mut PgConnection,
    unreadable: &[Unreadable<'_>],
) -> Result<Vec<Option<Uuid>>, StoreError> {
    let mut ids = Vec::with_capacity(unreadable.len());
    for entry in unreadable {
        let mut hash = Sha256::new();
        hash.update(entry.raw);
        if !entry.verified {
            hash.update(b"unverified");
        }
        let digest = hash.finalize();
        let id = sqlx::query_scalar!(
            r#"
            INSERT INTO smshook.quarantine (id, endpoint, reason, raw_sha256, raw, verified)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (endpoint, raw_sha256) DO UPDATE SET duplicates = quarantine.duplicates + 1
            RETURNING id
            "#,
            Uuid::now_v7(),
            entry.endpoint,
            entry.reason,
            digest.as_slice(),
            entry.raw,
            entry.verified,
        )
        .fetch_one(&mut *connection)
        .await?;
        ids.push(Some(id));
    }
    Ok(ids)
}

async fn admit(connection: &mut PgConnection, entry: Uuid, message: Option<Uuid>) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE smshook.quarantine SET admitted_at = now(), admitted_as = $2 WHERE id = $1 AND admitted_at IS NULL",
        entry,
        message
    )
    .execute(connection)
    .await?;
    Ok(())
}
