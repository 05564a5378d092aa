//! The TOML as parsed, with the place of everything in it; and filling structs from it so that one mistake does not hide
//! the next: what is wrong is noted, taken out, and the rest is tried again.
//!
//! It knows no key of ours: those are in `file`, and what they mean is in `read`.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{DeserializeOwned, IntoDeserializer as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mask::is_secret_key;

/// Where something is in the document: `action`, `hours`, `http`, `json`, …; items of lists by number from 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Place(Vec<Step>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Key(String),
    Item(usize),
}

impl Place {
    pub(super) fn root() -> Self {
        Self::default()
    }

    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    pub(super) fn item(&self, item: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Item(item));
        Self(steps)
    }

    /// Whether this is `other` or inside it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether what stands here is a secret, by the names of the keys that lead to it.
    fn is_secret(&self) -> bool {
        self.0
            .iter()
            .any(|step| matches!(step, Step::Key(key) if is_secret_key(key)))
            || matches!(self.0.as_slice(), [Step::Key(section), Step::Key(key), ..] if section == "database" && key == "url")
    }
}

/// A parsed document.
pub(super) struct Document<'i> {
    root: Spanned<DeValue<'i>>,
}

/// A mistake found while filling a struct.
pub(super) struct Mistake {
    pub(super) place: Place,
    pub(super) span: Range<usize>,
    pub(super) kind: MistakeKind,
}

pub(super) enum MistakeKind {
    /// No such key; the ones there are.
    UnknownKey { key: String, known: Vec<String> },
    /// A key that must be there is not.
    MissingKey(String),
    /// A value of the wrong type or spelling.
    WrongValue(String),
}

impl<'i> Document<'i> {
    pub(super) fn parse(text: &'i str) -> Result<Self, toml::de::Error> {
        let table = DeTable::parse(text)?;
        let span = table.span();
        Ok(Self {
            root: Spanned::new(span, DeValue::Table(table.into_inner())),
        })
    }

    /// What stands at `place`.
    pub(super) fn get(&self, place: &Place) -> Option<&Spanned<DeValue<'i>>> {
        place.0.iter().try_fold(&self.root, |value, step| match step {
            Step::Key(key) => value.get_ref().get(key.as_str()),
            Step::Item(item) => value.get_ref().get(*item),
        })
    }

    /// The keys of the table at `place`, in the order of the file.
    pub(super) fn keys(&self, place: &Place) -> Vec<String> {
        let mut keys: Vec<_> = self
            .get(place)
            .and_then(|value| value.get_ref().as_table())
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| (key.span().start, key.get_ref().to_string()))
            .collect();
        keys.sort();
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// How many items the list at `place` has; `None` if there is something else.
    pub(super) fn items(&self, place: &Place) -> Option<usize> {
        self.get(place)?.get_ref().as_array().map(|array| array.len())
    }

    /// Where `place` is in the text; if it is not there, where the nearest thing around it is.
    pub(super) fn span(&self, place: &Place) -> Option<Range<usize>> {
        let mut found = None;
        let mut value = &self.root;
        for step in &place.0 {
            let next = match step {
                Step::Key(key) => value.get_ref().get(key.as_str()),
                Step::Item(item) => value.get_ref().get(*item),
            };
            let Some(next) = next else { break };
            found = Some(next.span());
            value = next;
        }
        found
    }

    /// Where the key `key` of the table at `place` is in the text.
    pub(super) fn key_span(&self, place: &Place, key: &str) -> Option<Range<usize>> {
        let table = self.get(place)?.get_ref().as_table()?;
        let (key, _) = table.get_key_value(key)?;
        Some(key.span())
    }

    /// Fills a `T` from what stands at `place`. What is wrong is returned with whatever could still be made.
    ///
    /// `given` are texts for keys that the operator need not write.
    pub(super) fn fill<T: DeserializeOwned>(&self, place: &Place, given: &[(&str, &str)]) -> (Option<T>, Vec<Mistake>) {
        let Some(value) = self.get(place) else {
            return (None, Vec::new());
        };
        let mut value = value.clone();
        add(&mut value, given);
        self.fill_from(value, place)
    }

    /// As [`Document::fill`] from `merged`, of which only a part stands at `place`: what does not is not pointed at.
    pub(super) fn fill_merged<T: DeserializeOwned>(
        &self,
        place: &Place,
        merged: &toml::Table,
    ) -> (Option<T>, Vec<Mistake>) {
        let text = merged.to_string();
        match DeTable::parse(&text) {
            Ok(table) => {
                let value = Spanned::new(NOWHERE, DeValue::Table(table.into_inner()));
                self.fill_from(relocated(value, self.get(place)), place)
            }
            // What was written as TOML is TOML.
            Err(_) => (None, Vec::new()),
        }
    }

    fn fill_from<T: DeserializeOwned>(
        &self,
        mut value: Spanned<DeValue<'_>>,
        place: &Place,
    ) -> (Option<T>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        loop {
            let error = match T::deserialize(value.clone().into_deserializer()) {
                Ok(filled) => return (Some(filled), mistakes),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| value.span());
            let (span, removed) = if span == NOWHERE {
                (self.span(place).unwrap_or_default(), None)
            } else {
                let removed = remove(&mut value, &span, place);
                (span, removed)
            };
            let at = removed.clone().unwrap_or_else(|| place.clone());
            mistakes.push(Mistake {
                kind: kind(error.message(), &at),
                place: at,
                span,
            });
            if removed.is_none() {
                return (None, mistakes);
            }
        }
    }
}

