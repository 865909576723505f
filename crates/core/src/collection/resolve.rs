//! From the queries of a request to vectors, terms and filters, with all checks that need the collection.

use super::rank::{BestScore, RankedQuery};
use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::{
    Accuracy, Budget, Error, FieldQuery, FieldTarget, FieldVector, Filter, Fusion, FusionMethod, KeywordOperator,
    Keywords, MAX_FUSED_FILTERS, MAX_KEYWORDS, Query, RecommendStrategy, limits,
};
use crate::embed::Input;
use crate::index::sparse::SparseQuery;
use crate::math;
use crate::segment::columns::IndexedVectors;
use crate::segment::text_index::IndexedField;
use crate::store::body;
use crate::types::{Metric, PointId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Ratio of the length of a sum to the total length of its terms, up to which the terms cancel.
pub(super) const CANCELLED: f32 = 1e-6;

/// A query vector, with the points to exclude from its answer.
pub(crate) struct Resolved {
    pub(crate) vector: Vec<f32>,
    pub(crate) exclude: Vec<PointId>,
}

/// A query that a collection can run.
pub(crate) enum ResolvedQuery {
    Vector(Resolved),
    Keywords(ResolvedKeywords),
    Fusion(ResolvedFusion),
    Field(ResolvedField),
    BestScore(BestScore),
    Ranked(Box<RankedQuery>),
}

/// A query vector for a vector field, with the points to exclude from its answer.
pub(crate) struct ResolvedField {
    pub(crate) field: Arc<IndexedVectors>,
    pub(crate) target: ResolvedTarget,
    pub(crate) exclude: Vec<PointId>,
}

/// A query vector, in the form that it is compared in.
pub(crate) enum ResolvedTarget {
    Dense(Vec<f32>),
    Sparse(SparseQuery),
    /// One vector after the other, of unit length under cosine.
    Multi(Vec<f32>),
}

/// The terms of a keyword query, distinct.
pub(crate) struct ResolvedKeywords {
    pub(crate) field: Arc<IndexedField>,
    /// Terms with their occurrences in the query.
    pub(crate) terms: Vec<(Box<str>, f32)>,
    pub(crate) operator: KeywordOperator,
}

/// Queries to fuse.
pub(crate) struct ResolvedFusion {
    pub(crate) parts: Vec<ResolvedPart>,
    pub(crate) method: FusionMethod,
}

/// A query whose hits are fused.
pub(crate) struct ResolvedPart {
    /// Position in the outermost fusion, such as `queries[1]`.
    pub(crate) name: String,
    pub(crate) query: ResolvedQuery,
    pub(crate) weight: f32,
    /// Number of hits; 0 for the default.
    pub(crate) limit: u32,
    /// Index of its filter among those of the call.
    pub(crate) filter: Option<usize>,
    pub(crate) accuracy: Option<Accuracy>,
    pub(crate) score_threshold: Option<f32>,
}

/// The queries of a call, and the filters of their parts.
pub(crate) struct ResolvedCall {
    pub(crate) queries: Vec<ResolvedQuery>,
    /// Each includes the filter of the call.
    pub(crate) filters: Vec<Filter>,
}

impl ResolvedTarget {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Dense(vector) | Self::Multi(vector) => size_of_val(vector.as_slice()),
            Self::Sparse(query) => query.memory_bytes(),
        }
    }
}

impl ResolvedQuery {
    /// Returns the number of queries that are fused, on all levels, or of examples that are searched for.
    pub(crate) fn fused(&self) -> usize {
        match self {
            Self::Vector(_) | Self::Keywords(_) | Self::Field(_) => 0,
            Self::Fusion(fusion) => fusion.parts.iter().map(|part| 1 + part.query.fused()).sum(),
            Self::BestScore(query) => query.searches(),
            Self::Ranked(ranked) => ranked.query.fused(),
        }
    }

    pub(crate) fn is_vector(&self) -> bool {
        matches!(self, Self::Vector(_))
    }

