//! Chain facts by storage slot (SPEC "Storage layout"), each proven at one block.
//!
//! The slots are those of `contracts/`, which are immutable; a test compares them with the layout
//! in the committed artifacts.

use alloy::primitives::{Address, B256, U256, keccak256};
use collective::admission::Admission;
use collective::id::{ContributorId, KeysHash, ManifestDigest, NodeId};
use collective::input::Revocations;
use collective::permit::{Allow, ApprovalStatus, ApprovedTerms, Deny, Lease};
use collective::receipt::BlockRef;

use super::{Chain, ChainError};
use collective_contracts::JobEscrow;

pub use liveness::EpochFact;
pub use nodes::{
    Announcement, CommitteeFact, MemberFact, NodeFact, ROLE_COMPUTE, ROLE_HEAVY, ROLE_KEYHOLDER,
};
pub use pool::PoolFact;
pub use recovery::{RecoveryFact, Rotation, UnderWay};

mod decided;
mod liveness;
mod nodes;
mod pool;
mod recovery;

/// Hash-chain heads of what was anchored for a collective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Of one aggregator's batches.
    pub batches: B256,
    /// Of direct contributions, whoever sent them.
    pub direct: B256,
}

/// The job's life in JobEscrow, in the order of its enum.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// No such job.
    None,
    /// Paid for, not begun.
    Requested,
    /// A node has it.
    Leased,
    /// The release is on chain: the run exists for everybody.
    Released,
    /// The receipt is on chain; the dispute window runs.
    Completed,
    /// Somebody who may has objected.
    Disputed,
    /// Everybody is paid.
    Settled,
    /// The requester has the money back.
    Refunded,
    /// Released, and no receipt came: the bond is gone.
    Abandoned,
}

impl TryFrom<u8> for JobState {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        const STATES: [JobState; 9] = [
            JobState::None,
            JobState::Requested,
            JobState::Leased,
            JobState::Released,
            JobState::Completed,
            JobState::Disputed,
            JobState::Settled,
            JobState::Refunded,
            JobState::Abandoned,
        ];
        STATES.get(usize::from(number)).copied().ok_or(number)
    }
}

/// A job as JobEscrow stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobFact {
    /// Where in its life it is.
    pub state: JobState,
    /// Who asked and paid.
    pub requester: Address,
    /// Unix seconds of the request.
    pub requested_at: u64,
    /// The newest lease; its fields are zero before the first.
    pub lease: Lease,
    /// Who signs for the node under this lease.
    pub signer: Address,
    /// Unix seconds of the release record.
    pub released_at: u64,
    /// Unix seconds of the receipt.
    pub completed_at: u64,
    /// Root of the released input set.
    pub input_root: B256,
    /// Contributions in the released input set.
    pub input_count: u32,
    /// Seconds from the release record to the receipt that the vote gives a heavy node; zero where it names none.
    pub return_seconds: u64,
    /// Struct hash of the receipt.
    pub receipt: B256,
}

impl JobFact {
    /// Unix seconds after which no receipt is taken.
    pub fn receipt_deadline(&self) -> u64 {
        let given = match self.return_seconds {
            0 => RECEIPT_SECONDS,
            given => given,
        };
        self.released_at.saturating_add(given)
    }
}

/// Seconds in which a receipt must follow its release where the vote gives no time of its own (JobEscrow's `RECEIPT_SECONDS`, immutable).
const RECEIPT_SECONDS: u64 = 24 * 60 * 60;

const APPROVALS: B256 = B256::with_last_byte(0);
const NODES: B256 = B256::with_last_byte(2);
const PUBLISHED: B256 = B256::with_last_byte(3);
const ACCEPTED_KEYS: B256 = B256::with_last_byte(4);
const CURRENT_EPOCH: B256 = B256::with_last_byte(5);
const COMMITTEE_HASH: B256 = B256::with_last_byte(6);
const CONVENED: B256 = B256::with_last_byte(7);
const HEAD: B256 = B256::with_last_byte(2);
const DIRECT_HEAD: B256 = B256::with_last_byte(3);
const REVOCATIONS: B256 = B256::with_last_byte(4);
const WATERMARK: B256 = B256::with_last_byte(5);
const ADMISSION: B256 = B256::with_last_byte(6);
const JOBS: B256 = B256::with_last_byte(6);
const RELEASE_HEAD: B256 = B256::with_last_byte(0);

