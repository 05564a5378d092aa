//! `smshook rules test`: what a text would cause, and why. Nothing is sent, and no database is asked.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::failure::Failure;
use super::send::{FICTIONAL_RECIPIENT, FICTIONAL_SENDER};
use super::{endpoint, output, trial};
use crate::actions::{Actions, context};
use crate::config::{Endpoint, Texts};
use crate::job::{Job, JobKind};
use crate::message::InboundMessage;
use crate::rules::{self, Explanation, LeftOutJob, Plan, PlannedJob, TriedRule, Verdict};
use crate::store::Store;

/// The message to try out.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Text of the message
    text: String,
    /// Sender [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_SENDER, hide_default_value = true)]
    from: String,
    /// Recipient [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_RECIPIENT, hide_default_value = true)]
    to: String,
    /// Endpoint that receives it [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the explanation. Needs to run within the runtime, which the HTTP clients and the (never opened) database ask for.
pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let config = Arc::new(endpoint::load(config)?.config);
    let endpoint = endpoint::choose(&config, arguments.endpoint.as_deref())?;
    let message = trial::message(endpoint, &arguments.from, &arguments.to, &arguments.text);
    let explanation = rules::explain(&config.rulebook, &endpoint.policy, &message);
    let actions = Actions::new(Arc::clone(&config), nowhere()?).context("preparing the actions")?;
    let report = Report::new(
        &Previewer {
            actions: &actions,
            endpoint,
            message: &message,
        },
        &explanation,
    );
    if arguments.json {
        return output::print_json(&report);
    }
    output::print(&report.text())?;
    if explanation.plan.jobs.iter().any(|job| job.sends) {
        output::note(
            "\nnote: whether the sender has opted out is only known to the database, at the moment of sending",
        );
    }
    Ok(())
}

/// A handle that is never used: previewing asks no database, and connections are only opened when first needed.
pub(super) fn nowhere() -> Result<Store, Failure> {
    let url = "postgres://localhost".parse().context("preparing the actions")?;
    Ok(Store::new(url, 1))
}

/// What is printed, as data.
#[derive(Debug, Serialize)]
struct Report {
    endpoint: String,
    sender: String,
    sender_kind: &'static str,
    consent: Option<Value>,
    rule: Option<String>,
    rules: Vec<ReportedRule>,
    jobs: Vec<ReportedJob>,
    left_out: Vec<ReportedLeftOut>,
}

#[derive(Debug, Serialize)]
struct ReportedRule {
    rule: String,
    matched: bool,
    looks_for: String,
    why: &'static str,
}

#[derive(Debug, Serialize)]
struct ReportedJob {
    action: String,
    kind: &'static str,
    rule: Option<String>,
    /// Why it runs, if not for a rule.
    because: Option<&'static str>,
    sends: bool,
    captures: Value,
    preview: Value,
}

#[derive(Debug, Serialize)]
struct ReportedLeftOut {
    action: String,
    rule: Option<String>,
    why: &'static str,
}

impl Report {
    fn new(previewer: &Previewer<'_>, explanation: &Explanation) -> Self {
        let (plan, message) = (&explanation.plan, previewer.message);
        Self {
            endpoint: previewer.endpoint.name.clone(),
            sender: message.sender.key().to_owned(),
            sender_kind: message.sender.kind().as_str(),
            consent: plan.consent.as_ref().map(|decision| {
                json!({ "event": decision.event.as_str(), "tier": decision.tier, "keyword": decision.keyword })
            }),
            rule: plan.rule.clone(),
            rules: explanation.rules.iter().map(ReportedRule::new).collect(),
            jobs: plan.jobs.iter().map(|job| ReportedJob::new(previewer, plan, job)).collect(),
            left_out: explanation.left_out.iter().map(ReportedLeftOut::new).collect(),
        }
    }

