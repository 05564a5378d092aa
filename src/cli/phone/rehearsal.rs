//! The configuration as typed, turned into one that stays on this machine: own listeners, own data, replies that go to the
//! stand-in, and actions that only say what they would do.
//!
//! What leaves the machine is checked last, in what was read and not in what was meant to be written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use serde_json::Value;
use toml::{Table, Value as Toml};
use url::Url;

use crate::cli::endpoint;
use crate::cli::failure::Failure;
use crate::cli::send::NewKey;
use crate::config::action::{BodySpec, HttpSpec, LogSpec, OnUnknown, ReplySpec, StatusSet};
use crate::config::{self, ActionSpec, Config, Effect, Endpoint, Source};
use crate::http::StandInRoute;
use crate::job::RetryPolicy;
use crate::template::Template;

/// Nothing else is listened on or called.
const LOOPBACK: &str = "127.0.0.1:0";
/// Where actions that reach outside are heard in their place.
const ACTIONS: &str = "/actions/";
/// Stands where an account belongs that nobody has.
const PRETEND: &str = "pretend";
/// Of the phone's own: it shows where a reply's text stands in the gateway's request. No rule can name it.
pub(super) const PROBE: &str = "smshook-phone's probe";
/// The text of [`PROBE`].
pub(super) const PROBE_TEXT: &str = "the text that the phone looks for";
/// What the built-in rules would answer if they had an account; here they have one.
const BUILT_IN_REPLIES: [(&str, &str); 2] = [
    ("hours", "We are open Mon-Sat 9-6."),
    ("address", "You find us at 1 Main Street."),
];

/// What the phone was asked to run.
pub(super) struct Asked<'a> {
    pub(super) source: &'a Source,
    /// The database, if not one of the phone's own.
    pub(super) database_url: Option<String>,
    /// Whether actions that reach outside do.
    pub(super) live_actions: bool,
    /// Where the stand-in listens.
    pub(super) stand_in: SocketAddr,
}

/// A configuration to rehearse with.
pub(super) struct Rehearsal {
    pub(super) config: Config,
    /// The seeds of private keys, by endpoint, where the phone signs with its own.
    pub(super) seeds: BTreeMap<String, String>,
    /// Endpoints that were given an account that nobody has.
    pub(super) pretend_accounts: Vec<String>,
    /// The actions that are only rehearsed.
    pub(super) rehearsed: Vec<String>,
    /// What the stand-in answers to these.
    pub(super) routes: Vec<StandInRoute>,
}

impl Rehearsal {
    /// Reads the configuration a second time; `typed` is what it says.
    pub(super) fn read(typed: &Config, asked: &Asked<'_>) -> Result<Self, Failure> {
        let keys = new_keys(typed)?;
        let pretend_accounts = without_account(typed);
        let edit = |document: &mut Table| edit(document, typed, asked, &keys);
        let environment = |name: &str| match name {
            "DATABASE_URL" => asked.database_url.clone(),
            "SMSHOOK_LISTEN" | "SMSHOOK_ADMIN_LISTEN" | "SMSHOOK_DATA_DIR" => None,
            name => endpoint::environment(name),
        };
        make_secrets(asked.source, &environment, &edit)?;
        let loaded = config::load_edited(asked.source, &environment, &edit).map_err(Failure::Configuration)?;
        let mut config = loaded.config;
        let mut routes = Vec::new();
        let mut rehearsed = Vec::new();
        if !asked.live_actions {
            for action in config
                .actions
                .values_mut()
                .filter(|action| reaches_outside(&action.effect))
            {
                routes.push(answer_for(action));
                action.effect = Effect::Http(Box::new(in_place_of(action, asked.stand_in)?));
                rehearsed.push(action.name.clone());
            }
        }
        // What is said here is nobody's consent, and its events have the numbers of real ones.
        config.webhooks.clear();
        config.actions.insert(PROBE.to_owned(), probe()?);
        stays_here(&config, asked)?;
        Ok(Self {
            config,
            seeds: keys.into_iter().map(|(name, key)| (name, key.seed)).collect(),
            pretend_accounts,
            rehearsed,
            routes,
        })
    }
}

fn reaches_outside(effect: &Effect) -> bool {
    match effect {
        Effect::Http(_) | Effect::Connector(_) | Effect::Email(_) => true,
        Effect::Reply(_) | Effect::Log(_) => false,
    }
}

/// Where the gateway has a private key, nobody else can sign: the phone has a pair of its own.
fn new_keys(typed: &Config) -> Result<BTreeMap<String, NewKey>, Failure> {
    let cannot_sign = |endpoint: &&Endpoint| endpoint.keys.as_ref().is_some_and(|keys| keys.signer().is_none());
    let endpoints = typed.endpoints.iter().filter(cannot_sign);
    endpoints
        .map(|endpoint| Ok((endpoint.name.clone(), NewKey::make()?)))
        .collect()
}

