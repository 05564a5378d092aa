//! Logs: one line per request and one per attempt, on standard error.
//!
//! `RUST_LOG` filters, `SMSHOOK_LOG=json` changes the form. It must never be given a text, a number, a secret or a header:
//! what is logged is decided where it is logged, and this room cannot take it back.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. Only the first call of a process counts.
pub fn init(json: bool, filter: Option<&str>) {
    let filter = EnvFilter::new(filter.unwrap_or("info,sqlx=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal());
    let started = if json {
        builder.json().flatten_event(true).finish().try_init()
    } else {
        builder.finish().try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
