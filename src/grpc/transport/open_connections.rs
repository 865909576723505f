//! The open connections of both ports, and which of them is closed for a new one.
//!
//! While all connections are in use, a connection from an address with fewer closes the longest idle one of the address
//! with the most. So idle connections of a few addresses cannot keep out the others.

use crate::grpc::middleware::concurrency_limit::{ConcurrencyLimit, LimitReached, Permit};
use crate::grpc::middleware::fair_queue::Client;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The open connections, also those in their handshake.
pub(crate) struct OpenConnections {
    limit: Arc<ConcurrencyLimit>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Number of the next connection.
    next: u64,
    connections: BTreeMap<u64, OpenConnection>,
}

struct OpenConnection {
    client: Client,
    requests: Arc<OpenRequests>,
    _permit: Permit,
    /// Closes the connection when dropped.
    _close: oneshot::Sender<()>,
}

/// Membership of a connection; ends when dropped.
pub(super) struct Membership {
    connections: Arc<OpenConnections>,
    number: u64,
    requests: Arc<OpenRequests>,
    closed: oneshot::Receiver<()>,
    is_closed: bool,
}

impl OpenConnections {
    pub(crate) fn new(limit: Arc<ConcurrencyLimit>) -> Self {
        Self { limit, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection of a client; closes one of another client for it if necessary.
    pub(super) fn admit(self: &Arc<Self>, client: &Client) -> Result<Membership, LimitReached> {
        let permit = match self.limit.acquire(client) {
            Err(LimitReached::Total(_)) => {
                // Dropping it releases its permit.
                drop(self.take_idle(client));
                self.limit.acquire(client)?
            }
            permit => permit?,
        };
        let requests = Arc::new(OpenRequests::new());
        let (close, closed) = oneshot::channel();
        let connection =
            OpenConnection { client: client.clone(), requests: requests.clone(), _permit: permit, _close: close };
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, connection);
        drop(open);
        Ok(Membership { connections: self.clone(), number, requests, closed, is_closed: false })
    }

    /// Removes the longest idle connection of the client with the most connections among those that have more than
    /// `client` would have with another one.
    fn take_idle(&self, client: &Client) -> Option<OpenConnection> {
        let mut open = self.open();
        let mut counts = HashMap::<&Client, usize>::new();
        open.connections.values().for_each(|connection| *counts.entry(&connection.client).or_default() += 1);
        let own = counts.get(client).map_or(0, |count| *count);
        let idle = open.connections.iter().filter_map(|(number, connection)| {
            let (count, since) = (counts[&connection.client], connection.requests.idle_since()?);
            (count > own + 1).then_some((count, Reverse(since), *number))
        });
        let (.., number) = idle.max()?;
        let closed = open.connections.remove(&number)?;
        tracing::debug!(client = %closed.client, "closing an idle connection for one of {client}");
        Some(closed)
    }
}

impl Membership {
    pub(super) fn requests(&self) -> &Arc<OpenRequests> {
        &self.requests
    }

    /// Whether the connection is to be closed; otherwise wakes the task when it is.
    pub(super) fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A channel may not be polled again after it is ready.
        self.is_closed = self.is_closed || Pin::new(&mut self.closed).poll(context).is_ready();
        if self.is_closed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns when the connection is to be closed.
    pub(super) async fn closed(&mut self) {
        std::future::poll_fn(|context| self.poll_closed(context)).await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let connection = self.connections.open().connections.remove(&self.number);
        drop(connection);
    }
}

/// Open requests of a connection, and the end time of the last one.
#[derive(Debug)]
pub(crate) struct OpenRequests(Mutex<(usize, Instant)>);

impl OpenRequests {
    fn new() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }

    fn state(&self) -> MutexGuard<'_, (usize, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        self.state().0 += 1;
        OpenRequest(self.clone())
    }

    /// Returns the time since which there is no request; none while there is one.
    fn idle_since(&self) -> Option<Instant> {
        let (requests, since) = *self.state();
        (requests == 0).then_some(since)
    }

    /// Returns the time at which to close the connection if nothing changes.
    pub(super) fn deadline(&self, idle: Duration) -> Instant {
        let (requests, since) = *self.state();
        if requests > 0 { Instant::now() + idle } else { since + idle }
    }
}

/// An open request; ends when dropped.
pub(super) struct OpenRequest(Arc<OpenRequests>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *state = (state.0.saturating_sub(1), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_connection_closes_the_longest_idle_one_of_the_address_with_the_most() {
        let connections = Arc::new(OpenConnections::new(Arc::new(ConcurrencyLimit::new(12, 6))));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let admit = |client: &str| {
            std::thread::sleep(Duration::from_millis(1)); // the times differ
            connections.admit(&client.into())
        };
        let fill = |client: &str, count: usize| (0..count).map(|_| admit(client).ok().unwrap()).collect::<Vec<_>>();
        let (mut a, mut b) = (fill("a", 6), fill("b", 6));
        let mut closed = |of: &mut Vec<Membership>| {
            let closed = of.iter_mut().map(|one| one.poll_closed(&mut context).is_ready());
            closed.enumerate().filter_map(|(at, closed)| closed.then_some(at)).collect::<Vec<_>>()
        };
        assert_eq!(admit("a").err(), Some(LimitReached::Total(12)), "not above its own limit");
        assert_eq!((closed(&mut a), closed(&mut b)), (vec![], vec![]));
        // The first of a has a request, and the second had one later than the third.
        let request = a[0].requests().begin();
        drop(a[1].requests().begin());
        let mut c = fill("c", 1);
        assert_eq!((closed(&mut a), closed(&mut b)), (vec![2], vec![]));
        // Now b has the most.
        c.extend(fill("c", 1));
        assert_eq!((closed(&mut a), closed(&mut b)), (vec![2], vec![0]));
        c.extend(fill("c", 2));
        assert_eq!((closed(&mut a), closed(&mut b)), (vec![2, 3], vec![0, 1]));
        // Each has four: another connection of c would leave fewer to its peers, one of d would not.
        assert_eq!(admit("c").err(), Some(LimitReached::Total(12)));
        let d = fill("d", 1);
        assert_eq!(closed(&mut a).len() + closed(&mut b).len() + closed(&mut c).len(), 5);
        assert_eq!((d.len(), connections.limit.count()), (1, 12));
        // Busy connections are not closed.
        let requests: Vec<_> = [&a, &b, &c].into_iter().flatten().map(|one| one.requests().begin()).collect();
        assert_eq!(admit("e").err(), Some(LimitReached::Total(12)));
        drop((a, b, c, d, request, requests));
        assert_eq!(connections.limit.count(), 0);
        assert!(connections.open().connections.is_empty());
    }

    #[test]
    fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let idle = Duration::from_secs(1_000);
        let pause = || std::thread::sleep(Duration::from_millis(2));
        let started = Instant::now();
        let requests = Arc::new(OpenRequests(Mutex::new((0, started))));
        pause();
        assert_eq!(requests.deadline(idle), started + idle);
        let (first, second) = (requests.begin(), requests.begin());
        assert!(requests.deadline(idle) > started + idle);
        drop(first);
        let one_is_open = requests.deadline(idle);
        pause();
        let before_the_end = requests.deadline(idle);
        assert!(before_the_end > one_is_open);
        drop(second);
        let ended = requests.deadline(idle);
        assert!(ended >= before_the_end);
        pause();
        assert_eq!(requests.deadline(idle), ended);
    }
}
