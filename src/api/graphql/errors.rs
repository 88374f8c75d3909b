//! Errors on this wire: the message, and the stable code in `extensions.code`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Response, ServerError};

use crate::error::{Error, ErrorCode};

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
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", error.code().as_str());
        let mut graphql = Self::new(error.to_string());
        graphql.extensions = Some(extensions);
        graphql
    }
}

/// A response that holds nothing but this error: the request did not get as far as a resolver.
pub(super) fn refusal(error: Error) -> Response {
    let graphql = async_graphql::Error::from(GraphqlError::from(error));
    let mut refused = ServerError::new(graphql.message, None);
    refused.extensions = graphql.extensions;
    Response::from_errors(vec![refused])
}

/// Gives the errors that the library makes itself (parsing, validation, variables) a code.
pub(super) fn with_codes(mut response: Response) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", ErrorCode::InvalidInput.as_str());
        }
    }
    response
}
