//! Pipedrive: a company with persons, notes and activities, a search that lags, and a success that may be a failure.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::contract::{self, Contract};
use super::markup::{seen, unmarked};
use super::matrix::{self, Notes, Setup};
use super::once::{Ended, HOSTILE, Once};
use super::vendor::{Answer, Asked, Census, Fault, Lag, StandIn, Vendor, person};
use crate::helpers::App;

const TOKEN: &str = "0123456789abcdef of the tests";

struct Pipedrive {
    persons: Vec<Value>,
    notes: Vec<Value>,
    activities: Vec<Value>,
    /// Whose a person is.
    owners: HashMap<u64, String>,
    lag: Lag,
    next: u64,
    /// Answers instead of the company's own, for the next changes.
    scripted: Vec<Answer>,
}

impl Pipedrive {
    fn new() -> Self {
        Self {
            persons: vec![],
            notes: vec![],
            activities: vec![],
            owners: HashMap::new(),
            lag: Lag::of(0),
            next: 50_000,
            scripted: vec![],
        }
    }

    fn with_lag(after: usize) -> Self {
        Self {
            lag: Lag::of(after),
            ..Self::new()
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A person who was there before.
    fn person(&mut self, name: &str, number: &str) -> u64 {
        let id = self.id();
        self.owners.insert(id, plain(number));
        self.persons.push(json!({ "id": id, "name": name, "phones": [{ "value": number, "primary": true, "label": "work" }], "add_time": time(id) }));
        id
    }

    fn route(&mut self, asked: &Asked) -> Answer {
        let body = asked.json();
        match asked.route()[..] {
            ["GET", "api", "v2", "persons", "search"] => self.search(asked),
            ["GET", "api", "v2", "persons"] => newest(&self.persons, asked, |_| true),
            ["POST", "api", "v2", "persons"] => self.add_person(body),
            ["GET", "v1", "notes"] => self.list_notes(asked),
            ["POST", "v1", "notes"] => self.add_note(&body),
            ["GET", "api", "v2", "activities"] => {
                let wanted = asked.query("person_id").map(|id| id.parse::<u64>().unwrap());
                newest(&self.activities, asked, |one| one["person_id"].as_u64() == wanted)
            }
            ["POST", "api", "v2", "activities"] => self.add_activity(body),
            _ => failed(404, "Not found"),
        }
    }

    fn search(&self, asked: &Asked) -> Answer {
        let term = asked.query("term").unwrap_or_default();
        if term.len() < 2 {
            return failed(400, "term must be at least 2 characters long");
        }
        if asked.query("fields") != Some("phone") {
            return failed(400, "the tests search numbers only");
        }
        let numbers = |one: &Value| -> Vec<String> {
            let phones = one["phones"].as_array().unwrap().iter();
            phones
                .filter_map(|phone| Some(phone["value"].as_str()?.to_owned()))
                .collect()
        };
        let has = |one: &&Value| numbers(one).iter().any(|number| plain(number).contains(term));
        let found = self.persons.iter().filter(has).filter(|one| self.lag.finds(&one["id"]));
        let items: Vec<Value> = found
            .map(|one| json!({ "result_score": 0.3, "item": { "id": one["id"], "type": "person", "name": one["name"], "phones": numbers(one), "emails": [] } }))
            .collect();
        Answer::json(
            200,
            &json!({ "success": true, "data": { "items": items }, "additional_data": {} }),
        )
    }

    fn add_person(&mut self, mut body: Value) -> Answer {
        let phone = body["phones"][0]["value"].as_str().map(plain);
        let (Some(number), true) = (phone, body["name"].is_string()) else {
            return failed(400, "name and phones[].value are texts");
        };
        let id = self.id();
        body["id"] = json!(id);
        body["add_time"] = json!(time(id));
        self.owners.insert(id, number);
        self.lag.created(id);
        self.persons.push(body.clone());
        Answer::json(200, &json!({ "success": true, "data": body }))
    }

    fn list_notes(&self, asked: &Asked) -> Answer {
        let Some(person) = asked.query("person_id").and_then(|id| id.parse::<u64>().ok()) else {
            return failed(400, "person_id expected");
        };
        if asked.query("sort") != Some("add_time DESC") {
            return failed(400, "sort expected");
        }
        let limit: usize = asked.query("limit").unwrap().parse().unwrap();
        let notes = self.notes.iter().rev().filter(|note| note["person_id"] == person);
        let notes: Vec<&Value> = notes.take(limit).collect();
        // an empty list is null in version 1
        let data = if notes.is_empty() { Value::Null } else { json!(notes) };
        let pagination = json!({ "start": 0, "limit": limit, "more_items_in_collection": false });
        Answer::json(
            200,
            &json!({ "success": true, "data": data, "additional_data": { "pagination": pagination } }),
        )
    }

    fn add_note(&mut self, body: &Value) -> Answer {
        let (Some(content), Some(person)) = (body["content"].as_str(), body["person_id"].as_u64()) else {
            return failed(400, "content is a text, person_id a number");
        };
        if !self.owners.contains_key(&person) {
            return failed(404, "Person not found");
        }
        let id = self.id();
        let note =
            json!({ "id": id, "active_flag": true, "content": content, "person_id": person, "add_time": time(id) });
        self.notes.push(note.clone());
        Answer::json(200, &json!({ "success": true, "data": note }))
    }

    fn add_activity(&mut self, mut body: Value) -> Answer {
        if !["call", "task", "sms"].iter().any(|known| body["type"] == *known) || !body["subject"].is_string() {
            return failed(400, "subject and a known type expected");
        }
        let participant = &body["participants"][0];
        let Some(person) = participant["person_id"]
            .as_u64()
            .filter(|_| participant["primary"] == true)
        else {
            return failed(400, "a primary participant expected");
        };
        if !self.owners.contains_key(&person) {
            return failed(404, "Person not found");
        }
        let id = self.id();
        body["id"] = json!(id);
        body["person_id"] = json!(person);
        self.activities.push(body.clone());
        Answer::json(200, &json!({ "success": true, "data": body }))
    }
}

/// The newest first, as many as asked for.
fn newest(all: &[Value], asked: &Asked, fits: impl Fn(&Value) -> bool) -> Answer {
    let sorted = asked.query("sort_by") == Some("add_time") && asked.query("sort_direction") == Some("desc");
    let limit: usize = asked.query("limit").unwrap_or("100").parse().unwrap();
    if !sorted && limit > 1 {
        return failed(400, "the tests want the newest first");
    }
    let found: Vec<&Value> = all.iter().rev().filter(|one| fits(one)).take(limit).collect();
    Answer::json(200, &json!({ "success": true, "data": found, "additional_data": {} }))
}

fn plain(number: &str) -> String {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if digits.len() == 10 {
        format!("+1{digits}")
    } else {
        format!("+{digits}")
    }
}

fn time(id: u64) -> String {
    format!("2026-11-21T{:02}:{:02}:{:02}Z", id / 3600 % 24, id / 60 % 60, id % 60)
}

fn failed(status: u16, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({ "success": false, "error": message, "error_info": "see the documentation" }),
    )
}

impl Vendor for Pipedrive {
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.lag.tick();
        assert_eq!(asked.query("api_token"), None, "a token in a URL");
        if asked.header("x-api-token") != Some(TOKEN) {
            return self.unauthorized();
        }
        if self.changes(asked) && !self.scripted.is_empty() {
            return self.scripted.remove(0);
        }
        self.route(asked)
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        let body = asked.json();
        let person = body["person_id"]
            .as_u64()
            .or(body["participants"][0]["person_id"].as_u64());
        let person = person.or_else(|| asked.query("person_id")?.parse().ok());
        asked.number().or_else(|| self.owners.get(&person?).cloned())
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET"
    }

