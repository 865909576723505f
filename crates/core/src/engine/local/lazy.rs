//! A value that is open or closed. One caller opens it, and the others wait. An unused value can be closed.

use crate::sync::{Mutex, MutexGuard, RwLock, TryLockError};
use std::sync::{Arc, PoisonError};

/// A value that opens on first use. `C` describes it while it is closed.
///
/// Lock order: `transition`, then `state`. `state` is never locked while the value opens or closes, so that its
/// description stays readable.
pub(super) struct Lazy<T, C> {
    state: RwLock<State<T, C>>,
    /// Held while the value opens, closes, or is removed.
    transition: Mutex<()>,
}

enum State<T, C> {
    Open(Arc<T>),
    Closed(C),
    Removed,
}

/// The present state of a value.
pub(super) enum Present<T, C> {
    Open(Arc<T>),
    Closed(C),
    Removed,
}

/// A closed value. It cannot be opened while this guard exists.
pub(super) struct Removal<'a>(#[allow(dead_code)] MutexGuard<'a, ()>);

impl<T, C: Clone> Lazy<T, C> {
    pub(super) fn open(value: Arc<T>) -> Self {
        Self { state: RwLock::new(State::Open(value)), transition: Mutex::new(()) }
    }

    pub(super) fn closed(closed: C) -> Self {
        Self { state: RwLock::new(State::Closed(closed)), transition: Mutex::new(()) }
    }

    /// Returns the present state, without waiting for an opening or a closing.
    pub(super) fn present(&self) -> Present<T, C> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(value) => Present::Open(value.clone()),
            State::Closed(closed) => Present::Closed(closed.clone()),
            State::Removed => Present::Removed,
        }
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Open(_))
    }

    /// Returns the value; opens it if it is closed. Waits for another caller that opens it. `None` if it was removed.
    ///
    /// `published` runs before anybody else gets the opened value.
    ///
    /// # Errors
    /// The error of `open`, which also returns the new description.
    pub(super) fn get_or_open<E>(
        &self,
        open: impl FnOnce(&C) -> Result<T, (C, E)>,
        published: impl FnOnce(&T),
    ) -> Result<Option<Arc<T>>, E> {
        match self.present() {
            Present::Open(value) => return Ok(Some(value)),
            Present::Removed => return Ok(None),
            Present::Closed(_) => {}
        }
        let _transition = self.transition.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = match self.present() {
            Present::Open(value) => return Ok(Some(value)),
            Present::Removed => return Ok(None),
            Present::Closed(closed) => closed,
        };
        match open(&closed) {
            Ok(value) => {
                let value = Arc::new(value);
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                published(&value);
                *state = State::Open(value.clone());
                Ok(Some(value))
            }
            Err((closed, error)) => {
                self.set(State::Closed(closed));
                Err(error)
            }
        }
    }

    /// Closes the value if it is unused and `describe` returns a description. Callers that open it again wait until
    /// `close` has ended; readers of the state do not wait. Returns whether it was closed. Does not wait for another
    /// opening or closing.
    pub(super) fn close_unused(&self, describe: impl FnOnce(&T) -> Option<C>, close: impl FnOnce(T, &C)) -> bool {
        let _transition = match self.transition.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(value) = &*state else { return false };
        // A caller clones the value only under the lock of the state, or from a clone that it has.
        if Arc::strong_count(value) > 1 {
            return false;
        }
        let Some(closed) = describe(value) else { return false };
        let State::Open(value) = std::mem::replace(&mut *state, State::Closed(closed.clone())) else { return false };
        match Arc::try_unwrap(value) {
            Ok(value) => {
                drop(state);
                close(value, &closed);
                true
            }
            Err(value) => {
                *state = State::Open(value);
                false
            }
        }
    }

    /// Marks the value as removed, and lets go of it. For a caller that uses it, or has its [`Removal`].
    pub(super) fn remove(&self) {
        self.set(State::Removed);
    }

    /// Excludes openers of a closed value, to remove it. Waits for one that opens it; `None` if it is open.
    pub(super) fn begin_removal(&self) -> Option<Removal<'_>> {
        let transition = self.transition.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_open()).then(|| Removal(transition))
    }
}

impl<T, C> Lazy<T, C> {
    fn set(&self, state: State<T, C>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
