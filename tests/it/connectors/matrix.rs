//! Every fault at every position of a connector's requests, a thousand texts under random ones, and kills between the change
//! and its answer: in the end everything is there once and in order.
//!
//! One service serves all cases at once, each with a sender of its own. It must not know any vendor.

use std::fmt::Write as _;
use std::time::Instant;

use sqlx::PgPool;

use super::vendor::{Census, Chance, Exchange, Fault, StandIn, Vendor, person};
use crate::helpers::{self, App, Process};
use crate::testkit::TestDatabase;

/// What is right about a sender's notes in the end, by the action's choice about unclear ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notes {
    /// Each text once and in order: operations that are keyed, unique or reconcilable.
    Once,
    /// Each text at least once, and at most once more per unclear end: at most once with `on_unknown = "resend"`.
    Resent,
    /// No text twice; one may be missing per unclear end, and its job is discarded: with `skip` or `hold`.
    Skipped,
}

/// A connector and its stand-in.
pub(crate) struct Setup<V> {
    /// A fresh system.
    pub(crate) vendor: fn() -> V,
    /// The keys of `connector = { … }` for a system at this URL, such as `use = "zendesk", base_url = "…", token = "x"`.
    /// What every case needs (`allow_http`, `allow_private`, `settle`, `rate`) is added.
    pub(crate) keys: fn(url: &str) -> String,
    pub(crate) faults: Vec<Fault>,
    /// What there is of each sender in the end.
    pub(crate) contacts: usize,
    pub(crate) tickets: usize,
    pub(crate) notes: Notes,
}

/// The service's configuration with one connector action named `file` for every text; `timeout` is that of one attempt.
pub(crate) fn configuration(keys: &str, timeout: &str) -> String {
    format!(
        r#"
        # a busy machine is no gateway: it waits for its turn
        [server]
        listen = "127.0.0.1:0"
        accept_deadline = "30s"
        [worker]
        poll = "50ms"
        [action.file]
        connector = {{ {keys}, {COMMON} }}
        timeout = "{timeout}"
        retry_base = "20ms"
        retry_cap = "100ms"
        max_attempts = 1000
        concurrency = 32
        [[rule]]
        name = "everything"
        any = true
        actions = ["file"]
        "#
    )
}

/// What every connector of these tests has among its keys.
pub(crate) const COMMON: &str =
    r#"allow_http = true, allow_private = ["127.0.0.0/8"], settle = "20ms", rate = { requests = 100000, per = "1s" }"#;

/// The longest an attempt waits for an answer, where nothing is killed. A busy machine must not make unclear ends of its own:
/// they are survived, but nobody counts them.
const TIMEOUT: &str = "1500ms";

/// The same where an end that no fault has made unclear would count: a busy machine must not make one.
const PATIENT: &str = "4s";

impl Notes {
    const fn timeout(self) -> &'static str {
        match self {
            Self::Once => TIMEOUT,
            Self::Resent | Self::Skipped => PATIENT,
        }
    }
}

/// The texts of a case.
const TEXTS: [&str; 2] = ["first", "second: <b>&amp; \"quoted\"\nnext line"];

/// Every attempt at a sender's jobs, for the report of what went wrong.
async fn attempts_of(pool: &PgPool, sender: &str) -> String {
    let attempts: Vec<(i64, i32, String, Option<String>, f64)> = sqlx::query_as(
        "SELECT a.job_id, a.claim, a.outcome, a.error, extract(epoch FROM a.finished_at - a.started_at)::float8 \
         FROM smshook.attempts a JOIN v1.jobs j ON j.id = a.job_id JOIN v1.messages m ON m.id = j.message_id \
         WHERE m.sender = $1 ORDER BY a.started_at",
    )
    .bind(sender)
    .fetch_all(pool)
    .await
    .unwrap();
    let lines = attempts.into_iter().map(|(job, claim, outcome, error, took)| {
        format!(
            "\n      job {job}, claim {claim}: {outcome} after {took:.2} s, {}",
            error.unwrap_or_default()
        )
    });
    lines.collect()
}

