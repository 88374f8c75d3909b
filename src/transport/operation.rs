//! One operation: from a request to its answer, for every transport alike.

use async_graphql::{
    Request, Response, ServerError, Value as ConstValue,
    parser::types::{OperationType, Selection},
};
use async_graphql_value::Value;
use futures_util::{StreamExt, stream::BoxStream};
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
                return self.execute(caller, request).await.map(Answer::Single);
            }
        }
        let most_errors = inner.settings.errors;
        let root = root_field(&mut request).unwrap_or_default();
        let sharing = match inner.settings.cohorts {
            true => inner.service.sharing(caller, &root),
            false => Sharing::Alone,
        };
        let service = inner.service.clone();
        let subscriber = caller.clone();
        let start = move |request| {
            service
                .subscribe(&subscriber, request)
                .map(move |response| Payload::of(response, most_errors))
                .boxed()
        };
        let (scope, is_state) = match sharing {
            Sharing::Alone => return Ok(Answer::Stream(inner.cohorts.alone(start(request)))),
            Sharing::State { scope } => (scope, true),
            Sharing::Events { scope } => (scope, false),
        };
        let key = Key::new(&request, &scope);
        let joined = inner.cohorts.join(key, is_state, || start(request));
        Ok(Answer::Stream(joined))
    }

    async fn execute(&self, caller: &S::Caller, request: Request) -> Result<Payload, ServerError> {
        let inner = &self.inner;
        let execution = inner.service.execute(caller, request);
        let response = match timeout(inner.settings.execution, execution).await {
            Ok(response) => response?,
            Err(_) => {
                Response::from_errors(vec![Code::Timeout.error("the execution took too long")])
            }
        };
        Ok(Payload::of(response, inner.settings.errors))
    }
}

/// The root field of a subscription: the gate has left one, perhaps behind what is left of fragments.
fn root_field(request: &mut Request) -> Option<RootField> {
    let (variables, name) = (request.variables.clone(), request.operation_name.clone());
    let document = request.parsed_query().ok()?;
    let (_, operation) = document.operations.iter().find(|(operation, _)| {
        name.is_none() || operation.map(|operation| operation.as_str()) == name.as_deref()
    })?;
    let items = &operation.node.selection_set.node.items;
    let field = items.iter().find_map(|item| match &item.node {
        Selection::Field(field) => Some(field),
        _ => None,
    })?;
    let is_given = |value: &Value| match value {
        Value::Null => false,
        // The gate has filled in the defaults.
        Value::Variable(variable) => variables
            .get(variable)
            .is_some_and(|value| *value != ConstValue::Null),
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
