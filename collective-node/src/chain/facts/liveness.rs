//! What LivenessRegistry keeps of an epoch.

use alloy::primitives::{Address, B256, U256};
use collective::id::{BlobId, Leaf};
use collective::receipt::BlockRef;

use super::{address, at, bits, field, low_u64};
use crate::chain::{Chain, ChainError};

const SEEDS: B256 = B256::with_last_byte(0);
const LAST: B256 = B256::with_last_byte(2);
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
    /// In which it is paid.
    pub token: Address,
    /// What was set aside for it, in the token's smallest unit.
    pub pay: U256,
    /// Unix seconds from which on nothing of it changes but that it is settled.
    pub settle_from: u64,
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
            field(audit, 2),
            field(audit, 3),
            field(audit, 4),
        ];
        let [seed, root, results, token, pay, state] =
            self.fixed(block, self.deployment.liveness, slots).await?;
        Ok(EpochFact {
            auditor: address(state),
            randomness: seed.into(),
            root: root.into(),
            results: BlobId(results.into()),
            token: address(token),
            pay,
            settle_from: bits(state, 160, 64),
            settled: bits(state, 224, 8) == 1,
        })
    }

    /// The newest epoch that was posted, proven at `block`; 0 before the first.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn last_epoch(&self, block: &BlockRef) -> Result<u64, ChainError> {
        let slot = at(self.deployment.collective.into_word(), LAST);
        let [last] = self.fixed(block, self.deployment.liveness, [slot]).await?;
        Ok(low_u64(last))
    }

    /// Whether somebody showed what was drawn of each of these contributions, proven at `block`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn shown(
        &self,
        block: &BlockRef,
        epoch: u64,
        contributions: &[Leaf],
    ) -> Result<Vec<bool>, ChainError> {
        let collective = self.deployment.collective.into_word();
        let of_epoch = at(U256::from(epoch).into(), at(collective, SHOWN));
        let slots: Vec<B256> = contributions.iter().map(|it| at(it.0, of_epoch)).collect();
        let words = self.words(block, self.deployment.liveness, &slots).await?;
        Ok(words.into_iter().map(|word| word == U256::ONE).collect())
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
            ("lastEpoch", LAST),
            ("shown", SHOWN),
            ("_audits", AUDITS),
        ] {
            let expected = low_u64(slot.into());
            assert_eq!(laid_out(LIVENESS, name), (expected, 0), "{name}");
        }
        for (name, place) in [
            ("Audit.root", (0, 0)),
            ("Audit.results", (1, 0)),
            ("Audit.token", (2, 0)),
            ("Audit.pay", (3, 0)),
            ("Audit.auditor", (4, 0)),
            ("Audit.settleFrom", (4, 20)),
            ("Audit.settled", (4, 28)),
        ] {
            assert_eq!(laid_out(LIVENESS, name), place, "{name}");
        }
    }
}
