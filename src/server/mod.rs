//! Connections: accepting them, what they may cost, ending them.
//!
//! `axum::serve` accepts whoever comes and waits for what they have to say for ever. Here a connection has
//! a place in all and one of its address ([`Limits`]), the head of a request has to come in 10 seconds and
//! its body in 30, and what is sent has to be taken. Beside that it is hyper as axum would run it: HTTP/1.1
//! with keep-alive and upgrades. Knows no routes: what is served is a router, and what a refusal looks like
//! a function.

mod body;
mod client;
mod connection;
mod detached;
mod limits;
mod link;
mod slots;
mod wire;

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::Response,
};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

pub use self::{
    body::{BodyError, read_body},
    client::parse_networks,
    connection::Timeouts,
    detached::{MayDetach, detached, held},
    limits::{Counts, Limits, Settings},
    link::Link,
    slots::{Slot, Slots},
};
use self::{
    body::{DeadlineBody, GuardedBody},
    connection::Connection,
    limits::Refusal,
    link::Shared,
    wire::Wire,
};
use crate::error::Error;

/// The most that is held of what a connection reads or writes: room for the longest URL (64 KiB) and headers.
const BUFFER_BYTES: usize = 128 * 1024;

/// The most that the kernel holds of what a peer has not acknowledged, in bytes. Linux doubles it for its own
/// bookkeeping. By itself it would grow to 4 MiB.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// The most that the kernel holds of what it has not sent, in bytes: what a slow reader gets late.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 * 1024;

/// How long nothing is accepted after the system had nothing left to accept with.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// How long a client whose request is on its way has to finish it once the server closes.
const REQUEST_GRACE: Duration = Duration::from_secs(1);

/// The address that a request comes from, in its extensions: an IPv4 address or the first of an IPv6 /64.
/// It is missing where nobody is counted by an address: on this machine, and for what a proxy asks itself.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// What an error is on the path that was asked for.
pub type ErrorResponder = fn(&str, Error) -> Response;

/// Serves a router on listeners.
pub struct Server {
    router: Router,
    refuse: ErrorResponder,
    limits: Limits,
    timeouts: Timeouts,
    http: http1::Builder,
}

/// A connection's part in what its requests need.
struct Peer {
    server: Arc<Server>,
    /// Where it comes from; `None` for a trusted proxy.
    address: Option<IpAddr>,
    refusal: Option<Refusal>,
    shared: Arc<Shared>,
}

impl Server {
    /// A server of these routes within these limits.
    pub fn new(router: Router, limits: Limits, refuse: ErrorResponder) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(BUFFER_BYTES)
            // Measured by `Connection`, which tells a head from the pause before it.
            .header_read_timeout(None);
        Self {
            router,
            refuse,
            limits,
            timeouts: Timeouts::default(),
            http,
        }
    }

    /// With another patience, for tests that cannot have the usual one.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Accepts connections until `closing`; then each is told to close after what it is doing, and this
    /// waits for the last one, WebSockets among them. Dropped, it cuts them.
    pub async fn serve(self, listener: TcpListener, closing: CancellationToken) {
        if let Err(error) = limit_send_buffers(&listener) {
            tracing::warn!(%error, "cannot bound send buffers; slow readers get older events");
        }
        let server = Arc::new(self);
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        let _abort = abort.clone().drop_guard();
        while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    let connection = server.admit(stream, peer.ip(), &connections);
                    if let Some((peer, stream)) = connection {
                        connections.spawn(peer.run(stream, closing.clone(), abort.clone()));
                    }
                }
                Err(error) if is_peer_error(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    closing.run_until_cancelled(sleep(ACCEPT_RETRY_DELAY)).await;
                }
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// The connection if it has a place, or one to be told that it has none; otherwise it is closed.
    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        connections: &TaskTracker,
    ) -> Option<(Peer, TcpStream)> {
        // Nagle's algorithm would hold back small frames for 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let address = self.limits.direct(peer);
        let (place, refusal) = match self.limits.permit(address, connections.token()) {
            Ok(place) => (place, None),
            Err(refusal) => {
                let place = self.limits.refusal_permit(connections.token())?;
                (place, Some(refusal))
            }
        };
        let peer = Peer {
            server: self.clone(),
            address,
            refusal,
            shared: Shared::new(place),
        };
        Some((peer, stream))
    }
}

