//! The signatures that a delivery may have meant, read as leniently as can be, and what is unusual about their spelling.
//!
//! It must not hash anything, and what it reads must not get further than the search.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderName, HeaderValue};

use super::super::algorithm::{Algorithm, Digest, Encoding};
use super::super::signed::{Place, Signed};
use super::super::{Keys, Received, Refusal, parameters};
use super::{Change, Finding, Shape};

/// Signatures tried for one delivery.
const MOST_CANDIDATES: usize = 8;
/// Headers that look like signatures and are named; a stranger may send any number.
const MOST_ELSEWHERE: usize = 3;
/// The longest name of a header that is repeated to the operator.
const LONGEST_NAME: usize = 64;

/// A value that may be the signature.
pub(super) struct Candidate {
    /// What would have to be different for it to be taken; empty for one that is taken as it is.
    pub(super) changes: Vec<Change>,
    pub(super) digest: Digest,
}

/// What can be said about the signature's place and spelling, and every signature that may be meant.
pub(super) fn read(signed: &Signed, keys: &Keys, received: &Received<'_>) -> (Vec<Finding>, Vec<Candidate>) {
    let strict = signed.presented(received);
    let fits = |digest: &Digest| {
        keys.iter()
            .any(|key| key.algorithm.signature_bytes() == digest.bytes().len())
    };
    let mut candidates = Vec::new();
    if let Ok(strict) = &strict {
        candidates.extend(strict.iter().map(|digest| Candidate {
            changes: Vec::new(),
            digest: *digest,
        }));
    }
    let is_there = !matches!(strict, Err(Refusal::Missing));
    for text in values(signed, received) {
        candidates.extend(digests(&text).map(|digest| Candidate {
            changes: vec![Change::Spelling],
            digest,
        }));
    }
    let elsewhere = elsewhere(signed, received);
    let findings = match &strict {
        Err(Refusal::Missing) => missing(signed, &elsewhere),
        Err(Refusal::Duplicated) => repeated(signed, received),
        Err(_) => malformed(signed, keys, received),
        Ok(strict) if !strict.iter().any(fits) => malformed(signed, keys, received),
        Ok(_) => Vec::new(),
    };
    // Beside a signature of the scheme's own, another header's is a long shot.
    let others = elsewhere.into_iter().map(|(header, digest)| Candidate {
        changes: vec![Change::Header(header)],
        digest,
    });
    candidates.extend(others.take(if is_there { MOST_ELSEWHERE } else { MOST_CANDIDATES }));
    let mut known: Vec<Vec<u8>> = Vec::new();
    candidates.retain(|candidate| {
        let is_new =
            has_a_length(candidate.digest.bytes()) && !known.iter().any(|known| known == candidate.digest.bytes());
        known.push(candidate.digest.bytes().to_vec());
        is_new
    });
    candidates.truncate(MOST_CANDIDATES);
    (findings, candidates)
}

/// The values at the scheme's own place, as texts.
fn values(signed: &Signed, received: &Received<'_>) -> Vec<String> {
    match &signed.place {
        Place::Headers(names) | Place::Keys(names, _) => {
            let values = names.iter().flat_map(|name| received.headers.get_all(name));
            values.map(|value| text_of(value).to_owned()).collect()
        }
        Place::Param(name) => {
            let pairs = parameters::of_payload(received);
            let own = pairs.into_iter().filter(|(known, _)| known == name);
            own.map(|(_, value)| value.into_owned()).collect()
        }
    }
}

fn text_of(value: &HeaderValue) -> &str {
    std::str::from_utf8(value.as_bytes()).unwrap_or_default()
}

/// Other headers with something in them that has the form of a signature.
fn elsewhere(signed: &Signed, received: &Received<'_>) -> Vec<(HeaderName, Digest)> {
    let is_md5 = signed.algorithm.signature_bytes() == 16;
    let is_other = |name: &HeaderName| !signed.headers().contains(name) && name.as_str().len() <= LONGEST_NAME;
    let others = received.headers.iter().filter(|(name, _)| is_other(name));
    let found = others.filter_map(|(name, value)| {
        let mut digests = digests(text_of(value));
        // Sixteen bytes are what every ID of a request has.
        let digest = digests.find(|digest| is_md5 || digest.bytes().len() > 16)?;
        Some((name.clone(), digest))
    });
    found.take(MOST_CANDIDATES).collect()
}

/// Everything in a value that has the length of a signature once it is decoded.
pub(super) fn digests(text: &str) -> impl Iterator<Item = Digest> + use<> {
    let is_around = |c: char| c.is_whitespace() || "\"',;".contains(c);
    let mut found = Vec::new();
    for word in text.split(is_around) {
        // After `sha256=`, `v1:` and the like; but not at the `=` that ends base64.
        let after = word
            .char_indices()
            .filter(|(_, c)| "=:".contains(*c))
            .filter_map(|(at, _)| word.get(at + 1..))
            .filter(|rest| !rest.trim_matches('=').is_empty());
        found.extend(std::iter::once(word).chain(after).filter_map(decoded).take(1));
    }
    found.into_iter()
}

fn decoded(word: &str) -> Option<Digest> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let from_base64 = |alphabet: &alphabet::Alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(word).ok();
    let bytes = hex::decode(word)
        .ok()
        .or_else(|| from_base64(&alphabet::STANDARD))
        .or_else(|| from_base64(&alphabet::URL_SAFE))
        .filter(|bytes| has_a_length(bytes))?;
    Digest::of(&bytes)
}

