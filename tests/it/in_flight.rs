//! A STOP that is committed while a reply is on its way: what had not been written is not written, and the one confirmation
//! stays one, whatever is killed or frozen in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::helpers::{self, Certificate, Heard, Process, Wire, eventually, sms, smshook};
use crate::testkit::TestDatabase;

const CONFIRMATION: &str = "You have been unsubscribed";
const QUEUED: &str = "the sender opted out while this was queued";
const AT_THE_GATE: &str = "the sender has opted out";
const AT_THE_LAST_LOOK: &str = "the sender opted out while this was about to be sent";

/// What every text is answered with.
const ANSWER: &str = r#"
[action.answer]
reply = { text = "You wrote: {{ text }}" }
retry_base = "10ms"
concurrency = 64
[[rule]]
name = "everything"
any = true
actions = ["answer"]
"#;

/// The real binary with its database; further processes may join.
struct Site {
    database: TestDatabase,
    directory: tempfile::TempDir,
    config: PathBuf,
    authority: Option<PathBuf>,
}

impl Site {
    async fn new(endpoints: &[String], certificate: Option<&Certificate>) -> Self {
        let (database, directory) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        let toml = format!("[worker]\npoll = \"50ms\"\n{}{ANSWER}", endpoints.concat());
        let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
        let authority = certificate.map(|certificate| {
            let file = directory.path().join("authority.pem");
            std::fs::write(&file, &certificate.pem).unwrap();
            file
        });
        Self {
            database,
            directory,
            config,
            authority,
        }
    }

    async fn process(&self) -> Process {
        let mut command = smshook(&["--config", self.config.to_str().unwrap(), "serve"]);
        command.env("SMSHOOK_LOG", "json");
        if let Some(authority) = &self.authority {
            command.env("SSL_CERT_FILE", authority);
        }
        Process::of(command, self.directory.path()).await
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// How a sender's reply ended: its job's state and reason.
    async fn reply_to(&self, from: &str) -> (String, String) {
        sqlx::query_as(
            "SELECT j.state, coalesce(j.reason, '') FROM v1.jobs j JOIN v1.messages m ON m.id = j.message_id
             WHERE m.sender = $1 AND j.action = 'answer'",
        )
        .bind(format!("+{from}"))
        .fetch_one(self.pool())
        .await
        .unwrap()
    }

    /// Waits until no job of this sender is left that could still run.
    async fn ended(&self, from: &str) {
        eventually("the sender's jobs end", async || {
            let running: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM v1.jobs j JOIN v1.messages m ON m.id = j.message_id
                 WHERE m.sender = $1 AND j.state IN ('waiting', 'available', 'running')",
            )
            .bind(format!("+{from}"))
            .fetch_one(self.pool())
            .await
            .unwrap();
            running == 0
        })
        .await;
    }
}

/// Delivers one text; the moment at which its answer was read.
async fn text(process: &Process, endpoint: &str, from: &str, text: &str) -> Instant {
    let body = sms(from, text).to_string();
    let answer = helpers::deliver(process.address, &format!("/hooks/{endpoint}"), body.as_bytes()).await;
    let acknowledged = Instant::now();
    assert_eq!(answer.status, 200, "{answer:?}");
    acknowledged
}

fn measured(what: &str) {
    eprintln!("measured: {what}");
}

fn is_confirmation(heard: &Heard) -> bool {
    heard.text.starts_with(CONFIRMATION)
}

/// How the STOP of a round meets its reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Meeting {
    /// Some time after the text: the reply may be queued, claimed, past the gate, connected or sent.
    AtAnyTime,
    /// Committed while the reply's connection is being made.
    WhileItConnects,
    /// Delivered at about the moment at which the connection stands.
    AsItConnects,
}

/// One gateway whose rounds come one after the other, each with a sender of its own.
struct Track {
    site: Arc<Site>,
    process: Arc<Process>,
    endpoint: String,
    wire: Wire,
    is_tls: bool,
}

/// Spreads rounds evenly over `[0, 1)`, in whichever order they come.
fn spread(round: u32) -> f64 {
    (f64::from(round) * 0.618_033_988_749_895).fract()
}

async fn pause(share: f64, most: Duration) {
    tokio::time::sleep(most.mul_f64(share)).await;
}

impl Track {
    fn meeting(&self, round: u32) -> Meeting {
        match round % 4 {
            _ if !self.is_tls => Meeting::AtAnyTime,
            0 => Meeting::AtAnyTime,
            1 => Meeting::WhileItConnects,
            _ => Meeting::AsItConnects,
        }
    }

    /// Delivers STOP and looks what had come when it was acknowledged.
    async fn stop(&self, from: &str) -> Instant {
        let acknowledged = text(&self.process, &self.endpoint, from, "STOP").await;
        self.wire.look();
        acknowledged
    }

