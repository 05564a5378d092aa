//! As whom and to whom: the gateway that is played, what it signs with, the URL it signs and the URL that is called.
//!
//! A secret comes from the configuration, the environment or a file, never from the command line, where others can read it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use secrecy::SecretString;
use toml::{Table, Value as Toml};
use url::Url;

use super::{Arguments, Way};
use crate::cli::endpoint;
use crate::cli::failure::Failure;
use crate::config::{self, Config, Endpoint, Mode, Source};
use crate::gateway::{self, Format, Gateway};
use crate::signature::Signer;

/// Everything about a delivery but what it says.
pub(in crate::cli) struct Target {
    pub(super) gateway: Arc<Gateway>,
    /// `None` where deliveries are not signed; with `--bad-signature`, one that nobody takes.
    pub(super) signer: Option<Signer>,
    /// As the gateway knows the endpoint: what schemes sign that sign a URL. No query.
    pub(super) public_url: String,
    /// Where it goes. No query.
    pub(super) url: String,
    /// The query of the URL that the gateway was given; empty for none.
    pub(super) query: String,
    /// Whether the endpoint takes what does not verify, and only marks it.
    pub(super) observes: bool,
}

impl Target {
    /// What was asked for, as far as that is possible.
    pub(super) fn choose(source: &Source, config: &Config, arguments: &Arguments) -> Result<Self, Failure> {
        let endpoint = endpoint_meant(config, arguments)?;
        let gateway = gateway_meant(source, config, endpoint, arguments.gateway.as_deref())?;
        let gateway = arguments
            .way
            .map_or(Ok(Arc::clone(&gateway)), |way| written(&gateway, way))?;
        let called = match (&arguments.url, endpoint) {
            (Some(url), _) => url.clone(),
            (None, Some(endpoint)) => listener_url(config, endpoint)?,
            (None, None) => return Err(nowhere(config)),
        };
        let (url, own_query) = split(&called);
        let public_query = arguments.public_url.as_ref().map(|public| split(public).1);
        // Whatever is called has to get the query that was signed.
        let query = Some(own_query).filter(|query| !query.is_empty()).or(public_query);
        let known = endpoint
            .map(|endpoint| endpoint.url.as_str())
            .filter(|url| !url.is_empty());
        let public_url = match (&arguments.public_url, &arguments.url, known) {
            (Some(public), _, _) => split(public).0,
            (None, None, Some(known)) => known.to_owned(),
            (None, _, _) => url.clone(),
        };
        Ok(Self {
            signer: if arguments.bad_signature {
                Some(forger(&gateway, endpoint)?)
            } else {
                signer(&gateway, endpoint, arguments)?
            },
            public_url,
            url,
            query: query.unwrap_or_default(),
            observes: arguments.url.is_none() && endpoint.is_some_and(|endpoint| endpoint.mode != Mode::Enforce),
            gateway,
        })
    }
}

/// The endpoint that is delivered to or that lends its secret. With `--gateway` and `--url` there need be none.
fn endpoint_meant<'a>(config: &'a Config, arguments: &Arguments) -> Result<Option<&'a Endpoint>, Failure> {
    let Some(gateway) = arguments.gateway.as_deref() else {
        return endpoint::choose(config, arguments.endpoint.as_deref()).map(Some);
    };
    if arguments.endpoint.is_some() {
        return endpoint::choose(config, arguments.endpoint.as_deref()).map(Some);
    }
    let mut of_it = config
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.gateway.name == gateway);
    match (of_it.next(), of_it.next(), config.endpoints.as_slice()) {
        (Some(only), None, _) => Ok(Some(only)),
        (Some(_), Some(_), _) => endpoint::choose(config, None).map(Some),
        // Somebody else's URL is nobody's endpoint; ours may be told what another gateway would send.
        (None, _, [only]) if arguments.url.is_none() => Ok(Some(only)),
        (None, _, _) => Ok(None),
    }
}

