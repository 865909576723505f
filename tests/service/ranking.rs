//! What is done with the candidates of a query, over gRPC: groups, another order, formulas, varied hits; examples.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::query::Form;
use serde_json::json as j;
use std::sync::Arc;

/// Ten points on a line at 0, 1, ..., and a copy of each beside it.
async fn with_pairs(engine: Arc<dyn Node>) -> Running {
    let running = start(engine).await;
    running.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let item = |n: usize, side: &str, y: f32| pb::Item {
        payload: payload(j!({ "pair": n, "side": side })),
        ..vector_item(&format!("{n}{side}"), &[n as f32, y])
    };
    let items = (0..10).flat_map(|n| [item(n, "a", 0.0), item(n, "b", 0.1)]).collect();
    running.client.upsert(upsert("c", items)).await.unwrap();
    running
}

fn search(k: u32, change: impl FnOnce(&mut pb::SearchParams)) -> pb::SearchRequest {
    let mut request = near_vector("c", &[2.2, 0.0], k);
    change(request.params.as_mut().unwrap());
    request
}

fn query(form: Form) -> Option<pb::Query> {
    Some(pb::Query { form: Some(form) })
}

pub(crate) async fn groups_have_several_hits(engine: Arc<dyn Node>) {
    let running = with_pairs(engine).await;
    let client = &running.client;
    let grouped = |k, group_size| {
        search(k, |params| {
            params.group_by = "pair".into();
            params.group_size = group_size;
        })
    };
    let found = client.search(grouped(2, 2)).await.unwrap();
    assert_eq!(hit_ids(&found), ["2a", "2b", "3a", "3b"]);
    assert_eq!(hit_ids(&client.search(grouped(2, 0)).await.unwrap()), ["2a", "3a"]);
    let page = pb::SearchRequest { offset: 3, ..grouped(2, 2) };
    assert_eq!(hit_ids(&client.search(page).await.unwrap()), ["3b"]);
    let alone = search(2, |params| params.group_size = 2);
    for (request, parts) in [
        (grouped(2, 101), ["params.group_size", "1 to 100"]),
        (alone, ["params.group_size", "params.group_by"]),
        (pb::SearchRequest { offset: 4, ..grouped(2, 2) }, ["offset", "(4)"]),
    ] {
        let (code, message) = refused(client.search(request).await);
        assert_eq!(code, "INVALID_ARGUMENT");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
    }
}

pub(crate) async fn candidates_are_ranked(engine: Arc<dyn Node>) {
    let running = with_pairs(engine).await;
    let client = &running.client;
    let varied = |weight| search(3, |params| params.diversity = Some(pb::Diversity { weight, candidates: 6 }));
    assert_eq!(hit_ids(&client.search(varied(Some(0.0))).await.unwrap()), ["2a", "2b", "3a"]);
    assert_eq!(hit_ids(&client.search(varied(None)).await.unwrap()), ["2a", "3a", "2b"]);
    let rerank =
        |candidates, form| search(2, |params| params.rerank = Some(pb::Rerank { query: query(form), candidates }));
    // 3b is the last of the four candidates.
    let other = || Form::Vector(values(&[9.0, 0.1]));
    let found = client.search(rerank(4, other())).await.unwrap();
    assert_eq!(hit_ids(&found), ["3b", "3a"]);
    assert_eq!(found.hits[0].distance, 6.0);
    assert_eq!(hit_ids(&client.search(rerank(0, other())).await.unwrap()), ["9b", "9a"]);
    assert_eq!(hit_ids(&client.search(rerank(0, Form::Id("9b".into()))).await.unwrap()), ["9a", "8b"]);
    let pb::SearchRequest { collection, query: near, params, .. } = rerank(4, other());
    let request = pb::ExplainRequest { collection, query: near, params, id: "2a".into(), ..Default::default() };
    let explained = client.explain(request).await.unwrap();
    assert_eq!((explained.reason(), explained.parts[0].rank), (pb::Reason::Beaten, Some(1)));
    for (request, parts) in [
        (varied(Some(2.0)), ["params.diversity.weight", "0 to 1"]),
        (rerank(1, other()), ["params.rerank.candidates", "(2) to 10000"]),
        (rerank(4, Form::Text("x".into())), ["params.rerank.query.text", "embedder"]),
        (rerank(4, Form::Fusion(pb::Fusion::default())), ["params.rerank.query", "fusion"]),
        (search(1, |params| params.rerank = Some(pb::Rerank::default())), ["params.rerank.query", "give a vector"]),
    ] {
        let (code, message) = refused(client.search(request).await);
        assert_eq!(code, "INVALID_ARGUMENT");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}: no {part}"));
    }
}

