//! One WebSocket: its operations, its pulse, its end.

use std::time::Duration;

use async_graphql::ServerError;
use async_stream::stream;
use axum::extract::ws::{Message, WebSocket};
use futures_util::{FutureExt, SinkExt, StreamExt, stream::BoxStream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_stream::StreamMap;

use super::protocol::{Close, Protocol, Received};
use crate::transport::{
    Code, Endpoint, Service,
    expiry::reached,
    operation::{Answer, Carries},
    payload::Payload,
    request::RawRequest,
};

/// How often the peer is pinged, and how many answers it may owe.
const PULSE: Duration = Duration::from_secs(12);
const MOST_MISSED: u32 = 2;

/// The most messages that are collected before they are sent together.
const BATCH: usize = 32;

pub(super) struct Session<S: Service> {
    endpoint: Endpoint<S>,
    socket: WebSocket,
    protocol: Protocol,
    /// Who opened it, as far as the opening said so.
    opener: Result<S::Caller, ServerError>,
    /// Who it is, from the acknowledgement on.
    caller: Option<S::Caller>,
    /// What it counts as, likewise.
    open: Option<S::Open>,
    operations: StreamMap<String, BoxStream<'static, Event>>,
    missed: u32,
}

/// What happens to an operation.
enum Event {
    Next(Payload),
    /// The last: it was not executed, or cannot go on.
    Refused(Payload),
    /// The last: it is over.
    Completed,
}

impl<S: Service> Session<S> {
    pub(super) fn new(
        endpoint: Endpoint<S>,
        socket: WebSocket,
        protocol: Protocol,
        opener: Result<S::Caller, ServerError>,
    ) -> Self {
        Self {
            endpoint,
            socket,
            protocol,
            opener,
            caller: None,
            open: None,
            operations: StreamMap::new(),
            missed: 0,
        }
    }

    /// Serves the socket; gives it back with the reason to close it with, if the peer is still there.
    pub(super) async fn run(mut self) -> (WebSocket, Option<Close>) {
        let closing = self.endpoint.inner.closing.clone();
        let patience = Instant::now() + self.endpoint.inner.settings.init;
        let mut pulse = pulse();
        let end = loop {
            let caller = self.caller.as_ref();
            let until = caller.and_then(|caller| self.endpoint.inner.service.until(caller));
            let step = tokio::select! {
                () = closing.cancelled() => Err(Some(Close::RESTART)),
                () = reached(until) => Err(Some(Close::FORBIDDEN)),
                () = sleep_until(patience), if self.caller.is_none() => {
                    Err(Some(Close::INIT_TIMEOUT))
                }
                _ = pulse.tick() => self.beat().await,
                message = self.socket.recv() => self.receive(message).await,
                Some((id, event)) = self.operations.next(), if !self.operations.is_empty() => {
                    self.tell(id, event).await
                }
            };
            if let Err(end) = step {
                break end;
            }
        };
        (self.socket, end)
    }

    /// Pings, and gives up on a peer that owes too many answers.
    async fn beat(&mut self) -> Step {
        if self.missed >= MOST_MISSED {
            return Err(None);
        }
        self.missed += 1;
        let ping = Message::Ping(axum::body::Bytes::new());
        // Clients of the older protocol reconnect when a first `ka` is not followed by others.
        let ka = self.protocol.keep_alive().map(Message::text);
        self.send([ping].into_iter().chain(ka)).await
    }

    async fn receive(&mut self, message: Option<Result<Message, axum::Error>>) -> Step {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                self.missed = 0;
                return Ok(());
            }
            Some(Ok(Message::Binary(_))) => {
                return Err(Some(Close::invalid("Invalid message: binary")));
            }
            Some(Ok(Message::Close(_))) => {
                // The answer is queued by now; unsent, the peer would call it an abnormal closure.
                return self.send([]).await.and(Err(None));
            }
            None => return Err(None),
            Some(Err(error)) => return Err(is_too_big(&error).then_some(Close::TOO_BIG)),
        };
        self.missed = 0;
        match self.protocol.read(&text).map_err(Some)? {
            Received::Init(_) if self.caller.is_some() => Err(Some(Close::TOO_MANY_INITS)),
            // Apart, so that its size is not the socket's for as long as that is open.
            Received::Init(payload) => Box::pin(self.initialise(payload)).await,
            Received::Ping(payload) => self.send([Message::text(Protocol::pong(payload))]).await,
            Received::Pong => Ok(()),
            Received::Terminate => Err(Some(Close::NORMAL)),
            Received::Complete { id } => {
                match (self.operations.remove(&id), self.protocol) {
                    // The older protocol answers a `stop`, and clients wait for it.
                    (Some(_), Protocol::Legacy) => {
                        self.send([Message::text(self.protocol.complete(&id))])
                            .await
                    }
                    _ => Ok(()),
                }
            }
            Received::Subscribe { id, payload } => match self.caller.clone() {
                None => Err(Some(Close::UNAUTHORIZED)),
                Some(caller) => self.subscribe(caller, id, payload),
            },
        }
    }

    /// Lets the client in, or not. What it says now goes before what its opening said.
    async fn initialise(&mut self, payload: Option<serde_json::Value>) -> Step {
        let introduced = match payload {
            Some(payload) => self.endpoint.inner.service.introduced(&payload).await,
            None => None,
        };
        let opened = introduced
            .unwrap_or_else(|| self.opener.clone())
            .and_then(|caller| Ok((self.endpoint.inner.service.open(&caller)?, caller)));
        match opened {
            Ok((open, caller)) => {
                self.open = Some(open);
                self.caller = Some(caller);
                let ack = self.protocol.ack().into_iter().map(Message::text);
                self.send(ack).await
            }
            Err(error) => {
                let rejection = self.protocol.rejection(&error.message);
                self.send(rejection.map(Message::text)).await?;
                Err(Some(if Code::Unauthenticated.is_of(&error) {
                    Close::UNAUTHORIZED
                } else if Code::RateLimited.is_of(&error) {
                    Close::TRY_AGAIN
                } else {
                    Close::FORBIDDEN
                }))
            }
        }
    }

    fn subscribe(&mut self, caller: S::Caller, id: String, payload: serde_json::Value) -> Step {
        if self.operations.contains_key(&id) {
            match self.protocol {
                Protocol::Transport => return Err(Some(Close::duplicate(&id))),
                // The older protocol replaces it.
                Protocol::Legacy => drop(self.operations.remove(&id)),
            }
        }
        let is_full = self.operations.len() >= self.endpoint.inner.settings.operations;
        let endpoint = self.endpoint.clone();
        let events = stream! {
            if is_full {
                let error = Code::QueryTooComplex.error("too many operations on one WebSocket");
                yield Event::Refused(Payload::refusal(vec![error]));
                return;
            }
            let answer = match RawRequest::from_json(payload) {
                // Apart, so that its size is not the operation's for as long as that is open.
                Ok(raw) => Box::pin(endpoint.run(&caller, raw, Carries::Everything)).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) => yield Event::Refused(Payload::refusal(vec![error])),
                Ok(Answer::Single(payload)) if payload.refused.is_some() => {
                    yield Event::Refused(payload);
                }
                Ok(Answer::Single(payload)) => {
                    yield Event::Next(payload);
                    yield Event::Completed;
                }
                Ok(Answer::Stream(mut payloads)) => {
                    while let Some(payload) = payloads.next().await {
                        if payload.refused.is_some() {
                            yield Event::Refused(payload);
                            return;
                        }
                        yield Event::Next(payload);
                    }
                    yield Event::Completed;
                }
            }
        };
        self.operations.insert(id, events.boxed());
        Ok(())
    }

    /// Sends an event, and with it whatever else is ready.
    async fn tell(&mut self, id: String, event: Event) -> Step {
        let mut messages = vec![self.message(id, event)];
        while messages.len() < BATCH
            && let Some(Some((id, event))) = self.operations.next().now_or_never()
        {
            messages.push(self.message(id, event));
        }
        self.send(messages).await
    }

    fn message(&mut self, id: String, event: Event) -> Message {
        let text = match &event {
            Event::Next(payload) => self.protocol.next(&id, payload),
            Event::Refused(payload) => {
                let errors = payload.refused.as_ref().unwrap_or(&payload.json);
                self.protocol.error(&id, errors)
            }
            Event::Completed => self.protocol.complete(&id),
        };
        if !matches!(event, Event::Next(_)) {
            // Nothing follows, and the id may be used again.
            self.operations.remove(&id);
        }
        Message::text(text)
    }

    /// Writes messages and flushes once; gives up on a peer that does not take them.
    async fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Step {
        let sending = async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        match timeout(self.endpoint.inner.settings.stall, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            // It may have begun to read just now.
            Err(_) => Err(Some(Close::TRY_AGAIN)),
        }
    }
}

/// Whether the socket goes on, or with what it is closed; with nothing when the peer is gone.
type Step = Result<(), Option<Close>>;

fn pulse() -> Interval {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and nothing is owed yet.
    pulse.reset();
    pulse
}

fn is_too_big(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string().contains("too long") || cause.to_string().contains("too big") {
            return true;
        }
        source = cause.source();
    }
    false
}
