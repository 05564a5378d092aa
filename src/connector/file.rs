//! The keys of a connector file, and of what type each is.
//!
//! Shapes only: defaults that need nothing else are here; whether the parts fit together is not asked.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A connector file.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// The name by which actions refer to it.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The pages that the file was written from.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What actions can do with it; the first is the default.
    pub flows: Vec<String>,
    /// Where paths begin; `{knob}` stands for a knob of type `label` or `url`.
    pub base_url: Option<String>,
    /// What a user sets, by name.
    #[serde(default)]
    pub knobs: BTreeMap<String, Knob>,
    /// How requests prove who we are; the first that fits what is set is used.
    #[serde(default)]
    pub auth: Vec<Auth>,
    /// Headers of every request; templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How fast it may be used, and where it tells to wait.
    #[serde(default)]
    pub rate: Rate,
    /// Its own reading of failures.
    #[serde(default)]
    pub error: Vec<ErrorRule>,
    /// Its operations by name, each in one or several variants.
    #[serde(default)]
    pub operation: BTreeMap<String, OneOrMany<Operation>>,
}

/// Something that a user sets.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// What may be set.
    pub r#type: KnobType,
    /// Whether it must be.
    #[serde(default)]
    pub required: bool,
    /// Whether it chooses the account; labels and URLs always do.
    #[serde(default)]
    pub account: bool,
    /// What to set.
    pub help: Option<String>,
    /// Its value where it is not set.
    pub default: Option<toml::Value>,
    /// The texts there are, for [`KnobType::Text`]; empty: any.
    #[serde(default)]
    pub choices: Vec<String>,
    /// The hosts it may lead to, for [`KnobType::SecretUrl`]: names, or `*.` and the end of a name.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// What a knob takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnobType {
    /// One label of a host name: 1 to 63 of `a-z`, `0-9` and `-`.
    Label,
    /// The URL of a system that people host themselves.
    Url,
    /// A text as it is.
    Text,
    /// A whole number.
    Int,
    /// True or false.
    Bool,
    /// A secret.
    Secret,
    /// A secret that is a URL to send to.
    SecretUrl,
    /// Any value, its strings being templates.
    Value,
}

/// One way to prove who we are.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The knobs that must be set for it.
    #[serde(default)]
    pub when: Vec<String>,
    /// How it is done.
    pub kind: AuthKind,
    /// The header's name, for [`AuthKind::Header`].
    pub header: Option<String>,
    /// The header's value; may name `{{ knob.… }}` and `{{ secret.… }}`.
    pub value: Option<String>,
    /// The user name, for [`AuthKind::Basic`]; may name the same.
    pub username: Option<String>,
    /// The password; may name the same.
    pub password: Option<String>,
    /// The request for a token, for [`AuthKind::Token`].
    pub token: Option<TokenRequest>,
}

/// The ways to prove who we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// A token that is fetched.
    Token,
    /// User name and password (RFC 7617).
    Basic,
    /// A header.
    Header,
    /// Nothing: the URL itself is the secret.
    None,
}

/// How a token is fetched (RFC 6749, section 4.4).
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its path after the base URL.
    pub path: Option<String>,
    /// Or its whole URL.
    pub url: Option<String>,
    /// The body as JSON.
    pub json: Option<toml::Value>,
    /// Or as a form.
    pub form: Option<BTreeMap<String, String>>,
    /// Pointer of the token in the answer.
    #[serde(default = "access_token")]
    pub access_token: String,
    /// Pointer of its lifetime in seconds.
    #[serde(default = "expires_in")]
    pub expires_in: String,
    /// The header that carries it.
    #[serde(default = "authorization")]
    pub header: String,
    /// Text before it.
    #[serde(default = "bearer")]
    pub prefix: String,
}

fn access_token() -> String {
    "/access_token".to_owned()
}

fn expires_in() -> String {
    "/expires_in".to_owned()
}

fn authorization() -> String {
    "Authorization".to_owned()
}

fn bearer() -> String {
    "Bearer ".to_owned()
}

/// How fast a system may be used.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests within `per`.
    pub requests: Option<u32>,
    /// A duration such as `1m`.
    pub per: Option<String>,
    /// Where a wait is told.
    #[serde(default)]
    pub waits: Vec<Wait>,
}

