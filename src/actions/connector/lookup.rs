//! Looking for what we may have made: the lookups of an operation in turn, page by page; the last one decides.
//!
//! It must not change anything on the other side.

use serde_json::{Value, json};

use super::Run;
use super::classify::judge_read;
use super::hits::{self, Hit, text};
use super::operation::Said;
use crate::actions::request::Rendered;
use crate::config::connector::{Lookup, Meaning, Operation, OperationName};
use crate::job::Outcome;
use crate::template::{Context, TemplateError};

/// Pages that one lookup reads. Who has more than that cannot be looked through in an attempt.
const MOST_PAGES: usize = 10;
/// The word for pages that are counted.
const NUMBERED: &str = "+1";

impl Run<'_> {
    /// What an earlier attempt at `name` made, if it made anything.
    pub(super) async fn look_up(&self, name: OperationName, operation: &Operation) -> Result<Option<Hit>, Outcome> {
        let mut found = Vec::new();
        for (turn, lookup) in operation.reconcile.iter().enumerate() {
            if turn > 0 && found.is_empty() {
                return Ok(None);
            }
            let ids: Vec<Value> = found.iter().map(|hit: &Hit| Value::from(hit.id.clone())).collect();
            found = Vec::new();
            // The first lookup has nothing to name, and is made all the same.
            let all = ids.len().max(1);
            let chunks = ids
                .chunks(lookup.each.unwrap_or(all))
                .chain(ids.is_empty().then_some(&[][..]));
            for ids in chunks {
                found.extend(self.look(name, lookup, ids).await?);
            }
        }
        Ok(found.into_iter().next())
    }

    /// Everything of ours that one lookup finds.
    async fn look(&self, name: OperationName, lookup: &Lookup, found: &[Value]) -> Result<Vec<Hit>, Outcome> {
        let numbered = lookup.next.as_deref() == Some(NUMBERED);
        let mut ours = Vec::new();
        let mut page = if numbered { json!(1) } else { Value::Null };
        for turn in 1..=MOST_PAGES {
            let names = self.names_with(name, &[("found", json!(found)), ("page", page)]);
            let Some(answer) = self.page(name, lookup, &names).await? else {
                return Ok(ours);
            };
            let hits = hits::read(&lookup.hits, &answer, &self.job.message.sender, &names);
            for hit in hits.map_err(|error| unreadable(name, &error))? {
                if is_ours(lookup, &hit, &names).map_err(|error| unreadable(name, &error))? {
                    ours.push(hit);
                }
            }
            page = match lookup.next.as_deref() {
                Some(NUMBERED) if hits::is_empty(&lookup.hits, &answer) => Value::Null,
                Some(NUMBERED) => json!(turn + 1),
                Some(next) => answer.pointer(next).cloned().unwrap_or_default(),
                None => Value::Null,
            };
            if page == Value::Bool(false) || text(Some(&page)).is_empty() {
                return Ok(ours);
            }
        }
        if ours.is_empty() {
            return Err(Outcome::Discard(format!(
                "{name}: it may have been received, and there is too much to look through to know; look there, and then \
                 `smshook jobs retry` or `jobs discard`"
            )));
        }
        Ok(ours)
    }

    /// One page; `None` if what is looked at is not there.
    async fn page(&self, name: OperationName, lookup: &Lookup, names: &Context) -> Result<Option<Value>, Outcome> {
        let request = Rendered::reuse_or_make(None, &lookup.request, "", &self.key(name), names)
            .map_err(|error| Outcome::Discard(format!("{name}: the lookup does not render: {error}")))?;
        self.leave_to_send().await?;
        let said = self
            .converse(name, &lookup.request, &request, |answer, json, now| {
                judge_read(self.spec, &lookup.request, answer, json, now)
            })
            .await?;
        let failed = |error: String, after| Outcome::Retry {
            error: format!("{name}: it may have been received, and cannot be looked up: {error}"),
            after,
        };
        match said {
            Said::Done(_, json) => Ok(Some(json.unwrap_or_default())),
            Said::No {
                meaning: Meaning::Gone, ..
            } => Ok(None),
            Said::No {
                meaning: Meaning::Auth,
                error,
                ..
            } => Err(Outcome::Pause(format!("{name}: {error}"))),
            Said::No { error, after, .. } => Err(failed(error, after)),
            Said::NotSent(error) | Said::Refused(error) | Said::Unknown(error) => Err(failed(error, None)),
        }
    }
}

fn is_ours(lookup: &Lookup, hit: &Hit, names: &Context) -> Result<bool, TemplateError> {
    for (pointer, template) in &lookup.contains {
        let wanted = template.render(names)?;
        let has = |value: &&Value| text(Some(value)).contains(&wanted);
        if wanted.is_empty() || !hits::all_at(&hit.value, pointer).iter().any(has) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unreadable(name: OperationName, error: &TemplateError) -> Outcome {
    Outcome::Discard(format!("{name}: the lookup's answer cannot be read: {error}"))
}
