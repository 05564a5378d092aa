//! The queue: lanes, leases, fences, attempts, and several workers on one database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use smshook::job::Outcome;
use smshook::store::{Claimed, Settlement, Want};

use crate::helpers::{self, App, Fake, Intake, eventually};

const NOTE: &str = r#"
[action.note]
log = { message = "a text" }
[[rule]]
name = "rest"
any = true
actions = ["note"]
"#;

fn calling(fake: &Fake, more: &str) -> String {
    format!(
        r#"
        [worker]
        poll = "200ms"
        [action.call]
        http = {{ url = "{}", json = {{ lane = "{{{{ sender }}}}", text = "{{{{ text }}}}" }}, allow_http = true, allow_private = ["127.0.0.0/8"] }}
        concurrency = 16
        retry_base = "10ms"
        {more}
        [[rule]]
        name = "rest"
        any = true
        actions = ["call"]
        "#,
        fake.url("/call")
    )
}

fn want(slots: usize) -> Vec<Want> {
    vec![Want {
        action: "note".to_owned(),
        slots,
        lease: Duration::from_mins(1),
    }]
}

fn settlement(claimed: &Claimed, outcome: Outcome) -> Settlement {
    Settlement {
        job_id: claimed.job.id,
        claim: claimed.job.claim,
        outcome,
        wait: Duration::ZERO,
        awaited: false,
    }
}

