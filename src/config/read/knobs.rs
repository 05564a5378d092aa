//! A connector's knobs: what the user set, checked against what the connector's file says of each, and the file's own
//! consistency.
//!
//! Secrets stay secrets here: they reach neither a template nor a problem's text.

use std::collections::BTreeMap;
use std::rc::Rc;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::Reader;
use super::connector::{ENGINE_KEYS, Source, variant};
use super::http::{Guard, Names, Spot, json as json_of, origin, private_address};
use crate::config::connector::{Flow, OperationName};
use crate::config::file;
use crate::config::tree::{Place, nearest};
use crate::connector::{Connector, Knob, KnobType, OneOrMany, WhenValue};
use crate::template::{Context, Tree};

/// What knobs are set to.
pub(super) struct Knobs {
    set: BTreeMap<String, Setting>,
    /// Every knob that templates may name, set or not.
    open: Vec<String>,
}

/// The value of one.
pub(super) enum Setting {
    /// A label, a URL or a text.
    Text(String),
    Int(i64),
    Bool(bool),
    /// Templates: as typed, and compiled.
    Value(Value, Tree),
    Secret(SecretString),
    /// A URL that is a secret, with its origin.
    SecretUrl(SecretString, Url),
}

impl KnobType {
    pub(super) const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretUrl)
    }
}

impl Setting {
    /// What is fixed, as JSON; secrets and templates are not.
    fn fixed(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(json!(text)),
            Self::Int(number) => Some(json!(number)),
            Self::Bool(value) => Some(json!(value)),
            Self::Value(..) | Self::Secret(_) | Self::SecretUrl(..) => None,
        }
    }
}

impl Knobs {
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.set.get(name)
    }

    /// Whether a knob is set; one of type `bool`: to true.
    pub(super) fn is_set(&self, name: &str) -> bool {
        match self.set.get(name) {
            Some(Setting::Bool(value)) => *value,
            setting => setting.is_some(),
        }
    }

    /// Whether all of this holds.
    pub(super) fn hold(&self, when: &BTreeMap<String, WhenValue>) -> bool {
        when.iter().all(|(name, wanted)| match (wanted, self.set.get(name)) {
            (WhenValue::Set(wanted), _) => self.is_set(name) == *wanted,
            (WhenValue::Is(wanted), Some(Setting::Text(text))) => text == wanted,
            (WhenValue::Is(_), _) => false,
        })
    }

    /// A base URL with its `{knob}`s filled in; `None` if one is not set.
    pub(super) fn placed(&self, pattern: &str) -> Option<String> {
        let mut text = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let Some(Setting::Text(value)) = self.set.get(name) else {
                return None;
            };
            text.push_str(before);
            text.push_str(value.trim_end_matches('/'));
            rest = after;
        }
        text.push_str(rest);
        Some(text)
    }

    /// What to set so that there is a server to send to.
    pub(super) fn server_help(&self, says: &Connector) -> String {
        let pattern = says.base_url.as_deref().unwrap_or_default();
        let missing = says
            .knobs
            .iter()
            .find(|(name, _)| pattern.contains(&format!("{{{name}}}")) && !self.set.contains_key(*name));
        missing.map_or_else(
            || "add `base_url = \"https://…\"`".to_owned(),
            |(name, knob)| help_of(name, knob),
        )
    }

    /// Values for templates, secrets left out, null where nothing is set.
    pub(super) fn trees(&self) -> Vec<(String, Tree)> {
        let tree = |name: &String| {
            let tree = match self.set.get(name) {
                // It compiled before.
                Some(Setting::Value(source, _)) => Tree::compile(source).unwrap_or(Tree::Fixed(Value::Null)),
                setting => Tree::Fixed(setting.and_then(Setting::fixed).unwrap_or_default()),
            };
            (name.clone(), tree)
        };
        self.open.iter().map(tree).collect()
    }

    /// All secrets that are set.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        self.named_secrets().into_iter().map(|(_, secret)| secret).collect()
    }

    /// The same with their names.
    pub(super) fn named_secrets(&self) -> Vec<(String, SecretString)> {
        let secrets = self.set.iter().filter_map(|(name, setting)| match setting {
            Setting::Secret(secret) | Setting::SecretUrl(secret, _) => Some((name.clone(), secret.clone())),
            _ => None,
        });
        secrets.collect()
    }

    /// Values to try templates with: what is set, else made up or null.
    pub(super) fn sampled(&self, says: &Connector, context: &Context, made_up: bool) -> Value {
        let value = |name: &String| match self.set.get(name) {
            Some(Setting::Value(_, tree)) => tree.render(context).unwrap_or_default(),
            Some(setting) => setting.fixed().unwrap_or_default(),
            None if made_up => says.knobs.get(name).map(made_up_value).unwrap_or_default(),
            None => Value::Null,
        };
        self.open.iter().map(|name| (name.clone(), value(name))).collect()
    }

    /// What of the knobs chooses the account, as texts.
    pub(super) fn of_account(&self, says: &Connector) -> Vec<String> {
        let chooses = |knob: &Knob| knob.account || matches!(knob.r#type, KnobType::Label | KnobType::Url);
        let chosen = says.knobs.iter().filter(|(_, knob)| chooses(knob));
        chosen
            .filter_map(|(name, _)| Some(format!("{name}={}", self.set.get(name)?.fixed()?)))
            .collect()
    }

    /// A text with `{{ knob.… }}` and `{{ secret.… }}` in it, and where the first secret begins. No template: what it
    /// holds may be a secret. The name of what is not set or there is not.
    pub(super) fn filled(&self, text: &str) -> Result<(String, usize), String> {
        let mut out = String::new();
        let mut first_secret = None;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").unwrap_or((after, ""));
            let name = name.trim();
            out.push_str(before);
            let setting = |name: &str| self.set.get(name);
            match (name.split_once('.'), name) {
                (Some(("secret", knob)), _) => match setting(knob) {
                    Some(Setting::Secret(secret)) => {
                        first_secret.get_or_insert(out.len());
                        out.push_str(secret.expose_secret());
                    }
                    _ => return Err(name.to_owned()),
                },
                (Some(("knob", knob)), _) => match setting(knob).and_then(Setting::fixed) {
                    Some(Value::String(text)) => out.push_str(&text),
                    Some(value) => out.push_str(&value.to_string()),
                    None => return Err(name.to_owned()),
                },
                _ => return Err(name.to_owned()),
            }
            rest = after;
        }
        out.push_str(rest);
        let first_secret = first_secret.unwrap_or(out.len());
        Ok((out, first_secret))
    }
}

