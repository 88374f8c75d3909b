//! GraphQL errors: the message; the stable code in `extensions.code`; and, where known, the seconds until a retry in
//! `extensions.retryAfter`, the invalid argument in `extensions.argument`, and the offset at which an external reply
//! continues in `extensions.expectedOffset`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Response, ServerError};

use crate::error::{Error, ErrorCode};

/// A resolver's error. Deliberately without `Display`: the library converts errors with `Display` itself, which would
/// leak internal text and lose the code.
#[derive(Clone, Debug)]
pub(super) struct GraphqlError {
    error: Arc<Error>,
    /// The invalid argument for `extensions.argument`, such as `first` or `input.displayName`.
    argument: Option<String>,
}

/// The result of a resolver.
pub(super) type Result<T, E = GraphqlError> = std::result::Result<T, E>;

impl From<Error> for GraphqlError {
    fn from(error: Error) -> Self {
        Arc::new(error).into()
    }
}

impl From<Arc<Error>> for GraphqlError {
    fn from(error: Arc<Error>) -> Self {
        let argument = match &*error {
            Error::InvalidField { field, .. } => Some(camel_case(field)),
            _ => None,
        };
        Self { error, argument }
    }
}

impl GraphqlError {
    /// Returns the error with its argument as a field of `input`.
    pub(super) fn in_input(mut self) -> Self {
        self.argument = self.argument.map(|argument| format!("input.{argument}"));
        self
    }
}

/// Adds the name of the invalid argument to an error that has none.
pub(super) trait About<T> {
    /// Sets the name of the invalid argument.
    fn about(self, argument: &str) -> Result<T>;
}

impl<T, E: Into<GraphqlError>> About<T> for std::result::Result<T, E> {
    fn about(self, argument: &str) -> Result<T> {
        self.map_err(|error| {
            let mut error = error.into();
            let code = error.error.code();
            if matches!(code, ErrorCode::InvalidInput | ErrorCode::InvalidCursor) {
                error.argument.get_or_insert_with(|| argument.to_owned());
            }
            error
        })
    }
}

/// Converts a snake_case field name to its name in the schema.
fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        name.push_str(&word[..1].to_ascii_uppercase());
        name.push_str(&word[1..]);
    }
    name
}

impl From<GraphqlError> for async_graphql::Error {
    fn from(GraphqlError { error, argument }: GraphqlError) -> Self {
        error.log();
        let mut graphql = Self::new(error.to_string());
        let extensions = graphql.extensions.insert(extensions(&error));
        if let Some(argument) = argument {
            extensions.set("argument", argument);
        }
        graphql
    }
}

/// An error that prevents execution, in the transports' format.
pub(super) fn server_error(error: &Error) -> ServerError {
    error.log();
    let mut graphql = ServerError::new(error.to_string(), None);
    graphql.extensions = Some(extensions(error));
    graphql
}

/// Adds a code to errors of arguments that the library could not parse, such as a negative number or an invalid time.
/// All other field errors already have a code.
pub(super) fn name_unread_arguments(response: &mut Response) {
    for error in &mut response.errors {
        let has_code = (error.extensions.as_ref()).is_some_and(|known| known.get("code").is_some());
        if !error.path.is_empty() && !has_code {
            let extensions = error.extensions.get_or_insert_default();
            extensions.set("code", ErrorCode::InvalidInput.as_str());
        }
    }
}

fn extensions(error: &Error) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", error.code().as_str());
    if let Some(seconds) = error.retry_after() {
        extensions.set("retryAfter", seconds);
    }
    if let Some(offset) = error.expected_offset() {
        extensions.set("expectedOffset", offset);
    }
    extensions
}

/// A response with only this error and no `data`.
pub(super) fn refusal(error: Error) -> serde_json::Value {
    let graphql = async_graphql::Error::from(GraphqlError::from(error));
    serde_json::json!({
        "errors": [{ "message": graphql.message, "extensions": graphql.extensions }],
    })
}
