//! `smshook phone` with a script on its standard input: the whole way round in the real binary, and nothing that leaves it.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::helpers::{self, Fake, SECRET, smshook};
use crate::testkit::TestDatabase;

/// The standard endpoint and two rules, one of which answers.
const HOURS: &str = r#"
[action.hours]
reply = { text = "We are open. You asked: {{ text }}" }
[action.note]
log = { message = "kept: {{ text }}" }
[[rule]]
name = "hours"
first_word = ["hours"]
actions = ["hours"]
[[rule]]
name = "rest"
any = true
actions = ["note"]
"#;

/// A phone's configuration and its database.
struct Phone {
    directory: tempfile::TempDir,
    database: TestDatabase,
}

/// What was printed and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Phone {
    async fn with(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        helpers::write_configuration(directory.path(), Some("postgres://nobody@127.0.0.1:1/none"), toml);
        Self {
            directory,
            database: TestDatabase::new().await,
        }
    }

    /// Types these lines and waits until the phone is off.
    async fn types(&self, arguments: &[&str], lines: &str) -> Said {
        let mut command = smshook(&["phone", "--database-url-env", "TESTS_DATABASE"]);
        command
            .args(arguments)
            .env_remove("SMSHOOK_CONFIG")
            .env("TESTS_DATABASE", self.database.url())
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let lines = lines.to_owned();
        let run = move || {
            let mut child = command.spawn().unwrap();
            // It may have said no before it reads anything.
            drop(child.stdin.take().unwrap().write_all(lines.as_bytes()));
            child.wait_with_output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        for never in ["panicked", SECRET, "sk_live_of the tests"] {
            assert!(!said.out.contains(never) && !said.err.contains(never), "{said:?}");
        }
        said
    }

    /// The events of these lines.
    async fn events(&self, arguments: &[&str], lines: &str) -> Vec<Value> {
        let said = self.types(&[&["--json"], arguments].concat(), lines).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        said.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The events of one kind.
fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

/// Of the events of one kind, one member each.
fn members(events: &[Value], kind: &str, member: &str) -> Vec<Value> {
    of(events, kind)
        .into_iter()
        .map(|event| event[member].clone())
        .collect()
}

#[tokio::test]
async fn a_keyword_is_answered_and_every_step_of_that_is_shown() {
    let phone = Phone::with(HOURS).await;
    let events = phone.events(&[], "hours today?\n").await;
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["ready", "text", "answer", "rule", "rule", "reply", "action"],
        "{events:?}"
    );
    assert_eq!(events[0]["pretend_account"], true);
    assert_eq!(events[2]["status"], 200);
    let rules: Vec<_> = of(&events, "rule")
        .iter()
        .map(|rule| (rule["rule"].clone(), rule["why"].clone()))
        .collect();
    assert_eq!(rules[0], ("hours".into(), "matched".into()));
    assert_eq!(rules[1], ("rest".into(), "not tried: an earlier rule matched".into()));
    let reply = &events[5];
    assert_eq!(reply["text"], "We are open. You asked: hours today?");
    assert_eq!(reply["to"], "+12025550143");
    assert_eq!(
        (&reply["method"], &reply["path"]),
        (&"POST".into(), &"/v1/messages".into())
    );
    assert_eq!(
        (&events[6]["action"], &events[6]["state"]),
        (&"hours".into(), &"done".into())
    );
    assert!(events[6]["result"]["captures"]["id"].is_string(), "{events:?}");
}

#[tokio::test]
async fn stop_is_confirmed_once_and_after_it_nothing_is_sent_to_that_number() {
    let phone = Phone::with(HOURS).await;
    let events = phone.events(&[], "STOP\nhours\n/from +12025550144\nhours\n").await;
    assert_eq!(members(&events, "consent", "asks_for"), ["opt-out"]);
    let replies = members(&events, "reply", "text");
    assert_eq!(replies.len(), 2, "{events:?}");
    assert!(replies[0].as_str().unwrap().starts_with("You have been unsubscribed"));
    assert_eq!(members(&events, "reply", "to"), ["+12025550143", "+12025550144"]);
    let hours: Vec<_> = of(&events, "action")
        .into_iter()
        .filter(|event| event["action"] == "hours")
        .collect();
    assert_eq!(
        (&hours[0]["state"], &hours[0]["reason"]),
        (&"cancelled".into(), &"the sender has opted out".into())
    );
    assert_eq!(hours[1]["state"], "done");
    // the phone's data is kept: it knows the next time
    let again = phone.events(&[], "").await;
    assert_eq!(again[0]["opted_out"], true);
}

#[tokio::test]
async fn a_copy_is_known_for_one_and_a_wrong_signature_is_refused() {
    let phone = Phone::with(HOURS).await;
    let events = phone.events(&[], "one\n/retry\n/bad\ntwo\nthree\n").await;
    let answers: Vec<String> = of(&events, "answer")
        .iter()
        .map(|answer| {
            let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or_default();
            format!("{} {}", answer["status"], body["status"].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(answers, ["200 stored", "200 duplicate", "401 ", "200 stored"]);
    let lines: Vec<Value> = of(&events, "action")
        .into_iter()
        .map(|action| action["result"]["line"].clone())
        .collect();
    assert_eq!(lines, ["kept: one", "kept: three"]);
    let texts: Vec<(String, i32)> = sqlx::query_as("SELECT text, duplicates FROM v1.messages ORDER BY received_at")
        .fetch_all(&phone.database.pool)
        .await
        .unwrap();
    assert_eq!(texts, [("one".to_owned(), 1), ("three".to_owned(), 0)]);
}

/// Actions that reach outside, an account that does, and a reply that uses what one of them leaves.
fn outside(fake: &Fake) -> String {
    let there = "allow_private = [\"127.0.0.0/8\"]\nallow_http = true";
    format!(
        "{}\n[action.crm.http]\nurl = \"{}\"\njson = {{ text = \"{{{{ text }}}}\" }}\ncapture = {{ id = \"/id\" }}\n{there}\n\
         [action.crm]\nretry_base = \"10ms\"\n\
         [action.ticket.connector]\nuse = \"zendesk\"\nsubdomain = \"acme\"\nclient_id = \"smshook\"\nclient_secret = \"of the tests\"\n\
         base_url = \"{}\"\n{there}\n\
         [action.mail]\nemail = {{ host = \"127.0.0.1\", port = 1, tls = \"none\", allow_plain = true, from = \"sms@example.com\", to = \"me@example.com\" }}\n\
         [action.thanks]\nafter = [\"crm\", \"ticket\"]\n\
         reply = {{ text = \"Thanks: {{{{ results.crm.id }}}}, {{{{ results.ticket.number }}}}, {{{{ results.ticket.contact.id }}}}\" }}\n\
         [[rule]]\nname = \"all\"\nany = true\nactions = [\"crm\", \"ticket\", \"mail\", \"thanks\"]\n",
        helpers::replying_endpoint(fake),
        fake.url("/crm"),
        fake.url(""),
    )
}

#[tokio::test]
async fn nothing_leaves_the_machine_and_what_would_leave_is_shown() {
    let fake = Fake::start().await;
    let phone = Phone::with(&outside(&fake)).await;
    let events = phone.events(&[], "hello\n").await;
    assert!(fake.asked().is_empty(), "{:?}", fake.asked());
    assert_eq!(events[0]["rehearsed"], serde_json::json!(["crm", "mail", "ticket"]));
    assert_eq!(events[0]["pretend_account"], false);
    let ended: Vec<_> = of(&events, "action")
        .into_iter()
        .map(|action| (action["action"].as_str().unwrap(), action["state"].as_str().unwrap()))
        .collect();
    for action in ["crm", "mail", "ticket", "thanks"] {
        assert!(ended.contains(&(action, "done")), "{events:?}");
    }
    // to come after another action is no mishap
    assert!(of(&events, "tried").is_empty(), "{events:?}");
    let would = |name: &str| {
        let mut actions = of(&events, "action").into_iter();
        actions.find(|action| action["action"] == name).unwrap()["would"].clone()
    };
    assert_eq!(would("crm")["request"]["url"], fake.url("/crm"));
    assert_eq!(would("crm")["request"]["body"]["text"], "hello");
    assert_eq!(would("mail")["mail"]["to"], serde_json::json!(["me@example.com"]));
    assert!(would("ticket")["requests"].is_array(), "{events:?}");
    assert_eq!(
        members(&events, "reply", "text"),
        ["Thanks: <crm.id>, <ticket.number>, <ticket.contact.id>"]
    );
}

#[tokio::test]
async fn live_actions_reach_outside_with_their_retries_and_replies_still_do_not() {
    let fake = Fake::start().await;
    let toml = outside(&fake).replace("\"crm\", \"ticket\", \"mail\", \"thanks\"", "\"crm\"");
    let phone = Phone::with(&toml).await;
    fake.then(Fake::status(503));
    let events = phone.events(&["--live-actions"], "hello\n").await;
    let asked = fake.asked();
    assert_eq!(
        asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(),
        ["/crm", "/crm"]
    );
    assert_eq!(members(&events, "tried", "outcome").len(), 1, "{events:?}");
    let crm = of(&events, "action")[0];
    assert_eq!(
        (&crm["state"], &crm["attempt"]),
        (&"done".into(), &2.into()),
        "{events:?}"
    );
    let stop = phone.events(&["--live-actions"], "STOP\n").await;
    assert_eq!(of(&stop, "reply").len(), 1);
    assert!(
        fake.asked().iter().all(|asked| asked.path == "/crm"),
        "{:?}",
        fake.asked()
    );
}

#[tokio::test]
async fn every_built_in_gateway_closes_the_loop() {
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let endpoint = |name: &str| {
        format!("[[endpoint]]\nname = \"{name}\"\npath = \"/{name}\"\ngateway = \"{name}\"\nsecrets = [\"{key}\"]\n")
    };
    let endpoints: String = smshook::gateway::builtin_names().map(endpoint).collect();
    let server = "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://sms.example.com\"\n";
    let phone = Phone::with(&format!("{server}{endpoints}{HOURS}")).await;
    let mut reported = Vec::new();
    for (place, name) in smshook::gateway::builtin_names().enumerate() {
        // one number for each, or the loop guard stops it
        let from = format!("+155512300{place:02}");
        let events = phone.events(&["--endpoint", name, "--from", &from], "hours\n").await;
        let status = events[2]["status"].as_u64().unwrap();
        assert!((200..300).contains(&status), "{name}: {events:?}");
        let can_reply = events[0].get("no_replies").is_none();
        if !can_reply {
            assert!(
                of(&events, "reply").is_empty() && !of(&events, "left_out").is_empty(),
                "{name}: {events:?}"
            );
            continue;
        }
        assert_eq!(
            members(&events, "reply", "text"),
            ["We are open. You asked: hours"],
            "{name}: {events:?}"
        );
        assert_eq!(members(&events, "reply", "known"), [true], "{name}");
        let to = members(&events, "reply", "to");
        assert!(to[0].as_str().unwrap().ends_with(&from[1..]), "{name}: {to:?}");
        assert_eq!(members(&events, "action", "state"), ["done"], "{name}: {events:?}");
        assert!(of(&events, "problem").is_empty(), "{name}: {events:?}");
        if members(&events, "delivery", "state").contains(&"delivered".into()) {
            reported.push(name);
        }
    }
    for name in ["twilio", "telnyx", "vonage-messages", "vonage-sms"] {
        assert!(
            reported.contains(&name),
            "{name} reports nothing; these do: {reported:?}"
        );
    }
}

#[tokio::test]
async fn a_gateway_that_the_phone_cannot_stand_in_for_is_named_before_anything_starts() {
    let fake = Fake::start().await;
    let own = format!(
        "[gateway.own]\nlike = \"mobile-api-connect\"\nreply = {{ url = \"{}\" }}\n\
         [[endpoint]]\nname = \"main\"\npath = \"/own\"\ngateway = \"own\"\nsecrets = [\"{SECRET}\"]\n",
        fake.url("/send")
    );
    let phone = Phone::with(&(own + HOURS)).await;
    let said = phone.types(&[], "STOP\n").await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("base_url"), "{said:?}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn the_database_of_the_service_is_not_rehearsed_with() {
    let phone = Phone::with(HOURS).await;
    helpers::write_configuration(phone.directory.path(), Some(&phone.database.url()), HOURS);
    let said = phone.types(&[], "hours\n").await;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("the database of the service itself"), "{said:?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_said_as_check_says_it() {
    let phone = Phone::with("[[rule]]\nname = \"x\"\nany = true\nactions = [\"missing\"]\n").await;
    let said = phone.types(&[], "hours\n").await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(
        said.err.contains("no action `missing`") && said.err.contains("config.toml:"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_person_reads_lines_and_is_not_asked_by_a_script() {
    let phone = Phone::with(HOURS).await;
    let said = phone.types(&[], "hours\n/nonsense\n//slash\n/quit\nnever sent\n").await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for line in [
        "> hours",
        "  rule `hours`: first_word `hours` — matched",
        "    We are open. You asked: hours",
        "  there is no /nonsense; /help says what there is",
        "  `note` records: kept: /slash",
    ] {
        assert!(said.out.lines().any(|shown| shown == line), "{line}\n\n{}", said.out);
    }
    assert!(!said.out.contains("never sent"), "{said:?}");
}
