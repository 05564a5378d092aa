//! What actions send and what they make of the answers: from a signed body to a request at the other system's door.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use smshook::actions::{Actions, PreviewError};
use smshook::config::{self, Source};
use smshook::job::{Job, Outcome};
use smshook::store::{LoopLimits, SendGate, Want};
use sqlx::{PgPool, Row};

use crate::helpers::{self, Answer, App, Fake, Intake, Process, eventually, sms};

const PERSON: &str = "15551230001";

/// An endpoint that answers every text with `text`; `more` are further keys of the action.
fn replying(gateway: &Fake, text: &str, more: &str) -> String {
    format!(
        r#"
        [worker]
        poll = "50ms"
        {}
        [action.answer]
        reply = {{ text = {} }}
        {more}
        [[rule]]
        name = "everything"
        any = true
        actions = ["answer"]
        "#,
        helpers::replying_endpoint(gateway),
        json!(text)
    )
}

/// Every text calls `url`; `keys` are further keys of the request, `more` of the action.
fn calling(url: &str, keys: &str, more: &str) -> String {
    format!(
        r#"
        [worker]
        poll = "50ms"
        [action.call]
        {more}
        [action.call.http]
        url = "{url}"
        allow_http = true
        allow_private = ["127.0.0.0/8"]
        {keys}
        [[rule]]
        name = "everything"
        any = true
        actions = ["call"]
        "#
    )
}

/// `toml`, whose rule orders the action of [`calling`] as well.
fn beside(toml: &str, call: &str) -> String {
    let action = &call[call.find("[action.call]").unwrap()..call.find("[[rule]]").unwrap()];
    toml.replace("[[rule]]", &format!("{action}\n[[rule]]"))
        .replace("[\"answer\"]", "[\"answer\", \"call\"]")
}

/// A file that only its owner can read; its path as TOML.
fn secret_file(directory: &std::path::Path, secret: &str) -> Value {
    let file = directory.join("secret");
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    json!(file)
}

const JSON: &str = r#"json = { from = "{{ sender }}", text = "{{ text }}" }"#;

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.unwrap();
}

/// State, reason and result of the only job.
async fn only_job(pool: &PgPool) -> (String, String, Value) {
    let row = sqlx::query("SELECT state, reason, result FROM v1.jobs")
        .fetch_one(pool)
        .await
        .unwrap();
    let (reason, result): (Option<String>, Option<Value>) = (row.get(1), row.get(2));
    (row.get(0), reason.unwrap_or_default(), result.unwrap_or_default())
}

/// Lets the minute pass that a gateway has to report on a text.
async fn a_minute_later(pool: &PgPool) {
    execute(
        pool,
        "UPDATE smshook.jobs SET run_at = now() WHERE state = 'available' AND progress -> 'sending' ? 'waited'",
    )
    .await;
}

#[tokio::test]
async fn a_reply_is_the_request_that_the_gateway_documents() {
    let gateway = Fake::start().await;
    let app = App::start(&replying(&gateway, "Hello {{ sender }}", "")).await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let asked = gateway.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("POST", "/v1/messages")
    );
    assert_eq!(asked[0].headers["authorization"], "Bearer sk_live_of the tests");
    assert_eq!(asked[0].headers["content-type"], "application/json");
    let body = asked[0].json();
    let reference = body["ref"].as_str().unwrap();
    assert!((1..=64).contains(&reference.len()), "{reference}");
    assert_eq!(
        body,
        json!({ "to": "+15551230001", "text": "Hello +15551230001", "ref": reference })
    );
    let (state, _, result) = only_job(app.pool()).await;
    assert_eq!(state, "done");
    assert_eq!(result["reference"], reference);
    assert_eq!(result["captures"], json!({ "id": "msg_1", "status": "queued" }));
}

