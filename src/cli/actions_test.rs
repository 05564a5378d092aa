//! `smshook actions test`: runs one action for real, after asking, and shows each request and each answer.
//!
//! It never writes into the queue, and neither uses nor keeps what connectors remember of a sender. A text to somebody who
//! has opted out is not sent by this either.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::failure::Failure;
use super::rules_test::{shown, without_secrets};
use super::send::FICTIONAL_RECIPIENT;
use super::{database, endpoint, output, trial};
use crate::actions::{Actions, Exchange, Observer};
use crate::app::Database;
use crate::config::{ActionSpec, Config, Endpoint};
use crate::consent::ConsentEvent;
use crate::job::{Job, Outcome};
use crate::rules;

/// The action and the message to run it for.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The action
    name: String,
    /// Sender: what the action finds or creates, it does so for this number
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// Text of the message
    #[arg(long)]
    text: String,
    /// Recipient [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_RECIPIENT, hide_default_value = true)]
    to: String,
    /// Endpoint that receives it [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what was sent and what came back as it happens, then the outcome. The answer is no unless the action is done.
pub(super) async fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let config = Arc::new(endpoint::load(config)?.config);
    let endpoint = endpoint::choose(&config, arguments.endpoint.as_deref())?;
    let action = choose(&config, &arguments.name)?;
    if !arguments.yes && !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "this runs the action for real, and there is no terminal to ask at",
            "add `--yes`; `smshook rules test` shows what would be sent without sending it",
        ));
    }
    let job = job(&config, endpoint, arguments)?;
    let watch = Watch::new(arguments.json);
    let actions = Actions::for_trial(Arc::clone(&config), Some(watch.observer())).context("preparing the action")?;
    let preview = actions.preview(&action.name, &job, Utc::now());
    let preview = without_secrets(preview.context("preparing the action")?);
    may_be_sent(&config, endpoint, action, &job).await?;
    if !arguments.yes && !agreed(&action.name, &preview)? {
        output::note("nothing was sent");
        return Err(Failure::AnswerIsNo);
    }
    // Asking takes as long as the person takes.
    may_be_sent(&config, endpoint, action, &job).await?;
    let outcome = tokio::time::timeout(action.timeout, actions.run(&job)).await;
    let ending = Ending::of(&actions, action, outcome.ok().as_ref());
    watch.finish(&preview, &ending)?;
    if ending.word == "done" {
        Ok(())
    } else {
        Err(Failure::AnswerIsNo)
    }
}

fn choose<'a>(config: &'a Config, name: &str) -> Result<&'a ActionSpec, Failure> {
    let action = config.actions.get(name).ok_or_else(|| {
        let names: Vec<&str> = config.actions.keys().map(String::as_str).collect();
        Failure::usage(
            format!("there is no action `{name}`"),
            format!("the configuration has `{}`", names.join("`, `")),
        )
    })?;
    match action.after.as_slice() {
        [] => Ok(action),
        others => Err(Failure::usage(
            format!(
                "`{name}` uses the results of `{}`, which a single action does not have",
                others.join("`, `")
            ),
            "test those; `smshook send` puts a whole message through the running service",
        )),
    }
}

/// The job as a rule would order it for this text, if one does: what it captures is used.
fn job(config: &Config, endpoint: &Endpoint, arguments: &Arguments) -> Result<Job, Failure> {
    let message = trial::message(endpoint, &arguments.from, &arguments.to, &arguments.text);
    let explanation = rules::explain(&config.rulebook, &endpoint.policy, &message);
    let opts_out = explanation
        .plan
        .consent
        .as_ref()
        .is_some_and(|decision| decision.event == ConsentEvent::OptOut);
    let sends = config
        .actions
        .get(&arguments.name)
        .is_some_and(|action| action.effect.sends());
    if opts_out && sends {
        return Err(Failure::hinted(
            anyhow::anyhow!("with this text the sender opts out, and is not answered"),
            "try another text",
        ));
    }
    let ordered = explanation.plan.jobs.iter().find(|job| job.action == arguments.name);
    if ordered.is_none() {
        output::note("note: no rule orders this action for this text, so it runs without captures");
    }
    // An ID of its own, or other systems would take the second test for a repetition of the first.
    let job = trial::job(endpoint, &message, &arguments.name, Uuid::now_v7(), Utc::now());
    Ok(match ordered {
        Some(ordered) => Job {
            rule: ordered.rule.clone(),
            captures: ordered.captures.clone(),
            ..job
        },
        None => job,
    })
}

/// STOP is law, whoever sends: a text goes out only if the database says that its receiver has not opted out.
async fn may_be_sent(config: &Config, endpoint: &Endpoint, action: &ActionSpec, job: &Job) -> Result<(), Failure> {
    if !action.effect.sends() {
        return Ok(());
    }
    let opened = Database::open_beside(config)
        .await
        .context("whether the sender has opted out is known to the database only, so nothing was sent")?;
    let asked = opened
        .store
        .has_opted_out(endpoint.suppression_group(), &job.message.sender)
        .await;
    opened.close().await?;
    if asked.map_err(database::failed)? {
        return Err(Failure::hinted(
            anyhow::anyhow!("the sender has opted out: nothing was sent"),
            "`smshook opt-outs list` shows when and how; use a number that wants to be answered",
        ));
    }
    Ok(())
}

