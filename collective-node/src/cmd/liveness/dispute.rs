//! `collective liveness dispute`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use alloy::primitives::{Bytes, U256};
use anyhow::{Context, Result, ensure};
use clap::Args;
use collective::contribution::{AnchorReceipt, SignedContribution, block_range, leaf_range};
use collective::liveness::Epoch;
use serde_json::json;

use crate::cmd::place::ChainAt;
use crate::cmd::secret;
use crate::cmd::show::show;
use crate::contributor::{outline, read_header};
use collective_contracts::LivenessRegistry;

/// Show on chain what was drawn of a contribution on a day: whatever the auditor says, it counts as held then.
///
/// The file is the sealed one that the contributor keeps. Anybody may, until the day can be settled.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective liveness dispute 20779 receipt.json record.age --key me.key"
)]
pub struct Dispute {
    /// Days since 1970-01-01 UTC.
    epoch: u64,
    /// What `contributions --receipt` wrote.
    receipt: PathBuf,
    /// The sealed file.
    file: PathBuf,
    /// Key file of the account that pays the gas.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    chain: ChainAt,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Dispute {
    pub async fn run(self) -> Result<bool> {
        let chain = self.chain.signer(secret::account(&self.key)?).await?;
        let deployment = chain.deployment();
        let receipt = std::fs::read(&self.receipt)
            .with_context(|| format!("reading {}", self.receipt.display()))?;
        let receipt: AnchorReceipt = serde_json::from_slice(&receipt)
            .with_context(|| format!("{} is no receipt", self.receipt.display()))?;
        receipt.check(&deployment.registry())?;
        let entry = receipt.entry();
        let reading = || format!("reading {}", self.file.display());
        let sealed = File::open(&self.file).with_context(reading)?;
        let header = read_header(&sealed).with_context(reading)?;
        let header =
            header.with_context(|| format!("{} is no sealed file", self.file.display()))?;
        let header = header.len() as u64;
        let outline = File::open(&self.file).and_then(outline);
        let outline = outline.with_context(reading)?;
        let outline = outline.context("the file was changed while it was read")?;
        ensure!(
            outline.root() == entry.commitment.payload,
            "{} is not the file that was contributed, or parts of it are lost: another copy may be whole",
            self.file.display()
        );
        let (epoch, leaf) = (self.epoch, entry.contribution.leaf());
        let fact = chain.epoch(&chain.latest().await?, epoch).await?;
        ensure!(
            !fact.randomness.is_zero(),
            "nothing is drawn for epoch {epoch}: its randomness was not kept"
        );
        let length = entry.commitment.length;
        let drawn = Epoch::new(deployment.collective, epoch, fact.randomness).draw(leaf, length);
        let range = leaf_range(length, drawn).expect("drawn below the number of leaves");
        let block = block_range(length, drawn).expect("drawn below the number of leaves");
        let mut bytes = vec![0; (block.end - block.start) as usize];
        let read = sealed.read_exact_at(&mut bytes, header + block.start);
        read.with_context(reading)?;
        let leaves = outline.leaves(drawn, &bytes);
        let path = leaves.and_then(|leaves| outline.path(drawn, &leaves));
        let path = path.context("the file was changed while it was read")?;
        let chunk =
            &bytes[(range.start - block.start) as usize..(range.end - block.start) as usize];
        let registry = LivenessRegistry::new(deployment.liveness, chain.provider());
        let (contribution, commitment) = on_chain(entry);
        let chunk = Bytes::copy_from_slice(chunk);
        let call = registry.disputeChunk(contribution, commitment, epoch, chunk, path);
        let gas = chain.submit(call).await?.gas_used;
        let value = json!({ "contribution": leaf, "shown": drawn, "gas": gas });
        let rows = [
            ("contribution", leaf.to_string()),
            ("shown", format!("KiB {drawn}, counted from 0")),
            ("gas", gas.to_string()),
        ];
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

fn on_chain(
    entry: &SignedContribution,
) -> (LivenessRegistry::Contribution, LivenessRegistry::Commitment) {
    let (contribution, commitment) = (&entry.contribution, &entry.commitment);
    let leaf = LivenessRegistry::Contribution {
        collective: contribution.collective,
        contributorId: contribution.contributor.0,
        point: contribution.point.0,
        commitment: contribution.commitment.0,
        terms: contribution.terms.0,
        nonce: U256::from(contribution.nonce),
    };
    let opened = LivenessRegistry::Commitment {
        header: commitment.header,
        payload: commitment.payload,
        length: commitment.length,
        source: commitment.source.clone(),
    };
    (leaf, opened)
}
