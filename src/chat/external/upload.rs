//! A reply in one request: copies the events of an upload into the reply's writer.
//!
//! An upload that breaks off leaves the reply open, and everything that arrived stays stored. Another upload can
//! continue from any offset up to that point; bytes that are already stored are compared and skipped.

use std::sync::Arc;

use futures_util::{StreamExt, stream::BoxStream};

use super::{
    FinishReply, MAX_MOVES, MAX_REPLY_BYTES, OpenReply, ReplyProgress, TakePermit,
    append::{add_part, progress},
    ended,
    session::{Session, Writing, end, end_with, refusal, release, settle},
};
use crate::{
    chat::{Chat, writer::ReplyWriter},
    conversation::{Owner, Part, PartContent, ReplyOutcome, Usage},
    db::{ReplyState, Turn},
    error::{Error, Result},
    events::run::Outcome,
};

/// One event of an upload.
#[derive(Clone, Debug, PartialEq)]
pub enum UploadEvent {
    /// More text.
    Text(String),
    /// A part: a piece of reasoning, a tool call or its next state, data.
    Part(PartContent),
    /// The source's id for the reply.
    ResponseId(String),
    /// The model that writes the reply.
    Model(String),
    /// The token usage so far.
    Usage(Usage),
    /// The end of the reply.
    Finish {
        /// How it ended.
        outcome: ReplyOutcome,
        /// Why it is incomplete, if known.
        reason: Option<&'static str>,
    },
}

/// The events of an upload. The stream ends where the upload ends or breaks off; an error ends it too.
pub type UploadStream = BoxStream<'static, Result<UploadEvent>>;

/// A reply to write in one request.
#[derive(Clone, Debug)]
pub struct UploadReply {
    /// The reply, opened by this upload unless it is already known.
    pub open: OpenReply,
    /// The byte offset in the reply's text at which the upload begins.
    pub offset: usize,
}

/// The result of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// The reply has ended.
    Ended {
        /// The reply as it is stored.
        progress: ReplyProgress,
        /// Whether this upload ended it.
        is_new: bool,
    },
    /// The upload broke off; the reply stays open.
    Cut(ReplyProgress),
}

/// Why copying an upload ended.
enum Stop {
    /// The upload ended the reply.
    Finished(ReplyOutcome, Option<&'static str>),
    /// The upload has no further events.
    Cut,
    /// The upload is malformed, or does not continue the reply.
    Refused(Error),
    /// Like `Refused`, but no later upload can continue the reply.
    Useless(Error),
    /// The reply has reached its maximum length.
    Full,
    /// The reply was stopped, its time is over, or the server aborts.
    CutOff(Outcome),
    /// This node must no longer write the reply.
    Fenced,
}

impl Chat {
    /// Opens or continues a reply, and writes it from an upload.
    ///
    /// # Errors
    /// As [`Self::open_reply`] and [`Self::append_reply`]; the errors of the events. What arrived before the error is
    /// stored, and the reply stays open until its lease expires.
    pub async fn upload_reply(
        &self,
        owner: &Owner,
        upload: UploadReply,
        events: UploadStream,
        permit: TakePermit,
    ) -> Result<Uploaded> {
        let (chat, owner) = (self.clone(), owner.clone());
        self.apart(async move { chat.upload(&owner, upload, events, permit).await })
            .await
    }

    async fn upload(
        &self,
        owner: &Owner,
        upload: UploadReply,
        mut events: UploadStream,
        permit: TakePermit,
    ) -> Result<Uploaded> {
        let conversation = upload.open.conversation_id;
        let is_named = upload.open.reply_id.is_some();
        if !is_named && upload.offset > 0 {
            return Err(Error::OffsetMismatch { expected: 0 });
        }
        let (turn, _) = self
            .open_session(owner, upload.open, permit.clone())
            .await?;
        let reply = turn.reply_id;
        if turn.reply != ReplyState::Running {
            return self.repeat(owner, turn, upload.offset, &mut events).await;
        }
        for _ in 0..MAX_MOVES {
            let session = self.session(owner, (conversation, reply), None, &permit);
            let session = match session.await {
                // A duplicate of this upload was faster.
                Err(Error::ReplyEnded) => {
                    let turn = self.external_turn(owner, conversation, reply).await?;
                    return self.repeat(owner, turn, upload.offset, &mut events).await;
                }
                session => session?,
            };
            let mut writing = session.writing().await?;
            if writing.is_none() {
                continue;
            }
            // If another node has taken the reply over, the session on this node may lack text.
            if !session.checkpoint(self, "").await? {
                let fenced = settle(self, &session, writing).await?;
                refusal(fenced).map_or(Ok(()), Err)?;
                continue;
            }
            let length = session.log().length();
            if upload.offset > length {
                return Err(Error::OffsetMismatch { expected: length });
            }
            let held = Held::new(&session);
            let stop = copy(&session, &mut writing, upload.offset, &mut events).await;
            // A refused upload can be corrected only if the program knows the id and some text is stored.
            let stop = match stop {
                Stop::Refused(error)
                    if error.is_of_request() && !(is_named && session.log().length() > 0) =>
                {
                    Stop::Useless(error)
                }
                stop => stop,
            };
            return self.stopped(owner, &session, (writing, held), stop).await;
        }
        Err(Error::ReplyBusy)
    }

