//! GraphQL over HTTP, WebSocket, server-sent events and Apollo's multipart subscriptions.
//!
//! Knows no conversation: what is served is a [`Service`]. One gate stands before the parser
//! ([`gate`]), one model of an operation behind it (`operation`), subscriptions that ask the same
//! share one execution ([`cohort`]), and the rest are encoders: `http`, `sse`, `multipart`,
//! `websocket`.
//!
//! ```text
//! http ──┬─▶ persisted ▶ gate ▶ operation ▶ Service
//! ws ────┘                          ├─ Single ▶ http
//!                                   └─ Stream ▶ cohort ▶ sse · multipart · websocket
//! ```

mod accept;
mod apart;
pub mod cohort;
mod direct;
mod expiry;
pub mod gate;
mod http;
mod multipart;
mod one_line;
mod operation;
mod payload;
pub mod persisted;
mod request;
mod sse;
mod websocket;

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use async_graphql::{Request, Response, ServerError};
use axum::http::request::Parts;
use futures_util::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    expiry::{EXPIRED_CHALLENGE, sleep_until_opt},
    http::{by_get, by_post, other_method},
    one_line::one_line,
    payload::code_of,
    request::Code,
    sse::{chunked_stream, stream_head},
    websocket::CloseCode,
};

/// What is served.
pub trait Service: Clone + Send + Sync + 'static {
    /// Whose request it is.
    type Caller: Clone + Send + Sync + 'static;
    /// A stream or a WebSocket that the caller has open.
    type Open: Send + 'static;

    /// Who sends an HTTP request, or opens a WebSocket.
    ///
    /// # Errors
    /// When nobody may without credentials, or not with these.
    fn caller(
        &self,
        parts: &Parts,
    ) -> impl Future<Output = Result<Self::Caller, ServerError>> + Send;

    /// Who the payload of a `connection_init` says that it is; `None` when it says nothing, and the
    /// opening of the WebSocket decides.
    fn introduced(
        &self,
        payload: &serde_json::Value,
    ) -> impl Future<Output = Option<Result<Self::Caller, ServerError>>> + Send;

    /// One more stream or WebSocket of the caller, until it is dropped.
    ///
    /// # Errors
    /// When it has too many.
    fn open(&self, caller: &Self::Caller) -> Result<Self::Open, ServerError>;

    /// When whatever the caller has open ends; `None` for never.
    fn until(&self, caller: &Self::Caller) -> Option<Instant>;

    /// Executes a query or a mutation. Does not panic, whatever a resolver does.
    ///
    /// # Errors
    /// When the execution broke.
    fn execute(
        &self,
        caller: &Self::Caller,
        request: Request,
    ) -> impl Future<Output = Result<Response, ServerError>> + Send;

    /// Starts a subscription. Nor does its stream.
    fn subscribe(&self, caller: &Self::Caller, request: Request) -> BoxStream<'static, Response>;

    /// Counts errors that a client is given in an answer, in an event, or over a WebSocket. Errors that refuse an
    /// HTTP request as a whole are in the response's extensions instead, as an [`ErrorCode`](crate::error::ErrorCode).
    fn failed(&self, errors: &[ServerError]);

    /// How the events of a subscription may be shared; `root` is its one root field.
    fn sharing(&self, caller: &Self::Caller, root: &RootField) -> Sharing;
}

/// The one field at the root of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootField {
    /// Its name, whatever its alias.
    pub name: String,
    /// Its arguments that were given a value other than null.
    pub arguments: BTreeSet<String>,
}

/// How the events of a subscription may be shared among those who ask the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not at all: each subscriber's events are its own.
    Alone,
    /// Each event tells the newest state. Who joins late gets the last one; who falls behind goes on
    /// with the newest.
    State {
        /// Within whom: callers with the same scope may see the same.
        scope: String,
    },
    /// Each event counts. Who falls behind gets an error.
    Events {
        /// Within whom: callers with the same scope may see the same.
        scope: String,
    },
}

/// How it is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the gate lets through.
    pub limits: gate::Limits,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
    /// The longest execution of a query or mutation.
    pub execution: Duration,
    /// The most errors of one response; the others are left out.
    pub errors: usize,
    /// How long a stream may be silent before it is kept alive; WebSockets are pinged as often, and every 12 s at
    /// least.
    pub keep_alive: Duration,
    /// How long a WebSocket may take to say `connection_init`.
    pub init: Duration,
    /// The largest message of a WebSocket, in bytes.
    pub message_bytes: usize,
    /// The most operations of one WebSocket at once.
    pub operations: usize,
    /// How long a WebSocket's peer may take to take what it is sent.
    pub stall: Duration,
    /// Whether subscriptions that ask the same share one execution; without it each runs alone, which
    /// is for measuring what sharing saves.
    pub cohorts: bool,
}

/// The longest execution of a query or mutation, unless the settings say otherwise.
pub const EXECUTION: Duration = Duration::from_secs(10);

/// How long a peer may take to take what it is sent, unless the settings say otherwise.
const STALL: Duration = Duration::from_secs(10);

/// The largest body, in bytes, unless the settings say otherwise.
const BODY_BYTES: usize = 64 * 1024;

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: gate::Limits {
                // A message is a variable, and may be as long as the body.
                variables_bytes: BODY_BYTES,
                ..gate::Limits::default()
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

/// A service with all that its transports share. Cheap to clone.
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

impl<S: Service> Endpoint<S> {
    /// Serves `service` until `closing`; cohorts run as tasks of `tasks`, and what they do is counted in
    /// `counters`.
    pub fn new(
        service: S,
        settings: Settings,
        documents: persisted::Documents,
        tasks: TaskTracker,
        closing: CancellationToken,
        counters: cohort::Counters,
    ) -> Self {
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
}
