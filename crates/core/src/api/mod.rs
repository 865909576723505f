//! Public data types of the database: points, queries, collections, reports, errors, limits. No logic but validation.
//!
//! | file | contents |
//! | --- | --- |
//! | `point.rs` | points: input items, stored points, results of writes |
//! | `query.rs` | queries, search parameters, answers |
//! | `filter.rs`, `number.rs` | filter conditions on payloads; integers and floats in one exact order |
//! | `collection_info.rs` | collections: parameters, state, generations |
//! | `facet.rs`, `order.rs` | summaries of payload fields; reads ordered by a field, or at random |
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
mod facet;
mod filter;
pub mod limits;
mod number;
mod order;
mod point;
mod progress;
mod query;
mod report;
mod response_budget;
mod stats;

pub use cancel::CancellationToken;
pub use collection_info::*;
pub use error::{Error, ErrorKind};
pub(crate) use facet::check_facet;
pub use facet::{Extreme, Facet, FieldReport, FieldStats, TypeCounts, ValueCount};
pub(crate) use filter::check_path;
pub use filter::{Filter, Range, Scalar};
pub use number::Number;
pub(crate) use order::check_page;
pub use order::{OrderBy, OrderedPage, SortKey, SortPosition};
pub use point::*;
pub use progress::{Job, Observe};
pub use query::*;
pub use report::*;
pub use response_budget::{Budget, Meter};
pub use stats::{Activity, BOUNDS_MICROS, Durations, Scrub};
