//! `opt-outs proof`: everything that is recorded about the consent of one number, for whoever has to show it.
//!
//! The report says what the record says: nothing is concluded that is not written there, and what was erased is said to be.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::whom::{self, Scope};
use super::{Database, output};
use crate::cli::database;
use crate::cli::failure::Failure;
use crate::store::{ConsentEventRow, ConsentRecord, OptOut, SentRow};

/// The whole report.
#[derive(Serialize)]
struct Proof {
    /// The number as it was asked about, in its one spelling.
    number: String,
    made_at: DateTime<Utc>,
    smshook: &'static str,
    /// Whether the person was erased: what is recorded from before is under a keyed hash, without words and notes.
    erased: bool,
    groups: Vec<GroupProof>,
    events: Vec<ConsentEventRow>,
    /// Texts handed to a gateway for the number, as far as they are still kept.
    texts: Vec<SentRow>,
}

/// What holds in one suppression group.
#[derive(Serialize)]
struct GroupProof {
    group: String,
    may_text: bool,
    opt_outs: Vec<OptOutProof>,
}

/// One opt-out from its beginning to its end.
#[derive(Serialize)]
struct OptOutProof {
    id: i64,
    in_force: bool,
    /// When the person asked first, by the provider's clock where it gives one.
    asked_at: DateTime<Utc>,
    /// When it was recorded.
    recorded_at: DateTime<Utc>,
    source: String,
    /// In words: how the person asked.
    how: String,
    confirmation: Confirmation,
    lifted_at: Option<DateTime<Utc>>,
    lifted_by: Option<String>,
    /// Texts handed to a gateway while it was in force.
    texts_after: usize,
    /// Of those: the confirmation.
    confirmations_after: usize,
    /// Of those: answers to HELP, which the law wants given to everybody.
    help_replies_after: usize,
}

/// What became of the one confirmation.
#[derive(Serialize)]
struct Confirmation {
    /// When it is known that the gateway took it.
    confirmed_at: Option<DateTime<Utc>>,
    reference: Option<String>,
    /// Why there is none, or not yet.
    why_not: Option<String>,
}

/// `opt-outs proof`.
pub(super) async fn run(database: &Database, number: &str, scope: &Scope, json: bool) -> Result<(), Failure> {
    let config = &database.config;
    let only = whom::chosen(config, scope)?;
    let groups = only.map_or_else(|| whom::groups(config), |group| vec![group]);
    let address = whom::typed_for(number, &groups)?;
    let mut record = database
        .store
        .consent_record(&address)
        .await
        .map_err(database::failed)?;
    if let Some(group) = only {
        record
            .opt_outs
            .retain(|opt_out| opt_out.suppression_group == group.name);
        record.events.retain(|event| event.suppression_group == group.name);
        record
            .sent
            .retain(|sent| sent.suppression_group.as_deref().is_none_or(|sent| sent == group.name));
    }
    let configured = groups.iter().map(|group| group.name);
    let proof = Proof::of(address.key(), Utc::now(), configured, record);
    if json {
        return output::print_json(&proof);
    }
    output::print(&proof.to_string())
}

impl Proof {
    fn of<'a>(
        number: &str,
        made_at: DateTime<Utc>,
        configured: impl Iterator<Item = &'a str>,
        record: ConsentRecord,
    ) -> Self {
        let mut names: Vec<&str> = configured.collect();
        let recorded: BTreeSet<&str> = record
            .opt_outs
            .iter()
            .map(|opt_out| opt_out.suppression_group.as_str())
            .chain(record.events.iter().map(|event| event.suppression_group.as_str()))
            .collect();
        names.extend(
            recorded
                .iter()
                .copied()
                .filter(|name| !names.contains(name))
                .collect::<Vec<_>>(),
        );
        let groups = names.iter().map(|name| GroupProof::of(name, &record)).collect();
        Self {
            number: number.to_owned(),
            made_at,
            smshook: env!("CARGO_PKG_VERSION"),
            erased: record.events.iter().any(|event| event.erased_at.is_some()),
            groups,
            events: record.events,
            texts: record.sent,
        }
    }
}

impl GroupProof {
    fn of(name: &str, record: &ConsentRecord) -> Self {
        let of_group = record
            .opt_outs
            .iter()
            .filter(|opt_out| opt_out.suppression_group == name);
        let opt_outs: Vec<OptOutProof> = of_group.map(|opt_out| OptOutProof::of(opt_out, record)).collect();
        Self {
            group: name.to_owned(),
            may_text: !opt_outs.iter().any(|opt_out| opt_out.in_force),
            opt_outs,
        }
    }
}

