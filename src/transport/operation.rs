//! One operation: from a request to its answer, for every transport alike.

use async_graphql::{
    Name, Request, Response, ServerError, Value as ConstValue,
    parser::types::{OperationType, Selection},
};
use async_graphql_value::Value;
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::time::timeout;

use super::{
    Code, Endpoint, RootField, Service, Sharing,
    cohort::Key,
    gate,
    payload::Payload,
    request::{RawRequest, refused},
};

/// What came of an operation.
pub(super) enum Answer {
    /// One response.
    Single(Payload),
    /// A response for each event.
    Stream(BoxStream<'static, Payload>),
}

/// What a transport is able to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// Queries only: a link must not change anything.
    Queries,
    /// Everything but subscriptions.
    Single,
    /// Everything.
    Everything,
}

impl<S: Service> Endpoint<S> {
    /// Runs a request.
    ///
    /// # Errors
    /// What keeps it from being executed.
    pub(super) async fn run(
        &self,
        caller: &S::Caller,
        raw: RawRequest,
        carries: Carries,
    ) -> Result<Answer, ServerError> {
        let inner = &self.inner;
        let document = inner.documents.resolve(&raw)?;
        let mut request = raw.into_request(document);
        let admitted = gate::admit(&mut request, &inner.settings.limits)
            .map_err(|refusal| refused(&refusal))?;
        match (admitted.kind, carries) {
            (OperationType::Mutation, Carries::Queries) => {
                return Err(Code::MethodNotAllowed.error("a mutation needs POST"));
            }
            (OperationType::Subscription, Carries::Queries) => {
                return Err(
                    Code::MethodNotAllowed.error("a subscription needs a stream to carry it")
                );
            }
            (OperationType::Subscription, Carries::Single) => {
                return Err(Code::NotAcceptable.error(
                    "a subscription needs a WebSocket, or Accept: text/event-stream or multipart/mixed",
                ));
            }
            (OperationType::Subscription, Carries::Everything) => {}
            (OperationType::Query | OperationType::Mutation, _) => {
                return Ok(Answer::Single(self.execute(caller, request).await));
            }
        }
        let most_errors = inner.settings.errors;
        let root = root_field(&mut request).unwrap_or_default();
        let sharing = match inner.settings.cohorts {
            true => inner.service.sharing(caller, &root),
            false => Sharing::Alone,
        };
        let key = Key::new(&request, &sharing);
        let service = inner.service.clone();
        let subscriber = caller.clone();
        let start = move || {
            service
                .subscribe(&subscriber, request)
                .map(move |response| Payload::of(response, most_errors))
                .boxed()
        };
        Ok(Answer::Stream(match sharing {
            Sharing::Alone => inner.cohorts.alone(start()),
            Sharing::State { .. } => inner.cohorts.join(key, true, start),
            Sharing::Events { .. } => inner.cohorts.join(key, false, start),
        }))
    }

    async fn execute(&self, caller: &S::Caller, request: Request) -> Payload {
        let inner = &self.inner;
        let execution = inner.service.execute(caller, request);
        let execution = std::panic::AssertUnwindSafe(execution).catch_unwind();
        let response = match timeout(inner.settings.execution, execution).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => failed(Code::Internal, "internal error"),
            Err(_) => failed(Code::Timeout, "the execution took too long"),
        };
        Payload::of(response, inner.settings.errors)
    }
}

/// The root field of a subscription, of which the gate has left one.
fn root_field(request: &mut Request) -> Option<RootField> {
    let (variables, name) = (request.variables.clone(), request.operation_name.clone());
    let document = request.parsed_query().ok()?;
    let (_, operation) = document.operations.iter().find(|(operation, _)| {
        name.is_none() || operation.map(|operation| operation.as_str()) == name.as_deref()
    })?;
    let Selection::Field(field) = &operation.node.selection_set.node.items.first()?.node else {
        return None;
    };
    let default_of = |variable: &Name| {
        let definitions = &operation.node.variable_definitions;
        let definition = definitions.iter().find(|d| d.node.name.node == *variable)?;
        Some(definition.node.default_value.as_ref()?.node != ConstValue::Null)
    };
    let is_given = |value: &Value| match value {
        Value::Null => false,
        Value::Variable(variable) => match variables.get(variable) {
            Some(value) => *value != ConstValue::Null,
            None => default_of(variable).unwrap_or(false),
        },
        _ => true,
    };
    let given = field
        .node
        .arguments
        .iter()
        .filter(|(_, value)| is_given(&value.node));
    Some(RootField {
        name: field.node.name.node.to_string(),
        arguments: given.map(|(name, _)| name.node.to_string()).collect(),
    })
}

/// A response of an execution that began and broke: its data is null.
fn failed(code: Code, message: &str) -> Response {
    Response::from_errors(vec![code.error(message)])
}
