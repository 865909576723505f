//! Level 0 of a graph without deleted nodes: links to a deleted node are replaced by links to its neighbours.
//!
//! A node with links to deleted nodes keeps its other links. From the links of the deleted nodes it gets those that the
//! build would select beside them (after the deletion of FreshDiskANN, Singh et al. 2021, Algorithm 4, which selects
//! again among all). Only distances between neighbours are computed, so that the cost is a small part of a build.

use super::beam_search::Links;
use super::build::{scorer, share};
use super::file::Graph;
use super::layout::NONE;
use super::scorer::Scorer;
use super::select_neighbors::{Codes, Selector};
use super::view::FlatLinks;
use crate::math;

impl Graph {
    /// Returns the links of level 0 without the rows marked in `deleted`, one mark per row; those rows have none.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn links_without(&self, deleted: &[bool], threads: usize) -> Vec<u32> {
        let (links, kernels) = (self.view().level_zero(), math::kernels());
        let codes = Codes { rows: self.view().codes, quantizer: &self.quantizer, dot: kernels.dot_u8_i8 };
        let mut out = links.links.to_vec();
        share(&mut out, links.degree, threads, |first, out| {
            let mut chooser = Chooser::new(codes, links, deleted);
            for (slot, slots) in out.chunks_mut(links.degree).enumerate() {
                let node = (first + slot) as u32;
                if chooser.is_deleted(node) {
                    slots.fill(NONE);
                } else if let Some(chosen) = chooser.choose(node) {
                    slots.fill(NONE);
                    slots.iter_mut().zip(chosen).for_each(|(slot, &(_, to))| *slot = to);
                }
            }
        });
        out
    }
}

/// State of a thread that selects links again.
struct Chooser<'a> {
    codes: Codes<'a>,
    links: FlatLinks<'a>,
    deleted: &'a [bool],
    selector: Selector,
    query: Vec<i8>,
    lost: Vec<u32>,
    nodes: Vec<u32>,
    keys: Vec<u32>,
    candidates: Vec<(u32, u32)>,
    chosen: Vec<(u32, u32)>,
}

impl<'a> Chooser<'a> {
    fn new(codes: Codes<'a>, links: FlatLinks<'a>, deleted: &'a [bool]) -> Self {
        Self {
            codes,
            links,
            deleted,
            selector: Selector::new(&codes, links.degree),
            query: vec![0; codes.rows.stride],
            lost: Vec::new(),
            nodes: Vec::new(),
            keys: Vec::new(),
            candidates: Vec::new(),
            chosen: Vec::new(),
        }
    }

    fn is_deleted(&self, node: u32) -> bool {
        self.deleted.get(node as usize).is_none_or(|&deleted| deleted)
    }

    /// Selects the links of a node with links to deleted nodes; returns None for another node, whose links stay.
    fn choose(&mut self, node: u32) -> Option<&[(u32, u32)]> {
        let Self { links, deleted, .. } = *self;
        self.lost.clear();
        self.nodes.clear();
        links.visit(node, |to| {
            let Some(&deleted) = deleted.get(to as usize) else { return false };
            if deleted {
                self.lost.push(to)
            } else {
                self.nodes.push(to)
            }
            true
        });
        if self.lost.is_empty() {
            return None;
        }
        let n_kept = self.nodes.len();
        for &lost in &self.lost {
            links.visit(lost, |to| {
                let Some(&deleted) = deleted.get(to as usize) else { return false };
                if !deleted && to != node && !self.nodes.contains(&to) {
                    self.nodes.push(to);
                }
                true
            });
        }
        let norm = self.codes.as_query(node, &mut self.query);
        self.keys.resize(self.nodes.len(), 0);
        scorer(&self.codes, &self.query, norm).keys(&self.nodes, &mut self.keys);
        self.candidates.clear();
        self.candidates.extend(self.keys.iter().copied().zip(self.nodes.iter().copied()));
        self.candidates[n_kept..].sort_unstable();
        let candidates = self.candidates.iter().copied();
        self.selector.select(&self.codes, candidates, n_kept, |node| node, links.degree, &mut self.chosen);
        Some(&self.chosen)
    }
}
