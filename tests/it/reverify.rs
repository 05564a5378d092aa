//! Refused deliveries from the webhook on: kept where the operator wants it, and admitted once the secret is right.

use serde_json::Value;

use crate::helpers::{SECRET, Service, count, eventually, signature, sms};

const ACTIONS: &str =
    "[action.note]\nlog = { message = \"a text\" }\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"note\"]\n";

fn keeping(secret: &str, keep: &str) -> String {
    format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\nsecrets = [\"{secret}\"]\n{keep}\n{ACTIONS}"
    )
}

fn signed(secret: &str, body: &str) -> Vec<String> {
    vec![
        format!("X-MAC-Signature: {}", signature(secret, body.as_bytes())),
        "Content-Type: application/json".to_owned(),
        "X-Private: a stranger's".to_owned(),
    ]
}

async fn kept(service: &Service, count: i64) {
    eventually("the refused deliveries are kept", async || {
        crate::helpers::count(service.pool(), "SELECT count(*) FROM v1.refused").await == count
    })
    .await;
}

async fn refuse(service: &Service, secret: &str, body: &str) {
    let answer = service.post("/hooks/sms", &signed(secret, body), body.as_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (401, ""));
}

#[tokio::test]
async fn a_refused_delivery_is_kept_with_its_cause_and_admitted_once_the_secret_is_right() {
    let service = Service::start(&keeping("wrong secret", "keep_refused = {}")).await;
    let body = sms("15550001234", "hello").to_string();
    refuse(&service, SECRET, &body).await;
    // a gateway tries again: it is the same one
    refuse(&service, SECRET, &body).await;
    kept(&service, 1).await;
    service
        .counts(r#"smshook_refused_kept_total{endpoint="main",outcome="kept"} 2"#)
        .await;
    let (reason, cause, headers): (String, Option<String>, Value) =
        sqlx::query_as("SELECT reason, cause, headers FROM smshook.refused")
            .fetch_one(service.pool())
            .await
            .unwrap();
    assert_eq!(reason, "mismatch");
    assert!(cause.unwrap().starts_with("no known mistake explains the signature"));
    let names: Vec<_> = headers
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair[0].as_str().unwrap())
        .collect();
    assert_eq!(names, ["content-type", "x-mac-signature"]);
    // nothing is let through that does not verify
    let said = service.run(&["messages", "reverify"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(
        said.err
            .contains("still does not verify: no known mistake explains the signature"),
        "{said:?}"
    );
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.messages").await, 0);
    // the secret is corrected
    service.reconfigure(&keeping(SECRET, "keep_refused = {}"));
    let said = service.run(&["messages", "reverify"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let (id, message): (uuid::Uuid, uuid::Uuid) = sqlx::query_as("SELECT id, admitted_as FROM smshook.refused")
        .fetch_one(service.pool())
        .await
        .unwrap();
    assert_eq!(said.out, format!("{id}: stored as {message}\n"));
    let (text, verified): (String, bool) = sqlx::query_as("SELECT text, verified FROM v1.messages")
        .fetch_one(service.pool())
        .await
        .unwrap();
    assert_eq!((text.as_str(), verified), ("hello", true));
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.jobs").await, 1);
    // once only
    let said = service.run(&["messages", "reverify"]).await;
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(0), "", "no refused delivery is kept\n")
    );
    let said = service.run(&["messages", "reverify", &id.to_string()]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err
            .starts_with(&format!("error: the delivery {id} was admitted already as {message}")),
        "{said:?}"
    );
    let said = service
        .run(&["messages", "reverify", &uuid::Uuid::nil().to_string()])
        .await;
    assert!(said.err.starts_with("error: there is no refused delivery"), "{said:?}");
    assert!(!service.process.log_text().contains("15550001234"));
}

#[tokio::test]
async fn one_that_the_gateway_has_sent_again_meanwhile_is_a_duplicate() {
    let service = Service::start(&keeping("wrong secret", "keep_refused = {}")).await;
    let (one, other) = (
        sms("15550001234", "one").to_string(),
        sms("15550001234", "two").to_string(),
    );
    refuse(&service, SECRET, &one).await;
    refuse(&service, "a third secret", &other).await;
    kept(&service, 2).await;
    service.reconfigure(&keeping(SECRET, "keep_refused = {}"));
    let said = service.run(&["messages", "reverify"]).await;
    // one verifies and the other does not: both are said, and the answer is no
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains(": stored as ") && said.out.lines().count() == 1,
        "{said:?}"
    );
    assert!(said.err.contains("still does not verify"), "{said:?}");
    sqlx::query("UPDATE smshook.refused SET admitted_at = NULL WHERE admitted_at IS NOT NULL")
        .execute(service.pool())
        .await
        .unwrap();
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM smshook.refused WHERE admitted_as IS NOT NULL")
        .fetch_one(service.pool())
        .await
        .unwrap();
    let said = service.run(&["messages", "reverify", &id.to_string()]).await;
    assert!(said.out.contains(": duplicate"), "{said:?}");
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.messages").await, 1);
}

#[tokio::test]
async fn a_time_that_is_signed_is_judged_as_of_when_it_was_received() {
    let endpoint = |secret: &str| {
        format!(
            "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"smsgate\"\nsecrets = [\"{secret}\"]\nkeep_refused = {{}}\n{ACTIONS}"
        )
    };
    let service = Service::start(&endpoint("wrong secret")).await;
    let body = r#"{"deviceId":"d","event":"sms:received","id":"e1","webhookId":"w","payload":{"messageId":"m","message":"late","sender":"+15550001234","simNumber":1,"receivedAt":"2026-06-12T14:32:00.000+08:00"}}"#;
    // signed two hours ago
    let at = chrono::Utc::now().timestamp() - 7200;
    let mac = signature(SECRET, format!("{body}{at}").as_bytes()).replace("sha256=", "");
    let headers = [format!("X-Signature: {mac}"), format!("X-Timestamp: {at}")];
    assert_eq!(service.post("/hooks/sms", &headers, body.as_bytes()).await.status, 401);
    kept(&service, 1).await;
    service.reconfigure(&endpoint(SECRET));
    let said = service.run(&["messages", "reverify"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("the signature is right, but its time is 7"),
        "{said:?}"
    );
    sqlx::query("UPDATE smshook.refused SET received_at = received_at - interval '2 hours'")
        .execute(service.pool())
        .await
        .unwrap();
    let said = service.run(&["messages", "reverify"]).await;
    assert_eq!(
        (said.code, said.out.contains(": stored as ")),
        (Some(0), true),
        "{said:?}"
    );
}

#[tokio::test]
async fn nothing_is_kept_without_being_asked_for_nor_what_could_never_verify() {
    let service = Service::start(&keeping("wrong secret", "")).await;
    let body = sms("15550001234", "hello").to_string();
    refuse(&service, SECRET, &body).await;
    let asked = Service::start(&keeping("wrong secret", "keep_refused = { bytes = \"1KiB\" }")).await;
    // without a signature, a test of ours, and more than all that may be kept
    assert_eq!(asked.post("/hooks/sms", &[], body.as_bytes()).await.status, 401);
    refuse(&asked, SECRET, r#"{"smshook_self_test":"0-a"}"#).await;
    refuse(&asked, SECRET, &format!("{body}{}", " ".repeat(2000))).await;
    asked
        .counts(r#"smshook_refused_kept_total{endpoint="main",outcome="too_large"} 1"#)
        .await;
    refuse(&asked, SECRET, &body).await;
    kept(&asked, 1).await;
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.refused").await, 0);
    assert!(!service.metrics().await.contains("smshook_refused_kept_total{"));
}

#[tokio::test]
async fn a_flood_is_answered_at_once_and_kept_within_its_bounds() {
    let service = Service::start(&keeping("wrong secret", "keep_refused = { count = 5 }")).await;
    let address = service.process.address;
    // nothing that is kept gets further than this
    let mut lock = service.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE smshook.refused IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let flood = (0..60).map(async |nth| {
        let body = sms("15550001234", &format!("text {nth}")).to_string();
        let head = format!(
            "POST /hooks/sms HTTP/1.1\r\nhost: t\r\nconnection: close\r\nx-mac-signature: {}\r\ncontent-length: {}\r\n\r\n",
            signature(SECRET, body.as_bytes()),
            body.len()
        );
        crate::helpers::raw(address, format!("{head}{body}").as_bytes()).await.status
    });
    for answering in flood {
        assert_eq!(answering.await, 401);
    }
    service
        .counts(r#"smshook_refused_kept_total{endpoint="main",outcome="dropped"} 52"#)
        .await;
    lock.rollback().await.unwrap();
    service
        .counts(r#"smshook_refused_kept_total{endpoint="main",outcome="kept"} 8"#)
        .await;
    kept(&service, 5).await;
}
