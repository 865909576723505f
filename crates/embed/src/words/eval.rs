//! Evaluation of word vectors: word similarity, analogies, and filling blanks.

use super::{
    WordModel,
    cloze::{self, ContextWord},
    cloze_layer::{WINDOW, after, before},
    data,
    model::Term,
};
use crate::{Error, math::train::multiply};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use std::path::Path;

/// Default number of most frequent words searched for an analogy's answer.
pub const DEFAULT_RESTRICT: usize = 30_000;
/// Questions scored together by a thread: 64 x 30,000 numbers are 7.7 MB.
const BLOCK: usize = 64;
/// Maximum size of a file of pairs or questions, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Results for a file of word pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Similarity {
    /// The file's name, without folders.
    pub file: String,
    /// Spearman's rank correlation, with average ranks for ties; NaN for fewer than two known pairs or a constant side.
    pub spearman: f64,
    /// Pairs of two known words.
    pub pairs: usize,
    /// Pairs with an unknown word.
    pub missing: usize,
}

/// Results for a file of analogies.
#[derive(Clone, Debug, PartialEq)]
pub struct Analogies {
    /// The sections of the file, in order.
    pub sections: Vec<Section>,
    /// The share of correct answers among all evaluated questions; 0 if there are none.
    pub accuracy: f64,
}

/// A section of analogies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name in the line `: name`.
    pub name: String,
    /// Correct answers.
    pub correct: u64,
    /// Evaluated questions: those whose four words are all known and frequent enough.
    pub total: u64,
}

/// Results of filling blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blanks {
    /// Number of blanks.
    pub evaluated: u64,
    /// Blanks whose true word ranked first.
    pub first: u64,
    /// Blanks whose true word ranked among the first ten.
    pub ten: u64,
    /// `first` of the baseline that always answers the most frequent words.
    pub frequent_first: u64,
    /// `ten` of that baseline.
    pub frequent_ten: u64,
}

