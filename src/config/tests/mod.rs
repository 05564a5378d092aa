//! What an operator sees: the shipped configurations load, and every mistake is shown where it is.

mod after;
mod connectors;
mod consent;
mod email;
mod endpoints;
mod privacy;
mod replies;
mod webhooks;

use std::os::unix::fs::PermissionsExt as _;

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::value::Error as Plain;
use serde::de::{Deserializer, Error as _, Visitor};

use super::action::{BodySpec, CaptureSource, HeaderSource, OnUnknown};
use super::*;
use crate::job::RetryPolicy;
use crate::rules::Matcher;

const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// A signing secret made for these tests.
const WHSEC: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET"
        | "SMS_WEBHOOK_SECRET"
        | "OLD_WEBHOOK_SECRET"
        | "ACME_SECRET"
        | "SMS_API_TOKEN"
        | "SMSHOOK_ADMIN_TOKEN"
        | "CRM_TOKEN"
        | "DESK_TOKEN" => Some(format!("value-of-{name}")),
        "CRM_SIGNING_SECRET" | "SENDER_SECRET" | "NEXT_SENDER_SECRET" => Some(WHSEC.to_owned()),
        "SMSHOOK_DATABASE_URL" => Some("postgres://a:b@localhost/c".to_owned()),
        "SMSHOOK_ERASURE_KEY" => Some("0123456789abcdef".repeat(2)),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn loaded(text: &str) -> Loaded {
    read::read("config.toml", text, &environment).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(text: &str) -> String {
    read::read("config.toml", text, &environment).unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<String> {
    loaded(text).warnings.iter().map(ToString::to_string).collect()
}

/// Asserts that `text`, added to a sound endpoint, is refused with exactly this.
#[track_caller]
fn shows(text: &str, expected: &str) {
    let problems = refused(&format!("{ENDPOINT}{text}"));
    assert_eq!(
        problems.trim_end(),
        expected.trim_start_matches('\n').trim_end(),
        "\n{problems}"
    );
}

const ENDPOINT: &str = "[[endpoint]]
name = \"main\"
path = \"/hooks/sms\"
gateway = \"mobile-api-connect\"
secrets = [{ env = \"SECRET\" }]
";

#[test]
fn the_defaults_load_and_need_nothing_but_a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let data_dir_text = data_dir.display().to_string();
    let environment = |name: &str| (name == "SMSHOOK_DATA_DIR").then(|| data_dir_text.clone());

    let before = load(&Source::Default, &environment).unwrap();
    assert!(before.config.is_default);
    assert!(!data_dir.exists(), "reading a configuration must not make anything");
    assert_eq!(before.warnings.len(), 1, "{:?}", before.warnings);
    assert!(before.warnings[0].to_string().contains("has not been made yet"));

    let secrets = generated_secrets(&Source::Default, &environment);
    assert_eq!(secrets, [data_dir.join("erasure-key"), data_dir.join("webhook-secret")]);
    let secrets = &secrets[1..];
    assert!(ensure_generated_secret(&secrets[0]).unwrap());
    assert!(!ensure_generated_secret(&secrets[0]).unwrap(), "it is made once");

    let Loaded { config, warnings, .. } = load(&Source::Default, &environment).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.data_dir, data_dir);
    assert_eq!(config.endpoints[0].path, "/hooks/sms");
    assert!(config.endpoints[0].keys.is_some());
    assert!(config.endpoints[0].reply.is_none());
    assert!(
        config
            .rulebook
            .rules
            .iter()
            .any(|rule| matches!(rule.matcher, Matcher::Any))
    );
    assert!(
        config
            .actions
            .values()
            .all(|action| matches!(action.effect, Effect::Log(_)))
    );
}

#[test]
fn the_environment_replaces_the_default_addresses_but_not_those_of_the_file() {
    let environment = |name: &str| match name {
        "SECRET" => Some("secret".to_owned()),
        "SMSHOOK_LISTEN" => Some("127.0.0.1:0".to_owned()),
        "SMSHOOK_ADMIN_LISTEN" => Some("127.0.0.2:9".to_owned()),
        _ => None,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, format!("{ENDPOINT}[admin]\nlisten = \"127.0.0.1:7\"")).unwrap();
    let config = load(&Source::File(path), &environment).unwrap().config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:7");
    let wrong = |name: &str| (name == "SMSHOOK_LISTEN").then(|| "8080".to_owned());
    let said = load(&Source::Default, &wrong).unwrap_err().to_string();
    assert!(said.contains("`8080`") && said.contains("SMSHOOK_LISTEN"), "{said}");
}

#[test]
fn any_secret_can_be_a_generated_one() {
    let text = format!("{ENDPOINT}[admin]\ntoken = {{ generated = \"admin-token\" }}");
    let loaded = loaded(&text);
    let of_our_own = ["./data/admin-token", "./data/erasure-key"].map(Path::new);
    assert_eq!(loaded.generated_secrets, of_our_own);
    assert_eq!(
        loaded.config.admin.token.unwrap().expose_secret().len(),
        64,
        "nobody's, until there is a file"
    );
}

#[test]
fn a_generated_secret_is_private_printable_and_different_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("a/one"), folder.path().join("a/other"));
    assert!(ensure_generated_secret(&one).unwrap());
    assert!(ensure_generated_secret(&other).unwrap());
    let text = std::fs::read_to_string(&one).unwrap();
    assert_eq!(text.trim_end().len(), 64);
    assert!(text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(text, std::fs::read_to_string(&other).unwrap());
    assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(folder.path().join("a")).unwrap().count(),
        2,
        "no draft stays behind"
    );
}

