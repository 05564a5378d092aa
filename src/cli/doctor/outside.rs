//! What actions and replies talk to: whether the way there is clear. No message, no request of an action's own is sent.

use std::sync::Arc;

use tokio::task::JoinHandle;
use url::Url;

use super::report::{Check, Report};
use crate::actions::local::{self, LocalError, TlsTrouble, Trouble};
use crate::config::{Config, Effect, HttpSpec};

/// Tries every gateway's and every action's host, all at once, and reports in the order of the configuration.
pub(super) async fn check(config: &Arc<Config>, report: &mut Report) {
    let replies = config.endpoints.iter().filter_map(|endpoint| {
        let channel = endpoint.reply.as_ref()?;
        Some(spawn(format!("replies {}", endpoint.name), &channel.request))
    });
    let actions = config.actions.values().filter_map(|action| match &action.effect {
        Effect::Http(spec) => Some(spawn(format!("action {}", action.name), spec)),
        Effect::Connector(_) | Effect::Email(_) | Effect::Reply(_) | Effect::Log(_) => None,
    });
    let begun: Vec<(String, JoinHandle<Check>)> = replies.chain(actions).collect();
    for (what, check) in begun {
        let failed = |error| Check::failed(what, format!("{error}"), "this is a bug of smshook: please report it");
        report.add(check.await.unwrap_or_else(failed));
    }
}

fn spawn(what: String, spec: &HttpSpec) -> (String, JoinHandle<Check>) {
    let (origin, allowed) = (spec.origin.clone(), spec.allow_private.clone());
    let name = what.clone();
    let trying = async move {
        let connected = local::connect(&origin, &allowed).await;
        connection(name, &origin, connected.map(drop))
    };
    (what, tokio::spawn(trying))
}

fn connection(what: String, origin: &Url, connected: Result<(), LocalError>) -> Check {
    let place = origin.origin().ascii_serialization();
    match connected {
        Ok(()) if origin.scheme() == "https" => Check::ok(
            what,
            format!("{place} answers and its certificate holds; no request was sent"),
        ),
        Ok(()) => Check::ok(what, format!("{place} answers; no request was sent")),
        Err(error) => Check::failed(
            what,
            format!("{place} cannot be reached: {error}"),
            advice(&error, "its URL"),
        ),
    }
}

/// What to do about a host that cannot be reached; `address` is where its address is configured.
pub(super) fn advice(error: &LocalError, address: &str) -> String {
    match error.trouble {
        Trouble::Unresolved => {
            format!("make a DNS record for the name, or correct {address}; is this machine's DNS working?")
        }
        Trouble::Refused => {
            format!("nobody listens there: start it, open the port in the firewall, or correct {address}")
        }
        Trouble::Timeout => format!("a firewall drops the connection, or {address} leads to a machine that is off"),
        Trouble::Denied => {
            "the guard keeps actions out of private networks: list this one under `allow_private` if it is meant"
                .to_owned()
        }
        Trouble::Tls(tls) => tls_advice(tls, address),
        Trouble::Other => format!("look at both ends of the connection; {address} says where it leads"),
    }
}

fn tls_advice(trouble: TlsTrouble, address: &str) -> String {
    match trouble {
        TlsTrouble::Expired => "the certificate has expired: renew it, and see why that did not happen by itself".to_owned(),
        TlsTrouble::NotYetValid => "the certificate is not valid yet: is this machine's clock right?".to_owned(),
        TlsTrouble::UnknownIssuer => {
            "nobody whom this machine trusts has signed the certificate: use one of a public authority, serve its whole chain, \
             or install a private authority on this machine (or name its file in SSL_CERT_FILE); gateways need to trust it too"
                .to_owned()
        }
        TlsTrouble::WrongName => format!("the certificate is for another name: get one for this name, or correct {address}"),
        TlsTrouble::NotTls => format!("no TLS is spoken on that port: correct {address}, or turn TLS on there"),
        TlsTrouble::Other => "TLS was not agreed on: the log of the other side may say why".to_owned(),
    }
}
