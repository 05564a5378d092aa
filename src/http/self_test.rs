//! The self-test that `smshook doctor` sends through an endpoint: how it is told from a message, and what answers it.
//!
//! It is recognised only after its delivery has verified, and by its first bytes: no gateway's message begins so, whatever
//! its text says. Nothing is stored for it. It must not read or write anything.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// What a self-test begins with. A message that quotes it has it inside a JSON string, where these quotes are escaped.
const BEGIN: &[u8] = br#"{"smshook_self_test":""#;
/// What it ends with.
const END: &[u8] = br#""}"#;
/// The largest body of a self-test with a signature in it, in bytes.
const LARGEST: usize = 512;
/// The longest nonce, in characters.
const LONGEST_NONCE: usize = 64;

/// The word in answers, logs and metrics.
pub(super) const WORD: &str = "self_test";

/// What the service answers to a self-test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SelfTest {
    /// `self_test`, always.
    pub status: String,
    /// The nonce that was sent: an answer out of a cache has another.
    pub nonce: String,
    /// The version of the service.
    pub version: String,
    /// Whether a message could be stored at this moment.
    pub accepts: bool,
}

impl SelfTest {
    /// The answer to the self-test with this nonce.
    pub(super) fn answer(nonce: &str, accepts: bool) -> Self {
        Self {
            status: WORD.to_owned(),
            nonce: nonce.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            accepts,
        }
    }

    /// Reads an answer; `None` if it is not one of ours.
    pub fn read(body: &str) -> Option<Self> {
        serde_json::from_str(body)
            .ok()
            .filter(|read: &Self| read.status == WORD)
    }
}

/// The body of a self-test. The nonce has 1 to 64 ASCII letters, digits and hyphens.
pub fn self_test_body(nonce: &str) -> String {
    format!(r#"{{"smshook_self_test":"{nonce}"}}"#)
}

/// The nonce of a self-test; `None` for everything else, which costs a comparison of its first bytes.
///
/// Some gateways sign in fields of the body, beside the others: such a body holds the nonce between them.
pub(super) fn nonce(body: &Bytes) -> Option<Cow<'_, str>> {
    let alone = body
        .strip_prefix(BEGIN)
        .and_then(|rest| std::str::from_utf8(rest.strip_suffix(END)?).ok());
    let nonce = match alone {
        Some(nonce) => Cow::Borrowed(nonce),
        None => Cow::Owned(among_others(body)?),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let fits = (1..=LONGEST_NONCE).contains(&nonce.len()) && nonce.bytes().all(is_plain);
    Some(nonce).filter(|_| fits)
}

/// The nonce in a small object that has no field but ours and the signature's. No message is so small and says nothing else.
fn among_others(body: &Bytes) -> Option<String> {
    if body.len() > LARGEST || !body.starts_with(b"{\"sig\":") {
        return None;
    }
    let SignedBeside { smshook_self_test, .. } = serde_json::from_slice(body).ok()?;
    Some(smshook_self_test)
}

/// As [`crate::signature::sign`] leaves it where the signature is a field: `sig` and `timestamp` (Vonage).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedBeside {
    smshook_self_test: String,
    #[serde(rename = "sig")]
    _sig: IgnoredAny,
    #[serde(rename = "timestamp", default)]
    _timestamp: IgnoredAny,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<String> {
        nonce(&Bytes::from(body.to_owned())).map(Cow::into_owned)
    }

    #[test]
    fn a_self_test_is_read_back_and_so_is_its_answer() {
        assert_eq!(read(&self_test_body("0a-9Z")).as_deref(), Some("0a-9Z"));
        let beside = r#"{"sig":"00","smshook_self_test":"0a-9Z","timestamp":"1781274720"}"#;
        assert_eq!(read(beside).as_deref(), Some("0a-9Z"));
        let answer = SelfTest::answer("0a-9Z", true);
        assert_eq!(SelfTest::read(&serde_json::to_string(&answer).unwrap()), Some(answer));
        assert_eq!(SelfTest::read(r#"{"status":"stored","id":"1"}"#), None);
        assert_eq!(SelfTest::read("<html>welcome</html>"), None);
    }

    #[test]
    fn what_only_resembles_a_self_test_is_a_message() {
        let long = self_test_body(&"a".repeat(65));
        let bodies = [
            "",
            "{}",
            r#"{"smshook_self_test":""}"#,
            r#"{"smshook_self_test":"a","text":"b"}"#,
            r#"{"smshook_self_test":"a b"}"#,
            r#"{"text":"{\"smshook_self_test\":\"a\"}"}"#,
            r#" {"smshook_self_test":"a"}"#,
            r#"{"sig":"00","smshook_self_test":"a","text":"b"}"#,
            r#"{"sig":"00","text":"b"}"#,
            &long,
        ];
        for body in bodies {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
