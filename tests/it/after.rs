//! Actions that come after others of the same message: what waits is woken when the other ends, not when its wait is over.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use smshook::actions::Actions;
use smshook::job::{Job, Outcome, waits_for};
use smshook::metrics::Metrics;
use smshook::store::{Settlement, Store, Want};
use smshook::worker::Worker;

use crate::helpers::{self, Answer, App, Fake, Intake, count};

/// Nothing here is found by polling.
const ORDERED: &str = r#"
[worker]
poll = "1h"
[action.first]
log = { message = "one" }
[action.then]
log = { message = "two" }
[[rule]]
name = "rest"
any = true
actions = ["first", "then"]
"#;

async fn claim(store: &Store, action: &str) -> Vec<Job> {
    let want = Want {
        action: action.to_owned(),
        slots: 9,
        lease: Duration::from_mins(1),
    };
    let claimed = store.claim(&[want]).await.unwrap();
    claimed.into_iter().map(|claimed| claimed.job).collect()
}

fn settlement(job: &Job, outcome: Outcome) -> Settlement {
    let wait = match &outcome {
        Outcome::Snooze { after, .. } => *after,
        _ => Duration::ZERO,
    };
    Settlement {
        job_id: job.id,
        claim: job.claim,
        outcome,
        wait,
        awaited: job.action == "first",
    }
}

/// As the engine ends an attempt that finds the other action unfinished.
fn waiting(job: &Job) -> Settlement {
    let outcome = Outcome::Snooze {
        after: Duration::from_hours(1),
        reason: waits_for("first"),
    };
    settlement(job, outcome)
}

async fn settle(store: &Store, settlement: Settlement) {
    assert_eq!(store.settle(&[settlement]).await.unwrap(), 1);
}

/// A message whose second action waits for its first, and the first one's job, claimed.
async fn one_waits(intake: &Intake, from: &str) -> Job {
    intake.text(from, "hello").await;
    let then = claim(&intake.store, "then").await.remove(0);
    settle(&intake.store, waiting(&then)).await;
    assert_eq!(claim(&intake.store, "then").await, [], "it waits");
    claim(&intake.store, "first").await.remove(0)
}

#[tokio::test]
async fn a_job_that_waits_is_woken_however_the_other_ends_and_by_nothing_else() {
    let intake = Intake::start(ORDERED).await;
    let store = &intake.store;
    let ends = [
        Outcome::Done(json!({ "id": "5" })),
        Outcome::Discard("for the test".to_owned()),
        Outcome::Cancel("for the test".to_owned()),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let first = one_waits(&intake, &format!("1555123000{n}")).await;
        let snooze = Outcome::Snooze {
            after: Duration::ZERO,
            reason: "not now".to_owned(),
        };
        let retry = Outcome::Retry {
            error: "later".to_owned(),
            after: None,
        };
        let mut first = first;
        for not_yet in [snooze, retry, Outcome::Release] {
            settle(store, settlement(&first, not_yet)).await;
            assert_eq!(claim(store, "then").await, [], "the first has not ended");
            first = claim(store, "first").await.remove(0);
        }
        settle(store, settlement(&first, end.clone())).await;
        let woken = claim(store, "then").await;
        assert_eq!(woken.len(), 1, "after {end:?}");
        assert_eq!(woken[0].message.id, first.message.id);
        assert_eq!(woken[0].attempt, 1, "waiting costs no attempt");
        settle(store, settlement(&woken[0], Outcome::Done(Value::Null))).await;
    }
}

#[tokio::test]
async fn only_jobs_of_the_same_message_that_wait_for_that_action_are_woken() {
    let intake = Intake::start(ORDERED).await;
    let store = &intake.store;
    let first = one_waits(&intake, "15551230000").await;
    one_waits(&intake, "15551230001").await;
    settle(store, settlement(&first, Outcome::Done(Value::Null))).await;
    let woken = claim(store, "then").await;
    assert_eq!(woken.len(), 1, "the other message's first has not ended");
    // backoff is a wait of another kind, whatever ends beside it
    let backoff = Settlement {
        wait: Duration::from_hours(1),
        ..settlement(
            &woken[0],
            Outcome::Retry {
                error: "later".to_owned(),
                after: None,
            },
        )
    };
    settle(store, backoff).await;
    assert!(store.retry_job(first.id).await.is_ok_and(|retried| !retried));
    assert_eq!(claim(store, "then").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_to_wait_while_the_other_ends_is_not_forgotten() {
    let intake = Intake::start(ORDERED).await;
    let other = Store::new(intake.database.options(), 4);
    for round in 0..60 {
        intake.text("15551230000", &format!("{round}")).await;
        let first = claim(&intake.store, "first").await.remove(0);
        let then = claim(&intake.store, "then").await.remove(0);
        let start = Arc::new(tokio::sync::Barrier::new(2));
        let race = |store: Store, settlement: Settlement| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                store.ready().await.unwrap();
                start.wait().await;
                settle(&store, settlement).await;
            })
        };
        let ending = race(intake.store.clone(), settlement(&first, Outcome::Done(Value::Null)));
        let going = race(other.clone(), waiting(&then));
        ending.await.unwrap();
        going.await.unwrap();
        let woken = claim(&intake.store, "then").await;
        assert_eq!(woken.len(), 1, "round {round}");
        settle(&intake.store, settlement(&woken[0], Outcome::Done(Value::Null))).await;
    }
    other.close().await;
}

