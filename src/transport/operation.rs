//! One operation: from a request to its answer, for every transport alike.

use std::sync::Arc;

use async_graphql::{
    Request, ServerError, Value as ConstValue,
    parser::types::{OperationType, Selection},
};
use async_graphql_value::Value;
use futures_util::{StreamExt, stream::BoxStream};
use tokio::time::timeout;

use super::{
    Code, Endpoint, RootField, Service, Sharing,
    cohort::{Attachment, Cohorts, End, Key, Outlet},
    gate,
    payload::Payload,
    request::{RawRequest, refused},
};

/// What came of an operation.
pub(super) enum Answer {
    /// One response.
    Single(Payload),
    /// A response for each event.
    Subscription(Subscription),
}

/// A subscription that was let through, and begins when it is told where its events go.
pub(super) struct Subscription {
    cohorts: Cohorts,
    /// The cohort that it is shared in, and whether its events are states.
    shared: Option<(Key, bool)>,
    start: Box<dyn FnOnce() -> BoxStream<'static, Payload> + Send>,
}

/// Where the events of a subscription come from.
pub(super) enum Events {
    /// They go to the outlet by themselves.
    Attached(Attachment),
    /// They are this one's alone, and have to be asked for.
    Alone(BoxStream<'static, Payload>),
}

/// What happens to an operation.
pub(super) enum Event {
    /// A response.
    Next(Payload),
    /// The last: it was not executed, or cannot go on.
    Refused(Payload),
    /// The last: it is over.
    Completed,
}

impl Events {
    /// What happens next, apart from what goes to the outlet. Nothing behind the last. Nothing is lost when
    /// it is not waited for.
    pub(super) async fn next(&mut self) -> Event {
        match self {
            Self::Attached(attachment) => match attachment.ended().await {
                End::Completed => Event::Completed,
                End::Refused(payload) => Event::Refused(payload),
            },
            Self::Alone(payloads) => match payloads.next().await {
                Some(payload) if payload.refused.is_some() => Event::Refused(payload),
                Some(payload) => Event::Next(payload),
                None => Event::Completed,
            },
        }
    }
}

impl Subscription {
    /// Begins, with events that are read one by one, at whatever pace.
    pub(super) fn events(self) -> BoxStream<'static, Payload> {
        match self.shared {
            Some((key, is_state)) => self.cohorts.join(key, is_state, self.start),
            None => self.cohorts.apart((self.start)()),
        }
    }

    /// Begins, with events that go to `outlet` where they are shared.
    pub(super) fn attach(self, outlet: Arc<dyn Outlet>) -> Events {
        match self.shared {
            Some((key, is_state)) => {
                let attachment = self.cohorts.attach(key, is_state, self.start, outlet);
                Events::Attached(attachment)
            }
            None => Events::Alone(self.cohorts.alone((self.start)())),
        }
    }
}

/// What a transport is able to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// Queries only: a link must not change anything.
    Queries,
    /// Queries and subscriptions, which change nothing either.
    Reads,
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
            (OperationType::Mutation, Carries::Queries | Carries::Reads) => {
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
            (OperationType::Subscription, Carries::Reads | Carries::Everything) => {}
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
        let (scope, is_state) = match sharing {
            Sharing::Alone => (None, false),
            Sharing::State { scope } => (Some(scope), true),
            Sharing::Events { scope } => (Some(scope), false),
        };
        Ok(Answer::Subscription(Subscription {
            cohorts: inner.cohorts.clone(),
            shared: scope.map(|scope| (Key::new(&request, &scope), is_state)),
            start: Box::new(move || {
                service
                    .subscribe(&subscriber, request)
                    .map(move |response| {
                        service.failed(&response.errors);
                        Payload::of(response, most_errors)
                    })
                    .boxed()
            }),
        }))
    }

    async fn execute(&self, caller: &S::Caller, request: Request) -> Result<Payload, ServerError> {
        let inner = &self.inner;
        let execution = inner.service.execute(caller, request);
        match timeout(inner.settings.execution, execution).await {
            Ok(response) => {
                let response = response?;
                inner.service.failed(&response.errors);
                Ok(Payload::of(response, inner.settings.errors))
            }
            // It was begun: what it changed until now may stand.
            Err(_) => {
                let error = Code::Timeout.error("the execution took too long");
                inner.service.failed(std::slice::from_ref(&error));
                Ok(Payload::broken_off(error))
            }
        }
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
