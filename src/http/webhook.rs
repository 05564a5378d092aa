//! The receive path: one request from a gateway, from its path to its acknowledgement.
//!
//! Read, verify, parse, plan, store, answer: all on the request's own task, and in this order. What fails on our side is a
//! 503, never a 4xx: several gateways drop a message for ever on any 4xx. Why a signature failed goes into the log, never
//! into the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use chrono::Utc;
use uuid::Uuid;

use super::body::{self, BodyError};
use super::self_test::{self, SelfTest};
use super::server::{Limits, Overload};
use crate::config::{Config, Endpoint, Mode};
use crate::gateway::Ack;
use crate::metrics::Metrics;
use crate::rules::Standing;
use crate::signature::{self, AllowUnsigned, Proof, Received, Refusal, VerifiedBody};
use crate::store::{AcceptError, Accepted, AcceptedStatus, Acceptor, Delivery, Origin, PlannedItem};

/// What the receive path needs of the rest of the process.
pub struct WebhookState {
    config: Arc<Config>,
    /// By path, byte for byte: a path is an address, not a pattern.
    inlets: HashMap<String, Inlet>,
    acceptor: Acceptor,
    metrics: Arc<Metrics>,
}

/// What every delivery to one endpoint carries, made once.
struct Inlet {
    /// The endpoint's place in the configuration.
    place: usize,
    name: Arc<str>,
    suppression_group: Arc<str>,
}

impl WebhookState {
    /// Serves the endpoints of `config`, storing through `acceptor`.
    pub fn new(config: Arc<Config>, acceptor: Acceptor, metrics: Arc<Metrics>) -> Self {
        let inlet = |(place, endpoint): (usize, &Endpoint)| {
            let (name, suppression_group) = (
                endpoint.name.as_str().into(),
                endpoint.suppression_group.as_str().into(),
            );
            (
                endpoint.path.clone(),
                Inlet {
                    place,
                    name,
                    suppression_group,
                },
            )
        };
        let inlets = config.endpoints.iter().enumerate().map(inlet).collect();
        Self {
            config,
            inlets,
            acceptor,
            metrics,
        }
    }

    fn find(&self, path: &str) -> Option<(&Inlet, &Endpoint)> {
        let inlet = self.inlets.get(path)?;
        Some((inlet, self.config.endpoints.get(inlet.place)?))
    }
}

/// The public listener's service.
pub fn router(state: Arc<WebhookState>, limits: Limits) -> Router {
    // No routes: axum's path patterns would give `{` and `*` of a configured path a meaning, and a 404 needs its log line.
    Router::new()
        .fallback(move |State(state): State<Arc<WebhookState>>, request| receive(state, limits, request))
        .with_state(state)
}

/// What became of a request; the words of the log and of the metric `requests`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Accepted(AcceptedStatus),
    /// `smshook doctor` asked whether the way here is clear: nothing was stored.
    SelfTest,
    NotFound,
    MethodNotAllowed,
    Refused,
    TooLarge,
    Timeout,
    Broken,
    Unavailable,
    /// The connection ended before the answer.
    Abandoned,
    /// The handler panicked.
    Bug,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted(status) => status.as_str(),
            Self::SelfTest => self_test::WORD,
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Unavailable => "unavailable",
            Self::Abandoned => "abandoned",
            Self::Bug => "bug",
        }
    }
}

/// An answer and what it means.
struct Answer {
    outcome: Outcome,
    response: Response,
    reason: Option<&'static str>,
    message_id: Option<Uuid>,
}

impl Answer {
    const fn new(outcome: Outcome, response: Response) -> Self {
        Self {
            outcome,
            response,
            reason: None,
            message_id: None,
        }
    }

    const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }
}

