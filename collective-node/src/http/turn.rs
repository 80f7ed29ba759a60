//! One transaction at a time that the node pays for somebody: a second one would be paid for and change nothing.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// What is on its way to a block. Clones share it.
pub type Turns<K> = Arc<Mutex<HashSet<K>>>;

/// A transaction on its way, until it is mined or was not sent.
pub struct Turn<K: Eq + Hash> {
    turns: Turns<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> Turn<K> {
    /// The turn of `key`; `None` while another one is on its way.
    pub fn take(turns: &Turns<K>, key: K) -> Option<Self> {
        let mut waiting = turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Made only where it is had: one that is dropped ends the turn.
        waiting.insert(key.clone()).then(|| Self {
            turns: turns.clone(),
            key,
        })
    }
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let mut waiting = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&self.key);
    }
}
