//! What a configured action means once its TOML was read: everything compiled, nothing left to look up by name.
//!
//! Types only. It must not read files or the environment (that is `config`'s reading half) nor send anything (`actions`).

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::connector::ConnectorSpec;
use crate::job::RetryPolicy;
use crate::template::{Template, Tree};

/// One configured action.
#[derive(Debug)]
pub struct ActionSpec {
    /// Its name in the configuration.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// When it is tried again.
    pub retry: RetryPolicy,
    /// The longest one attempt may take; the lease is a little longer.
    pub timeout: Duration,
    /// How many of its jobs run at once in one process; at least 1.
    pub concurrency: usize,
    /// Actions of the same message whose results its templates use (`results.NAME`); it runs when all of them are done.
    pub after: Vec<String>,
}

impl ActionSpec {
    /// What templates of a later action find under `results.NAME` when nothing is known of this one: every member there
    /// may be, each null. A request's are its captures.
    pub fn empty_result(&self) -> Value {
        match &self.effect {
            Effect::Reply(_) => json!({ "reference": null }),
            Effect::Log(_) => json!({ "line": null }),
            Effect::Email(_) => json!({ "message_id": null }),
            Effect::Http(spec) => spec
                .capture
                .iter()
                .map(|(name, _)| (name.clone(), Value::Null))
                .collect(),
            Effect::Connector(spec) => spec.empty_result(),
        }
    }
}

/// The closed set of things an action can do.
#[derive(Debug)]
pub enum Effect {
    /// Answers the sender through the gateway of the endpoint the message came by.
    Reply(ReplySpec),
    /// One request of the user's own.
    Http(Box<HttpSpec>),
    /// A CRM, helpdesk or chat system.
    Connector(Box<ConnectorSpec>),
    /// A mail through an SMTP server.
    Email(Box<EmailSpec>),
    /// Records a line: needs no account.
    Log(LogSpec),
}

impl Effect {
    /// Whether this sends something to the sender: subject to suppression and to the loop guard.
    pub const fn sends(&self) -> bool {
        matches!(self, Self::Reply(_))
    }
}

/// Answers the sender.
#[derive(Debug)]
pub struct ReplySpec {
    /// The answer. Rendered once; the same bytes go out on each attempt.
    pub text: Template,
    /// What to do when it cannot be known whether an earlier attempt was sent.
    pub on_unknown: OnUnknown,
}

/// Records a line in the log and in `v1.jobs.result`.
#[derive(Debug)]
pub struct LogSpec {
    /// The line, kept in the job's result; the log itself only names the job, since the line may quote the text.
    pub message: Template,
}

/// A mail to people, one thread per conversation.
#[derive(Debug)]
pub struct EmailSpec {
    /// The SMTP server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub tls: EmailTls,
    /// User name and password, if the server wants them.
    pub credentials: Option<(String, SecretString)>,
    /// A CA certificate in PEM to trust besides the machine's own, for a server with a private one.
    pub ca_pem: Option<Vec<u8>>,
    /// The sender, such as `SMS <sms@example.com>`; its domain makes the Message-IDs.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// The subject; one line whatever the text says.
    pub subject: Template,
    /// The text of the mail.
    pub text: Template,
    /// What to do when it cannot be known whether an earlier attempt was taken.
    pub on_unknown: OnUnknown,
}

/// How an SMTP connection is kept private.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EmailTls {
    /// STARTTLS, and nothing without it (RFC 3207); usually port 587.
    StartTls,
    /// TLS from the first byte (RFC 8314); usually port 465.
    Tls,
    /// None: only for a server on this machine or in a private network.
    None,
}

/// What to do when an attempt ended after its request may have left and before an answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUnknown {
    /// Send the same bytes again: at least once.
    Resend,
    /// Never again: at most once. The job is discarded with that reason, and a person may retry it.
    Skip,
    /// As `Skip` for now, meant to be looked at: discarded as waiting for a person.
    Hold,
}

