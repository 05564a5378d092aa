//! What a sender or recipient is, and the one spelling under which it is remembered.
//!
//! This room is pure and total: whatever a gateway puts into a number field gives an [`Address`], never an error, because
//! a message must not be lost to an odd sender. It must not drop or refuse anything for being an invalid number (validity
//! is advice: numbering plans change faster than libraries), and must not show a number in full in `Debug`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumberFormat};

/// Characters of a cleaned number beyond which nothing is read as a number. E.164 has at most 15 digits; dialled forms
/// carry a few more. The cap also bounds the work that the number library can be made to do.
const MAX_NUMBER_CHARS: usize = 32;
/// Bytes of a key. Keys sit in unique indexes, and Postgres refuses index rows over about 2,700 bytes.
const MAX_KEY_BYTES: usize = 128;
/// Bytes of a field that are looked at; what lies behind can only make it opaque.
const MAX_READ_BYTES: usize = 512;
/// Digits that E.164 allows (ITU-T E.164, 6.2.1).
const MAX_E164_DIGITS: usize = 15;
/// Without a `+`, fewer digits than this are never taken for an international number.
const MIN_BARE_DIGITS: usize = 8;
/// With an explicit `+`, Niue (+683 4xxx) is the shortest mobile number in use.
const MIN_PLUS_DIGITS: usize = 7;
/// Short codes have 3 to 6 digits nearly everywhere; a few countries go to 8.
const MAX_SHORT_DIGITS: usize = 6;
const MAX_NATIONAL_SHORT_DIGITS: usize = 8;

/// What an address turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// A telephone number, known in E.164.
    Number,
    /// A short code: digits only, meaningful in one country, usually not answerable from a normal number.
    Short,
    /// A sender name such as a bank's or a carrier's. Nobody reads what is sent to it.
    Alpha,
    /// Something given that is none of the others; kept as it is.
    Opaque,
    /// Nothing was given.
    Missing,
}

impl Kind {
    /// The word used in logs and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Short => "short",
            Self::Alpha => "alpha",
            Self::Opaque => "opaque",
            Self::Missing => "missing",
        }
    }

    /// Reads that word.
    pub fn from_stored(word: &str) -> Option<Self> {
        [Self::Number, Self::Short, Self::Alpha, Self::Opaque, Self::Missing]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// A sender or a recipient: as given, and as remembered.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    raw: String,
    key: String,
    kind: Kind,
    /// What the gateway said, where the configuration put a number in its place.
    said: Option<String>,
}

impl Address {
    /// The address of a recipient that the gateway does not name.
    pub fn missing() -> Self {
        Self {
            raw: String::new(),
            key: String::new(),
            kind: Kind::Missing,
            said: None,
        }
    }

    /// The number that the configuration puts in the place of what the gateway `said`: a device's name, or nothing.
    pub fn in_place_of(said: &str, number: &str, format: &NumberFormat) -> Self {
        Self {
            said: Some(said.to_owned()),
            ..normalise(number, format)
        }
    }

    /// The address that was once read and stored, whatever the number format is now.
    pub fn stored(raw: String, key: String, kind: Kind) -> Self {
        Self {
            raw,
            key,
            kind,
            said: None,
        }
    }

    /// Exactly what the gateway gave, or the number that the configuration has in its place, as it stands there. For
    /// showing and for replying through the same gateway.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The one spelling: E.164 with `+`, or a short code's digits, or the trimmed original (at most 128 bytes).
    /// Conversations and suppressions go by it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What kind of address this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number in E.164 with its `+`, when it is a number.
    pub fn e164(&self) -> Option<&str> {
        (self.kind == Kind::Number).then_some(self.key.as_str())
    }

    /// Whether a reply to it can reach a person: sender names cannot be answered, and an automatic answer to a short
    /// code meets a machine.
    pub fn can_be_answered(&self) -> bool {
        self.kind == Kind::Number
    }

