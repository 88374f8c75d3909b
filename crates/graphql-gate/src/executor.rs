//! The gate in front of an engine.

use std::sync::Arc;

use async_graphql::{
    BatchRequest, BatchResponse, Data, Executor, Request, Response,
    futures_util::{
        StreamExt,
        future::join_all,
        stream::{self, BoxStream},
    },
};

use crate::{Limits, Refusal, admit};

/// An engine behind the gate: an [`Executor`] for any async-graphql integration. Cheap to clone if the engine is.
#[derive(Clone, Debug)]
pub struct Gated<E> {
    engine: E,
    limits: Limits,
}

impl<E: Executor> Gated<E> {
    /// Checks every request to `engine`, usually a schema, against `limits`.
    pub fn new(engine: E, limits: Limits) -> Self {
        Self { engine, limits }
    }

    /// Checks a request. Returns the error response if the gate refuses it.
    fn refused(&self, request: &mut Request) -> Option<Response> {
        let refusal = admit(request, &self.limits).err()?;
        Some(respond(&refusal))
    }
}

fn respond(refusal: &Refusal) -> Response {
    Response::from_errors(vec![refusal.to_error()])
}

impl<E: Executor> Executor for Gated<E> {
    async fn execute(&self, mut request: Request) -> Response {
        match self.refused(&mut request) {
            None => self.engine.execute(request).await,
            Some(refused) => refused,
        }
    }

    /// Like the default, but refuses a batch that is too long: otherwise a batch would multiply every other limit.
    async fn execute_batch(&self, batch: BatchRequest) -> BatchResponse {
        match batch {
            BatchRequest::Single(request) => BatchResponse::Single(self.execute(request).await),
            BatchRequest::Batch(requests) if requests.len() > self.limits.batch => {
                let limit = self.limits.batch;
                BatchResponse::Single(respond(&Refusal::BatchTooLong { limit }))
            }
            BatchRequest::Batch(requests) => {
                let responses = requests.into_iter().map(|request| self.execute(request));
                BatchResponse::Batch(join_all(responses).await)
            }
        }
    }

    fn execute_stream(
        &self,
        mut request: Request,
        session_data: Option<Arc<Data>>,
    ) -> BoxStream<'static, Response> {
        match self.refused(&mut request) {
            None => self.engine.execute_stream(request, session_data),
            Some(refused) => stream::once(async { refused }).boxed(),
        }
    }
}
