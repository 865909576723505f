//! Vector fields over gRPC.

use crate::harness::*;
use crate::streams::{request, send};
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::query::Form;
use std::collections::HashMap;
use std::sync::Arc;

fn field(name: &str, kind: pb::vector_field::Kind, dimension: u32) -> pb::Field {
    let vector = pb::VectorField { kind: kind.into(), dimension, ..Default::default() };
    pb::Field { name: name.into(), kind: Some(pb::field::Kind::Vector(vector)) }
}

fn dense(numbers: &[f32]) -> pb::FieldVector {
    pb::FieldVector { form: Some(pb::field_vector::Form::Dense(le_f32(numbers))) }
}

fn sparse(indices: &[u32], numbers: &[f32]) -> pb::FieldVector {
    let sparse = pb::SparseVector { indices: indices.to_vec(), values: numbers.to_vec() };
    pb::FieldVector { form: Some(pb::field_vector::Form::Sparse(sparse)) }
}

fn multi(vectors: &[&[f32]]) -> pb::FieldVector {
    let multi = pb::MultiVector { vectors: vectors.iter().map(|vector| values(vector)).collect() };
    pb::FieldVector { form: Some(pb::field_vector::Form::Multi(multi)) }
}

fn near_in(field: &str, vector: pb::FieldVector) -> Form {
    Form::Field(pb::FieldQuery { field: field.into(), target: Some(pb::field_query::Target::Vector(vector)) })
}

fn item(id: &str, vectors: impl IntoIterator<Item = (&'static str, pb::FieldVector)>) -> pb::Item {
    let vectors: HashMap<String, pb::FieldVector> =
        vectors.into_iter().map(|(name, vector)| (name.to_owned(), vector)).collect();
    pb::Item { vectors, ..vector_item(id, &[1.0, 0.0]) }
}

async fn with_fields(engine: Arc<dyn Node>) -> Running {
    use pb::vector_field::Kind;
    let running = start(engine).await;
    let fields = vec![field("title", Kind::Dense, 3), field("words", Kind::Sparse, 0), field("tokens", Kind::Multi, 2)];
    let request = pb::CreateCollectionRequest { fields, ..plain("c", 2, pb::Metric::L2) };
    let created = running.client.create_collection(request).await.unwrap().collection.unwrap();
    let names: Vec<&str> = created.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["title", "words", "tokens"]);
    let Some(pb::field::Kind::Vector(title)) = &created.fields[0].kind else { panic!("{:?}", created.fields) };
    assert_eq!((title.dimension, title.metric()), (3, pb::Metric::Cosine));
    let items = vec![
        item("a", [("title", dense(&[1.0, 0.0, 0.0])), ("words", sparse(&[1, 5], &[2.0, 1.0]))]),
        item("b", [("title", dense(&[0.0, 1.0, 0.0])), ("tokens", multi(&[&[1.0, 0.0], &[0.0, 1.0]]))]),
        item("c", [("words", sparse(&[5, 9], &[3.0, 1.0])), ("tokens", multi(&[&[1.0, 0.0]]))]),
        item("d", []),
    ];
    running.client.upsert(upsert("c", items)).await.unwrap();
    running
}

