//! Which groups of people a query may tell figures of, given what was told before (SPEC "Groups of a query").
//!
//! A figure of a group is only let out where the group, and what it differs by from every group told earlier, holds nobody or
//! at least as many contributors as the approvals ask for. Decided outside of the engine that made the groups, from nothing
//! but who is in them.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::contribution::Contribution;
use crate::id::{ContributorId, Leaf};

/// One record of a run: who contributed it, and which one of theirs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The contributor.
    pub contributor: ContributorId,
    /// The contribution.
    pub leaf: Leaf,
}

impl Member {
    /// Whose contribution it is, and which.
    pub fn of(contribution: &Contribution) -> Self {
        Self {
            contributor: contribution.contributor,
            leaf: contribution.leaf(),
        }
    }
}

/// What one run told: its groups, by who was in them. It says of people what they belong to, so it is kept sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Told {
    /// The minimum group that it was told under.
    pub minimum: u32,
    /// Everybody in any of the groups.
    pub members: Vec<Member>,
    /// Places in `members`, ascending.
    pub groups: Vec<Vec<u32>>,
}

/// Why bytes or places are no groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupsRefusal {
    /// A place that no record has, one that stands twice, or places out of order.
    #[error("a group names records that are not there, twice, or out of order")]
    Places,
    /// Two records of one contributor: groups are counted in contributors.
    #[error("a contributor has two records in one run")]
    RepeatedContributor,
    /// Bytes that [`Told::to_bytes`] does not write.
    #[error("these bytes are no record of groups")]
    Malformed,
}

/// The groups of one run while it is decided which of them may be told.
pub struct Screening<'a> {
    members: &'a [Member],
    minimum: u32,
    groups: Vec<Group>,
    /// A group differs by few from one that was told before.
    differs: bool,
    /// Group and leaf of everybody who is in one.
    place_of: BTreeMap<ContributorId, (usize, Leaf)>,
}

struct Group {
    places: Vec<u32>,
    kept: bool,
    /// This very group was told before, under no smaller minimum.
    known: bool,
}

impl<'a> Screening<'a> {
    /// Takes the disjoint groups that a query made of `members`, the records that it read, and drops those that are too small
    /// by themselves: that have fewer than `minimum` contributors, or leave out so few of the `readable` ones of `members`. A
    /// record that was none is in no group and not readable.
    ///
    /// # Errors
    /// [`GroupsRefusal::Places`], [`GroupsRefusal::RepeatedContributor`]: whoever made the groups is at fault.
    pub fn new(
        members: &'a [Member],
        readable: u64,
        groups: Vec<Vec<u32>>,
        minimum: u32,
    ) -> Result<Self, GroupsRefusal> {
        let mut place_of = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            if group.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(GroupsRefusal::Places);
            }
            for place in group {
                let member = members.get(*place as usize).ok_or(GroupsRefusal::Places)?;
                let entry = (index, member.leaf);
                if let Some((_, other)) = place_of.insert(member.contributor, entry) {
                    return Err(if other == member.leaf {
                        GroupsRefusal::Places
                    } else {
                        GroupsRefusal::RepeatedContributor
                    });
                }
            }
        }
        let grouped = place_of.len() as u64;
        if readable < grouped || readable > members.len() as u64 {
            return Err(GroupsRefusal::Places);
        }
        let decide = |places: Vec<u32>| {
            let size = places.len() as u64;
            Group {
                kept: size >= u64::from(minimum) && !is_few(readable - size, minimum),
                known: false,
                places,
            }
        };
        Ok(Self {
            members,
            minimum,
            groups: groups.into_iter().map(decide).collect(),
            differs: false,
            place_of,
        })
    }

    /// Drops all groups where one of them differs from one of `earlier` by at least one contributor and by fewer than the greater
    /// of both minimum groups: were that one dropped alone, its absence would say where those contributors are. A contributor whose record was replaced since counts as one who differs.
    pub fn compare(&mut self, earlier: &Told) {
        let minimum = self.minimum.max(earlier.minimum);
        // By group: contributors that are in both, and those among them whose record is the same. Groups that share nobody
        // differ by everybody in them, which is no less than the greater minimum.
        let mut shared = vec![(0_u64, 0_u64); self.groups.len()];
        let mut touched = Vec::new();
        for told in &earlier.groups {
            for place in told {
                let member = earlier.members[*place as usize];
                if let Some((group, leaf)) = self.place_of.get(&member.contributor) {
                    let (both, same) = &mut shared[*group];
                    if *both == 0 {
                        touched.push(*group);
                    }
                    *both += 1;
                    *same += u64::from(*leaf == member.leaf);
                }
            }
            for group in touched.drain(..) {
                let (both, same) = std::mem::take(&mut shared[group]);
                let group = &mut self.groups[group];
                let sizes = (group.places.len() + told.len()) as u64;
                let differing = sizes - both - same;
                self.differs |= is_few(differing, minimum);
                group.known |= differing == 0 && earlier.minimum >= self.minimum;
            }
        }
    }

    /// Which groups may be told, in their order, and what has to be kept of that for the runs to come, if any of it is new.
    /// Where what was dropped is so little that a total would give it away, the smallest of the others goes with it.
    pub fn finish(mut self) -> (Vec<bool>, Option<Told>) {
        if self.differs {
            return (vec![false; self.groups.len()], None);
        }
        while is_few(self.dropped(), self.minimum) {
            let kept = self.groups.iter_mut().filter(|group| group.kept);
            let smallest =
                kept.min_by_key(|group| (group.places.len(), group.places.first().copied()));
            match smallest {
                Some(group) => group.kept = false,
                None => break,
            }
        }
        let kept = self.groups.iter().map(|group| group.kept).collect();
        (kept, self.told())
    }

    fn dropped(&self) -> u64 {
        let dropped = self.groups.iter().filter(|group| !group.kept);
        dropped.map(|group| group.places.len() as u64).sum()
    }

    fn told(&self) -> Option<Told> {
        let mut members = Vec::new();
        let new = self
            .groups
            .iter()
            .filter(|group| group.kept && !group.known);
        let groups: Vec<Vec<u32>> = new
            .map(|group| {
                let first = members.len();
                members.extend(
                    group
                        .places
                        .iter()
                        .map(|place| self.members[*place as usize]),
                );
                (first..members.len()).map(|place| place as u32).collect()
            })
            .collect();
        (!groups.is_empty()).then_some(Told {
            minimum: self.minimum,
            members,
            groups,
        })
    }
}

