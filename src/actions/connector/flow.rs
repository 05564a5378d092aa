//! The three flows: which operation comes next, and what is remembered of the sender.
//!
//! What is remembered is used first, because another system's search lags behind; what turns out to be gone or closed is
//! forgotten and found again. It must not send anything itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Run;
use super::operation::Performed;
use super::steps::{Made, Thing};
use crate::config::connector::{Closed, Flow, OperationName, Several};
use crate::job::Outcome;
use crate::store::{LinkChange, LinkKind};

/// How often one attempt follows a ticket that turns out to be closed or gone before it leaves that to the next.
const MOST_TURNS: usize = 4;

impl Run<'_> {
    /// Runs the action's flow to its end; the result is what other actions of the message may use.
    pub(super) async fn flow(&mut self) -> Result<Value, Outcome> {
        match self.spec.flow {
            Flow::Attach => self.attach().await,
            Flow::Ticket => self.ticket().await,
            Flow::Notify => self.notify().await,
        }
    }

    async fn attach(&mut self) -> Result<Value, Outcome> {
        for _ in 0..MOST_TURNS {
            self.contact().await?;
            match self.perform(OperationName::AddNote).await? {
                Performed::Done(note) => {
                    self.save().await?;
                    return Ok(self.result(Some(&note)));
                }
                Performed::Exists => {
                    self.save().await?;
                    return Ok(self.result(None));
                }
                Performed::Gone | Performed::Closed => self.forget_contact().await?,
            }
        }
        Err(gave_up("the contact"))
    }

    async fn ticket(&mut self) -> Result<Value, Outcome> {
        for _ in 0..MOST_TURNS {
            self.contact().await?;
            if self.steps.ticket.is_none() && !self.steps.is_unclear(OperationName::CreateTicket) {
                self.open_ticket().await?;
            }
            if self.steps.contact.is_none() {
                continue;
            }
            let filed = match &self.steps.ticket {
                Some(ticket) if ticket.created => Some(None),
                Some(_) => self.append().await?.map(Some),
                None => self.create_ticket().await?.then_some(None),
            };
            if let Some(note) = filed {
                self.save().await?;
                return Ok(self.result(note.as_ref()));
            }
        }
        Err(gave_up("a ticket that takes the text"))
    }

    async fn notify(&mut self) -> Result<Value, Outcome> {
        let threads = self
            .spec
            .operations
            .get(&OperationName::Notify)
            .is_some_and(|operation| operation.threads);
        if threads {
            self.thread = self.remembered(LinkKind::Thread).await?;
        }
        for _ in 0..2 {
            match self.perform(OperationName::Notify).await? {
                Performed::Done(message) => {
                    if threads && self.thread.is_none() && !message.id.is_empty() {
                        self.remember(LinkKind::Thread, &message.id, &message.kept);
                    }
                    self.save().await?;
                    let id = (!message.id.is_empty()).then_some(message.id);
                    return Ok(json!({ "id": id }));
                }
                Performed::Exists => return Ok(json!({ "id": null })),
                Performed::Gone | Performed::Closed if self.thread.take().is_some() => {
                    self.changes.push(LinkChange {
                        kind: LinkKind::Thread,
                        link: None,
                    });
                    self.save().await?;
                }
                Performed::Gone | Performed::Closed => break,
            }
        }
        Err(Outcome::Discard(
            "notify: what it is sent to is not there any more".to_owned(),
        ))
    }

    /// Makes sure that the contact is known: remembered, found, or created.
    async fn contact(&mut self) -> Result<(), Outcome> {
        if self.steps.contact.is_some() {
            return Ok(());
        }
        if !self.steps.is_unclear(OperationName::CreateContact) {
            if let Some(contact) = self.remembered(LinkKind::Contact).await? {
                self.steps.contact = Some(contact);
                return Ok(());
            }
            if let Some(contact) = self.find_contact().await? {
                self.remember(LinkKind::Contact, &contact.id, &contact.kept);
                self.steps.contact = Some(contact);
                return Ok(());
            }
            if !self.spec.create_contact {
                return Err(Outcome::Discard(
                    "there is no contact with the sender's number, and `create_contact` is off".to_owned(),
                ));
            }
        }
        let made = self.make(OperationName::CreateContact).await?;
        self.remember(LinkKind::Contact, &made.id, &made.kept);
        self.steps.contact = Some(Thing {
            id: made.id,
            kept: made.kept,
            created: true,
        });
        self.save().await
    }

    async fn find_contact(&mut self) -> Result<Option<Thing>, Outcome> {
        let mut hits = self.read(OperationName::FindContact).await?.unwrap_or_default();
        let mut seen = BTreeSet::new();
        hits.retain(|hit| !hit.id.is_empty() && seen.insert(hit.id.clone()));
        if hits.len() > 1 && self.spec.several == Several::Fail {
            return Err(Outcome::Discard(format!(
                "{} contacts have the sender's number; merge them there, or set `several = \"first\"`",
                hits.len()
            )));
        }
        Ok(hits.into_iter().next().map(|hit| Thing::of(hit, false)))
    }

    /// Creates something that the flow needs the ID of; what is there already is found.
    async fn make(&mut self, name: OperationName) -> Result<Made, Outcome> {
        match self.perform(name).await? {
            Performed::Done(made) => return Ok(made),
            Performed::Exists => {}
            Performed::Gone | Performed::Closed => {
                return Err(Outcome::Discard(format!("{name}: what it belongs to is not there")));
            }
        }
        if let Some(operation) = self
            .spec
            .operations
            .get(&name)
            .filter(|operation| !operation.reconcile.is_empty())
            && let Some(hit) = self.look_up(name, operation).await?
        {
            return Ok(Made {
                id: hit.id,
                kept: hit.kept,
            });
        }
        let found = match name {
            OperationName::CreateContact => self.find_contact().await?,
            _ => None,
        };
        let found = found.map(|thing| Made {
            id: thing.id,
            kept: thing.kept,
        });
        found.ok_or_else(|| Outcome::Retry {
            error: format!("{name}: it is there already, they say, and cannot be found yet"),
            after: None,
        })
    }

    /// Finds the ticket that the text belongs to, if one is open.
    async fn open_ticket(&mut self) -> Result<(), Outcome> {
        if let Some(ticket) = self.remembered(LinkKind::Ticket).await? {
            self.steps.ticket = Some(ticket);
            if self.is_still_open().await? {
                return Ok(());
            }
        }
        match self.read(OperationName::FindOpenTicket).await? {
            Some(hits) => {
                if let Some(hit) = hits.into_iter().find(|hit| !hit.id.is_empty()) {
                    let ticket = Thing::of(hit, false);
                    self.remember(LinkKind::Ticket, &ticket.id, &ticket.kept);
                    self.steps.ticket = Some(ticket);
                }
                Ok(())
            }
            None => self.forget_contact().await,
        }
    }

    /// Looks at the remembered ticket; false, and forgotten, if the text does not belong to it any more.
    async fn is_still_open(&mut self) -> Result<bool, Outcome> {
        if !self.spec.operations.contains_key(&OperationName::ReadTicket) {
            return Ok(true);
        }
        match self.read(OperationName::ReadTicket).await? {
            Some(hits) if !hits.is_empty() => Ok(true),
            Some(_) if self.spec.closed == Closed::Reopen && self.can_reopen() => {
                self.steps.reopen = true;
                Ok(true)
            }
            Some(_) => {
                self.follow_up();
                Ok(false)
            }
            None => {
                self.forget_ticket();
                Ok(false)
            }
        }
    }

    /// Whether a text can open a closed ticket again.
    fn can_reopen(&self) -> bool {
        let appends = self.spec.operations.get(&OperationName::AppendToTicket);
        self.spec.operations.contains_key(&OperationName::ReopenTicket) || appends.is_some_and(|append| append.reopens)
    }

    /// Appends the text to the ticket. `None`: that ticket is no more, another has to be found.
    async fn append(&mut self) -> Result<Option<Made>, Outcome> {
        match self.perform(OperationName::AppendToTicket).await? {
            Performed::Done(note) => {
                self.save().await?;
                if self.steps.reopen {
                    self.reopen().await?;
                }
                Ok(Some(note))
            }
            Performed::Exists => Ok(Some(Made {
                id: String::new(),
                kept: serde_json::Map::new(),
            })),
            Performed::Closed
                if self.spec.closed == Closed::Reopen
                    && !self.steps.done.contains_key(OperationName::ReopenTicket.as_str())
                    && self.spec.operations.contains_key(&OperationName::ReopenTicket) =>
            {
                // Opened first, then: it takes nothing while it is closed.
                if !self.reopen().await? {
                    self.follow_up();
                    self.save().await?;
                }
                Ok(None)
            }
            Performed::Closed => {
                self.follow_up();
                self.save().await?;
                Ok(None)
            }
            Performed::Gone => {
                self.forget_ticket();
                self.save().await?;
                Ok(None)
            }
        }
    }

    /// Opens the ticket again; false if it will not be opened.
    async fn reopen(&mut self) -> Result<bool, Outcome> {
        if !self.spec.operations.contains_key(&OperationName::ReopenTicket) {
            return Ok(true);
        }
        let reopened = self.perform(OperationName::ReopenTicket).await?;
        self.save().await?;
        Ok(matches!(reopened, Performed::Done(_) | Performed::Exists))
    }

    /// Opens a new ticket. False: what it was to follow or belong to is gone, and was forgotten.
    async fn create_ticket(&mut self) -> Result<bool, Outcome> {
        let made = match self.perform(OperationName::CreateTicket).await? {
            Performed::Done(made) => made,
            Performed::Exists => self.make(OperationName::CreateTicket).await?,
            Performed::Gone | Performed::Closed if self.steps.previous.take().is_some() => {
                self.save().await?;
                return Ok(false);
            }
            Performed::Gone | Performed::Closed => {
                self.forget_contact().await?;
                return Ok(false);
            }
        };
        self.remember(LinkKind::Ticket, &made.id, &made.kept);
        self.steps.ticket = Some(Thing {
            id: made.id,
            kept: made.kept,
            created: true,
        });
        Ok(true)
    }

    async fn remembered(&self, kind: LinkKind) -> Result<Option<Thing>, Outcome> {
        let links = self
            .journal
            .links(&self.spec.account, &self.job.action, &self.job.message.sender)
            .await?;
        let link = links.into_iter().find(|link| link.kind == kind);
        Ok(link.map(|link| Thing {
            id: link.remote_id,
            kept: match link.kept {
                Value::Object(kept) => kept,
                _ => serde_json::Map::new(),
            },
            created: false,
        }))
    }

    fn remember(&mut self, kind: LinkKind, id: &str, kept: &serde_json::Map<String, Value>) {
        self.changes.push(LinkChange {
            kind,
            link: Some((id.to_owned(), Value::Object(kept.clone()))),
        });
    }

    fn forget_ticket(&mut self) {
        self.steps.ticket = None;
        self.changes.push(LinkChange {
            kind: LinkKind::Ticket,
            link: None,
        });
    }

    /// The next ticket follows this one.
    fn follow_up(&mut self) {
        self.steps.previous = self.steps.ticket.clone();
        self.steps.reopen = false;
        self.forget_ticket();
    }

    async fn forget_contact(&mut self) -> Result<(), Outcome> {
        self.steps.contact = None;
        // What was made for a contact that is gone is gone with it.
        self.steps.done.remove(OperationName::CreateContact.as_str());
        self.changes.push(LinkChange {
            kind: LinkKind::Contact,
            link: None,
        });
        self.save().await
    }

    /// What is kept of the job: the ticket, or else the note, and whose contact it is on.
    fn result(&self, note: Option<&Made>) -> Value {
        let contact = self.steps.contact.as_ref();
        let contact = json!({
            "id": contact.map(|contact| &contact.id),
            "created": contact.is_some_and(|contact| contact.created),
        });
        let note = note.map(|note| &note.id).filter(|id| !id.is_empty());
        let Some(ticket) = &self.steps.ticket else {
            return json!({ "id": note, "contact": contact });
        };
        let mut result = ticket.kept.clone();
        result.insert("id".to_owned(), ticket.id.clone().into());
        // What people call it by; where that is the ID itself, no file has to say so.
        if result.get("number").is_none_or(Value::is_null) {
            result.insert("number".to_owned(), ticket.id.clone().into());
        }
        result.insert("created".to_owned(), ticket.created.into());
        result.insert("contact".to_owned(), contact);
        result.insert("note".to_owned(), json!({ "id": note }));
        Value::Object(result)
    }
}

fn gave_up(what: &str) -> Outcome {
    Outcome::Retry {
        error: format!("{what} was gone or closed again and again"),
        after: None,
    }
}
