//! Credentials that are refused: the action's queue waits unharmed, others go on, one job at a time is tried, and the first
//! that gets through lets all of them go on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use smshook::job::{Job, Outcome};
use smshook::store::{JOBS_CHANNEL, Settlement, Store, Want};
use sqlx::PgPool;
use sqlx::postgres::PgListener;

use crate::helpers::{self, App, Fake, Intake, count, eventually};
use crate::testkit::TestDatabase;

const REASON: &str = "401: the token is not accepted";
/// Nothing here is found by polling.
const FILING: &str = r#"
[worker]
poll = "1h"
[action.crm]
log = { message = "a text" }
[action.desk]
log = { message = "a text" }
[[rule]]
name = "rest"
any = true
actions = ["crm", "desk"]
"#;

async fn claim(store: &Store, action: &str, slots: usize) -> Vec<Job> {
    let want = Want {
        action: action.to_owned(),
        slots,
        lease: Duration::from_mins(2),
    };
    let claimed = store.claim(&[want]).await.unwrap();
    claimed.into_iter().map(|claimed| claimed.job).collect()
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

fn refused() -> Outcome {
    Outcome::Pause(REASON.to_owned())
}

/// Seconds from the latest settlement to the next trial.
async fn put_off_by(pool: &PgPool) -> i64 {
    count(
        pool,
        "SELECT extract(epoch FROM trial_at - (SELECT max(finished_at) FROM v1.attempts))::int8 FROM v1.paused_actions",
    )
    .await
}

async fn let_try(store: &Store) {
    assert_eq!(store.try_paused_actions(&["crm".to_owned()]).await.unwrap(), 1);
}

/// Texts of so many senders, each with a job of both actions.
async fn texts(intake: &Intake, senders: usize) {
    for n in 0..senders {
        intake.text(&format!("155512300{n:02}"), "hello").await;
    }
}

/// The action is paused, by the job that is returned; the jobs of all other senders are due.
async fn paused(senders: usize) -> (Intake, Job) {
    let intake = Intake::start(FILING).await;
    texts(&intake, senders).await;
    let job = claim(&intake.store, "crm", 1).await.remove(0);
    settle(&intake.store, &job, refused()).await;
    (intake, job)
}

#[tokio::test]
async fn the_queue_of_a_refused_action_waits_at_no_cost_and_others_go_on() {
    let (intake, job) = paused(3).await;
    let store = &intake.store;
    assert_eq!(claim(store, "crm", 9).await, []);
    assert_eq!(claim(store, "desk", 9).await.len(), 3);
    let row = store.job(job.id).await.unwrap().unwrap();
    assert_eq!(
        (row.state.as_str(), row.attempt, row.reason.as_deref()),
        ("available", 0, Some(REASON))
    );
    let attempts = store.attempts(job.id).await.unwrap();
    assert_eq!(
        (attempts[0].outcome.as_str(), attempts[0].error.as_deref()),
        ("snooze", Some(REASON))
    );
    let pauses = store.paused_actions().await.unwrap();
    assert_eq!(pauses.len(), 1);
    assert_eq!((pauses[0].action.as_str(), pauses[0].reason.as_str()), ("crm", REASON));
    assert_eq!((pauses[0].trial_at - pauses[0].paused_at).num_seconds(), 60);
    // also what comes now
    intake.text("15551239999", "hello").await;
    assert_eq!(claim(store, "crm", 9).await, []);
    assert!(store.resume_action("crm").await.unwrap());
    assert!(!store.resume_action("crm").await.unwrap(), "it goes on already");
    assert_eq!(claim(store, "crm", 9).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_processes_one_tries_one_job_when_the_time_has_come() {
    let (intake, _) = paused(6).await;
    let stores = [
        intake.store.clone(),
        Store::new(intake.database.options(), 2),
        Store::new(intake.database.options(), 2),
    ];
    for round in 0..40 {
        let_try(&intake.store).await;
        let start = Arc::new(tokio::sync::Barrier::new(stores.len()));
        let claiming: Vec<_> = stores
            .iter()
            .map(|store| {
                let (store, start) = (store.clone(), Arc::clone(&start));
                tokio::spawn(async move {
                    store.ready().await.unwrap();
                    start.wait().await;
                    claim(&store, "crm", 9).await
                })
            })
            .collect();
        let mut trials = Vec::new();
        for claiming in claiming {
            trials.extend(claiming.await.unwrap());
        }
        assert_eq!(trials.len(), 1, "round {round}");
        assert_eq!(claim(&intake.store, "crm", 9).await, [], "while it runs");
        settle(&intake.store, &trials[0], Outcome::Release).await;
        let lease =
            "SELECT extract(epoch FROM trial_at - (SELECT max(claimed_at) FROM v1.jobs))::int8 FROM v1.paused_actions";
        assert_eq!(count(intake.pool(), lease).await, 120, "until its lease ends");
    }
    let [_, second, third] = stores;
    second.close().await;
    third.close().await;
}

#[tokio::test]
async fn trials_get_rarer_up_to_a_quarter_of_an_hour() {
    let (intake, _) = paused(2).await;
    assert_eq!(put_off_by(intake.pool()).await, 60);
    for seconds in [120, 240, 480, 900, 900] {
        let_try(&intake.store).await;
        let trial = claim(&intake.store, "crm", 9).await.remove(0);
        settle(&intake.store, &trial, refused()).await;
        assert_eq!(put_off_by(intake.pool()).await, seconds);
    }
}

#[tokio::test]
async fn attempts_that_ran_beside_the_refused_one_neither_put_the_trial_off_nor_resume_the_action() {
    let intake = Intake::start(FILING).await;
    texts(&intake, 4).await;
    let running = claim(&intake.store, "crm", 9).await;
    settle(&intake.store, &running[0], refused()).await;
    settle(&intake.store, &running[1], refused()).await;
    settle(&intake.store, &running[2], Outcome::Done(Value::Null)).await;
    settle(&intake.store, &running[3], Outcome::Discard("for the test".to_owned())).await;
    assert_eq!(
        count(intake.pool(), "SELECT failures::int8 FROM v1.paused_actions").await,
        1
    );
    let put_off = "SELECT extract(epoch FROM trial_at - paused_at)::int8 FROM v1.paused_actions";
    assert_eq!(count(intake.pool(), put_off).await, 60);
}

#[tokio::test]
async fn only_a_trial_that_got_through_lets_the_action_go_on_and_every_process_hears_of_it() {
    let ends = [
        (Outcome::Done(Value::Null), true),
        // the other side has understood and refused the text: the credentials work
        (Outcome::Discard("422: no such subject".to_owned()), true),
        (Outcome::Cancel("too late".to_owned()), false),
        (
            Outcome::Snooze {
                after: Duration::ZERO,
                reason: "busy".to_owned(),
            },
            false,
        ),
        (
            Outcome::Retry {
                error: "503".to_owned(),
                after: None,
            },
            false,
        ),
    ];
    for (end, resumes) in ends {
        let (intake, _) = paused(3).await;
        let_try(&intake.store).await;
        let trial = claim(&intake.store, "crm", 9).await.remove(0);
        let mut listener = PgListener::connect_with(intake.pool()).await.unwrap();
        listener.listen(JOBS_CHANNEL).await.unwrap();
        settle(&intake.store, &trial, end.clone()).await;
        let left = if resumes { 2 } else { 0 };
        assert_eq!(claim(&intake.store, "crm", 9).await.len(), left, "{end:?}");
        assert_eq!(
            intake.store.paused_actions().await.unwrap().is_empty(),
            resumes,
            "{end:?}"
        );
        if resumes {
            let heard = tokio::time::timeout(helpers::PATIENCE, listener.recv()).await;
            assert!(heard.is_ok_and(|heard| heard.is_ok()), "{end:?}");
        }
    }
}

#[tokio::test]
async fn a_trial_whose_process_died_is_followed_by_another_when_its_lease_ends() {
    let (intake, _) = paused(3).await;
    let_try(&intake.store).await;
    let trial = claim(&intake.store, "crm", 9).await.remove(0);
    for table in [
        "UPDATE smshook.jobs SET run_at = run_at - interval '2 minutes' WHERE state = 'running'",
        "UPDATE smshook.paused_actions SET trial_at = trial_at - interval '2 minutes'",
    ] {
        sqlx::query(table).execute(intake.pool()).await.unwrap();
    }
    let again = claim(&intake.store, "crm", 9).await;
    assert_eq!(again.len(), 1);
    settle(&intake.store, &again[0], Outcome::Done(Value::Null)).await;
    assert_ne!((trial.id, trial.claim), (again[0].id, again[0].claim));
    assert_eq!(
        claim(&intake.store, "crm", 9).await.len(),
        2,
        "the one that died among them"
    );
}

#[tokio::test]
async fn a_discarded_job_of_a_paused_action_can_be_retried_and_waits_with_the_others() {
    let intake = Intake::start(FILING).await;
    texts(&intake, 2).await;
    let jobs = claim(&intake.store, "crm", 2).await;
    settle(&intake.store, &jobs[0], Outcome::Discard("422".to_owned())).await;
    settle(&intake.store, &jobs[1], refused()).await;
    assert!(intake.store.retry_job(jobs[0].id).await.unwrap());
    assert_eq!(claim(&intake.store, "crm", 9).await, []);
    assert_eq!(intake.store.job(jobs[0].id).await.unwrap().unwrap().state, "available");
    let_try(&intake.store).await;
    let trial = claim(&intake.store, "crm", 9).await.remove(0);
    settle(&intake.store, &trial, Outcome::Done(Value::Null)).await;
    assert_eq!(claim(&intake.store, "crm", 9).await.len(), 1);
}

#[tokio::test]
async fn a_restart_tries_at_once_and_when_it_works_the_whole_queue_runs() {
    let (intake, _) = paused(12).await;
    let (stop, working) = intake.work(FILING);
    helpers::jobs_ended(intake.pool()).await;
    assert_eq!(
        count(intake.pool(), "SELECT count(*) FROM v1.jobs WHERE state = 'done'").await,
        24
    );
    assert_eq!(intake.store.paused_actions().await.unwrap(), []);
    stop.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn the_pause_of_an_action_that_is_not_configured_any_more_ends_with_its_jobs() {
    let (intake, _) = paused(1).await;
    let discarded = intake.store.discard_unconfigured(&["desk".to_owned()]).await.unwrap();
    assert_eq!(discarded, 1);
    assert_eq!(intake.store.paused_actions().await.unwrap(), []);
}

/// As if another process had been refused.
async fn pause(pool: &PgPool, action: &str) {
    sqlx::query(
        "INSERT INTO smshook.paused_actions (action, reason, trial_at) VALUES ($1, $2, now() + interval '1 hour')",
    )
    .bind(action)
    .bind(REASON)
    .execute(pool)
    .await
    .unwrap();
}

async fn metrics(app: &App) -> String {
    helpers::get(app.running.as_ref().unwrap().admin, "/metrics").await.body
}

#[tokio::test]
async fn a_pause_raises_an_alarm_and_the_operator_s_word_ends_both() {
    let app = App::start(FILING).await;
    app.text("15551230000", "before").await;
    // so that the worker's start is over, which tries every paused action
    app.all_jobs_ended().await;
    assert!(!metrics(&app).await.contains("smshook_action_paused{"));
    pause(app.pool(), "crm").await;
    app.text("15551230000", "while paused").await;
    eventually("the other action goes on", async || {
        app.count("SELECT count(*) FROM v1.jobs WHERE action = 'desk' AND state = 'done'")
            .await
            == 2
    })
    .await;
    assert_eq!(
        app.count("SELECT count(*) FROM v1.jobs WHERE action = 'crm' AND state = 'available'")
            .await,
        1
    );
    let alarm = "smshook_action_paused{action=\"crm\"} 1";
    assert!(metrics(&app).await.contains(alarm));
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&app.database.url()), FILING);
    let resume = |action: &'static str| {
        let mut command = helpers::smshook(&["--config", config.to_str().unwrap(), "jobs", "resume", action]);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let output = resume("desk").await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("action `desk` is not paused"));
    let output = resume("crm").await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "action `crm` goes on\n");
    // at once, although nothing polls
    app.all_jobs_ended().await;
    assert!(!metrics(&app).await.contains("smshook_action_paused{"));
}

