//! One spelling for texts: what people type around, over and between the letters of a word is taken away, so that words
//! can be compared. Rules use it too.
//!
//! It must not decide anything, and its short way must give exactly what the long way gives.

use std::sync::LazyLock;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Brings a text to the spelling in which words are compared: NFKC, lower case (`ß` as `ss`), without apostrophes,
/// accents, invisible characters and variation selectors, dotless `ı` as `i`; everything that is neither letter nor digit
/// is one space, none at either end. Idempotent.
///
/// Marks of Indic, Hebrew and Arabic writing are kept: there they make the word.
pub fn normalise(text: &str) -> String {
    fold(text, usize::MAX).map_or_else(String::new, |folded| folded.text)
}

/// A normalised text and where its sentences end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Folded {
    pub(crate) text: String,
    /// Bit `n` is set when a sentence or a line ends behind word `n`, for the first 128 words.
    pub(crate) breaks: u128,
}

/// [`normalise`], with the ends of sentences; `None` for a text of more words than that.
pub(crate) fn fold_sentences(text: &str, most_words: usize) -> Option<Folded> {
    fold(text, most_words)
}

fn fold(text: &str, most_words: usize) -> Option<Folded> {
    match fold_shortly(text, most_words) {
        Short::Done(folded) => folded,
        Short::TakesTheLongWay => fold_at_length(text, most_words),
    }
}

/// What came of the short way.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Short {
    /// The text, or `None` because it has too many words.
    Done(Option<Folded>),
    /// A character needs its neighbours to be understood.
    TakesTheLongWay,
}

/// The short way: one table lookup per character, which is what keeps the receive path in a few microseconds, and one
/// allocation. It is for characters that stand for themselves whatever is beside them, which is nearly all that people type.
pub(crate) fn fold_shortly(text: &str, most_words: usize) -> Short {
    let table = &*TABLE;
    let mut out = Writer::new(text.len(), most_words);
    let mut rest = text;
    let mut class = 0;
    loop {
        let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if let Some((letters, later)) = rest.split_at_checked(run).filter(|_| run > 0) {
            out.letters(letters);
            (rest, class) = (later, 0);
        }
        let mut chars = rest.chars();
        let Some(c) = chars.next() else {
            return Short::Done(out.folded());
        };
        rest = chars.as_str();
        match table.of(c) {
            Simple::Dropped => {}
            Simple::Complex => return Short::TakesTheLongWay,
            // Marks in an order that the long way would change.
            Simple::Letter(_, own) if own != 0 && own < class => return Short::TakesTheLongWay,
            Simple::Letter(c, own) => {
                class = own;
                out.letter(c);
            }
            Simple::Letters(place) => {
                class = 0;
                table.several(place).chars().for_each(|c| out.letter(c));
            }
            Simple::Gap(c) => {
                class = 0;
                out.gap(c, c == '.' && word_begins(rest, table));
            }
        }
        if out.is_full() {
            return Short::Done(None);
        }
    }
}

/// Whether the next character that is left of `text` belongs to a word. What is complex is left to the long way anyway.
fn word_begins(text: &str, table: &Table) -> bool {
    let left = text.chars().find_map(|c| match table.of(c) {
        Simple::Dropped => None,
        Simple::Letter(..) | Simple::Letters(_) => Some(true),
        Simple::Gap(_) | Simple::Complex => Some(false),
    });
    left.unwrap_or(false)
}

/// The long way. Marks are taken off in decomposed form, and what is left is composed again because Hangul and kana
/// would otherwise come apart.
pub(crate) fn fold_at_length(text: &str, most_words: usize) -> Option<Folded> {
    let mut out = Writer::new(text.len(), most_words);
    let mut chars = decomposed(text.chars()).peekable();
    while let Some(c) = chars.next() {
        if is_word_char(c) {
            out.letter(c);
        } else {
            out.gap(c, chars.peek().is_some_and(|&next| is_word_char(next)));
        }
    }
    let mut folded = out.folded()?;
    if !folded.text.is_ascii() && is_nfc_quick(folded.text.chars()) != IsNormalized::Yes {
        folded.text = folded.text.nfc().collect();
    }
    Some(folded)
}

/// Compatibility decomposition and lower case, without what is dropped.
fn decomposed(chars: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    chars
        .filter(|&c| !is_apostrophe(c))
        .nfkd()
        .flat_map(char::to_lowercase)
        .filter(|&c| !is_dropped(c) && !is_apostrophe(c))
}

/// What becomes of a character wherever it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Simple {
    /// Nothing is left of it.
    Dropped,
    /// It is this letter or digit, of this canonical combining class.
    Letter(char, u8),
    /// It is this, which is no part of a word.
    Gap(char),
    /// It is these letters, by their place in the table.
    Letters(u32),
    /// That depends on what is beside it.
    Complex,
}

/// The end of the alphabets that have a table: behind kana.
const TABLE_END: u32 = 0x3100;
/// Full-width and half-width forms, which have one too.
const FORMS: u32 = 0xff00;
const FORMS_END: u32 = 0xfff0;

/// [`Simple`] in four bytes: a kind, the class and the code point.
#[derive(Clone, Copy)]
struct Entry(u32);

impl Entry {
    const LETTER: u32 = 1;
    const GAP: u32 = 2;
    const LETTERS: u32 = 3;
    const DROPPED: u32 = 4;