    /// The last four characters of the key: all that a log or an error may show.
    pub fn last_four(&self) -> &str {
        let start = self.key.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        self.key.get(start..).unwrap_or_default()
    }

    /// The original without surrounding space, scheme and leading `+`. It depends on no configuration, so a message's
    /// fingerprint survives a change of the number format, or of the names of our devices, between a delivery and its
    /// retry.
    pub fn fingerprint_form(&self) -> &str {
        let body = strip_scheme(self.said.as_deref().unwrap_or(&self.raw).trim());
        body.strip_prefix('+').unwrap_or(body)
    }

    /// The one key under which consent is kept: however a gateway writes the number, and in whichever of two forms a country
    /// that changed its mobile numbers still delivers it.
    pub fn suppression_key(&self) -> String {
        suppression_key(&self.key)
    }

    /// Every spelling under which an opt-out of this address may have been stored: the key first, then the digits with
    /// and without `+`, and the older and newer forms of countries that put a digit into their mobile numbers. Checking
    /// one spelling too many withholds a text; one too few sends a text to somebody who said STOP.
    pub fn suppression_keys(&self) -> Vec<String> {
        let mut keys = vec![self.key.clone()];
        match self.kind {
            Kind::Number => {
                let bare = self.key.trim_start_matches('+');
                keys.push(bare.to_owned());
                for alias in mobile_aliases(bare) {
                    keys.push(format!("+{alias}"));
                    keys.push(alias);
                }
            }
            Kind::Opaque if is_bare_international(&self.key) => {
                keys.push(format!("+{}", self.key));
                keys.extend(
                    mobile_aliases(&self.key)
                        .into_iter()
                        .flat_map(|alias| [format!("+{alias}"), alias]),
                );
            }
            Kind::Opaque | Kind::Short | Kind::Alpha | Kind::Missing => {}
        }
        keys
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} …{})", self.kind.as_str(), self.last_four())
    }
}

/// A country whose national numbers are understood, by its two-letter code (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region(rlibphonenumber::Region);

impl FromStr for Region {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let unknown = || FormatError::UnknownRegion(text.chars().take(16).collect());
        let region = rlibphonenumber::Region::from_code(text.trim()).map_err(|_| unknown())?;
        // Any two letters pass the library's type; only regions with a numbering plan are of use here.
        let known =
            region != rlibphonenumber::Region::World && PHONE_NUMBER_UTIL.get_supported_regions().any(|r| r == region);
        if known { Ok(Self(region)) } else { Err(unknown()) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a gateway writes numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberFormat {
    /// International, always with `+`. Digits without one are kept, not guessed at.
    E164,
    /// International without `+`: 8 to 15 digits are a number.
    E164NoPlus,
    /// As dialled within one country (an Android phone reports what its SIM reports).
    National(Region),
    /// Either: international where that is a valid number, else national where a region is given.
    Auto(Option<Region>),
}

/// Why a `number_format` in a configuration file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// Not one of the known words.
    #[error("unknown number format \"{0}\": use \"e164\", \"e164_no_plus\", \"national:GB\", \"auto\" or \"auto:GB\"")]
    UnknownFormat(String),
    /// `national` alone.
    #[error("the number format \"national\" needs a country, as in \"national:GB\"")]
    RegionMissing,
    /// Two letters that no numbering plan belongs to.
    #[error("\"{0}\" is not a country with a numbering plan: use two letters of ISO 3166, such as GB (not UK) or IN")]
    UnknownRegion(String),
}

impl FromStr for NumberFormat {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let (word, region) = match text.trim().split_once(':') {
            Some((word, region)) => (word.trim(), Some(region)),
            None => (text.trim(), None),
        };
        match (word, region) {
            ("e164", None) => Ok(Self::E164),
            ("e164_no_plus", None) => Ok(Self::E164NoPlus),
            ("auto", None) => Ok(Self::Auto(None)),
            ("auto", Some(region)) => Ok(Self::Auto(Some(region.parse()?))),
            ("national", Some(region)) => Ok(Self::National(region.parse()?)),
            ("national", None) => Err(FormatError::RegionMissing),
            _ => Err(FormatError::UnknownFormat(text.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for NumberFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::E164 => f.write_str("e164"),
            Self::E164NoPlus => f.write_str("e164_no_plus"),
            Self::National(region) => write!(f, "national:{region}"),
            Self::Auto(None) => f.write_str("auto"),
            Self::Auto(Some(region)) => write!(f, "auto:{region}"),
        }
    }
}

/// Classifies an address and gives it its one spelling. Total: any input, never a panic.
///
/// Letters are looked for before any parsing, because number libraries read vanity letters as digits and would turn a
/// sender name into somebody's number.
pub fn normalise(raw: &str, format: &NumberFormat) -> Address {
    let (kind, key) = match read(raw) {
        Shape::Nothing => (Kind::Missing, String::new()),
        Shape::Letters => (Kind::Alpha, opaque_key(raw)),
        Shape::Other => (Kind::Opaque, opaque_key(raw)),
        Shape::Digits { plus, digits } => match number(plus, &digits, *format) {
            Some(found) => found,
            None => (Kind::Opaque, if plus { format!("+{digits}") } else { digits }),
        },
    };
    Address {
        raw: raw.to_owned(),
        key,
        kind,
        said: None,
    }
}

/// The spellings under which other systems keep a number.
#[derive(Clone, PartialEq, Eq)]
pub struct Spellings {
    /// `+14155550100`.
    pub e164: String,
    /// `14155550100`.
    pub digits: String,
    /// `4155550100`: without the country code.
    pub national: String,
}

impl fmt::Debug for Spellings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spellings(…)")
    }
}

