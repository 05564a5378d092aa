//! Connectors: `[connector.NAME]` tables and built-in files, and what an action's keys make of one.
//!
//! It must not send anything. Everything that sets one system apart from another stands in its file; here no name of one
//! may turn up.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::Reader;
use super::gateway::first_line;
use super::http::{Credentials, Guard, Names, Spot, TextFile, origin};
use super::knobs::{Knobs, Setting};
use super::quantity;
use crate::config::action::{HeaderSource, OnUnknown, StatusSet};
use crate::config::connector::{
    Closed, ConnectorSpec, EffectClass, ErrorRule, Flow, Hits, ID, Lookup, Meaning, Operation, OperationName, Rate,
    Several, Wait, WaitSource, WaitUnit,
};
use crate::config::file;
use crate::config::tree::{Place, nearest};
use crate::connector::{self, Connector};
use crate::template::{Template, Tree, sample, sparse_sample};

/// A connector: what it says, and where that stands.
pub(super) struct Source {
    pub(super) says: Connector,
    at: SourceAt,
}

enum SourceAt {
    File(Rc<TextFile>),
    Here(Place),
}

impl Source {
    /// The top of it, as used at `place`.
    pub(super) fn spot(&self, place: &Place, names: &Rc<Names>) -> Spot {
        match &self.at {
            SourceAt::File(file) => Spot::file(file, place.clone(), names),
            SourceAt::Here(here) => Spot::named(here.clone(), names),
        }
    }
}

/// The user's own connectors by name; `None` where one has mistakes, which were noted.
pub(super) type OwnConnectors = BTreeMap<String, Option<Rc<Source>>>;

/// Keys that every connector action has; a connector's own must have other names.
pub(super) const ENGINE_KEYS: [&str; 12] = [
    "use",
    "flow",
    "create_contact",
    "several",
    "closed",
    "on_unknown",
    "base_url",
    "allow_http",
    "allow_private",
    "any_host",
    "rate",
    "settle",
];

/// Answers of an operation are lists of what a search found.
const MAX_RESPONSE: usize = 1 << 20;
/// Between an unclear end and the lookup, where the file says nothing.
const SETTLE: Duration = Duration::from_secs(2);

/// A connector action on its way from keys to requests.
pub(super) struct Making<'m> {
    pub(super) source: &'m Source,
    /// Where the action's `connector` stands.
    pub(super) place: &'m Place,
    pub(super) keys: &'m file::Connector,
    pub(super) networks: Vec<IpNet>,
    pub(super) knobs: &'m Knobs,
    /// The base URL as text and its origin, if there is one and what it needs is set.
    pub(super) base: Option<(String, Url)>,
}

impl Making<'_> {
    fn networks_as_text(&self) -> Vec<String> {
        self.networks.iter().map(ToString::to_string).collect()
    }

    pub(super) fn guard(&self) -> Guard<'_> {
        Guard {
            allow_http: self.keys.allow_http,
            allow_private: &self.networks,
        }
    }
}

/// The variants of operations that are used, each with its number if it stands in a list.
type Chosen<'m> = BTreeMap<OperationName, (Option<usize>, &'m connector::Operation)>;

/// `next` of a lookup whose pages are counted.
const NUMBERED_PAGES: &str = "+1";

