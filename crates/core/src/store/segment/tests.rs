//! Tests of segments: round trips, crashes at any moment, truncation, and bit flips.

use super::*;
use crate::disk::crash_fs::{CrashFs, Plan, Unsynced};
use crate::disk::{ErrorKind, Fs, list_files};
use crate::math::{Components, Element};
use crate::quick_dir;
use crate::store::Error;
use crate::types::{Identity, Ordinal};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const ID: SegmentId = SegmentId(0x1f);
const OWNER: Identity = Identity([7; 16]);

type Row<'a> = (&'a str, [f32; 3], &'a [u8]);

const ROWS: [Row<'_>; 5] = [
    ("pear", [1.0, 2.0, 2.0], b"{\"a\":1}"),
    ("apple", [0.0, 3.0, 4.0], b"{}"),
    ("a", [-1.0, 0.5, 1e-30], b""),
    ("apple pie, eaten", [3e38, 3e38, 0.0], b"{\"long\": [1, 2, 3]}"),
    ("\u{e4}pfel", [1.0, -1.0, 0.25], b"{}"),
];

fn write(dir: &Path) -> Segment {
    let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir, ID, 3, OWNER).unwrap();
    for (row, (id, vector, payload)) in ROWS.iter().enumerate() {
        assert_eq!(writer.append(id, vector, payload).unwrap(), Ordinal(row as u32));
    }
    writer.finish().unwrap()
}

/// Calls every accessor, with rows in and out of range.
fn touch(segment: &Segment) -> usize {
    let mut seen = segment.vectors().len() + segment.norms().len() + segment.resident_bytes() as usize;
    for row in (0..segment.rows().min(100) + 2).chain([u32::MAX]).map(Ordinal) {
        seen += segment.vector(row).len() + segment.point_id(row).len() + segment.payload(row).len();
    }
    for id in ["", "a", "apple", "pear", "zzz"] {
        seen += usize::from(segment.find(id).is_some()) + segment.in_order(Some(id)).count();
    }
    seen
}

#[test]
fn a_segment_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let segment = Segment::open(dir.path(), ID).unwrap();
    segment.verify().unwrap();
    assert_eq!((segment.id(), segment.rows(), segment.dimension()), (ID, 5, 3));
    for (row, (id, vector, payload)) in ROWS.iter().enumerate() {
        let row = Ordinal(row as u32);
        assert_eq!(
            (segment.point_id(row), &segment.vector(row)[..], segment.payload(row)),
            (*id, &vector[..], *payload)
        );
        assert_eq!(segment.find(id), Some(row));
    }
    assert_eq!(segment.norms()[..2], [3.0, 5.0]);
    assert_eq!(segment.norms()[3], f32::INFINITY, "a norm beyond f32 is infinite");
    assert_eq!(segment.identity(), Some(OWNER));
    assert_eq!(segment.in_order(None).map(|row| row.0).collect::<Vec<_>>(), [2, 1, 3, 0, 4]);
    assert_eq!((segment.find("apples"), segment.find("")), (None, None));
    let after = |id| segment.in_order(Some(id)).map(|row| row.0).collect::<Vec<_>>();
    assert_eq!([after(""), after("a"), after("b")], [&[2, 1, 3, 0, 4][..], &[1, 3, 0, 4], &[0, 4]]);
    assert_eq!((&segment.vector(Ordinal(5))[..], segment.point_id(Ordinal(5))), (&[][..], ""));
    assert!(matches!(segment.vectors(), Components::F32(all) if all.as_ptr().addr() % 64 == 0));
    assert_eq!(segment.mapped_bytes(), std::fs::metadata(segment.path()).unwrap().len());
    assert!(segment.resident_bytes() <= segment.mapped_bytes());
    assert_eq!(list_files(dir.path()).unwrap(), ["000000000000001f.vectors"]);
    assert_eq!(ID.graph_file(2), "000000000000001f.2.graph");
}

