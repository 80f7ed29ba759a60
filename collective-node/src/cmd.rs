//! The command line: one subcommand a role or a verb, each in a file of its own.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 used wrongly (clap's own). What was asked for goes to
//! standard output, everything else to standard error.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod acknowledged;
mod charter;
mod committee;
mod completions;
mod contribute;
mod contributions;
mod delegate;
mod demo;
mod dev;
mod init;
mod job;
mod key;
mod keyholder;
mod liveness;
mod manifest;
mod node;
mod place;
mod program;
mod proposal;
mod propose;
mod recipient;
mod review;
mod revoke;
mod rewards;
mod secret;
mod show;
mod verify;
mod vote;

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
    Dev(dev::Dev),
    Init(init::Init),
    Node(node::Node),
    Keyholder(keyholder::Keyholder),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Committee(committee::Committee),
    #[command(subcommand)]
    Charter(charter::CharterVerb),
    Contribute(contribute::Contribute),
    Recipient(recipient::Recipient),
    Contributions(contributions::Contributions),
    Liveness(liveness::Liveness),
    Revoke(revoke::Revoke),
    #[command(subcommand)]
    Program(program::Program),
    #[command(subcommand)]
    Manifest(manifest::ManifestVerb),
    Propose(Box<propose::Propose>),
    #[command(subcommand)]
    Proposal(proposal::Proposal),
    Review(review::Review),
    Vote(vote::Vote),
    Delegate(delegate::Delegate),
    #[command(subcommand)]
    Job(job::Job),
    #[command(subcommand)]
    Rewards(rewards::Rewards),
    #[command(subcommand)]
    Verify(verify::Verify),
    Completions(completions::Completions),
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let done = runtime.block_on(async {
        match cli.verb {
            Verb::Demo(demo) => demo.run().await,
            Verb::Dev(dev) => dev.run().await,
            Verb::Init(init) => init.run().await,
            Verb::Node(node) => node.run().await,
            Verb::Keyholder(keyholder) => keyholder.run().await,
            Verb::Key(key) => key.run().await,
            Verb::Committee(committee) => committee.run().await,
            Verb::Charter(charter) => charter.run(),
            Verb::Contribute(contribute) => contribute.run().await,
            Verb::Recipient(recipient) => recipient.run().await,
            Verb::Contributions(contributions) => contributions.run().await,
            Verb::Liveness(liveness) => liveness.run().await,
            Verb::Revoke(revoke) => revoke.run().await,
            Verb::Program(program) => program.run().await,
            Verb::Manifest(manifest) => manifest.run(),
            Verb::Propose(propose) => propose.run().await,
            Verb::Proposal(proposal) => proposal.run().await,
            Verb::Review(review) => review.run().await,
            Verb::Vote(vote) => vote.run().await,
            Verb::Delegate(delegate) => delegate.run().await,
            Verb::Job(job) => job.run().await,
            Verb::Rewards(rewards) => rewards.run().await,
            Verb::Verify(verify) => verify.run().await,
            Verb::Completions(completions) => completions.run(),
        }
    });
    // A sandbox that is still running must not hold up a stop: it ends with this process.
    runtime.shutdown_background();
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Much of it may be a stranger's: names in files, answers of a node.
            eprintln!("collective: {}", show::printable(&format!("{error:#}")));
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

    #[test]
    fn every_verb_shows_an_example() {
        fn check(command: &clap::Command) {
            let verbs: Vec<_> = command.get_subcommands().collect();
            if verbs.is_empty() {
                let help = command.get_after_help().map(ToString::to_string);
                let name = command.get_name();
                assert!(
                    help.is_some_and(|help| help.contains("Example")),
                    "`{name}` has no example"
                );
            }
            verbs.into_iter().for_each(check);
        }
        check(&super::Cli::command());
    }
}
