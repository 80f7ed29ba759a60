//! A contribution: what a contributor signs, what a batch anchors, what stays as a receipt
//! (SPEC "Contribution"). Sealed bytes are named here by their hashes and never seen.

use alloy_primitives::{Address, B256, Signature, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{CommitmentDigest, ContributorId, Leaf, Point, TermsDigest};
use crate::merkle::leaf_of;
use crate::terms::Terms;

pub use batch::{Batch, BatchReceipt, BatchRefusal, ReceiptRefusal, batch_head};
pub use direct::{
    DirectContribution, DirectRefusal, MAX_DETAILS_BYTES, MAX_ENTRY_BYTES, acknowledgement_hash,
    direct_head,
};
pub use payload_tree::{
    BLOCK_BYTES, LEAF_BYTES, PayloadOutline, PayloadTree, block_count, block_range, blocks,
    leaf_count, leaf_range, payload_root, root_by_path,
};
pub use place::{MAX_PLACE_BYTES, Place, PlaceUrl, PlaceUrlRefusal, SignedPlace};

mod batch;
mod direct;
mod payload_tree;
mod place;

/// The contract in whose name contributions are signed: chain and address are in every signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// ContributionRegistry's address.
    pub address: Address,
}

impl Registry {
    /// The EIP-712 domain of this registry.
    pub fn domain(&self) -> Eip712Domain {
        domain("ContributionRegistry", self.chain_id, self.address)
    }
}

/// The EIP-712 domain of one of the project's contracts; version "1" of each.
pub(crate) fn domain(name: &'static str, chain_id: u64, contract: Address) -> Eip712Domain {
    Eip712Domain {
        name: Some(name.into()),
        version: Some("1".into()),
        chain_id: Some(U256::from(chain_id)),
        verifying_contract: Some(contract),
        salt: None,
    }
}

/// The leaf that a contributor signs and a batch anchors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// The collective: one address, normally its timelock.
    pub collective: Address,
    /// Who contributes and alone may sign.
    pub contributor: ContributorId,
    /// The sealed file's ephemeral point, unique for the collective's whole life.
    pub point: Point,
    /// Digest of the [`Commitment`] to the sealed bytes.
    pub commitment: CommitmentDigest,
    /// Digest of the contributor's [`Terms`].
    pub terms: TermsDigest,
    /// The contributor's own numbering; revocation names it.
    #[serde(with = "crate::decimal")]
    pub nonce: u64,
}

/// Why a signature does not stand under a contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureRefusal {
    /// Somebody else's key signed.
    #[error("signed by {signer}, but the contribution names {contributor}")]
    AnotherSigner {
        /// Whose key it was.
        signer: Address,
        /// Who should have signed.
        contributor: ContributorId,
    },
    /// The bytes are no ECDSA signature over this contribution.
    #[error("the signature does not recover to any key")]
    NotASignature,
    /// `s` in the upper half of the order (EIP-2): the contract would refuse it.
    #[error("the signature's s is in the upper half of the order")]
    Malleable,
}

impl Contribution {
    /// Leaf of the batch tree: the six fields as ABI words, hashed twice.
    pub fn leaf(&self) -> Leaf {
        Leaf(leaf_of(&[
            self.collective.into_word(),
            self.contributor.0,
            self.point.0,
            self.commitment.0,
            self.terms.0,
            B256::from(U256::from(self.nonce)),
        ]))
    }

    /// What the contributor's key signs (EIP-712).
    pub fn signing_hash(&self, registry: &Registry) -> B256 {
        let typed = signed::Contribution {
            collective: self.collective,
            contributorId: self.contributor.0,
            point: self.point.0,
            commitment: self.commitment.0,
            terms: self.terms.0,
            nonce: U256::from(self.nonce),
        };
        typed.eip712_signing_hash(&registry.domain())
    }
}

