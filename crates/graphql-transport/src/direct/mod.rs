//! Direct delivery: writes events to a subscriber's socket, with backpressure and stall detection.

mod io;
mod link;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::Response;
use futures_util::future::BoxFuture;
use hyper::upgrade::Upgraded;
use tokio::time::Instant;

use self::link::Writable;
pub use self::{
    io::{DirectIo, when_ready},
    link::Link,
};
use super::{
    cohort::{Delivery, Outlet},
    expiry::sleep_until_opt,
    payload::Payload,
};

/// Request extension set by a server that can release its connections. Without it, WebSockets work on any server, and
/// server-sent events are ordinary bodies.
///
/// It saves memory and time for each idle stream: hyper holds at least 16 KiB of buffers per connection, and an event
/// written directly to the socket wakes no task.
#[derive(Clone, Copy, Debug)]
pub struct DirectWrites {
    /// Returns the link of an upgraded connection and the bytes already read from it; `None` if the connection belongs
    /// to another server.
    pub of_upgraded: fn(Upgraded) -> Option<(Link, Vec<u8>)>,
    /// Makes a response whose body is written directly; `None` if the request does not allow a chunked body.
    pub detach: Option<Detach>,
}

/// Replaces the response's body with chunks (RFC 9112, section 7.1) that the function writes to the connection. The
/// connection closes when the function returns.
pub type Detach = fn(Response, WriteBody) -> Response;

/// Writes the body of a detached response.
pub type WriteBody = Box<dyn FnOnce(Link) -> BoxFuture<'static, ()> + Send>;

/// How many bytes may be buffered for a peer before its event subscription counts as lagging.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// The wire format of an event.
pub(super) trait Encode: Send + Sync + 'static {
    /// Bytes sent after an idle interval; empty if the transport has its own keep-alive.
    const KEEP_ALIVE: &[u8] = b"";

    /// Appends the encoded event to an empty buffer.
    fn encode(&self, payload: &Payload, bytes: &mut Vec<u8>);
}

/// One subscription and the socket that receives its events.
pub(super) struct Direct<E> {
    link: Link,
    encode: E,
    state: Mutex<State>,
}

struct State {
    is_over: bool,
    /// The newest unsent state, kept until the socket has room.
    unsent: Option<Payload>,
    /// The time of the last write.
    last_write: Instant,
}

impl<E> fmt::Debug for Direct<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl<E: Encode> Direct<E> {
    pub(super) fn new(link: Link, encode: E) -> Self {
        let state = State {
            is_over: false,
            unsent: None,
            last_write: Instant::now(),
        };
        Self {
            link,
            encode,
            state: Mutex::new(state),
        }
    }

    /// Writes an event, regardless of how much is buffered.
    pub(super) fn send(&self, payload: &Payload) {
        let mut bytes = Vec::new();
        self.encode.encode(payload, &mut bytes);
        self.link.write(&bytes);
        self.record_write(&mut self.lock());
    }

    /// Writes the unsent state, now that the socket has room.
    pub(super) fn catch_up(&self) {
        let mut state = self.lock();
        if let Some(payload) = state.unsent.take() {
            let mut bytes = Vec::new();
            self.encode.encode(&payload, &mut bytes);
            self.link.write(&bytes);
            self.record_write(&mut state);
        }
    }

    /// Writes the keep-alive bytes.
    pub(super) fn keep_alive(&self) {
        self.link.write(E::KEEP_ALIVE);
        self.record_write(&mut self.lock());
    }

    /// The time of the last write.
    pub(super) fn last_write(&self) -> Instant {
        self.lock().last_write
    }

