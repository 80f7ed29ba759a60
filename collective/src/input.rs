//! The input set of a job: derived from facts, never chosen (SPEC "Input set").

use std::collections::{BTreeMap, HashMap};

use alloy_primitives::{B256, U256};
use serde::{Deserialize, Serialize};

use crate::admission::{Admission, AdmissionList};
use crate::approval::Selector;
use crate::contribution::SignedContribution;
use crate::id::{ContributorId, Leaf};
use crate::merkle::MerkleTree;
use crate::terms::Purposes;

/// A contribution that a block anchored, with its signature and its header checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchored {
    /// The signed leaf and its openings.
    pub entry: SignedContribution,
    /// Number of the anchoring block.
    pub block: u64,
    /// Unix seconds of the anchoring block.
    pub time: u64,
}

/// What contributors have taken back, as ContributionRegistry stores it at one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    watermarks: HashMap<ContributorId, U256>,
    words: HashMap<(ContributorId, u64), U256>,
}

/// Why no later job reads a contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Withdrawn {
    /// Its contributor took it back.
    Revoked,
    /// Its terms have ended.
    Expired,
}

impl Revocations {
    /// Whether a contribution is withdrawn in the block that these were read at, whose time is `time` (Unix seconds). What is
    /// withdrawn once stays so: nothing is unrevoked, and time only passes.
    pub fn withdrawn(&self, entry: &SignedContribution, time: u64) -> Option<Withdrawn> {
        let contribution = &entry.contribution;
        if self.contains(contribution.contributor, contribution.nonce) {
            Some(Withdrawn::Revoked)
        } else if entry.terms.have_ended(time) {
            Some(Withdrawn::Expired)
        } else {
            None
        }
    }

    /// Notes a contributor's watermark: every nonce below it is revoked.
    pub fn set_watermark(&mut self, contributor: ContributorId, watermark: U256) {
        self.watermarks.insert(contributor, watermark);
    }

    /// Notes one word of a contributor's bitmap: bit `nonce % 256` of word `nonce / 256`.
    pub fn set_word(&mut self, contributor: ContributorId, word: u64, bits: U256) {
        self.words.insert((contributor, word), bits);
    }

    /// Whether the contribution with this nonce is taken back.
    pub fn contains(&self, contributor: ContributorId, nonce: u64) -> bool {
        let below = self
            .watermarks
            .get(&contributor)
            .is_some_and(|mark| U256::from(nonce) < *mark);
        let bit = self
            .words
            .get(&(contributor, nonce >> 8))
            .is_some_and(|word| word.bit((nonce & 0xff) as usize));
        below || bit
    }
}

/// The facts that decide which contributions a job reads.
pub struct Scope<'a> {
    /// What the manifest asks for.
    pub selector: &'a Selector,
    /// What it is for.
    pub purposes: Purposes,
    /// Batches count up to this block.
    pub allow_block: u64,
    /// Terms expire by the time of the block at which denials are read (Unix seconds).
    pub deny_time: u64,
    /// Who is admitted, by ContributionRegistry's word.
    pub admission: Admission,
    /// The list behind that word, where there is one.
    pub list: Option<&'a AdmissionList>,
    /// What is taken back at `denyBlock`.
    pub revocations: &'a Revocations,
}

impl Scope<'_> {
    fn holds(&self, anchored: &Anchored) -> bool {
        let SignedContribution {
            contribution,
            commitment,
            terms,
            ..
        } = &anchored.entry;
        anchored.block <= self.allow_block
            && commitment.source == self.selector.source
            && self
                .selector
                .since
                .is_none_or(|since| since <= anchored.time)
            && self
                .selector
                .until
                .is_none_or(|until| anchored.time < until)
            && terms.allow(self.purposes, self.deny_time)
            && !self
                .revocations
                .contains(contribution.contributor, contribution.nonce)
    }
}

/// What one job reads: at most one contribution of each contributor, in the order of their leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSet {
    members: Vec<Anchored>,
    root: B256,
}

