//! A provider that refuses a text because it holds the person for opted out: recorded as their opt-out, in that programme
//! alone, and not answered again. Each vendor says so as its pages show it.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::json;
use smshook::config::{self, Source};
use smshook::job::Job;
use smshook::store::{Claimed, LoopLimits, SendGate, Want};
use sqlx::PgPool;

use crate::gateways::{SENDER, replying_endpoints, send_report, send_text, taken};
use crate::helpers::{self, Answer, App, Fake, Intake, eventually, replying_endpoint, sms};

const PERSON: &str = "15551230001";
/// The number that [`sms`] is addressed to.
const OURS: &str = "15550009999";
const REFUSED: &str = "the provider holds the sender for opted out";

/// What a vendor's API answers, and what it reports, when it holds somebody for opted out.
struct Vendor {
    gateway: &'static str,
    code: &'static str,
    answer: Option<(u16, &'static str)>,
    report: Option<&'static str>,
}

const VENDORS: &[Vendor] = &[
    Vendor {
        gateway: "twilio",
        code: "21610",
        answer: Some((
            400,
            r#"{"code":21610,"message":"Attempt to send to unsubscribed recipient","more_info":"https://www.twilio.com/docs/errors/21610","status":400}"#,
        )),
        report: Some(
            "SmsSid=@REPLY@&SmsStatus=failed&MessageStatus=failed&ErrorCode=21610&To=@FROM@&MessageSid=@REPLY@&AccountSid=AC1&From=@TO@&ApiVersion=2010-04-01",
        ),
    },
    Vendor {
        gateway: "telnyx",
        code: "40300",
        answer: Some((
            409,
            r#"{"errors":[{"code":"40300","title":"Blocked due to STOP message","detail":"Messages cannot be sent due to an existing block rule."}]}"#,
        )),
        report: Some(
            r#"{"data":{"event_type":"message.finalized","id":"@ID@","occurred_at":"2026-06-12T14:33:00.000+00:00","payload":{"direction":"outbound","from":{"phone_number":"@TO@"},"id":"@REPLY@","errors":[{"code":"40300","title":"Blocked due to STOP message"}],"to":[{"phone_number":"@FROM@","status":"delivery_failed"}]},"record_type":"event"},"meta":{"attempt":1}}"#,
        ),
    },
    Vendor {
        gateway: "plivo",
        code: "200",
        answer: None,
        report: Some("From=@TO@&To=@FROM@&Status=failed&MessageUUID=@REPLY@&ParentMessageUUID=@REPLY@&ErrorCode=200"),
    },
    Vendor {
        gateway: "vonage-sms",
        code: "9",
        answer: None,
        report: Some(
            "msisdn=@FROM@&to=@TO@&network-code=12345&messageId=@REPLY@&price=0.00000000&status=failed&scts=2001011400&err-code=9&api-key=abcd1234&message-timestamp=2020-01-01+12%3A00%3A00",
        ),
    },
];

/// Every gateway's endpoint answering through `fake`, and telling the CRM of opt-outs.
fn telling_endpoints(fake: &Fake) -> String {
    let crm = "[action.crm]\nlog = { message = \"{{ message.consent.event }} {{ message.consent.keyword }}\" }\n";
    let config = replying_endpoints(fake).replace("path = ", "consent = { on_opt_out = [\"crm\"] }\npath = ");
    config.replacen("[action.", &format!("{crm}[action."), 1) + "[worker]\npoll = \"50ms\"\n"
}

#[derive(PartialEq, Debug, sqlx::FromRow)]
struct Told {
    suppression_group: String,
    number: String,
    source: String,
    effect: String,
    tier: i16,
    keyword: String,
    confirmation: String,
    words: Option<String>,
    is_of_the_message: bool,
}

fn told(gateway: &str, code: &str) -> Told {
    Told {
        suppression_group: gateway.to_owned(),
        number: SENDER.to_owned(),
        source: "provider".to_owned(),
        effect: "began".to_owned(),
        tier: 0,
        keyword: code.to_owned(),
        confirmation: REFUSED.to_owned(),
        words: None,
        is_of_the_message: true,
    }
}

async fn evidence(pool: &PgPool, group: &str) -> Vec<Told> {
    sqlx::query_as(
        "SELECT e.suppression_group, e.number, e.source, e.effect, e.tier, e.keyword, e.confirmation, e.words,
                m.endpoint = e.endpoint AND m.sender = e.number AS is_of_the_message
         FROM v1.consent_events e JOIN v1.messages m ON m.id = e.message_id
         WHERE e.suppression_group = $1 AND e.event = 'opt_out' ORDER BY e.id",
    )
    .bind(group)
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Action, state and reason or line of every job of an endpoint.
async fn jobs(pool: &PgPool, endpoint: &str) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "SELECT action, state, coalesce(reason, result ->> 'line', '') FROM v1.jobs WHERE endpoint = $1 ORDER BY id",
    )
    .bind(endpoint)
    .fetch_all(pool)
    .await
    .unwrap()
}

