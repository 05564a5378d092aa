//! A mail about a text: written once, kept with the job, and handed to an SMTP server byte for byte on every attempt.
//!
//! It must not put a password into what is kept, nor let a text choose a header. Copies that an unclear end can leave
//! behind have the same Message-ID, by which receivers drop them.

use std::time::SystemTime;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::client::TlsParameters;
use lettre::{Address, Message};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Probed;
use super::context::{context, operation_key};
use super::http::unknown;
use super::progress::{Journal, Progress, Sending};
use super::redact::{Redaction, is_unsafe};
use super::smtp::{Failure, Offered, Session, tls_parameters};
use crate::config::action::{EmailSpec, EmailTls, OnUnknown};
use crate::job::{Job, Outcome};

/// Characters of a subject that are kept.
const SUBJECT: usize = 200;

/// What does not change from mail to mail of an action.
#[derive(Debug)]
pub(super) struct Mailer {
    from: Mailbox,
    to: Vec<Mailbox>,
    tls: Option<TlsParametersOf>,
}

/// [`TlsParameters`], which have no `Debug` of their own.
struct TlsParametersOf(TlsParameters);

impl std::fmt::Debug for TlsParametersOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsParameters")
    }
}

/// A mail as it is stored with its job.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mail {
    /// Hash of the definition it was made from: after an operator changed that, the new one counts.
    definition: String,
    /// With its angle brackets.
    message_id: String,
    /// Headers and body as they go out, ASCII with CRLF.
    content: String,
    /// Who has not got it yet.
    pending: Vec<String>,
    /// For how many recipients the server has taken it.
    accepted: usize,
    /// How many it has refused for good.
    refused: usize,
}

impl Mailer {
    /// Reads addresses and certificates.
    ///
    /// # Errors
    /// What is wrong with them, for a person.
    pub(super) fn new(spec: &EmailSpec) -> Result<Self, String> {
        let to: Vec<Mailbox> = spec.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err("a mail needs at least one recipient in `to`".to_owned());
        }
        Ok(Self {
            from: mailbox(&spec.from)?,
            to,
            tls: tls_parameters(spec)?.map(TlsParametersOf),
        })
    }

    fn tls(&self) -> Option<&TlsParameters> {
        self.tls.as_ref().map(|TlsParametersOf(tls)| tls)
    }
}

/// An address, with or without a name. Addresses beyond ASCII would need a server that takes them.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let mailbox: Mailbox = text
        .parse()
        .map_err(|error| format!("`{text}` is not a mail address: {error}"))?;
    let address: &str = mailbox.email.as_ref();
    if address.is_ascii() {
        Ok(mailbox)
    } else {
        Err(format!(
            "`{text}`: write the address in ASCII (the domain in its xn-- form)"
        ))
    }
}

/// Runs an attempt.
pub(super) async fn run(journal: &Journal, mailer: &Mailer, job: &Job, spec: &EmailSpec) -> Outcome {
    attempt(journal, mailer, job, spec)
        .await
        .unwrap_or_else(|outcome| outcome)
}