/// The spellings of an E.164 number; `None` for anything else.
pub fn spellings(e164: &str) -> Option<Spellings> {
    let digits = e164.strip_prefix('+')?;
    if !(MIN_PLUS_DIGITS..=MAX_E164_DIGITS).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let national = PHONE_NUMBER_UTIL.parse(e164, None).ok().map(|parsed| {
        let country = parsed.country_code.to_string();
        digits.strip_prefix(&country).unwrap_or(digits).to_owned()
    });
    Some(Spellings {
        e164: e164.to_owned(),
        digits: digits.to_owned(),
        national: national.unwrap_or_else(|| digits.to_owned()),
    })
}

/// Whether a number as another system wrote it is that of `sender` (E.164). One without a country code is read as of the
/// sender's own country; one with an extension is somebody else's.
pub fn is_number_of(found: &str, sender: &str) -> bool {
    let Some(spellings) = spellings(sender) else {
        return false;
    };
    let Shape::Digits { plus, digits } = read(found) else {
        return false;
    };
    let aliases = mobile_aliases(&spellings.digits);
    let is_sender = |digits: &str| digits == spellings.digits || aliases.iter().any(|alias| alias == digits);
    if is_sender(&digits) {
        return true;
    }
    if plus {
        return false;
    }
    let exit = ["00", "011"].iter().find_map(|code| digits.strip_prefix(code));
    exit.is_some_and(is_sender)
        || digits == spellings.national
        || digits.strip_prefix(['0', '1', '8']) == Some(spellings.national.as_str())
}

/// What the characters of a field amount to, before anything is taken for a number.
enum Shape {
    Nothing,
    Letters,
    Other,
    Digits { plus: bool, digits: String },
}

fn read(raw: &str) -> Shape {
    let trimmed = raw.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
    if trimmed.is_empty() {
        return Shape::Nothing;
    }
    if trimmed.len() > MAX_READ_BYTES {
        return Shape::Other;
    }
    let body = strip_scheme(trimmed);
    // A tel: URI may carry parameters behind a semicolon (RFC 3966).
    let body = body.split(';').next().unwrap_or_default();
    if body.chars().any(char::is_alphabetic) {
        return Shape::Letters;
    }
    // Android shows -1 and -2 for withheld numbers: not a short code.
    if body.starts_with('-') {
        return Shape::Other;
    }
    read_digits(body)
}

