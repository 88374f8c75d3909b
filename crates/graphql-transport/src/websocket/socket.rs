//! WebSocket framing with tungstenite, over a [`Link`] that has other writers. Every writer writes whole frames.

use std::{
    future::poll_fn,
    io::{self, Read, Write},
    task::{Context, Poll, Waker},
};

use tokio::task::consume_budget;
use tungstenite::{
    Error, Message,
    error::{CapacityError, ProtocolError},
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

use crate::direct::Link;

/// Buffer sizes. The defaults are 128 KiB per direction, which every idle connection would hold.
const READ_BYTES: usize = 1024;
const WRITE_BYTES: usize = 4 * 1024;

pub(super) struct Socket {
    link: Link,
    context: WebSocketContext,
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// A message exceeds the size limit.
    TooBig,
    /// A frame does not follow RFC 6455.
    Malformed,
    /// A text message is not valid UTF-8.
    NotUtf8,
    /// The connection is closed or broken.
    Lost,
}

impl Socket {
    /// Wraps a link after the WebSocket handshake. `read` holds bytes that arrived with the handshake.
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

    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// Why no further message can be read.
    pub(super) async fn receive(&mut self) -> Result<Message, Gone> {
        // Reading a flood of small messages never blocks, so yield to other tasks.
        consume_budget().await;
        poll_fn(|cx| {
            let mut io = Io {
                link: &self.link,
                reader: cx,
            };
            Poll::Ready(match self.context.read(&mut io) {
                Ok(message) => Ok(message),
                // The connection will wake the task.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Err(Gone::TooBig),
                Err(Error::Utf8(_)) => Err(Gone::NotUtf8),
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    Err(Gone::Lost)
                }
                Err(Error::Protocol(_)) => Err(Gone::Malformed),
                Err(_) => Err(Gone::Lost),
            })
        })
        .await
    }

    /// Writes messages with one flush, without waiting.
    ///
    /// # Errors
    /// If the connection is closed or broken.
    pub(super) fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), Gone> {
        let mut io = Io {
            link: &self.link,
            reader: &mut Context::from_waker(Waker::noop()),
        };
        for message in messages {
            self.context
                .write(&mut io, message)
                .map_err(|_| Gone::Lost)?;
        }
        self.context.flush(&mut io).map_err(|_| Gone::Lost)
    }
}

/// Adapts the link for tungstenite; writing never blocks.
struct Io<'a, 'task> {
    link: &'a Link,
    reader: &'a mut Context<'task>,
}

impl Read for Io<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.link.poll_read(self.reader, buffer) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Io<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.link.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
