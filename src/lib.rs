//! smshook receives inbound SMS as signed webhooks, stores each one in Postgres once, and turns it into action.
//!
//! The map, from the bottom up (`tests/it/layering.rs` holds the arrows):
//!
//! * pure rooms, no I/O and no clock: [`phone`], [`message`], [`signature`], [`gateway`], [`connector`], [`consent`],
//!   [`template`], [`job`], [`rules`];
//! * [`config`]: what was typed → what is meant;
//! * [`store`]: all SQL; [`metrics`]: what an operator watches;
//! * [`actions`]: the only outgoing network; [`worker`]: claim, run, settle; [`notifier`]: webhooks that are told
//!   of changes of consent; [`reassembly`]: texts that come in parts;
//! * [`http`]: the public webhook and the admin listener;
//! * [`embedded_postgres`]: the private database behind the default;
//! * [`app`], [`telemetry`], [`cli`]: wiring and lifecycle, logs, commands.
//!
//! HTTP in front and the worker behind meet only through rows in Postgres.

pub mod actions;
pub mod app;
pub mod cli;
pub mod config;
pub mod connector;
pub mod consent;
pub mod embedded_postgres;
pub mod gateway;
pub mod http;
pub mod job;
pub mod message;
pub mod metrics;
pub mod notifier;
pub mod phone;
pub mod reassembly;
pub mod rules;
pub mod signature;
pub mod store;
pub mod telemetry;
pub mod template;
pub mod worker;
