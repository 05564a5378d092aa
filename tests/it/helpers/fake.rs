//! An outside system that counts: it records every request and answers by script.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

/// How to answer one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This status, headers and body.
    Now(u16, Vec<(&'static str, String)>, String),
    /// Nothing, until the test lets it go on; then 200.
    Hold,
    /// Nothing, until the test lets it go on; then 202 with this body.
    HoldThen(String),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Who is being served, by the `lane` that requests name: the most at once, ever.
#[derive(Default)]
struct Lanes {
    now: HashMap<String, usize>,
    most: usize,
}

#[derive(Default)]
struct Inner {
    lanes: Mutex<Lanes>,
    asked: Mutex<Vec<Asked>>,
    script: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Option<Answer>>,
    came: Notify,
}

/// The system; it ends with the test.
#[derive(Clone)]
pub(crate) struct Fake {
    address: SocketAddr,
    inner: Arc<Inner>,
    /// Each permit lets one held request go on.
    release: Arc<Semaphore>,
}

impl Fake {
    /// Starts one that answers 202 as Mobile API Connect does.
    pub(crate) async fn start() -> Self {
        Self::on(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// As [`Fake::start`], on a listener of the test's: so that it can be away at first.
    pub(crate) fn on(listener: tokio::net::TcpListener) -> Self {
        let fake = Self {
            address: listener.local_addr().unwrap(),
            inner: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests so, in order.
    pub(crate) fn then(&self, answer: Answer) {
        self.inner.script.lock().unwrap().push_back(answer);
    }

    /// Answers every request so that no script covers.
    pub(crate) fn always(&self, answer: Answer) {
        *self.inner.otherwise.lock().unwrap() = Some(answer);
    }

    pub(crate) fn status(status: u16) -> Answer {
        Answer::Now(status, vec![], "{}".to_owned())
    }

    /// Lets held requests go on.
    pub(crate) fn release(&self, requests: usize) {
        self.release.add_permits(requests);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inner.asked.lock().unwrap().clone()
    }

    /// The most requests that any one lane (`lane` in the body) ever had in flight.
    pub(crate) fn most_at_once_in_a_lane(&self) -> usize {
        self.inner.lanes.lock().unwrap().most
    }

    fn enter(&self, lane: &str) {
        let mut lanes = self.inner.lanes.lock().unwrap();
        let now = lanes.now.entry(lane.to_owned()).or_default();
        *now += 1;
        let now = *now;
        lanes.most = lanes.most.max(now);
    }

    fn leave(&self, lane: &str) {
        *self.inner.lanes.lock().unwrap().now.get_mut(lane).unwrap() -= 1;
    }

    /// Waits until at least so many requests came.
    pub(crate) async fn came(&self, requests: usize) {
        let waiting = async {
            loop {
                let came = self.inner.came.notified();
                if self.asked().len() >= requests {
                    return;
                }
                came.await;
            }
        };
        let patience = tokio::time::timeout(super::PATIENCE, waiting).await;
        assert!(
            patience.is_ok(),
            "{requests} requests expected, {} came",
            self.asked().len()
        );
    }
}

async fn answer(State(fake): State<Fake>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let asked = Asked {
        method,
        path: uri.to_string(),
        headers,
        body,
    };
    let lane = serde_json::from_str::<Value>(&asked.body)
        .ok()
        .and_then(|body| Some(body["lane"].as_str()?.to_owned()));
    let Some(lane) = lane else {
        return answer_by_script(fake, asked).await;
    };
    fake.enter(&lane);
    // long enough for a second request of the lane to meet this one, were there one
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let response = answer_by_script(fake.clone(), asked).await;
    fake.leave(&lane);
    response
}

async fn answer_by_script(fake: Fake, asked: Asked) -> Response {
    fake.inner.asked.lock().unwrap().push(asked);
    fake.inner.came.notify_waiters();
    let scripted = fake.inner.script.lock().unwrap().pop_front();
    let usual = || Answer::Now(202, vec![], r#"{"id":"msg_1","status":"queued"}"#.to_owned());
    match scripted
        .or_else(|| fake.inner.otherwise.lock().unwrap().clone())
        .unwrap_or_else(usual)
    {
        Answer::Now(status, headers, body) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Answer::Hold => {
            fake.release.acquire().await.unwrap().forget();
            StatusCode::OK.into_response()
        }
        Answer::HoldThen(body) => {
            fake.release.acquire().await.unwrap().forget();
            (StatusCode::ACCEPTED, body).into_response()
        }
    }
}
