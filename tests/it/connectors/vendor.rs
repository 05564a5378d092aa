//! Stand-ins of outside systems over real sockets: they keep state, honour what their vendor honours and nothing more, and
//! fail on demand: busy, limited, hung, reset, before or after the change was made.
//!
//! What a system does is written per vendor ([`Vendor`]); it must not know of faults. Numbers are those of [`person`], so
//! that one is found wherever a request has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::helpers::PATIENCE;

/// The nth person of a test, in E.164: `+1415555` and four digits.
pub(crate) fn person(nth: usize) -> String {
    assert!(nth < 10_000, "there are ten thousand persons");
    format!("+1415555{nth:04}")
}

/// The first number of a [`person`] in a text, however it is written around its ten digits.
pub(crate) fn number_in(text: &str) -> Option<String> {
    text.match_indices("415555").find_map(|(at, _)| {
        let digits = text.get(at..at + 10)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| format!("+1{digits}"))
    })
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// As sent, percent-encoded, without the query.
    pub(crate) path: String,
    /// Decoded, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    /// A request of the test's own, to ask a vendor directly; `target` is the path with its query.
    pub(crate) fn of(method: &str, target: &str, headers: &[(&'static str, &str)], body: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = headers.iter().map(|(name, value)| {
            let name = hyper::header::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: decoded(query),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The body as a form's fields, decoded.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        decoded(&self.body)
    }

    /// The first query parameter of that name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(parameter, _)| parameter == name)?;
        Some(&found.1)
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The method and the parts of the path, to match on: `["GET", "api", "v2", "users"]`.
    pub(crate) fn route(&self) -> Vec<&str> {
        let parts = self.path.split('/').filter(|part| !part.is_empty());
        std::iter::once(self.method.as_str()).chain(parts).collect()
    }

    /// The number of the [`person`] that the request names in its path, query or body.
    pub(crate) fn number(&self) -> Option<String> {
        number_in(&self.path)
            .or_else(|| self.query.iter().find_map(|(_, value)| number_in(value)))
            .or_else(|| number_in(&self.body))
    }
}

fn decoded(text: &str) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// What a system answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The body read back as JSON; null if it is none.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    /// No body.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: vec![],
            body: String::new(),
        }
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What a system has of one sender.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Census {
    pub(crate) contacts: usize,
    pub(crate) tickets: usize,
    /// The sender's texts as filed, in order, our markers trimmed: a ticket's first text is one of them.
    pub(crate) notes: Vec<String>,
}

/// One vendor's system: state and rules, one account.
pub(crate) trait Vendor: Send + 'static {
    /// Does what was asked and answers, as the vendor would: credentials checked on every request.
    fn answer(&mut self, asked: &Asked) -> Answer;

    /// Whose request it is (a [`person`]): by the number in it ([`Asked::number`]), or by the contact or ticket it names.
    /// `None` for what is nobody's, such as a token; such requests meet no faults.
    fn sender_of(&self, asked: &Asked) -> Option<String>;

    /// Whether it changes anything; not a read, be it a POST.
    fn changes(&self, asked: &Asked) -> bool;

    /// What the system has of a sender.
    fn census(&self, sender: &str) -> Census;

    /// What the vendor answers to credentials that are no longer valid.
    fn unauthorized(&self) -> Answer {
        Answer::json(401, &json!({ "error": "unauthorized" }))
    }

    /// What the vendor answers with 429, 500 or 503, before `Retry-After` is added.
    fn failure(&self, status: u16) -> Answer {
        Answer::json(status, &json!({ "error": "the stand-in was told to fail" }))
    }
}

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Fault {
    /// 503, nothing done.
    Busy503,
    /// 429 with `Retry-After: 1`, nothing done.
    TooMany429,
    /// 429 with a `Retry-After` of the date kind, nothing done.
    TooMany429Date,
    /// 500, nothing done.
    Error500Before,
    /// Done, then 500.
    Error500After,
    /// Nothing done and no answer until the client gives up.
    HangBefore,
    /// Done, then no answer until the client gives up.
    HangAfter,
    /// Nothing done, the connection reset.
    ResetBefore,
    /// Done, the connection reset instead of an answer.
    ResetAfter,
    /// The credentials of this request are no longer valid for this sender; only for those that can be fetched anew.
    Expired401,
    /// No answer; it is done only when the client has given up and before it asks for anything else.
    LateCommit,
}

