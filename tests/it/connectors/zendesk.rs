//! Zendesk Support: the stand-in, and what the connector makes of it.
//!
//! The stand-in honours what Zendesk documents: idempotency keys on new tickets and nowhere else, unique external IDs of users,
//! a search that lags, closed tickets that stay closed, audits that keep an update's metadata.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::contract::{self, Contract};
use super::matrix::{self, Bench, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, Lag, StandIn, Vendor, number_in, person};
use crate::helpers::App;

const CONTRACT: Contract = Contract {
    specs: &["zendesk.json"],
    instead: &[],
    outside: &[
        (
            "POST /oauth/tokens",
            "the description has no OAuth; developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens/",
        ),
        (
            "GET /api/v2/users/{}/tickets/requested",
            "a documented variant of the list of tickets: developer.zendesk.com/api-reference/ticketing/tickets/tickets/#list-tickets",
        ),
        (
            "GET /api/v2/tickets/{}",
            "developer.zendesk.com/api-reference/ticketing/tickets/tickets/#show-ticket; not in the excerpt",
        ),
        (
            "GET /api/v2/tickets/{}/audits",
            "developer.zendesk.com/api-reference/ticketing/tickets/ticket_audits/; not in the excerpt",
        ),
        (
            "GET /api/v2/users/me",
            "developer.zendesk.com/api-reference/ticketing/users/users/#show-self; not in the excerpt",
        ),
    ],
    excused: &[(
        "/custom_fields/",
        "the description wants the definition of a field where the page about creating tickets shows its ID and value",
    )],
};

/// Audits on a page. Zendesk's pages have 100.
const PAGE: usize = 4;

/// An end user.
#[derive(Clone, Debug)]
struct User {
    id: u64,
    name: String,
    phone: String,
    external_id: Option<String>,
    updated: u64,
    deleted: bool,
}

/// A comment with the audit it came by.
#[derive(Clone, Debug)]
struct Comment {
    audit: u64,
    body: String,
    public: bool,
    author: Option<u64>,
    metadata: Value,
}

#[derive(Clone, Debug)]
struct Ticket {
    id: u64,
    status: String,
    requester: u64,
    external_id: Option<String>,
    follows: Option<u64>,
    as_created: Value,
    comments: Vec<Comment>,
    updated: u64,
    updates: u32,
}

/// One account.
#[derive(Debug)]
struct Zendesk {
    users: Vec<User>,
    tickets: Vec<Ticket>,
    /// Body and answer of each idempotency key.
    keys: HashMap<String, (String, Answer)>,
    tokens: HashSet<String>,
    tokens_fetched: usize,
    /// So many creations are told that their twin is still in flight.
    in_flight: usize,
    /// Whether the search has forgotten how to filter.
    ignores_filters: bool,
    lag: Lag,
    /// Seconds, and the source of IDs.
    clock: u64,
}

impl Default for Zendesk {
    fn default() -> Self {
        Self {
            users: vec![],
            tickets: vec![],
            keys: HashMap::new(),
            tokens: HashSet::new(),
            tokens_fetched: 0,
            in_flight: 0,
            ignores_filters: false,
            lag: Lag::of(usize::MAX),
            clock: 1000,
        }
    }
}

fn error(status: u16, error: &str, description: &str) -> Answer {
    Answer::json(status, &json!({ "error": error, "description": description }))
}

fn not_found() -> Answer {
    error(404, "RecordNotFound", "Not found")
}

/// A record that breaks a rule, as Zendesk words it.
fn invalid(field: &str, description: &str) -> Answer {
    let details = json!({ field: [{ "description": description }] });
    Answer::json(
        422,
        &json!({ "error": "RecordInvalid", "description": "Record validation errors", "details": details }),
    )
}

fn time(seconds: u64) -> String {
    let at = chrono::DateTime::from_timestamp(1_790_000_000 + i64::try_from(seconds).unwrap(), 0).unwrap();
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

impl User {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "phone": self.phone, "role": "end-user",
            "updated_at": time(self.updated),
            "external_id": self.external_id.clone().unwrap_or_default(), "active": !self.deleted,
        })
    }
}

impl Ticket {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "status": self.status, "requester_id": self.requester,
            "external_id": self.external_id.clone().unwrap_or_default(), "updated_at": time(self.updated),
        })
    }
}

