//! Throughput of columns against single items, over a local server: `cargo bench --bench columns -- 20000 128`.
//!
//! Prints rows per second, median of alternating rounds: upserts of batches, an upsert stream, batches of queries, and
//! reads by id. Every write replaces the same points, so that all rounds do the same work.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::engine::Database;
use nearness::grpc::{Client, ClientOptions, Server, ServerOptions, pb};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;
use std::time::Instant;
use tokio_stream::iter;

const BATCH: usize = 1_000;
const QUERIES: usize = 100;
const ROUNDS: usize = 5;

/// Form of vectors in a request.
#[derive(Clone, Copy, Debug)]
enum Form {
    Values,
    Bytes,
    Column,
    HalfColumn,
}

struct Bench {
    client: Client,
    dimension: usize,
    ids: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

impl Bench {
    fn vector(&self, form: Form, row: usize) -> pb::Vector {
        let values = &self.vectors[row];
        let form = match form {
            Form::Values => pb::vector::Form::Values(pb::Values { values: values.clone() }),
            _ => pb::vector::Form::LeF32(values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()),
        };
        pb::Vector { form: Some(form) }
    }

    fn item(&self, form: Form, row: usize) -> pb::Item {
        let source = Some(pb::item::Source::Vector(self.vector(form, row)));
        pb::Item { id: self.ids[row].clone(), source, ..Default::default() }
    }

    fn column(&self, form: Form, rows: std::ops::Range<usize>) -> pb::VectorColumn {
        let components = self.vectors[rows].iter().flatten();
        let (data, format): (Vec<u8>, _) = match form {
            Form::HalfColumn => {
                (components.flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(), pb::VectorFormat::F16)
            }
            _ => (components.flat_map(|x| x.to_le_bytes()).collect(), pb::VectorFormat::F32),
        };
        pb::VectorColumn { dimension: self.dimension as u32, data: data.into(), format: format.into() }
    }

    fn columns(&self, form: Form, rows: std::ops::Range<usize>) -> pb::ItemColumns {
        let ids = self.ids[rows.clone()].to_vec();
        pb::ItemColumns { ids, vectors: Some(self.column(form, rows)), payload_json: Vec::new() }
    }

    fn batches(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let rows = self.ids.len();
        (0..rows).step_by(BATCH).map(move |first| first..rows.min(first + BATCH))
    }

    async fn upsert(&self, form: Form) -> f64 {
        let requests: Vec<pb::UpsertRequest> = self
            .batches()
            .map(|rows| {
                let request = pb::UpsertRequest { collection: "c".into(), ..Default::default() };
                match form {
                    Form::Values | Form::Bytes => {
                        pb::UpsertRequest { items: rows.map(|row| self.item(form, row)).collect(), ..request }
                    }
                    _ => pb::UpsertRequest { columns: Some(self.columns(form, rows)), ..request },
                }
            })
            .collect();
        let start = Instant::now();
        for request in requests {
            self.client.upsert(request).await.expect("an upsert");
        }
        self.ids.len() as f64 / start.elapsed().as_secs_f64()
    }

    async fn stream(&self, form: Form) -> f64 {
        let mut requests: Vec<pb::UpsertStreamRequest> = match form {
            Form::Values | Form::Bytes => (0..self.ids.len())
                .map(|row| pb::UpsertStreamRequest { item: Some(self.item(form, row)), ..Default::default() })
                .collect(),
            _ => self
                .batches()
                .map(|rows| pb::UpsertStreamRequest { columns: Some(self.columns(form, rows)), ..Default::default() })
                .collect(),
        };
        requests[0].collection = "c".into();
        let start = Instant::now();
        let mut acks = self.client.upsert_stream(iter(requests)).await.expect("a stream");
        let mut acknowledged = 0;
        while let Some(batch) = acks.next().await.expect("acknowledgements") {
            acknowledged += batch.len();
        }
        assert_eq!(acknowledged, self.ids.len());
        self.ids.len() as f64 / start.elapsed().as_secs_f64()
    }

    async fn search(&self, form: Form) -> f64 {
        let params = Some(pb::SearchParams { k: 10, ..Default::default() });
        let request = pb::SearchBatchRequest { collection: "c".into(), params, ..Default::default() };
        let request = match form {
            Form::Values | Form::Bytes => {
                let query = |row| pb::Query { form: Some(pb::query::Form::Vector(self.vector(form, row))) };
                pb::SearchBatchRequest { queries: (0..QUERIES).map(query).collect(), ..request }
            }
            _ => pb::SearchBatchRequest { vectors: Some(self.column(form, 0..QUERIES)), ..request },
        };
        let start = Instant::now();
        assert_eq!(self.client.search_batch(request).await.expect("answers").responses.len(), QUERIES);
        QUERIES as f64 / start.elapsed().as_secs_f64()
    }

    async fn get(&self, vectors_as_column: bool) -> f64 {
        let start = Instant::now();
        for rows in self.batches() {
            let request = pb::GetPointsRequest {
                collection: "c".into(),
                ids: self.ids[rows.clone()].to_vec(),
                fields: Some(pb::Fields { payload: false, vector: true, vectors_as_column }),
                min_sequence: 0,
            };
            assert_eq!(self.client.get_points(request).await.expect("points").points.len(), rows.len());
        }
        self.ids.len() as f64 / start.elapsed().as_secs_f64()
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[tokio::main]
async fn main() {
    let mut given = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (rows, dimension) = (given.next().unwrap_or(20_000), given.next().unwrap_or(128));
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(folder.path()).expect("a database");
    let options = ServerOptions { address: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    let server = Server::bind(Arc::new(database), options).expect("a free port");
    let url = format!("http://{}", server.local_addr());
    tokio::spawn(server.serve(std::future::pending()));
    let client = Client::connect(&url, &ClientOptions::default()).await.expect("a connection");
    let mut rng = StdRng::seed_from_u64(1);
    let vectors = (0..rows).map(|_| (0..dimension).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let ids = (0..rows).map(|row| format!("p{row:07}")).collect();
    let bench = Bench { client, dimension, ids, vectors };
    let space = Some(pb::create_collection_request::Space::Dimension(dimension as u32));
    let create =
        pb::CreateCollectionRequest { name: "c".into(), space, metric: pb::Metric::L2.into(), ..Default::default() };
    bench.client.create_collection(create).await.expect("a collection");
    bench.upsert(Form::Column).await;
    println!("{rows} rows of {dimension} components, {BATCH} per request; rows per second, median of {ROUNDS} rounds");
    let forms = [Form::Values, Form::Bytes, Form::Column, Form::HalfColumn];
    let mut rates = vec![[const { Vec::new() }; 3]; forms.len()];
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (form, [upserts, streams, searches]) in forms.into_iter().zip(&mut rates) {
            upserts.push(bench.upsert(form).await);
            streams.push(bench.stream(form).await);
            searches.push(bench.search(form).await);
        }
        reads[0].push(bench.get(false).await);
        reads[1].push(bench.get(true).await);
    }
    println!("{:12} {:>10} {:>10} {:>10}", "form", "upsert", "stream", "search");
    for (form, [upserts, streams, searches]) in forms.into_iter().zip(rates) {
        let form = format!("{form:?}");
        println!("{form:12} {:10.0} {:10.0} {:10.0}", median(upserts), median(streams), median(searches));
    }
    let [numbers, column] = reads.map(median);
    println!("get: {numbers:.0} as numbers, {column:.0} as a column");
}
