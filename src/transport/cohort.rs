//! Cohorts: one execution for all who ask the same.
//!
//! Subscribers with the same document, operation, variables and scope share one stream of the
//! service, one execution and one serialised payload an event. The key is the whole text, never a hash
//! of it: a collision would show one caller what belongs to another.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_graphql::Request;
use async_stream::stream;
use futures_util::{FutureExt, Stream, StreamExt, stream::BoxStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::task::TaskTracker;

use super::{Code, payload::Payload};

/// How many events a member may be behind.
const CAPACITY: usize = 64;

/// What members of one cohort have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

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
        Self(serde_json::json!([scope, operation_name, variables, query]).to_string())
    }
}

/// What sockets and subscriptions have done, for operators; those that run alone are in no cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// WebSockets that are open.
    pub sockets: u64,
    /// Cohorts there are.
    pub cohorts: u64,
    /// Members there are in all of them.
    pub members: u64,
    /// Events that were executed and serialised since the start.
    pub executions: u64,
    /// Events that subscribers were given since the start.
    pub deliveries: u64,
    /// Events that members lost because they fell behind, since the start.
    pub lagged: u64,
}

/// What is counted, by one endpoint or by several that share it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Atomics>);

#[derive(Debug, Default)]
struct Atomics {
    sockets: AtomicU64,
    cohorts: AtomicU64,
    members: AtomicU64,
    executions: AtomicU64,
    deliveries: AtomicU64,
    lagged: AtomicU64,
}

impl Counters {
    /// Counts a WebSocket until what is returned is dropped.
    pub(super) fn socket(&self) -> impl Drop + Send + use<> {
        self.0.sockets.fetch_add(1, Ordering::Relaxed);
        Socket(self.0.clone())
    }

    /// How the counts stand.
    pub fn read(&self) -> Counts {
        let Atomics {
            sockets,
            cohorts,
            members,
            executions,
            deliveries,
            lagged,
        } = &*self.0;
        Counts {
            sockets: sockets.load(Ordering::Relaxed),
            cohorts: cohorts.load(Ordering::Relaxed),
            members: members.load(Ordering::Relaxed),
            executions: executions.load(Ordering::Relaxed),
            deliveries: deliveries.load(Ordering::Relaxed),
            lagged: lagged.load(Ordering::Relaxed),
        }
    }
}

struct Socket(Arc<Atomics>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
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
}

#[derive(Debug)]
struct Cohort {
    sender: broadcast::Sender<Payload>,
    last: Option<Payload>,
}

impl Cohorts {
    pub(super) fn new(tasks: TaskTracker, counters: Counters) -> Self {
        let shared = Shared {
            cohorts: Mutex::default(),
            counters,
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
            shared.counters.0.executions.fetch_add(1, Ordering::Relaxed);
            shared.counters.0.deliveries.fetch_add(1, Ordering::Relaxed);
        };
        events.inspect(count).boxed()
    }

    /// Joins the cohort of this key; `start` makes its stream when there is none yet. With `is_state`
    /// the last event is told again to who joins late, and who falls behind goes on with the newest.
    pub(super) fn join(
        &self,
        key: Key,
        is_state: bool,
        start: impl FnOnce() -> BoxStream<'static, Payload>,
    ) -> BoxStream<'static, Payload> {
        let mut cohorts = self.shared.lock();
        let (receiver, last) = match cohorts.get(&key) {
            Some(cohort) => (
                cohort.sender.subscribe(),
                cohort.last.clone().filter(|_| is_state),
            ),
            None => {
                let (sender, receiver) = broadcast::channel(CAPACITY);
                let cohort = Cohort {
                    sender: sender.clone(),
                    last: None,
                };
                cohorts.insert(key.clone(), cohort);
                self.shared
                    .counters
                    .0
                    .cohorts
                    .fetch_add(1, Ordering::Relaxed);
                let mut events = start();
                // Asked once before anybody is told that it is subscribed: the source listens from here
                // on, and not from whenever the task is first run.
                let first = events.next().now_or_never();
                let pump = self.shared.clone().pump(key, sender, first, events);
                self.tasks.spawn(pump);
                (receiver, None)
            }
        };
        drop(cohorts);
        let membership = Membership::new(self.shared.clone());
        member(membership, receiver, last, is_state).boxed()
    }
}

impl Shared {
    /// Executes for all members, until the stream ends or the last member has left.
    async fn pump(
        self: Arc<Self>,
        key: Key,
        sender: broadcast::Sender<Payload>,
        mut first: Option<Option<Payload>>,
        mut events: BoxStream<'static, Payload>,
    ) {
        loop {
            let event = tokio::select! {
                () = sender.closed() => {
                    let mut cohorts = self.lock();
                    // Somebody may have joined between the last one's leaving and here.
                    if sender.receiver_count() > 0 {
                        continue;
                    }
                    self.end(&mut cohorts, &key);
                    return;
                }
                event = next(&mut first, &mut events) => event,
            };
            let Some(payload) = event else {
                self.end(&mut self.lock(), &key);
                return;
            };
            self.counters.0.executions.fetch_add(1, Ordering::Relaxed);
            let mut cohorts = self.lock();
            if payload.refused.is_some() {
                self.end(&mut cohorts, &key);
                let _ = sender.send(payload);
                return;
            }
            if let Some(cohort) = cohorts.get_mut(&key) {
                cohort.last = Some(payload.clone());
            }
            // An error says that all have left; the next turn of the loop sees it.
            let _ = sender.send(payload);
        }
    }

    /// Whoever comes from now on starts anew.
    fn end(&self, cohorts: &mut HashMap<Key, Cohort>, key: &Key) {
        cohorts.remove(key);
        self.counters.0.cohorts.fetch_sub(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Cohort>> {
        self.cohorts.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Counts a member for as long as it is one.
struct Membership(Arc<Shared>);

impl Membership {
    fn new(shared: Arc<Shared>) -> Self {
        shared.counters.0.members.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.counters.0.members.fetch_sub(1, Ordering::Relaxed);
    }
}

fn member(
    membership: Membership,
    mut receiver: broadcast::Receiver<Payload>,
    last: Option<Payload>,
    is_state: bool,
) -> impl Stream<Item = Payload> + Send + 'static {
    stream! {
        let counters = &membership.0.counters.0;
        if let Some(last) = last {
            counters.deliveries.fetch_add(1, Ordering::Relaxed);
            yield last;
        }
        loop {
            match receiver.recv().await {
                Ok(payload) => {
                    counters.deliveries.fetch_add(1, Ordering::Relaxed);
                    yield payload;
                }
                Err(RecvError::Closed) => break,
                Err(RecvError::Lagged(lost)) => {
                    counters.lagged.fetch_add(lost, Ordering::Relaxed);
                    if !is_state {
                        let error = Code::Lagged.error(
                            "the subscription fell behind and lost events; read again and subscribe again",
                        );
                        yield Payload::refusal(vec![error]);
                        break;
                    }
                    // What is kept leads up to the newest state, which is all that is of interest.
                }
            }
        }
    }
}
