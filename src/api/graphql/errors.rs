//! Errors on this wire: the message, the stable code in `extensions.code`, and where it is known the seconds
//! after which to try again in `extensions.retryAfter`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, ServerError};

use crate::error::Error;

/// An error of a resolver. It has no `Display` on purpose: the library turns every error that has one
/// into a response by itself, which would leak internal text and lose the code.
#[derive(Clone, Debug)]
pub(super) struct GraphqlError(Arc<Error>);

/// What resolvers return.
pub(super) type Result<T, E = GraphqlError> = std::result::Result<T, E>;

impl From<Error> for GraphqlError {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<Arc<Error>> for GraphqlError {
    fn from(error: Arc<Error>) -> Self {
        Self(error)
    }
}

impl From<GraphqlError> for async_graphql::Error {
    fn from(GraphqlError(error): GraphqlError) -> Self {
        error.log();
        let mut graphql = Self::new(error.to_string());
        graphql.extensions = Some(extensions(&error));
        graphql
    }
}

/// What keeps a request from being executed, for the transports.
pub(super) fn server_error(error: &Error) -> ServerError {
    error.log();
    let mut graphql = ServerError::new(error.to_string(), None);
    graphql.extensions = Some(extensions(error));
    graphql
}

fn extensions(error: &Error) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", error.code().as_str());
    if let Some(seconds) = error.retry_after() {
        extensions.set("retryAfter", seconds);
    }
    extensions
}

/// A response that holds nothing but this error: nothing was executed.
pub(super) fn refusal(error: Error) -> serde_json::Value {
    let graphql = async_graphql::Error::from(GraphqlError::from(error));
    serde_json::json!({
        "errors": [{ "message": graphql.message, "extensions": graphql.extensions }],
    })
}
