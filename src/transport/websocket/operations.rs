//! The operations of one socket. Each is a task, so it is executed whether or not the socket takes what it is sent;
//! only delivery waits. A task is aborted when its operation ends or its socket goes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::protocol::Frames;
use crate::transport::{
    Endpoint, Service,
    cohort::Outlet,
    direct::Direct,
    operation::{Answer, Carries, Event},
    payload::Payload,
    request::RawRequest,
};

/// What happened to an operation.
pub(super) struct OperationEvent {
    pub(super) id: Arc<str>,
    pub(super) event: Event,
    number: u64,
    /// Dropped once it is taken.
    _taken: Option<oneshot::Sender<()>>,
}

/// Those that run.
pub(super) struct Operations {
    running: HashMap<Arc<str>, Operation>,
    /// Numbers tell an operation from an earlier one of the same id.
    next_number: u64,
    outbox: Arc<Outbox>,
}

struct Operation {
    number: u64,
    /// Where its events go if it is a subscription that is shared.
    subscriber: Arc<Direct<Frames>>,
    _task: AbortOnDropHandle<()>,
}

/// Where tasks put what they have. An idle socket has one, so it is small.
#[derive(Default)]
struct Outbox {
    queues: Mutex<Queues>,
    arrived: Notify,
}

#[derive(Default)]
struct Queues {
    /// Of queries and mutations: taken at once.
    answers: VecDeque<OperationEvent>,
    /// Of subscriptions, one of each: taken once the socket has room.
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

    /// Begins one, under an id that is free.
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
        let task = run(
            endpoint.clone(),
            caller,
            payload,
            subscriber.clone(),
            EventSender {
                id: id.clone(),
                number,
                outbox: self.outbox.clone(),
            },
        );
        let operation = Operation {
            number,
            subscriber,
            _task: AbortOnDropHandle::new(endpoint.inner.tasks.spawn(task)),
        };
        self.running.insert(id, operation);
    }

    /// Ends one, if it runs; whether it did. Nothing of it is written from here on.
    pub(super) fn end(&mut self, id: &str) -> bool {
        let ended = self.running.remove(id);
        if let Some(operation) = &ended {
            // Its task may be in the middle of something.
            operation.subscriber.leave();
        }
        ended.is_some()
    }

    /// Tells the states that there was no room for.
    pub(super) fn catch_up(&self) {
        for operation in self.running.values() {
            operation.subscriber.catch_up();
        }
    }

    /// What happens next; events of subscriptions only with `has_room`. Nothing is lost when it is not waited for.
    pub(super) async fn next(&mut self, has_room: bool) -> OperationEvent {
        loop {
            if let Some(entry) = self.ready(has_room) {
                return entry;
            }
            self.outbox.arrived.notified().await;
        }
    }

    /// What has happened already.
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

/// A task's way to its socket.
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

    /// Ready once it is taken.
    async fn event(&self, event: Event) {
        let (taken, is_taken) = oneshot::channel();
        let entry = self.entry(event, Some(taken));
        self.outbox.lock().events.push_back(entry);
        self.outbox.arrived.notify_one();
        // Nothing is ever sent: the other end is dropped.
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
        // Apart, so that its size is not the operation's for as long as that is open.
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
