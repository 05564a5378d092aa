//! Texts that come in parts: durable one by one, one message in the end, whatever dies in between; STOP in any part at once.

use serde_json::{Value, json};
use smshook::message::{InboundMessage, Item, Part};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{AcceptedStatus, Store};
use sqlx::PgPool;

use crate::helpers::{
    self, App, Direct, Fake, PATIENCE, Process, Response, SECRET, count, deliver, eventually, sms, write_configuration,
};
use crate::testkit::TestDatabase;

const PERSON: &str = "15551230001";

/// The standard gateway with parts, at an endpoint that waits this long for them.
fn parted(wait: &str, more: &str) -> String {
    format!(
        "[gateway.parted]\nlike = \"mobile-api-connect\"\n[gateway.parted.message]\n\
         parts = {{ reference = \"/part/ref\", total = \"/part/total\", index = \"/part/index\" }}\n\
         [[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"parted\"\nsecrets = [\"{SECRET}\"]\n\
         reassembly_wait = \"{wait}\"\n{more}"
    )
}

const NOTE: &str = r#"
[action.note]
log = { message = "{{ text }}" }
[[rule]]
name = "whole"
exact = ["one two three"]
actions = ["note"]
"#;

fn part(text: &str, reference: &str, total: u8, index: u8) -> Value {
    let mut body = sms(PERSON, text);
    body["part"] = json!({ "ref": reference, "total": total, "index": index });
    body
}

/// Text and missing parts of every message, in order of arrival.
async fn messages(pool: &PgPool) -> Vec<(String, Option<i16>)> {
    sqlx::query_as("SELECT text, missing_parts FROM v1.messages ORDER BY received_at, id")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn assembled(pool: &PgPool, many: i64) {
    eventually("the parts are messages", async || {
        count(pool, "SELECT count(*) FROM v1.messages").await >= many
    })
    .await;
}

async fn let_the_wait_pass(pool: &PgPool) {
    sqlx::query("UPDATE smshook.part_sets SET due_at = now() WHERE closed_at IS NULL")
        .execute(pool)
        .await
        .unwrap();
}

impl App {
    async fn part(&self, body: &Value) -> Response {
        self.deliver(&body.to_string()).await
    }
}

#[tokio::test]
async fn parts_in_any_order_become_one_message_that_the_rules_see_whole() {
    let app = App::start(&parted("1m", NOTE)).await;
    let parts = [
        part("one ", "7", 3, 1),
        part("two ", "7", 3, 2),
        part("three", "7", 3, 3),
    ];
    let mut ids = Vec::new();
    for index in [2, 0, 1] {
        let answer = app.part(&parts[index]).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("stored")));
        ids.push(answer.json()["id"].clone());
    }
    assembled(app.pool(), 1).await;
    app.all_jobs_ended().await;
    let (id, text, rule, raw, sent_at): (uuid::Uuid, String, String, String, chrono::DateTime<chrono::Utc>) =
        sqlx::query_as("SELECT id, text, rule, raw, sent_at FROM v1.messages")
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_eq!((text.as_str(), rule.as_str()), ("one two three", "whole"));
    assert_eq!(ids, vec![json!(id); 3]);
    assert_eq!(raw, parts[0].to_string());
    assert_eq!(
        sent_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        parts[0]["receivedAt"]
    );
    assert_eq!(messages(app.pool()).await, [("one two three".to_owned(), Some(0))]);
    assert_eq!(app.jobs().await, [("note".to_owned(), "done".to_owned(), None)]);
    let kept: Vec<(i16, String)> =
        sqlx::query_as("SELECT part, text FROM v1.message_parts WHERE set_id = $1 ORDER BY part")
            .bind(id)
            .fetch_all(app.pool())
            .await
            .unwrap();
    assert_eq!(kept[1], (2, "two ".to_owned()));
}

