//! How a connection proves who it is: fixed headers made here from the user's secrets, or a token that is fetched later.
//!
//! What holds a secret never passes through a template here; the problems name knobs, never their values.

use std::rc::Rc;

use base64::Engine as _;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Reader;
use super::connector::{AuthHeader, Making};
use super::http::{Credentials, Names, Spot};
use crate::config::connector::TokenSpec;
use crate::config::file;
use crate::config::tree::Place;
use crate::connector::{Auth, AuthKind, TokenRequest};
use crate::template::Context;

/// What stands before user name and password in their header.
pub(super) const BASIC: &str = "Basic ";

/// How one connection proves who it is.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) headers: Vec<AuthHeader>,
    pub(super) token: Option<TokenSpec>,
}

impl Reader<'_> {
    /// The first of the ways for which everything is set.
    pub(super) fn auth(&mut self, making: &Making<'_>, root: &Spot) -> Option<Proof> {
        let ways = &making.source.says.auth;
        if ways.is_empty() {
            return Some(Proof::default());
        }
        let mut fitting = ways.iter().enumerate();
        let fits = |auth: &Auth| auth.when.iter().all(|knob| making.knobs.is_set(knob));
        let Some((item, auth)) = fitting.find(|(_, auth)| fits(auth)) else {
            let sets = ways.iter().map(|auth| auth.when.join(" and "));
            let help = format!("set {}", sets.collect::<Vec<_>>().join(", or "));
            let what = format!("`{}` needs to know how to sign in", making.source.says.name);
            self.error(making.place, what, help);
            return None;
        };
        let spot = root.key("auth").item(item);
        match auth.kind {
            AuthKind::None => Some(Proof::default()),
            AuthKind::Header => self.header_proof(&spot, making, auth),
            AuthKind::Basic => self.basic_proof(&spot, making, auth),
            AuthKind::Token => self.token_proof(&spot, making, auth.token.as_ref()),
        }
    }

    /// Whether a way says all that its kind needs, be it used or not.
    pub(super) fn auth_definition(&mut self, spot: &Spot, auth: &Auth) {
        let header = auth.header.is_some() && auth.value.is_some();
        let basic = auth.username.is_some() && auth.password.is_some();
        let (is_whole, what) = match auth.kind {
            AuthKind::None => (true, ""),
            AuthKind::Header => (header, "kind `header` needs `header` and `value`"),
            AuthKind::Basic => (basic, "kind `basic` needs `username` and `password`"),
            AuthKind::Token => (auth.token.is_some(), "kind `token` needs [auth.token]"),
        };
        if !is_whole {
            self.problem(spot, what, "add what is missing");
        }
    }

    fn header_proof(&mut self, spot: &Spot, making: &Making<'_>, auth: &Auth) -> Option<Proof> {
        let (Some(name), Some(value)) = (&auth.header, &auth.value) else {
            return None;
        };
        let name = self.header_name(&spot.key("header"), name)?;
        let (text, first_secret) = self.filled(&spot.key("value"), making, value)?;
        if HeaderValue::from_str(&text).is_err() {
            let help = "one of the secrets has a line break or a control character in it";
            self.error(making.place, format!("header `{name}` cannot be made"), help);
            return None;
        }
        let (prefix, secret) = text.split_at_checked(first_secret)?;
        Some(Proof {
            headers: vec![(name, prefix.to_owned(), SecretString::from(secret))],
            token: None,
        })
    }

    fn basic_proof(&mut self, spot: &Spot, making: &Making<'_>, auth: &Auth) -> Option<Proof> {
        let (Some(username), Some(password)) = (&auth.username, &auth.password) else {
            return None;
        };
        let (username, _) = self.filled(&spot.key("username"), making, username)?;
        let (password, _) = self.filled(&spot.key("password"), making, password)?;
        let encoded = self.basic_value(making.place, &username, &password)?;
        Some(Proof {
            headers: vec![(AUTHORIZATION, BASIC.to_owned(), encoded)],
            token: None,
        })
    }

    /// What stands behind [`BASIC`] in the header of RFC 7617.
    pub(super) fn basic_value(&mut self, place: &Place, username: &str, password: &str) -> Option<SecretString> {
        if username.contains(':') {
            let help = "the colon stands between user name and password (RFC 7617)";
            self.error(place, "a user name must not have a colon in it", help);
            return None;
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Some(SecretString::from(encoded))
    }

    fn filled(&mut self, spot: &Spot, making: &Making<'_>, text: &str) -> Option<(String, usize)> {
        let filled = making.knobs.filled(text);
        filled
            .map_err(|name| {
                let what = format!("`{name}` is not set whenever this is used, or there is no such knob");
                self.problem(
                    spot,
                    &what,
                    "use `{{ knob.… }}` and `{{ secret.… }}` of what stands in `when`",
                );
            })
            .ok()
    }

    fn token_proof(&mut self, spot: &Spot, making: &Making<'_>, says: Option<&TokenRequest>) -> Option<Proof> {
        let says = says?;
        let secrets = making.knobs.named_secrets();
        let made_up: Value = secrets
            .iter()
            .map(|(name, _)| (name.clone(), json!("secret")))
            .collect();
        let knobs = making
            .knobs
            .sampled(&making.source.says, &Context::new(json!({})), false);
        let names = Names {
            all: Context::new(json!({ "knob": knobs, "secret": made_up })),
            sparse: None,
            must_be_complete: true,
        };
        let spot = spot.key("token").with_names(&Rc::new(names));
        let target = match (&says.path, &says.url) {
            (Some(path), None) => self.path_after_base(&spot.key("path"), making, path),
            (None, Some(url)) => self.url(&spot.key("url"), url, &making.guard()),
            _ => {
                self.problem(&spot, "where is the token fetched?", "give one of `path` and `url`");
                None
            }
        };
        let typed = file::Request {
            json: says.json.clone(),
            form: says.form.clone(),
            allow_http: making.keys.allow_http,
            ..file::Request::default()
        };
        self.pointer(&spot.key("access_token"), &says.access_token);
        self.pointer(&spot.key("expires_in"), &says.expires_in);
        let header = self.header_name(&spot.key("header"), &says.header)?;
        let networks = making.networks.clone();
        let mut request = self.request_to(&spot, Some(target?), networks, typed, &Credentials::new())?;
        request.is_operation = true;
        let token = TokenSpec {
            request,
            secrets,
            access_token: says.access_token.clone(),
            expires_in: says.expires_in.clone(),
            header,
            prefix: says.prefix.clone(),
        };
        Some(Proof {
            headers: Vec::new(),
            token: Some(token),
        })
    }
}
