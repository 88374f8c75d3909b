//! The socket of a connection. hyper reads and writes it while the connection speaks HTTP; after a WebSocket upgrade or
//! a detach, the transports do.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use graphql_transport::direct::DirectIo;
use tokio::net::TcpStream;

use super::shared::Shared;

/// The socket, with the state that lives until it closes.
pub(super) struct Socket {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self { stream, shared }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl DirectIo for Socket {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        DirectIo::poll_read(&self.stream, cx, buffer)
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        DirectIo::poll_write(&self.stream, cx, bytes)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    fn shut_down(&self) {
        self.stream.shut_down();
    }
}
