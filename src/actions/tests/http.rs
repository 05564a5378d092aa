//! What one request of the user's own does, attempt by attempt.

use super::*;
use crate::config::action::{CaptureSource, SignSpec};

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_request_carries_the_message_the_key_and_the_secret_and_keeps_what_was_to_be_captured() {
    let server = Server::playing(vec![say(
        "201 Created",
        "location: /notes/9\r\n",
        r#"{"data":{"id":9}}"#,
    )])
    .await;
    let mut spec = spec(&server.origin());
    spec.query = vec![("q".to_owned(), Template::compile("{{ m.1 }}&{{ m.name }} +").unwrap())];
    spec.capture = vec![
        ("id".to_owned(), CaptureSource::Pointer("/data/id".to_owned())),
        ("at".to_owned(), CaptureSource::Header(::http::header::LOCATION)),
        ("none".to_owned(), CaptureSource::Pointer("/nothing".to_owned())),
    ];
    let script = Script::new();
    let outcome = run(&script, &job(), &spec).await;
    assert_eq!(
        outcome,
        Outcome::Done(json!({ "status": 201, "captures": { "id": 9, "at": "/notes/9" } }))
    );
    let request = &server.heard()[0];
    assert!(
        request.starts_with("POST /sms?q=42%26Ann%20%2B HTTP/1.1\r\n"),
        "{request}"
    );
    assert_eq!(header(request, "authorization"), Some("Bearer sk_live_hunter2"));
    assert_eq!(header(request, "idempotency-key"), Some(KEY));
    assert_eq!(header(request, "content-type"), Some("application/json"));
    let body: Value = serde_json::from_str(body_of(request)).unwrap();
    assert_eq!(
        body,
        json!({ "from": "+14155550100", "text": TEXT, "at": "2026-01-31T12:00:00.000Z" })
    );
}

#[tokio::test]
async fn what_is_sent_is_on_record_before_the_socket_sees_it() {
    let script = Script::new();
    let server = Server::playing(vec![Play::HangUp]).await;
    let outcome = run(&script, &job(), &spec(&server.origin())).await;
    assert!(matches!(outcome, Outcome::Retry { .. }));
    let saved = script.saved();
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0]["sending"], json!({ "attempt": 1 }));
    assert_eq!(saved[0]["request"]["body"], body_of(&server.heard()[0]));
}

