//! A persistent Merkle Patricia trie (Ethereum yellow paper, appendix D) over 32-byte hashed keys.
//!
//! Owns the shape of the trie and its proofs; must not know accounts, blocks or who asks. Nodes are
//! shared between versions, so a clone is one reference count, an update copies one path, and every
//! node is hashed at most once. This is why the chain can keep the state of every block. A plain
//! map per block was refused: it would be copied per block, and its root recomputed from all
//! leaves.

use std::sync::{Arc, OnceLock};

use alloy::primitives::{B256, Bytes};
use alloy_rlp::Encodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
};

/// A map from 32-byte hashed keys to RLP-encodable values, with a Merkle root. Cloning it is free.
#[derive(Debug)]
pub struct Trie<V> {
    root: Option<Arc<Node<V>>>,
}

impl<V: Encodable + Clone> Trie<V> {
    /// The value under `key`.
    pub fn get(&self, key: B256) -> Option<&V> {
        let path = Nibbles::unpack(key);
        let mut node = self.root.as_ref()?;
        let mut depth = 0;
        loop {
            match &node.shape {
                Shape::Leaf { path: rest, value } => {
                    return (path.slice(depth..) == *rest).then_some(value);
                }
                Shape::Extension {
                    path: shared,
                    child,
                } => {
                    if !path.slice(depth..).starts_with(shared) {
                        return None;
                    }
                    depth += shared.len();
                    node = child;
                }
                Shape::Branch { children } => {
                    node = children[usize::from(path.get_unchecked(depth))].as_ref()?;
                    depth += 1;
                }
            }
        }
    }

    /// Puts `value` under `key`, in place of any value that was there.
    pub fn insert(&mut self, key: B256, value: V) {
        self.root = Some(insert(self.root.as_ref(), Nibbles::unpack(key), value));
    }

    /// Removes `key`; nothing happens where it is absent.
    pub fn remove(&mut self, key: B256) {
        if self.get(key).is_some()
            && let Some(root) = &self.root
        {
            self.root = remove(root, Nibbles::unpack(key));
        }
    }

    /// The Merkle root: the hash that a header or an account commits to.
    pub fn root(&self) -> B256 {
        // A root node is hashed even where its encoding is shorter than 32 bytes.
        self.root.as_ref().map_or(EMPTY_ROOT_HASH, |node| {
            alloy::primitives::keccak256(node.encoded())
        })
    }

    /// The nodes on the way to `key`, from the root: proves the value, or that there is none
    /// (EIP-1186). Nodes that their parent embeds, being shorter than a hash, are not listed apart.
    pub fn proof(&self, key: B256) -> Vec<Bytes> {
        let path = Nibbles::unpack(key);
        let mut proof = Vec::new();
        let mut next = self.root.as_ref();
        let mut depth = 0;
        while let Some(node) = next {
            if depth == 0 || node.reference().is_hash() {
                proof.push(node.encoded().into());
            }
            next = match &node.shape {
                Shape::Leaf { .. } => None,
                Shape::Extension {
                    path: shared,
                    child,
                } => {
                    let follows = path.slice(depth..).starts_with(shared);
                    depth += shared.len();
                    follows.then_some(child)
                }
                Shape::Branch { children } => {
                    let nibble = path.get_unchecked(depth);
                    depth += 1;
                    children[usize::from(nibble)].as_ref()
                }
            };
        }
        proof
    }
}

impl<V> Clone for Trie<V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
        }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

#[derive(Debug)]
struct Node<V> {
    shape: Shape<V>,
    /// How the parent refers to this node; computed when first asked for.
    reference: OnceLock<RlpNode>,
}

type Children<V> = [Option<Arc<Node<V>>>; 16];

/// All keys have 64 nibbles, so no branch carries a value of its own.
#[derive(Debug)]
enum Shape<V> {
    Leaf { path: Nibbles, value: V },
    Extension { path: Nibbles, child: Arc<Node<V>> },
    Branch { children: Box<Children<V>> },
}

impl<V: Encodable> Node<V> {
    fn reference(&self) -> &RlpNode {
        self.reference
            .get_or_init(|| RlpNode::from_rlp(&self.encoded()))
    }

    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.shape {
            Shape::Leaf { path, value } => {
                LeafNodeRef::new(path, &alloy_rlp::encode(value)).encode(&mut out)
            }
            Shape::Extension { path, child } => {
                ExtensionNodeRef::new(path, child.reference()).encode(&mut out)
            }
            Shape::Branch { children } => {
                let mut mask = TrieMask::default();
                let mut stack = Vec::with_capacity(children.len());
                for (nibble, child) in (0u8..).zip(children.iter()) {
                    if let Some(child) = child {
                        mask.set_bit(nibble);
                        stack.push(child.reference().clone());
                    }
                }
                BranchNodeRef::new(&stack, mask).encode(&mut out);
            }
        }
        out
    }
}

fn node<V>(shape: Shape<V>) -> Arc<Node<V>> {
    Arc::new(Node {
        shape,
        reference: OnceLock::new(),
    })
}

