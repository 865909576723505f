//! Payload indexes of segments: one per sealed segment, one per block of rows of a growing segment.
//!
//! The payloads of rows never change. A sealed segment therefore caches the matches of the most recent filters, and a
//! query only excludes the rows deleted by now.

use super::growing::Growing;
use super::sealed::Sealed;
use crate::api::{CancellationToken, Error, Filter, Payload};
use crate::disk::{self, Mapping};
use crate::payload::builder::{self, Builder};
use crate::payload::index::{Bytes, PayloadIndex};
use crate::payload::{RowSet, matches};
use crate::store::Segment;
use crate::types::Ordinal;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Rows of a growing segment per index; the remaining rows, fewer than this, are read payload by payload.
pub(super) const BLOCK: usize = 4_096;
/// Cached filters per sealed segment, one bit per row each.
const CACHED_FILTERS: usize = 4;
/// Payloads read at a time during a build.
const STEP: usize = 4_096;

/// The payload index of a sealed segment, opened or built on first use.
#[derive(Default)]
pub(crate) struct SealedPayloads {
    index: OnceLock<PayloadIndex>,
    building: Mutex<()>,
    recent: Mutex<VecDeque<(Filter, Arc<Vec<u64>>)>>,
}

/// The payload indexes of a growing segment, one per full block of rows.
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
    fn prepare(&self, segment: &Segment) -> Result<&PayloadIndex, Error> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let _one_builder = lock(&self.building);
        if let Some(index) = self.index.get() {
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
        Ok(self.index.get_or_init(|| index))
    }

    /// Returns (mapped bytes, of them resident in memory).
    pub(crate) fn mapped(&self) -> (u64, u64) {
        self.index.get().map_or((0, 0), PayloadIndex::mapped)
    }

    /// Returns the matching rows, including deleted ones.
    fn matching(&self, segment: &Segment, filter: &Filter) -> Result<Arc<Vec<u64>>, Error> {
        let known = lock(&self.recent).iter().find(|(other, _)| other == filter).map(|(_, words)| words.clone());
        if let Some(words) = known {
            return Ok(words);
        }
        let payload = |row: u32| match segment.payload_is_sound(Ordinal(row)) {
            true => parse(segment.payload(Ordinal(row)), segment.point_id(Ordinal(row))),
            false => Ok(Payload::new()),
        };
        let rows = self.prepare(segment)?.select(filter, &payload)?;
        let mut words = vec![0_u64; segment.rows().div_ceil(64) as usize];
        set(&mut words, 0, rows);
        let words = Arc::new(words);
        let mut recent = lock(&self.recent);
        recent.push_front((filter.clone(), words.clone()));
        recent.truncate(CACHED_FILTERS);
        Ok(words)
    }
}

impl Sealed {
    /// Returns the live matching rows.
    pub(crate) fn select(&self, filter: &Filter) -> Result<RowSet, Error> {
        let matching = self.payloads.matching(&self.segment, filter)?;
        Ok(RowSet::new(self.only_live(&matching)))
    }

