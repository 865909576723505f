//! Fuzz target: bodies of points, any bytes, and entries with a correct end: decoded, encoded again, reduced to some
//! fields, and merged with those of another body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::store::body::{self, FieldVector};
use nearness_fuzz::parts;
use std::collections::BTreeMap;

/// Returns the kind of a vector and its numbers, comparable if they are not numbers (NaN).
fn bits(vector: &FieldVector) -> (u8, Vec<Vec<u32>>) {
    let of = |numbers: &Vec<f32>| numbers.iter().map(|number| number.to_bits()).collect::<Vec<u32>>();
    match vector {
        FieldVector::Dense(numbers) => (1, vec![of(numbers)]),
        FieldVector::Sparse(sparse) => (2, vec![sparse.indices.clone(), of(&sparse.values)]),
        FieldVector::Multi(vectors) => (3, vectors.iter().map(of).collect()),
    }
}

type Vectors = Vec<(u32, FieldVector)>;

fn assert_same<'v>(found: &Vectors, expected: impl IntoIterator<Item = (u32, &'v FieldVector)>) {
    let found = found.iter().map(|(number, vector)| (*number, bits(vector)));
    assert!(found.eq(expected.into_iter().map(|(number, vector)| (number, bits(vector)))));
}

/// Reads a body; returns its vectors unless they are damaged.
fn read(whole: &[u8]) -> Option<Vectors> {
    let (payload, fields) = (body::payload(whole), body::fields(whole));
    assert_eq!(&*body::join(payload, fields), whole);
    for number in 0..4 {
        let Some(vector) = body::vector_of(whole, number) else { continue };
        for dimension in [0, 1, 3, 70_000] {
            let _ = vector.append_dense(dimension, &mut Vec::new());
            let mut joined = Vec::new();
            if vector.append_multi(dimension, &mut joined).is_ok() {
                assert_eq!(joined.len() % (dimension as usize).max(1), 0);
            }
        }
        let _ = vector.for_each_component(&mut |_, _| {});
    }
    let kept = body::retain(whole, |number| number % 2 == 0);
    let Ok(vectors) = body::vectors(whole) else { return None };
    // A payload that is no JSON may look like a body with vectors.
    if !vectors.is_empty() {
        let again = body::encode(payload, vectors.iter().map(|(number, vector)| (*number, vector)));
        assert_eq!(body::payload(&again), payload);
        assert_same(&body::vectors(&again).expect("what was just written"), named(&vectors));
    }
    let even: Vec<_> = named(&vectors).filter(|(number, _)| number % 2 == 0).collect();
    if !even.is_empty() {
        assert_eq!(body::payload(&kept), payload);
        assert_same(&body::vectors(&kept).expect("a part of what was read"), even);
    }
    Some(vectors)
}

fn named(vectors: &Vectors) -> impl Iterator<Item = (u32, &FieldVector)> {
    vectors.iter().map(|(number, vector)| (*number, vector))
}

/// Returns a body of a payload and entries.
fn with_end(payload: &[u8], entries: &[u8]) -> Vec<u8> {
    [payload, entries, &(entries.len() as u32).to_le_bytes(), &[0]].concat()
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let [payload, below, above] = parts(data);
    let (below, above) = (with_end(payload, below), with_end(b"{}", above));
    let Some((older, newer)) = read(&below).zip(read(&above)) else { return };
    let merged = body::overlay(b"{}", &below, &above);
    let expected: BTreeMap<u32, &FieldVector> = named(&older).chain(named(&newer)).collect();
    assert_eq!(body::payload(&merged), b"{}");
    assert_same(&body::vectors(&merged).expect("parts of what was read"), expected);
});
