//! Two machines that answer each other stop by themselves, people are answered again by themselves, and both can be seen.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use smshook::message::{InboundMessage, Item};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{Guard, LoopLimits, SendGate, Want, Withheld};
use sqlx::PgPool;

use crate::helpers::{self, App, Direct, Fake, Intake, Process, SECRET, eventually, replying_endpoint, sms, smshook};
use crate::testkit::TestDatabase;

const PERSON: &str = "15551230001";
/// The number that [`sms`] is addressed to.
const OURS: &str = "15550009999";

/// Answers every text so.
fn answering(gateway: &Fake, text: &str, guard: &str) -> String {
    format!(
        "[worker]\npoll = \"50ms\"\n{}{}\n[loop_guard]\n{guard}\n",
        replying_endpoint(gateway),
        every_text_is_answered(text)
    )
}

fn every_text_is_answered(text: &str) -> String {
    format!(
        "[action.answer]\nreply = {{ text = {} }}\n[[rule]]\nname = \"everything\"\nany = true\nactions = [\"answer\"]\n",
        json!(text)
    )
}

#[derive(PartialEq, Debug, sqlx::FromRow)]
struct Trip {
    guard: String,
    detail: String,
    withheld: i32,
    active: bool,
}

async fn trips(pool: &PgPool) -> Vec<Trip> {
    sqlx::query_as("SELECT guard, detail, withheld, active FROM v1.loop_guard ORDER BY id")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn trip(guard: &str, detail: &str, withheld: i32, active: bool) -> Trip {
    Trip {
        guard: guard.to_owned(),
        detail: detail.to_owned(),
        withheld,
        active,
    }
}

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

/// How many replies have gone out once this text has been dealt with.
async fn replies_after(app: &App, gateway: &Fake, from: &str, text: &str) -> usize {
    let mut sms = sms(from, text);
    // START lifts what was asked for before it
    sms["receivedAt"] = json!(Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true));
    assert_eq!(app.deliver(&sms.to_string()).await.status, 200);
    app.all_jobs_ended().await;
    gateway.asked().len()
}

async fn last_reason(app: &App) -> Option<String> {
    app.jobs().await.pop().and_then(|(_, _, reason)| reason)
}

async fn metrics(app: &App) -> String {
    helpers::get(app.running.as_ref().unwrap().admin, "/metrics").await.body
}

#[tokio::test]
async fn the_same_reply_goes_out_twice_in_half_an_hour_and_another_one_still_does() {
    let gateway = Fake::start().await;
    let app =
        App::start(&answering(&gateway, "{{ m[0] }} it is", "same_text = false").replace("any = true", "regex = '.+'"))
            .await;
    for (text, replies) in [("one", 1), ("one", 2), ("one", 2), ("two", 3), ("one", 3)] {
        assert_eq!(replies_after(&app, &gateway, PERSON, text).await, replies, "{text}");
    }
    let why = "the sender has had this same text 2 times within 30 minutes";
    assert_eq!(last_reason(&app).await, Some(format!("loop guard: {why}")));
    assert_eq!(trips(app.pool()).await, [trip("same_reply", why, 2, true)]);
    assert_eq!(
        replies_after(&app, &gateway, "15551230002", "one").await,
        4,
        "another person"
    );
    let seen = metrics(&app).await;
    assert!(seen.contains("smshook_loop_guard_active 1"), "{seen}");
    assert!(
        seen.contains("smshook_loop_guard_withheld_total{guard=\"same_reply\"} 2"),
        "{seen}"
    );
    execute(
        app.pool(),
        "UPDATE smshook.sends SET started_at = started_at - interval '31 minutes'",
    )
    .await;
    assert_eq!(replies_after(&app, &gateway, PERSON, "one").await, 5);
}