/// Where a wait is told.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum Wait {
    /// In a header.
    Header(HeaderWait),
    /// In the body.
    Pointer(PointerWait),
}

/// A wait in a header.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderWait {
    /// The header.
    pub header: String,
    /// How it is written.
    pub unit: UnitWord,
}

/// A wait in the body.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointerWait {
    /// The JSON pointer.
    pub pointer: String,
    /// How it is written.
    pub unit: UnitWord,
}

/// How a wait is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitWord {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// A Unix time in seconds.
    Unix,
}

/// A failure and what it means.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// Statuses it is about.
    pub status: Vec<Statuses>,
    /// Operations it is about; empty: all.
    #[serde(default)]
    pub operations: Vec<String>,
    /// Where a value stands that is compared with `equals`.
    pub pointer: Option<String>,
    /// What it may be, as text.
    #[serde(default)]
    pub equals: Vec<String>,
    /// Texts of which one must stand in the body.
    #[serde(default)]
    pub contains: Vec<String>,
    /// What it means.
    pub means: MeaningWord,
    /// How long to wait, such as `15m`.
    pub after: Option<String>,
}

/// What a failure means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeaningWord {
    /// It passes by itself.
    Retry,
    /// Our credentials are not taken.
    Auth,
    /// The thing that it is about is not there.
    Gone,
    /// The ticket takes nothing more.
    Closed,
    /// What was to be created is there already.
    Exists,
    /// It may have been done.
    Unknown,
    /// It will never be taken.
    Refused,
}

/// One variant of an operation.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// What must hold of the knobs for this variant.
    #[serde(default)]
    pub when: BTreeMap<String, WhenValue>,
    /// What doing it twice comes to.
    pub effect: Option<EffectWord>,
    /// How long an idempotency key is honoured, such as `2h`.
    pub key_for: Option<String>,
    /// How long after an unclear end the lookup begins, such as `5s`.
    pub settle: Option<String>,
    /// What to do about an unclear end that nothing can clear up.
    pub on_unknown: Option<UnknownWord>,
    /// Whether appending opens a closed ticket again by itself.
    #[serde(default)]
    pub reopens: bool,
    /// Whether the first message's ID is remembered, so that later ones go into its thread.
    #[serde(default)]
    pub threads: bool,
    /// POST unless it says otherwise.
    pub method: Option<String>,
    /// Appended to the base URL; a template.
    pub path: Option<String>,
    /// Or the knob of type `secret_url` to send to.
    pub secret_url: Option<String>,
    /// Query parameters; templates.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers; templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as JSON, its strings being templates.
    pub json: Option<toml::Value>,
    /// Or as a form.
    pub form: Option<BTreeMap<String, String>>,
    /// Or as text.
    pub body: Option<String>,
    /// The content type of `body`.
    pub content_type: Option<String>,
    /// Statuses that mean done.
    pub success: Option<Vec<Statuses>>,
    /// What the answer must say as well.
    #[serde(default)]
    pub require: BTreeMap<String, toml::Value>,
    /// Pointer of the list of hits.
    pub items: Option<String>,
    /// Pointer of the ID within a hit.
    pub id: Option<String>,
    /// Pointers of phone numbers within a hit.
    #[serde(default)]
    pub phones: Vec<String>,
    /// Pointer of what tells the newest hit.
    pub newest: Option<String>,
    /// Only hits of which this holds; the strings are templates.
    #[serde(default)]
    pub r#where: BTreeMap<String, toml::Value>,
    /// What to keep of a hit: name → pointer.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
    /// Lookups after an unclear end, in turn.
    pub reconcile: Option<OneOrMany<Lookup>>,
}

