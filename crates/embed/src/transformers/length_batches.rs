//! Batches of texts of about the same length, so that little is computed for padding.

use crate::Error;
use rayon::prelude::*;

/// The index of a text among the inputs, and its vector.
type Indexed = (usize, Result<Vec<f32>, Error>);

/// Runs `work` on groups of texts of about the same length, on all cores, and returns the results in input order. A
/// group has at most `max_texts` and, including padding, about `max_tokens`.
pub(super) fn by_length(
    texts: Vec<Result<Vec<u32>, Error>>,
    max_texts: usize,
    max_tokens: usize,
    work: impl Fn(&[&[u32]]) -> Result<Vec<Vec<f32>>, Error> + Sync,
) -> Vec<Result<Vec<f32>, Error>> {
    let mut order: Vec<(usize, &[u32])> =
        texts.iter().enumerate().filter_map(|(index, text)| Some((index, text.as_ref().ok()?.as_slice()))).collect();
    // Longest first: they take the most time, and should not start last.
    order.sort_by_key(|(index, text)| (std::cmp::Reverse(text.len()), *index));
    let mut groups: Vec<&[(usize, &[u32])]> = Vec::new();
    let mut rest = order.as_slice();
    while let Some((_, longest)) = rest.first() {
        let (group, more) = rest.split_at((max_tokens / longest.len().max(1)).clamp(1, max_texts).min(rest.len()));
        groups.push(group);
        rest = more;
    }
    let done: Vec<Vec<Indexed>> = groups
        .par_iter()
        .map(|group| {
            let texts: Vec<&[u32]> = group.iter().map(|(_, text)| *text).collect();
            match work(&texts) {
                Ok(vectors) if vectors.iter().flatten().any(|x| !x.is_finite()) => group
                    .iter()
                    .map(|(index, _)| (*index, Err(Error::Compute("its vector is not finite".into()))))
                    .collect(),
                Ok(vectors) => group.iter().zip(vectors).map(|((index, _), vector)| (*index, Ok(vector))).collect(),
                Err(error) => {
                    let what = error.to_string();
                    let again = |(index, _): &(usize, &[u32])| (*index, Err(Error::Compute(what.clone())));
                    group.iter().map(again).collect()
                }
            }
        })
        .collect();
    let mut vectors: Vec<Option<Result<Vec<f32>, Error>>> = texts.iter().map(|_| None).collect();
    done.into_iter().flatten().for_each(|(index, vector)| vectors[index] = Some(vector));
    texts
        .into_iter()
        .zip(vectors)
        .map(|(text, vector)| text.and_then(|_| vector.unwrap_or_else(|| Err(Error::Compute("it was skipped".into())))))
        .collect()
}
