//! The size limit of a response, checked while it is filled.
//!
//! A call keeps it in its thread, like its [`CancellationToken`](super::CancellationToken): [`Budget::run`] sets it,
//! and each point read for a response is counted before the next one is read. Background threads have none.

use super::{AnalyzedToken, Error, Point};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static CURRENT: RefCell<Budget> = const { RefCell::new(Budget(None)) };
}

/// Size accounting of one response.
pub trait Meter: Send + Sync {
    /// Counts a point of the response.
    ///
    /// # Errors
    /// [`Error::ResponseTooLarge`] if the response would exceed its limit, [`Error::Overloaded`] if there is no memory
    /// for it.
    fn add(&self, point: &Point) -> Result<(), Error>;
    /// Counts a search response without its points. `fused` is the number of fused queries.
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    fn add_answer(&self, fused: usize) -> Result<(), Error>;
    /// Counts a term of an analyzed text.
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    fn add_token(&self, token: &AnalyzedToken) -> Result<(), Error>;
    /// Charges bytes of memory that the call uses besides its response, such as for query vectors, until it ends.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is no memory for them.
    fn charge(&self, bytes: usize) -> Result<(), Error>;
    /// Returns the remaining size; 0 once a point did not fit.
    fn left(&self) -> usize;
    /// Resets the count: the response is filled again from the start.
    fn restart(&self);
}

/// Size limit of the current call's response. The default has none.
#[derive(Clone, Default)]
pub struct Budget(Option<Arc<dyn Meter>>);

impl Budget {
    /// Creates a limit that `meter` checks.
    pub fn new(meter: Arc<dyn Meter>) -> Self {
        Self(Some(meter))
    }

    /// Returns the budget of this thread's call.
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

    pub(crate) fn add(&self, point: &Point) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |meter| meter.add(point))
    }

    pub(crate) fn add_answer(&self, fused: usize) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |meter| meter.add_answer(fused))
    }

    pub(crate) fn add_token(&self, token: &AnalyzedToken) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |meter| meter.add_token(token))
    }

    pub(crate) fn charge(&self, bytes: usize) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |meter| meter.charge(bytes))
    }

    pub(crate) fn left(&self) -> usize {
        self.0.as_ref().map_or(usize::MAX, |meter| meter.left())
    }

    pub(crate) fn restart(&self) {
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
        fn add_answer(&self, _: usize) -> Result<(), Error> {
            Ok(())
        }
        fn add_token(&self, _: &AnalyzedToken) -> Result<(), Error> {
            Ok(())
        }
        fn charge(&self, _: usize) -> Result<(), Error> {
            Ok(())
        }
        fn left(&self) -> usize {
            self.0.saturating_sub(self.1.load(Ordering::Relaxed))
        }
        fn restart(&self) {
            self.1.store(0, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_current_budget_is_that_of_the_innermost_call() {
        let point = Point { id: PointId::new("a").unwrap(), vector: None, payload: None, vectors: Default::default() };
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
