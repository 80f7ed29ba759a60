//! The command line: one subcommand a role or a verb, each in a file of its own.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 used wrongly (clap's own).

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;
mod verify;

/// Pool private data as a collective: sealed off-chain, permitted on-chain.
#[derive(Debug, Parser)]
#[command(name = "collective", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    #[command(subcommand)]
    Verify(verify::Verify),
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let done = runtime.block_on(async {
        match cli.verb {
            Verb::Demo(demo) => demo.run().await,
            Verb::Verify(verify) => verify.run().await,
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("collective: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs carry ids and reasons, never payloads. `RUST_LOG` says how much; warnings by default.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
