//! Deliveries that did not verify, kept: within the operator's bounds, each once, and admitted in the transaction that stores
//! what they become.

use std::time::Duration;

use bytes::Bytes;
use smshook::message::{InboundMessage, Item};
use smshook::phone::{NumberFormat, normalise};
use smshook::store::{AcceptedStatus, Delivery, Origin, RefusedDelivery, RefusedLimits, Store};
use sqlx::PgPool;

use crate::helpers::{Direct, count};
use crate::testkit::TestDatabase;

const PLENTY: RefusedLimits = RefusedLimits {
    count: 100,
    bytes: 1 << 20,
    age: Duration::from_hours(24),
};

fn refused(body: &str) -> RefusedDelivery {
    RefusedDelivery {
        endpoint: "main".to_owned(),
        reason: "mismatch".to_owned(),
        cause: None,
        method: "POST".to_owned(),
        url: "https://sms.example.com/hooks/sms".to_owned(),
        query: Some("token=hidden".to_owned()),
        headers: vec![("x-signature".to_owned(), b"sha256=\xe9\xff".to_vec())],
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

async fn bodies(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT raw FROM v1.refused ORDER BY received_at, id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_refused_delivery_is_kept_byte_for_byte_and_once() {
    let database = TestDatabase::new().await;
    let store = Store::from_pool(database.pool.clone());
    let delivery = RefusedDelivery {
        body: Bytes::from_static(b"\x00\xff not text"),
        ..refused("")
    };
    let id = store.keep_refused(&delivery, PLENTY).await.unwrap().unwrap();
    let again = RefusedDelivery {
        cause: Some("the retired secret matches".to_owned()),
        ..delivery.clone()
    };
    assert_eq!(store.keep_refused(&again, PLENTY).await.unwrap(), Some(id));
    let other = RefusedDelivery {
        headers: vec![("x-signature".to_owned(), b"another".to_vec())],
        ..delivery.clone()
    };
    assert_ne!(store.keep_refused(&other, PLENTY).await.unwrap(), Some(id));
    let kept = store.refused(Some(id), 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].delivery, again);
    assert_eq!(kept[0].duplicates, 1);
    assert_eq!(store.refused(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_oldest_go_when_there_are_too_many_or_too_much_and_what_is_larger_than_all_is_not_kept() {
    let database = TestDatabase::new().await;
    let store = Store::from_pool(database.pool.clone());
    let one = |words: &str| RefusedDelivery {
        url: String::new(),
        query: None,
        headers: Vec::new(),
        ..refused(words)
    };
    let keep = async |words: &str, limits| store.keep_refused(&one(words), limits).await.unwrap().is_some();
    let three = RefusedLimits { count: 3, ..PLENTY };
    for words in ["a", "b", "c", "d"] {
        assert!(keep(words, three).await);
    }
    assert_eq!(bodies(&database.pool).await, ["b", "c", "d"]);
    let few_bytes = RefusedLimits { bytes: 10, ..PLENTY };
    assert!(keep("12345678", few_bytes).await);
    assert_eq!(bodies(&database.pool).await, ["c", "d", "12345678"]);
    assert!(!keep("12345678901", few_bytes).await);
    assert_eq!(bodies(&database.pool).await, ["c", "d", "12345678"]);
    // another endpoint has bounds of its own
    let elsewhere = RefusedDelivery {
        endpoint: "other".to_owned(),
        ..one("e")
    };
    let single = RefusedLimits { count: 1, ..PLENTY };
    store.keep_refused(&elsewhere, single).await.unwrap();
    assert_eq!(bodies(&database.pool).await, ["c", "d", "12345678", "e"]);
}

#[tokio::test]
async fn bounds_hold_however_many_come_at_once() {
    let database = TestDatabase::new().await;
    let store = Store::new(database.options(), 8);
    let limits = RefusedLimits { count: 5, ..PLENTY };
    let keeping: Vec<_> = (0..60)
        .map(|nth| {
            let store = store.clone();
            tokio::spawn(async move { store.keep_refused(&refused(&nth.to_string()), limits).await.unwrap() })
        })
        .collect();
    for kept in keeping {
        assert!(kept.await.unwrap().is_some());
    }
    assert_eq!(count(&database.pool, "SELECT count(*) FROM v1.refused").await, 5);
}

#[tokio::test]
async fn what_is_too_old_goes_also_when_nothing_comes() {
    let database = TestDatabase::new().await;
    let store = Store::from_pool(database.pool.clone());
    let brief = RefusedLimits {
        age: Duration::ZERO,
        ..PLENTY
    };
    store.keep_refused(&refused("old"), PLENTY).await.unwrap();
    store.keep_refused(&refused("brief"), brief).await.unwrap();
    assert_eq!(store.forget_refused().await.unwrap(), 0, "it was trimmed as it came");
    sqlx::query("UPDATE smshook.refused SET keep_until = now()")
        .execute(&database.pool)
        .await
        .unwrap();
    assert_eq!(store.forget_refused().await.unwrap(), 1);
}

#[tokio::test]
async fn a_delivery_that_is_verified_after_all_is_stored_and_marked_in_one_transaction() {
    let database = TestDatabase::new().await;
    let direct = Direct::over(&database, "");
    let id = direct
        .store
        .keep_refused(&refused("body"), PLENTY)
        .await
        .unwrap()
        .unwrap();
    let number = |digits| normalise(digits, &NumberFormat::E164);
    let message = || {
        let message = InboundMessage::new(number("+15551230001"), number("+15550009999"), "hello".to_owned());
        vec![Item::Message(Box::new(message))]
    };
    let admitting = || Delivery {
        origin: Origin::Refused(id),
        ..direct.delivery(message(), "body")
    };
    let accepted = direct.accept(admitting()).await;
    assert_eq!(accepted.status, AcceptedStatus::Stored);
    let entry = direct.store.refused_entry(id).await.unwrap().unwrap();
    assert_eq!(entry.admitted_as, accepted.id);
    assert!(entry.admitted_at.is_some());
    assert_eq!(direct.store.refused(None, 10).await.unwrap(), []);
    // a second time it is a copy, and the first stays on record
    assert_eq!(direct.accept(admitting()).await.status, AcceptedStatus::Duplicate);
    let again = direct.store.refused_entry(id).await.unwrap().unwrap();
    assert_eq!(again.admitted_at, entry.admitted_at);
}

#[tokio::test]
async fn neither_the_view_nor_a_log_shows_header_values_or_the_query() {
    let database = TestDatabase::new().await;
    let store = Store::from_pool(database.pool.clone());
    store.keep_refused(&refused("body"), PLENTY).await.unwrap();
    let row: String = sqlx::query_scalar("SELECT r::text FROM v1.refused r")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert!(row.contains("x-signature") && row.contains("body"), "{row}");
    assert!(!row.contains("sha256=") && !row.contains("hidden"), "{row}");
    let logged = format!("{:?}", refused("body"));
    assert!(
        !logged.contains("sha256=") && !logged.contains("hidden") && !logged.contains("body\""),
        "{logged}"
    );
}
