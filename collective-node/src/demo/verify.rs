//! Chapter 7: another process, with neither key nor ledger, checks the receipts.

use std::path::Path;

use anyhow::{Context, Result};

use url::Url;

use super::{Account, DEPLOYMENT, World};

/// `receipts` are jobs with the places where key holders show their logs.
pub async fn tell(
    world: &World,
    folder: &Path,
    receipts: &[(u64, Vec<Url>)],
    account: &mut Account,
) -> Result<()> {
    let deployment = folder.join(DEPLOYMENT);
    let binary = super::world::executable()?;
    for (job, holders) in receipts {
        let mut command = tokio::process::Command::new(&binary);
        command
            .args([
                "verify",
                "receipt",
                &job.to_string(),
                "--rpc",
                world.chain.url().as_str(),
            ])
            .args(["--node", &world.address()?])
            .arg("--deployment")
            .arg(&deployment)
            .env_clear();
        for holder in holders {
            command.args(["--holder", holder.as_str()]);
        }
        let output = command
            .output()
            .await
            .context("starting `collective verify`")?;
        let told = String::from_utf8_lossy(&output.stdout);
        for line in told.lines() {
            account.tell(line);
        }
        let checks = told.matches('✓').count();
        let seen = match output.status.success() {
            true => match holders.len() {
                0 => format!("{checks} checks, from chain and blobs alone"),
                logs => {
                    format!("{checks} checks, from chain, blobs and the logs of {logs} key holders")
                }
            },
            false => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        };
        account.check(
            format!("`collective verify receipt {job}` agrees"),
            output.status.success(),
            seen,
        );
    }
    Ok(())
}
