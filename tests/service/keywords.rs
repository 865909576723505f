//! Keyword, hybrid and fused queries, and text fields, over gRPC.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::query::Form;
use std::sync::Arc;

const TEXTS: [(&str, &str); 4] = [
    ("salt", "A war over the salt tax"),
    ("tax", "The tax on windows and the tax on light"),
    ("sea", "Ships of the northern seas"),
    ("light", "Northern lights over the sea"),
];

fn keywords(text: &str) -> Form {
    Form::Keywords(pb::Keywords { text: text.into(), ..Default::default() })
}

fn sub_query(form: Form) -> pb::SubQuery {
    pb::SubQuery { query: Some(pb::Query { form: Some(form) }), ..Default::default() }
}

fn fusion(queries: Vec<pb::SubQuery>) -> Form {
    Form::Fusion(pb::Fusion { queries, ..Default::default() })
}

fn text_field(name: &str, path: &str) -> pb::Field {
    let text = pb::TextField { paths: vec![path.into()], language: "english".into(), ..Default::default() };
    pb::Field { name: name.into(), kind: Some(pb::field::Kind::Text(text)) }
}

async fn with_texts(engine: Arc<dyn Node>) -> Running {
    let running = start(engine).await;
    let created = running.client.create_collection(embedded("texts", "")).await.unwrap().collection.unwrap();
    let [pb::Field { name, kind: Some(pb::field::Kind::Text(text)) }] = created.fields.as_slice() else {
        panic!("a field by default: {:?}", created.fields)
    };
    assert_eq!(
        (name.as_str(), text.paths.as_slice(), text.language.as_str()),
        ("text", &["text".to_owned()][..], "english")
    );
    let items = TEXTS.iter().map(|(id, text)| text_item(id, text)).collect();
    running.client.upsert(upsert("texts", items)).await.unwrap();
    running
}

pub(crate) async fn words_are_found_in_texts_without_configuration(engine: Arc<dyn Node>) {
    let running = with_texts(engine).await;
    let client = &running.client;
    let found = client.search(near("texts", keywords("taxes"), 10)).await.unwrap();
    assert_eq!(hit_ids(&found), ["tax", "salt"]);
    assert!(found.hits[0].score > found.hits[1].score && found.hits[0].distance == -found.hits[0].score);
    let stats = found.stats.unwrap();
    assert_eq!((stats.path(), stats.expected_recall), (pb::Path::Keywords, Some(1.0)));
    let all = pb::Keywords {
        text: "northern seas".into(),
        operator: pb::keywords::Operator::All.into(),
        ..Default::default()
    };
    let found = client.search(near("texts", Form::Keywords(all), 10)).await.unwrap();
    assert_eq!(hit_ids(&found), ["sea", "light"]);

    let hybrid = pb::Hybrid { text: "northern lights".into(), keyword_weight: Some(0.5), ..Default::default() };
    let found = client.search(near("texts", Form::Hybrid(hybrid.clone()), 10)).await.unwrap();
    assert_eq!((found.hits[0].id.as_str(), found.hits.len()), ("light", 4));
    let stats = found.stats.unwrap();
    let parts: Vec<_> = stats.parts.iter().map(|part| (part.query.as_str(), part.path())).collect();
    assert_eq!(parts, [("queries[0]", pb::Path::Exact), ("queries[1]", pb::Path::Keywords)]);
    assert_eq!((stats.path(), stats.expected_recall), (pb::Path::Fusion, Some(1.0)));
    assert!(!stats.embedder_fingerprint.is_empty());

    let text = sub_query(Form::Text("ships".into()));
    let words = pb::SubQuery { weight: Some(3.0), limit: 1, ..sub_query(keywords("salt")) };
    let found = client.search(near("texts", fusion(vec![text, words]), 2)).await.unwrap();
    assert_eq!(found.hits[0].id, "salt");
    assert_eq!(found.stats.unwrap().parts[1].candidates, 1);

    let explain = |form: Form, id: &str| {
        let query = Some(pb::Query { form: Some(form) });
        let params = Some(pb::SearchParams { k: 1, ..Default::default() });
        pb::ExplainRequest { collection: "texts".into(), query, params, id: id.into(), ..Default::default() }
    };
    let explained = client.explain(explain(keywords("tax"), "salt")).await.unwrap();
    assert_eq!((explained.reason(), explained.true_rank), (pb::Reason::Beaten, Some(2)));
    let [term] = explained.parts[0].terms.as_slice() else { panic!("{explained:?}") };
    assert_eq!((term.term.as_str(), term.points, term.frequency), ("tax", 2, 1));
    assert!(term.contribution < term.weight && Some(term.contribution) == explained.score);
    let explained = client.explain(explain(keywords("tax"), "sea")).await.unwrap();
    assert_eq!(explained.reason(), pb::Reason::NoTerms);
    let explained = client.explain(explain(Form::Hybrid(hybrid), "sea")).await.unwrap();
    assert_eq!(explained.parts.len(), 2);
    assert!(explained.parts.iter().all(|part| part.rank.is_some() && part.contribution > Some(0.0)));

    let request =
        pb::AnalyzeRequest { collection: "texts".into(), text: "The Northern Lights".into(), ..Default::default() };
    let terms: Vec<String> =
        client.analyze(request).await.unwrap().tokens.into_iter().map(|token| token.term).collect();
    assert_eq!(terms, ["northern", "light"]);
    let batch = pb::SearchBatchRequest {
        collection: "texts".into(),
        queries: ["salt", "ships"].map(|words| pb::Query { form: Some(keywords(words)) }).into(),
        params: Some(pb::SearchParams { k: 1, ..Default::default() }),
        min_sequence: 0,
        ..Default::default()
    };
    let answers = client.search_batch(batch).await.unwrap().responses;
    assert_eq!([hit_ids(&answers[0]), hit_ids(&answers[1])], [["salt"], ["sea"]]);
}

