//! The size limit of an answer, checked while the answer is filled.
//!
//! A call carries it in its thread, as it carries its [`Stop`](super::Stop): [`Budget::run`] puts it there, and each point that
//! is read for an answer is counted before the next one is read. Threads that work for no request have none.

use super::{Error, Point};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static CURRENT: RefCell<Budget> = const { RefCell::new(Budget(None)) };
}

/// Counts the points of one answer.
pub trait Meter: Send + Sync {
    /// Adds a point to the answer.
    ///
    /// # Errors
    /// [`Error::ResponseTooLarge`] if the answer would exceed its limit, [`Error::Overloaded`] if there is no memory for it.
    fn add(&self, point: &Point) -> Result<(), Error>;
    /// Drops what was counted: the answer is filled again from the start.
    fn restart(&self);
}

/// The size limit of the answer to the current call. The default has none.
#[derive(Clone, Default)]
pub struct Budget(Option<Arc<dyn Meter>>);

impl Budget {
    /// A limit that `meter` checks.
    pub fn new(meter: Arc<dyn Meter>) -> Self {
        Self(Some(meter))
    }

    /// The budget of the call that this thread works for.
    pub fn current() -> Self {
        CURRENT.with_borrow(Self::clone)
    }

    /// Runs `work` with this budget as the [`current`](Self::current) one.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Restores the outer budget, also after a panic.
        struct Outer(Budget);
        impl Drop for Outer {
            fn drop(&mut self) {
                CURRENT.set(std::mem::take(&mut self.0));
            }
        }
        let _outer = Outer(CURRENT.replace(self.clone()));
        work()
    }

    pub(super) fn add(&self, point: &Point) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |meter| meter.add(point))
    }

    pub(super) fn restart(&self) {
        if let Some(meter) = &self.0 {
            meter.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PointId;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct AtMost(usize, AtomicUsize);

    impl Meter for AtMost {
        fn add(&self, _: &Point) -> Result<(), Error> {
            let added = self.1.fetch_add(1, Ordering::Relaxed) + 1;
            if added > self.0 { Err(Error::ResponseTooLarge("too many".into())) } else { Ok(()) }
        }
        fn restart(&self) {
            self.1.store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_current_budget_is_that_of_the_innermost_call() {
        let point = Point { id: PointId::new("a").unwrap(), vector: None, payload: None };
        let budget = Budget::new(Arc::new(AtMost(1, AtomicUsize::new(0))));
        budget.run(|| {
            assert!(Budget::current().add(&point).is_ok());
            Budget::default().run(|| assert!(Budget::current().add(&point).is_ok(), "no limit"));
            assert!(Budget::current().add(&point).is_err());
            Budget::current().restart();
            assert!(Budget::current().add(&point).is_ok());
        });
        assert!(Budget::current().add(&point).is_ok());
    }
}
