//! From what was typed to what is meant: defaults, units, compiled templates, and every check across entries.
//!
//! Nothing here stops at a problem: it is noted, and reading goes on with what is left. Only at the end is it decided
//! whether there is a configuration.

mod action;
mod auth;
mod connector;
mod consent;
mod email;
mod endpoint;
mod gateway;
mod http;
mod knobs;
mod numbers;
mod privacy;
mod quantity;
mod reply;
mod rule;
mod settings;
mod verification;
mod webhook;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::file::{self, Quantity};
use super::mask::mask;
use super::problem::{self, Location, Problem, Problems, Severity};
use super::secret::{self, SecretError, SecretSource};
use super::tree::{Document, Mistake, MistakeKind, Place, nearest};
use super::{Admin, Config, Database, Loaded, LoopGuard, ReplyLimit, SameTextLimit, Server, Worker};

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the text of the configuration that is shown as `file`.
pub(super) fn read(file: &str, text: &str, environment: Environment<'_>) -> Result<Loaded, Problems> {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => return Err(syntax_error(file, text, &error)),
    };
    let mut reader = Reader::new(text, &document, environment);
    let config = reader.config();
    let Notes { found, suspects, .. } = reader.notes;
    let masked = mask(text, &suspects);
    let problems = found.into_iter().map(|note| note.shown(file, &masked));
    let (errors, mut warnings): (Vec<_>, Vec<_>) = problems.partition(|problem| problem.severity == Severity::Error);
    problem::sort(&mut warnings);
    match (Problems::new(errors), config) {
        (None, Some(config)) => Ok(Loaded {
            config,
            warnings,
            generated_secrets: reader.generated_secrets,
            erasure_key_file: reader.erasure_key_file,
        }),
        (errors, _) => {
            let errors = errors
                .into_iter()
                .flat_map(|problems| problems.iter().cloned().collect::<Vec<_>>());
            // `config` gives nothing only after it noted why, so this is never empty.
            Err(Problems::new(errors.chain(warnings).collect()).unwrap_or_default())
        }
    }
}

fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> Problems {
    let end = text.trim_end().len();
    let span = error.span().unwrap_or(end..end);
    let what = error.message().lines().next().unwrap_or_default();
    // The parser quotes keys, never values; a value without quotes is the usual mistake.
    let note = Note {
        severity: Severity::Error,
        span: Some(span),
        what: format!("this is not TOML: {what}"),
        help: Some("text stands in quotes, lists in [ ], tables in { }; see config.example.toml".to_owned()),
    };
    Problems::new(vec![note.shown(file, &mask(text, &[]))]).unwrap_or_default()
}

/// A problem before its place is shown.
struct Note {
    severity: Severity,
    span: Option<Range<usize>>,
    what: String,
    help: Option<String>,
}

impl Note {
    fn shown(self, file: &str, masked: &str) -> Problem {
        let location = self.span.map(|span| Location::of(file, masked, &span));
        Problem {
            severity: self.severity,
            what: self.what,
            location,
            help: self.help,
        }
    }
}

/// What has been found wrong so far.
#[derive(Default)]
struct Notes {
    found: Vec<Note>,
    /// Places that had to be taken out: what depends on them is not complained about again.
    damaged: Vec<Place>,
    /// Unknown keys: they may be misspelt secrets, so their values are not shown.
    suspects: Vec<String>,
}