pub(crate) async fn fields_are_added_and_dropped(engine: Arc<dyn Node>) {
    let running = start(engine).await;
    let client = &running.client;
    let request = pb::CreateCollectionRequest { no_fields: true, ..embedded("texts", "") };
    assert!(client.create_collection(request).await.unwrap().collection.unwrap().fields.is_empty());
    let items = TEXTS.iter().map(|(id, text)| text_item(id, text)).collect();
    client.upsert(upsert("texts", items)).await.unwrap();
    let (code, message) = refused(client.search(near("texts", keywords("tax"), 1)).await);
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(message.contains("query.keywords.field") && message.contains("no text field"), "{message}");
    let add = |field| pb::AddFieldRequest { collection: "texts".into(), field: Some(field) };
    client.add_field(add(text_field("body", "text"))).await.unwrap();
    assert_eq!(hit_ids(&client.search(near("texts", keywords("tax"), 1)).await.unwrap()), ["tax"]);
    assert_eq!(refused(client.add_field(add(text_field("body", "text"))).await).0, "ALREADY_EXISTS");
    client.add_field(add(text_field("title", "title"))).await.unwrap();
    let (_, message) = refused(client.search(near("texts", keywords("tax"), 1)).await);
    assert!(message.contains("body, title"), "{message}");
    let drop = |field: &str| pb::DropFieldRequest { collection: "texts".into(), field: field.into() };
    let left = client.drop_field(drop("body")).await.unwrap().collection.unwrap().fields;
    assert_eq!(left.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["title"]);
    let (_, message) = refused(client.drop_field(drop("body")).await);
    assert!(message.contains("title"), "{message}");
    let get = pb::GetCollectionRequest { name: "texts".into() };
    assert_eq!(client.collection(get).await.unwrap().collection.unwrap().fields, left);
}

