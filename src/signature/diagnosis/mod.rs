//! Explains, offline, why a captured delivery does or does not verify: the work of `smshook verify`.
//!
//! It tries what people and proxies are known to do to secrets and bodies, and says which of it would make the signature
//! right. It must never print a secret or a right digest, and nothing in the webhook's path may call it: its answers would
//! help a forger.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use secrecy::ExposeSecret as _;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use super::content::Material;
use super::keys::Key;
use super::keys::SecretEncoding;
use super::moment::Unit;
use super::scheme::Kind;
use super::signed::Signed;
use super::{Keys, Proof, Received, Refusal, Scheme, VerifiedBody};

/// One thing that the diagnosis found. `Display` is a sentence for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// Nothing is wrong.
    #[error("the signature is right: it was made with {secret} over these bytes")]
    Verifies {
        /// The label of the secret.
        secret: String,
    },
    /// None of the scheme's headers is there.
    #[error("there is no header {expected}")]
    HeaderMissing {
        /// The headers looked for.
        expected: String,
    },
    /// Another header looks like a signature.
    #[error("the header {header} looks like a signature; if the gateway signs there, add it to `headers`")]
    HeaderElsewhere {
        /// Its name.
        header: HeaderName,
    },
    /// The signature header is there more than once.
    #[error("the header {header} is there {count} times; a proxy may have added one")]
    HeaderRepeated {
        /// Its name.
        header: HeaderName,
        /// How often it is there.
        count: usize,
    },
    /// The header's value is not as the scheme spells it.
    #[error("the header {header} is not as the gateway writes it: {shape}")]
    Malformed {
        /// Its name.
        header: HeaderName,
        /// What is unusual.
        shape: Shape,
    },
    /// The timestamp that the scheme signs cannot be had.
    #[error("{0}; the signature covers it")]
    Timestamp(Refusal),
    /// There are no bytes to sign.
    #[error("the body is empty; was it captured?")]
    EmptyBody,
    /// The signature would be right, had it been checked otherwise.
    #[error("the signature would be right with {secret} and {}", list(.changes))]
    WouldMatch {
        /// The label of the secret.
        secret: String,
        /// What would have to be different, the fewest things that do it.
        changes: Vec<Change>,
    },
    /// Nothing known makes it right.
    #[error(
        "no known mistake explains the signature: the gateway has another secret, or the body is not as it was sent"
    )]
    Unexplained,
}

/// What is unusual about a signature's spelling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Shape {
    /// No digest at all.
    #[error("it is empty")]
    Empty,
    /// Bytes beyond ASCII.
    #[error("it holds bytes that are not ASCII")]
    NotAscii,
    /// Commas, as between the values of two headers that a proxy joined.
    #[error("it holds a comma, as when a proxy joins two headers")]
    Joined,
    /// Quotes.
    #[error("it is in quotes")]
    Quoted,
    /// Blanks within or around.
    #[error("it holds blanks")]
    Blank,
    /// The scheme's prefix is not in front.
    #[error("the prefix is missing or spelt otherwise")]
    Prefix,
    /// Hex in upper case.
    #[error("its hexadecimal digits are in upper case")]
    UpperCase,
    /// A digest in the other encoding.
    #[error("it is not in the encoding that the scheme says")]
    OtherEncoding,
    /// Some other number of digits.
    #[error("it has another length than a digest of SHA-256")]
    Length,
}