async fn receive(state: Arc<WebhookState>, limits: Limits, request: Request) -> Response {
    let mut line = RequestLine::begin(Arc::clone(&state.metrics));
    let Some((inlet, endpoint)) = state.find(request.uri().path()) else {
        return line.end(Answer::new(Outcome::NotFound, bare(StatusCode::NOT_FOUND)));
    };
    line.endpoint = Some(Arc::clone(&inlet.name));
    if request.method() != Method::POST {
        return line.end(Answer::new(Outcome::MethodNotAllowed, method_not_allowed()));
    }
    if request.extensions().get::<Overload>().is_some() {
        return line.end(unavailable("too_many_connections"));
    }
    let (head, body) = request.into_parts();
    let answer = match body::read(body, limits.body_bytes, limits.body_time).await {
        Ok(body) => {
            line.bytes = body.len();
            let received = Received {
                method: &head.method,
                url: &endpoint.url,
                query: head.uri.query(),
                headers: &head.headers,
                body: &body,
                at: Utc::now().timestamp_millis(),
            };
            match verify(endpoint, &received) {
                Ok(verified) => {
                    if let Proof::Secret(place) = verified.proof() {
                        line.secret = Some(place + 1);
                    }
                    match self_test::nonce(verified.bytes()) {
                        None => store(&state, endpoint, plan(&state, inlet, endpoint, &verified)).await,
                        Some(nonce) => self_tested(nonce, state.acceptor.ready().await),
                    }
                }
                Err(refusal) => refused(endpoint, refusal),
            }
        }
        Err(error) => without_body(error),
    };
    line.end(answer)
}

/// Commits a delivery and acknowledges it; or neither.
async fn store(state: &WebhookState, endpoint: &Endpoint, delivery: Delivery) -> Answer {
    match state.acceptor.accept(delivery).await {
        Ok(accepted) => acknowledged(&endpoint.gateway.ack, accepted),
        // The one place where a local spool steps in: verified, and not in the database. Until it has it on disk: 503.
        Err(AcceptError::Unavailable) => unavailable("database_unavailable"),
        Err(AcceptError::Late) => unavailable("commit_too_slow"),
        Err(AcceptError::Overloaded) => unavailable("queue_full"),
        Err(AcceptError::Replayed) => refused(endpoint, Refusal::Replayed),
    }
}

fn verify(endpoint: &Endpoint, received: &Received<'_>) -> Result<VerifiedBody, Refusal> {
    match &endpoint.keys {
        Some(keys) => signature::verify(&endpoint.gateway.signature, keys, received),
        // Without a secret yet: nothing can verify.
        None if endpoint.mode != Mode::Enforce => Err(Refusal::Missing),
        None => Ok(VerifiedBody::unsigned(
            endpoint.gateway.signature.payload(received),
            AllowUnsigned::by_the_operator(),
        )),
    }
}

/// What the delivery says and what follows from it. Allocates what outlives the request: the messages and their jobs.
fn plan(state: &WebhookState, inlet: &Inlet, endpoint: &Endpoint, verified: &VerifiedBody) -> Delivery {
    let planned = |item| PlannedItem::of(item, &state.config.rulebook, &endpoint.policy, Standing::Verified);
    Delivery {
        endpoint: Arc::clone(&inlet.name),
        suppression_group: Arc::clone(&inlet.suppression_group),
        raw: verified.bytes().clone(),
        items: endpoint
            .gateway
            .parse(verified, &endpoint.reading)
            .into_iter()
            .map(planned)
            .collect(),
        verified: true,
        nonce: None,
        part_wait: endpoint.reassembly_wait,
        origin: Origin::Gateway,
    }
}

