//! One spelling for texts: what people type around, over and between the letters of a word is taken away, so that words
//! can be compared. Rules use it too.
//!
//! It must not decide anything, and its short way for ASCII must give exactly what the long way gives.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What stands between two words of a folded text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    Space,
    Break,
}

/// Brings a text to the spelling in which words are compared: NFKC, lower case (`ß` as `ss`), without apostrophes,
/// accents, invisible characters and variation selectors, dotless `ı` as `i`; everything that is neither letter nor digit
/// is one space, none at either end. Idempotent.
///
/// Marks of Indic, Hebrew and Arabic writing are kept: there they make the word.
pub fn normalise(text: &str) -> String {
    fold(text, false)
}

/// [`normalise`], with a line feed instead of a space wherever a sentence or a line ends.
pub(crate) fn fold_sentences(text: &str) -> String {
    fold(text, true)
}

fn fold(text: &str, sentences: bool) -> String {
    if text.is_ascii() {
        fold_ascii(text, sentences)
    } else {
        fold_unicode(text, sentences)
    }
}

/// The short way: no table is needed, which is what keeps the receive path in well under a microsecond here.
pub(crate) fn fold_ascii(text: &str, sentences: bool) -> String {
    let mut out = Folded::with_capacity(text.len(), sentences);
    let mut bytes = text.bytes().filter(|byte| !matches!(byte, b'\'' | b'`' | 0)).peekable();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_alphanumeric() {
            out.letter(char::from(byte.to_ascii_lowercase()));
        } else {
            out.gap(char::from(byte), bytes.peek().is_some_and(u8::is_ascii_alphanumeric));
        }
    }
    out.text
}

/// The long way. Marks are taken off in decomposed form, and what is left is composed again because Hangul and kana
/// would otherwise come apart.
pub(crate) fn fold_unicode(text: &str, sentences: bool) -> String {
    let plain: String = text
        .chars()
        .filter(|&c| !is_apostrophe(c))
        .nfkd()
        .flat_map(char::to_lowercase)
        .collect();
    let mut out = Folded::with_capacity(text.len(), sentences);
    let mut chars = plain
        .chars()
        .filter(|&c| !is_dropped(c) && !is_apostrophe(c))
        .peekable();
    while let Some(c) = chars.next() {
        match c {
            'ß' => ['s', 's'].into_iter().for_each(|s| out.letter(s)),
            'æ' => ['a', 'e'].into_iter().for_each(|s| out.letter(s)),
            'œ' => ['o', 'e'].into_iter().for_each(|s| out.letter(s)),
            'ı' => out.letter('i'),
            'ς' => out.letter('σ'),
            'ø' => out.letter('o'),
            'đ' => out.letter('d'),
            'ł' => out.letter('l'),
            _ if is_word_char(c) => out.letter(c),
            _ => out.gap(c, chars.peek().is_some_and(|&next| is_word_char(next))),
        }
    }
    if out.text.is_ascii() {
        return out.text;
    }
    out.text.nfc().collect()
}

/// The folded text while it grows: a gap is written only once a letter follows it.
struct Folded {
    text: String,
    pending: Gap,
    sentences: bool,
}

impl Folded {
    fn with_capacity(bytes: usize, sentences: bool) -> Self {
        Self {
            text: String::with_capacity(bytes),
            pending: Gap::None,
            sentences,
        }
    }

    fn letter(&mut self, c: char) {
        if !self.text.is_empty() {
            match self.pending {
                Gap::None => {}
                Gap::Space => self.text.push(' '),
                Gap::Break => self.text.push('\n'),
            }
        }
        self.pending = Gap::None;
        self.text.push(c);
    }

    fn gap(&mut self, c: char, word_follows: bool) {
        if self.sentences && ends_sentence(c, word_follows) {
            self.pending = Gap::Break;
        } else if self.pending == Gap::None {
            self.pending = Gap::Space;
        }
    }
}

/// A full stop inside a word (an address, a version, `S.T.O.P.`) ends nothing.
fn ends_sentence(c: char, word_follows: bool) -> bool {
    match c {
        '.' => !word_follows,
        '!' | '?' | ';' | '\n' | '\r' | '\u{2028}' | '\u{2029}' | '。' | '।' | '؟' | '\u{b7}' => true,
        _ => false,
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || (is_combining_mark(c) && !matches!(c, '\u{20d0}'..='\u{20ff}'))
}

/// The signs that are typed for an apostrophe. They go before decomposition, which makes a space and a mark of `´`.
fn is_apostrophe(c: char) -> bool {
    matches!(
        c,
        '\'' | '`' | '\u{b4}' | '\u{2b9}'..='\u{2bd}' | '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2035}' | '\u{ff07}' | '\u{ff40}'
    )
}

/// Characters nobody sees (general category Cf, variation selectors, fillers), what is left where U+0000 was, and the
/// accents of Latin, Greek and Cyrillic letters.
fn is_dropped(c: char) -> bool {
    matches!(
        c,
        '\0' | '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{640}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}
