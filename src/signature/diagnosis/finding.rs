//! What a diagnosis can find, each in words for the operator.
//!
//! No word here may hold a secret, a digest, or what a sender put into a value: names of headers and keys of the
//! configuration are all there is.

use http::HeaderName;

use super::super::{Algorithm, Refusal};

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
    /// The scheme's parameter is not there.
    #[error("there is no parameter `{expected}`")]
    ParameterMissing {
        /// Its name.
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
    /// The parameter's value is not as the scheme spells it.
    #[error("the parameter `{parameter}` is not as the gateway writes it: {shape}")]
    ParameterMalformed {
        /// Its name.
        parameter: String,
        /// What is unusual.
        shape: Shape,
    },
    /// The timestamp that the scheme signs cannot be had.
    #[error("{0}; the signature covers it")]
    Timestamp(Refusal),
    /// A header whose value is signed, or used once, is not there or there twice.
    #[error("the header {header} is not there once; its value belongs to the signature")]
    PartMissing {
        /// Its name.
        header: HeaderName,
    },
    /// Something else that the scheme asks for cannot be had.
    #[error("{0}")]
    Refused(Refusal),
    /// The parameter with the hash of the body is that of another body.
    #[error("the parameter `{parameter}` is the hash of another body{}", but_with(.changes))]
    BodyHash {
        /// Its name.
        parameter: String,
        /// The change that makes it this body's, if one is known.
        changes: Vec<Change>,
    },
    /// The signature is right, and its time is not.
    #[error("the signature is right, but its time is {} it was received, and {} is allowed", far(*.off_ms), seconds(*.tolerance_ms))]
    Clock {
        /// How much later than its own time it was received, in milliseconds; negative where its time is yet to come.
        off_ms: i64,
        /// How far off it may be, in milliseconds.
        tolerance_ms: u64,
    },
    /// Whatever else is wrong, its time would be too.
    #[error("its time is {} it was received as well, and {} is allowed", far(*.off_ms), seconds(*.tolerance_ms))]
    ClockToo {
        /// How much later than its own time it was received, in milliseconds; negative where its time is yet to come.
        off_ms: i64,
        /// How far off it may be, in milliseconds.
        tolerance_ms: u64,
    },
    /// The timestamp is in another unit than the scheme says.
    #[error("the timestamp is in {given}, and the scheme says {expected}")]
    TimestampUnit {
        /// `seconds` or `milliseconds`.
        given: &'static str,
        /// The other of the two.
        expected: &'static str,
    },
    /// The timestamp is written as a date, with a fraction or a sign.
    #[error("the timestamp is {0}, not a Unix time of digits only")]
    TimestampShape(&'static str),
    /// There are no bytes to sign.
    #[error("the body is empty; was it captured?")]
    EmptyBody,
    /// The body came compressed.
    #[error("the body is compressed with gzip; the signature may cover what it was before")]
    Compressed,
    /// The body came uncompressed though the headers say otherwise.
    #[error(
        "the header content-encoding says {0}, and the body is not compressed: something on the way has undone it, and the signature may cover the compressed bytes"
    )]
    Decompressed(&'static str),
    /// The signature itself is right.
    #[error("apart from that the signature is right: it was made with {secret}")]
    OtherwiseRight {
        /// The label of the secret.
        secret: String,
    },
    /// Another secret that the configuration knows made it.
    #[error("the signature was made with {secret}")]
    OtherSecret {
        /// Which.
        secret: String,
    },
    /// The signature would be right, had it been checked otherwise.
    #[error("the signature would be right with {secret} and {}", list(.changes))]
    WouldMatch {
        /// The label of the secret.
        secret: String,
        /// What would have to be different, the fewest things that do it.
        changes: Vec<Change>,
    },
    /// What a token says about itself.
    #[error("{0}")]
    Token(TokenTrouble),
    /// A header or parameter that holds a secret holds another one.
    #[error("{0}")]
    Fixed(FixedTrouble),
    /// The delivery says whose account it belongs to.
    #[error(
        "the delivery names an account in `{parameter}`: a main account and each of its subaccounts sign with secrets of their own"
    )]
    Account {
        /// The parameter.
        parameter: &'static str,
    },
    /// The URL is signed, and nobody said what it is.
    #[error("the signature covers the URL that the gateway calls, and nobody said what that is")]
    NoUrl,
    /// It was too much to look into.
    #[error("not every known mistake was tried: it would have taken too long")]
    Exhausted,
    /// Nothing known makes it right.
    #[error(
        "no known mistake explains the signature: the gateway has another secret, or the body is not as it was sent"
    )]
    Unexplained,
    /// As [`Finding::Unexplained`], for a token: its signature covers nothing else.
    #[error("no known mistake explains the token: the gateway has another secret")]
    UnexplainedToken,
    /// As [`Finding::Unexplained`], where the URL is signed as well.
    #[error(
        "no known mistake explains the signature: the gateway has another secret, calls another URL, or the delivery is not as it was sent"
    )]
    UnexplainedWithUrl,
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
    /// None of the scheme's keys is in the list.
    #[error("none of the keys that the scheme reads is in it")]
    Key,
    /// Hex in upper case.
    #[error("its hexadecimal digits are in upper case")]
    UpperCase,
    /// A digest in the other encoding.
    #[error("it is not in the encoding that the scheme says")]
    OtherEncoding,
    /// Some other number of digits.
    #[error("it has another length than {}", made_by(*.0))]
    Length(Algorithm),
    /// Not three parts of base64 with dots between.
    #[error("it is no JSON Web Token")]
    NoToken,
}

