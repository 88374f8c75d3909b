//! The outbox of webhooks. Triggers fill it (migration m20251223_000001 describes the tables); this module empties it.
//!
//! - `routes`: which events are wanted, as registered by the running nodes
//! - `lanes`: claims of a conversation's queue, and the outcome of an event
//! - `content`: the rows that an event refers to
//! - `parked`: operators' commands for events that were given up

mod content;
mod lanes;
mod parked;
mod routes;

pub use self::{
    content::WebhookContent,
    lanes::{WebhookBacklog, WebhookEvent, WebhookLane},
    parked::ParkedLane,
    routes::WebhookRoute,
};