#[test]
fn the_example_loads_as_it_is() {
    let Loaded { config, warnings, .. } = loaded(EXAMPLE);
    assert_eq!(warnings, []);
    assert_eq!(config.endpoints.len(), 1);
}

/// The example with every key taken out of its comment, and the files it names made.
fn whole_example(folder: &Path) -> String {
    let secret = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("crm-key", "the-key\n");
    secret("acme-key", "another-key\n");
    secret("smtp-password", "the-password\n");
    secret("mail-ca.pem", "-----BEGIN CERTIFICATE-----\n");
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .collect();
    uncommented
        .join("\n")
        .replace("/run/secrets", &folder.display().to_string())
}

#[test]
fn the_example_loads_with_every_key_taken_out_of_its_comment() {
    let folder = tempfile::tempdir().unwrap();
    let Loaded { config, warnings, .. } = loaded(&whole_example(folder.path()));
    assert_eq!(warnings, []);
    assert_eq!(
        config.endpoints[0].reply.as_ref().unwrap().request.origin.as_str(),
        "https://api.mobileapiconnect.com/"
    );
    let Effect::Http(http) = &config.actions["crm"].effect else {
        panic!("crm is an http action")
    };
    assert_eq!(http.origin.host_str(), Some("crm.example.com"));
    assert!(matches!(http.body, BodySpec::Json(_)));
    assert!(http.success.contains(409) && http.success.contains(202) && !http.success.contains(404));
    assert!(
        http.capture
            .contains(&("note".to_owned(), CaptureSource::Pointer("/data/id".to_owned())))
    );
    let secrets: Vec<_> = http
        .headers
        .iter()
        .filter_map(|(name, source)| match source {
            HeaderSource::Secret { prefix, secret } => Some(format!("{name}: {prefix}{}", secret.expose_secret())),
            HeaderSource::Rendered(_) => None,
        })
        .collect();
    assert_eq!(
        secrets,
        ["authorization: Bearer value-of-CRM_TOKEN", "x-api-key: the-key"]
    );
}

#[test]
fn what_the_example_calls_a_default_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, whole) = (loaded(ENDPOINT).config, loaded(&whole_example(folder.path())).config);
    assert_eq!(plain.data_dir, whole.data_dir);
    assert_eq!(plain.server.listen, whole.server.listen);
    assert_eq!(plain.server.max_body_bytes, whole.server.max_body_bytes);
    assert_eq!(plain.server.header_timeout, whole.server.header_timeout);
    assert_eq!(plain.server.body_timeout, whole.server.body_timeout);
    assert_eq!(plain.server.accept_deadline, whole.server.accept_deadline);
    assert_eq!(plain.server.max_connections, whole.server.max_connections);
    assert_eq!(plain.admin.listen, whole.admin.listen);
    assert_eq!(plain.database.max_connections, whole.database.max_connections);
    assert_eq!(plain.worker, whole.worker);
    assert_eq!(plain.loop_guard, whole.loop_guard);
    let (left, right) = (&plain.endpoints[0], &whole.endpoints[0]);
    assert_eq!(left.reading, right.reading);
    assert_eq!((left.mode, left.reassembly_wait), (right.mode, right.reassembly_wait));
    let kept = loaded(&format!("{ENDPOINT}keep_refused = {{}}")).config;
    assert_eq!(kept.endpoints[0].keep_refused, right.keep_refused);
    assert_eq!(left.keep_refused, None);
    assert_eq!(left.policy.groups, right.policy.groups);
    assert_eq!(
        left.skip_reply_if_gateway_rule_matched,
        right.skip_reply_if_gateway_rule_matched
    );
    let named = "[endpoint.consent]\nbrand = \"Acme\"\ncontact = \"+1 415 555 0100\"\n";
    let named = &loaded(&format!("{ENDPOINT}{named}")).config.endpoints[0];
    let source = |texts: &Option<Texts>| texts.as_ref().unwrap().for_language(None).source().to_owned();
    assert_eq!(source(&named.opt_out_text), source(&right.opt_out_text));
    assert_eq!(source(&named.opt_in_text), source(&right.opt_in_text));
    assert_eq!(source(&named.help_text), source(&right.help_text));
    let note = &whole.actions["note"];
    let bare = loaded(&format!("{ENDPOINT}[action.a]\nlog.message = \"x\"")).config;
    let bare = &bare.actions["a"];
    assert_eq!(
        (note.retry, note.timeout, note.concurrency),
        (bare.retry, bare.timeout, bare.concurrency)
    );
    assert_eq!(bare.retry, RetryPolicy::default());
    let http = format!("{ENDPOINT}[action.a]\nhttp.url = \"https://x.example\"\n[action.b]\nreply.text = \"x\"\n");
    let minimal = loaded(&http).config;
    let (Effect::Http(left), Effect::Http(right)) = (&minimal.actions["a"].effect, &whole.actions["crm"].effect) else {
        panic!("both are http actions")
    };
    assert_eq!(left.method, right.method);
    assert_eq!(left.on_unknown, right.on_unknown);
    assert_eq!(left.max_response_bytes, right.max_response_bytes);
    assert_eq!(
        (&left.allow_private, left.allow_http),
        (&right.allow_private, right.allow_http)
    );
    let mail = |keys: &str| loaded(&format!("{ENDPOINT}[action.a]\nemail = {{ {keys} }}")).config;
    let mail = mail("host = \"x.example\", from = \"a@example.com\", to = \"b@example.com\"");
    let (Effect::Email(left), Effect::Email(right)) = (&mail.actions["a"].effect, &whole.actions["mail"].effect) else {
        panic!("both are mails")
    };
    assert_eq!(
        (left.port, left.tls, left.on_unknown),
        (right.port, right.tls, right.on_unknown)
    );
    assert_eq!(left.subject.source(), right.subject.source());
    let Effect::Reply(reply) = &minimal.actions["b"].effect else {
        panic!("b is a reply")
    };
    assert_eq!(reply.on_unknown, OnUnknown::Skip);
    let webhook = loaded(&format!(
        "{ENDPOINT}[webhook.a]\nurl = \"https://x.example\"\nsecrets = [\"{WHSEC}\"]"
    ));
    let (left, right) = (&webhook.config.webhooks["a"], &whole.webhooks["sender"]);
    assert_eq!(left.timeout, right.timeout);
    assert_eq!(
        (&left.request.allow_private, left.request.allow_http),
        (&right.request.allow_private, right.request.allow_http)
    );
}

