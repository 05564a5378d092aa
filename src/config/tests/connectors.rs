//! Connectors: what a file and a user's keys come to, and that every mistake in either is shown where it can be undone.

use super::*;
use crate::config::connector::{
    Closed, ConnectorSpec, EffectClass, Flow, Meaning, OperationName, Several, WaitSource, WaitUnit,
};
use crate::connector::{Connector, Knob, KnobType, OneOrMany, WhenValue, builtin, builtin_names};
use crate::template::{Context, sample};

const DESK: &str = include_str!("desk.toml");

/// The desk as a table of the configuration: `[connector.desk]` and the same below it.
fn desk() -> String {
    let table: toml::Table = toml::from_str(DESK).unwrap();
    let mut outer = toml::Table::new();
    outer.insert("desk".to_owned(), toml::Value::Table(table));
    let mut root = toml::Table::new();
    root.insert("connector".to_owned(), toml::Value::Table(outer));
    toml::to_string(&root).unwrap()
}

fn configuration(keys: &str) -> String {
    format!("{ENDPOINT}[action.a]\nconnector = {{ {keys} }}\n{}", desk())
}

#[track_caller]
fn spec(keys: &str) -> ConnectorSpec {
    let mut config = loaded(&configuration(keys)).config;
    let Effect::Connector(spec) = config.actions.remove("a").unwrap().effect else {
        panic!("a is a connector action")
    };
    *spec
}

const KEYS: &str = "use = \"desk\", subdomain = \"acme\", token = { env = \"SECRET\" }";

/// The one problem that these keys are told, its place included.
#[track_caller]
fn told(keys: &str, what: &str) -> String {
    let said = refused(&configuration(keys));
    assert!(said.contains(what), "{keys}\n{said}");
    assert!(said.contains("\n1 error in the configuration"), "{said}");
    said
}

#[test]
fn an_action_has_the_operations_of_its_flow_with_the_account_in_them() {
    let spec = spec(KEYS);
    assert_eq!(
        (spec.connector.as_str(), spec.title.as_str(), spec.flow),
        ("desk", "Desk", Flow::Ticket)
    );
    let names: Vec<_> = spec.operations.keys().map(|name| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "find_contact",
            "create_contact",
            "find_open_ticket",
            "read_ticket",
            "create_ticket",
            "append_to_ticket",
            "reopen_ticket",
            "probe"
        ]
    );
    let create = &spec.operations[&OperationName::CreateTicket];
    assert_eq!(create.request.url.source(), "https://acme.desk.example/api/tickets");
    assert_eq!(create.request.origin.as_str(), "https://acme.desk.example/");
    assert!(create.request.is_operation && create.request.secret_url.is_none());
    assert_eq!(create.request.max_response_bytes, 1 << 20);
    assert_eq!(create.effect, EffectClass::Keyed(Duration::from_hours(2)));
    assert_eq!(
        (create.settle, create.on_unknown),
        (Duration::from_secs(2), OnUnknown::Resend)
    );
    assert!(create.request.success.contains(201) && !create.request.success.contains(200));
    assert_eq!(create.reconcile.len(), 2);
    assert_eq!(create.reconcile[0].next.as_deref(), Some("/next"));
    assert_eq!(create.reconcile[1].contains[0].0, "/external");
    let contact = &spec.operations[&OperationName::CreateContact];
    assert_eq!(
        (contact.settle, contact.on_unknown),
        (Duration::from_secs(5), OnUnknown::Hold)
    );
    assert_eq!(contact.effect, EffectClass::Reconcilable);
    assert!(spec.operations[&OperationName::AppendToTicket].reopens);
    assert_eq!(spec.contact_members, ["id", "name"]);
    assert_eq!(spec.ticket_members, ["id", "number", "url"]);
    assert!(spec.create_contact);
    assert_eq!((spec.several, spec.closed), (Several::First, Closed::Reopen));
    assert_eq!(spec.rate.unwrap().requests, 200);
    assert_eq!(spec.waits[0].unit, WaitUnit::Unix);
    assert!(matches!(&spec.waits[1].source, WaitSource::Pointer(pointer) if pointer == "/retry_after"));
    assert_eq!(spec.errors[0].means, Meaning::Closed);
    assert_eq!(spec.errors[0].operations, [OperationName::AppendToTicket]);
    assert_eq!(spec.errors[1].after, Some(Duration::from_mins(15)));
    let find = &spec.operations[&OperationName::FindOpenTicket];
    assert_eq!(find.hits.filter.len(), 2);
    assert_eq!(find.hits.keep, [("number".to_owned(), "/number".to_owned())]);
}

