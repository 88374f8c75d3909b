//! Byte streams that several tasks write to.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The byte stream of a connection. One task reads it; several write to it, one at a time.
pub trait DirectIo: Send + Sync + 'static {
    /// Reads into `buffer`; returns 0 at the end of the stream. Wakes the last task that polled.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `bytes`. Wakes the last task that polled.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `bytes` without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing can be written now; any other error if the connection is
    /// broken.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.poll_write(&mut Context::from_waker(Waker::noop()), bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Hands written bytes that are still buffered here (by TLS, for example) to the operating system. Wakes the last
    /// task that polled. The default suits streams without a buffer.
    fn poll_flush(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Shuts down the write half, without waiting.
    fn shut_down(&self);
}

/// Polls `ready`, then runs `act`, until `act` does not block: a socket's reported readiness can be out of date.
///
/// # Errors
/// Those of `ready` and `act`, except [`WouldBlock`](io::ErrorKind::WouldBlock) of `act`.
pub fn when_ready<R>(
    mut ready: impl FnMut() -> Poll<io::Result<()>>,
    mut act: impl FnMut() -> io::Result<R>,
) -> Poll<io::Result<R>> {
    loop {
        ready!(ready())?;
        match act() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl DirectIo for TcpStream {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        when_ready(|| self.poll_read_ready(cx), || self.try_read(buffer))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        when_ready(|| self.poll_write_ready(cx), || self.try_write(bytes))
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn shut_down(&self) {
        // Fails if the peer has closed already.
        let _ = socket2::SockRef::from(self).shutdown(std::net::Shutdown::Write);
    }
}

/// An upgraded connection of a server without [`DirectWrites`](super::DirectWrites).
pub(super) struct UpgradedIo(Mutex<TokioIo<Upgraded>>);

impl UpgradedIo {
    pub(super) fn new(upgraded: Upgraded) -> Self {
        Self(Mutex::new(TokioIo::new(upgraded)))
    }

    fn lock(&self) -> MutexGuard<'_, TokioIo<Upgraded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirectIo for UpgradedIo {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *self.lock()).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn shut_down(&self) {
        let mut cx = Context::from_waker(Waker::noop());
        // Fails if the peer has closed already.
        let _ = Pin::new(&mut *self.lock()).poll_shutdown(&mut cx);
    }
}