fn done(claimed: &Claimed) -> Settlement {
    settlement(claimed, Outcome::Done(serde_json::Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_keep_the_order_of_fifty_lanes_and_never_run_two_jobs_of_one() {
    let fake = Fake::start().await;
    let toml = calling(&fake, "");
    let intake = Arc::new(Intake::start(&toml).await);
    let workers = [intake.work(&toml), intake.work(&toml)];
    let senders: Vec<_> = (0..50)
        .map(|sender| {
            let intake = Arc::clone(&intake);
            tokio::spawn(async move {
                for n in 0..20 {
                    intake.text(&format!("1555123{sender:04}"), &format!("{n}")).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    helpers::jobs_ended(intake.pool()).await;
    assert_eq!(fake.most_at_once_in_a_lane(), 1);
    let mut orders: HashMap<String, Vec<u32>> = HashMap::new();
    for asked in fake.asked() {
        let body = asked.json();
        let lane = body["lane"].as_str().unwrap().to_owned();
        orders
            .entry(lane)
            .or_default()
            .push(body["text"].as_str().unwrap().parse().unwrap());
    }
    assert_eq!(orders.len(), 50);
    for (lane, order) in orders {
        assert_eq!(order, (0..20).collect::<Vec<_>>(), "the order of {lane}");
    }
    assert_eq!(
        helpers::count(intake.pool(), "SELECT count(*) FROM v1.attempts WHERE outcome = 'done'").await,
        1_000
    );
    for (stop, working) in workers {
        stop.cancel();
        working.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_left_behind_however_accepts_and_settlements_of_a_lane_race() {
    let intake = Arc::new(Intake::start(NOTE).await);
    let accepting: Vec<_> = (0..6)
        .map(|n| {
            let intake = Arc::clone(&intake);
            // three lanes, two writers each, so that lanes run empty and fill again all the time
            tokio::spawn(async move {
                for text in 0..60 {
                    intake
                        .text(&format!("1555123000{}", n % 3), &format!("{n} {text}"))
                        .await;
                }
            })
        })
        .collect();
    let settling: Vec<_> = (0..4)
        .map(|_| {
            let store = intake.store.clone();
            tokio::spawn(async move {
                let mut settled = 0;
                let mut idle = 0;
                while idle < 2_000 {
                    let claimed = store.claim(&want(4)).await.unwrap();
                    idle = if claimed.is_empty() { idle + 1 } else { 0 };
                    let batch: Vec<_> = claimed.iter().map(done).collect();
                    settled += store.settle(&batch).await.unwrap();
                }
                settled
            })
        })
        .collect();
    for task in accepting {
        task.await.unwrap();
    }
    let mut settled = 0;
    for task in settling {
        settled += task.await.unwrap();
    }
    let left = helpers::count(intake.pool(), "SELECT count(*) FROM v1.jobs WHERE state <> 'done'").await;
    assert_eq!((settled, left), (360, 0));
}

#[tokio::test]
async fn a_lane_with_a_stuck_head_holds_up_no_other_lane() {
    let fake = Fake::start().await;
    fake.then(helpers::Answer::Hold);
    let app = App::start(&calling(&fake, "")).await;
    app.text("15551230000", "stuck").await;
    fake.came(1).await;
    for n in 0..30 {
        app.text("15551230000", &format!("behind {n}")).await;
    }
    for n in 1..30 {
        app.text(&format!("155512300{n:02}"), "free").await;
    }
    fake.came(30).await;
    let states = "SELECT count(*) FROM v1.jobs WHERE state = 'waiting'";
    assert_eq!(app.count(states).await, 30, "what is behind the stuck head waits");
    fake.release(1);
    app.all_jobs_ended().await;
    assert_eq!(fake.asked().len(), 60);
}

#[tokio::test]
async fn the_database_itself_refuses_two_heads_in_a_lane() {
    let intake = Intake::start(NOTE).await;
    intake.text("15551230000", "one").await;
    intake.text("15551230000", "two").await;
    let states: Vec<String> = sqlx::query_scalar("SELECT state FROM v1.jobs ORDER BY id")
        .fetch_all(intake.pool())
        .await
        .unwrap();
    assert_eq!(states, ["available", "waiting"]);
    let refused = sqlx::query("UPDATE smshook.jobs SET state = 'available'")
        .execute(intake.pool())
        .await
        .unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().constraint(),
        Some("jobs_one_head_per_lane")
    );
}

#[tokio::test]
async fn an_expired_lease_is_claimed_again_and_the_stale_holder_changes_nothing() {
    let intake = Intake::start(NOTE).await;
    intake.text("15551230000", "one").await;
    let stale = intake.store.claim(&want(1)).await.unwrap().remove(0);
    assert!(
        intake.store.claim(&want(1)).await.unwrap().is_empty(),
        "a lease in force is nobody else's"
    );
    sqlx::query("UPDATE smshook.jobs SET run_at = now() - interval '1 second'")
        .execute(intake.pool())
        .await
        .unwrap();
    let again = intake.store.claim(&want(1)).await.unwrap().remove(0);
    assert!(again.lost_before);
    assert_eq!((stale.job.attempt, again.job.attempt), (1, 2));
    assert_eq!(
        intake.store.settle(&[done(&stale)]).await.unwrap(),
        0,
        "the stale holder"
    );
    assert!(
        !intake
            .store
            .save_progress(stale.job.id, stale.job.claim, &serde_json::json!({}))
            .await
            .unwrap()
    );
    assert_eq!(intake.store.settle(&[done(&again)]).await.unwrap(), 1);
    assert_eq!(intake.store.settle(&[done(&again)]).await.unwrap(), 0, "twice");
    let attempts = intake.store.attempts(again.job.id).await.unwrap();
    let outcomes: Vec<&str> = attempts.iter().map(|a| a.outcome.as_str()).collect();
    assert_eq!(outcomes, ["lost", "done"]);
}

#[tokio::test]
async fn a_refunded_attempt_keeps_its_fence() {
    let intake = Intake::start(NOTE).await;
    intake.text("15551230000", "one").await;
    let first = intake.store.claim(&want(1)).await.unwrap().remove(0);
    let snooze = Outcome::Snooze {
        after: Duration::ZERO,
        reason: "not now".to_owned(),
    };
    assert_eq!(intake.store.settle(&[settlement(&first, snooze)]).await.unwrap(), 1);
    let second = intake.store.claim(&want(1)).await.unwrap().remove(0);
    assert_eq!(
        (first.job.attempt, second.job.attempt),
        (1, 1),
        "a snooze costs no attempt"
    );
    assert_eq!(
        intake.store.settle(&[done(&first)]).await.unwrap(),
        0,
        "although the attempt has the same number"
    );
    assert_eq!(
        intake
            .store
            .settle(&[settlement(&second, Outcome::Release)])
            .await
            .unwrap(),
        1
    );
    let third = intake.store.claim(&want(1)).await.unwrap().remove(0);
    assert_eq!(third.job.attempt, 1, "nor does an interruption");
}

#[tokio::test]
async fn a_job_that_kills_its_process_each_time_ends_all_the_same() {
    let toml = NOTE.replace("log = {", "max_attempts = 2\nlog = {");
    let intake = Intake::start(&toml).await;
    intake.text("15551230000", "one").await;
    intake.text("15551230000", "behind it").await;
    for _ in 0..2 {
        assert_eq!(intake.store.claim(&want(1)).await.unwrap().len(), 1);
        sqlx::query("UPDATE smshook.jobs SET run_at = now() - interval '1 second' WHERE state = 'running'")
            .execute(intake.pool())
            .await
            .unwrap();
    }
    let (stop, working) = intake.work(&toml);
    helpers::jobs_ended(intake.pool()).await;
    let states: Vec<(String, Option<String>)> = sqlx::query_as("SELECT state, reason FROM v1.jobs ORDER BY id")
        .fetch_all(intake.pool())
        .await
        .unwrap();
    assert_eq!(states[0].0, "discarded");
    assert!(states[0].1.as_deref().unwrap().contains("2 attempts"), "{states:?}");
    assert_eq!(states[1].0, "done", "the lane goes on");
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn every_failed_attempt_is_on_record_and_the_last_one_discards() {
    let fake = Fake::start().await;
    fake.always(Fake::status(503));
    let app = App::start(&calling(&fake, "max_attempts = 3\nretry_cap = \"20ms\"")).await;
    app.text("15551230000", "one").await;
    app.all_jobs_ended().await;
    let attempts: Vec<(i32, String, Option<String>)> =
        sqlx::query_as("SELECT attempt, outcome, error FROM v1.attempts ORDER BY attempt")
            .fetch_all(app.pool())
            .await
            .unwrap();
    let outcomes: Vec<(i32, &str)> = attempts.iter().map(|a| (a.0, a.1.as_str())).collect();
    assert_eq!(outcomes, [(1, "retry"), (2, "retry"), (3, "discard")]);
    assert!(
        attempts.iter().all(|a| a.2.as_deref().unwrap().contains("503")),
        "{attempts:?}"
    );
    assert_eq!(app.jobs().await[0].1, "discarded");
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_retry_waits_at_least_as_long_as_the_other_side_asks() {
    let fake = Fake::start().await;
    fake.then(helpers::Answer::Now(
        429,
        vec![("retry-after", "600".to_owned())],
        String::new(),
    ));
    let app = App::start(&calling(&fake, "")).await;
    app.text("15551230000", "one").await;
    eventually("the first attempt is settled", async || {
        app.count("SELECT count(*) FROM v1.attempts").await == 1
    })
    .await;
    let waits = "SELECT extract(epoch FROM run_at - now())::int8 FROM v1.jobs WHERE state = 'available'";
    assert!((590..=602).contains(&app.count(waits).await));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_job_of_an_action_that_is_gone_is_discarded_with_that_reason_and_can_be_retried() {
    let intake = Intake::start(NOTE).await;
    intake.text("15551230000", "one").await;
    let other = NOTE.replace("note", "other");
    let (stop, working) = intake.work(&other);
    helpers::jobs_ended(intake.pool()).await;
    stop.cancel();
    working.await.unwrap();
    let job = intake
        .store
        .list_jobs(&smshook::store::JobFilter {
            limit: 1,
            ..Default::default()
        })
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (job.state.as_str(), job.reason.as_deref()),
        ("discarded", Some("action `note` is not configured any more"))
    );
    assert!(intake.store.retry_job(job.id).await.unwrap());
    assert!(!intake.store.retry_job(job.id).await.unwrap(), "only once");
    let (stop, working) = intake.work(NOTE);
    helpers::jobs_ended(intake.pool()).await;
    assert_eq!(intake.store.job(job.id).await.unwrap().unwrap().state, "done");
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn a_retried_job_takes_its_old_place_in_its_lane() {
    let intake = Intake::start(NOTE).await;
    for text in ["one", "two", "three"] {
        intake.text("15551230000", text).await;
    }
    let first = intake.store.claim(&want(1)).await.unwrap().remove(0);
    intake
        .store
        .settle(&[settlement(&first, Outcome::Discard("for the test".to_owned()))])
        .await
        .unwrap();
    assert!(intake.store.retry_job(first.job.id).await.unwrap());
    let second = intake.store.claim(&want(9)).await.unwrap();
    assert_eq!(second.len(), 1, "the head that had moved up stays the only one");
    assert_eq!(second[0].job.message.text, "two");
    intake.store.settle(&[done(&second[0])]).await.unwrap();
    let third = intake.store.claim(&want(9)).await.unwrap();
    let order: Vec<&str> = third.iter().map(|claimed| claimed.job.message.text.as_str()).collect();
    assert_eq!(order, ["one"], "before the third");
}

#[tokio::test]
async fn an_action_runs_no_more_jobs_at_once_than_it_may() {
    let fake = Fake::start().await;
    fake.always(helpers::Answer::Hold);
    let app = App::start(&calling(&fake, "").replace("concurrency = 16", "concurrency = 3")).await;
    for n in 0..10 {
        app.text(&format!("1555123000{n}"), "x").await;
    }
    fake.came(3).await;
    eventually("the worker has looked again", async || {
        app.count("SELECT count(*) FROM v1.jobs WHERE state = 'running'").await == 3
    })
    .await;
    assert_eq!(fake.asked().len(), 3);
    fake.release(10);
    app.all_jobs_ended().await;
}

#[tokio::test]
async fn polling_finds_the_work_when_the_listener_is_cut_off() {
    let app = App::start(&format!("[worker]\npoll = \"100ms\"\n{NOTE}")).await;
    app.text("15551230000", "before").await;
    app.all_jobs_ended().await;
    // every connection of the service, the listening one among them
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'smshook' AND pid <> pg_backend_pid()")
        .execute(app.pool())
        .await
        .unwrap();
    eventually("a delivery is stored again", async || {
        app.text("15551230000", "after").await.status == 200
    })
    .await;
    app.all_jobs_ended().await;
    assert_eq!(
        app.count("SELECT count(*) FROM v1.jobs WHERE state = 'done'").await,
        app.count("SELECT count(*) FROM v1.messages").await
    );
}

#[tokio::test]
async fn a_lane_that_a_dead_process_left_without_a_head_is_found() {
    let toml = format!("[worker]\npoll = \"50ms\"\n{NOTE}");
    let intake = Intake::start(&toml).await;
    intake.text("15551230000", "head").await;
    intake.text("15551230000", "behind it").await;
    // as if a process had died between the commit that queued the second job and its look at the lane
    sqlx::query("UPDATE smshook.jobs SET state = 'done', finished_at = now() WHERE state = 'available'")
        .execute(intake.pool())
        .await
        .unwrap();
    let (stop, working) = intake.work(&toml);
    helpers::jobs_ended(intake.pool()).await;
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn every_action_gets_its_turn_however_many_share_the_worker() {
    let names: Vec<String> = (0..12).map(|n| format!("note-{n}")).collect();
    let actions: Vec<String> = names
        .iter()
        .map(|name| format!("[action.{name}]\nlog = {{ message = \"a text\" }}"))
        .collect();
    let toml = format!(
        "[worker]\nconcurrency = 2\npoll = \"50ms\"\n{}\n[[rule]]\nname = \"rest\"\nany = true\nactions = {names:?}\n",
        actions.join("\n")
    );
    let app = App::start(&toml).await;
    app.text("15551230000", "one").await;
    app.all_jobs_ended().await;
    assert_eq!(app.count("SELECT count(*) FROM v1.jobs WHERE state = 'done'").await, 12);
}
