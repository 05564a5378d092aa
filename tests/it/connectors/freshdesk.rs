//! Freshdesk: tickets with public notes of the customer. The stand-in has Freshdesk's own habits: a contact search that
//! lags and reads its own query language, lists that hide what is older than 30 days, pages of a bare list, numbers that
//! must be numbers, HTML that is cleaned, 409 for a taken `unique_external_id`.

use serde_json::{Value, json};

use super::contract::{self, Contract};
use super::markup::{seen, unmarked};
use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, Lag, StandIn, Vendor, person};
use crate::helpers::App;

const API_KEY: &str = "fd_key_of_the_tests";

struct Contact {
    id: u64,
    mobile: String,
    phone: String,
    external: Option<String>,
}

struct Ticket {
    id: u64,
    requester: u64,
    status: u64,
    description: String,
    rest: Value,
    /// When it was created and last changed, by the clock of [`Freshdesk`].
    created: u64,
    updated: u64,
    days_ago: i64,
    in_the_trash: bool,
}

struct Note {
    id: u64,
    ticket: u64,
    author: u64,
    body: String,
}

/// One account.
struct Freshdesk {
    contacts: Vec<Contact>,
    tickets: Vec<Ticket>,
    notes: Vec<Note>,
    lag: Lag,
    clock: u64,
}

fn freshdesk() -> Freshdesk {
    Freshdesk {
        contacts: Vec::new(),
        tickets: Vec::new(),
        notes: Vec::new(),
        lag: Lag::of(4),
        clock: 0,
    }
}

fn problem(status: u16, field: &str, message: &str, code: &str) -> Answer {
    let errors = json!([{ "field": field, "message": message, "code": code }]);
    Answer::json(status, &json!({ "description": "Validation failed", "errors": errors }))
}

fn denied(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "message": message }))
}

/// A time of the stand-in's clock, a second a tick.
fn time(tick: u64, days_ago: i64) -> String {
    let start = chrono::DateTime::from_timestamp(1_795_000_000, 0).unwrap();
    let at = start + chrono::TimeDelta::seconds(i64::try_from(tick).unwrap()) - chrono::TimeDelta::days(days_ago);
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The terms of a search: `"mobile:'1' OR phone:'2'"`, its double quotes among them.
fn terms(query: &str) -> Option<Vec<(String, String)>> {
    let inner = query.strip_prefix('"')?.strip_suffix('"')?;
    let terms = inner.split(" OR ").map(|term| {
        let (field, value) = term.split_once(':')?;
        let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
        (!value.contains('\'')).then(|| (field.to_owned(), value.to_owned()))
    });
    (query.chars().count() <= 512).then(|| terms.collect())?
}

/// The page of a list that was asked for.
fn page(asked: &Asked, list: Vec<Value>) -> Answer {
    let number = |name: &str, otherwise: usize| asked.query(name).map_or(Ok(otherwise), str::parse);
    match (number("per_page", 30), number("page", 1)) {
        (Ok(size @ 1..=100), Ok(page @ 1..)) => {
            let items: Vec<Value> = list.into_iter().skip((page - 1) * size).take(size).collect();
            Answer::json(200, &json!(items))
        }
        _ => problem(
            400,
            "per_page",
            "It should be a positive integer of at most 100",
            "invalid_value",
        ),
    }
}

/// The first parameter or member that is not known here.
fn unknown<'a>(names: impl Iterator<Item = &'a str>, known: &[&str]) -> Option<Answer> {
    let mut names = names;
    let name = names.find(|name| !known.contains(name))?;
    Some(problem(
        400,
        name,
        "Unexpected/invalid field in request",
        "invalid_field",
    ))
}

