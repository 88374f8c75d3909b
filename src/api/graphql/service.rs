//! Connects the schema to the transports: authentication, limits, and which subscriptions may share an execution.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc};

use async_graphql::{Data, Executor, Request, Response, ServerError};
use axum::http::request::Parts;
use futures_util::{StreamExt, stream::BoxStream};
use graphql_transport::{RootField, Service, Sharing, code_of};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    TitlecastSchema, cost,
    errors::{name_unread_arguments, server_error},
    introspection, loaders, operation,
};
use crate::{
    api::{Services, auth, limits::OpenStream, observe::Surface},
    auth::Principal,
    db::interrupt::interruptible,
    error::{Error, ErrorCode},
    panics,
};

/// The schema and its dependencies. Cheap to clone.
#[derive(Clone)]
pub(super) struct Graphql {
    schema: TitlecastSchema,
    services: Arc<Services>,
    /// All names in the schema.
    names: Arc<HashSet<String>>,
}

impl Graphql {
    pub(super) fn new(schema: TitlecastSchema, services: Arc<Services>) -> Self {
        let names = schema.names().into_iter().collect();
        Self {
            schema,
            services,
            names: Arc::new(names),
        }
    }

    fn with_caller(&self, caller: &Principal, request: Request) -> Request {
        request
            .data(caller.clone())
            .data(loaders::loader(self.services.clone(), caller.clone()))
    }
}

impl Service for Graphql {
    type Caller = Principal;
    type Open = OpenStream;

    async fn caller(&self, parts: &Parts) -> Result<Principal, ServerError> {
        let caller = auth::caller(&self.services, parts).await;
        caller.map_err(|error| server_error(&error))
    }

    async fn introduced(&self, payload: &Value) -> Option<Result<Principal, ServerError>> {
        let caller = auth::introduced(&self.services, payload).await?;
        Some(caller.map_err(|error| server_error(&error)))
    }

    fn open(&self, caller: &Principal) -> Result<OpenStream, ServerError> {
        let opened = self.services.users.stream(caller.rate_limit_key());
        opened.map_err(|error| server_error(&error))
    }

    fn until(&self, caller: &Principal) -> Option<Instant> {
        caller.until()
    }

    async fn execute(
        &self,
        caller: &Principal,
        mut request: Request,
    ) -> Result<Response, ServerError> {
        // A subscription cannot select these fields, because the gate or the validation refuses it.
        if !self.services.graphql.introspection && introspection::is_selected(&mut request) {
            return Err(server_error(&Error::IntrospectionOff));
        }
        let span = operation::span(&mut request, &self.names);
        let excess = cost::excess(&mut request);
        let execution = self.schema.execute(self.with_caller(caller, request));
        let execution = interruptible(panics::catch(execution));
        let response = execution.instrument(span.clone()).await;
        let mut response = response.map_err(|error| server_error(&error))?;
        cost::explain(&mut response, excess.as_ref());
        name_unread_arguments(&mut response);
        operation::record_errors(&span, &response);
        Ok(response)
    }

    fn subscribe(&self, caller: &Principal, mut request: Request) -> BoxStream<'static, Response> {
        // The span covers only the start, because other requests cause the events.
        let _entered = operation::span(&mut request, &self.names).entered();
        let excess = cost::excess(&mut request);
        let request = self.with_caller(caller, request);
        let session = Some(Arc::new(Data::default()));
        let responses = Executor::execute_stream(&self.schema, request, session);
        // A panic becomes an error, so that it does not look like a regular end.
        let responses = AssertUnwindSafe(responses).catch_unwind();
        responses
            .map(move |response| {
                let mut response = response.unwrap_or_else(|panic| {
                    let error = panics::caught(&*panic);
                    Response::from_errors(vec![server_error(&error)])
                });
                cost::explain(&mut response, excess.as_ref());
                name_unread_arguments(&mut response);
                response
            })
            .boxed()
    }

    fn failed(&self, errors: &[ServerError]) {
        for error in errors {
            self.services
                .http
                .failed(Surface::Graphql, ErrorCode::named(code_of(error)));
        }
    }

    fn sharing(&self, caller: &Principal, root: &RootField) -> Sharing {
        // Callers share events only within one sharing scope. It includes their tokens' scopes, which can differ
        // between tokens of one user.
        let scope = caller.sharing(&self.services.sharing);
        match root.name.as_str() {
            "conversationUpdated" if root.arguments.contains("id") => Sharing::State { scope },
            "conversationUpdated" => Sharing::Events { scope },
            // The snapshot depends on when a subscriber joins.
            _ => Sharing::Alone,
        }
    }
}
