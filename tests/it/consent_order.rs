//! Consent changes by the time at which people asked, whoever hears of it first; and every change leaves its evidence.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use smshook::message::{InboundMessage, Item};
use smshook::phone::{NumberFormat, normalise, suppression_key};
use sqlx::{PgPool, Row};
use tokio::task::JoinSet;

use crate::helpers::{self, App, Direct, Fake, Process, SECRET, count, deliver, sms, write_configuration};
use crate::testkit::TestDatabase;

const PERSON: &str = "+15551230001";
const QUIET: &str = "";

fn said(from: &str, text: &str, at: Option<DateTime<Utc>>) -> Item {
    let number = |digits| normalise(digits, &NumberFormat::E164);
    let mut message = InboundMessage::new(number(from), number("+15550009999"), text.to_owned());
    message.sent_at = at;
    Item::Message(Box::new(message))
}

/// Event, effect and confirmation of everything recorded, in order.
async fn evidence(pool: &PgPool) -> Vec<(String, Option<String>, Option<String>)> {
    sqlx::query_as("SELECT event, effect, confirmation FROM v1.consent_events ORDER BY id")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn event(event: &str, effect: &str, confirmation: Option<&str>) -> (String, Option<String>, Option<String>) {
    (
        event.to_owned(),
        Some(effect.to_owned()),
        confirmation.map(str::to_owned),
    )
}

async fn in_force(pool: &PgPool) -> i64 {
    count(pool, "SELECT count(*) FROM v1.opt_outs WHERE in_force").await
}

/// Accepts these one after the other, each in a transaction of its own.
async fn hear(app: &Direct, texts: &[(&str, Option<DateTime<Utc>>)]) {
    for (text, at) in texts {
        app.accept(app.delivery(vec![said(PERSON, text, *at)], text)).await;
    }
}

fn seconds_ago(seconds: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::seconds(seconds)
}

#[tokio::test]
async fn a_stop_that_comes_late_does_not_undo_a_start_that_was_asked_for_later() {
    let database = TestDatabase::new().await;
    let app = Direct::over(&database, QUIET);
    hear(
        &app,
        &[("START", Some(seconds_ago(10))), ("STOP", Some(seconds_ago(60)))],
    )
    .await;
    assert_eq!(in_force(&database.pool).await, 0);
    assert_eq!(
        evidence(&database.pool).await,
        [
            event("opt_in", "not_opted_out", None),
            event("opt_out", "superseded", Some("an opt-in was asked for later")),
        ]
    );
    hear(&app, &[("STOP", Some(seconds_ago(5)))]).await;
    assert_eq!(in_force(&database.pool).await, 1);
}

#[tokio::test]
async fn on_a_tie_the_opt_out_wins_in_either_order() {
    for order in [["STOP", "START"], ["START", "STOP"]] {
        let database = TestDatabase::new().await;
        let app = Direct::over(&database, QUIET);
        let at = Some(seconds_ago(20));
        hear(&app, &order.map(|text| (text, at))).await;
        assert_eq!(in_force(&database.pool).await, 1, "{order:?}");
    }
}

#[tokio::test]
async fn where_nobody_gives_a_time_the_order_of_receipt_counts_also_within_one_commit() {
    let database = TestDatabase::new().await;
    let app = Direct::over(&database, QUIET);
    let one = |text: &str| app.delivery(vec![said(PERSON, text, None)], text);
    let elsewhere = app.delivery(vec![said("+15559990000", "hello", None)], "hello");
    let texts = ["STOP", "START", "stop please", "start again"].map(one);
    for verdict in app.accept_as_one_batch(elsewhere, texts.into()).await {
        verdict.unwrap();
    }
    assert_eq!(in_force(&database.pool).await, 0);
    let foreseen = "SELECT count(*) FROM v1.opt_outs WHERE recorded_at < opted_out_at";
    assert_eq!(
        count(&database.pool, foreseen).await,
        0,
        "nothing is recorded before it was asked for"
    );
    let commits = "SELECT count(DISTINCT received_at) FROM v1.messages";
    assert_eq!(count(&database.pool, commits).await, 2, "they share a commit");
    let effects: Vec<_> = evidence(&database.pool)
        .await
        .into_iter()
        .filter_map(|row| row.1)
        .collect();
    assert_eq!(effects, ["began", "lifted", "began", "lifted"]);
}

#[tokio::test]
async fn a_wrong_clock_neither_loses_a_stop_nor_keeps_a_start_from_lifting_it() {
    let database = TestDatabase::new().await;
    let app = Direct::over(&database, QUIET);
    let (behind, ahead) = (TimeDelta::days(400), TimeDelta::days(3));
    let now = Utc::now();
    hear(&app, &[("START", Some(now)), ("STOP", Some(now - behind))]).await;
    assert_eq!(in_force(&database.pool).await, 1, "a clock that is a year behind");
    hear(&app, &[("START", Some(now - behind + TimeDelta::seconds(9)))]).await;
    assert_eq!(in_force(&database.pool).await, 0, "the same clock, nine seconds on");
    hear(&app, &[("STOP", Some(now + ahead)), ("START", Some(now + ahead * 2))]).await;
    assert_eq!(in_force(&database.pool).await, 0, "what lies ahead is now");
}

#[tokio::test]
async fn evidence_says_who_asked_with_which_words_under_which_rules_and_when() {
    let gateway = Fake::start().await;
    let app = App::start(&format!(
        "[worker]\npoll = \"50ms\"\n{}",
        helpers::replying_endpoint(&gateway)
    ))
    .await;
    let asked_at = seconds_ago(3);
    let mut body = sms("15551230001", "Please STOP texting me!");
    body["receivedAt"] = json!(asked_at.to_rfc3339());
    let answer = app.deliver(&body.to_string()).await;
    app.all_jobs_ended().await;
    let rows = sqlx::query("SELECT * FROM v1.consent_events ORDER BY id")
        .fetch_all(app.pool())
        .await
        .unwrap();
    let [asked, confirmed] = rows.as_slice() else {
        panic!("{} events", rows.len());
    };
    let text = |row: &sqlx::postgres::PgRow, column: &str| row.get::<Option<String>, _>(column).unwrap_or_default();
    let columns = [
        "event",
        "effect",
        "suppression_group",
        "number",
        "source",
        "endpoint",
        "recipient",
        "words",
        "keyword",
        "confirmation",
    ];
    assert_eq!(
        columns.map(|column| text(asked, column)),
        [
            "opt_out",
            "began",
            "main",
            PERSON,
            "message",
            "main",
            "+15550009999",
            "Please STOP texting me!",
            "stop texting me",
            "owed"
        ]
    );
    assert_eq!(text(asked, "rules_version"), smshook::consent::RULES_VERSION);
    assert_eq!(asked.get::<Option<i16>, _>("tier"), Some(3));
    assert_eq!(asked.get::<Option<bool>, _>("verified"), Some(true));
    assert_eq!(
        asked.get::<uuid::Uuid, _>("message_id").to_string(),
        answer.json()["id"]
    );
    let time = |row: &sqlx::postgres::PgRow, column: &str| row.get::<DateTime<Utc>, _>(column);
    assert_eq!(time(asked, "asked_at").timestamp_micros(), asked_at.timestamp_micros());
    assert!(time(asked, "recorded_at") >= asked_at && time(confirmed, "recorded_at") >= time(asked, "recorded_at"));
    assert_eq!(text(confirmed, "event"), "confirmed");
    assert_eq!(confirmed.get::<i64, _>("opt_out_id"), asked.get::<i64, _>("opt_out_id"));
    let reference: String = sqlx::query_scalar("SELECT reference FROM v1.replies")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(text(confirmed, "reference"), reference);
}

#[tokio::test]
async fn why_an_opt_out_was_not_confirmed_is_on_record() {
    let gateway = Fake::start().await;
    let cases = [
        (QUIET.to_owned(), "the endpoint cannot reply as configured"),
        (
            format!(
                "{}\n[endpoint.consent]\nopt_out_text = false\n",
                helpers::replying_endpoint(&gateway)
            ),
            "the configuration says not to",
        ),
    ];
    for (toml, why) in cases {
        let app = App::start(&toml).await;
        app.text("15551230001", "STOP").await;
        app.text("15551230001", "stop").await;
        assert_eq!(
            evidence(app.pool()).await,
            [
                event("opt_out", "began", Some(why)),
                event("opt_out", "in_force", Some("the opt-out was in force already")),
            ]
        );
    }
    // The gateway refuses it: that is the end of it, and what it said is kept.
    gateway.always(Fake::status(400));
    let app = App::start(&format!(
        "[worker]\npoll = \"50ms\"\n{}",
        helpers::replying_endpoint(&gateway)
    ))
    .await;
    app.text("15551230001", "STOP").await;
    app.all_jobs_ended().await;
    let (last, _, why) = evidence(app.pool()).await.pop().unwrap();
    assert_eq!(last, "unconfirmed");
    assert!(why.as_ref().is_some_and(|why| why.contains("400")), "{why:?}");
}

#[tokio::test]
async fn a_confirmation_that_nobody_could_send_in_time_is_void_and_on_record() {
    let gateway = Fake::start().await;
    let toml = format!("[worker]\npoll = \"50ms\"\n{}", helpers::replying_endpoint(&gateway));
    let intake = helpers::Intake::start(&toml).await;
    intake.text("15551230001", "STOP").await;
    let token: DateTime<Utc> = sqlx::query_scalar("SELECT confirm_until FROM v1.opt_outs")
        .fetch_one(intake.pool())
        .await
        .unwrap();
    let left = token - Utc::now();
    assert!(left <= TimeDelta::minutes(5) && left > TimeDelta::minutes(4), "{left}");
    // Six minutes pass.
    sqlx::raw_sql(
        "UPDATE smshook.opt_outs SET confirm_until = confirm_until - interval '6 minutes', recorded_at = recorded_at - interval '6 minutes';
         UPDATE smshook.jobs SET expires_at = expires_at - interval '6 minutes'",
    )
    .execute(intake.pool())
    .await
    .unwrap();
    let (stop, working) = intake.work(&toml);
    helpers::jobs_ended(intake.pool()).await;
    stop.cancel();
    working.await.unwrap();
    assert_eq!(gateway.asked().len(), 0);
    let (last, _, why) = evidence(intake.pool()).await.pop().unwrap();
    assert_eq!(
        (last.as_str(), why.as_deref()),
        ("unconfirmed", Some("it was too late to run"))
    );
}

/// Two processes hear of the same people's STOP and START at the same moment, in whatever order: what people asked for last,
/// by the provider's time, is what holds in the end.
#[tokio::test]
async fn two_processes_that_hear_stop_and_start_in_any_order_come_to_the_same_end() {
    const PEOPLE: usize = 300;
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let file = write_configuration(directory.path(), Some(&database.url()), QUIET);
    let processes = [Process::start(&file).await, Process::start(&file).await];
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let mut expected = Vec::new();
    let mut texts = Vec::new();
    for person in 0..PEOPLE {
        let number = format!("1555200{person:04}");
        let mut asked = Vec::new();
        for _ in 0..random.random_range(2..5) {
            // few moments, so that ties are common
            asked.push((random.random_bool(0.5), random.random_range(0..4)));
        }
        let last = asked.iter().map(|(_, second)| *second).max();
        let stops = asked.iter().any(|(stops, second)| *stops && Some(*second) == last);
        expected.push((format!("+{number}"), stops));
        texts.extend(asked.into_iter().map(|(stops, second)| (number.clone(), stops, second)));
    }
    texts.shuffle(&mut random);
    let base = seconds_ago(100);
    let addresses = Arc::new(processes.each_ref().map(|process| process.address));
    let mut delivering = JoinSet::new();
    for (nth, (number, stops, second)) in texts.into_iter().enumerate() {
        let mut body = sms(&number, if stops { "STOP" } else { "START" });
        // unlike by a reference, alike by the second
        body["ref"] = json!(nth.to_string());
        body["text"] = json!(format!(
            "{}{}",
            if stops { "STOP" } else { "START" },
            " ".repeat(nth % 90)
        ));
        body["receivedAt"] = json!((base + TimeDelta::seconds(second)).to_rfc3339());
        let addresses = Arc::clone(&addresses);
        delivering.spawn(async move { deliver(addresses[nth % 2], "/hooks/sms", body.to_string().as_bytes()).await });
        if delivering.len() >= 32 {
            assert_eq!(delivering.join_next().await.unwrap().unwrap().status, 200);
        }
    }
    for answer in delivering.join_all().await {
        assert_eq!(answer.status, 200);
    }
    let held: Vec<String> = sqlx::query_scalar("SELECT number FROM v1.opt_outs WHERE in_force ORDER BY number")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    let wanted: Vec<String> = expected
        .into_iter()
        .filter(|(_, stops)| *stops)
        .map(|(number, _)| number)
        .collect();
    assert_eq!(held, wanted);
    let messages = count(&database.pool, "SELECT count(*) FROM v1.messages").await;
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM v1.consent_events").await,
        messages
    );
}

