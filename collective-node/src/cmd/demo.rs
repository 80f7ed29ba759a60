//! `collective demo`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use url::Url;

use crate::demo::committee::Size;
use crate::demo::{Account, tell};

/// Tell the whole story on real data, and check every sentence of it.
///
/// 944 respondents of an election study contribute; members vote on a program; it runs over what
/// was allowed; the result equals an outside reference; contributors are paid. Exits 0 only if
/// every check holds.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective demo\n  collective demo --committee 3-of-5\n  collective demo --keep world\n  collective demo --json | jq .figures"
)]
pub struct Demo {
    /// Leave chain, ledger and blobs in this folder, which must not exist.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Tell it on another development chain, such as anvil with --slots-in-an-epoch 1.
    #[arg(long, value_name = "URL")]
    rpc: Option<Url>,
    /// Have the key held by so many processes, of which t open a file: one is killed, one lies, both are replaced.
    #[arg(long, value_name = "T-OF-N")]
    committee: Option<Size>,
    /// Print one JSON document with checks and figures instead of the account.
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub async fn run(self) -> Result<bool> {
        let temporary = tempfile::tempdir().context("making a temporary folder")?;
        let folder = match &self.keep {
            Some(folder) => {
                ensure!(
                    !folder.exists(),
                    "{} exists: name a new folder",
                    folder.display()
                );
                std::fs::create_dir_all(folder)?;
                folder.as_path()
            }
            None => temporary.path(),
        };
        let account = tell(folder, self.rpc, self.committee, Account::new(self.json)).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&account.summary())?);
        } else {
            account.close();
            if let Some(folder) = &self.keep {
                println!("Everything is left in {}.", folder.display());
            }
        }
        Ok(account.holds())
    }
}
