//! Reachability of level 0: links to nodes that the entry does not reach, added after the build and before the file is
//! written.
//!
//! The link comes from a node near the unreached one. It takes a free slot, or the slot of a link that no shortest path
//! from the entry uses, so that all reached nodes stay reached. A slot always exists: a tree over n nodes uses n - 1 of
//! their n * 2m slots.

use std::collections::VecDeque;

use super::layout::NONE;

/// Links of level 0 during the repair.
pub(super) struct Reach<'a> {
    links: &'a mut [u32],
    degree: usize,
    /// Predecessor of each node in the search from the entry; itself for the entry, `NONE` if unreached.
    parent: Vec<u32>,
}

impl<'a> Reach<'a> {
    /// Finds all nodes that `entry` reaches.
    pub(super) fn from(links: &'a mut [u32], degree: usize, entry: u32) -> Self {
        let nodes = links.len() / degree;
        let mut this = Self { links, degree, parent: vec![NONE; nodes] };
        this.spread(entry, entry);
        this
    }

    pub(super) fn reaches(&self, node: u32) -> bool {
        self.parent[node as usize] != NONE
    }

    /// Links `node` from the first of the `near` nodes with a usable slot, or else from any node; returns the source.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn attach(&mut self, node: u32, near: impl Iterator<Item = u32>) -> Option<u32> {
        let nodes = self.parent.len() as u32;
        let (from, slot) = near.chain(0..nodes).find_map(|from| Some((from, self.slot(from)?)))?;
        self.links[slot] = node;
        self.spread(from, node);
        Some(from)
    }

    /// Returns a usable link slot of a reached node.
    fn slot(&self, from: u32) -> Option<usize> {
        if !self.reaches(from) {
            return None;
        }
        let start = from as usize * self.degree;
        let links = &self.links[start..start + self.degree];
        if let Some(free) = links.iter().position(|&to| to == NONE) {
            return Some(start + free);
        }
        links.iter().rposition(|&to| self.parent[to as usize] != from).map(|at| start + at)
    }

    fn spread(&mut self, from: u32, node: u32) {
        self.parent[node as usize] = from;
        let mut queue = VecDeque::from([node]);
        while let Some(from) = queue.pop_front() {
            let start = from as usize * self.degree;
            for &to in &self.links[start..start + self.degree] {
                if to != NONE && self.parent[to as usize] == NONE {
                    self.parent[to as usize] = from;
                    queue.push_back(to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn islands_are_attached_and_nothing_is_lost() {
        // Three full rings of five nodes with two links each: 0..5, 5..10, 10..15.
        let mut links: Vec<u32> = (0..15_u32)
            .flat_map(|node| {
                let base = node / 5 * 5;
                [base + (node + 1) % 5, base + (node + 4) % 5]
            })
            .collect();
        let mut reach = Reach::from(&mut links, 2, 2);
        assert_eq!((0..15).filter(|&n| reach.reaches(n)).count(), 5);
        assert_eq!(reach.attach(7, [7, 8, 4].into_iter()), Some(4), "only from reached nodes");
        assert!(reach.reaches(9) && !reach.reaches(12));
        reach.attach(12, [].into_iter()).unwrap();
        assert!((0..15).all(|n| Reach::from(&mut links, 2, 2).reaches(n)));
    }
}
