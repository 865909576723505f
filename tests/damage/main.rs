//! Damage to one collection affects neither the server nor other collections; it is detected, reported, and repaired
//! without guessing.
#![allow(clippy::print_stdout, reason = "prints counts of damages")]

mod everywhere;
mod foreign_files;
mod indexes;
mod repair;
mod serving;
mod support;
