//! Many texts at a steady rate, and what the receiver made of them: a look at how it fares, not a benchmark.
//!
//! A text's latency counts from the moment it was due, so that a receiver that falls behind cannot look quick by being asked
//! less often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::Utc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::deliver::{address, unreachable};
use super::delivery::Expected;
use super::target::Target;
use super::{Arguments, plan, texts};
use crate::actions::local::{Caller, LocalAnswer, LocalError};
use crate::cli::failure::Failure;
use crate::cli::output;

/// Texts at most.
pub(super) const MOST_TEXTS: u32 = 100_000;
/// Texts per second at most.
pub(super) const MOST_PER_SECOND: u32 = 5_000;
/// Requests in flight at once: more would only measure this machine's sockets.
const IN_FLIGHT: usize = 256;

/// What became of one text.
struct Done {
    answer: Result<LocalAnswer, LocalError>,
    latency: Duration,
}

/// Sends them and prints the summary; the answer is no unless every one went as it should.
pub(super) async fn run(target: &Target, arguments: &Arguments, texts: u32, rate: u32) -> Result<(), Failure> {
    let expected = plan::usual(target, arguments);
    let caller = Caller::new().context("preparing the client")?;
    let (begun, room) = (Instant::now(), Arc::new(Semaphore::new(IN_FLIGHT)));
    let mut summary = Summary::new(expected);
    let mut running = JoinSet::new();
    for nth in 0..texts {
        let due = begun + Duration::from_secs(1) * nth / rate;
        tokio::time::sleep_until(due).await;
        let permit = Arc::clone(&room).acquire_owned().await.context("waiting for room")?;
        let text = arguments.text.first().map(String::as_str).unwrap_or_default();
        let text = texts::of_a_burst(text, arguments.from.as_deref(), plan::to(arguments), nth + 1);
        let now = Utc::now();
        let outgoing = target.deliver(&text.at(now), plan::signed_at(target, arguments, now)?)?;
        let url = address(&target.url, &outgoing.query);
        let caller = caller.clone();
        running.spawn(async move {
            let answer = caller
                .send(outgoing.method, &url, outgoing.headers, outgoing.body)
                .await;
            drop(permit);
            let latency = due.elapsed();
            Done { answer, latency }
        });
        while let Some(done) = running.try_join_next() {
            summary.add(target, done.context("a delivery panicked")?);
        }
    }
    while let Some(done) = running.join_next().await {
        summary.add(target, done.context("a delivery panicked")?);
    }
    summary.print(target, begun.elapsed())
}

/// What became of all of them.
struct Summary {
    expected: Expected,
    /// How often each status came; 0 stands for none.
    statuses: BTreeMap<u16, u32>,
    latencies: Vec<Duration>,
    unexpected: u32,
    unanswered: Option<LocalError>,
}

impl Summary {
    const fn new(expected: Expected) -> Self {
        Self {
            expected,
            statuses: BTreeMap::new(),
            latencies: Vec::new(),
            unexpected: 0,
            unanswered: None,
        }
    }

    fn add(&mut self, target: &Target, done: Done) {
        match done.answer {
            Ok(answer) => {
                *self.statuses.entry(answer.status.as_u16()).or_default() += 1;
                self.latencies.push(done.latency);
                self.unexpected += u32::from(!self.expected.is_met(&target.gateway, &answer));
            }
            Err(error) => {
                *self.statuses.entry(0).or_default() += 1;
                self.unexpected += 1;
                self.unanswered = Some(error);
            }
        }
    }

    fn print(mut self, target: &Target, took: Duration) -> Result<(), Failure> {
        self.latencies.sort_unstable();
        let sent: u32 = self.statuses.values().sum();
        let name = |status: u16| match status {
            0 => "no answer".to_owned(),
            status => status.to_string(),
        };
        let mut lines = vec![("sent".to_owned(), format!("{sent} in {:.1} s", took.as_secs_f64()))];
        lines.extend(
            self.statuses
                .iter()
                .map(|(status, times)| (name(*status), times.to_string())),
        );
        lines.push(("latency".to_owned(), latencies(&self.latencies)));
        let lines: Vec<(&str, String)> = lines
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        output::print(&output::facts(&lines))?;
        if let Some(error) = self.unanswered {
            return Err(unreachable(&target.url, error));
        }
        if self.unexpected > 0 {
            output::note(&format!("expected: {}, every time", self.expected.words()));
            return Err(Failure::AnswerIsNo);
        }
        Ok(())
    }
}

/// `p50 1.2 ms, p99 4.0 ms, longest 9.8 ms`; empty where nothing was answered.
fn latencies(sorted: &[Duration]) -> String {
    let shown = |latency: Option<&Duration>| latency.map(|latency| format!("{:.1} ms", latency.as_secs_f64() * 1e3));
    match (
        shown(percentile(sorted, 50)),
        shown(percentile(sorted, 99)),
        shown(sorted.last()),
    ) {
        (Some(half), Some(most), Some(longest)) => format!("p50 {half}, p99 {most}, longest {longest}"),
        _ => String::new(),
    }
}

/// The smallest one that so many per cent do not exceed (the nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Option<&Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_latencies() {
        let latencies: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&latencies, 50), Some(&Duration::from_millis(100)));
        assert_eq!(percentile(&latencies, 99), Some(&Duration::from_millis(198)));
        assert_eq!(percentile(&latencies[..1], 99), Some(&Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(
            super::latencies(&latencies[..2]),
            "p50 1.0 ms, p99 2.0 ms, longest 2.0 ms"
        );
        assert_eq!(super::latencies(&[]), "");
    }
}
