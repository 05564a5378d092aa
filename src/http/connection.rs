//! One connection, from accepted to closed: its clock, its last words, its share of a shutdown.
//!
//! hyper speaks HTTP here; this file adds what hyper lacks: a 408 for a head that does not end, separate limits for a slow
//! head and for rest between requests, a limit for a client that does not read its answer, and a close that does not
//! destroy an answer on its way. It must not know what is served.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1::Connection;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tower::ServiceExt;

use super::server::{Overload, Server, Slot};

/// Serves one connection to its end. The slot is given back when nothing of the connection is left.
pub(super) async fn serve(server: Arc<Server>, stream: TcpStream, slot: Slot) {
    // Answers are one small packet; without this the kernel may hold one back to wait for an acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return; // The client has gone already.
    }
    let clock = Arc::new(Clock::start());
    let io = TokioIo::new(Socket::new(stream, Arc::clone(&clock), server.limits.body_time));
    let service = service_fn(|request| answer(&server, &clock, slot.overload, request));
    let mut connection = server.http.serve_connection(io, service);
    let end = drive(&server, &clock, Pin::new(&mut connection)).await;
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    match end {
        End::Finished => linger(&server, &socket).await,
        // Without a byte of a request there is nothing to answer: a connection opened in advance, or at rest.
        End::HeadTooSlow if !parts.read_buf.is_empty() && socket.stalled.is_none() => {
            if socket.write_all(HEAD_TOO_SLOW).await.is_ok() && socket.shutdown().await.is_ok() {
                linger(&server, &socket).await;
            }
        }
        End::HeadTooSlow | End::Killed => {}
    }
}

const HEAD_TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why a connection is over.
enum End {
    /// hyper is done with it: either side closed, or what came was not HTTP (hyper has answered 400 or 431 by itself).
    Finished,
    /// The time for a head, or for rest, is over.
    HeadTooSlow,
    /// The grace of the shutdown is over.
    Killed,
}

/// Runs one request through the router, keeping the clock.
async fn answer(
    server: &Server,
    clock: &Clock,
    overload: bool,
    request: http::Request<Incoming>,
) -> Result<Response, Infallible> {
    clock.enter(Phase::Answering);
    let mut request = request.map(Body::new);
    if overload {
        request.extensions_mut().insert(Overload);
    }
    let mut response = server.router.clone().oneshot(request).await?;
    if overload || server.crowded() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    clock.enter(Phase::Resting);
    Ok(response)
}

/// Drives hyper, the clock and the shutdown side by side.
async fn drive<S>(server: &Server, clock: &Clock, mut connection: Pin<&mut Connection<TokioIo<Socket>, S>>) -> End
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
{
    let mut draining = false;
    let watch = watch(server, clock);
    tokio::pin!(watch);
    loop {
        tokio::select! {
            biased;
            _ended = connection.as_mut() => return End::Finished,
            () = &mut watch => return End::HeadTooSlow,
            () = server.shutdown.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = server.kill.cancelled() => return End::Killed,
        }
    }
}

/// Returns when the connection has been slower with a head, or at rest for longer, than it may.
///
/// One timer for the life of the connection: it wakes once per `head_time` to look, and exactly at a head's deadline. A
/// timer per request would cost a request more than its signature does.
async fn watch(server: &Server, clock: &Clock) {
    let limits = &server.limits;
    loop {
        let allowed = match clock.phase() {
            Phase::Answering => limits.head_time,
            Phase::Head => limits.head_time.saturating_sub(clock.in_phase()),
            Phase::Resting if server.crowded() => limits.head_time.saturating_sub(clock.in_phase()),
            Phase::Resting => limits.idle_time.saturating_sub(clock.in_phase()).min(limits.head_time),
        };
        if allowed.is_zero() {
            return;
        }
        // Tokio's timer counts whole milliseconds, and so does the clock: one more, or the last look comes too early.
        tokio::time::sleep(allowed + Duration::from_millis(1)).await;
    }
}

/// Lets the last answer arrive.
///
/// Closing a socket with unread bytes resets the connection, and a reset throws away what the client has not read yet: the
/// 413 that a client would see while it is still sending. So the writing side is closed first (hyper has done that), and
/// what still comes is read and dropped, within bounds (RFC 9112, 9.6).
async fn linger(server: &Server, socket: &Socket) {
    let quiet = async {
        let mut left = server.limits.body_bytes.saturating_mul(2);
        while left > 0 && socket.stream.readable().await.is_ok() {
            // On the stack of this block, not in the task: a kilobyte in every connection's task would add up.
            let mut scrap = [0; 4096];
            match socket.stream.try_read(&mut scrap) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_gone) => return,
            }
        }
    };
    tokio::select! {
        () = quiet => {}
        () = tokio::time::sleep(LINGER) => {}
        // An answer whose request was read whole needs no lingering, and a drain should not wait for clients' manners.
        () = server.shutdown.cancelled() => {}
    }
}

const LINGER: Duration = Duration::from_secs(2);

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A request's line and headers are awaited or arriving.
    Head,
    /// A request is being answered; its body has a limit of its own.
    Answering,
    /// Kept alive, nothing of the next request here.
    Resting,
}

/// Since when a connection is in which phase.
///
/// Shared by the parts of one connection, which all run in one task: the atomics only satisfy the compiler's demand that a
/// task may move between threads, so their order does not matter.
struct Clock {
    opened: Instant,
    phase: AtomicU8,
    /// Milliseconds after `opened`.
    since: AtomicU64,
}

impl Clock {
    fn start() -> Self {
        Self {
            opened: Instant::now(),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.now(), Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Relaxed);
        [Phase::Head, Phase::Answering]
            .into_iter()
            .find(|known| *known as u8 == phase)
            .unwrap_or(Phase::Resting)
    }

    fn in_phase(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The client's socket, telling the clock of a request's first byte, and failing a write that makes no progress.
struct Socket {
    stream: TcpStream,
    clock: Arc<Clock>,
    /// How long a write may make no progress.
    patience: Duration,
    /// Made when a write first has to wait, which an honest client never causes.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    const fn new(stream: TcpStream, clock: Arc<Clock>, patience: Duration) -> Self {
        Self {
            stream,
            clock,
            patience,
            stalled: None,
        }
    }

    /// Passes a write's progress on; turns too long a wait into an error.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let patience = self.patience;
        let deadline = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before && self.clock.phase() == Phase::Resting {
            self.clock.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.bounded(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
