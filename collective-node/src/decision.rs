//! The facts of one lease, read for a decision: what permits at `allowBlock`, what forbids at
//! `denyBlock` and at the newest block. Every key holder reads them for itself, and so does the node
//! that runs the program.

use alloy::primitives::B256;
use bytes::Bytes;
use collective::approval::Manifest;
use collective::id::{BlobId, ContributorId, NodeId};
use collective::input::{InputSet, Scope};
use collective::permit::{Allow, Case, Deny};
use collective::receipt::BlockRef;
use thiserror::Error;

use crate::blobs::{BlobError, Blobs};
use crate::chain::facts::JobFact;
use crate::chain::{Chain, ChainError};
use crate::follower::View;

/// Why the facts could not be read. The same reading may work later.
#[derive(Debug, Error)]
pub enum FactsError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The manifest that the lease names.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The endpoint knows less than it did.
    #[error("the endpoint's newest block {newest} is below block {known}, which was seen before")]
    Behind {
        /// Height now.
        newest: u64,
        /// Height seen, or named by the lease.
        known: u64,
    },
    /// A block that the lease names is not on the chain.
    #[error("block {0}, which the lease names, is not the one on the chain at its height")]
    Orphan(B256),
}

/// What a decision is made on; [`Case`] borrows from it.
pub struct Facts {
    /// Canonical bytes of the manifest.
    pub manifest: Bytes,
    /// At `allowBlock`.
    pub allow: Allow,
    /// At `denyBlock`.
    pub deny: Deny,
    /// At the newest block.
    pub latest: Deny,
    /// The index, and what is final.
    pub view: View,
    chain_id: u64,
}

impl Facts {
    /// Reads the facts that `fact`'s lease calls for, each proven at its block.
    ///
    /// # Errors
    /// [`FactsError`].
    pub async fn gather(
        chain: &Chain,
        blobs: &Blobs,
        view: View,
        fact: &JobFact,
    ) -> Result<Self, FactsError> {
        let mut facts = Self::as_leased(chain, blobs, view, fact).await?;
        let known = facts.deny.block;
        let newest = newest(chain, &facts.view, known.number).await?;
        if newest != known {
            let lease = &fact.lease;
            let named = named(&facts.view);
            facts.latest = chain
                .deny(newest, lease.manifest, lease.node, &named)
                .await?;
        }
        Ok(facts)
    }

    /// The same without the newest block: what the lease's own blocks say stays as it is for ever.
    ///
    /// # Errors
    /// [`FactsError`].
    pub async fn as_leased(
        chain: &Chain,
        blobs: &Blobs,
        view: View,
        fact: &JobFact,
    ) -> Result<Self, FactsError> {
        let lease = &fact.lease;
        let manifest = blobs.get(BlobId(lease.manifest.0)).await?;
        let allow_block = on_chain(chain, lease.allow_block).await?;
        let deny_block = on_chain(chain, lease.deny_block).await?;
        let allow = chain.allow(allow_block, lease.manifest, lease.node).await?;
        let view = view.of_epoch(chain, allow.epoch).await?;
        let named = named(&view);
        let deny = chain
            .deny(deny_block, lease.manifest, lease.node, &named)
            .await?;
        Ok(Self {
            manifest,
            allow,
            latest: deny.clone(),
            deny,
            view,
            chain_id: chain.deployment().chain_id,
        })
    }

    /// The case of `node`, which asks.
    pub fn case(&self, fact: &JobFact, node: NodeId) -> Case<'_> {
        let charter = self.view.charter_at(fact.lease.allow_block.0);
        Case {
            manifest: &self.manifest,
            chain_id: self.chain_id,
            node,
            lease: fact.lease,
            allow: &self.allow,
            deny: &self.deny,
            latest: &self.latest,
            finalized: self.view.finalized,
            silence: self.view.silence(),
            anchored: self.view.anchored(),
            list: charter.and_then(|charter| charter.admission.as_ref()),
            sources: charter.map_or(&[], |charter| &charter.sources),
        }
    }

    /// The case as it stood when the release was recorded: the record on chain is the decision, and
    /// what was taken back since then concerns later jobs.
    pub fn case_as_released(&self, fact: &JobFact, node: NodeId) -> Case<'_> {
        Case {
            latest: &self.deny,
            finalized: self.allow.block,
            silence: 0,
            ..self.case(fact, node)
        }
    }
}

/// The newest block; an endpoint that knows less than it did would hide a denial.
///
/// # Errors
/// [`FactsError::Behind`].
pub async fn newest(chain: &Chain, view: &View, seen: u64) -> Result<BlockRef, FactsError> {
    let newest = chain.latest().await?;
    let known = view.latest.number.max(seen);
    if newest.number < known {
        return Err(FactsError::Behind {
            newest: newest.number,
            known,
        });
    }
    Ok(newest)
}

/// What a run by this manifest reads where `allow` permits and `deny` forbids; nothing, if nobody's data passes.
///
/// # Errors
/// [`ChainError`].
pub async fn input_set(
    chain: &Chain,
    view: &View,
    manifest: &Manifest,
    allow: &BlockRef,
    deny: &BlockRef,
) -> Result<Option<InputSet>, ChainError> {
    let revocations = chain.revocations(deny, &named(view)).await?;
    let admission = chain.admission(allow).await?;
    let charter = view.charter_at(allow.number);
    let scope = Scope {
        selector: &manifest.dataset,
        purposes: manifest.purposes(),
        allow_block: allow.number,
        deny_time: deny.time,
        admission,
        list: charter.and_then(|charter| charter.admission.as_ref()),
        revocations: &revocations,
    };
    Ok(InputSet::derive(&scope, view.anchored()))
}

/// Everything anchored, as revocations name it.
fn named(view: &View) -> Vec<(ContributorId, u64)> {
    let anchored = view.anchored().iter();
    anchored
        .map(|anchored| {
            let contribution = &anchored.entry.contribution;
            (contribution.contributor, contribution.nonce)
        })
        .collect()
}

async fn on_chain(chain: &Chain, (height, hash): (u64, B256)) -> Result<BlockRef, FactsError> {
    let block = chain.at_height(height).await?;
    if block.hash == hash {
        Ok(block)
    } else {
        Err(FactsError::Orphan(hash))
    }
}
