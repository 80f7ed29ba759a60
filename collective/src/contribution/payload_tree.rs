//! The payload's Merkle tree: SHA-256, 1 KiB leaves, the index inside the leaf (SPEC "Payload tree").
//!
//! SHA-256 because the EVM has it as a precompile; the index because a path of sorted pairs,
//! which a contract checks most cheaply, does not bind a position.

use std::ops::Range;

use alloy_primitives::B256;
use aws_lc_rs::digest::{Context, SHA256};

use super::Commitment;

/// Bytes of payload under one leaf; only the last may be shorter.
pub const LEAF_BYTES: usize = 1024;

/// Levels between a leaf and its block.
const BLOCK_LEVELS: usize = 10;

/// Bytes of payload under one block, a node of the tree; only the last may be shorter. A MiB is read in a moment, and the hashes
/// of all blocks are a 32,768th of the payload.
pub const BLOCK_BYTES: u64 = (LEAF_BYTES << BLOCK_LEVELS) as u64;

/// Builds the tree in one pass over a payload that arrives in pieces of any size.
///
/// Memory: one unfinished leaf, one hash for each level of a block, and one for each block.
pub struct PayloadTree {
    leaf: Vec<u8>,
    length: u64,
    /// `peaks[level]` is the root of a full subtree of `2^level` leaves that waits for its sibling.
    peaks: [Option<B256>; BLOCK_LEVELS],
    blocks: Vec<B256>,
}

impl PayloadTree {
    /// An empty payload.
    pub fn new() -> Self {
        Self {
            leaf: Vec::with_capacity(LEAF_BYTES),
            length: 0,
            peaks: [None; BLOCK_LEVELS],
            blocks: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(LEAF_BYTES - self.leaf.len()));
            self.leaf.extend_from_slice(head);
            self.length += head.len() as u64;
            bytes = rest;
            if self.leaf.len() == LEAF_BYTES {
                self.close_leaf();
            }
        }
    }

    /// The root and the number of bytes. An empty payload has one empty leaf.
    pub fn finish(self) -> (B256, u64) {
        let length = self.length;
        (self.outline().root(), length)
    }

    /// The nodes over each block.
    pub fn outline(mut self) -> PayloadOutline {
        if !self.leaf.is_empty() || self.length == 0 {
            self.close_leaf();
        }
        // A node without a sibling is promoted: it joins the next peak to its left.
        let peaks = self.peaks.iter().flatten().copied();
        self.blocks
            .extend(peaks.reduce(|right, left| node(left, right)));
        PayloadOutline(self.blocks)
    }

    fn close_leaf(&mut self) {
        let index = self.length.saturating_sub(1) / LEAF_BYTES as u64;
        let mut hash = leaf(index, &self.leaf);
        self.leaf.clear();
        for peak in &mut self.peaks {
            match peak.take() {
                Some(left) => hash = node(left, hash),
                None => {
                    *peak = Some(hash);
                    return;
                }
            }
        }
        self.blocks.push(hash);
    }
}

impl Default for PayloadTree {
    fn default() -> Self {
        Self::new()
    }
}

/// Leaves of a payload of `length` bytes.
pub fn leaf_count(length: u64) -> u64 {
    length.div_ceil(LEAF_BYTES as u64).max(1)
}

/// Blocks of a payload of `length` bytes.
pub fn block_count(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES).max(1)
}

/// Bytes of leaf `index` of a payload of `length` bytes: where they lie in it. `None` past the last leaf.
pub fn leaf_range(length: u64, index: u64) -> Option<Range<u64>> {
    if index >= leaf_count(length) {
        return None;
    }
    let start = index * LEAF_BYTES as u64;
    Some(start..length.min(start.saturating_add(LEAF_BYTES as u64)))
}

