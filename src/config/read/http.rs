//! A request as typed → a request as meant: for `http` actions, and for the replies that a gateway's file describes.
//!
//! It must not send anything; it makes sure that where a request goes is decided by the operator alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use base64::Engine as _;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::Reader;
use crate::config::action::{BodySpec, CaptureSource, HeaderSource, HttpSpec, OnUnknown, SignSpec, StatusSet};
use crate::config::file;
use crate::config::mask::is_secret_key;
use crate::config::tree::{Document, Place};
use crate::template::{Context, Template, TemplateError, Tree, sample, sample_reply, sparse_sample};

/// Where a request or a template stands, and what templates may use there.
#[derive(Clone)]
pub(super) struct Spot {
    at: At,
    names: Rc<Names>,
}

/// In the configuration, key by key; or in another file, where what is pointed at is the place that uses it.
#[derive(Clone)]
enum At {
    Typed(Place),
    Gateway {
        name: String,
        key: String,
        place: Place,
    },
    File {
        file: Rc<TextFile>,
        inside: Place,
        place: Place,
    },
}

/// A file beside the configuration.
pub(super) struct TextFile {
    pub(super) name: String,
    pub(super) text: String,
}

impl TextFile {
    /// The line in which `inside` stands, or what is nearest around it.
    fn line(&self, inside: &Place) -> usize {
        let document = Document::parse(&self.text).ok();
        let span = document.and_then(|document| document.span(inside));
        let before = span.and_then(|span| self.text.get(..span.start)).unwrap_or_default();
        before.matches('\n').count() + 1
    }
}

impl Spot {
    /// A place of the configuration where templates may use what every action's may.
    pub(super) fn typed(place: Place) -> Self {
        Self::named(place, &Rc::new(Names::of_messages()))
    }

    /// A place of the configuration where templates may use `names`.
    pub(super) fn named(place: Place, names: &Rc<Names>) -> Self {
        Self {
            at: At::Typed(place),
            names: Rc::clone(names),
        }
    }

    /// A gateway's `[reply]`, used at `place`.
    pub(super) fn gateway(name: &str, place: Place) -> Self {
        let names = Names {
            all: sample_reply(),
            sparse: None,
            must_be_complete: false,
        };
        Self {
            at: At::Gateway {
                name: name.to_owned(),
                key: String::new(),
                place,
            },
            names: Rc::new(names),
        }
    }

    /// The top of a connector's file, used at `place`.
    pub(super) fn file(file: &Rc<TextFile>, place: Place, names: &Rc<Names>) -> Self {
        Self {
            at: At::File {
                file: Rc::clone(file),
                inside: Place::root(),
                place,
            },
            names: Rc::clone(names),
        }
    }

    /// The same place with other names.
    pub(super) fn with_names(&self, names: &Rc<Names>) -> Self {
        Self {
            at: self.at.clone(),
            names: Rc::clone(names),
        }
    }

    pub(super) fn names(&self) -> Rc<Names> {
        Rc::clone(&self.names)
    }

    pub(super) fn key(&self, key: &str) -> Self {
        let at = match &self.at {
            At::Typed(place) => At::Typed(place.key(key)),
            At::Gateway { name, place, .. } => At::Gateway {
                name: name.clone(),
                key: key.to_owned(),
                place: place.clone(),
            },
            At::File { file, inside, place } => At::File {
                file: Rc::clone(file),
                inside: inside.key(key),
                place: place.clone(),
            },
        };
        Self {
            at,
            names: Rc::clone(&self.names),
        }
    }

    pub(super) fn item(&self, item: usize) -> Self {
        let at = match &self.at {
            At::Typed(place) => At::Typed(place.item(item)),
            At::Gateway { .. } => self.at.clone(),
            At::File { file, inside, place } => At::File {
                file: Rc::clone(file),
                inside: inside.item(item),
                place: place.clone(),
            },
        };
        Self {
            at,
            names: Rc::clone(&self.names),
        }
    }

