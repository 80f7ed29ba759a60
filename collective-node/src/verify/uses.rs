//! Who used contributions: every release of the collective whose input set has one of them.
//!
//! A node opens nothing before its release is on chain, so the list is complete as far as the releases are: they are folded
//! into one head, which is proven. What a node says is believed where it hashes to what was released.

use std::collections::HashSet;

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use collective::approval::{Manifest, Recipient, SplitRule};
use collective::id::{BlobId, Leaf, ManifestDigest};
use collective::merkle::{self, MerkleTree};
use collective::receipt::BlockRef;
use collective::terms::Purpose;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::{JobFact, JobState};
use crate::chain::{Chain, ChainError};
use crate::driver::is_under_way;
use crate::rewards::Inputs;
use collective_contracts::JobEscrow;

/// Why uses could not be told.
#[derive(Debug, Error)]
pub enum UsesError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A manifest is not here.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The bytes behind a manifest's digest are none.
    #[error("the manifest {0} of a released job does not parse")]
    Manifest(ManifestDigest),
    /// The endpoint's log is not what the contract's storage proves.
    #[error(
        "the endpoint withholds releases: its logs fold to {folded}, the contract's storage proves {proven}"
    )]
    Withheld {
        /// From logs.
        folded: B256,
        /// From storage.
        proven: B256,
    },
}

/// One run that read a contribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// What it read.
    pub contribution: Leaf,
    /// The job.
    pub job: u64,
    /// What the members approved.
    pub manifest: ManifestDigest,
    /// For what.
    pub purpose: Purpose,
    /// The program.
    pub program: BlobId,
    /// Who got the output.
    pub recipient: Recipient,
    /// Unix seconds of the release.
    pub released: u64,
    /// How far the job is.
    pub state: JobState,
    /// Struct hash of its receipt; `None` while there is none.
    pub receipt: Option<B256>,
    /// Contributors of the input set.
    pub contributors: u32,
    /// What the job pays each of them in the smallest unit of `token`, where all get the same; paid once it is settled.
    pub share: Option<U256>,
    /// The token.
    pub token: Address,
    /// Root of the input set, as released.
    pub root: B256,
    /// Path from the contribution's leaf to it.
    pub proof: Vec<B256>,
}

/// All uses of some contributions up to a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uses {
    /// In the order of their releases.
    pub uses: Vec<Use>,
    /// Complete up to here.
    pub up_to: BlockRef,
    /// Released jobs of which nobody gave the input set: they may have read it.
    pub unknown: Vec<u64>,
}

impl Use {
    /// Whether it is of this contribution, and the path leads from there to the released root.
    pub fn holds(&self, contribution: Leaf) -> bool {
        self.contribution == contribution && merkle::verify(self.root, contribution.0, &self.proof)
    }
}

/// Reads the releases up to the newest finalized block.
///
/// # Errors
/// [`UsesError`].
pub async fn uses(
    chain: &Chain,
    blobs: &Blobs,
    contributions: &HashSet<Leaf>,
    inputs: Inputs<'_>,
) -> Result<Uses, UsesError> {
    let up_to = chain.finalized().await?;
    let mut told = Uses {
        uses: vec![],
        up_to,
        unknown: vec![],
    };
    for (job, fact) in released(chain, &up_to).await? {
        let Ok(Some(leaves)) = inputs.of(job, &fact).await else {
            told.unknown.push(job);
            continue;
        };
        let words: Vec<B256> = leaves.iter().map(|leaf| leaf.0).collect();
        let tree = MerkleTree::new(&words).expect("a list whose root was released");
        for (place, leaf) in leaves.into_iter().enumerate() {
            if contributions.contains(&leaf) {
                let proof = tree.proof(place).expect("a leaf of the tree");
                let read = one(chain, blobs, job, &fact, (leaf, proof)).await?;
                told.uses.push(read);
            }
        }
    }
    Ok(told)
}

/// The collective's jobs that may read in the future what is withdrawn in block `withdrawn`: their denials were read before.
///
/// # Errors
/// [`ChainError`].
pub async fn under_way(chain: &Chain, withdrawn: u64) -> Result<Vec<u64>, ChainError> {
    let latest = chain.latest().await?;
    let collective = chain.deployment().collective;
    let mut jobs = vec![];
    for job in 1..=chain.jobs().await? {
        let fact = chain.job(&latest, job).await?;
        if is_under_way(&fact, collective, latest.time) && fact.lease.deny_block.0 < withdrawn {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

/// The collective's jobs that were released up to a block, in that order, and all of them.
async fn released(chain: &Chain, up_to: &BlockRef) -> Result<Vec<(u64, JobFact)>, UsesError> {
    let deployment = chain.deployment();
    let filter = Filter::new()
        .address(deployment.escrow)
        .event_signature(JobEscrow::Released::SIGNATURE_HASH);
    let logs = chain
        .logs(filter, deployment.first_block, up_to.number)
        .await?;
    let job = |log: &Log| log.topics().get(1).map(|word| U256::from_be_bytes(word.0));
    let (mut found, mut folded) = (vec![], B256::ZERO);
    for job in logs.iter().filter_map(job) {
        let job = job.saturating_to();
        let fact = chain.job(up_to, job).await?;
        if fact.lease.collective != deployment.collective {
            continue;
        }
        let named = |(number, hash): (u64, B256)| BlockRef {
            number,
            hash,
            // Not in what is signed.
            time: 0,
        };
        let (allow, deny) = (named(fact.lease.allow_block), named(fact.lease.deny_block));
        folded = super::release(&fact, allow, deny).head(folded);
        found.push((job, fact));
    }
    let proven = chain.release_head(up_to).await?;
    if folded != proven {
        return Err(UsesError::Withheld { folded, proven });
    }
    Ok(found)
}

async fn one(
    chain: &Chain,
    blobs: &Blobs,
    job: u64,
    fact: &JobFact,
    (contribution, proof): (Leaf, Vec<B256>),
) -> Result<Use, UsesError> {
    let digest = fact.lease.manifest;
    let bytes = blobs.get(BlobId(digest.0)).await?;
    let manifest = Manifest::parse(&bytes).map_err(|_| UsesError::Manifest(digest))?;
    let newest = chain.job(&chain.latest().await?, job).await?;
    let payment = &manifest.payment;
    let all = payment.price * U256::from(payment.contributors_bps) / U256::from(10_000);
    Ok(Use {
        contribution,
        job,
        manifest: digest,
        purpose: manifest.purpose,
        program: manifest.program.sha256(),
        recipient: manifest.recipient,
        released: fact.released_at,
        state: newest.state,
        receipt: Some(newest.receipt).filter(|receipt| !receipt.is_zero()),
        contributors: fact.input_count,
        share: (payment.rule == SplitRule::Equal && !payment.distinct)
            .then(|| all / U256::from(fact.input_count.max(1))),
        token: payment.token,
        root: fact.input_root,
        proof,
    })
}
