//! The admin API's one question: may this number be texted? The answer is yes only where the database says so.

use std::net::SocketAddr;

use serde_json::{Value, json};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{ConsentChange, ErasureKey, Source, Store};

use crate::helpers::{App, PATIENCE, Response, Service, get, raw};
use crate::testkit::TestDatabase;

const PERSON: &str = "12025550143";
const TWO: &str = r#"
[[endpoint]]
name = "shop"
path = "/hooks/sms"
gateway = "mobile-api-connect"
secrets = ["whsec_of the tests"]
[[endpoint]]
name = "desk"
path = "/hooks/desk"
gateway = "mobile-api-connect"
secrets = ["whsec_of the tests"]
"#;

async fn asked(address: SocketAddr, path: &str) -> Response {
    let answer = get(address, &format!("/api/opt-outs/{path}")).await;
    let head = answer.head.to_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    answer
}

fn admin(app: &App) -> SocketAddr {
    app.running.as_ref().unwrap().admin
}

/// Says that somebody asked for this in a group.
async fn say(store: &Store, group: &str, opts_out: bool) {
    let address = normalise(&format!("+{PERSON}"), &NumberFormat::E164);
    let change = ConsentChange {
        group,
        address: &address,
        opts_out,
        source: Source::Operator,
        asked_at: None,
        note: None,
    };
    store.change_consent(&change).await.unwrap();
}

