//! Slack: a message per text, by token in a thread per sender, or by an incoming webhook.

use serde_json::{Value, json};

use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, StandIn, Vendor, number_in, person};
use crate::email::pause;
use crate::helpers::{App, eventually};

const TOKEN: &str = "xoxb-of-the-tests";
const CHANNEL: &str = "C0123456789";
const WEBHOOK: &str = "/services/T1/B1/of-the-tests";

/// A workspace with one channel, one app and one incoming webhook.
#[derive(Default)]
struct Slack {
    /// In order; `ts`, `thread_ts` and `text` as they came.
    messages: Vec<Value>,
    /// Who was called by one of them.
    called: Vec<String>,
    /// The word that the next requests are refused with.
    refuses: Option<&'static str>,
}

impl Slack {
    fn web_api(&mut self, asked: &Asked) -> Answer {
        let refuse = |word: &str| Answer::json(200, &json!({ "ok": false, "error": word }));
        let body = asked.json();
        if asked.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return refuse("invalid_auth");
        }
        if let Some(word) = self.refuses {
            return refuse(word);
        }
        if asked.path == "/api/auth.test" {
            return Answer::json(200, &json!({ "ok": true, "team": "tests", "bot_id": "B1" }));
        }
        if !asked
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
        {
            return refuse("invalid_post_type");
        }
        if body["channel"] != CHANNEL {
            return refuse("channel_not_found");
        }
        let parent = &body["thread_ts"];
        if !parent.is_null() && !self.messages.iter().any(|message| message["ts"] == *parent) {
            return refuse("thread_not_found");
        }
        match self.keep(&body) {
            Some(ts) => Answer::json(
                200,
                &json!({ "ok": true, "channel": CHANNEL, "ts": ts, "message": { "ts": ts } }),
            ),
            None => refuse("no_text"),
        }
    }

    fn webhook(&mut self, asked: &Asked) -> Answer {
        let say = |status, word: &str| Answer::text(status, "text/html", word);
        if let Some(word) = self.refuses {
            return say(if word == "channel_is_archived" { 410 } else { 404 }, word);
        }
        match self.keep(&asked.json()) {
            Some(_) => say(200, "ok"),
            None => say(400, "no_text"),
        }
    }

    /// Posts a message as Slack reads it: what stands in angle brackets is a mention or a link.
    fn keep(&mut self, body: &Value) -> Option<String> {
        let text = body["text"].as_str().filter(|text| !text.is_empty())?;
        let marked = text
            .split('<')
            .skip(1)
            .map(|rest| rest.split('>').next().unwrap().to_owned());
        self.called.extend(marked);
        if body["link_names"] != false {
            self.called.extend(
                text.split_whitespace()
                    .filter(|word| word.starts_with('@'))
                    .map(str::to_owned),
            );
        }
        let ts = format!("17600000{:02}.{:06}", self.messages.len() / 100, self.messages.len());
        let mut message = body.clone();
        message["ts"] = json!(ts);
        self.messages.push(message);
        Some(ts)
    }

    /// What people see of a message.
    fn shown(message: &Value) -> String {
        let text = message["text"].as_str().unwrap();
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    }

    fn of(&self, sender: &str) -> Vec<&Value> {
        let own = |message: &&Value| number_in(message["text"].as_str().unwrap()).as_deref() == Some(sender);
        self.messages.iter().filter(own).collect()
    }
}

impl Vendor for Slack {
    fn answer(&mut self, asked: &Asked) -> Answer {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/api/chat.postMessage" | "/api/auth.test") => self.web_api(asked),
            ("POST", WEBHOOK) => self.webhook(asked),
            (_, path) if path.starts_with("/services/") => Answer::text(404, "text/html", "no_service"),
            _ => Answer::empty(404),
        }
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        asked.number()
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.path != "/api/auth.test"
    }

    fn census(&self, sender: &str) -> Census {
        let text = |message: &&Value| {
            let shown = Self::shown(message);
            shown.split_once('\n').unwrap().1.to_owned()
        };
        Census {
            notes: self.of(sender).iter().map(text).collect(),
            ..Census::default()
        }
    }

    fn unauthorized(&self) -> Answer {
        Answer::json(200, &json!({ "ok": false, "error": "invalid_auth" }))
    }

    fn failure(&self, status: u16) -> Answer {
        let word = if status == 429 { "ratelimited" } else { "internal_error" };
        Answer::json(status, &json!({ "ok": false, "error": word }))
    }
}

