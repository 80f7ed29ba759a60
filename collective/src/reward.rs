//! Rewards: what jobs and epochs earned, divided among contributors, and the cumulative tree they claim from
//! (SPEC "Rewards"). Integer money; what does not divide goes to the treasury; nothing is lost.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, U512};
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

/// Money for contributors that has come in: of a settled job or of a settled epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earning {
    /// In the token's smallest unit.
    pub amount: U256,
    /// Who earned it, each once. The parts are to each other as these numbers.
    pub shares: Vec<(ContributorId, u64)>,
}

/// Why an earning cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RewardRefusal {
    /// One contributor would be paid twice.
    #[error("contributor {0} stands twice in one earning")]
    Twice(ContributorId),
    /// More than 2^256.
    #[error("the rewards overflow")]
    Overflow,
    /// What was given is not what came in: an error of this program.
    #[error("{came_in} came in and {given} would be given: nothing is paid by this")]
    NotConserved {
        /// The earning's amount.
        came_in: U256,
        /// What the accounts would have more.
        given: U256,
    },
}

impl Earning {
    /// The same for everybody.
    pub fn equal(amount: U256, contributors: impl IntoIterator<Item = ContributorId>) -> Self {
        Self {
            amount,
            shares: contributors.into_iter().map(|it| (it, 1)).collect(),
        }
    }

    /// What each gets, rounded down, in ascending order; last the treasury with what is left: all of it where nobody has a
    /// share.
    fn parts(&self, treasury: Address) -> Result<Vec<(ContributorId, U256)>, RewardRefusal> {
        let mut shares = self.shares.clone();
        shares.sort_unstable();
        if let Some(pair) = shares.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RewardRefusal::Twice(pair[0].0));
        }
        let all: u128 = shares.iter().map(|(_, share)| u128::from(*share)).sum();
        // 256 bits times 64 do not fit into 256, and the quotient is at most the amount.
        let part = |share: u64| {
            let part = U512::from(self.amount) * U512::from(share) / U512::from(all.max(1));
            U256::saturating_from(part)
        };
        let mut parts: Vec<_> = shares
            .iter()
            .map(|(id, share)| (*id, part(*share)))
            .collect();
        let given = sum(parts.iter().map(|(_, part)| *part))?;
        let came_in = self.amount;
        let left = came_in.checked_sub(given);
        let left = left.ok_or(RewardRefusal::NotConserved { came_in, given })?;
        parts.push((ContributorId::from_address(treasury), left));
        Ok(parts)
    }
}

impl RewardLedger {
    /// Divides an earning by its shares, each part rounded down; what is left goes to `treasury`.
    ///
    /// # Errors
    /// [`RewardRefusal`]; the ledger is then unchanged.
    pub fn credit(&mut self, earning: &Earning, treasury: Address) -> Result<(), RewardRefusal> {
        let mut next = self.clone();
        for (account, part) in earning.parts(treasury)? {
            next.add(account, part)?;
        }
        let (before, after) = (self.total()?, next.total()?);
        let (came_in, given) = (earning.amount, after.saturating_sub(before));
        if after < before || given != came_in {
            return Err(RewardRefusal::NotConserved { came_in, given });
        }
        *self = next;
        Ok(())
    }

    /// What this account was ever given.
    pub fn cumulative(&self, account: ContributorId) -> U256 {
        self.0.get(&account).copied().unwrap_or_default()
    }

    /// The sum over all accounts.
    ///
    /// # Errors
    /// [`RewardRefusal::Overflow`], which no ledger gives that earnings were credited to.
    pub fn total(&self) -> Result<U256, RewardRefusal> {
        sum(self.0.values().copied())
    }

    /// Whether nobody has less in the other one.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(account, amount)| *amount <= other.cumulative(*account))
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

fn sum(amounts: impl IntoIterator<Item = U256>) -> Result<U256, RewardRefusal> {
    let mut amounts = amounts.into_iter();
    amounts
        .try_fold(U256::ZERO, |sum, amount| sum.checked_add(amount))
        .ok_or(RewardRefusal::Overflow)
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
        let earning = Earning::equal(U256::from(100), [id(3), id(1), id(2)]);
        ledger.credit(&earning, TREASURY).expect("three people");
        assert_eq!(ledger.cumulative(id(1)), U256::from(33));
        let treasury = ContributorId::from_address(TREASURY);
        assert_eq!(ledger.cumulative(treasury), U256::from(1));
        assert_eq!(ledger.total(), Ok(U256::from(100)));
        // What nobody earned is the treasury's, and so is what is divided by shares of nothing.
        for shares in [vec![], vec![(id(1), 0)]] {
            let amount = U256::from(7);
            let earned = ledger.credit(&Earning { amount, shares }, TREASURY);
            earned.expect("nobody");
        }
        assert_eq!(ledger.cumulative(treasury), U256::from(15));
        assert_eq!(ledger.cumulative(id(1)), U256::from(33));
    }

    #[test]
    fn parts_are_to_each_other_as_the_shares_however_great_the_amount() {
        for amount in [U256::from(1_001), U256::MAX] {
            let shares = vec![(id(1), 1), (id(2), u64::MAX), (id(3), 2)];
            let parts = Earning { amount, shares }.parts(TREASURY);
            let parts = parts.expect("three people");
            let all = U512::from(u64::MAX) + U512::from(3);
            let whole = U512::from(amount) * U512::from(u64::MAX) / all;
            assert_eq!(U512::from(parts[1].1), whole);
            assert!(parts[2].1 >= parts[0].1 * U256::from(2));
            assert_eq!(sum(parts.iter().map(|(_, part)| *part)), Ok(amount));
        }
    }

    #[test]
    fn a_refused_earning_leaves_the_ledger_as_it_was() {
        let mut ledger = RewardLedger::default();
        let twice = Earning::equal(U256::from(9), [id(1), id(2), id(1)]);
        assert_eq!(
            ledger.credit(&twice, TREASURY),
            Err(RewardRefusal::Twice(id(1)))
        );
        assert_eq!(ledger, RewardLedger::default());
        let all = Earning::equal(U256::MAX, [id(1)]);
        ledger.credit(&all, TREASURY).expect("all that there is");
        let (kept, more) = (ledger.clone(), Earning::equal(U256::from(1), [id(2)]));
        assert_eq!(ledger.credit(&more, TREASURY), Err(RewardRefusal::Overflow));
        assert_eq!(ledger, kept);
    }

    #[test]
    fn a_ledger_is_within_one_that_gave_more_and_in_no_other() {
        let mut less = RewardLedger::default();
        let first = Earning::equal(U256::from(9), [id(1), id(2)]);
        less.credit(&first, TREASURY).expect("two people");
        let mut more = less.clone();
        let next = Earning::equal(U256::from(4), [id(2), id(3)]);
        more.credit(&next, TREASURY).expect("two people");
        assert!(less.is_within(&more) && less.is_within(&less));
        assert!(!more.is_within(&less));
    }

    #[test]
    fn every_claim_proves_under_the_root() {
        let mut ledger = RewardLedger::default();
        for round in 1..=3u64 {
            let earning = Earning::equal(U256::from(1_000 * round), (1..=20).map(id));
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
