//! `smshook verify`: whether a captured delivery verifies, with which secret, and if not, why not.
//!
//! Offline: the answer comes from the configuration and what was captured. It names secrets by where they come from and never
//! shows one, nor a digest that would be right.

mod advice;
mod captured;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Method};

use super::failure::Failure;
use super::{endpoint, output};
use crate::http::other_secrets;
use crate::signature::diagnosis::{Case, Finding, diagnose};
use crate::signature::{Keys, Received};
use captured::Captured;

/// What to verify.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Endpoint that received the delivery [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The whole request as it was received, head and body; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["headers", "body", "method"])]
    request: Option<PathBuf>,
    /// Header of the delivery as it was received; repeat for each
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header, required_unless_present_any = ["request", "url"])]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// File with the body, byte for byte as it was received; `-` reads standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["request", "method", "url"])]
    body: Option<PathBuf>,
    /// Method of the request [default: POST]
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// URL that the gateway called, with its query [default: the endpoint's `public_url`]
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<String>,
    /// When it was received: RFC 3339, or seconds of Unix time [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<DateTime<Utc>>,
}

/// Bytes hashed at most.
const BUDGET: u64 = 64 * 1024 * 1024;

/// Prints what was found; the answer is no unless the delivery verifies.
pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = endpoint::load(config)?;
    let endpoint = endpoint::choose(&loaded.config, arguments.endpoint.as_deref())?;
    let Some(keys) = &endpoint.keys else {
        return output::print("this endpoint has no secret: there is nothing to verify with");
    };
    let captured = capture(arguments)?;
    let called = arguments.url.as_deref().map(|url| {
        url.split_once('?')
            .map_or((url, None), |(url, query)| (url, Some(query)))
    });
    let (url, query) = match called {
        Some((url, query)) => (url, query.or(captured.query.as_deref())),
        None => (endpoint.url.as_str(), captured.query.as_deref()),
    };
    let received = Received {
        method: &captured.method,
        url,
        query,
        headers: &captured.headers,
        body: &captured.body,
        at: arguments.at.unwrap_or_else(Utc::now).timestamp_millis(),
    };
    let others = other_secrets(&loaded.config, endpoint);
    let others: Vec<(&str, &Keys)> = others.iter().map(|(owner, keys)| (owner.as_str(), *keys)).collect();
    let findings = diagnose(&Case {
        scheme: &endpoint.gateway.signature,
        keys,
        others: &others,
        received,
        budget: BUDGET,
    });
    for finding in &findings {
        output::print(&finding.to_string())?;
    }
    for hint in advice::hints(&findings) {
        output::note(&format!("\nhint: {hint}"));
    }
    let verifies = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Verifies { .. }));
    if verifies { Ok(()) } else { Err(Failure::AnswerIsNo) }
}

fn capture(arguments: &Arguments) -> Result<Captured, Failure> {
    if let Some(file) = &arguments.request {
        let bytes = read(file, "the request")?;
        return captured::parse(&bytes).map_err(|problem| {
            let hint =
                "it begins with a line such as `POST /hooks/sms HTTP/1.1`, then the headers, a blank line and the body";
            Failure::hinted(
                anyhow::anyhow!("`{}` is not an HTTP request: {problem}", file.display()),
                hint,
            )
        });
    }
    let method = arguments.method.clone().unwrap_or(Method::POST);
    let body = match &arguments.body {
        Some(file) => read(file, "the body")?,
        None if method == Method::GET => Vec::new(),
        None => {
            let hint = "add `--body FILE`, byte for byte as it was received, or `--method GET`";
            return Err(Failure::usage(
                format!("what was the body of the {method} request?"),
                hint,
            ));
        }
    };
    Ok(Captured {
        method,
        query: None,
        headers: captured::together(&arguments.headers),
        body: body.into(),
    })
}

/// Reads `Name: value` as it stands in a request.
fn header(typed: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = typed.split_once(':').ok_or("write it as `Name: value`")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// A URL as it was called: what is signed is its text, which must not be written anew.
fn url(typed: &str) -> Result<String, String> {
    let parsed = url::Url::parse(typed).map_err(|error| error.to_string())?;
    let is_http = matches!(parsed.scheme(), "http" | "https");
    is_http
        .then(|| typed.to_owned())
        .ok_or_else(|| "write it with http:// or https://".to_owned())
}

fn time(typed: &str) -> Result<DateTime<Utc>, String> {
    let unix = typed
        .parse()
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    unix.or_else(|| DateTime::parse_from_rfc3339(typed).ok().map(|time| time.to_utc()))
        .ok_or_else(|| "write it as 2026-06-12T14:32:00Z, or as seconds of Unix time".to_owned())
}

fn read(file: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .with_context(|| format!("reading {what} from standard input"))?;
        return Ok(bytes);
    }
    let bytes = std::fs::read(file).with_context(|| format!("reading {what} from `{}`", file.display()))?;
    Ok(bytes)
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
    fn a_time_is_a_date_or_seconds_and_a_url_is_kept_as_it_is() {
        assert_eq!(time("1781274720").unwrap(), time("2026-06-12T14:32:00Z").unwrap());
        assert!(time("yesterday").is_err());
        assert_eq!(
            url("https://A.example:443/x/?b=%41").unwrap(),
            "https://A.example:443/x/?b=%41"
        );
        assert!(url("hooks/sms").is_err() && url("ftp://a.example").is_err());
    }
}