    fn text(&self) -> String {
        let mut parts = vec![self.head()];
        if !self.rules.is_empty() {
            let rows: Vec<_> = self.rules.iter().map(ReportedRule::row).collect();
            parts.push(output::table(["rule", "looks for", "result"], &rows));
        }
        let jobs = self.jobs.iter().map(ReportedJob::text);
        let left_out = self.left_out.iter().map(ReportedLeftOut::text);
        let effects: Vec<String> = jobs.chain(left_out).collect();
        parts.push(if effects.is_empty() {
            "nothing would happen".to_owned()
        } else {
            effects.join("\n")
        });
        parts.join("\n\n")
    }

    fn head(&self) -> String {
        let consent = match &self.consent {
            None => "says nothing about consent".to_owned(),
            Some(decision) => format!(
                "{}, tier {}, keyword `{}`",
                decision
                    .pointer("/event")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .replace('_', "-"),
                decision.pointer("/tier").unwrap_or(&Value::Null),
                decision.pointer("/keyword").and_then(Value::as_str).unwrap_or_default(),
            ),
        };
        output::facts(&[
            ("endpoint", self.endpoint.clone()),
            ("sender", format!("{} ({})", self.sender, self.sender_kind)),
            ("consent", consent),
            ("rule", self.rule.clone().unwrap_or_else(|| "none matched".to_owned())),
        ])
    }
}

impl ReportedRule {
    fn new(tried: &TriedRule) -> Self {
        let matched = tried.verdict == Verdict::Matched;
        Self {
            rule: tried.rule.clone(),
            matched,
            looks_for: tried.looks_for.clone(),
            why: verdict(tried.verdict),
        }
    }

    fn row(&self) -> [String; 3] {
        [
            output::one_line(&self.rule, 40),
            output::one_line(&self.looks_for, 60),
            self.why.to_owned(),
        ]
    }
}

impl ReportedJob {
    fn new(previewer: &Previewer<'_>, plan: &Plan, job: &PlannedJob) -> Self {
        Self {
            action: job.action.clone(),
            kind: job.kind.as_str(),
            rule: job.rule.clone(),
            because: job.because(plan.consent.as_ref()),
            sends: job.sends,
            captures: job.captures.clone(),
            preview: previewer.preview(job),
        }
    }

    fn text(&self) -> String {
        let by = match (&self.rule, self.because) {
            (Some(rule), _) => format!(" of rule `{rule}`"),
            (None, Some(because)) => format!(" because {because}"),
            (None, None) => String::new(),
        };
        let sends = if self.sends { ", sends to the sender" } else { "" };
        format!(
            "would run `{}`{by}{sends}\n{}",
            self.action,
            output::indented(&shown(&self.preview), "    ")
        )
    }
}

impl ReportedLeftOut {
    fn new(left: &LeftOutJob) -> Self {
        Self {
            action: left.action.clone(),
            rule: left.rule.clone(),
            why: left.reason.why(),
        }
    }

    fn text(&self) -> String {
        let by = self
            .rule
            .as_ref()
            .map(|rule| format!(" of rule `{rule}`"))
            .unwrap_or_default();
        format!("would leave out `{}`{by}: {}", self.action, self.why)
    }
}

/// Shows what a planned job would do.
pub(super) struct Previewer<'a> {
    pub(super) actions: &'a Actions,
    pub(super) endpoint: &'a Endpoint,
    pub(super) message: &'a InboundMessage,
}

