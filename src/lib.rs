//! Titlecast: the conversation backend that names its conversations.
//!
//! A message goes in, the reply streams out; beside it, from the first user message alone, a small
//! model makes a short title, which is stored once and told to every client at once.
//!
//! Dependencies point one way:
//!
//! ```text
//! main ▶ app ▶ api ▶ chat ▶ titles ▶ { db, events, llm } ▶ conversation, clock, error
//! ```
//!
//! Three laws hold everywhere:
//!
//! 1. Rows are the truth, events are hints.
//! 2. `chat` and `titles` write and publish, nobody else: commit first, publish second.
//! 3. GraphQL and SSE are two encoders of the same events; the request that starts a reply is itself
//!    just a subscriber.
//!
//! `ARCHITECTURE.md` walks through a first message.

pub mod api;
pub mod app;
pub mod auth;
pub mod chat;
pub mod clock;
pub mod commands;
pub mod config;
pub mod conversation;
pub mod db;
pub mod error;
pub mod events;
pub mod json;
pub mod llm;
pub mod panics;
pub mod server;
mod step;
pub mod supervisor;
pub mod telemetry;
pub mod titles;
pub mod transport;
mod work;
