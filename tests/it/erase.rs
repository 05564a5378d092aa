//! A person who is erased is nowhere any more, in no column and no log, and is still not texted.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{Erased, ErasureKey, LoopLimits, Person, Store, StoreError, Want};
use sqlx::PgPool;

use crate::helpers::{
    self, Answer, App, Fake, Intake, Process, SECRET, count, eventually, holding, raw, sms, smshook, tables,
    write_configuration,
};
use crate::testkit::{PrivateServer, TestDatabase};

const PERSON: &str = "14155550187";
const OTHER: &str = "15551230002";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "Zebulon Quartermain";
const TEXT: &str = "umbrella";
/// The number with and without `+`, without the country's code, and its end; who it is; and what they wrote.
const TRACES: [&str; 6] = ["+14155550187", PERSON, "4155550187", "5550187", NAME, TEXT];

/// What an erasure does to each table. A table that is not here has not been thought of.
const DECIDED: [(&str, &str); 21] = [
    ("public._sqlx_migrations", "nobody's"),
    ("smshook.attempts", "deleted with their jobs"),
    ("smshook.consent_events", "kept under the keyed hash"),
    ("smshook.erasure_keys", "the key's fingerprint is added"),
    (
        "smshook.gateway_events",
        "deleted, or emptied where they are about somebody else's reply",
    ),
    ("smshook.jobs", "deleted"),
    ("smshook.links", "deleted"),
    ("smshook.loop_trips", "deleted"),
    (
        "smshook.messages",
        "emptied, deleted after the retry window; bodies shared with others emptied",
    ),
    ("smshook.nonces", "hashes of values that are nobody's"),
    ("smshook.notices", "under the keyed hash; what waits is given up"),
    ("smshook.opt_outs", "kept under the keyed hash"),
    ("smshook.our_numbers", "ours"),
    ("smshook.part_sets", "emptied, deleted after the retry window"),
    (
        "smshook.parts",
        "emptied, deleted after the retry window; bodies shared with others emptied",
    ),
    ("smshook.paused_actions", "a reason that quotes the number is replaced"),
    ("smshook.quarantine", "deleted"),
    ("smshook.refused", "deleted"),
    ("smshook.sends", "deleted with their jobs"),
    ("smshook.turns", "deleted with their jobs"),
    ("smshook.webhooks", "nobody's"),
];

#[tokio::test]
async fn every_table_has_been_decided_about() {
    let database = TestDatabase::new().await;
    let decided: Vec<&str> = DECIDED.iter().map(|(table, _)| *table).collect();
    assert_eq!(tables(&database.pool).await, decided);
}

fn person(number: &str) -> Person {
    Person::new(&normalise(number, &NumberFormat::E164)).unwrap()
}

fn key() -> ErasureKey {
    ErasureKey::new(KEY.as_bytes()).unwrap()
}

/// Erases through the store, as a process with the key.
async fn erase(pool: &PgPool, number: &str) -> Erased {
    let store = Store::from_pool(pool.clone()).with_erasure_key(Some(key()));
    let groups = ["main".to_owned()];
    store.erase(&key(), &person(number), &groups).await.unwrap()
}

async fn execute(pool: &PgPool, statement: &'static str) -> u64 {
    sqlx::query(statement).execute(pool).await.unwrap().rows_affected()
}

fn privacy() -> String {
    format!("[privacy]\nerasure_key = \"{KEY}\"\n")
}

/// A service whose every table gets something of the person.
struct World {
    server: PrivateServer,
    directory: tempfile::TempDir,
    process: Process,
    /// Holds the requests of the action that is running.
    held: Fake,
}

fn http(url: &str) -> String {
    format!(
        "http = {{ url = \"{url}\", json = {{ from = \"{{{{ sender }}}}\", name = \"{{{{ tenantName }}}}\", text = \"{{{{ text }}}}\" }}, \
         allow_http = true, allow_private = [\"127.0.0.0/8\"] }}\n"
    )
}

