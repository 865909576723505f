//! `nearness eval text`: retrieval of paragraphs of the same article, given one paragraph as the query.

use super::super::output::{self, Table};
use super::super::work_folder::WorkFolder;
use super::super::{config, local};
use crate::api::{CollectionSpec, Filter, Hybrid, Item, Keywords, Query, SearchParams};
use crate::collection::OnConflict;
use crate::embed::knn::{NEIGHBOURS, nearest};
use crate::embed::text::{
    bm25::Bm25,
    paragraphs::{self, Paragraphs},
    retrieval::{self, RetrievalMetrics},
};
use crate::embed::words::{Term, WordModel};
use crate::embed::{Embedder, Error, ErrorKind, Input, load_folder, word_embedders};
use crate::engine::{Admin, Database, Reads};
use crate::math;
use crate::types::{CollectionName, PointId};
use anyhow::{Context, bail};
use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Batch size of the embedding, paragraphs.
const BATCH: usize = 8_192;
/// Number of paragraphs that are embedded one by one, to measure the time of one.
const TIMED: usize = 2_000;

/// `eval text`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness eval text --corpus data/wikipedia/enwiki-featured-2019.txt.gz --model ./my-text --queries 1000\n\n\
                  `train text` holds out one article in ten, chosen by its title; the queries are paragraphs of those.\n\
                  recall@10: number of the article's other paragraphs among the ten nearest, divided by their number,\n\
                  or by ten if there are more. MRR@10: 1 / rank of the first of them, 0 when it is not among the ten.\n\
                  success@10: whether one is among the ten."
)]
pub(crate) struct EvalTextArgs {
    /// WikiExtractor files, plain, gzip or zstd: <doc ...> articles with one paragraph per line.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Model folder of a text embedder, to compare with the built-in one.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Number of query paragraphs.
    #[arg(long, default_value_t = 2_000, value_parser = config::at_least_one)]
    pub(crate) queries: usize,
    /// Minimum number of words of a paragraph.
    #[arg(long, value_name = "WORDS", default_value_t = paragraphs::MIN_WORDS, value_parser = config::at_least_one)]
    pub(crate) min_words: usize,
    /// Seed of the sample.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Measure keyword and hybrid queries too, in a collection of the paragraphs with this embedder. Takes minutes.
    #[arg(long)]
    pub(crate) hybrid: bool,
    /// Output file for the paragraphs, one JSON object per line: article, query (whether it is a query), text.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Results of one retrieval method.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) measures: RetrievalMetrics,
    /// Number of vector components; none for BM25.
    dimension: Option<usize>,
    /// Microseconds: per text on one core, per text of a batch on all cores, per query of an exact scan on all cores.
    text: f64,
    batch: f64,
    query: f64,
}

/// Evaluates the embedder, the built-in one, the plain mean of words, and BM25.
pub(super) fn run(args: &EvalTextArgs) -> anyhow::Result<()> {
    let words = Arc::new(WordModel::default_model().context("the model in the binary")?);
    let built_in = last(word_embedders(WordModel::default_model()?)?)?;
    let model = match &args.model {
        Some(folder) => {
            let named = || format!("--model {}", folder.display());
            let embedder = last(load_folder(folder).with_context(named)?).with_context(named)?;
            Some((format!("{} of {}", embedder.name(), folder.display()), embedder))
        }
        None => None,
    };
    let paragraphs = Paragraphs::read(&args.corpus, args.min_words)?;
    let queries = retrieval::sample_queries(&paragraphs, args.queries, args.seed);
    if queries.is_empty() {
        bail!("no article that is held out has two paragraphs of {} words or more", args.min_words);
    }
    if let Some(path) = &args.write {
        write(&paragraphs, &queries, path).with_context(|| format!("--write {}", path.display()))?;
    }
    let mut all = Vec::new();
    if let Some((name, model)) = model {
        all.push(Measured { name, ..embedded(model.as_ref(), &paragraphs, &queries)? });
    }
    all.push(Measured { name: "text in the binary".into(), ..embedded(built_in.as_ref(), &paragraphs, &queries)? });
    all.push(by(&paragraphs, &queries, "mean of words", words.dimension(), |text| {
        let mut sum = vec![0.0_f32; words.dimension()];
        words.terms(text, |term| {
            if let Term::Known(number) = term {
                sum.iter_mut().zip(words.row(number)).for_each(|(sum, x)| *sum += x);
            }
        });
        Ok(sum)
    })?);
    all.push(bm25(&paragraphs, &queries));
    if args.hybrid {
        all.extend(in_collection(args.model.as_deref(), &paragraphs, &queries)?);
    }
    print_results(args, &paragraphs, queries.len(), &all)
}

