//! The session of one WebSocket: handshake, operations, pings, close.

use std::{sync::Arc, time::Duration};

use async_graphql::ServerError;
use axum::body::Bytes;
use tokio::{
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tungstenite::Message;

use super::{
    Gone, Socket,
    operations::{OperationEvent, Operations},
    protocol::{Close, CloseCode, Frames, Protocol, Received},
};
use crate::{
    Code, Endpoint, Service,
    direct::{Backlog, Direct, Progress},
    expiry::sleep_until_opt,
    operation::Event,
    payload::Payload,
};

/// The longest ping interval; a shorter `keep_alive` takes precedence.
const MAX_PING_INTERVAL: Duration = Duration::from_secs(12);

/// How long pings may go unanswered before the peer counts as gone.
const PONG_TIMEOUT: Duration = Duration::from_secs(24);

/// Stop reading while more than this many bytes are buffered for the peer, so that responses do not pile up.
const BACKPRESSURE_BYTES: usize = 1024 * 1024;

/// Close the socket if more than this many bytes are buffered when an event is to be sent.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// The most messages sent in one write.
const BATCH: usize = 32;

pub(super) struct Session<'a, S: Service> {
    endpoint: Endpoint<S>,
    socket: &'a mut Socket,
    protocol: Protocol,
    /// The result of authenticating the handshake request.
    opener: Box<Result<S::Caller, ServerError>>,
    /// The authenticated caller, set at the acknowledgement.
    caller: Option<S::Caller>,
    /// Counts the socket as open, from the acknowledgement on.
    open: Option<S::Open>,
    operations: Operations,
    /// Pings since the last frame from the peer.
    missed: u32,
    max_missed: u32,
    backlog: Backlog,
}

impl<'a, S: Service> Session<'a, S> {
    pub(super) fn new(
        endpoint: Endpoint<S>,
        socket: &'a mut Socket,
        protocol: Protocol,
        opener: Box<Result<S::Caller, ServerError>>,
    ) -> Self {
        let backlog = Backlog::new(socket.link().clone(), endpoint.inner.settings.stall);
        Self {
            endpoint,
            socket,
            protocol,
            opener,
            caller: None,
            open: None,
            operations: Operations::new(),
            missed: 0,
            max_missed: 0,
            backlog,
        }
    }

