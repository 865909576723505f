//! Progress of a training over labelled images in epochs.

/// Progress of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainProgress {
    /// The current epoch, from 1.
    pub epoch: usize,
    /// Total epochs.
    pub epochs: usize,
    /// Images done in this epoch.
    pub done: u64,
    /// Images per epoch.
    pub total: u64,
    /// Mean loss over the images since the last report; at the end of an epoch, over the epoch.
    pub loss: f64,
    /// Accuracy on those images, as augmented.
    pub train_accuracy: f64,
    /// Accuracy on the test images, if there are any; set at the end of an epoch.
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
