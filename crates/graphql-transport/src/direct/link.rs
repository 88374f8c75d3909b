//! A connection with a write buffer for several writers.
//!
//! One task reads the connection and several write to it. Each writer writes from its own task, so a delivery wakes no
//! other task. Bytes that the connection does not accept are buffered in order; the reading task flushes them.

use std::{
    fmt,
    future::poll_fn,
    io,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use futures_util::task::AtomicWaker;
use hyper::upgrade::Upgraded;
use tokio::{sync::Notify, task::unconstrained};

use super::io::{DirectIo, UpgradedIo};

/// A connection that a server has released, shared by its writers. Cheap to clone.
pub struct Link<T: DirectIo + ?Sized = dyn DirectIo>(Arc<Inner<T>>);

// A single allocation with the I/O last: following another pointer would cost each delivery a cache miss.
struct Inner<T: ?Sized> {
    /// Bytes that the connection has not accepted yet.
    pending: Mutex<PendingBytes>,
    fell_behind: Notify,
    io: T,
}

impl<T: DirectIo + ?Sized> Clone for Link<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: DirectIo + ?Sized> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Gives the server access to the I/O until it releases the connection.
impl<T: DirectIo> Deref for Link<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.io
    }
}

/// Buffered bytes, in order.
#[derive(Debug, Default)]
struct PendingBytes {
    bytes: Vec<u8>,
    /// How many of `bytes` the connection has accepted.
    sent: usize,
    /// Whether the connection itself still buffers bytes that it accepted but could not flush.
    is_unflushed: bool,
}

impl PendingBytes {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn took(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            // Frees the buffer: an idle connection holds no memory for an earlier backlog.
            self.bytes = Vec::new();
            self.sent = 0;
        } else if self.sent >= self.bytes.len() / 2 {
            // Compacting at half costs each byte at most one move, however slow the peer is.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Wakes the flushing task, and records that the wake-up came from the connection becoming writable. TLS gives no other
/// sign that it is sending its buffer.
#[derive(Debug, Default)]
pub(super) struct Writable {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Writable {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<T: DirectIo> Link<T> {
    /// Creates the link of a connection.
    pub fn new(io: T) -> Self {
        Self(Arc::new(Inner {
            pending: Mutex::default(),
            fell_behind: Notify::new(),
            io,
        }))
    }

    /// Erases the type of the I/O.
    pub fn erased(self) -> Link {
        Link(self.0)
    }
}

impl Link {
    /// Creates the link of an upgraded connection of any server.
    pub(crate) fn of_upgraded(upgraded: Upgraded) -> Self {
        Link::new(UpgradedIo::new(upgraded)).erased()
    }

    /// Writes without waiting and buffers what the connection does not accept. Bytes for a broken connection are
    /// dropped; the reading task gets the error.
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.add(&mut self.lock(), bytes);
    }

    /// Writes unless at least `max_pending` bytes are buffered. Returns whether it wrote.
    pub(super) fn write_unless_behind(&self, max_pending: usize, bytes: &[u8]) -> bool {
        let mut pending = self.lock();
        let has_room = pending.waiting().len() < max_pending;
        if has_room {
            self.add(&mut pending, bytes);
        }
        has_room
    }

    /// The number of buffered bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting().len()
    }

    fn add(&self, pending: &mut PendingBytes, bytes: &[u8]) {
        let mut rest = bytes;
        // Not while the reading task flushes, because a connection wakes only the task that polled last.
        if pending.waiting().is_empty() && !pending.is_unflushed {
            match self.0.io.try_write(bytes) {
                Ok(taken) => {
                    rest = &bytes[taken..];
                    let mut cx = Context::from_waker(Waker::noop());
                    pending.is_unflushed = self.0.io.poll_flush(&mut cx).is_pending();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => rest = &[],
            }
        }
        pending.bytes.extend_from_slice(rest);
        if !rest.is_empty() || pending.is_unflushed {
            self.0.fell_behind.notify_one();
        }
    }

    /// Waits until bytes are buffered. Several writes cause one wake-up.
    pub(super) async fn fell_behind(&self) {
        self.0.fell_behind.notified().await;
    }

    /// Flushes buffered bytes as soon as the connection accepts some. Returns whether the buffer is empty. Only one
    /// task may call it, always with the same `writable`.
    ///
    /// # Errors
    /// If the connection is closed or broken.
    pub(super) async fn flush_some(&self, writable: &Arc<Writable>) -> io::Result<bool> {
        // Unconstrained, because running out of tokio's budget would also wake the task and look like progress.
        unconstrained(poll_fn(|cx| {
            writable.task.register(cx.waker());
            let was_writable = writable.is_woken.swap(false, Ordering::AcqRel);
            let waker = Waker::from(writable.clone());
            match self.poll_flush_some(&mut Context::from_waker(&waker)) {
                // TLS has sent part of its buffer.
                Poll::Pending if was_writable => Poll::Ready(Ok(false)),
                flushed => flushed,
            }
        }))
        .await
    }

    fn poll_flush_some(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut pending = self.lock();
        let has_moved = !pending.waiting().is_empty();
        if has_moved {
            let taken = ready!(self.0.io.poll_write(cx, pending.waiting()))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            pending.took(taken);
            if !pending.waiting().is_empty() {
                return Poll::Ready(Ok(false));
            }
        }
        match self.0.io.poll_flush(cx)? {
            Poll::Ready(()) => {
                pending.is_unflushed = false;
                Poll::Ready(Ok(true))
            }
            Poll::Pending => {
                pending.is_unflushed = true;
                match has_moved {
                    true => Poll::Ready(Ok(false)),
                    false => Poll::Pending,
                }
            }
        }
    }

    /// Reads into `buffer`; returns 0 at the end of the stream. Only the reading task may call it.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.io.poll_read(cx, buffer)
    }

    /// Waits until the peer closes the connection, discarding what it sends.
    pub(crate) async fn closed(&self) {
        let mut discarded = [0; 256];
        while let Ok(1..) = poll_fn(|cx| self.0.io.poll_read(cx, &mut discarded)).await {}
    }

    /// Shuts down the write half.
    pub(crate) fn finish(&self) {
        self.0.io.shut_down();
    }

    fn lock(&self) -> MutexGuard<'_, PendingBytes> {
        // A panic cannot leave the buffer inconsistent.
        self.0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
