//! `smshook serve`: receive messages and run their jobs until told to stop.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::failure::Failure;
use super::{endpoint, output};
use crate::app::{self, Ended, Running};
use crate::config::{self, Config};
use crate::telemetry;

/// Returns when a signal has ended the service.
pub(super) async fn run(config: Option<&Path>) -> Result<(), Failure> {
    make_secrets(config)?;
    let loaded = endpoint::load(config)?;
    let as_json = logs_as_json()?;
    for warning in &loaded.warnings {
        output::note(&format!("{warning}\n"));
    }
    telemetry::init(as_json, endpoint::environment("RUST_LOG").as_deref());
    let config = Arc::new(loaded.config);
    let running = app::start(Arc::clone(&config)).await?;
    announce(&config, &running);
    match running.serve_until_signal().await? {
        Ended::Gently => Ok(()),
        Ended::AtOnce => Err(anyhow::anyhow!("stopped at once: jobs in flight run again when their leases end").into()),
    }
}

/// Secrets that the configuration leaves to us exist before it is read.
fn make_secrets(config: Option<&Path>) -> Result<(), Failure> {
    for path in config::generated_secrets(&config::locate(config), &endpoint::environment) {
        let made = config::ensure_generated_secret(&path)
            .with_context(|| format!("making the secret file `{}`", path.display()))?;
        if made {
            output::note(&format!(
                "made a webhook secret in `{}`: give its content to the gateway",
                path.display()
            ));
        }
    }
    Ok(())
}

fn logs_as_json() -> Result<bool, Failure> {
    match endpoint::environment("SMSHOOK_LOG").as_deref() {
        None | Some("" | "text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err(Failure::usage(
            "SMSHOOK_LOG is neither `text` nor `json`",
            "set it to `json`, or not at all",
        )),
    }
}

fn announce(config: &Config, running: &Running) {
    for endpoint in &config.endpoints {
        let public_url = config
            .server
            .public_url
            .as_ref()
            .map(|_| endpoint::base_url(config) + &endpoint.path);
        let url = public_url.unwrap_or_else(|| format!("http://{}{}", running.public, endpoint.path));
        tracing::info!(endpoint = %endpoint.name, gateway = %endpoint.gateway.name, url, "receiving");
    }
    tracing::info!(url = %format_args!("http://{}", running.admin), database = %running.psql, "ready");
    if config.is_default {
        output::note(
            "no config.toml: running with built-in settings; `smshook send --text hours` sends a sample message",
        );
    }
}