fn insert<V: Clone>(at: Option<&Arc<Node<V>>>, path: Nibbles, value: V) -> Arc<Node<V>> {
    let Some(at) = at else {
        return node(Shape::Leaf { path, value });
    };
    match &at.shape {
        Shape::Leaf { path: rest, .. } if *rest == path => node(Shape::Leaf { path, value }),
        Shape::Leaf {
            path: rest,
            value: other,
        } => {
            let shared = path.common_prefix_length(rest);
            let mut children = Children::default();
            put(&mut children, rest.slice(shared..), |path| {
                node(Shape::Leaf {
                    path,
                    value: other.clone(),
                })
            });
            put(&mut children, path.slice(shared..), |path| {
                node(Shape::Leaf { path, value })
            });
            extended(
                path.slice(..shared),
                node(Shape::Branch {
                    children: Box::new(children),
                }),
            )
        }
        Shape::Extension { path: rest, child } => {
            let shared = path.common_prefix_length(rest);
            if shared == rest.len() {
                return extended(*rest, insert(Some(child), path.slice(shared..), value));
            }
            let mut children = Children::default();
            put(&mut children, rest.slice(shared..), |path| {
                extended(path, child.clone())
            });
            put(&mut children, path.slice(shared..), |path| {
                node(Shape::Leaf { path, value })
            });
            extended(
                path.slice(..shared),
                node(Shape::Branch {
                    children: Box::new(children),
                }),
            )
        }
        Shape::Branch { children } => {
            let mut children = children.clone();
            let nibble = usize::from(path.get_unchecked(0));
            children[nibble] = Some(insert(children[nibble].as_ref(), path.slice(1..), value));
            node(Shape::Branch { children })
        }
    }
}

/// Files what `make` builds from the rest of `path` under the first nibble of `path`.
fn put<V>(children: &mut Children<V>, path: Nibbles, make: impl FnOnce(Nibbles) -> Arc<Node<V>>) {
    children[usize::from(path.get_unchecked(0))] = Some(make(path.slice(1..)));
}

/// `child` reached over `path`, in the one canonical shape: paths never follow each other.
fn extended<V: Clone>(path: Nibbles, child: Arc<Node<V>>) -> Arc<Node<V>> {
    if path.is_empty() {
        return child;
    }
    match &child.shape {
        Shape::Leaf { path: rest, value } => node(Shape::Leaf {
            path: path.join(rest),
            value: value.clone(),
        }),
        Shape::Extension { path: rest, child } => node(Shape::Extension {
            path: path.join(rest),
            child: child.clone(),
        }),
        Shape::Branch { .. } => node(Shape::Extension { path, child }),
    }
}

/// Removes a key that is present; `None` where nothing is left below.
fn remove<V: Clone>(at: &Arc<Node<V>>, path: Nibbles) -> Option<Arc<Node<V>>> {
    match &at.shape {
        Shape::Leaf { .. } => None,
        Shape::Extension {
            path: shared,
            child,
        } => remove(child, path.slice(shared.len()..)).map(|child| extended(*shared, child)),
        Shape::Branch { children } => {
            let mut children = children.clone();
            let nibble = usize::from(path.get_unchecked(0));
            children[nibble] = children[nibble]
                .as_ref()
                .and_then(|child| remove(child, path.slice(1..)));
            let mut left = (0u8..)
                .zip(children.iter())
                .filter_map(|(nibble, child)| Some((nibble, child.as_ref()?)));
            match (left.next(), left.next()) {
                (Some((nibble, child)), None) => {
                    Some(extended(Nibbles::from_nibbles([nibble]), child.clone()))
                }
                _ => Some(node(Shape::Branch { children })),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy::primitives::{U256, keccak256};
    use alloy_trie::{proof::verify_proof, root::storage_root};

    use super::*;

    /// A small generator with a printed seed: the trie has no other need for randomness.
    struct Dice(u64);

    impl Dice {
        fn throw(&mut self, sides: u64) -> u64 {
            self.0 = u64::from_be_bytes(
                keccak256(self.0.to_be_bytes())[..8]
                    .try_into()
                    .expect("eight bytes"),
            );
            self.0 % sides
        }
    }

    /// Keys that share long prefixes, so that extensions are split and merged too.
    fn key(n: u64) -> B256 {
        if n.is_multiple_of(3) {
            keccak256(n.to_be_bytes())
        } else {
            B256::with_last_byte(n as u8)
        }
    }

    #[test]
    fn every_version_agrees_with_the_reference_builder() {
        let seed = 20_261_122;
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let (mut trie, mut model) = (Trie::<U256>::default(), BTreeMap::<B256, U256>::new());
        let mut versions = Vec::new();
        for _ in 0..1_500 {
            let key = key(dice.throw(120));
            if dice.throw(3) == 0 {
                trie.remove(key);
                model.remove(&key);
            } else {
                let value = U256::from(dice.throw(u64::MAX) + 1);
                trie.insert(key, value);
                model.insert(key, value);
            }
            assert_eq!(trie.root(), storage_root(model.clone()));
            versions.push((trie.clone(), trie.root(), model.clone()));
        }
        for (old, root, model) in versions.into_iter().step_by(97) {
            assert_eq!(old.root(), root, "later writes left this version alone");
            for n in 0..120 {
                assert_eq!(old.get(key(n)), model.get(&key(n)));
            }
        }
    }

    #[test]
    fn proofs_show_presence_and_absence_and_no_other_value() {
        let mut trie = Trie::<U256>::default();
        assert!(
            verify_proof(
                trie.root(),
                Nibbles::unpack(key(1)),
                None,
                &trie.proof(key(1))
            )
            .is_ok()
        );
        for n in 0..60 {
            trie.insert(key(n), U256::from(n + 1));
        }
        for n in 0..120 {
            let (path, proof) = (Nibbles::unpack(key(n)), trie.proof(key(n)));
            let value = trie.get(key(n)).map(alloy_rlp::encode);
            verify_proof(trie.root(), path, value.clone(), &proof).expect("the proof holds");
            let other = Some(alloy_rlp::encode(U256::from(9_999)));
            assert!(
                verify_proof(trie.root(), path, other, &proof).is_err(),
                "another value is refused"
            );
            let opposite = if value.is_some() {
                None
            } else {
                Some(alloy_rlp::encode(U256::from(n + 1)))
            };
            assert!(
                verify_proof(trie.root(), path, opposite, &proof).is_err(),
                "presence is not absence"
            );
        }
    }
}