/// The names of a struct's fields, as serde knows them.
struct Fields<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Plain;
    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Plain> {
        Err(Plain::custom("not a struct"))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Plain> {
        self.0.extend(fields);
        Err(Plain::custom("fields noted"))
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    let mut fields = Vec::new();
    assert!(T::deserialize(Fields(&mut fields)).is_err());
    assert!(!fields.is_empty());
    fields
}

#[test]
fn every_key_there_is_stands_in_the_example() {
    let mut keys = fields::<file::Root>();
    keys.extend(fields::<file::Server>());
    keys.extend(fields::<file::Admin>());
    keys.extend(fields::<file::Database>());
    keys.extend(fields::<file::Worker>());
    keys.extend(fields::<file::LoopGuard>());
    keys.extend(fields::<file::Limit>());
    keys.extend(fields::<file::SameText>());
    keys.extend(fields::<file::Endpoint>());
    keys.extend(fields::<file::EndpointReply>());
    keys.extend(fields::<file::KeepRefused>());
    keys.extend(fields::<file::SigningSecretTable>());
    keys.extend(fields::<file::Consent>());
    keys.extend(fields::<file::Action>());
    keys.extend(fields::<file::Reply>());
    keys.extend(fields::<file::Log>());
    keys.extend(fields::<file::Request>());
    keys.extend(fields::<file::Sign>());
    keys.extend(fields::<file::Rule>());
    keys.extend(fields::<file::SecretTable>());
    keys.extend(fields::<file::HeaderTable>());
    keys.extend(fields::<file::CaptureTable>());
    keys.extend(fields::<file::Connector>());
    keys.extend(fields::<file::Rate>());
    keys.extend(fields::<file::Email>());
    keys.extend(fields::<file::Webhook>());
    // For gateway files.
    keys.retain(|key| *key != "credential");
    for key in keys {
        let spellings = [
            format!("{key} = "),
            format!("[{key}]"),
            format!("[{key}."),
            format!(".{key}]"),
        ];
        assert!(spellings.iter().any(|spelling| EXAMPLE.contains(spelling)), "{key}");
    }
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    let text = r#"
[server]
listne = "127.0.0.1:1"
max_body = 5

[[endpoint]]
name = "main"
path = "hooks"
gatewya = "mobile-api-connect"
secrets = [{ env = "NOT_SET" }]

[[endpoint]]
name = "main"
path = "/hooks/sms"
gateway = "mobile-api-conect"

[action.hours]
reply = { text = "{{ tetx }}" }
timeout = "10"

[[rule]]
name = "a"
regex = "("
actions = ["hour"]
"#;
    let expected = r#"
error: unknown key `listne`
 --> config.toml:3:1
  |
3 | listne = "***********"
  | ^^^^^^
help: did you mean `listen`?

error: expected text with a unit, such as "10s" or "1MiB", found an integer
 --> config.toml:4:12
  |
4 | max_body = 5
  |            ^

error: unknown key `gatewya`
 --> config.toml:9:1
  |
9 | gatewya = "******************"
  | ^^^^^^^
help: did you mean `gateway`?

error: this endpoint has no secret to verify signatures with
  --> config.toml:12:1
   |
12 | [[endpoint]]
   | ^^^^^^^^^^^^
help: add `secrets = [{ env = "SMS_WEBHOOK_SECRET" }]`; without one anybody could post messages

error: there is no gateway `mobile-api-conect`
  --> config.toml:15:11
   |
15 | gateway = "mobile-api-conect"
   |           ^^^^^^^^^^^^^^^^^^^
help: did you mean `mobile-api-connect`?
"#;
    let problems = refused(text);
    assert!(problems.starts_with(expected.trim_start()), "{problems}");
    for what in [
        "`tetx` is undefined",
        "`10` is not a duration",
        "there is no action `hour`",
    ] {
        assert!(problems.contains(what), "{what}: {problems}");
    }
    assert!(problems.contains("config.toml:18:22\n"), "the name: {problems}");
    assert!(problems.ends_with("9 errors in the configuration"), "{problems}");
    assert_eq!(problems, refused(text), "the order does not change");
}

#[test]
fn what_is_not_toml_is_one_problem() {
    shows(
        "numbers = auto",
        r"
error: this is not TOML: string values must be quoted, expected literal string
 --> config.toml:6:11
  |
6 | numbers = auto
  |           ^^^^
help: text stands in quotes, lists in [ ], tables in { }; see config.example.toml

1 error in the configuration",
    );
}

#[test]
fn wrong_types_are_told_in_the_words_of_toml() {
    says(
        "[worker]\nconcurrency = \"many\"",
        "expected a whole number, found a string",
    );
    says("reply = 5", "expected a table, found an integer");
    let problems = refused(&ENDPOINT.replace("[{ env = \"SECRET\" }]", "{ env = \"SECRET\" }"));
    assert!(
        problems.starts_with("error: expected a list, found a table"),
        "{problems}"
    );
}

#[test]
fn a_missing_variable_is_shown_where_it_is_named() {
    shows(
        "reply = { token = { env = \"TOKEN\" } }",
        r#"
error: the environment variable `TOKEN` is not set
 --> config.toml:6:19
  |
6 | reply = { token = { env = "TOKEN" } }
  |                   ^^^^^^^^^^^^^^^^^
help: set TOKEN before smshook starts

1 error in the configuration"#,
    );
}

#[test]
fn a_template_may_not_choose_the_server() {
    shows(
        "[action.a.http]\nurl = \"https://crm.example.com{{ text }}/x\"\n",
        r#"
error: a template may not choose the server
 --> config.toml:7:7
  |
7 | url = "https://crm.example.com{{ text }}/x"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: write scheme, host and port as plain text, then a `/`; templates may come after it

1 error in the configuration"#,
    );
}

/// What a configuration with `text` added to a sound endpoint is told, without places.
fn whats(text: &str) -> Vec<String> {
    let problems = read::read("config.toml", &format!("{ENDPOINT}{text}"), &environment).unwrap_err();
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| problem.what.clone()).collect()
}

