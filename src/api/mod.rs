//! The surfaces: GraphQL, the HTTP routes and their streams, pages for people, health endpoints and metrics.
//!
//! A surface parses a request, calls `chat` or `titles` to change data and `db` to read it, and encodes the answer.
//! GraphQL and SSE are two encoders of the same events.
//!
//! | file | what it does |
//! | --- | --- |
//! | `graphql` | the schema, its resolvers and error format |
//! | `rest`, `sse` | the legacy routes, and the streams of all SSE wires |
//! | `reach` | whose conversation a request names, and what the caller may do in it |
//! | `turn`, `watch`, `feed` | the events of a turn, of a conversation, and of all conversations, for all surfaces |
//! | `auth`, `on_behalf`, `host`, `origin`, `limits` | checks of each request: token, owner, `Host`, `Origin`, limits |
//! | `base_path` | the path below which all routes are served |
//! | `health`, `observe` | health endpoints, request telemetry |
//! | `metrics`, `model_metrics` | Prometheus metrics, those of the models apart |
//! | `openapi` | `/openapi.json`, from the descriptions at the handlers |
//! | `pages` | the demo page, the explorer and GraphiQL |

pub mod auth;
pub mod base_path;
mod feed;
pub mod graphql;
pub mod health;
pub mod host;
pub mod limits;
pub mod metrics;
mod model_metrics;
pub mod observe;
mod on_behalf;
pub mod openapi;
pub mod origin;
mod pages;
mod reach;
pub mod rest;
pub mod sse;
mod turn;
mod watch;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use graphql_transport::cohort::Counters;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{Access, Sharing},
    chat::Chat,
    db::Database,
    error::Error,
    events::EventBroker,
    panics,
    server::ErrorResponder,
    titles::Titles,
};

/// The path of GraphQL, for every transport.
const GRAPHQL_PATH: &str = "/graphql";

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The dependencies and settings of all surfaces.
pub struct Services {
    /// How callers are authenticated.
    pub access: Access,
    /// Which conversations each tenant shares.
    pub sharing: Sharing,
    /// Used for reads.
    pub db: Database,
    /// Used for subscriptions.
    pub events: EventBroker,
    /// Used for renames and other title changes.
    pub titles: Titles,
    /// Used for turns.
    pub chat: Chat,
    /// Tracks the tasks that shutdown waits for.
    pub tasks: TaskTracker,
    /// The sources of the health endpoints.
    pub health: health::Health,
    /// Ends read-only streams at shutdown.
    pub closing: CancellationToken,
    /// Counts requests and their errors.
    pub http: observe::HttpMetrics,
    /// How long the last event of a reply stream waits for a title.
    pub title_grace: Duration,
    /// The contract of legacy streams for requests that name none.
    pub legacy_contract: sse::Contract,
    /// The longest pause of an upload, and the time limit of one reply.
    pub upload_limits: (Duration, Duration),
    /// The interval of keep-alive comments on idle SSE streams.
    pub keep_alive: Duration,
    /// Whether identical subscriptions share one execution.
    pub cohorts: bool,
    /// Rate limits per user.
    pub users: limits::UserLimits,
    /// Reads shared by the watchers of a feed.
    pub feed_reads: feed::FeedReads,
    /// Counters of subscriptions.
    pub subscriptions: Counters,
    /// The allowed web origins.
    pub allowed_origins: origin::AllowedOrigins,
    /// The allowed `Host` names. Checked only if tokens are not required.
    pub allowed_hosts: host::AllowedHosts,
    /// The path below which all routes are served.
    pub base_path: base_path::BasePath,
    /// Whether to serve the pages for people.
    pub pages: bool,
    /// The settings of GraphQL.
    pub graphql: graphql::GraphqlSettings,
}

/// The response for an error outside the handlers, in the error format of the path.
pub(crate) fn refuse(path: &str, error: Error) -> Response {
    match path == GRAPHQL_PATH {
        true => graphql::refused(error),
        false => rest::RestError(error).into_response(),
    }
}

/// Renders the server's errors outside the router. Pages of allowed origins can read them, like all other errors.
pub(crate) fn edge_errors(
    base: base_path::BasePath,
    origins: origin::AllowedOrigins,
    access: &Access,
) -> ErrorResponder {
    let with_cookies = takes_cookies(access);
    Box::new(move |path, origin, error| {
        let mut response = refuse(base.strip(path).unwrap_or(path), error);
        origins.reveal(origin, with_cookies, &mut response);
        response
    })
}

/// Whether the token may be in a cookie.
fn takes_cookies(access: &Access) -> bool {
    match access {
        Access::Open(_) => false,
        Access::Tokens(tokens) => tokens.cookie().is_some(),
    }
}

/// Answers a panic in a handler with an error instead of closing the connection.
async fn catch_panics(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = panics::catch(next.run(request)).await;
    answer.unwrap_or_else(|error| refuse(&path, error))
}

/// All routes.
pub fn router(services: Services) -> Router {
    let origins = Arc::new(services.allowed_origins.clone());
    let hosts = Arc::new(match &services.access {
        Access::Open(_) => host::HostRule::Listed(services.allowed_hosts.clone()),
        Access::Tokens(_) => host::HostRule::Any,
    });
    let cors = origins.cors(takes_cookies(&services.access));
    let http = services.http.clone();
    let pages = match services.pages {
        true => pages::routes(),
        false => Router::new(),
    };
    let base = services.base_path.clone();
    let services = Arc::new(services);
    let checked = |routes: Router| {
        routes
            .fallback(rest::no_such_path)
            .method_not_allowed_fallback(rest::method_not_allowed)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn(catch_panics))
            .layer(middleware::from_fn(on_behalf::check))
            .layer(cors.clone())
            .layer(middleware::from_fn_with_state(
                origins.clone(),
                origin::check,
            ))
            .layer(middleware::from_fn_with_state(hosts.clone(), host::check))
            .layer(middleware::from_fn_with_state(
                http.clone(),
                observe::request,
            ))
    };
    let routes = Router::new()
        .merge(health::routes())
        .merge(rest::routes())
        .with_state(services.clone())
        .merge(graphql::routes(services))
        .merge(openapi::routes(&base))
        .merge(pages);
    base.mount(checked(routes), checked(Router::new()))
}
