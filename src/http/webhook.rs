//! The receive path: one request from a gateway, from its path to its acknowledgement.
//!
//! Read, verify, parse, plan, store, answer: all on the request's own task, and in this order. What fails on our side is a
//! 503, never a 4xx: several gateways drop a message for ever on any 4xx. Why a signature failed goes into the log, never
//! into the answer.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use chrono::Utc;

use super::body::{self, BodyError};
use super::failure::{Failed, Failures, Unproven};
use super::plan::{Labels, plan};
use super::request_line::{Answer, Outcome, RequestLine};
use super::self_test::{self, SelfTest};
use super::server::{Limits, Overload};
use crate::config::{Config, Endpoint, Mode};
use crate::consent::{self, Vocabulary};
use crate::gateway::{Ack, Gateway};
use crate::metrics::Metrics;
use crate::rules::Standing;
use crate::signature::{self, AllowUnsigned, Observe, Proof, Received, Refusal, VerifiedBody};
use crate::store::{AcceptError, Accepted, Acceptor, Delivery, Origin};

/// What the receive path needs of the rest of the process.
pub struct WebhookState {
    config: Arc<Config>,
    /// By path, byte for byte: a path is an address, not a pattern.
    inlets: HashMap<String, Inlet>,
    acceptor: Acceptor,
    metrics: Arc<Metrics>,
    failures: Arc<Failures>,
}

/// What every delivery to one endpoint carries, made once.
struct Inlet {
    /// The endpoint's place in the configuration.
    place: usize,
    labels: Labels,
}

