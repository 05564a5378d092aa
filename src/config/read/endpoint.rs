//! Endpoints and the gateways they name: verification keys, numbers, consent texts, and how to answer a sender.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize as _;

use super::Reader;
use super::http::{Credentials, Guard, Spot, origin};
use crate::config::file::{self, TextOrNone};
use crate::config::secret::SecretSource;
use crate::config::tree::{Place, nearest};
use crate::config::{Endpoint, Mode, ReplyChannel};
use crate::consent::{Additions, PhrasePolicy, Vocabulary, VocabularyError, normalise};
use crate::gateway::{self, Gateway, Reading};
use crate::phone::NumberFormat;
use crate::rules::EndpointPolicy;
use crate::signature::{Keys, SecretSpec};
use crate::template::Template;

/// Sent once to somebody who opted out; it must be final and must not advertise.
const OPT_OUT_TEXT: &str =
    "You have been unsubscribed and will get no more messages from us. Reply START to subscribe again.";
/// Sent to somebody who opted in again.
const OPT_IN_TEXT: &str = "You are subscribed again. Reply STOP to unsubscribe.";

/// Long enough for the parts that a gateway sends one after another, short enough for an answer.
const REASSEMBLY_WAIT: Duration = Duration::from_secs(10);
const DEFAULT_GROUP: &str = "default";
const MAX_TEXT_CHARS: u32 = 1600;

/// The user's own gateways by name; `None` where one has mistakes, which were noted.
type OwnGateways = BTreeMap<String, Option<toml::Table>>;

