//! What is done with the candidates of a query, over gRPC: groups, another order, varied hits.

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