    /// Calls `each` with the points to exclude from the hits.
    pub(crate) fn for_each_excluded<'q>(&'q self, each: &mut dyn FnMut(&'q PointId)) {
        match self {
            Self::Vector(query) => query.exclude.iter().for_each(each),
            Self::Field(query) => query.exclude.iter().for_each(each),
            Self::Keywords(_) => {}
            Self::Fusion(fusion) => fusion.parts.iter().for_each(|part| part.query.for_each_excluded(each)),
            Self::BestScore(query) => query.exclude.iter().for_each(each),
            Self::Ranked(ranked) => {
                ranked.query.for_each_excluded(each);
                ranked.stages.rerank.iter().for_each(|(query, _)| query.for_each_excluded(each));
            }
        }
    }
}

impl Collection {
    /// Resolves the queries of a call. Texts and images of all of them are embedded in one batch. `filter` is that of
    /// the call.
    pub(crate) fn resolve(
        &self,
        view: &View,
        queries: &[Query],
        filter: Option<&Filter>,
    ) -> Result<ResolvedCall, Error> {
        // A hybrid query is short for a fusion.
        let expanded: Vec<Option<Query>> = queries.iter().map(expanded).collect();
        let queries: Vec<&Query> =
            queries.iter().zip(&expanded).map(|(query, expanded)| expanded.as_ref().unwrap_or(query)).collect();
        let mut vectors = Vec::new();
        for (index, query) in queries.iter().enumerate() {
            collect_vectors(field(index, queries.len()), query, &mut vectors);
        }
        let mut resolver = Resolver {
            collection: self,
            view,
            vectors: self.resolve_vectors(view, &vectors)?.into_iter(),
            filters: Vec::new(),
        };
        let resolved = queries
            .iter()
            .enumerate()
            .map(|(index, query)| resolver.resolve(&field(index, queries.len()), "", query, filter))
            .collect::<Result<_, _>>()?;
        Ok(ResolvedCall { queries: resolved, filters: resolver.filters })
    }

    /// Resolves queries that must have a vector.
    ///
    /// # Errors
    /// `InvalidInput` for other queries.
    pub(crate) fn resolve_vector_queries(&self, view: &View, queries: &[Query]) -> Result<Vec<Resolved>, Error> {
        let named: Vec<(String, &Query)> =
            queries.iter().enumerate().map(|(index, query)| (field(index, queries.len()), query)).collect();
        self.resolve_vectors(view, &named)
    }

    /// Returns the text field of a keyword query. `root` is the path of the query, for errors.
    pub(crate) fn text_field(&self, root: &str, name: &str) -> Result<Arc<IndexedField>, Error> {
        let fields = self.text_fields();
        let invalid = |what: String| Err(Error::invalid(format!("{root}.field"), what));
        let names = || fields.iter().map(|field| field.spec.name.clone()).collect::<Vec<_>>().join(", ");
        match (fields.as_slice(), name) {
            ([], _) => invalid(format!("the collection {:?} has no text field: add one", self.name().as_str())),
            ([only], "") => Ok(only.clone()),
            (_, "") => invalid(format!("the collection has several text fields: name one of {}", names())),
            (fields, name) => match fields.iter().find(|field| field.spec.name == name) {
                Some(field) => Ok(field.clone()),
                None => invalid(format!("there is no text field {name:?}: the collection has {}", names())),
            },
        }
    }

    /// Resolves a query for a vector field. `root` is its path, for errors.
    fn resolve_field(&self, view: &View, root: &str, query: &FieldQuery) -> Result<ResolvedField, Error> {
        let field = self.vector_field(&format!("{root}.field"), &query.field)?;
        let (vector, exclude) = match &query.target {
            FieldTarget::Vector(vector) => (field.spec.prepare(&format!("{root}.vector"), vector.clone())?, Vec::new()),
            FieldTarget::Id(id) => (self.stored_field_vector(view, &field, root, id)?, vec![id.clone()]),
        };
        let target = match vector {
            FieldVector::Dense(vector) => ResolvedTarget::Dense(vector),
            FieldVector::Sparse(sparse) => {
                ResolvedTarget::Sparse(SparseQuery::new(sparse.indices.into_iter().zip(sparse.values)))
            }
            FieldVector::Multi(mut vectors) => {
                if field.spec.metric == Metric::Cosine {
                    vectors.iter_mut().for_each(|vector| _ = math::normalize(vector));
                }
                ResolvedTarget::Multi(vectors.concat())
            }
        };
        Budget::current().charge(target.memory_bytes())?;
        Ok(ResolvedField { field, target, exclude })
    }

