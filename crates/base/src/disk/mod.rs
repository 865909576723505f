//! File access and memory maps; the only module that touches the store's files.
//!
//! ```text
//! write   AtomicFile / publish: <name>.<n>.tmp -> write -> fsync -> rename to <name> -> fsync of the folder
//! read    Mapping:              a whole published file, read-only; published files never change
//! own     DirLock:              one process per data directory
//! ```
//!
//! Invariant: a file has its final name only when it is complete and durable.
//!
//! Files are created with mode 0600, folders with 0700.
//!
//! | file | contents |
//! | --- | --- |
//! | `error.rs` | [`Error`], [`ErrorKind`] |
//! | `fs.rs` | the [`Fs`] trait: all changes of a data directory, so that tests can inject failures |
//! | `atomic_file.rs` | [`publish`], [`AtomicFile`], [`FileWriter`], [`SpillFile`] |
//! | `mmap.rs` | [`Mapping`], [`FileBytes`]: mmap, madvise, mincore |
//! | `huge_pages.rs` | [`vec_with_capacity`]: large arrays on huge pages |
//! | `malloc.rs` | [`limit_malloc_arenas`], [`trim_malloc`] |
//! | `memory.rs` | [`memory_status`]: limits of cgroups and of the machine |
//! | `thread_priority.rs` | [`lower_thread_priority`]: lowered priority of background threads |
//! | `lock.rs` | [`DirLock`] |
//! | `folder.rs` | folders: create, list, move aside, remove, free space |

mod atomic_file;
mod error;
mod folder;
mod fs;
mod huge_pages;
mod lock;
mod malloc;
mod memory;
mod mmap;
mod thread_priority;

pub use atomic_file::{AtomicFile, FileWriter, SectionMark, SpillFile, publish};
pub use error::{Error, ErrorKind};
pub use folder::{
    create_folder, file_len, free_bytes, list_files, list_folders, mode_for_others, move_aside, remove_file,
    remove_folder, sync_folder,
};
#[doc(hidden)]
pub use fs::crash_fs;
pub use fs::{Fs, FsFile, FsRandom, RealFs, create_private_dirs, private_file, real_fs};
pub use huge_pages::vec_with_capacity;
pub use lock::DirLock;
pub use malloc::{limit_malloc_arenas, trim_malloc};
pub use memory::{MemoryStatus, memory_status};
pub use mmap::{FileBytes, Mapping};
pub use thread_priority::lower_thread_priority;
