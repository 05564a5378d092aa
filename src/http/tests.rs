//! The accept loop and its connections, from outside: real sockets, clients that write bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::body::{self, BodyError};
use super::server::{self, Limits, Overload};

/// Short enough to wait for, long enough for a busy machine to be on time everywhere else.
const SHORT: Duration = Duration::from_millis(300);
/// What no test should need.
const FOREVER: Duration = Duration::from_mins(1);

const GENEROUS: Limits = Limits {
    max_connections: 2048,
    head_bytes: 16 * 1024,
    head_time: FOREVER,
    idle_time: FOREVER,
    body_bytes: 1000,
    body_time: FOREVER,
    drain_time: FOREVER,
};

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    done: JoinHandle<std::io::Result<()>>,
    /// Requests to `/held` announce themselves on the first and wait for a permit of the second.
    held: Arc<Semaphore>,
    release: Arc<Semaphore>,
}

impl Running {
    fn start(limits: Limits) -> Self {
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let held = Arc::new(Semaphore::new(0));
        let release = Arc::new(Semaphore::new(0));
        let router = router(limits, Arc::clone(&held), Arc::clone(&release));
        let done = tokio::spawn(server::serve(listener, router, limits, shutdown.clone()));
        Self {
            address,
            shutdown,
            done,
            held,
            release,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Writes `request` on a new connection and reads until the server closes.
    async fn exchange(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        rest(&mut client).await
    }

    /// A client with a request that is being answered.
    async fn in_flight(&self) -> TcpStream {
        let mut client = self.connect().await;
        client
            .write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        self.held.acquire().await.unwrap().forget();
        client
    }
}

fn router(limits: Limits, held: Arc<Semaphore>, release: Arc<Semaphore>) -> Router {
    let wait = async move |request: Request| {
        if request.extensions().get::<Overload>().is_some() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        held.add_permits(1);
        release.acquire().await.unwrap().forget();
        StatusCode::OK
    };
    let take = async move |request: Request| match body::read(request.into_body(), limits.body_bytes, limits.body_time)
        .await
    {
        Ok(body) => (StatusCode::OK, format!("{}", body.len())),
        Err(BodyError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, String::new()),
        Err(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, String::new()),
        Err(BodyError::Broken) => (StatusCode::BAD_REQUEST, String::new()),
    };
    Router::new()
        .route("/", get(async || "hello"))
        .route("/held", get(wait))
        .route("/take", post(take))
        .route("/panic", get(async || fail()))
        .route("/huge", get(async || Body::from(vec![b'x'; HUGE])))
}

fn fail() -> StatusCode {
    panic!("+15550001234 wrote us")
}

/// More than the buffers of two sockets hold.
const HUGE: usize = 64 * 1024 * 1024;

const HELLO: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const LAST_HELLO: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Everything up to the server's close.
async fn rest(client: &mut TcpStream) -> String {
    let mut all = Vec::new();
    tokio::time::timeout(FOREVER, client.read_to_end(&mut all))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(all).unwrap()
}

/// One response with a body of known length, leaving the connection where it is.
async fn response(client: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        seen.push(client.read_u8().await.unwrap());
        let text = std::str::from_utf8(&seen).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                return text.to_owned();
            }
        }
    }
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or("closed without a word")
}

