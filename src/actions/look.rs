//! The last look at consent: after a connection stands and before the first byte of a request goes over it.
//!
//! The store's gate lets a text through, and then DNS, TCP and TLS take their time. A STOP that is committed meanwhile must
//! still be obeyed. So the connector of such a client asks once more, when nothing is left but to write, and what the answer
//! holds (a lock that a STOP waits for) is held until the kernel has the request. It must not know how the store answers,
//! and it must never let a connection through without an answer.

use std::any::Any;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long the answer may take. Nothing is sent without one.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long the store's hold lasts at most: should this process be frozen, it ends by itself, and a STOP may pass.
const LASTS: Duration = Duration::from_millis(500);
/// How old a look may be when the request is written.
const FRESH: Duration = Duration::from_millis(250);
/// A request without a body does not tell when the kernel has it, only when it has been put into bytes, which is some
/// microseconds earlier.
const WRITE: Duration = Duration::from_millis(10);

tokio::task_local! {
    /// The look of the request that this task sends.
    static LOOK: Arc<Look>;
}

/// What a look finds.
pub(super) enum Finding {
    /// The text may leave.
    Clear {
        /// Held until the request is written.
        held: Box<dyn Any + Send>,
        /// From when on it can be relied on.
        since: Instant,
    },
    /// The person opted out after the gate.
    Suppressed,
}

/// Asks; the error says why there is no answer. Does nothing before it is awaited.
pub(super) type Asking = Pin<Box<dyn Future<Output = Result<Finding, String>> + Send>>;

/// Why nothing was written. An error of the connector or of the body, so it is found among the causes of what `reqwest`
/// reports.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Withheld {
    /// A request that brought no look to a client that needs one, or one look for two requests.
    #[error("a text without a last look; this is a bug in smshook")]
    Unasked,
    /// The store did not say.
    #[error("the last look at opt-outs failed: {0}")]
    Failed(String),
    /// The person opted out.
    #[error("the sender has opted out")]
    Suppressed,
    /// Too long ago to be relied on.
    #[error("the process stood still between the last look at opt-outs and the sending")]
    Stale,
}

enum State {
    Unasked(Asking),
    Asked,
    Clear { held: Box<dyn Any + Send>, since: Instant },
    Suppressed,
    Released,
}

/// The look of one request.
pub(super) struct Look(Mutex<State>);

impl Look {
    /// One that has not been taken yet.
    pub(super) fn new(asking: Asking) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Unasked(asking))))
    }

    /// For attempts that no store knows of.
    pub(super) fn at_nothing() -> Arc<Self> {
        Self::new(Box::pin(async {
            Ok(Finding::Clear {
                held: Box::new(()),
                since: Instant::now(),
            })
        }))
    }

    /// Whether it found that the text must not leave.
    pub(super) fn found_suppressed(&self) -> bool {
        self.with(|state| matches!(state, State::Suppressed))
    }

    fn with<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn take(self: &Arc<Self>) -> Result<(), Withheld> {
        let State::Unasked(asking) = self.with(|state| std::mem::replace(state, State::Asked)) else {
            return Err(Withheld::Unasked);
        };
        let found = tokio::time::timeout(ANSWER, asking)
            .await
            .unwrap_or_else(|_| Err("the database did not answer in time".to_owned()))
            .map_err(Withheld::Failed)?;
        match found {
            Finding::Clear { held, since } => {
                self.with(|state| *state = State::Clear { held, since });
                tokio::spawn(give_up(Arc::downgrade(self)));
                Ok(())
            }
            Finding::Suppressed => {
                self.with(|state| *state = State::Suppressed);
                Err(Withheld::Suppressed)
            }
        }
    }

    /// Whether it may still be acted on.
    fn is_fresh(&self) -> Result<(), Withheld> {
        self.with(|state| match state {
            State::Clear { since, .. } if since.elapsed() < FRESH => Ok(()),
            State::Clear { .. } | State::Released => Err(Withheld::Stale),
            State::Unasked(_) | State::Asked | State::Suppressed => Err(Withheld::Unasked),
        })
    }

    fn release(&self) {
        let held = self.with(|state| match std::mem::replace(state, State::Released) {
            State::Clear { held, .. } => Some(held),
            other => {
                *state = other;
                None
            }
        });
        // outside the lock: ending what is held may do more than free memory
        drop(held);
    }
}

/// A peer that does not read what is larger than its buffers would keep the hold, long after that has ended in the store.
async fn give_up(look: Weak<Look>) {
    tokio::time::sleep(LASTS).await;
    if let Some(look) = look.upgrade() {
        look.release();
    }
}

/// Runs a sending with the look that its connector takes.
pub(super) async fn looking<F: Future>(look: Option<Arc<Look>>, sending: F) -> F::Output {
    match look {
        Some(look) => LOOK.scope(look, sending).await,
        None => sending.await,
    }
}

/// Puts the look between a connection and its first use.
#[derive(Clone, Copy)]
pub(super) struct LastLook;

impl<S> Layer<S> for LastLook {
    type Service = Looking<S>;

    fn layer(&self, connector: S) -> Looking<S> {
        Looking(connector)
    }
}

/// A connector whose connections are handed over after the look.
#[derive(Clone)]
pub(super) struct Looking<S>(S);

impl<S, Target> Service<Target> for Looking<S>
where
    S: Service<Target, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            // Known from the task: a connector is only told where to. Without a pool the request's own task connects; were
            // it another's, there would be no look, and no connection.
            let look = LOOK.try_with(Arc::clone).map_err(|_| Withheld::Unasked)?;
            let connection = connecting.await?;
            look.take().await?;
            Ok(connection)
        })
    }
}

/// Ends the hold when it is dropped: with the connection, with the request, or when the kernel has the bytes.
struct Release {
    look: Arc<Look>,
    after: Duration,
}

impl Drop for Release {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        match runtime {
            Ok(runtime) if !self.after.is_zero() => {
                let (look, after) = (Arc::clone(&self.look), self.after);
                runtime.spawn(async move {
                    tokio::time::sleep(after).await;
                    look.release();
                });
            }
            _ => self.look.release(),
        }
    }
}

/// The bytes of a body. The connection drops them once the kernel (or the TLS session, which passes them on at once) has
/// taken the last of them.
struct Held {
    bytes: Bytes,
    _release: Release,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A request's body that holds the look until it is written, and is not written when the look is too old.
pub(super) struct LookedBody {
    bytes: Option<Bytes>,
    release: Option<Release>,
    look: Arc<Look>,
}

impl LookedBody {
    pub(super) fn new(body: Option<String>, look: Arc<Look>) -> Self {
        let bytes = body.filter(|body| !body.is_empty()).map(Bytes::from);
        let after = if bytes.is_some() { Duration::ZERO } else { WRITE };
        let release = Release {
            look: Arc::clone(&look),
            after,
        };
        Self {
            bytes,
            release: Some(release),
            look,
        }
    }
}

impl Body for LookedBody {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        let (Some(bytes), Some(release)) = (self.bytes.take(), self.release.take()) else {
            return Poll::Ready(None);
        };
        // The head waits for this in memory: an error here leaves nothing of the request on the wire.
        Poll::Ready(Some(self.look.is_fresh().map(|()| {
            Frame::data(Bytes::from_owner(Held {
                bytes,
                _release: release,
            }))
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
