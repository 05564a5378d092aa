//! Doing what a job orders: a request, a reply, a line. The only outgoing network.
//!
//! What an action is comes compiled from `config`; what happened goes back as an [`Outcome`]. This room must not claim or
//! settle jobs, and must not log a text, a number or a secret.

mod answer;
mod client;
mod connector;
mod context;
mod email;
mod exchange;
mod guard;
mod http;
pub mod local;
mod look;
mod notice;
mod progress;
mod redact;
mod reply;
mod request;
mod results;
mod signing;
mod smtp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use self::client::{Client, Clients};
use self::connector::Connection;
use self::email::Mailer;
use self::progress::Journal;
use self::reply::Reply;
use self::request::Rendered;
use crate::config::action::{ActionSpec, Effect, EmailSpec, HttpSpec, LogSpec, OnUnknown};
use crate::config::connector::{ConnectorSpec, EffectClass};
use crate::config::{Config, Endpoint, LoopGuard};
use crate::job::{Job, JobKind, Outcome};
use crate::metrics::Metrics;
use crate::store::{LoopLimits, SameText, Store};
use crate::template::Template;

pub use self::client::ClientError;
pub use self::context::context;
pub use self::exchange::{Exchange, ExchangeAnswer, Observer};
pub use self::notice::{Told, WebhookSender};

/// Why the configured actions cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ActionsError {
    /// No HTTP client.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// A connector without operations.
    #[error("a connector without operations")]
    Nothing,
    /// A signing secret is not base64.
    #[error("action `{action}`: a signing secret must be base64, `whsec_` before it or not")]
    SigningSecret {
        /// Which action.
        action: String,
    },
    /// A mail address or a certificate that is none.
    #[error("action `{action}`: {problem}")]
    Email {
        /// Which action.
        action: String,
        /// What is wrong.
        problem: String,
    },
}

/// Why an action cannot be previewed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PreviewError {
    /// There is no such action.
    #[error("there is no action `{0}`")]
    NoSuchAction(String),
    /// It would end without an effect, for this reason.
    #[error("{0}")]
    WouldNotRun(String),
}

/// How a connection answered to a cheap read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probed {
    /// It answered, and takes our credentials.
    Answers,
    /// There is no harmless request to ask it with.
    NotAsked,
    /// It does not take our credentials; what it said.
    CredentialsRefused(String),
    /// Something else is wrong; what.
    Fails(String),
}

/// Every configured action, ready to run.
pub struct Actions {
    config: Arc<Config>,
    journal: Journal,
    limits: LoopLimits,
    /// By action.
    http: BTreeMap<String, Client>,
    /// By action; those of one account share its token and its rate.
    connections: BTreeMap<String, Connection>,
    /// By action.
    mailers: BTreeMap<String, Mailer>,
    /// By endpoint.
    replies: BTreeMap<String, Client>,
}

impl std::fmt::Debug for Actions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actions")
            .field("http", &self.http.keys())
            .field("replies", &self.replies.keys())
            .finish_non_exhaustive()
    }
}

impl Actions {
    /// Builds the clients that the configuration needs.
    ///
    /// # Errors
    /// TLS that cannot be set up, or a signing secret that is none.
    pub fn new(config: Arc<Config>, store: Store) -> Result<Self, ActionsError> {
        Self::with(config, Journal::Store(store), None)
    }

    /// Actions that leave no trace in the queue and remember nothing: for one job of a person's own, watched by `observer`.
    /// Opt-outs are not looked at: the caller does that.
    ///
    /// # Errors
    /// As [`Actions::new`].
    pub fn for_trial(config: Arc<Config>, observer: Option<Observer>) -> Result<Self, ActionsError> {
        Self::with(config, Journal::Trial, observer)
    }