impl WebhookState {
    /// Serves the endpoints of `config`, storing through `acceptor`.
    pub fn new(config: Arc<Config>, acceptor: Acceptor, metrics: Arc<Metrics>) -> Self {
        let inlet = |(place, endpoint): (usize, &Endpoint)| {
            let labels = Labels::of(endpoint);
            (endpoint.path.clone(), Inlet { place, labels })
        };
        let inlets = config.endpoints.iter().enumerate().map(inlet).collect();
        // The first look at a text builds tables, for milliseconds: now, and not while a gateway waits.
        drop(consent::classify("hello", &Vocabulary::default()));
        let failures = Arc::new(Failures::of(
            Arc::clone(&config),
            Arc::clone(&metrics),
            acceptor.store().clone(),
        ));
        Self {
            config,
            inlets,
            acceptor,
            metrics,
            failures,
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

async fn receive(state: Arc<WebhookState>, limits: Limits, request: Request) -> Response {
    let mut line = RequestLine::begin(Arc::clone(&state.metrics));
    let Some((inlet, endpoint)) = state.find(request.uri().path()) else {
        return line.answered(Answer::new(Outcome::NotFound, bare(StatusCode::NOT_FOUND)));
    };
    line.endpoint = Some(Arc::clone(&inlet.labels.name));
    let mut failed = None;
    let mut answer = answer(&state, inlet, limits, request, &mut line, &mut failed).await;
    if endpoint.gateway.never_4xx && answer.response.status().is_client_error() {
        answer.response = spared(&answer.response);
    }
    let response = line.answered(answer);
    if let Some(failed) = failed {
        state.failures.look_into(line, failed);
    }
    response
}

/// Answers what came to one endpoint. Where its signature failed, `failed` says all that is needed to find out why.
async fn answer(
    state: &WebhookState,
    inlet: &Inlet,
    limits: Limits,
    request: Request,
    line: &mut RequestLine,
    failed: &mut Option<Failed>,
) -> Answer {
    let Some(endpoint) = state.config.endpoints.get(inlet.place) else {
        return Answer::new(Outcome::NotFound, bare(StatusCode::NOT_FOUND));
    };
    if !endpoint.gateway.methods.contains(request.method()) {
        return Answer::new(Outcome::MethodNotAllowed, method_not_allowed(&endpoint.gateway));
    }
    if request.extensions().get::<Overload>().is_some() {
        return unavailable("too_many_connections");
    }
    let (head, body) = request.into_parts();
    let body = if head.method == Method::GET {
        // All that a GET says is in its query. What follows its head is not read, whatever it is (RFC 9110, 9.3.1).
        Bytes::new()
    } else {
        match body::read(body, limits.body_bytes, limits.body_time).await {
            Ok(body) => body,
            Err(error) => return without_body(error),
        }
    };
    let received = Received {
        method: &head.method,
        url: &endpoint.url,
        query: head.uri.query(),
        headers: &head.headers,
        body: &body,
        at: Utc::now().timestamp_millis(),
    };
    line.bytes = body.len() + head.uri.query().filter(|_| body.is_empty()).map_or(0, str::len);
    let verified = match verify(endpoint, &received) {
        Ok(verified) => verified,
        Err(unproven) => {
            let is_self_test = self_test::nonce(&body).is_some();
            // Without a secret a self-test has nothing to prove.
            if !(is_self_test && endpoint.keys.is_none()) {
                let keeps = endpoint.mode == Mode::Enforce && !is_self_test;
                *failed = Some(Failed::of(inlet.place, &received, unproven, keeps));
                line.reason = Some(unproven.as_str());
            }
            // A test of the way here that does not verify is told so, also where everything else is taken.
            if endpoint.mode == Mode::Enforce || (is_self_test && endpoint.keys.is_some()) {
                return refused(endpoint, unproven);
            }
            VerifiedBody::observed(
                endpoint.gateway.signature.payload(&received),
                Observe::by_the_operator(),
            )
        }
    };
    match verified.proof() {
        Proof::Secret(place) => line.secret = Some(place + 1),
        Proof::Observed => line.verified = Some(false),
        Proof::Unsigned | Proof::Stored => {}
    }
    match self_test::nonce(verified.bytes()) {
        None => {
            let standing = standing(&verified, endpoint.mode);
            let delivery = plan(
                &state.config,
                endpoint,
                &inlet.labels,
                &verified,
                standing,
                Origin::Gateway,
            );
            let answer = store(state, endpoint, delivery).await;
            if answer.reason == Some(Refusal::Replayed.as_str()) {
                line.cause = Some(REPLAYED.to_owned());
            }
            answer
        }
        Some(nonce) => self_tested(&nonce, state.acceptor.ready().await),
    }
}

/// What the log says of a value that came twice.
const REPLAYED: &str = "the signature is right, but what may be used once came before with another payload: a replay";

/// Commits a delivery and acknowledges it; or neither.
async fn store(state: &WebhookState, endpoint: &Endpoint, delivery: Delivery) -> Answer {
    match state.acceptor.accept(delivery).await {
        Ok(accepted) => acknowledged(&endpoint.gateway.ack, accepted),
        // The one place where a local spool steps in: verified, and not in the database. Until it has it on disk: 503.
        Err(AcceptError::Unavailable) => unavailable("database_unavailable"),
        Err(AcceptError::Late) => unavailable("commit_too_slow"),
        Err(AcceptError::Overloaded) => unavailable("queue_full"),
        Err(AcceptError::Replayed) => {
            let replayed = Unproven::Refused(Refusal::Replayed);
            refused(endpoint, replayed).because(replayed.as_str())
        }
    }
}

fn verify(endpoint: &Endpoint, received: &Received<'_>) -> Result<VerifiedBody, Unproven> {
    let scheme = &endpoint.gateway.signature;
    match (&endpoint.keys, endpoint.mode) {
        (Some(keys), _) => signature::verify(scheme, keys, received).map_err(Unproven::Refused),
        (None, Mode::Observe { .. }) => Err(Unproven::NoSecret),
        (None, Mode::Enforce) => Ok(VerifiedBody::unsigned(
            scheme.payload(received),
            AllowUnsigned::by_the_operator(),
        )),
    }
}

/// How far what the delivery says can be trusted.
const fn standing(verified: &VerifiedBody, mode: Mode) -> Standing {
    match (verified.proof(), mode) {
        (Proof::Observed, Mode::Observe { runs_actions }) => Standing::Unverified { runs_actions },
        (Proof::Observed, Mode::Enforce) => Standing::Unverified { runs_actions: false },
        (Proof::Secret(_) | Proof::Unsigned | Proof::Stored, _) => Standing::Verified,
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
fn refused(endpoint: &Endpoint, unproven: Unproven) -> Answer {
    let gateway = &endpoint.gateway;
    let status = if unproven.is_missing() {
        gateway.missing_signature_status
    } else {
        gateway.invalid_signature_status
    };
    Answer::new(Outcome::Refused, bare(status))
}

/// What takes the place of a 4xx: the same connection, and to be tried again.
fn spared(refusal: &Response) -> Response {
    let mut response = unavailable("").response;
    if let Some(connection) = refusal.headers().get(CONNECTION) {
        response.headers_mut().insert(CONNECTION, connection.clone());
    }
    response
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

fn method_not_allowed(gateway: &Gateway) -> Response {
    let names: Vec<_> = gateway.methods.iter().map(Method::as_str).collect();
    let allowed = names.join(", ");
    let allowed = HeaderValue::from_str(&allowed).unwrap_or(HeaderValue::from_static("POST"));
    with(StatusCode::METHOD_NOT_ALLOWED, ALLOW, allowed)
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
