//! How an endpoint answers a sender: the request of its gateway's file with the endpoint's account and server in it.
//!
//! Settings become plain text of the request here, once; no message can change them, and they cannot change where it goes.

use std::collections::{BTreeMap, BTreeSet};

use http::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Reader;
use super::auth::BASIC;
use super::gateway::first_line;
use super::http::{Credentials, Guard, Spot, origin};
use super::settings::{Settings, is_name, names_in};
use crate::config::action::HeaderSource;
use crate::config::file;
use crate::config::tree::{Place, nearest};
use crate::config::{OptedOutSign, ReplyChannel};
use crate::gateway::Gateway;
use crate::template::sample_reply;

const MAX_TEXT_CHARS: u32 = 1600;

/// Secrets that a gateway's request may name.
const CREDENTIALS: [&str; 2] = ["token", "password"];
/// The keys of an endpoint's `reply` that are no settings of its gateway.
const ENGINE_KEYS: [&str; 6] = [
    "token",
    "password",
    "base_url",
    "allow_private",
    "allow_http",
    "max_text_chars",
];
/// How a gateway's request names the server. Filled in as text here, so that the origin is as static as any other.
const BASE_URL: [&str; 2] = ["{{ base_url }}", "{{base_url}}"];
/// The one name of templates that a setting may take the place of: our number.
const FROM: &str = "from";

/// A gateway's `[reply]`: a request, and keys of its own.
struct GatewayReply {
    http: file::Request,
    base_url: Option<String>,
    max_text_chars: Option<u32>,
    /// What the user must set, and what each is.
    settings: BTreeMap<String, String>,
    /// What the user may set.
    optional: BTreeMap<String, String>,
    basic: Option<(String, String)>,
    sample_answer: Option<String>,
    opted_out: BTreeMap<String, Vec<Code>>,
    /// The settings and secrets that it names outside of `base_url`.
    used: BTreeSet<String>,
}

