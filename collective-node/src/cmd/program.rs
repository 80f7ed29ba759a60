//! `collective program`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use collective::id::BlobId;
use serde_json::json;

use super::show::show;

/// Look at programs before they are proposed.
#[derive(Debug, Subcommand)]
pub enum Program {
    Hash(Hash),
}

/// Print the name under which a manifest names these bytes: their SHA-256.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective program hash mean.wasm")]
pub struct Hash {
    /// The component.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Program {
    pub fn run(self) -> Result<bool> {
        let Self::Hash(hash) = self;
        let bytes = std::fs::read(&hash.file)
            .with_context(|| format!("reading {}", hash.file.display()))?;
        let id = BlobId::of(&bytes);
        let value = json!({ "sha256": id, "bytes": bytes.len() });
        let rows = [
            ("sha256", id.to_string()),
            ("bytes", bytes.len().to_string()),
        ];
        show(hash.json, &value, &rows)?;
        Ok(true)
    }
}
