//! `HubSpot`: a portal with contacts, tickets and communications, a search that lags, and the vendor's own validation.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::contract::{self, Contract};
use super::markup::{seen, unmarked};
use super::matrix::{self, Notes, Setup};
use super::once::{Ended, HOSTILE, Once};
use super::vendor::{Answer, Asked, Census, Fault, Lag, Vendor, person};

const TOKEN: &str = "pat-na1-of the tests";
/// The contact property with unique values.
const UNIQUE: &str = "sms_e164";

struct Record {
    id: u64,
    properties: Map<String, Value>,
    /// Of which contacts and tickets it is.
    of: Vec<u64>,
    /// Rises with every change.
    changed: u64,
}

struct Hubspot {
    contacts: Vec<Record>,
    tickets: Vec<Record>,
    communications: Vec<Record>,
    owners: HashMap<u64, String>,
    lag: Lag,
    next: u64,
    clock: u64,
    /// Answers instead of the portal's own, for the next change.
    scripted: Vec<Answer>,
}

impl Hubspot {
    fn new() -> Self {
        Self {
            contacts: vec![],
            tickets: vec![],
            communications: vec![],
            owners: HashMap::new(),
            lag: Lag::of(0),
            next: 50_000,
            clock: 0,
            scripted: vec![],
        }
    }

    fn with_lag(after: usize) -> Self {
        Self {
            lag: Lag::of(after),
            ..Self::new()
        }
    }

    fn record(&mut self, properties: Map<String, Value>, of: Vec<u64>) -> Record {
        self.next += 1;
        self.clock += 1;
        Record {
            id: self.next,
            properties,
            of,
            changed: self.clock,
        }
    }

    /// A contact that was there before.
    fn contact(&mut self, properties: &Value) -> u64 {
        let record = self.record(properties.as_object().unwrap().clone(), vec![]);
        let id = record.id;
        if let Some(phone) = properties["phone"].as_str() {
            self.owners.insert(id, calculated(phone));
        }
        self.contacts.push(record);
        id
    }

    fn owner(&self, of: &[u64]) -> Option<String> {
        of.iter().find_map(|id| self.owners.get(id).cloned())
    }

    fn route(&mut self, asked: &Asked) -> Answer {
        let body = asked.json();
        match asked.route()[..] {
            ["GET", "crm", "objects", "2026-03", "contacts"] => self.list(),
            ["POST", "crm", "objects", "2026-03", kind, "search"] => self.search(kind, &body),
            ["POST", "crm", "objects", "2026-03", kind, "batch", "read"] => self.read(kind, &body),
            ["POST", "crm", "objects", "2026-03", "contacts", "batch", "upsert"] => self.upsert(&body),
            ["POST", "crm", "objects", "2026-03", kind] => self.create(kind, &body),
            ["GET", "crm", "objects", "2026-03", from, id, "associations", to] => {
                self.associations(from, id, to, asked)
            }
            ["GET", "crm", "objects", "2026-03", "tickets", id] => match self.ticket(id) {
                Some(at) => Answer::json(
                    200,
                    &shown(&self.tickets[at], asked.query("properties").unwrap_or_default()),
                ),
                None => missing(),
            },
            ["PATCH", "crm", "objects", "2026-03", "tickets", id] => match self.ticket(id) {
                Some(at) => self.change_ticket(at, &body),
                None => missing(),
            },
            _ => missing(),
        }
    }

    fn ticket(&self, id: &str) -> Option<usize> {
        let id: u64 = id.parse().ok()?;
        self.tickets.iter().position(|ticket| ticket.id == id)
    }

    fn list(&self) -> Answer {
        let results: Vec<Value> = self.contacts.iter().take(1).map(|one| shown(one, "phone")).collect();
        Answer::json(200, &json!({ "results": results }))
    }

    fn kind(&mut self, kind: &str) -> Option<&mut Vec<Record>> {
        match kind {
            "contacts" => Some(&mut self.contacts),
            "tickets" => Some(&mut self.tickets),
            "communications" => Some(&mut self.communications),
            _ => None,
        }
    }

