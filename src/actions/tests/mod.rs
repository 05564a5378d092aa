//! The room's tests: real sockets, a scripted journal, no database.

mod email;
mod http;
mod look;
mod reply;
mod transport;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use uuid::Uuid;

use super::client::{CONNECT, Client, Connections, Kind};
use super::look::{Finding, Look};
use super::progress::Journal;
use super::*;
use crate::config::action::{BodySpec, HeaderSource, StatusSet};
use crate::job::JobMessage;
use crate::store::{Report, SendGate};
use crate::template::Tree;

/// What the scripted server does with one request, once it has read it whole.
#[derive(Clone)]
enum Play {
    /// Sends these bytes and closes.
    Say(String),
    /// Sends these bytes and then nothing more, without closing.
    Stall(String),
    /// Closes without a word.
    HangUp,
}

/// An answer with this status line, headers (each with its line break) and body.
fn say(status: &str, headers: &str, body: &str) -> Play {
    let length = body.len();
    Play::Say(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

/// A server on loopback that plays its script, one entry per connection, and keeps what it was sent.
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    something: Arc<Notify>,
}

impl Server {
    async fn playing(script: Vec<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let something = Arc::new(Notify::new());
        let (ears, rang) = (Arc::clone(&heard), Arc::clone(&something));
        tokio::spawn(async move {
            let mut stalled = Vec::new();
            for play in script {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                ears.lock().unwrap().push(request);
                rang.notify_one();
                match play {
                    Play::Say(answer) => socket.write_all(answer.as_bytes()).await.unwrap(),
                    Play::Stall(answer) => {
                        socket.write_all(answer.as_bytes()).await.unwrap();
                        stalled.push(socket);
                    }
                    Play::HangUp => drop(socket),
                }
            }
            std::future::pending::<()>().await;
        });
        Self {
            address,
            heard,
            something,
        }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// One request's bytes: head and as much body as `content-length` says.
async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match socket.read(&mut buffer).await.unwrap() {
            0 => return text,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// A journal that remembers what was saved and answers as told.
#[derive(Clone)]
pub(super) struct Script {
    saved: Arc<Mutex<Vec<Value>>>,
    gate: SendGate,
    lease_lost: bool,
    event: Option<String>,
    look: LookAnswer,
}

/// What the last look is told.
#[derive(Clone, Copy)]
enum LookAnswer {
    Clear,
    Suppressed,
    Broken,
}

impl Script {
    fn new() -> Self {
        Self {
            saved: Arc::default(),
            gate: clear(),
            lease_lost: false,
            event: None,
            look: LookAnswer::Clear,
        }
    }

    fn saved(&self) -> Vec<Value> {
        self.saved.lock().unwrap().clone()
    }

    /// What the job's row holds after all that: what the next attempt finds.
    fn last(&self) -> Value {
        self.saved().pop().unwrap_or_default()
    }

    fn journal(&self) -> Journal {
        Journal::Scripted(self.clone())
    }

    pub(super) fn save(&self, progress: &Value) -> bool {
        if !self.lease_lost {
            self.saved.lock().unwrap().push(progress.clone());
        }
        !self.lease_lost
    }

    pub(super) fn begin_send(&self, progress: &Value) -> SendGate {
        if self.gate == clear() {
            self.save(progress);
        }
        self.gate.clone()
    }

    pub(super) fn last_look(&self) -> Arc<Look> {
        let answer = match self.look {
            LookAnswer::Clear => Ok(Finding::Clear {
                held: Box::new(()),
                since: std::time::Instant::now(),
            }),
            LookAnswer::Suppressed => Ok(Finding::Suppressed),
            LookAnswer::Broken => Err("the table is gone".to_owned()),
        };
        Look::new(Box::pin(async { answer }))
    }

    pub(super) fn report_on(&self, reference: &str) -> Option<Report> {
        assert_eq!(reference, KEY);
        self.event.clone().map(|kind| Report {
            kind,
            state: None,
            error: None,
        })
    }
}

fn clear() -> SendGate {
    SendGate::Clear {
        group: "main".to_owned(),
        again: false,
    }
}

/// The operation key of [`job`].
const KEY: &str = "smshook-018d5f5e000070008000000000000001-7";
const TEXT: &str = "it's \"broken\"\nö {{ 1 + 1 }}";

fn job() -> Job {
    Job {
        id: 7,
        claim: 1,
        attempt: 1,
        kind: JobKind::Action,
        action: "crm".to_owned(),
        rule: Some("everything".to_owned()),
        captures: json!({ "1": "42", "name": "Ann" }),
        results: Value::Null,
        progress: Value::Null,
        expires_at: None,
        claimed_at: "2026-01-31T12:00:00Z".parse().unwrap(),
        created_at: "2026-01-31T11:59:59Z".parse().unwrap(),
        message: JobMessage {
            consent_event: None,
            consent_keyword: None,
            consent_language: None,
            id: Uuid::parse_str("018d5f5e-0000-7000-8000-000000000001").unwrap(),
            endpoint: "main".to_owned(),
            message_id: None,
            conversation_id: Uuid::nil(),
            sender: "+14155550100".to_owned(),
            sender_raw: "14155550100".to_owned(),
            sender_answerable: true,
            recipient: "+14155550199".to_owned(),
            recipient_raw: "14155550199".to_owned(),
            text: TEXT.to_owned(),
            sent_at: None,
            received_at: "2026-01-31T11:59:59Z".parse().unwrap(),
            reference: None,
            device_id: Some("dev_1".to_owned()),
            tenant_name: None,
            media: Value::Null,
            missing_parts: 0,
            verified: true,
            duplicates: 0,
            gateway_rules: Vec::new(),
        },
    }
}

/// The next attempt of a job that left this progress.
fn next_attempt(job: &Job, progress: Value) -> Job {
    Job {
        attempt: job.attempt + 1,
        claim: job.claim + 1,
        progress,
        ..job.clone()
    }
}

/// `POST {origin}/sms` with a JSON body and a secret header, allowed to reach loopback.
fn spec(origin: &str) -> HttpSpec {
    HttpSpec {
        method: ::http::Method::POST,
        url: Template::compile_url(&format!("{origin}/sms")).unwrap(),
        origin: origin.parse().unwrap(),
        query: Vec::new(),
        headers: vec![(
            ::http::header::AUTHORIZATION,
            HeaderSource::Secret {
                prefix: "Bearer ".to_owned(),
                secret: SECRET.into(),
            },
        )],
        body: BodySpec::Json(
            Tree::compile(&json!({ "from": "{{ sender }}", "text": "{{ text }}", "at": "{{ now }}" })).unwrap(),
        ),
        sign: None,
        success: StatusSet::success(),
        retry: StatusSet::passing(),
        require: BTreeMap::new(),
        capture: Vec::new(),
        error_pointer: None,
        on_unknown: OnUnknown::Resend,
        max_response_bytes: 64 * 1024,
        allow_private: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
        secret_url: None,
        is_operation: false,
    }
}

const SECRET: &str = "sk_live_hunter2";

/// A client for `spec`.
fn client(spec: &HttpSpec) -> Client {
    client_with(spec, Connections::Single)
}

/// They are shared, because reading the root certificates anew for each would be most of a test.
fn client_with(spec: &HttpSpec, connections: Connections) -> Client {
    static BUILT: Mutex<BTreeMap<Kind, Client>> = Mutex::new(BTreeMap::new());
    let tls = spec.origin.scheme() == "https";
    let kind = Kind {
        allowed: spec.allow_private.clone(),
        connections,
        tls,
    };
    let build = || Client::build(&kind, CONNECT).unwrap();
    BUILT.lock().unwrap().entry(kind.clone()).or_insert_with(build).clone()
}

/// Runs one attempt of the http action.
async fn run(script: &Script, job: &Job, spec: &HttpSpec) -> Outcome {
    super::http::run(&script.journal(), &client(spec), job, spec).await
}
