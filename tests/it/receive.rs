//! The receive path and the admin listener from outside: real sockets, a real database, bytes written by hand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use smshook::config::{self, Config};
use smshook::http::{self, AdminState, Limits, WebhookState};
use smshook::metrics::Metrics;
use smshook::store::{Acceptor, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::helpers;
use crate::testkit::TestDatabase;

const SECRET: &str = "whsec_an example that signs nothing real";
const CONFIG: &str = r#"
[[endpoint]]
name = "main"
path = "/hooks/sms"
gateway = "mobile-api-connect"
secrets = ["whsec_an example that signs nothing real"]

[[endpoint]]
name = "open"
path = "/hooks/open"
gateway = "mobile-api-connect"
allow_unsigned = true

[action.note]
log = { message = "a text" }

[[rule]]
name = "all"
any = true
actions = ["note"]
"#;

const SMS: &str = r#"{"event":"message.received","from":"15550001234","to":"15550009999","text":"is the blue one left?","ref":null,"receivedAt":"2026-06-12T14:32:00.000Z","deviceId":"dev_1","tenantId":"ten_1","tenantName":"Acme"}"#;

/// Short enough to wait for, long enough for a busy machine to be on time everywhere else.
const SHORT: Duration = Duration::from_millis(300);

fn limits() -> Limits {
    Limits {
        body_bytes: 100_000,
        ..Limits::default()
    }
}

/// The public listener over a database.
struct Receiver {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    served: JoinHandle<io::Result<()>>,
}

impl Receiver {
    fn start(store: &Store, limits: Limits) -> Self {
        let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new());
        let acceptor = Acceptor::start(store, Duration::from_secs(10), &metrics).unwrap();
        let state = Arc::new(WebhookState::new(configured(), acceptor, Arc::clone(&metrics)));
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(http::serve_public(listener, state, limits, shutdown.clone()));
        Self {
            address,
            metrics,
            shutdown,
            served,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn exchange(&self, request: &str) -> Reply {
        exchange(self.address, request).await
    }

    /// Delivers `body` with these header lines.
    async fn post(&self, path: &str, headers: &str, body: &str) -> Reply {
        self.exchange(&request("POST", path, headers, body)).await
    }

    async fn deliver(&self, body: &str) -> Reply {
        self.post("/hooks/sms", &signature(SECRET, body), body).await
    }

    /// What the metric `requests` says of this endpoint and outcome.
    fn counted(&self, endpoint: &str, outcome: &str) -> u64 {
        let line = format!("smshook_requests_total{{endpoint=\"{endpoint}\",outcome=\"{outcome}\"}} ");
        let text = self.metrics.render().unwrap();
        text.lines()
            .find_map(|found| found.strip_prefix(&line))
            .map_or(0, |count| count.parse().unwrap())
    }
}

fn configured() -> Arc<Config> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, CONFIG).unwrap();
    Arc::new(config::load(&config::Source::File(file), &|_| None).unwrap().config)
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// Computed here and not by the code under test.
fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!(
        "X-MAC-Signature: sha256={}\r\n",
        hex::encode(mac.finalize().into_bytes())
    )
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    /// The head without what differs by the second.
    fn shape(&self) -> Vec<&str> {
        self.head.lines().filter(|line| !line.starts_with("date: ")).collect()
    }

    fn word(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        json["status"].as_str().unwrap().to_owned()
    }

    fn id(&self) -> uuid::Uuid {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        json["id"].as_str().unwrap().parse().unwrap()
    }
}

async fn exchange(address: SocketAddr, request: &str) -> Reply {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    reply(&mut client).await
}

