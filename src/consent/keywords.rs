//! The keywords in force: the built-in ones, what an operator adds, and what an operator exempts.
//!
//! It must keep the words that law and carriers fix out of anybody's reach.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::normalise::normalise;
use super::phrases::{Fnv, Table, Token};
use super::words::{AFFIXES, EMPHASIS, KEYWORDS, MISSPELLINGS, POLITE, RUN_ON, Strength, list};
use super::{ConsentEvent, Decision, MAX_KEYWORD_WORDS, RULES_VERSION};

/// Words of the longest keyword and of the longest politeness.
const MAX_GRAM: usize = 4;
/// Words, single letters included, of a text that can be nothing but keywords: "u n s u b s c r i b e please".
const MAX_SPELT_WORDS: usize = 14;
/// Letters that an added keyword may have.
const MAX_WORD_CHARS: usize = 64;
/// Letters beyond which a word is not looked at for misspellings.
const MAX_MISSPELT_BYTES: usize = 32;
/// Hexadecimal digits that tell one operator's changes from another's.
const VERSION_DIGITS: usize = 8;
/// Words whose letters may be repeated ("stoppp", "unsubscribee").
const STRETCHED: [&str; 10] = [
    "stop",
    "unsubscribe",
    "quit",
    "cancel",
    "end",
    "optout",
    "stopall",
    "unsub",
    "remove",
    "revoke",
];
/// An English word that differs from "stop" by a repeated letter only.
const NOT_STRETCHED: &str = "stoop";

/// What becomes of a text that asks to stop in a sentence of its own words (tier 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum PhrasePolicy {
    /// It is an opt-out like any other.
    #[default]
    Suppress,
    /// A person decides ([`ConsentEvent::Review`]). In the United States any wording that a reasonable person
    /// understands must be honoured (47 CFR 64.1200(a)(10)), so this is for elsewhere, or for who answers quickly.
    Review,
}

impl PhrasePolicy {
    /// What a text means in which a phrase was found.
    pub(crate) fn event(self) -> ConsentEvent {
        match self {
            Self::Suppress => ConsentEvent::OptOut,
            Self::Review => ConsentEvent::Review,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Suppress => "suppress",
            Self::Review => "review",
        }
    }
}

/// What an operator changes about the built-in words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Additions {
    /// Further opt-out keywords.
    pub opt_out: Vec<String>,
    /// Further opt-in keywords.
    pub opt_in: Vec<String>,
    /// Further help keywords.
    pub help: Vec<String>,
    /// Built-in keywords that mean something else here, such as `cancel` for appointments.
    pub exempt: Vec<String>,
    /// What becomes of phrases.
    pub phrases: PhrasePolicy,
}

/// Why a word cannot be added or exempted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VocabularyError {
    /// Nothing is left of it: no letter, no digit.
    #[error("the keyword {0:?} has no letter and no digit")]
    Empty(String),
    /// Nobody types that.
    #[error("a keyword may have at most 64 characters and 4 words: {0:?} is longer")]
    TooLong(String),
    /// It already means something else.
    #[error("{word:?} cannot be {wanted}: it already is {existing}")]
    Taken {
        /// The word, normalised.
        word: String,
        /// What it was added as.
        wanted: &'static str,
        /// What it is.
        existing: &'static str,
    },
    /// The law or the carriers fix it.
    #[error("{0:?} can never be exempt")]
    Fixed(String),
    /// Exempting it changes nothing: a typing error, most likely.
    #[error("{0:?} is no built-in keyword, so there is nothing to exempt")]
    Unknown(String),
}

/// The keywords in force. The default is the built-in ones.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    added: BTreeMap<String, ConsentEvent>,
    exempt: BTreeSet<String>,
    phrases: PhrasePolicy,
    rules_version: Cow<'static, str>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self {
            added: BTreeMap::new(),
            exempt: BTreeSet::new(),
            phrases: PhrasePolicy::default(),
            rules_version: Cow::Borrowed(RULES_VERSION),
        }
    }
}

/// A keyword found in a text.
struct Found {
    event: ConsentEvent,
    strength: Strength,
    keyword: Cow<'static, str>,
    language: Option<&'static str>,
}

/// What the built-in lists say of a keyword.
struct Listed {
    event: ConsentEvent,
    strength: Strength,
    /// As listed.
    keyword: &'static str,
    language: Option<&'static str>,
}

/// A set of normalised words.
type Words = HashSet<String, Fnv>;

