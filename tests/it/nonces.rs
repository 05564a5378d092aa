//! Values that a gateway uses once: the same with another payload is refused, with the same payload it is a retry.

use chrono::{DateTime, TimeDelta, Utc};
use smshook::message::{InboundMessage, Item};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{AcceptError, AcceptedStatus, Delivery};

use crate::helpers::{App, Direct, count, eventually, nonce};
use crate::testkit::TestDatabase;

fn text(words: &str) -> Vec<Item> {
    let number = |digits| normalise(digits, &NumberFormat::E164);
    vec![Item::Message(Box::new(InboundMessage::new(
        number("+15551230001"),
        number("+15550009999"),
        words.to_owned(),
    )))]
}

fn tomorrow() -> DateTime<Utc> {
    Utc::now() + TimeDelta::days(1)
}

impl Direct {
    fn with_nonce(&self, words: &str, value: u8, payload: u8) -> Delivery {
        Delivery {
            nonce: Some(nonce(value, payload, tomorrow())),
            ..self.delivery(text(words), words)
        }
    }
}

#[tokio::test]
async fn a_nonce_with_another_payload_is_refused_and_with_the_same_one_it_is_a_retry() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, "");
    assert_eq!(
        direct.accept(direct.with_nonce("one", 1, 1)).await.status,
        AcceptedStatus::Stored
    );
    let retry = direct.accept(direct.with_nonce("one", 1, 1)).await;
    assert_eq!(retry.status, AcceptedStatus::Duplicate);
    let replay = direct.acceptor.accept(direct.with_nonce("forged", 1, 2)).await;
    assert_eq!(replay, Err(AcceptError::Replayed));
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.messages").await, 1);
    // what was refused has not taken the nonce over
    let again = direct.accept(direct.with_nonce("one", 1, 1)).await;
    assert_eq!(again.status, AcceptedStatus::Duplicate);
}

#[tokio::test]
async fn a_replay_leaves_its_neighbours_in_the_batch_unharmed() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, "");
    direct.accept(direct.with_nonce("known", 1, 1)).await;
    let batch = vec![
        direct.with_nonce("forged after the known", 1, 2),
        direct.with_nonce("new", 2, 3),
        direct.with_nonce("forged after the new", 2, 4),
        direct.with_nonce("new", 2, 3),
        direct.with_nonce("known", 1, 1),
        direct.delivery(text("without"), "without"),
    ];
    let verdicts = direct
        .accept_as_one_batch(direct.delivery(text("first"), "first"), batch)
        .await;
    let words: Vec<_> = verdicts
        .iter()
        .map(|verdict| verdict.map(|accepted| accepted.status))
        .collect();
    assert_eq!(
        words,
        [
            Ok(AcceptedStatus::Stored),
            Err(AcceptError::Replayed),
            Ok(AcceptedStatus::Stored),
            Err(AcceptError::Replayed),
            Ok(AcceptedStatus::Duplicate),
            Ok(AcceptedStatus::Duplicate),
            Ok(AcceptedStatus::Stored),
        ]
    );
    assert_eq!(
        count(
            &database.pool,
            "SELECT count(*) FROM v1.messages WHERE text LIKE 'forged%'"
        )
        .await,
        0
    );
    // and it was one batch
    let transactions = "SELECT count(DISTINCT received_at) FROM v1.messages WHERE text IN ('new', 'without')";
    assert_eq!(count(&database.pool, transactions).await, 1);
}

#[tokio::test]
async fn of_two_processes_that_get_one_nonce_for_two_payloads_one_stores() {
    let database = TestDatabase::new().await;
    let (one, other) = (Direct::over(&database, ""), Direct::over(&database, ""));
    for value in 0..20 {
        let (first, second) = tokio::join!(
            one.acceptor.accept(one.with_nonce(&format!("{value} a"), value, 1)),
            other.acceptor.accept(other.with_nonce(&format!("{value} b"), value, 2)),
        );
        let refused = [first, second]
            .iter()
            .filter(|verdict| **verdict == Err(AcceptError::Replayed))
            .count();
        assert_eq!(refused, 1, "{first:?} {second:?}");
    }
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.messages").await, 20);
}

#[tokio::test]
async fn a_nonce_of_another_endpoint_is_another_nonce() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, "");
    direct.accept(direct.with_nonce("one", 1, 1)).await;
    let elsewhere = Delivery {
        endpoint: "other".into(),
        ..direct.with_nonce("two", 1, 2)
    };
    assert_eq!(direct.accept(elsewhere).await.status, AcceptedStatus::Stored);
}

#[tokio::test]
async fn a_running_service_forgets_what_is_not_kept_any_longer() {
    let app = App::start("[worker]\npoll = \"10ms\"").await;
    let direct = Direct::over(&app.database, "");
    for (value, keep_until) in [(1, Utc::now()), (2, tomorrow())] {
        let delivery = Delivery {
            nonce: Some(nonce(value, 1, keep_until)),
            ..direct.delivery(text(&format!("{value}")), "")
        };
        direct.accept(delivery).await;
    }
    eventually("the nonce whose time is over is gone", async || {
        app.count("SELECT count(*) FROM smshook.nonces").await == 1
    })
    .await;
}

#[tokio::test]
async fn nonces_are_forgotten_when_their_time_is_over_and_the_oldest_when_there_are_too_many() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, "");
    for (value, days) in (1..=6).zip([-2, -1, 3, 4, 5, 6]) {
        let delivery = Delivery {
            nonce: Some(nonce(value, 1, Utc::now() + TimeDelta::days(days))),
            ..direct.delivery(text(&format!("{value}")), "")
        };
        direct.accept(delivery).await;
    }
    assert_eq!(direct.store.forget_nonces().await.unwrap(), 2);
    assert_eq!(direct.store.forget_oldest_nonces(4).await.unwrap(), 0);
    assert_eq!(direct.store.forget_oldest_nonces(3).await.unwrap(), 1);
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("SELECT digest FROM smshook.nonces ORDER BY keep_until")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(kept, [vec![4; 32], vec![5; 32], vec![6; 32]]);
}
