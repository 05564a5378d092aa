//! Requests of connectors and answers of stand-ins against the vendors' own API descriptions (`OpenAPI` 3, Swagger 2): an
//! optional oracle, since the descriptions are not the project's to carry. `CONTRACT_SPECS_DIR` names the folder that has
//! them; without it [`check`] says so and does nothing.
//!
//! What no description has must be listed by the vendor's test with the reason, or it is a failure.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::vendor::{Asked, Exchange};

/// What a vendor's requests are measured by.
pub(crate) struct Contract {
    /// Files in the folder.
    pub(crate) specs: &'static [&'static str],
    /// Beginnings of paths that the descriptions write otherwise: `("/api/webhooks", "/api/v10/webhooks")`.
    pub(crate) instead: &'static [(&'static str, &'static str)],
    /// Operations (as [`Exchange::operation`] writes them) that no description has, and why they are right nevertheless.
    pub(crate) outside: &'static [(&'static str, &'static str)],
    /// Parts of complaints that are not ours to mend, and why.
    pub(crate) excused: &'static [(&'static str, &'static str)],
}

/// Panics with everything in which the exchanges differ from the descriptions.
pub(crate) fn check(contract: &Contract, exchanges: &[Exchange]) {
    let Some(folder) = std::env::var_os("CONTRACT_SPECS_DIR") else {
        super::report(&format!(
            "{:?}: not checked, CONTRACT_SPECS_DIR names no folder with the vendors' descriptions",
            contract.specs
        ));
        return;
    };
    let documents = contract.specs.iter().map(|name| {
        let file = Path::new(&folder).join(name);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    });
    let complaints = complaints(contract, documents.collect(), exchanges);
    let text: Vec<&str> = complaints.iter().map(String::as_str).collect();
    assert!(text.is_empty(), "{:?}:\n  {}", contract.specs, text.join("\n  "));
    super::report(&format!(
        "{:?}: {} exchanges are as described",
        contract.specs,
        exchanges.len()
    ));
}

fn complaints(contract: &Contract, documents: Vec<Value>, exchanges: &[Exchange]) -> BTreeSet<String> {
    let mut descriptions: Vec<Description> = documents.into_iter().map(Description::of).collect();
    let mut complaints = BTreeSet::new();
    let mut described = BTreeSet::new();
    for exchange in exchanges {
        let operation = exchange.operation();
        let path = renamed(contract, &exchange.asked.path);
        let found = descriptions.iter_mut().find_map(|description| {
            let found = description.find(&exchange.asked.method, &path)?;
            Some((description, found))
        });
        let Some((description, at)) = found else {
            if !contract.outside.iter().any(|(known, _)| *known == operation) {
                complaints.insert(format!("{operation}: not in the description"));
            }
            continue;
        };
        described.insert(operation.clone());
        for complaint in description.complaints(&at, exchange) {
            complaints.insert(format!("{operation}: {complaint}"));
        }
    }
    complaints.retain(|complaint| !contract.excused.iter().any(|(part, _)| complaint.contains(part)));
    let needless = contract.outside.iter().filter(|(known, _)| described.contains(*known));
    complaints.extend(needless.map(|(known, _)| format!("{known}: is in the description after all")));
    complaints
}

fn renamed(contract: &Contract, path: &str) -> String {
    let renamed = contract
        .instead
        .iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", path.strip_prefix(ours)?)));
    renamed.unwrap_or_else(|| path.to_owned())
}

/// Where a request is described: the template and the method, in lower case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Place {
    template: String,
    method: String,
}

/// Which way something goes: what only the other side sets is not required of us, and the reverse.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Direction {
    Request,
    Response,
}

/// One document.
struct Description {
    document: Value,
    /// The path of its server, without a slash at its end.
    base: String,
    validators: HashMap<(Place, String), Validator>,
}

impl Description {
    fn of(document: Value) -> Self {
        let base = match document["servers"][0]["url"].as_str() {
            Some(url) => {
                let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
                after_scheme
                    .split_once('/')
                    .map_or(String::new(), |(_, path)| format!("/{path}"))
            }
            None => document["basePath"].as_str().unwrap_or_default().to_owned(),
        };
        Self {
            base: base.trim_end_matches('/').to_owned(),
            document,
            validators: HashMap::new(),
        }
    }

    fn is_swagger_2(&self) -> bool {
        self.document["swagger"] == "2.0"
    }

    /// The most literal of the templates that the path fits.
    fn find(&self, method: &str, path: &str) -> Option<Place> {
        let parts: Vec<&str> = path.strip_prefix(&self.base)?.trim_matches('/').split('/').collect();
        let method = method.to_lowercase();
        let paths = self.document["paths"].as_object()?;
        let fitting = paths.iter().filter(|(_, operations)| operations.get(&method).is_some());
        let fitting = fitting.filter_map(|(template, _)| Some((literal_parts(template, &parts)?, template)));
        let (_, template) = fitting.max()?;
        Some(Place {
            template: template.clone(),
            method,
        })
    }

