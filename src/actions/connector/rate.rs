//! How fast one account may be used: a token bucket, and a closed door while the other side has asked for quiet.
//!
//! It must not sleep for longer than an attempt can spare: who has to wait longer is told how long, and the worker does not
//! begin what would only wait.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::connector::Rate;

/// The longest wait that is worth holding a slot of the worker for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bucket of one account in this process.
pub(super) struct Bucket {
    rate: Option<Rate>,
    state: Mutex<State>,
}

struct State {
    /// Requests that may go now; the fraction is what has dripped since.
    tokens: f64,
    counted_at: Instant,
    /// Nothing goes before this.
    quiet_until: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let state = State {
            tokens: rate.map_or(0.0, |rate| f64::from(rate.requests)),
            counted_at: Instant::now(),
            quiet_until: None,
        };
        Self {
            rate,
            state: Mutex::new(state),
        }
    }

    /// Waits for leave to send one request; the error is how long it takes if that is too long to wait for here.
    pub(super) async fn leave(&self) -> Result<(), Duration> {
        let until = self.reserve(Instant::now())?;
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    /// Whether a job that began now would only be told to come back.
    pub(super) fn is_closed(&self) -> bool {
        let Ok(mut state) = self.state.lock() else {
            return false;
        };
        self.wait(&mut state, Instant::now()) > PATIENCE
    }

    /// Takes one request out, at once or a moment ahead.
    fn reserve(&self, now: Instant) -> Result<Option<Instant>, Duration> {
        let Ok(mut state) = self.state.lock() else {
            return Ok(None);
        };
        let wait = self.wait(&mut state, now);
        if wait > PATIENCE {
            return Err(wait);
        }
        state.tokens -= 1.0;
        Ok((!wait.is_zero()).then(|| now + wait))
    }

    /// How long one more request has to wait, by the door and by the bucket, which is filled up to now.
    fn wait(&self, state: &mut State, now: Instant) -> Duration {
        let quiet = state
            .quiet_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let Some(rate) = self.rate else {
            return quiet;
        };
        let per_second = f64::from(rate.requests) / rate.per.as_secs_f64();
        let dripped = now.saturating_duration_since(state.counted_at).as_secs_f64() * per_second;
        state.tokens = (state.tokens + dripped).min(f64::from(rate.requests));
        state.counted_at = now;
        let missing = Duration::try_from_secs_f64((1.0 - state.tokens).max(0.0) / per_second);
        quiet.max(missing.unwrap_or(rate.per))
    }

    /// Closes the door for `wait`: the other side has asked for it, whoever it told.
    pub(super) fn quiet_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        if let Ok(mut state) = self.state.lock() {
            state.quiet_until = Some(state.quiet_until.map_or(until, |earlier| earlier.max(until)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(requests: u32, per: Duration) -> Bucket {
        Bucket::new(Some(Rate { requests, per }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_empties_at_once_and_fills_with_time() {
        let bucket = bucket(2, Duration::from_secs(10));
        assert_eq!(bucket.leave().await, Ok(()));
        assert_eq!(bucket.leave().await, Ok(()));
        assert_eq!(bucket.leave().await, Err(Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(bucket.leave().await, Ok(()));
        assert!(bucket.leave().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_wait_is_waited_for_and_never_lets_more_through_than_the_rate() {
        let bucket = bucket(10, Duration::from_secs(1));
        let begun = Instant::now();
        for _ in 0..30 {
            assert_eq!(bucket.leave().await, Ok(()));
        }
        assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_while_the_other_side_wants_quiet() {
        let bucket = Bucket::new(None);
        assert_eq!(bucket.leave().await, Ok(()));
        bucket.quiet_for(Duration::from_secs(30));
        bucket.quiet_for(Duration::from_secs(3));
        assert_eq!(bucket.leave().await, Err(Duration::from_secs(30)));
        assert!(bucket.is_closed());
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(!bucket.is_closed());
        assert_eq!(bucket.leave().await, Ok(()));
    }
}
