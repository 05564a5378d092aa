//! The orchestrator: the three flows over a connector's operations, so that a text is filed once whatever fails in between.
//!
//! `flow` decides what comes next, `operation` does one thing once, `lookup` finds out what became of it, `classify` says what
//! an answer means, `hits` what is in it, `steps` what is written down, `token` and `rate` belong to the account. It must not
//! know any vendor: all of that is in `connectors/*.toml`.

mod classify;
mod flow;
mod hits;
mod lookup;
mod operation;
mod rate;
mod steps;
mod token;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use self::rate::Bucket;
use self::steps::{Steps, Thing};
use self::token::TokenCache;
use super::Probed;
use super::client::Client;
use super::context::{growing, names, operation_key};
use super::progress::Journal;
use super::request::{Credential, Rendered};
use crate::config::connector::{ConnectorSpec, Flow, OperationName};
use crate::job::{Job, Outcome};
use crate::phone;
use crate::store::{LinkChange, Turn};
use crate::template::Context;

/// How soon to look again whether another job is done finding or creating for the same sender.
const NEXT_TURN: std::time::Duration = std::time::Duration::from_millis(200);
/// Characters of a marker: 130 bits, so that no two operations share one.
const MARKER_CHARS: usize = 26;
/// The ID of a contact in a preview: some systems take only numbers.
const STAND_IN: &str = "1";

/// One account of an outside system, shared by every action that uses it.
pub(super) struct Connection {
    client: Client,
    bucket: Arc<Bucket>,
    token: Arc<TokenCache>,
}

impl Connection {
    pub(super) fn new(client: Client, spec: &ConnectorSpec) -> Self {
        Self {
            client,
            bucket: Arc::new(Bucket::new(spec.rate)),
            token: Arc::default(),
        }
    }

    /// The same account for another action, which may reach other networks.
    pub(super) fn shared(&self, client: Client) -> Self {
        Self {
            client,
            bucket: Arc::clone(&self.bucket),
            token: Arc::clone(&self.token),
        }
    }

    /// Whether the account has no time for another job now.
    pub(super) fn is_closed(&self) -> bool {
        self.bucket.is_closed()
    }

    async fn credential(&self, spec: &ConnectorSpec, knobs: &Value) -> Result<Option<Credential>, Outcome> {
        match &spec.token {
            Some(token) => self.token.credential(&self.client, token, knobs).await.map(Some),
            None => Ok(None),
        }
    }
}

/// One attempt of one job.
struct Run<'a> {
    journal: &'a Journal,
    connection: &'a Connection,
    spec: &'a ConnectorSpec,
    job: &'a Job,
    steps: Steps,
    /// What is remembered of the sender changes with the next save.
    changes: Vec<LinkChange>,
    /// The thread that earlier messages of the sender are in.
    thread: Option<Thing>,
    /// The user's values, rendered for this message.
    knobs: Value,
    /// When the request about to be sent was first sent.
    first_at: Option<DateTime<Utc>>,
}

/// Runs an attempt.
pub(super) async fn run(journal: &Journal, connection: &Connection, spec: &ConnectorSpec, job: &Job) -> Outcome {
    attempt(journal, connection, spec, job)
        .await
        .unwrap_or_else(|outcome| outcome)
}

async fn attempt(
    journal: &Journal,
    connection: &Connection,
    spec: &ConnectorSpec,
    job: &Job,
) -> Result<Outcome, Outcome> {
    if spec.flow != Flow::Notify && phone::spellings(&job.message.sender).is_none() {
        return Err(Outcome::Cancel(
            "the sender is a name or a short code, and a contact needs a telephone number".to_owned(),
        ));
    }
    let mut run = Run::begin(journal, connection, spec, job)?;
    match journal.take_turn(job, &spec.account).await? {
        Turn::Taken => {}
        Turn::LeaseLost => return Err(Outcome::Release),
        Turn::Busy => {
            return Err(Outcome::Snooze {
                after: growing(job, NEXT_TURN),
                reason: "another job is finding or creating the same contact".to_owned(),
            });
        }
    }
    let ended = run.flow().await;
    // Kept while it is not known whether something was created: whoever comes next would create it again.
    if !run.steps.pending.as_ref().is_some_and(|pending| pending.unclear) {
        journal.leave_turn(job).await?;
    }
    Ok(Outcome::Done(ended?))
}