impl InputSet {
    /// Applies every rule to every anchored contribution, in the order in which they were anchored.
    ///
    /// The contributor is the unit: of several contributions that pass, the one with the highest
    /// nonce counts, and of several under one nonce the first that was anchored. So nobody gains
    /// weight or a second share by contributing often. `None` when nothing passes.
    pub fn derive<'a>(
        scope: &Scope<'_>,
        anchored: impl IntoIterator<Item = &'a Anchored>,
    ) -> Option<Self> {
        let list = match scope.admission {
            Admission::Root(root) => scope.list.filter(|list| list.root() == root),
            Admission::Open | Admission::Closed => None,
        };
        let is_admitted = |id: ContributorId| match scope.admission {
            Admission::Closed => false,
            Admission::Open => true,
            Admission::Root(_) => list.is_some_and(|list| list.contains(id)),
        };
        let mut chosen: BTreeMap<ContributorId, &Anchored> = BTreeMap::new();
        for candidate in anchored {
            let contribution = &candidate.entry.contribution;
            if !scope.holds(candidate) || !is_admitted(contribution.contributor) {
                continue;
            }
            chosen
                .entry(contribution.contributor)
                .and_modify(|current| {
                    if contribution.nonce > current.entry.contribution.nonce {
                        *current = candidate;
                    }
                })
                .or_insert(candidate);
        }
        let mut members: Vec<Anchored> = chosen.into_values().cloned().collect();
        members.sort_unstable_by_key(|member| member.entry.contribution.leaf());
        let leaves: Vec<B256> = members
            .iter()
            .map(|m| m.entry.contribution.leaf().0)
            .collect();
        let root = MerkleTree::new(&leaves).ok()?.root();
        Some(Self { members, root })
    }

    /// The contributions, in the order of their leaves.
    pub fn members(&self) -> &[Anchored] {
        &self.members
    }

    /// Leaves in ascending order: what the root is made of and what `verify` lists.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf> {
        self.members
            .iter()
            .map(|member| member.entry.contribution.leaf())
    }

    /// The root that key holders sign and the receipt repeats.
    pub fn root(&self) -> B256 {
        self.root
    }

    /// How many contributions, which is also how many contributors.
    pub fn count(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Purpose;
    use crate::test_story::{anchored, contributor, selector};

    struct Facts {
        selector: Selector,
        purpose: Purpose,
        allow_block: u64,
        deny_time: u64,
        admission: Admission,
        list: AdmissionList,
        revocations: Revocations,
    }

    fn facts() -> Facts {
        let list = AdmissionList::new((0..5).map(contributor)).expect("ids");
        Facts {
            selector: selector(),
            purpose: Purpose::Statistics,
            allow_block: 10,
            deny_time: 1_000,
            admission: Admission::Root(list.root()),
            list,
            revocations: Revocations::default(),
        }
    }

    fn count(facts: &Facts, anchored: &[Anchored]) -> u32 {
        let scope = Scope {
            selector: &facts.selector,
            purposes: facts.purpose.into(),
            allow_block: facts.allow_block,
            deny_time: facts.deny_time,
            admission: facts.admission,
            list: Some(&facts.list),
            revocations: &facts.revocations,
        };
        InputSet::derive(&scope, anchored).map_or(0, |set| set.count())
    }

    #[test]
    fn what_is_revoked_or_has_ended_is_withdrawn() {
        let (entry, end) = (anchored(3, 7).entry, 1 << 30);
        let mut none = Revocations::default();
        none.set_watermark(contributor(3), U256::from(7));
        none.set_word(contributor(3), 0, U256::from(1) << 6);
        assert_eq!(none.withdrawn(&entry, end - 1), None);
        assert_eq!(none.withdrawn(&entry, end), Some(Withdrawn::Expired));
        let mut below = none.clone();
        below.set_watermark(contributor(3), U256::from(8));
        let mut bit = none;
        bit.set_word(contributor(3), 0, U256::from(1) << 7);
        for revoked in [below, bit] {
            assert_eq!(revoked.withdrawn(&entry, end), Some(Withdrawn::Revoked));
            assert_eq!(revoked.withdrawn(&anchored(2, 7).entry, 0), None);
        }
    }

    #[test]
    fn each_rule_leaves_out_what_breaks_it() {
        let five: Vec<Anchored> = (0..5).map(|n| anchored(n, 0)).collect();
        assert_eq!(count(&facts(), &five), 5);
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            count(&facts, &five)
        };
        assert_eq!(with(&|f| f.selector.source = "other".into()), 0);
        assert_eq!(with(&|f| f.purpose = Purpose::Transfer), 0);
        assert_eq!(with(&|f| f.allow_block = 4), 0, "anchored after allowBlock");
        assert_eq!(with(&|f| f.deny_time = 1 << 40), 0, "terms expired");
        assert_eq!(with(&|f| f.selector.since = Some(600)), 0);
        assert_eq!(with(&|f| f.selector.until = Some(500)), 0);
        assert_eq!(with(&|f| f.admission = Admission::Closed), 0);
        assert_eq!(
            with(&|f| f.admission = Admission::Root(B256::repeat_byte(1))),
            0
        );
        assert_eq!(
            with(&|f| f.list = AdmissionList::new([contributor(9)]).expect("an id")),
            0
        );
        assert_eq!(
            with(&|f| f.revocations.set_watermark(contributor(2), U256::from(1))),
            4
        );
        assert_eq!(
            with(&|f| f.revocations.set_word(contributor(3), 0, U256::from(1))),
            4
        );
        assert_eq!(
            with(&|f| f.revocations.set_word(contributor(3), 0, U256::from(2))),
            5
        );
    }

    #[test]
    fn nobody_counts_twice() {
        let mut many: Vec<Anchored> = (0..5).map(|n| anchored(n, 0)).collect();
        many.extend((1..1_000).map(|nonce| anchored(0, nonce)));
        assert_eq!(count(&facts(), &many), 5);
    }

    #[test]
    fn the_order_of_arrival_does_not_show_in_the_root() {
        let facts = facts();
        let scope = Scope {
            selector: &facts.selector,
            purposes: facts.purpose.into(),
            allow_block: facts.allow_block,
            deny_time: facts.deny_time,
            admission: facts.admission,
            list: Some(&facts.list),
            revocations: &facts.revocations,
        };
        let forth: Vec<Anchored> = (0..5).map(|n| anchored(n, 0)).collect();
        let back: Vec<Anchored> = forth.iter().rev().cloned().collect();
        let root = |set: &[Anchored]| InputSet::derive(&scope, set).expect("five pass").root();
        assert_eq!(root(&forth), root(&back));
        assert_ne!(root(&forth), root(&forth[1..]));
    }
}