#[tokio::test]
async fn hostile_texts_arrive_exactly_as_they_were_written_and_are_never_templates() {
    let hostile = [
        r#"it's "broken", said O'Neil"#,
        "two\nlines\r\nand\ta tab",
        "{{ 7 * 7 }} {% for x in range(9) %}x{% endfor %} {# gone #}",
        r#"C:\new\table \u0041 \\ \" "#,
        "👩‍👩‍👧‍👦 \u{202e}olleh\u{202c} é e\u{301} ﷽",
        r#"","to":"+19995550000","x":""#,
        "{\"a\": [1, null]} </script><script>alert(1)</script>",
        "${IFS} $(reboot) `id` %s%n {0} %7B%7B",
        "\u{1}\u{7f}\u{fffe} \u{2028}\u{2029}",
    ];
    let (gateway, crm) = (Fake::start().await, Fake::start().await);
    let call = calling(
        &crm.url("/crm"),
        "form = { text = \"{{ text }}\", \"a b&\" = \"{{ text }}\" }",
        "",
    );
    let app = App::start(&beside(&replying(&gateway, "{{ text }}", ""), &call)).await;
    for (nth, text) in hostile.iter().enumerate() {
        assert_eq!(app.text(&format!("1555123{nth:04}"), text).await.status, 200);
    }
    app.all_jobs_ended().await;
    let replies: BTreeMap<String, String> = gateway
        .asked()
        .iter()
        .map(helpers::Asked::json)
        .map(|body| {
            (
                body["to"].as_str().unwrap().to_owned(),
                body["text"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let forms: Vec<String> = crm.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(replies.len(), hostile.len());
    for (nth, text) in hostile.iter().enumerate() {
        assert_eq!(replies[&format!("+1555123{nth:04}")], *text);
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("a b&", text)
            .append_pair("text", text)
            .finish();
        assert!(forms.contains(&form), "{form}");
    }
}

#[tokio::test]
async fn no_active_device_is_tried_again_with_the_same_bytes() {
    let gateway = Fake::start().await;
    for _ in 0..2 {
        gateway.then(Answer::Now(
            503,
            vec![],
            json!({ "error": "no_active_device_for_tenant" }).to_string(),
        ));
    }
    let app = App::start(&replying(
        &gateway,
        "at {{ now }} attempt {{ job.attempt }}",
        "retry_base = \"5ms\"",
    ))
    .await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let asked = gateway.asked();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|one| one.body == asked[0].body && one.headers == asked[0].headers)
    );
    assert_eq!(only_job(app.pool()).await.0, "done");
    let errors: Vec<Option<String>> = sqlx::query_scalar("SELECT error FROM v1.attempts ORDER BY attempt")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert!(
        errors[0]
            .as_deref()
            .unwrap()
            .contains("503 (no_active_device_for_tenant)"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_validation_error_is_final_and_its_reason_has_the_code_but_no_number_and_no_text() {
    let gateway = Fake::start().await;
    let app = App::start(&replying(&gateway, "You wrote: {{ text }}", "")).await;
    let error = json!({
        "error": "validation_error",
        "issues": [
            { "path": ["to"], "message": "+15551230001 is not reachable, +1 (555) 123-0001 neither", "from": "15550009999" },
            { "path": ["text"], "received": "You wrote: my secret diagnosis \"x\"" },
            { "authorization": "Bearer sk_live_of the tests" },
        ],
    });
    gateway.then(Answer::Now(400, vec![], error.to_string()));
    app.text(PERSON, "my secret diagnosis \"x\"").await;
    app.all_jobs_ended().await;
    let (state, reason, _) = only_job(app.pool()).await;
    assert_eq!(state, "discarded");
    assert!(reason.contains("400 (validation_error)"), "{reason}");
    for hidden in ["diagnosis", "5551230001", "123-0001", "5550009999", "sk_live"] {
        assert!(!reason.contains(hidden), "{hidden} is in: {reason}");
    }
    assert_eq!(gateway.asked().len(), 1);
}

#[tokio::test]
async fn a_gateway_that_refuses_the_connection_gets_the_reply_when_it_is_back() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let elsewhere = Fake::start().await;
    let toml = replying(
        &elsewhere,
        "hello",
        "retry_base = \"5ms\"\nretry_cap = \"20ms\"\nmax_attempts = 10000",
    );
    let app = App::start(&toml.replace(&elsewhere.url(""), &format!("http://{address}"))).await;
    app.text(PERSON, "hi").await;
    eventually("an attempt failed", async || {
        app.count("SELECT count(*) FROM v1.attempts WHERE outcome = 'retry'")
            .await
            > 1
    })
    .await;
    let errors = "SELECT count(*) FROM v1.attempts WHERE error NOT LIKE '%no connection%'";
    assert_eq!(app.count(errors).await, 0);
    let gateway = Fake::on(socket.listen(16).unwrap());
    app.all_jobs_ended().await;
    assert_eq!(gateway.asked().len(), 1);
    assert_eq!(only_job(app.pool()).await.0, "done");
}

/// A service whose gateway takes a reply and never answers; the attempt has ended by its timeout.
async fn hung(gateway: &Fake) -> App {
    gateway.then(Answer::Hold);
    let app = App::start(&replying(gateway, "hello", "timeout = \"300ms\"\nretry_base = \"5ms\"")).await;
    app.text(PERSON, "hi").await;
    eventually("it waits for a report", async || {
        app.count("SELECT count(*) FROM v1.jobs WHERE state = 'available' AND run_at > now() + interval '50 seconds'")
            .await
            == 1
    })
    .await;
    app
}

#[tokio::test]
async fn a_reply_whose_fate_is_unknown_is_never_sent_again_on_a_guess() {
    let gateway = Fake::start().await;
    let app = hung(&gateway).await;
    a_minute_later(app.pool()).await;
    app.all_jobs_ended().await;
    let (state, reason, _) = only_job(app.pool()).await;
    assert_eq!(state, "discarded");
    assert!(reason.starts_with("not known whether attempt 1 was sent"), "{reason}");
    assert_eq!(gateway.asked().len(), 1);
    // a person decides
    let store = smshook::store::Store::from_pool(app.pool().clone());
    let job: i64 = sqlx::query_scalar("SELECT id FROM v1.jobs")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert!(reason.contains(&format!("smshook jobs retry {job}")), "{reason}");
    assert!(store.retry_job(job).await.unwrap());
    app.all_jobs_ended().await;
    assert_eq!(only_job(app.pool()).await.0, "done");
    let asked = gateway.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].body, asked[1].body);
}

#[tokio::test]
async fn a_reply_whose_fate_is_unknown_is_done_once_the_gateway_reports_on_it() {
    let gateway = Fake::start().await;
    let app = hung(&gateway).await;
    let reference = gateway.asked()[0].json()["ref"].clone();
    let event = json!({ "event": "message.sent", "id": "msg_1", "ref": reference });
    assert_eq!(app.deliver(&event.to_string()).await.json()["status"], "event");
    execute(app.pool(), "UPDATE smshook.jobs SET run_at = now()").await;
    app.all_jobs_ended().await;
    let (state, _, result) = only_job(app.pool()).await;
    assert_eq!((state.as_str(), &result["event"]), ("done", &json!("message.sent")));
    assert_eq!(gateway.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_say_whether_the_text_was_taken_is_no_reason_to_send_it_again() {
    for status in [500, 502, 504] {
        let gateway = Fake::start().await;
        gateway.then(Fake::status(status));
        let app = App::start(&replying(&gateway, "hello", "retry_base = \"5ms\"")).await;
        app.text(PERSON, "hi").await;
        eventually("it waits for a report", async || {
            app.count(
                "SELECT count(*) FROM v1.jobs WHERE state = 'available' AND run_at > now() + interval '50 seconds'",
            )
            .await
                == 1
        })
        .await;
        a_minute_later(app.pool()).await;
        app.all_jobs_ended().await;
        assert_eq!(only_job(app.pool()).await.0, "discarded");
        assert_eq!(app.count("SELECT count(*) FROM v1.attempts").await, 2);
        assert_eq!(gateway.asked().len(), 1);
    }
}

#[tokio::test]
async fn an_operator_who_would_rather_send_twice_than_never_gets_the_same_bytes_again() {
    let gateway = Fake::start().await;
    gateway.then(Answer::Hold);
    let toml = replying(
        &gateway,
        "hello at {{ now }}",
        "timeout = \"300ms\"\nretry_base = \"5ms\"",
    );
    let app = App::start(&toml.replace("{{ now }}\" }", "{{ now }}\", on_unknown = \"resend\" }")).await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let asked = gateway.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].body, asked[1].body);
    assert_eq!(only_job(app.pool()).await.0, "done");
}

#[tokio::test]
async fn a_request_without_an_answer_is_repeated_unless_the_other_side_would_do_it_twice() {
    for (on_unknown, requests, state) in [
        ("resend", 2, "done"),
        ("skip", 1, "discarded"),
        ("hold", 1, "discarded"),
    ] {
        let crm = Fake::start().await;
        crm.then(Answer::Hold);
        let keys = format!("{JSON}\non_unknown = \"{on_unknown}\"");
        let app = App::start(&calling(
            &crm.url("/crm"),
            &keys,
            "timeout = \"300ms\"\nretry_base = \"5ms\"",
        ))
        .await;
        app.text(PERSON, "hi").await;
        app.all_jobs_ended().await;
        let asked = crm.asked();
        assert_eq!(asked.len(), requests, "{on_unknown}");
        assert!(
            asked
                .iter()
                .all(|one| one.body == asked[0].body && one.headers == asked[0].headers)
        );
        let (ended, reason, _) = only_job(app.pool()).await;
        assert_eq!(ended, state, "{reason}");
    }
}

#[tokio::test]
async fn a_reply_of_a_process_that_died_while_sending_is_not_sent_again_either() {
    let gateway = Fake::start().await;
    gateway.always(Answer::Hold);
    let toml = replying(&gateway, "hello", "");
    let intake = Intake::start(&toml).await;
    intake.text(PERSON, "hi").await;
    let job = claim(&intake, "answer").await;
    let actions = Arc::new(Actions::new(Arc::clone(&intake.config), intake.store.clone()).unwrap());
    let dying = tokio::spawn(async move { actions.run(&job).await });
    gateway.came(1).await;
    dying.abort();
    execute(intake.pool(), "UPDATE smshook.jobs SET run_at = now()").await;
    let (stop, working) = intake.work(&toml);
    eventually("the next process waits for a report", async || {
        helpers::count(
            intake.pool(),
            "SELECT count(*) FROM v1.jobs WHERE state = 'available' AND run_at > now()",
        )
        .await
            == 1
    })
    .await;
    a_minute_later(intake.pool()).await;
    helpers::jobs_ended(intake.pool()).await;
    assert_eq!(only_job(intake.pool()).await.0, "discarded");
    assert_eq!(gateway.asked().len(), 1);
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn a_report_of_the_gateway_is_tied_to_the_reply_that_it_is_about() {
    let gateway = Fake::start().await;
    let app = App::start(&replying(&gateway, "hello", "")).await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let reference = gateway.asked()[0].json()["ref"].clone();
    for (event, reference) in [
        ("message.delivered", reference),
        ("message.failed", json!("somebody else's")),
    ] {
        app.deliver(&json!({ "event": event, "ref": reference }).to_string())
            .await;
    }
    let tied: Vec<(String, Option<i64>)> =
        sqlx::query_as("SELECT kind, job_id FROM v1.gateway_events ORDER BY received_at")
            .fetch_all(app.pool())
            .await
            .unwrap();
    let job: i64 = sqlx::query_scalar("SELECT id FROM v1.jobs")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(
        tied,
        [
            ("message.delivered".to_owned(), Some(job)),
            ("message.failed".to_owned(), None)
        ]
    );
}

#[tokio::test]
async fn a_text_that_the_gateways_own_rule_matched_is_not_answered_twice() {
    let gateway = Fake::start().await;
    let skip = "skip_reply_if_gateway_rule_matched = true\n[action.answer]";
    let toml = replying(&gateway, "hello", "").replacen("[action.answer]", skip, 1);
    let app = App::start(&toml).await;
    let mut matched = sms(PERSON, "hi");
    matched["matchedRuleId"] = json!("rule_1");
    app.deliver(&matched.to_string()).await;
    app.all_jobs_ended().await;
    assert_eq!(app.jobs().await, []);
    // the copy that names the rule may come second
    let intake = Intake::start(&toml).await;
    let mut copy = sms(PERSON, "hi");
    helpers::deliver(intake.address, "/hooks/sms", copy.to_string().as_bytes()).await;
    copy["matchedRuleId"] = json!("rule_1");
    helpers::deliver(intake.address, "/hooks/sms", copy.to_string().as_bytes()).await;
    let (stop, working) = intake.work(&toml);
    helpers::jobs_ended(intake.pool()).await;
    let (state, reason, _) = only_job(intake.pool()).await;
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("cancelled", "a rule of the gateway's own matched and may have answered")
    );
    assert!(gateway.asked().is_empty());
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn two_machines_that_answer_each_other_stop_after_five_texts_in_ten_minutes_and_twenty_a_day() {
    let gateway = Fake::start().await;
    let two_actions = "[action.other]\nreply = { text = \"other\" }\n[[rule]]\nname = \"other\"\nexact = \"other\"\nactions = [\"other\"]\n[[rule]]";
    let only_rates = "[loop_guard]\nsame_reply = false\nsame_text = false\n";
    let toml = replying(&gateway, "hello", "").replacen("[[rule]]", two_actions, 1) + only_rates;
    let app = App::start(&toml).await;
    let text = async |from: &str, text: &str| {
        app.text(from, text).await;
        app.all_jobs_ended().await;
        gateway.asked().len()
    };
    for nth in 1..=5 {
        assert_eq!(text(PERSON, if nth % 2 == 0 { "other" } else { "hi" }).await, nth);
    }
    assert_eq!(text(PERSON, "hi").await, 5);
    assert_eq!(text(PERSON, "other").await, 5, "all actions count together");
    let (_, state, reason) = app.jobs().await.pop().unwrap();
    assert_eq!(
        (state.as_str(), reason.as_deref()),
        (
            "cancelled",
            Some("loop guard: the sender has had 5 texts within 10 minutes")
        )
    );
    assert_eq!(text("15551239999", "hi").await, 6, "another conversation");
    let later = "UPDATE smshook.sends SET started_at = started_at - interval '11 minutes'";
    for round in 1..4 {
        execute(app.pool(), later).await;
        for nth in 1..=5 {
            assert_eq!(text(PERSON, "hi").await, 6 + (round - 1) * 5 + nth);
        }
    }
    execute(app.pool(), later).await;
    assert_eq!(text(PERSON, "hi").await, 21);
    let reason = app.jobs().await.pop().unwrap().2;
    assert_eq!(
        reason.as_deref(),
        Some("loop guard: the sender has had 20 texts within 1440 minutes")
    );
    assert_eq!(text(PERSON, "STOP").await, 22, "the law's confirmation does not count");
    execute(
        app.pool(),
        "UPDATE smshook.sends SET started_at = started_at - interval '24 hours' WHERE opt_out_id IS NULL",
    )
    .await;
    assert_eq!(text(PERSON, "START").await, 23);
    for nth in 1..=4 {
        assert_eq!(text(PERSON, "hi").await, 23 + nth, "the confirmation took no place");
    }
    assert_eq!(text(PERSON, "hi").await, 27);
}

#[tokio::test]
async fn texts_of_one_conversation_that_leave_at_once_do_not_share_the_last_place() {
    let gateway = Fake::start().await;
    let one = "[action.aN]\nreply = { text = \"a\" }\n[[rule]]\nname = \"aN\"\nexact = \"aN\"\nactions = [\"aN\"]\n";
    let more: Vec<String> = (0..8).map(|n| one.replace('N', &n.to_string())).collect();
    let more = more.concat();
    let intake = Arc::new(
        Intake::start(&replying(&gateway, "hello", "").replacen("[[rule]]", &format!("{more}[[rule]]"), 1)).await,
    );
    let limits = LoopLimits {
        windows: vec![(3, Duration::from_mins(10)), (100, Duration::from_hours(24))],
        same_reply: None,
        ..LoopLimits::default()
    };
    let mut sending = Vec::new();
    for n in 0..8 {
        intake.text(PERSON, &format!("a{n}")).await;
        let (intake, limits, job) = (
            Arc::clone(&intake),
            limits.clone(),
            claim(&intake, &format!("a{n}")).await,
        );
        sending.push(async move {
            intake
                .store
                .begin_send(&job, &format!("reference {n}"), "a", &limits, &json!({}))
                .await
                .unwrap()
        });
    }
    let gates: Vec<_> = sending.into_iter().map(tokio::spawn).collect();
    let mut clear = 0;
    for gate in gates {
        clear += i32::from(matches!(gate.await.unwrap(), SendGate::Clear { .. }));
    }
    assert_eq!(clear, 3);
}

#[tokio::test]
async fn short_codes_names_and_nobody_are_not_answered() {
    let gateway = Fake::start().await;
    let app = App::start(&replying(&gateway, "hello", "")).await;
    for from in ["72345", "ACME-INFO", "", "*100#"] {
        assert_eq!(app.text(from, "hi").await.status, 200);
    }
    assert_eq!(app.jobs().await, []);
    assert!(gateway.asked().is_empty());
}

#[tokio::test]
async fn one_text_gets_one_reply_however_many_rules_match() {
    let gateway = Fake::start().await;
    let more = "[action.other]\nreply = { text = \"other\" }\n[action.note]\nlog = { message = \"{{ rule }}\" }\n\
                [[rule]]\nname = \"first\"\nany = true\nactions = [\"other\", \"answer\", \"note\"]\ncontinue = true\n[[rule]]";
    let app = App::start(&replying(&gateway, "hello", "").replacen("[[rule]]", more, 1)).await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    assert_eq!(gateway.asked().len(), 1);
    assert_eq!(gateway.asked()[0].json()["text"], "other");
    let jobs: BTreeMap<String, String> = app.jobs().await.into_iter().map(|job| (job.0, job.1)).collect();
    let done = |action: &str| (action.to_owned(), "done".to_owned());
    assert_eq!(jobs, [done("other"), done("note")].into());
}

#[tokio::test]
async fn a_request_carries_what_was_configured_and_its_captures_are_kept() {
    let crm = Fake::start().await;
    crm.then(Answer::Now(
        201,
        vec![("location", "/people/7".to_owned())],
        json!({ "data": { "id": 7, "tags": ["a"] }, "ok": true }).to_string(),
    ));
    let keys = r#"
        method = "PUT"
        query = { source = "sms & more", who = "{{ sender }}" }
        headers = { "X-Source" = "{{ endpoint }}/{{ rule }}", Authorization = { prefix = "Bearer ", file = "TOKEN" } }
        json = { person = { number = "{{ sender }}", tags = ["sms", "{{ endpoint }}"] }, text = "{{ text }}", copies = "{{ message.duplicates }}", vip = true, score = 1.5, nothing = "{{ ref }}" }
        require = { "/ok" = true }
        capture = { person = "/data/id", tags = "/data/tags", location = { header = "Location" }, absent = "/no/such" }
    "#;
    let directory = tempfile::tempdir().unwrap();
    let token = secret_file(directory.path(), "s3cr3t-token\n");
    let keys = keys.replace("\"TOKEN\"", &token.to_string());
    let app = App::start(&calling(&crm.url("/people/{{ sender }}"), &keys, "")).await;
    app.text(PERSON, "say \"hi\"").await;
    app.all_jobs_ended().await;
    let asked = &crm.asked()[0];
    assert_eq!(asked.method.as_str(), "PUT");
    assert_eq!(
        asked.path,
        "/people/%2B15551230001?source=sms%20%26%20more&who=%2B15551230001"
    );
    assert_eq!(asked.headers["x-source"], "main/everything");
    assert_eq!(asked.headers["authorization"], "Bearer s3cr3t-token");
    let person = json!({ "number": "+15551230001", "tags": ["sms", "main"] });
    let expected =
        json!({ "person": person, "text": "say \"hi\"", "copies": 0, "vip": true, "score": 1.5, "nothing": null });
    assert_eq!(asked.json(), expected);
    let (state, _, result) = only_job(app.pool()).await;
    assert_eq!(state, "done");
    let captures = json!({ "person": 7, "tags": ["a"], "location": "/people/7" });
    assert_eq!(result, json!({ "status": 201, "captures": captures }));
}

#[tokio::test]
async fn retries_are_the_same_bytes_under_one_key_and_each_is_signed_anew() {
    const FIRST: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
    const SECOND: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4";
    let crm = Fake::start().await;
    crm.then(Fake::status(500));
    crm.then(Fake::status(429));
    let sign = format!("sign = {{ scheme = \"standard-webhooks\", secrets = [\"{FIRST}\", \"{SECOND}\"] }}");
    let keys = format!(
        "json = {{ text = \"{{{{ text }}}}\", at = \"{{{{ now }}}}\", attempt = \"{{{{ job.attempt }}}}\" }}\n{sign}"
    );
    let app = App::start(&calling(&crm.url("/hook"), &keys, "retry_base = \"5ms\"")).await;
    app.text(PERSON, "héllo").await;
    app.all_jobs_ended().await;
    let asked = crm.asked();
    assert_eq!(asked.len(), 3);
    for one in &asked {
        assert_eq!(one.body, asked[0].body);
        assert_eq!(one.headers["idempotency-key"], asked[0].headers["idempotency-key"]);
        let header = |name: &str| one.headers[name].to_str().unwrap().to_owned();
        let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
        assert_eq!(header("idempotency-key"), id);
        let age = chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{age}");
        let signed = format!("{id}.{time}.{}", one.body);
        let signature = |secret: &str| {
            let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(signed.as_bytes());
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        assert_eq!(
            header("webhook-signature"),
            format!("{} {}", signature(FIRST), signature(SECOND))
        );
    }
    assert_eq!(asked[0].json()["text"], "héllo");
}

#[tokio::test]
async fn a_retry_after_date_is_honoured() {
    let crm = Fake::start().await;
    let date = (chrono::Utc::now() + chrono::TimeDelta::minutes(20))
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    crm.then(Answer::Now(503, vec![("retry-after", date)], String::new()));
    let app = App::start(&calling(&crm.url("/crm"), JSON, "")).await;
    app.text(PERSON, "hi").await;
    eventually("the first attempt is settled", async || {
        app.count("SELECT count(*) FROM v1.attempts").await == 1
    })
    .await;
    let waits = app
        .count("SELECT extract(epoch FROM run_at - now())::int8 FROM v1.jobs WHERE state = 'available'")
        .await;
    assert!((1_150..=1_203).contains(&waits), "{waits}");
}

#[tokio::test]
async fn what_the_answer_must_say_is_required() {
    let crm = Fake::start().await;
    for answer in [r#"{"ok":false,"error":"channel_not_found"}"#, "", r#"{"ok":true}"#] {
        crm.then(Answer::Now(200, vec![], answer.to_owned()));
    }
    let keys = format!("{JSON}\nrequire = {{ \"/ok\" = true }}\nerror_pointer = \"/error\"");
    let app = App::start(&calling(&crm.url("/crm"), &keys, "")).await;
    for sender in ["15551230001", "15551230002", "15551230003"] {
        app.text(sender, "hi").await;
        app.all_jobs_ended().await;
    }
    let states: Vec<String> = app.jobs().await.into_iter().map(|job| job.1).collect();
    assert_eq!(states, ["discarded", "discarded", "done"]);
    let reason = app.jobs().await.remove(0).2.unwrap();
    assert!(
        reason.contains("channel_not_found") && reason.contains("/ok"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (crm, elsewhere) = (Fake::start().await, Fake::start().await);
        crm.then(Answer::Now(
            status,
            vec![("location", elsewhere.url("/stolen"))],
            String::new(),
        ));
        let app = App::start(&calling(&crm.url("/crm"), JSON, "")).await;
        app.text(PERSON, "hi").await;
        app.all_jobs_ended().await;
        let (state, reason, _) = only_job(app.pool()).await;
        assert_eq!(state, "discarded");
        assert!(reason.contains("redirects are never followed"), "{reason}");
        assert_eq!((crm.asked().len(), elsewhere.asked().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_private_network_is_not_entered_unless_it_is_listed() {
    let crm = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let closed = |host: &str| {
        let url = crm.url("/crm").replace("127.0.0.1", host);
        calling(&url, JSON, "max_attempts = 1")
            .replace("allow_private = [\"127.0.0.0/8\"]", "allow_private = [\"10.0.0.0/8\"]")
    };
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
    ] {
        let file = helpers::write_configuration(directory.path(), None, &closed(host));
        let problems = config::load(&Source::File(file), &|_| None).unwrap_err().to_string();
        assert!(problems.contains("private network"), "{host}: {problems}");
    }
    // what the configuration cannot see by itself is refused when it is about to be sent
    for host in ["[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]"] {
        let app = App::start(&closed(host)).await;
        app.text(PERSON, "hi").await;
        app.all_jobs_ended().await;
        let (state, reason, _) = only_job(app.pool()).await;
        assert!(
            state == "discarded" && reason.contains("`allow_private`"),
            "{host}: {reason}"
        );
    }
    assert!(crm.asked().is_empty());
}

#[tokio::test]
async fn a_text_never_changes_where_a_request_goes() {
    let (crm, evil) = (Fake::start().await, Fake::start().await);
    let port = evil.url("").rsplit(':').next().unwrap().to_owned();
    let texts = [
        format!("@127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/x"),
        format!("\\\\127.0.0.1:{port}\\x"),
        format!("http://127.0.0.1:{port}/x"),
        "../../admin".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "%2e%2e/%2E%2E/admin".to_owned(),
        "?admin=1#top".to_owned(),
        "a\r\nHost: evil\r\n\r\nGET /admin HTTP/1.1".to_owned(),
        "\u{2025}/\u{ff0f}x".to_owned(),
        String::new(),
    ];
    let app = App::start(&calling(
        &crm.url("/people/{{ text }}/notes"),
        "query = { q = \"{{ text }}\" }\njson = {}",
        "",
    ))
    .await;
    for (nth, text) in texts.iter().enumerate() {
        app.text(&format!("1555123{nth:04}"), text).await;
    }
    app.all_jobs_ended().await;
    assert!(evil.asked().is_empty());
    let states: Vec<(String, Option<String>)> = app.jobs().await.into_iter().map(|job| (job.1, job.2)).collect();
    assert_eq!(
        crm.asked().len(),
        states.iter().filter(|job| job.0 == "done").count(),
        "{states:?}"
    );
    for asked in crm.asked() {
        let (path, query) = asked.path.split_once('?').unwrap();
        assert!(path.starts_with("/people/") && path.ends_with("/notes"), "{path}");
        assert_eq!(path.matches('/').count(), 3, "{path}");
        assert!(
            !path.contains("/../") && !path.to_lowercase().contains("/%2e%2e/"),
            "{path}"
        );
        assert!(query.starts_with("q=") && !query.contains('&'), "{query}");
    }
    for (state, reason) in states.iter().filter(|job| job.0 != "done") {
        assert_eq!(state, "discarded");
        assert!(reason.as_deref().unwrap().contains("segment"), "{reason:?}");
    }
}

/// Everything in every table, as text.
async fn all_rows(pool: &PgPool) -> String {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'smshook'")
            .fetch_all(pool)
            .await
            .unwrap();
    let mut all = String::new();
    for table in tables {
        let rows = format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM smshook.{table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(rows))
            .fetch_one(pool)
            .await
            .unwrap();
        all.push_str(&rows);
    }
    all
}

#[tokio::test]
async fn secrets_get_into_no_table_even_where_the_other_system_sends_them_back() {
    let (gateway, crm) = (Fake::start().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let key = secret_file(directory.path(), "hunter2-of-the-crm");
    let keys = format!(
        r#"
        headers = {{ "X-Api-Key" = {{ prefix = "Key ", file = {key} }} }}
        {JSON}
        sign = {{ scheme = "standard-webhooks", secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"] }}
        error_pointer = "/error"
        "#
    );
    let call = calling(&crm.url("/crm"), &keys, "retry_base = \"5ms\"");
    let app = App::start(&beside(
        &replying(&gateway, "{{ text }}", "retry_base = \"5ms\""),
        &call,
    ))
    .await;
    let signing = [
        "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    ];
    let echoes = [
        (
            &gateway,
            json!({ "error": "bad sk_live_of the tests", "you sent": "Bearer sk_live_of the tests" }),
        ),
        (
            &crm,
            json!({ "error": "bad hunter2-of-the-crm", "you sent": ["Key hunter2-of-the-crm", signing] }),
        ),
    ];
    for (fake, echo) in echoes {
        fake.then(Answer::Now(503, vec![], echo.to_string()));
        fake.then(Answer::Now(403, vec![], echo.to_string()));
    }
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    assert_eq!(crm.asked()[0].headers["x-api-key"], "Key hunter2-of-the-crm");
    let rows = all_rows(app.pool()).await;
    assert_eq!(
        app.count("SELECT count(*) FROM v1.attempts WHERE error LIKE 'answered %'")
            .await,
        4
    );
    assert!(rows.contains("answered 403"), "the errors are on record");
    for secret in ["hunter2", "sk_live", "MDEyMzQ1", helpers::SECRET] {
        assert!(!rows.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_log_actions_line_is_in_the_job_and_no_text_or_number_is_in_the_log() {
    let database = crate::testkit::TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start().await;
    fake.always(Answer::Now(
        400,
        vec![],
        json!({ "error": "validation_error", "text": "umbrella wanted" }).to_string(),
    ));
    let more = "[action.note]\nlog = { message = \"{{ sender }} wrote: {{ text }}\" }\n[[rule]]\nname = \"note\"\nany = true\n\
                actions = [\"note\"]\ncontinue = true\n[[rule]]";
    let toml = replying(&fake, "You wrote {{ text }}", "").replacen("[[rule]]", more, 1);
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
    let process = Process::start(&config).await;
    for text in ["umbrella wanted", "STOP umbrella"] {
        let body = sms(PERSON, text).to_string();
        assert_eq!(
            helpers::deliver(process.address, "/hooks/sms", body.as_bytes())
                .await
                .status,
            200
        );
    }
    helpers::jobs_ended(&database.pool).await;
    let lines: Vec<Value> = sqlx::query_scalar("SELECT result FROM v1.jobs WHERE action = 'note' ORDER BY id")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(lines[0], json!({ "line": "+15551230001 wrote: umbrella wanted" }));
    let log = process.log_text();
    assert!(log.contains("log action") && log.contains("attempt"), "{log}");
    for hidden in ["umbrella", "5551230001", "5550009999", "sk_live", helpers::SECRET] {
        assert!(!log.contains(hidden), "{hidden} is in the log: {log}");
    }
}

async fn claim(intake: &Intake, action: &str) -> Job {
    let want = Want {
        action: action.to_owned(),
        slots: 1,
        lease: Duration::from_mins(1),
    };
    let mut claimed = intake.store.claim(&[want]).await.unwrap();
    assert_eq!(claimed.len(), 1);
    claimed.remove(0).job
}

#[tokio::test]
async fn actions_of_a_real_configuration_are_previewed_and_run() {
    let (gateway, crm) = (Fake::start().await, Fake::start().await);
    let note = "[action.note]\nlog = { message = \"{{ m.number }}\" }\n[[rule]]";
    let toml = beside(
        &replying(&gateway, "Order {{ m.number }}", ""),
        &calling(&crm.url("/crm"), JSON, ""),
    )
    .replacen("[[rule]]", note, 1)
    .replace("any = true", "regex = 'order (?<number>\\d+)'")
    .replace("[\"answer\", \"call\"]", "[\"answer\", \"call\", \"note\"]");
    let intake = Intake::start(&toml).await;
    intake.text(PERSON, "order 42").await;
    let actions = Actions::new(Arc::clone(&intake.config), intake.store.clone()).unwrap();
    let now = chrono::Utc::now();
    let job = claim(&intake, "answer").await;
    let preview = actions.preview("answer", &job, now).unwrap();
    assert_eq!(
        (&preview["to"], &preview["text"]),
        (&json!("+15551230001"), &json!("Order 42"))
    );
    assert_eq!(preview["request"]["url"], gateway.url("/v1/messages"));
    assert_eq!(preview["request"]["headers"]["authorization"], "Bearer ***");
    let request = &actions.preview("call", &job, now).unwrap()["request"];
    assert_eq!(request["body"], json!({ "from": "+15551230001", "text": "order 42" }));
    assert_eq!(actions.preview("note", &job, now).unwrap(), json!({ "line": "42" }));
    assert_eq!(
        actions.preview("gone", &job, now),
        Err(PreviewError::NoSuchAction("gone".to_owned()))
    );
    assert!(
        gateway.asked().is_empty() && crm.asked().is_empty(),
        "a preview sends nothing"
    );
    assert!(matches!(actions.run(&job).await, Outcome::Done(_)));
    assert_eq!(gateway.asked()[0].json()["text"], "Order 42");
    let job = claim(&intake, "call").await;
    assert_eq!(
        actions.run(&job).await,
        Outcome::Done(json!({ "status": 202, "captures": {} }))
    );
    assert_eq!(crm.asked()[0].json()["text"], "order 42");
    let job = claim(&intake, "note").await;
    assert_eq!(actions.run(&job).await, Outcome::Done(json!({ "line": "42" })));
    let gone = Job {
        action: "gone".to_owned(),
        ..job
    };
    assert_eq!(
        actions.run(&gone).await,
        Outcome::Discard("action `gone` is not configured any more".to_owned())
    );
    let debug = format!("{actions:?}");
    assert!(debug.contains("call") && !debug.contains("sk_live"), "{debug}");
}

/// Nothing here fetches a picture; an action of the operator's may be told where it is.
#[tokio::test]
async fn the_addresses_of_pictures_go_where_an_action_puts_them() {
    let crm = Fake::start().await;
    let body =
        "json = { pictures = \"{% for file in message.media %}{{ file.url }} ({{ file.content_type }}){% endfor %}\" }";
    let toml = format!(
        "[gateway.pictured]\nlike = \"mobile-api-connect\"\nmessage = {{ media = {{ list = \"/media\", url = \"/url\", content_type = \"/type\" }} }}\n\
         [[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"pictured\"\nsecrets = [\"{}\"]\n{}",
        helpers::SECRET,
        calling(&crm.url("/pictures"), body, "")
    );
    let app = App::start(&toml).await;
    let mut sent = sms(PERSON, "look");
    sent["media"] = json!([{ "url": "https://media.example.com/1", "type": "image/png" }]);
    let stored = app.deliver(&sent.to_string()).await.json();
    app.deliver(&sms(PERSON, "no picture").to_string()).await;
    app.all_jobs_ended().await;
    let asked: Vec<Value> = crm
        .asked()
        .iter()
        .map(|asked| asked.json()["pictures"].clone())
        .collect();
    assert_eq!(asked, [json!("https://media.example.com/1 (image/png)"), json!("")]);
    let media: Value = sqlx::query_scalar("SELECT media FROM v1.messages WHERE id = $1")
        .bind(stored["id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap())
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(
        media,
        json!([{ "url": "https://media.example.com/1", "content_type": "image/png" }])
    );
}
