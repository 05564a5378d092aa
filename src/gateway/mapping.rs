//! Which field of a gateway's delivery means what, and the reading of a delivery by it.
//!
//! Reading is total: whatever was verified becomes at least one [`Item`]. It must not drop anything, and its reasons must
//! not quote the body: they end up in quarantine, in logs and in front of a person.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::event::{self, EventMapping};
use super::json::{self, Field, Node, Object, Pointer};
use super::media::MediaMapping;
use super::pointers::{Pointers, is_among, pointer, words, words_or_bool};
use super::{Format, Reading, form};
use crate::message::{AnsweredEvent, Dedupe, GatewayAnswer, InboundMessage, Item, Part};
use crate::phone::{self, Address};

/// More messages than any gateway batches. A list beyond it is kept whole, as one unreadable delivery.
const MAX_ITEMS: usize = 1_000;

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
    /// By what copies are recognised.
    #[serde(default)]
    dedupe: Dedupe,
    /// Whether the ID of a delivery is that of a message whose own the body does not say.
    #[serde(default)]
    pub(super) delivery_id: bool,
    /// Says whether the text is ciphertext.
    #[serde(default)]
    encrypted: Pointers,
    media: Option<MediaMapping>,
    parts: Option<Parts>,
    answered: Option<Answered>,
    /// What is a message only with one of these values there; with another it is an event.
    #[serde(default, deserialize_with = "conditions")]
    only: Vec<(Pointer, Vec<String>)>,
}

/// `parts`: where a gateway that hands over the parts of a long text one by one says which one it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    reference: Pointers,
    total: Pointers,
    index: Pointers,
}

/// `answered`: where the provider says that it has replied to a word about consent by itself, and its words for that.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    at: Pointers,
    #[serde(default)]
    opt_out: Vec<String>,
    #[serde(default)]
    opt_in: Vec<String>,
    #[serde(default)]
    help: Vec<String>,
}

fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Pointer, Vec<String>)>, D::Error> {
    let typed = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    let read = |(place, values): (String, _)| Ok((pointer(&place)?, values));
    typed.into_iter().map(read).collect()
}

impl Parts {
    /// The part, if what is said of it can be: anything else is a message of its own.
    fn read(&self, object: &Object<'_>) -> Option<Part> {
        let part = Part {
            reference: self.reference.id(object)?,
            total: self.total.small_number(object)?,
            index: self.index.small_number(object)?,
        };
        (part.total >= 2 && (1..=part.total).contains(&part.index)).then_some(part)
    }
}

impl Answered {
    fn read(&self, object: &Object<'_>) -> Option<GatewayAnswer> {
        self.at.find(object, |field| {
            let word = words(field)?;
            let events = [
                (AnsweredEvent::OptOut, &self.opt_out),
                (AnsweredEvent::OptIn, &self.opt_in),
                (AnsweredEvent::Help, &self.help),
            ];
            let (event, _) = events.into_iter().find(|(_, listed)| is_among(&word, listed))?;
            let word = event::clipped(&word);
            Some(GatewayAnswer { event, word })
        })
    }
}

/// Reads a whole delivery. Never empty.
pub(super) fn read(
    mapping: &Mapping,
    event: Option<&EventMapping>,
    format: Format,
    body: &[u8],
    reading: &Reading,
) -> Vec<Item> {
    let text = match format {
        Format::Form => form::to_json(body).map(Cow::Owned),
        Format::Auto if !json::is_json(body) => form::to_json(body).map(Cow::Owned),
        Format::Json | Format::Auto => Ok(json::text_of(body)),
    };
    let read_one = |node| item(mapping, event, node, reading);
    let nodes = text
        .as_ref()
        .map_err(String::clone)
        .and_then(|text| mapping.nodes(text));
    match nodes {
        Ok(nodes) => nodes.into_iter().map(read_one).collect(),
        Err(reason) => vec![Item::Unreadable(reason)],
    }
}