/// Bounds what the kernel holds of what a peer does not read. Accepted connections inherit it.
fn limit_send_buffers(listener: &TcpListener) -> io::Result<()> {
    let socket = socket2::SockRef::from(listener);
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

/// Whether it is the connection that failed, and not the listening.
fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Peer {
    async fn run(self, stream: TcpStream, closing: CancellationToken, abort: CancellationToken) {
        let timeouts = match self.refusal {
            None => self.server.timeouts,
            Some(_) => Timeouts::NONE,
        };
        let shared = self.shared.clone();
        let wire = Arc::new(Wire::new(stream));
        let io = TokioIo::new(Connection::new(wire.clone(), timeouts, shared.clone()));
        let peer = Arc::new(self);
        let service = {
            let peer = peer.clone();
            service_fn(move |request| peer.clone().serve(request))
        };
        let connection = peer.server.http.serve_connection(io, service);
        // Boxed, so that a connection that leaves hyper holds none of this.
        let mut connection = Box::pin(connection.with_upgrades());
        drop(peer);
        let mut is_closing = false;
        // A connection that breaks is the peer's affair; what was done for it has ended by itself.
        let run = loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                run = shared.detaching.ready() => break run,
                () = closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = abort.cancelled() => return,
                () = sleep(REQUEST_GRACE), if is_closing => if !shared.is_serving() {
                    return;
                },
            }
        };
        drop(connection);
        abort
            .run_until_cancelled(run(Link::new(wire, shared)))
            .await;
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<GuardedBody<Guard>>, Infallible> {
        let mut guard = Guard::new(self.shared.clone());
        let path = request.uri().path().to_owned();
        let response = match self.counted(&request, &mut guard) {
            Ok(client) => self.answer(request, client, &path).await,
            Err(refusal) => closed((self.server.refuse)(&path, refusal.error())),
        };
        let is_detached = self.shared.detaching.begin(&response);
        if is_detached || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            guard.upgrade();
        }
        Ok(response.map(|body| GuardedBody::new(body, guard)))
    }

    /// Whom the request is counted by.
    fn counted(
        &self,
        request: &Request<Incoming>,
        guard: &mut Guard,
    ) -> Result<Option<IpAddr>, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if self.address.is_some() {
            return Ok(self.address);
        }
        let limits = &self.server.limits;
        let client = limits.forwarded(request.headers());
        guard.slot = client.map(|client| limits.address(client)).transpose()?;
        Ok(client)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: Option<IpAddr>,
        path: &str,
    ) -> Response {
        let may_detach = MayDetach::of(&request);
        let (mut parts, body) = request.into_parts();
        if let Some(may_detach) = may_detach {
            parts.extensions.insert(may_detach);
        }
        if let Some(client) = client {
            parts.extensions.insert(ClientAddress(client));
        }
        let mut missed = None;
        let body = match body.is_end_stream() {
            true => Body::empty(),
            false => {
                let (body, late) =
                    DeadlineBody::new(body, Instant::now() + self.server.timeouts.body);
                missed = Some(late);
                Body::new(body)
            }
        };
        let mut router = self.server.router.clone();
        let Ok(response) = router.call(Request::from_parts(parts, body)).await;
        if missed.is_some_and(|late| late.is_set()) {
            self.server.limits.count_slow_body();
            return closed((self.server.refuse)(path, Error::SlowBody));
        }
        response
    }
}

/// The last response of its connection.
fn closed(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// GuardedBody from the end of a request's head to the end of its response.
struct Guard {
    shared: Arc<Shared>,
    /// Of an address that a proxy speaks for.
    slot: Option<Slot<IpAddr>>,
    is_upgraded: bool,
}

impl Guard {
    fn new(shared: Arc<Shared>) -> Self {
        shared.transition();
        Self {
            shared,
            slot: None,
            is_upgraded: false,
        }
    }

    /// There is no end but the connection's.
    fn upgrade(&mut self) {
        self.is_upgraded = true;
        if let Some(slot) = self.slot.take() {
            self.shared.keep(slot);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_upgraded {
            self.shared.transition();
        }
    }
}
