//! Keyword queries: BM25 over the text indexes of all segments.
//!
//! Frequencies of terms, and lengths, are those of the live points of all segments at the time of the query. A score
//! therefore does not depend on how the points are distributed over segments, nor on deleted points.

use super::resolve::ResolvedKeywords;
use super::search::{Candidate, Scope, SegmentRef, keep_nearest, name_candidates};
use super::state::Collection;
use super::view::View;
use crate::api::{CancellationToken, Error, KeywordOperator};
use crate::index::inverted::{Builder, QueryTerm, Scorer, TextStats, TopRows};
use crate::payload::{RowSet, Selection};
use crate::segment::growing::Growing;
use crate::segment::sealed::Sealed;
use crate::segment::text_index::{SealedText, UpdatedTexts, is_current, read};
use crate::types::{Neighbor, Ordinal};
use std::sync::{Arc, RwLock};

/// A keyword query with the indexes of the segments of a view, and its scores.
pub(super) struct KeywordSearch<'v> {
    sealed: Vec<SealedIndex<'v>>,
    /// Oldest first.
    growing: Vec<(&'v Arc<Growing>, Arc<RwLock<Builder>>)>,
    scorer: Scorer,
    operator: KeywordOperator,
}

/// Calls a function with each row that has a term.
type ForEachRow<'a> = &'a dyn Fn(&str, &mut dyn FnMut(u32));

/// The index of a sealed segment.
struct SealedIndex<'v> {
    sealed: &'v Arc<Sealed>,
    text: Arc<SealedText>,
    updated: Arc<UpdatedTexts>,
}

