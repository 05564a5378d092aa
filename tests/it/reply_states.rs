//! How far a reply is: the gateway's reports find it by our reference or by the gateway's ID, in either order, and only ever
//! move it forwards.

use serde_json::{Value, json};
use smshook::message::{DeliveryState, GatewayEvent, Item};
use sqlx::PgPool;

use crate::helpers::{Answer, App, Direct, Fake, eventually, replying_endpoint, sms};

const PERSON: &str = "15551230001";

/// A service that answers every text; `more` belongs to the action.
fn answering(gateway: &Fake, more: &str) -> String {
    format!(
        "[worker]\npoll = \"50ms\"\n{}[action.answer]\nreply = {{ text = \"hello\" }}\n{more}\n\
         [[rule]]\nname = \"everything\"\nany = true\nactions = [\"answer\"]\n",
        replying_endpoint(gateway)
    )
}

#[derive(PartialEq, Debug, sqlx::FromRow)]
struct Reply {
    gateway_message_id: Option<String>,
    state: Option<String>,
    error: Option<String>,
    job_state: String,
}

fn reply(id: Option<&str>, state: Option<&str>, error: Option<&str>, job_state: &str) -> Reply {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Reply {
        gateway_message_id: owned(id),
        state: owned(state),
        error: owned(error),
        job_state: job_state.to_owned(),
    }
}