/// The secret headers of a request, as they would be sent.
fn secret_headers(request: &HttpSpec) -> Vec<String> {
    let secrets = request.headers.iter().filter_map(|(name, source)| match source {
        HeaderSource::Secret { prefix, secret } => Some(format!("{name}: {prefix}{}", secret.expose_secret())),
        HeaderSource::Rendered(_) => None,
    });
    secrets.collect()
}

#[test]
fn the_first_way_to_sign_in_for_which_everything_is_set_is_used() {
    let header = spec(KEYS);
    let find = OperationName::FindContact;
    assert_eq!(
        secret_headers(&header.operations[&find].request),
        ["x-api-token: Token value-of-SECRET"]
    );
    let lookup = &header.operations[&OperationName::CreateTicket].reconcile[0].request;
    assert_eq!(secret_headers(lookup), ["x-api-token: Token value-of-SECRET"]);
    let basic = spec(&format!("{KEYS}, email = \"a@b.example\""));
    // base64 of a@b.example/token:value-of-SECRET
    assert_eq!(
        secret_headers(&basic.operations[&find].request),
        ["authorization: Basic YUBiLmV4YW1wbGUvdG9rZW46dmFsdWUtb2YtU0VDUkVU"]
    );
    let known: Vec<_> = basic
        .secrets
        .iter()
        .map(|secret| secret.expose_secret().to_owned())
        .collect();
    assert_eq!(
        known,
        ["value-of-SECRET", "YUBiLmV4YW1wbGUvdG9rZW46dmFsdWUtb2YtU0VDUkVU"]
    );
    let token = spec("use = \"desk\", subdomain = \"acme\", client_id = \"x\", client_secret = { env = \"SECRET\" }");
    assert!(secret_headers(&token.operations[&find].request).is_empty());
    let token = token.token.unwrap();
    assert_eq!(token.request.url.source(), "https://acme.desk.example/api/oauth/tokens");
    assert_eq!(
        (token.access_token.as_str(), token.prefix.as_str()),
        ("/access_token", "Bearer ")
    );
    let names = Context::new(serde_json::json!({ "knob": { "client_id": "x" }, "secret": { "client_secret": "y" } }));
    let BodySpec::Json(body) = &token.request.body else {
        panic!("a JSON body")
    };
    assert_eq!(body.render(&names).unwrap()["client_secret"], "y");
    told(
        "use = \"desk\", subdomain = \"acme\"",
        "set client_id and client_secret, or email and token, or token, or webhook",
    );
}

#[test]
fn headers_of_the_file_are_on_every_request_unless_it_has_its_own() {
    let spec = spec(KEYS);
    let accept = |name| {
        let headers = spec.operations[&name].request.headers.iter();
        let accepts = headers.filter_map(|(name, source)| match source {
            HeaderSource::Rendered(template) if name == "accept" => Some(template.source().to_owned()),
            _ => None,
        });
        accepts.collect::<Vec<_>>()
    };
    assert_eq!(accept(OperationName::Probe), ["application/json"]);
    assert_eq!(accept(OperationName::CreateContact), ["text/json"]);
}

