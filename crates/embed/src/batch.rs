//! Batch embedding: splits many inputs into chunks that can be cancelled in between, on a separate thread pool.

use super::{Embedder, Error, Input, OutputLayer, image_decode};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::OnceLock;

/// Limits of a chunk of texts, their number and their bytes. A chunk is the unit of cancellation and of the memory for
/// vectors; a larger one has more work for all threads.
const MAX_CHUNK_TEXTS: usize = 128;
const MAX_CHUNK_TEXT_BYTES: usize = 1 << 20;
/// Limits of a chunk of images, their number, and the pixels at which it ends; they trade the same.
const MAX_CHUNK_IMAGES: usize = 1_024;
const MAX_CHUNK_PIXELS: u64 = 2_000_000;

/// Runs `work` on the embedding thread pool, which has one thread per core. Searches use another pool, so that no
/// search waits for an image to be embedded. A thread that is already in a pool stays in it.
pub fn run_on_embed_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let pool = POOL.get_or_init(|| {
        let builder = ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
        let pool = builder.thread_name(|at| format!("embed-{at}")).build();
        pool.inspect_err(
            |error| tracing::warn!(%error, "starting the embedding threads failed; embedding uses the search threads"),
        )
        .ok()
    });
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// [`Embedder::embed_batch`] in chunks. A chunk of images holds one image per thread, or more if they are small. Calls
/// `should_continue` before each chunk with the results of the previous one; returns the vectors so far once
/// `should_continue` returns false.
pub fn embed_in_chunks(
    embedder: &dyn Embedder,
    layer: &OutputLayer,
    inputs: &[Input<'_>],
    mut should_continue: impl FnMut(&[Result<Vec<f32>, Error>]) -> bool,
) -> Vec<Result<Vec<f32>, Error>> {
    let mut vectors = Vec::with_capacity(inputs.len());
    let (mut rest, mut last) = (inputs, 0);
    while !rest.is_empty() && should_continue(&vectors[last..]) {
        let (chunk, after) = rest.split_at(chunk_len(rest));
        last = vectors.len();
        vectors.extend(run_on_embed_pool(|| embedder.embed_batch(layer, chunk)));
        rest = after;
    }
    vectors
}

/// Number of inputs in the next chunk, at least 1.
fn chunk_len(inputs: &[Input<'_>]) -> usize {
    let threads = rayon::current_num_threads();
    let (mut texts, mut text_bytes, mut images, mut pixels) = (0, 0, 0, 0);
    let mut full = |input: &Input<'_>| {
        match input {
            Input::Text(text) => {
                texts += 1;
                text_bytes += text.len();
            }
            Input::Image(bytes) => {
                images += 1;
                pixels += image_decode::pixels(bytes).unwrap_or(0);
            }
        }
        texts >= MAX_CHUNK_TEXTS
            || text_bytes >= MAX_CHUNK_TEXT_BYTES
            || images >= MAX_CHUNK_IMAGES
            || (images >= threads && pixels >= MAX_CHUNK_PIXELS)
    };
    inputs.iter().position(&mut full).map_or(inputs.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::super::{Fingerprint, Fingerprinter, Modality, ModelCard};
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the inputs it embeds; refuses an empty text.
    struct Counting(AtomicUsize, [OutputLayer; 1], ModelCard);

    impl Embedder for Counting {
        fn name(&self) -> &str {
            "counting"
        }
        fn modality(&self) -> Modality {
            Modality::Text
        }
        fn output_layers(&self) -> &[OutputLayer] {
            &self.1
        }
        fn fingerprint(&self) -> Fingerprint {
            Fingerprinter::new("counting").finish()
        }
        fn card(&self) -> &ModelCard {
            &self.2
        }
        fn embed(&self, _: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(std::thread::current().name().is_some_and(|name| name.starts_with("embed-")));
            match input {
                Input::Text("") => Err(Error::InvalidInput("nothing".into())),
                Input::Text(text) => Ok(vec![text.len() as f32]),
                Input::Image(_) => Ok(vec![0.0]),
            }
        }
    }

    fn counting() -> Counting {
        let layer = OutputLayer { name: "one", dimension: 1, about: "" };
        Counting(AtomicUsize::new(0), [layer], ModelCard::default())
    }

    #[test]
    fn a_batch_ends_after_the_chunk_at_which_the_callback_returns_false() {
        let embedder = counting();
        let mut texts = vec![Input::Text("abc"); 10 * MAX_CHUNK_TEXTS];
        texts[MAX_CHUNK_TEXTS + 1] = Input::Text("");
        let good = |last: &[Result<Vec<f32>, Error>]| last.iter().all(Result::is_ok);
        let vectors = embed_in_chunks(&embedder, &embedder.1[0], &texts, good);
        assert_eq!((vectors.len(), embedder.0.load(Ordering::Relaxed)), (2 * MAX_CHUNK_TEXTS, 2 * MAX_CHUNK_TEXTS));
        assert_eq!(vectors.iter().position(Result::is_err), Some(MAX_CHUNK_TEXTS + 1));
        let all = embed_in_chunks(&embedder, &embedder.1[0], &texts, |_| true);
        assert_eq!(all.len(), texts.len());
        assert!(embed_in_chunks(&embedder, &embedder.1[0], &texts, |_| false).is_empty());
    }

    #[test]
    fn large_inputs_make_short_chunks() {
        let text = "x".repeat(MAX_CHUNK_TEXT_BYTES);
        assert_eq!(chunk_len(&[Input::Text("a"), Input::Text(&text), Input::Text("a")]), 2);
        // The header of a PNG of 8,000 x 4,000 pixels.
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([8_000_u32.to_be_bytes(), 4_000_u32.to_be_bytes()].concat());
        png.extend([8, 0, 0, 0, 0]);
        png.extend(crc32fast::hash(&png[12..]).to_be_bytes());
        png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        assert_eq!(image_decode::pixels(&png), Some(32_000_000));
        assert_eq!(chunk_len(&vec![Input::Image(&png); 100]), rayon::current_num_threads());
        assert_eq!(chunk_len(&vec![Input::Image(&[0; 784]); 100]), 100);
    }
}
