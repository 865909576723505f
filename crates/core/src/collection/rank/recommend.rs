//! Queries by examples: their vectors, and the score of the best example.

use crate::api::{
    Budget, CancellationToken, Error, MIN_CANDIDATES, PartExplanation, Path, Recommend, RecommendTerm, SearchStats,
    limits,
};
use crate::collection::resolve::{CANCELLED, Resolved, ResolvedQuery};
use crate::collection::search::{
    Candidate, Part, Scope, SegmentRef, keep_nearest, name_candidates, sort_nearest, sources,
};
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::embed::Input;
use crate::index::{Rows, exact};
use crate::math::{self, TopK};
use crate::segment::search_budget::SearchBudget;
use crate::types::{Metric, Neighbor, Ordinal, PointId};
use rayon::prelude::*;
use std::collections::HashSet;
use std::ops::Range;

/// Components between two checks for cancellation.
const PIECE: usize = 1 << 21;

/// A query by the score of the best example.
pub(crate) struct BestScore {
    positive: Vec<Example>,
    negative: Vec<Example>,
    pub(crate) exclude: Vec<PointId>,
}

struct Example {
    vector: Vec<f32>,
    norm: f32,
}

/// The vectors of examples, and the points among them.
struct Examples {
    positive: Vec<Vec<f32>>,
    negative: Vec<Vec<f32>>,
    points: Vec<PointId>,
}

impl BestScore {
    /// Returns the number of positive examples.
    pub(crate) fn searches(&self) -> usize {
        self.positive.len()
    }

    /// Returns the score of a row, given its distance to an example.
    fn score(&self, metric: Metric, distance: impl Fn(&Example) -> f32) -> f32 {
        let best = |examples: &[Example]| {
            let nearest = examples.iter().map(&distance).fold(f32::INFINITY, f32::min);
            if examples.is_empty() { f64::NEG_INFINITY } else { scaled(metric, nearest) }
        };
        let (positive, negative) = (best(&self.positive), best(&self.negative));
        (if positive > negative { positive } else { -(negative * negative) }) as f32
    }

    fn score_of_row(&self, rows: Rows<'_>, row: Ordinal) -> f32 {
        self.score(rows.metric, |example| exact::distance(rows, row, &example.vector, example.norm))
    }
}

/// Returns a similarity of 0 to 1.
fn scaled(metric: Metric, distance: f32) -> f64 {
    let distance = f64::from(distance);
    match metric {
        Metric::Cosine => 1.0 - distance / 2.0,
        Metric::Dot => (1.0 - distance / (1.0 + distance.abs())) / 2.0,
        Metric::L2 => 1.0 / (1.0 + distance),
    }
}

impl Collection {
    /// Returns the vectors of the examples, unit vectors under cosine. Texts are embedded in one batch. `root` is the
    /// path of the query.
    fn examples(&self, view: &View, root: &str, recommend: &Recommend) -> Result<Examples, Error> {
        self.ensure_vectors(root)?;
        let sides = [("positive", &recommend.positive), ("negative", &recommend.negative)];
        let named = || {
            sides.into_iter().flat_map(|(side, terms)| {
                terms.iter().enumerate().map(move |(index, term)| (format!("{root}.{side}[{index}]"), term))
            })
        };
        let (mut inputs, mut names) = (Vec::new(), Vec::new());
        for (name, term) in named() {
            if let RecommendTerm::Text(text) = term {
                inputs.push(Input::Text(text));
                names.push(format!("{name}.text"));
            }
        }
        let mut embedded = self.embed(&inputs, |index| names[index].clone())?.into_iter();
        let (mut vectors, mut points) = (Vec::new(), Vec::new());
        for (name, term) in named() {
            let mut vector = match term {
                RecommendTerm::Id(id) => {
                    points.push(id.clone());
                    self.stored_vector(view, id)?
                }
                RecommendTerm::Vector(vector) => {
                    limits::vector(&format!("{name}.vector"), vector, self.dimension, self.metric)?;
                    vector.clone()
                }
                RecommendTerm::Text(_) => embedded.next().unwrap_or_default(),
            };
            if self.metric == Metric::Cosine {
                math::normalize(&mut vector);
            }
            Budget::current().charge(size_of_val(vector.as_slice()))?;
            vectors.push(vector);
        }
        let negative = vectors.split_off(recommend.positive.len());
        Ok(Examples { positive: vectors, negative, points })
    }