impl Fault {
    /// Every fault that any client must survive, whatever its credentials.
    pub(crate) const ANY: [Self; 10] = [
        Self::Busy503,
        Self::TooMany429,
        Self::TooMany429Date,
        Self::Error500Before,
        Self::Error500After,
        Self::HangBefore,
        Self::HangAfter,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::LateCommit,
    ];

    /// [`Fault::ANY`] and the end of a token.
    pub(crate) fn all_with_tokens() -> Vec<Self> {
        let mut all = Self::ANY.to_vec();
        all.push(Self::Expired401);
        all
    }

    /// Whether the client cannot know whether it was done.
    pub(crate) fn is_unclear(self) -> bool {
        !matches!(self, Self::TooMany429 | Self::TooMany429Date | Self::Expired401)
    }
}

/// Faults by chance: the same for the same seed and the same requests of a sender.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    pub(crate) seed: u64,
    /// Of a thousand requests, so many meet one.
    pub(crate) per_mille: u64,
    /// A sender meets no more than these, so that everything ends.
    pub(crate) most_per_sender: usize,
    pub(crate) faults: Vec<Fault>,
}

impl Chance {
    fn falls(&self, sender: &str, nth: usize) -> Option<Fault> {
        let number = sender
            .bytes()
            .fold(self.seed, |hash, byte| scrambled(hash ^ u64::from(byte)));
        let draw = scrambled(number ^ u64::try_from(nth).unwrap());
        let which = usize::try_from((draw >> 32) % u64::try_from(self.faults.len()).unwrap()).unwrap();
        (draw % 1000 < self.per_mille).then(|| self.faults[which])
    }
}

/// One step of the `SplitMix64` generator.
fn scrambled(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A search that lags: what was created is found only after so many further requests, or when [`Lag::index`] is called.
#[derive(Clone, Debug)]
pub(crate) struct Lag {
    after: usize,
    requests: usize,
    created: HashMap<String, usize>,
}

impl Lag {
    /// Found after `after` further requests; `usize::MAX`: not before [`Lag::index`].
    pub(crate) fn of(after: usize) -> Self {
        Self {
            after,
            requests: 0,
            created: HashMap::new(),
        }
    }

    /// To be called on every request.
    pub(crate) fn tick(&mut self) {
        self.requests += 1;
    }

    /// Something was created; any name that is its own.
    pub(crate) fn created(&mut self, id: impl fmt::Display) {
        self.created.insert(id.to_string(), self.requests);
    }

    /// Whether a search finds it yet; what was there before counts as indexed.
    pub(crate) fn finds(&self, id: impl fmt::Display) -> bool {
        let created = self.created.get(&id.to_string());
        created.is_none_or(|at| self.requests - at > self.after)
    }

    /// Makes everything findable.
    pub(crate) fn index(&mut self) {
        self.created.clear();
    }
}

/// One request with what the system made of it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) asked: Asked,
    pub(crate) sender: Option<String>,
    /// Which request of that sender, from 0.
    pub(crate) nth: usize,
    pub(crate) fault: Option<Fault>,
    /// The vendor's own answer, whether or not it reached the client; `None` where a fault came before it.
    pub(crate) answer: Option<Answer>,
}