    fn search(&mut self, kind: &str, body: &Value) -> Answer {
        let well_formed = body["filterGroups"].as_array().is_some_and(|groups| groups.len() <= 5)
            && body["properties"].is_array()
            && body["limit"].as_u64().is_some_and(|limit| (1..=200).contains(&limit))
            && body["after"].is_string()
            && body["sorts"]
                .as_array()
                .is_some_and(|sorts| sorts.iter().all(Value::is_string));
        if !well_formed {
            return invalid("filterGroups, properties, limit, after and sorts are required");
        }
        let groups: Vec<Value> = body["filterGroups"].as_array().unwrap().clone();
        let filters = || {
            groups
                .iter()
                .flat_map(|group| group["filters"].as_array().into_iter().flatten())
        };
        if let Some(wrong) = filters().find(|filter| !is_filter(filter)) {
            return invalid(&format!("not a filter: {wrong}"));
        }
        let lag = self.lag.clone();
        let Some(records) = self.kind(kind) else {
            return missing();
        };
        let fits = |record: &&Record| {
            let one = |filter: &Value| matches(record, filter);
            groups
                .iter()
                .any(|group| group["filters"].as_array().unwrap().iter().all(one))
                && lag.finds(record.id)
        };
        let mut found: Vec<&Record> = records.iter().filter(fits).collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.changed));
        found.truncate(usize::try_from(body["limit"].as_u64().unwrap()).unwrap());
        let asked: Vec<&str> = body["properties"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let results: Vec<Value> = found.iter().map(|record| shown(record, &asked.join(","))).collect();
        Answer::json(200, &json!({ "total": results.len(), "results": results }))
    }

    fn read(&mut self, kind: &str, body: &Value) -> Answer {
        let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
        if inputs.is_empty() || inputs.len() > 100 || !body["properties"].is_array() {
            return invalid("inputs must have 1 to 100 members");
        }
        let ids: Option<Vec<&str>> = inputs.iter().map(|input| input["id"].as_str()).collect();
        let Some(ids) = ids else {
            return invalid("an id is a text");
        };
        let asked = body["properties"][0].as_str().unwrap_or_default().to_owned();
        let Some(records) = self.kind(kind) else {
            return missing();
        };
        let read = records
            .iter()
            .filter(|record| ids.contains(&record.id.to_string().as_str()));
        let results: Vec<Value> = read.map(|record| shown(record, &asked)).collect();
        let at = "2026-11-21T10:00:00Z";
        Answer::json(
            200,
            &json!({ "status": "COMPLETE", "startedAt": at, "completedAt": at, "results": results }),
        )
    }

    /// By a property with unique values: strongly consistent.
    fn upsert(&mut self, body: &Value) -> Answer {
        let [input] = body["inputs"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            return invalid("one input expected");
        };
        let (Some(id), Some(properties)) = (input["id"].as_str(), properties_of(input)) else {
            return invalid("id and properties are required");
        };
        if input["idProperty"] != UNIQUE {
            return invalid("idProperty has no unique values");
        }
        let at = self
            .contacts
            .iter()
            .position(|contact| contact.properties.get(UNIQUE) == Some(&json!(id)));
        let new = at.is_none();
        let at = at.unwrap_or_else(|| {
            let made = self.contact(&json!({ UNIQUE: id, "phone": properties["phone"].clone() }));
            self.lag.created(made);
            self.contacts.len() - 1
        });
        self.contacts[at].properties.extend(properties);
        let mut result = shown(&self.contacts[at], UNIQUE);
        result["new"] = json!(new);
        let now = "2026-11-21T10:00:00Z";
        Answer::json(
            200,
            &json!({ "status": "COMPLETE", "startedAt": now, "completedAt": now, "results": [result] }),
        )
    }

    fn create(&mut self, kind: &str, body: &Value) -> Answer {
        let (Some(properties), Some(associations)) = (properties_of(body), body["associations"].as_array()) else {
            return invalid("properties and associations are required");
        };
        let of: Option<Vec<u64>> = associations.iter().map(|one| self.associated(kind, one)).collect();
        let Some(of) = of else {
            return invalid("one or more associations are not valid");
        };
        if let Some(wrong) = objection(kind, &properties) {
            return invalid(wrong);
        }
        let record = self.record(properties, of);
        let (id, answer) = (record.id, shown(&record, ""));
        let owner = match kind {
            "contacts" => record.properties.get("phone").and_then(Value::as_str).map(calculated),
            _ => self.owner(&record.of),
        };
        let Some(records) = self.kind(kind) else {
            return missing();
        };
        records.push(record);
        self.lag.created(id);
        if let Some(owner) = owner {
            self.owners.insert(id, owner);
        }
        Answer::json(201, &answer)
    }

    /// The record of an association, if the type is that of the two kinds.
    fn associated(&self, kind: &str, association: &Value) -> Option<u64> {
        let id: u64 = association["to"]["id"].as_str()?.parse().ok()?;
        let spec = &association["types"][0];
        let records = match (kind, spec["associationTypeId"].as_u64()?) {
            ("communications", 81) | ("tickets", 16) => &self.contacts,
            ("communications", 83) => &self.tickets,
            _ => return None,
        };
        (spec["associationCategory"] == "HUBSPOT_DEFINED" && records.iter().any(|record| record.id == id)).then_some(id)
    }

    fn associations(&mut self, from: &str, id: &str, to: &str, asked: &Asked) -> Answer {
        let Ok(id) = id.parse::<u64>() else { return missing() };
        if !self
            .kind(from)
            .is_some_and(|records| records.iter().any(|record| record.id == id))
        {
            return missing();
        }
        let limit: usize = asked.query("limit").unwrap_or("100").parse().unwrap();
        let after: u64 = asked.query("after").unwrap_or("0").parse().unwrap();
        let Some(records) = self.kind(to) else { return missing() };
        let mut ids: Vec<u64> = records
            .iter()
            .filter(|one| one.of.contains(&id))
            .map(|one| one.id)
            .collect();
        ids.retain(|&id| id > after);
        let more = ids.len() > limit;
        ids.truncate(limit);
        let types = json!([{ "category": "HUBSPOT_DEFINED", "typeId": 82 }]);
        let results: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "toObjectId": id.to_string(), "associationTypes": types }))
            .collect();
        let mut answer = json!({ "results": results });
        if more {
            answer["paging"] = json!({ "next": { "after": ids[ids.len() - 1].to_string() } });
        }
        Answer::json(200, &answer)
    }

    fn change_ticket(&mut self, at: usize, body: &Value) -> Answer {
        let Some(properties) = properties_of(body) else {
            return invalid("properties are required");
        };
        self.clock += 1;
        self.tickets[at].changed = self.clock;
        self.tickets[at].properties.extend(properties);
        Answer::json(200, &shown(&self.tickets[at], ""))
    }

    fn close_tickets(&mut self) {
        for ticket in &mut self.tickets {
            ticket.properties.insert("hs_pipeline_stage".to_owned(), json!("4"));
        }
    }
}

