//! Calibration of the graphs of sealed segments in the background, which makes target recalls possible.
//!
//! A calibration table is written in one transaction, refers to one generation of its graph, and is removed with it.

use super::compaction::Step;
use super::job_memory::{Refused, too_little};
use super::meters::count;
use super::state::Collection;
use crate::api::{Error, Job, Observe};
use crate::index::calibration;
use crate::segment::sealed::{JobOn, Sealed};
use crate::store::Change;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Delay before a calibration is retried after memory was too short or a request held the job lock.
const PAUSE: Duration = Duration::from_secs(5);

impl Collection {
    /// Calibrates a graph that has no table or an outdated one. Cancelled when a request calibrates too, because the
    /// request is faster.
    pub(crate) fn calibrate_one(&self, observe: Observe<'_>) -> Result<Step, Error> {
        let Some(_job_lock) = self.measuring.behind_requests() else { return Ok(Step::Later(PAUSE)) };
        if !self.can_compact() {
            return Ok(Step::Nothing);
        }
        let unless_requested = |job, done, total| !self.measuring.has_waiting_request() && observe(job, done, total);
        let mut step = Step::Nothing;
        for sealed in self.view().sealed.iter().filter(|sealed| sealed.needs_calibration()) {
            match self.calibrate(sealed, &unless_requested) {
                Ok(true) => return Ok(Step::Done),
                Ok(false) => step = Step::Later(PAUSE),
                Err(_) if self.measuring.has_waiting_request() => return Ok(Step::Done),
                Err(error) => return Err(error),
            }
        }
        Ok(step)
    }

    /// Calibrates all graphs without a current table, for a request.
    pub(crate) fn calibrate_all(&self, observe: Observe<'_>) -> Result<(), Error> {
        let _job_lock = self.measuring.of_request()?;
        for sealed in self.view().sealed.iter().filter(|sealed| sealed.needs_calibration()) {
            self.calibrate(sealed, observe)?;
        }
        Ok(())
    }

    /// Calibrates the graph of a segment and stores the table. Uses all rows, or the largest sample that memory allows.
    /// Ends early, without a table, if the segment is merged meanwhile. Returns false if memory is too short for the
    /// smallest sample.
    fn calibrate(&self, sealed: &Arc<Sealed>, observe: Observe<'_>) -> Result<bool, Error> {
        let Some(graph) = sealed.graph() else { return Ok(true) };
        let generation = sealed.generation.load(Ordering::Relaxed);
        let accept = |row| sealed.is_live(row);
        let serves = || !self.is_removed() && self.view().sealed.iter().any(|other| Arc::ptr_eq(other, sealed));
        let progress = |done, total| serves() && observe(Job::Calibrating, done, total);
        let seed = sealed.segment.seed();
        if let Err(error) = sealed.ensure_vectors(0..sealed.segment.rows()) {
            self.note_damage();
            return Err(error);
        }
        let rows = sealed.rows(self.metric);
        let (params, live) = (self.graph_params()?, u64::from(sealed.live_rows()));
        let needed = calibration::measure_bytes(rows.len() as u64, live, rows.dimension, self.metric, params.m);
        let memory = &self.meters.memory;
        let reserved = match memory.reserve(needed.min, needed.max, &|| progress(0, 1)) {
            Ok(reserved) => reserved,
            Err(Refused::TooLittle { capacity }) => {
                let what = format!("segment {} is not calibrated: its calibration", sealed.segment.id().0);
                sealed.defer(Job::Calibrating, JobOn::Vectors, Some(too_little(&what, needed.min, capacity)));
                return Ok(false);
            }
            Err(Refused::Cancelled) if !serves() => return Ok(true),
            Err(Refused::Cancelled) => {
                return Err(Error::Unavailable("a calibration was cancelled before it began".into()));
            }
        };
        sealed.defer(Job::Calibrating, JobOn::Vectors, None);
        let bytes = reserved.bytes();
        if bytes < needed.max {
            tracing::info!(collection = %self.name(), segment = %sealed.segment.id(), "memory is short: the graph is calibrated on a sample");
        }
        let measured = match calibration::measure(rows, &graph, &accept, params, bytes, seed, &progress) {
            Err(_) if !serves() => None,
            other => other?,
        };
        let Some(table) = measured else { return Ok(true) };

        let _held = self.commit_queue.lock();
        let same = sealed.graph().is_some_and(|now| Arc::ptr_eq(&now, &graph));
        if !same || !serves() {
            return Ok(true);
        }
        let record = table.to_bytes();
        let segment = sealed.segment.id();
        self.db.commit(&[Change::SetCalibration { segment, graph_generation: generation, record: &record }])?;
        sealed.set_calibration(Some(table));
        count(&self.meters.calibrations);
        Ok(true)
    }
}
