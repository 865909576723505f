//! Limits of requests. Errors name the limit that was exceeded.

/// Maximum number of items per `Upsert`.
pub const MAX_ITEMS: usize = 10_000;
/// Maximum number of ids per `Get` or `Delete`.
pub const MAX_IDS: usize = 10_000;
/// Maximum number of points per scroll page.
pub const MAX_PAGE: u32 = 10_000;
/// Default number of points per scroll page.
pub const DEFAULT_PAGE: u32 = 100;
/// Maximum number of hits per query, and of words per response.
pub const MAX_K: u32 = 10_000;
/// Valid range of the target recall.
pub const TARGET_RECALL: std::ops::RangeInclusive<f32> = 0.5..=1.0;
/// Maximum number of sampled points of a recall measurement.
pub const MAX_SAMPLES: u32 = 10_000;
/// Default number of sampled points.
pub const DEFAULT_SAMPLES: u32 = 200;
/// Default number of neighbours per sampled point.
pub const DEFAULT_K: u32 = 10;
/// Maximum candidate list size of a query.
pub const MAX_EF: u32 = 65_536;
/// Maximum number of queries per `SearchBatch`.
pub const MAX_QUERIES: usize = 1_000;
/// Maximum number of hits per `SearchBatch`: queries times k.
pub const MAX_BATCH_HITS: usize = 1_000_000;
/// Maximum number of terms of vector arithmetic, plus and minus together.
pub const MAX_TERMS: usize = 100;
/// Maximum number of training threads.
pub const MAX_THREADS: u32 = 1_024;
/// Maximum length of the licence of training data, bytes.
pub const MAX_LICENCE_BYTES: usize = 1_024;
/// Maximum number of components of trained word vectors.
pub const MAX_TRAINED_DIMENSION: usize = crate::api::limits::MAX_TRAINED_DIMENSION;
/// Maximum number of inputs per `Embed`.
pub const MAX_INPUTS: usize = 1_000;
/// Maximum length of a text, bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Maximum size of an image, bytes as received.
pub const MAX_IMAGE_BYTES: usize = 16 << 20;
/// Maximum size of a payload, bytes as a protobuf message.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Maximum depth of a payload: nested objects and lists. (Protobuf readers stop at 100 nested messages, and a JSON
/// object takes three. Some clients could send a deeper payload, but none could read it back.)
pub const MAX_PAYLOAD_DEPTH: usize = 32;
/// Default response limit, the default of gRPC libraries; used if the client does not send one.
pub const DEFAULT_RESPONSE_BYTES: usize = 4 << 20;
/// Metadata key for the maximum response size of a client, in bytes.
pub const MAX_RESPONSE_BYTES: &str = "nearness-max-response-bytes";
/// Size of the points after which a page ends, regardless of the response limit, bytes.
pub const PAGE_BYTES: usize = 16 << 20;
/// Bytes of a scroll page that are reserved for its token.
pub const TOKEN_BYTES: usize = 1_024;
