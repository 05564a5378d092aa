//! The line between the phone and the service: what is typed goes out as the gateway delivers it, and everything that comes
//! of it is shown, until there is nothing more to come.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::screen::{Event, Screen};
use super::watch::{Change, Watch};
use super::{Arguments, Setting};
use crate::actions::Actions;
use crate::actions::local::{Caller, LocalAnswer};
use crate::app::Running;
use crate::cli::failure::Failure;
use crate::cli::rules_test::{self, Previewer};
use crate::cli::send::{Words, address, forger, request, sign, write};
use crate::cli::{database, endpoint, output, trial};
use crate::config::Endpoint;
use crate::gateway::SampleReport;
use crate::http::Heard;
use crate::message::{DeliveryState, InboundMessage};
use crate::rules::{self, Explanation, Verdict};
use crate::signature::{Outgoing, Signer};
use crate::store::{JobRow, ReplyRow};

/// Between two looks at what becomes of a text.
const LOOK: Duration = Duration::from_millis(40);
/// The same while nobody has sent anything.
const IDLE: Duration = Duration::from_millis(500);
/// How long nothing may happen before the next line is taken all the same.
const PATIENCE: Duration = Duration::from_secs(15);
/// How far a text to a phone that is on gets.
const REPORTED: [DeliveryState; 2] = [DeliveryState::Sent, DeliveryState::Delivered];

const HELP: &str = "  type a text to send it, or
  /from NUMBER   be another phone
  /retry         send the same delivery again, as a gateway that missed the answer
  /bad           send the next text with a wrong signature
  /quit          switch the phone off
  //TEXT         send a text that begins with a slash";

/// The phone, connected.
pub(super) struct Line<'a> {
    setting: &'a Setting,
    endpoint: &'a Endpoint,
    screen: Screen,
    caller: Caller,
    /// Where the service listens.
    url: String,
    signer: Option<Signer>,
    from: String,
    to: String,
    forge_next: bool,
    last: Option<Outgoing>,
    watch: Watch,
    hears: mpsc::UnboundedReceiver<Heard>,
    /// What the stand-in heard and no job has come back for yet.
    heard: Vec<Heard>,
    /// Jobs whose text the gateway has reported as delivered.
    reported: Vec<i64>,
    /// Shows what rehearsed actions would send.
    previews: Actions,
    /// Of the latest text, by action.
    would: BTreeMap<String, Value>,
}

/// Something to show.
enum Happened {
    Heard(Heard),
    Changed(Change),
}

