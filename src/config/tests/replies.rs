//! How an endpoint answers: what its gateway's request must and may be told, and what is said when that is wrong.

use super::*;
use crate::config::ReplyChannel;

/// A gateway with a reply request of this shape.
fn gateway(reply: &str) -> String {
    format!("[gateway.mine]\nlike = \"generic\"\n[gateway.mine.reply]\n{reply}\n")
}

/// A request that uses everything.
const REQUEST: &str = r#"base_url = "https://{{ region }}.api.example/v1"
settings = { region = "the first part of the API's host", account = "the account's number" }
optional = { from = "the number to send from", profile = "the profile" }
basic = ["account", "password"]
url = "{{ base_url }}/{{ account }}/texts"
json = { to = "{{ to }}", from = "{{ from }}", text = "{{ reply_text }}", profile = "{{ profile }}" }
success = [201, "2xx"]
capture = { id = "/id" }
sample_answer = '{"id":"{reply_id}"}'
"#;
const KEYS: &str = "region = \"eu1\", account = \"12:34\", password = { env = \"SECRET\" }";

fn text(keys: &str, request: &str) -> String {
    let endpoint = ENDPOINT.replace("mobile-api-connect", "mine");
    format!(
        "{endpoint}reply = {{ {keys} }}\nconsent = {{ brand = \"Acme\" }}\n{}",
        gateway(request)
    )
}

#[track_caller]
fn channel(keys: &str, request: &str) -> ReplyChannel {
    loaded(&text(keys, request)).config.endpoints.remove(0).reply.unwrap()
}

/// Asserts that these keys are refused with one problem.
#[track_caller]
fn told(keys: &str, request: &str, what: &str) {
    let problems = refused(&text(keys, request));
    assert!(problems.contains(what), "{keys}\n{problems}");
    assert!(problems.ends_with("\n1 error in the configuration"), "{problems}");
}

