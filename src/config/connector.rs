//! What a connector action means once its file and the user's keys were read: every request compiled, nothing left to look
//! up by name.
//!
//! Types only. It must not read files or the environment (that is `config`'s reading half) nor send anything (`actions`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::HeaderName;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::action::{HttpSpec, OnUnknown, StatusSet};
use crate::template::{Template, Tree};

/// One connector action.
#[derive(Debug)]
pub struct ConnectorSpec {
    /// The connector's name, such as `zendesk`.
    pub connector: String,
    /// Its name for people.
    pub title: String,
    /// What this action does with it.
    pub flow: Flow,
    /// Stands for the account: what is remembered of one account must not be used with another. Hex, from the connector's
    /// name, its base URL and the knobs that choose an account.
    pub account: String,
    /// Values of the connector's knobs, rendered per message; templates find them under `knob`. No secrets.
    pub knobs: Vec<(String, Tree)>,
    /// How requests prove who we are, beyond headers that every operation already has.
    pub token: Option<TokenSpec>,
    /// What every secret of this connection is, so that none is ever repeated from an answer.
    pub secrets: Vec<SecretString>,
    /// How fast this connection may be used.
    pub rate: Option<Rate>,
    /// Where a wait is told, beside `Retry-After`.
    pub waits: Vec<Wait>,
    /// The connector's own reading of failures, tried in order before the usual one.
    pub errors: Vec<ErrorRule>,
    /// Its operations.
    pub operations: BTreeMap<OperationName, Operation>,
    /// Whether a contact that is not found is created.
    pub create_contact: bool,
    /// What to do when several contacts have the sender's number.
    pub several: Several,
    /// What to do with a text for a ticket that was closed.
    pub closed: Closed,
    /// Every name that templates may use of `contact`, `id` first: what the operations of this flow keep of one.
    pub contact_members: Vec<String>,
    /// The same of `ticket` and of `previous`.
    pub ticket_members: Vec<String>,
    /// The same of `thread`.
    pub thread_members: Vec<String>,
}

impl ConnectorSpec {
    /// A result of this action with every member it may have, each null. Of a ticket flow it is the ticket, of the others
    /// the note or the message, so that a template says `results.ticket.number`.
    pub fn empty_result(&self) -> Value {
        let made = || json!({ "id": null, "created": null });
        match self.flow {
            Flow::Attach => json!({ "id": null, "contact": made() }),
            Flow::Ticket => {
                let kept = self.ticket_members.iter().map(String::as_str);
                let own = [ID, "number", "created"];
                let mut ticket: Map<_, _> = kept.chain(own).map(|name| (name.to_owned(), Value::Null)).collect();
                ticket.insert("contact".to_owned(), made());
                ticket.insert("note".to_owned(), json!({ "id": null }));
                Value::Object(ticket)
            }
            Flow::Notify => json!({ "id": null }),
        }
    }
}

/// The member that everything that is remembered has.
pub(super) const ID: &str = "id";

/// The flows that the orchestrator knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Contact by number, created if need be; then a note on it.
    Attach,
    /// Contact by number; then its open ticket gets the text, or a new one is opened.
    Ticket,
    /// One message to people; texts of one sender stay together where the other side has threads.
    Notify,
}

impl Flow {
    /// Every flow.
    pub const ALL: [Self; 3] = [Self::Attach, Self::Ticket, Self::Notify];

    /// The flow of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flow| flow.as_str() == word)
    }

    /// The operations that it may use, [`OperationName::Probe`] aside.
    pub const fn operations(self) -> &'static [OperationName] {
        match self {
            Self::Attach => &[
                OperationName::FindContact,
                OperationName::CreateContact,
                OperationName::AddNote,
            ],
            Self::Ticket => &[
                OperationName::FindContact,
                OperationName::CreateContact,
                OperationName::FindOpenTicket,
                OperationName::ReadTicket,
                OperationName::CreateTicket,
                OperationName::AppendToTicket,
                OperationName::ReopenTicket,
            ],
            Self::Notify => &[OperationName::Notify],
        }
    }

    /// Those that it cannot do without.
    pub const fn needs(self) -> &'static [OperationName] {
        match self {
            Self::Attach => &[OperationName::FindContact, OperationName::AddNote],
            Self::Ticket => &[
                OperationName::FindContact,
                OperationName::FindOpenTicket,
                OperationName::CreateTicket,
                OperationName::AppendToTicket,
            ],
            Self::Notify => &[OperationName::Notify],
        }
    }

    /// The word in configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Ticket => "ticket",
            Self::Notify => "notify",
        }
    }
}

/// The closed set of operations that flows are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OperationName {
    /// Contacts that may have the sender's number.
    FindContact,
    /// A new contact with the sender's number.
    CreateContact,
    /// The text on the contact.
    AddNote,
    /// The contact's open tickets.
    FindOpenTicket,
    /// The state of a ticket that is remembered.
    ReadTicket,
    /// A new ticket with the text.
    CreateTicket,
    /// The text on an open ticket.
    AppendToTicket,
    /// A closed ticket made open again.
    ReopenTicket,
    /// A message to people.
    Notify,
    /// A cheap authenticated read, for `doctor`.
    Probe,
}

impl OperationName {
    /// Every operation.
    pub const ALL: [Self; 10] = [
        Self::FindContact,
        Self::CreateContact,
        Self::AddNote,
        Self::FindOpenTicket,
        Self::ReadTicket,
        Self::CreateTicket,
        Self::AppendToTicket,
        Self::ReopenTicket,
        Self::Notify,
        Self::Probe,
    ];

