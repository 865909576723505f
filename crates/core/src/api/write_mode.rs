//! Conditions of an upsert: what happens to an item whose point exists, or does not.

use super::{Error, Filter};
use crate::types::PointId;

/// What an upsert does with an item, depending on whether its id exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// Inserts or replaces.
    #[default]
    Upsert,
    /// Inserts; existing points stay as they are.
    Insert,
    /// Inserts; refuses the whole batch with `AlreadyExists` if an item would change an existing point.
    Keep,
    /// Replaces existing points; other ids are not created.
    Update,
}

/// The condition under which the items of an upsert are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteCondition {
    /// The mode.
    pub mode: WriteMode,
    /// An existing point is replaced only if it matches when the write is executed; otherwise it stays as it is.
    pub only_if: Option<Filter>,
}

impl WriteCondition {
    /// A condition with this mode.
    pub fn mode(mode: WriteMode) -> Self {
        Self { mode, only_if: None }
    }

    /// Replaces only points that match.
    pub fn only_if(mut self, filter: Filter) -> Self {
        self.only_if = Some(filter);
        self
    }

    /// Checks the filter, and whether the mode uses it.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn check(&self) -> Result<(), Error> {
        match (&self.only_if, self.mode) {
            (None, _) => Ok(()),
            (Some(filter), WriteMode::Upsert | WriteMode::Update) => filter.check("only_if"),
            (Some(_), WriteMode::Insert | WriteMode::Keep) => {
                Err(Error::invalid("only_if", "has no effect, because this mode replaces no point; remove it"))
            }
        }
    }
}

/// Ids of the items that an upsert left out, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedItems {
    /// Their point exists, and the mode only inserts.
    pub existing: Vec<PointId>,
    /// They have no point, and the mode only replaces.
    pub missing: Vec<PointId>,
    /// Their point does not match the condition.
    pub unmatched: Vec<PointId>,
}