#[test]
fn a_reply_is_filled_in_with_the_endpoints_settings() {
    let keys = "region = \"eu1\", account = 1234, password = \"p\", profile = \"A \\\"b\\\"\"";
    let channel = channel(keys, REQUEST);
    assert_eq!(channel.request.url.source(), "https://eu1.api.example/v1/1234/texts");
    assert_eq!(channel.request.origin.host_str(), Some("eu1.api.example"));
    let body = format!("{:?}", channel.request.body);
    assert!(body.contains(r#"A \"b\""#) && body.contains("from"), "{body}");
    let [(name, HeaderSource::Secret { prefix, secret })] = channel.request.headers.as_slice() else {
        panic!("one secret header")
    };
    assert_eq!((name.as_str(), prefix.as_str()), ("authorization", "Basic "));
    assert_eq!(secret.expose_secret(), "MTIzNDpw");
    assert_eq!(
        (channel.sample_status, channel.sample_answer.as_str()),
        (201, "{\"id\":\"{reply_id}\"}")
    );
}

#[test]
fn what_is_missing_is_named_with_what_it_is() {
    let problems = refused(&text("password = { env = \"SECRET\" }", REQUEST));
    let expected = r#"
error: gateway `mine` cannot reply without `account`
 --> config.toml:6:9
  |
6 | reply = { password = { env = "SECRET" } }
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: add `account = "…"` to the endpoint's `reply`: the account's number

error: gateway `mine` cannot reply without `region`
 --> config.toml:6:9
  |
6 | reply = { password = { env = "SECRET" } }
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: add `region = "…"` to the endpoint's `reply`: the first part of the API's host

2 errors in the configuration"#;
    assert_eq!(problems, expected.trim_start());
    told(
        "region = \"eu1\", account = \"1\"",
        REQUEST,
        "cannot reply without `password`",
    );
    // What only names the gateway's own server is not missed at another one.
    let elsewhere = "account = \"1\", password = { env = \"SECRET\" }, base_url = \"https://proxy.example/x\"";
    let channel = channel(elsewhere, REQUEST);
    assert_eq!(channel.request.url.source(), "https://proxy.example/x/1/texts");
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_there_is_and_its_value_is_not_shown() {
    let problems = refused(&text(
        &format!("{KEYS}, acount = \"hunter2\"").replace("12:34", "1"),
        REQUEST,
    ));
    assert!(
        problems.starts_with("error: unknown key `acount`\n --> config.toml:6:"),
        "{problems}"
    );
    assert!(
        problems.contains("help: did you mean `account`?") && !problems.contains("hunter2"),
        "{problems}"
    );
    let problems = whats("reply = { token = \"t\", zzzzzz = 1 }");
    assert_eq!(problems, ["unknown key `zzzzzz`"]);
}

#[test]
fn a_setting_is_one_line_of_text_that_fits_its_place() {
    told(KEYS, REQUEST, "a user name must not have a colon in it");
    let keys = KEYS.replace("12:34", "1");
    for (wrong, what) in [
        ("\"\"", "this is empty"),
        ("[\"1\"]", "expected a text"),
        ("true", "expected a text"),
        ("\"a\\nb\"", "line break"),
        ("\"..\"", "change the path"),
    ] {
        told(&keys.replace("\"1\"", wrong), REQUEST, what);
    }
    for wrong in ["eu1.evil.example/", "EU", "eu1.api", "-"] {
        told(
            &keys.replace("eu1", wrong),
            REQUEST,
            "`region` is part of the name of a server",
        );
    }
    let told = refused(&text(&keys.replace("eu1", "x@evil.example"), REQUEST));
    assert!(told.contains("one label of a host name"), "{told}");
}

#[test]
fn a_secret_that_the_gateway_has_no_use_for_is_warned_about() {
    let keys = format!("{KEYS}, token = {{ env = \"CRM_TOKEN\" }}").replace("12:34", "1");
    let warned = loaded(&text(&keys, REQUEST)).warnings;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].what.contains("has no use for a `token`"), "{warned:?}");
}

#[test]
fn a_gateway_that_makes_no_sense_of_its_own_settings_is_told_so() {
    let plain = "url = \"https://x.example/\"\nform = { text = \"{{ reply_text }}\" }\n";
    for (more, keys, what) in [
        (
            "settings = { a = \"x\" }",
            "a = \"1\"",
            "`settings`: the setting `a` is used nowhere",
        ),
        ("optional = { to = \"x\" }", "", "`to` cannot be the name of a setting"),
        (
            "optional = { token = \"x\" }",
            "",
            "`token` cannot be the name of a setting",
        ),
        (
            "optional = { \"a-b\" = \"x\" }",
            "",
            "`a-b` cannot be the name of a setting",
        ),
        (
            "basic = [\"user\", \"token\"]",
            "token = { env = \"SECRET\" }",
            "there is no setting `user`",
        ),
        ("basic = [\"token\"]", "token = { env = \"SECRET\" }", "has a mistake: "),
        ("settings = [\"a\"]", "", "has a mistake: "),
        (
            "basic = [\"token\", \"token\"]\nheaders = { authorization = { credential = \"token\" } }",
            "token = { env = \"SECRET\" }",
            "an `Authorization` header already",
        ),
        ("sample_answer = 5", "", "has a mistake: "),
        ("query = { a = \"{{ account }}\" }", "", "`account` is undefined"),
    ] {
        told(keys, &format!("{plain}{more}"), what);
    }
    // Where a request goes is no setting's business but in `base_url`.
    let url = "url = \"https://{{ host }}.example/\"\nsettings = { host = \"x\" }";
    told("host = \"a\"", url, "a template may not choose the server");
    let nobodys = "base_url = \"https://{{ to }}.example\"\nurl = \"{{ base_url }}/\"";
    told("", nobodys, "`to` is part of the name of a server");
}

#[test]
fn every_built_in_gateway_that_can_reply_names_what_it_needs() {
    let mut seen = 0;
    for name in crate::gateway::builtin_names() {
        let text = ENDPOINT
            .replace("mobile-api-connect", name)
            .replace("secrets = [{ env = \"SECRET\" }]", "mode = \"observe\"");
        let text = format!("{text}public_url = \"https://a.example/hooks/sms\"\nreply = {{}}\n");
        let problems = refused(&text);
        let lines: Vec<&str> = problems.lines().filter(|line| line.starts_with("error: ")).collect();
        if lines == [format!("error: the gateway `{name}` has no [reply]")] {
            continue;
        }
        seen += 1;
        let is_missing =
            |line: &&str| line.contains("cannot reply without `") || line.contains("its address is missing");
        assert!(lines.iter().all(is_missing), "{problems}");
        assert!(
            problems.contains("cannot reply without `") || problems.contains("base_url"),
            "{problems}"
        );
    }
    assert!(seen >= 14, "{seen}");
}

#[test]
fn what_a_reply_is_told_does_not_show_its_secrets() {
    let text = text(&KEYS.replace("{ env = \"SECRET\" }", "\"hunter2\""), REQUEST);
    assert!(!refused(&text).contains("hunter2"));
    let sound = loaded(&text.replace("12:34", "1"));
    assert!(!format!("{sound:?}").contains("hunter2"));
    assert!(!format!("{sound:?}").contains("MTpodW50ZXIy"), "nor as Basic has it");
}
