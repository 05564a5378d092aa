//! How a gateway may call, and gateways that must never hear a 4xx.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::helpers::{Service, count};

const TOKEN: &str = "the auth token of the tests";
/// An account that may be set to GET, and a gateway that gives up on any 4xx.
const ENDPOINTS: &str = r#"
[[endpoint]]
name = "form"
path = "/hooks/form"
gateway = "twilio-by-get"
public_url = "https://sms.example.com/hooks/form"
secrets = ["the auth token of the tests"]

[[endpoint]]
name = "shy"
path = "/hooks/shy"
gateway = "textbee"
secrets = ["a secret of the tests of twenty"]

[gateway.twilio-by-get]
like = "twilio"
methods = ["POST", "GET"]
"#;

/// What Twilio signs for a GET: the URL with its query. Computed here and not by the code under test.
fn signed(query: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("https://sms.example.com/hooks/form?{query}").as_bytes());
    format!("x-twilio-signature: {}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_get_is_a_delivery_whose_payload_is_its_query() {
    let service = Service::start(ENDPOINTS).await;
    let query = "MessageSid=SM1&From=%2B15550001234&To=%2B15550009999&Body=hi+there%21";
    let (answer, line) = service
        .line_of(service.request("GET", &format!("/hooks/form?{query}"), &[signed(query)], b""))
        .await;
    assert_eq!(
        (answer.status, line["outcome"].as_str()),
        (200, Some("stored")),
        "{line}"
    );
    assert_eq!(line["bytes"], query.len());
    let text: String = sqlx::query_scalar("SELECT text FROM v1.messages")
        .fetch_one(service.pool())
        .await
        .unwrap();
    assert_eq!(text, "hi there!");
    // what comes after the head of a GET says nothing, and does nothing
    let body = b"MessageSid=SM2&From=%2B15550001234&Body=forged";
    let answer = service
        .request("GET", &format!("/hooks/form?{query}"), &[signed(query)], body)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.messages").await, 1);
    // a changed query is not what was signed
    let changed = query.replace("hi", "ho");
    let answer = service
        .request("GET", &format!("/hooks/form?{changed}"), &[signed(query)], b"")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (401, ""));
    assert!(
        !service.process.log_text().contains("there%21"),
        "a query is in the log"
    );
}

#[tokio::test]
async fn other_methods_are_told_which_are_taken() {
    let service = Service::start(ENDPOINTS).await;
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = service.request(method, "/hooks/form", &[], b"").await;
        assert_eq!((answer.status, answer.body.as_str()), (405, ""), "{method}");
        assert!(answer.head.contains("\r\nallow: POST, GET\r\n"), "{}", answer.head);
    }
    service
        .counts(r#"smshook_requests_total{endpoint="form",outcome="method_not_allowed"} 5"#)
        .await;
}

#[tokio::test]
async fn a_gateway_that_gives_up_on_any_4xx_is_told_503_in_its_place() {
    let service = Service::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nmax_body = \"2KiB\"\n{ENDPOINTS}"
    ))
    .await;
    let wrong = ["x-signature: 00".to_owned()];
    let large = vec![b'x'; 3000];
    for (method, headers, body, outcome) in [
        ("POST", &[][..], &b"{}"[..], "refused"),
        ("POST", &wrong[..], b"{}", "refused"),
        ("GET", &[], b"", "method_not_allowed"),
        ("POST", &wrong[..], &large, "too_large"),
    ] {
        let (answer, line) = service
            .line_of(service.request(method, "/hooks/shy", headers, body))
            .await;
        assert_eq!((answer.status, answer.body.as_str()), (503, ""), "{method} {outcome}");
        assert!(answer.head.contains("\r\nretry-after: "), "{}", answer.head);
        assert_eq!(
            (line["outcome"].as_str(), line["status"].as_u64()),
            (Some(outcome), Some(503)),
            "{line}"
        );
        // the other gateway hears what it is
        let method = if method == "GET" { "PUT" } else { method };
        let (answer, _) = service
            .line_of(service.request(method, "/hooks/form", headers, body))
            .await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert_eq!(service.request("POST", "/hooks/nobody", &[], b"").await.status, 404);
}