/// A request, rendered once per job and sent byte for byte on every attempt.
#[derive(Debug)]
pub struct HttpSpec {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// The URL. Its scheme, host and port are static text: a message can never change where a request goes.
    pub url: Template,
    /// The static origin of [`HttpSpec::url`], such as `https://crm.example.com`; the rendered URL must have it.
    pub origin: url::Url,
    /// Query parameters, percent-encoded after rendering.
    pub query: Vec<(String, Template)>,
    /// Headers. Secrets never pass through a template and are never stored with the rendered request.
    pub headers: Vec<(HeaderName, HeaderSource)>,
    /// The body.
    pub body: BodySpec,
    /// Signs each attempt, if set.
    pub sign: Option<SignSpec>,
    /// Statuses that mean done.
    pub success: StatusSet,
    /// Statuses that mean try again later.
    pub retry: StatusSet,
    /// Further conditions on a 2xx answer's JSON: pointer must exist and equal the value (`{"/ok": true}`).
    pub require: BTreeMap<String, serde_json::Value>,
    /// What to keep from the answer under which name.
    pub capture: Vec<(String, CaptureSource)>,
    /// JSON pointer of an error code in a failure's body, kept in the attempt's error (`/error`).
    pub error_pointer: Option<String>,
    /// What to do when an attempt's end is unknown.
    pub on_unknown: OnUnknown,
    /// Bytes of an answer that are read at most.
    pub max_response_bytes: usize,
    /// Private networks that this action may reach although the guard refuses them.
    pub allow_private: Vec<IpNet>,
    /// Whether plain `http://` is allowed.
    pub allow_http: bool,
    /// The whole URL where it is itself the secret (a chat system's webhook); [`HttpSpec::url`] is then only its origin.
    pub secret_url: Option<SecretString>,
    /// Whether it is one of a connector's operations: members that render to null and query parameters that render to nothing
    /// are left out, a member `"..."` is spread into its parent, and no `Idempotency-Key` is added unasked.
    pub is_operation: bool,
}

/// Where a header's value comes from.
#[derive(Debug)]
pub enum HeaderSource {
    /// Rendered from the message, stored with the request.
    Rendered(Template),
    /// A fixed prefix (`Bearer `) and a secret, added at the moment of sending.
    Secret {
        /// Text before the secret.
        prefix: String,
        /// The secret itself.
        secret: SecretString,
    },
}

/// A request's body.
#[derive(Debug)]
pub enum BodySpec {
    /// None.
    Empty,
    /// `application/json`: a tree whose string leaves are templates, so a quote mark in a text cannot break it.
    Json(Tree),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, Template)>),
    /// Any text with its content type; for systems that want neither of the above.
    Text {
        /// The text.
        template: Template,
        /// Its content type.
        content_type: String,
    },
}

/// Standard Webhooks signing (<https://github.com/standard-webhooks/standard-webhooks>): `webhook-id`, `webhook-timestamp`, `webhook-signature`.
#[derive(Debug)]
pub struct SignSpec {
    /// Keys in force; each adds a signature, so that the receiver can rotate. Base64 after `whsec_`.
    pub secrets: Vec<SecretString>,
}

/// Where a captured value is found in an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CaptureSource {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// A header.
    Header(HeaderName),
}

/// A set of HTTP statuses written as numbers and classes: `[200, "409", "5xx"]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatusSet {
    /// Inclusive ranges.
    pub ranges: Vec<(u16, u16)>,
}

impl StatusSet {
    /// Whether `status` is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|&(from, to)| (from..=to).contains(&status))
    }

    /// Any 2xx.
    pub fn success() -> Self {
        Self {
            ranges: vec![(200, 299)],
        }
    }

    /// 408, 425, 429, 500, 502, 503, 504 and Cloudflare's 520 to 527: what may pass by itself.
    pub fn passing() -> Self {
        Self {
            ranges: vec![(408, 408), (425, 425), (429, 429), (500, 500), (502, 504), (520, 527)],
        }
    }
}