    pub(super) fn place(&self) -> &Place {
        match &self.at {
            At::Typed(place) | At::Gateway { place, .. } | At::File { place, .. } => place,
        }
    }

    fn says(&self, what: &str) -> String {
        match &self.at {
            At::Typed(_) => what.to_owned(),
            At::Gateway { name, key, .. } => format!("gateway `{name}`, [reply], `{key}`: {what}"),
            At::File { file, inside, .. } => {
                format!("the connector file `{}`, line {}: {what}", file.name, file.line(inside))
            }
        }
    }
}

/// Contexts to try templates with: everything there, and everything missing that may be.
pub(super) struct Names {
    pub(super) all: Context,
    pub(super) sparse: Option<Context>,
    /// Whether a template that fails with `sparse` is wrong, and not only likely not meant.
    pub(super) must_be_complete: bool,
}

impl Names {
    /// What every action's templates may use.
    pub(super) fn of_messages() -> Self {
        Self {
            all: sample(),
            sparse: Some(sparse_sample()),
            must_be_complete: false,
        }
    }
}

/// The account's secrets that a gateway's request may name.
pub(super) type Credentials = BTreeMap<&'static str, SecretString>;

const MAX_RESPONSE: usize = 256 << 10;

impl Reader<'_> {
    /// Reads a request; `None` if there is not even a URL to send it to. Everything wrong is noted.
    pub(super) fn http(&mut self, spot: &Spot, typed: file::Request, credentials: &Credentials) -> Option<HttpSpec> {
        let allow_private = self.networks(&spot.key("allow_private"), &typed.allow_private);
        let guard = Guard {
            allow_http: typed.allow_http,
            allow_private: &allow_private,
        };
        let target = self.url(&spot.key("url"), &typed.url, &guard);
        self.request_to(spot, target, allow_private, typed, credentials)
    }

    /// Reads all of a request but where it goes.
    pub(super) fn request_to(
        &mut self,
        spot: &Spot,
        target: Option<(Template, Url)>,
        allow_private: Vec<IpNet>,
        typed: file::Request,
        credentials: &Credentials,
    ) -> Option<HttpSpec> {
        let method = self.method(&spot.key("method"), typed.method.as_deref());
        let query = self.templates(&spot.key("query"), &typed.query);
        let headers = self.headers(&spot.key("headers"), &typed.headers, credentials);
        let body = self.body(spot, &typed, &method);
        let sign = typed.sign.as_ref().and_then(|sign| self.sign(&spot.key("sign"), sign));
        let capture = self.capture(&spot.key("capture"), typed.capture);
        let error_pointer = typed
            .error_pointer
            .inspect(|pointer| self.pointer(&spot.key("error_pointer"), pointer));
        for pointer in typed.require.keys() {
            self.pointer(&spot.key("require").key(pointer), pointer);
        }
        let max_response_bytes = self.size(
            spot.key("max_response").place(),
            typed.max_response.as_ref(),
            MAX_RESPONSE,
        );
        let (url, origin) = target?;
        Some(HttpSpec {
            method,
            url,
            origin,
            query,
            headers,
            body,
            sign,
            success: typed.success.map_or_else(StatusSet::success, StatusSet::of),
            retry: typed.retry.map_or_else(StatusSet::passing, StatusSet::of),
            require: typed
                .require
                .into_iter()
                .map(|(pointer, value)| (pointer, json(value)))
                .collect(),
            capture,
            error_pointer,
            on_unknown: typed.on_unknown.map_or(OnUnknown::Resend, OnUnknown::from),
            max_response_bytes,
            allow_private,
            allow_http: typed.allow_http,
            secret_url: None,
            is_operation: false,
        })
    }

    pub(super) fn problem(&mut self, spot: &Spot, what: &str, help: &str) {
        self.error(spot.place(), spot.says(what), help);
    }

    /// Compiles a template and tries it, so that an unknown name is found now and not with the first message.
    pub(super) fn template(&mut self, spot: &Spot, source: &str) -> Option<Template> {
        let compiled = Template::compile(source);
        self.tried(spot, compiled, Template::check)
    }

    pub(super) fn tried<T>(
        &mut self,
        spot: &Spot,
        compiled: Result<T, TemplateError>,
        check: impl Fn(&T, &Context) -> Result<(), TemplateError>,
    ) -> Option<T> {
        let names = Rc::clone(&spot.names);
        let checked = compiled.and_then(|template| check(&template, &names.all).map(|()| template));
        match checked {
            Ok(template) => match names.sparse.as_ref().map(|sparse| check(&template, sparse)) {
                Some(Err(error)) => self
                    .fails_sparsely(spot, &error, names.must_be_complete)
                    .then_some(template),
                _ => Some(template),
            },
            Err(error) => {
                let help = format!("a template may use {}", names.all.names().join(", "));
                let leaf = leaf(spot, &error);
                match (&leaf.at, error.line) {
                    (At::Typed(place), None | Some(1)) => {
                        let what = format!("in this template, {}", brief(&error));
                        let source = self.document.get(place).and_then(|value| value.get_ref().as_str());
                        let column = column(&error, source.unwrap_or_default());
                        self.error_in(place, column, what, help);
                    }
                    // The line is that of the file.
                    (At::File { .. }, None | Some(1)) => {
                        self.problem(&leaf, &format!("in this template, {}", brief(&error)), &help);
                    }
                    _ => self.problem(&leaf, &at(&error), &help),
                }
                None
            }
        }
    }

    /// Notes that a template fails where something is missing; whether it may stay all the same.
    fn fails_sparsely(&mut self, spot: &Spot, error: &TemplateError, is_error: bool) -> bool {
        let leaf = leaf(spot, error);
        let help = "give the field a default, as in `{{ ref or \"none\" }}`";
        if is_error {
            self.problem(
                &leaf,
                &format!("this template fails where something is not known: {}", at(error)),
                help,
            );
        } else {
            let what = leaf.says(&format!(
                "this template fails where a gateway leaves a field out: {}",
                at(error)
            ));
            self.warn(leaf.place(), what, help);
        }
        !is_error
    }

    pub(super) fn templates(&mut self, spot: &Spot, typed: &BTreeMap<String, String>) -> Vec<(String, Template)> {
        let compiled = typed.iter().filter_map(|(name, source)| {
            let template = self.template(&spot.key(name), source)?;
            Some((name.clone(), template))
        });
        compiled.collect()
    }

    pub(super) fn url(&mut self, spot: &Spot, typed: &str, guard: &Guard<'_>) -> Option<(Template, Url)> {
        let origin = match origin(typed, guard) {
            Ok(origin) => origin,
            Err(refusal) => {
                self.problem(spot, refusal.what(), refusal.help());
                return None;
            }
        };
        let template = self.tried(spot, Template::compile_url(typed), Template::check)?;
        Some((template, origin))
    }

    fn method(&mut self, spot: &Spot, typed: Option<&str>) -> Method {
        match typed.unwrap_or("POST") {
            "GET" => return Method::GET,
            "PUT" => return Method::PUT,
            "PATCH" => return Method::PATCH,
            "DELETE" => return Method::DELETE,
            "POST" => {}
            _ => self.problem(
                spot,
                "this is not a method smshook sends",
                "use GET, POST, PUT, PATCH or DELETE",
            ),
        }
        Method::POST
    }

    pub(super) fn headers(
        &mut self,
        spot: &Spot,
        typed: &BTreeMap<String, file::Header>,
        credentials: &Credentials,
    ) -> Vec<(HeaderName, HeaderSource)> {
        let mut headers = Vec::new();
        for (name, value) in typed {
            let spot = spot.key(name);
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                self.problem(&spot, "this is not the name of a header", "use letters, digits and `-`");
                continue;
            };
            if ["host", "content-length", "transfer-encoding", "connection"].contains(&header.as_str()) {
                self.problem(&spot, "smshook sets this header itself", "leave it out");
                continue;
            }
            headers.extend(
                self.header_value(&spot, name, value, credentials)
                    .map(|source| (header, source)),
            );
        }
        headers
    }

    fn header_value(
        &mut self,
        spot: &Spot,
        name: &str,
        typed: &file::Header,
        credentials: &Credentials,
    ) -> Option<HeaderSource> {
        let (prefix, secret) = match typed {
            file::Header::Rendered(source) => {
                let template = self.template(spot, source)?;
                if is_secret_key(name) && template.static_prefix() == source {
                    let help = "give it as { env = \"NAME\" } or { file = \"PATH\" }, with `prefix = \"Bearer \"` if it needs one";
                    self.warn(
                        spot.place(),
                        spot.says("a secret seems to stand in the configuration itself"),
                        help,
                    );
                    // Kept as a secret is: never stored with the rendered request.
                    return Some(HeaderSource::Secret {
                        prefix: String::new(),
                        secret: source.clone().into(),
                    });
                }
                return Some(HeaderSource::Rendered(template));
            }
            file::Header::Secret { prefix, secret } => (prefix, self.secret(spot.place(), secret)?.1),
            file::Header::Credential { prefix, credential } => match (&spot.at, credentials.get(credential.as_str())) {
                (_, Some(secret)) => (prefix, secret.clone()),
                (At::Typed(_) | At::File { .. }, None) => {
                    self.problem(
                        spot,
                        "`credential` is for gateway files",
                        "use { env = \"NAME\" } or { file = \"PATH\" }",
                    );
                    return None;
                }
                (At::Gateway { place, name, .. }, None) => {
                    let help = format!("add `{credential} = {{ env = \"NAME\" }}` to the endpoint's `reply`");
                    self.error(
                        place,
                        format!("gateway `{name}` cannot reply without `{credential}`"),
                        help,
                    );
                    return None;
                }
            },
        };
        if HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret())).is_err() {
            self.problem(
                spot,
                "this secret cannot stand in a header",
                "it has a line break or a control character in it",
            );
            return None;
        }
        Some(HeaderSource::Secret {
            prefix: prefix.clone(),
            secret,
        })
    }

    fn body(&mut self, spot: &Spot, typed: &file::Request, method: &Method) -> BodySpec {
        let given = [
            ("json", typed.json.is_some()),
            ("form", typed.form.is_some()),
            ("body", typed.body.is_some()),
        ];
        let given: Vec<_> = given
            .into_iter()
            .filter_map(|(key, is_given)| is_given.then_some(key))
            .collect();
        if let [_, second, ..] = given.as_slice() {
            self.problem(
                &spot.key(second),
                "a request has one body",
                "keep one of `json`, `form` and `body`",
            );
        }
        if let ([key, ..], &Method::GET) = (given.as_slice(), method) {
            self.problem(
                &spot.key(key),
                "a GET request has no body",
                "use `query`, or another `method`",
            );
        }
        if typed.content_type.is_some() && typed.body.is_none() {
            self.problem(
                &spot.key("content_type"),
                "`content_type` goes with `body`",
                "`json` and `form` have their own",
            );
        }
        let body = match typed {
            file::Request { json: Some(value), .. } => {
                let compiled = Tree::compile(&json(value.clone()));
                self.tried(&spot.key("json"), compiled, Tree::check).map(BodySpec::Json)
            }
            file::Request { form: Some(fields), .. } => Some(BodySpec::Form(self.templates(&spot.key("form"), fields))),
            file::Request {
                body: Some(source),
                content_type,
                ..
            } => self.text_body(
                spot,
                source,
                content_type.as_deref().unwrap_or("text/plain; charset=utf-8"),
            ),
            _ => None,
        };
        body.unwrap_or(BodySpec::Empty)
    }

    fn text_body(&mut self, spot: &Spot, source: &str, content_type: &str) -> Option<BodySpec> {
        if HeaderValue::from_str(content_type).is_err() {
            self.problem(
                &spot.key("content_type"),
                "this cannot be a content type",
                "write it as \"text/xml\"",
            );
        }
        let template = self.template(&spot.key("body"), source)?;
        Some(BodySpec::Text {
            template,
            content_type: content_type.to_owned(),
        })
    }

    pub(super) fn sign(&mut self, spot: &Spot, typed: &file::Sign) -> Option<SignSpec> {
        let file::SignScheme::StandardWebhooks = typed.scheme;
        let spot = spot.key("secrets");
        if typed.secrets.is_empty() {
            self.problem(
                &spot,
                "there is no secret to sign with",
                "add one, such as { env = \"HOOK_SECRET\" }",
            );
        }
        let mut secrets = Vec::new();
        for (item, secret) in typed.secrets.iter().enumerate() {
            let spot = spot.item(item);
            let Some((_, secret)) = self.secret(spot.place(), secret) else {
                continue;
            };
            if is_standard_webhooks_key(secret.expose_secret()) {
                secrets.push(secret);
            } else {
                let help = "it is `whsec_` and the base64 of 24 to 64 random bytes";
                self.problem(&spot, "this secret is not one of Standard Webhooks", help);
            }
        }
        (!secrets.is_empty()).then_some(SignSpec { secrets })
    }

    fn capture(&mut self, spot: &Spot, typed: BTreeMap<String, file::Capture>) -> Vec<(String, CaptureSource)> {
        let mut captures = Vec::new();
        for (name, source) in typed {
            let spot = spot.key(&name);
            match source {
                file::Capture::Pointer(pointer) => {
                    self.pointer(&spot, &pointer);
                    captures.push((name, CaptureSource::Pointer(pointer)));
                }
                file::Capture::Header(header) => match HeaderName::from_bytes(header.as_bytes()) {
                    Ok(header) => captures.push((name, CaptureSource::Header(header))),
                    Err(_) => self.problem(&spot, "this is not the name of a header", "use letters, digits and `-`"),
                },
            }
        }
        captures
    }

    pub(super) fn pointer(&mut self, spot: &Spot, pointer: &str) {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            self.problem(
                spot,
                "this is not a JSON pointer",
                "write it from the root, as in \"/data/id\" (RFC 6901)",
            );
        }
    }

    pub(super) fn networks(&mut self, spot: &Spot, typed: &[String]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (item, text) in typed.iter().enumerate() {
            match text
                .parse::<IpNet>()
                .or_else(|not_a_network| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| not_a_network))
            {
                Ok(network) => networks.push(network),
                Err(_) => self.problem(&spot.item(item), "this is not a network", "write it as \"10.1.0.0/16\""),
            }
        }
        networks
    }
}