/// Returns the text embedder of a folder; the second one of a word model.
fn last(embedders: Vec<Arc<dyn Embedder>>) -> anyhow::Result<Arc<dyn Embedder>> {
    let text = embedders.into_iter().rfind(|embedder| embedder.modality().name() == "text");
    text.context("not a text embedder")
}

/// Evaluates an embedder with its first output.
pub(crate) fn embedded(embedder: &dyn Embedder, paragraphs: &Paragraphs, queries: &[u32]) -> Result<Measured, Error> {
    let output = embedder.output_layer("")?;
    by(paragraphs, queries, embedder.name(), output.dimension as usize, |text| {
        embedder.embed(output, &Input::Text(text))
    })
}

/// Evaluates vectors; a text without one counts as far from all.
fn by(
    paragraphs: &Paragraphs,
    queries: &[u32],
    name: &str,
    dimension: usize,
    vector: impl Fn(&str) -> Result<Vec<f32>, Error> + Sync,
) -> Result<Measured, Error> {
    let unit = |text: &str| match vector(text) {
        Ok(mut vector) => {
            math::normalize(&mut vector);
            Ok(vector)
        }
        Err(error) if matches!(error.kind(), ErrorKind::OutOfVocabulary | ErrorKind::InvalidInput) => {
            Ok(vec![0.0; dimension])
        }
        Err(error) => Err(error),
    };
    let texts = paragraphs.texts();
    let timed: Vec<&String> = texts.iter().step_by(texts.len().div_ceil(TIMED)).collect();
    let started = Instant::now();
    for text in &timed {
        std::hint::black_box(unit(text)?);
    }
    let text = micros(started, timed.len());
    let started = Instant::now();
    let mut rows = Vec::with_capacity(texts.len() * dimension);
    for texts in texts.chunks(BATCH) {
        let vectors: Vec<Vec<f32>> = texts.par_iter().map(|text| unit(text)).collect::<Result<_, _>>()?;
        vectors.iter().for_each(|vector| rows.extend_from_slice(vector));
    }
    let batch = micros(started, texts.len());
    let started = Instant::now();
    let found = nearest(&rows, dimension, queries);
    let query = micros(started, queries.len());
    let measures = retrieval::retrieval_metrics(paragraphs, queries, &found);
    Ok(Measured { name: name.into(), measures, dimension: Some(dimension), text, batch, query })
}

fn bm25(paragraphs: &Paragraphs, queries: &[u32]) -> Measured {
    let started = Instant::now();
    let index = Bm25::new(paragraphs.texts());
    let text = micros(started, paragraphs.texts().len());
    let started = Instant::now();
    let found = index.nearest(paragraphs.texts(), queries);
    let query = micros(started, queries.len());
    let measures = retrieval::retrieval_metrics(paragraphs, queries, &found);
    Measured { name: "BM25".into(), measures, dimension: None, text, batch: text, query }
}