#[test]
fn knobs_choose_the_variant_of_an_operation_and_fill_templates() {
    let unique = spec(&format!(
        "{KEYS}, unique_property = \"sms\", properties = {{ lead = \"{{{{ text }}}}\" }}"
    ));
    let create = &unique.operations[&OperationName::CreateContact];
    assert_eq!(create.effect, EffectClass::Unique);
    let rendered: BTreeMap<_, _> = unique
        .knobs
        .iter()
        .map(|(name, tree)| (name.as_str(), tree.render(&sample()).unwrap()))
        .collect();
    assert_eq!(rendered["properties"], serde_json::json!({ "lead": "Hello" }));
    assert_eq!(rendered["tags"], serde_json::json!(["sms"]));
    assert_eq!(rendered["subject"], "SMS from +14155550100");
    assert_eq!(rendered["queue"], "support");
    assert_eq!(rendered["private"], true);
    assert!(rendered["group"].is_null());
    assert!(!rendered.contains_key("token"), "no secret is among them");
}

#[test]
fn the_users_word_goes_before_the_files() {
    let keys = format!(
        "{KEYS}, flow = \"attach\", create_contact = false, several = \"fail\", closed = \"new\", on_unknown = \"skip\", \
         rate = {{ requests = 3, per = \"1s\" }}, settle = \"9s\""
    );
    let spec = spec(&keys);
    assert_eq!((spec.flow, spec.create_contact), (Flow::Attach, false));
    assert_eq!((spec.several, spec.closed), (Several::Fail, Closed::New));
    let create = &spec.operations[&OperationName::CreateContact];
    assert_eq!(
        (create.on_unknown, create.settle),
        (OnUnknown::Skip, Duration::from_secs(9))
    );
    assert_eq!(spec.rate.unwrap().per, Duration::from_secs(1));
    assert_eq!(spec.ticket_members, ["id"]);
}

#[test]
fn another_server_is_under_the_rules_of_every_url() {
    told(&format!("{KEYS}, base_url = \"http://127.0.0.1:9\""), "plain http://");
    told(
        &format!("{KEYS}, base_url = \"https://127.0.0.1:9\""),
        "private network",
    );
    told(
        &format!("{KEYS}, base_url = \"https://x.example/{{{{ text }}}}\""),
        "not the plain URL",
    );
    told(
        &format!("{KEYS}, base_url = \"https://{{{{ text }}}}/\""),
        "may not choose the server",
    );
    let local =
        format!("{KEYS}, base_url = \"http://127.0.0.1:9/x/\", allow_http = true, allow_private = [\"127.0.0.0/8\"]");
    let spec = spec(&local);
    let request = &spec.operations[&OperationName::Probe].request;
    assert_eq!(request.url.source(), "http://127.0.0.1:9/x/me");
    assert!(request.allow_http && request.allow_private.len() == 1);
    told(&format!("{KEYS}, allow_private = [\"10.0.0.0/33\"]"), "not a network");
}

#[test]
fn a_webhook_is_a_secret_that_leads_to_known_hosts_only() {
    let url = |url: &str| format!("use = \"desk\", flow = \"notify\", subdomain = \"acme\", webhook = \"{url}\"");
    let ok = spec(&url("https://hooks.desk.example/T0/B0?x=1"));
    let notify = &ok.operations[&OperationName::Notify];
    assert!(notify.threads);
    assert_eq!(notify.request.origin.as_str(), "https://hooks.desk.example/");
    assert_eq!(notify.request.url.source(), "https://hooks.desk.example/");
    assert_eq!(
        notify.request.secret_url.as_ref().unwrap().expose_secret(),
        "https://hooks.desk.example/T0/B0?x=1"
    );
    assert!(secret_headers(&notify.request).is_empty());
    assert_eq!(ok.thread_members, ["id"]);
    spec(&url("https://a.b.cloud.example/T0"));
    for wrong in [
        "https://evil.example/T0",
        "http://hooks.desk.example/T0",
        "https://cloud.example/T0",
        "https://hooks.desk.example.evil.example/T0",
        "https://u:p@hooks.desk.example/T0",
        "https://127.0.0.1/T0",
        "not a url",
    ] {
        let said = refused(&configuration(&url(wrong)));
        assert!(!said.contains("/T0") && !said.contains("evil.example"), "{said}");
    }
    let said = told(
        &url("https://evil.example/T0"),
        "`webhook` does not lead to a host of Desk",
    );
    assert!(said.contains("hooks.desk.example, *.cloud.example"), "{said}");
    spec(&format!("{}, any_host = true", url("https://evil.example/T0")));
    spec(&format!(
        "{}, allow_http = true, allow_private = [\"127.0.0.1\"]",
        url("http://127.0.0.1:9/T0")
    ));
}