/// A contribution with everything its digests stand for, except the sealed bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedContribution {
    /// The leaf.
    pub contribution: Contribution,
    /// What the leaf's `commitment` opens to.
    pub commitment: Commitment,
    /// What the leaf's `terms` opens to.
    pub terms: Terms,
    /// The contributor's signature over the leaf, 65 bytes `r ‖ s ‖ v`.
    pub signature: Signature,
}

/// Why a signed contribution does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ContributionRefusal {
    /// The commitment beside the leaf is not the one in it.
    #[error("the commitment sent is not the one that was signed")]
    AnotherCommitment,
    /// The terms beside the leaf are not the ones in it.
    #[error("the terms sent are not the ones that were signed")]
    AnotherTerms,
    /// The signature is not the contributor's.
    #[error(transparent)]
    Signature(#[from] SignatureRefusal),
}

impl SignedContribution {
    /// Checks that the leaf's digests open to what stands beside it and that the contributor signed.
    ///
    /// # Errors
    /// The first of the three that does not hold.
    pub fn check(&self, registry: &Registry) -> Result<(), ContributionRefusal> {
        if self.commitment.digest() != self.contribution.commitment {
            return Err(ContributionRefusal::AnotherCommitment);
        }
        if self.terms.digest() != self.contribution.terms {
            return Err(ContributionRefusal::AnotherTerms);
        }
        let hash = self.contribution.signing_hash(registry);
        Ok(check_signer(
            &self.signature,
            hash,
            self.contribution.contributor,
        )?)
    }
}

/// What proves for ever that a contribution was anchored, whichever way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnchorReceipt {
    /// In a batch.
    Batch(BatchReceipt),
    /// By its contributor.
    Direct(DirectContribution),
}

impl AnchorReceipt {
    /// The leaf, what it opens to, and the contributor's signature.
    pub fn entry(&self) -> &SignedContribution {
        match self {
            Self::Batch(receipt) => &receipt.entry,
            Self::Direct(direct) => &direct.entry,
        }
    }

    /// Checks what holds without a chain: openings and signatures, and the path to a batch's root. That root, or this leaf, stands on
    /// chain; that is for the caller to look up.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, registry: &Registry) -> Result<Leaf, ReceiptRefusal> {
        match self {
            Self::Batch(receipt) => receipt.check(registry),
            Self::Direct(direct) => {
                direct.acknowledged_by(registry)?;
                Ok(direct.entry.contribution.leaf())
            }
        }
    }
}

/// Whether `signature` over `hash` was made with the contributor's key.
pub(crate) fn check_signer(
    signature: &Signature,
    hash: B256,
    contributor: ContributorId,
) -> Result<(), SignatureRefusal> {
    if signature.normalize_s().is_some() {
        return Err(SignatureRefusal::Malleable);
    }
    let signer = signature
        .recover_address_from_prehash(&hash)
        .map_err(|_| SignatureRefusal::NotASignature)?;
    if contributor.address() != Some(signer) {
        return Err(SignatureRefusal::AnotherSigner {
            signer,
            contributor,
        });
    }
    Ok(())
}

/// The sealed bytes, named: the original header, the payload and its length, and the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// SHA-256 of the age header, from its first byte to the line feed after its MAC.
    pub header: B256,
    /// Root of the payload's [`PayloadTree`].
    pub payload: B256,
    /// Bytes of payload.
    #[serde(with = "crate::decimal")]
    pub length: u64,
    /// Name of the source whose schema the record follows.
    pub source: String,
}

impl Commitment {
    /// The digest that the contribution carries (EIP-712 struct hash).
    pub fn digest(&self) -> CommitmentDigest {
        let commitment = signed::Commitment {
            header: self.header,
            payload: self.payload,
            length: self.length,
            source: self.source.clone(),
        };
        CommitmentDigest(commitment.eip712_hash_struct())
    }
}

mod signed {
    alloy_sol_types::sol! {
        struct Contribution {
            address collective;
            bytes32 contributorId;
            bytes32 point;
            bytes32 commitment;
            bytes32 terms;
            uint256 nonce;
        }

        struct Commitment { bytes32 header; bytes32 payload; uint64 length; string source; }
    }
}
