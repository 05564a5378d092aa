//! Request Tracker: tickets of a queue over REST 2.0, against a stand-in and, with `SMSHOOK_TEST_RT=1`, against the real
//! one, whom the same requests are put to so that the stand-in stays honest.
//!
//! It must not touch a Request Tracker that is in use: the real one is of Debian's packages, with a database of the test's
//! own on a port of its own.

use serde_json::{Value, json};

use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, StandIn, Vendor, number_in, person};
use crate::helpers::App;

#[path = "rt_real.rs"]
mod real;

const TOKEN: &str = "1-27-of-the-tests";
const STATUSES: [&str; 6] = ["new", "open", "stalled", "resolved", "rejected", "deleted"];

struct User {
    name: String,
    mobile: String,
    disabled: bool,
}

struct Ticket {
    id: u64,
    status: &'static str,
    requestors: Vec<String>,
    refers_to: String,
    subject: String,
    updated: u64,
    fields: Value,
    /// Moved to a queue that our user has no rights in.
    out_of_sight: bool,
}

struct Transaction {
    id: u64,
    ticket: u64,
    kind: &'static str,
    data: String,
    content: String,
}

/// One Request Tracker with the queue "General".
struct Rt {
    users: Vec<User>,
    tickets: Vec<Ticket>,
    history: Vec<Transaction>,
    clock: u64,
    /// Whether our user may open tickets and reply.
    may: bool,
}

fn rt() -> Rt {
    let user = |name: &str| User {
        name: name.to_owned(),
        mobile: String::new(),
        disabled: false,
    };
    Rt {
        users: ["Nobody", "RT_System", "agent", "commenter", "root", "smshook"]
            .map(user)
            .into(),
        tickets: Vec::new(),
        history: Vec::new(),
        clock: 0,
        may: true,
    }
}

fn message(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message }))
}

fn listed(items: Vec<Value>, asked: &Asked) -> Answer {
    let number = |name: &str, otherwise: usize| asked.query(name).map_or(otherwise, |value| value.parse().unwrap());
    let (size, page) = (number("per_page", 20).min(100), number("page", 1));
    let items: Vec<Value> = items.into_iter().skip((page - 1) * size).take(size).collect();
    Answer::json(
        200,
        &json!({ "count": items.len(), "page": page, "per_page": size, "items": items }),
    )
}