    fn record_write(&self, state: &mut State) {
        // Reading the clock is a measurable part of a delivery, so skip it if the time is not needed.
        if !E::KEEP_ALIVE.is_empty() {
            state.last_write = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Encode> Outlet for Direct<E> {
    fn deliver(&self, payload: &Payload, is_state: bool, buffer: &mut Vec<u8>) -> Delivery {
        buffer.clear();
        self.encode.encode(payload, buffer);
        let mut state = self.lock();
        if state.is_over {
            return Delivery::Taken;
        }
        // A state queued behind others would be stale by the time it is read. Keep only the newest until there is room.
        let max_pending = if is_state { 1 } else { MAX_PENDING_BYTES };
        if self.link.write_unless_behind(max_pending, buffer) {
            state.unsent = None;
            self.record_write(&mut state);
            return Delivery::Taken;
        }
        if !is_state {
            return Delivery::Lost;
        }
        match state.unsent.replace(payload.clone()) {
            Some(_) => Delivery::Skipped,
            None => Delivery::Taken,
        }
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.unsent = None;
    }
}

/// Flushes a socket's buffered bytes and detects a stalled peer.
pub(super) struct Backlog {
    link: Link,
    /// How long the peer may go without accepting a byte.
    stall: Duration,
    /// When the socket last stopped accepting bytes; `None` without a backlog.
    stalled: Option<Instant>,
    /// Allocated with the first backlog.
    writable: Option<Arc<Writable>>,
}

/// A change of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Bytes are buffered from now on.
    FellBehind,
    /// The socket accepted some bytes.
    Moved,
    /// The socket accepted all bytes.
    CaughtUp,
    /// The socket accepted nothing for too long.
    Stalled,
    /// The connection is closed or broken.
    Gone,
}

impl Backlog {
    pub(super) fn new(link: Link, stall: Duration) -> Self {
        Self {
            link,
            stall,
            stalled: None,
            writable: None,
        }
    }

    /// Whether nothing is buffered, so that more can be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.stalled.is_none()
    }

    /// Waits for the next change. Cancel-safe.
    pub(super) async fn progress(&mut self) -> Progress {
        let Some(since) = self.stalled else {
            self.link.fell_behind().await;
            self.stalled = Some(Instant::now());
            return Progress::FellBehind;
        };
        let writable = self.writable.get_or_insert_default();
        let flushed = tokio::select! {
            biased;
            flushed = self.link.flush_some(writable) => flushed,
            () = sleep_until_opt(Some(since + self.stall)) => return Progress::Stalled,
        };
        match flushed {
            Ok(true) => {
                self.stalled = None;
                Progress::CaughtUp
            }
            Ok(false) => {
                self.stalled = Some(Instant::now());
                Progress::Moved
            }
            Err(_) => Progress::Gone,
        }
    }

    /// Waits until the backlog is empty or the peer stalls.
    pub(super) async fn drain(mut self) {
        self.stalled = Some(Instant::now());
        while self.progress().await == Progress::Moved {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering},
        task::{Context, Poll, Waker},
    };

    use futures_util::FutureExt;

    use super::*;

    /// Behaves like TLS: accepts all bytes, and flushes them once the underlying socket has room.
    #[derive(Clone, Default)]
    struct Buffering {
        has_room: Arc<AtomicBool>,
        unflushed: Arc<Mutex<Vec<u8>>>,
        flushed: Arc<Mutex<Vec<u8>>>,
        /// Waker of the last poll that found no room.
        writer: Arc<Mutex<Option<Waker>>>,
    }

    impl DirectIo for Buffering {
        fn poll_read(&self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.unflushed.lock().unwrap().extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.has_room.load(Ordering::Relaxed) {
                *self.writer.lock().unwrap() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let bytes = std::mem::take(&mut *self.unflushed.lock().unwrap());
            self.flushed.lock().unwrap().extend(bytes);
            Poll::Ready(Ok(()))
        }

        fn shut_down(&self) {}
    }

    #[tokio::test]
    async fn bytes_that_tls_holds_back_are_flushed_without_another_write() {
        let io = Buffering::default();
        let link = Link::new(io.clone()).erased();
        let mut backlog = Backlog::new(link.clone(), Duration::from_secs(10));
        link.write(b"first");
        assert_eq!(backlog.progress().await, Progress::FellBehind);
        assert!(!backlog.is_empty());
        assert_eq!(backlog.progress().now_or_never(), None);
        link.write(b", second");
        io.has_room.store(true, Ordering::Relaxed);
        assert_eq!(backlog.progress().await, Progress::CaughtUp);
        assert_eq!(*io.flushed.lock().unwrap(), b"first, second");
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_behind_tls_stalls() {
        let link = Link::new(Buffering::default()).erased();
        let mut backlog = Backlog::new(link.clone(), Duration::from_millis(10));
        link.write(b"text");
        assert_eq!(backlog.progress().await, Progress::FellBehind);
        assert_eq!(backlog.progress().await, Progress::Stalled);
    }

    #[tokio::test]
    async fn a_slow_peer_behind_tls_makes_progress_whenever_the_socket_is_writable() {
        let io = Buffering::default();
        let link = Link::new(io.clone()).erased();
        let mut backlog = Backlog::new(link.clone(), Duration::from_secs(10));
        link.write(b"text");
        assert_eq!(backlog.progress().await, Progress::FellBehind);
        assert_eq!(backlog.progress().now_or_never(), None);
        io.writer.lock().unwrap().take().unwrap().wake();
        assert_eq!(backlog.progress().await, Progress::Moved);
        // The task was woken for some other reason.
        assert_eq!(backlog.progress().now_or_never(), None);
        assert_eq!(backlog.progress().now_or_never(), None);
    }
}