async fn attempt(journal: &Journal, mailer: &Mailer, job: &Job, spec: &EmailSpec) -> Result<Outcome, Outcome> {
    let mut progress = Progress::of(job)?;
    if let (Some(earlier), true) = (&progress.sending, spec.on_unknown != OnUnknown::Resend) {
        return Err(unknown(earlier.attempt, "it ended before the server answered"));
    }
    let mail = Mail::reuse_or_make(progress.mail.take(), mailer, job, spec).map_err(Outcome::Discard)?;
    let redaction = redaction(job, spec, &mail.content);
    let failed = |failure| outcome(failure, job, spec, &redaction);
    let pending: Vec<Address> = mail.pending.iter().filter_map(|to| to.parse().ok()).collect();
    progress.mail = Some(mail.clone());
    journal.save(job, &progress).await?;
    let mut session = Session::open(spec, mailer.tls()).await.map_err(failed)?;
    let offered = session.offer(&mailer.from.email, &pending).await.map_err(failed)?;
    if !offered.taken.is_empty() {
        session.begin().await.map_err(failed)?;
        // Up to here the server has no mail to take, so an attempt that was cut off before this has not sent it.
        progress.sending = Some(Sending::by(job));
        journal.save(job, &progress).await?;
        if let Err(failure) = session.content(mail.content.as_bytes()).await {
            if !matches!(failure, Failure::Unknown(_)) {
                journal.clear_sending(job, &mut progress).await?;
            }
            return Err(failed(failure));
        }
    }
    session.close();
    let mail = mail.after(&offered);
    if !mail.pending.is_empty() {
        progress.mail = Some(mail.clone());
        journal.clear_sending(job, &mut progress).await?;
    }
    Ok(mail.verdict(&redaction.excerpt(&offered.words), spec))
}

impl Mail {
    fn reuse_or_make(stored: Option<Self>, mailer: &Mailer, job: &Job, spec: &EmailSpec) -> Result<Self, String> {
        let definition = definition(spec);
        match stored {
            Some(stored) if stored.definition == definition => Ok(stored),
            _ => Self::make(definition, mailer, job, spec),
        }
    }

    fn make(definition: String, mailer: &Mailer, job: &Job, spec: &EmailSpec) -> Result<Self, String> {
        let names = context(job, job.claimed_at);
        let render = |what, template: &crate::template::Template| {
            template
                .render(&names)
                .map_err(|error| format!("the {what} does not render: {error}"))
        };
        let (subject, text) = (render("subject", &spec.subject)?, render("text", &spec.text)?);
        let domain = mailer.from.email.domain();
        let message_id = format!("<{}@{domain}>", operation_key(job));
        // A mail that was never sent: the root that all mails of a conversation name, so that readers show them as one
        // thread although none of them knows the others.
        let root = format!("<smshook-{}@{domain}>", job.message.conversation_id.simple());
        let mut builder = Message::builder()
            .from(mailer.from.clone())
            .date(SystemTime::from(job.message.received_at))
            .message_id(Some(message_id.clone()))
            .in_reply_to(root.clone())
            .references(root)
            .raw_header(subject_header(&one_line(&subject)))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &mailer.to {
            builder = builder.to(to.clone());
        }
        let part = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .body(readable(&text));
        let message = builder
            .singlepart(part)
            .map_err(|error| format!("the mail cannot be written: {error}"))?;
        Ok(Self {
            definition,
            message_id,
            content: String::from_utf8(message.formatted()).map_err(|_| "the mail is not ASCII".to_owned())?,
            pending: mailer.to.iter().map(|to| to.email.to_string()).collect(),
            accepted: 0,
            refused: 0,
        })
    }

    /// What is left to do after the server has taken it for those whom it took.
    fn after(self, offered: &Offered) -> Self {
        Self {
            pending: offered.later.iter().map(ToString::to_string).collect(),
            accepted: self.accepted + offered.taken.len(),
            refused: self.refused + offered.refused,
            ..self
        }
    }

    fn verdict(&self, words: &str, spec: &EmailSpec) -> Outcome {
        let (accepted, refused, later) = (self.accepted, self.refused, self.pending.len());
        if later > 0 {
            let of = accepted + refused + later;
            return Outcome::Retry {
                error: format!(
                    "{}: {words}; taken for {accepted} of {of} recipients, {later} to come",
                    place(spec)
                ),
                after: None,
            };
        }
        match (accepted, refused) {
            (0, _) => Outcome::Discard(format!("{}: every recipient was refused; {words}", place(spec))),
            (_, 0) => Outcome::Done(json!({ "message_id": self.message_id })),
            _ => Outcome::Done(json!({ "message_id": self.message_id, "accepted": accepted, "refused": refused })),
        }
    }
}

