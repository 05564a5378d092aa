//! The numbers an operator watches, in Prometheus' text format.
//!
//! It must never carry a phone number, a text or a message ID in a label: labels come from the configuration or from
//! closed sets only.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Labels of a request: which endpoint, what became of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EndpointOutcome {
    /// Name of the configured endpoint.
    pub endpoint: String,
    /// Of a request: `stored`, `duplicate`, `event`, `quarantined`, `self_test`, `refused`, `too_large`, `timeout`, `broken`,
    /// `abandoned`, `not_found`, `method_not_allowed`, `unavailable`, `bug`. Of a refused delivery: `kept`, `too_large`,
    /// `dropped`, `failed`.
    pub outcome: &'static str,
}

/// Label of an endpoint alone.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EndpointLabel {
    /// Name of the configured endpoint.
    pub endpoint: String,
}

/// Labels of an attempt: which action, how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ActionOutcome {
    /// Name of the configured action.
    pub action: String,
    /// done, retry, snooze, discard, cancel, release, lost.
    pub outcome: &'static str,
}

/// Labels of the queue's depth.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ActionState {
    /// Name of the action.
    pub action: String,
    /// waiting, available, running, discarded.
    pub state: String,
}

/// Label of an action alone.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ActionLabel {
    /// Name of the action.
    pub action: String,
}

/// Label of a loop guard.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct GuardLabel {
    /// rate, `same_reply`, `same_text`, `own_number`.
    pub guard: &'static str,
}

/// Counts by guard.
pub type GuardCounts = Family<GuardLabel, Counter>;

/// Labels of an attempt to tell a webhook of a change of consent.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct NoticeOutcome {
    /// Name of the configured webhook.
    pub webhook: String,
    /// delivered, retry, discarded, release, lost.
    pub outcome: &'static str,
}

/// Label of a webhook alone.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct WebhookLabel {
    /// Name of the configured webhook.
    pub webhook: String,
}