    /// Answers an upload to a reply that has already ended. Writes nothing.
    async fn repeat(
        &self,
        owner: &Owner,
        turn: Turn,
        offset: usize,
        events: &mut UploadStream,
    ) -> Result<Uploaded> {
        let reply = turn.reply_id;
        let progress = self.progress_of(owner, turn).await?;
        match progress.outcome {
            Some(ReplyOutcome::Completed) => {}
            Some(ReplyOutcome::Stopped) => return Err(Error::ReplyStopped),
            // The program or an expired lease ended it: the rest of this upload's text would be lost silently.
            outcome => {
                let stored = self.inner.db.find_message(owner, reply).await?;
                let text = stored.map(|stored| stored.content).unwrap_or_default();
                check_repeats(&text, offset, outcome, events).await?;
            }
        }
        Ok(Uploaded::Ended {
            progress,
            is_new: false,
        })
    }

    /// Ends an upload, and the reply too unless a later upload can continue it.
    async fn stopped(
        &self,
        owner: &Owner,
        session: &Arc<Session>,
        (writing, held): (Writing<'_>, Held<'_>),
        stop: Stop,
    ) -> Result<Uploaded> {
        let (is_here, error) = match stop {
            Stop::Finished(outcome, reason) => {
                let finish = FinishReply {
                    outcome,
                    usage: None,
                    model: None,
                };
                let is_here = match reason {
                    None => end_with(self, session, writing, &finish).await?,
                    Some(_) => end(self, session, writing, finish.outcome(), reason).await?,
                };
                (is_here, None)
            }
            Stop::Full => {
                let reason = Some("length");
                let is_here = end(self, session, writing, Outcome::Incomplete, reason).await?;
                let error = Error::PayloadTooLarge {
                    limit_bytes: MAX_REPLY_BYTES,
                };
                (is_here, Some(error))
            }
            Stop::Useless(error) => {
                let outcome = match session.log().length() {
                    0 => Outcome::Failed(Error::ModelUnavailable(
                        "the upload of the reply was refused".into(),
                    )),
                    _ => Outcome::Incomplete,
                };
                let is_here = end(self, session, writing, outcome, None).await?;
                (is_here, Some(error))
            }
            Stop::CutOff(_) if self.inner.abort.is_cancelled() => {
                release(self, session, writing);
                return Err(Error::ShuttingDown);
            }
            Stop::CutOff(outcome) => {
                let error = match outcome {
                    Outcome::Stopped => Error::ReplyStopped,
                    _ => Error::ReplyEnded,
                };
                (
                    end(self, session, writing, outcome, None).await?,
                    Some(error),
                )
            }
            Stop::Fenced => {
                let fenced = settle(self, session, writing).await?;
                return Err(refusal(fenced).unwrap_or(Error::ReplyBusy));
            }
            Stop::Cut | Stop::Refused(_) => {
                if !session.checkpoint(self, "").await? {
                    let fenced = settle(self, session, writing).await?;
                    return Err(refusal(fenced).unwrap_or(Error::ReplyBusy));
                }
                drop(held);
                let progress = progress(self, session);
                return match stop {
                    Stop::Refused(error) => Err(error),
                    _ => Ok(Uploaded::Cut(progress)),
                };
            }
        };
        match (is_here, error) {
            (_, Some(error)) => Err(error),
            (false, None) => Err(Error::ReplyBusy),
            (true, None) => {
                let turn = session.turn();
                let turn = self
                    .external_turn(owner, turn.conversation_id, turn.reply_id)
                    .await?;
                let progress = self.progress_of(owner, turn).await?;
                match progress.outcome {
                    // Another node closed the reply, because this node was late.
                    None => Err(ended(None)),
                    Some(_) => Ok(Uploaded::Ended {
                        progress,
                        is_new: true,
                    }),
                }
            }
        }
    }
}

/// Checks that an upload to a reply that has ended repeats the stored content, up to the same end.
///
/// # Errors
/// [`Error::ReplyEnded`] if the upload has other content or another end.
async fn check_repeats(
    stored: &str,
    offset: usize,
    outcome: Option<ReplyOutcome>,
    events: &mut UploadStream,
) -> Result<()> {
    let mut left = stored.get(offset..).ok_or(Error::ReplyEnded)?;
    while let Some(event) = events.next().await {
        match event? {
            UploadEvent::Text(text) => {
                left = left.strip_prefix(text.as_str()).ok_or(Error::ReplyEnded)?;
            }
            UploadEvent::Finish { outcome: said, .. }
                if Some(said) == outcome && left.is_empty() =>
            {
                return Ok(());
            }
            UploadEvent::Finish { .. } => return Err(Error::ReplyEnded),
            _ => {}
        }
    }
    Err(Error::ReplyEnded)
}

/// Marks a session as held by an upload.
struct Held<'a>(&'a Session);