fn members(body: &Value) -> impl Iterator<Item = &str> {
    body.as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

fn contact_json(contact: &Contact) -> Value {
    json!({
        "id": contact.id, "name": "SMS", "mobile": contact.mobile, "phone": contact.phone, "active": false,
        "unique_external_id": contact.external, "updated_at": time(contact.id, 0), "created_at": time(contact.id, 0),
    })
}

fn ticket_json(ticket: &Ticket, described: bool) -> Value {
    let mut shown = ticket.rest.clone();
    shown["id"] = json!(ticket.id);
    shown["requester_id"] = json!(ticket.requester);
    shown["status"] = json!(ticket.status);
    shown["created_at"] = json!(time(ticket.created, ticket.days_ago));
    shown["updated_at"] = json!(time(ticket.updated, ticket.days_ago));
    if described {
        shown["description"] = json!(format!("<div>{}</div>", ticket.description));
        shown["description_text"] = json!(seen(&ticket.description).text);
    }
    shown
}

impl Freshdesk {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn contact(&mut self, number: &str, external: Option<String>) -> u64 {
        let id = 1_000 + self.tick();
        self.contacts.push(Contact {
            id,
            mobile: number.to_owned(),
            phone: String::new(),
            external,
        });
        id
    }

    fn ticket(&mut self, requester: u64, status: u64, description: &str, rest: Value) -> u64 {
        let at = self.tick();
        self.tickets.push(Ticket {
            id: 500_000 + at,
            requester,
            status,
            description: description.to_owned(),
            rest,
            created: at,
            updated: at,
            days_ago: 0,
            in_the_trash: false,
        });
        500_000 + at
    }

    fn search_contacts(&self, asked: &Asked) -> Answer {
        let Some(terms) = terms(asked.query("query").unwrap_or_default()) else {
            return problem(400, "query", "Given query is invalid.", "invalid_value");
        };
        if let Some(problem) = unknown(terms.iter().map(|(field, _)| field.as_str()), &["mobile", "phone"]) {
            return problem;
        }
        let found = self.contacts.iter().filter(|contact| {
            let is = |(field, value): &(String, String)| match field.as_str() {
                "mobile" => contact.mobile == *value,
                _ => contact.phone == *value,
            };
            self.lag.finds(contact.id) && terms.iter().any(is)
        });
        let results: Vec<Value> = found.map(contact_json).collect();
        Answer::json(200, &json!({ "total": results.len(), "results": results }))
    }

    fn list_contacts(&self, asked: &Asked) -> Answer {
        let names = asked.query.iter().map(|(name, _)| name.as_str());
        let known = ["mobile", "phone", "email", "unique_external_id", "page", "per_page"];
        if let Some(problem) = unknown(names, &known) {
            return problem;
        }
        let is = |name: &str, value: Option<&str>| asked.query(name).is_none_or(|wanted| value == Some(wanted));
        let found = self.contacts.iter().filter(|contact| {
            is("mobile", Some(&contact.mobile))
                && is("phone", Some(&contact.phone))
                && is("unique_external_id", contact.external.as_deref())
        });
        page(asked, found.map(contact_json).collect())
    }

    fn create_contact(&mut self, body: &Value) -> Answer {
        if let Some(problem) = unknown(members(body), &["name", "mobile", "phone", "unique_external_id"]) {
            return problem;
        }
        let Some(mobile) = body["mobile"].as_str() else {
            return problem(400, "mobile", "It should be a/an String", "datatype_mismatch");
        };
        let external = body["unique_external_id"].as_str().map(str::to_owned);
        let taken = self
            .contacts
            .iter()
            .find(|contact| external.is_some() && contact.external == external);
        if let Some(taken) = taken {
            let error = json!({
                "field": "unique_external_id", "message": "It should be a unique value", "code": "duplicate_value",
                "additional_info": { "user_id": taken.id },
            });
            return Answer::json(409, &json!({ "description": "Validation failed", "errors": [error] }));
        }
        let id = self.contact(mobile, external);
        self.lag.created(id);
        let contact = self.contacts.last().unwrap();
        Answer::json(201, &contact_json(contact))
    }

    fn list_tickets(&self, asked: &Asked) -> Answer {
        let names = asked.query.iter().map(|(name, _)| name.as_str());
        let known = [
            "requester_id",
            "updated_since",
            "order_by",
            "order_type",
            "include",
            "page",
            "per_page",
        ];
        if let Some(problem) = unknown(names, &known) {
            return problem;
        }
        let requester: Option<u64> = asked.query("requester_id").map(|id| id.parse().unwrap());
        let since = asked.query("updated_since").map_or_else(|| time(0, 30), str::to_owned);
        let mut found: Vec<&Ticket> = self.tickets.iter().collect();
        found.retain(|ticket| requester.is_none_or(|requester| ticket.requester == requester));
        found.retain(|ticket| !ticket.in_the_trash && time(ticket.updated, ticket.days_ago) >= since);
        found.sort_by_key(|ticket| {
            std::cmp::Reverse(if asked.query("order_by") == Some("updated_at") {
                ticket.updated
            } else {
                ticket.created
            })
        });
        let described = asked.query("include") == Some("description");
        page(
            asked,
            found.into_iter().map(|ticket| ticket_json(ticket, described)).collect(),
        )
    }

    fn create_ticket(&mut self, body: &Value) -> Answer {
        let known = [
            "requester_id",
            "subject",
            "description",
            "status",
            "priority",
            "source",
            "tags",
            "group_id",
            "custom_fields",
            "type",
        ];
        if let Some(problem) = unknown(members(body), &known) {
            return problem;
        }
        for number in ["requester_id", "status", "priority", "source"] {
            if !body[number].is_u64() {
                return problem(400, number, "It should be a/an Positive Integer", "datatype_mismatch");
            }
        }
        let requester = body["requester_id"].as_u64().unwrap();
        if !self.contacts.iter().any(|contact| contact.id == requester) {
            let message = "There is no contact matching the given requester_id";
            return problem(400, "requester_id", message, "invalid_value");
        }
        let (Some(_), Some(description)) = (body["subject"].as_str(), body["description"].as_str()) else {
            return problem(400, "description", "It should be a/an String", "missing_field");
        };
        let mut rest = body.clone();
        rest.as_object_mut().unwrap().remove("description");
        let id = self.ticket(requester, body["status"].as_u64().unwrap(), description, rest);
        let ticket = self.tickets.iter().find(|ticket| ticket.id == id).unwrap();
        Answer::json(201, &ticket_json(ticket, true))
    }

    fn add_note(&mut self, ticket: u64, body: &Value) -> Answer {
        if let Some(problem) = unknown(
            members(body),
            &["body", "private", "incoming", "user_id", "notify_emails"],
        ) {
            return problem;
        }
        let (Some(text), Some(author)) = (body["body"].as_str(), body["user_id"].as_u64()) else {
            return problem(
                400,
                "user_id",
                "It should be a/an Positive Integer",
                "datatype_mismatch",
            );
        };
        let at = self.tick();
        let public = body["private"] == false && body["incoming"] == true;
        self.notes.push(Note {
            id: 900_000 + at,
            ticket,
            // what is not the customer's and public is not filed as it should be
            author: if public { author } else { 0 },
            body: text.to_owned(),
        });
        let ticket = self.tickets.iter_mut().find(|one| one.id == ticket).unwrap();
        ticket.updated = at;
        Answer::json(201, &note_json(self.notes.last().unwrap()))
    }

    fn on_ticket(&mut self, asked: &Asked, id: &str, what: &[&str]) -> Answer {
        let Some(at) = self.tickets.iter().position(|ticket| id.parse() == Ok(ticket.id)) else {
            return Answer::empty(404);
        };
        if self.tickets[at].in_the_trash && asked.method != "GET" {
            return Answer::json(
                405,
                &json!({ "message": "PUT, POST method is not allowed. It should be one of these method(s): GET" }),
            );
        }
        let id = self.tickets[at].id;
        match (asked.method.as_str(), what) {
            ("GET", []) => Answer::json(200, &ticket_json(&self.tickets[at], true)),
            ("PUT", []) => {
                let body = asked.json();
                let Some(status) = body["status"].as_u64() else {
                    return problem(
                        400,
                        "status",
                        "It should be one of these values: '2,3,4,5,6,7'",
                        "invalid_value",
                    );
                };
                self.tickets[at].status = status;
                self.tickets[at].updated = self.tick();
                Answer::json(200, &ticket_json(&self.tickets[at], true))
            }
            ("POST", ["notes"]) => self.add_note(id, &asked.json()),
            ("GET", ["conversations"]) => {
                let notes = self.notes.iter().filter(|note| note.ticket == id);
                page(asked, notes.map(note_json).collect())
            }
            _ => Answer::empty(404),
        }
    }

    fn number_of(&self, contact: u64) -> Option<String> {
        let contact = self.contacts.iter().find(|one| one.id == contact)?;
        super::vendor::number_in(&contact.mobile).or_else(|| super::vendor::number_in(&contact.phone))
    }
}

fn note_json(note: &Note) -> Value {
    json!({
        "id": note.id, "ticket_id": note.ticket, "user_id": note.author, "incoming": true, "private": false,
        "body": format!("<div>{}</div>", note.body), "body_text": seen(&note.body).text, "source": 2,
        "created_at": time(note.id, 0), "updated_at": time(note.id, 0),
    })
}

/// A body as an agent reads it. Freshdesk takes tags of others out: one that was meant as text would be missing.
fn read(body: &str) -> String {
    unmarked(&seen(body).text)
}

impl Vendor for Freshdesk {
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.lag.tick();
        let expected = {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{API_KEY}:X"));
            format!("Basic {pair}")
        };
        if asked.header("authorization") != Some(&expected) {
            return self.unauthorized();
        }
        if asked.method != "GET" && asked.header("content-type") != Some("application/json") {
            return denied(415, "invalid_content_type", "Content-Type header is not supported");
        }
        let route: Vec<String> = asked.route().into_iter().map(str::to_owned).collect();
        let route: Vec<&str> = route.iter().map(String::as_str).collect();
        match route.as_slice() {
            ["GET", "api", "v2", "agents", "me"] => Answer::json(200, &json!({ "id": 1 })),
            ["GET", "api", "v2", "search", "contacts"] => self.search_contacts(asked),
            ["GET", "api", "v2", "contacts"] => self.list_contacts(asked),
            ["POST", "api", "v2", "contacts"] => self.create_contact(&asked.json()),
            ["GET", "api", "v2", "tickets"] => self.list_tickets(asked),
            ["POST", "api", "v2", "tickets"] => self.create_ticket(&asked.json()),
            [_, "api", "v2", "tickets", id, what @ ..] => self.on_ticket(asked, id, what),
            _ => Answer::empty(404),
        }
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        let of_ticket = match asked.route().as_slice() {
            [_, "api", "v2", "tickets", id, ..] => self
                .tickets
                .iter()
                .find(|ticket| id.parse() == Ok(ticket.id))
                .map(|ticket| ticket.requester),
            _ => None,
        };
        let named = asked.query("requester_id").and_then(|id| id.parse().ok());
        let contact = of_ticket.or(named).or_else(|| asked.json()["requester_id"].as_u64());
        contact
            .and_then(|contact| self.number_of(contact))
            .or_else(|| asked.number())
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET"
    }

    fn census(&self, sender: &str) -> Census {
        let contacts: Vec<u64> = self
            .contacts
            .iter()
            .filter(|contact| contact.mobile == sender)
            .map(|contact| contact.id)
            .collect();
        let tickets: Vec<&Ticket> = self
            .tickets
            .iter()
            .filter(|ticket| contacts.contains(&ticket.requester))
            .collect();
        let mut notes: Vec<(u64, String)> = tickets
            .iter()
            .filter(|ticket| !ticket.description.is_empty())
            .map(|ticket| (ticket.created, read(&ticket.description)))
            .collect();
        notes.extend(
            self.notes
                .iter()
                .filter(|note| contacts.contains(&note.author))
                .map(|note| (note.id - 900_000, read(&note.body))),
        );
        notes.sort();
        Census {
            contacts: contacts.len(),
            tickets: tickets.len(),
            notes: notes.into_iter().map(|(_, text)| text).collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        denied(
            401,
            "invalid_credentials",
            "You have to be logged in to perform this action.",
        )
    }

    fn failure(&self, status: u16) -> Answer {
        denied(status, "try_later", "The stand-in was told to fail")
    }
}

fn keys(url: &str) -> String {
    format!(r#"use = "freshdesk", domain = "acme", base_url = "{url}", api_key = "{API_KEY}""#)
}

fn setup() -> Setup<Freshdesk> {
    Setup {
        vendor: freshdesk,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 1,
        tickets: 1,
        notes: Notes::Once,
    }
}

const CONTRACT: Contract = Contract {
    specs: &["freshdesk-thirdparty.json"],
    instead: &[],
    outside: &[
        (
            "GET /api/v2/search/contacts",
            "the description is not the vendor's and has no search",
        ),
        (
            "GET /api/v2/tickets/{}",
            "left out of the description; the vendor's page #view_a_ticket has it",
        ),
        (
            "GET /api/v2/tickets/{}/conversations",
            "left out; the vendor's page #list_all_ticket_notes has it",
        ),
    ],
    excused: &[],
};

/// A service whose texts all go to this Freshdesk, with further keys of the connector.
async fn app(stand: &StandIn<Freshdesk>, more: &str) -> App {
    App::start(&matrix::configuration(&format!("{}{more}", keys(&stand.url())), "5s")).await
}

/// Sends one text of the sender's and waits until it is filed or given up.
async fn text(app: &App, sender: &str, text: &str) {
    assert_eq!(app.text(sender.trim_start_matches('+'), text).await.status, 200);
    app.all_jobs_ended().await;
}

fn states(jobs: &[(String, String, Option<String>)]) -> Vec<&str> {
    jobs.iter().map(|(_, state, _)| state.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_fault_each_text_is_filed_once() {
    let stand = matrix::every_fault_at_every_position(&setup()).await;
    contract::check(&CONTRACT, &stand.exchanges());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_texts_under_random_faults_are_filed_once_and_in_order() {
    matrix::texts_under_random_faults(&setup(), 100, 10, 23).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_request_files_nothing_twice() {
    matrix::killed_at_every_position(&setup()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_of_ours_that_the_search_does_not_know_yet_is_found_by_its_external_id() {
    let stand = StandIn::start(freshdesk()).await;
    stand.with(|desk| {
        desk.lag = Lag::of(usize::MAX);
        let id = desk.contact(&person(1), Some(format!("sms:{}", person(1))));
        desk.lag.created(id);
    });
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    let census = stand.census(&person(1));
    assert_eq!((census.contacts, census.notes), (1, vec!["hello".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_with_another_number_is_not_taken() {
    let stand = StandIn::start(freshdesk()).await;
    // the national number of our sender is somebody's number abroad
    stand.with(|desk| desk.contact(&format!("+44{}", &person(1)[2..]), None));
    stand.with(|desk| desk.contacts[0].phone = person(1)[2..].replacen("415555", "+49415555", 1));
    let somebody = format!("+44{}", &person(1)[2..]);
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    assert_eq!(stand.census(&somebody).tickets, 0);
    assert_eq!(stand.census(&person(1)).notes, ["hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_whose_number_is_written_nationally_is_found() {
    let stand = StandIn::start(freshdesk()).await;
    stand.with(|desk| desk.contact(&person(1)[2..], None));
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    assert_eq!(stand.with(|desk| (desk.contacts.len(), desk.tickets.len())), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_nobody_touched_for_45_days_is_still_the_senders() {
    let stand = StandIn::start(freshdesk()).await;
    stand.with(|desk| {
        let contact = desk.contact(&person(1), None);
        desk.ticket(contact, 3, "", json!({}));
        desk.tickets[0].days_ago = 45;
    });
    let app = app(&stand, "").await;
    text(&app, &person(1), "still me").await;
    let census = stand.census(&person(1));
    assert_eq!((census.tickets, census.notes), (1, vec!["still me".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_for_a_closed_ticket_opens_it_again() {
    let stand = StandIn::start(freshdesk()).await;
    let app = app(&stand, "").await;
    text(&app, &person(1), "one").await;
    stand.with(|desk| desk.tickets[0].status = 5);
    text(&app, &person(1), "two").await;
    let census = stand.census(&person(1));
    assert_eq!(
        (census.tickets, census.notes),
        (1, vec!["one".to_owned(), "two".to_owned()])
    );
    assert_eq!(stand.with(|desk| desk.tickets[0].status), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_closed_new_a_text_for_a_closed_ticket_opens_another() {
    let stand = StandIn::start(freshdesk()).await;
    let app = app(&stand, r#", closed = "new""#).await;
    text(&app, &person(1), "one").await;
    stand.with(|desk| desk.tickets[0].status = 4);
    text(&app, &person(1), "two").await;
    text(&app, &person(1), "three").await;
    assert_eq!(stand.census(&person(1)).notes, ["one", "two", "three"]);
    assert_eq!(
        stand.with(|desk| desk.tickets.iter().map(|ticket| ticket.status).collect::<Vec<_>>()),
        [4, 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_at_freshdesk_is_found_or_made_anew() {
    let stand = StandIn::start(freshdesk()).await;
    let app = app(&stand, "").await;
    text(&app, &person(1), "one").await;
    stand.with(|desk| desk.tickets.clear());
    text(&app, &person(1), "two").await;
    stand.with(|desk| {
        desk.tickets.clear();
        desk.contacts.clear();
    });
    text(&app, &person(1), "three").await;
    let census = stand.census(&person(1));
    assert_eq!(
        (census.contacts, census.tickets, census.notes),
        (1, 1, vec!["three".to_owned()])
    );
    assert_eq!(states(&app.jobs().await), ["done", "done", "done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_in_the_trash_is_not_written_to() {
    let stand = StandIn::start(freshdesk()).await;
    let app = app(&stand, "").await;
    text(&app, &person(1), "one").await;
    stand.with(|desk| desk.tickets[0].in_the_trash = true);
    text(&app, &person(1), "two").await;
    assert_eq!(stand.census(&person(1)).notes, ["one", "two"]);
    assert_eq!(stand.with(|desk| desk.tickets.len()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclear_note_is_found_on_a_later_page() {
    let stand = StandIn::start(freshdesk()).await;
    stand.with(|desk| {
        let contact = desk.contact(&person(1), None);
        let ticket = desk.ticket(contact, 2, "", json!({}));
        for nth in 0..130 {
            let note = Note {
                id: 900_500 + nth,
                ticket,
                author: 0,
                body: format!("an agent's {nth}"),
            };
            desk.notes.push(note);
        }
        desk.clock = 1_000;
    });
    let app = app(&stand, "").await;
    // find, list, then the note
    stand.fail(&person(1), 2, Fault::ResetAfter);
    text(&app, &person(1), "once").await;
    assert_eq!(stand.faults_of(&person(1)), [Fault::ResetAfter]);
    assert_eq!(stand.census(&person(1)).notes, ["once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_sets_arrives_with_its_type() {
    let stand = StandIn::start(freshdesk()).await;
    let more =
        r#", subject = "Text\nfrom {{ sender }}", source = 7, priority = 4, tags = ["sms", "line-{{ recipient }}"],
        group_id = 77, custom_fields = { cf_line = "{{ recipient }}" }, ticket_fields = { type = "Question" },
        note = "{{ text }} (to {{ recipient }})""#
            .replace('\n', " ");
    let app = app(&stand, &more).await;
    text(&app, &person(1), "<i>hi</i>").await;
    let ticket = stand.with(|desk| ticket_json(&desk.tickets[0], false));
    assert_eq!(ticket["subject"], format!("Text from {}", person(1)));
    let set = json!([
        ticket["source"],
        ticket["priority"],
        ticket["group_id"],
        ticket["type"],
        ticket["tags"]
    ]);
    assert_eq!(set, json!([7, 4, 77, "Question", ["sms", "line-+15550009999"]]));
    assert_eq!(ticket["custom_fields"], json!({ "cf_line": "+15550009999" }));
    assert_eq!(stand.census(&person(1)).notes, ["<i>hi</i> (to +15550009999)"]);
}

#[test]
fn the_stand_in_refuses_what_freshdesk_refuses() {
    let mut desk = freshdesk();
    let auth = {
        use base64::Engine as _;
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(format!("{API_KEY}:X"))
        )
    };
    let mut ask = |method: &str, target: &str, body: &Value| {
        let headers = [("authorization", auth.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        desk.answer(&Asked::of(method, target, &headers, &body))
    };
    let contact = json!({ "name": "A", "mobile": person(1), "unique_external_id": "sms:1" });
    let id = ask("POST", "/api/v2/contacts", &contact).value()["id"].clone();
    assert_eq!(ask("POST", "/api/v2/contacts", &contact).status, 409);
    let ticket = |requester: Value| json!({ "requester_id": requester, "subject": "s", "description": "d", "status": 2, "priority": 1, "source": 3 });
    assert_eq!(
        ask("POST", "/api/v2/tickets", &ticket(json!(id.to_string()))).status,
        400
    );
    assert_eq!(ask("POST", "/api/v2/tickets", &ticket(json!(7))).status, 400);
    assert_eq!(ask("POST", "/api/v2/tickets", &ticket(id)).status, 201);
    assert_eq!(ask("GET", "/api/v2/tickets?phone=1", &Value::Null).status, 400);
    assert_eq!(
        ask("GET", "/api/v2/search/contacts?query=mobile:'1'", &Value::Null).status,
        400
    );
    assert_eq!(ask("GET", "/api/v2/tickets?per_page=101", &Value::Null).status, 400);
    assert_eq!(desk.answer(&Asked::of("GET", "/api/v2/tickets", &[], "")).status, 401);
}
