//! `collective propose`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::approval::Manifest;
use collective::bundle::Bundle;
use collective::id::BlobId;
use collective::permit::Code;
use serde_json::json;

use super::place::{ChainAt, NodeAt};
use super::proposal::Subject;
use super::secret;
use super::show::show;
use crate::client::Client;
use crate::http::MAX_BLOB_BYTES;

/// Open a proposal: approve a manifest, set a charter, accept a node or a committee, let a committee hand its key on.
///
/// Manifest, program and charter are kept at the node first, so that members can look at what they vote on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective propose --manifest mean.json --program mean.wasm --key member.key
  collective propose --manifest logit.json --program logit.bundle --key member.key
  collective propose --charter charter.json --accept-node 0x5f…c1 --accept-committee 0x09…d7 --key member.key
  collective propose --convene 0x3b…90 --key member.key")]
pub struct Propose {
    #[command(flatten)]
    subject: Subject,
    /// The component or bundle that the manifest names; not needed where the node has it.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Key file of the proposer's account.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    node: NodeAt,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Propose {
    pub async fn run(self) -> Result<bool> {
        let account = secret::account(&self.key)?;
        let chain = self.chain.signer(account).await?;
        let decision = self.subject.read(&chain).await?;
        let motion = decision.motion;
        ensure!(
            self.program.is_none() || decision.manifest.is_some(),
            "--program belongs to a manifest"
        );
        if let Some(manifest) = &decision.manifest {
            keep(&self.node.client()?, manifest, self.program.as_deref()).await?;
        }
        if let Some(charter) = &decision.charter {
            self.node.client()?.keep(charter.to_bytes()).await?;
        }
        let id = motion.propose(chain.provider(), chain.deployment()).await?;
        let manifest = decision.manifest.map(|manifest| manifest.digest());
        let charter = decision.charter.map(|charter| charter.digest());
        let value = json!({
            "proposal": id.to_string(),
            "manifest": manifest,
            "charter": charter,
            "description": motion.description,
        });
        let mut rows = vec![("proposal", id.to_string())];
        rows.extend(manifest.map(|digest| ("manifest", digest.to_string())));
        rows.extend(charter.map(|digest| ("charter", digest.to_string())));
        rows.push(("description", motion.description));
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

/// Keeps manifest and program at the node, and refuses where the program is another or is missing.
async fn keep(client: &Client, manifest: &Manifest, program: Option<&Path>) -> Result<()> {
    let named = manifest.program.sha256();
    match program {
        Some(path) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let found = BlobId::of(&bytes);
            ensure!(
                found == named,
                "{} has the hash {found}, the manifest names {named}",
                path.display()
            );
            ensure!(
                bytes.len() <= MAX_BLOB_BYTES,
                "the program has more than {MAX_BLOB_BYTES} bytes"
            );
            if let Some(runtime) = manifest.program.runtime() {
                Code::check_python(&Bundle::parse(&bytes)?)?;
                ensure!(
                    client.has(runtime).await?,
                    "the node does not have the runtime {runtime}: its operator adds it with `collective node keep FILE`"
                );
            }
            client.keep(bytes).await?;
        }
        None => {
            let missing = "the node does not have the program: give it with --program";
            client.blob(named).await.context(missing)?;
        }
    }
    client.keep(manifest.to_bytes()).await?;
    Ok(())
}
