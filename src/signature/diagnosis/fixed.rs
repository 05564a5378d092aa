//! Why a secret that is sent as it is was not taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::super::algorithm::Encoding;
use super::super::fixed::{Fixed, FixedPlace};
use super::super::{Received, Refusal, parameters};
use super::{Case, Finding, FixedSpelling, FixedTrouble, presented};

/// Everything that can be said. Never empty.
pub(super) fn findings(fixed: &Fixed, case: &Case<'_>, refusal: Refusal) -> Vec<Finding> {
    let received = &case.received;
    let value = match &fixed.place {
        FixedPlace::Headers(names) => {
            if let Some(repeated) = presented::repeated_header(names, received) {
                return vec![repeated];
            }
            let value = names.iter().find_map(|name| received.headers.get(name));
            let Some(value) = value else {
                return vec![presented::missing_header(names)];
            };
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        }
        FixedPlace::Param(name) => match only(name, received) {
            Some(value) => value,
            None if refusal == Refusal::Missing => {
                let expected = name.clone();
                return vec![Finding::ParameterMissing { expected }];
            }
            None => return vec![Finding::Refused(refusal)],
        },
    };
    vec![compared(fixed, case, &value)]
}

fn only(name: &str, received: &Received<'_>) -> Option<String> {
    let query = parameters::of_form(received.query?.as_bytes());
    parameters::only(&query, name)
        .ok()
        .map(|value| value.clone().into_owned())
}

fn compared(fixed: &Fixed, case: &Case<'_>, value: &str) -> Finding {
    let own: Vec<&str> = case.keys.iter().map(|key| key.secret.expose_secret()).collect();
    let guesses = guesses(fixed, value);
    for (spelling, guess) in &guesses {
        if own.iter().any(|secret| is_same(secret, guess)) {
            return Finding::Fixed(FixedTrouble::Spelling(spelling.unwrap_or(FixedSpelling::Prefix)));
        }
    }
    let bare = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    for (_, guess) in &guesses {
        if own.iter().any(|secret| is_same(&bare(secret), guess)) {
            return Finding::Fixed(FixedTrouble::Spelling(FixedSpelling::Configured));
        }
        if own
            .iter()
            .any(|secret| is_same(&secret.to_lowercase(), &guess.to_lowercase()))
        {
            return Finding::Fixed(FixedTrouble::Spelling(FixedSpelling::Case));
        }
    }
    for (owner, keys) in case.others {
        for key in keys.iter() {
            if guesses
                .iter()
                .any(|(_, guess)| is_same(key.secret.expose_secret(), guess))
            {
                let secret = format!("{owner} ({})", key.label);
                return Finding::OtherSecret { secret };
            }
        }
    }
    Finding::Fixed(halves(&own, &guesses).unwrap_or(FixedTrouble::Other))
}

/// The halves of `user:password` by themselves.
fn halves(own: &[&str], guesses: &[(Option<FixedSpelling>, String)]) -> Option<FixedTrouble> {
    for (user, password) in own.iter().filter_map(|secret| secret.split_once(':')) {
        for (given_user, given_password) in guesses.iter().filter_map(|(_, guess)| guess.split_once(':')) {
            match (is_same(user, given_user), is_same(password, given_password)) {
                (true, false) => return Some(FixedTrouble::Password),
                (false, true) => return Some(FixedTrouble::User),
                _ => {}
            }
        }
    }
    None
}

/// What the value may have been meant as, each with what would be wrong about its spelling.
fn guesses(fixed: &Fixed, value: &str) -> Vec<(Option<FixedSpelling>, String)> {
    let mut guesses: Vec<(Option<FixedSpelling>, String)> = Vec::new();
    let (has_prefix, bare) = match value.strip_prefix(&fixed.prefix) {
        Some(bare) => (true, bare),
        None => (false, without_prefix(value, &fixed.prefix)),
    };
    let spelt = |spelling| has_prefix.then_some(spelling).or(Some(FixedSpelling::Prefix));
    let decoded = |text: &str| {
        STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
    };
    let trimmed = bare.trim();
    let unquoted = trimmed.trim_matches(['"', '\'']);
    let percent = percent_decode_str(unquoted).decode_utf8_lossy().into_owned();
    let words = [
        (None, bare.to_owned()),
        (spelt(FixedSpelling::Blank), trimmed.to_owned()),
        (spelt(FixedSpelling::Quoted), unquoted.to_owned()),
        (spelt(FixedSpelling::Percent), percent),
        (spelt(FixedSpelling::Plus), bare.replace(' ', "+")),
    ];
    let is_base64 = fixed.encoding == Encoding::Base64;
    for (spelling, word) in words {
        let decoded = decoded(&word).map(|text| {
            (
                if is_base64 {
                    spelling
                } else {
                    Some(FixedSpelling::Encoding)
                },
                text,
            )
        });
        guesses.extend(decoded);
        guesses.push((
            if is_base64 {
                Some(FixedSpelling::Encoding)
            } else {
                spelling
            },
            word,
        ));
    }
    guesses
}

/// The value without a prefix that is spelt in another case or lacks its blank, or without any.
fn without_prefix<'a>(value: &'a str, prefix: &str) -> &'a str {
    let word = prefix.trim();
    match value.trim_start().split_at_checked(word.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(word) => rest.trim_start(),
        _ => value,
    }
}

/// Compared as hashes: nothing is learnt from how long it takes.
fn is_same(one: &str, other: &str) -> bool {
    !one.is_empty() && Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}