    /// Serves the socket. Returns the close code, or `None` if the peer is gone.
    pub(super) async fn run(&mut self) -> Option<Close> {
        let closing = self.endpoint.inner.closing.clone();
        let init_deadline = Instant::now() + self.endpoint.inner.settings.init;
        let every = self
            .endpoint
            .inner
            .settings
            .keep_alive
            .min(MAX_PING_INTERVAL);
        let every = every.max(Duration::from_millis(100));
        self.max_missed =
            u32::try_from(PONG_TIMEOUT.as_millis().div_ceil(every.as_millis())).unwrap_or(u32::MAX);
        let mut pings = pings(every);
        loop {
            let caller = self.caller.as_ref();
            let until = caller.and_then(|caller| self.endpoint.inner.service.until(caller));
            let has_room = self.backlog.is_empty();
            let reads = has_room || self.socket.link().waiting() < BACKPRESSURE_BYTES;
            let step = tokio::select! {
                () = closing.cancelled() => closed(CloseCode::Restart),
                () = sleep_until_opt(until) => closed(CloseCode::Forbidden),
                () = sleep_until(init_deadline), if self.caller.is_none() => {
                    closed(CloseCode::InitTimeout)
                }
                progress = self.backlog.progress() => self.progressed(progress),
                _ = pings.tick() => self.ping(),
                message = self.socket.receive(), if reads => self.receive(message).await,
                entry = self.operations.next(has_room) => self.send_event(entry, has_room),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn progressed(&mut self, progress: Progress) -> Step {
        match progress {
            Progress::FellBehind => Ok(()),
            // A peer that reads is alive, even if its pongs are late.
            Progress::Moved => {
                self.missed = 0;
                Ok(())
            }
            Progress::CaughtUp => {
                self.missed = 0;
                self.operations.catch_up();
                Ok(())
            }
            // The peer may start reading again, so send a close code.
            Progress::Stalled => closed(CloseCode::TryAgain),
            Progress::Gone => Err(None),
        }
    }

    /// Sends a ping, or closes the socket after too many missed pongs.
    fn ping(&mut self) -> Step {
        if self.missed >= self.max_missed {
            return closed(CloseCode::TryAgain);
        }
        self.missed += 1;
        let ping = Message::Ping(Bytes::new());
        // Clients of the older protocol reconnect if no further `ka` follows the one sent with the acknowledgement.
        let ka = match self.caller.is_some() {
            true => self.protocol.keep_alive().map(Message::text),
            false => None,
        };
        self.send([ping].into_iter().chain(ka))
    }

    async fn receive(&mut self, message: Result<Message, Gone>) -> Step {
        let text = match message {
            Ok(Message::Text(text)) => text,
            Ok(Message::Ping(_) | Message::Pong(_)) => {
                self.missed = 0;
                return Ok(());
            }
            Ok(Message::Binary(_)) => {
                return Err(Some(Close::invalid("Invalid message: binary")));
            }
            // tungstenite has queued the close reply: flush it, or the peer reports an abnormal closure.
            // `Frame` never occurs when reading.
            Ok(Message::Close(_) | Message::Frame(_)) => return self.send([]).and(Err(None)),
            Err(Gone::TooBig) => return closed(CloseCode::TooBig),
            Err(Gone::Malformed) => return closed(CloseCode::Protocol),
            Err(Gone::NotUtf8) => return closed(CloseCode::NotUtf8),
            Err(Gone::Lost) => return Err(None),
        };
        self.missed = 0;
        match self.protocol.read(&text).map_err(Some)? {
            Received::Init(_) if self.caller.is_some() => closed(CloseCode::TooManyInits),
            // Boxed, so that it adds nothing to the size of the socket's task.
            Received::Init(payload) => Box::pin(self.initialise(payload)).await,
            Received::Ping(payload) => self.send([Message::text(Protocol::pong(payload))]),
            Received::Pong => Ok(()),
            Received::Terminate => closed(CloseCode::Normal),
            Received::Complete { id } => {
                match (self.operations.end(&id), self.protocol) {
                    // The older protocol answers a `stop`, and clients wait for it.
                    (true, Protocol::Legacy) => {
                        self.send([Message::text(self.protocol.complete(&id))])
                    }
                    _ => Ok(()),
                }
            }
            Received::Subscribe { id, payload } => match self.caller.clone() {
                None => closed(CloseCode::Unauthorized),
                Some(caller) => {
                    self.subscribe(caller, id, payload)?;
                    // Starting an operation can take long.
                    yield_now().await;
                    Ok(())
                }
            },
        }
    }

    /// Authenticates the client. Credentials in the payload take precedence over those of the handshake.
    async fn initialise(&mut self, payload: Option<serde_json::Value>) -> Step {
        let introduced = match payload {
            Some(payload) => {
                let inner = &self.endpoint.inner;
                // Nothing else happens on this socket in the meantime: no pings, no shutdown.
                let introduced = inner.service.introduced(&payload);
                match timeout(inner.settings.init, introduced).await {
                    Ok(introduced) => introduced,
                    Err(_) => return closed(CloseCode::InitTimeout),
                }
            }
            None => None,
        };
        let opened = introduced
            .unwrap_or_else(|| (*self.opener).clone())
            .and_then(|caller| Ok((self.endpoint.inner.service.open(&caller)?, caller)));
        match opened {
            Ok((open, caller)) => {
                self.open = Some(open);
                self.caller = Some(caller);
                let ack = self.protocol.ack().into_iter().map(Message::text);
                self.send(ack)
            }
            Err(error) => {
                let service = &self.endpoint.inner.service;
                service.failed(std::slice::from_ref(&error));
                let rejection = self.protocol.rejection(&error.message);
                self.send(rejection.map(Message::text))?;
                closed(if Code::Unauthenticated.is_of(&error) {
                    CloseCode::Unauthorized
                } else if Code::RateLimited.is_of(&error) {
                    CloseCode::TryAgain
                } else {
                    CloseCode::Forbidden
                })
            }
        }
    }

    fn subscribe(&mut self, caller: S::Caller, id: String, payload: serde_json::Value) -> Step {
        if self.operations.contains(&id) {
            match self.protocol {
                Protocol::Transport => return Err(Some(Close::duplicate(&id))),
                // The older protocol replaces the running operation.
                Protocol::Legacy => drop(self.operations.end(&id)),
            }
        }
        if self.operations.count() >= self.endpoint.inner.settings.operations {
            let error = Code::QueryTooComplex.error("too many operations on one WebSocket");
            let failed = std::slice::from_ref(&error);
            self.endpoint.inner.service.failed(failed);
            let refusal = Event::Refused(Payload::refusal(vec![error]));
            let message = self.message(&id, &refusal);
            return self.send([message]);
        }
        let frames = Frames::new(self.protocol, &id);
        let subscriber = Arc::new(Direct::new(self.socket.link().clone(), frames));
        self.operations
            .begin(&self.endpoint, caller, &id, payload, subscriber);
        Ok(())
    }

    /// Sends an event of an operation together with other ready ones.
    fn send_event(&mut self, entry: OperationEvent, has_room: bool) -> Step {
        if self.socket.link().waiting() > MAX_PENDING_BYTES {
            return closed(CloseCode::TryAgain);
        }
        let mut messages = Vec::new();
        let mut next = Some(entry);
        while let Some(entry) = next {
            messages.push(self.message(&entry.id, &entry.event));
            if !matches!(entry.event, Event::Next(_)) {
                // The last event: the id may be reused.
                self.operations.end(&entry.id);
            }
            next = match messages.len() < BATCH {
                true => self.operations.ready(has_room),
                false => None,
            };
        }
        self.send(messages)
    }

    fn message(&self, id: &str, event: &Event) -> Message {
        Message::text(match event {
            Event::Next(payload) => self.protocol.next(id, payload),
            Event::Refused(payload) => {
                let errors = payload.refused.as_ref().unwrap_or(&payload.json);
                self.protocol.error(id, errors)
            }
            Event::Completed => self.protocol.complete(id),
        })
    }

    /// Writes messages at once; the link buffers bytes that the socket does not accept.
    fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Step {
        self.socket.send(messages).map_err(|_| None)
    }
}

/// Continue, or close with a code; `Err(None)` if the peer is gone.
type Step = Result<(), Option<Close>>;

fn closed(code: CloseCode) -> Step {
    Err(Some(code.into()))
}

fn pings(every: Duration) -> Interval {
    let mut pings = interval(every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Skip the immediate first tick.
    pings.reset();
    pings
}
