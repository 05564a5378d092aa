//! The database: that it is there, fits this binary, may be written, keeps the same time, and what waits in it for a person.

use chrono::Utc;

use super::clock::Reading;
use super::notices;
use super::report::{Check, Report};
use crate::app::Database;
use crate::cli::output;
use crate::config::Config;
use crate::store::{JobCount, PausedAction, SchemaFacts, Store, StoreError};

/// A job that is due for longer than this, in seconds, is not being worked on.
const OVERDUE: i64 = 60;

/// Looks at everything in it. The open database is to be closed by the caller.
pub(super) async fn check(config: &Config, report: &mut Report) -> Option<Database> {
    let database = match Database::open_beside(config).await {
        Ok(database) => database,
        Err(error) => {
            let advice = match config.database.url {
                Some(_) => UNREACHABLE,
                None => {
                    "start the service (`smshook serve`), which makes and runs it; its log says what keeps it from that"
                }
            };
            report.add(Check::failed("database", format!("{error:#}"), advice));
            return None;
        }
    };
    let asked = Utc::now();
    match database.store.server_facts().await {
        Err(error) => report.add(failure("database", &error)),
        Ok(facts) => {
            report.add(server(config, &database, &facts.version, facts.read_only));
            report.add(Reading::new(asked, Utc::now(), facts.now).check("the database"));
            contents(&database.store, report).await;
        }
    }
    Some(database)
}

const UNREACHABLE: &str = "is the database running, and is `database.url` (or DATABASE_URL) right?";

fn server(config: &Config, database: &Database, version: &str, read_only: bool) -> Check {
    let whose = match (&config.database.url, &database.embedded) {
        (Some(_), _) => "at the configured URL",
        (None, None) => "embedded, in use by a running service",
        (None, Some(_)) => "embedded, started for this look: no service is using it",
    };
    let detail = format!("PostgreSQL {version}, {whose}");
    if read_only {
        return Check::failed(
            "database",
            format!("{detail}; it takes no writes"),
            "connect to the primary, or turn `default_transaction_read_only` off",
        );
    }
    Check::ok("database", detail)
}

/// What is in it; without tables there is nothing more to ask.
async fn contents(store: &Store, report: &mut Report) {
    let facts = match store.schema_facts().await {
        Ok(facts) => facts,
        Err(error) => return report.add(failure("migrations", &error)),
    };
    report.add(migrations(&facts));
    match store.closed_tables().await {
        Err(error) => report.add(failure("permissions", &error)),
        Ok(closed) => report.add(permissions(&closed)),
    }
    if facts.pending.is_empty() {
        queue(store, report).await;
        notices::check(store, report).await;
    }
}

fn migrations(facts: &SchemaFacts) -> Check {
    let list = |versions: &[i64]| {
        let versions: Vec<String> = versions.iter().map(i64::to_string).collect();
        versions.join(", ")
    };
    if !facts.broken.is_empty() {
        return Check::failed(
            "migrations",
            format!("not applied as this binary has them: {}", list(&facts.broken)),
            "restore the database from a backup, or ask for help: this does not happen by itself",
        );
    }
    if !facts.unknown.is_empty() {
        return Check::failed(
            "migrations",
            format!("the database is ahead of this binary: it has {}", list(&facts.unknown)),
            "run the newer smshook that made them; an older one must not work on its tables",
        );
    }
    if !facts.pending.is_empty() {
        return Check::failed(
            "migrations",
            format!("the database is behind this binary: it lacks {}", list(&facts.pending)),
            "run `smshook migrate`, or start `smshook serve` again, which does so by itself",
        );
    }
    Check::ok("migrations", "up to date")
}

fn permissions(closed: &[String]) -> Check {
    if closed.is_empty() {
        return Check::ok("permissions", "every table may be read and written");
    }
    Check::failed(
        "permissions",
        format!(
            "this account may not read and write smshook.{}",
            closed.join(", smshook.")
        ),
        "use the account that owns the tables, or GRANT it SELECT, INSERT and UPDATE on all of schema smshook",
    )
}

