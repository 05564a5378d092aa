//! `[webhook.NAME]`: what a webhook needs, and what it must not be.

use super::*;

const URL: &str = "url = \"https://sender.example.com/hook\"\n";

fn webhook(keys: &str) -> String {
    format!("{ENDPOINT}[webhook.sender]\n{keys}")
}

fn secrets() -> String {
    format!("secrets = [\"{WHSEC}\"]\n")
}

#[test]
fn a_webhook_signs_with_all_its_secrets_and_takes_no_answer_but_a_2xx() {
    let text = webhook(&format!("{URL}secrets = [\"{WHSEC}\", {{ env = \"SENDER_SECRET\" }}]"));
    let config = loaded(&text).config;
    let WebhookSpec { name, request, timeout } = &config.webhooks["sender"];
    assert_eq!((name.as_str(), *timeout), ("sender", Duration::from_secs(10)));
    assert_eq!(request.url.source(), "https://sender.example.com/hook");
    assert_eq!(request.sign.as_ref().unwrap().secrets.len(), 2);
    assert!(request.success.contains(204) && !request.success.contains(302) && !request.success.contains(410));
    assert!(request.retry.contains(410) && request.retry.contains(400) && request.retry.contains(599));
    assert_eq!(request.method, http::Method::POST);
}

#[test]
fn a_webhook_without_a_secret_or_with_one_that_is_none_is_refused() {
    assert!(refused(&webhook(URL)).contains("the key `secrets` is missing"));
    assert!(refused(&webhook(&format!("{URL}secrets = []"))).contains("there is no secret to sign with"));
    let short = refused(&webhook(&format!("{URL}secrets = [\"whsec_c2hvcnQ=\"]")));
    assert!(short.contains("this secret is not one of Standard Webhooks"), "{short}");
    assert!(!short.contains("c2hvcnQ"), "{short}");
}

#[test]
fn a_webhook_goes_where_the_operator_says_and_nowhere_else() {
    let url = |url: &str| refused(&webhook(&format!("url = \"{url}\"\n{}", secrets())));
    assert!(url("http://sender.example.com/").contains("plain http://"));
    assert!(url("https://127.0.0.1/").contains("private network"));
    assert!(url("https://a:b@sender.example.com/").contains("must not carry a user or password"));
    assert!(url("https://sender.example.com/{{ sender }}").contains("a webhook has no templates"));
    assert!(url("sender.example.com").contains("not the URL of a server"));
    let allowed = "url = \"http://127.0.0.1:1/\"\nallow_http = true\nallow_private = [\"127.0.0.0/8\"]\n";
    assert_eq!(
        loaded(&webhook(&format!("{allowed}{}", secrets())))
            .config
            .webhooks
            .len(),
        1
    );
}

#[test]
fn what_smshook_sets_itself_or_does_not_know_is_refused() {
    let with = |keys: &str| refused(&webhook(&format!("{URL}{}{keys}", secrets())));
    assert!(with("headers = { \"Webhook-ID\" = \"1\" }").contains("smshook sets this header itself"));
    assert!(with("headers = { \"X-Who\" = \"{{ sender }}\" }").contains("a webhook has no templates"));
    assert!(with("timeout = \"2m\"").contains("at most \"1m\""));
    assert!(with("tiemout = \"5s\"").contains("did you mean `timeout`?"));
    let listed = refused(&format!("{ENDPOINT}[[webhook]]\n{URL}{}", secrets()));
    assert!(listed.contains("write [webhook.NAME]"), "{listed}");
    let named = refused(&format!("{ENDPOINT}[webhook.\"a b\"]\n{URL}{}", secrets()));
    assert!(named.contains("this cannot be the name of a webhook"), "{named}");
}
