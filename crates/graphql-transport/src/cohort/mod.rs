//! Cohorts: identical subscriptions share one execution.
//!
//! Subscribers with the same document, operation, variables and scope share one service stream, one execution and one
//! serialised payload per event. The key is the whole text, not a hash: a collision would show one caller another's
//! data.
//!
//! A cohort is one task, the pump. It executes the subscription and delivers each event to its members' `Outlet`s in a
//! loop. Delivering to a member is one call of its outlet, for a WebSocket one write to the socket, and wakes no other
//! task.

mod counters;
mod outlet;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_graphql::Request;
use futures_util::{FutureExt, Stream, StreamExt, stream::BoxStream};
use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
};
use tokio_util::task::TaskTracker;

pub use self::counters::{Counters, Counts};
use self::outlet::Mailbox;
pub(super) use self::outlet::{Delivery, Outlet};
use super::{Code, payload::Payload, spawned::spawned};

/// The pump yields to other tasks after this many deliveries.
const YIELD_EVERY: usize = 64;

/// The identity of a cohort.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<str>);

impl Key {
    /// The key of an admitted request, which has only the variables that its operation defines.
    pub(super) fn new(request: &Request, scope: &str) -> Self {
        let Request {
            query,
            operation_name,
            variables,
            ..
        } = request;
        // JSON encoding keeps the parts separate.
        Self(
            serde_json::json!([scope, operation_name, variables, query])
                .to_string()
                .into(),
        )
    }
}

/// All cohorts of an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Cohorts {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    // The lock covers joining and leaving, so that no member joins a cohort that is ending.
    cohorts: Mutex<HashMap<Key, Cohort>>,
    counters: Counters,
    next_member: AtomicU64,
}

#[derive(Debug)]
struct Cohort {
    members: HashMap<u64, Member>,
    /// A flat snapshot of the members' outlets, rebuilt after a change. It holds only what delivery needs, because each
    /// indirection to an outlet costs a cache miss.
    outlets: Option<Arc<[MemberOutlet]>>,
    is_state: bool,
    last: Option<Payload>,
    /// Notified when the last member leaves.
    left: Arc<Notify>,
}

/// A member's id, and its outlet.
type MemberOutlet = (u64, Arc<dyn Outlet>);

#[derive(Debug)]
struct Member {
    outlet: Arc<dyn Outlet>,
    ended: Option<oneshot::Sender<MemberEnd>>,
}

/// Why a membership ended.
#[derive(Debug)]
pub(super) enum MemberEnd {
    /// The subscription is complete.
    Completed,
    /// The subscription was not executed, or cannot continue.
    Refused(Payload),
}

impl Member {
    fn end(&mut self, end: MemberEnd) {
        if let Some(ended) = self.ended.take() {
            // Fails if the member has left.
            let _ = ended.send(end);
        }
    }
}

impl Cohorts {
    pub(super) fn new(tasks: TaskTracker, counters: Counters) -> Self {
        let shared = Shared {
            cohorts: Mutex::default(),
            counters,
            next_member: AtomicU64::default(),
        };
        Self {
            shared: Arc::new(shared),
            tasks,
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Counts the events of a subscription that has no cohort.
    pub(super) fn count_unshared(
        &self,
        events: BoxStream<'static, Payload>,
    ) -> BoxStream<'static, Payload> {
        let shared = self.shared.clone();
        let count = move |_: &Payload| {
            let counters = shared.counters.all();
            counters.executions.fetch_add(1, Ordering::Relaxed);
            counters.deliveries.fetch_add(1, Ordering::Relaxed);
        };
        events.inspect(count).boxed()
    }

    /// Like [`Self::count_unshared`], with the stream in a task of its own.
    pub(super) fn spawned(
        &self,
        events: BoxStream<'static, Payload>,
    ) -> BoxStream<'static, Payload> {
        spawned(&self.tasks, self.count_unshared(events)).boxed()
    }