impl Chain {
    /// Facts that permit, at one block.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn allow(
        &self,
        block: BlockRef,
        manifest: ManifestDigest,
        node: NodeId,
    ) -> Result<Allow, ChainError> {
        let (status, terms) = self.approval(&block, manifest).await?;
        let [accepted, epoch] = self
            .fixed(
                &block,
                self.deployment.nodes,
                [self.accepted_slot(node), self.epoch_slot()],
            )
            .await?;
        Ok(Allow {
            block,
            status,
            terms,
            accepted: KeysHash(accepted.into()),
            admission: self.admission(&block).await?,
            epoch: low_u64(epoch),
        })
    }

    /// Facts that forbid, at one block. Revocations are read for the contributions named:
    /// a contributor's watermark and the bitmap word of the nonce.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn deny(
        &self,
        block: BlockRef,
        manifest: ManifestDigest,
        node: NodeId,
        contributions: &[(ContributorId, u64)],
    ) -> Result<Deny, ChainError> {
        let (status, _) = self.approval(&block, manifest).await?;
        let fact = self.node(&block, node).await?;
        let [accepted] = self
            .fixed(&block, self.deployment.nodes, [self.accepted_slot(node)])
            .await?;
        Ok(Deny {
            block,
            status,
            accepted: KeysHash(accepted.into()),
            registered: fact.keys_hash(node),
            revocations: self.revocations(&block, contributions).await?,
        })
    }

    /// What the named contributions' owners have taken back.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn revocations(
        &self,
        block: &BlockRef,
        contributions: &[(ContributorId, u64)],
    ) -> Result<Revocations, ChainError> {
        let mut slots: Vec<(B256, ContributorId, Option<u64>)> = contributions
            .iter()
            .flat_map(|&(id, nonce)| {
                let word = nonce >> 8;
                let bitmap = at(id.0, REVOCATIONS);
                [
                    (at(id.0, WATERMARK), id, None),
                    (at(U256::from(word).into(), bitmap), id, Some(word)),
                ]
            })
            .collect();
        slots.sort_unstable_by_key(|(slot, ..)| *slot);
        slots.dedup_by_key(|(slot, ..)| *slot);
        let keys: Vec<B256> = slots.iter().map(|(slot, ..)| *slot).collect();
        let words = self
            .words(block, self.deployment.contributions, &keys)
            .await?;
        let mut revocations = Revocations::default();
        for ((_, id, word), value) in slots.into_iter().zip(words) {
            match word {
                None => revocations.set_watermark(id, value),
                Some(word) => revocations.set_word(id, word, value),
            }
        }
        Ok(revocations)
    }

    /// A manifest's status and the terms stored with it.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn approval(
        &self,
        block: &BlockRef,
        manifest: ManifestDigest,
    ) -> Result<(ApprovalStatus, ApprovedTerms), ChainError> {
        let collective = self.deployment.collective.into_word();
        let slot = at(manifest.0, at(collective, APPROVALS));
        let [status, token, price, bond, recipient, packed, node] = self
            .fixed(
                block,
                self.deployment.code,
                std::array::from_fn(|n| field(slot, n)),
            )
            .await?;
        let status = match status.byte(0) {
            1 => ApprovalStatus::Approved,
            2 => ApprovalStatus::Revoked,
            _ => ApprovalStatus::None,
        };
        let terms = ApprovedTerms {
            token: address(token),
            price,
            bond,
            recipient: recipient.into(),
            expiry: low_u64(packed),
            max_runs: bits(packed, 64, 32) as u32,
            contributors_bps: bits(packed, 96, 16) as u16,
            node_bps: bits(packed, 112, 16) as u16,
            return_seconds: bits(packed, 128, 32) as u32,
            node: NodeId(node.into()),
        };
        Ok((status, terms))
    }

    /// Who may contribute.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn admission(&self, block: &BlockRef) -> Result<Admission, ChainError> {
        let slot = at(self.deployment.collective.into_word(), ADMISSION);
        let [word] = self
            .fixed(block, self.deployment.contributions, [slot])
            .await?;
        Ok(Admission::from(B256::from(word)))
    }

    /// Hash-chain heads of one aggregator's batches and of all direct contributions.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn heads(&self, block: &BlockRef, aggregator: Address) -> Result<Heads, ChainError> {
        let collective = self.deployment.collective.into_word();
        let slots = [
            at(aggregator.into_word(), at(collective, HEAD)),
            at(collective, DIRECT_HEAD),
        ];
        let contributions = self.deployment.contributions;
        let [batches, direct] = self.fixed(block, contributions, slots).await?;
        Ok(Heads {
            batches: batches.into(),
            direct: direct.into(),
        })
    }

    /// How many jobs there are, of all collectives, by the endpoint's word.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn jobs(&self) -> Result<u64, ChainError> {
        let escrow = JobEscrow::new(self.deployment.escrow, &self.provider);
        Ok(escrow.jobs().call().await?.saturating_to())
    }

    /// A job of this collective.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn job(&self, block: &BlockRef, job: u64) -> Result<JobFact, ChainError> {
        let slot = at(U256::from(job).into(), JOBS);
        let words: [U256; 12] = self
            .fixed(
                block,
                self.deployment.escrow,
                std::array::from_fn(|n| field(slot, n)),
            )
            .await?;
        let state = words[0].byte(20);
        Ok(JobFact {
            state: JobState::try_from(state).unwrap_or(JobState::None),
            requester: address(words[2]),
            lease: Lease {
                job,
                attempt: bits(words[2], 160, 32) as u32,
                collective: address(words[0]),
                manifest: ManifestDigest(words[1].into()),
                node: NodeId(words[3].into()),
                keys: KeysHash(words[4].into()),
                allow_block: (low_u64(words[6]), words[7].into()),
                deny_block: (bits(words[6], 64, 64), words[8].into()),
                deadline: bits(words[2], 192, 64),
                epoch: bits(words[5], 160, 64),
            },
            signer: address(words[5]),
            requested_at: bits(words[0], 168, 64),
            released_at: bits(words[6], 128, 64),
            completed_at: bits(words[6], 192, 64),
            input_root: words[9].into(),
            input_count: bits(words[10], 0, 32) as u32,
            return_seconds: bits(words[10], 104, 32),
            receipt: words[11].into(),
        })
    }

    /// Head of the collective's chain of releases, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn release_head(&self, block: &BlockRef) -> Result<B256, ChainError> {
        let slot = at(self.deployment.collective.into_word(), RELEASE_HEAD);
        let [head] = self.fixed(block, self.deployment.escrow, [slot]).await?;
        Ok(head.into())
    }

    fn accepted_slot(&self, node: NodeId) -> B256 {
        at(
            node.0,
            at(self.deployment.collective.into_word(), ACCEPTED_KEYS),
        )
    }

    fn epoch_slot(&self) -> B256 {
        at(self.deployment.collective.into_word(), CURRENT_EPOCH)
    }

    async fn fixed<const N: usize>(
        &self,
        block: &BlockRef,
        contract: Address,
        slots: [B256; N],
    ) -> Result<[U256; N], ChainError> {
        let words = self.words(block, contract, &slots).await?;
        Ok(words.try_into().expect("as many words as slots"))
    }
}

