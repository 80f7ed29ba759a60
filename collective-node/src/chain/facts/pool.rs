//! What RewardDistributor keeps of the collective's money.

use alloy::primitives::{B256, U256};
use collective::receipt::BlockRef;

use super::{at, bits, field};
use crate::chain::{Chain, ChainError};

const POOLS: B256 = B256::with_last_byte(2);

/// The collective's pool in its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFact {
    /// What the active root pays in all.
    pub total: U256,
    /// The active root; zero before the first.
    pub root: B256,
    /// A root that waits for its challenge window to pass, or zero.
    pub pending_root: B256,
    /// What it would pay in all.
    pub pending_total: U256,
}

impl Chain {
    /// The collective's reward pool, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn pool(&self, block: &BlockRef) -> Result<PoolFact, ChainError> {
        let deployment = &self.deployment;
        let collective = at(deployment.collective.into_word(), POOLS);
        let pool = at(deployment.token.into_word(), collective);
        let slots = [2, 3, 4, 5, 6].map(|member| field(pool, member));
        let [total, root, mut pending_root, mut pending_total, state] =
            self.fixed(block, deployment.rewards, slots).await?;
        // What was pending once is written over by what is next.
        let active_from = bits(state, 64, 64);
        if active_from == 0 {
            (pending_root, pending_total) = Default::default();
        }
        Ok(PoolFact {
            total,
            root: root.into(),
            pending_root: pending_root.into(),
            pending_total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::facts::{low_u64, tests::laid_out};

    #[test]
    fn the_slots_are_those_that_the_compiler_laid_out() {
        const REWARDS: &str =
            include_str!("../../../../contracts/artifacts/RewardDistributor.json");
        assert_eq!(laid_out(REWARDS, "_pools"), (low_u64(POOLS.into()), 0));
        for (name, place) in [
            ("Pool.total", (2, 0)),
            ("Pool.root", (3, 0)),
            ("Pool.pendingRoot", (4, 0)),
            ("Pool.pendingTotal", (5, 0)),
            ("Pool.activeFrom", (6, 8)),
        ] {
            assert_eq!(laid_out(REWARDS, name), place, "{name}");
        }
    }
}