#[track_caller]
fn says(text: &str, what: &str) {
    let whats = whats(text);
    assert!(whats.len() == 1 && whats[0].contains(what), "{text}\n{whats:#?}");
}

#[test]
fn endpoints_are_told_apart_and_verified() {
    let second = |body: &str| format!("[[endpoint]]\ngateway = \"mobile-api-connect\"\n{body}");
    let secrets = "secrets = [{ env = \"SECRET\" }]";
    says(
        &second(&format!("name = \"main\"\npath = \"/b\"\n{secrets}")),
        "endpoint `main` already",
    );
    says(
        &second(&format!("name = \"b\"\npath = \"/hooks/sms\"\n{secrets}")),
        "`main` has this path already",
    );
    says(
        &second(&format!("name = \"b c\"\npath = \"/b\"\n{secrets}")),
        "cannot be the name",
    );
    says(
        &second(&format!("name = \"b\"\npath = \"/{{x}}\"\n{secrets}")),
        "not a plain path",
    );
    says(&second("name = \"b\"\npath = \"/b\""), "no secret to verify");
    says(
        &second("name = \"b\"\npath = \"/b\"\nsecrets = []"),
        "no secret to verify",
    );
    says(
        &second("name = \"b\"\npath = \"/b\"\nsecrets = [\"\"]"),
        "the secret is empty",
    );
    says(
        &second("name = \"b\"\npath = \"/b\"\nsecrets = [{ env = \"EMPTY\" }]"),
        "`EMPTY` is empty",
    );
    says(
        &second(&format!(
            "name = \"b\"\npath = \"/b\"\nallow_unsigned = true\n{secrets}"
        )),
        "allows unsigned",
    );
    says(
        &second(&format!(
            "name = \"b\"\npath = \"/b\"\nnumbers = \"auto:UK\"\n{secrets}"
        )),
        "UK",
    );
    says(
        &second(&format!(
            "name = \"b\"\npath = \"/b\"\nsecret_encoding = \"hex\"\n{secrets}"
        )),
        "SECRET is not hexadecimal",
    );
    says(
        &second(&format!(
            "name = \"b\"\npath = \"/b\"\nsecret_encoding = \"rot13\"\n{secrets}"
        )),
        "rot13",
    );
    assert_eq!(
        refused("data_dir = \"x\"").lines().next(),
        Some("error: there is no [[endpoint]]")
    );
    assert!(refused("[endpoint]\nname = \"a\"").starts_with("error: `endpoint` is a list"));
}

