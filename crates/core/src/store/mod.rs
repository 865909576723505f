//! Crash-safe storage of vectors: a transactional key-value file and immutable segment files.
//!
//! ```text
//! <data>/LOCK  catalogue.redb                          list of collections                    Catalog
//! <data>/collections/<folder>/points.redb              growing points, segments, deletions    CollectionDb
//! <data>/collections/<folder>/<segment>.vectors        sealed points, memory-mapped           Segment
//! <data>/collections/<folder>/<segment>.<gen>.graph    recorded in CollectionDb, written elsewhere
//! <data>/collections/<folder>/<segment>.payloads       belongs to its segment, written elsewhere
//! <data>/models/<number>/                              model folders, written elsewhere       Models
//! ```
//!
//! A point is either in [`CollectionDb`] (growing) or in one segment, never in both: one transaction moves it. Opening
//! removes unrecorded files that are leftovers, and moves those that may hold points to `<data>/orphans/`.
//! `docs/FORMAT.md` describes the byte formats.
//!
//! | file | contents |
//! | --- | --- |
//! | `error.rs` | [`Error`] |
//! | `identity.rs` | [`Owner`], [`CollectionDir`]: which files belong together |
//! | `orphan.rs` | [`OrphanFile`]: files without a record, and their fate |
//! | `kv/` | opening, verifying and committing redb files; the storage backend of redb |
//! | `record.rs` | record of a collection, and its JSON |
//! | `catalog/` | [`Catalog`] |
//! | `models.rs` | [`Models`]: installed models and uploads |
//! | `collection_db/` | [`CollectionDb`], [`Change`] |
//! | `segment/` | [`Segment`], [`SegmentWriter`] and the file format |
//! | `body.rs` | payload and field vectors of a stored point |
//! | `vector_field.rs` | [`VectorField`]: definition of a vector field |

pub mod body;
mod catalog;
mod collection_db;
mod error;
mod identity;
mod kv;
mod models;
mod orphan;
mod record;
mod segment;
mod vector_field;

pub use crate::disk::ErrorKind;
pub use catalog::{Catalog, Changed, Listed, Prepared, SegmentSummary, Summary, check_value};
pub use collection_db::point_record::{decode as decode_point, encode as encode_point};
pub use collection_db::{Change, CollectionDb, ReferenceVector, SegmentRecord, Visit};
pub use error::Error;
pub use identity::{CollectionDir, Owner};
pub use models::{Models, Upload};
pub use orphan::{OrphanAction, OrphanFile};
pub use record::{CollectionRecord, EmbedderRecord, Entry};
pub use segment::{Loss, Segment, SegmentId, SegmentWriter, damage_found};
pub use vector_field::{VectorField, VectorKind};

/// Parses a folder number in the form that this program writes. Other folders are never removed.
fn folder_number(name: &str) -> Option<u64> {
    let plain = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if plain { u64::from_str_radix(name, 16).ok() } else { None }
}
