//! Concurrency limits of searches: half of the readers in total, and fewer per user.
//!
//! Searches are the most expensive reads. The limits keep connections free for other reads, and for other users'
//! searches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    conversation::Owner,
    error::{Error, Result},
};

/// The maximum number of concurrent searches per user.
const PER_USER: usize = 2;

/// The maximum number of queued searches per user.
const WAITING_PER_USER: usize = 16;

/// The maximum wait for a permit.
const WAIT: Duration = Duration::from_secs(2);

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The permits for searches. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::db) struct Searches {
    permits: Arc<Semaphore>,
    per_user: usize,
    users: Arc<Mutex<HashMap<Owner, User>>>,
}

#[derive(Debug)]
struct User {
    permits: Arc<Semaphore>,
    /// Running and queued searches.
    searches: usize,
}

/// The permits of a running search. Drop releases them.
#[derive(Debug)]
pub(super) struct SearchPermit {
    // Dropped first: if the user's own permit were free first, the user's next search would join the shared queue
    // earlier.
    _shared: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _user: Counted,
}

/// Counts one search of a user until it is dropped.
#[derive(Debug)]
struct Counted {
    users: Arc<Mutex<HashMap<Owner, User>>>,
    owner: Owner,
}

impl Searches {
    /// Permits for half of the connections, at least one.
    pub(in crate::db) fn among(connections: u32) -> Self {
        let permits = (connections as usize / 2).max(1);
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            // Leaves one permit for other users if there are several.
            per_user: PER_USER.min(permits.saturating_sub(1)).max(1),
            users: Arc::default(),
        }
    }

    /// Waits for a permit.
    ///
    /// A search first takes a permit of its user, then queues for a shared one in FIFO order. So one user has at most a
    /// few searches in the shared queue.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if the user has too many searches; [`Error::Busy`] if no permit is free in time.
    pub(super) async fn enter(&self, owner: &Owner) -> Result<SearchPermit> {
        let (user, own) = self.count(owner)?;
        let waited = timeout(WAIT, async {
            let own = own.acquire_owned().await.ok()?;
            let shared = self.permits.clone().acquire_owned().await;
            shared.ok().map(|shared| (own, shared))
        });
        // The semaphores are never closed.
        match waited.await {
            Ok(Some((own, shared))) => Ok(SearchPermit {
                _shared: shared,
                _own: own,
                _user: user,
            }),
            _ => Err(Error::Busy {
                what: "searches",
                retry_after: RETRY_AFTER,
            }),
        }
    }

    fn count(&self, owner: &Owner) -> Result<(Counted, Arc<Semaphore>)> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let user = users.entry(owner.clone()).or_insert_with(|| User {
            permits: Arc::new(Semaphore::new(self.per_user)),
            searches: 0,
        });
        if user.searches >= self.per_user + WAITING_PER_USER {
            return Err(Error::RateLimited {
                what: "searches at once",
                retry_after: RETRY_AFTER,
            });
        }
        user.searches += 1;
        let counted = Counted {
            users: self.users.clone(),
            owner: owner.clone(),
        };
        Ok((counted, user.permits.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get_mut(&self.owner) {
            user.searches -= 1;
            if user.searches == 0 {
                users.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: &str) -> Owner {
        Owner {
            tenant: "acme".into(),
            user: user.into(),
        }
    }

    #[tokio::test]
    async fn one_users_searches_leave_permits_to_others() {
        let searches = Searches::among(8);
        let greedy = owner("greedy");
        let _running = [
            searches.enter(&greedy).await.unwrap(),
            searches.enter(&greedy).await.unwrap(),
        ];
        let third = searches.enter(&greedy).await.unwrap_err();
        assert!(matches!(third, Error::Busy { .. }), "{third:?}");
        searches.enter(&owner("other")).await.unwrap();
        assert_eq!(searches.users.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_one_user_may_have_waiting_is_bounded() {
        let searches = Searches::among(8);
        let greedy = owner("greedy");
        let all = (0..PER_USER + WAITING_PER_USER + 1).map(|_| searches.enter(&greedy));
        let all = futures_util::future::join_all(all).await;
        let refused = all
            .iter()
            .filter(|permit| matches!(permit, Err(Error::RateLimited { .. })));
        assert_eq!(refused.count(), 1);
        drop(all);
        assert!(searches.users.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn few_connections_have_a_permit_nevertheless() {
        for connections in [1, 2, 3] {
            let permit = Searches::among(connections).enter(&owner("a")).await;
            permit.unwrap();
        }
    }
}
