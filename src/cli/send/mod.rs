//! `smshook send`: posts signed sample messages, built and signed as the gateway does it, so that whatever a gateway may do
//! can be rehearsed before one is there.
//!
//! It goes the whole way round, over HTTP, so that it proves what a gateway would meet. It writes nothing itself.
//! `texts` knows what is said, `target` who says it to whom, `delivery` makes the request, `plan` decides which there are;
//! `deliver`, `burst` and `dry_run` are the three things that can be done with them.

mod burst;
mod deliver;
mod delivery;
mod dry_run;
mod key;
mod plan;
mod target;
#[cfg(test)]
mod tests;
mod texts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use serde::Deserialize as _;
use serde::de::value::StrDeserializer;
use url::Url;

use super::endpoint;
use super::failure::Failure;
use crate::config;
use crate::signature::Algorithm;
use burst::{MOST_PER_SECOND, MOST_TEXTS};
use target::Target;

pub(super) use deliver::address;
pub(super) use delivery::{Words, request, sign, write};
pub(super) use key::NewKey;
pub(super) use target::forger;
pub(super) use texts::{FICTIONAL_RECIPIENT, FICTIONAL_SENDER};

/// What to send and where to.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Arguments {
    /// Text of a message; repeat for several
    #[arg(long, required_unless_present_any = ["file", "new_signing_key"], conflicts_with = "file")]
    text: Vec<String>,
    /// Sender [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", conflicts_with = "file")]
    from: Option<String>,
    /// Recipient [default: a number reserved for fiction]
    #[arg(long, value_name = "NUMBER", conflicts_with = "file")]
    to: Option<String>,
    /// File of texts: sender, recipient and text on each line, with tabs between them; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Endpoint to send to [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Send here and not to the address that the configuration says
    #[arg(long)]
    url: Option<Url>,

    /// Send and sign as this gateway does, built in or your own [default: the endpoint's]
    #[arg(long, value_name = "NAME", help_heading = "Signing")]
    gateway: Option<String>,
    /// Sign with the secret in this environment variable [default: the endpoint's first]
    #[arg(long, value_name = "VARIABLE", conflicts_with_all = ["secret_file", "signing_key_file"], help_heading = "Signing")]
    secret_env: Option<String>,
    /// Sign with the secret in this file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "signing_key_file",
        help_heading = "Signing"
    )]
    secret_file: Option<PathBuf>,
    /// Sign with the private key in this file, for gateways with a key pair: an Ed25519 seed in base64
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    signing_key_file: Option<PathBuf>,
    /// Sign with this algorithm, where the receiver's secret says one of its own: hmac-sha1, hmac-sha256, …
    #[arg(long, value_name = "NAME", value_parser = algorithm, help_heading = "Signing")]
    algorithm: Option<Algorithm>,
    /// Print a new key pair to rehearse with, and send nothing
    #[arg(long, conflicts_with_all = EVERYTHING_ELSE, help_heading = "Signing")]
    new_signing_key: bool,
    /// The endpoint's URL as the gateway knows it, for gateways that sign it [default: the endpoint's, or the one sent to]
    #[arg(long, value_name = "URL", help_heading = "Signing")]
    public_url: Option<Url>,

    /// How to write it, where the gateway has more than one way [default: its first]
    #[arg(long = "as", value_name = "WAY", value_enum, help_heading = "What gateways do")]
    way: Option<Way>,
    /// Send the same delivery twice, as a gateway that missed the answer; the second must be known for one
    #[arg(long, conflicts_with = "copies", help_heading = "What gateways do")]
    duplicate: bool,
    /// How often to send the very same delivery
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "What gateways do")]
    copies: u32,
    /// Sign it as of so long ago that it must be refused [default: a minute beyond what is tolerated]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = BEYOND, value_parser = late, conflicts_with = "bad_signature", help_heading = "What gateways do")]
    late: Option<Late>,
    /// Send the last one first: of several texts, or of the parts of a long one
    #[arg(long, help_heading = "What gateways do")]
    reorder: bool,
    /// Send two different texts with one message ID; both must be kept
    #[arg(long, conflicts_with_all = ["duplicate", "copies", "reorder", "parts", "late", "bad_signature"], help_heading = "What gateways do")]
    collide: bool,
    /// Sign with a secret that nobody has; it must be refused
    #[arg(long, conflicts_with_all = ["secret_env", "secret_file", "signing_key_file"], help_heading = "What gateways do")]
    bad_signature: bool,
    /// Send a text as the parts of a long one, where the gateway leaves putting them together to us
    #[arg(long, help_heading = "What gateways do")]
    parts: bool,

    /// Send so many texts, no two the same, and print what became of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_TEXTS)),
          requires = "rate", conflicts_with_all = ["file", "duplicate", "copies", "reorder", "collide", "parts", "dry_run"], help_heading = "Load")]
    burst: Option<u32>,
    /// Texts per second of a burst
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_PER_SECOND)), requires = "burst", help_heading = "Load")]
    rate: Option<u32>,

    /// Print what would be sent, and send nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
    /// Print one JSON object per delivery
    #[arg(long, requires = "dry_run", help_heading = "Output")]
    json: bool,
}

