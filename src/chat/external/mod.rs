//! Replies that an external program writes: opened for a stored message, appended to at an offset, finished.
//!
//! A `Session` is an open reply on this node; it holds the reply's writer between requests. An append answers after its
//! checkpoint, so an acknowledged offset is stored. Each checkpoint is fenced by the node in the turn's row, so a reply
//! has one writing node even if a program's requests reach several nodes: a request that reaches another node takes the
//! reply over there, and the former node notices at its next checkpoint.
//!
//! | file | what it does |
//! | --- | --- |
//! | `session` | one open reply: checkpoints, its end, its hand-over |
//! | `keeper` | the task of a session: lease, stop, shutdown |
//! | `append` | one append: compares its offset and bytes |
//! | `upload` | a reply in one request |

mod append;
mod keeper;
mod session;
mod upload;

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub(super) use self::keeper::ABANDONED;
use self::session::Session;
pub use self::{
    append::Append,
    upload::{UploadEvent, UploadReply, UploadStream, Uploaded},
};
use super::{Chat, Inner, STORE_TIMEOUT, request::check_agent};
use crate::{
    conversation::{ConversationId, MessageId, Owner, ReplyOutcome, Usage},
    db::{NewExternalReply, OpenedReply, ReplyState, Turn},
    error::{Error, Result},
    events::run::Outcome,
    step::{Step, step},
};

/// The longest text of a reply, in bytes.
pub const MAX_REPLY_BYTES: usize = 512 * 1024;

/// How long a request waits for another request that writes the same reply.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of lookups of the node that runs the reply, while nodes take it over from each other.
const MAX_MOVES: usize = 3;

/// A resource that an open reply holds on this node, such as a slot of a limit.
pub type Permit = Box<dyn Any + Send + Sync>;

/// Takes a permit for one more open reply.
pub type TakePermit = Arc<dyn Fn() -> Result<Permit> + Send + Sync>;

/// A reply to open.
#[derive(Clone, Debug)]
pub struct OpenReply {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The id of the reply; `None` for a new one.
    pub reply_id: Option<MessageId>,
    /// The user message to answer; `None` for the newest one.
    pub in_reply_to: Option<MessageId>,
    /// The agent that answers from now on; `None` keeps the conversation's agent.
    pub agent: Option<String>,
}

/// How a reply ends.
#[derive(Clone, Debug)]
pub struct FinishReply {
    /// How it ended.
    pub outcome: ReplyOutcome,
    /// The token usage, if the program reports it.
    pub usage: Option<Usage>,
    /// The model that wrote the reply, if the program names it.
    pub model: Option<String>,
}

/// The stored progress of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyProgress {
    /// The reply.
    pub reply_id: MessageId,
    /// The length of the stored text in bytes, which is the offset of the next append.
    pub offset: usize,
    /// How it ended; `None` while it runs.
    pub outcome: Option<ReplyOutcome>,
    /// The time until its lease expires; zero if it has ended.
    pub lease: Duration,
}

/// The replies that are open on this node.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<MessageId, Arc<Session>>>,
    /// Cancelled when the node shuts down: other nodes continue the replies.
    draining: OnceLock<CancellationToken>,
    /// Held while a reply is opened on this node, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
}

impl Sessions {
    pub(super) fn set_draining(&self, draining: CancellationToken) {
        // Set once, when the loops start.
        let _ = self.draining.set(draining);
    }

