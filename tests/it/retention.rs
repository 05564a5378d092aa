//! What is kept for a time only: two clocks that know nothing of each other, and nothing that has not ended.

use std::time::Duration;

use serde_json::json;
use smshook::store::{Position, Store};
use sqlx::{AssertSqlSafe, PgPool};

use crate::helpers::{self, App, Intake, count, eventually, sms};
use crate::testkit::TestDatabase;

const DAY: Duration = Duration::from_hours(24);
const NOTE: &str =
    "[action.note]\nlog = { message = \"{{ text }}\" }\n[[rule]]\nname = \"all\"\nany = true\nactions = [\"note\"]\n";
const PERSON: &str = "15551230001";

async fn execute(pool: &PgPool, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
        .unwrap();
}

/// Makes everything with an ID that tells its time as old as this.
async fn aged(pool: &PgPool, days: u32) {
    let mut transaction = pool.begin().await.unwrap();
    let mut statements = vec!["SET LOCAL session_replication_role = replica".to_owned()];
    let older = |column: &str| {
        format!(
            "{column} = (substr(smshook.first_id(now() - interval '{days} days')::text, 1, 13) || substr({column}::text, 14))::uuid"
        )
    };
    for (table, ids) in [
        ("messages", &["id"][..]),
        ("jobs", &["message_id"]),
        ("gateway_events", &["id"]),
        ("quarantine", &["id"]),
        ("refused", &["id"]),
        ("part_sets", &["id"]),
        ("parts", &["set_id"]),
    ] {
        let ids: Vec<String> = ids.iter().map(|id| older(id)).collect();
        statements.push(format!("UPDATE smshook.{table} SET {}", ids.join(", ")));
    }
    statements.push(format!(
        "UPDATE smshook.links SET updated_at = now() - interval '{days} days'"
    ));
    statements.push(format!(
        "UPDATE smshook.loop_trips SET clears_at = now() - interval '{days} days'"
    ));
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

/// How many rows each of these tables has.
async fn rows(pool: &PgPool, tables: &[&str]) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in tables {
        let query = AssertSqlSafe(format!("SELECT count(*) FROM smshook.{table}"));
        counts.push(sqlx::query_scalar(query).fetch_one(pool).await.unwrap());
    }
    counts
}

const OF_MESSAGES: [&str; 11] = [
    "messages",
    "jobs",
    "attempts",
    "sends",
    "gateway_events",
    "quarantine",
    "refused",
    "part_sets",
    "parts",
    "links",
    "loop_trips",
];

/// One row in each table that the clock of messages is for, and a STOP.
async fn one_of_each() -> Intake {
    let intake = Intake::start(NOTE).await;
    intake.text(PERSON, "hello").await;
    for statement in [
        "UPDATE smshook.jobs SET state = 'done', finished_at = now()",
        "INSERT INTO smshook.attempts (job_id, claim, attempt, started_at, outcome) SELECT id, 1, 1, now(), 'done' FROM smshook.jobs",
        "INSERT INTO smshook.sends (job_id, conversation_id, reference) SELECT id, gen_random_uuid(), 'r' FROM smshook.jobs",
        "INSERT INTO smshook.gateway_events (id, endpoint, kind, job_id, raw_sha256, raw)
         SELECT smshook.first_id(now()), 'main', 'sent', id, '', '' FROM smshook.jobs",
        "INSERT INTO smshook.quarantine (id, endpoint, reason, raw_sha256, raw) VALUES (smshook.first_id(now()), 'main', 'x', '', '')",
        "INSERT INTO smshook.refused (id, endpoint, reason, keep_until, method, url, headers, body, bytes, digest)
         VALUES (smshook.first_id(now()), 'main', 'x', now() + interval '90 days', 'POST', '', '[]', '', 0, sha256(''))",
        "INSERT INTO smshook.part_sets (id, endpoint, verified, set_key, sender, sender_kind, recipient, recipient_kind, reference,
             total, due_at)
         VALUES (smshook.first_id(now()), 'main', true, sha256(''), '+1', 'number', '+1', 'number', '7', 2, now())",
        "INSERT INTO smshook.parts (set_id, part, dedupe_key, sender_raw, recipient_raw, text, raw)
         SELECT id, 1, sha256(''), '', '', '', '' FROM smshook.part_sets",
        "INSERT INTO smshook.links (account, action, sender, kind, remote_id) VALUES ('a', '', '+1', 'contact', '1')",
        "INSERT INTO smshook.loop_trips (conversation_id, endpoint, number, guard, detail, clears_at)
         VALUES (gen_random_uuid(), 'main', '+1', 'rate', '5', now())",
    ] {
        execute(intake.pool(), statement).await;
    }
    assert_eq!(rows(intake.pool(), &OF_MESSAGES).await, [1; 11]);
    intake
}