    fn with(config: Arc<Config>, journal: Journal, observer: Option<Observer>) -> Result<Self, ActionsError> {
        let mut clients = Clients::watched(observer);
        let mut http = BTreeMap::new();
        let mut connections = BTreeMap::new();
        let mut mailers = BTreeMap::new();
        for (name, action) in &config.actions {
            match &action.effect {
                Effect::Http(spec) => {
                    check_signing(name, spec)?;
                    http.insert(name.clone(), clients.client_for(spec, spec.on_unknown)?);
                }
                Effect::Connector(spec) => {
                    let connection = connection(&mut clients, &config, &connections, spec)?;
                    connections.insert(name.clone(), connection);
                }
                Effect::Email(spec) => drop(mailers.insert(name.clone(), mailer(name, spec)?)),
                Effect::Reply(_) | Effect::Log(_) => {}
            }
        }
        let mut replies = BTreeMap::new();
        for endpoint in &config.endpoints {
            if let Some(channel) = &endpoint.reply {
                let client = clients.client_for_texts(&channel.request)?;
                replies.insert(endpoint.name.clone(), client);
            }
        }
        let limits = LoopLimits {
            own_numbers: config.own_numbers.clone(),
            ..loop_limits(&config.loop_guard)
        };
        Ok(Self {
            config,
            journal,
            limits,
            http,
            connections,
            mailers,
            replies,
        })
    }

    /// The same, counting what the loop guard holds back.
    #[must_use]
    pub fn counted(mut self, metrics: &Metrics) -> Self {
        self.limits.withheld = metrics.loop_guard_withheld.clone();
        self
    }