impl<'v> KeywordSearch<'v> {
    /// Opens or builds the indexes, and counts the terms.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload; `Abandoned`.
    pub(super) fn prepare(collection: &Collection, view: &'v View, query: &ResolvedKeywords) -> Result<Self, Error> {
        let (field, part_bytes) = (&query.field, collection.index_build_bytes());
        // Sealed segments first: a point that is replaced meanwhile appears in the growing one.
        let open = |sealed: &'v Arc<Sealed>| {
            let text = sealed.text(field, part_bytes)?;
            Ok(SealedIndex { sealed, updated: sealed.updated_texts(field, &text)?, text })
        };
        let sealed = view.sealed.iter().map(open).collect::<Result<_, Error>>()?;
        let mut growing =
            view.growing_newest_first().map(|one| Ok((one, one.text(field)?))).collect::<Result<Vec<_>, Error>>()?;
        growing.reverse();
        let mut search = Self {
            sealed,
            growing,
            scorer: Scorer::new(&field.bm25(), &TextStats::default(), Vec::new()),
            operator: query.operator,
        };
        let mut terms = Vec::with_capacity(query.terms.len());
        let stop = CancellationToken::current();
        for (term, boost) in &query.terms {
            stop.check()?;
            terms.push(QueryTerm { term: term.clone(), boost: *boost, frequency: search.frequency(term) });
        }
        search.scorer = Scorer::new(&field.bm25(), &search.stats(), terms);
        Ok(search)
    }

    /// Returns the counts over all live points.
    fn stats(&self) -> TextStats {
        let mut stats = TextStats::default();
        for SealedIndex { sealed, text, updated } in &self.sealed {
            stats.add(text.live_stats(sealed, updated));
        }
        for (growing, text) in &self.growing {
            let (text, table) = (read(text), growing.read());
            for row in (0..text.rows()).filter(|row| !table.dead[*row as usize]) {
                let length = text.length(row);
                stats.add(TextStats { points: u64::from(length > 0), tokens: length.into() });
            }
        }
        stats
    }

    /// Returns the number of live points with a term.
    fn frequency(&self, term: &str) -> u64 {
        let of_sealed = |one: &SealedIndex<'_>| one.text.live_frequency(one.sealed, &one.updated, term);
        let sealed: u64 = self.sealed.iter().map(of_sealed).sum();
        let growing = self.growing.iter().map(|(growing, text)| {
            let (text, table) = (read(text), growing.read());
            let mut count = 0;
            text.for_each(term, |row, _| count += u64::from(!table.dead[row as usize]));
            count
        });
        sealed + growing.sum::<u64>()
    }

    pub(super) fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// Returns the best `k` rows that match, best first.
    fn best(&self, view: &View, k: usize, scope: Scope<'_>) -> Result<Vec<Candidate<'v>>, Error> {
        let stop = CancellationToken::current();
        let cancelled = || stop.is_cancelled();
        let mut top = TopRows::new(&self.scorer, k, scope.score_threshold);
        for (index, SealedIndex { sealed, text, updated }) in (0..).zip(&self.sealed) {
            let selected = scope.selection.map(|selection| selection.of(view, SegmentRef::Sealed(sealed)));
            let all = self.rows_with_all(sealed.segment.rows(), &|term, each| {
                for part in text.parts() {
                    part.index.for_each(term, |row, _| {
                        if is_current(sealed, updated, part.first + row) {
                            each(part.first + row);
                        }
                    });
                }
                updated.index().for_each(term, |position, _| each(updated.rows()[position as usize]));
            });
            let wanted = |row: u32| {
                sealed.is_live(Ordinal(row))
                    && selected.is_none_or(|selected| selected.is_some_and(|selected| selected.contains(row)))
                    && all.as_ref().is_none_or(|all| all.contains(row))
            };
            for part in text.parts() {
                let current = |row: u32| wanted(row) && is_current(sealed, updated, row);
                top.search(&part.index, index, part.first, current, &cancelled);
                stop.check()?;
            }
            top.search_builder(updated.index(), index, |position| updated.rows()[position as usize], wanted);
        }
        for (index, (growing, text)) in (self.sealed.len() as u32..).zip(&self.growing) {
            let (text, table) = (read(text), growing.read());
            let selected = scope.selection.map(|selection| selection.of(view, SegmentRef::Growing(growing)));
            let all = self.rows_with_all(text.rows(), &|term, each| text.for_each(term, |row, _| each(row)));
            let allowed = |row: u32| {
                !table.dead[row as usize]
                    && selected.is_none_or(|selected| selected.is_some_and(|selected| selected.contains(row)))
                    && all.as_ref().is_none_or(|all| all.contains(row))
            };
            top.search_builder(&text, index, |row| row, allowed);
        }
        let mut candidates = Vec::new();
        for found in top.into_sorted() {
            let source = match self.sealed.get(found.segment as usize) {
                Some(one) => SegmentRef::Sealed(one.sealed),
                None => SegmentRef::Growing(self.growing[found.segment as usize - self.sealed.len()].0),
            };
            let neighbor = Neighbor { row: Ordinal(found.row), distance: -found.score };
            name_candidates(source, &[neighbor], &mut candidates)?;
        }
        Ok(candidates)
    }

    /// Returns the rows with all terms; none if one term suffices.
    fn rows_with_all(&self, rows: u32, for_each: ForEachRow<'_>) -> Option<RowSet> {
        if self.operator == KeywordOperator::Any {
            return None;
        }
        let mut all: Option<Vec<u64>> = None;
        for term in self.scorer.terms() {
            let mut words = vec![0_u64; rows.div_ceil(64) as usize];
            for_each(&term.term, &mut |row| {
                if let Some(word) = words.get_mut(row as usize / 64) {
                    *word |= 1 << (row % 64);
                }
            });
            match &mut all {
                None => all = Some(words),
                Some(all) => all.iter_mut().zip(words).for_each(|(all, word)| *all &= word),
            }
        }
        Some(RowSet::new(all.unwrap_or_default()))
    }

    /// Returns the frequency of each term in some rows of one segment, which must ascend: a list per term.
    fn frequencies(&self, source: SegmentRef<'_>, rows: &[u32]) -> Vec<Vec<u32>> {
        let terms = self.scorer.terms().iter();
        match source {
            SegmentRef::Sealed(_) => match self.index_of(source) {
                Some(index) => terms.map(|term| index.frequencies(&term.term, rows)).collect(),
                None => terms.map(|_| vec![0; rows.len()]).collect(),
            },
            SegmentRef::Growing(growing) => {
                let text =
                    self.growing.iter().find(|(other, _)| Arc::ptr_eq(other, growing)).map(|(_, text)| read(text));
                let of_term = |term: &QueryTerm| {
                    let mut found = vec![0; rows.len()];
                    if let Some(text) = &text {
                        text.for_each(&term.term, |row, frequency| {
                            if let Ok(at) = rows.binary_search(&row) {
                                found[at] = frequency;
                            }
                        });
                    }
                    found
                };
                terms.map(of_term).collect()
            }
        }
    }

    fn index_of(&self, source: SegmentRef<'_>) -> Option<&SealedIndex<'v>> {
        self.sealed.iter().find(|one| SegmentRef::Sealed(one.sealed).is(&source))
    }

    fn length(&self, source: SegmentRef<'_>, row: u32) -> u32 {
        match source {
            SegmentRef::Sealed(_) => self.index_of(source).map_or(0, |index| index.length(row)),
            SegmentRef::Growing(growing) => {
                let text = self.growing.iter().find(|(other, _)| Arc::ptr_eq(other, growing));
                text.map_or(0, |(_, text)| read(text).length(row))
            }
        }
    }

    /// Returns the frequency and the contribution of each term in a row, and the score of the row.
    pub(super) fn score_terms(&self, source: SegmentRef<'_>, row: u32) -> (Vec<(u32, f32)>, f32) {
        let frequencies = self.frequencies(source, &[row]);
        let length = self.length(source, row);
        let mut sum = 0;
        let of_term = |(term, found): (usize, Vec<u32>)| {
            let frequency = found.first().copied().unwrap_or(0);
            let contribution = if frequency == 0 { 0 } else { self.scorer.contribution_of(term, frequency, length) };
            sum += contribution;
            (frequency, self.scorer.score(contribution))
        };
        let terms = frequencies.into_iter().enumerate().map(of_term).collect();
        (terms, self.scorer.score(sum))
    }

    /// Returns the scores of candidates; 0 for one without a term of the query.
    pub(super) fn scores(&self, candidates: &[Candidate<'_>]) -> Vec<f32> {
        let mut scores = vec![0.0; candidates.len()];
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_unstable_by_key(|&at| (candidates[at].source.address(), candidates[at].row.0));
        for group in order.chunk_by(|&a, &b| candidates[a].source.is(&candidates[b].source)) {
            let source = candidates[group[0]].source;
            let rows: Vec<u32> = group.iter().map(|&at| candidates[at].row.0).collect();
            let mut sums = vec![0_u32; rows.len()];
            for (term, found) in self.frequencies(source, &rows).into_iter().enumerate() {
                for ((sum, frequency), row) in sums.iter_mut().zip(found).zip(&rows) {
                    if frequency > 0 {
                        *sum += self.scorer.contribution_of(term, frequency, self.length(source, *row));
                    }
                }
            }
            group.iter().zip(sums).for_each(|(&at, sum)| scores[at] = self.scorer.score(sum));
        }
        scores
    }
}

impl SealedIndex<'_> {
    /// Returns the frequency of a term in some rows, which must ascend.
    fn frequencies(&self, term: &str, rows: &[u32]) -> Vec<u32> {
        let mut found = Vec::with_capacity(rows.len());
        for part in self.text.parts() {
            let until = part.first + part.index.rows();
            let begin = rows.partition_point(|row| *row < part.first);
            let end = rows.partition_point(|row| *row < until);
            let within: Vec<u32> = rows[begin..end].iter().map(|row| row - part.first).collect();
            found.extend(part.index.frequencies(term, &within));
        }
        found.resize(rows.len(), 0);
        for (row, found) in rows.iter().zip(&mut found) {
            *found = if self.updated.position(*row).is_some() { 0 } else { *found };
        }
        self.updated.index().for_each(term, |position, frequency| {
            if let Ok(at) = rows.binary_search(&self.updated.rows()[position as usize]) {
                found[at] = frequency;
            }
        });
        found
    }

    fn length(&self, row: u32) -> u32 {
        match self.updated.position(row) {
            Some(position) => self.updated.index().length(position),
            None => self.text.part_of(row).map_or(0, |part| part.index.length(row - part.first)),
        }
    }
}

impl Collection {
    /// Returns the candidates with the highest BM25 scores.
    pub(super) fn keyword_candidates<'v>(
        &self,
        view: &'v View,
        query: &ResolvedKeywords,
        scope: Scope<'_>,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let search = KeywordSearch::prepare(self, view, query)?;
        let mut k = scope.k;
        loop {
            let mut candidates = search.best(view, k, scope)?;
            let found = candidates.len();
            keep_nearest(&mut candidates, scope.k);
            // A point that was replaced meanwhile may have been found twice.
            if candidates.len() == scope.k || found < k {
                candidates.retain(|candidate| scope.score_threshold.is_none_or(|min| -candidate.distance >= min));
                return Ok(candidates);
            }
            k += found - candidates.len();
        }
    }
}

impl Selection {
    /// Returns the matches in one segment of the view.
    fn of(&self, view: &View, source: SegmentRef<'_>) -> Option<&RowSet> {
        let growing = view.growing_newest_first().map(SegmentRef::Growing);
        let index = growing.chain(view.sealed.iter().map(SegmentRef::Sealed)).position(|other| other.is(&source))?;
        self.segments.get(index)
    }

    /// Whether a row of a segment of the view matches.
    pub(super) fn contains(&self, view: &View, source: SegmentRef<'_>, row: Ordinal) -> bool {
        self.of(view, source).is_some_and(|selected| selected.contains(row.0))
    }
}
