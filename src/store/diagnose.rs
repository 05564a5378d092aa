//! What `smshook doctor` asks of the database: who answers, whether the schema fits this binary, what waits for a person.
//!
//! Reads only: looking must not change anything. It does not judge: what is worth a warning is the doctor's business.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{MIGRATIONS, Store, StoreError, consent};

/// The server that answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerFacts {
    /// Its version, such as `17.6`.
    pub version: String,
    /// Its clock.
    pub now: DateTime<Utc>,
    /// Whether it takes no writes: a standby, or set to read only.
    pub read_only: bool,
}

/// The schema as it is, beside the schema as this binary has it. Everything empty: it is up to date.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchemaFacts {
    /// Versions that this binary has and the database has not.
    pub pending: Vec<i64>,
    /// Versions that the database has and this binary has not.
    pub unknown: Vec<i64>,
    /// Versions that began and did not end well, or whose text was another when they were applied.
    pub broken: Vec<i64>,
}

/// Jobs of one action that are alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobCount {
    /// The action.
    pub action: String,
    /// How many.
    pub jobs: i64,
    /// Since when the oldest of them is so, in seconds.
    pub seconds: i64,
}

impl Store {
    /// The server's version and clock.
    pub async fn server_facts(&self) -> Result<ServerFacts, StoreError> {
        Ok(sqlx::query_as!(
            ServerFacts,
            r#"
            SELECT current_setting('server_version') AS "version!", clock_timestamp() AS "now!",
                   (pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on') AS "read_only!"
            "#
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// How the schema differs from this binary's.
    pub async fn schema_facts(&self) -> Result<SchemaFacts, StoreError> {
        let ours: BTreeMap<i64, &[u8]> = MIGRATIONS
            .iter()
            .filter(|migration| !migration.migration_type.is_down_migration())
            .map(|migration| (migration.version, &*migration.checksum))
            .collect();
        let is_there = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "is_there!""#)
            .fetch_one(&self.pool)
            .await?;
        let mut facts = SchemaFacts {
            pending: ours.keys().copied().collect(),
            ..SchemaFacts::default()
        };
        if !is_there {
            return Ok(facts);
        }
        let applied = sqlx::query!("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&self.pool)
            .await?;
        for row in applied {
            facts.pending.retain(|&version| version != row.version);
            match ours.get(&row.version) {
                None => facts.unknown.push(row.version),
                Some(&checksum) if !row.success || checksum != row.checksum => facts.broken.push(row.version),
                Some(_) => {}
            }
        }
        Ok(facts)
    }

    /// Tables of ours that this account may not both read and write.
    pub async fn closed_tables(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT c.relname::text AS "name!"
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'smshook' AND c.relkind IN ('r', 'p')
              AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                       AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE'))
            ORDER BY 1
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Jobs that wait for a person, by action.
    pub async fn discarded_jobs(&self) -> Result<Vec<JobCount>, StoreError> {
        Ok(sqlx::query_as!(
            JobCount,
            r#"
            SELECT action, count(*) AS "jobs!", extract(epoch FROM now() - min(finished_at))::int8 AS "seconds!"
            FROM smshook.jobs WHERE state = 'discarded' GROUP BY action ORDER BY action
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Jobs that are due and that nobody has begun, by action.
    pub async fn due_jobs(&self) -> Result<Vec<JobCount>, StoreError> {
        Ok(sqlx::query_as!(
            JobCount,
            r#"
            SELECT action, count(*) AS "jobs!", extract(epoch FROM now() - min(run_at))::int8 AS "seconds!"
            FROM smshook.jobs WHERE state IN ('available', 'running') AND run_at <= now() GROUP BY action ORDER BY action
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Deliveries that could not be read and were not admitted since.
    pub async fn quarantine_size(&self) -> Result<i64, StoreError> {
        Ok(
            sqlx::query_scalar!(r#"SELECT count(*) AS "entries!" FROM smshook.quarantine WHERE admitted_at IS NULL"#)
                .fetch_one(&self.pool)
                .await?,
        )
    }

    /// Whether a number, however it is spelt, has opted out of a suppression group's texts.
    pub async fn has_opted_out(&self, group: &str, number: &str) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        consent::is_opted_out(&mut connection, group, &self.keys_of(number)).await
    }
}
