//! Whether a text asks to stop, to start again, or for help: law first, before any rule of the operator.
//!
//! This room is pure: no clock, no I/O, no state. It must never miss a plain keyword, whatever stands around it, and must
//! not be taken away by configuration: words can be added, and a few ambiguous ones exempted, but never STOP.
//!
//! Three tiers, in the order of certainty: 1 the whole text is a keyword; 2 keywords with politeness, letter by letter or
//! misspelt; 3 a phrase whose object is the messaging. Instructions quoted from a footer, reactions that quote one and
//! negations are kept out of 2 and 3.

mod keywords;
mod lexicon;
mod normalise;
mod phrases;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

use keywords::ShortText;
pub use keywords::{Additions, PhrasePolicy, Vocabulary, VocabularyError};
pub use normalise::normalise;

use lexicon::{Lexicon, Run, Token, Tokens};
use normalise::fold_sentences;
use phrases::{Match, Phrases};

/// Bytes of a text that is looked at. The longest SMS (1,600 characters) fits; a longer text is no keyword.
const MAX_TEXT_BYTES: usize = 6_400;
/// Words of a text in which phrases are looked for.
const MAX_WORDS: usize = 80;
/// Words of a text that can be keywords and politeness only.
const MAX_KEYWORD_WORDS: usize = 12;
/// Words that a mail program's signature may have behind its beginning.
const MAX_SIGNATURE_REST: usize = 6;
/// Letters of a text in a script without spaces in which phrases are looked for.
const MAX_UNSPACED_CHARS: usize = 40;
/// The stop sign means what it shows; alone, a reasonable person reads it as STOP.
const STOP_SIGN: char = '\u{1f6d1}';

/// What a text asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ConsentEvent {
    /// Send nothing more.
    OptOut,
    /// Send again.
    OptIn,
    /// Say who you are and how to stop.
    Help,
    /// A phrase (tier 3) that may ask to stop, where the operator wants a person to decide ([`PhrasePolicy::Review`]).
    Review,
}

impl ConsentEvent {
    /// The word in the database, in logs and in the API: `opt_out`, `opt_in`, `help`, `opt_out_review`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptOut => "opt_out",
            Self::OptIn => "opt_in",
            Self::Help => "help",
            Self::Review => "opt_out_review",
        }
    }
}

/// Names what the rules of this room decide; a change of words or code that may decide a text otherwise raises it, so that
/// evidence can be read against the rules of its day. Version 1 was not recorded.
pub const RULES_VERSION: &str = "2";

/// The language of a stored code, as decisions name it.
pub fn language(code: &str) -> Option<&'static str> {
    words::KEYWORDS
        .iter()
        .filter_map(|group| group.language)
        .find(|language| *language == code)
}

/// The tier of what the provider recognised and answered by itself.
pub const TIER_OF_THE_PROVIDER: u8 = 0;

/// What was recognised, and by what: together with the text and the time it is the evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What the text asks for.
    pub event: ConsentEvent,
    /// 0: the provider said so ([`TIER_OF_THE_PROVIDER`]). 1: the text is a keyword. 2: keyword and politeness. 3: a phrase about the messaging.
    pub tier: u8,
    /// The keyword as listed, or the words of the phrase.
    pub keyword: Cow<'static, str>,
    /// The language (ISO 639-1) that the keyword or the phrase is of. `None` for what is of none in particular: STOP, the
    /// provider's word, an operator's own, an emoji.
    pub language: Option<&'static str>,
}

/// Classifies a text; `None` for everything that is not about consent. Total, and linear in the length of the text.
pub fn classify(text: &str, vocabulary: &Vocabulary) -> Option<Decision> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let folded = fold_sentences(before_signature_rule(text), MAX_WORDS)?;
    if folded.text.is_empty() {
        return stop_sign(text);
    }
    let tokens = Tokens::cut(&folded.text, folded.breaks, &GRAMMAR.lexicon);
    let words = without_signature(tokens.run());
    if let Some(decision) = vocabulary.whole(words) {
        return Some(decision);
    }
    let found = vocabulary.keywords_only(words, &GRAMMAR.lexicon).or_else(|| {
        let found = phrase(text, words, vocabulary)?;
        let found = match without_addresses(text) {
            None => found,
            Some(text) => phrase_alone(&text, vocabulary)?,
        };
        Some(Decision {
            event: vocabulary.phrases().event(),
            ..found
        })
    })?;
    // Looked at last because it is rarely needed: most texts have matched nothing by now.
    (!is_reaction(text)).then_some(found)
}