/// Endpoints that cannot reply, of gateways that can.
fn without_account(typed: &Config) -> Vec<String> {
    let lacks = |endpoint: &&Endpoint| endpoint.reply.is_none() && endpoint.gateway.reply.is_some();
    let endpoints = typed.endpoints.iter().filter(lacks);
    endpoints.map(|endpoint| endpoint.name.clone()).collect()
}

fn make_secrets(
    source: &Source,
    environment: &dyn Fn(&str) -> Option<String>,
    edit: &dyn Fn(&mut Table),
) -> Result<(), Failure> {
    let first = config::load_edited(source, environment, edit).map_err(Failure::Configuration)?;
    for path in first.generated_secrets {
        config::ensure_generated_secret(&path)
            .with_context(|| format!("making the secret file `{}`", path.display()))?;
    }
    Ok(())
}

fn edit(document: &mut Table, typed: &Config, asked: &Asked<'_>, keys: &BTreeMap<String, NewKey>) {
    let data_dir = typed.data_dir.join("phone");
    document.insert("data_dir".to_owned(), path(&data_dir));
    in_table(document, "server", |server| {
        server.insert("listen".to_owned(), LOOPBACK.into());
    });
    in_table(document, "admin", |admin| {
        admin.insert("listen".to_owned(), LOOPBACK.into());
        admin.remove("token");
    });
    in_table(document, "database", |database| {
        database.remove("url");
    });
    if typed.is_default {
        in_table(document, "action", |actions| {
            for (name, text) in BUILT_IN_REPLIES {
                actions.insert(name.to_owned(), one("reply", one("text", text)));
            }
        });
    }
    let endpoints = document.get_mut("endpoint").and_then(Toml::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Toml::as_table_mut) {
        let name = endpoint
            .get("name")
            .and_then(Toml::as_str)
            .unwrap_or_default()
            .to_owned();
        let Some(meant) = typed.endpoints.iter().find(|meant| meant.name == name) else {
            continue;
        };
        if let Some(reply) = &meant.gateway.reply {
            in_table(endpoint, "reply", |typed| {
                edit_reply(typed, meant, reply, asked.stand_in);
            });
        }
        if let Some(key) = keys.get(&name) {
            endpoint.insert("secrets".to_owned(), Toml::Array(vec![key.public.as_str().into()]));
        }
    }
}

/// The endpoint's account, at the stand-in; with what an account needs where there is none.
fn edit_reply(typed: &mut Table, endpoint: &Endpoint, gateways: &Table, stand_in: SocketAddr) {
    if endpoint.reply.is_none() {
        for name in account_of(gateways) {
            typed.insert(name, PRETEND.into());
        }
    }
    let base = typed.get("base_url").or_else(|| gateways.get("base_url"));
    let base = base.and_then(Toml::as_str).and_then(|base| Url::parse(base).ok());
    let path = base.map(|base| base.path().trim_end_matches('/').to_owned());
    let base = format!("http://{stand_in}/{}{}", endpoint.name, path.unwrap_or_default());
    typed.insert("base_url".to_owned(), base.into());
    typed.insert("allow_http".to_owned(), true.into());
    let here = format!("{}/32", stand_in.ip());
    typed.insert("allow_private".to_owned(), Toml::Array(vec![here.into()]));
}

/// The names of what a gateway's `[reply]` wants to know: its settings, and the credentials in Basic and in headers.
fn account_of(reply: &Table) -> Vec<String> {
    let settings = reply.get("settings").and_then(Toml::as_table).into_iter().flatten();
    let basic = reply.get("basic").and_then(Toml::as_array).into_iter().flatten();
    let headers = reply.get("headers").and_then(Toml::as_table).into_iter().flatten();
    let credential = |(_, header): (&String, &Toml)| Some(header.get("credential")?.as_str()?.to_owned());
    settings
        .map(|(name, _)| name.clone())
        .chain(basic.filter_map(Toml::as_str).map(str::to_owned))
        .chain(headers.filter_map(credential))
        .collect()
}

/// Changes the table under `key`, which is made if it is not there. What is no table was complained about before.
fn in_table(parent: &mut Table, key: &str, change: impl FnOnce(&mut Table)) {
    let entry = parent.entry(key).or_insert_with(|| Toml::Table(Table::new()));
    if let Toml::Table(table) = entry {
        change(table);
    }
}

fn one(key: &str, value: impl Into<Toml>) -> Toml {
    let mut table = Table::new();
    table.insert(key.to_owned(), value.into());
    Toml::Table(table)
}

