//! Operations: runs a request up to one response or a subscription, for every transport.

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_graphql::{Request, Response, ServerError, parser::types::OperationType};
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::time::timeout;

use super::{
    Code, Endpoint, Service, Sharing,
    cohort::{Attachment, Cohorts, Key, MemberEnd, Outlet},
    payload::Payload,
    request::RawRequest,
};

/// The result of starting an operation.
pub(super) enum Answer {
    /// One response.
    Single(Payload),
    /// One response per event.
    Subscription(Subscription),
}

/// An admitted subscription. It starts once its events have a destination.
pub(super) struct Subscription {
    cohorts: Cohorts,
    /// The cohort's key and whether its events are states; `None` if the subscription is not shared.
    shared: Option<(Key, bool)>,
    start: Box<dyn FnOnce() -> BoxStream<'static, Payload> + Send>,
}

/// The source of a subscription's events.
pub(super) enum Events {
    /// The cohort delivers events to the outlet.
    Attached(Attachment),
    /// The subscription has its own execution, and the stream must be polled.
    Own(BoxStream<'static, Payload>),
}

/// An event of an operation.
pub(super) enum Event {
    /// A response.
    Next(Payload),
    /// The last event: the operation was not executed, or cannot continue.
    Refused(Payload),
    /// The last event: the operation is complete.
    Completed,
}

impl Events {
    /// The next event that was not delivered to the outlet. Must not be called after the last event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        match self {
            Self::Attached(attachment) => match attachment.ended().await {
                MemberEnd::Completed => Event::Completed,
                MemberEnd::Refused(payload) => Event::Refused(payload),
            },
            Self::Own(payloads) => match payloads.next().await {
                Some(payload) if payload.refused.is_some() => Event::Refused(payload),
                Some(payload) => Event::Next(payload),
                None => Event::Completed,
            },
        }
    }
}

impl Subscription {
    /// Starts the subscription as a stream that can be read at any pace.
    pub(super) fn events(self) -> BoxStream<'static, Payload> {
        match self.shared {
            Some((key, is_state)) => self.cohorts.join(key, is_state, self.start),
            None => self.cohorts.spawned((self.start)()),
        }
    }

    /// Starts the subscription. If it is shared, `outlet` receives its events.
    pub(super) fn attach(self, outlet: Arc<dyn Outlet>) -> Events {
        match self.shared {
            Some((key, is_state)) => {
                let attachment = self.cohorts.attach(key, is_state, self.start, outlet);
                Events::Attached(attachment)
            }
            None => Events::Own(self.cohorts.count_unshared((self.start)())),
        }
    }
}

/// The operations that a transport supports for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// Queries only: a GET must not change state.
    Queries,
    /// Queries and subscriptions, which are read-only.
    Reads,
    /// Queries and mutations.
    Single,
    /// All operations.
    Everything,
}

impl<S: Service> Endpoint<S> {
    /// Runs a request until it has its first response or its subscription.
    ///
    /// # Errors
    /// If the request is refused without being executed.
    pub(super) async fn run(
        &self,
        caller: &S::Caller,
        raw: RawRequest,
        carries: Carries,
    ) -> Result<Answer, ServerError> {
        let inner = &self.inner;
        let document = inner.documents.resolve(&raw)?;
        let mut request = raw.into_request(document);
        let admitted = graphql_gate::admit(&mut request, &inner.settings.limits)
            .map_err(|refusal| refusal.to_error())?;
        match (admitted.kind, carries) {
            (OperationType::Mutation, Carries::Queries | Carries::Reads) => {
                return Err(Code::MethodNotAllowed.error("a mutation needs POST"));
            }
            (OperationType::Subscription, Carries::Queries | Carries::Single) => {
                return Err(Code::NotAcceptable.error(
                    "a subscription needs Accept: text/event-stream or multipart/mixed, or a WebSocket",
                ));
            }
            (OperationType::Subscription, Carries::Reads | Carries::Everything) => {}
            (OperationType::Query | OperationType::Mutation, _) => {
                return self.execute(caller, request).await.map(Answer::Single);
            }
        }
        let max_errors = inner.settings.errors;
        let root = admitted.root.unwrap_or_default();
        let sharing = match inner.settings.cohorts {
            true => inner.service.sharing(caller, &root),
            false => Sharing::Alone,
        };
        let (service, metrics) = (inner.service.clone(), inner.service.clone());
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
                // Lazy, so that a panic in `subscribe` itself is also caught.
                let responses = async move { service.subscribe(&subscriber, request) };
                AssertUnwindSafe(responses.flatten_stream())
                    .catch_unwind()
                    .map(move |response| {
                        let response =
                            response.unwrap_or_else(|_| Response::from_errors(vec![panicked()]));
                        report(&metrics, &response.errors);
                        Payload::of(response, max_errors)
                    })
                    .boxed()
            }),
        }))
    }

    async fn execute(&self, caller: &S::Caller, request: Request) -> Result<Payload, ServerError> {
        let inner = &self.inner;
        let execution = async { inner.service.execute(caller, request).await };
        let execution = AssertUnwindSafe(execution).catch_unwind();
        match timeout(inner.settings.execution, execution).await {
            Ok(response) => {
                let response = response.unwrap_or_else(|_| Err(panicked()))?;
                report(&inner.service, &response.errors);
                Ok(Payload::of(response, inner.settings.errors))
            }
            // Execution started, so changes made so far may persist.
            Err(_) => {
                let error = Code::Timeout.error("the execution took too long");
                inner.service.failed(std::slice::from_ref(&error));
                Ok(Payload::failed_execution(error))
            }
        }
    }
}

/// The error of an operation that panicked. The panic hook has logged the source line.
fn panicked() -> ServerError {
    Code::Internal.error("internal error")
}

fn report<S: Service>(service: &S, errors: &[ServerError]) {
    if !errors.is_empty() {
        service.failed(errors);
    }
}
