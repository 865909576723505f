//! `Reembed`, `Rollback` and `DeletePreviousGeneration` over gRPC: progress, refusals, and required roles.

use crate::auth::{grant, holder, with_access};
use crate::harness::*;
use nearness::auth::{Access, Role};
use nearness::grpc::{ClientError, GenerationState, ResponseStream, pb};

/// Returns the reported progress, and the collection.
async fn follow<M: Into<Option<GenerationState>>>(
    replies: Result<ResponseStream<M>, ClientError>,
) -> Result<(Vec<pb::GenerationProgress>, pb::Collection), ClientError> {
    let (mut replies, mut progress, mut collection) = (replies?, Vec::new(), None);
    while let Some(reply) = replies.next().await? {
        match reply.into().expect("a state") {
            GenerationState::Progress(at) => progress.push(at),
            GenerationState::Collection(info) => collection = Some(info),
        }
    }
    Ok((progress, collection.expect("the last reply is the collection")))
}

fn reembed(name: &str, output: &str) -> pb::ReembedCollectionRequest {
    let embedder = pb::EmbedderRef { name: "letters".into(), output: output.into() };
    pb::ReembedCollectionRequest { name: name.into(), embedder: Some(embedder), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_is_reembedded_and_rolled_back() {
    let (engine, _guard) = crate::local();
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("c", "counts")).await.unwrap();
    let items = (0..900).map(|n| text_item(&format!("p{n}"), &"ae".repeat(1 + n % 5))).collect();
    client.upsert(upsert("c", items)).await.unwrap();
    let before = client.collection(pb::GetCollectionRequest { name: "c".into() }).await.unwrap().collection.unwrap();
    assert_eq!((before.generation, before.previous), (1, None));

    let (progress, collection) = follow(client.reembed(reembed("c", "vowels")).await).await.unwrap();
    assert!(!progress.is_empty() && progress.iter().all(|at| at.done <= at.total && at.rate >= 0.0), "{progress:?}");
    assert_eq!((collection.generation, collection.dimension, collection.points), (2, 5, 900));
    let previous = collection.previous.unwrap();
    assert_eq!((previous.generation, previous.embedder.unwrap().output.as_str()), (1, "counts"));
    assert_eq!(previous.embedder_fingerprint, before.embedder_fingerprint);
    // A reader that waits for an earlier write is served, and a text query uses the new vectors.
    let mut search = near("c", pb::query::Form::Text("aeaeae".into()), 1);
    search.min_sequence = before.sequence;
    let reply = client.search(search).await.unwrap();
    assert!(reply.hits[0].distance < 1e-5, "{reply:?}");

    let (_, back) = follow(client.rollback(pb::RollbackCollectionRequest { name: "c".into() }).await).await.unwrap();
    assert_eq!((back.generation, back.dimension, back.previous.unwrap().generation), (1, 26, 2));
    let current = client
        .delete_previous_generation(pb::DeletePreviousGenerationRequest { name: "c".into() })
        .await
        .unwrap()
        .collection
        .unwrap();
    assert_eq!(current.previous, None);
    let nothing = follow(client.rollback(pb::RollbackCollectionRequest { name: "c".into() }).await).await;
    assert_eq!(refused(nothing).0, "FAILED_PRECONDITION");

    for (request, code, part) in [
        (reembed("none", ""), "NOT_FOUND", "none"),
        (reembed("c", "consonants"), "INVALID_ARGUMENT", "embedder.output"),
        (reembed("", ""), "INVALID_ARGUMENT", "name"),
        (pb::ReembedCollectionRequest { name: "c".into(), ..Default::default() }, "INVALID_ARGUMENT", "embedder.name"),
    ] {
        let (found, message) = refused(follow(client.reembed(request).await).await);
        assert!(found == code && message.contains(part), "{found}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_of_the_collection_reembed_it() {
    let (engine, _guard) = crate::local();
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (other, other_grant) = grant("other", Role::Admin, &["other-*"]);
    let (writer, writer_grant) = grant("writer", Role::Write, &["*"]);
    let server =
        start_with(engine, with_access(Access::restricted(vec![root_grant, other_grant, writer_grant], vec![], None)))
            .await;
    let root = holder(&server.url, &root).await;
    root.create_collection(embedded("c", "counts")).await.unwrap();
    root.upsert(upsert("c", vec![text_item("a", "abc")])).await.unwrap();
    for key in [other, writer] {
        let client = holder(&server.url, &key).await;
        assert_eq!(refused(follow(client.reembed(reembed("c", "vowels")).await).await).0, "PERMISSION_DENIED");
        let back = follow(client.rollback(pb::RollbackCollectionRequest { name: "c".into() }).await).await;
        assert_eq!(refused(back).0, "PERMISSION_DENIED");
        let drop = client.delete_previous_generation(pb::DeletePreviousGenerationRequest { name: "c".into() }).await;
        assert_eq!(refused(drop).0, "PERMISSION_DENIED");
    }
    let (_, collection) = follow(root.reembed(reembed("c", "vowels")).await).await.unwrap();
    assert_eq!(collection.generation, 2);
}