impl Reader<'_> {
    /// `[connector.NAME]`: a connector's keys, or `file = "…"` with them.
    pub(super) fn own_connectors(&mut self) -> OwnConnectors {
        let section = Place::root().key("connector");
        let names = self.document.keys(&section);
        let read = names.into_iter().map(|name| {
            let own = self.own_connector(&section.key(&name), &name);
            (name, own)
        });
        read.collect()
    }

    fn own_connector(&mut self, place: &Place, name: &str) -> Option<Rc<Source>> {
        self.check_name(place, "a connector", name);
        let file_place = place.key("file");
        let Some(file) = self.document.get(&file_place) else {
            let given = [("name", name), ("title", name)];
            let (says, whole) = self.fill_with::<Connector>(place, &given);
            let at = SourceAt::Here(place.clone());
            return says.filter(|_| whole).map(|says| Rc::new(Source { says, at }));
        };
        let Some(file) = file.get_ref().as_str().map(str::to_owned) else {
            self.error(
                &file_place,
                "expected the path of a connector file",
                "write it in quotes",
            );
            return None;
        };
        if let Some(other) = self.document.keys(place).iter().find(|key| *key != "file") {
            let help = "a connector is described either here or in its file";
            self.error(&place.key(other), "this stands beside `file`", help);
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => self.connector_text(&file_place, &file, text),
            Err(error) => {
                let help = "relative paths start at the working directory";
                let what = format!("the connector file `{file}` cannot be read: {error}");
                self.error(&file_place, what, help);
                None
            }
        }
    }

    fn connector_text(&mut self, place: &Place, file: &str, text: String) -> Option<Rc<Source>> {
        match Connector::from_toml(&text) {
            Ok(says) => {
                let file = TextFile {
                    name: file.to_owned(),
                    text,
                };
                let at = SourceAt::File(Rc::new(file));
                Some(Rc::new(Source { says, at }))
            }
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let what = format!("the connector file `{file}`, line {line}: {}", first_line(&error));
                self.error(
                    place,
                    what,
                    "the keys of a connector file are those of the built-in ones",
                );
                None
            }
        }
    }

    fn connector_source(&mut self, place: &Place, name: &str, own: &OwnConnectors) -> Option<Rc<Source>> {
        match (own.get(name), connector::builtin(name)) {
            (Some(source), _) => source.clone(),
            (None, Some(text)) => self.connector_text(place, &format!("{name}.toml"), text.to_owned()),
            (None, None) => {
                let mut known: Vec<_> = connector::builtin_names().map(str::to_owned).collect();
                known.extend(own.keys().cloned());
                let help = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => format!("describe it in [connector.{name}]"),
                    None => format!("there are: {}; or describe it in [connector.{name}]", known.join(", ")),
                };
                self.error(place, format!("there is no connector `{name}`"), help);
                None
            }
        }
    }

    /// A connector action: `place` is its `connector`, `names` what its templates may use.
    pub(super) fn connector(&mut self, place: &Place, own: &OwnConnectors, names: &Rc<Names>) -> Option<ConnectorSpec> {
        let (keys, whole) = self.fill::<file::Connector>(place);
        let wanted = keys.as_ref().map(|keys| keys.r#use.clone());
        let source = wanted.and_then(|name| self.connector_source(&place.key("use"), &name, own));
        self.hide_secrets(place, source.as_deref());
        let (keys, source) = (keys?, source?);
        let networks = self.networks(&Spot::named(place.key("allow_private"), names), &keys.allow_private);
        if !self.connector_file(place, &source) {
            return None;
        }
        let knobs = self.knobs(place, &source, &keys, &networks, names)?;
        let mut making = Making {
            source: &source,
            place,
            keys: &keys,
            networks,
            knobs: &knobs,
            base: None,
        };
        making.base = self.base_url(&making)?;
        let spec = self.connector_spec(&making)?;
        whole.then_some(spec)
    }

    /// Which keys hold secrets is for the connector to say: where there is none, each may.
    fn hide_secrets(&mut self, place: &Place, source: Option<&Source>) {
        let is_open = |key: &String| {
            let knob = source.and_then(|source| source.says.knobs.get(key));
            ENGINE_KEYS.contains(&key.as_str()) || knob.is_some_and(|knob| !knob.r#type.is_secret())
        };
        let keys = self.document.keys(place);
        self.notes.suspects.extend(keys.into_iter().filter(|key| !is_open(key)));
    }

    fn connector_spec(&mut self, making: &Making<'_>) -> Option<ConnectorSpec> {
        let says = &making.source.says;
        let flow = self.flow(making)?;
        let chosen = chosen(making, flow);
        let create_contact = self.create_contact(making, flow, &chosen)?;
        let members = Members::of(&chosen);
        let names = Rc::new(names(making, &members));
        let root = making.source.spot(making.place, &names);
        let auth = self.auth(making, &root)?;
        let mut operations = BTreeMap::new();
        let mut sound = true;
        for (name, (item, operation)) in &chosen {
            let spot = variant(&root, name.as_str(), *item);
            match self.operation(&spot, making, *name, operation, &auth.headers) {
                Some(operation) => drop(operations.insert(*name, operation)),
                None => sound = false,
            }
        }
        let (rate, waits) = self.rate(making, &root);
        let errors = self.error_rules(&root, &says.error);
        let account = account(making, &chosen);
        let mut secrets = making.knobs.secrets();
        secrets.extend(auth.headers.iter().map(|(_, _, secret)| secret.clone()));
        sound.then(|| ConnectorSpec {
            connector: says.name.clone(),
            title: says.title.clone(),
            flow,
            account,
            knobs: making.knobs.trees(),
            token: auth.token,
            secrets,
            rate,
            waits,
            errors,
            operations,
            create_contact,
            several: match making.keys.several {
                None | Some(file::Several::First) => Several::First,
                Some(file::Several::Fail) => Several::Fail,
            },
            closed: match making.keys.closed {
                None | Some(file::Closed::Reopen) => Closed::Reopen,
                Some(file::Closed::New) => Closed::New,
            },
            contact_members: members.contact,
            ticket_members: members.ticket,
            thread_members: members.thread,
        })
    }

    /// What the user wants done with it; by default the first thing that the file names.
    fn flow(&mut self, making: &Making<'_>) -> Option<Flow> {
        let flows = &making.source.says.flows;
        let Some(typed) = &making.keys.flow else {
            return flows.first().and_then(|word| Flow::from_word(word));
        };
        let flow = Flow::from_word(typed).filter(|_| flows.contains(typed));
        if flow.is_none() {
            let what = format!("`{}` has no flow `{typed}`", making.source.says.name);
            let help = format!("it has: {}", flows.join(", "));
            self.error(&making.place.key("flow"), what, help);
        }
        flow
    }

    /// Whether contacts are created; `None` if an operation that is needed is not there.
    fn create_contact(&mut self, making: &Making<'_>, flow: Flow, chosen: &Chosen<'_>) -> Option<bool> {
        let name = &making.source.says.name;
        let missing: Vec<_> = flow
            .needs()
            .iter()
            .filter(|needed| !chosen.contains_key(needed))
            .collect();
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().map(|name| format!("`{name}`")).collect();
            let what = format!(
                "`{name}` cannot do the flow `{}` with these keys: it lacks {}",
                flow.as_str(),
                missing.join(", ")
            );
            let help = "set the keys of an operation's `when`, or choose another `flow`";
            self.error(&making.place.key("flow"), what, help);
            return None;
        }
        let can = chosen.contains_key(&OperationName::CreateContact);
        if making.keys.create_contact == Some(true) && !can {
            let what = format!("`{name}` cannot create contacts: it lacks `create_contact`");
            self.error(
                &making.place.key("create_contact"),
                what,
                "take it out, or write `false`",
            );
            return None;
        }
        Some(can && making.keys.create_contact != Some(false))
    }

    /// The base URL with what is set in it; `None` after a problem.
    #[expect(clippy::option_option, reason = "wrong, not there, there")]
    fn base_url(&mut self, making: &Making<'_>) -> Option<Option<(String, Url)>> {
        let (spot, text) = match (&making.keys.base_url, &making.source.says.base_url) {
            (Some(typed), _) => (Spot::typed(making.place.key("base_url")), typed.clone()),
            (None, None) => return Some(None),
            (None, Some(pattern)) => {
                let spot = making.source.spot(making.place, &Rc::new(Names::of_messages()));
                // Operations that need it will say so.
                let Some(text) = making.knobs.placed(pattern) else {
                    return Some(None);
                };
                (spot.key("base_url"), text)
            }
        };
        self.plain_url(&spot, &text, &making.guard()).map(Some)
    }

    /// A URL to which paths are appended.
    pub(super) fn plain_url(&mut self, spot: &Spot, text: &str, guard: &Guard<'_>) -> Option<(String, Url)> {
        match origin(text, guard) {
            Ok(_) if text.contains(['{', '}', '?', '#', ' ']) => {
                self.problem(
                    spot,
                    "this is not the plain URL of a server",
                    "write it as \"https://desk.example.com\" or \"https://example.com/desk\"",
                );
                None
            }
            Ok(origin) => Some((text.trim_end_matches('/').to_owned(), origin)),
            Err(refusal) => {
                self.problem(spot, refusal.what(), refusal.help());
                None
            }
        }
    }

    fn operation(
        &mut self,
        spot: &Spot,
        making: &Making<'_>,
        name: OperationName,
        says: &connector::Operation,
        auth: &[AuthHeader],
    ) -> Option<Operation> {
        let parts = Parts::from(says);
        let on_unknown = on_unknown(making, says);
        let request = self.operation_request(spot, making, &parts, auth);
        let hits = self.hits(spot, &parts);
        let effect = self.effect_class(spot, name, says);
        if needs_id(name) && says.id.is_none() {
            self.problem(
                spot,
                "this operation does not say where its `id` is",
                "add `id = \"/id\"`",
            );
        }
        let settle = match (&making.keys.settle, &says.settle) {
            (Some(typed), _) => self.duration(&making.place.key("settle"), Some(typed), SETTLE),
            (None, Some(text)) => self.file_duration(&spot.key("settle"), text).unwrap_or(SETTLE),
            (None, None) => SETTLE,
        };
        let reconcile = self.reconcile(spot, making, says, auth);
        let mut request = request?;
        request.on_unknown = on_unknown;
        let effect = effect?;
        self.check_reconcile(spot, effect, reconcile.len());
        Some(Operation {
            request,
            effect,
            on_unknown,
            settle,
            reconcile,
            hits,
            reopens: says.reopens,
            threads: says.threads,
        })
    }

    fn effect_class(&mut self, spot: &Spot, name: OperationName, says: &connector::Operation) -> Option<EffectClass> {
        use connector::EffectWord;
        let reads = matches!(
            name,
            OperationName::FindContact
                | OperationName::FindOpenTicket
                | OperationName::ReadTicket
                | OperationName::Probe
        );
        let effect = says.effect.or(reads.then_some(EffectWord::Read));
        let key_for = says.key_for.as_deref();
        let key_for = key_for.and_then(|text| self.file_duration(&spot.key("key_for"), text));
        let spot = spot.key("effect");
        match (effect, key_for) {
            (Some(effect), _) if reads && effect != EffectWord::Read => {
                self.problem(&spot, &format!("`{name}` only reads"), "take `effect` out");
                None
            }
            (Some(EffectWord::Read), _) => Some(EffectClass::Read),
            (Some(EffectWord::Keyed), Some(key_for)) => Some(EffectClass::Keyed(key_for)),
            (Some(EffectWord::Keyed), None) => {
                self.problem(&spot, "how long is the key honoured?", "add `key_for = \"2h\"`");
                None
            }
            (Some(EffectWord::Unique), _) => Some(EffectClass::Unique),
            (Some(EffectWord::Reconcilable), _) => Some(EffectClass::Reconcilable),
            (Some(EffectWord::AtMostOnce), _) => Some(EffectClass::AtMostOnce),
            (None, _) => {
                let help = "add `effect`: read, keyed, unique, reconcilable or at_most_once";
                self.problem(
                    &spot,
                    &format!("`{name}` does not say what doing it twice comes to"),
                    help,
                );
                None
            }
        }
    }

    fn check_reconcile(&mut self, spot: &Spot, effect: EffectClass, lookups: usize) {
        let spot = spot.key("reconcile");
        match (effect, lookups) {
            (EffectClass::Reconcilable, 0) => self.problem(
                &spot,
                "there is no lookup for this operation",
                "add a `reconcile`, or another `effect`",
            ),
            (EffectClass::Read | EffectClass::AtMostOnce, 1..) => self.problem(
                &spot,
                &format!("an operation that is `{}` is never looked up", effect.as_str()),
                "take `reconcile` out, or change `effect`",
            ),
            _ => {}
        }
    }

    fn reconcile(
        &mut self,
        spot: &Spot,
        making: &Making<'_>,
        says: &connector::Operation,
        auth: &[AuthHeader],
    ) -> Vec<Lookup> {
        let lookups = says.reconcile.iter().flat_map(connector::OneOrMany::iter);
        let lookups: Vec<_> = lookups.filter(|(_, lookup)| making.knobs.hold(&lookup.when)).collect();
        let mut compiled = Vec::new();
        for (item, lookup) in lookups {
            let spot = spot.key("reconcile");
            let spot = item.map_or_else(|| spot.clone(), |item| spot.item(item));
            compiled.extend(self.lookup(&spot, making, lookup, auth));
        }
        compiled
    }

    fn lookup(
        &mut self,
        spot: &Spot,
        making: &Making<'_>,
        says: &connector::Lookup,
        auth: &[AuthHeader],
    ) -> Option<Lookup> {
        let parts = Parts::from(says);
        if !matches!(says.method.as_deref(), Some("GET" | "POST")) {
            let help = "write `method = \"GET\"`, or \"POST\" for a search";
            self.problem(&spot.key("method"), "a lookup must only read", help);
        }
        if says.id.is_none() {
            self.problem(spot, "this lookup does not say where its `id` is", "add `id = \"/id\"`");
        }
        if let Some(next) = says.next.as_ref().filter(|next| *next != NUMBERED_PAGES) {
            self.pointer(&spot.key("next"), next);
        }
        let hits = self.hits(spot, &parts);
        for pointer in says.contains.keys() {
            self.pointer(&spot.key("contains").key(pointer), pointer);
        }
        let contains = self.templates(&spot.key("contains"), &says.contains);
        let request = self.operation_request(spot, making, &parts, auth)?;
        Some(Lookup {
            request,
            hits,
            contains,
            next: says.next.clone(),
            each: says.each.filter(|&each| each > 0),
        })
    }

    fn operation_request(
        &mut self,
        spot: &Spot,
        making: &Making<'_>,
        parts: &Parts<'_>,
        auth: &[AuthHeader],
    ) -> Option<crate::config::HttpSpec> {
        let (url, origin, secret_url) = self.target(spot, making, parts)?;
        let shared = making.source.spot(making.place, &spot.names()).key("headers");
        let shared = self.headers(&shared, &rendered(&making.source.says.headers), &Credentials::new());
        let typed = parts.request(making);
        let networks = making.networks.clone();
        let mut request = self.request_to(spot, Some((url, origin)), networks, typed, &Credentials::new())?;
        let own: Vec<HeaderName> = request.headers.iter().map(|(name, _)| name.clone()).collect();
        let shared = shared.into_iter().filter(|(name, _)| !own.contains(name));
        request.headers.extend(shared);
        request.headers.extend(auth.iter().map(|(name, prefix, secret)| {
            let source = HeaderSource::Secret {
                prefix: prefix.clone(),
                secret: secret.clone(),
            };
            (name.clone(), source)
        }));
        request.secret_url = secret_url;
        request.is_operation = true;
        request.max_response_bytes = MAX_RESPONSE;
        Some(request)
    }

    /// Where a request goes: the base URL and a path, or a URL that is itself a secret.
    fn target(
        &mut self,
        spot: &Spot,
        making: &Making<'_>,
        parts: &Parts<'_>,
    ) -> Option<(Template, Url, Option<SecretString>)> {
        match (parts.path, parts.secret_url) {
            (Some(path), None) => {
                let (url, origin) = self.path_after_base(&spot.key("path"), making, path)?;
                Some((url, origin, None))
            }
            (None, Some(knob)) => match making.knobs.get(knob) {
                Some(Setting::SecretUrl(secret, origin)) => {
                    let url = Template::compile_url(origin.as_str()).ok()?;
                    Some((url, origin.clone(), Some(secret.clone())))
                }
                _ if making.source.says.knobs.contains_key(knob) => {
                    self.error(
                        making.place,
                        format!("`{knob}` is missing"),
                        format!("add `{knob} = {{ env = \"NAME\" }}`"),
                    );
                    None
                }
                _ => {
                    self.problem(
                        &spot.key("secret_url"),
                        &format!("there is no knob `{knob}`"),
                        "name one of type `secret_url`",
                    );
                    None
                }
            },
            _ => {
                self.problem(
                    spot,
                    "where does this request go?",
                    "give it one of `path` and `secret_url`",
                );
                None
            }
        }
    }

    /// A path template after the base URL.
    pub(super) fn path_after_base(&mut self, spot: &Spot, making: &Making<'_>, path: &str) -> Option<(Template, Url)> {
        if !path.is_empty() && !path.starts_with('/') {
            self.problem(spot, "a path begins with `/`", "it is appended to `base_url`");
            return None;
        }
        self.tried(spot, Template::compile_url(path), Template::check)?;
        let Some((base, origin)) = &making.base else {
            let name = &making.source.says.name;
            let what = format!("`{name}` needs to know the server");
            self.error(making.place, what, making.knobs.server_help(&making.source.says));
            return None;
        };
        let url = Template::compile_url(&format!("{base}{path}")).ok()?;
        Some((url, origin.clone()))
    }

    fn hits(&mut self, spot: &Spot, parts: &Parts<'_>) -> Hits {
        let pointers = [("items", parts.items), ("id", parts.id), ("newest", parts.newest)];
        for (key, pointer) in pointers {
            if let Some(pointer) = pointer {
                self.pointer(&spot.key(key), pointer);
            }
        }
        for (item, pointer) in parts.phones.iter().enumerate() {
            self.pointer(&spot.key("phones").item(item), pointer);
        }
        for (name, pointer) in parts.keep {
            self.pointer(&spot.key("keep").key(name), pointer);
        }
        let mut filter = Vec::new();
        for (pointer, value) in parts.r#where {
            let spot = spot.key("where").key(pointer);
            self.pointer(&spot, pointer);
            let compiled = Tree::compile(&super::http::json(value.clone()));
            filter.extend(
                self.tried(&spot, compiled, Tree::check)
                    .map(|tree| (pointer.clone(), tree)),
            );
        }
        Hits {
            items: parts.items.map(str::to_owned),
            id: parts.id.map(str::to_owned),
            phones: parts.phones.to_vec(),
            newest: parts.newest.map(str::to_owned),
            keep: parts
                .keep
                .iter()
                .map(|(name, pointer)| (name.clone(), pointer.clone()))
                .collect(),
            filter,
        }
    }

    pub(super) fn file_duration(&mut self, spot: &Spot, text: &str) -> Option<Duration> {
        let duration = quantity::duration(text);
        if duration.is_none() {
            self.problem(
                spot,
                &format!("`{text}` is not a duration above zero"),
                "write it as \"2s\" or \"2h\"",
            );
        }
        duration
    }

    fn rate(&mut self, making: &Making<'_>, root: &Spot) -> (Option<Rate>, Vec<Wait>) {
        let says = &making.source.says.rate;
        let spot = root.key("rate");
        let mut waits = Vec::new();
        for (item, wait) in says.waits.iter().enumerate() {
            let spot = spot.key("waits").item(item);
            let (source, unit) = match wait {
                connector::Wait::Header(wait) => {
                    (self.header_name(&spot, &wait.header).map(WaitSource::Header), wait.unit)
                }
                connector::Wait::Pointer(wait) => {
                    self.pointer(&spot, &wait.pointer);
                    (Some(WaitSource::Pointer(wait.pointer.clone())), wait.unit)
                }
            };
            waits.extend(source.map(|source| Wait {
                source,
                unit: unit.into(),
            }));
        }
        let rate = match (&making.keys.rate, says.requests, &says.per) {
            (Some(typed), ..) => {
                let place = making.place.key("rate");
                Some(Rate {
                    requests: self.count(&place.key("requests"), Some(typed.requests), 1),
                    per: self.duration(&place.key("per"), Some(&typed.per), Duration::from_secs(1)),
                })
            }
            (None, Some(requests @ 1..), Some(per)) => self
                .file_duration(&spot.key("per"), per)
                .map(|per| Rate { requests, per }),
            (None, None, None) => None,
            _ => {
                let help = "write `requests = 100` and `per = \"1m\"`";
                self.problem(&spot, "a rate is so many requests within so long", help);
                None
            }
        };
        (rate, waits)
    }

    fn error_rules(&mut self, root: &Spot, says: &[connector::ErrorRule]) -> Vec<ErrorRule> {
        let mut rules = Vec::new();
        for (item, rule) in says.iter().enumerate() {
            let spot = root.key("error").item(item);
            if let Some(pointer) = &rule.pointer {
                self.pointer(&spot.key("pointer"), pointer);
            }
            if rule.pointer.is_some() == rule.equals.is_empty() {
                self.problem(&spot, "`pointer` and `equals` go together", "add the other one");
            }
            let after = rule.after.as_deref();
            let after = after.and_then(|text| self.file_duration(&spot.key("after"), text));
            rules.push(ErrorRule {
                status: StatusSet::of(rule.status.clone()),
                operations: rule
                    .operations
                    .iter()
                    .filter_map(|word| OperationName::from_word(word))
                    .collect(),
                equals: rule.pointer.clone().map(|pointer| (pointer, rule.equals.clone())),
                contains: rule.contains.clone(),
                means: rule.means.into(),
                after,
            });
        }
        rules
    }

    pub(super) fn header_name(&mut self, spot: &Spot, name: &str) -> Option<HeaderName> {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        if header.is_none() {
            self.problem(spot, "this is not the name of a header", "use letters, digits and `-`");
        }
        header
    }
}

