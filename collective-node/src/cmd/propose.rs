//! `collective propose`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use collective::approval::Manifest;
use collective::bundle::Bundle;
use collective::id::BlobId;
use collective::permit::Code;
use collective::query::Query;
use collective::training::Training;
use serde_json::json;

use super::place::{ChainAt, NodeAt};
use super::proposal::Subject;
use super::secret;
use super::show::show;
use crate::client::Client;
use crate::http::MAX_BLOB_BYTES;
use crate::programs::plan::{Planned, declared, plan};
use crate::sandbox::{Sandbox, World, check_world};
use branch::Branch;

mod branch;

/// Open a proposal: approve a manifest, set a charter, accept a node or a committee, let a committee hand its key on.
///
/// Manifest, program and charter are kept at the node first, so that members can look at what they vote on. With --branch the
/// program is built from its folder in a repository, and the manifest names the commit and the folder's bytes, which are kept, too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective propose --branch survey-means --program survey-means --recipient age1… --key member.key
  collective propose --manifest mean.json --program mean.wasm --key member.key
  collective propose --manifest logit.json --program logit.bundle --key member.key
  collective propose --manifest ages.json --program ages.sql --key member.key
  collective propose --charter charter.json --accept-node 0x5f…c1 --accept-committee 0x09…d7 --key member.key
  collective propose --convene 0x3b…90 --key member.key
  collective propose --auditor 0x70…C8 --wage 1000000 --key member.key")]
pub struct Propose {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    branch: Branch,
    /// The component, bundle or query that the manifest names; not needed where the node has it. With --branch, the program's folder in
    /// the repository; not needed where there is one.
    #[arg(long, value_name = "FILE|FOLDER")]
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
        let client = self.node.client()?;
        let program = self.program.as_deref();
        let pinned = self.branch.read(&chain, &client, program).await?;
        let made = pinned.as_ref().map(|pinned| pinned.manifest.clone());
        let decision = self.subject.read(&chain, made).await?;
        let motion = decision.motion;
        match (&decision.manifest, pinned) {
            (Some(manifest), Some(pinned)) => {
                keep(&client, manifest, Some(pinned.program), Some(pinned.source)).await?;
            }
            (Some(manifest), None) => {
                let program = program.map(|path| read(path, manifest)).transpose()?;
                keep(&client, manifest, program, None).await?;
            }
            (None, _) => ensure!(program.is_none(), "--program belongs to a manifest"),
        }
        if let Some(charter) = &decision.charter {
            client.keep(charter.to_bytes()).await?;
        }
        let id = motion.propose(chain.provider(), chain.deployment()).await?;
        let origin = decision
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.program.origin().cloned());
        let leak = decision.manifest.as_ref().map(Manifest::leak);
        let manifest = decision.manifest.map(|manifest| manifest.digest());
        let charter = decision.charter.map(|charter| charter.digest());
        let value = json!({
            "proposal": id.to_string(),
            "manifest": manifest,
            "leak": leak,
            "charter": charter,
            "origin": origin,
            "description": motion.description,
        });
        let mut rows = vec![("proposal", id.to_string())];
        rows.extend(manifest.map(|digest| ("manifest", digest.to_string())));
        rows.extend(leak.map(|leak| ("can tell at most", leak.to_string())));
        rows.extend(charter.map(|digest| ("charter", digest.to_string())));
        rows.extend(origin.map(|origin| ("commit", origin.commit.to_string())));
        rows.push(("description", motion.description));
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

/// The program's file, which has to be the one that the manifest names.
fn read(path: &Path, manifest: &Manifest) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (found, named) = (BlobId::of(&bytes), manifest.program.sha256());
    ensure!(
        found == named,
        "{} has the hash {found}, the manifest names {named}",
        path.display()
    );
    Ok(bytes)
}

/// Keeps manifest, program and source at the node, and refuses before that where the program is missing or could not run there.
async fn keep(
    client: &Client,
    manifest: &Manifest,
    program: Option<Vec<u8>>,
    source: Option<Bundle>,
) -> Result<()> {
    match program {
        Some(bytes) => {
            ensure!(
                bytes.len() <= MAX_BLOB_BYTES,
                "the program has more than {MAX_BLOB_BYTES} bytes"
            );
            fits(client, manifest, &bytes).await?;
            client.keep(bytes).await?;
        }
        None => {
            let missing = "the node does not have the program: give it with --program";
            let bytes = client
                .blob(manifest.program.sha256())
                .await
                .context(missing)?;
            fits(client, manifest, &bytes).await?;
        }
    }
    if let Some(source) = source {
        client.keep(source.as_bytes().to_vec()).await?;
    }
    client.keep(manifest.to_bytes()).await?;
    Ok(())
}

/// Refuses what no sandbox would run: nobody needs to vote on it.
async fn fits(client: &Client, manifest: &Manifest, program: &[u8]) -> Result<()> {
    if manifest.program.engine().is_some() {
        return plans(client, manifest, Query::parse(program)?).await;
    }
    if manifest.program.trainer().is_some() {
        Training::parse(program)?;
        return Ok(());
    }
    let (Some(language), Some(runtime)) = (manifest.program.language(), manifest.program.runtime())
    else {
        return check_world(program, World::Program).context("the program cannot run");
    };
    Code::check_sources(language, &Bundle::parse(program)?)?;
    ensure!(
        client.has(runtime).await?,
        "the node does not have the runtime {runtime}: its operator adds it with `collective node keep FILE`"
    );
    let runtime = client.blob(runtime).await?;
    check_world(&runtime, World::Runtime).context("the runtime cannot run")
}

/// Refuses a query that no node would run, before anything of it is kept. Where the worker that knows is not here, says so.
async fn plans(client: &Client, manifest: &Manifest, query: Query) -> Result<()> {
    let charter = client.collective().await?.charter;
    let source = charter.and_then(|charter| declared(&charter, manifest).cloned());
    let planned = match source {
        None => Planned::Unknown("no charter in force declares its records".into()),
        Some(source) => {
            let manifest = manifest.clone();
            let work = move || {
                let sandbox = Sandbox::of_this_binary(vec![], None);
                plan(&sandbox, &manifest, query, &source)
            };
            tokio::task::spawn_blocking(work).await?
        }
    };
    match planned {
        Planned::Yes => {}
        Planned::No(reason) => bail!("the query cannot run: {reason}"),
        Planned::Unknown(reason) => {
            eprintln!(
                "only the text of the query was checked here, nodes check its plan: {reason}"
            );
        }
    }
    Ok(())
}
