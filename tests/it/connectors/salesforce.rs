//! Salesforce: an org with contacts, tasks, cases and comments, a search index beside the database, and tokens without a
//! lifetime.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::markup::unmarked;
use super::matrix::{self, Notes, Setup};
use super::once::{Ended, HOSTILE, Once};
use super::vendor::{Answer, Asked, Census, Fault, Lag, Vendor, person};

const CLIENT: &str = "3MVG9of the tests";
const SECRET: &str = "the consumer secret of the tests";

struct Record {
    id: String,
    object: String,
    fields: Map<String, Value>,
}

struct Salesforce {
    /// In the order of their creation.
    records: Vec<Record>,
    owners: HashMap<String, String>,
    tokens: Vec<String>,
    /// The search index; SOQL does not go through it.
    lag: Lag,
    /// Whether a duplicate rule compares new contacts' mobile numbers.
    duplicate_rule: bool,
    /// Answers instead of the org's own, for the next changes.
    scripted: Vec<Answer>,
}

impl Salesforce {
    fn new() -> Self {
        Self {
            records: vec![],
            owners: HashMap::new(),
            tokens: vec![],
            lag: Lag::of(0),
            duplicate_rule: false,
            scripted: vec![],
        }
    }

    fn with_lag(after: usize) -> Self {
        Self {
            lag: Lag::of(after),
            ..Self::new()
        }
    }

