//! Measuring the graphs of sealed segments behind the queries, so that a recall can be asked for.
//!
//! A table is written in one transaction, tied to the generation of its graph, and goes with it.

use super::activity::count;
use super::open::Collection;
use super::seal::Observe;
use super::sealed::Sealed;
use super::{Error, Job};
use crate::index::calibration;
use crate::store::Change;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Collection {
    /// Measures a graph of which nothing is known, or not the truth. False when there is none. Left when a request asks for the
    /// same: the request does it faster.
    pub(super) fn calibrate_one(&self, observe: Observe<'_>) -> Result<bool, Error> {
        let _turn = self.measuring.behind_requests();
        if !self.can_be_improved() {
            return Ok(false);
        }
        let view = self.view();
        let Some(sealed) = view.sealed.iter().find(|sealed| sealed.wants_calibration()) else { return Ok(false) };
        let unasked = |job, done, total| !self.measuring.is_asked() && observe(job, done, total);
        match self.calibrate(sealed, &unasked) {
            Err(_) if self.measuring.is_asked() => {}
            other => other?,
        }
        Ok(true)
    }

    /// Measures every such graph, for a request.
    pub(super) fn calibrate_all(&self, observe: Observe<'_>) -> Result<(), Error> {
        let _turn = self.measuring.of_request()?;
        for sealed in self.view().sealed.iter().filter(|sealed| sealed.wants_calibration()) {
            self.calibrate(sealed, observe)?;
        }
        Ok(())
    }

    /// Measures the graph of a segment and keeps the table. Ends early, with nothing, when the segment is merged with others
    /// meanwhile.
    fn calibrate(&self, sealed: &Arc<Sealed>, observe: Observe<'_>) -> Result<(), Error> {
        let Some(graph) = sealed.graph() else { return Ok(()) };
        let generation = sealed.generation.load(Ordering::Relaxed);
        let accept = |row| sealed.is_live(row);
        let serves = || !self.is_gone() && self.view().sealed.iter().any(|other| Arc::ptr_eq(other, sealed));
        let progress = |done, total| serves() && observe(Job::Calibrating, done, total);
        let seed = sealed.segment.tag();
        if let Err(error) = sealed.ensure_vectors(0..sealed.segment.rows()) {
            self.note_damage();
            return Err(error);
        }
        let rows = sealed.rows(self.metric);
        let measured = match calibration::measure(rows, &graph, &accept, self.graph_params()?, seed, &progress) {
            Err(_) if !serves() => None,
            other => other?,
        };
        let Some(table) = measured else { return Ok(()) };

        let _held = self.writer.hold();
        let same = sealed.graph().is_some_and(|now| Arc::ptr_eq(&now, &graph));
        if !same || !serves() {
            return Ok(());
        }
        let record = table.to_bytes();
        let segment = sealed.segment.id();
        self.truth.commit(&[Change::SetCalibration { segment, graph_generation: generation, record: &record }])?;
        sealed.set_calibration(Some(table));
        count(&self.meters.calibrations);
        Ok(())
    }
}