async fn reply(client: &mut TcpStream) -> Reply {
    let mut text = String::new();
    tokio::time::timeout(Duration::from_mins(1), client.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

async fn messages(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("select count(*) from v1.messages")
        .fetch_one(&database.pool)
        .await
        .unwrap()
}

fn store(database: &TestDatabase) -> Store {
    Store::from_pool(database.pool.clone())
}

/// Connections to nowhere: the database is away.
fn no_store() -> Store {
    Store::new("postgres://nobody@127.0.0.1:1/none".parse().unwrap(), 2)
}

#[tokio::test]
async fn a_signed_delivery_is_stored_and_the_answer_names_it() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let answer = receiver.deliver(SMS).await;
    assert_eq!((answer.status, answer.word().as_str()), (200, "stored"));
    assert!(
        answer.head.contains("content-type: application/json"),
        "{}",
        answer.head
    );
    let text: String = sqlx::query_scalar("select text from v1.messages where id = $1")
        .bind(answer.id())
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(text, "is the blue one left?");
    assert_eq!(receiver.counted("main", "stored"), 1);
}

#[tokio::test]
async fn a_repeated_delivery_is_acknowledged_and_stored_once() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let first = receiver.deliver(SMS).await;
    let second = receiver.deliver(SMS).await;
    assert_eq!((second.status, second.word().as_str()), (200, "duplicate"));
    assert_eq!(first.id(), second.id());
    assert_eq!(messages(&database).await, 1);
}

#[tokio::test]
async fn what_is_genuine_but_unreadable_is_kept_and_acknowledged() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    for body in ["", "not JSON", "{\"event\":\"message.received\"}"] {
        let answer = receiver.deliver(body).await;
        assert_eq!((answer.status, answer.word().as_str()), (200, "quarantined"), "{body}");
    }
    assert_eq!(messages(&database).await, 0);
}

#[tokio::test]
async fn a_forger_gets_an_empty_401_that_tells_nothing() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let altered = SMS.replace("blue", "red");
    let double = signature(SECRET, SMS).repeat(2);
    let mut answers = Vec::new();
    for headers in [
        "",
        "X-MAC-Signature: nonsense\r\n",
        &signature("another secret", SMS),
        &signature(SECRET, &altered),
        &double,
    ] {
        answers.push(receiver.post("/hooks/sms", headers, SMS).await);
    }
    for answer in &answers {
        assert_eq!((answer.status, answer.body.as_str()), (401, ""));
        assert_eq!(answer.shape(), answers[0].shape());
    }
    assert_eq!(messages(&database).await, 0);
    assert_eq!(receiver.counted("main", "refused"), 5);
}

#[tokio::test]
async fn an_endpoint_may_be_open_and_its_path_is_exact() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    assert_eq!(receiver.post("/hooks/open", "", SMS).await.word(), "stored");
    assert_eq!(receiver.post("/hooks/open/", "", SMS).await.status, 404);
}

#[tokio::test]
async fn only_the_configured_paths_are_there_and_only_for_post() {
    let receiver = Receiver::start(&no_store(), limits());
    for path in [
        "/",
        "/hooks",
        "/hooks/sms/",
        "//hooks/sms",
        "/hooks/SMS",
        "/hooks/./sms",
        "/hooks/%73ms",
        "/healthz",
        "/metrics",
    ] {
        let answer = receiver.post(path, &signature(SECRET, SMS), SMS).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"] {
        let answer = receiver.exchange(&request(method, "/hooks/sms", "", "")).await;
        assert_eq!((answer.status, answer.body.as_str()), (405, ""), "{method}");
        assert!(answer.head.contains("\r\nallow: POST\r\n"), "{}", answer.head);
        assert!(!answer.head.contains("server:"), "{}", answer.head);
    }
    assert_eq!(receiver.counted("unknown", "not_found"), 9);
    assert_eq!(receiver.counted("main", "method_not_allowed"), 6);
}

