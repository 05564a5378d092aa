//! How the program starts, stops and comes back: by itself with nothing configured, gently, at once, and after a kill.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::helpers::{self, Answer, Fake, Process, count, eventually, signature, sms};
use crate::testkit::TestDatabase;

fn calling(fake: &Fake, worker: &str) -> String {
    format!(
        r#"
        [worker]
        {worker}
        [action.call]
        http = {{ url = "{}", json = {{ text = "{{{{ text }}}}" }}, allow_http = true, allow_private = ["127.0.0.0/8"] }}
        timeout = "2s"
        [[rule]]
        name = "rest"
        any = true
        actions = ["call"]
        "#,
        fake.url("/call")
    )
}

async fn outcomes(database: &TestDatabase) -> Vec<(i32, String)> {
    sqlx::query_as("SELECT attempt, outcome FROM v1.attempts ORDER BY started_at")
        .fetch_all(&database.pool)
        .await
        .unwrap()
}

/// A delivery whose headers the service has read, and whose body it waits for.
async fn begun_delivery(process: &Process, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    let head = format!(
        "POST /hooks/sms HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\nx-mac-signature: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        signature(helpers::SECRET, body),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_stop_takes_no_new_connection_but_finishes_the_request_and_the_action_in_flight() {
    let database = TestDatabase::new().await;
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    let directory = tempfile::tempdir().unwrap();
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &calling(&fake, ""));
    let mut process = Process::start(&config).await;
    process.text("15551230001", "held").await;
    fake.came(1).await;
    let body = sms("15551230002", "in two halves").to_string().into_bytes();
    let (first, second) = body.split_at(body.len() / 2);
    let mut stream = begun_delivery(&process, &body).await;
    stream.write_all(first).await.unwrap();
    process.signal(Signal::TERM);
    eventually("no connection is taken any more", async || {
        TcpStream::connect(process.address).await.is_err()
    })
    .await;
    fake.release(1);
    stream.write_all(second).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains(r#"{"status":"stored""#), "{answer}");
    assert_eq!(process.ended().await, Some(0), "{}", process.log_text());
    assert_eq!(
        count(
            &database.pool,
            "SELECT count(*) FROM v1.messages WHERE text = 'in two halves'"
        )
        .await,
        1
    );
    assert_eq!(outcomes(&database).await, [(1, "done".to_owned())], "what was running");
    let next = "SELECT count(*) FROM v1.jobs WHERE state = 'available' AND attempt = 0";
    assert_eq!(
        count(&database.pool, next).await,
        1,
        "what came during the stop is for the next start"
    );
}

#[tokio::test]
async fn an_action_that_outlasts_the_grace_is_given_back_and_costs_no_attempt() {
    let database = TestDatabase::new().await;
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    let directory = tempfile::tempdir().unwrap();
    let toml = calling(&fake, "stop_grace = \"200ms\"");
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut process = Process::start(&config).await;
    process.text("15551230001", "held").await;
    fake.came(1).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0), "{}", process.log_text());
    assert_eq!(outcomes(&database).await, [(1, "release".to_owned())]);
    let free = "SELECT count(*) FROM v1.jobs WHERE state = 'available' AND attempt = 0 AND run_at <= now()";
    assert_eq!(count(&database.pool, free).await, 1);
    let _next = Process::start(&config).await;
    helpers::jobs_ended(&database.pool).await;
    assert_eq!(
        outcomes(&database).await,
        [(1, "release".to_owned()), (1, "done".to_owned())]
    );
}

#[tokio::test]
async fn a_second_signal_stops_at_once_and_the_held_job_runs_again_when_its_lease_ends() {
    let database = TestDatabase::new().await;
    let fake = Fake::start().await;
    fake.then(Answer::Hold);
    let directory = tempfile::tempdir().unwrap();
    let toml = calling(&fake, "stop_grace = \"10m\"");
    let config = helpers::write_configuration(
        directory.path(),
        Some(&database.url()),
        &toml.replace("\"2s\"", "\"5m\""),
    );
    let mut process = Process::start(&config).await;
    process.text("15551230001", "held").await;
    fake.came(1).await;
    process.signal(Signal::TERM);
    process.logged("stopping").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(1), "{}", process.log_text());
    assert!(
        process.log_text().contains("run again when their leases end"),
        "{}",
        process.log_text()
    );
    let held = "SELECT count(*) FROM v1.jobs WHERE state = 'running' AND run_at > now()";
    assert_eq!(count(&database.pool, held).await, 1);
    // the lease ends
    sqlx::query("UPDATE smshook.jobs SET run_at = now()")
        .execute(&database.pool)
        .await
        .unwrap();
    let _next = Process::start(&config).await;
    helpers::jobs_ended(&database.pool).await;
    assert_eq!(
        outcomes(&database).await,
        [(1, "lost".to_owned()), (2, "done".to_owned())]
    );
}