/// Whether any algorithm makes signatures of this length.
fn has_a_length(bytes: &[u8]) -> bool {
    Algorithm::ALL
        .into_iter()
        .any(|algorithm| algorithm.signature_bytes() == bytes.len())
}

fn missing(signed: &Signed, elsewhere: &[(HeaderName, Digest)]) -> Vec<Finding> {
    let missing = match &signed.place {
        Place::Headers(names) | Place::Keys(names, _) => missing_header(names),
        Place::Param(name) => Finding::ParameterMissing { expected: name.clone() },
    };
    let elsewhere = elsewhere
        .iter()
        .take(MOST_ELSEWHERE)
        .map(|(header, _)| Finding::HeaderElsewhere { header: header.clone() });
    std::iter::once(missing).chain(elsewhere).collect()
}

/// None of these is there.
pub(super) fn missing_header(names: &[HeaderName]) -> Finding {
    let expected: Vec<_> = names.iter().map(HeaderName::as_str).collect();
    Finding::HeaderMissing {
        expected: expected.join(" or "),
    }
}

fn repeated(signed: &Signed, received: &Received<'_>) -> Vec<Finding> {
    let found = repeated_header(signed.headers(), received);
    vec![found.unwrap_or(Finding::Refused(Refusal::Duplicated))]
}

/// The first of these headers that is there more than once.
pub(super) fn repeated_header(names: &[HeaderName], received: &Received<'_>) -> Option<Finding> {
    names.iter().find_map(|name| {
        let count = received.headers.get_all(name).iter().count();
        (count > 1).then(|| Finding::HeaderRepeated {
            header: name.clone(),
            count,
        })
    })
}

fn malformed(signed: &Signed, keys: &Keys, received: &Received<'_>) -> Vec<Finding> {
    let algorithm = keys.iter().next().map_or(signed.algorithm, |key| key.algorithm);
    let said = match &signed.place {
        Place::Headers(names) | Place::Keys(names, _) => names.iter().find_map(|name| {
            let value = received.headers.get(name)?;
            Some(Finding::Malformed {
                header: name.clone(),
                shape: shape(signed, algorithm, value.as_bytes()),
            })
        }),
        Place::Param(parameter) => values(signed, received)
            .first()
            .map(|value| Finding::ParameterMalformed {
                parameter: parameter.clone(),
                shape: shape(signed, algorithm, value.as_bytes()),
            }),
    };
    said.into_iter().collect()
}

/// The first unusual thing about a value, from the coarsest on.
fn shape(signed: &Signed, algorithm: Algorithm, text: &[u8]) -> Shape {
    let has = |byte: u8| text.contains(&byte);
    let is_list = signed.separator.is_some() || matches!(signed.place, Place::Keys(..));
    let found = [
        (text.trim_ascii().is_empty(), Shape::Empty),
        (!text.is_ascii(), Shape::NotAscii),
        (has(b'"') || has(b'\''), Shape::Quoted),
        (has(b',') && !is_list, Shape::Joined),
        ((has(b' ') || has(b'\t')) && !is_list, Shape::Blank),
    ];
    if let Some((_, shape)) = found.into_iter().find(|(is_so, _)| *is_so) {
        return shape;
    }
    match one_of(signed, text) {
        Ok(digest) => shape_of_digest(signed.encoding, algorithm, digest),
        Err(shape) => shape,
    }
}

/// The digest of a value, or of the first element of a list that has the prefix or one of the keys.
fn one_of<'a>(signed: &Signed, text: &'a [u8]) -> Result<&'a [u8], Shape> {
    if let Place::Keys(_, keys) = &signed.place {
        let text = std::str::from_utf8(text).map_err(|_| Shape::NotAscii)?;
        let mut pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
        let own = pairs.find(|(key, _)| keys.iter().any(|known| known == key));
        return own.map(|(_, value)| value.as_bytes()).ok_or(Shape::Key);
    }
    let is_separator = |byte: &u8| signed.separator.is_some_and(|separator| char::from(*byte) == separator);
    let mut elements = text.split(is_separator);
    let prefixed = elements.find_map(|element| element.strip_prefix(signed.prefix.as_bytes()));
    match prefixed {
        Some(digest) => Ok(digest),
        None if signed.prefix_optional => Ok(text),
        None => Err(Shape::Prefix),
    }
}

fn shape_of_digest(encoding: Encoding, algorithm: Algorithm, digest: &[u8]) -> Shape {
    let bytes = algorithm.signature_bytes();
    let all_hex = digest.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digest).unwrap_or_default();
    let is_right_elsewise = decoded(text).is_some_and(|digest| digest.bytes().len() == bytes);
    match encoding {
        _ if digest.is_empty() => Shape::Empty,
        Encoding::Hex if all_hex && digest.len() == 2 * bytes && digest.iter().any(u8::is_ascii_uppercase) => {
            Shape::UpperCase
        }
        _ if is_right_elsewise => Shape::OtherEncoding,
        _ if all_hex || decoded(text).is_some() => Shape::Length(algorithm),
        Encoding::Hex | Encoding::HexAnyCase => Shape::OtherEncoding,
        Encoding::Base64 | Encoding::Plain => Shape::Length(algorithm),
    }
}
