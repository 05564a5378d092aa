//! The last look: asked when the connection stands, held until the request is written, and nothing is written without it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::oneshot;

use super::super::look::Finding;
use super::client::{Answer, Failure};
use super::request::{Dispatch, Rendered, dispatch};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn ready(origin: &str) -> Dispatch {
    let spec = spec(origin);
    let rendered = Rendered::reuse_or_make(None, &spec, "", KEY, &context(&job(), Utc::now())).unwrap();
    dispatch(&spec, &rendered, KEY, None, Utc::now()).unwrap()
}

/// Larger than what two sockets keep for each other.
fn huge(origin: &str) -> Dispatch {
    Dispatch {
        body: Some("x".repeat(16 << 20)),
        ..ready(origin)
    }
}

fn without_body(origin: &str) -> Dispatch {
    Dispatch {
        method: ::http::Method::GET,
        body: None,
        ..ready(origin)
    }
}

async fn send(origin: &str, request: Dispatch, look: Option<&Arc<Look>>) -> Result<Answer, Failure> {
    let client = client_with(&spec(origin), Connections::SingleAfterLook);
    client.send(request, 1024, look).await
}

/// A look that is clear since `since`; the receiver ends when it is held no longer.
fn clear_since(since: Instant) -> (Arc<Look>, oneshot::Receiver<()>) {
    let (held, released) = oneshot::channel::<()>();
    let finding = Finding::Clear {
        held: Box::new(held),
        since,
    };
    (Look::new(Box::pin(async { Ok(finding) })), released)
}

async fn has_ended(released: oneshot::Receiver<()>) {
    let ended = tokio::time::timeout(PATIENCE, released).await;
    assert!(ended.expect("it is held on").is_err());
}

/// A peer that accepts, and the origin to reach it by.
async fn peer() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    (listener, origin)
}

