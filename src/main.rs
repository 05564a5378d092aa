//! The program: hands the command line to [`smshook::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    smshook::cli::run(std::env::args_os()).await
}
