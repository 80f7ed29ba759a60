//! Which contributions a released job read: as somebody noted it, checked against the released root, or derived again.

use bytes::Bytes;
use collective::id::Leaf;
use collective::merkle::MerkleTree;
use collective::permit::grant;

use super::{RewardError, Rewards};
use crate::blobs::{Blobs, given};
use crate::chain::Chain;
use crate::chain::facts::JobFact;
use crate::client::Client;
use crate::decision::Facts;
use crate::follower::View;

/// Who says what was in a job's input set. It counts where its root is the released one.
#[derive(Clone, Copy)]
pub enum Inputs<'a> {
    /// This node: as it noted it, or derived again.
    Own(&'a Rewards),
    /// Another one: as it noted it.
    Node(&'a Client),
}

impl Inputs<'_> {
    /// The input set that was released, or `None` where nobody gives it.
    ///
    /// # Errors
    /// [`RewardError::Ledger`] and [`RewardError::Blob`], of this node.
    pub async fn of(&self, job: u64, fact: &JobFact) -> Result<Option<Vec<Leaf>>, RewardError> {
        match self {
            Self::Own(rewards) => rewards.inputs(job, fact).await,
            Self::Node(node) => Ok(noted_by(node, job, fact).await),
        }
    }
}

impl Rewards {
    /// The input set that was released: as it was noted then, here or, for a key holder that did not sign this release, by the node
    /// that ran the job; or derived again from the facts at the lease's blocks, where the endpoint still proves them.
    async fn inputs(&self, job: u64, fact: &JobFact) -> Result<Option<Vec<Leaf>>, RewardError> {
        if let Some(list) = self.ledger.inputs(job, fact.lease.attempt).await?
            && let Some(bytes) = given(self.blobs.get(list).await)?
            && let Some(leaves) = released(&bytes, fact)
        {
            return Ok(Some(leaves));
        }
        let noted = match self.blobs.source() {
            Some(node) => noted_by(node, job, fact).await,
            None => None,
        };
        let view = self.view.borrow().clone();
        let leaves = match noted {
            Some(leaves) => Some(leaves),
            None => derived(&self.chain, &self.blobs, view, fact).await,
        };
        let Some(leaves) = leaves else {
            return Ok(None);
        };
        let list = serde_json::to_vec(&leaves).expect("plain JSON values");
        let list = self.blobs.put(Bytes::from(list)).await?;
        self.ledger
            .keep_inputs(job, fact.lease.attempt, list)
            .await?;
        Ok(Some(leaves))
    }
}

/// The released input set as a node noted it.
async fn noted_by(node: &Client, job: u64, fact: &JobFact) -> Option<Vec<Leaf>> {
    let record = node.job(job).await.ok()?.record?;
    let bytes = node.blob(record.inputs).await.ok()?;
    released(&bytes, fact)
}

/// The released input set from the facts at the lease's blocks, or `None` where the endpoint does not prove them any more.
pub(super) async fn derived(
    chain: &Chain,
    blobs: &Blobs,
    view: View,
    fact: &JobFact,
) -> Option<Vec<Leaf>> {
    let facts = Facts::as_leased(chain, blobs, view, fact).await.ok()?;
    let granted = grant(&facts.case_as_released(fact, fact.lease.node)).ok()?;
    let input = granted.input();
    (input.root() == fact.input_root).then(|| input.leaves().collect())
}

/// The list in these bytes, if it is the one that was released.
fn released(bytes: &[u8], fact: &JobFact) -> Option<Vec<Leaf>> {
    let leaves: Vec<Leaf> = serde_json::from_slice(bytes).ok()?;
    let words: Vec<_> = leaves.iter().map(|leaf| leaf.0).collect();
    let tree = MerkleTree::new(&words).ok()?;
    (tree.root() == fact.input_root).then_some(leaves)
}
