//! Cohorts: one execution for all who ask the same.
//!
//! Subscribers with the same document, operation, variables and scope share one stream of the
//! service, one execution and one serialised payload an event. The key is the whole text, never a hash
//! of it: a collision would show one caller what belongs to another.
//!
//! A cohort is one task. It executes, and hands each event to its members' `Outlet`s itself, one after
//! the other: what a member costs is what its outlet does, which for a WebSocket is one write to its
//! socket. No task is woken.

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
use super::{Code, apart::apart, payload::Payload};

/// How many members get an event before other tasks get a turn.
const TURN: usize = 64;

/// What members of one cohort have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<str>);

impl Key {
    /// The key of an admitted request: its variables are those that its operation defines.
    pub(super) fn new(request: &Request, scope: &str) -> Self {
        let Request {
            query,
            operation_name,
            variables,
            ..
        } = request;
        // Encoded as a list, no part can run into the next.
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
    // Joining and leaving are decided under this one lock, so that nobody joins a cohort that is
    // ending.
    cohorts: Mutex<HashMap<Key, Cohort>>,
    counters: Counters,
    next_member: AtomicU64,
}

#[derive(Debug)]
struct Cohort {
    members: HashMap<u64, Member>,
    /// Where their events go, to go through: made when it is needed and there was a change. To reach an outlet costs as
    /// many misses of the cache as there are steps to it, so this has no more than it needs.
    listed: Option<Arc<[Listed]>>,
    is_state: bool,
    last: Option<Payload>,
    /// Said when the last member has left.
    left: Arc<Notify>,
}

/// A member's id, and its outlet.
type Listed = (u64, Arc<dyn Outlet>);

#[derive(Debug)]
struct Member {
    outlet: Arc<dyn Outlet>,
    ended: Option<oneshot::Sender<End>>,
}

/// Why a member hears no more.
#[derive(Debug)]
pub(super) enum End {
    /// The subscription is over.
    Completed,
    /// It was not executed, or cannot go on.
    Refused(Payload),
}

impl Member {
    fn end(&mut self, end: End) {
        if let Some(ended) = self.ended.take() {
            // It has left meanwhile.
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
    pub(super) fn alone(&self, events: BoxStream<'static, Payload>) -> BoxStream<'static, Payload> {
        let shared = self.shared.clone();
        let count = move |_: &Payload| {
            let counters = shared.counters.all();
            counters.executions.fetch_add(1, Ordering::Relaxed);
            counters.deliveries.fetch_add(1, Ordering::Relaxed);
        };
        events.inspect(count).boxed()
    }

    /// The same, made by a task of their own.
    pub(super) fn apart(&self, events: BoxStream<'static, Payload>) -> BoxStream<'static, Payload> {
        apart(&self.tasks, self.alone(events)).boxed()
    }

    /// The events of the cohort of this key for a new member, as a stream. See [`Self::attach`].
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

    /// Makes a new member of the cohort of this key, whose events go to `outlet`; `start` makes its stream
    /// when there is none yet. With `is_state` the last event is told again to who joins late, and who falls
    /// behind goes on with the newest.
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
        let key = match cohorts.get_key_value(&key) {
            Some((of_others, _)) => of_others.clone(),
            None => key,
        };
        match cohorts.get_mut(&key) {
            Some(cohort) => {
                cohort.members.insert(id, member);
                cohort.listed = None;
                // Under the lock, or a newer event could come first.
                if let Some(last) = cohort.last.as_ref().filter(|_| is_state) {
                    counters.deliveries.fetch_add(1, Ordering::Relaxed);
                    outlet.deliver(last, is_state, &mut Vec::new());
                }
            }
            None => {
                let left = Arc::<Notify>::default();
                let cohort = Cohort {
                    members: HashMap::from([(id, member)]),
                    listed: None,
                    is_state,
                    last: None,
                    left: left.clone(),
                };
                cohorts.insert(key.clone(), cohort);
                counters.cohorts.fetch_add(1, Ordering::Relaxed);
                let mut events = start();
                // Asked once before anybody is told that it is subscribed: the source listens from here
                // on, and not from whenever the task is first run.
                let first = events.next().now_or_never();
                let pump = self.shared.clone().pump(key.clone(), left, first, events);
                self.tasks.spawn(pump);
            }
        }
        drop(cohorts);
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
    /// Executes for all members, until the stream ends or the last member has left.
    async fn pump(
        self: Arc<Self>,
        key: Key,
        left: Arc<Notify>,
        mut first: Option<Option<Payload>>,
        mut events: BoxStream<'static, Payload>,
    ) {
        let _running = Running {
            shared: self.clone(),
            key: key.clone(),
            left: left.clone(),
        };
        loop {
            let event = tokio::select! {
                () = left.notified() => {
                    let mut cohorts = self.lock();
                    // Somebody may have joined between the last one's leaving and here.
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
                return members.for_each(|mut member| member.end(End::Completed));
            };
            self.counters
                .all()
                .executions
                .fetch_add(1, Ordering::Relaxed);
            if payload.refused.is_some() {
                let members = self.end(&mut self.lock(), &key);
                return members.for_each(|mut member| member.end(End::Refused(payload.clone())));
            }
            let (members, is_state) = {
                let mut cohorts = self.lock();
                // It is there for as long as this task runs.
                let Some(cohort) = cohorts.get_mut(&key) else {
                    return;
                };
                cohort.last = Some(payload.clone());
                let Cohort {
                    members, listed, ..
                } = cohort;
                let listed = listed.get_or_insert_with(|| {
                    let members = members.iter();
                    members
                        .map(|(id, member)| (*id, member.outlet.clone()))
                        .collect()
                });
                (listed.clone(), cohort.is_state)
            };
            self.deliver(&key, &payload, members, is_state).await;
        }
    }

    async fn deliver(&self, key: &Key, payload: &Payload, members: Arc<[Listed]>, is_state: bool) {
        let counters = self.counters.all();
        let mut buffer = Vec::new();
        let given = members.len() as u64;
        counters.deliveries.fetch_add(given, Ordering::Relaxed);
        for (number, (id, outlet)) in members.iter().enumerate() {
            if number % TURN == TURN - 1 {
                yield_now().await;
            }
            let delivery = outlet.deliver(payload, is_state, &mut buffer);
            if delivery != Delivery::Taken {
                counters.lagged.fetch_add(1, Ordering::Relaxed);
            }
            if delivery == Delivery::Lost {
                let error = Code::Lagged.error(
                    "the subscription fell behind and lost events; read again and subscribe again",
                );
                let mut cohorts = self.lock();
                let cohort = cohorts.get_mut(key);
                if let Some(member) = cohort.and_then(|cohort| cohort.members.get_mut(id)) {
                    member.end(End::Refused(Payload::refusal(vec![error])));
                }
            }
        }
    }

    /// Whoever comes from now on starts anew. The members that it had.
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

/// A cohort's task. Should it die, its members are told so, and do not wait for ever.
struct Running {
    shared: Arc<Shared>,
    key: Key,
    left: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut cohorts = self.shared.lock();
        let is_open = |cohort: &Cohort| Arc::ptr_eq(&cohort.left, &self.left);
        if cohorts.get(&self.key).is_some_and(is_open) {
            let error = Code::Internal.error("the subscription broke");
            let refusal = Payload::refusal(vec![error]);
            let members = self.shared.end(&mut cohorts, &self.key);
            members.for_each(|mut member| member.end(End::Refused(refusal.clone())));
        }
    }
}

/// The event that is there already, or the next one.
async fn next<T>(
    first: &mut Option<Option<T>>,
    events: &mut (impl Stream<Item = T> + Unpin),
) -> Option<T> {
    match first.take() {
        Some(event) => event,
        None => events.next().await,
    }
}

/// A membership; dropping it ends it.
#[derive(Debug)]
pub(super) struct Attachment {
    shared: Arc<Shared>,
    /// The cohort's own: it is as long as what was asked.
    key: Key,
    id: u64,
    outlet: Arc<dyn Outlet>,
    ended: oneshot::Receiver<End>,
}

impl Attachment {
    /// Ready when the cohort is over for this member.
    pub(super) async fn ended(&mut self) -> End {
        // Every member is told its end before it is let go.
        (&mut self.ended).await.unwrap_or(End::Completed)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.outlet.leave();
        let counters = self.shared.counters.all();
        counters.members.fetch_sub(1, Ordering::Relaxed);
        let mut cohorts = self.shared.lock();
        // Of its successor it was no member.
        if let Some(cohort) = cohorts.get_mut(&self.key)
            && cohort.members.remove(&self.id).is_some()
        {
            cohort.listed = None;
            if cohort.members.is_empty() {
                cohort.left.notify_one();
            }
        }
    }
}
