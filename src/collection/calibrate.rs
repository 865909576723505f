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
    /// Measures every graph of which nothing is known.
    pub(super) fn calibrate_all(&self, observe: Observe<'_>) -> Result<(), Error> {
        for sealed in self.view().sealed.iter().filter(|sealed| sealed.wants_calibration()) {
            self.calibrate(sealed, observe)?;
        }
        Ok(())
    }

    /// Measures the graph of a segment and keeps the table.
    pub(super) fn calibrate(&self, sealed: &Arc<Sealed>, observe: Observe<'_>) -> Result<(), Error> {
        let Some(graph) = sealed.graph() else { return Ok(()) };
        let generation = sealed.generation.load(Ordering::Relaxed);
        let accept = |row| sealed.is_live(row);
        let progress = |done, total| !self.is_gone() && observe(Job::Calibrating, done, total);
        let seed = sealed.segment.tag();
        let rows = sealed.rows(self.metric);
        let measured = calibration::measure(rows, &graph, &accept, self.graph_params()?, seed, &progress)?;
        let Some(table) = measured else { return Ok(()) };

        let _held = self.writer.hold();
        let same = sealed.graph().is_some_and(|now| Arc::ptr_eq(&now, &graph));
        if self.is_gone() || !same || !self.view().sealed.iter().any(|other| Arc::ptr_eq(other, sealed)) {
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