/// A header that proves who we are: name, text before the secret, the secret.
pub(super) type AuthHeader = (HeaderName, String, SecretString);

/// The variant of each operation of the flow that fits what is set.
fn chosen<'m>(making: &Making<'m>, flow: Flow) -> Chosen<'m> {
    let source: &'m Source = making.source;
    let wanted = flow.operations().iter().chain(&[OperationName::Probe]);
    let found = wanted.filter_map(|name| {
        let mut variants = source.says.operation.get(name.as_str())?.iter();
        let variant = variants.find(|(_, variant)| making.knobs.hold(&variant.when))?;
        Some((*name, variant))
    });
    found.collect()
}

/// Where a variant of an operation stands.
pub(super) fn variant(root: &Spot, name: &str, item: Option<usize>) -> Spot {
    let spot = root.key("operation").key(name);
    item.map_or_else(|| spot.clone(), |item| spot.item(item))
}

/// Without these IDs a flow cannot go on.
const fn needs_id(name: OperationName) -> bool {
    matches!(
        name,
        OperationName::FindContact
            | OperationName::CreateContact
            | OperationName::FindOpenTicket
            | OperationName::CreateTicket
    )
}

/// The user's word, else the file's, else once more: a note too many is better than a text that is lost.
fn on_unknown(making: &Making<'_>, says: &connector::Operation) -> OnUnknown {
    let of_file = says.on_unknown.map(|word| match word {
        connector::UnknownWord::Resend => OnUnknown::Resend,
        connector::UnknownWord::Skip => OnUnknown::Skip,
        connector::UnknownWord::Hold => OnUnknown::Hold,
    });
    let of_user = making.keys.on_unknown.map(OnUnknown::from);
    of_user.or(of_file).unwrap_or(OnUnknown::Resend)
}

