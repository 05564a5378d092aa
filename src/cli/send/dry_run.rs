//! What would be sent, for a person or for another program, which may check the signature with the vendor's own library.
//!
//! It must not send anything. What a gateway sends as its proof is shown as it would go over the wire: with a gateway whose
//! proof is the secret itself (HTTP Basic, a token), that is the secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::deliver::address;
use super::delivery::Delivery;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::signature::Outgoing;

/// Prints each delivery: as one line of JSON, or as the request it is.
pub(super) fn run(deliveries: &[Delivery], as_json: bool) -> Result<(), Failure> {
    for Delivery { outgoing, .. } in deliveries {
        output::print(&if as_json {
            data(outgoing).to_string()
        } else {
            request(outgoing)
        })?;
    }
    Ok(())
}

/// `method`, `url` (as the gateway knows it, no query), `query` (null for none), `headers`, `body` or `body_base64`, and
/// `at`, when it was signed, in seconds of Unix time.
fn data(outgoing: &Outgoing) -> Value {
    let mut data = json!({
        "method": outgoing.method.as_str(),
        "url": outgoing.url,
        "query": (!outgoing.query.is_empty()).then_some(&outgoing.query),
        "headers": headers(&outgoing.headers).map(|(name, value)| (name, Value::from(value))).collect::<Map<_, _>>(),
        "at": outgoing.at.div_euclid(1000),
    });
    let (key, body) = match std::str::from_utf8(&outgoing.body) {
        Ok(body) => ("body", body.to_owned()),
        Err(_) => ("body_base64", STANDARD.encode(&outgoing.body)),
    };
    if let Some(members) = data.as_object_mut() {
        members.insert(key.to_owned(), body.into());
    }
    data
}

fn request(outgoing: &Outgoing) -> String {
    let mut lines = vec![format!(
        "{} {}",
        outgoing.method,
        address(&outgoing.url, &outgoing.query)
    )];
    lines.extend(headers(&outgoing.headers).map(|(name, value)| format!("{name}: {value}")));
    lines.push(String::new());
    lines.push(String::from_utf8_lossy(&outgoing.body).into_owned());
    output::indented(&lines.join("\n"), "") + "\n"
}

/// A gateway sends each of its headers once.
fn headers(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(move |(name, value)| (name.to_string(), text(value)))
}
