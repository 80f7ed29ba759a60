//! The keys that a collective has had, one after another: which of them a contribution may be sealed to, and until when
//! (SPEC "Index", "Renewal").
//!
//! This module must not know where the facts come from: the caller has proven them.

use crate::seal::tagged::TaggedRecipient;

/// Seconds for which contributions to a key still count after the block that accepted another in its place: what was taken
/// in before is anchored within minutes, and an operator who finds the anchor stuck has an hour to mend it.
pub const RENEWAL_GRACE: u64 = 60 * 60;

/// A key from the block on in which the collective accepted the first committee that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Epoch of that committee: the key's name from here on.
    pub epoch: u64,
    /// Number of the accepting block.
    pub block: u64,
    /// Unix seconds of that block.
    pub time: u64,
    /// The key.
    pub recipient: TaggedRecipient,
}

/// A change of the ML-KEM half under the same P-256 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Epoch whose committee holds the new key.
    pub epoch: u64,
    /// Number of the block that accepted it.
    pub block: u64,
    /// Unix seconds from which on contributions to the old key count no more: [`RENEWAL_GRACE`] after that block.
    pub until: u64,
}

/// All keys of a collective up to some block, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<Key>);

impl Epochs {
    /// Takes over that a committee was accepted: `accepted` names its epoch and block. A committee that holds the key of the
    /// one before changes nothing.
    pub fn accept(&mut self, accepted: Key) {
        let same = |last: &Key| last.recipient == accepted.recipient;
        if !self.0.last().is_some_and(same) {
            self.0.push(accepted);
        }
    }

    /// The key with this name.
    pub fn key(&self, epoch: u64) -> Option<&Key> {
        self.0.iter().find(|key| key.epoch == epoch)
    }

    /// The key in force.
    pub fn present(&self) -> Option<&Key> {
        self.0.last()
    }

    /// Keys that what a block anchors may be sealed to, newest first: the one in force there, and those before it whose time
    /// is not over. `time` is the block's, in Unix seconds.
    pub fn open_at(&self, block: u64, time: u64) -> impl Iterator<Item = &Key> {
        let known = self.0.iter().take_while(move |key| key.block <= block);
        let known: Vec<&Key> = known.collect();
        let newest = known.len().saturating_sub(1);
        let open: Vec<&Key> = known
            .iter()
            .enumerate()
            .filter(|&(place, _)| {
                let next = known.get(place + 1);
                place == newest || next.is_some_and(|next| time < grace_end(next))
            })
            .map(|(_, key)| *key)
            .collect();
        open.into_iter().rev()
    }

    /// Name of the oldest key that has the P-256 key of the committee of `epoch`: what is sealed to older ones that committee
    /// cannot open.
    pub fn first_of_point(&self, epoch: u64) -> u64 {
        let mut until = self.0.iter().rev().skip_while(|key| key.epoch > epoch);
        let Some(present) = until.next() else {
            return 0;
        };
        let same = until.take_while(|key| key.recipient.point() == present.recipient.point());
        same.last().unwrap_or(present).epoch
    }

    /// The renewal that made the key of a committee of `epoch`; `None` where that has the first ML-KEM half of its P-256 key.
    pub fn renewal_of(&self, epoch: u64) -> Option<Renewal> {
        let place = self.0.iter().rposition(|key| key.epoch <= epoch)?;
        let [before, key] = self.0.get(place.checked_sub(1)?..=place)? else {
            return None;
        };
        (before.recipient.point() == key.recipient.point()).then(|| Renewal {
            epoch: key.epoch,
            block: key.block,
            until: grace_end(key),
        })
    }

    /// Whether a key under the P-256 key in force was replaced and came back: a committee was accepted that another ceremony
    /// of the same old committee had made before. Then no epoch says any more which copies of a seed are needed.
    pub fn came_back(&self) -> bool {
        let Some(present) = self.present() else {
            return false;
        };
        let point = present.recipient.point();
        let of_point = self.0.iter().rev();
        let mut of_point = of_point.take_while(|key| key.recipient.point() == point);
        let mut seen: Vec<&TaggedRecipient> = Vec::new();
        of_point.any(|key| {
            let known = seen.contains(&&key.recipient);
            seen.push(&key.recipient);
            known
        })
    }

