//! The configuration: what was typed → what is meant, with every problem reported and not the first.
//!
//! `file` holds the keys as typed, `tree` the places of everything in the text, `read` turns the one into [`Config`],
//! `problem` shows what is wrong where it is wrong, `mask` keeps secrets out of that, and [`action`] is what an action
//! means once read. It reads the configuration file and secret files, and nothing else: no network, no database, no clock;
//! the environment is a parameter.

pub mod action;
pub mod connector;
mod file;
mod mask;
mod problem;
mod read;
mod secret;
#[cfg(test)]
mod tests;
mod texts;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::gateway::{Gateway, Reading};
use crate::rules::{EndpointPolicy, Rulebook};
use crate::signature::Keys;

pub use action::{ActionSpec, Effect, HttpSpec};
pub use problem::{Location, Problem, Problems, Severity};
pub use secret::{SecretSource, ensure_generated_secret};
pub use texts::Texts;

/// Everything smshook was told, checked and compiled.
#[derive(Debug)]
pub struct Config {
    /// Whether these are the built-in defaults, for want of a file.
    pub is_default: bool,
    /// Where smshook keeps what it makes: the embedded database, the spool, generated secrets.
    pub data_dir: PathBuf,
    /// The public listener.
    pub server: Server,
    /// The admin listener.
    pub admin: Admin,
    /// The database.
    pub database: Database,
    /// The worker.
    pub worker: Worker,
    /// How many automatic replies one sender gets.
    pub loop_guard: LoopGuard,
    /// How long what is stored is kept.
    pub retention: Retention,
    /// Under which the numbers of erased people are hashed; `None` where nobody can be erased.
    pub erasure_key: Option<SecretString>,
    /// Who is told of changes of consent, by name.
    pub webhooks: BTreeMap<String, WebhookSpec>,
    /// Suppression keys of every number that the configuration says is ours: what stands for recipients, what belongs to a
    /// programme, what replies come from. There may be more.
    pub own_numbers: BTreeSet<String>,
    /// The inbound URLs, in the order of the file; names and paths are unique, and there is at least one.
    pub endpoints: Vec<Endpoint>,
    /// The actions by name.
    pub actions: BTreeMap<String, ActionSpec>,
    /// The rules in order, with what planning must know about the actions.
    pub rulebook: Rulebook,
}

impl Config {
    /// Every suppression group with an endpoint it belongs to, in the order of the file; there is at least one.
    pub fn suppression_groups(&self) -> Vec<(&str, &Endpoint)> {
        let mut groups: Vec<(&str, &Endpoint)> = Vec::new();
        for endpoint in &self.endpoints {
            let named = &endpoint.policy.groups;
            for group in std::iter::once(&named.own).chain(named.by_recipient.values()) {
                if !groups.iter().any(|(known, _)| *known == &**group) {
                    groups.push((group, endpoint));
                }
            }
        }
        groups
    }
}

/// How long what is stored is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Messages with their jobs; `None`: for ever.
    pub messages: Option<Duration>,
    /// Evidence of consent that is over; `None`: for ever. An opt-out in force and its evidence are kept in any case.
    pub consent: Option<Duration>,
}

/// Who is told of changes of consent.
#[derive(Debug)]
pub struct WebhookSpec {
    /// Its name.
    pub name: String,
    /// The request, but for its body; its `sign` is always there.
    pub request: HttpSpec,
    /// The longest that one attempt may take.
    pub timeout: Duration,
}

/// The public listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How the world reaches it, without a path of ours; some schemes sign it.
    pub public_url: Option<Url>,
    /// The largest body taken.
    pub max_body_bytes: usize,
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// A delivery that is not stored by then is spooled or refused with 503.
    pub accept_deadline: Duration,
    /// Connections open at once.
    pub max_connections: usize,
}

/// The admin listener: pages, metrics, health, API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a client must present; always there unless the listener is on loopback.
    pub token: Option<SecretString>,
}

/// The database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its URL; `None` means an embedded Postgres under the data directory.
    pub url: Option<SecretString>,
    /// Connections in the pool.
    pub max_connections: u32,
}

/// The worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Worker {
    /// Jobs that run at once, all actions together.
    pub concurrency: usize,
    /// How often it looks for jobs when nothing wakes it.
    pub poll: Duration,
    /// How long running jobs may take to end when smshook is told to stop.
    pub stop_grace: Duration,
}

/// Replies within one conversation; the confirmation of an opt-out does not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoopGuard {
    /// All of these hold; none means no limit.
    pub limits: Vec<ReplyLimit>,
    /// How often the same reply goes out; `None`: as often as it is asked for.
    pub same_reply: Option<ReplyLimit>,
    /// When the same text from the other side silences rules; `None`: never.
    pub same_text: Option<SameTextLimit>,
}

/// The same text so often within so long silences rules for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SameTextLimit {
    /// The one that is not answered any more; at least 2.
    pub texts: u32,
    /// The sliding window.
    pub within: Duration,
    /// How long rules do not reply then.
    pub silence: Duration,
}

/// So many replies within so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyLimit {
    /// Replies; at least 1.
    pub replies: u32,
    /// The sliding window.
    pub within: Duration,
}

