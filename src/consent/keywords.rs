//! The keywords in force: the built-in ones, what an operator adds, and what an operator exempts.
//!
//! It must keep the words that law and carriers fix out of anybody's reach.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::lexicon::{Hash, Lexicon, Roles, Run, Token, Tokens};
use super::normalise::normalise;
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
/// English words that are "stop" with another letter inside.
const NOT_SLIPS: [&str; 4] = ["stoop", "strop", "stomp", "stoup"];
/// Politeness whose letters may be repeated ("pleaseee").
const STRETCHED_POLITE: [&str; 6] = ["please", "pls", "plz", "thanks", "thx", "now"];
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

/// Tables of our own words, whose keys nobody outside chooses: see [`struct@Hash`].
type Table<V> = HashMap<String, V, BuildHasherDefault<Fnv>>;
/// A set of normalised words.
type Words = HashSet<String, BuildHasherDefault<Fnv>>;

struct Fnv(Hash);

impl Default for Fnv {
    fn default() -> Self {
        Self(Hash::new())
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0.value()
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0.add(*byte);
        }
    }
}

/// What a word can be in a text of keywords and of nothing else.
impl Roles {
    /// A keyword, or a misspelling of one.
    const KEYWORD: Self = Self(1);
    const POLITE: Self = Self(1 << 1);
    const EMPHASIS: Self = Self(1 << 2);
    /// See [`HELP_FILLERS`].
    const HELP_FILLER: Self = Self(1 << 3);
    /// See [`OPT_IN_FILLERS`].
    const OPT_IN_FILLER: Self = Self(1 << 4);
    /// The first word of a keyword or of politeness of several words.
    const BEGINS_SEVERAL: Self = Self(1 << 5);
    /// May stand among keywords without being one.
    const FILLER: Self = Self(Self::EMPHASIS.0 | Self::HELP_FILLER.0 | Self::OPT_IN_FILLER.0);
}

struct BuiltIn {
    keywords: Table<Listed>,
    misspellings: Table<&'static str>,
    stretched: Table<&'static str>,
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
    let misspellings: Table<_> = misspellings.collect();
    let polite: Words = list(POLITE).map(normalise).collect();
    BuiltIn {
        stretched: STRETCHED
            .iter()
            .filter_map(|word| Some((squeezed(word)?.text()?.to_owned(), *word)))
            .collect(),
        run_on: list(RUN_ON).collect(),
        emphasis: list(EMPHASIS).map(normalise).collect(),
        multiple: keywords
            .keys()
            .chain(misspellings.keys())
            .chain(&polite)
            .filter_map(|gram| first_of_many(gram))
            .collect(),
        keywords,
        misspellings,
        polite,
        affixes: list(AFFIXES).map(normalise).collect(),
    }
});

/// Numbers the words of all keywords and fillers.
pub(crate) fn intern(lexicon: &mut Lexicon) {
    let built_in = &*BUILT_IN;
    let grams = built_in.keywords.keys().chain(built_in.misspellings.keys());
    let grams = grams
        .chain(&built_in.polite)
        .chain(&built_in.emphasis)
        .map(String::as_str);
    for gram in grams.chain(HELP_FILLERS).chain(OPT_IN_FILLERS) {
        for word in gram.split(' ') {
            lexicon.intern(word);
        }
    }
}

