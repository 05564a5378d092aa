//! What every command needs of the configuration: to have it read, and to know which endpoint is meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::failure::Failure;
use crate::config::{self, Config, Endpoint, Loaded};

/// Reads the configuration; every problem in it is the failure.
pub(super) fn load(config: Option<&Path>) -> Result<Loaded, Failure> {
    config::load(&config::locate(config), &environment).map_err(Failure::Configuration)
}

/// The process' environment, as `config` wants to be given it. A variable that is not text counts as not set.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The endpoint called `name`; without a name, the only one there is.
pub(super) fn choose<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Endpoint, Failure> {
    let known = || {
        let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        format!("the configuration has `{}`", names.join("`, `"))
    };
    match (name, config.endpoints.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::usage(
            "which endpoint is meant?",
            format!("add `--endpoint NAME`; {}", known()),
        )),
        (Some(name), endpoints) => endpoints
            .iter()
            .find(|endpoint| endpoint.name == name)
            .ok_or_else(|| Failure::usage(format!("there is no endpoint `{name}`"), known())),
    }
}

/// The address at which a listener of ours is reached from this machine: nobody can connect to `0.0.0.0` everywhere.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// How the world reaches the public listener, as far as the configuration says; no slash at the end.
pub(super) fn base_url(config: &Config) -> String {
    match &config.server.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{}", reachable(config.server.listen)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The configuration that `text` means.
    pub(in crate::cli) fn configured(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        config::load(&config::Source::File(path), &|_| None).unwrap().config
    }

    /// Two endpoints, the first of which can reply.
    pub(in crate::cli) const TWO_ENDPOINTS: &str = r#"
        [[endpoint]]
        name = "main"
        path = "/hooks/sms"
        gateway = "mobile-api-connect"
        secrets = ["first-secret", "second-secret"]
        reply = { token = "reply-token" }
        [[endpoint]]
        name = "other"
        path = "/hooks/other"
        gateway = "mobile-api-connect"
        secrets = ["first-secret"]
        suppression_group = "other"
        [action.hours]
        reply = { text = "We are open. You asked: {{ text }}" }
        [action.crm]
        http = { url = "https://crm.example.com/sms", json = { code = "{{ m.code }}" } }
        [[rule]]
        name = "code"
        regex = 'code (?<code>\d+)'
        actions = ["crm", "hours"]
        [[rule]]
        name = "rest"
        any = true
        actions = ["hours"]
    "#;

    #[test]
    fn an_endpoint_must_be_named_when_there_are_several_and_must_be_there() {
        let config = configured(TWO_ENDPOINTS);
        assert_eq!(choose(&config, Some("other")).unwrap().name, "other");
        for wrong in [None, Some("third")] {
            let said = choose(&config, wrong).unwrap_err().to_string();
            assert!(said.contains("`main`, `other`"), "{said}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reached("[::]:8080"), "[::1]:8080");
        assert_eq!(reached("192.0.2.1:80"), "192.0.2.1:80");
    }
}