/// One thing that would have to be different for a signature to be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Change {
    /// The header's value in the scheme's own spelling.
    #[error("the signature spelt as the scheme says")]
    Spelling,
    /// Taken from another header.
    #[error("the signature that is in the header {0}")]
    Header(HeaderName),
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
    /// JSON with one blank after each comma and colon.
    #[error("the body as JSON with a blank after each comma and colon (something on the way took them out)")]
    BodySpaced,
    /// JSON over several lines.
    #[error("the body as indented JSON (something on the way made it compact)")]
    BodyIndented,
    /// JSON with its keys sorted.
    #[error("the body as compact JSON with its keys sorted (something on the way wrote them in another order)")]
    BodySorted,
    /// JSON with its slashes not escaped.
    #[error("the body with plain slashes (something on the way escaped them)")]
    BodySlashes,
    /// JSON with its slashes escaped.
    #[error("the body with its slashes escaped (something on the way wrote it again)")]
    BodySlashesEscaped,
    /// JSON with escapes for what is not ASCII.
    #[error("the body with `\\u` escapes (something on the way wrote the characters out)")]
    BodyEscaped,
    /// JSON without escapes for what is not ASCII.
    #[error("the body without its `\\u` escapes (something on the way put them in)")]
    BodyUnescaped,
    /// Each character as the byte of its number.
    #[error("the body before its bytes were taken for Latin-1 and made UTF-8 on the way")]
    BodyLatin1,
    /// Each byte as the character of its number.
    #[error("the body in UTF-8 (something on the way made it Latin-1)")]
    BodyUtf8,
    /// A form, encoded otherwise.
    #[error("the form encoded otherwise (something on the way decoded and encoded it again)")]
    BodyForm,
    /// A form made of a JSON object.
    #[error("the body as a form (something on the way made JSON of it)")]
    BodyFormOfJson,
    /// A JSON object made of a form.
    #[error("the body as a JSON object (something on the way made a form of it)")]
    BodyJsonOfForm,
    /// What a form carried in its only field.
    #[error("the text in the form's only field (something on the way wrapped the body)")]
    BodyOfField,
    /// What a JSON text or a field `body` carried.
    #[error("the text inside the body's JSON (something on the way wrapped the body)")]
    BodyOfJsonText,
    /// Percent-decoded.
    #[error("the body percent-decoded (something on the way encoded it)")]
    BodyPercentDecoded,
    /// Decoded from base64.
    #[error("the body decoded from base64 (something on the way encoded it)")]
    BodyBase64,
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
    /// Another order or separator of body, timestamp and the like.
    #[error("content = \"{0}\"")]
    Content(String),
    /// Another header's time.
    #[error("the timestamp of the header {0}")]
    TimestampOf(HeaderName),
    /// The same time in the other unit.
    #[error("the timestamp in seconds")]
    TimestampSeconds,
    /// The same time in the other unit.
    #[error("the timestamp in milliseconds")]
    TimestampMilliseconds,
    /// Something about the URL.
    #[error("{0}")]
    Url(UrlChange),
    /// Another algorithm.
    #[error("algorithm = \"{}\"", .0.as_str())]
    Algorithm(Algorithm),
}

