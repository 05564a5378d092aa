//! What an answer means for the flow: the connector's own reading of it first, then the usual one.
//!
//! It must not touch the network, and must not take a status at its word where the connector says what to look at.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde_json::Value;

use super::hits::text;
use crate::actions::answer::retry_after;
use crate::actions::client::Answer;
use crate::config::action::HttpSpec;
use crate::config::connector::{
    ConnectorSpec, EffectClass, ErrorRule, Meaning, Operation, OperationName, Wait, WaitSource, WaitUnit,
};

/// Longest wait that an answer can ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// It was done.
    Done,
    /// It was not, for this reason, and after so long it is worth another try.
    Failed(Meaning, Option<Duration>),
}

/// Reads an answer to `name`.
pub(super) fn judge(
    spec: &ConnectorSpec,
    name: OperationName,
    operation: &Operation,
    answer: &Answer,
    json: Option<&Value>,
    now: DateTime<Utc>,
) -> Judgement {
    let request = &operation.request;
    judge_as(spec, Some(name), operation.effect, request, answer, json, now)
}

/// Reads an answer to a lookup: the connector's readings of particular operations do not count.
pub(super) fn judge_read(
    spec: &ConnectorSpec,
    request: &HttpSpec,
    answer: &Answer,
    json: Option<&Value>,
    now: DateTime<Utc>,
) -> Judgement {
    judge_as(spec, None, EffectClass::Read, request, answer, json, now)
}

fn judge_as(
    spec: &ConnectorSpec,
    name: Option<OperationName>,
    effect: EffectClass,
    request: &HttpSpec,
    answer: &Answer,
    json: Option<&Value>,
    now: DateTime<Utc>,
) -> Judgement {
    let told = || wait(&spec.waits, &answer.headers, json, now);
    if let Some(rule) = spec.errors.iter().find(|rule| fits(rule, name, answer, json)) {
        return Judgement::Failed(rule.means, told().or(rule.after));
    }
    let status = answer.status;
    if request.success.contains(status) {
        let is_met = |(pointer, wanted): (&String, &Value)| json.and_then(|json| json.pointer(pointer)) == Some(wanted);
        return match (request.require.iter().all(is_met), answer.complete) {
            (true, _) => Judgement::Done,
            (false, true) => Judgement::Failed(Meaning::Refused, None),
            (false, false) => Judgement::Failed(Meaning::Unknown, None),
        };
    }
    let meaning = match status {
        401 => Meaning::Auth,
        404 | 410 if name.is_none_or(names_something) => Meaning::Gone,
        408 | 425 | 429 => Meaning::Retry,
        // A 503 means "not now", but a proxy in between says it, too: who can make sure, does.
        503 if effect == EffectClass::AtMostOnce => Meaning::Retry,
        500..=599 => may_have_happened(effect),
        _ => Meaning::Refused,
    };
    Judgement::Failed(meaning, told())
}

/// Whether the operation is about a contact, ticket or thread that may be gone. To the others a 404 is a wrong URL.
const fn names_something(name: OperationName) -> bool {
    !matches!(
        name,
        OperationName::FindContact | OperationName::CreateContact | OperationName::Probe
    )
}

/// What a failure of the server's own means: it may have struck after the effect.
const fn may_have_happened(effect: EffectClass) -> Meaning {
    match effect {
        EffectClass::Read => Meaning::Retry,
        EffectClass::Keyed(_) | EffectClass::Unique | EffectClass::Reconcilable | EffectClass::AtMostOnce => {
            Meaning::Unknown
        }
    }
}

fn fits(rule: &ErrorRule, name: Option<OperationName>, answer: &Answer, json: Option<&Value>) -> bool {
    let has_value = || match &rule.equals {
        None => true,
        Some((pointer, values)) => json
            .and_then(|json| json.pointer(pointer))
            .is_some_and(|value| values.contains(&text(Some(value)))),
    };
    let has_words = || {
        let body = String::from_utf8_lossy(&answer.body).to_lowercase();
        rule.contains.iter().any(|words| body.contains(&words.to_lowercase()))
    };
    rule.status.contains(answer.status)
        && (rule.operations.is_empty() || name.is_some_and(|name| rule.operations.contains(&name)))
        && has_value()
        && (rule.contains.is_empty() || has_words())
}

/// How long the other side wants to be left alone: `Retry-After`, or its own way of saying so.
pub(super) fn wait(waits: &[Wait], headers: &HeaderMap, json: Option<&Value>, now: DateTime<Utc>) -> Option<Duration> {
    let own = |wait: &Wait| {
        let written = match &wait.source {
            WaitSource::Header(header) => headers.get(header)?.to_str().ok()?.trim().to_owned(),
            WaitSource::Pointer(pointer) => text(json?.pointer(pointer)),
        };
        let number: f64 = written.parse().ok().filter(|number: &f64| number.is_finite())?;
        let seconds = match wait.unit {
            WaitUnit::Seconds => number,
            WaitUnit::Milliseconds => number / 1e3,
            #[expect(clippy::cast_precision_loss, reason = "a Unix time in seconds fits 52 bits")]
            WaitUnit::Unix => number - now.timestamp() as f64,
        };
        let wait = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST_WAIT);
        Some(wait.min(LONGEST_WAIT))
    };
    retry_after(headers, now).or_else(|| waits.iter().find_map(own))
}