impl Zendesk {
    fn next(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Adds a user who was there before us, and is in the index.
    fn add_user(&mut self, phone: &str) -> u64 {
        let id = self.next();
        self.users.push(User {
            id,
            name: "Known before".to_owned(),
            phone: phone.to_owned(),
            external_id: None,
            updated: id,
            deleted: false,
        });
        id
    }

    fn user(&self, id: u64) -> Option<&User> {
        self.users.iter().find(|user| user.id == id && !user.deleted)
    }

    fn ticket(&mut self, id: &str) -> Option<&mut Ticket> {
        let id: u64 = id.parse().ok()?;
        self.tickets
            .iter_mut()
            .find(|ticket| ticket.id == id && ticket.status != "deleted")
    }

    fn tickets_of(&self, sender: &str) -> Vec<&Ticket> {
        let of = |ticket: &&Ticket| {
            let owner = self.users.iter().find(|user| user.id == ticket.requester);
            owner.is_some_and(|user| number_in(&user.phone).as_deref() == Some(sender))
        };
        self.tickets.iter().filter(of).collect()
    }

    /// An agent's doing: sets the status of the sender's newest ticket.
    fn set_status(&mut self, sender: &str, status: &str) -> u64 {
        let id = self.tickets_of(sender).last().unwrap().id;
        status.clone_into(&mut self.ticket(&id.to_string()).unwrap().status);
        id
    }

    fn is_authorized(&self, asked: &Asked) -> bool {
        let header = asked.header("authorization").unwrap_or_default();
        let legacy = format!("Basic {}", STANDARD.encode("agent@acme.example/token:legacy"));
        header == legacy
            || header
                .strip_prefix("Bearer ")
                .is_some_and(|token| self.tokens.contains(token))
    }

    fn token(&mut self, asked: &Asked) -> Answer {
        let body = asked.json();
        let right = body["grant_type"] == "client_credentials"
            && body["client_id"] == "smshook"
            && body["client_secret"] == "oauth";
        let lives = body["expires_in"].as_u64().unwrap_or(0);
        if !right
            || !body["scope"]
                .as_str()
                .is_some_and(|scope| scope.contains("read") && scope.contains("write"))
        {
            return Answer::json(401, &json!({ "error": "invalid_client" }));
        }
        if !(301..172_800).contains(&lives) {
            return Answer::json(400, &json!({ "error": "invalid_request" }));
        }
        self.tokens_fetched += 1;
        let token = format!("access-{}", self.tokens_fetched);
        self.tokens.insert(token.clone());
        Answer::json(
            200,
            &json!({ "access_token": token, "token_type": "bearer", "expires_in": lives }),
        )
    }

    fn search(&self, asked: &Asked) -> Answer {
        let query = asked.query("query").unwrap_or_default();
        let terms: Vec<&str> = query.split(' ').collect();
        let Some(wanted) = terms.iter().find_map(|term| term.strip_prefix("phone:*")) else {
            return error(400, "InvalidSearch", "the stand-in knows only searches by phone");
        };
        // the index has digits only; a plus in the term finds nothing
        let matches = |user: &&User| {
            let digits: String = user.phone.chars().filter(char::is_ascii_digit).collect();
            terms.contains(&"role:end-user") && (self.ignores_filters || digits.ends_with(wanted))
        };
        let found = self
            .users
            .iter()
            .filter(|user| !user.deleted && self.lag.finds(user.id))
            .filter(matches);
        let results: Vec<Value> = found
            .map(|user| {
                let mut user = user.json();
                user["result_type"] = json!("user");
                user
            })
            .collect();
        Answer::json(200, &json!({ "count": results.len(), "results": results }))
    }

    fn create_or_update_user(&mut self, asked: &Asked) -> Answer {
        let given = &asked.json()["user"];
        let text = |name: &str| given[name].as_str().map(str::to_owned);
        let (Some(name), Some(phone)) = (text("name"), text("phone")) else {
            return invalid("name", "Name: is too short (minimum one character)");
        };
        let external_id = text("external_id");
        let now = self.next();
        let known = self.users.iter_mut().find(|user| {
            let same = |one: &String, other: &String| one.eq_ignore_ascii_case(other);
            !user.deleted
                && user
                    .external_id
                    .as_ref()
                    .zip(external_id.as_ref())
                    .is_some_and(|(one, other)| same(one, other))
        });
        if let Some(user) = known {
            (user.name, user.phone, user.updated) = (name, phone, now);
            return Answer::json(200, &json!({ "user": user.json() }));
        }
        let user = User {
            id: now,
            name,
            phone,
            external_id,
            updated: now,
            deleted: false,
        };
        let answer = Answer::json(201, &json!({ "user": user.json() }));
        self.lag.created(user.id);
        self.users.push(user);
        answer
    }

    fn create_ticket(&mut self, asked: &Asked) -> Answer {
        let key = asked.header("idempotency-key").map(str::to_owned);
        if let Some((body, answer)) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return if *body == asked.body {
                answer.clone().with_header("x-idempotency-lookup", "hit")
            } else {
                error(
                    400,
                    "IdempotentRequestError",
                    "Request parameters do not match the first request with this key",
                )
            };
        }
        if self.in_flight > 0 {
            self.in_flight -= 1;
            return error(409, "IdempotentRequestError", "A request with this key is in progress");
        }
        let given = asked.json()["ticket"].clone();
        let Some(requester) = given["requester_id"].as_u64().filter(|&id| self.user(id).is_some()) else {
            return invalid("requester", "Requester: is not a known user");
        };
        if given["comment"]["body"].as_str().is_none_or(str::is_empty) {
            return invalid("comment", "Description: cannot be blank");
        }
        let (id, audit) = (self.next(), self.next());
        // follow-ups are of closed tickets; of others the parameter has no effect
        let follows = given["via_followup_source_id"].as_u64();
        let follows = follows.filter(|&id| {
            self.tickets
                .iter()
                .any(|ticket| ticket.id == id && ticket.status == "closed")
        });
        let ticket = Ticket {
            id,
            status: "new".to_owned(),
            requester,
            external_id: given["external_id"].as_str().map(str::to_owned),
            follows,
            comments: vec![comment(audit, &given)],
            as_created: given,
            updated: audit,
            updates: 0,
        };
        let answer = Answer::json(
            201,
            &json!({ "ticket": ticket.json(), "audit": { "id": audit, "ticket_id": id } }),
        );
        self.tickets.push(ticket);
        if let Some(key) = key {
            self.keys.insert(key, (asked.body.clone(), answer.clone()));
        }
        answer.with_header("x-idempotency-lookup", "miss")
    }

