//! Liveness: which leaves of which contributions are asked for in an epoch, and what the answers come to (SPEC "Liveness").
//!
//! The draws follow from randomness that nobody knew when the contributions were anchored, so that who keeps all bytes
//! answers and who keeps some is found out in time. It shows that the bytes could be fetched then: neither that there are other
//! copies nor that what was sealed is any good.

use alloy_primitives::{Address, B256, U256, b256, keccak256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::contribution::{Commitment, leaf_count, root_by_path};
use crate::id::Leaf;
use crate::merkle::{MerkleTree, leaf_of};

pub use keepers::{Keepers, OwnDraw};
pub use standing::Standing;

mod keepers;
mod standing;

/// Seconds of one epoch: a day. An answer may come at any time within it.
pub const EPOCH_SECONDS: u64 = 24 * 60 * 60;

/// Draws over the whole pool in one epoch beside the one of each contribution: that a tenth of all bytes is lost shows with
/// 99 % on the first day (1 − 0.9^44), that a hundredth is within 300 draws with 95 %, in a week.
pub const POOL_DRAWS: u64 = 44;

/// keccak256("collective/v1/liveness-seed").
const SEED_DOMAIN: B256 = b256!("63e93d8803b28bd483e9ef7a00703680baf63e90826cee1d791ff4021940a9b9");

/// A day, counted from 1970-01-01 UTC, of one collective, and the randomness that came with its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Unix seconds divided by [`EPOCH_SECONDS`].
    pub number: u64,
    /// What all draws follow from.
    pub seed: B256,
}

impl Epoch {
    /// The epoch in which a block of this time lies.
    pub fn at(time: u64) -> u64 {
        time / EPOCH_SECONDS
    }

    /// Epoch `number` of a collective. `randomness` is the PREVRANDAO (EIP-4399) of the first block that is not older than its
    /// first second; LivenessRegistry has that proven with two headers.
    pub fn new(collective: Address, number: u64, randomness: B256) -> Self {
        let words = [
            SEED_DOMAIN,
            collective.into_word(),
            U256::from(number).into(),
            randomness,
        ];
        Self {
            number,
            seed: keccak256(words.concat()),
        }
    }

    /// The leaf of a contribution that is asked for in this epoch; its payload has `length` bytes.
    pub fn draw(&self, contribution: Leaf, length: u64) -> u64 {
        below(&[self.seed, contribution.0], u128::from(leaf_count(length))) as u64
    }

    /// All challenges of this epoch: one for each contribution, in the order given, then [`POOL_DRAWS`] over all their
    /// leaves, so that large ones are looked at more often. None where there is nothing to look at.
    pub fn challenges(&self, pool: &[(Leaf, u64)]) -> Vec<Challenge> {
        let each = pool.iter().map(|(leaf, length)| Challenge {
            contribution: *leaf,
            index: self.draw(*leaf, *length),
        });
        let ends: Vec<u128> = pool
            .iter()
            .scan(0, |end: &mut u128, (_, length)| {
                *end += u128::from(leaf_count(*length));
                Some(*end)
            })
            .collect();
        let draws = if pool.is_empty() { 0 } else { POOL_DRAWS };
        let drawn = (0..draws).map(|number| {
            let number: B256 = U256::from(number).into();
            let place = below(&[self.seed, B256::ZERO, number], ends[ends.len() - 1]);
            let which = ends.partition_point(|end| *end <= place);
            let before = if which == 0 { 0 } else { ends[which - 1] };
            Challenge {
                contribution: pool[which].0,
                // Below the leaves of one contribution.
                index: (place - before) as u64,
            }
        });
        each.chain(drawn).collect()
    }
}

/// A number below `bound`; 256 bits over at most 128 favour none by more than 2^-128.
fn below(words: &[B256], bound: u128) -> u128 {
    let drawn = U256::from_be_bytes(keccak256(words.concat()).0);
    (drawn % U256::from(bound)).to::<u128>()
}

/// One leaf that somebody has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Challenge {
    /// Whose payload.
    pub contribution: Leaf,
    /// Which leaf of it.
    pub index: u64,
}

/// What became of a challenge. The three that are not `Held` are kept apart, because they are different people's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The bytes came and are the right ones.
    Held,
    /// Bytes came and are others: lost or garbled.
    Wrong,
    /// Something answered, and not with bytes: it may be the place's fault or the asker's.
    Error,
    /// Nothing answered.
    Offline,
}