struct BuiltIn {
    keywords: Table<String, Listed>,
    misspellings: Table<String, &'static str>,
    stretched: Table<String, &'static str>,
    run_on: HashSet<&'static str>,
    polite: Words,
    emphasis: Words,
    affixes: Vec<String>,
    /// The first words of keywords and politeness of several words.
    multiple: Words,
}

static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| {
    let mut keywords = Table::default();
    for group in KEYWORDS {
        for word in list(group.words) {
            // The first group that names a word decides: some words belong to several languages.
            keywords.entry(normalise(word)).or_insert(Listed {
                event: group.event,
                strength: group.strength,
                keyword: word,
                language: group.language,
            });
        }
    }
    let misspellings = MISSPELLINGS
        .iter()
        .flat_map(|(word, wrong)| list(wrong).map(|wrong| (normalise(wrong), *word)));
    let polite: Words = list(POLITE).map(normalise).collect();
    BuiltIn {
        misspellings: misspellings.collect(),
        stretched: STRETCHED.iter().map(|word| (squeezed(word), *word)).collect(),
        run_on: list(RUN_ON).collect(),
        emphasis: list(EMPHASIS).map(normalise).collect(),
        multiple: keywords
            .keys()
            .chain(&polite)
            .filter_map(|gram| first_of_many(gram))
            .collect(),
        keywords,
        polite,
        affixes: list(AFFIXES).map(normalise).collect(),
    }
});

impl Vocabulary {
    /// The built-in words with an operator's additions and exemptions.
    ///
    /// # Errors
    ///
    /// Every word that cannot be taken, not only the first.
    pub fn with(additions: &Additions) -> Result<Self, Vec<VocabularyError>> {
        let mut vocabulary = Self {
            phrases: additions.phrases,
            ..Self::default()
        };
        let mut problems = Vec::new();
        for word in &additions.exempt {
            match exemption(word) {
                Ok(word) => drop(vocabulary.exempt.insert(word)),
                Err(problem) => problems.push(problem),
            }
        }
        let lists = [
            (ConsentEvent::OptOut, &additions.opt_out),
            (ConsentEvent::OptIn, &additions.opt_in),
            (ConsentEvent::Help, &additions.help),
        ];
        for (event, words) in lists {
            problems.extend(words.iter().filter_map(|word| vocabulary.add(event, word).err()));
        }
        if problems.is_empty() {
            vocabulary.rules_version = vocabulary.version();
            Ok(vocabulary)
        } else {
            Err(problems)
        }
    }

    /// What becomes of phrases.
    pub fn phrases(&self) -> PhrasePolicy {
        self.phrases
    }

    /// Which rules decide, for the evidence: [`RULES_VERSION`], and where an operator changed anything, `+` and eight
    /// hexadecimal digits that stand for those changes. Additions that add nothing change nothing.
    pub fn rules_version(&self) -> &str {
        &self.rules_version
    }

