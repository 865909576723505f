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
type Waiting = (u64, oneshot::Sender<Place>);

#[derive(Default)]
struct State {
    free: usize,
    /// Clients with waiting requests, in round-robin order; each once.
    turns: VecDeque<Client>,
    /// Waiting requests by client, in ascending order of their numbers; no entry is empty.
    waiting: HashMap<Client, VecDeque<Waiting>>,
    next: u64,
}

pub(crate) struct Queue(Mutex<State>);

/// A permit; when dropped, it passes to the next waiting request.
pub(crate) struct Place(Option<Arc<Queue>>);

/// Removes a request from the queue when dropped, if it still waits.
struct Leave<'q> {
    queue: &'q Queue,
    client: &'q Client,
    number: u64,
}

impl Queue {
    pub(crate) fn new(places: usize) -> Self {
        Self(Mutex::new(State { free: places, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit. A request that is dropped meanwhile leaves the queue immediately.
    pub(crate) async fn enter(self: &Arc<Self>, client: &Client) -> Place {
        let (sender, turn) = oneshot::channel();
        let number = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Place(Some(self.clone()));
            }
            let number = state.next;
            state.next += 1;
            let line = state.waiting.entry(client.clone()).or_default();
            line.push_back((number, sender));
            if line.len() == 1 {
                state.turns.push_back(client.clone());
            }
            number
        };
        let _leave = Leave { queue: self, client, number };
        // The sender is dropped unused only with the queue, which this call holds.
        turn.await.unwrap_or(Place(None))
    }

    /// Returns the number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.values().map(VecDeque::len).sum()
    }

    /// Passes a permit to the next waiting request.
    fn give(self: Arc<Self>) {
        let mut state = self.state();
        while let Some(client) = state.turns.pop_front() {
            let Some(line) = state.waiting.get_mut(&client) else { continue };
            let next = line.pop_front();
            if line.is_empty() {
                state.waiting.remove(&client);
            } else {
                state.turns.push_back(client);
            }
            let Some((_, next)) = next else { continue };
            match next.send(Place(Some(self.clone()))) {
                Ok(()) => return,
                // The receiver is being dropped; the returned permit must not be dropped under the lock.
                Err(mut place) => place.0 = None,
            }
        }
        state.free += 1;
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        let Some(line) = state.waiting.get_mut(self.client) else { return };
        // Already removed when it got its permit.
        let Ok(at) = line.binary_search_by_key(&self.number, |(number, _)| *number) else { return };
        line.remove(at);
        if line.is_empty() {
            state.waiting.remove(self.client);
            state.turns.retain(|client| client != self.client);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_take_turns_and_who_gave_up_is_passed_over() {
        let queue = Arc::new(Queue::new(1));
        let first = queue.enter(&"greedy".into()).await;
        let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for (n, client) in ["greedy", "greedy", "greedy", "gone", "modest"].into_iter().enumerate() {
            let (line, order) = (queue.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let _place = line.enter(&client.into()).await;
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
    async fn who_gives_up_is_no_longer_counted() {
        let queue = Arc::new(Queue::new(1));
        let place = queue.enter(&"holder".into()).await;
        let (greedy, modest): (Client, Client) = ("greedy".into(), "modest".into());
        let mut waiting = Vec::new();
        for at in 0..50 {
            let mut enter = Box::pin(queue.enter(if at % 2 == 0 { &greedy } else { &modest }));
            assert!(futures_now(&mut enter).await.is_none());
            waiting.push(enter);
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
            (state.waiting.len(), state.turns.len(), state.free)
        };
        assert_eq!((queue.waiting(), lines()), (1, (1, 1, 0)));
        drop(place);
        assert!(futures_now(&mut waiting[0]).await.is_some());
        drop(waiting);
        assert_eq!((queue.waiting(), lines()), (0, (0, 0, 1)));
    }

    #[tokio::test]
    async fn a_place_that_was_given_but_not_taken_is_given_on() {
        let queue = Arc::new(Queue::new(1));
        let first = queue.enter(&"a".into()).await;
        let client: Client = "b".into();
        let mut waiting = Box::pin(queue.enter(&client));
        assert!(futures_now(&mut waiting).await.is_none());
        drop(first);
        drop(waiting);
        assert_eq!(queue.state().free, 1);
    }

    /// Polls once.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
