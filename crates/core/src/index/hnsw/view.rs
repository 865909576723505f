//! Sections of an opened file as slices. Numbers inside a section are not trusted: an invalid link ends its list, and a
//! missing row is infinitely far.

use super::beam_search::Links;
use super::file::Graph;
use super::layout::SectionKind;
use crate::math;
use crate::math::codes::CodeRows;

/// The sections of one graph.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) codes: CodeRows<'a>,
    pub(super) links: &'a [u32],
    pub(super) upper: &'a [u32],
    pub(super) duplicate_starts: &'a [u32],
    pub(super) duplicate_rows: &'a [u32],
    pub(super) duplicate_heads: &'a [u32],
    pub(super) degree: usize,
}

/// One upper level of a view.
pub(super) struct UpperView<'a> {
    pub(super) rows: &'a [u32],
    pub(super) down: &'a [u32],
    links: FlatLinks<'a>,
}

/// Links of one level.
#[derive(Clone, Copy)]
pub(super) struct FlatLinks<'a> {
    /// `degree` slots for each node.
    pub(super) links: &'a [u32],
    pub(super) degree: usize,
}

impl Graph {
    /// Returns the sections. Opening has checked that they lie in the file, aligned.
    pub(super) fn view(&self) -> View<'_> {
        let section = |kind| self.section(kind);
        let numbers = |kind| bytemuck::try_cast_slice(section(kind)).unwrap_or(&[]);
        View {
            codes: CodeRows { bytes: section(SectionKind::Codes), stride: self.header().stride as usize },
            links: numbers(SectionKind::Links),
            upper: numbers(SectionKind::Upper),
            duplicate_starts: numbers(SectionKind::DuplicateGroups),
            duplicate_rows: numbers(SectionKind::DuplicateRows),
            duplicate_heads: numbers(SectionKind::DuplicateHeads),
            degree: self.header().m as usize,
        }
    }

    /// The upper levels, lowest first.
    pub(super) fn upper<'a>(&'a self, view: &View<'a>) -> Vec<UpperView<'a>> {
        let mut rest = view.upper;
        let m = view.degree;
        let mut take = |count: usize| {
            let (head, tail) = rest.split_at(count.min(rest.len()));
            rest = tail;
            head
        };
        self.header()
            .level_counts()
            .map(|nodes| {
                let nodes = nodes as usize;
                let (rows, down) = (take(nodes), take(nodes));
                UpperView { rows, down, links: FlatLinks { links: take(nodes * m), degree: m } }
            })
            .collect()
    }
}

impl<'a> View<'a> {
    /// Level 0.
    pub(super) fn level_zero(&self) -> FlatLinks<'a> {
        FlatLinks { links: self.links, degree: 2 * self.degree }
    }

    /// Returns the rows whose codes equal those of a node, as far as the file is valid.
    #[inline]
    pub(super) fn duplicates(&self, node: u32) -> &'a [u32] {
        if self.duplicate_heads.is_empty() {
            return &[];
        }
        let Ok(group) = self.duplicate_heads.binary_search(&node) else { return &[] };
        match self.duplicate_starts.get(group..group + 2) {
            Some(&[from, to]) => self.duplicate_rows.get(from as usize..to as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
}

impl<'a> UpperView<'a> {
    pub(super) fn links(&self) -> FlatLinks<'a> {
        self.links
    }
}

impl<'a> FlatLinks<'a> {
    /// Returns a node's link slots, including free ones.
    #[inline(always)]
    pub(super) fn slots(&self, node: u32) -> &'a [u32] {
        let start = node as usize * self.degree;
        self.links.get(start..start + self.degree).unwrap_or(&[])
    }
}

impl Links for FlatLinks<'_> {
    #[inline(always)]
    fn nodes(&self) -> usize {
        self.links.len() / self.degree.max(1)
    }

    #[inline(always)]
    fn visit(&self, node: u32, mut visitor: impl FnMut(u32) -> bool) {
        for &link in self.slots(node) {
            if !visitor(link) {
                return;
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, node: u32) {
        math::prefetch_slice(self.slots(node), usize::MAX);
    }
}
