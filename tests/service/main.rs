//! Tests of the services over a socket: every call, every limit, every kind of error.
//!
//! | file | contents |
//! | --- | --- |
//! | `harness.rs` | a server on a free port, a client, and shorthands for requests |
//! | `calls.rs` | the contract of an engine; runs over each engine named below |
//! | `aliases.rs` | aliases and renamed collections, over each engine; the access rights of callers |
//! | `quality.rs` | `Explain`, target recalls and measured recalls, over each engine |
//! | `ranking.rs` | groups of several hits, another order, formulas, varied hits, examples |
//! | `filters.rs` | conditions on payloads, over each engine |
//! | `expiry.rs` | expiry of points, by a clock that the test sets |
//! | `summaries.rs` | facets, statistics of fields, ordered scrolls and samples, over each engine |
//! | `streams.rs` | `UpsertStream`, over each engine |
//! | `columns.rs` | many vectors in one field, over each engine |
//! | `responses.rs` | response size limits, error texts, integers beyond 2^53 |
//! | `embedding.rs` | slow embeddings: their threads, their cancellation |
//! | `limits.rs` | invalid requests, over each engine |
//! | `regressions.rs` | known failures of other databases: invalid vectors, bombs, duplicates, stalled clients |
//! | `hostile.rs` | clients that exhaust shared resources |
//! | `generations.rs` | re-embedding and rollback |
//! | `training.rs` | training, installation and deletion of models |
//! | `auth.rs` | authentication, authorization, audit log |
//! | `tls.rs` | certificates of servers and clients, and their reload |
//! | `snapshots.rs` | snapshots within a caller's scope |
//! | `map.rs` | layouts, located queries, the change feed |
//! | `metrics.rs` | metrics, over each engine |
//! | `web_ui.rs` | the port for browsers: files, gRPC-web, refusals |
//! | `server.rs` | the server: errors, overload, deadlines, health, reflection, shutdown |

#[path = "../support/mod.rs"]
mod support;

mod aliases;
mod auth;
mod blocks;
mod calls;
mod columns;
mod embedding;
mod expiry;
mod filters;
mod generations;
mod harness;
mod hostile;
mod keywords;
mod limits;
mod map;
mod metrics;
mod quality;
mod ranking;
mod regressions;
mod responses;
mod server;
mod snapshots;
mod streams;
mod summaries;
mod tls;
#[cfg(feature = "jwt")]
mod tokens;
mod training;
mod updates;
mod vector_fields;
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

/// An engine, and a guard that must live as long (the folder of an engine on disk).
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
                collections_are_created_listed_and_deleted
                points_are_written_read_replaced_and_deleted
                searches_find_the_nearest
                text_is_embedded
                payloads_that_contradict_their_source_are_refused
                a_batch_with_an_invalid_item_is_refused
                reads_wait_for_their_minimum_sequence
                scrolls_reach_the_end
                a_scroll_begins_after_an_id
                embedders_are_listed_and_embed
                gzip_works_in_both_directions
            }
            blocks {
                long_texts_are_split_into_blocks_with_offsets
                a_stream_of_long_texts_is_acknowledged_text_by_text
                the_best_block_of_each_text_is_found
                invalid_blocks_and_groups_are_refused
                points_that_only_name_a_parent_are_not_removed_with_its_blocks
            }
            quality {
                explanations_name_the_reason
                recall_is_targeted_and_measured
                invalid_targets_and_measurements_are_refused
            }
            filters {
                every_condition_selects
                invalid_filters_are_refused
                points_are_counted_scrolled_and_deleted_by_filter
                a_field_that_no_point_has_is_named
                a_delete_by_an_unknown_field_is_refused
            }
            updates {
                payloads_are_updated_by_id_and_by_filter
                invalid_updates_are_refused
                upserts_insert_update_or_replace_what_matches
                vectors_are_updated_and_payloads_kept
                all_points_are_deleted_and_the_collection_stays
            }
            limits { invalid_requests_name_field_and_limit payloads_are_limited }
            streams {
                invalid_items_do_not_end_a_stream
                acks_come_in_order
                a_stream_writes_to_one_collection
                a_stream_counts_its_writes
                existing_points_are_kept_on_request
                a_stream_writes_what_its_condition_permits
            }
            columns {
                columns_are_written_searched_and_returned
                a_stream_of_columns_acknowledges_each_item
                invalid_columns_are_refused
            }
            metrics { metrics_count_requests_and_points }
            aliases { names_change_in_atomic_lists }
            summaries {
                values_are_counted
                fields_are_described
                a_scroll_follows_a_field
                samples_are_repeatable
            }
        }
    };
}

mod engines {
    every_test_over!(memory);
    every_test_over!(local);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn commits_flushes_and_merges_are_counted() {
        let (engine, _guard) = super::local();
        crate::metrics::commits_flushes_and_merges_are_counted(engine).await;
    }
}

/// Tests for the engine on disk only.
mod stored {
    over! { local:
        calls { terms_that_cancel_are_refused }
        summaries { invalid_summaries_are_refused }
        updates { the_actions_of_an_update_are_limited }
    }
}

mod keyword_queries {
    over! { local:
        keywords {
            words_are_found_in_texts_without_configuration
            fields_are_added_and_dropped
            invalid_keyword_queries_and_fields_are_refused
        }
        vector_fields {
            vectors_in_fields_are_stored_searched_and_updated
            bad_vectors_in_fields_are_refused_by_name
            points_may_have_no_vector
            the_vectors_of_queries_are_charged_to_the_memory_of_requests
        }
    }
}

mod ranked_queries {
    over! { local:
        ranking {
            groups_have_several_hits
            candidates_are_ranked
            points_are_recommended_by_examples
            scores_come_from_formulas
        }
    }
}

mod maps {
    over! { local:
        map {
            the_first_layout_shows_principal_components
            invalid_layout_requests_are_refused
            queries_are_located_in_the_layout
            layouts_improve_are_cached_and_follow_writes
            three_dimensions_are_laid_out_by_umap
            a_few_points_have_a_layout
            watchers_receive_writes
            a_slow_watcher_misses_changes_and_continues
        }
    }
}
