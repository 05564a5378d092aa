//! The batch writer without the HTTP in front: for what only a caller inside the process decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smshook::config::{Config, Endpoint};
use smshook::message::Item;
use smshook::metrics::Metrics;
use smshook::reassembly::Reassembly;
use smshook::rules::Standing;
use smshook::store::{AcceptError, Accepted, Acceptor, Delivery, Nonce, Origin, PlannedItem, Store};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::{configuration, eventually};
use crate::testkit::TestDatabase;

/// A process's writer, as the webhook uses it.
pub(crate) struct Direct {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) acceptor: Acceptor,
}

impl Direct {
    /// With this configuration, on a database that others may be using too.
    pub(crate) fn over(database: &TestDatabase, toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = Arc::new(configuration(directory.path(), Some(&database.url()), toml));
        let store = Store::new(database.options(), 4);
        let acceptor = Acceptor::start(&store, Duration::from_secs(30), &Arc::new(Metrics::new())).unwrap();
        Self {
            store,
            config,
            acceptor,
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.config.endpoints[0]
    }

    /// A verified delivery of the first endpoint.
    pub(crate) fn delivery(&self, items: Vec<Item>, raw: &str) -> Delivery {
        self.standing(items, raw, Standing::Verified)
    }

    /// A delivery of the first endpoint that an observing endpoint took.
    pub(crate) fn unverified(&self, items: Vec<Item>, raw: &str) -> Delivery {
        self.standing(items, raw, Standing::Unverified { runs_actions: false })
    }

    fn standing(&self, items: Vec<Item>, raw: &str, standing: Standing) -> Delivery {
        let endpoint = self.endpoint();
        let planned = |item| PlannedItem::of(item, &self.config.rulebook, &endpoint.policy, standing);
        Delivery {
            endpoint: Arc::from(endpoint.name.as_str()),
            keep_text: endpoint.store_text,
            raw: Bytes::copy_from_slice(raw.as_bytes()),
            items: items.into_iter().map(planned).collect(),
            verified: standing == Standing::Verified,
            nonce: None,
            part_wait: endpoint.reassembly_wait,
            origin: Origin::Gateway,
        }
    }

    pub(crate) async fn accept(&self, delivery: Delivery) -> Accepted {
        self.acceptor.accept(delivery).await.unwrap()
    }

    /// Puts texts together until the token is cancelled.
    pub(crate) fn assemble(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let task = Reassembly::new(Arc::clone(&self.config), self.store.clone(), self.acceptor.clone());
        let stop = CancellationToken::new();
        (stop.clone(), tokio::spawn(task.run(stop)))
    }

    /// Accepts all of these in one transaction, in this order: the writer is held up with another delivery until they wait.
    pub(crate) async fn accept_as_one_batch(
        &self,
        first: Delivery,
        deliveries: Vec<Delivery>,
    ) -> Vec<Result<Accepted, AcceptError>> {
        let mut holder = PgConnection::connect_with(&self.store.pool().connect_options())
            .await
            .unwrap();
        let mut held = holder.begin().await.unwrap();
        sqlx::query("LOCK TABLE smshook.messages IN EXCLUSIVE MODE")
            .execute(&mut *held)
            .await
            .unwrap();
        let mut waiting = vec![self.begin(first)];
        writer_waits(self.store.pool()).await;
        for delivery in deliveries {
            waiting.push(self.begin(delivery));
            // each is in the writer's queue before the next one comes
            tokio::task::yield_now().await;
        }
        held.commit().await.unwrap();
        let mut verdicts = Vec::new();
        for accepted in waiting {
            verdicts.push(accepted.await.unwrap());
        }
        verdicts
    }

    fn begin(&self, delivery: Delivery) -> tokio::task::JoinHandle<Result<Accepted, AcceptError>> {
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move { acceptor.accept(delivery).await })
    }
}

async fn writer_waits(pool: &PgPool) {
    eventually("the writer waits for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE NOT l.granted AND d.datname = current_database() AND l.relation = 'smshook.messages'::regclass",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        waiting > 0
    })
    .await;
}

/// A nonce for this payload, remembered until then.
pub(crate) fn nonce(value: u8, payload: u8, keep_until: chrono::DateTime<chrono::Utc>) -> Nonce {
    Nonce {
        digest: [value; 32],
        payload: [payload; 32],
        is_shared: false,
        keep_until,
    }
}