/// In no text, so that nothing else is taken for it.
const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// `value` with the places of `typed` for what is in both, and nowhere for the rest.
fn relocated<'m>(value: Spanned<DeValue<'m>>, typed: Option<&Spanned<DeValue<'_>>>) -> Spanned<DeValue<'m>> {
    let span = typed.map_or(NOWHERE, Spanned::span);
    let value = match value.into_inner() {
        DeValue::Table(table) => {
            let typed = typed.and_then(|typed| typed.get_ref().as_table());
            let mut placed = DeTable::new();
            for (key, value) in table {
                let typed = typed.and_then(|typed| typed.get_key_value(key.get_ref().as_ref()));
                let span = typed.map_or(NOWHERE, |(key, _)| key.span());
                let value = relocated(value, typed.map(|(_, value)| value));
                placed.insert(Spanned::new(span, key.into_inner()), value);
            }
            DeValue::Table(placed)
        }
        DeValue::Array(array) => {
            let typed = typed.and_then(|typed| typed.get_ref().as_array());
            let items = array.into_iter().enumerate();
            let placed = items.map(|(item, value)| relocated(value, typed.and_then(|typed| typed.get(item))));
            DeValue::Array(placed.collect())
        }
        plain => plain,
    };
    Spanned::new(span, value)
}

fn add(value: &mut Spanned<DeValue<'_>>, given: &[(&str, &str)]) {
    let span = NOWHERE;
    let DeValue::Table(table) = value.get_mut() else { return };
    for (key, text) in given
        .iter()
        .filter(|(key, _)| !table.contains_key(*key))
        .collect::<Vec<_>>()
    {
        let (key, text) = (Cow::Owned((*key).to_owned()), Cow::Owned((*text).to_owned()));
        table.insert(
            Spanned::new(span.clone(), key),
            Spanned::new(span.clone(), DeValue::String(text)),
        );
    }
}

/// What a message of serde's says, without any value it quotes.
fn kind(message: &str, place: &Place) -> MistakeKind {
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    if message.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        return MistakeKind::UnknownKey {
            key,
            known: quoted.collect(),
        };
    }
    if message.starts_with("missing field") {
        return MistakeKind::MissingKey(quoted.next().unwrap_or_default());
    }
    let wrong = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    let without_value = wrong.and_then(|wrong| {
        let (found, expected) = wrong.rsplit_once(", expected ")?;
        let found = found.split(['"', '`']).next().unwrap_or(found).trim();
        Some(format!("expected {}, found {}", in_toml(expected), article(found)))
    });
    MistakeKind::WrongValue(match without_value {
        Some(text) => text,
        // What we say ourselves begins so and quotes nothing.
        None if place.is_secret() && !message.starts_with("a secret ") => {
            "this is not how a secret is given".to_owned()
        }
        None => message.lines().next().unwrap_or_default().to_owned(),
    })
}

/// What serde expected, in TOML's words.
fn in_toml(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        "u32" | "i64" => "a whole number",
        "a boolean" => "true or false",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    }
}

fn article(found: &str) -> String {
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ if found.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {found}"),
        _ => format!("a {found}"),
    }
}

/// Takes out the entry whose key or value is at `span`, wherever in `value` it is; tells where that was.
fn remove(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>, place: &Place) -> Option<Place> {
    match value.get_mut() {
        DeValue::Table(table) => {
            let hit = table
                .iter()
                .find(|(key, value)| key.span() == *span || value.span() == *span);
            if let Some(key) = hit.map(|(key, _)| key.get_ref().to_string()) {
                table.remove(key.as_str());
                return Some(place.key(&key));
            }
            table
                .iter_mut()
                .find_map(|(key, value)| remove(value, span, &place.key(key.get_ref())))
        }
        DeValue::Array(array) => {
            let hit = array.iter().position(|item| item.span() == *span);
            if let Some(hit) = hit {
                let kept = array.iter().enumerate().filter(|(item, _)| *item != hit);
                *array = kept.map(|(_, value)| value.clone()).collect();
                return Some(place.item(hit));
            }
            array
                .iter_mut()
                .enumerate()
                .find_map(|(item, value)| remove(value, span, &place.item(item)))
        }
        _ => None,
    }
}

/// The word of `known` that `typed` was likely meant to be.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.chars().count() / 4)
        .min()
        .map(|(_, word)| word)
}
