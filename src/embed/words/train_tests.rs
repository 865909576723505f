//! Tests of training word vectors.

use super::*;
use crate::embed::{Embedder, ErrorKind};
use std::time::Instant;

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
        assert!(last.loss.unwrap() < first.loss.unwrap() - 0.15, "{first:?} {last:?}");
        assert!(last.learning_rate < 0.01);
        assert!(seen.iter().any(|progress| progress.phase == "weighting"));
        // Two threads on a vocabulary this small overwrite each other often; what one thread learns is exact.
        if threads == 1 {
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

/// Trains on the repository's corpus and prints the quality: for people who choose settings. The settings are taken
/// from the environment: `WORDS_SUBSAMPLE=1e-3 WORDS_OUT=/tmp/words cargo test --release --lib measure_settings -- --ignored --nocapture`.
#[test]
#[ignore = "slow: trains on 22 million words for minutes"]
#[allow(clippy::print_stderr)]
fn measure_settings() {
    fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
        std::env::var(format!("WORDS_{name}")).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    }
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let default = TrainOptions::default();
    let options = TrainOptions {
        dimension: setting("DIM", default.dimension),
        window: setting("WINDOW", default.window),
        negative: setting("NEGATIVE", default.negative),
        min_count: setting("MIN_COUNT", default.min_count),
        subsample: setting("SUBSAMPLE", default.subsample),
        epochs: setting("EPOCHS", default.epochs),
        threads: setting("THREADS", default.threads),
        seed: setting("SEED", default.seed),
        learning_rate: setting("RATE", default.learning_rate),
        store: Precision::from_name(&setting("STORE", "f32".to_owned())).unwrap(),
    };
    let files: Vec<PathBuf> = ["enwiki-featured-2019", "enwiki-good-sample-2019"]
        .iter()
        .map(|name| data.join("wikipedia").join(format!("{name}.txt.gz")))
        .collect();
    let begin = Mutex::new((None, 0_u64));
    let model = train(&files, &options, &|progress| {
        let mut begin = begin.lock().unwrap();
        if progress.phase != "training" {
            return;
        }
        let start = *begin.0.get_or_insert_with(Instant::now);
        begin.1 += 1;
        if begin.1 % 500 == 0 || progress.done == progress.total {
            let rate = progress.done as f64 / start.elapsed().as_secs_f64();
            eprintln!(
                "{}/{} loss {:.4} {:.0} words/s",
                progress.done,
                progress.total,
                progress.loss.unwrap_or(0.0),
                rate
            );
        }
    })
    .unwrap();
    eprintln!("{options:?}: {} words", model.vocabulary().len());
    if let Ok(folder) = std::env::var("WORDS_OUT") {
        model.save(std::path::Path::new(&folder)).unwrap();
    }
    use crate::embed::words::eval;
    for file in ["EN-WS-353-ALL.txt", "EN-SIMLEX-999.txt"] {
        eprintln!("{:?}", eval::similarity(&model, &data.join("word-eval").join(file)).unwrap());
    }
    let found = eval::analogies(&model, &data.join("word-eval/questions-words.txt"), eval::RESTRICT).unwrap();
    let total: u64 = found.sections.iter().map(|section| section.total).sum();
    eprintln!("analogies {:.4} of {total}", found.accuracy);
}

