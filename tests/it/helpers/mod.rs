//! What the tests share: the whole service over a database of its own, the gateway that calls it, and outside systems that
//! count what they are asked to do.

mod direct;
mod fake;
mod search;
mod service;
mod wire;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use smshook::actions::Actions;
use smshook::app::{self, Running};
use smshook::config::{self, Config, Source};
use smshook::http::{self, Limits, WebhookState};
use smshook::metrics::Metrics;
use smshook::store::{Acceptor, Store};
use smshook::worker::Worker;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) use direct::{Direct, nonce};
pub(crate) use fake::{Answer, Asked, Fake};
pub(crate) use search::{holding, tables};
pub(crate) use service::Service;
pub(crate) use wire::{Certificate, Heard, Wire};

use crate::testkit::TestDatabase;

/// What the test endpoint signs with.
pub(crate) const SECRET: &str = "whsec_of the tests";
/// The longest that anything awaited may take on a busy machine; nothing waits this long when it works.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The service in this process, with its database.
pub(crate) struct App {
    pub(crate) database: TestDatabase,
    pub(crate) running: Option<Running>,
    _directory: tempfile::TempDir,
}

impl App {
    /// Starts the service with the standard endpoint and `toml` (actions, rules, …).
    pub(crate) async fn start(toml: &str) -> Self {
        let database = TestDatabase::new().await;
        Self::over(database, toml).await
    }

    pub(crate) async fn over(database: TestDatabase, toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = configuration(directory.path(), Some(&database.url()), toml);
        let running = app::start(Arc::new(config)).await.unwrap();
        Self {
            database,
            running: Some(running),
            _directory: directory,
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.running.as_ref().unwrap().public
    }

    /// Posts one signed text, as the gateway would.
    pub(crate) async fn text(&self, from: &str, text: &str) -> Response {
        self.deliver(&sms(from, text).to_string()).await
    }

    /// Posts a body with its signature.
    pub(crate) async fn deliver(&self, body: &str) -> Response {
        deliver(self.address(), "/hooks/sms", body.as_bytes()).await
    }

    /// Waits until no job is left that could still run.
    pub(crate) async fn all_jobs_ended(&self) {
        jobs_ended(self.pool()).await;
    }

    /// Action, state and reason of every job, in order.
    pub(crate) async fn jobs(&self) -> Vec<(String, String, Option<String>)> {
        sqlx::query_as("SELECT action, state, reason FROM v1.jobs ORDER BY id")
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    pub(crate) async fn count(&self, of: &'static str) -> i64 {
        count(self.pool(), of).await
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.stop();
        }
    }
}

/// The public listener and the batch writer without a worker: what is accepted stays to be claimed by the test.
pub(crate) struct Intake {
    pub(crate) database: TestDatabase,
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) address: std::net::SocketAddr,
    stop: tokio_util::sync::CancellationToken,
    directory: tempfile::TempDir,
}

impl Intake {
    pub(crate) async fn start(toml: &str) -> Self {
        let database = TestDatabase::new().await;
        let directory = tempfile::tempdir().unwrap();
        let config = Arc::new(configuration(directory.path(), Some(&database.url()), toml));
        let store = Store::new(database.options(), 8);
        let metrics = Arc::new(Metrics::new());
        let acceptor = Acceptor::start(&store, config.server.accept_deadline, &metrics).unwrap();
        let listener = http::bind(config.server.listen).unwrap();
        let address = listener.local_addr().unwrap();
        let (state, limits) = (
            Arc::new(WebhookState::new(Arc::clone(&config), acceptor, metrics)),
            Limits::from(&config.server),
        );
        let stop = tokio_util::sync::CancellationToken::new();
        tokio::spawn(http::serve_public(listener, state, limits, stop.clone()));
        Self {
            database,
            store,
            config,
            address,
            stop,
            directory,
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub(crate) async fn text(&self, from: &str, text: &str) {
        let answer = deliver(self.address, "/hooks/sms", sms(from, text).to_string().as_bytes()).await;
        assert_eq!(answer.status, 200);
    }

    /// Starts a worker on the database, as another process would; it stops with the token.
    pub(crate) fn work(&self, toml: &str) -> (tokio_util::sync::CancellationToken, tokio::task::JoinHandle<()>) {
        let config = Arc::new(configuration(self.directory.path(), Some(&self.database.url()), toml));
        let store = Store::new(self.database.options(), 8);
        let actions = Arc::new(Actions::new(Arc::clone(&config), store.clone()).unwrap());
        let stop = tokio_util::sync::CancellationToken::new();
        let worker = Worker::new(&config, store, actions, Arc::new(Metrics::new()));
        let working = tokio::spawn(worker.run(stop.clone()));
        (stop, working)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One of: a query's single number.
pub(crate) async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

pub(crate) async fn jobs_ended(pool: &PgPool) {
    eventually("every job ends", async || {
        count(
            pool,
            "SELECT count(*) FROM v1.jobs WHERE state IN ('waiting', 'available', 'running')",
        )
        .await
            == 0
    })
    .await;
}

/// Looks again and again until it holds; panics after [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        while !holds().await {
            pause.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, looking).await.is_ok(),
        "it never came true: {what}"
    );
}

/// A configuration with the standard endpoint, unless `toml` brings its own.
pub(crate) fn configuration(directory: &std::path::Path, database: Option<&str>, toml: &str) -> Config {
    let file = write_configuration(directory, database, toml);
    let loaded = config::load(&Source::File(file), &|_| None);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config
}

pub(crate) fn write_configuration(directory: &std::path::Path, database: Option<&str>, toml: &str) -> PathBuf {
    let database = database
        .map(|url| format!("[database]\nurl = {}\n", json!(url)))
        .unwrap_or_default();
    let endpoint = if toml.contains("[[endpoint]]") {
        String::new()
    } else {
        format!(
            "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{SECRET}\"]\n"
        )
    };
    let server = if toml.contains("[server]") {
        ""
    } else {
        "[server]\nlisten = \"127.0.0.1:0\"\n"
    };
    let text = format!(
        "data_dir = {}\n{server}[admin]\nlisten = \"127.0.0.1:0\"\n{database}{endpoint}{toml}\n",
        json!(directory.join("data"))
    );
    let file = directory.join("config.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// The standard endpoint with a way to reply through `fake`.
pub(crate) fn replying_endpoint(fake: &Fake) -> String {
    format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{SECRET}\"]\n\
         reply = {{ token = \"sk_live_of the tests\", base_url = \"{}\", allow_private = [\"127.0.0.0/8\"], allow_http = true }}\n",
        fake.url("/v1")
    )
}

/// The body of a text, its time unique, so that two calls are two messages.
pub(crate) fn sms(from: &str, text: &str) -> Value {
    static SECONDS: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    let nth = SECONDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // in the past, rising by a millisecond with each call
    let at = chrono::DateTime::from_timestamp_millis(1_760_000_000_000 + nth).unwrap();
    json!({
        "event": "message.received", "from": from, "to": "15550009999", "text": text, "ref": null,
        "receivedAt": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        "deviceId": "dev_1", "tenantId": "ten_1", "tenantName": "Acme",
    })
}

pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// An answer of the service.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

pub(crate) async fn deliver(address: std::net::SocketAddr, path: &str, body: &[u8]) -> Response {
    try_deliver(address, path, body).await.expect("an answer")
}

/// As [`deliver`], where the service may be gone.
pub(crate) async fn try_deliver(address: std::net::SocketAddr, path: &str, body: &[u8]) -> std::io::Result<Response> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: tests\r\ncontent-type: application/json\r\nx-mac-signature: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        signature(SECRET, body),
        body.len()
    );
    exchange(address, &[head.as_bytes(), body].concat()).await
}

pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nhost: tests\r\nconnection: close\r\n\r\n");
    exchange(address, head.as_bytes()).await.expect("an answer")
}

/// Sends these bytes and reads the answer until the service closes.
pub(crate) async fn raw(address: std::net::SocketAddr, request: &[u8]) -> Response {
    exchange(address, request).await.expect("an answer")
}

async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// The real binary as a process of its own; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) admin: std::net::SocketAddr,
    log: PathBuf,
}

/// `smshook` with these arguments, nothing of our database in its environment, and nothing on its standard input.
pub(crate) fn smshook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smshook"));
    command.args(arguments).env_remove("DATABASE_URL").stdin(Stdio::null());
    command
}

impl Process {
    /// Starts the binary on `config` and waits until it listens; its log goes to a file beside it.
    pub(crate) async fn start(config: &std::path::Path) -> Self {
        let mut command = smshook(&["--config", config.to_str().unwrap(), "serve"]);
        command.env("SMSHOOK_LOG", "json");
        Self::of(command, config.parent().unwrap()).await
    }

    /// Runs `command` and waits until it listens.
    pub(crate) async fn of(command: Command, directory: &std::path::Path) -> Self {
        let mut process = Self::spawn(command, directory);
        let mut found = None;
        process
            .watch("the log says where it listens", |text| {
                found = text.lines().find_map(|line| {
                    Some((
                        field(line, "public")?.parse().ok()?,
                        field(line, "admin")?.parse().ok()?,
                    ))
                });
                found.is_some()
            })
            .await;
        (process.address, process.admin) = found.unwrap();
        process
    }

    /// Runs `command`, its standard error going to a file in `directory`.
    pub(crate) fn spawn(mut command: Command, directory: &std::path::Path) -> Self {
        let log = directory.join(format!("log-{}", uuid::Uuid::now_v7()));
        let file = std::fs::File::create(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            child,
            address: nobody,
            admin: nobody,
            log,
        }
    }

    /// Waits for a log line that has this in it.
    pub(crate) async fn logged(&mut self, message: &str) {
        self.watch(&format!("the log says `{message}`"), |text| text.contains(message))
            .await;
    }

    /// Waits until the log is as wanted; that the process ended before is the test's failure.
    async fn watch(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) {
        eventually(what, async || {
            let ended = self.child.try_wait().unwrap().is_some();
            // read after that look, so that an ended process has written all it ever will
            let text = self.log_text();
            let found = wanted(&text);
            assert!(found || !ended, "the process ended: {text}");
            found
        })
        .await;
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) async fn text(&self, from: &str, text: &str) -> Response {
        deliver(self.address, "/hooks/sms", sms(from, text).to_string().as_bytes()).await
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it as the kernel does when memory runs out.
    pub(crate) async fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        assert_eq!(self.ended().await, None);
    }

    /// Waits for its end and returns the exit code; `None` if a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let mut code = None;
        eventually("the process ends", async || match child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        })
        .await;
        code
    }
}

/// A field of a log line, be it JSON or text.
fn field(line: &str, name: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        return Some(line[name].as_str()?.to_owned());
    }
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    Some(rest.split(' ').next()?.to_owned())
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}
