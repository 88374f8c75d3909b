//! Request bodies with a deadline, and response bodies that hold a guard.

use std::{
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

/// A request body that fails once its deadline has passed.
pub(super) struct DeadlineBody {
    body: Incoming,
    until: Instant,
    /// Set while the next frame is pending.
    waiting: Option<Pin<Box<Sleep>>>,
    missed: DeadlineMissed,
    lifted: BodyDeadline,
}

/// Request extension with which a handler lifts the deadline of the request's body. Such a handler must limit the
/// pauses itself.
#[derive(Clone, Debug, Default)]
pub struct BodyDeadline(Arc<AtomicBool>);

impl BodyDeadline {
    /// Lifts the deadline.
    pub fn lift(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_lifted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Shared flag that is set once the deadline of a [`DeadlineBody`] has passed.
#[derive(Clone, Debug, Default)]
pub(super) struct DeadlineMissed(Arc<AtomicBool>);

impl DeadlineMissed {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl DeadlineBody {
    /// Wraps a body. The flag tells a missed deadline from a broken connection; the reader of the body only sees an
    /// error.
    pub(super) fn new(
        body: Incoming,
        until: Instant,
        lifted: BodyDeadline,
    ) -> (Self, DeadlineMissed) {
        let missed = DeadlineMissed::default();
        let body = Self {
            body,
            until,
            waiting: None,
            missed: missed.clone(),
            lifted,
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
        if self.lifted.is_lifted() {
            return polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        }
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
            // The body is complete, even if the deadline has just passed.
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

/// A response body that holds a guard until it is sent or dropped.
pub(super) struct GuardedBody<G> {
    body: Body,
    _guard: G,
}

impl<G> GuardedBody<G> {
    /// Holds `guard` until the body is dropped.
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