#[tokio::test]
async fn a_head_that_does_not_end_is_told_408() {
    let server = Running::start(Limits {
        head_time: SHORT,
        ..GENEROUS
    });
    let answer = server.exchange("POST /take HTTP/1.1\r\nhost: x\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_that_drips_has_no_more_time_than_one_that_stops() {
    let server = Running::start(Limits {
        head_time: SHORT,
        ..GENEROUS
    });
    let (mut reading, mut writing) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        let mut pace = tokio::time::interval(SHORT / 6);
        while writing.write_all(b"G").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut answer = Vec::new();
    // The drops that arrive after the close may reset the connection, but not before the answer has been read.
    let _reset = reading.read_to_end(&mut answer).await;
    assert_eq!(status(&String::from_utf8(answer).unwrap()), "408");
    drip.abort();
}

#[tokio::test]
async fn a_connection_without_a_byte_is_closed_without_a_word() {
    let server = Running::start(Limits {
        head_time: SHORT,
        ..GENEROUS
    });
    assert_eq!(server.exchange("").await, "");
}

#[tokio::test]
async fn a_kept_connection_may_rest_longer_than_a_head_may_take() {
    let server = Running::start(Limits {
        head_time: SHORT,
        idle_time: SHORT * 4,
        ..GENEROUS
    });
    let mut client = server.connect().await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    response(&mut client).await;
    let begun = Instant::now();
    assert_eq!(rest(&mut client).await, "");
    let rested = begun.elapsed();
    assert!(rested >= SHORT * 4 && rested < SHORT * 7, "{rested:?}");
}

#[tokio::test]
async fn the_second_head_of_a_connection_is_timed_like_the_first() {
    let server = Running::start(Limits {
        head_time: SHORT,
        ..GENEROUS
    });
    let mut client = server.connect().await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    response(&mut client).await;
    client.write_all(b"GET / HT").await.unwrap();
    assert_eq!(status(&rest(&mut client).await), "408");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Running::start(GENEROUS);
    let take = |bytes: usize| {
        format!(
            "POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n{}",
            "x".repeat(bytes)
        )
    };
    let answers = server
        .exchange(&format!("{}{}{}{LAST_HELLO}", take(7), take(0), take(900)))
        .await;
    let bodies: Vec<_> = answers
        .split("\r\n\r\n")
        .skip(1)
        .map(|part| part.split("HTTP").next().unwrap())
        .collect();
    assert_eq!(bodies, ["7", "0", "900", "hello"]);
}

#[tokio::test]
async fn a_panic_is_one_answer_of_500_and_the_connection_lives() {
    let server = Running::start(GENEROUS);
    let mut client = server.connect().await;
    client
        .write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = response(&mut client).await;
    assert_eq!(status(&answer), "500");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    client.write_all(LAST_HELLO.as_bytes()).await.unwrap();
    assert_eq!(status(&rest(&mut client).await), "200");
}

#[tokio::test]
async fn headers_beyond_the_limit_are_told_431() {
    let server = Running::start(Limits {
        head_bytes: 4096,
        ..GENEROUS
    });
    let answer = server
        .exchange(&format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(5000)))
        .await;
    assert_eq!(status(&answer), "431");
    let many = "x: y\r\n".repeat(101);
    assert_eq!(
        status(
            &server
                .exchange(&format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"))
                .await
        ),
        "431"
    );
    assert_eq!(status(&server.exchange("nonsense\r\n\r\n").await), "400");
}

#[tokio::test]
async fn a_body_is_put_together_from_its_pieces() {
    let server = Running::start(GENEROUS);
    let mut client = server.connect().await;
    client.set_nodelay(true).unwrap();
    client
        .write_all(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 300\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..300 {
        client.write_all(b"x").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(response(&mut client).await.ends_with("\r\n\r\n300"));
    client
        .write_all(b"POST /take HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    client.write_all(b"3\r\nabc\r\n4\r\nabcd\r\n0\r\n\r\n").await.unwrap();
    assert!(response(&mut client).await.ends_with("\r\n\r\n7"));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_announced_or_not() {
    let server = Running::start(GENEROUS);
    for (bytes, expected) in [(1000, "200"), (1001, "413")] {
        let body = "x".repeat(bytes);
        let announced = format!("POST /take HTTP/1.1\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n{body}");
        assert_eq!(status(&server.exchange(&announced).await), expected);
        let chunked = format!(
            "POST /take HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(status(&server.exchange(&chunked).await), expected);
    }
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let server = Running::start(Limits {
        body_bytes: 4 * 1024 * 1024,
        ..GENEROUS
    });
    let mut client = server.connect().await;
    // More than the kernel buffers, so that the client is still sending when the answer comes.
    let length = 7 * 1024 * 1024;
    let head = format!("POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; length]).await.unwrap();
    assert_eq!(status(&rest(&mut client).await), "413");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_or_not_to() {
    let server = Running::start(GENEROUS);
    let head =
        |bytes| format!("POST /take HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {bytes}\r\n\r\n");
    let mut client = server.connect().await;
    client.write_all(head(3).as_bytes()).await.unwrap();
    assert_eq!(status(&response(&mut client).await), "100");
    client.write_all(b"abc").await.unwrap();
    assert!(response(&mut client).await.ends_with("\r\n\r\n3"));
    assert_eq!(status(&server.exchange(&head(5000)).await), "413");
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off_in_the_end() {
    let server = Running::start(Limits {
        body_time: SHORT,
        ..GENEROUS
    });
    let (mut reading, mut writing) = server.connect().await.into_split();
    writing
        .write_all(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        .await
        .unwrap();
    let drip = tokio::spawn(async move {
        let mut pace = tokio::time::interval(SHORT / 6);
        while writing.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    });
    let mut answer = Vec::new();
    let _reset = reading.read_to_end(&mut answer).await;
    assert_eq!(status(&String::from_utf8(answer).unwrap()), "408");
    drip.abort();
}

#[tokio::test]
async fn a_client_that_hangs_up_between_requests_is_let_go() {
    let server = Running::start(GENEROUS);
    let mut client = server.connect().await;
    client.write_all(HELLO.as_bytes()).await.unwrap();
    response(&mut client).await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_is_answered() {
    let server = Running::start(GENEROUS);
    let mut client = server.in_flight().await;
    client.shutdown().await.unwrap();
    // Another round trip, after which the server has seen the first client's close.
    server.exchange(LAST_HELLO).await;
    server.release.add_permits(1);
    assert_eq!(status(&rest(&mut client).await), "200");
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_and_not_a_shorter_body() {
    let server = Running::start(GENEROUS);
    let mut client = server.connect().await;
    client
        .write_all(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    assert_ne!(status(&rest(&mut client).await), "200");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let server = Running::start(Limits {
        body_time: SHORT,
        max_connections: 1,
        ..GENEROUS
    });
    let mut client = server.connect().await;
    client
        .write_all(b"GET /huge HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    client.read_u8().await.unwrap();
    server.shutdown.cancel();
    let begun = Instant::now();
    server.done.await.unwrap().unwrap();
    assert!(begun.elapsed() < GENEROUS.drain_time / 2);
    let mut partial = Vec::new();
    let _reset = client.read_to_end(&mut partial).await;
    assert!(partial.len() < HUGE);
}

#[tokio::test]
async fn a_thousand_slow_clients_do_not_disturb_a_fast_one() {
    server::raise_open_files();
    let server = Running::start(GENEROUS);
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut client = server.connect().await;
        let begun: &[u8] = match n % 3 {
            0 => b"",
            1 => b"POST /take HTTP/1.1\r\nhost: x\r\nconten",
            _ => b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nx",
        };
        client.write_all(begun).await.unwrap();
        slow.push(client);
    }
    let drip = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            for client in &mut slow {
                client.write_all(b"x").await.unwrap();
            }
        }
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        assert_eq!(status(&server.exchange(LAST_HELLO).await), "200");
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    assert!(!drip.is_finished(), "the server gave up on a slow client too early");
    drip.abort();
}

#[tokio::test]
async fn beyond_the_limit_a_connection_is_told_so_and_beyond_that_it_waits() {
    let server = Running::start(Limits {
        max_connections: 8,
        ..GENEROUS
    });
    let mut first = server.in_flight().await;
    let mut others = Vec::new();
    for _ in 1..8 {
        others.push(server.in_flight().await);
    }
    let refused = server.exchange("GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status(&refused), "503");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    // Takes the only place for a refusal, without a word.
    let _silent = server.connect().await;
    let mut waiting = server.connect().await;
    waiting.write_all(HELLO.as_bytes()).await.unwrap();
    server.release.add_permits(1);
    // A crowded server keeps no connection alive, so the first client's place is free once it is answered.
    assert!(rest(&mut first).await.contains("connection: close\r\n"));
    drop(first);
    assert_eq!(status(&response(&mut waiting).await), "200");
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight_and_closes_what_rests() {
    let server = Running::start(GENEROUS);
    let mut resting = server.connect().await;
    resting.write_all(HELLO.as_bytes()).await.unwrap();
    response(&mut resting).await;
    let mut busy = server.in_flight().await;
    server.shutdown.cancel();
    assert_eq!(rest(&mut resting).await, "");
    assert!(!server.done.is_finished());
    server.release.add_permits(1);
    let answer = rest(&mut busy).await;
    assert_eq!(status(&answer), "200");
    server.done.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_ends_with_its_grace() {
    let server = Running::start(Limits {
        drain_time: SHORT,
        ..GENEROUS
    });
    let mut stuck = server.in_flight().await;
    server.shutdown.cancel();
    server.done.await.unwrap().unwrap();
    assert_eq!(rest(&mut stuck).await, "");
}
