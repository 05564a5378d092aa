//! What an observing endpoint took without a right signature: stored and marked, and never in the way of the genuine.

use serde_json::json;
use smshook::message::{DeliveryState, GatewayEvent, InboundMessage, Item, Media};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::AcceptedStatus;

use crate::helpers::{Direct, count};
use crate::testkit::TestDatabase;

const REPLYING: &str = r#"
[[endpoint]]
name = "main"
path = "/hooks/sms"
gateway = "mobile-api-connect"
secrets = ["whsec_of the tests"]
reply = { token = "sk_live_of the tests" }
[action.hello]
reply = { text = "hello" }
[[rule]]
name = "rest"
any = true
actions = ["hello"]
"#;

fn message(text: &str) -> InboundMessage {
    let number = |digits| normalise(digits, &NumberFormat::E164);
    InboundMessage::new(number("+15551230001"), number("+15550009999"), text.to_owned())
}

fn text(text: &str) -> Vec<Item> {
    vec![Item::Message(Box::new(message(text)))]
}

#[tokio::test]
async fn a_forged_message_never_takes_the_place_of_the_genuine_one() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, REPLYING);
    let forged = direct.accept(direct.unverified(text("hello"), "{}")).await;
    let genuine = direct.accept(direct.delivery(text("hello"), "{}")).await;
    assert_eq!(
        (forged.status, genuine.status),
        (AcceptedStatus::Stored, AcceptedStatus::Stored)
    );
    assert_ne!(forged.id, genuine.id);
    for again in [
        direct.unverified(text("hello"), "{}"),
        direct.delivery(text("hello"), "{}"),
    ] {
        assert_eq!(direct.accept(again).await.status, AcceptedStatus::Duplicate);
    }
    let verified: Vec<bool> = sqlx::query_scalar("SELECT verified FROM v1.messages ORDER BY received_at")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(verified, [false, true]);
    let jobs = "SELECT count(*) FROM v1.jobs j JOIN v1.messages m ON m.id = j.message_id WHERE NOT m.verified";
    assert_eq!(count(&database.pool, jobs).await, 0);
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.jobs").await, 1);
}

#[tokio::test]
async fn an_unverified_stop_is_honoured_in_silence_and_an_unverified_start_is_not() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, REPLYING);
    let in_force = "SELECT count(*) FROM v1.opt_outs WHERE in_force";
    direct.accept(direct.unverified(text("STOP"), "{}")).await;
    assert_eq!(count(&database.pool, in_force).await, 1);
    direct.accept(direct.unverified(text("START"), "{}")).await;
    assert_eq!(count(&database.pool, in_force).await, 1);
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.jobs").await, 0);
    direct.accept(direct.delivery(text("START"), "{}")).await;
    assert_eq!(count(&database.pool, in_force).await, 0);
}

#[tokio::test]
async fn what_cannot_be_read_stays_unverified_in_quarantine() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, REPLYING);
    let unreadable = || vec![Item::Unreadable("no sender".to_owned())];
    let forged = direct.accept(direct.unverified(unreadable(), "{}")).await;
    let genuine = direct.accept(direct.delivery(unreadable(), "{}")).await;
    assert_ne!(forged.id, genuine.id);
    let kept: Vec<bool> = direct
        .store
        .quarantined(None, 10)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.verified)
        .collect();
    assert_eq!(kept, [false, true]);
}

#[tokio::test]
async fn a_forged_event_is_kept_beside_the_genuine_one() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, REPLYING);
    let event = || {
        vec![Item::Event(GatewayEvent {
            kind: "message.delivered".to_owned(),
            reference: Some("ours".to_owned()),
            gateway_id: Some("msg_1".to_owned()),
            occurred_at: None,
            state: Some(DeliveryState::Delivered),
            error: None,
            opted_out: false,
        })]
    };
    assert!(direct.accept(direct.unverified(event(), "{}")).await.id.is_some());
    assert!(direct.accept(direct.delivery(event(), "{}")).await.id.is_some());
    assert_eq!(direct.accept(direct.delivery(event(), "{}")).await.id, None);
    assert_eq!(
        count(&database.pool, "SELECT count(*) FROM v1.gateway_events WHERE verified").await,
        1
    );
}

#[tokio::test]
async fn ciphertext_and_files_are_stored_as_they_came() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, REPLYING);
    let mut sealed = message("STOP");
    sealed.encrypted = true;
    direct
        .accept(direct.delivery(vec![Item::Message(Box::new(sealed))], "{}"))
        .await;
    let mut picture = message("look");
    picture.media = vec![
        Media {
            url: "https://media.example.com/1\u{0}".to_owned(),
            content_type: Some("image/png".to_owned()),
        },
        Media {
            url: "https://media.example.com/2".to_owned(),
            content_type: None,
        },
    ];
    direct
        .accept(direct.delivery(vec![Item::Message(Box::new(picture))], "{}"))
        .await;
    let rows: Vec<(bool, Option<serde_json::Value>, Option<i16>)> =
        sqlx::query_as("SELECT encrypted, media, missing_parts FROM v1.messages ORDER BY received_at")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    let media = json!([
        { "url": "https://media.example.com/1\u{fffd}", "content_type": "image/png" },
        { "url": "https://media.example.com/2", "content_type": null },
    ]);
    assert_eq!(rows, [(true, None, None), (false, Some(media), None)]);
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.opt_outs").await, 0);
}