    fn of<'a>(&'a self, object: &'a str) -> impl DoubleEndedIterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.object == object)
    }

    fn by_id(&mut self, object: &str, id: &str) -> Option<&mut Record> {
        self.records
            .iter_mut()
            .find(|record| record.object == object && record.id == id)
    }

    fn token(&mut self, asked: &Asked) -> Answer {
        let form: HashMap<String, String> = asked.form().into_iter().collect();
        let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
        if !is("grant_type", "client_credentials") {
            return Answer::json(400, &json!({ "error": "unsupported_grant_type" }));
        }
        if !is("client_id", CLIENT) || !is("client_secret", SECRET) {
            return Answer::json(
                400,
                &json!({ "error": "invalid_client", "error_description": "invalid client credentials" }),
            );
        }
        let token = format!("00Dxx0000001gPF!{}", self.tokens.len());
        self.tokens.push(token.clone());
        Answer::json(
            200,
            &json!({ "access_token": token, "instance_url": "https://acme.my.salesforce.com", "token_type": "Bearer", "issued_at": "1790000000000" }),
        )
    }

    fn route(&mut self, asked: &Asked) -> Answer {
        let body = asked.json();
        match asked.route()[..] {
            ["GET", "services", "data", "v67.0", "search"] => self.search(asked.query("q").unwrap_or_default()),
            ["GET", "services", "data", "v67.0", "query"] => self.query(asked.query("q").unwrap_or_default()),
            ["POST", "services", "data", "v67.0", "sobjects", object] => {
                let override_rule = asked.header("sforce-duplicate-rule-header") == Some("allowSave=true");
                match self
                    .duplicate(object, &body)
                    .filter(|_| self.duplicate_rule && !override_rule)
                {
                    Some(answer) => answer,
                    None => self.insert(object, &body),
                }
            }
            ["PATCH", "services", "data", "v67.0", "sobjects", object, field, value] => {
                self.upsert(object, field, value, &body)
            }
            ["GET", "services", "data", "v67.0", "sobjects", object, id] => match self.by_id(object, id) {
                Some(record) => Answer::json(200, &shown(record, asked.query("fields").unwrap_or("Id"))),
                None => error(404, "NOT_FOUND", "The requested resource does not exist"),
            },
            ["PATCH", "services", "data", "v67.0", "sobjects", object, id] => match self.by_id(object, id) {
                Some(record) => {
                    record.fields.extend(body.as_object().unwrap().clone());
                    Answer::empty(204)
                }
                None => error(
                    404,
                    "NOT_FOUND",
                    "Provided external ID field does not exist or is not accessible: Id",
                ),
            },
            _ => error(404, "NOT_FOUND", "The requested resource does not exist"),
        }
    }

    /// `FIND {digits OR digits} IN PHONE FIELDS RETURNING Contact(…)`: any way of writing the number.
    fn search(&self, q: &str) -> Answer {
        let parts = q
            .strip_prefix("FIND {")
            .and_then(|rest| rest.split_once("} IN PHONE FIELDS RETURNING Contact("));
        let Some((terms, returning)) = parts else {
            return malformed("MALFORMED_SEARCH", q);
        };
        let terms: Vec<&str> = terms.split(" OR ").collect();
        if terms
            .iter()
            .any(|term| term.len() < 2 || !term.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return malformed("MALFORMED_SEARCH", q);
        }
        let fields = returning.split(" ORDER BY ").next().unwrap();
        let has = |record: &&Record| {
            let numbers =
                ["Phone", "MobilePhone", "HomePhone", "OtherPhone"].map(|field| digits(&record.fields, field));
            numbers
                .iter()
                .any(|number| terms.iter().any(|term| number.ends_with(term)))
        };
        let found = self
            .of("Contact")
            .rev()
            .filter(has)
            .filter(|record| self.lag.finds(&record.id));
        let records: Vec<Value> = found.take(20).map(|record| shown(record, fields)).collect();
        Answer::json(200, &json!({ "searchRecords": records }))
    }

    fn query(&self, q: &str) -> Answer {
        let Some(query) = Query::read(q) else {
            return malformed("MALFORMED_QUERY", q);
        };
        if query
            .conditions
            .iter()
            .flatten()
            .any(|one| matches!(one.field.as_str(), "Description" | "CommentBody"))
        {
            return malformed("INVALID_FIELD", "a long text can not be filtered in a query call");
        }
        let fits = |record: &&Record| {
            let one = |condition: &Condition| condition.values.contains(&field_of(record, &condition.field));
            query.conditions.is_empty() || query.conditions.iter().any(|all| all.iter().all(one))
        };
        let found = self.of(&query.object).rev().filter(fits).take(query.limit);
        let records: Vec<Value> = found.map(|record| shown(record, &query.fields)).collect();
        Answer::json(
            200,
            &json!({ "totalSize": records.len(), "done": true, "records": records }),
        )
    }

    fn duplicate(&self, object: &str, body: &Value) -> Option<Answer> {
        let same = |record: &Record| record.fields.get("MobilePhone") == body.get("MobilePhone");
        (object == "Contact" && self.of(object).any(same))
            .then(|| error(400, "DUPLICATES_DETECTED", "Use one of these records?"))
    }

    fn insert(&mut self, object: &str, body: &Value) -> Answer {
        let Some(fields) = body.as_object() else {
            return error(400, "JSON_PARSER_ERROR", "no object");
        };
        if let Some(answer) = self.objection(object, fields) {
            return answer;
        }
        let unique = |name: &&String| name.ends_with("__c");
        for name in fields.keys().filter(unique) {
            if let Some(other) = self
                .of(object)
                .find(|record| record.fields.get(name) == fields.get(name))
            {
                let message = format!(
                    "duplicate value found: {name} duplicates value on record with id: {}",
                    other.id
                );
                return error(400, "DUPLICATE_VALUE", &message);
            }
        }
        let id = self.store(object, fields.clone());
        Answer::json(201, &json!({ "id": id, "success": true, "errors": [] }))
    }

    fn store(&mut self, object: &str, fields: Map<String, Value>) -> String {
        let prefix = match object {
            "Contact" => "003",
            "Task" => "00T",
            "Case" => "500",
            _ => "00a",
        };
        let id = format!("{prefix}{:012}AAA", self.records.len() + 1);
        let parent = ["WhoId", "ContactId", "ParentId"]
            .iter()
            .find_map(|name| fields.get(*name)?.as_str());
        let owner = match parent {
            Some(parent) => self.owners.get(parent).cloned(),
            None => fields
                .get("MobilePhone")
                .or(fields.get("Phone"))
                .and_then(Value::as_str)
                .map(plain),
        };
        if let Some(owner) = owner {
            self.owners.insert(id.clone(), owner);
        }
        self.lag.created(&id);
        self.records.push(Record {
            id: id.clone(),
            object: object.to_owned(),
            fields,
        });
        id
    }

    fn upsert(&mut self, object: &str, field: &str, value: &str, body: &Value) -> Answer {
        if field != "SMS_Id__c" {
            let message = format!("Provided external ID field does not exist or is not accessible: {field}");
            return error(404, "NOT_FOUND", &message);
        }
        let mut fields = body.as_object().unwrap().clone();
        if fields.contains_key(field) {
            return error(400, "INVALID_FIELD", "the external ID must not be in the body");
        }
        if let Some(answer) = self.objection(object, &fields) {
            return answer;
        }
        fields.insert(field.to_owned(), json!(value));
        let having = |record: &&mut Record| record.object == object && record.fields.get(field) == Some(&json!(value));
        if let Some(record) = self.records.iter_mut().find(having) {
            record.fields.extend(fields);
            return Answer::json(
                200,
                &json!({ "id": record.id, "success": true, "errors": [], "created": false }),
            );
        }
        let id = self.store(object, fields);
        Answer::json(
            201,
            &json!({ "id": id, "success": true, "errors": [], "created": true }),
        )
    }

    fn objection(&self, object: &str, fields: &Map<String, Value>) -> Option<Answer> {
        let (known, required, parent): (&[&str], &str, Option<(&str, &str)>) = match object {
            "Contact" => (
                &["LastName", "FirstName", "MobilePhone", "Phone", "SMS_Phone__c"],
                "LastName",
                None,
            ),
            "Task" => (
                &["WhoId", "Subject", "Description", "Status", "ActivityDate", "OwnerId"],
                "Status",
                Some(("WhoId", "Contact")),
            ),
            "Case" => (
                &["ContactId", "Subject", "Description", "Origin", "Status", "Priority"],
                "Status",
                Some(("ContactId", "Contact")),
            ),
            "CaseComment" => (
                &["ParentId", "CommentBody", "IsPublished"],
                "ParentId",
                Some(("ParentId", "Case")),
            ),
            _ => return Some(error(404, "NOT_FOUND", "The requested resource does not exist")),
        };
        if let Some(wrong) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Some(error(
                400,
                "INVALID_FIELD",
                &format!("No such column '{wrong}' on sobject of type {object}"),
            ));
        }
        if !fields.contains_key(required) {
            return Some(error(
                400,
                "REQUIRED_FIELD_MISSING",
                &format!("Required fields are missing: [{required}]"),
            ));
        }
        let too_long = |name: &str, most: usize| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .is_some_and(|text| text.len() > most)
        };
        if too_long("Subject", 255) || too_long("CommentBody", 4000) {
            return Some(error(400, "STRING_TOO_LONG", "data value too large"));
        }
        let (name, of) = parent?;
        let there = self.of(of).any(|record| fields.get(name) == Some(&json!(record.id)));
        (!there).then(|| error(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
    }
}

