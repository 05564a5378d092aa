//! The evidence: what is recorded of each request, that it stays as it was recorded, and the report that shows it.

use serde_json::{Value, json};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{ErasureKey, Store};
use sqlx::{Executor as _, PgPool};

use crate::cli::Shell;
use crate::helpers::{self, Answer, App, Fake, Intake, count, sms};
use crate::testkit::TestDatabase;

const PERSON: &str = "12025550143";
const NUMBER: &str = "+12025550143";

fn answering(gateway: &Fake) -> String {
    format!(
        "[worker]\npoll = \"50ms\"\n{}[action.answer]\nreply = {{ text = \"We are open.\" }}\n\
         [[rule]]\nname = \"all\"\nany = true\nactions = [\"answer\"]\n",
        helpers::replying_endpoint(gateway)
    )
}

/// The report, as a person and as a program reads it.
async fn proof(shell: &Shell) -> (String, Value) {
    let text = shell.run(&["opt-outs", "proof", NUMBER]).await.data();
    (text, shell.run(&["opt-outs", "proof", NUMBER, "--json"]).await.json())
}

#[tokio::test]
async fn the_proof_says_who_asked_when_in_which_words_and_what_was_sent_after_it() {
    let gateway = Fake::start().await;
    let toml = answering(&gateway);
    let app = App::start(&toml).await;
    let shell = Shell::over(&app.database, &toml);
    app.text(PERSON, "are you open?").await;
    app.all_jobs_ended().await;
    app.text(PERSON, " Stop! ").await;
    app.text("12025550199", "STOP").await;
    app.all_jobs_ended().await;
    app.text(PERSON, "hello?").await;
    app.all_jobs_ended().await;
    assert_eq!(gateway.asked().len(), 3);

    let (text, data) = proof(&shell).await;
    let asked: String = sqlx::query_scalar(
        "SELECT to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM v1.messages
         WHERE consent_event = 'opt_out' AND sender = $1",
    )
    .bind(NUMBER)
    .fetch_one(app.pool())
    .await
    .unwrap();
    let first = text.lines().find(|line| line.starts_with("Group")).unwrap();
    let since = format!("Group `main`: opted out since {asked} by text message “ Stop! ”; recorded at 20");
    assert!(first.starts_with(&since), "{text}");
    assert!(first.contains("; confirmed at 20"), "{text}");
    assert!(text.starts_with("Consent of +12025550143\n"), "{text}");
    for expected in [
        "Texts handed to a gateway after it: 1 (the confirmation).",
        "Opt-out: in force from then on",
        "The opt-out was confirmed: the gateway took the text",
        "1: the whole text is a keyword",
        "signed as it should be",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("2025550199"), "another person's evidence: {text}");

    let group = &data["groups"][0];
    assert_eq!((&group["may_text"], &group["group"]), (&json!(false), &json!("main")));
    let opt_out = &group["opt_outs"][0];
    assert_eq!(
        (&opt_out["texts_after"], &opt_out["confirmations_after"]),
        (&json!(1), &json!(1))
    );
    assert!(opt_out["confirmation"]["confirmed_at"].is_string(), "{data}");
    let event = &data["events"][0];
    for (member, value) in [
        ("event", "opt_out"),
        ("effect", "began"),
        ("source", "message"),
        ("words", " Stop! "),
        ("keyword", "stop"),
        ("endpoint", "main"),
        ("recipient", "+15550009999"),
        ("confirmation", "owed"),
    ] {
        assert_eq!(event[member], value, "{member} of {event}");
    }
    assert_eq!((&event["tier"], &event["verified"]), (&json!(1), &json!(true)));
    assert!(!event["rules_version"].as_str().unwrap().is_empty());
    assert_eq!(data["events"][1]["event"], "confirmed");
    assert_eq!(data["events"][1]["reference"], data["texts"][1]["reference"]);
    let kinds: Vec<&str> = data["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["action", "opt_out_confirmation"],
        "the answer before it, and the confirmation"
    );
}