fn job(action: &str, state: &str, why: &str) -> (String, String, String) {
    (action.to_owned(), state.to_owned(), why.to_owned())
}

async fn opt_outs(pool: &PgPool) -> i64 {
    helpers::count(pool, "SELECT count(*) FROM v1.opt_outs WHERE in_force").await
}

#[tokio::test]
async fn an_answer_that_says_so_is_an_opt_out_of_that_programme_and_not_answered_again() {
    let fake = Fake::start().await;
    let app = App::start(&telling_endpoints(&fake)).await;
    for (seen, vendor) in VENDORS.iter().filter(|vendor| vendor.answer.is_some()).enumerate() {
        let (status, body) = vendor.answer.unwrap();
        fake.always(Answer::Now(status, vec![], body.to_owned()));
        send_text(&app, vendor.gateway, "id-1", "are you open?").await;
        app.all_jobs_ended().await;
        assert_eq!(
            fake.asked().len(),
            seen + 1,
            "{}: asked once and not again",
            vendor.gateway
        );
        assert_eq!(
            evidence(app.pool(), vendor.gateway).await,
            [told(vendor.gateway, vendor.code)]
        );
        let mut expected = vec![
            job("note", "cancelled", REFUSED),
            job("crm", "done", &format!("opt_out {}", vendor.code)),
        ];
        assert_eq!(jobs(app.pool(), vendor.gateway).await, expected);
        send_text(&app, vendor.gateway, "id-2", "hello?").await;
        app.all_jobs_ended().await;
        expected.push(job("note", "cancelled", "the sender has opted out"));
        assert_eq!(jobs(app.pool(), vendor.gateway).await, expected);
        assert_eq!(fake.asked().len(), seen + 1, "{}", vendor.gateway);
    }
    assert_eq!(opt_outs(app.pool()).await, 2, "each in its own programme");
    fake.always(Answer::Now(202, vec![], r#"{"id":"reply-9"}"#.to_owned()));
    send_text(&app, "bandwidth", "id-3", "and here?").await;
    app.all_jobs_ended().await;
    assert_eq!(jobs(app.pool(), "bandwidth").await, [job("note", "done", "")]);
}

#[tokio::test]
async fn a_delivery_report_that_says_so_is_one_too_once_however_often_it_comes() {
    let fake = Fake::start().await;
    let app = App::start(&telling_endpoints(&fake)).await;
    for vendor in VENDORS {
        let Some(report) = vendor.report else { continue };
        fake.always(taken(vendor.gateway, "reply-id-1"));
        send_text(&app, vendor.gateway, "id-1", "are you open?").await;
        app.all_jobs_ended().await;
        for _ in 0..3 {
            send_report(&app, vendor.gateway, report, "id-1").await;
        }
        eventually("the opt-out is recorded", async || {
            !evidence(app.pool(), vendor.gateway).await.is_empty()
        })
        .await;
        app.all_jobs_ended().await;
        assert_eq!(
            jobs(app.pool(), vendor.gateway).await,
            [
                job("note", "done", ""),
                job("crm", "done", &format!("opt_out {}", vendor.code)),
            ]
        );
        eventually("every report is dealt with", async || {
            let left = "SELECT count(*) FROM v1.gateway_events WHERE opted_out AND opt_out_recorded_at IS NULL";
            helpers::count(app.pool(), left).await == 0
        })
        .await;
        let all = evidence(app.pool(), vendor.gateway).await;
        assert_eq!(all[0], told(vendor.gateway, vendor.code));
        assert!(all[1..].iter().all(|told| told.effect == "in_force"), "{all:?}");
    }
    let reports = VENDORS.iter().filter(|vendor| vendor.report.is_some()).count();
    assert_eq!(opt_outs(app.pool()).await, i64::try_from(reports).unwrap());
}

#[tokio::test]
async fn other_errors_and_reports_about_nothing_of_ours_opt_nobody_out() {
    let fake = Fake::start().await;
    let app = App::start(&telling_endpoints(&fake)).await;
    let other = r#"{"code":21211,"message":"Invalid 'To' Phone Number: 21610","status":400}"#;
    fake.always(Answer::Now(400, vec![], other.to_owned()));
    send_text(&app, "twilio", "id-1", "are you open?").await;
    app.all_jobs_ended().await;
    let twilio = &VENDORS[0];
    let report = twilio.report.unwrap();
    fake.always(taken("twilio", "reply-id-2"));
    send_text(&app, "twilio", "id-2", "are you open now?").await;
    app.all_jobs_ended().await;
    for (report, id) in [
        (report.replace("21610", "30005"), "id-2"),
        // what went well is no refusal, whatever code comes with it
        (report.replace("=failed", "=delivered"), "id-2"),
        (report.to_owned(), "id-77"),
    ] {
        send_report(&app, "twilio", &report, id).await;
    }
    // something behind them in the same sweep shows that they were passed over
    fake.always(taken("plivo", "reply-id-3"));
    send_text(&app, "plivo", "id-3", "are you open?").await;
    app.all_jobs_ended().await;
    let plivo = VENDORS.iter().find(|vendor| vendor.gateway == "plivo").unwrap();
    send_report(&app, "plivo", plivo.report.unwrap(), "id-3").await;
    eventually("the last one is recorded", async || opt_outs(app.pool()).await == 1).await;
    assert!(evidence(app.pool(), "twilio").await.is_empty());
    assert_eq!(evidence(app.pool(), "plivo").await.len(), 1);
}

#[tokio::test]
async fn a_confirmation_that_the_provider_refuses_is_on_record_as_not_confirmed() {
    let fake = Fake::start().await;
    let app = App::start(&telling_endpoints(&fake)).await;
    let (status, body) = VENDORS[0].answer.unwrap();
    fake.always(Answer::Now(status, vec![], body.to_owned()));
    send_text(&app, "twilio", "id-1", "STOP").await;
    app.all_jobs_ended().await;
    assert_eq!(fake.asked().len(), 1);
    let events: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT event, effect, CASE WHEN event = 'unconfirmed' THEN confirmation ELSE source END
         FROM v1.consent_events ORDER BY id",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    let event = |event: &str, effect: Option<&str>, of: &str| {
        (event.to_owned(), effect.map(str::to_owned), Some(of.to_owned()))
    };
    assert_eq!(
        events,
        [
            event("opt_out", Some("began"), "message"),
            event("opt_out", Some("in_force"), "provider"),
            event("unconfirmed", None, REFUSED),
        ]
    );
    let crm: Vec<_> = jobs(app.pool(), "twilio")
        .await
        .into_iter()
        .filter(|job| job.0 == "crm")
        .collect();
    assert_eq!(crm, [job("crm", "done", "opt_out stop")], "the CRM hears of it once");
}

#[tokio::test]
async fn a_start_by_text_lifts_it() {
    let fake = Fake::start().await;
    let app = App::start(&telling_endpoints(&fake)).await;
    let (status, body) = VENDORS[0].answer.unwrap();
    fake.then(Answer::Now(status, vec![], body.to_owned()));
    fake.always(taken("twilio", "reply-1"));
    send_text(&app, "twilio", "id-1", "are you open?").await;
    app.all_jobs_ended().await;
    assert_eq!(opt_outs(app.pool()).await, 1);
    send_text(&app, "twilio", "id-2", "START").await;
    app.all_jobs_ended().await;
    assert_eq!(opt_outs(app.pool()).await, 0);
    send_text(&app, "twilio", "id-3", "and now?").await;
    app.all_jobs_ended().await;
    assert_eq!(fake.asked().len(), 3, "refused, the confirmation of START, the answer");
}

/// One text of the person, its job claimed and let through the gate: what happens next is the test's.
async fn handed_over(intake: &Intake, to: &str) -> Job {
    let mut text = sms(PERSON, "one");
    text["to"] = json!(to);
    helpers::deliver(intake.address, "/hooks/sms", text.to_string().as_bytes()).await;
    let want = Want {
        action: "answer".to_owned(),
        slots: 1,
        lease: Duration::from_mins(1),
    };
    let Claimed { job, .. } = intake.store.claim(&[want]).await.unwrap().remove(0);
    let gate = intake
        .store
        .begin_send(
            &job,
            to,
            "hello",
            &LoopLimits::default(),
            &json!({ "sending": { "attempt": 1 } }),
        )
        .await
        .unwrap();
    assert!(matches!(gate, SendGate::Clear { .. }), "{gate:?}");
    job
}

fn answering(fake: &Fake) -> String {
    let rule = "[action.answer]\nreply = { text = \"hello {{ text }}\" }\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"answer\"]\n";
    format!("[worker]\npoll = \"50ms\"\n{}{rule}", replying_endpoint(fake))
}

#[tokio::test]
async fn texts_that_are_queued_are_cancelled_and_whoever_lost_the_job_records_nothing() {
    let fake = Fake::start().await;
    let intake = Intake::start(&answering(&fake)).await;
    let job = handed_over(&intake, OURS).await;
    intake.text(PERSON, "two").await;
    let stale = Job {
        claim: job.claim - 1,
        ..job.clone()
    };
    let nothing = json!({});
    assert!(
        !intake
            .store
            .provider_opted_out(&stale, "7", &[], &nothing)
            .await
            .unwrap()
    );
    assert_eq!(
        helpers::count(intake.pool(), "SELECT count(*) FROM v1.consent_events").await,
        0
    );
    assert!(intake.store.provider_opted_out(&job, "7", &[], &nothing).await.unwrap());
    assert_eq!(opt_outs(intake.pool()).await, 1);
    let second: (String, Option<String>) = sqlx::query_as("SELECT state, reason FROM v1.jobs ORDER BY id OFFSET 1")
        .fetch_one(intake.pool())
        .await
        .unwrap();
    let why = "the sender opted out while this was queued".to_owned();
    assert_eq!(second, ("cancelled".to_owned(), Some(why)));
    let sending = "SELECT count(*) FROM smshook.jobs WHERE progress -> 'sending' IS NOT NULL";
    assert_eq!(
        helpers::count(intake.pool(), sending).await,
        0,
        "it is known that nothing was sent"
    );
}

#[tokio::test]
async fn the_crm_hears_once_of_two_texts_that_were_on_their_way() {
    let fake = Fake::start().await;
    let intake = Intake::start(&answering(&fake)).await;
    let on_their_way = [
        handed_over(&intake, OURS).await,
        handed_over(&intake, "15550009998").await,
    ];
    for job in &on_their_way {
        let follows = ["crm".to_owned()];
        assert!(
            intake
                .store
                .provider_opted_out(job, "7", &follows, &json!({}))
                .await
                .unwrap()
        );
    }
    assert_eq!(
        helpers::count(intake.pool(), "SELECT count(*) FROM v1.jobs WHERE action = 'crm'").await,
        1
    );
    let effects: Vec<String> = sqlx::query_scalar("SELECT effect FROM v1.consent_events ORDER BY id")
        .fetch_all(intake.pool())
        .await
        .unwrap();
    assert_eq!(effects, ["began", "in_force"]);
}

#[tokio::test]
async fn a_start_that_came_after_the_refused_text_was_handed_over_wins() {
    let fake = Fake::start().await;
    let intake = Intake::start(&answering(&fake)).await;
    let job = handed_over(&intake, OURS).await;
    let mut start = sms(PERSON, "START");
    start["receivedAt"] = json!(Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true));
    helpers::deliver(intake.address, "/hooks/sms", start.to_string().as_bytes()).await;
    assert!(
        intake
            .store
            .provider_opted_out(&job, "7", &[], &json!({}))
            .await
            .unwrap()
    );
    assert_eq!(opt_outs(intake.pool()).await, 0);
    let effects: Vec<String> = sqlx::query_scalar("SELECT effect FROM v1.consent_events ORDER BY id")
        .fetch_all(intake.pool())
        .await
        .unwrap();
    assert_eq!(effects, ["not_opted_out", "superseded"]);
}

