//! What connectors remember of a sender, and whose turn it is to find or create: between actions, and between processes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use smshook::job::{Job, Outcome};
use smshook::store::{ActionResult, Link, LinkChange, LinkKind, Settlement, Store, Turn, Want};

use crate::helpers::{Intake, count};

const SENDER: &str = "+15551230000";
const FILING: &str = r#"
[action.crm]
log = { message = "a text" }
[action.desk]
log = { message = "a text" }
[[rule]]
name = "rest"
any = true
actions = ["crm", "desk"]
"#;

/// A message of the sender whose jobs are claimed by nobody yet.
async fn intake() -> Intake {
    let intake = Intake::start(FILING).await;
    intake.text("15551230000", "hello").await;
    intake
}

async fn claim(store: &Store, action: &str) -> Job {
    let want = Want {
        action: action.to_owned(),
        slots: 1,
        lease: Duration::from_mins(1),
    };
    store.claim(&[want]).await.unwrap().remove(0).job
}

async fn settle(store: &Store, job: &Job, outcome: Outcome) {
    let settlement = Settlement {
        job_id: job.id,
        claim: job.claim,
        outcome,
        wait: Duration::ZERO,
        awaited: false,
    };
    assert_eq!(store.settle(&[settlement]).await.unwrap(), 1);
}

/// As if the job's process had stalled and another had taken the job over.
async fn taken_over(store: &Store, job: &Job) -> Job {
    sqlx::query("UPDATE smshook.jobs SET run_at = now() - interval '1 second' WHERE id = $1")
        .bind(job.id)
        .execute(store.pool())
        .await
        .unwrap();
    let again = claim(store, &job.action).await;
    assert_eq!(again.id, job.id);
    again
}

fn contact(id: &str) -> LinkChange {
    LinkChange {
        kind: LinkKind::Contact,
        link: Some((id.to_owned(), json!({ "number": 7 }))),
    }
}

fn ticket(id: &str) -> LinkChange {
    LinkChange {
        kind: LinkKind::Ticket,
        link: Some((id.to_owned(), json!({}))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_race_for_a_turn_exactly_one_gets_it() {
    let intake = Intake::start(FILING).await;
    let other = Store::new(intake.database.options(), 4);
    for round in 0..40 {
        intake.text("15551230000", &format!("{round}")).await;
        let (one, two) = (claim(&intake.store, "crm").await, claim(&intake.store, "desk").await);
        let start = Arc::new(tokio::sync::Barrier::new(2));
        let race = |store: Store, job: Job| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                // the connection is open before the start
                store.ready().await.unwrap();
                start.wait().await;
                store.take_turn(&job, "account").await.unwrap()
            })
        };
        let (first, second) = (
            race(intake.store.clone(), one.clone()),
            race(other.clone(), two.clone()),
        );
        let turns = [first.await.unwrap(), second.await.unwrap()];
        assert!(
            matches!(turns, [Turn::Taken, Turn::Busy] | [Turn::Busy, Turn::Taken]),
            "round {round}: {turns:?}"
        );
        // even rounds leave a free row behind, odd ones the row of a job that ended
        if round % 2 == 0 {
            intake.store.leave_turn(one.id).await.unwrap();
            intake.store.leave_turn(two.id).await.unwrap();
        }
        settle(&intake.store, &one, Outcome::Done(Value::Null)).await;
        settle(&intake.store, &two, Outcome::Done(Value::Null)).await;
    }
    other.close().await;
}

#[tokio::test]
async fn a_job_keeps_its_turn_through_backoff_and_the_death_of_its_process_until_it_ends() {
    let intake = intake().await;
    let store = &intake.store;
    let (crm, desk) = (claim(store, "crm").await, claim(store, "desk").await);
    assert_eq!(store.take_turn(&crm, "account").await.unwrap(), Turn::Taken);
    assert_eq!(store.take_turn(&crm, "account").await.unwrap(), Turn::Taken, "its own");
    assert_eq!(store.take_turn(&desk, "account").await.unwrap(), Turn::Busy);
    assert_eq!(store.take_turn(&desk, "another account").await.unwrap(), Turn::Taken);
    // its process died: the lease ends, and nobody has claimed it yet
    sqlx::query("UPDATE smshook.jobs SET run_at = now() - interval '1 hour' WHERE id = $1")
        .bind(crm.id)
        .execute(intake.pool())
        .await
        .unwrap();
    assert_eq!(store.take_turn(&desk, "account").await.unwrap(), Turn::Busy, "dead");
    let crm = taken_over(store, &crm).await;
    assert_eq!(store.take_turn(&crm, "account").await.unwrap(), Turn::Taken);
    let retry = Outcome::Retry {
        error: "no end".to_owned(),
        after: None,
    };
    settle(store, &crm, retry).await;
    assert_eq!(
        store.take_turn(&desk, "account").await.unwrap(),
        Turn::Busy,
        "in backoff"
    );
    let crm = claim(store, "crm").await;
    settle(store, &crm, Outcome::Discard("for the test".to_owned())).await;
    assert_eq!(store.take_turn(&desk, "account").await.unwrap(), Turn::Taken, "ended");
    // an operator lets it run again: the turn is the other's now
    assert!(store.retry_job(crm.id).await.unwrap());
    let crm = claim(store, "crm").await;
    assert_eq!(store.take_turn(&crm, "account").await.unwrap(), Turn::Busy);
    store.leave_turn(desk.id).await.unwrap();
    assert_eq!(store.take_turn(&crm, "account").await.unwrap(), Turn::Taken, "left");
    assert_eq!(
        count(intake.pool(), "SELECT count(*) FROM smshook.turns").await,
        1,
        "leaving leaves the turn in every account"
    );
}