#[test]
fn vectors_are_stored_in_the_narrowest_type_that_holds_all_of_them() {
    // Vectors in sequence, and the element type that stores all of them.
    let whole = [3.0, 255.0, 0.0];
    let signed = [-3.0, 100.0, 127.0];
    let fine = [0.5, -63.5, 0.0];
    let half = [0.333_251_95, 1000.0, -0.0];
    let float = [0.1, 1e-30, -1e30];
    for (vectors, element) in [
        (vec![whole, whole], Element::U8),
        (vec![signed, fine, [0.0; 3]], Element::I8),
        (vec![[1.0, 2.0, 3.0], signed], Element::I8),
        (vec![whole, signed], Element::F16),
        (vec![signed, half], Element::F16),
        (vec![whole, whole, half, fine], Element::F16),
        (vec![whole, float], Element::F32),
        (vec![signed, fine, half, float, whole], Element::F32),
        (vec![float, whole, whole], Element::F32),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, 3, OWNER).unwrap();
        // Many vectors before the wider one, so that more than one buffer is rewritten.
        let times = if vectors.len() == 2 { 200_000 } else { 1 };
        let mut given: Vec<[f32; 3]> = vec![vectors[0]; times];
        given.extend(&vectors[1..]);
        for (row, vector) in given.iter().enumerate() {
            writer.append(&format!("p{row}"), vector, b"x").unwrap();
        }
        let segment = writer.finish().unwrap();
        segment.verify().unwrap();
        assert_eq!(segment.vectors().element(), element, "{vectors:?}");
        for (row, vector) in given.iter().enumerate() {
            let stored: Vec<u32> = segment.vector(Ordinal(row as u32)).iter().map(|x| x.to_bits()).collect();
            assert_eq!(stored, vector.map(f32::to_bits), "row {row} of {vectors:?}");
            assert_eq!(segment.norms()[row], crate::math::norm(vector));
        }
        assert_eq!(list_files(dir.path()).unwrap(), ["000000000000001f.vectors"], "no side file stays");
        // Every changed byte and every truncation is found.
        let bytes = std::fs::read(segment.path()).unwrap();
        if bytes.len() < 2000 {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                std::fs::write(segment.path(), &damaged).unwrap();
                let found = Segment::open(dir.path(), ID).and_then(|segment| {
                    touch(&segment);
                    segment.verify()
                });
                assert!(found.is_err(), "byte {at} of {vectors:?}");
                std::fs::write(segment.path(), &bytes[..at]).unwrap();
                assert!(Segment::open(dir.path(), ID).is_err(), "cut at {at}");
            }
        }
    }
}

#[test]
fn the_tag_follows_the_content() {
    let tag = |payload: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, 1, OWNER).unwrap();
        writer.append("a", &[1.0], payload).unwrap();
        writer.finish().unwrap().tag()
    };
    assert_eq!(tag(b"x"), tag(b"x"));
    assert_ne!(tag(b"x"), tag(b"y"));
}

#[test]
fn an_empty_segment_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let segment = SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, 3, OWNER).unwrap().finish().unwrap();
    segment.verify().unwrap();
    assert_eq!((segment.rows(), segment.vectors().len(), segment.find("a")), (0, 0, None));
    touch(&segment);
}

#[test]
fn points_without_vectors_are_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, 0, OWNER).unwrap();
    assert!(writer.append("a", &[1.0], b"{}").is_err());
    for row in 0..3_000 {
        writer.append(&format!("p{row}"), &[], format!("{row}").as_bytes()).unwrap();
    }
    let segment = writer.finish().unwrap();
    segment.verify().unwrap();
    let row = segment.find("p2999").unwrap();
    assert_eq!((segment.payload(row), segment.vector(row).len()), (&b"2999"[..], 0));
    assert_eq!(segment.salvageable().map(|rows| rows.len()), Some(3_000));
    assert!(segment.vector_is_sound(row));
}