async fn only_reply(pool: &PgPool) -> Reply {
    sqlx::query_as("SELECT gateway_message_id, state, error, job_state FROM v1.replies")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// A report; `nth` tells reports apart that would be one body.
fn report(state: &str, id: Option<&str>, reference: Option<&str>, nth: u32) -> String {
    json!({ "event": format!("message.{state}"), "status": state, "id": id, "ref": reference, "nth": nth,
            "error": (state == "failed").then_some("30007: filtered") })
    .to_string()
}

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

#[tokio::test]
async fn reports_move_a_reply_forwards_only_and_a_failure_keeps_its_reason() {
    let gateway = Fake::start().await;
    for (reports, state, error) in [
        (vec!["queued", "sent", "delivered"], "delivered", None),
        (vec!["delivered", "sent", "queued", "failed"], "delivered", None),
        (
            vec!["sent", "failed", "delivered", "sent"],
            "failed",
            Some("30007: filtered"),
        ),
    ] {
        let app = App::start(&answering(&gateway, "")).await;
        app.text(PERSON, "hi").await;
        app.all_jobs_ended().await;
        assert_eq!(only_reply(app.pool()).await, reply(Some("msg_1"), None, None, "done"));
        for (nth, word) in (0..).zip(&reports) {
            app.deliver(&report(word, Some("msg_1"), None, nth)).await;
        }
        assert_eq!(
            only_reply(app.pool()).await,
            reply(Some("msg_1"), Some(state), error, "done"),
            "{reports:?}"
        );
    }
}

#[tokio::test]
async fn a_report_names_the_reply_by_our_reference_or_by_the_gateways_id_in_either_field() {
    let gateway = Fake::start().await;
    for by in ["reference", "id", "id as reference"] {
        let app = App::start(&answering(&gateway, "")).await;
        app.text(PERSON, "hi").await;
        app.all_jobs_ended().await;
        let ours: String = sqlx::query_scalar("SELECT reference FROM v1.replies")
            .fetch_one(app.pool())
            .await
            .unwrap();
        let (id, reference) = match by {
            "reference" => (Some("report_9"), Some(ours.as_str())),
            "id" => (Some("msg_1"), None),
            _ => (Some("report_9"), Some("msg_1")),
        };
        app.deliver(&report("sent", id, reference, 0)).await;
        assert_eq!(only_reply(app.pool()).await.state.as_deref(), Some("sent"), "{by}");
        assert_eq!(
            app.count("SELECT count(*) FROM v1.gateway_events e JOIN v1.replies r USING (job_id)")
                .await,
            1
        );
    }
}

#[tokio::test]
async fn a_report_that_comes_before_the_gateways_id_is_known_is_found_when_it_is() {
    let gateway = Fake::start().await;
    gateway.then(Answer::HoldThen(json!({ "id": "msg_7" }).to_string()));
    let app = App::start(&answering(&gateway, "")).await;
    app.deliver(&report("failed", Some("msg_7"), None, 0)).await;
    app.text(PERSON, "hi").await;
    gateway.came(1).await;
    app.deliver(&report("delivered", Some("msg_7"), None, 1)).await;
    app.deliver(&report("sent", Some("msg_7"), None, 2)).await;
    gateway.release(1);
    app.all_jobs_ended().await;
    // what came before this text was sent is about another one
    assert_eq!(
        only_reply(app.pool()).await,
        reply(Some("msg_7"), Some("delivered"), None, "done")
    );
    assert_eq!(
        app.count("SELECT count(*) FROM v1.gateway_events WHERE job_id IS NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn reports_that_race_with_the_gateways_answers_all_find_their_replies() {
    const REPLIES: usize = 40;
    let gateway = Fake::start().await;
    for nth in 0..REPLIES {
        gateway.then(Answer::Now(
            202,
            vec![],
            json!({ "id": format!("msg_{nth}") }).to_string(),
        ));
    }
    let app = App::start(&answering(&gateway, "")).await;
    let address = app.address();
    let reporting = {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            for nth in 0..REPLIES {
                gateway.came(nth + 1).await;
                let body = report("delivered", Some(&format!("msg_{nth}")), None, 0);
                let answer = crate::helpers::deliver(address, "/hooks/sms", body.as_bytes()).await;
                assert_eq!(answer.status, 200);
            }
        })
    };
    for nth in 0..REPLIES {
        app.text(&format!("1555123{nth:04}"), "hi").await;
    }
    reporting.await.unwrap();
    app.all_jobs_ended().await;
    let states: Vec<(Option<String>, i64)> =
        sqlx::query_as("SELECT state, count(*) FROM v1.replies GROUP BY state ORDER BY state")
            .fetch_all(app.pool())
            .await
            .unwrap();
    assert_eq!(
        states,
        [(Some("delivered".to_owned()), i64::try_from(REPLIES).unwrap())]
    );
}

/// A service whose gateway takes a reply and never answers; it waits for the gateway's report. Also: the reply's reference.
async fn hung(gateway: &Fake) -> (App, String) {
    gateway.then(Answer::Hold);
    let app = App::start(&answering(gateway, "timeout = \"300ms\"\nretry_base = \"5ms\"")).await;
    app.text(PERSON, "hi").await;
    waits_for_a_report(app.pool()).await;
    let reference = gateway.asked()[0].json()["ref"].as_str().unwrap().to_owned();
    (app, reference)
}

async fn waits_for_a_report(pool: &PgPool) {
    eventually("it waits for a report", async || {
        let waiting =
            "SELECT count(*) FROM v1.jobs WHERE state = 'available' AND run_at > now() + interval '50 seconds'";
        crate::helpers::count(pool, waiting).await == 1
    })
    .await;
}

async fn ended(app: &App) -> (String, String, Value) {
    execute(
        app.pool(),
        "UPDATE smshook.jobs SET run_at = now() WHERE state = 'available'",
    )
    .await;
    app.all_jobs_ended().await;
    sqlx::query_as("SELECT state, coalesce(reason, ''), coalesce(result, 'null') FROM v1.jobs")
        .fetch_one(app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_reply_whose_fate_is_unknown_ends_as_the_gateway_reports() {
    for (reported, state, reason) in [
        ("sent", "done", ""),
        ("delivered", "done", ""),
        (
            "failed",
            "discarded",
            "the gateway could not deliver it: 30007: filtered",
        ),
    ] {
        let gateway = Fake::start().await;
        let (app, reference) = hung(&gateway).await;
        app.deliver(&report(reported, None, Some(&reference), 0)).await;
        let (found, why, result) = ended(&app).await;
        assert_eq!((found.as_str(), why.as_str()), (state, reason));
        if state == "done" {
            assert_eq!(result["state"], reported);
        }
        assert_eq!(gateway.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_was_reported_of_an_earlier_try_says_nothing_of_the_next() {
    let gateway = Fake::start().await;
    let (app, reference) = hung(&gateway).await;
    app.deliver(&report("failed", None, Some(&reference), 0)).await;
    assert_eq!(ended(&app).await.0, "discarded");
    // a person sends it again, and again the gateway does not answer
    gateway.then(Answer::Hold);
    let store = smshook::store::Store::from_pool(app.pool().clone());
    let job: i64 = sqlx::query_scalar("SELECT id FROM v1.jobs")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert!(store.retry_job(job).await.unwrap());
    waits_for_a_report(app.pool()).await;
    assert_eq!(only_reply(app.pool()).await, reply(None, None, None, "available"));
    let (state, reason, _) = ended(&app).await;
    assert_eq!(state, "discarded");
    assert!(reason.starts_with("not known whether"), "{reason}");
}

#[tokio::test]
async fn neither_an_unverified_report_nor_another_endpoints_id_changes_a_reply() {
    let gateway = Fake::start().await;
    let toml = answering(&gateway, "");
    let app = App::start(&toml).await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let ours: String = sqlx::query_scalar("SELECT reference FROM v1.replies")
        .fetch_one(app.pool())
        .await
        .unwrap();
    let direct = Direct::over(&app.database, &toml);
    let event = |reference: Option<&str>| {
        vec![Item::Event(GatewayEvent {
            kind: "message.failed".to_owned(),
            reference: reference.map(str::to_owned),
            gateway_id: Some("msg_1".to_owned()),
            occurred_at: None,
            state: Some(DeliveryState::Failed),
            error: None,
            opted_out: false,
        })]
    };
    direct.accept(direct.unverified(event(Some(&ours)), "forged")).await;
    let elsewhere = smshook::store::Delivery {
        endpoint: "other".into(),
        ..direct.delivery(event(None), "elsewhere")
    };
    direct.accept(elsewhere).await;
    assert_eq!(only_reply(app.pool()).await, reply(Some("msg_1"), None, None, "done"));
    assert_eq!(
        app.count("SELECT count(*) FROM v1.gateway_events WHERE job_id IS NULL")
            .await,
        2
    );
}

#[tokio::test]
async fn the_time_of_a_state_is_the_gateways_where_it_says_one() {
    let gateway = Fake::start().await;
    let app = App::start(&answering(&gateway, "")).await;
    app.text(PERSON, "hi").await;
    app.all_jobs_ended().await;
    let mut body: Value = serde_json::from_str(&report("sent", Some("msg_1"), None, 0)).unwrap();
    body["occurredAt"] = sms(PERSON, "")["receivedAt"].clone();
    app.deliver(&body.to_string()).await;
    let at: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("SELECT state_at FROM v1.replies")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(
        at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        body["occurredAt"]
    );
}