fn plain(number: &str) -> String {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if digits.len() == 10 {
        format!("+1{digits}")
    } else {
        format!("+{digits}")
    }
}

fn digits(fields: &Map<String, Value>, name: &str) -> String {
    let number = fields.get(name).and_then(Value::as_str).unwrap_or_default();
    number.chars().filter(char::is_ascii_digit).collect()
}

/// A condition `field = value` or `field IN (values)`.
struct Condition {
    field: String,
    values: Vec<Value>,
}

/// A SOQL query of the few forms that are used; anything else is malformed.
struct Query {
    fields: String,
    object: String,
    /// One of these lists holds in all its parts.
    conditions: Vec<Vec<Condition>>,
    limit: usize,
}

impl Query {
    fn read(q: &str) -> Option<Self> {
        let (fields, rest) = q.strip_prefix("SELECT ")?.split_once(" FROM ")?;
        let (rest, limit) = rest.rsplit_once(" LIMIT ")?;
        let rest = match rest.rsplit_once(" ORDER BY ") {
            Some((rest, order)) if order.ends_with("Date DESC") => rest,
            Some(_) => return None,
            None => rest,
        };
        let (object, conditions) = match rest.split_once(" WHERE ") {
            Some((object, conditions)) => (object, disjunction(conditions)?),
            None => (rest, vec![]),
        };
        Some(Self {
            fields: fields.to_owned(),
            object: object.to_owned(),
            conditions,
            limit: limit.parse().ok()?,
        })
    }
}

fn disjunction(text: &str) -> Option<Vec<Vec<Condition>>> {
    let (mut any, mut all, mut rest) = (vec![], vec![], text);
    loop {
        let (condition, after) = condition(rest)?;
        all.push(condition);
        if after.is_empty() {
            any.push(all);
            return Some(any);
        }
        rest = match (after.strip_prefix(" AND "), after.strip_prefix(" OR ")) {
            (Some(rest), _) => rest,
            (_, Some(rest)) => {
                any.push(std::mem::take(&mut all));
                rest
            }
            _ => return None,
        };
    }
}

