//! `smshook phone`: a pretend phone in the terminal, and the whole way round with no account anywhere: what is typed is
//! delivered as the gateway would, to the real service in this process, and what it would reply comes back through a stand-in
//! of the gateway's API.
//!
//! `rehearsal` makes the configuration that stays on this machine, `reply` knows how the gateway is asked, `watch` sees what
//! becomes of a text, `screen` says it. Nothing may leave this machine unless `--live-actions` says so.

mod line;
mod rehearsal;
mod reply;
mod screen;
mod watch;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::send::{FICTIONAL_RECIPIENT, FICTIONAL_SENDER};
use super::{database, endpoint};
use crate::actions::Actions;
use crate::app::{self, Running, Signals};
use crate::config::{self, Config, Endpoint};
use crate::http::{Heard, bind, serve_stand_in};
use crate::telemetry;
use line::Line;
use rehearsal::{Asked, Rehearsal};
use reply::ReplyShape;
use screen::{Event, Screen};

/// The phone.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Number of the phone [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_SENDER, hide_default_value = true)]
    from: String,
    /// Number that is texted [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", default_value = FICTIONAL_RECIPIENT, hide_default_value = true)]
    to: String,
    /// Endpoint that is texted [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Let actions reach outside: requests, connectors and mails are then sent for real; replies never are
    #[arg(long)]
    live_actions: bool,
    /// Use the database in this environment variable [default: one of the phone's own, in the data directory]
    #[arg(long, value_name = "VARIABLE")]
    database_url_env: Option<String>,
    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
}

/// Reads lines until there are no more, and shows what becomes of each.
pub(super) async fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let filter = endpoint::environment("RUST_LOG");
    telemetry::init(false, Some(filter.as_deref().unwrap_or("error")));
    let typed = Arc::new(endpoint::load(config)?.config);
    let name = endpoint::choose(&typed, arguments.endpoint.as_deref())?.name.clone();
    let stand_in = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("listening for the gateway's API")?;
    let asked = Asked {
        source: &config::locate(config),
        database_url: database_url(&typed, arguments)?,
        live_actions: arguments.live_actions,
        stand_in: stand_in.local_addr().context("listening for the gateway's API")?,
    };
    let rehearsal = Rehearsal::read(&typed, &asked)?;
    let mut signals = Signals::new()?;
    let config = Arc::new(rehearsal.config);
    let running = tokio::select! {
        started = app::start(Arc::clone(&config)) => started?,
        () = signals.next() => return Ok(()),
    };
    let (shapes, mut routes) = (shapes(&config, &running)?, rehearsal.routes);
    for (endpoint, shape) in config.endpoints.iter().zip(&shapes) {
        routes.extend(shape.as_ref().ok().and_then(|shape| shape.route(endpoint)));
    }
    let (ear, hears) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let hearing = tokio::spawn(serve_stand_in(stand_in, routes, ear, stop.clone()));
    let setting = Setting {
        typed,
        config,
        name,
        seeds: rehearsal.seeds,
        rehearsed: rehearsal.rehearsed,
        pretend_accounts: rehearsal.pretend_accounts,
        shapes,
    };
    let talked = tokio::select! {
        talked = talk(&setting, &running, hears, arguments) => talked,
        () = signals.next() => Ok(()),
    };
    running.stop();
    let finished = running.finish().await;
    stop.cancel();
    let served = hearing.await.context("the stand-in panicked")?;
    talked?;
    served.context("the stand-in ended")?;
    Ok(finished?)
}

/// What is rehearsed.
struct Setting {
    /// As the operator has it: what would be sent is shown by it.
    typed: Arc<Config>,
    /// As it runs.
    config: Arc<Config>,
    /// The endpoint that is texted.
    name: String,
    seeds: BTreeMap<String, String>,
    rehearsed: Vec<String>,
    pretend_accounts: Vec<String>,
    /// How each endpoint's gateway is asked for a reply, in the order of the endpoints.
    shapes: Vec<Result<ReplyShape, String>>,
}

impl Setting {
    fn endpoint(&self) -> Result<&Endpoint, Failure> {
        endpoint::choose(&self.config, Some(&self.name))
    }

    fn shape_of(&self, name: &str) -> Option<&ReplyShape> {
        let place = self
            .config
            .endpoints
            .iter()
            .position(|endpoint| endpoint.name == name)?;
        self.shapes.get(place)?.as_ref().ok()
    }
}

/// How each endpoint would ask for a reply, or why it cannot.
fn shapes(config: &Arc<Config>, running: &Running) -> Result<Vec<Result<ReplyShape, String>>, Failure> {
    let actions = Actions::new(Arc::clone(config), running.store()).context("preparing the replies")?;
    let shapes = config
        .endpoints
        .iter()
        .map(|endpoint| ReplyShape::of(&actions, endpoint));
    Ok(shapes.collect())
}

/// The URL in the variable that was named. The configured database is not for rehearsals: its jobs are real.
fn database_url(typed: &Config, arguments: &Arguments) -> Result<Option<String>, Failure> {
    let Some(name) = &arguments.database_url_env else {
        return Ok(None);
    };
    let url = endpoint::environment(name).filter(|url| !url.trim().is_empty());
    let url = url.ok_or_else(|| {
        Failure::hinted(
            anyhow::anyhow!("the environment variable `{name}` has no URL in it"),
            "set it to postgres://USER:PASSWORD@HOST/DATABASE, or leave `--database-url-env` out",
        )
    })?;
    if typed
        .database
        .url
        .as_ref()
        .is_some_and(|typed| typed.expose_secret() == url)
    {
        return Err(Failure::usage(
            "that is the database of the service itself, whose jobs are real",
            "name another one, or leave `--database-url-env` out",
        ));
    }
    Ok(Some(url))
}

async fn talk(
    setting: &Setting,
    running: &Running,
    hears: mpsc::UnboundedReceiver<Heard>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    if !running.is_ready {
        return Err(Failure::hinted(
            anyhow::anyhow!("the phone's database is not there"),
            "is the server of `--database-url-env` running?",
        ));
    }
    let endpoint = setting.endpoint()?;
    let screen = Screen {
        json: arguments.json,
        terminal: std::io::stdin().is_terminal(),
    };
    let mut line = Line::open(setting, running, hears, screen, arguments).await?;
    let from = line.number().to_owned();
    let opted_out = running.store().has_opted_out(endpoint.suppression_group(), &from).await;
    screen.show(&Event::Ready {
        endpoint: endpoint.name.clone(),
        gateway: endpoint.gateway.name.clone(),
        from,
        pretend_account: setting.pretend_accounts.contains(&endpoint.name),
        no_replies: match (setting.shape_of(&endpoint.name), &endpoint.reply) {
            (Some(_), _) => None,
            (None, None) => Some(format!("the gateway `{}` has no [reply]", endpoint.gateway.name)),
            (None, Some(_)) => setting.shapes.iter().find_map(|shape| shape.as_ref().err().cloned()),
        },
        opted_out: opted_out.map_err(database::failed)?,
        rehearsed: setting.rehearsed.clone(),
    })?;
    line.talk(typed_lines()).await
}

/// What is typed, line by line; nothing more at the end.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    // A thread of its own: reading a terminal cannot be cancelled, and the process ends without it.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