fn is_filter(filter: &Value) -> bool {
    let known = [
        "hs_searchable_calculated_phone_number",
        "hs_searchable_calculated_mobile_number",
        "phone",
        "mobilephone",
        UNIQUE,
        "associations.contact",
        "hs_pipeline",
        "hs_pipeline_stage",
    ];
    let value = match filter["operator"].as_str() {
        Some("EQ") => filter["value"].is_string(),
        Some("IN") => filter["values"]
            .as_array()
            .is_some_and(|values| values.iter().all(Value::is_string)),
        _ => false,
    };
    value && known.iter().any(|name| filter["propertyName"] == *name)
}

fn matches(record: &Record, filter: &Value) -> bool {
    let name = filter["propertyName"].as_str().unwrap();
    if name == "associations.contact" {
        return record.of.iter().any(|id| filter["value"] == json!(id.to_string()));
    }
    let value = property(record, name);
    match filter["operator"].as_str().unwrap() {
        "EQ" => !value.is_null() && value == filter["value"],
        _ => filter["values"].as_array().unwrap().contains(&value),
    }
}

/// What `HubSpot` makes of a number as typed: digits, a plus if it has none.
fn calculated(typed: &str) -> String {
    let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
    match digits.len() {
        10 => format!("+1{digits}"),
        _ => format!("+{digits}"),
    }
}