fn condition(text: &str) -> Option<(Condition, &str)> {
    let (field, rest) = text.split_once(' ')?;
    let field = field.to_owned();
    if let Some(rest) = rest.strip_prefix("= ") {
        let (value, rest) = literal(rest)?;
        return Some((
            Condition {
                field,
                values: vec![value],
            },
            rest,
        ));
    }
    let mut rest = rest.strip_prefix("IN (")?;
    let mut values = vec![];
    loop {
        let (value, after) = literal(rest)?;
        values.push(value);
        if let Some(after) = after.strip_prefix(')') {
            return Some((Condition { field, values }, after));
        }
        rest = after.strip_prefix(", ")?;
    }
}

fn literal(text: &str) -> Option<(Value, &str)> {
    for (word, value) in [("false", json!(false)), ("true", json!(true))] {
        if let Some(rest) = text.strip_prefix(word) {
            return Some((value, rest));
        }
    }
    let text = text.strip_prefix('\'')?;
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '\'' => return Some((json!(value), &text[at + 1..])),
            _ => value.push(character),
        }
    }
    None
}

fn field_of(record: &Record, name: &str) -> Value {
    match name {
        "Id" => json!(record.id),
        "IsClosed" => json!(record.fields.get("Status") == Some(&json!("Closed"))),
        "CaseNumber" => json!(format!("0{}", &record.id[7..14])),
        "LastModifiedDate" => json!(format!("2026-11-21T10:00:{}.000+0000", &record.id[13..15])),
        other => record.fields.get(other).cloned().unwrap_or_default(),
    }
}

fn shown(record: &Record, fields: &str) -> Value {
    let mut shown: Map<String, Value> = fields
        .split(',')
        .map(str::trim)
        .map(|name| (name.to_owned(), field_of(record, name)))
        .collect();
    let url = format!("/services/data/v67.0/sobjects/{}/{}", record.object, record.id);
    shown.insert("attributes".to_owned(), json!({ "type": record.object, "url": url }));
    Value::Object(shown)
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!([{ "message": message, "errorCode": code, "fields": [] }]),
    )
}

fn malformed(code: &str, message: &str) -> Answer {
    error(400, code, message)
}

impl Vendor for Salesforce {
    fn answer(&mut self, asked: &Asked) -> Answer {
        self.lag.tick();
        if asked.route() == ["POST", "services", "oauth2", "token"] {
            return self.token(asked);
        }
        let token = asked
            .header("authorization")
            .and_then(|header| header.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.tokens.iter().any(|known| known == token)) {
            return self.unauthorized();
        }
        if asked.method != "GET" && asked.header("content-type") != Some("application/json") {
            return error(415, "UNSUPPORTED_MEDIA_TYPE", "application/json expected");
        }
        if self.changes(asked) && !self.scripted.is_empty() {
            return self.scripted.remove(0);
        }
        self.route(asked)
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        let named = |id: &str| {
            asked.path.contains(id)
                || asked.body.contains(id)
                || asked.query.iter().any(|(_, value)| value.contains(id))
        };
        let by_id = || {
            self.owners
                .iter()
                .find(|(id, _)| named(id))
                .map(|(_, owner)| owner.clone())
        };
        asked.number().or_else(by_id)
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET" && !asked.path.ends_with("/token")
    }

    fn census(&self, sender: &str) -> Census {
        let of_sender = |record: &&Record| self.owners.get(&record.id).is_some_and(|owner| owner == sender);
        let notes = self.records.iter().filter(of_sender).filter_map(|record| {
            let field = if record.object == "CaseComment" {
                "CommentBody"
            } else {
                "Description"
            };
            Some(unmarked(record.fields.get(field)?.as_str()?))
        });
        Census {
            contacts: self.of("Contact").filter(of_sender).count(),
            tickets: self.of("Case").filter(of_sender).count(),
            notes: notes.collect(),
        }
    }