impl<'a> Run<'a> {
    fn begin(
        journal: &'a Journal,
        connection: &'a Connection,
        spec: &'a ConnectorSpec,
        job: &'a Job,
    ) -> Result<Self, Outcome> {
        Ok(Self {
            journal,
            connection,
            spec,
            job,
            steps: Steps::of(job, &spec.account)?,
            changes: Vec::new(),
            thread: None,
            knobs: knobs(spec, job)?,
            first_at: None,
        })
    }

    /// Writes down where the flow is, and with it what is remembered of the sender.
    async fn save(&mut self) -> Result<(), Outcome> {
        let changes = std::mem::take(&mut self.changes);
        self.journal
            .save_step(self.job, &self.spec.account, &self.steps.to_value(), &changes)
            .await
    }

    /// The stable name of an operation of this job, for the other side to know it by.
    fn key(&self, name: OperationName) -> String {
        format!("{}-{name}", operation_key(self.job))
    }

    fn names(&self, name: OperationName) -> Context {
        self.names_with(name, &[])
    }

    fn names_with(&self, name: OperationName, more: &[(&str, Value)]) -> Context {
        let known = Known {
            spec: self.spec,
            job: self.job,
            steps: &self.steps,
            thread: self.thread.as_ref(),
            knobs: &self.knobs,
        };
        known.names(&self.key(name), more)
    }
}

/// What is known when an operation is rendered.
struct Known<'a> {
    spec: &'a ConnectorSpec,
    job: &'a Job,
    steps: &'a Steps,
    thread: Option<&'a Thing>,
    knobs: &'a Value,
}

impl Known<'_> {
    /// What the templates of the operation with this key may use.
    fn names(&self, key: &str, more: &[(&str, Value)]) -> Context {
        let mut all = names(self.job, self.job.claimed_at);
        if let Value::Object(all) = &mut all {
            let (contact, ticket) = (&self.spec.contact_members, &self.spec.ticket_members);
            all.extend(own_names(self.job, key));
            all.extend([
                ("knob".to_owned(), self.knobs.clone()),
                ("contact".to_owned(), thing(self.steps.contact.as_ref(), contact)),
                ("ticket".to_owned(), thing(self.steps.ticket.as_ref(), ticket)),
                ("previous".to_owned(), thing(self.steps.previous.as_ref(), ticket)),
                ("thread".to_owned(), thing(self.thread, &self.spec.thread_members)),
                ("found".to_owned(), json!([])),
                ("page".to_owned(), Value::Null),
            ]);
            all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        Context::new(all)
    }
}

/// Names that depend on nothing but the job.
fn own_names(job: &Job, key: &str) -> Map<String, Value> {
    let phone = phone::spellings(&job.message.sender);
    let spelt = |of: fn(phone::Spellings) -> String| phone.clone().map(of);
    let own = json!({
        "phone": {
            "e164": spelt(|phone| phone.e164),
            "digits": spelt(|phone| phone.digits),
            "national": spelt(|phone| phone.national),
        },
        "key": key,
        "marker": marker(key),
        "today": job.claimed_at.format("%Y-%m-%d").to_string(),
    });
    match own {
        Value::Object(own) => own,
        _ => Map::new(),
    }
}

/// A short name for an operation, of letters and digits that every system keeps as they are (RFC 4648 base 32).
fn marker(key: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(key.as_bytes());
    let letter = |at: usize| {
        let bit = |offset: usize| {
            let place = at * 5 + offset;
            hash.get(place / 8).map_or(0, |byte| (byte >> (7 - place % 8)) & 1)
        };
        let index = (0..5).fold(0, |index, offset| index << 1 | bit(offset));
        ALPHABET
            .get(usize::from(index))
            .map_or('a', |&letter| char::from(letter))
    };
    (0..MARKER_CHARS).map(letter).collect()
}

