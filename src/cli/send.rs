//! `smshook send`: posts a signed sample message to the running service, built and signed as the gateway does it.
//!
//! It goes the whole way round, over HTTP, so that it proves what a gateway would meet. It writes nothing itself.

use std::path::Path;

use chrono::Utc;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;
use uuid::Uuid;

use super::failure::Failure;
use super::{endpoint, output};
use crate::actions::local;
use crate::config::{Config, Endpoint};
use crate::gateway::Sample;
use crate::signature::{self, Keys, Outgoing};

/// What to send and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Text of the message
    #[arg(long)]
    text: String,
    /// Sender [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_SENDER, hide_default_value = true)]
    from: String,
    /// Recipient [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_RECIPIENT, hide_default_value = true)]
    to: String,
    /// Endpoint to send to [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Send here and not to the address that the configuration says
    #[arg(long)]
    url: Option<Url>,
    /// How often to send the very same delivery, as a gateway that retries would
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    copies: u32,
}

/// 555-0100 to 555-0199 belong to nobody (ATIS-0300115, numbers for fictional use).
pub(super) const FICTIONAL_SENDER: &str = "+12025550143";
/// See [`FICTIONAL_SENDER`].
pub(super) const FICTIONAL_RECIPIENT: &str = "+12025550100";

/// Prints one line per copy: the status and the answer. The answer is no unless every one was acknowledged.
pub(super) async fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let loaded = endpoint::load(config)?;
    let endpoint = endpoint::choose(&loaded.config, arguments.endpoint.as_deref())?;
    let outgoing = delivery(endpoint, arguments)?;
    let url = arguments
        .url
        .as_ref()
        .map_or_else(|| default_url(&loaded.config, endpoint), Url::to_string);
    let mut refused = None;
    for _ in 0..arguments.copies {
        let answer = local::post(&url, outgoing.headers.clone(), outgoing.body.clone())
            .await
            .map_err(|error| {
                Failure::hinted(
                    anyhow::Error::new(error).context(format!("sending to `{url}`")),
                    "is the service running? `smshook serve` starts it; `--url` sends elsewhere",
                )
            })?;
        output::print(format!("{} {}", answer.status.as_u16(), output::one_line(&answer.body, 500)).trim_end())?;
        if !answer.status.is_success() {
            refused = Some(answer.status);
        }
    }
    match refused {
        None => Ok(()),
        Some(status) => {
            output::note(&format!("\nhint: {}", advice(status)));
            Err(Failure::AnswerIsNo)
        }
    }
}

/// The request, the very same for every copy.
fn delivery(endpoint: &Endpoint, arguments: &Arguments) -> Result<Outgoing, Failure> {
    let now = Utc::now();
    let sample = Sample {
        from: &arguments.from,
        to: &arguments.to,
        text: &arguments.text,
        sent_at: now,
        now,
        id: Uuid::now_v7(),
    };
    let sent = endpoint.gateway.sample_delivery(&sample).ok_or_else(|| {
        Failure::hinted(
            anyhow::anyhow!("the gateway `{}` has no sample to send", endpoint.gateway.name),
            "add `sample` to its `[[gateway]]`",
        )
    })?;
    let mut outgoing = Outgoing {
        method: sent.method,
        url: endpoint.url.clone(),
        query: sent.query,
        headers: HeaderMap::new(),
        body: sent.body,
        at: now.timestamp_millis(),
    };
    if let Some(content_type) = sent.content_type {
        outgoing
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(signer) = endpoint.keys.as_ref().and_then(Keys::signer) {
        signature::sign(&endpoint.gateway.signature, &signer, &mut outgoing);
    }
    Ok(outgoing)
}

/// The listener itself and not the public URL: a sample should not have to leave the machine.
fn default_url(config: &Config, endpoint: &Endpoint) -> String {
    format!("http://{}{}", endpoint::reachable(config.server.listen), endpoint.path)
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the running service has another secret than this configuration; restart it, or run this with its `--config`"
        }
        StatusCode::NOT_FOUND => "the running service has another path than this configuration, or `--url` lacks it",
        StatusCode::SERVICE_UNAVAILABLE => "the service cannot store messages just now; its log says why",
        _ => "the service's log says why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};
    use crate::message::Item;
    use crate::signature::Received;

    #[test]
    fn what_is_sent_verifies_and_reads_back_as_the_message_meant() {
        let config = configured(TWO_ENDPOINTS);
        let main = endpoint::choose(&config, Some("main")).unwrap();
        let arguments = Arguments {
            text: "say \"hi\" {to}\n👍".to_owned(),
            from: FICTIONAL_SENDER.to_owned(),
            to: FICTIONAL_RECIPIENT.to_owned(),
            endpoint: None,
            url: None,
            copies: 1,
        };
        let sent = delivery(main, &arguments).unwrap();
        let keys = main.keys.as_ref().unwrap();
        let received = Received {
            method: &sent.method,
            url: &sent.url,
            query: None,
            headers: &sent.headers,
            body: &sent.body.clone().into(),
            at: sent.at,
        };
        let verified = signature::verify(&main.gateway.signature, keys, &received).unwrap();
        let items = main.gateway.parse(&verified, &main.reading);
        let [Item::Message(message)] = items.as_slice() else {
            panic!("{items:?}")
        };
        assert_eq!(message.text, arguments.text);
        assert_eq!(
            (message.sender.key(), message.recipient.key()),
            (FICTIONAL_SENDER, FICTIONAL_RECIPIENT)
        );
        assert_eq!(default_url(&config, main), "http://127.0.0.1:8080/hooks/sms");
    }

    #[test]
    fn each_usual_refusal_has_its_own_advice() {
        let statuses = [
            StatusCode::UNAUTHORIZED,
            StatusCode::NOT_FOUND,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GONE,
        ];
        let said: std::collections::BTreeSet<_> = statuses.into_iter().map(advice).collect();
        assert_eq!(said.len(), statuses.len());
    }
}