#[tokio::test]
async fn a_job_is_woken_when_an_operator_discards_what_it_waits_for() {
    let intake = Intake::start(ORDERED).await;
    let first = one_waits(&intake, "15551230000").await;
    settle(&intake.store, settlement(&first, Outcome::Release)).await;
    assert!(intake.store.discard_job(first.id, "for the test").await.unwrap());
    assert_eq!(claim(&intake.store, "then").await.len(), 1);
}

#[tokio::test]
async fn a_worker_runs_what_it_has_woken_at_once() {
    let intake = Intake::start(ORDERED).await;
    let first = one_waits(&intake, "15551230000").await;
    settle(&intake.store, settlement(&first, Outcome::Release)).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = helpers::configuration(directory.path(), Some(&intake.database.url()), ORDERED);
    config.actions.get_mut("then").unwrap().after = vec!["first".to_owned()];
    let config = Arc::new(config);
    let actions = Arc::new(Actions::new(Arc::clone(&config), intake.store.clone()).unwrap());
    let worker = Worker::new(&config, intake.store.clone(), actions, Arc::new(Metrics::new()));
    let stop = tokio_util::sync::CancellationToken::new();
    let working = tokio::spawn(worker.run(stop.clone()));
    helpers::jobs_ended(intake.pool()).await;
    assert_eq!(
        count(intake.pool(), "SELECT count(*) FROM v1.jobs WHERE state = 'done'").await,
        2
    );
    stop.cancel();
    working.await.unwrap();
}

/// A helpdesk whose answer to a request has a number, and a reply that tells it.
async fn thanking(desk: &Fake, gateway: &Fake) -> App {
    App::start(&format!(
        r#"
        {}
        [action.ticket]
        http = {{ url = "{}", json = {{ text = "{{{{ text }}}}" }}, capture = {{ number = "/number" }}, allow_http = true, allow_private = ["127.0.0.0/8"] }}
        retry_base = "20ms"
        [action.thanks]
        after = ["ticket"]
        reply = {{ text = "Thanks, we opened #{{{{ results.ticket.number }}}}" }}
        [[rule]]
        name = "all"
        any = true
        actions = ["thanks", "ticket"]
        "#,
        helpers::replying_endpoint(gateway),
        desk.url("/tickets"),
    ))
    .await
}

fn opened() -> Answer {
    Answer::Now(201, vec![], json!({ "number": 123 }).to_string())
}

#[tokio::test]
async fn a_reply_tells_the_number_of_the_ticket_that_another_action_opened() {
    let (desk, gateway) = (Fake::start().await, Fake::start().await);
    desk.then(Fake::status(503));
    desk.then(opened());
    let app = thanking(&desk, &gateway).await;
    app.text("15551230001", "the heater is broken").await;
    app.all_jobs_ended().await;
    assert_eq!(
        desk.asked().len(),
        2,
        "the ticket needed a second try, for which the reply waited"
    );
    let sent: Value = serde_json::from_str(&gateway.asked()[0].body).unwrap();
    assert_eq!(sent["text"], "Thanks, we opened #123");
    assert_eq!(gateway.asked().len(), 1);
}

#[tokio::test]
async fn a_reply_about_a_ticket_that_was_never_opened_is_not_sent() {
    let (desk, gateway) = (Fake::start().await, Fake::start().await);
    desk.then(Fake::status(422));
    let app = thanking(&desk, &gateway).await;
    app.text("15551230001", "the heater is broken").await;
    app.all_jobs_ended().await;
    let jobs = app.jobs().await;
    let thanks = jobs.iter().find(|(action, ..)| action == "thanks").unwrap();
    assert_eq!(thanks.1, "cancelled");
    assert_eq!(
        thanks.2.as_deref(),
        Some("it comes after `ticket`, which was discarded")
    );
    assert!(gateway.asked().is_empty());
}
