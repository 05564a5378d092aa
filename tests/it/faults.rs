//! What may break, breaks: processes are killed, Postgres goes away or freezes, actions hang. Nothing is lost or done twice.

use std::collections::{BTreeMap, VecDeque};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::PgPool;

use crate::helpers::{self, Answer, App, Fake, Process, SECRET, count, eventually, sms, try_deliver};
use crate::testkit::TestDatabase;

/// What the senders of this file begin with; two more digits make a number.
const SENDER: &str = "155586755";
/// A text that nothing but a message says.
const WORDS: &str = "sesame opens at nine";

/// Two actions that need nobody else, their leases short.
const NOTES: &str = r#"
[action.note]
log = { message = "a text" }
timeout = "1s"
[action.second]
log = { message = "another" }
timeout = "1s"
[[rule]]
name = "rest"
any = true
actions = ["note", "second"]
"#;

fn calling(fake: &Fake, more: &str) -> String {
    format!(
        r#"
        [action.call]
        http = {{ url = "{}", json = {{ text = "{{{{ text }}}}" }}, allow_http = true, allow_private = ["127.0.0.0/8"] }}
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

/// Neither a number nor a text nor a secret may reach a log or a metric, whatever went wrong.
async fn assert_discreet(process: &Process) {
    let metrics = helpers::get(process.admin, "/metrics").await.body;
    assert!(metrics.contains("smshook_listening"), "{metrics}");
    let log = process.log_text();
    assert!(log.contains("receiving"), "{log}");
    for (what, text) in [("log", log), ("metrics", metrics)] {
        for private in [SENDER, WORDS, SECRET] {
            let line = text.lines().find(|line| line.contains(private));
            assert_eq!(line, None, "the {what} says `{private}`");
        }
    }
}

/// Every text once, with each of its jobs once and done.
async fn assert_each_stored_once(pool: &PgPool, texts: i64, jobs_each: i64) {
    assert_eq!(count(pool, "SELECT count(*) FROM v1.messages").await, texts);
    assert_eq!(count(pool, "SELECT count(DISTINCT text) FROM v1.messages").await, texts);
    let jobs: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT count(j.id), count(j.id) FILTER (WHERE j.state = 'done')
         FROM v1.messages m LEFT JOIN v1.jobs j ON j.message_id = m.id GROUP BY m.id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(jobs.iter().all(|found| *found == (jobs_each, jobs_each)), "{jobs:?}");
}

#[tokio::test]
async fn the_jobs_of_a_killed_process_run_elsewhere_when_their_leases_end() {
    let database = TestDatabase::new().await;
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    fake.then(Answer::Hold);
    let short = calling(&fake, "timeout = \"1s\"");
    let toml = format!(
        "{}\n[action.usual]\nhttp = {{ url = \"{}\", json = {{}}, allow_http = true, allow_private = [\"127.0.0.0/8\"] }}\n",
        short.replace("[\"call\"]", "[\"call\", \"usual\"]"),
        fake.url("/usual")
    );
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut first = Process::start(&config).await;
    assert_eq!(first.text(&format!("{SENDER}01"), WORDS).await.status, 200);
    fake.came(2).await;
    first.kill().await;
    let killed = Instant::now();
    let second = Process::start(&config).await;
    fake.came(3).await;
    let after_short = killed.elapsed();
    fake.came(4).await;
    let after_usual = killed.elapsed();
    report(&format!(
        "killed -9 → runs elsewhere: timeout 1 s {after_short:?}, defaults {after_usual:?}"
    ));
    assert!(after_usual <= Duration::from_secs(15), "{after_usual:?}");
    helpers::jobs_ended(&database.pool).await;
    let paths: Vec<String> = fake.asked()[2..].iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, ["/call", "/usual"], "the shorter lease ends first");
    let attempts: Vec<(String, i32, String)> = sqlx::query_as(
        "SELECT j.action, a.attempt, a.outcome FROM v1.attempts a JOIN v1.jobs j ON j.id = a.job_id ORDER BY j.action, a.attempt",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let expected = [
        ("call", 1, "lost"),
        ("call", 2, "done"),
        ("usual", 1, "lost"),
        ("usual", 2, "done"),
    ];
    assert_eq!(
        attempts,
        expected.map(|(action, attempt, outcome)| (action.to_owned(), attempt, outcome.to_owned()))
    );
    assert_discreet(&second).await;
}

/// What a gateway has left to deliver, and what was acknowledged.
#[derive(Default)]
struct Load {
    pending: Mutex<VecDeque<String>>,
    acknowledged: Mutex<Vec<String>>,
}

impl Load {
    fn of(texts: usize) -> Arc<Self> {
        let body = |n| sms(&format!("{SENDER}{:02}", n % 97), &format!("{WORDS} {n}")).to_string();
        Arc::new(Self {
            pending: Mutex::new((0..texts).map(body).collect()),
            ..Self::default()
        })
    }

    /// Delivers over and over on several connections, until all is delivered or the service is gone.
    fn deliver(self: &Arc<Self>, address: std::net::SocketAddr) -> Vec<tokio::task::JoinHandle<()>> {
        let one = |_| {
            let load = Arc::clone(self);
            tokio::spawn(async move {
                while let Some(body) = load.next() {
                    match try_deliver(address, "/hooks/sms", body.as_bytes()).await {
                        Ok(answer) if answer.status == 200 => load.acknowledged.lock().unwrap().push(body),
                        Ok(answer) => panic!("{answer:?}"),
                        Err(_gone) => return load.pending.lock().unwrap().push_front(body),
                    }
                }
            })
        };
        (0..16).map(one).collect()
    }

    fn next(&self) -> Option<String> {
        self.pending.lock().unwrap().pop_front()
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    async fn assert_acknowledged_are_stored(&self, pool: &PgPool) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let missing: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM UNNEST($1::text[]) AS a (raw) WHERE NOT EXISTS (SELECT FROM v1.messages m WHERE m.raw = a.raw)",
        )
        .bind(&acknowledged)
        .fetch_one(pool)
        .await
        .unwrap();
        assert_eq!(missing, 0, "acknowledged and not stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_there_however_often_the_process_is_killed() {
    const TEXTS: usize = 1_000;
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), NOTES);
    let load = Load::of(TEXTS);
    for round in 1..=8 {
        let mut process = Process::start(&config).await;
        let senders = load.deliver(process.address);
        eventually("a round's load is acknowledged", async || {
            load.acknowledged() >= round * 60
        })
        .await;
        process.kill().await;
        for sender in senders {
            sender.await.unwrap();
        }
        load.assert_acknowledged_are_stored(&database.pool).await;
        assert_discreet_log(&process);
    }
    assert!(load.acknowledged() < TEXTS, "the last kill, too, came in the middle");
    let process = Process::start(&config).await;
    for sender in load.deliver(process.address) {
        sender.await.unwrap();
    }
    helpers::jobs_ended(&database.pool).await;
    assert_each_stored_once(&database.pool, i64::try_from(TEXTS).unwrap(), 2).await;
    let lost = count(
        &database.pool,
        "SELECT count(*) FROM v1.attempts WHERE outcome = 'lost'",
    )
    .await;
    report(&format!(
        "8 kills under load: {lost} attempts lost with their process, all ran again"
    ));
    assert_discreet(&process).await;
}

/// Of a process that is gone, the log alone.
fn assert_discreet_log(process: &Process) {
    let log = process.log_text();
    assert!(
        [SENDER, WORDS, SECRET].iter().all(|private| !log.contains(private)),
        "{log}"
    );
}

/// As a gateway does: the same delivery until it is acknowledged. Counts the answers, of which only two kinds may come.
async fn deliver_until_acknowledged(address: std::net::SocketAddr, body: &str, statuses: &Mutex<BTreeMap<u16, usize>>) {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    loop {
        again.tick().await;
        let answer = helpers::deliver(address, "/hooks/sms", body.as_bytes()).await;
        *statuses.lock().unwrap().entry(answer.status).or_default() += 1;
        let retry_after = answer.head.to_lowercase().contains("\r\nretry-after:");
        assert!(
            answer.status == 200 || (answer.status == 503 && retry_after),
            "{answer:?}"
        );
        if answer.status == 200 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_every_delivery_is_a_503_and_afterwards_each_is_stored_once() {
    const SENDERS: usize = 16;
    const TEXTS_EACH: usize = 30;
    let mut server = TestDatabase::private_server().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&server.url()), NOTES);
    let mut process = Process::start(&config).await;
    let statuses = Arc::new(Mutex::new(BTreeMap::<u16, usize>::new()));
    let seen = |status| statuses.lock().unwrap().get(&status).copied().unwrap_or_default();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (address, statuses) = (process.address, Arc::clone(&statuses));
            tokio::spawn(async move {
                for n in 0..TEXTS_EACH {
                    let body = sms(&format!("{SENDER}{sender:02}"), &format!("{WORDS} {sender} {n}")).to_string();
                    deliver_until_acknowledged(address, &body, &statuses).await;
                }
            })
        })
        .collect();
    eventually("the load runs", async || seen(200) >= 100).await;
    server.stop_immediate().await;
    eventually("the outage is felt", async || seen(503) >= 200).await;
    assert_eq!(helpers::get(process.admin, "/readyz").await.status, 503);
    assert_eq!(
        helpers::get(process.admin, "/healthz").await.status,
        200,
        "a restart would not help"
    );
    let before = seen(200);
    assert!(before < SENDERS * TEXTS_EACH);
    server.start_again().await;
    for sender in senders {
        sender.await.unwrap();
    }
    helpers::jobs_ended(&server.pool).await;
    assert_each_stored_once(&server.pool, i64::try_from(SENDERS * TEXTS_EACH).unwrap(), 2).await;
    assert!(process.child.try_wait().unwrap().is_none());
    assert_eq!(helpers::get(process.admin, "/readyz").await.status, 200);
    assert_discreet(&process).await;
}