/// One thing that would have to be different for a signature to be right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Change {
    /// The header's value in the scheme's own spelling.
    #[error("the signature spelt as the scheme says")]
    Spelling,
    /// Blanks or a line end around the configured secret taken off.
    #[error("the secret without the blanks or line end around it (a file or variable ends in a line end)")]
    SecretTrimmed,
    /// Quotes around the configured secret taken off.
    #[error("the secret without the quotes around it")]
    SecretUnquoted,
    /// A line end after the secret.
    #[error("a line end after the secret (the gateway's copy has one)")]
    SecretLineEnd,
    /// A blank after the secret.
    #[error("a blank after the secret (the gateway's copy has one)")]
    SecretBlank,
    /// Without `whsec_`, the rest as text.
    #[error("the secret without `whsec_`, as text")]
    SecretWithoutPrefix,
    /// With `whsec_` in front, as text.
    #[error("`whsec_` in front of the secret, as text")]
    SecretWithPrefix,
    /// As plain text.
    #[error("secret_encoding = \"utf8\"")]
    SecretUtf8,
    /// Decoded after `whsec_`.
    #[error("secret_encoding = \"whsec\"")]
    SecretWhsec,
    /// Decoded from base64.
    #[error("secret_encoding = \"base64\"")]
    SecretBase64,
    /// Decoded from hex.
    #[error("secret_encoding = \"hex\"")]
    SecretHex,
    /// The body without blanks or line ends around it.
    #[error("the body without the blanks or line ends around it")]
    BodyTrimmed,
    /// A line end after the body.
    #[error("a line end after the body (it was lost on the way)")]
    BodyLineEnd,
    /// CRLF in place of LF.
    #[error("CRLF line ends in the body")]
    BodyCrlf,
    /// LF in place of CRLF.
    #[error("LF line ends in the body")]
    BodyLf,
    /// The body without its byte order mark.
    #[error("the body without its byte order mark")]
    BodyWithoutBom,
    /// JSON without blanks between its tokens.
    #[error("the body as compact JSON (something on the way formatted it)")]
    BodyCompact,
    /// JSON with its slashes not escaped.
    #[error("the body with plain slashes (something on the way escaped them)")]
    BodySlashes,
    /// No body at all.
    #[error("an empty body (the body was lost before it was signed)")]
    BodyEmpty,
    /// Only the body is signed.
    #[error("content = \"{{body}}\"")]
    ContentBody,
    /// The body and a timestamp header.
    #[error("content = \"{{body}}{{timestamp}}\"")]
    ContentBodyTimestamp,
    /// A timestamp header, a dot and the body.
    #[error("content = \"{{timestamp}}.{{body}}\"")]
    ContentTimestampBody,
    /// SHA-1 as digest.
    #[error("HMAC-SHA1, which smshook does not take")]
    Sha1,
    /// SHA-512 as digest.
    #[error("HMAC-SHA512, which smshook does not take")]
    Sha512,
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; ")
}

/// A delivery to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// How the gateway signs.
    pub scheme: &'a Scheme,
    /// The secrets in force.
    pub keys: &'a Keys,
    /// Other secrets of the operator's that the gateway may have used, each with what to call it (`retired`,
    /// `of the endpoint other`).
    pub others: &'a [(&'a str, &'a Keys)],
    /// The delivery.
    pub received: Received<'a>,
    /// How many bytes may be hashed to find out.
    pub budget: u64,
}

