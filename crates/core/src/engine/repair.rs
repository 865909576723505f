//! Offline repair of a data directory: removes and lists what is provably lost, rebuilds everything that can be
//! computed.
//!
//! A damaged segment is rewritten with the rows whose vectors, ids and payloads are intact. It is removed as a whole
//! where checksums cannot locate the damaged rows (formats 1 and 2, or a header damaged together with its copy). The
//! file of a segment that lost rows is kept in `damaged/` beside the collections. Nothing is guessed.

use super::Database;
use crate::api::{Error, Job, Payload};
use crate::collection::open::{fitting, is_damage, open_segment};
use crate::collection::uncommitted::UncommittedSegment;
use crate::disk::{self, Fs};
use crate::store::{
    Catalog, Change, CollectionDb, CollectionDir, CollectionRecord, Segment, SegmentId, SegmentRecord, SegmentWriter,
    body,
};
use crate::types::{CollectionName, Identity, Ordinal};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder for the files of removed segments.
pub(crate) const DAMAGED_FOLDER: &str = "damaged";

/// Result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Segments rewritten with all their intact points.
    pub rewritten: u64,
    /// Kept files of the segments that lost points.
    pub taken_out: Vec<PathBuf>,
    /// Collection and id of each lost point.
    pub lost: Vec<(String, String)>,
    /// Lost points with unreadable ids.
    pub lost_unnamed: Vec<LostUnnamed>,
    /// Collections whose graphs and payload indexes were rebuilt.
    pub rebuilt: u64,
    /// Failed repairs, each with its file.
    pub left: Vec<String>,
}

/// Lost points with unreadable ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostUnnamed {
    /// The collection.
    pub collection: String,
    /// Number of points.
    pub points: u64,
    /// The rows and the segment.
    pub location: String,
}

/// Repairs all collections of a data directory, and rebuilds all their indexes. `Repaired` is filled in even after an
/// error.
///
/// # Errors
/// `Unavailable` when another process has the directory open; `Corrupt` when there is no readable catalogue; I/O
/// errors. Each collection is repaired in one transaction: after an error, run the repair again.
pub fn repair_directory(
    data_dir: &Path,
    observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
) -> (Repaired, Result<(), Error>) {
    repair_directory_on(&disk::real_fs(), data_dir, observe)
}

/// Like [`repair_directory`], on any file system.
pub(crate) fn repair_directory_on(
    fs: &Arc<dyn Fs>,
    data_dir: &Path,
    observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
) -> (Repaired, Result<(), Error>) {
    let mut done = Repaired::default();
    let result = repair(fs, data_dir, observe, &mut done);
    (done, result)
}

