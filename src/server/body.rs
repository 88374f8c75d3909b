//! Bodies: those that come must come in time, and those that go hold what they are counted by.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// The body of a request that has to be there in time.
pub(super) struct DeadlineBody {
    body: Incoming,
    until: Instant,
    /// Runs while more of it is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
    missed: DeadlineMissed,
}

/// Whether it was not.
#[derive(Clone, Debug, Default)]
pub(super) struct DeadlineMissed(Arc<AtomicBool>);

impl DeadlineMissed {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl DeadlineBody {
    /// The body, and what tells that it came too slowly: whoever reads it sees no more than that it broke
    /// off.
    pub(super) fn new(body: Incoming, until: Instant) -> (Self, DeadlineMissed) {
        let missed = DeadlineMissed::default();
        let body = Self {
            body,
            until,
            waiting: None,
            missed: missed.clone(),
        };
        (body, missed)
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let is_over = match &polled {
            Poll::Ready(_) => Instant::now() >= self.until,
            Poll::Pending => {
                let until = self.until;
                let waiting = self
                    .waiting
                    .get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(waiting.as_mut().poll(cx));
                true
            }
        };
        match (polled, is_over) {
            // All of it is there.
            (Poll::Ready(None), _) => Poll::Ready(None),
            (Poll::Ready(Some(frame)), false) => Poll::Ready(Some(frame.map_err(Into::into))),
            (Poll::Ready(Some(_)) | Poll::Pending, _) => {
                self.missed.0.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err("the body came too slowly".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than it may have.
    TooLarge,
    /// It is malformed or ended too early.
    Malformed,
}

/// Reads a whole body of at most so many bytes.
///
/// # Errors
/// When it is longer, or breaks off. A length that is announced is checked before anything is read.
pub async fn read_body(mut body: Body, max_bytes: usize) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(BodyError::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // A frame that is no data holds trailers.
        let Ok(data) = frame.map_err(|_| BodyError::Malformed)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > max_bytes {
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// The body of a response, and what is held until all of it is sent or nobody wants it any more.
pub(super) struct GuardedBody<G> {
    body: Body,
    _guard: G,
}

impl<G> GuardedBody<G> {
    /// Holds `guard` for as long as there is the body.
    pub(super) fn new(body: Body, guard: G) -> Self {
        Self {
            body,
            _guard: guard,
        }
    }
}

impl<G: Unpin> HttpBody for GuardedBody<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