#[tokio::test]
async fn two_spellings_in_the_same_instant_are_one_opt_out_and_one_confirmation() {
    let database = TestDatabase::new().await;
    let gateway = Fake::start().await;
    let toml = helpers::replying_endpoint(&gateway);
    let (one, two) = (Direct::over(&database, &toml), Direct::over(&database, &toml));
    for person in 0..40 {
        let old = format!("+521551234{person:04}");
        let new = format!("+52551234{person:04}");
        let (a, b) = tokio::join!(
            one.accept(one.delivery(vec![said(&old, "STOP", None)], &old)),
            two.accept(two.delivery(vec![said(&new, "STOP", None)], &new)),
        );
        assert!(a.id.is_some() && b.id.is_some());
    }
    assert_eq!(in_force(&database.pool).await, 40);
    let confirmations = "SELECT count(*) FROM v1.jobs WHERE kind = 'opt_out_confirmation'";
    assert_eq!(count(&database.pool, confirmations).await, 40);
}

#[tokio::test]
async fn the_database_makes_the_same_key_of_a_number_as_we_do() {
    let database = TestDatabase::new().await;
    let mut numbers: Vec<String> = [
        "",
        "+",
        "12345",
        "+12345",
        "0015551230001",
        "AMAZON",
        "+1555abc",
        "12345678",
        "01234567",
        "++1555",
        "999999999999999",
        "1234567890123456",
        "-1",
    ]
    .map(str::to_owned)
    .into();
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    for prefix in ["521", "52", "549", "54", "55119", "5511", "1", "44", "91", "0"] {
        for _ in 0..60 {
            let length = random.random_range(6..13_usize).saturating_sub(prefix.len()).max(1);
            let rest: String = (0..length + random.random_range(0..3))
                .map(|_| char::from(b'0' + random.random_range(0..10)))
                .collect();
            numbers.extend([format!("{prefix}{rest}"), format!("+{prefix}{rest}")]);
        }
    }
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT smshook.suppression_key(n) FROM UNNEST($1::text[]) WITH ORDINALITY AS t (n, nth) ORDER BY nth",
    )
    .bind(&numbers)
    .fetch_all(&database.pool)
    .await
    .unwrap();
    for (number, key) in numbers.iter().zip(keys) {
        assert_eq!(suppression_key(number), key, "{number}");
        assert_eq!(suppression_key(&key), key, "{number}: idempotent");
    }
}