/// What would have to be different about the URL that is signed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlChange {
    /// https in place of http.
    #[error("`public_url` with https")]
    Https,
    /// http in place of https.
    #[error("`public_url` with http")]
    Http,
    /// Another host, port included.
    #[error("`public_url` with the host that the header {0} names")]
    Host(HeaderName),
    /// No port.
    #[error("`public_url` without its port")]
    WithoutPort,
    /// The scheme's own port.
    #[error("`public_url` with the port of its scheme written out")]
    DefaultPort,
    /// A port that a header names.
    #[error("`public_url` with the port that the header {0} names")]
    Port(HeaderName),
    /// Lower case.
    #[error("`public_url` with its host in lower case")]
    LowerCase,
    /// A slash at the end of the path.
    #[error("`public_url` with a slash at its end")]
    Slash,
    /// No slash at the end of the path.
    #[error("`public_url` without the slash at its end")]
    WithoutSlash,
    /// Another path.
    #[error("`public_url` with the path that the header {0} names")]
    Path(HeaderName),
    /// A prefix of the path.
    #[error("`public_url` with the path's prefix that the header {0} names (a proxy takes it off)")]
    Prefix(HeaderName),
    /// Without the first part of the path.
    #[error("`public_url` without the first part of its path")]
    WithoutPrefix,
    /// No query.
    #[error("the URL without its query (something on the way added it)")]
    WithoutQuery,
    /// A query that a header names.
    #[error("the query that the header {0} names (something on the way took it off)")]
    Query(HeaderName),
    /// The query's parameters in order.
    #[error("the query with its parameters sorted (something on the way wrote them in another order)")]
    QuerySorted,
    /// The query encoded otherwise.
    #[error("the query encoded otherwise (something on the way decoded and encoded it again)")]
    QueryEncoded,
}