#[tokio::test]
async fn whoever_said_stop_must_not_be_texted_until_they_say_start() {
    let app = App::start(TWO).await;
    let before = asked(admin(&app), "+12025550143").await;
    assert_eq!(before.status, 200);
    let nobody = json!({ "number": "+12025550143", "may_text": true, "groups": [
        { "group": "shop", "may_text": true }, { "group": "desk", "may_text": true } ] });
    assert_eq!(before.json(), nobody);

    assert_eq!(app.text(PERSON, "STOP").await.status, 200);
    // the very next question, whatever else is still to be done
    let after = asked(admin(&app), "+12025550143").await.json();
    assert_eq!(
        (&after["may_text"], &after["groups"][0]["may_text"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(after["groups"][0]["group"], "shop");
    assert_eq!(after["groups"][0]["source"], "message");
    for time in ["opted_out_at", "recorded_at"] {
        let time = after["groups"][0][time].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    }
    assert_eq!(
        after["groups"][1],
        json!({ "group": "desk", "may_text": true }),
        "STOP is for one programme"
    );

    let desk = asked(admin(&app), "+12025550143?group=desk").await.json();
    assert_eq!(
        (&desk["may_text"], desk["groups"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
    let both = asked(admin(&app), "+12025550143?group=desk&group=shop").await.json();
    assert_eq!(both["may_text"], false);

    say(&app.running.as_ref().unwrap().store(), "shop", false).await;
    assert_eq!(asked(admin(&app), "+12025550143").await.json(), nobody);
}

#[tokio::test]
async fn a_number_is_asked_about_in_any_spelling() {
    let app = App::start(TWO).await;
    let store = app.running.as_ref().unwrap().store();
    say(&store, "shop", true).await;
    for spelling in [
        "+12025550143",
        "12025550143",
        "%2B12025550143",
        "%2b1%20(202)%20555-0143",
        "%2012025550143",
        "0012025550143",
        "tel:+1-202-555-0143",
    ] {
        let answer = asked(admin(&app), spelling).await;
        assert_eq!(answer.status, 200, "{spelling}");
        assert_eq!(answer.json()["number"], "+12025550143", "{spelling}");
        assert_eq!(answer.json()["may_text"], false, "{spelling}");
    }
    let mexican = normalise("+5215512345678", &NumberFormat::E164);
    let change = ConsentChange {
        group: "shop",
        address: &mexican,
        opts_out: true,
        source: Source::Import,
        asked_at: None,
        note: None,
    };
    store.change_consent(&change).await.unwrap();
    for spelling in ["+525512345678", "5215512345678"] {
        assert_eq!(
            asked(admin(&app), spelling).await.json()["may_text"],
            false,
            "{spelling}"
        );
    }
    assert_eq!(
        asked(admin(&app), "12345").await.json()["may_text"],
        true,
        "a short code"
    );
}

#[tokio::test]
async fn what_is_not_understood_is_said_without_the_number() {
    let service = Service::start(TWO).await;
    let address = service.process.admin;
    for (path, status, says) in [
        ("AMAZON", 400, "country code"),
        ("07911123456", 400, "`…3456` is not a telephone number"),
        ("12025550143999999999", 400, "`…9999`"),
        ("%20", 400, "is not a telephone number"),
        ("%ff", 400, "UTF-8"),
        ("12025559876?group=store", 404, "the configuration has `shop`, `desk`"),
        ("12025559876?gruop=shop", 400, "the only parameter is `group`"),
    ] {
        let answer = asked(address, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{path}: {error}");
        for number in ["07911123456", "0791112", "2025559876", "12025550143999"] {
            assert!(!error.contains(number), "{path}: {error}");
        }
    }
    for path in ["/api/opt-outs/", "/api/opt-outs", "/api/opt-outs/1/2", "/api"] {
        assert_eq!(get(address, path).await.status, 404, "{path}");
    }
    let posted =
        b"POST /api/opt-outs/12025550143 HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(raw(address, posted).await.status, 405, "it only answers");
    assert_eq!(asked(address, "12025550143").await.status, 200);
    let public = get(service.process.address, "/api/opt-outs/12025550143").await;
    assert_eq!(public.status, 404, "the world may not ask");
    let log = service.process.log_text();
    assert!(
        !log.contains("2025550143") && !log.contains("2025559876") && !log.contains("7911123456"),
        "{log}"
    );
}

#[tokio::test]
async fn nobody_may_be_texted_while_the_database_is_away() {
    let mut server = TestDatabase::private_server().await;
    let (directory, url) = (tempfile::tempdir().unwrap(), server.url());
    let config = crate::helpers::write_configuration(directory.path(), Some(&url), TWO);
    let process = crate::helpers::Process::start(&config).await;
    assert_eq!(asked(process.admin, PERSON).await.status, 200);
    server.stop_immediate().await;
    let begun = std::time::Instant::now();
    let away = asked(process.admin, PERSON).await;
    assert_eq!(away.status, 503);
    assert!(away.head.to_lowercase().contains("retry-after: 2"), "{}", away.head);
    assert!(away.json().get("may_text").is_none(), "never a guess: {}", away.body);
    assert!(begun.elapsed() < PATIENCE / 6, "whoever asks waits");
    server.start_again().await;
    crate::helpers::eventually("it answers again", async || {
        asked(process.admin, PERSON).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn nobody_may_be_texted_where_it_cannot_be_told_who_was_erased() {
    let app = App::start(TWO).await;
    let stranger = ErasureKey::new(b"another key").unwrap();
    sqlx::query("INSERT INTO smshook.erasure_keys (fingerprint) VALUES ($1)")
        .bind(stranger.fingerprint().as_slice())
        .execute(app.pool())
        .await
        .unwrap();
    let answer = asked(admin(&app), PERSON).await;
    assert_eq!(answer.status, 503);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("`privacy.erasure_key`"), "{error}");
    assert!(
        answer.head.to_lowercase().contains("retry-after: 60"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn somebody_who_was_erased_is_still_not_texted() {
    let database = TestDatabase::new().await;
    let key = ErasureKey::new(b"the key of the tests").unwrap();
    let store = Store::new(database.options(), 2).with_erasure_key(Some(key.clone()));
    say(&store, "shop", true).await;
    sqlx::query("UPDATE smshook.opt_outs SET number = $1, number_key = $1")
        .bind(key.hashed("+12025550143"))
        .execute(&database.pool)
        .await
        .unwrap();
    sqlx::query("INSERT INTO smshook.erasure_keys (fingerprint) VALUES ($1)")
        .bind(key.fingerprint().as_slice())
        .execute(&database.pool)
        .await
        .unwrap();
    let address = normalise("+12025550143", &NumberFormat::E164);
    let groups = ["shop".to_owned(), "desk".to_owned()];
    let standing = store.standing(&address, &groups).await.unwrap();
    let out: Vec<bool> = standing.iter().map(|of| of.opted_out.is_some()).collect();
    assert_eq!(out, [true, false]);
}

#[tokio::test]
async fn the_question_needs_the_token_that_every_admin_path_needs() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let file = crate::helpers::write_configuration(directory.path(), Some(&database.url()), TWO);
    let text = std::fs::read_to_string(&file).unwrap();
    let admin = "[admin]\n";
    assert!(text.contains(admin));
    std::fs::write(
        &file,
        text.replace(admin, "[admin]\ntoken = \"open sesame to the tests\"\n"),
    )
    .unwrap();
    let process = crate::helpers::Process::start(&file).await;
    assert_eq!(get(process.admin, "/api/opt-outs/12025550143").await.status, 401);
    let head = "GET /api/opt-outs/12025550143 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\
                authorization: Bearer open sesame to the tests\r\n\r\n";
    let answer = raw(process.admin, head.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["may_text"], Value::Bool(true));
}
