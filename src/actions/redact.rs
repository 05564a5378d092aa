//! What of another system's answer may be kept for a person to read: an excerpt without the texts, numbers and secrets
//! that the system may have sent back to us.
//!
//! It must never be the only thing between a secret and a log: nothing else of an answer leaves this folder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use super::request::Rendered;
use crate::config::action::{HeaderSource, HttpSpec};
use crate::job::Job;

/// Bytes of an answer that are kept.
const EXCERPT_BYTES: usize = 500;
/// Shorter words would also strike out what nobody needs to hide.
const SHORTEST_WORD: usize = 3;
/// A run of as many digits may be a phone number or a one-time code's longer cousin.
const LONG_RUN: usize = 7;
/// The same where blanks, dashes or brackets stand between the digits; a date has eight.
const LONG_SPACED_RUN: usize = 10;

/// The words that must not be repeated.
pub(super) struct Redaction {
    words: Vec<String>,
    /// Those of them that are secrets: of no use to anybody who may see the rest.
    secrets: Vec<String>,
}

impl Redaction {
    /// Hides the secrets of `spec`, the message's text, and the body that was sent.
    pub(super) fn new(spec: &HttpSpec, job: &Job, sent: &Rendered) -> Self {
        Self::with(spec, &[], job, sent)
    }

    /// As [`Redaction::new`], with more secrets to hide.
    pub(super) fn with(spec: &HttpSpec, more: &[SecretString], job: &Job, sent: &Rendered) -> Self {
        let message = &job.message;
        let texts = [message.text.as_str(), &message.sender, &message.sender_raw];
        Self::of(
            &secrets_of(spec, more),
            &texts,
            sent.body.as_deref().unwrap_or_default(),
        )
    }

    /// Hides the secrets of `spec`, a number, and the body that was sent.
    pub(super) fn of_notice(spec: &HttpSpec, number: &str, sent: &Rendered) -> Self {
        Self::of(
            &secrets_of(spec, &[]),
            &[number],
            sent.body.as_deref().unwrap_or_default(),
        )
    }

    /// Hides a password as SMTP spells it too, the message's text, and the mail.
    pub(super) fn of_mail(user: &str, password: &str, job: &Job, mail: &str) -> Self {
        let plain = STANDARD.encode(format!("\0{user}\0{password}"));
        let login = STANDARD.encode(password);
        let message = &job.message;
        let texts = [message.text.as_str(), &message.sender, &message.sender_raw];
        Self::of(&[password, &plain, &login], &texts, mail)
    }

    fn of(secrets: &[&str], texts: &[&str], sent: &str) -> Self {
        let secrets = words(secrets.iter().copied());
        let texts = texts.iter().copied().chain([sent]);
        let words = words(secrets.iter().map(String::as_str).chain(texts));
        Self { words, secrets }
    }

    /// `answer` without the secrets, for the operator's own eyes.
    pub(super) fn without_secrets(&self, answer: &str) -> String {
        let struck = |text: String, secret: &String| text.replace(secret.as_str(), "***");
        self.secrets.iter().fold(answer.to_owned(), struck)
    }

    /// At most 500 bytes of `answer` on one line, with words struck out, long runs of digits cut to their last four and
    /// control characters made visible.
    pub(super) fn excerpt(&self, answer: &str) -> String {
        let struck = self
            .words
            .iter()
            .fold(answer.to_owned(), |text, word| text.replace(word.as_str(), "[…]"));
        let visible: String = struck
            .chars()
            .map(|c| if is_unsafe(c) { '\u{fffd}' } else { c })
            .collect();
        let mut excerpt = mask_digits(visible.trim());
        if excerpt.len() > EXCERPT_BYTES {
            excerpt.truncate(excerpt.floor_char_boundary(EXCERPT_BYTES - '…'.len_utf8()));
            excerpt.push('…');
        }
        excerpt
    }
}

