//! The surfaces: GraphQL, the legacy HTTP routes and their streams, pages for people, health pages and metrics.
//!
//! Each takes a request apart, calls `chat` or `titles` for what changes something and `db` for what
//! only reads, and puts the answer into its own words. GraphQL and SSE are two encoders of the same
//! events; neither is special.

pub mod auth;
pub mod graphql;
pub mod health;
pub mod host;
pub mod limits;
pub mod metrics;
pub mod observe;
pub mod origin;
mod pages;
pub mod rest;
mod sse;
mod turn;
mod watch;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::Access,
    chat::Chat,
    db::{Database, cursor::CursorKey},
    error::Error,
    events::EventBroker,
    llm::LanguageModel,
    panics,
    titles::Titles,
    transport::cohort::Counters,
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
    /// What the health pages say.
    pub health: health::Health,
    /// Ends the streams that only watch.
    pub closing: CancellationToken,
    /// Counts requests.
    pub http: observe::HttpMetrics,
    /// How long the last event of a reply's stream waits for a title.
    pub title_grace: Duration,
    /// How long an SSE stream may be silent.
    pub keep_alive: Duration,
    /// Whether subscribers that ask the same share one execution.
    pub cohorts: bool,
    /// What the places in lists are authenticated with.
    pub cursors: CursorKey,
    /// What each user may do.
    pub users: limits::UserLimits,
    /// Counts what subscriptions do.
    pub subscriptions: Counters,
    /// The web origins whose pages may use the service.
    pub allowed_origins: origin::AllowedOrigins,
    /// The names that the service may be addressed by where there are no tokens.
    pub allowed_hosts: host::AllowedHosts,
    /// Whether there are pages for people.
    pub pages: bool,
    /// What GraphQL answers.
    pub graphql: graphql::GraphqlSettings,
}

/// An error that ends a request before a route of this path takes it, or instead of it.
pub(crate) fn refuse(path: &str, error: Error) -> Response {
    match path == graphql::PATH {
        true => graphql::refused(error),
        false => rest::RestError(error).into_response(),
    }
}

/// A panic is an answer, and not a connection that breaks.
async fn catch_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = panics::catch(next.run(request)).await;
    answer.unwrap_or_else(|error| refuse(&path, error))
}

/// All routes.
pub fn router(services: Services) -> Router {
    let origins = Arc::new(services.allowed_origins.clone());
    let takes_cookies = match &services.access {
        Access::Open(_) => false,
        Access::Tokens(tokens) => tokens.cookie().is_some(),
    };
    let hosts = Arc::new(match &services.access {
        Access::Open(_) => host::HostRule::Listed(services.allowed_hosts.clone()),
        Access::Tokens(_) => host::HostRule::Any,
    });
    let cors = origins.cors(takes_cookies);
    let http = services.http.clone();
    let pages = match services.pages {
        true => pages::routes(),
        false => Router::new(),
    };
    let services = Arc::new(services);
    Router::new()
        .merge(health::routes())
        .merge(rest::routes())
        .with_state(services.clone())
        .merge(graphql::routes(services))
        .merge(pages)
        .fallback(rest::no_such_path)
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(catch_panics))
        .layer(cors)
        .layer(middleware::from_fn_with_state(origins, origin::check))
        .layer(middleware::from_fn_with_state(hosts, host::check))
        .layer(middleware::from_fn_with_state(http, observe::request))
}
