//! The small matcher for phrases: patterns over whole words, compiled once, tried only where their first word occurs and
//! the words that they cannot do without are in the sentence.
//!
//! Its work is bounded: a pattern has a few elements, each repeats at most four times, and texts are short. It must not
//! know what the phrases mean.

use super::lexicon::{Lexicon, Run, Token};

/// How often a repeated element may match: enough for "all of your daily", small enough to bound backtracking.
const MAX_REPEATS: usize = 4;

/// Some words, roughly: a bit for every 256th number. Tells in a few instructions that none of two sets' words is common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Bits([u64; 4]);

impl Bits {
    const ALL: Self = Self([u64::MAX; 4]);

    fn of(ids: impl Iterator<Item = u16>) -> Self {
        let mut bits = Self::default();
        ids.for_each(|id| bits.add(id));
        bits
    }

    fn add(&mut self, id: u16) {
        if let Some(part) = self.0.get_mut(usize::from(id >> 6 & 3)) {
            *part |= 1 << (id & 63);
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }
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
    /// A bit for every 64th number: most words are not in most sets.
    few: u64,
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
    language: Option<&'static str>,
    anchored: bool,
    elements: Vec<Element>,
    /// Of each element that must be there, its words; the fewest first.
    required: Vec<Bits>,
    /// The same of the rarest that comes after the first word.
    rarest: Bits,
    /// How many words there are at least.
    shortest: usize,
}

impl Pattern {
    fn new(language: Option<&'static str>, anchored: bool, elements: Vec<Element>) -> Self {
        let mut once: Vec<(usize, &Set)> = elements
            .iter()
            .enumerate()
            .filter(|(_, element)| element.times == Times::Once && !element.set.end)
            .map(|(at, element)| (at, &element.set))
            .collect();
        let shortest = once.len();
        once.retain(|(_, set)| !set.code);
        once.sort_by_key(|(_, set)| set.words.len());
        let bits = |(_, set): &(usize, &Set)| Bits::of(set.words.iter().copied());
        Self {
            language,
            anchored,
            required: once.iter().map(bits).collect(),
            rarest: once.iter().find(|(at, _)| *at > 0).map_or(Bits::ALL, bits),
            shortest,
            elements,
        }
    }

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

    /// How many words it takes from the beginning of a sentence's rest, when it matches.
    fn length(&self, rest: &[Token<'_>], sentence: &Bits) -> Option<usize> {
        let possible = self.shortest <= rest.len() && self.required.iter().all(|words| words.meets(sentence));
        if possible { matches(&self.elements, rest) } else { None }
    }
}

/// Where a pattern matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Match {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) language: Option<&'static str>,
}

/// Patterns of one kind, found by their first word.
#[derive(Debug, Default)]
pub(crate) struct Phrases {
    patterns: Vec<Pattern>,
    /// The patterns to try, by the number of the first word: `from..to` in `candidates`.
    by_first: Vec<(u32, u32)>,
    candidates: Vec<Candidate>,
}

/// A pattern to try where its first word occurs, and what rules it out at a glance in most sentences.
#[derive(Debug)]
struct Candidate {
    rarest: Bits,
    number: u16,
    anchored: bool,
}

impl Phrases {
    /// Compiles patterns and their languages; one that cannot be read is left out, which a test rules out for the built-in ones.
    pub(crate) fn compile(
        source: impl IntoIterator<Item = (Option<&'static str>, &'static str)>,
        lexicon: &mut Lexicon,
    ) -> Self {
        let patterns: Vec<Pattern> = source
            .into_iter()
            .filter_map(|(language, text)| compile(language, text, lexicon))
            .collect();
        let mut entries: Vec<(u16, u16)> = Vec::new();
        for (number, pattern) in (0_u16..).zip(&patterns) {
            entries.extend(pattern.first_words().into_iter().map(|word| (word, number)));
        }
        entries.sort_unstable();
        let mut by_first = vec![(0, 0); lexicon.size()];
        let mut from = 0;
        for run in entries.chunk_by(|a, b| a.0 == b.0) {
            let to = from + u32::try_from(run.len()).unwrap_or_default();
            let entry = run.first().and_then(|(word, _)| by_first.get_mut(usize::from(*word)));
            if let Some(entry) = entry {
                *entry = (from, to);
            }
            from = to;
        }
        let candidate = |(_, number): (u16, u16)| {
            let pattern = patterns.get(usize::from(number))?;
            Some(Candidate {
                rarest: pattern.rarest,
                number,
                anchored: pattern.anchored,
            })
        };
        let candidates = entries.into_iter().filter_map(candidate).collect();
        Self {
            patterns,
            by_first,
            candidates,
        }
    }

    /// The first words that match a pattern (the most of them, for the evidence), unless `accept` objects.
    pub(crate) fn find(&self, run: Run<'_, '_>, accept: impl Fn(Match) -> bool) -> Option<Match> {
        let mut from = 0;
        for sentence in run.tokens.split_inclusive(|token| token.ends) {
            // From the end, so that what is left of the sentence is known at each word; the first match is found last.
            let mut rest = Bits::default();
            let mut first = None;
            for (at, token) in sentence.iter().enumerate().rev() {
                rest.add(token.id);
                let found = self.at(sentence, at, &rest).map(|(length, language)| Match {
                    from: from + at,
                    to: from + at + length,
                    language,
                });
                first = found.filter(|found| accept(*found)).or(first);
            }
            if first.is_some() {
                return first;
            }
            from += sentence.len();
        }
        None
    }

    fn at(&self, sentence: &[Token<'_>], at: usize, bits: &Bits) -> Option<(usize, Option<&'static str>)> {
        let rest = sentence.get(at..)?;
        let (from, to) = *self.by_first.get(usize::from(rest.first()?.id))?;
        let candidates = self
            .candidates
            .get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)?;
        let possible = candidates
            .iter()
            .filter(|candidate| candidate.rarest.meets(bits) && (at == 0 || !candidate.anchored));
        let patterns = possible.filter_map(|candidate| self.patterns.get(usize::from(candidate.number)));
        let mut best: Option<(usize, Option<&'static str>)> = None;
        for pattern in patterns {
            let longer = pattern
                .length(rest, bits)
                .filter(|length| best.is_none_or(|(best, _)| *length > best));
            best = longer.map(|length| (length, pattern.language)).or(best);
        }
        best
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

impl Set {
    fn takes(&self, token: &Token<'_>) -> bool {
        let perhaps = self.few >> (token.id & 63) & 1 == 1 && token.id != 0;
        (perhaps && self.words.binary_search(&token.id).is_ok()) || (self.code && token.code)
    }
}

fn compile(language: Option<&'static str>, text: &'static str, lexicon: &mut Lexicon) -> Option<Pattern> {
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
        .then(|| Pattern::new(language, anchored, elements))
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
                Some(class) => set.words.extend(lexicon.class(class)?),
                None => set.words.push(lexicon.intern(choice)?),
            },
        }
    }
    set.words.sort_unstable();
    set.words.dedup();
    set.few = set.words.iter().fold(0, |few, id| few | 1 << (id & 63));
    Some(Element { set, times })
}

#[cfg(test)]
mod tests {
    use super::super::words::{ECHOES, REFUSING, STOPPING};
    use super::*;

    #[test]
    fn every_built_in_pattern_can_be_read() {
        let mut lexicon = Lexicon::new();
        let phrases = STOPPING.iter().chain(REFUSING).flat_map(|phrases| phrases.patterns);
        for text in phrases.chain(ECHOES) {
            assert!(compile(None, text, &mut lexicon).is_some(), "{text}");
        }
    }
}
