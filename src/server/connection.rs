//! The byte stream of a connection, with timeouts for reading a request head and for stalled writes.
//!
//! Without a write timeout, a client that stops reading would hold its stream and subscriptions forever. hyper has a
//! single timeout for a request head and the idle time before it. Proxies keep idle connections much longer than a head
//! may take, so the two are timed separately here.

use std::{
    io,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
    time::Duration,
};

use graphql_transport::direct::{DirectIo, Link, when_ready};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{shared::is_serving, socket::Socket};

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the start of the connection to the end of the first head, and from the first byte of a later head to its
    /// end.
    pub head: Duration,
    /// From the end of a head to the end of the body.
    pub body: Duration,
    /// From the end of a response to the first byte of the next request.
    pub idle: Duration,
    /// How long a write may make no progress.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            // Longer than proxies keep idle connections (nginx: 60 s), so that the proxy closes first and never sends a
            // request on a connection that is being closed.
            idle: Duration::from_secs(75),
            // Longer than a WebSocket's own stall timeout, which sends a close frame.
            stall: Duration::from_secs(20),
        }
    }
}

impl Timeouts {
    /// For connections over the limit, which are only sent a refusal.
    pub(super) const REFUSAL: Self = Self {
        head: Duration::from_secs(1),
        body: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        stall: Duration::from_secs(1),
    };
}

/// The I/O object that hyper reads and writes.
pub(super) struct Connection {
    link: Link<Socket>,
    timeouts: Timeouts,
    /// The last processed value of `shared.transitions`.
    transitions: u32,
    /// The current phase; `None` while a request is served.
    reading: Option<ReadPhase>,
    /// Set while a head or its first byte is pending.
    read_timer: Option<Pin<Box<Sleep>>>,
    /// Set while a write is pending.
    write_timer: Option<Pin<Box<Sleep>>>,
}

/// What a connection waits for between two requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadPhase {
    Head,
    Idle,
}

impl Connection {
    pub(super) fn new(link: Link<Socket>, timeouts: Timeouts) -> Self {
        Self {
            link,
            timeouts,
            transitions: 0,
            reading: Some(ReadPhase::Head),
            read_timer: None,
            write_timer: None,
        }
    }

    fn begin(&mut self, reading: Option<ReadPhase>) {
        self.reading = reading;
        self.read_timer = None;
    }

    fn sync_phase(&mut self) {
        let transitions = self.link.shared().transitions.load(Ordering::Relaxed);
        if self.transitions != transitions {
            self.transitions = transitions;
            self.begin((!is_serving(transitions)).then_some(ReadPhase::Idle));
        }
    }

    /// Returns `TimedOut` once the current read phase exceeds its timeout.
    fn poll_read_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = match self.reading {
            Some(ReadPhase::Head) => self.timeouts.head,
            Some(ReadPhase::Idle) => self.timeouts.idle,
            None => return Poll::Pending,
        };
        let waiting = self
            .read_timer
            .get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Passes `polled` on. Returns `TimedOut` once a write has been pending longer than `stall`.
    fn poll_write_timeout<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.write_timer = None;
            return polled;
        }
        let stall = self.timeouts.stall;
        let waiting = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.sync_phase();
        let link = self.link.clone();
        let polled = when_ready(
            || link.stream().poll_read_ready(cx),
            || link.stream().try_read_buf(buffer),
        );
        let Poll::Ready(read) = polled else {
            return self.poll_read_timeout(cx);
        };
        if self.reading == Some(ReadPhase::Idle) && read.as_ref().is_ok_and(|read| *read > 0) {
            self.begin(Some(ReadPhase::Head));
        }
        // Data arrived, but a head that trickles in must still meet its deadline.
        if self.read_timer.is_some() {
            let late = self.poll_read_timeout(cx);
            if late.is_ready() {
                return late;
            }
        }
        Poll::Ready(read.map(drop))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.link.poll_write(cx, bytes);
        self.poll_write_timeout(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.link.stream();
        let polled = when_ready(
            || stream.poll_write_ready(cx),
            || stream.try_write_vectored(slices),
        );
        self.poll_write_timeout(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // After a slow response, hyper already waits for the next request through an earlier read, so the idle time
        // starts here. When it expires, hyper is woken and reads.
        self.sync_phase();
        if self.reading == Some(ReadPhase::Idle) {
            let _ = self.poll_read_timeout(cx);
        }
        // By now hyper has written its whole buffer.
        self.link.shared().detaching.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Closing a socket with unread data resets it, which could discard written data, so shut down the write half
        // first.
        Poll::Ready(self.link.stream().shut_down())
    }
}

/// The link of an upgraded connection and the bytes already read from it; `None` if the connection belongs to another
/// server.
pub(super) fn of_upgraded(upgraded: Upgraded) -> Option<(Link, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<Connection>>().ok()?;
    let link = parts.io.into_inner().link.erased();
    // Copied, because even an empty slice of hyper's buffer keeps all 8 KiB alive.
    Some((link, parts.read_buf.to_vec()))
}
