//! The logs of this process, by the id of the reply.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::Stream;

use super::{LogOf, ReplyEvent, ReplyLog};
use crate::conversation::{ConversationId, MessageId, Owner};

/// Logs that can be found: of what is written here, or of what is written elsewhere and followed here.
#[derive(Debug, Default)]
pub(in crate::events) struct Runs(Mutex<HashMap<MessageId, Arc<ReplyLog>>>);

impl Runs {
    pub(in crate::events) fn find(&self, owner: &Owner, reply: MessageId) -> Option<Arc<ReplyLog>> {
        self.any(reply).filter(|log| log.of().owner == *owner)
    }

    /// Whoever it belongs to: another node, which asks for it, has looked.
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
        logs.retain(|log| log.of().conversation == conversation && log.of().owner == *owner);
        logs.sort_by_key(|log| log.of().reply);
        logs
    }

    /// Opens the log of a reply that is written here.
    pub(in crate::events) fn open(self: &Arc<Self>, of: LogOf) -> RunGuard {
        self.keep(Arc::new(ReplyLog::new(of)), &mut self.lock())
    }

    /// Follows the copy of a reply that is written elsewhere. The guard is for whoever has to fill it: there
    /// is one when nobody followed that reply here.
    pub(in crate::events) fn follow_copy(
        self: &Arc<Self>,
        of: &LogOf,
        after: Option<usize>,
    ) -> (
        impl Stream<Item = ReplyEvent> + Send + use<>,
        Option<RunGuard>,
    ) {
        // Under one lock with the last reader's leaving: nobody joins a log that is filled no more.
        let mut logs = self.lock();
        if let Some(log) = logs.get(&of.reply) {
            return (log.clone().follow(after), None);
        }
        let log = Arc::new(ReplyLog::copy(of.clone()));
        let guard = self.keep(log.clone(), &mut logs);
        (log.follow(after), Some(guard))
    }

    fn keep(self: &Arc<Self>, log: Arc<ReplyLog>, logs: &mut Logs<'_>) -> RunGuard {
        logs.insert(log.of().reply, log.clone());
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

/// Keeps a log findable; dropping it makes whoever comes later read the row.
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

    /// Makes it findable no more if nobody follows it; whether that is so.
    pub fn leave_unwatched(&self) -> bool {
        let mut logs = self.runs.lock();
        let is_left = !self.log.is_watched();
        if is_left {
            self.forget(&mut logs);
        }
        is_left
    }

    fn forget(&self, logs: &mut Logs<'_>) {
        let reply = self.log.of().reply;
        // Its successor is another's.
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
        self.forget(&mut self.runs.lock());
    }
}
