//! Flush: writes a full growing segment as a sealed one.

use crate::api::Error;
use crate::collection::meters::count;
use crate::collection::state::Collection;
use crate::segment::growing::Growing;
use crate::segment::sealed::Sealed;
use crate::store::Change;
use crate::sync::Arc;
use std::sync::PoisonError;

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
        const STEP: u32 = 1_024;
        let rows = unflushed.rows_held();
        let (mut writer, mark) = self.segment_writer()?;
        let mut origins: Vec<u32> = Vec::new();
        for from in (0..rows).step_by(STEP as usize) {
            // In steps, so that writers that replace a row never wait long.
            let table = unflushed.read();
            for row in (from..rows.min(from + STEP)).filter(|&row| !table.dead[row as usize]) {
                let index = row as usize;
                let vector = table.vector(row, self.dimension as usize);
                writer.append(table.ids[index].as_str(), vector, &table.bodies[index])?;
                origins.push(row);
            }
        }
        let segment = if origins.is_empty() { None } else { Some(writer.finish()?) };
        if let Some(segment) = &segment {
            for field in self.text_fields().iter() {
                if let Err(error) = unflushed.publish_text(field, &origins, segment) {
                    tracing::error!(collection = %self.name(), field = field.spec.name, %error, "the texts of a segment cannot be indexed");
                }
            }
        }

        let held = self.commit_queue.lock();
        if self.is_removed() || !self.view().unflushed.iter().any(|other| Arc::ptr_eq(other, &unflushed)) {
            // The collection or all of its points were deleted. Dropping the marker removes the segment.
            return Ok(!self.is_removed());
        }
        let (first, last, died) = {
            let table = unflushed.read();
            let died: Vec<u32> =
                (0..origins.len() as u32).filter(|&new| table.dead[origins[new as usize] as usize]).collect();
            (table.keys.first().copied().unwrap_or(0), table.keys.last().map_or(0, |key| key + 1), died)
        };
        let mut changes = vec![Change::RemoveGrowingRange { from: first, until: last }];
        if let Some(segment) = &segment {
            changes.push(Change::AddSegment { segment: segment.id(), graph_generation: None, tag: segment.tag() });
            changes.extend(died.iter().map(|&row| Change::DeleteRow { segment: segment.id(), row }));
        }
        match &segment {
            Some(_) => self.commit_segment(mark, &changes)?,
            None => self.db.commit(&changes)?,
        }
        let sealed = segment.map(|segment| Arc::new(Sealed::new(segment, None, &died)));
        self.change_view(|view| {
            view.unflushed.retain(|other| !Arc::ptr_eq(other, &unflushed));
            view.sealed.extend(sealed);
        });
        drop(held);
        count(&self.meters.flushes);
        Ok(true)
    }
}