pub(crate) async fn vectors_in_fields_are_stored_searched_and_updated(engine: Arc<dyn Node>) {
    let running = with_fields(engine).await;
    let client = &running.client;
    let scores = |reply: &pb::SearchResponse| reply.hits.iter().map(|hit| hit.score).collect::<Vec<_>>();
    for (form, ids, expected) in [
        (near_in("title", dense(&[2.0, 0.0, 0.0])), vec!["a", "b"], vec![1.0, 0.0]),
        (near_in("words", sparse(&[5], &[2.0])), vec!["c", "a"], vec![6.0, 2.0]),
        (near_in("tokens", multi(&[&[0.0, 2.0], &[3.0, 0.0]])), vec!["b", "c"], vec![2.0, 1.0]),
    ] {
        let found = client.search(near("c", form, 10)).await.unwrap();
        assert_eq!((hit_ids(&found), scores(&found)), (ids, expected));
        assert_eq!(found.stats.unwrap().expected_recall, Some(1.0));
    }
    // Two fields and the vectors of the collection in one query.
    let part = |form| pb::SubQuery { query: Some(pb::Query { form: Some(form) }), ..Default::default() };
    let queries = vec![part(near_in("words", sparse(&[5], &[2.0]))), part(near_in("tokens", dense(&[1.0, 0.0])))];
    let fusion = Form::Fusion(pb::Fusion { queries, ..Default::default() });
    let found = client.search(near("c", fusion, 10)).await.unwrap();
    assert_eq!(hit_ids(&found)[0], "c");
    assert_eq!(found.stats.unwrap().parts.len(), 2);
    // The vectors are returned with the vector of the point.
    let get = |ids: &[&str], vector| pb::GetPointsRequest {
        collection: "c".into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        fields: Some(pb::Fields { vector, ..Default::default() }),
        min_sequence: 0,
    };
    let points = client.get_points(get(&["a"], true)).await.unwrap().points;
    assert_eq!(points[0].vectors["words"], sparse(&[1, 5], &[2.0, 1.0]));
    assert_eq!(points[0].vectors.len(), 2);
    assert!(client.get_points(get(&["a"], false)).await.unwrap().points[0].vectors.is_empty());
    // An update replaces the vectors that it names.
    let change = pb::Item { source: None, ..item("a", [("title", dense(&[0.0, 0.0, 1.0]))]) };
    let request = pb::UpdateVectorsRequest { collection: "c".into(), items: vec![change] };
    assert_eq!(client.update_vectors(request).await.unwrap().updated, 1);
    let points = client.get_points(get(&["a"], true)).await.unwrap().points;
    assert_eq!(points[0].vectors["words"], sparse(&[1, 5], &[2.0, 1.0]));
    let by_id = pb::FieldQuery { field: "title".into(), target: Some(pb::field_query::Target::Id("a".into())) };
    let found = client.search(near("c", Form::Field(by_id), 10)).await.unwrap();
    assert_eq!((hit_ids(&found), found.hits[0].score), (vec!["b"], 0.0));
    let explain = pb::ExplainRequest {
        collection: "c".into(),
        query: Some(pb::Query { form: Some(near_in("title", dense(&[1.0, 0.0, 0.0]))) }),
        params: Some(pb::SearchParams { k: 1, ..Default::default() }),
        id: "d".into(),
        min_sequence: 0,
    };
    assert_eq!(client.explain(explain).await.unwrap().reason(), pb::Reason::NoVector);
    let dropped = pb::DropFieldRequest { collection: "c".into(), field: "tokens".into() };
    assert_eq!(client.drop_field(dropped).await.unwrap().collection.unwrap().fields.len(), 2);
}

pub(crate) async fn points_may_have_no_vector(engine: Arc<dyn Node>) {
    use pb::vector_field::Kind;
    let running = start(engine).await;
    let client = &running.client;
    let request = pb::CreateCollectionRequest { space: None, ..plain("none", 2, pb::Metric::L2) };
    let (_, message) = refused(client.create_collection(request.clone()).await);
    assert!(message.contains("optional_vectors"), "{message}");
    let fields = vec![field("title", Kind::Dense, 2)];
    let request = pb::CreateCollectionRequest { optional_vectors: true, fields, ..request };
    let created = client.create_collection(request).await.unwrap().collection.unwrap();
    assert_eq!((created.dimension, created.optional_vectors), (0, true));
    let optional = pb::CreateCollectionRequest { optional_vectors: true, ..plain("some", 2, pb::Metric::L2) };
    client.create_collection(optional).await.unwrap();
    let without =
        |id: &str| pb::Item { id: id.into(), payload: payload(serde_json::json!({"n": 1})), ..Default::default() };
    for name in ["none", "some"] {
        client.upsert(upsert(name, vec![without("a")])).await.unwrap();
        assert_eq!(count(client, name).await, 1);
        let get = pb::GetPointsRequest {
            collection: name.into(),
            ids: vec!["a".into()],
            fields: Some(pb::Fields { payload: true, vector: true, ..Default::default() }),
            min_sequence: 0,
        };
        assert_eq!(client.get_points(get).await.unwrap().points[0].vector, None);
    }
    client.upsert(upsert("some", vec![vector_item("b", &[1.0, 0.0])])).await.unwrap();
    assert_eq!(hit_ids(&client.search(near_vector("some", &[1.0, 0.0], 5)).await.unwrap()), ["b"]);
    for (request, part) in [
        (near_vector("none", &[1.0, 0.0], 1), "no vectors of its own"),
        (near("some", Form::Id("a".into()), 1), "has no vector"),
    ] {
        let (code, message) = refused(client.search(request).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message}");
    }
    let (code, message) = refused(client.upsert(upsert("none", vec![vector_item("b", &[1.0])])).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("no vectors of its own"), "{message}");
    let request = pb::UpdateVectorsRequest { collection: "some".into(), items: vec![vector_item("a", &[0.0, 1.0])] };
    client.update_vectors(request).await.unwrap();
    assert_eq!(hit_ids(&client.search(near_vector("some", &[0.0, 1.0], 1)).await.unwrap()), ["a"]);
}