#[tokio::test]
async fn a_scrape_says_whether_the_database_answered_it() {
    let mut server = TestDatabase::private_server().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&server.url()), FILING);
    let process = helpers::Process::start(&config).await;
    let is_up = async || {
        let body = helpers::get(process.admin, "/metrics").await.body;
        let line = body.lines().find_map(|line| line.strip_prefix("smshook_database_up "));
        line.expect("the gauge").to_owned()
    };
    assert_eq!(is_up().await, "1");
    server.stop_immediate().await;
    assert_eq!(is_up().await, "0");
    server.start_again().await;
    eventually("the database answers again", async || is_up().await == "1").await;
}

#[tokio::test]
async fn refused_credentials_cost_no_text_and_all_are_delivered_once_they_are_mended() {
    let fake = Fake::start().await;
    fake.always(Fake::status(401));
    let app = App::start(&format!(
        r#"
        [action.crm]
        http = {{ url = "{}", json = {{ text = "{{{{ text }}}}" }}, allow_http = true, allow_private = ["127.0.0.0/8"] }}
        concurrency = 2
        [[rule]]
        name = "all"
        any = true
        actions = ["crm"]
        "#,
        fake.url("/crm"),
    ))
    .await;
    for nth in 0..12 {
        app.text(&format!("1555123{nth:04}"), "hello").await;
    }
    eventually("the action is paused", async || {
        app.count("SELECT count(*) FROM v1.paused_actions WHERE action = 'crm' AND reason LIKE 'answered 401%'")
            .await
            == 1
    })
    .await;
    assert!(
        fake.asked().len() <= 2,
        "no more than those that ran beside the first are burnt"
    );
    let waiting = "SELECT count(*) FROM v1.jobs WHERE state IN ('available', 'running') AND attempt <= 1";
    assert_eq!(app.count(waiting).await, 12);
    fake.always(Fake::status(200));
    let store = Store::new(app.database.options(), 1);
    eventually("it goes on", async || store.resume_action("crm").await.unwrap()).await;
    app.all_jobs_ended().await;
    assert_eq!(app.count("SELECT count(*) FROM v1.jobs WHERE state = 'done'").await, 12);
}
