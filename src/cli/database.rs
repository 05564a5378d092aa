//! The database for commands that look at it or change it, beside a service that may be running.

use std::path::Path;

use super::endpoint;
use super::failure::Failure;
use crate::app;
use crate::config::Config;
use crate::store::{Store, StoreError};

/// An open database and the configuration that names it.
pub(super) struct Database {
    /// The way in.
    pub(super) store: Store,
    /// The configuration.
    pub(super) config: Config,
    opened: app::Database,
}

/// Reads the configuration and opens its database. Nothing is migrated: looking must not change anything.
pub(super) async fn open(config: Option<&Path>) -> Result<Database, Failure> {
    let config = endpoint::load(config)?.config;
    let opened = app::Database::open_beside(&config).await?;
    Ok(Database {
        store: opened.store.clone(),
        config,
        opened,
    })
}

impl Database {
    /// Closes it; an embedded server that was started for this command stops again.
    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.opened.close().await?)
    }
}

/// A failure of the database, with what to do about the two usual ones.
pub(super) fn failed(error: StoreError) -> Failure {
    let hint = match &error {
        StoreError::Unavailable(_) => Some("is the database running, and is `database.url` (or DATABASE_URL) right?"),
        // `undefined_table` and `invalid_schema_name` (PostgreSQL manual, appendix A).
        StoreError::Other(_) if ["42P01", "3F000"].iter().any(|code| error.to_string().contains(code)) => {
            Some("`smshook migrate` (or the first `smshook serve`) makes the tables")
        }
        _ => None,
    };
    // Its own words say it all; those of the driver beneath would say it again, and may quote a row.
    let said = anyhow::Error::msg(error);
    match hint {
        Some(hint) => Failure::hinted(said, hint),
        None => Failure::from(said),
    }
}