fn by_token(url: &str) -> String {
    format!(r#"use = "slack", base_url = "{url}", token = "{TOKEN}", channel = "{CHANNEL}""#)
}

fn by_webhook(url: &str) -> String {
    format!(r#"use = "slack", webhook_url = "{url}{WEBHOOK}""#)
}

fn setup(keys: fn(&str) -> String, notes: Notes) -> Setup<Slack> {
    Setup {
        vendor: Slack::default,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 0,
        tickets: 0,
        notes,
    }
}

async fn started(keys: fn(&str) -> String, more: &str) -> (StandIn<Slack>, App) {
    let stand = StandIn::start(Slack::default()).await;
    let keys = format!("{}{more}", keys(&stand.url()));
    let app = App::start(&matrix::configuration(&keys, "5s")).await;
    (stand, app)
}

#[tokio::test]
async fn no_text_is_lost_and_each_unclear_end_leaves_one_more_at_most() {
    matrix::every_fault_at_every_position(&setup(by_token, Notes::Resent)).await;
}

#[tokio::test]
async fn the_same_holds_for_an_incoming_webhook() {
    matrix::every_fault_at_every_position(&setup(by_webhook, Notes::Resent)).await;
}

#[tokio::test]
async fn who_says_skip_never_sees_a_text_twice() {
    let keys = |url: &str| format!("{}, on_unknown = \"skip\"", by_token(url));
    matrix::every_fault_at_every_position(&setup(keys, Notes::Skipped)).await;
}

#[tokio::test]
async fn a_killed_process_loses_no_text() {
    matrix::killed_at_every_position(&setup(by_token, Notes::Resent)).await;
}

#[tokio::test]
async fn texts_of_one_sender_are_one_thread() {
    let (stand, app) = started(by_token, "").await;
    for (nth, text) in [(1, "one"), (2, "other"), (1, "two"), (1, "three")] {
        app.text(&person(nth)[1..], text).await;
        app.all_jobs_ended().await;
    }
    stand.with(|slack| {
        let own = slack.of(&person(1));
        assert_eq!(own.len(), 3);
        assert!(own[0]["thread_ts"].is_null());
        assert!(
            own[1..].iter().all(|message| message["thread_ts"] == own[0]["ts"]),
            "{own:?}"
        );
        assert!(slack.of(&person(2))[0]["thread_ts"].is_null());
        assert!(
            slack
                .messages
                .iter()
                .all(|message| message.get("reply_broadcast").is_none())
        );
    });
}

#[tokio::test]
async fn replies_are_shown_in_the_channel_too_where_that_is_wanted() {
    let (stand, app) = started(by_token, ", broadcast = true").await;
    for text in ["one", "two"] {
        app.text(&person(1)[1..], text).await;
        app.all_jobs_ended().await;
    }
    stand.with(|slack| {
        let broadcast: Vec<&Value> = slack
            .messages
            .iter()
            .map(|message| &message["reply_broadcast"])
            .collect();
        assert_eq!(broadcast, [&Value::Null, &json!(true)]);
    });
}

#[tokio::test]
async fn a_thread_that_was_deleted_is_begun_anew() {
    let (stand, app) = started(by_token, "").await;
    for text in ["one", "two", "three"] {
        app.text(&person(1)[1..], text).await;
        app.all_jobs_ended().await;
        if text == "one" {
            stand.with(|slack| slack.messages.clear());
        }
    }
    assert_eq!(stand.census(&person(1)).notes, ["two", "three"]);
    stand.with(|slack| {
        assert!(slack.messages[0]["thread_ts"].is_null());
        assert_eq!(slack.messages[1]["thread_ts"], slack.messages[0]["ts"]);
    });
}

#[tokio::test]
async fn a_text_calls_nobody_and_makes_no_link() {
    for keys in [by_token, by_webhook] {
        let (stand, app) = started(keys, "").await;
        let texts = [
            "<!channel> <!here|x> <!everyone>",
            "<@U1> <#C1> <!subteam^S1>",
            "@here @channel",
            "<https://evil.example|https://bank.example>",
            "&lt;!channel&gt; &amp;lt;",
            "a & b > c < d",
        ];
        for text in texts {
            app.text(&person(1)[1..], text).await;
        }
        app.all_jobs_ended().await;
        assert_eq!(stand.census(&person(1)).notes, texts);
        stand.with(|slack| {
            assert_eq!(slack.called, Vec::<String>::new());
            for message in &slack.messages {
                assert_eq!(
                    (&message["unfurl_links"], &message["unfurl_media"]),
                    (&json!(false), &json!(false))
                );
            }
        });
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_stops_the_action_and_keeps_the_text() {
    for (keys, word) in [
        (by_token as fn(&str) -> String, "token_revoked"),
        (by_token, "missing_scope"),
        (by_webhook, "no_service"),
    ] {
        let (stand, app) = started(keys, "").await;
        stand.with(|slack| slack.refuses = Some(word));
        app.text(&person(1)[1..], "hello").await;
        assert!(pause(&app).await.contains(word), "{word}");
        assert_eq!(app.jobs().await[0].1, "available", "{word}");
    }
}

#[tokio::test]
async fn what_slack_refuses_for_good_is_given_up_with_its_word() {
    for (keys, word) in [
        (by_token as fn(&str) -> String, "channel_not_found"),
        (by_token, "is_archived"),
        (by_token, "a_word_nobody_knows"),
        (by_webhook, "channel_is_archived"),
    ] {
        let (stand, app) = started(keys, "").await;
        stand.with(|slack| slack.refuses = Some(word));
        app.text(&person(1)[1..], "hello").await;
        app.all_jobs_ended().await;
        let jobs = app.jobs().await;
        assert_eq!(jobs[0].1, "discarded", "{word}");
        assert!(jobs[0].2.as_ref().unwrap().contains(word), "{jobs:?}");
    }
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    for word in ["service_unavailable", "fatal_error"] {
        let (stand, app) = started(by_token, "").await;
        stand.with(|slack| slack.refuses = Some(word));
        app.text(&person(1)[1..], "hello").await;
        eventually("it was refused once", async || !stand.exchanges().is_empty()).await;
        stand.with(|slack| slack.refuses = None);
        app.all_jobs_ended().await;
        assert_eq!(stand.census(&person(1)).notes, ["hello"], "{word}");
    }
}