async fn queue(store: &Store, report: &mut Report) {
    let paused = match store.paused_actions().await {
        Ok(paused) => paused,
        Err(error) => {
            report.add(failure("queue", &error));
            Vec::new()
        }
    };
    for action in &paused {
        report.add(waiting_for_credentials(action));
    }
    match store.discarded_jobs().await {
        Err(error) => report.add(failure("queue", &error)),
        Ok(discarded) => discarded.iter().for_each(|jobs| report.add(waiting_for_a_person(jobs))),
    }
    match store.due_jobs().await {
        Err(error) => report.add(failure("queue", &error)),
        Ok(due) => report.add(oldest(&due, &paused)),
    }
    match store.loops_held().await {
        Err(error) => report.add(failure("loop guard", &error)),
        Ok(held) => report.add(loop_guard(held)),
    }
    match store.quarantine_size().await {
        Err(error) => report.add(failure("quarantine", &error)),
        Ok(0) => report.add(Check::ok("quarantine", "empty")),
        Ok(entries) => report.add(Check::warning(
            "quarantine",
            format!(
                "{} verified but could not be read",
                count(entries, "delivery", "deliveries")
            ),
            "the view v1.quarantine says why; after mending the gateway's file, `smshook messages replay` reads them again",
        )),
    }
}

/// Held back is not broken: but somebody may wait for an answer, or a rule answers a machine.
fn loop_guard(held: i64) -> Check {
    if held == 0 {
        return Check::ok("loop guard", "holds nothing back");
    }
    Check::warning(
        "loop guard",
        format!("holds replies back in {}", count(held, "conversation", "conversations")),
        "v1.loop_guard shows which, why, and when it lets go by itself; if they are people, raise the limits in [loop_guard]; \
         if a machine answers us, narrow the rule that answers it",
    )
}

fn waiting_for_a_person(jobs: &JobCount) -> Check {
    let JobCount { action, jobs, seconds } = jobs;
    Check::warning(
        format!("queue {action}"),
        format!(
            "{} for a person, the oldest for {}",
            if *jobs == 1 {
                "1 job waits".to_owned()
            } else {
                format!("{jobs} jobs wait")
            },
            span(*seconds)
        ),
        format!(
            "`smshook jobs list --state discarded --action {action}` shows why; `smshook jobs retry` runs them again"
        ),
    )
}

fn waiting_for_credentials(paused: &PausedAction) -> Check {
    let PausedAction {
        action,
        reason,
        paused_at,
        ..
    } = paused;
    Check::warning(
        format!("queue {action}"),
        format!(
            "paused since {}: {}",
            output::stamp(*paused_at),
            output::one_line(reason, 500)
        ),
        format!(
            "give it working credentials and start the service again, or mend the account; `smshook jobs resume {action}` \
             tries at once"
        ),
    )
}

/// The job that is due for longest. Those of a paused action are not meant to run.
fn oldest(due: &[JobCount], paused: &[PausedAction]) -> Check {
    let is_paused = |jobs: &JobCount| paused.iter().any(|paused| paused.action == jobs.action);
    let meant = due.iter().filter(|jobs| !is_paused(jobs));
    match meant.max_by_key(|jobs| jobs.seconds) {
        Some(jobs) if jobs.seconds > OVERDUE => Check::warning(
            "queue",
            format!("a job of `{}` is due for {}", jobs.action, span(jobs.seconds)),
            "is `smshook serve` running? If so, the action is slower than texts come in: raise its `concurrency`",
        ),
        Some(jobs) => Check::ok(
            "queue",
            format!("the oldest job that is due is so for {}", span(jobs.seconds)),
        ),
        None => Check::ok("queue", "nothing is due"),
    }
}

pub(super) fn failure(what: &str, error: &StoreError) -> Check {
    let advice = match error {
        StoreError::Unavailable(_) => UNREACHABLE,
        _ => "`smshook migrate` brings the tables up to date; else the database's log says more",
    };
    Check::failed(what, error.to_string(), advice)
}

fn count(number: i64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Seconds in the largest unit that they fill.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
