//! Whom a rule is for.
//!
//! Numbers are compared by their digits, so that one gateway's `919876543210` and another's `+919876543210` are one sender.

use std::fmt;
use std::str::FromStr;

use super::RuleError;
use crate::phone::{Address, Kind};

/// One entry of a rule's senders.
#[derive(Clone, PartialEq, Eq)]
pub enum SenderFilter {
    /// Exactly this number or short code; digits only.
    Number(String),
    /// Every number that starts with these digits, country code first. Short codes are not numbers: `+1*` is not `12345`.
    Prefix(String),
    /// Exactly this sender's name, in lower case (`AMAZON`).
    Name(String),
    /// Every sender of a kind.
    Kind(Kind),
}

/// Numbers by their last four digits only, as everywhere.
impl fmt::Debug for SenderFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(digits) => {
                let last: String = digits.chars().skip(digits.len().saturating_sub(4)).collect();
                write!(f, "Number(…{last})")
            }
            Self::Prefix(digits) => write!(f, "Prefix({digits})"),
            Self::Name(name) => write!(f, "Name({name})"),
            Self::Kind(kind) => write!(f, "Kind({kind:?})"),
        }
    }
}

impl FromStr for SenderFilter {
    type Err = RuleError;

    /// Reads `+15551234567`, `+1555*`, `short`, `alpha`, `number` or a sender's name.
    fn from_str(typed: &str) -> Result<Self, RuleError> {
        let bad = || RuleError::BadSender {
            typed: typed.to_owned(),
        };
        let trimmed = typed.trim();
        match trimmed.to_lowercase().as_str() {
            "" => Err(bad()),
            "short" => Ok(Self::Kind(Kind::Short)),
            "alpha" => Ok(Self::Kind(Kind::Alpha)),
            "number" => Ok(Self::Kind(Kind::Number)),
            _ => match trimmed.strip_suffix('*') {
                Some(prefix) => digits(prefix).map(Self::Prefix).ok_or_else(bad),
                None if trimmed.contains('*') => Err(bad()),
                None if trimmed.chars().any(char::is_alphabetic) => Ok(Self::Name(trimmed.to_lowercase())),
                None => digits(trimmed).map(Self::Number).ok_or_else(bad),
            },
        }
    }
}

impl SenderFilter {
    /// Whether the rule is for `sender`.
    pub fn admits(&self, sender: &Address) -> bool {
        let number = sender.key().strip_prefix('+').unwrap_or(sender.key());
        match self {
            Self::Number(digits) => number == digits,
            Self::Prefix(digits) => sender.kind() == Kind::Number && number.starts_with(digits.as_str()),
            Self::Name(name) => sender.kind() == Kind::Alpha && sender.key().to_lowercase() == *name,
            Self::Kind(kind) => sender.kind() == *kind,
        }
    }
}

/// The digits of a number typed with the usual separators; none if there is anything else in it.
fn digits(typed: &str) -> Option<String> {
    let number = typed.strip_prefix('+').unwrap_or(typed);
    let kept: String = number
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')'))
        .collect();
    (!kept.is_empty() && kept.bytes().all(|byte| byte.is_ascii_digit())).then_some(kept)
}
