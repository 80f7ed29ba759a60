//! Whose key speaks for a contributor's id (SPEC "Recovery").

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::{Address, B256, U256};
use collective::id::ContributorId;
use collective::receipt::BlockRef;

use super::{address, at, bits, field};
use crate::chain::{Chain, ChainError};

const RECOVERIES: B256 = B256::with_last_byte(7);

/// What ContributionRegistry keeps of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryFact {
    /// The key that took the id over, if one has.
    pub rotation: Option<Rotation>,
    /// Changes so far; the next signature names it.
    pub sequence: u32,
    /// Who may start a recovery.
    pub recovery: Option<Address>,
    /// The recovery that is under way.
    pub under_way: Option<UnderWay>,
}

/// That another key has taken an id over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Who speaks for the id now.
    pub controller: Address,
    /// In which block the account's own key first lost it: what is anchored in it or later does not count.
    pub block: u64,
}

/// A recovery that can be vetoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Who takes over.
    pub next: Address,
    /// Unix seconds from which anybody may finish it.
    pub finishable_at: u64,
}

impl RecoveryFact {
    /// The key that speaks for the id of `account`.
    pub fn controller(&self, account: Address) -> Address {
        self.rotation.map_or(account, |it| it.controller)
    }
}

impl Chain {
    /// How the recovery of an id stands, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn recovery(
        &self,
        block: &BlockRef,
        id: ContributorId,
    ) -> Result<RecoveryFact, ChainError> {
        let slot = at(id.0, RECOVERIES);
        let contributions = self.deployment.contributions;
        let slots = [0, 1, 2].map(|member| field(slot, member));
        let [first, recovery, next] = self.fixed(block, contributions, slots).await?;
        let under_way = UnderWay {
            next: address(next),
            finishable_at: bits(next, 160, 64),
        };
        Ok(RecoveryFact {
            rotation: rotation(first),
            sequence: bits(first, 224, 32) as u32,
            recovery: Some(address(recovery)).filter(|key| !key.is_zero()),
            under_way: Some(under_way).filter(|it| !it.next.is_zero()),
        })
    }

    /// Of which of these ids a recovery is under way, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn recovering(
        &self,
        block: &BlockRef,
        ids: &[ContributorId],
    ) -> Result<BTreeSet<ContributorId>, ChainError> {
        let next = |id: &ContributorId| field(at(id.0, RECOVERIES), 2);
        let slots: Vec<B256> = ids.iter().map(next).collect();
        let contributions = self.deployment.contributions;
        let words = self.words(block, contributions, &slots).await?;
        let under_way = ids
            .iter()
            .zip(words)
            .filter(|(_, word)| !address(*word).is_zero());
        Ok(under_way.map(|(id, _)| *id).collect())
    }

    /// Which of these ids another key has taken over, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn rotations(
        &self,
        block: &BlockRef,
        ids: impl IntoIterator<Item = ContributorId>,
    ) -> Result<HashMap<ContributorId, Rotation>, ChainError> {
        let ids: BTreeSet<ContributorId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let slots: Vec<B256> = ids.iter().map(|id| at(id.0, RECOVERIES)).collect();
        let contributions = self.deployment.contributions;
        let words = self.words(block, contributions, &slots).await?;
        let rotated = ids.into_iter().zip(words);
        Ok(rotated
            .filter_map(|(id, word)| Some((id, rotation(word)?)))
            .collect())
    }
}

fn rotation(first: U256) -> Option<Rotation> {
    let controller = address(first);
    let block = bits(first, 160, 64);
    (!controller.is_zero()).then_some(Rotation { controller, block })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::facts::{low_u64, tests::laid_out};

    #[test]
    fn the_slots_are_those_that_the_compiler_laid_out() {
        const CONTRIBUTIONS: &str =
            include_str!("../../../../contracts/artifacts/ContributionRegistry.json");
        let expected = (low_u64(RECOVERIES.into()), 0);
        assert_eq!(laid_out(CONTRIBUTIONS, "_recoveries"), expected);
        for (name, place) in [
            ("Recovery.controller", (0, 0)),
            ("Recovery.rotatedAt", (0, 20)),
            ("Recovery.sequence", (0, 28)),
            ("Recovery.recovery", (1, 0)),
            ("Recovery.next", (2, 0)),
            ("Recovery.finishableAt", (2, 20)),
        ] {
            assert_eq!(laid_out(CONTRIBUTIONS, name), place, "{name}");
        }
    }
}
