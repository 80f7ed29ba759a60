//! Merkle trees with sorted pairs, as OpenZeppelin's `MerkleProof` checks them on chain.
//!
//! The layout is that of `@openzeppelin/merkle-tree` with `sortLeaves: false`: a complete binary
//! tree in one array, leaves from the back. Sorted pairs mean that a proof says *that* a leaf
//! is in the tree, never *where*: whoever needs a position hashes it into the leaf.

use alloy_primitives::{B256, keccak256};
use thiserror::Error;

/// A tree over at least one leaf.
#[derive(Clone, Debug)]
pub struct MerkleTree {
    nodes: Vec<B256>,
    leaves: usize,
}

/// A tree needs a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a Merkle tree needs at least one leaf")]
pub struct NoLeaves;

impl MerkleTree {
    /// Builds the tree; leaf `i` keeps its index.
    ///
    /// # Errors
    /// [`NoLeaves`] for an empty list.
    pub fn new(leaves: &[B256]) -> Result<Self, NoLeaves> {
        if leaves.is_empty() {
            return Err(NoLeaves);
        }
        let mut nodes = vec![B256::ZERO; 2 * leaves.len() - 1];
        let last = nodes.len() - 1;
        for (index, leaf) in leaves.iter().enumerate() {
            nodes[last - index] = *leaf;
        }
        for parent in (0..leaves.len() - 1).rev() {
            nodes[parent] = pair(nodes[2 * parent + 1], nodes[2 * parent + 2]);
        }
        Ok(Self {
            nodes,
            leaves: leaves.len(),
        })
    }

    /// The root that goes on chain.
    pub fn root(&self) -> B256 {
        self.nodes[0]
    }

    /// Siblings from leaf `index` up to the root, or `None` past the last leaf.
    pub fn proof(&self, index: usize) -> Option<Vec<B256>> {
        if index >= self.leaves {
            return None;
        }
        let mut proof = Vec::new();
        let mut node = self.nodes.len() - 1 - index;
        while node > 0 {
            let sibling = if node % 2 == 1 { node + 1 } else { node - 1 };
            proof.push(self.nodes[sibling]);
            node = (node - 1) / 2;
        }
        Some(proof)
    }
}

/// Whether `proof` leads from `leaf` to `root` (`MerkleProof.verify`).
pub fn verify(root: B256, leaf: B256, proof: &[B256]) -> bool {
    proof
        .iter()
        .fold(leaf, |node, sibling| pair(node, *sibling))
        == root
}

/// Double keccak of ABI-encoded words: no leaf can be taken for an inner node.
pub fn leaf_of(words: &[B256]) -> B256 {
    let inner = keccak256(words.concat());
    keccak256(inner)
}

fn pair(a: B256, b: B256) -> B256 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    keccak256([low, high].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<B256> {
        (0..count)
            .map(|i| leaf_of(&[B256::with_last_byte(i)]))
            .collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_proves_and_no_other_does() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let tree = MerkleTree::new(&leaves).expect("leaves");
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = tree.proof(index).expect("an index in range");
                assert!(verify(tree.root(), *leaf, &proof));
                assert!(!verify(tree.root(), B256::repeat_byte(9), &proof));
            }
            assert_eq!(tree.proof(count as usize), None);
        }
    }

    #[test]
    fn an_empty_list_has_no_root() {
        assert_eq!(MerkleTree::new(&[]).err(), Some(NoLeaves));
    }

    #[test]
    fn one_leaf_is_its_own_root() {
        let leaf = leaves(1)[0];
        assert_eq!(MerkleTree::new(&[leaf]).expect("a leaf").root(), leaf);
    }
}
