//! Runs a command with `DATABASE_URL` naming a migrated scratch database on a private server that ends with the command.
//!
//! For `scripts/sqlx-prepare.sh` and for trying things out; it must never be pointed at data that matters.
//! It takes the room `embedded_postgres` by path instead of the library: the library may be what does not compile now.
#![expect(clippy::print_stderr, reason = "a tool for the shell")]

#[path = "../src/embedded_postgres/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::enum_variant_names,
    reason = "a part of the room is used here, and nothing of it is public"
)]
mod embedded_postgres;

use std::process::{Command, ExitCode};

use anyhow::Context as _;
use embedded_postgres::{EmbeddedPostgres, Settings};
use sqlx::{ConnectOptions as _, Connection as _};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: scratch_database COMMAND [ARGUMENT ...]");
        return Ok(ExitCode::from(2));
    };
    let root = std::env::temp_dir().join(format!("smshook-scratch-{}", std::process::id()));
    let settings = Settings {
        durable: false,
        ..Settings::new(&root)
    };
    let server = tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&settings)).await??;
    let mut connection = server.connect_options("postgres").connect().await?;
    sqlx::migrate::Migrator::new(std::path::Path::new("migrations"))
        .await?
        .run(&mut connection)
        .await?;
    connection.close().await?;
    let status = Command::new(&program)
        .args(arguments)
        .env("DATABASE_URL", server.url("postgres"))
        .status()
        .with_context(|| format!("could not run {}", program.display()))?;
    tokio::task::spawn_blocking(move || server.stop(std::time::Duration::from_secs(10))).await??;
    std::fs::remove_dir_all(&root).context("could not remove the scratch server's directory")?;
    Ok(ExitCode::from(
        status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}