#[test]
fn invalid_points_are_refused_and_leave_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let large = crate::types::MAX_DIMENSION + 1;
    assert!(SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, large, OWNER).is_err());
    let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, 2, OWNER).unwrap();
    writer.append("same", &[1.0, 2.0], b"").unwrap();
    let error = writer.append("b", &[1.0], b"").unwrap_err().to_string();
    assert!(error.contains("\"b\" has 1 components, not 2"), "{error}");
    assert!(writer.append("", &[1.0, 2.0], b"").is_err());
    assert!(writer.append(&"x".repeat(129), &[1.0, 2.0], b"").is_err());
    writer.append("other", &[1.0, 2.0], b"").unwrap();
    writer.append("same", &[3.0, 4.0], b"").unwrap();
    let error = writer.finish().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("\"same\" is in rows 0 and 2") || error.contains("\"same\" is in rows 2 and 0"), "{error}");
    drop(SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, 2, OWNER).unwrap());
    assert!(list_files(dir.path()).unwrap().is_empty());
}

#[test]
fn every_cut_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(write(dir.path()).path()).unwrap();
    let path = dir.path().join(ID.vectors_file());
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = Segment::open(dir.path(), ID).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert_eq!(Segment::open(dir.path(), ID).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt, "a byte too many");
    std::fs::write(&path, &whole).unwrap();
    Segment::open(dir.path(), ID).unwrap().verify().unwrap();
    std::fs::copy(&path, dir.path().join(SegmentId(3).vectors_file())).unwrap();
    let error = Segment::open(dir.path(), SegmentId(3)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "another segment's file: {error}");
}

#[test]
fn every_flipped_bit_is_found_and_readable_rows_are_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(write(dir.path()).path()).unwrap();
    let path = dir.path().join(ID.vectors_file());
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Create a new file: a mapped file must not be modified.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &damaged).unwrap();
        let segment = Segment::open(dir.path(), ID).expect("of two headers one is sound");
        touch(&segment);
        for (row, (id, vector, payload)) in ROWS.iter().enumerate() {
            let (index, row) = (row, Ordinal(row as u32));
            let found = segment.vector(row);
            assert!(found.is_empty() || (&found[..] == vector && segment.norms()[index] == crate::math::norm(vector)));
            assert!(["", id].contains(&segment.point_id(row)));
            assert!(segment.payload(row).is_empty() || segment.payload(row) == *payload);
            assert!([None, Some(row)].contains(&segment.find(id)));
        }
        let error = segment.verify().expect_err(&format!("bit {bit} is not found"));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let loss = segment.loss();
        assert!(loss != Loss::Segment, "bit {bit}: {loss:?}");
        assert_eq!(loss == Loss::Rows, segment.describe_damage().is_some(), "bit {bit}");
    }
}

/// Id, vector and payload of a stored row.
type Stored = (String, Vec<f32>, Vec<u8>);

/// Writes a segment of many blocks, with components computed by `of`; returns it and its rows.
fn write_blocks(dir: &Path, of: impl Fn(usize) -> f32) -> (Segment, Vec<Stored>) {
    const DIMENSION: usize = 40;
    let rows: Vec<_> = (0..1_000_usize)
        .map(|row| {
            let vector = (0..DIMENSION).map(|index| of(row * 31 + index * 17)).collect::<Vec<f32>>();
            (format!("p{}", row * 7_919 % 1_000), vector, format!("{{\"n\":{row}}}").into_bytes())
        })
        .collect();
    let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir, ID, DIMENSION as u32, OWNER).unwrap();
    rows.iter().for_each(|(id, vector, payload)| _ = writer.append(id, vector, payload).unwrap());
    (writer.finish().unwrap(), rows)
}