/// Every metric, made once per process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests by endpoint and outcome.
    pub requests: Family<EndpointOutcome, Counter>,
    /// Deliveries that did not verify and were taken, by an endpoint that only observes.
    pub unverified: Family<EndpointLabel, Counter>,
    /// Refused deliveries that were to be kept, by endpoint and what became of them.
    pub refused_kept: Family<EndpointOutcome, Counter>,
    /// Seconds from a verified body to its commit.
    pub accept_seconds: Histogram,
    /// Deliveries per committed transaction.
    pub batch_size: Histogram,
    /// Messages that share a gateway's message ID with another text.
    pub id_collisions: Family<EndpointLabel, Counter>,
    /// Attempts by action and outcome.
    pub attempts: Family<ActionOutcome, Counter>,
    /// Jobs by action and state, read at the moment of the scrape.
    pub jobs: Family<ActionState, Gauge>,
    /// Age in seconds of the oldest job that is due, by action.
    pub oldest_due_seconds: Family<ActionLabel, Gauge>,
    /// Lanes with a job waiting behind another.
    pub blocked_lanes: Gauge,
    /// Deliveries in quarantine.
    pub quarantined: Gauge,
    /// Opt-outs in force.
    pub suppressions: Gauge,
    /// Conversations in which the loop guard holds texts back.
    pub loop_guard_active: Gauge,
    /// Texts that the loop guard held back, by guard.
    pub loop_guard_withheld: GuardCounts,
    /// 1 for each action that is paused because its credentials are refused; somebody has to mend them.
    pub action_paused: Family<ActionLabel, Gauge>,
    /// Attempts to tell webhooks of changes of consent, by webhook and outcome.
    pub notices: Family<NoticeOutcome, Counter>,
    /// Changes of consent that a webhook still has to be told.
    pub notices_waiting: Family<WebhookLabel, Gauge>,
    /// Whether the database answered this scrape (1); with 0, the gauges that it fills are those of an earlier one.
    pub database_up: Gauge,
    /// Whether the worker's LISTEN connection is up (1) or polling alone finds work (0).
    pub listening: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("smshook"),
            requests: Family::default(),
            unverified: Family::default(),
            refused_kept: Family::default(),
            accept_seconds: Histogram::new(SECONDS),
            batch_size: Histogram::new(SIZES),
            id_collisions: Family::default(),
            attempts: Family::default(),
            jobs: Family::default(),
            oldest_due_seconds: Family::default(),
            blocked_lanes: Gauge::default(),
            quarantined: Gauge::default(),
            suppressions: Gauge::default(),
            loop_guard_active: Gauge::default(),
            loop_guard_withheld: GuardCounts::default(),
            action_paused: Family::default(),
            notices: Family::default(),
            notices_waiting: Family::default(),
            database_up: Gauge::default(),
            listening: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "requests",
            "Webhook requests by endpoint and outcome",
            self.requests.clone(),
        );
        r.register(
            "unverified",
            "Deliveries that did not verify and were taken, by endpoints that only observe",
            self.unverified.clone(),
        );
        r.register(
            "refused_kept",
            "Refused deliveries that were to be kept: kept, too_large, dropped (too many at once) or failed",
            self.refused_kept.clone(),
        );
        r.register(
            "accept_seconds",
            "Seconds from verified to committed",
            self.accept_seconds.clone(),
        );
        r.register(
            "batch_size",
            "Deliveries per committed transaction",
            self.batch_size.clone(),
        );
        r.register(
            "id_collisions",
            "Texts that share a gateway's message ID with another",
            self.id_collisions.clone(),
        );
        r.register("attempts", "Attempts by action and outcome", self.attempts.clone());
        r.register("jobs", "Jobs by action and state", self.jobs.clone());
        r.register(
            "oldest_due_seconds",
            "Age of the oldest due job by action",
            self.oldest_due_seconds.clone(),
        );
        r.register(
            "blocked_lanes",
            "Lanes with a job waiting behind another",
            self.blocked_lanes.clone(),
        );
        r.register("quarantined", "Deliveries in quarantine", self.quarantined.clone());
        r.register("suppressions", "Opt-outs in force", self.suppressions.clone());
        r.register(
            "loop_guard_active",
            "Conversations in which the loop guard holds texts back",
            self.loop_guard_active.clone(),
        );
        r.register(
            "loop_guard_withheld",
            "Texts that the loop guard held back: rate, same_reply, same_text, own_number",
            self.loop_guard_withheld.clone(),
        );
        r.register(
            "action_paused",
            "Actions that are paused because their credentials are refused",
            self.action_paused.clone(),
        );
        r.register(
            "notices",
            "Attempts to tell webhooks of changes of consent",
            self.notices.clone(),
        );
        r.register(
            "notices_waiting",
            "Changes of consent that a webhook still has to be told",
            self.notices_waiting.clone(),
        );
        r.register(
            "database_up",
            "Whether the database answered this scrape",
            self.database_up.clone(),
        );
        r.register(
            "listening",
            "Whether the worker's LISTEN connection is up",
            self.listening.clone(),
        );
    }

    /// Counts one request.
    pub fn request(&self, endpoint: &str, outcome: &'static str) {
        self.requests
            .get_or_create(&EndpointOutcome {
                endpoint: endpoint.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Counts one delivery that did not verify and was taken.
    pub fn unverified(&self, endpoint: &str) {
        let label = EndpointLabel {
            endpoint: endpoint.to_owned(),
        };
        self.unverified.get_or_create(&label).inc();
    }

    /// Counts what became of one refused delivery that was to be kept.
    pub fn refused_kept(&self, endpoint: &str, outcome: &'static str) {
        self.refused_kept
            .get_or_create(&EndpointOutcome {
                endpoint: endpoint.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Counts one attempt.
    pub fn attempt(&self, action: &str, outcome: &'static str) {
        self.attempts
            .get_or_create(&ActionOutcome {
                action: action.to_owned(),
                outcome,
            })
            .inc();
    }

    /// Counts one attempt to tell a webhook of a change of consent.
    pub fn notice(&self, webhook: &str, outcome: &'static str) {
        self.notices
            .get_or_create(&NoticeOutcome {
                webhook: webhook.to_owned(),
                outcome,
            })
            .inc();
    }

    /// The text that Prometheus scrapes (`OpenMetrics` 1.0).
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

const SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 1.5];
const SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0];
