//! The socket of a connection. hyper reads and writes it as long as it speaks HTTP; once it is a WebSocket, or
//! an endless response, one task reads it and several may write to it.
//!
//! Whoever has something to say then writes it at once, from its own task: no task is woken for a delivery.
//! What the socket does not take waits here, in order, for the one who reads to send it on.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{net::TcpStream, sync::Notify};

/// The socket.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// What was written and not taken yet.
    behind: Mutex<PendingBytes>,
    fell_behind: Notify,
}

/// Bytes that wait, in order.
#[derive(Debug, Default)]
struct PendingBytes {
    bytes: Vec<u8>,
    /// How many of them the socket has taken.
    sent: usize,
}

impl PendingBytes {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn took(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            // An idle connection holds no memory for what it once had to wait for.
            *self = Self::default();
        } else if self.sent >= self.bytes.len() / 2 {
            // Seldom enough to cost each byte one move, however slow the peer is.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            behind: Mutex::default(),
            fell_behind: Notify::new(),
        }
    }

    /// The socket itself, for hyper.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes without waiting. What the socket does not take waits; a connection that is gone takes everything:
    /// whoever reads it notices.
    pub fn write(&self, bytes: &[u8]) {
        self.add(&mut self.lock(), bytes);
    }

    /// The same unless so many bytes wait already; whether it was written.
    pub fn write_unless_behind(&self, max_pending: usize, bytes: &[u8]) -> bool {
        let mut behind = self.lock();
        let has_room = behind.waiting().len() < max_pending;
        if has_room {
            self.add(&mut behind, bytes);
        }
        has_room
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting().len()
    }

    fn add(&self, behind: &mut PendingBytes, bytes: &[u8]) {
        let mut rest = bytes;
        if behind.waiting().is_empty() {
            match self.stream.try_write(bytes) {
                Ok(taken) => rest = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => rest = &[],
            }
        }
        if !rest.is_empty() {
            behind.bytes.extend_from_slice(rest);
            self.fell_behind.notify_one();
        }
    }

    /// Ready when something waits; once for any number of writes.
    pub async fn fell_behind(&self) {
        self.fell_behind.notified().await;
    }

    /// Sends on some of what waits, as soon as the socket takes any; how many bytes wait afterwards.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn flush_some(&self) -> io::Result<usize> {
        loop {
            self.stream.writable().await?;
            let mut behind = self.lock();
            match self.stream.try_write(behind.waiting()) {
                Ok(taken) => {
                    behind.took(taken);
                    return Ok(behind.waiting().len());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ready when there may be something to read.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Ready when the peer has closed the connection; what it says until then is passed over.
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

    /// Reads what there is.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is nothing; any other when the connection is gone.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(buffer)
    }

    /// Says that nothing more is written.
    pub fn finish(&self) {
        // It may be gone already.
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    fn lock(&self) -> MutexGuard<'_, PendingBytes> {
        // Bytes are added or removed as a whole.
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
