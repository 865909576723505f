//! Tests of training word vectors.

use super::super::options::{Checkpoints, MAX_DIMENSION, Postprocessing};
use super::*;
use crate::{Embedder, ErrorKind, words::sampling::Random};
use std::sync::Mutex;

/// Sentences about animals and about fruit: words of the same topic occur together, words of different topics never do.
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

fn train_on(
    text: &str,
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<WordModel, Error> {
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
        let model = train_on(&text, &options, &|progress| {
            seen.lock().unwrap().push(progress.clone());
            true
        })
        .unwrap();
        let seen = seen.into_inner().unwrap();
        let training: Vec<&TrainProgress> = seen.iter().filter(|progress| progress.phase == "training").collect();
        assert!(training.windows(2).all(|pair| pair[0].done <= pair[1].done));
        let (first, last) = (training[0], training[training.len() - 1]);
        assert_eq!((last.done, last.total), (4 * 48_000, 4 * 48_000));
        assert!(seen.iter().any(|progress| progress.phase == "weighting"));
        // With such a small vocabulary, two threads often overwrite each other's updates; one thread is exact.
        // A preempted thread also reports late.
        if threads == 1 {
            assert!(last.learning_rate < 0.01);
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
        let model = train_on(&text, &options, &|_| true).unwrap();
        assert_eq!(model.objective(), objective);
        let near = model.nearest(&["plum"], &[], 3).unwrap();
        let fruit = ["apple", "pear", "peel", "seed", "juice", "the"];
        assert!(near.iter().all(|(word, _)| fruit.contains(&word.as_str())), "{objective:?} {ngrams:?}: {near:?}");
        let filled = &model.fill_blank("cat paw ___ dog fur", 3).unwrap()[0];
        assert!(filled.iter().all(|(word, _)| !fruit[..5].contains(&word.as_str())), "{objective:?}: {filled:?}");
        // A misspelt word lies near the intended one.
        assert_eq!(model.vector_of_any("applle").is_some(), ngrams.is_some());
        if ngrams.is_some() {
            assert_eq!(model.nearest(&["applle"], &[], 1).unwrap()[0].0, "apple");
        }
    }
}

#[test]
fn glove_learns_the_topics_too() {
    let text = topics(4_000);
    let options = TrainOptions {
        objective: Objective::Glove,
        epochs: 15,
        postprocessing: Postprocessing::NONE,
        ..small_options()
    };
    let model = train_on(&text, &options, &|_| true).unwrap();
    assert_eq!(model.objective(), Objective::Glove);
    for (word, topic) in
        [("cat", ["dog", "paw", "tail", "fur", "bark"]), ("plum", ["apple", "pear", "peel", "seed", "juice"])]
    {
        let near = model.nearest(&[word], &[], 4).unwrap();
        assert!(near.iter().all(|(near, _)| topic.contains(&near.as_str()) || near == "the"), "{word}: {near:?}");
    }
    assert_eq!(model.fingerprint(), train_on(&text, &options, &|_| true).unwrap().fingerprint());
    let without = train_on(&text, &TrainOptions { cloze_epochs: 0, ..options.clone() }, &|_| true).unwrap();
    assert!(!without.has_output_layer() && model.has_output_layer());
    let ngrams = Some(Ngrams { min: 2, max: 4, buckets: 500 });
    assert!(train_on(&text, &TrainOptions { ngrams, ..options }, &|_| true).is_err());
}

#[test]
fn one_thread_and_one_seed_give_the_same_bits() {
    let text = topics(500);
    let fingerprint = |options: &TrainOptions| train_on(&text, options, &|_| true).unwrap().fingerprint();
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
        let error = train_on("a b", &bad, &|_| true).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
    let error = train_on("a b c", &good, &|_| true).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("5 times"), "{error}");
    let model = train_on("a", &TrainOptions { min_count: 1, ..good }, &|_| true).unwrap();
    assert!(model.rows().iter().all(|x| x.is_finite()), "one word, nothing to learn, no panic");
}