#[tokio::test]
async fn a_lost_lease_sends_nothing() {
    let server = Server::playing(vec![say("200 OK", "", "")]).await;
    let script = Script {
        lease_lost: true,
        ..Script::new()
    };
    assert_eq!(run(&script, &job(), &spec(&server.origin())).await, Outcome::Release);
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes() {
    let server = Server::playing(vec![Play::HangUp, say("503 Busy", "", ""), say("200 OK", "", "")]).await;
    let (script, spec) = (Script::new(), spec(&server.origin()));
    let first = job();
    assert!(matches!(run(&script, &first, &spec).await, Outcome::Retry { .. }));
    let mut second = next_attempt(&first, script.last());
    second.claimed_at += Duration::from_mins(5);
    assert!(matches!(run(&script, &second, &spec).await, Outcome::Retry { .. }));
    let third = next_attempt(&second, script.last());
    assert!(matches!(run(&script, &third, &spec).await, Outcome::Done(_)));
    let heard = server.heard();
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
}

#[tokio::test]
async fn a_definition_that_was_fixed_is_rendered_anew() {
    let server = Server::playing(vec![say("503 Busy", "", ""), say("200 OK", "", "")]).await;
    let (script, mut spec) = (Script::new(), spec(&server.origin()));
    run(&script, &job(), &spec).await;
    spec.url = Template::compile_url(&format!("{}/fixed", server.origin())).unwrap();
    run(&script, &next_attempt(&job(), script.last()), &spec).await;
    assert!(server.heard()[1].starts_with("POST /fixed "));
}

#[tokio::test]
async fn an_attempt_whose_end_is_unknown_is_not_repeated_where_that_is_forbidden() {
    for on_unknown in [OnUnknown::Skip, OnUnknown::Hold] {
        let server = Server::playing(vec![Play::HangUp, say("200 OK", "", "")]).await;
        let (script, mut spec) = (Script::new(), spec(&server.origin()));
        spec.on_unknown = on_unknown;
        let Outcome::Discard(reason) = run(&script, &job(), &spec).await else {
            panic!("not discarded")
        };
        assert!(
            reason.starts_with("not known whether attempt 1 was received: "),
            "{reason}"
        );
        let Outcome::Discard(_) = run(&script, &next_attempt(&job(), script.last()), &spec).await else {
            panic!("sent")
        };
        assert_eq!(server.heard().len(), 1);
        // What `jobs retry` does.
        let mut progress = script.last();
        progress.as_object_mut().unwrap().remove("sending");
        assert!(matches!(
            run(&script, &next_attempt(&job(), progress), &spec).await,
            Outcome::Done(_)
        ));
        assert_eq!(body_of(&server.heard()[0]), body_of(&server.heard()[1]));
    }
}

#[tokio::test]
async fn an_attempt_that_was_cut_off_by_its_time_limit_is_known_to_be_unknown() {
    let server = Server::playing(vec![Play::Stall(String::new())]).await;
    let (script, mut spec) = (Script::new(), spec(&server.origin()));
    spec.on_unknown = OnUnknown::Skip;
    let job = job();
    tokio::select! {
        outcome = run(&script, &job, &spec) => panic!("{outcome:?} from a server that never answers"),
        () = server.something.notified() => {}
    }
    let outcome = run(&script, &next_attempt(&job, script.last()), &spec).await;
    assert!(matches!(outcome, Outcome::Discard(reason) if reason.contains("attempt 1")));
}

#[tokio::test]
async fn what_never_left_is_tried_again_freely() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (script, mut spec) = (Script::new(), spec(&origin));
    spec.on_unknown = OnUnknown::Skip;
    let Outcome::Retry { error, after: None } = run(&script, &job(), &spec).await else {
        panic!("no retry")
    };
    assert!(error.starts_with(&format!("{origin}: no connection: ")), "{error}");
    assert!(script.last()["sending"].is_null() && script.last()["request"].is_object());
}