pub(crate) async fn points_are_recommended_by_examples(engine: Arc<dyn Node>) {
    use pb::recommend_term::Form as Example;
    let running = with_pairs(engine).await;
    let client = &running.client;
    let ids = |ids: &[&str]| -> Vec<pb::RecommendTerm> {
        ids.iter().map(|id| pb::RecommendTerm { form: Some(Example::Id((*id).into())) }).collect()
    };
    let recommend = |positive: &[&str], negative: &[&str], strategy: i32| {
        Form::Recommend(pb::Recommend { positive: ids(positive), negative: ids(negative), strategy })
    };
    let average = client.search(near("c", recommend(&["2a", "4a"], &[], 0), 2)).await.unwrap();
    assert_eq!((hit_ids(&average), average.hits[0].distance), (vec!["3a", "3b"], 0.0));
    let apart = client.search(near("c", recommend(&["2a", "4a"], &["1a"], 1), 1)).await.unwrap();
    assert_eq!(hit_ids(&apart), ["5a"], "3 + 3 - 1");
    let best = || recommend(&["2a", "8a"], &["3a"], 2);
    let found = client.search(near("c", best(), 4)).await.unwrap();
    assert_eq!(hit_ids(&found), ["2b", "8b", "1a", "7a"]);
    let stats = found.stats.unwrap();
    assert_eq!((stats.path(), stats.expected_recall, stats.parts.len()), (pb::Path::Fusion, None, 2));
    let params = |k| Some(pb::SearchParams { k, ..Default::default() });
    let request = pb::ExplainRequest {
        collection: "c".into(),
        query: query(best()),
        params: params(4),
        id: "3b".into(),
        ..Default::default()
    };
    let explained = client.explain(request.clone()).await.unwrap();
    assert_eq!(explained.reason(), pb::Reason::Beaten);
    assert!((explained.score.unwrap() + 1.0 / (1.1 * 1.1)).abs() < 1e-4, "{explained:?}");
    let names: Vec<&str> = explained.parts.iter().map(|part| part.query.as_str()).collect();
    assert_eq!(names, ["positive[0]", "positive[1]", "negative[0]"]);
    let excluded = client.explain(pb::ExplainRequest { id: "8a".into(), ..request }).await.unwrap();
    assert_eq!(excluded.reason(), pb::Reason::Excluded);
    let example =
        |form| Form::Recommend(pb::Recommend { positive: vec![pb::RecommendTerm { form }], ..Default::default() });
    for (form, parts) in [
        (recommend(&[], &["1a"], 2), ["query.recommend.positive", "at least one"]),
        (recommend(&["1a"; 101], &[], 0), ["query.recommend", "1 to 100"]),
        (recommend(&["1a"], &[], 9), ["query.recommend.strategy", "9"]),
        (example(None), ["query.recommend.positive[0]", "an id, a vector or a text"]),
        (example(Some(Example::Text("x".into()))), ["query.recommend.positive[0].text", "embedder"]),
        (example(Some(Example::Vector(values(&[1.0])))), ["query.recommend.positive[0].vector", "2 components"]),
    ] {
        let (code, message) = refused(client.search(near("c", form, 1)).await);
        assert_eq!(code, "INVALID_ARGUMENT");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}: no {part}"));
    }
    let missing = client.search(near("c", recommend(&["zz"], &[], 2), 1)).await;
    assert_eq!(refused(missing).0, "NOT_FOUND");
}

