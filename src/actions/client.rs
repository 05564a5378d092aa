//! The way out: one kind of HTTP client, with timeouts, no redirects, no proxy and the guard in its resolver.
//!
//! It must not know what a request is for. Every failure says whether the request can have been received.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use reqwest::redirect::Policy;

use super::exchange::Observer;
use super::guard::{Denied, Guard};
use super::look::{self, LastLook, Look, LookedBody, Withheld};
use super::request::Dispatch;
use crate::config::action::{HttpSpec, OnUnknown};

/// DNS, TCP and TLS together.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// For the rest of an answer once its status is known. A body that hangs must not turn a success into an unknown.
const BODY: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("smshook/", env!("CARGO_PKG_VERSION"));

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Mostly a container image without `ca-certificates`.
    #[error(
        "TLS cannot be set up, probably because this machine has no root certificates: install `ca-certificates` or set SSL_CERT_FILE ({0})"
    )]
    Tls(String),
}

/// Clients by kind, each built once.
#[derive(Default)]
pub(super) struct Clients {
    built: BTreeMap<Kind, Client>,
    /// Who watches what they send.
    observer: Option<Observer>,
}

/// What makes one client differ from another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// Networks that the guard lets through.
    pub(super) allowed: Vec<IpNet>,
    pub(super) connections: Connections,
    /// Whether it needs root certificates; who only speaks to `http://` also works on a machine without any.
    pub(super) tls: bool,
}

/// How a client uses its connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Connections {
    /// One after the other, for many requests.
    Kept,
    /// Each for one request. What must not be sent twice gets a connection of its own: a kept one may be closed by the other
    /// side at the very moment it is used, and then nobody knows.
    Single,
    /// Each for one request, and handed over after that request's last look. HTTP/1.1 only, where a connection has one
    /// request at a time.
    SingleAfterLook,
}

/// A client with its guard.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    guard: Guard,
    observer: Option<Observer>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

/// An answer, as much of it as was read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether that is all of the body.
    pub(super) complete: bool,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// The request never left: it may be sent again freely.
    NotSent(String),
    /// The request must not leave.
    Refused(String),
    /// The request may have been received.
    Unknown(String),
}

impl Failure {
    /// The same failure with the place it happened at.
    pub(super) fn at(self, origin: &str) -> Self {
        match self {
            Self::NotSent(error) => Self::NotSent(format!("{origin}: {error}")),
            Self::Refused(error) => Self::Refused(error),
            Self::Unknown(error) => Self::Unknown(format!("{origin}: {error}")),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) | Self::Refused(error) | Self::Unknown(error) => f.write_str(error),
        }
    }
}

impl Clients {
    /// Clients whose every exchange `observer` is told of.
    pub(super) fn watched(observer: Option<Observer>) -> Self {
        Self {
            built: BTreeMap::new(),
            observer,
        }
    }

    /// The client for `spec`.
    pub(super) fn client_for(&mut self, spec: &HttpSpec, on_unknown: OnUnknown) -> Result<Client, ClientError> {
        match on_unknown {
            OnUnknown::Resend => self.client(spec, Connections::Kept),
            _ => self.client(spec, Connections::Single),
        }
    }

    /// The client for texts to the sender: none leaves without a last look.
    pub(super) fn client_for_texts(&mut self, spec: &HttpSpec) -> Result<Client, ClientError> {
        self.client(spec, Connections::SingleAfterLook)
    }

    fn client(&mut self, spec: &HttpSpec, connections: Connections) -> Result<Client, ClientError> {
        let mut allowed = spec.allow_private.clone();
        allowed.sort();
        let kind = Kind {
            allowed,
            connections,
            tls: spec.origin.scheme() == "https",
        };
        if let Some(client) = self.built.get(&kind) {
            return Ok(client.clone());
        }
        let mut client = Client::build(&kind, CONNECT)?;
        client.observer.clone_from(&self.observer);
        self.built.insert(kind, client.clone());
        Ok(client)
    }
}

impl Client {
    pub(super) fn build(kind: &Kind, connect: Duration) -> Result<Self, ClientError> {
        // reqwest panics without a provider; an error here only means that somebody else has set one.
        if rustls::crypto::CryptoProvider::get_default().is_none()
            && rustls::crypto::ring::default_provider().install_default().is_err()
        {
            tracing::debug!("a TLS provider was installed meanwhile");
        }
        let guard = Guard::new(&kind.allowed);
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(connect)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(if kind.connections == Connections::Kept { 16 } else { 0 })
            .pool_idle_timeout(Duration::from_secs(20))
            .dns_resolver(guard.clone());
        let builder = if kind.tls { builder } else { builder.tls_certs_only([]) };
        let builder = match kind.connections {
            Connections::SingleAfterLook => builder
                .http1_only()
                .retry(reqwest::retry::never())
                .connector_layer(LastLook),
            Connections::Kept | Connections::Single => builder,
        };
        let http = builder.build().map_err(|error| ClientError::Tls(root_cause(&error)))?;
        Ok(Self {
            http,
            guard,
            observer: None,
        })
    }

    /// Who is told of every exchange.
    pub(super) const fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    /// Sends a request and reads at most `most` bytes of the answer's body. `look` is for clients whose connections wait
    /// for one.
    pub(super) async fn send(
        &self,
        request: Dispatch,
        most: usize,
        look: Option<&Arc<Look>>,
    ) -> Result<Answer, Failure> {
        self.guard
            .check(&request.url)
            .map_err(|denied| Failure::Refused(denied.to_string()))?;
        let builder = self.http.request(request.method, request.url).headers(request.headers);
        let builder = match (look, request.body) {
            (Some(look), body) => builder.body(reqwest::Body::wrap(LookedBody::new(body, Arc::clone(look)))),
            (None, Some(body)) => builder.body(body),
            (None, None) => builder,
        };
        let mut response = look::looking(look.cloned(), async { builder.send().await })
            .await
            .map_err(|error| failure(&error.without_url()))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        let read = tokio::time::timeout(BODY, read_body(&mut response, &mut body, most)).await;
        Ok(Answer {
            status,
            headers,
            body,
            complete: read.unwrap_or(false),
        })
    }
}

/// Reads until the end or the limit; true if that was all.
async fn read_body(response: &mut reqwest::Response, body: &mut Vec<u8>, most: usize) -> bool {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = most.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    let cause = root_cause(error);
    if let Some(withheld) = causes(error).find_map(|cause| cause.downcast_ref::<Withheld>()) {
        return Failure::NotSent(withheld.to_string());
    }
    let denied = causes(error).find_map(|cause| cause.downcast_ref::<Denied>());
    match denied {
        Some(denied) => Failure::Refused(denied.to_string()),
        None if error.is_builder() => Failure::Refused(format!("the request cannot be made: {cause}")),
        None if error.is_connect() && error.is_timeout() => Failure::NotSent("no connection in time".to_owned()),
        None if error.is_connect() => Failure::NotSent(format!("no connection: {cause}")),
        None => Failure::Unknown(format!("the connection broke before an answer: {cause}")),
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn StdError + 'static)| error.source())
}

/// The innermost error says what happened; those around it only where.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
