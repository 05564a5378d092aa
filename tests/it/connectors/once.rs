//! One service before one stand-in, one text at a time: what an answer means for its job.

use super::matrix;
use super::vendor::{StandIn, Vendor};
use crate::helpers::{App, eventually};

pub(crate) struct Once<V> {
    pub(crate) app: App,
    pub(crate) stand: StandIn<V>,
}

/// How the first attempt of a text's job ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) state: String,
    pub(crate) reason: String,
    /// Seconds from the attempt's end until the job runs again; 0 if it does not.
    pub(crate) wait: f64,
}

/// State and reason of a job, the error of its last attempt, and the seconds until it runs again.
type Row = (String, Option<String>, Option<String>, Option<f64>);

impl<V: Vendor> Once<V> {
    /// The service with a connector action of these keys for every text.
    pub(crate) async fn start(vendor: V, keys: impl FnOnce(&str) -> String) -> Self {
        let stand = StandIn::start(vendor).await;
        let app = App::start(&matrix::configuration(&keys(&stand.url()), "5s")).await;
        Self { app, stand }
    }

    /// Sends a text and waits until its job has ended; fails unless it was done.
    pub(crate) async fn files(&self, sender: &str, text: &str) {
        let ended = self.ends(sender, text).await;
        assert_eq!(ended.state, "done", "{ended:?}");
    }

    /// Sends a text and waits until its job has ended.
    pub(crate) async fn ends(&self, sender: &str, text: &str) -> Ended {
        self.send(sender, text).await;
        self.app.all_jobs_ended().await;
        self.last(sender).await.unwrap()
    }

    /// Sends a text and waits until its job was attempted once; it may be left for later.
    pub(crate) async fn attempts(&self, sender: &str, text: &str) -> Ended {
        self.send(sender, text).await;
        let mut ended = None;
        eventually("the job was attempted", async || {
            ended = self.last(sender).await;
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }

    async fn send(&self, sender: &str, text: &str) {
        let answer = self.app.text(sender.trim_start_matches('+'), text).await;
        assert_eq!(answer.status, 200);
    }

    async fn last(&self, sender: &str) -> Option<Ended> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT j.state, j.reason, a.error, extract(epoch FROM j.run_at - a.finished_at)::float8 \
             FROM v1.jobs j JOIN v1.attempts a ON a.job_id = j.id JOIN v1.messages m ON m.id = j.message_id \
             WHERE a.finished_at IS NOT NULL AND m.sender = $1 ORDER BY j.id DESC, a.attempt DESC LIMIT 1",
        )
        .bind(sender)
        .fetch_optional(self.app.pool())
        .await
        .unwrap();
        row.map(|(state, reason, error, wait)| Ended {
            state,
            reason: reason.or(error).unwrap_or_default(),
            wait: wait.unwrap_or_default(),
        })
    }

    /// Why the action waits for other credentials, if it does.
    pub(crate) async fn paused(&self) -> Option<String> {
        let reason = sqlx::query_scalar("SELECT reason FROM v1.paused_actions WHERE action = 'file'");
        reason.fetch_optional(self.app.pool()).await.unwrap()
    }
}

/// A text that would be anything but a text in every place that it goes to.
pub(crate) const HOSTILE: &str =
    "<script>alert(1)</script><img src=x onerror=alert(2)> &amp; ' OR Id != '' \\ } {{ knob.token }} \"; -- \nnext";