pub(crate) async fn bad_vectors_in_fields_are_refused_by_name(engine: Arc<dyn Node>) {
    use pb::vector_field::Kind;
    let running = with_fields(engine).await;
    let client = &running.client;
    let big: Vec<u32> = (0..65_537).collect();
    for (given, parts) in [
        (("titel", dense(&[1.0])), &["items[0].vectors[\"titel\"]", "title, words, tokens"][..]),
        (("title", dense(&[1.0])), &["items[0].vectors[\"title\"]", "3 components, got 1"]),
        (("title", dense(&[f32::NAN, 0.0, 0.0])), &["items[0].vectors[\"title\"].dense", "finite"]),
        (("title", sparse(&[1], &[1.0])), &["takes dense vectors, got a sparse one"]),
        (("title", pb::FieldVector::default()), &["items[0].vectors[\"title\"]", "give a dense"]),
        (("words", sparse(&[2, 1], &[1.0, 1.0])), &["indices[1]", "sort them"]),
        (("words", sparse(&[1, 2], &[1.0])), &["as many indices as values"]),
        (("words", sparse(&[1], &[f32::INFINITY])), &["values[0]"]),
        (("words", sparse(&big, &vec![1.0; 65_537])), &["65537", "at most 65536"]),
        (("tokens", multi(&[])), &["1 to 4096 vectors"]),
        (("tokens", multi(&[&[1.0, 0.0], &[0.0]])), &["[1]", "2 components, got 1"]),
        (("tokens", multi(&vec![&[1.0, 0.0][..]; 4_097])), &["4097", "at most 4096"]),
    ] {
        let (code, message) = refused(client.upsert(upsert("c", vec![item("new", [given])])).await);
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    assert_eq!(count(client, "c").await, 4, "nothing was written");
    let none = pb::Item { source: None, ..item("new", []) };
    let (_, message) = refused(client.upsert(upsert("c", vec![none])).await);
    assert!(message.contains("items[0]") && message.contains("give a vector"), "{message}");
    // In a stream, only the item is refused.
    let wide = pb::AddFieldRequest { collection: "c".into(), field: Some(field("wide", Kind::Multi, 1_024)) };
    client.add_field(wide).await.unwrap();
    // No narrower type represents the components.
    let components: Vec<f32> = (0..1_024).map(|component| (component as f32).sqrt()).collect();
    let four_mebibytes = vec![components.as_slice(); 1_024];
    let items = [
        item("e", [("title", dense(&[1.0, 0.0, 0.0]))]),
        item("f", [("title", dense(&[1.0]))]),
        item("g", [("titel", dense(&[1.0, 0.0, 0.0]))]),
        item("h", [("wide", multi(&four_mebibytes))]),
        pb::Item { source: None, ..item("i", []) },
        item("j", []),
    ];
    let (acks, end) = send(client, items.map(|item| request("c", Some(item))).into()).await;
    end.expect("refused items do not end a stream");
    let errors: Vec<&str> = acks.iter().map(|ack| ack.error.as_str()).collect();
    for (error, part) in
        errors.iter().zip(["", "3 components, got 1", "titel", "at most 4194304 are allowed", "give a vector", ""])
    {
        assert!(error.is_empty() == part.is_empty() && error.contains(part), "{errors:?}");
    }
    assert_eq!(count(client, "c").await, 6);
    for (form, part) in [
        (near_in("none", dense(&[1.0])), "query.field.field"),
        (near_in("title", dense(&[1.0])), "query.field.vector"),
        (Form::Field(pb::FieldQuery { field: "title".into(), target: None }), "give a vector or an id"),
    ] {
        let (code, message) = refused(client.search(near("c", form, 1)).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message}");
    }
    let missing = pb::FieldQuery { field: "title".into(), target: Some(pb::field_query::Target::Id("x".into())) };
    assert_eq!(refused(client.search(near("c", Form::Field(missing), 1)).await).0, "NOT_FOUND");
    for (given, part) in [
        (field("title", Kind::Sparse, 0), "title"),
        (field("a b", Kind::Dense, 2), "letters"),
        (field("x", Kind::Dense, 0), "dimension"),
        (field("x", Kind::Sparse, 3), "dimension"),
    ] {
        let request = pb::AddFieldRequest { collection: "c".into(), field: Some(given) };
        let (_, message) = refused(client.add_field(request).await);
        assert!(message.contains(part), "{message}");
    }
}

pub(crate) async fn the_vectors_of_queries_are_charged_to_the_memory_of_requests(engine: Arc<dyn Node>) {
    use pb::vector_field::Kind;
    let options =
        nearness::grpc::ServerOptions { max_message_bytes: 1 << 20, max_request_memory_bytes: 8 << 20, ..options() };
    let running = start_with(engine, options).await;
    let client = &running.client;
    let fields = vec![field("tokens", Kind::Multi, 512), field("words", Kind::Sparse, 0)];
    let request = pb::CreateCollectionRequest { fields, ..plain("c", 2, pb::Metric::L2) };
    client.create_collection(request).await.unwrap();
    let tokens = vec![&[0.1; 512][..]; 100];
    client.upsert(upsert("c", vec![item("a", [("tokens", multi(&tokens))])])).await.unwrap();
    let by_id = || pb::FieldQuery { field: "tokens".into(), target: Some(pb::field_query::Target::Id("a".into())) };
    let batch = |form: Form, queries: usize| pb::SearchBatchRequest {
        collection: "c".into(),
        queries: vec![pb::Query { form: Some(form) }; queries],
        params: Some(pb::SearchParams { k: 1, ..Default::default() }),
        ..Default::default()
    };
    // 200 KiB for each query.
    client.search_batch(batch(Form::Field(by_id()), 10)).await.unwrap();
    let (code, message) = refused(client.search_batch(batch(Form::Field(by_id()), 100)).await);
    assert_eq!(code, "RESOURCE_EXHAUSTED", "{message}");
    // A table of 256 KiB for each query.
    let words = || near_in("words", sparse(&[65_535], &[1.0]));
    client.search_batch(batch(words(), 10)).await.unwrap();
    assert_eq!(refused(client.search_batch(batch(words(), 100)).await).0, "RESOURCE_EXHAUSTED");
    client.search_batch(batch(words(), 10)).await.unwrap();
    // Three examples of 64 KiB for each query.
    client.create_collection(plain("wide", 16_384, pb::Metric::L2)).await.unwrap();
    let points = ["a", "b", "c"].map(|id| vector_item(id, &[0.1; 16_384]));
    client.upsert(upsert("wide", points.into())).await.unwrap();
    let positive =
        ["a", "b", "c"].map(|id| pb::RecommendTerm { form: Some(pb::recommend_term::Form::Id(id.into())) }).into();
    let strategy = pb::recommend::Strategy::BestScore.into();
    let like = Form::Recommend(pb::Recommend { positive, negative: Vec::new(), strategy });
    let like = |queries| pb::SearchBatchRequest { collection: "wide".into(), ..batch(like.clone(), queries) };
    client.search_batch(like(10)).await.unwrap();
    assert_eq!(refused(client.search_batch(like(100)).await).0, "RESOURCE_EXHAUSTED");
}
