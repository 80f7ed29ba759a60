//! The payload's Merkle tree: SHA-256, 1 KiB leaves, the index inside the leaf (SPEC "Payload tree").
//!
//! SHA-256 because the EVM has it as a precompile; the index because a path of sorted pairs,
//! which a contract checks most cheaply, does not bind a position.

use alloy_primitives::B256;
use aws_lc_rs::digest::{Context, SHA256};

/// Bytes of payload under one leaf; only the last may be shorter.
pub const LEAF_BYTES: usize = 1024;

/// Builds the root in one pass over a payload that arrives in pieces of any size.
///
/// Memory: one unfinished leaf and one hash for each level.
pub struct PayloadTree {
    leaf: Vec<u8>,
    length: u64,
    /// `peaks[level]` is the root of a full subtree of `2^level` leaves that waits for its sibling.
    peaks: Vec<Option<B256>>,
}

impl PayloadTree {
    /// An empty payload.
    pub fn new() -> Self {
        Self {
            leaf: Vec::with_capacity(LEAF_BYTES),
            length: 0,
            peaks: Vec::new(),
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
    pub fn finish(mut self) -> (B256, u64) {
        if !self.leaf.is_empty() || self.length == 0 {
            self.close_leaf();
        }
        // A node without a sibling is promoted: it joins the next peak to its left.
        let root = self
            .peaks
            .iter()
            .flatten()
            .copied()
            .reduce(|right, left| node(left, right))
            .expect("the last leaf was closed above");
        (root, self.length)
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
        self.peaks.push(Some(hash));
    }
}

impl Default for PayloadTree {
    fn default() -> Self {
        Self::new()
    }
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

    /// The definition, level by level: an odd last node goes up unchanged.
    fn root_by_levels(payload: &[u8]) -> B256 {
        let mut level: Vec<B256> = payload
            .chunks(LEAF_BYTES)
            .enumerate()
            .map(|(i, chunk)| leaf(i as u64, chunk))
            .collect();
        if level.is_empty() {
            level.push(leaf(0, &[]));
        }
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|nodes| {
                    if let [l, r] = nodes {
                        node(*l, *r)
                    } else {
                        nodes[0]
                    }
                })
                .collect();
        }
        level[0]
    }

    #[test]
    fn one_pass_gives_what_the_definition_gives_however_the_bytes_arrive() {
        for leaves in 0..20 {
            for extra in [0, 1, 1023] {
                let payload: Vec<u8> = (0..leaves * LEAF_BYTES + extra).map(|i| i as u8).collect();
                let expected = root_by_levels(&payload);
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
    fn equal_chunks_at_other_places_have_other_leaves() {
        assert_ne!(leaf(0, &[7; LEAF_BYTES]), leaf(1, &[7; LEAF_BYTES]));
    }
}
