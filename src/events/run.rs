//! A running reply: a log that its owner writes and any number of readers follow.
//!
//! A reader is a place in the shared log and a wake-up, so a slow one costs nothing and can lose
//! nothing while the run lasts. A place is a number of bytes of the text, and the text of a reply only
//! grows: a reader that comes back with its place goes on there, in this log, in that of another node,
//! or in the row, which are all beginnings of the same text.
//!
//! The log goes with the run: whoever comes later reads the row, which is stored before the log ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_stream::stream;
use tokio::{sync::watch, time::timeout};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;

use crate::{
    conversation::{ConversationId, MessageId, Owner, Usage},
    error::Error,
};

/// How many pieces a reader may be behind and still get them one by one; beyond, the rest comes as one.
const FEW: usize = 32;

/// One step of a reply, for one reader.
#[derive(Clone, Debug)]
pub enum ReplyEvent {
    /// What there is; always the first event. Comes again, not recovered, when what the reader was
    /// told turns out to be more than what was kept: then this is all there is.
    SoFar(SoFar),
    /// More text.
    Delta(Delta),
    /// The last event: the row is stored.
    Ended(Arc<ReplyEnd>),
}

/// What there is of a reply when a reader joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// What follows the reader's place; all of it if it was not recovered.
    pub text: Arc<str>,
    /// How many bytes the reply has with it.
    pub length: usize,
    /// Whether this goes on where the reader was. Otherwise what it has is worth nothing.
    pub recovered: bool,
}

impl SoFar {
    /// What a reader that came with this place, or with none, is told first.
    pub fn new(read: Read, after: Option<usize>) -> Self {
        Self {
            text: read.text.into(),
            length: read.length,
            recovered: read.recovered && after.is_some(),
        }
    }
}

/// More text of a reply.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The text.
    pub text: Arc<str>,
    /// How many bytes the reply has with it.
    pub length: usize,
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
    /// It was stopped, ran into a limit, or its process died.
    Incomplete,
    /// It broke; what had come until then is stored.
    Failed(Error),
}

/// What a reader at some place is told next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Read {
    /// What follows the place; all of it if it was not recovered.
    pub text: String,
    /// How many bytes the reply has with it. Fewer than the reader has: what is missing may still come.
    pub length: usize,
    /// Whether the place is one of this text.
    pub recovered: bool,
}

impl Read {
    /// Reads a text from a place on. A text that is over and ends before the place is another one than
    /// the reader has read; one that grows may get there.
    pub fn of(text: &str, place: usize, is_over: bool) -> Self {
        let length = text.len();
        let (text, recovered) = match text.get(place..) {
            Some(rest) => (rest, true),
            None if place > length && !is_over => ("", true),
            None => (text, false),
        };
        Self {
            text: text.to_owned(),
            length,
            recovered,
        }
    }

    /// Reads a text that replaces what the reader has.
    pub fn anew(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            length: text.len(),
            recovered: false,
        }
    }
}

/// The log of one running reply.
#[derive(Debug)]
pub struct ReplyLog {
    owner: Owner,
    conversation: ConversationId,
    message: MessageId,
    reply: MessageId,
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Written {
    text: String,
    /// The same in the pieces that it came in.
    pieces: Vec<Delta>,
    end: Option<Arc<ReplyEnd>>,
}

/// How far a log is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    pieces: usize,
    length: usize,
    is_over: bool,
}

impl Written {
    fn progress(&self) -> Progress {
        Progress {
            pieces: self.pieces.len(),
            length: self.text.len(),
            is_over: self.end.is_some(),
        }
    }

    /// What follows so many pieces: the next, or all of many.
    fn behind(&self, pieces: usize) -> Option<(Delta, usize)> {
        let new = self.pieces.get(pieces..)?;
        let next = new.first()?;
        if new.len() <= FEW {
            return Some((next.clone(), pieces + 1));
        }
        let from = next.length - next.text.len();
        let all = Delta {
            text: self.text[from..].into(),
            length: self.text.len(),
        };
        Some((all, self.pieces.len()))
    }
}

impl ReplyLog {
    /// The id of the message that is replied to.
    pub fn message(&self) -> MessageId {
        self.message
    }

    /// The id that the reply's message has, or will have.
    pub fn reply(&self) -> MessageId {
        self.reply
    }

    /// How many bytes there are.
    pub fn length(&self) -> usize {
        self.progress.borrow().length
    }