fn read_digits(body: &str) -> Shape {
    // "+44 (0)20 …": the bracketed trunk zero is not dialled from abroad.
    let without_trunk = if body.starts_with(['+', '\u{ff0b}']) {
        body.replace("(0)", "")
    } else {
        body.to_owned()
    };
    let mut plus = false;
    let mut digits = String::new();
    for c in without_trunk.chars() {
        match c {
            '+' | '\u{ff0b}' if digits.is_empty() && !plus => plus = true,
            _ if is_separator(c) || is_invisible(c) => {}
            _ => match decimal_digit(c) {
                Some(digit) if digits.len() < MAX_NUMBER_CHARS => digits.push(digit),
                _ => return Shape::Other,
            },
        }
    }
    if digits.is_empty() {
        Shape::Other
    } else {
        Shape::Digits { plus, digits }
    }
}

fn number(plus: bool, digits: &str, format: NumberFormat) -> Option<(Kind, String)> {
    if digits.len() <= MAX_SHORT_DIGITS {
        return Some((Kind::Short, digits.to_owned()));
    }
    let found = match format {
        NumberFormat::E164 | NumberFormat::E164NoPlus if plus => plain(digits, MIN_PLUS_DIGITS),
        NumberFormat::E164 => behind_exit_code(digits),
        NumberFormat::E164NoPlus => behind_exit_code(digits).or_else(|| plain(digits, MIN_BARE_DIGITS)),
        NumberFormat::National(region) => in_country(plus, digits, region),
        NumberFormat::Auto(region) => by_validity(plus, digits, region),
    };
    let short = matches!(format, NumberFormat::National(_)) && !plus && digits.len() <= MAX_NATIONAL_SHORT_DIGITS;
    match found {
        Some(e164) => Some((Kind::Number, e164)),
        None => short.then(|| (Kind::Short, digits.to_owned())),
    }
}

/// `+digits`, judged by length alone: the receive path needs no numbering plan for what says it is international.
fn plain(digits: &str, at_least: usize) -> Option<String> {
    let fits = (at_least..=MAX_E164_DIGITS).contains(&digits.len()) && !digits.starts_with('0');
    fits.then(|| format!("+{digits}"))
}

/// No country code begins with 0, so a leading 00 or 011 can only be an exit code where no region says otherwise.
fn behind_exit_code(digits: &str) -> Option<String> {
    let international = digits.strip_prefix("00").or_else(|| digits.strip_prefix("011"))?;
    plain(international, MIN_BARE_DIGITS)
}

fn in_country(plus: bool, digits: &str, region: Region) -> Option<String> {
    let given = plus.then(|| plain(digits, MIN_PLUS_DIGITS)).flatten();
    if let Some(e164) = given.as_deref().filter(|e164| is_valid(e164)) {
        return Some(e164.to_owned());
    }
    national(digits, region, Strictness::Valid)
        .or(given)
        .or_else(|| plain(digits, MIN_BARE_DIGITS).filter(|e164| is_valid(e164)))
        .or_else(|| national(digits, region, Strictness::Possible))
}

fn by_validity(plus: bool, digits: &str, region: Option<Region>) -> Option<String> {
    let international = plain(digits, MIN_PLUS_DIGITS);
    if let Some(e164) = international.as_deref().filter(|e164| is_valid(e164)) {
        return Some(e164.to_owned());
    }
    region
        .and_then(|region| national(digits, region, Strictness::Valid))
        .or_else(|| behind_exit_code(digits).filter(|e164| is_valid(e164)))
        // An explicit plus is the gateway's word; that the plan does not know the number is only advice.
        .or_else(|| international.filter(|_| plus))
}

