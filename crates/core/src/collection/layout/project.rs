//! The computation of a layout, or its update from the cache.

use super::cache::{Layout, LayoutCache};
use super::request::{
    FieldValues, LayoutKey, LayoutParams, LayoutPart, LayoutPhase, LayoutProgress, MAX_LAYOUT_TEXT, ObserveLayout,
};
use super::sample::Chosen;
use crate::api::{CancellationToken, Error, Payload};
use crate::collection::read::parse;
use crate::collection::resolve::Resolved;
use crate::collection::search::SegmentRef;
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::layout::{Frame, Method, Pca, Step, neighbors_kept, tsne, umap};
use crate::payload;
use crate::types::PointId;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Payloads read at a time.
const BATCH: usize = 2_048;
/// Size from which a part of the points is sent.
const PART_BYTES: usize = 512 << 10;
/// Polling interval while another layout is computed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A layout being computed.
pub(crate) struct LayoutJob<'a> {
    pub(crate) collection: &'a Arc<Collection>,
    pub(crate) params: &'a LayoutParams,
    observe: ObserveLayout<'a>,
    stop: CancellationToken,
}

impl LayoutJob<'_> {
    /// Sends a part. Fails if the client has gone.
    pub(crate) fn publish(&self, part: LayoutPart) -> Result<(), Error> {
        if (self.observe)(part) && !self.stop.is_cancelled() { Ok(()) } else { Err(Error::Abandoned) }
    }

    pub(crate) fn progress(&self, phase: LayoutPhase, done: f32, left: Option<Duration>) -> Result<(), Error> {
        self.publish(LayoutPart::Progress(LayoutProgress { phase, done, left }))
    }
}

impl Collection {
    /// Computes a layout and sends it part by part.
    pub(crate) fn compute_layout(
        self: &Arc<Self>,
        maps: &LayoutCache,
        params: &LayoutParams,
        observe: ObserveLayout<'_>,
    ) -> Result<(), Error> {
        params.check()?;
        let job = LayoutJob { collection: self, params, observe, stop: CancellationToken::current() };
        job.run(maps)
    }
}

/// Minimum points for a method other than PCA.
const MIN_POINTS: usize = 12;
/// Compute a layout again once more than 1/5 of its points were added, changed or removed.
const CHANGED_ONE_IN: usize = 5;
/// Interval between frames.
const FRAME_EVERY: Duration = Duration::from_millis(700);