    /// A text, its reply on the way, and a STOP; how far the reply got.
    async fn round(&self, round: u32, usual: &mut Duration) -> (Meeting, String) {
        let from = sender(round);
        let (meeting, share) = (self.meeting(round), spread(round));
        self.wire.set_open(meeting == Meeting::AtAnyTime);
        let before = self.wire.connections();
        let began = text(&self.process, &self.endpoint, &from, "hello").await;
        if meeting != Meeting::AtAnyTime {
            eventually("the reply connects", async || self.wire.connections() > before).await;
        }
        let acknowledged = match meeting {
            Meeting::AtAnyTime => {
                pause(share, *usual * 2).await;
                self.stop(&from).await
            }
            Meeting::WhileItConnects => {
                let acknowledged = self.stop(&from).await;
                self.wire.set_open(true);
                acknowledged
            }
            Meeting::AsItConnects => {
                let opening = async {
                    pause(share, *usual).await;
                    self.wire.set_open(true);
                };
                tokio::join!(self.stop(&from), opening).0
            }
        };
        self.site.ended(&from).await;
        let (state, reason) = self.site.reply_to(&from).await;
        let heard = self.wire.heard();
        let of_round: Vec<&Heard> = heard.iter().filter(|heard| heard.to == format!("+{from}")).collect();
        let (confirmations, replies): (Vec<&Heard>, Vec<&Heard>) =
            of_round.iter().partition(|heard| is_confirmation(heard));
        assert_eq!(confirmations.len(), 1, "round {round}: {of_round:?}");
        assert_eq!(
            replies.len(),
            usize::from(state == "done"),
            "round {round}: {state}, {reason}"
        );
        for reply in replies {
            let late = reply.silent_at.checked_duration_since(acknowledged);
            assert_eq!(
                late, None,
                "round {round}: the reply came after the STOP was acknowledged, {meeting:?}"
            );
            *usual = usual.mul_f64(0.9) + reply.silent_at.saturating_duration_since(began).mul_f64(0.1);
        }
        (meeting, if state == "done" { state } else { reason })
    }
}

fn sender(round: u32) -> String {
    format!("1555123{round:04}")
}

#[tokio::test]
async fn no_text_is_written_after_its_stop_is_acknowledged_but_the_one_confirmation() {
    const TRACKS: u32 = 10;
    const ROUNDS_EACH: u32 = 100;
    let certificate = Certificate::new();
    let wires: Vec<(Wire, bool)> = (0..TRACKS)
        .map(|track| match track % 5 {
            4 => (Wire::plain(), false),
            _ => (Wire::tls(&certificate), true),
        })
        .collect();
    let endpoints: Vec<String> = (0..)
        .zip(&wires)
        .map(|(n, (wire, _))| wire.endpoint(&format!("e{n}")))
        .collect();
    let site = Arc::new(Site::new(&endpoints, Some(&certificate)).await);
    let process = Arc::new(site.process().await);
    let began = Instant::now();
    let together = tokio::task::LocalSet::new();
    let tracks: Vec<_> = (0..)
        .zip(wires)
        .map(|(n, (wire, is_tls))| {
            let track = Track {
                site: Arc::clone(&site),
                process: Arc::clone(&process),
                endpoint: format!("e{n}"),
                wire,
                is_tls,
            };
            together.spawn_local(async move {
                let mut ends = Vec::new();
                let mut usual = Duration::from_millis(20);
                for round in n * ROUNDS_EACH..(n + 1) * ROUNDS_EACH {
                    ends.push(track.round(round, &mut usual).await);
                }
                ends
            })
        })
        .collect();
    let mut ends: BTreeMap<(Meeting, String), u32> = BTreeMap::new();
    together.await;
    for track in tracks {
        for end in track.await.unwrap() {
            *ends.entry(end).or_default() += 1;
        }
    }
    measured(&format!(
        "{TRACKS}·{ROUNDS_EACH} rounds in {:?}: {ends:#?}",
        began.elapsed()
    ));
    let of = |meeting, end: &str| ends.get(&(meeting, end.to_owned())).copied().unwrap_or_default();
    let all = |meeting| {
        ends.iter()
            .filter(|((met, _), _)| *met == meeting)
            .map(|(_, n)| n)
            .sum::<u32>()
    };
    // the races were run, not missed
    assert_eq!(
        of(Meeting::WhileItConnects, AT_THE_LAST_LOOK),
        all(Meeting::WhileItConnects)
    );
    assert!(of(Meeting::AsItConnects, AT_THE_LAST_LOOK) > 0 && of(Meeting::AsItConnects, "done") > 0);
    let known: BTreeSet<&str> = ["done", QUEUED, AT_THE_GATE, AT_THE_LAST_LOOK].into();
    assert!(ends.keys().all(|(_, end)| known.contains(end.as_str())), "{ends:?}");
    // what was withheld is nobody's reply
    let replies = "SELECT count(*) FROM v1.replies WHERE action = 'answer' AND job_state <> 'done'";
    assert_eq!(helpers::count(site.pool(), replies).await, 0);
    let confirmed = "SELECT count(*) FROM v1.consent_events WHERE event = 'confirmed'";
    assert_eq!(
        helpers::count(site.pool(), confirmed).await,
        i64::from(TRACKS * ROUNDS_EACH)
    );
}