#[tokio::test]
async fn the_third_identical_text_silences_rules_for_an_hour_but_not_help_and_not_stop() {
    let gateway = Fake::start().await;
    let help = "[endpoint.consent]\nhelp_text = \"Call us\"\n";
    let toml =
        answering(&gateway, "{{ message.id }}", "").replacen("[action.answer]", &format!("{help}[action.answer]"), 1);
    let app = App::start(&toml).await;
    for (text, replies) in [
        ("are you there?", 1),
        ("are you there?", 2),
        ("are you there?", 2),
        ("something else", 2),
    ] {
        assert_eq!(replies_after(&app, &gateway, PERSON, text).await, replies, "{text}");
    }
    let why = "the sender has sent the same text 3 times within 10 minutes";
    assert_eq!(last_reason(&app).await, Some(format!("loop guard: {why}")));
    assert_eq!(trips(app.pool()).await, [trip("same_text", why, 2, true)]);
    let minutes: f64 =
        sqlx::query_scalar("SELECT (extract(epoch FROM clears_at - tripped_at) / 60)::float8 FROM v1.loop_guard")
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert!(
        (59.9..60.1).contains(&minutes),
        "what comes during the silence does not make it longer: {minutes}"
    );
    assert_eq!(replies_after(&app, &gateway, PERSON, "HELP").await, 3);
    assert_eq!(replies_after(&app, &gateway, PERSON, "STOP").await, 4);
    assert_eq!(replies_after(&app, &gateway, PERSON, "START").await, 5);
    assert_eq!(replies_after(&app, &gateway, PERSON, "hello").await, 5);
}

#[tokio::test]
async fn pictures_without_words_are_not_the_same_text() {
    let gateway = Fake::start().await;
    let app = App::start(&answering(&gateway, "{{ message.id }}", "")).await;
    for nth in 1..=4 {
        assert_eq!(replies_after(&app, &gateway, PERSON, "").await, nth);
    }
}

#[tokio::test]
async fn every_guard_lets_go_by_itself() {
    for (guard, word) in [
        ("limits = [{ replies = 1, within = \"2s\" }]", "rate"),
        ("same_reply = { replies = 1, within = \"2s\" }", "same_reply"),
        (
            "same_text = { texts = 2, within = \"1s\", silence = \"2s\" }",
            "same_text",
        ),
    ] {
        let gateway = Fake::start().await;
        let app = App::start(&answering(&gateway, "hello", guard)).await;
        assert_eq!(replies_after(&app, &gateway, PERSON, "hi").await, 1);
        assert_eq!(replies_after(&app, &gateway, PERSON, "hi").await, 1, "{word}");
        let held = trips(app.pool()).await;
        assert_eq!((held[0].guard.as_str(), held[0].active), (word, true));
        assert!(metrics(&app).await.contains("smshook_loop_guard_active 1"));
        eventually("a text is answered again", async || {
            replies_after(&app, &gateway, PERSON, "hi again").await == 2
        })
        .await;
        let clears_at: DateTime<Utc> = sqlx::query_scalar("SELECT max(clears_at) FROM v1.loop_guard")
            .fetch_one(app.pool())
            .await
            .unwrap();
        assert!(clears_at <= Utc::now(), "{word} was active until {clears_at}");
        assert!(metrics(&app).await.contains("smshook_loop_guard_active 0"));
        assert!(
            trips(app.pool())
                .await
                .iter()
                .all(|trip| trip.guard == word && !trip.active)
        );
    }
}

#[tokio::test]
async fn each_detector_can_be_switched_off() {
    let gateway = Fake::start().await;
    let off = "limits = []\nsame_reply = false\nsame_text = false";
    let app = App::start(&answering(&gateway, "hello", off)).await;
    for nth in 1..=12 {
        assert_eq!(replies_after(&app, &gateway, PERSON, "hi").await, nth);
    }
    assert_eq!(trips(app.pool()).await, []);
}

#[tokio::test]
async fn the_confirmation_of_an_opt_out_is_neither_held_back_nor_counted() {
    let gateway = Fake::start().await;
    let app = App::start(&answering(
        &gateway,
        "hello",
        "limits = [{ replies = 2, within = \"10m\" }]",
    ))
    .await;
    let texts = ["STOP", "START", "STOP", "START", "STOP", "START", "STOP"];
    let mut replies = Vec::new();
    for text in texts {
        replies.push(replies_after(&app, &gateway, PERSON, text).await);
    }
    assert_eq!(
        replies,
        [1, 2, 3, 4, 5, 5, 6],
        "only the third answer to START is held back"
    );
}

