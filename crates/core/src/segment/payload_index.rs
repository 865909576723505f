//! Payload indexes of segments: one per sealed segment, one per block of rows of a growing segment.
//!
//! An index covers the payloads in the file of a segment, which never change. Rows with an updated payload
//! (`overlay.rs`) are read payload by payload. A sealed segment caches the matches of the most recent filters, and a query
//! only excludes the rows deleted by now.

use super::growing::Growing;
use super::index_files::CheckedFile;
use super::overlay::Updates;
use super::sealed::Sealed;
use crate::api::{CancellationToken, Error, Filter, Payload};
use crate::disk::{self, FileBytes, Mapping};
use crate::payload::builder::{self, Builder};
use crate::payload::index::PayloadIndex;
use crate::payload::{NO_WORDS, RowAccess, RowSet, WithWords, matches};
use crate::store::Segment;
use crate::types::{Ordinal, PointId};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Rows of a growing segment per index.
const BLOCK: usize = 4_096;
/// Rows per index of the rows behind the last full block, until they fill one; the remaining rows, fewer than this, are
/// read payload by payload.
const SMALL_BLOCK: usize = 256;
/// Cached filters per sealed segment: up to one bit per row each.
const CACHED_FILTERS: usize = 4;
/// Payloads read at a time during a build.
const STEP: usize = 4_096;

/// The payload index of a sealed segment, opened or built on first use.
#[derive(Default)]
pub(crate) struct SealedPayloads {
    index: RwLock<Option<Arc<PayloadIndex>>>,
    building: Mutex<()>,
    recent: Mutex<VecDeque<Matches>>,
}

/// The matches of a filter in a sealed segment, including deleted rows.
#[derive(Clone)]
struct Matches {
    filter: Filter,
    /// Those by the payloads in the file.
    stored: Arc<RowSet>,
    /// Those by the updated payloads, at this version of the overlay.
    current: Arc<RowSet>,
    version: u64,
}

/// The payload indexes of a growing segment: one per full block of rows, then one per small block.
#[derive(Default)]
pub(crate) struct GrowingPayloads {
    blocks: Mutex<Vec<Arc<PayloadIndex>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values under these locks are consistent at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SealedPayloads {
    /// Returns the index: opened from its file, or built and published if there is no intact file.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    fn prepare(&self, segment: &Segment) -> Result<Arc<PayloadIndex>, Error> {
        if let Some(index) = self.open() {
            return Ok(index);
        }
        let _one_builder = lock(&self.building);
        if let Some(index) = self.open() {
            return Ok(index);
        }
        let index = match open(segment) {
            Some(index) => index,
            None => {
                // Reads leave out a damaged row; its payload counts as empty.
                let payload = |row| match segment.payload_is_sound(Ordinal(row)) {
                    true => segment.payload(Ordinal(row)),
                    false => b"{}",
                };
                let unreadable = |row, error| damaged(segment.point_id(Ordinal(row)), &error);
                let bytes = build(segment.tag(), segment.rows(), &payload, &unreadable)?;
                match segment.damaged_rows().is_empty() {
                    true => publish(segment, bytes)?,
                    // With damage, the file would differ from the segment: keep it in memory.
                    false => own(bytes, segment.tag(), segment.rows())?,
                }
            }
        };
        let index = Arc::new(index);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Some(index.clone());
        Ok(index)
    }

    /// Returns the index, if it is open.
    fn open(&self) -> Option<Arc<PayloadIndex>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the index and the cached matches if `remove` removes its file, while no builder runs.
    pub(super) fn discard_if(&self, remove: impl FnOnce() -> bool) {
        let _one_builder = lock(&self.building);
        if !remove() {
            return;
        }
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = None;
        lock(&self.recent).clear();
    }

