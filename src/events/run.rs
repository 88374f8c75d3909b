//! A running reply: a log that its owner writes and any number of readers follow.
//!
//! A reader is a place in the shared log and a wake-up, so a slow one costs nothing and can lose
//! nothing while the run lasts. The log goes with the run: whoever comes later reads the row, which is
//! stored before the log ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;

use crate::{
    conversation::{ConversationId, MessageId, Owner, Usage},
    error::Error,
};

/// One step of a reply.
#[derive(Clone, Debug)]
pub enum ReplyEvent {
    /// More text.
    Delta(Arc<str>),
    /// The last event: the row is stored.
    Ended(Arc<ReplyEnd>),
}

/// How a reply ended.
#[derive(Debug)]
pub struct ReplyEnd {
    /// All of its text, as stored.
    pub text: String,
    /// The provider's id of it, if it gave one.
    pub response_id: Option<String>,
    /// What it cost, if the provider said so.
    pub usage: Option<Usage>,
    /// Whether it is whole.
    pub outcome: Outcome,
}

/// Whether a reply is whole.
#[derive(Debug)]
pub enum Outcome {
    /// It is.
    Completed,
    /// It was stopped, or ran into a limit.
    Incomplete,
    /// It broke; what had come until then is stored.
    Failed(Error),
}

/// The log of one running reply.
#[derive(Debug)]
pub struct ReplyLog {
    owner: Owner,
    conversation: ConversationId,
    reply: MessageId,
    events: Mutex<Vec<ReplyEvent>>,
    length: watch::Sender<usize>,
    stop: CancellationToken,
}

impl ReplyLog {
    /// The id that the reply's message has, or will have.
    pub fn reply(&self) -> MessageId {
        self.reply
    }

    /// Adds text.
    pub fn append(&self, delta: &str) {
        self.push(ReplyEvent::Delta(delta.into()));
    }

    /// Adds the last event.
    pub fn end(&self, end: ReplyEnd) {
        self.push(ReplyEvent::Ended(Arc::new(end)));
    }

    /// Asks the owner of the run to stop; what was written is kept.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Becomes ready when the run shall stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Joins the run: what was written so far, and what follows.
    pub fn watch(self: Arc<Self>) -> ReplyWatch {
        let (mut so_far, mut next) = (String::new(), 0);
        for event in self.lock().iter() {
            // The end stays ahead, for the reader to meet.
            let ReplyEvent::Delta(delta) = event else {
                break;
            };
            so_far.push_str(delta);
            next += 1;
        }
        ReplyWatch {
            so_far,
            log: self,
            next,
        }
    }

    /// Ends a run whose owner died without a word, so that no reader waits for ever.
    fn end_if_open(&self) {
        if matches!(self.lock().last(), Some(ReplyEvent::Ended(_))) {
            return;
        }
        self.end(ReplyEnd {
            text: String::new(),
            response_id: None,
            usage: None,
            outcome: Outcome::Failed(Error::Internal("the reply's task died".into())),
        });
    }

    fn push(&self, event: ReplyEvent) {
        let length = {
            let mut events = self.lock();
            events.push(event);
            events.len()
        };
        self.length.send_replace(length);
    }

