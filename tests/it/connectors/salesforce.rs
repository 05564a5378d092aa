//! Salesforce: an org with contacts, tasks, cases and comments, a search index beside the database, and tokens without a
//! lifetime.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::markup::unmarked;
use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, Lag, StandIn, Vendor, person};

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
        self.records.iter_mut().find(|record| record.object == object && record.id == id)
    }

    fn token(&mut self, asked: &Asked) -> Answer {
        let form: HashMap<String, String> = asked.form().into_iter().collect();
        let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
        if !is("grant_type", "client_credentials") {
            return Answer::json(400, &json!({ "error": "unsupported_grant_type" }));
        }
        if !is("client_id", CLIENT) || !is("client_secret", SECRET) {
            return Answer::json(400, &json!({ "error": "invalid_client", "error_description": "invalid client credentials" }));
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
                match self.duplicate(object, &body).filter(|_| self.duplicate_rule && !override_rule) {
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
                None => error(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: Id"),
            },
            _ => error(404, "NOT_FOUND", "The requested resource does not exist"),
        }
    }

    /// `FIND {digits OR digits} IN PHONE FIELDS RETURNING Contact(…)`: any way of writing the number.
    fn search(&self, q: &str) -> Answer {
        let parts = q.strip_prefix("FIND {").and_then(|rest| rest.split_once("} IN PHONE FIELDS RETURNING Contact("));
        let Some((terms, returning)) = parts else { return malformed("MALFORMED_SEARCH", q) };
        let terms: Vec<&str> = terms.split(" OR ").collect();
        if terms.iter().any(|term| term.len() < 2 || !term.bytes().all(|byte| byte.is_ascii_digit())) {
            return malformed("MALFORMED_SEARCH", q);
        }
        let fields = returning.split(" ORDER BY ").next().unwrap();
        let has = |record: &&Record| {
            let numbers = ["Phone", "MobilePhone", "HomePhone", "OtherPhone"].map(|field| digits(&record.fields, field));
            numbers.iter().any(|number| terms.iter().any(|term| number.ends_with(term)))
        };
        let found = self.of("Contact").rev().filter(has).filter(|record| self.lag.finds(&record.id));
        let records: Vec<Value> = found.take(20).map(|record| shown(record, fields)).collect();
        Answer::json(200, &json!({ "searchRecords": records }))
    }

    fn query(&self, q: &str) -> Answer {
        let Some(query) = Query::read(q) else { return malformed("MALFORMED_QUERY", q) };
        if query.conditions.iter().flatten().any(|one| matches!(one.field.as_str(), "Description" | "CommentBody")) {
            return malformed("INVALID_FIELD", "a long text can not be filtered in a query call");
        }
        let fits = |record: &&Record| {
            let one = |condition: &Condition| condition.values.contains(&field_of(record, &condition.field));
            query.conditions.is_empty() || query.conditions.iter().any(|all| all.iter().all(one))
        };
        let found = self.of(&query.object).rev().filter(fits).take(query.limit);
        let records: Vec<Value> = found.map(|record| shown(record, &query.fields)).collect();
        Answer::json(200, &json!({ "totalSize": records.len(), "done": true, "records": records }))
    }

    fn duplicate(&self, object: &str, body: &Value) -> Option<Answer> {
        let same = |record: &Record| record.fields.get("MobilePhone") == body.get("MobilePhone");
        (object == "Contact" && self.of(object).any(same))
            .then(|| error(400, "DUPLICATES_DETECTED", "Use one of these records?"))
    }

    fn insert(&mut self, object: &str, body: &Value) -> Answer {
        let Some(fields) = body.as_object() else { return error(400, "JSON_PARSER_ERROR", "no object") };
        if let Some(answer) = self.objection(object, fields) {
            return answer;
        }
        let unique = |name: &&String| name.ends_with("__c");
        for name in fields.keys().filter(unique) {
            if let Some(other) = self.of(object).find(|record| record.fields.get(name) == fields.get(name)) {
                let message = format!("duplicate value found: {name} duplicates value on record with id: {}", other.id);
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
        let parent = ["WhoId", "ContactId", "ParentId"].iter().find_map(|name| fields.get(*name)?.as_str());
        let owner = match parent {
            Some(parent) => self.owners.get(parent).cloned(),
            None => fields.get("MobilePhone").or(fields.get("Phone")).and_then(Value::as_str).map(plain),
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
            return Answer::json(200, &json!({ "id": record.id, "success": true, "errors": [], "created": false }));
        }
        let id = self.store(object, fields);
        Answer::json(201, &json!({ "id": id, "success": true, "errors": [], "created": true }))
    }

    fn objection(&self, object: &str, fields: &Map<String, Value>) -> Option<Answer> {
        let (known, required, parent): (&[&str], &str, Option<(&str, &str)>) = match object {
            "Contact" => (&["LastName", "FirstName", "MobilePhone", "Phone", "SMS_Phone__c"], "LastName", None),
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
            "CaseComment" => (&["ParentId", "CommentBody", "IsPublished"], "ParentId", Some(("ParentId", "Case"))),
            _ => return Some(error(404, "NOT_FOUND", "The requested resource does not exist")),
        };
        if let Some(wrong) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Some(error(400, "INVALID_FIELD", &format!("No such column '{wrong}' on sobject of type {object}")));
        }
        if !fields.contains_key(required) {
            return Some(error(400, "REQUIRED_FIELD_MISSING", &format!("Required fields are missing: [{required}]")));
        }
        let too_long = |name: &str, most: usize| fields.get(name).and_then(Value::as_str).is_some_and(|text| text.len() > most);
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
    if digits.len() == 10 { format!("+1{digits}") } else { format!("+{digits}") }
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
        return Some((Condition { field, values: vec![value] }, rest));
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
    Answer::json(status, &json!([{ "message": message, "errorCode": code, "fields": [] }]))
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
        let token = asked.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
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
            asked.path.contains(id) || asked.body.contains(id) || asked.query.iter().any(|(_, value)| value.contains(id))
        };
        let by_id = || self.owners.iter().find(|(id, _)| named(id)).map(|(_, owner)| owner.clone());
        asked.number().or_else(by_id)
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET" && !asked.path.ends_with("/token")
    }

    fn census(&self, sender: &str) -> Census {
        let of_sender = |record: &&Record| self.owners.get(&record.id).is_some_and(|owner| owner == sender);
        let notes = self.records.iter().filter(of_sender).filter_map(|record| {
            let field = if record.object == "CaseComment" { "CommentBody" } else { "Description" };
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