struct Reader<'a> {
    text: &'a str,
    document: &'a Document<'a>,
    environment: Environment<'a>,
    data_dir: PathBuf,
    generated_secrets: Vec<PathBuf>,
    erasure_key_file: Option<PathBuf>,
    /// Suppression keys of every number that the configuration says is ours.
    own_numbers: BTreeSet<String>,
    notes: Notes,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, document: &'a Document<'a>, environment: Environment<'a>) -> Self {
        Self {
            text,
            document,
            environment,
            data_dir: PathBuf::new(),
            generated_secrets: Vec::new(),
            erasure_key_file: None,
            own_numbers: BTreeSet::new(),
            notes: Notes::default(),
        }
    }

    /// Everything; `None` only after an error was noted.
    fn config(&mut self) -> Option<Config> {
        let (root, _) = self.fill::<file::Root>(&Place::root());
        let root = root.unwrap_or_default();
        self.data_dir = self.data_dir(root.data_dir);
        let server = self.server(root.server);
        let admin = self.admin(root.admin, server.listen);
        let database = self.database(&root.database);
        let worker = self.worker(&root.worker);
        let loop_guard = self.loop_guard(&root.loop_guard);
        let retention = self.retention(&root.retention);
        let erasure_key = self.erasure_key(root.privacy.erasure_key.as_ref(), database.url.is_none());
        let actions = self.actions();
        let endpoints = self.endpoints(server.public_url.as_ref(), &actions);
        let rulebook = self.rules(&actions, &endpoints);
        self.check_replies(&actions, &endpoints);
        let webhooks = self.webhooks();
        (!endpoints.is_empty()).then(|| Config {
            is_default: false,
            data_dir: self.data_dir.clone(),
            server,
            admin,
            database,
            worker,
            loop_guard,
            retention,
            erasure_key,
            own_numbers: std::mem::take(&mut self.own_numbers),
            webhooks,
            endpoints,
            actions,
            rulebook,
        })
    }

    fn note(&mut self, severity: Severity, place: &Place, what: String, help: Option<String>) {
        if !self.notes.damaged.iter().any(|damaged| place.is_within(damaged)) {
            self.notes.found.push(Note {
                severity,
                span: self.document.span(place),
                what,
                help,
            });
        }
    }

    fn error(&mut self, place: &Place, what: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, place, what.into(), Some(help.into()));
    }

    /// An error in `column`, from 1, of the text at `place`, if it stands there on one line and as it is; else at `place`.
    fn error_in(&mut self, place: &Place, column: Option<usize>, what: String, help: String) {
        let span = self.document.span(place).map(|span| {
            let word = column.and_then(|column| self.word(&span, column));
            word.unwrap_or(span)
        });
        self.notes.found.push(Note {
            severity: Severity::Error,
            span,
            what,
            help: Some(help),
        });
    }

    /// The word that begins in `column` of the string literal at `span`.
    fn word(&self, span: &Range<usize>, column: usize) -> Option<Range<usize>> {
        let literal = self.text.get(span.clone())?;
        let inner = literal.strip_prefix(['"', '\''])?;
        if literal.contains(['\n', '\\']) || inner.starts_with(['"', '\'']) {
            return None;
        }
        let (offset, _) = inner.char_indices().nth(column.checked_sub(1)?)?;
        let word = inner.get(offset..)?;
        let length = word
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
            .unwrap_or(word.len());
        let start = span.start + 1 + offset;
        Some(start..start + length.max(1))
    }

    /// An error about the key `key` of the table at `place`, whose value is not shown.
    fn error_at_key(&mut self, place: &Place, key: &str, what: String, help: String) {
        self.notes.suspects.push(key.to_owned());
        self.error_on_key(place, key, what, help);
    }

    /// An error about the key `key` itself of the table at `place`.
    fn error_on_key(&mut self, place: &Place, key: &str, what: String, help: String) {
        self.notes.found.push(Note {
            severity: Severity::Error,
            span: self.document.key_span(place, key),
            what,
            help: Some(help),
        });
    }

    fn warn(&mut self, place: &Place, what: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, place, what.into(), Some(help.into()));
    }

    /// Fills a `T` from `place`; true if all of it could be read.
    fn fill<T: DeserializeOwned>(&mut self, place: &Place) -> (Option<T>, bool) {
        self.fill_with(place, &[])
    }

    /// As `fill`, with texts for keys that the operator need not write.
    fn fill_with<T: DeserializeOwned>(&mut self, place: &Place, given: &[(&str, &str)]) -> (Option<T>, bool) {
        let (filled, mistakes) = self.document.fill(place, given);
        (filled, self.mistakes(mistakes))
    }

    /// As `fill`, from a table of which only a part stands at `place`.
    fn fill_merged<T: DeserializeOwned>(&mut self, place: &Place, merged: &toml::Table) -> (Option<T>, bool) {
        let (filled, mistakes) = self.document.fill_merged(place, merged);
        (filled, self.mistakes(mistakes))
    }

    /// Notes them; true if nothing had to be left out.
    fn mistakes(&mut self, mistakes: Vec<Mistake>) -> bool {
        let mut whole = true;
        let misspelt: Vec<_> = mistakes.iter().filter_map(meant).collect();
        for mistake in mistakes {
            whole &= matches!(mistake.kind, MistakeKind::UnknownKey { .. });
            self.mistake(mistake, &misspelt);
        }
        whole
    }

    fn mistake(&mut self, mistake: Mistake, misspelt: &[String]) {
        let is_damaged = |damaged: &Place| *damaged != mistake.place && damaged.is_within(&mistake.place);
        let (what, help) = match mistake.kind {
            // A table does not add up, and something in it had to be taken out.
            MistakeKind::WrongValue(_) if self.notes.damaged.iter().any(is_damaged) => {
                self.notes.damaged.push(mistake.place);
                return;
            }
            // It was there, wrong, and that was said already.
            MistakeKind::MissingKey(key) if self.notes.damaged.contains(&mistake.place.key(&key)) => {
                // What could not be made without it is gone now as well.
                self.notes.damaged.push(mistake.place);
                return;
            }
            // The key is there, misspelt, and that was said already.
            MistakeKind::MissingKey(key) if misspelt.contains(&key) => return,
            MistakeKind::UnknownKey { key, known } => {
                let help = match nearest(&key, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known keys here: {}", known.join(", ")),
                };
                self.notes.suspects.push(key.clone());
                (format!("unknown key `{key}`"), Some(help))
            }
            MistakeKind::MissingKey(key) => (format!("the key `{key}` is missing"), Some(format!("add `{key} = …`"))),
            MistakeKind::WrongValue(what) => (what, None),
        };
        self.notes.found.push(Note {
            severity: Severity::Error,
            span: Some(mistake.span),
            what,
            help,
        });
        self.notes.damaged.push(mistake.place);
    }

    /// Fetches a secret, noting why it cannot be had; a secret in the file itself is worth a warning.
    fn secret(&mut self, place: &Place, secret: &file::Secret) -> Option<(SecretSource, SecretString)> {
        let source = secret.source(&self.data_dir);
        if let SecretSource::Generated(path) = &source {
            self.generated_secrets.push(path.clone());
        }
        if source == SecretSource::Inline {
            let help = "give it as { env = \"NAME\" } or { file = \"PATH\" }, so that this file may be shown to others";
            self.warn(place, "a secret stands in the configuration itself", help);
        }
        match secret.fetch(&self.data_dir, self.environment) {
            Ok(value) => Some((source, value)),
            Err(error @ SecretError::NotGeneratedYet(_)) => {
                self.warn(place, error.to_string(), error.help());
                // Nobody has this one, so nothing verifies: better than an endpoint without a key.
                Some((source, SecretString::from(secret::random().ok()?)))
            }
            Err(error) => {
                self.error(place, error.to_string(), error.help());
                None
            }
        }
    }

    fn data_dir(&mut self, typed: Option<PathBuf>) -> PathBuf {
        if typed.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            self.error(
                &Place::root().key("data_dir"),
                "the data directory has no name",
                "leave it out for \"./data\"",
            );
        }
        let environment = || {
            (self.environment)("SMSHOOK_DATA_DIR")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        typed.or_else(environment).unwrap_or_else(|| PathBuf::from("./data"))
    }

    fn server(&mut self, typed: file::Server) -> Server {
        let place = Place::root().key("server");
        let seconds = |seconds| Duration::from_secs(seconds);
        Server {
            listen: self.listen(&place, typed.listen, "SMSHOOK_LISTEN", 8080),
            public_url: typed
                .public_url
                .and_then(|url| self.public_url(&place.key("public_url"), &url)),
            max_body_bytes: self.size(&place.key("max_body"), typed.max_body.as_ref(), 1 << 20),
            header_timeout: self.duration(&place.key("header_timeout"), typed.header_timeout.as_ref(), seconds(10)),
            body_timeout: self.duration(&place.key("body_timeout"), typed.body_timeout.as_ref(), seconds(15)),
            accept_deadline: self.duration(
                &place.key("accept_deadline"),
                typed.accept_deadline.as_ref(),
                Duration::from_millis(1500),
            ),
            max_connections: self.count(&place.key("max_connections"), typed.max_connections, 4096),
        }
    }

    /// What the file says, else what `variable` says, else `port` on loopback.
    fn listen(&mut self, section: &Place, typed: Option<String>, variable: &str, port: u16) -> SocketAddr {
        let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let environment = || (self.environment)(variable).filter(|address| !address.trim().is_empty());
        let in_file = typed.is_some();
        let Some(address) = typed.or_else(environment) else {
            return default;
        };
        address.parse().unwrap_or_else(|_unreadable| {
            let whence = if in_file {
                String::new()
            } else {
                format!(" (environment variable `{variable}`)")
            };
            self.error(
                &section.key("listen"),
                format!("`{address}` is not an address to listen on{whence}"),
                format!("write an IP address and a port, such as \"{default}\""),
            );
            default
        })
    }

    fn public_url(&mut self, place: &Place, typed: &str) -> Option<Url> {
        let url = Url::parse(typed)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let clean = |url: &Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        let url = url.filter(clean);
        if url.is_none() {
            let help = "write it as the world sees it, such as \"https://sms.example.com\"";
            self.error(place, "this is not the URL of a server", help);
        }
        url
    }

    fn admin(&mut self, typed: file::Admin, public: SocketAddr) -> Admin {
        let place = Place::root().key("admin");
        let listen = self.listen(&place, typed.listen, "SMSHOOK_ADMIN_LISTEN", 8081);
        let token_place = place.key("token");
        let had_token = typed.token.is_some();
        let token = typed
            .token
            .and_then(|token| self.secret(&token_place, &token))
            .map(|(_, token)| token);
        if !listen.ip().is_loopback() && !had_token && self.document.get(&token_place).is_none() {
            let help = "add `token = { env = \"SMSHOOK_ADMIN_TOKEN\" }` to [admin], or listen on 127.0.0.1";
            self.error(
                &place.key("listen"),
                "the admin pages would be open to the network",
                help,
            );
        }
        if listen == public && listen.port() != 0 {
            let help = "give the admin pages another port: they must not be reachable where the gateway is let in";
            self.error(
                &place.key("listen"),
                "[admin] and [server] listen on the same address",
                help,
            );
        }
        Admin { listen, token }
    }

    fn database(&mut self, typed: &file::Database) -> Database {
        let place = Place::root().key("database");
        let url_place = place.key("url");
        let overriding = (self.environment)("DATABASE_URL")
            .filter(|url| !url.trim().is_empty())
            .map(SecretString::from);
        let overridden = overriding.is_some();
        let url = overriding.or_else(|| Some(self.secret(&url_place, typed.url.as_ref()?)?.1));
        let is_postgres = |url: &SecretString| {
            ["postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.expose_secret().starts_with(scheme))
        };
        if url.as_ref().is_some_and(|url| !is_postgres(url)) {
            let whose = if overridden {
                "the environment variable `DATABASE_URL`"
            } else {
                "the database's URL"
            };
            let help = "write it as postgres://USER:PASSWORD@HOST/DATABASE";
            self.error(&url_place, format!("{whose} is not a Postgres URL"), help);
        }
        Database {
            url,
            max_connections: self.connections(&place.key("max_connections"), typed.max_connections),
        }
    }

    fn worker(&mut self, typed: &file::Worker) -> Worker {
        let place = Place::root().key("worker");
        Worker {
            concurrency: self.count(&place.key("concurrency"), typed.concurrency, 64),
            poll: self.duration(&place.key("poll"), typed.poll.as_ref(), Duration::from_secs(1)),
            stop_grace: self.duration(
                &place.key("stop_grace"),
                typed.stop_grace.as_ref(),
                Duration::from_secs(10),
            ),
        }
    }

    fn loop_guard(&mut self, typed: &file::LoopGuard) -> LoopGuard {
        let place = Place::root().key("loop_guard");
        let per = |replies, within| ReplyLimit { replies, within };
        let limits = typed.limits.as_ref().map_or_else(
            || vec![per(5, Duration::from_mins(10)), per(20, Duration::from_hours(24))],
            |limits| {
                let place = place.key("limits");
                let limits = limits.iter().enumerate();
                limits
                    .map(|(item, limit)| self.reply_limit(&place.item(item), limit))
                    .collect()
            },
        );
        LoopGuard {
            limits,
            same_reply: self.same_reply(&place.key("same_reply"), typed.same_reply.as_ref()),
            same_text: self.same_text(&place.key("same_text"), typed.same_text.as_ref()),
        }
    }

    fn same_reply(&mut self, place: &Place, typed: Option<&file::Switch<file::Limit>>) -> Option<ReplyLimit> {
        match typed {
            None => Some(ReplyLimit {
                replies: 2,
                within: Duration::from_mins(30),
            }),
            Some(file::Switch::Off) => None,
            Some(file::Switch::On(limit)) => Some(self.reply_limit(place, limit)),
        }
    }

    fn same_text(&mut self, place: &Place, typed: Option<&file::Switch<file::SameText>>) -> Option<SameTextLimit> {
        let (texts, within, silence) = (3, Duration::from_mins(10), Duration::from_hours(1));
        let typed = match typed {
            None => return Some(SameTextLimit { texts, within, silence }),
            Some(file::Switch::Off) => return None,
            Some(file::Switch::On(typed)) => typed,
        };
        if typed.texts == 1 {
            self.error(
                &place.key("texts"),
                "the first text is not the same as an earlier one",
                "write 2 or more, or `same_text = false`",
            );
        }
        let texts = self.count(&place.key("texts"), Some(typed.texts), 3);
        Some(SameTextLimit {
            texts: u32::try_from(texts).unwrap_or(u32::MAX),
            within: self.duration(&place.key("within"), Some(&typed.within), within),
            silence: self.duration(&place.key("silence"), Some(&typed.silence), silence),
        })
    }

    fn reply_limit(&mut self, place: &Place, typed: &file::Limit) -> ReplyLimit {
        let replies = self.count(&place.key("replies"), Some(typed.replies), 1);
        let within = self.duration(&place.key("within"), Some(&typed.within), Duration::from_mins(10));
        ReplyLimit {
            replies: u32::try_from(replies).unwrap_or(u32::MAX),
            within,
        }
    }

    fn duration(&mut self, place: &Place, typed: Option<&Quantity>, default: Duration) -> Duration {
        let Some(Quantity(text)) = typed else { return default };
        quantity::duration(text).unwrap_or_else(|| {
            let help = "write a number and ms, s, m, h or d, such as \"10s\" or \"1.5s\"";
            self.error(place, format!("`{text}` is not a duration above zero"), help);
            default
        })
    }

    fn size(&mut self, place: &Place, typed: Option<&Quantity>, default: usize) -> usize {
        let Some(Quantity(text)) = typed else { return default };
        quantity::size(text).unwrap_or_else(|| {
            let help = "write a number and B, KiB or MiB, such as \"256KiB\"; at most 64 MiB";
            self.error(place, format!("`{text}` is not a size"), help);
            default
        })
    }

    /// A number of things: at least one.
    fn count<N>(&mut self, place: &Place, typed: Option<u32>, default: N) -> N
    where
        N: TryFrom<u32>,
    {
        match typed {
            Some(0) => self.error(place, "this must be at least 1", "leave it out for the default"),
            Some(count) => return N::try_from(count).unwrap_or(default),
            None => {}
        }
        default
    }

    /// Connections in the pool: the listener, the worker, its actions and the admin listener each hold one at times.
    fn connections(&mut self, place: &Place, typed: Option<u32>) -> u32 {
        let connections = self.count(place, typed, 10);
        if connections < 6 {
            self.error(place, "this must be at least 6", "leave it out for the default of 10");
        }
        connections
    }

    /// The entries of a list of tables such as `[[endpoint]]`, with their places; what cannot be read is left out.
    fn entries<T: DeserializeOwned>(&mut self, section: &str) -> Vec<(Place, T)> {
        let place = Place::root().key(section);
        let Some(count) = self.document.items(&place) else {
            if self.document.get(&place).is_some() {
                let what = format!("`{section}` is a list");
                self.error(
                    &place,
                    what,
                    format!("write [[{section}]] with two brackets, once for each"),
                );
            }
            return Vec::new();
        };
        let places = (0..count).map(|item| place.item(item));
        places.filter_map(|place| self.whole(place)).collect()
    }

    /// The entries of a table of tables such as `[action.NAME]`.
    fn named_entries<T: DeserializeOwned>(&mut self, section: &str) -> Vec<(String, Place, T)> {
        let place = Place::root().key(section);
        if self
            .document
            .get(&place)
            .is_some_and(|value| !value.get_ref().is_table())
        {
            self.error(
                &place,
                format!("`{section}` is a table of named tables"),
                format!("write [{section}.NAME]"),
            );
        }
        let names = self.document.keys(&place);
        names
            .into_iter()
            .filter_map(|name| {
                let (place, entry) = self.whole(place.key(&name))?;
                Some((name, place, entry))
            })
            .collect()
    }

    fn whole<T: DeserializeOwned>(&mut self, place: Place) -> Option<(Place, T)> {
        let (entry, whole) = self.fill(&place);
        entry.filter(|_| whole).map(|entry| (place, entry))
    }

    /// Names go into metric labels, command lines and URLs.
    fn check_name(&mut self, place: &Place, what: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let help = "use at most 64 letters, digits, `-`, `_` and `.`";
            self.error(place, format!("this cannot be the name of {what}"), help);
        }
    }
}

/// The key that an unknown one was likely meant to be.
fn meant(mistake: &Mistake) -> Option<String> {
    match &mistake.kind {
        MistakeKind::UnknownKey { key, known } => nearest(key, known.iter().map(String::as_str)).map(str::to_owned),
        MistakeKind::MissingKey(_) | MistakeKind::WrongValue(_) => None,
    }
}
