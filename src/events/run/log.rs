//! The log of one running reply: its text and parts so far, and a watch channel that wakes its readers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_stream::stream;
use futures_util::Stream;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Outcome, ReplyEnd, ReplyLogEvent, ReplySlice, ReplySnapshot, written::Written};
use crate::{
    conversation::{ConversationId, MessageId, Owner, Part, PartContent},
    error::Error,
    events::Place,
};

/// The log of one running reply.
#[derive(Debug)]
pub struct ReplyLog {
    of: ReplyIds,
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    /// Whether the turn is stored.
    is_begun: AtomicBool,
    keeps_reasoning: AtomicBool,
    /// Whether a program outside of the server writes the reply, and whether its upload is open.
    is_external: AtomicBool,
    is_held: AtomicBool,
    stop: CancellationToken,
}

/// The owner and the ids of a reply.
#[derive(Clone, Debug)]
pub struct ReplyIds {
    /// The owner of the conversation.
    pub owner: Owner,
    /// The conversation.
    pub conversation: ConversationId,
    /// The turn's id, which cursors hold.
    pub turn: MessageId,
    /// The id of the reply's message, assigned before it is stored.
    pub reply: MessageId,
}

/// The state that readers wait on.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    is_known: bool,
    pieces: usize,
    length: usize,
    changes: u64,
    is_over: bool,
}

impl Progress {
    fn of(written: &Written) -> Self {
        Self {
            is_known: written.is_known,
            pieces: written.pieces(),
            length: written.text.len(),
            changes: written.changes,
            is_over: written.end.is_some(),
        }
    }
}

/// The result of another node's read of a log.
pub(in crate::events) struct LogSlice {
    pub(in crate::events) text: ReplySlice,
    /// The changed parts in the order of their changes, each with its change number.
    pub(in crate::events) parts: Vec<(Arc<Part>, u64)>,
    pub(in crate::events) end: Option<Arc<ReplyEnd>>,
}

impl ReplyLog {
    /// The empty log of a reply that this node writes.
    pub(super) fn new(of: ReplyIds) -> Self {
        let log = Self::copy(of);
        log.change(|written| written.is_known = true);
        log
    }

    /// The empty copy of a log that another node writes.
    pub(super) fn copy(of: ReplyIds) -> Self {
        Self {
            of,
            written: Mutex::default(),
            progress: watch::Sender::default(),
            is_begun: AtomicBool::new(false),
            keeps_reasoning: AtomicBool::new(false),
            is_external: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// The owner and the ids of the reply.
    pub fn ids(&self) -> &ReplyIds {
        &self.of
    }

    /// The length of the text in bytes.
    pub fn length(&self) -> usize {
        self.progress.borrow().length
    }

    /// The text so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Whether the message that is replied to is stored, so that the row exists.
    pub fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }

    /// Records that the message is stored.
    pub fn begin(&self) {
        self.is_begun.store(true, Ordering::Release);
    }

    /// Stores reasoning with the reply; without this call, reasoning is only delivered live.
    pub fn keep_reasoning(&self) {
        self.keeps_reasoning.store(true, Ordering::Release);
    }

    /// Marks the reply as one that a program outside of the server writes.
    pub(super) fn set_external(&self) {
        self.is_external.store(true, Ordering::Release);
    }

    /// Whether a program outside of the server writes the reply.
    pub fn is_external(&self) -> bool {
        self.is_external.load(Ordering::Acquire)
    }

    /// Records whether an upload of the reply is open.
    pub fn set_held(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Release);
    }

    /// Whether an upload of the reply is open.
    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// The parts to store, and the number of changes that they include.
    pub fn stored_parts(&self) -> (Vec<Part>, u64) {
        let keeps_reasoning = self.keeps_reasoning.load(Ordering::Acquire);
        let written = self.lock();
        let parts = written.parts().into_iter();
        let stored = parts.filter(|part| keeps_reasoning || !part.is_reasoning());
        (stored.map(Arc::unwrap_or_clone).collect(), written.changes)
    }

    /// The number of changes to parts.
    pub fn changes(&self) -> u64 {
        self.progress.borrow().changes
    }

    /// Appends text.
    pub fn append(&self, delta: &str) {
        self.change(|written| written.append(delta));
    }

    /// Appends reasoning.
    pub fn append_reasoning(&self, delta: &str) {
        self.change(|written| written.append_reasoning(delta));
    }

    /// Adds a part, or the result of a tool call to the part of the same id.
    pub fn add_part(&self, content: PartContent) {
        self.change(|written| written.add(content));
    }

    /// The tool call with this id, which its next state would replace.
    pub fn tool(&self, id: &str) -> Option<Arc<Part>> {
        self.lock().tool(id)
    }

    /// The data with this name and id, which further data with both would replace.
    pub fn data(&self, name: &str, id: &str) -> Option<Arc<Part>> {
        self.lock().data(name, id)
    }

