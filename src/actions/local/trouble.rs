//! Why another system could not be asked, told apart as far as what to do about it differs.
//!
//! It must not show a URL: what stands in one may be a secret.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Why there is no answer; says what happened, not where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{said}")]
pub struct LocalError {
    /// What kind of failure it is.
    pub trouble: Trouble,
    said: String,
}

/// A kind of failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The host's name does not resolve.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// Nothing came in time.
    Timeout,
    /// TLS was not agreed on.
    Tls(TlsTrouble),
    /// The guard keeps actions from that address.
    Denied,
    /// Anything else.
    Other,
}

/// Why TLS was not agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsTrouble {
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// The certificate is signed by nobody that this machine trusts, or its chain is incomplete.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName,
    /// The other side does not speak TLS on that port.
    NotTls,
    /// Anything else.
    Other,
}

/// A name that does not resolve, so that it is found again below reqwest's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(pub(super) String);

impl LocalError {
    pub(super) fn new(trouble: Trouble, said: impl Into<String>) -> Self {
        Self {
            trouble,
            said: said.into(),
        }
    }

    /// The innermost error says what happened; those around it only repeat the URL.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let trouble = causes(error).find_map(trouble).unwrap_or(Trouble::Other);
        let said = causes(error).last().map(ToString::to_string).unwrap_or_default();
        Self { trouble, said }
    }
}

impl From<reqwest::Error> for LocalError {
    fn from(error: reqwest::Error) -> Self {
        let read = Self::of(&error);
        match read.trouble {
            Trouble::Other if error.is_timeout() => Self::new(Trouble::Timeout, read.said),
            _ => read,
        }
    }
}

/// An error and what it came from, outermost first. An [`io::Error`] hides the error that it was made of from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| error.source())
    })
}

fn trouble(error: &(dyn Error + 'static)) -> Option<Trouble> {
    if error.is::<Unresolved>() {
        return Some(Trouble::Unresolved);
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(Trouble::Tls(tls_trouble(tls)));
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some(Trouble::Refused),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Some(Trouble::Timeout),
        _ => None,
    }
}

fn tls_trouble(error: &rustls::Error) -> TlsTrouble {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => TlsTrouble::NotTls,
            _ => TlsTrouble::Other,
        };
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsTrouble::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsTrouble::NotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsTrouble::WrongName,
        // A self-signed certificate is its own authority, which as a server's certificate it may not be.
        // A bad signature is that of somebody who took a trusted authority's name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_) => {
            TlsTrouble::UnknownIssuer
        }
        _ => TlsTrouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_however_deep_it_is_wrapped() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        let read = LocalError::of(&wrapped);
        assert_eq!(read.trouble, Trouble::Tls(TlsTrouble::Expired));
        assert!(read.to_string().contains("certificate"), "{read}");
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(LocalError::of(&refused).trouble, Trouble::Refused);
        let unresolved = io::Error::other(Unresolved("no such name".to_owned()));
        assert_eq!(LocalError::of(&unresolved).trouble, Trouble::Unresolved);
        assert_eq!(LocalError::of(&std::fmt::Error).trouble, Trouble::Other);
    }
}
