//! Detached responses: hyper writes the head, then the handler writes chunks directly to the socket.
//!
//! hyper and its buffers are dropped after the head. An idle stream then costs a socket and a task, without the 16 KiB
//! of buffers that hyper keeps for the next request. Producers write to the socket from their own tasks.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, Version, header},
    response::Response,
};
use graphql_transport::direct::{DirectWrites, WriteBody};

use super::{body::GuardedBody, connection::of_upgraded, shared::Detached};

/// The direct writes that a request allows. Only chunked bodies can be detached, so the request must be HTTP/1.1 and
/// not HEAD.
pub(super) fn direct_writes<B>(request: &Request<B>) -> DirectWrites {
    let is_chunked = request.version() == Version::HTTP_11 && request.method() != Method::HEAD;
    DirectWrites {
        of_upgraded,
        detach: is_chunked.then_some(detach),
    }
}

/// Makes a response whose body `write_body` writes in chunks (RFC 9112, section 7.1). The connection closes when the
/// function returns.
fn detach(mut response: Response, write_body: WriteBody) -> Response {
    let detached = Detached(Arc::new(Mutex::new(Some(write_body))));
    response.extensions_mut().insert(detached);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    // With a body of unknown length, hyper announces chunked encoding.
    let endless = futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>();
    *response.body_mut() = Body::from_stream(endless);
    response
}

/// Makes the response hold `guard` until it is sent or dropped.
pub fn held(response: Response, guard: impl Send + Unpin + 'static) -> Response {
    let Some(Detached(run)) = response.extensions().get().cloned() else {
        return response.map(|body| Body::new(GuardedBody::new(body, guard)));
    };
    let mut run = run.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(inner) = run.take() {
        *run = Some(Box::new(|link| {
            Box::pin(async move {
                let _guard = guard;
                inner(link).await;
            })
        }));
    }
    drop(run);
    response
}
