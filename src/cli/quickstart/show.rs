//! Queries to the running server over gRPC, as from any client, with their results.

use super::collections::{DIGITS, Digits, PARAGRAPHS, WORDS};
use super::drawing;
use crate::cli::output;
use crate::cli::progress::count;
use crate::grpc::{Client, ClientOptions, pb};
use std::io;
use std::time::{Duration, Instant};

/// Number of sampled points for the table of recall against speed.
const SAMPLE: usize = 200;
/// Candidate list sizes, one column each.
const EFS: [u32; 4] = [10, 20, 40, 80];
const K: u32 = 10;

pub(super) async fn run(url: &str, digits: &Digits) -> anyhow::Result<()> {
    let client = &Client::connect(url, &ClientOptions::default()).await?;
    words(client).await?;
    paragraphs(client).await?;
    near_digits(client, digits).await?;
    inserts(client).await?;
    blanks(client).await?;
    recall_and_speed(client).await
}

fn heading(text: &str) -> io::Result<()> {
    output::lines(&format!("\n── {text} {}", "─".repeat(74_usize.saturating_sub(text.chars().count()))))
}

async fn search(
    client: &Client,
    collection: &str,
    form: pb::query::Form,
    k: u32,
    payload: bool,
) -> anyhow::Result<pb::SearchResponse> {
    let params = pb::SearchParams {
        k,
        fields: Some(pb::Fields { payload, vector: false, ..Default::default() }),
        ..Default::default()
    };
    let request = pb::SearchRequest {
        collection: collection.into(),
        query: Some(pb::Query { form: Some(form) }),
        params: Some(params),
        min_sequence: 0,
        offset: 0,
    };
    Ok(client.search(request).await?)
}