#[tokio::test]
async fn a_gateway_of_ones_own_may_say_so_in_its_own_words() {
    let fake = Fake::start().await;
    let mine = "[gateway.mine]\nlike = \"mobile-api-connect\"\nreply = { opted_out = { \"/error\" = [\"Recipient_Opted_Out\", 7] } }\n";
    let toml = answering(&fake).replace("\"mobile-api-connect\"", "\"mine\"") + mine;
    for (error, status) in [(json!("recipient_opted_out"), 422), (json!(7), 429), (json!("7"), 500)] {
        let app = App::start(&toml).await;
        fake.then(Answer::Now(status, vec![], json!({ "error": error }).to_string()));
        app.text(PERSON, "one").await;
        app.all_jobs_ended().await;
        let refused = ("answer".to_owned(), "cancelled".to_owned(), Some(REFUSED.to_owned()));
        assert_eq!(app.jobs().await, [refused], "{error} {status}");
        assert_eq!(opt_outs(app.pool()).await, 1);
    }
    assert_eq!(fake.asked().len(), 3);
}

#[test]
fn a_gateway_file_that_says_it_wrongly_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    for (written, problem) in [
        ("{ error = [7] }", "this is not a JSON pointer"),
        ("{ \"/error\" = [] }", "has no value that would say so"),
        ("{ \"/error\" = [1.5] }", "a text or a whole number"),
    ] {
        let toml = format!(
            "[[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"mine\"\nsecrets = [\"a secret of the tests\"]\n\
             reply = {{ token = \"t\" }}\n[gateway.mine]\nlike = \"mobile-api-connect\"\nreply = {{ opted_out = {written} }}\n"
        );
        let file = helpers::write_configuration(directory.path(), None, &toml);
        let problems = config::load(&Source::File(file), &|_| None).unwrap_err().to_string();
        assert!(problems.contains(problem), "{written}: {problems}");
    }
}