    fn complaints(&mut self, at: &Place, exchange: &Exchange) -> Vec<String> {
        let path_item = self.document["paths"][&at.template].clone();
        let operation = path_item[&at.method].clone();
        let of_both = [&path_item["parameters"], &operation["parameters"]];
        let parameters: Vec<Value> = of_both
            .iter()
            .filter_map(|list| list.as_array())
            .flatten()
            .map(|one| self.resolved(one))
            .collect();
        let mut complaints = if self.is_swagger_2() {
            swagger_2_request(&parameters, &exchange.asked)
        } else {
            let mut complaints = self.query(&parameters, &exchange.asked);
            complaints.extend(self.request_body(at, &operation, &exchange.asked));
            complaints
        };
        if let Some(answer) = &exchange.answer {
            let content_type = answer.headers.iter().find(|(name, _)| name == "content-type");
            let content_type = content_type.map(|(_, value)| value.as_str());
            complaints.extend(self.response(at, &operation, answer.status, content_type, &answer.body));
        }
        complaints
    }

    fn query(&mut self, parameters: &[Value], asked: &Asked) -> Vec<String> {
        let mut complaints = Vec::new();
        for parameter in parameters.iter().filter(|one| one["in"] == "query") {
            let name = parameter["name"].as_str().unwrap_or_default();
            let Some(value) = asked.query(name) else {
                if parameter["required"] == true {
                    complaints.push(format!("the query lacks `{name}`"));
                }
                continue;
            };
            let kind = self.resolved(&parameter["schema"]);
            if matches!(kind["type"].as_str(), Some("integer" | "number" | "boolean")) {
                let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                complaints.extend(self.validated(&kind, Direction::Request, &value, &format!("query `{name}`")));
            } else if kind["type"] == "string" {
                complaints.extend(self.validated(&kind, Direction::Request, &json!(value), &format!("query `{name}`")));
            }
        }
        complaints
    }

