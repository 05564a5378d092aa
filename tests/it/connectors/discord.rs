//! Discord: a message per text, through a channel's webhook.

use serde_json::{Value, json};

use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, StandIn, Vendor, number_in, person};
use crate::email::pause;
use crate::helpers::App;

const WEBHOOK: &str = "/api/webhooks/1234567890/of-the-tests";

/// A channel with one webhook.
#[derive(Default)]
struct Discord {
    messages: Vec<Value>,
    /// Who was called by one of them.
    called: Vec<String>,
    deleted: bool,
    /// So many requests are refused with 429 and a fraction of a second in the body only.
    limited: usize,
}

impl Discord {
    fn post(&mut self, asked: &Asked) -> Answer {
        let mut body = asked.json();
        let content = body["content"].as_str().unwrap_or_default().to_owned();
        if content.is_empty() || content.chars().count() > 2_000 {
            return Answer::json(400, &json!({ "code": 50035, "message": "Invalid Form Body" }));
        }
        if body["allowed_mentions"]["parse"] != json!([]) {
            let called = content.split_whitespace().filter(|word| word.contains('@'));
            self.called.extend(called.map(str::to_owned));
        }
        body["thread"] = json!(asked.query("thread_id"));
        body["id"] = json!((1_000_000_000_000_000_000 + self.messages.len()).to_string());
        self.messages.push(body.clone());
        if asked.query("wait") == Some("true") {
            Answer::json(200, &body)
        } else {
            Answer::empty(204)
        }
    }

    /// What people see: a backslash before a sign is not shown, and the sign does nothing.
    fn shown(content: &str) -> String {
        let mut shown = String::new();
        let mut rest = content.chars().peekable();
        while let Some(c) = rest.next() {
            match (c, rest.peek()) {
                ('\\', Some(next)) if next.is_ascii_punctuation() => shown.extend(rest.next()),
                // what nobody sees
                ('\u{200b}', _) => {}
                _ => shown.push(c),
            }
        }
        shown
    }

    /// The signs of a message that have an effect: those without a backslash before them.
    fn effective(content: &str) -> String {
        let mut signs = String::new();
        let mut rest = content.chars();
        while let Some(c) = rest.next() {
            if c == '\\' {
                rest.next();
            } else if "*_~`|[]<>#".contains(c) {
                signs.push(c);
            }
        }
        signs
    }
}

impl Vendor for Discord {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.path != WEBHOOK || self.deleted {
            return Answer::json(404, &json!({ "code": 10015, "message": "Unknown Webhook" }));
        }
        if self.limited > 0 {
            self.limited -= 1;
            let body =
                json!({ "message": "You are being rate limited.", "retry_after": 0.3, "global": false, "code": 0 });
            return Answer::json(429, &body);
        }
        match asked.method.as_str() {
            "GET" => Answer::json(200, &json!({ "id": "1234567890", "type": 1, "name": "SMS" })),
            "POST" => self.post(asked),
            _ => Answer::empty(405),
        }
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        number_in(&asked.body)
    }

    fn changes(&self, asked: &Asked) -> bool {
        asked.method != "GET"
    }

    fn census(&self, sender: &str) -> Census {
        let contents = self
            .messages
            .iter()
            .map(|message| Self::shown(message["content"].as_str().unwrap()));
        let own = contents.filter(|content| number_in(content).as_deref() == Some(sender));
        Census {
            notes: own
                .map(|content| content.split_once('\n').unwrap().1.to_owned())
                .collect(),
            ..Census::default()
        }
    }

    fn unauthorized(&self) -> Answer {
        Answer::json(401, &json!({ "code": 50027, "message": "Invalid Webhook Token" }))
    }

    fn failure(&self, status: u16) -> Answer {
        let body = json!({ "message": "not now", "retry_after": 0.1, "global": false, "code": 0 });
        Answer::json(status, &body)
    }
}