fn gateway_meant(
    source: &Source,
    config: &Config,
    endpoint: Option<&Endpoint>,
    name: Option<&str>,
) -> Result<Arc<Gateway>, Failure> {
    let of_endpoint = |endpoint: &Endpoint| Arc::clone(&endpoint.gateway);
    let Some(name) = name else {
        return endpoint.map(of_endpoint).ok_or_else(|| nowhere(config));
    };
    let chosen = endpoint.into_iter().chain(&config.endpoints);
    if let Some(endpoint) = chosen.into_iter().find(|endpoint| endpoint.gateway.name == name) {
        return Ok(of_endpoint(endpoint));
    }
    if let Some(gateway) = unused_gateway(source, name)? {
        return Ok(gateway);
    }
    let Some(text) = gateway::builtin(name) else {
        let mut known: Vec<&str> = gateway::builtin_names().collect();
        known.extend(config.endpoints.iter().map(|endpoint| endpoint.gateway.name.as_str()));
        known.sort_unstable();
        known.dedup();
        return Err(Failure::usage(
            format!("there is no gateway `{name}`"),
            format!(
                "there are `{}`; describe another one in [gateway.{name}]",
                known.join("`, `")
            ),
        ));
    };
    let gateway = Gateway::from_toml(text).with_context(|| format!("reading the gateway file `{name}`"))?;
    Ok(Arc::new(gateway))
}

/// A gateway of the user's own that no endpoint has: as it would be if one had it.
fn unused_gateway(source: &Source, name: &str) -> Result<Option<Arc<Gateway>>, Failure> {
    let trial = format!("trial-{:016x}", rand::random::<u64>());
    let edit = |document: &mut Table| {
        if document
            .get("gateway")
            .and_then(|gateways| gateways.get(name))
            .is_none()
        {
            return;
        }
        let entry = document.entry("endpoint").or_insert_with(|| Toml::Array(Vec::new()));
        let mut endpoint = Table::new();
        endpoint.insert("name".to_owned(), trial.as_str().into());
        endpoint.insert("path".to_owned(), format!("/{trial}").into());
        endpoint.insert("gateway".to_owned(), name.into());
        endpoint.insert("public_url".to_owned(), format!("https://example.com/{trial}").into());
        endpoint.insert("allow_unsigned".to_owned(), true.into());
        if let Toml::Array(endpoints) = entry {
            endpoints.push(Toml::Table(endpoint));
        }
    };
    let read = config::load_edited(source, &endpoint::environment, &edit).map_err(Failure::Configuration)?;
    let mut endpoints = read.config.endpoints.into_iter();
    Ok(endpoints
        .find(|endpoint| endpoint.name == trial)
        .map(|endpoint| endpoint.gateway))
}

/// The gateway that writes so, if it can.
pub(super) fn written(gateway: &Gateway, way: Way) -> Result<Arc<Gateway>, Failure> {
    let (method, format) = match way {
        Way::Json => (Method::POST, Format::Json),
        Way::Form => (Method::POST, Format::Form),
        Way::Get => (Method::GET, gateway.format),
    };
    let has_format = [Format::Auto, format].contains(&gateway.format);
    if !has_format || !gateway.methods.contains(&method) {
        return Err(Failure::usage(
            format!("the gateway `{}` does not deliver in this way", gateway.name),
            "leave `--as` out",
        ));
    }
    let mut gateway = gateway.clone();
    (gateway.methods, gateway.format) = (vec![method], format);
    Ok(Arc::new(gateway))
}

fn nowhere(config: &Config) -> Failure {
    let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    Failure::usage(
        "where should it go?",
        format!(
            "add `--url URL`, or `--endpoint NAME`; the configuration has `{}`",
            names.join("`, `")
        ),
    )
}

/// The listener itself and not the public URL: a sample should not have to leave the machine.
pub(super) fn listener_url(config: &Config, endpoint: &Endpoint) -> Result<Url, Failure> {
    let url = format!("http://{}{}", endpoint::reachable(config.server.listen), endpoint.path);
    Ok(Url::parse(&url).context("the endpoint's own URL")?)
}

/// A URL without its query, and the query.
fn split(url: &Url) -> (String, String) {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    (bare.into(), url.query().unwrap_or_default().to_owned())
}

