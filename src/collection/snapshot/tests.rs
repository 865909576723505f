//! Snapshots: taken while writers write, restored, damaged.