impl Exchange {
    /// The method and the path with its numbers left out: `PUT /api/v2/tickets/{}`.
    pub(crate) fn operation(&self) -> String {
        let route = self.asked.route();
        let path: String = route[1..]
            .iter()
            .map(|part| {
                if part.bytes().any(|byte| byte.is_ascii_digit()) && part.len() > 2 || part.parse::<u64>().is_ok() {
                    "/{}".to_owned()
                } else {
                    format!("/{part}")
                }
            })
            .collect();
        format!("{} {path}", route[0])
    }
}

struct State<V> {
    vendor: V,
    planned: BTreeMap<(String, usize), Fault>,
    /// What is answered to a sender's nth request without asking the vendor.
    pretended: HashMap<(String, usize), Answer>,
    chance: Option<Chance>,
    seen: HashMap<String, usize>,
    exchanges: Vec<Exchange>,
    /// Credentials that ended, by sender.
    ended: HashSet<(String, String)>,
    /// Requests whose change is still to come, by their place among the exchanges.
    late: Vec<usize>,
}

impl<V: Vendor> State<V> {
    /// Notes the request and decides its fault.
    fn enter(&mut self, asked: Asked) -> usize {
        let sender = self.vendor.sender_of(&asked);
        // an earlier request of the sender whose client gave up has been done by now at the latest; where nobody can tell
        // whose request this is, such as the lookup of something not yet made, it may be that sender's
        let own = |exchange: &Exchange| sender.is_none() || exchange.sender == sender;
        let late = std::mem::take(&mut self.late);
        let (done, still): (Vec<usize>, _) = late.into_iter().partition(|&at| own(&self.exchanges[at]));
        self.late = still;
        for at in done {
            self.answer(at);
        }
        let (mut nth, mut fault) = (0, None);
        if let Some(sender) = &sender {
            let seen = self.seen.entry(sender.clone()).or_default();
            nth = *seen;
            *seen += 1;
            fault = self
                .planned
                .get(&(sender.clone(), nth))
                .copied()
                .or_else(|| self.by_chance(sender, nth));
        }
        self.exchanges.push(Exchange {
            asked,
            sender,
            nth,
            fault,
            answer: None,
        });
        self.exchanges.len() - 1
    }

    fn by_chance(&self, sender: &str, nth: usize) -> Option<Fault> {
        let chance = self.chance.as_ref()?;
        let met = |exchange: &&Exchange| exchange.fault.is_some() && exchange.sender.as_deref() == Some(sender);
        let fault = chance.falls(sender, nth)?;
        (self.exchanges.iter().filter(met).count() < chance.most_per_sender).then_some(fault)
    }

    /// The vendor's answer to a noted request.
    fn answer(&mut self, at: usize) -> Answer {
        let exchange = &mut self.exchanges[at];
        let ended = exchange
            .sender
            .clone()
            .is_some_and(|sender| self.ended.contains(&(sender, credentials(&exchange.asked))));
        let place = exchange.sender.clone().map(|sender| (sender, exchange.nth));
        let pretended = place.and_then(|place| self.pretended.remove(&place));
        let answer = match pretended {
            Some(answer) => answer,
            None if ended => self.vendor.unauthorized(),
            None => self.vendor.answer(&exchange.asked),
        };
        exchange.answer = Some(answer.clone());
        answer
    }
}

fn credentials(asked: &Asked) -> String {
    asked.header("authorization").unwrap_or_default().to_owned()
}

/// How the connection goes on.
enum End {
    Answer(Answer),
    /// Silence until the client gives up; then a request whose change is still to come is done.
    Silence(Option<usize>),
    Reset,
}

/// A vendor's system on a port of its own; it ends with the test's runtime.
pub(crate) struct StandIn<V> {
    address: SocketAddr,
    state: Arc<Mutex<State<V>>>,
    came: Arc<Notify>,
}

impl<V> Clone for StandIn<V> {
    fn clone(&self) -> Self {
        Self {
            address: self.address,
            state: Arc::clone(&self.state),
            came: Arc::clone(&self.came),
        }
    }
}

