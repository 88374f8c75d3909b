//! The socket of a connection, with a write buffer for several writers.
//!
//! hyper owns it while the connection speaks HTTP. After a WebSocket upgrade or a detach, one task reads it and
//! several write to it. Each writer writes from its own task, so a delivery wakes no other task. Bytes that the
//! socket does not accept are buffered in order; the reading task flushes them.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{net::TcpStream, sync::Notify};

/// The socket.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// Bytes that the socket has not accepted yet.
    pending: Mutex<PendingBytes>,
    fell_behind: Notify,
}

/// Buffered bytes, in order.
#[derive(Debug, Default)]
struct PendingBytes {
    bytes: Vec<u8>,
    /// How many of them the socket has accepted.
    sent: usize,
}

impl PendingBytes {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn took(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            // Frees the buffer: an idle connection holds no memory for an earlier backlog.
            *self = Self::default();
        } else if self.sent >= self.bytes.len() / 2 {
            // Compacting at half keeps the cost at one move per byte, however slow the peer is.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            pending: Mutex::default(),
            fell_behind: Notify::new(),
        }
    }

    /// The socket itself, for hyper.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes without waiting; bytes that the socket does not accept are buffered. On a broken connection the
    /// bytes are dropped: the reading task gets the error.
    pub fn write(&self, bytes: &[u8]) {
        self.add(&mut self.lock(), bytes);
    }

    /// Writes unless `max_pending` bytes are buffered already; whether it wrote.
    pub fn write_unless_behind(&self, max_pending: usize, bytes: &[u8]) -> bool {
        let mut pending = self.lock();
        let has_room = pending.waiting().len() < max_pending;
        if has_room {
            self.add(&mut pending, bytes);
        }
        has_room
    }

    /// The number of buffered bytes.
    pub fn waiting(&self) -> usize {
        self.lock().waiting().len()
    }

    fn add(&self, pending: &mut PendingBytes, bytes: &[u8]) {
        let mut rest = bytes;
        if pending.waiting().is_empty() {
            match self.stream.try_write(bytes) {
                Ok(taken) => rest = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => rest = &[],
            }
        }
        if !rest.is_empty() {
            pending.bytes.extend_from_slice(rest);
            self.fell_behind.notify_one();
        }
    }

    /// Waits until bytes are buffered; wakes once for any number of writes.
    pub async fn fell_behind(&self) {
        self.fell_behind.notified().await;
    }

    /// Flushes some buffered bytes once the socket is writable; returns how many remain.
    ///
    /// # Errors
    /// When the connection is closed or broken.
    pub async fn flush_some(&self) -> io::Result<usize> {
        loop {
            self.stream.writable().await?;
            let mut pending = self.lock();
            match self.stream.try_write(pending.waiting()) {
                Ok(taken) => {
                    pending.took(taken);
                    return Ok(pending.waiting().len());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the socket may be readable.
    ///
    /// # Errors
    /// When the connection is closed or broken.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Waits until the peer closes the connection; discards what it sends until then.
    pub async fn closed(&self) {
        let mut discarded = [0; 256];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut discarded) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Reads available bytes without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing is available; any other when the connection broke.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(buffer)
    }

    /// Shuts down the write half.
    pub fn finish(&self) {
        // Fails if the peer has closed already.
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    fn lock(&self) -> MutexGuard<'_, PendingBytes> {
        // A panic cannot leave the buffer inconsistent.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
