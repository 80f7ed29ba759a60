//! `collective node keep`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::Config;
use crate::cmd::show::show;
use crate::node::blobs_in;
use crate::sandbox::{MAX_COMPONENT_BYTES, World, check_world, is_component};

/// Add a runtime, or another large file that programs need, to this node's blobs.
///
/// Strangers may leave small files only, so that they cannot fill the disk: what an approved program runs in, the operator
/// puts there. The node may be running.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  collective node keep python-runtime.wasm --config node.toml")]
pub struct Keep {
    /// The file.
    file: PathBuf,
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Keep {
    pub async fn run(self) -> Result<bool> {
        let config = Config::read(&self.config)?;
        let reading = || format!("reading {}", self.file.display());
        let length = std::fs::metadata(&self.file).with_context(reading)?.len();
        ensure!(
            length <= MAX_COMPONENT_BYTES as u64,
            "{} has {length} bytes, a node keeps at most {MAX_COMPONENT_BYTES}",
            self.file.display()
        );
        let bytes = std::fs::read(&self.file).with_context(reading)?;
        if is_component(&bytes) {
            let refused = || format!("{} is no runtime", self.file.display());
            check_world(&bytes, World::Runtime).with_context(refused)?;
        }
        let blobs = blobs_in(config.store.service()?, &config.data, config.node).await?;
        let id = blobs.put(Bytes::from(bytes)).await?;
        let value = json!({ "sha256": id, "bytes": length });
        let rows = [("sha256", id.to_string()), ("bytes", length.to_string())];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}
