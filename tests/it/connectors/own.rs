//! A connector of the user's own, written in the configuration and nowhere else, from the text to the reply that tells the
//! ticket's number; and what a busy account does to its queue.

use serde_json::{Value, json};

use crate::helpers::{self, Answer, App, Fake};

/// A small helpdesk.
const DESK: &str = r#"
[connector.desk]
title = "Our desk"
flows = ["ticket"]
base_url = "{url}"
[connector.desk.knobs.url]
type = "url"
required = true
[connector.desk.knobs.token]
type = "secret"
required = true
[[connector.desk.auth]]
when = ["token"]
kind = "header"
header = "Authorization"
value = "Key {{ secret.token }}"
[connector.desk.operation.find_contact]
effect = "read"
method = "GET"
path = "/people"
query = { phone = "{{ phone.digits }}" }
items = "/people"
id = "/id"
phones = ["/phone"]
[connector.desk.operation.create_contact]
effect = "unique"
method = "PUT"
path = "/people/{{ phone.digits }}"
json = { phone = "{{ phone.e164 }}" }
id = "/id"
[connector.desk.operation.find_open_ticket]
effect = "read"
method = "GET"
path = "/people/{{ contact.id }}/tickets"
items = ""
id = "/id"
where = { "/state" = "open" }
keep = { number = "/number" }
[connector.desk.operation.create_ticket]
effect = "unique"
method = "PUT"
path = "/tickets/{{ marker }}"
json = { person = "{{ contact.id }}", text = "{{ text }}", attempt = "{{ now }} {{ job.attempt }}" }
id = "/id"
keep = { number = "/number" }
[connector.desk.operation.append_to_ticket]
effect = "unique"
method = "PUT"
path = "/tickets/{{ ticket.id }}/notes/{{ marker }}"
json = { text = "{{ text }}" }
"#;

fn configuration(desk: &Fake, gateway: &Fake, more: &str) -> String {
    format!(
        r#"
        {}
        [worker]
        poll = "20ms"
        [action.ticket]
        connector = {{ use = "desk", url = "{}", token = "hunter2-of-the-desk", allow_http = true, allow_private = ["127.0.0.0/8"] }}
        retry_base = "20ms"
        {more}
        [action.thanks]
        after = ["ticket"]
        reply = {{ text = "Thanks, we opened #{{{{ results.ticket.number }}}}" }}
        [[rule]]
        name = "all"
        any = true
        actions = ["ticket", "thanks"]
        {DESK}
        "#,
        helpers::replying_endpoint(gateway),
        desk.url("/api"),
    )
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer::Now(status, vec![], body.to_string())
}

#[tokio::test]
async fn a_connector_written_in_the_configuration_opens_a_ticket_and_a_reply_tells_its_number() {
    let (desk, gateway) = (Fake::start().await, Fake::start().await);
    // somebody else's number: the search ignores its filter
    desk.then(answer(
        200,
        &json!({ "people": [{ "id": 1, "phone": "+1 555 000 1111" }] }),
    ));
    desk.then(answer(201, &json!({ "id": 7 })));
    desk.then(answer(200, &json!([{ "id": 3, "state": "closed" }])));
    desk.then(answer(502, &json!({})));
    desk.then(answer(201, &json!({ "id": 55, "number": "A-55" })));
    let app = App::start(&configuration(&desk, &gateway, "")).await;
    app.text("15551230001", "my \"umbrella\"").await;
    app.all_jobs_ended().await;
    let asked = desk.asked();
    let paths: Vec<String> = asked.iter().map(|one| format!("{} {}", one.method, one.path)).collect();
    assert_eq!(paths[0], "GET /api/people?phone=15551230001");
    assert_eq!(paths[1], "PUT /api/people/15551230001");
    assert_eq!(paths[2], "GET /api/people/7/tickets");
    assert!(
        paths[3].starts_with("PUT /api/tickets/") && paths.len() == 5,
        "{paths:?}"
    );
    // what may have been received is sent again as it was, not as it would be rendered by now
    assert_eq!((&paths[4], &asked[4].body), (&paths[3], &asked[3].body));
    let body: Value = serde_json::from_str(&asked[3].body).unwrap();
    assert_eq!(
        (&body["person"], &body["text"]),
        (&json!("7"), &json!("my \"umbrella\""))
    );
    assert!(
        asked
            .iter()
            .all(|one| one.headers["authorization"] == "Key hunter2-of-the-desk")
    );
    let reply: Value = serde_json::from_str(&gateway.asked()[0].body).unwrap();
    assert_eq!(reply["text"], "Thanks, we opened #A-55");

    // the next text goes to the ticket that is remembered, without a search
    desk.then(answer(201, &json!({})));
    app.text("15551230001", "still no umbrella").await;
    app.all_jobs_ended().await;
    let asked = desk.asked();
    assert_eq!(asked.len(), 6);
    assert!(asked[5].path.starts_with("/api/tickets/55/notes/"), "{}", asked[5].path);
    let reply: Value = serde_json::from_str(&gateway.asked()[1].body).unwrap();
    assert_eq!(reply["text"], "Thanks, we opened #A-55");
}