    /// All that there is.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Adds text.
    pub fn append(&self, delta: &str) {
        self.change(|written| {
            written.text.push_str(delta);
            written.pieces.push(Delta {
                text: delta.into(),
                length: written.text.len(),
            });
        });
    }

    /// Adds the last event.
    pub fn end(&self, end: ReplyEnd) {
        self.change(|written| written.end = Some(Arc::new(end)));
    }

    /// Asks the owner of the run to stop; what was written is kept.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Becomes ready when the run shall stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Follows the run: what there is behind the place `after`, or all of it, and what follows. A place
    /// that is not reached yet is waited for.
    pub fn follow(self: Arc<Self>, after: Option<usize>) -> impl Stream<Item = ReplyEvent> + Send {
        let mut progress = self.progress.subscribe();
        stream! {
            let place = after.unwrap_or_default();
            // The sender is the log's own: none of these waits can fail.
            let _ = progress.wait_for(|now| now.length >= place || now.is_over).await;
            let (so_far, mut next) = self.so_far(after);
            yield ReplyEvent::SoFar(so_far);
            loop {
                let _ = progress.wait_for(|now| now.pieces > next || now.is_over).await;
                let Some((delta, place)) = self.lock().behind(next) else { break };
                next = place;
                yield ReplyEvent::Delta(delta);
            }
            let (end, told) = {
                let written = self.lock();
                (written.end.clone(), written.text.len())
            };
            if let Some(end) = end {
                if end.text.len() != told {
                    yield ReplyEvent::SoFar(SoFar::new(Read::anew(&end.text), None));
                }
                yield ReplyEvent::Ended(end);
            }
        }
    }

    /// What there is for a reader that joins, and the first piece behind it.
    fn so_far(&self, after: Option<usize>) -> (SoFar, usize) {
        let written = self.lock();
        let read = Read::of(&written.text, after.unwrap_or_default(), true);
        (SoFar::new(read, after), written.pieces.len())
    }

    /// What a reader at this place, on another node, is told next, and the end if it is over; waits at
    /// most so long for something.
    pub(super) async fn read(
        &self,
        place: usize,
        patience: Duration,
    ) -> (Read, Option<Arc<ReplyEnd>>) {
        let mut progress = self.progress.subscribe();
        let news = progress.wait_for(|now| now.length > place || now.is_over);
        // Nothing new is an answer too.
        let _ = timeout(patience, news).await;
        let written = self.lock();
        let read = Read::of(&written.text, place, written.end.is_some());
        (read, written.end.clone())
    }