/// Evaluates the keyword and hybrid queries of a collection with the default text field. A query is excluded from its
/// hits by a filter.
fn in_collection(model: Option<&Path>, paragraphs: &Paragraphs, queries: &[u32]) -> anyhow::Result<Vec<Measured>> {
    let folder = WorkFolder::create(None)?;
    let registry = local::registry(model.map(Path::to_owned).as_slice())?;
    let embedder = match model {
        Some(folder) => last(load_folder(folder)?)?.name().to_owned(),
        None => last(word_embedders(WordModel::default_model()?)?)?.name().to_owned(),
    };
    let database = Database::options().embedders(registry).open(folder.path())?;
    let name = CollectionName::new("paragraphs")?;
    database.create_collection(&CollectionSpec::embedded(name.clone(), embedder))?;
    let item = |(number, text): (usize, &String)| {
        PointId::new(number.to_string()).ok().map(|id| Item::text(id, text.as_str()).field("number", number as u64))
    };
    let mut items = paragraphs.texts().iter().enumerate().filter_map(item);
    let started = Instant::now();
    database.bulk_load(&name, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)?;
    let text = micros(started, paragraphs.texts().len());
    let measure = |name_of_query: &str, query: &dyn Fn(&str) -> Query| -> anyhow::Result<Measured> {
        let started = Instant::now();
        let mut found = Vec::with_capacity(queries.len());
        for &number in queries {
            let other = Filter::not(Filter::equals("number", i64::from(number)));
            let params = SearchParams::new(NEIGHBOURS as u32).filter(other);
            let answers = database.search(&name, &[query(&paragraphs.texts()[number as usize])], &params)?;
            let ids = answers.iter().flat_map(|answer| &answer.hits);
            found.push(ids.filter_map(|hit| hit.point.id.as_str().parse().ok()).collect::<Vec<u32>>());
        }
        let query = micros(started, queries.len());
        let measures = retrieval::retrieval_metrics(paragraphs, queries, &found);
        Ok(Measured { name: name_of_query.into(), measures, dimension: None, text, batch: text, query })
    };
    Ok(vec![
        measure("keywords of a collection", &|text| Query::Keywords(Keywords::new(text)))?,
        measure("hybrid of a collection", &|text| Query::Hybrid(Hybrid::new(text)))?,
    ])
}

fn micros(started: Instant, n: usize) -> f64 {
    started.elapsed().as_secs_f64() * 1e6 / n.max(1) as f64
}

fn write(paragraphs: &Paragraphs, queries: &[u32], path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for ((number, text), article) in (0_u32..).zip(paragraphs.texts()).zip(paragraphs.articles()) {
        let query = queries.binary_search(&number).is_ok();
        writeln!(out, "{}", json!({ "article": article, "query": query, "text": text }))?;
    }
    out.flush()
}

fn print_results(args: &EvalTextArgs, paragraphs: &Paragraphs, queries: usize, all: &[Measured]) -> anyhow::Result<()> {
    let round = |x: f64, by: f64| (x * by).round() / by;
    if args.json {
        let rows = all.iter().map(|one| {
            json!({
                "name": one.name, "dimension": one.dimension,
                "recall_at_10": round(one.measures.recall, 1e4), "mrr_at_10": round(one.measures.mrr, 1e4),
                "success_at_10": round(one.measures.success, 1e4),
                "us_text": round(one.text, 10.0), "us_text_in_batch": round(one.batch, 10.0), "us_query": round(one.query, 10.0),
            })
        });
        return Ok(output::json(&json!({
            "paragraphs": paragraphs.texts().len(), "articles": paragraphs.titles().len(), "queries": queries,
            "rows": rows.collect::<Vec<Value>>(),
        }))?);
    }
    output::line(&format!(
        "{queries} queries from {} paragraphs of {} held-out articles:",
        paragraphs.texts().len(),
        paragraphs.titles().len()
    ))?;
    let mut table = Table::new(&["by", "recall@10", "MRR@10", "success@10", "us/text", "in batch", "us/query"]);
    for one in all {
        table.row(vec![
            one.name.clone(),
            format!("{:.4}", one.measures.recall),
            format!("{:.4}", one.measures.mrr),
            format!("{:.4}", one.measures.success),
            format!("{:.1}", one.text),
            format!("{:.1}", one.batch),
            format!("{:.0}", one.query),
        ]);
    }
    Ok(table.print()?)
}