#[tokio::test]
async fn what_is_older_goes_with_all_that_belongs_to_it_and_what_is_younger_stays() {
    let intake = one_of_each().await;
    aged(intake.pool(), 89).await;
    let mut position = Position::default();
    assert_eq!(intake.store.forget_messages(90 * DAY, &mut position).await.unwrap(), 0);
    assert_eq!(rows(intake.pool(), &OF_MESSAGES).await, [1; 11]);
    aged(intake.pool(), 91).await;
    intake.text(PERSON, "of today").await;
    assert_eq!(intake.store.forget_messages(90 * DAY, &mut position).await.unwrap(), 1);
    assert_eq!(
        rows(intake.pool(), &OF_MESSAGES).await,
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        count(
            intake.pool(),
            "SELECT count(*) FROM smshook.messages WHERE text = 'of today'"
        )
        .await,
        1
    );
}

#[tokio::test]
async fn a_message_stays_until_its_jobs_have_ended_and_one_that_waits_for_a_person_has() {
    for (state, stays) in [
        ("waiting", true),
        ("available", true),
        ("running", true),
        ("done", false),
        ("discarded", false),
        ("cancelled", false),
    ] {
        let intake = Intake::start(NOTE).await;
        intake.text(PERSON, "hello").await;
        let finished = if stays { "NULL" } else { "now()" };
        execute(
            intake.pool(),
            &format!("UPDATE smshook.jobs SET state = '{state}', finished_at = {finished}, claimed_at = now()"),
        )
        .await;
        aged(intake.pool(), 91).await;
        intake
            .store
            .forget_messages(90 * DAY, &mut Position::default())
            .await
            .unwrap();
        assert_eq!(rows(intake.pool(), &["messages"]).await, [i64::from(stays)], "{state}");
    }
}

#[tokio::test]
async fn however_much_there_is_each_call_looks_at_a_page_and_the_next_goes_on_behind_it() {
    let database = TestDatabase::new().await;
    let store = Store::from_pool(database.pool.clone());
    // of the oldest 600 none can go: they must not be all that is ever looked at
    execute(
        &database.pool,
        "WITH m AS (
             INSERT INTO smshook.messages (id, endpoint, dedupe_key, conversation_id, sender, sender_raw, sender_answerable,
                 recipient, recipient_raw, text, raw)
             SELECT (substr(smshook.first_id(now() - interval '91 days' + n * interval '1 second')::text, 1, 13)
                     || '-7000-8000-000000000000')::uuid, 'main', sha256(n::text::bytea), gen_random_uuid(), '', '', false,
                    '', '', n::text, ''
             FROM generate_series(1, 1200) n RETURNING id, text)
         INSERT INTO smshook.jobs (message_id, state, kind, action, lane, finished_at)
         SELECT id, CASE WHEN text::int <= 600 THEN 'available' ELSE 'done' END, 'action', 'note', text::int8,
                CASE WHEN text::int > 600 THEN now() END
         FROM m",
    )
    .await;
    let mut position = Position::default();
    let mut deleted = Vec::new();
    for _ in 0..4 {
        deleted.push(store.forget_messages(90 * DAY, &mut position).await.unwrap());
    }
    assert_eq!(deleted, [0, 400, 200, 0]);
    assert_eq!(rows(&database.pool, &["messages", "jobs"]).await, [600, 600]);
    execute(
        &database.pool,
        "UPDATE smshook.jobs SET state = 'done', finished_at = now()",
    )
    .await;
    let mut position = Position::default();
    for _ in 0..2 {
        store.forget_messages(90 * DAY, &mut position).await.unwrap();
    }
    assert_eq!(rows(&database.pool, &["messages", "jobs"]).await, [0, 0]);
}

#[tokio::test]
async fn a_link_that_is_used_is_as_young_as_its_use() {
    let intake = one_of_each().await;
    aged(intake.pool(), 91).await;
    assert_eq!(intake.store.links("a", "desk", "+1").await.unwrap().len(), 1);
    intake
        .store
        .forget_messages(90 * DAY, &mut Position::default())
        .await
        .unwrap();
    assert_eq!(rows(intake.pool(), &["links"]).await, [1]);
}

/// STOP and START of one person, and a STOP in force of another.
async fn ask(address: std::net::SocketAddr) {
    for (seconds, from, text) in [(60, PERSON, "STOP"), (59, PERSON, "START"), (58, "15551230002", "STOP")] {
        let mut body = sms(from, text);
        body["receivedAt"] = json!((chrono::Utc::now() - chrono::Duration::seconds(seconds)).to_rfc3339());
        let answer = helpers::deliver(address, "/hooks/sms", body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200);
    }
}