/// Evaluates the filling of blanks: hides at most `count` known words of a text (plain or gzip), sampled with `seed`,
/// and predicts each from up to five words on each side in its line. The context words are excluded from the answers.
///
/// # Errors
/// [`Error::Io`]; [`Error::InvalidInput`] for a model without an output layer or a text without usable words.
pub fn blanks(model: &WordModel, file: &Path, count: usize, seed: u64) -> Result<Blanks, Error> {
    if !model.has_output_layer() {
        return Err(Error::InvalidInput("this model has no output layer, so it cannot fill blanks".into()));
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut sampled: Vec<(usize, Vec<ContextWord>)> = Vec::new();
    let mut seen = 0;
    data::for_each_line(file, &mut |line| {
        let mut words: Vec<Option<usize>> = Vec::new();
        model.terms(line, |term| {
            words.push(match term {
                Term::Known(number) => Some(number),
                Term::Unknown(_) => None,
            });
        });
        for (at, word) in words.iter().enumerate() {
            let Some(word) = *word else { continue };
            let left = (1..=WINDOW).zip(words[..at].iter().rev()).map(|(far, word)| (before(far), word));
            let right = (1..=WINDOW).zip(&words[at + 1..]).map(|(far, word)| (after(far), word));
            let around: Vec<ContextWord> = left
                .chain(right)
                .filter_map(|(position, word)| Some(ContextWord { word: (*word)?, position }))
                .collect();
            if around.is_empty() || around.iter().any(|neighbour| neighbour.word == word) {
                continue;
            }
            // Vitter 1985, "Random Sampling with a Reservoir", algorithm R.
            seen += 1;
            if sampled.len() < count {
                sampled.push((word, around));
            } else {
                let index = random.random_range(0..seen);
                if index < count {
                    sampled[index] = (word, around);
                }
            }
        }
    })?;
    if sampled.is_empty() {
        return Err(Error::InvalidInput(format!("{}: no line with two known words", file.display())));
    }
    let words = model.vocabulary().len();
    let rank = |(word, around): &(usize, Vec<ContextWord>), scores: &[f32]| {
        let better = scores.iter().filter(|score| **score > scores[*word]).count();
        let before: std::collections::BTreeSet<usize> =
            around.iter().map(|neighbour| neighbour.word).filter(|other| other < word).collect();
        (better, word - before.len())
    };
    let ranks: Vec<(usize, usize)> = sampled
        .par_chunks(BLOCK)
        .flat_map_iter(|sampled| {
            let around: Vec<&[ContextWord]> = sampled.iter().map(|(_, around)| around.as_slice()).collect();
            let scores = cloze::scores(model, &around).unwrap_or_default();
            sampled
                .iter()
                .zip(scores.chunks_exact(words))
                .map(|(blank, scores)| rank(blank, scores))
                .collect::<Vec<_>>()
        })
        .collect();
    let among = |n: usize, rank: fn(&(usize, usize)) -> usize| ranks.iter().filter(|r| rank(r) < n).count() as u64;
    Ok(Blanks {
        evaluated: ranks.len() as u64,
        first: among(1, |r| r.0),
        ten: among(10, |r| r.0),
        frequent_first: among(1, |r| r.1),
        frequent_ten: among(10, |r| r.1),
    })
}

/// Compares the cosine of word pairs with human scores. A line is `word word score` separated by blanks, or columns
/// separated by tabs or commas: the first two are the words and the first number after them is the score, as in
/// SimLex-999, WordSim-353, MEN and similar sets. A first line without a number is a header. Words with a
/// part-of-speech suffix (`sun-n`) are also looked up without it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] naming a malformed line.
pub fn similarity(model: &WordModel, file: &Path) -> Result<Similarity, Error> {
    let (mut human_scores, mut cosines, mut missing) = (Vec::new(), Vec::new(), 0);
    let mut first = true;
    for (at, line) in read(file)?.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let names_columns =
            std::mem::take(&mut first) && columns(line).iter().all(|column| column.parse::<f64>().is_err());
        let corrupt = || Error::Corrupt { path: file.into(), what: format!("line {}: not `word word score`", at + 1) };
        let Some((a, b, score)) = pair(line) else {
            if names_columns && columns(line).len() >= 3 {
                continue;
            }
            return Err(corrupt());
        };
        match (find_without_suffix(model, a), find_without_suffix(model, b)) {
            (Some(a), Some(b)) => {
                human_scores.push(score);
                cosines.push(cosine(model, a, b));
            }
            _ => missing += 1,
        }
    }
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Similarity { file: name, spearman: spearman(&human_scores, &cosines), pairs: human_scores.len(), missing })
}

/// Splits a line into columns at tabs, commas, or blanks.
fn columns(line: &str) -> Vec<&str> {
    match ['\t', ',', ';'].into_iter().find(|separator| line.contains(*separator)) {
        Some(separator) => line.split(separator).map(|column| column.trim().trim_matches('"')).collect(),
        None => line.split_whitespace().collect(),
    }
}

/// Parses two words and their score.
fn pair(line: &str) -> Option<(&str, &str, f64)> {
    let columns = columns(line);
    let separated = line.contains(['\t', ',', ';']);
    let [a, b, rest @ ..] = columns.as_slice() else { return None };
    if a.is_empty() || b.is_empty() || (rest.len() > 1 && !separated) {
        return None;
    }
    // NaN and inf are words, not numbers.
    let score = rest.iter().find_map(|column| column.parse::<f64>().ok())?;
    score.is_finite().then_some((*a, *b, score))
}

/// Returns the number of a word, or of the word without its part-of-speech suffix.
fn find_without_suffix(model: &WordModel, word: &str) -> Option<usize> {
    model.find(word).or_else(|| match word.rsplit_once('-') {
        Some((word, "n" | "v" | "j" | "a" | "r" | "N" | "V" | "J" | "A" | "R")) => model.find(word),
        _ => None,
    })
}

