//! Chapter 7: another process, with neither key nor ledger, checks the receipts.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Account, DEPLOYMENT, World};

pub async fn tell(world: &World, folder: &Path, jobs: &[u64], account: &mut Account) -> Result<()> {
    let deployment = folder.join(DEPLOYMENT);
    let binary = super::world::executable()?;
    for job in jobs {
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
        let output = command
            .output()
            .await
            .context("starting `collective verify`")?;
        let told = String::from_utf8_lossy(&output.stdout);
        for line in told.lines() {
            account.tell(line);
        }
        let seen = match output.status.success() {
            true => format!(
                "{} checks, from chain and blobs alone",
                told.matches('✓').count()
            ),
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