    /// The word in connector files, progress and errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FindContact => "find_contact",
            Self::CreateContact => "create_contact",
            Self::AddNote => "add_note",
            Self::FindOpenTicket => "find_open_ticket",
            Self::ReadTicket => "read_ticket",
            Self::CreateTicket => "create_ticket",
            Self::AppendToTicket => "append_to_ticket",
            Self::ReopenTicket => "reopen_ticket",
            Self::Notify => "notify",
            Self::Probe => "probe",
        }
    }

    /// The operation of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    /// Its request, with this account in it.
    pub request: HttpSpec,
    /// What is known about doing it twice.
    pub effect: EffectClass,
    /// What to do about an unclear end that cannot be cleared up.
    pub on_unknown: OnUnknown,
    /// How long after an unclear end its lookup begins.
    pub settle: Duration,
    /// Lookups after an unclear end, in turn; the last one decides. Empty where there is none.
    pub reconcile: Vec<Lookup>,
    /// What to read of the answer.
    pub hits: Hits,
    /// Of an append: it opens a closed ticket again by itself.
    pub reopens: bool,
    /// Of a notification: the first one's ID is remembered per sender, as `thread.id`.
    pub threads: bool,
}

/// What doing an operation twice comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EffectClass {
    /// It changes nothing, or the same twice is the same once.
    Read,
    /// The other side honours an idempotency key for so long.
    Keyed(Duration),
    /// A unique business key stands in: the second time finds or overwrites the first.
    Unique,
    /// It can be looked up afterwards.
    Reconcilable,
    /// None of these: twice is twice.
    AtMostOnce,
}

impl EffectClass {
    /// The word in connector files and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Keyed(_) => "keyed",
            Self::Unique => "unique",
            Self::Reconcilable => "reconcilable",
            Self::AtMostOnce => "at_most_once",
        }
    }
}

/// Where in an answer the things are that it is about.
#[derive(Debug, Default)]
pub struct Hits {
    /// JSON pointer of the list; `None`: the answer is one thing itself.
    pub items: Option<String>,
    /// Pointer of the ID within a thing.
    pub id: Option<String>,
    /// Pointers of phone numbers within a thing; `*` stands for every element of a list. A hit none of whose numbers is the
    /// sender's is not taken. Empty: not checked (what the search itself guarantees must be said in the file).
    pub phones: Vec<String>,
    /// Pointer of a value by which the newest thing comes first (compared as text).
    pub newest: Option<String>,
    /// What else to keep of it, under which name.
    pub keep: Vec<(String, String)>,
    /// Only things of which all of these hold: the value at the pointer, as text, is the rendered value or is in its list.
    pub filter: Vec<(String, Tree)>,
}

/// A lookup of something we may have made.
#[derive(Debug)]
pub struct Lookup {
    /// The request; `found` has the IDs of the lookup before, `page` that of the page.
    pub request: HttpSpec,
    /// What to read of the answer.
    pub hits: Hits,
    /// The thing is ours if the text at every pointer has every rendered text in it.
    pub contains: Vec<(String, Template)>,
    /// Pointer of what the next page is asked for with, absent or null on the last; or `+1` where pages are numbered from 1
    /// and an empty one is the last.
    pub next: Option<String>,
    /// How many of `found` one request can name; all at once without it.
    pub each: Option<usize>,
}

/// A token that is fetched, cached and sent as a header.
#[derive(Debug)]
pub struct TokenSpec {
    /// The request; its body may name `secret.…`, and is never stored or shown.
    pub request: HttpSpec,
    /// The secrets that it may name.
    pub secrets: Vec<(String, SecretString)>,
    /// Pointer of the token in the answer.
    pub access_token: String,
    /// Pointer of its lifetime in seconds.
    pub expires_in: String,
    /// The header that carries it.
    pub header: HeaderName,
    /// Text before it, such as `Bearer `.
    pub prefix: String,
}

/// So many requests within so long.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Requests; also the most at once.
    pub requests: u32,
    /// Within this.
    pub per: Duration,
}

/// Where an answer says how long to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wait {
    /// Where.
    pub source: WaitSource,
    /// In what unit.
    pub unit: WaitUnit,
}

/// A header or a place in the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaitSource {
    /// A header.
    Header(HeaderName),
    /// A JSON pointer.
    Pointer(String),
}

/// How a wait is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitUnit {
    /// Seconds from now, fractions allowed.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// A Unix time in seconds.
    Unix,
}

/// A failure of the connector's own, and what it means.
#[derive(Debug)]
pub struct ErrorRule {
    /// Statuses it is about.
    pub status: StatusSet,
    /// Operations it is about; empty: all.
    pub operations: Vec<OperationName>,
    /// The value at the pointer, as text, is one of these.
    pub equals: Option<(String, Vec<String>)>,
    /// The body has one of these in it, letter case aside; empty: not looked at.
    pub contains: Vec<String>,
    /// What it means.
    pub means: Meaning,
    /// How long to wait, for [`Meaning::Retry`].
    pub after: Option<Duration>,
}

/// What an answer means for the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// It passes by itself.
    Retry,
    /// Our credentials are not taken.
    Auth,
    /// The contact, ticket or thread that it is about is not there.
    Gone,
    /// The ticket takes nothing more.
    Closed,
    /// What was to be created is there already.
    Exists,
    /// It may have been done.
    Unknown,
    /// It will never be taken.
    Refused,
}

/// Which of several contacts with one number is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Several {
    /// The first, which is the newest where the connector can tell.
    First,
    /// A person has to decide: the job is discarded with that reason.
    Fail,
}

/// What a text for a closed ticket does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// It opens the ticket again where the other side can; else a new one.
    Reopen,
    /// It opens a new one.
    New,
}