/// A lookup of something we may have made.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// What must hold of the knobs for this lookup.
    #[serde(default)]
    pub when: BTreeMap<String, WhenValue>,
    /// GET, or POST to a search.
    pub method: Option<String>,
    /// Appended to the base URL; a template.
    pub path: Option<String>,
    /// Or the knob of type `secret_url` to ask.
    pub secret_url: Option<String>,
    /// Query parameters; templates.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers; templates.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as JSON, its strings being templates.
    pub json: Option<toml::Value>,
    /// Or as a form.
    pub form: Option<BTreeMap<String, String>>,
    /// Or as text.
    pub body: Option<String>,
    /// The content type of `body`.
    pub content_type: Option<String>,
    /// Statuses that mean done.
    pub success: Option<Vec<Statuses>>,
    /// What the answer must say as well.
    #[serde(default)]
    pub require: BTreeMap<String, toml::Value>,
    /// Pointer of the list of hits.
    pub items: Option<String>,
    /// Pointer of the ID within a hit.
    pub id: Option<String>,
    /// Pointers of phone numbers within a hit.
    #[serde(default)]
    pub phones: Vec<String>,
    /// Pointer of what tells the newest hit.
    pub newest: Option<String>,
    /// Only hits of which this holds; the strings are templates.
    #[serde(default)]
    pub r#where: BTreeMap<String, toml::Value>,
    /// What to keep of a hit: name → pointer.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
    /// Ours if the text at each pointer has this in it; templates.
    #[serde(default)]
    pub contains: BTreeMap<String, String>,
    /// How many of `found` one request can name.
    pub each: Option<usize>,
    /// Pointer of what the next page is asked for with.
    pub next: Option<String>,
}

/// What doing an operation twice comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectWord {
    /// It changes nothing.
    Read,
    /// An idempotency key is honoured.
    Keyed,
    /// A unique business key stands in.
    Unique,
    /// It can be looked up.
    Reconcilable,
    /// None of these.
    AtMostOnce,
}

/// What to do about an unclear end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownWord {
    /// The same bytes again.
    Resend,
    /// Never again.
    Skip,
    /// A person decides.
    Hold,
}

/// What a knob must be: set or not (`true`, `false`), or of this value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WhenValue {
    /// True: set (a knob of type `bool`: true). False: not.
    Set(bool),
    /// It has this value.
    Is(String),
}

impl<'de> Deserialize<'de> for WhenValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolOrText;
        impl Visitor<'_> for BoolOrText {
            type Value = WhenValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true (it is set), false (it is not) or the text it must be")
            }
            fn visit_bool<E>(self, set: bool) -> Result<WhenValue, E> {
                Ok(WhenValue::Set(set))
            }
            fn visit_str<E>(self, text: &str) -> Result<WhenValue, E> {
                Ok(WhenValue::Is(text.to_owned()))
            }
        }
        deserializer.deserialize_any(BoolOrText)
    }
}

/// One table, or a list of them.
#[derive(Clone, Debug)]
pub enum OneOrMany<T> {
    /// `[x]`.
    One(Box<T>),
    /// `[[x]]`.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them, each with its number if it stands in a list.
    pub fn iter(&self) -> impl Iterator<Item = (Option<usize>, &T)> {
        let (one, many) = match self {
            Self::One(one) => (Some((None, &**one)), [].iter()),
            Self::Many(many) => (None, many.iter()),
        };
        let many = many.enumerate().map(|(item, value)| (Some(item), value));
        one.into_iter().chain(many)
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrList<T>(std::marker::PhantomData<T>);
        impl<'de, T: serde::de::DeserializeOwned> Visitor<'de> for TableOrList<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or a list of tables")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany::One(Box::new(one)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(TableOrList(std::marker::PhantomData))
    }
}

/// A status (`200`), or a class (`"5xx"`): an inclusive range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statuses(pub u16, pub u16);

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrClass;
        const EXPECTED: &str = "a status from 100 to 599 or a class such as \"5xx\"";
        impl Visitor<'_> for NumberOrClass {
            type Value = Statuses;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Statuses, E> {
                let status = u16::try_from(number).ok().filter(|status| (100..600).contains(status));
                status
                    .map(|status| Statuses(status, status))
                    .ok_or_else(|| E::custom(format!("expected {EXPECTED}")))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Statuses, E> {
                let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
                match (class, text.parse::<i64>()) {
                    (Some(class @ 1..=5), _) => Ok(Statuses(class * 100, class * 100 + 99)),
                    (_, Ok(number)) => self.visit_i64(number),
                    _ => Err(E::custom(format!("expected {EXPECTED}"))),
                }
            }
        }
        deserializer.deserialize_any(NumberOrClass)
    }
}
