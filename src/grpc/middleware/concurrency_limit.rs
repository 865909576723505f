//! Concurrency limit of requests, in total and per client.
//!
//! Excess requests are refused immediately, with a retry delay, instead of slowing down all others.

use super::fair_queue::Client;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Taken {
    all: usize,
    by_client: HashMap<Client, usize>,
}

pub(crate) struct Places {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken>,
}

/// A permit for one request; released when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    client: Client,
}

/// Which limit is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The total limit, with its value.
    All(usize),
    /// The limit per client, with its value.
    Client(usize),
}

impl Places {
    pub(crate) fn new(most: usize, most_each: usize) -> Self {
        Self { most, most_each, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(self: &Arc<Self>, client: &Client) -> Result<Place, Full> {
        let mut taken = self.taken();
        if taken.all >= self.most {
            return Err(Full::All(self.most));
        }
        if taken.by_client.get(client).is_some_and(|count| *count >= self.most_each) || self.most_each == 0 {
            return Err(Full::Client(self.most_each));
        }
        taken.all += 1;
        *taken.by_client.entry(client.clone()).or_default() += 1;
        Ok(Place { places: self.clone(), client: client.clone() })
    }

    /// Returns the number of permits in use.
    pub(crate) fn count(&self) -> usize {
        self.taken().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share() {
        let places = Arc::new(Places::new(3, 2));
        let (a, b): (Client, Client) = ("a".into(), "b".into());
        let held = (places.take(&a).ok().unwrap(), places.take(&a).ok().unwrap());
        assert_eq!(places.take(&a).err(), Some(Full::Client(2)));
        let other = places.take(&b).ok().unwrap();
        assert_eq!(places.take(&b).err(), Some(Full::All(3)));
        drop(held);
        assert!(places.take(&a).is_ok());
        drop(other);
        assert_eq!(places.count(), 0);
        assert!(places.taken().by_client.is_empty());
    }
}
