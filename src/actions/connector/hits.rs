//! What an answer holds: the contacts, tickets or notes in it, and which of them are the sender's.
//!
//! It must never take a hit on trust: a search that ignores its filter answers with everybody.

use serde_json::{Map, Value};

use crate::config::connector::Hits;
use crate::phone;
use crate::template::{Context, TemplateError};

/// One thing found or made.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Hit {
    /// Its ID; empty where the other side gives none.
    pub(super) id: String,
    /// What else is kept of it.
    pub(super) kept: Map<String, Value>,
    /// The thing itself, for further looks.
    pub(super) value: Value,
}

/// The things in `answer` that pass the filter and, where numbers are compared, are `sender`'s; the newest first where that
/// can be told.
pub(super) fn read(hits: &Hits, answer: &Value, sender: &str, names: &Context) -> Result<Vec<Hit>, TemplateError> {
    let items: Vec<&Value> = match &hits.items {
        None => vec![answer],
        Some(pointer) => match answer.pointer(pointer) {
            Some(Value::Array(items)) => items.iter().collect(),
            Some(Value::Null) | None => Vec::new(),
            Some(one) => vec![one],
        },
    };
    let mut wanted = Vec::with_capacity(hits.filter.len());
    for (pointer, tree) in &hits.filter {
        wanted.push((pointer.as_str(), tree.render(names)?));
    }
    let mut found: Vec<&Value> = items
        .into_iter()
        .filter(|item| is_senders(hits, item, sender))
        .filter(|item| {
            wanted
                .iter()
                .all(|(pointer, wanted)| is_one_of(item.pointer(pointer), wanted))
        })
        .collect();
    if let Some(newest) = &hits.newest {
        found.sort_by_key(|item| std::cmp::Reverse(text(item.pointer(newest))));
    }
    Ok(found.into_iter().map(|item| hit(hits, item)).collect())
}

/// Whether an answer's list has nothing in it at all, the sender's or not.
pub(super) fn is_empty(hits: &Hits, answer: &Value) -> bool {
    let items = hits.items.as_deref().and_then(|pointer| answer.pointer(pointer));
    items.and_then(Value::as_array).is_none_or(Vec::is_empty)
}

fn hit(hits: &Hits, item: &Value) -> Hit {
    let id = hits.id.as_deref().and_then(|pointer| item.pointer(pointer));
    let kept = hits
        .keep
        .iter()
        .map(|(name, pointer)| (name.clone(), item.pointer(pointer).cloned().unwrap_or(Value::Null)));
    Hit {
        id: text(id),
        kept: kept.collect(),
        value: item.clone(),
    }
}

fn is_senders(hits: &Hits, item: &Value, sender: &str) -> bool {
    let is_sender = |value: &&Value| phone::is_number_of(&text(Some(value)), sender);
    hits.phones.is_empty()
        || hits
            .phones
            .iter()
            .any(|pointer| all_at(item, pointer).iter().any(is_sender))
}

fn is_one_of(value: Option<&Value>, wanted: &Value) -> bool {
    let value = text(value);
    match wanted {
        Value::Array(wanted) => wanted.iter().any(|wanted| text(Some(wanted)) == value),
        wanted => text(Some(wanted)) == value,
    }
}

/// Everything at a pointer in which `*` stands for every element of a list.
pub(super) fn all_at<'a>(item: &'a Value, pointer: &str) -> Vec<&'a Value> {
    match pointer.split_once("/*") {
        None => item.pointer(pointer).into_iter().collect(),
        Some((list, rest)) => item
            .pointer(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .flat_map(|element| all_at(element, rest))
            .collect(),
    }
}

/// A scalar as text; nothing for null and for what is no scalar.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::Tree;

    const SENDER: &str = "+14155550100";

    fn found(hits: &Hits, answer: &Value) -> Vec<String> {
        let names = Context::new(json!({ "knob": { "open": ["new", "open"] } }));
        let found = read(hits, answer, SENDER, &names).unwrap();
        found.into_iter().map(|hit| hit.id).collect()
    }

    #[test]
    fn only_hits_with_the_senders_number_are_taken_and_the_newest_first() {
        let hits = Hits {
            items: Some("/results".to_owned()),
            id: Some("/id".to_owned()),
            phones: vec!["/phone".to_owned(), "/more/*/value".to_owned()],
            newest: Some("/at".to_owned()),
            ..Hits::default()
        };
        let answer = json!({ "results": [
            { "id": 1, "phone": "(415) 555-0100", "at": "2026-01-01" },
            { "id": 2, "phone": "+14155550199", "at": "2026-03-01" },
            { "id": 3, "phone": null, "more": [{ "value": "x" }, { "value": "1 415 555 0100" }], "at": "2026-02-01" },
            { "id": 4 },
        ] });
        assert_eq!(found(&hits, &answer), ["3", "1"]);
        assert!(found(&hits, &json!({ "results": null })).is_empty());
        assert!(found(&hits, &json!([])).is_empty());
    }

    #[test]
    fn a_filter_is_a_value_or_a_list_of_them_and_compares_as_text() {
        let tree = |value: Value| Tree::compile(&value).unwrap();
        let hits = Hits {
            items: Some(String::new()),
            id: Some("/id".to_owned()),
            filter: vec![
                ("/status".to_owned(), tree(json!("{{ knob.open }}"))),
                ("/inbox".to_owned(), tree(json!(7))),
            ],
            ..Hits::default()
        };
        let answer = json!([
            { "id": "a", "status": "open", "inbox": "7" },
            { "id": "b", "status": "closed", "inbox": 7 },
            { "id": "c", "status": "new", "inbox": 8 },
            { "id": "d", "status": "new", "inbox": 7 },
        ]);
        assert_eq!(found(&hits, &answer), ["a", "d"]);
    }

    #[test]
    fn what_is_kept_is_there_even_if_the_answer_lacks_it() {
        let hits = Hits {
            id: Some("/ticket/id".to_owned()),
            keep: vec![
                ("number".to_owned(), "/ticket/no".to_owned()),
                ("url".to_owned(), "/url".to_owned()),
            ],
            ..Hits::default()
        };
        let names = Context::new(json!({}));
        let hit = &read(&hits, &json!({ "ticket": { "id": 5, "no": "A-5" } }), SENDER, &names).unwrap()[0];
        assert_eq!(hit.id, "5");
        assert_eq!(Value::Object(hit.kept.clone()), json!({ "number": "A-5", "url": null }));
    }
}
