//! An endpoint that does not keep texts: rules and actions see them, and then they are nowhere any more.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::helpers::{
    self, Answer, App, Fake, Intake, SECRET, count, deliver, eventually, holding, sms, smshook, write_configuration,
};

const PERSON: &str = "15551230001";
/// In every text of these tests, and in nothing else.
const TRACE: [&str; 1] = ["umbrella"];

/// The standard gateway with parts and reports, at an endpoint that does not keep texts.
fn forgetful(more: &str) -> String {
    format!(
        "[worker]\npoll = \"20ms\"\n[gateway.parted]\nlike = \"mobile-api-connect\"\n[gateway.parted.message]\n\
         parts = {{ reference = \"/part/ref\", total = \"/part/total\", index = \"/part/index\" }}\n\
         [[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"parted\"\nsecrets = [\"{SECRET}\"]\n\
         store_text = false\nreassembly_wait = \"1m\"\n{more}"
    )
}

/// Every text goes to a log and to a CRM.
fn filing(crm: &Fake) -> String {
    forgetful(&format!(
        "[action.note]\nlog = {{ message = \"they wrote {{{{ text }}}}\" }}\n[action.crm]\nmax_attempts = 1
         http = {{ url = \"{}\", json = {{ text = \"{{{{ text }}}}\" }}, capture = {{ echo = \"/echo\" }}, allow_http = true,
         allow_private = [\"127.0.0.0/8\"] }}
         [[rule]]\nname = \"all\"\nregex = '(?<what>.*)'\nactions = [\"note\", \"crm\"]\n",
        crm.url("/crm")
    ))
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.unwrap();
}

async fn nothing_is_left(pool: &PgPool) {
    eventually("the text is gone", async || holding(pool, &TRACE).await.is_empty()).await;
}

#[tokio::test]
async fn once_its_actions_have_run_a_text_is_in_no_table_and_its_length_rule_and_hash_stay() {
    let crm = Fake::start().await;
    let echo = json!({ "echo": "the umbrella, yes" }).to_string();
    crm.then(Answer::HoldThen(echo));
    let app = App::start(&filing(&crm)).await;
    let body = sms(PERSON, "my umbrella №1").to_string();
    app.deliver(&body).await;
    crm.came(1).await;
    assert!(!holding(app.pool(), &TRACE).await.is_empty(), "an action still runs");
    crm.release(1);
    app.all_jobs_ended().await;
    nothing_is_left(app.pool()).await;
    assert_eq!(crm.asked()[0].json()["text"], "my umbrella №1");
    let row: (String, String, i32, String, bool) =
        sqlx::query_as("SELECT text, raw, text_chars, rule, text_removed_at IS NOT NULL FROM v1.messages")
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_eq!(row, (String::new(), String::new(), 14, "all".to_owned(), true));
    assert_eq!(app.deliver(&body).await.json()["status"], "duplicate");
    nothing_is_left(app.pool()).await;
}

#[tokio::test]
async fn a_text_that_causes_nothing_is_never_stored() {
    let intake = Intake::start(&forgetful("")).await;
    intake.text(PERSON, "my umbrella").await;
    assert_eq!(holding(intake.pool(), &TRACE).await, BTreeSet::new());
    let removed = "SELECT count(*) FROM smshook.messages WHERE text_chars = 11 AND text_removed_at IS NOT NULL";
    assert_eq!(count(intake.pool(), removed).await, 1);
}

#[tokio::test]
async fn an_opt_out_without_its_words_is_in_force_all_the_same() {
    let intake = Intake::start(&forgetful("")).await;
    intake.text(PERSON, "please stop texting me about my umbrella").await;
    assert_eq!(
        count(intake.pool(), "SELECT count(*) FROM v1.opt_outs WHERE in_force").await,
        1
    );
    let words: Option<String> = sqlx::query_scalar("SELECT words FROM smshook.consent_events")
        .fetch_one(intake.pool())
        .await
        .unwrap();
    assert_eq!(words, None);
    assert_eq!(holding(intake.pool(), &TRACE).await, BTreeSet::new());
}

#[tokio::test]
async fn a_job_that_was_given_up_holds_its_text_for_a_day_so_that_a_person_can_retry_it() {
    let crm = Fake::start().await;
    let quoted = json!({ "error": "no such umbrella", "text": "my umbrella" }).to_string();
    crm.then(Answer::Now(422, vec![], quoted.clone()));
    crm.then(Answer::Now(422, vec![], quoted));
    let toml = filing(&crm);
    let app = App::start(&toml).await;
    app.text(PERSON, "my umbrella").await;
    app.all_jobs_ended().await;
    let directory = tempfile::tempdir().unwrap();
    let config = write_configuration(directory.path(), Some(&app.database.url()), &toml);
    let retry = async || {
        let id: i64 = sqlx::query_scalar("SELECT id FROM smshook.jobs WHERE action = 'crm'")
            .fetch_one(app.pool())
            .await
            .unwrap();
        let mut command = smshook(&["--config", config.to_str().unwrap(), "jobs", "retry", &id.to_string()]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    };
    assert!(retry().await.status.success());
    crm.came(2).await;
    app.all_jobs_ended().await;
    assert_eq!(crm.asked()[1].json()["text"], "my umbrella");
    let discarded = "SELECT count(*) FROM smshook.jobs WHERE state = 'discarded' AND reason LIKE '%umbrella%'";
    assert_eq!(count(app.pool(), discarded).await, 1);
    execute(
        app.pool(),
        "UPDATE smshook.jobs SET finished_at = finished_at - interval '24 hours'",
    )
    .await;
    nothing_is_left(app.pool()).await;
    let reasons: Vec<Option<String>> = sqlx::query_scalar("SELECT reason FROM smshook.jobs ORDER BY action")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(
        reasons,
        [Some("answered 422; what it said is not kept".to_owned()), None]
    );
    let refused = retry().await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(1) && said.contains("is not kept any more"),
        "{said}"
    );
    assert_eq!(
        count(
            app.pool(),
            "SELECT count(*) FROM smshook.jobs WHERE state = 'discarded'"
        )
        .await,
        1
    );
}

fn part(index: u8, text: &str) -> Value {
    let mut body = sms(PERSON, text);
    body["part"] = json!({ "ref": "7", "total": 2, "index": index });
    body
}

#[tokio::test]
async fn parts_lose_their_texts_once_they_are_put_together() {
    let crm = Fake::start().await;
    let app = App::start(&filing(&crm)).await;
    app.deliver(&part(1, "my umb").to_string()).await;
    app.deliver(&part(2, "rella is lost").to_string()).await;
    crm.came(1).await;
    assert_eq!(crm.asked()[0].json()["text"], "my umbrella is lost");
    app.all_jobs_ended().await;
    nothing_is_left(app.pool()).await;
    eventually("the parts are empty, too", async || {
        holding(app.pool(), &["my umb", "rella is"]).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_read_keeps_its_body_until_it_is_replayed() {
    let crm = Fake::start().await;
    let unmended = filing(&crm).replace("[gateway.parted.message]", "[gateway.parted.message]\ntext = \"/body\"");
    let intake = Intake::start(&unmended).await;
    let body = sms(PERSON, "my umbrella").to_string();
    let answer = deliver(intake.address, "/hooks/sms", body.as_bytes()).await.json();
    assert_eq!(answer["status"], "quarantined");
    let where_it_is = BTreeSet::from(["quarantine.raw".to_owned()]);
    assert_eq!(holding(intake.pool(), &TRACE).await, where_it_is);
    let directory = tempfile::tempdir().unwrap();
    let config = write_configuration(directory.path(), Some(&intake.database.url()), &filing(&crm));
    let mut command = smshook(&["--config", config.to_str().unwrap(), "messages", "replay"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!holding(intake.pool(), &TRACE).await.contains("quarantine.raw"));
    let (stop, working) = intake.work(&filing(&crm));
    helpers::jobs_ended(intake.pool()).await;
    nothing_is_left(intake.pool()).await;
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn the_body_of_a_report_is_not_kept_and_a_repeated_report_is_known() {
    let intake = Intake::start(&forgetful("")).await;
    let report = json!({ "event": "message.delivered", "ref": "r", "text": "your umbrella" }).to_string();
    for _ in 0..2 {
        assert_eq!(
            deliver(intake.address, "/hooks/sms", report.as_bytes()).await.status,
            200
        );
    }
    assert_eq!(
        count(intake.pool(), "SELECT count(*) FROM smshook.gateway_events").await,
        1
    );
    assert_eq!(holding(intake.pool(), &TRACE).await, BTreeSet::new());
}
