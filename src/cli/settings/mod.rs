//! Server configuration from flags, environment variables, a file and defaults, in this order of precedence.
//!
//! | file | contents |
//! | --- | --- |
//! | `args.rs` | the flags of `serve` and their environment variables |
//! | `file.rs` | the file and all its keys; unknown keys are refused |
//! | `access.rs` | the section on access control |
//! | `resolve.rs` | the combined configuration |

mod access;
mod args;
mod file;
mod resolve;

pub(crate) use args::{LogFormat, ServeArgs, WebListen};
pub(crate) use resolve::{Settings, web};