#[tokio::test]
async fn a_part_that_comes_again_is_a_duplicate_before_and_after_its_text_is_put_together() {
    let app = App::start(&parted("1m", NOTE)).await;
    // equal texts: the index tells them apart
    let at = sms(PERSON, "x");
    let twin = |index| {
        let mut body = at.clone();
        body["part"] = json!({ "ref": "7", "total": 2, "index": index });
        body
    };
    for (index, word) in [(1, "stored"), (1, "duplicate"), (2, "stored")] {
        assert_eq!(app.part(&twin(index)).await.json()["status"], word, "part {index}");
    }
    assembled(app.pool(), 1).await;
    for index in [1, 2] {
        assert_eq!(app.part(&twin(index)).await.json()["status"], "duplicate");
    }
    assert_eq!(messages(app.pool()).await, [("xx".to_owned(), Some(0))]);
    assert_eq!(app.count("SELECT count(*) FROM smshook.part_sets").await, 1);
    assert_eq!(app.count("SELECT sum(duplicates) FROM v1.message_parts").await, 3);
    assert_eq!(app.count("SELECT duplicates::int8 FROM v1.messages").await, 0);
}

#[tokio::test]
async fn a_reference_used_again_for_another_text_ends_the_wait_of_the_first() {
    let app = App::start(&parted("1m", "")).await;
    app.part(&part("first, ", "7", 2, 1)).await;
    app.part(&part("second, ", "7", 2, 1)).await;
    assembled(app.pool(), 1).await;
    assert_eq!(messages(app.pool()).await, [("first, ".to_owned(), Some(1))]);
    app.part(&part("whole", "7", 2, 2)).await;
    assembled(app.pool(), 2).await;
    assert_eq!(messages(app.pool()).await[1], ("second, whole".to_owned(), Some(0)));
}

#[tokio::test]
async fn parts_of_other_senders_references_and_lengths_are_other_texts() {
    let app = App::start(&parted("1m", "")).await;
    app.part(&part("a", "7", 2, 1)).await;
    app.part(&part("b", "8", 2, 2)).await;
    app.part(&part("c", "7", 3, 2)).await;
    let mut other = part("d", "7", 2, 2);
    other["from"] = json!("15551230002");
    app.part(&other).await;
    assert_eq!(
        app.count("SELECT count(*) FROM smshook.part_sets WHERE closed_at IS NULL")
            .await,
        4
    );
}

#[tokio::test]
async fn what_came_of_a_text_goes_on_after_the_wait_and_a_late_part_is_a_message_of_its_own() {
    let app = App::start(&parted("1s", "")).await;
    app.part(&part("three", "7", 3, 3)).await;
    app.part(&part("one ", "7", 3, 1)).await;
    assembled(app.pool(), 1).await;
    assert_eq!(messages(app.pool()).await, [("one three".to_owned(), Some(1))]);
    app.part(&part("two ", "7", 3, 2)).await;
    assembled(app.pool(), 2).await;
    assert_eq!(messages(app.pool()).await[1], ("two ".to_owned(), Some(2)));
}

/// As [`parted`], with a way to confirm an opt-out.
fn answering(gateway: &Fake, more: &str) -> String {
    let reply = format!(
        "reply = {{ token = \"sk_live_of the tests\", base_url = \"{}\", allow_private = [\"127.0.0.0/8\"], allow_http = true }}\n{more}",
        gateway.url("/v1")
    );
    parted("1m", &reply)
}

const OPTED_OUT: &str = "SELECT count(*) FROM v1.opt_outs WHERE in_force";

#[tokio::test]
async fn stop_in_any_part_opts_out_at_once_and_is_confirmed_once_when_the_text_is_put_together() {
    let gateway = Fake::start().await;
    gateway.always(Fake::status(202));
    let app = App::start(&answering(
        &gateway,
        "[action.r]\nreply = { text = \"hello\" }\n[[rule]]\nname = \"rest\"\nany = true\nactions = [\"r\"]\n",
    ))
    .await;
    let id = app.part(&part("STOP", "7", 3, 2)).await.json()["id"].clone();
    assert_eq!(app.count(OPTED_OUT).await, 1);
    assert_eq!(gateway.asked().len(), 0);
    app.part(&part("please ", "7", 3, 1)).await;
    app.part(&part(" texting my sister's old number about the garden", "7", 3, 3))
        .await;
    assembled(app.pool(), 1).await;
    app.all_jobs_ended().await;
    let (message, event, keyword): (uuid::Uuid, String, String) =
        sqlx::query_as("SELECT id, consent_event, consent_keyword FROM v1.messages")
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_eq!(
        (json!(message), event.as_str(), keyword.to_lowercase().as_str()),
        (id, "opt_out", "stop")
    );
    let done: Vec<(String, String)> = sqlx::query_as("SELECT kind, state FROM v1.jobs")
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(done, [("opt_out_confirmation".to_owned(), "done".to_owned())]);
    assert_eq!(gateway.asked().len(), 1);
    assert_eq!(app.count("SELECT count(*) FROM v1.opt_outs").await, 1);
}