    /// The version's digits are the beginning of SHA-256 over the words in their order, one on a line with its use.
    fn version(&self) -> Cow<'static, str> {
        if self.added.is_empty() && self.exempt.is_empty() && self.phrases == PhrasePolicy::default() {
            return Cow::Borrowed(RULES_VERSION);
        }
        let mut hash = Sha256::new();
        let mut line = |usage: &str, word: &str| {
            for part in [usage, "\t", word, "\n"] {
                hash.update(part);
            }
        };
        line("phrases", self.phrases.as_str());
        for (word, event) in &self.added {
            line(event.as_str(), word);
        }
        for word in &self.exempt {
            line("exempt", word);
        }
        let digits = hex::encode(hash.finalize());
        let digits = digits.get(..VERSION_DIGITS).unwrap_or(&digits);
        Cow::Owned(format!("{RULES_VERSION}+{digits}"))
    }

    fn add(&mut self, event: ConsentEvent, word: &str) -> Result<(), VocabularyError> {
        let normal = checked(word)?;
        match self.listed(&normal) {
            Some(found) if found.event == event => Ok(()),
            Some(found) => Err(VocabularyError::Taken {
                word: normal,
                wanted: event.as_str(),
                existing: found.event.as_str(),
            }),
            None => {
                self.added.insert(normal, event);
                Ok(())
            }
        }
    }

    /// Tier 1: the whole text is a keyword.
    pub(crate) fn whole(&self, tokens: &[Token<'_>]) -> Option<Decision> {
        if tokens.len() > MAX_GRAM {
            return None;
        }
        let found = self.listed(&joined(tokens, " "))?;
        Some(found.at_tier(1))
    }

    /// Tier 2: nothing but keywords and what adds nothing to them.
    pub(crate) fn keywords_only(&self, tokens: &[Token<'_>]) -> Option<Decision> {
        if tokens.len() > MAX_SPELT_WORDS {
            return None;
        }
        let letters = spelt_out(tokens);
        let found = self
            .run(&letters)
            .or_else(|| self.broken(tokens))
            .or_else(|| self.inflected(tokens))?;
        Some(found.at_tier(2))
    }

    /// A sentence that is an opt-out keyword of no other use, with politeness.
    pub(crate) fn fixed_only(&self, sentence: &[Token<'_>]) -> Option<Decision> {
        let found = self
            .run(&spelt_out(sentence))
            .filter(|found| found.event == ConsentEvent::OptOut)?;
        (found.strength != Strength::Weak).then(|| found.at_tier(3))
    }

    fn listed(&self, word: &str) -> Option<Found> {
        if self.exempt.contains(word) {
            return None;
        }
        if let Some(listed) = BUILT_IN.keywords.get(word) {
            return Some(Found {
                event: listed.event,
                strength: listed.strength,
                keyword: Cow::Borrowed(listed.keyword),
                language: listed.language,
            });
        }
        let (keyword, event) = self.added.get_key_value(word)?;
        Some(Found {
            event: *event,
            strength: Strength::Weak,
            keyword: Cow::Owned(keyword.clone()),
            language: None,
        })
    }

    fn recognised(&self, word: &str) -> Option<Found> {
        self.listed(word).or_else(|| self.listed(misspelt(word)?))
    }

    /// Keywords and fillers only: the strongest opt-out keyword decides, then any opt-in or help.
    fn run(&self, words: &[Cow<'_, str>]) -> Option<Found> {
        if words.len() > MAX_KEYWORD_WORDS {
            return None;
        }
        let mut best: Option<Found> = None;
        let mut emphasis: Vec<&str> = Vec::new();
        let mut rest = words;
        while !rest.is_empty() {
            let (length, piece) = self.piece(rest)?;
            match piece {
                Piece::Keyword(found) => {
                    best = Some(match best.take() {
                        Some(best) => best.stronger(found),
                        None => found,
                    });
                }
                Piece::Polite => {}
                Piece::Emphasis => emphasis.extend(rest.first().map(Cow::as_ref)),
            }
            rest = rest.get(length..)?;
        }
        best.filter(|best| emphasis.iter().all(|word| best.allows(word)))
    }

    fn piece(&self, rest: &[Cow<'_, str>]) -> Option<(usize, Piece)> {
        let several = self.begins_several(rest.first()?);
        let longest = if several { MAX_GRAM.min(rest.len()) } else { 1 };
        for length in (1..=longest).rev() {
            let gram = rest.get(..length)?.join(" ");
            if let Some(found) = self.recognised(&gram) {
                return Some((length, Piece::Keyword(found)));
            }
            if BUILT_IN.polite.contains(&gram) {
                return Some((length, Piece::Polite));
            }
        }
        let word = rest.first()?.as_ref();
        let known = BUILT_IN.emphasis.contains(word) || HELP_FILLERS.contains(&word) || OPT_IN_FILLERS.contains(&word);
        known.then_some((1, Piece::Emphasis))
    }

    fn begins_several(&self, word: &str) -> bool {
        let added = || {
            self.added
                .keys()
                .filter_map(|gram| first_of_many(gram))
                .any(|first| first == word)
        };
        BUILT_IN.multiple.contains(word) || added()
    }

    /// "ST OP", "un sub scribe": a keyword of no other use, cut by spaces in odd places.
    fn broken(&self, tokens: &[Token<'_>]) -> Option<Found> {
        let whole = joined(tokens, "");
        let fits = tokens.len() > 1 && (4..=14).contains(&whole.len());
        let found = if fits { self.listed(&whole)? } else { return None };
        (found.event == ConsentEvent::OptOut && found.strength != Strength::Weak).then_some(found)
    }

    /// Keywords of scripts without spaces, with politeness grown onto them.
    fn inflected(&self, tokens: &[Token<'_>]) -> Option<Found> {
        let whole = joined(tokens, "");
        let mut rest = whole.as_str();
        if rest.is_ascii() || rest.len() > 120 {
            return None;
        }
        for _ in 0..MAX_GRAM {
            let strip = |affix: &String| {
                rest.strip_prefix(affix.as_str())
                    .or_else(|| rest.strip_suffix(affix.as_str()))
            };
            rest = BUILT_IN.affixes.iter().find_map(strip)?;
            if let Some(found) = self.listed(rest) {
                return Some(found);
            }
        }
        None
    }
}

enum Piece {
    Keyword(Found),
    Polite,
    Emphasis,
}

/// "help me", "I need help".
const HELP_FILLERS: [&str; 4] = ["me", "us", "i", "need"];
/// "start again".
const OPT_IN_FILLERS: [&str; 2] = ["again", "me"];

impl Found {
    fn at_tier(self, tier: u8) -> Decision {
        Decision {
            event: self.event,
            tier,
            keyword: self.keyword,
            language: self.language,
        }
    }

    /// The one that counts when a text holds two: opt-out before anything else, then the keyword of fewer meanings.
    fn stronger(self, other: Self) -> Self {
        let weight = |found: &Self| (found.event == ConsentEvent::OptOut, found.strength != Strength::Weak);
        if weight(&other) > weight(&self) { other } else { self }
    }

    fn allows(&self, emphasis: &str) -> bool {
        match self.event {
            ConsentEvent::OptOut => self.strength != Strength::Weak && BUILT_IN.emphasis.contains(emphasis),
            ConsentEvent::OptIn => OPT_IN_FILLERS.contains(&emphasis),
            ConsentEvent::Help => HELP_FILLERS.contains(&emphasis),
            ConsentEvent::Review => false,
        }
    }
}

/// The first word of an entry of several.
fn first_of_many(gram: &str) -> Option<String> {
    gram.split_once(' ').map(|(first, _)| first.to_owned())
}

fn checked(word: &str) -> Result<String, VocabularyError> {
    let shown = || word.chars().take(MAX_WORD_CHARS).collect();
    let normal = normalise(word);
    if normal.is_empty() {
        return Err(VocabularyError::Empty(shown()));
    }
    if normal.chars().count() > MAX_WORD_CHARS || normal.split(' ').count() > MAX_GRAM {
        return Err(VocabularyError::TooLong(shown()));
    }
    Ok(normal)
}

fn exemption(word: &str) -> Result<String, VocabularyError> {
    let normal = checked(word)?;
    match BUILT_IN.keywords.get(&normal) {
        Some(listed) if listed.strength == Strength::Fixed => Err(VocabularyError::Fixed(normal)),
        Some(_) => Ok(normal),
        None => Err(VocabularyError::Unknown(normal)),
    }
}

fn joined(tokens: &[Token<'_>], between: &str) -> String {
    let words: Vec<&str> = tokens.iter().map(|token| token.word).collect();
    words.join(between)
}

/// The words, with runs of single letters ("S.T.O.P.") put together.
fn spelt_out<'t>(tokens: &[Token<'t>]) -> Vec<Cow<'t, str>> {
    let is_letter = |token: &Token<'_>| token.word.chars().nth(1).is_none();
    let mut words = Vec::with_capacity(tokens.len());
    for run in tokens.chunk_by(|a, b| is_letter(a) && is_letter(b)) {
        if run.len() > 2 {
            words.push(Cow::Owned(joined(run, "")));
        } else {
            words.extend(run.iter().map(|token| Cow::Borrowed(token.word)));
        }
    }
    words
}

/// The keyword that was meant, for a word that is none.
fn misspelt(word: &str) -> Option<&'static str> {
    if let Some(meant) = BUILT_IN.misspellings.get(word) {
        return Some(meant);
    }
    if word.len() > MAX_MISSPELT_BYTES || !word.is_ascii() || word.contains(' ') {
        return None;
    }
    if word
        .strip_prefix("stop")
        .is_some_and(|rest| BUILT_IN.run_on.contains(rest))
    {
        return Some("stop");
    }
    if is_nearly_unsubscribe(word) {
        return Some("unsubscribe");
    }
    BUILT_IN
        .stretched
        .get(&squeezed(word))
        .copied()
        .filter(|_| word != NOT_STRETCHED)
}

/// Two slips of the finger at most; what is its own word ("unsubscribed") does not count.
fn is_nearly_unsubscribe(word: &str) -> bool {
    let other_word = ["ed", "er", "ers", "ing", "es", "bes"]
        .iter()
        .any(|ending| word.ends_with(ending));
    (8..=14).contains(&word.len()) && word.starts_with('u') && !other_word && distance(word, "unsubscribe") <= 2
}

/// Levenshtein's distance of two short words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for (y, diagonal_above) in b.bytes().zip(row.windows(2)) {
            let [diagonal, above] = diagonal_above else { continue };
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// The word without repetitions of a letter.
fn squeezed(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if !out.ends_with(c) {
            out.push(c);
        }
    }
    out
}
