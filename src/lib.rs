//! Titlecast: a conversation backend that gives its conversations titles.
//!
//! A client sends a message and the reply streams back. In parallel, a small model makes a short title from the first
//! user message; the title is stored once and pushed to every subscribed client.
//!
//! Modules depend on each other in one direction:
//!
//! ```text
//! main ▶ app ▶ api ▶ chat ▶ titles ▶ { db, events, agents ▶ llm } ▶ conversation, clock, error
//! ```
//!
//! | module | what it does |
//! | --- | --- |
//! | `app`, `config`, `commands` | the command line, start and shutdown |
//! | `api`, `server`, `auth` | GraphQL, the legacy REST and SSE routes, connections, tokens |
//! | `agents` | agents by name: the instructions and models that answer a message |
//! | `chat` | turns: stores a message, writes its reply, starts its title |
//! | `titles` | generates titles, validates them, retries and sweeps |
//! | `webhooks` | announces changes to external receivers |
//! | `db` | all SQL, for SQLite and PostgreSQL |
//! | `events` | fan-out of changes and running replies to subscribers, across nodes through NATS |
//! | `llm` | the chat model and the title model |
//! | `conversation`, `clock`, `error` | shared types |
//! | `budget`, `work` | daily token budgets; CPU-heavy work off the async workers |
//! | `supervisor`, `panics` | background loops; panics as errors with an id |
//! | `telemetry`, `step` | log and traces; failpoints for tests |
//!
//! Separate crates in `crates/`: `graphql-transport` and `graphql-gate`, the GraphQL protocols and limits, and
//! `lenient-json`, JSON as clients and providers send it.
//!
//! Three laws hold everywhere:
//!
//! 1. Rows are the truth, events are hints.
//! 2. Only `chat` and `titles` write and publish: commit first, publish second.
//! 3. GraphQL and SSE encode the same events. The request that starts a reply is just another subscriber.
//!
//! `ARCHITECTURE.md` follows one message through the code.

pub mod agents;
pub mod api;
pub mod app;
pub mod auth;
mod budget;
pub mod chat;
pub mod clock;
pub mod commands;
pub mod config;
pub mod conversation;
pub mod db;
pub mod error;
pub mod events;
pub mod llm;
pub mod panics;
pub mod server;
mod step;
pub mod supervisor;
pub mod telemetry;
pub mod titles;
pub mod webhooks;
mod work;
