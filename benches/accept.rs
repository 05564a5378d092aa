//! Durable accepts per second through the real HTTP listener, against `pgbench` inserting the same rows into the same server.
//!
//! `cargo bench --bench accept` runs it: rounds of ours and pgbench's in turn on one durable private server, and the ratio of
//! their medians, since absolute figures say more about the machine than about the code. One accept is a signed POST of a
//! new message whose plan has two jobs, answered 200 after its commit, over kept-alive connections. It must not be quoted
//! as an absolute figure.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a benchmark may fail loudly and prints its figures"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use smshook::config::{self, Source};
use smshook::embedded_postgres::{EmbeddedPostgres, Settings, ensure_database};
use smshook::http::{self, Limits, WebhookState};
use smshook::metrics::Metrics;
use smshook::store::{Acceptor, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(5);
const SECRET: &str = "benchmark-secret";
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One transaction with the rows of one accept: prepared, one round trip, every index and constraint of the real tables.
const REFERENCE: &str = "\
WITH m AS (
    INSERT INTO smshook.messages (id, endpoint, dedupe_key, conversation_id, sender, sender_raw, sender_answerable, recipient,
        recipient_raw, text, sent_at, rule, device_id, tenant_id, tenant_name, raw)
    VALUES (gen_random_uuid(), 'main', sha256(gen_random_uuid()::text::bytea), gen_random_uuid(), '+15551230001', '15551230001',
        true, '+15559990000', '15559990000', 'I would like to know more about the red one, please', now(), 'everything',
        'dev_9f2c1b7a', 'ten_4410', 'Acme', convert_to(repeat('x', 320), 'UTF8'))
    RETURNING id)
INSERT INTO smshook.jobs (message_id, state, kind, action, rule, lane)
SELECT id, 'available', 'action', action, 'everything', (random() * 9e18)::int8 FROM m, (VALUES ('first'), ('second')) a (action);
";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(compare());
}

async fn compare() {
    // On a real disk beside the build, not in a memory file system: the fsync is a part of what is measured.
    let directory = tempfile::Builder::new()
        .prefix("accept-")
        .tempdir_in(bench_root())
        .unwrap();
    let root = smshook::embedded_postgres::default_root(directory.path()).unwrap();
    let settings = Settings {
        parameters: vec![("max_connections".into(), "200".into())],
        ..Settings::new(&root)
    };
    let server = tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&settings))
        .await
        .unwrap()
        .unwrap();
    ensure_database(&server.connect_options("postgres"), "bench")
        .await
        .unwrap();
    // The clients have threads of their own, as pgbench has.
    let clients = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let (address, listening) = listen(&server, configuration(directory.path()), stop.clone()).await;
    let script = directory.path().join("reference.sql");
    std::fs::write(&script, REFERENCE).unwrap();
    let (mut ours, mut theirs, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    clients.spawn(load(address, Duration::from_secs(1))).await.unwrap();
    for _ in 0..ROUNDS {
        let (accepts, latencies) = clients.spawn(load(address, ROUND)).await.unwrap();
        ours.push(accepts);
        p99.push(percentile(latencies, 0.99));
        theirs.push(pgbench(&server, &script));
    }
    let (mine, (reference, reference_ms)) = (median(ours.clone()), median_pair(theirs.clone()));
    println!(
        "{CONNECTIONS} connections, {ROUNDS} rounds of {} s in turn, message and 2 jobs per accept",
        ROUND.as_secs()
    );
    println!("smshook   {mine:>8.0} accepts/s   {ours:.0?}");
    println!(
        "pgbench   {reference:>8.0} transactions/s   {:.0?}",
        theirs.iter().map(|t| t.0).collect::<Vec<_>>()
    );
    println!("ratio     {:>8.2} x", mine / reference);
    println!(
        "p99       {:>8.2} ms, pgbench's average {reference_ms:.2} ms: {:.2} x",
        median(p99.clone()),
        median(p99) / reference_ms
    );
    clients.shutdown_background();
    stop.cancel();
    listening.await.unwrap();
    tokio::task::spawn_blocking(move || server.stop(Duration::from_secs(30)))
        .await
        .unwrap()
        .unwrap();
    // Root's servers may live outside the temporary directory, where their account can enter.
    if root.exists() {
        std::fs::remove_dir_all(root).unwrap();
    }
}

