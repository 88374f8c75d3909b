//! `/openapi.json`: all HTTP routes except the pages for people, as OpenAPI 3.1.
//!
//! Generated from the code: `#[utoipa::path]` annotates the handlers, and the schemas come from their response types;
//! turns and front ends are described in `rest/described.rs`. `complete` adds what the operations imply, such as the
//! errors of every operation with a body. The alternative was a document maintained by hand. utoipa costs two more
//! crates and 2 % of an unoptimised program, but a renamed field cannot be forgotten. `tests/it/openapi.rs` compares
//! paths, methods and bodies with a running server.

mod complete;
mod graphql;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa::OpenApi;

use super::{base_path::BasePath, health, metrics, rest};

/// What does not follow from an operation.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Titlecast",
        description = "A conversation backend that names its conversations. Errors have stable codes (docs/errors.md). \
            Without `--jwt-secret` or `--jwt-keys` no token is needed.",
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "chat", description = "Turns: a message, its reply and the title"),
        (name = "conversations", description = "Lists, search, histories, titles, export"),
        (name = "account", description = "All stored data of the caller"),
        (name = "recording", description = "Messages and replies of other programs"),
        (name = "front ends", description = "The AI SDK's UI message stream, and AG-UI"),
        (name = "graphql", description = "The GraphQL API; `schema.graphql` describes it"),
        (name = "operations", description = "Health, metrics, and this document"),
    ),
    paths(graphql::post, graphql::get, health::alive, health::ready, metrics::page, document_page),
)]
struct Own;

/// The document stored in `openapi.json`.
pub fn document() -> String {
    document_at(&BasePath::default())
}

/// The document of a server with this base path.
fn document_at(base: &BasePath) -> String {
    let mut own = Own::openapi();
    own.merge(rest::Operations::openapi());
    // Neither step can fail: the document consists of strings, numbers and lists.
    let mut document = complete::completed(serde_json::to_value(own).unwrap_or_default());
    document["servers"][0]["url"] = base.to_string().into();
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    format!("{text}\n")
}

/// The route `/openapi.json`. Like the pages it needs no authentication, and it is served even if they are turned off.
pub(super) fn routes(base: &BasePath) -> Router {
    let document = Bytes::from(document_at(base));
    Router::new()
        .route("/openapi.json", get(document_page))
        .with_state(document)
}

/// Returns this document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn document_page(State(document): State<Bytes>) -> Response {
    let mut response = document.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