#[test]
fn damage_costs_the_rows_of_its_blocks_and_no_others() {
    let kinds: [&dyn Fn(usize) -> f32; 3] =
        [&|at| (at % 251) as f32, &|at| (at % 101) as f32 - 50.0, &|at| (at % 101) as f32 / 3.0];
    for of in kinds {
        let dir = tempfile::tempdir().unwrap();
        let (segment, rows) = write_blocks(dir.path(), of);
        segment.verify().unwrap();
        let whole = std::fs::read(segment.path()).unwrap();
        let path = dir.path().join(ID.vectors_file());
        let layout = layout::Layout::decode(&path, &whole, ID).unwrap();
        let can_be_computed = [layout::Section::Sorted, layout::Section::Sums].map(|section| layout.range(section));
        let mut costs = [0; 3];
        for at in (0..whole.len()).step_by(whole.len() / 97) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &damaged).unwrap();
            // Nothing was verified before: the iteration itself finds the damage.
            let walked = Segment::open(dir.path(), ID).unwrap();
            let walked: Vec<String> = walked.in_order(None).map(|row| walked.point_id(row).to_owned()).collect();
            let segment = Segment::open(dir.path(), ID).unwrap();
            let mut seen = 0;
            for (row, (id, vector, payload)) in rows.iter().enumerate() {
                let row = Ordinal(row as u32);
                let readable =
                    [&segment.vector(row)[..] == vector, segment.point_id(row) == id, segment.payload(row) == payload];
                let lost = segment.damaged_rows().iter().any(|range| range.contains(&row.0));
                assert!(lost || readable == [true; 3], "byte {at}, row {row:?}: {readable:?}");
                assert!(!readable[1] || segment.find(id) == Some(row), "byte {at}: {id} is found by its id");
                seen += u32::from(readable[1]);
            }
            let ordered: Vec<&str> = segment.in_order(None).map(|row| segment.point_id(row)).collect();
            assert!(ordered.is_sorted() && ordered.len() == seen as usize, "byte {at}");
            assert!(walked.iter().eq(&ordered), "byte {at}");
            let lost: usize = segment.damaged_rows().iter().map(|range| range.len()).sum();
            assert!(lost <= 128, "byte {at}: {lost} rows, of at most two blocks of 64");
            assert!(
                lost == 0 || !can_be_computed.iter().any(|range| range.contains(&at)),
                "byte {at} costs {lost} rows"
            );
            let salvaged = segment.salvageable().unwrap();
            assert!(salvaged.len() >= 1_000 - lost, "byte {at}");
            costs[lost.div_ceil(64)] += 1;
            // A scrub finds the same damage as the reads.
            let again = Segment::open(dir.path(), ID).unwrap();
            let mut bytes = 0;
            let frame = again.scrub(&mut |step| {
                bytes += step;
                true
            });
            assert_eq!(again.damaged_rows(), segment.damaged_rows(), "byte {at}");
            assert!(bytes > 0 && (lost == 0) == again.describe_damage().is_none());
            assert!(lost > 0 || frame.is_err(), "byte {at} is found");
        }
        assert!(costs[1] > 50, "{costs:?}");
    }
}

/// Converts a segment file to version 1 or 2.
fn in_the_old_format(bytes: &[u8]) -> Vec<u8> {
    let new = layout::Layout::decode(Path::new("x"), bytes, ID).unwrap();
    let mut old = layout::Layout { blocks: None, ..new.clone() };
    let mut file = vec![0; old.header_len()];
    for section in old.present() {
        file.resize(file.len().next_multiple_of(layout::ALIGNMENT as usize), 0);
        old.sections[section as usize].offset = file.len() as u64;
        file.extend(&bytes[new.range(section)]);
    }
    old.sections[layout::Section::Sums as usize] = Default::default();
    let header = old.encode();
    file[..header.len()].copy_from_slice(&header);
    file
}

