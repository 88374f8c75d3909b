//! One WebSocket: its operations, its pulse, its end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_graphql::ServerError;
use async_stream::stream;
use axum::body::Bytes;
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_stream::StreamMap;
use tungstenite::Message;

use super::{
    Gone, Socket,
    protocol::{Close, CloseCode, Frames, Protocol, Received},
};
use crate::transport::{
    Code, Endpoint, Service,
    direct::{Backlog, Direct, Progress},
    expiry::reached,
    operation::{Answer, Carries, Event},
    payload::Payload,
    request::RawRequest,
};

/// How often the peer is pinged, and how many answers it may owe.
const PULSE: Duration = Duration::from_secs(12);
const MOST_MISSED: u32 = 2;

/// The most messages that are collected before they are sent together.
const BATCH: usize = 32;

pub(super) struct Session<'a, S: Service> {
    endpoint: Endpoint<S>,
    socket: &'a mut Socket,
    protocol: Protocol,
    /// Who opened it, as far as the opening said so.
    opener: Box<Result<S::Caller, ServerError>>,
    /// Who it is, from the acknowledgement on.
    caller: Option<S::Caller>,
    /// What it counts as, likewise.
    open: Option<S::Open>,
    operations: StreamMap<String, BoxStream<'static, Event>>,
    /// Those of them that may be subscriptions whose events go past this.
    subscribers: HashMap<String, Arc<Direct<Frames>>>,
    missed: u32,
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
            operations: StreamMap::new(),
            subscribers: HashMap::new(),
            missed: 0,
            backlog,
        }
    }

    /// Serves the socket. The reason to close it with, if the peer is still there.
    pub(super) async fn run(&mut self) -> Option<Close> {
        let closing = self.endpoint.inner.closing.clone();
        let patience = Instant::now() + self.endpoint.inner.settings.init;
        let mut pulse = pulse();
        loop {
            let caller = self.caller.as_ref();
            let until = caller.and_then(|caller| self.endpoint.inner.service.until(caller));
            let is_free = self.backlog.is_empty();
            let step = tokio::select! {
                () = closing.cancelled() => closed(CloseCode::Restart),
                () = reached(until) => closed(CloseCode::Forbidden),
                () = sleep_until(patience), if self.caller.is_none() => {
                    closed(CloseCode::InitTimeout)
                }
                progress = self.backlog.progress() => self.progressed(progress),
                _ = pulse.tick() => self.beat(),
                // Nor listened to: answers to whatever it asks would pile up.
                message = self.socket.receive(), if is_free => self.receive(message).await,
                // Who takes nothing is told nothing new.
                Some((id, event)) = self.operations.next(), if is_free && !self.operations.is_empty() => {
                    self.tell(id, event)
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn progressed(&mut self, progress: Progress) -> Step {
        match progress {
            Progress::FellBehind | Progress::Moved => Ok(()),
            Progress::CaughtUp => {
                self.subscribers
                    .values()
                    .for_each(|subscriber| subscriber.catch_up());
                Ok(())
            }
            // It may have begun to read just now.
            Progress::Stalled => closed(CloseCode::TryAgain),
            Progress::Gone => Err(None),
        }
    }

    /// Pings, and gives up on a peer that owes too many answers.
    fn beat(&mut self) -> Step {
        if self.missed >= MOST_MISSED {
            return Err(None);
        }
        self.missed += 1;
        let ping = Message::Ping(Bytes::new());
        // Clients of the older protocol reconnect when a first `ka` is not followed by others.
        let ka = self.protocol.keep_alive().map(Message::text);
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
            // The answer is queued by now; unsent, the peer would call it an abnormal closure. Whole frames
            // are all that there is.
            Ok(Message::Close(_) | Message::Frame(_)) => return self.send([]).and(Err(None)),
            Err(Gone::TooBig) => return closed(CloseCode::TooBig),
            Err(Gone::Lost) => return Err(None),
        };
        self.missed = 0;
        match self.protocol.read(&text).map_err(Some)? {
            Received::Init(_) if self.caller.is_some() => closed(CloseCode::TooManyInits),
            // Apart, so that its size is not the socket's for as long as that is open.
            Received::Init(payload) => Box::pin(self.initialise(payload)).await,
            Received::Ping(payload) => self.send([Message::text(Protocol::pong(payload))]),
            Received::Pong => Ok(()),
            Received::Terminate => closed(CloseCode::Normal),
            Received::Complete { id } => {
                match (self.forget(&id), self.protocol) {
                    // The older protocol answers a `stop`, and clients wait for it.
                    (true, Protocol::Legacy) => {
                        self.send([Message::text(self.protocol.complete(&id))])
                    }
                    _ => Ok(()),
                }
            }
            Received::Subscribe { id, payload } => match self.caller.clone() {
                None => closed(CloseCode::Unauthorized),
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
        if self.operations.contains_key(&id) {
            match self.protocol {
                Protocol::Transport => return Err(Some(Close::duplicate(&id))),
                // The older protocol replaces it.
                Protocol::Legacy => drop(self.forget(&id)),
            }
        }
        let is_full = self.operations.len() >= self.endpoint.inner.settings.operations;
        let endpoint = self.endpoint.clone();
        let frames = Frames::new(self.protocol, &id);
        let subscriber = Arc::new(Direct::new(self.socket.link().clone(), frames));
        self.subscribers.insert(id.clone(), subscriber.clone());
        let events = stream! {
            if is_full {
                let error = Code::QueryTooComplex.error("too many operations on one WebSocket");
                endpoint.inner.service.failed(std::slice::from_ref(&error));
                yield Event::Refused(Payload::refusal(vec![error]));
                return;
            }
            let answer = match RawRequest::from_json(payload) {
                // Apart, so that its size is not the operation's for as long as that is open.
                Ok(raw) => Box::pin(endpoint.run(&caller, raw, Carries::Everything)).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) => {
                    endpoint.inner.service.failed(std::slice::from_ref(&error));
                    yield Event::Refused(Payload::refusal(vec![error]));
                }
                Ok(Answer::Single(payload)) if payload.refused.is_some() => {
                    yield Event::Refused(payload);
                }
                Ok(Answer::Single(payload)) => {
                    yield Event::Next(payload);
                    yield Event::Completed;
                }
                Ok(Answer::Subscription(subscription)) => {
                    let mut events = subscription.attach(subscriber);
                    loop {
                        let event = events.next().await;
                        let is_last = !matches!(event, Event::Next(_));
                        yield event;
                        if is_last {
                            break;
                        }
                    }
                }
            }
        };
        self.operations.insert(id, events.boxed());
        Ok(())
    }

    /// Sends an event, and with it whatever else is ready.
    fn tell(&mut self, id: String, event: Event) -> Step {
        let mut messages = vec![self.message(id, event)];
        while messages.len() < BATCH
            && let Some(Some((id, event))) = self.operations.next().now_or_never()
        {
            messages.push(self.message(id, event));
        }
        self.send(messages)
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
            self.forget(&id);
        }
        Message::text(text)
    }

    /// Whether there was an operation of this id; there is none any more.
    fn forget(&mut self, id: &str) -> bool {
        self.subscribers.remove(id);
        self.operations.remove(id).is_some()
    }

    /// Writes messages at once; what the peer does not take waits.
    fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Step {
        self.socket.send(messages).map_err(|_| None)
    }
}

/// Whether the socket goes on, or with what it is closed; with nothing when the peer is gone.
type Step = Result<(), Option<Close>>;

fn closed(code: CloseCode) -> Step {
    Err(Some(code.into()))
}

fn pulse() -> Interval {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and nothing is owed yet.
    pulse.reset();
    pulse
}
