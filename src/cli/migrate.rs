//! `smshook migrate`: brings the schema up to date, for deployments that do so apart from `serve`.

use std::path::Path;

use super::failure::Failure;
use super::{database, output};

/// Prints that it is done.
pub(super) async fn run(config: Option<&Path>) -> Result<(), Failure> {
    let database = database::open(config).await?;
    let done = database.store.migrate().await.map_err(database::failed);
    let closed = database.close().await;
    done.and(closed)?;
    output::print("the schema is up to date")
}