/// What is wrong with a JSON Web Token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenTrouble {
    /// Made with another algorithm; it verifies with that.
    #[error("the token is signed with {}, and {} is expected", .given.jwt_name().unwrap_or("another algorithm"), .expected.jwt_name().unwrap_or("another algorithm"))]
    Algorithm {
        /// What its header says.
        given: Algorithm,
        /// What the secret is for.
        expected: Algorithm,
    },
    /// It says an algorithm that nothing here takes.
    #[error("the token says an algorithm in `alg` that is not taken: HS256, HS384 and HS512 are")]
    UnknownAlgorithm,
    /// It is not signed.
    #[error("the token is not signed (its `alg` is `none`)")]
    Unsigned,
    /// Too late.
    #[error("the token's signature is right, but it expired {} before it was received", seconds(*.0))]
    Expired(u64),
    /// Too early.
    #[error("the token's signature is right, but it is not valid for another {}", seconds(*.0))]
    NotYet(u64),
    /// Too old or from the future.
    #[error("the token's signature is right, but it was issued {} it was received, and {} is allowed", far(*.off_ms), seconds(*.allowed_ms))]
    Age {
        /// How much later than issued it was received, in milliseconds.
        off_ms: i64,
        /// How far off it may be, in milliseconds.
        allowed_ms: u64,
    },
    /// No claim of this name.
    #[error("the token's signature is right, but it has no claim `{0}`")]
    NoClaim(String),
    /// From somebody else.
    #[error("the token's signature is right, but its issuer (`iss`) is not the one expected")]
    Issuer,
    /// For somebody else.
    #[error("the token's signature is right, but its audience (`aud`) is not the endpoint's `public_url`{}", but_with(.0))]
    Audience(Vec<UrlChange>),
    /// Of another body.
    #[error("the token's signature is right, but its claim `{claim}` is the hash of another body{}", but_with(.changes))]
    Body {
        /// The claim.
        claim: String,
        /// The change that makes it this body's, if one is known.
        changes: Vec<Change>,
    },
    /// A hash of nothing, or none of something.
    #[error("the token's signature is right, but its claim `{0}` is there without a body, or a body without it")]
    BodyClaim(String),
    /// Of another URL.
    #[error("the token's signature is right, but its claim `{claim}` is the hash of another URL than `public_url`{}", but_with(.changes))]
    Url {
        /// The claim.
        claim: String,
        /// The change that makes it this URL's, if one is known.
        changes: Vec<UrlChange>,
    },
}

/// What is wrong with a secret that is sent as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FixedTrouble {
    /// Right, but for its spelling.
    #[error("the secret in it is right, but {0}")]
    Spelling(FixedSpelling),
    /// The part before or after the colon is right.
    #[error("the password in it is right, but the user name is another")]
    User,
    /// The user name is right.
    #[error("the user name in it is right, but the password is another")]
    Password,
    /// It is another.
    #[error("it holds another secret")]
    Other,
}

/// How a secret that is sent may be spelt wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FixedSpelling {
    /// No prefix.
    #[error("the prefix is missing or spelt otherwise")]
    Prefix,
    /// Blanks.
    #[error("there are blanks or line ends around it")]
    Blank,
    /// Quotes.
    #[error("it is in quotes")]
    Quoted,
    /// Not encoded, or encoded where it is not to be.
    #[error("it is not in the encoding that the scheme says")]
    Encoding,
    /// Percent signs.
    #[error("it is percent-encoded")]
    Percent,
    /// A plus sign that was decoded.
    #[error("a `+` in it came as a blank (in a query it has to be written %2B)")]
    Plus,
    /// Letters in another case.
    #[error("its letters are in another case")]
    Case,
    /// The configured secret has something around it.
    #[error("the configured one has blanks, a line end or quotes around it")]
    Configured,
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; ")
}

fn but_with<T: std::fmt::Display>(changes: &[T]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let changes: Vec<_> = changes.iter().map(T::to_string).collect();
    format!("; it would be right with {}", changes.join("; "))
}

/// `372 s before`, `8 s after`: where a time lies as against the receipt.
fn far(off_ms: i64) -> String {
    let side = if off_ms >= 0 { "before" } else { "after" };
    format!("{} {side}", seconds(off_ms.unsigned_abs()))
}

/// Milliseconds as a person reads them: to the second, unless there is none.
fn seconds(ms: u64) -> String {
    if ms < 1000 {
        format!("{ms} ms")
    } else {
        format!("{} s", ms / 1000)
    }
}

const fn made_by(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HmacSha1 => "a digest of SHA-1",
        Algorithm::HmacSha256 => "a digest of SHA-256",
        Algorithm::HmacSha384 => "a digest of SHA-384",
        Algorithm::HmacSha512 => "a digest of SHA-512",
        Algorithm::HmacMd5 | Algorithm::Md5Suffix => "a digest of MD5",
        Algorithm::Ed25519 => "a signature of Ed25519",
    }
}
