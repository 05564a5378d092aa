//! Reads fields out of a JSON body by pointer, forgiving what real gateways get wrong and keeping what JSON libraries lose.
//!
//! Values stay text until somebody asks for them: digits of a number are kept as they were written, a field that nobody
//! maps is only skipped over, and a million nested brackets are walked without recursion. It must not know what a field
//! means, and its errors must not quote the body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The most digits that a JSON number is written out to; E.164 has 15, a Unix time in nanoseconds 19.
const MAX_DIGITS: usize = 32;

/// A JSON pointer (RFC 6901), or nothing for the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// The pointer as it is written in a gateway's file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut segments = text.split('/');
        let is_absolute = segments.next().is_some_and(str::is_empty);
        let unescape = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
        is_absolute.then(|| Self(segments.map(unescape).collect()))
    }

    pub(super) const fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|segment| write!(f, "/{}", segment.replace('~', "~0").replace('/', "~1")))
    }
}

/// One field of an object, or the absence of it.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Field<'a> {
    /// Not there, or null.
    Absent,
    /// A string, without U+0000, which Postgres cannot hold.
    Text(Cow<'a, str>),
    /// A number, as it was written.
    Number(&'a str),
    /// True or false.
    Bool(bool),
    /// A list or an object.
    Other,
}

/// Whether a body that may be JSON or a form is JSON: it begins as an object or a list does.
pub(super) fn is_json(body: &[u8]) -> bool {
    let first = without_mark(body).trim_ascii_start().first();
    matches!(first, Some(b'{' | b'['))
}

/// The body without a byte order mark.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

/// The body as JSON text. Nothing that is only wrong in an encoding makes a message unreadable:
///
/// * a byte order mark is taken off;
/// * bytes that are not UTF-8 become U+FFFD;
/// * an escape of half a surrogate pair (`\ud83d`, what is left of an emoji that a gateway cut in two) becomes U+FFFD.
pub(super) fn text_of(body: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(without_mark(body)) {
        Cow::Borrowed(text) => repair_surrogates(text),
        Cow::Owned(text) => Cow::Owned(repair_surrogates(&text).into_owned()),
    }
}

fn repair_surrogates(text: &str) -> Cow<'_, str> {
    let mut repaired = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        let width = match text.get(escape..).map(Escape::of) {
            Some(Escape::LoneSurrogate) => {
                repaired.push_str(text.get(copied..escape).unwrap_or_default());
                repaired.push_str("\\ufffd");
                copied = escape + 6;
                6
            }
            Some(Escape::Pair) => 12,
            // The character after the backslash belongs to it, so an escaped backslash never opens an escape.
            Some(Escape::Other(width)) => width,
            None => break,
        };
        at = escape + width;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    repaired.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(repaired)
}

/// What a backslash opens; its width in bytes.
enum Escape {
    Pair,
    LoneSurrogate,
    Other(usize),
}

impl Escape {
    fn of(text: &str) -> Self {
        match code_unit(text) {
            Some(0xD800..=0xDBFF) => match text.get(6..).and_then(code_unit) {
                Some(0xDC00..=0xDFFF) => Self::Pair,
                _ => Self::LoneSurrogate,
            },
            Some(0xDC00..=0xDFFF) => Self::LoneSurrogate,
            Some(_) => Self::Other(6),
            None => Self::Other(1 + text.chars().nth(1).map_or(0, char::len_utf8)),
        }
    }
}

/// The code unit of a `\u0041`-style escape at the start of `text`.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// One JSON value, read one level deep: what is inside is known to be well-formed and stays text.
pub(super) enum Node<'a> {
    Object(Object<'a>),
    List(Vec<&'a RawValue>),
    Leaf(&'a RawValue),
}

impl<'a> Node<'a> {
    /// The one value that `text` holds; else why not, for a person, with the place and without the text.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        Self::read(text).map_err(|error| {
            if text.trim_ascii().is_empty() {
                return "the body is empty".to_owned();
            }
            let what = if error.is_eof() {
                "it ends too early"
            } else {
                "it is malformed"
            };
            format!("not JSON: {what} at line {} column {}", error.line(), error.column())
        })
    }

    fn read(text: &'a str) -> serde_json::Result<Self> {
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map(Self::Object),
            Some(b'[') => serde_json::from_str(text).map(Self::List),
            _ => serde_json::from_str(text).map(Self::Leaf),
        }
    }

    /// An element of a list, or the value of a key.
    fn inside(raw: &'a RawValue) -> Option<Self> {
        Self::read(raw.get()).ok()
    }

    /// What kind of value this is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "an object",
            Self::List(_) => "a list",
            Self::Leaf(raw) => match raw.get().as_bytes().first() {
                Some(b'"') => "a string",
                Some(b't' | b'f') => "a boolean",
                Some(b'n') => "null",
                _ => "a number",
            },
        }
    }

    /// The value at `pointer` below this one; nothing is below by the root's pointer.
    pub(super) fn at(&self, pointer: &Pointer) -> Option<Self> {
        let (first, rest) = pointer.0.split_first()?;
        Self::inside(below(self.child(first)?, rest)?)
    }

    fn child(&self, segment: &str) -> Option<&'a RawValue> {
        match self {
            Self::Object(object) => object.get(segment),
            Self::List(list) => list.get(segment.parse::<usize>().ok()?).copied(),
            Self::Leaf(_) => None,
        }
    }
}