/// An empty directory to run in, and the data directory that an embedded Postgres can be in, whoever runs the tests.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // root runs Postgres as another account, which has to get through
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(directory.path().join("empty")).unwrap();
        Self { directory }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// `smshook` as on a new machine: nothing configured, nothing in its environment but where to be.
    fn smshook(&self, arguments: &[&str]) -> Command {
        let mut command = helpers::smshook(arguments);
        command.current_dir(self.directory.path().join("empty")).env_clear();
        for kept in ["PATH", "HOME", "PG_BIN_DIR"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.env("SMSHOOK_DATA_DIR", self.data());
        command
            .env("SMSHOOK_LISTEN", "127.0.0.1:0")
            .env("SMSHOOK_ADMIN_LISTEN", "127.0.0.1:0");
        command
    }

    async fn serve(&self) -> Process {
        Process::of(self.smshook(&["serve"]), self.directory.path()).await
    }

    /// Runs a command to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.smshook(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    async fn jobs(&self) -> Vec<Value> {
        let output = self.run(&["jobs", "list", "--json"]).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Sends a sample to a running service, over the way that it printed.
    async fn send(&self, process: &Process, text: &str) -> String {
        let url = format!("http://{}/hooks/sms", process.address);
        let output = self
            .run(&["send", "--text", text, "--from", "+15551230001", "--url", &url])
            .await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The main process of the embedded Postgres, if it is alive.
    fn postgres(&self) -> Option<Pid> {
        let pid_file = std::fs::read_to_string(self.data().join("postgres/data/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(pid_file.lines().next()?.trim().parse().ok()?)?;
        test_kill_process(pid).is_ok().then_some(pid)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // a test that failed in the middle must not leave a server behind
        if let Some(pid) = self.postgres() {
            kill_process(pid, Signal::QUIT).unwrap();
        }
    }
}

fn secret_of(home: &Home) -> String {
    let path = home.data().join("webhook-secret");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn the_binary_alone_makes_all_it_needs_says_what_to_do_next_and_keeps_it_over_a_restart() {
    let home = Home::new();
    let mut process = home.serve().await;
    process.logged("is all well?").await;
    let said = process.log_text();
    let url = format!("http://{}/hooks/sms", process.address);
    for expected in [
        format!("give the gateway this URL     {url}\n"),
        format!(
            "the secret in this file   {}\n",
            home.data().join("webhook-secret").display()
        ),
        format!("smshook send --text \"hours\" --from +15551230001 --url {url}\n"),
        format!("psql -h {}", home.data().join("postgres").display()),
        format!("http://{}/readyz\n", process.admin),
    ] {
        assert!(said.contains(&expected), "`{expected}` is not in\n{said}");
    }
    let secret = secret_of(&home);
    assert!(!said.contains(secret.trim()), "the secret itself is not shown");
    let answer = home.send(&process, "hours").await;
    assert!(answer.starts_with(r#"200 {"status":"stored""#), "{answer}");
    eventually("its job is done", async || home.jobs().await[0]["state"] == "done").await;
    assert_eq!(home.jobs().await[0]["action"], "hours");
    assert!(home.postgres().is_some());
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0), "{}", process.log_text());
    assert_eq!(home.postgres(), None, "its Postgres stops with it");

    let mut again = home.serve().await;
    assert_eq!(secret_of(&home), secret);
    assert!(
        !again.log_text().contains("made a webhook secret"),
        "{}",
        again.log_text()
    );
    assert!(home.send(&again, "where?").await.contains("stored"));
    assert_eq!(home.jobs().await.len(), 2, "what was there, and one more");
    again.signal(Signal::TERM);
    assert_eq!(again.ended().await, Some(0), "{}", again.log_text());
    assert_eq!(home.postgres(), None);
}

#[tokio::test]
async fn after_a_kill_the_next_start_finds_its_postgres_and_its_data() {
    let home = Home::new();
    let mut process = home.serve().await;
    assert!(home.send(&process, "hours").await.contains("stored"));
    let postgres = home.postgres().expect("it runs");
    process.kill().await;
    assert_eq!(home.postgres(), Some(postgres), "it outlives the service");
    let mut again = home.serve().await;
    assert_eq!(home.postgres(), Some(postgres), "the same one: {}", again.log_text());
    assert_eq!(home.jobs().await.len(), 1);
    assert!(home.send(&again, "hours").await.contains("stored"));
    again.signal(Signal::TERM);
    assert_eq!(again.ended().await, Some(0), "{}", again.log_text());
    assert_eq!(home.postgres(), None, "although another process started it");
}

#[tokio::test]
async fn a_service_whose_postgres_dies_ends_with_it_and_the_next_start_recovers_what_was_acknowledged() {
    let home = Home::new();
    let mut process = home.serve().await;
    assert!(home.send(&process, "hours").await.contains("stored"));
    kill_process(home.postgres().expect("it runs"), Signal::KILL).unwrap();
    assert_eq!(process.ended().await, Some(1));
    assert!(
        process.log_text().contains("the embedded Postgres ended by itself"),
        "{}",
        process.log_text()
    );
    let mut again = home.serve().await;
    assert_eq!(home.jobs().await.len(), 1);
    again.signal(Signal::TERM);
    assert_eq!(again.ended().await, Some(0), "{}", again.log_text());
}

#[tokio::test]
async fn a_signal_during_the_start_leaves_no_postgres_behind() {
    let home = Home::new();
    let mut process = Process::spawn(home.smshook(&["serve"]), home.directory.path());
    eventually("its Postgres is being made", async || {
        home.data().join("postgres").exists()
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, Some(0), "{}", process.log_text());
    assert_eq!(home.postgres(), None);
}

#[tokio::test]
async fn a_port_in_use_is_said_and_nothing_is_left_running() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    for (variable, key) in [
        ("SMSHOOK_LISTEN", "server.listen"),
        ("SMSHOOK_ADMIN_LISTEN", "admin.listen"),
    ] {
        let mut command = home.smshook(&["serve"]);
        command.env(variable, taken.to_string());
        let mut process = Process::spawn(command, home.directory.path());
        assert_eq!(process.ended().await, Some(1), "{}", process.log_text());
        let said = process.log_text();
        assert!(
            said.contains(&format!("error: could not listen on {taken} ({key})")),
            "{said}"
        );
        assert!(said.contains("in use"), "{said}");
        assert_eq!(home.postgres(), None);
    }
}

/// A configuration with this endpoint, and where it is.
fn with_endpoint(directory: &Path, database: &TestDatabase, keys: &str) -> PathBuf {
    let endpoint =
        format!("[[endpoint]]\nname = \"open\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\n{keys}\n");
    helpers::write_configuration(directory, Some(&database.url()), &endpoint)
}

#[tokio::test]
async fn an_endpoint_that_takes_unsigned_deliveries_is_warned_about_at_each_start() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = with_endpoint(directory.path(), &database, "allow_unsigned = true");
    let process = Process::start(&config).await;
    let log = process.log_text();
    let warned =
        |line: &&str| line.contains("\"WARN\"") && line.contains("\"open\"") && line.contains("allow_unsigned = true");
    assert_eq!(log.lines().filter(warned).count(), 1, "{log}");
    let answer = helpers::raw(
        process.address,
        b"POST /hooks/sms HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    );
    assert_eq!(answer.await.status, 200);
}

#[tokio::test]
async fn an_endpoint_that_only_observes_is_warned_about_at_each_start() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = with_endpoint(directory.path(), &database, "mode = \"observe\"");
    let process = Process::start(&config).await;
    let log = process.log_text();
    let warned = |line: &&str| line.contains("\"WARN\"") && line.contains("\"open\"") && line.contains("ONLY OBSERVES");
    assert_eq!(log.lines().filter(warned).count(), 1, "{log}");
    assert!(!log.contains("allow_unsigned"), "{log}");
}

#[tokio::test]
async fn an_endpoint_without_a_secret_refuses_to_start_and_shows_where() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = with_endpoint(directory.path(), &database, "");
    let mut process = Process::spawn(
        helpers::smshook(&["--config", config.to_str().unwrap()]),
        directory.path(),
    );
    assert_eq!(process.ended().await, Some(1));
    let said = process.log_text();
    let shown = format!(
        "error: this endpoint has no secret to verify signatures with\n --> {}:8:1\n  |\n8 | [[endpoint]]\n  | ^",
        config.display()
    );
    assert!(said.contains(&shown), "{said}");
}