/// The secrets of a request, as they may stand in an answer.
fn secrets_of<'a>(spec: &'a HttpSpec, more: &'a [SecretString]) -> Vec<&'a str> {
    let headers = spec.headers.iter().filter_map(|(_, source)| match source {
        HeaderSource::Secret { secret, .. } => Some(secret),
        HeaderSource::Rendered(_) => None,
    });
    let signing = spec.sign.iter().flat_map(|sign| &sign.secrets);
    let url = spec.secret_url.iter();
    let secrets = headers
        .chain(signing)
        .chain(more)
        .chain(url)
        .map(SecretString::expose_secret);
    // The key itself is what stands behind the prefix, and a URL is as secret as what stands behind its host.
    let secrets = secrets.map(|secret| secret.strip_prefix("whsec_").unwrap_or(secret));
    secrets.flat_map(|secret| [secret, behind_host(secret)]).collect()
}

/// Every spelling of every word, the longest first: a short one would break a longer one into pieces that are then not found.
fn words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.map(str::trim).flat_map(spellings).collect();
    words.retain(|word| word.len() >= SHORTEST_WORD);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.dedup();
    words
}

/// What follows the host of a URL; nothing for what is none.
fn behind_host(secret: &str) -> &str {
    let rest = secret.split_once("://").map_or("", |(_, rest)| rest);
    rest.split_once('/').map_or("", |(_, path)| path)
}

/// A word as it is, and as it stands in JSON.
fn spellings(word: &str) -> [String; 2] {
    let json = serde_json::to_string(word).unwrap_or_default();
    [word.to_owned(), json.trim_matches('"').to_owned()]
}

/// Control characters, line separators and bidirectional overrides: they could forge lines where the error is shown.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn mask_digits(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars() {
        let joins = !run.is_empty() && matches!(c, ' ' | '\u{a0}' | '-' | '(' | ')' | '/');
        if c.is_ascii_digit() || joins {
            run.push(c);
        } else {
            flush(&mut masked, &run);
            run.clear();
            masked.push(c);
        }
    }
    flush(&mut masked, &run);
    masked
}

/// Adds digits and what stands between and behind them: a number's last four digits, or else each group by itself.
fn flush(masked: &mut String, run: &str) {
    let number = run.trim_end_matches(|c: char| !c.is_ascii_digit());
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if digits.len() >= LONG_SPACED_RUN {
        push_last_four(masked, &digits);
    } else {
        for group in number.split_inclusive(|c: char| !c.is_ascii_digit()) {
            let digits = group.trim_end_matches(|c: char| !c.is_ascii_digit());
            if digits.len() >= LONG_RUN {
                push_last_four(masked, digits);
            } else {
                masked.push_str(digits);
            }
            masked.push_str(group.get(digits.len()..).unwrap_or_default());
        }
    }
    masked.push_str(run.get(number.len()..).unwrap_or_default());
}

fn push_last_four(masked: &mut String, digits: &str) {
    masked.push('…');
    masked.push_str(digits.get(digits.len().saturating_sub(4)..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(words: &[&str], answer: &str) -> String {
        Redaction {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            secrets: vec![],
        }
        .excerpt(answer)
    }

    #[test]
    fn words_long_numbers_and_control_characters_are_not_repeated() {
        let answer = "key sk_live_1 for +14155550100:\u{1b}[2J\u{202e}\nno 123456";
        assert_eq!(
            excerpt(&["sk_live_1"], answer),
            "key […] for +…0100:\u{fffd}[2J\u{fffd}\u{fffd}no 123456"
        );
    }

    #[test]
    fn a_number_is_not_repeated_however_it_is_spelt_and_dates_and_addresses_are() {
        assert_eq!(
            excerpt(&[], "no route to +1 (415) 555-0100, 415-555-0100 / 0044 20 7946 0018."),
            "no route to +…0100, …0018."
        );
        let plain = "on 2026-01-31, 192.168.100.200 (2 of 3), code 123456 - 12345678 )";
        let masked = plain.replace("123456 - 12345678", "…5678");
        assert_eq!(excerpt(&[], plain), masked);
        assert_eq!(excerpt(&[], "7 (1234567) x"), "7 (…4567) x");
    }

    #[test]
    fn an_excerpt_has_at_most_500_bytes_and_ends_at_a_character() {
        let long = excerpt(&[], &"ü".repeat(400));
        assert!(long.len() <= 500 && long.ends_with("ü…"), "{}", long.len());
        assert_eq!(excerpt(&[], &"x".repeat(500)).len(), 500);
    }
}
