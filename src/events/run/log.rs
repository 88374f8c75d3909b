//! The log of one reply: what was written, and who waits for more.

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

use super::{Delta, Outcome, Read, ReplyEnd, ReplyEvent, SoFar};
use crate::{
    conversation::{ConversationId, MessageId, Owner},
    error::Error,
};

/// How many pieces a reader may be behind and still get them one by one; beyond, the rest comes as one.
const FEW: usize = 32;

/// The log of one running reply.
#[derive(Debug)]
pub struct ReplyLog {
    of: LogOf,
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    /// Its message is stored.
    is_begun: AtomicBool,
    stop: CancellationToken,
}

/// Whose log it is, and of which reply.
#[derive(Clone, Debug)]
pub struct LogOf {
    /// Whose conversation it is.
    pub owner: Owner,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message that is replied to.
    pub message: MessageId,
    /// The id that the reply's message has, or will have.
    pub reply: MessageId,
}

#[derive(Debug, Default)]
struct Written {
    /// Whether it is known what there is: of another node's reply it is not at first.
    is_known: bool,
    text: String,
    /// The same in the pieces that it came in.
    pieces: Vec<Delta>,
    end: Option<Arc<ReplyEnd>>,
}

/// How far a log is.
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
    /// The empty log of a reply that is written here.
    pub(super) fn new(of: LogOf) -> Self {
        let log = Self::copy(of);
        log.change(|written| written.is_known = true);
        log
    }

    /// The log of a reply that is written elsewhere, of which nothing is known yet.
    pub(super) fn copy(of: LogOf) -> Self {
        Self {
            of,
            written: Mutex::default(),
            progress: watch::Sender::default(),
            is_begun: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// Whose it is, and of which reply.
    pub fn of(&self) -> &LogOf {
        &self.of
    }

    /// How many bytes there are.
    pub fn length(&self) -> usize {
        self.progress.borrow().length
    }

    /// All that there is.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Whether the message that is replied to is stored, so that there is a row to look for.
    pub fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }

    /// Notes that the message is stored.
    pub fn begin(&self) {
        self.is_begun.store(true, Ordering::Release);
    }

    /// Adds text.
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

    /// Adds what the writing node has behind what is here, which may be nothing.
    pub fn take_over(&self, text: &str) {
        match text {
            // Nobody need be woken to hear of nothing.
            "" if self.progress.borrow().is_known => {}
            "" => self.change(|written| written.is_known = true),
            text => self.append(text),
        }
    }

    /// Adds the last event.
    pub fn end(&self, end: ReplyEnd) {
        self.change(|written| written.end = Some(Arc::new(end)));
    }

    /// Ready when nobody follows it, which may not last.
    pub async fn unwatched(&self) {
        self.progress.closed().await;
    }

    pub(super) fn is_watched(&self) -> bool {
        self.progress.receiver_count() > 0
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
            let _ = progress.wait_for(|now| now.is_over || now.is_known && now.length >= place).await;
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
    pub(in crate::events) async fn read(
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
    pub(super) fn end_if_open(&self) {
        if self.progress.borrow().is_over {
            return;
        }
        self.end(ReplyEnd {
            text: self.text(),
            response_id: None,
            usage: None,
            outcome: Outcome::Failed(Error::Internal("the reply's task died".into())),
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
        // A push either happened or not: nothing can be half changed.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