/// The leaf that an error is about.
fn leaf(spot: &Spot, error: &TemplateError) -> Spot {
    let steps = error
        .path
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"));
    steps.fold(spot.clone(), |spot, step| match step.parse::<usize>() {
        Ok(item) => spot.item(item),
        Err(_) => spot.key(&step),
    })
}

/// The error without the path, which the caret shows.
fn at(error: &TemplateError) -> String {
    TemplateError {
        path: String::new(),
        problem: brief(error).to_owned(),
        ..error.clone()
    }
    .to_string()
}

/// The column of the name that an error quotes, if it is a path such as `message.idd` (of which minijinja tells the end);
/// else the column it tells, else that of the name.
fn column(error: &TemplateError, source: &str) -> Option<usize> {
    let name = error.problem.split('`').nth(1);
    let by_name = name.and_then(|name| {
        let before = source.get(..source.find(name)?)?;
        Some(before.chars().count() + 1)
    });
    if name.is_some_and(|name| name.contains('.')) {
        by_name.or(error.column)
    } else {
        error.column.or(by_name)
    }
}

/// What is wrong without the names there are, which the help lists.
fn brief(error: &TemplateError) -> &str {
    error.problem.split("; known here").next().unwrap_or(&error.problem)
}

pub(super) struct Guard<'a> {
    pub(super) allow_http: bool,
    pub(super) allow_private: &'a [IpNet],
}

