//! `collective program`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use collective::id::{BlobId, ManifestDigest};
use serde_json::json;

use super::place::ChainAt;
use super::secret;
use super::show::show;
use build::MakeProgram;
use bundle::MakeBundle;
use collective_contracts::CodeRegistry;
use new::New;
use status::Status;
use test::Test;

mod build;
pub mod bundle;
mod new;
mod status;
pub mod test;

/// Make, try out and look at programs before they are proposed, and stop them.
#[derive(Debug, Subcommand)]
pub enum Program {
    New(New),
    #[command(name = "build")]
    Build(MakeProgram),
    Hash(Hash),
    #[command(name = "bundle")]
    Bundle(MakeBundle),
    Test(Test),
    Status(Status),
    Revoke(Revoke),
}

/// Print the name under which a manifest names these bytes: their SHA-256.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective program hash mean.wasm")]
pub struct Hash {
    /// The component, the bundle, the query or the runtime.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Revoke an approved program at once, as the collective's guardian. No vote brings the same manifest back.
///
/// Members revoke by a proposal: `collective propose --revoke-program DIGEST`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective program revoke 0x5f…c1 --key guardian.key")]
pub struct Revoke {
    /// Digest of the manifest.
    manifest: ManifestDigest,
    /// Key file of the guardian's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Program {
    pub async fn run(self) -> Result<bool> {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run(),
            Self::Hash(hash) => hash.run(),
            Self::Bundle(bundle) => bundle.run(),
            Self::Test(test) => test.run(),
            Self::Status(status) => status.run().await,
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Hash {
    fn run(self) -> Result<bool> {
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("reading {}", self.file.display()))?;
        let id = BlobId::of(&bytes);
        let value = json!({ "sha256": id, "bytes": bytes.len() });
        let rows = [
            ("sha256", id.to_string()),
            ("bytes", bytes.len().to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

impl Revoke {
    async fn run(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let deployment = chain.deployment();
        let registry = CodeRegistry::new(deployment.code, chain.provider());
        let call = registry.guardianRevoke(deployment.collective, self.manifest.0);
        let gas = chain.submit(call).await?.gas_used;
        let value = json!({ "revoked": self.manifest, "gas": gas });
        let rows = [
            ("revoked", self.manifest.to_string()),
            ("gas", gas.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
