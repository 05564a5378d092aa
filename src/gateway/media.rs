//! Where the pictures and other files of a message are named.
//!
//! Addresses are copied as they are. It must not judge or fetch them, and how many there are is bounded.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{self, Field, Object, Pointer};
use super::pointers::{Pointers, pointer, words};
use crate::message::Media;

/// More files than any gateway attaches to one text; what lies beyond is only in the delivery as it was received.
const MAX_MEDIA: usize = 50;
/// Bytes of an address. Signed ones reach one or two thousand; something longer is the file itself.
const MAX_URL_BYTES: usize = 8_192;
/// Bytes of a media type (RFC 6838 allows 127 on each side of the slash).
const MAX_TYPE_BYTES: usize = 255;
/// What stands for a number from 0 in the names of numbered fields.
const INDEX: &str = "{i}";

/// `media` of the `[message]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub(super) enum MediaMapping {
    /// A list of objects or of addresses; one alone is a list of one.
    Listed {
        list: Pointers,
        url: Pointer,
        content_type: Option<Pointer>,
    },
    /// Fields whose names count from 0.
    Numbered { url: String, content_type: Option<String> },
}

/// `media` as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    list: Option<Pointers>,
    url: String,
    content_type: Option<String>,
}

impl TryFrom<Table> for MediaMapping {
    type Error = serde::de::value::Error;

    fn try_from(table: Table) -> Result<Self, Self::Error> {
        let url = pointer(&table.url)?;
        let content_type = table.content_type.as_deref().map(pointer).transpose()?;
        if let Some(list) = table.list {
            return Ok(Self::Listed {
                list,
                url,
                content_type,
            });
        }
        let is_numbered = |text: &str| text.contains(INDEX);
        if is_numbered(&table.url) && table.content_type.as_deref().is_none_or(is_numbered) {
            Ok(Self::Numbered {
                url: table.url,
                content_type: table.content_type,
            })
        } else {
            Err(serde::de::Error::custom(
                "`media` needs `list`, or a number from 0 in its pointers, as in \"/MediaUrl{i}\"",
            ))
        }
    }
}

impl MediaMapping {
    pub(super) fn read(&self, object: &Object<'_>) -> Vec<Media> {
        match self {
            Self::Listed {
                list,
                url,
                content_type,
            } => list
                .iter()
                .map(|place| listed(object.list(place), url, content_type.as_ref()))
                .find(|media| !media.is_empty())
                .unwrap_or_default(),
            Self::Numbered { url, content_type } => numbered(object, url, content_type.as_deref()),
        }
    }
}

fn listed(elements: Vec<&RawValue>, url: &Pointer, content_type: Option<&Pointer>) -> Vec<Media> {
    let read = |element| {
        let kind = content_type.map(|place| json::field_in(element, place));
        media(json::field_in(element, url), kind)
    };
    elements.into_iter().filter_map(read).take(MAX_MEDIA).collect()
}

/// From 0 on, to the first number that is not there.
fn numbered(object: &Object<'_>, url: &str, content_type: Option<&str>) -> Vec<Media> {
    let field = |template: &str, number: usize| {
        let place = Pointer::parse(&template.replace(INDEX, &number.to_string()));
        place.map_or(Field::Absent, |place| object.field(&place))
    };
    (0..MAX_MEDIA)
        .map(|number| (number, field(url, number)))
        .take_while(|(_, url)| *url != Field::Absent)
        .filter_map(|(number, url)| media(url, content_type.map(|template| field(template, number))))
        .collect()
}

fn media(url: Field<'_>, content_type: Option<Field<'_>>) -> Option<Media> {
    let url = words(url)?;
    let url = url.trim();
    let content_type = content_type.and_then(words).map(|kind| kind.trim().to_owned());
    (url.len() <= MAX_URL_BYTES).then(|| Media {
        url: url.to_owned(),
        content_type: content_type.filter(|kind| kind.len() <= MAX_TYPE_BYTES),
    })
}