#[tokio::test]
async fn a_busy_account_is_left_alone_and_its_queue_does_not_churn() {
    let (desk, gateway) = (Fake::start().await, Fake::start().await);
    let wait = vec![("retry-after", "2".to_owned())];
    desk.then(Answer::Now(429, wait, "{}".to_owned()));
    desk.always(answer(200, &json!({ "id": 9, "people": [], "number": "A-9" })));
    let app = App::start(&configuration(&desk, &gateway, "concurrency = 3")).await;
    for nth in 0..40 {
        app.text(&format!("1555123{nth:04}"), "hello").await;
    }
    app.all_jobs_ended().await;
    let done = "SELECT count(*) FROM v1.jobs WHERE action = 'ticket' AND state = 'done'";
    assert_eq!(app.count(done).await, 40);
    let came_back = "SELECT count(*) FROM v1.attempts a JOIN v1.jobs j ON j.id = a.job_id \
                     WHERE j.action = 'ticket' AND a.outcome <> 'done'";
    let came_back = app.count(came_back).await;
    assert!(
        (1..=3).contains(&came_back),
        "{came_back} attempts came to nothing; only those under way may"
    );
}

#[tokio::test]
async fn what_was_looked_for_in_vain_and_could_not_be_sent_again_is_looked_for_once_more() {
    let (desk, gateway) = (Fake::start().await, Fake::start().await);
    let looked_up = r#"[connector.desk.operation.create_ticket]
effect = "reconcilable"
path = "/tickets"
reconcile = [{ method = "GET", path = "/lookup", items = "", id = "/id", contains = { "/text" = "{{ text }}" } }]"#;
    let put = "[connector.desk.operation.create_ticket]\neffect = \"unique\"\nmethod = \"PUT\"\npath = \"/tickets/{{ marker }}\"";
    let toml = configuration(&desk, &gateway, "timeout = \"300ms\"").replace(put, looked_up);
    let toml = toml.replace(
        "allow_http = true, allow_private",
        "settle = \"20ms\", allow_http = true, allow_private",
    );
    desk.then(answer(
        200,
        &json!({ "people": [{ "id": 7, "phone": "+15551230001" }] }),
    ));
    desk.then(answer(200, &json!([])));
    // on its way for longer than an attempt lasts
    desk.then(Answer::Hold);
    desk.then(answer(200, &json!([])));
    desk.then(answer(429, &json!({})));
    // it has arrived meanwhile; whoever looked for an open ticket now would take it for somebody else's
    desk.then(answer(200, &json!([{ "id": 55, "text": "my umbrella" }])));
    let app = App::start(&toml).await;
    app.text("15551230001", "my umbrella").await;
    app.all_jobs_ended().await;
    let paths: Vec<String> = desk
        .asked()
        .iter()
        .skip(1)
        .map(|one| format!("{} {}", one.method, one.path))
        .collect();
    let (make, look) = ("POST /api/tickets", "GET /api/lookup");
    assert_eq!(paths, ["GET /api/people/7/tickets", make, look, make, look]);
    let reply: Value = serde_json::from_str(&gateway.asked()[0].body).unwrap();
    assert_eq!(reply["text"], "Thanks, we opened #55");
}

#[tokio::test]
async fn what_a_person_sends_again_is_waited_for_like_any_other_and_not_called_unknown() {
    let (desk, gateway) = (Fake::start().await, Fake::start().await);
    let put = "[connector.desk.operation.create_ticket]\neffect = \"unique\"";
    let toml = configuration(&desk, &gateway, "timeout = \"300ms\"")
        .replace(
            put,
            "[connector.desk.operation.create_ticket]\neffect = \"at_most_once\"",
        )
        .replace(
            "allow_http = true, allow_private",
            "on_unknown = \"hold\", allow_http = true, allow_private",
        );
    desk.then(answer(
        200,
        &json!({ "people": [{ "id": 7, "phone": "+15551230001" }] }),
    ));
    desk.then(answer(200, &json!([])));
    desk.then(Answer::Hold);
    let app = App::start(&toml).await;
    app.text("15551230001", "my umbrella").await;
    app.all_jobs_ended().await;
    let ticket = app
        .jobs()
        .await
        .into_iter()
        .find(|(action, ..)| action == "ticket")
        .unwrap();
    assert_eq!(ticket.1, "discarded");
    assert!(
        ticket
            .2
            .unwrap()
            .starts_with("not known whether attempt 1 was received")
    );
    desk.then(Fake::status(429));
    desk.then(answer(200, &json!([])));
    desk.then(answer(201, &json!({ "id": 55 })));
    let store = smshook::store::Store::new(app.database.options(), 1);
    let id: i64 = sqlx::query_scalar("SELECT id FROM v1.jobs WHERE action = 'ticket'")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert!(store.retry_job(id).await.unwrap());
    helpers::eventually("the job is done", async || {
        app.jobs()
            .await
            .iter()
            .any(|(action, state, _)| action == "ticket" && state == "done")
    })
    .await;
    let made = desk.asked().iter().filter(|one| one.method == "PUT").count();
    assert_eq!(
        made, 3,
        "the unclear one, the one that came too early, the one that was taken"
    );
}