/// Times that a challenge is tried within its epoch, hours apart, before it counts as failed: of places that fail one try in
/// twenty, one in 160,000 fails a day.
pub const TRIES: u32 = 4;

impl Outcome {
    /// What the tries of one challenge come to: right bytes count whenever they came, wrong ones more than none.
    pub fn of_tries(tries: impl IntoIterator<Item = Self>) -> Self {
        tries.into_iter().min().unwrap_or(Self::Offline)
    }
}

/// Where a contribution's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Custody {
    /// The node has it.
    Escrow,
    /// Its contributor keeps it, at a place that the node reaches.
    Connected,
}

/// What an epoch's results say of one challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It was asked for.
    Asked(Custody, Outcome),
    /// It was not, or not any more: revoked, or at the end of its terms.
    Withdrawn,
}

impl Verdict {
    /// Whether the payload was asked for.
    pub fn is_asked(&self) -> bool {
        *self != Self::Withdrawn
    }

    /// All of them with the letter that stands for each, capital where the contributor keeps the bytes.
    const LETTERS: [(Self, u8); 9] = {
        use Custody::{Connected, Escrow};
        use Outcome::{Error, Held, Offline, Wrong};
        [
            (Self::Asked(Escrow, Held), b'h'),
            (Self::Asked(Escrow, Wrong), b'w'),
            (Self::Asked(Escrow, Error), b'e'),
            (Self::Asked(Escrow, Offline), b'o'),
            (Self::Asked(Connected, Held), b'H'),
            (Self::Asked(Connected, Wrong), b'W'),
            (Self::Asked(Connected, Error), b'E'),
            (Self::Asked(Connected, Offline), b'O'),
            (Self::Withdrawn, b'x'),
        ]
    };

    fn letter(self) -> u8 {
        let mut letters = Self::LETTERS.into_iter();
        let found = letters.find(|(verdict, _)| *verdict == self);
        found.expect("each verdict has a letter").1
    }

    fn of_letter(letter: u8) -> Option<Self> {
        let mut letters = Self::LETTERS.into_iter();
        letters
            .find(|(_, it)| *it == letter)
            .map(|(verdict, _)| verdict)
    }
}

/// How often each outcome came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// [`Outcome::Held`].
    pub held: u32,
    /// [`Outcome::Wrong`].
    pub wrong: u32,
    /// [`Outcome::Error`].
    pub error: u32,
    /// [`Outcome::Offline`].
    pub offline: u32,
}

/// What an epoch came to, as it is published: one letter a challenge, since everybody can redo the draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The collective.
    pub collective: Address,
    /// Number of the epoch.
    #[serde(with = "crate::decimal")]
    pub epoch: u64,
    /// Of the epoch's first block. The pool is what was anchored before it.
    pub randomness: B256,
    /// In the order of [`Epoch::challenges`].
    #[serde(with = "letters")]
    pub verdicts: Vec<Verdict>,
}

/// Why results are not those of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResultsRefusal {
    /// The bytes are no JSON of the documented shape.
    #[error("the results do not parse: {0}")]
    Malformed(String),
    /// Same content in other bytes would have two names.
    #[error("the results are not canonical JSON")]
    NotCanonical,
    /// Of something else.
    #[error("the results are of another collective, epoch or randomness")]
    Another,
    /// Not all that was drawn, or more.
    #[error("{expected} leaves were drawn, and {found} have a verdict")]
    Incomplete {
        /// Drawn.
        expected: usize,
        /// Told.
        found: usize,
    },
    /// The root on chain is over other answers.
    #[error("the verdicts are not those whose root was posted")]
    AnotherRoot,
}

