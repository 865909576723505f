//! The only module that touches the store's files and maps memory.