/// Why a request may not go where its URL says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UrlRefusal {
    NotAUrl,
    TemplateInOrigin,
    Userinfo,
    PlainHttp,
    Private,
}

impl UrlRefusal {
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::NotAUrl => "this is not the URL of a server",
            Self::TemplateInOrigin => "a template may not choose the server",
            Self::Userinfo => "a URL must not carry a user or password",
            Self::PlainHttp => "plain http:// shows the message to everybody on the way",
            Self::Private => "this server is in a private network, which smshook does not enter by itself",
        }
    }

    pub(super) const fn help(self) -> &'static str {
        match self {
            Self::NotAUrl => "write it as \"https://crm.example.com/path\"",
            Self::TemplateInOrigin => {
                "write scheme, host and port as plain text, then a `/`; templates may come after it"
            }
            Self::Userinfo => {
                "send it as a header: `headers = { Authorization = { env = \"NAME\", prefix = \"Basic \" } }`"
            }
            Self::PlainHttp => "use https://, or add `allow_http = true`",
            Self::Private => "if that is meant, add its network, such as `allow_private = [\"10.1.0.0/16\"]`",
        }
    }
}

/// The scheme, host and port of a URL template, all of which must be plain text.
pub(super) fn origin(typed: &str, guard: &Guard<'_>) -> Result<Url, UrlRefusal> {
    let tag = ["{{", "{%", "{#"].iter().filter_map(|tag| typed.find(tag)).min();
    let (_, rest) = typed.split_once("://").ok_or(UrlRefusal::NotAUrl)?;
    // Backslashes end an authority, too, for parsers that follow WHATWG; control characters vanish in them.
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let end = typed.len() - rest.len() + authority.len();
    if tag.is_some_and(|tag| tag <= end) {
        return Err(UrlRefusal::TemplateInOrigin);
    }
    if typed.chars().any(|c| c.is_control() || c == '\\') {
        return Err(UrlRefusal::NotAUrl);
    }
    let url = typed
        .get(..end)
        .and_then(|origin| Url::parse(origin).ok())
        .ok_or(UrlRefusal::NotAUrl)?;
    let host = url.host().ok_or(UrlRefusal::NotAUrl)?;
    if authority.contains('@') {
        return Err(UrlRefusal::Userinfo);
    }
    match url.scheme() {
        "https" => {}
        "http" if guard.allow_http => {}
        "http" => return Err(UrlRefusal::PlainHttp),
        _ => return Err(UrlRefusal::NotAUrl),
    }
    if let Some(address) = private_address(&host)
        && !guard.allow_private.iter().any(|network| network.contains(&address))
    {
        return Err(UrlRefusal::Private);
    }
    Ok(url)
}