/// The root to which the bytes of one leaf lead, with its siblings from below; `None` where bytes or siblings do not have
/// the shape that a payload of `length` bytes gives them.
pub fn root_by_path(length: u64, index: u64, bytes: &[u8], siblings: &[B256]) -> Option<B256> {
    let range = leaf_range(length, index)?;
    if bytes.len() as u64 != range.end - range.start {
        return None;
    }
    let (mut place, mut last) = (index, leaf_count(length) - 1);
    let mut siblings = siblings.iter();
    let mut hash = leaf(index, bytes);
    while last > 0 {
        if place % 2 == 1 {
            hash = node(*siblings.next()?, hash);
        } else if place < last {
            hash = node(hash, *siblings.next()?);
        }
        (place, last) = (place / 2, last / 2);
    }
    siblings.next().is_none().then_some(hash)
}

/// The hashes of all blocks, with which a block is checked by itself, and from which with the hashes of its leaves any path is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadOutline(Vec<B256>);

impl PayloadOutline {
    /// The outline that a commitment is over, from its bytes ([`PayloadOutline::to_bytes`]); `None` where these are others.
    pub fn parse(bytes: &[u8], commitment: &Commitment) -> Option<Self> {
        if bytes.len() as u64 != 32 * block_count(commitment.length) {
            return None;
        }
        let outline = Self(bytes.chunks(32).map(B256::from_slice).collect());
        (outline.root() == commitment.payload).then_some(outline)
    }

    /// That of a payload which is one block: its root says everything.
    pub fn of_one_block(commitment: &Commitment) -> Option<Self> {
        (commitment.length <= BLOCK_BYTES).then(|| Self(vec![commitment.payload]))
    }

    /// The hashes one after another.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flatten().copied().collect()
    }

    /// The root over them.
    pub fn root(&self) -> B256 {
        root(self.0.clone())
    }

    /// The siblings of leaf `index` from below, made from the hashes of all leaves of the block around it; `None` where these are
    /// others, or past the last leaf.
    pub fn path(&self, index: u64, leaves: &[B256]) -> Option<Vec<B256>> {
        let block = usize::try_from(index >> BLOCK_LEVELS).ok()?;
        let within = (index % (1 << BLOCK_LEVELS)) as usize;
        let (within, root) = climb(leaves.to_vec(), within)?;
        let (above, _) = climb(self.0.clone(), block)?;
        (root == self.0[block]).then(|| [within, above].concat())
    }

    /// The hashes of the leaves of the block around leaf `index`, made from its bytes ([`block_range`]); `None` where these are not the
    /// block's, or past the last leaf.
    pub fn leaves(&self, index: u64, block: &[u8]) -> Option<Vec<B256>> {
        let first = index >> BLOCK_LEVELS << BLOCK_LEVELS;
        let leaves = match block {
            [] => vec![leaf(first, &[])],
            _ => (first..)
                .zip(block.chunks(LEAF_BYTES))
                .map(|(i, bytes)| leaf(i, bytes))
                .collect::<Vec<_>>(),
        };
        self.has(index, &leaves).then_some(leaves)
    }

    /// Whether these are the hashes of all leaves of the block around leaf `index`. How many there are says the payload's length
    /// ([`leaf_count`]), not this.
    pub fn has(&self, index: u64, leaves: &[B256]) -> bool {
        let block = usize::try_from(index >> BLOCK_LEVELS);
        let block = block.ok().and_then(|block| self.0.get(block));
        !leaves.is_empty() && block == Some(&root(leaves.to_vec()))
    }
}

/// The block around leaf `index` of a payload of `length` bytes: where its bytes lie. `None` past the last leaf.
pub fn block_range(length: u64, index: u64) -> Option<Range<u64>> {
    let start = leaf_range(length, index)?.start / BLOCK_BYTES * BLOCK_BYTES;
    Some(start..length.min(start.saturating_add(BLOCK_BYTES)))
}

/// Where the bytes of each block of a payload of `length` bytes lie, in their order.
pub fn blocks(length: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = (0..block_count(length)).map(|block| block * BLOCK_BYTES);
    starts.map(move |start| start..length.min(start.saturating_add(BLOCK_BYTES)))
}

