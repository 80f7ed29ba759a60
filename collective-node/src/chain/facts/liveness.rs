//! What LivenessRegistry keeps of an epoch.

use alloy::primitives::{Address, B256, U256};
use collective::id::{BlobId, Leaf};
use collective::receipt::BlockRef;

use super::{address, at, bits, field};
use crate::chain::{Chain, ChainError};

const SEEDS: B256 = B256::with_last_byte(0);
const SHOWN: B256 = B256::with_last_byte(4);
const AUDITS: B256 = B256::with_last_byte(6);

/// A posted epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFact {
    /// Who posted it.
    pub auditor: Address,
    /// Randomness of the epoch's first block; zero before anybody kept it.
    pub randomness: B256,
    /// Root over the verdicts; zero where nothing was posted, or what was posted was vetoed.
    pub root: B256,
    /// The blob with the verdicts.
    pub results: BlobId,
    /// What was set aside for it, in the smallest unit of the collective's token.
    pub pay: U256,
    /// Whether its pay went to the contributors.
    pub settled: bool,
}

impl Chain {
    /// What is known of an epoch, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn epoch(&self, block: &BlockRef, epoch: u64) -> Result<EpochFact, ChainError> {
        let collective = self.deployment.collective.into_word();
        let key = B256::from(U256::from(epoch));
        let audit = at(key, at(collective, AUDITS));
        let slots = [
            at(key, SEEDS),
            audit,
            field(audit, 1),
            field(audit, 3),
            field(audit, 4),
        ];
        let [seed, root, results, pay, state] =
            self.fixed(block, self.deployment.liveness, slots).await?;
        Ok(EpochFact {
            auditor: address(state),
            randomness: seed.into(),
            root: root.into(),
            results: BlobId(results.into()),
            pay,
            settled: bits(state, 224, 8) == 1,
        })
    }

    /// Whether somebody showed what was drawn of a contribution, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn was_shown(
        &self,
        block: &BlockRef,
        epoch: u64,
        contribution: Leaf,
    ) -> Result<bool, ChainError> {
        let collective = self.deployment.collective.into_word();
        let of_epoch = at(U256::from(epoch).into(), at(collective, SHOWN));
        let slot = at(contribution.0, of_epoch);
        let [shown] = self.fixed(block, self.deployment.liveness, [slot]).await?;
        Ok(shown == U256::ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::facts::tests::laid_out;

    #[test]
    fn the_slots_are_those_that_the_compiler_laid_out() {
        const LIVENESS: &str =
            include_str!("../../../../contracts/artifacts/LivenessRegistry.json");
        for (name, slot) in [
            ("randomnessOf", SEEDS),
            ("shown", SHOWN),
            ("_audits", AUDITS),
        ] {
            let expected = super::super::low_u64(slot.into());
            assert_eq!(laid_out(LIVENESS, name), (expected, 0), "{name}");
        }
        for (name, place) in [
            ("Audit.root", (0, 0)),
            ("Audit.results", (1, 0)),
            ("Audit.pay", (3, 0)),
            ("Audit.auditor", (4, 0)),
            ("Audit.settled", (4, 28)),
        ] {
            assert_eq!(laid_out(LIVENESS, name), place, "{name}");
        }
    }
}
