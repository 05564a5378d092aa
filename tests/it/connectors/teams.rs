//! Microsoft Teams: a card per text, through a workflow.

use serde_json::{Value, json};

use super::matrix::{self, Notes, Setup};
use super::vendor::{Answer, Asked, Census, Fault, StandIn, Vendor, number_in, person};
use crate::email::pause;
use crate::helpers::App;

const WORKFLOW: &str = "/powerautomate/automations/direct/workflows/1/triggers/manual/paths/invoke";
const SIGNATURE: &str = "of-the-tests";

/// One workflow. It takes everything that it can read at all; cards that Teams would refuse are not among `cards`.
#[derive(Default)]
struct Teams {
    cards: Vec<Value>,
}

impl Teams {
    /// The card of a request, if Teams would show it.
    fn card(body: &Value) -> Option<Value> {
        let attachment = &body["attachments"][0];
        let card = &attachment["content"];
        let is_text = |block: &Value| block["type"] == "TextBlock" && block["text"].is_string();
        let shown = body["type"] == "message"
            && attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
            && card["type"] == "AdaptiveCard"
            && card["version"] == "1.4"
            && card["body"]
                .as_array()
                .is_some_and(|blocks| !blocks.is_empty() && blocks.iter().all(is_text));
        shown.then(|| card.clone())
    }

    /// What people see of a card's text: a backslash before a sign is not shown, an empty line is a line break.
    fn shown(text: &str) -> String {
        let mut shown = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match (c, rest.peek()) {
                ('\\', Some(next)) if next.is_ascii_punctuation() => shown.extend(rest.next()),
                _ => shown.push(c),
            }
        }
        shown.replace("\n\n", "\n")
    }
}

impl Vendor for Teams {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.method != "POST" || asked.path != WORKFLOW {
            return Answer::json(
                404,
                &json!({ "error": { "code": "WorkflowNotFound", "message": "no such workflow" } }),
            );
        }
        if asked.query("sig") != Some(SIGNATURE) || asked.query("api-version") != Some("1") {
            return self.unauthorized();
        }
        if asked.body.len() > 28 * 1024 {
            return Answer::empty(413);
        }
        self.cards.extend(Self::card(&asked.json()));
        Answer::empty(202)
    }

    fn sender_of(&self, asked: &Asked) -> Option<String> {
        number_in(&asked.body)
    }

    fn changes(&self, _asked: &Asked) -> bool {
        true
    }

    fn census(&self, sender: &str) -> Census {
        let of = |card: &&Value| number_in(card["body"][0]["text"].as_str().unwrap()).as_deref() == Some(sender);
        let text = |card: &Value| Self::shown(card["body"][1]["text"].as_str().unwrap());
        Census {
            notes: self.cards.iter().filter(of).map(text).collect(),
            ..Census::default()
        }
    }

    fn unauthorized(&self) -> Answer {
        let error = json!({ "code": "DirectApiAuthorizationRequired", "message": "the signature does not fit" });
        Answer::json(401, &json!({ "error": error }))
    }
}

fn keys(url: &str) -> String {
    format!(r#"use = "teams", webhook_url = "{url}{WORKFLOW}?api-version=1&sp=%2Ftriggers&sig={SIGNATURE}""#)
}

fn setup(keys: fn(&str) -> String, notes: Notes) -> Setup<Teams> {
    Setup {
        vendor: Teams::default,
        keys,
        faults: Fault::ANY.to_vec(),
        contacts: 0,
        tickets: 0,
        notes,
    }
}

async fn started(keys: fn(&str) -> String) -> (StandIn<Teams>, App) {
    let stand = StandIn::start(Teams::default()).await;
    let app = App::start(&matrix::configuration(&keys(&stand.url()), "5s")).await;
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
async fn a_text_is_shown_as_it_was_written() {
    let (stand, app) = started(keys).await;
    let texts = [
        "[bank.example](https://evil.example)",
        "**bold** _line_ *x* `code` ~~gone~~",
        "# heading\n- list\n1. one",
        "<at>everyone</at> & <b>",
        "![x](https://evil.example/pixel.png)",
        "back\\slash \\*",
    ];
    for text in texts {
        app.text(&person(1)[1..], text).await;
    }
    app.all_jobs_ended().await;
    assert_eq!(stand.census(&person(1)).notes, texts);
    stand.with(|teams| {
        for card in &teams.cards {
            let text = card["body"][1]["text"].as_str().unwrap();
            assert!(!text.contains("](") && !text.contains("**"), "{text}");
        }
    });
}

#[tokio::test]
async fn a_long_text_still_fits_into_a_request() {
    for text in ["*", "語", "🦀"] {
        let (stand, app) = started(|url| format!("{}, message = \"{{{{ text * 20 }}}}\"", keys(url))).await;
        app.text(&person(1)[1..], &text.repeat(1_500)).await;
        app.all_jobs_ended().await;
        assert_eq!(app.jobs().await[0].1, "done", "{text}");
        let asked = &stand.exchanges()[0].asked;
        assert!(
            asked.body.len() > 10_000 && asked.body.len() < 28_000,
            "{}",
            asked.body.len()
        );
        assert!(stand.census(&person(1)).notes[0].ends_with('…'));
    }
}

#[tokio::test]
async fn a_url_whose_signature_is_not_taken_stops_the_action() {
    let (stand, app) = started(|url| keys(url).replace(SIGNATURE, "of-somebody-else")).await;
    app.text(&person(1)[1..], "hello").await;
    let reason = pause(&app).await;
    assert!(
        reason.contains("401") && !reason.contains("of-somebody-else"),
        "{reason}"
    );
    assert_eq!(app.jobs().await[0].1, "available");
    assert_eq!(stand.exchanges().len(), 1);
}
