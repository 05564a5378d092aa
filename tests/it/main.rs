//! The tests of the whole: the real listeners on real ports, the real binary, a database per test, fakes that count.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly, their helpers included"
)]

mod helpers;
mod layering;
#[path = "../testkit/mod.rs"]
mod testkit;

mod accept;
mod actions;
mod actions_test;
mod after;
mod cli;
mod connectors;
mod consent;
mod consent_order;
mod diagnosis;
mod discard;
mod docs;
mod doctor;
mod email;
mod erase;
mod faults;
mod gateways;
mod in_flight;
mod lifecycle;
mod links;
mod loop_guard;
mod may_text;
mod methods;
mod nonces;
mod observe;
mod on_consent;
mod opt_out_webhook;
mod opt_outs_cli;
mod parts;
mod pauses;
mod phone;
mod proof;
mod provider_opt_outs;
mod queue;
mod readme;
mod receive;
mod refused;
mod reply_requests;
mod reply_states;
mod retention;
mod reverify;
mod signatures;
mod simulator;
mod unverified;
mod vendor_libraries;
mod views;
