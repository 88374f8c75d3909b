//! Descriptions of the operations of `/graphql`. graphql-transport has the actual routes; these functions are never
//! called.

#![expect(dead_code, reason = "only described")]

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// A GraphQL request, as GraphQL over HTTP has it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct GraphqlRequest {
    /// The document. Omit it if `extensions` has the hash of a known document.
    #[schema(example = "{ conversations { nodes { id title } } }")]
    query: Option<String>,
    /// The operation of the document.
    operation_name: Option<String>,
    /// The values of its variables.
    #[schema(value_type = Option<Object>)]
    variables: Option<Map<String, Value>>,
    /// `persistedQuery`.
    #[schema(value_type = Option<Object>)]
    extensions: Option<Map<String, Value>>,
}

/// A GraphQL request in a query string.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct GraphqlParams {
    /// The document. Omit it if `extensions` has the hash of a known document.
    query: Option<String>,
    /// The operation of the document.
    operation_name: Option<String>,
    /// A JSON object.
    variables: Option<String>,
    /// A JSON object.
    extensions: Option<String>,
}

/// A GraphQL answer. Errors of fields come with status 200.
#[derive(Serialize, ToSchema)]
struct GraphqlAnswer {
    #[schema(value_type = Option<Object>)]
    data: Option<Map<String, Value>>,
    #[schema(nullable = false)]
    errors: Option<Vec<GraphqlError>>,
    #[schema(value_type = Object, required = false)]
    extensions: Option<Map<String, Value>>,
}

/// An error of a GraphQL request or of a field.
#[derive(Serialize, ToSchema)]
struct GraphqlError {
    message: String,
    /// The path of the field in the answer.
    #[schema(value_type = Vec<Value>, required = false)]
    path: Option<Vec<Value>>,
    #[schema(value_type = Vec<Object>, required = false)]
    locations: Option<Vec<Value>>,
    /// `code`, and with some codes `retryAfter`, `argument` and others.
    #[schema(value_type = Object, required = false)]
    extensions: Option<Map<String, Value>>,
}

/// Executes a GraphQL operation.
///
/// A mutation needs POST. Subscriptions answer with `Accept: text/event-stream` or `multipart/mixed`.
#[utoipa::path(
    post, path = "/graphql", operation_id = "graphql", tag = "graphql",
    request_body = GraphqlRequest,
    security(("bearer" = [])),
    responses((
        status = 200, description = "The answer, or a stream of answers",
        content(
            (GraphqlAnswer = "application/json"),
            (GraphqlAnswer = "application/graphql-response+json"),
            (String = "text/event-stream"),
            (String = "multipart/mixed"),
        ),
    )),
    extensions(("x-error-codes" = json!([
        "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "QUERY_TOO_COMPLEX", "PERSISTED_QUERY_NOT_FOUND",
        "PERSISTED_QUERY_REQUIRED", "NOT_ACCEPTABLE",
    ]))),
)]
pub(super) fn post() {}

/// Executes a query or a subscription.
///
/// With the headers of an upgrade it opens a WebSocket, for the protocols `graphql-transport-ws` and `graphql-ws`.
#[utoipa::path(
    get, path = "/graphql", operation_id = "graphqlQuery", tag = "graphql",
    params(GraphqlParams),
    security(("bearer" = [])),
    responses(
        (
            status = 200, description = "The answer, or a stream of answers",
            content(
                (GraphqlAnswer = "application/json"),
                (GraphqlAnswer = "application/graphql-response+json"),
                (String = "text/event-stream"),
                (String = "multipart/mixed"),
            ),
        ),
        (status = 101, description = "A WebSocket"),
    ),
    extensions(("x-error-codes" = json!([
        "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "QUERY_TOO_COMPLEX", "PERSISTED_QUERY_NOT_FOUND",
        "PERSISTED_QUERY_REQUIRED", "INVALID_JSON", "NOT_ACCEPTABLE", "METHOD_NOT_ALLOWED",
    ]))),
)]
pub(super) fn get() {}
