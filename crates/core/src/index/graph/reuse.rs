//! Level 0 of a graph over some of the rows, taken over instead of built: the rows keep the links that they have.
//!
//! Rows that are no more are taken out first (`remove.rs`). The upper levels, one row in `m`, are built anew.

use super::build::{Level, scorer};
use super::file::Graph;
use super::layout::NONE;
use super::score::Scorer;
use super::select::Codes;
use super::view::FlatLinks;
use super::walk::Links;
use crate::types::Ordinal;

/// A graph is of use while no more of its rows are gone than one in so many.
const GONE_ONE_IN: usize = 2;

/// An older graph, and where its rows are among the new ones.
#[derive(Clone, Copy, Debug)]
pub struct Reuse<'a> {
    /// The older graph.
    pub graph: &'a Graph,
    /// For each of its rows the new one; none for a row that is no more.
    pub rows: &'a [Option<Ordinal>],
}

/// What is taken over of an older graph.
pub(super) struct Taken<'a> {
    graph: &'a Graph,
    /// Of the older rows: no node any more, or never was.
    gone: Vec<bool>,
    /// The new row of each older row; `NONE` where it is gone.
    new_of: Vec<u32>,
}

impl<'a> Reuse<'a> {
    /// What may be taken over into a graph of `m` links whose nodes are not `hidden`; none if that is not worth it.
    pub(super) fn taken(self, m: u32, hidden: &[bool]) -> Option<Taken<'a>> {
        let Self { graph, rows } = self;
        if graph.params().m != m || rows.len() != graph.rows() as usize {
            return None;
        }
        let is_node = |row: &Ordinal| hidden.get(row.0 as usize).is_some_and(|&hidden| !hidden);
        let mut new_of: Vec<u32> = rows.iter().map(|row| row.filter(is_node).map_or(NONE, |row| row.0)).collect();
        // They have no links of their own.
        for &twin in graph.view().twin_rows {
            new_of.get_mut(twin as usize).into_iter().for_each(|new| *new = NONE);
        }
        let gone: Vec<bool> = new_of.iter().map(|&new| new == NONE).collect();
        let left = gone.iter().filter(|&&gone| !gone).count();
        (left > 0 && left >= rows.len() - rows.len() / GONE_ONE_IN).then_some(Taken { graph, gone, new_of })
    }
}

impl Taken<'_> {
    /// The new rows that have links already.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.new_of.iter().copied().filter(|&row| row != NONE)
    }

    /// Sets their links on level 0.
    pub(super) fn fill(&self, level: &Level, codes: &Codes<'_>, threads: usize) {
        let links = self.graph.links_without(&self.gone, threads);
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
        for (place, &new) in new_of.iter().enumerate().filter(|(_, new)| **new != NONE) {
            to.clear();
            links.visit((first + place) as u32, |old| match self.new_of.get(old as usize) {
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