/// Cancels a training from the observer.
fn interrupted(path: &std::path::Path, options: &TrainOptions, phase: &'static str, share: f64) {
    let stopped = train(&[path.to_path_buf()], options, &|progress| {
        progress.phase != phase || (progress.done as f64) < share * progress.total as f64
    });
    assert!(matches!(stopped, Err(Error::Cancelled)), "it should stop in {phase}");
}

#[test]
fn a_resumed_training_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.txt");
    std::fs::write(&path, topics(1_000)).unwrap();
    let whole = train(std::slice::from_ref(&path), &small_options(), &|_| true).unwrap();
    let checkpoints = Checkpoints { folder: folder.path().join("kept"), interval: std::time::Duration::ZERO };
    let options = TrainOptions { checkpoints: Some(checkpoints.clone()), ..small_options() };
    for (phase, share) in [("training", 0.3), ("training", 0.6), ("blanks", 0.5)] {
        interrupted(&path, &options, phase, share);
    }
    let seen = Mutex::new(Vec::new());
    let resumed = train(std::slice::from_ref(&path), &options, &|progress| {
        seen.lock().unwrap().push((progress.phase, progress.done, progress.total));
        true
    })
    .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(!seen.iter().any(|(phase, ..)| ["counting", "training"].contains(phase)), "that was done before");
    assert!(seen.iter().all(|(phase, done, total)| *phase != "blanks" || done * 5 > total * 2), "{seen:?}");
    assert_eq!(resumed.fingerprint(), whole.fingerprint());
    let names = || std::fs::read_dir(&checkpoints.folder).unwrap().count();
    assert_eq!(names(), 5, "tokens, vocabulary, plan, and two states");

    // Other settings, a changed corpus and a damaged state are refused.
    let other = TrainOptions { seed: 9, window: 4, ..options.clone() };
    let error = train(std::slice::from_ref(&path), &other, &|_| true).map(drop).unwrap_err().to_string();
    assert!(error.contains("seed was 1, is 9") && error.contains("window was 6, is 4"), "{error}");
    for state in ["blanks.state", "training.state"] {
        let state = checkpoints.folder.join(state);
        let good = std::fs::read(&state).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&state, &bad).unwrap();
        let error = train(std::slice::from_ref(&path), &options, &|_| true).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        std::fs::write(&state, &good[..good.len() - 1]).unwrap();
        assert_eq!(
            train(std::slice::from_ref(&path), &options, &|_| true).map(drop).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        std::fs::write(&state, good).unwrap();
    }
    crate::words::remove_checkpoint(&checkpoints.folder).unwrap();
    assert!(!checkpoints.folder.exists());
    // A folder with other files is left unchanged.
    std::fs::create_dir(&checkpoints.folder).unwrap();
    std::fs::write(checkpoints.folder.join("thesis.txt"), "precious").unwrap();
    let error = train(std::slice::from_ref(&path), &options, &|_| true).map(drop).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
}

#[test]
fn cloze_predictions_depend_on_word_positions() {
    // "red x blue" and "blue y red": only the word order determines the word between.
    let mut random = Random::new(5, 5);
    let mut text = String::new();
    for _ in 0..6_000 {
        let filler = ["one", "two", "three", "four"][random.below(4) as usize];
        let part = if random.below(2) == 0 { "red cat blue" } else { "blue dog red" };
        text += &format!("{filler} {part} {filler}\n");
    }
    let model = train_on(&text, &TrainOptions { cloze_epochs: 3, ..small_options() }, &|_| true).unwrap();
    for (pattern, word) in [("red ___ blue", "cat"), ("blue ___ red", "dog"), ("one red ___ blue one", "cat")] {
        let found = &model.fill_blank(pattern, 2).unwrap()[0];
        assert!(found[0].0 == word && found[0].1 > 0.5, "{pattern}: {found:?}");
    }
    let two = model.fill_blank("___ cat ___", 1).unwrap();
    assert_eq!([two[0][0].0.as_str(), two[1][0].0.as_str()], ["red", "blue"]);
    // The layer survives saving and loading, and is part of the fingerprint.
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let back = WordModel::load(folder.path()).unwrap();
    assert_eq!(
        (back.fingerprint(), back.fill_blank("red ___ blue", 2).unwrap()),
        (model.fingerprint(), model.fill_blank("red ___ blue", 2).unwrap())
    );
    let without = train_on(&text, &TrainOptions { cloze_epochs: 0, ..small_options() }, &|_| true).unwrap();
    assert_ne!(without.fingerprint(), model.fingerprint());
}

