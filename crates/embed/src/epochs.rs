//! How far a training is that goes over labelled images again and again.

/// How far a training is.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainProgress {
    /// The epoch under way, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Images done in this epoch.
    pub done: u64,
    /// Images of an epoch.
    pub total: u64,
    /// Mean loss: over the images since the last report, at the end of an epoch over the whole of it.
    pub loss: f64,
    /// The part of those images that was recognised, as moved.
    pub train_accuracy: f64,
    /// At the end of an epoch, where test images are given: the part of them that is recognised.
    pub test_accuracy: Option<f64>,
}

impl TrainProgress {
    /// Images done in all epochs.
    pub fn done_in_all(&self) -> u64 {
        self.total * self.epoch.saturating_sub(1) as u64 + self.done
    }

    /// Images of all epochs.
    pub fn total_in_all(&self) -> u64 {
        self.total * self.epochs as u64
    }
}
