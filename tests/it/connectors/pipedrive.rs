//! Pipedrive: a company with persons, notes and activities, a search that lags, and a success that may be a failure.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::markup::{seen, unmarked};
use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, Lag, StandIn, Vendor, person};

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
            phones.filter_map(|phone| Some(phone["value"].as_str()?.to_owned())).collect()
        };
        let has = |one: &&Value| numbers(one).iter().any(|number| plain(number).contains(term));
        let found = self.persons.iter().filter(has).filter(|one| self.lag.finds(&one["id"]));
        let items: Vec<Value> = found
            .map(|one| json!({ "result_score": 0.3, "item": { "id": one["id"], "type": "person", "name": one["name"], "phones": numbers(one), "emails": [] } }))
            .collect();
        Answer::json(200, &json!({ "success": true, "data": { "items": items }, "additional_data": { "next_cursor": null } }))
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
        Answer::json(200, &json!({ "success": true, "data": data, "additional_data": { "pagination": pagination } }))
    }

    fn add_note(&mut self, body: &Value) -> Answer {
        let (Some(content), Some(person)) = (body["content"].as_str(), body["person_id"].as_u64()) else {
            return failed(400, "content is a text, person_id a number");
        };
        if !self.owners.contains_key(&person) {
            return failed(404, "Person not found");
        }
        let id = self.id();
        let note = json!({ "id": id, "active_flag": true, "content": content, "person_id": person, "add_time": time(id) });
        self.notes.push(note.clone());
        Answer::json(200, &json!({ "success": true, "data": note }))
    }

    fn add_activity(&mut self, mut body: Value) -> Answer {
        if !["call", "task", "sms"].iter().any(|known| body["type"] == *known) || !body["subject"].is_string() {
            return failed(400, "subject and a known type expected");
        }
        let participant = &body["participants"][0];
        let Some(person) = participant["person_id"].as_u64().filter(|_| participant["primary"] == true) else {
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
    Answer::json(200, &json!({ "success": true, "data": found, "additional_data": { "next_cursor": null } }))
}

fn plain(number: &str) -> String {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if digits.len() == 10 { format!("+1{digits}") } else { format!("+{digits}") }
}

fn time(id: u64) -> String {
    format!("2026-11-21T{:02}:{:02}:{:02}Z", id / 3600 % 24, id / 60 % 60, id % 60)
}

fn failed(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "success": false, "error": message, "error_info": "see the documentation" }))
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
        let person = body["person_id"].as_u64().or(body["participants"][0]["person_id"].as_u64());
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
        let notes = notes.chain(self.activities.iter().filter(of_sender).map(|activity| &activity["note"]));
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
            429 => failed(429, "request over limit").with_header("x-ratelimit-reset", "1").with_header("x-ratelimit-remaining", "0"),
            _ => failed(status, "Server error"),
        }
    }
}

fn keys(url: &str, more: &str) -> String {
    format!(r#"use = "pipedrive", base_url = "{url}", company = "acme", token = "{TOKEN}"{more}"#)
}
