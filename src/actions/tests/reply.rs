//! Texts to the sender: the gate, the limits, and never twice on a guess.

use super::*;
use crate::config::ReplyChannel;
use crate::store::{Guard, Withheld};

fn channel(origin: &str) -> ReplyChannel {
    let mut request = spec(origin);
    let body = json!({ "to": "{{ to }}", "text": "{{ reply_text }}", "ref": "{{ reply_ref }}" });
    request.body = BodySpec::Json(Tree::compile(&body).unwrap());
    request.retry = StatusSet {
        ranges: vec![(408, 408), (429, 429), (500, 599)],
    };
    request.error_pointer = Some("/error".to_owned());
    request.on_unknown = OnUnknown::Skip;
    ReplyChannel {
        request,
        max_text_chars: 160,
        sample_answer: "{}".to_owned(),
        sample_status: 202,
        opted_out: Vec::new(),
    }
}

async fn reply_with(script: &Script, job: &Job, channel: &ReplyChannel, text: &str, on_unknown: OnUnknown) -> Outcome {
    let text = Template::compile(text).unwrap();
    let reply = Reply {
        channel,
        text: &text,
        on_unknown,
        on_opt_out: &[],
        skip_if_gateway_rule_matched: true,
    };
    let limits = loop_limits(&LoopGuard {
        limits: Vec::new(),
        same_reply: None,
        same_text: None,
    });
    let client = client_with(&channel.request, Connections::SingleAfterLook);
    super::super::reply::run(&script.journal(), &client, &limits, job, &reply).await
}

async fn reply(script: &Script, job: &Job, server: &Server) -> Outcome {
    reply_with(
        script,
        job,
        &channel(&server.origin()),
        "Order {{ m.1 }}: {{ text | plain }}",
        OnUnknown::Skip,
    )
    .await
}

