//! `collective manifest`, and how verbs read a manifest file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use collective::approval::Manifest;
use serde_json::json;

use super::show::show;

/// Look at approval manifests.
#[derive(Debug, Subcommand)]
#[command(name = "manifest")]
pub enum ManifestVerb {
    Check(Check),
}

/// Check a manifest file by the rules that hold without a chain, and print its digest.
///
/// The file may be laid out for people: the digest is of its canonical form (RFC 8785).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective manifest check mean.json")]
pub struct Check {
    /// The manifest, as JSON.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ManifestVerb {
    pub fn run(self) -> Result<bool> {
        let Self::Check(check) = self;
        let manifest = read(&check.file)?;
        let digest = manifest.digest();
        let leak = manifest.leak();
        let value = json!({
            "digest": digest,
            "recipient": manifest.recipient.digest(),
            "leak": leak,
        });
        let runtime = manifest.program.runtime();
        let mut rows = vec![
            ("digest", digest.to_string()),
            ("program", manifest.program.sha256().to_string()),
            ("source", manifest.dataset.source.clone()),
            ("columns", manifest.dataset.columns.join(", ")),
            ("purpose", manifest.purpose.to_string()),
            ("recipient", manifest.recipient.digest().to_string()),
            ("minimum group", manifest.output.minimum_group.to_string()),
            ("can tell at most", leak.to_string()),
            ("price", manifest.payment.price.to_string()),
            ("runs", manifest.max_runs.to_string()),
            ("expiry", manifest.expiry.to_string()),
        ];
        rows.extend(runtime.map(|runtime| ("runtime", runtime.to_string())));
        show(check.json, &value, &rows)?;
        Ok(true)
    }
}

/// Reads a manifest in any layout and checks its canonical form.
pub fn read(path: &Path) -> Result<Manifest> {
    let wrong = || format!("{} is no manifest", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).with_context(wrong)?;
    Manifest::parse(&manifest.to_bytes()).with_context(wrong)
}
