//! The webhooks that are told of changes of consent: whether they take what they are told.
//!
//! It asks the database only: a made-up change must not reach whoever acts on changes.

use super::report::{Check, Report};
use super::storage::{failure, span};
use crate::cli::output;
use crate::store::{NoticesLeft, Store};

/// What waits for longer than this, in seconds, is not simply on its way.
const OVERDUE: i64 = 60;

pub(super) async fn check(store: &Store, report: &mut Report) {
    match store.notices_left().await {
        Err(error) => report.add(failure("webhooks", &error)),
        Ok(webhooks) => webhooks.iter().for_each(|webhook| of_one(webhook, report)),
    }
}

fn of_one(left: &NoticesLeft, report: &mut Report) {
    let what = format!("webhook {}", left.webhook);
    if left.given_up > 0 {
        let detail = format!("{} given up within 30 days", changes(left.given_up));
        report.add(Check::warning(
            &what,
            detail,
            "whoever relies on it may go on texting those people: v1.notices has the reasons; give it the whole list again \
             (`smshook opt-outs export`)",
        ));
    }
    if left.waiting == 0 {
        if left.given_up == 0 {
            report.add(Check::ok(&what, "it has taken everything it was told"));
        }
        return;
    }
    let detail = format!(
        "{} to be told, the oldest for {}",
        changes(left.waiting),
        span(left.oldest_seconds)
    );
    report.add(match &left.error {
        Some(error) => Check::warning(
            &what,
            format!("{detail}: {}", output::one_line(error, 500)),
            "mend it: until then whoever relies on it may text people who have opted out; each is told again by itself, for \
             three days",
        ),
        None if left.oldest_seconds > OVERDUE => Check::warning(&what, detail, "is `smshook serve` running?"),
        None => Check::ok(&what, detail),
    });
}

fn changes(number: i64) -> String {
    if number == 1 {
        "1 change of consent".to_owned()
    } else {
        format!("{number} changes of consent")
    }
}
