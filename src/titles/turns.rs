//! Turns at the title model: how many calls are in flight, and whose turn is next.
//!
//! First titles go before titles that a person asked for again, and those before what is made unasked (sweep, backfill).
//! Within a class tenants take turns, and within a tenant its users. Every eighth turn goes to the last class that
//! waits, so that no class starves. What is no first title leaves a quarter of the calls free for first ones.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::conversation::Owner;

/// The most titles that wait for a turn in one process. What is over that is left to the sweep.
const MAX_WAITING: usize = 10_000;

/// Every so many turns the last class goes first.
const LAST_FIRST: u64 = 8;

/// What a turn is for, in the order in which turns are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The first title of a conversation.
    First,
    /// Another title, which a person asked for.
    Asked,
    /// What nobody waits for.
    Unasked,
}

/// Turns at the title model. Cheap to clone.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

/// A turn, until it is dropped.
pub(super) struct Turn {
    turns: Option<Turns>,
    class: Class,
}

struct State {
    limit: usize,
    in_flight: usize,
    /// Those of them that make no first title.
    others: usize,
    waiting: usize,
    given: u64,
    classes: [Ring<Ring<VecDeque<oneshot::Sender<Turn>>>>; 3],
}

/// Queues by name that take turns.
struct Ring<T> {
    order: VecDeque<String>,
    queues: HashMap<String, T>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            queues: HashMap::new(),
        }
    }
}

impl<T: Default> Ring<T> {
    fn of(&mut self, name: &str) -> &mut T {
        if !self.queues.contains_key(name) {
            self.order.push_back(name.to_owned());
        }
        self.queues.entry(name.to_owned()).or_default()
    }

    /// What the next queue gives. It goes to the end, and away once it is empty.
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

impl Turns {
    pub(super) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit: limit.max(1),
            in_flight: 0,
            others: 0,
            waiting: 0,
            given: 0,
            classes: Default::default(),
        })))
    }

    /// Waits for a turn. None: too many wait already.
    pub(super) async fn take(&self, owner: &Owner, class: Class) -> Option<Turn> {
        let turn = {
            let mut state = self.lock();
            if state.waiting >= MAX_WAITING {
                return None;
            }
            let (sender, turn) = oneshot::channel();
            let tenant = state.classes[class as usize].of(&owner.tenant);
            tenant.of(&owner.user).push_back(sender);
            state.waiting += 1;
            turn
        };
        self.give();
        turn.await.ok()
    }

    /// Gives out what turns there are. One whose taker has gone is given to the next.
    fn give(&self) {
        loop {
            let (sender, class) = {
                let mut state = self.lock();
                match state.next() {
                    Some(next) => next,
                    None => return,
                }
            };
            let turn = Turn {
                turns: Some(self.clone()),
                class,
            };
            if let Err(mut unwanted) = sender.send(turn) {
                unwanted.turns = None;
                self.lock().give_back(class);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next one whose turn it is, if there is a turn; counts it.
    fn next(&mut self) -> Option<(oneshot::Sender<Turn>, Class)> {
        if self.in_flight >= self.limit {
            return None;
        }
        let others = (self.limit - self.limit.div_ceil(4)).max(1);
        let mut order = [Class::First, Class::Asked, Class::Unasked];
        if self.given % LAST_FIRST == LAST_FIRST - 1 {
            order.reverse();
        }
        let class = order.into_iter().find(|class| {
            !self.classes[*class as usize].is_empty()
                && (*class == Class::First || self.others < others)
        })?;
        let sender = self.classes[class as usize].next(|tenant| {
            let sender = tenant.next(|user| (user.pop_front(), user.is_empty()));
            (sender, tenant.is_empty())
        })?;
        self.waiting -= 1;
        self.given += 1;
        self.in_flight += 1;
        self.others += usize::from(class != Class::First);
        Some((sender, class))
    }

    fn give_back(&mut self, class: Class) {
        self.in_flight -= 1;
        self.others -= usize::from(class != Class::First);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.lock().give_back(self.class);
            turns.give();
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

    /// Who gets a turn one after the other, when these wait in this order behind the only one.
    async fn order(waiting: &[(&str, &str, Class)]) -> Vec<String> {
        let turns = Turns::new(1);
        let held = turns.take(&owner("x", "x"), Class::First).await;
        let mut waits: Vec<_> = waiting
            .iter()
            .map(|&(tenant, user, class)| {
                let turns = turns.clone();
                let name = format!("{tenant}{user}{}", class as usize);
                let mut wait = Box::pin(async move {
                    let turn = turns.take(&owner(tenant, user), class).await;
                    (name, turn)
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
        use Class::{Asked, First, Unasked};
        let got = order(&[
            ("a", "1", Unasked),
            ("a", "1", Asked),
            ("a", "1", First),
            ("a", "1", First),
            ("a", "2", First),
            ("b", "1", First),
        ])
        .await;
        assert_eq!(got, ["a10", "b10", "a20", "a10", "a11", "a12"]);
    }

    #[tokio::test]
    async fn others_leave_a_call_free_for_first_titles() {
        let turns = Turns::new(2);
        let a = owner("a", "1");
        let asked = turns.take(&a, Class::Asked).await;
        let second = turns.take(&a, Class::Asked);
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        let first = turns.take(&owner("b", "1"), Class::First).now_or_never();
        assert!(first.flatten().is_some());
        drop(asked);
        assert!(second.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn a_turn_whose_taker_has_gone_is_given_to_the_next() {
        let turns = Turns::new(1);
        let a = owner("a", "1");
        let held = turns.take(&a, Class::First).await;
        let mut gone = Box::pin(turns.take(&a, Class::First));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(turns.take(&a, Class::First));
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(next.now_or_never().flatten().is_some());
    }
}
