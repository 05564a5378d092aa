//! The gateways that endpoints name: built in, described in the configuration, in files beside it, or like another one.
//!
//! What a key of a gateway file means is the gateway's room to say; here is only where its mistakes are shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize as _;

use super::Reader;
use crate::config::file;
use crate::config::tree::{Place, nearest};
use crate::gateway::{self, Gateway};

/// The user's own gateways by name; `None` where one has mistakes, which were noted.
pub(super) type OwnGateways = BTreeMap<String, Option<toml::Table>>;

const DAY: Duration = Duration::from_hours(24);

impl Reader<'_> {
    /// The gateway of an endpoint, with what the endpoint changes of how it signs.
    pub(super) fn gateway(
        &mut self,
        place: &Place,
        typed: &file::Endpoint,
        own: &OwnGateways,
        url: Option<&str>,
    ) -> Option<Gateway> {
        let table = self.named_gateway(&place.key("gateway"), &typed.gateway, own)?;
        let encoded = typed.secret_encoding.as_deref();
        let table = encoded.map_or_else(|| table.clone(), |encoding| with_secret_encoding(&table, encoding));
        let mut gateway = Gateway::deserialize(table)
            .inspect_err(|error| {
                let help = "use \"utf8\", \"whsec\", \"base64\" or \"hex\"";
                self.error(&place.key("secret_encoding"), first_line(error), help);
            })
            .ok()?;
        if url == Some("") && gateway.signature.needs_url() {
            let what = format!(
                "the gateway `{}` signs the URL that it calls, and nothing says which that is",
                gateway.name
            );
            let help = format!(
                "add `public_url = \"https://…{}\"` to the endpoint, or `public_url = \"https://…\"` to [server]",
                typed.path
            );
            self.error(&place.key("gateway"), what, help);
        }
        self.tolerance(&place.key("tolerance"), typed, &mut gateway);
        self.nonce_memory(&place.key("nonce_memory"), typed, &mut gateway);
        Some(gateway)
    }

    /// How far a signed time may be from ours, where the endpoint says so.
    fn tolerance(&mut self, place: &Place, typed: &file::Endpoint, gateway: &mut Gateway) {
        let bounds = Duration::ZERO..=DAY * 7;
        let said = "\"0s\" (not compared) to \"7d\"";
        let Some(tolerance) = self.duration_within(place, typed.tolerance.as_ref(), &bounds, said) else {
            return;
        };
        let (name, scheme) = (&gateway.name, &gateway.signature);
        if !scheme.has_time() {
            let what = format!("the gateway `{name}` signs no time that could be compared");
            self.error(place, what, "take it out");
            return;
        }
        let changed = scheme.clone().with_tolerance(tolerance);
        let is_needed = !scheme.binds_body() || changed.tolerance().is_some();
        if tolerance.is_zero() && is_needed {
            let what = format!("a signature of the gateway `{name}` ends by its time and by nothing else");
            self.error(place, what, "write a duration above zero");
            return;
        }
        gateway.signature = changed;
    }

    /// How long what is used once is remembered, where the endpoint says so.
    fn nonce_memory(&mut self, place: &Place, typed: &file::Endpoint, gateway: &mut Gateway) {
        let bounds = DAY..=DAY * 366;
        let typed = typed.nonce_memory.as_ref();
        let Some(memory) = self.duration_within(place, typed, &bounds, "\"1d\" to \"366d\"") else {
            return;
        };
        if !gateway.signature.has_nonce() {
            let what = format!(
                "the gateway `{}` sends nothing that is used once, so nothing is remembered",
                gateway.name
            );
            self.warn(place, what, "take it out");
        }
        gateway.signature = gateway.signature.clone().with_nonce_memory(memory);
    }

    fn named_gateway(&mut self, place: &Place, name: &str, own: &OwnGateways) -> Option<toml::Table> {
        match (own.get(name), gateway::builtin(name)) {
            (Some(table), _) => table.clone(),
            (None, Some(text)) => self.gateway_text(place, name, text),
            (None, None) => {
                let mut known: Vec<_> = gateway::builtin_names().map(str::to_owned).collect();
                known.extend(own.keys().cloned());
                let help = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}; or describe it in [gateway.{name}]", known.join(", ")),
                };
                self.error(place, format!("there is no gateway `{name}`"), help);
                None
            }
        }
    }

    /// A gateway file's table, once it is known to be a gateway.
    fn gateway_text(&mut self, place: &Place, file: &str, text: &str) -> Option<toml::Table> {
        let checked = toml::from_str::<Gateway>(text).and_then(|_gateway| toml::from_str(text));
        checked
            .inspect_err(|error: &toml::de::Error| {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let what = format!(
                    "the gateway file `{file}` has a mistake in line {line}: {}",
                    first_line(error)
                );
                self.error(place, what, "the keys of a gateway file are those of the built-in ones");
            })
            .ok()
    }

    /// `[gateway.NAME]`: a gateway's keys, `file = "…"` with them, or those that set it apart from another (`like`).
    pub(super) fn own_gateways(&mut self) -> OwnGateways {
        let section = Place::root().key("gateway");
        let mut own = OwnGateways::new();
        for name in self.document.keys(&section) {
            self.resolve(&section, &name, &mut own, &mut Vec::new());
        }
        own
    }

    /// Reads one and, before it, what it is like. `path` are those that wait for it.
    fn resolve(&mut self, section: &Place, name: &str, own: &mut OwnGateways, path: &mut Vec<String>) {
        if own.contains_key(name) {
            return;
        }
        let place = section.key(name);
        let base = self.like(&place, name);
        if let Some(base) = base.as_deref() {
            path.push(name.to_owned());
            if path.iter().any(|waiting| waiting == base) {
                let circle: Vec<&str> = path
                    .iter()
                    .map(String::as_str)
                    .skip_while(|name| *name != base)
                    .collect();
                let what = match circle.as_slice() {
                    [one] => format!("the gateway `{one}` cannot be like itself"),
                    several => format!(
                        "the gateways `{}` are like each other in a circle",
                        several.join("`, `")
                    ),
                };
                let help = "let one of them be like a built-in gateway, or write all of its keys";
                self.error(&place.key("like"), what, help);
                own.extend(path.drain(..).map(|name| (name, None)));
                return;
            }
            if self.document.get(&section.key(base)).is_some() {
                self.resolve(section, base, own, path);
            }
            // A circle that was found further down.
            if own.contains_key(name) {
                return;
            }
            path.pop();
        }
        let table = self.own_gateway(&place, name, base.as_deref(), own);
        own.insert(name.to_owned(), table);
    }

    /// The gateway that `[gateway.NAME]` says it is like.
    fn like(&mut self, place: &Place, name: &str) -> Option<String> {
        let place = place.key("like");
        let value = self.document.get(&place)?;
        let like = value.get_ref().as_str().map(str::to_owned);
        // A gateway of one's own may be called as the built-in one that it changes.
        if like.as_deref() == Some(name) && gateway::builtin(name).is_some() {
            return None;
        }
        like
    }

    fn own_gateway(&mut self, place: &Place, name: &str, base: Option<&str>, own: &OwnGateways) -> Option<toml::Table> {
        self.check_name(place, "a gateway", name);
        let (file_place, like_place) = (place.key("file"), place.key("like"));
        if self.document.get(&file_place).is_some() {
            return self.gateway_in_file(place, &file_place);
        }
        // Its name is the table's; people who write one for themselves need no title.
        let given = [("name", name), ("title", name)];
        let Some(like) = self.document.get(&like_place) else {
            let (gateway, whole) = self.fill_with::<Gateway>(place, &given);
            gateway.filter(|_| whole)?;
            return self.fill_with(place, &given).0;
        };
        if !like.get_ref().is_str() {
            self.error(&like_place, "expected the name of a gateway", "write it in quotes");
            return None;
        }
        let base = match base {
            Some(base) => self.named_gateway(&like_place, base, own)?,
            // As the built-in one of its own name.
            None => self.gateway_text(&like_place, name, gateway::builtin(name)?)?,
        };
        self.gateway_like(place, base, &given)
    }

    /// Another gateway's table with the keys at `place` laid over it.
    fn gateway_like(&mut self, place: &Place, mut base: toml::Table, given: &[(&str, &str)]) -> Option<toml::Table> {
        let mut typed: toml::Table = self.fill(place).0?;
        typed.remove("like");
        for key in ["name", "title"] {
            base.remove(key);
        }
        for (key, text) in given {
            typed.entry(*key).or_insert_with(|| (*text).into());
        }
        let merged = gateway::merged(&base, &typed);
        let (gateway, whole) = self.fill_merged::<Gateway>(place, &merged);
        gateway.filter(|_| whole).map(|_| merged)
    }

    fn gateway_in_file(&mut self, place: &Place, file_place: &Place) -> Option<toml::Table> {
        let Some(file) = self.text_at(file_place) else {
            self.error(file_place, "expected the path of a gateway file", "write it in quotes");
            return None;
        };
        if let Some(other) = self.document.keys(place).iter().find(|key| *key != "file") {
            let help = "a gateway is described either here or in its file";
            self.error(&place.key(other), "this stands beside `file`", help);
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => self.gateway_text(file_place, &file, &text),
            Err(error) => {
                let help = "relative paths start at the working directory";
                self.error(
                    file_place,
                    format!("the gateway file `{file}` cannot be read: {error}"),
                    help,
                );
                None
            }
        }
    }

    fn text_at(&self, place: &Place) -> Option<String> {
        self.document.get(place)?.get_ref().as_str().map(str::to_owned)
    }
}

fn with_secret_encoding(table: &toml::Table, encoding: &str) -> toml::Table {
    let mut table = table.clone();
    if let Some(signature) = table.get_mut("signature").and_then(toml::Value::as_table_mut) {
        signature.insert("secret_encoding".to_owned(), encoding.into());
    }
    table
}

/// What is wrong, without the excerpt that the parser appends.
pub(super) fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}