impl Reader<'_> {
    pub(super) fn endpoints(&mut self) -> Vec<Endpoint> {
        let own = self.own_gateways();
        let mut seen: Vec<(String, String)> = Vec::new();
        let mut endpoints = Vec::new();
        for (place, typed) in self.entries::<file::Endpoint>("endpoint") {
            self.check_name(&place.key("name"), "an endpoint", &typed.name);
            self.path(&place.key("path"), &typed.path);
            for (name, path) in &seen {
                if *name == typed.name {
                    self.error(
                        &place.key("name"),
                        format!("there is an endpoint `{name}` already"),
                        "choose another name",
                    );
                }
                if *path == typed.path {
                    let what = format!("the endpoint `{name}` has this path already");
                    self.error(&place.key("path"), what, "each endpoint needs a path of its own");
                }
            }
            seen.push((typed.name.clone(), typed.path.clone()));
            endpoints.extend(self.endpoint(&place, typed, &own));
        }
        if self.document.items(&Place::root().key("endpoint")).unwrap_or_default() == 0 {
            self.error(
                &Place::root().key("endpoint"),
                "there is no [[endpoint]]",
                "add one: see config.example.toml",
            );
        }
        endpoints
    }

    fn endpoint(&mut self, place: &Place, typed: file::Endpoint, own: &OwnGateways) -> Option<Endpoint> {
        let (keys, numbers, consent) = (self.secrets(place, &typed), self.numbers(place, &typed), typed.consent);
        let texts = Texts {
            opt_out: self.text(
                &place.key("consent").key("opt_out_text"),
                consent.opt_out_text.as_ref(),
                Some(OPT_OUT_TEXT),
            ),
            opt_in: self.text(
                &place.key("consent").key("opt_in_text"),
                consent.opt_in_text.as_ref(),
                Some(OPT_IN_TEXT),
            ),
            help: self.text(&place.key("consent").key("help_text"), consent.help_text.as_ref(), None),
        };
        let vocabulary = self.vocabulary(&place.key("consent"), &consent);
        let suppression_group = typed.suppression_group.unwrap_or_else(|| DEFAULT_GROUP.to_owned());
        self.check_name(
            &place.key("suppression_group"),
            "a suppression group",
            &suppression_group,
        );
        let gateway = self.gateway(place, &typed.gateway, typed.secret_encoding.as_deref(), own)?;
        let (keys, secret_sources) = self.keys(place, &gateway, keys)?;
        let has_reply = typed.reply.is_some();
        let reply = typed.reply.and_then(|reply| self.reply_channel(place, &gateway, reply));
        if !has_reply && texts.help.is_some() {
            let help = "add `reply = { token = { env = \"SMS_API_TOKEN\" } }` to the endpoint";
            self.warn(
                &place.key("consent").key("help_text"),
                "this endpoint cannot reply, so this is never sent",
                help,
            );
        }
        let policy = EndpointPolicy {
            endpoint: typed.name.clone(),
            vocabulary,
            can_reply: reply.is_some(),
            confirm_opt_out: texts.opt_out.is_some(),
            confirm_opt_in: texts.opt_in.is_some(),
            answer_help: texts.help.is_some(),
            skip_reply_if_gateway_rule_matched: typed.skip_reply_if_gateway_rule_matched,
        };
        Some(Endpoint {
            name: typed.name,
            path: typed.path,
            url: String::new(),
            reading: Reading::with(numbers.unwrap_or(gateway.numbers)),
            mode: Mode::Enforce,
            retired: None,
            keep_refused: None,
            reassembly_wait: REASSEMBLY_WAIT,
            gateway: Arc::new(gateway),
            keys,
            secret_sources,
            policy,
            reply,
            opt_out_text: texts.opt_out,
            opt_in_text: texts.opt_in,
            help_text: texts.help,
            skip_reply_if_gateway_rule_matched: typed.skip_reply_if_gateway_rule_matched,
            suppression_group,
        })
    }

    fn path(&mut self, place: &Place, path: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let sound = path.starts_with('/') && path.len() <= 200 && path.chars().all(plain);
        if !sound || path.split('/').any(|segment| matches!(segment, "." | "..")) {
            self.error(
                place,
                "this is not a plain path",
                "write it as \"/hooks/sms\": letters, digits and -._~/",
            );
        }
    }

    /// The endpoint's secrets; none at all only where unsigned deliveries are allowed.
    fn secrets(&mut self, place: &Place, typed: &file::Endpoint) -> Fetched {
        let secrets_place = place.key("secrets");
        if typed.secrets.is_empty() && !typed.allow_unsigned {
            let help = "add `secrets = [{ env = \"SMS_WEBHOOK_SECRET\" }]`; without one anybody could post messages";
            self.error(
                &secrets_place,
                "this endpoint has no secret to verify signatures with",
                help,
            );
            return Fetched::Failed;
        }
        if !typed.secrets.is_empty() && typed.allow_unsigned {
            let help = "take one of them out; with secrets, every delivery must be signed";
            self.error(
                &place.key("allow_unsigned"),
                "this endpoint has secrets and allows unsigned deliveries",
                help,
            );
            return Fetched::Failed;
        }
        if typed.allow_unsigned {
            let help = "anybody who finds the URL can post messages; keep it behind something that checks who calls";
            self.warn(&place.key("allow_unsigned"), "deliveries are not verified here", help);
            return Fetched::Unsigned;
        }
        let fetched = typed.secrets.iter().enumerate();
        let fetched: Vec<_> = fetched
            .map(|(item, secret)| self.secret(&secrets_place.item(item), secret))
            .collect();
        fetched
            .into_iter()
            .collect::<Option<_>>()
            .map_or(Fetched::Failed, Fetched::Secrets)
    }

    fn keys(
        &mut self,
        place: &Place,
        gateway: &Gateway,
        fetched: Fetched,
    ) -> Option<(Option<Keys>, Vec<SecretSource>)> {
        let fetched = match fetched {
            Fetched::Secrets(fetched) => fetched,
            Fetched::Unsigned => return Some((None, Vec::new())),
            Fetched::Failed => return None,
        };
        let (sources, specs): (Vec<_>, Vec<_>) = fetched
            .into_iter()
            .enumerate()
            .map(|(item, (source, secret))| {
                let label = match &source {
                    SecretSource::Inline => format!("number {} of the list", item + 1),
                    source => source.to_string(),
                };
                let algorithm = None;
                (
                    source,
                    SecretSpec {
                        label,
                        secret,
                        algorithm,
                    },
                )
            })
            .unzip();
        match Keys::new(&gateway.signature, &specs) {
            Ok(keys) => Some((Some(keys), sources)),
            Err(error) => {
                let help = "copy it from the gateway again, or see `secret_encoding`";
                self.error(&place.key("secrets"), error.to_string(), help);
                None
            }
        }
    }

    fn numbers(&mut self, place: &Place, typed: &file::Endpoint) -> Option<NumberFormat> {
        let parsed = typed.numbers.as_deref()?.parse();
        parsed
            .inspect_err(|error: &crate::phone::FormatError| {
                let help = "leave it out to read numbers as the gateway's file says";
                self.error(&place.key("numbers"), error.to_string(), help);
            })
            .ok()
    }

    fn vocabulary(&mut self, place: &Place, typed: &file::Consent) -> Vocabulary {
        let additions = Additions {
            opt_out: typed.opt_out_words.clone(),
            opt_in: typed.opt_in_words.clone(),
            help: typed.help_words.clone(),
            exempt: typed.exempt.clone(),
            phrases: match typed.phrases {
                None | Some(file::Phrases::Suppress) => PhrasePolicy::Suppress,
                Some(file::Phrases::Off) => PhrasePolicy::Off,
            },
        };
        Vocabulary::with(&additions).unwrap_or_else(|errors| {
            for error in errors {
                let help = "the built-in words are always on and can only be added to; `exempt` takes a few out";
                self.error(&word_at(place, typed, &error), error.to_string(), help);
            }
            Vocabulary::default()
        })
    }

    fn text(&mut self, place: &Place, typed: Option<&TextOrNone>, default: Option<&str>) -> Option<Template> {
        match typed {
            Some(TextOrNone::None) => None,
            Some(TextOrNone::Text(text)) if text.trim().is_empty() => {
                self.error(place, "this text is empty", "write `false` to send none");
                None
            }
            Some(TextOrNone::Text(text)) => self.template(&Spot::typed(place.clone()), text),
            None => self.template(&Spot::typed(place.clone()), default?),
        }
    }

    fn gateway(
        &mut self,
        place: &Place,
        name: &str,
        secret_encoding: Option<&str>,
        own: &OwnGateways,
    ) -> Option<Gateway> {
        let table = match (own.get(name), gateway::builtin(name)) {
            (Some(table), _) => table.clone()?,
            (None, Some(text)) => self.gateway_text(&place.key("gateway"), name, text)?,
            (None, None) => {
                let mut known: Vec<_> = gateway::builtin_names().map(str::to_owned).collect();
                known.extend(own.keys().cloned());
                let help = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}; or describe it in [gateway.{name}]", known.join(", ")),
                };
                self.error(&place.key("gateway"), format!("there is no gateway `{name}`"), help);
                return None;
            }
        };
        let encoded = secret_encoding.map_or_else(|| table.clone(), |encoding| with_secret_encoding(&table, encoding));
        Gateway::deserialize(encoded)
            .inspect_err(|error| {
                let help = "use \"utf8\", \"whsec\", \"base64\" or \"hex\"";
                self.error(&place.key("secret_encoding"), first_line(error), help);
            })
            .ok()
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

    /// `[gateway.NAME]`: a gateway's keys, or `file = "…"` with them.
    fn own_gateways(&mut self) -> OwnGateways {
        let section = Place::root().key("gateway");
        let names = self.document.keys(&section);
        let read = names.into_iter().map(|name| {
            let gateway = self.own_gateway(&section.key(&name), &name);
            (name, gateway)
        });
        read.collect()
    }

    fn own_gateway(&mut self, place: &Place, name: &str) -> Option<toml::Table> {
        self.check_name(place, "a gateway", name);
        let file_place = place.key("file");
        let Some(file) = self.document.get(&file_place) else {
            // Its name is the table's; people who write one for themselves need no title.
            let given = [("name", name), ("title", name)];
            let (gateway, whole) = self.fill_with::<Gateway>(place, &given);
            gateway.filter(|_| whole)?;
            return self.fill_with(place, &given).0;
        };
        let Some(file) = file.get_ref().as_str().map(str::to_owned) else {
            self.error(&file_place, "expected the path of a gateway file", "write it in quotes");
            return None;
        };
        if let Some(other) = self.document.keys(place).iter().find(|key| *key != "file") {
            let help = "a gateway is described either here or in its file";
            self.error(&place.key(other), "this stands beside `file`", help);
        }
        match std::fs::read_to_string(&file) {
            Ok(text) => self.gateway_text(&file_place, &file, &text),
            Err(error) => {
                let help = "relative paths start at the working directory";
                self.error(
                    &file_place,
                    format!("the gateway file `{file}` cannot be read: {error}"),
                    help,
                );
                None
            }
        }
    }

    fn reply_channel(&mut self, place: &Place, gateway: &Gateway, typed: file::EndpointReply) -> Option<ReplyChannel> {
        let place = place.key("reply");
        let Some(table) = gateway.reply.clone() else {
            let what = format!("the gateway `{}` has no [reply]", gateway.name);
            self.error(&place, what, "take `reply` out: messages are received all the same");
            return None;
        };
        let token = typed
            .token
            .as_ref()
            .map(|token| self.secret(&place.key("token"), token));
        let mut credentials = Credentials::new();
        match token {
            Some(Some((_, token))) => drop(credentials.insert("token", token)),
            // Said already.
            Some(None) => return None,
            None => {}
        }
        let request = match GatewayReply::from_table(table) {
            Ok(request) => request,
            Err(error) => {
                let what = format!(
                    "the [reply] of the gateway `{}` has a mistake: {}",
                    gateway.name,
                    first_line(&error)
                );
                self.error(
                    &place,
                    what,
                    "the keys of [reply] are those of an `http` action, `base_url` and `max_text_chars`",
                );
                return None;
            }
        };
        let max_text_chars = typed.max_text_chars.or(request.max_text_chars);
        let max_text_chars = self.count(&place.key("max_text_chars"), max_text_chars, MAX_TEXT_CHARS);
        let spot = Spot::gateway(&gateway.name, place.clone());
        let http = self.reply_request(&place, request, typed)?;
        let request = self.http(&spot, http, &credentials)?;
        Some(ReplyChannel {
            request,
            max_text_chars: usize::try_from(max_text_chars).unwrap_or(usize::MAX),
        })
    }

    /// The gateway's request with the endpoint's server in it.
    fn reply_request(
        &mut self,
        place: &Place,
        request: GatewayReply,
        typed: file::EndpointReply,
    ) -> Option<file::Request> {
        let GatewayReply { mut http, base_url, .. } = request;
        let networks = self.networks(&Spot::typed(place.key("allow_private")), &typed.allow_private);
        if let Some(typed_url) = &typed.base_url {
            let guard = Guard {
                allow_http: typed.allow_http,
                allow_private: &networks,
            };
            if let Err(refusal) = origin(typed_url, &guard) {
                self.error(&place.key("base_url"), refusal.what(), refusal.help());
                return None;
            }
        }
        let wants_base = BASE_URL.iter().any(|tag| http.url.contains(tag));
        match typed.base_url.or(base_url) {
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
        http.allow_http |= typed.allow_http;
        http.allow_private.extend(typed.allow_private);
        Some(http)
    }
}

