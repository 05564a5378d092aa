//! `opt_out.changed`: other senders are told of every change of consent, signed, at least once, in order for each number, and
//! whatever they answer holds up nothing else.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::Sha256;
use smshook::store::Store;
use sqlx::PgPool;

use crate::helpers::{
    Answer, Asked, Fake, PATIENCE, Process, Service, count, deliver, eventually, jobs_ended, smshook,
    write_configuration,
};
use crate::testkit::TestDatabase;

const PERSON: &str = "15551230001";
const OTHER: &str = "15551230002";
/// Two of Standard Webhooks: with and without the prefix.
const FIRST: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const SECOND: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4";
/// A rule, so that texts cause jobs.
const NOTES: &str = r#"
[action.note]
log = { message = "a text" }
[[rule]]
name = "everything"
any = true
actions = ["note"]
"#;

/// `[webhook.NAME]` of a fake.
fn webhook(name: &str, fake: &Fake) -> String {
    format!(
        "[webhook.{name}]\nurl = \"{}\"\nsecrets = [\"{FIRST}\", \"{SECOND}\"]\nallow_http = true\n\
         allow_private = [\"127.0.0.0/8\"]\n",
        fake.url("/told")
    )
}

fn quick(more: &str) -> String {
    format!("[worker]\npoll = \"50ms\"\n{more}")
}

/// The service with one webhook.
async fn telling(fake: &Fake) -> Service {
    Service::start(&quick(&format!("{}{NOTES}", webhook("sender", fake)))).await
}

