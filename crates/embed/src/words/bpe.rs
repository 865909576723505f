//! Subword tokenization of a corpus: any word of any language has a vector, that of its pieces.

use super::{
    corpus::{Corpus, CorpusOptions, MAX_SENTENCE_WORDS},
    options::{TrainProgress, report_progress},
    token_file::END,
};
use crate::{Error, transformers::Pieces};
use rustc_hash::FxHashMap;

/// Learns a segmentation of words into at most `size` distinct pieces, and segments the words of the corpus.
///
/// # Errors
/// As [`Pieces::learn`]; [`Error::Io`]; [`Error::Cancelled`].
pub(super) fn segment_corpus(
    corpus: &mut Corpus,
    size: usize,
    corpus_options: &CorpusOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<Pieces, Error> {
    let total = corpus.total();
    report_progress(observe, TrainProgress::of("cutting words", 0, total))?;
    let pieces = Pieces::learn(&corpus.words, &corpus.counts, size)?;
    let mut numbers: FxHashMap<String, u32> = FxHashMap::default();
    // The pieces of all words, concatenated, and the end of each word.
    let (mut flat, mut ends) = (Vec::<u32>::new(), Vec::with_capacity(corpus.words.len()));
    for word in &corpus.words {
        for piece in pieces.of(word) {
            let next = numbers.len() as u32;
            flat.push(*numbers.entry(piece).or_insert(next));
        }
        ends.push(flat.len());
    }
    let mut names = vec![String::new(); numbers.len()];
    numbers.into_iter().for_each(|(piece, number)| names[number as usize] = piece);
    let (mut done, mut reported) = (0, 0);
    corpus.token_file.replace_sentences(|sentence, into| {
        let mut length = 0;
        for &word in sentence.iter() {
            let word = word as usize;
            for &piece in &flat[word.checked_sub(1).map_or(0, |before| ends[before])..ends[word]] {
                into.push(piece);
                length += 1;
                if length % MAX_SENTENCE_WORDS == 0 {
                    into.push(END);
                }
            }
        }
        if length % MAX_SENTENCE_WORDS != 0 {
            into.push(END);
        }
        done += sentence.len() as u64;
        if done - reported >= 500_000 {
            reported = done;
            report_progress(observe, TrainProgress::of("cutting words", done, total))?;
        }
        Ok(())
    })?;
    (corpus.counts, corpus.words) = (vec![0; names.len()], names);
    corpus.recount()?;
    corpus.order(corpus_options.min_count, corpus_options.max_words)?;
    if corpus.words.is_empty() {
        return Err(Error::InvalidInput(format!("no piece occurs {} times or more", corpus_options.min_count)));
    }
    Ok(pieces)
}

#[cfg(all(test, feature = "transformers"))]
mod tests {
    use super::super::{
        corpus::tokens,
        corpus_reader::{from, of_text},
    };
    use super::*;

    #[test]
    fn a_corpus_is_cut_and_counted_by_pieces() {
        let text = "low lower newest widest\n".repeat(600) + &"lowest ".repeat(MAX_SENTENCE_WORDS) + "\n漢字 漢字\n";
        let corpus = of_text(text.as_bytes(), &CorpusOptions { pieces: Some(100), ..from(2) }).unwrap();
        let pieces = corpus.pieces.as_ref().unwrap();
        let tokens = tokens(&corpus);
        let sentences: Vec<Vec<&str>> = tokens
            .split(|token| *token == END)
            .map(|sentence| sentence.iter().map(|&piece| corpus.words[piece as usize].as_str()).collect())
            .collect();
        let of = |words: &str| words.split(' ').flat_map(|word| pieces.of(word)).collect::<Vec<_>>();
        assert_eq!(sentences[0], of("low lower newest widest"));
        assert!(sentences.iter().all(|sentence| sentence.len() <= MAX_SENTENCE_WORDS));
        let long: Vec<&str> = sentences[600..].concat().into_iter().take_while(|piece| !piece.contains('漢')).collect();
        assert_eq!(long, of(["lowest"; MAX_SENTENCE_WORDS].join(" ").as_str()));
        assert_eq!(sentences[sentences.len() - 2], of("漢 字 漢 字"), "each ideograph is a word (UAX 29)");
        let mut counted = vec![0; corpus.words.len()];
        tokens.iter().filter(|&&token| token != END).for_each(|&token| counted[token as usize] += 1);
        assert_eq!(corpus.counts, counted);
        assert!(corpus.counts.is_sorted_by(|a, b| a >= b));
    }
}
