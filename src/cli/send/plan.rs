//! Which deliveries the flags ask for, in which order, and what should become of each.
//!
//! It must not send anything.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::delivery::{Delivery, Expected};
use super::target::Target;
use super::texts::{self, FICTIONAL_RECIPIENT, FICTIONAL_SENDER, Sms};
use super::{Arguments, Late};
use crate::cli::failure::Failure;

/// How much beyond the tolerance a late delivery is signed: more than clocks are apart.
const BEYOND: Duration = Duration::from_mins(1);

/// Every delivery, in the order in which it goes out.
pub(super) fn deliveries(target: &Target, arguments: &Arguments, now: DateTime<Utc>) -> Result<Vec<Delivery>, Failure> {
    let texts = texts(arguments)?;
    let signed_at = signed_at(target, arguments, now)?;
    let mut deliveries = written(target, &texts, arguments, signed_at)?;
    if arguments.reorder {
        if deliveries.len() < 2 {
            return Err(Failure::usage(
                "there is one delivery, which has no order",
                "give `--text` twice, or a `--file`, or a long text with `--parts`",
            ));
        }
        deliveries.reverse();
    }
    let copies = if arguments.duplicate { 2 } else { arguments.copies };
    Ok(deliveries
        .iter()
        .flat_map(|delivery| (0..copies).map(move |copy| again(delivery, copy, arguments.duplicate)))
        .collect())
}

/// The same delivery once more: byte for byte, as a gateway sends it that missed our answer.
fn again(delivery: &Delivery, copy: u32, must_say_so: bool) -> Delivery {
    let expected = if copy > 0 && must_say_so && delivery.expected != Expected::Refused {
        Expected::Duplicate
    } else {
        delivery.expected
    };
    Delivery {
        outgoing: delivery.outgoing.clone(),
        expected,
    }
}

fn texts(arguments: &Arguments) -> Result<Vec<Sms>, Failure> {
    if let Some(file) = &arguments.file {
        return texts::read(file);
    }
    let text = |text: &String| Sms {
        from: arguments.from.clone().unwrap_or_else(|| FICTIONAL_SENDER.to_owned()),
        to: to(arguments).to_owned(),
        text: text.clone(),
    };
    Ok(arguments.text.iter().map(text).collect())
}

/// The recipient of all texts that do not name theirs.
pub(super) fn to(arguments: &Arguments) -> &str {
    arguments.to.as_deref().unwrap_or(FICTIONAL_RECIPIENT)
}

/// When it is signed: now, or so long ago that it must be refused.
pub(super) fn signed_at(target: &Target, arguments: &Arguments, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    let Some(late) = arguments.late else {
        return Ok(now);
    };
    let Some(tolerance) = target.gateway.signature.good_for() else {
        return Err(Failure::usage(
            format!(
                "the gateway `{}` signs no time that is looked at, so a late delivery is like any other",
                target.gateway.name
            ),
            "leave `--late` out",
        ));
    };
    let ago = match late {
        Late::By(ago) => ago,
        Late::Beyond => tolerance + BEYOND,
    };
    let ago = chrono::Duration::from_std(ago).unwrap_or(chrono::Duration::MAX);
    now.checked_sub_signed(ago)
        .ok_or_else(|| Failure::usage("there is no time so long ago", "give `--late 10m`"))
}

/// What should become of a delivery that nothing else is special about.
pub(super) fn usual(target: &Target, arguments: &Arguments) -> Expected {
    let too_late = match arguments.late {
        Some(Late::By(late)) => target
            .gateway
            .signature
            .good_for()
            .is_some_and(|tolerance| late > tolerance),
        Some(Late::Beyond) => true,
        None => false,
    };
    if (arguments.bad_signature || too_late) && !target.observes {
        Expected::Refused
    } else {
        Expected::Taken
    }
}

/// The texts as deliveries, in the order in which they were written. Each was sent a second after the one before, the last
/// one now: some gateways tell no less.
fn written(target: &Target, texts: &[Sms], arguments: &Arguments, at: DateTime<Utc>) -> Result<Vec<Delivery>, Failure> {
    let expected = usual(target, arguments);
    let mut deliveries = Vec::new();
    let before = |behind: usize| at - chrono::Duration::seconds(i64::try_from(behind).unwrap_or(i64::MAX));
    for (place, text) in texts.iter().enumerate() {
        let words = text.at(before(texts.len() - 1 - place));
        if arguments.parts {
            let parts = target.parts(&words, at)?;
            deliveries.extend(parts.into_iter().map(|outgoing| Delivery { outgoing, expected }));
        } else if arguments.collide {
            let other = texts::another(text).at(words.sent_at);
            for outgoing in target.with_one_id(&words, &other, at)? {
                let expected = Expected::Stored;
                deliveries.push(Delivery { outgoing, expected });
            }
        } else {
            let outgoing = target.deliver(&words, at)?;
            deliveries.push(Delivery { outgoing, expected });
        }
    }
    Ok(deliveries)
}