/// A text of now, later than every one before it by a second at least as the gateway tells.
async fn text(process: &Process, from: &str, text: &str) -> DateTime<Utc> {
    static NTH: AtomicI64 = AtomicI64::new(0);
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let at = Utc::now() - TimeDelta::days(1) + TimeDelta::seconds(nth * 60);
    let body = json!({
        "event": "message.received", "from": from, "to": "15550009999", "text": text, "ref": null,
        "receivedAt": instant(at), "deviceId": "dev_1", "tenantId": "ten_1", "tenantName": "Acme",
    });
    let answer = deliver(process.address, "/hooks/sms", body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    at
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Holds a request against Standard Webhooks' rules: one signature for each secret, over ID, time and body.
fn assert_signed(asked: &Asked) {
    let header = |name: &str| asked.headers[name].to_str().unwrap().to_owned();
    let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
    let age = Utc::now().timestamp() - time.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");
    let signature = |secret: &str| {
        let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{time}.{}", asked.body).as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    let both = format!("{} {}", signature(FIRST), signature(SECOND));
    assert_eq!(header("webhook-signature"), both);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(id, format!("evt_{}", asked.json()["data"]["event_id"]));
}

/// Number, whether opted out, and event of each request, in the order in which they came.
fn told(fake: &Fake) -> Vec<(String, bool, i64)> {
    let of = |asked: &Asked| {
        let data = asked.json()["data"].clone();
        (
            data["number"].as_str().unwrap().to_owned(),
            data["opted_out"].as_bool().unwrap(),
            data["event_id"].as_i64().unwrap(),
        )
    };
    fake.asked().iter().map(of).collect()
}

/// What was told of one number: whether opted out, by request.
fn told_of(fake: &Fake, number: &str) -> Vec<bool> {
    let of = |(whose, opted_out, _): (String, bool, i64)| (whose == format!("+{number}")).then_some(opted_out);
    told(fake).into_iter().filter_map(of).collect()
}

/// State, attempt and error of each notice, in order.
async fn notices(pool: &PgPool) -> Vec<(String, i32, Option<String>)> {
    sqlx::query_as("SELECT state, attempt, error FROM v1.notices ORDER BY id")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn states(pool: &PgPool) -> Vec<String> {
    notices(pool).await.into_iter().map(|(state, ..)| state).collect()
}

async fn all_delivered(pool: &PgPool, notices: usize) {
    eventually("every notice is delivered", async || {
        states(pool).await == vec!["delivered"; notices]
    })
    .await;
}

async fn execute(pool: &PgPool, statement: &'static str) -> u64 {
    sqlx::query(statement).execute(pool).await.unwrap().rows_affected()
}

#[tokio::test]
async fn who_opts_out_and_in_again_is_told_signed_with_each_secret_and_without_their_words() {
    let fake = Fake::start().await;
    let more = "headers = { \"X-Tenant\" = \"acme\" }\n";
    let service = Service::start(&quick(&format!("{}{more}{NOTES}", webhook("sender", &fake)))).await;
    let asked_at = text(&service.process, PERSON, "STOP please").await;
    fake.came(1).await;
    let (event, recorded_at): (i64, DateTime<Utc>) =
        sqlx::query_as("SELECT id, recorded_at FROM v1.consent_events WHERE event = 'opt_out'")
            .fetch_one(service.pool())
            .await
            .unwrap();
    let first = fake.asked().remove(0);
    let expected = json!({
        "type": "opt_out.changed",
        "timestamp": instant(recorded_at),
        "data": {
            "number": "+15551230001", "group": "main", "opted_out": true, "source": "message",
            "asked_at": instant(asked_at), "recorded_at": instant(recorded_at), "event_id": event,
        },
    });
    assert_eq!(first.json(), expected);
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/told"));
    assert_eq!(first.headers["x-tenant"], "acme");
    assert_signed(&first);
    text(&service.process, PERSON, "START").await;
    fake.came(2).await;
    let second = fake.asked().remove(1);
    assert_signed(&second);
    assert_eq!(second.json()["data"]["opted_out"], false);
    assert!(second.json()["data"]["event_id"].as_i64().unwrap() > event);
    all_delivered(service.pool(), 2).await;
    service
        .counts(r#"smshook_notices_total{webhook="sender",outcome="delivered"} 2"#)
        .await;
    service.counts(r#"smshook_notices_waiting{webhook="sender"} 0"#).await;
    assert!(!service.process.log_text().contains(PERSON));
}

#[tokio::test]
async fn what_changes_nothing_is_not_told() {
    let fake = Fake::start().await;
    let service = telling(&fake).await;
    for words in ["START", "STOP", "STOP", "unsubscribe", "START", "START"] {
        text(&service.process, PERSON, words).await;
    }
    all_delivered(service.pool(), 2).await;
    assert_eq!(told_of(&fake, PERSON), [true, false]);
    let events = "SELECT count(*) FROM v1.consent_events WHERE event IN ('opt_out', 'opt_in')";
    assert_eq!(count(service.pool(), events).await, 6);
}

#[tokio::test]
async fn what_the_operator_does_is_told_too() {
    let fake = Fake::start().await;
    let service = telling(&fake).await;
    let added = service
        .run(&["opt-outs", "add", "+15551230009", "--note", "asked by phone"])
        .await;
    assert_eq!(added.code, Some(0), "{added:?}");
    fake.came(1).await;
    let data = fake.asked()[0].json()["data"].clone();
    assert_eq!(
        (&data["number"], &data["source"], &data["asked_at"], &data["opted_out"]),
        (&json!("+15551230009"), &json!("operator"), &Value::Null, &json!(true))
    );
    assert!(!fake.asked()[0].body.contains("phone"), "a note is not for others");
    let removed = service.run(&["opt-outs", "remove", "+15551230009"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    fake.came(2).await;
    assert_eq!(told_of(&fake, "15551230009"), [true, false]);
}

#[tokio::test]
async fn a_change_is_told_at_once_also_where_nobody_polls() {
    let fake = Fake::start().await;
    let service = Service::start(&format!("[worker]\npoll = \"1h\"\n{}", webhook("sender", &fake))).await;
    service.counts("smshook_listening 1").await;
    let added = service.run(&["opt-outs", "add", "+15551230009"]).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    text(&service.process, PERSON, "STOP").await;
    fake.came(2).await;
    assert_eq!(told_of(&fake, PERSON), [true]);
}

#[tokio::test]
async fn a_change_waits_for_the_one_before_it_and_no_other_number_waits() {
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    let webhook = format!("{}timeout = \"1m\"\n", webhook("sender", &fake));
    let service = Service::start(&quick(&webhook)).await;
    text(&service.process, PERSON, "STOP").await;
    fake.came(1).await;
    text(&service.process, PERSON, "START").await;
    // later than the START, and told before it
    text(&service.process, OTHER, "STOP").await;
    text(&service.process, OTHER, "START").await;
    eventually("the other number's changes are delivered", async || {
        states(service.pool()).await == ["running", "waiting", "delivered", "delivered"]
    })
    .await;
    assert_eq!(told_of(&fake, PERSON), [true]);
    assert_eq!(told_of(&fake, OTHER), [true, false]);
    fake.release(1);
    all_delivered(service.pool(), 4).await;
    assert_eq!(told_of(&fake, PERSON), [true, false]);
}

#[tokio::test]
async fn whatever_fails_is_told_again_under_the_same_id_and_never_overtaken() {
    let fake = Fake::start().await;
    // also what elsewhere means that nobody wants to hear more
    for status in [500, 410, 404, 302, 400] {
        fake.then(Fake::status(status));
    }
    let service = telling(&fake).await;
    for words in ["STOP", "START", "STOP"] {
        text(&service.process, PERSON, words).await;
    }
    eventually("every notice is delivered", async || {
        // the waits are random, and longer each time
        execute(
            service.pool(),
            "UPDATE smshook.notices SET run_at = now() WHERE state = 'waiting'",
        )
        .await;
        states(service.pool()).await == ["delivered"; 3]
    })
    .await;
    let told = told(&fake);
    let events: Vec<i64> = told.iter().map(|(_, _, event)| *event).collect();
    assert!(events.is_sorted(), "{events:?}");
    assert_eq!(told.len(), 8, "five failures and three changes");
    assert_eq!(events.iter().collect::<BTreeSet<_>>().len(), 3);
    let asked = fake.asked();
    for one in &asked {
        assert_signed(one);
        let twin = asked
            .iter()
            .find(|other| other.headers["webhook-id"] == one.headers["webhook-id"]);
        assert_eq!(twin.unwrap().body, one.body);
    }
    service
        .counts(r#"smshook_notices_total{webhook="sender",outcome="retry"} 5"#)
        .await;
}

#[tokio::test]
async fn a_retry_after_is_honoured() {
    let fake = Fake::start().await;
    let later = vec![("retry-after", "1200".to_owned())];
    fake.then(Answer::Now(503, later, String::new()));
    let service = telling(&fake).await;
    text(&service.process, PERSON, "STOP").await;
    eventually("the first attempt is settled", async || {
        notices(service.pool()).await == [("waiting".to_owned(), 1, Some("answered 503".to_owned()))]
    })
    .await;
    let waits = count(
        service.pool(),
        "SELECT extract(epoch FROM run_at - now())::int8 FROM v1.notices",
    )
    .await;
    assert!((1_150..=1_203).contains(&waits), "{waits}");
}

#[tokio::test]
async fn one_that_does_not_answer_in_time_is_told_again() {
    let fake = Fake::start().await;
    fake.always(Answer::Hold);
    let webhook = format!("{}timeout = \"200ms\"\n", webhook("sender", &fake));
    let service = Service::start(&quick(&webhook)).await;
    text(&service.process, PERSON, "STOP").await;
    eventually("the first attempt is given up", async || {
        notices(service.pool()).await[0].2.as_deref() == Some("no end after 200 ms")
    })
    .await;
    fake.always(Fake::status(200));
    all_delivered(service.pool(), 1).await;
    let told = told_of(&fake, PERSON);
    assert!(told.len() >= 2 && told.iter().all(|opted_out| *opted_out), "{told:?}");
}

#[tokio::test]
async fn killed_between_sending_and_settling_it_tells_again_under_the_same_id() {
    let (database, fake) = (TestDatabase::new().await, Fake::start().await);
    fake.then(Answer::Hold);
    let directory = tempfile::tempdir().unwrap();
    let toml = quick(&webhook("sender", &fake));
    let config = write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut process = Process::start(&config).await;
    text(&process, PERSON, "STOP").await;
    fake.came(1).await;
    process.kill().await;
    assert_eq!(notices(&database.pool).await, [("running".to_owned(), 1, None)]);
    // the lease ends
    assert_eq!(
        execute(&database.pool, "UPDATE smshook.notices SET run_at = now()").await,
        1
    );
    let mut next = Process::start(&config).await;
    all_delivered(&database.pool, 1).await;
    next.logged("took over a notice").await;
    let asked = fake.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].headers["webhook-id"], asked[1].headers["webhook-id"]);
    assert_eq!(asked[0].body, asked[1].body);
    assert_signed(&asked[1]);
}

#[tokio::test]
async fn a_stop_gives_back_what_is_on_its_way_at_no_cost() {
    let (database, fake) = (TestDatabase::new().await, Fake::start().await);
    fake.then(Answer::Hold);
    let directory = tempfile::tempdir().unwrap();
    let toml = format!("[worker]\nstop_grace = \"100ms\"\n{}", webhook("sender", &fake));
    let config = write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut process = Process::start(&config).await;
    text(&process, PERSON, "STOP").await;
    fake.came(1).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0), "{}", process.log_text());
    assert_eq!(notices(&database.pool).await, [("waiting".to_owned(), 0, None)]);
    let due = "SELECT count(*) FROM v1.notices WHERE run_at <= now()";
    assert_eq!(count(&database.pool, due).await, 1);
}

#[tokio::test]
async fn two_processes_tell_each_of_a_thousand_imported_opt_outs_once() {
    const CHANGES: usize = 1_000;
    let (database, fake) = (TestDatabase::new().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let config = write_configuration(
        directory.path(),
        Some(&database.url()),
        &quick(&webhook("sender", &fake)),
    );
    let _processes = (Process::start(&config).await, Process::start(&config).await);
    let list: Vec<String> = (0..CHANGES).map(|nth| format!("+1555{nth:07}")).collect();
    let file = directory.path().join("list.txt");
    std::fs::write(&file, list.join("\n")).unwrap();
    let mut import = smshook(&["--config", config.to_str().unwrap(), "opt-outs", "import"]);
    import.arg(&file);
    let imported = tokio::task::spawn_blocking(move || import.output().unwrap())
        .await
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    all_delivered(&database.pool, CHANGES).await;
    let told = told(&fake);
    let numbers: BTreeSet<&str> = told.iter().map(|(number, ..)| number.as_str()).collect();
    assert_eq!((told.len(), numbers.len()), (CHANGES, CHANGES));
    assert_eq!(
        count(&database.pool, "SELECT max(attempt)::int8 FROM v1.notices").await,
        1
    );
}

#[tokio::test]
async fn a_claim_does_not_look_through_a_long_backlog() {
    let database = TestDatabase::new().await;
    let backlog = "INSERT INTO smshook.notices (webhook, event_id, number_key)
        SELECT 'sender', n, '+1555' || n FROM generate_series(1, 100000) n";
    execute(&database.pool, backlog).await;
    let store = Store::new(database.options(), 2);
    let claims = async {
        for _ in 0..100 {
            let claimed = store.claim_notices("sender", 8, Duration::from_mins(1)).await.unwrap();
            assert_eq!(claimed.len(), 8);
        }
    };
    // tens of milliseconds when it works, hours when it compares each with each
    assert!(tokio::time::timeout(PATIENCE, claims).await.is_ok());
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_neither_texts_nor_jobs_nor_another_webhook() {
    const TEXTS: usize = 40;
    let (hanging, other) = (Fake::start().await, Fake::start().await);
    hanging.always(Answer::Hold);
    let webhooks = format!(
        "{}timeout = \"1m\"\n{}",
        webhook("hanging", &hanging),
        webhook("other", &other)
    );
    let service = Service::start(&quick(&format!("{webhooks}{NOTES}"))).await;
    for nth in 0..TEXTS {
        text(&service.process, &format!("1555123{nth:04}"), "STOP").await;
    }
    jobs_ended(service.pool()).await;
    let done = "SELECT count(*) FROM v1.jobs WHERE state = 'done'";
    assert_eq!(count(service.pool(), done).await, 40);
    eventually("the other webhook is told everything", async || {
        let delivered = "SELECT count(*) FROM v1.notices WHERE webhook = 'other' AND state = 'delivered'";
        count(service.pool(), delivered).await == 40
    })
    .await;
    service.counts(r#"smshook_notices_waiting{webhook="hanging"} 40"#).await;
    service.counts(r#"smshook_notices_waiting{webhook="other"} 0"#).await;
    assert!(hanging.asked().len() < TEXTS, "not all at once");
}

#[tokio::test]
async fn what_a_webhook_answers_is_kept_without_numbers_and_secrets() {
    let fake = Fake::start().await;
    let echo = format!(r#"{{"error":"unknown number +{PERSON} ({PERSON}), key {FIRST}"}}"#);
    let wait = vec![("retry-after", "1200".to_owned())];
    fake.then(Answer::Now(400, wait, echo));
    let service = telling(&fake).await;
    text(&service.process, PERSON, "STOP").await;
    eventually("the first attempt is settled", async || {
        states(service.pool()).await == ["waiting"] && notices(service.pool()).await[0].2.is_some()
    })
    .await;
    let error = notices(service.pool()).await.remove(0).2.unwrap();
    assert_eq!(
        error,
        r#"answered 400: {"error":"unknown number […] (…0001), key […]"}"#
    );
    assert!(!service.process.log_text().contains(PERSON));
}

#[tokio::test]
async fn after_three_days_it_is_given_up_the_next_is_told_and_the_doctor_says_so() {
    let fake = Fake::start().await;
    fake.always(Fake::status(410));
    let service = telling(&fake).await;
    text(&service.process, PERSON, "STOP").await;
    text(&service.process, PERSON, "START").await;
    fake.came(1).await;
    eventually("an attempt has failed", async || {
        notices(service.pool()).await[0].2.as_deref() == Some("answered 410: {}")
    })
    .await;
    let doctor = service.run(&["doctor", "--offline"]).await;
    assert!(
        doctor.out.contains("webhook sender") && doctor.out.contains("2 changes of consent to be told"),
        "{doctor:?}"
    );
    eventually("the first is three days old and often tried", async || {
        let aged = "UPDATE smshook.notices SET created_at = now() - interval '73 hours', attempt = 30, run_at = now()
             WHERE state = 'waiting' AND id = (SELECT min(id) FROM smshook.notices)";
        execute(service.pool(), aged).await == 1
    })
    .await;
    eventually("the first is given up and the next is tried", async || {
        let notices = notices(service.pool()).await;
        notices[0].0 == "discarded" && notices[1].1 > 0
    })
    .await;
    let (_, _, error) = notices(service.pool()).await.remove(0);
    assert_eq!(error.as_deref(), Some("gave up after 31 attempts: answered 410: {}"));
    fake.always(Fake::status(200));
    eventually("the next is told", async || {
        states(service.pool()).await == ["discarded", "delivered"]
    })
    .await;
    let doctor = service.run(&["doctor", "--offline"]).await;
    assert!(
        doctor.out.contains("1 change of consent given up within 30 days"),
        "{doctor:?}"
    );
    service
        .counts(r#"smshook_notices_total{webhook="sender",outcome="discarded"} 1"#)
        .await;
}

#[tokio::test]
async fn a_change_that_is_old_because_nobody_ran_is_tried_all_the_same() {
    let (database, fake) = (TestDatabase::new().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let toml = quick(&webhook("sender", &fake));
    let config = write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut process = Process::start(&config).await;
    fake.then(Answer::Hold);
    text(&process, PERSON, "STOP").await;
    fake.came(1).await;
    process.kill().await;
    let old = "UPDATE smshook.notices SET created_at = now() - interval '9 days', run_at = now(), attempt = 0";
    assert_eq!(execute(&database.pool, old).await, 1);
    fake.then(Fake::status(500));
    let _next = Process::start(&config).await;
    all_delivered(&database.pool, 1).await;
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_removed_is_discarded() {
    let (gone, stays) = (Fake::start().await, Fake::start().await);
    gone.always(Fake::status(500));
    stays.always(Fake::status(500));
    let (database, directory) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
    let both = quick(&format!("{}{}", webhook("gone", &gone), webhook("stays", &stays)));
    let config = write_configuration(directory.path(), Some(&database.url()), &both);
    let mut process = Process::start(&config).await;
    text(&process, PERSON, "STOP").await;
    gone.came(1).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0));
    stays.always(Fake::status(204));
    let config = write_configuration(
        directory.path(),
        Some(&database.url()),
        &quick(&webhook("stays", &stays)),
    );
    let next = Process::start(&config).await;
    let of = async |webhook: &str| {
        sqlx::query_as::<_, (String, Option<String>)>("SELECT state, error FROM v1.notices WHERE webhook = $1")
            .bind(webhook)
            .fetch_all(&database.pool)
            .await
            .unwrap()
    };
    eventually("the other is told", async || of("stays").await[0].0 == "delivered").await;
    let reason = "the webhook is not configured any more".to_owned();
    assert_eq!(of("gone").await, [("discarded".to_owned(), Some(reason))]);
    text(&next, PERSON, "START").await;
    eventually("the other is told again", async || of("stays").await.len() == 2).await;
    assert_eq!(of("gone").await.len(), 1);
    // what a change wrote at the very moment of the removal
    let late = "INSERT INTO smshook.notices (webhook, event_id, number_key) SELECT 'gone', 1, '+15551230001'";
    execute(&database.pool, late).await;
    eventually("that is discarded, too", async || of("gone").await[1].0 == "discarded").await;
}

#[tokio::test]
async fn who_is_erased_meanwhile_is_not_told_of() {
    let fake = Fake::start().await;
    let wait = vec![("retry-after", "3600".to_owned())];
    fake.then(Answer::Now(503, wait, String::new()));
    let service = telling(&fake).await;
    text(&service.process, PERSON, "STOP").await;
    eventually("the first attempt is settled", async || {
        notices(service.pool()).await == [("waiting".to_owned(), 1, Some("answered 503".to_owned()))]
    })
    .await;
    let mut transaction = service.pool().begin().await.unwrap();
    for statement in [
        "SET LOCAL smshook.may_change_evidence = 'on'",
        "UPDATE smshook.consent_events SET number = 'hmac:00', number_key = 'hmac:00', erased_at = now()",
        "UPDATE smshook.notices SET number_key = 'hmac:00', run_at = now()",
    ] {
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    eventually("it is discarded", async || {
        states(service.pool()).await == ["discarded"]
    })
    .await;
    let reason = "the person was erased before it was delivered".to_owned();
    assert_eq!(
        notices(service.pool()).await,
        [("discarded".to_owned(), 2, Some(reason))]
    );
    assert_eq!(fake.asked().len(), 1);
}

/// What is typed into a phone is a rehearsal, even where its actions are not.
#[tokio::test]
async fn a_phone_tells_nobody() {
    let (database, fake) = (TestDatabase::new().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let toml = format!("{}{NOTES}", webhook("sender", &fake));
    write_configuration(directory.path(), Some("postgres://nobody@127.0.0.1:1/none"), &toml);
    let mut command = smshook(&["phone", "--live-actions", "--database-url-env", "TESTS_DATABASE"]);
    command
        .env_remove("SMSHOOK_CONFIG")
        .env("TESTS_DATABASE", database.url())
        .current_dir::<PathBuf>(directory.path().into())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"STOP\n").unwrap();
        child.wait().unwrap()
    };
    assert!(tokio::task::spawn_blocking(run).await.unwrap().success());
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM v1.opt_outs WHERE in_force").await,
        1
    );
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.notices").await, 0);
    assert_eq!(fake.asked().len(), 0);
}