impl LayoutJob<'_> {
    fn run(&self, maps: &LayoutCache) -> Result<(), Error> {
        let LayoutParams { choice, limit, seed, fresh, .. } = *self.params;
        let sequence = self.collection.commit_queue.sequence();
        let view = self.collection.view();
        view.ensure_intact(&self.collection.name())?;
        let chosen = self.run_on_layout_threads(maps, || Chosen::of(self.collection, &view, limit as usize, seed))?;
        let points = Points { view: &view, ids: chosen.ids(), chosen, sequence };
        self.publish(LayoutPart::Start { total: points.chosen.total, points: points.ids.len() as u32, sequence })?;
        let method = match choice.method {
            _ if points.ids.len() < MIN_POINTS => Method::Pca,
            Some(method) => method,
            None if choice.dimensions == 2 => Method::Tsne,
            None => Method::Umap,
        };
        if !fresh && let Some(layout) = self.cached(maps, method, &points)? {
            let round = u32::from(method != Method::Pca);
            self.publish(LayoutPart::Frame { round, coordinates: layout.positions.clone(), last: true })?;
            self.publish_points(&points)?;
            if layout.neighbors_kept.get().is_none() {
                // The client of the computation did not wait for the measurement.
                self.measure(maps, &layout, &points)?;
            }
            return self.publish(LayoutPart::End(layout.end(true)));
        }
        let components = Arc::new(self.run_on_layout_threads(maps, || Ok(self.components(&points)))?);
        maps.keep(self.collection, components.clone());
        self.publish(LayoutPart::Frame { round: 0, coordinates: components.positions.clone(), last: true })?;
        self.publish_points(&points)?;
        if method == Method::Pca {
            self.measure(maps, &components, &points)?;
            return self.publish(LayoutPart::End(components.end(false)));
        }
        let lock = self.lock(maps)?;
        // It may have been computed while this call waited.
        let cached = if fresh { None } else { self.cached(maps, method, &points)? };
        let from_cache = cached.is_some();
        let (layout, round) = match cached {
            Some(layout) => (layout, 1),
            None => {
                let round = AtomicU32::new(1);
                let layout =
                    Arc::new(self.run_on_layout_threads(maps, || self.compute(method, &components, &points, &round))?);
                maps.keep(self.collection, layout.clone());
                self.measure(maps, &layout, &points)?;
                (layout, round.into_inner())
            }
        };
        // Others need not wait for this client.
        drop(lock);
        self.publish(LayoutPart::Frame { round, coordinates: layout.positions.clone(), last: true })?;
        self.publish(LayoutPart::End(layout.end(from_cache)))
    }

    /// Returns the cached layout, updated; `None` if there is none of this kind, or too much has changed.
    fn cached(&self, maps: &LayoutCache, method: Method, points: &Points<'_>) -> Result<Option<Arc<Layout>>, Error> {
        let LayoutParams { choice, limit, seed, .. } = *self.params;
        let cached = maps.get(self.collection, LayoutKey { method: Some(method), ..choice });
        let Some(cached) = cached.filter(|cached| (cached.limit, cached.seed) == (limit, seed)) else {
            return Ok(None);
        };
        if cached.sequence == points.sequence && cached.ids == points.ids {
            return Ok(Some(cached));
        }
        let updated = self.run_on_layout_threads(maps, || self.update(&cached, points))?.map(Arc::new);
        if let Some(layout) = &updated {
            maps.keep(self.collection, layout.clone());
        }
        Ok(updated)
    }

    /// Updates a layout: new and changed points are placed among their neighbours, the others stay.
    fn update(&self, cached: &Layout, points: &Points<'_>) -> Result<Option<Layout>, Error> {
        let prints = points.chosen.prints();
        let known: Vec<Option<u32>> = points
            .ids
            .iter()
            .zip(&prints)
            .map(|(id, print)| cached.by_id.get(id).copied().filter(|&at| cached.prints[at as usize] == *print))
            .collect();
        let stayed = known.iter().flatten().count();
        let came = points.ids.len() - stayed;
        let changed = cached.changed + came.max(cached.ids.len() - stayed);
        if changed * CHANGED_ONE_IN > points.ids.len() {
            return Ok(None);
        }
        let position = |(at, known): (usize, &Option<u32>)| match known {
            Some(known) => Ok(cached.position(*known).to_vec()),
            None => self.stop.run(|| {
                let exclude = vec![points.ids[at].clone()];
                let query = Resolved { vector: points.chosen.stored(at), exclude };
                self.collection.locate_vector(points.view, cached, query)
            }),
        };
        let positions = known.par_iter().enumerate().map(position).collect::<Result<Vec<_>, Error>>()?.concat();
        Ok(Some(Layout {
            sequence: points.sequence,
            by_id: points.by_id(),
            ids: points.ids.clone(),
            prints,
            positions,
            axes: cached.axes.clone(),
            changed,
            neighbors_kept: cached.neighbors_kept.clone(),
            ..*cached
        }))
    }

    /// Computes a layout from the neighbours of each point, starting from the principal components.
    fn compute(
        &self,
        method: Method,
        components: &Layout,
        points: &Points<'_>,
        round: &AtomicU32,
    ) -> Result<Layout, Error> {
        let begun = Instant::now();
        let width = components.width();
        let neighbors = self.neighbors(&points.chosen)?;
        let start = Instant::now();
        let last_frame = Mutex::new(start);
        let observe = |step: Step<'_>| {
            let elapsed = start.elapsed();
            let left = elapsed.div_f32(step.done.max(1e-3)).saturating_sub(elapsed);
            let mut last_frame = last_frame.lock().unwrap_or_else(PoisonError::into_inner);
            if step.done < 1.0 && last_frame.elapsed() >= FRAME_EVERY {
                *last_frame = Instant::now();
                let positions = Frame::shown(&(step.positions)(), width);
                let round = round.fetch_add(1, Ordering::Relaxed);
                if self.publish(LayoutPart::Frame { round, coordinates: positions, last: false }).is_err() {
                    return false;
                }
            }
            self.progress(LayoutPhase::Layout, step.done, Some(left)).is_ok()
        };
        let positions = match method {
            Method::Tsne => tsne(&neighbors, &components.positions, &observe),
            Method::Umap | Method::Pca => umap(&neighbors, &components.positions, width, self.params.seed, &observe),
        };
        let positions = Frame::shown(&positions.ok_or(Error::Abandoned)?, width);
        Ok(Layout {
            choice: LayoutKey { method: Some(method), ..components.choice },
            method,
            by_id: points.by_id(),
            ids: components.ids.clone(),
            prints: components.prints.clone(),
            positions,
            axes: None,
            time: begun.elapsed(),
            neighbors_kept: OnceLock::new(),
            ..*components
        })
    }

    /// Measures the share of each point's neighbours that a layout preserves.
    fn measure(&self, maps: &LayoutCache, layout: &Layout, points: &Points<'_>) -> Result<(), Error> {
        let measure = || Ok(neighbors_kept(&layout.positions, layout.width(), &self.true_neighbors(&points.chosen)?));
        if let Some(share) = self.run_on_layout_threads(maps, measure)? {
            let _ = layout.neighbors_kept.set(share);
        }
        Ok(())
    }

    /// Runs `work` on the threads for layouts.
    fn run_on_layout_threads<T: Send>(
        &self,
        maps: &LayoutCache,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        maps.pool()?.install(|| self.stop.run(work))
    }

    /// Computes the layout by principal components.
    fn components(&self, points: &Points<'_>) -> Layout {
        let Points { chosen, .. } = points;
        let LayoutParams { choice, limit, seed, .. } = *self.params;
        let begun = Instant::now();
        let axes = Pca::fit(chosen, choice.width());
        let mut positions = axes.positions(chosen);
        let frame = Frame::around(&positions, choice.width());
        positions.chunks_exact_mut(choice.width()).for_each(|position| frame.show(position));
        Layout {
            choice: LayoutKey { method: Some(Method::Pca), ..choice },
            method: Method::Pca,
            seed,
            limit,
            sequence: points.sequence,
            prints: chosen.prints(),
            by_id: points.by_id(),
            ids: points.ids.clone(),
            positions,
            axes: Some((axes, frame)),
            changed: 0,
            time: begun.elapsed(),
            neighbors_kept: OnceLock::new(),
        }
    }

    /// Sends the ids and the requested payload fields.
    fn publish_points(&self, points: &Points<'_>) -> Result<(), Error> {
        let Points { chosen, ids, .. } = points;
        let fields = &self.params.fields;
        let mut part = Part { offset: 0, ids: Vec::new(), fields: vec![Vec::new(); fields.len()], bytes: 0 };
        for from in (0..ids.len()).step_by(BATCH) {
            let batch = from..ids.len().min(from + BATCH);
            let values = |point: usize| self.collection.values_of(&ids[point], chosen, point, fields);
            let values: Vec<Vec<Value>> = match fields.is_empty() {
                true => vec![Vec::new(); batch.len()],
                false => batch.clone().into_par_iter().map(values).collect::<Result<_, _>>()?,
            };
            for (id, values) in ids[batch].iter().zip(values) {
                part.bytes += id.as_str().len() + 8 + values.iter().map(size).sum::<usize>();
                part.ids.push(id.clone());
                part.fields.iter_mut().zip(values).for_each(|(field, value)| field.push(value));
                if part.bytes >= PART_BYTES {
                    self.publish(part.take())?;
                }
            }
        }
        if part.ids.is_empty() { Ok(()) } else { self.publish(part.take()) }
    }

    /// Waits for the computations before this one.
    fn lock<'m>(&self, maps: &'m LayoutCache) -> Result<MutexGuard<'m, ()>, Error> {
        loop {
            match maps.computing.try_lock() {
                Ok(lock) => return Ok(lock),
                Err(TryLockError::Poisoned(lock)) => return Ok(lock.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(POLL_INTERVAL),
            }
            self.progress(LayoutPhase::Waiting, 0.0, None)?;
        }
    }
}