    /// Joins the cohort and returns its events as a stream. See [`Self::attach`].
    pub(super) fn join(
        &self,
        key: Key,
        is_state: bool,
        start: impl FnOnce() -> BoxStream<'static, Payload>,
    ) -> BoxStream<'static, Payload> {
        let mailbox = Arc::<Mailbox>::default();
        let attachment = self.attach(key, is_state, start, mailbox.clone());
        mailbox.events(attachment).boxed()
    }

    /// Joins the cohort with this key, or creates it with `start`. The cohort delivers its events to `outlet`.
    ///
    /// With `is_state`, a late member receives the last event at once, and a lagging member skips to the newest.
    pub(super) fn attach(
        &self,
        key: Key,
        is_state: bool,
        start: impl FnOnce() -> BoxStream<'static, Payload>,
        outlet: Arc<dyn Outlet>,
    ) -> Attachment {
        let (ended, receiver) = oneshot::channel();
        let member = Member {
            outlet: outlet.clone(),
            ended: Some(ended),
        };
        let id = self.shared.next_member.fetch_add(1, Ordering::Relaxed);
        let counters = self.shared.counters.all();
        let mut cohorts = self.shared.lock();
        let mut started = None;
        if !cohorts.contains_key(&key) {
            // Start without the lock, which every delivery takes: the engine validates the document here.
            drop(cohorts);
            let mut events = start();
            // Poll once before the subscription is acknowledged, so that the source is subscribed from here on, not
            // from the task's first poll.
            let first = events.next().now_or_never();
            started = Some((first, events));
            cohorts = self.shared.lock();
        }
        let key = match cohorts.get_key_value(&key) {
            Some((existing, _)) => existing.clone(),
            None => key,
        };
        match cohorts.get_mut(&key) {
            Some(cohort) => {
                cohort.members.insert(id, member);
                cohort.outlets = None;
                // Under the lock, so that no newer event overtakes this one.
                if let Some(last) = cohort.last.as_ref().filter(|_| is_state) {
                    counters.deliveries.fetch_add(1, Ordering::Relaxed);
                    outlet.deliver(last, is_state, &mut Vec::new());
                }
            }
            None => {
                let left = Arc::<Notify>::default();
                let cohort = Cohort {
                    members: HashMap::from([(id, member)]),
                    outlets: None,
                    is_state,
                    last: None,
                    left: left.clone(),
                };
                // `None` if the cohort existed at the first lookup; it still exists, because the lock was held.
                if let Some((first, events)) = started.take() {
                    cohorts.insert(key.clone(), cohort);
                    counters.cohorts.fetch_add(1, Ordering::Relaxed);
                    let pump = self.shared.clone().pump(key.clone(), left, first, events);
                    self.tasks.spawn(pump);
                }
            }
        }
        // Two subscribers may start the same cohort at once. The loser's stream is dropped, outside the lock.
        drop(cohorts);
        drop(started);
        counters.members.fetch_add(1, Ordering::Relaxed);
        Attachment {
            shared: self.shared.clone(),
            key,
            id,
            outlet,
            ended: receiver,
        }
    }
}

impl Shared {
    /// Executes the subscription for all members until the stream ends or the last member leaves.
    async fn pump(
        self: Arc<Self>,
        key: Key,
        left: Arc<Notify>,
        mut first: Option<Option<Payload>>,
        mut events: BoxStream<'static, Payload>,
    ) {
        let _guard = PumpGuard {
            shared: self.clone(),
            key: key.clone(),
            left: left.clone(),
        };
        loop {
            let event = tokio::select! {
                () = left.notified() => {
                    let mut cohorts = self.lock();
                    // A member may have joined since the notification.
                    if cohorts.get(&key).is_none_or(|cohort| cohort.members.is_empty()) {
                        drop(self.end(&mut cohorts, &key));
                        return;
                    }
                    continue;
                }
                event = next(&mut first, &mut events) => event,
            };
            let Some(payload) = event else {
                let members = self.end(&mut self.lock(), &key);
                return members.for_each(|mut member| member.end(MemberEnd::Completed));
            };
            self.counters
                .all()
                .executions
                .fetch_add(1, Ordering::Relaxed);
            if payload.refused.is_some() {
                let members = self.end(&mut self.lock(), &key);
                return members
                    .for_each(|mut member| member.end(MemberEnd::Refused(payload.clone())));
            }
            let (members, is_state) = {
                let mut cohorts = self.lock();
                // The entry exists as long as this task runs.
                let Some(cohort) = cohorts.get_mut(&key) else {
                    return;
                };
                cohort.last = Some(payload.clone());
                let Cohort {
                    members, outlets, ..
                } = cohort;
                let outlets = outlets.get_or_insert_with(|| {
                    let members = members.iter();
                    members
                        .map(|(id, member)| (*id, member.outlet.clone()))
                        .collect()
                });
                (outlets.clone(), cohort.is_state)
            };
            self.deliver(&key, &payload, members, is_state).await;
        }
    }

