//! The places in a delivery where a gateway may put a field, best first, and what is read there.
//!
//! It must not know what a field is for.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::{self, Field, Object, Pointer};
use super::timestamp;

/// Bytes of an ID; something longer is none.
pub(super) const MAX_ID_BYTES: usize = 256;

/// JSON pointers to try in turn; in a file, one string or a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Pointers(Vec<Pointer>);

impl fmt::Display for Pointers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.0.iter().map(Pointer::to_string).collect();
        f.write_str(&places.join(" or "))
    }
}

impl<'de> Deserialize<'de> for Pointers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Pointers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Pointers, E> {
                pointer(text).map(|pointer| Pointers(vec![pointer]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Pointers, S::Error> {
                let mut pointers = Vec::new();
                while let Some(text) = seq.next_element::<Cow<'de, str>>()? {
                    pointers.push(pointer(&text).map_err(|error: serde::de::value::Error| S::Error::custom(error))?);
                }
                Ok(Pointers(pointers))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// One pointer, as a file has it.
pub(super) fn pointer<E: serde::de::Error>(text: &str) -> Result<Pointer, E> {
    Pointer::parse(text).ok_or_else(|| {
        E::custom(format_args!(
            "\"{text}\" is not a JSON pointer: it starts with a slash, as in \"/text\""
        ))
    })
}

impl Pointers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `read` makes of the first field here that it can read.
    pub(super) fn find<'a, T>(&self, object: &Object<'a>, read: impl Fn(Field<'a>) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|pointer| read(object.field(pointer)))
    }

    pub(super) fn words(&self, object: &Object<'_>) -> Option<String> {
        self.find(object, words).map(Cow::into_owned)
    }

    pub(super) fn time(&self, object: &Object<'_>) -> Option<DateTime<Utc>> {
        self.find(object, |field| timestamp::read(&words(field)?))
    }

    pub(super) fn id(&self, object: &Object<'_>) -> Option<String> {
        self.find(object, |field| words(field).filter(|id| id.len() <= MAX_ID_BYTES))
            .map(Cow::into_owned)
    }

    /// A whole number up to 255, as a number or as text.
    pub(super) fn small_number(&self, object: &Object<'_>) -> Option<u8> {
        self.find(object, |field| words(field)?.trim().parse().ok())
    }

    /// Whether something here says yes: true, 1, or either as text.
    pub(super) fn is_set(&self, object: &Object<'_>) -> bool {
        let said = self.find(object, |field| match field {
            Field::Bool(is) => Some(is),
            field => words(field).map(|word| matches!(word.trim(), "1") || word.trim().eq_ignore_ascii_case("true")),
        });
        said.unwrap_or(false)
    }
}

/// A string or number that is not blank; a number in plain digits.
pub(super) fn words(field: Field<'_>) -> Option<Cow<'_, str>> {
    let words = match field {
        Field::Text(text) => text,
        Field::Number(number) => json::written_out(number),
        Field::Absent | Field::Bool(_) | Field::Other => return None,
    };
    (!words.trim_ascii().is_empty()).then_some(words)
}

/// As [`words`], and true and false by those words.
pub(super) fn words_or_bool(field: Field<'_>) -> Option<Cow<'_, str>> {
    match field {
        Field::Bool(is) => Some(Cow::Borrowed(if is { "true" } else { "false" })),
        field => words(field),
    }
}

/// Whether `word` is in `list`; case does not matter.
pub(super) fn is_among(word: &str, list: &[String]) -> bool {
    list.iter().any(|listed| listed.eq_ignore_ascii_case(word.trim()))
}
