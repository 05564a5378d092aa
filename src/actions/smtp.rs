//! A session with an SMTP server (RFC 5321), one phase per call, so that a failure says whether the mail can have been taken.
//!
//! It must not know jobs or what a mail says. Every wait ends; words of the server leave here unredacted, for the caller to
//! clean.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Severity;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::client::root_cause;
use crate::config::action::{EmailSpec, EmailTls};

/// Name, TCP, TLS and greeting together; the action's own `timeout` mostly ends an attempt before this.
const OPEN: Duration = Duration::from_secs(20);
/// For the answer to one command.
const COMMAND: Duration = Duration::from_secs(30);
/// For the answer to the whole mail: servers scan it before they take it (RFC 5321 §4.5.3.2.6 asks for minutes).
const CONTENT: Duration = Duration::from_mins(2);
/// For a polite end, after which nothing depends on the answer.
const GOODBYE: Duration = Duration::from_secs(5);

/// How a certificate in PEM begins (RFC 7468 §5).
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Answers that mean that who we are is not taken (RFC 4954 §6).
const CREDENTIALS: [&str; 4] = ["530", "534", "535", "538"];

/// What kept a mail from being taken. The text quotes the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// There was no answer, and nothing that could have been taken was sent.
    Lost(String),
    /// It was not taken and may be later.
    Passing(String),
    /// The server does not take our user name and password.
    Credentials(String),
    /// It was not taken and never will be.
    Refused(String),
    /// It may have been taken.
    Unknown(String),
}

/// What the server said to the recipients it was offered.
#[derive(Default)]
pub(super) struct Offered {
    /// It takes the mail for these.
    pub(super) taken: Vec<Address>,
    /// Not now.
    pub(super) later: Vec<Address>,
    /// Never.
    pub(super) refused: usize,
    /// Its words about the last that it did not take.
    pub(super) words: String,
}

/// An open session. Dropping it ends the connection.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
}

/// What TLS to `spec`'s server needs, if it is to have any; reading the machine's certificates is slow enough to do it once.
pub(super) fn tls_parameters(spec: &EmailSpec) -> Result<Option<TlsParameters>, String> {
    if spec.tls == EmailTls::None {
        return Ok(None);
    }
    let mut builder = TlsParameters::builder(spec.host.clone());
    if let Some(pem) = &spec.ca_pem {
        // A file without one would be read as no certificates at all, and told only by a handshake that fails.
        if !pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
            return Err("the CA certificate is not one in PEM".to_owned());
        }
        let certificate = Certificate::from_pem(pem)
            .map_err(|error| format!("the CA certificate is not one in PEM: {}", root_cause(&error)))?;
        builder = builder.add_root_certificate(certificate);
    }
    let tls = builder
        .build()
        .map_err(|error| format!("TLS cannot be set up: {}", root_cause(&error)))?;
    Ok(Some(tls))
}

impl Session {
    /// Connects, makes the connection private and logs in. Nothing of this can have sent a mail.
    pub(super) async fn open(spec: &EmailSpec, tls: Option<&TlsParameters>) -> Result<Self, Failure> {
        let connection = match tokio::time::timeout(OPEN, connect(spec, tls)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(Failure::Lost("no connection in time".to_owned())),
        };
        let mut session = Self { connection };
        if let Some((user, password)) = &spec.credentials {
            session.log_in(user, password.expose_secret()).await?;
        }
        Ok(session)
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        let known = [Mechanism::Plain, Mechanism::Login];
        if self.connection.server_info().get_auth_mechanism(&known).is_none() {
            return Err(Failure::Credentials(
                "the server offers neither AUTH PLAIN nor AUTH LOGIN here, and a user name is configured".to_owned(),
            ));
        }
        let credentials = Credentials::new(user.to_owned(), password.to_owned());
        match tokio::time::timeout(COMMAND, self.connection.auth(&known, &credentials)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(Failure::Credentials(words("AUTH", &error))),
            Ok(Err(error)) => Err(Failure::Passing(words("AUTH", &error))),
            Err(_) => Err(Failure::Lost("AUTH: no answer in time".to_owned())),
        }
    }

