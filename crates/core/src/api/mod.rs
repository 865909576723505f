//! Public data types of the database: points, queries, collections, reports, errors, limits. No logic but validation.
//!
//! | file | contents |
//! | --- | --- |
//! | `point.rs` | points: input items, stored points, results of writes |
//! | `payload_update.rs` | updates of payloads |
//! | `write_mode.rs` | conditions of an upsert |
//! | `query.rs` | queries, search parameters, answers |
//! | `ranking.rs` | what is done with the candidates of a query, and its limits |
//! | `fusion.rs` | keyword queries, and queries that fuse the hits of several others |
//! | `formula.rs` | scores computed from those of a query and from payloads |
//! | `recommend.rs` | queries by examples |
//! | `filter.rs`, `filter_check.rs` | filter conditions on payloads and ids; their validation |
//! | `bounds.rs`, `geo.rs` | bounds; areas on the earth |
//! | `number.rs`, `timestamp.rs` | integers and floats in one exact order; times in text |
//! | `collection_info.rs` | collections: parameters, state, generations |
//! | `facet.rs`, `order.rs` | summaries of payload fields; reads ordered by a field, or at random |
//! | `text_field.rs`, `vector_field.rs` | limits of fields |
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
mod facet;
mod filter;
mod filter_check;
mod formula;
mod fusion;
mod geo;
pub mod limits;
mod number;
mod order;
mod payload_update;
mod point;
mod progress;
mod query;
mod ranking;
mod recommend;
mod report;
mod response_budget;
mod stats;
mod text_field;
mod timestamp;
pub(crate) mod ttl;
mod vector_field;
mod write_mode;

pub use bounds::{Bounds, Range};
pub use cancel::CancellationToken;
pub use collection_info::*;
pub use error::{Error, ErrorKind};
pub(crate) use facet::check_facet;
pub use facet::{Extreme, Facet, FieldReport, FieldStats, TypeCounts, ValueCount};
pub use filter::{Filter, Scalar};
pub(crate) use filter_check::check_path;
pub use formula::*;
pub(crate) use fusion::validate as validate_query;
pub use fusion::{
    Fusion, FusionMethod, Hybrid, KEYWORD_WEIGHT, KeywordOperator, Keywords, MAX_FUSED, MAX_FUSED_FILTERS,
    MAX_FUSED_IN_ALL, MAX_FUSION_DEPTH, MAX_KEYWORDS, MAX_KEYWORDS_BYTES, MIN_CANDIDATES, PartExplanation, PartStats,
    RRF_K, SubQuery, TermExplanation,
};
pub use geo::{GeoBox, GeoPoint, GeoPolygon};
pub use number::Number;
pub(crate) use order::check_page;
pub use order::{OrderBy, OrderedPage, SortKey, SortPosition};
pub use payload_update::*;
pub use point::*;
pub use progress::{Job, Observe};
pub use query::*;
pub use ranking::*;
pub use recommend::*;
pub use report::*;
pub use response_budget::{Budget, Meter};
pub use stats::{Activity, BOUNDS_MICROS, Durations, Scrub};
pub(crate) use text_field::validate as validate_text_fields;
pub use text_field::{
    AnalyzedToken, AnalyzerConfig, Language, MAX_FIELD_NAME_BYTES, MAX_STOP_WORD_BYTES, MAX_STOP_WORDS,
    MAX_TEXT_FIELDS, MAX_TEXT_PATHS, TextField, TextMatch, TextMatchKind,
};
pub use timestamp::Timestamp;
pub use ttl::{Clock, MAX_TTL_SECONDS, Ttl};
pub(crate) use vector_field::validate as validate_vector_fields;
pub use vector_field::{
    FieldQuery, FieldTarget, FieldVector, FieldVectors, MAX_FIELDS_BYTES, MAX_MULTI_COMPONENTS, MAX_MULTI_VECTORS,
    MAX_NONZEROS, MAX_VECTOR_FIELDS, SparseVector, VectorField, VectorKind,
};
pub use write_mode::*;
