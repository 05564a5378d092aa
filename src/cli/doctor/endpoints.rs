//! Each endpoint's own URL, tried as its gateway would: a signed self-test, there and back.
//!
//! The service answers it without storing anything. It must not follow redirects, since no gateway does.

use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode, header};
use url::Url;

use super::clock::Reading;
use super::outside;
use super::report::{Check, Report, Status};
use crate::actions::local::{self, LocalAnswer, LocalError, Trouble};
use crate::cli::{endpoint as endpoints, output};
use crate::config::{Config, Endpoint, Mode};
use crate::http::{SelfTest, self_test_body};
use crate::signature::{self, Keys, Outgoing};

/// Tries every endpoint, and compares the clock of whoever answered.
pub(super) async fn check(config: &Config, offline: bool, report: &mut Report) {
    for endpoint in &config.endpoints {
        if let Some(check) = observes(endpoint) {
            report.add(check);
        }
        let (check, reading) = try_endpoint(config, endpoint, offline).await;
        report.add(check);
        if let Some(reading) = reading {
            report.add(reading.check(&format!("what answered for `{}`", endpoint.name)));
        }
    }
}

/// An endpoint that lets in what does not verify is one to look at.
fn observes(endpoint: &Endpoint) -> Option<Check> {
    let Mode::Observe { runs_actions } = endpoint.mode else {
        return None;
    };
    let consequence = if runs_actions {
        "stored, and runs its actions"
    } else {
        "stored and marked"
    };
    Some(Check::warning(
        format!("mode {}", endpoint.name),
        format!("it only observes signatures: what anybody posts there is {consequence}"),
        "`smshook verify` and the log name what is wrong with a signature; then set `mode = \"enforce\"`",
    ))
}

/// Why no self-test can be sent to this endpoint as its gateway would send it, and what to do instead.
fn untriable(endpoint: &Endpoint) -> Option<(&'static str, &'static str)> {
    if !endpoint.gateway.methods.contains(&Method::POST) {
        return Some((
            "not tried: its gateway calls with GET, which a self-test does not",
            "send a text to it with `smshook send`",
        ));
    }
    match (&endpoint.keys, endpoint.mode) {
        (None, Mode::Observe { .. }) => Some((
            "not tried: it has no secret yet, so nothing that is sent there verifies",
            "add `secrets` as soon as the gateway has given one",
        )),
        (Some(keys), _) if keys.signer().is_none() => Some((
            "not tried: its gateway signs with a private key, which only the gateway has",
            "have the gateway send a text and look for it in v1.messages",
        )),
        _ => None,
    }
}

async fn try_endpoint(config: &Config, endpoint: &Endpoint, offline: bool) -> (Check, Option<Reading>) {
    let what = format!("endpoint {}", endpoint.name);
    if let Some((detail, advice)) = untriable(endpoint) {
        return (Check::warning(what, detail, advice), None);
    }
    let (direct, public) = (direct_url(config, endpoint), public_url(endpoint));
    let Some(url) = public.as_ref().filter(|_| !offline).or(direct.as_ref()) else {
        return (
            Check::warning(
                what,
                "not tried: it listens on any free port, and there is no `public_url`",
                "set `server.public_url`, or a port in `server.listen`",
            ),
            None,
        );
    };
    let attempt = Attempt::make(url, endpoint).await;
    let mut check = attempt.check(&what, endpoint);
    if Some(url) == direct.as_ref() && check.status == Status::Ok && !offline {
        check
            .detail
            .push_str("; the public way was not tried: there is no `public_url`");
    }
    if let (true, true, Some(direct)) = (Some(url) == public.as_ref(), check.status == Status::Failed, direct) {
        let advice = check.advice.take().unwrap_or_default();
        check.advice = Some(format!(
            "{advice}; {}",
            Attempt::make(&direct, endpoint).await.compared()
        ));
    }
    (check, attempt.reading)
}

/// As the world reaches it.
fn public_url(endpoint: &Endpoint) -> Option<String> {
    Some(endpoint.url.clone()).filter(|url| !url.is_empty())
}