/// Shows what will be sent and reads the answer at the terminal.
fn agreed(action: &str, preview: &Value) -> Result<bool, Failure> {
    output::note(&format!("would send\n{}", output::indented(&shown(preview), "    ")));
    output::note(&format!("\nrun `{action}` for real? [y/N]"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("reading the answer")?;
    Ok(["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}

/// Prints exchanges as they happen, or keeps them for the JSON document.
struct Watch {
    json: bool,
    /// What was exchanged, and whether printing failed.
    seen: Arc<Mutex<(Vec<Value>, Option<Failure>)>>,
}

impl Watch {
    fn new(json: bool) -> Self {
        Self {
            json,
            seen: Arc::default(),
        }
    }

    fn observer(&self) -> Observer {
        let (as_json, seen) = (self.json, Arc::clone(&self.seen));
        Arc::new(move |exchange: &Exchange| {
            let Ok(mut seen) = seen.lock() else { return };
            let data = exchange_data(exchange);
            if !as_json && seen.1.is_none() {
                seen.1 = output::print(&exchange_text(&data)).err();
            }
            seen.0.push(data);
        })
    }

    /// Prints how it ended; in JSON, everything.
    fn finish(self, preview: &Value, ending: &Ending) -> Result<(), Failure> {
        let (exchanges, failed) = self
            .seen
            .lock()
            .map(|mut seen| std::mem::take(&mut *seen))
            .unwrap_or_default();
        failed.map_or(Ok(()), Err)?;
        if self.json {
            return output::print_json(&json!({
                "preview": preview,
                "exchanges": exchanges,
                "outcome": ending.word,
                "detail": ending.detail,
                "in_service": ending.in_service,
                "results": ending.results,
            }));
        }
        output::print(&ending.text())?;
        output::note(
            "note: the queue was not touched, and nothing that connectors remember of the sender was used or kept",
        );
        Ok(())
    }
}

fn exchange_data(exchange: &Exchange) -> Value {
    let request = without_secrets(json!({ "request": exchange.request }));
    let answer = match &exchange.answer {
        Ok(answer) => json!({ "status": answer.status, "headers": answer.headers, "body": answer.body }),
        Err(error) => json!({ "error": error }),
    };
    json!({
        "operation": exchange.operation,
        "request": request.pointer("/request"),
        "answer": answer,
        "took_ms": u64::try_from(exchange.took.as_millis()).unwrap_or(u64::MAX),
    })
}

/// The request as it went, then the answer as it came.
fn exchange_text(exchange: &Value) -> String {
    let text = |pointer: &str| exchange.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let took = exchange.pointer("/took_ms").and_then(Value::as_u64).unwrap_or_default();
    let what = match text("/operation") {
        "" => String::new(),
        operation => format!(" {operation}"),
    };
    let status = exchange.pointer("/answer/status").and_then(Value::as_u64);
    let answer = match status {
        None => format!("no answer after {took} ms\n    {}", text("/answer/error")),
        Some(status) => {
            let headers = exchange.pointer("/answer/headers").and_then(Value::as_array);
            let header = |pair: &Value| {
                let part = |place: &str| {
                    pair.pointer(place)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                format!("{}: {}", part("/0"), part("/1"))
            };
            let mut lines: Vec<String> = headers.into_iter().flatten().map(header).collect();
            lines.push(text("/answer/body").to_owned());
            format!(
                "answered {status} after {took} ms\n{}",
                output::indented(&lines.join("\n"), "    ")
            )
        }
    };
    format!("sent{what}\n{}\n{answer}\n", output::indented(&shown(exchange), "    "))
}

/// How the attempt ended, and what the service would do with a job that ended so.
struct Ending {
    word: &'static str,
    detail: String,
    in_service: String,
    /// What `results.NAME` would hold.
    results: Option<Value>,
    action: String,
}

impl Ending {
    /// `None` stands for an attempt whose time was up.
    fn of(actions: &Actions, action: &ActionSpec, outcome: Option<&Outcome>) -> Self {
        let tried = format!("a job would be tried {} times in all", action.retry.max_attempts);
        let never = "a job would not run, and nobody would need to act".to_owned();
        let (word, detail, in_service) = match outcome {
            None => (
                "timeout",
                format!("it took longer than its {} s", action.timeout.as_secs()),
                tried,
            ),
            Some(Outcome::Done(result)) => ("done", result.to_string(), "the job would be done".to_owned()),
            Some(Outcome::Retry { error, after }) => ("retry", error.clone(), format!("{tried}{}", wait(*after))),
            Some(Outcome::Snooze { after, reason }) => (
                "snooze",
                reason.clone(),
                format!("a job would look again{}", wait(Some(*after))),
            ),
            Some(Outcome::Pause(reason)) => (
                "pause",
                reason.clone(),
                "every job of this action would wait, unharmed, until its credentials work".to_owned(),
            ),
            Some(Outcome::Discard(reason)) => (
                "discard",
                reason.clone(),
                "the job would wait for a person: `smshook jobs list --state discarded`".to_owned(),
            ),
            Some(Outcome::Cancel(reason)) => ("cancel", reason.clone(), never),
            Some(Outcome::Release) => ("release", "it was given back".to_owned(), tried),
        };
        let results = match outcome {
            Some(Outcome::Done(result)) => Some(actions.as_others_see(&action.name, result)),
            _ => None,
        };
        Self {
            word,
            detail,
            in_service,
            results,
            action: action.name.clone(),
        }
    }

    fn text(&self) -> String {
        let results = self.results.as_ref().map(Value::to_string).unwrap_or_default();
        output::facts(&[
            ("outcome", self.word.to_owned()),
            ("detail", self.detail.clone()),
            ("in the service", self.in_service.clone()),
            (&format!("results.{}", self.action), results),
        ])
    }
}

fn wait(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| {
        format!(", not before {} s from then", after.as_secs_f64().ceil())
    })
}
