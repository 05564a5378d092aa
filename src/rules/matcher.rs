//! What a rule looks for in a text.
//!
//! Words are compared after normalising both sides, so that `Don’t STOP!` and `dont stop` are one. Regular expressions see
//! the text as it was received. Nothing here knows about rules, senders or actions.

use std::cell::OnceCell;
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::consent;

/// Bytes that one compiled expression may take. `regex` runs in linear time, so size is the only thing left to bound.
const MAX_COMPILED_BYTES: usize = 256 * 1024;
/// Bytes that one expression may be long as typed.
const MAX_PATTERN_BYTES: usize = 2_048;

/// What a text must be like for a rule to match.
#[derive(Debug)]
pub enum Matcher {
    /// Anything, the empty text included.
    Any,
    /// The whole text is one of these.
    Exact(Vec<Keyword>),
    /// The text's first word, or first words, are one of these.
    FirstWord(Vec<Keyword>),
    /// One of these appears in the text as whole words: `balance` is not in `unbalanced`.
    Contains(Vec<Keyword>),
    /// The text starts with one of these, in the middle of a word or not.
    StartsWith(Vec<Keyword>),
    /// One of these matches somewhere in the text as received.
    Regex(Vec<Regex>),
}

/// Why a rule's keywords or expressions cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuleError {
    /// The list is empty.
    #[error("the list is empty, so the rule can never match")]
    NoKeywords,
    /// A keyword is empty or only white space.
    #[error("a keyword is empty")]
    EmptyKeyword,
    /// An expression is too long.
    #[error("the regular expression is {bytes} bytes long; at most {MAX_PATTERN_BYTES} are allowed")]
    PatternTooLong {
        /// Its length.
        bytes: usize,
    },
    /// An expression needs too much memory once compiled.
    #[error("`{pattern}` becomes too large when compiled; use smaller repetitions than those in `{{…}}`")]
    PatternTooLarge {
        /// As typed.
        pattern: String,
    },
    /// An expression looks ahead or behind, or refers back.
    #[error("`{pattern}` uses {feature}, which is not supported because it cannot be matched in linear time")]
    PatternUnsupported {
        /// As typed.
        pattern: String,
        /// What it uses.
        feature: &'static str,
    },
    /// An expression is not one.
    #[error("`{pattern}` is not a regular expression: {problem}")]
    PatternInvalid {
        /// As typed.
        pattern: String,
        /// What the `regex` crate says, one line.
        problem: String,
    },
    /// A sender filter is not one.
    #[error("`{typed}` is not a sender: write `+15551234567`, `+1555*`, `short`, `alpha`, `number` or a sender's name")]
    BadSender {
        /// As typed.
        typed: String,
    },
}

/// A word or several, typed by the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyword {
    typed: String,
    compared: Compared,
}

/// Normalising drops symbols; a keyword that is nothing but symbols (`👍`) is compared as written instead.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Compared {
    Words(String),
    Symbols(String),
}

impl Matcher {
    /// The whole text is one of `keywords`.
    pub fn exact(keywords: Vec<String>) -> Result<Self, RuleError> {
        Keyword::list(keywords).map(Self::Exact)
    }

    /// The text begins with one of `keywords` as whole words.
    pub fn first_word(keywords: Vec<String>) -> Result<Self, RuleError> {
        Keyword::list(keywords).map(Self::FirstWord)
    }

    /// One of `keywords` is in the text as whole words.
    pub fn contains(keywords: Vec<String>) -> Result<Self, RuleError> {
        Keyword::list(keywords).map(Self::Contains)
    }

    /// The text starts with one of `keywords`.
    pub fn starts_with(keywords: Vec<String>) -> Result<Self, RuleError> {
        Keyword::list(keywords).map(Self::StartsWith)
    }

    /// One of `patterns` matches somewhere in the text. Case does not matter unless the pattern says `(?-i)`.
    pub fn regex(patterns: Vec<String>) -> Result<Self, RuleError> {
        if patterns.is_empty() {
            return Err(RuleError::NoKeywords);
        }
        patterns
            .into_iter()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Self::Regex)
    }

    /// Whether `text` is like that; then what an expression captured (`{}` for all other kinds).
    pub(super) fn find(&self, text: &Text<'_>) -> Option<Value> {
        let matched = match self {
            Self::Any => true,
            Self::Exact(keywords) => text.any(keywords, is, is),
            Self::FirstWord(keywords) => text.any(keywords, begins_with_words, begins_with),
            // Symbols have no edges: `👍` is in `nice👍👍`.
            Self::Contains(keywords) => text.any(keywords, contains_words, contains),
            Self::StartsWith(keywords) => text.any(keywords, begins_with, begins_with),
            Self::Regex(patterns) => {
                return patterns.iter().find_map(|pattern| captures(pattern, text.raw));
            }
        };
        matched.then(|| Value::Object(Map::new()))
    }
}

