//! Fuzz target: segment files, unchanged, and with corrected checksums. No accessor may panic before or after `verify`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::store::{Loss, Segment, SegmentId};
use nearness::types::Ordinal;
use nearness_fuzz::{file, fix_segment, scratch};

fn read(bytes: &[u8]) {
    let id = SegmentId(bytes.get(16..24).map_or(1, |id| u64::from_le_bytes(id.try_into().expect("eight bytes"))));
    let path = file(&id.vectors_file(), bytes);
    if let Ok(segment) = Segment::open(scratch(), id) {
        let intact = segment.verify().is_ok();
        for row in (0..segment.rows().min(200)).chain([segment.rows(), u32::MAX]) {
            let row = Ordinal(row);
            let (id, vector) = (segment.point_id(row).to_owned(), segment.vector(row));
            assert!([0, segment.dimension() as usize].contains(&vector.len()));
            let _ = segment.payload(row);
            let found = segment.find(&id);
            let after = segment.in_order(Some(&id)).take(200).count();
            assert!(!intact || row.0 >= segment.rows() || (found == Some(row) && after < segment.rows() as usize));
        }
        let _ = (segment.norms().len(), segment.in_order(None).take(200).count(), segment.identity());
        assert!(!intact || segment.rows_are_sound() && segment.ids_are_sound() && segment.describe_damage().is_none());
        let scrubbed = segment.scrub(&mut |_| true);
        assert!(!intact || scrubbed.is_ok() && segment.loss() != Loss::Rows);
        let lost: usize = segment.damaged_rows().iter().map(|range| range.len()).sum();
        assert!(lost <= segment.rows() as usize);
    }
    let _ = std::fs::remove_file(path);
}

fuzz_target!(|data: &[u8]| {
    read(data);
    if data.len() >= 256 {
        let mut fixed = data.to_vec();
        fix_segment(&mut fixed);
        read(&fixed);
    }
});