/// Compares ways to fill a blank and to embed a text, on held-out places of the repository's corpus, for the model in
/// the folder `WORDS_OUT`.
#[test]
#[ignore = "slow: for people who choose settings"]
#[allow(clippy::print_stderr)]
fn measure_uses() {
    use crate::embed::text::TextEmbedder;
    use crate::embed::words::data::for_each_line;
    use crate::math::train::multiply;
    let model = WordModel::load(std::path::Path::new(&std::env::var("WORDS_OUT").unwrap())).unwrap();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/wikipedia/enwiki-good-sample-2019.txt.gz");
    let mut lines: Vec<String> = Vec::new();
    for_each_line(&file, &mut |line| lines.push(line.to_owned())).unwrap();
    let lines: Vec<&String> = lines.iter().filter(|line| line.len() > 200).step_by(20).take(2_000).collect();

    // Blanks: the word in the middle of a line, from `reach` words on each side.
    let dimension = model.dimension();
    for (plus, minus) in [
        (&["alligator"][..], &[][..]),
        (&["crocodile"], &[]),
        (&["turnip"], &[]),
        (&["eagle"], &[]),
        (&["king", "woman"], &["man"]),
    ] {
        eprintln!("{plus:?} - {minus:?}: {:?}", model.nearest(plus, minus, 12).unwrap());
    }
    for pattern in ["the ___ cat", "___ black ___", "the ___ of france", "she ___ to the theatre"] {
        eprintln!("{pattern}: {:?}", model.fill_blank(pattern, 16).unwrap()[0]);
    }

    // Blanks: the word in the middle of a line from the words on each side; all words, and those past the hundred most
    // frequent, which grammar would tell.
    for (weighted, mean, reach, power) in [
        (false, true, 2, 0.75),
        (false, true, 2, 0.5),
        (false, true, 2, 0.25),
        (true, true, 2, 0.75),
        (true, true, 2, 0.5),
        (true, true, 2, 0.25),
        (true, true, 5, 0.5),
        (true, true, 5, 0.25),
        (true, false, 2, 0.75),
        (true, false, 2, 0.5),
        (true, false, 5, 0.75),
        (true, false, 5, 0.5),
        (true, false, 5, 0.25),
    ] {
        let scores = |around: &[usize]| {
            let mut query = vec![0.0_f32; dimension];
            let mut sum = 0.0;
            for &word in around {
                let weight = if weighted { weight::weight(model.count(word), model.total()) } else { 1.0 };
                query.iter_mut().zip(model.row(word)).for_each(|(sum, x)| *sum += weight * x);
                sum += weight;
            }
            if mean {
                query.iter_mut().for_each(|x| *x /= sum);
            }
            let mut scores = model.output_scores(&query).unwrap();
            for (number, score) in scores.iter_mut().enumerate() {
                *score += (power * (model.count(number) as f64).ln()) as f32;
            }
            scores
        };
        let (mut right, mut asked) = ([0; 2], [0; 2]);
        for line in lines.iter().take(1_000) {
            let words: Vec<usize> =
                super::super::tokenize::list(line).iter().filter_map(|word| model.number(word)).collect();
            let at = words.len() / 2;
            if words.len() < 12 {
                continue;
            }
            let around: Vec<usize> = words[at - reach..at].iter().chain(&words[at + 1..=at + reach]).copied().collect();
            let scores = scores(&around);
            let better = scores
                .iter()
                .enumerate()
                .filter(|(number, score)| **score > scores[words[at]] && !around.contains(number))
                .count();
            for rare in 0..=usize::from(words[at] >= 100) {
                asked[rare] += 1;
                right[rare] += usize::from(better < 10);
            }
        }
        eprintln!("blank: weighted {weighted}, mean {mean}, reach {reach}, power {power}: @10 {right:?} of {asked:?}");
        for pattern in [&["the", "cat"][..], &["the", "of", "france"], &["black"]] {
            let around: Vec<usize> = pattern.iter().map(|word| model.number(word).unwrap()).collect();
            let best: Vec<String> = model.best(&scores(&around), 9).into_iter().map(|(word, _)| word).collect();
            eprintln!("    {pattern:?}: {}", best.join(" "));
        }
    }

    // Texts: the second half of a paragraph is found by the first.
    let model = std::sync::Arc::new(model);
    let embedder = TextEmbedder::new(model).unwrap();
    let tap = embedder.taps()[0].clone();
    let halves = |first: bool| -> Vec<f32> {
        let half = |line: &&String| {
            let middle = (line.len() / 2..line.len()).find(|&at| line.is_char_boundary(at)).unwrap();
            let half = if first { &line[..middle] } else { &line[middle..] };
            embedder.embed(&tap, &crate::embed::Input::Text(half)).unwrap()
        };
        lines.iter().flat_map(half).collect()
    };
    let (first, second) = (halves(true), halves(false));
    let n = lines.len();
    let mut scores = vec![0.0; n * n];
    multiply(&first, n, &second, n, dimension, &mut scores);
    let right = scores.chunks(n).enumerate().filter(|(at, row)| row.iter().all(|&score| score <= row[*at])).count();
    eprintln!("text: {right} of {n} halves found");
}
