//! Fair queue of title calls: limits concurrency, and decides which call is next.
//!
//! Priorities: first titles, then regenerations, then background work (sweep, backfill). Within a priority, tenants are
//! served round-robin, and within a tenant its users. Every eighth permit goes in reverse order of priority, so that no
//! priority starves. A quarter of the concurrency is reserved for first titles.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::conversation::Owner;

/// The maximum number of queued titles in one process. The sweep resumes titles over the limit.
const MAX_WAITING: usize = 10_000;

/// One permit in this many is granted in reverse order of priority.
const REVERSED_EVERY: u64 = 8;

/// The priority of a call, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// The first title of a conversation.
    First,
    /// A title that the user asked to regenerate.
    Regeneration,
    /// Sweep and backfill.
    Background,
}

/// The queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct CallQueue(Arc<Mutex<State>>);

/// Permission for one title's calls, released on drop.
pub(super) struct CallPermit {
    queue: Option<CallQueue>,
    priority: Priority,
}

struct State {
    limit: usize,
    in_flight: usize,
    /// Calls in flight that are not first titles.
    non_first: usize,
    waiting: usize,
    granted: u64,
    queues_by_priority: [RoundRobin<RoundRobin<VecDeque<oneshot::Sender<CallPermit>>>>; 3],
}

/// Named queues that are served in turn.
struct RoundRobin<T> {
    order: VecDeque<String>,
    queues: HashMap<String, T>,
}

impl<T> Default for RoundRobin<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            queues: HashMap::new(),
        }
    }
}

impl<T: Default> RoundRobin<T> {
    fn entry(&mut self, name: &str) -> &mut T {
        if !self.queues.contains_key(name) {
            self.order.push_back(name.to_owned());
        }
        self.queues.entry(name.to_owned()).or_default()
    }

    /// Takes from the next queue, then moves it to the end, or removes it if it is empty.
    fn next<R>(&mut self, take: impl FnOnce(&mut T) -> (Option<R>, bool)) -> Option<R> {
        let name = self.order.pop_front()?;
        let (taken, is_empty) = take(self.queues.get_mut(&name)?);
        if is_empty {
            self.queues.remove(&name);
        } else {
            self.order.push_back(name);
        }
        taken
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl CallQueue {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit: limit.max(1),
            in_flight: 0,
            non_first: 0,
            waiting: 0,
            granted: 0,
            queues_by_priority: Default::default(),
        })))
    }

    /// Waits for a permit. `None` if the queue is full.
    pub(super) async fn acquire(&self, owner: &Owner, priority: Priority) -> Option<CallPermit> {
        let permit = {
            let mut state = self.lock();
            if state.waiting >= MAX_WAITING {
                return None;
            }
            let (sender, permit) = oneshot::channel();
            let tenant = state.queues_by_priority[priority as usize].entry(&owner.tenant);
            tenant.entry(&owner.user).push_back(sender);
            state.waiting += 1;
            permit
        };
        self.dispatch();
        permit.await.ok()
    }

    /// Grants all free permits. If a waiter was dropped, its permit goes to the next.
    fn dispatch(&self) {
        loop {
            let (sender, priority) = {
                let mut state = self.lock();
                match state.next() {
                    Some(next) => next,
                    None => return,
                }
            };
            let permit = CallPermit {
                queue: Some(self.clone()),
                priority,
            };
            if let Err(mut unclaimed) = sender.send(permit) {
                unclaimed.queue = None;
                self.lock().release(priority);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next waiter, if a permit is free; counts the permit as in flight.
    fn next(&mut self) -> Option<(oneshot::Sender<CallPermit>, Priority)> {
        if self.in_flight >= self.limit {
            return None;
        }
        let non_first_limit = (self.limit - self.limit.div_ceil(4)).max(1);
        let mut order = [
            Priority::First,
            Priority::Regeneration,
            Priority::Background,
        ];
        if self.granted % REVERSED_EVERY == REVERSED_EVERY - 1 {
            order.reverse();
        }
        let priority = order.into_iter().find(|priority| {
            !self.queues_by_priority[*priority as usize].is_empty()
                && (*priority == Priority::First || self.non_first < non_first_limit)
        })?;
        let sender = self.queues_by_priority[priority as usize].next(|tenant| {
            let sender = tenant.next(|user| (user.pop_front(), user.is_empty()));
            (sender, tenant.is_empty())
        })?;
        self.waiting -= 1;
        self.granted += 1;
        self.in_flight += 1;
        self.non_first += usize::from(priority != Priority::First);
        Some((sender, priority))
    }

    fn release(&mut self, priority: Priority) {
        self.in_flight -= 1;
        self.non_first -= usize::from(priority != Priority::First);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.lock().release(self.priority);
            queue.dispatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn owner(tenant: &str, user: &str) -> Owner {
        Owner {
            tenant: tenant.into(),
            user: user.into(),
        }
    }

    /// The order in which these waiters get the only permit.
    async fn order(waiting: &[(&str, &str, Priority)]) -> Vec<String> {
        let queue = CallQueue::new(1);
        let held = queue.acquire(&owner("x", "x"), Priority::First).await;
        let mut waits: Vec<_> = waiting
            .iter()
            .map(|&(tenant, user, priority)| {
                let queue = queue.clone();
                let name = format!("{tenant}{user}{}", priority as usize);
                let mut wait = Box::pin(async move {
                    let permit = queue.acquire(&owner(tenant, user), priority).await;
                    (name, permit)
                });
                assert!(wait.as_mut().now_or_never().is_none());
                wait
            })
            .collect();
        drop(held);
        let mut order = Vec::new();
        while !waits.is_empty() {
            let (done, at, left) = futures_util::future::select_all(waits).await;
            let _ = at;
            order.push(done.0);
            drop(done.1);
            waits = left;
        }
        order
    }

    #[tokio::test]
    async fn first_titles_go_first_and_tenants_and_users_take_turns() {
        use Priority::{Background, First, Regeneration};
        let got = order(&[
            ("a", "1", Background),
            ("a", "1", Regeneration),
            ("a", "1", First),
            ("a", "1", First),
            ("a", "2", First),
            ("b", "1", First),
        ])
        .await;
        assert_eq!(got, ["a10", "b10", "a20", "a10", "a11", "a12"]);
    }

    #[tokio::test]
    async fn a_call_is_reserved_for_first_titles() {
        let queue = CallQueue::new(2);
        let a = owner("a", "1");
        let asked = queue.acquire(&a, Priority::Regeneration).await;
        let second = queue.acquire(&a, Priority::Regeneration);
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        let first = queue
            .acquire(&owner("b", "1"), Priority::First)
            .now_or_never();
        assert!(first.flatten().is_some());
        drop(asked);
        assert!(second.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn the_permit_of_a_dropped_waiter_goes_to_the_next() {
        let queue = CallQueue::new(1);
        let a = owner("a", "1");
        let held = queue.acquire(&a, Priority::First).await;
        let mut gone = Box::pin(queue.acquire(&a, Priority::First));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(queue.acquire(&a, Priority::First));
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(next.now_or_never().flatten().is_some());
    }
}
