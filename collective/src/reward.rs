//! Rewards: a job's share divided among contributors, and the cumulative tree they claim from
//! (SPEC "Rewards"). Integer money; what does not divide goes to the treasury; nothing is lost.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::contribution::domain;
use crate::id::{BlobId, ContributorId};
use crate::merkle::{MerkleTree, leaf_of};

/// Everything each account was ever given in one token, claimed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RewardLedger(BTreeMap<ContributorId, U256>);

/// A job whose contributors' share has come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earning {
    /// The contributors' share, in the token's smallest unit.
    pub amount: U256,
    /// Whose contributions were read, each once.
    pub contributors: Vec<ContributorId>,
}

/// Why an earning cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RewardRefusal {
    /// Money for nobody.
    #[error("a share of {0} came in for no contributor")]
    Nobody(U256),
    /// One contributor would be paid twice.
    #[error("contributor {0} stands twice in one earning")]
    Twice(ContributorId),
    /// More than 2^256.
    #[error("the rewards overflow")]
    Overflow,
}

impl RewardLedger {
    /// Divides an earning equally; the remainder goes to `treasury`.
    ///
    /// # Errors
    /// [`RewardRefusal`]; the ledger is then unchanged.
    pub fn credit(&mut self, earning: &Earning, treasury: Address) -> Result<(), RewardRefusal> {
        let people = U256::from(earning.contributors.len());
        if people.is_zero() {
            return Err(RewardRefusal::Nobody(earning.amount));
        }
        let (each, remainder) = earning.amount.div_rem(people);
        let mut next = self.clone();
        let mut sorted = earning.contributors.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RewardRefusal::Twice(pair[0]));
        }
        for contributor in sorted {
            next.add(contributor, each)?;
        }
        next.add(ContributorId::from_address(treasury), remainder)?;
        let expected = self
            .total()
            .checked_add(earning.amount)
            .ok_or(RewardRefusal::Overflow)?;
        assert_eq!(
            next.total(),
            expected,
            "conservation: what came in is what was given"
        );
        *self = next;
        Ok(())
    }

    /// What this account was ever given.
    pub fn cumulative(&self, account: ContributorId) -> U256 {
        self.0.get(&account).copied().unwrap_or_default()
    }

    /// The sum over all accounts.
    pub fn total(&self) -> U256 {
        self.0
            .values()
            .fold(U256::ZERO, |sum, amount| sum + *amount)
    }

    /// All accounts in ascending order with what each was ever given.
    pub fn accounts(&self) -> impl Iterator<Item = (ContributorId, U256)> {
        self.0.iter().map(|(id, amount)| (*id, *amount))
    }

    /// The tree to publish, or `None` while nobody has earned.
    pub fn tree(&self) -> Option<MerkleTree> {
        let leaves: Vec<B256> = self
            .0
            .iter()
            .map(|(id, amount)| leaf_of(&[id.0, B256::from(*amount)]))
            .collect();
        MerkleTree::new(&leaves).ok()
    }

    /// The canonical bytes whose SHA-256 goes on chain beside the root.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a reward ledger is plain JSON values")
    }

    fn add(&mut self, account: ContributorId, amount: U256) -> Result<(), RewardRefusal> {
        if amount.is_zero() {
            return Ok(());
        }
        let entry = self.0.entry(account).or_default();
        *entry = entry.checked_add(amount).ok_or(RewardRefusal::Overflow)?;
        Ok(())
    }
}

/// A ledger with its tree: what claims are answered from.
#[derive(Clone, Debug)]
pub struct Claims {
    accounts: Vec<(ContributorId, U256)>,
    tree: MerkleTree,
}

impl Claims {
    /// `None` while nobody has earned.
    pub fn new(ledger: &RewardLedger) -> Option<Self> {
        Some(Self {
            tree: ledger.tree()?,
            accounts: ledger.accounts().collect(),
        })
    }

    /// The root that the proofs lead to.
    pub fn root(&self) -> B256 {
        self.tree.root()
    }

