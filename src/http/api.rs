//! The admin API: may this number be texted?
//!
//! For the operator's other senders. It answers yes only where the database says so, never for want of an answer; and no
//! number is in a log, nor in an error beyond its last four digits.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::admin::AdminState;
use crate::phone::{self, Address, Kind, NumberFormat};
use crate::store::{Standing, StoreError};

/// How long the database may take: whoever asks is about to send something.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// When to ask again while the database is away.
const AWAY_SECONDS: &str = "2";
/// When to ask again where an operator has to do something first.
const MISTAKEN_SECONDS: &str = "60";

#[derive(Serialize)]
struct Answer<'a> {
    number: &'a str,
    may_text: bool,
    groups: Vec<Programme>,
}

#[derive(Serialize)]
struct Programme {
    #[serde(rename = "group")]
    name: String,
    may_text: bool,
    #[serde(flatten)]
    opted_out: Option<Since>,
}

#[derive(Serialize)]
struct Since {
    opted_out_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    source: String,
}

/// `GET /api/opt-outs/{number}[?group=NAME]`.
pub(super) async fn may_text(
    State(state): State<Arc<AdminState>>,
    number: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let Ok(Path(number)) = number else {
        return refused(
            StatusCode::BAD_REQUEST,
            "the path is not text in UTF-8, percent-encoded",
        );
    };
    let asked = address(&number).and_then(|address| Ok((address, groups(&state.groups, query.as_deref())?)));
    let (address, groups) = match asked {
        Ok(asked) => asked,
        Err((status, why)) => return refused(status, &why),
    };
    match tokio::time::timeout(ANSWER_TIME, state.store.standing(&address, &groups)).await {
        Ok(Ok(standings)) => answer(&address, standings),
        Ok(Err(error @ StoreError::OtherErasureKey)) => unknown(&error.to_string(), MISTAKEN_SECONDS),
        Ok(Err(error)) => {
            // As for `/readyz`: what is wrong with the database is logged where it is met.
            tracing::debug!(target: "smshook::http", %error, "could not tell who has opted out");
            away()
        }
        Err(_elapsed) => away(),
    }
}

fn answer(address: &Address, standings: Vec<Standing>) -> Response {
    let group = |standing: Standing| Programme {
        name: standing.group,
        may_text: standing.opted_out.is_none(),
        opted_out: standing.opted_out.map(|in_force| Since {
            opted_out_at: in_force.opted_out_at,
            recorded_at: in_force.recorded_at,
            source: in_force.source,
        }),
    };
    let groups: Vec<Programme> = standings.into_iter().map(group).collect();
    let answer = Answer {
        number: address.key(),
        may_text: !groups.is_empty() && groups.iter().all(|group| group.may_text),
        groups,
    };
    json(StatusCode::OK, &answer)
}

/// Digits are international with or without their `+`, which some clients turn into a space.
fn address(number: &str) -> Result<Address, (StatusCode, String)> {
    let address = phone::normalise(number, &NumberFormat::E164NoPlus);
    match address.kind() {
        Kind::Number | Kind::Short => Ok(address),
        Kind::Alpha | Kind::Opaque | Kind::Missing => Err((
            StatusCode::BAD_REQUEST,
            format!(
                "`…{}` is not a telephone number: write it with its country code, as in `+12025550143`",
                address.last_four()
            ),
        )),
    }
}

/// The groups that the query names; all of them if it names none.
fn groups(known: &[String], query: Option<&str>) -> Result<Vec<String>, (StatusCode, String)> {
    let mut groups = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "group" {
            return Err((
                StatusCode::BAD_REQUEST,
                "the only parameter is `group`, the name of a suppression group".to_owned(),
            ));
        }
        if !known.iter().any(|group| *group == value) {
            return Err((
                StatusCode::NOT_FOUND,
                format!("there is no such group: the configuration has `{}`", known.join("`, `")),
            ));
        }
        groups.push(value.into_owned());
    }
    if groups.is_empty() {
        groups.extend_from_slice(known);
    }
    Ok(groups)
}

fn away() -> Response {
    unknown(
        "the database does not say who has opted out: text nobody, and ask again",
        AWAY_SECONDS,
    )
}

fn unknown(why: &str, after: &'static str) -> Response {
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, why);
    response
        .headers_mut()
        .insert(RETRY_AFTER, axum::http::HeaderValue::from_static(after));
    response
}

fn refused(status: StatusCode, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    match serde_json::to_string(body) {
        Ok(text) => (status, headers, text).into_response(),
        Err(_unwritable) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