/// What templates may use of the things that are remembered.
struct Members {
    contact: Vec<String>,
    ticket: Vec<String>,
    thread: Vec<String>,
}

impl Members {
    fn of(chosen: &Chosen<'_>) -> Self {
        let kept = |names: &[OperationName]| {
            let mut members = vec![ID.to_owned()];
            for (_, operation) in names.iter().filter_map(|name| chosen.get(name)) {
                let lookups = operation.reconcile.iter().flat_map(connector::OneOrMany::iter);
                let lookups = lookups.flat_map(|(_, lookup)| lookup.keep.keys());
                for name in operation.keep.keys().chain(lookups) {
                    if !members.contains(name) {
                        members.push(name.clone());
                    }
                }
            }
            members
        };
        Self {
            contact: kept(&[OperationName::FindContact, OperationName::CreateContact]),
            ticket: kept(&[
                OperationName::FindOpenTicket,
                OperationName::ReadTicket,
                OperationName::CreateTicket,
                OperationName::AppendToTicket,
                OperationName::ReopenTicket,
            ]),
            thread: kept(&[OperationName::Notify]),
        }
    }
}

/// What the file's templates may use: everything there, and everything missing that may be.
fn names(making: &Making<'_>, members: &Members) -> Names {
    use serde_json::{Value, json};
    let given = |names: &[String]| -> Value { names.iter().map(|name| (name.clone(), json!("1"))).collect() };
    let missing = |names: &[String]| -> Value { names.iter().map(|name| (name.clone(), Value::Null)).collect() };
    let all = sample()
        .with("knob", making.knobs.sampled(&making.source.says, &sample(), true))
        .with("contact", given(&members.contact))
        .with("ticket", given(&members.ticket))
        .with("previous", given(&members.ticket))
        .with("thread", given(&members.thread))
        .with(
            "phone",
            json!({ "e164": "+14155550100", "digits": "14155550100", "national": "4155550100" }),
        )
        .with("key", json!("smshook-018d5f5e000070008000000000000000-1-create_ticket"))
        .with("marker", json!("abcdefghijklmnopqrstuvwxyz"))
        .with("today", json!("2026-01-31"))
        .with("page", json!("2"))
        .with("found", json!(["1", "2"]));
    let sparse = sparse_sample()
        .with(
            "knob",
            making.knobs.sampled(&making.source.says, &sparse_sample(), false),
        )
        .with("contact", missing(&members.contact))
        .with("ticket", missing(&members.ticket))
        .with("previous", missing(&members.ticket))
        .with("thread", missing(&members.thread))
        .with("phone", json!({ "e164": null, "digits": null, "national": null }))
        .with("key", json!("smshook-018d5f5e000070008000000000000000-1-create_ticket"))
        .with("marker", json!("abcdefghijklmnopqrstuvwxyz"))
        .with("today", json!("2026-01-31"))
        .with("page", Value::Null)
        .with("found", json!([]));
    Names {
        all,
        sparse: Some(sparse),
        must_be_complete: true,
    }
}