/// How late a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Late {
    /// Later than is tolerated.
    Beyond,
    /// By so much.
    By(Duration),
}

/// How a delivery is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Way {
    /// POST with JSON
    Json,
    /// POST with a form
    Form,
    /// GET with a query
    Get,
}

/// What `--late` means without a duration.
const BEYOND: &str = "beyond";
/// A new key pair has nothing to do with any delivery.
const EVERYTHING_ELSE: [&str; 22] = [
    "text",
    "from",
    "to",
    "file",
    "endpoint",
    "url",
    "gateway",
    "secret_env",
    "secret_file",
    "signing_key_file",
    "public_url",
    "algorithm",
    "way",
    "duplicate",
    "late",
    "reorder",
    "collide",
    "bad_signature",
    "parts",
    "burst",
    "rate",
    "dry_run",
];

/// Prints one line per delivery: the status and the answer. The answer is no unless every one went as it should.
pub(super) async fn run(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.new_signing_key {
        return key::print_new();
    }
    if arguments.burst.is_some() && arguments.text.len() > 1 {
        return Err(Failure::usage(
            "a burst is made of one text",
            "give `--text` once: each text of the burst gets a number",
        ));
    }
    let (source, config) = (config::locate(config), endpoint::load(config)?.config);
    let target = Target::choose(&source, &config, arguments)?;
    if let (Some(texts), Some(rate)) = (arguments.burst, arguments.rate) {
        return burst::run(&target, arguments, texts, rate).await;
    }
    let deliveries = plan::deliveries(&target, arguments, Utc::now())?;
    if arguments.dry_run {
        dry_run::run(&deliveries, arguments.json)
    } else {
        deliver::run(&target, deliveries).await
    }
}

/// An algorithm by the name that gateway files have for it.
fn algorithm(typed: &str) -> Result<Algorithm, String> {
    Algorithm::deserialize(StrDeserializer::<serde::de::value::Error>::new(typed)).map_err(|error| error.to_string())
}

/// Nothing, or `30s`, `10m`, `2h` or `1d`.
fn late(typed: &str) -> Result<Late, String> {
    if typed == BEYOND {
        return Ok(Late::Beyond);
    }
    let written = || format!("`{typed}` is not a duration: write it as 30s, 10m, 2h or 1d");
    let unit = typed.chars().last().ok_or_else(written)?;
    let number = typed.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok());
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(written()),
    };
    let number = number.filter(|number| *number > 0).ok_or_else(written)?;
    Ok(Late::By(Duration::from_secs(u64::from(number) * seconds)))
}