/// Five minutes count from the opt-out (47 CFR 64.1200(a)(12)), not from the text that was put together later.
#[tokio::test]
async fn an_opt_out_that_came_in_a_part_long_ago_is_not_confirmed_any_more() {
    let gateway = Fake::start().await;
    let app = App::start(&answering(&gateway, "")).await;
    app.part(&part("STOP", "7", 2, 1)).await;
    sqlx::query("UPDATE smshook.opt_outs SET confirm_until = confirm_until - interval '5 minutes'")
        .execute(app.pool())
        .await
        .unwrap();
    app.part(&part("!", "7", 2, 2)).await;
    assembled(app.pool(), 1).await;
    app.all_jobs_ended().await;
    let late = Some("it is too late to send this".to_owned());
    let confirmation = "opt_out_confirmation".to_owned();
    assert_eq!(app.jobs().await, [(confirmation, "cancelled".to_owned(), late)]);
    assert_eq!((app.count(OPTED_OUT).await, gateway.asked().len()), (1, 0));
}

#[tokio::test]
async fn whoever_starts_again_before_the_text_is_put_together_stays_opted_in() {
    let gateway = Fake::start().await;
    let app = App::start(&answering(&gateway, "")).await;
    app.part(&part("STOP", "7", 2, 1)).await;
    app.text(PERSON, "START").await;
    assert_eq!(app.count(OPTED_OUT).await, 0);
    app.part(&part("!", "7", 2, 2)).await;
    assembled(app.pool(), 2).await;
    assert_eq!(app.count(OPTED_OUT).await, 0);
    let confirmations = "SELECT count(*) FROM v1.jobs WHERE kind = 'opt_out_confirmation'";
    assert_eq!(app.count(confirmations).await, 0);
}

#[tokio::test]
async fn an_opt_out_that_only_the_whole_text_has_takes_effect_with_it() {
    let gateway = Fake::start().await;
    gateway.always(Fake::status(202));
    let app = App::start(&answering(&gateway, "")).await;
    app.part(&part("ST", "7", 2, 1)).await;
    app.part(&part("OP", "7", 2, 2)).await;
    assembled(app.pool(), 1).await;
    app.all_jobs_ended().await;
    assert_eq!(app.count(OPTED_OUT).await, 1);
    assert_eq!(gateway.asked().len(), 1);
}

#[tokio::test]
async fn nothing_is_lost_when_the_process_is_killed_between_parts_or_before_they_are_put_together() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let file = write_configuration(directory.path(), Some(&database.url()), &parted("1m", NOTE));
    let post = async |process: &Process, body: &Value| {
        deliver(process.address, "/hooks/sms", body.to_string().as_bytes())
            .await
            .json()["status"]
            .clone()
    };
    let mut process = Process::start(&file).await;
    assert_eq!(post(&process, &part("one ", "7", 3, 1)).await, "stored");
    process.kill().await;
    let mut process = Process::start(&file).await;
    assert_eq!(post(&process, &part("two ", "7", 3, 2)).await, "stored");
    // the last part is committed and its process dies before anything is made of it
    hold_messages(&database.pool, async || {
        assert_eq!(post(&process, &part("three", "7", 3, 3)).await, "stored");
        process.kill().await;
    })
    .await;
    assert_eq!(messages(&database.pool).await, []);
    let process = Process::start(&file).await;
    assembled(&database.pool, 1).await;
    helpers::jobs_ended(&database.pool).await;
    assert_eq!(messages(&database.pool).await, [("one two three".to_owned(), Some(0))]);
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM v1.jobs WHERE state = 'done'").await,
        1
    );
    drop(process);
}

/// While this is done no message can be stored, whereas parts can.
async fn hold_messages(pool: &PgPool, done: impl AsyncFnOnce()) {
    let mut held = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE smshook.messages IN EXCLUSIVE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    done().await;
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn a_set_of_an_endpoint_that_is_not_configured_waits_until_it_is() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    {
        let app = Direct::over(&database, &parted("1m", ""));
        app.accept(app.delivery(vec![direct_part("one", 1)], "1")).await;
        let_the_wait_pass(&database.pool).await;
    }
    let elsewhere = parted("1m", "").replace("name = \"main\"", "name = \"renamed\"");
    let file = write_configuration(directory.path(), Some(&database.url()), &elsewhere);
    let mut process = Process::start(&file).await;
    process.logged("wait for an endpoint that is not configured").await;
    assert_eq!(messages(&database.pool).await, []);
    process.kill().await;
    let file = write_configuration(directory.path(), Some(&database.url()), &parted("1m", ""));
    let _process = Process::start(&file).await;
    assembled(&database.pool, 1).await;
    assert_eq!(messages(&database.pool).await, [("one".to_owned(), Some(1))]);
}

