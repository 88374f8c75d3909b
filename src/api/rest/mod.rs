//! The legacy HTTP routes, whose clients exist and cannot change. Legacy words (`agent_type`,
//! `is_terminal`) live here and in `sse`, nowhere else.

mod chat;
mod conversations;
mod errors;
mod fields;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, patch, post},
};

pub(super) use self::{errors::RestError, fields::conversation_id};
pub use errors::status;

use super::Services;
use crate::error::Error;

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
        .route(
            "/api/v1/conversations/{id}/stream",
            get(conversations::title_stream),
        )
        .route(
            "/api/v1/conversations/{id}/title",
            patch(conversations::rename),
        )
}

pub(super) async fn no_such_path() -> RestError {
    RestError(Error::NotFound { what: "path" })
}

pub(super) async fn method_not_allowed() -> RestError {
    RestError(Error::MethodNotAllowed)
}