#[tokio::test]
async fn a_query_does_not_hide_an_endpoint() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let answer = receiver
        .post("/hooks/sms?source=phone", &signature(SECRET, SMS), SMS)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_its_signature_is_looked_at() {
    let receiver = Receiver::start(&no_store(), limits());
    let body = "x".repeat(100_001);
    assert_eq!(receiver.deliver(&body).await.status, 413);
    let chunked = format!(
        "POST /hooks/sms HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(receiver.exchange(&chunked).await.status, 413);
    assert_eq!(receiver.counted("main", "too_large"), 2);
    assert_eq!(
        receiver.deliver(&body[1..].replace('x', " ")).await.status,
        503,
        "exactly at the limit"
    );
}

#[tokio::test]
async fn a_chunked_delivery_is_verified_as_one_body() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let (one, other) = SMS.split_at(50);
    let chunked = format!(
        "POST /hooks/sms HTTP/1.1\r\nconnection: close\r\n{}transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{other}\r\n0\r\n\r\n",
        signature(SECRET, SMS),
        one.len(),
        other.len()
    );
    assert_eq!(receiver.exchange(&chunked).await.word(), "stored");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told_408() {
    let receiver = Receiver::start(
        &no_store(),
        Limits {
            body_time: SHORT,
            ..limits()
        },
    );
    let answer = receiver
        .exchange("POST /hooks/sms HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (408, ""));
    assert_eq!(receiver.counted("main", "timeout"), 1);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_told_408() {
    let receiver = Receiver::start(
        &no_store(),
        Limits {
            head_time: SHORT,
            ..limits()
        },
    );
    assert_eq!(receiver.exchange("POST /hooks/sms HTTP/1.1\r\nx: ").await.status, 408);
}

#[tokio::test]
async fn without_a_database_a_genuine_delivery_is_told_when_to_come_back() {
    let receiver = Receiver::start(&no_store(), limits());
    let answer = receiver.deliver(SMS).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, ""));
    let after = answer
        .head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "))
        .unwrap();
    assert!((5..10).contains(&after.parse().unwrap()), "{after}");
    assert_eq!(receiver.counted("main", "unavailable"), 1);
    assert_eq!(
        receiver.post("/hooks/sms", "", SMS).await.status,
        401,
        "a forger needs no database to be refused"
    );
}

#[tokio::test]
async fn one_connection_carries_many_deliveries() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let mut client = receiver.connect().await;
    let mut all = Vec::new();
    for n in 0..20 {
        let body = SMS.replace("blue", &n.to_string());
        let length = body.len();
        let close = if n == 19 { "connection: close\r\n" } else { "" };
        let headers = signature(SECRET, &body);
        all.push(format!(
            "POST /hooks/sms HTTP/1.1\r\nhost: x\r\n{close}content-length: {length}\r\n{headers}\r\n{body}"
        ));
    }
    client.write_all(all.concat().as_bytes()).await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("\"stored\"").count(), 20);
    assert_eq!(messages(&database).await, 20);
}

#[tokio::test]
async fn a_thousand_slow_clients_do_not_delay_a_genuine_delivery() {
    http::raise_open_files();
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut client = receiver.connect().await;
        let begun: &[u8] = match n % 3 {
            0 => b"POST /hooks/sms HTTP/1.1\r\nx: ",
            1 => b"POST /hooks/sms HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{",
            _ => b"POST /hooks/sms HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
        };
        client.write_all(begun).await.unwrap();
        slow.push(client);
    }
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        for client in slow.iter_mut().skip(n).step_by(50) {
            client.write_all(b" ").await.unwrap();
        }
        let begun = Instant::now();
        assert_eq!(
            receiver.deliver(&SMS.replace("blue", &n.to_string())).await.word(),
            "stored"
        );
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
}

#[tokio::test]
async fn a_delivery_under_way_when_the_shutdown_begins_is_stored_and_answered() {
    let database = TestDatabase::new().await;
    let receiver = Receiver::start(&store(&database), limits());
    let request = request(
        "POST",
        "/hooks/sms",
        &format!("expect: 100-continue\r\n{}", signature(SECRET, SMS)),
        SMS,
    );
    let (head, body) = request.split_at(request.len() - SMS.len());
    let mut client = receiver.connect().await;
    client.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    receiver.shutdown.cancel();
    client.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(reply(&mut client).await.word(), "stored");
    receiver.served.await.unwrap().unwrap();
    assert_eq!(messages(&database).await, 1);
}

