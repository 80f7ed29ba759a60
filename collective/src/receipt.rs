//! What nodes and holders sign about a job (SPEC "Release", "Receipt"). EIP-712 in JobEscrow's name.

use alloy_primitives::{Address, B256, Signature, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::contribution::domain;
use crate::id::{BlobId, KeysHash, ManifestDigest, NodeId};

/// A block, pinned by number and hash, with the time it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Hash of the header.
    pub hash: B256,
    /// Unix seconds in the header.
    pub time: u64,
}

/// The contract in whose name releases and receipts are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escrow {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// JobEscrow's address.
    pub address: Address,
}

impl Escrow {
    /// The EIP-712 domain of this contract.
    pub fn domain(&self) -> Eip712Domain {
        domain("JobEscrow", self.chain_id, self.address)
    }
}

/// What a quorum signs before a node can open anything: this job, these blocks, this input, this key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The job's number in JobEscrow.
    pub job: u64,
    /// Which lease of the job, counted from 1.
    pub attempt: u32,
    /// The collective.
    pub collective: Address,
    /// The approved manifest.
    pub manifest: ManifestDigest,
    /// The node that may open.
    pub node: NodeId,
    /// Its keys when it took the lease.
    pub keys: KeysHash,
    /// Every fact that permits was read here.
    pub allow: BlockRef,
    /// Every fact that forbids was read here.
    pub deny: BlockRef,
    /// Root of the input set.
    pub input_root: B256,
    /// Contributions in the input set.
    pub input_count: u32,
    /// Epoch of the committee that released.
    pub epoch: u64,
}

impl Release {
    /// What a key holder signs.
    pub fn signing_hash(&self, escrow: &Escrow) -> B256 {
        self.typed().eip712_signing_hash(&escrow.domain())
    }

    /// Head of a collective's chain of releases after this one, as JobEscrow folds it.
    pub fn head(&self, previous: B256) -> B256 {
        keccak256([previous, self.typed().eip712_hash_struct()].concat())
    }

    fn typed(&self) -> signed::Release {
        signed::Release {
            job: U256::from(self.job),
            attempt: self.attempt,
            collective: self.collective,
            manifest: self.manifest.0,
            node: self.node.0,
            keys: self.keys.0,
            allowBlock: self.allow.number,
            allowHash: self.allow.hash,
            denyBlock: self.deny.number,
            denyHash: self.deny.hash,
            inputRoot: self.input_root,
            inputCount: self.input_count,
            epoch: self.epoch,
        }
    }
}

/// How a run ended. Both count as a run and pay: failing is no free channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// An output passed the output rule.
    Ran,
    /// The program failed, or its output broke the rule.
    Failed,
}

impl From<Outcome> for u8 {
    fn from(outcome: Outcome) -> u8 {
        match outcome {
            Outcome::Ran => 1,
            Outcome::Failed => 2,
        }
    }
}

/// What a run used up, as far as it is said: the approved limits, and the end of the bucket of time in which it ended, so that
/// the figures say nothing else of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Units of fuel, at most: the manifest's limit.
    pub fuel: u64,
    /// Bytes of linear memory, at most: the manifest's limit.
    pub memory_bytes: u64,
    /// Milliseconds of wall clock: a whole number of the manifest's buckets.
    pub milliseconds: u64,
}

/// A node's statement about one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The job's number in JobEscrow.
    pub job: u64,
    /// Which lease of the job.
    pub attempt: u32,
    /// The approved manifest.
    pub manifest: ManifestDigest,
    /// Hash of the block that permits were read at.
    pub allow_hash: B256,
    /// Hash of the block that denials were read at.
    pub deny_hash: B256,
    /// Root of the input set.
    pub input_root: B256,
    /// Contributions in the input set.
    pub input_count: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// SHA-256 of the sealed output; of the empty string where there is none.
    pub output: BlobId,
    /// Bytes of the sealed output: the same for every output of a manifest.
    pub output_bytes: u64,
    /// What it used up.
    pub usage: Usage,
    /// Digest of the sandbox description: engine version and layers that were on.
    pub sandbox: B256,
    /// Digest of the evidence the node had; zero where none was asked for.
    pub evidence: B256,
    /// Seconds between `denyBlock` and `allowBlock`: how much older permits may be than denials.
    pub lag: u64,
    /// SHA-256 of the quorum record: which holders released (SPEC "Quorum record").
    pub quorum: BlobId,
}

