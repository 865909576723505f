//! Cancellation of a call whose client has gone.
//!
//! A call keeps its token in its thread, like its tracing span: [`CancellationToken::run`] sets it, and long loops
//! check it every few thousand rows. Work handed to other threads takes it along. Background threads have none, and a
//! commit serves all its writers: neither is cancelled.

use super::Error;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    static CURRENT: RefCell<CancellationToken> = const { RefCell::new(CancellationToken(None)) };
}

/// A cancellation token. The default is never cancelled.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Option<Weak<()>>);

impl CancellationToken {
    /// Creates a token that is cancelled once `waiting` and all its clones are dropped.
    pub fn without(waiting: &Arc<()>) -> Self {
        Self(Some(Arc::downgrade(waiting)))
    }

    /// Returns the token of this thread's call.
    pub fn current() -> Self {
        CURRENT.with_borrow(Self::clone)
    }

    /// Runs `work` with this token as the [`current`](Self::current) one.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Restores the outer token, also after a panic.
        struct Before(CancellationToken);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(std::mem::take(&mut self.0));
            }
        }
        let _before = Before(CURRENT.replace(self.clone()));
        work()
    }

    /// Whether the call is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.strong_count() == 0)
    }

    /// Fails with `Abandoned` when cancelled. One memory load.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Abandoned) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_token_is_that_of_the_innermost_call() {
        let (outer, inner) = (Arc::new(()), Arc::new(()));
        let (outer_stop, inner_stop) = (CancellationToken::without(&outer), CancellationToken::without(&inner));
        drop(inner);
        assert!(CancellationToken::current().check().is_ok());
        outer_stop.run(|| {
            assert!(CancellationToken::current().check().is_ok());
            inner_stop.run(|| assert!(matches!(CancellationToken::current().check(), Err(Error::Abandoned))));
            let panicked = std::panic::catch_unwind(|| inner_stop.run(|| panic!("on purpose")));
            assert!(panicked.is_err());
            assert!(!CancellationToken::current().is_cancelled());
            drop(outer);
            assert!(CancellationToken::current().is_cancelled());
            CancellationToken::default().run(|| assert!(!CancellationToken::current().is_cancelled()));
        });
        assert!(!CancellationToken::current().is_cancelled());
    }
}