    /// Ends a run whose owner died without a word, so that no reader waits for ever.
    fn end_if_open(&self) {
        if self.progress.borrow().is_over {
            return;
        }
        self.end(ReplyEnd {
            text: self.text(),
            response_id: None,
            usage: None,
            outcome: Outcome::Failed(Error::Internal("the reply's task died".into())),
        });
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        let progress = {
            let mut written = self.lock();
            change(&mut written);
            written.progress()
        };
        self.progress.send_replace(progress);
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // A push either happened or not: nothing can be half changed.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs of this process, by the id of the reply.
#[derive(Debug, Default)]
pub(super) struct Runs(Mutex<HashMap<MessageId, Arc<ReplyLog>>>);

impl Runs {
    pub(super) fn find(&self, owner: &Owner, reply: MessageId) -> Option<Arc<ReplyLog>> {
        let log = self.any(reply)?;
        (log.owner == *owner).then_some(log)
    }

    /// Whoever it belongs to: another node, which asks for it, has looked.
    pub(super) fn any(&self, reply: MessageId) -> Option<Arc<ReplyLog>> {
        self.lock().get(&reply).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<ReplyLog>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn of_conversation(
        &self,
        owner: &Owner,
        conversation: ConversationId,
    ) -> Vec<Arc<ReplyLog>> {
        let mut logs = self.all();
        logs.retain(|log| log.conversation == conversation && log.owner == *owner);
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
        message: MessageId,
        reply: MessageId,
    ) -> Self {
        let log = Arc::new(ReplyLog {
            owner: owner.clone(),
            conversation,
            message,
            reply,
            written: Mutex::default(),
            progress: watch::Sender::default(),
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
            MessageId::new(),
        );
        (runs, guard)
    }

    fn end(log: &ReplyLog) {
        log.end(ReplyEnd {
            text: log.text(),
            response_id: None,
            usage: None,
            outcome: Outcome::Completed,
        });
    }

    /// What a reader is told, as `=all`, `~rest`, `+more` and `.` for the end.
    async fn told(events: impl Stream<Item = ReplyEvent>) -> Vec<String> {
        let events = events.map(|event| match event {
            ReplyEvent::SoFar(so_far) if so_far.recovered => format!("~{}", so_far.text),
            ReplyEvent::SoFar(so_far) => format!("={}", so_far.text),
            ReplyEvent::Delta(delta) => format!("+{}", delta.text),
            ReplyEvent::Ended(_) => ".".into(),
        });
        events.collect().await
    }

    #[tokio::test]
    async fn a_late_reader_gets_what_was_written_and_then_the_rest() {
        let (_runs, guard) = open();
        guard.log().append("Hello");
        guard.log().append(", ");
        let writing = async {
            tokio::task::yield_now().await;
            guard.log().append("world");
            end(guard.log());
        };
        let (told, ()) = tokio::join!(told(guard.log().clone().follow(None)), writing);
        assert_eq!(told, ["=Hello, ", "+world", "."]);
    }

    #[tokio::test]
    async fn a_reader_goes_on_at_its_place_or_is_told_that_there_is_no_such_place() {
        let (_runs, guard) = open();
        guard.log().append("Kyō");
        guard.log().append("to");
        end(guard.log());
        let from = async |place| told(guard.log().clone().follow(Some(place))).await;
        assert_eq!(from(0).await, ["~Kyōto", "."]);
        assert_eq!(from(2).await, ["~ōto", "."]);
        // In the middle of a character.
        assert_eq!(from(3).await, ["=Kyōto", "."]);
        assert_eq!(from(5).await, ["~o", "."]);
        assert_eq!(from(6).await, ["~", "."]);
        assert_eq!(from(7).await, ["=Kyōto", "."]);
        assert_eq!(from(usize::MAX).await, ["=Kyōto", "."]);
    }

    #[tokio::test]
    async fn a_place_that_is_not_reached_yet_is_waited_for() {
        let (_runs, guard) = open();
        guard.log().append("Ky");
        let writing = async {
            tokio::task::yield_now().await;
            guard.log().append("oto");
            end(guard.log());
        };
        let (told, ()) = tokio::join!(told(guard.log().clone().follow(Some(4))), writing);
        assert_eq!(told, ["~o", "."]);
    }

    #[tokio::test]
    async fn a_reader_far_behind_gets_the_rest_as_one() {
        let (_runs, guard) = open();
        let mut events = std::pin::pin!(guard.log().clone().follow(None));
        assert!(matches!(events.next().await, Some(ReplyEvent::SoFar(_))));
        let text: String = ('a'..='z').chain('A'..='Z').collect();
        for letter in text.chars() {
            guard.log().append(&letter.to_string());
        }
        end(guard.log());
        assert_eq!(told(events).await, [format!("+{text}"), ".".into()]);
    }

    #[tokio::test]
    async fn another_node_reads_what_follows_a_place() {
        let (_runs, guard) = open();
        let log = guard.log().clone();
        let now = Duration::ZERO;
        let read = |text: &str, length, recovered| Read {
            text: text.into(),
            length,
            recovered,
        };
        assert_eq!(log.read(0, now).await.0, read("", 0, true));
        log.append("Kyoto");
        assert_eq!(log.read(2, now).await.0, read("oto", 5, true));
        assert_eq!(log.read(7, now).await.0, read("", 5, true));
        let waiting = log.read(5, Duration::from_secs(60));
        let writing = async { log.append("!") };
        assert_eq!(tokio::join!(waiting, writing).0.0, read("!", 6, true));
        end(&log);
        let (last, is_over) = log.read(7, now).await;
        assert_eq!((last, is_over.is_some()), (read("Kyoto!", 6, false), true));
    }

    #[tokio::test]
    async fn a_run_that_dies_ends_for_its_readers_and_is_found_no_more() {
        let (runs, guard) = open();
        let reply = guard.log().reply();
        let events = guard.log().clone().follow(None);
        assert!(runs.find(&Owner::local(), reply).is_some());
        drop(guard);
        let events: Vec<_> = events.collect().await;
        assert!(matches!(
            &events[..],
            [ReplyEvent::SoFar(_), ReplyEvent::Ended(end)] if matches!(end.outcome, Outcome::Failed(_))
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
