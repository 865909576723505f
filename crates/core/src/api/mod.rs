//! Public data types of the database: points, queries, collections, reports, errors, limits. No logic but validation.
//!
//! | file | contents |
//! | --- | --- |
//! | `point.rs` | points: input items, stored points, results of writes |
//! | `query.rs` | queries, search parameters, answers |
//! | `filter.rs`, `filter_check.rs` | filter conditions on payloads and ids; their validation |
//! | `bounds.rs`, `geo.rs` | bounds; areas on the earth |
//! | `number.rs`, `timestamp.rs` | integers and floats in one exact order; times in text |
//! | `collection_info.rs` | collections: parameters, state, generations |
//! | `report.rs` | file checks, recall measurements, explanations |
//! | `stats.rs` | counters of the work done since an engine was opened |
//! | `progress.rs` | progress of long jobs |
//! | `limits.rs` | limits, defaults and input validation |
//! | `cancel.rs` | cancellation of a call whose client has gone |
//! | `response_budget.rs` | the size limit of a response, checked while it is filled |
//! | `error.rs` | the error type |

mod bounds;
mod cancel;
mod collection_info;
mod error;
mod filter;
mod filter_check;
mod geo;
pub mod limits;
mod number;
mod point;
mod progress;
mod query;
mod report;
mod response_budget;
mod stats;
mod timestamp;

pub use bounds::{Bounds, Range};
pub use cancel::CancellationToken;
pub use collection_info::*;
pub use error::{Error, ErrorKind};
pub use filter::{Filter, Scalar};
pub(crate) use filter_check::check_path;
pub use geo::{GeoBox, GeoPoint, GeoPolygon};
pub use number::Number;
pub use point::*;
pub use progress::{Job, Observe};
pub use query::*;
pub use report::*;
pub use response_budget::{Budget, Meter};
pub use stats::{Activity, BOUNDS_MICROS, Durations, Scrub};
pub use timestamp::Timestamp;