/// Everything that one connection brings.
async fn all_of_one(listener: TcpListener) -> Vec<u8> {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn nothing_is_written_without_a_look_that_is_clear_and_fresh() {
    let suppressed: Arc<Look> = Look::new(Box::pin(async { Ok(Finding::Suppressed) }));
    let failed: Arc<Look> = Look::new(Box::pin(async { Err("no".to_owned()) }));
    let stale = clear_since(Instant::now().checked_sub(Duration::from_millis(251)).unwrap()).0;
    for (name, look, reason) in [
        ("none", None, "a text without a last look; this is a bug in smshook"),
        ("suppressed", Some(&suppressed), "the sender has opted out"),
        ("failed", Some(&failed), "the last look at opt-outs failed: no"),
        (
            "asked before",
            Some(&failed),
            "a text without a last look; this is a bug in smshook",
        ),
        (
            "stale",
            Some(&stale),
            "the process stood still between the last look at opt-outs and the sending",
        ),
    ] {
        let (listener, origin) = peer().await;
        let heard = tokio::spawn(all_of_one(listener));
        let failure = send(&origin, ready(&origin), look).await.err();
        assert_eq!(failure, Some(Failure::NotSent(reason.to_owned())), "{name}");
        if name == "none" {
            heard.abort();
        } else {
            assert_eq!(heard.await.unwrap(), b"", "{name}");
        }
    }
    assert!(suppressed.found_suppressed() && !failed.found_suppressed() && !stale.found_suppressed());
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_waited_for_and_then_nothing_is_written() {
    let (listener, origin) = peer().await;
    let heard = tokio::spawn(all_of_one(listener));
    let began = Instant::now();
    let silent = Look::new(Box::pin(std::future::pending()));
    let failure = send(&origin, ready(&origin), Some(&silent)).await.err().unwrap();
    assert!(began.elapsed() >= super::super::look::ANSWER);
    assert!(matches!(failure, Failure::NotSent(error) if error.ends_with("did not answer in time")));
    assert_eq!(heard.await.unwrap(), b"");
}

#[tokio::test]
async fn the_look_is_taken_when_the_connection_stands_and_for_each_request_anew() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = || {
        let looks = Arc::clone(&looks);
        Look::new(Box::pin(async move {
            looks.fetch_add(1, Ordering::SeqCst);
            Ok(Finding::Clear {
                held: Box::new(()),
                since: Instant::now(),
            })
        }))
    };
    // no connection: nobody listens, or the TLS handshake fails
    let closed = {
        let (listener, origin) = peer().await;
        drop(listener);
        origin
    };
    let (hangs_up, plain) = peer().await;
    tokio::spawn(async move { drop(hangs_up.accept().await.unwrap()) });
    for origin in [closed, plain.replace("http:", "https:")] {
        let failure = send(&origin, ready(&origin), Some(&counted())).await.err().unwrap();
        assert!(matches!(failure, Failure::NotSent(_)), "{failure:?}");
    }
    assert_eq!(looks.load(Ordering::SeqCst), 0);
    // a server that would keep the connection
    let answer = Play::Stall("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned());
    let server = Server::playing(vec![answer; 3]).await;
    for taken in 1..=3 {
        let answer = send(&server.origin(), ready(&server.origin()), Some(&counted())).await;
        assert_eq!(
            (answer.ok().unwrap().status, looks.load(Ordering::SeqCst)),
            (202, taken)
        );
    }
}

#[tokio::test]
async fn the_hold_lasts_until_the_kernel_has_the_last_byte_and_not_until_the_answer() {
    let (listener, origin) = peer().await;
    let (look, mut released) = clear_since(Instant::now());
    let sending = tokio::spawn({
        let origin = origin.clone();
        async move { send(&origin, huge(&origin), Some(&look)).await }
    });
    let (mut socket, _) = listener.accept().await.unwrap();
    // the first bytes are there, the last ones do not fit
    let mut first = [0; 1024];
    socket.read_exact(&mut first).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert_eq!(released.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    }
    let mut buffer = vec![0; 1 << 20];
    let reading = tokio::spawn(async move { while socket.read(&mut buffer).await.unwrap() > 0 {} });
    has_ended(released).await;
    assert!(!sending.is_finished(), "nobody has answered");
    sending.abort();
    reading.await.unwrap();
}

#[tokio::test]
async fn a_request_without_a_body_does_not_hold_until_the_answer_either() {
    let (listener, origin) = peer().await;
    let (look, released) = clear_since(Instant::now());
    let sending = tokio::spawn({
        let origin = origin.clone();
        async move { send(&origin, without_body(&origin), Some(&look)).await }
    });
    let (mut socket, _) = listener.accept().await.unwrap();
    let head = read_request(&mut socket).await;
    assert!(head.starts_with("GET /sms HTTP/1.1\r\n"), "{head}");
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
    has_ended(released).await;
    assert!(!sending.is_finished(), "nobody has answered");
}

#[tokio::test]
async fn an_attempt_that_is_given_up_holds_nothing() {
    for request in [huge, without_body] {
        let (listener, origin) = peer().await;
        let (look, released) = clear_since(Instant::now());
        let sending = tokio::spawn({
            let request = request(&origin);
            async move { send(&origin, request, Some(&look)).await }
        });
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 16]).await.unwrap();
        sending.abort();
        has_ended(released).await;
    }
}

#[tokio::test]
async fn the_head_and_the_body_are_those_of_any_other_request() {
    let usual = Server::playing(vec![say("202 Accepted", "", "")]).await;
    let looked = Server::playing(vec![say("202 Accepted", "", "")]).await;
    let request = || ready("http://127.0.0.1:9");
    let to = |server: &Server| {
        let mut url = request().url;
        url.set_port(Some(server.address.port())).unwrap();
        Dispatch { url, ..request() }
    };
    let client = client(&spec(&usual.origin()));
    client.send(to(&usual), 1024, None).await.ok().unwrap();
    let (look, released) = clear_since(Instant::now());
    send(&looked.origin(), to(&looked), Some(&look)).await.ok().unwrap();
    has_ended(released).await;
    let known = |server: &Server| {
        let heard = server.heard().remove(0).replace(&server.address.to_string(), "host");
        let mut lines: Vec<String> = heard.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // the times within differ
    assert_eq!(known(&usual).len(), known(&looked).len());
    for (usual, looked) in known(&usual).iter().zip(&known(&looked)) {
        assert!(
            usual == looked || (usual.starts_with('{') && usual.len() == looked.len()),
            "{usual} / {looked}"
        );
    }
}
