//! Key-value files: redb with checks.
//!
//! | file | contents |
//! | --- | --- |
//! | `db.rs` | opening, verifying and committing redb files |
//! | `backend.rs` | the storage backend of redb |

mod backend;
pub(super) mod db;