    fn census(&self, sender: &str) -> Census {
        let of_sender = |one: &&Value| {
            let person = one["person_id"].as_u64().or(one["id"].as_u64()).unwrap();
            self.owners.get(&person).is_some_and(|owner| owner == sender)
        };
        let notes = self.notes.iter().filter(of_sender).map(|note| &note["content"]);
        let notes = notes.chain(
            self.activities
                .iter()
                .filter(of_sender)
                .map(|activity| &activity["note"]),
        );
        Census {
            contacts: self.persons.iter().filter(of_sender).count(),
            tickets: 0,
            notes: notes.map(|html| unmarked(&seen(html.as_str().unwrap()).text)).collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        failed(401, "unauthorized access")
    }

    fn failure(&self, status: u16) -> Answer {
        match status {
            429 => failed(429, "request over limit")
                .with_header("x-ratelimit-reset", "1")
                .with_header("x-ratelimit-remaining", "0"),
            _ => failed(status, "Server error"),
        }
    }
}

fn keys(url: &str, more: &str) -> String {
    format!(r#"use = "pipedrive", base_url = "{url}", company = "acme", token = "{TOKEN}"{more}"#)
}

const CONTRACT: Contract = Contract {
    specs: &["pipedrive-v1.json", "pipedrive-v2.json"],
    instead: &[],
    outside: &[(
        "GET /api/v2/persons",
        "left out of the excerpt; as the list of activities",
    )],
    excused: &[(
        "GET /v1/notes: answer 200 at `/data`: null is not of type",
        "version 1 answers null for an empty list, which its description leaves out",
    )],
};

fn setup(vendor: fn() -> Pipedrive, keys: fn(&str) -> String) -> Setup<Pipedrive> {
    Setup {
        vendor,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 1,
        tickets: 0,
        notes: Notes::Once,
    }
}

#[tokio::test]
async fn a_text_is_one_note_whatever_fails_and_however_late_the_search_is() {
    let never = || Pipedrive::with_lag(usize::MAX);
    let stand = matrix::every_fault_at_every_position(&setup(never, |url| keys(url, ""))).await;
    contract::check(&CONTRACT, &stand.exchanges());
}

#[tokio::test]
async fn a_text_is_one_activity_whatever_fails() {
    let stand =
        matrix::every_fault_at_every_position(&setup(Pipedrive::new, |url| keys(url, r#", mode = "activity""#))).await;
    contract::check(&CONTRACT, &stand.exchanges());
}

#[tokio::test]
async fn texts_under_random_faults_are_notes_once_and_in_order() {
    matrix::texts_under_random_faults(&setup(Pipedrive::new, |url| keys(url, "")), 20, 5, 13).await;
}

#[tokio::test]
async fn a_kill_at_any_request_neither_loses_nor_repeats_a_text() {
    matrix::killed_at_every_position(&setup(Pipedrive::new, |url| keys(url, ""))).await;
}

#[tokio::test]
async fn a_hit_with_the_same_digits_in_another_country_is_not_taken() {
    let mut company = Pipedrive::new();
    let sender = person(1);
    let abroad = company.person("Abroad", &format!("+44{}", &sender[2..]));
    let once = Once::start(company, |url| keys(url, "")).await;
    once.files(&sender, "hello").await;
    let found = once.stand.exchanges()[0].answer.clone().unwrap().value();
    assert_eq!(
        found["data"]["items"][0]["item"]["id"], abroad,
        "the search did find the other one"
    );
    assert_eq!(once.stand.census(&sender).contacts, 1);
    assert_eq!(once.stand.census(&sender).notes, ["hello"]);
    once.stand
        .with(|company| assert!(company.notes.iter().all(|note| note["person_id"] != abroad)));
}

#[tokio::test]
async fn a_person_is_found_however_the_number_was_typed() {
    for typed in ["(415) 555-0001", "+1 415-555-0001", "14155550001"] {
        let mut company = Pipedrive::new();
        let known = company.person("Known", typed);
        let once = Once::start(company, |url| keys(url, "")).await;
        once.files(&person(1), "hello").await;
        once.stand.with(|company| {
            assert_eq!(company.persons.len(), 1, "{typed}");
            assert_eq!(company.notes[0]["person_id"], known, "{typed}");
        });
    }
}

/// How the first attempt of a text ends whose first change is answered so.
async fn after(answer: Answer) -> (Once<Pipedrive>, Ended) {
    let mut company = Pipedrive::new();
    company.scripted.push(answer);
    let once = Once::start(company, |url| keys(url, "")).await;
    let ended = once.attempts(&person(1), "hello").await;
    (once, ended)
}

#[tokio::test]
async fn a_limit_is_waited_for_and_so_is_the_page_that_follows_it() {
    let page =
        "<!DOCTYPE html><html><head><title>Access denied | Cloudflare</title></head><body>Error 1015</body></html>";
    for (answer, seconds) in [
        (
            failed(429, "request over limit").with_header("x-ratelimit-reset", "30"),
            30.0,
        ),
        (Answer::text(403, "text/html; charset=UTF-8", page), 900.0),
    ] {
        let said = answer.body.clone();
        let (_once, ended) = after(answer).await;
        assert_eq!(ended.state, "available", "{said}: {ended:?}");
        assert!(
            (seconds * 0.9..=seconds * 1.5).contains(&ended.wait),
            "{said}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_by_the_interface_itself_pauses_the_action() {
    for answer in [
        failed(403, "Scope and URL mismatch"),
        failed(402, "Company account is not open"),
        failed(401, "unauthorized access"),
    ] {
        let said = answer.body.clone();
        let (once, ended) = after(answer).await;
        assert_eq!(ended.state, "available", "{said}: {ended:?}");
        assert!(once.paused().await.is_some(), "{said}");
    }
}

#[tokio::test]
async fn a_failure_with_status_200_is_a_failure() {
    let (once, ended) = after(failed(200, "Person was not created")).await;
    assert_eq!(ended.state, "discarded", "{ended:?}");
    assert!(ended.reason.contains("Person was not created"), "{ended:?}");
    assert_eq!(once.stand.census(&person(1)), Census::default());
}

#[tokio::test]
async fn a_person_who_was_deleted_is_replaced_and_no_text_is_lost() {
    let once = Once::start(Pipedrive::new(), |url| keys(url, "")).await;
    once.files(&person(1), "first").await;
    once.stand.with(|company| {
        company.persons.clear();
        company.owners.clear();
    });
    once.files(&person(1), "second").await;
    once.stand.with(|company| {
        assert_eq!(company.persons.len(), 1);
        assert_eq!(company.notes[1]["person_id"], company.persons[0]["id"]);
    });
}

#[tokio::test]
async fn while_a_creation_is_unclear_no_other_action_of_the_account_creates_the_same_person() {
    // the search never finds the person that the first action has made without knowing it
    let stand = StandIn::start(Pipedrive::with_lag(usize::MAX)).await;
    // long enough for the second action to come by before the first has looked
    let common = matrix::COMMON.replace("20ms", "1500ms");
    let connector = format!("{}, {common}", keys(&stand.url(), ""));
    let action = |name: &str| format!("[action.{name}]\nconnector = {{ {connector} }}\nretry_base = \"20ms\"\n");
    let rule = "[[rule]]\nname = \"all\"\nany = true\nactions = [\"one\", \"two\"]\n";
    let app = App::start(&format!("{}{}{rule}", action("one"), action("two"))).await;
    for nth in 0..5 {
        // the search comes first, then the creation
        stand.fail(&person(nth), 1, Fault::ResetAfter);
        matrix::send(&app, &person(nth), "hello").await;
    }
    app.all_jobs_ended().await;
    for nth in 0..5 {
        let census = stand.census(&person(nth));
        assert_eq!((census.contacts, census.notes.len()), (1, 2), "{census:?}");
        assert_eq!(stand.faults_of(&person(nth)), [Fault::ResetAfter]);
    }
}

#[tokio::test]
async fn hostile_text_stays_text() {
    for mode in ["note", "activity"] {
        let once = Once::start(Pipedrive::new(), |url| keys(url, &format!(r#", mode = "{mode}""#))).await;
        once.files(&person(1), HOSTILE).await;
        assert_eq!(once.stand.census(&person(1)).notes, [HOSTILE], "{mode}");
        once.stand.with(|company| {
            let html = company
                .notes
                .iter()
                .map(|one| &one["content"])
                .chain(company.activities.iter().map(|one| &one["note"]));
            for html in html {
                assert_eq!(seen(html.as_str().unwrap()).tags, Vec::<String>::new(), "{mode}");
            }
        });
    }
}

#[test]
fn the_stand_in_refuses_what_pipedrive_refuses() {
    let mut company = Pipedrive::new();
    let known = company.person("Known", &person(1));
    let mut ask = |target: &str, token: &str, body: &Value| {
        company
            .answer(&Asked::of("POST", target, &[("x-api-token", token)], &body.to_string()))
            .status
    };
    assert_eq!(
        ask("/v1/notes", TOKEN, &json!({ "content": "x", "person_id": known })),
        200
    );
    assert_eq!(
        ask("/v1/notes", "another", &json!({ "content": "x", "person_id": known })),
        401
    );
    assert_eq!(
        ask(
            "/v1/notes",
            TOKEN,
            &json!({ "content": "x", "person_id": known.to_string() })
        ),
        400
    );
    assert_eq!(ask("/v1/notes", TOKEN, &json!({ "content": "x", "person_id": 1 })), 404);
    assert_eq!(
        ask("/api/v2/persons", TOKEN, &json!({ "name": "x", "phones": "+1" })),
        400
    );
}