    /// Returns the mapped bytes.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.open().map_or(0, |index| index.mapped_bytes())
    }

    /// Returns the mapped bytes that are resident in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.open().map_or(0, |index| index.resident_bytes())
    }

    /// Returns the matching rows, including deleted ones.
    fn matching(
        &self,
        segment: &Segment,
        filter: &Filter,
        updates: &Updates,
        with_words: WithWords<'_>,
    ) -> Result<Arc<RowSet>, Error> {
        if !filter.reads_payloads() {
            return self.stored(segment, filter, with_words);
        }
        let known = lock(&self.recent).iter().find(|known| known.filter == *filter).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.version == updates.version()) {
            return Ok(known.current.clone());
        }
        let stored = known.map_or_else(|| self.stored(segment, filter, with_words), |known| Ok(known.stored))?;
        let current = match updates.rows() {
            0 => stored.clone(),
            _ => Arc::new(with_updates(segment, filter, updates, &stored)?),
        };
        let matches = Matches { filter: filter.clone(), stored, current: current.clone(), version: updates.version() };
        let mut recent = lock(&self.recent);
        recent.retain(|known| known.filter != *filter);
        recent.push_front(matches);
        recent.truncate(CACHED_FILTERS);
        Ok(current)
    }

    /// Returns the rows that match by the payloads in the file, including deleted ones.
    fn stored(&self, segment: &Segment, filter: &Filter, with_words: WithWords<'_>) -> Result<Arc<RowSet>, Error> {
        let payload = |row: u32| match segment.payload_is_sound(Ordinal(row)) {
            true => parse(segment.payload(Ordinal(row)), segment.point_id(Ordinal(row))),
            false => Ok(Payload::new()),
        };
        let find = |id: &PointId| segment.find(id.as_str()).map(|row| row.0);
        let access = RowAccess { payload: &payload, find: &find, with_words };
        let rows = match filter.reads_payloads() {
            true => self.prepare(segment)?.select(filter, access)?,
            false => PayloadIndex::without_fields(segment.rows()).select(filter, access)?,
        };
        Ok(Arc::new(RowSet::of(&rows)))
    }
}

impl Sealed {
    /// Returns the live matching rows.
    pub(crate) fn select(&self, filter: &Filter) -> Result<RowSet, Error> {
        let matching = self
            .payloads
            .matching(&self.segment, filter, &self.updates(), &|field, matches| self.texts.rows_with(field, matches))?;
        Ok(self.only_live(&matching))
    }

    /// Returns the payload index. It does not cover updated payloads.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(super) fn payload_index(&self) -> Result<Arc<PayloadIndex>, Error> {
        self.payloads.prepare(&self.segment)
    }

    /// Whether a row may have a field, by the index and by the updated payloads.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn may_have_field(&self, field: &str) -> Result<bool, Error> {
        let index = self.payload_index()?;
        if may_have(&index, field) {
            return Ok(true);
        }
        let updates = self.updates();
        let updated: Vec<(u32, &Arc<[u8]>)> = updates.iter().collect();
        any_row(updated.len() as u32, &|at| {
            let (row, payload) = updated[at as usize];
            Ok(matches::has_field(&parse(payload, self.segment.point_id(Ordinal(row)))?, field))
        })
    }

    /// Whether a live row has a field, payload by payload.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn any_live_payload_has(&self, field: &str) -> Result<bool, Error> {
        let segment = &self.segment;
        any_row(segment.rows(), &|row| {
            let row = Ordinal(row);
            let read = self.is_live(row) && self.payload_is_sound(row);
            Ok(read && matches::has_field(&parse(&self.payload(row), segment.point_id(row))?, field))
        })
    }

    /// Builds the payload index before its first use. Logs a failure, which a filtered query returns too.
    pub(crate) fn prepare_payloads(&self) {
        if let Err(error) = self.payloads.prepare(&self.segment)
            && !matches!(error, Error::Abandoned)
        {
            tracing::error!(path = %self.segment.path().display(), %error, "the payloads of a segment cannot be indexed");
        }
    }
}

impl Growing {
    /// Returns the live matching rows: by id where the filter allows, by index for blocks, payload by payload for the
    /// rest.
    pub(crate) fn select(&self, filter: &Filter) -> Result<RowSet, Error> {
        if let Some(ids) = filter.only_ids() {
            return self.select_among(&ids, filter);
        }
        let blocks = self.blocks()?;
        // Rows that are replaced from here on are dead below, and their successors are not in a block.
        let by_id: FxHashMap<&PointId, u32> = {
            let table = self.read();
            filter.ids_of_conditions().into_iter().filter_map(|id| Some((id, *table.by_id.get(id)?))).collect()
        };
        let mut found = RoaringBitmap::new();
        let mut indexed = 0;
        for block in &blocks {
            let first = indexed;
            indexed += block.rows() as usize;
            let payload = |row: u32| {
                let (table, row) = (self.read(), first + row as usize);
                parse(table.payload(row as u32), table.ids[row].as_str())
            };
            let find = |id: &PointId| by_id.get(id)?.checked_sub(first as u32).filter(|row| *row < block.rows());
            let rows = block.select(filter, RowAccess { payload: &payload, find: &find, with_words: NO_WORDS })?;
            found.extend(rows.into_iter().map(|row| first as u32 + row));
        }
        // Under one lock: includes rows appended meanwhile, and exactly one version of a replaced point.
        let table = self.read();
        for row in indexed..table.bodies.len() {
            let id = &table.ids[row];
            if !table.dead[row] && filter.matches(id, &parse(table.payload(row as u32), id.as_str())?) {
                found.insert(row as u32);
            }
        }
        let live: RoaringBitmap = found.into_iter().filter(|&row| !table.dead[row as usize]).collect();
        Ok(RowSet::of(&live))
    }

