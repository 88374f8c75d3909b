//! A schema as a service, without callers.

use std::panic::AssertUnwindSafe;

use async_graphql::{Executor, Request, Response, ServerError};
use axum::http::request::Parts;
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::time::Instant;

use crate::{Code, RootField, Service, Sharing};

/// A schema, or another executor, that anyone may use. A panic of a resolver becomes an error `INTERNAL`.
///
/// Subscriptions are not shared. For authentication, limits by caller or shared subscriptions implement [`Service`].
#[derive(Clone, Debug)]
pub struct Unauthenticated<E>(pub E);

fn panicked() -> ServerError {
    Code::Internal.error("internal error")
}

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
        let execution = AssertUnwindSafe(self.0.execute(request)).catch_unwind();
        execution.await.map_err(|_| panicked())
    }

    fn subscribe(&self, (): &(), request: Request) -> BoxStream<'static, Response> {
        let responses = AssertUnwindSafe(self.0.execute_stream(request, None)).catch_unwind();
        responses
            .map(|response| response.unwrap_or_else(|_| Response::from_errors(vec![panicked()])))
            .boxed()
    }

    fn failed(&self, _errors: &[ServerError]) {}

    fn sharing(&self, (): &(), _root: &RootField) -> Sharing {
        Sharing::Alone
    }
}
