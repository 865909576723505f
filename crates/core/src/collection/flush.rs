//! Flush: writes a full growing segment as a sealed one.

use crate::api::Error;
use crate::collection::meters::count;
use crate::collection::state::Collection;
use crate::collection::uncommitted::UncommittedSegment;
use crate::segment::growing::{Growing, Table};
use crate::segment::sealed::Sealed;
use crate::store::{Change, Segment};
use crate::sync::Arc;
use std::sync::PoisonError;

/// A segment written by a flush, and the growing row of each of its rows.
struct FlushedPart<'c> {
    segment: Segment,
    mark: UncommittedSegment<'c>,
    origins: Vec<u32>,
}

impl Collection {
    /// Flushes the oldest full segment. Returns false if there is none. Wakes the waiting writers, with the error if it
    /// failed.
    pub(crate) fn flush_oldest(&self) -> Result<bool, Arc<Error>> {
        let done = self.try_flush_oldest().map_err(Arc::new);
        self.commit_queue.flush_ended(done.as_ref().err().cloned());
        done
    }

    /// Flushes these segments and older ones, but none that became full later.
    pub(super) fn flush_all_of(&self, unflushed: &[Arc<Growing>]) -> Result<(), Error> {
        let waits = || self.view().unflushed.iter().any(|other| unflushed.iter().any(|one| Arc::ptr_eq(one, other)));
        while waits() && self.flush_oldest().map_err(Error::Flush)? {}
        Ok(())
    }

    fn try_flush_oldest(&self) -> Result<bool, Error> {
        let _one_flush = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(_folder) = self.use_folder() else { return Ok(false) };
        let Some(unflushed) = self.view().unflushed.first().cloned() else { return Ok(false) };
        // Points with a vector, and points without one.
        let parts = [self.write_flushed(&unflushed, true)?, self.write_flushed(&unflushed, false)?];
        let parts: Vec<FlushedPart<'_>> = parts.into_iter().flatten().collect();
        let held = self.commit_queue.lock();
        if self.is_removed() || !self.view().unflushed.iter().any(|other| Arc::ptr_eq(other, &unflushed)) {
            // The collection or all of its points were deleted. Dropping the markers removes the segments.
            return Ok(!self.is_removed());
        }
        let (first, last, died) = {
            let table = unflushed.read();
            let died = |part: &FlushedPart<'_>| -> Vec<u32> {
                (0..part.origins.len() as u32).filter(|&new| table.dead[part.origins[new as usize] as usize]).collect()
            };
            let died: Vec<Vec<u32>> = parts.iter().map(died).collect();
            (table.keys.first().copied().unwrap_or(0), table.keys.last().map_or(0, |key| key + 1), died)
        };
        let mut changes = vec![Change::RemoveGrowingRange { from: first, until: last }];
        for (FlushedPart { segment, .. }, died) in parts.iter().zip(&died) {
            changes.push(Change::AddSegment { segment: segment.id(), graph_generation: None, tag: segment.tag() });
            changes.extend(died.iter().map(|&row| Change::DeleteRow { segment: segment.id(), row }));
        }
        let (segments, marks): (Vec<Segment>, Vec<_>) = parts.into_iter().map(|part| (part.segment, part.mark)).unzip();
        self.commit_segments(marks, &changes)?;
        let sealed = segments.into_iter().zip(died).map(|(segment, died)| Arc::new(Sealed::new(segment, None, &died)));
        let sealed: Vec<Arc<Sealed>> = sealed.collect();
        self.change_view(|view| {
            view.unflushed.retain(|other| !Arc::ptr_eq(other, &unflushed));
            view.sealed.extend(sealed);
        });
        drop(held);
        count(&self.meters.flushes);
        Ok(true)
    }

    /// Writes the live rows of a full segment with a vector, or those without one; none if there are none.
    fn write_flushed(&self, unflushed: &Growing, with_vector: bool) -> Result<Option<FlushedPart<'_>>, Error> {
        const STEP: usize = 1_024;
        let rows = unflushed.rows_held();
        let is_part = |table: &Table, row: u32| {
            let has_vector = self.dimension > 0 && table.has_vector(row);
            !table.dead[row as usize] && has_vector == with_vector
        };
        // In steps, so that writers that replace a row never wait long.
        let mut of_part: Vec<u32> = Vec::new();
        for from in (0..rows).step_by(STEP) {
            let table = unflushed.read();
            of_part.extend((from..rows.min(from + STEP as u32)).filter(|&row| is_part(&table, row)));
        }
        if of_part.is_empty() {
            return Ok(None);
        }
        let payload = |row: u32| unflushed.read().payload(row).to_vec().into();
        self.sort_by_tenant(&mut of_part, &payload, &|| true);
        let (mut writer, mark) = self.segment_writer(if with_vector { self.dimension } else { 0 })?;
        let mut origins: Vec<u32> = Vec::with_capacity(of_part.len());
        for step in of_part.chunks(STEP) {
            let table = unflushed.read();
            for row in step.iter().copied().filter(|&row| is_part(&table, row)) {
                let index = row as usize;
                let vector = table.vector(row, self.dimension as usize);
                writer.append(table.ids[index].as_str(), vector, &table.bodies[index])?;
                origins.push(row);
            }
        }
        if origins.is_empty() {
            return Ok(None);
        }
        let segment = writer.finish()?;
        for field in self.text_fields().iter() {
            if let Err(error) = unflushed.publish_text(field, &origins, &segment) {
                tracing::error!(collection = %self.name(), field = field.spec.name, %error, "the texts of a segment cannot be indexed");
            }
        }
        Ok(Some(FlushedPart { segment, mark, origins }))
    }
}