/// What was found, in one sentence for a log line.
pub fn cause(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

/// Everything that can be said about a captured delivery. Never empty.
pub fn diagnose(case: &Case<'_>) -> Vec<Finding> {
    let Case {
        scheme, keys, received, ..
    } = *case;
    let (headers, body) = (received.headers, &received.body[..]);
    let refusal = match super::verify(scheme, keys, &received) {
        Ok(verified) => {
            return vec![Finding::Verifies {
                secret: label(keys, &verified),
            }];
        }
        Err(refusal) => refusal,
    };
    let candidates = candidates(scheme, headers);
    let mut findings = about_the_header(scheme, &received, &candidates);
    if matches!(refusal, Refusal::TimestampMissing | Refusal::TimestampMalformed) {
        findings.push(Finding::Timestamp(refusal));
    }
    if body.is_empty() {
        findings.push(Finding::EmptyBody);
    }
    if !candidates.is_empty() {
        let explained = explain(scheme, keys, &received, body, &candidates);
        findings.push(explained.unwrap_or(Finding::Unexplained));
    }
    findings
}

fn label(keys: &Keys, verified: &VerifiedBody) -> String {
    let label = match verified.proof() {
        Proof::Secret(place) => keys.label(place),
        Proof::Unsigned | Proof::Stored | Proof::Observed => None,
    };
    label.unwrap_or_default().to_owned()
}

fn signed(scheme: &Scheme) -> Option<&Signed> {
    match &scheme.0 {
        Kind::Signed(signed) => Some(signed),
        Kind::Jwt(_) | Kind::Fixed(_) => None,
    }
}

fn prefix(scheme: &Scheme) -> &str {
    signed(scheme).map_or("", |signed| &signed.prefix)
}

fn presented(scheme: &Scheme, received: &Received<'_>) -> Result<(), Refusal> {
    match signed(scheme) {
        Some(signed) => {
            let length = signed.algorithm.signature_bytes();
            let fits = signed
                .presented(received)?
                .iter()
                .any(|digest| digest.bytes().len() == length);
            if fits { Ok(()) } else { Err(Refusal::WrongLength) }
        }
        None => Ok(()),
    }
}

fn is_unix_time(text: &[u8]) -> bool {
    Unit::Auto.read(text).is_ok()
}

/// What the scheme would have had signed with this body.
fn as_configured(scheme: &Scheme, received: &Received<'_>, body: &[u8]) -> Option<Vec<u8>> {
    let signed = signed(scheme)?;
    let body = bytes::Bytes::copy_from_slice(body);
    let received = Received {
        body: &body,
        ..*received
    };
    let time = signed.timestamp(&received).ok()?.unwrap_or_default();
    let material = Material::gather(&signed.content, &received, time, None, None).ok()?;
    let bytes = signed.content.pieces(&material).flatten().copied().collect();
    Some(bytes)
}

/// A header's value that may be the signature.
struct Candidate<'a> {
    header: &'a HeaderName,
    /// Read as leniently as can be; `None` when no digest is in it.
    digest: Option<Vec<u8>>,
}

/// The values of the scheme's headers, or of headers that look like signatures when the scheme's are not there.
fn candidates<'a>(scheme: &Scheme, headers: &'a HeaderMap) -> Vec<Candidate<'a>> {
    let is_named = |name: &HeaderName| scheme.headers().any(|known| known == name);
    let all = headers.iter().map(|(header, value)| Candidate {
        header,
        digest: read_leniently(value.as_bytes(), prefix(scheme)),
    });
    let (named, others): (Vec<_>, Vec<_>) = all.partition(|candidate| is_named(candidate.header));
    if named.is_empty() {
        others
            .into_iter()
            .filter(|candidate| candidate.digest.is_some())
            .collect()
    } else {
        named
    }
}

/// Takes off what people put around a digest and decodes the rest; only the lengths of SHA-1, SHA-256 and SHA-512 count.
fn read_leniently(value: &[u8], prefix: &str) -> Option<Vec<u8>> {
    let bare = |text: &str| text.trim_matches([' ', '\t', '"', '\'', ',']).to_owned();
    let text = bare(str::from_utf8(value).ok()?);
    let known = [prefix, "sha256=", "sha1=", "sha512=", "hmac-sha256=", "v1=", "v1,"];
    let cut = |known: &&str| {
        let (start, rest) = text.split_at_checked(known.len())?;
        (!known.is_empty() && start.eq_ignore_ascii_case(known)).then(|| bare(rest))
    };
    let digest = known.iter().find_map(cut).unwrap_or_else(|| text.clone());
    let bytes = hex::decode(&digest).ok().or_else(|| from_any_base64(&digest))?;
    matches!(bytes.len(), 20 | 32 | 64).then_some(bytes)
}

fn from_any_base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok())
}

fn about_the_header(scheme: &Scheme, received: &Received<'_>, candidates: &[Candidate<'_>]) -> Vec<Finding> {
    let headers = received.headers;
    let Some(header) = scheme.headers().find(|name| headers.contains_key(*name)) else {
        let expected = scheme
            .headers()
            .map(HeaderName::as_str)
            .collect::<Vec<_>>()
            .join(" or ");
        let elsewhere = candidates.iter().map(|candidate| Finding::HeaderElsewhere {
            header: candidate.header.clone(),
        });
        return std::iter::once(Finding::HeaderMissing { expected })
            .chain(elsewhere)
            .collect();
    };
    let count = headers.get_all(header).iter().count();
    if count > 1 {
        return vec![Finding::HeaderRepeated {
            header: header.clone(),
            count,
        }];
    }
    let shape = match presented(scheme, received) {
        Err(Refusal::WrongLength) => Some(shape(scheme, headers.get(header)).unwrap_or(Shape::Length)),
        Err(_) => Some(shape(scheme, headers.get(header)).unwrap_or(Shape::OtherEncoding)),
        Ok(()) => None,
    };
    shape
        .map(|shape| Finding::Malformed {
            header: header.clone(),
            shape,
        })
        .into_iter()
        .collect()
}

