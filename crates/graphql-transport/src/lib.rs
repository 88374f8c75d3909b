#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! ```text
//! http ──┬─▶ persisted ▶ gate ▶ operation ▶ Service
//! ws ────┘                          ├─ Single ▶ http
//!                                   └─ Stream ▶ cohort ▶ sse · multipart · websocket
//! ```
//!
//! Requests pass the gate (`graphql-gate`) and become an `operation`. Identical subscriptions share one execution
//! ([`cohort`]). The other modules are encoders: `http`, `sse`, `multipart`, `websocket`.

mod accept;
mod body;
pub mod cohort;
pub mod direct;
mod expiry;
mod http;
mod multipart;
mod one_line;
mod operation;
mod payload;
pub mod persisted;
mod request;
mod schema;
mod spawned;
mod sse;
mod websocket;

use std::{future::Future, sync::Arc, time::Duration};

use async_graphql::{Request, Response, ServerError};
use axum::{
    http::request::Parts,
    routing::{MethodRouter, any},
};
use futures_util::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use graphql_gate::RootField;

pub use self::{
    body::{BodyError, read_body},
    expiry::{EXPIRED_CHALLENGE, sleep_until_opt},
    http::RefusalCode,
    one_line::one_line,
    payload::code_of,
    request::Code,
    schema::Unauthenticated,
    sse::{chunked_stream, stream_head},
    websocket::CloseCode,
};

/// The GraphQL service behind the transports.
pub trait Service: Clone + Send + Sync + 'static {
    /// An authenticated caller.
    type Caller: Clone + Send + Sync + 'static;
    /// A guard for one open stream or WebSocket of a caller.
    type Open: Send + 'static;

    /// Requests pass the gate (`graphql-gate`) and become an `operation`. Identical subscriptions share one execution
    /// ([`cohort`]). The remaining modules, `http`, `sse`, `multipart` and `websocket`, are encoders.
    /// # Errors
    /// If required credentials are absent, or if they are invalid. The code, such as [`Code::Unauthenticated`], selects
    /// the status. For a handshake an error is not final: the socket opens, and [`introduced`](Self::introduced)
    /// decides, because browsers cannot set headers of a handshake.
    fn caller(
        &self,
        parts: &Parts,
    ) -> impl Future<Output = Result<Self::Caller, ServerError>> + Send;

    /// Authenticates the payload of a `connection_init`. `None` if it holds no credentials; the handshake's result from
    /// [`caller`](Self::caller) then applies. Not called without a payload. [`Settings::init`] is the timeout.
    fn introduced(
        &self,
        payload: &serde_json::Value,
    ) -> impl Future<Output = Option<Result<Self::Caller, ServerError>>> + Send;

    /// Counts an open stream or WebSocket of the caller until the guard is dropped: a WebSocket from its
    /// acknowledgement on, or one SSE or multipart subscription. Operations on a WebSocket are not counted;
    /// [`Settings::operations`] limits them.
    ///
    /// # Errors
    /// [`Code::RateLimited`] if the caller is at its limit.
    fn open(&self, caller: &Self::Caller) -> Result<Self::Open, ServerError>;

    /// When the caller's token expires and its streams end, on tokio's clock; `None` for never.
    ///
    /// To convert a wall-clock time, add the remaining time to `Instant::now()`.
    fn until(&self, caller: &Self::Caller) -> Option<Instant>;

    /// Executes a query or a mutation. `request.data(caller.clone())` passes the caller to resolvers. A panic becomes a
    /// [`Code::Internal`] error.
    ///
    /// # Errors
    /// If the execution failed as a whole.
    fn execute(
        &self,
        caller: &Self::Caller,
        request: Request,
    ) -> impl Future<Output = Result<Response, ServerError>> + Send;

    /// Starts a subscription, for one caller or, with [`sharing`](Self::sharing), for a whole scope; `caller` is then
    /// the first subscriber. A panic here or in the stream ends the subscription with [`Code::Internal`].
    ///
    /// The subscription ends when its last subscriber leaves. [`Settings::execution`] does not apply to it.
    fn subscribe(&self, caller: &Self::Caller, request: Request) -> BoxStream<'static, Response>;

    /// Counts errors sent in a response, in an event or over a WebSocket; `errors` is never empty. A shared event
    /// counts once. Errors that refuse an HTTP request are left to the server, which finds a [`RefusalCode`] in the
    /// response's extensions.
    fn failed(&self, errors: &[ServerError]);

    /// How a subscription's events may be shared; `root` is its only root field. Called for each subscriber.
    fn sharing(&self, caller: &Self::Caller, root: &RootField) -> Sharing;
}

