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
    /// The 32 bytes by which two copies of this SMS, arriving at one endpoint, are recognised as one message.
    ///
    /// With a message ID: the ID and the content (sender, recipient, text), so that two texts that share an ID are two
    /// messages and a copy whose time was stamped anew is still a copy. Without one: device, sender, recipient, time and
    /// text. What differs between a rule's copy and a forward-all copy (rule, tenant name, reference, event) is left out,
    /// and numbers enter without the `+` that one route may add.
    pub fn dedupe_key(&self) -> [u8; 32] {
        let mut hash = Fingerprint::new();
        if let Some(id) = &self.message_id {
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