/// The built-in phrases, compiled on first use.
struct Grammar {
    lexicon: Lexicon,
    stopping: Phrases,
    refusing: Phrases,
    echoes: Phrases,
    signatures: Phrases,
    negators: Vec<u16>,
    between: Vec<u16>,
    playful: Vec<u16>,
    told: Vec<u16>,
    prohibitions: Vec<u16>,
    negators_abroad: Vec<(words::Language, Vec<u16>)>,
    negators_behind: Vec<u16>,
    between_abroad: Vec<u16>,
    wondering: Vec<u16>,
    own_doing: Vec<u16>,
    /// Normalised.
    reactions: Vec<String>,
    /// [`words::UNSPACED`], sorted.
    unspaced: Vec<(&'static str, &'static str)>,
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    let mut lexicon = Lexicon::new();
    keywords::intern(&mut lexicon);
    let mut grammar = Grammar {
        stopping: Phrases::compile(words::phrases(words::STOPPING), &mut lexicon),
        refusing: Phrases::compile(words::phrases(words::REFUSING), &mut lexicon),
        echoes: Phrases::compile(words::ECHOES.iter().map(|text| (None, *text)), &mut lexicon),
        signatures: Phrases::compile(words::list(words::SIGNATURES).map(|text| (None, text)), &mut lexicon),
        negators: lexicon.numbers(words::NEGATORS),
        between: lexicon.numbers(words::BETWEEN),
        playful: lexicon.numbers(words::PLAYFUL),
        told: lexicon.numbers(words::TOLD),
        prohibitions: lexicon.numbers(words::PROHIBITIONS),
        negators_abroad: words::NEGATORS_ABROAD
            .iter()
            .map(|(language, negators)| (*language, lexicon.numbers(negators)))
            .collect(),
        negators_behind: lexicon.numbers(words::NEGATORS_BEHIND),
        between_abroad: lexicon.numbers(words::BETWEEN_ABROAD),
        wondering: lexicon.numbers(words::WONDERING),
        own_doing: lexicon.numbers(words::OWN_DOING),
        reactions: words::list(words::REACTIONS).map(normalise).collect(),
        unspaced: words::UNSPACED
            .iter()
            .flat_map(|(language, phrases)| words::list(phrases).map(move |phrase| (phrase, *language)))
            .collect(),
        lexicon,
    };
    grammar.unspaced.sort_unstable();
    grammar.lexicon.assign(keywords::roles);
    grammar
});

/// The words before what a mail or message program added.
fn without_signature<'a, 't>(words: Run<'a, 't>) -> Run<'a, 't> {
    let signature = |Match { from: at, .. }| at > 0 && words.len() - at <= MAX_SIGNATURE_REST + 2;
    match GRAMMAR.signatures.find(words, signature) {
        None => words,
        Some(found) => words.part(0, found.from),
    }
}

/// The text before a line of dashes, as mail programs put between a text and its signature (RFC 3676, 4.3).
fn before_signature_rule(text: &str) -> &str {
    if !text.bytes().any(|byte| byte == b'\n') {
        return text;
    }
    let mut before = 0;
    for line in text.split_inclusive('\n') {
        let rule = line.trim();
        if before > 0 && rule.len() >= 2 && rule.bytes().all(|byte| matches!(byte, b'-' | b'_')) {
            let kept = text.get(..before).unwrap_or(text);
            return if kept.trim().is_empty() { text } else { kept };
        }
        before += line.len();
    }
    text
}