    async fn drained(&self) {
        match self.draining.get() {
            Some(draining) => draining.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The time left of a reply's lease; `None` if the reply is not open here, or its lease has expired.
    pub(super) fn lease_left(&self, chat: &Chat, reply: MessageId) -> Option<Duration> {
        let session = self.find(reply)?;
        let left = session.lease_left(chat.inner.settings.external_lease);
        (!left.is_zero()).then_some(left)
    }

    /// Lets a session find out why its lease was not renewed.
    pub(super) fn lost_lease(&self, reply: MessageId) {
        if let Some(session) = self.find(reply) {
            session.suspect();
        }
    }

    fn find(&self, reply: MessageId) -> Option<Arc<Session>> {
        self.lock().get(&reply).cloned()
    }

    fn insert(&self, session: Arc<Session>) {
        self.lock().insert(session.turn().reply_id, session);
    }

    fn remove(&self, session: &Arc<Session>) {
        session.set_over();
        let mut open = self.lock();
        let reply = session.turn().reply_id;
        if open
            .get(&reply)
            .is_some_and(|known| Arc::ptr_eq(known, session))
        {
            open.remove(&reply);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chat {
    /// Opens a reply. Idempotent by the reply's id: for a known reply, returns its progress. Returns whether the reply
    /// is new.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation, or no such message in it; [`Error::InvalidInput`];
    /// [`Error::IdTaken`]; [`Error::ShuttingDown`]; [`Error::Database`]; the errors of `permit`.
    pub async fn open_reply(
        &self,
        owner: &Owner,
        open: OpenReply,
        permit: TakePermit,
    ) -> Result<(ReplyProgress, bool)> {
        let (chat, owner) = (self.clone(), owner.clone());
        self.apart(async move {
            let (turn, is_new) = chat.open_session(&owner, open, permit).await?;
            Ok((chat.progress_of(&owner, turn).await?, is_new))
        })
        .await
    }

    /// Appends text and parts to an open reply. Returns the stored progress.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation has no such reply; [`Error::OffsetMismatch`]; [`Error::ReplyBusy`];
    /// [`Error::ReplyStopped`]; [`Error::ReplyEnded`]; [`Error::PayloadTooLarge`]; [`Error::Database`]; the errors of
    /// `permit`.
    pub async fn append_reply(
        &self,
        owner: &Owner,
        (conversation, reply): (ConversationId, MessageId),
        append: Append,
        permit: TakePermit,
    ) -> Result<ReplyProgress> {
        let (chat, owner) = (self.clone(), owner.clone());
        self.apart(async move {
            for _ in 0..MAX_MOVES {
                let session = chat
                    .session(&owner, (conversation, reply), Some(&append), &permit)
                    .await?;
                if let Some(progress) = append::append(&chat, &session, &append).await? {
                    return Ok(progress);
                }
            }
            Err(Error::ReplyBusy)
        })
        .await
    }

    /// Ends an open reply. Idempotent: if it has already ended in the same way, returns its stored progress.
    ///
    /// # Errors
    /// As [`Self::append_reply`].
    pub async fn finish_reply(
        &self,
        owner: &Owner,
        (conversation, reply): (ConversationId, MessageId),
        finish: FinishReply,
        permit: TakePermit,
    ) -> Result<ReplyProgress> {
        let (chat, owner) = (self.clone(), owner.clone());
        self.apart(async move {
            for _ in 0..MAX_MOVES {
                let known = chat.external_turn(&owner, conversation, reply).await?;
                if known.reply != ReplyState::Running {
                    let progress = chat.progress_of(&owner, known).await?;
                    return match progress.outcome == Some(finish.outcome) {
                        true => Ok(progress),
                        false => Err(ended(progress.outcome)),
                    };
                }
                let session = chat
                    .session(&owner, (conversation, reply), None, &permit)
                    .await?;
                if session::finish(&chat, &session, &finish).await? {
                    return chat.reply_progress(&owner, conversation, reply).await;
                }
            }
            Err(Error::ReplyBusy)
        })
        .await
    }

    /// The stored progress of a reply.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation has no such reply; [`Error::Database`].
    pub async fn reply_progress(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        reply: MessageId,
    ) -> Result<ReplyProgress> {
        let turn = self.external_turn(owner, conversation, reply).await?;
        self.progress_of(owner, turn).await
    }

    /// Runs work that a client must not cancel by disconnecting.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.inner.abort.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        match self.inner.tasks.spawn(work.in_current_span()).await {
            Ok(done) => done,
            Err(died) => Err(Error::Internal(died.into())),
        }
    }

    async fn external_turn(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        reply: MessageId,
    ) -> Result<Turn> {
        let db = &self.inner.db;
        db.conversation(owner, conversation).await?;
        let turn = db.find_external_turn(owner, conversation, reply).await?;
        turn.ok_or(Error::NotFound { what: "reply" })
    }

    async fn progress_of(&self, owner: &Owner, turn: Turn) -> Result<ReplyProgress> {
        let db = &self.inner.db;
        let reply_id = turn.reply_id;
        if turn.reply == ReplyState::Running {
            let left = turn.lease_until.map(|until| until - db.clock().now());
            return Ok(ReplyProgress {
                reply_id,
                offset: turn.written.len(),
                outcome: None,
                lease: left.and_then(|left| left.to_std().ok()).unwrap_or_default(),
            });
        }
        let message = db.find_message(owner, reply_id).await?;
        let outcome = match (turn.reply, message.as_ref().and_then(|row| row.outcome)) {
            (_, Some(outcome)) => outcome,
            (ReplyState::Completed, None) => ReplyOutcome::Completed,
            (ReplyState::Failed, None) => ReplyOutcome::Failed,
            (_, None) => ReplyOutcome::Incomplete,
        };
        Ok(ReplyProgress {
            reply_id,
            offset: message.map_or(0, |message| message.content.len()),
            outcome: Some(outcome),
            lease: Duration::ZERO,
        })
    }

    /// Stores the turn of a reply, and opens its session. Returns the stored turn, and whether it is new.
    async fn open_session(
        &self,
        owner: &Owner,
        open: OpenReply,
        permit: TakePermit,
    ) -> Result<(Turn, bool)> {
        let inner = &self.inner;
        // A continued reply needs no further permit.
        if let Some(reply) = open.reply_id {
            let known = inner
                .db
                .find_external_turn(owner, open.conversation_id, reply);
            if let Some(turn) = known.await? {
                return Ok((turn, false));
            }
        }
        let agents = self.agents();
        if let Some(agent) = &open.agent {
            check_agent(agent)?;
            self.check_agent(owner, agent)?;
        }
        let new = NewExternalReply {
            conversation_id: open.conversation_id,
            reply_id: open.reply_id.unwrap_or_default(),
            in_reply_to: open.in_reply_to,
            agent: (open.agent.as_ref())
                .map(|agent| agents.stored_name(&owner.tenant, agent).to_owned()),
            run: (inner.events.node(), inner.settings.external_lease),
        };
        // Take the permit before the turn is stored: a reply over the limit leaves no row.
        let permit = permit()?;
        let _opening = inner.external.opening.lock().await;
        let storing = inner.db.open_reply(owner, &new);
        let opened = match timeout(STORE_TIMEOUT, storing).await {
            Ok(opened) => opened?,
            Err(late) => return Err(Error::Database(late.into())),
        };
        match opened {
            OpenedReply::Known(turn) => Ok((turn, false)),
            OpenedReply::New(conversation, turn) => {
                step(Step::TurnCommitted, conversation.id);
                session::open(self, owner, &turn, &conversation.active_agent, permit);
                inner.events.publish(conversation);
                Ok((turn, true))
            }
        }
    }

    /// The session of a running reply: the one that is open here, or a new one, which takes the reply over from another
    /// node. Before a take-over, `append` must fit the stored text.
    async fn session(
        &self,
        owner: &Owner,
        (conversation, reply): (ConversationId, MessageId),
        append: Option<&Append>,
        permit: &TakePermit,
    ) -> Result<Arc<Session>> {
        let Inner {
            db,
            events,
            external,
            ..
        } = &*self.inner;
        let is_ours = |session: &Arc<Session>| {
            let ids = session.log().ids();
            ids.owner == *owner && ids.conversation == conversation
        };
        if let Some(session) = external.find(reply).filter(is_ours) {
            return Ok(session);
        }
        let turn = self.external_turn(owner, conversation, reply).await?;
        if turn.reply != ReplyState::Running {
            return Err(ended(self.progress_of(owner, turn).await?.outcome));
        }
        if turn.is_stopping {
            return Err(Error::ReplyStopped);
        }
        if let Some(append) = append {
            append.rest(&turn.written)?;
        }
        if let Some(node) = turn.node
            && events.is_held_remotely(node, reply).await
        {
            return Err(Error::ReplyBusy);
        }
        let _opening = external.opening.lock().await;
        if let Some(session) = external.find(reply).filter(is_ours) {
            return Ok(session);
        }
        let permit = permit()?;
        let run = (events.node(), self.inner.settings.external_lease);
        let Some(turn) = db.take_over_external(turn.id, run).await? else {
            let turn = self.external_turn(owner, conversation, reply).await?;
            return Err(match (turn.reply, turn.is_stopping) {
                (ReplyState::Running, true) => Error::ReplyStopped,
                // The lease has expired; a node is about to close the reply.
                (ReplyState::Running, false) => Error::ReplyEnded,
                _ => ended(self.progress_of(owner, turn).await?.outcome),
            });
        };
        let row = db.conversation(owner, conversation).await?;
        tracing::debug!(conversation.id = %conversation, "took over a reply from outside");
        Ok(session::open(self, owner, &turn, &row.active_agent, permit))
    }
}

/// The error for an append to a reply that has ended with this outcome.
fn ended(outcome: Option<ReplyOutcome>) -> Error {
    match outcome {
        Some(ReplyOutcome::Stopped) => Error::ReplyStopped,
        _ => Error::ReplyEnded,
    }
}

impl FinishReply {
    /// The outcome for the reply's writer.
    fn outcome(&self) -> Outcome {
        match self.outcome {
            ReplyOutcome::Completed => Outcome::Completed,
            ReplyOutcome::Stopped => Outcome::Stopped,
            ReplyOutcome::Incomplete => Outcome::Incomplete,
            ReplyOutcome::Failed => Outcome::Failed(Error::ModelUnavailable(
                "the program that wrote the reply reported a failure".into(),
            )),
        }
    }
}