impl Results {
    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`ResultsRefusal::Malformed`], [`ResultsRefusal::NotCanonical`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ResultsRefusal> {
        let results: Self = serde_json::from_slice(bytes)
            .map_err(|error| ResultsRefusal::Malformed(error.to_string()))?;
        if results.to_bytes() != bytes {
            return Err(ResultsRefusal::NotCanonical);
        }
        Ok(results)
    }

    /// Checks that these are verdicts on all that was drawn from this pool in this epoch, and on nothing else, and that
    /// `root` is over them. Whether they are true only asking oneself can tell.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(
        &self,
        collective: Address,
        number: u64,
        randomness: B256,
        pool: &[(Leaf, u64)],
        root: B256,
    ) -> Result<(), ResultsRefusal> {
        if (self.collective, self.epoch, self.randomness) != (collective, number, randomness) {
            return Err(ResultsRefusal::Another);
        }
        let challenges = self.challenges(pool);
        let (expected, found) = (challenges.len(), self.verdicts.len());
        if expected != found {
            return Err(ResultsRefusal::Incomplete { expected, found });
        }
        if self.root(&challenges) != Some(root) {
            return Err(ResultsRefusal::AnotherRoot);
        }
        Ok(())
    }

    /// What was drawn.
    pub fn challenges(&self, pool: &[(Leaf, u64)]) -> Vec<Challenge> {
        Epoch::new(self.collective, self.epoch, self.randomness).challenges(pool)
    }

    /// Canonical bytes (RFC 8785), kept as a blob.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("results are plain JSON values")
    }

    /// Root over the verdicts on these challenges, which goes on chain; `None` where nothing was drawn.
    pub fn root(&self, challenges: &[Challenge]) -> Option<B256> {
        let each = challenges.iter().zip(&self.verdicts);
        let leaves: Vec<_> = each
            .map(|(challenge, verdict)| challenge.leaf(*verdict))
            .collect();
        Some(MerkleTree::new(&leaves).ok()?.root())
    }

    /// How often each outcome came about.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for verdict in &self.verdicts {
            let Verdict::Asked(_, outcome) = verdict else {
                continue;
            };
            *match outcome {
                Outcome::Held => &mut counts.held,
                Outcome::Wrong => &mut counts.wrong,
                Outcome::Error => &mut counts.error,
                Outcome::Offline => &mut counts.offline,
            } += 1;
        }
        counts
    }
}

impl Challenge {
    /// Leaf of the tree over the answers.
    fn leaf(&self, verdict: Verdict) -> B256 {
        leaf_of(&[
            self.contribution.0,
            U256::from(self.index).into(),
            U256::from(verdict.letter()).into(),
        ])
    }
}

/// Verdicts as a string of letters.
mod letters {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Verdict;