/// Evaluates analogies "a is to b as c is to?" (3CosAdd: the word nearest to b - a + c, other than the three, among the
/// `restrict` most frequent). Lines are `a b c d`; sections begin with `: name`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] naming a malformed line.
pub fn analogies(model: &WordModel, file: &Path, restrict: usize) -> Result<Analogies, Error> {
    let restrict = restrict.min(model.vocabulary().len());
    let mut sections: Vec<Section> = Vec::new();
    let mut questions: Vec<(usize, [usize; 4])> = Vec::new();
    for (at, line) in read(file)?.lines().enumerate() {
        if let Some(name) = line.strip_prefix(':') {
            sections.push(Section { name: name.trim().into(), correct: 0, total: 0 });
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        let &[a, b, c, d] = fields.as_slice() else {
            return Err(Error::Corrupt { path: file.into(), what: format!("line {}: not four words", at + 1) });
        };
        if sections.is_empty() {
            sections.push(Section { name: String::new(), correct: 0, total: 0 });
        }
        let section = sections.len() - 1;
        let numbers = [a, b, c, d].map(|word| model.find(word).filter(|&number| number < restrict));
        if let [Some(a), Some(b), Some(c), Some(d)] = numbers {
            sections[section].total += 1;
            questions.push((section, [a, b, c, d]));
        }
    }
    let right: Vec<bool> = questions.par_chunks(BLOCK).flat_map_iter(|block| answer(model, block, restrict)).collect();
    for ((section, _), right) in questions.iter().zip(&right) {
        sections[*section].correct += u64::from(*right);
    }
    let correct = right.iter().filter(|&&right| right).count();
    Ok(Analogies { sections, accuracy: if right.is_empty() { 0.0 } else { correct as f64 / right.len() as f64 } })
}

/// Returns which questions of the block are answered correctly.
fn answer(model: &WordModel, block: &[(usize, [usize; 4])], restrict: usize) -> Vec<bool> {
    let dimension = model.dimension();
    let inverse = model.inverse_norms();
    let mut queries = vec![0.0_f32; block.len() * dimension];
    for (query, (_, [a, b, c, _])) in queries.chunks_exact_mut(dimension).zip(block) {
        for (number, sign) in [(*a, -1.0), (*b, 1.0), (*c, 1.0)] {
            let factor = sign * inverse[number];
            query.iter_mut().zip(model.row(number)).for_each(|(sum, x)| *sum += factor * x);
        }
    }
    let mut scores = vec![0.0_f32; block.len() * restrict];
    multiply(&queries, block.len(), &model.rows()[..restrict * dimension], restrict, dimension, &mut scores);
    let best = |scores: &[f32], question: &[usize; 4]| {
        let (mut best, mut best_score) = (usize::MAX, f32::NEG_INFINITY);
        for (number, (score, inverse)) in scores.iter().zip(inverse).enumerate() {
            let score = score * inverse;
            if score > best_score && *inverse > 0.0 && !question[..3].contains(&number) {
                (best, best_score) = (number, score);
            }
        }
        best == question[3]
    };
    scores.chunks_exact(restrict).zip(block).map(|(scores, (_, question))| best(scores, question)).collect()
}

fn read(file: &Path) -> Result<String, Error> {
    let failed = |source| Error::Io { path: file.into(), source };
    let length = std::fs::metadata(file).map_err(failed)?.len();
    if length > MAX_FILE_BYTES {
        let what = format!("{length} bytes; a file of pairs or questions has at most {MAX_FILE_BYTES}");
        return Err(Error::Corrupt { path: file.into(), what });
    }
    let bytes = std::fs::read(file).map_err(failed)?;
    String::from_utf8(data::strip_bom(&bytes).to_vec())
        .map_err(|_| Error::Corrupt { path: file.into(), what: "not UTF-8".into() })
}

fn cosine(model: &WordModel, a: usize, b: usize) -> f64 {
    let dot: f64 = model.row(a).iter().zip(model.row(b)).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    dot * f64::from(model.inverse_norms()[a]) * f64::from(model.inverse_norms()[b])
}

/// Returns Spearman's correlation: Pearson's correlation of the ranks.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let (mut both, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        both += (x - mean) * (y - mean);
        square_a += (x - mean).powi(2);
        square_b += (y - mean).powi(2);
    }
    both / (square_a * square_b).sqrt()
}