/// The first unusual thing about a value, from the coarsest on.
fn shape(scheme: &Scheme, value: Option<&http::HeaderValue>) -> Option<Shape> {
    let text = value?.as_bytes();
    let has = |byte: u8| text.contains(&byte);
    let found = [
        (text.is_empty(), Shape::Empty),
        (!text.is_ascii(), Shape::NotAscii),
        (has(b','), Shape::Joined),
        (has(b'"') || has(b'\''), Shape::Quoted),
        (has(b' ') || has(b'\t'), Shape::Blank),
        (!text.starts_with(prefix(scheme).as_bytes()), Shape::Prefix),
    ];
    if let Some((_, shape)) = found.into_iter().find(|(is_so, _)| *is_so) {
        return Some(shape);
    }
    let digest = text.strip_prefix(prefix(scheme).as_bytes())?;
    let all_hex = digest.iter().all(u8::is_ascii_hexdigit);
    match digest.len() {
        0 => Some(Shape::Empty),
        64 if all_hex && digest.iter().any(u8::is_ascii_uppercase) => Some(Shape::UpperCase),
        44 | 43 if !all_hex => Some(Shape::OtherEncoding),
        _ => all_hex.then_some(Shape::Length),
    }
}

/// The fewest changes that make one of the candidates right.
fn explain(
    scheme: &Scheme,
    keys: &Keys,
    received: &Received<'_>,
    body: &[u8],
    candidates: &[Candidate<'_>],
) -> Option<Finding> {
    let bodies = bodies(scheme, received, body);
    let mut found: Vec<(String, Vec<Change>)> = Vec::new();
    for key in keys.iter() {
        for (secret_change, secret) in secrets(scheme, key) {
            for (body_changes, bytes) in &bodies {
                for candidate in candidates {
                    let Some(digest_change) = matching(candidate, &secret, bytes) else {
                        continue;
                    };
                    let changes = secret_change
                        .iter()
                        .chain(body_changes)
                        .chain(digest_change)
                        .copied()
                        .collect();
                    found.push((key.label.clone(), changes));
                }
            }
        }
    }
    let (secret, mut changes) = found.into_iter().min_by_key(|(_, changes)| changes.len())?;
    if changes.is_empty() {
        changes.push(Change::Spelling);
    }
    Some(Finding::WouldMatch { secret, changes })
}

/// The algorithm by which the candidate is the digest of these bytes, as the change that it is; empty for the scheme's own.
fn matching(candidate: &Candidate<'_>, secret: &[u8], bytes: &[u8]) -> Option<&'static [Change]> {
    let digest = candidate.digest.as_deref()?;
    match digest.len() {
        20 => is_mac::<Hmac<Sha1>>(secret, bytes, digest).then_some(&[Change::Sha1]),
        64 => is_mac::<Hmac<Sha512>>(secret, bytes, digest).then_some(&[Change::Sha512]),
        _ => is_mac::<Hmac<Sha256>>(secret, bytes, digest).then_some(&[]),
    }
}

fn is_mac<M: Mac + KeyInit>(secret: &[u8], bytes: &[u8], digest: &[u8]) -> bool {
    let Ok(mac) = <M as KeyInit>::new_from_slice(secret) else {
        return false;
    };
    mac.chain_update(bytes)
        .finalize()
        .into_bytes()
        .as_slice()
        .ct_eq(digest)
        .into()
}

/// The keys that the secret could have been meant as.
fn secrets(scheme: &Scheme, key: &Key) -> Vec<(Vec<Change>, Vec<u8>)> {
    let configured = scheme.secret_encoding();
    let text = key.secret.expose_secret();
    let trimmed = text.trim();
    let unquoted = trimmed.trim_matches(['"', '\'']);
    let mut spellings = vec![
        (None, text.to_owned()),
        (Some(Change::SecretTrimmed), trimmed.to_owned()),
        (Some(Change::SecretUnquoted), unquoted.to_owned()),
    ];
    if configured == SecretEncoding::Utf8 {
        spellings.push((Some(Change::SecretLineEnd), format!("{text}\n")));
        spellings.push((Some(Change::SecretLineEnd), format!("{text}\r\n")));
        spellings.push((Some(Change::SecretBlank), format!("{text} ")));
        spellings.push((Some(Change::SecretWithPrefix), format!("whsec_{unquoted}")));
        if let Some(bare) = unquoted.strip_prefix("whsec_") {
            spellings.push((Some(Change::SecretWithoutPrefix), bare.to_owned()));
        }
    }
    let encodings = [
        (SecretEncoding::Utf8, Change::SecretUtf8),
        (SecretEncoding::Whsec, Change::SecretWhsec),
        (SecretEncoding::Base64, Change::SecretBase64),
        (SecretEncoding::Hex, Change::SecretHex),
    ];
    let mut secrets = Vec::new();
    for (spelling_change, spelling) in &spellings {
        for (encoding, change) in encodings {
            let encoding_change = (encoding != configured).then_some(change);
            let Some(bytes) = encoding.bytes(spelling) else {
                continue;
            };
            secrets.push((spelling_change.iter().copied().chain(encoding_change).collect(), bytes));
        }
    }
    secrets
}

/// The bytes that the gateway could have signed.
fn bodies(scheme: &Scheme, received: &Received<'_>, body: &[u8]) -> Vec<(Vec<Change>, Vec<u8>)> {
    let timestamps: Vec<&[u8]> = received
        .headers
        .values()
        .map(http::HeaderValue::as_bytes)
        .filter(|v| is_unix_time(v))
        .collect();
    let mut all = Vec::new();
    for (change, body) in body_variants(body) {
        let changes = |content: Option<Change>| change.iter().copied().chain(content).collect::<Vec<_>>();
        all.extend(as_configured(scheme, received, &body).map(|bytes| (changes(None), bytes)));
        all.push((changes(Some(Change::ContentBody)), body.clone()));
        for timestamp in &timestamps {
            all.push((
                changes(Some(Change::ContentBodyTimestamp)),
                [body.as_slice(), timestamp].concat(),
            ));
            all.push((
                changes(Some(Change::ContentTimestampBody)),
                [timestamp, b".".as_slice(), &body].concat(),
            ));
        }
    }
    all
}

fn body_variants(body: &[u8]) -> Vec<(Option<Change>, Vec<u8>)> {
    let lf = replace(body, b"\r\n", b"\n");
    let variants = [
        (Change::BodyTrimmed, body.trim_ascii().to_vec()),
        (Change::BodyLineEnd, [body, b"\n"].concat()),
        (Change::BodyLineEnd, [body, b"\r\n"].concat()),
        (Change::BodyCrlf, replace(&lf, b"\n", b"\r\n")),
        (Change::BodyLf, lf),
        (
            Change::BodyWithoutBom,
            body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).to_vec(),
        ),
        (Change::BodyCompact, compact(body)),
        (Change::BodySlashes, replace(body, b"\\/", b"/")),
        (Change::BodyEmpty, Vec::new()),
    ];
    let changed = variants.into_iter().filter(|(_, variant)| variant != body);
    std::iter::once((None, body.to_vec()))
        .chain(changed.map(|(change, variant)| (Some(change), variant)))
        .collect()
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            replaced.extend_from_slice(to);
            rest = after;
        } else {
            replaced.push(first);
            rest = tail;
        }
    }
    replaced
}

/// JSON without the blanks between its tokens. The order of its keys, which a parser might change, stays.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut in_text, mut is_escaped) = (false, false);
    let keep = |byte: &u8| {
        let is_blank = !in_text && byte.is_ascii_whitespace();
        if !is_escaped && *byte == b'"' {
            in_text = !in_text;
        }
        is_escaped = in_text && !is_escaped && *byte == b'\\';
        !is_blank
    };
    json.iter().copied().filter(keep).collect()
}