/// Delivers where an answer of 503 is expected, and says how long it took.
async fn refused_in(process: &Process, body: &str) -> Duration {
    let begun = Instant::now();
    let answer = helpers::deliver(process.address, "/hooks/sms", body.as_bytes()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("\r\nretry-after:"), "{answer:?}");
    begun.elapsed()
}

/// The deadline of 1.5 s, and what a busy machine may add to it.
const DEADLINE_AND_MARGIN: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_commit_that_comes_too_late_is_a_503_and_then_a_duplicate() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), NOTES);
    let process = Process::start(&config).await;
    let mut hold = database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE smshook.messages IN EXCLUSIVE MODE")
        .execute(&mut *hold)
        .await
        .unwrap();
    let body = sms(&format!("{SENDER}01"), WORDS).to_string();
    let took = refused_in(&process, &body).await;
    assert!(took < DEADLINE_AND_MARGIN, "{took:?}");
    hold.rollback().await.unwrap();
    eventually("the late commit comes", async || {
        count(&database.pool, "SELECT count(*) FROM v1.messages").await == 1
    })
    .await;
    let again = helpers::deliver(process.address, "/hooks/sms", body.as_bytes()).await;
    assert_eq!(
        (again.status, again.json()["status"].as_str()),
        (200, Some("duplicate"))
    );
    helpers::jobs_ended(&database.pool).await;
    assert_each_stored_once(&database.pool, 1, 2).await;
    assert_discreet(&process).await;
}