/// The address of a host that is plainly in a private network. Names are looked at again when they are resolved.
pub(super) fn private_address(host: &Host<&str>) -> Option<IpAddr> {
    let address = match host {
        Host::Domain(name) if *name == "localhost" || name.ends_with(".localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Host::Domain(_) => return None,
        Host::Ipv4(address) => IpAddr::V4(*address),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical(),
    };
    let is_private = match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || first == 0
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    is_private.then_some(address)
}

/// `whsec_` and base64 of 24 to 64 bytes (Standard Webhooks, "Signature scheme").
fn is_standard_webhooks_key(secret: &str) -> bool {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    decoded.is_ok_and(|bytes| (24..=64).contains(&bytes.len()))
}

/// TOML as JSON; dates become text.
pub(super) fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}

impl StatusSet {
    pub(super) fn of(typed: Vec<file::Statuses>) -> Self {
        Self {
            ranges: typed.into_iter().map(|file::Statuses(from, to)| (from, to)).collect(),
        }
    }
}

impl From<file::OnUnknown> for OnUnknown {
    fn from(typed: file::OnUnknown) -> Self {
        match typed {
            file::OnUnknown::Resend => Self::Resend,
            file::OnUnknown::Skip => Self::Skip,
            file::OnUnknown::Hold => Self::Hold,
        }
    }
}
