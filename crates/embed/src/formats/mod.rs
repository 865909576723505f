//! Readers of file formats, as streams with bounded memory; used by `load`, `bench`, `import` and the trainings.
//!
//! | file | contents |
//! | --- | --- |
//! | `compressed.rs` | decompression of gzip and zstd streams |
//! | `idx.rs` | IDX, the format of MNIST: arrays of bytes with their dimensions |
//! | `wiki.rs` | articles and paragraphs of WikiExtractor files |
//! | `word2vec.rs` | the text and binary formats of word2vec |

pub mod compressed;
pub mod idx;
pub mod wiki;
pub mod word2vec;