/// A server whose processes are all stopped; they go on when this is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    async fn server(pool: &PgPool) -> Self {
        let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(pool).await.unwrap();
        let pid_file = std::fs::read_to_string(format!("{data}/postmaster.pid")).unwrap();
        let postmaster = pid_file.lines().next().unwrap().trim().to_owned();
        let mut frozen = Self(vec![]);
        // first of all the one that would start others
        frozen.stop(&postmaster);
        let processes = Command::new("ps")
            .args(["-A", "-o", "pid=", "-o", "ppid="])
            .output()
            .unwrap();
        for line in String::from_utf8(processes.stdout).unwrap().lines() {
            if let Some((pid, parent)) = line.trim().split_once(' ')
                && parent.trim() == postmaster
            {
                frozen.stop(pid);
            }
        }
        frozen
    }

    fn stop(&mut self, pid: &str) {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        // a session may have ended by itself
        if kill_process(pid, Signal::STOP).is_ok() {
            self.0.push(pid);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            kill_process(*pid, Signal::CONT).unwrap();
        }
    }
}

#[tokio::test]
async fn a_frozen_postgres_costs_a_gateway_no_more_than_the_deadline_and_loses_nothing() {
    let server = TestDatabase::private_server().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&server.url()), NOTES);
    let mut process = Process::start(&config).await;
    assert_eq!(process.text(&format!("{SENDER}01"), "before").await.status, 200);
    let body = sms(&format!("{SENDER}02"), WORDS).to_string();
    let frozen = Frozen::server(&server.pool).await;
    for _ in 0..4 {
        let took = refused_in(&process, &body).await;
        assert!(took < DEADLINE_AND_MARGIN, "{took:?}");
    }
    assert_eq!(helpers::get(process.admin, "/readyz").await.status, 503);
    // beyond the writers' own patience, so that they have left connections in the middle of a transaction
    process.logged("deliveries not stored").await;
    drop(frozen);
    eventually("it is stored", async || {
        helpers::deliver(process.address, "/hooks/sms", body.as_bytes())
            .await
            .status
            == 200
    })
    .await;
    helpers::jobs_ended(&server.pool).await;
    assert_each_stored_once(&server.pool, 2, 2).await;
    assert_discreet(&process).await;
}