impl Previewer<'_> {
    pub(super) fn preview(&self, planned: &PlannedJob) -> Value {
        let now = Utc::now();
        let job = self.job(planned, now);
        let language = job.message.consent_language.as_deref();
        let text = |texts: &Option<Texts>| Some(texts.as_ref()?.for_language(language).render(&context(&job, now)));
        let compliance = |texts: &Option<Texts>| match text(texts) {
            Some(Ok(text)) => json!({ "to": job.message.sender, "text": text }),
            Some(Err(error)) => json!({ "problem": error.to_string() }),
            None => json!({ "problem": "the endpoint has no text for this" }),
        };
        match planned.kind {
            JobKind::OptOutConfirmation => compliance(&self.endpoint.opt_out_text),
            JobKind::OptInConfirmation => compliance(&self.endpoint.opt_in_text),
            JobKind::HelpReply => compliance(&self.endpoint.help_text),
            JobKind::Action => match self.actions.preview(&planned.action, &job, now) {
                Ok(preview) => without_secrets(preview),
                Err(error) => json!({ "problem": error.to_string() }),
            },
        }
    }

    /// The job as it would be claimed for the first time.
    fn job(&self, planned: &PlannedJob, now: DateTime<Utc>) -> Job {
        Job {
            kind: planned.kind,
            rule: planned.rule.clone(),
            captures: planned.captures.clone(),
            ..trial::job(self.endpoint, self.message, &planned.action, Uuid::nil(), now)
        }
    }
}

/// Words in the names of headers whose values are nobody else's business. (Not `key` alone: that is in `idempotency-key`.)
const SECRET_HEADERS: [&str; 8] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
    "auth-key",
];

/// A secret that the operator wrote into the configuration as plain text is none to the previewed action. What tells it
/// is the header's name; the report may be shown to others, as the configuration then may not.
pub(super) fn without_secrets(mut preview: Value) -> Value {
    let several = preview.pointer_mut("/requests").and_then(Value::as_array_mut);
    for request in several.into_iter().flatten() {
        hide_secret_headers(request);
    }
    hide_secret_headers(&mut preview);
    preview
}

fn hide_secret_headers(preview: &mut Value) {
    let headers = preview.pointer_mut("/request/headers").and_then(Value::as_object_mut);
    for (name, value) in headers.into_iter().flatten() {
        let is_starred = value.as_str().is_some_and(|value| value.ends_with("***"));
        if !is_starred && SECRET_HEADERS.iter().any(|word| name.to_lowercase().contains(word)) {
            *value = json!("***");
        }
    }
}

/// A preview for a person: what is sent first, then the request that carries it; of a connector each request that it may
/// make.
pub(super) fn shown(preview: &Value) -> String {
    let text = |pointer: &str| preview.pointer(pointer).and_then(Value::as_str);
    let mut lines: Vec<String> = Vec::new();
    lines.extend(text("/problem").map(|problem| format!("cannot run: {problem}")));
    lines.extend(text("/assumes").map(|assumes| format!("if {assumes}:")));
    let requests = preview.pointer("/requests").and_then(Value::as_array);
    for request in requests.into_iter().flatten() {
        let operation = request.pointer("/operation").and_then(Value::as_str);
        lines.push(format!("{}:", operation.unwrap_or_default()));
        lines.push(output::indented(&shown(request), "    "));
    }
    if let Some(mail) = preview.pointer("/mail") {
        lines.extend(mail_lines(mail));
    }
    lines.extend(text("/text").map(str::to_owned));
    lines.extend(text("/line").map(|line| format!("records: {line}")));
    if let (Some(method), Some(url)) = (text("/request/method"), text("/request/url")) {
        lines.push(format!("{method} {url}"));
    }
    let headers = preview.pointer("/request/headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        lines.push(format!("{name}: {}", value.as_str().unwrap_or_default()));
    }
    match preview.pointer("/request/body") {
        None | Some(Value::Null) => {}
        Some(Value::String(body)) => lines.push(body.clone()),
        Some(body) => lines.push(serde_json::to_string_pretty(body).unwrap_or_default()),
    }
    lines.join("\n")
}