/// Returns ranks from 1; equal values share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for tied in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = start as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&at| ranks[at] = rank);
        start += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::model::tests::small;

    #[test]
    fn spearman_ranks_ties_at_their_mean() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert!((spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 90.0]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // By hand: the ranks are 1, 2.5, 2.5, 4, 5 and 2, 1, 3.5, 3.5, 5.
        assert!((spearman(&[1.0, 2.0, 2.0, 4.0, 5.0], &[2.0, 1.0, 3.0, 3.0, 5.0]) - 29.0 / 38.0).abs() < 1e-9);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan() && spearman(&[], &[]).is_nan());
    }

    #[test]
    fn files_are_read_in_any_case_and_bad_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pairs.txt");
        let model = small();
        std::fs::write(&file, "\u{feff}King\tqueen\t9\nman woman 8\nking woman 1.5\nking unicorn 3\n\n").unwrap();
        let found = similarity(&model, &file).unwrap();
        assert_eq!((found.file.as_str(), found.pairs, found.missing), ("pairs.txt", 3, 1));
        assert!(found.spearman > 0.4, "{found:?}");
        for bad in ["king queen", "king queen x", "king queen 1 2", "king queen NaN"] {
            std::fs::write(&file, format!("man woman 8\n{bad}\n")).unwrap();
            let error = similarity(&model, &file).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
        assert!(matches!(similarity(&model, folder.path()), Err(Error::Io { .. })));
    }

    #[test]
    fn published_lists_are_read_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pairs.txt");
        for text in [
            "word1\tword2\tPOS\tSimLex999\tconc(w1)\r\nking\tqueen\tN\t9.5\t5\r\nman\twoman\tN\t8\t4\r\nking\twoman\tN\t1.5\t4\r\n",
            "Word 1,Word 2,Human (mean)\nking,queen,9.5\n\"man\",woman,8\nking,woman,1.5\n",
            "king-n queen-n 9.5\nman-n woman-n 8\nking-n woman-j 1.5\n",
            "\u{feff}king queen 9.5\nman woman 8\nking woman 1.5\n",
            "\u{feff}# a comment\nword1\tword2\tscore\nking\tqueen\t9.5\nman\twoman\t8\nking\twoman\t1.5\n",
        ] {
            std::fs::write(&file, text).unwrap();
            let found = similarity(&small(), &file).unwrap();
            assert_eq!((found.pairs, found.missing), (3, 0), "{text}");
            assert!(found.spearman > 0.4, "{text}: {found:?}");
        }
    }

    #[test]
    fn blanks_of_a_text_are_evaluated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text.txt");
        std::fs::write(&file, "the king, the man\nunicorn\nqueen woman yeti\n\n").unwrap();
        let model = small();
        let found = blanks(&model, &file, 100, 1).unwrap();
        // "the" is among its own context words; king, man, queen and woman are evaluated.
        assert_eq!(found.evaluated, 4);
        assert!(found.first <= found.ten && found.ten == 4 && found.frequent_ten == 4, "{found:?}");
        assert_eq!(blanks(&model, &file, 2, 1).unwrap().evaluated, 2);
        std::fs::write(&file, "unicorn yeti\n").unwrap();
        assert!(blanks(&model, &file, 2, 1).is_err());
    }

    #[test]
    fn analogies_are_counted_by_section() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("questions.txt");
        std::fs::write(&file, ": family\nMan King woman Queen\nman king woman man\nman king woman unicorn\n: none\n")
            .unwrap();
        let found = analogies(&small(), &file, DEFAULT_RESTRICT).unwrap();
        assert_eq!(found.sections[0], Section { name: "family".into(), correct: 1, total: 2 });
        assert_eq!(found.sections[1], Section { name: "none".into(), correct: 0, total: 0 });
        assert!((found.accuracy - 0.5).abs() < 1e-12);
        assert_eq!(analogies(&small(), &file, 2).unwrap().accuracy, 0.0, "no question among two words");
        std::fs::write(&file, "a b c\n").unwrap();
        assert!(analogies(&small(), &file, 10).unwrap_err().to_string().contains("line 1"));
    }
}