    /// Runs one attempt of a job. The caller sets the time limit: this future may be dropped at any point, and what the
    /// next attempt needs to know is in the job's progress by then.
    pub async fn run(&self, job: &Job) -> Outcome {
        if job.kind != JobKind::Action {
            return self.run_compliance(job).await;
        }
        let Some(action) = self.config.actions.get(&job.action) else {
            return Outcome::Discard(format!("action `{}` is not configured any more", job.action));
        };
        if action.after.is_empty() {
            return self.run_action(action, job).await;
        }
        match results::gather(&self.config, &self.journal, action, job).await {
            Ok(results) => {
                let job = Job { results, ..job.clone() };
                self.run_action(action, &job).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn run_action(&self, action: &ActionSpec, job: &Job) -> Outcome {
        match &action.effect {
            Effect::Http(spec) => match self.http.get(&action.name) {
                Some(client) => http::run(&self.journal, client, job, spec).await,
                None => Outcome::Discard(format!("action `{}` has no HTTP client", job.action)),
            },
            Effect::Reply(spec) => self.run_reply(job, &spec.text, spec.on_unknown).await,
            Effect::Log(spec) => log(job, spec),
            Effect::Connector(spec) => match self.connections.get(&action.name) {
                Some(connection) => connector::run(&self.journal, connection, spec, job).await,
                None => Outcome::Discard(format!("action `{}` has no connection", job.action)),
            },
            Effect::Email(spec) => match self.mailers.get(&action.name) {
                Some(mailer) => email::run(&self.journal, mailer, job, spec).await,
                None => Outcome::Discard(format!("action `{}` has no mailer", job.action)),
            },
        }
    }

    /// Sends one of the texts the law asks for. They are never sent twice on a guess.
    async fn run_compliance(&self, job: &Job) -> Outcome {
        let texts = self.endpoint(job).and_then(|endpoint| match job.kind {
            JobKind::OptOutConfirmation => endpoint.opt_out_text.as_ref(),
            JobKind::OptInConfirmation => endpoint.opt_in_text.as_ref(),
            JobKind::HelpReply => endpoint.help_text.as_ref(),
            JobKind::Action => None,
        });
        let language = job.message.consent_language.as_deref();
        match texts.map(|texts| texts.for_language(language)) {
            Some(text) => self.run_reply(job, text, OnUnknown::Skip).await,
            None => Outcome::Cancel(format!("endpoint `{}` has no text for this", job.message.endpoint)),
        }
    }

    async fn run_reply(&self, job: &Job, text: &Template, on_unknown: OnUnknown) -> Outcome {
        match (
            self.reply(job, text, on_unknown),
            self.replies.get(&job.message.endpoint),
        ) {
            (Ok(reply), Some(client)) => reply::run(&self.journal, client, &self.limits, job, &reply).await,
            (Err(reason), _) => Outcome::Discard(reason),
            (_, None) => Outcome::Discard(format!("endpoint `{}` has no HTTP client", job.message.endpoint)),
        }
    }

    fn endpoint(&self, job: &Job) -> Option<&Endpoint> {
        self.config
            .endpoints
            .iter()
            .find(|endpoint| endpoint.name == job.message.endpoint)
    }

    fn reply<'a>(&'a self, job: &Job, text: &'a Template, on_unknown: OnUnknown) -> Result<Reply<'a>, String> {
        let name = &job.message.endpoint;
        let endpoint = self
            .endpoint(job)
            .ok_or_else(|| format!("endpoint `{name}` is not configured any more"))?;
        let channel = endpoint
            .reply
            .as_ref()
            .ok_or_else(|| format!("endpoint `{name}` has no `reply`: there is no way to answer"))?;
        let skip_if_gateway_rule_matched = endpoint.skip_reply_if_gateway_rule_matched;
        Ok(Reply {
            channel,
            text,
            on_unknown,
            on_opt_out: &endpoint.policy.on_opt_out,
            skip_if_gateway_rule_matched,
        })
    }

    /// Whether jobs of an action would only be told to come back: its account has been used up, or wants to be left alone.
    /// They had better stay in the queue than pass through it.
    pub fn is_held_up(&self, action: &str) -> bool {
        self.connections.get(action).is_some_and(Connection::is_closed)
    }

    /// Asks the connection of an action whether it is there and takes our credentials; `None` if the action has none.
    pub async fn probe(&self, action: &str, job: &Job) -> Option<Probed> {
        match &self.config.actions.get(action)?.effect {
            Effect::Connector(spec) => Some(connector::probe(self.connections.get(action)?, spec, job).await),
            Effect::Email(spec) => Some(email::probe(self.mailers.get(action)?, spec, job).await),
            Effect::Reply(_) | Effect::Http(_) | Effect::Log(_) => None,
        }
    }

    /// What later actions find under `results.NAME` when this action ends with `result`.
    pub fn as_others_see(&self, action: &str, result: &Value) -> Value {
        results::members(&self.config, action, result)
    }

    /// What an action would send for a job: the request, the reply with its request, or the line. Sends nothing, and
    /// shows `***` for secrets.
    ///
    /// # Errors
    /// An unknown action, or the reason why nothing would be sent.
    pub fn preview(&self, action: &str, job: &Job, now: DateTime<Utc>) -> Result<Value, PreviewError> {
        let action: &ActionSpec = self
            .config
            .actions
            .get(action)
            .ok_or_else(|| PreviewError::NoSuchAction(action.to_owned()))?;
        let job = Job {
            action: action.name.clone(),
            claimed_at: now,
            results: results::unknown(&self.config, action),
            ..job.clone()
        };
        let names = context(&job, now);
        match &action.effect {
            Effect::Http(spec) => preview_http(&job, spec),
            Effect::Reply(spec) => {
                let reply = self
                    .reply(&job, &spec.text, spec.on_unknown)
                    .map_err(PreviewError::WouldNotRun)?;
                preview_reply(&job, &reply)
            }
            Effect::Connector(spec) => connector::preview(spec, &job).map_err(PreviewError::WouldNotRun),
            Effect::Email(spec) => self
                .mailers
                .get(&action.name)
                .ok_or_else(|| format!("action `{}` has no mailer", action.name))
                .and_then(|mailer| email::preview(mailer, &job, spec))
                .map(|mail| json!({ "mail": mail }))
                .map_err(PreviewError::WouldNotRun),
            Effect::Log(spec) => match spec.message.render(&names) {
                Ok(line) => Ok(json!({ "line": line })),
                Err(error) => Err(PreviewError::WouldNotRun(error.to_string())),
            },
        }
    }
}

/// The connection of an action: that of an earlier action with the same account, as far as that goes.
fn connection(
    clients: &mut Clients,
    config: &Config,
    known: &BTreeMap<String, Connection>,
    spec: &ConnectorSpec,
) -> Result<Connection, ActionsError> {
    let requests: Vec<&HttpSpec> = spec.operations.values().map(|operation| &operation.request).collect();
    // The strictest of them: a connection that is closed while it is used leaves an unclear end behind.
    let careful = spec
        .operations
        .values()
        .any(|operation| operation.effect == EffectClass::AtMostOnce);
    let on_unknown = if careful { OnUnknown::Skip } else { OnUnknown::Resend };
    let first = requests.first().ok_or(ActionsError::Nothing)?;
    let client = clients.client_for(first, on_unknown)?;
    let shared = known.iter().find(|(action, _)| {
        let effect = config.actions.get(*action).map(|action| &action.effect);
        matches!(effect, Some(Effect::Connector(other)) if other.account == spec.account)
    });
    Ok(match shared {
        Some((_, connection)) => connection.shared(client),
        None => Connection::new(client, spec),
    })
}

fn preview_http(job: &Job, spec: &HttpSpec) -> Result<Value, PreviewError> {
    let names = context(job, job.claimed_at);
    Rendered::reuse_or_make(None, spec, "", &context::operation_key(job), &names)
        .map(|request| json!({ "request": request.preview(spec) }))
        .map_err(|error| PreviewError::WouldNotRun(error.to_string()))
}

fn preview_reply(job: &Job, reply: &Reply<'_>) -> Result<Value, PreviewError> {
    let rendered = reply::text(job, reply).and_then(|text| Ok((reply::render(job, reply, &text, None)?, text)));
    match rendered {
        Ok((request, text)) => Ok(json!({
            "to": job.message.sender,
            "characters": text.chars().count(),
            "text": text,
            "request": request.preview(&reply.channel.request),
        })),
        Err(Outcome::Discard(reason) | Outcome::Cancel(reason)) => Err(PreviewError::WouldNotRun(reason)),
        Err(other) => Err(PreviewError::WouldNotRun(format!("{other:?}"))),
    }
}

/// The line goes into the job's result: it may quote the text, and the log must not.
fn log(job: &Job, spec: &LogSpec) -> Outcome {
    match spec.message.render(&context(job, job.claimed_at)) {
        Ok(line) => {
            tracing::info!(job = job.id, action = %job.action, rule = job.rule.as_deref(), "log action");
            Outcome::Done(json!({ "line": line }))
        }
        Err(error) => Outcome::Discard(format!("the line does not render: {error}")),
    }
}

fn check_signing(action: &str, spec: &HttpSpec) -> Result<(), ActionsError> {
    match &spec.sign {
        Some(sign) if signing::sign(sign, "", 0, b"").is_err() => Err(ActionsError::SigningSecret {
            action: action.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn mailer(action: &str, spec: &EmailSpec) -> Result<Mailer, ActionsError> {
    Mailer::new(spec).map_err(|problem| ActionsError::Email {
        action: action.to_owned(),
        problem,
    })
}

/// The configured limits as the gate takes them.
fn loop_limits(guard: &LoopGuard) -> LoopLimits {
    LoopLimits {
        windows: guard.limits.iter().map(|limit| (limit.replies, limit.within)).collect(),
        same_reply: guard.same_reply.map(|limit| (limit.replies, limit.within)),
        same_text: guard.same_text.map(|same| SameText {
            texts: same.texts,
            within: same.within,
            silence: same.silence,
        }),
        ..LoopLimits::default()
    }
}
