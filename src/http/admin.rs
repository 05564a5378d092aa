//! The admin listener: is it alive, can it accept, what does it count; and the API beside it.
//!
//! It must not show a message or a secret, or a number that it was not asked about, and must not run on the public listener.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use super::api;
use crate::metrics::Metrics;
use crate::store::Store;

/// What the admin listener needs of the rest of the process.
pub struct AdminState {
    /// The database.
    pub store: Store,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What every path but `/healthz` asks for, if anything.
    pub token: Option<SecretString>,
    /// Every suppression group of the configuration; at least one.
    pub groups: Vec<String>,
    /// Cancelled when the public listener begins to drain: a load balancer should look elsewhere before it closes.
    pub stopping: CancellationToken,
}

/// How long the database may take to prove that it can accept. Health checks commonly give up after a second or two.
const READY_TIME: Duration = Duration::from_secs(1);
/// How long reading the gauges may take before the scrape goes without. Prometheus gives up after 10 s by default.
const OBSERVE_TIME: Duration = Duration::from_secs(3);
/// Above what any page of ours takes.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Above what any form of ours sends.
const BODY_BYTES: usize = 64 * 1024;

/// The admin listener's service.
pub fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/opt-outs/{number}", get(api::may_text))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), authorize))
        // After the token's layer, so not under it: whoever restarts the process must not need a secret to see it live.
        .route("/healthz", get(async || "ok"))
        .with_state(state)
        .layer(RequestBodyLimitLayer::new(BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIME,
        ))
}

async fn authorize(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    match &state.token {
        Some(token) if !presents(request.headers(), token) => {
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether the request carries the token (RFC 6750, 2.1).
fn presents(headers: &HeaderMap, token: &SecretString) -> bool {
    let presented = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let Some((scheme, presented)) = presented.and_then(|value| value.split_at_checked("Bearer ".len())) else {
        return false;
    };
    // Digests have one length, so that the comparison does not tell the token's.
    let same = Sha256::digest(presented).ct_eq(&Sha256::digest(token.expose_secret()));
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(same)
}

async fn readyz(State(state): State<Arc<AdminState>>) -> (StatusCode, &'static str) {
    if state.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    match tokio::time::timeout(READY_TIME, state.store.ready()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(error)) => {
            // At debug: a check comes every few seconds, and what is wrong with the database is logged where it is met.
            tracing::debug!(target: "smshook::http", %error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database is not available\n")
        }
        Err(_elapsed) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database did not answer within a second\n",
        ),
    }
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    // A scrape is most wanted when the database is away: the counters are ours, only the gauges stay as they were, and
    // `database_up` says so.
    let observed = tokio::time::timeout(OBSERVE_TIME, state.store.observe(&state.metrics)).await;
    let is_up = matches!(observed, Ok(Ok(())));
    state.metrics.database_up.set(i64::from(is_up));
    match observed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(target: "smshook::http", %error, "metrics without the database's part"),
        Err(_elapsed) => tracing::warn!(target: "smshook::http", "metrics without the database's part: it is too slow"),
    }
    match state.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_unwritable) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
