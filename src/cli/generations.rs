//! `nearness collections reembed`, `rollback`, `drop-previous`: change of a collection's embedder, and its reversal.

use super::args::{NamedArgs, ReembedArgs};
use super::collections::show;
use super::progress::{Progress, Step};
use super::remote::{self, told};
use crate::grpc::{Replies, pb};
use anyhow::Context;

/// Re-embeds a collection.
pub(super) fn reembed(args: &ReembedArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start("reembed", "points", quiet);
    let made = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        let embedder = pb::EmbedderRef { name: args.embedder.embedder.clone(), tap: args.embedder.tap.clone() };
        let (name, trust_payload) = (args.name.as_str().into(), args.trust_payload);
        let request = pb::ReembedRequest { name, embedder: Some(embedder), trust_payload };
        follow(client.reembed(request).await.map_err(told)?, &progress).await
    })?;
    finish(made, &progress, args.json)
}

/// Returns to the previous generation.
pub(super) fn rollback(args: &NamedArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start("rollback", "points", quiet);
    let made = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        let request = pb::RollbackRequest { name: args.name.as_str().into() };
        follow(client.rollback(request).await.map_err(told)?, &progress).await
    })?;
    finish(made, &progress, args.json)
}

/// Deletes the previous generation.
pub(super) fn drop_previous(args: &NamedArgs) -> anyhow::Result<()> {
    let reply = remote::block_on(async {
        let client = remote::connect(&args.server).await?;
        client.drop_previous(pb::DropPreviousRequest { name: args.name.as_str().into() }).await.map_err(told)
    })?;
    show(reply.collection, args.json)
}

/// Shows the progress; returns the collection.
async fn follow(mut replies: Replies<pb::GenerationResponse>, progress: &Progress) -> anyhow::Result<pb::Collection> {
    use pb::generation_response::State;
    let mut made = None;
    while let Some(reply) = replies.next().await.map_err(told)? {
        match reply.state {
            Some(State::Progress(at)) => {
                let indexing = at.phase() == pb::generation_progress::Phase::Indexing;
                let part = (at.total > 0).then(|| at.done as f64 / at.total as f64);
                let step = Step { done: at.done, total: Some(at.total), part };
                progress.step(step, if indexing { "indexing" } else { "" });
            }
            Some(State::Collection(collection)) => made = Some(collection),
            None => {}
        }
    }
    made.context("the server ended the stream without an answer")
}

fn finish(made: pb::Collection, progress: &Progress, json: bool) -> anyhow::Result<()> {
    progress.finish(&format!("generation {} in {:.1} s", made.generation, progress.seconds()));
    show(Some(made), json)
}
