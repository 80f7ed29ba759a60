//! What two results give together. Each puts a person into one group of its own or into none, so people are the edges of a
//! graph: from the group that they are in here to the one that they are in there, and whoever is in none hangs on a node of its own.
//!
//! A sum of groups, each counted so and so often, gives figures of those whose two groups count differently. So there are sums
//! that tell of few people, if and only if there are few edges without which a part of the graph falls off: those across
//! which some count is passed (of many counts, take one of them). How few they can be is asked as Nagamochi and Ibaraki do
//! ("Computing edge-connectivity in multigraphs and capacitated graphs", 1992), until no node is left or one that hangs on few.

use std::collections::BinaryHeap;

/// Edges that all comparisons of one run may look at together: some seconds, at 100 to 300 ns each. A run that
/// needs more is told nothing.
pub(super) const MAX_EDGES_SEEN: u64 = 1 << 25;

/// Edges with weights between nodes that are counted from 0.
#[derive(Default)]
pub(super) struct Graph {
    nodes: usize,
    edges: Vec<(u32, u32, u64)>,
}

impl Graph {
    /// A graph of `nodes` nodes without an edge.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            edges: vec![],
        }
    }

    /// Joins two nodes, by so much more.
    pub(super) fn join(&mut self, one: usize, other: usize, weight: u64) {
        if one != other && weight > 0 {
            let number = |node| u32::try_from(node).expect("a run has fewer than 2^32 records");
            self.edges.push((number(one), number(other), weight));
        }
    }

    /// Whether edges of less than `limit` together, and of more than nothing, hold a part of the graph to the rest. None where
    /// that takes more than is left of `seen`.
    pub(super) fn has_small_cut(mut self, limit: u64, seen: &mut u64) -> Option<bool> {
        while !self.edges.is_empty() {
            *seen = seen.checked_sub(self.edges.len() as u64)?;
            let around = Around::of(&self);
            if around.weights.iter().any(|held| (1..limit).contains(held)) {
                return Some(true);
            }
            // No cut below the limit parts what is joined here; at least the last two of a scan are.
            let joined = around.joined(limit);
            for (one, other, _) in &mut self.edges {
                (*one, *other) = (joined[*one as usize], joined[*other as usize]);
            }
            self.edges.retain(|(one, other, _)| one != other);
        }
        Some(false)
    }
}

/// The edges of each node.
struct Around {
    /// Where in `edges` those of a node begin, and where the last one's end.
    starts: Vec<usize>,
    edges: Vec<(u32, u64)>,
    /// The weight of all edges of a node.
    weights: Vec<u64>,
}

impl Around {
    fn of(graph: &Graph) -> Self {
        let mut starts = vec![0; graph.nodes + 1];
        let mut weights = vec![0; graph.nodes];
        for (one, other, weight) in &graph.edges {
            for node in [*one, *other] {
                starts[node as usize + 1] += 1;
                weights[node as usize] += weight;
            }
        }
        for node in 0..graph.nodes {
            starts[node + 1] += starts[node];
        }
        let mut free = starts.clone();
        let mut edges = vec![(0, 0); graph.edges.len() * 2];
        for (one, other, weight) in &graph.edges {
            for (from, to) in [(*one, *other), (*other, *one)] {
                edges[free[from as usize]] = (to, *weight);
                free[from as usize] += 1;
            }
        }
        Self {
            starts,
            edges,
            weights,
        }
    }

    /// Which node each becomes part of: scans the nodes, always the one next that hangs most on those before, and joins two
    /// where the scan has seen `limit` from one to those before it.
    fn joined(&self, limit: u64) -> Vec<u32> {
        let count = self.weights.len();
        let mut parts = Parts((0..count as u32).collect());
        let mut scanned = vec![false; count];
        let mut hangs = vec![0_u64; count];
        let mut next = BinaryHeap::new();
        for first in 0..count {
            next.push((0, first));
            while let Some((held, node)) = next.pop() {
                if scanned[node] || held < hangs[node] {
                    continue;
                }
                scanned[node] = true;
                for (to, weight) in &self.edges[self.starts[node]..self.starts[node + 1]] {
                    let to = *to as usize;
                    if !scanned[to] {
                        hangs[to] += weight;
                        next.push((hangs[to], to));
                        if hangs[to] >= limit {
                            parts.join(node, to);
                        }
                    }
                }
            }
        }
        (0..count).map(|node| parts.part_of(node)).collect()
    }
}

/// Which nodes are one.
struct Parts(Vec<u32>);

impl Parts {
    fn part_of(&mut self, node: usize) -> u32 {
        let mut at = node;
        while self.0[at] as usize != at {
            let above = self.0[self.0[at] as usize];
            self.0[at] = above;
            at = above as usize;
        }
        at as u32
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.part_of(one), self.part_of(other));
        self.0[one as usize] = other;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least weight above nothing that parts the nodes in two, looked for in all ways.
    fn least_cut(nodes: usize, edges: &[(usize, usize, u64)]) -> Option<u64> {
        let cut = |side: u32| -> u64 {
            let is_cut = |edge: &&(usize, usize, u64)| side >> edge.0 & 1 != side >> edge.1 & 1;
            edges.iter().filter(is_cut).map(|edge| edge.2).sum()
        };
        (0..1 << nodes).map(cut).filter(|cut| *cut > 0).min()
    }

    fn graph(nodes: usize, edges: &[(usize, usize, u64)]) -> Graph {
        let mut graph = Graph::new(nodes);
        for (one, other, weight) in edges {
            graph.join(*one, *other, *weight);
        }
        graph
    }

    #[test]
    fn two_rings_on_one_edge_fall_apart() {
        let rings = [
            (0, 1, 2),
            (1, 2, 2),
            (2, 0, 2),
            (3, 4, 2),
            (4, 5, 2),
            (5, 3, 2),
        ];
        let small = |edges: &[_], limit| {
            let mut seen = 100;
            graph(6, edges).has_small_cut(limit, &mut seen)
        };
        assert_eq!(small(&rings, 4), Some(false), "two graphs");
        let held = [&rings[..], &[(0, 3, 3)]].concat();
        assert_eq!(small(&held, 3), Some(false));
        assert_eq!(small(&held, 4), Some(true));
        assert_eq!(small(&[], 9), Some(false));
    }

    #[test]
    fn what_takes_too_long_is_not_answered() {
        let edges: Vec<_> = (0..9).map(|node| (node, node + 1, 5)).collect();
        let mut seen = 8;
        assert_eq!(graph(10, &edges).has_small_cut(3, &mut seen), None);
    }

    proptest! {
        #[test]
        fn the_least_cut_decides(
            edges in prop::collection::vec((0_usize..8, 0_usize..8, 1_u64..4), 0..20),
            limit in 1_u64..9,
        ) {
            let least = least_cut(8, &edges);
            let mut seen = 10_000;
            let found = graph(8, &edges).has_small_cut(limit, &mut seen);
            prop_assert_eq!(found, Some(least.is_some_and(|least| least < limit)));
        }
    }
}