/// The real listener, receive path and batch writer. No worker: the reference runs no jobs either.
async fn listen(
    server: &EmbeddedPostgres,
    config: config::Config,
    stop: CancellationToken,
) -> (SocketAddr, JoinHandle<()>) {
    let (config, metrics) = (Arc::new(config), Arc::new(Metrics::new()));
    let store = Store::new(server.connect_options("bench"), config.database.max_connections);
    store.migrate().await.unwrap();
    let acceptor = Acceptor::start(&store, config.server.accept_deadline, &metrics).unwrap();
    let listener = http::bind(config.server.listen).unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits::from(&config.server);
    let state = Arc::new(WebhookState::new(config, acceptor, metrics));
    let listening = tokio::spawn(async move {
        http::serve_public(listener, state, limits, stop).await.unwrap();
        store.close().await;
    });
    (address, listening)
}

fn bench_root() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf();
    std::fs::create_dir_all(&root).unwrap();
    root
}

fn configuration(directory: &Path) -> config::Config {
    let file = directory.join("config.toml");
    let text = format!(
        r#"
        data_dir = "{}"
        [server]
        listen = "127.0.0.1:0"
        [[endpoint]]
        name = "main"
        path = "/hooks/sms"
        gateway = "mobile-api-connect"
        secrets = ["{SECRET}"]
        [action.first]
        log = {{ message = "first" }}
        [action.second]
        log = {{ message = "second" }}
        [[rule]]
        name = "everything"
        any = true
        actions = ["first", "second"]
        "#,
        directory.display()
    );
    std::fs::write(&file, text).unwrap();
    config::load(&Source::File(file), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

/// Accepts per second and each request's latency in milliseconds.
async fn load(address: SocketAddr, time: Duration) -> (f64, Vec<f64>) {
    let started = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(client(address, started + time)))
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    (latencies.len() as f64 / started.elapsed().as_secs_f64(), latencies)
}

async fn client(address: SocketAddr, until: Instant) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::new();
    let mut answer = vec![0; 4096];
    while Instant::now() < until {
        let request = signed_request(NEXT.fetch_add(1, Ordering::Relaxed));
        let started = Instant::now();
        stream.write_all(&request).await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        latencies.push(started.elapsed().as_secs_f64() * 1e3);
        assert!(
            answer[..read].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..read])
        );
    }
    latencies
}

fn signed_request(n: u64) -> Vec<u8> {
    let body = format!(
        r#"{{"event":"message.received","from":"1555{n:07}","to":"15559990000","text":"I would like to know more about the red one, please","ref":null,"receivedAt":"2026-11-20T10:15:{:02}.000Z","deviceId":"dev_9f2c1b7a","tenantId":"ten_4410","tenantName":"Acme"}}"#,
        n % 60
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    format!(
        "POST /hooks/sms HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-mac-signature: sha256={signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Transactions per second and average latency in milliseconds.
fn pgbench(server: &EmbeddedPostgres, script: &Path) -> (f64, f64) {
    let program = std::env::var_os("PG_BIN_DIR").map_or_else(newest_pgbench, |dir| PathBuf::from(dir).join("pgbench"));
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={CONNECTIONS}"))
        .arg(format!("--time={}", ROUND.as_secs()))
        .arg(format!("--file={}", script.display()))
        .arg(server.url("bench"))
        .output()
        .expect("pgbench comes with the Postgres server programs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let figure = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{text}"));
        line.split('=')
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    (figure("tps"), figure("latency average"))
}

fn newest_pgbench() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/pgbench"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("pgbench"))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn median_pair(mut figures: Vec<(f64, f64)>) -> (f64, f64) {
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    figures[figures.len() / 2]
}

fn percentile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[((figures.len() - 1) as f64 * share) as usize]
}
