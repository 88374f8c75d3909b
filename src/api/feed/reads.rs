//! Reads shared by the watchers of a feed. A change wakes all of them, each reads from the same position, and hundreds
//! may watch one shared inbox.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio_util::task::TaskTracker;

use super::log_bad;
use crate::{
    conversation::Audience,
    db::{Database, FeedPage, cursor::FeedCursor},
    error::{Error, Result},
};

/// Changes per read.
const PAGE: u64 = 100;

/// A feed and a position in it.
type Place = (Audience, FeedCursor);

/// A page that several watchers receive.
pub(super) type SharedPage = Result<Arc<FeedPage>, Arc<Error>>;

/// The shared reads of all feeds, one at a time per position. Cheap to clone.
#[derive(Clone, Default)]
pub struct FeedReads(Arc<Mutex<HashMap<Place, Reads>>>);

/// The running and the pending read of one position.
#[derive(Default)]
struct Reads {
    /// The running read holds this lock.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The pending read. Watchers can join only this one: a running read may have begun before the commit that woke the
    /// watcher.
    next: Option<Shared<BoxFuture<'static, SharedPage>>>,
}

impl FeedReads {
    /// Reads the changes after a position. The read begins after this call.
    ///
    /// The read runs in its own task: a slow reader stops polling its stream, and must not hold a database connection
    /// meanwhile.
    pub(super) async fn page(
        &self,
        db: &Database,
        tasks: &TaskTracker,
        of: &Audience,
        after: FeedCursor,
    ) -> SharedPage {
        let read = {
            let mut places = self.lock();
            let reads = places.entry((of.clone(), after)).or_default();
            let turn = &reads.turn;
            let begin = || {
                let read = self
                    .clone()
                    .read(db.clone(), (of.clone(), after), turn.clone());
                let task = tasks.spawn(read);
                let page = async { task.await.unwrap_or_else(|broken| Err(failed(broken))) };
                page.boxed().shared()
            };
            reads.next.get_or_insert_with(begin).clone()
        };
        read.await
    }

    async fn read(
        self,
        db: Database,
        place: Place,
        turn: Arc<tokio::sync::Mutex<()>>,
    ) -> SharedPage {
        let _turn = turn.lock().await;
        let ends = Ends {
            reads: self,
            place: &place,
        };
        ends.reads.begin(&place);
        let (of, after) = &place;
        match db.feed_page(of, *after, PAGE).await {
            Ok(page) => {
                log_bad(&page);
                Ok(Arc::new(page))
            }
            Err(error) => {
                error.log();
                Err(Arc::new(error))
            }
        }
    }

    /// Marks the pending read as running: later watchers start another one.
    fn begin(&self, place: &Place) {
        if let Some(reads) = self.lock().get_mut(place) {
            reads.next = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Reads>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Arc<Error> {
    let error = Error::Internal(error.into());
    error.log();
    Arc::new(error)
}

/// Removes a position when its read ends, unless another read is pending.
struct Ends<'a> {
    reads: FeedReads,
    place: &'a Place,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let mut places = self.reads.lock();
        if places
            .get(self.place)
            .is_some_and(|reads| reads.next.is_none())
        {
            places.remove(self.place);
        }
    }
}