    fn unauthorized(&self) -> Answer {
        error(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    fn failure(&self, status: u16) -> Answer {
        match status {
            503 => error(503, "SERVER_UNAVAILABLE", "server unavailable"),
            _ => error(status, "UNKNOWN_EXCEPTION", "An unexpected error occurred"),
        }
    }
}

fn keys(url: &str, more: &str) -> String {
    format!(r#"use = "salesforce", my_domain = "{url}", client_id = "{CLIENT}", client_secret = "{SECRET}"{more}"#)
}

fn setup(vendor: fn() -> Salesforce, keys: fn(&str) -> String, tickets: usize) -> Setup<Salesforce> {
    Setup {
        vendor,
        keys,
        faults: Fault::all_with_tokens(),
        contacts: 1,
        tickets,
        notes: Notes::Once,
    }
}

/// With the fields that make everything but comments safe to repeat.
const UNIQUE: &str = r#", id_field = "SMS_Id__c", contact_field = "SMS_Phone__c""#;

fn on_cases() -> Setup<Salesforce> {
    let keys = |url: &str| keys(url, &format!(r#", flow = "ticket"{UNIQUE}"#));
    setup(|| Salesforce::with_lag(usize::MAX), keys, 1)
}

// There is no description of this interface by its vendor, so the stand-in's own rules are all that it is held against.

#[tokio::test]
async fn a_text_is_one_task_whatever_fails() {
    matrix::every_fault_at_every_position(&setup(Salesforce::new, |url| keys(url, ""), 0)).await;
}

#[tokio::test]
async fn with_external_ids_an_index_that_never_catches_up_makes_nothing_twice() {
    let never = || Salesforce::with_lag(usize::MAX);
    matrix::every_fault_at_every_position(&setup(never, |url| keys(url, UNIQUE), 0)).await;
}

#[tokio::test]
async fn a_text_is_on_a_case_once_whatever_fails() {
    matrix::every_fault_at_every_position(&on_cases()).await;
    let plain = setup(Salesforce::new, |url| keys(url, r#", flow = "ticket""#), 1);
    matrix::every_fault_at_every_position(&plain).await;
}

#[tokio::test]
async fn texts_under_random_faults_are_on_cases_once_and_in_order() {
    matrix::texts_under_random_faults(&on_cases(), 20, 5, 11).await;
}

#[tokio::test]
async fn a_kill_at_any_request_neither_loses_nor_repeats_a_text() {
    matrix::killed_at_every_position(&on_cases()).await;
}

fn contact(org: &mut Salesforce, fields: &Value) -> String {
    org.store("Contact", fields.as_object().unwrap().clone())
}

#[tokio::test]
async fn a_hit_with_the_same_digits_in_another_country_is_not_taken() {
    let mut org = Salesforce::new();
    let sender = person(1);
    let abroad = contact(
        &mut org,
        &json!({ "LastName": "Abroad", "Phone": format!("+44{}", &sender[2..]) }),
    );
    let once = Once::start(org, |url| keys(url, "")).await;
    once.files(&sender, "hello").await;
    let searched = once
        .stand
        .exchanges()
        .into_iter()
        .find(|one| one.asked.path.contains("search"))
        .unwrap();
    assert!(
        searched.answer.unwrap().body.contains(&abroad),
        "the search did find the other one"
    );
    assert_eq!(once.stand.census(&sender).contacts, 1);
    assert_eq!(once.stand.census(&sender).notes, ["hello"]);
    once.stand
        .with(|org| assert!(org.of("Task").all(|task| task.fields["WhoId"] != abroad.as_str())));
}

#[tokio::test]
async fn a_contact_is_found_however_its_number_was_typed() {
    for (field, typed) in [
        ("Phone", "(415) 555-0001"),
        ("MobilePhone", "+1 415-555-0001"),
        ("HomePhone", "14155550001"),
    ] {
        let mut org = Salesforce::new();
        let id = contact(&mut org, &json!({ "LastName": "Known", field: typed }));
        org.owners.insert(id.clone(), person(1));
        let once = Once::start(org, |url| keys(url, "")).await;
        once.files(&person(1), "hello").await;
        assert_eq!(once.stand.census(&person(1)).contacts, 1, "{field} {typed}");
        once.stand
            .with(|org| assert!(org.of("Task").all(|task| task.fields["WhoId"] == id.as_str())));
    }
}

/// How the first attempt of a text ends whose first change is answered so.
async fn after(answer: Answer, more: &str) -> (Once<Salesforce>, Ended) {
    let mut org = Salesforce::new();
    // twice, since refused credentials are renewed once
    org.scripted = vec![answer.clone(), answer];
    let once = Once::start(org, |url| keys(url, more)).await;
    let ended = once.attempts(&person(1), "hello").await;
    (once, ended)
}

#[tokio::test]
async fn used_up_requests_and_locked_rows_are_waited_for() {
    for (answer, seconds) in [
        (
            error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
            900.0,
        ),
        (
            error(
                400,
                "UNABLE_TO_LOCK_ROW",
                "unable to obtain exclusive access to this record",
            ),
            2.0,
        ),
    ] {
        let said = answer.body.clone();
        let (_once, ended) = after(answer, "").await;
        assert_eq!(ended.state, "available", "{said}: {ended:?}");
        assert!(
            (seconds * 0.9..=seconds * 1.5).contains(&ended.wait),
            "{said}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn what_only_a_person_can_mend_discards_the_text_with_the_reason() {
    let ambiguous = Answer::json(
        300,
        &json!(["/services/data/v67.0/sobjects/Contact/003000000000001AAA"]),
    );
    for answer in [
        ambiguous,
        error(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Email]"),
    ] {
        let (_once, ended) = after(answer, "").await;
        assert_eq!(ended.state, "discarded", "{ended:?}");
    }
    let once = Once::start(Salesforce::new(), |url| keys(url, r#", id_field = "Missing__c""#)).await;
    let ended = once.ends(&person(1), "hello").await;
    assert_eq!(ended.state, "discarded", "{ended:?}");
    assert!(ended.reason.contains("external ID field"), "{ended:?}");
    assert_eq!(
        once.stand.census(&person(1)).contacts,
        1,
        "the contact is not looked for again and again"
    );
}

#[tokio::test]
async fn a_disabled_api_and_refused_credentials_pause_the_action() {
    let (once, ended) = after(
        error(
            403,
            "API_DISABLED_FOR_ORG",
            "The REST API is not enabled for this Organization.",
        ),
        "",
    )
    .await;
    assert_eq!(ended.state, "available", "{ended:?}");
    assert!(once.paused().await.is_some());
    let wrong = |url: &str| keys(url, "").replace(SECRET, "another secret");
    let once = Once::start(Salesforce::new(), wrong).await;
    let ended = once.attempts(&person(1), "hello").await;
    assert_eq!(ended.state, "available", "{ended:?}");
    assert!(once.paused().await.is_some());
}

#[tokio::test]
async fn a_token_that_ended_is_fetched_anew_once() {
    let once = Once::start(Salesforce::new(), |url| keys(url, "")).await;
    once.files(&person(1), "first").await;
    once.stand
        .with(|org| org.tokens = vec!["none of those that were given".to_owned()]);
    once.files(&person(1), "second").await;
    assert_eq!(once.stand.census(&person(1)).notes, ["first", "second"]);
    once.stand.with(|org| assert_eq!(org.tokens.len(), 2));
}

#[tokio::test]
async fn what_a_duplicate_rule_or_the_unique_field_refuses_is_looked_up_in_the_database() {
    for (more, rule) in [("", true), (UNIQUE, false)] {
        let mut org = Salesforce::with_lag(usize::MAX);
        org.duplicate_rule = rule;
        let known = contact(
            &mut org,
            &json!({ "LastName": "Known", "MobilePhone": person(1), "SMS_Phone__c": person(1) }),
        );
        let once = Once::start(org, |url| keys(url, more)).await;
        once.files(&person(1), "hello").await;
        assert_eq!(once.stand.census(&person(1)).contacts, 1, "{more}");
        once.stand.with(|org| {
            assert!(org.of("Task").all(|task| task.fields["WhoId"] == known.as_str()));
            assert_eq!(
                org.of("Contact").next().unwrap().fields["LastName"],
                "Known",
                "no name is overwritten"
            );
        });
    }
}

#[tokio::test]
async fn a_duplicate_rule_can_be_overruled() {
    let mut org = Salesforce::with_lag(usize::MAX);
    org.duplicate_rule = true;
    contact(&mut org, &json!({ "LastName": "Known", "MobilePhone": person(1) }));
    let once = Once::start(org, |url| keys(url, ", allow_duplicates = true")).await;
    once.files(&person(1), "hello").await;
    assert_eq!(once.stand.census(&person(1)).contacts, 2);
}

#[tokio::test]
async fn a_contact_that_was_deleted_is_replaced_and_no_text_is_lost() {
    let once = Once::start(Salesforce::new(), |url| keys(url, UNIQUE)).await;
    once.files(&person(1), "first").await;
    once.stand
        .with(|org| org.records.retain(|record| record.object != "Contact"));
    once.files(&person(1), "second").await;
    assert_eq!(once.stand.census(&person(1)).contacts, 1);
    assert_eq!(once.stand.census(&person(1)).notes, ["first", "second"]);
}

#[tokio::test]
async fn a_closed_case_is_opened_again_or_followed_by_a_new_one() {
    for (closed, cases, status) in [("reopen", 1, "New"), ("new", 2, "Closed")] {
        let more = format!(r#", flow = "ticket", closed = "{closed}""#);
        let once = Once::start(Salesforce::new(), |url| keys(url, &more)).await;
        once.files(&person(1), "first").await;
        let close = |org: &mut Salesforce| {
            for case in org.records.iter_mut().filter(|record| record.object == "Case") {
                case.fields.insert("Status".to_owned(), json!("Closed"));
            }
        };
        once.stand.with(close);
        once.files(&person(1), "second").await;
        let census = once.stand.census(&person(1));
        assert_eq!(census.notes, ["first", "second"], "{closed}");
        assert_eq!(census.tickets, cases, "{closed}");
        once.stand
            .with(|org| assert_eq!(org.of("Case").next().unwrap().fields["Status"], status, "{closed}"));
    }
}

#[tokio::test]
async fn hostile_text_stays_text() {
    for more in ["", UNIQUE] {
        let more = format!(r#", flow = "ticket"{more}"#);
        let once = Once::start(Salesforce::new(), |url| keys(url, &more)).await;
        once.files(&person(1), HOSTILE).await;
        once.files(&person(1), HOSTILE).await;
        assert_eq!(once.stand.census(&person(1)).notes, [HOSTILE, HOSTILE]);
        for exchange in once.stand.exchanges() {
            let query = exchange.asked.query("q").unwrap_or_default();
            assert!(!query.contains("script"), "the text is in a query: {query}");
        }
    }
}

#[test]
fn the_stand_in_reads_soql_as_salesforce_does() {
    let query = Query::read(r"SELECT Id, Phone FROM Contact WHERE A = 'x\' y' AND B = false OR C IN ('1', '2') ORDER BY CreatedDate DESC LIMIT 5").unwrap();
    assert_eq!(
        (query.object.as_str(), query.fields.as_str(), query.limit),
        ("Contact", "Id, Phone", 5)
    );
    assert_eq!(query.conditions[0][0].values, [json!("x' y")]);
    assert_eq!(query.conditions[0][1].values, [json!(false)]);
    assert_eq!(query.conditions[1][0].values, [json!("1"), json!("2")]);
    for malformed in [
        "SELECT Id FROM Contact",
        "SELECT Id FROM Contact WHERE A = 'x' y' LIMIT 1",
        "SELECT Id FROM Contact WHERE A = \"x\" LIMIT 1",
    ] {
        assert!(Query::read(malformed).is_none(), "{malformed}");
    }
    let org = Salesforce::new();
    assert_eq!(
        org.query("SELECT Id FROM Task WHERE Description = 'x' LIMIT 1").status,
        400
    );
    assert_eq!(
        org.search("FIND {+14155550001} IN PHONE FIELDS RETURNING Contact(Id)")
            .status,
        400
    );
}

#[tokio::test]
async fn a_case_whose_making_ended_unclearly_is_not_found_as_somebody_elses() {
    // the case is there; a text that takes it for an older one would stand on it twice
    for faults in [
        &[Fault::Error500After][..],
        &[Fault::HangAfter, Fault::Busy503],
        &[Fault::ResetAfter, Fault::TooMany429],
        &[Fault::ResetAfter, Fault::Expired401],
    ] {
        let once = Once::start(Salesforce::new(), |url| {
            keys(url, &format!(r#", flow = "ticket"{UNIQUE}"#))
        })
        .await;
        for (at, &fault) in faults.iter().enumerate() {
            once.stand.fail(&person(1), 3 + at, fault);
        }
        once.files(&person(1), "hello").await;
        assert_eq!(once.stand.faults_of(&person(1)), faults);
        assert_eq!(once.stand.census(&person(1)).notes, ["hello"], "{faults:?}");
    }
}
