//! HTTP server: accepts connections within limits and timeouts, and shuts them down.
//!
//! `axum::serve` has no connection limits and no timeouts. Here a connection counts against a total and a per-address
//! limit ([`Limits`]), a request head must arrive within 10 seconds and its body within 30, and a stalled write ends
//! the connection. Otherwise it runs hyper like axum does: HTTP/1.1 with keep-alive and upgrades. This module does not
//! know the routes: the router and the rendering of refusals are parameters.

mod admission;
mod body;
mod client;
mod connection;
mod detached;
mod limits;
mod listener;
mod proxy_protocol;
mod shared;
mod slots;
mod socket;
mod stream;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::Response,
};
use graphql_transport::direct::Link;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use self::{
    admission::{Admitted, Client},
    body::{DeadlineBody, GuardedBody},
    connection::Connection,
    detached::direct_writes,
    limits::Refusal,
    shared::Shared,
    socket::Socket,
    stream::Stream,
};
pub use self::{
    body::BodyDeadline,
    client::{ClientSource, parse_networks},
    connection::Timeouts,
    detached::held,
    limits::{Counts, Limits, Settings},
    listener::{ListenAddress, Listener},
    slots::{Slot, Slots},
};
use crate::error::Error;

/// hyper's buffer per direction and connection, in bytes: room for the longest URL (64 KiB) and headers.
const BUFFER_BYTES: usize = 128 * 1024;

/// Size of the kernel's send buffer, in bytes. Linux doubles it for bookkeeping; autotuning could grow it to 4 MiB.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// The most unsent bytes in the kernel (`TCP_NOTSENT_LOWAT`). Limits how stale the events of a slow reader can get.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 * 1024;

/// Pause after `accept` fails because file descriptors or memory ran out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(500);

/// How long a client may take to finish sending a request once a shutdown has begun.
const REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Request extension: the client's address key, an IPv4 address or the first address of an IPv6 /64. Absent if no
/// per-address limit applies: for requests from this machine, and a proxy's own.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// Renders an error outside the router, given the request's path, its `Origin` and the error.
pub type ErrorResponder = Box<dyn Fn(&str, Option<&HeaderValue>, Error) -> Response + Send + Sync>;

/// Serves a router on a listener.
pub struct Server {
    router: Router,
    refuse: ErrorResponder,
    limits: Limits,
    timeouts: Timeouts,
    http: http1::Builder,
}

/// The connection state that its requests need.
struct Peer {
    server: Arc<Server>,
    /// The peer's address key; `None` for a trusted proxy.
    address: Option<IpAddr>,
    refusal: Option<Refusal>,
    shared: Arc<Shared>,
}