impl World {
    async fn new() -> Self {
        let (server, directory) = (TestDatabase::private_server().await, tempfile::tempdir().unwrap());
        let (gateway, crm, held) = (Fake::start().await, Fake::start().await, Fake::start().await);
        let quoted = json!({ "error": "refused", "of": "+1 (415) 555-0187", "person": NAME, "text": TEXT }).to_string();
        crm.then(Answer::Now(422, vec![], quoted.clone()));
        crm.then(Answer::Now(503, vec![], quoted));
        crm.always(Fake::status(503));
        held.always(Answer::Hold);
        let reply =
            helpers::replying_endpoint(&gateway).replace("gateway = \"mobile-api-connect\"", "gateway = \"parted\"");
        let toml = format!(
            "[worker]\npoll = \"50ms\"\n{}
             [gateway.parted]\nlike = \"mobile-api-connect\"\n[gateway.parted.message]
             parts = {{ reference = \"/part/ref\", total = \"/part/total\", index = \"/part/index\" }}
             {reply}reassembly_wait = \"1m\"\nkeep_refused = {{}}\n[endpoint.consent]\nphrases = \"review\"
             [webhook.sender]\nurl = \"{}\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nallow_http = true
             allow_private = [\"127.0.0.0/8\"]
             [action.answer]\nreply = {{ text = \"You wrote: {{{{ text }}}}\" }}
             [action.note]\nlog = {{ message = \"{{{{ sender }}}} {{{{ tenantName }}}} wrote {{{{ text }}}}\" }}
             [action.failing]\n{}retry_base = \"1h\"\nretry_cap = \"1h\"
             [action.held]\n{}
             [[rule]]\nname = \"all\"\nregex = '(?<what>.*)'\nactions = [\"answer\", \"note\", \"failing\", \"held\"]\n",
            privacy(),
            crm.url("/hooks"),
            http(&crm.url("/failing")),
            http(&held.url("/held")),
        );
        let config = write_configuration(directory.path(), Some(&server.url()), &toml);
        let process = Process::start(&config).await;
        let world = Self {
            server,
            directory,
            process,
            held,
        };
        world.fill().await;
        world
    }

    fn pool(&self) -> &PgPool {
        &self.server.pool
    }

    async fn deliver(&self, body: &Value) -> Value {
        let answer = helpers::deliver(self.process.address, "/hooks/sms", body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{body}");
        answer.json()
    }

    async fn settled(&self, unfinished: i64) {
        eventually("what can end has ended", async || {
            count(
                self.pool(),
                "SELECT count(*) FROM smshook.jobs WHERE state IN ('waiting', 'available', 'running')
                     AND NOT (action IN ('failing', 'held') AND (state <> 'available' OR run_at > now()))",
            )
            .await
                == unfinished
        })
        .await;
    }

    async fn fill(&self) {
        self.deliver(&text("my umbrella is lost")).await;
        self.held.came(1).await;
        self.deliver(&text("that umbrella again")).await;
        self.settled(0).await;
        self.deliver(&json!([text("umbrella, the third"), other("hello")]))
            .await;
        for (reference, index) in [("7", 1), ("7", 2), ("8", 1)] {
            self.deliver(&part(reference, index)).await;
        }
        let unread = json!({ "event": "message.received", "from": PERSON, "contact": NAME, "message": TEXT });
        assert_eq!(self.deliver(&unread).await["status"], "quarantined");
        self.refused().await;
        for words in ["STOP", "START", "please stop texting me about my umbrella", "STOP"] {
            let mut body = text(words);
            body["receivedAt"] = json!(chrono::Utc::now().to_rfc3339());
            self.deliver(&body).await;
        }
        self.deliver(&text("an umbrella after the STOP")).await;
        eventually("the texts in parts are messages", async || {
            count(
                self.pool(),
                "SELECT count(*) FROM smshook.part_sets WHERE assembled_at IS NOT NULL",
            )
            .await
                == 1
        })
        .await;
        self.settled(0).await;
        let reference: String = sqlx::query_scalar("SELECT reference FROM smshook.sends ORDER BY started_at LIMIT 1")
            .fetch_one(self.pool())
            .await
            .unwrap();
        for event in [
            json!({ "event": "message.delivered", "ref": reference, "to": "+14155550187", "name": NAME, "text": TEXT }),
            json!({ "event": "message.sent", "ref": "of nobody", "to": "+1 415 555 0187" }),
        ] {
            assert_eq!(self.deliver(&event).await["status"], "event");
        }
        eventually("a notice has failed", async || {
            count(
                self.pool(),
                "SELECT count(*) FROM smshook.notices WHERE error IS NOT NULL",
            )
            .await
                > 0
        })
        .await;
        self.insert().await;
    }

    /// A delivery whose signature does not verify.
    async fn refused(&self) {
        let body = text("umbrella without a signature").to_string();
        let request = format!(
            "POST /hooks/sms?from=%2B{PERSON} HTTP/1.1\r\nhost: tests\r\nx-mac-signature: sha256=00\r\nx-from: +1 (415) 555-0187\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(raw(self.process.address, request.as_bytes()).await.status, 401);
        eventually("it is kept", async || {
            count(self.pool(), "SELECT count(*) FROM smshook.refused").await == 1
        })
        .await;
    }

    /// What only connectors and two machines that answer each other leave behind.
    async fn insert(&self) {
        for statement in [
            "INSERT INTO smshook.links (account, action, sender, kind, remote_id, kept)
             VALUES ('a', '', '+14155550187', 'contact', '1', '{\"name\": \"Zebulon Quartermain\"}')",
            "INSERT INTO smshook.turns (account, sender, job_id, claim)
             SELECT 'a', '+14155550187', id, claim FROM smshook.jobs WHERE state = 'running' LIMIT 1",
            "INSERT INTO smshook.loop_trips (conversation_id, endpoint, number, guard, detail, clears_at)
             VALUES (gen_random_uuid(), 'main', '+14155550187', 'rate', '5 texts', now())",
            "INSERT INTO smshook.paused_actions (action, reason, trial_at)
             VALUES ('note', 'answered 401: +1 415-555-0187 may not', now() + interval '1 day')",
            "UPDATE smshook.opt_outs SET note = 'Zebulon Quartermain called'",
        ] {
            assert!(execute(self.pool(), statement).await > 0, "{statement}");
        }
    }

    async fn run(&self, arguments: &[&str]) -> std::process::Output {
        let config = self.directory.path().join("config.toml");
        let mut command = smshook(&["--config", config.to_str().unwrap()]);
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

fn text(words: &str) -> Value {
    let mut body = sms(PERSON, words);
    body["tenantName"] = json!(NAME);
    body
}

fn other(words: &str) -> Value {
    sms(OTHER, words)
}

fn part(reference: &str, index: u8) -> Value {
    let mut body = text(&format!("umbrella, part {index} "));
    body["part"] = json!({ "ref": reference, "total": 2, "index": index });
    body
}

/// The tables among `table.column`s.
fn tables_of(columns: &BTreeSet<String>) -> Vec<&str> {
    let tables: BTreeSet<&str> = columns.iter().map(|column| column.split('.').next().unwrap()).collect();
    tables.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_in_no_column_of_any_table_and_in_no_log_and_is_not_texted() {
    let mut world = World::new().await;
    let states: Vec<String> = sqlx::query_scalar("SELECT DISTINCT state FROM smshook.jobs ORDER BY state")
        .fetch_all(world.pool())
        .await
        .unwrap();
    assert_eq!(
        states,
        ["available", "cancelled", "discarded", "done", "running", "waiting"]
    );
    let before = holding(world.pool(), &TRACES).await;
    let everywhere = [
        "attempts",
        "consent_events",
        "gateway_events",
        "jobs",
        "links",
        "loop_trips",
        "messages",
        "notices",
        "opt_outs",
        "part_sets",
        "parts",
        "quarantine",
        "refused",
        "turns",
    ];
    assert_eq!(tables_of(&before), everywhere, "{before:?}");

    let output = world.run(&["erase", "+14155550187", "--yes", "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    world.held.release(2);
    world
        .process
        .logged("ended after their lease and changed nothing")
        .await;
    assert_eq!(holding(world.pool(), &TRACES).await, BTreeSet::new());
    assert_eq!(report["number"], "0187");
    let counted = |what: &str| report[what].as_u64().unwrap();
    assert_eq!(
        (
            counted("messages"),
            counted("parts"),
            counted("quarantined"),
            counted("refused")
        ),
        (9, 3, 1, 1),
        "{report}"
    );
    assert_eq!(
        (
            counted("bodies_of_others"),
            counted("opt_outs_in_force"),
            counted("links")
        ),
        (1, 1, 1),
        "{report}"
    );
    assert!(
        counted("jobs") >= 12 && counted("attempts") >= 6 && counted("notices_given_up") >= 1,
        "{report}"
    );
    let log = world.process.log_text() + &world.server.log_text() + &String::from_utf8_lossy(&output.stdout);
    for trace in TRACES {
        assert!(!log.contains(trace), "`{trace}` is in a log");
    }
    let paused: String = sqlx::query_scalar("SELECT reason FROM smshook.paused_actions")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(!paused.contains("415"), "{paused}");
    stands_after_the_erasure(&world).await;
}

async fn stands_after_the_erasure(world: &World) {
    assert_eq!(
        count(
            world.pool(),
            "SELECT count(*) FROM smshook.messages WHERE text = 'hello' AND raw = ''"
        )
        .await,
        1
    );
    let of_others =
        "SELECT count(*) FROM smshook.jobs j JOIN smshook.messages m ON m.id = j.message_id WHERE m.text = 'hello'";
    assert_eq!(count(world.pool(), of_others).await, 4, "the other one's jobs stay");
    for view in [
        "messages",
        "conversations",
        "jobs",
        "attempts",
        "opt_outs",
        "consent_events",
        "notices",
        "message_parts",
    ] {
        let query = sqlx::AssertSqlSafe(format!("SELECT * FROM v1.{view}"));
        sqlx::query(query).fetch_all(world.pool()).await.unwrap();
    }
    let proof = world.run(&["opt-outs", "proof", "+14155550187", "--json"]).await;
    let said = String::from_utf8_lossy(&proof.stdout).into_owned();
    assert!(proof.status.success() && said.contains("\"erased\""), "{proof:?}");
    assert!(world.run(&["jobs", "list"]).await.status.success());

    // a new relationship: stored, and not answered
    let again = world.deliver(&text("hello again")).await;
    assert_eq!(again["status"], "stored");
    let answered = async || -> Vec<String> {
        sqlx::query_scalar(
            "SELECT j.state FROM smshook.jobs j WHERE j.message_id = $1::text::uuid AND j.action = 'answer'",
        )
        .bind(again["id"].as_str().unwrap())
        .fetch_all(world.pool())
        .await
        .unwrap()
    };
    eventually("its reply has ended", async || answered().await == ["cancelled"]).await;
    let second = world.run(&["erase", "+14155550187", "--yes", "--json"]).await;
    let report: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(
        (&report["messages"], &report["opt_outs_in_force"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
}

#[tokio::test]
async fn a_late_copy_of_an_erased_message_or_part_is_known_and_not_stored_again() {
    let app = App::start(&privacy()).await;
    let body = sms(PERSON, "my umbrella").to_string();
    let stored = app.deliver(&body).await.json();
    let row = "SELECT id, endpoint, dedupe_key, received_at, recipient FROM smshook.messages";
    let kept = async || -> (uuid::Uuid, String, Vec<u8>, chrono::DateTime<chrono::Utc>, String) {
        sqlx::query_as(row).fetch_one(app.pool()).await.unwrap()
    };
    let before = kept().await;
    erase(app.pool(), PERSON).await;
    assert_eq!(kept().await, before);
    let copy = app.deliver(&body).await.json();
    assert_eq!((&copy["status"], &copy["id"]), (&json!("duplicate"), &stored["id"]));
    assert_eq!(holding(app.pool(), &TRACES).await, BTreeSet::new());
}

#[tokio::test]
async fn parts_of_an_erased_person_are_put_together_no_more_and_a_late_copy_is_known() {
    let parted = format!(
        "[gateway.parted]\nlike = \"mobile-api-connect\"\n[gateway.parted.message]\n\
         parts = {{ reference = \"/part/ref\", total = \"/part/total\", index = \"/part/index\" }}\n\
         [[endpoint]]\nname = \"main\"\npath = \"/hooks/sms\"\ngateway = \"parted\"\nsecrets = [\"{SECRET}\"]\n\
         reassembly_wait = \"1m\"\n{}",
        privacy()
    );
    let intake = Intake::start(&parted).await;
    let deliver = async |body: &Value| {
        let answer = helpers::deliver(intake.address, "/hooks/sms", body.to_string().as_bytes()).await;
        answer.json()["status"].clone()
    };
    let first = part("7", 1);
    assert_eq!(deliver(&first).await, "stored");
    assert_eq!(erase(intake.pool(), PERSON).await.parts, 1);
    assert_eq!(deliver(&first).await, "duplicate");
    assert_eq!(deliver(&part("7", 2)).await, "stored", "of a text that begins anew");
    let sets: Vec<(bool, i64)> = sqlx::query_as(
        "SELECT s.erased_at IS NOT NULL, count(*) FROM smshook.part_sets s JOIN smshook.parts p ON p.set_id = s.id
         GROUP BY s.id ORDER BY s.id",
    )
    .fetch_all(intake.pool())
    .await
    .unwrap();
    assert_eq!(sets, [(true, 1), (false, 1)]);
    let due = intake.store.due_sets(&["main".to_owned()], 10).await.unwrap();
    assert!(due.is_empty(), "nothing is left to put together");
}

#[tokio::test]
async fn texts_of_others_are_left_and_bodies_that_they_share_are_emptied() {
    let intake = Intake::start(&privacy()).await;
    let deliver = async |body: Value| {
        let answer = helpers::deliver(intake.address, "/hooks/sms", body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200);
    };
    deliver(json!([text("umbrella"), other("shares a body")])).await;
    deliver(other("ask 415-555-0187 please")).await;
    deliver(json!([
        text("another umbrella"),
        other("shares and mentions +1 415 555 0187")
    ]))
    .await;
    deliver(other("has nothing to do with it")).await;
    // digits that may be the same number without its country's code, or another country's
    deliver(sms("4155550187", "who am I?")).await;
    let erased = erase(intake.pool(), PERSON).await;
    assert_eq!((erased.messages, erased.bodies_of_others), (2, 2));
    assert_eq!((erased.mentions_left, erased.written_otherwise_left), (2, 1));
    let rows: Vec<(String, bool)> =
        sqlx::query_as("SELECT text, raw = '' FROM smshook.messages WHERE erased_at IS NULL ORDER BY id")
            .fetch_all(intake.pool())
            .await
            .unwrap();
    let row = |text: &str, emptied| (text.to_owned(), emptied);
    let left = [
        row("shares a body", true),
        row("ask 415-555-0187 please", false),
        row("shares and mentions +1 415 555 0187", true),
        row("has nothing to do with it", false),
        row("who am I?", false),
    ];
    assert_eq!(rows, left);
}

/// An opt-out in force, asked for by text, of somebody who is then erased.
async fn opted_out_and_erased(app: &App) {
    app.text(PERSON, "STOP").await;
    app.all_jobs_ended().await;
    let erased = erase(app.pool(), PERSON).await;
    assert_eq!((erased.opt_outs_kept, erased.opt_outs_in_force), (1, 1));
}

/// Event, number, words, keyword and whether it was erased.
type Event = (String, String, Option<String>, Option<String>, bool);

#[tokio::test]
async fn consent_stays_as_proof_without_words_and_a_start_after_the_erasure_lifts_it() {
    let gateway = Fake::start().await;
    let answering = format!(
        "{}{}[action.answer]\nreply = {{ text = \"hello\" }}\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"answer\"]\n",
        helpers::replying_endpoint(&gateway),
        privacy()
    );
    let app = App::start(&answering).await;
    opted_out_and_erased(&app).await;
    let events: Vec<Event> = sqlx::query_as(
        "SELECT event, left(number, 5), words, keyword, erased_at IS NOT NULL FROM smshook.consent_events ORDER BY id",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    let event = |name: &str, keyword: Option<&str>| {
        (
            name.to_owned(),
            "hmac:".to_owned(),
            None,
            keyword.map(str::to_owned),
            true,
        )
    };
    assert_eq!(
        events,
        [
            event("opt_out", Some("stop")),
            event("confirmed", None),
            event("erased", None)
        ]
    );
    let refused = sqlx::query("UPDATE smshook.consent_events SET words = 'no'")
        .execute(app.pool())
        .await;
    assert!(refused.is_err(), "evidence is evidence again");
    let mut start = sms(PERSON, "START");
    start["receivedAt"] = json!(chrono::Utc::now().to_rfc3339());
    app.deliver(&start.to_string()).await;
    app.all_jobs_ended().await;
    app.text(PERSON, "and now?").await;
    app.all_jobs_ended().await;
    let texts: Vec<Value> = gateway
        .asked()
        .iter()
        .map(|asked| asked.json()["text"].clone())
        .collect();
    assert_eq!(
        texts.len(),
        3,
        "the confirmations of STOP and START, and the answer: {texts:?}"
    );
}

#[tokio::test]
async fn an_opt_out_that_a_process_without_the_key_recorded_again_is_no_obstacle() {
    let app = App::start(&privacy()).await;
    app.text(PERSON, "STOP").await;
    erase(app.pool(), PERSON).await;
    execute(
        app.pool(),
        "INSERT INTO smshook.opt_outs (suppression_group, number, number_key, source, opted_out_at)
         VALUES ('main', '+14155550187', '+14155550187', 'operator', now())",
    )
    .await;
    let erased = erase(app.pool(), PERSON).await;
    assert_eq!((erased.opt_outs_kept, erased.opt_outs_in_force), (1, 1));
    assert_eq!(holding(app.pool(), &["4155550187"]).await, BTreeSet::new());
}

#[tokio::test]
async fn empty_rows_go_after_seven_days_and_not_before() {
    let intake = Intake::start(&privacy()).await;
    intake.text(PERSON, "umbrella").await;
    intake.text(OTHER, "hello").await;
    erase(intake.pool(), PERSON).await;
    assert_eq!(intake.store.forget_erased().await.unwrap(), 0);
    execute(
        intake.pool(),
        "UPDATE smshook.messages SET erased_at = erased_at - interval '7 days 1 minute'",
    )
    .await;
    assert_eq!(intake.store.forget_erased().await.unwrap(), 1);
    assert_eq!(count(intake.pool(), "SELECT count(*) FROM smshook.messages").await, 1);
}

#[tokio::test]
async fn a_process_with_another_key_or_none_neither_starts_nor_sends_nor_erases() {
    let app = App::start(&privacy()).await;
    app.text(PERSON, "STOP").await;
    erase(app.pool(), PERSON).await;
    let directory = tempfile::tempdir().unwrap();
    for (privacy, hint) in [
        (String::new(), "there is no key to hash the number with"),
        (
            privacy().replace(KEY, &KEY.replace('0', "f")),
            "configure that key again",
        ),
    ] {
        let config = write_configuration(directory.path(), Some(&app.database.url()), &privacy);
        let mut serve = Process::spawn(
            smshook(&["--config", config.to_str().unwrap(), "serve"]),
            directory.path(),
        );
        assert_eq!(serve.ended().await, Some(1));
        assert!(
            serve.log_text().contains("configure that key again"),
            "{}",
            serve.log_text()
        );
        let mut command = smshook(&["--config", config.to_str().unwrap(), "erase", PERSON, "--yes"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(hint), "{said}");
    }
    let other = ErasureKey::new(&[b'x'; 32]).unwrap();
    let store = Store::from_pool(app.pool().clone()).with_erasure_key(Some(other.clone()));
    let refused = store.erase(&other, &person(OTHER), &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::OtherErasureKey), "{refused}");
    assert_eq!(count(app.pool(), "SELECT count(*) FROM smshook.erasure_keys").await, 1);
}

#[tokio::test]
async fn the_gate_lets_nothing_through_for_a_process_with_another_key() {
    let gateway = Fake::start().await;
    let answering = format!(
        "{}[action.answer]\nreply = {{ text = \"hello\" }}\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"answer\"]\n",
        helpers::replying_endpoint(&gateway)
    );
    let intake = Intake::start(&answering).await;
    intake.text(OTHER, "hello").await;
    erase(intake.pool(), PERSON).await;
    let want = Want {
        action: "answer".to_owned(),
        slots: 1,
        lease: std::time::Duration::from_mins(1),
    };
    let job = intake.store.claim(&[want]).await.unwrap().remove(0).job;
    let (limits, progress) = (LoopLimits::default(), json!({}));
    let gate = intake.store.begin_send(&job, "reference", "hello", &limits, &progress);
    assert!(matches!(gate.await, Err(StoreError::OtherErasureKey)));
}

#[tokio::test]
async fn the_command_asks_at_a_terminal_only_and_takes_numbers_of_people_only() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let config = write_configuration(directory.path(), Some(&database.url()), &privacy());
    let run = async |arguments: &[&str]| {
        let mut command = smshook(&["--config", config.to_str().unwrap(), "erase"]);
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    };
    for arguments in [&[PERSON][..], &["12345", "--yes"], &["AMAZON", "--yes"]] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let nothing = run(&[PERSON, "--yes"]).await;
    let said = String::from_utf8_lossy(&nothing.stdout).into_owned();
    assert!(
        nothing.status.success() && said.contains("removed\n  nothing"),
        "{said}"
    );
    assert!(said.contains("out of reach\n") && !said.contains(PERSON), "{said}");
}
