//! Why a JSON Web Token is not taken: its spelling, its algorithm, its secret, or what it says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::super::algorithm::{Algorithm, Digest, Ready};
use super::super::content::{is_hash_of, spellings, whole};
use super::super::jwt::Jwt;
use super::super::{Received, Refusal};
use super::{Case, Change, Finding, Shape, TokenTrouble, UrlChange, bodies, presented, secrets, urls};

/// Headers with a token in them that are named.
const MOST_ELSEWHERE: usize = 3;

/// Everything that can be said. Never empty.
pub(super) fn findings(jwt: &Jwt, case: &Case<'_>, refusal: Refusal) -> Vec<Finding> {
    let received = &case.received;
    if let Some(repeated) = presented::repeated_header(&jwt.headers, received) {
        return vec![repeated];
    }
    let found = jwt
        .headers
        .iter()
        .find_map(|name| Some((name, received.headers.get(name)?)));
    let Some((name, value)) = found else {
        return missing(jwt, received);
    };
    let Some((token, shape)) = read(jwt, value) else {
        let shape = shape_of(value);
        let header = name.clone();
        return vec![Finding::Malformed { header, shape }];
    };
    let mut findings: Vec<Finding> = shape
        .map(|shape| Finding::Malformed {
            header: name.clone(),
            shape,
        })
        .into_iter()
        .collect();
    let mended = mended(jwt, received.headers, name, &token);
    let received = Received {
        headers: &mended,
        ..*received
    };
    let Some((claims, algorithm)) = jwt.claims(&received).zip(jwt.named_algorithm(&received)) else {
        let (header, shape) = (name.clone(), Shape::NoToken);
        return vec![Finding::Malformed { header, shape }];
    };
    findings.extend(about_the_signature(jwt, case, &token, &algorithm));
    let is_genuine = !findings
        .iter()
        .any(|finding| matches!(finding, Finding::UnexplainedToken | Finding::Token(_)));
    if is_genuine && let Err(refusal) = jwt.judge(&claims, &received) {
        findings.push(about_the_claims(jwt, &claims, &received, refusal));
    }
    if findings.is_empty() {
        findings.push(Finding::Refused(refusal));
    }
    findings
}

fn missing(jwt: &Jwt, received: &Received<'_>) -> Vec<Finding> {
    let elsewhere = received.headers.iter().filter(|(_, value)| token_in(value).is_some());
    let elsewhere = elsewhere
        .take(MOST_ELSEWHERE)
        .map(|(name, _)| Finding::HeaderElsewhere { header: name.clone() });
    std::iter::once(presented::missing_header(&jwt.headers))
        .chain(elsewhere)
        .collect()
}

/// The token in a value, and what is unusual about how it stands there.
fn read(jwt: &Jwt, value: &HeaderValue) -> Option<(String, Option<Shape>)> {
    let token = token_in(value)?;
    let text = value.to_str().ok()?;
    let shape = if text.strip_prefix(&jwt.prefix) == Some(&token) {
        None
    } else if text.contains(['"', '\'']) {
        Some(Shape::Quoted)
    } else if text.starts_with(&jwt.prefix) {
        Some(Shape::Blank)
    } else {
        Some(Shape::Prefix)
    };
    Some((token, shape))
}

/// Three parts with dots between, wherever they stand.
fn token_in(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let is_token = |word: &&str| {
        let parts: Vec<_> = word.split('.').collect();
        // A token without a signature ends in a dot.
        parts.len() == 3 && word.starts_with("eyJ") && parts.iter().take(2).all(|part| !part.is_empty())
    };
    let mut words = text.split(|c: char| c.is_whitespace() || "\"',;=:".contains(c));
    words.find(is_token).map(str::to_owned)
}

fn shape_of(value: &HeaderValue) -> Shape {
    match value.to_str() {
        Ok(text) if text.trim().is_empty() => Shape::Empty,
        Ok(_) => Shape::NoToken,
        Err(_) => Shape::NotAscii,
    }
}

/// The headers with the token spelt as it should be.
fn mended(jwt: &Jwt, headers: &HeaderMap, name: &HeaderName, token: &str) -> HeaderMap {
    let mut mended = headers.clone();
    if let Ok(value) = HeaderValue::from_str(&format!("{}{token}", jwt.prefix)) {
        mended.insert(name.clone(), value);
    }
    mended
}

