//! Every number that a request is held to. Errors name the limit that was passed.

/// Most items of one `Upsert`.
pub const MAX_ITEMS: usize = 10_000;
/// Most ids of one `Get` or `Delete`.
pub const MAX_IDS: usize = 10_000;
/// Most points of one page of a scroll.
pub const MAX_PAGE: u32 = 10_000;
/// Points of a page when the request does not say.
pub const DEFAULT_PAGE: u32 = 100;
/// Most hits of one query, and most words of one answer.
pub const MAX_K: u32 = 10_000;
/// Recall that a query may ask for.
pub const TARGET_RECALL: std::ops::RangeInclusive<f32> = 0.5..=1.0;
/// Most points that a measurement of recall samples.
pub const MAX_SAMPLES: u32 = 10_000;
/// Points that it samples when the request does not say.
pub const DEFAULT_SAMPLES: u32 = 200;
/// Neighbours of each when the request does not say.
pub const DEFAULT_K: u32 = 10;
/// Most candidates of one query.
pub const MAX_EF: u32 = 65_536;
/// Most queries of one `SearchBatch`.
pub const MAX_QUERIES: usize = 1_000;
/// Most hits of one `SearchBatch`: its queries times k.
pub const MAX_BATCH_HITS: usize = 1_000_000;
/// Most terms of word arithmetic, plus and minus together.
pub const MAX_TERMS: usize = 100;
/// Most threads that a training may ask for.
pub const MAX_THREADS: u32 = 1_024;
/// Longest licence of what a model is trained on, bytes.
pub const MAX_LICENCE_BYTES: usize = 1_024;
/// Most components of word vectors that are trained here.
pub const MAX_TRAINED_DIMENSION: usize = crate::collection::limits::MAX_TRAINED_DIMENSION;
/// Most inputs of one `Embed`.
pub const MAX_INPUTS: usize = 1_000;
/// Longest text, bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Largest image, bytes as they arrive.
pub const MAX_IMAGE_BYTES: usize = 16 << 20;
/// Most pixels of all images of a request together: 16 images of the largest size. Files that say of themselves that they are
/// larger than an image may be are refused when they are read.
pub const MAX_REQUEST_PIXELS: u64 = 16 * crate::embed::picture::MAX_PIXELS;
/// Largest payload, bytes as a protobuf message.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Deepest payload: objects and lists inside one another. (Protobuf readers stop at 100 nested messages, and a JSON
/// object takes three; a deeper payload could be sent by some clients and read back by none.)
pub const MAX_PAYLOAD_DEPTH: usize = 32;
/// Largest response to a client that does not say what it can receive: the default limit of gRPC libraries.
pub const DEFAULT_RESPONSE_BYTES: usize = 4 << 20;
/// The metadata in which a client says how many bytes of a response it can receive.
pub const MAX_RESPONSE_BYTES: &str = "nearness-max-response-bytes";
/// Bytes of points after which a page ends, however much the client can receive.
pub const PAGE_BYTES: usize = 16 << 20;
/// Bytes of a page of a scroll that are kept free for its token.
pub const TOKEN_BYTES: usize = 1_024;