/// The conditions of a query in TicketSQL, as far as it is understood here: `Field = 'value'` joined by AND.
fn conditions(query: &str) -> Result<Vec<(String, String)>, String> {
    let (mut rest, mut found) = (query.trim(), Vec::new());
    loop {
        let (field, after) = rest.split_once('=').ok_or("Syntax error")?;
        let after = after.trim_start();
        let (value, after) = if let Some(quoted) = after.strip_prefix('\'') {
            literal(quoted).ok_or("Syntax error")?
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        found.push((field.trim().to_owned(), value));
        rest = after.trim_start();
        match rest.strip_prefix("AND ") {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(found),
            None => return Err("Syntax error".to_owned()),
        }
    }
}

/// A quoted literal up to its closing quote, and what follows it; a backslash keeps the next character.
fn literal(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

impl Rt {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn record(&mut self, ticket: u64, kind: &'static str, data: &str, content: &str) {
        let id = self.tick();
        self.history.push(Transaction {
            id,
            ticket,
            kind,
            data: data.to_owned(),
            content: content.to_owned(),
        });
        if let Some(ticket) = self.tickets.iter_mut().find(|one| one.id == ticket) {
            ticket.updated = id;
        }
    }

    fn search_users(&self, asked: &Asked) -> Answer {
        let conditions: Vec<Value> = serde_json::from_str(asked.query("query").unwrap_or("[]")).unwrap_or_default();
        // conditions on any other field are left out, as the real one does
        let wanted: Vec<&str> = conditions
            .iter()
            .filter(|condition| condition["field"] == "Name")
            .filter_map(|condition| condition["value"].as_str())
            .collect();
        let found = self
            .users
            .iter()
            .filter(|user| !user.disabled && wanted.iter().all(|name| *name == user.name));
        let shown =
            found.map(|user| json!({ "id": user.name, "type": "user", "Name": user.name, "MobilePhone": user.mobile }));
        listed(shown.collect(), asked)
    }

    fn create_user(&mut self, body: &Value) -> Answer {
        let Some(name) = body["Name"].as_str().filter(|name| !name.is_empty()) else {
            return message(400, "Must specify 'Name' attribute");
        };
        if self.users.iter().any(|user| user.name == name) {
            return message(400, "Name in use");
        }
        self.users.push(User {
            name: name.to_owned(),
            mobile: body["MobilePhone"].as_str().unwrap_or_default().to_owned(),
            disabled: body["Disabled"] == 1,
        });
        Answer::json(201, &json!({ "id": name, "type": "user" }))
    }

    fn user(&self, name: &str) -> Answer {
        match self.users.iter().find(|user| user.name == name) {
            Some(user) => {
                let disabled = u8::from(user.disabled).to_string();
                Answer::json(
                    200,
                    &json!({ "id": 29, "Name": user.name, "MobilePhone": user.mobile, "Disabled": disabled }),
                )
            }
            None => message(404, "Not Found"),
        }
    }

    fn search_tickets(&self, asked: &Asked) -> Answer {
        let conditions = match conditions(asked.query("query").unwrap_or_default()) {
            Ok(conditions) => conditions,
            Err(problem) => return message(400, &problem),
        };
        let known = ["id", "Requestor.Name", "Queue", "Status", "RefersTo"];
        if let Some((field, _)) = conditions.iter().find(|(field, _)| !known.contains(&field.as_str())) {
            return message(400, &format!("Unknown field: {field}"));
        }
        let holds = |ticket: &&Ticket, field: &str, value: &str| match field {
            "id" => value.parse() == Ok(ticket.id),
            "Requestor.Name" => ticket.requestors.iter().any(|name| name == value),
            "Queue" => value == "General",
            "Status" if value == "__Active__" => ["new", "open", "stalled"].contains(&ticket.status),
            "Status" => value == ticket.status,
            _ => ticket.refers_to == value,
        };
        let mut found: Vec<&Ticket> = self.tickets.iter().collect();
        found.retain(|ticket| !ticket.out_of_sight);
        found.retain(|ticket| conditions.iter().all(|(field, value)| holds(ticket, field, value)));
        if asked.query("orderby") == Some("LastUpdated") {
            found.sort_by_key(|ticket| std::cmp::Reverse(ticket.updated));
        }
        let fields = asked.query("fields").unwrap_or_default();
        let shown = found.into_iter().map(|ticket| {
            let mut shown = json!({ "id": ticket.id.to_string(), "type": "ticket" });
            for field in fields.split(',') {
                match field {
                    "Requestor" => shown[field] = requestors(ticket),
                    "LastUpdated" => shown[field] = json!(format!("2026-11-21T{:08}Z", ticket.updated)),
                    _ => {}
                }
            }
            shown
        });
        listed(shown.collect(), asked)
    }

    fn create_ticket(&mut self, body: &Value) -> Answer {
        let queue = body["Queue"].as_str().unwrap_or_default();
        if queue.is_empty() {
            return message(400, "Could not create ticket. Queue not set");
        }
        if queue != "General" || !self.may {
            return message(403, &format!("No permission to create tickets in the queue '{queue}'"));
        }
        let requestor = body["Requestor"].as_str().unwrap_or_default();
        // one that is no user's name, number or e-mail address is left out without a word
        let known = !requestor.contains(':') && self.users.iter().any(|user| user.name == requestor);
        let id = self.tickets.last().map_or(1, |ticket| ticket.id + 1);
        self.tickets.push(Ticket {
            id,
            status: "new",
            requestors: if known { vec![requestor.to_owned()] } else { vec![] },
            refers_to: body["RefersTo"].as_str().unwrap_or_default().to_owned(),
            subject: body["Subject"].as_str().unwrap_or_default().to_owned(),
            updated: 0,
            fields: body.clone(),
            out_of_sight: false,
        });
        self.record(id, "Create", "", body["Content"].as_str().unwrap_or_default());
        Answer::json(201, &json!({ "id": id.to_string(), "type": "ticket" }))
    }

    fn on_ticket(&mut self, asked: &Asked, id: &str, what: &[&str]) -> Answer {
        let method = asked.method.as_str();
        let Some(at) = self.tickets.iter().position(|ticket| id.parse() == Ok(ticket.id)) else {
            return match (method, what) {
                ("POST", ["correspond" | "comment"]) => message(400, "Permission Denied"),
                ("PUT", []) => message(404, "Resource does not exist; use POST to create"),
                _ => message(404, "Not Found"),
            };
        };
        let id = self.tickets[at].id;
        if self.tickets[at].out_of_sight {
            return match method {
                "POST" => message(400, "Permission Denied"),
                _ => message(403, "Forbidden"),
            };
        }
        match (method, what) {
            ("GET", []) => {
                let ticket = &self.tickets[at];
                let shown = json!({ "id": id, "Status": ticket.status, "Requestor": requestors(ticket), "Subject": ticket.subject });
                Answer::json(200, &shown)
            }
            ("GET", ["history"]) => {
                let of_it = self.history.iter().filter(|one| one.ticket == id);
                let shown = of_it.map(|one| json!({ "id": one.id.to_string(), "type": "transaction", "Type": one.kind, "Data": one.data }));
                listed(shown.collect(), asked)
            }
            ("POST", ["correspond"]) => self.message(at, "Correspond", &asked.json()),
            ("POST", ["comment"]) => self.message(at, "Comment", &asked.json()),
            ("PUT", []) => self.set_status(at, asked.json()["Status"].as_str().unwrap_or_default()),
            _ => message(404, "Not Found"),
        }
    }

    fn message(&mut self, at: usize, kind: &'static str, body: &Value) -> Answer {
        let Some(content) = body["Content"].as_str().filter(|_| body["ContentType"].is_string()) else {
            return message(400, "ContentType is a required field for application/json");
        };
        if !self.may {
            return message(400, "Permission Denied");
        }
        let id = self.tickets[at].id;
        let data = body["Subject"]
            .as_str()
            .map_or_else(|| "No Subject".to_owned(), |subject| format!("{subject}\n"));
        self.record(id, kind, &data, content);
        if kind == "Comment" {
            return Answer::json(201, &json!(["Comments added"]));
        }
        if self.tickets[at].status != "open" {
            self.tickets[at].status = "open";
            self.record(id, "Status", "", "");
        }
        Answer::json(201, &json!(["Correspondence added"]))
    }

    fn set_status(&mut self, at: usize, wanted: &str) -> Answer {
        let id = self.tickets[at].id;
        let Some(status) = STATUSES.into_iter().find(|status| *status == wanted) else {
            return Answer::json(
                200,
                &json!([format!(
                    "Ticket {id}: Status '{wanted}' isn't a valid status for this ticket."
                )]),
            );
        };
        if !self.may {
            return Answer::json(200, &json!([format!("Ticket {id}: Permission Denied")]));
        }
        let before = std::mem::replace(&mut self.tickets[at].status, status);
        if before == status {
            return Answer::json(200, &json!([]));
        }
        self.record(id, "Status", "", "");
        Answer::json(
            200,
            &json!([format!("Ticket {id}: Status changed from '{before}' to '{status}'")]),
        )
    }
}

fn requestors(ticket: &Ticket) -> Value {
    json!(
        ticket
            .requestors
            .iter()
            .map(|name| json!({ "id": name, "type": "user" }))
            .collect::<Vec<_>>()
    )
}

impl Vendor for Rt {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.header("authorization") != Some(&format!("token {TOKEN}")) {
            return self.unauthorized();
        }
        let decoded = percent_encoding::percent_decode_str(&asked.path)
            .decode_utf8()
            .unwrap()
            .into_owned();
        let place: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).skip(2).collect();
        match (asked.method.as_str(), place.as_slice()) {
            ("GET", ["rt"]) => Answer::json(200, &json!({ "Version": "5.0.3" })),
            ("GET", ["users"]) => self.search_users(asked),
            ("POST", ["user"]) => self.create_user(&asked.json()),
            ("GET", ["user", name]) => self.user(name),
            ("GET", ["tickets"]) => self.search_tickets(asked),
            ("POST", ["ticket"]) => self.create_ticket(&asked.json()),
            (_, ["ticket", id, what @ ..]) => self.on_ticket(asked, id, what),
            _ => message(404, "Not Found"),
        }
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        let named = match asked.route().as_slice() {
            [_, "REST", "2.0", "ticket", id, ..] => id.parse().ok(),
            _ => None,
        };
        let searched = asked
            .query("query")
            .and_then(|query| conditions(query).ok())
            .unwrap_or_default();
        let of = |ticket: &&Ticket| {
            Some(ticket.id) == named
                || searched.iter().any(|(field, value)| match field.as_str() {
                    "id" => value.parse() == Ok(ticket.id),
                    "RefersTo" => *value == ticket.refers_to,
                    _ => false,
                })
        };
        let ticket = self.tickets.iter().find(of);
        ticket
            .and_then(|ticket| number_in(ticket.requestors.first()?))
            .or_else(|| asked.number())
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET"
    }

    fn census(&self, sender: &str) -> Census {
        let of_sender = |ticket: &&Ticket| ticket.requestors.iter().any(|name| name == sender);
        let tickets: Vec<u64> = self.tickets.iter().filter(of_sender).map(|ticket| ticket.id).collect();
        let texts = self
            .history
            .iter()
            .filter(|one| one.kind != "Status" && tickets.contains(&one.ticket));
        Census {
            contacts: self.users.iter().filter(|user| user.name == sender).count(),
            tickets: tickets.len(),
            notes: texts.map(|one| one.content.clone()).collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        message(401, "Unauthorized")
    }

    fn failure(&self, status: u16) -> Answer {
        message(status, "the stand-in was told to fail")
    }
}

fn keys(url: &str) -> String {
    format!(r#"use = "rt", url = "{url}", token = "{TOKEN}""#)
}

fn setup() -> Setup<Rt> {
    Setup {
        vendor: rt,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 1,
        tickets: 1,
        notes: Notes::Once,
    }
}

async fn app(stand: &StandIn<Rt>, more: &str) -> App {
    App::start(&matrix::configuration(&format!("{}{more}", keys(&stand.url())), "5s")).await
}

/// Sends one text of the sender's and waits until it is filed or given up.
async fn text(app: &App, sender: &str, text: &str) {
    assert_eq!(app.text(sender.trim_start_matches('+'), text).await.status, 200);
    app.all_jobs_ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_fault_each_text_is_filed_once() {
    matrix::every_fault_at_every_position(&setup()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_fault_each_text_is_filed_once_as_a_comment() {
    let keys = |url: &str| format!("{}, visibility = \"comment\"", keys(url));
    matrix::every_fault_at_every_position(&Setup { keys, ..setup() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_texts_under_random_faults_are_filed_once_and_in_order() {
    matrix::texts_under_random_faults(&setup(), 100, 10, 47).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_request_files_nothing_twice() {
    matrix::killed_at_every_position(&setup()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_answers_with_every_user_finds_the_right_one_or_none() {
    let stand = StandIn::start(rt()).await;
    stand.with(|rt| {
        for (name, mobile) in [("ann", person(2)), ("bob", person(1)), (person(3).as_str(), person(3))] {
            rt.create_user(&json!({ "Name": name, "MobilePhone": mobile }));
        }
    });
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    // bob has the number, but a requestor is named by name, and his tickets are looked for under it
    assert_eq!(stand.census(&person(1)).notes, ["hello"]);
    assert_eq!(stand.with(|rt| rt.tickets[0].requestors.clone()), [person(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_disabled_is_used_again() {
    let stand = StandIn::start(rt()).await;
    stand.with(|rt| rt.create_user(&json!({ "Name": person(1), "Disabled": 1 })));
    let app = app(&stand, "").await;
    text(&app, &person(1), "hello").await;
    let census = stand.census(&person(1));
    assert_eq!(
        (census.contacts, census.tickets, census.notes),
        (1, 1, vec!["hello".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_for_a_resolved_ticket_opens_it_again() {
    for visibility in ["correspond", "comment"] {
        let stand = StandIn::start(rt()).await;
        let app = app(&stand, &format!(r#", visibility = "{visibility}""#)).await;
        text(&app, &person(1), "one").await;
        stand.with(|rt| rt.tickets[0].status = "resolved");
        text(&app, &person(1), "two").await;
        let census = stand.census(&person(1));
        assert_eq!(
            (census.tickets, census.notes),
            (1, vec!["one".to_owned(), "two".to_owned()])
        );
        assert_eq!(stand.with(|rt| rt.tickets[0].status), "open", "{visibility}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_closed_new_a_text_for_a_resolved_ticket_opens_another() {
    let stand = StandIn::start(rt()).await;
    let app = app(&stand, r#", closed = "new""#).await;
    text(&app, &person(1), "one").await;
    stand.with(|rt| rt.tickets[0].status = "rejected");
    text(&app, &person(1), "two").await;
    assert_eq!(stand.census(&person(1)).notes, ["one", "two"]);
    assert_eq!(
        stand.with(|rt| rt.tickets.iter().map(|ticket| ticket.status).collect::<Vec<_>>()),
        ["rejected", "new"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclear_reply_is_found_behind_a_long_history() {
    let stand = StandIn::start(rt()).await;
    stand.with(|rt| {
        rt.create_user(&json!({ "Name": person(1) }));
        rt.create_ticket(&json!({ "Queue": "General", "Requestor": person(1) }));
        for _ in 0..150 {
            rt.record(1, "Status", "", "");
        }
    });
    let app = app(&stand, "").await;
    // the user, the ticket, then the reply
    stand.fail(&person(1), 2, Fault::ResetAfter);
    text(&app, &person(1), "once").await;
    assert_eq!(stand.faults_of(&person(1)), [Fault::ResetAfter]);
    assert_eq!(stand.census(&person(1)).notes, ["", "once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_keeps_the_text_until_it_is_granted() {
    let stand = StandIn::start(rt()).await;
    stand.with(|rt| rt.may = false);
    let app = app(&stand, "").await;
    assert_eq!(app.text(&person(1)[1..], "patience").await.status, 200);
    crate::helpers::eventually("the action pauses", async || {
        app.count("SELECT count(*) FROM smshook.paused_actions").await == 1
    })
    .await;
    let jobs = app.jobs().await;
    assert!(jobs.iter().all(|(_, state, _)| state != "discarded"), "{jobs:?}");
    assert_eq!(stand.census(&person(1)).tickets, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_gone_or_out_of_sight_is_forgotten() {
    let stand = StandIn::start(rt()).await;
    let app = app(&stand, "").await;
    text(&app, &person(1), "one").await;
    stand.with(|rt| rt.tickets[0].out_of_sight = true);
    text(&app, &person(1), "two").await;
    assert_eq!(stand.census(&person(1)).notes, ["one", "two"]);
    stand.with(|rt| rt.tickets.clear());
    text(&app, &person(1), "three").await;
    let jobs = app.jobs().await;
    assert!(jobs.iter().all(|(_, state, _)| state == "done"), "{jobs:?}");
    assert_eq!(stand.with(|rt| rt.tickets.len()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_and_tags_stay_what_they_are() {
    let stand = StandIn::start(rt()).await;
    let hostile = "' OR id > 0 OR Subject = '\\' <script>alert(1)</script>\n--";
    let app = app(&stand, r#", subject = "{{ text }}", ticket_fields = { Priority = 7 }"#).await;
    text(&app, &person(1), hostile).await;
    text(&app, &person(1), hostile).await;
    assert_eq!(stand.census(&person(1)).notes, [hostile, hostile]);
    stand.with(|rt| {
        assert_eq!(rt.tickets[0].fields["Priority"], 7);
        assert_eq!(rt.tickets[0].fields["ContentType"], "text/plain");
        assert!(!rt.tickets[0].subject.contains('\n'));
    });
}

#[test]
fn ticketsql_is_read_with_its_quotes() {
    assert_eq!(conditions(r"id = 5 AND Status = '__Active__'").unwrap().len(), 2);
    assert_eq!(
        conditions(r"Queue = 'a\' OR b'").unwrap(),
        [("Queue".to_owned(), "a' OR b".to_owned())]
    );
    assert!(conditions("Queue = 'a' OR id > 0").is_err());
}
