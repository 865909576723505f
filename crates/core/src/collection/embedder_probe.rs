//! Reference vectors ("canaries"), which detect an embedder whose output has changed since the collection was created.
//!
//! A fingerprint pins weights and settings but cannot detect a program that computes differently. So a collection
//! stores a few inputs with their vectors and embeds them again whenever it is opened. Deviations beyond rounding would
//! move queries away from their nearest points, so the embedder is then refused.

use crate::api::Error;
use crate::embed::{Embedder, Input, Modality, OutputLayer};
use crate::store::{Change, CollectionDb, ReferenceVector, decode_point, encode_point};

/// Maximum deviation relative to the vector's norm; reordered sums and other instructions cause about 1e-6.
pub(crate) const ROUNDING: f32 = 1e-3;

/// Compares the embedder with the reference vectors; creates them the first time.
///
/// # Errors
/// The inner error describes the deviation. [`Error`] if the reference vectors cannot be read.
pub(crate) fn watch(
    db: &CollectionDb,
    embedder: &dyn Embedder,
    output: &OutputLayer,
) -> Result<Result<(), String>, Error> {
    let reference_vectors = db.reference_vectors()?;
    if !reference_vectors.is_empty() {
        return Ok(compare(&reference_vectors, embedder, output));
    }
    let kind = embedder.modality();
    let current: Vec<ReferenceVector> = embedder
        .reference_inputs()
        .into_iter()
        .filter_map(|bytes| {
            let vector = embedder.embed(output, &input(kind, &bytes)?).ok()?;
            Some(ReferenceVector { kind: kind.name().into(), vector, input: bytes })
        })
        .collect();
    let changes = changes(&current);
    if changes.is_empty() {
        tracing::warn!(path = %db.path().display(), embedder = embedder.name(), "no reference vectors: it embeds none of its own inputs");
    }
    // Reference vectors are optional: if they cannot be stored, the next start creates them.
    if !changes.is_empty()
        && let Err(error) = db.commit(&changes)
    {
        tracing::warn!(path = %db.path().display(), %error, "could not store the reference vectors; the next start stores them");
    }
    Ok(Ok(()))
}

/// Returns the changes that store the reference vectors, numbered from 0.
pub(crate) fn changes(reference_vectors: &[ReferenceVector]) -> Vec<Change<'_>> {
    let numbered = (0..).zip(reference_vectors);
    numbered
        .map(|(index, ReferenceVector { kind, vector, input })| Change::AddReferenceVector {
            index,
            kind,
            vector,
            input,
        })
        .collect()
}

/// Encodes the reference vectors for a snapshot: each as length u32, then its record as in the database.
///
/// # Errors
/// `Damaged` for a reference vector that cannot be encoded.
pub(crate) fn to_bytes(reference_vectors: &[ReferenceVector]) -> Result<Vec<u8>, Error> {
    let (mut bytes, mut record) = (Vec::new(), Vec::new());
    for ReferenceVector { kind, vector, input } in reference_vectors {
        encode_point(&mut record, kind, vector, input)
            .map_err(|what| Error::Damaged { what: format!("a reference vector: {what}") })?;
        bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&record);
    }
    Ok(bytes)
}

/// Decodes the output of [`to_bytes`].
///
/// # Errors
/// A description of the damage.
pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Vec<ReferenceVector>, String> {
    let mut reference_vectors = Vec::new();
    while !bytes.is_empty() {
        let (length, after) = bytes.split_first_chunk::<4>().ok_or("its length is cut")?;
        let (record, rest) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("it is cut")?;
        let mut vector = Vec::new();
        let (kind, input) = decode_point(record, &mut vector)?;
        reference_vectors.push(ReferenceVector { kind: kind.into(), input: input.into(), vector });
        bytes = rest;
    }
    Ok(reference_vectors)
}

fn input(kind: Modality, bytes: &[u8]) -> Option<Input<'_>> {
    match kind {
        Modality::Text => std::str::from_utf8(bytes).ok().map(Input::Text),
        Modality::Image => Some(Input::Image(bytes)),
    }
}