    /// What `account` claims and the path that proves it, or `None` for somebody without a leaf.
    pub fn claim(&self, account: ContributorId) -> Option<(U256, Vec<B256>)> {
        let index = self
            .accounts
            .binary_search_by_key(&account, |(id, _)| *id)
            .ok()?;
        Some((self.accounts[index].1, self.tree.proof(index)?))
    }
}

/// What a quorum signs for a new root; the challenge window opens with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardRoot {
    /// The collective.
    pub collective: Address,
    /// The token.
    pub token: Address,
    /// Root of [`RewardLedger::tree`].
    pub root: B256,
    /// [`RewardLedger::total`].
    pub total: U256,
    /// SHA-256 of [`RewardLedger::to_bytes`].
    pub manifest: BlobId,
    /// Number of this root for (collective, token), counted from 1.
    pub sequence: u64,
    /// Epoch of the committee that signs.
    pub epoch: u64,
}

impl RewardRoot {
    /// What a key holder signs (EIP-712 in RewardDistributor's name).
    pub fn signing_hash(&self, chain_id: u64, distributor: Address) -> B256 {
        signed::RewardRoot {
            collective: self.collective,
            token: self.token,
            root: self.root,
            total: self.total,
            manifest: self.manifest.0,
            sequence: U256::from(self.sequence),
            epoch: self.epoch,
        }
        .eip712_signing_hash(&domain("RewardDistributor", chain_id, distributor))
    }
}

mod signed {
    alloy_sol_types::sol! {
        struct RewardRoot {
            address collective;
            address token;
            bytes32 root;
            uint256 total;
            bytes32 manifest;
            uint256 sequence;
            uint64 epoch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle;

    fn id(byte: u8) -> ContributorId {
        ContributorId::from_address(Address::with_last_byte(byte))
    }

    const TREASURY: Address = Address::repeat_byte(0xee);

    #[test]
    fn the_remainder_goes_to_the_treasury_and_nothing_is_lost() {
        let mut ledger = RewardLedger::default();
        let earning = Earning {
            amount: U256::from(100),
            contributors: vec![id(3), id(1), id(2)],
        };
        ledger.credit(&earning, TREASURY).expect("three people");
        assert_eq!(ledger.cumulative(id(1)), U256::from(33));
        assert_eq!(
            ledger.cumulative(ContributorId::from_address(TREASURY)),
            U256::from(1)
        );
        assert_eq!(ledger.total(), U256::from(100));
    }

    #[test]
    fn a_refused_earning_leaves_the_ledger_as_it_was() {
        let mut ledger = RewardLedger::default();
        let twice = Earning {
            amount: U256::from(9),
            contributors: vec![id(1), id(2), id(1)],
        };
        assert_eq!(
            ledger.credit(&twice, TREASURY),
            Err(RewardRefusal::Twice(id(1)))
        );
        let nobody = Earning {
            amount: U256::from(9),
            contributors: vec![],
        };
        assert_eq!(
            ledger.credit(&nobody, TREASURY),
            Err(RewardRefusal::Nobody(U256::from(9)))
        );
        assert_eq!(ledger, RewardLedger::default());
    }

    #[test]
    fn every_claim_proves_under_the_root() {
        let mut ledger = RewardLedger::default();
        for round in 1..=3u64 {
            let contributors = (1..=20).map(id).collect();
            let earning = Earning {
                amount: U256::from(1_000 * round),
                contributors,
            };
            ledger.credit(&earning, TREASURY).expect("twenty people");
        }
        let claims = Claims::new(&ledger).expect("people earned");
        let root = claims.root();
        for (account, amount) in ledger.accounts() {
            let (cumulative, proof) = claims.claim(account).expect("a leaf");
            assert_eq!(cumulative, amount);
            assert!(merkle::verify(
                root,
                leaf_of(&[account.0, B256::from(amount)]),
                &proof
            ));
            let more = B256::from(amount + U256::from(1));
            assert!(!merkle::verify(root, leaf_of(&[account.0, more]), &proof));
        }
        assert_eq!(claims.claim(id(99)), None);
    }
}
