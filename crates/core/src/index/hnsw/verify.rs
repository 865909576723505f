//! Verification of everything that opening does not check: the checksum of each section, and every number in it.

use super::file::Graph;
use super::layout::{NONE, SectionKind};
use crate::index::Error;

impl Graph {
    /// Reads and verifies the whole file: checksums, then the existence of every link, row and duplicate.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the section: rebuild the graph from the vectors.
    pub fn verify(&self) -> Result<(), Error> {
        let corrupt = |what: String| Error::Corrupt { path: self.path().to_owned(), what };
        for kind in SectionKind::ALL {
            let section = &self.header().sections[kind as usize];
            if crc32fast::hash(self.section(kind)) != section.crc {
                let from = section.offset;
                return Err(corrupt(format!(
                    "damaged at byte {from} or after it: the checksum of the {} does not match",
                    kind.name()
                )));
            }
        }
        if self.padding().flatten().any(|&byte| byte != 0) {
            return Err(corrupt("the bytes between the sections are not zero".into()));
        }
        self.check_numbers().map_err(corrupt)
    }

    fn check_numbers(&self) -> Result<(), String> {
        let view = self.view();
        let rows = self.rows();
        let check = |kind: SectionKind, slots: &[u32], nodes: u32| {
            let links = slots.iter().position(|&to| to == NONE).unwrap_or(slots.len());
            let (links, free) = slots.split_at(links);
            if links.iter().all(|&to| to < nodes) && free.iter().all(|&to| to == NONE) {
                Ok(())
            } else {
                Err(format!("the {} lead to nodes that do not exist", kind.name()))
            }
        };
        for row in 0..rows {
            check(SectionKind::Links, view.level_zero().slots(row), rows)?;
        }
        let mut below = rows;
        for (level, nodes) in self.upper(&view).iter().zip(self.header().level_counts()) {
            if level.rows.iter().any(|&row| row >= rows) || level.down.iter().any(|&node| node >= below) {
                return Err("the upper levels name rows that do not exist".into());
            }
            for node in 0..nodes {
                check(SectionKind::Upper, level.links().slots(node), nodes)?;
            }
            below = nodes;
        }
        let ends_right = view.duplicate_starts.first() == Some(&0)
            && view.duplicate_starts.last() == Some(&self.header().duplicates);
        if !ends_right || !view.duplicate_starts.is_sorted() || view.duplicate_rows.iter().any(|&row| row >= rows) {
            return Err("the duplicate groups name rows that do not exist".into());
        }
        let heads = view.duplicate_heads;
        if !heads.is_sorted_by(|a, b| a < b) || heads.iter().any(|&row| row >= rows) {
            return Err("the duplicate heads name rows that do not exist, or are not in order".into());
        }
        Ok(())
    }
}
