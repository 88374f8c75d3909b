//! The socket of a connection. While the connection speaks HTTP, hyper reads and writes it; after a WebSocket upgrade
//! or a detach, the transports do.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use super::{shared::Shared, stream::Stream};
use graphql_transport::direct::{DirectIo, when_ready};

/// A socket, with the state that lives until it closes.
pub(super) struct Socket {
    stream: Stream,
    shared: Arc<Shared>,
}

impl Socket {
    pub(super) fn new(stream: Stream, shared: Arc<Shared>) -> Self {
        Self { stream, shared }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl DirectIo for Socket {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        when_ready(|| stream.poll_read_ready(cx), || stream.try_read(buffer))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &self.stream;
        when_ready(|| stream.poll_write_ready(cx), || stream.try_write(bytes))
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    fn shut_down(&self) {
        // Fails if the peer has closed already.
        let _ = self.stream.shut_down();
    }
}