/// State and reason of a sender's jobs, in order.
async fn jobs_of(pool: &PgPool, sender: &str) -> Vec<(String, Option<String>)> {
    sqlx::query_as(
        "SELECT j.state, j.reason FROM v1.jobs j JOIN v1.messages m ON m.id = j.message_id WHERE m.sender = $1 ORDER BY j.id",
    )
    .bind(sender)
    .fetch_all(pool)
    .await
    .unwrap()
}

/// A service with one connector action over a stand-in, for a case of a vendor's own.
pub(crate) struct Bench<V> {
    pub(crate) stand: StandIn<V>,
    pub(crate) app: App,
}

/// Starts one; `more` are further keys of the connector, on one line, or nothing.
pub(crate) async fn bench<V: Vendor>(setup: &Setup<V>, more: &str) -> Bench<V> {
    let stand = StandIn::start((setup.vendor)()).await;
    let mut keys = (setup.keys)(&stand.url());
    if !more.is_empty() {
        write!(keys, ", {more}").unwrap();
    }
    let app = App::start(&configuration(&keys, setup.notes.timeout())).await;
    Bench { stand, app }
}

impl<V: Vendor> Bench<V> {
    /// Sends a text and waits until its job has ended, however it did.
    pub(crate) async fn text(&self, sender: &str, text: &str) {
        send(&self.app, sender, text).await;
        self.app.all_jobs_ended().await;
    }

    /// State and reason of the sender's jobs, in order.
    pub(crate) async fn jobs(&self, sender: &str) -> Vec<(String, Option<String>)> {
        jobs_of(self.app.pool(), sender).await
    }
}

pub(crate) async fn send(app: &App, sender: &str, text: &str) {
    assert_eq!(app.text(sender.trim_start_matches('+'), text).await.status, 200);
}

/// What is wrong about a sender in the end, if anything.
fn complaint<V: Vendor>(
    setup: &Setup<V>,
    stand: &StandIn<V>,
    sender: &str,
    texts: &[String],
    jobs: &[(String, Option<String>)],
) -> Option<String> {
    let census = stand.census(sender);
    let exchanges = stand.exchanges_of(sender);
    let unclear = exchanges.iter().filter(|one| is_unclear(stand, one)).count();
    let wrong = wrong_notes(setup.notes, &census, texts, unclear)
        .or_else(|| wrong_jobs(setup.notes, texts.len(), jobs, unclear))
        .or_else(|| (census.contacts != setup.contacts).then(|| format!("{} contacts", census.contacts)))
        .or_else(|| (census.tickets != setup.tickets).then(|| format!("{} tickets", census.tickets)))?;
    let mut report = format!("{wrong}; {census:?}; jobs {jobs:?}; asked:");
    for exchange in exchanges {
        let status = exchange.answer.as_ref().map(|answer| answer.status);
        write!(
            report,
            "\n      {} {:?} {status:?}",
            exchange.operation(),
            exchange.fault
        )
        .unwrap();
    }
    Some(report)
}

/// Whether a change ended so that nobody can know whether it was made.
fn is_unclear<V: Vendor>(stand: &StandIn<V>, exchange: &Exchange) -> bool {
    exchange.fault.is_some_and(Fault::is_unclear) && stand.with(|vendor| vendor.changes(&exchange.asked))
}

fn wrong_notes(notes: Notes, census: &Census, texts: &[String], unclear: usize) -> Option<String> {
    let count = |text: &String| census.notes.iter().filter(|note| *note == text).count();
    let counts: Vec<usize> = texts.iter().map(count).collect();
    let extra = census.notes.len() - counts.iter().map(|&found| found.min(1)).sum::<usize>();
    match notes {
        Notes::Once if census.notes != texts => Some(format!("each text once and in order expected, {counts:?} found")),
        Notes::Resent if counts.contains(&0) => Some(format!("a text is missing: {counts:?}")),
        Notes::Resent if extra > unclear => {
            Some(format!("{extra} texts more, after {unclear} unclear ends: {counts:?}"))
        }
        Notes::Skipped if extra > 0 => Some(format!("a text twice: {counts:?}")),
        Notes::Skipped if counts.iter().filter(|&&found| found == 0).count() > unclear => Some(format!(
            "more texts missing than the {unclear} unclear ends: {counts:?}"
        )),
        _ => None,
    }
}

