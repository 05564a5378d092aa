//! A stand-in for the REST API of a gateway: it hears what a reply would have asked the gateway for, and answers as the
//! gateway's file says.
//!
//! For rehearsals on this machine (`smshook phone`). It must not know what is asked for, and it calls nobody: whoever listens
//! to it reports back to the service.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::body;
use super::server::{self, Limits};

/// What stands for the ID of a reply in an answer.
const REPLY_ID: &str = "{reply_id}";
/// A request from this machine is there at once.
const BODY_TIME: Duration = Duration::from_secs(10);

/// One request that the API knows.
#[derive(Clone, Debug)]
pub struct StandInRoute {
    /// What [`Heard::route`] says.
    pub name: String,
    /// Its method.
    pub method: Method,
    /// Its path, whole.
    pub path: String,
    /// The status of the answer.
    pub status: StatusCode,
    /// The content type of the answer.
    pub content_type: &'static str,
    /// The answer; `{reply_id}` in it becomes the reply's ID.
    pub answer: String,
}

/// A request as it came, and what was answered.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The route that it took; `None` if the API knows no such request.
    pub route: Option<String>,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query.
    pub query: Option<String>,
    /// The `Idempotency-Key` that came with it.
    pub key: Option<String>,
    /// Its body.
    pub body: Bytes,
    /// When it was answered.
    pub at: DateTime<Utc>,
    /// The status that it was answered with.
    pub status: StatusCode,
    /// The ID that the reply was given.
    pub reply_id: String,
}

struct StandIn {
    routes: Vec<StandInRoute>,
    heard: UnboundedSender<Heard>,
}

/// Serves the stand-in until `shutdown`, and says to `heard` what was asked. A request that the API does not know is
/// answered 404, one of a known path with another method 405.
///
/// # Errors
/// See [`super::serve_public`].
pub async fn serve_stand_in(
    listener: TcpListener,
    routes: Vec<StandInRoute>,
    heard: UnboundedSender<Heard>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let limits = Limits {
        max_connections: 256,
        ..Limits::default()
    };
    let api = Router::new()
        .fallback(hear)
        .with_state(Arc::new(StandIn { routes, heard }));
    server::serve(listener, api, limits, shutdown).await
}

async fn hear(State(stand_in): State<Arc<StandIn>>, request: Request) -> Response {
    let (asked, body) = request.into_parts();
    let Ok(body) = body::read(body, Limits::default().body_bytes, BODY_TIME).await else {
        return answered(StatusCode::BAD_REQUEST, "text/plain", String::new());
    };
    let path = asked.uri.path();
    let mut known = stand_in.routes.iter().filter(|route| route.path == path).peekable();
    let missing = if known.peek().is_some() {
        StatusCode::METHOD_NOT_ALLOWED
    } else {
        StatusCode::NOT_FOUND
    };
    let route = known.find(|route| route.method == asked.method);
    let key = asked.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let reply_id = Uuid::now_v7().simple().to_string();
    let response = match route {
        Some(route) => answered(
            route.status,
            route.content_type,
            route.answer.replace(REPLY_ID, &reply_id),
        ),
        None => answered(missing, "text/plain", String::new()),
    };
    let heard = Heard {
        route: route.map(|route| route.name.clone()),
        method: asked.method.clone(),
        path: path.to_owned(),
        query: asked.uri.query().map(str::to_owned),
        key: key.map(str::to_owned),
        body,
        at: Utc::now(),
        status: response.status(),
        reply_id,
    };
    if stand_in.heard.send(heard).is_err() {
        tracing::debug!(target: "smshook::http", "nobody listens to the stand-in any more");
    }
    response
}

fn answered(status: StatusCode, content_type: &'static str, answer: String) -> Response {
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_the_api_knows_is_answered_with_an_id_and_everything_is_heard() {
        let listener = server::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let route = StandInRoute {
            name: "main".to_owned(),
            method: Method::POST,
            path: "/v1/messages".to_owned(),
            status: StatusCode::ACCEPTED,
            content_type: "application/json",
            answer: r#"{"id":"{reply_id}"}"#.to_owned(),
        };
        let (ear, mut received) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve_stand_in(listener, vec![route], ear, stop.clone()));
        let tail = "HTTP/1.1\r\nhost: a\r\nidempotency-key: key-1\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let mut answers = Vec::new();
        for line in ["POST /v1/messages?a=b", "PUT /v1/messages", "POST /v2/messages"] {
            answers.push(ask(address, &format!("{line} {tail}")).await);
        }
        let heard: Vec<Heard> = [received.recv().await, received.recv().await, received.recv().await]
            .into_iter()
            .flatten()
            .collect();
        assert!(answers[0].starts_with("HTTP/1.1 202 ") && answers[0].contains("content-type: application/json\r\n"));
        assert!(answers[0].ends_with(&format!(r#"{{"id":"{}"}}"#, heard[0].reply_id)));
        assert!(answers[1].starts_with("HTTP/1.1 405 ") && answers[2].starts_with("HTTP/1.1 404 "));
        assert_eq!(
            (heard[0].route.as_deref(), heard[0].query.as_deref()),
            (Some("main"), Some("a=b"))
        );
        assert_eq!(
            (&heard[0].body[..], heard[0].key.as_deref()),
            (&b"hi"[..], Some("key-1"))
        );
        assert!(heard[1].route.is_none() && heard[2].route.is_none());
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