/// One inbound URL.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its path on the public listener.
    pub path: String,
    /// The gateway that calls it.
    pub gateway: Arc<Gateway>,
    /// What its deliveries are signed with; `None` only where the operator wrote `allow_unsigned = true`, or has no secret yet
    /// and only observes ([`Mode::Observe`]): then nothing verifies.
    pub keys: Option<Keys>,
    /// Where each secret came from, in the order of the keys.
    pub secret_sources: Vec<SecretSource>,
    /// How the world calls it: scheme, host and path, no query; some schemes sign it. Empty where nobody said.
    pub url: String,
    /// What its deliveries are read with.
    pub reading: Reading,
    /// What becomes of a delivery that does not verify.
    pub mode: Mode,
    /// Secrets that no longer verify anything, each with its label: only to explain a signature made with one.
    pub retired: Option<Keys>,
    /// How many refused deliveries are kept, to be verified again once the secret is right; `None`: none.
    pub keep_refused: Option<KeepRefused>,
    /// How long the parts of a longer text wait for each other.
    pub reassembly_wait: Duration,
    /// What planning must know.
    pub policy: EndpointPolicy,
    /// How to answer a sender; `None` if this endpoint cannot.
    pub reply: Option<ReplyChannel>,
    /// The one confirmation of an opt-out.
    pub opt_out_text: Option<Texts>,
    /// The confirmation of an opt-in.
    pub opt_in_text: Option<Texts>,
    /// The answer to HELP.
    pub help_text: Option<Texts>,
    /// Whether rules do not reply where the gateway's own rule matched.
    pub skip_reply_if_gateway_rule_matched: bool,
    /// Whether its texts are kept once their actions have run.
    pub store_text: bool,
}

impl Endpoint {
    /// The suppression group of most of its recipients, often of all.
    pub fn suppression_group(&self) -> &str {
        &self.policy.groups.own
    }
}

/// What becomes of a delivery that does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is stored and marked, while a signature is being set up.
    Observe {
        /// Whether its actions run all the same.
        runs_actions: bool,
    },
}

/// How much is kept of what was refused, for each endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepRefused {
    /// Deliveries; the oldest go first.
    pub count: u32,
    /// Bytes of all together.
    pub bytes: usize,
    /// How long.
    pub age: Duration,
}

/// How an endpoint answers a sender.
#[derive(Debug)]
pub struct ReplyChannel {
    /// The gateway's request, with this endpoint's account in it.
    pub request: HttpSpec,
    /// The longest text the gateway takes, in characters.
    pub max_text_chars: usize,
    /// What the gateway's API answers to a reply that it takes, with `{reply_id}` for the ID it gives: for whoever stands in
    /// for it. `{}` where its file has none.
    pub sample_answer: String,
    /// The status of that answer: the first that means done.
    pub sample_status: u16,
    /// By what a refusal says that the provider holds the sender for opted out.
    pub opted_out: Vec<OptedOutSign>,
}

/// Where in an answer the provider says that it holds somebody for opted out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OptedOutSign {
    /// A JSON pointer.
    pub pointer: String,
    /// The values there that say so; numbers in plain digits.
    pub values: Vec<String>,
}

/// Where the configuration is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// In this file.
    File(PathBuf),
    /// There is none: the built-in defaults.
    Default,
}

/// A configuration that smshook can run with, and what is likely not meant in it.
#[derive(Debug)]
pub struct Loaded {
    /// What is meant.
    pub config: Config,
    /// Only warnings.
    pub warnings: Vec<Problem>,
    /// The files of `{ generated = … }` secrets, whether they exist or not.
    pub generated_secrets: Vec<PathBuf>,
    /// That of them which nobody else is given: under it the numbers of erased people are hashed.
    pub erasure_key_file: Option<PathBuf>,
}

/// The built-in configuration, as TOML.
pub const DEFAULT: &str = include_str!("default.toml");

/// Finds the configuration: the one named, else `config.toml` in the working directory if there is one, else the defaults.
pub fn locate(explicit: Option<&Path>) -> Source {
    let here = Path::new("config.toml");
    match explicit {
        Some(path) => Source::File(path.to_owned()),
        None if here.exists() => Source::File(here.to_owned()),
        None => Source::Default,
    }
}

/// Reads and checks a configuration. On failure: every problem there is.
pub fn load(source: &Source, environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let (file, text) = text_of(source)?;
    let mut loaded = read::read(&file, &text, environment)?;
    loaded.config.is_default = *source == Source::Default;
    Ok(loaded)
}

/// As [`load`], of the configuration as `edit` changes it: for a service that is like the configured one but for some keys.
/// What is wrong is shown in the changed text.
pub fn load_edited(
    source: &Source,
    environment: &dyn Fn(&str) -> Option<String>,
    edit: &dyn Fn(&mut toml::Table),
) -> Result<Loaded, Problems> {
    let (file, text) = text_of(source)?;
    let text = match text.parse::<toml::Table>() {
        Ok(mut document) => {
            edit(&mut document);
            document.to_string()
        }
        // Reading it says what is wrong with it.
        Err(_) => text,
    };
    let mut loaded = read::read(&file, &text, environment)?;
    loaded.config.is_default = *source == Source::Default;
    Ok(loaded)
}

/// The secret files that smshook has to make before it can serve with this configuration, whether they exist or not.
///
/// To be called before [`load`], each path then given to [`ensure_generated_secret`]. A configuration with problems has
/// none: `load` will say what is wrong.
pub fn generated_secrets(source: &Source, environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    load(source, environment).map_or_else(|_| Vec::new(), |loaded| loaded.generated_secrets)
}

fn text_of(source: &Source) -> Result<(String, String), Problems> {
    let Source::File(path) = source else {
        return Ok(("(built-in defaults)".to_owned(), DEFAULT.to_owned()));
    };
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(problem::unreadable(&name, &error)),
    }
}
