//! Long jobs on a maintenance thread that stream their progress and then their result.

use crate::collection::{Engine, Error, Job, Observe};
use crate::grpc::executor::{Executor, Pool};
use crate::grpc::{pb, status};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// Minimum interval between progress messages.
const TOLD_EVERY: Duration = Duration::from_millis(100);

pub(crate) type Replies<M> = ReceiverStream<Result<M, Status>>;

/// Sends the progress of a call to its client.
pub(crate) struct Teller<M> {
    replies: mpsc::Sender<Result<M, Status>>,
    last: Mutex<Option<Instant>>,
    /// Set when the server stops.
    over: Arc<AtomicBool>,
}

impl<M> Teller<M> {
    /// Sends a progress message, unless one was sent less than the interval ago. False if the client is gone.
    pub(crate) fn tell(&self, message: impl FnOnce() -> M) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= TOLD_EVERY) {
            *last = Some(Instant::now());
            // A slow client misses some messages.
            let _ = self.replies.try_send(Ok(message()));
        }
        !self.replies.is_closed() && !self.over.load(Ordering::Relaxed)
    }
}

/// Runs the job; streams its progress messages, then its result. Dropping the stream cancels the job.
pub(crate) fn telling<M: Send + 'static>(
    executor: Executor,
    pool: Pool,
    call: impl FnOnce(&dyn Engine, &Teller<M>) -> Result<M, Error> + Send + 'static,
) -> Response<Replies<M>> {
    let (replies, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut stopping = executor.stopping();
        let over = Arc::new(AtomicBool::new(false));
        let teller = Teller { replies: replies.clone(), last: Mutex::new(None), over: over.clone() };
        let run = executor.run(pool, move |engine| call(engine, &teller));
        let result = tokio::select! {
            result = run => result,
            () = replies.closed() => return,
            // An error means that the server is gone, which is equivalent.
            _ = stopping.wait_for(|stopping| *stopping) => {
                over.store(true, Ordering::Relaxed);
                Err(status::stopping())
            }
        };
        // Fails only if the client is gone.
        let _ = replies.send(result).await;
    });
    Response::new(ReceiverStream::new(receiver))
}

/// As [`telling`], for a maintenance job.
pub(crate) fn stream<M: Send + 'static>(
    executor: Executor,
    progress: impl Fn(Job, u64, u64) -> M + Send + Sync + 'static,
    call: impl FnOnce(&dyn Engine, Observe<'_>) -> Result<M, Error> + Send + 'static,
) -> Response<Replies<M>> {
    telling(executor, Pool::Maintenance, move |engine, teller| {
        call(engine, &|job, done, total| teller.tell(|| progress(job, done, total)))
    })
}

/// Throughput of the phases of a job.
pub(crate) struct Pace<P>(Mutex<Option<(P, Instant, u64)>>);

impl<P: Copy + PartialEq> Pace<P> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns the rate per second in this phase and the estimated seconds left; 0 if unknown.
    pub(crate) fn at(&self, phase: P, done: u64, total: u64) -> (f64, f64) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, since, from) = match *begun {
            Some(begun) if begun.0 == phase && begun.2 <= done => begun,
            _ => *begun.insert((phase, Instant::now(), done)),
        };
        let seconds = since.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { (done - from) as f64 / seconds } else { 0.0 };
        (rate, if rate > 0.0 { total.saturating_sub(done) as f64 / rate } else { 0.0 })
    }
}

/// Returns a function that builds the progress messages of a new generation.
pub(crate) fn of_generation() -> impl Fn(Job, u64, u64) -> pb::GenerationProgress {
    use pb::generation_progress::Phase;
    let pace = Pace::new();
    move |job, done, total| {
        let phase = if job == Job::Embedding { Phase::Embedding } else { Phase::Indexing };
        let (rate, seconds_left) = pace.at(phase, done, total);
        pb::GenerationProgress { phase: phase.into(), done, total, rate, seconds_left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_its_phase() {
        let progress = of_generation();
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