fn wrong_jobs(notes: Notes, texts: usize, jobs: &[(String, Option<String>)], unclear: usize) -> Option<String> {
    let done = jobs.iter().filter(|(state, _)| state == "done").count();
    let may_miss = if notes == Notes::Skipped { unclear } else { 0 };
    (jobs.len() != texts || done + may_miss < texts).then(|| format!("{done} of {texts} jobs done"))
}

/// Waits for the end of a sender's jobs: the patience of `eventually` is for one sender, not for all of a long run.
async fn ended(pool: &PgPool, sender: &str, texts: usize) {
    helpers::eventually("every job of a sender ends", async || {
        let jobs = jobs_of(pool, sender).await;
        let ended = |state: &str| matches!(state, "done" | "discarded" | "cancelled");
        jobs.len() == texts && jobs.iter().all(|(state, _)| ended(state))
    })
    .await;
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// One clean run to learn the positions, then every fault at each of them, two texts each. Returns the stand-in, whose
/// exchanges are the material of `contract::check`.
pub(crate) async fn every_fault_at_every_position<V: Vendor>(setup: &Setup<V>) -> StandIn<V> {
    let begun = Instant::now();
    let stand = StandIn::start((setup.vendor)()).await;
    let app = App::start(&configuration(&(setup.keys)(&stand.url()), setup.notes.timeout())).await;
    let positions = clean_run(setup, &stand, &app).await;
    let mut cases = Vec::new();
    for case in cases_of(setup, &stand, &positions) {
        let sender = person(cases.len() + 1);
        for (next, fault) in case.faults.iter().enumerate() {
            stand.fail(&sender, case.at + next, *fault);
        }
        for text in TEXTS {
            send(&app, &sender, text).await;
        }
        cases.push((sender, case));
    }
    let mut failed = String::new();
    for (sender, case) in &cases {
        ended(app.pool(), sender, TEXTS.len()).await;
        let happened = stand.faults_of(sender);
        // the second of a pair finds nobody where nothing was asked any more
        let complaint = if happened == case.faults || (case.faults.len() > 1 && happened == case.faults[..1]) {
            let jobs = jobs_of(app.pool(), sender).await;
            complaint(setup, &stand, sender, &owned(&TEXTS), &jobs)
        } else {
            Some(format!("these faults happened: {happened:?}"))
        };
        if let Some(complaint) = complaint {
            let operation = positions[case.at].operation();
            let attempts = attempts_of(app.pool(), sender).await;
            writeln!(failed, "  {operation}, {:?}: {complaint}{attempts}", case.faults).unwrap();
        }
    }
    super::report(&format!(
        "{} cases at {} positions in {:.1} s",
        cases.len(),
        positions.len(),
        begun.elapsed().as_secs_f32()
    ));
    assert!(failed.is_empty(), "after these faults:\n{failed}");
    stand
}

/// Faults of consecutive requests, the first at this position.
struct Case {
    at: usize,
    faults: Vec<Fault>,
}

/// Every fault at every position; and where something is changed, what makes its end unclear followed by a second one on
/// whatever is asked next: that must not make the client forget that it does not know.
fn cases_of<V: Vendor>(setup: &Setup<V>, stand: &StandIn<V>, positions: &[Exchange]) -> Vec<Case> {
    const FIRST: [Fault; 2] = [Fault::ResetAfter, Fault::HangBefore];
    const SECOND: [Fault; 5] = [
        Fault::Busy503,
        Fault::TooMany429,
        Fault::Error500Before,
        Fault::ResetAfter,
        Fault::Expired401,
    ];
    let mut cases = Vec::new();
    for (at, exchange) in positions.iter().enumerate() {
        cases.extend(setup.faults.iter().map(|&fault| Case {
            at,
            faults: vec![fault],
        }));
        let changes = stand.with(|vendor| vendor.changes(&exchange.asked));
        for first in FIRST.into_iter().filter(|_| changes) {
            let second = SECOND.into_iter().filter(|second| setup.faults.contains(second));
            cases.extend(second.map(|second| Case {
                at,
                faults: vec![first, second],
            }));
        }
    }
    cases
}

/// What two texts of a sender ask for where nothing goes wrong.
async fn clean_run<V: Vendor>(setup: &Setup<V>, stand: &StandIn<V>, app: &App) -> Vec<Exchange> {
    let sender = person(0);
    for text in TEXTS {
        send(app, &sender, text).await;
        app.all_jobs_ended().await;
    }
    let wrong = complaint(
        setup,
        stand,
        &sender,
        &owned(&TEXTS),
        &jobs_of(app.pool(), &sender).await,
    );
    assert_eq!(wrong, None, "without any fault");
    let positions = stand.exchanges_of(&sender);
    assert!(positions.len() >= TEXTS.len(), "{positions:?}");
    positions
}

/// So many texts of so many senders, faults falling by chance: none missing, none twice, each sender's in order.
pub(crate) async fn texts_under_random_faults<V: Vendor>(
    setup: &Setup<V>,
    senders: usize,
    texts_each: usize,
    seed: u64,
) -> StandIn<V> {
    let begun = Instant::now();
    let stand = StandIn::start((setup.vendor)()).await;
    // waits of a whole second would be most of the test
    let mut faults = setup.faults.clone();
    faults.retain(|fault| !matches!(fault, Fault::TooMany429 | Fault::TooMany429Date));
    stand.fail_by_chance(Some(Chance {
        seed,
        per_mille: 100,
        most_per_sender: texts_each,
        faults,
    }));
    let app = App::start(&configuration(&(setup.keys)(&stand.url()), setup.notes.timeout())).await;
    let texts: Vec<String> = (0..texts_each)
        .map(|nth| format!("text {nth} of {texts_each}"))
        .collect();
    for text in &texts {
        for nth in 0..senders {
            send(&app, &person(nth), text).await;
        }
    }
    let (mut failed, mut happened) = (String::new(), 0);
    for nth in 0..senders {
        let sender = person(nth);
        ended(app.pool(), &sender, texts_each).await;
        happened += stand.faults_of(&sender).len();
        if let Some(wrong) = complaint(setup, &stand, &sender, &texts, &jobs_of(app.pool(), &sender).await) {
            let attempts = attempts_of(app.pool(), &sender).await;
            writeln!(failed, "  {sender}: {wrong}{attempts}").unwrap();
        }
    }
    super::report(&format!(
        "{} texts of {senders} senders, {happened} faults (seed {seed}) in {:.1} s",
        senders * texts_each,
        begun.elapsed().as_secs_f32()
    ));
    assert!(happened * 20 > senders * texts_each, "only {happened} faults fell");
    assert!(failed.is_empty(), "seed {seed}:\n{failed}");
    stand
}

/// The real binary, killed while each of its requests has been done but not answered (and while it has not been done);
/// started again, it goes on where the other side stands.
pub(crate) async fn killed_at_every_position<V: Vendor>(setup: &Setup<V>) -> StandIn<V> {
    let stand = StandIn::start((setup.vendor)()).await;
    let keys = (setup.keys)(&stand.url());
    let positions = {
        let app = App::start(&configuration(&keys, setup.notes.timeout())).await;
        clean_run(setup, &stand, &app).await
    };
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    // long enough that nothing ends by itself before the kill, short enough to be waited for as a lease afterwards
    let toml = configuration(&keys, "4s");
    let config = helpers::write_configuration(directory.path(), Some(&database.url()), &toml);
    let mut first = Process::start(&config).await;
    let mut cases = Vec::new();
    for at in 0..positions.len() {
        for fault in [Fault::HangAfter, Fault::HangBefore, Fault::LateCommit] {
            let sender = person(cases.len() + 1);
            stand.fail(&sender, at, fault);
            for text in TEXTS {
                assert_eq!(first.text(&sender[1..], text).await.status, 200);
            }
            cases.push((sender, at, fault));
        }
    }
    stand.failed(cases.len()).await;
    first.kill().await;
    let _second = Process::start(&config).await;
    helpers::jobs_ended(&database.pool).await;
    let mut failed = String::new();
    for (sender, at, fault) in &cases {
        if let Some(wrong) = complaint(
            setup,
            &stand,
            sender,
            &owned(&TEXTS),
            &jobs_of(&database.pool, sender).await,
        ) {
            let attempts = attempts_of(&database.pool, sender).await;
            let operation = positions[*at].operation();
            writeln!(failed, "  killed at {operation}, {fault:?}: {wrong}{attempts}").unwrap();
        }
    }
    assert!(failed.is_empty(), "after kills:\n{failed}");
    stand
}
