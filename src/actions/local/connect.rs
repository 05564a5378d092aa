//! Whether the way to another system is clear: its name resolves, the guard lets it pass, somebody listens, TLS holds.
//!
//! It must not send a request: nothing of HTTP is written, so the other system sees a connection that comes and goes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::trouble::{LocalError, Trouble};
use super::{PATIENCE, ensure_tls_provider};
use crate::actions::client::CONNECT;
use crate::actions::guard::Guard;

/// Connects to the host of `origin` as an action that may reach `allow_private` would, agrees on TLS where the scheme asks
/// for it, and closes. Returns the address that was reached.
///
/// # Errors
/// [`LocalError`]: the first of these that failed.
pub async fn connect(origin: &Url, allow_private: &[IpNet]) -> Result<SocketAddr, LocalError> {
    let guard = Guard::new(allow_private);
    guard
        .check(origin)
        .map_err(|denied| LocalError::new(Trouble::Denied, denied.to_string()))?;
    let addresses = addresses(origin, &guard).await?;
    let stream = first_that_listens(&addresses).await?;
    let address = stream.peer_addr().map_err(|error| LocalError::of(&error))?;
    if origin.scheme() == "https" {
        handshake(stream, origin).await?;
    }
    Ok(address)
}

async fn addresses(origin: &Url, guard: &Guard) -> Result<Vec<SocketAddr>, LocalError> {
    let port = origin.port_or_known_default().unwrap_or(443);
    let name = match origin.host() {
        Some(Host::Domain(name)) => name,
        Some(Host::Ipv4(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![(address, port).into()]),
        None => return Err(LocalError::new(Trouble::Unresolved, "the URL names no host")),
    };
    let looked_up = tokio::time::timeout(CONNECT, tokio::net::lookup_host((name, port))).await;
    let found =
        looked_up.map_err(|_elapsed| LocalError::new(Trouble::Unresolved, "the name was not resolved in time"))?;
    let found = found.map_err(|error| LocalError::new(Trouble::Unresolved, error.to_string()))?;
    guard
        .filter(name, found)
        .map_err(|denied| LocalError::new(Trouble::Denied, denied.to_string()))
}

/// Names often have an address of each family, of which one leads nowhere from here.
async fn first_that_listens(addresses: &[SocketAddr]) -> Result<TcpStream, LocalError> {
    let mut failed = LocalError::new(Trouble::Unresolved, "the name has no address");
    for &address in addresses {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = LocalError::of(&error),
            Err(_elapsed) => failed = LocalError::new(Trouble::Timeout, "no connection in time"),
        }
    }
    Err(failed)
}

/// Agrees on TLS with the certificates that actions trust, which are this machine's own.
async fn handshake(stream: TcpStream, origin: &Url) -> Result<(), LocalError> {
    ensure_tls_provider();
    let setting_up = |error: &dyn std::error::Error| LocalError::new(Trouble::Other, error.to_string());
    let host = origin
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let name = ServerName::try_from(host).map_err(|error| setting_up(&error))?;
    let config = ClientConfig::with_platform_verifier().map_err(|error| setting_up(&error))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| setting_up(&error))?;
    let stream = stream.into_std().map_err(|error| LocalError::of(&error))?;
    let agreed = tokio::task::spawn_blocking(move || agree(connection, stream)).await;
    agreed
        .map_err(|error| setting_up(&error))?
        .map_err(|error| LocalError::of(&error))
}

/// rustls by itself knows blocking streams only.
fn agree(mut connection: ClientConnection, mut stream: std::net::TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    connection.send_close_notify();
    // Whether the other side hears the goodbye changes nothing.
    drop(connection.complete_io(&mut stream));
    Ok(())
}
