//! Requests of the operator's own to a service of ours: `smshook send`, `smshook healthcheck` and `smshook doctor`.
//!
//! The guard that keeps actions out of private networks does not apply: the address comes from the command line or the
//! configuration, never from a message. Nothing that runs jobs may call this.

mod connect;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use connect::connect;
pub use trouble::{LocalError, TlsTrouble, Trouble};

use trouble::Unresolved;

/// A service on this machine answers within its accept deadline, which is seconds at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: ours are a line.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What the service answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, what is not UTF-8 replaced.
    pub body: String,
}

/// The system's resolver, whose failures can be told from others.
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<_> = found.map_err(|error| Unresolved(error.to_string()))?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Posts `body` to `url`, anywhere.
pub async fn post(url: &str, headers: HeaderMap, body: impl Into<reqwest::Body>) -> Result<LocalAnswer, LocalError> {
    Caller::new()?.send(Method::POST, url, headers, body).await
}

/// Gets `url`, anywhere.
pub async fn get(url: &str) -> Result<LocalAnswer, LocalError> {
    Caller::new()?.send(Method::GET, url, HeaderMap::new(), "").await
}

/// For many requests to one service: connections are kept between them.
#[derive(Clone, Debug)]
pub struct Caller(reqwest::Client);

impl Caller {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// TLS that cannot be set up.
    pub fn new() -> Result<Self, LocalError> {
        Ok(Self(client()?))
    }

    /// Makes one request, anywhere; a redirect is an answer.
    ///
    /// # Errors
    /// [`LocalError`]: there was no answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: impl Into<reqwest::Body>,
    ) -> Result<LocalAnswer, LocalError> {
        let request = self.0.request(method.clone(), url).headers(headers);
        let request = if method == Method::GET {
            request
        } else {
            request.body(body)
        };
        let mut response = request.send().await?;
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                body.truncate(MAX_ANSWER_BYTES);
                break;
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(LocalAnswer {
            status: response.status(),
            headers,
            body,
        })
    }
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    ensure_tls_provider();
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(System))
        .build()
}

/// reqwest panics without a provider; an error here only means that somebody else has set one.
fn ensure_tls_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_service_on_this_machine_is_reached_and_its_refusal_is_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/sms", listener.local_addr().unwrap());
        let service = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"body") {
                connection.read_buf(&mut request).await.unwrap();
            }
            let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
            connection.write_all(answer).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let mut headers = HeaderMap::new();
        headers.insert("x-signature", http::HeaderValue::from_static("abc"));
        let answer = post(&url, headers, "body".to_owned()).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::UNAUTHORIZED, "no"));
        let request = service.await.unwrap();
        assert!(request.starts_with("POST /hooks/sms HTTP/1.1\r\n") && request.contains("x-signature: abc\r\n"));
    }

    #[tokio::test]
    async fn nobody_listening_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        drop(listener);
        let refused = get(&url).await.unwrap_err().to_string();
        assert!(refused.contains("refused") && !refused.contains("healthz"), "{refused}");
        assert!(get("no url").await.is_err());
    }
}