/// What a typed line means.
enum Typed<'a> {
    Text(&'a str),
    From(&'a str),
    Retry,
    Bad,
    Help,
    Quit,
    Nothing,
    Unknown(&'a str),
}

impl<'a> Line<'a> {
    pub(super) async fn open(
        setting: &'a Setting,
        running: &Running,
        hears: mpsc::UnboundedReceiver<Heard>,
        screen: Screen,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let endpoint = setting.endpoint()?;
        let signer = match setting.seeds.get(&endpoint.name) {
            Some(seed) => {
                let seed = SecretString::from(seed.as_str());
                Some(Signer::new(&endpoint.gateway.signature, &seed, None).context("preparing the signature")?)
            }
            None => endpoint.keys.as_ref().and_then(crate::signature::Keys::signer),
        };
        let typed = std::sync::Arc::clone(&setting.typed);
        Ok(Self {
            setting,
            endpoint,
            screen,
            caller: Caller::new().context("preparing the client")?,
            url: format!("http://{}{}", running.public, endpoint.path),
            signer,
            from: arguments.from.clone(),
            to: arguments.to.clone(),
            forge_next: false,
            last: None,
            watch: Watch::begin(running.store()).await.map_err(database::failed)?,
            hears,
            heard: Vec::new(),
            reported: Vec::new(),
            previews: Actions::new(typed, rules_test::nowhere()?).context("preparing the actions")?,
            would: BTreeMap::new(),
        })
    }

    /// The number of this phone.
    pub(super) fn number(&self) -> &str {
        &self.from
    }

    /// Takes the lines one after the other, each when the one before has had its effect.
    pub(super) async fn talk(&mut self, mut lines: mpsc::Receiver<String>) -> Result<(), Failure> {
        self.screen.prompt();
        loop {
            let typed = tokio::select! {
                typed = lines.recv() => typed,
                () = tokio::time::sleep(IDLE) => {
                    self.look().await?;
                    continue;
                }
            };
            let Some(typed) = typed else {
                return self.settle().await;
            };
            if !self.take(&typed).await? {
                return Ok(());
            }
            self.settle().await?;
            self.screen.prompt();
        }
    }

    /// False if the phone is to be switched off.
    async fn take(&mut self, typed: &str) -> Result<bool, Failure> {
        match Typed::read(typed) {
            Typed::Nothing => {}
            Typed::Quit => return Ok(false),
            Typed::Text(text) => self.text(text).await?,
            Typed::From(number) => number.clone_into(&mut self.from),
            Typed::Bad if self.endpoint.keys.is_none() => {
                self.problem("this endpoint takes unsigned deliveries, so no signature is wrong")?;
            }
            Typed::Bad => self.forge_next = true,
            Typed::Help => self.problem(HELP.trim_start())?,
            Typed::Unknown(what) => {
                self.problem(&format!(
                    "there is no {}; /help says what there is",
                    output::one_line(what, 40)
                ))?;
            }
            Typed::Retry => match self.last.clone() {
                Some(outgoing) => self.deliver(outgoing).await.map(drop)?,
                None => self.problem("nothing was sent yet")?,
            },
        }
        Ok(true)
    }

    fn problem(&self, what: &str) -> Result<(), Failure> {
        self.screen.show(&Event::Problem { what: what.to_owned() })
    }

    /// Sends a text, and says why it causes what it causes if the service takes it.
    async fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.screen.show(&Event::Text {
            from: self.from.clone(),
            to: self.to.clone(),
            text: text.to_owned(),
        })?;
        let now = Utc::now();
        let outgoing = write(&self.endpoint.gateway, &self.words(text, now), now)?;
        let forged = std::mem::take(&mut self.forge_next);
        let signed = if forged {
            self.finish(
                outgoing,
                Some(&forger(&self.endpoint.gateway, Some(self.endpoint))?),
                now,
            )
        } else {
            self.finish(outgoing, self.signer.as_ref(), now)
        };
        self.last = Some(signed.clone());
        let answer = self.deliver(signed).await?;
        if answer.status.is_success() {
            self.explain(text)?;
        }
        Ok(())
    }

    fn words(&self, text: &str, now: DateTime<Utc>) -> Words {
        Words {
            from: self.from.clone(),
            to: self.to.clone(),
            text: text.to_owned(),
            sent_at: now,
            id: Uuid::now_v7(),
        }
    }

    /// Addresses and signs a request of the gateway's.
    fn finish(&self, mut outgoing: Outgoing, signer: Option<&Signer>, now: DateTime<Utc>) -> Outgoing {
        outgoing.url = match self.endpoint.url.as_str() {
            "" => self.url.clone(),
            url => url.to_owned(),
        };
        outgoing.at = now.timestamp_millis();
        sign(&self.endpoint.gateway, signer, &mut outgoing);
        outgoing
    }

    async fn post(&self, outgoing: Outgoing) -> Result<LocalAnswer, Failure> {
        let url = address(&self.url, &outgoing.query);
        let sent = self
            .caller
            .send(outgoing.method, &url, outgoing.headers, outgoing.body)
            .await;
        Ok(sent.context("asking the service in this process")?)
    }

    async fn deliver(&mut self, outgoing: Outgoing) -> Result<LocalAnswer, Failure> {
        let answer = self.post(outgoing).await?;
        self.screen.show(&Event::Answer {
            status: answer.status.as_u16(),
            body: answer.body.clone(),
        })?;
        Ok(answer)
    }

    /// The same planning as the service's, with its reasons.
    fn explain(&mut self, text: &str) -> Result<(), Failure> {
        let message = trial::message(self.endpoint, &self.from, &self.to, text);
        let explanation = rules::explain(&self.setting.config.rulebook, &self.endpoint.policy, &message);
        if let Some(decision) = &explanation.plan.consent {
            self.screen.show(&Event::Consent {
                asks_for: decision.event.as_str().replace('_', "-"),
                tier: decision.tier,
                keyword: decision.keyword.clone().into_owned(),
            })?;
        }
        for tried in &explanation.rules {
            let matched = tried.verdict == Verdict::Matched;
            if matched || self.screen.json {
                self.screen.show(&Event::Rule {
                    rule: tried.rule.clone(),
                    matched,
                    looks_for: tried.looks_for.clone(),
                    why: rules_test::verdict(tried.verdict),
                })?;
            }
        }
        if explanation.plan.rule.is_none() {
            self.screen.show(&Event::NoRule)?;
        }
        for left in &explanation.left_out {
            self.screen.show(&Event::LeftOut {
                action: left.action.clone(),
                rule: left.rule.clone(),
                why: left.reason.why(),
            })?;
        }
        self.would = self.previews_of(&message, &explanation)?;
        Ok(())
    }

    /// What the rehearsed actions of this text would send, by the configuration as typed.
    fn previews_of(
        &self,
        message: &InboundMessage,
        explanation: &Explanation,
    ) -> Result<BTreeMap<String, Value>, Failure> {
        let typed = endpoint::choose(&self.setting.typed, Some(&self.endpoint.name))?;
        let previewer = Previewer {
            actions: &self.previews,
            endpoint: typed,
            message,
        };
        let jobs = explanation.plan.jobs.iter();
        let rehearsed = jobs.filter(|job| self.setting.rehearsed.contains(&job.action));
        Ok(rehearsed
            .map(|job| (job.action.clone(), previewer.preview(job)))
            .collect())
    }

    /// Looks and shows until nothing more is to come.
    async fn settle(&mut self) -> Result<(), Failure> {
        let mut quiet_since = Instant::now();
        loop {
            if self.look().await? {
                quiet_since = Instant::now();
            } else if self.watch.is_settled(Utc::now()) && self.all_reported() {
                return Ok(());
            } else if quiet_since.elapsed() > PATIENCE {
                return self.problem("nothing happens any more; what is open goes on in the background");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn all_reported(&self) -> bool {
        let [.., last] = REPORTED;
        let arrived = |job: &i64| self.watch.reply_state(*job) == Some(last.as_str());
        self.reported.iter().all(arrived)
    }

    /// Shows what has happened; true if anything has.
    async fn look(&mut self) -> Result<bool, Failure> {
        // Before what the stand-in heard: then that is complete for every job that is over.
        let changes = self.watch.look().await.map_err(database::failed)?;
        let heard: Vec<Heard> = std::iter::from_fn(|| self.hears.try_recv().ok()).collect();
        self.heard.extend_from_slice(&heard);
        let now = Utc::now();
        // A rehearsed action says itself what it would have sent.
        let replies = heard.into_iter().filter(|heard| heard.route.as_deref() != Some(""));
        let mut news: Vec<_> = replies.map(|heard| (heard.at, Happened::Heard(heard))).collect();
        news.extend(
            changes
                .into_iter()
                .map(|change| (change.at(now), Happened::Changed(change))),
        );
        news.sort_by_key(|(at, _)| *at);
        let happened = !news.is_empty();
        for (_, news) in news {
            match news {
                Happened::Heard(heard) => self.hear(&heard)?,
                Happened::Changed(change) => self.show(change).await?,
            }
        }
        Ok(happened)
    }

    fn hear(&self, heard: &Heard) -> Result<(), Failure> {
        let shape = heard.route.as_deref().and_then(|name| self.setting.shape_of(name));
        self.screen.show(&Event::Reply {
            to: shape.and_then(|shape| shape.to(heard)),
            text: shape.and_then(|shape| shape.text(heard)),
            method: heard.method.to_string(),
            path: asked_for(heard).to_owned(),
            status: heard.status.as_u16(),
            known: heard.route.is_some(),
        })
    }

    async fn show(&mut self, change: Change) -> Result<(), Failure> {
        let event = match change {
            Change::Tried(job, attempt) => Event::Tried {
                action: job.action,
                attempt: attempt.attempt,
                outcome: attempt.outcome,
                error: attempt.error.unwrap_or_default(),
            },
            Change::Waits(job) => Event::Waits {
                until: output::stamp(job.run_at),
                action: job.action,
                reason: job.reason,
            },
            Change::Ended(job) => Event::Action {
                would: self.would.get(&job.action).filter(|_| job.state == "done").cloned(),
                action: job.action,
                state: job.state,
                attempt: job.attempt,
                reason: job.reason,
                result: job.result,
            },
            Change::Taken(job, reply) => return self.report(&job, &reply).await,
            Change::Reported(job, reply) => Event::Delivery {
                action: job.action,
                state: reply.state.unwrap_or_default(),
            },
        };
        self.screen.show(&event)
    }

    /// The gateway's reports that a text arrived, where its file says how it reports.
    async fn report(&mut self, job: &JobRow, reply: &ReplyRow) -> Result<(), Failure> {
        let is_it = |heard: &Heard| {
            heard.key.as_deref() == Some(reply.reference.as_str())
                || reply.gateway_message_id.as_deref() == Some(heard.reply_id.as_str())
        };
        let Some(place) = self.heard.iter().position(is_it) else {
            return Ok(());
        };
        let heard = self.heard.swap_remove(place);
        for state in REPORTED {
            let now = Utc::now();
            let report = SampleReport {
                reply_ref: &reply.reference,
                reply_id: &heard.reply_id,
                state,
            };
            let words = self.words("", now);
            let Some(written) = self.endpoint.gateway.sample_event(&words.sample(now), &report) else {
                continue;
            };
            let outgoing = self.finish(request(written), self.signer.as_ref(), now);
            let answer = self.post(outgoing).await?;
            if !answer.status.is_success() {
                let status = answer.status.as_u16();
                self.problem(&format!(
                    "the service answers {status} to the gateway's report of the reply"
                ))?;
            } else if [state] == REPORTED[1..] {
                self.reported.push(job.id);
            }
        }
        Ok(())
    }
}

/// The path as the gateway's API would see it: without the endpoint's name, which the stand-in puts before it.
fn asked_for(heard: &Heard) -> &str {
    let name = heard.route.as_deref().unwrap_or_default();
    let after = heard.path.strip_prefix('/').and_then(|path| path.strip_prefix(name));
    after.unwrap_or(&heard.path)
}

impl<'a> Typed<'a> {
    fn read(line: &'a str) -> Self {
        let text = line.trim_end_matches('\r');
        let Some(command) = text.strip_prefix('/') else {
            return if text.trim().is_empty() {
                Self::Nothing
            } else {
                Self::Text(text)
            };
        };
        if command.starts_with('/') {
            return Self::Text(command);
        }
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (word, rest.trim()) {
            ("from", number) if !number.is_empty() => Self::From(number),
            ("retry", "") => Self::Retry,
            ("bad", "") => Self::Bad,
            ("help", "") => Self::Help,
            ("quit", "") => Self::Quit,
            _ => Self::Unknown(text),
        }
    }
}
