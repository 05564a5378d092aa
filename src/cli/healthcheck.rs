//! `smshook healthcheck`: whether the running service is alive, for images that have neither a shell nor `curl`.

use std::path::Path;

use super::endpoint;
use super::failure::Failure;
use crate::actions::local;

/// Silent when all is well.
pub(super) async fn run(config: Option<&Path>) -> Result<(), Failure> {
    let loaded = endpoint::load(config)?;
    let url = format!("http://{}/healthz", endpoint::reachable(loaded.config.admin.listen));
    let answer = local::get(&url)
        .await
        .map_err(|error| anyhow::Error::new(error).context(format!("asking `{url}`")))?;
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("`{url}` answered {}", answer.status.as_u16()).into())
    }
}