#[test]
fn an_endpoint_without_keys_is_one_that_was_allowed_to_be() {
    let text = ENDPOINT.replace("secrets = [{ env = \"SECRET\" }]", "allow_unsigned = true");
    let Loaded { config, warnings, .. } = loaded(&text);
    assert!(config.endpoints[0].keys.is_none());
    assert!(warnings[0].what.contains("not verified"));
}

#[test]
fn a_reply_goes_where_the_endpoint_says() {
    let reply = |rest: &str| format!("reply = {{ token = {{ env = \"SMS_API_TOKEN\" }}{rest} }}\n");
    let config = loaded(&format!(
        "{ENDPOINT}{}",
        reply(", base_url = \"https://sms.example.com/api/\"")
    ))
    .config;
    let channel = config.endpoints[0].reply.as_ref().unwrap();
    assert_eq!(channel.request.url.source(), "https://sms.example.com/api/messages");
    assert_eq!(channel.max_text_chars, 1600);
    assert!(config.endpoints[0].policy.can_reply);
    says("reply = {}", "cannot reply without `token`");
    says(&reply(", base_url = \"https://127.0.0.1/x\""), "private network");
    says(&reply(", base_url = \"http://sms.example.com\""), "plain http://");
    says(
        &reply(", base_url = \"https://{{ text }}/\""),
        "may not choose the server",
    );
    let local = reply(", base_url = \"http://127.0.0.1:9/x\", allow_http = true, allow_private = [\"127.0.0.0/8\"]");
    let config = loaded(&format!("{ENDPOINT}{local}")).config;
    let request = &config.endpoints[0].reply.as_ref().unwrap().request;
    assert!(request.allow_http && request.allow_private.len() == 1);
}

#[test]
fn a_reply_that_nothing_can_send_is_warned_about() {
    let rule = "[[rule]]\nname = \"a\"\nany = true\nactions = [\"a\"]\n";
    let warnings = warnings(&format!("{ENDPOINT}[action.a]\nreply.text = \"hi\"\n{rule}"));
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("warning: no endpoint can reply"),
        "{}",
        warnings[0]
    );
}

#[test]
fn actions_do_exactly_one_thing() {
    says("[action.a]\ntimeout = \"1s\"", "does nothing");
    says(
        "[action.a]\nlog.message = \"x\"\nreply.text = \"x\"",
        "does several things",
    );
    says(
        "[action.a]\nconnector = { use = \"nowhere\" }",
        "no connector `nowhere`",
    );
    says("[action.help_reply]\nlog.message = \"x\"", "smshook's own");
    says("[action.a]\nlog.message = \"{{ secret }}\"", "`secret` is undefined");
    says("[action.a]\nlog.message = \"{{ text\"", "");
    says("[action.a]\nlog.message = \"x\"\nmax_attempts = 0", "at least 1");
    says("[action.a]\nlog.message = \"x\"\ntimeout = \"11m\"", "ten minutes");
    says("[action.a]\nlog.message = \"x\"\nretry_base = \"2h\"", "shorter");
    says("[[action]]\nname = \"a\"", "named tables");
}

