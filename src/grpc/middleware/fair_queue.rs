//! Semaphore with fair queueing between clients.
//!
//! Waiting requests are served round-robin by client, so that a client with a thousand waiting requests does not block
//! one with a single request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Identity under which requests are grouped.
pub(crate) type Client = Arc<str>;

/// A waiting request: its number, and the channel for its permit.
type Waiting = (u64, oneshot::Sender<Permit>);

#[derive(Default)]
struct State {
    free: usize,
    /// Clients with waiting requests, in round-robin order; each once.
    round_robin: VecDeque<Client>,
    /// Waiting requests by client, in ascending order of their numbers; no entry is empty.
    waiting: HashMap<Client, VecDeque<Waiting>>,
    next: u64,
}

pub(crate) struct FairQueue(Mutex<State>);

/// A permit; when dropped, it passes to the next waiting request.
pub(crate) struct Permit(Option<Arc<FairQueue>>);

/// Removes a request from the queue when dropped, if it still waits.
struct LeaveOnDrop<'q> {
    queue: &'q FairQueue,
    client: &'q Client,
    number: u64,
}

impl FairQueue {
    pub(crate) fn new(permits: usize) -> Self {
        Self(Mutex::new(State { free: permits, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit. A request that is dropped meanwhile leaves the queue immediately.
    pub(crate) async fn acquire(self: &Arc<Self>, client: &Client) -> Permit {
        let (sender, permit) = oneshot::channel();
        let number = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.clone()));
            }
            let number = state.next;
            state.next += 1;
            let requests = state.waiting.entry(client.clone()).or_default();
            requests.push_back((number, sender));
            if requests.len() == 1 {
                state.round_robin.push_back(client.clone());
            }
            number
        };
        let _leave = LeaveOnDrop { queue: self, client, number };
        // The sender is dropped unused only with the queue, which this call holds.
        permit.await.unwrap_or(Permit(None))
    }

    /// Returns the number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.values().map(VecDeque::len).sum()
    }

    /// Passes a permit to the next waiting request.
    fn pass_on(self: Arc<Self>) {
        let mut state = self.state();
        while let Some(client) = state.round_robin.pop_front() {
            let Some(requests) = state.waiting.get_mut(&client) else { continue };
            let next = requests.pop_front();
            if requests.is_empty() {
                state.waiting.remove(&client);
            } else {
                state.round_robin.push_back(client);
            }
            let Some((_, next)) = next else { continue };
            match next.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // The receiver is being dropped; the returned permit must not be dropped under the lock.
                Err(mut permit) => permit.0 = None,
            }
        }
        state.free += 1;
    }
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        let Some(requests) = state.waiting.get_mut(self.client) else { return };
        // Already removed when it got its permit.
        let Ok(at) = requests.binary_search_by_key(&self.number, |(number, _)| *number) else { return };
        requests.remove(at);
        if requests.is_empty() {
            state.waiting.remove(self.client);
            state.round_robin.retain(|client| client != self.client);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_are_served_round_robin_and_cancelled_requests_skipped() {
        let queue = Arc::new(FairQueue::new(1));
        let first = queue.acquire(&"greedy".into()).await;
        let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for (n, client) in ["greedy", "greedy", "greedy", "gone", "modest"].into_iter().enumerate() {
            let (shared, order) = (queue.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let _permit = shared.acquire(&client.into()).await;
                order.send(client).unwrap();
            }));
            while queue.waiting() <= n {
                tokio::task::yield_now().await;
            }
        }
        tasks[3].abort();
        assert!((&mut tasks[3]).await.unwrap_err().is_cancelled());
        assert_eq!(queue.waiting(), 4);
        drop((first, order));
        let mut seen = Vec::new();
        while let Some(client) = served.recv().await {
            seen.push(client);
        }
        assert_eq!(seen, ["greedy", "modest", "greedy", "greedy"]);
        assert_eq!((queue.waiting(), queue.state().free), (0, 1));
    }

    #[tokio::test]
    async fn cancelled_requests_are_no_longer_counted() {
        let queue = Arc::new(FairQueue::new(1));
        let permit = queue.acquire(&"holder".into()).await;
        let (greedy, modest): (Client, Client) = ("greedy".into(), "modest".into());
        let mut waiting = Vec::new();
        for at in 0..50 {
            let mut acquire = Box::pin(queue.acquire(if at % 2 == 0 { &greedy } else { &modest }));
            assert!(poll_once(&mut acquire).await.is_none());
            waiting.push(acquire);
        }
        assert_eq!(queue.waiting(), 50);
        // From the middle, from the front, and the whole queue of a client.
        drop(waiting.remove(20));
        drop(waiting.remove(0));
        assert_eq!(queue.waiting(), 48);
        let mut at = 0;
        waiting.retain(|_| {
            at += 1;
            at == 48
        });
        let lines = || {
            let state = queue.state();
            (state.waiting.len(), state.round_robin.len(), state.free)
        };
        assert_eq!((queue.waiting(), lines()), (1, (1, 1, 0)));
        drop(permit);
        assert!(poll_once(&mut waiting[0]).await.is_some());
        drop(waiting);
        assert_eq!((queue.waiting(), lines()), (0, (0, 0, 1)));
    }

    #[tokio::test]
    async fn a_permit_that_is_passed_to_a_dropped_request_is_passed_on() {
        let queue = Arc::new(FairQueue::new(1));
        let first = queue.acquire(&"a".into()).await;
        let client: Client = "b".into();
        let mut waiting = Box::pin(queue.acquire(&client));
        assert!(poll_once(&mut waiting).await.is_none());
        drop(first);
        drop(waiting);
        assert_eq!(queue.state().free, 1);
    }

    /// Polls once.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