/// How a gateway's request names the server. Filled in as text here, so that the origin is as static as any other.
const BASE_URL: [&str; 2] = ["{{ base_url }}", "{{base_url}}"];

/// A gateway's `[reply]`: a request, and two keys of its own.
struct GatewayReply {
    http: file::Request,
    base_url: Option<String>,
    max_text_chars: Option<u32>,
}

impl GatewayReply {
    fn from_table(mut table: toml::Table) -> Result<Self, toml::de::Error> {
        let base_url = table.remove("base_url").map(String::deserialize).transpose()?;
        let max_text_chars = table.remove("max_text_chars").map(u32::deserialize).transpose()?;
        Ok(Self {
            http: file::Request::deserialize(table)?,
            base_url,
            max_text_chars,
        })
    }
}

/// Where the word stands that an error is about.
fn word_at(place: &Place, typed: &file::Consent, error: &VocabularyError) -> Place {
    let (VocabularyError::Empty(word)
    | VocabularyError::TooLong(word)
    | VocabularyError::Taken { word, .. }
    | VocabularyError::Fixed(word)
    | VocabularyError::Unknown(word)) = error;
    let lists = [
        ("exempt", &typed.exempt),
        ("opt_out_words", &typed.opt_out_words),
        ("opt_in_words", &typed.opt_in_words),
        ("help_words", &typed.help_words),
    ];
    let found = lists.into_iter().find_map(|(key, words)| {
        let item = words
            .iter()
            .position(|typed| typed == word || normalise(typed) == *word)?;
        Some(place.key(key).item(item))
    });
    found.unwrap_or_else(|| place.clone())
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

struct Texts {
    opt_out: Option<Template>,
    opt_in: Option<Template>,
    help: Option<Template>,
}

/// What came of an endpoint's secrets.
enum Fetched {
    Secrets(Vec<(SecretSource, SecretString)>),
    /// The operator wrote `allow_unsigned = true`.
    Unsigned,
    /// Said already.
    Failed,
}
