//! Storage words that were proven, so that nobody asks for them again: what is proven of a block stays true of it.

use std::collections::{HashMap, VecDeque};

use alloy::primitives::{Address, B256, U256};

/// Words that are kept, 200 bytes each: those of some jobs at as many blocks as lie between the newest and the newest finalized one.
const WORDS_KEPT: usize = 16_384;

/// Words of one question that are kept: of everybody's revocations none are asked for again at the same block.
const WORDS_AT_ONCE: usize = 256;

/// In which block, of which contract, in which slot.
type Place = (B256, Address, B256);

/// The newest proven words.
#[derive(Default)]
pub(super) struct Proven {
    words: HashMap<Place, U256>,
    oldest_first: VecDeque<Place>,
}

impl Proven {
    /// These words, if all are kept.
    pub(super) fn words(
        &self,
        block: B256,
        contract: Address,
        slots: &[B256],
    ) -> Option<Vec<U256>> {
        let word = |slot: &B256| self.words.get(&(block, contract, *slot)).copied();
        slots.iter().map(word).collect()
    }

    /// Keeps words in the place of the oldest.
    pub(super) fn keep(&mut self, block: B256, contract: Address, slots: &[B256], words: &[U256]) {
        if slots.len() > WORDS_AT_ONCE {
            return;
        }
        for (slot, word) in slots.iter().zip(words) {
            let place = (block, contract, *slot);
            if self.words.insert(place, *word).is_none() {
                self.oldest_first.push_back(place);
            }
        }
        while self.oldest_first.len() > WORDS_KEPT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.words.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_of_one_block_contract_and_slot_and_the_oldest_make_way() {
        let mut proven = Proven::default();
        let (block, contract) = (B256::repeat_byte(1), Address::repeat_byte(2));
        let slots = [B256::repeat_byte(3), B256::repeat_byte(4)];
        let words = [U256::from(5), U256::ZERO];
        proven.keep(block, contract, &slots, &words);
        assert_eq!(proven.words(block, contract, &slots), Some(words.to_vec()));
        let other = B256::repeat_byte(9);
        assert_eq!(proven.words(other, contract, &slots), None);
        assert_eq!(proven.words(block, Address::ZERO, &slots), None);
        assert_eq!(proven.words(block, contract, &[slots[0], other]), None);
        for number in 0..WORDS_KEPT as u64 - 1 {
            let slot = B256::from(U256::from(number));
            proven.keep(block, contract, &[slot], &[U256::ONE]);
        }
        assert_eq!(proven.words(block, contract, &slots[..1]), None);
        assert_eq!(
            proven.words(block, contract, &slots[1..]),
            Some(vec![U256::ZERO])
        );
    }
}