/// The opt-outs of before groups were the endpoint's own keep holding at each endpoint that they held at.
#[tokio::test]
async fn opt_outs_of_the_former_shared_group_hold_at_every_endpoint_that_belonged_to_it() {
    let database = TestDatabase::new().await;
    let endpoint = |name: &str, more: &str| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\npath = \"/hooks/{name}\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{SECRET}\"]\n{more}\n"
        )
    };
    let toml = endpoint("shop", "") + &endpoint("club", "") + &endpoint("bank", "suppression_group = \"apart\"");
    sqlx::query(
        "INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, opted_out_at, recorded_at)
         SELECT 'default', '+15551230001', '+15551230001', 'operator', at, at
         FROM (SELECT installed_on - interval '1 day' AS at FROM _sqlx_migrations WHERE version = 20261121000005) i",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let app = App::over(database, &toml).await;
    let groups = async || -> Vec<String> {
        sqlx::query_scalar("SELECT suppression_group FROM v1.opt_outs WHERE in_force ORDER BY 1")
            .fetch_all(app.pool())
            .await
            .unwrap()
    };
    assert_eq!(groups().await, ["club", "default", "shop"]);
    let mut start = sms("15551230001", "START");
    start["receivedAt"] = json!(Utc::now().to_rfc3339());
    deliver(app.address(), "/hooks/shop", start.to_string().as_bytes()).await;
    assert_eq!(groups().await, ["club", "default"]);
    // A second start adopts nothing again.
    let directory = tempfile::tempdir().unwrap();
    let file = write_configuration(directory.path(), Some(&app.database.url()), &toml);
    let _second = Process::start(&file).await;
    assert_eq!(groups().await, ["club", "default"]);
    assert_eq!(
        count(
            app.pool(),
            "SELECT count(*) FROM v1.consent_events WHERE event = 'adopted'"
        )
        .await,
        2
    );
}