    fn request_body(&mut self, at: &Place, operation: &Value, asked: &Asked) -> Vec<String> {
        let described = self.resolved(&operation["requestBody"]);
        if asked.body.is_empty() {
            let needed = described["required"] == true;
            return needed
                .then(|| "the request has no body".to_owned())
                .into_iter()
                .collect();
        }
        let content_type = asked.header("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let Some(content) = described["content"]
            .get(essence)
            .or_else(|| described["content"].get("*/*"))
        else {
            return vec![format!(
                "the request's content type `{essence}` is not in the description"
            )];
        };
        let body = match essence {
            "application/x-www-form-urlencoded" => asked
                .form()
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect(),
            _ => asked.json(),
        };
        self.validated_once(at, "request", &content["schema"], Direction::Request, &body)
    }

    fn response(
        &mut self,
        at: &Place,
        operation: &Value,
        status: u16,
        content_type: Option<&str>,
        body: &str,
    ) -> Vec<String> {
        let responses = &operation["responses"];
        let class = format!("{}XX", status / 100);
        let found = [status.to_string(), class, "default".to_owned()]
            .into_iter()
            .find(|key| responses.get(key).is_some());
        let Some(key) = found else {
            // descriptions rarely say what errors look like; a success that they do not know is worth a look
            let success = (200..300).contains(&status);
            return success
                .then(|| format!("an answer {status} is not in the description"))
                .into_iter()
                .collect();
        };
        let response = self.resolved(&responses[&key]);
        let schema = if self.is_swagger_2() {
            response.get("schema").cloned()
        } else {
            let essence = content_type
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default()
                .trim();
            let content = &response["content"];
            let found = content.get(essence).or_else(|| content.get("*/*"));
            found.and_then(|content| content.get("schema")).cloned()
        };
        let Some(schema) = schema else {
            return vec![];
        };
        let Ok(body) = serde_json::from_str(body) else {
            return vec![format!("the answer {status} is not JSON")];
        };
        self.validated_once(at, &format!("answer {status}"), &schema, Direction::Response, &body)
    }

    /// As [`Description::validated`], the validator kept for the next exchange.
    fn validated_once(
        &mut self,
        at: &Place,
        what: &str,
        schema: &Value,
        direction: Direction,
        body: &Value,
    ) -> Vec<String> {
        let key = (at.clone(), what.to_owned());
        if !self.validators.contains_key(&key) {
            let validator = self.validator(schema, direction);
            self.validators.insert(key.clone(), validator);
        }
        complaints_of(&self.validators[&key], body, what)
    }

    fn validated(&self, schema: &Value, direction: Direction, value: &Value, what: &str) -> Vec<String> {
        complaints_of(&self.validator(schema, direction), value, what)
    }

    fn validator(&self, schema: &Value, direction: Direction) -> Validator {
        let mut root = json!({ "allOf": [schema.clone()] });
        for part in ["components", "definitions"] {
            if let Some(found) = self.document.get(part) {
                root[part] = found.clone();
            }
        }
        let draft = if self.document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
        {
            Draft::Draft202012
        } else {
            as_json_schema(&mut root, direction);
            Draft::Draft7
        };
        jsonschema::options()
            .with_draft(draft)
            .build(&root)
            .unwrap_or_else(|error| panic!("{schema}: {error}"))
    }

    /// A thing or what its `$ref` names.
    fn resolved(&self, thing: &Value) -> Value {
        let mut thing = thing;
        while let Some(reference) = thing["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            thing = self
                .document
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{reference} leads nowhere"));
        }
        thing.clone()
    }
}

fn complaints_of(validator: &Validator, value: &Value, what: &str) -> Vec<String> {
    let errors = validator.iter_errors(value);
    let complaints = errors.map(|error| {
        let text: String = error.to_string().chars().take(300).collect();
        format!("{what} at `{}`: {text}", error.instance_path())
    });
    complaints.collect()
}

/// How many parts of a fitting template are literal; `None` if the path does not fit.
fn literal_parts(template: &str, parts: &[&str]) -> Option<usize> {
    let wanted: Vec<&str> = template.trim_matches('/').split('/').collect();
    if wanted.len() != parts.len() {
        return None;
    }
    let mut literal = 0;
    for (wanted, part) in wanted.iter().zip(parts) {
        if wanted == part {
            literal += 1;
        } else if !(wanted.starts_with('{') && wanted.ends_with('}')) || part.is_empty() {
            return None;
        }
    }
    Some(literal)
}

/// Swagger 2 lists a form's fields among the parameters; its vendors take the same names in a JSON body.
fn swagger_2_request(parameters: &[Value], asked: &Asked) -> Vec<String> {
    let mut sent: BTreeSet<String> = asked.query.iter().map(|(name, _)| name.clone()).collect();
    match asked.json() {
        Value::Object(body) => sent.extend(body.keys().cloned()),
        _ => sent.extend(asked.form().into_iter().map(|(name, _)| name)),
    }
    let names = |wanted: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
        let wanted = parameters
            .iter()
            .filter(|one| one["in"] != "path" && one["in"] != "header" && wanted(one));
        wanted
            .filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect()
    };
    let required = names(&|one| one["required"] == true);
    let missing = required
        .difference(&sent)
        .filter(|name| *name != "token")
        .map(|name| format!("the request lacks `{name}`"));
    let known = names(&|_| true);
    let unknown = sent
        .difference(&known)
        .map(|name| format!("the description has no `{name}`"));
    missing.chain(unknown).collect()
}

/// Turns an `OpenAPI` 3.0 or Swagger 2 schema into one of JSON Schema: `nullable`, and what one direction does not require.
fn as_json_schema(schema: &mut Value, direction: Direction) {
    match schema {
        Value::Array(list) => {
            for one in list {
                as_json_schema(one, direction);
            }
        }
        Value::Object(map) => {
            // samples are no schemas, and what they have in them must not be taken for one
            map.remove("example");
            map.remove("examples");
            not_required(map, direction);
            for (name, member) in map.iter_mut() {
                match member {
                    // a property may be named as a keyword is
                    Value::Object(properties) if name == "properties" => {
                        for property in properties.values_mut() {
                            as_json_schema(property, direction);
                        }
                    }
                    _ => as_json_schema(member, direction),
                }
            }
            // exclusive bounds are booleans there and numbers here
            for bound in ["exclusiveMinimum", "exclusiveMaximum"] {
                if map.get(bound).is_some_and(Value::is_boolean) {
                    map.remove(bound);
                }
            }
            if map.get("nullable") == Some(&json!(true)) || map.get("x-nullable") == Some(&json!(true)) {
                let inner = std::mem::take(map);
                map.insert("anyOf".to_owned(), json!([{ "type": "null" }, inner]));
            }
        }
        _ => {}
    }
}

