//! Vectors that survive a crash: a key-value file that is the truth, and segment files that never change.
//!
//! ```text
//! <data>/LOCK  catalogue.redb                          which collections there are        Catalogue
//! <data>/collections/<folder>/points.redb              growing points, segments, deletions    Truth
//! <data>/collections/<folder>/<segment>.vectors        sealed points, mapped                Segment
//! <data>/collections/<folder>/<segment>.<gen>.graph    named by the truth, written by others
//! <data>/collections/<folder>/<segment>.payloads       belongs to its segment, written by others
//! <data>/models/<number>/                              model folders, written by others                Models
//! ```
//!
//! A point is in the truth (growing) or in one segment, never in both: one transaction moves it. Files that no transaction names
//! are removed at open if they are leftovers, and moved to `<data>/orphans/` if they may hold points. The bytes are described
//! in `docs/FORMAT.md`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `error.rs` | [`Error`] |
//! | `identity.rs` | [`Owner`], [`CollectionDir`]: which files belong together |
//! | `orphan.rs` | [`Unnamed`]: files that no record names, and what becomes of them |
//! | `kv.rs`, `kv_file.rs` | how the key-value files are opened, verified and committed; what redb reads and writes |
//! | `record.rs` | what is known of a collection, and its stored form |
//! | `catalogue.rs` | [`Catalogue`] |
//! | `models.rs` | [`Models`]: installed models, and files on their way in |
//! | `truth.rs` | [`Truth`], [`Change`] |
//! | `segment/` | [`Segment`], [`SegmentWriter`] and the bytes of the file |

mod catalogue;
mod error;
mod identity;
mod kv;
mod kv_file;
mod models;
mod orphan;
mod record;
mod segment;
mod truth;

pub use crate::disk::ErrorKind;
pub use catalogue::{Catalogue, Changed, Listed, Prepared};
pub use error::Error;
pub use identity::{CollectionDir, Owner};
pub use models::{Models, Upload};
pub use orphan::{Fate, Unnamed};
pub use record::{CollectionRecord, EmbedderRecord, Entry};
pub use segment::{Loss, Segment, SegmentId, SegmentWriter, damage_found};
pub use truth::point::{decode as decode_point, encode as encode_point};
pub use truth::{Canary, Change, SegmentRecord, Truth, Visit};

/// The number of a folder that we may have made: what we did not make, we do not sweep.
fn folder_number(name: &str) -> Option<u64> {
    let plain = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if plain { u64::from_str_radix(name, 16).ok() } else { None }
}
