//! Stored before acknowledged, once each, with everything they cause: from a signed body to rows.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::Barrier;

use crate::helpers::{self, App, SECRET, deliver, signature, sms};

const RULES: &str = r#"
[action.note]
log = { message = "a text" }
[action.second]
log = { message = "another" }
[[rule]]
name = "hours"
exact = ["hours"]
actions = ["note", "second"]
[[rule]]
name = "rest"
any = true
actions = ["note"]
"#;

#[tokio::test]
async fn a_signed_text_is_stored_with_its_jobs_and_its_bytes() {
    let app = App::start(RULES).await;
    let body = sms("15551230001", "Hours?").to_string();
    let answer = app.deliver(&body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], "stored");
    let row = sqlx::query("SELECT * FROM v1.messages")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(
        row.get::<uuid::Uuid, _>("id").to_string(),
        answer.json()["id"].as_str().unwrap()
    );
    assert_eq!(row.get::<String, _>("sender"), "+15551230001");
    assert_eq!(row.get::<String, _>("sender_raw"), "15551230001");
    assert_eq!(row.get::<String, _>("recipient"), "+15550009999");
    assert_eq!(row.get::<String, _>("text"), "Hours?");
    assert_eq!(row.get::<String, _>("rule"), "hours");
    assert_eq!(row.get::<String, _>("raw"), body);
    app.all_jobs_ended().await;
    let jobs: Vec<(String, String)> = app
        .jobs()
        .await
        .into_iter()
        .map(|(action, state, _)| (action, state))
        .collect();
    assert_eq!(
        jobs,
        [
            ("note".to_owned(), "done".to_owned()),
            ("second".to_owned(), "done".to_owned())
        ]
    );
}

#[tokio::test]
async fn two_hundred_copies_at_once_are_one_message_with_one_job_per_action() {
    let app = App::start(RULES).await;
    let body = Arc::new(sms("15551230001", "hours").to_string());
    let gate = Arc::new(Barrier::new(200));
    let copies: Vec<_> = (0..200)
        .map(|_| {
            let (body, gate, address) = (Arc::clone(&body), Arc::clone(&gate), app.address());
            tokio::spawn(async move {
                gate.wait().await;
                deliver(address, "/hooks/sms", body.as_bytes()).await
            })
        })
        .collect();
    let mut statuses = std::collections::BTreeMap::<String, usize>::new();
    for copy in copies {
        let answer = copy.await.unwrap();
        assert_eq!(answer.status, 200);
        *statuses
            .entry(answer.json()["status"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(statuses["stored"], 1);
    assert_eq!(statuses["duplicate"], 199);
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 1);
    assert_eq!(app.count("SELECT duplicates::int8 FROM v1.messages").await, 199);
    assert_eq!(app.count("SELECT count(*) FROM v1.jobs").await, 2);
    app.all_jobs_ended().await;
    assert_eq!(
        app.count("SELECT count(*) FROM v1.attempts").await,
        2,
        "no action ran twice"
    );
}

#[tokio::test]
async fn copies_that_reach_two_processes_at_once_are_one_message() {
    let app = App::start(RULES).await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::configuration(directory.path(), Some(&app.database.url()), RULES);
    let other = smshook::app::start(Arc::new(config)).await.unwrap();
    // Many different texts, each to both at once, so that batches with the same copies meet in both orders.
    let deliveries: Vec<_> = (0..150)
        .flat_map(|n| {
            let body = Arc::new(sms(&format!("1555123{n:04}"), "hours").to_string());
            [app.address(), other.public].map(|address| {
                let body = Arc::clone(&body);
                tokio::spawn(async move { deliver(address, "/hooks/sms", body.as_bytes()).await.status })
            })
        })
        .collect();
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), 200);
    }
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 150);
    assert_eq!(app.count("SELECT sum(duplicates)::int8 FROM v1.messages").await, 150);
    assert_eq!(app.count("SELECT count(*) FROM v1.jobs").await, 300);
    other.stop();
    other.finish().await.unwrap();
}

#[tokio::test]
async fn the_rule_copy_and_the_forward_all_copy_are_one_message_with_the_rule_merged_in() {
    let app = App::start(RULES).await;
    let forward_all = sms("15551230001", "hours");
    let mut rule_copy = forward_all.clone();
    rule_copy["matchedRuleId"] = json!("rule_1");
    rule_copy["tenantName"] = json!("Acme, renamed");
    assert_eq!(app.deliver(&forward_all.to_string()).await.json()["status"], "stored");
    assert_eq!(app.deliver(&rule_copy.to_string()).await.json()["status"], "duplicate");
    let mut other_rule = rule_copy.clone();
    other_rule["matchedRuleId"] = json!("rule_2");
    app.deliver(&other_rule.to_string()).await;
    app.deliver(&rule_copy.to_string()).await;
    let rules: Vec<String> = sqlx::query_scalar("SELECT gateway_rules FROM v1.messages")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(rules, ["rule_1", "rule_2"]);
    assert_eq!(app.count("SELECT duplicates::int8 FROM v1.messages").await, 3);
}

