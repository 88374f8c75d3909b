//! All integration tests, in one binary: one file a behaviour.
//!
//! They drive the real server over real sockets. Every test runs on an SQLite file of its own, or,
//! where `TEST_DATABASE_URL` names a PostgreSQL server, on a database of its own there.
#![expect(
    unreachable_pub,
    reason = "the support modules are the tests' own library"
)]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod allocations;
mod attachments;
mod attack;
mod auth;
mod auth_browser;
mod auth_expiry;
mod auth_keys;
mod auth_matrix;
mod auth_scopes;
mod auth_settings;
mod auth_tenants;
mod backfill;
mod bad_input;
mod canaries;
mod chaos;
mod cli;
mod cli_serve;
mod cohorts;
mod complaints;
mod cuts;
mod dead_peers;
mod docs;
mod drain;
mod edge;
mod error_counts;
mod error_matrix;
mod errors_doc;
mod fanout;
mod faults;
mod graphql_arguments;
mod graphql_errors;
mod graphql_lists;
mod graphql_mutations;
mod graphql_queries;
mod graphql_replies;
mod graphql_search;
mod graphql_subscriptions;
mod graphql_titles;
mod hostile;
mod hosts;
mod idempotency;
mod imports;
mod interop;
mod limits;
mod log_format;
mod methods;
mod metrics;
mod migrations;
mod nodes;
mod nodes_outage;
mod openers;
mod operations;
mod owners;
mod panics;
mod persisted;
mod plans;
mod readiness;
mod reply_contract;
mod reply_faults;
mod reply_history;
mod reply_leases;
mod reply_resume;
mod rest;
mod rest_fuzz;
mod rest_lists;
mod schema;
mod slow_title;
mod smoke;
mod sse_protocol;
mod start_errors;
mod statements;
mod stream;
mod stream_wire;
mod stuck_sockets;
mod support;
mod surrogates;
mod title_budget;
mod title_faults;
mod title_language;
mod title_leases;
mod title_model_check;
mod title_outputs;
mod title_regeneration;
mod title_requests;
mod title_reset;
mod title_rows;
mod title_steps;
mod title_stream;
mod title_sweep;
mod title_tokens;
mod title_turns;
mod traces;
mod two_nodes;
mod websocket_protocol;
