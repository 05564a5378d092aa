//! Actions that wait for another of their message and use what came of it.

use super::*;

const RULE: &str = "[[rule]]\nname = \"r\"\nany = true\nactions = [\"one\", \"two\"]\n";

fn two(one: &str, two: &str) -> String {
    format!("[action.one]\n{one}\n[action.two]\n{two}\n")
}

const HTTP: &str = "http = { url = \"https://x.example\", capture = { number = \"/number\" } }";

#[test]
fn an_action_that_waits_may_use_what_the_other_keeps() {
    let after = "after = [\"one\"]\nlog.message = \"{{ results.one.number }} for {{ sender }}\"";
    let config = loaded(&format!("{ENDPOINT}{}{RULE}", two(HTTP, after))).config;
    assert_eq!(config.actions["two"].after, ["one"]);
    assert!(config.actions["one"].after.is_empty());
    let members = |action: &str, template: &str| {
        let text = two(action, &format!("after = [\"one\"]\nlog.message = '''{template}'''"));
        loaded(&format!("{ENDPOINT}{text}{RULE}"));
    };
    members("log.message = \"x\"", "{{ results.one.line }}");
    members("reply.text = \"x\"", "{{ results.one.reference }}");
    members(
        "email = { host = \"smtp.example.com\", from = \"a@example.com\", to = \"b@example.com\" }",
        "{{ results.one.message_id }}",
    );
}

#[test]
fn the_results_of_a_connector_are_those_of_its_flow() {
    let desk = include_str!("desk.toml")
        .replace("\n[", "\n[connector.desk.")
        .replace("[connector.desk.[", "[[connector.desk.");
    let desk = format!("[connector.desk]\n{desk}");
    let with = |flow: &str, template: &str| {
        let connector = format!(
            "connector = {{ use = \"desk\", subdomain = \"acme\", token = {{ env = \"SECRET\" }}, flow = \"{flow}\" }}"
        );
        let after = format!("after = [\"one\"]\nlog.message = '''{template}'''");
        let text = format!("{ENDPOINT}{}{RULE}{desk}", two(&connector, &after));
        read::read("config.toml", &text, &environment).map_err(|problems| problems.to_string())
    };
    let loaded = with(
        "ticket",
        "{{ results.one.number }} {{ results.one.url }} {{ results.one.created }} \
         {{ results.one.contact.id }} {{ results.one.contact.created }} {{ results.one.note.id }}",
    );
    let config = loaded.unwrap().config;
    assert_eq!(
        config.actions["one"].empty_result(),
        serde_json::json!({
            "id": null, "number": null, "url": null, "created": null,
            "contact": { "id": null, "created": null },
            "note": { "id": null },
        })
    );
    with("attach", "{{ results.one.contact.id }}{{ results.one.id }}").unwrap();
    with("notify", "{{ results.one.id }}").unwrap();
    let said = with("notify", "{{ results.one.number }}").unwrap_err();
    assert!(said.contains("`results.one.number` is undefined"), "{said}");
    let said = with("ticket", "{{ results.one.nummer }}").unwrap_err();
    assert!(said.contains("`results.one.nummer` is undefined"), "{said}");
}

#[test]
fn a_misspelt_member_of_a_result_is_shown_with_a_caret() {
    let after = "after = [\"one\"]\nlog.message = \"no {{ results.one.nummer }}\"";
    shows(
        &format!("{}{RULE}", two(HTTP, after)),
        r#"
error: in this template, `results.one.nummer` is undefined
  --> config.toml:10:22
   |
10 | log.message = "no {{ results.one.nummer }}"
   |                      ^^^^^^^^^^^^^^^^^^
help: a template may use action, deviceId, endpoint, from, job, m, message, now, recipient, ref, results, rule, sender, tenantName, text, to

1 error in the configuration"#,
    );
    says(
        &two(HTTP, "log.message = \"{{ results.one.number }}\""),
        "`results` is undefined",
    );
    says(
        &two(HTTP, "after = [\"one\"]\nlog.message = \"{{ results.two.number }}\""),
        "`results.two` is undefined",
    );
}

#[test]
fn what_a_result_may_lack_is_warned_about() {
    let after = "after = [\"one\"]\nlog.message = \"{{ results.one.number | int + 1 }}{{ results.one.number + 1 }}\"";
    let text = format!(
        "{ENDPOINT}{}{RULE}",
        two(HTTP, &after.replace("{{ results.one.number + 1 }}", ""))
    );
    assert_eq!(warnings(&text), [""; 0]);
    let text = format!(
        "{ENDPOINT}{}{RULE}",
        two(HTTP, "after = [\"one\"]\nlog.message = \"{{ results.one.number[0] }}\"")
    );
    let said = warnings(&text);
    assert!(
        said.len() == 1 && said[0].contains("this template fails where"),
        "{said:#?}"
    );
}

#[test]
fn actions_cannot_wait_for_what_is_not_there_or_for_each_other() {
    let log = "log.message = \"x\"";
    says(
        &two(log, "after = [\"oen\"]\nlog.message = \"x\""),
        "there is no action `oen`",
    );
    says(
        &two(log, "after = [\"help_reply\"]\nlog.message = \"x\""),
        "a job of smshook's own",
    );
    says(
        &two(log, "after = [\"two\"]\nlog.message = \"x\""),
        "cannot wait for itself",
    );
    let circle = format!(
        "[action.a]\nafter = [\"b\"]\n{log}\n[action.b]\nafter = [\"c\"]\n{log}\n[action.c]\nafter = [\"a\"]\n{log}\n\
         [action.d]\nafter = [\"a\"]\n{log}\n"
    );
    assert_eq!(
        whats(&circle),
        [
            "`a` and `b` wait for each other",
            "`b` and `c` wait for each other",
            "`c` and `a` wait for each other"
        ]
    );
    says(
        &two(
            "timeout = \"1s\"",
            "after = [\"one\"]\nlog.message = \"{{ results.one.x }}\"",
        ),
        "does nothing",
    );
}

#[test]
fn waiting_for_what_no_rule_orders_is_warned_about() {
    let actions = two("log.message = \"x\"", "after = [\"one\"]\nlog.message = \"y\"");
    let rule = |name: &str, rest: &str| format!("[[rule]]\nname = \"{name}\"\n{rest}\n");
    let text = |rules: &str| format!("{ENDPOINT}{actions}{rules}");
    let alone = rule("a", "any = true\nactions = [\"two\"]");
    let first = rule("b", "exact = \"x\"\nactions = [\"one\"]");
    let said = warnings(&text(&format!("{first}{alone}")));
    assert!(
        said.len() == 1 && said[0].contains("`two` uses the result of `one`, which nothing orders with it"),
        "{said:#?}"
    );
    let continued = first.replace("exact = \"x\"", "exact = \"x\"\ncontinue = true");
    assert_eq!(warnings(&text(&format!("{continued}{alone}"))), [""; 0]);
    assert_eq!(
        warnings(&text(&rule("a", "any = true\nactions = [\"two\", \"one\"]"))),
        [""; 0]
    );
}
