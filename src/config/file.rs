//! The configuration as it is typed: every key there is, and of what type. What a value means, and whether it makes sense,
//! is `read`'s business; defaults are there, too.
//!
//! Durations and sizes are always text with a unit (`"10s"`, `"1MiB"`). Secrets are kept away from `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub(super) use crate::connector::Statuses;

/// The whole file. Endpoints, actions, rules and gateways are filled one by one, so that one cannot hide another's mistakes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Root {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) server: Server,
    pub(super) admin: Admin,
    pub(super) database: Database,
    pub(super) worker: Worker,
    pub(super) loop_guard: LoopGuard,
    pub(super) retention: Retention,
    pub(super) privacy: Privacy,
    endpoint: IgnoredAny,
    gateway: IgnoredAny,
    connector: IgnoredAny,
    action: IgnoredAny,
    rule: IgnoredAny,
    webhook: IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) max_body: Option<Quantity>,
    pub(super) header_timeout: Option<Quantity>,
    pub(super) body_timeout: Option<Quantity>,
    pub(super) accept_deadline: Option<Quantity>,
    pub(super) max_connections: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: Option<String>,
    pub(super) token: Option<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Database {
    pub(super) url: Option<Secret>,
    pub(super) max_connections: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) concurrency: Option<u32>,
    pub(super) poll: Option<Quantity>,
    pub(super) stop_grace: Option<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LoopGuard {
    pub(super) limits: Option<Vec<Limit>>,
    pub(super) same_reply: Option<Switch<Limit>>,
    pub(super) same_text: Option<Switch<SameText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SameText {
    pub(super) texts: u32,
    pub(super) within: Quantity,
    pub(super) silence: Quantity,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    pub(super) replies: u32,
    pub(super) within: Quantity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retention {
    pub(super) messages: Option<Quantity>,
    pub(super) consent: Option<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Privacy {
    pub(super) erasure_key: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) gateway: String,
    pub(super) public_url: Option<String>,
    #[serde(default)]
    pub(super) secrets: Vec<SigningSecret>,
    #[serde(default)]
    pub(super) retired_secrets: Vec<SigningSecret>,
    pub(super) secret_encoding: Option<String>,
    pub(super) tolerance: Option<Quantity>,
    pub(super) nonce_memory: Option<Quantity>,
    pub(super) mode: Option<Mode>,
    #[serde(default)]
    pub(super) observe_runs_actions: bool,
    pub(super) keep_refused: Option<KeepRefused>,
    #[serde(default)]
    pub(super) allow_unsigned: bool,
    pub(super) numbers: Option<String>,
    #[serde(default)]
    pub(super) recipients: BTreeMap<String, String>,
    pub(super) reassembly_wait: Option<Quantity>,
    pub(super) reply: Option<EndpointReply>,
    #[serde(default)]
    pub(super) skip_reply_if_gateway_rule_matched: bool,
    pub(super) suppression_group: Option<String>,
    #[serde(default)]
    pub(super) suppression_groups: BTreeMap<String, String>,
    pub(super) store_text: Option<bool>,
    #[serde(default)]
    pub(super) consent: Consent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Enforce,
    Observe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepRefused {
    pub(super) count: Option<u32>,
    pub(super) bytes: Option<Quantity>,
    pub(super) age: Option<Quantity>,
}

/// How an endpoint replies: the gateway's file has the request, this has the account. The keys that every gateway has; the
/// settings that one names stand beside them and are read one by one.
#[derive(Debug, Deserialize)]
pub(super) struct EndpointReply {
    pub(super) token: Option<Secret>,
    pub(super) password: Option<Secret>,
    pub(super) base_url: Option<String>,
    #[serde(default)]
    pub(super) allow_private: Vec<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
    pub(super) max_text_chars: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Consent {
    pub(super) opt_out_words: Vec<String>,
    pub(super) opt_in_words: Vec<String>,
    pub(super) help_words: Vec<String>,
    pub(super) exempt: Vec<String>,
    pub(super) phrases: Option<Phrases>,
    pub(super) brand: Option<String>,
    pub(super) contact: Option<String>,
    pub(super) language: Option<String>,
    pub(super) opt_out_text: Option<AnswerText>,
    pub(super) opt_in_text: Option<AnswerText>,
    pub(super) help_text: Option<AnswerText>,
    pub(super) on_opt_out: Vec<String>,
    pub(super) on_opt_in: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phrases {
    Suppress,
    Review,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    pub(super) reply: Option<Reply>,
    pub(super) http: Option<Request>,
    pub(super) log: Option<Log>,
    pub(super) connector: Option<IgnoredAny>,
    pub(super) email: Option<Email>,
    #[serde(default)]
    pub(super) after: Vec<String>,
    pub(super) timeout: Option<Quantity>,
    pub(super) max_attempts: Option<u32>,
    pub(super) concurrency: Option<u32>,
    pub(super) retry_base: Option<Quantity>,
    pub(super) retry_cap: Option<Quantity>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) on_unknown: Option<OnUnknown>,
}

/// The keys that every connector action has; the connector's own knobs stand beside them and are read one by one.
#[derive(Debug, Deserialize)]
pub(super) struct Connector {
    pub(super) r#use: String,
    pub(super) flow: Option<String>,
    pub(super) create_contact: Option<bool>,
    pub(super) several: Option<Several>,
    pub(super) closed: Option<Closed>,
    pub(super) on_unknown: Option<OnUnknown>,
    pub(super) base_url: Option<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
    #[serde(default)]
    pub(super) allow_private: Vec<String>,
    #[serde(default)]
    pub(super) any_host: bool,
    pub(super) rate: Option<Rate>,
    pub(super) settle: Option<Quantity>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    pub(super) requests: u32,
    pub(super) per: Quantity,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Several {
    First,
    Fail,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Closed {
    Reopen,
    New,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Email {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) tls: Option<EmailTls>,
    #[serde(default)]
    pub(super) allow_plain: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) from: String,
    pub(super) to: Words,
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    pub(super) on_unknown: Option<OnUnknown>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EmailTls {
    Starttls,
    Tls,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnUnknown {
    Resend,
    Skip,
    Hold,
}

/// A request: of an `http` action, or (without `base_url` and `max_text_chars`) of a gateway's `[reply]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: Option<String>,
    pub(super) url: String,
    #[serde(default)]
    pub(super) query: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Header>,
    pub(super) json: Option<toml::Value>,
    pub(super) form: Option<BTreeMap<String, String>>,
    pub(super) body: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) sign: Option<Sign>,
    pub(super) success: Option<Vec<Statuses>>,
    pub(super) retry: Option<Vec<Statuses>>,
    #[serde(default)]
    pub(super) require: BTreeMap<String, toml::Value>,
    #[serde(default)]
    pub(super) capture: BTreeMap<String, Capture>,
    pub(super) error_pointer: Option<String>,
    pub(super) on_unknown: Option<OnUnknown>,
    pub(super) max_response: Option<Quantity>,
    #[serde(default)]
    pub(super) allow_private: Vec<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sign {
    pub(super) scheme: SignScheme,
    pub(super) secrets: Vec<Secret>,
}

#[derive(Debug, Deserialize)]
pub(super) enum SignScheme {
    #[serde(rename = "standard-webhooks")]
    StandardWebhooks,
}

/// Who is told of changes of consent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) secrets: Vec<Secret>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Header>,
    pub(super) timeout: Option<Quantity>,
    #[serde(default)]
    pub(super) allow_private: Vec<String>,
    #[serde(default)]
    pub(super) allow_http: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) exact: Option<Words>,
    pub(super) first_word: Option<Words>,
    pub(super) contains: Option<Words>,
    pub(super) starts_with: Option<Words>,
    pub(super) regex: Option<Words>,
    pub(super) any: Option<bool>,
    #[serde(default)]
    pub(super) endpoints: Vec<String>,
    #[serde(default)]
    pub(super) from: Vec<String>,
    pub(super) actions: Vec<String>,
    #[serde(default)]
    pub(super) r#continue: bool,
}

/// A duration or a size: text with a unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Quantity(pub(super) String);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text with a unit, such as \"10s\" or \"1MiB\"")
            }
            fn visit_str<E>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// One word or a list of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// A table, or `false` for none.
#[derive(Debug)]
pub(super) enum Switch<T> {
    On(T),
    Off,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrFalse<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableOrFalse<T> {
            type Value = Switch<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or false for none")
            }
            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Switch<T>, E> {
                if value {
                    Err(E::custom("expected a table, or false for none, found true"))
                } else {
                    Ok(Switch::Off)
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }
        deserializer.deserialize_any(TableOrFalse(PhantomData))
    }
}

/// What is answered: a text for everybody, one for each of some languages, or `false` for none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum AnswerText {
    One(String),
    /// By language.
    ByLanguage(BTreeMap<String, String>),
    None,
}

impl<'de> Deserialize<'de> for AnswerText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsOrFalse;
        impl<'de> Visitor<'de> for TextsOrFalse {
            type Value = AnswerText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a table of texts by language, or false for none")
            }
            fn visit_str<E>(self, text: &str) -> Result<AnswerText, E> {
                Ok(AnswerText::One(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AnswerText, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(AnswerText::ByLanguage)
            }
            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<AnswerText, E> {
                if value {
                    Err(E::custom("expected a text, or false for none, found true"))
                } else {
                    Ok(AnswerText::None)
                }
            }
        }
        deserializer.deserialize_any(TextsOrFalse)
    }
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub(super) enum Secret {
    Inline(SecretString),
    Env(String),
    File(PathBuf),
    /// In this file of the data directory; smshook makes it.
    Generated(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretTable {
    env: Option<String>,
    file: Option<PathBuf>,
    generated: Option<String>,
}

const ONE_SOURCE: &str =
    "a secret is given as exactly one of { env = \"NAME\" }, { file = \"PATH\" } and { generated = \"NAME\" }";

impl SecretTable {
    fn secret(self) -> Option<Secret> {
        match self {
            Self {
                env: Some(env),
                file: None,
                generated: None,
            } => Some(Secret::Env(env)),
            Self {
                env: None,
                file: Some(file),
                generated: None,
            } => Some(Secret::File(file)),
            Self {
                env: None,
                file: None,
                generated: Some(name),
            } => Some(Secret::Generated(name)),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret such as { env = \"NAME\" } or { file = \"PATH\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Inline(SecretString::from(text)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                SecretTable::deserialize(MapAccessDeserializer::new(map))?
                    .secret()
                    .ok_or_else(|| A::Error::custom(ONE_SOURCE))
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

/// A secret that deliveries are signed with: as any other, and what it is for where the gateway's file does not say so.
#[derive(Clone, Debug)]
pub(super) struct SigningSecret {
    pub(super) secret: Secret,
    pub(super) algorithm: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningSecretTable {
    env: Option<String>,
    file: Option<PathBuf>,
    generated: Option<String>,
    algorithm: Option<String>,
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = SigningSecret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret such as { env = \"NAME\" } or { file = \"PATH\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<SigningSecret, E> {
                Ok(SigningSecret {
                    secret: Secret::Inline(SecretString::from(text)),
                    algorithm: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SigningSecret, A::Error> {
                let SigningSecretTable {
                    env,
                    file,
                    generated,
                    algorithm,
                } = SigningSecretTable::deserialize(MapAccessDeserializer::new(map))?;
                let secret = SecretTable { env, file, generated }.secret();
                Ok(SigningSecret {
                    secret: secret.ok_or_else(|| A::Error::custom(ONE_SOURCE))?,
                    algorithm,
                })
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

/// A header's value.
#[derive(Debug)]
pub(super) enum Header {
    Rendered(String),
    Secret {
        prefix: String,
        secret: Secret,
    },
    /// One of the endpoint's `reply` keys; only in gateway files.
    Credential {
        prefix: String,
        credential: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderTable {
    env: Option<String>,
    file: Option<PathBuf>,
    credential: Option<String>,
    #[serde(default)]
    prefix: String,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a secret such as { env = \"NAME\", prefix = \"Bearer \" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<Header, E> {
                Ok(Header::Rendered(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Header, A::Error> {
                let HeaderTable {
                    env,
                    file,
                    credential,
                    prefix,
                } = HeaderTable::deserialize(MapAccessDeserializer::new(map))?;
                match (env, file, credential) {
                    (Some(env), None, None) => Ok(Header::Secret {
                        prefix,
                        secret: Secret::Env(env),
                    }),
                    (None, Some(file), None) => Ok(Header::Secret {
                        prefix,
                        secret: Secret::File(file),
                    }),
                    (None, None, Some(credential)) => Ok(Header::Credential { prefix, credential }),
                    _ => Err(A::Error::custom(
                        "a secret in a header is given as exactly one of env and file, with an optional prefix",
                    )),
                }
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

/// What to keep of an answer: a JSON pointer, or a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Capture {
    Pointer(String),
    Header(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureTable {
    header: String,
}

impl<'de> Deserialize<'de> for Capture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PointerOrHeader;
        impl<'de> Visitor<'de> for PointerOrHeader {
            type Value = Capture;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer such as \"/id\", or { header = \"Location\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<Capture, E> {
                Ok(Capture::Pointer(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Capture, A::Error> {
                let table = CaptureTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Capture::Header(table.header))
            }
        }
        deserializer.deserialize_any(PointerOrHeader)
    }
}