/// What a word can be among keywords.
pub(crate) fn roles(word: &str) -> Roles {
    let built_in = &*BUILT_IN;
    let keyword = built_in.keywords.contains_key(word) || misspelt(word).is_some();
    [
        (keyword, Roles::KEYWORD),
        (built_in.polite.contains(word), Roles::POLITE),
        (built_in.emphasis.contains(word), Roles::EMPHASIS),
        (HELP_FILLERS.contains(&word), Roles::HELP_FILLER),
        (OPT_IN_FILLERS.contains(&word), Roles::OPT_IN_FILLER),
        (built_in.multiple.contains(word), Roles::BEGINS_SEVERAL),
    ]
    .into_iter()
    .filter(|(is, _)| *is)
    .fold(Roles::NONE, |roles, (_, role)| roles.or(role))
}

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
    pub(crate) fn whole(&self, text: Run<'_, '_>) -> Option<Decision> {
        if text.len() > MAX_GRAM {
            return None;
        }
        Some(self.listed(text.words())?.at_tier(1))
    }

    /// Tier 2: nothing but keywords and what adds nothing to them.
    pub(crate) fn keywords_only(&self, text: Run<'_, '_>, lexicon: &Lexicon) -> Option<Decision> {
        if text.len() > MAX_SPELT_WORDS {
            return None;
        }
        let found = self
            .spelt_out(text, lexicon)
            .or_else(|| self.broken(text))
            .or_else(|| self.inflected(text))?;
        Some(found.at_tier(2))
    }

    /// A sentence that is an opt-out keyword of no other use, with politeness.
    pub(crate) fn fixed_only(&self, sentence: Run<'_, '_>, lexicon: &Lexicon) -> Option<Decision> {
        let found = self
            .spelt_out(sentence, lexicon)
            .filter(|found| found.event == ConsentEvent::OptOut)?;
        (found.strength != Strength::Weak).then(|| found.at_tier(3))
    }

    /// Keywords and fillers only, runs of single letters ("S.T.O.P.") put together.
    fn spelt_out(&self, text: Run<'_, '_>, lexicon: &Lexicon) -> Option<Found> {
        let is_spelt = |three: &[Token<'_>]| three.iter().all(Token::is_letter);
        if text.len() > MAX_SPELT_WORDS || !text.tokens.windows(3).any(is_spelt) {
            return self.run(text);
        }
        let mut words = ShortText::<128>::new();
        for run in text.tokens.chunk_by(|a, b| a.is_letter() && b.is_letter()) {
            let between = if run.len() > 2 { "" } else { " " };
            for (number, token) in run.iter().enumerate() {
                words.add(if number == 0 { " " } else { between })?;
                words.add(token.word)?;
            }
        }
        let words = words.text()?.trim_start();
        self.run(Tokens::cut(words, 0, lexicon).run())
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
    fn run(&self, words: Run<'_, '_>) -> Option<Found> {
        if words.len() > MAX_KEYWORD_WORDS {
            return None;
        }
        let mut best: Option<Found> = None;
        let mut fillers = Roles::ALL;
        let mut at = 0;
        while let Some(token) = words.tokens.get(at) {
            let (length, piece) = self.piece(words, at)?;
            match piece {
                Piece::Keyword(found) => {
                    best = Some(match best.take() {
                        Some(best) => best.stronger(found),
                        None => found,
                    });
                }
                Piece::Polite => {}
                Piece::Filler => fillers = fillers.and(token.roles),
            }
            at += length;
        }
        best.filter(|best| best.allows(fillers))
    }

    fn piece(&self, words: Run<'_, '_>, at: usize) -> Option<(usize, Piece)> {
        let token = words.tokens.get(at)?;
        if token.roles.has(Roles::BEGINS_SEVERAL) || self.begins_added(token.word) {
            for length in (2..=MAX_GRAM.min(words.len() - at)).rev() {
                let gram = words.part(at, at + length).words();
                if let Some(found) = self.recognised(gram) {
                    return Some((length, Piece::Keyword(found)));
                }
                if BUILT_IN.polite.contains(gram) {
                    return Some((length, Piece::Polite));
                }
            }
        }
        // Of a word that the lexicon has, its roles say everything but what an operator added.
        let may_be_keyword = token.roles.has(Roles::KEYWORD) || token.id == 0 || !self.added.is_empty();
        if let Some(found) = may_be_keyword.then(|| self.recognised(token.word)).flatten() {
            return Some((1, Piece::Keyword(found)));
        }
        if token.roles.has(Roles::POLITE) {
            return Some((1, Piece::Polite));
        }
        if token.id == 0 && is_stretched_polite(token.word) {
            return Some((1, Piece::Polite));
        }
        token.roles.has(Roles::FILLER).then_some((1, Piece::Filler))
    }

    fn begins_added(&self, word: &str) -> bool {
        let mut added = self.added.keys();
        added.any(|gram| gram.split_once(' ').is_some_and(|(first, _)| first == word))
    }

    /// "ST OP", "un sub scribe": a keyword of no other use, cut by spaces in odd places.
    fn broken(&self, text: Run<'_, '_>) -> Option<Found> {
        if text.len() < 2 {
            return None;
        }
        let whole = ShortText::<14>::joined(text)?;
        let found = self.listed(whole.text().filter(|whole| whole.len() >= 4)?)?;
        (found.event == ConsentEvent::OptOut && found.strength != Strength::Weak).then_some(found)
    }

    /// Keywords of scripts without spaces, with politeness grown onto them.
    fn inflected(&self, text: Run<'_, '_>) -> Option<Found> {
        if text.words().is_ascii() {
            return None;
        }
        let whole = ShortText::<120>::joined(text)?;
        let mut rest = whole.text()?;
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

/// A text of few bytes, put together without an allocation.
pub(crate) struct ShortText<const BYTES: usize> {
    bytes: [u8; BYTES],
    length: usize,
}

impl<const BYTES: usize> ShortText<BYTES> {
    fn new() -> Self {
        Self {
            bytes: [0; BYTES],
            length: 0,
        }
    }

    /// The words without the spaces; `None` where they do not fit.
    pub(crate) fn joined(words: Run<'_, '_>) -> Option<Self> {
        let mut text = Self::new();
        for token in words.tokens {
            text.add(token.word)?;
        }
        Some(text)
    }

    fn add(&mut self, part: &str) -> Option<()> {
        let end = self.length + part.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(part.as_bytes());
        self.length = end;
        Some(())
    }

    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }
}

enum Piece {
    Keyword(Found),
    Polite,
    Filler,
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

    /// Whether words of these roles, which all its fillers have in common, may stand with it.
    fn allows(&self, fillers: Roles) -> bool {
        match self.event {
            ConsentEvent::OptOut => {
                fillers == Roles::ALL || (self.strength != Strength::Weak && fillers.has(Roles::EMPHASIS))
            }
            ConsentEvent::OptIn => fillers.has(Roles::OPT_IN_FILLER),
            ConsentEvent::Help => fillers.has(Roles::HELP_FILLER),
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
    if is_stop_with_another_letter(word) {
        return Some("stop");
    }
    let squeezed = squeezed(word)?;
    BUILT_IN
        .stretched
        .get(squeezed.text()?)
        .copied()
        .filter(|_| word != NOT_STRETCHED)
}

/// Another letter inside "stop", hit in passing.
fn is_stop_with_another_letter(word: &str) -> bool {
    let between = |(start, end): (&str, &str)| {
        word.strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|letters| letters.len() == 1)
    };
    [("s", "top"), ("st", "op"), ("sto", "p")].into_iter().any(between) && !NOT_SLIPS.contains(&word)
}

/// Two slips of the finger at most; what is its own word ("unsubscribed") does not count.
fn is_nearly_unsubscribe(word: &str) -> bool {
    let other_word = ["ed", "er", "ers", "ing", "es", "bes"]
        .iter()
        .any(|ending| word.ends_with(ending));
    (8..=14).contains(&word.len()) && word.starts_with('u') && !other_word && distance(word, "unsubscribe") <= 2
}

fn is_stretched_polite(word: &str) -> bool {
    let squeezed = squeezed(word);
    let word = squeezed.as_ref().and_then(ShortText::text);
    word.is_some_and(|word| STRETCHED_POLITE.contains(&word))
}

/// Levenshtein's distance of two short words: of at most 14 bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: [usize; 15] = std::array::from_fn(|column| column);
    for (i, x) in a.bytes().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(*above + 1).min(left + 1);
            diagonal = *above;
            *above = left;
        }
    }
    row.get(b.len()).copied().unwrap_or(usize::MAX)
}

/// The word without repetitions of a letter; `None` for one that is too long to be meant.
fn squeezed(word: &str) -> Option<ShortText<MAX_MISSPELT_BYTES>> {
    let mut out = ShortText::new();
    let mut last = None;
    for (at, c) in word.char_indices() {
        if last != Some(c) {
            out.add(word.get(at..at + c.len_utf8())?)?;
        }
        last = Some(c);
    }
    Some(out)
}