fn not_required(map: &mut Map<String, Value>, direction: Direction) {
    let others = match direction {
        Direction::Request => "readOnly",
        Direction::Response => "writeOnly",
    };
    let theirs: BTreeSet<String> = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, property)| property[others] == true)
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| name.as_str().is_none_or(|name| !theirs.contains(name)));
        if required.is_empty() {
            map.remove("required");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::vendor::Answer;

    const NOTHING_KNOWN: Contract = Contract {
        specs: &[],
        instead: &[("/old", "/api")],
        outside: &[],
        excused: &[],
    };

    fn openapi() -> Value {
        json!({
            "openapi": "3.0.1",
            "servers": [{ "url": "https://x.example/api/" }],
            "paths": {
                "/things/{id}": { "put": {
                    "parameters": [{ "$ref": "#/components/parameters/Mode" }],
                    "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } } },
                    "responses": { "200": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } } } },
                } },
                "/things/all": { "put": { "responses": { "204": {} } } },
            },
            "components": {
                "parameters": { "Mode": { "name": "mode", "in": "query", "required": true, "schema": { "type": "integer" } } },
                "schemas": { "Thing": {
                    "type": "object",
                    "required": ["id", "name"],
                    "properties": {
                        "id": { "type": "integer", "readOnly": true },
                        "name": { "type": "string", "nullable": true },
                        "example": { "type": "string" },
                    },
                } },
            },
        })
    }

    fn exchange(method: &str, target: &str, body: &str, answer: Option<Answer>) -> Exchange {
        Exchange {
            asked: Asked::of(method, target, &[("content-type", "application/json")], body),
            sender: None,
            nth: 0,
            fault: None,
            answer,
        }
    }

    fn complaints_about(document: &Value, exchange: Exchange) -> Vec<String> {
        complaints(&NOTHING_KNOWN, vec![document.clone()], &[exchange])
            .into_iter()
            .collect()
    }

    #[test]
    fn what_is_as_described_is_fine() {
        let answer = Answer::json(200, &json!({ "id": 1, "name": null }));
        let good = exchange("PUT", "/api/things/7?mode=1", r#"{"name": null}"#, Some(answer));
        assert_eq!(complaints_about(&openapi(), good), Vec::<String>::new());
        let other_prefix = exchange("PUT", "/old/things/all", "", Some(Answer::empty(204)));
        assert_eq!(complaints_about(&openapi(), other_prefix), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_reported() {
        let good = r#"{"name": "x"}"#;
        let cases = [
            (exchange("PUT", "/api/things/7", good, None), "lacks `mode`"),
            (exchange("PUT", "/api/things/7?mode=x", good, None), "query `mode`"),
            (
                exchange("PUT", "/api/things/7?mode=1", r#"{"name": 5}"#, None),
                "request at `/name`",
            ),
            (
                exchange("PUT", "/api/things/7?mode=1", "{}", None),
                "\"name\" is a required property",
            ),
            (exchange("PUT", "/api/things/7?mode=1", "", None), "no body"),
            (exchange("GET", "/api/things/7", "", None), "not in the description"),
            (exchange("PUT", "/things/7", good, None), "not in the description"),
            (
                exchange(
                    "PUT",
                    "/api/things/7?mode=1",
                    good,
                    Some(Answer::json(200, &json!({ "name": "x" }))),
                ),
                "\"id\" is a required property",
            ),
            (
                exchange("PUT", "/api/things/7?mode=1", good, Some(Answer::empty(201))),
                "201 is not in",
            ),
        ];
        for (exchange, expected) in cases {
            let found = complaints_about(&openapi(), exchange);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
    }

    #[test]
    fn what_is_known_to_be_outside_must_be_outside() {
        let contract = Contract {
            outside: &[("GET /elsewhere", "a reason"), ("PUT /api/things/{}", "no reason")],
            ..NOTHING_KNOWN
        };
        let exchanges = [
            exchange("GET", "/elsewhere", "", None),
            exchange("PUT", "/api/things/7?mode=1", r#"{"name": "x"}"#, None),
        ];
        let found = complaints(&contract, vec![openapi()], &exchanges);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["PUT /api/things/{}: is in the description after all"]
        );
    }

    #[test]
    fn swagger_2_lists_fields_among_its_parameters() {
        let document = json!({
            "swagger": "2.0",
            "basePath": "/api",
            "paths": { "/chat.post": { "post": {
                "parameters": [
                    { "name": "token", "in": "formData", "required": true, "type": "string" },
                    { "name": "channel", "in": "formData", "required": true, "type": "string" },
                ],
                "responses": { "200": { "schema": { "$ref": "#/definitions/Posted" } } },
            } } },
            "definitions": { "Posted": { "type": "object", "required": ["ok"] } },
        });
        let ask = |body: &str, answer| exchange("POST", "/api/chat.post", body, Some(Answer::json(200, &answer)));
        assert_eq!(
            complaints_about(&document, ask(r#"{"channel": "C1"}"#, json!({ "ok": true }))),
            Vec::<String>::new()
        );
        let found = complaints_about(&document, ask(r#"{"chanel": "C1"}"#, json!({})));
        let expected = [
            "answer 200 at ``: \"ok\" is a required property",
            "the description has no `chanel`",
            "the request lacks `channel`",
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.ends_with(expected), "{found}");
        }
    }
}
