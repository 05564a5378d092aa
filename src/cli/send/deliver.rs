//! Sends what was planned, one after the other, and says of each answer whether it is what should have come.

use anyhow::Context as _;
use http::StatusCode;

use super::delivery::{Delivery, Expected};
use super::target::Target;
use crate::actions::local::{Caller, LocalError};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::gateway::Ack;

/// Prints the status and the answer of each, on one line. The answer is no unless every one is what was expected.
pub(super) async fn run(target: &Target, deliveries: Vec<Delivery>) -> Result<(), Failure> {
    let caller = Caller::new().context("preparing the client")?;
    let mut wrong = None;
    let mut unheard = false;
    for Delivery { outgoing, expected } in deliveries {
        let url = address(&target.url, &outgoing.query);
        let sent = caller
            .send(outgoing.method, &url, outgoing.headers, outgoing.body)
            .await;
        let answer = sent.map_err(|error| unreachable(&target.url, error))?;
        output::print(format!("{} {}", answer.status.as_u16(), output::one_line(&answer.body, 500)).trim_end())?;
        if !expected.is_met(&target.gateway, &answer) {
            wrong.get_or_insert((expected, answer.status));
        }
        let wants_words = matches!(expected, Expected::Stored | Expected::Duplicate);
        unheard |= wants_words && answer.status.is_success() && says_nothing(&target.gateway.ack);
    }
    if unheard {
        output::note(&format!(
            "note: the gateway `{}` is answered in its own words, which do not say whether a text came before; \
             `smshook messages show ID` has its `duplicates`",
            target.gateway.name
        ));
    }
    match wrong {
        None => Ok(()),
        Some((expected, status)) => {
            output::note(&format!("expected: {}", expected.words()));
            output::note(&format!("\nhint: {}", advice(expected, status)));
            Err(Failure::AnswerIsNo)
        }
    }
}

/// Whether the gateway gets words of its own, or none.
fn says_nothing(ack: &Ack) -> bool {
    ack.body.is_some() || matches!(ack.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
}

/// A URL with its query, as it is called.
pub(in crate::cli) fn address(url: &str, query: &str) -> String {
    if query.is_empty() {
        url.to_owned()
    } else {
        format!("{url}?{query}")
    }
}

/// Nobody answered at this URL.
pub(super) fn unreachable(url: &str, error: LocalError) -> Failure {
    Failure::hinted(
        anyhow::Error::new(error).context(format!("sending to `{url}`")),
        "is the service running? `smshook serve` starts it; `--url` sends elsewhere",
    )
}

pub(super) fn advice(expected: Expected, status: StatusCode) -> &'static str {
    match (expected, status) {
        (Expected::Refused, status) if status.is_success() => {
            "the receiver takes what it should not: does it look at signatures, and at their time?"
        }
        (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            "the running service has another secret than this configuration; restart it, or run this with its `--config`"
        }
        (_, StatusCode::NOT_FOUND) => {
            "the running service has another path than this configuration, or `--url` lacks it"
        }
        (_, StatusCode::METHOD_NOT_ALLOWED) => "the running service does not take this method at that path",
        (_, StatusCode::SERVICE_UNAVAILABLE) => "the service cannot store messages just now; its log says why",
        (Expected::Duplicate, status) if status.is_success() => {
            "the receiver takes the same delivery for two texts: whatever follows from it happens twice"
        }
        (Expected::Stored, status) if status.is_success() => {
            "the receiver takes two texts for one: the second is lost when a gateway uses an ID twice"
        }
        _ => "the service's log says why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_usual_refusal_has_its_own_advice() {
        let cases = [
            (Expected::Taken, StatusCode::UNAUTHORIZED),
            (Expected::Taken, StatusCode::NOT_FOUND),
            (Expected::Taken, StatusCode::METHOD_NOT_ALLOWED),
            (Expected::Taken, StatusCode::SERVICE_UNAVAILABLE),
            (Expected::Taken, StatusCode::GONE),
            (Expected::Refused, StatusCode::OK),
            (Expected::Duplicate, StatusCode::OK),
            (Expected::Stored, StatusCode::OK),
        ];
        let said: std::collections::BTreeSet<_> =
            cases.into_iter().map(|(what, status)| advice(what, status)).collect();
        assert_eq!(said.len(), cases.len());
    }

    #[test]
    fn a_query_is_added_only_if_there_is_one() {
        assert_eq!(address("http://a/b", ""), "http://a/b");
        assert_eq!(address("http://a/b", "x=1"), "http://a/b?x=1");
    }
}