fn signer(gateway: &Gateway, endpoint: Option<&Endpoint>, arguments: &Arguments) -> Result<Option<Signer>, Failure> {
    let (given, whence) = match (
        &arguments.secret_env,
        &arguments.secret_file,
        &arguments.signing_key_file,
    ) {
        (Some(name), _, _) => (Some(from_environment(name)?), format!("env {name}")),
        (None, Some(file), _) | (None, None, Some(file)) => {
            (Some(from_file(file)?), format!("file {}", file.display()))
        }
        (None, None, None) => (None, String::new()),
    };
    if let Some(secret) = given {
        let signer = Signer::new(&gateway.signature, &secret, arguments.algorithm);
        return signer.map(Some).map_err(|error| {
            Failure::hinted(
                anyhow::anyhow!(
                    "{whence} is nothing that the gateway `{}` signs with: {error}",
                    gateway.name
                ),
                "copy it from the gateway again, in one line",
            )
        });
    }
    if arguments.algorithm.is_some() {
        return Err(Failure::usage(
            "`--algorithm` goes with a secret of the command line",
            "add `--secret-env VARIABLE` or `--secret-file FILE`, or say `algorithm` at the endpoint's secret",
        ));
    }
    let of_its_gateway = endpoint.filter(|endpoint| endpoint.gateway.name == gateway.name);
    let Some(endpoint) = of_its_gateway else {
        return Err(Failure::usage(
            format!("what does the gateway `{}` sign with?", gateway.name),
            "add `--secret-env VARIABLE` or `--secret-file FILE`; the receiver must have the same secret",
        ));
    };
    let Some(keys) = &endpoint.keys else {
        return Ok(None);
    };
    match keys.signer() {
        Some(signer) => Ok(Some(signer)),
        None => Err(no_private_key(endpoint)),
    }
}

fn no_private_key(endpoint: &Endpoint) -> Failure {
    Failure::usage(
        format!(
            "the endpoint `{}` knows the gateway's public key only, with which nobody can sign",
            endpoint.name
        ),
        "rehearse with a pair of your own: `smshook send --new-signing-key` makes one; `--signing-key-file FILE` signs with it",
    )
}

/// Signs as nobody does who knows the secret.
pub(in crate::cli) fn forger(gateway: &Gateway, endpoint: Option<&Endpoint>) -> Result<Signer, Failure> {
    if endpoint.is_some_and(|endpoint| endpoint.keys.is_none() && endpoint.mode == Mode::Enforce) {
        return Err(Failure::usage(
            "this endpoint takes unsigned deliveries, so no signature is wrong there",
            "give it `secrets` and take `allow_unsigned` out",
        ));
    }
    // Hexadecimal is read by every encoding of secrets, and the seed of a private key is 32 bytes in base64.
    let random = [rand::random::<u128>(), rand::random::<u128>()]
        .map(u128::to_be_bytes)
        .concat();
    let guesses = [hex::encode(&random), STANDARD.encode(&random)].map(SecretString::from);
    let mut made = guesses.iter().map(|guess| Signer::new(&gateway.signature, guess, None));
    let signer = made.next().transpose().or_else(|_| made.next().transpose());
    let signer = signer.context("making up a wrong secret")?;
    signer.ok_or_else(|| anyhow::anyhow!("no wrong secret could be made up").into())
}

fn from_environment(name: &str) -> Result<SecretString, Failure> {
    match endpoint::environment(name) {
        Some(value) if !value.trim().is_empty() => Ok(SecretString::from(value)),
        _ => Err(Failure::hinted(
            anyhow::anyhow!("the environment variable `{name}` has no secret in it"),
            format!("set {name} for this command, or give the secret in a file with `--secret-file`"),
        )),
    }
}

/// A file's secret; the line end that editors add is not part of it.
fn from_file(file: &Path) -> Result<SecretString, Failure> {
    let content =
        std::fs::read_to_string(file).with_context(|| format!("reading the secret from `{}`", file.display()))?;
    let secret = content.strip_suffix('\n').unwrap_or(&content);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.trim().is_empty() {
        return Err(anyhow::anyhow!("the file `{}` has no secret in it", file.display()).into());
    }
    Ok(SecretString::from(secret))
}
