//! `smshook completions`: a completion script for a shell.

use clap::CommandFactory as _;

use super::failure::Failure;
use super::{Cli, output};

/// Which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Shell to complete in
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "smshook", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())
}