/// A property, those that `HubSpot` calculates among them.
fn property(record: &Record, name: &str) -> Value {
    let typed = |name: &str| record.properties.get(name).and_then(Value::as_str).map(calculated);
    let national = |number: String| number[number.len() - 10..].to_owned();
    match name {
        "hs_calculated_phone_number" => json!(typed("phone")),
        "hs_calculated_mobile_number" => json!(typed("mobilephone")),
        "hs_searchable_calculated_phone_number" => json!(typed("phone").map(national)),
        "hs_searchable_calculated_mobile_number" => json!(typed("mobilephone").map(national)),
        other => record.properties.get(other).cloned().unwrap_or_default(),
    }
}

/// A record with the properties that were asked for.
fn shown(record: &Record, asked: &str) -> Value {
    let mut properties: Map<String, Value> = asked
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| (name.to_owned(), property(record, name)))
        .filter(|(_, value)| !value.is_null())
        .collect();
    properties.insert("hs_object_id".to_owned(), json!(record.id.to_string()));
    json!({
        "id": record.id.to_string(), "archived": false, "createdAt": "2026-11-21T09:00:00Z",
        "updatedAt": format!("2026-11-21T{:02}:{:02}:{:02}Z", record.changed / 3600 % 24, record.changed / 60 % 60, record.changed % 60),
        "properties": properties,
    })
}

fn properties_of(body: &Value) -> Option<Map<String, Value>> {
    let properties = body["properties"].as_object()?;
    properties.values().all(Value::is_string).then(|| properties.clone())
}

fn objection(kind: &str, properties: &Map<String, Value>) -> Option<&'static str> {
    let is = |name: &str, values: &[&str]| {
        properties
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|value| values.contains(&value))
    };
    let at = || properties.get("hs_timestamp").and_then(Value::as_str);
    match kind {
        "tickets" if !is("hs_pipeline", &["0"]) || !is("hs_pipeline_stage", &["1", "2", "3", "4"]) => {
            Some("no such pipeline or stage")
        }
        "tickets" if !properties.contains_key("subject") => Some("subject is required"),
        "communications"
            if !is(
                "hs_communication_channel_type",
                &["SMS", "WHATS_APP", "LINKEDIN_MESSAGE"],
            ) =>
        {
            Some("no such channel")
        }
        "communications" if !is("hs_communication_logged_from", &["CRM"]) => Some("logged_from must be CRM"),
        "communications" if at().is_none_or(|at| chrono::DateTime::parse_from_rfc3339(at).is_err()) => {
            Some("hs_timestamp is required")
        }
        _ => None,
    }
}

fn error(status: u16, category: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({ "status": "error", "message": message, "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf", "category": category }),
    )
}

fn invalid(message: &str) -> Answer {
    error(400, "VALIDATION_ERROR", message)
}

fn missing() -> Answer {
    error(404, "OBJECT_NOT_FOUND", "Object not found.")
}

fn limited(policy: &str) -> Answer {
    Answer::json(
        429,
        &json!({
            "status": "error", "message": "You have reached your limit.", "errorType": "RATE_LIMIT",
            "policyName": policy, "correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24",
        }),
    )
}