impl OptOutProof {
    fn of(opt_out: &OptOut, record: &ConsentRecord) -> Self {
        let events = || {
            record
                .events
                .iter()
                .filter(|event| event.opt_out_id == Some(opt_out.id))
        };
        let began = events().find(|event| matches!(event.event.as_str(), "opt_out" | "adopted"));
        // The event is written under the number's lock, the opt-out's own time is that at which its transaction began.
        let recorded_at = began.map_or(opt_out.recorded_at, |event| event.recorded_at);
        let is_after = |sent: &&SentRow| {
            sent.started_at > recorded_at
                && opt_out.opted_in_at.is_none_or(|lifted| sent.started_at < lifted)
                && sent
                    .suppression_group
                    .as_ref()
                    .is_none_or(|group| *group == opt_out.suppression_group)
        };
        let after: Vec<&SentRow> = record.sent.iter().filter(is_after).collect();
        let of_kind = |kind: &str| after.iter().filter(|sent| sent.kind == kind).count();
        Self {
            id: opt_out.id,
            in_force: opt_out.opted_in_at.is_none(),
            asked_at: began
                .and_then(|event| event.counts_from)
                .unwrap_or(opt_out.opted_out_at),
            recorded_at,
            source: opt_out.source.clone(),
            how: how(&opt_out.source, began),
            confirmation: Confirmation::of(events(), began),
            lifted_at: opt_out.opted_in_at,
            lifted_by: opt_out.opted_in_source.clone(),
            texts_after: after.len(),
            confirmations_after: after.iter().filter(|sent| sent.opt_out_id == Some(opt_out.id)).count(),
            help_replies_after: of_kind("help_reply"),
        }
    }

    /// `1 (the confirmation)`.
    fn texts(&self) -> String {
        let others = self
            .texts_after
            .saturating_sub(self.confirmations_after)
            .saturating_sub(self.help_replies_after);
        let parts = [
            (self.confirmations_after, "the confirmation"),
            (self.help_replies_after, "in answer to HELP"),
            (others, "OTHERS, listed below"),
        ];
        let kinds: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|&(count, what)| match (count, what) {
                (1, "the confirmation") => what.to_owned(),
                _ => format!("{count} {what}"),
            })
            .collect();
        match kinds.as_slice() {
            // An erasure or the retention of messages has taken them; that it was confirmed is evidence and stays.
            [] if self.confirmation.confirmed_at.is_some() => {
                "not kept any more, but for the confirmation's event".to_owned()
            }
            [] => "0".to_owned(),
            kinds => format!("{} ({})", self.texts_after, kinds.join(", ")),
        }
    }
}

impl Confirmation {
    fn of<'a>(mut events: impl Iterator<Item = &'a ConsentEventRow> + Clone, began: Option<&ConsentEventRow>) -> Self {
        let settled = events
            .clone()
            .find(|event| event.event == "confirmed")
            .or_else(|| events.find(|event| event.event == "unconfirmed"));
        match settled {
            Some(event) => Self {
                confirmed_at: (event.event == "confirmed").then_some(event.recorded_at),
                reference: event.reference.clone(),
                why_not: event.confirmation.clone(),
            },
            None => Self {
                confirmed_at: None,
                reference: None,
                why_not: began.and_then(|event| event.confirmation.clone()).map(|why| {
                    if why == "owed" {
                        "it is owed, and what became of it is not settled yet".to_owned()
                    } else {
                        why
                    }
                }),
            },
        }
    }
}

/// How somebody asked, in words.
fn how(source: &str, event: Option<&ConsentEventRow>) -> String {
    let said = event.and_then(|event| event.words.as_deref().or(event.keyword.as_deref()));
    let note = event.and_then(|event| event.note.as_deref());
    let quoted = |text: Option<&str>| {
        text.map(|text| format!(" “{}”", output::one_line(text, 200)))
            .unwrap_or_default()
    };
    match source {
        "message" => format!("by text message{}", quoted(said)),
        "provider" => format!("as the gateway's provider says{}", quoted(said)),
        "operator" => format!("by another way than a text, recorded by the operator{}", quoted(note)),
        "import" => format!("by a list that the operator imported{}", quoted(note)),
        other => format!("by {other}"),
    }
}

/// To the millisecond: which of two requests came later may hang on it.
fn exact(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Consent of {}", self.number)?;
        let made = exact(self.made_at);
        writeln!(
            f,
            "as recorded by smshook {} until {made}; all times are UTC",
            self.smshook
        )?;
        if self.erased {
            writeln!(
                f,
                "The person was erased: what was recorded before is kept under a keyed hash, without words and notes."
            )?;
        }
        for group in &self.groups {
            writeln!(f, "\n{}", group.sentences())?;
        }
        if !self.events.is_empty() {
            writeln!(f, "\nRecorded, in this order; nothing of it is ever changed:")?;
        }
        for (place, event) in (1..).zip(&self.events) {
            writeln!(f, "\n{place}. {}", heading(event))?;
            writeln!(f, "{}", output::indented(&output::facts(&details(event)), "   "))?;
        }
        if !self.texts.is_empty() {
            writeln!(
                f,
                "\nTexts handed to a gateway for this number, as far as they are still kept:\n"
            )?;
            write!(f, "{}", texts(&self.texts))?;
        }
        Ok(())
    }
}

impl GroupProof {
    fn sentences(&self) -> String {
        let mut text = format!("Group `{}`: ", self.group);
        let earlier = match self.opt_outs.as_slice() {
            [] => {
                text.push_str("no opt-out is recorded; may be texted.");
                return text;
            }
            [earlier @ .., last] => {
                text.push_str(&last.sentence());
                earlier
            }
        };
        for opt_out in earlier.iter().rev() {
            push(&mut text, format_args!("\n  Before that: {}", opt_out.sentence()));
        }
        text
    }
}

