//! Makes a layout, or takes the one that is kept and brings it up to date.

use super::choose::Chosen;
use super::layout::{Layout, Maps};
use super::words::{FieldValues, MapChoice, MAX_MAP_TEXT, MapParams, MapPart, MapPhase, MapProgress, Tell};
use crate::collection::open::Collection;
use crate::collection::query::Source;
use crate::collection::read::parse;
use crate::collection::{Error, Payload, Stop, filter};
use crate::map::{Frame, Method, Pca};
use crate::types::PointId;
use rayon::prelude::*;
use serde_json::Value;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Points whose payloads are read at a time.
const BATCH: usize = 2_048;
/// Bytes after which a part of the points is told.
const PART_BYTES: usize = 512 << 10;
/// How often it is looked whether the layout before is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A layout on its way.
pub(super) struct Making<'a> {
    pub(super) collection: &'a Arc<Collection>,
    pub(super) params: &'a MapParams,
    tell: Tell<'a>,
    stop: Stop,
}

impl Making<'_> {
    /// Tells a part; fails when nobody listens.
    pub(super) fn tell(&self, part: MapPart) -> Result<(), Error> {
        if (self.tell)(part) && !self.stop.is_over() { Ok(()) } else { Err(Error::Abandoned) }
    }

    pub(super) fn progress(&self, phase: MapPhase, done: f32, left: Option<Duration>) -> Result<(), Error> {
        self.tell(MapPart::Progress(MapProgress { phase, done, left }))
    }
}

impl Collection {
    /// Tells a layout, part by part.
    pub(in crate::collection) fn project(
        self: &Arc<Self>,
        maps: &Maps,
        params: &MapParams,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        params.check()?;
        let making = Making { collection: self, params, tell, stop: Stop::current() };
        making.run(maps)
    }
}

impl Making<'_> {
    fn run(&self, maps: &Maps) -> Result<(), Error> {
        let MapParams { limit, seed, .. } = *self.params;
        let sequence = self.collection.writer.sequence();
        let view = self.collection.view();
        view.whole(&self.collection.name)?;
        let (chosen, ids) = self.aside(maps, || {
            let mut chosen = Chosen::of(self.collection, &view, limit as usize, seed);
            let ids = chosen.ids();
            Ok((chosen, ids))
        })?;
        self.tell(MapPart::Start { total: chosen.total, points: ids.len() as u32, sequence })?;
        let layout = self.aside(maps, || Ok(self.components(&chosen, ids, sequence)))?;
        let layout = Arc::new(layout);
        maps.keep(self.collection, layout.clone());
        self.tell(MapPart::Frame { round: 0, places: layout.places.clone(), last: true })?;
        self.tell_points(&chosen, &layout.ids)?;
        self.tell(MapPart::End(layout.end(false)))
    }

    /// Works on the threads that are for layouts.
    fn aside<T: Send>(&self, maps: &Maps, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        maps.pool()?.install(|| self.stop.run(work))
    }

    /// The layout by principal components.
    fn components(&self, chosen: &Chosen<'_>, ids: Vec<PointId>, sequence: u64) -> Layout {
        let MapParams { choice, limit, seed, .. } = *self.params;
        let begun = Instant::now();
        let axes = Pca::fit(chosen, choice.width());
        let mut places = axes.places(chosen);
        let frame = Frame::around(&places, choice.width());
        places.chunks_exact_mut(choice.width()).for_each(|place| frame.show(place));
        Layout {
            choice: MapChoice { method: Some(Method::Pca), ..choice },
            method: Method::Pca,
            seed,
            limit,
            sequence,
            total: chosen.total,
            hashes: chosen.points.iter().map(|point| point.hash).collect(),
            prints: chosen.prints(),
            by_id: ids.iter().cloned().zip(0..).collect(),
            ids,
            places,
            axes: Some((axes, frame)),
            changed: 0,
            time: begun.elapsed(),
            neighbors_kept: None,
        }
    }

    /// Tells ids and what was asked for of the payloads.
    fn tell_points(&self, chosen: &Chosen<'_>, ids: &[PointId]) -> Result<(), Error> {
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
                    self.tell(part.take())?;
                }
            }
        }
        if part.ids.is_empty() { Ok(()) } else { self.tell(part.take()) }
    }

    /// The right to make a layout, once those before it are made.
    #[expect(dead_code)]
    fn turn<'m>(&self, maps: &'m Maps) -> Result<MutexGuard<'m, ()>, Error> {
        loop {
            match maps.making.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_EVERY),
            }
            self.progress(MapPhase::Waiting, 0.0, None)?;
        }
    }
}

/// Points that are told together.
struct Part {
    offset: u32,
    ids: Vec<PointId>,
    fields: FieldValues,
    bytes: usize,
}

impl Part {
    fn take(&mut self) -> MapPart {
        let ids = std::mem::take(&mut self.ids);
        let offset = self.offset;
        self.offset += ids.len() as u32;
        self.bytes = 0;
        let empty = vec![Vec::new(); self.fields.len()];
        MapPart::Points { offset, ids, fields: std::mem::replace(&mut self.fields, empty) }
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
        let payload = match chosen.place(point) {
            (Source::Sealed(sealed), row) => parse(&self.name, id, sealed.segment.payload(row))?,
            (Source::Growing(growing), row) => parse(&self.name, id, &growing.read().payloads[row.0 as usize])?,
        };
        Ok(shown_values(&payload, fields))
    }
}

/// What is shown of a payload: a value for each field.
pub(super) fn shown_values(payload: &Payload, fields: &[String]) -> Vec<Value> {
    let shown = |field: &String| match filter::value_at(payload, field) {
        Some(Value::String(mut text)) => {
            text.truncate(text.floor_char_boundary(MAX_MAP_TEXT));
            Value::String(text)
        }
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value,
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => Value::Null,
    };
    fields.iter().map(shown).collect()
}