fn compare(reference_vectors: &[ReferenceVector], embedder: &dyn Embedder, output: &OutputLayer) -> Result<(), String> {
    let (kind, count) = (embedder.modality(), reference_vectors.len());
    for (reference_vector, index) in reference_vectors.iter().zip(1..) {
        if reference_vector.kind != kind.name() {
            return Err(format!(
                "it reads {}, but a reference vector is of kind {}",
                kind.name(),
                reference_vector.kind
            ));
        }
        let Some(input) = input(kind, &reference_vector.input) else {
            return Err(format!("reference vector {index} of {count} is no {}", kind.name()));
        };
        let now = embedder
            .embed(output, &input)
            .map_err(|error| format!("it refuses reference vector {index} of {count}: {error}"))?;
        let off = off(&now, &reference_vector.vector);
        if off.is_nan() || off > ROUNDING {
            return Err(format!(
                "it computes other vectors than when the collection was created: reference vector {index} of {count} is off by {:.2} %, and rounding is {} %",
                off * 100.0,
                ROUNDING * 100.0
            ));
        }
    }
    Ok(())
}

/// Returns the distance between the two vectors relative to the norm of `then`.
pub(crate) fn off(now: &[f32], then: &[f32]) -> f32 {
    if now.len() != then.len() {
        return f32::INFINITY;
    }
    let square = |x: f32| f64::from(x) * f64::from(x);
    let apart: f64 = now.iter().zip(then).map(|(a, b)| square(a - b)).sum();
    let length: f64 = then.iter().map(|x| square(*x)).sum();
    (apart.sqrt() / length.sqrt().max(f64::MIN_POSITIVE)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CollectionSpec, ErrorKind, IndexSettings, Item, Payload, PointInput, VectorSource, limits};
    use crate::embed::{self, Fingerprint, ModelCard, Registry};
    use crate::engine::crash_tests::letters;
    use crate::engine::{Admin, Database, Reads, Snapshots, Writes};
    use crate::types::{CollectionName, Metric, PointId};
    use std::sync::Arc;

    /// The letters embedder with every component off by a relative error.
    struct Drifted(letters::Letters, f32);

    impl Embedder for Drifted {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn modality(&self) -> Modality {
            self.0.modality()
        }
        fn output_layers(&self) -> &[OutputLayer] {
            self.0.output_layers()
        }
        fn fingerprint(&self) -> Fingerprint {
            self.0.fingerprint()
        }
        fn card(&self) -> &ModelCard {
            self.0.card()
        }
        fn embed(&self, output: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, embed::Error> {
            let mut vector = self.0.embed(output, input)?;
            vector.iter_mut().for_each(|x| *x *= 1.0 + self.1);
            Ok(vector)
        }
        fn embed_batch(&self, output: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, embed::Error>> {
            inputs.iter().map(|input| self.embed(output, input)).collect()
        }
    }

    #[test]
    fn a_drifted_embedder_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let open = |off: f32| {
            let mut registry = Registry::default();
            registry.add(Arc::new(Drifted(letters::Letters::new(), off)));
            Database::options().embedders(registry).open(dir.path()).unwrap()
        };
        let name = CollectionName::new("c").unwrap();
        let space = VectorSource::Embedded { embedder: "letters".into(), output: "counts".into() };
        let index: IndexSettings = limits::DEFAULT_INDEX;
        let spec = CollectionSpec {
            name: name.clone(),
            space,
            metric: Metric::L2,
            index,
            text_fields: None,
            vector_fields: Vec::new(),
            optional_vectors: false,
            ttl: None,
            tenant: None,
        };
        let item = || Item {
            id: PointId::new("a").unwrap(),
            source: PointInput::Text("abc".into()),
            payload: Payload::new(),
            vectors: Default::default(),
        };
        let engine = open(0.0);
        engine.create_collection(&spec).unwrap();
        engine.upsert(&name, vec![item()]).unwrap();
        drop(engine);
        for (off, fine) in [(1e-6, true), (0.02, false), (f32::NAN, false), (0.0, true)] {
            let engine = open(off);
            let (written, info) = (engine.upsert(&name, vec![item()]), engine.collection(&name).unwrap());
            assert_eq!(written.is_ok(), fine, "off by {off}: {written:?}");
            assert_eq!(info.problems.is_empty(), fine, "{:?}", info.problems);
            if let Err(error) = written {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert!(error.to_string().contains("reference vector 1 of 4 is off by"), "{error}");
            }
            // Stored points can still be read.
            assert_eq!(engine.count(&name, None).unwrap(), 1);
        }
    }

    #[test]
    fn a_snapshot_contains_the_reference_vectors() {
        let (dir, snapshot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |off: f32| {
            let mut registry = Registry::default();
            registry.add(Arc::new(Drifted(letters::Letters::new(), off)));
            let store = crate::snapshot_store::SnapshotStore::open(snapshot_dir.path().to_str().unwrap()).unwrap();
            Database::options().embedders(registry).snapshots(store).open(dir.path()).unwrap()
        };
        let name = |name| CollectionName::new(name).unwrap();
        let space = VectorSource::Embedded { embedder: "letters".into(), output: "counts".into() };
        let index: IndexSettings = limits::DEFAULT_INDEX;
        let engine = open(0.0);
        engine
            .create_collection(&CollectionSpec {
                name: name("c"),
                space,
                metric: Metric::L2,
                index,
                text_fields: None,
                vector_fields: Vec::new(),
                optional_vectors: false,
                ttl: None,
                tenant: None,
            })
            .unwrap();
        let snapshot = engine.create_snapshot(&name("c"), &|_, _, _| true).unwrap().snapshot;
        drop(engine);
        let engine = open(0.02);
        let error = engine.restore_snapshot(&snapshot, &name("d"), false, &|_, _, _| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("reference vector 1 of 4 is off by"), "{error}");
        assert!(engine.collection(&name("d")).is_err());
        drop(engine);
        let engine = open(0.0);
        engine.restore_snapshot(&snapshot, &name("d"), false, &|_, _, _| true).unwrap();
        let again = engine.create_snapshot(&name("d"), &|_, _, _| true).unwrap().snapshot;
        drop(engine);
        let engine = open(0.02);
        let error = engine.restore_snapshot(&again, &name("e"), false, &|_, _, _| true).unwrap_err();
        assert!(error.to_string().contains("reference vector 1 of 4 is off by"), "{error}");
    }

    #[test]
    fn truncated_reference_vectors_are_refused() {
        let reference_vector =
            |input: &str| ReferenceVector { kind: "text".into(), vector: vec![1.0, -2.0], input: input.into() };
        let reference_vectors = [reference_vector("a"), reference_vector("bcd")];
        let bytes = to_bytes(&reference_vectors).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap(), reference_vectors);
        let first = to_bytes(&reference_vectors[..1]).unwrap().len();
        for end in (1..bytes.len()).filter(|end| *end != first) {
            assert!(from_bytes(&bytes[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn every_built_in_embedder_reproduces_its_reference_vectors() {
        let registry = Registry::with_defaults().unwrap();
        for embedder in registry.current() {
            for output in embedder.output_layers() {
                let embed = |bytes: &Vec<u8>| embedder.embed(output, &input(embedder.modality(), bytes).unwrap());
                let reference_vector = |bytes: Vec<u8>| {
                    let vector = embed(&bytes).unwrap_or_else(|error| panic!("{}: {error}", embedder.name()));
                    ReferenceVector { kind: embedder.modality().name().into(), vector, input: bytes }
                };
                let mut reference_vectors: Vec<ReferenceVector> =
                    embedder.reference_inputs().into_iter().map(reference_vector).collect();
                assert!(reference_vectors.len() >= 3, "{}", embedder.name());
                assert_eq!(compare(&reference_vectors, embedder.as_ref(), output), Ok(()));
                reference_vectors[2].vector[0] +=
                    0.1 * reference_vectors[2].vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                assert!(
                    compare(&reference_vectors, embedder.as_ref(), output)
                        .unwrap_err()
                        .contains("reference vector 3 of")
                );
            }
        }
    }
}