#[tokio::test]
async fn of_texts_that_leave_at_once_two_are_the_same_and_one_trip_counts_the_rest() {
    let gateway = Fake::start().await;
    let one = "[action.aN]\nreply = { text = \"a\" }\n[[rule]]\nname = \"aN\"\nexact = \"aN\"\nactions = [\"aN\"]\n";
    let actions: Vec<String> = (0..8).map(|n| one.replace('N', &n.to_string())).collect();
    let intake = Arc::new(Intake::start(&(replying_endpoint(&gateway) + &actions.concat())).await);
    let mut gates = Vec::new();
    for n in 0..8 {
        let action = format!("a{n}");
        intake.text(PERSON, &action).await;
        let want = Want {
            action,
            slots: 1,
            lease: Duration::from_mins(1),
        };
        let job = intake.store.claim(&[want]).await.unwrap().remove(0).job;
        let intake = Arc::clone(&intake);
        gates.push(async move {
            let limits = LoopLimits {
                windows: Vec::new(),
                ..LoopLimits::default()
            };
            let (reference, nothing) = (format!("reference {n}"), json!({}));
            let gate = intake.store.begin_send(&job, &reference, "a", &limits, &nothing).await;
            gate.unwrap()
        });
    }
    let gates: Vec<_> = gates.into_iter().map(tokio::spawn).collect();
    let mut held = 0;
    for gate in gates {
        let gate = gate.await.unwrap();
        held += i32::from(matches!(
            &gate,
            SendGate::LoopGuard(Withheld {
                guard: Guard::SameReply,
                ..
            })
        ));
    }
    assert_eq!(held, 6);
    let why = "the sender has had this same text 2 times within 30 minutes";
    assert_eq!(trips(intake.pool()).await, [trip("same_reply", why, 6, true)]);
}

#[tokio::test]
async fn a_new_process_remembers_what_the_last_one_sent() {
    let gateway = Fake::start().await;
    let toml = answering(&gateway, "hello", "");
    let intake = Intake::start(&toml).await;
    for nth in 1..=3 {
        intake.text(PERSON, &format!("text {nth}")).await;
        let (stop, working) = intake.work(&toml);
        helpers::jobs_ended(intake.pool()).await;
        stop.cancel();
        working.await.unwrap();
    }
    assert_eq!(gateway.asked().len(), 2);
}

#[tokio::test]
async fn a_number_of_ours_is_never_replied_to_but_may_opt_out() {
    let gateway = Fake::start().await;
    let app = App::start(&answering(&gateway, "hello", "")).await;
    assert_eq!(replies_after(&app, &gateway, PERSON, "hi").await, 1);
    // now it is known that this one is ours, however it is spelt
    for from in [OURS, "+15550009999"] {
        assert_eq!(replies_after(&app, &gateway, from, "hi").await, 1);
    }
    let why = "the sender is a number of ours";
    assert_eq!(last_reason(&app).await, Some(format!("loop guard: {why}")));
    assert_eq!(trips(app.pool()).await, [trip("own_number", why, 2, true)]);
    assert_eq!(replies_after(&app, &gateway, OURS, "STOP").await, 2);
}

#[tokio::test]
async fn only_verified_texts_say_which_numbers_are_ours_and_each_number_is_learnt_once() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, "");
    let message = |to: &str, text: &str| {
        let number = |number: &str| normalise(number, &NumberFormat::E164);
        let message = InboundMessage::new(number("+15551230001"), number(to), text.to_owned());
        vec![Item::Message(Box::new(message))]
    };
    let ours = async || {
        let query = "SELECT string_agg(number_key, ' ' ORDER BY number_key) FROM smshook.our_numbers";
        let keys: Option<String> = sqlx::query_scalar(query).fetch_one(&database.pool).await.unwrap();
        keys.unwrap_or_default()
    };
    direct
        .accept(direct.unverified(message("+15550000001", "forged"), "1"))
        .await;
    assert_eq!(ours().await, "");
    for (nth, to) in ["+15550000001", "+5215512345678", "72345", "ACME", "+525512345678"]
        .iter()
        .enumerate()
    {
        direct
            .accept(direct.delivery(message(to, "hi"), &format!("{nth}")))
            .await;
    }
    assert_eq!(ours().await, "+15550000001 +525512345678");
    execute(&database.pool, "DELETE FROM smshook.our_numbers").await;
    direct
        .accept(direct.delivery(message("+15550000001", "again"), "again"))
        .await;
    assert_eq!(ours().await, "", "what the writer knows it does not write again");
}