    fn update_ticket(&mut self, id: &str, asked: &Asked) -> Answer {
        let audit = self.next();
        let Some(ticket) = self.ticket(id) else {
            return not_found();
        };
        if ticket.status == "closed" {
            return invalid("status", "Status: closed prevents ticket update");
        }
        if ticket.updates == 30 {
            ticket.updates = 0;
            return error(429, "TooManyRequests", "30 updates of a ticket in 10 minutes")
                .with_header("retry-after", "1");
        }
        let given = &asked.json()["ticket"];
        if given["comment"]["body"].as_str().is_some_and(str::is_empty) {
            return invalid("comment", "Comment: cannot be blank");
        }
        ticket.updates += 1;
        ticket.updated = audit;
        if let Some(status) = given["status"].as_str() {
            status.clone_into(&mut ticket.status);
        }
        ticket.comments.push(comment(audit, given));
        Answer::json(
            200,
            &json!({ "ticket": ticket.json(), "audit": { "id": audit, "ticket_id": ticket.id } }),
        )
    }

    /// Small pages, so that a ticket of a few texts has several; the cursor is there until a page is empty.
    fn audits(&mut self, id: &str, asked: &Asked) -> Answer {
        let after: usize = asked.query("page[after]").map_or(0, |cursor| cursor.parse().unwrap());
        let Some(ticket) = self.ticket(id) else {
            return not_found();
        };
        let mut audits: Vec<Value> = ticket
            .comments
            .iter()
            .map(|comment| {
                json!({
                    "id": comment.audit, "ticket_id": ticket.id, "metadata": { "system": {}, "custom": comment.metadata },
                    "events": [{ "id": comment.audit, "type": "Comment", "body": comment.body, "public": comment.public }],
                })
            })
            .collect();
        if asked.query("sort") == Some("-created_at") {
            audits.reverse();
        }
        let page: Vec<Value> = audits.into_iter().skip(after).take(PAGE).collect();
        let cursor = (!page.is_empty()).then(|| (after + PAGE).to_string());
        Answer::json(
            200,
            &json!({ "audits": page, "meta": { "has_more": page.len() == PAGE, "after_cursor": cursor } }),
        )
    }