#[test]
fn no_problem_with_a_connector_shows_a_secret() {
    for keys in [
        "use = \"desk\", subdomain = \"acme\", webhook = \"https://evil.example/hunter2\"",
        "use = \"desk\", subdomain = 5, webhook = \"https://hooks.desk.example/hunter2\"",
        "use = \"nowhere\", hook = \"https://hooks.desk.example/hunter2\"",
        "use = 7, hook = \"https://hooks.desk.example/hunter2\"",
        "hook = \"https://hooks.desk.example/hunter2\"",
        "use = \"desk\", subdomain = \"a\", webhok = \"hunter2\"",
        "use = \"desk\", subdomain = \"a\", client_secret = [\"hunter2\"]",
        "use = \"desk\", subdomain = \"a b\", token = \"hunter2\\r\\n\"",
        "use = \"desk\", subdomain = \"acme\", token = \"hunter2\\r\\n\"",
    ] {
        let said = refused(&configuration(keys));
        assert!(!said.contains("hunter2"), "{keys}\n{said}");
    }
    assert!(!format!("{:?}", spec(KEYS)).contains("value-of"));
}

#[test]
fn a_wrong_key_is_shown_where_it_stands() {
    let said = told(&format!("{KEYS}, subdomian = \"x\""), "unknown key `subdomian`");
    assert!(said.contains("did you mean `subdomain`?"), "{said}");
    let carets = said.lines().find(|line| line.contains('^')).unwrap();
    assert_eq!(carets.matches('^').count(), "subdomian".len(), "{said}");
    let said = told(
        "use = \"desk\", token = { env = \"SECRET\" }",
        "`desk` needs `subdomain`",
    );
    assert!(
        said.contains("what stands before .desk.example in your address"),
        "{said}"
    );
    assert!(said.contains("config.toml:7:13\n"), "{said}");
    let said = told(
        "use = \"desk\", token = { env = \"SECRET\" }, subdomain = \"acme.desk.example\"",
        "not one label",
    );
    assert!(said.contains("config.toml:7:69\n"), "{said}");
    told(&format!("{KEYS}, queue = \"suport\""), "did you mean `support`?");
    told(
        &format!("{KEYS}, group = \"x\""),
        "expected a whole number, found a string",
    );
    told(
        &format!("{KEYS}, private = 1"),
        "expected true or false, found an integer",
    );
    told(&format!("{KEYS}, flow = \"call\""), "it has: ticket, attach, notify");
    told(&format!("{KEYS}, several = \"all\""), "unknown variant");
    told(
        &format!("{KEYS}, subject = \"{{{{ contact.id }}}}\""),
        "`contact` is undefined",
    );
    let said = told(
        &format!("{KEYS}, tags = [\"a\", \"{{{{ tetx }}}}\"]"),
        "`tetx` is undefined",
    );
    assert!(said.contains("config.toml:7:94\n"), "{said}");
    told("use = \"dsek\", subdomain = \"acme\"", "did you mean `desk`?");
}