impl fmt::Display for Matcher {
    /// What it looks for, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, typed): (_, Vec<&str>) = match self {
            Self::Any => return f.write_str("any text"),
            Self::Exact(keywords) => ("exact", typed(keywords)),
            Self::FirstWord(keywords) => ("first_word", typed(keywords)),
            Self::Contains(keywords) => ("contains", typed(keywords)),
            Self::StartsWith(keywords) => ("starts_with", typed(keywords)),
            Self::Regex(patterns) => ("regex", patterns.iter().map(Regex::as_str).collect()),
        };
        write!(f, "{kind} `{}`", typed.join("` or `"))
    }
}

fn typed(keywords: &[Keyword]) -> Vec<&str> {
    keywords.iter().map(|keyword| keyword.typed.as_str()).collect()
}

impl Keyword {
    fn list(typed: Vec<String>) -> Result<Vec<Self>, RuleError> {
        if typed.is_empty() {
            return Err(RuleError::NoKeywords);
        }
        typed.into_iter().map(Self::new).collect()
    }

    fn new(typed: String) -> Result<Self, RuleError> {
        let words = consent::normalise(&typed);
        if !words.is_empty() {
            return Ok(Self {
                typed,
                compared: Compared::Words(words),
            });
        }
        let symbols = symbols(&typed);
        if symbols.is_empty() {
            return Err(RuleError::EmptyKeyword);
        }
        Ok(Self {
            typed,
            compared: Compared::Symbols(symbols),
        })
    }
}

/// A text with its two compared forms, each made at most once and only when a rule asks for it.
pub(super) struct Text<'a> {
    raw: &'a str,
    words: OnceCell<String>,
    symbols: OnceCell<String>,
}

impl<'a> Text<'a> {
    pub(super) fn new(raw: &'a str) -> Self {
        Self {
            raw,
            words: OnceCell::new(),
            symbols: OnceCell::new(),
        }
    }

    /// Whether one of `keywords` passes its test: `test(text, keyword)`.
    fn any(&self, keywords: &[Keyword], words_test: Test, symbols_test: Test) -> bool {
        keywords.iter().any(|keyword| match &keyword.compared {
            Compared::Words(words) => words_test(self.words(), words),
            Compared::Symbols(symbols) => symbols_test(self.symbols(), symbols),
        })
    }

    fn words(&self) -> &str {
        self.words.get_or_init(|| consent::normalise(self.raw))
    }

    fn symbols(&self) -> &str {
        self.symbols.get_or_init(|| symbols(self.raw))
    }
}

/// White space collapsed; variation selectors and skin tones dropped, since phones differ in whether they add U+FE0F to
/// `❤`, and `👍🏽` is meant like `👍`.
fn symbols(text: &str) -> String {
    let decoration = |c: &char| matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}');
    let bare: String = text.chars().filter(|c| !decoration(c)).collect();
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

type Test = fn(&str, &str) -> bool;

fn is(text: &str, keyword: &str) -> bool {
    text == keyword
}

fn begins_with(text: &str, keyword: &str) -> bool {
    text.starts_with(keyword)
}

fn contains(text: &str, keyword: &str) -> bool {
    text.contains(keyword)
}

fn begins_with_words(text: &str, keyword: &str) -> bool {
    text.strip_prefix(keyword)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Both sides have single spaces and none at the ends, so a word's edge is a space or an end.
fn contains_words(text: &str, keyword: &str) -> bool {
    text.match_indices(keyword).any(|(at, found)| {
        let before = text.get(..at).unwrap_or_default();
        let after = text.get(at + found.len()..).unwrap_or_default();
        (before.is_empty() || before.ends_with(' ')) && (after.is_empty() || after.starts_with(' '))
    })
}

fn compile(pattern: String) -> Result<Regex, RuleError> {
    if pattern.trim().is_empty() {
        return Err(RuleError::EmptyKeyword);
    }
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(RuleError::PatternTooLong { bytes: pattern.len() });
    }
    let built = RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .size_limit(MAX_COMPILED_BYTES)
        .build();
    built.map_err(|error| explain_error(pattern, &error))
}

fn explain_error(pattern: String, error: &regex::Error) -> RuleError {
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return RuleError::PatternTooLarge { pattern };
    }
    let said = error.to_string();
    if said.contains("look-around") {
        return RuleError::PatternUnsupported {
            pattern,
            feature: "look-around (`(?=`, `(?!`, `(?<=`, `(?<!`)",
        };
    }
    if said.contains("backreferences") {
        return RuleError::PatternUnsupported {
            pattern,
            feature: "a backreference (`\\1`)",
        };
    }
    // The crate draws the pattern with a caret over several lines; the last one says what is wrong.
    let last = said.lines().last().unwrap_or_default();
    let problem = last.strip_prefix("error: ").unwrap_or(last).to_owned();
    RuleError::PatternInvalid { pattern, problem }
}

fn captures(pattern: &Regex, raw: &str) -> Option<Value> {
    let found = pattern.captures(raw)?;
    let value = |group: Option<regex::Match<'_>>| Value::from(group.map_or("", |group| group.as_str()));
    let mut captured = Map::new();
    for (index, name) in pattern.capture_names().enumerate() {
        captured.insert(index.to_string(), value(found.get(index)));
        if let Some(name) = name {
            captured.insert(name.to_owned(), value(found.get(index)));
        }
    }
    Some(Value::Object(captured))
}
