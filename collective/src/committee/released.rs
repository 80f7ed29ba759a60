//! What was released, file by file: the input set that t holders signed for, with the headers that go with it, and the
//! one key that partials are sealed to. Holder and node make the same value from the same facts.

use alloy_primitives::{Address, B256, U256, keccak256};

use super::equality::ProofContext;
use crate::id::{KeysHash, NodeId, TransportPin, sha256};
use crate::input::InputSet;
use crate::limits::MAX_PAGE_FILES;
use crate::receipt::{Escrow, Release};
use crate::seal::contribution::ContributionHeader;
use crate::seal::tagged::TaggedRecipient;

/// The files of one release in the order of their leaves. Its parts have been checked to fit.
#[derive(Clone, Debug)]
pub struct ReleasedFiles {
    release: Release,
    digest: B256,
    grantee: TaggedRecipient,
    headers: Vec<ContributionHeader>,
}

impl ReleasedFiles {
    /// `headers` are those of `input`, place by place; `recipient` is the node's, as `keys` names it.
    ///
    /// # Errors
    /// [`NotReleased`]: nothing may be given for what does not fit the release.
    pub fn new(
        escrow: &Escrow,
        release: &Release,
        input: &InputSet,
        keys: &NodeKeys,
        recipient: TaggedRecipient,
        headers: Vec<ContributionHeader>,
    ) -> Result<Self, NotReleased> {
        if release.input_root != input.root() || release.input_count != input.count() {
            return Err(NotReleased::AnotherInput);
        }
        let recipient_digest = sha256(recipient.to_string().as_bytes());
        let named = keys.hash() == release.keys && keys.node == release.node;
        if !named || keys.recipient != recipient_digest {
            return Err(NotReleased::AnotherGrantee);
        }
        if headers.len() != input.members().len() {
            return Err(NotReleased::Count {
                expected: input.count(),
                found: headers.len(),
            });
        }
        for (place, (header, member)) in (0..).zip(headers.iter().zip(input.members())) {
            if member.entry.commitment.header != header.sha256() {
                return Err(NotReleased::AnotherHeader { place });
            }
        }
        Ok(Self {
            release: release.clone(),
            digest: release.signing_hash(escrow),
            grantee: recipient,
            headers,
        })
    }

    /// What t holders signed.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The signing hash of the release: the name of the grant in every message.
    pub fn digest(&self) -> B256 {
        self.digest
    }

    /// The key that partials are sealed to.
    pub fn grantee(&self) -> &TaggedRecipient {
        &self.grantee
    }

    /// The headers, in the order of the input set.
    pub fn headers(&self) -> &[ContributionHeader] {
        &self.headers
    }

    /// How many messages one member needs for all files.
    pub fn pages(&self) -> u32 {
        pages(self.release.input_count)
    }

    /// The headers of one page, counted from 0.
    pub fn page(&self, page: u32) -> Option<&[ContributionHeader]> {
        self.headers
            .chunks(MAX_PAGE_FILES)
            .nth(usize::try_from(page).ok()?)
    }

    /// What proofs over these partials are bound to.
    pub fn proof_context(&self) -> ProofContext {
        ProofContext {
            collective: self.release.collective.into(),
            grant: self.digest.0,
            grantee: sha256(self.grantee.to_string().as_bytes()).0,
        }
    }
}

/// Pages of an input set of `count` files.
pub(super) fn pages(count: u32) -> u32 {
    count.div_ceil(u32::try_from(MAX_PAGE_FILES).expect("a few thousand"))
}

/// What NodeRegistry stores about a node and a collective accepts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeKeys {
    /// The node.
    pub node: NodeId,
    /// Who may change its entry.
    pub operator: Address,
    /// The account that signs for it.
    pub signer: Address,
    /// SHA-256 of its recipient string.
    pub recipient: B256,
    /// Bits of the roles it offers.
    pub roles: U256,
    /// What its evidence has to say; zero where none is asked for.
    pub measurement: B256,
    /// The key that it shows in TLS.
    pub transport: TransportPin,
}

impl NodeKeys {
    /// `keccak256(abi.encode(node, operator, signer, recipient, roles, measurement, transport))`.
    pub fn hash(&self) -> KeysHash {
        let words = [
            self.node.0,
            self.operator.into_word(),
            self.signer.into_word(),
            self.recipient,
            B256::from(self.roles),
            self.measurement,
            self.transport.0,
        ];
        KeysHash(keccak256(words.concat()))
    }
}

/// Why files and release do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReleased {
    /// Another input set than the signed one.
    #[error("the input set is not the released one")]
    AnotherInput,
    /// The recipient is not the one that the release's keys name.
    #[error("the recipient is not the released node's: ask under the keys of the lease")]
    AnotherGrantee,
    /// A header is missing or too many.
    #[error("{found} headers for {expected} files")]
    Count {
        /// Files in the input set.
        expected: u32,
        /// Headers handed over.
        found: usize,
    },
    /// The header at this place is not the one that the contributor signed.
    #[error("the header of file {place} is not the one that was contributed")]
    AnotherHeader {
        /// Place in the input set, from 0.
        place: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_hash_is_the_contracts() {
        // SPEC "Ids, leaves and heads".
        let keys = NodeKeys {
            node: NodeId(B256::repeat_byte(5)),
            operator: Address::with_last_byte(0xcc),
            signer: Address::with_last_byte(0xdd),
            recipient: B256::repeat_byte(4),
            roles: U256::from(3),
            measurement: B256::repeat_byte(8),
            transport: TransportPin(B256::repeat_byte(20)),
        };
        let known = "0x539a51213ca8134e5a080f99e18b10668ac5bf14282debe3b88baee2fae94f7f";
        assert_eq!(keys.hash().to_string(), known);
    }
}