    /// Names sender and recipients.
    pub(super) async fn offer(&mut self, from: &Address, to: &[Address]) -> Result<Offered, Failure> {
        self.command("MAIL", Mail::new(Some(from.clone()), Vec::new())).await?;
        let mut offered = Offered::default();
        for address in to {
            match self.command("RCPT", Rcpt::new(address.clone(), Vec::new())).await {
                Ok(()) => offered.taken.push(address.clone()),
                Err(Failure::Refused(words)) => {
                    offered.refused += 1;
                    offered.words = words;
                }
                Err(Failure::Passing(words)) => {
                    offered.later.push(address.clone());
                    offered.words = words;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(offered)
    }

    /// Asks for leave to send the mail itself.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        self.command("DATA", Data).await
    }

    /// Sends the mail and waits for the server to take it. From here on nobody knows until it answers.
    pub(super) async fn content(&mut self, mail: &[u8]) -> Result<(), Failure> {
        match tokio::time::timeout(CONTENT, self.connection.message(mail)).await {
            Ok(Ok(answer)) if answer.code().severity == Severity::PositiveCompletion => Ok(()),
            Ok(Ok(_)) => Err(Failure::Unknown(
                "the answer to the mail was none that SMTP knows".to_owned(),
            )),
            Ok(Err(error)) => Err(failure("the mail", &error, Failure::Unknown)),
            Err(_) => Err(Failure::Unknown("no answer to the mail in time".to_owned())),
        }
    }

    /// Says goodbye without anybody waiting for it.
    pub(super) fn close(mut self) {
        tokio::spawn(async move {
            if !matches!(tokio::time::timeout(GOODBYE, self.connection.quit()).await, Ok(Ok(_))) {
                tracing::debug!("an SMTP server did not answer QUIT");
            }
        });
    }

    async fn command(&mut self, name: &str, command: impl std::fmt::Display) -> Result<(), Failure> {
        match tokio::time::timeout(COMMAND, self.connection.command(command)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(name, &error, Failure::Lost)),
            Err(_) => Err(Failure::Lost(format!("{name}: no answer in time"))),
        }
    }
}

async fn connect(spec: &EmailSpec, tls: Option<&TlsParameters>) -> Result<AsyncSmtpConnection, Failure> {
    let (server, name) = ((spec.host.as_str(), spec.port), ClientId::default());
    // However it fails, nothing was sent: a server that turns us away at the door may let us in later.
    let failed = |error: Error| Failure::Passing(words("no connection", &error));
    match (spec.tls, tls) {
        (EmailTls::None, _) => AsyncSmtpConnection::connect_tokio1(server, Some(OPEN), &name, None, None)
            .await
            .map_err(failed),
        (EmailTls::Tls, Some(tls)) => {
            AsyncSmtpConnection::connect_tokio1(server, Some(OPEN), &name, Some(tls.clone()), None)
                .await
                .map_err(failed)
        }
        (EmailTls::StartTls, Some(tls)) => {
            let stream = TcpStream::connect(server)
                .await
                .map_err(|error| Failure::Lost(format!("no connection: {error}")))?;
            let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(Sipping::new(stream)), &name)
                .await
                .map_err(failed)?;
            if !connection.can_starttls() {
                return Err(Failure::Passing(
                    "the server does not offer STARTTLS here; nothing is sent without it".to_owned(),
                ));
            }
            connection.starttls(tls.clone(), &name).await.map_err(failed)?;
            Ok(connection)
        }
        (EmailTls::Tls | EmailTls::StartTls, None) => Err(Failure::Refused("TLS was not set up".to_owned())),
    }
}

/// Sorts an error by what the server answered; without an answer it is `otherwise`.
fn failure(phase: &str, error: &Error, otherwise: fn(String) -> Failure) -> Failure {
    let words = words(phase, error);
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    if CREDENTIALS.contains(&code.as_str()) {
        Failure::Credentials(words)
    } else if error.is_permanent() {
        Failure::Refused(words)
    } else if error.is_transient() {
        Failure::Passing(words)
    } else {
        otherwise(words)
    }
}

/// `RCPT: answered 550: no such user here`, or why there was no answer.
fn words(phase: &str, error: &Error) -> String {
    match error.status() {
        Some(code) => format!("{phase}: answered {code}: {}", root_cause(error)),
        None => format!("{phase}: {}", root_cause(error)),
    }
}

/// A connection that hands out one byte at a time until TLS begins. Whatever somebody on the way slips in behind the answer
/// to STARTTLS then meets the TLS handshake, which fails on it, instead of lying in a buffer to be taken for the private
/// server's words (RFC 3207 §6).
#[derive(Debug)]
struct Sipping {
    stream: TcpStream,
    private: bool,
}

/// The first byte of every TLS handshake, and of no SMTP command (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

impl Sipping {
    const fn new(stream: TcpStream) -> Self {
        Self { stream, private: false }
    }
}

impl AsyncTokioStream for Sipping {
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Sipping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.private || buffer.remaining() == 0 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut byte = [0];
        let mut sip = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut sip);
        buffer.put_slice(sip.filled());
        read
    }
}

impl AsyncWrite for Sipping {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.private |= bytes.first() == Some(&HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;

    #[tokio::test]
    async fn what_is_slipped_in_behind_the_answer_to_starttls_is_left_for_the_tls_handshake() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let mut server = server.unwrap().0;
        server.write_all(b"220 go ahead\r\n250 forged\r\n").await.unwrap();
        server.shutdown().await.unwrap();
        let mut reader = BufReader::new(Sipping::new(client.unwrap()));
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        assert_eq!((line.as_str(), reader.buffer()), ("220 go ahead\r\n", &b""[..]));
        reader.get_mut().private = true;
        line.clear();
        reader.read_line(&mut line).await.unwrap();
        assert_eq!(line, "250 forged\r\n");
    }
}