fn path(path: &Path) -> Toml {
    path.to_string_lossy().into_owned().into()
}

/// The answer that leaves what the action would have left, as far as names go: other actions use it.
fn answer_for(action: &ActionSpec) -> StandInRoute {
    StandInRoute {
        name: String::new(),
        method: Method::POST,
        path: path_of(&action.name),
        status: http::StatusCode::OK,
        content_type: "application/json",
        answer: made_up(&action.empty_result(), &action.name).to_string(),
    }
}

/// Each value that is not known, by its name.
fn made_up(shape: &Value, name: &str) -> Value {
    match shape {
        Value::Object(members) => members
            .iter()
            .map(|(member, shape)| (member.clone(), made_up(shape, &format!("{name}.{member}"))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => Value::from(format!("<{name}>")),
    }
}

fn path_of(action: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(action.as_bytes()).collect();
    format!("{ACTIONS}{encoded}")
}

/// A request to the stand-in that keeps whatever the action would have kept.
fn in_place_of(action: &ActionSpec, stand_in: SocketAddr) -> Result<HttpSpec, Failure> {
    use crate::config::action::CaptureSource;
    let url = format!("http://{stand_in}{}", path_of(&action.name));
    let origin = Url::parse(&format!("http://{stand_in}")).context("the stand-in's address")?;
    let kept = action.empty_result();
    let kept = kept.as_object().into_iter().flatten();
    Ok(HttpSpec {
        method: Method::POST,
        url: Template::compile_url(&url).context("the stand-in's address")?,
        origin,
        query: Vec::new(),
        headers: Vec::new(),
        body: BodySpec::Empty,
        sign: None,
        success: StatusSet::success(),
        retry: StatusSet::passing(),
        require: BTreeMap::new(),
        capture: kept
            .map(|(name, _)| (name.clone(), CaptureSource::Pointer(format!("/{name}"))))
            .collect(),
        error_pointer: None,
        on_unknown: OnUnknown::Resend,
        max_response_bytes: 64 * 1024,
        allow_private: vec![stand_in.ip().into()],
        allow_http: true,
        secret_url: None,
        is_operation: false,
    })
}

/// See [`PROBE`].
fn probe() -> Result<ActionSpec, Failure> {
    let text = Template::compile(PROBE_TEXT).context("the probe's text")?;
    Ok(ActionSpec {
        name: PROBE.to_owned(),
        effect: Effect::Reply(ReplySpec {
            text,
            on_unknown: OnUnknown::Skip,
        }),
        retry: RetryPolicy::default(),
        timeout: std::time::Duration::from_secs(10),
        concurrency: 1,
        after: Vec::new(),
    })
}

/// Nothing may leave this machine that was not asked for: the last look before anything starts.
fn stays_here(config: &Config, asked: &Asked<'_>) -> Result<(), Failure> {
    let here = Url::parse(&format!("http://{}", asked.stand_in)).context("the stand-in's address")?;
    for endpoint in &config.endpoints {
        let strays = |request: &HttpSpec| request.origin.origin() != here.origin() || request.secret_url.is_some();
        if endpoint.reply.as_ref().is_some_and(|reply| strays(&reply.request)) {
            return Err(Failure::hinted(
                anyhow::anyhow!(
                    "the gateway `{}` has a `[reply]` whose `url` does not begin with `{{{{ base_url }}}}`, so the phone cannot stand in for it",
                    endpoint.gateway.name
                ),
                "write its address as `base_url`, and `url = \"{{ base_url }}/…\"`",
            ));
        }
    }
    let outside = config.actions.values().find(|action| match &action.effect {
        Effect::Http(request) => request.origin.origin() != here.origin() || request.secret_url.is_some(),
        Effect::Connector(_) | Effect::Email(_) => true,
        Effect::Reply(_) | Effect::Log(LogSpec { .. }) => false,
    });
    match outside {
        Some(action) if !asked.live_actions => {
            Err(anyhow::anyhow!("the action `{}` would reach outside; this is a bug", action.name).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_account_needs_is_read_from_the_gateways_file() {
        let reply: Table = "settings = { account = \"the account\" }\nbasic = [\"account\", \"token\"]\n\
                            headers = { Authorization = { credential = \"token\" }, accept = \"text/plain\" }"
            .parse()
            .unwrap();
        assert_eq!(account_of(&reply), ["account", "account", "token", "token"]);
    }

    #[test]
    fn a_made_up_result_has_every_member_by_its_name() {
        let shape = json!({ "id": null, "contact": { "id": null } });
        assert_eq!(
            made_up(&shape, "ticket"),
            json!({ "id": "<ticket.id>", "contact": { "id": "<ticket.contact.id>" } })
        );
    }
}
