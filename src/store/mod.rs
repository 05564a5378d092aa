//! All SQL. Everything else asks this room, in the words of the domain.
//!
//! Public functions own their transaction; inner helpers take a connection. Inserts look at what they inserted instead of
//! asking first; every change of a job's state names the state and claim it expects. The database's clock is the only clock
//! for queue times. It must not know HTTP, templates or what an action does.

mod accept;
mod awaited;
mod consent;
mod diagnose;
mod erase;
mod erasure_key;
mod events;
mod evidence;
mod last_look;
mod links;
mod loop_guard;
mod nonces;
mod notices;
mod observe;
mod operate;
mod parts;
mod pauses;
mod provider;
mod queue;
mod refused;
mod retention;
mod sends;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use accept::{AcceptError, Accepted, AcceptedStatus, Acceptor, Delivery, Nonce, Origin, PlannedItem};
pub use consent::{ConsentChange, Effect, Source};
pub use diagnose::{JobCount, SchemaFacts, ServerFacts};
pub use erase::{Erased, Person};
pub use erasure_key::ErasureKey;
pub use events::Report;
pub use evidence::{
    ConsentEventRow, ConsentRecord, Imported, InForce, ListedOptOut, OptOut, OptOutPages, OptOutRow, ReviewRow,
    SentRow, Standing,
};
pub use last_look::{Hold, LastLook};
pub use links::{ActionResult, Link, LinkChange, LinkKind, Turn};
pub use loop_guard::{Guard, LoopLimits, SameText, Withheld};
pub use nonces::MOST_NONCES_PER_ENDPOINT;
pub use notices::{
    ChangeOfConsent, ClaimedNotice, NOTICE_WRITTEN, NoticeEnd, NoticeSettlement, NoticesLeft, SettledNotice,
};
pub use operate::{AttemptRow, EventRow, JobFilter, JobRow, MessageRow, QuarantineRow, QuarantinedDelivery, ReplyRow};
pub use parts::{ClosedPart, ClosedSet};
pub use pauses::PausedAction;
pub use queue::{Claimed, Lane, Settlement, Want};
pub use refused::{KeptDelivery, RefusedDelivery, RefusedLimits, RefusedRow};
pub use retention::Position;
pub use sends::SendGate;

/// Every schema change, in order; forward only.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The channel that says there is work. A hint: polling is the truth.
pub const JOBS_CHANNEL: &str = "smshook_jobs";

/// What can go wrong between us and Postgres.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres cannot be reached, or is too slow.
    #[error("the database cannot be reached: {}", describe(.0))]
    Unavailable(#[source] sqlx::Error),
    /// Postgres refused the data itself; sending it again cannot help.
    #[error("the database refused the data: {}", describe(.0))]
    Refused(#[source] sqlx::Error),
    /// Anything else: a bug, a missing table, a lost race that a retry may win.
    #[error("the database could not do it: {}", describe(.0))]
    Other(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the migrations failed: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// People were erased under another key: whom they are is not known here.
    #[error(
        "people were erased under another `privacy.erasure_key` than this process has, so it cannot tell who has opted out: \
         configure that key again"
    )]
    OtherErasureKey,
    /// A row is nonsense.
    #[error("table `{table}` holds something this version does not know: {what}")]
    Inconsistent {
        /// Which table.
        table: &'static str,
        /// What was found.
        what: String,
    },
}

impl StoreError {
    /// Of a database that does not answer in the time that the caller has.
    pub const fn hangs() -> Self {
        Self::Unavailable(sqlx::Error::PoolTimedOut)
    }
}

/// An error of Postgres without the row it concerns: `DETAIL` may quote a text or a number, the code and message do not.
fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => {
            let code = db.code().unwrap_or_default();
            match db.constraint() {
                Some(constraint) => format!("SQLSTATE {code}, constraint {constraint}"),
                None if code.starts_with("22") => format!("SQLSTATE {code}"),
                None => format!("SQLSTATE {code}: {}", db.message()),
            }
        }
        sqlx::Error::Io(io) => io.to_string(),
        sqlx::Error::PoolTimedOut => "no connection was free in time".to_owned(),
        sqlx::Error::PoolClosed => "the pool is closed".to_owned(),
        other => other.to_string(),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match sqlstate_class(&error) {
            Some("23") if queue::is_lane_taken(&error) => Self::Other(error),
            Some("22" | "23" | "54") => Self::Refused(error),
            Some("08" | "53" | "57") => Self::Unavailable(error),
            Some(_) => Self::Other(error),
            None if matches!(error, sqlx::Error::Encode(_)) => Self::Refused(error),
            None if matches!(error, sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }) => Self::Other(error),
            None => Self::Unavailable(error),
        }
    }
}

/// The first two characters of the SQLSTATE: Postgres' own classes of error (manual, appendix A).
fn sqlstate_class(error: &sqlx::Error) -> Option<&'static str> {
    let code = error.as_database_error()?.code()?;
    Some(match code.get(..2) {
        Some("22") => "22",
        Some("23") => "23",
        Some("54") => "54",
        Some("08") => "08",
        Some("53") => "53",
        Some("57") => "57",
        Some("40") => "40",
        _ => "other",
    })
}

/// What others wrote, as Postgres can hold it: U+0000 becomes U+FFFD.
fn storable_text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`storable_text`], for every name and text in a value.
fn storable(value: &Value) -> Cow<'_, Value> {
    if holds_nul(value) {
        Cow::Owned(without_nul(value))
    } else {
        Cow::Borrowed(value)
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn without_nul(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable_text(text).into_owned()),
        Value::Array(items) => items.iter().map(without_nul).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (storable_text(name).into_owned(), without_nul(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    erasure_key: Option<ErasureKey>,
}

impl Store {
    /// A handle on connections that are opened when first needed.
    pub fn new(options: PgConnectOptions, max_connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(3))
            .after_connect(|connection, _| Box::pin(prepare_session(connection)))
            .connect_lazy_with(options.application_name("smshook"));
        Self::from_pool(pool)
    }

    /// A handle on a pool that exists.
    pub const fn from_pool(pool: PgPool) -> Self {
        Self {
            pool,
            erasure_key: None,
        }
    }

    /// The same, knowing under which key erased people are kept.
    #[must_use]
    pub fn with_erasure_key(self, erasure_key: Option<ErasureKey>) -> Self {
        Self { erasure_key, ..self }
    }

    /// That key.
    pub const fn erasure_key(&self) -> Option<&ErasureKey> {
        self.erasure_key.as_ref()
    }

    /// The pool, for the listener and for tests.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Brings the schema up to date; several processes may do so at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(MIGRATIONS.run(&self.pool).await?)
    }

    /// Whether a message could be stored now.
    pub async fn ready(&self) -> Result<(), StoreError> {
        // a column of the latest migration: before it has run, messages of now cannot be stored
        sqlx::query!("SELECT keep_text FROM smshook.messages LIMIT 1")
            .fetch_optional(&self.pool)
            .await?;
        Ok(())
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What every connection of ours is set to. A server or role that sets `synchronous_commit = off` would acknowledge what a
/// power cut can take back. And our statements are the same plan whatever their arrays hold: planning anew costs more than
/// running.
async fn prepare_session(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT set_config('plan_cache_mode', 'force_generic_plan', false) AS plans,
               CASE WHEN current_setting('synchronous_commit') = 'off'
                    THEN set_config('synchronous_commit', 'on', false) END AS commits
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