    /// Returns the live matching rows of a filter that only points with these ids match.
    fn select_among(&self, ids: &BTreeSet<&PointId>, filter: &Filter) -> Result<RowSet, Error> {
        let stop = CancellationToken::current();
        let table = self.read();
        let mut found = RoaringBitmap::new();
        for &id in ids {
            stop.check()?;
            let Some(row) = table.by_id.get(id).map(|row| *row as usize) else { continue };
            let payload = match filter.reads_payloads() {
                true => parse(table.payload(row as u32), id.as_str())?,
                false => Payload::new(),
            };
            if filter.matches(id, &payload) {
                found.insert(row as u32);
            }
        }
        Ok(RowSet::of(&found))
    }

    /// Whether a live row may have a field: by the indexes of blocks, payload by payload for the rest.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn may_have_field(&self, field: &str) -> Result<bool, Error> {
        let blocks = self.blocks()?;
        if blocks.iter().any(|block| may_have(block, field)) {
            return Ok(true);
        }
        let indexed: u32 = blocks.iter().map(|block| block.rows()).sum();
        let table = self.read();
        for row in indexed as usize..table.bodies.len() {
            if !table.dead[row]
                && matches::has_field(&parse(table.payload(row as u32), table.ids[row].as_str())?, field)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a live row has a field, payload by payload.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn any_live_payload_has(&self, field: &str) -> Result<bool, Error> {
        let table = self.read();
        any_row(table.bodies.len() as u32, &|row| {
            let row = row as usize;
            Ok(!table.dead[row]
                && matches::has_field(&parse(table.payload(row as u32), table.ids[row].as_str())?, field))
        })
    }

    /// Returns the indexes of all blocks, adjacent from row 0 on, after building missing ones. Small blocks are replaced by
    /// a full one.
    pub(super) fn blocks(&self) -> Result<Vec<Arc<PayloadIndex>>, Error> {
        let mut blocks = lock(&self.payloads.blocks);
        loop {
            let full = blocks.iter().filter(|block| block.rows() as usize == BLOCK).count();
            let indexed = full * BLOCK + (blocks.len() - full) * SMALL_BLOCK;
            let held = self.rows_held() as usize;
            let (kept, rows) = match () {
                () if (full + 1) * BLOCK <= held => (full, full * BLOCK..(full + 1) * BLOCK),
                () if indexed + SMALL_BLOCK <= held => (blocks.len(), indexed..indexed + SMALL_BLOCK),
                () => return Ok(blocks.clone()),
            };
            let (first, count) = (rows.start, rows.len() as u32);
            // Copied, because a thread must not hold the table while it waits for others.
            let payloads: Vec<Box<[u8]>> = {
                let table = self.read();
                rows.map(|row| Box::from(table.payload(row as u32))).collect()
            };
            let bytes = build(0, count, &|row| &payloads[row as usize], &|row, error| {
                damaged(self.read().ids[first + row as usize].as_str(), &error)
            })?;
            let block = own(bytes, 0, count)?;
            blocks.truncate(kept);
            blocks.push(Arc::new(block));
        }
    }
}

/// Returns the matches with those of the updated payloads, which are read payload by payload.
fn with_updates(segment: &Segment, filter: &Filter, updates: &Updates, stored: &RowSet) -> Result<RowSet, Error> {
    let stop = CancellationToken::current();
    let updated: Vec<(u32, &Arc<[u8]>)> = updates.iter().collect();
    let mut rows = stored.without(updated.iter().map(|(row, _)| *row)).0.bitmap();
    for step in updated.chunks(STEP) {
        stop.check()?;
        let matches = |&(row, payload): &(u32, &Arc<[u8]>)| -> Result<Option<u32>, Error> {
            let id = segment.point_id(Ordinal(row));
            let payload = parse(payload, id)?;
            Ok(PointId::new(id).is_ok_and(|id| filter.matches(&id, &payload)).then_some(row))
        };
        let found: Vec<Option<u32>> = step.par_iter().map(matches).collect::<Result<_, Error>>()?;
        rows.extend(found.into_iter().flatten());
    }
    Ok(RowSet::of(&rows))
}

/// Whether a row of an index may have a field.
fn may_have(index: &PayloadIndex, field: &str) -> bool {
    index.values(field).is_some() || !index.is_complete()
}

/// Whether any of the first `rows` rows passes a test, in parallel, until the call is cancelled.
fn any_row(rows: u32, test: &(dyn Fn(u32) -> Result<bool, Error> + Sync)) -> Result<bool, Error> {
    let stop = CancellationToken::current();
    for from in (0..rows).step_by(STEP) {
        stop.check()?;
        let step = from..rows.min(from + STEP as u32);
        let found = step.into_par_iter().map(test).find_any(|found| !matches!(found, Ok(false)));
        if found.unwrap_or(Ok(false))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens the index file of the segment, if it exists and is intact.
fn open(segment: &Segment) -> Option<PayloadIndex> {
    let (path, _, opened) = from_file(segment)?;
    opened
        .inspect_err(|error| {
            tracing::error!(path = %path.display(), %error, "a payload index cannot be used; it is rebuilt");
        })
        .ok()
}

/// Reads the payload index file of a segment in full; none without a file of this version.
pub(super) fn check_payloads(segment: &Segment) -> Option<CheckedFile> {
    from_file(segment).map(|(path, bytes, opened)| (path, bytes, opened.map(drop)))
}

/// Returns path, length and index of the segment's file; `None` without a file, or with one of an earlier version.
fn from_file(segment: &Segment) -> Option<(PathBuf, u64, Result<PayloadIndex, String>)> {
    let path = segment.path().with_file_name(segment.id().payloads_file());
    let bytes = disk::file_len(&path).ok()??;
    let opened = Mapping::open(&path).map_err(|error| error.to_string());
    if opened.as_ref().is_ok_and(|file| PayloadIndex::is_outdated(file.bytes())) {
        return None;
    }
    let index = opened.and_then(|file| PayloadIndex::open(FileBytes::Mapped(file), segment.tag(), segment.rows()));
    Some((path, bytes, index))
}

/// Publishes an index as the segment's file. If that fails (full disk), it is used from memory.
fn publish(segment: &Segment, bytes: Vec<u8>) -> Result<PayloadIndex, Error> {
    publish_cache(segment, &segment.id().payloads_file(), &bytes);
    match open(segment) {
        Some(index) => Ok(index),
        None => own(bytes, segment.tag(), segment.rows()),
    }
}

/// Publishes a cache of a segment. Logs a failure (full disk): the cache then stays in memory.
pub(super) fn publish_cache(segment: &Segment, name: &str, bytes: &[u8]) {
    let Some(dir) = segment.path().parent() else { return };
    if let Err(error) = disk::publish::<disk::Error>(&disk::real_fs(), dir, name, |file| file.put(bytes)) {
        tracing::warn!(name, %error, "an index stays in memory");
    }
}

/// Opens an index in memory.
fn own(bytes: Vec<u8>, tag: u64, rows: u32) -> Result<PayloadIndex, Error> {
    PayloadIndex::open(FileBytes::Memory(bytes), tag, rows)
        .map_err(|what| Error::Unavailable(format!("a newly built payload index is invalid: {what}")))
}

/// Returns the bytes of an index over the given number of payloads.
fn build<'a>(
    tag: u64,
    rows: u32,
    payload: &(dyn Fn(u32) -> &'a [u8] + Sync),
    unreadable: &(dyn Fn(u32, serde_json::Error) -> Error + Sync),
) -> Result<Vec<u8>, Error> {
    let mut builder = Builder::new(builder::BUDGET);
    let stop = CancellationToken::current();
    for from in (0..rows).step_by(STEP) {
        stop.check()?;
        let until = rows.min(from + STEP as u32);
        let read = |row: u32| -> Result<Option<Payload>, Error> {
            let bytes = payload(row);
            if bytes == b"{}" {
                return Ok(None);
            }
            serde_json::from_slice(bytes).map(Some).map_err(|error| unreadable(row, error))
        };
        let payloads: Vec<Option<Payload>> = (from..until).into_par_iter().map(read).collect::<Result<_, _>>()?;
        for (row, payload) in (from..until).zip(payloads) {
            if let Some(payload) = payload {
                builder.add(row, &payload);
            }
        }
    }
    Ok(builder.finish(tag, rows))
}

pub(super) fn parse(bytes: &[u8], id: &str) -> Result<Payload, Error> {
    serde_json::from_slice(bytes).map_err(|error| damaged(id, &error))
}

pub(super) fn damaged(id: &str, error: &serde_json::Error) -> Error {
    Error::Damaged { what: format!("the payload of point {id:?}: {error}") }
}
