//! The surfaces: GraphQL, the legacy HTTP routes and their streams, health pages and metrics.
//!
//! Each takes a request apart, calls `chat` or `titles` for what changes something and `db` for what
//! only reads, and puts the answer into its own words. GraphQL and SSE are two encoders of the same
//! events; neither is special.

pub mod auth;
pub mod graphql;
mod health;
pub mod metrics;
pub mod origin;
pub mod rest;
mod sse;
mod turn;
mod watch;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, middleware};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::Access, chat::Chat, db::Database, events::EventBroker, llm::LanguageModel,
    titles::Titles, transport::cohort::Counters,
};

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What the surfaces stand on.
pub struct Services {
    /// Who may call.
    pub access: Access,
    /// For what only reads.
    pub db: Database,
    /// For what watches.
    pub events: EventBroker,
    /// For health pages.
    pub model: Arc<dyn LanguageModel>,
    /// For renames.
    pub titles: Titles,
    /// For turns.
    pub chat: Chat,
    /// Counts the tasks that a shutdown waits for.
    pub tasks: TaskTracker,
    /// Ends the streams that only watch.
    pub closing: CancellationToken,
    /// How long the last event of a reply's stream waits for a title.
    pub title_grace: Duration,
    /// How long an SSE stream may be silent.
    pub keep_alive: Duration,
    /// Whether subscribers that ask the same share one execution.
    pub cohorts: bool,
    /// Counts what subscriptions do.
    pub subscriptions: Counters,
    /// The web origins whose pages may use the service.
    pub allowed_origins: origin::AllowedOrigins,
    /// What GraphQL answers.
    pub graphql: graphql::GraphqlSettings,
}

/// All routes.
pub fn router(services: Services) -> Router {
    let origins = Arc::new(services.allowed_origins.clone());
    let takes_cookies = match &services.access {
        Access::Open(_) => false,
        Access::Tokens(tokens) => tokens.cookie().is_some(),
    };
    let cors = origins.cors(takes_cookies);
    let services = Arc::new(services);
    Router::new()
        .merge(health::routes())
        .merge(rest::routes())
        .with_state(services.clone())
        .merge(graphql::routes(services))
        .fallback(rest::no_such_path)
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(cors)
        .layer(middleware::from_fn_with_state(origins, origin::check))
}