#[test]
fn requests_are_checked_before_any_message_comes() {
    let http = |rest: &str| format!("[action.a.http]\nurl = \"https://x.example/\"\n{rest}");
    says("[action.a.http]\nurl = \"ftp://x.example/\"", "not the URL of a server");
    says("[action.a.http]\nurl = \"http://x.example/\"", "plain http://");
    says("[action.a.http]\nurl = \"https://u:p@x.example/\"", "user or password");
    says("[action.a.http]\nurl = \"https://169.254.169.254/\"", "private network");
    says("[action.a.http]\nurl = \"https://localhost/\"", "private network");
    says(
        "[action.a.http]\nurl = \"https://[::ffff:10.0.0.1]/\"",
        "private network",
    );
    says("[action.a.http]\nurl = \"https://2130706433/\"", "private network");
    says("[action.a.http]\nurl = \"{{ text }}\"", "");
    says(
        "[action.a.http]\nurl = \"https://x.example:{{ text }}/\"",
        "may not choose",
    );
    says(
        "[action.a.http]\nurl = \"https://x.example\\\\{{ text }}\"",
        "not the URL",
    );
    says(&http("method = \"BREW\""), "not a method");
    says(&http("json = {}\nform = {}"), "one body");
    says(&http("json = {}\nmethod = \"GET\""), "GET request has no body");
    says(&http("content_type = \"text/xml\""), "goes with `body`");
    says(&http("json = { a = [{ b = \"{{ nope }}\" }] }"), "`nope` is undefined");
    says(&http("headers = { \"a b\" = \"c\" }"), "not the name of a header");
    says(&http("headers = { Host = \"c\" }"), "sets this header itself");
    says(
        &http("headers = { A = { credential = \"token\" } }"),
        "for gateway files",
    );
    says(&http("success = [999]"), "a status from 100 to 599");
    says(&http("retry = [\"6xx\"]"), "a status from 100 to 599");
    says(&http("capture = { a = \"id\" }"), "not a JSON pointer");
    says(&http("require = { \"ok\" = true }"), "not a JSON pointer");
    says(&http("allow_private = [\"10.0.0.0/33\"]"), "not a network");
    says(&http("max_response = \"1GB\""), "not a size");
    says(
        &http("sign = { scheme = \"standard-webhooks\", secrets = [{ env = \"SECRET\" }] }"),
        "not one of Standard Webhooks",
    );
    says(&http("sign = { scheme = \"own\", secrets = [] }"), "unknown variant");
    says(
        &http("json = {}").replace("x.example/", "x.example/{{ nope }}"),
        "`nope` is undefined",
    );
}

#[test]
fn the_caret_is_under_the_leaf_of_a_body() {
    let problems = refused(&format!(
        "{ENDPOINT}[action.a.http]\nurl = \"https://x.example\"\njson = {{ a = [1, \"{{{{ nope }}}}\"] }}"
    ));
    assert!(problems.contains("config.toml:8:22\n"), "{problems}");
}

#[test]
fn rules_name_what_is_there() {
    let log = "[action.a]\nlog.message = \"x\"\n";
    let rule = |rest: &str| format!("{log}[[rule]]\nname = \"r\"\n{rest}\n");
    says(&rule("any = true\nactions = [\"b\"]"), "no action `b`");
    says(
        &rule("any = true\nactions = [\"a\"]\nendpoints = [\"mian\"]"),
        "no endpoint `mian`",
    );
    says(&rule("actions = [\"a\"]"), "which texts it is for");
    says(
        &rule("any = true\nexact = \"x\"\nactions = [\"a\"]"),
        "both `exact` and `any`",
    );
    says(&rule("any = false\nactions = [\"a\"]"), "matches nothing");
    says(&rule("any = true"), "`actions` is missing");
    says(&rule("regex = [\"a\", \"(?<x>\"]\nactions = [\"a\"]"), "");
    says(&rule("exact = []\nactions = [\"a\"]"), "");
    says(
        &rule("any = true\nactions = [\"a\"]\nfrom = [\"+1**\"]"),
        "not a sender",
    );
    let twice = rule("exact = \"x\"\nactions = [\"a\"]") + "[[rule]]\nname = \"r\"\nany = true\nactions = []";
    says(&twice, "rule `r` already");
}

#[test]
fn a_rule_that_is_never_reached_is_warned_about() {
    let text = format!(
        "{ENDPOINT}[[rule]]\nname = \"all\"\nany = true\nactions = []\n[[rule]]\nname = \"late\"\nexact = \"x\"\nactions = []\n"
    );
    let shown = warnings(&text);
    assert_eq!(shown.len(), 1);
    assert!(
        shown[0].starts_with("warning: this rule is never reached"),
        "{}",
        shown[0]
    );
    assert!(warnings(&text.replace("any = true", "any = true\ncontinue = true")).is_empty());
    assert!(warnings(&text.replace("any = true", "any = true\nfrom = [\"short\"]")).is_empty());
}

#[test]
fn the_admin_pages_are_not_open_to_the_network() {
    says("[admin]\nlisten = \"0.0.0.0:8081\"", "open to the network");
    says("[admin]\nlisten = \"127.0.0.1:8080\"", "same address");
    says("[admin]\nlisten = \"localhost\"", "not an address");
    says("[admin]\nlisten = \"0.0.0.0:8081\"\ntoken = 5", "expected a secret");
    let config = loaded(&format!(
        "{ENDPOINT}[admin]\nlisten = \"0.0.0.0:1\"\ntoken = {{ env = \"SECRET\" }}"
    ))
    .config;
    assert_eq!(config.admin.token.unwrap().expose_secret(), "value-of-SECRET");
}

#[test]
fn the_environment_goes_before_the_database_url_in_the_file() {
    let text = format!("{ENDPOINT}[database]\nurl = {{ env = \"NOT_SET\" }}");
    let with = |value: &'static str| {
        let environment = move |name: &str| {
            if name == "DATABASE_URL" {
                Some(value.to_owned())
            } else {
                environment(name)
            }
        };
        read::read("config.toml", &text, &environment)
    };
    let config = with("postgres://from-the-environment/x").unwrap().config;
    assert_eq!(
        config.database.url.unwrap().expose_secret(),
        "postgres://from-the-environment/x"
    );
    let problems = with("mysql://u:hunter2@h/d").unwrap_err().to_string();
    assert!(
        problems.contains("`DATABASE_URL` is not a Postgres URL") && !problems.contains("hunter2"),
        "{problems}"
    );
}