/// As this machine reaches it, whatever lies before it.
fn direct_url(config: &Config, endpoint: &Endpoint) -> Option<String> {
    let listen = config.server.listen;
    (listen.port() != 0).then(|| format!("http://{}{}", endpoints::reachable(listen), endpoint.path))
}

/// One self-test and what came of it.
struct Attempt {
    url: String,
    nonce: String,
    bytes: usize,
    answer: Result<LocalAnswer, LocalError>,
    reading: Option<Reading>,
}

/// What is wrong and what to do about it.
type Finding = (String, String);

impl Attempt {
    async fn make(url: &str, endpoint: &Endpoint) -> Self {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let asked = Utc::now();
        let outgoing = self_test(endpoint, &nonce, asked);
        let bytes = outgoing.body.len();
        // The query may hold a secret, so only this request sees it.
        let target = if outgoing.query.is_empty() {
            url.to_owned()
        } else {
            format!("{url}?{}", outgoing.query)
        };
        let answer = local::post(&target, outgoing.headers, outgoing.body).await;
        let date = |answer: &LocalAnswer| Reading::of_answer(asked, Utc::now(), &answer.headers);
        Self {
            reading: answer.as_ref().ok().and_then(date),
            url: url.to_owned(),
            nonce,
            bytes,
            answer,
        }
    }

    fn check(&self, what: &str, endpoint: &Endpoint) -> Check {
        let answer = match &self.answer {
            Ok(answer) => answer,
            Err(error) => {
                let detail = format!("{} cannot be reached: {error}", self.url);
                return Check::failed(what, detail, unreachable(error));
            }
        };
        if let (StatusCode::OK, Some(self_test)) = (answer.status, SelfTest::read(&answer.body)) {
            return self.answered(what, &self_test);
        }
        let (detail, advice) = self.refused(endpoint, answer);
        Check::failed(what, format!("{} {detail}", self.url), advice)
    }

    /// A smshook with our secret answered.
    fn answered(&self, what: &str, self_test: &SelfTest) -> Check {
        let (url, ours) = (&self.url, env!("CARGO_PKG_VERSION"));
        if self_test.nonce != self.nonce {
            return Check::failed(
                what,
                format!("{url} answered with what it had answered before"),
                "something between keeps answers: turn the cache off for this path",
            );
        }
        if !self_test.accepts {
            return Check::failed(
                what,
                format!("{url} leads here, and the service cannot store messages now"),
                "its database is away or behind: see `database` and `migrations` above, and the service's log",
            );
        }
        if self_test.version != ours {
            return Check::warning(
                what,
                format!(
                    "{url} is answered by smshook {}, and this is {ours}",
                    output::one_line(&self_test.version, 40)
                ),
                "start the service again with this binary, or run the doctor of the other one",
            );
        }
        Check::ok(what, format!("{url} takes signed deliveries and could store them"))
    }

    /// In one clause, for comparison with the public way.
    fn compared(&self) -> String {
        let url = &self.url;
        match &self.answer {
            Ok(answer) if SelfTest::read(&answer.body).is_some() => {
                format!("directly, at {url}, it works: what lies between is at fault")
            }
            Ok(answer) => format!("directly, at {url}, it is answered {} as well", answer.status.as_u16()),
            Err(error) => format!("directly, at {url}, it cannot be reached either: {error}"),
        }
    }

