//! The coordinates of queries, and of points written after a layout was computed.

use super::cache::{Layout, LayoutCache};
use super::project::shown_values;
use super::request::{LayoutKey, LocatedPoints, check_fields};
use crate::api::{CancellationToken, Error, Fields, Query, SearchParams, limits, validate_query};
use crate::collection::change_feed::Subscription;
use crate::collection::resolve::{Resolved, ResolvedQuery};
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::layout::between;
use crate::math;
use crate::payload::Selections;
use crate::segment::search_budget::SearchBudget;
use crate::types::{Metric, PointId};
use rayon::prelude::*;
use std::sync::Arc;

/// Nearest points for an interpolation.
const NEAREST: u32 = 10;
/// Candidates kept by their search (ef).
const EF: u32 = 100;
/// Factor on the number of nearest points when none of them is in the layout.
const GROWTH: u32 = 10;

impl Collection {
    /// Returns the coordinates of queries on the cached layout.
    pub(crate) fn locate_queries(
        self: &Arc<Self>,
        maps: &LayoutCache,
        choice: LayoutKey,
        queries: &[Query],
    ) -> Result<Vec<f32>, Error> {
        choice.check()?;
        limits::batch("queries", queries.len(), limits::MAX_QUERIES)?;
        for (index, query) in queries.iter().enumerate() {
            validate_query(&format!("queries[{index}]"), query)?;
        }
        let view = self.view();
        view.ensure_intact(&self.name())?;
        let layout = maps.get(self, choice).ok_or_else(|| Error::NoLayout { collection: self.name().to_string() })?;
        let resolved = self.resolve_vector_queries(&view, queries)?;
        let stop = CancellationToken::current();
        let positions = queries.par_iter().zip(resolved).map(|(query, resolved)| {
            let stored = match query {
                Query::Id(id) => layout.by_id.get(id),
                _ => None,
            };
            match stored {
                Some(&point) => Ok(layout.position(point).to_vec()),
                None => stop.run(|| self.locate_vector(&view, &layout, resolved)),
            }
        });
        Ok(positions.collect::<Result<Vec<_>, Error>>()?.concat())
    }

    /// Returns the coordinates of a vector: its projection, or an interpolation between its nearest points; the centre
    /// if the layout has none of them.
    pub(crate) fn locate_vector(&self, view: &View, layout: &Layout, mut query: Resolved) -> Result<Vec<f32>, Error> {
        if let Some((axes, frame)) = &layout.axes {
            if self.metric == Metric::Cosine {
                math::normalize(&mut query.vector);
            }
            let mut position = vec![0.0; layout.width()];
            axes.position(&mut query.vector, &mut position);
            frame.show(&mut position);
            return Ok(position);
        }
        let query = ResolvedQuery::Vector(query);
        let mut k = NEAREST;
        loop {
            let params = SearchParams::new(k);
            let answer = self.answer(view, &query, &params, SearchBudget::Ef(EF.max(k)), &Selections::default())?;
            let first = answer.hits.first().map_or(0.0, |hit| hit.distance);
            let near: Vec<(f32, &[f32])> = answer
                .hits
                .iter()
                .filter_map(|hit| {
                    let apart = match self.metric {
                        Metric::L2 => hit.distance,
                        Metric::Cosine => (2.0 * hit.distance.max(0.0)).sqrt(),
                        // Inner products have no distance 0: the nearest point gets 1.
                        Metric::Dot => 1.0 + (hit.distance - first) / first.abs().max(f32::MIN_POSITIVE),
                    };
                    Some((apart, layout.position(*layout.by_id.get(&hit.point.id)?)))
                })
                .take(NEAREST as usize)
                .collect();
            match between(&near) {
                Some(position) => return Ok(position),
                None if k >= limits::MAX_K || answer.hits.len() < k as usize => return Ok(vec![0.0; layout.width()]),
                None => k = (k * GROWTH).min(limits::MAX_K),
            }
        }
    }

    /// Subscribes to all later writes.
    pub(crate) fn watch(&self) -> Subscription {
        Subscription::new(&self.changes, || self.commit_queue.sequence())
    }

    /// Returns written points, with their coordinates on the cached layout.
    pub(crate) fn locate_points(
        self: &Arc<Self>,
        maps: &LayoutCache,
        choice: LayoutKey,
        ids: &[PointId],
        fields: &[String],
    ) -> Result<LocatedPoints, Error> {
        choice.check()?;
        check_fields(fields)?;
        limits::batch("ids", ids.len(), limits::MAX_BATCH)?;
        let view = self.view();
        let layout = maps.get(self, choice);
        let mut placed = LocatedPoints { fields: vec![Vec::new(); fields.len()], ..LocatedPoints::default() };
        let found = self.get(ids, Fields { payload: !fields.is_empty(), vector: layout.is_some() })?;
        let mut vectors = Vec::new();
        for (id, point) in ids.iter().zip(found) {
            let Some(point) = point else {
                placed.removed.push(id.clone());
                continue;
            };
            let values = shown_values(&point.payload.unwrap_or_default(), fields);
            placed.fields.iter_mut().zip(values).for_each(|(field, value)| field.push(value));
            placed.ids.push(point.id);
            vectors.extend(point.vector);
        }
        if let Some(layout) = layout {
            let stop = CancellationToken::current();
            let position = |(id, vector): (&PointId, Vec<f32>)| {
                stop.run(|| self.locate_vector(&view, &layout, Resolved { vector, exclude: vec![id.clone()] }))
            };
            let positions = placed.ids.par_iter().zip(vectors).map(position);
            placed.coordinates = positions.collect::<Result<Vec<_>, Error>>()?.concat();
        }
        Ok(placed)
    }
}
