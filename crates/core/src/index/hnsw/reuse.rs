//! Reuse of an older graph over some of the rows: on level 0 these rows keep their links.
//!
//! Deleted rows are removed first (`bypass.rs`). The upper levels, 1/m of the rows, are built again.

use super::beam_search::Links;
use super::build::{Level, scorer};
use super::file::Graph;
use super::layout::NONE;
use super::scorer::Scorer;
use super::select_neighbors::Codes;
use super::view::FlatLinks;
use crate::types::Ordinal;

/// An older graph is reused if at most 1 / `MAX_DELETED_DIVISOR` of its rows are deleted.
const MAX_DELETED_DIVISOR: usize = 2;

/// An older graph, and the positions of its rows among the new ones.
#[derive(Clone, Copy, Debug)]
pub struct Reuse<'a> {
    /// The older graph.
    pub graph: &'a Graph,
    /// New row of each of its rows; None for a deleted row.
    pub rows: &'a [Option<Ordinal>],
}

/// Reusable part of an older graph.
pub(super) struct Reusable<'a> {
    graph: &'a Graph,
    /// Per old row: true if it is deleted or not a node.
    unusable: Vec<bool>,
    /// New row of each old row; `NONE` if it is in `unusable`.
    new_of: Vec<u32>,
}

impl<'a> Reuse<'a> {
    /// Returns the reusable part for a graph of `m` links whose nodes are not `hidden`; None if reuse is not
    /// worthwhile.
    pub(super) fn reusable(self, m: u32, hidden: &[bool]) -> Option<Reusable<'a>> {
        let Self { graph, rows } = self;
        if graph.params().m != m || rows.len() != graph.rows() as usize {
            return None;
        }
        let is_node = |row: &Ordinal| hidden.get(row.0 as usize).is_some_and(|&hidden| !hidden);
        let mut new_of: Vec<u32> = rows.iter().map(|row| row.filter(is_node).map_or(NONE, |row| row.0)).collect();
        // Duplicates have no links of their own.
        for &duplicate in graph.view().duplicate_rows {
            new_of.get_mut(duplicate as usize).into_iter().for_each(|new| *new = NONE);
        }
        let unusable: Vec<bool> = new_of.iter().map(|&new| new == NONE).collect();
        let left = unusable.iter().filter(|&&unusable| !unusable).count();
        (left > 0 && left >= rows.len() - rows.len() / MAX_DELETED_DIVISOR).then_some(Reusable {
            graph,
            unusable,
            new_of,
        })
    }
}

impl Reusable<'_> {
    /// Returns the new rows that already have links.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.new_of.iter().copied().filter(|&row| row != NONE)
    }

    /// Sets the reused links on level 0.
    pub(super) fn fill(&self, level: &Level, codes: &Codes<'_>, threads: usize) {
        let links = self.graph.links_without(&self.unusable, threads);
        let links = FlatLinks { links: &links, degree: level.degree() };
        let each = self.new_of.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (part, new_of) in self.new_of.chunks(each).enumerate() {
                scope.spawn(move || self.fill_part(level, codes, links, part * each, new_of));
            }
        });
    }

    #[allow(clippy::cast_possible_truncation)]
    fn fill_part(&self, level: &Level, codes: &Codes<'_>, links: FlatLinks<'_>, first: usize, new_of: &[u32]) {
        let mut query = vec![0; codes.rows.stride];
        let (mut to, mut keys, mut keyed) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, &new) in new_of.iter().enumerate().filter(|(_, new)| **new != NONE) {
            to.clear();
            links.visit((first + slot) as u32, |old| match self.new_of.get(old as usize) {
                Some(&new) if new != NONE => {
                    to.push(new);
                    true
                }
                _ => false,
            });
            keys.resize(to.len(), 0);
            let norm = codes.as_query(new, &mut query);
            scorer(codes, &query, norm).keys(&to, &mut keys);
            keyed.clear();
            keyed.extend(keys.iter().copied().zip(to.iter().copied()));
            level.set(new, &keyed);
        }
    }
}