#[tokio::test]
async fn two_texts_that_share_a_message_id_are_two_messages_and_counted_as_a_collision() {
    let app = App::start(RULES).await;
    let with_id = |text: &str| {
        let mut body = sms("15551230001", text);
        body["id"] = json!("42e08665");
        body
    };
    let first = with_id("11005");
    assert_eq!(app.deliver(&first.to_string()).await.json()["status"], "stored");
    assert_eq!(
        app.deliver(&with_id("00805").to_string()).await.json()["status"],
        "stored"
    );
    // a copy stamped anew is a copy all the same
    assert_eq!(
        app.deliver(&with_id("11005").to_string()).await.json()["status"],
        "duplicate"
    );
    assert_eq!(
        app.count("SELECT count(*) FROM v1.messages WHERE message_id = '42e08665'")
            .await,
        2
    );
    let metrics = helpers::get(app.running.as_ref().unwrap().admin, "/metrics").await.body;
    assert!(
        metrics.contains("smshook_id_collisions_total{endpoint=\"main\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_row_that_postgres_refuses_fails_none_of_its_neighbours_and_is_kept() {
    let app = App::start(RULES).await;
    // A refusal that no check of ours can foresee.
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.text = 'poison' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22P05'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON smshook.messages FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .execute(app.pool())
    .await
    .unwrap();
    // Holds the writers until the deliveries wait, so that they share batches.
    let mut hold = app.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE smshook.messages IN EXCLUSIVE MODE")
        .execute(&mut *hold)
        .await
        .unwrap();
    let deliveries: Vec<_> = (0..40)
        .map(|n| {
            let text = if n == 20 {
                "poison".to_owned()
            } else {
                format!("text {n}")
            };
            let (body, address) = (sms("15551230001", &text).to_string(), app.address());
            tokio::spawn(async move { deliver(address, "/hooks/sms", body.as_bytes()).await })
        })
        .collect();
    helpers::eventually("a writer waits", async || {
        app.count(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await
            >= 1
    })
    .await;
    hold.rollback().await.unwrap();
    let mut quarantined = 0;
    for delivery in deliveries {
        let answer = delivery.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        quarantined += usize::from(answer.json()["status"] == "quarantined");
    }
    assert_eq!(quarantined, 1);
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 39);
    let kept: (String, String) = sqlx::query_as("SELECT raw, reason FROM v1.quarantine")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert!(kept.0.contains("poison"));
    assert!(kept.1.contains("22P05"), "{}", kept.1);
}

#[tokio::test]
async fn a_delivery_state_is_an_event_that_runs_no_rule_and_is_stored_once() {
    let app = App::start(RULES).await;
    let event = json!({"event": "message.delivered", "id": "msg_1", "ref": "somebody else's", "text": "STOP", "from": "15551230001"});
    let first = app.deliver(&event.to_string()).await;
    assert_eq!((first.status, first.json()["status"].as_str()), (200, Some("event")));
    assert_eq!(app.deliver(&event.to_string()).await.status, 200);
    assert_eq!(app.count("SELECT count(*) FROM v1.gateway_events").await, 1);
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 0);
    assert_eq!(app.count("SELECT count(*) FROM v1.jobs").await, 0);
    assert_eq!(app.count("SELECT count(*) FROM v1.opt_outs").await, 0);
}

/// Bodies that a gateway, a proxy or an attacker with the secret could send.
fn hostile_bodies() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    [odd_texts(), broken_bodies()].concat()
}

fn changed(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut body = sms("15551230001", "hours");
    change(&mut body);
    body.to_string().into_bytes()
}

