//! The words that anything in this room names, numbered, and texts cut into such words.
//!
//! It must not allocate per text: a text's words are slices of it, in a table on the stack. It knows no meaning.

use super::MAX_WORDS;
use super::normalise::normalise;
use super::words::{CLASSES, list};

/// One word of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token<'t> {
    pub(crate) word: &'t str,
    /// Where it begins in the text, in bytes.
    at: usize,
    /// The number of the word in the [`Lexicon`]; 0 when nothing names it.
    pub(crate) id: u16,
    /// What the word can be in a text of keywords.
    pub(crate) roles: Roles,
    /// Whether a sentence ends behind this word.
    pub(crate) ends: bool,
    /// Whether it is a number of 4 to 6 digits, as in "STOP 36180".
    pub(crate) code: bool,
}

impl Token<'_> {
    const NONE: Self = Self {
        word: "",
        at: 0,
        id: 0,
        roles: Roles::NONE,
        ends: false,
        code: false,
    };

    /// Whether it is a single letter.
    pub(crate) fn is_letter(&self) -> bool {
        let bytes = self.word.len();
        bytes == 1 || (bytes <= 4 && self.word.chars().nth(1).is_none())
    }
}

/// A set of things that a word can be; which they are is for the keywords to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Roles(pub(crate) u8);

impl Roles {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u8::MAX);

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A text cut into words.
pub(crate) struct Tokens<'t> {
    text: &'t str,
    table: [Token<'t>; MAX_WORDS],
    length: usize,
}

impl<'t> Tokens<'t> {
    /// Cuts a normalised text of at most [`MAX_WORDS`] words; `breaks` says behind which of them a sentence ends.
    pub(crate) fn cut(text: &'t str, breaks: u128, lexicon: &Lexicon) -> Self {
        let mut tokens = Self {
            text,
            table: [Token::NONE; MAX_WORDS],
            length: 0,
        };
        let mut at = 0;
        let mut hash = Hash::new();
        for (end, byte) in text.bytes().chain(std::iter::once(b' ')).enumerate() {
            if byte == b' ' {
                let Some(slot) = tokens.table.get_mut(tokens.length) else {
                    break;
                };
                let word = text.get(at..end).unwrap_or_default();
                *slot = lexicon.token(word, at, hash);
                slot.ends = breaks >> tokens.length & 1 == 1;
                tokens.length += 1;
                (at, hash) = (end + 1, Hash::new());
            } else {
                hash.add(byte);
            }
        }
        if let Some(last) = tokens.length.checked_sub(1).and_then(|last| tokens.table.get_mut(last)) {
            last.ends = true;
        }
        tokens
    }

    /// All words.
    pub(crate) fn run(&self) -> Run<'_, 't> {
        Run {
            text: self.text,
            tokens: self.table.get(..self.length).unwrap_or_default(),
        }
    }
}

/// Words that follow one another in a text.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a, 't> {
    text: &'t str,
    pub(crate) tokens: &'a [Token<'t>],
}

impl<'a, 't> Run<'a, 't> {
    /// The words from one to before another, less where there are not so many.
    pub(crate) fn part(self, from: usize, to: usize) -> Self {
        let to = to.min(self.tokens.len());
        Self {
            text: self.text,
            tokens: self.tokens.get(from..to).unwrap_or_default(),
        }
    }

    /// The same for some of its tokens.
    pub(crate) fn of(self, tokens: &'a [Token<'t>]) -> Self {
        Self { tokens, ..self }
    }

    /// The words with a space between two.
    pub(crate) fn words(self) -> &'t str {
        let (Some(first), Some(last)) = (self.tokens.first(), self.tokens.last()) else {
            return "";
        };
        self.text.get(first.at..last.at + last.word.len()).unwrap_or_default()
    }

    pub(crate) fn len(self) -> usize {
        self.tokens.len()
    }
}

