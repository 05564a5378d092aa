//! Connectors against stateful stand-ins of the systems they speak to: whatever fails in between, a text is filed once.

mod chatwoot;
mod contract;
mod discord;
mod freshdesk;
mod hubspot;
mod markup;
mod matrix;
mod once;
mod own;
mod pipedrive;
mod rt;
mod salesforce;
mod slack;
mod teams;
mod vendor;
mod zendesk;

/// A line for whoever reads the test's output: what was measured, or not checked.
#[expect(clippy::print_stderr, reason = "the output of a test")]
fn report(line: &str) {
    eprintln!("{line}");
}