    fn tickets_where(&self, matches: impl Fn(&Ticket) -> bool) -> Answer {
        let mut found: Vec<&Ticket> = self
            .tickets
            .iter()
            .filter(|ticket| ticket.status != "deleted" && matches(ticket))
            .collect();
        found.sort_by_key(|ticket| std::cmp::Reverse(ticket.updated));
        let tickets: Vec<Value> = found.into_iter().map(Ticket::json).collect();
        Answer::json(200, &json!({ "tickets": tickets }))
    }
}

fn comment(audit: u64, given: &Value) -> Comment {
    Comment {
        audit,
        body: given["comment"]["body"].as_str().unwrap_or_default().to_owned(),
        public: given["comment"]["public"].as_bool().unwrap_or(true),
        author: given["comment"]["author_id"].as_u64(),
        metadata: given["metadata"].clone(),
    }
}

impl Vendor for Zendesk {
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.lag.tick();
        if matches!(asked.method.as_str(), "POST" | "PUT") && asked.header("content-type") != Some("application/json") {
            return error(415, "UnsupportedMediaType", "JSON expected");
        }
        if asked.route() == ["POST", "oauth", "tokens"] {
            return self.token(asked);
        }
        if !self.is_authorized(asked) {
            return self.unauthorized();
        }
        match asked.route().as_slice() {
            ["GET", "api", "v2", "users", "me"] => {
                Answer::json(200, &json!({ "user": { "id": 1, "name": "Agent", "role": "agent" } }))
            }
            ["GET", "api", "v2", "search"] => self.search(asked),
            ["POST", "api", "v2", "users", "create_or_update"] => self.create_or_update_user(asked),
            ["GET", "api", "v2", "users", id, "tickets", "requested"] => {
                match id.parse().ok().and_then(|id| self.user(id)) {
                    Some(user) => self.tickets_where(|ticket| ticket.requester == user.id),
                    None => not_found(),
                }
            }
            ["GET", "api", "v2", "tickets"] => {
                let wanted = asked.query("external_id");
                self.tickets_where(|ticket| ticket.external_id.as_deref() == wanted)
            }
            ["POST", "api", "v2", "tickets"] => self.create_ticket(asked),
            ["GET", "api", "v2", "tickets", id] => match self.ticket(id) {
                Some(ticket) => Answer::json(200, &json!({ "ticket": ticket.json() })),
                None => not_found(),
            },
            ["PUT", "api", "v2", "tickets", id] => self.update_ticket(id, asked),
            ["GET", "api", "v2", "tickets", id, "audits"] => self.audits(id, asked),
            _ => error(404, "InvalidEndpoint", "Not found"),
        }
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        let owner = |id: u64| number_in(&self.users.iter().find(|user| user.id == id)?.phone);
        let of_ticket = |ticket: &Ticket| owner(ticket.requester);
        match asked.route().as_slice() {
            ["GET", "api", "v2", "users", id, "tickets", "requested"] => owner(id.parse().ok()?),
            ["POST", "api", "v2", "tickets"] => owner(asked.json()["ticket"]["requester_id"].as_u64()?),
            ["GET", "api", "v2", "tickets"] => {
                let wanted = asked.query("external_id");
                of_ticket(
                    self.tickets
                        .iter()
                        .find(|ticket| ticket.external_id.as_deref() == wanted)?,
                )
            }
            [_, "api", "v2", "tickets", id, ..] => {
                let id: u64 = id.parse().ok()?;
                of_ticket(self.tickets.iter().find(|ticket| ticket.id == id)?)
            }
            _ => asked.number(),
        }
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET"
    }

    fn census(&self, sender: &str) -> Census {
        let own = |user: &&User| !user.deleted && number_in(&user.phone).as_deref() == Some(sender);
        let tickets = self.tickets_of(sender);
        let mut comments: Vec<&Comment> = tickets.iter().flat_map(|ticket| &ticket.comments).collect();
        comments.sort_by_key(|comment| comment.audit);
        Census {
            contacts: self.users.iter().filter(own).count(),
            tickets: tickets.len(),
            notes: comments.into_iter().map(|comment| comment.body.clone()).collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        Answer::json(
            401,
            &json!({ "error": "invalid_token", "error_description": "The access token provided is expired, revoked, malformed or invalid for other reasons." }),
        )
    }
}