#[tokio::test]
async fn each_request_is_one_line_of_log_that_tells_nobodys_secrets() {
    // A process of its own: the logs of one process are one stream.
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let rules =
        "[action.note]\nlog = { message = \"{{ text }}\" }\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"note\"]";
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), rules);
    let mut service = helpers::Process::start(&config).await;
    let stored = service.text("15550001234", "is the blue one left?").await;
    let forged = "POST /hooks/sms HTTP/1.1\r\nhost: t\r\nx-mac-signature: sha256=00\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    helpers::raw(service.address, forged.as_bytes()).await;
    // Its line comes after the answer, once the cause is known.
    service.logged(r#""outcome":"refused""#).await;
    helpers::raw(
        service.address,
        b"POST /hooks/15550001234 HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await;
    helpers::jobs_ended(&database.pool).await;
    let text = service.log_text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["target"] == "smshook::http")
        .collect();
    let said: Vec<_> = lines
        .iter()
        .map(|line| (line["endpoint"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        said,
        [("main", "stored"), ("main", "refused"), ("unknown", "not_found")]
    );
    assert_eq!(lines[0]["message.id"], stored.json()["id"]);
    assert_eq!(lines[0]["secret"], 1);
    assert_eq!(lines[1]["status"], 401);
    assert!(lines[1]["reason"].is_string());
    for private in ["15550001234", "15550009999", "blue one", "whsec", "sha256="] {
        assert!(!text.contains(private), "{private} is in the log");
    }
}

/// Starts the admin listener.
fn admin(store: Store, token: Option<&str>) -> (SocketAddr, CancellationToken) {
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = CancellationToken::new();
    let state = AdminState {
        store,
        metrics: Arc::new(Metrics::new()),
        token: token.map(Into::into),
        groups: vec!["main".to_owned()],
        stopping: stopping.clone(),
    };
    tokio::spawn(http::serve_admin(listener, Arc::new(state), CancellationToken::new()));
    (address, stopping)
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> Reply {
    exchange(address, &request("GET", path, headers, "")).await
}

#[tokio::test]
async fn the_admin_listener_says_whether_it_lives_and_can_accept() {
    let database = TestDatabase::new().await;
    let (address, stopping) = admin(store(&database), None);
    let alive = get(address, "/healthz", "").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok"));
    assert_eq!(get(address, "/readyz", "").await.status, 200);
    stopping.cancel();
    assert_eq!(get(address, "/readyz", "").await.status, 503);
    assert_eq!(get(address, "/healthz", "").await.status, 200);
    assert_eq!(get(address, "/hooks/sms", "").await.status, 404);
    assert_eq!(exchange(address, &request("POST", "/readyz", "", "")).await.status, 405);
}

#[tokio::test]
async fn without_a_database_it_lives_is_not_ready_and_still_counts() {
    let (address, _) = admin(no_store(), None);
    assert_eq!(get(address, "/healthz", "").await.status, 200);
    let begun = Instant::now();
    let ready = get(address, "/readyz", "").await;
    assert_eq!(ready.status, 503);
    assert!(begun.elapsed() < Duration::from_millis(1500));
    assert!(
        ready.body.contains("database") && !ready.body.contains("127.0.0.1"),
        "{}",
        ready.body
    );
    let metrics = get(address, "/metrics", "").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.head.contains("application/openmetrics-text"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
}

#[tokio::test]
async fn a_token_guards_everything_but_the_sign_of_life() {
    let database = TestDatabase::new().await;
    let (address, _) = admin(store(&database), Some("open sesame"));
    assert_eq!(get(address, "/healthz", "").await.status, 200);
    for path in ["/readyz", "/metrics", "/nothing"] {
        let right = get(address, path, "authorization: Bearer open sesame\r\n").await.status;
        assert_eq!(right, if path == "/nothing" { 404 } else { 200 });
        let wrong = [
            "",
            "authorization: Bearer open sesam\r\n",
            "authorization: Basic open sesame\r\n",
            "authorization: Bearer \r\n",
        ];
        for headers in wrong {
            let answer = get(address, path, headers).await;
            assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{path} {headers}");
            assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
        }
    }
}
