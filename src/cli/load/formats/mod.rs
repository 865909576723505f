//! File formats: detection, and readers.
//!
//! | file | contents |
//! | --- | --- |
//! | `detect.rs` | format detection |
//! | `unsupported.rs` with `tables.rs` | recognition of unsupported formats and tables, with their conversion |
//! | `files.rs` | all files as one stream |
//! | `lines.rs` `wiki.rs` `json.rs` with `values.rs` `word2vec.rs` `images.rs` | readers, one per format |
//! | `rows.rs` with `vecs.rs` `fbin.rs` `npy.rs` `idx.rs` | readers of plain vectors, shared with `bench` |

pub(super) mod detect;
mod fbin;
pub(crate) mod files;
#[cfg(test)]
pub(super) mod fixture;
mod idx;
pub(super) mod images;
mod json;
mod lines;
mod npy;
mod rows;
mod tables;
mod unsupported;
mod values;
mod vecs;
mod wiki;
mod word2vec;