/// The 2xx, in the gateway's own terms where it has some.
fn acknowledged(ack: &Ack, accepted: Accepted) -> Answer {
    let mut response = bare(ack.status);
    // RFC 9110, 15.3.5 and 15.3.6: these two have no content.
    if !matches!(ack.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        let (content_type, body) = match &ack.body {
            Some(body) => (ack.content_type.clone(), body.clone()),
            None => (HeaderValue::from_static("application/json"), receipt(&accepted)),
        };
        *response.body_mut() = Body::from(body);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Answer {
        message_id: accepted.id,
        ..Answer::new(Outcome::Accepted(accepted.status), response)
    }
}

/// The answer to `smshook doctor`, which is not one that a gateway gets.
fn self_tested(nonce: &str, accepts: bool) -> Answer {
    let mut response = with(StatusCode::OK, CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let answer = serde_json::to_vec(&SelfTest::answer(nonce, accepts)).unwrap_or_default();
    *response.body_mut() = Body::from(answer);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Answer::new(Outcome::SelfTest, response)
}

/// Words of ours and a UUID: nothing in it needs escaping.
fn receipt(accepted: &Accepted) -> String {
    let status = accepted.status.as_str();
    match accepted.id {
        Some(id) => format!(r#"{{"status":"{status}","id":"{id}"}}"#),
        None => format!(r#"{{"status":"{status}"}}"#),
    }
}

/// An empty answer, whatever was wrong: a forger learns nothing from it.
fn refused(endpoint: &Endpoint, refusal: Refusal) -> Answer {
    let gateway = &endpoint.gateway;
    let status = if refusal.is_missing() {
        gateway.missing_signature_status
    } else {
        gateway.invalid_signature_status
    };
    Answer::new(Outcome::Refused, bare(status)).because(refusal.as_str())
}

fn without_body(error: BodyError) -> Answer {
    // What is left of the body is not worth reading, so the connection cannot carry another request.
    match error {
        BodyError::TooLarge => Answer::new(Outcome::TooLarge, closing(StatusCode::PAYLOAD_TOO_LARGE)),
        BodyError::TooSlow => Answer::new(Outcome::Timeout, closing(StatusCode::REQUEST_TIMEOUT)).because("body"),
        BodyError::Broken => Answer::new(Outcome::Broken, closing(StatusCode::BAD_REQUEST)),
    }
}

/// Our own fault: the gateway keeps the message and tries again. Spread, so that a crowd does not come back as one.
fn unavailable(reason: &'static str) -> Answer {
    let seconds: u16 = rand::random_range(5..10);
    let response = with(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, HeaderValue::from(seconds));
    Answer::new(Outcome::Unavailable, response).because(reason)
}

fn method_not_allowed() -> Response {
    with(StatusCode::METHOD_NOT_ALLOWED, ALLOW, HeaderValue::from_static("POST"))
}

fn closing(status: StatusCode) -> Response {
    with(status, CONNECTION, HeaderValue::from_static("close"))
}

fn with(status: StatusCode, name: HeaderName, value: HeaderValue) -> Response {
    let mut response = bare(status);
    response.headers_mut().insert(name, value);
    response
}

fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The one log line and the one count of a request, written on drop: also a request that panics, or whose connection is
/// torn down in the middle, leaves its line.
struct RequestLine {
    metrics: Arc<Metrics>,
    begun: Instant,
    /// `None` for an unknown path, which is the stranger's wording: all of them share one label.
    endpoint: Option<Arc<str>>,
    bytes: usize,
    outcome: Outcome,
    status: StatusCode,
    reason: Option<&'static str>,
    message_id: Option<Uuid>,
    /// The place in `secrets`, from 1, of the one that matched: who rotates must know when the old one is unused.
    secret: Option<u32>,
}

impl RequestLine {
    fn begin(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            begun: Instant::now(),
            endpoint: None,
            bytes: 0,
            outcome: Outcome::Abandoned,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: None,
            message_id: None,
            secret: None,
        }
    }

    fn end(mut self, answer: Answer) -> Response {
        self.outcome = answer.outcome;
        self.status = answer.response.status();
        self.reason = answer.reason;
        self.message_id = answer.message_id;
        answer.response
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        if self.outcome == Outcome::Abandoned && std::thread::panicking() {
            self.outcome = Outcome::Bug;
        }
        let endpoint = self.endpoint.as_deref().unwrap_or("unknown");
        self.metrics.request(endpoint, self.outcome.as_str());
        tracing::info!(
            target: "smshook::http",
            endpoint,
            outcome = self.outcome.as_str(),
            status = (self.outcome != Outcome::Abandoned).then(|| self.status.as_u16()),
            duration_ms = self.begun.elapsed().as_secs_f64() * 1e3,
            message.id = self.message_id.map(tracing::field::display),
            bytes = self.bytes,
            reason = self.reason,
            secret = self.secret,
            "request"
        );
    }
}