#[test]
fn a_flow_needs_its_operations() {
    let without = |operation: &str, keys: &str| {
        let mut table: toml::Table = toml::from_str(&configuration(keys)).unwrap();
        let desk = table["connector"]["desk"]["operation"].as_table_mut().unwrap();
        assert!(desk.remove(operation).is_some());
        toml::to_string(&table).unwrap()
    };
    let said = refused(&without("create_ticket", KEYS));
    assert!(
        said.contains("cannot do the flow `ticket` with these keys: it lacks `create_ticket`"),
        "{said}"
    );
    assert!(!loaded(&without("create_contact", KEYS)).config.actions.is_empty());
    let said = refused(&without("create_contact", &format!("{KEYS}, create_contact = true")));
    assert!(said.contains("`desk` cannot create contacts"), "{said}");
    told(
        &format!("{KEYS}, flow = \"notify\", queue = \"sales\""),
        "it lacks `notify`",
    );
}

#[test]
fn accounts_are_told_apart_by_where_they_are() {
    let account = |keys: &str| spec(keys).account;
    let acme = account(KEYS);
    assert_eq!(acme.len(), 64);
    assert_eq!(
        acme,
        account(&KEYS.replace("SECRET", "SMS_API_TOKEN")),
        "a token is rotated"
    );
    assert_eq!(acme, account(&format!("{KEYS}, flow = \"attach\"")));
    assert_ne!(acme, account(&KEYS.replace("acme", "other")));
    assert_ne!(acme, account(&format!("{KEYS}, queue = \"sales\"")));
    assert_ne!(acme, account(&format!("{KEYS}, base_url = \"https://proxy.example\"")));
    let hook = |url: &str| {
        account(&format!(
            "use = \"desk\", flow = \"notify\", subdomain = \"acme\", webhook = \"{url}\""
        ))
    };
    assert_ne!(
        hook("https://hooks.desk.example/a"),
        hook("https://hooks.desk.example/b")
    );
}

/// A desk with `from` replaced by `to`, in a file beside the configuration.
fn broken(from: &str, to: &str) -> String {
    assert!(DESK.contains(from), "{from}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.toml");
    std::fs::write(&file, DESK.replacen(from, to, 1)).unwrap();
    let text = format!(
        "{ENDPOINT}[action.a]\nconnector = {{ {KEYS} }}\n[connector.desk]\nfile = \"{}\"\n",
        file.display()
    );
    match read::read("config.toml", &text, &environment) {
        Ok(_) => panic!("{from} → {to} is taken"),
        Err(problems) => problems.to_string().replace(&file.display().to_string(), "FILE"),
    }
}

/// The line of the desk on which `text` first stands.
fn line_of(text: &str) -> usize {
    DESK.get(..DESK.find(text).unwrap()).unwrap().matches('\n').count() + 1
}

/// What stands in the desk, what stands there instead, and what that is told.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "{{ previous.number }}",
        "{{ previous.nummer }}",
        "`previous.nummer` is undefined",
    ),
    (
        "{{ phone.national }}",
        "{{ phone.local }}",
        "`phone.local` is undefined",
    ),
    (
        "{{ knob.subject }}",
        "{{ knob.subjekt }}",
        "`knob.subjekt` is undefined",
    ),
    (
        "/tickets/{{ ticket.id }}\"",
        "/tickets/{{ ticket.uid }}\"",
        "`ticket.uid` is undefined",
    ),
    (
        "{{ previous.number }}",
        "{{ previous.number[0] }}",
        "where something is not known",
    ),
    ("[\"new\", \"open\"]", "[\"new\", \"{{ opn }}\"]", "`opn` is undefined"),
    ("\"/next\"", "\"next\"", "not a JSON pointer"),
    ("\"/ticket/id\"", "\"ticket/id\"", "not a JSON pointer"),
    ("path = \"/me\"", "path = \"me\"", "a path begins with `/`"),
    ("path = \"/me\"", "", "where does this request go?"),
    ("key_for = \"2h\"\n", "", "how long is the key honoured?"),
    ("key_for = \"2h\"", "key_for = \"2\"", "not a duration"),
    ("method = \"POST\"", "method = \"PUT\"", "a lookup must only read"),
    (
        "effect = \"reconcilable\"",
        "effect = \"at_most_once\"",
        "is never looked up",
    ),
    ("effect = \"keyed\"\n", "", "what doing it twice comes to"),
    (
        "{ unique_property = true }",
        "{ unique = true }",
        "there is no knob `unique`",
    ),
    (
        "kind = \"basic\"\nusername",
        "kind = \"basic\"\nvalue",
        "needs `username` and `password`",
    ),
    (
        "[operation.reopen_ticket]",
        "[operation.reopen]",
        "there is no operation `reopen`",
    ),
    (
        "hosts = [\"hooks.desk.example\", \"*.cloud.example\"]\n",
        "",
        "`hosts` go with",
    ),
    ("{subdomain}", "{email}", "no knob of type `label` or `url`"),
    (
        "[knobs.group]",
        "[knobs.flow]",
        "every connector action has this key already",
    ),
    (
        "flows = [\"ticket\"",
        "flows = [\"tickets\"",
        "there is no flow `tickets`",
    ),
];