/// FNV-1a (draft-eastlake-fnv), for short words. Nobody outside chooses what a table of ours holds, so a defence against
/// chosen keys is not needed.
#[derive(Clone, Copy)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// One word of the lexicon.
#[derive(Debug)]
struct Entry {
    word: Box<str>,
    roles: Roles,
}

/// The words that keywords and patterns name, numbered from 1.
#[derive(Default, Debug)]
pub(crate) struct Lexicon {
    entries: Vec<Entry>,
    /// Numbers of entries by hash, with linear probing; 0 is a free slot. Never more than half full; a power of two long.
    slots: Vec<u16>,
    classes: Vec<(&'static str, Vec<u16>)>,
}

impl Lexicon {
    /// The words of all classes; patterns and keywords add theirs.
    pub(crate) fn new() -> Self {
        let mut lexicon = Self {
            slots: vec![0; 64],
            ..Self::default()
        };
        for (name, words) in CLASSES {
            let ids = list(words).filter_map(|word| lexicon.intern(word)).collect();
            lexicon.classes.push((name, ids));
        }
        lexicon
    }

    /// How many numbers there are, 0 included.
    pub(crate) fn size(&self) -> usize {
        self.entries.len() + 1
    }

    pub(crate) fn class(&self, name: &str) -> Option<&[u16]> {
        let found = self.classes.iter().find(|(known, _)| *known == name)?;
        Some(&found.1)
    }

    /// The numbers of single words, sorted.
    pub(crate) fn numbers(&mut self, words: &'static str) -> Vec<u16> {
        let mut ids: Vec<u16> = list(words).filter_map(|word| self.intern(word)).collect();
        ids.sort_unstable();
        ids
    }

    /// The number of a word, a new one where it has none; `None` for what is not one word.
    pub(crate) fn intern(&mut self, word: &str) -> Option<u16> {
        let word = normalise(word);
        if word.is_empty() || word.contains(' ') {
            return None;
        }
        let mut hash = Hash::new();
        word.bytes().for_each(|byte| hash.add(byte));
        let known = self.find(&word, hash);
        if known != 0 {
            return Some(known);
        }
        let id = u16::try_from(self.size()).ok()?;
        self.entries.push(Entry {
            word: word.into(),
            roles: Roles::NONE,
        });
        self.place(id, hash);
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
        Some(id)
    }

    /// Says what each word can be.
    pub(crate) fn assign(&mut self, roles: impl Fn(&str) -> Roles) {
        for entry in &mut self.entries {
            entry.roles = roles(&entry.word);
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; self.slots.len() * 2];
        for number in 1..self.size() {
            let Some(entry) = self.entries.get(number - 1) else {
                continue;
            };
            let mut hash = Hash::new();
            entry.word.bytes().for_each(|byte| hash.add(byte));
            self.place(u16::try_from(number).unwrap_or_default(), hash);
        }
    }

    fn place(&mut self, id: u16, hash: Hash) {
        let mut at = self.first_slot(hash);
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == 0 {
                *slot = id;
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn first_slot(&self, hash: Hash) -> usize {
        // FNV's high bits are the better mixed ones for short words.
        let mixed = hash.value() ^ (hash.value() >> 32);
        usize::try_from(mixed & 0xffff_ffff).unwrap_or_default() & (self.slots.len() - 1)
    }

    /// The number of a word with this hash; 0 for a word that nothing names.
    fn find(&self, word: &str, hash: Hash) -> u16 {
        let mut at = self.first_slot(hash);
        while let Some(id) = self.slots.get(at).copied().filter(|id| *id != 0) {
            if self.entry(id).is_some_and(|entry| &*entry.word == word) {
                return id;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        0
    }

    fn entry(&self, id: u16) -> Option<&Entry> {
        self.entries.get(usize::from(id).checked_sub(1)?)
    }

    fn token<'t>(&self, word: &'t str, at: usize, hash: Hash) -> Token<'t> {
        let id = self.find(word, hash);
        Token {
            word,
            at,
            id,
            roles: self.entry(id).map_or(Roles::NONE, |entry| entry.roles),
            ends: false,
            code: (4..=6).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit()),
        }
    }
}