#[test]
fn a_gateway_of_ones_own_is_described_in_the_file_or_beside_it() {
    let gateway = r#"numbers = "e164"
signature = { headers = ["X-Acme"], encoding = "hex", algorithm = "hmac-sha256" }
message = { from = "/from", text = "/text" }
"#;
    let endpoint = ENDPOINT.replace("mobile-api-connect", "acme");
    let config = loaded(&format!("{endpoint}[gateway.acme]\n{gateway}")).config;
    assert_eq!(config.endpoints[0].gateway.name, "acme");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.toml");
    std::fs::write(&file, format!("name = \"acme\"\ntitle = \"Acme\"\n{gateway}")).unwrap();
    let config = loaded(&format!("{endpoint}[gateway.acme]\nfile = \"{}\"", file.display())).config;
    assert_eq!(config.endpoints[0].gateway.title, "Acme");

    says("[gateway.acme]\nnumbers = \"e164\"", "is missing");
    says(&format!("[gateway.acme]\n{gateway}colour = 1"), "unknown key `colour`");
    says("[gateway.acme]\nfile = \"/nowhere/at-all.toml\"", "cannot be read");
    let reply = "reply = { token = { env = \"SECRET\" } }\n";
    let problems = refused(&format!("{endpoint}{reply}[gateway.acme]\n{gateway}"));
    assert!(
        problems.starts_with("error: the gateway `acme` has no [reply]"),
        "{problems}"
    );
}

#[test]
fn consent_texts_have_defaults_and_can_be_left_out() {
    let endpoint = |text: &str| loaded(&format!("{ENDPOINT}{text}")).config.endpoints.remove(0);
    let plain = endpoint("");
    assert!(plain.opt_out_text.is_some() && plain.opt_in_text.is_some() && plain.help_text.is_some());
    assert!(plain.policy.confirm_opt_out && plain.policy.confirm_opt_in && plain.policy.answer_help);
    let none = endpoint("[endpoint.consent]\nopt_out_text = false\nopt_in_text = false\nhelp_text = false");
    assert!(none.opt_out_text.is_none() && none.opt_in_text.is_none() && none.help_text.is_none());
    assert!(!none.policy.confirm_opt_out && !none.policy.confirm_opt_in && !none.policy.answer_help);
    says("[endpoint.consent]\nopt_out_text = true", "false for none");
    says("[endpoint.consent]\nopt_out_text = \"\"", "empty");
    says("[endpoint.consent]\nphrases = \"on\"", "unknown variant");
}

#[test]
fn consent_words_are_added_and_the_wrong_ones_shown_each() {
    let text =
        format!("{ENDPOINT}[endpoint.consent]\nexempt = [\"cancel\", \"stop\"]\nhelp_words = [\"assist\", \"!\"]\n");
    let problems = refused(&text);
    assert!(
        problems.contains("config.toml:7:21\n") && problems.contains("config.toml:8:25\n"),
        "{problems}"
    );
    assert!(
        problems.ends_with("2 errors in the configuration, 1 warning"),
        "{problems}"
    );
    let review = loaded(&format!("{ENDPOINT}[endpoint.consent]\nphrases = \"review\"")).config;
    assert_eq!(
        review.endpoints[0].policy.vocabulary.phrases(),
        crate::consent::PhrasePolicy::Review
    );
}

#[test]
fn secret_files_are_read_without_their_newline_and_refused_when_open_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "abc\r\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let text = format!("{ENDPOINT}[admin]\ntoken = {{ file = \"{}\" }}", file.display());
    assert_eq!(loaded(&text).config.admin.token.unwrap().expose_secret(), "abc");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&text).contains("can be read by everybody"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, "\n").unwrap();
    assert!(refused(&text).contains("is empty"));
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&text).contains("cannot be read"));
    says("[admin]\ntoken = { generated = \"../x\" }", "not a plain file name");
    says("[admin]\ntoken = { env = \"SECRET\", file = \"x\" }", "exactly one");
}

#[test]
fn a_secret_in_the_file_is_warned_about() {
    let warnings = warnings(&ENDPOINT.replace("{ env = \"SECRET\" }", "\"hunter2\""));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("secrets = [\"*******\"]"), "{}", warnings[0]);
}