#[test]
fn a_mistake_in_a_file_is_told_with_its_line_where_the_file_is_used() {
    for (from, to, what) in MISTAKES {
        let keys_fit = broken(from, to);
        assert!(keys_fit.contains(what), "{from} → {to}\n{keys_fit}");
        assert!(keys_fit.contains("the connector file `FILE`, line "), "{keys_fit}");
    }
    let said = broken("{{ previous.number }}", "{{ previous.nummer }}");
    let line = line_of("{{ previous.number }}");
    let place = "--> config.toml:7:13\n";
    assert!(
        said.contains(&format!("the connector file `FILE`, line {line}: ")) && said.contains(place),
        "{said}"
    );
    let said = broken("key_for", "key_fro");
    assert!(
        said.contains(&format!("line {}: unknown field `key_fro`", line_of("key_for"))),
        "{said}"
    );
}

#[test]
fn a_connector_in_the_configuration_itself_is_shown_there() {
    let text = configuration(KEYS).replacen("{{ previous.number }}", "{{ previous.nummer }}", 1);
    let said = refused(&text);
    let line = text.lines().position(|line| line.contains("nummer")).unwrap() + 1;
    assert!(said.contains(&format!("config.toml:{line}:")), "{said}");
    assert!(
        said.contains("in this template, `previous.nummer` is undefined"),
        "{said}"
    );
    let said = refused(&configuration(KEYS).replacen("key_for", "key_fro", 1));
    assert!(
        said.contains("unknown key `key_fro`") || said.contains("unknown field"),
        "{said}"
    );
    let said = refused(&format!("{ENDPOINT}[connector.x]\nfile = \"/nowhere/x.toml\""));
    assert!(said.contains("cannot be read"), "{said}");
}

/// A value that a knob of this definition takes, as TOML.
fn example_of(knob: &Knob) -> toml::Value {
    match knob.r#type {
        KnobType::Label => "acme".into(),
        KnobType::Url => "https://desk.example.com/x".into(),
        KnobType::Text => knob.choices.first().map_or("some text", String::as_str).into(),
        KnobType::Int => 7.into(),
        KnobType::Bool => true.into(),
        KnobType::Secret => "hunter2".into(),
        KnobType::SecretUrl => {
            let host = knob.hosts.first().unwrap().replace('*', "x");
            format!("https://{host}/path").into()
        }
        KnobType::Value => "{{ text }}".into(),
    }
}