/// How much of a numbering plan a national number must satisfy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Valid,
    Possible,
}

fn national(digits: &str, region: Region, strictness: Strictness) -> Option<String> {
    let parsed = PHONE_NUMBER_UTIL.parse(digits, Some(region.0)).ok()?;
    let good = match strictness {
        Strictness::Valid => PHONE_NUMBER_UTIL.is_valid_number(&parsed),
        Strictness::Possible => matches!(
            PHONE_NUMBER_UTIL.is_possible_number_with_reason(&parsed),
            Ok(NumberLengthType::IsPossible)
        ),
    };
    good.then(|| PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned())
}

fn is_valid(e164: &str) -> bool {
    let known = |e164: &str| {
        PHONE_NUMBER_UTIL
            .parse(e164, None)
            .is_ok_and(|parsed| PHONE_NUMBER_UTIL.is_valid_number(&parsed))
    };
    known(e164)
        || mobile_aliases(e164.trim_start_matches('+'))
            .iter()
            .any(|alias| known(&format!("+{alias}")))
}

/// The one spelling of an address's key by which consent is looked up; idempotent. The migration of the database does the
/// same in SQL (`smshook.suppression_key`), for what was stored before.
pub fn suppression_key(key: &str) -> String {
    let digits = match key.strip_prefix('+') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits,
        _ if is_bare_international(key) => key,
        _ => return key.to_owned(),
    };
    format!("+{}", shorter_form(digits))
}

/// Of two spellings of one mobile number, that without the digit which was added or taken away.
fn shorter_form(digits: &str) -> Cow<'_, str> {
    let (country, rest) = match (digits.len(), digits) {
        (13, d) if d.starts_with("521") => ("52", d.get(3..)),
        (13, d) if d.starts_with("549") => ("54", d.get(3..)),
        // A number that begins otherwise behind the 9 is of the time after it was added: it never was shorter.
        (13, d)
            if d.starts_with("55")
                && d.get(4..5) == Some("9")
                && d.get(5..6).is_some_and(|next| "6789".contains(next)) =>
        {
            (d.get(..4).unwrap_or_default(), d.get(5..))
        }
        _ => return Cow::Borrowed(digits),
    };
    rest.map_or(Cow::Borrowed(digits), |rest| Cow::Owned(format!("{country}{rest}")))
}

/// The other spelling of mobile numbers in countries that added or removed a digit: both still arrive.
/// Mexico dropped its 1 in 2019 (IFT), Argentina writes a 9 only towards abroad, Brazil added a 9 until 2016 (Anatel).
fn mobile_aliases(digits: &str) -> Vec<String> {
    let swapped = match (digits.len(), digits) {
        (13, d) if d.starts_with("521") => d.get(3..).map(|rest| format!("52{rest}")),
        (12, d) if d.starts_with("52") => d.get(2..).map(|rest| format!("521{rest}")),
        (13, d) if d.starts_with("549") => d.get(3..).map(|rest| format!("54{rest}")),
        (12, d) if d.starts_with("54") => d.get(2..).map(|rest| format!("549{rest}")),
        (13, d) if d.starts_with("55") && d.get(4..5) == Some("9") => joined(d.get(..4), d.get(5..), ""),
        (12, d) if d.starts_with("55") && d.get(4..5).is_some_and(|first| "6789".contains(first)) => {
            joined(d.get(..4), d.get(4..), "9")
        }
        _ => None,
    };
    swapped.into_iter().collect()
}

fn joined(head: Option<&str>, tail: Option<&str>, between: &str) -> Option<String> {
    Some(format!("{}{between}{}", head?, tail?))
}

