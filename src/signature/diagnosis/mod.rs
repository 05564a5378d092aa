//! Explains why a delivery does or does not verify: the work of `smshook verify`, and of the log line of a signature that
//! failed.
//!
//! It tries what people and proxies are known to do to secrets, bodies and URLs, and says which of it would make the
//! signature right. It must never show a secret, a right digest, a number, or what a sender put into a header, a query or a
//! body; and nothing of it may reach the sender, nor be done before the sender has its answer: it would help a forger.

mod bodies;
mod detached;
mod finding;
mod fixed;
mod presented;
mod secrets;
#[cfg(test)]
mod tests;
mod token;
mod urls;

use super::scheme::Kind;
use super::{Keys, Proof, Received, Scheme, VerifiedBody};

pub use finding::{Change, Finding, FixedSpelling, FixedTrouble, Shape, TokenTrouble, UrlChange};

/// A delivery to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// How the gateway signs.
    pub scheme: &'a Scheme,
    /// The secrets in force.
    pub keys: &'a Keys,
    /// Other secrets of the operator's that the gateway may have used, each with what to call it (`the retired secret`,
    /// `the secret of the endpoint other`). At most 16 of them are tried.
    pub others: &'a [(&'a str, &'a Keys)],
    /// The delivery.
    pub received: Received<'a>,
    /// How many bytes may be hashed to find out.
    pub budget: u64,
}

/// Everything that can be said about a delivery. Never empty.
pub fn diagnose(case: &Case<'_>) -> Vec<Finding> {
    let refusal = match super::verify(case.scheme, case.keys, &case.received) {
        Ok(verified) => {
            return vec![Finding::Verifies {
                secret: label(case.keys, &verified),
            }];
        }
        Err(refusal) => refusal,
    };
    match &case.scheme.0 {
        Kind::Signed(signed) => detached::findings(signed, case, refusal),
        Kind::Jwt(jwt) => token::findings(jwt, case, refusal),
        Kind::Fixed(fixed) => fixed::findings(fixed, case, refusal),
    }
}

/// What was found, in one sentence for a log line.
pub fn cause(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

fn label(keys: &Keys, verified: &VerifiedBody) -> String {
    let label = match verified.proof() {
        Proof::Secret(place) => keys.label(place),
        Proof::Unsigned | Proof::Stored | Proof::Observed => None,
    };
    label.unwrap_or_default().to_owned()
}
