//! The frames of one WebSocket: tungstenite reads and writes them, over a [`Link`] that others write to
//! as well. A frame is written whole, whoever writes it.

use std::io::{self, Read, Write};

use tokio::task::consume_budget;
use tungstenite::{
    Error, Message,
    error::CapacityError,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

use crate::server::Link;

/// What is read at once, and collected before it is written. Of the default 128 KiB for each direction an
/// idle connection would use none and hold both.
const READ_BYTES: usize = 1024;
const WRITE_BYTES: usize = 4 * 1024;

pub(super) struct Socket {
    link: Link,
    context: WebSocketContext,
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The peer sent more than a message may have.
    TooBig,
    /// Whatever else: there is nobody to tell.
    Lost,
}

impl Socket {
    /// A WebSocket whose opening was answered. `read`: what came behind it already.
    pub(super) fn new(link: Link, read: Vec<u8>, message_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        Self {
            link,
            context: WebSocketContext::from_partially_read(read, Role::Server, Some(config)),
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// The next message. Nothing is lost when it is not waited for.
    ///
    /// # Errors
    /// When there is none any more.
    pub(super) async fn receive(&mut self) -> Result<Message, Gone> {
        // Reading a flood of small messages never waits, and other tasks need a turn.
        consume_budget().await;
        loop {
            match self.context.read(&mut Io(&self.link)) {
                Ok(message) => return Ok(message),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.link.readable().await.map_err(|_| Gone::Lost)?;
                }
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                    return Err(Gone::TooBig);
                }
                Err(_) => return Err(Gone::Lost),
            }
        }
    }

    /// Writes messages together, without waiting.
    ///
    /// # Errors
    /// When nothing can be said any more.
    pub(super) fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), Gone> {
        let mut io = Io(&self.link);
        for message in messages {
            self.context
                .write(&mut io, message)
                .map_err(|_| Gone::Lost)?;
        }
        self.context.flush(&mut io).map_err(|_| Gone::Lost)
    }
}

/// The socket as tungstenite takes it: it is never full.
struct Io<'a>(&'a Link);

impl Read for Io<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
