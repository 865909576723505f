//! How a server is set up: flags, then environment variables, then one file, then defaults. The first that says
//! something about a setting decides it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `args.rs` | the flags of `serve` and their environment variables |
//! | `file.rs` | the file: every key, unknown ones refused |
//! | `access.rs` | its section about who may come in |
//! | `resolve.rs` | what all of them mean together |

mod access;
mod args;
mod file;
mod resolve;

pub(crate) use args::{LogFormat, ServeArgs, WebListen};
pub(crate) use resolve::{Settings, web};