#[tokio::test]
async fn a_stop_ends_in_time_even_while_postgres_is_frozen() {
    let server = TestDatabase::private_server().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&server.url()), NOTES);
    let mut process = Process::start(&config).await;
    let body = sms(&format!("{SENDER}01"), WORDS).to_string();
    let _frozen = Frozen::server(&server.pool).await;
    refused_in(&process, &body).await;
    process.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(process.ended().await, Some(0), "{}", process.log_text());
    report(&format!("SIGTERM → end, Postgres frozen: {:?}", asked.elapsed()));
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_service_that_starts_before_its_database_listens_and_becomes_ready_when_it_comes() {
    let mut server = TestDatabase::private_server().await;
    // not even the schema is there
    sqlx::raw_sql("DROP SCHEMA v1 CASCADE; DROP SCHEMA smshook CASCADE; DROP TABLE _sqlx_migrations")
        .execute(&server.pool)
        .await
        .unwrap();
    server.stop_immediate().await;
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&server.url()), NOTES);
    let mut process = Process::start(&config).await;
    let body = sms(&format!("{SENDER}01"), WORDS).to_string();
    refused_in(&process, &body).await;
    assert_eq!(helpers::get(process.admin, "/readyz").await.status, 503);
    server.start_again().await;
    eventually("it is ready", async || {
        helpers::get(process.admin, "/readyz").await.status == 200
    })
    .await;
    assert_eq!(
        helpers::deliver(process.address, "/hooks/sms", body.as_bytes())
            .await
            .json()["status"],
        "stored"
    );
    // the views come after the tables
    process.logged("the database is there now").await;
    helpers::jobs_ended(&server.pool).await;
    assert_each_stored_once(&server.pool, 1, 2).await;
    assert_discreet(&process).await;
}

#[tokio::test]
async fn a_service_whose_database_refuses_or_swallows_connections_answers_within_the_patience_of_a_gateway() {
    let unheard = tokio::net::TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [unheard.local_addr().unwrap(), silent.local_addr().unwrap()] {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("postgres://nobody@{address}/none");
        let config = helpers::write_configuration(directory.path(), Some(&url), NOTES);
        let begun = Instant::now();
        let process = Process::start(&config).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        let took = refused_in(&process, &sms(&format!("{SENDER}01"), WORDS).to_string()).await;
        assert!(took < DEADLINE_AND_MARGIN, "{took:?}");
        assert_discreet(&process).await;
    }
}

#[tokio::test]
async fn an_outcome_that_cannot_be_written_waits_and_its_effect_is_not_repeated() {
    let mut server = TestDatabase::private_server().await;
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&server.url()), &calling(&fake, ""));
    let mut process = Process::start(&config).await;
    assert_eq!(process.text(&format!("{SENDER}01"), WORDS).await.status, 200);
    fake.came(1).await;
    server.stop_immediate().await;
    fake.release(1);
    process.logged("could not settle").await;
    server.start_again().await;
    helpers::jobs_ended(&server.pool).await;
    let attempts: Vec<String> = sqlx::query_scalar("SELECT outcome FROM v1.attempts")
        .fetch_all(&server.pool)
        .await
        .unwrap();
    assert_eq!(attempts, ["done"]);
    assert_eq!(fake.asked().len(), 1);
    assert_eq!(process.text(&format!("{SENDER}01"), "next").await.status, 200);
    fake.came(2).await;
    helpers::jobs_ended(&server.pool).await;
    assert_discreet(&process).await;
}