pub(crate) async fn invalid_keyword_queries_and_fields_are_refused(engine: Arc<dyn Node>) {
    let running = with_texts(engine).await;
    let client = &running.client;
    let wrong_field = Form::Keywords(pb::Keywords { text: "a".into(), field: "body".into(), ..Default::default() });
    let wrong_operator = Form::Keywords(pb::Keywords { text: "a".into(), operator: 9, ..Default::default() });
    let rrf_k = pb::Fusion { queries: vec![sub_query(keywords("a"))], method: 2, rrf_k: 1.0 };
    let heavy = Form::Hybrid(pb::Hybrid { text: "a".into(), keyword_weight: Some(1.5), ..Default::default() });
    let deep = (0..4).fold(keywords("a"), |form, _| fusion(vec![sub_query(form)]));
    for (form, parts) in [
        (keywords(""), &["query.keywords.text", "1"][..]),
        (keywords(&"a ".repeat(600_000)), &["query.keywords.text", "1048576"]),
        (wrong_field, &["query.keywords.field", "body", "text"]),
        (wrong_operator, &["query.keywords.operator", "9"]),
        (fusion(Vec::new()), &["query.fusion.queries", "1 to 16"]),
        (fusion(vec![pb::SubQuery::default()]), &["query.fusion.queries[0].query"]),
        (fusion(vec![pb::SubQuery { weight: Some(-1.0), ..sub_query(keywords("a")) }]), &["queries[0].weight"]),
        (fusion(vec![pb::SubQuery { limit: 10_001, ..sub_query(keywords("a")) }]), &["queries[0].limit", "10000"]),
        (
            fusion(vec![pb::SubQuery {
                accuracy: Some(pb::sub_query::Accuracy::TargetRecall(0.1)),
                ..sub_query(Form::Text("a".into()))
            }]),
            &["queries[0].target_recall", "0.5 to 1"],
        ),
        (Form::Fusion(rrf_k), &["query.fusion.rrf_k", "RRF"]),
        (Form::Fusion(pb::Fusion { method: 9, ..Default::default() }), &["query.fusion.method", "9"]),
        (heavy, &["query.hybrid.keyword_weight", "0 to 1"]),
        (deep, &["nested", "3"]),
        (fusion(vec![sub_query(fusion(vec![sub_query(keywords("a")); 16])); 4]), &["68 queries", "64"]),
    ] {
        let (code, message) = refused(client.search(near("texts", form, 3)).await);
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}: no {part}"));
    }
    let with = |change: &dyn Fn(&mut pb::TextField), name: &str| {
        let mut field = text_field(name, "text");
        if let Some(pb::field::Kind::Text(text)) = &mut field.kind {
            change(text);
        }
        pb::AddFieldRequest { collection: "texts".into(), field: Some(field) }
    };
    for (request, parts) in [
        (pb::AddFieldRequest { collection: "texts".into(), field: None }, &["field"][..]),
        (with(&|_| {}, ""), &["name", "1 to 64"]),
        (with(&|_| {}, &"a".repeat(65)), &["name", "1 to 64"]),
        (with(&|text| text.paths.clear(), "b"), &["paths", "1 to 16"]),
        (with(&|text| text.paths = vec!["x".repeat(513)], "b"), &["paths[0]", "512"]),
        (with(&|text| text.language = "klingon".into(), "b"), &["field.text.language", "klingon", "english"]),
        (with(&|text| text.k1 = Some(101.0), "b"), &["k1", "100"]),
        (with(&|text| text.b = Some(f32::NAN), "b"), &["b", "0 to 1"]),
        (with(&|text| text.stop_words = vec![String::new()], "b"), &["stop_words[0]"]),
        (with(&|text| text.stop_words = vec!["a".into(); 10_001], "b"), &["stop_words", "10000"]),
    ] {
        let (code, message) = refused(client.add_field(request).await);
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}: no {part}"));
    }
    let both = pb::CreateCollectionRequest {
        no_fields: true,
        fields: vec![text_field("a", "a")],
        ..plain("other", 2, pb::Metric::L2)
    };
    assert!(refused(client.create_collection(both).await).1.contains("no_fields"));
    for number in 1..16 {
        client.add_field(with(&|_| {}, &format!("f{number}"))).await.unwrap();
    }
    assert!(refused(client.add_field(with(&|_| {}, "f16")).await).1.contains("at most 16"));
}
