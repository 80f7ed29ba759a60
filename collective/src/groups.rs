//! Which groups of people a query may tell figures of, given what was told before (SPEC "Groups of a query").
//!
//! A figure of a group is only let out where the group, and whatever sums of its query's groups and of those of one query before
//! differ by, holds nobody or at least as many contributors as the approvals ask for. Decided outside of the engine that made
//! the groups, from nothing but who is in them.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use crate::contribution::Contribution;
use crate::id::{ContributorId, Leaf};

use cuts::{Graph, MAX_EDGES_SEEN};

mod cuts;

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
    /// A group of nobody beside others, a place that no record has, one that stands twice, or places out of order.
    #[error("a group names no records, or some that are not there, twice, or out of order")]
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
    /// With something that was told before, the groups give away few.
    differs: bool,
    /// All that may be told was told before, by one run and under no smaller minimum.
    known: bool,
    /// Group and leaf of everybody who is in one.
    place_of: HashMap<ContributorId, (usize, Leaf)>,
    /// Edges that may still be looked at.
    seen: u64,
}

struct Group {
    places: Vec<u32>,
    kept: bool,
}

impl<'a> Screening<'a> {
    /// Takes the disjoint groups that a query made of `members`, the records that it read, and drops those that are too small
    /// by themselves: that have fewer than `minimum` contributors. While those whom that drops, or those of the `readable` ones
    /// of `members` who are in no group that is left, are few together, so that a total would give them away, the smallest group that is left goes with them. A record
    /// that was none is in no group and not readable.
    ///
    /// # Errors
    /// [`GroupsRefusal::Places`], [`GroupsRefusal::RepeatedContributor`]: whoever made the groups is at fault.
    pub fn new(
        members: &'a [Member],
        readable: u64,
        groups: Vec<Vec<u32>>,
        minimum: u32,
    ) -> Result<Self, GroupsRefusal> {
        let mut place_of = HashMap::new();
        for (index, group) in groups.iter().enumerate() {
            let nobody = group.is_empty() && groups.len() > 1;
            if nobody || group.windows(2).any(|pair| pair[0] >= pair[1]) {
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
        let decide = |places: Vec<u32>| Group {
            kept: !places.is_empty() && places.len() as u64 >= u64::from(minimum),
            places,
        };
        let mut screening = Self {
            members,
            minimum,
            groups: groups.into_iter().map(decide).collect(),
            differs: false,
            known: false,
            place_of,
            seen: MAX_EDGES_SEEN,
        };
        screening.drop_with_few(readable, grouped);
        Ok(screening)
    }

    fn drop_with_few(&mut self, readable: u64, grouped: u64) {
        let mut kept: Vec<usize> = (0..self.groups.len())
            .filter(|group| self.groups[*group].kept)
            .collect();
        // The smallest last, and of equal ones that whose first record comes first.
        let by = |group: &usize| {
            let places = &self.groups[*group].places;
            std::cmp::Reverse((places.len(), places.first().copied()))
        };
        kept.sort_unstable_by_key(by);
        let mut left: u64 = kept
            .iter()
            .map(|group| self.groups[*group].places.len() as u64)
            .sum();
        while is_few(grouped - left, self.minimum) || is_few(readable - left, self.minimum) {
            let Some(smallest) = kept.pop() else { break };
            let smallest = &mut self.groups[smallest];
            smallest.kept = false;
            left -= smallest.places.len() as u64;
        }
    }

    /// Drops all groups where one of them differs from one of `earlier` by at least one contributor and by fewer than the greater
    /// of both minimum groups, or where sums of those that are left and of `earlier` do: were one dropped alone, its absence would
    /// say where those contributors are. A contributor whose record was replaced since counts as one who differs. Of sums fewer
    /// count as few where a group that is left, or one of `earlier`, is smaller than that minimum.
    pub fn compare(&mut self, earlier: &Told) {
        let minimum = self.minimum.max(earlier.minimum);
        let mut between = Between::new(self, earlier);
        let mut matched = 0;
        // By group: contributors that are in both, and those among them whose record is the same. Groups that share nobody
        // differ by everybody in them, which is no less than the greater minimum.
        let mut shared = vec![(0_u64, 0_u64); self.groups.len()];
        let mut touched = Vec::new();
        for (index, told) in earlier.groups.iter().enumerate() {
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
                let sizes = (self.groups[group].places.len() + told.len()) as u64;
                let differing = sizes - both - same;
                self.differs |= is_few(differing, minimum);
                if self.groups[group].kept {
                    between.share(group, index, both, same);
                    matched += usize::from(differing == 0);
                }
            }
        }
        let kept = self.groups.iter().filter(|group| group.kept).count();
        self.known |= matched == kept && earlier.minimum >= self.minimum;
        if !self.differs && kept > 0 {
            self.differs = between.has_few(minimum, &mut self.seen);
        }
    }

    /// Which groups may be told, in their order, and what has to be kept of that for the runs to come, if any of it is new.
    pub fn finish(self) -> (Vec<bool>, Option<Told>) {
        if self.differs {
            return (vec![false; self.groups.len()], None);
        }
        let kept = self.groups.iter().map(|group| group.kept).collect();
        let told = if self.known { None } else { self.told() };
        (kept, told)
    }

    fn told(&self) -> Option<Told> {
        let mut members = Vec::new();
        let kept = self.groups.iter().filter(|group| group.kept);
        let groups: Vec<Vec<u32>> = kept
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

/// The groups that are left and those of one earlier result, with their people as edges (see [`cuts`]). Weights are doubled:
/// a contributor with another record in each hangs on three nodes, half on each two of them.
struct Between {
    graph: Graph,
    /// Of each group that is left, then of each earlier one: its people, and how many of them are in none of the other result.
    sizes: Vec<(u64, u64)>,
    /// Groups that are left and earlier ones come in this order; after them comes the node of those who are in none.
    ours: usize,
}

impl Between {
    fn new(screening: &Screening<'_>, earlier: &Told) -> Self {
        let left = |group: &Group| if group.kept { group.places.len() } else { 0 };
        let ours = screening.groups.iter().map(left);
        let theirs = earlier.groups.iter().map(Vec::len);
        let sizes: Vec<(u64, u64)> = ours
            .chain(theirs)
            .map(|size| (size as u64, size as u64))
            .collect();
        Self {
            graph: Graph::new(sizes.len() + 1),
            sizes,
            ours: screening.groups.len(),
        }
    }

    /// So many contributors are in both of these groups, and so many of them with the same record.
    fn share(&mut self, group: usize, earlier: usize, both: u64, same: u64) {
        let (outside, earlier) = (self.sizes.len(), self.ours + earlier);
        let replaced = both - same;
        self.graph.join(group, earlier, 2 * same + replaced);
        self.graph.join(group, outside, replaced);
        self.graph.join(earlier, outside, replaced);
        self.sizes[group].1 -= both;
        self.sizes[earlier].1 -= both;
    }

    /// Whether sums of groups give figures of few: of fewer than `minimum`, or than the smallest group has, which is told.
    fn has_few(mut self, minimum: u32, seen: &mut u64) -> bool {
        let mut limit = u64::from(minimum);
        let outside = self.sizes.len();
        for (node, (size, alone)) in self.sizes.iter().enumerate() {
            self.graph.join(node, outside, 2 * alone);
            if *size > 0 {
                limit = limit.min(*size);
            }
        }
        self.graph.has_small_cut(2 * limit, seen).unwrap_or(true)
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
        (length > 0).then_some(())?;
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
