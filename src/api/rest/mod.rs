//! The legacy HTTP routes, whose clients exist and cannot change. Legacy words (`agent_type`,
//! `is_terminal`) live here and in `sse`, nowhere else.

mod chat;
mod conversations;
mod errors;
mod fields;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{Next, from_fn, map_response},
    response::Response,
    routing::{get, patch, post},
};

pub(super) use self::{errors::RestError, fields::conversation_id};
pub use errors::status;

use super::Services;
use crate::{db::interrupt::interruptible, error::Error};

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/api/v1/chat", post(chat::whole))
        .route("/api/v1/chat/stream", post(chat::streamed))
        .route("/api/v1/conversations", get(conversations::list))
        .route("/api/v1/conversations/search", get(conversations::search))
        .route(
            "/api/v1/conversations/{id}",
            get(conversations::history).delete(conversations::delete),
        )
        .route(
            "/api/v1/conversations/{id}/messages",
            get(conversations::messages),
        )
        .route("/api/v1/conversations/{id}/reply", get(chat::reply))
        .route(
            "/api/v1/conversations/{id}/stream",
            get(conversations::title_stream),
        )
        .route(
            "/api/v1/conversations/{id}/title",
            patch(conversations::rename),
        )
        .layer(map_response(private))
        .layer(from_fn(async |request: Request, next: Next| {
            interruptible(next.run(request)).await
        }))
}

/// What is one caller's is kept by no cache on the way: where a cookie holds the token, caches do not see
/// that there is one.
async fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let cache = headers.entry(header::CACHE_CONTROL);
    cache.or_insert(HeaderValue::from_static("no-store"));
    response
}

pub(super) async fn no_such_path() -> RestError {
    RestError(Error::NotFound { what: "path" })
}

pub(super) async fn method_not_allowed() -> RestError {
    RestError(Error::MethodNotAllowed)
}
