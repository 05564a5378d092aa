//! What the person at the phone sees: one event at a time, as lines to read or as JSON.

use serde::Serialize;
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::rules_test::shown;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The phone is on.
    Ready {
        endpoint: String,
        gateway: String,
        from: String,
        /// Whether the endpoint's account for replies is made up.
        pretend_account: bool,
        /// Why the endpoint cannot reply at all.
        #[serde(skip_serializing_if = "Option::is_none")]
        no_replies: Option<String>,
        /// Whether the sender has opted out in an earlier run.
        opted_out: bool,
        /// Actions that only say what they would do.
        rehearsed: Vec<String>,
    },
    /// A text is on its way.
    Text { from: String, to: String, text: String },
    /// What the service answered.
    Answer { status: u16, body: String },
    /// What the text says about consent.
    Consent {
        asks_for: String,
        tier: u8,
        keyword: String,
    },
    /// A rule that was tried.
    Rule {
        rule: String,
        matched: bool,
        looks_for: String,
        why: &'static str,
    },
    /// No rule was for this text.
    NoRule,
    /// An action that was left out.
    LeftOut {
        action: String,
        rule: Option<String>,
        why: &'static str,
    },
    /// An attempt that went wrong.
    Tried {
        action: String,
        attempt: i32,
        outcome: String,
        error: String,
    },
    /// A job that goes on later.
    Waits {
        action: String,
        reason: Option<String>,
        until: String,
    },
    /// A job that is over.
    Action {
        action: String,
        state: String,
        attempt: i32,
        reason: Option<String>,
        result: Option<Value>,
        /// What it would have sent, for an action that is only rehearsed.
        #[serde(skip_serializing_if = "Option::is_none")]
        would: Option<Value>,
    },
    /// The gateway's API was asked for a reply.
    Reply {
        to: Option<String>,
        text: Option<String>,
        method: String,
        path: String,
        /// What the stand-in answered.
        status: u16,
        /// Whether the gateway's API knows this request.
        known: bool,
    },
    /// The gateway reported how far a reply is.
    Delivery { action: String, state: String },
    /// What was typed cannot be done.
    Problem { what: String },
}

/// Prints events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    pub(super) json: bool,
    /// Whether a person types, and so knows what was typed.
    pub(super) terminal: bool,
}

impl Screen {
    pub(super) fn show(self, event: &Event) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(event).map_err(anyhow::Error::new)?;
            return output::print(&line);
        }
        match event.text(self.terminal) {
            Some(text) => output::print(&text),
            None => Ok(()),
        }
    }

    /// Asks for the next line, if anybody is there to be asked.
    pub(super) fn prompt(self) {
        if self.terminal && !self.json {
            output::prompt("> ");
        }
    }
}

impl Event {
    /// The lines for a person; none for what need not be said.
    fn text(&self, terminal: bool) -> Option<String> {
        Some(match self {
            Self::Ready { .. } => self.ready(),
            Self::Text { .. } if terminal => return None,
            Self::Text { text, .. } => format!("> {}", output::one_line(text, 500)),
            Self::Answer { status, body } => {
                format!(
                    "  the service answers {}",
                    format!("{status} {}", output::one_line(body, 200)).trim_end()
                )
            }
            Self::Consent {
                asks_for,
                tier,
                keyword,
            } => {
                format!(
                    "  consent: {asks_for}, tier {tier}, keyword `{}`",
                    output::one_line(keyword, 60)
                )
            }
            Self::Rule {
                rule, looks_for, why, ..
            } => {
                format!("  rule `{rule}`: {} — {why}", output::one_line(looks_for, 80))
            }
            Self::NoRule => "  no rule matched".to_owned(),
            Self::LeftOut { action, rule, why } => {
                let by = rule
                    .as_ref()
                    .map(|rule| format!(" of rule `{rule}`"))
                    .unwrap_or_default();
                format!("  `{action}`{by} is left out: {why}")
            }
            Self::Tried {
                action,
                attempt,
                outcome,
                error,
            } => format!(
                "  `{action}` attempt {attempt}: {outcome}: {}",
                output::one_line(error, 300)
            ),
            Self::Waits { action, reason, until } => {
                let reason = reason
                    .as_ref()
                    .map(|reason| format!(": {}", output::one_line(reason, 300)));
                format!("  `{action}` goes on at {until}{}", reason.unwrap_or_default())
            }
            Self::Action { .. } => self.action()?,
            Self::Reply { .. } => self.reply(),
            Self::Delivery { action, state } => format!("  the gateway reports the reply of `{action}`: {state}"),
            Self::Problem { what } => format!("  {what}"),
        })
    }

    fn ready(&self) -> String {
        let Self::Ready {
            endpoint,
            gateway,
            from,
            pretend_account,
            no_replies,
            opted_out,
            rehearsed,
        } = self
        else {
            return String::new();
        };
        let mut lines = vec![format!(
            "a phone with the number {from}, texting endpoint `{endpoint}` by way of `{gateway}`; nothing leaves this machine"
        )];
        if *pretend_account {
            lines.push("the endpoint has no account to reply with; here it has one that is made up".to_owned());
        }
        lines.extend(no_replies.as_ref().map(|why| format!("it cannot reply: {why}")));
        if !rehearsed.is_empty() {
            lines.push(format!(
                "these only say what they would do (`--live-actions` does it): {}",
                rehearsed.join(", ")
            ));
        }
        if *opted_out {
            lines.push("this number has opted out in an earlier run; START takes that back".to_owned());
        }
        lines.join("\n")
    }

    fn action(&self) -> Option<String> {
        let Self::Action {
            action,
            state,
            attempt,
            reason,
            result,
            would,
        } = self
        else {
            return None;
        };
        let times = if *attempt > 1 {
            format!(" at attempt {attempt}")
        } else {
            String::new()
        };
        let result = result.as_ref();
        let line = result.and_then(|result| result.get("line")?.as_str());
        let status = result.and_then(|result| result.get("status")?.as_u64());
        Some(match (state.as_str(), would, line, status) {
            ("done", Some(would), _, _) => {
                format!(
                    "  `{action}` would send{times}\n{}",
                    output::indented(&shown(would), "    ")
                )
            }
            ("done", None, Some(line), _) => format!("  `{action}` records{times}: {}", output::one_line(line, 500)),
            ("done", None, None, Some(status)) => format!("  `{action}` is done{times}: answered {status}"),
            (state, ..) => {
                let reason = reason
                    .as_ref()
                    .map(|reason| format!(": {}", output::one_line(reason, 500)));
                format!("  `{action}` is {state}{times}{}", reason.unwrap_or_default())
            }
        })
    }

    fn reply(&self) -> String {
        let Self::Reply {
            to,
            text,
            method,
            path,
            status,
            known,
        } = self
        else {
            return String::new();
        };
        let to = to
            .as_deref()
            .map(|to| format!(" to {}", output::one_line(to, 40)))
            .unwrap_or_default();
        let text = text
            .as_deref()
            .map(|text| output::one_line(text, 2_000))
            .unwrap_or_default();
        if *known {
            format!("  the gateway is asked for a reply{to} ({method} {path}, answered {status}):\n    {text}")
        } else {
            format!("  the gateway's API knows no {method} {path}: answered {status}")
        }
    }
}
