//! Shared by several tests: an in-memory engine as the oracle, and an embedder that needs no training.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod letters;
pub(crate) mod memory_engine;
pub(crate) mod naive;
