//! The small matcher for phrases: patterns over whole words, compiled once, tried only where their first word occurs.
//!
//! Its work is bounded: a pattern has a few elements, each repeats at most four times, and texts are short. It must not
//! know what the phrases mean.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::normalise::normalise;
use super::words::{CLASSES, list};

/// How often a repeated element may match: enough for "all of your daily", small enough to bound backtracking.
const MAX_REPEATS: usize = 4;

/// Tables of our own words, looked up several times per word of every message. Nobody outside chooses their keys, so the
/// standard hasher's defence against chosen keys is not needed.
pub(crate) type Table<K, V> = HashMap<K, V, Fnv>;
pub(crate) type Fnv = BuildHasherDefault<FnvHasher>;

/// FNV-1a (draft-eastlake-fnv), for short words.
pub(crate) struct FnvHasher(u64);

impl Default for FnvHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for FnvHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// One word of a text, or the mark of where its sentence ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token<'t> {
    pub(crate) word: &'t str,
    /// The number of the word in the [`Lexicon`]; 0 when no pattern names it.
    pub(crate) id: u16,
    /// Whether a sentence ends behind this word.
    pub(crate) ends: bool,
    /// Whether it is a number of 4 to 6 digits, as in "STOP 36180".
    pub(crate) code: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Times {
    Once,
    Perhaps,
    Often,
    Never,
}

#[derive(Default, Debug)]
struct Set {
    words: Vec<u16>,
    end: bool,
    code: bool,
}

#[derive(Debug)]
struct Element {
    set: Set,
    times: Times,
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    anchored: bool,
    elements: Vec<Element>,
}

impl Pattern {
    /// The words that a match can begin with: those of the elements up to the first that must be there.
    fn first_words(&self) -> Vec<u16> {
        let optional = self
            .elements
            .iter()
            .take_while(|element| element.times != Times::Once)
            .count();
        let mut words: Vec<u16> = self
            .elements
            .iter()
            .take(optional + 1)
            .flat_map(|e| e.set.words.iter().copied())
            .collect();
        words.sort_unstable();
        words.dedup();
        words
    }
}

/// The words that patterns name, numbered.
#[derive(Default, Debug)]
pub(crate) struct Lexicon {
    ids: Table<String, u16>,
    classes: Table<&'static str, Vec<u16>>,
}

impl Lexicon {
    /// The words of all classes; patterns add theirs as they are compiled.
    pub(crate) fn new() -> Self {
        let mut lexicon = Self::default();
        for (name, words) in CLASSES {
            let ids = list(words).filter_map(|word| lexicon.intern(word)).collect();
            lexicon.classes.insert(name, ids);
        }
        lexicon
    }

    /// The numbers of single words, sorted.
    pub(crate) fn numbers(&mut self, words: &'static str) -> Vec<u16> {
        let mut ids: Vec<u16> = list(words).filter_map(|word| self.intern(word)).collect();
        ids.sort_unstable();
        ids
    }

    /// The number of a word; 0 for a word that no pattern names.
    pub(crate) fn id(&self, word: &str) -> u16 {
        self.ids.get(word).copied().unwrap_or(0)
    }

    fn intern(&mut self, word: &str) -> Option<u16> {
        let word = normalise(word);
        if word.is_empty() || word.contains(' ') {
            return None;
        }
        let next = u16::try_from(self.ids.len() + 1).ok()?;
        Some(*self.ids.entry(word).or_insert(next))
    }
}

/// Patterns of one kind, found by their first word.
#[derive(Debug, Default)]
pub(crate) struct Phrases {
    patterns: Vec<Pattern>,
    /// By the number of the first word: which patterns to try.
    by_first: Vec<Vec<u16>>,
}

impl Phrases {
    /// Compiles patterns; one that cannot be read is left out, which a test rules out for the built-in ones.
    pub(crate) fn compile(source: impl IntoIterator<Item = &'static str>, lexicon: &mut Lexicon) -> Self {
        let mut phrases = Self::default();
        for pattern in source.into_iter().filter_map(|text| compile(text, lexicon)) {
            let number = u16::try_from(phrases.patterns.len()).unwrap_or(u16::MAX);
            for word in pattern.first_words() {
                phrases.enter(word, number);
            }
            phrases.patterns.push(pattern);
        }
        phrases
    }

