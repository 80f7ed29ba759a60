//! `collective completions`.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(collective completions bash)")]
pub struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<bool> {
        let mut command = super::Cli::command();
        clap_complete::generate(
            self.shell,
            &mut command,
            "collective",
            &mut std::io::stdout(),
        );
        Ok(true)
    }
}
