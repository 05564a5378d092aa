//! `smshook serve`: receive messages and run their jobs until told to stop.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::failure::Failure;
use super::{endpoint, output};
use crate::app::{self, Ended, Running, Signals};
use crate::config::{self, Config, Endpoint, SecretSource};
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
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        started = app::start(Arc::clone(&config)) => started?,
        // What has been started by then, the embedded Postgres above all, stops as it is dropped.
        () = signals.next() => return Ok(()),
    };
    announce(&config, &running);
    if config.is_default && !as_json {
        output::note(&next_steps(&config, &running));
    }
    match running.serve_until_signal(&mut signals).await? {
        Ended::Gently => Ok(()),
        Ended::AtOnce => Err(anyhow::anyhow!("stopped at once: jobs in flight run again when their leases end").into()),
    }
}

/// Secrets that the configuration leaves to us exist before it is read.
fn make_secrets(config: Option<&Path>) -> Result<(), Failure> {
    let Ok(loaded) = config::load(&config::locate(config), &endpoint::environment) else {
        // Reading it again says what is wrong with it.
        return Ok(());
    };
    for path in loaded.generated_secrets {
        let made = config::ensure_generated_secret(&path)
            .with_context(|| format!("making the secret file `{}`", path.display()))?;
        if !made {
            continue;
        }
        let file = path.display();
        output::note(&if loaded.erasure_key_file.as_ref() == Some(&path) {
            format!("made the key of `smshook erase` in `{file}`: back it up with the database, and apart from it")
        } else {
            format!("made a webhook secret in `{file}`: give its content to the gateway")
        });
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
        let url = url(config, running, endpoint);
        tracing::info!(endpoint = %endpoint.name, gateway = %endpoint.gateway.name, url, "receiving");
    }
    let Running {
        public, admin, psql, ..
    } = running;
    if running.is_ready {
        tracing::info!(%public, %admin, database = %psql, "ready");
    } else {
        tracing::warn!(%public, %admin, database = %psql, "listening, and waiting for the database");
    }
}

/// Where the gateway delivers to.
fn url(config: &Config, running: &Running, endpoint: &Endpoint) -> String {
    match config.server.public_url {
        Some(_) => endpoint::base_url(config) + &endpoint.path,
        None => format!("http://{}{}", running.public, endpoint.path),
    }
}

/// For somebody who started smshook for the first time: what there is, and what to do with it.
fn next_steps(config: &Config, running: &Running) -> String {
    // As it was called: a build that is not in the PATH is called by its path.
    let program = std::env::args().next().unwrap_or_else(|| "smshook".to_owned());
    let mut lines = vec![
        String::new(),
        "smshook runs with built-in settings, for want of a config.toml:".to_owned(),
    ];
    for endpoint in &config.endpoints {
        let url = url(config, running, endpoint);
        lines.push(format!("  give the gateway this URL     {url}"));
        for source in &endpoint.secret_sources {
            if let SecretSource::Generated(path) = source {
                lines.push(format!("  and the secret in this file   {}", path.display()));
            }
        }
        let elsewhere = if config.server.listen.port() == 0 {
            format!(" --url {url}")
        } else {
            String::new()
        };
        lines.push(format!(
            "  send a sample message         {program} send --text \"hours\" --from +15551230001{elsewhere}"
        ));
    }
    lines.push(format!("  see what became of it         {program} jobs list"));
    lines.push(format!("  be a phone, with replies      {program} phone"));
    lines.push(format!(
        "  look at the data              {} -c 'select * from v1.messages'",
        running.psql
    ));
    lines.push(format!(
        "  is all well?                  http://{}/readyz",
        running.admin
    ));
    lines.push(String::new());
    lines.join("\n")
}
