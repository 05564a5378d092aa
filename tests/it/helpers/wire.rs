//! A gateway on bare sockets: it knows of every request until when nothing of it had come, it can hold a TLS handshake or an
//! answer, and it counts.
//!
//! An HTTP server stamps a request when its task gets round to it, which on a busy machine is later than the bytes came.
//! Here [`Wire::look`] reads everything that has come by now, whoever calls it: what it does not find had not been written.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

const ANSWER: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 32\r\nconnection: close\r\n\r\n{\"id\":\"msg_1\",\"status\":\"queued\"}";

/// A certificate for `localhost`.
pub(crate) struct Certificate {
    config: Arc<rustls::ServerConfig>,
    /// To be trusted by the service.
    pub(crate) pem: String,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self {
            config: Arc::new(config),
            pem: made.cert.pem(),
        }
    }
}

/// A text that the gateway was asked to send.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) to: String,
    pub(crate) text: String,
    /// The latest moment at which nothing of the request had come.
    pub(crate) silent_at: Instant,
}

/// One connection.
struct Line {
    socket: TcpStream,
    tls: Option<rustls::ServerConnection>,
    bytes: Vec<u8>,
    silent_at: Instant,
    heard: bool,
    ended: bool,
}

struct State {
    lines: Vec<Line>,
    /// When the latest look began: every connection that there was by then is among the lines.
    looked_at: Instant,
    connections: usize,
    heard: Vec<Heard>,
    /// Whether TLS handshakes go on.
    open: bool,
    /// How many answers may still be given.
    answers: usize,
}

struct Inner {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: Mutex<State>,
    gone: AtomicBool,
}

/// The gateway; it ends with the test.
pub(crate) struct Wire {
    inner: Arc<Inner>,
    address: SocketAddr,
}

impl Wire {
    pub(crate) fn plain() -> Self {
        Self::with(None)
    }

    pub(crate) fn tls(certificate: &Certificate) -> Self {
        Self::with(Some(Arc::clone(&certificate.config)))
    }

    fn with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            lines: Vec::new(),
            looked_at: Instant::now(),
            connections: 0,
            heard: Vec::new(),
            open: true,
            answers: usize::MAX,
        };
        let inner = Arc::new(Inner {
            listener,
            tls,
            state: Mutex::new(state),
            gone: AtomicBool::new(false),
        });
        let served = Arc::clone(&inner);
        std::thread::spawn(move || {
            while !served.gone.load(Ordering::Relaxed) {
                served.look();
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Self { inner, address }
    }

    /// An endpoint that replies through it.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        let origin = match self.inner.tls {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        };
        format!(
            "[[endpoint]]\nname = \"{name}\"\npath = \"/hooks/{name}\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{}\"]\n\
             reply = {{ token = \"sk_live_of the tests\", base_url = \"{origin}/v1\", \
             allow_private = [\"127.0.0.0/8\", \"::1\"], allow_http = true }}\n",
            super::SECRET
        )
    }

    /// Reads all that has come by now, and answers what may be answered.
    pub(crate) fn look(&self) {
        self.inner.look();
    }

    /// How many connections were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.inner.state.lock().unwrap().connections
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.inner.state.lock().unwrap().heard.clone()
    }

    /// Whether TLS handshakes go on from now on.
    pub(crate) fn set_open(&self, open: bool) {
        self.inner.state.lock().unwrap().open = open;
    }

    /// Gives so many answers and then no more.
    pub(crate) fn set_answers(&self, answers: usize) {
        self.inner.state.lock().unwrap().answers = answers;
    }

    /// How many answers may still be given.
    pub(crate) fn answers(&self) -> usize {
        self.inner.state.lock().unwrap().answers
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.inner.gone.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    fn look(&self) {
        let mut state = self.state.lock().unwrap();
        // The kernel takes connections, and bytes on them, before anybody accepts: of a new one it is only known that it
        // was not there at the look before.
        let absent_at = std::mem::replace(&mut state.looked_at, Instant::now());
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
            let tls = self.tls.as_ref();
            state.connections += 1;
            state.lines.push(Line {
                socket,
                tls: tls.map(|config| rustls::ServerConnection::new(Arc::clone(config)).unwrap()),
                bytes: Vec::new(),
                silent_at: absent_at,
                heard: false,
                ended: false,
            });
        }
        let State {
            lines,
            heard,
            open,
            answers,
            ..
        } = &mut *state;
        for line in lines.iter_mut() {
            if let Some(request) = line.listen(*open) {
                heard.push(request);
            }
            if line.heard && !line.ended && *answers > 0 {
                *answers -= 1;
                line.answer();
            }
        }
        lines.retain(|line| !line.ended);
    }
}

impl Line {
    /// Reads what is there; the request, once it is whole.
    fn listen(&mut self, open: bool) -> Option<Heard> {
        if self.heard {
            // whoever was killed meanwhile gets no answer
            self.ended |= matches!(self.socket.peek(&mut [0]), Ok(0));
            return None;
        }
        let now = Instant::now();
        // before its handshake is over a peer cannot write a request
        if open || !self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.read();
        }
        if self.bytes.is_empty() {
            self.silent_at = now;
        }
        let text = std::str::from_utf8(&self.bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() < length.parse().unwrap() {
            return None;
        }
        self.heard = true;
        let body: Value = serde_json::from_str(body).unwrap();
        Some(Heard {
            to: body["to"].as_str().unwrap().to_owned(),
            text: body["text"].as_str().unwrap().to_owned(),
            silent_at: self.silent_at,
        })
    }

    fn read(&mut self) {
        let mut piece = [0; 16 * 1024];
        loop {
            let read = match &mut self.tls {
                None => self.socket.read(&mut piece),
                Some(tls) => {
                    let came = tls.read_tls(&mut self.socket);
                    self.ended |= tls.process_new_packets().is_err();
                    while tls.wants_write() && tls.write_tls(&mut self.socket).is_ok() {}
                    if let Ok(read @ 1..) = tls.reader().read(&mut piece) {
                        self.bytes.extend_from_slice(&piece[..read]);
                    }
                    came
                }
            };
            match &read {
                Ok(0) => self.ended = true,
                Ok(read) if self.tls.is_none() => self.bytes.extend_from_slice(&piece[..*read]),
                Ok(_) => {}
                Err(error) => self.ended |= error.kind() != ErrorKind::WouldBlock,
            }
            if self.ended || read.is_err() {
                return;
            }
        }
    }

    /// Answers and closes; whoever asked may be gone.
    fn answer(&mut self) {
        let said = match &mut self.tls {
            None => self.socket.write_all(ANSWER),
            Some(tls) => {
                let said = tls.writer().write_all(ANSWER);
                tls.send_close_notify();
                while tls.wants_write() && tls.write_tls(&mut self.socket).is_ok() {}
                said
            }
        };
        drop(said);
        self.ended = true;
    }
}
