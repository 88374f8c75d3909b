//! Registry of reply logs in this process, by reply id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::Stream;

use super::{ReplyIds, ReplyLog, ReplyLogEvent};
use crate::{
    conversation::{ConversationId, MessageId, Owner},
    events::Place,
};

/// Registered logs: either of replies that this node writes, or of copies of replies that other nodes write.
#[derive(Debug, Default)]
pub(in crate::events) struct Runs(Mutex<HashMap<MessageId, Arc<ReplyLog>>>);

impl Runs {
    pub(in crate::events) fn find(&self, owner: &Owner, reply: MessageId) -> Option<Arc<ReplyLog>> {
        self.any(reply).filter(|log| log.ids().owner == *owner)
    }

    /// The log of any owner. For requests of other nodes, which have checked the owner.
    pub(in crate::events) fn any(&self, reply: MessageId) -> Option<Arc<ReplyLog>> {
        self.lock().get(&reply).cloned()
    }

    pub(in crate::events) fn all(&self) -> Vec<Arc<ReplyLog>> {
        self.lock().values().cloned().collect()
    }

    pub(in crate::events) fn of_conversation(
        &self,
        owner: &Owner,
        conversation: ConversationId,
    ) -> Vec<Arc<ReplyLog>> {
        let mut logs = self.all();
        logs.retain(|log| log.ids().conversation == conversation && log.ids().owner == *owner);
        logs.sort_by_key(|log| log.ids().reply);
        logs
    }

    /// Registers the log of a reply that this node writes.
    pub(in crate::events) fn open(self: &Arc<Self>, of: ReplyIds) -> RunGuard {
        self.insert(Arc::new(ReplyLog::new(of)), &mut self.lock())
    }

    /// Like [`Self::open`], for a reply that a program outside of the server writes.
    pub(in crate::events) fn open_external(self: &Arc<Self>, of: ReplyIds) -> RunGuard {
        let log = ReplyLog::new(of);
        log.set_external();
        self.insert(Arc::new(log), &mut self.lock())
    }

    /// Follows the copy of a reply that another node writes. The first follower receives a guard, and must fill the
    /// copy.
    pub(in crate::events) fn follow_copy(
        self: &Arc<Self>,
        of: &ReplyIds,
        after: Option<Place>,
    ) -> (
        impl Stream<Item = ReplyLogEvent> + Send + use<>,
        Option<RunGuard>,
    ) {
        // The same lock as in `close_if_unwatched`, so that a reader never joins a copy that is no longer filled.
        let mut logs = self.lock();
        if let Some(log) = logs.get(&of.reply) {
            return (log.clone().follow(after), None);
        }
        let log = Arc::new(ReplyLog::copy(of.clone()));
        let guard = self.insert(log.clone(), &mut logs);
        (log.follow(after), Some(guard))
    }

    fn insert(self: &Arc<Self>, log: Arc<ReplyLog>, logs: &mut Logs<'_>) -> RunGuard {
        logs.insert(log.ids().reply, log.clone());
        RunGuard {
            log,
            runs: self.clone(),
        }
    }

    fn lock(&self) -> Logs<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Logs<'a> = MutexGuard<'a, HashMap<MessageId, Arc<ReplyLog>>>;

/// Keeps a log registered. After it is dropped, later readers read the row.
#[derive(Debug)]
pub struct RunGuard {
    log: Arc<ReplyLog>,
    runs: Arc<Runs>,
}

impl RunGuard {
    /// The log.
    pub fn log(&self) -> &Arc<ReplyLog> {
        &self.log
    }

    /// Registers the log in another registry instead.
    pub(in crate::events) fn move_to(&mut self, runs: &Arc<Runs>) {
        self.remove(&mut self.runs.lock());
        runs.lock().insert(self.log.ids().reply, self.log.clone());
        self.runs = runs.clone();
    }

    /// Unregisters the log if it has no readers. Returns whether it did.
    pub fn close_if_unwatched(&self) -> bool {
        let mut logs = self.runs.lock();
        let is_unwatched = !self.log.is_watched();
        if is_unwatched {
            self.remove(&mut logs);
        }
        is_unwatched
    }

    fn remove(&self, logs: &mut Logs<'_>) {
        let reply = self.log.ids().reply;
        // A newer log of the same reply has its own guard.
        if logs
            .get(&reply)
            .is_some_and(|log| Arc::ptr_eq(log, &self.log))
        {
            logs.remove(&reply);
        }
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.log.end_if_open();
        self.remove(&mut self.runs.lock());
    }
}
