//! The client against servers that misbehave.

use super::client::{Answer, Failure};
use super::request::{Dispatch, Rendered, dispatch};
use super::*;

fn ready(spec: &HttpSpec) -> Dispatch {
    let rendered = Rendered::reuse_or_make(None, spec, "", KEY, &context(&job(), Utc::now())).unwrap();
    dispatch(spec, &rendered, KEY, None, Utc::now()).unwrap()
}

async fn send(spec: &HttpSpec) -> Result<Answer, Failure> {
    client(spec).send(ready(spec), spec.max_response_bytes, None).await
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = Server::playing(vec![say("200 OK", "", "")]).await;
    let location = format!("location: {}/trap\r\n", trap.origin());
    let server = Server::playing(vec![say("307 Elsewhere", &location, "")]).await;
    let answer = send(&spec(&server.origin())).await.ok().unwrap();
    assert_eq!(answer.status, 307);
    assert!(trap.heard().is_empty());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_the_limit() {
    let endless = format!(
        "HTTP/1.1 500 Oops\r\ncontent-length: 100000000\r\n\r\n{}",
        "x".repeat(100_000)
    );
    let server = Server::playing(vec![Play::Stall(endless)]).await;
    let answer = send(&spec(&server.origin())).await.ok().unwrap();
    assert_eq!(
        (answer.status, answer.body.len(), answer.complete),
        (500, 64 * 1024, false)
    );
}

#[tokio::test]
async fn a_success_whose_body_breaks_off_is_still_a_success() {
    let server = Server::playing(vec![Play::Say(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
    )])
    .await;
    let outcome = run(&Script::new(), &job(), &spec(&server.origin())).await;
    assert_eq!(outcome, Outcome::Done(json!({ "status": 200, "captures": {} })));
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_refused_and_nothing_is_sent() {
    let server = Server::playing(vec![say("200 OK", "", "")]).await;
    let mut spec = spec(&format!("http://localhost:{}", server.address.port()));
    spec.allow_private.clear();
    let script = Script::new();
    let Outcome::Discard(reason) = run(&script, &job(), &spec).await else {
        panic!("not refused")
    };
    assert!(
        reason.starts_with("`localhost` is or resolves to ") && reason.contains("allow_private"),
        "{reason}"
    );
    assert!(server.heard().is_empty());
    assert!(script.last()["sending"].is_null());
}

#[tokio::test]
async fn an_address_behind_us_is_refused_unless_it_is_listed() {
    for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let server = Server::playing(vec![say("200 OK", "", "")]).await;
        let mut spec = spec(&format!("http://{host}:{}", server.address.port()));
        spec.allow_private.clear();
        assert!(matches!(send(&spec).await, Err(Failure::Refused(_))), "{host}");
        assert!(server.heard().is_empty());
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_and_a_port_that_is_closed_are_certainly_not_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for origin in ["http://does-not-exist.invalid".to_owned(), format!("http://{closed}")] {
        assert!(
            matches!(send(&spec(&origin)).await, Err(Failure::NotSent(_))),
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_tls_handshake_that_fails_or_hangs_is_certainly_not_sent() {
    for play in [Play::Say("HTTP/1.1 400 Bad\r\n\r\n".to_owned()), Play::HangUp] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            if let Play::Say(answer) = play {
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let failure = send(&spec(&format!("https://{address}"))).await.err().unwrap();
        assert!(matches!(failure, Failure::NotSent(_)), "{failure:?}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = spec(&format!("https://{}", silent.local_addr().unwrap()));
    let kind = Kind {
        allowed: spec.allow_private.clone(),
        connections: Connections::Single,
        tls: true,
    };
    let impatient = Client::build(&kind, Duration::from_millis(50)).unwrap();
    let failure = impatient.send(ready(&spec), 0, None).await.err().unwrap();
    assert_eq!(failure, Failure::NotSent("no connection in time".to_owned()));
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_is_unknown() {
    let server = Server::playing(vec![Play::HangUp]).await;
    let failure = send(&spec(&server.origin())).await.err().unwrap();
    let Failure::Unknown(reason) = failure else {
        panic!("{failure:?}")
    };
    assert!(!reason.contains("/sms"), "{reason}");
}

#[tokio::test]
async fn plain_http_needs_to_be_allowed() {
    let mut spec = spec("http://127.0.0.1:9");
    spec.allow_http = false;
    let outcome = run(&Script::new(), &job(), &spec).await;
    assert!(matches!(outcome, Outcome::Discard(reason) if reason.contains("allow_http")));
}