    /// Returns the payload index.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(super) fn payload_index(&self) -> Result<&PayloadIndex, Error> {
        self.payloads.prepare(&self.segment)
    }

    /// Whether a row may have a field, by the index.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn may_have_field(&self, field: &str) -> Result<bool, Error> {
        Ok(may_have(self.payloads.prepare(&self.segment)?, field))
    }

    /// Whether a live row has a field, payload by payload.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn any_live_payload_has(&self, field: &str) -> Result<bool, Error> {
        let segment = &self.segment;
        any_row(segment.rows(), &|row| {
            let row = Ordinal(row);
            let read = self.is_live(row) && segment.payload_is_sound(row);
            Ok(read && matches::has_field(&parse(segment.payload(row), segment.point_id(row))?, field))
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
    /// Returns the live matching rows: by index for full blocks, payload by payload for the rest.
    pub(crate) fn select(&self, filter: &Filter) -> Result<RowSet, Error> {
        let blocks = self.blocks()?;
        let mut words = vec![0_u64; (blocks.len() * BLOCK).div_ceil(64)];
        for (index, block) in blocks.iter().enumerate() {
            let first = index * BLOCK;
            let payload = |row: u32| {
                let (table, row) = (self.read(), first + row as usize);
                parse(&table.payloads[row], table.ids[row].as_str())
            };
            set(&mut words, first as u32, block.select(filter, &payload)?);
        }
        // Under one lock: includes rows appended meanwhile, and exactly one version of a replaced point.
        let table = self.read();
        words.resize(table.payloads.len().div_ceil(64), 0);
        for row in blocks.len() * BLOCK..table.payloads.len() {
            if !table.dead[row] && filter.matches(&parse(&table.payloads[row], table.ids[row].as_str())?) {
                words[row / 64] |= 1 << (row % 64);
            }
        }
        for (word, dead) in words.iter_mut().zip(table.dead.chunks(64)) {
            let dead = dead.iter().enumerate().fold(0_u64, |bits, (bit, &dead)| bits | u64::from(dead) << bit);
            *word &= !dead;
        }
        Ok(RowSet::new(words))
    }

    /// Whether a live row may have a field: by the indexes of full blocks, payload by payload for the rest.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn may_have_field(&self, field: &str) -> Result<bool, Error> {
        let blocks = self.blocks()?;
        if blocks.iter().any(|block| may_have(block, field)) {
            return Ok(true);
        }
        let table = self.read();
        for row in blocks.len() * BLOCK..table.payloads.len() {
            if !table.dead[row] && matches::has_field(&parse(&table.payloads[row], table.ids[row].as_str())?, field) {
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
        any_row(table.payloads.len() as u32, &|row| {
            let row = row as usize;
            Ok(!table.dead[row] && matches::has_field(&parse(&table.payloads[row], table.ids[row].as_str())?, field))
        })
    }

    /// Returns the indexes of all full blocks, after building missing ones.
    pub(super) fn blocks(&self) -> Result<Vec<Arc<PayloadIndex>>, Error> {
        let mut blocks = lock(&self.payloads.blocks);
        while (blocks.len() + 1) * BLOCK <= self.rows_held() as usize {
            let first = blocks.len() * BLOCK;
            // Copied, because a thread must not hold the table while it waits for others.
            let payloads = self.read().payloads[first..first + BLOCK].to_vec();
            let bytes = build(0, BLOCK as u32, &|row| &payloads[row as usize], &|row, error| {
                damaged(self.read().ids[first + row as usize].as_str(), &error)
            })?;
            blocks.push(Arc::new(own(bytes, 0, BLOCK as u32)?));
        }
        Ok(blocks.clone())
    }
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

/// Sets the bits of rows, offset by `first`.
fn set(words: &mut [u64], first: u32, rows: roaring::RoaringBitmap) {
    for row in rows {
        let row = (first + row) as usize;
        if let Some(word) = words.get_mut(row / 64) {
            *word |= 1 << (row % 64);
        }
    }
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

/// Reads the complete payload index file of a segment. Returns its path, its length and the result; `None` without a
/// file.
pub(crate) fn check_payloads(segment: &Segment) -> Option<(PathBuf, u64, Result<(), String>)> {
    from_file(segment).map(|(path, bytes, opened)| (path, bytes, opened.map(drop)))
}

/// Returns path, length and index of the segment's file; `None` without a file.
fn from_file(segment: &Segment) -> Option<(PathBuf, u64, Result<PayloadIndex, String>)> {
    let path = segment.path().with_file_name(segment.id().payloads_file());
    let bytes = disk::file_len(&path).ok()??;
    let opened = Mapping::open(&path).map_err(|error| error.to_string());
    let index = opened.and_then(|file| PayloadIndex::open(Bytes::Mapped(file), segment.tag(), segment.rows()));
    Some((path, bytes, index))
}

/// Publishes an index as the segment's file. If that fails (full disk), it is used from memory.
fn publish(segment: &Segment, bytes: Vec<u8>) -> Result<PayloadIndex, Error> {
    let name = segment.id().payloads_file();
    let published = segment
        .path()
        .parent()
        .map(|dir| disk::publish::<disk::Error>(&disk::real_fs(), dir, &name, |file| file.put(&bytes)));
    match published {
        Some(Ok(())) => {
            if let Some(index) = open(segment) {
                return Ok(index);
            }
        }
        Some(Err(error)) => tracing::warn!(%error, "a payload index stays in memory"),
        None => {}
    }
    own(bytes, segment.tag(), segment.rows())
}

/// Opens an index in memory.
fn own(bytes: Vec<u8>, tag: u64, rows: u32) -> Result<PayloadIndex, Error> {
    PayloadIndex::open(Bytes::Memory(bytes), tag, rows)
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

fn parse(bytes: &[u8], id: &str) -> Result<Payload, Error> {
    serde_json::from_slice(bytes).map_err(|error| damaged(id, &error))
}

pub(super) fn damaged(id: &str, error: &serde_json::Error) -> Error {
    Error::Damaged { what: format!("the payload of point {id:?}: {error}") }
}
