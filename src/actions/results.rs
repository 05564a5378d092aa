//! What one action may use of another: the results of the actions that it comes after, with every member there is.
//!
//! It must not run anything: an action whose results are not there yet waits for its turn.

use std::time::Duration;

use serde_json::{Map, Value};

use super::context::growing;
use super::progress::Journal;
use crate::config::Config;
use crate::config::action::{ActionSpec, Effect};
use crate::job::{Job, Outcome, waits_for};

/// The shortest wait for another action; its end wakes this one up anyway.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The results of the actions that `action` comes after, once all of them are done.
pub(super) async fn gather(
    config: &Config,
    journal: &Journal,
    action: &ActionSpec,
    job: &Job,
) -> Result<Value, Outcome> {
    let known = journal.results_of(job, &action.after).await?;
    let mut results = Map::new();
    for name in &action.after {
        let Some(other) = known.iter().find(|other| other.action == *name) else {
            return Err(Outcome::Cancel(format!(
                "it comes after `{name}`, which no rule has ordered for this message"
            )));
        };
        match other.state.as_str() {
            "done" => {}
            "discarded" | "cancelled" => {
                return Err(Outcome::Cancel(format!(
                    "it comes after `{name}`, which was {}",
                    other.state
                )));
            }
            _ => {
                return Err(Outcome::Snooze {
                    after: growing(job, LOOK_AGAIN),
                    reason: waits_for(name),
                });
            }
        }
        let result = other.result.clone().unwrap_or_default();
        results.insert(name.clone(), members(config, name, &result));
    }
    Ok(Value::Object(results))
}

/// The same with nothing known: for a look at what would be sent.
pub(super) fn unknown(config: &Config, action: &ActionSpec) -> Value {
    let members = |name: &String| (name.clone(), members(config, name, &Value::Null));
    action.after.iter().map(members).collect::<Map<_, _>>().into()
}

/// What a result has under `results.NAME`: always the same members, null where this result lacks one.
pub(super) fn members(config: &Config, name: &str, result: &Value) -> Value {
    let Some(action) = config.actions.get(name) else {
        return Value::Null;
    };
    let kept = match &action.effect {
        Effect::Http(_) => result.get("captures").unwrap_or(&Value::Null),
        Effect::Connector(_) | Effect::Email(_) | Effect::Log(_) | Effect::Reply(_) => result,
    };
    overlaid(action.empty_result(), kept)
}

/// `shape` with what `result` has of its members.
fn overlaid(shape: Value, result: &Value) -> Value {
    match shape {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, shape)| {
                let member = result.get(&name).unwrap_or(&Value::Null);
                let member = overlaid(shape, member);
                (name, member)
            })
            .collect::<Map<_, _>>()
            .into(),
        _ => result.clone(),
    }
}
