//! Which field of a gateway's JSON means what, and the reading of a delivery by it.
//!
//! Reading is total: whatever was verified becomes at least one [`Item`]. It must not drop anything, and its reasons must
//! not quote the body: they end up in quarantine, in logs and in front of a person.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::json::{self, Field, Node, Object, Pointer};
use super::timestamp;
use crate::message::{Dedupe, GatewayEvent, InboundMessage, Item};
use crate::phone::{self, Address, NumberFormat};

/// More messages than any gateway batches. A list beyond it is kept whole, as one unreadable delivery.
const MAX_ITEMS: usize = 1_000;
/// Bytes of a message ID; something longer is no ID, and the fingerprint stands in for it.
const MAX_ID_BYTES: usize = 256;
/// Characters that are kept of an event's kind.
const MAX_KIND_CHARS: usize = 100;

/// The `[message]` table: for every field of a message, the places where the gateway may put it, best first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    /// Where the message is, or a list of them; the root unless it says otherwise.
    #[serde(default)]
    items: Pointers,
    #[serde(default)]
    id: Pointers,
    from: Pointers,
    #[serde(default)]
    to: Pointers,
    text: Pointers,
    #[serde(default)]
    sent_at: Pointers,
    #[serde(default)]
    reference: Pointers,
    #[serde(default)]
    device_id: Pointers,
    #[serde(default)]
    tenant_id: Pointers,
    #[serde(default)]
    tenant_name: Pointers,
    #[serde(default)]
    gateway_rule: Pointers,
}

/// The `[event]` table: how a message is told from another event at the same URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventMapping {
    /// Where the kind of the event is.
    kind: Pointers,
    /// The kinds that are messages; case does not matter.
    messages: Vec<String>,
    #[serde(default)]
    id: Pointers,
    #[serde(default)]
    reference: Pointers,
    #[serde(default)]
    occurred_at: Pointers,
}

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

fn pointer<E: serde::de::Error>(text: &str) -> Result<Pointer, E> {
    Pointer::parse(text).ok_or_else(|| {
        E::custom(format_args!(
            "\"{text}\" is not a JSON pointer: it starts with a slash, as in \"/text\""
        ))
    })
}

impl Pointers {
    /// What `read` makes of the first field here that it can read.
    fn find<'a, T>(&self, object: &Object<'a>, read: impl Fn(Field<'a>) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|pointer| read(object.field(pointer)))
    }

    fn words(&self, object: &Object<'_>) -> Option<String> {
        self.find(object, words).map(Cow::into_owned)
    }

    fn time(&self, object: &Object<'_>) -> Option<DateTime<Utc>> {
        self.find(object, |field| timestamp::read(&words(field)?))
    }

    fn id(&self, object: &Object<'_>) -> Option<String> {
        self.find(object, |field| words(field).filter(|id| id.len() <= MAX_ID_BYTES))
            .map(Cow::into_owned)
    }
}

/// A string or number that is not blank; a number in plain digits.
fn words(field: Field<'_>) -> Option<Cow<'_, str>> {
    let words = match field {
        Field::Text(text) => text,
        Field::Number(number) => json::written_out(number),
        Field::Absent | Field::Other => return None,
    };
    (!words.trim_ascii().is_empty()).then_some(words)
}

/// Reads a whole delivery. Never empty.
pub(super) fn read(mapping: &Mapping, event: Option<&EventMapping>, body: &[u8], numbers: NumberFormat) -> Vec<Item> {
    let text = json::text_of(body);
    let read_one = |node| item(mapping, event, node, numbers);
    match mapping.nodes(&text) {
        Ok(nodes) => nodes.into_iter().map(read_one).collect(),
        Err(reason) => vec![Item::Unreadable(reason)],
    }
}

fn item(mapping: &Mapping, event: Option<&EventMapping>, node: Node<'_>, numbers: NumberFormat) -> Item {
    let Node::Object(object) = node else {
        return Item::Unreadable(format!("a message is {}, not an object", node.kind()));
    };
    if let Some(other) = event.and_then(|event| event.unless_message(&object)) {
        return Item::Event(other);
    }
    mapping
        .message(&object, numbers)
        .map_or_else(Item::Unreadable, |message| Item::Message(Box::new(message)))
}

impl EventMapping {
    /// The event, if it says to be anything but a message. Without a kind the fields decide: a sender and a text are one.
    fn unless_message(&self, object: &Object<'_>) -> Option<GatewayEvent> {
        let kind = self.kind.find(object, words)?;
        let kind = kind.trim();
        if self.messages.iter().any(|message| message.eq_ignore_ascii_case(kind)) {
            return None;
        }
        Some(GatewayEvent {
            kind: kind.chars().take(MAX_KIND_CHARS).collect(),
            reference: self.reference.words(object),
            gateway_id: self.id.id(object),
            occurred_at: self.occurred_at.time(object),
            state: None,
            error: None,
        })
    }
}

impl Mapping {
    /// The messages of a delivery: one, or the elements of a list.
    fn nodes<'a>(&self, text: &'a str) -> Result<Vec<Node<'a>>, String> {
        match self.at(text)? {
            Node::List(list) if list.is_empty() => Err("the list of messages is empty".to_owned()),
            Node::List(list) if list.len() > MAX_ITEMS => Err(format!(
                "{} messages in one delivery; at most {MAX_ITEMS} are read",
                list.len()
            )),
            Node::List(list) => list.into_iter().map(|raw| Node::parse(raw.get())).collect(),
            node => Ok(vec![node]),
        }
    }

    /// The message, or the list of messages.
    fn at<'a>(&self, text: &'a str) -> Result<Node<'a>, String> {
        let root = Node::parse(text)?;
        if self.items.0.is_empty() || self.items.0.iter().any(Pointer::is_root) {
            return Ok(root);
        }
        let found = self.items.0.iter().find_map(|place| root.at(place));
        found.ok_or_else(|| format!("no messages at {}", self.items))
    }

    /// The message, or why there is none.
    fn message(&self, object: &Object<'_>, numbers: NumberFormat) -> Result<InboundMessage, String> {
        let sender = self
            .from
            .find(object, words)
            .ok_or_else(|| format!("no sender at {}", self.from))?;
        let recipient = self.to.find(object, words);
        let sent_at = self.sent_at.time(object);
        Ok(InboundMessage {
            message_id: self.id.id(object),
            sender: phone::normalise(&sender, &numbers),
            recipient: recipient.map_or_else(Address::missing, |to| phone::normalise(&to, &numbers)),
            text: self.text(object)?,
            sent_at,
            unread_time: if sent_at.is_none() {
                self.sent_at.words(object)
            } else {
                None
            },
            reference: self.reference.words(object),
            device_id: self.device_id.words(object),
            tenant_id: self.tenant_id.words(object),
            tenant_name: self.tenant_name.words(object),
            gateway_rule: self.gateway_rule.words(object),
            media: Vec::new(),
            encrypted: false,
            answered: None,
            part: None,
            dedupe: Dedupe::Id,
        })
    }

    /// The text as it is, be it empty: an empty SMS is a message. A bare number is one too (a code that lost its quotes).
    fn text(&self, object: &Object<'_>) -> Result<String, String> {
        let found = self.text.find(object, |field| match field {
            Field::Text(text) => Some(Some(text.into_owned())),
            Field::Number(number) => Some(Some(number.to_owned())),
            Field::Other => Some(None),
            Field::Absent => None,
        });
        match found {
            Some(Some(text)) => Ok(text),
            Some(None) => Err(format!("the text at {} is not a string", self.text)),
            None => Err(format!("no text at {}", self.text)),
        }
    }
}