    fn new(simple: Simple) -> Self {
        let (kind, class, code) = match simple {
            Simple::Complex => (0, 0, 0),
            Simple::Dropped => (Self::DROPPED, 0, 0),
            Simple::Letter(c, class) => (Self::LETTER, class, u32::from(c)),
            Simple::Gap(c) => (Self::GAP, 0, u32::from(c)),
            Simple::Letters(place) => (Self::LETTERS, 0, place),
        };
        // A class takes 8 bits, a code point 21.
        Self(kind << 29 | u32::from(class) << 21 | code)
    }

    fn simple(self) -> Simple {
        let code = self.0 & 0x1f_ffff;
        match (self.0 >> 29, char::from_u32(code)) {
            (Self::LETTER, Some(c)) => Simple::Letter(c, u8::try_from(self.0 >> 21 & 0xff).unwrap_or_default()),
            (Self::GAP, Some(c)) => Simple::Gap(c),
            (Self::LETTERS, _) => Simple::Letters(code),
            (Self::DROPPED, _) => Simple::Dropped,
            _ => Simple::Complex,
        }
    }
}

/// What becomes of the characters of most alphabets.
struct Table {
    entries: Vec<Entry>,
    /// For what becomes several letters.
    several: Vec<String>,
}

/// Made by the long way, so that they cannot differ from it.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        entries: Vec::new(),
        several: Vec::new(),
    };
    for code in (0..TABLE_END).chain(FORMS..FORMS_END) {
        let simple = char::from_u32(code).map_or(Simple::Complex, |c| table.computed(c));
        table.entries.push(Entry::new(simple));
    }
    table
});

impl Table {
    fn of(&self, c: char) -> Simple {
        let code = u32::from(c);
        let index = match code {
            0..TABLE_END => code,
            FORMS..FORMS_END => code - FORMS + TABLE_END,
            // Han and Hangul syllables; pictures.
            0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7a3 => return Simple::Letter(c, 0),
            0x1f300..=0x1faff => return Simple::Gap(c),
            _ if is_dropped(c) => return Simple::Dropped,
            _ => return Simple::Complex,
        };
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get(index));
        entry.map_or(Simple::Complex, |entry| entry.simple())
    }

    fn several(&self, place: u32) -> &str {
        let place = usize::try_from(place).ok();
        place
            .and_then(|place| self.several.get(place))
            .map_or("", String::as_str)
    }

    fn computed(&mut self, c: char) -> Simple {
        let left: Vec<char> = decomposed(std::iter::once(c)).collect();
        let stands_alone = is_nfc_quick(left.iter().copied()) == IsNormalized::Yes;
        match left.as_slice() {
            [] => Simple::Dropped,
            // The three full stops of `…`: the first one ends the sentence.
            ['.', '.', ..] if left.iter().all(|c| *c == '.') => Simple::Gap('\n'),
            _ if !stands_alone => Simple::Complex,
            [c] if is_word_char(*c) => Simple::Letter(*c, canonical_combining_class(*c)),
            [c] => Simple::Gap(*c),
            _ if left
                .iter()
                .all(|c| is_word_char(*c) && canonical_combining_class(*c) == 0) =>
            {
                self.several.push(left.into_iter().collect());
                u32::try_from(self.several.len() - 1).map_or(Simple::Complex, Simple::Letters)
            }
            _ => Simple::Complex,
        }
    }
}

/// What stands between two words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    Space,
    Break,
}

/// The folded text while it grows: a gap is written only once a letter follows it.
struct Writer {
    text: String,
    pending: Gap,
    breaks: u128,
    words: usize,
    most_words: usize,
}

impl Writer {
    fn new(bytes: usize, most_words: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            pending: Gap::Space,
            breaks: 0,
            words: 0,
            most_words,
        }
    }

    fn is_full(&self) -> bool {
        self.words > self.most_words
    }

    fn folded(self) -> Option<Folded> {
        (!self.is_full()).then_some(Folded {
            text: self.text,
            breaks: self.breaks,
        })
    }

    /// Letters and digits of ASCII, in either case.
    fn letters(&mut self, letters: &str) {
        self.begin();
        let at = self.text.len();
        self.text.push_str(letters);
        if let Some(added) = self.text.get_mut(at..) {
            added.make_ascii_lowercase();
        }
    }

    /// A lower-case letter or digit, or a mark that makes the word.
    fn letter(&mut self, c: char) {
        match c {
            'ß' => self.letters("ss"),
            'æ' => self.letters("ae"),
            'œ' => self.letters("oe"),
            'ı' => self.letters("i"),
            'ø' => self.letters("o"),
            'đ' => self.letters("d"),
            'ł' => self.letters("l"),
            _ => {
                self.begin();
                self.text.push(if c == 'ς' { 'σ' } else { c });
            }
        }
    }

    /// Begins a word, where a gap was seen.
    fn begin(&mut self) {
        if self.pending == Gap::None {
            return;
        }
        if self.words > 0 {
            if self.pending == Gap::Break && self.words <= 128 {
                self.breaks |= 1 << (self.words - 1);
            }
            self.text.push(' ');
        }
        self.words += 1;
        self.pending = Gap::None;
    }

    fn gap(&mut self, c: char, word_follows: bool) {
        if ends_sentence(c, word_follows) {
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