#[tokio::test]
async fn a_stale_claim_neither_takes_a_turn_nor_saves_a_step() {
    let intake = intake().await;
    let stale = claim(&intake.store, "crm").await;
    let current = taken_over(&intake.store, &stale).await;
    let store = &intake.store;
    assert_eq!(store.take_turn(&stale, "account").await.unwrap(), Turn::LeaseLost);
    for changes in [&[contact("5")][..], &[]] {
        let saved = store
            .save_step(&stale, "account", &json!({ "stale": true }), changes)
            .await;
        assert!(!saved.unwrap());
    }
    assert_eq!(store.take_turn(&current, "account").await.unwrap(), Turn::Taken);
    assert!(
        store
            .save_step(&current, "account", &json!({ "step": 1 }), &[])
            .await
            .unwrap()
    );
    settle(store, &current, Outcome::Done(Value::Null)).await;
    assert_eq!(store.take_turn(&current, "account").await.unwrap(), Turn::LeaseLost);
    assert!(!store.save_step(&current, "account", &json!({}), &[]).await.unwrap());
    let progress: Value = sqlx::query_scalar("SELECT progress FROM smshook.jobs WHERE id = $1")
        .bind(current.id)
        .fetch_one(intake.pool())
        .await
        .unwrap();
    assert_eq!(progress, json!({ "step": 1 }));
    assert_eq!(count(intake.pool(), "SELECT count(*) FROM smshook.links").await, 0);
}

#[tokio::test]
async fn a_contact_is_shared_by_the_account_a_ticket_belongs_to_its_action() {
    let intake = intake().await;
    let store = &intake.store;
    let (crm, desk) = (claim(store, "crm").await, claim(store, "desk").await);
    let step = json!({ "contact": "found" });
    assert!(
        store
            .save_step(&crm, "account", &step, &[ticket("t1"), contact("c1")])
            .await
            .unwrap()
    );
    let known = Link {
        kind: LinkKind::Contact,
        remote_id: "c1".to_owned(),
        kept: json!({ "number": 7 }),
    };
    let opened = Link {
        kind: LinkKind::Ticket,
        remote_id: "t1".to_owned(),
        kept: json!({}),
    };
    assert_eq!(
        store.links("account", "crm", SENDER).await.unwrap(),
        [known.clone(), opened]
    );
    assert_eq!(store.links("account", "desk", SENDER).await.unwrap(), [known]);
    assert_eq!(store.links("another account", "crm", SENDER).await.unwrap(), []);
    assert_eq!(store.links("account", "crm", "+15551230001").await.unwrap(), []);
    // the other action finds the contact gone and opens a ticket of its own
    let gone = LinkChange {
        kind: LinkKind::Contact,
        link: None,
    };
    assert!(
        store
            .save_step(&desk, "account", &step, &[gone, ticket("t2")])
            .await
            .unwrap()
    );
    let ids = |links: Vec<Link>| links.into_iter().map(|link| link.remote_id).collect::<Vec<_>>();
    assert_eq!(ids(store.links("account", "crm", SENDER).await.unwrap()), ["t1"]);
    assert_eq!(ids(store.links("account", "desk", SENDER).await.unwrap()), ["t2"]);
    assert!(
        store.save_step(&crm, "account", &step, &[ticket("t3")]).await.unwrap(),
        "the latest ticket takes the place of the one before"
    );
    assert_eq!(ids(store.links("account", "crm", SENDER).await.unwrap()), ["t3"]);
}

#[tokio::test]
async fn nothing_that_another_system_answers_makes_postgres_refuse_a_step_or_a_result() {
    let intake = intake().await;
    let store = &intake.store;
    let job = claim(store, "crm").await;
    let odd = LinkChange {
        kind: LinkKind::Contact,
        link: Some((
            "a\0b".to_owned(),
            json!({ "na\0me": ["\0", { "x": "y\0" }, 1.5, null] }),
        )),
    };
    assert!(
        store
            .save_step(&job, "account", &json!({ "answer": "\0" }), &[odd])
            .await
            .unwrap()
    );
    assert!(
        store
            .save_progress(job.id, job.claim, &json!({ "answer": "\0" }))
            .await
            .unwrap()
    );
    let links = store.links("account", "crm", SENDER).await.unwrap();
    assert_eq!(links[0].remote_id, "a\u{fffd}b");
    assert_eq!(
        links[0].kept,
        json!({ "na\u{fffd}me": ["\u{fffd}", { "x": "y\u{fffd}" }, 1.5, null] })
    );
    settle(store, &job, Outcome::Done(json!({ "contact": { "id": "a\0b" } }))).await;
    assert_eq!(
        store.job(job.id).await.unwrap().unwrap().result,
        Some(json!({ "contact": { "id": "a\u{fffd}b" } }))
    );
}

#[tokio::test]
async fn the_results_of_a_message_s_other_actions_are_read_by_name() {
    let intake = intake().await;
    let store = &intake.store;
    let job = claim(store, "crm").await;
    settle(store, &job, Outcome::Done(json!({ "ticket": { "id": "35436" } }))).await;
    let asked = ["desk", "crm", "unknown"].map(str::to_owned);
    assert_eq!(
        store.results_of(job.message.id, &asked).await.unwrap(),
        [
            ActionResult {
                action: "crm".to_owned(),
                state: "done".to_owned(),
                result: Some(json!({ "ticket": { "id": "35436" } })),
            },
            ActionResult {
                action: "desk".to_owned(),
                state: "available".to_owned(),
                result: None,
            },
        ]
    );
    assert_eq!(store.results_of(job.message.id, &[]).await.unwrap(), []);
    assert_eq!(store.results_of(uuid::Uuid::now_v7(), &asked).await.unwrap(), []);
}