/// The points of a layout.
struct Points<'a> {
    view: &'a View,
    chosen: Chosen<'a>,
    ids: Vec<PointId>,
    sequence: u64,
}

impl Points<'_> {
    fn by_id(&self) -> HashMap<PointId, u32> {
        self.ids.iter().cloned().zip(0..).collect()
    }
}

/// Points that are sent together.
struct Part {
    offset: u32,
    ids: Vec<PointId>,
    fields: FieldValues,
    bytes: usize,
}

impl Part {
    fn take(&mut self) -> LayoutPart {
        let ids = std::mem::take(&mut self.ids);
        let offset = self.offset;
        self.offset += ids.len() as u32;
        self.bytes = 0;
        let empty = vec![Vec::new(); self.fields.len()];
        LayoutPart::Points { offset, ids, fields: std::mem::replace(&mut self.fields, empty) }
    }
}

fn size(value: &Value) -> usize {
    8 + value.as_str().map_or(8, str::len)
}

impl Collection {
    fn values_of(
        &self,
        id: &PointId,
        chosen: &Chosen<'_>,
        point: usize,
        fields: &[String],
    ) -> Result<Vec<Value>, Error> {
        let payload = match chosen.position(point) {
            (SegmentRef::Sealed(sealed), row) => parse(&self.name(), id, &sealed.payload(row))?,
            (SegmentRef::Growing(growing), row) => parse(&self.name(), id, growing.read().payload(row.0))?,
        };
        Ok(shown_values(&payload, fields))
    }
}

/// Returns the requested values of a payload, one per field.
pub(crate) fn shown_values(payload: &Payload, fields: &[String]) -> Vec<Value> {
    let shown = |field: &String| match payload::value_at(payload, field) {
        Some(Value::String(mut text)) => {
            text.truncate(text.floor_char_boundary(MAX_LAYOUT_TEXT));
            Value::String(text)
        }
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value,
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => Value::Null,
    };
    fields.iter().map(shown).collect()
}
