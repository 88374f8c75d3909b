//! The operations of one socket, one task each. They start in the order of their messages and then run concurrently.
//!
//! Execution does not depend on the socket: if the peer stalls, only delivery waits. A task is aborted when its
//! operation ends or its socket closes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::protocol::Frames;
use crate::{
    Endpoint, Service,
    cohort::Outlet,
    direct::Direct,
    operation::{Answer, Carries, Event},
    payload::Payload,
    request::RawRequest,
};

/// An event of an operation, queued for the socket.
pub(super) struct OperationEvent {
    pub(super) id: Arc<str>,
    pub(super) event: Event,
    number: u64,
    /// Dropping it tells the operation's task that the event has been dequeued.
    _taken: Option<oneshot::Sender<()>>,
}

/// The running operations of a socket.
pub(super) struct Operations {
    running: HashMap<Arc<str>, Operation>,
    /// Distinguishes an operation from an earlier one with the same id.
    next_number: u64,
    outbox: Arc<Outbox>,
}

struct Operation {
    number: u64,
    /// The outlet of a shared subscription.
    subscriber: Arc<Direct<Frames>>,
    _task: AbortOnDropHandle<()>,
}

/// The queue from operation tasks to the socket's task. Every idle socket has one, so it must be small.
#[derive(Default)]
struct Outbox {
    queues: Mutex<Queues>,
    arrived: Notify,
}

#[derive(Default)]
struct Queues {
    /// Responses of queries and mutations, dequeued at once.
    answers: VecDeque<OperationEvent>,
    /// Events of subscriptions, at most one of each, dequeued once the socket has room.
    events: VecDeque<OperationEvent>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, has_room: bool) -> Option<OperationEvent> {
        let mut queues = self.lock();
        match queues.answers.pop_front() {
            None if has_room => queues.events.pop_front(),
            answer => answer,
        }
    }
}

impl Operations {
    pub(super) fn new() -> Self {
        Self {
            running: HashMap::new(),
            next_number: 0,
            outbox: Arc::default(),
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// Starts an operation under an unused id, after the operations started before it.
    pub(super) fn begin<S: Service>(
        &mut self,
        endpoint: &Endpoint<S>,
        caller: S::Caller,
        id: &str,
        payload: Value,
        subscriber: Arc<Direct<Frames>>,
    ) {
        self.next_number += 1;
        let (id, number) = (Arc::<str>::from(id), self.next_number);
        let mut operation = Box::pin(run(
            endpoint.clone(),
            caller,
            payload,
            subscriber.clone(),
            EventSender {
                id: id.clone(),
                number,
                outbox: self.outbox.clone(),
            },
        ));
        // Polled once here, because the runtime may run the newest task first. So operations start in the order of
        // their messages, and a subscription receives events from here on.
        let is_over = operation.as_mut().now_or_never().is_some();
        let task = endpoint.inner.tasks.spawn(async move {
            if !is_over {
                operation.await;
            }
        });
        let operation = Operation {
            number,
            subscriber,
            _task: AbortOnDropHandle::new(task),
        };
        self.running.insert(id, operation);
    }

    /// Ends an operation and returns whether it was running. None of its events are written afterwards.
    pub(super) fn end(&mut self, id: &str) -> bool {
        let ended = self.running.remove(id);
        if let Some(operation) = &ended {
            // The task may still be delivering.
            operation.subscriber.leave();
        }
        ended.is_some()
    }

    /// Writes the states that were unsent for lack of room.
    pub(super) fn catch_up(&self) {
        for operation in self.running.values() {
            operation.subscriber.catch_up();
        }
    }

    /// The next event; subscription events only with `has_room`. Cancel-safe.
    pub(super) async fn next(&mut self, has_room: bool) -> OperationEvent {
        loop {
            if let Some(entry) = self.ready(has_room) {
                return entry;
            }
            self.outbox.arrived.notified().await;
        }
    }

    /// The next queued event, without waiting.
    pub(super) fn ready(&mut self, has_room: bool) -> Option<OperationEvent> {
        loop {
            let entry = self.outbox.take(has_room)?;
            if self.is_current(&entry) {
                return Some(entry);
            }
        }
    }

    fn is_current(&self, entry: &OperationEvent) -> bool {
        let operation = self.running.get(&entry.id);
        operation.is_some_and(|operation| operation.number == entry.number)
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        for operation in self.running.values() {
            operation.subscriber.leave();
        }
    }
}

/// Sends a task's events to its socket.
struct EventSender {
    id: Arc<str>,
    number: u64,
    outbox: Arc<Outbox>,
}

impl EventSender {
    fn answer(&self, event: Event) {
        let entry = self.entry(event, None);
        self.outbox.lock().answers.push_back(entry);
        self.outbox.arrived.notify_one();
    }

    /// Queues an event and waits until it is dequeued.
    async fn event(&self, event: Event) {
        let (taken, is_taken) = oneshot::channel();
        let entry = self.entry(event, Some(taken));
        self.outbox.lock().events.push_back(entry);
        self.outbox.arrived.notify_one();
        // Resolves with an error once the sender is dropped.
        let _ = is_taken.await;
    }

    fn entry(&self, event: Event, taken: Option<oneshot::Sender<()>>) -> OperationEvent {
        OperationEvent {
            id: self.id.clone(),
            event,
            number: self.number,
            _taken: taken,
        }
    }
}

async fn run<S: Service>(
    endpoint: Endpoint<S>,
    caller: S::Caller,
    payload: Value,
    subscriber: Arc<Direct<Frames>>,
    sender: EventSender,
) {
    let answer = match RawRequest::from_json(payload) {
        // Boxed, so that it adds nothing to the size of the operation's task.
        Ok(raw) => Box::pin(endpoint.run(&caller, raw, Carries::Everything)).await,
        Err(error) => Err(error),
    };
    match answer {
        Err(error) => {
            endpoint.inner.service.failed(std::slice::from_ref(&error));
            let refusal = Payload::refusal(vec![error]);
            sender.answer(Event::Refused(refusal));
        }
        Ok(Answer::Single(payload)) if payload.refused.is_some() => {
            sender.answer(Event::Refused(payload));
        }
        Ok(Answer::Single(payload)) => {
            sender.answer(Event::Next(payload));
            sender.answer(Event::Completed);
        }
        Ok(Answer::Subscription(subscription)) => {
            let mut events = subscription.attach(subscriber);
            loop {
                let event = events.next().await;
                let is_last = !matches!(event, Event::Next(_));
                sender.event(event).await;
                if is_last {
                    break;
                }
            }
        }
    }
}
