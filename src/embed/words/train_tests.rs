use super::*;
use std::time::Instant;

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
            eprintln!("{}/{} loss {:.4} {:.0} words/s", progress.done, progress.total, progress.loss.unwrap_or(0.0), rate);
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
