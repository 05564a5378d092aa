//! `smshook messages reverify`: deliveries that were refused and kept are verified again, as of when they were received, with
//! the configuration of now.
//!
//! What verifies goes through the same door as every delivery. It must not let anything through that does not.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use uuid::Uuid;

use super::{PAGE, door};
use crate::cli::database::{self, Database};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Printer};
use crate::config::Config;
use crate::http::{Labels, cause, plan};
use crate::rules::Standing;
use crate::signature::{self, Received};
use crate::store::{AcceptError, Acceptor, KeptDelivery, Origin};

pub(super) async fn run(database: &Database, id: Option<Uuid>) -> Result<(), Failure> {
    let kept = database
        .store
        .refused(id, i64::from(PAGE))
        .await
        .map_err(database::failed)?;
    if kept.is_empty() {
        return nothing(database, id).await;
    }
    let (config, acceptor) = (&database.config, door(database, kept.len())?);
    let mut failing = 0;
    let mut printer = Printer::default();
    for delivery in kept {
        let id = delivery.id;
        match again(config, &acceptor, &delivery).await? {
            Ok(became) => printer.print(&format!("{id}: {became}")),
            Err(why) => {
                failing += 1;
                output::note(&format!("{id}: {why}"));
            }
        }
    }
    if failing == 0 {
        return printer.done();
    }
    output::note(
        "\nhint: mend what is named, then do it again; what cannot verify any more goes by itself when its time is over",
    );
    Err(Failure::AnswerIsNo)
}

async fn nothing(database: &Database, id: Option<Uuid>) -> Result<(), Failure> {
    let Some(id) = id else {
        output::note("no refused delivery is kept");
        return Ok(());
    };
    let entry = database.store.refused_entry(id).await.map_err(database::failed)?;
    let hint = "`v1.refused` lists what is kept; an endpoint keeps what it refuses with `keep_refused = {}`";
    Err(match entry {
        None => Failure::hinted(anyhow::anyhow!("there is no refused delivery {id}"), hint),
        Some(entry) => {
            let became = entry.admitted_as.map(|id| format!(" as {id}")).unwrap_or_default();
            Failure::hinted(anyhow::anyhow!("the delivery {id} was admitted already{became}"), hint)
        }
    })
}

/// What became of one of them, or why it still fails.
async fn again(config: &Config, acceptor: &Acceptor, kept: &KeptDelivery) -> Result<Result<String, String>, Failure> {
    let name = &kept.delivery.endpoint;
    let Some(endpoint) = config.endpoints.iter().find(|endpoint| endpoint.name == *name) else {
        return Ok(Err(format!("the endpoint `{name}` is not configured any more")));
    };
    let Some(keys) = &endpoint.keys else {
        return Ok(Err(format!("the endpoint `{name}` has no secret to verify it with")));
    };
    let headers = headers(&kept.delivery.headers);
    let Ok(method) = Method::from_bytes(kept.delivery.method.as_bytes()) else {
        return Ok(Err("its method is none".to_owned()));
    };
    let received = Received {
        method: &method,
        url: &endpoint.url,
        query: kept.delivery.query.as_deref(),
        headers: &headers,
        body: &kept.delivery.body,
        at: kept.received_at.timestamp_millis(),
    };
    let Ok(verified) = signature::verify(&endpoint.gateway.signature, keys, &received) else {
        let cause = cause(config, endpoint, received).unwrap_or_default();
        return Ok(Err(format!("still does not verify: {cause}")));
    };
    let (labels, origin) = (Labels::of(endpoint), Origin::Refused(kept.id));
    let delivery = plan(config, endpoint, &labels, &verified, Standing::Verified, origin);
    match acceptor.accept(delivery).await {
        Ok(accepted) => {
            let became = accepted.id.map(|id| format!(" as {id}")).unwrap_or_default();
            Ok(Ok(format!("{}{became}", accepted.status.as_str())))
        }
        Err(AcceptError::Replayed) => Ok(Err("it verifies, but its nonce was used for another payload".to_owned())),
        Err(error) => Err(anyhow::Error::new(error).context(format!("storing {}", kept.id)).into()),
    }
}

fn headers(kept: &[(String, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in kept {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}
