//! Reads a request's body whole, within a limit of bytes and of time.
//!
//! It must not look at what it reads.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyError {
    /// More bytes, announced or sent, than the limit.
    TooLarge,
    /// Not complete in time.
    TooSlow,
    /// The client closed in the middle, or sent chunks that are none.
    Broken,
}

/// Reads `body` whole: at most `limit` bytes, at most `time` for all of it, however steadily it drips.
pub(super) async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, BodyError> {
    tokio::time::timeout(time, collect(body, limit))
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

/// A webhook fits into one read together with its headers, and is then taken as it lies in hyper's buffer: no allocation,
/// no copy. Otherwise the pieces are gathered in one buffer.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        // Not a byte was asked for, so a client that waits for `100 Continue` need not send any.
        return Err(BodyError::TooLarge);
    }
    let Some(first) = piece(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let announced = usize::try_from(announced).unwrap_or(limit);
    let mut whole = BytesMut::with_capacity(announced.clamp(first.len(), TAKEN_ON_TRUST.max(first.len())));
    let mut next = Some(first);
    while let Some(piece) = next {
        if whole.len() + piece.len() > limit {
            return Err(BodyError::TooLarge);
        }
        whole.extend_from_slice(&piece);
        next = self::piece(&mut body).await?;
    }
    Ok(whole.freeze())
}

/// A body of known length up to this gets its one allocation at once. Beyond it, and for chunks, the buffer doubles as bytes
/// arrive: announcing a mebibyte on a thousand connections must cost the sender a thousand mebibytes, not us.
const TAKEN_ON_TRUST: usize = 64 * 1024;

/// The next piece of data; trailers are dropped.
async fn piece(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_lost| BodyError::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