#[tokio::test]
async fn the_proof_tells_the_whole_story_of_stop_start_and_stop() {
    let gateway = Fake::start().await;
    let toml = answering(&gateway);
    let app = App::start(&toml).await;
    let shell = Shell::over(&app.database, &toml);
    for text in ["STOP", "stop", "START", "hello"] {
        app.text(PERSON, text).await;
        app.all_jobs_ended().await;
    }
    let (text, data) = proof(&shell).await;
    let line = text.lines().find(|line| line.starts_with("Group")).unwrap();
    assert!(line.contains("may be texted: opted out at"), "{text}");
    assert!(line.contains("by a text message of the person"), "{text}");
    assert_eq!(data["groups"][0]["may_text"], true);
    shell
        .run(&["opt-outs", "add", NUMBER, "--note", "a letter"])
        .await
        .data();
    let (text, data) = proof(&shell).await;
    let line = text.lines().find(|line| line.starts_with("Group")).unwrap();
    assert!(line.contains("recorded by the operator “a letter”"), "{text}");
    assert!(
        line.contains("; not confirmed: asked for by another way than a text"),
        "{text}"
    );
    assert!(text.contains("Before that: may be texted: opted out at"), "{text}");
    assert!(text.contains("Opt-out again: it was in force already"), "{text}");
    let effects: Vec<&Value> = data["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["effect"])
        .collect();
    assert_eq!(
        effects,
        [
            &json!("began"),
            &Value::Null,
            &json!("in_force"),
            &json!("lifted"),
            &json!("began")
        ],
        "{data}"
    );
    let after: Vec<&Value> = data["groups"][0]["opt_outs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|opt_out| &opt_out["texts_after"])
        .collect();
    assert_eq!(after, [1, 0]);
}

#[tokio::test]
async fn a_confirmation_that_failed_is_said_to_have() {
    let gateway = Fake::start().await;
    gateway.always(Fake::status(400));
    let toml = answering(&gateway);
    let app = App::start(&toml).await;
    let shell = Shell::over(&app.database, &toml);
    app.text(PERSON, "STOP").await;
    app.all_jobs_ended().await;
    let (text, data) = proof(&shell).await;
    assert!(text.contains("; not confirmed: "), "{text}");
    let confirmation = &data["groups"][0]["opt_outs"][0]["confirmation"];
    assert_eq!(confirmation["confirmed_at"], Value::Null);
    assert!(!confirmation["why_not"].as_str().unwrap().is_empty(), "{data}");
}

#[tokio::test]
async fn a_confirmation_that_is_on_its_way_is_not_called_sent() {
    let gateway = Fake::start().await;
    gateway.then(Answer::Hold);
    let toml = answering(&gateway);
    let app = App::start(&toml).await;
    let shell = Shell::over(&app.database, &toml);
    app.text(PERSON, "STOP").await;
    gateway.came(1).await;
    let (text, _) = proof(&shell).await;
    assert!(
        text.contains("; not confirmed: it is owed, and what became of it is not settled yet"),
        "{text}"
    );
    gateway.release(1);
    app.all_jobs_ended().await;
    let (text, _) = proof(&shell).await;
    assert!(text.contains("; confirmed at "), "{text}");
}

#[tokio::test]
async fn of_somebody_unknown_the_proof_says_that_nothing_is_recorded() {
    let database = TestDatabase::new().await;
    let shell = Shell::over(&database, "");
    let (text, data) = proof(&shell).await;
    assert!(
        text.contains("Group `main`: no opt-out is recorded; may be texted."),
        "{text}"
    );
    assert_eq!((&data["events"], &data["texts"]), (&json!([]), &json!([])));
    let wrong = shell.run(&["opt-outs", "proof", "AMAZON"]).await.refusal(2);
    assert!(wrong.contains("is not a number"), "{wrong}");
}

#[tokio::test]
async fn what_a_stranger_wrote_cannot_steer_the_terminal_that_shows_the_proof() {
    let app = App::start("").await;
    let shell = Shell::over(&app.database, "");
    app.text(PERSON, "STOP\u{1b}[2J\u{7}\n").await;
    app.text(PERSON, "stop\r").await;
    let text = shell.run(&["opt-outs", "proof", NUMBER]).await.data();
    assert!(!text.contains(['\u{1b}', '\u{7}', '\r']), "{text:?}");
}

#[tokio::test]
async fn the_proof_of_somebody_who_was_erased_is_found_by_their_number() {
    let intake = Intake::start("").await;
    intake.text(PERSON, "STOP").await;
    let key = ErasureKey::new(b"the key of the tests").unwrap();
    let hash = key.hashed(NUMBER);
    let mut transaction = intake.pool().begin().await.unwrap();
    transaction
        .execute("SET LOCAL smshook.may_change_evidence = 'on'")
        .await
        .unwrap();
    for statement in [
        "UPDATE smshook.opt_outs SET number = $1, number_key = $1",
        "UPDATE smshook.consent_events SET number = $1, number_key = $1, words = NULL, erased_at = now()",
    ] {
        sqlx::query(statement)
            .bind(&hash)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let store = Store::new(intake.database.options(), 2).with_erasure_key(Some(key));
    let address = normalise(NUMBER, &NumberFormat::E164);
    let record = store.consent_record(&address).await.unwrap();
    assert_eq!((record.opt_outs.len(), record.events.len()), (1, 1));
    assert_eq!(record.events[0].keyword.as_deref(), Some("stop"));
    let stranger = Store::new(intake.database.options(), 2);
    assert!(stranger.consent_record(&address).await.unwrap().events.is_empty());
}

// the record itself

async fn refused(pool: &PgPool, statement: &'static str) {
    let error = pool.execute(statement).await.unwrap_err();
    let error = error.as_database_error().unwrap();
    let error = error.downcast_ref::<sqlx::postgres::PgDatabaseError>();
    assert!(
        error.message().contains("is evidence: rows are only added"),
        "{statement}: {error}"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("smshook erase NUMBER") && hint.contains("retention.consent"),
        "{hint}"
    );
}

#[tokio::test]
async fn not_even_the_owner_of_the_database_changes_or_removes_evidence() {
    let intake = Intake::start("").await;
    intake.text(PERSON, "STOP").await;
    let all = "SELECT count(*) FROM v1.consent_events WHERE words = 'STOP'";
    for statement in [
        "UPDATE smshook.consent_events SET words = 'hello'",
        "UPDATE v1.consent_events SET words = 'hello'",
        "DELETE FROM smshook.consent_events",
        "TRUNCATE smshook.consent_events",
        "TRUNCATE smshook.consent_events CASCADE",
        "INSERT INTO smshook.consent_events (id, event, suppression_group, number, number_key) OVERRIDING SYSTEM VALUE
         VALUES (1, 'review', 'main', '+1', '+1') ON CONFLICT (id) DO UPDATE SET words = 'hello'",
    ] {
        refused(intake.pool(), statement).await;
        assert_eq!(count(intake.pool(), all).await, 1, "{statement}");
    }
    // an erasure says so, and only for its transaction
    let mut transaction = intake.pool().begin().await.unwrap();
    transaction
        .execute("SET LOCAL smshook.may_change_evidence = 'on'")
        .await
        .unwrap();
    transaction
        .execute("UPDATE smshook.consent_events SET words = NULL")
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(count(intake.pool(), all).await, 1);
    refused(intake.pool(), "DELETE FROM smshook.consent_events").await;
}

#[tokio::test]
async fn the_sql_of_the_page_about_consent_runs_as_the_role_that_only_reads() {
    let intake = Intake::start("").await;
    helpers::deliver(intake.address, "/hooks/sms", sms(PERSON, "STOP").to_string().as_bytes()).await;
    let page = include_str!("../../docs/consent.md");
    let examples: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 3, "the page lost its examples");
    let mut transaction = intake.pool().begin().await.unwrap();
    transaction.execute("SET LOCAL ROLE smshook_read").await.unwrap();
    for example in examples {
        transaction.execute(sqlx::AssertSqlSafe(example)).await.unwrap();
    }
}