/// A mail as its reader sees it.
fn mail_lines(mail: &Value) -> Vec<String> {
    let text = |name: &str| mail.get(name).and_then(Value::as_str).unwrap_or_default();
    let to = mail.get("to").and_then(Value::as_array).into_iter().flatten();
    let to: Vec<&str> = to.filter_map(Value::as_str).collect();
    vec![
        format!("a mail through {} ({})", text("server"), text("tls")),
        format!("From: {}", text("from")),
        format!("To: {}", to.join(", ")),
        format!("Subject: {}", text("subject")),
        String::new(),
        text("text").to_owned(),
    ]
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Matched => "matched",
        Verdict::OtherEndpoint => "is for other endpoints",
        Verdict::OtherSender => "is for other senders",
        Verdict::OtherText => "the text does not match",
        Verdict::NotReached => "not tried: an earlier rule matched",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};

    fn report(text: &str, endpoint: &str) -> Report {
        report_of(TWO_ENDPOINTS, text, endpoint)
    }

    fn report_of(toml: &str, text: &str, endpoint: &str) -> Report {
        let config = Arc::new(configured(toml));
        let endpoint = endpoint::choose(&config, Some(endpoint)).unwrap();
        let arguments = Arguments {
            text: text.to_owned(),
            from: FICTIONAL_SENDER.to_owned(),
            to: FICTIONAL_RECIPIENT.to_owned(),
            endpoint: None,
            json: false,
        };
        let message = trial::message(endpoint, &arguments.from, &arguments.to, &arguments.text);
        let explanation = rules::explain(&config.rulebook, &endpoint.policy, &message);
        let actions = Actions::new(Arc::clone(&config), nowhere().unwrap()).unwrap();
        Report::new(
            &Previewer {
                actions: &actions,
                endpoint,
                message: &message,
            },
            &explanation,
        )
    }

    #[tokio::test]
    async fn a_report_says_which_rule_and_why_and_shows_what_would_go_out_without_its_secrets() {
        let text = report("code 42", "main").text();
        for line in [
            "rule      code",
            "code  regex `code (?<code>\\d+)`  matched",
            "rest  any text                   not tried: an earlier rule matched",
            "would run `crm` of rule `code`",
            "    POST https://crm.example.com/sms",
            "      \"code\": \"42\"",
            "would run `hours` of rule `code`, sends to the sender",
            "    We are open. You asked: code 42",
            "    authorization: Bearer ***",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n\n{text}");
        }
        assert!(!text.contains("reply-token"));
    }

    #[tokio::test]
    async fn an_opt_out_is_shown_with_its_evidence_its_confirmation_and_the_reply_it_prevents() {
        let text = report("stop", "main").text();
        assert!(text.contains("consent   opt-out, tier 1, keyword `stop`"), "{text}");
        assert!(text.contains("would run `opt_out_confirmation`, sends to the sender\n    You have been unsubscribed"));
        assert!(text.contains("would leave out `hours` of rule `rest`: the sender opts out with this message"));
    }

    #[tokio::test]
    async fn the_answer_is_shown_in_its_language_and_what_follows_the_opt_out_with_the_reason() {
        let consent = "reply = { token = \"reply-token\" }\n\
                       consent = { brand = \"Acme\", on_opt_out = [\"crm\"] }";
        let toml = TWO_ENDPOINTS.replacen("reply = { token = \"reply-token\" }", consent, 1);
        let toml = toml.replace("{{ m.code }}", "{{ message.consent.event }}");
        let report = report_of(&toml, "Arrêt", "main");
        let text = report.text();
        for line in [
            "    Acme: Votre désinscription est enregistrée. Vous ne recevrez plus de messages de notre part. \
             Répondez START pour vous réinscrire.",
            "would run `crm` because the message opts out",
            "      \"code\": \"opt_out\"",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n\n{text}");
        }
        assert_eq!(report.jobs[1].because, Some("the message opts out"));
        assert_eq!(report.jobs[0].because, None);
    }

    #[tokio::test]
    async fn an_endpoint_without_an_account_says_that_it_cannot_reply() {
        let report = report("hello", "other");
        assert!(report.jobs.is_empty());
        assert!(
            report
                .text()
                .contains("would leave out `hours` of rule `rest`: the endpoint cannot reply as configured")
        );
    }
}