fn made_up_value(knob: &Knob) -> Value {
    match knob.r#type {
        KnobType::Url => json!("https://example.com"),
        KnobType::Int => json!(1),
        KnobType::Bool => json!(true),
        KnobType::Text => json!(knob.choices.first().map_or("text", String::as_str)),
        KnobType::Label | KnobType::Value | KnobType::Secret | KnobType::SecretUrl => json!("text"),
    }
}

fn help_of(name: &str, knob: &Knob) -> String {
    match &knob.help {
        Some(help) => format!("add `{name} = …`: {help}"),
        None => format!("add `{name} = …`"),
    }
}

/// Everything that a knob's value is checked with.
struct Setter<'s> {
    source: &'s Source,
    keys: &'s file::Connector,
    networks: &'s [IpNet],
    names: &'s Rc<Names>,
}

impl Reader<'_> {
    /// What the knobs are set to; `None` after a problem with one.
    pub(super) fn knobs(
        &mut self,
        place: &Place,
        source: &Source,
        keys: &file::Connector,
        networks: &[IpNet],
        names: &Rc<Names>,
    ) -> Option<Knobs> {
        let setter = Setter {
            source,
            keys,
            networks,
            names,
        };
        let says = &source.says;
        let mut sound = self.known_keys(place, says);
        let mut set = BTreeMap::new();
        for (name, knob) in &says.knobs {
            let at = place.key(name);
            let setting = if self.document.get(&at).is_some() {
                self.setting(&setter, &at, name, knob)
            } else if let Some(default) = &knob.default {
                let spot = source.spot(place, &Rc::new(Names::of_messages()));
                self.default_setting(&spot.key("knobs").key(name).key("default"), knob, default)
            } else {
                if knob.required {
                    self.error(place, format!("`{}` needs `{name}`", says.name), help_of(name, knob));
                    sound = false;
                }
                continue;
            };
            match setting {
                Some(setting) => drop(set.insert(name.clone(), setting)),
                None => sound = false,
            }
        }
        let open = says.knobs.iter().filter(|(_, knob)| !knob.r#type.is_secret());
        let open = open.map(|(name, _)| name.clone()).collect();
        sound.then_some(Knobs { set, open })
    }

    /// Notes keys that are neither the engine's nor the connector's.
    fn known_keys(&mut self, place: &Place, says: &Connector) -> bool {
        let mut sound = true;
        for key in self.document.keys(place) {
            if ENGINE_KEYS.contains(&key.as_str()) || says.knobs.contains_key(&key) {
                continue;
            }
            let known = || says.knobs.keys().map(String::as_str).chain(ENGINE_KEYS);
            let help = match nearest(&key, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys here: {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.error_at_key(place, &key, format!("unknown key `{key}`"), help);
            sound = false;
        }
        sound
    }

    fn setting(&mut self, setter: &Setter<'_>, at: &Place, name: &str, knob: &Knob) -> Option<Setting> {
        match knob.r#type {
            KnobType::Label => {
                let text = self.fill::<String>(at).0?;
                if !is_label(&text) {
                    let help = knob.help.as_deref().unwrap_or("use 1 to 63 of a-z, 0-9 and `-`");
                    self.error(at, "this is not one label of a host name", help);
                    return None;
                }
                Some(Setting::Text(text))
            }
            KnobType::Url => {
                let text = self.fill::<String>(at).0?;
                let guard = Guard {
                    allow_http: setter.keys.allow_http,
                    allow_private: setter.networks,
                };
                let (text, _) = self.plain_url(&Spot::named(at.clone(), setter.names), &text, &guard)?;
                Some(Setting::Text(text))
            }
            KnobType::Text => {
                let text = self.fill::<String>(at).0?;
                self.choice(at, &text, &knob.choices).then_some(Setting::Text(text))
            }
            KnobType::Int => self.fill::<i64>(at).0.map(Setting::Int),
            KnobType::Bool => self.fill::<bool>(at).0.map(Setting::Bool),
            KnobType::Value => {
                let value = json_of(self.fill::<toml::Value>(at).0?);
                let compiled = Tree::compile(&value);
                let tree = self.tried(&Spot::named(at.clone(), setter.names), compiled, Tree::check)?;
                Some(Setting::Value(value, tree))
            }
            KnobType::Secret => {
                let secret = self.fill::<file::Secret>(at).0?;
                self.secret(at, &secret).map(|(_, secret)| Setting::Secret(secret))
            }
            KnobType::SecretUrl => {
                let secret = self.fill::<file::Secret>(at).0?;
                let (_, secret) = self.secret(at, &secret)?;
                let origin = self.secret_origin(setter, at, name, &secret, knob)?;
                Some(Setting::SecretUrl(secret, origin))
            }
        }
    }

    fn choice(&mut self, at: &Place, text: &str, choices: &[String]) -> bool {
        if choices.is_empty() || choices.iter().any(|choice| choice == text) {
            return true;
        }
        let help = match nearest(text, choices.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", choices.join(", ")),
        };
        self.error(at, "this is not one of the choices", help);
        false
    }

    /// The origin of a URL that is a secret; nothing of it is repeated.
    fn secret_origin(
        &mut self,
        setter: &Setter<'_>,
        at: &Place,
        name: &str,
        secret: &SecretString,
        knob: &Knob,
    ) -> Option<Url> {
        let guard = Guard {
            allow_http: setter.keys.allow_http,
            allow_private: setter.networks,
        };
        let url = secret.expose_secret();
        let origin = match origin(url, &guard) {
            Ok(origin) if Url::parse(url).is_ok() && !url.contains(['#', ' ']) => origin,
            Ok(_) => {
                self.error(at, "this is not a URL", "copy it from the other side again");
                return None;
            }
            Err(refusal) => {
                self.error(at, refusal.what(), refusal.help());
                return None;
            }
        };
        let host = origin.host()?;
        let is_ours = private_address(&host).is_some();
        let host = host.to_string();
        if is_ours || setter.keys.any_host || knob.hosts.iter().any(|pattern| is_host(pattern, &host)) {
            return Some(origin);
        }
        let title = &setter.source.says.title;
        let what = format!("`{name}` does not lead to a host of {title}");
        let help = format!(
            "its hosts are {}; if that is meant, add `any_host = true`",
            knob.hosts.join(", ")
        );
        self.error(at, what, help);
        None
    }

    fn default_setting(&mut self, spot: &Spot, knob: &Knob, default: &toml::Value) -> Option<Setting> {
        let setting = match (knob.r#type, default) {
            (KnobType::Label, toml::Value::String(text)) if is_label(text) => Some(Setting::Text(text.clone())),
            (KnobType::Url, toml::Value::String(text)) => {
                let guard = Guard {
                    allow_http: false,
                    allow_private: &[],
                };
                return self.plain_url(spot, text, &guard).map(|(text, _)| Setting::Text(text));
            }
            (KnobType::Text, toml::Value::String(text)) if knob.choices.is_empty() || knob.choices.contains(text) => {
                Some(Setting::Text(text.clone()))
            }
            (KnobType::Int, toml::Value::Integer(number)) => Some(Setting::Int(*number)),
            (KnobType::Bool, toml::Value::Boolean(value)) => Some(Setting::Bool(*value)),
            (KnobType::Value, value) => {
                let value = json_of(value.clone());
                let tree = self.tried(spot, Tree::compile(&value), Tree::check)?;
                Some(Setting::Value(value, tree))
            }
            _ => None,
        };
        if setting.is_none() {
            self.problem(spot, "this default does not fit the knob's type", "secrets have none");
        }
        setting
    }

    /// What can be said of a connector's file whatever a user sets.
    pub(super) fn connector_file(&mut self, place: &Place, source: &Source) -> bool {
        let before = self.notes.found.len();
        let says = &source.says;
        let root = source.spot(place, &Rc::new(Names::of_messages()));
        if says.flows.is_empty() {
            self.problem(&root.key("flows"), "there is no flow", "name attach, ticket or notify");
        }
        for (item, word) in says.flows.iter().enumerate() {
            if Flow::from_word(word).is_none() {
                let spot = root.key("flows").item(item);
                self.problem(
                    &spot,
                    &format!("there is no flow `{word}`"),
                    "use attach, ticket and notify",
                );
            }
        }
        let pattern = says.base_url.as_deref().unwrap_or_default();
        for name in pattern.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            let knob = says.knobs.get(name).map(|knob| knob.r#type);
            if !matches!(knob, Some(KnobType::Label | KnobType::Url)) {
                let what = format!("`{{{name}}}` is no knob of type `label` or `url`");
                self.problem(&root.key("base_url"), &what, "a text may not choose the server");
            }
        }
        for (name, knob) in &says.knobs {
            self.knob_definition(&root.key("knobs").key(name), name, knob);
        }
        for (item, auth) in says.auth.iter().enumerate() {
            let spot = root.key("auth").item(item);
            self.auth_definition(&spot, auth);
            self.knob_names(&spot.key("when"), says, auth.when.iter());
        }
        for (name, variants) in &says.operation {
            self.operation_name(&root.key("operation").key(name), name);
            for (item, operation) in variants.iter() {
                let spot = variant(&root, name, item);
                self.knob_names(&spot.key("when"), says, operation.when.keys());
                for (_, lookup) in operation.reconcile.iter().flat_map(OneOrMany::iter) {
                    self.knob_names(&spot.key("reconcile"), says, lookup.when.keys());
                }
            }
        }
        for (item, rule) in says.error.iter().enumerate() {
            for word in &rule.operations {
                self.operation_name(&root.key("error").item(item).key("operations"), word);
            }
        }
        self.notes.found.len() == before
    }

    fn operation_name(&mut self, spot: &Spot, word: &str) {
        if OperationName::from_word(word).is_none() {
            let known = OperationName::ALL.map(OperationName::as_str);
            let help = match nearest(word, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            self.problem(spot, &format!("there is no operation `{word}`"), &help);
        }
    }

    fn knob_names<'n>(&mut self, spot: &Spot, says: &Connector, names: impl Iterator<Item = &'n String>) {
        for name in names.filter(|name| !says.knobs.contains_key(*name)) {
            self.problem(spot, &format!("there is no knob `{name}`"), "describe it in [knobs]");
        }
    }

    fn knob_definition(&mut self, spot: &Spot, name: &str, knob: &Knob) {
        if ENGINE_KEYS.contains(&name) {
            self.problem(
                spot,
                "every connector action has this key already",
                "give the knob another name",
            );
        }
        if !knob.choices.is_empty() && knob.r#type != KnobType::Text {
            self.problem(
                &spot.key("choices"),
                "`choices` are for knobs of type `text`",
                "take them out",
            );
        }
        if (knob.r#type == KnobType::SecretUrl) == knob.hosts.is_empty() {
            self.problem(
                spot,
                "`hosts` go with the type `secret_url`",
                "say where such a URL may lead",
            );
        }
        if knob.account && (knob.r#type.is_secret() || knob.r#type == KnobType::Value) {
            let help = "an account is chosen by what stays the same: use type text, int or bool";
            self.problem(&spot.key("account"), "this type cannot choose the account", help);
        }
        if knob.required && knob.default.is_some() {
            self.problem(&spot.key("required"), "this has a default", "take one of them out");
        }
    }
}

/// `[a-z0-9-]{1,63}`, not beginning or ending with `-` (RFC 1035, section 2.3.1, with digits first as well).
pub(super) fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a host is the one named, or ends as `*.` says.
fn is_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_one_part_of_a_host_name() {
        for label in ["a", "acme-2", "0", &"x".repeat(63)] {
            assert!(is_label(label), "{label}");
        }
        for other in ["", "-a", "a-", "Acme", "a.b", "a/b", "a_b", "ä", "a b", &"x".repeat(64)] {
            assert!(!is_label(other), "{other}");
        }
    }

    #[test]
    fn hosts_are_named_whole_or_by_their_end() {
        assert!(is_host("hooks.example.com", "hooks.example.com"));
        assert!(is_host("*.example.com", "a.b.example.com"));
        for host in [
            "example.com",
            ".example.com",
            "notexample.com",
            "example.com.evil.example",
        ] {
            assert!(!is_host("*.example.com", host), "{host}");
        }
        assert!(!is_host("hooks.example.com", "x.hooks.example.com"));
    }
}