fn root(mut level: Vec<B256>) -> B256 {
    while level.len() > 1 {
        level = above(&level);
    }
    level[0]
}

/// The siblings of one of the nodes of a level, from below, and the root over all; `None` past the last.
fn climb(mut level: Vec<B256>, mut place: usize) -> Option<(Vec<B256>, B256)> {
    level.get(place)?;
    let mut siblings = vec![];
    while level.len() > 1 {
        siblings.extend(level.get(place ^ 1));
        level = above(&level);
        place /= 2;
    }
    Some((siblings, level[0]))
}

fn above(level: &[B256]) -> Vec<B256> {
    let pairs = level.chunks(2);
    pairs
        .map(|pair| match pair {
            [left, right] => node(*left, *right),
            single => single[0],
        })
        .collect()
}

/// Root of a payload that is in memory.
pub fn payload_root(payload: &[u8]) -> B256 {
    let mut tree = PayloadTree::new();
    tree.update(payload);
    tree.finish().0
}

fn leaf(index: u64, bytes: &[u8]) -> B256 {
    hash(&[&[0], &index.to_be_bytes(), bytes])
}

fn node(left: B256, right: B256) -> B256 {
    hash(&[&[1], left.as_slice(), right.as_slice()])
}

fn hash(parts: &[&[u8]]) -> B256 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    B256::from_slice(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two leaves of it have the same bytes.
    fn payload(leaves: usize, extra: usize) -> Vec<u8> {
        let bytes = 0..leaves * LEAF_BYTES + extra;
        bytes.map(|i| (i + i / LEAF_BYTES) as u8).collect()
    }

    /// The hashes of all leaves, by the definition: the oracle of what is made in one pass, or a block at a time.
    fn all_leaves(payload: &[u8]) -> Vec<B256> {
        let chunks = payload.chunks(LEAF_BYTES).enumerate();
        let leaves: Vec<_> = chunks.map(|(i, bytes)| leaf(i as u64, bytes)).collect();
        match leaves.is_empty() {
            true => vec![leaf(0, &[])],
            false => leaves,
        }
    }

    fn path(leaves: &[B256], index: u64) -> Option<Vec<B256>> {
        climb(leaves.to_vec(), index as usize).map(|(siblings, _)| siblings)
    }

    #[test]
    fn one_pass_gives_what_the_definition_gives_however_the_bytes_arrive() {
        for leaves in 0..20 {
            for extra in [0, 1, 1023] {
                let payload = payload(leaves, extra);
                let expected = root(all_leaves(&payload));
                assert_eq!(
                    payload_root(&payload),
                    expected,
                    "{leaves} leaves and {extra} bytes"
                );
                let mut tree = PayloadTree::new();
                payload.chunks(700).for_each(|piece| tree.update(piece));
                assert_eq!(tree.finish(), (expected, payload.len() as u64));
            }
        }
    }

    #[test]
    fn an_outline_and_a_block_give_the_paths_that_all_leaves_give() {
        let block = BLOCK_BYTES as usize / LEAF_BYTES;
        for (leaves, extra) in [
            (0, 0),
            (0, 5),
            (block - 1, 1023),
            (block, 0),
            (block, 1),
            (3 * block + 5, 7),
        ] {
            let payload = payload(leaves, extra);
            let length = payload.len() as u64;
            let kept = all_leaves(&payload);
            let mut tree = PayloadTree::new();
            payload.chunks(70_000).for_each(|piece| tree.update(piece));
            let outline = tree.outline();
            let commitment = Commitment {
                header: B256::ZERO,
                payload: root(kept.clone()),
                length,
                source: "poll".into(),
            };
            let parse = |bytes: &[u8]| PayloadOutline::parse(bytes, &commitment);
            let mut bytes = outline.to_bytes();
            assert_eq!(parse(&bytes), Some(outline.clone()));
            assert_eq!(parse(&bytes[1..]), None);
            bytes[0] ^= 1;
            assert_eq!(parse(&bytes), None);
            let one = PayloadOutline::of_one_block(&commitment);
            assert_eq!(
                one,
                (leaves <= block && length <= BLOCK_BYTES).then(|| outline.clone())
            );
            let mut end = 0;
            for block in blocks(length) {
                assert_eq!(block.start, end);
                end = block.end;
                let bytes = &payload[block.start as usize..end as usize];
                let first = block.start / LEAF_BYTES as u64;
                let leaves = outline.leaves(first, bytes).expect("the block's");
                assert_eq!(leaves.len() as u64, leaf_count(bytes.len() as u64));
                let at = first as usize;
                assert_eq!(leaves, kept[at..at + leaves.len()]);
                assert!(outline.has(first, &leaves) && !outline.has(first, &leaves[1..]));
                assert!(!outline.has(first + 1024, &leaves));
                let longer = [bytes, b"x"].concat();
                assert_eq!(outline.leaves(first, &longer), None);
            }
            assert_eq!(end, length);
            let last = leaf_count(length) - 1;
            for index in [0, 1, 1023, 1024, 2048, last / 2, last] {
                let Some(range) = block_range(length, index) else {
                    assert!(index > last);
                    continue;
                };
                let mut bytes = payload[range.start as usize..range.end as usize].to_vec();
                let mut leaves = outline.leaves(index, &bytes).expect("the block's");
                let made = outline.path(index, &leaves);
                assert_eq!(made, path(&kept, index), "leaf {index}");
                leaves[0] = B256::ZERO;
                assert_eq!(outline.path(index, &leaves), None);
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                    assert_eq!(outline.leaves(index, &bytes), None);
                    assert_eq!(outline.leaves(index, &bytes[1..]), None);
                }
            }
            assert_eq!(block_range(length, last + 1), None);
        }
    }

    #[test]
    fn the_longest_payload_has_a_last_leaf() {
        let last = leaf_count(u64::MAX) - 1;
        let range = leaf_range(u64::MAX, last).expect("a leaf");
        assert_eq!((range.end, range.end - range.start), (u64::MAX, 1023));
        assert_eq!(leaf_range(u64::MAX, last + 1), None);
    }

    #[test]
    fn equal_chunks_at_other_places_have_other_leaves() {
        assert_ne!(leaf(0, &[7; LEAF_BYTES]), leaf(1, &[7; LEAF_BYTES]));
    }

    #[test]
    fn every_leaf_of_every_small_payload_leads_to_its_root_and_nothing_else_does() {
        for leaves in 0..18 {
            for extra in [0, 1, 1023] {
                let payload = payload(leaves, extra);
                let length = payload.len() as u64;
                let kept = all_leaves(&payload);
                let root = payload_root(&payload);
                for index in 0..leaf_count(length) {
                    let range = leaf_range(length, index).expect("a leaf");
                    let bytes = &payload[range.start as usize..range.end as usize];
                    let path = path(&kept, index).expect("a leaf");
                    let leads = |length, index, bytes: &[u8], path: &[B256]| {
                        root_by_path(length, index, bytes, path) == Some(root)
                    };
                    assert!(leads(length, index, bytes, &path));
                    assert!(!leads(length, index + 1, bytes, &path));
                    assert!(!leads(length, index, &[bytes, &[0]].concat(), &path));
                    let longer = [&path[..], &[root]].concat();
                    assert!(!leads(length, index, bytes, &longer), "one sibling more");
                    if let Some((_, shorter)) = path.split_last() {
                        assert!(!leads(length, index, bytes, shorter), "one sibling fewer");
                    }
                    for bit in [0, 8 * bytes.len().saturating_sub(1)] {
                        let mut bent = bytes.to_vec();
                        if let Some(byte) = bent.get_mut(bit / 8) {
                            *byte ^= 1;
                            assert!(!leads(length, index, &bent, &path));
                        }
                    }
                }
                let past = leaf_count(length);
                assert_eq!((leaf_range(length, past), path(&kept, past)), (None, None));
            }
        }
    }
}