/// What an action would send for a job.
pub(super) fn preview(mailer: &Mailer, job: &Job, spec: &EmailSpec) -> Result<Value, String> {
    let mail = Mail::make(definition(spec), mailer, job, spec)?;
    let names = context(job, job.claimed_at);
    let show = |template: &crate::template::Template| template.render(&names).map_err(|error| error.to_string());
    Ok(json!({
        "server": place(spec),
        "tls": match spec.tls { EmailTls::StartTls => "starttls", EmailTls::Tls => "tls", EmailTls::None => "none" },
        "from": mailer.from.to_string(),
        "to": mailer.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "message_id": mail.message_id,
        "subject": one_line(&show(&spec.subject)?),
        "text": readable(&show(&spec.text)?),
    }))
}

/// Connects and logs in, and sends nothing.
pub(super) async fn probe(mailer: &Mailer, spec: &EmailSpec, job: &Job) -> Probed {
    match Session::open(spec, mailer.tls()).await {
        Ok(session) => {
            session.close();
            Probed::Answers
        }
        Err(failure) => match outcome(failure, job, spec, &redaction(job, spec, "")) {
            Outcome::Pause(error) => Probed::CredentialsRefused(error),
            Outcome::Retry { error, .. } | Outcome::Discard(error) => Probed::Fails(error),
            other => Probed::Fails(format!("{other:?}")),
        },
    }
}

fn place(spec: &EmailSpec) -> String {
    format!("{}:{}", spec.host, spec.port)
}

fn outcome(failure: Failure, job: &Job, spec: &EmailSpec, redaction: &Redaction) -> Outcome {
    let say = |words: &str| format!("{}: {}", place(spec), redaction.excerpt(words));
    match failure {
        Failure::Lost(words) | Failure::Passing(words) => Outcome::Retry {
            error: say(&words),
            after: None,
        },
        Failure::Credentials(words) => Outcome::Pause(say(&words)),
        Failure::Refused(words) => Outcome::Discard(say(&words)),
        Failure::Unknown(words) if spec.on_unknown == OnUnknown::Resend => Outcome::Retry {
            error: format!("{}; it may have been taken", say(&words)),
            after: None,
        },
        Failure::Unknown(words) => unknown(job.attempt, &say(&words)),
    }
}

fn redaction(job: &Job, spec: &EmailSpec, mail: &str) -> Redaction {
    let (user, password) = spec
        .credentials
        .as_ref()
        .map_or(("", ""), |(user, password)| (user.as_str(), password.expose_secret()));
    Redaction::of_mail(user, password, job, mail)
}

/// Everything that makes the mail what it is. Debug shows a template's source.
fn definition(spec: &EmailSpec) -> String {
    let parts = (&spec.from, &spec.to, &spec.subject, &spec.text);
    hex::encode(Sha256::digest(format!("{parts:?}")))
}

/// One line without control characters and bidirectional overrides, cut to the length of a subject.
fn one_line(text: &str) -> String {
    let visible: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    let mut line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(SUBJECT) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// The text with plain line ends; control characters, which no reader shows, are made visible.
fn readable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| match c {
            '\r' => '\n',
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The subject's header. A text that looks like an encoded word (RFC 2047 §2) would be decoded by the reader's program, so
/// then all of it is encoded here and what it spells stays what it is.
fn subject_header(subject: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    if !subject.contains("=?") {
        return HeaderValue::new(name, subject.to_owned());
    }
    let mut words = vec![String::new()];
    for c in subject.chars() {
        // 45 bytes are 60 characters of base64: with its frame a word must not exceed 75.
        if words.last().is_none_or(|word| word.len() + c.len_utf8() > 45) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let encode = |word: &String| {
        use base64::Engine as _;
        format!("=?utf-8?b?{}?=", base64::engine::general_purpose::STANDARD.encode(word))
    };
    let encoded: Vec<String> = words.iter().map(encode).collect();
    HeaderValue::dangerous_new_pre_encoded(name, subject.to_owned(), encoded.join("\r\n "))
}