impl OptOutProof {
    fn sentence(&self) -> String {
        let mut text = match self.lifted_at {
            None => format!("opted out since {} {}", exact(self.asked_at), self.how),
            Some(lifted) => format!(
                "may be texted: opted out at {} {}, lifted at {} by {}",
                exact(self.asked_at),
                self.how,
                exact(lifted),
                match self.lifted_by.as_deref() {
                    Some("message") => "a text message of the person",
                    Some("provider") => "the gateway's provider",
                    Some("operator") => "the operator",
                    _ => "a list",
                }
            ),
        };
        push(&mut text, format_args!("; recorded at {}", exact(self.recorded_at)));
        match (&self.confirmation.confirmed_at, &self.confirmation.why_not) {
            (Some(at), _) => push(&mut text, format_args!("; confirmed at {}", exact(*at))),
            (None, Some(why)) => push(
                &mut text,
                format_args!("; not confirmed: {}", output::one_line(why, 200)),
            ),
            (None, None) => text.push_str("; whether it was confirmed is not recorded"),
        }
        push(
            &mut text,
            format_args!(".\n  Texts handed to a gateway after it: {}.", self.texts()),
        );
        text
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.push_str(&more.to_string());
}

fn heading(event: &ConsentEventRow) -> String {
    let what = match (event.event.as_str(), event.effect.as_deref()) {
        ("opt_out", Some("began")) => "Opt-out: in force from then on",
        ("opt_out", Some("in_force")) => "Opt-out again: it was in force already",
        ("opt_out", _) => "Opt-out without effect: an opt-in was asked for later",
        ("opt_in", Some("lifted")) => "Opt-in: the opt-out was lifted",
        ("opt_in", Some("not_opted_out")) => "Opt-in: nothing was in force",
        ("opt_in", _) => "Opt-in without effect: an opt-out was asked for at the same time or later",
        ("review", _) => "A phrase that may be an opt-out: left to a person to decide",
        ("dismissed", _) => "Decided by the operator: no opt-out",
        ("confirmed", _) => "The opt-out was confirmed: the gateway took the text",
        ("unconfirmed", _) => "The opt-out was not confirmed",
        ("adopted", _) => "Opt-out carried over from the group that all endpoints shared before",
        ("erased", _) => "The person was erased",
        (other, _) => other,
    };
    format!(
        "{}  {what} (group `{}`)",
        exact(event.recorded_at),
        event.suppression_group
    )
}

fn details(event: &ConsentEventRow) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let time = |value: Option<DateTime<Utc>>| value.map(exact).unwrap_or_default();
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let signature = event.verified.map(|verified| {
        if verified {
            "signed as it should be"
        } else {
            "NOT signed as it should be"
        }
    });
    let tier = event.tier.map(|tier| match tier {
        0 => "0: the provider says so",
        1 => "1: the whole text is a keyword",
        2 => "2: keyword and courtesy",
        _ => "3: phrase about the messaging",
    });
    let compared = event.counts_from.filter(|_| event.counts_from != event.asked_at);
    vec![
        ("asked at", time(event.asked_at)),
        ("counts from", time(compared)),
        ("recorded at", exact(event.recorded_at)),
        ("source", text(&event.source)),
        ("words", text(&event.words)),
        ("keyword", text(&event.keyword)),
        ("tier", tier.unwrap_or_default().to_owned()),
        ("rules", text(&event.rules_version)),
        ("language", text(&event.language)),
        ("message", event.message_id.map(|id| id.to_string()).unwrap_or_default()),
        ("endpoint", text(&event.endpoint)),
        ("texted to", text(&event.recipient)),
        ("delivery", signature.unwrap_or_default().to_owned()),
        ("confirmation", text(&event.confirmation)),
        ("job", number(event.job_id)),
        ("reference", text(&event.reference)),
        ("note", text(&event.note)),
        ("kept under", kept_under(&event.number)),
        ("erased at", time(event.erased_at)),
    ]
}

/// Which spelling the event was recorded under; of a hash, its beginning.
fn kept_under(number: &str) -> String {
    match number.strip_prefix("hmac:") {
        Some(_) => format!("{}…", number.chars().take(13).collect::<String>()),
        None => number.to_owned(),
    }
}

fn texts(texts: &[SentRow]) -> String {
    let row = |sent: &SentRow| {
        [
            exact(sent.started_at),
            sent.suppression_group.clone().unwrap_or_default(),
            match sent.kind.as_str() {
                "action" => output::one_line(&sent.action, 40),
                kind => kind.replace('_', " "),
            },
            sent.job_id.to_string(),
            sent.reference.clone(),
            sent.state.clone().unwrap_or_default(),
        ]
    };
    output::table(
        ["handed over", "group", "what", "job", "reference", "reported"],
        &texts.iter().map(row).collect::<Vec<_>>(),
    )
}