/// What is remembered of one account must not be used with another: this stands for it, and does not tell what it is.
fn account(making: &Making<'_>, chosen: &Chosen<'_>) -> String {
    let mut parts = vec![making.source.says.name.clone()];
    if chosen.values().any(|(_, operation)| operation.path.is_some()) {
        parts.extend(making.base.as_ref().map(|(base, _)| base.clone()));
    }
    for knob in chosen
        .values()
        .filter_map(|(_, operation)| operation.secret_url.as_deref())
    {
        if let Some(Setting::SecretUrl(secret, _)) = making.knobs.get(knob) {
            let hashed = hex::encode(Sha256::digest(secret.expose_secret()));
            if !parts.contains(&hashed) {
                parts.push(hashed);
            }
        }
    }
    parts.extend(making.knobs.of_account(&making.source.says));
    let text = serde_json::Value::from(parts).to_string();
    hex::encode(Sha256::digest(text))
}

/// What an operation and a lookup have in common.
struct Parts<'a> {
    method: Option<&'a str>,
    path: Option<&'a str>,
    secret_url: Option<&'a str>,
    query: &'a BTreeMap<String, String>,
    headers: &'a BTreeMap<String, String>,
    json: Option<&'a toml::Value>,
    form: Option<&'a BTreeMap<String, String>>,
    body: Option<&'a str>,
    content_type: Option<&'a str>,
    success: Option<&'a [connector::Statuses]>,
    require: &'a BTreeMap<String, toml::Value>,
    items: Option<&'a str>,
    id: Option<&'a str>,
    phones: &'a [String],
    newest: Option<&'a str>,
    r#where: &'a BTreeMap<String, toml::Value>,
    keep: &'a BTreeMap<String, String>,
}

