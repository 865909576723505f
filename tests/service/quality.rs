//! `Explain`, `target_recall` and `MeasureRecall` through the services.

use crate::harness::*;
use nearness::engine::Node;
use nearness::grpc::pb;
use pb::query::Form;
use std::sync::Arc;

async fn create_twenty(server: &Running) {
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let items = (0..20).map(|n| vector_item(&format!("p{n:02}"), &[n as f32, 0.0])).collect();
    server.client.upsert(upsert("c", items)).await.unwrap();
}

fn explain(form: Form, k: u32, id: &str) -> pb::ExplainRequest {
    let pb::SearchRequest { collection, query, params, min_sequence, .. } = near("c", form, k);
    pb::ExplainRequest { collection, query, params, id: id.into(), min_sequence }
}

pub(crate) async fn explanations_name_the_reason(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    create_twenty(&server).await;
    let client = &server.client;
    let at = |x: f32| Form::Vector(values(&[x, 0.0]));

    let hit = client.explain(explain(at(7.2), 3, "p08")).await.unwrap();
    assert_eq!((hit.reason(), hit.rank, hit.true_rank), (pb::Reason::Hit, 2, Some(2)));
    assert!((hit.distance.unwrap() - 0.8).abs() < 1e-5 && (hit.score.unwrap() + 0.8).abs() < 1e-5, "{hit:?}");
    assert!((hit.kth_distance.unwrap() - 1.2).abs() < 1e-5, "{hit:?}");
    assert_eq!(
        (hit.segment, hit.row, hit.ef_used, hit.ef_needed),
        (None, None, 0, None),
        "a growing point, found by scan"
    );

    let beaten = client.explain(explain(at(7.2), 3, "p12")).await.unwrap();
    assert_eq!((beaten.reason(), beaten.rank, beaten.true_rank), (pb::Reason::Beaten, 0, Some(10)));
    let excluded = client.explain(explain(Form::Id("p07".into()), 3, "p07")).await.unwrap();
    assert_eq!(excluded.reason(), pb::Reason::Excluded);
    let neighbor = client.explain(explain(Form::Id("p07".into()), 3, "p08")).await.unwrap();
    assert_eq!((neighbor.reason(), neighbor.true_rank), (pb::Reason::Hit, Some(2)), "the query itself has no rank");
    let unknown = client.explain(explain(at(7.2), 3, "missing")).await.unwrap();
    assert_eq!((unknown.reason(), unknown.distance, unknown.true_rank), (pb::Reason::UnknownPoint, None, None));

    let mut far = explain(at(7.2), 3, "p06");
    far.params.as_mut().unwrap().score_threshold = Some(-1.0);
    let far = client.explain(far).await.unwrap();
    assert_eq!((far.reason(), far.true_rank), (pb::Reason::BelowThreshold, Some(3)));

    let mut only_red = explain(at(7.2), 3, "p08");
    only_red.params.as_mut().unwrap().filter = Some(crate::filters::exists("colour"));
    assert_eq!(client.explain(only_red).await.unwrap().reason(), pb::Reason::Filtered);

    let (code, message) = refused(client.explain(explain(at(7.2), 3, "")).await);
    assert_eq!(code, "INVALID_ARGUMENT");
    assert!(message.contains("id"), "{message}");
    let elsewhere = pb::ExplainRequest { collection: "nowhere".into(), ..explain(at(1.0), 1, "p01") };
    assert_eq!(refused(client.explain(elsewhere).await).0, "NOT_FOUND");
}

pub(crate) async fn recall_is_targeted_and_measured(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    create_twenty(&server).await;
    let mut request = near_vector("c", &[7.2, 0.0], 3);
    request.params.as_mut().unwrap().accuracy = Some(pb::search_params::Accuracy::TargetRecall(0.9));
    let reply = server.client.search(request).await.unwrap();
    assert_eq!(hit_ids(&reply), ["p07", "p08", "p06"]);
    let stats = reply.stats.unwrap();
    assert_eq!((stats.path(), stats.expected_recall), (pb::Path::Exact, Some(1.0)), "a few points are scanned");

    let measure = pb::MeasureRecallRequest { collection: "c".into(), samples: 50, k: 5, ..Default::default() };
    let report = server.client.measure_recall(measure).await.unwrap();
    assert_eq!((report.samples, report.recall, report.recalibrating), (20, 1.0, false));
    assert_eq!((report.stored_expected, report.expected_recall), (Some(1.0), Some(1.0)));
    assert!(report.recall_low < 1.0 && report.recall_high == 1.0);
}

pub(crate) async fn invalid_targets_and_measurements_are_refused(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    create_twenty(&server).await;
    let mut search = pb::search_client::SearchClient::new(server.channel().await);
    for target in [0.3, 1.5, f32::NAN] {
        let mut request = near_vector("c", &[1.0, 2.0], 5);
        request.params.as_mut().unwrap().accuracy = Some(pb::search_params::Accuracy::TargetRecall(target));
        assert_violation(&search.search(request).await.expect_err("refused"), "params.target_recall", "0.5 to 1");
    }
    let mut quality = pb::quality_client::QualityClient::new(server.channel().await);
    let measure = |samples, k| pb::MeasureRecallRequest { collection: "c".into(), samples, k, ..Default::default() };
    assert_violation(&quality.measure_recall(measure(10_001, 5)).await.unwrap_err(), "samples", "1 to 10000");
    assert_violation(&quality.measure_recall(measure(5, 10_001)).await.unwrap_err(), "k", "1 to 10000");
    let elsewhere = pb::MeasureRecallRequest { collection: "nowhere".into(), ..measure(5, 5) };
    assert_eq!(refused(server.client.measure_recall(elsewhere).await).0, "NOT_FOUND");
}
