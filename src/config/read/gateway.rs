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

/// A day, by which nonces are remembered.
const DAY_SECONDS: u64 = 24 * 60 * 60;

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
        let encoding = typed.secret_encoding.as_deref().map(toml::Value::from);
        let table = with(table, "secret_encoding", encoding);
        let gateway = Gateway::deserialize(table.clone())
            .inspect_err(|error| {
                let help = "use \"utf8\", \"whsec\", \"base64\" or \"hex\"";
                self.error(&place.key("secret_encoding"), first_line(error), help);
            })
            .ok()?;
        if url == Some("") && Scheme::of(&table).needs_url() {
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
        let table = self.with_times(place, typed, &gateway, table)?;
        Gateway::deserialize(table)
            .inspect_err(|error| {
                let help = "leave it out to take the gateway's own";
                self.error(&place.key("tolerance"), first_line(error), help);
            })
            .ok()
    }

    /// The table with the endpoint's `tolerance` and `nonce_memory` in it.
    fn with_times(
        &mut self,
        place: &Place,
        typed: &file::Endpoint,
        gateway: &Gateway,
        table: toml::Table,
    ) -> Option<toml::Table> {
        let seconds = Duration::from_secs;
        let tolerance_place = place.key("tolerance");
        let tolerance = self.duration_within(
            &tolerance_place,
            typed.tolerance.as_ref(),
            &(Duration::ZERO..=seconds(7 * DAY_SECONDS)),
            "\"0s\" (not compared) to \"7d\"",
        );
        let memory = self.duration_within(
            &place.key("nonce_memory"),
            typed.nonce_memory.as_ref(),
            &(seconds(DAY_SECONDS)..=seconds(366 * DAY_SECONDS)),
            "\"1d\" to \"366d\"",
        );
        let scheme = Scheme::of(&table);
        let key = if scheme.is_jwt() {
            "max_age_seconds"
        } else {
            "tolerance_seconds"
        };
        if tolerance.is_some() && !scheme.has_time() {
            let what = format!("the gateway `{}` signs no time that could be compared", gateway.name);
            self.error(&tolerance_place, what, "take it out");
            return None;
        }
        if tolerance.is_some_and(|tolerance| tolerance.is_zero()) && !scheme.binds_body() {
            let what = "only the time keeps a signature of this gateway from being used for other texts";
            self.error(&tolerance_place, what, "write a duration above zero");
            return None;
        }
        let whole_seconds =
            |duration: Duration| toml::Value::from(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
        // Rounded up: longer is safe.
        let whole_days = |duration: Duration| {
            let days = duration.as_secs().div_ceil(DAY_SECONDS);
            toml::Value::from(i64::try_from(days).unwrap_or(i64::MAX))
        };
        let uses_nonces = scheme.uses_nonces();
        let table = with(table, key, tolerance.map(whole_seconds));
        Some(with(
            table,
            "nonce_days",
            memory.filter(|_| uses_nonces).map(whole_days),
        ))
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

/// What an endpoint has to know of a `[signature]` table.
pub(super) struct Scheme<'t>(Option<&'t toml::Table>);

impl<'t> Scheme<'t> {
    pub(super) fn of(gateway: &'t toml::Table) -> Self {
        Self(gateway.get("signature").and_then(toml::Value::as_table))
    }

    fn text(&self, key: &str) -> &'t str {
        self.0.and_then(|table| table.get(key)?.as_str()).unwrap_or_default()
    }

    fn has(&self, key: &str) -> bool {
        self.0.is_some_and(|table| table.contains_key(key))
    }

    fn is_jwt(&self) -> bool {
        self.text("kind") == "jwt"
    }

    /// Whether the URL is signed.
    pub(super) fn needs_url(&self) -> bool {
        let audience = self.0.and_then(|table| table.get("audience")?.as_bool());
        ["{url}", "{base_url}"]
            .iter()
            .any(|token| self.text("content").contains(token))
            || self.has("url_hash_claim")
            || audience.unwrap_or_default()
    }

    fn has_time(&self) -> bool {
        self.is_jwt()
            || ["timestamp_header", "timestamp_key", "timestamp_param"]
                .iter()
                .any(|key| self.has(key))
    }

    fn binds_body(&self) -> bool {
        let bound = ["{body}", "{body_sha256}", "{form_sorted}", "{params_vonage}"];
        let is_signature = !self.is_jwt() && self.text("kind") != "static";
        is_signature && (!self.has("content") || bound.iter().any(|token| self.text("content").contains(token)))
            || self.has("body_hash_claim")
    }

    fn uses_nonces(&self) -> bool {
        self.has("nonce_header")
    }
}

/// A gateway's table with this key of its `[signature]` set, if it is to be.
fn with(mut table: toml::Table, key: &str, value: Option<toml::Value>) -> toml::Table {
    let signature = table.get_mut("signature").and_then(toml::Value::as_table_mut);
    if let (Some(signature), Some(value)) = (signature, value) {
        signature.insert(key.to_owned(), value);
    }
    table
}

/// What is wrong, without the excerpt that the parser appends.
pub(super) fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}
