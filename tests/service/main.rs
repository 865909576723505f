//! The services over a real socket: every call, every limit, every kind of error.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `harness.rs` | a server on a free port, a client, and short ways to make requests |
//! | `calls.rs` | what any engine must do; runs over each engine named below |
//! | `quality.rs` | `Explain`, recall asked for and measured, over each engine |
//! | `filters.rs` | conditions on payloads, over each engine |
//! | `streams.rs` | `UpsertStream`, over each engine |
//! | `responses.rs` | how large responses become, what their errors say, integers beyond 2^53 |
//! | `embedding.rs` | embeddings that take long: where they run, when they end |
//! | `limits.rs` | what is refused at the edge, over each engine |
//! | `regressions.rs` | what has hurt other databases: no vectors, bombs, duplicates, clients that stop |
//! | `hostile.rs` | clients that take what others need |
//! | `generations.rs` | a collection under one embedder after the other |
//! | `training.rs` | models trained, installed and deleted |
//! | `auth.rs` | who is let in, and what is noted of it |
//! | `tls.rs` | certificates of servers and clients, and their renewal |
//! | `snapshots.rs` | snapshots within a caller's reach |
//! | `map.rs` | layouts, places, and what is written told as it happens |
//! | `metrics.rs` | metrics, over each engine |
//! | `web_ui.rs` | the port for browsers: files, gRPC-web, what is refused |
//! | `server.rs` | the server itself: errors, overload, deadlines, health, reflection, shutdown |

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod blocks;
mod calls;
mod embedding;
mod filters;
mod generations;
mod harness;
mod hostile;
mod limits;
mod map;
mod metrics;
mod quality;
mod regressions;
mod responses;
mod server;
mod snapshots;
mod streams;
mod tls;
#[cfg(feature = "jwt")]
mod tokens;
mod training;
mod web_ui;

use nearness::embed::Registry;
use nearness::engine::Node;
use std::any::Any;
use std::sync::Arc;

/// The embedders of the tests.
fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.add(Arc::new(support::letters::Letters::new()));
    registry
}

/// An engine, and what must live as long (a folder, for an engine that has one).
type Opened = (Arc<dyn Node>, Box<dyn Any>);

fn memory() -> Opened {
    (Arc::new(support::memory_engine::MemoryEngine::new(registry())), Box::new(()))
}

fn local() -> Opened {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = nearness::engine::Database::options().embedders(registry()).open(folder.path()).expect("an engine");
    (Arc::new(engine), Box::new(folder))
}

/// Runs the named functions over an engine.
macro_rules! over {
    ($engine:ident: $($file:ident { $($test:ident)* })*) => {
        mod $engine {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (engine, _guard) = crate::$engine();
                    crate::$file::$test(engine).await;
                }
            )*)*
        }
    };
}

macro_rules! every_test_over {
    ($engine:ident) => {
        over! { $engine:
            calls {
                collections_are_made_listed_and_removed
                points_are_written_read_replaced_and_deleted
                searches_find_the_nearest
                text_is_embedded
                payloads_that_contradict_their_source_are_refused
                a_batch_is_checked_whole
                reads_wait_for_the_sequence_they_ask_for
                scrolls_reach_the_end
                a_scroll_begins_after_an_id
                embedders_answer
                gzip_goes_both_ways
            }
            blocks {
                long_texts_become_blocks_that_know_their_place
                a_stream_of_long_texts_is_acknowledged_text_by_text
                the_best_block_of_each_text_is_found
                wrong_blocks_and_groups_are_refused
                points_that_only_name_a_parent_outlive_its_blocks
            }
            quality {
                explanations_name_the_reason
                recall_is_asked_for_and_measured
                wrong_targets_and_measurements_are_refused
            }
            filters {
                every_condition_selects
                wrong_filters_are_refused
                points_are_counted_scrolled_and_deleted_by_filter
                a_field_that_no_point_has_is_named
                a_delete_by_an_unknown_field_is_refused
            }
            limits { wrong_requests_name_field_and_limit payloads_are_limited }
            streams {
                bad_items_among_good_ones
                acks_come_in_order
                the_collection_of_a_stream
                what_a_stream_wrote_is_counted
                existing_points_are_kept_where_asked
            }
            metrics { metrics_say_what_happened }
        }
    };
}

mod engines {
    every_test_over!(memory);
    every_test_over!(local);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn commits_and_seals_are_counted() {
        let (engine, _guard) = super::local();
        crate::metrics::commits_and_seals_are_counted(engine).await;
    }
}

/// What only the real engine does.
mod stored {
    over! { local: calls { terms_that_cancel_are_refused } }
}

mod maps {
    over! { local:
        map {
            the_first_layout_is_that_of_the_components
            wrong_maps_are_refused
            queries_have_places
            layouts_improve_are_kept_and_follow_what_is_written
            three_dimensions_are_laid_out_by_umap
            few_points_have_a_layout_too
            what_is_written_is_told
            a_slow_watcher_misses_and_goes_on
        }
    }
}
