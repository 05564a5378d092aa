//! The two listeners: the public one, where gateways deliver, and the admin one, for health, metrics and the
//! question whether a number may be texted.
//!
//! Both run on one accept loop ([`server`]) that bounds everything a stranger can make us hold: connections, heads, bodies,
//! and the time for each. No other room knows axum or hyper. This room must not know SQL, gateways' wording or what
//! actions do, and it never writes a header, a body or a number into a log.

pub mod admin;
mod api;
mod body;
mod connection;
mod failure;
mod plan;
mod request_line;
mod self_test;
pub mod server;
mod stand_in;
pub mod webhook;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use admin::AdminState;
pub use failure::{cause, other_secrets};
pub use plan::{Labels, plan};
pub use self_test::{SelfTest, self_test_body};
pub use server::{Limits, bind, raise_open_files};
pub use stand_in::{Heard, StandInRoute, serve_stand_in};
pub use webhook::WebhookState;

/// Serves the public listener until `shutdown`, and returns when the requests in flight are answered or the grace is over.
///
/// # Errors
/// None today: a failing `accept` is waited out. The signature leaves room for a listener that cannot recover.
pub async fn serve_public(
    listener: TcpListener,
    state: Arc<WebhookState>,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    server::serve(listener, webhook::router(state, limits), limits, shutdown).await
}

/// Serves the admin listener until `shutdown`.
///
/// # Errors
/// As [`serve_public`].
pub async fn serve_admin(listener: TcpListener, state: Arc<AdminState>, shutdown: CancellationToken) -> io::Result<()> {
    let limits = Limits {
        max_connections: 64,
        ..Limits::default()
    };
    server::serve(listener, admin::router(state), limits, shutdown).await
}
