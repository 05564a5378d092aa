//! Phrases that may be an opt-out, and that a person decides about: `opt-outs review` and `opt-outs dismiss`.

use super::whom::{self, Scope};
use super::{Database, output, stamp};
use crate::cli::database;
use crate::cli::failure::Failure;
use crate::store::ReviewRow;

/// `opt-outs review`.
pub(super) async fn list(database: &Database, scope: &Scope, limit: i64, json: bool) -> Result<(), Failure> {
    let group = whom::chosen(&database.config, scope)?.map(|group| group.name);
    let waiting = database
        .store
        .open_reviews(group, limit)
        .await
        .map_err(database::failed)?;
    if json {
        return output::print_json(&waiting);
    }
    if waiting.is_empty() {
        output::note("nothing waits to be decided");
        return Ok(());
    }
    let row = |waiting: &ReviewRow| {
        [
            output::one_line(&waiting.number, 20),
            output::one_line(&waiting.suppression_group, 40),
            stamp(waiting.asked_at.unwrap_or(waiting.recorded_at)),
            output::one_line(waiting.phrase.as_deref().unwrap_or_default(), 40),
            output::one_line(waiting.words.as_deref().unwrap_or("(not kept)"), 120),
        ]
    };
    let head = ["number", "group", "written", "phrase", "words"];
    output::print(&output::table(head, &waiting.iter().map(row).collect::<Vec<_>>()))?;
    output::note(
        "\nan opt-out: `smshook opt-outs add NUMBER --group GROUP --asked-at WRITTEN`\n\
         not one:    `smshook opt-outs dismiss NUMBER --group GROUP`",
    );
    Ok(())
}

/// `opt-outs dismiss`.
pub(super) async fn dismiss(
    database: &Database,
    number: &str,
    scope: &Scope,
    note: Option<&str>,
) -> Result<(), Failure> {
    let group = whom::one(&database.config, scope)?;
    let address = whom::typed(number, group)?;
    let dismissed = database
        .store
        .dismiss_review(group.name, &address, note)
        .await
        .map_err(database::failed)?;
    if dismissed {
        return output::print(&format!(
            "what {} wrote is no opt-out (group `{}`)",
            address.key(),
            group.name
        ));
    }
    Err(Failure::hinted(
        anyhow::anyhow!(
            "nothing of {} waits to be decided (group `{}`)",
            address.key(),
            group.name
        ),
        "`smshook opt-outs review` shows what does",
    ))
}
