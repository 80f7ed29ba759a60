//! A contribution that its contributor anchors without a batch: what stands beside it on chain, and when it counts (SPEC "Direct
//! contribution").

use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};
use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ContributionRefusal, Registry, SignedContribution};
use crate::id::{Leaf, sha256};
use crate::limits::MAX_HEADER_BYTES;

/// Bytes of an entry in JSON: seven words, a source's name and a signature.
pub const MAX_ENTRY_BYTES: usize = 4 * 1024;

/// Bytes of a signature, `r ‖ s ‖ v`.
const SIGNATURE_BYTES: usize = 65;

/// Bytes of the details that the contract takes (`MAX_DETAILS_BYTES`).
pub const MAX_DETAILS_BYTES: usize = 4 + MAX_ENTRY_BYTES + SIGNATURE_BYTES + MAX_HEADER_BYTES;

/// Everything with which a contributor anchors a contribution without the node that took it in, and the receipt for it afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectContribution {
    /// The leaf, what it opens to, and the contributor's signature.
    pub entry: SignedContribution,
    /// The node's word that the file is on its disk.
    pub acknowledgement: Signature,
    /// The sealed file's header.
    pub header: Bytes,
}

/// Why a direct contribution counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DirectRefusal {
    /// The details are not of the documented shape.
    #[error("the details beside it do not parse")]
    Malformed,
    /// Same content in other bytes.
    #[error("the entry in its details is not canonical JSON")]
    NotCanonical,
    /// The details are those of another leaf.
    #[error("its details are those of leaf {0}, another contribution")]
    AnotherLeaf(Leaf),
    /// For somebody else.
    #[error("it names collective {0}, another one")]
    AnotherCollective(Address),
    /// Digests or signature.
    #[error(transparent)]
    Entry(#[from] ContributionRefusal),
    /// Another header than the one that was signed.
    #[error("its header is not the one that the commitment names")]
    AnotherHeader,
    /// The bytes where the acknowledgement belongs are no signature over this leaf.
    #[error("its acknowledgement is no signature over this leaf")]
    NotAcknowledged,
    /// The node that is followed has not said that it has the file.
    #[error("it is acknowledged by {by}, and not by {expected}, who anchors what is contributed")]
    AnotherNode {
        /// Whose key it was.
        by: Address,
        /// Whose batches are followed.
        expected: Address,
    },
}

impl DirectContribution {
    /// What goes to the contract beside the leaf.
    pub fn details(&self) -> Vec<u8> {
        let entry = serde_json_canonicalizer::to_vec(&self.entry);
        let entry = entry.expect("an entry is plain JSON values");
        let length = u32::try_from(entry.len()).expect("an entry is a few hundred bytes");
        let acknowledgement = self.acknowledgement.as_bytes();
        [
            &length.to_be_bytes()[..],
            &entry,
            &acknowledgement,
            &self.header,
        ]
        .concat()
    }

    /// Reads details back: one encoding for each content.
    ///
    /// # Errors
    /// [`DirectRefusal::Malformed`], [`DirectRefusal::NotCanonical`].
    pub fn parse(details: &[u8]) -> Result<Self, DirectRefusal> {
        let read = || {
            let (length, rest) = details.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length) as usize;
            let (entry, rest) = rest.split_at_checked(length)?;
            let (acknowledgement, header) = rest.split_at_checked(SIGNATURE_BYTES)?;
            let fits = length <= MAX_ENTRY_BYTES && header.len() <= MAX_HEADER_BYTES;
            fits.then_some(())?;
            Some(Self {
                entry: serde_json::from_slice(entry).ok()?,
                acknowledgement: Signature::from_raw(acknowledgement).ok()?,
                header: Bytes::copy_from_slice(header),
            })
        };
        let direct = read().ok_or(DirectRefusal::Malformed)?;
        match direct.details() == details {
            true => Ok(direct),
            false => Err(DirectRefusal::NotCanonical),
        }
    }

    /// Checks openings, both signatures, and that this is the header. Whether the header follows the rules is for the reader to
    /// look at, as with an entry of a batch.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(
        &self,
        registry: &Registry,
        collective: Address,
        aggregator: Address,
    ) -> Result<Leaf, DirectRefusal> {
        let contribution = &self.entry.contribution;
        if contribution.collective != collective {
            return Err(DirectRefusal::AnotherCollective(contribution.collective));
        }
        let by = self.acknowledged_by(registry)?;
        if by != aggregator {
            let expected = aggregator;
            return Err(DirectRefusal::AnotherNode { by, expected });
        }
        Ok(contribution.leaf())
    }

    /// The same for whoever does not know whose batches are followed: says whose key acknowledged it.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn acknowledged_by(&self, registry: &Registry) -> Result<Address, DirectRefusal> {
        if sha256(&self.header) != self.entry.commitment.header {
            return Err(DirectRefusal::AnotherHeader);
        }
        self.entry.check(registry)?;
        let contribution = &self.entry.contribution;
        let hash = acknowledgement_hash(registry, contribution.collective, contribution.leaf());
        if self.acknowledgement.normalize_s().is_some() {
            return Err(DirectRefusal::NotAcknowledged);
        }
        let signer = self.acknowledgement.recover_address_from_prehash(&hash);
        signer.map_err(|_| DirectRefusal::NotAcknowledged)
    }
}

/// What a node signs for a leaf whose file it has (EIP-712).
pub fn acknowledgement_hash(registry: &Registry, collective: Address, leaf: Leaf) -> B256 {
    let leaf = leaf.0;
    signed::Acknowledgement { collective, leaf }.eip712_signing_hash(&registry.domain())
}

/// Hash-chain head of a collective's direct contributions after one more, as ContributionRegistry folds it; of the details their
/// Keccak-256.
pub fn direct_head(previous: B256, leaf: Leaf, details: B256) -> B256 {
    keccak256([previous, leaf.0, details].concat())
}

mod signed {
    alloy_sol_types::sol! {
        struct Acknowledgement { address collective; bytes32 leaf; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_story::anchored;

    #[test]
    fn details_have_one_encoding() {
        let direct = DirectContribution {
            entry: anchored(1, 7).entry,
            acknowledgement: Signature::test_signature(),
            header: Bytes::from_static(b"age-encryption.org/v1\n"),
        };
        let details = direct.details();
        assert_eq!(DirectContribution::parse(&details), Ok(direct.clone()));
        for end in 0..details.len() - direct.header.len() {
            let cut = DirectContribution::parse(&details[..end]);
            assert_eq!(cut, Err(DirectRefusal::Malformed), "{end}");
        }
        let spaced = serde_json::to_vec_pretty(&direct.entry).expect("plain JSON values");
        let length = u32::try_from(spaced.len()).expect("short").to_be_bytes();
        let behind = &details[details.len() - direct.header.len() - SIGNATURE_BYTES..];
        let spaced = [&length[..], &spaced, behind].concat();
        let refused = DirectContribution::parse(&spaced);
        assert_eq!(refused, Err(DirectRefusal::NotCanonical));
        let long = [&details[..], &[0; MAX_HEADER_BYTES]].concat();
        assert_eq!(
            DirectContribution::parse(&long),
            Err(DirectRefusal::Malformed)
        );
    }
}