pub(crate) async fn scores_come_from_formulas(engine: Arc<dyn Node>) {
    use pb::decay::{Of, Shape};
    use pb::expression::Form as Part;
    let running = with_pairs(engine).await;
    let client = &running.client;
    let of = |form| pb::Expression { form: Some(form) };
    let boxed = |form| Box::new(of(form));
    let list = |parts: Vec<Part>| pb::Expressions { expressions: parts.into_iter().map(of).collect() };
    let formula = |form: Part| {
        search(3, |params| params.formula = Some(pb::Formula { expression: Some(of(form)), candidates: 0 }))
    };
    let pair = || Part::Number(pb::PayloadNumber { field: "pair".into(), default: None });
    let side = pb::Equals {
        field: "side".into(),
        value: Some(pb::FilterValue { form: Some(pb::filter_value::Form::StringValue("b".into())) }),
    };
    let condition = Part::Condition(pb::Filter { form: Some(pb::filter::Form::Equals(side)) });
    let decay = |of: Of, scale| {
        let shape = Shape::Linear.into();
        Part::Decay(Box::new(pb::Decay { shape, of: Some(of), scale, midpoint: Some(0.5), default: None }))
    };
    // Ten for the side b, and up to one for pairs near 7.
    let near_seven = Of::Value(Box::new(pb::DecayValue { of: Some(boxed(pair())), target: 7.0 }));
    let ten = Part::Product(list(vec![condition, Part::Constant(10.0)]));
    let bonus = formula(Part::Sum(list(vec![ten, decay(near_seven, 1.0)])));
    let found = client.search(bonus.clone()).await.unwrap();
    assert_eq!(hit_ids(&found), ["7b", "6b", "8b"]);
    assert_eq!((found.hits[0].score, found.hits[1].score, found.hits[1].distance), (11.0, 10.5, -10.5));
    let pb::SearchRequest { collection, query, params, .. } = bonus;
    let request = pb::ExplainRequest { collection, query, params, id: "7a".into(), ..Default::default() };
    let explained = client.explain(request).await.unwrap();
    assert_eq!((explained.reason(), explained.formula), (pb::Reason::Beaten, Some(1.0)));
    let power = pb::Power { base: Some(boxed(pair())), exponent: Some(boxed(Part::Constant(2.0))) };
    let quotient = pb::Quotient {
        dividend: Some(boxed(Part::Power(Box::new(power)))),
        divisor: Some(boxed(Part::Abs(boxed(Part::Score(true))))),
        if_zero: Some(0.0),
    };
    let found = client.search(formula(Part::Quotient(Box::new(quotient)))).await.unwrap();
    assert_eq!(hit_ids(&found), ["2a", "2b", "9a"], "4 / 0.2, 4 / 0.22, 81 / 6.8");
    let unknown = Part::Number(pb::PayloadNumber { field: "pears".into(), default: Some(1.0) });
    assert_eq!(client.search(formula(unknown)).await.unwrap().unknown_fields, ["pears"]);
    let time = |target: &str| Of::Time(pb::DecayTime { field: "at".into(), target: target.into() });
    let mut deep = Part::Score(true);
    for _ in 0..16 {
        deep = Part::Negate(boxed(deep));
    }
    for (form, parts) in [
        (Part::Score(false), ["params.formula.expression", "is empty"]),
        (Part::Sum(list(vec![Part::Constant(1.0), Part::Score(false)])), ["expression.sum[1]", "is empty"]),
        (deep, ["params.formula.expression", "16 levels"]),
        (decay(time("soon"), 1.0), ["params.formula.expression.decay.time.target", "soon"]),
        (decay(time("2024-05-01"), 1.0), ["params.formula", "has no time at"]),
        (decay(Of::Place(pb::DecayPlace::default()), 1.0), ["decay.place.target", "missing"]),
        (Part::Ln(boxed(pair())), ["params.formula", "is -inf for the point"]),
    ] {
        let (code, message) = refused(client.search(formula(form)).await);
        assert_eq!(code, "INVALID_ARGUMENT", "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}: no {part}"));
    }
}