#[tokio::test]
async fn an_action_that_hangs_ends_at_its_timeout_and_its_lane_goes_on() {
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    let app = App::start(&calling(&fake, "timeout = \"300ms\"\nconcurrency = 1")).await;
    app.text(&format!("{SENDER}01"), "hangs").await;
    app.text(&format!("{SENDER}01"), "behind it").await;
    fake.came(3).await;
    app.all_jobs_ended().await;
    let texts: Vec<String> = fake
        .asked()
        .iter()
        .map(|asked| asked.json()["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["hangs", "hangs", "behind it"]);
    let attempts: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT outcome, error FROM v1.attempts ORDER BY started_at")
            .fetch_all(app.pool())
            .await
            .unwrap();
    let outcomes: Vec<&str> = attempts.iter().map(|attempt| attempt.0.as_str()).collect();
    assert_eq!(outcomes, ["retry", "done", "done"]);
    assert!(attempts[0].1.as_deref().unwrap().contains("300 ms"), "{attempts:?}");
}

#[tokio::test]
async fn an_idle_worker_starts_a_job_as_soon_as_it_is_committed() {
    // a poll that comes too late to be what found it
    let app = App::start(&format!("[worker]\npoll = \"1h\"\n{NOTES}")).await;
    for n in 0..60 {
        app.text(&format!("{SENDER}{n:02}"), WORDS).await;
        app.all_jobs_ended().await;
    }
    let (median, slowest): (f64, f64) = sqlx::query_as(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY waited), max(waited)
         FROM (SELECT extract(epoch FROM claimed_at - created_at)::float8 * 1000 AS waited FROM v1.jobs) j",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    report(&format!(
        "begin of the commit → claimed, idle worker: median {median:.1} ms, slowest {slowest:.1} ms"
    ));
    assert!(median <= 250.0, "{median} ms");
}

#[tokio::test]
async fn nothing_that_goes_wrong_brings_a_number_a_text_or_a_secret_into_log_or_metrics() {
    let database = TestDatabase::new().await;
    let fake = Fake::start().await;
    let echo = format!("{{\"error\":\"no {WORDS} for +{SENDER}01\"}}");
    for status in [500, 429, 400] {
        fake.then(Answer::Now(status, vec![], echo.clone()));
    }
    fake.then(Answer::Hold);
    let toml = calling(&fake, "timeout = \"300ms\"\nmax_attempts = 2");
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut command = helpers::smshook(&["--config", config.to_str().unwrap(), "serve"]);
    command.env("SMSHOOK_LOG", "json").env("RUST_LOG", "debug,hyper=info");
    let process = Process::of(command, directory.path()).await;
    for text in [WORDS, &format!("STOP {WORDS}"), "STOP"] {
        assert_eq!(process.text(&format!("{SENDER}01"), text).await.status, 200);
    }
    helpers::jobs_ended(&database.pool).await;
    let unreadable = json!({ "event": "message.received", "from": format!("{SENDER}01"), "text": [WORDS] }).to_string();
    assert_eq!(
        helpers::deliver(process.address, "/hooks/sms", unreadable.as_bytes())
            .await
            .json()["status"],
        "quarantined"
    );
    let body = sms(&format!("{SENDER}01"), WORDS).to_string();
    for signature in [SECRET.to_owned(), helpers::signature("another", body.as_bytes())] {
        let head = format!(
            "POST /hooks/sms?{SENDER} HTTP/1.1\r\nhost: t\r\nx-mac-signature: {signature}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(helpers::raw(process.address, head.as_bytes()).await.status, 401);
    }
    helpers::get(process.address, &format!("/{SENDER}")).await;
    // a refusal of the database, whose own words quote the row
    sqlx::raw_sql("ALTER TABLE smshook.messages ADD CHECK (text NOT LIKE '%refused%')")
        .execute(&database.pool)
        .await
        .unwrap();
    let refused = process.text(&format!("{SENDER}01"), &format!("{WORDS} refused")).await;
    assert_eq!(refused.json()["status"], "quarantined");
    assert_discreet(&process).await;
}

#[expect(clippy::print_stderr, reason = "a measurement that `--nocapture` shows")]
fn report(measured: &str) {
    eprintln!("measured: {measured}");
}
