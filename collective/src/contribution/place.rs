//! Where a contributor keeps a sealed file (SPEC "Place"): signed, so that nobody else moves it, and told to nodes alone.

use std::fmt;

use alloy_primitives::{B256, Signature};
use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Registry, SignatureRefusal, check_signer};
use crate::id::{ContributorId, Leaf};

/// Bytes of an address: the longest signed ones that object stores give out, twice over.
pub const MAX_PLACE_BYTES: usize = 4_096;

/// An address that may hold a token, and so is its contributor's secret: neither Debug nor an error shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlaceUrl(String);

/// The text is no address that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a place has 1 to {MAX_PLACE_BYTES} bytes, printable ASCII without blanks")]
pub struct PlaceUrlRefusal;

impl PlaceUrl {
    /// The text. What it addresses, and whether a node goes there, is for the node to say.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PlaceUrl {
    type Error = PlaceUrlRefusal;

    fn try_from(text: String) -> Result<Self, PlaceUrlRefusal> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=MAX_PLACE_BYTES).contains(&text.len());
        (is_plain && fits)
            .then_some(Self(text))
            .ok_or(PlaceUrlRefusal)
    }
}

impl From<PlaceUrl> for String {
    fn from(url: PlaceUrl) -> Self {
        url.0
    }
}

impl fmt::Debug for PlaceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaceUrl(…)")
    }
}

/// What a contributor says of one contribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The contribution.
    pub leaf: Leaf,
    /// Of two places of a contribution the one with the higher number holds; an old one said again changes nothing.
    #[serde(with = "crate::decimal")]
    pub number: u64,
    /// Where the sealed file is.
    pub url: PlaceUrl,
}

impl Place {
    /// What the contributor's key signs (EIP-712). No contract reads it.
    pub fn signing_hash(&self, registry: &Registry) -> B256 {
        let typed = signed::Place {
            leaf: self.leaf.0,
            number: self.number,
            url: self.url.as_str().to_owned(),
        };
        typed.eip712_signing_hash(&registry.domain())
    }
}

/// A place and the contributor's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPlace {
    /// Where.
    pub place: Place,
    /// Over [`Place::signing_hash`], 65 bytes `r ‖ s ‖ v`.
    pub signature: Signature,
}

impl SignedPlace {
    /// Checks that `contributor` signed. That the contribution is theirs is for the caller to look up.
    ///
    /// # Errors
    /// [`SignatureRefusal`].
    pub fn check(
        &self,
        registry: &Registry,
        contributor: ContributorId,
    ) -> Result<(), SignatureRefusal> {
        check_signer(
            &self.signature,
            self.place.signing_hash(registry),
            contributor,
        )
    }
}

mod signed {
    alloy_sol_types::sol! {
        struct Place { bytes32 leaf; uint64 number; string url; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, b256, keccak256};

    fn url(text: &str) -> Result<PlaceUrl, PlaceUrlRefusal> {
        text.to_owned().try_into()
    }

    #[test]
    fn the_digest_binds_chain_registry_leaf_number_and_address() {
        let registry = Registry {
            chain_id: 31337,
            address: Address::repeat_byte(0x11),
        };
        let place = Place {
            leaf: Leaf(B256::repeat_byte(0x22)),
            number: 7,
            url: url("https://place.example/file.age?token=t").expect("an address"),
        };
        let vector = b256!("16a8bff4b3d0e62b6d7cc44d8adb58a30b844e4c428175eaa3972b08477e576c");
        assert_eq!(place.signing_hash(&registry), vector);
        // By hand, from EIP-712.
        let type_hash = keccak256("Place(bytes32 leaf,uint64 number,string url)");
        let number = B256::with_last_byte(7);
        let words = [
            type_hash,
            place.leaf.0,
            number,
            keccak256(place.url.as_str()),
        ];
        let domain = registry.domain().separator();
        let by_hand = keccak256([&[0x19, 1], &domain[..], &keccak256(words.concat())[..]].concat());
        assert_eq!(by_hand, vector);
    }

    #[test]
    fn an_address_shows_nowhere_by_accident() {
        let secret = url("https://place.example/?token=hidden").expect("an address");
        let place = Place {
            leaf: Leaf(B256::ZERO),
            number: 1,
            url: secret,
        };
        assert!(!format!("{place:?}").contains("hidden"));
        let longest = "a".repeat(MAX_PLACE_BYTES);
        assert!(url(&longest).is_ok());
        for text in [
            "",
            "https://a b",
            "https://ä",
            "a\n",
            &format!("{longest}a"),
        ] {
            assert_eq!(url(text), Err(PlaceUrlRefusal), "{text}");
        }
    }
}