impl<V: Vendor> StandIn<V> {
    pub(crate) async fn start(vendor: V) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            vendor,
            planned: BTreeMap::new(),
            pretended: HashMap::new(),
            chance: None,
            seen: HashMap::new(),
            exchanges: Vec::new(),
            ended: HashSet::new(),
            late: Vec::new(),
        };
        let stand = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            came: Arc::default(),
        };
        let accepting = stand.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        stand
    }

    /// `http://127.0.0.1:…`, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the sender's nth request (from 0) go wrong.
    pub(crate) fn fail(&self, sender: &str, nth: usize, fault: Fault) {
        self.state().planned.insert((sender.to_owned(), nth), fault);
    }

    /// Answers the sender's nth request (from 0) so, nothing done: what was true a moment ago.
    pub(crate) fn pretend(&self, sender: &str, nth: usize, answer: Answer) {
        self.state().pretended.insert((sender.to_owned(), nth), answer);
    }

    /// Lets requests go wrong by chance; `None` ends that.
    pub(crate) fn fail_by_chance(&self, chance: Option<Chance>) {
        self.state().chance = chance;
    }

    /// Looks at or changes the vendor's state.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut V) -> R) -> R {
        look(&mut self.state().vendor)
    }

    pub(crate) fn census(&self, sender: &str) -> Census {
        self.state().vendor.census(sender)
    }

    /// Everything that was asked, in order.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.clone()
    }

    /// What was asked for one sender, in order.
    pub(crate) fn exchanges_of(&self, sender: &str) -> Vec<Exchange> {
        let mut all = self.exchanges();
        all.retain(|exchange| exchange.sender.as_deref() == Some(sender));
        all
    }

    /// The sender's requests that went wrong, in order.
    pub(crate) fn faults_of(&self, sender: &str) -> Vec<Fault> {
        self.exchanges_of(sender)
            .iter()
            .filter_map(|exchange| exchange.fault)
            .collect()
    }

    /// Waits until so many requests went wrong.
    pub(crate) async fn failed(&self, faults: usize) {
        let count = || {
            self.state()
                .exchanges
                .iter()
                .filter(|exchange| exchange.fault.is_some())
                .count()
        };
        let waiting = async {
            loop {
                let came = self.came.notified();
                if count() >= faults {
                    return;
                }
                came.await;
            }
        };
        let patience = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(patience.is_ok(), "{faults} faults expected, {} happened", count());
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap()
    }

    /// One connection, until either side ends it.
    async fn serve(self, stream: TcpStream) {
        let service = service_fn(|request| self.clone().respond(request));
        let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // an error here is a client that went away, or our own reset
        if (&mut connection).await.is_err() {
            let stream = connection.into_parts().io.into_inner();
            // so that the client sees a reset and not an orderly end
            if stream.set_zero_linger().is_err() {
                drop(stream);
            }
        }
    }

    async fn respond(self, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Reset> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Reset)?.to_bytes();
        let asked = Asked {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: decoded(head.uri.query().unwrap_or_default()),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        let end = self.decide(asked);
        self.came.notify_waiters();
        match end {
            End::Answer(answer) => Ok(response(answer)),
            End::Silence(late) => {
                let _late = late.map(|at| Late { stand: self, at });
                std::future::pending::<Infallible>().await;
                Err(Reset)
            }
            End::Reset => Err(Reset),
        }
    }

    fn decide(&self, asked: Asked) -> End {
        let mut state = self.state();
        let at = state.enter(asked);
        let Some(fault) = state.exchanges[at].fault else {
            return End::Answer(state.answer(at));
        };
        match fault {
            Fault::Busy503 => End::Answer(state.vendor.failure(503)),
            Fault::TooMany429 => End::Answer(state.vendor.failure(429).with_header("retry-after", "1")),
            Fault::TooMany429Date => End::Answer(state.vendor.failure(429).with_header("retry-after", in_a_second())),
            Fault::Error500Before => End::Answer(state.vendor.failure(500)),
            Fault::Error500After => {
                state.answer(at);
                End::Answer(state.vendor.failure(500))
            }
            Fault::HangBefore => End::Silence(None),
            Fault::HangAfter => {
                state.answer(at);
                End::Silence(None)
            }
            Fault::ResetBefore => End::Reset,
            Fault::ResetAfter => {
                state.answer(at);
                End::Reset
            }
            Fault::Expired401 => {
                let exchange = &state.exchanges[at];
                let ended = (exchange.sender.clone().unwrap(), credentials(&exchange.asked));
                state.ended.insert(ended);
                End::Answer(state.answer(at))
            }
            Fault::LateCommit => {
                state.late.push(at);
                End::Silence(Some(at))
            }
        }
    }
}

