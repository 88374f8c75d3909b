//! A connection as bytes: given up when its peer takes nothing of what it is sent, or is slow to say what it
//! wants.
//!
//! HTTP has no bounds of its own for that: a client that keeps its connection open and does not read would
//! hold its stream, and what the stream subscribes to, for ever. hyper has one timeout for the head of a
//! request and for the pause before it; a proxy keeps connections for the next request much longer than a
//! head may take.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{detached::Detaching, limits::Place, slots::Slot, wire::Wire};

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the beginning of the connection to the end of the first head, and from the first byte of a
    /// later head to its end.
    pub head: Duration,
    /// From the end of a head to the end of the body.
    pub body: Duration,
    /// From the end of a response to the first byte of the next request.
    pub idle: Duration,
    /// With taking anything of what it is sent.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            // Longer than proxies keep a connection (nginx: 60 s): who closes second never closes under a
            // request.
            idle: Duration::from_secs(75),
            // Longer than a WebSocket waits, which then says why it closes.
            stall: Duration::from_secs(20),
        }
    }
}

impl Patience {
    /// With who is only told that there is no place.
    pub(super) const NONE: Self = Self {
        head: Duration::from_secs(1),
        body: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        stall: Duration::from_secs(1),
    };
}

/// What a connection and its requests tell each other, and what is held for as long as the connection
/// lives, upgraded or not.
#[derive(Debug)]
pub(super) struct Shared {
    /// How often a request or a pause has begun: odd while a request is served, from the end of its head
    /// to the end of its response.
    turns: AtomicU32,
    _place: Place,
    /// Of the request that became a WebSocket, or has an endless response.
    upgraded: OnceLock<Slot<IpAddr>>,
    pub(super) detaching: Detaching,
}

impl Shared {
    pub(super) fn new(place: Place) -> Arc<Self> {
        Arc::new(Self {
            turns: AtomicU32::new(0),
            _place: place,
            upgraded: OnceLock::new(),
            detaching: Detaching::default(),
        })
    }

    /// Holds what the last request of the connection held.
    pub(super) fn keep(&self, slot: Slot<IpAddr>) {
        // A connection is upgraded once.
        let _ = self.upgraded.set(slot);
    }

    /// A request begins or ends; they come one at a time.
    pub(super) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request is served.
    pub(super) fn is_serving(&self) -> bool {
        is_serving(self.turns.load(Ordering::Relaxed))
    }
}

fn is_serving(turns: u32) -> bool {
    turns % 2 == 1
}

/// A connection, as hyper has it.
pub(super) struct Connection {
    wire: Arc<Wire>,
    patience: Patience,
    shared: Arc<Shared>,
    /// The turns of `shared` that were seen.
    turns: u32,
    /// What is read now; `None` while a request is served.
    reading: Option<Reading>,
    /// Runs while a head, or its beginning, is waited for.
    waiting_to_read: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits.
    waiting_to_write: Option<Pin<Box<Sleep>>>,
}

/// What a connection reads between two requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Head,
    Pause,
}

impl Connection {
    pub(super) fn new(wire: Arc<Wire>, patience: Patience, shared: Arc<Shared>) -> Self {
        Self {
            wire,
            patience,
            shared,
            turns: 0,
            reading: Some(Reading::Head),
            waiting_to_read: None,
            waiting_to_write: None,
        }
    }

    /// What it was made of.
    pub(super) fn into_parts(self) -> (Arc<Wire>, Arc<Shared>) {
        (self.wire, self.shared)
    }

    fn begin(&mut self, reading: Option<Reading>) {
        self.reading = reading;
        self.waiting_to_read = None;
    }

    fn follow(&mut self) {
        let turns = self.shared.turns.load(Ordering::Relaxed);
        if self.turns != turns {
            self.turns = turns;
            self.begin((!is_serving(turns)).then_some(Reading::Pause));
        }
    }

    /// An error once what is read has taken too long.
    fn bound_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let patience = match self.reading {
            Some(Reading::Head) => self.patience.head,
            Some(Reading::Pause) => self.patience.idle,
            None => return Poll::Pending,
        };
        let waiting = self
            .waiting_to_read
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// An error once a write has waited too long.
    fn bound_write<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.waiting_to_write = None;
            return polled;
        }
        let stall = self.patience.stall;
        let waiting = self
            .waiting_to_write
            .get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What a socket does once it is ready for it.
fn when_ready<R>(
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

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.follow();
        let wire = self.wire.clone();
        let polled = when_ready(
            || wire.stream().poll_read_ready(cx),
            || wire.stream().try_read_buf(buffer),
        );
        let Poll::Ready(read) = polled else {
            return self.bound_read(cx);
        };
        if self.reading == Some(Reading::Pause) && read.as_ref().is_ok_and(|read| *read > 0) {
            self.begin(Some(Reading::Head));
        }
        // A head that comes byte by byte has waited before.
        if self.waiting_to_read.is_some() {
            let late = self.bound_read(cx);
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
        let stream = self.wire.stream();
        let polled = when_ready(|| stream.poll_write_ready(cx), || stream.try_write(bytes));
        self.bound_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.wire.stream();
        let polled = when_ready(
            || stream.poll_write_ready(cx),
            || stream.try_write_vectored(slices),
        );
        self.bound_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper has written all that it had.
        self.shared.detaching.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The peer may have said what nobody read, which would make closing cut off what was written.
        let socket = socket2::SockRef::from(self.wire.stream());
        Poll::Ready(socket.shutdown(std::net::Shutdown::Write))
    }
}