fn text_of(hit: &pb::Hit, field: &str) -> String {
    let value = hit.payload.as_ref().and_then(|payload| payload.fields.get(field)).and_then(|value| value.kind.clone());
    match value {
        Some(prost_types::value::Kind::StringValue(text)) => text,
        Some(prost_types::value::Kind::NumberValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn cost(stats: Option<&pb::SearchStats>) -> String {
    stats.map_or_else(String::new, |stats| {
        let path = stats.path().as_str_name().trim_start_matches("PATH_").to_lowercase();
        format!("{path}, {} distances, {} µs", stats.distances_computed, stats.search_us)
    })
}

async fn words(client: &Client) -> anyhow::Result<()> {
    heading("what is near a word?")?;
    for word in ["alligator", "turnip", "eagle"] {
        let response = search(client, WORDS, pb::query::Form::Id(word.into()), 8, false).await?;
        let near: Vec<&str> = response.hits.iter().map(|hit| hit.id.as_str()).collect();
        output::line(&format!("  {word:<10} {}   ({})", near.join(", "), cost(response.stats.as_ref())))?;
    }
    let arithmetic = pb::Arithmetic { plus: vec!["king".into(), "woman".into()], minus: vec!["man".into()] };
    let response = search(client, WORDS, pb::query::Form::Arithmetic(arithmetic), 5, false).await?;
    let near: Vec<String> = response.hits.iter().map(|hit| format!("{} {:.2}", hit.id, hit.score)).collect();
    output::line(&format!("  king - man + woman = {}", near.join(", ")))?;
    Ok(())
}

async fn paragraphs(client: &Client) -> anyhow::Result<()> {
    let sentence = "Large reptiles with strong jaws lie in wait at the edge of the river.";
    heading("which paragraphs are near a sentence?")?;
    output::line(&format!("  {sentence:?}"))?;
    let response = search(client, PARAGRAPHS, pb::query::Form::Text(sentence.into()), 4, true).await?;
    for hit in &response.hits {
        let text: String = text_of(hit, "text").chars().take(88).collect();
        output::line(&format!("  {:.3}  {}: {text}…", hit.score, text_of(hit, "title")))?;
    }
    output::line(&format!("  ({})", cost(response.stats.as_ref())))?;
    Ok(())
}

async fn near_digits(client: &Client, digits: &Digits) -> anyhow::Result<()> {
    heading("which digits are near a digit?")?;
    let query = 0;
    let id = digits.id(query);
    let response = search(client, DIGITS, pb::query::Form::Id(id.clone()), 3, true).await?;
    let mut images = vec![digits.image(query)];
    images.extend(response.hits.iter().filter_map(|hit| digits.image_of(&hit.id)));
    output::lines(drawing::in_terminal(&images).trim_end())?;
    let near: Vec<String> =
        response.hits.iter().map(|hit| format!("{} (a {}, {:.3})", hit.id, text_of(hit, "label"), hit.score)).collect();
    output::line(&format!(
        "  {id} (a {}) is near {}   ({})",
        digits.label(query),
        near.join(", "),
        cost(response.stats.as_ref())
    ))?;
    Ok(())
}

async fn upsert(client: &Client, collection: &str, id: &str, source: pb::item::Source) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let item = pb::Item { id: id.into(), source: Some(source), ..Default::default() };
    let request = pb::UpsertRequest { collection: collection.into(), items: vec![item], ..Default::default() };
    client.upsert(request).await?;
    Ok(start.elapsed())
}

async fn inserts(client: &Client) -> anyhow::Result<()> {
    heading("new points are found immediately")?;
    let sentence = "The old locomotive pulled its last passenger train across the mountain pass.";
    let elapsed = upsert(client, PARAGRAPHS, "quickstart:sentence", pb::item::Source::Text(sentence.into())).await?;
    output::line(&format!("  inserted {sentence:?}, durable after {:.1} ms", elapsed.as_secs_f64() * 1e3))?;
    let question = "a steam train crossing the mountains";
    let response = search(client, PARAGRAPHS, pb::query::Form::Text(question.into()), 200, false).await?;
    let rank = response.hits.iter().position(|hit| hit.id == "quickstart:sentence");
    output::line(&format!(
        "  {question:?} {}",
        rank_text(rank, response.hits.len(), points(client, PARAGRAPHS).await?)
    ))?;
    let own = search(client, PARAGRAPHS, pb::query::Form::Text(sentence.into()), 1, false).await?;
    output::line(&format!("  its own words find {}", own.hits.first().map_or("nothing", |hit| hit.id.as_str())))?;

    let png = drawing::seven()?;
    let elapsed = upsert(client, DIGITS, "quickstart:seven", pb::item::Source::Image(png.clone().into())).await?;
    output::line(&format!(
        "  inserted a 7 drawn with a blue pen ({} bytes of PNG, {}x{}), durable after {:.1} ms",
        png.len(),
        drawing::WIDTH,
        drawing::HEIGHT,
        elapsed.as_secs_f64() * 1e3
    ))?;
    let response = search(client, DIGITS, pb::query::Form::Image(png.clone().into()), 4, true).await?;
    let near: Vec<String> = response
        .hits
        .iter()
        .map(|hit| {
            if hit.id.starts_with("quickstart") {
                hit.id.clone()
            } else {
                format!("{} (a {})", hit.id, text_of(hit, "label"))
            }
        })
        .collect();
    output::line(&format!("  the same picture finds {}", near.join(", ")))?;
    let request = pb::ClassifyRequest { embedder: String::new(), image: png.into() };
    let classes = client.classify(request).await?.classes;
    let best = classes.iter().max_by(|a, b| a.probability.total_cmp(&b.probability));
    if let Some(best) = best {
        output::line(&format!("  the net classifies it as a {} with probability {:.4}", best.label, best.probability))?;
    }
    Ok(())
}

/// Returns the number of points of a collection, from the server.
async fn points(client: &Client, collection: &str) -> anyhow::Result<u64> {
    let request = pb::GetCollectionRequest { name: collection.into() };
    Ok(client.collection(request).await?.collection.unwrap_or_default().points)
}

/// Formats the rank of a point among the hits, and the number of points.
fn rank_text(rank: Option<usize>, hits: usize, points: u64) -> String {
    match rank {
        Some(rank) => format!("finds it at rank {} of {}", rank + 1, count(points)),
        None => format!("does not have it among the nearest {hits} of {}", count(points)),
    }
}

async fn blanks(client: &Client) -> anyhow::Result<()> {
    heading("which word fills the blank?")?;
    for pattern in ["the ___ cat", "___ black ___"] {
        let request = pb::FillBlankRequest { embedder: String::new(), pattern: pattern.into(), k: 8 };
        let response = client.fill_blank(request).await?;
        for blank in &response.blanks {
            let words: Vec<String> =
                blank.words.iter().map(|word| format!("{} {:.1}%", word.word, word.score * 100.0)).collect();
            output::line(&format!("  {pattern:<14} {}", words.join(", ")))?;
        }
    }
    Ok(())
}

/// Prints Recall@10 against the exact results, and queries per second of one client over gRPC.
async fn recall_and_speed(client: &Client) -> anyhow::Result<()> {
    heading("recall against speed (one client over gRPC, k = 10)")?;
    let efs = EFS.map(|ef| format!(" {:>15}", format!("ef {ef}"))).concat();
    output::line(&format!("  {:<11} {:>7} {:>4}{efs} {:>15}", "collection", "points", "dim", "exact"))?;
    for collection in [WORDS, PARAGRAPHS, DIGITS] {
        let request = pb::GetCollectionRequest { name: collection.into() };
        let info = client.collection(request).await?.collection.unwrap_or_default();
        let ids = sample(client, collection).await?;
        let mut row = format!("  {collection:<11} {:>7} {:>4}", info.points, info.dimension);
        let (truth, exact) = search_all(client, collection, &ids, pb::search_params::Accuracy::Exact(true)).await?;
        for ef in EFS {
            let (found, elapsed) = search_all(client, collection, &ids, pb::search_params::Accuracy::Ef(ef)).await?;
            let same: usize = truth
                .iter()
                .zip(&found)
                .map(|(truth, found)| found.iter().filter(|id| truth.contains(id)).count())
                .sum();
            let recall = same as f64 / truth.iter().map(Vec::len).sum::<usize>().max(1) as f64;
            let cell = format!("{recall:.3} {:>6.0}/s", ids.len() as f64 / elapsed.as_secs_f64());
            row += &format!(" {cell:>15}");
        }
        // The exact results are the reference, so they have no recall.
        output::line(&format!("{row} {:>15}", format!("{:.0}/s", ids.len() as f64 / exact.as_secs_f64())))?;
    }
    Ok(())
}

/// Returns ids spread over the first pages of the collection.
async fn sample(client: &Client, collection: &str) -> anyhow::Result<Vec<String>> {
    let request = pb::ScrollRequest { collection: collection.into(), limit: 10_000, ..Default::default() };
    let points = client.scroll(request).await?.points;
    let step = (points.len() / SAMPLE).max(1);
    Ok(points.into_iter().step_by(step).take(SAMPLE).map(|point| point.id).collect())
}

async fn search_all(
    client: &Client,
    collection: &str,
    ids: &[String],
    accuracy: pb::search_params::Accuracy,
) -> anyhow::Result<(Vec<Vec<String>>, Duration)> {
    let mut answers = Vec::with_capacity(ids.len());
    let start = Instant::now();
    for id in ids {
        let request = pb::SearchRequest {
            collection: collection.into(),
            query: Some(pb::Query { form: Some(pb::query::Form::Id(id.clone())) }),
            params: Some(pb::SearchParams { k: K, accuracy: Some(accuracy), ..Default::default() }),
            min_sequence: 0,
            offset: 0,
        };
        let response = client.search(request).await?;
        answers.push(response.hits.into_iter().map(|hit| hit.id).collect());
    }
    Ok((answers, start.elapsed()))
}

pub(super) fn next_steps(address: &str) -> io::Result<()> {
    heading("try next")?;
    for line in [
        "nearness query words --plus paris --plus germany --minus france".to_owned(),
        "nearness query paragraphs --text 'a storm destroyed the harbour' --payload".to_owned(),
        "nearness fill 'the ___ cat'".to_owned(),
        "nearness collections list".to_owned(),
        format!("grpcurl -plaintext {address} list"),
        format!(
            r#"grpcurl -plaintext -d '{{"collection":"words","query":{{"id":"alligator"}},"params":{{"k":5}}}}' {address} nearness.v1.Search/Search"#
        ),
    ] {
        output::line(&format!("  {line}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_given_among_all_points() {
        assert_eq!(rank_text(Some(7), 200, 12_346), "finds it at rank 8 of 12,346");
        assert_eq!(rank_text(None, 200, 51), "does not have it among the nearest 200 of 51");
    }
}