    /// Returns the vector of a stored point in a field.
    fn stored_field_vector(
        &self,
        view: &View,
        field: &IndexedVectors,
        root: &str,
        id: &PointId,
    ) -> Result<FieldVector, Error> {
        let stored = match self.locate(view, id) {
            Some(RowLocation::Growing(growing, row)) => growing.read().bodies[row as usize].clone(),
            Some(RowLocation::Sealed(sealed, row)) if !sealed.segment.payload_is_sound(row) => {
                return Err(sealed.damage());
            }
            Some(RowLocation::Sealed(sealed, row)) => Box::from(sealed.segment.body(row)),
            None => return Err(self.no_point(view, id)),
        };
        match body::vector_of(&stored, field.spec.number) {
            Some(vector) => vector.decode().map_err(|what| Error::Damaged { what: format!("the point {id}: {what}") }),
            None => {
                let what = format!("the point {:?} has no vector in the field {:?}", id.as_str(), field.spec.name);
                Err(Error::invalid(format!("{root}.id"), what))
            }
        }
    }

    /// Returns the error for an id without a point.
    fn no_point(&self, view: &View, id: &PointId) -> Error {
        // The point may be in a quarantined segment.
        let unknown = || Error::UnknownPoint { collection: self.name().to_string(), id: id.to_string() };
        view.ensure_intact(&self.name()).err().unwrap_or_else(unknown)
    }

    fn resolve_keywords(&self, root: &str, keywords: &Keywords) -> Result<ResolvedKeywords, Error> {
        let field = self.text_field(root, &keywords.field)?;
        let mut terms: FxHashMap<Box<str>, f32> = FxHashMap::default();
        field.analyzer().for_each(&keywords.text, |token| match terms.get_mut(token.term) {
            Some(count) => *count += 1.0,
            None => _ = terms.insert(token.term.into(), 1.0),
        });
        if terms.len() > MAX_KEYWORDS {
            let what = format!("has {} distinct terms, at most {MAX_KEYWORDS}: shorten the text", terms.len());
            return Err(Error::invalid(format!("{root}.text"), what));
        }
        let mut terms: Vec<(Box<str>, f32)> = terms.into_iter().collect();
        terms.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(ResolvedKeywords { field, terms, operator: keywords.operator })
    }

    /// Resolves queries, each with its name, to checked vectors. Texts and images are embedded in one batch.
    fn resolve_vectors(&self, view: &View, queries: &[(String, &Query)]) -> Result<Vec<Resolved>, Error> {
        let name = |index: usize, part: &str| format!("{}.{part}", queries[index].0);
        let mut inputs = Vec::new();
        let mut names = Vec::new();
        for (index, (_, query)) in queries.iter().enumerate() {
            match query {
                Query::Text(text) => {
                    inputs.push(Input::Text(text));
                    names.push(name(index, "text"));
                }
                Query::Image(bytes) => {
                    inputs.push(Input::Image(bytes));
                    names.push(name(index, "image"));
                }
                _ => {}
            }
        }
        let mut embedded = self.embed(&inputs, |index| names[index].clone())?.into_iter();
        let (memory, mut resolved) = (Budget::current(), Vec::with_capacity(queries.len()));
        for (index, (name_of_query, query)) in queries.iter().enumerate() {
            let query = match query {
                Query::Vector(vector) => {
                    self.ensure_vectors(&name(index, "vector"))?;
                    limits::vector(&name(index, "vector"), vector, self.dimension, self.metric)?;
                    Resolved { vector: vector.clone(), exclude: Vec::new() }
                }
                Query::Text(_) | Query::Image(_) => {
                    Resolved { vector: embedded.next().unwrap_or_default(), exclude: Vec::new() }
                }
                Query::Id(id) => Resolved { vector: self.stored_vector(view, id)?, exclude: vec![id.clone()] },
                Query::Arithmetic { plus, minus } => self.arithmetic(view, &name(index, "arithmetic"), plus, minus)?,
                Query::Recommend(recommend) if recommend.strategy == RecommendStrategy::AverageVector => {
                    self.average(view, &name(index, "recommend"), recommend)?
                }
                Query::Recommend(_) | Query::Keywords(_) | Query::Hybrid(_) | Query::Fusion(_) | Query::Field(_) => {
                    return Err(Error::invalid(
                        name_of_query,
                        "must have a vector: a vector, text, image, id, arithmetic or a recommendation by average",
                    ));
                }
            };
            memory.charge(size_of_val(query.vector.as_slice()))?;
            resolved.push(query);
        }
        Ok(resolved)
    }

