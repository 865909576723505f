//! A parallel loop over numbered iterations, with pauses during which no iteration runs.

use super::options::{TrainProgress, report_progress};
use crate::Error;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The iterations to run, and how to run them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Iterations {
    /// Number of the next iteration.
    pub(super) first: usize,
    /// Total number of iterations.
    pub(super) total: usize,
    /// Number of threads.
    pub(super) threads: usize,
    /// Time between pauses.
    pub(super) pause_interval: Option<Duration>,
}

/// Runs the remaining iterations. `new_state` creates the state of each thread. After about `pause_interval`, when the
/// current iterations have finished, `pause` is called with the number of the next iteration.
///
/// # Errors
/// The first error of an iteration or of `pause`.
pub(super) fn run<S>(
    iterations: Iterations,
    new_state: impl Fn() -> S + Sync,
    iteration: impl Fn(usize, &mut S) -> Result<(), Error> + Sync,
    mut pause: impl FnMut(usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut next = iterations.first;
    while next < iterations.total {
        let (counter, stop) = (AtomicUsize::new(next), AtomicBool::new(false));
        let failure = Mutex::new(None);
        let started = Instant::now();
        let work = || {
            let mut state = new_state();
            while !stop.load(Ordering::Relaxed) {
                let at = counter.fetch_add(1, Ordering::Relaxed);
                if at >= iterations.total {
                    return;
                }
                if let Err(error) = iteration(at, &mut state) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
                if iterations.pause_interval.is_some_and(|pause_interval| started.elapsed() >= pause_interval) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        let threads = iterations.threads.min(iterations.total - next).max(1);
        if threads == 1 {
            work();
        } else {
            thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        }
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        next = counter.into_inner().min(iterations.total);
        if next < iterations.total {
            pause(next)?;
        }
    }
    Ok(())
}

/// Progress of a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LoopProgress {
    /// Words done.
    pub(super) done: u64,
    /// The loss, as a moving average.
    pub(super) loss: Option<f64>,
}

/// Accumulates a report and passes it to an observer, in order.
pub(super) struct ProgressReporter<'a> {
    pub(super) phase: &'static str,
    pub(super) total: u64,
    pub(super) report: Mutex<LoopProgress>,
    pub(super) observe: &'a (dyn Fn(&TrainProgress) -> bool + Sync),
}

impl ProgressReporter<'_> {
    /// Adds `words`, with their mean loss and learning rate.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(super) fn add(&self, words: u64, loss: Option<f64>, learning_rate: f32) -> Result<(), Error> {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.done += words;
        if let Some(now) = loss {
            report.loss = Some(report.loss.map_or(now, |before| before + 0.1 * (now - before)));
        }
        // The observer is called under the lock, so that reports arrive in order.
        let LoopProgress { done, loss } = *report;
        report_progress(self.observe, TrainProgress { phase: self.phase, done, total: self.total, loss, learning_rate })
    }

    /// Returns the current report.
    pub(super) fn now(&self) -> LoopProgress {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iteration_runs_once_and_none_runs_in_a_pause() {
        for threads in [1, 3] {
            let done = Mutex::new(vec![0; 100]);
            let running = AtomicUsize::new(0);
            let mut pauses = 0;
            run(
                Iterations { first: 10, total: 100, threads, pause_interval: Some(Duration::from_micros(50)) },
                || (),
                |at, ()| {
                    running.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_micros(60));
                    done.lock().unwrap()[at] += 1;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                },
                |next| {
                    pauses += 1;
                    assert_eq!(running.load(Ordering::SeqCst), 0);
                    assert!(done.lock().unwrap()[10..next].iter().all(|&times| times == 1));
                    assert!(done.lock().unwrap()[next..].iter().all(|&times| times == 0));
                    Ok(())
                },
            )
            .unwrap();
            assert!(pauses > 10);
            assert!(done.into_inner().unwrap()[10..].iter().all(|&times| times == 1));
        }
    }

    #[test]
    fn an_error_ends_the_work() {
        let fails = |at, (): &mut ()| if at == 5 { Err(Error::Compute("no".into())) } else { Ok(()) };
        let iterations = Iterations { first: 0, total: 1_000, threads: 2, pause_interval: None };
        assert!(matches!(run(iterations, || (), fails, |_| Ok(())), Err(Error::Compute(_))));
    }
}
