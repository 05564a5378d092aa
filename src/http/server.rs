//! The accept loop: who gets a connection, what happens when there are too many, and how the listener drains.
//!
//! `axum::serve` has no time limit for a request's head and no limit of connections, so this loop drives hyper itself.
//! It must not know what is served: it takes any [`axum::Router`].

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use super::connection;
use crate::config;

/// What a client may make us hold, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections served at once. An eighth more are accepted only to be told 503; the rest wait in the kernel's queue.
    pub max_connections: usize,
    /// Bytes of a request's line and headers.
    pub head_bytes: usize,
    /// From the first byte of a request (or the opening of the connection) to the end of its headers.
    pub head_time: Duration,
    /// How long a kept-alive connection may rest between requests. Longer than the usual proxies' own limits (nginx 60 s,
    /// Traefik 90 s, Caddy 120 s): whoever closes first must not be us, or the proxy loses a POST that it cannot repeat.
    pub idle_time: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// For the whole body, from the end of the headers; also how long a client may leave a response unread.
    pub body_time: Duration,
    /// How long requests in flight may take to finish once shutdown has begun.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            head_bytes: 16 * 1024,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(130),
            body_bytes: 1024 * 1024,
            body_time: Duration::from_secs(10),
            drain_time: Duration::from_secs(15),
        }
    }
}

impl From<&config::Server> for Limits {
    fn from(server: &config::Server) -> Self {
        Self {
            max_connections: server.max_connections,
            head_time: server.header_timeout,
            body_bytes: server.max_body_bytes,
            body_time: server.body_timeout,
            ..Self::default()
        }
    }
}

/// Marks a request that came over a connection beyond the limit: it gets the answer for overload and nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overload;

/// Everything the connections of one listener share.
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) http: http1::Builder,
    pub(super) limits: Limits,
    /// Begin to finish: no new requests, those in flight go on.
    pub(super) shutdown: CancellationToken,
    /// The grace is over: drop what is left.
    pub(super) kill: CancellationToken,
    slots: Arc<Semaphore>,
    overflow: Arc<Semaphore>,
}

/// The right to a connection, given back on drop.
pub(super) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    pub(super) overload: bool,
}

/// Listens on `address`, with a queue long enough that a burst of connections is not refused by the kernel before we see it.
///
/// # Errors
/// What the operating system says, most often that the address is in use.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Without it, a restart has to wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Raises the process' limit of open files to what its supervisor allows; most shells and service managers start a process
/// with 1024, which a thousand connections and a database already exceed. Failing to is no reason not to start.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(target: "smshook::http", %error, "the limit of open files stays as it is");
    }
}

/// Linux cuts this down to `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// Serves `router` on `listener` until `shutdown`; returns when the connections have drained or `limits.drain_time` is over.
///
/// # Errors
/// See [`super::serve_public`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let server = Arc::new(Server::new(router, limits, shutdown));
    let connections = TaskTracker::new();
    while let Some((stream, slot)) = server.next(&listener).await {
        connections.spawn(connection::serve(Arc::clone(&server), stream, slot));
    }
    // What the kernel has already connected would be reset when the listener closes; a request may be on its way there.
    while let Some((stream, slot)) = server.waiting(&listener).await {
        connections.spawn(connection::serve(Arc::clone(&server), stream, slot));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_time, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(target: "smshook::http", connections = connections.len(), "grace is over, dropping connections");
        server.kill.cancel();
        connections.wait().await;
    }
    Ok(())
}

impl Server {
    fn new(router: Router, limits: Limits, shutdown: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        // hyper's own head timer closes without a word and is made anew for each request; `connection` has a better one.
        http.header_read_timeout(None)
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.head_bytes.max(MIN_READ_BUFFER))
            // A gateway that closes its sending half after the request still gets its answer.
            .half_close(true);
        let slots = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            router: router.layer(CatchPanicLayer::custom(on_panic)),
            http,
            limits,
            shutdown,
            kill: CancellationToken::new(),
            slots: Arc::new(Semaphore::new(slots)),
            overflow: Arc::new(Semaphore::new((slots / 8).max(1))),
        }
    }

    /// Whether most slots are taken, so that connections are better not kept for a next request.
    pub(super) fn crowded(&self) -> bool {
        self.slots.available_permits() < self.limits.max_connections / 4
    }

    /// The next connection with its slot; `None` once shutdown has begun.
    async fn next(&self, listener: &TcpListener) -> Option<(TcpStream, Slot)> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            admitted = self.admit(listener) => Some(admitted),
        }
    }

    /// A connection that is waiting already, if there is one and a slot for it.
    async fn waiting(&self, listener: &TcpListener) -> Option<(TcpStream, Slot)> {
        tokio::select! {
            biased;
            admitted = self.admit(listener) => Some(admitted),
            () = std::future::ready(()) => None,
        }
    }

    /// While neither a slot nor room for a refusal is left, the loop stands still and connections wait in the kernel, where
    /// they cost us nothing.
    async fn admit(&self, listener: &TcpListener) -> (TcpStream, Slot) {
        let stream = accept(listener).await;
        let (overload, permit) = tokio::select! {
            biased;
            permit = Arc::clone(&self.slots).acquire_owned() => (false, permit),
            permit = Arc::clone(&self.overflow).acquire_owned() => (true, permit),
        };
        // An error would mean a closed semaphore, and nothing closes these.
        (
            stream,
            Slot {
                _permit: permit.ok(),
                overload,
            },
        )
    }
}

/// A bug in one handler is one answer of 500, not the end of the connection. The panic's own words stay unread: they may
/// quote what was being handled.
fn on_panic(_words: Box<dyn Any + Send>) -> Response {
    tracing::error!(target: "smshook::http", "a request made its handler panic; this is a bug");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// hyper refuses (panics on) a smaller one.
const MIN_READ_BUFFER: usize = 8192;

/// Accepts one connection, however often that fails.
///
/// Out of file descriptors (`EMFILE`, `ENFILE`) or kernel memory: the connection stays in the queue and the next try would
/// fail at once, so wait until something has closed. Giving up would end the service for a passing shortage.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut reported = false;
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return stream,
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !reported {
                    tracing::warn!(target: "smshook::http", %error, "cannot accept connections, trying on");
                    reported = true;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Short against a gateway's timeout, long against a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether the client was gone before we accepted it: nothing is wrong on our side.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