    async fn deliver(
        &self,
        key: &Key,
        payload: &Payload,
        members: Arc<[MemberOutlet]>,
        is_state: bool,
    ) {
        let counters = self.counters.all();
        let mut buffer = Vec::new();
        let deliveries = members.len() as u64;
        counters.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        for (number, (id, outlet)) in members.iter().enumerate() {
            if number % YIELD_EVERY == YIELD_EVERY - 1 {
                yield_now().await;
            }
            let delivery = outlet.deliver(payload, is_state, &mut buffer);
            if delivery != Delivery::Taken {
                counters.lagged.fetch_add(1, Ordering::Relaxed);
            }
            if delivery == Delivery::Lost {
                let error = Code::Lagged.error(
                    "the subscription fell behind and lost events; subscribe again, then reload",
                );
                let mut cohorts = self.lock();
                // Remove the member at once. Otherwise, when its outlet has room again, events after the lost one would
                // reach the subscriber before the error.
                if let Some(cohort) = cohorts.get_mut(key)
                    && let Some(mut member) = cohort.members.remove(id)
                {
                    member.end(MemberEnd::Refused(Payload::refusal(vec![error])));
                    cohort.outlets = None;
                    if cohort.members.is_empty() {
                        cohort.left.notify_one();
                    }
                }
            }
        }
    }

    /// Removes the cohort and returns its members. Later subscribers start a new cohort.
    fn end(
        &self,
        cohorts: &mut HashMap<Key, Cohort>,
        key: &Key,
    ) -> impl Iterator<Item = Member> + use<> {
        let ended = cohorts.remove(key);
        self.counters.all().cohorts.fetch_sub(1, Ordering::Relaxed);
        let members = ended.map(|cohort| cohort.members).unwrap_or_default();
        members.into_values()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Cohort>> {
        self.cohorts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guards a pump task: if the task panics, the guard ends the memberships with an error.
struct PumpGuard {
    shared: Arc<Shared>,
    key: Key,
    left: Arc<Notify>,
}

impl Drop for PumpGuard {
    fn drop(&mut self) {
        let mut cohorts = self.shared.lock();
        let is_open = |cohort: &Cohort| Arc::ptr_eq(&cohort.left, &self.left);
        if cohorts.get(&self.key).is_some_and(is_open) {
            let error = Code::Internal.error("the subscription broke");
            let refusal = Payload::refusal(vec![error]);
            let members = self.shared.end(&mut cohorts, &self.key);
            members.for_each(|mut member| member.end(MemberEnd::Refused(refusal.clone())));
        }
    }
}

/// The result of the first poll if it was ready, otherwise the next event.
async fn next<T>(
    first: &mut Option<Option<T>>,
    events: &mut (impl Stream<Item = T> + Unpin),
) -> Option<T> {
    match first.take() {
        Some(event) => event,
        None => events.next().await,
    }
}

/// A membership in a cohort. Dropping it leaves the cohort.
#[derive(Debug)]
pub(super) struct Attachment {
    shared: Arc<Shared>,
    /// Shared with the map of cohorts, because a key is as long as the request.
    key: Key,
    id: u64,
    outlet: Arc<dyn Outlet>,
    ended: oneshot::Receiver<MemberEnd>,
}

impl Attachment {
    /// Waits until the membership ends.
    pub(super) async fn ended(&mut self) -> MemberEnd {
        // The pump sends the end before it drops a member.
        (&mut self.ended).await.unwrap_or(MemberEnd::Completed)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.outlet.leave();
        let counters = self.shared.counters.all();
        counters.members.fetch_sub(1, Ordering::Relaxed);
        let mut cohorts = self.shared.lock();
        // A newer cohort with the same key does not contain this member.
        if let Some(cohort) = cohorts.get_mut(&self.key)
            && cohort.members.remove(&self.id).is_some()
        {
            cohort.outlets = None;
            if cohort.members.is_empty() {
                cohort.left.notify_one();
            }
        }
    }
}