/// Part `index` of 2 of a text with reference 7.
fn direct_part(text: &str, index: u8) -> Item {
    numbered_part(text, index, "7")
}

fn numbered_part(text: &str, index: u8, reference: &str) -> Item {
    let number = |digits| normalise(digits, &NumberFormat::E164);
    let mut message = InboundMessage::new(number("+15551230001"), number("+15550009999"), text.to_owned());
    message.part = Some(Part {
        reference: reference.to_owned(),
        total: 2,
        index,
    });
    Item::Message(Box::new(message))
}

#[tokio::test]
async fn an_unverified_part_never_joins_verified_ones() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, &parted("1m", ""));
    direct
        .accept(direct.delivery(vec![direct_part("genuine ", 1)], "1"))
        .await;
    direct
        .accept(direct.unverified(vec![direct_part("forged", 2)], "2"))
        .await;
    // nor does a forged copy take the genuine part's place
    let forged = direct
        .accept(direct.unverified(vec![direct_part("text", 2)], "3"))
        .await;
    assert_eq!(forged.status, AcceptedStatus::Stored);
    let genuine = direct.accept(direct.delivery(vec![direct_part("text", 2)], "3")).await;
    assert_eq!(genuine.status, AcceptedStatus::Stored);
    let_the_wait_pass(&database.pool).await;
    let (stop, assembling) = direct.assemble();
    assembled(&database.pool, 3).await;
    let texts: Vec<(String, bool)> = sqlx::query_as("SELECT text, verified FROM v1.messages ORDER BY text")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(
        texts,
        [
            ("forged".to_owned(), false),
            ("genuine text".to_owned(), true),
            ("text".to_owned(), false)
        ]
    );
    stop.cancel();
    assembling.await.unwrap();
}

#[tokio::test]
async fn several_processes_take_parts_of_the_same_texts_and_put_each_together_once() {
    const TEXTS: u8 = 40;
    let database = TestDatabase::new().await;
    let processes = [
        Direct::over(&database, &parted("1m", NOTE)),
        Direct::over(&database, &parted("1m", NOTE)),
    ];
    let assembling = processes.each_ref().map(Direct::assemble);
    for text in 0..TEXTS {
        let reference = text.to_string();
        let [one, other] = &processes;
        // each part goes to both: a copy, wherever the first one is
        let halves = [(1, "one two "), (2, "three")].map(|(index, text)| (index, text, &reference));
        let accept = async |process: &Direct, (index, text, reference): (u8, &str, &String)| {
            let mut item = numbered_part(text, index, reference);
            if let Item::Message(message) = &mut item {
                message.message_id = Some(format!("{reference}-{index}"));
            }
            process.accept(process.delivery(vec![item], text)).await.status
        };
        let statuses: [AcceptedStatus; 4] = tokio::join!(
            accept(one, halves[0]),
            accept(other, halves[1]),
            accept(one, halves[1]),
            accept(other, halves[0]),
        )
        .into();
        let stored = statuses
            .iter()
            .filter(|status| **status == AcceptedStatus::Stored)
            .count();
        assert_eq!(stored, 2, "{statuses:?}");
    }
    assembled(&database.pool, i64::from(TEXTS)).await;
    for (stop, assembling) in assembling {
        stop.cancel();
        tokio::time::timeout(PATIENCE, assembling).await.unwrap().unwrap();
    }
    let whole =
        "SELECT count(*) FROM v1.messages WHERE text = 'one two three' AND missing_parts = 0 AND duplicates = 0";
    assert_eq!(count(&database.pool, whole).await, i64::from(TEXTS));
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM v1.jobs").await,
        i64::from(TEXTS)
    );
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM smshook.part_sets").await,
        i64::from(TEXTS)
    );
    let store = Store::from_pool(database.pool.clone());
    assert_eq!(store.due_sets(&["main".to_owned()], 10).await.unwrap().len(), 0);
}