fn is_bare_international(key: &str) -> bool {
    (MIN_BARE_DIGITS..=MAX_E164_DIGITS).contains(&key.len())
        && !key.starts_with('0')
        && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// The key of what is not a number: trimmed, without characters that no one sees and that Postgres or a log may refuse.
fn opaque_key(raw: &str) -> String {
    let mut key = String::new();
    for c in raw.trim().chars().filter(|&c| !c.is_control() && !is_invisible(c)) {
        if key.len() + c.len_utf8() > MAX_KEY_BYTES {
            break;
        }
        key.push(c);
    }
    key.truncate(key.trim_end().len());
    key
}

/// Channel and URI schemes that stand before a number (Twilio channels; RFC 3966; RFC 5724).
fn strip_scheme(body: &str) -> &str {
    const SCHEMES: [&str; 6] = ["whatsapp:", "tel:", "sms:", "smsto:", "mms:", "rcs:"];
    for scheme in SCHEMES {
        let head = body.get(..scheme.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(scheme)) {
            return body.get(scheme.len()..).unwrap_or_default().trim_start();
        }
    }
    body
}

/// What people and phones put between the digits of a number.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '.' | '(' | ')' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}'
        )
}

/// Direction marks, joiners, soft hyphen and byte order mark: contacts copied from a phone book carry them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\0' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
}

/// The zeros of Arabic, Persian, Devanagari, Bengali, Thai and full-width digits.
const ZEROS: [u32; 6] = [0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];