/// What is a message all the same.
fn odd_texts() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let text = |literal: &str| {
        sms("15551230001", "PLACE")
            .to_string()
            .replace("PLACE", literal)
            .into_bytes()
    };
    vec![
        ("a lone high surrogate", text("\\ud83d"), "stored"),
        ("a lone low surrogate between letters", text("a\\udc00b"), "stored"),
        ("an escaped backslash before u", text("\\\\ud83d"), "stored"),
        ("U+0000", text("a\\u0000b"), "stored"),
        (
            "bidi and control characters",
            text("\\u202eevil\\u0007\\u001b[31m\\u2066"),
            "stored",
        ),
        ("only an emoji", text("\\ud83d\\ude00"), "stored"),
        ("an empty text", text(""), "stored"),
        ("a text of 500 kB", text(&"ä".repeat(250_000)), "stored"),
        (
            "a sender of 10 kB",
            changed(|b| b["from"] = json!("9".repeat(10_000))),
            "stored",
        ),
        (
            "a sender with U+0000",
            changed(|b| b["from"] = json!("AM\u{0}ZON")),
            "stored",
        ),
        (
            "a number as a number",
            changed(|b| b["from"] = json!(15_551_230_001_i64)),
            "stored",
        ),
        ("no recipient", changed(|b| b["to"] = Value::Null), "stored"),
        ("no time", changed(|b| b["receivedAt"] = Value::Null), "stored"),
        (
            "a time in another form",
            changed(|b| b["receivedAt"] = json!("2026-06-12 14:32:00")),
            "stored",
        ),
        (
            "a time far beyond any calendar",
            changed(|b| b["receivedAt"] = json!("+262143-12-31T23:59:59Z")),
            "stored",
        ),
        (
            "a time of a huge number",
            changed(|b| b["receivedAt"] = json!(9.9e300)),
            "stored",
        ),
        (
            "an ID of 5 kB",
            changed(|b| b["id"] = json!("x".repeat(5_000))),
            "stored",
        ),
        (
            "unknown fields",
            changed(|b| b["parts"] = json!([{"deep": [1, 2, {"er": null}]}])),
            "stored",
        ),
        (
            "a device with quotes and NUL",
            changed(|b| b["deviceId"] = json!("'; DROP TABLE messages; --\u{0}")),
            "stored",
        ),
        (
            "duplicate keys",
            br#"{"event":"message.received","from":"1555","text":"a","text":"b","from":"15551230001"}"#.to_vec(),
            "stored",
        ),
    ]
}

/// What is no message.
fn broken_bodies() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    vec![
        ("no sender", changed(|b| b["from"] = Value::Null), "quarantined"),
        ("no text", changed(|b| b["text"] = Value::Null), "quarantined"),
        (
            "a text that is an object",
            changed(|b| b["text"] = json!({"a": 1})),
            "quarantined",
        ),
        ("a megabyte of brackets", vec![b'['; 1_000_000], "quarantined"),
        ("nothing", vec![], "quarantined"),
        ("not JSON", b"from=15551230001&text=hours".to_vec(), "quarantined"),
        ("not UTF-8", vec![0xff, 0xfe, 0x00, 0x80], "quarantined"),
        ("a NUL byte in the JSON", b"{\"text\":\"a\0b\"}".to_vec(), "quarantined"),
        (
            "JSON that ends early",
            br#"{"event":"message.received","from":"1555"#.to_vec(),
            "quarantined",
        ),
        ("a bare null", b"null".to_vec(), "quarantined"),
        (
            "another event with NUL",
            br#"{"event":"message.\u0000failed","ref":"\u0000"}"#.to_vec(),
            "event",
        ),
    ]
}

#[tokio::test]
async fn nothing_verified_is_lost_or_refused_however_hostile() {
    let app = App::start(RULES).await;
    let bodies = hostile_bodies();
    for (what, body, expected) in &bodies {
        let answer = deliver(app.address(), "/hooks/sms", body).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(answer.json()["status"], *expected, "{what}");
    }
    let kept = app
        .count("SELECT (SELECT count(*) FROM v1.messages) + (SELECT count(*) FROM v1.quarantine) + (SELECT count(*) FROM v1.gateway_events)")
        .await;
    assert_eq!(usize::try_from(kept).unwrap(), bodies.len());
    for (what, body, _) in &bodies {
        let stored: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM smshook.messages WHERE raw = $1) + (SELECT count(*) FROM smshook.quarantine WHERE raw = $1)
                  + (SELECT count(*) FROM smshook.gateway_events WHERE raw = $1)",
        )
        .bind(body)
        .fetch_one(app.pool())
        .await
        .unwrap();
        assert_eq!(stored, 1, "{what} is not stored byte for byte");
    }
    app.all_jobs_ended().await;
}

#[tokio::test]
async fn one_flipped_bit_anywhere_does_not_verify() {
    let app = App::start(RULES).await;
    let body = include_str!("../../gateways/mobile-api-connect.sample.json")
        .trim_end()
        .as_bytes();
    let good = signature(SECRET, body);
    let send = async |body: &[u8], signature: &str| {
        let head = format!(
            "POST /hooks/sms HTTP/1.1\r\nhost: t\r\nx-mac-signature: {signature}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        helpers::raw(app.address(), &[head.as_bytes(), body].concat()).await
    };
    assert_eq!(send(body, &good).await.status, 200, "the sample verifies");
    // every byte of the body, one of its bits each; every character of the signature
    for at in 0..body.len() {
        let mut flipped = body.to_vec();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(send(&flipped, &good).await.status, 401, "byte {at} of the body");
    }
    for at in 0..good.len() {
        let mut flipped = good.clone().into_bytes();
        flipped[at] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        let answer = send(body, &flipped).await;
        assert_eq!(answer.status, 401, "character {at} of the signature");
        assert_eq!(answer.body, "", "the answer does not say why");
    }
    assert_eq!(app.count("SELECT count(*) FROM v1.messages").await, 1);
}
