//! Names that bind: one type per identifier, each a fixed 32-byte array derived from what it names.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, B256};
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = alloy_primitives::hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<B256> for $name {
            fn from(word: B256) -> Self {
                Self(word)
            }
        }
    )*};
}

id! {
    /// Who contributes: today the left-padded address that signs (SPEC "Contribution").
    ContributorId;
    /// `H(x(E))` of the collective stanza's ephemeral point: one contribution for ever (SPEC "Sealing").
    Point;
    /// EIP-712 struct hash of a [`crate::contribution::Commitment`].
    CommitmentDigest;
    /// EIP-712 struct hash of a contributor's [`crate::terms::Terms`].
    TermsDigest;
    /// A node of NodeRegistry: `keccak256(abi.encode(operator, salt))`.
    NodeId;
    /// Hash of everything a collective accepted about a node; a rotation changes it.
    KeysHash;
    /// SHA-256 of a canonical approval manifest: what members vote on.
    ManifestDigest;
    /// SHA-256 of stored bytes: the name of a blob.
    BlobId;
    /// Leaf of a batch: double keccak of the ABI-encoded contribution (OpenZeppelin's tree).
    Leaf;
    /// SHA-256 of the SubjectPublicKeyInfo (DER) of a node's TLS key (RFC 7469 §2.4; RFC 7250 sends that key bare).
    /// Zero stands for none.
    TransportPin;
}

impl ContributorId {
    /// The identifier of an account that signs with its own key.
    pub fn from_address(address: Address) -> Self {
        Self(address.into_word())
    }

    /// The account behind this identifier, or `None` where the upper 12 bytes are in use
    /// (a later kind of signer, which this version cannot check).
    pub fn address(&self) -> Option<Address> {
        self.0[..12]
            .iter()
            .all(|&byte| byte == 0)
            .then(|| Address::from_word(self.0))
    }
}

impl BlobId {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }
}

impl TransportPin {
    /// The pin of this SubjectPublicKeyInfo (DER).
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(sha256(public_key_info))
    }
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> B256 {
    B256::from_slice(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contributor_id_gives_back_its_address_only_when_it_is_one() {
        let address = Address::repeat_byte(0x42);
        assert_eq!(
            ContributorId::from_address(address).address(),
            Some(address)
        );
        assert_eq!(ContributorId(B256::repeat_byte(1)).address(), None);
    }

    #[test]
    fn the_pin_of_the_public_key_of_rfc_8410() {
        let spki = alloy_primitives::hex!(
            "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
        let known = "0xa1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f";
        assert_eq!(TransportPin::of(&spki), known.parse().expect("a literal"));
    }

    #[test]
    fn sha256_of_abc() {
        // FIPS 180-4, example 1.
        let known = "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(BlobId::of(b"abc"), known.parse().expect("a literal"));
    }
}