impl Vendor for Hubspot {
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.lag.tick();
        if asked.header("authorization") != Some(format!("Bearer {TOKEN}").as_str()) {
            return self.unauthorized();
        }
        if asked.method != "GET" && asked.header("content-type") != Some("application/json") {
            return error(415, "INVALID_CONTENT_TYPE", "application/json expected");
        }
        if self.changes(asked) && !self.scripted.is_empty() {
            return self.scripted.remove(0);
        }
        self.route(asked)
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        asked.number().or_else(|| {
            let mut ids: Vec<u64> = asked.route().iter().filter_map(|part| part.parse().ok()).collect();
            ids_in(&asked.json(), &mut ids);
            self.owner(&ids)
        })
    }

    fn changes(&self, asked: &Asked) -> bool {
        let route = asked.route();
        asked.method != "GET" && !route.ends_with(&["search"]) && !route.ends_with(&["batch", "read"])
    }

    fn census(&self, sender: &str) -> Census {
        let of_sender = |record: &&Record| self.owners.get(&record.id).is_some_and(|owner| owner == sender);
        let tickets: Vec<&Record> = self.tickets.iter().filter(of_sender).collect();
        let mut notes: Vec<(u64, String)> = tickets
            .iter()
            .map(|ticket| (ticket.id, unmarked(ticket.properties["content"].as_str().unwrap())))
            .collect();
        notes.extend(self.communications.iter().filter(of_sender).map(|one| {
            let html = one.properties["hs_communication_body"].as_str().unwrap();
            (one.id, unmarked(&seen(html).text))
        }));
        notes.sort();
        Census {
            contacts: self.contacts.iter().filter(of_sender).count(),
            tickets: tickets.len(),
            notes: notes.into_iter().map(|(_, note)| note).collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
    }

    fn failure(&self, status: u16) -> Answer {
        match status {
            429 => limited("SECONDLY"),
            _ => error(status, "INTERNAL", "internal error"),
        }
    }
}

/// Every whole number that a JSON value has as a text.
fn ids_in(value: &Value, ids: &mut Vec<u64>) {
    match value {
        Value::String(text) => ids.extend(text.parse::<u64>()),
        Value::Array(items) => items.iter().for_each(|item| ids_in(item, ids)),
        Value::Object(members) => members.values().for_each(|member| ids_in(member, ids)),
        _ => {}
    }
}