    fn find(&self, place: usize) -> Option<ReplyEvent> {
        self.lock().get(place).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ReplyEvent>> {
        // A push either happened or not: nothing can be half changed.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of a running reply.
#[derive(Debug)]
pub struct ReplyWatch {
    /// What had been written when the reader joined.
    pub so_far: String,
    log: Arc<ReplyLog>,
    next: usize,
}

impl ReplyWatch {
    /// What is written from now on, up to and with [`ReplyEvent::Ended`].
    pub fn events(self) -> impl Stream<Item = ReplyEvent> + Send + 'static {
        let length = self.log.length.subscribe();
        let state = (self.log, length, self.next, false);
        futures_util::stream::unfold(state, |(log, mut length, next, ended)| async move {
            if ended {
                return None;
            }
            // The wait sees a length that was reached before it, so nothing is missed in between.
            length.wait_for(|length| *length > next).await.ok()?;
            let event = log.find(next)?;
            let ended = matches!(event, ReplyEvent::Ended(_));
            Some((event, (log, length, next + 1, ended)))
        })
    }
}

/// The runs of this process, by the id of the reply.
#[derive(Debug, Default)]
pub(super) struct Runs(Mutex<HashMap<MessageId, Arc<ReplyLog>>>);

impl Runs {
    pub(super) fn find(&self, owner: &Owner, reply: MessageId) -> Option<Arc<ReplyLog>> {
        let log = self.lock().get(&reply).cloned()?;
        (log.owner == *owner).then_some(log)
    }

    pub(super) fn of_conversation(
        &self,
        owner: &Owner,
        conversation: ConversationId,
    ) -> Vec<Arc<ReplyLog>> {
        let mut logs: Vec<_> = self
            .lock()
            .values()
            .filter(|log| log.conversation == conversation && log.owner == *owner)
            .cloned()
            .collect();
        logs.sort_by_key(|log| log.reply);
        logs
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, Arc<ReplyLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a run findable; dropping it makes whoever comes later read the row.
#[derive(Debug)]
pub struct RunGuard {
    log: Arc<ReplyLog>,
    runs: Arc<Runs>,
}

impl RunGuard {
    pub(super) fn open(
        runs: &Arc<Runs>,
        owner: &Owner,
        conversation: ConversationId,
        reply: MessageId,
    ) -> Self {
        let log = Arc::new(ReplyLog {
            owner: owner.clone(),
            conversation,
            reply,
            events: Mutex::default(),
            length: watch::Sender::new(0),
            stop: CancellationToken::new(),
        });
        runs.lock().insert(reply, log.clone());
        Self {
            log,
            runs: runs.clone(),
        }
    }

    /// The log.
    pub fn log(&self) -> &Arc<ReplyLog> {
        &self.log
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.log.end_if_open();
        self.runs.lock().remove(&self.log.reply);
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn open() -> (Arc<Runs>, RunGuard) {
        let runs = Arc::new(Runs::default());
        let guard = RunGuard::open(
            &runs,
            &Owner::local(),
            ConversationId::new(),
            MessageId::new(),
        );
        (runs, guard)
    }

    #[tokio::test]
    async fn a_late_reader_gets_what_was_written_and_then_the_rest() {
        let (_runs, guard) = open();
        guard.log().append("Hello");
        guard.log().append(", ");
        let watch = guard.log().clone().watch();
        assert_eq!(watch.so_far, "Hello, ");
        let writing = async {
            guard.log().append("world");
            guard.log().end(ReplyEnd {
                text: "Hello, world".into(),
                response_id: None,
                usage: None,
                outcome: Outcome::Completed,
            });
        };
        let (events, ()) = tokio::join!(watch.events().collect::<Vec<_>>(), writing);
        assert!(matches!(&events[0], ReplyEvent::Delta(text) if &**text == "world"));
        assert!(matches!(&events[1], ReplyEvent::Ended(end) if end.text == "Hello, world"));
        assert_eq!(events.len(), 2);
    }

    #[tokio::test]
    async fn a_run_that_dies_ends_for_its_readers_and_is_found_no_more() {
        let (runs, guard) = open();
        let reply = guard.log().reply();
        let events = guard.log().clone().watch().events();
        assert!(runs.find(&Owner::local(), reply).is_some());
        drop(guard);
        let events: Vec<_> = events.collect().await;
        assert!(matches!(
            &events[..],
            [ReplyEvent::Ended(end)] if matches!(end.outcome, Outcome::Failed(_))
        ));
        assert!(runs.find(&Owner::local(), reply).is_none());
    }

    #[test]
    fn another_owner_finds_no_run() {
        let (runs, guard) = open();
        let other = Owner {
            tenant: "local".into(),
            user: "other".into(),
        };
        assert!(runs.find(&other, guard.log().reply()).is_none());
    }
}