impl Receipt {
    /// What the node's signing key signs.
    pub fn signing_hash(&self, escrow: &Escrow) -> B256 {
        self.typed().eip712_signing_hash(&escrow.domain())
    }

    /// Struct hash, folded into ReceiptRegistry's hash chain.
    pub fn struct_hash(&self) -> B256 {
        self.typed().eip712_hash_struct()
    }

    /// Checks that `signer` signed this receipt.
    ///
    /// # Errors
    /// [`NotSigned`] with whoever did.
    pub fn check(
        &self,
        escrow: &Escrow,
        signature: &Signature,
        signer: Address,
    ) -> Result<(), NotSigned> {
        check_signed(signature, self.signing_hash(escrow), signer)
    }

    fn typed(&self) -> signed::Receipt {
        signed::Receipt {
            job: U256::from(self.job),
            attempt: self.attempt,
            manifest: self.manifest.0,
            allowHash: self.allow_hash,
            denyHash: self.deny_hash,
            inputRoot: self.input_root,
            inputCount: self.input_count,
            outcome: self.outcome.into(),
            output: self.output.0,
            outputBytes: self.output_bytes,
            fuel: self.usage.fuel,
            memoryBytes: self.usage.memory_bytes,
            milliseconds: self.usage.milliseconds,
            sandbox: self.sandbox,
            evidence: self.evidence,
            lag: self.lag,
            quorum: self.quorum.0,
        }
    }
}

/// What every member of a committee signs before NodeRegistry publishes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitteeStatement {
    /// For which collective.
    pub collective: Address,
    /// Counts up with every sharing of the key.
    pub epoch: u64,
    /// How many members open a file.
    pub threshold: u16,
    /// Whether files without sender proof are refused.
    pub sender_proof: bool,
    /// SHA-256 of the recipient string.
    pub recipient: BlobId,
    /// SHA-256 of the share certificate, against which everybody checks partial decryptions.
    pub certificate: BlobId,
    /// The members, in the order of their numbers.
    pub members: Vec<NodeId>,
}

impl CommitteeStatement {
    /// What a member signs (EIP-712 in NodeRegistry's name).
    pub fn signing_hash(&self, chain_id: u64, node_registry: Address) -> B256 {
        self.typed()
            .eip712_signing_hash(&domain("NodeRegistry", chain_id, node_registry))
    }

    /// The name under which the collective accepts it.
    pub fn struct_hash(&self) -> B256 {
        self.typed().eip712_hash_struct()
    }

    fn typed(&self) -> signed::Committee {
        signed::Committee {
            collective: self.collective,
            epoch: self.epoch,
            threshold: self.threshold,
            senderProof: self.sender_proof,
            recipient: self.recipient.0,
            certificate: self.certificate.0,
            members: self.members.iter().map(|member| member.0).collect(),
        }
    }
}

/// Another key, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not signed by {expected}")]
pub struct NotSigned {
    /// Whose signature was needed.
    pub expected: Address,
}

/// Checks an ECDSA signature over a prehash; the upper half of `s` is refused (EIP-2).
///
/// # Errors
/// [`NotSigned`].
pub fn check_signed(signature: &Signature, hash: B256, expected: Address) -> Result<(), NotSigned> {
    let low = signature.normalize_s().is_none();
    match signature.recover_address_from_prehash(&hash) {
        Ok(signer) if low && signer == expected => Ok(()),
        _ => Err(NotSigned { expected }),
    }
}

mod signed {
    alloy_sol_types::sol! {
        struct Committee {
            address collective;
            uint64 epoch;
            uint16 threshold;
            bool senderProof;
            bytes32 recipient;
            bytes32 certificate;
            bytes32[] members;
        }

        struct Release {
            uint256 job;
            uint32 attempt;
            address collective;
            bytes32 manifest;
            bytes32 node;
            bytes32 keys;
            uint64 allowBlock;
            bytes32 allowHash;
            uint64 denyBlock;
            bytes32 denyHash;
            bytes32 inputRoot;
            uint32 inputCount;
            uint64 epoch;
        }

        struct Receipt {
            uint256 job;
            uint32 attempt;
            bytes32 manifest;
            bytes32 allowHash;
            bytes32 denyHash;
            bytes32 inputRoot;
            uint32 inputCount;
            uint8 outcome;
            bytes32 output;
            uint64 outputBytes;
            uint64 fuel;
            uint64 memoryBytes;
            uint64 milliseconds;
            bytes32 sandbox;
            bytes32 evidence;
            uint64 lag;
            bytes32 quorum;
        }
    }
}