impl<'a> Held<'a> {
    fn new(session: &'a Session) -> Self {
        session.set_held(true);
        Self(session)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set_held(false);
    }
}

/// Copies events until something ends the upload.
async fn copy(
    session: &Session,
    writing: &mut Option<ReplyWriter>,
    offset: usize,
    events: &mut UploadStream,
) -> Stop {
    let Some(writer) = writing.as_mut() else {
        return Stop::Fenced;
    };
    let mut cut_off = std::pin::pin!(writer.cut_off());
    let mut replay = Replay::new(session, offset);
    loop {
        let event = tokio::select! {
            biased;
            outcome = &mut cut_off => return Stop::CutOff(outcome),
            () = session.suspected() => return Stop::Fenced,
            event = events.next() => event,
        };
        let event = match event {
            None => return Stop::Cut,
            Some(Err(error)) => return Stop::Refused(error),
            Some(Ok(event)) => event,
        };
        match event {
            UploadEvent::Text(text) => {
                let Some(rest) = replay.text(&text) else {
                    let expected = session.log().length();
                    return Stop::Refused(Error::OffsetMismatch { expected });
                };
                let room = MAX_REPLY_BYTES.saturating_sub(session.log().length());
                let fits = &rest[..rest.floor_char_boundary(room)];
                if !fits.is_empty() {
                    writer.append(fits);
                }
                if fits.len() < rest.len() {
                    return Stop::Full;
                }
            }
            UploadEvent::Part(PartContent::Reasoning { text }) => {
                let text = replay.reasoning(text);
                if !text.is_empty() {
                    writer.append_reasoning(&text);
                }
            }
            UploadEvent::Part(part) => {
                let may_change = matches!(
                    part,
                    PartContent::Tool { .. } | PartContent::Data { id: Some(_), .. }
                );
                // A part with an id may have changed after the repeated text.
                if !replay.is_behind() || may_change {
                    add_part(writer, session.log(), part, &mut replay.parts);
                }
            }
            UploadEvent::ResponseId(id) => writer.set_response_id(id),
            UploadEvent::Model(model) => writer.set_model(&model),
            UploadEvent::Usage(usage) => writer.set_usage(usage),
            UploadEvent::Finish { outcome, reason } => return Stop::Finished(outcome, reason),
        }
    }
}

/// The text and reasoning written before the upload, which it may repeat.
struct Replay {
    /// The text that the upload may repeat.
    text: String,
    /// The reasoning after the whole text, which the upload may repeat.
    reasoning: String,
    /// The parts that the upload may repeat.
    parts: Vec<Arc<Part>>,
}

impl Replay {
    fn new(session: &Session, offset: usize) -> Self {
        let log = session.log();
        let text = log.text();
        let parts = log.parts();
        let reasoning = match parts.last() {
            Some(part) if part.at == text.len() => match &part.content {
                PartContent::Reasoning { text } => text.clone(),
                _ => String::new(),
            },
            _ => String::new(),
        };
        Self {
            text: text.get(offset..).unwrap_or("\0").to_owned(),
            reasoning,
            parts,
        }
    }

    /// Whether the upload has not reached the end of the written text yet.
    fn is_behind(&self) -> bool {
        !self.text.is_empty()
    }

    /// The new suffix of a text; `None` if the text differs from what is written.
    fn text<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let known = std::mem::take(&mut self.text);
        match text.strip_prefix(known.as_str()) {
            Some(rest) => {
                if !rest.is_empty() {
                    self.reasoning.clear();
                }
                Some(rest)
            }
            None => {
                self.text = known.strip_prefix(text)?.to_owned();
                Some("")
            }
        }
    }

    /// The new suffix of a piece of reasoning.
    fn reasoning(&mut self, text: String) -> String {
        if self.is_behind() {
            return String::new();
        }
        let known = std::mem::take(&mut self.reasoning);
        match known.strip_prefix(text.as_str()) {
            Some(rest) => {
                self.reasoning = rest.to_owned();
                String::new()
            }
            None => match text.strip_prefix(known.as_str()) {
                Some(rest) => rest.to_owned(),
                None => text,
            },
        }
    }
}