/// A request whose client has not yet gone away; dropped when it has.
struct Late<V: Vendor> {
    stand: StandIn<V>,
    at: usize,
}

impl<V: Vendor> Drop for Late<V> {
    fn drop(&mut self) {
        let Ok(mut state) = self.stand.state.lock() else {
            return;
        };
        // unless the sender's next request was faster
        if let Some(place) = state.late.iter().position(|&late| late == self.at) {
            state.late.remove(place);
            state.answer(self.at);
        }
    }
}

/// The service's way to say that this connection ends without an answer.
#[derive(Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset by the stand-in")
    }
}

impl std::error::Error for Reset {}

fn response(answer: Answer) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(answer.body))).unwrap()
}

fn in_a_second() -> String {
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(1);
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpers::eventually;

    /// One list of notes per sender.
    #[derive(Default)]
    struct Notes(Vec<(String, String)>);

    impl Vendor for Notes {
        fn answer(&mut self, asked: &Asked) -> Answer {
            let number = asked.number().unwrap_or_default();
            match asked.route().as_slice() {
                ["POST", "notes", _] => self.0.push((number, asked.body.clone())),
                ["GET", "notes", _] => {}
                _ => return Answer::empty(404),
            }
            Answer::json(200, &json!({ "notes": self.0.len() }))
        }

        fn sender_of(&self, asked: &Asked) -> Option<String> {
            asked.number()
        }

        fn changes(&self, asked: &Asked) -> bool {
            asked.method == "POST"
        }

        fn census(&self, sender: &str) -> Census {
            let own = self.0.iter().filter(|(number, _)| number == sender);
            Census {
                notes: own.map(|(_, text)| text.clone()).collect(),
                ..Census::default()
            }
        }
    }

    /// One POST for a person over a connection of its own: the status; the kind of error; or `None` if nothing comes.
    async fn post(stand: &StandIn<Notes>, sender: &str) -> Option<Result<u16, std::io::ErrorKind>> {
        let request = format!(
            "POST /notes/{} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer 1\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
            &sender[2..]
        );
        let exchange = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = TcpStream::connect(stand.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer).await;
            read.map(|_| answer[9..12].parse().unwrap())
                .map_err(|error| error.kind())
        };
        tokio::time::timeout(std::time::Duration::from_millis(200), exchange)
            .await
            .ok()
    }

    #[tokio::test]
    async fn each_fault_does_and_answers_what_it_says() {
        let stand = StandIn::start(Notes::default()).await;
        let reset = Some(Err(std::io::ErrorKind::ConnectionReset));
        let expected = [
            (Fault::Busy503, 0, Some(Ok(503))),
            (Fault::TooMany429, 0, Some(Ok(429))),
            (Fault::TooMany429Date, 0, Some(Ok(429))),
            (Fault::Error500Before, 0, Some(Ok(500))),
            (Fault::Error500After, 1, Some(Ok(500))),
            (Fault::HangBefore, 0, None),
            (Fault::HangAfter, 1, None),
            (Fault::ResetBefore, 0, reset),
            (Fault::ResetAfter, 1, reset),
            (Fault::Expired401, 0, Some(Ok(401))),
        ];
        for (nth, (fault, notes, answer)) in expected.into_iter().enumerate() {
            let sender = person(nth);
            stand.fail(&sender, 1, fault);
            assert_eq!(post(&stand, &sender).await, Some(Ok(200)), "{fault:?}: before it");
            assert_eq!(post(&stand, &sender).await, answer, "{fault:?}");
            assert_eq!(stand.census(&sender).notes.len(), 1 + notes, "{fault:?}");
            assert_eq!(stand.faults_of(&sender), [fault]);
        }
        stand.failed(expected.len()).await;
    }

    #[tokio::test]
    async fn credentials_that_ended_stay_ended_for_that_sender() {
        let stand = StandIn::start(Notes::default()).await;
        stand.fail(&person(0), 0, Fault::Expired401);
        assert_eq!(post(&stand, &person(0)).await, Some(Ok(401)));
        assert_eq!(post(&stand, &person(0)).await, Some(Ok(401)));
        assert_eq!(post(&stand, &person(1)).await, Some(Ok(200)));
    }

    #[tokio::test]
    async fn a_late_change_comes_when_the_client_has_gone_or_before_its_next_request() {
        let stand = StandIn::start(Notes::default()).await;
        stand.fail(&person(0), 0, Fault::LateCommit);
        assert_eq!(post(&stand, &person(0)).await, None);
        eventually("the change is made", async || stand.census(&person(0)).notes.len() == 1).await;
        stand.fail(&person(1), 0, Fault::LateCommit);
        let hung = tokio::spawn({
            let stand = stand.clone();
            async move { post(&stand, &person(1)).await }
        });
        stand.failed(2).await;
        assert_eq!(stand.census(&person(1)).notes.len(), 0);
        assert_eq!(post(&stand, &person(1)).await, Some(Ok(200)));
        assert_eq!(stand.census(&person(1)).notes.len(), 2);
        assert_eq!(hung.await.unwrap(), None);
        assert_eq!(stand.census(&person(1)).notes.len(), 2);
    }

    #[test]
    fn chance_falls_alike_for_the_same_seed_and_as_often_as_it_should() {
        let chance = |seed| Chance {
            seed,
            per_mille: 100,
            most_per_sender: usize::MAX,
            faults: Fault::all_with_tokens(),
        };
        let falls = |seed| -> Vec<Option<Fault>> {
            (0..10_000)
                .map(|nth| chance(seed).falls(&person(nth % 50), nth))
                .collect()
        };
        assert_eq!(falls(1), falls(1));
        assert_ne!(falls(1), falls(2));
        let fallen: Vec<Fault> = falls(1).into_iter().flatten().collect();
        assert!((800..1200).contains(&fallen.len()), "{}", fallen.len());
        let kinds: HashSet<Fault> = fallen.into_iter().collect();
        assert_eq!(kinds.len(), Fault::all_with_tokens().len());
    }

    #[test]
    fn a_lagging_search_finds_after_its_time_or_when_told() {
        let mut lag = Lag::of(2);
        assert!(lag.finds("there before"));
        lag.created(7);
        for _ in 0..2 {
            assert!(!lag.finds(7));
            lag.tick();
        }
        assert!(!lag.finds(7));
        lag.tick();
        assert!(lag.finds(7));
        lag.created(8);
        lag.index();
        assert!(lag.finds(8));
    }

    #[test]
    fn a_number_is_found_however_it_is_written() {
        for text in [
            "+14155550123",
            "phone:*4155550123",
            "sms%3A%2B14155550123",
            "x 14155550123.",
            "{\"p\":\"4155550123\"}",
        ] {
            assert_eq!(number_in(text), Some("+14155550123".to_owned()), "{text}");
        }
        assert_eq!(number_in("415555012"), None);
    }
}