/// Ways to set a connector's knobs that its file tells apart: each way to sign in with each flow, bare, with every other
/// knob set, and with each value that a `when` asks for of one.
fn ways(connector: &Connector) -> Vec<toml::Table> {
    let mut ways = Vec::new();
    let none = vec![Vec::new()];
    let sign_ins: Vec<Vec<String>> = connector.auth.iter().map(|auth| auth.when.clone()).collect();
    let signs_in = |name: &String| connector.auth.iter().any(|auth| auth.when.contains(name));
    for sign_in in if sign_ins.is_empty() { none } else { sign_ins } {
        for flow in &connector.flows {
            let mut bare = toml::Table::new();
            bare.insert("use".to_owned(), connector.name.clone().into());
            bare.insert("flow".to_owned(), flow.clone().into());
            let needed = |name: &String, knob: &Knob| knob.required || sign_in.contains(name);
            for (name, knob) in connector.knobs.iter().filter(|(name, knob)| needed(name, knob)) {
                bare.insert(name.clone(), example_of(knob));
            }
            let mut all = bare.clone();
            for (name, knob) in connector.knobs.iter().filter(|(name, _)| !signs_in(name)) {
                all.insert(name.clone(), example_of(knob));
                let values = wanted(connector, name).into_iter();
                ways.extend(values.map(|value| {
                    let mut keys = bare.clone();
                    keys.insert(name.clone(), value.map_or_else(|| example_of(knob), toml::Value::from));
                    keys
                }));
            }
            ways.extend([bare, all]);
        }
    }
    ways
}

/// What some `when` asks of a knob: a text, or that it is set.
fn wanted(connector: &Connector, knob: &str) -> Vec<Option<String>> {
    let operations = connector.operation.values().flat_map(OneOrMany::iter);
    let asked = operations.flat_map(|(_, operation)| {
        let lookups = operation.reconcile.iter().flat_map(OneOrMany::iter);
        std::iter::once(&operation.when).chain(lookups.map(|(_, lookup)| &lookup.when))
    });
    let asked = asked.filter_map(|when| when.get(knob));
    let mut wanted: Vec<_> = asked
        .map(|value| match value {
            WhenValue::Is(text) => Some(text.clone()),
            WhenValue::Set(_) => None,
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Tries every way: how many work in each flow, and what is wrong, unless it is only that a flow is not there with these
/// keys.
fn tried(connector: &Connector, file: &str) -> (BTreeMap<String, usize>, Vec<String>) {
    let mut worked: BTreeMap<String, usize> = connector.flows.iter().map(|flow| (flow.clone(), 0)).collect();
    let mut said = BTreeMap::new();
    for keys in ways(connector) {
        let action = toml::to_string(&keys).unwrap();
        let text = format!("{ENDPOINT}[action.a.connector]\n{action}\n{file}");
        match read::read("config.toml", &text, &environment) {
            Ok(_) => *worked.get_mut(keys["flow"].as_str().unwrap()).unwrap() += 1,
            Err(problems) => {
                let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
                let errors = errors.filter(|problem| !problem.what.contains("cannot do the flow"));
                said.extend(errors.map(|problem| (problem.what.clone(), format!("{problem}\nwith\n{action}"))));
            }
        }
    }
    (worked, said.into_values().collect())
}

#[test]
fn every_built_in_connector_can_be_used_in_every_way_its_file_tells_apart() {
    let mut wrong = Vec::new();
    for name in builtin_names() {
        let connector = Connector::from_toml(builtin(name).unwrap()).unwrap();
        let (worked, said) = tried(&connector, "");
        wrong.extend(said);
        let idle = worked.iter().filter(|(_, worked)| **worked == 0);
        wrong.extend(idle.map(|(flow, _)| format!("{name}.toml: nothing makes the flow `{flow}` work")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_trial_of_all_ways_finds_a_mistake_in_a_variant_that_is_seldom_used() {
    let connector = Connector::from_toml(DESK).unwrap();
    let (worked, said) = tried(&connector, &desk());
    assert!(
        worked.values().all(|worked| *worked > 3) && said.is_empty(),
        "{worked:?} {said:#?}"
    );
    let broken = desk().replacen("{{ knob.unique_property }}", "{{ knob.unique }}", 1);
    let (_, said) = tried(&connector, &broken);
    assert!(
        said.iter().any(|said| said.contains("`knob.unique` is undefined")),
        "{said:#?}"
    );
}
