//! An endpoint that only observes: what does not verify is taken and marked while a signature is being set up.

use crate::helpers::{SECRET, Service, count, eventually, jobs_ended, signature, sms};

const WARNING: &str = "a delivery that did not verify was taken";

fn observing(more: &str, secrets: &str) -> String {
    format!(
        "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mobile-api-connect\"\n{secrets}\nmode = \"observe\"\n{more}\n\
         [action.note]\nlog = {{ message = \"a text\" }}\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"note\"]\n"
    )
}

fn with_secret(more: &str) -> String {
    observing(more, &format!("secrets = [\"{SECRET}\"]"))
}

fn signed(secret: &str, body: &str) -> Vec<String> {
    vec![format!("x-mac-signature: {}", signature(secret, body.as_bytes()))]
}

/// Whether each message verified, in order.
async fn verified(service: &Service) -> Vec<bool> {
    sqlx::query_scalar("SELECT verified FROM v1.messages ORDER BY received_at, id")
        .fetch_all(service.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_does_not_verify_is_stored_and_marked_and_runs_nothing() {
    let service = Service::start(&with_secret("")).await;
    let starts = "this endpoint ONLY OBSERVES";
    assert_eq!(service.as_many(1, starts).await[0]["level"], "WARN");
    let body = sms("15550001234", "hello").to_string();
    let (answer, line) = service
        .line_of(service.post("/hooks/sms", &signed("another", &body), body.as_bytes()))
        .await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"stored".into()));
    assert_eq!(
        (&line["verified"], &line["reason"]),
        (&false.into(), &"mismatch".into()),
        "{line}"
    );
    let cause =
        "no known mistake explains the signature: the gateway has another secret, or the body is not as it was sent";
    assert_eq!(line["cause"], cause);
    let warning = service.as_many(1, WARNING).await.remove(0);
    assert_eq!(
        (&warning["level"], &warning["cause"]),
        (&"WARN".into(), &cause.into()),
        "{warning}"
    );
    assert_eq!(warning["message.id"], answer.json()["id"]);
    assert_eq!(verified(&service).await, [false]);
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.jobs").await, 0);
    service.counts(r#"smshook_unverified_total{endpoint="main"} 1"#).await;
    // the genuine one is not taken for a copy of the forged one, and runs as always
    let (answer, line) = service
        .line_of(service.post("/hooks/sms", &signed(SECRET, &body), body.as_bytes()))
        .await;
    assert_eq!(answer.json()["status"], "stored");
    assert_eq!((line.get("verified"), &line["secret"]), (None, &1.into()), "{line}");
    jobs_ended(service.pool()).await;
    assert_eq!(verified(&service).await, [false, true]);
    assert_eq!(
        count(service.pool(), "SELECT count(*) FROM v1.jobs WHERE state = 'done'").await,
        1
    );
    service.counts(r#"smshook_unverified_total{endpoint="main"} 1"#).await;
    assert!(!service.process.log_text().contains("15550001234"));
}

#[tokio::test]
async fn its_actions_run_where_the_operator_says_so() {
    let service = Service::start(&with_secret("observe_runs_actions = true")).await;
    let body = sms("15550001234", "hello").to_string();
    assert_eq!(service.post("/hooks/sms", &[], body.as_bytes()).await.status, 200);
    jobs_ended(service.pool()).await;
    assert_eq!(verified(&service).await, [false]);
    assert_eq!(
        count(service.pool(), "SELECT count(*) FROM v1.jobs WHERE state = 'done'").await,
        1
    );
}

#[tokio::test]
async fn it_may_have_no_secret_yet() {
    let service = Service::start(&observing("", "")).await;
    let body = sms("15550001234", "STOP").to_string();
    let (answer, line) = service
        .line_of(service.post("/hooks/sms", &signed("any", &body), body.as_bytes()))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&line["reason"], &line["cause"]),
        (&"no_secret".into(), &"the endpoint has no secret yet".into())
    );
    assert_eq!(verified(&service).await, [false]);
    // what nobody signed may stop messages
    assert_eq!(
        count(service.pool(), "SELECT count(*) FROM v1.opt_outs WHERE in_force").await,
        1
    );
    let test = service.post("/hooks/sms", &[], br#"{"smshook_self_test":"0-a"}"#).await;
    assert_eq!((test.status, &test.json()["status"]), (200, &"self_test".into()));
}

#[tokio::test]
async fn a_self_test_that_does_not_verify_is_told_so() {
    let service = Service::start(&with_secret("")).await;
    let test = br#"{"smshook_self_test":"0-a"}"#;
    let (answer, line) = service.line_of(service.post("/hooks/sms", &[], test)).await;
    assert_eq!((answer.status, &line["outcome"]), (401, &"refused".into()), "{line}");
    assert_eq!(count(service.pool(), "SELECT count(*) FROM v1.quarantine").await, 0);
    let right = vec![format!("x-mac-signature: {}", signature(SECRET, test))];
    assert_eq!(
        service.post("/hooks/sms", &right, test).await.json()["status"],
        "self_test"
    );
}

#[tokio::test]
async fn a_crowd_of_them_does_not_fill_the_log_with_warnings() {
    let service = Service::start(&with_secret("")).await;
    for nth in 0..40 {
        let body = sms("15550001234", &format!("text {nth}")).to_string();
        assert_eq!(service.post("/hooks/sms", &[], body.as_bytes()).await.status, 200);
    }
    // each has its line, and only some their warning; one per second comes on top of the ten
    assert_eq!(service.requests(40).await.len(), 40);
    let begun = std::time::Instant::now();
    let warnings = service.lines(WARNING).len();
    assert!((10..40).contains(&warnings), "{warnings} after {:?}", begun.elapsed());
    service.counts(r#"smshook_unverified_total{endpoint="main"} 40"#).await;
    // the next warning tells how many there were without one
    eventually("a warning tells of the others", async || {
        let body = sms("15550001234", "again").to_string();
        service.post("/hooks/sms", &[], body.as_bytes()).await;
        service
            .lines(WARNING)
            .iter()
            .any(|line| line["unsaid"].as_u64().is_some_and(|unsaid| unsaid >= 20))
    })
    .await;
}
