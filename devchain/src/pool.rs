//! Transactions that wait for a block.
//!
//! Owns their order: per sender by nonce, across senders by arrival. Must not know balances or
//! fees.

use std::collections::BTreeMap;

use alloy::{
    consensus::{Transaction, TxEnvelope, transaction::Recovered},
    primitives::{Address, B256},
};

/// More waiting transactions than this are refused: each is kept in memory and looked at for every
/// block.
pub const MAX_WAITING: usize = 4_096;

/// A replacement must pay this many percent of what it replaces, as geth's pool asks by default.
const REPLACEMENT_PERCENT: u128 = 110;

/// Why a transaction may not wait.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolRefusal {
    /// The same bytes wait already.
    #[error("already known")]
    AlreadyKnown,
    /// Another transaction with this nonce waits and does not pay a tenth less.
    #[error("replacement transaction underpriced")]
    Underpriced,
    /// [`MAX_WAITING`] transactions wait.
    #[error("{MAX_WAITING} transactions wait already")]
    Full,
}

/// The waiting transactions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    queues: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    arrivals: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    tx: Recovered<TxEnvelope>,
    arrival: u64,
}

impl Pool {
    /// Lets `tx` wait, in place of one with the same sender and nonce if it pays enough more.
    pub(crate) fn add(&mut self, tx: Recovered<TxEnvelope>) -> Result<(), PoolRefusal> {
        if let Some(waiting) = self
            .queues
            .get(&tx.signer())
            .and_then(|queue| queue.get(&tx.nonce()))
        {
            if waiting.tx.tx_hash() == tx.tx_hash() {
                return Err(PoolRefusal::AlreadyKnown);
            }
            let asked = waiting
                .tx
                .max_fee_per_gas()
                .saturating_mul(REPLACEMENT_PERCENT);
            if tx.max_fee_per_gas().saturating_mul(100) < asked {
                return Err(PoolRefusal::Underpriced);
            }
        } else if self.queues.values().map(BTreeMap::len).sum::<usize>() >= MAX_WAITING {
            return Err(PoolRefusal::Full);
        }
        self.arrivals += 1;
        let waiting = Waiting {
            arrival: self.arrivals,
            tx,
        };
        self.queues
            .entry(waiting.tx.signer())
            .or_default()
            .insert(waiting.tx.nonce(), waiting);
        Ok(())
    }

    /// The transaction that came first among those whose nonce is the next of their sender.
    pub(crate) fn next(&self, nonce_of: impl Fn(Address) -> u64) -> Option<&Recovered<TxEnvelope>> {
        let ready = self
            .queues
            .iter()
            .filter_map(|(sender, queue)| queue.get(&nonce_of(*sender)));
        ready
            .min_by_key(|waiting| waiting.arrival)
            .map(|waiting| &waiting.tx)
    }

    /// Takes one transaction out.
    pub(crate) fn remove(&mut self, sender: Address, nonce: u64) {
        if let Some(queue) = self.queues.get_mut(&sender) {
            queue.remove(&nonce);
            if queue.is_empty() {
                self.queues.remove(&sender);
            }
        }
    }

    /// The first nonce from `nonce` on that no transaction of `sender` uses.
    pub(crate) fn nonce_after(&self, sender: Address, nonce: u64) -> u64 {
        let queue = self.queues.get(&sender);
        (nonce..)
            .find(|nonce| !queue.is_some_and(|queue| queue.contains_key(nonce)))
            .unwrap_or(u64::MAX)
    }

    /// The waiting transaction with this hash.
    pub(crate) fn find(&self, hash: B256) -> Option<&Recovered<TxEnvelope>> {
        let mut waiting = self.queues.values().flat_map(BTreeMap::values);
        waiting
            .find(|waiting| *waiting.tx.tx_hash() == hash)
            .map(|waiting| &waiting.tx)
    }
}

#[cfg(test)]
mod tests {
    use alloy::{
        consensus::{Signed, TxLegacy},
        primitives::Signature,
    };

    use super::*;

    #[test]
    fn the_pool_is_full_at_its_limit() {
        let mut pool = Pool::default();
        let sender = Address::repeat_byte(1);
        let tx = |nonce| {
            let tx = TxLegacy {
                nonce,
                ..Default::default()
            };
            let signed = Signed::new_unhashed(tx, Signature::test_signature());
            Recovered::new_unchecked(TxEnvelope::from(signed), sender)
        };
        for nonce in 0..MAX_WAITING as u64 {
            pool.add(tx(nonce)).expect("there is room");
        }
        assert_eq!(pool.add(tx(MAX_WAITING as u64)), Err(PoolRefusal::Full));
        assert_eq!(pool.nonce_after(sender, 0), MAX_WAITING as u64);
        pool.remove(sender, 0);
        assert_eq!(pool.add(tx(MAX_WAITING as u64)), Ok(()));
        assert_eq!(pool.nonce_after(sender, 0), 0);
    }
}
