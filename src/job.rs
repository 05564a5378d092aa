//! A job: the durable order to run one action for one message; what an attempt can come to; when to try again.
//!
//! This room is pure: it must not know what actions do, nor read a clock or a database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// What a job is for. Compliance replies are not ordinary actions: they are paid for by the law, not by a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum JobKind {
    /// Runs the configured action it names.
    Action,
    /// The one confirmation an opt-out allows: within five minutes or not at all.
    OptOutConfirmation,
    /// Tells somebody who opted in again that it worked.
    OptInConfirmation,
    /// The answer to HELP.
    HelpReply,
}

impl JobKind {
    /// The word stored in `jobs.kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::OptOutConfirmation => "opt_out_confirmation",
            Self::OptInConfirmation => "opt_in_confirmation",
            Self::HelpReply => "help_reply",
        }
    }

    /// Reads the stored word.
    pub fn from_stored(word: &str) -> Option<Self> {
        [
            Self::Action,
            Self::OptOutConfirmation,
            Self::OptInConfirmation,
            Self::HelpReply,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// A claimed job with all that its action may need to know about its message.
#[derive(Clone, PartialEq)]
pub struct Job {
    /// Identity in `jobs`.
    pub id: i64,
    /// The fence: rises by one at each claim; only the holder of the latest may settle.
    pub claim: i32,
    /// The attempt that this claim is, from 1.
    pub attempt: i32,
    /// What it is for.
    pub kind: JobKind,
    /// The action to run (for compliance replies: the kind's own word).
    pub action: String,
    /// The rule that ordered it, if a rule did.
    pub rule: Option<String>,
    /// What the rule's regular expression captured, an object.
    pub captures: Value,
    /// What the actions that it comes after have left, by action; null until that is looked up.
    pub results: Value,
    /// What earlier attempts wrote down: rendered request, steps done, `sending`.
    pub progress: Value,
    /// After this instant the job must not run any more.
    pub expires_at: Option<DateTime<Utc>>,
    /// When this claim began, by the database's clock.
    pub claimed_at: DateTime<Utc>,
    /// When the job was made.
    pub created_at: DateTime<Utc>,
    /// The message it is for.
    pub message: JobMessage,
}

/// The message of a job, as stored.
#[derive(Clone, PartialEq)]
pub struct JobMessage {
    /// Identity in `messages`.
    pub id: Uuid,
    /// The endpoint that received it.
    pub endpoint: String,
    /// The gateway's ID of it.
    pub message_id: Option<String>,
    /// The conversation.
    pub conversation_id: Uuid,
    /// Sender: E.164, short digits, or as given.
    pub sender: String,
    /// Sender exactly as the gateway wrote it.
    pub sender_raw: String,
    /// Whether the sender is a number that can be answered.
    pub sender_answerable: bool,
    /// Recipient: E.164 or as given; empty when the gateway does not say.
    pub recipient: String,
    /// Recipient exactly as the gateway wrote it.
    pub recipient_raw: String,
    /// The text.
    pub text: String,
    /// When the gateway says it was received.
    pub sent_at: Option<DateTime<Utc>>,
    /// When we stored it.
    pub received_at: DateTime<Utc>,
    /// The gateway's reference.
    pub reference: Option<String>,
    /// The gateway's device.
    pub device_id: Option<String>,
    /// The gateway account's display name.
    pub tenant_name: Option<String>,
    /// Pictures and other files, as the templates see them: a list of `{"url": …, "content_type": …}`; null for none.
    pub media: Value,
    /// How many parts of a longer text never came.
    pub missing_parts: i16,
    /// False for what an observing endpoint took without a right signature.
    pub verified: bool,
    /// How many copies came after the first.
    pub duplicates: i32,
    /// The gateway's own rules that matched it, over all copies.
    pub gateway_rules: Vec<String>,
    /// `opt_out`, `opt_in`, `help` or `opt_out_review`, if the text asked for it.
    pub consent_event: Option<String>,
    /// The keyword that says so.
    pub consent_keyword: Option<String>,
    /// The language of that keyword, ISO 639-1, if it is of one.
    pub consent_language: Option<String>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Job {{ id: {}, action: {}, attempt: {} }}",
            self.id, self.action, self.attempt
        )
    }
}