/// These, and a text that confirmed the first.
async fn two_opt_outs() -> Intake {
    let intake = Intake::start("").await;
    ask(intake.address).await;
    execute(
        intake.pool(),
        "WITH j AS (
             INSERT INTO smshook.jobs (message_id, state, kind, action, lane, finished_at)
             SELECT id, 'done', 'action', 'note', 1, now() FROM smshook.messages LIMIT 1 RETURNING id)
         INSERT INTO smshook.sends (job_id, conversation_id, reference, opt_out_id)
         SELECT j.id, gen_random_uuid(), 'r', (SELECT min(id) FROM smshook.opt_outs) FROM j",
    )
    .await;
    intake
}

async fn consent_aged(pool: &PgPool, days: u32) {
    let mut transaction = pool.begin().await.unwrap();
    for statement in [
        "SET LOCAL smshook.may_change_evidence = 'on'".to_owned(),
        format!("UPDATE smshook.consent_events SET recorded_at = now() - interval '{days} days'"),
        format!(
            "UPDATE smshook.opt_outs SET recorded_at = now() - interval '{days} days', opted_out_at = now() - interval '{days} days',
                 opted_in_at = opted_in_at - (now() - (now() - interval '{days} days'))"
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

const OF_CONSENT: [&str; 2] = ["consent_events", "opt_outs"];

#[tokio::test]
async fn evidence_goes_by_its_own_clock_and_never_that_of_an_opt_out_in_force() {
    let intake = two_opt_outs().await;
    assert_eq!(rows(intake.pool(), &OF_CONSENT).await, [3, 2]);
    consent_aged(intake.pool(), 1824).await;
    let mut position = Position::default();
    assert_eq!(intake.store.forget_consent(1825 * DAY, &mut position).await.unwrap(), 0);
    consent_aged(intake.pool(), 1826).await;
    assert_eq!(intake.store.forget_consent(1825 * DAY, &mut position).await.unwrap(), 2);
    let left: Vec<(String, bool)> = sqlx::query_as(
        "SELECT e.number, o.opted_in_at IS NULL FROM smshook.consent_events e JOIN smshook.opt_outs o ON o.id = e.opt_out_id",
    )
    .fetch_all(intake.pool())
    .await
    .unwrap();
    assert_eq!(left, [("+15551230002".to_owned(), true)]);
    assert_eq!(rows(intake.pool(), &OF_CONSENT).await, [1, 1]);
    assert_eq!(
        rows(intake.pool(), &["messages", "sends"]).await,
        [3, 1],
        "messages have a clock of their own"
    );
    let refused = sqlx::query("DELETE FROM smshook.consent_events")
        .execute(intake.pool())
        .await;
    assert!(refused.is_err(), "what is left is evidence");
}

#[tokio::test]
async fn messages_go_by_their_own_clock_and_leave_the_evidence() {
    let intake = two_opt_outs().await;
    execute(
        intake.pool(),
        "UPDATE smshook.jobs SET state = 'done', finished_at = now()",
    )
    .await;
    aged(intake.pool(), 91).await;
    assert_eq!(
        intake
            .store
            .forget_messages(90 * DAY, &mut Position::default())
            .await
            .unwrap(),
        3
    );
    assert_eq!(rows(intake.pool(), &OF_CONSENT).await, [3, 2]);
    assert_eq!(
        count(
            intake.pool(),
            "SELECT count(*) FROM smshook.consent_events WHERE words IS NOT NULL"
        )
        .await,
        3
    );
}

#[tokio::test]
async fn the_service_deletes_what_it_was_told_to_and_nothing_unless_it_was() {
    for (retention, left) in [
        ("", [3, 3]),
        ("[retention]\nmessages = \"90d\"\nconsent = \"365d\"\n", [0, 1]),
    ] {
        let app = App::start(&format!("[worker]\npoll = \"10ms\"\n{retention}")).await;
        ask(app.address()).await;
        app.all_jobs_ended().await;
        consent_aged(app.pool(), 366).await;
        aged(app.pool(), 91).await;
        for _ in 0..2 {
            // the sweep has been round when it has deleted what has a time of its own
            execute(
                app.pool(),
                "INSERT INTO smshook.nonces (endpoint, digest, payload, keep_until) VALUES ('main', sha256('1'), sha256('1'), now())",
            )
            .await;
            eventually("the sweep comes round", async || {
                rows(app.pool(), &["nonces"]).await == [0]
            })
            .await;
        }
        assert_eq!(
            rows(app.pool(), &["messages", "consent_events"]).await,
            left,
            "{retention}"
        );
    }
}