    /// The newest renewal, whether its time is over or not.
    pub fn renewal(&self) -> Option<Renewal> {
        self.renewal_of(u64::MAX)
    }

    /// The keys, oldest first.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }
}

/// Unix seconds at which the key before this one is closed for good.
fn grace_end(key: &Key) -> u64 {
    key.time.saturating_add(RENEWAL_GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::curve::SecretScalar;
    use crate::seal::tagged::MlKemKey;

    fn recipient(point: u8, ml_kem: u8) -> TaggedRecipient {
        let scalar = SecretScalar::from_bytes(&[point; 32]).expect("a scalar");
        MlKemKey::from_seed(&[ml_kem; 64]).recipient(scalar.public())
    }

    fn key(epoch: u64, point: u8, ml_kem: u8) -> Key {
        Key {
            epoch,
            block: 10 * epoch,
            time: 10_000 * epoch,
            recipient: recipient(point, ml_kem),
        }
    }

    fn epochs(keys: &[(u64, u8, u8)]) -> Epochs {
        let mut epochs = Epochs::default();
        for &(epoch, point, ml_kem) in keys {
            epochs.accept(key(epoch, point, ml_kem));
        }
        epochs
    }

    fn open(epochs: &Epochs, block: u64, time: u64) -> Vec<u64> {
        epochs
            .open_at(block, time)
            .map(|key| key.epoch)
            .collect::<Vec<_>>()
    }

    #[test]
    fn a_key_counts_from_its_acceptance_until_an_hour_after_the_next() {
        let epochs = epochs(&[(1, 1, 1), (2, 1, 1), (3, 1, 2), (5, 1, 3)]);
        assert_eq!(epochs.keys().len(), 3, "a reshare keeps the key");
        assert_eq!(open(&epochs, 9, 9_999), [0; 0]);
        assert_eq!(open(&epochs, 10, 10_000), [1]);
        assert_eq!(open(&epochs, 29, 29_999), [1]);
        assert_eq!(open(&epochs, 30, 30_000), [3, 1]);
        assert_eq!(open(&epochs, 31, 33_599), [3, 1]);
        assert_eq!(open(&epochs, 31, 33_600), [3]);
        assert_eq!(open(&epochs, 50, 50_000), [5, 3]);
        assert_eq!(open(&epochs, 99, 53_600), [5]);
    }

    #[test]
    fn a_renewal_is_a_new_ml_kem_half_under_the_same_point() {
        let epochs = epochs(&[(1, 1, 1), (3, 1, 2), (4, 1, 2), (6, 2, 3), (7, 2, 4)]);
        let renewal = |epoch| epochs.renewal_of(epoch).map(|renewal| renewal.epoch);
        assert_eq!(renewal(1), None);
        assert_eq!(renewal(2), None);
        assert_eq!(renewal(3), Some(3));
        assert_eq!(renewal(5), Some(3), "its committees hold the renewed key");
        assert_eq!(renewal(6), None, "another P-256 key is another key");
        assert_eq!(epochs.renewal().expect("the last").until, 73_600);
        assert_eq!(epochs.first_of_point(u64::MAX), 6);
        assert_eq!(
            epochs.first_of_point(5),
            1,
            "what an earlier committee opened"
        );
        assert_eq!(Epochs::default().first_of_point(1), 0);
    }

    #[test]
    fn a_key_has_come_back_until_another_p256_key_is_accepted() {
        let came_back = |keys: &[(u64, u8, u8)]| epochs(keys).came_back();
        assert!(!came_back(&[]));
        assert!(!came_back(&[(1, 1, 1), (3, 1, 1), (4, 1, 2), (6, 1, 3)]));
        assert!(came_back(&[(1, 1, 1), (4, 1, 2), (6, 1, 1)]));
        assert!(
            came_back(&[(1, 1, 1), (4, 1, 2), (6, 1, 1), (7, 1, 3)]),
            "what was sealed to the second is still to be opened"
        );
        assert!(!came_back(&[(1, 1, 1), (4, 1, 2), (6, 1, 1), (7, 2, 4)]));
    }
}
