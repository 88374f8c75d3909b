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

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use async_graphql::{Request, Response, ServerError};
use axum::{
    http::request::Parts,
    routing::{MethodRouter, get},
};
use futures_util::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

    /// Authenticates an HTTP request or a WebSocket handshake.
    ///
    /// # Errors
    /// When credentials are required and absent, or invalid.
    fn caller(
        &self,
        parts: &Parts,
    ) -> impl Future<Output = Result<Self::Caller, ServerError>> + Send;

    /// Authenticates the payload of a `connection_init`; `None` when it has no credentials, so that those of
    /// the handshake apply.
    fn introduced(
        &self,
        payload: &serde_json::Value,
    ) -> impl Future<Output = Option<Result<Self::Caller, ServerError>>> + Send;

    /// Counts one more open stream or WebSocket of the caller until the guard is dropped.
    ///
    /// # Errors
    /// When the caller is at its limit.
    fn open(&self, caller: &Self::Caller) -> Result<Self::Open, ServerError>;

    /// When the caller's token expires and its streams end; `None` for never.
    fn until(&self, caller: &Self::Caller) -> Option<Instant>;

    /// Executes a query or a mutation. Does not panic, even if a resolver does.
    ///
    /// # Errors
    /// When the execution failed as a whole.
    fn execute(
        &self,
        caller: &Self::Caller,
        request: Request,
    ) -> impl Future<Output = Result<Response, ServerError>> + Send;

    /// Starts a subscription. Neither it nor its stream panics.
    fn subscribe(&self, caller: &Self::Caller, request: Request) -> BoxStream<'static, Response>;

    /// Counts errors sent in a response, in an event or over a WebSocket. Errors that refuse an HTTP request are
    /// left to the server, which finds a [`RefusalCode`] in the response's extensions.
    fn failed(&self, errors: &[ServerError]);

    /// How a subscription's events may be shared; `root` is its only root field.
    fn sharing(&self, caller: &Self::Caller, root: &RootField) -> Sharing;
}

/// The only root field of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootField {
    /// The field's name, not its alias.
    pub name: String,
    /// The names of arguments with a value other than null.
    pub arguments: BTreeSet<String>,
}

/// How a subscription's events may be shared among identical subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not shared: each subscriber has its own execution.
    Alone,
    /// Each event holds the full state. A late subscriber gets the last event; a lagging subscriber skips to
    /// the newest.
    State {
        /// The sharing scope: callers with the same scope may see the same events.
        scope: String,
    },
    /// Each event matters. A lagging subscriber gets an error.
    Events {
        /// The sharing scope: callers with the same scope may see the same events.
        scope: String,
    },
}

/// Limits and timeouts of the transports.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits on documents and variables.
    pub limits: graphql_gate::Limits,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Timeout of a query or mutation.
    pub execution: Duration,
    /// The most errors in one response; further ones are dropped.
    pub errors: usize,
    /// Interval of keep-alives on an idle stream. WebSockets are pinged at this interval, at least every 12 s.
    pub keep_alive: Duration,
    /// How long a WebSocket client may take to send `connection_init`.
    pub init: Duration,
    /// The largest WebSocket message, in bytes.
    pub message_bytes: usize,
    /// The most concurrent operations of one WebSocket.
    pub operations: usize,
    /// How long a peer may accept no bytes of a pending write.
    pub stall: Duration,
    /// Whether identical subscriptions share one execution. Turned off only to measure what sharing saves.
    pub cohorts: bool,
}

/// Default timeout of a query or mutation.
pub const EXECUTION: Duration = Duration::from_secs(10);

/// Default time that a peer may accept no bytes.
const STALL: Duration = Duration::from_secs(10);

/// Default size limit of a body, in bytes.
const BODY_BYTES: usize = 64 * 1024;

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: graphql_gate::Limits {
                // A message is a variable, and may be as long as the body.
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

/// A service with the state that its transports share. Cheap to clone.
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

/// What an endpoint may share with the program around it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Limits and timeouts.
    pub settings: Settings,
    /// The documents that may be executed.
    pub documents: persisted::Documents,
    /// Tasks of WebSockets and cohorts run here, to be awaited at shutdown.
    pub tasks: TaskTracker,
    /// Ends all streams and WebSockets, so that clients reconnect.
    pub closing: CancellationToken,
    /// Counts WebSockets, subscriptions and deliveries.
    pub counters: cohort::Counters,
}

impl<S: Service> Endpoint<S> {
    /// Serves `service`.
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
            settings,
            documents,
            cohorts: cohort::Cohorts::new(tasks.clone(), counters),
            tasks,
            closing,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The handlers of the endpoint's route, of all methods.
    pub fn methods<T: Clone + Send + Sync + 'static>(self) -> MethodRouter<T> {
        get(http::by_get)
            .post(http::by_post)
            .fallback(http::other_method)
            .with_state(self)
    }
}