    pub(crate) fn stored_vector(&self, view: &View, id: &PointId) -> Result<Vec<f32>, Error> {
        match self.locate(view, id) {
            Some(RowLocation::Growing(growing, row)) => {
                self.not_empty(id, growing.read().vector(row, self.dimension as usize).to_vec())
            }
            Some(RowLocation::Sealed(sealed, row)) if !sealed.segment.vector_is_sound(row) => Err(sealed.damage()),
            Some(RowLocation::Sealed(sealed, row)) => self.not_empty(id, sealed.segment.vector(row).into_owned()),
            None => Err(self.no_point(view, id)),
        }
    }

    /// Fails if the vector of a stored point is empty.
    fn not_empty(&self, id: &PointId, vector: Vec<f32>) -> Result<Vec<f32>, Error> {
        if vector.is_empty() {
            self.ensure_vectors("query")?;
            return Err(Error::invalid("query.id", format!("the point {:?} has no vector", id.as_str())));
        }
        Ok(vector)
    }

    /// Sum of the plus terms minus the minus terms: unit vectors under cosine, unnormalized ones otherwise.
    fn arithmetic(&self, view: &View, field: &str, plus: &[String], minus: &[String]) -> Result<Resolved, Error> {
        self.ensure_vectors(field)?;
        let mut sum = vec![0.0_f32; self.dimension as usize];
        let mut lengths = 0.0;
        let mut exclude = Vec::new();
        for (part, terms, sign) in [("plus", plus, 1.0), ("minus", minus, -1.0)] {
            for (index, term) in terms.iter().enumerate() {
                let term_field = format!("{field}.{part}[{index}]");
                let id = PointId::new(term.as_str()).ok();
                let mut vector = match id.as_ref().filter(|id| self.locate(view, id).is_some()) {
                    Some(id) => self.stored_vector(view, id)?,
                    None if self.embedder.is_none() => {
                        return Err(Error::invalid(
                            term_field,
                            format!("{term:?} is not a stored point, and the collection has no embedder"),
                        ));
                    }
                    None => self.embed(&[Input::Text(term)], |_| term_field.clone())?.pop().unwrap_or_default(),
                };
                if self.metric == Metric::Cosine {
                    math::normalize(&mut vector);
                }
                lengths += math::norm(&vector);
                sum.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += sign * x);
                exclude.extend(id);
            }
        }
        // The remainder of terms that cancel is rounding error with an arbitrary direction.
        if lengths > 0.0 && math::norm(&sum) <= CANCELLED * lengths {
            return Err(Error::invalid(field, "the plus and minus terms cancel: their sum is the zero vector"));
        }
        limits::vector(field, &sum, self.dimension, self.metric)?;
        Ok(Resolved { vector: sum, exclude })
    }
}

/// Returns the fusion that a query stands for, with those inside it.
fn expanded(query: &Query) -> Option<Query> {
    match query {
        Query::Hybrid(hybrid) => Some(Query::Fusion(Box::new(hybrid.fusion()))),
        Query::Fusion(fusion) => {
            let parts: Vec<Option<Query>> = fusion.queries.iter().map(|part| expanded(&part.query)).collect();
            if parts.iter().all(Option::is_none) {
                return None;
            }
            let mut fusion = Fusion::clone(fusion);
            for (part, expanded) in fusion.queries.iter_mut().zip(parts) {
                if let Some(query) = expanded {
                    part.query = query;
                }
            }
            Some(Query::Fusion(Box::new(fusion)))
        }
        _ => None,
    }
}

