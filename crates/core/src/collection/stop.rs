//! Whether anybody still waits for what a call computes.
//!
//! A call carries it in its thread, as it carries its tracing span: [`Stop::run`] puts it there, and long loops ask every few
//! thousand rows. What is handed to other threads takes it along. Threads that work for no request have none, and a
//! commit works for all its writers: neither is stopped by it.

use super::Error;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    static CURRENT: RefCell<Stop> = const { RefCell::new(Stop(None)) };
}

/// A token that says when to stop. The default never does.
#[derive(Clone, Debug, Default)]
pub struct Stop(Option<Weak<()>>);

impl Stop {
    /// Says to stop once `waiting`, and every clone of it, is dropped.
    pub fn without(waiting: &Arc<()>) -> Self {
        Self(Some(Arc::downgrade(waiting)))
    }

    /// That of the call which this thread works for.
    pub fn current() -> Self {
        CURRENT.with_borrow(Self::clone)
    }

    /// Works for a call: within, it is the [`current`](Self::current) one.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when the work panics.
        struct Before(Stop);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(std::mem::take(&mut self.0));
            }
        }
        let _before = Before(CURRENT.replace(self.clone()));
        work()
    }

    /// Whether nobody waits any more.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.strong_count() == 0)
    }

    /// Fails when nobody waits any more. One load from memory.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_over() { Err(Error::Abandoned) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_one_is_that_of_the_innermost_call() {
        let (outer, inner) = (Arc::new(()), Arc::new(()));
        let (outer_stop, inner_stop) = (Stop::without(&outer), Stop::without(&inner));
        drop(inner);
        assert!(Stop::current().check().is_ok());
        outer_stop.run(|| {
            assert!(Stop::current().check().is_ok());
            inner_stop.run(|| assert!(matches!(Stop::current().check(), Err(Error::Abandoned))));
            let panicked = std::panic::catch_unwind(|| inner_stop.run(|| panic!("on purpose")));
            assert!(panicked.is_err());
            assert!(!Stop::current().is_over());
            drop(outer);
            assert!(Stop::current().is_over());
            Stop::default().run(|| assert!(!Stop::current().is_over()));
        });
        assert!(!Stop::current().is_over());
    }
}
