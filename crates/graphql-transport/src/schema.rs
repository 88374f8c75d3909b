//! A schema as a service without authentication.

use async_graphql::{Executor, Request, Response, ServerError};
use axum::http::request::Parts;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::{RootField, Service, Sharing};

/// A schema, or another executor, open to all callers.
///
/// Subscriptions are not shared. For authentication, per-caller limits or shared subscriptions, implement [`Service`].
#[derive(Clone, Debug)]
pub struct Unauthenticated<E>(pub E);

impl<E: Executor> Service for Unauthenticated<E> {
    type Caller = ();
    type Open = ();

    async fn caller(&self, _parts: &Parts) -> Result<(), ServerError> {
        Ok(())
    }

    async fn introduced(&self, _payload: &serde_json::Value) -> Option<Result<(), ServerError>> {
        None
    }

    fn open(&self, (): &()) -> Result<(), ServerError> {
        Ok(())
    }

    fn until(&self, (): &()) -> Option<Instant> {
        None
    }

    async fn execute(&self, (): &(), request: Request) -> Result<Response, ServerError> {
        Ok(self.0.execute(request).await)
    }

    fn subscribe(&self, (): &(), request: Request) -> BoxStream<'static, Response> {
        self.0.execute_stream(request, None)
    }

    fn failed(&self, _errors: &[ServerError]) {}

    fn sharing(&self, (): &(), _root: &RootField) -> Sharing {
        Sharing::Alone
    }
}