/// Lists the queries that have a vector, in order, with their paths.
fn collect_vectors<'q>(root: String, query: &'q Query, vectors: &mut Vec<(String, &'q Query)>) {
    match query {
        Query::Keywords(_) | Query::Hybrid(_) | Query::Field(_) => {}
        Query::Recommend(recommend) if recommend.strategy == RecommendStrategy::BestScore => {}
        Query::Fusion(fusion) => {
            for (index, part) in fusion.queries.iter().enumerate() {
                collect_vectors(format!("{root}.fusion.queries[{index}].query"), &part.query, vectors);
            }
        }
        _ => vectors.push((root, query)),
    }
}

/// Resolves queries in the order of [`collect_vectors`].
struct Resolver<'c> {
    collection: &'c Collection,
    view: &'c View,
    vectors: std::vec::IntoIter<Resolved>,
    filters: Vec<Filter>,
}

impl Resolver<'_> {
    /// `root` is the path of the query, `name` its position in the outermost fusion.
    fn resolve(
        &mut self,
        root: &str,
        name: &str,
        query: &Query,
        filter: Option<&Filter>,
    ) -> Result<ResolvedQuery, Error> {
        let fusion = match query {
            Query::Keywords(keywords) => {
                let resolved = self.collection.resolve_keywords(&format!("{root}.keywords"), keywords)?;
                return Ok(ResolvedQuery::Keywords(resolved));
            }
            Query::Recommend(recommend) if recommend.strategy == RecommendStrategy::BestScore => {
                let root = format!("{root}.recommend");
                return Ok(ResolvedQuery::BestScore(self.collection.best_score(self.view, &root, recommend)?));
            }
            Query::Field(query) => {
                return Ok(ResolvedQuery::Field(self.collection.resolve_field(
                    self.view,
                    &format!("{root}.field"),
                    query,
                )?));
            }
            Query::Fusion(fusion) => fusion,
            _ => {
                let vector = self.vectors.next().ok_or_else(|| Error::invalid(root, "has no vector"))?;
                return Ok(ResolvedQuery::Vector(vector));
            }
        };
        let mut parts = Vec::with_capacity(fusion.queries.len());
        for (index, part) in fusion.queries.iter().enumerate() {
            let position = format!("queries[{index}]");
            let root = format!("{root}.fusion.{position}");
            let name = if name.is_empty() { position } else { format!("{name}.{position}") };
            let own = part.filter.as_deref().cloned();
            let both = match (filter.cloned(), own.clone()) {
                (Some(outer), Some(own)) => Some(Filter::And(vec![outer, own])),
                (outer, own) => outer.or(own),
            };
            let query = self.resolve(&format!("{root}.query"), &name, &part.query, both.as_ref())?;
            let filter = match both.filter(|_| own.is_some()) {
                None => None,
                Some(filter) => {
                    filter.check(&format!("{root}.filter"))?;
                    if self.filters.len() == MAX_FUSED_FILTERS {
                        let what =
                            format!("the queries of a call may have at most {MAX_FUSED_FILTERS} filters of their own");
                        return Err(Error::invalid(format!("{root}.filter"), what));
                    }
                    self.filters.push(filter);
                    Some(self.filters.len() - 1)
                }
            };
            if let Some(Accuracy::TargetRecall(target)) = part.accuracy
                && !limits::TARGET_RECALL.contains(&target)
            {
                let (low, high) = (limits::TARGET_RECALL.start(), limits::TARGET_RECALL.end());
                let what = format!("must be {low} to {high}, got {target}");
                return Err(Error::invalid(format!("{root}.target_recall"), what));
            }
            if let Some(Accuracy::Ef(ef)) = part.accuracy
                && !(1..=limits::MAX_EF).contains(&ef)
            {
                return Err(Error::invalid(format!("{root}.ef"), format!("must be 1 to {}, got {ef}", limits::MAX_EF)));
            }
            parts.push(ResolvedPart {
                name,
                query,
                weight: part.weight,
                limit: part.limit,
                filter,
                accuracy: part.accuracy,
                score_threshold: part.score_threshold,
            });
        }
        Ok(ResolvedQuery::Fusion(ResolvedFusion { parts, method: fusion.method }))
    }
}

/// Returns the field name: `query` for a single query, else `queries[i]`.
pub(super) fn field(index: usize, count: usize) -> String {
    if count == 1 { "query".into() } else { format!("queries[{index}]") }
}