/// A thing as templates see it: every member there is, null where it is not known.
fn thing(thing: Option<&Thing>, members: &[String]) -> Value {
    let mut seen: Map<String, Value> = members.iter().map(|member| (member.clone(), Value::Null)).collect();
    seen.insert(
        "id".to_owned(),
        thing.map_or(Value::Null, |thing| thing.id.clone().into()),
    );
    for (name, value) in thing.iter().flat_map(|thing| &thing.kept) {
        seen.insert(name.clone(), value.clone());
    }
    Value::Object(seen)
}

fn knobs(spec: &ConnectorSpec, job: &Job) -> Result<Value, Outcome> {
    let names = super::context::context(job, job.claimed_at);
    let mut knobs = Map::new();
    for (name, tree) in &spec.knobs {
        let value = tree
            .render(&names)
            .map_err(|error| Outcome::Discard(format!("`{name}` does not render: {error}")))?;
        knobs.insert(name.clone(), value);
    }
    Ok(Value::Object(knobs))
}

/// What would be sent, for a person to read: as if the sender's contact were found and had no open ticket. Sends nothing.
pub(super) fn preview(spec: &ConnectorSpec, job: &Job) -> Result<Value, String> {
    let knobs = knobs(spec, job).map_err(|outcome| format!("{outcome:?}"))?;
    let steps = Steps {
        contact: Some(Thing {
            id: STAND_IN.to_owned(),
            kept: Map::new(),
            created: false,
        }),
        ..Steps::default()
    };
    let known = Known {
        spec,
        job,
        steps: &steps,
        thread: None,
        knobs: &knobs,
    };
    let shown: &[OperationName] = match spec.flow {
        Flow::Attach => &[OperationName::FindContact, OperationName::AddNote],
        Flow::Ticket => &[
            OperationName::FindContact,
            OperationName::FindOpenTicket,
            OperationName::CreateTicket,
        ],
        Flow::Notify => &[OperationName::Notify],
    };
    let mut requests = Vec::new();
    for (&name, operation) in shown.iter().filter_map(|name| Some((name, spec.operations.get(name)?))) {
        let key = format!("{}-{name}", operation_key(job));
        let request = Rendered::reuse_or_make(None, &operation.request, "", &key, &known.names(&key, &[]))
            .map_err(|error| format!("{name}: {error}"))?;
        requests.push(json!({ "operation": name.as_str(), "request": request.preview(&operation.request) }));
    }
    let assumes = match spec.flow {
        Flow::Attach => format!("the contact is found and has the ID {STAND_IN}"),
        Flow::Ticket => format!("the contact is found, has the ID {STAND_IN} and no open ticket"),
        Flow::Notify => return Ok(json!({ "connector": spec.connector, "flow": "notify", "requests": requests })),
    };
    Ok(json!({ "connector": spec.connector, "flow": spec.flow.as_str(), "assumes": assumes, "requests": requests }))
}

/// Asks a connection whether it is there and takes our credentials.
pub(super) async fn probe(connection: &Connection, spec: &ConnectorSpec, job: &Job) -> Probed {
    if !spec.operations.contains_key(&OperationName::Probe) {
        return Probed::NotAsked;
    }
    let asked = async {
        Run::begin(&Journal::Trial, connection, spec, job)?
            .read(OperationName::Probe)
            .await
    };
    match asked.await {
        Ok(Some(_)) => Probed::Answers,
        Ok(None) => Probed::Fails("answered 404: is the address right?".to_owned()),
        Err(Outcome::Pause(error)) => Probed::CredentialsRefused(error),
        Err(Outcome::Retry { error, .. } | Outcome::Discard(error) | Outcome::Snooze { reason: error, .. }) => {
            Probed::Fails(error)
        }
        Err(Outcome::Cancel(error)) => Probed::Fails(error),
        Err(Outcome::Done(_) | Outcome::Release) => Probed::NotAsked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_26_letters_that_depend_on_the_operation_alone() {
        let one = marker("smshook-a-1-create_ticket");
        assert_eq!(one, marker("smshook-a-1-create_ticket"));
        assert_ne!(one, marker("smshook-a-2-create_ticket"));
        assert_eq!(one.len(), MARKER_CHARS);
        assert!(
            one.bytes()
                .all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
        );
        // RFC 4648 base 32 of SHA-256 of nothing, lower case.
        assert_eq!(marker(""), "4oymiquy7qobjgx36tejs35zeq");
    }
}