#[cfg(not(feature = "transformers"))]
#[test]
fn pieces_need_the_feature() {
    let error = train_on(&topics(10), &TrainOptions { pieces: Some(200), ..small_options() }, &|_| true).err().unwrap();
    assert!(error.to_string().contains("the cargo feature \"transformers\""), "{error}");
}

/// Words of a topic share a prefix, so that pieces carry the meaning; in two scripts.
#[cfg(feature = "transformers")]
#[test]
fn unknown_words_have_the_vectors_of_their_pieces() {
    let mut text = String::new();
    let mut random = Random::new(3, 3);
    for sentence in 0..6_000 {
        let topic = ["кот", "apple"][sentence % 2];
        for _ in 0..8 {
            let ends = ["ing", "ed", "ной", "er", "ская", "ly"];
            let mut end = || ends[random.below(6) as usize];
            text += &format!("{topic}{}{} ", end(), end());
        }
        text.push('\n');
    }
    let options =
        TrainOptions { pieces: Some(100), postprocessing: Postprocessing::NONE, cloze_epochs: 0, ..small_options() };
    let model = train_on(&text, &options, &|_| true).unwrap();
    assert!(model.vocabulary().len() <= 100);
    let unseen = ["котlyedlying", "applelyedlying"].map(|word| {
        assert!(model.number(word).is_none() && model.pieces_of(word).len() > 1, "{word}");
        model.vector_of_any(word).unwrap().into_owned()
    });
    assert_ne!(unseen[0], unseen[1]);
    assert!(model.vector_of_any("ŋŋŋ").is_none(), "letters outside the training corpus");
    // Saving and loading, and training again with checkpoints, give the same model.
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let back = WordModel::load(folder.path()).unwrap();
    assert_eq!(back.fingerprint(), model.fingerprint());
    assert_eq!(back.vector_of_any("котlyedlying").unwrap(), unseen[0]);
    let checkpoint_folder = folder.path().join("checkpoints");
    let checkpoints = Some(Checkpoints { folder: checkpoint_folder.clone(), interval: std::time::Duration::ZERO });
    let corpus = folder.path().join("corpus");
    std::fs::write(&corpus, &text).unwrap();
    let again = TrainOptions { checkpoints, ..options.clone() };
    let seen = Mutex::new(0);
    let stop = |progress: &TrainProgress| {
        *seen.lock().unwrap() += i32::from(progress.phase == "training");
        *seen.lock().unwrap() < 2
    };
    assert!(matches!(train(std::slice::from_ref(&corpus), &again, &stop), Err(Error::Cancelled)));
    assert!(checkpoint_folder.join("tokenizer.json").exists());
    let resumed = train(&[corpus], &again, &|_| true).unwrap();
    assert_eq!(resumed.fingerprint(), model.fingerprint());
    // A block of text is embedded by its pieces.
    let text = crate::text::TextEmbedder::new(std::sync::Arc::new(back)).unwrap();
    let near = |a: &str, b: &str| -> f32 {
        let embed = |text_: &str| text.embed(&text.output_layers()[0], &crate::Input::Text(text_)).unwrap();
        embed(a).iter().zip(embed(b)).map(|(a, b)| a * b).sum()
    };
    assert!(near("котlyedlying котingerly", "котeder") > near("котlyedlying котingerly", "appleeder"));
    // The tokenizer file is part of the model: damage to it is detected.
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(WordModel::load(folder.path()), Err(Error::Corrupt { .. })));
    for invalid in [
        TrainOptions { pieces: Some(99), ..options.clone() },
        TrainOptions { phrases: Some(Default::default()), ..options.clone() },
    ] {
        assert!(matches!(train_on("a b c", &invalid, &|_| true), Err(Error::InvalidInput(_))));
    }
}