fn keys(url: &str, more: &str) -> String {
    format!(r#"use = "hubspot", base_url = "{url}", hub_id = "1234567", token = "{TOKEN}"{more}"#)
}

/// One clean run, every fault at every position; then the vendor's own description of what was said.
async fn holds(setup: &Setup<Hubspot>) {
    let stand = matrix::every_fault_at_every_position(setup).await;
    contract::check(&CONTRACT, &stand.exchanges());
}

const CONTRACT: Contract = Contract {
    specs: &[
        "hubspot-contacts.json",
        "hubspot-tickets.json",
        "hubspot-communications.json",
        "hubspot-associations.json",
    ],
    instead: &[],
    outside: &[
        (
            "POST /crm/objects/{}/communications/batch/read",
            "left out of the excerpt; the vendor's page has it",
        ),
        (
            "POST /crm/objects/{}/tickets/batch/read",
            "left out of the excerpt; the same for every object",
        ),
        (
            "GET /crm/objects/{}/tickets/{}",
            "left out of the excerpt; as that of contacts",
        ),
    ],
    excused: &[],
};

fn setup(vendor: fn() -> Hubspot, keys: fn(&str) -> String, tickets: usize) -> Setup<Hubspot> {
    Setup {
        vendor,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 1,
        tickets,
        notes: Notes::Once,
    }
}

fn on_tickets() -> Setup<Hubspot> {
    setup(Hubspot::new, |url| keys(url, r#", flow = "ticket""#), 1)
}

#[tokio::test]
async fn a_text_is_on_the_timeline_once_whatever_fails() {
    holds(&setup(Hubspot::new, |url| keys(url, ""), 0)).await;
}

#[tokio::test]
async fn with_a_unique_property_a_search_that_never_catches_up_makes_no_second_contact() {
    let never = || Hubspot::with_lag(usize::MAX);
    holds(&setup(never, |url| keys(url, r#", unique_property = "sms_e164""#), 0)).await;
}

#[tokio::test]
async fn a_text_is_on_a_ticket_once_whatever_fails() {
    holds(&on_tickets()).await;
}

#[tokio::test]
async fn texts_under_random_faults_are_on_tickets_once_and_in_order() {
    matrix::texts_under_random_faults(&on_tickets(), 20, 5, 7).await;
}

#[tokio::test]
async fn a_kill_at_any_request_neither_loses_nor_repeats_a_text() {
    matrix::killed_at_every_position(&on_tickets()).await;
}

#[tokio::test]
async fn a_hit_with_the_same_digits_in_another_country_is_not_taken() {
    let mut portal = Hubspot::new();
    let sender = person(1);
    let abroad = portal.contact(&json!({ "phone": format!("+44{}", &sender[2..]), "lastname": "Abroad" }));
    let once = Once::start(portal, |url| keys(url, "")).await;
    once.files(&sender, "hello").await;
    let found = once.stand.exchanges()[0].answer.clone().unwrap().value();
    assert_eq!(
        found["results"][0]["id"],
        abroad.to_string(),
        "the search did find the other one"
    );
    assert_eq!(once.stand.census(&sender).contacts, 1);
    assert_eq!(once.stand.census(&sender).notes, ["hello"]);
    once.stand
        .with(|portal| assert!(portal.communications.iter().all(|one| !one.of.contains(&abroad))));
}

#[tokio::test]
async fn a_contact_is_found_however_its_number_was_typed() {
    for (property, typed) in [
        ("phone", "(415) 555-0001"),
        ("mobilephone", "+1 415-555-0001"),
        ("phone", "+14155550001"),
    ] {
        let mut portal = Hubspot::new();
        let id = portal.contact(&json!({ property: typed, "lastname": "Known" }));
        portal.owners.insert(id, person(1));
        let once = Once::start(portal, |url| keys(url, "")).await;
        once.files(&person(1), "hello").await;
        assert_eq!(once.stand.census(&person(1)).contacts, 1, "{property} {typed}");
        assert_eq!(once.stand.census(&person(1)).notes, ["hello"], "{property} {typed}");
    }
}

/// The bound that the page states: why `unique_property` is recommended.
#[tokio::test]
async fn without_a_unique_property_a_late_index_costs_a_second_contact_but_no_second_text() {
    let once = Once::start(Hubspot::with_lag(usize::MAX), |url| keys(url, "")).await;
    once.stand.fail(&person(1), 1, Fault::ResetAfter);
    once.files(&person(1), "hello").await;
    let census = once.stand.census(&person(1));
    assert_eq!((census.contacts, census.notes), (2, vec!["hello".to_owned()]));
}

/// How the first attempt of a text ends whose first change is answered so.
async fn after(answer: Answer) -> (Once<Hubspot>, Ended) {
    let mut portal = Hubspot::new();
    portal.scripted.push(answer);
    let once = Once::start(portal, |url| keys(url, "")).await;
    let ended = once.attempts(&person(1), "hello").await;
    (once, ended)
}

#[tokio::test]
async fn a_limit_is_waited_for_as_long_as_its_policy_says() {
    for (answer, seconds) in [
        (limited("DAILY"), 3600.0),
        (limited("TEN_SECONDLY_ROLLING"), 10.0),
        (limited("SECONDLY"), 1.0),
        (error(423, "LOCKED", "locked"), 2.0),
        (
            error(477, "MIGRATION_IN_PROGRESS", "moving").with_header("retry-after", "300"),
            300.0,
        ),
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
async fn a_missing_scope_pauses_the_action_and_spends_no_text() {
    let (once, ended) = after(error(
        403,
        "MISSING_SCOPES",
        "This app hasn't been granted all required scopes",
    ))
    .await;
    assert_eq!(ended.state, "available", "{ended:?}");
    assert!(once.paused().await.is_some());
    assert_eq!(once.stand.census(&person(1)), Census::default());
}

#[tokio::test]
async fn a_contact_that_is_there_already_is_looked_up_and_used() {
    // found by the lookup after the creation, not by the search before it
    let mut portal = Hubspot::with_lag(1);
    let id = portal.contact(&json!({ "phone": person(1), "lastname": "Known" }));
    portal.lag.created(id);
    portal
        .scripted
        .push(error(409, "CONFLICT", "Contact already exists. Existing ID: 50001"));
    let once = Once::start(portal, |url| keys(url, "")).await;
    once.files(&person(1), "hello").await;
    assert_eq!(once.stand.census(&person(1)).contacts, 1);
    assert_eq!(once.stand.census(&person(1)).notes, ["hello"]);
}

#[tokio::test]
async fn a_contact_that_was_deleted_is_replaced_and_no_text_is_lost() {
    let once = Once::start(Hubspot::new(), |url| keys(url, "")).await;
    once.files(&person(1), "first").await;
    once.stand.with(|portal| portal.contacts.clear());
    once.files(&person(1), "second").await;
    once.stand.with(|portal| {
        assert_eq!(portal.contacts.len(), 1);
        assert_eq!(portal.communications[1].of, [portal.contacts[0].id]);
    });
    assert_eq!(once.stand.census(&person(1)).notes, ["first", "second"]);
}

#[tokio::test]
async fn a_closed_ticket_is_opened_again_or_followed_by_a_new_one() {
    for (closed, tickets, stage) in [("reopen", 1, "1"), ("new", 2, "4")] {
        let more = format!(r#", flow = "ticket", closed = "{closed}""#);
        let once = Once::start(Hubspot::new(), |url| keys(url, &more)).await;
        once.files(&person(1), "first").await;
        once.stand.with(Hubspot::close_tickets);
        once.files(&person(1), "second").await;
        let census = once.stand.census(&person(1));
        assert_eq!(census.notes, ["first", "second"], "{closed}");
        assert_eq!(census.tickets, tickets, "{closed}");
        once.stand
            .with(|portal| assert_eq!(portal.tickets[0].properties["hs_pipeline_stage"], stage, "{closed}"));
    }
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let once = Once::start(Hubspot::new(), |url| keys(url, r#", flow = "ticket""#)).await;
    once.files(&person(1), HOSTILE).await;
    once.files(&person(1), HOSTILE).await;
    assert_eq!(once.stand.census(&person(1)).notes, [HOSTILE, HOSTILE]);
    once.stand.with(|portal| {
        let body = portal.communications[0].properties["hs_communication_body"]
            .as_str()
            .unwrap();
        assert_eq!(seen(body).tags, Vec::<String>::new());
        let subject = portal.tickets[0].properties["subject"].as_str().unwrap();
        assert_eq!(subject, format!("SMS from {}", person(1)));
    });
}

#[test]
fn the_stand_in_refuses_what_hubspot_refuses() {
    let mut portal = Hubspot::new();
    let mut ask = |target: &str, token: &str, body: &Value| {
        let headers = [("authorization", token), ("content-type", "application/json")];
        portal
            .answer(&Asked::of("POST", target, &headers, &body.to_string()))
            .status
    };
    let token = format!("Bearer {TOKEN}");
    let search = json!({ "filterGroups": [], "properties": [], "limit": 10, "after": "0", "sorts": [] });
    assert_eq!(ask("/crm/objects/2026-03/contacts/search", &token, &search), 200);
    assert_eq!(
        ask("/crm/objects/2026-03/contacts/search", "Bearer other", &search),
        401
    );
    for member in ["filterGroups", "properties", "limit", "after", "sorts"] {
        let mut without = search.clone();
        without.as_object_mut().unwrap().remove(member);
        assert_eq!(
            ask("/crm/objects/2026-03/contacts/search", &token, &without),
            400,
            "{member}"
        );
    }
    let contact = json!({ "properties": { "phone": "+1" }, "associations": [] });
    assert_eq!(ask("/crm/objects/2026-03/contacts", &token, &contact), 201);
    assert_eq!(ask("/crm/v3/objects/contacts", &token, &contact), 404);
    let nobody = json!({ "properties": {}, "associations": [{ "to": { "id": "1" }, "types": [{ "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 81 }] }] });
    assert_eq!(ask("/crm/objects/2026-03/communications", &token, &nobody), 400);
}