fn below<'a>(raw: &'a RawValue, segments: &[String]) -> Option<&'a RawValue> {
    segments
        .iter()
        .try_fold(raw, |raw, segment| Node::inside(raw)?.child(segment))
}

/// The field at `pointer` below `raw`; by the root's pointer `raw` itself.
pub(super) fn field_in<'a>(raw: &'a RawValue, pointer: &Pointer) -> Field<'a> {
    below(raw, &pointer.0).map_or(Field::Absent, Field::of)
}

impl<'a> Field<'a> {
    fn of(raw: &'a RawValue) -> Self {
        let raw = raw.get();
        match raw.as_bytes().first() {
            Some(b'n') => Self::Absent,
            Some(b'"') => text_in(raw).map_or(Self::Other, |text| Self::Text(without_nul(text))),
            Some(b'-' | b'0'..=b'9') => Self::Number(raw),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            _ => Self::Other,
        }
    }
}

/// The text of a JSON string; most have no escape, and then it is what stands between the quotes.
fn text_in(string: &str) -> Option<Cow<'_, str>> {
    match string.strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(string).ok().map(|Text(text)| text),
    }
}

/// A string that borrows where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        text
    }
}

/// The entries of one object in the order in which they were sent.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The field at `pointer`.
    pub(super) fn field(&self, pointer: &Pointer) -> Field<'a> {
        if pointer.is_root() {
            return Field::Other;
        }
        self.at(pointer).map_or(Field::Absent, Field::of)
    }

    fn at(&self, pointer: &Pointer) -> Option<&'a RawValue> {
        let (first, rest) = pointer.0.split_first()?;
        below(self.get(first)?, rest)
    }

    /// The values at `pointer`: the elements of a list, or what stands there alone. A field of a form that is sent
    /// several times is a list too.
    pub(super) fn list(&self, pointer: &Pointer) -> Vec<&'a RawValue> {
        let Some(found) = self.at(pointer) else {
            return Vec::new();
        };
        match (Node::inside(found), pointer.0.as_slice()) {
            (Some(Node::List(list)), _) => list,
            (Some(Node::Leaf(_)), [name]) => self.named(name).collect(),
            _ => vec![found],
        }
    }

    /// All fields with their names, in the order in which they were sent.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, Field<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), Field::of(value)))
    }

    fn named(&self, key: &str) -> impl Iterator<Item = &'a RawValue> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| *value)
    }

    /// Of a key that is there twice the last value counts, as in every `JSON.parse`.
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut entries = Vec::with_capacity(16);
                while let Some((Text(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A whole number that was written as `9.1987654321E11` or `919876543210.0` in plain digits, since some serialisers send
/// telephone numbers and times so; anything else as it is.
pub(super) fn written_out(number: &str) -> Cow<'_, str> {
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Cow::Borrowed(number);
    }
    plain_digits(number).map_or(Cow::Borrowed(number), Cow::Owned)
}

fn plain_digits(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let zeros = usize::try_from(exponent.parse::<i32>().ok()?)
        .ok()?
        .checked_sub(fraction.len())?;
    let is_plain = whole.bytes().all(|byte| byte.is_ascii_digit());
    let fits = whole.len() + fraction.len() + zeros.min(MAX_DIGITS) <= MAX_DIGITS;
    (is_plain && fits).then(|| {
        let digits = format!("{whole}{fraction}{}", "0".repeat(zeros));
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            "0".to_owned()
        } else {
            significant.to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_repaired_and_an_escaped_backslash_is_not_touched() {
        for (sent, read) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\udE00\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
            (r#""\ud83d\n\udc00""#, r#""\ufffd\n\ufffd""#),
            (r#""\ud8é""#, r#""\ud8é""#),
            (r"\", r"\"),
            (r"\é\ud800", r"\é\ufffd"),
            (r"\u+123", r"\u+123"),
        ] {
            assert_eq!(repair_surrogates(sent), read, "{sent}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (sent, read) in [
            ("919876543210", "919876543210"),
            ("9.1987654321E11", "919876543210"),
            ("9.1987654321e+11", "919876543210"),
            ("919876543210.0", "919876543210"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("0.0", "0"),
            ("1.5", "1.5"),
            ("-5", "-5"),
            ("1e-3", "1e-3"),
            ("1e400", "1e400"),
            ("1e99999999999", "1e99999999999"),
        ] {
            assert_eq!(written_out(sent), read, "{sent}");
        }
    }

    #[test]
    fn pointers_reach_into_objects_and_lists_and_unescape() {
        let node = Node::parse(r#"{"a/b":{"m~n":[{"x":1},{"x":"two"}]},"":0}"#).unwrap();
        let Node::Object(object) = node else {
            panic!("not an object")
        };
        let field = |pointer: &str| object.field(&Pointer::parse(pointer).unwrap());
        assert_eq!(field("/a~1b/m~0n/1/x"), Field::Text("two".into()));
        assert_eq!(field("/a~1b/m~0n/0/x"), Field::Number("1"));
        assert_eq!(field("/"), Field::Number("0"));
        assert_eq!(field("/a~1b/m~0n/2/x"), Field::Absent);
        assert_eq!(field("/a~1b/m~0n/x"), Field::Absent);
        assert_eq!(field("/nowhere"), Field::Absent);
        assert_eq!(field(""), Field::Other);
        assert_eq!(Pointer::parse("no slash"), None);
        assert_eq!(Pointer::parse("/a~1b/m~0n").unwrap().to_string(), "/a~1b/m~0n");
    }
}
