//! What one inbound SMS is, once a gateway's wording has been left behind: the message, its conversation, and the
//! fingerprints by which the copies of one SMS are recognised.
//!
//! This room is pure. It must not know how any gateway spells a field, and never touches a clock, a socket or a database.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::phone::Address;

/// One inbound SMS, as a gateway's file mapped it.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundMessage {
    /// The gateway's own ID of the message, when it sends one. Gateways use IDs as short as 32 bits: never unique alone.
    pub message_id: Option<String>,
    /// Who sent the text.
    pub sender: Address,
    /// The number of ours that received it; [`Address::missing`] where the gateway does not say.
    pub recipient: Address,
    /// The text, with what Postgres cannot hold (U+0000, lone surrogates) replaced by U+FFFD.
    pub text: String,
    /// When the gateway says the text reached it.
    pub sent_at: Option<DateTime<Utc>>,
    /// The time as the gateway wrote it, where it could not be read: it still tells two equal texts apart.
    pub unread_time: Option<String>,
    /// The gateway's reference, free text.
    pub reference: Option<String>,
    /// The device or line that received the text.
    pub device_id: Option<String>,
    /// The gateway account the text belongs to.
    pub tenant_id: Option<String>,
    /// The gateway account's display name.
    pub tenant_name: Option<String>,
    /// The gateway's own rule that matched; it may already have answered the sender.
    pub gateway_rule: Option<String>,
    /// Pictures and other files that came with the text, as addresses; nothing here fetches them.
    pub media: Vec<Media>,
    /// Whether the text is ciphertext: it is stored, and neither rules nor consent are looked for in it.
    pub encrypted: bool,
    /// What the provider has answered by itself: recorded, and nothing is sent on top of it.
    pub answered: Option<GatewayAnswer>,
    /// Which part of a longer text this is, where the gateway hands over the parts one by one.
    pub part: Option<Part>,
    /// By what copies are recognised.
    pub dedupe: Dedupe,
}

/// A file that came with a text.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// Where the gateway keeps it.
    pub url: String,
    /// Its media type, where the gateway says.
    pub content_type: Option<String>,
}

/// A word about consent to which the provider has replied before it told us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayAnswer {
    /// What it took the text for.
    pub event: AnsweredEvent,
    /// The gateway's own word for that.
    pub word: String,
}

/// What a provider can answer by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnsweredEvent {
    /// The sender asked for no more messages.
    OptOut,
    /// The sender wants messages again.
    OptIn,
    /// The sender asked for help.
    Help,
}

/// One part of a longer text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What the parts of one text have in common; gateways count to 255 and begin anew.
    pub reference: String,
    /// How many parts the text has, from 2.
    pub total: u8,
    /// Which one this is, from 1.
    pub index: u8,
}

/// By what the copies of one SMS are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dedupe {
    /// The gateway's ID and the content; without an ID as [`Dedupe::Fingerprint`].
    #[default]
    Id,
    /// Device, numbers, time and text, whatever the ID: for gateways that give one SMS several.
    Fingerprint,
}

/// Something a gateway reports that is not an inbound text, such as a delivery state of a reply of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayEvent {
    /// The gateway's word for it (`message.delivered`, `message.failed`, …).
    pub kind: String,
    /// The reference that we gave the reply, echoed back.
    pub reference: Option<String>,
    /// The gateway's ID of the message or of the event.
    pub gateway_id: Option<String>,
    /// When the gateway says it happened.
    pub occurred_at: Option<DateTime<Utc>>,
    /// How far the reply is, where the event tells.
    pub state: Option<DeliveryState>,
    /// Why it failed, in the gateway's words (a code, most often).
    pub error: Option<String>,
    /// Whether that says that the provider holds the person for opted out.
    pub opted_out: bool,
}

/// How far a text of ours is on its way; never goes backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DeliveryState {
    /// The gateway has it.
    Queued,
    /// It left the gateway.
    Sent,
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed,
}

impl DeliveryState {
    /// The word in SQL and in the words of gateway files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What one part of a verified delivery turned out to be.
#[derive(Clone, PartialEq, Eq)]
pub enum Item {
    /// An inbound text.
    Message(Box<InboundMessage>),
    /// Another event: stored, never run through rules.
    Event(GatewayEvent),
    /// Verified but unreadable: kept in quarantine with this reason.
    Unreadable(String),
}

impl std::fmt::Debug for Media {
    /// Without the address, which is often all that is needed to read the file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media")
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for InboundMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboundMessage")
            .field("sender", &self.sender)
            .field("recipient", &self.recipient)
            .field("text_bytes", &self.text.len())
            .field("sent_at", &self.sent_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(message) => message.fmt(f),
            Self::Event(event) => event.fmt(f),
            Self::Unreadable(reason) => write!(f, "Unreadable({reason})"),
        }
    }
}

impl InboundMessage {
    /// A message of which nothing else is known.
    pub const fn new(sender: Address, recipient: Address, text: String) -> Self {
        Self {
            message_id: None,
            sender,
            recipient,
            text,
            sent_at: None,
            unread_time: None,
            reference: None,
            device_id: None,
            tenant_id: None,
            tenant_name: None,
            gateway_rule: None,
            media: Vec::new(),
            encrypted: false,
            answered: None,
            part: None,
            dedupe: Dedupe::Id,
        }
    }

    /// The 32 bytes by which two copies of this SMS, arriving at one endpoint, are recognised as one message.
    ///
    /// With a message ID: the ID and the content (sender, recipient, text), so that two texts that share an ID are two
    /// messages and a copy whose time was stamped anew is still a copy. Without one, or where the gateway's IDs are not to
    /// be gone by: device, sender, recipient, time and text. A part of a longer text is known by its place in it too, as
    /// two parts may well read the same. What differs between a rule's copy and a forward-all copy (rule, tenant name,
    /// reference, event) is left out, and numbers enter without the `+` that one route may add.
    pub fn dedupe_key(&self) -> [u8; 32] {
        let mut hash = Fingerprint::new();
        if let (Some(id), Dedupe::Id) = (&self.message_id, self.dedupe) {
            hash.part("id");
            hash.part(id);
        } else {
            hash.part("fingerprint");
            hash.part(self.device_id.as_deref().unwrap_or_default());
            let read = self.sent_at.map(|at| at.timestamp_micros().to_string());
            hash.part(read.as_deref().or(self.unread_time.as_deref()).unwrap_or_default());
        }
        hash.part(self.sender.fingerprint_form());
        hash.part(self.recipient.fingerprint_form());
        hash.part(&self.text);
        if let Some(part) = &self.part {
            hash.part(&part.reference);
            hash.part(&format!("{} of {}", part.index, part.total));
        }
        hash.finish()
    }

    /// The conversation this message belongs to: one recipient of ours and one sender.
    pub fn conversation_id(&self) -> Uuid {
        let mut hash = Fingerprint::new();
        hash.part(self.recipient.key());
        hash.part(self.sender.key());
        let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15, ..] = hash.finish();
        Uuid::new_v8([b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15])
    }
}

/// SHA-256 over parts, each behind its length, so that no two lists of parts share an input.
struct Fingerprint(Sha256);

impl Fingerprint {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn part(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part.as_bytes());
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