/// The account with OAuth; `more` are further keys.
fn keys(url: &str) -> String {
    format!(
        r#"use = "zendesk", subdomain = "acme", base_url = "{url}", client_id = "smshook", client_secret = "oauth""#
    )
}

fn setup() -> Setup<Zendesk> {
    Setup {
        vendor: Zendesk::default,
        keys,
        faults: Fault::all_with_tokens(),
        contacts: 1,
        tickets: 1,
        notes: Notes::Once,
    }
}

async fn bench(more: &str) -> Bench<Zendesk> {
    matrix::bench(&setup(), more).await
}

fn comments_of(bench: &Bench<Zendesk>, sender: &str) -> Vec<Vec<String>> {
    bench.stand.with(|zendesk| {
        let tickets = zendesk.tickets_of(sender);
        let bodies = |ticket: &&Ticket| ticket.comments.iter().map(|comment| comment.body.clone()).collect();
        tickets.iter().map(bodies).collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_position_leaves_one_user_one_ticket_and_each_text_once() {
    let stand = matrix::every_fault_at_every_position(&setup()).await;
    contract::check(&CONTRACT, &stand.exchanges());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_texts_under_random_faults_are_filed_once_and_in_order() {
    matrix::texts_under_random_faults(&setup(), 50, 20, 20_261_121).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_between_a_change_and_its_answer_repeats_nothing() {
    matrix::killed_at_every_position(&setup()).await;
}

#[tokio::test]
async fn a_legacy_api_token_works_as_well() {
    let legacy = Setup {
        keys: |url| {
            format!(
                r#"use = "zendesk", subdomain = "acme", base_url = "{url}", email = "agent@acme.example", token = "legacy""#
            )
        },
        ..setup()
    };
    let bench = matrix::bench(&legacy, "").await;
    bench.text(&person(0), "hello").await;
    assert_eq!(bench.stand.census(&person(0)).notes, ["hello"]);
    assert_eq!(bench.stand.with(|zendesk| zendesk.tokens_fetched), 0);
}

#[tokio::test]
async fn one_token_serves_many_texts_and_is_fetched_anew_when_it_ends() {
    let bench = bench("").await;
    for nth in 0..3 {
        bench.text(&person(nth), "hello").await;
    }
    assert_eq!(bench.stand.with(|zendesk| zendesk.tokens_fetched), 1);
    bench.stand.with(|zendesk| zendesk.tokens.clear());
    bench.text(&person(0), "again").await;
    assert_eq!(bench.stand.with(|zendesk| zendesk.tokens_fetched), 2);
    assert_eq!(bench.stand.census(&person(0)).notes, ["hello", "again"]);
}

#[tokio::test]
async fn what_is_set_arrives_in_the_requests() {
    let bench = bench(
        r#"subject = "{{ text }}", tags = ["sms", "{{ to }}"], priority = "high", group_id = 7, assignee_id = 8, custom_fields = [{ id = 360001, value = "{{ to }}" }], name = "Caller {{ sender }}""#,
    )
    .await;
    bench.text(&person(1), "two\nlines").await;
    bench.text(&person(1), "more").await;
    let (user, ticket) = bench
        .stand
        .with(|zendesk| (zendesk.users[0].clone(), zendesk.tickets[0].clone()));
    assert_eq!(
        (user.name, user.phone, user.external_id),
        (
            format!("Caller {}", person(1)),
            person(1),
            Some(format!("sms:{}", person(1)))
        )
    );
    let marker = ticket.external_id.unwrap();
    assert!(marker.len() == 30 && marker.starts_with("sms:"), "{marker}");
    assert_eq!(
        ticket.as_created,
        json!({
            "subject": "two lines", "requester_id": user.id, "external_id": marker, "tags": ["sms", "15550009999"],
            "priority": "high", "group_id": 7, "assignee_id": 8,
            "custom_fields": [{ "id": 360_001, "value": "15550009999" }],
            "comment": { "body": "two\nlines", "author_id": user.id, "public": true },
        })
    );
    let appended = &ticket.comments[1];
    assert_eq!((appended.public, appended.author), (true, Some(user.id)));
    assert_eq!(appended.metadata["smshook"].as_str().unwrap().len(), 26);
    contract::check(&CONTRACT, &bench.stand.exchanges());
}

#[tokio::test]
async fn an_internal_note_is_the_agents() {
    let bench = bench(r#"visibility = "internal", note = "{{ sender }} wrote: {{ text }}""#).await;
    bench.text(&person(0), "hello").await;
    bench.text(&person(0), "again").await;
    let ticket = bench.stand.with(|zendesk| zendesk.tickets[0].clone());
    for (comment, text) in ticket.comments.iter().zip(["hello", "again"]) {
        assert_eq!((comment.public, comment.author), (false, None));
        assert_eq!(comment.body, format!("{} wrote: {text}", person(0)));
    }
}

#[tokio::test]
async fn an_empty_text_is_filed_as_such() {
    let bench = bench("").await;
    bench.text(&person(0), "").await;
    assert_eq!(bench.stand.census(&person(0)).notes, ["(empty message)"]);
}

#[tokio::test]
async fn a_solved_ticket_is_opened_again() {
    let bench = bench("").await;
    bench.text(&person(0), "one").await;
    bench.stand.with(|zendesk| zendesk.set_status(&person(0), "solved"));
    bench.text(&person(0), "two").await;
    assert_eq!(comments_of(&bench, &person(0)), [["one", "two"]]);
    assert_eq!(bench.stand.with(|zendesk| zendesk.tickets[0].status.clone()), "open");
}

#[tokio::test]
async fn a_solved_ticket_stays_solved_if_a_new_one_is_wanted() {
    let bench = bench(r#"closed = "new""#).await;
    bench.text(&person(0), "one").await;
    bench.stand.with(|zendesk| zendesk.set_status(&person(0), "solved"));
    bench.text(&person(0), "two").await;
    bench.text(&person(0), "three").await;
    assert_eq!(comments_of(&bench, &person(0)), [vec!["one"], vec!["two", "three"]]);
    assert_eq!(bench.stand.with(|zendesk| zendesk.tickets[0].status.clone()), "solved");
}

#[tokio::test]
async fn a_closed_ticket_is_followed_up_once() {
    let bench = bench("").await;
    bench.text(&person(0), "one").await;
    let closed = bench.stand.with(|zendesk| zendesk.set_status(&person(0), "closed"));
    bench.text(&person(0), "two").await;
    bench.text(&person(0), "three").await;
    assert_eq!(comments_of(&bench, &person(0)), [vec!["one"], vec!["two", "three"]]);
    assert_eq!(bench.stand.with(|zendesk| zendesk.tickets[1].follows), Some(closed));
    contract::check(&CONTRACT, &bench.stand.exchanges());
}

#[tokio::test]
async fn a_ticket_that_closes_between_the_look_and_the_append_is_followed_up() {
    let bench = bench("").await;
    bench.text(&person(0), "one").await;
    let before = bench.stand.exchanges_of(&person(0)).len();
    // what was read as open is closed when it is appended to
    bench
        .stand
        .with(|zendesk| zendesk.tickets[0].status = "closed".to_owned());
    let id = bench.stand.with(|zendesk| zendesk.tickets[0].id);
    let open = json!({ "ticket": { "id": id, "status": "open", "requester_id": 1 } });
    bench.stand.pretend(&person(0), before, Answer::json(200, &open));
    bench.text(&person(0), "two").await;
    assert_eq!(comments_of(&bench, &person(0)), [["one"], ["two"]]);
}

#[tokio::test]
async fn a_deleted_ticket_is_replaced_and_a_deleted_user_too() {
    let bench = bench("").await;
    bench.text(&person(0), "one").await;
    bench.stand.with(|zendesk| zendesk.set_status(&person(0), "deleted"));
    bench.text(&person(0), "two").await;
    assert_eq!(comments_of(&bench, &person(0)), [["one"], ["two"]]);
    bench.stand.with(|zendesk| {
        zendesk.set_status(&person(0), "deleted");
        zendesk.users[0].deleted = true;
    });
    bench.text(&person(0), "three").await;
    assert_eq!(comments_of(&bench, &person(0)), [["one"], ["two"], ["three"]]);
    assert_eq!(bench.stand.census(&person(0)).contacts, 1);
}

#[tokio::test]
async fn a_known_user_and_an_open_ticket_of_theirs_are_found() {
    let bench = bench("").await;
    let user = bench.stand.with(|zendesk| zendesk.add_user("(415) 555-0000"));
    bench.stand.with(|zendesk| {
        let ticket = json!({ "ticket": { "requester_id": user, "comment": { "body": "by mail" } } }).to_string();
        zendesk.create_ticket(&Asked::of("POST", "/api/v2/tickets", &[], &ticket))
    });
    bench.text("+14155550000", "by text").await;
    let (users, ticket) = bench
        .stand
        .with(|zendesk| (zendesk.users.len(), zendesk.tickets[0].clone()));
    assert_eq!(users, 1);
    assert_eq!(
        ticket
            .comments
            .iter()
            .map(|comment| comment.body.as_str())
            .collect::<Vec<_>>(),
        ["by mail", "by text"]
    );
}

#[tokio::test]
async fn of_two_users_with_one_number_the_newest_is_taken() {
    let bench = bench("").await;
    let (_, newest) = bench
        .stand
        .with(|zendesk| (zendesk.add_user(&person(0)), zendesk.add_user(&person(0))));
    bench.text(&person(0), "hello").await;
    assert_eq!(bench.stand.with(|zendesk| zendesk.tickets[0].requester), newest);
}

#[tokio::test]
async fn of_two_users_with_one_number_none_is_taken_if_a_person_shall_decide() {
    let bench = bench(r#"several = "fail""#).await;
    bench
        .stand
        .with(|zendesk| (zendesk.add_user(&person(0)), zendesk.add_user(&person(0))));
    bench.text(&person(0), "hello").await;
    let jobs = bench.jobs(&person(0)).await;
    assert_eq!(jobs[0].0, "discarded", "{jobs:?}");
    assert_eq!(bench.stand.census(&person(0)).tickets, 0);
}

#[tokio::test]
async fn a_user_with_another_number_is_never_taken_whatever_the_search_says() {
    let bench = bench("").await;
    bench.stand.with(|zendesk| {
        zendesk.ignores_filters = true;
        zendesk.add_user(&person(9))
    });
    bench.text(&person(0), "hello").await;
    assert_eq!(bench.stand.census(&person(9)).notes, Vec::<String>::new());
    assert_eq!(bench.stand.census(&person(0)).notes, ["hello"]);
}

#[tokio::test]
async fn a_twin_in_flight_is_waited_for() {
    let bench = bench("").await;
    bench.stand.with(|zendesk| zendesk.in_flight = 1);
    bench.text(&person(0), "hello").await;
    assert_eq!(bench.stand.census(&person(0)).notes, ["hello"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_actions_of_one_account_create_a_sender_once() {
    let stand = StandIn::start(Zendesk::default()).await;
    let connector = format!("{}, {}", keys(&stand.url()), matrix::COMMON);
    let action = |name: &str| format!("[action.{name}]\nconnector = {{ {connector} }}\nretry_base = \"20ms\"\n");
    let app = App::start(&format!(
        "{}{}[[rule]]\nname = \"all\"\nany = true\nactions = [\"one\", \"two\"]\n",
        action("one"),
        action("two")
    ))
    .await;
    for nth in 0..20 {
        matrix::send(&app, &person(nth), "hello").await;
    }
    app.all_jobs_ended().await;
    for nth in 0..20 {
        let census = stand.census(&person(nth));
        // the second action finds the ticket of the first, as it would find an agent's
        assert_eq!((census.contacts, census.tickets), (1, 1), "{census:?}");
        assert_eq!(census.notes, ["hello", "hello"]);
    }
    let created = stand
        .exchanges()
        .into_iter()
        .filter(|one| one.operation() == "POST /api/v2/users/create_or_update");
    assert_eq!(created.count(), 20);
}

mod stand_in {
    use super::*;

    fn signed_in() -> (Zendesk, String) {
        let mut zendesk = Zendesk::default();
        let body = json!({
            "grant_type": "client_credentials", "client_id": "smshook", "client_secret": "oauth", "scope": "read write", "expires_in": 86400,
        });
        let answer = zendesk.answer(&Asked::of(
            "POST",
            "/oauth/tokens",
            &[("content-type", "application/json")],
            &body.to_string(),
        ));
        let token = answer.value()["access_token"].as_str().unwrap().to_owned();
        (zendesk, format!("Bearer {token}"))
    }

    fn ask(zendesk: &mut Zendesk, bearer: &str, method: &str, target: &str, key: &str, body: &Value) -> Answer {
        let headers = [
            ("authorization", bearer),
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        zendesk.answer(&Asked::of(method, target, &headers, &body.to_string()))
    }

    #[test]
    fn it_honours_keys_for_the_same_body_only() {
        let (mut zendesk, bearer) = signed_in();
        let user = zendesk.add_user(&person(0));
        let ticket = |body: &str| json!({ "ticket": { "requester_id": user, "comment": { "body": body } } });
        let mut create = |body: &str| ask(&mut zendesk, &bearer, "POST", "/api/v2/tickets", "k", &ticket(body));
        let (first, again, other) = (create("a"), create("a"), create("b"));
        assert_eq!((first.status, again.status, other.status), (201, 201, 400));
        assert_eq!(first.value(), again.value());
        assert_eq!(other.value()["error"], "IdempotentRequestError");
        assert_eq!(zendesk.tickets.len(), 1);
    }

    #[test]
    fn it_refuses_what_zendesk_refuses() {
        let (mut zendesk, bearer) = signed_in();
        let user = zendesk.add_user(&person(0));
        let body = json!({ "ticket": { "requester_id": user, "comment": { "body": "a" } } });
        assert_eq!(
            ask(&mut zendesk, "Bearer other", "POST", "/api/v2/tickets", "k", &body).status,
            401
        );
        let id = ask(&mut zendesk, &bearer, "POST", "/api/v2/tickets", "k", &body).value()["ticket"]["id"].clone();
        let target = format!("/api/v2/tickets/{id}");
        let append = json!({ "ticket": { "comment": { "body": "b" }, "metadata": { "x": "1" } } });
        assert_eq!(ask(&mut zendesk, &bearer, "PUT", &target, "", &append).status, 200);
        let audits = ask(
            &mut zendesk,
            &bearer,
            "GET",
            &format!("{target}/audits"),
            "",
            &json!({}),
        )
        .value();
        assert_eq!(audits["audits"][1]["metadata"]["custom"]["x"], "1");
        zendesk.set_status(&person(0), "closed");
        assert_eq!(ask(&mut zendesk, &bearer, "PUT", &target, "", &append).status, 422);
        zendesk.set_status(&person(0), "deleted");
        assert_eq!(ask(&mut zendesk, &bearer, "PUT", &target, "", &append).status, 404);
    }

    #[test]
    fn its_search_lags_and_its_external_ids_do_not() {
        let (mut zendesk, bearer) = signed_in();
        let user = json!({ "user": { "name": "x", "phone": person(0), "external_id": "sms:1" } });
        let mut create = || {
            ask(
                &mut zendesk,
                &bearer,
                "POST",
                "/api/v2/users/create_or_update",
                "",
                &user,
            )
        };
        let (first, again) = (create(), create());
        assert_eq!((first.status, again.status), (201, 200));
        assert_eq!(first.value()["user"]["id"], again.value()["user"]["id"]);
        let target = "/api/v2/search?query=type%3Auser%20role%3Aend-user%20phone%3A%2A4155550000";
        let mut found = || ask(&mut zendesk, &bearer, "GET", target, "", &json!({})).value()["count"].clone();
        assert_eq!(found(), 0);
        zendesk.lag.index();
        let found = ask(&mut zendesk, &bearer, "GET", target, "", &json!({})).value()["count"].clone();
        assert_eq!(found, 1);
    }
}