    /// All parts so far.
    pub fn parts(&self) -> Vec<Arc<Part>> {
        self.lock().parts()
    }

    /// Inserts a part at its index, unless it is already there.
    pub fn put_part(&self, part: Part) {
        self.change(|written| written.put(part));
    }

    /// Appends text and parts from the writing node; both may be empty.
    pub fn append_remote(&self, text: &str, parts: Vec<Part>) {
        // Empty and already known: do not wake the readers.
        if text.is_empty() && parts.is_empty() && self.progress.borrow().is_known {
            return;
        }
        self.change(|written| {
            written.is_known = true;
            let mut rest = text;
            for part in parts {
                // Readers receive a part after the text that precedes it.
                let before = part.at.saturating_sub(written.text.len()).min(rest.len());
                let (now, later) = rest.split_at(rest.floor_char_boundary(before));
                if !now.is_empty() {
                    written.append(now);
                }
                rest = later;
                written.put(part);
            }
            if !rest.is_empty() {
                written.append(rest);
            }
        });
    }

    /// Ends the log.
    pub fn end(&self, end: ReplyEnd) {
        self.change(|written| written.end = Some(Arc::new(end)));
    }

    /// Completes when the log has no readers. A new reader may join right after.
    pub async fn unwatched(&self) {
        self.progress.closed().await;
    }

    pub(super) fn is_watched(&self) -> bool {
        self.progress.receiver_count() > 0
    }

    /// Requests that the run stops. Its text is kept.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The token that is cancelled when the run should stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Follows the log: a snapshot from the place `after`, or of everything, then text and parts as they come, then the
    /// end. Waits for an offset that the text has not reached yet.
    pub fn follow(
        self: Arc<Self>,
        after: Option<Place>,
    ) -> impl Stream<Item = ReplyLogEvent> + Send {
        let mut progress = self.progress.subscribe();
        stream! {
            let offset = after.unwrap_or_default().bytes;
            // `wait_for` fails only when the sender is dropped, and `self` owns the sender.
            let _ = progress.wait_for(|now| now.is_over || now.is_known && now.length >= offset).await;
            let (snapshot, mut next) = self.snapshot(after);
            yield ReplyLogEvent::Snapshot(snapshot);
            loop {
                let _ = progress.wait_for(|now| now.pieces > next || now.is_over).await;
                let Some((event, pieces)) = self.lock().next_event(next) else { break };
                next = pieces;
                yield event;
            }
            let (end, is_delivered) = {
                let written = self.lock();
                let end = written.end.clone();
                let is_delivered = end.as_ref().is_some_and(|end| end.text == written.text);
                (end, is_delivered)
            };
            if let Some(end) = end {
                if !is_delivered {
                    let parts = self.lock().parts();
                    yield ReplyLogEvent::Snapshot(ReplySnapshot::new(ReplySlice::replacement(&end.text), parts, None));
                }
                yield ReplyLogEvent::Ended(end);
            }
        }
    }

    /// The snapshot for a reader that joins, and the number of pieces in it.
    fn snapshot(&self, after: Option<Place>) -> (ReplySnapshot, usize) {
        let written = self.lock();
        let offset = after.unwrap_or_default().bytes;
        let read = ReplySlice::from_offset(&written.text, offset, true);
        let snapshot = ReplySnapshot::new(read, written.parts(), after);
        (snapshot, written.pieces())
    }

    /// Reads the text after an offset and the parts changed after a change, for another node, and the end if the reply
    /// is over. Waits up to `max_wait` for new content. `changes` is `None` if the reader does not support parts.
    pub(in crate::events) async fn read(
        &self,
        offset: usize,
        changes: Option<u64>,
        max_wait: Duration,
    ) -> LogSlice {
        let mut progress = self.progress.subscribe();
        let is_changed = |now: &Progress| changes.is_some_and(|known| now.changes > known);
        let news = progress.wait_for(|now| now.length > offset || is_changed(now) || now.is_over);
        // On a timeout, returns no text.
        let _ = timeout(max_wait, news).await;
        let written = self.lock();
        LogSlice {
            text: ReplySlice::from_offset(&written.text, offset, written.end.is_some()),
            parts: changes
                .map(|known| written.changed(known))
                .unwrap_or_default(),
            end: written.end.clone(),
        }
    }

    /// Ends a log whose task panicked, so that readers do not wait forever.
    pub(super) fn end_if_open(&self) {
        if self.progress.borrow().is_over {
            return;
        }
        self.end(ReplyEnd {
            text: self.text(),
            response_id: None,
            usage: None,
            model: None,
            outcome: Outcome::Failed(Error::Internal(
                "the task of the reply ended without storing its end".into(),
            )),
            reason: None,
        });
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        let progress = {
            let mut written = self.lock();
            change(&mut written);
            Progress::of(&written)
        };
        self.progress.send_replace(progress);
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // A change is one push or one assignment, so a panic cannot leave a partial one.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
