//! `smshook verify`: whether a captured delivery verifies, with which secret, and if not, why not.
//!
//! Offline: the answer comes from the configuration, the headers and the bytes given. It names secrets by where they come
//! from and never shows one, nor a digest that would be right.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::Utc;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::failure::Failure;
use super::{endpoint, output};
use crate::signature::Received;
use crate::signature::diagnosis::{Case, Change, Finding, diagnose};

/// What to verify.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Endpoint that received the delivery [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Header of the delivery as it was received; repeat for each
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header, required = true)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// File with the body, byte for byte as it was received; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
}

/// Bytes hashed at most: a few seconds.
const BUDGET: u64 = 1 << 30;

/// Prints what was found; the answer is no unless the delivery verifies.
pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = endpoint::load(config)?;
    let endpoint = endpoint::choose(&loaded.config, arguments.endpoint.as_deref())?;
    let Some(keys) = &endpoint.keys else {
        return output::print("this endpoint takes unsigned deliveries: there is nothing to verify");
    };
    let headers = together(&arguments.headers);
    let body = read(&arguments.body)?;
    let findings = diagnose(&Case {
        scheme: &endpoint.gateway.signature,
        keys,
        others: &[],
        received: Received {
            method: &Method::POST,
            url: &endpoint.url,
            query: None,
            headers: &headers,
            body: &body.into(),
            at: Utc::now().timestamp_millis(),
        },
        budget: BUDGET,
    });
    for finding in &findings {
        output::print(&finding.to_string())?;
    }
    for hint in hints(&findings) {
        output::note(&format!("\nhint: {hint}"));
    }
    let verifies = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Verifies { .. }));
    if verifies { Ok(()) } else { Err(Failure::AnswerIsNo) }
}

/// A header given twice is there twice, as it was received.
fn together(headers: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.clone(), value.clone());
    }
    map
}

/// Reads `Name: value` as it stands in a request.
fn header(typed: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = typed.split_once(':').ok_or("write it as `Name: value`")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn read(body: &Path) -> Result<Vec<u8>, Failure> {
    if body == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("reading the body from standard input")?;
        return Ok(bytes);
    }
    let bytes = std::fs::read(body).with_context(|| format!("reading the body from `{}`", body.display()))?;
    Ok(bytes)
}

/// What to do about the findings, each piece of advice once.
fn hints(findings: &[Finding]) -> Vec<&'static str> {
    let mut hints = Vec::new();
    for finding in findings {
        match finding {
            Finding::WouldMatch { changes, .. } => hints.extend(changes.iter().map(|change| remedy(*change))),
            finding => hints.extend(advice(finding)),
        }
    }
    let mut said = Vec::new();
    hints.retain(|hint| {
        let is_new = !said.contains(hint);
        said.push(hint);
        is_new
    });
    hints
}

fn advice(finding: &Finding) -> Option<&'static str> {
    match finding {
        Finding::HeaderMissing { .. } => Some(
            "pass every header of the request with `--header`; a proxy that drops unknown headers has to let this one through",
        ),
        Finding::HeaderRepeated { .. } => {
            Some("let the proxy pass the gateway's header through and add none of its own")
        }
        Finding::Timestamp(_) => Some("pass the timestamp's header with `--header` too"),
        Finding::EmptyBody => Some("give the body byte for byte, for instance with `--body delivery.json`"),
        Finding::Unexplained => {
            Some("copy the secret from the gateway again, and capture the body before anything parses it")
        }
        Finding::Verifies { .. }
        | Finding::HeaderElsewhere { .. }
        | Finding::Malformed { .. }
        | Finding::WouldMatch { .. } => None,
    }
}

const MEND_SECRET: &str = "correct the secret where it is configured (or at the gateway, if its copy is the wrong one)";
const MEND_BODY: &str = "something changed the body: a proxy or middleware in front of smshook, or the way this copy was made \
     (an editor adds a line end); smshook has to get the bytes as the gateway sent them";
const MEND_GATEWAY: &str = "if every delivery is like that, the gateway signs otherwise than its file says: set that key in a \
     `[[gateway]]` of your own";
const MEND_ENCODING: &str = "set that `secret_encoding` at the endpoint";
const MEND_ALGORITHM: &str = "let the gateway sign with HMAC-SHA256";

fn remedy(change: Change) -> &'static str {
    match change {
        Change::SecretTrimmed
        | Change::SecretUnquoted
        | Change::SecretLineEnd
        | Change::SecretBlank
        | Change::SecretWithoutPrefix
        | Change::SecretWithPrefix => MEND_SECRET,
        Change::SecretUtf8 | Change::SecretWhsec | Change::SecretBase64 | Change::SecretHex => MEND_ENCODING,
        Change::BodyTrimmed
        | Change::BodyLineEnd
        | Change::BodyCrlf
        | Change::BodyLf
        | Change::BodyWithoutBom
        | Change::BodyCompact
        | Change::BodySlashes
        | Change::BodyEmpty => MEND_BODY,
        Change::Spelling | Change::ContentBody | Change::ContentBodyTimestamp | Change::ContentTimestampBody => {
            MEND_GATEWAY
        }
        Change::Sha1 | Change::Sha512 => MEND_ALGORITHM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_stands_in_a_request() {
        let (name, value) = header("X-MAC-Signature:  sha256=ab:cd ").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("x-mac-signature", "sha256=ab:cd")
        );
        assert!(header("no colon").is_err());
        assert!(header("bad name: x").is_err());
    }

    #[test]
    fn a_header_given_twice_stays_twice() {
        let twice = together(&[header("x-a: 1").unwrap(), header("X-A: 2").unwrap()]);
        assert_eq!(twice.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn each_piece_of_advice_is_given_once() {
        let changes = vec![Change::BodyTrimmed, Change::BodyLf, Change::SecretTrimmed];
        let findings = [
            Finding::WouldMatch {
                secret: "env A".to_owned(),
                changes,
            },
            Finding::EmptyBody,
        ];
        assert_eq!(hints(&findings).len(), 3);
        assert_eq!(
            hints(&[Finding::Verifies {
                secret: "env A".to_owned()
            }]),
            Vec::<&str>::new()
        );
    }
}