fn stop_sign(text: &str) -> Option<Decision> {
    let mut signs = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '\u{fe0e}' | '\u{fe0f}'))
        .peekable();
    let only_signs = signs.peek().is_some() && signs.all(|c| c == STOP_SIGN);
    only_signs.then_some(Decision {
        event: ConsentEvent::OptOut,
        tier: 2,
        keyword: Cow::Borrowed("\u{1f6d1}"),
        language: None,
    })
}

/// Whether this is how a phone spells out a reaction to one of our own texts: a word or an emoji, then the text quoted.
fn is_reaction(text: &str) -> bool {
    let Some(quote) = text.find(['"', '“', '”', '«', '„', '‘']) else {
        return false;
    };
    let before = normalise(text.get(..quote).unwrap_or_default());
    GRAMMAR.reactions.contains(&before) || before.starts_with("reacted ")
}

fn phrase(text: &str, words: Run<'_, '_>, vocabulary: &Vocabulary) -> Option<Decision> {
    if let Some(language) = unspaced(words) {
        return Some(by_phrase(words, Some(language)));
    }
    let grammar = &*GRAMMAR;
    let tokens = words.tokens;
    let found = grammar
        .refusing
        .find(words, |found| {
            !is_told(tokens, found.from) && (found.language == Some("en") || !is_negated_abroad(text, tokens, found))
        })
        .or_else(|| grammar.stopping.find(words, |found| !is_negated(tokens, found.from)))
        .map(|Match { from, to, language }| by_phrase(words.part(from, to), language))
        .or_else(|| lone_sentence(text, words, vocabulary))?;
    let is_instruction = |found: Match| !follows(tokens, found.from, &grammar.own_doing);
    grammar.echoes.find(words, is_instruction).is_none().then_some(found)
}

fn by_phrase(matched: Run<'_, '_>, language: Option<&'static str>) -> Decision {
    Decision {
        event: ConsentEvent::OptOut,
        tier: 3,
        keyword: Cow::Owned(matched.words().to_owned()),
        language,
    }
}

/// The words before the one at `at` in its sentence, the nearest first.
fn before<'a, 't>(tokens: &'a [Token<'t>], at: usize) -> impl Iterator<Item = &'a Token<'t>> {
    let before = tokens.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|token| !token.ends)
}

