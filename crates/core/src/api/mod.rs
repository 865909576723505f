//! Public data types of the database: points, queries, collections, reports, errors, limits. No logic but validation.
//!
//! | file | contents |
//! | --- | --- |
//! | `point.rs` | points: input items, stored points, results of writes |
//! | `payload_update.rs` | updates of payloads |
//! | `write_mode.rs` | conditions of an upsert |
//! | `query.rs` | queries, search parameters, answers |
//! | `filter.rs`, `number.rs` | filter conditions on payloads; integers and floats in one exact order |
//! | `collection_info.rs` | collections: parameters, state, generations |
//! | `report.rs` | file checks, recall measurements, explanations |
//! | `stats.rs` | counters of the work done since an engine was opened |
//! | `progress.rs` | progress of long jobs |
//! | `limits.rs` | limits, defaults and input validation |
//! | `cancel.rs` | cancellation of a call whose client has gone |
//! | `response_budget.rs` | the size limit of a response, checked while it is filled |
//! | `error.rs` | the error type |

mod cancel;
mod collection_info;
mod error;
mod filter;
pub mod limits;
mod number;
mod payload_update;
mod point;
mod progress;
mod query;
mod report;
mod response_budget;
mod stats;
mod write_mode;

pub use cancel::CancellationToken;
pub use collection_info::*;
pub use error::{Error, ErrorKind};
pub(crate) use filter::check_path;
pub use filter::{Filter, Range, Scalar};
pub use number::Number;
pub use payload_update::*;
pub use point::*;
pub use progress::{Job, Observe};
pub use query::*;
pub use report::*;
pub use response_budget::{Budget, Meter};
pub use stats::{Activity, BOUNDS_MICROS, Durations, Scrub};
pub use write_mode::*;
