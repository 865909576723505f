//! Phrase detection: words that occur together much more often than their frequencies predict become one word,
//! `new_york` (Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed Representations of Words and Phrases and
//! their Compositionality", section 4).

use super::{
    corpus::{Corpus, CorpusOptions},
    data::MAX_WORD_BYTES,
    options::{Phrases, TrainProgress, report_progress},
};
use crate::Error;
use rustc_hash::FxHashMap;

/// Separator between the words of a phrase.
pub(super) const SEPARATOR: char = '_';
/// Distinct pairs held while counting, per vocabulary word.
const PAIRS_PER_WORD: usize = 4;
/// Minimum number of pairs held.
const MIN_PAIRS: usize = 4_096;

/// Joins the phrases of a corpus and recounts its vocabulary.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn join(
    corpus: &mut Corpus,
    phrases: &Phrases,
    corpus_options: &CorpusOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<(), Error> {
    for _ in 0..phrases.passes {
        let pairs = count_pairs(corpus, corpus_options.max_words.saturating_mul(PAIRS_PER_WORD), observe)?;
        let total = corpus.total() as f64;
        let mut found: Vec<(u64, u64)> = pairs
            .into_iter()
            .filter(|&(pair, count)| {
                let (a, b) = split(pair);
                let often = corpus.counts[a as usize] as f64 * corpus.counts[b as usize] as f64;
                let bytes = corpus.words[a as usize].len() + corpus.words[b as usize].len() + SEPARATOR.len_utf8();
                count.saturating_sub(phrases.discount) as f64 / often * total > phrases.threshold
                    && count >= corpus_options.min_count
                    && bytes <= MAX_WORD_BYTES
            })
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        found.sort_unstable();
        let mut numbers = FxHashMap::default();
        for (pair, _) in found {
            let (a, b) = split(pair);
            let Ok(number) = u32::try_from(corpus.words.len()) else { break };
            corpus.words.push(format!("{}{SEPARATOR}{}", corpus.words[a as usize], corpus.words[b as usize]));
            corpus.counts.push(0);
            numbers.insert(pair, number);
        }
        let counts = &mut corpus.counts;
        counts.fill(0);
        corpus.token_file.rewrite(|sentence| {
            let (mut from, mut to) = (0, 0);
            while from < sentence.len() {
                let pair = sentence.get(from + 1).map(|&next| (u64::from(sentence[from]) << 32) | u64::from(next));
                let joined = pair.and_then(|pair| numbers.get(&pair));
                sentence[to] = joined.copied().unwrap_or(sentence[from]);
                counts[sentence[to] as usize] += 1;
                from += 1 + usize::from(joined.is_some());
                to += 1;
            }
            sentence.truncate(to);
        })?;
        // Different phrases of two passes can have the same spelling: "a_b" + "c_d" and "a" + "b_c_d".
        merge_duplicates(corpus)?;
        corpus.order(corpus_options.min_count, corpus_options.max_words)?;
    }
    Ok(())
}

/// Merges words of the same spelling.
fn merge_duplicates(corpus: &mut Corpus) -> Result<(), Error> {
    let mut first = FxHashMap::default();
    let mut same = FxHashMap::default();
    for (number, word) in (0_u32..).zip(&corpus.words) {
        let first_number = *first.entry(word.as_str()).or_insert(number);
        if first_number != number {
            same.insert(number, first_number);
        }
    }
    if same.is_empty() {
        return Ok(());
    }
    for (&number, &first_number) in &same {
        corpus.counts[first_number as usize] += std::mem::take(&mut corpus.counts[number as usize]);
    }
    corpus.token_file.rewrite(|sentence| {
        for number in sentence {
            *number = same.get(number).copied().unwrap_or(*number);
        }
    })
}

fn split(pair: u64) -> (u32, u32) {
    ((pair >> 32) as u32, pair as u32)
}

/// Counts adjacent word pairs; above `limit` pairs, discards the rarest.
fn count_pairs(
    corpus: &Corpus,
    limit: usize,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<FxHashMap<u64, u64>, Error> {
    let mut pairs: FxHashMap<u64, u64> = FxHashMap::default();
    let (mut done, mut reported) = (0_u64, 0);
    let total = corpus.total();
    corpus.token_file.sentences(|sentence| {
        for two in sentence.windows(2) {
            *pairs.entry((u64::from(two[0]) << 32) | u64::from(two[1])).or_insert(0) += 1;
        }
        if pairs.len() > limit.max(MIN_PAIRS) {
            let mut counts: Vec<u64> = pairs.values().copied().collect();
            let (_, threshold_count, _) = counts.select_nth_unstable_by(limit.max(MIN_PAIRS) * 3 / 4, |a, b| b.cmp(a));
            let threshold_count = *threshold_count;
            pairs.retain(|_, count| *count > threshold_count);
        }
        done += sentence.len() as u64;
        if done - reported >= 500_000 {
            reported = done;
            report_progress(observe, TrainProgress::of("joining phrases", done, total))?;
        }
        Ok(())
    })?;
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::token_file::END;
    use crate::words::{corpus::tokens, corpus_reader::of_text};

    fn read(passes: usize) -> Corpus {
        let lines = [
            (20, "he saw new york today"),
            (30, "he found the new dog"),
            (30, "a dog saw the new cat"),
            (60, "today he found a cat"),
        ];
        let text: String = lines.iter().map(|(times, line)| format!("{line}\n").repeat(*times)).collect();
        // By hand: (20 - 1) / (80 20) 730 is 8.7 for "new york"; 3.5 for "saw new", 9.0 for "the new", 7.1 for
        // "saw the".
        let phrases = Some(Phrases { passes, threshold: 7.5, discount: 1 });
        of_text(text.as_bytes(), &CorpusOptions { phrases, ..crate::words::corpus_reader::from(2) }).unwrap()
    }

    fn sentence(corpus: &Corpus, index: usize) -> Vec<String> {
        let tokens = tokens(corpus);
        let sentence = tokens.split(|&token| token == END).nth(index).unwrap();
        sentence.iter().map(|&token| corpus.words[token as usize].clone()).collect()
    }

    #[test]
    fn words_that_belong_together_become_one() {
        let one = read(1);
        assert_eq!(sentence(&one, 0), ["he", "saw", "new_york", "today"]);
        assert_eq!(sentence(&one, 50), ["a", "dog", "saw", "the_new", "cat"]);
        assert!(one.counts.windows(2).all(|two| two[0] >= two[1]));
        assert!(!one.words.contains(&"york".to_string()), "a word that is only in phrases goes");
        let two = read(2);
        assert_eq!(sentence(&two, 0), ["he", "saw_new_york", "today"]);
        let mut counted = vec![0; two.words.len()];
        tokens(&two).iter().filter(|&&token| token != END).for_each(|&token| counted[token as usize] += 1);
        assert_eq!(two.counts, counted);
    }
}
