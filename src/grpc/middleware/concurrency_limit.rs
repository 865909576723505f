//! Concurrency limit of requests, in total and per client.
//!
//! Excess requests are refused immediately, with a retry delay, instead of slowing down all others.

use super::fair_queue::Client;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct InUse {
    total: usize,
    by_client: HashMap<Client, usize>,
}

pub(crate) struct ConcurrencyLimit {
    max: usize,
    max_per_client: usize,
    in_use: Mutex<InUse>,
}

/// A permit for one request; released when dropped.
pub(crate) struct Permit {
    limit: Arc<ConcurrencyLimit>,
    client: Client,
}

/// Which limit is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// The total limit, with its value.
    Total(usize),
    /// The limit per client, with its value.
    PerClient(usize),
}

impl ConcurrencyLimit {
    pub(crate) fn new(max: usize, max_per_client: usize) -> Self {
        Self { max, max_per_client, in_use: Mutex::default() }
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acquire(self: &Arc<Self>, client: &Client) -> Result<Permit, LimitReached> {
        let mut in_use = self.in_use();
        if in_use.total >= self.max {
            return Err(LimitReached::Total(self.max));
        }
        if in_use.by_client.get(client).is_some_and(|count| *count >= self.max_per_client) || self.max_per_client == 0 {
            return Err(LimitReached::PerClient(self.max_per_client));
        }
        in_use.total += 1;
        *in_use.by_client.entry(client.clone()).or_default() += 1;
        Ok(Permit { limit: self.clone(), client: client.clone() })
    }

    /// Returns the number of permits in use.
    pub(crate) fn count(&self) -> usize {
        self.in_use().total
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_use = self.limit.in_use();
        in_use.total = in_use.total.saturating_sub(1);
        if let Some(count) = in_use.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                in_use.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share() {
        let limit = Arc::new(ConcurrencyLimit::new(3, 2));
        let (a, b): (Client, Client) = ("a".into(), "b".into());
        let held = (limit.acquire(&a).ok().unwrap(), limit.acquire(&a).ok().unwrap());
        assert_eq!(limit.acquire(&a).err(), Some(LimitReached::PerClient(2)));
        let other = limit.acquire(&b).ok().unwrap();
        assert_eq!(limit.acquire(&b).err(), Some(LimitReached::Total(3)));
        drop(held);
        assert!(limit.acquire(&a).is_ok());
        drop(other);
        assert_eq!(limit.count(), 0);
        assert!(limit.in_use().by_client.is_empty());
    }
}