/// A code of a provider's: text, or a whole number.
struct Code(String);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl serde::de::Visitor<'_> for TextOrNumber {
            type Value = Code;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a whole number")
            }
            fn visit_str<E>(self, text: &str) -> Result<Code, E> {
                Ok(Code(text.to_owned()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Code, E> {
                Ok(Code(number.to_string()))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

impl GatewayReply {
    fn from_table(mut table: toml::Table) -> Result<Self, toml::de::Error> {
        let base_url = take(&mut table, "base_url")?;
        let max_text_chars = take(&mut table, "max_text_chars")?;
        let settings: Option<_> = take(&mut table, "settings")?;
        let optional: Option<_> = take(&mut table, "optional")?;
        let basic: Option<(String, String)> = take(&mut table, "basic")?;
        let sample_answer = take(&mut table, "sample_answer")?;
        let opted_out: Option<_> = take(&mut table, "opted_out")?;
        let mut used = names_in(&table.to_string());
        let http = file::Request::deserialize(table)?;
        used.extend(
            basic
                .iter()
                .flat_map(|(user, password)| [user.clone(), password.clone()]),
        );
        used.extend(http.headers.values().filter_map(|header| match header {
            file::Header::Credential { credential, .. } => Some(credential.clone()),
            file::Header::Rendered(_) | file::Header::Secret { .. } => None,
        }));
        Ok(Self {
            http,
            base_url,
            max_text_chars,
            settings: settings.unwrap_or_default(),
            optional: optional.unwrap_or_default(),
            basic,
            sample_answer,
            opted_out: opted_out.unwrap_or_default(),
            used,
        })
    }

    /// The names of all its settings.
    fn names(&self) -> impl Iterator<Item = &String> {
        self.settings.keys().chain(self.optional.keys())
    }

    /// What `name` is, in the words of the gateway's file.
    fn what(&self, name: &str) -> Option<&str> {
        self.settings
            .get(name)
            .or_else(|| self.optional.get(name))
            .map(String::as_str)
    }

    fn names_in_base_url(&self) -> BTreeSet<String> {
        self.base_url.as_deref().map(names_in).unwrap_or_default()
    }
}

fn take<T: DeserializeOwned>(table: &mut toml::Table, key: &str) -> Result<Option<T>, toml::de::Error> {
    table.remove(key).map(T::deserialize).transpose()
}

impl Reader<'_> {
    /// How an endpoint replies; `None` after a problem.
    pub(super) fn reply_channel(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        typed: &file::EndpointReply,
    ) -> Option<ReplyChannel> {
        let place = place.key("reply");
        let Some(table) = gateway.reply.clone() else {
            let what = format!("the gateway `{}` has no [reply]", gateway.name);
            self.error(&place, what, "take `reply` out: messages are received all the same");
            return None;
        };
        let says = self.gateway_reply(&place, gateway, table)?;
        let spot = Spot::gateway(&gateway.name, place.clone());
        self.settings_definition(&spot, &says);
        let is_known = self.reply_keys(&place, gateway, &says);
        let credentials = self.credentials(&place, gateway, typed, &says);
        let settings = self.settings(&place, gateway, typed, &says);
        let max_text_chars = typed.max_text_chars.or(says.max_text_chars);
        let max_text_chars = self.count(&place.key("max_text_chars"), max_text_chars, MAX_TEXT_CHARS);
        let (credentials, settings) = (credentials?, settings.filter(|_| is_known)?);
        let basic = self.basic(&spot, gateway, &says, &settings, &credentials)?;
        let sample_answer = says.sample_answer.clone().unwrap_or_else(|| "{}".to_owned());
        let opted_out = self.opted_out(&spot.key("opted_out"), &says.opted_out);
        let http = self.reply_request(&place, gateway, says, typed, &settings)?;
        let mut request = self.http(&spot, http, &credentials)?;
        request.headers.extend(basic.map(|value| (AUTHORIZATION, value)));
        Some(ReplyChannel {
            sample_status: request.success.ranges.first().map_or(200, |&(first, _)| first),
            sample_answer,
            request,
            max_text_chars: usize::try_from(max_text_chars).unwrap_or(usize::MAX),
            opted_out,
        })
    }

    fn opted_out(&mut self, spot: &Spot, typed: &BTreeMap<String, Vec<Code>>) -> Vec<OptedOutSign> {
        let mut signs = Vec::new();
        for (pointer, codes) in typed {
            self.pointer(spot, pointer);
            if codes.is_empty() {
                self.problem(
                    spot,
                    &format!("`{pointer}` has no value that would say so"),
                    "write the provider's code",
                );
            }
            signs.push(OptedOutSign {
                pointer: pointer.clone(),
                values: codes.iter().map(|Code(code)| code.clone()).collect(),
            });
        }
        signs
    }

    fn gateway_reply(&mut self, place: &Place, gateway: &Gateway, table: toml::Table) -> Option<GatewayReply> {
        let read = GatewayReply::from_table(table);
        read.inspect_err(|error| {
            let what = format!(
                "the [reply] of the gateway `{}` has a mistake: {}",
                gateway.name,
                first_line(error)
            );
            let help = "the keys of [reply] are those of an `http` action, `base_url`, `max_text_chars`, `settings`, \
                        `optional`, `basic`, `opted_out` and `sample_answer`";
            self.error(place, what, help);
        })
        .ok()
    }

    /// Whether a gateway's file makes sense of its own settings.
    fn settings_definition(&mut self, spot: &Spot, says: &GatewayReply) {
        let taken = sample_reply().names();
        let in_base_url = says.names_in_base_url();
        for (key, names) in [("settings", &says.settings), ("optional", &says.optional)] {
            for name in names.keys() {
                let spot = spot.key(key);
                let is_taken = name != FROM && taken.contains(name);
                if !is_name(name) || is_taken || ENGINE_KEYS.contains(&name.as_str()) {
                    let help = "use letters, digits and `_`, and no name that has a meaning already";
                    self.problem(&spot, &format!("`{name}` cannot be the name of a setting"), help);
                } else if !says.used.contains(name) && !in_base_url.contains(name) {
                    let help = format!("write `{{{{ {name} }}}}` where it belongs, or take it out");
                    self.problem(&spot, &format!("the setting `{name}` is used nowhere"), &help);
                }
            }
        }
        if says.basic.is_some()
            && says
                .http
                .headers
                .keys()
                .any(|name| AUTHORIZATION.as_str().eq_ignore_ascii_case(name))
        {
            self.problem(
                &spot.key("basic"),
                "there is an `Authorization` header already",
                "take one of them out",
            );
        }
    }

    /// Notes keys that are neither the engine's nor the gateway's.
    fn reply_keys(&mut self, place: &Place, gateway: &Gateway, says: &GatewayReply) -> bool {
        let mut is_known = true;
        for key in self.document.keys(place) {
            let known = || says.names().map(String::as_str).chain(ENGINE_KEYS);
            if known().any(|known| known == key) {
                continue;
            }
            is_known = false;
            let help = match nearest(&key, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "known keys for the gateway `{}`: {}",
                    gateway.name,
                    known().collect::<Vec<_>>().join(", ")
                ),
            };
            self.error_at_key(place, &key, format!("unknown key `{key}`"), help);
        }
        is_known
    }

    /// The account's secrets; `None` after a problem with one.
    fn credentials(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        typed: &file::EndpointReply,
        says: &GatewayReply,
    ) -> Option<Credentials> {
        let mut credentials = Some(Credentials::new());
        for (name, secret) in CREDENTIALS.into_iter().zip([&typed.token, &typed.password]) {
            let Some(secret) = secret else { continue };
            let place = place.key(name);
            if !says.used.contains(name) {
                let what = format!("the gateway `{}` has no use for a `{name}`", gateway.name);
                self.warn(&place, what, "take it out");
            }
            match (self.secret(&place, secret), &mut credentials) {
                (Some((_, secret)), Some(credentials)) => drop(credentials.insert(name, secret)),
                _ => credentials = None,
            }
        }
        credentials
    }

    /// What the gateway's settings are set to; `None` after a problem with one.
    fn settings(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        typed: &file::EndpointReply,
        says: &GatewayReply,
    ) -> Option<Settings> {
        let mut settings = Settings::default();
        let mut is_sound = true;
        for name in says.names() {
            let at = place.key(name);
            if self.document.get(&at).is_some() {
                match self.setting_text(&at) {
                    Some(text) => drop(settings.set.insert(name.clone(), text)),
                    None => is_sound = false,
                }
                continue;
            }
            // Of another server than the gateway's own, it would not be a part.
            let is_needed = says.used.contains(name) || typed.base_url.is_none();
            if says.settings.contains_key(name) && is_needed {
                self.missing_setting(place, gateway, says, name);
                is_sound = false;
            } else if name != FROM {
                settings.unset.insert(name.clone());
            }
        }
        is_sound.then_some(settings)
    }

    fn setting_text(&mut self, place: &Place) -> Option<String> {
        let text = match self.fill::<toml::Value>(place).0? {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            _ => {
                self.error(place, "expected a text", "write it in quotes");
                return None;
            }
        };
        if text.trim().is_empty() {
            self.error(place, "this is empty", "leave it out if the gateway does not need it");
            return None;
        }
        if matches!(text.as_str(), "." | "..") {
            self.error(place, "this would change the path of a URL", "copy it again");
            return None;
        }
        if text.chars().any(char::is_control) {
            self.error(
                place,
                "this has a line break or a control character in it",
                "copy it again",
            );
            return None;
        }
        Some(text)
    }

    fn missing_setting(&mut self, place: &Place, gateway: &Gateway, says: &GatewayReply, name: &str) {
        let (value, what) = match says.what(name) {
            Some(what) => ("\"…\"", format!(": {what}")),
            None => ("{ env = \"NAME\" }", String::new()),
        };
        let help = format!("add `{name} = {value}` to the endpoint's `reply`{what}");
        let problem = format!("gateway `{}` cannot reply without `{name}`", gateway.name);
        self.error(place, problem, help);
    }

    /// The header that HTTP Basic makes of two settings or secrets, if the gateway wants one; `None` after a problem.
    #[expect(
        clippy::option_option,
        reason = "the inner one is that none is wanted, the outer one that it cannot be made"
    )]
    fn basic(
        &mut self,
        spot: &Spot,
        gateway: &Gateway,
        says: &GatewayReply,
        settings: &Settings,
        credentials: &Credentials,
    ) -> Option<Option<HeaderSource>> {
        let Some((user, password)) = &says.basic else {
            return Some(None);
        };
        let mut parts = Vec::new();
        for name in [user, password] {
            let secret = credentials
                .get(name.as_str())
                .map(|secret| secret.expose_secret().to_owned());
            match secret.or_else(|| settings.set.get(name).cloned()) {
                Some(part) => parts.push(part),
                None if says.what(name).is_some() || CREDENTIALS.contains(&name.as_str()) => {
                    self.missing_setting(spot.place(), gateway, says, name);
                }
                None => {
                    let help = "use two of `token`, `password` and what `settings` names";
                    self.problem(&spot.key("basic"), &format!("there is no setting `{name}`"), help);
                }
            }
        }
        let [user, password] = parts.as_slice() else {
            return None;
        };
        let secret = self.basic_value(spot.place(), user, password)?;
        Some(Some(HeaderSource::Secret {
            prefix: BASIC.to_owned(),
            secret,
        }))
    }

    /// The gateway's request with the endpoint's server and settings in it.
    fn reply_request(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        says: GatewayReply,
        typed: &file::EndpointReply,
        settings: &Settings,
    ) -> Option<file::Request> {
        let wants_base = BASE_URL.iter().any(|tag| says.http.url.contains(tag));
        let base = match (&typed.base_url, &says.base_url) {
            (Some(typed_url), _) => Some(self.base_url_typed(place, typed, typed_url)?),
            (None, Some(base)) if wants_base => Some(self.base_url_of_gateway(place, gateway, base, settings)?),
            (None, _) => None,
        };
        let mut http = says.http;
        match base {
            Some(base) if wants_base => {
                let base = base.trim_end_matches('/');
                http.url = BASE_URL.iter().fold(http.url, |url, tag| url.replace(tag, base));
            }
            None if wants_base => {
                let what = "this gateway runs on a server of yours, and its address is missing";
                self.error(place, what, "add `base_url = \"https://…\"`");
                return None;
            }
            _ => {}
        }
        settings.in_request(&mut http);
        http.allow_http |= typed.allow_http;
        http.allow_private.extend(typed.allow_private.iter().cloned());
        Some(http)
    }

    fn base_url_typed(&mut self, place: &Place, typed: &file::EndpointReply, url: &str) -> Option<String> {
        let networks = self.networks(&Spot::typed(place.key("allow_private")), &typed.allow_private);
        let guard = Guard {
            allow_http: typed.allow_http,
            allow_private: &networks,
        };
        match origin(url, &guard) {
            Ok(_) => Some(url.to_owned()),
            Err(refusal) => {
                self.error(&place.key("base_url"), refusal.what(), refusal.help());
                None
            }
        }
    }

    /// The gateway's own server, with the settings in its name that are.
    fn base_url_of_gateway(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        base: &str,
        settings: &Settings,
    ) -> Option<String> {
        settings
            .in_base_url(base)
            .map_err(|name| {
                let what = format!("`{name}` is part of the name of a server of the gateway `{}`", gateway.name);
                let help = "it is one label of a host name: at most 63 of a-z, 0-9 and `-`, such as the first part of the \
                            host that its portal shows; or give the whole server as `base_url`";
                self.error(&place.key(&name), what, help);
            })
            .ok()
    }
}