fn keys(url: &str) -> String {
    format!(r#"use = "discord", webhook_url = "{url}{WEBHOOK}""#)
}

fn setup(keys: fn(&str) -> String, notes: Notes) -> Setup<Discord> {
    Setup {
        vendor: Discord::default,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 0,
        tickets: 0,
        notes,
    }
}

async fn started(more: &str) -> (StandIn<Discord>, App) {
    let stand = StandIn::start(Discord::default()).await;
    let keys = format!("{}{more}", keys(&stand.url()));
    let app = App::start(&matrix::configuration(&keys, "5s")).await;
    (stand, app)
}

#[tokio::test]
async fn no_text_is_lost_and_each_unclear_end_leaves_one_more_at_most() {
    matrix::every_fault_at_every_position(&setup(keys, Notes::Resent)).await;
}

#[tokio::test]
async fn who_says_skip_never_sees_a_text_twice() {
    let keys = |url: &str| format!("{}, on_unknown = \"skip\"", keys(url));
    matrix::every_fault_at_every_position(&setup(keys, Notes::Skipped)).await;
}

#[tokio::test]
async fn a_killed_process_loses_no_text() {
    matrix::killed_at_every_position(&setup(keys, Notes::Resent)).await;
}

#[tokio::test]
async fn a_message_is_waited_for_and_its_id_is_kept() {
    let (stand, app) = started(", thread_id = \"42\"").await;
    app.text(&person(1)[1..], "hello").await;
    app.all_jobs_ended().await;
    let asked = &stand.exchanges()[0].asked;
    assert_eq!(
        (asked.query("wait"), asked.query("thread_id")),
        (Some("true"), Some("42"))
    );
    let id: Value = sqlx::query_scalar("SELECT result #> '{message,id}' FROM v1.jobs")
        .fetch_one(app.pool())
        .await
        .unwrap();
    stand.with(|discord| assert_eq!(id, discord.messages[0]["id"]));
}

#[tokio::test]
async fn a_text_calls_nobody_and_formats_nothing() {
    let (stand, app) = started("").await;
    let texts = [
        "@everyone @here <@1> <@&2> <#3>",
        "[bank.example](https://evil.example)",
        "**bold** __line__ ~~gone~~ ||spoiler|| `code`",
        "# heading\n> quote\n- list",
        "a \\* b \\ c",
    ];
    for text in texts {
        app.text(&person(1)[1..], text).await;
    }
    app.all_jobs_ended().await;
    assert_eq!(stand.census(&person(1)).notes, texts);
    stand.with(|discord| {
        assert_eq!(discord.called, Vec::<String>::new());
        for message in &discord.messages {
            let content = message["content"].as_str().unwrap();
            assert_eq!(Discord::effective(content), "", "{content}");
            assert_eq!((&message["flags"], message.get("tts")), (&json!(4), None));
        }
    });
}

#[tokio::test]
async fn a_long_text_is_cut_to_what_a_message_may_have() {
    let (stand, app) = started("").await;
    app.text(&person(1)[1..], &"*".repeat(1_900)).await;
    app.all_jobs_ended().await;
    stand.with(|discord| {
        let content = discord.messages[0]["content"].as_str().unwrap();
        assert!(content.chars().count() <= 2_000 && content.ends_with('…'));
        assert_eq!(Discord::effective(content), "");
    });
}

#[tokio::test]
async fn the_wait_that_discord_asks_for_is_kept() {
    let (stand, app) = started("").await;
    stand.with(|discord| discord.limited = 1);
    let begun = std::time::Instant::now();
    app.text(&person(1)[1..], "hello").await;
    app.all_jobs_ended().await;
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300));
    assert_eq!(stand.census(&person(1)).notes, ["hello"]);
}

#[tokio::test]
async fn a_deleted_webhook_stops_the_action_at_once() {
    let (stand, app) = started("").await;
    stand.with(|discord| discord.deleted = true);
    app.text(&person(1)[1..], "hello").await;
    assert!(pause(&app).await.contains("404"));
    assert_eq!(app.jobs().await[0].1, "available");
    assert_eq!(stand.exchanges().len(), 1);
}