/// Somebody, and fewer than `minimum`.
fn is_few(people: u64, minimum: u32) -> bool {
    (1..u64::from(minimum)).contains(&people)
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({} groups)", self.groups.len())
    }
}

impl Told {
    /// The bytes that are sealed: all numbers big-endian of 4 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).expect("a run has fewer than 2^32 records");
        let mut out = self.minimum.to_be_bytes().to_vec();
        out.extend(number(self.members.len()).to_be_bytes());
        for member in &self.members {
            out.extend_from_slice(member.contributor.0.as_slice());
            out.extend_from_slice(member.leaf.0.as_slice());
        }
        out.extend(number(self.groups.len()).to_be_bytes());
        for group in &self.groups {
            out.extend(number(group.len()).to_be_bytes());
            out.extend(group.iter().flat_map(|place| place.to_be_bytes()));
        }
        out
    }

    /// Reads what [`Told::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`GroupsRefusal::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, GroupsRefusal> {
        let mut left = bytes;
        let told = take_told(&mut left).ok_or(GroupsRefusal::Malformed)?;
        if left.is_empty() {
            Ok(told)
        } else {
            Err(GroupsRefusal::Malformed)
        }
    }
}

fn take_told(left: &mut &[u8]) -> Option<Told> {
    let minimum = take_number(left)?;
    let count = take_number(left)?;
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member {
            contributor: ContributorId(take::<32>(left)?.into()),
            leaf: Leaf(take::<32>(left)?.into()),
        });
    }
    let mut groups = Vec::new();
    for _ in 0..take_number(left)? {
        let length = take_number(left)?;
        let mut group = Vec::new();
        for _ in 0..length {
            let place = take_number(left)?;
            (place < count && group.last().is_none_or(|last| *last < place)).then_some(())?;
            group.push(place);
        }
        groups.push(group);
    }
    Some(Told {
        minimum,
        members,
        groups,
    })
}

fn take_number(left: &mut &[u8]) -> Option<u32> {
    take(left).map(u32::from_be_bytes)
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(*first)
}

#[cfg(test)]
mod tests;
