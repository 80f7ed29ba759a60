//! What a contributor allows, for how long (SPEC "Terms").

use std::fmt;
use std::str::FromStr;

use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::TermsDigest;

/// What an approved program does with records. An approval names exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Aggregates over many contributors leave the node.
    Statistics,
    /// A model fitted to the records leaves the node.
    Training,
    /// The records themselves go, sealed, to a requester's own node.
    Transfer,
}

impl Purpose {
    /// All purposes, in the order of their bits.
    pub const ALL: [Self; 3] = [Self::Statistics, Self::Training, Self::Transfer];

    fn bit(self) -> u8 {
        match self {
            Self::Statistics => 1,
            Self::Training => 2,
            Self::Transfer => 4,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Statistics => "statistics",
            Self::Training => "training",
            Self::Transfer => "transfer",
        })
    }
}

/// The word is none of the purposes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no purpose: use statistics, training or transfer")]
pub struct UnknownPurpose(String);

impl FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(word: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.to_string() == word)
            .ok_or_else(|| UnknownPurpose(word.to_owned()))
    }
}

/// A set of purposes: bit 0 statistics, bit 1 training, bit 2 transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Purposes(u8);

impl Purposes {
    /// Whether the set holds all of these.
    pub fn contains(self, wanted: impl Into<Self>) -> bool {
        let wanted = wanted.into();
        self.0 & wanted.0 == wanted.0
    }
}

/// As in a sentence: `training and transfer`.
impl fmt::Display for Purposes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Purpose::ALL.into_iter();
        let names = all.filter(|purpose| self.contains(*purpose));
        let names: Vec<String> = names.map(|purpose| purpose.to_string()).collect();
        f.write_str(&names.join(" and "))
    }
}

impl From<Purpose> for Purposes {
    fn from(purpose: Purpose) -> Self {
        Self(purpose.bit())
    }
}

impl FromIterator<Purpose> for Purposes {
    fn from_iter<I: IntoIterator<Item = Purpose>>(purposes: I) -> Self {
        Self(
            purposes
                .into_iter()
                .fold(0, |bits, purpose| bits | purpose.bit()),
        )
    }
}

/// A bit that no purpose has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("purposes {0:#010b} has a bit that this version does not know")]
pub struct UnknownPurposeBit(u8);

impl TryFrom<u8> for Purposes {
    type Error = UnknownPurposeBit;

    fn try_from(bits: u8) -> Result<Self, UnknownPurposeBit> {
        if bits < 8 {
            Ok(Self(bits))
        } else {
            Err(UnknownPurposeBit(bits))
        }
    }
}

impl From<Purposes> for u8 {
    fn from(purposes: Purposes) -> u8 {
        purposes.0
    }
}

/// A contributor's terms. Their digest is signed with the contribution; the terms travel beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What the data may be used for.
    pub purposes: Purposes,
    /// Unix seconds from which on nothing is allowed any more; block time decides.
    #[serde(with = "crate::decimal")]
    pub expiry: u64,
}

impl Terms {
    /// The digest that the contribution carries.
    pub fn digest(&self) -> TermsDigest {
        let terms = signed::Terms {
            purposes: self.purposes.0,
            expiry: self.expiry,
        };
        TermsDigest(terms.eip712_hash_struct())
    }

    /// Whether all of these purposes are allowed in a block of time `block_time` (Unix seconds).
    pub fn allow(&self, wanted: impl Into<Purposes>, block_time: u64) -> bool {
        self.purposes.contains(wanted) && !self.have_ended(block_time)
    }

    /// Whether nothing is allowed any more in a block of time `block_time` (Unix seconds).
    pub fn have_ended(&self, block_time: u64) -> bool {
        block_time >= self.expiry
    }
}

mod signed {
    alloy_sol_types::sol! {
        struct Terms { uint8 purposes; uint64 expiry; }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(purposes: &[Purpose], expiry: u64) -> Terms {
        Terms {
            purposes: purposes.iter().copied().collect(),
            expiry,
        }
    }

    #[test]
    fn only_named_purposes_are_allowed_and_only_before_expiry() {
        let terms = terms(&[Purpose::Statistics, Purpose::Transfer], 100);
        assert!(terms.allow(Purpose::Statistics, 99));
        assert!(!terms.allow(Purpose::Training, 99));
        assert!(!terms.allow(Purpose::Statistics, 100));
    }

    #[test]
    fn every_field_is_in_the_digest() {
        let base = terms(&[Purpose::Statistics], 100).digest();
        assert_ne!(base, terms(&[Purpose::Training], 100).digest());
        assert_ne!(base, terms(&[Purpose::Statistics], 101).digest());
    }

    #[test]
    fn unknown_bits_and_words_are_refused() {
        assert_eq!(Purposes::try_from(8), Err(UnknownPurposeBit(8)));
        assert!("resale".parse::<Purpose>().is_err());
        for purpose in Purpose::ALL {
            assert_eq!(purpose.to_string().parse(), Ok(purpose));
        }
    }
}
