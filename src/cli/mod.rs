//! The commands: what was typed → which room does it → what is printed and with which exit code.
//!
//! The only room that knows `clap`, prints, or decides an exit code: 0 fine, 1 failed, 2 wrong usage. Data goes to standard
//! output, everything else to standard error. It must not hold any logic that another room could need.

mod actions_test;
mod check;
mod completions;
mod database;
mod doctor;
mod endpoint;
mod erase;
mod failure;
mod healthcheck;
mod jobs;
mod messages;
mod migrate;
mod opt_outs;
mod output;
mod phone;
mod rules_test;
mod send;
mod serve;
mod trial;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Receives inbound SMS as signed webhooks, stores each one in Postgres once, and turns it into action.
#[derive(Debug, Parser)]
#[command(name = "smshook", version, max_term_width = 100)]
struct Cli {
    /// Configuration file [default: `./config.toml` if there is one, else built-in settings]
    #[arg(
        long,
        global = true,
        env = "SMSHOOK_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive messages and run their jobs (what `smshook` alone does)
    Serve,
    /// Report everything that is wrong with the configuration
    Check,
    /// Try everything that a message needs on its way, and say what to do about what fails
    Doctor(doctor::Arguments),
    /// Send a signed sample message to the running service, as the gateway would
    Send(Box<send::Arguments>),
    /// Be a phone: type texts, and see everything that becomes of them, without any account
    Phone(phone::Arguments),
    /// Say whether a captured delivery verifies, and if not, why
    Verify(verify::Arguments),
    /// Try out rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Try out actions
    #[command(subcommand)]
    Actions(ActionsCommand),
    /// Look at jobs and set them going again
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Look at messages and run them through the rules again
    #[command(subcommand)]
    Messages(messages::Command),
    /// Look at opt-outs and change them by hand
    #[command(subcommand)]
    OptOuts(opt_outs::Command),
    /// Erase what is stored of a person, but for what the law needs, under a keyed hash
    Erase(erase::Arguments),
    /// Bring the database's schema up to date (`serve` does so by itself)
    Migrate,
    /// Ask the running service whether it is alive; for container health checks
    Healthcheck,
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

#[derive(Debug, Subcommand)]
enum ActionsCommand {
    /// Run one action for real, after asking, and show each request and each answer
    Test(actions_test::Arguments),
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Say what a text would cause: which rule, why, and what its actions would send; nothing is sent
    Test(rules_test::Arguments),
}

/// Runs the command line `arguments`, the program's name first, and reports what went wrong.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli).await,
        Err(error) => Err(Failure::from(error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let config = cli.config.as_deref();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(config).await,
        Command::Check => check::run(config),
        Command::Doctor(arguments) => doctor::run(config, &arguments).await,
        Command::Send(arguments) => send::run(config, &arguments).await,
        Command::Phone(arguments) => phone::run(config, &arguments).await,
        Command::Verify(arguments) => verify::run(config, &arguments),
        Command::Rules(RulesCommand::Test(arguments)) => rules_test::run(config, &arguments),
        Command::Actions(ActionsCommand::Test(arguments)) => actions_test::run(config, &arguments).await,
        Command::Jobs(command) => jobs::run(config, command).await,
        Command::Messages(command) => messages::run(config, command).await,
        Command::OptOuts(command) => opt_outs::run(config, command).await,
        Command::Erase(arguments) => erase::run(config, &arguments).await,
        Command::Migrate => migrate::run(config).await,
        Command::Healthcheck => healthcheck::run(config).await,
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_well_defined() {
        Cli::command().debug_assert();
    }
}
