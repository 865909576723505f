//! Tests.
use super::*;

#[test]
#[ignore = "slow: trains the default into the folder that NEARNESS_OUT names"]
fn train_the_default() {
    use std::path::Path;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist");
    let read = |kind: &str| {
        LabelledImages::read(
            &data.join(format!("{kind}-images-idx3-ubyte.gz")),
            &data.join(format!("{kind}-labels-idx1-ubyte.gz")),
        )
        .unwrap()
    };
    let (images, test) = (read("train"), read("t10k"));
    let get = |name: &str, default: f64| std::env::var(name).map_or(default, |v| v.parse().unwrap());
    let options = TrainOptions {
        epochs: get("EPOCHS", 8.0) as usize,
        seed: get("SEED", 1.0) as u64,
        learning_rate: get("RATE", 2e-3) as f32,
        batch: get("BATCH", 64.0) as usize,
        threads: get("THREADS", 0.0) as usize,
        augment: get("AUGMENT", 1.0) > 0.0,
    };
    let images = images.first(get("N", 1e9) as usize);
    let start = std::time::Instant::now();
    let net = train(&images, Some(&test), &options, &|p| {
        if p.test_accuracy.is_some() {
            eprintln!("{:6.1} s {p:?}", start.elapsed().as_secs_f64());
        }
    })
    .unwrap();
    net.save(Path::new(&std::env::var("NEARNESS_OUT").unwrap())).unwrap();
}