#[test]
fn files_of_old_formats_are_read_and_damaged_by_an_invalid_id() {
    for of in [|at: usize| (at % 251) as f32, |at: usize| (at % 101) as f32 / 3.0] {
        let dir = tempfile::tempdir().unwrap();
        let (segment, rows) = write_blocks(dir.path(), of);
        let path = segment.path().to_owned();
        let old = in_the_old_format(&std::fs::read(&path).unwrap());
        let open = |bytes: &[u8]| {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            Segment::open(dir.path(), ID).unwrap()
        };
        let sound = open(&old);
        sound.verify().unwrap();
        assert_eq!((sound.identity(), sound.damage_found()), (None, 0));
        assert!(sound.scrub(&mut |_| true).is_ok() && sound.verify_rows().is_ok() && sound.rows_are_sound());
        for (row, (id, vector, payload)) in rows.iter().enumerate() {
            let row = Ordinal(row as u32);
            assert_eq!((&segment.vector(row)[..], segment.payload(row)), (&vector[..], &payload[..]));
            assert_eq!((sound.point_id(row), sound.find(id)), (id.as_str(), Some(row)));
        }
        let layout = layout::Layout::decode(&path, &old, ID).unwrap();
        let mut damaged = old.clone();
        damaged[layout.range(layout::Section::Ids).start + 1] = 0xff;
        let segment = open(&damaged);
        assert_eq!((segment.find("p500"), segment.damage_found()), (rows_of(&rows, "p500"), 0), "not on the way");
        assert_eq!(
            (segment.point_id(Ordinal(0)), segment.damaged_rows()),
            ("", Vec::from_iter(std::iter::once(0..1_000)))
        );
        assert!(segment.is_lost() && segment.loss() == Loss::Segment);
        let scrubbed = open(&damaged);
        scrubbed.scrub(&mut |_| true).unwrap();
        assert!(scrubbed.is_lost());
    }
}

fn rows_of(rows: &[(String, Vec<f32>, Vec<u8>)], id: &str) -> Option<Ordinal> {
    rows.iter().position(|(other, ..)| other == id).map(|row| Ordinal(row as u32))
}

#[test]
fn invalid_bytes_with_valid_checksums_are_found_by_verify() {
    #[track_caller]
    fn check(section: layout::Section, at: usize, byte: u8) {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read(write(dir.path()).path()).unwrap();
        let path = dir.path().join(ID.vectors_file());
        let mut layout = layout::Layout::decode(&path, &bytes, ID).unwrap();
        let range = layout.range(section);
        assert_ne!(bytes[range.start + at], byte);
        bytes[range.start + at] = byte;
        let crc = crc32fast::hash(&bytes[range]);
        layout.sections[section as usize].crc = crc;
        let sums = layout.range(layout::Section::Sums);
        bytes[sums.start + 4 * section as usize..][..4].copy_from_slice(&crc.to_le_bytes());
        layout.sections[layout::Section::Sums as usize].crc = crc32fast::hash(&bytes[sums]);
        let (header, copy) = (layout.encode(), bytes.len() - layout::HEADER);
        bytes[..layout::HEADER].copy_from_slice(&header);
        bytes[copy..].copy_from_slice(&header);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let segment = Segment::open(dir.path(), ID).unwrap();
        touch(&segment);
        assert_eq!(segment.verify().unwrap_err().kind(), ErrorKind::Corrupt, "{section:?} {at}");
    }
    use layout::Section::{IdEnds, Ids, PayloadEnds, Sorted};
    check(IdEnds, 7, 0xff); // an id that begins beyond all
    check(IdEnds, 0, 1); // the first id does not begin at 0
    check(IdEnds, 20, 1); // the last end is not the end
    check(PayloadEnds, 15, 0xff);
    check(PayloadEnds, 8, 200); // ends descend
    check(Ids, 0, 0xff); // not UTF-8
    check(Ids, 4, b'z'); // out of order
    check(Sorted, 0, 1); // a row twice
    check(Sorted, 3, 0xff); // a row out of range
}