impl Server {
    /// Creates a server for a router. `refuse` renders errors.
    pub fn new(router: Router, limits: Limits, refuse: ErrorResponder) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(BUFFER_BYTES)
            // `Connection` times a head and the idle time before it separately.
            .header_read_timeout(None);
        Self {
            router,
            refuse,
            limits,
            timeouts: Timeouts::default(),
            http,
        }
    }

    /// Replaces the timeouts, for tests.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Accepts connections until `closing`, then shuts each one down gracefully and waits for the last, including
    /// WebSockets. Dropping the future aborts them.
    pub async fn serve(self, listener: impl Into<Listener>, closing: CancellationToken) {
        let listener = listener.into();
        if let Err(error) = limit_send_buffers(&listener) {
            tracing::warn!(%error, "cannot limit send buffers; slow readers may receive stale events");
        }
        let server = Arc::new(self);
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        let _abort = abort.clone().drop_guard();
        while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    // Peers on a Unix domain socket run on this machine.
                    let peer = peer.map_or(Ipv4Addr::LOCALHOST.into(), |peer| peer.ip());
                    let Some(admitted) = server.admit(&stream, peer, &connections) else {
                        continue;
                    };
                    let (closing, abort) = (closing.clone(), abort.clone());
                    if admitted.client == Client::Unnamed {
                        let server = server.clone();
                        connections.spawn(async move {
                            let naming = server.name_client(&stream, admitted);
                            if let Some(Ok(admitted)) = closing.run_until_cancelled(naming).await {
                                Peer::new(&server, admitted)
                                    .run(stream, closing, abort)
                                    .await;
                            }
                        });
                    } else {
                        connections.spawn(Peer::new(&server, admitted).run(stream, closing, abort));
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
}

/// Limits the kernel's send buffers. Accepted connections inherit these options.
fn limit_send_buffers(listener: &Listener) -> io::Result<()> {
    let socket = match listener {
        Listener::Tcp(listener) => socket2::SockRef::from(listener),
        #[cfg(unix)]
        Listener::Unix(listener) => {
            return socket2::SockRef::from(listener).set_send_buffer_size(SEND_BUFFER_BYTES);
        }
    };
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

/// Whether `accept` failed because of the peer rather than the listener.
fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Peer {
    fn new(server: &Arc<Server>, admitted: Admitted) -> Self {
        Self {
            server: server.clone(),
            address: admitted.client.address(),
            refusal: admitted.refusal,
            shared: Shared::new(admitted.place),
        }
    }

    async fn run(self, stream: Stream, closing: CancellationToken, abort: CancellationToken) {
        let timeouts = match self.refusal {
            None => self.server.timeouts,
            Some(_) => Timeouts::REFUSAL,
        };
        let shared = self.shared.clone();
        let link = Link::new(Socket::new(stream, shared.clone()));
        let io = TokioIo::new(Connection::new(link.clone(), timeouts));
        let peer = Arc::new(self);
        let service = {
            let peer = peer.clone();
            service_fn(move |request| peer.clone().serve(request))
        };
        let connection = peer.server.http.serve_connection(io, service);
        // Boxed, so that detaching a connection frees hyper's state.
        let mut connection = Box::pin(connection.with_upgrades());
        drop(peer);
        let mut is_closing = false;
        // A broken connection needs no handling, because its requests are dropped with it.
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
        abort.run_until_cancelled(run(link.erased())).await;
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<GuardedBody<Guard>>, Infallible> {
        let mut guard = Guard::new(self.shared.clone());
        let response = match self.admit_request(&request, &mut guard) {
            Ok(client) => self.answer(request, client).await,
            Err(refusal) => {
                let origin = request.headers().get(header::ORIGIN);
                closed((self.server.refuse)(
                    request.uri().path(),
                    origin,
                    refusal.error(),
                ))
            }
        };
        let is_detached = self.shared.detaching.begin(&response);
        if is_detached || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            guard.upgrade();
        }
        Ok(response.map(|body| GuardedBody::new(body, guard)))
    }

    /// Checks the limits and returns the client's address key.
    fn admit_request(
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

    async fn answer(&self, request: Request<Incoming>, client: Option<IpAddr>) -> Response {
        let path = request.uri().path().to_owned();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let direct_writes = direct_writes(&request);
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(direct_writes);
        if let Some(client) = client {
            parts.extensions.insert(ClientAddress(client));
        }
        let mut missed = None;
        let body = match body.is_end_stream() {
            true => Body::empty(),
            false => {
                let lifted = BodyDeadline::default();
                parts.extensions.insert(lifted.clone());
                let until = Instant::now() + self.server.timeouts.body;
                let (body, late) = DeadlineBody::new(body, until, lifted);
                missed = Some(late);
                Body::new(body)
            }
        };
        let mut router = self.server.router.clone();
        let Ok(response) = router.call(Request::from_parts(parts, body)).await;
        if missed.is_some_and(|late| late.is_set()) {
            self.server.limits.count_slow_body();
            return closed((self.server.refuse)(
                &path,
                origin.as_ref(),
                Error::SlowBody,
            ));
        }
        response
    }
}

/// Marks the response as the last one on its connection.
fn closed(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Lives from the end of a request's head to the end of its response.
struct Guard {
    shared: Arc<Shared>,
    /// The slot of a client behind a trusted proxy.
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

    /// Keeps the slot until the connection closes.
    fn upgrade(&mut self) {
        self.is_upgraded = true;
        if let Some(slot) = self.slot.take() {
            self.shared.hold_slot(slot);
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