/// Whether one of these words stands right before the one at `at`.
fn follows(tokens: &[Token<'_>], at: usize, numbers: &[u16]) -> bool {
    before(tokens, at).next().is_some_and(|token| has(numbers, token))
}

/// Whether a "don't" (want you to …) stands right before the word at `at`. "Why don't you" is no negation; "why would I" is.
fn is_negated(tokens: &[Token<'_>], at: usize) -> bool {
    let mut back = before(tokens, at).skip_while(|token| has(&GRAMMAR.between, token));
    if back.next().is_some_and(|token| has(&GRAMMAR.negators, token)) {
        return back.next().is_none_or(|token| token.word != "why");
    }
    follows(tokens, at, &GRAMMAR.wondering) && before(tokens, at).nth(1).is_some_and(|token| token.word == "why")
}

/// Whether a negation turns the phrase around, in languages other than English. "No, stop" is none.
fn is_negated_abroad(text: &str, tokens: &[Token<'_>], found: Match) -> bool {
    let last = tokens.get(..found.to).and_then(<[_]>::last);
    let behind = tokens.get(found.to).filter(|_| last.is_some_and(|last| !last.ends));
    if behind.is_some_and(|token| token.ends && has(&GRAMMAR.negators_behind, token)) {
        return true;
    }
    let of_its_language = |(language, _): &&(words::Language, _)| *language == found.language;
    let Some((_, negators)) = GRAMMAR.negators_abroad.iter().find(of_its_language) else {
        return false;
    };
    let mut back = before(tokens, found.from).skip_while(|token| has(&GRAMMAR.between_abroad, token));
    let Some(negation) = back.next().filter(|token| has(negators, token)) else {
        return false;
    };
    let mut before_commas = text.split(',');
    before_commas.next_back();
    let last_word = |part: &str| part.split_whitespace().next_back().map(normalise);
    !before_commas.any(|part| last_word(part).as_deref() == Some(negation.word))
}

/// Whether the prohibition at `at` is told of somebody instead of asked for: "he doesn't text me".
fn is_told(tokens: &[Token<'_>], at: usize) -> bool {
    follows(tokens, at, &GRAMMAR.told) && tokens.get(at).is_some_and(|token| has(&GRAMMAR.prohibitions, token))
}

fn has(numbers: &[u16], token: &Token<'_>) -> bool {
    token.id != 0 && numbers.binary_search(&token.id).is_ok()
}

/// A sentence of its own that is a keyword about nothing but the messaging: "Wrong number. Please stop."
fn lone_sentence(text: &str, words: Run<'_, '_>, vocabulary: &Vocabulary) -> Option<Decision> {
    let tokens = words.tokens;
    let sentences = || tokens.split_inclusive(|token| token.ends);
    if sentences().nth(1).is_none() || tokens.iter().any(|token| has(&GRAMMAR.playful, token)) {
        return None;
    }
    let last = sentences().count();
    sentences().enumerate().find_map(|(number, sentence)| {
        let decision = vocabulary.fixed_only(words.of(sentence), &GRAMMAR.lexicon)?;
        let counts = number + 1 == last || decision.keyword != "stop" || text.contains("STOP");
        counts.then_some(Decision { tier: 3, ..decision })
    })
}

/// As [`classify`], for phrases only.
fn phrase_alone(text: &str, vocabulary: &Vocabulary) -> Option<Decision> {
    let folded = fold_sentences(before_signature_rule(text), MAX_WORDS)?;
    let tokens = Tokens::cut(&folded.text, folded.breaks, &GRAMMAR.lexicon);
    phrase(text, without_signature(tokens.run()), vocabulary)
}

/// The text with a letter for each address of a page or of a person, whose words are not said by anybody; `None` where it
/// has none. "acme.com/unsubscribe" asks for nothing.
fn without_addresses(text: &str) -> Option<String> {
    if !text.split_whitespace().any(is_address) {
        return None;
    }
    let pieces = text.split_inclusive(char::is_whitespace);
    let kept = pieces.map(|piece| if is_address(piece.trim()) { "x " } else { piece });
    Some(kept.collect())
}

fn is_address(piece: &str) -> bool {
    let piece = piece.trim_matches(|c: char| !c.is_alphanumeric());
    let host = piece.split('/').next().unwrap_or_default();
    let ending = host.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    piece.contains("://")
        || piece.contains('@')
        || piece.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www."))
        || ending.is_some_and(|ending| words::HOST_ENDINGS.contains(&ending.as_str()))
}

/// The language of a phrase in a script without spaces, where a word cannot be cut out but is rarely part of another.
fn unspaced(words: Run<'_, '_>) -> Option<&'static str> {
    // The first letter of all those scripts is Thai.
    if !words.words().chars().any(|c| c >= '\u{e00}') {
        return None;
    }
    let whole = ShortText::<{ MAX_UNSPACED_CHARS * 4 }>::joined(words)?;
    let text = whole.text().filter(|text| text.chars().count() <= MAX_UNSPACED_CHARS)?;
    let places = || text.char_indices().filter_map(|(at, _)| text.get(at..));
    let found = places().find_map(|rest| GRAMMAR.begins_with_unspaced(rest))?;
    let guarded = || words::list(words::UNSPACED_GUARDS).any(|guard| text.contains(guard));
    (!guarded()).then_some(found)
}

impl Grammar {
    /// The language of a phrase that the text begins with: one of the few with its first letter.
    fn begins_with_unspaced(&self, text: &str) -> Option<&'static str> {
        let first = text.chars().next()?;
        let from = self
            .unspaced
            .partition_point(|(phrase, _)| phrase.chars().next() < Some(first));
        let candidates = self.unspaced.iter().skip(from);
        candidates
            .take_while(|(phrase, _)| phrase.starts_with(first))
            .find(|(phrase, _)| text.starts_with(phrase))
            .map(|(_, language)| *language)
    }
}