    /// Resolves a recommendation to the mean of its examples.
    pub(in crate::collection) fn average(
        &self,
        view: &View,
        root: &str,
        recommend: &Recommend,
    ) -> Result<Resolved, Error> {
        let examples = self.examples(view, root, recommend)?;
        let mut sum = vec![0.0_f64; self.dimension as usize];
        let mut lengths = 0.0;
        let positive_weight = if examples.negative.is_empty() { 1.0 } else { 2.0 };
        for (vectors, weight) in [(&examples.positive, positive_weight), (&examples.negative, -1.0)] {
            for vector in vectors {
                let weight = weight / vectors.len() as f64;
                lengths += weight.abs() as f32 * math::norm(vector);
                sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * f64::from(*x));
            }
        }
        let vector: Vec<f32> = sum.into_iter().map(|x| x as f32).collect();
        // The remainder of examples that cancel is rounding error with an arbitrary direction.
        if lengths > 0.0 && math::norm(&vector) <= CANCELLED * lengths {
            return Err(Error::invalid(root, "the examples cancel: their mean is the zero vector; leave some out"));
        }
        limits::vector(root, &vector, self.dimension, self.metric)?;
        Ok(Resolved { vector, exclude: examples.points })
    }

    /// Resolves a recommendation by the best score.
    pub(in crate::collection) fn best_score(
        &self,
        view: &View,
        root: &str,
        recommend: &Recommend,
    ) -> Result<BestScore, Error> {
        let Examples { positive, negative, points } = self.examples(view, root, recommend)?;
        let examples = |vectors: Vec<Vec<f32>>| {
            vectors.into_iter().map(|vector| Example { norm: math::norm(&vector), vector }).collect()
        };
        Ok(BestScore { positive: examples(positive), negative: examples(negative), exclude: points })
    }

    /// Returns the candidates with the best scores; their distance is the negated score.
    pub(in crate::collection) fn best_score_candidates<'v>(
        &self,
        view: &'v View,
        query: &BestScore,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let mut candidates = match scope.budget {
            SearchBudget::Exact => self.scan_best(view, query, scope, stats)?,
            SearchBudget::Ef(_) | SearchBudget::Target(_) => self.best_of_searches(view, query, scope, stats)?,
        };
        candidates.retain(|candidate| {
            !query.exclude.contains(&candidate.id) && scope.score_threshold.is_none_or(|min| -candidate.distance >= min)
        });
        candidates.truncate(scope.k);
        Ok(candidates)
    }

    /// Searches for each positive example, and scores all candidates.
    fn best_of_searches<'v>(
        &self,
        view: &'v View,
        query: &BestScore,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let k = scope.k.saturating_mul(2).max(MIN_CANDIDATES as usize);
        let (mut candidates, mut known) = (Vec::new(), HashSet::new());
        for (index, example) in query.positive.iter().enumerate() {
            let resolved = Resolved { vector: example.vector.clone(), exclude: query.exclude.clone() };
            let mut of_search = SearchStats::empty();
            let wider = Scope { k, score_threshold: None, ..scope };
            let found = self.candidates(view, &ResolvedQuery::Vector(resolved), wider, &mut of_search)?;
            stats.add_part(&format!("positive[{index}]"), found.len() as u32, of_search);
            candidates.extend(found.into_iter().filter(|candidate| known.insert(candidate.id.clone())));
        }
        stats.path = Path::Fusion;
        let distances = self.best_score_distances(query, &candidates)?;
        stats.distances_computed += (candidates.len() * (query.positive.len() + query.negative.len())) as u64;
        // Found by their vectors, all have one.
        let both = candidates.iter_mut().zip(distances);
        both.for_each(|(candidate, distance)| candidate.distance = distance.unwrap_or(f32::INFINITY));
        sort_nearest(&mut candidates);
        Ok(candidates)
    }

    /// Returns the negated score of each candidate; none for one without a vector.
    pub(super) fn best_score_distances(
        &self,
        query: &BestScore,
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<f32>>, Error> {
        let stop = CancellationToken::current();
        let distance = |Candidate { source, row, .. }: &Candidate<'_>| {
            stop.check()?;
            if !self.has_vector(source, *row) {
                return Ok(None);
            }
            if let SegmentRef::Sealed(sealed) = source {
                sealed.ensure_vectors(row.0..row.0 + 1)?;
            }
            Ok(Some(-self.distances(source, |rows| query.score_of_row(rows, *row))))
        };
        candidates.iter().map(distance).collect()
    }

    /// Scores all points, and returns the best.
    fn scan_best<'v>(
        &self,
        view: &'v View,
        query: &BestScore,
        scope: Scope<'_>,
        stats: &mut SearchStats,
    ) -> Result<Vec<Candidate<'v>>, Error> {
        let k = scope.k + query.exclude.len();
        let mut candidates = Vec::new();
        for part in sources(view, scope.selection, k) {
            let (found, rows) = self.scan_part(&part, query, k)?;
            let distances = rows * (query.positive.len() + query.negative.len()) as u64;
            stats.distances_computed += distances;
            match part.source {
                SegmentRef::Growing(_) => stats.growing_distances += distances,
                SegmentRef::Sealed(_) => stats.segments_by_scan += 1,
            }
            name_candidates(part.source, &found, &mut candidates)?;
            keep_nearest(&mut candidates, k);
        }
        stats.path = if scope.selection.is_some() { Path::FilterScan } else { Path::Exact };
        stats.expected_recall = Some(1.0).filter(|_| view.damaged.is_empty());
        Ok(candidates)
    }

    /// Returns the best `k` rows of one segment, and the number of rows scored.
    fn scan_part(&self, part: &Part<'_, '_>, query: &BestScore, k: usize) -> Result<(Vec<Neighbor>, u64), Error> {
        let stop = CancellationToken::current();
        let components = self.dimension as usize * (query.positive.len() + query.negative.len());
        let step = (PIECE / components.max(1)).max(1);
        let wanted = |row: u32| part.selected.is_none_or(|selected| selected.contains(row));
        let best = |rows: Rows<'_>, of: Range<u32>, live: &dyn Fn(u32) -> bool| {
            let (mut top, mut scored) = (TopK::new(k), 0);
            for row in of.filter(|row| wanted(*row) && live(*row)).map(Ordinal) {
                top.push(Neighbor { row, distance: -query.score_of_row(rows, row) });
                scored += 1;
            }
            (top.into_sorted(), scored)
        };
        let pieces: Vec<(Vec<Neighbor>, u64)> = match part.source {
            SegmentRef::Sealed(sealed) => {
                let count = sealed.segment.rows();
                let piece = |from: u32| {
                    stop.check()?;
                    let of = from..count.min(from.saturating_add(step as u32));
                    let live = |row: u32| sealed.is_live(Ordinal(row));
                    if part.selected.is_none() {
                        sealed.ensure_vectors(of.clone())?;
                    } else {
                        let mut read = of.clone().filter(|row| wanted(*row) && live(*row));
                        read.try_for_each(|row| sealed.ensure_vectors(row..row + 1))?;
                    }
                    Ok(best(sealed.rows(self.metric), of, &live))
                };
                (0..count).into_par_iter().step_by(step).map(piece).collect::<Result<_, Error>>()?
            }
            SegmentRef::Growing(growing) => {
                let table = growing.read();
                let live = |row: u32| table.is_searched(row);
                let (rows, count) = (growing.rows(&table), table.rows());
                let piece = |from: u32| {
                    stop.check()?;
                    Ok(best(rows, from..count.min(from.saturating_add(step as u32)), &live))
                };
                (0..count).step_by(step).map(piece).collect::<Result<_, Error>>()?
            }
        };
        let (mut top, mut scored) = (TopK::new(k), 0);
        for (found, rows) in pieces {
            found.into_iter().for_each(|neighbor| top.push(neighbor));
            scored += rows;
        }
        Ok((top.into_sorted(), scored))
    }

    /// Explains the score of a point, none without a vector: its score for each example.
    pub(in crate::collection) fn explain_best_score(
        &self,
        query: &BestScore,
        point: &Candidate<'_>,
    ) -> Result<(Option<f32>, Vec<PartExplanation>), Error> {
        let mut parts = Vec::new();
        for (side, examples) in [("positive", &query.positive), ("negative", &query.negative)] {
            for (index, example) in examples.iter().enumerate() {
                let distance = self.distances_from(&example.vector, std::slice::from_ref(point))?.pop().flatten();
                parts.push(PartExplanation {
                    query: format!("{side}[{index}]"),
                    rank: None,
                    candidates: 0,
                    score: distance.map(|distance| self.metric.score(distance)),
                    contribution: None,
                    terms: Vec::new(),
                });
            }
        }
        let distance = self.best_score_distances(query, std::slice::from_ref(point))?.pop().flatten();
        Ok((distance.map(|distance| -distance), parts))
    }
}
