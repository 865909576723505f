//! Long jobs on a maintenance thread that stream their progress and then their result.

use crate::api::{Error, Job, Observe};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::executor::{Executor, Pool};
use crate::grpc::{pb, status};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Minimum interval between progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) type ResponseStream<M> = ReceiverStream<Result<M, Status>>;

/// Sends the progress of a call to its client.
pub(crate) struct ProgressSender<M> {
    responses: mpsc::Sender<Result<M, Status>>,
    last: Mutex<Option<Instant>>,
    /// Set when the server stops.
    cancelled: Arc<AtomicBool>,
}

impl<M> ProgressSender<M> {
    /// Sends a progress message, unless one was sent less than the interval ago. False if the client has disconnected.
    pub(crate) fn send(&self, message: impl FnOnce() -> M) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL) {
            *last = Some(Instant::now());
            // A slow client misses some messages.
            let _ = self.responses.try_send(Ok(message()));
        }
        !self.responses.is_closed() && !self.cancelled.load(Ordering::Relaxed)
    }
}

/// Runs the job; streams its progress messages, then its result. Dropping the stream cancels the job.
pub(crate) fn stream_job<M: Send + 'static>(
    executor: Executor,
    pool: Pool,
    call: impl FnOnce(&AuthorizedEngine<'_>, &ProgressSender<M>) -> Result<M, Error> + Send + 'static,
) -> Response<ResponseStream<M>> {
    let (responses, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut stopping = executor.stopping();
        let cancelled = Arc::new(AtomicBool::new(false));
        let sender =
            ProgressSender { responses: responses.clone(), last: Mutex::new(None), cancelled: cancelled.clone() };
        let run = executor.run(pool, move |engine| call(engine, &sender));
        let result = tokio::select! {
            result = run => result,
            () = responses.closed() => return,
            // An error means that the server was dropped, which is equivalent.
            _ = stopping.wait_for(|stopping| *stopping) => {
                cancelled.store(true, Ordering::Relaxed);
                Err(status::stopping())
            }
        };
        // Fails only if the client has disconnected.
        let _ = responses.send(result).await;
    });
    Response::new(ReceiverStream::new(receiver))
}

/// As [`stream_job`], for a maintenance job.
pub(crate) fn stream_maintenance_job<M: Send + 'static>(
    executor: Executor,
    progress: impl Fn(Job, u64, u64) -> M + Send + Sync + 'static,
    call: impl FnOnce(&AuthorizedEngine<'_>, Observe<'_>) -> Result<M, Error> + Send + 'static,
) -> Response<ResponseStream<M>> {
    stream_job(executor, Pool::Maintenance, move |engine, sender| {
        call(engine, &|job, done, total| sender.send(|| progress(job, done, total)))
    })
}

/// Throughput of the phases of a job.
pub(crate) struct RateEstimator<P>(Mutex<Option<(P, Instant, u64)>>);

impl<P: Copy + PartialEq> RateEstimator<P> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns the rate per second in this phase and the estimated seconds left; 0 if unknown.
    pub(crate) fn update(&self, phase: P, done: u64, total: u64) -> (f64, f64) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, since, from) = match *started {
            Some(started) if started.0 == phase && started.2 <= done => started,
            _ => *started.insert((phase, Instant::now(), done)),
        };
        let seconds = since.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { (done - from) as f64 / seconds } else { 0.0 };
        (rate, if rate > 0.0 { total.saturating_sub(done) as f64 / rate } else { 0.0 })
    }
}

/// Returns a function that builds the progress messages of a new generation.
pub(crate) fn generation_progress() -> impl Fn(Job, u64, u64) -> pb::GenerationProgress {
    use pb::generation_progress::Phase;
    let rate_estimator = RateEstimator::new();
    move |job, done, total| {
        let phase = if job == Job::Embedding { Phase::Embedding } else { Phase::Indexing };
        let (rate, seconds_left) = rate_estimator.update(phase, done, total);
        pb::GenerationProgress { phase: phase.into(), done, total, rate, seconds_left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_measured_per_phase() {
        let progress = generation_progress();
        let first = progress(Job::Embedding, 100, 1_000);
        assert_eq!((first.rate, first.seconds_left, first.done, first.total), (0.0, 0.0, 100, 1_000));
        std::thread::sleep(Duration::from_millis(20));
        let second = progress(Job::Embedding, 400, 1_000);
        assert!(second.rate > 100.0 && second.rate < 15_001.0, "{second:?}");
        assert!((second.seconds_left - 600.0 / second.rate).abs() < 1e-9, "{second:?}");
        let other = progress(Job::Indexing, 5, 10);
        assert_eq!((other.rate, other.phase()), (0.0, pb::generation_progress::Phase::Indexing));
    }
}