/// How a subscription's events may be shared among identical subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not shared: each subscriber has its own execution.
    Alone,
    /// Each event holds the full state. A late subscriber gets the last event; a lagging subscriber skips to the
    /// newest.
    State {
        /// The sharing scope: callers with the same scope see the same events. It must include everything that events
        /// depend on, such as the user, or the tenant and the role.
        scope: String,
    },
    /// Each event matters. A lagging subscriber gets an error.
    Events {
        /// The sharing scope: callers with the same scope see the same events.
        scope: String,
    },
}

/// Limits and timeouts of the transports.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits on documents and variables. The gate's defaults, except that `variables_bytes` is as large as a body.
    pub limits: graphql_gate::Limits,
    /// The largest request body, in bytes. 64 KiB.
    pub body_bytes: usize,
    /// Timeout of a query or mutation. 10 s.
    pub execution: Duration,
    /// The most errors in one response; the rest are dropped. 50.
    pub errors: usize,
    /// Interval of keep-alives on an idle stream. Also the interval of WebSocket pings, which are sent at least every
    /// 12 s. 12 s.
    pub keep_alive: Duration,
    /// Timeout for a WebSocket client to send `connection_init`, and for the service to check its credentials. 3 s.
    pub init: Duration,
    /// The largest WebSocket message, in bytes. 64 KiB.
    pub message_bytes: usize,
    /// The most concurrent operations of one WebSocket. 100.
    pub operations: usize,
    /// How long the peer of a WebSocket or of a direct write may go without accepting a byte. 10 s.
    pub stall: Duration,
    /// Whether identical subscriptions share one execution. Turned off only to measure what sharing saves.
    pub cohorts: bool,
}

/// Default timeout of a query or mutation.
pub const EXECUTION: Duration = Duration::from_secs(10);

/// Default time that a peer may go without accepting a byte.
const STALL: Duration = Duration::from_secs(10);

/// Default size limit of a body, in bytes.
const BODY_BYTES: usize = 64 * 1024;

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: graphql_gate::Limits {
                // A chat message is a variable, and may be as long as the body.
                variables_bytes: BODY_BYTES,
                ..graphql_gate::Limits::default()
            },
            body_bytes: BODY_BYTES,
            execution: EXECUTION,
            errors: 50,
            keep_alive: Duration::from_secs(12),
            init: Duration::from_secs(3),
            message_bytes: 64 * 1024,
            operations: 100,
            stall: STALL,
            cohorts: true,
        }
    }
}

/// The shortest keep-alive interval.
const MIN_KEEP_ALIVE: Duration = Duration::from_millis(10);

/// The cap on every duration: the clock cannot represent `Duration::MAX` from now, but it can represent a year from
/// now.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Settings {
    /// Clamps durations to what timers accept. Callers pass zero and `Duration::MAX` to mean "none".
    fn bounded(mut self) -> Self {
        self.keep_alive = self.keep_alive.clamp(MIN_KEEP_ALIVE, MAX_DURATION);
        self.init = self.init.min(MAX_DURATION);
        self.stall = self.stall.min(MAX_DURATION);
        self
    }
}

/// A service and the state that its transports share. Cheap to clone.
pub struct Endpoint<S: Service> {
    inner: Arc<Inner<S>>,
}

impl<S: Service> Clone for Endpoint<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

struct Inner<S> {
    service: S,
    settings: Settings,
    documents: persisted::Documents,
    cohorts: cohort::Cohorts,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What an endpoint can share with the surrounding program.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Limits and timeouts.
    pub settings: Settings,
    /// Which documents may be executed.
    pub documents: persisted::Documents,
    /// Runs the tasks of WebSockets and cohorts. At shutdown call `tasks.close()`, then await it.
    pub tasks: TaskTracker,
    /// Cancelling it ends all streams and WebSockets, so that clients reconnect. New ones end at once.
    pub closing: CancellationToken,
    /// Counts WebSockets, subscriptions and deliveries.
    pub counters: cohort::Counters,
}

impl<S: Service> Endpoint<S> {
    /// Creates an endpoint for `service`.
    pub fn new(service: S, options: Options) -> Self {
        let Options {
            settings,
            documents,
            tasks,
            closing,
            counters,
        } = options;
        let inner = Inner {
            service,
            settings: settings.bounded(),
            documents,
            cohorts: cohort::Cohorts::new(tasks.clone(), counters),
            tasks,
            closing,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The endpoint's handlers for all methods of its route.
    pub fn methods<T: Clone + Send + Sync + 'static>(self) -> MethodRouter<T> {
        // Unlike `get`, `any` does not add its own `Allow` header, which would list HEAD.
        any(http::other_method)
            .get(http::by_get)
            .post(http::by_post)
            .with_state(self)
    }
}
