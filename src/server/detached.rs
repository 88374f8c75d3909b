//! Endless responses that leave hyper behind: it writes their head and is dropped, with its buffers; whoever
//! made the response writes the rest to the socket itself, in chunks.
//!
//! An idle stream then holds a socket and a task, not the 16 KiB of buffers that hyper keeps for the next
//! request, and what is said on it is written by whoever says it.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, Version, header},
    response::Response,
};
use futures_util::future::BoxFuture;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::{
    body::Held,
    connection::{Connection, Shared},
    wire::Wire,
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

type Run = Box<dyn FnOnce(Link) -> BoxFuture<'static, ()> + Send>;

/// What is left to do for a response.
#[derive(Clone)]
pub(super) struct Detached(Arc<Mutex<Option<Run>>>);

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Detached").finish()
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
        return response.map(|body| Body::new(Held::new(body, guard)));
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

/// A socket that is hyper's no more, and its place among the connections.
#[derive(Clone, Debug)]
pub struct Link {
    wire: Arc<Wire>,
    _shared: Arc<Shared>,
}

impl std::ops::Deref for Link {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl Link {
    pub(super) fn new(wire: Arc<Wire>, shared: Arc<Shared>) -> Self {
        Self {
            wire,
            _shared: shared,
        }
    }

    /// The socket of an upgraded connection, and what was read of it already; `None` when it is none of this
    /// server's.
    pub fn of_upgraded(upgraded: Upgraded) -> Option<(Self, Vec<u8>)> {
        let parts = upgraded.downcast::<TokioIo<Connection>>().ok()?;
        let (wire, shared) = parts.io.into_inner().into_parts();
        // A copy: what holds hyper's buffer, even of nothing, holds all of its 8 KiB.
        Some((Self::new(wire, shared), parts.read_buf.to_vec()))
    }
}

/// How far a connection is with leaving hyper.
#[derive(Debug, Default)]
pub(super) struct Detaching {
    /// The response was given to hyper.
    is_wanted: AtomicBool,
    run: Mutex<Option<Detached>>,
    head_is_written: Notify,
}

impl Detaching {
    /// The response that comes is to be detached, if it says so.
    pub(super) fn begin<B>(&self, response: &Response<B>) -> bool {
        let Some(detached) = response.extensions().get::<Detached>() else {
            return false;
        };
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(detached.clone());
        self.is_wanted.store(true, Ordering::Release);
        true
    }

    /// Everything that hyper had was written. It gets a response and writes its head without flushing in
    /// between.
    pub(super) fn flushed(&self) {
        if self.is_wanted.load(Ordering::Acquire) {
            self.head_is_written.notify_one();
        }
    }

    /// What is left to do, once the head of such a response is written.
    pub(super) async fn ready(&self) -> Run {
        loop {
            self.head_is_written.notified().await;
            let detached = self
                .run
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(Detached(run)) = detached else {
                continue;
            };
            if let Some(run) = run.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return run;
            }
        }
    }
}
