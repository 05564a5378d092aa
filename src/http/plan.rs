//! What a delivery that may be parsed says, and what follows from it: the one way from a [`VerifiedBody`] to rows.
//!
//! It must not store anything, and it decides nothing: the gateway's file reads, the rules plan.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::config::{Config, Endpoint};
use crate::rules::Standing;
use crate::signature::{self, VerifiedBody};
use crate::store::{Delivery, Nonce, Origin, PlannedItem};

/// What every delivery to one endpoint carries; made once where deliveries are many.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The endpoint's name.
    pub name: Arc<str>,
}

impl Labels {
    /// Those of this endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            name: endpoint.name.as_str().into(),
        }
    }
}

/// Reads and plans a delivery. Allocates what outlives the request: the messages and their jobs.
pub fn plan(
    config: &Config,
    endpoint: &Endpoint,
    labels: &Labels,
    verified: &VerifiedBody,
    standing: Standing,
    origin: Origin,
) -> Delivery {
    let planned = |item| PlannedItem::of(item, &config.rulebook, &endpoint.policy, standing);
    let items = endpoint.gateway.parse(verified, &endpoint.reading);
    Delivery {
        endpoint: Arc::clone(&labels.name),
        raw: verified.bytes().clone(),
        items: items.into_iter().map(planned).collect(),
        verified: standing == Standing::Verified,
        nonce: verified.nonce().map(remembered),
        part_wait: endpoint.reassembly_wait,
        origin,
        keep_text: endpoint.store_text,
    }
}

/// What must not come again, as the database keeps it.
fn remembered(nonce: &signature::Nonce) -> Nonce {
    Nonce {
        digest: nonce.digest,
        payload: nonce.payload,
        is_shared: nonce.is_shared,
        // A time that no calendar has is as good as for ever.
        keep_until: DateTime::from_timestamp(nonce.keep_until, 0).unwrap_or(DateTime::<Utc>::MAX_UTC),
    }
}