#[test]
fn a_header_with_huge_numbers_is_refused_before_any_allocation() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(write(dir.path()).path()).unwrap();
    let path = dir.path().join(ID.vectors_file());
    let good = layout::Layout::decode(&path, &bytes, ID).unwrap();
    let check = |change: &dyn Fn(&mut layout::Layout)| {
        let mut layout = good.clone();
        change(&mut layout);
        let mut bytes = bytes.clone();
        let copy = bytes.len() - layout::HEADER;
        bytes[copy..].fill(0);
        bytes[..layout::HEADER].copy_from_slice(&layout.encode());
        assert_eq!(layout::Layout::decode(&path, &bytes, ID).unwrap_err().kind(), ErrorKind::Corrupt);
    };
    check(&|layout| layout.rows = u32::MAX);
    check(&|layout| layout.rows = 4);
    check(&|layout| layout.dimension = 65_536);
    check(&|layout| layout.dimension = 0);
    check(&|layout| layout.dimension = u32::MAX);
    check(&|layout| layout.sections[6].offset = 0);
    check(&|layout| layout.sections[5].length = u64::MAX / 2);
    check(&|layout| layout.sections[0].offset += 64);
    check(&|layout| layout.sections[3].length = 1 << 33);
    for rows in [0, 3, 8_192] {
        check(&|layout| layout.blocks = layout.blocks.map(|blocks| layout::Blocks { rows, ..blocks }));
    }
}

/// Writes the segment to a file system that may fail.
fn write_on(fs: &CrashFs, dir: &Path) -> Result<(), Error> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut writer = SegmentWriter::create(&fs, dir, ID, 3, OWNER)?;
    for (id, vector, payload) in ROWS {
        writer.append(id, &vector, payload)?;
    }
    writer.finish().map(drop)
}

#[test]
fn a_crash_at_any_moment_leaves_no_segment_or_a_complete_one() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    write_on(&fs, dir.path()).unwrap();
    assert_eq!(fs.syncs(), 2);
    let mut appeared = 0;
    for moment in 0..=fs.now() {
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..5).map(Unsynced::Torn)) {
            let image = quick_dir();
            fs.image(moment, unsynced, image.path());
            if image.path().join(ID.vectors_file()).exists() {
                let segment = Segment::open(image.path(), ID).unwrap();
                segment.verify().unwrap();
                assert_eq!(segment.rows(), 5);
                appeared += 1;
            } else {
                assert!(moment < fs.now(), "acknowledged, and not there: {unsynced:?}");
            }
        }
    }
    assert!(appeared >= 8, "after the folder's sync always, after the rename where names are kept: {appeared}");
}

#[test]
fn a_full_disk_or_a_failed_sync_leaves_nothing() {
    for (plan, kind) in [(Plan::FullAfter(300), ErrorKind::Exhausted), (Plan::FailSync(0), ErrorKind::Internal)] {
        let dir = tempfile::tempdir().unwrap();
        let fs = CrashFs::new(dir.path(), plan);
        assert_eq!(write_on(&fs, dir.path()).unwrap_err().kind(), kind);
        assert!(crate::disk::list_files(dir.path()).unwrap().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_points_read_back(
        dimension in 1usize..9,
        points in prop::collection::btree_map("[a-c\u{0}\u{e4}]{1,10}", (any::<[u32; 9]>(), prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        order in any::<u64>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut rows: Vec<_> = points.iter().collect();
        rows.sort_by_key(|(id, _)| id.bytes().fold(order, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)));
        let mut writer = SegmentWriter::create(&crate::disk::real_fs(), dir.path(), ID, dimension as u32, OWNER).unwrap();
        for (id, (bits, payload)) in &rows {
            writer.append(id, &bits[..dimension].iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>(), payload).unwrap();
        }
        let segment = writer.finish().unwrap();
        segment.verify().unwrap();
        let mut read = BTreeMap::new();
        for row in (0..segment.rows()).map(Ordinal) {
            let bits: Vec<u32> = segment.vector(row).iter().map(|float| float.to_bits()).collect();
            prop_assert_eq!(segment.find(segment.point_id(row)), Some(row));
            read.insert(segment.point_id(row).to_owned(), (bits, segment.payload(row).to_vec()));
        }
        let expected: BTreeMap<_, _> = points.iter().map(|(id, (bits, payload))| (id.clone(), (bits[..dimension].to_vec(), payload.clone()))).collect();
        prop_assert_eq!(read, expected);
        let ids: Vec<_> = segment.in_order(None).map(|row| segment.point_id(row).to_owned()).collect();
        prop_assert!(ids.iter().eq(points.keys()));
    }
}
