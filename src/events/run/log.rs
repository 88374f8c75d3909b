//! The log of one running reply: its text so far, and a watch channel that wakes its readers.

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

use super::{Delta, Outcome, ReplyEnd, ReplyLogEvent, ReplySlice, SoFar};
use crate::{
    conversation::{ConversationId, MessageId, Owner},
    error::Error,
};

/// How many deltas a reader may lag and still receive them one by one; beyond, they are coalesced.
const MAX_SEPARATE_DELTAS: usize = 32;

/// The log of one running reply.
#[derive(Debug)]
pub struct ReplyLog {
    of: ReplyIds,
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    /// Whether the message that is replied to is stored.
    is_begun: AtomicBool,
    stop: CancellationToken,
}

/// The owner and the ids of a reply.
#[derive(Clone, Debug)]
pub struct ReplyIds {
    /// The owner of the conversation.
    pub owner: Owner,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message that is replied to.
    pub message: MessageId,
    /// The id of the reply's message, assigned before it is stored.
    pub reply: MessageId,
}

#[derive(Debug, Default)]
struct Written {
    /// Whether the text is known. The copy of another node's reply does not know it before the first answer.
    is_known: bool,
    text: String,
    /// The text as the deltas in which it arrived.
    pieces: Vec<Delta>,
    end: Option<Arc<ReplyEnd>>,
}

/// The state that readers wait on.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    is_known: bool,
    pieces: usize,
    length: usize,
    is_over: bool,
}

impl Written {
    fn progress(&self) -> Progress {
        Progress {
            is_known: self.is_known,
            pieces: self.pieces.len(),
            length: self.text.len(),
            is_over: self.end.is_some(),
        }
    }

    /// The next delta after this many pieces: one piece, or all of them coalesced. Returns the new number of pieces
    /// too.
    fn next_delta(&self, pieces: usize) -> Option<(Delta, usize)> {
        let new = self.pieces.get(pieces..)?;
        let next = new.first()?;
        if new.len() <= MAX_SEPARATE_DELTAS {
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

    /// Appends text.
    pub fn append(&self, delta: &str) {
        self.change(|written| {
            written.is_known = true;
            written.text.push_str(delta);
            written.pieces.push(Delta {
                text: delta.into(),
                length: written.text.len(),
            });
        });
    }

    /// Appends text from the writing node; it may be empty.
    pub fn append_remote(&self, text: &str) {
        match text {
            // Empty and already known: do not wake the readers.
            "" if self.progress.borrow().is_known => {}
            "" => self.change(|written| written.is_known = true),
            text => self.append(text),
        }
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

    /// Cancelled when the run should stop.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Follows the log: a snapshot from the offset `after`, or of the whole text, then deltas, then the end. Waits for
    /// an offset that the text has not reached yet.
    pub fn follow(
        self: Arc<Self>,
        after: Option<usize>,
    ) -> impl Stream<Item = ReplyLogEvent> + Send {
        let mut progress = self.progress.subscribe();
        stream! {
            let offset = after.unwrap_or_default();
            // `wait_for` fails only when the sender is dropped, and `self` owns the sender.
            let _ = progress.wait_for(|now| now.is_over || now.is_known && now.length >= offset).await;
            let (so_far, mut next) = self.so_far(after);
            yield ReplyLogEvent::SoFar(so_far);
            loop {
                let _ = progress.wait_for(|now| now.pieces > next || now.is_over).await;
                let Some((delta, pieces)) = self.lock().next_delta(next) else { break };
                next = pieces;
                yield ReplyLogEvent::Delta(delta);
            }
            let (end, delivered) = {
                let written = self.lock();
                (written.end.clone(), written.text.len())
            };
            if let Some(end) = end {
                if end.text.len() != delivered {
                    yield ReplyLogEvent::SoFar(SoFar::new(ReplySlice::replacement(&end.text), None));
                }
                yield ReplyLogEvent::Ended(end);
            }
        }
    }

    /// The snapshot for a reader that joins, and the number of pieces in it.
    fn so_far(&self, after: Option<usize>) -> (SoFar, usize) {
        let written = self.lock();
        let read = ReplySlice::from_offset(&written.text, after.unwrap_or_default(), true);
        (SoFar::new(read, after), written.pieces.len())
    }

    /// Reads the text after an offset, for another node, and the end if the reply is over. Waits up to `max_wait` for
    /// new text.
    pub(in crate::events) async fn read(
        &self,
        offset: usize,
        max_wait: Duration,
    ) -> (ReplySlice, Option<Arc<ReplyEnd>>) {
        let mut progress = self.progress.subscribe();
        let news = progress.wait_for(|now| now.length > offset || now.is_over);
        // On a timeout, answer with no text.
        let _ = timeout(max_wait, news).await;
        let written = self.lock();
        let read = ReplySlice::from_offset(&written.text, offset, written.end.is_some());
        (read, written.end.clone())
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
            written.progress()
        };
        self.progress.send_replace(progress);
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // A change is one push or one assignment, so a panic cannot leave a partial one.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
