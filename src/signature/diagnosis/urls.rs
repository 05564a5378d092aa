//! Which URL the gateway may have called, where it is not the one that was configured.
//!
//! A proxy ends TLS, takes off a prefix, adds a slash; some say in a header what they did. It must not look anything up.

use http::{HeaderMap, HeaderName};
use url::form_urlencoded;

use super::UrlChange;
use super::bodies::form_spellings;

/// A URL in pieces that can be put together again byte for byte.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pieces<'a> {
    scheme: &'a str,
    /// Host and port.
    authority: String,
    path: String,
}

impl<'a> Pieces<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(slash)?;
        Some(Self {
            scheme,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// A URL without its query, a query, and what is different about the two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Guess {
    pub(super) changes: Vec<UrlChange>,
    pub(super) url: String,
    pub(super) query: Option<String>,
}

/// One piece of a URL and what is different about it.
type Option1<T> = (Option<UrlChange>, T);

/// No header is longer than this where it names a part of a URL.
const LONGEST: usize = 2048;
/// More than three things are not wrong at once.
const MOST_CHANGES: usize = 3;

/// Guesses at the URL and the query, those with the fewest changes first, the first of them what was configured. Empty where
/// no URL was configured.
pub(super) fn guesses(url: &str, query: Option<&str>, headers: &HeaderMap) -> Vec<Guess> {
    let Some(pieces) = Pieces::of(url) else {
        return Vec::new();
    };
    let paths = paths(&pieces.path, headers);
    let queries = queries(query, headers);
    let mut guesses = Vec::new();
    for (scheme_change, scheme) in schemes(pieces.scheme) {
        for (host_change, authority) in authorities(&pieces.authority, scheme, headers) {
            for (path_change, path) in &paths {
                for (query_change, query) in &queries {
                    let changes = [&scheme_change, &host_change, path_change, query_change];
                    guesses.push(Guess {
                        changes: changes.into_iter().flatten().cloned().collect(),
                        url: format!("{scheme}://{authority}{path}"),
                        query: query.clone(),
                    });
                }
            }
        }
    }
    guesses.retain(|guess| guess.changes.len() <= MOST_CHANGES);
    guesses.sort_by_key(|guess| guess.changes.len());
    guesses
}

fn schemes(scheme: &str) -> Vec<Option1<&str>> {
    let other = match scheme {
        "https" => (Some(UrlChange::Http), "http"),
        _ => (Some(UrlChange::Https), "https"),
    };
    vec![(None, scheme), other]
}

fn authorities(authority: &str, scheme: &str, headers: &HeaderMap) -> Vec<Option1<String>> {
    let default = if scheme == "https" { "443" } else { "80" };
    let (host, port) = split_port(authority);
    let mut all = vec![(None, authority.to_owned())];
    for header in ["host", "x-forwarded-host", "x-original-host"] {
        for (name, value) in named(headers, header) {
            all.push((Some(UrlChange::Host(name)), value));
        }
    }
    if let Some(value) = forwarded(headers, "host") {
        all.push((Some(UrlChange::Host(http::header::FORWARDED)), value));
    }
    match port {
        Some(_) => all.push((Some(UrlChange::WithoutPort), host.to_owned())),
        None => all.push((Some(UrlChange::DefaultPort), format!("{host}:{default}"))),
    }
    for (name, value) in named(headers, "x-forwarded-port") {
        all.push((Some(UrlChange::Port(name)), format!("{host}:{value}")));
    }
    for (name, value) in named(headers, "host") {
        if let (_, Some(port)) = split_port(&value) {
            all.push((Some(UrlChange::Port(name)), format!("{host}:{port}")));
        }
    }
    all.push((Some(UrlChange::LowerCase), authority.to_ascii_lowercase()));
    different(all)
}

/// `[::1]:80` has its port after the bracket.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

fn paths(path: &str, headers: &HeaderMap) -> Vec<Option1<String>> {
    let mut all = vec![(None, path.to_owned())];
    match path.strip_suffix('/') {
        Some(bare) => all.push((Some(UrlChange::WithoutSlash), bare.to_owned())),
        None => all.push((Some(UrlChange::Slash), format!("{path}/"))),
    }
    for (name, target) in targets(headers) {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        all.push((Some(UrlChange::Path(name)), path.to_owned()));
    }
    for header in ["x-forwarded-prefix", "x-script-name", "x-forwarded-path"] {
        for (name, prefix) in named(headers, header) {
            let prefix = prefix.trim_end_matches('/');
            all.push((Some(UrlChange::Prefix(name)), format!("{prefix}{path}")));
        }
    }
    let after_first = path.get(1..).and_then(|path| path.find('/')).map(|at| at + 1);
    if let Some(rest) = after_first.and_then(|at| path.get(at..)) {
        all.push((Some(UrlChange::WithoutPrefix), rest.to_owned()));
    }
    different(all)
}

fn queries(query: Option<&str>, headers: &HeaderMap) -> Vec<Option1<Option<String>>> {
    let mut all = vec![(None, query.map(str::to_owned))];
    for (name, target) in targets(headers) {
        let query = target.split_once('?').map(|(_, query)| query.to_owned());
        if query.is_some() {
            all.push((Some(UrlChange::Query(name)), query));
        }
    }
    if let Some(query) = query {
        all.push((Some(UrlChange::WithoutQuery), None));
        let mut segments: Vec<_> = query.split('&').collect();
        segments.sort_unstable();
        all.push((Some(UrlChange::QuerySorted), Some(segments.join("&"))));
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        for spelling in form_spellings(&pairs) {
            let spelling = String::from_utf8(spelling).ok();
            all.push((Some(UrlChange::QueryEncoded), spelling));
        }
    }
    different(all)
}

/// Of values that are the same, the one with the fewest changes.
fn different<T: PartialEq>(all: Vec<Option1<T>>) -> Vec<Option1<T>> {
    let mut kept: Vec<Option1<T>> = Vec::new();
    for (change, value) in all {
        if kept.iter().all(|(_, known)| *known != value) {
            kept.push((change, value));
        }
    }
    kept
}

/// The targets of the request that proxies say they received.
fn targets(headers: &HeaderMap) -> Vec<(HeaderName, String)> {
    let names = ["x-original-uri", "x-original-url", "x-rewrite-url", "x-forwarded-uri"];
    let all = names.into_iter().flat_map(|name| named(headers, name));
    all.filter_map(|(name, target)| {
        // Some give the whole URL.
        let target = match Pieces::of(&target) {
            Some(pieces) => pieces.path,
            None => target,
        };
        target.starts_with('/').then_some((name, target))
    })
    .collect()
}

/// The values of a header, each of a list by itself; the first of them is what the first proxy saw.
fn named(headers: &HeaderMap, name: &str) -> Vec<(HeaderName, String)> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Vec::new();
    };
    let values = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    values
        .filter(|value| value.len() <= LONGEST)
        .filter_map(|value| value.split(',').next())
        .map(|value| (name.clone(), value.trim().to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .take(1)
        .collect()
}

/// A parameter of the first element of `Forwarded` (RFC 7239, 4).
fn forwarded(headers: &HeaderMap, parameter: &str) -> Option<String> {
    let (_, value) = named(headers, "forwarded").into_iter().next()?;
    let pair = value.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case(parameter)
            .then(|| value.trim_matches('"').to_owned())
    })?;
    (!pair.is_empty()).then_some(pair)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// What makes `called` of what was configured; the fewest changes.
    fn explained(configured: &str, query: Option<&str>, came: &[(&'static str, &str)], called: &str) -> Vec<String> {
        let (url, called_query) = match called.split_once('?') {
            Some((url, query)) => (url, Some(query.to_owned())),
            None => (called, None),
        };
        let found = guesses(configured, query, &headers(came))
            .into_iter()
            .find(|guess| guess.url == url && guess.query == called_query);
        let changes = found.unwrap_or_else(|| panic!("{called} is not found")).changes;
        changes.iter().map(UrlChange::to_string).collect()
    }

    #[test]
    fn each_way_a_public_url_is_wrong_is_known() {
        let here = "http://sms.example.com/hooks/sms";
        let named = |name: &str| format!("`public_url` with the host that the header {name} names");
        assert_eq!(explained(here, None, &[], here), Vec::<String>::new());
        for (came, called, change) in [
            (
                &[][..],
                "https://sms.example.com/hooks/sms",
                "`public_url` with https".to_owned(),
            ),
            (
                &[],
                "http://sms.example.com:80/hooks/sms",
                "`public_url` with the port of its scheme written out".into(),
            ),
            (
                &[],
                "http://sms.example.com/hooks/sms/",
                "`public_url` with a slash at its end".into(),
            ),
            (
                &[],
                "http://sms.example.com/sms",
                "`public_url` without the first part of its path".into(),
            ),
            (&[("host", "a.example")], "http://a.example/hooks/sms", named("host")),
            (
                &[("x-forwarded-host", "a.example, b")],
                "http://a.example/hooks/sms",
                named("x-forwarded-host"),
            ),
            (
                &[("forwarded", "for=1;host=\"a.example\"")],
                "http://a.example/hooks/sms",
                named("forwarded"),
            ),
            (
                &[("x-forwarded-port", "8443")],
                "http://sms.example.com:8443/hooks/sms",
                "`public_url` with the port that the header x-forwarded-port names".into(),
            ),
            (
                &[("x-original-uri", "/in/sms?a=1")],
                "http://sms.example.com/in/sms",
                "`public_url` with the path that the header x-original-uri names".into(),
            ),
            (
                &[("x-forwarded-prefix", "/api/")],
                "http://sms.example.com/api/hooks/sms",
                "`public_url` with the path's prefix that the header x-forwarded-prefix names (a proxy takes it off)"
                    .into(),
            ),
        ] {
            assert_eq!(explained(here, None, came, called), [change], "{called}");
        }
        let slash = "https://Sms.example.com:443/";
        for (called, change) in [
            (
                "https://Sms.example.com:443",
                "`public_url` without the slash at its end",
            ),
            ("https://Sms.example.com/", "`public_url` without its port"),
            (
                "https://sms.example.com:443/",
                "`public_url` with its host in lower case",
            ),
            ("http://Sms.example.com:443/", "`public_url` with http"),
        ] {
            assert_eq!(explained(slash, None, &[], called), [change], "{called}");
        }
    }

    #[test]
    fn several_things_may_be_wrong_at_once_and_a_query_too() {
        let came = [("host", "sms.example.com"), ("x-original-uri", "/in/sms?b=1&a=2")];
        let found = explained(
            "http://127.0.0.1:8080/hooks/sms",
            None,
            &came,
            "https://sms.example.com/in/sms",
        );
        assert_eq!(found.len(), 3, "{found:?}");
        let here = "http://h/p";
        for (query, came, called, change) in [
            (
                Some("b=1&a=2"),
                &[][..],
                "http://h/p",
                "the URL without its query (something on the way added it)",
            ),
            (
                Some("b=1&a=2"),
                &[],
                "http://h/p?a=2&b=1",
                "the query with its parameters sorted (something on the way wrote them in another order)",
            ),
            (
                Some("a=x%20y"),
                &[],
                "http://h/p?a=x+y",
                "the query encoded otherwise (something on the way decoded and encoded it again)",
            ),
            (
                None,
                &[("x-original-uri", "/p?a=1")],
                "http://h/p?a=1",
                "the query that the header x-original-uri names (something on the way took it off)",
            ),
        ] {
            assert_eq!(explained(here, query, came, called), [change], "{called}");
        }
    }

    #[test]
    fn without_a_url_there_is_nothing_to_guess_from() {
        assert_eq!(guesses("", Some("a=1"), &HeaderMap::new()), []);
    }
}