fn repair(
    fs: &Arc<dyn Fs>,
    data_dir: &Path,
    observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
    done: &mut Repaired,
) -> Result<(), Error> {
    let mut names = Vec::new();
    // Fails for a folder that is not a data directory; `open` would make it one.
    drop(Catalog::inspect(fs, data_dir)?);
    let catalog = Catalog::open(fs, data_dir)?;
    for (name, entry) in catalog.list()? {
        let repaired = match entry {
            // The previous generation serves again after a rollback.
            Ok(entry) => {
                let generations = [Some(&entry), entry.previous.as_deref()].into_iter().flatten();
                let repaired = generations.map(|generation| {
                    let home = catalog.collection_dir(generation);
                    collection(fs, data_dir, &generation.record, &home, done)
                });
                // One that cannot be repaired does not keep the other from it.
                repaired.fold(Ok(()), Result::and)
            }
            Err(error) => Err(error.into()),
        };
        match (repaired, CollectionName::new(name.as_str())) {
            (Ok(()), Ok(name)) => names.push(name),
            (Err(error), _) if is_of_content(&error) => done.left.push(format!("the collection {name:?}: {error}")),
            (Err(error), _) => return Err(error),
            (Ok(()), Err(error)) => done.left.push(format!("the collection {name:?}: {error}")),
        }
    }
    drop(catalog);
    let engine = Database::options().file_system(fs).open(data_dir)?;
    for name in names {
        match engine.build_indexes(&name, observe) {
            Ok(_) => done.rebuilt += 1,
            Err(error) if is_of_content(&error) => done.left.push(format!("the collection {name:?}: {error}")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the stored content caused the error, rather than the machine.
fn is_of_content(error: &Error) -> bool {
    error.kind() == crate::api::ErrorKind::Corrupt
}

fn collection(
    fs: &Arc<dyn Fs>,
    data_dir: &Path,
    record: &CollectionRecord,
    home: &CollectionDir,
    done: &mut Repaired,
) -> Result<(), Error> {
    let dir = home.path.as_path();
    let db = CollectionDb::open(fs, dir)?;
    let identity = db.claim(home)?;
    db.sweep(&home.orphans)?;
    let name = record.name.as_str();
    let mut changes = Vec::new();
    let mut keys = BTreeSet::new();
    let mut damaged = |key: u64, _: String| {
        keys.insert(key);
        Ok(())
    };
    let mut misfits = BTreeSet::new();
    let mut visit = |key: u64, id: &str, vector: &[f32], _: &[u8]| {
        if fitting(id, vector, record.dimension).is_none() {
            misfits.insert(key);
        }
        Ok(())
    };
    db.growing_or_damaged(&mut visit, &mut damaged)?;
    keys.append(&mut misfits);
    changes.extend(keys.iter().map(|&key| Change::RemoveGrowing { key }));
    let (mut taken_out, mut lost) = (Vec::new(), Repaired::default());
    if !keys.is_empty() {
        let location = "growing points".into();
        lost.lost_unnamed.push(LostUnnamed { collection: name.into(), points: keys.len() as u64, location });
    }
    let mut next = db.next_segment()?;
    let mut marks = Vec::new();
    for found in db.segments()? {
        let segment = open_segment(dir, found.id, record.dimension, found.tag);
        if let Ok(segment) = &segment {
            changes.extend(excess_rows(name, segment, &found, &mut lost));
        }
        match segment {
            Ok(segment) if segment.verify().is_ok() => {
                changes.push(Change::SetGraph { segment: found.id, graph_generation: None });
                let id = found.id.to_string();
                for name in disk::list_files(dir).map_err(crate::store::Error::from)? {
                    if name.starts_with(&id) && (name.ends_with(".payloads") || SegmentId::is_field_index(&name)) {
                        disk::remove_file(fs.as_ref(), &dir.join(name)).map_err(crate::store::Error::from)?;
                    }
                }
            }
            Ok(segment) if segment.rows_are_sound() || segment.salvageable().is_some() => {
                changes.push(Change::RemoveSegment { segment: found.id });
                let sound = segment.salvageable().unwrap_or_else(|| (0..segment.rows()).map(Ordinal).collect());
                let live = live(&segment, &found);
                let (sound, damaged): (Vec<Ordinal>, Vec<Ordinal>) =
                    live.partition(|row| sound.binary_search(row).is_ok());
                let mark = UncommittedSegment::begin(fs.as_ref(), dir, next)?;
                if let Some(tag) = rewrite(fs, dir, &segment, &found.payloads, &sound, next, identity)? {
                    changes.push(Change::AddSegment { segment: next, graph_generation: None, tag });
                    marks.push(mark);
                    next = SegmentId(next.0 + 1);
                }
                if !damaged.is_empty() {
                    list_lost(name, &segment, &damaged, &mut lost);
                    taken_out.push(found.id);
                }
                lost.rewritten += 1;
            }
            Err(error) if !is_damage(&error) => {
                if error.kind() != crate::api::ErrorKind::Corrupt {
                    return Err(error);
                }
                // An unknown format version; the content may be intact.
                lost.left.push(format!("the collection {name:?}: {error}"));
            }
            segment => {
                changes.push(Change::RemoveSegment { segment: found.id });
                match &segment {
                    Ok(segment) => list_lost(name, segment, &live(segment, &found).collect::<Vec<_>>(), &mut lost),
                    Err(_) => lost.left.push(format!(
                        "the collection {name:?}: the number of points of segment {} is unknown",
                        found.id
                    )),
                }
                taken_out.push(found.id);
            }
        }
    }
    // Before the commit: afterwards the files are removed.
    for &id in &taken_out {
        lost.taken_out.extend(keep(fs.as_ref(), data_dir, dir, id)?);
    }
    let committed = db.commit(&changes);
    let known = db.stopped().is_none();
    marks.into_iter().for_each(|mark| mark.end(committed.is_ok(), known));
    committed?;
    done.rewritten += lost.rewritten;
    done.taken_out.append(&mut lost.taken_out);
    done.lost.append(&mut lost.lost);
    done.lost_unnamed.append(&mut lost.lost_unnamed);
    done.left.append(&mut lost.left);
    db.sweep(&home.orphans)?;
    Ok(())
}

/// Rewrites rows of a segment, with the updated payloads. Returns the content tag of the new one, or `None` if there are no rows.
fn rewrite(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    segment: &Segment,
    payloads: &[(u32, Vec<u8>)],
    rows: &[Ordinal],
    id: SegmentId,
    identity: Identity,
) -> Result<Option<u64>, Error> {
    let mut writer = SegmentWriter::create(fs, dir, id, segment.dimension(), identity)?;
    let (vectors, dimension) = (segment.vectors(), segment.dimension() as usize);
    for &row in rows {
        // The vectors passed their checksums; a damaged norm is recomputed.
        let vector = vectors.vector(dimension, row.0 as usize).to_floats();
        let updated = payloads.binary_search_by_key(&row.0, |(row, _)| *row);
        let stored = segment.body(row);
        let updated = updated.ok().map(|at| body::join(&payloads[at].1, body::fields(stored)));
        writer.append(segment.point_id(row), &vector, updated.as_deref().unwrap_or(stored))?;
    }
    if writer.rows() == 0 {
        return Ok(None);
    }
    Ok(Some(writer.finish()?.tag()))
}

/// Reports updated payloads that belong to no row or cannot be read. Returns the change that removes the former, with
/// deletions of rows that do not exist.
fn excess_rows(name: &str, segment: &Segment, found: &SegmentRecord, done: &mut Repaired) -> Option<Change<'static>> {
    let (rows, at) = (segment.rows(), |row: u32| format!("row {row} of segment {}", segment.id()));
    let excess = found.payloads.iter().map(|(row, _)| *row).filter(|row| *row >= rows);
    done.lost_unnamed.extend(excess.clone().map(|row| LostUnnamed {
        collection: name.into(),
        points: 1,
        location: format!("the updated payload of {}, which has {rows} rows", at(row)),
    }));
    for (row, payload) in found.payloads.iter().filter(|(row, _)| *row < rows) {
        if let Err(error) = serde_json::from_slice::<Payload>(payload) {
            let id = segment.point_id(Ordinal(*row));
            done.left.push(format!(
                "the collection {name:?}: the updated payload of the point {id:?} ({}) cannot be read: {error}; upsert the point again",
                at(*row)
            ));
        }
    }
    let is_excess = excess.count() > 0 || found.deleted.iter().any(|row| *row >= rows);
    is_excess.then_some(Change::RemoveExcessRows { segment: segment.id(), rows })
}

fn live(segment: &Segment, found: &SegmentRecord) -> impl Iterator<Item = Ordinal> {
    let dead: BTreeSet<u32> = found.deleted.iter().copied().collect();
    (0..segment.rows()).filter(move |row| !dead.contains(row)).map(Ordinal)
}

/// Lists lost rows, by id where it is readable.
fn list_lost(name: &str, segment: &Segment, rows: &[Ordinal], done: &mut Repaired) {
    // Without block checksums an id is listed only if all ids are intact.
    let named = segment.identity().is_some() || segment.ids_are_sound();
    let id = |row: &Ordinal| named.then(|| segment.point_id(*row)).filter(|id| !id.is_empty());
    let unnamed: Vec<u32> = rows.iter().filter(|row| id(row).is_none()).map(|row| row.0).collect();
    done.lost.extend(rows.iter().filter_map(id).map(|id| (name.to_owned(), id.to_owned())));
    if let (Some(first), Some(last)) = (unnamed.first(), unnamed.last()) {
        let location = format!("rows {first} to {last} of segment {}", segment.id());
        done.lost_unnamed.push(LostUnnamed { collection: name.into(), points: unnamed.len() as u64, location });
    }
}

/// Hard-links the file of a segment, if it exists, to a name that no sweep removes. The sweep removes the first name
/// once the database no longer names the segment, so the file always has a name.
fn keep(fs: &dyn Fs, data_dir: &Path, dir: &Path, id: SegmentId) -> Result<Option<PathBuf>, Error> {
    let collection = dir.file_name().unwrap_or_default().to_string_lossy();
    let folder = data_dir.join(DAMAGED_FOLDER);
    let (from, to) = (dir.join(id.vectors_file()), folder.join(format!("{collection}-{}", id.vectors_file())));
    let linked = || -> Result<bool, disk::Error> {
        if disk::file_len(&from)?.is_none() {
            return Ok(false);
        }
        disk::create_folder(fs, &folder)?;
        // Left by an interrupted repair.
        disk::remove_file(fs, &to)?;
        fs.link(&from, &to).map_err(|source| disk::Error::io(&from, "keep", source))?;
        disk::sync_folder(fs, &folder)?;
        Ok(true)
    };
    Ok(linked().map_err(crate::store::Error::from)?.then_some(to))
}
