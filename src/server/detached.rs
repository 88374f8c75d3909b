//! Endless responses that leave hyper behind: it writes their head and is dropped, with its buffers; whoever
//! made the response writes the rest to the socket itself, in chunks.
//!
//! An idle stream then holds a socket and a task, not the 16 KiB of buffers that hyper keeps for the next
//! request, and what is said on it is written by whoever says it.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, Version, header},
    response::Response,
};

use super::{
    body::GuardedBody,
    link::{Detached, Link, Run},
};

/// In the extensions of a request whose response may be [`detached`].
#[derive(Clone, Copy, Debug)]
pub struct MayDetach(());

impl MayDetach {
    /// Only chunks can be written by hand.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let is_chunked = request.version() == Version::HTTP_11 && request.method() != Method::HEAD;
        is_chunked.then_some(Self(()))
    }
}

/// A response whose body `run` writes, as chunks (RFC 9112, section 7.1). The connection is closed when it
/// returns.
pub fn detached<F: Future<Output = ()> + Send + 'static>(
    _allowed: MayDetach,
    mut response: Response,
    run: impl FnOnce(Link) -> F + Send + 'static,
) -> Response {
    let run: Run = Box::new(|link| Box::pin(run(link)));
    let detached = Detached(Arc::new(Mutex::new(Some(run))));
    response.extensions_mut().insert(detached);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    // Its length is not known, so that hyper announces chunks.
    let endless = futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>();
    *response.body_mut() = Body::from_stream(endless);
    response
}

/// The same response, holding `guard` until all of it is sent or nobody wants it any more.
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