/// What one attempt came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The effect happened. The value (what was captured, what was sent) is kept in `jobs.result`.
    Done(Value),
    /// It failed in a way that may pass; `after` is the other side's `Retry-After`, if it gave one.
    Retry {
        /// What went wrong, for a person; no secret, number or text.
        error: String,
        /// Not before this long from now.
        after: Option<Duration>,
    },
    /// Not now; costs no attempt.
    Snooze {
        /// Not before this long from now.
        after: Duration,
        /// Why.
        reason: String,
    },
    /// The action's credentials are not taken: the whole action waits, its queue with it, until somebody mends that. Costs
    /// no attempt.
    Pause(String),
    /// It cannot succeed without a person; kept with this reason.
    Discard(String),
    /// It must not happen (suppressed, expired, loop guard); kept with this reason, nobody needs to act.
    Cancel(String),
    /// The process is stopping and gives the job back; costs no attempt.
    Release,
}

/// The reason of a job that waits for another action of its message: the end of that one wakes it.
pub fn waits_for(action: &str) -> String {
    format!("{WAITS_FOR}{action}")
}

/// The action that a job with this reason waits for, if it is such a reason.
pub fn waited_for(reason: &str) -> Option<&str> {
    reason.strip_prefix(WAITS_FOR)
}

const WAITS_FOR: &str = "waits for the action ";

/// When a failed attempt is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: i32,
    /// The ceiling of the first wait.
    pub base: Duration,
    /// The ceiling of every wait.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 25,
            base: Duration::from_secs(2),
            cap: Duration::from_hours(1),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after `attempt` (from 1) failed: exponential with full jitter, drawn by `unit` in `0.0..1.0`, and
    /// never less than what the other side asked for.
    ///
    /// Full jitter (AWS Architecture Blog, "Exponential Backoff and Jitter") spreads a herd that failed together.
    pub fn wait(&self, attempt: i32, asked: Option<Duration>, unit: f64) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(30);
        let ceiling = self.base.saturating_mul(1_u32 << doublings).min(self.cap);
        let jittered = ceiling.mul_f64(unit.clamp(0.0, 1.0));
        asked.map_or(jittered, |asked| asked.min(MAX_ASKED) + jittered.min(self.base))
    }

    /// Whether `attempt` was the last one allowed.
    pub const fn exhausted(&self, attempt: i32) -> bool {
        attempt >= self.max_attempts
    }
}

/// A `Retry-After` beyond this is clamped, so that a wrong header cannot park a job for a year.
const MAX_ASKED: Duration = Duration::from_hours(6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_cap_and_jitter_spreads_it_over_the_whole_range() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(1, None, 1.0), Duration::from_secs(2));
        assert_eq!(policy.wait(4, None, 1.0), Duration::from_secs(16));
        assert_eq!(policy.wait(1_000, None, 1.0), policy.cap);
        assert_eq!(policy.wait(9, None, 0.0), Duration::ZERO);
    }

    #[test]
    fn what_the_other_side_asks_for_is_a_floor_and_is_clamped() {
        let policy = RetryPolicy::default();
        assert!(policy.wait(1, Some(Duration::from_mins(1)), 0.0) >= Duration::from_mins(1));
        assert!(policy.wait(1, Some(Duration::from_hours(900)), 1.0) <= MAX_ASKED + policy.base);
    }

    #[test]
    fn every_kind_is_read_back_as_it_was_stored() {
        for kind in [
            JobKind::Action,
            JobKind::OptOutConfirmation,
            JobKind::OptInConfirmation,
            JobKind::HelpReply,
        ] {
            assert_eq!(JobKind::from_stored(kind.as_str()), Some(kind));
        }
        assert_eq!(JobKind::from_stored("another"), None);
    }
}