fn item(mapping: &Mapping, event: Option<&EventMapping>, node: Node<'_>, reading: &Reading) -> Item {
    let Node::Object(object) = node else {
        return Item::Unreadable(format!("a message is {}, not an object", node.kind()));
    };
    let other = event.and_then(|event| event.other_than_message(&object));
    if let Some(kind) = other.or_else(|| mapping.excluded(&object)) {
        return Item::Event(match event {
            Some(event) => event.event(kind, &object),
            None => event::bare(kind),
        });
    }
    mapping
        .message(&object, reading)
        .map_or_else(Item::Unreadable, |message| Item::Message(Box::new(message)))
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
        if self.items.is_empty() {
            return Ok(root);
        }
        for place in self.items.iter() {
            if place.is_root() {
                return Ok(root);
            }
            if let Some(found) = root.at(place) {
                return Ok(found);
            }
        }
        Err(format!("no messages at {}", self.items))
    }

    /// The value that makes it no message, where the file says which do. What says nothing there is one.
    fn excluded(&self, object: &Object<'_>) -> Option<String> {
        self.only.iter().find_map(|(place, values)| {
            let value = words_or_bool(object.field(place))?;
            (!is_among(&value, values)).then(|| event::clipped(&value))
        })
    }

    /// The message, or why there is none.
    fn message(&self, object: &Object<'_>, reading: &Reading) -> Result<InboundMessage, String> {
        let sender = self
            .from
            .find(object, words)
            .ok_or_else(|| format!("no sender at {}", self.from))?;
        let media = self.media.as_ref().map_or_else(Vec::new, |media| media.read(object));
        let text = match self.text(object) {
            // A picture needs no words.
            Err(_) if !media.is_empty() => String::new(),
            text => text?,
        };
        let sent_at = self.sent_at.time(object);
        let device_id = self.device_id.words(object);
        Ok(InboundMessage {
            message_id: self.id.id(object),
            sender: phone::normalise(&sender, &reading.numbers),
            recipient: self.recipient(object, device_id.as_deref(), reading),
            text,
            sent_at,
            unread_time: if sent_at.is_none() {
                self.sent_at.words(object)
            } else {
                None
            },
            reference: self.reference.words(object),
            device_id,
            tenant_id: self.tenant_id.words(object),
            tenant_name: self.tenant_name.words(object),
            gateway_rule: self.gateway_rule.words(object),
            media,
            encrypted: self.encrypted.is_set(object),
            answered: self.answered.as_ref().and_then(|answered| answered.read(object)),
            part: self.parts.as_ref().and_then(|parts| parts.read(object)),
            dedupe: self.dedupe,
        })
    }

    /// The number of ours. Where the endpoint has one for what is said, or for the device when nothing is, it is that.
    fn recipient(&self, object: &Object<'_>, device_id: Option<&str>, reading: &Reading) -> Address {
        let said = self.to.find(object, words);
        let known = said
            .as_deref()
            .or(device_id)
            .and_then(|said| reading.recipients.get(said.trim()));
        match (said, known) {
            (said, Some(number)) => Address::in_place_of(said.as_deref().unwrap_or_default(), number, &reading.numbers),
            (Some(said), None) => phone::normalise(&said, &reading.numbers),
            (None, None) => Address::missing(),
        }
    }

    /// The text as it is, be it empty: an empty SMS is a message. A bare number is one too (a code that lost its quotes).
    /// Of several places the first that has words counts.
    fn text(&self, object: &Object<'_>) -> Result<String, String> {
        let mut reason = "no text at";
        let mut empty = None;
        for place in self.text.iter() {
            match object.field(place) {
                Field::Text(text) if text.is_empty() => empty = Some(String::new()),
                Field::Text(text) => return Ok(text.into_owned()),
                Field::Number(number) => return Ok(number.to_owned()),
                Field::Bool(_) | Field::Other => reason = "there is no string at",
                Field::Absent => {}
            }
        }
        empty.ok_or_else(|| format!("{reason} {}", self.text))
    }
}
