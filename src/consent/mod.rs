//! Whether a text asks to stop, to start again, or for help: law first, before any rule of the operator.
//!
//! This room is pure: no clock, no I/O, no state. It must never miss a plain keyword, whatever stands around it, and must
//! not be taken away by configuration: words can be added, and a few ambiguous ones exempted, but never STOP.
//!
//! Three tiers, in the order of certainty: 1 the whole text is a keyword; 2 keywords with politeness, letter by letter or
//! misspelt; 3 a phrase whose object is the messaging. Instructions quoted from a footer, reactions that quote one and
//! negations are kept out of 2 and 3.

mod keywords;
mod normalise;
mod phrases;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

pub use keywords::{Additions, PhrasePolicy, Vocabulary, VocabularyError};
pub use normalise::normalise;

use normalise::fold_sentences;
use phrases::{Lexicon, Phrases, Token};

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
    let folded = fold_sentences(before_signature_rule(text));
    if folded.is_empty() {
        return stop_sign(text);
    }
    let words = Words::new(&folded)?;
    let tokens = words.without_signature();
    if let Some(decision) = vocabulary.whole(tokens) {
        return Some(decision);
    }
    if is_reaction(text) {
        return None;
    }
    vocabulary.keywords_only(tokens).or_else(|| {
        let found = phrase(text, tokens, vocabulary)?;
        Some(Decision {
            event: vocabulary.phrases().event(),
            ..found
        })
    })
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
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    let mut lexicon = Lexicon::new();
    Grammar {
        stopping: Phrases::compile(words::STOPPING.iter().copied(), &mut lexicon),
        refusing: Phrases::compile(words::REFUSING.iter().copied(), &mut lexicon),
        echoes: Phrases::compile(words::ECHOES.iter().copied(), &mut lexicon),
        signatures: Phrases::compile(words::list(words::SIGNATURES), &mut lexicon),
        negators: lexicon.numbers(words::NEGATORS),
        between: lexicon.numbers(words::BETWEEN),
        playful: lexicon.numbers(words::PLAYFUL),
        told: lexicon.numbers(words::TOLD),
        prohibitions: lexicon.numbers(words::PROHIBITIONS),
        lexicon,
    }
});

/// A folded text, cut into words.
struct Words<'t>(Vec<Token<'t>>);

impl<'t> Words<'t> {
    /// `None` for a text of more words than anything here has.
    fn new(folded: &'t str) -> Option<Self> {
        let mut tokens = Vec::with_capacity(32);
        for line in folded.split('\n') {
            for word in line.split(' ') {
                if tokens.len() == MAX_WORDS {
                    return None;
                }
                let code = (4..=6).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
                tokens.push(Token {
                    word,
                    id: GRAMMAR.lexicon.id(word),
                    ends: false,
                    code,
                });
            }
            if let Some(last) = tokens.last_mut() {
                last.ends = true;
            }
        }
        Some(Self(tokens))
    }

    /// The words before what a mail or message program added.
    fn without_signature(&self) -> &[Token<'t>] {
        let signature = |at: usize| at > 0 && self.0.len() - at <= MAX_SIGNATURE_REST + 2;
        let Some(found) = GRAMMAR.signatures.find(&self.0, signature) else {
            return &self.0;
        };
        let at = self.0.iter().position(|token| std::ptr::eq(token, found.as_ptr()));
        at.and_then(|at| self.0.get(..at)).unwrap_or(&self.0)
    }
}

/// The text before a line of dashes, as mail programs put between a text and its signature (RFC 3676, 4.3).
fn before_signature_rule(text: &str) -> &str {
    if !text.contains("\n-") && !text.contains("\n_") {
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
    words::list(words::REACTIONS).any(|reaction| normalise(reaction) == before) || before.starts_with("reacted ")
}

fn phrase(text: &str, tokens: &[Token<'_>], vocabulary: &Vocabulary) -> Option<Decision> {
    if !text.is_ascii() && unspaced(tokens) {
        return Some(by_phrase(tokens));
    }
    let grammar = &*GRAMMAR;
    let found = grammar
        .refusing
        .find(tokens, |at| !is_told(tokens, at))
        .or_else(|| grammar.stopping.find(tokens, |at| !is_negated(tokens, at)))
        .map(by_phrase)
        .or_else(|| lone_sentence(text, tokens, vocabulary))?;
    // Looked at last because it is rarely needed: most texts have matched nothing by now.
    grammar.echoes.find(tokens, |_| true).is_none().then_some(found)
}

fn by_phrase(matched: &[Token<'_>]) -> Decision {
    let words: Vec<&str> = matched.iter().map(|token| token.word).collect();
    Decision {
        event: ConsentEvent::OptOut,
        tier: 3,
        keyword: Cow::Owned(words.join(" ")),
        language: None,
    }
}

/// Whether a "don't" (want you to …) stands right before the word at `at`. "Why don't you" is no negation.
fn is_negated(tokens: &[Token<'_>], at: usize) -> bool {
    let before = tokens.get(..at).unwrap_or_default();
    let mut back = before
        .iter()
        .rev()
        .take_while(|token| !token.ends)
        .skip_while(|token| has(&GRAMMAR.between, token));
    let negated = back.next().is_some_and(|token| has(&GRAMMAR.negators, token));
    negated && back.next().is_none_or(|token| token.word != "why")
}

/// Whether the prohibition at `at` is told of somebody instead of asked for: "he doesn't text me".
fn is_told(tokens: &[Token<'_>], at: usize) -> bool {
    let before = at
        .checked_sub(1)
        .and_then(|before| tokens.get(before))
        .filter(|token| !token.ends);
    before.is_some_and(|token| has(&GRAMMAR.told, token))
        && tokens.get(at).is_some_and(|token| has(&GRAMMAR.prohibitions, token))
}

fn has(numbers: &[u16], token: &Token<'_>) -> bool {
    token.id != 0 && numbers.binary_search(&token.id).is_ok()
}

/// A sentence of its own that is a keyword about nothing but the messaging: "Wrong number. Please stop."
fn lone_sentence(text: &str, tokens: &[Token<'_>], vocabulary: &Vocabulary) -> Option<Decision> {
    let sentences = || tokens.split_inclusive(|token| token.ends);
    if sentences().nth(1).is_none() || tokens.iter().any(|token| has(&GRAMMAR.playful, token)) {
        return None;
    }
    let shouted = text.contains("STOP");
    let last = sentences().count();
    sentences().enumerate().find_map(|(number, sentence)| {
        let decision = vocabulary.fixed_only(sentence)?;
        let counts = number + 1 == last || shouted || decision.keyword != "stop";
        counts.then_some(Decision { tier: 3, ..decision })
    })
}

/// Phrases of scripts without spaces, where a word cannot be cut out but is rarely part of another.
fn unspaced(tokens: &[Token<'_>]) -> bool {
    let text: String = tokens.iter().map(|token| token.word).collect();
    if text.is_ascii() || text.chars().count() > MAX_UNSPACED_CHARS {
        return false;
    }
    let holds = |phrases| words::list(phrases).any(|phrase| text.contains(phrase));
    holds(words::UNSPACED) && !holds(words::UNSPACED_GUARDS)
}