/// The ASCII digit of a decimal digit in the scripts that phones use for numbers.
fn decimal_digit(c: char) -> Option<char> {
    if c.is_ascii_digit() {
        return Some(c);
    }
    let code = u32::from(c);
    let value = ZEROS
        .iter()
        .map(|zero| code.wrapping_sub(*zero))
        .find(|value| *value < 10)?;
    char::from_digit(value, 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format(text: &str) -> NumberFormat {
        text.parse().unwrap()
    }

    fn seen(raw: &str, as_format: &str) -> (Kind, String) {
        let address = normalise(raw, &format(as_format));
        assert_eq!(address.raw(), raw);
        (address.kind(), address.key().to_owned())
    }

    fn number(key: &str) -> (Kind, String) {
        (Kind::Number, key.to_owned())
    }

    #[test]
    fn a_number_of_another_system_is_the_senders_in_any_spelling_and_nobody_elses() {
        let sender = "+14155550100";
        for same in [
            "+14155550100",
            "14155550100",
            "(415) 555-0100",
            "4155550100",
            "1-415-555-0100",
            "00 1 415 555 0100",
            "011 14155550100",
            "tel:+1-415-555-0100",
            "+1 (415) 555\u{2011}0100",
        ] {
            assert!(is_number_of(same, sender), "{same}");
        }
        for other in [
            "",
            "+44155550100",
            "+4155550100",
            "+14155550101",
            "5550100",
            "415-555-0100 x12",
            "0100",
            "SMS",
            "24155550100",
        ] {
            assert!(!is_number_of(other, sender), "{other}");
        }
        assert!(is_number_of("020 7946 0018", "+442079460018"));
        assert!(is_number_of("+44 (0)20 7946 0018", "+442079460018"));
        assert!(is_number_of("+5215512345678", "+525512345678"));
        assert!(!is_number_of("12345", "12345"));
    }

    #[test]
    fn a_number_has_three_spellings_and_a_name_has_none() {
        let found = spellings("+442079460018").unwrap();
        assert_eq!(
            (found.digits.as_str(), found.national.as_str()),
            ("442079460018", "2079460018")
        );
        assert_eq!(spellings("+14155550100").unwrap().national, "4155550100");
        assert_eq!(spellings("ACME"), None);
        assert_eq!(spellings("12345"), None);
    }

    #[test]
    fn two_spellings_of_one_number_give_one_key() {
        let groups: [(&str, &[&str], &str); 7] = [
            (
                "e164",
                &[
                    "+14155550123",
                    "+1 (415) 555-0123",
                    "tel:+1-415-555-0123",
                    "whatsapp:+14155550123",
                    "0014155550123",
                    "01114155550123",
                ],
                "+14155550123",
            ),
            (
                "e164_no_plus",
                &[
                    "919876543210",
                    "+919876543210",
                    "+91 98765 43210",
                    "00919876543210",
                    "\u{202a}+91 98765 43210\u{202c}",
                ],
                "+919876543210",
            ),
            (
                "e164_no_plus",
                &[
                    "+44 (0)7911 123456",
                    "447911123456",
                    "+447911123456",
                    "\u{ff0b}44 7911 123456",
                ],
                "+447911123456",
            ),
            (
                "national:GB",
                &[
                    "07911123456",
                    "+447911123456",
                    "447911123456",
                    "07911 123456",
                    "00447911123456",
                ],
                "+447911123456",
            ),
            (
                "national:US",
                &[
                    "4155550123",
                    "14155550123",
                    "+14155550123",
                    "(415) 555-0123",
                    "+4155550123",
                ],
                "+14155550123",
            ),
            (
                "auto:IN",
                &[
                    "919876543210",
                    "9876543210",
                    "09876543210",
                    "+919876543210",
                    "٩١٩٨٧٦٥٤٣٢١٠",
                ],
                "+919876543210",
            ),
            ("auto", &["919876543210", "+919876543210"], "+919876543210"),
        ];
        for (as_format, spellings, key) in groups {
            for spelling in spellings {
                assert_eq!(seen(spelling, as_format), number(key), "{spelling} as {as_format}");
            }
        }
    }

    #[test]
    fn a_number_without_plus_is_not_guessed_at_where_the_gateway_promises_one() {
        assert_eq!(seen("919876543210", "e164"), (Kind::Opaque, "919876543210".to_owned()));
        assert!(!normalise("919876543210", &NumberFormat::E164).can_be_answered());
    }

    #[test]
    fn an_unknown_number_with_a_plus_stays_a_number() {
        for as_format in ["e164", "e164_no_plus", "auto", "auto:IN", "national:IN"] {
            assert_eq!(seen("+999123456789", as_format), number("+999123456789"), "{as_format}");
        }
    }

    #[test]
    fn a_reading_area_code_is_not_an_american_exit_code() {
        assert_eq!(seen("0118 496 0123", "national:GB"), number("+441184960123"));
        assert_eq!(seen("0118 496 0123", "auto:GB"), number("+441184960123"));
    }

    #[test]
    fn sender_names_never_become_numbers() {
        for raw in [
            "AMAZON",
            "VM-HDFCBK",
            "1800FLOWERS",
            "AD-12345-S",
            "банк",
            "+1 415 555 0123 ext 5",
            "someone@example.com",
        ] {
            for as_format in ["e164", "e164_no_plus", "auto:US", "national:US"] {
                assert_eq!(seen(raw, as_format), (Kind::Alpha, raw.to_owned()), "{raw}");
            }
        }
    }

    #[test]
    fn short_codes_are_short_with_or_without_a_plus() {
        for as_format in ["e164", "e164_no_plus", "auto:US", "national:US"] {
            assert_eq!(seen("12345", as_format), (Kind::Short, "12345".to_owned()));
            assert_eq!(seen("+12345", as_format), (Kind::Short, "12345".to_owned()));
        }
        assert_eq!(seen("5676785", "national:IN").0, Kind::Short);
        assert_eq!(seen("5676785", "e164_no_plus").0, Kind::Opaque);
    }

    #[test]
    fn nothing_is_missing_and_odd_things_are_opaque() {
        for raw in ["", " ", "\u{feff}", "\t\n"] {
            assert_eq!(seen(raw, "e164").0, Kind::Missing, "{raw:?}");
        }
        for raw in [
            "-1",
            "*100#",
            "+",
            "()",
            "1+2",
            "++",
            "123456789012345678",
            "+1234567890123456",
            "07911123456",
        ] {
            assert_eq!(seen(raw, "e164_no_plus").0, Kind::Opaque, "{raw:?}");
        }
        assert_eq!(Address::missing(), normalise("", &NumberFormat::E164));
    }

    #[test]
    fn a_huge_field_is_kept_and_its_key_is_bounded() {
        let huge = "9".repeat(100_000);
        let address = normalise(&huge, &format("auto:US"));
        assert_eq!(address.raw(), huge);
        assert!(address.key().len() <= MAX_KEY_BYTES);
        assert_eq!(address.kind(), Kind::Opaque);
    }

    #[test]
    fn the_fingerprint_form_does_not_depend_on_the_format() {
        let forms: Vec<String> = ["e164", "e164_no_plus", "auto:IN", "national:IN"]
            .iter()
            .map(|f| {
                normalise(" whatsapp:+919876543210", &format(f))
                    .fingerprint_form()
                    .to_owned()
            })
            .collect();
        assert!(forms.iter().all(|form| form == "919876543210"));
        assert_eq!(
            normalise("919876543210", &NumberFormat::E164).fingerprint_form(),
            "919876543210"
        );
    }

    #[test]
    fn an_opt_out_is_found_under_old_and_new_mobile_forms() {
        for (one, other) in [
            ("+5215512345678", "+525512345678"),
            ("+5491123456789", "+541123456789"),
            ("+5511987654321", "+551187654321"),
        ] {
            let keys = |raw| normalise(raw, &NumberFormat::E164).suppression_keys();
            assert_eq!(keys(one)[0], one);
            assert!(keys(one).contains(&other.to_owned()), "{one}");
            assert!(keys(other).contains(&one.to_owned()), "{other}");
        }
        // A landline in São Paulo gets no ninth digit.
        assert_eq!(
            normalise("+551133334444", &NumberFormat::E164).suppression_keys().len(),
            2
        );
        let opaque = normalise("919876543210", &NumberFormat::E164);
        assert!(opaque.suppression_keys().contains(&"+919876543210".to_owned()));
    }

    #[test]
    fn the_old_mexican_form_without_plus_is_a_number_in_auto() {
        assert_eq!(seen("5215512345678", "auto"), number("+5215512345678"));
    }

    #[test]
    fn debug_shows_the_last_four_only() {
        let address = normalise("+919876543210", &NumberFormat::E164);
        assert_eq!(format!("{address:?}"), "Address(number …3210)");
        assert_eq!(normalise("été", &NumberFormat::E164).last_four(), "été");
    }

    #[test]
    fn number_formats_read_back_what_they_print() {
        for text in ["e164", "e164_no_plus", "auto", "auto:IN", "national:GB"] {
            assert_eq!(format(text).to_string(), text);
        }
        assert_eq!("auto:gb".parse::<NumberFormat>().unwrap().to_string(), "auto:GB");
        assert_eq!("national".parse::<NumberFormat>(), Err(FormatError::RegionMissing));
        for wrong in ["auto:UK", "auto:ZZ", "national:", "auto:001", "national:GBR"] {
            assert!(
                matches!(wrong.parse::<NumberFormat>(), Err(FormatError::UnknownRegion(_))),
                "{wrong}"
            );
        }
        assert!(matches!(
            "E.164".parse::<NumberFormat>(),
            Err(FormatError::UnknownFormat(_))
        ));
    }

    proptest! {
        #[test]
        fn any_input_gives_an_address_and_its_key_gives_itself(raw in "\\PC{0,40}|[+0-9 ()./-]{0,40}", which in 0..5_usize) {
            let as_format = format(["e164", "e164_no_plus", "auto", "auto:MX", "national:US"][which]);
            let address = normalise(&raw, &as_format);
            prop_assert_eq!(address.raw(), &raw);
            prop_assert!(address.key().len() <= MAX_KEY_BYTES);
            prop_assert!(address.last_four().chars().count() <= 4);
            if let Some(e164) = address.e164() {
                let again = normalise(e164, &as_format);
                prop_assert_eq!(again.key(), e164);
            }
        }
    }
}
