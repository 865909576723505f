//! Tests of training word vectors.

use super::*;
use crate::embed::{Embedder, ErrorKind};

/// Sentences about animals and about fruit: words of a topic occur together, words of two topics never do.
fn topics(sentences: usize) -> String {
    const TOPICS: [[&str; 6]; 2] =
        [["cat", "dog", "paw", "tail", "fur", "bark"], ["apple", "pear", "plum", "peel", "seed", "juice"]];
    let mut random = Random::new(7, 7);
    let mut text = String::new();
    for sentence in 0..sentences {
        for _ in 0..12 {
            text.push_str(if random.below(3) == 0 { "the" } else { TOPICS[sentence % 2][random.below(6) as usize] });
            text.push(' ');
        }
        text.push('\n');
    }
    text
}

fn small_options() -> TrainOptions {
    TrainOptions {
        dimension: 20,
        subsample: 0.01,
        epochs: 4,
        threads: 1,
        learning_rate: 0.05,
        ..TrainOptions::default()
    }
}

fn train_on(text: &str, options: &TrainOptions, observe: &(dyn Fn(&TrainProgress) + Sync)) -> Result<WordModel, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.txt");
    std::fs::write(&path, text).unwrap();
    train(&[path], options, observe)
}

#[test]
fn training_learns_the_topics_and_its_loss_falls() {
    let text = topics(4_000);
    for threads in [1, 2] {
        let seen = Mutex::new(Vec::new());
        let options = TrainOptions { threads, ..small_options() };
        let model = train_on(&text, &options, &|progress| seen.lock().unwrap().push(progress.clone())).unwrap();
        let seen = seen.into_inner().unwrap();
        let training: Vec<&TrainProgress> = seen.iter().filter(|progress| progress.phase == "training").collect();
        assert!(training.windows(2).all(|pair| pair[0].done <= pair[1].done));
        let (first, last) = (training[0], training[training.len() - 1]);
        assert_eq!((last.done, last.total), (4 * 48_000, 4 * 48_000));
        assert!(last.learning_rate < 0.01);
        assert!(seen.iter().any(|progress| progress.phase == "weighting"));
        // Two threads on a vocabulary this small overwrite each other often; what one thread learns is exact.
        if threads == 1 {
            assert!(last.loss.unwrap() < first.loss.unwrap() - 0.15, "{first:?} {last:?}");
            for (word, topic) in
                [("cat", ["dog", "paw", "tail", "fur", "bark"]), ("plum", ["apple", "pear", "peel", "seed", "juice"])]
            {
                for (near, score) in model.nearest(&[word], &[], 5).unwrap() {
                    assert!(
                        topic.contains(&near.as_str()) || near == "the",
                        "{threads} threads: {word}, {near}, {score}"
                    );
                }
            }
            let beside = &model.fill_blank("cat ___ dog", 5).unwrap()[0];
            assert!(beside.iter().all(|(word, _)| !["apple", "pear", "plum"].contains(&word.as_str())), "{beside:?}");
        }
        let common = model.common().unwrap();
        assert!((common.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
    }
}

#[test]
fn cbow_and_n_grams_learn_the_topics_too() {
    let text = topics(4_000);
    let ngrams = Some(Ngrams { min: 2, max: 4, buckets: 500 });
    for (objective, ngrams) in [(Objective::Cbow, None), (Objective::SkipGram, ngrams), (Objective::Cbow, ngrams)] {
        let options = TrainOptions { objective, ngrams, ..small_options() };
        let model = train_on(&text, &options, &|_| {}).unwrap();
        assert_eq!(model.objective(), objective);
        let near = model.nearest(&["plum"], &[], 3).unwrap();
        let fruit = ["apple", "pear", "peel", "seed", "juice", "the"];
        assert!(near.iter().all(|(word, _)| fruit.contains(&word.as_str())), "{objective:?} {ngrams:?}: {near:?}");
        let filled = &model.fill_blank("cat paw ___ dog fur", 3).unwrap()[0];
        assert!(filled.iter().all(|(word, _)| !fruit[..5].contains(&word.as_str())), "{objective:?}: {filled:?}");
        // A misspelt word lies by the one that was meant.
        assert_eq!(model.vector_of_any("applle").is_some(), ngrams.is_some());
        if ngrams.is_some() {
            assert_eq!(model.nearest(&["applle"], &[], 1).unwrap()[0].0, "apple");
        }
    }
}

#[test]
fn one_thread_and_one_seed_give_the_same_bits() {
    let text = topics(500);
    let fingerprint = |options: &TrainOptions| train_on(&text, options, &|_| {}).unwrap().fingerprint();
    let options = small_options();
    assert_eq!(fingerprint(&options), fingerprint(&options));
    assert_ne!(fingerprint(&options), fingerprint(&TrainOptions { seed: 2, ..options.clone() }));
}

#[test]
fn options_outside_their_limits_are_refused() {
    let good = small_options();
    for bad in [
        TrainOptions { dimension: 0, ..good.clone() },
        TrainOptions { dimension: MAX_DIMENSION + 1, ..good.clone() },
        TrainOptions { window: 0, ..good.clone() },
        TrainOptions { negative: 101, ..good.clone() },
        TrainOptions { epochs: 0, ..good.clone() },
        TrainOptions { threads: 5_000, ..good.clone() },
        TrainOptions { subsample: f64::NAN, ..good.clone() },
        TrainOptions { subsample: -1.0, ..good.clone() },
        TrainOptions { learning_rate: f32::NAN, ..good.clone() },
        TrainOptions { learning_rate: 0.0, ..good.clone() },
    ] {
        let error = train_on("a b", &bad, &|_| {}).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
    let error = train_on("a b c", &good, &|_| {}).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("5 times"), "{error}");
    let model = train_on("a", &TrainOptions { min_count: 1, ..good }, &|_| {}).unwrap();
    assert!(model.rows().iter().all(|x| x.is_finite()), "one word, nothing to learn, no panic");
}

#[test]
fn draws_follow_the_counts() {
    let counts = [1_000_u64, 100, 10, 1];
    let alias = Alias::new(&counts);
    let mut random = Random::new(3, 0);
    let mut drawn = [0_u64; 4];
    (0..1_000_000).for_each(|_| drawn[alias.draw(&mut random) as usize] += 1);
    let total: f64 = counts.iter().map(|&count| (count as f64).powf(NOISE_POWER)).sum();
    for (&count, &drawn) in counts.iter().zip(&drawn) {
        let expected = (count as f64).powf(NOISE_POWER) / total * 1e6;
        assert!((drawn as f64 - expected).abs() < 6.0 * expected.sqrt(), "{count}: {drawn}, {expected}");
    }
    let keep = keep_thresholds(&counts, 0.01);
    assert!(keep[0] < keep[1] && keep[2] == u32::MAX && keep[3] == u32::MAX);
    assert!(keep_thresholds(&counts, 0.0).iter().all(|&keep| keep == u32::MAX));
}

#[test]
fn blocks_are_whole_sentences_and_cover_all() {
    let tokens: Vec<u32> = (0..10_000).map(|at| if at % 7 == 6 { END } else { 1 }).collect();
    let blocks = cut(&tokens);
    assert!(blocks.len() > 5);
    assert_eq!((blocks[0].start, blocks[blocks.len() - 1].end), (0, tokens.len()));
    assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start && tokens[pair[0].end - 1] == END));
    assert!(cut(&[]).is_empty());
}
