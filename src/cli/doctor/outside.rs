//! What actions and replies talk to: whether the way there is clear. No message, no request of an action's own is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use url::Url;

use super::report::{Check, Report};
use crate::actions::local::{self, LocalError, TlsTrouble, Trouble};
use crate::actions::{Actions, Probed};
use crate::cli::trial;
use crate::config::{ActionSpec, Config, Effect, HttpSpec};

/// How long a system may take to answer a request that only looks, a token for it included.
const PROBE: Duration = Duration::from_secs(15);

/// Tries every gateway's and every action's host, all at once, and reports in the order of the configuration.
pub(super) async fn check(config: &Arc<Config>, report: &mut Report) {
    let replies = config.endpoints.iter().filter_map(|endpoint| {
        let channel = endpoint.reply.as_ref()?;
        Some(spawn(format!("replies {}", endpoint.name), &channel.request))
    });
    let begun: Vec<(String, JoinHandle<Check>)> = replies.chain(actions(config, report)).collect();
    for (what, check) in begun {
        let failed = |error| {
            let advice = "this is a bug of smshook: please report it";
            Check::failed(what, format!("{error}"), advice)
        };
        report.add(check.await.unwrap_or_else(failed));
    }
}

/// One's own requests are not sent, a connector's are as far as it has one that only looks.
fn actions(config: &Arc<Config>, report: &mut Report) -> Vec<(String, JoinHandle<Check>)> {
    let actions = match Actions::for_trial(Arc::clone(config), None) {
        Ok(actions) => Some(Arc::new(actions)),
        Err(error) => {
            report.add(Check::failed(
                "actions",
                error.to_string(),
                "no action can run before this is mended",
            ));
            None
        }
    };
    let begin = |action: &ActionSpec| {
        let what = format!("action {}", action.name);
        match &action.effect {
            Effect::Http(spec) => Some(spawn(what, spec)),
            Effect::Connector(_) | Effect::Email(_) => {
                let probing = probe(Arc::clone(config), Arc::clone(actions.as_ref()?), action.name.clone());
                Some((what, tokio::spawn(probing)))
            }
            Effect::Reply(_) | Effect::Log(_) => None,
        }
    };
    config.actions.values().filter_map(begin).collect()
}

/// Asks the account of an action with a request that only looks.
async fn probe(config: Arc<Config>, actions: Arc<Actions>, action: String) -> Check {
    let what = format!("action {action}");
    let title = config
        .actions
        .get(&action)
        .map(|action| title(&action.effect))
        .unwrap_or_default();
    let asking = async {
        let endpoint = config.endpoints.first()?;
        actions.probe(&action, &trial::nobodys_job(endpoint, &action)).await
    };
    let probed = tokio::time::timeout(PROBE, asking)
        .await
        .unwrap_or_else(|_elapsed| Some(Probed::Fails(format!("no answer within {} s", PROBE.as_secs()))));
    match probed {
        Some(Probed::Answers) => Check::ok(what, format!("{title} answers and takes the credentials")),
        Some(Probed::NotAsked) | None => Check::ok(
            what,
            format!(
                "{title} was not asked: it has no request that only looks; `smshook actions test {action}` sends a real one"
            ),
        ),
        Some(Probed::CredentialsRefused(said)) => Check::failed(
            what,
            format!("{title} refuses the credentials: {said}"),
            "give it working ones, with every permission that the connector needs, and start the service again",
        ),
        Some(Probed::Fails(said)) => Check::failed(
            what,
            format!("{title} cannot be used: {said}"),
            "correct its address in the configuration, or wait until it works again: jobs are tried again by themselves",
        ),
    }
}

fn title(effect: &Effect) -> String {
    match effect {
        Effect::Connector(spec) => spec.title.clone(),
        Effect::Email(spec) => format!("the SMTP server `{}:{}`", spec.host, spec.port),
        Effect::Reply(_) | Effect::Http(_) | Effect::Log(_) => String::new(),
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