#[tokio::test]
async fn statuses_are_sorted_into_done_again_and_never() {
    for (status, expected) in [
        ("200 OK", "done"),
        ("204 No Content", "done"),
        ("408 Timeout", "retry"),
        ("425 Early", "retry"),
        ("429 Slow", "retry"),
        ("500 Oops", "retry"),
        ("502 Bad", "retry"),
        ("503 Busy", "retry"),
        ("504 Slow", "retry"),
        ("522 CF", "retry"),
        ("301 Moved", "discard"),
        ("400 Bad", "discard"),
        ("401 Who", "pause"),
        ("403 No", "discard"),
        ("404 Gone", "discard"),
        ("409 Twice", "discard"),
        ("422 Bad", "discard"),
        ("501 No", "discard"),
    ] {
        let server = Server::playing(vec![say(status, "", "")]).await;
        let script = Script::new();
        let outcome = run(&script, &job(), &spec(&server.origin())).await;
        let found = match outcome {
            Outcome::Done(_) => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Discard(_) => "discard",
            Outcome::Pause(_) => "pause",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{status}");
        assert_eq!(script.last()["sending"].is_null(), expected != "done", "{status}");
    }
}

#[tokio::test]
async fn a_definition_may_sort_statuses_otherwise() {
    let server = Server::playing(vec![say("409 Twice", "", ""), say("404 Later", "", "")]).await;
    let (script, mut spec) = (Script::new(), spec(&server.origin()));
    spec.success.ranges.push((409, 409));
    spec.retry.ranges = vec![(404, 404)];
    assert!(matches!(run(&script, &job(), &spec).await, Outcome::Done(_)));
    assert!(matches!(run(&script, &job(), &spec).await, Outcome::Retry { .. }));
}

#[tokio::test]
async fn where_sending_twice_is_forbidden_an_ambiguous_status_is_unknown_and_a_clear_one_is_not() {
    for (status, unknown) in [
        ("500 Oops", true),
        ("502 Bad", true),
        ("504 Slow", true),
        ("503 Busy", false),
        ("429 Slow", false),
    ] {
        let server = Server::playing(vec![say(status, "", "")]).await;
        let (script, mut spec) = (Script::new(), spec(&server.origin()));
        spec.on_unknown = OnUnknown::Skip;
        let outcome = run(&script, &job(), &spec).await;
        assert_eq!(matches!(outcome, Outcome::Discard(_)), unknown, "{status}");
        assert_eq!(script.last()["sending"].is_object(), unknown, "{status}");
    }
}

#[tokio::test]
async fn the_other_side_says_when_to_come_back() {
    let server = Server::playing(vec![say("429 Slow", "retry-after: 120\r\n", "")]).await;
    let outcome = run(&Script::new(), &job(), &spec(&server.origin())).await;
    assert!(matches!(outcome, Outcome::Retry { after: Some(wait), .. } if wait == Duration::from_mins(2)));
}

#[tokio::test]
async fn a_200_that_says_no_is_no() {
    let no = r#"{"ok":false,"error":"channel_not_found"}"#;
    let server = Server::playing(vec![say("200 OK", "", no), say("200 OK", "", r#"{"ok":true}"#)]).await;
    let mut spec = spec(&server.origin());
    spec.require = BTreeMap::from([("/ok".to_owned(), json!(true))]);
    spec.error_pointer = Some("/error".to_owned());
    let Outcome::Discard(reason) = run(&Script::new(), &job(), &spec).await else {
        panic!("taken for a success")
    };
    assert!(
        reason.starts_with("answered 200 (channel_not_found): ") && reason.ends_with("`/ok` is not true"),
        "{reason}"
    );
    assert!(matches!(run(&Script::new(), &job(), &spec).await, Outcome::Done(_)));
}

#[tokio::test]
async fn secrets_and_texts_that_come_back_are_kept_nowhere() {
    let echo = format!(
        "no {SECRET} c2Vjb25kIHNlY3JldCBvZiAyNCBieXRlcw== +14155550100 {}",
        serde_json::to_string(TEXT).unwrap()
    );
    let server = Server::playing(vec![say("422 Bad", "", &echo)]).await;
    let (script, mut spec) = (Script::new(), spec(&server.origin()));
    spec.sign = Some(SignSpec {
        secrets: vec!["c2Vjb25kIHNlY3JldCBvZiAyNCBieXRlcw==".into()],
    });
    let outcome = run(&script, &job(), &spec).await;
    let shown = format!("{outcome:?} {spec:?} {:?}", client(&spec));
    for word in [SECRET, "c2Vjb25k", "broken", "4155550100"] {
        assert!(!shown.contains(word), "{word} in {shown}");
    }
    let stored = serde_json::to_string(&script.saved()).unwrap();
    assert!(
        !stored.contains(SECRET) && !stored.contains("c2Vjb25k") && !stored.contains("webhook-signature"),
        "{stored}"
    );
}

#[tokio::test]
async fn a_signature_is_made_anew_and_its_id_stays() {
    let server = Server::playing(vec![Play::HangUp, say("200 OK", "", "")]).await;
    let (script, mut spec) = (Script::new(), spec(&server.origin()));
    spec.sign = Some(SignSpec {
        secrets: vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()],
    });
    run(&script, &job(), &spec).await;
    run(&script, &next_attempt(&job(), script.last()), &spec).await;
    for request in server.heard() {
        assert_eq!(header(&request, "webhook-id"), Some(KEY));
        let at: i64 = header(&request, "webhook-timestamp").unwrap().parse().unwrap();
        let expected = signing::sign(spec.sign.as_ref().unwrap(), KEY, at, body_of(&request).as_bytes()).unwrap();
        assert_eq!(header(&request, "webhook-signature"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_form_and_a_text_body_are_sent_as_such_and_the_users_own_headers_win() {
    let server = Server::playing(vec![say("200 OK", "", ""), say("200 OK", "", "")]).await;
    let mut spec = spec(&server.origin());
    spec.body = BodySpec::Form(vec![("a b".to_owned(), Template::compile("{{ sender }}&").unwrap())]);
    run(&Script::new(), &job(), &spec).await;
    spec.body = BodySpec::Text {
        template: Template::compile("<{{ m.1 }}>").unwrap(),
        content_type: "text/xml".to_owned(),
    };
    let rendered = |source| HeaderSource::Rendered(Template::compile(source).unwrap());
    spec.headers
        .push(("idempotency-key".parse().unwrap(), rendered("mine-{{ m.1 }}")));
    run(&Script::new(), &job(), &spec).await;
    let heard = server.heard();
    assert_eq!(body_of(&heard[0]), "a+b=%2B14155550100%26");
    assert_eq!(
        header(&heard[0], "content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(body_of(&heard[1]), "<42>");
    assert_eq!(header(&heard[1], "content-type"), Some("text/xml"));
    assert_eq!(heard[1].matches("idempotency-key").count(), 1);
    assert_eq!(header(&heard[1], "idempotency-key"), Some("mine-42"));
}

#[tokio::test]
async fn a_text_cannot_bend_a_url_or_a_header() {
    let origin = "http://127.0.0.1:9";
    for source in ["/{{ text }}/x", "/a?b={{ text }}"] {
        for text in ["..", "a b", "a#b", "a\nb", "\\evil", "@evil.example"] {
            let mut job = job();
            job.message.text = text.to_owned();
            let mut spec = spec(origin);
            spec.url = Template::compile(&format!("{origin}{source}")).unwrap();
            let rendered = preview_http(&job, &spec);
            let allowed = text.starts_with('@') || (text == ".." && source.contains('?'));
            assert_eq!(rendered.is_ok(), allowed, "{text:?} {rendered:?}");
        }
    }
    for url in [
        format!("{origin}{{{{ text }}}}"),
        "http://{{ text }}".to_owned(),
        format!("{origin}:8{{{{ text }}}}"),
    ] {
        let mut job = job();
        job.message.text = "@evil.example/".to_owned();
        let mut spec = spec(origin);
        spec.url = Template::compile(&url).unwrap();
        assert!(preview_http(&job, &spec).is_err(), "{url}");
    }
    let mut spec = spec(origin);
    let header = HeaderSource::Rendered(Template::compile("{{ text }}").unwrap());
    spec.headers.push(("x-text".parse().unwrap(), header));
    let Outcome::Discard(reason) = run(&Script::new(), &job(), &spec).await else {
        panic!("sent")
    };
    assert!(
        reason.contains("header `x-text`") && !reason.contains("broken"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_undefined_name_discards_with_its_name() {
    let mut spec = spec("http://127.0.0.1:9");
    spec.body = BodySpec::Json(Tree::compile(&json!({ "a": "{{ m.other }}" })).unwrap());
    let Outcome::Discard(reason) = run(&Script::new(), &job(), &spec).await else {
        panic!("sent")
    };
    assert_eq!(reason, "the body does not render: at /a: `m.other` is undefined");
}

#[test]
fn a_job_offers_exactly_the_names_that_the_configuration_was_checked_with() {
    assert_eq!(context(&job(), Utc::now()).names(), crate::template::sample().names());
    let reply = context::reply_context(&job(), Utc::now(), "x");
    assert_eq!(reply.names(), crate::template::sample_reply().names());
}

#[test]
fn a_preview_shows_the_request_and_no_secret() {
    let preview = preview_http(&job(), &spec("http://127.0.0.1:9")).unwrap();
    assert_eq!(preview["request"]["headers"]["authorization"], "Bearer ***");
    assert_eq!(preview["request"]["body"]["text"], TEXT);
    assert!(!preview.to_string().contains("hunter2"));
}

#[test]
fn progress_of_another_shape_sends_nothing() {
    let job = Job {
        progress: json!({ "sending": true }),
        ..job()
    };
    assert!(matches!(progress::Progress::of(&job), Err(Outcome::Discard(_))));
}
