//! A form (`application/x-www-form-urlencoded`) or a query string as the JSON object that pointers reach into, and back.
//!
//! Every field is a string; a pointer to one is its name behind a slash. It must not lose a message to bytes that are not
//! UTF-8 (they become U+FFFD) or to a percent sign that escapes nothing.

use serde::{Serialize, Serializer};
use url::form_urlencoded;

use super::json::{self, Field, Node};

/// More fields than any gateway sends. A form beyond it is kept whole, as one unreadable delivery.
const MAX_FIELDS: usize = 10_000;

/// The form as JSON text. A name that is there twice is there twice in the object, where the last one counts.
pub(super) fn to_json(body: &[u8]) -> Result<String, String> {
    let body = json::without_mark(body);
    if body.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    let fields = body.split(|byte| *byte == b'&').filter(|field| !field.is_empty());
    let fields = fields.count();
    if fields > MAX_FIELDS {
        return Err(format!("{fields} fields in one form; at most {MAX_FIELDS} are read"));
    }
    serde_json::to_string(&Fields(body)).map_err(|_| "the form cannot be read".to_owned())
}

struct Fields<'a>(&'a [u8]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(form_urlencoded::parse(self.0))
    }
}

/// A JSON object of fields as a form, in the order in which they stand there; `None` for anything but an object. What is
/// null is left out.
pub(super) fn of_json(object: &str) -> Option<String> {
    let Ok(Node::Object(object)) = Node::parse(object) else {
        return None;
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, field) in object.fields() {
        match field {
            Field::Text(text) => form.append_pair(name, &text),
            Field::Number(number) => form.append_pair(name, number),
            Field::Bool(is) => form.append_pair(name, if is { "true" } else { "false" }),
            Field::Absent | Field::Other => &mut form,
        };
    }
    Some(form.finish())
}