    pub fn serialize<S: Serializer>(verdicts: &[Verdict], s: S) -> Result<S::Ok, S::Error> {
        let letters: String = verdicts.iter().map(|it| char::from(it.letter())).collect();
        s.serialize_str(&letters)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Verdict>, D::Error> {
        let letters = String::deserialize(d)?;
        let verdict = |letter| {
            Verdict::of_letter(letter)
                .ok_or_else(|| D::Error::custom(format!("no verdict has the letter {letter:#04x}")))
        };
        letters.bytes().map(verdict).collect()
    }
}

/// What bytes that came for a challenge come to, with their path to the root that the contributor signed.
pub fn judge(commitment: &Commitment, index: u64, bytes: &[u8], siblings: &[B256]) -> Outcome {
    match root_by_path(commitment.length, index, bytes, siblings) {
        Some(root) if root == commitment.payload => Outcome::Held,
        _ => Outcome::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTIVE: Address = Address::repeat_byte(0xc0);

    fn epoch(number: u64) -> Epoch {
        Epoch::new(COLLECTIVE, number, B256::repeat_byte(7))
    }

    fn pool() -> Vec<(Leaf, u64)> {
        let lengths = [0, 1, 1024, 1025, 200_000];
        let leaves = (1..).map(|n| Leaf(B256::with_last_byte(n)));
        leaves.zip(lengths).collect()
    }

    fn results(number: u64) -> Results {
        let held = Verdict::Asked(Custody::Connected, Outcome::Held);
        let verdicts = vec![held; epoch(number).challenges(&pool()).len()];
        Results {
            collective: COLLECTIVE,
            epoch: number,
            randomness: B256::repeat_byte(7),
            verdicts,
        }
    }

    #[test]
    fn the_domain_of_a_seed_is_its_name() {
        assert_eq!(SEED_DOMAIN, keccak256("collective/v1/liveness-seed"));
    }

    #[test]
    fn each_contribution_is_asked_once_and_the_pool_by_its_bytes() {
        let (pool, mut asked) = (pool(), [0_u64; 5]);
        for number in 0..100 {
            let challenges = epoch(number).challenges(&pool);
            assert_eq!(challenges.len() as u64, 5 + POOL_DRAWS);
            for (challenge, (leaf, length)) in challenges.iter().zip(&pool) {
                assert_eq!(challenge.contribution, *leaf);
                assert!(challenge.index < leaf_count(*length));
            }
            for challenge in &challenges[5..] {
                let which = pool
                    .iter()
                    .position(|(leaf, _)| *leaf == challenge.contribution);
                let which = which.expect("of the pool");
                assert!(challenge.index < leaf_count(pool[which].1));
                asked[which] += 1;
            }
        }
        // 201 leaves of which 196 are the last one's.
        let expected = 4400 * 196 / 201;
        assert!(asked[4].abs_diff(expected) < 60, "{asked:?}");
        assert!(epoch(1).challenges(&[]).is_empty());
        let longest = vec![(Leaf(B256::ZERO), u64::MAX); 3];
        for challenge in epoch(1).challenges(&longest) {
            assert!(challenge.index < leaf_count(u64::MAX));
        }
    }

    #[test]
    fn other_epochs_collectives_and_randomness_draw_others() {
        let pool = pool();
        let draws = |epoch: Epoch| epoch.challenges(&pool);
        let first = draws(epoch(1));
        assert_eq!(first, draws(epoch(1)));
        assert_ne!(first, draws(epoch(2)));
        let block = B256::repeat_byte(7);
        assert_ne!(first, draws(Epoch::new(Address::repeat_byte(1), 1, block)));
        assert_ne!(
            first,
            draws(Epoch::new(COLLECTIVE, 1, B256::repeat_byte(8)))
        );
    }

    #[test]
    fn results_answer_all_that_was_drawn_and_nothing_else() {
        let (results, pool, block) = (results(3), pool(), B256::repeat_byte(7));
        let root = results
            .root(&results.challenges(&pool))
            .expect("challenges");
        let check = |results: &Results| results.check(COLLECTIVE, 3, block, &pool, root);
        assert_eq!(check(&results), Ok(()));
        assert_eq!(Results::parse(&results.to_bytes()), Ok(results.clone()));

        for found in [48, 50] {
            let mut other = results.clone();
            other.verdicts.resize(found, Verdict::Withdrawn);
            let expected = 49;
            assert_eq!(
                check(&other),
                Err(ResultsRefusal::Incomplete { expected, found })
            );
        }
        for (verdict, _) in Verdict::LETTERS
            .iter()
            .filter(|it| it.0 != results.verdicts[7])
        {
            let mut other = results.clone();
            other.verdicts[7] = *verdict;
            assert_eq!(check(&other), Err(ResultsRefusal::AnotherRoot));
            assert_eq!(Results::parse(&other.to_bytes()), Ok(other));
        }
        for another in [
            results.check(COLLECTIVE, 4, block, &pool, root),
            results.check(Address::ZERO, 3, block, &pool, root),
            results.check(COLLECTIVE, 3, B256::ZERO, &pool, root),
        ] {
            assert_eq!(another, Err(ResultsRefusal::Another));
        }
        let spaced = [&results.to_bytes()[..], b" "].concat();
        assert_eq!(Results::parse(&spaced), Err(ResultsRefusal::NotCanonical));
        let text = String::from_utf8(results.to_bytes()).expect("JSON");
        for malformed in [
            text.replace("HHH", "HzH"),
            text.replace("HHH", "HéH"),
            "{}".into(),
        ] {
            let parsed = Results::parse(malformed.as_bytes());
            assert!(
                matches!(parsed, Err(ResultsRefusal::Malformed(_))),
                "{malformed}"
            );
        }
    }

    #[test]
    fn the_best_try_counts() {
        use Outcome::{Error, Held, Offline, Wrong};
        for (tries, expected) in [
            (vec![Offline, Wrong, Error, Held], Held),
            (vec![Offline, Wrong, Error], Wrong),
            (vec![Offline, Error, Offline], Error),
            (vec![Offline], Offline),
            (vec![], Offline),
        ] {
            assert_eq!(Outcome::of_tries(tries), expected);
        }
    }

    #[test]
    fn counts_are_of_what_was_asked() {
        let mut results = results(3);
        results.verdicts[1] = Verdict::Asked(Custody::Escrow, Outcome::Wrong);
        results.verdicts[2] = Verdict::Withdrawn;
        results.verdicts[3] = Verdict::Asked(Custody::Connected, Outcome::Offline);
        results.verdicts[4] = Verdict::Asked(Custody::Connected, Outcome::Error);
        let expected = Counts {
            held: 45,
            wrong: 1,
            error: 1,
            offline: 1,
        };
        assert_eq!(results.counts(), expected);
        results.verdicts.clear();
        assert_eq!(results.root(&[]), None);
    }
}
