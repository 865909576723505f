//! Groups of rows with identical codes (duplicates), which become one node of the graph. Linked one by one, a thousand
//! identical rows would spend all their links on each other and become an island that no search leaves or finds.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::select_neighbors::Codes;

/// Groups of rows with identical codes.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    /// Head of each group: its smallest row, which is a node; ascending.
    pub(super) heads: Vec<u32>,
    /// Start of each group's other rows in `rows`, and the end.
    pub(super) starts: Vec<u32>,
    /// The other rows.
    pub(super) rows: Vec<u32>,
}

/// Finds the groups: sorts rows by hash, and compares rows with equal hashes.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn find(codes: &Codes<'_>, rows: u32) -> Duplicates {
    let mut hashed: Vec<(u64, u32)> = (0..rows)
        .map(|row| {
            let mut hasher = FxHasher::default();
            hasher.write(codes.row(row));
            (hasher.finish(), row)
        })
        .collect();
    hashed.sort_unstable();
    let mut groups: Vec<(u32, Vec<u32>)> = Vec::new();
    // Rows with one hash, in order. Each pass takes the first and its equals; one pass is enough without collisions.
    for run in hashed.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
        let mut left: Vec<u32> = run.iter().map(|&(_, row)| row).collect();
        while left.len() > 1 {
            let head = left[0];
            let of_head = codes.row(head);
            let (same, others): (Vec<u32>, Vec<u32>) = left[1..].iter().partition(|&&row| codes.row(row) == of_head);
            if !same.is_empty() {
                groups.push((head, same));
            }
            left = others;
        }
    }
    groups.sort_unstable_by_key(|group| group.0);
    let mut duplicates = Duplicates { starts: vec![0], ..Duplicates::default() };
    for (head, rows) in groups {
        duplicates.heads.push(head);
        duplicates.rows.extend(rows);
        duplicates.starts.push(duplicates.rows.len() as u32);
    }
    duplicates
}
