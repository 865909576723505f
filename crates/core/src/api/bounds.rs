//! Bounds of numbers, strings, counts and times.

use super::{Error, Scalar};

/// Bounds of values of one type: a lower bound, an upper bound, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    /// Above this.
    pub gt: Option<T>,
    /// This or above.
    pub gte: Option<T>,
    /// Below this.
    pub lt: Option<T>,
    /// This or below.
    pub lte: Option<T>,
}

/// Bounds of one type, number or string.
pub type Range = Bounds<Scalar>;

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Self { gt: None, gte: None, lt: None, lte: None }
    }
}

impl<T> Bounds<T> {
    /// Returns the lower bound, and whether it is inclusive.
    pub(crate) fn lower(&self) -> Option<(&T, bool)> {
        self.gt.as_ref().map(|bound| (bound, false)).or(self.gte.as_ref().map(|bound| (bound, true)))
    }

    /// Returns the upper bound, and whether it is inclusive.
    pub(crate) fn upper(&self) -> Option<(&T, bool)> {
        self.lt.as_ref().map(|bound| (bound, false)).or(self.lte.as_ref().map(|bound| (bound, true)))
    }

    /// Checks that there is at least one bound, at most one of them lower and at most one upper.
    pub(super) fn check(&self, at: &str) -> Result<(), Error> {
        for (one, other, names) in [(&self.gt, &self.gte, "gt and gte"), (&self.lt, &self.lte, "lt and lte")] {
            if one.is_some() && other.is_some() {
                return Err(Error::invalid(at, format!("has both {names}; give one of them")));
            }
        }
        if self.lower().is_none() && self.upper().is_none() {
            return Err(Error::invalid(at, "has no bound; give gt, gte, lt or lte"));
        }
        Ok(())
    }
}

impl<T: Ord> Bounds<T> {
    /// Whether a value lies within.
    pub(crate) fn contains(&self, value: &T) -> bool {
        self.lower().is_none_or(|(bound, inclusive)| value > bound || inclusive && value == bound)
            && self.upper().is_none_or(|(bound, inclusive)| value < bound || inclusive && value == bound)
    }
}

impl Range {
    /// Checks the bounds. `at` is their position in the request.
    pub(super) fn check_scalars(&self, at: &str) -> Result<(), Error> {
        self.check(at)?;
        let mut first: Option<&Scalar> = None;
        for (name, bound) in [("gt", &self.gt), ("gte", &self.gte), ("lt", &self.lt), ("lte", &self.lte)] {
            let Some(bound) = bound else { continue };
            let at = format!("{at}.{name}");
            bound.check(&at)?;
            if matches!(bound, Scalar::Bool(_)) {
                return Err(Error::invalid(at, "is true or false; bounds are numbers or strings"));
            }
            if first.is_some_and(|first| std::mem::discriminant(first) != std::mem::discriminant(bound)) {
                return Err(Error::invalid(at, "is not of the type of the other bound: numbers or strings, not both"));
            }
            first = Some(bound);
        }
        Ok(())
    }
}