macro_rules! parts_from {
    ($($said:ty),+) => {
        $(impl<'a> From<&'a $said> for Parts<'a> {
            fn from(said: &'a $said) -> Self {
                Self {
                    method: said.method.as_deref(),
                    path: said.path.as_deref(),
                    secret_url: said.secret_url.as_deref(),
                    query: &said.query,
                    headers: &said.headers,
                    json: said.json.as_ref(),
                    form: said.form.as_ref(),
                    body: said.body.as_deref(),
                    content_type: said.content_type.as_deref(),
                    success: said.success.as_deref(),
                    require: &said.require,
                    items: said.items.as_deref(),
                    id: said.id.as_deref(),
                    phones: &said.phones,
                    newest: said.newest.as_deref(),
                    r#where: &said.r#where,
                    keep: &said.keep,
                }
            }
        })+
    };
}

parts_from!(connector::Operation, connector::Lookup);

impl Parts<'_> {
    /// The same as a request of an `http` action, but for where it goes.
    fn request(&self, making: &Making<'_>) -> file::Request {
        file::Request {
            method: self.method.map(str::to_owned),
            query: self.query.clone(),
            headers: rendered(self.headers),
            json: self.json.cloned(),
            form: self.form.cloned(),
            body: self.body.map(str::to_owned),
            content_type: self.content_type.map(str::to_owned),
            success: self.success.map(<[_]>::to_vec),
            require: self.require.clone(),
            allow_private: making.networks_as_text(),
            allow_http: making.keys.allow_http,
            ..file::Request::default()
        }
    }
}

fn rendered(headers: &BTreeMap<String, String>) -> BTreeMap<String, file::Header> {
    let headers = headers.iter();
    headers
        .map(|(name, source)| (name.clone(), file::Header::Rendered(source.clone())))
        .collect()
}

impl From<connector::UnitWord> for WaitUnit {
    fn from(word: connector::UnitWord) -> Self {
        match word {
            connector::UnitWord::Seconds => Self::Seconds,
            connector::UnitWord::Milliseconds => Self::Milliseconds,
            connector::UnitWord::Unix => Self::Unix,
        }
    }
}

impl From<connector::MeaningWord> for Meaning {
    fn from(word: connector::MeaningWord) -> Self {
        match word {
            connector::MeaningWord::Retry => Self::Retry,
            connector::MeaningWord::Auth => Self::Auth,
            connector::MeaningWord::Gone => Self::Gone,
            connector::MeaningWord::Closed => Self::Closed,
            connector::MeaningWord::Exists => Self::Exists,
            connector::MeaningWord::Unknown => Self::Unknown,
            connector::MeaningWord::Refused => Self::Refused,
        }
    }
}