/// Slot of `key` in the mapping at `slot` (Solidity "Layout of State Variables in Storage").
fn at(key: B256, slot: B256) -> B256 {
    keccak256([key, slot].concat())
}

/// The slot `offset` words after `slot`.
fn field(slot: B256, offset: usize) -> B256 {
    (U256::from_be_bytes(slot.0).wrapping_add(U256::from(offset))).into()
}

fn bits(word: U256, shift: usize, width: usize) -> u64 {
    let value = (word >> shift) & ((U256::from(1) << width) - U256::from(1));
    value.to::<u64>()
}

fn low_u64(word: U256) -> u64 {
    bits(word, 0, 64)
}

fn address(word: U256) -> Address {
    Address::from_word(B256::from(word & (U256::MAX >> 96)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slot and byte offset of a variable or struct member, as the compiler laid it out.
    pub(super) fn laid_out(artifact: &str, name: &str) -> (u64, u64) {
        let artifact: serde_json::Value = serde_json::from_str(artifact).expect("an artifact");
        let place = &artifact["storage"][name];
        let number = |key: &str| place[key].as_u64().unwrap_or_else(|| panic!("no {name}"));
        (number("slot"), number("offset"))
    }

    #[test]
    fn the_slots_are_those_that_the_compiler_laid_out() {
        const CODE: &str = include_str!("../../../contracts/artifacts/CodeRegistry.json");
        const CONTRIBUTIONS: &str =
            include_str!("../../../contracts/artifacts/ContributionRegistry.json");
        const ESCROW: &str = include_str!("../../../contracts/artifacts/JobEscrow.json");
        const REGISTRY: &str = include_str!("../../../contracts/artifacts/NodeRegistry.json");
        for (artifact, name, slot) in [
            (CODE, "_approvals", APPROVALS),
            (CONTRIBUTIONS, "head", HEAD),
            (CONTRIBUTIONS, "directHead", DIRECT_HEAD),
            (CONTRIBUTIONS, "revocations", REVOCATIONS),
            (CONTRIBUTIONS, "watermark", WATERMARK),
            (CONTRIBUTIONS, "admission", ADMISSION),
            (ESCROW, "_jobs", JOBS),
            (ESCROW, "releaseHead", RELEASE_HEAD),
            (REGISTRY, "_nodes", NODES),
            (REGISTRY, "_published", PUBLISHED),
            (REGISTRY, "acceptedKeys", ACCEPTED_KEYS),
            (REGISTRY, "currentEpoch", CURRENT_EPOCH),
            (REGISTRY, "committeeHash", COMMITTEE_HASH),
            (REGISTRY, "convened", CONVENED),
        ] {
            let expected = low_u64(slot.into());
            assert_eq!(laid_out(artifact, name), (expected, 0), "{name}");
        }
        for (artifact, name, place) in [
            (CODE, "Approval.status", (0, 0)),
            (CODE, "Approval.terms", (1, 0)),
            (CODE, "Terms.recipient", (3, 0)),
            (CODE, "Terms.expiry", (4, 0)),
            (CODE, "Terms.maxRuns", (4, 8)),
            (CODE, "Terms.contributorsBps", (4, 12)),
            (CODE, "Terms.nodeBps", (4, 14)),
            (CODE, "Terms.returnSeconds", (4, 16)),
            (CODE, "Terms.node", (5, 0)),
            (ESCROW, "Job.collective", (0, 0)),
            (ESCROW, "Job.state", (0, 20)),
            (ESCROW, "Job.manifest", (1, 0)),
            (ESCROW, "Job.requester", (2, 0)),
            (ESCROW, "Job.attempt", (2, 20)),
            (ESCROW, "Job.leaseDeadline", (2, 24)),
            (ESCROW, "Job.node", (3, 0)),
            (ESCROW, "Job.keysHash", (4, 0)),
            (ESCROW, "Job.signer", (5, 0)),
            (ESCROW, "Job.epoch", (5, 20)),
            (ESCROW, "Job.allowBlock", (6, 0)),
            (ESCROW, "Job.denyBlock", (6, 8)),
            (ESCROW, "Job.releasedAt", (6, 16)),
            (ESCROW, "Job.completedAt", (6, 24)),
            (ESCROW, "Job.allowHash", (7, 0)),
            (ESCROW, "Job.denyHash", (8, 0)),
            (ESCROW, "Job.inputRoot", (9, 0)),
            (ESCROW, "Job.inputCount", (10, 0)),
            (ESCROW, "Job.returnSeconds", (10, 13)),
            (ESCROW, "Job.receipt", (11, 0)),
            (REGISTRY, "Node.operator", (0, 0)),
            (REGISTRY, "Node.retired", (0, 20)),
            (REGISTRY, "Node.keys", (1, 0)),
            (REGISTRY, "NodeKeys.signer", (0, 0)),
            (REGISTRY, "NodeKeys.recipient", (1, 0)),
            (REGISTRY, "NodeKeys.roles", (2, 0)),
            (REGISTRY, "NodeKeys.measurement", (3, 0)),
            (REGISTRY, "NodeKeys.transport", (4, 0)),
            (REGISTRY, "Published.committee", (1, 0)),
            (REGISTRY, "Published.signers", (5, 0)),
            (REGISTRY, "Committee.epoch", (0, 0)),
            (REGISTRY, "Committee.threshold", (0, 8)),
            (REGISTRY, "Committee.senderProof", (0, 10)),
            (REGISTRY, "Committee.recipient", (1, 0)),
            (REGISTRY, "Committee.certificate", (2, 0)),
            (REGISTRY, "Committee.members", (3, 0)),
        ] {
            assert_eq!(laid_out(artifact, name), place, "{name}");
        }
    }
}