#[tokio::test]
async fn a_reply_goes_to_the_sender_with_its_reference_after_the_gate() {
    let server = Server::playing(vec![say("202 Accepted", "", r#"{"id":"msg_1"}"#)]).await;
    let script = Script::new();
    let outcome = reply(&script, &job(), &server).await;
    assert_eq!(
        outcome,
        Outcome::Done(json!({ "reference": KEY, "status": 202, "captures": {} }))
    );
    let request = &server.heard()[0];
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    let text = "Order 42: it's \"broken\" ö {{ 1 + 1 }}";
    assert_eq!(body, json!({ "to": "+14155550100", "text": text, "ref": KEY }));
    assert_eq!(script.saved()[0]["sending"], json!({ "attempt": 1 }));
    assert!(KEY.len() <= 64);
}

#[tokio::test]
async fn nothing_is_sent_unless_the_gate_is_clear() {
    for (gate, expected) in [
        (SendGate::LeaseLost, Outcome::Release),
        (
            SendGate::Suppressed,
            Outcome::Cancel("the sender has opted out".to_owned()),
        ),
        (
            SendGate::Expired,
            Outcome::Cancel("it is too late to send this".to_owned()),
        ),
        (
            SendGate::LoopGuard(Withheld {
                guard: Guard::Rate,
                reason: "the sender has had 5 texts".to_owned(),
                clears_at: job().claimed_at,
            }),
            Outcome::Cancel("loop guard: the sender has had 5 texts".to_owned()),
        ),
        (
            SendGate::AlreadySent,
            Outcome::Cancel("another job has sent this confirmation".to_owned()),
        ),
    ] {
        let server = Server::playing(vec![say("202 Accepted", "", "")]).await;
        let script = Script { gate, ..Script::new() };
        assert_eq!(reply(&script, &job(), &server).await, expected);
        assert!(server.heard().is_empty() && script.saved().is_empty());
    }
}

#[tokio::test]
async fn a_sender_that_cannot_be_answered_or_was_answered_by_the_gateway_is_left_alone() {
    let server = Server::playing(vec![say("202 Accepted", "", "")]).await;
    let mut short_code = job();
    short_code.message.sender_answerable = false;
    let mut answered = job();
    answered.message.gateway_rules = vec!["rule_1".to_owned()];
    for job in [short_code, answered] {
        assert!(matches!(reply(&Script::new(), &job, &server).await, Outcome::Cancel(_)));
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_text_is_never_cut_and_never_empty() {
    let server = Server::playing(vec![say("202 Accepted", "", "")]).await;
    let channel = channel(&server.origin());
    let try_text = async |text: &str| reply_with(&Script::new(), &job(), &channel, text, OnUnknown::Skip).await;
    let Outcome::Discard(reason) = try_text(&"x".repeat(161)).await else {
        panic!("sent")
    };
    assert_eq!(reason, "the reply's text has 161 characters and the gateway takes 160");
    assert_eq!(
        try_text("  \n{{ ref }}").await,
        Outcome::Discard("the reply's text is empty".to_owned())
    );
    assert!(matches!(try_text("{{ nobody }}").await, Outcome::Discard(reason) if reason.contains("`nobody`")));
    assert!(server.heard().is_empty());
    assert!(matches!(try_text(&"ö".repeat(160)).await, Outcome::Done(_)));
}

#[tokio::test]
async fn no_active_device_is_tried_again_and_other_errors_are_final_with_their_code() {
    let busy = r#"{"error":"no_active_device_for_tenant"}"#;
    let server = Server::playing(vec![
        say("503 Busy", "", busy),
        say("400 Bad", "", r#"{"error":"validation_error"}"#),
    ])
    .await;
    let script = Script::new();
    let Outcome::Retry { error, .. } = reply(&script, &job(), &server).await else {
        panic!("no retry")
    };
    assert!(
        error.starts_with("answered 503 (no_active_device_for_tenant)"),
        "{error}"
    );
    assert!(script.last()["sending"].is_null());
    let outcome = reply(&script, &next_attempt(&job(), script.last()), &server).await;
    assert!(matches!(outcome, Outcome::Discard(error) if error.starts_with("answered 400 (validation_error)")));
}

#[tokio::test]
async fn an_unknown_end_waits_for_the_gateways_report_and_then_for_a_person() {
    for play in [Play::HangUp, say("502 Bad", "", "")] {
        let server = Server::playing(vec![play, say("202 Accepted", "", "")]).await;
        let script = Script::new();
        let Outcome::Retry {
            after: Some(REPORT), ..
        } = reply(&script, &job(), &server).await
        else {
            panic!("no wait")
        };
        let second = next_attempt(&job(), script.last());
        let reported = Script {
            event: Some("message.delivered".to_owned()),
            ..Script::new()
        };
        let done = reply(&reported, &second, &server).await;
        assert_eq!(
            done,
            Outcome::Done(json!({ "reference": KEY, "event": "message.delivered" }))
        );
        let Outcome::Discard(reason) = reply(&Script::new(), &second, &server).await else {
            panic!("sent twice")
        };
        assert!(
            reason.contains("attempt 1") && reason.ends_with("`smshook jobs retry 7` sends it again"),
            "{reason}"
        );
        assert_eq!(server.heard().len(), 1);
    }
}

const REPORT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_attempt_that_left_nothing_but_sending_gives_the_gateway_its_time_once() {
    let server = Server::playing(vec![say("202 Accepted", "", "")]).await;
    let script = Script::new();
    let second = next_attempt(&job(), json!({ "sending": { "attempt": 1 } }));
    let Outcome::Snooze { after: REPORT, reason } = reply(&script, &second, &server).await else {
        panic!("no wait")
    };
    assert_eq!(reason, "attempt 1 may have been sent; waiting for the gateway's report");
    assert_eq!(script.last()["sending"], json!({ "attempt": 1, "waited": true }));
    let third = next_attempt(&second, script.last());
    assert!(matches!(reply(&script, &third, &server).await, Outcome::Discard(_)));
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn who_may_send_twice_goes_through_the_gate_again() {
    let server = Server::playing(vec![Play::HangUp, say("202 Accepted", "", "")]).await;
    let (script, channel) = (Script::new(), channel(&server.origin()));
    reply_with(&script, &job(), &channel, "Hi", OnUnknown::Resend).await;
    let second = next_attempt(&job(), script.last());
    let outcome = reply_with(&script, &second, &channel, "Hi", OnUnknown::Resend).await;
    assert!(matches!(outcome, Outcome::Done(_)));
    let saved = script.saved();
    assert!(saved[2]["sending"].is_null() && saved[3]["sending"] == json!({ "attempt": 2 }));
    let heard = server.heard();
    assert_eq!(heard[0], heard[1]);
}

#[tokio::test]
async fn a_preview_shows_the_text_and_who_would_get_it() {
    let channel = channel("http://127.0.0.1:9");
    let text = Template::compile("Hi {{ m.name }}").unwrap();
    let reply = Reply {
        on_opt_out: &[],
        channel: &channel,
        text: &text,
        on_unknown: OnUnknown::Skip,
        skip_if_gateway_rule_matched: false,
    };
    let preview = preview_reply(&job(), &reply).unwrap();
    assert_eq!(
        (&preview["to"], &preview["text"], &preview["characters"]),
        (&json!("+14155550100"), &json!("Hi Ann"), &json!(6))
    );
    assert!(!preview.to_string().contains(SECRET));
}

#[tokio::test]
async fn an_opt_out_that_the_last_look_finds_ends_the_reply_and_takes_its_record_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(&format!("http://{}", listener.local_addr().unwrap()));
    for (look, kind, expected) in [
        (
            LookAnswer::Suppressed,
            JobKind::Action,
            "the sender opted out while this was about to be sent",
        ),
        (
            LookAnswer::Suppressed,
            JobKind::OptOutConfirmation,
            "or its five minutes were over",
        ),
        (
            LookAnswer::Broken,
            JobKind::Action,
            "the last look at opt-outs failed: the table is gone",
        ),
    ] {
        let script = Script { look, ..Script::new() };
        let job = Job { kind, ..job() };
        let outcome = reply_with(&script, &job, &channel, "Hi", OnUnknown::Skip).await;
        let (Outcome::Cancel(reason) | Outcome::Retry { error: reason, .. }) = &outcome else {
            panic!("{outcome:?}")
        };
        assert!(reason.ends_with(expected), "{reason}");
        assert_eq!(
            matches!(outcome, Outcome::Retry { .. }),
            matches!(look, LookAnswer::Broken)
        );
        assert!(script.saved()[0]["sending"].is_object() && script.last()["sending"].is_null());
        let (mut socket, _) = listener.accept().await.unwrap();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0, "something was written");
    }
}