/// Every way found to write a configuration wrongly around a secret.
#[test]
fn no_problem_shows_a_secret() {
    let mistakes = [
        "token = hunter2",
        "token = \"hunter2",
        "token = [\"hunter2\"]",
        "token = { evn = \"hunter2\" }",
        "token = { env = \"SECRET\", hunter = \"hunter2\" }",
        "tokn = \"hunter2\"",
        "secret_word = \"hunter2\"",
        "listen = \"0.0.0.0:1\"\ntoken = \"hunter2\" x",
        "token = '''hunter2",
        "token = '''\nhunter2'''\nnope = 1",
        "token = \"hunter2\" # hunter2\nlisten = \"0.0.0.0:1\"\nlisten = 1",
        "token = {\n  env = \"SECRET\",\n  x = \"hunter2\" }",
    ];
    for mistake in mistakes {
        let problems = refused(&format!("{ENDPOINT}[admin]\n{mistake}\n"));
        assert!(!problems.contains("hunter2"), "{mistake}\n{problems}");
    }
    let elsewhere = [
        "secrets = \"hunter2\"",
        "secrets = [\"hunter2\", 5]",
        "secrets = [\"hunter2\"]\nsecret_encoding = \"base64\"",
        "secrets = [\n  \"hunter2\"\n  \"hunter2\"\n]",
    ];
    for mistake in elsewhere {
        let problems = refused(&ENDPOINT.replace("secrets = [{ env = \"SECRET\" }]", mistake));
        assert!(!problems.contains("hunter2"), "{mistake}\n{problems}");
    }
    let urls = [
        "[database]\nurl = \"mysql://u:hunter2@h/d\"",
        "[action.a.http]\nurl = \"https://u:hunter2@x.example/\"",
    ];
    for mistake in urls {
        let problems = refused(&format!("{ENDPOINT}{mistake}\n"));
        assert!(!problems.contains("hunter2"), "{mistake}\n{problems}");
    }
    let header = "[action.a.http]\nurl = \"https://x.example\"\nheaders = { Authorization = \"hunter2 {{ nope }}\" }";
    let problems = refused(&format!("{ENDPOINT}{header}\n"));
    assert!(
        !problems.contains("hunter2") && problems.contains("`nope` is undefined"),
        "{problems}"
    );
}

#[test]
fn debug_shows_no_secret() {
    let text = format!(
        "{ENDPOINT}reply = {{ token = {{ env = \"SMS_API_TOKEN\" }} }}\n[admin]\ntoken = {{ env = \"SECRET\" }}"
    );
    assert!(!format!("{:?}", loaded(&text)).contains("value-of"));
}

#[test]
fn the_file_named_is_the_one_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.toml");
    assert_eq!(locate(Some(&file)), Source::File(file.clone()));
    let problems = load(&Source::File(file.clone()), &environment).unwrap_err();
    assert!(problems.to_string().contains("cannot be read"));
    std::fs::write(&file, ENDPOINT).unwrap();
    assert!(!load(&Source::File(file), &environment).unwrap().config.is_default);
}

#[test]
fn spans_with_other_letters_before_them_are_counted_in_characters() {
    let problems = refused(&format!(
        "{ENDPOINT}[action.a]\nreply = {{ text = \"héllo\", on_unknwn = \"skip\" }}"
    ));
    assert!(problems.contains("config.toml:7:27\n"), "{problems}");
    assert!(
        problems.contains(&format!("\n  | {}^^^^^^^^^\n", " ".repeat(26))),
        "{problems}"
    );
}

#[test]
fn each_detector_of_the_loop_guard_has_a_default_and_can_be_set_or_switched_off() {
    let guard = |toml: &str| loaded(&format!("{ENDPOINT}{toml}")).config.loop_guard;
    let same = |texts, within, silence| SameTextLimit {
        texts,
        within: Duration::from_secs(within),
        silence: Duration::from_secs(silence),
    };
    let default = guard("");
    assert_eq!(default.limits.len(), 2);
    assert_eq!(
        default.same_reply,
        Some(ReplyLimit {
            replies: 2,
            within: Duration::from_mins(30)
        })
    );
    assert_eq!(default.same_text, Some(same(3, 600, 3600)));
    let set = guard(
        "[loop_guard]\nsame_reply = { replies = 1, within = \"5s\" }\nsame_text = { texts = 2, within = \"1m\", silence = \"2h\" }\n",
    );
    assert_eq!(
        set.same_reply,
        Some(ReplyLimit {
            replies: 1,
            within: Duration::from_secs(5)
        })
    );
    assert_eq!(set.same_text, Some(same(2, 60, 7200)));
    let off = guard("[loop_guard]\nsame_reply = false\nsame_text = false\n");
    assert_eq!((off.same_reply, off.same_text, off.limits.len()), (None, None, 2));
    let says = |toml: &str, what: &str| {
        let problems = refused(&format!("{ENDPOINT}[loop_guard]\n{toml}"));
        assert!(problems.contains(what), "{problems}");
    };
    says("same_reply = true", "expected a table, or false for none, found true");
    says("same_reply = { replies = 2 }", "the key `within` is missing");
    says(
        "same_text = { texts = 1, within = \"1m\", silence = \"1h\" }",
        "the first text is not the same as an earlier one",
    );
    says(
        "same_text = { texts = 0, within = \"1m\", silence = \"1h\" }",
        "at least 1",
    );
    says(
        "same_text = { texts = 2, within = \"1m\", silence = \"1h\", for = \"1h\" }",
        "unknown key `for`",
    );
}