    /// Somebody answered, and not as the service does. What is wrong, and what to do.
    fn refused(&self, endpoint: &Endpoint, answer: &LocalAnswer) -> Finding {
        let gateway = &endpoint.gateway;
        let status = answer.status;
        let who = header(&answer.headers, &header::SERVER).map_or_else(
            || "whatever answered, which does not give its name,".to_owned(),
            |server| format!("`{server}`"),
        );
        let by = header(&answer.headers, &header::SERVER).map(|server| format!(" (Server: {server})"));
        let said = format!("answered {}{}", status.as_u16(), by.unwrap_or_default());
        if status.is_redirection() {
            return self.redirected(answer, &said);
        }
        if endpoint.keys.is_some()
            && [gateway.invalid_signature_status, gateway.missing_signature_status].contains(&status)
        {
            return (said, self.signature_advice());
        }
        if endpoint.keys.is_some() && gateway.never_4xx && status == StatusCode::SERVICE_UNAVAILABLE {
            let advice = format!(
                "this gateway is answered 503 where others are answered 401: {}; or it could not be stored",
                self.signature_advice()
            );
            return (said, advice);
        }
        let advice = match status.as_u16() {
            200..=299 => format!(
                "another site answers at this address, or a smshook older than the self-test: it is {who} that took it for its own"
            ),
            401 | 403 | 407 => format!("{who} asks for a login or forbids this path: let POST through without one"),
            404 | 410 => format!(
                "{who} does not know this path: pass it on unchanged in the proxy, or start the service again if its \
                 configuration was changed"
            ),
            405 => format!("{who} does not take POST at this path: pass it on to smshook"),
            413 => format!(
                "{who} takes no body of {} bytes: raise the proxy's limit to `server.max_body`",
                self.bytes
            ),
            429 => format!("{who} limits requests: leave gateways out of that"),
            502..=504 => format!(
                "{who} cannot reach the service behind it: is it running, and is that the right address and port?"
            ),
            500..=599 => "the log of the service, or of the proxy before it, says why".to_owned(),
            _ => format!("{who} stands between: its log says why"),
        };
        (said, advice)
    }

    fn redirected(&self, answer: &LocalAnswer, said: &str) -> Finding {
        let here = Url::parse(&self.url).ok();
        let there = header(&answer.headers, &header::LOCATION);
        let target = there.as_ref().and_then(|location| here.as_ref()?.join(location).ok());
        let Some(mut target) = target else {
            let advice = "gateways follow no redirects: register the URL that answers by itself";
            return (format!("{said}, a redirect to nowhere"), advice.to_owned());
        };
        // Only where to: a query may carry what is nobody's business.
        target.set_query(None);
        target.set_fragment(None);
        let to_https = here.is_some_and(|here| here.scheme() == "http" && target.scheme() == "https");
        let advice = if to_https {
            "gateways follow no redirects: write `public_url` with https://, and give the gateway that URL"
        } else {
            "gateways follow no redirects: give the gateway the final URL and make `public_url` fit it, or take the \
             redirect out of the proxy"
        };
        (
            format!("{said}, a redirect to {}", output::one_line(target.as_str(), 200)),
            advice.to_owned(),
        )
    }

    fn signature_advice(&self) -> String {
        format!(
            "the service has another secret than this configuration (start it again: it reads its secrets at the start), or \
             another smshook answers there, or something between changes the body or drops the signature's header: {} bytes \
             were sent, and the service's log says how many came (`bytes`) and what was wrong (`reason`)",
            self.bytes
        )
    }
}

fn unreachable(error: &LocalError) -> String {
    match error.trouble {
        Trouble::Refused => {
            "start the service (`smshook serve`) or the proxy before it, open the port in the firewall, or correct the address".to_owned()
        }
        Trouble::Timeout => {
            "a firewall drops the connection, or a proxy waits for a service that it cannot reach; gateways give up as well".to_owned()
        }
        _ => outside::advice(error, "`public_url`"),
    }
}

/// A self-test, signed as the gateway signs.
fn self_test(endpoint: &Endpoint, nonce: &str, now: DateTime<Utc>) -> Outgoing {
    let mut outgoing = Outgoing {
        method: Method::POST,
        url: endpoint.url.clone(),
        query: String::new(),
        headers: HeaderMap::new(),
        body: self_test_body(nonce).into_bytes(),
        at: now.timestamp_millis(),
    };
    outgoing
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(signer) = endpoint.keys.as_ref().and_then(Keys::signer) {
        signature::sign(&endpoint.gateway.signature, &signer, &mut outgoing);
    }
    outgoing
}

/// A header's value, not endless and without what could steer a terminal.
fn header(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(output::one_line(value, 200))
}