    fn enter(&mut self, word: u16, number: u16) {
        let word = usize::from(word);
        if self.by_first.len() <= word {
            self.by_first.resize_with(word + 1, Vec::new);
        }
        if let Some(patterns) = self.by_first.get_mut(word) {
            patterns.push(number);
        }
    }

    /// The first words that match a pattern (the most of them, for the evidence), unless `accept` (given their position) objects.
    pub(crate) fn find<'a, 't>(
        &self,
        tokens: &'a [Token<'t>],
        accept: impl Fn(usize) -> bool,
    ) -> Option<&'a [Token<'t>]> {
        (0..tokens.len()).find_map(|at| self.at(tokens, at).filter(|_| accept(at)))
    }

    fn at<'a, 't>(&self, tokens: &'a [Token<'t>], at: usize) -> Option<&'a [Token<'t>]> {
        let numbers = self.by_first.get(usize::from(tokens.get(at)?.id))?;
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        let starts_sentence = before.is_none_or(|before| before.ends);
        let rest = rest_of_sentence(tokens, at);
        let patterns = numbers
            .iter()
            .filter_map(|number| self.patterns.get(usize::from(*number)));
        let candidates = patterns.filter(|pattern| starts_sentence || !pattern.anchored);
        let length = candidates
            .filter_map(|pattern| matches(&pattern.elements, rest))
            .max()?;
        rest.get(..length)
    }
}

/// How many words the elements take from the beginning of a sentence's rest, when they match.
fn matches(elements: &[Element], rest: &[Token<'_>]) -> Option<usize> {
    let Some((element, later)) = elements.split_first() else {
        return Some(0);
    };
    let taken = |n: usize| Some(n + matches(later, rest.get(n..)?)?);
    let here = rest.first().is_some_and(|token| element.set.takes(token));
    match element.times {
        Times::Never if here => None,
        Times::Once if here => taken(1),
        Times::Once if element.set.end && rest.is_empty() => taken(0),
        Times::Once => None,
        Times::Perhaps if here => taken(1).or_else(|| taken(0)),
        Times::Never | Times::Perhaps => taken(0),
        Times::Often => {
            let run = rest
                .iter()
                .take(MAX_REPEATS)
                .take_while(|token| element.set.takes(token))
                .count();
            (0..=run).rev().find_map(taken)
        }
    }
}

/// The words from `at` to the end of their sentence.
fn rest_of_sentence<'a, 't>(tokens: &'a [Token<'t>], at: usize) -> &'a [Token<'t>] {
    let rest = tokens.get(at..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|token| token.ends)
        .map_or(rest.len(), |last| last + 1);
    rest.get(..length).unwrap_or_default()
}

impl Set {
    fn takes(&self, token: &Token<'_>) -> bool {
        (token.id != 0 && self.words.binary_search(&token.id).is_ok()) || (self.code && token.code)
    }
}

fn compile(text: &'static str, lexicon: &mut Lexicon) -> Option<Pattern> {
    let mut elements = Vec::new();
    let mut anchored = false;
    for part in text.split_whitespace() {
        if part == "^" {
            anchored = true;
        } else {
            elements.push(element(part, lexicon)?);
        }
    }
    elements
        .iter()
        .any(|element| element.times == Times::Once)
        .then_some(Pattern { anchored, elements })
}

fn element(part: &'static str, lexicon: &mut Lexicon) -> Option<Element> {
    let (times, body) = match part.strip_prefix('!') {
        Some(body) => (Times::Never, body),
        None => match (part.strip_suffix('?'), part.strip_suffix('*')) {
            (Some(body), _) => (Times::Perhaps, body),
            (_, Some(body)) => (Times::Often, body),
            (None, None) => (Times::Once, part),
        },
    };
    let mut set = Set::default();
    for choice in body.split('|') {
        match choice {
            "$" => set.end = true,
            "#code" => set.code = true,
            _ => match choice.strip_prefix('@') {
                Some(class) => set.words.extend(lexicon.classes.get(class)?),
                None => set.words.push(lexicon.intern(choice)?),
            },
        }
    }
    set.words.sort_unstable();
    set.words.dedup();
    Some(Element { set, times })
}

#[cfg(test)]
mod tests {
    use super::super::words::{ECHOES, REFUSING, STOPPING};
    use super::*;

    #[test]
    fn every_built_in_pattern_can_be_read() {
        let mut lexicon = Lexicon::new();
        for text in [STOPPING, REFUSING, ECHOES].concat() {
            assert!(compile(text, &mut lexicon).is_some(), "{text}");
        }
    }
}