/// Which secret made the token, and by which algorithm.
fn about_the_signature(jwt: &Jwt, case: &Case<'_>, token: &str, named: &str) -> Option<Finding> {
    if named.eq_ignore_ascii_case("none") {
        return Some(Finding::Token(TokenTrouble::Unsigned));
    }
    let given = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.jwt_name() == Some(named));
    let Some(given) = given else {
        return Some(Finding::Token(TokenTrouble::UnknownAlgorithm));
    };
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .ok()
        .and_then(|bytes| Digest::of(&bytes));
    let mut guesses = secrets::guesses(jwt.secret_encoding, case.keys, case.others);
    guesses.sort_by_key(|guess| (!guess.is_own, guess.changes.len()));
    let made_it = |guess: &secrets::Guess| {
        let ready = Ready::new(given, &guess.bytes);
        ready
            .zip(signature.as_ref())
            .is_some_and(|(ready, digest)| ready.verifies(std::iter::once(signed.as_bytes()), digest).into())
    };
    let Some(guess) = guesses.into_iter().find(made_it) else {
        return Some(Finding::UnexplainedToken);
    };
    let secret = guess.label;
    if !guess.changes.is_empty() {
        let algorithm = (given != guess.algorithm).then_some(Change::Algorithm(given));
        let changes = guess.changes.into_iter().chain(algorithm).collect();
        return Some(Finding::WouldMatch { secret, changes });
    }
    if !guess.is_own {
        return Some(Finding::OtherSecret { secret });
    }
    (given != guess.algorithm).then_some(Finding::Token(TokenTrouble::Algorithm {
        given,
        expected: guess.algorithm,
    }))
}

/// Which claim does not hold, and what would make it hold.
fn about_the_claims(jwt: &Jwt, claims: &Map<String, Value>, received: &Received<'_>, refusal: Refusal) -> Finding {
    let trouble = match refusal {
        Refusal::Expired | Refusal::TimestampOutside => about_the_time(jwt, claims, received.at),
        Refusal::Issuer => TokenTrouble::Issuer,
        Refusal::Audience => {
            let named: Vec<&str> = match claims.get("aud") {
                Some(Value::String(one)) => vec![one],
                Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
                _ => return Finding::Token(TokenTrouble::NoClaim("aud".to_owned())),
            };
            TokenTrouble::Audience(url_that(received, |url| named.contains(&url)))
        }
        Refusal::UrlHash => {
            let claim = jwt.url_hash_claim.clone().unwrap_or_default();
            let Some(hash) = claims.get(&claim).and_then(Value::as_str) else {
                return Finding::Token(TokenTrouble::NoClaim(claim));
            };
            let changes = url_that(received, |url| is_hash_of(hash, url.as_bytes()));
            TokenTrouble::Url { claim, changes }
        }
        Refusal::BodyHash => about_the_body(jwt, claims, received),
        refusal => return Finding::Refused(refusal),
    };
    Finding::Token(trouble)
}

fn about_the_body(jwt: &Jwt, claims: &Map<String, Value>, received: &Received<'_>) -> TokenTrouble {
    let claim = jwt.body_hash_claim.clone().unwrap_or_default();
    let hash = claims.get(&claim).and_then(Value::as_str);
    let Some(hash) = hash.filter(|_| !received.body.is_empty()) else {
        return TokenTrouble::BodyClaim(claim);
    };
    let guesses = bodies::guesses(received.body);
    let changes = guesses
        .into_iter()
        .filter(|(_, body)| is_hash_of(hash, body))
        .map(|(change, _)| change);
    TokenTrouble::Body {
        claim,
        changes: changes.take(1).collect(),
    }
}

/// What would have to be different about the URL for this to hold; empty if nothing known makes it so.
fn url_that(received: &Received<'_>, holds: impl Fn(&str) -> bool) -> Vec<UrlChange> {
    let guesses = urls::guesses(received.url, received.query, received.headers);
    let found = guesses.into_iter().find(|guess| {
        let with_query = whole(&guess.url, guess.query.as_deref());
        let mut known = spellings(&guess.url).chain(spellings(&with_query));
        known.any(|url| holds(&url))
    });
    found.map(|guess| guess.changes).unwrap_or_default()
}

fn about_the_time(jwt: &Jwt, claims: &Map<String, Value>, at: i64) -> TokenTrouble {
    let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let leeway = i64::try_from(milliseconds(jwt.leeway)).unwrap_or(i64::MAX);
    let time = |name: &str| claims.get(name).and_then(date);
    if let Some(expires) = time("exp")
        && expires.saturating_add(leeway) < at
    {
        return TokenTrouble::Expired(at.abs_diff(expires));
    }
    if let Some(begins) = time("nbf")
        && begins.saturating_sub(leeway) > at
    {
        return TokenTrouble::NotYet(begins.abs_diff(at));
    }
    match (jwt.max_age, time("iat")) {
        (Some(allowed), Some(issued)) => TokenTrouble::Age {
            off_ms: at.saturating_sub(issued),
            allowed_ms: milliseconds(allowed),
        },
        (Some(_), None) => TokenTrouble::NoClaim("iat".to_owned()),
        (None, _) => TokenTrouble::NoClaim("exp".to_owned()),
    }
}

/// Seconds, whole or not, in milliseconds.
fn date(value: &Value) -> Option<i64> {
    let seconds = value
        .as_i64()
        .or_else(|| format!("{:.0}", value.as_f64()?.floor()).parse().ok())?;
    seconds.checked_mul(1000)
}
