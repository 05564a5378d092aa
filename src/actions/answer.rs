//! What another system's answer means for a job: done, try again, give up, or nobody knows.
//!
//! It must not touch the network or the journal.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde_json::{Map, Value};

use super::client::Answer;
use super::redact::Redaction;
use crate::config::OptedOutSign;
use crate::config::action::{CaptureSource, HttpSpec, OnUnknown};

/// Shortest and longest wait that another system can ask of us.
const ASKED: (u64, u64) = (1, 6 * 60 * 60);

/// What an attempt to send came to.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    /// It was taken.
    Done {
        /// The answer's status.
        status: u16,
        /// What was to be kept of it.
        captures: Map<String, Value>,
    },
    /// It was not taken, and may be later.
    Passing {
        /// What the other side said.
        error: String,
        /// When it wants to hear from us.
        after: Option<Duration>,
    },
    /// It was not taken and never will be.
    Refused(String),
    /// It was not taken because of who we are.
    Unauthorized(String),
    /// It never left.
    NotSent(String),
    /// It may have been taken.
    Unknown(String),
}

/// Reads an answer by its definition. `on_unknown` matters because a 500, 502 or 504 does not say whether the effect
/// happened: who may send twice just sends again, who may not has to find out first.
pub(super) fn judge(
    spec: &HttpSpec,
    on_unknown: OnUnknown,
    answer: &Answer,
    redaction: &Redaction,
    now: DateTime<Utc>,
) -> Verdict {
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let status = answer.status;
    if spec.success.contains(status) {
        return succeeded(spec, answer, json.as_ref(), redaction);
    }
    let error = error(spec, answer, json.as_ref(), redaction);
    if spec.retry.contains(status) {
        let may_have_happened = matches!(status, 500 | 502 | 504 | 520..=527);
        return if may_have_happened && on_unknown != OnUnknown::Resend {
            Verdict::Unknown(error)
        } else {
            Verdict::Passing {
                error,
                after: retry_after(&answer.headers, now),
            }
        };
    }
    if status == 401 {
        return Verdict::Unauthorized(error);
    }
    if (300..400).contains(&status) {
        return Verdict::Refused(format!(
            "{error}; redirects are never followed: configure the final URL"
        ));
    }
    Verdict::Refused(error)
}

/// The code by which an answer says that the provider holds the sender for opted out.
pub(super) fn opted_out(signs: &[OptedOutSign], answer: &Answer) -> Option<String> {
    if signs.is_empty() {
        return None;
    }
    let json: Value = serde_json::from_slice(&answer.body).ok()?;
    signs.iter().find_map(|sign| {
        let said = match json.pointer(&sign.pointer)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        sign.values
            .iter()
            .find(|value| value.eq_ignore_ascii_case(&said))
            .cloned()
    })
}

fn succeeded(spec: &HttpSpec, answer: &Answer, json: Option<&Value>, redaction: &Redaction) -> Verdict {
    let unmet = spec
        .require
        .iter()
        .find(|(pointer, wanted)| json.and_then(|json| json.pointer(pointer)) != Some(wanted));
    match unmet {
        Some((pointer, _)) if !answer.complete => Verdict::Unknown(format!(
            "answered {}, but `{pointer}` could not be read: the answer broke off or was too long",
            answer.status
        )),
        Some((pointer, wanted)) => {
            let error = error(spec, answer, json, redaction);
            Verdict::Refused(format!("{error}; `{pointer}` is not {wanted}"))
        }
        None => Verdict::Done {
            status: answer.status,
            captures: captures(spec, &answer.headers, json),
        },
    }
}

/// What is found; what is not is left out.
fn captures(spec: &HttpSpec, headers: &HeaderMap, json: Option<&Value>) -> Map<String, Value> {
    let found = |(name, source): &(String, CaptureSource)| {
        let value = match source {
            CaptureSource::Pointer(pointer) => json?.pointer(pointer)?.clone(),
            CaptureSource::Header(header) => Value::from(String::from_utf8_lossy(headers.get(header)?.as_bytes())),
        };
        Some((name.clone(), value))
    };
    spec.capture.iter().filter_map(found).collect()
}

/// `answered 422 (validation_error): …`
fn error(spec: &HttpSpec, answer: &Answer, json: Option<&Value>, redaction: &Redaction) -> String {
    let code = spec
        .error_pointer
        .as_ref()
        .and_then(|pointer| match json?.pointer(pointer)? {
            Value::String(code) => Some(code.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        });
    let mut error = format!("answered {}", answer.status);
    if let Some(code) = code {
        let code: String = redaction.excerpt(&code).chars().take(80).collect();
        error = format!("{error} ({code})");
    }
    match redaction.excerpt(&String::from_utf8_lossy(&answer.body)) {
        excerpt if excerpt.is_empty() => error,
        excerpt => format!("{error}: {excerpt}"),
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3), between a second and six hours.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        // More digits than a number holds.
        Err(_) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => ASKED.1,
        Err(_) => {
            let date = DateTime::parse_from_rfc2822(value).ok()?;
            u64::try_from(date.signed_duration_since(now).num_seconds()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds.clamp(ASKED.0, ASKED.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_opted_out_only_where_and_as_the_gateways_file_says() {
        let sign = |pointer: &str, values: &[&str]| OptedOutSign {
            pointer: pointer.to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        let signs = [
            sign("/code", &["21610", "opted_out"]),
            sign("/errors/0/code", &["40300"]),
        ];
        let said = |body: &str| {
            let answer = Answer {
                status: 400,
                headers: HeaderMap::new(),
                body: body.as_bytes().to_vec(),
                complete: true,
            };
            opted_out(&signs, &answer)
        };
        for (body, code) in [
            (r#"{"code":21610}"#, Some("21610")),
            (r#"{"code":" 21610 "}"#, Some("21610")),
            (r#"{"code":"OPTED_OUT"}"#, Some("opted_out")),
            (r#"{"code":1,"errors":[{"code":"40300"}]}"#, Some("40300")),
            (r#"{"code":216100,"message":"21610"}"#, None),
            (r#"{"code":[21610]}"#, None),
            (r#"{"errors":[{"code":"1"},{"code":"40300"}]}"#, None),
            ("21610", None),
            ("", None),
        ] {
            assert_eq!(said(body).as_deref(), code, "{body}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_a_date_and_clamped() {
        let now: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        let read = |value: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]), now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("0"), Some(1));
        assert_eq!(read("31536000"), Some(21_600));
        assert_eq!(read("99999999999999999999999"), Some(21_600));
        assert_eq!(read("Sat, 31 Jan 2026 12:01:30 GMT"), Some(90));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1));
        assert_eq!(read("soon"), None);
        assert_eq!(read(""), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