/// Hands what one service sends to the other, until nothing more comes.
struct Wire<'a> {
    from: &'a Fake,
    sender: &'a str,
    to: &'a str,
    address: std::net::SocketAddr,
    path: &'a str,
    carried: usize,
}

impl Wire<'_> {
    async fn carry(&mut self) -> usize {
        let sent = self.from.asked();
        let new = sent.len() - self.carried;
        for asked in &sent[self.carried..] {
            let mut text = sms(self.sender, asked.json()["text"].as_str().unwrap());
            text["to"] = json!(self.to);
            let answer = helpers::deliver(self.address, self.path, text.to_string().as_bytes()).await;
            assert_eq!(answer.status, 200);
        }
        self.carried = sent.len();
        new
    }
}

#[tokio::test]
async fn two_services_that_answer_each_other_stop_by_themselves() {
    for (text, most, guard) in [
        ("We got {{ message.id }}", 10, "rate"),
        ("Thank you, we call back", 4, "same_"),
    ] {
        let (left, right) = (Fake::start().await, Fake::start().await);
        let (here, there) = (
            App::start(&answering(&left, text, "")).await,
            App::start(&answering(&right, text, "")).await,
        );
        let wire = |from, sender, to, app: &App| Wire {
            from,
            sender,
            to,
            address: app.address(),
            path: "/hooks/sms",
            carried: 0,
        };
        let mut out = wire(&left, "15550000001", "15550000002", &there);
        let mut back = wire(&right, "15550000002", "15550000001", &here);
        let mut first = sms("15550000002", "Hello?");
        first["to"] = json!("15550000001");
        here.deliver(&first.to_string()).await;
        loop {
            here.all_jobs_ended().await;
            there.all_jobs_ended().await;
            if out.carry().await + back.carry().await == 0 {
                break;
            }
            assert!(
                left.asked().len() + right.asked().len() <= most,
                "{guard}: it does not end"
            );
        }
        let mut held = trips(here.pool()).await;
        held.extend(trips(there.pool()).await);
        assert!(held.len() == 1 && held[0].guard.starts_with(guard), "{held:?}");
    }
}

#[tokio::test]
async fn two_numbers_of_one_service_do_not_even_begin() {
    let (left, right) = (Fake::start().await, Fake::start().await);
    let second = replying_endpoint(&right)
        .replace("\"main\"", "\"second\"")
        .replace("/hooks/sms", "/hooks/second");
    let toml = replying_endpoint(&left) + &second + &every_text_is_answered("We got {{ message.id }}");
    let app = App::start(&toml).await;
    let mut there = Wire {
        from: &left,
        sender: "15550000001",
        to: "15550000002",
        address: app.address(),
        path: "/hooks/second",
        carried: 0,
    };
    let mut first = sms("15550000002", "Hello?");
    first["to"] = json!("15550000001");
    app.deliver(&first.to_string()).await;
    app.all_jobs_ended().await;
    assert_eq!(there.carry().await, 1);
    app.all_jobs_ended().await;
    assert_eq!((left.asked().len(), right.asked().len()), (1, 0));
    assert_eq!(trips(app.pool()).await[0].guard, "own_number");
}

#[tokio::test]
async fn a_trip_is_one_warning_without_a_number_and_a_line_of_the_doctors() {
    let gateway = Fake::start().await;
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let toml = answering(&gateway, "the very same", "");
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
    let look = async || -> Value {
        let mut command = smshook(&["--config", config.to_str().unwrap(), "doctor", "--json", "--offline"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["what"] == "loop guard")
            .unwrap()
            .clone()
    };
    let process = Process::start(&config).await;
    assert_eq!(look().await["status"], "ok");
    for nth in 0..5 {
        process.text(PERSON, &format!("text {nth}")).await;
        helpers::jobs_ended(&database.pool).await;
    }
    let log = process.log_text();
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("the loop guard holds back"))
        .collect();
    assert!(warnings.len() == 1 && warnings[0].contains("same_reply"), "{log}");
    for never in [PERSON, OURS, "the very same", "text 1", SECRET] {
        assert!(!warnings[0].contains(never), "{never} in {log}");
    }
    let check = look().await;
    assert_eq!(
        (&check["status"], &check["detail"]),
        (&json!("warning"), &json!("holds replies back in 1 conversation"))
    );
    assert!(check["advice"].as_str().unwrap().contains("v1.loop_guard"));
}
