//! Turns: store a user message, write its reply, start its title.
//!
//! [`Chat::send_message`] is the only entry point, for GraphQL and for the legacy routes. It returns when the message
//! is committed. The reply and the title then run as background tasks: they finish even if the client disconnects, and
//! only [`Chat::stop`] and [`Chat::delete`] stop a reply.
//!
//! | file | what it does |
//! | --- | --- |
//! | `request` | validates a message and hashes it for its idempotency key |
//! | `reply` | writes one reply: history, model call, log, row |
//! | `follow` | streams a reply to one reader, whether it runs here, on another node, or is stored |
//! | `remote` | copies the text of a reply that another node writes |
//! | `stored_end` | reads how a reply ended from its rows |
//! | `leases` | renews leases, checkpoints text, closes replies whose lease expired |
//! | `metrics` | Prometheus metrics of replies |

mod follow;
mod leases;
pub mod metrics;
mod remote;
mod reply;
mod request;
mod stored_end;

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use self::metrics::Metrics;
pub use self::{
    follow::ReplyFollower,
    request::{SendMessage, check_agent, checked_text},
};
use crate::{
    conversation::{
        Conversation, ConversationId, Message, MessageId, Owner, attachment::shown_text,
        text::without_nul, topic_hint,
    },
    db::{BegunTurn, Database, NewTurn, ReplyState, Turn},
    error::{Error, Result},
    events::{Changes, EventBroker, ReplyCursor, ReplyIds, ReplyOffset},
    llm::LanguageModel,
    step::{Step, step},
    supervisor::{Loop, Supervisor},
    titles::Titles,
};

/// The agent of a conversation if the client names none.
pub const DEFAULT_AGENT: &str = "triage";

/// How long storing a message may take, including one retry after a broken connection.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings of turns.
#[derive(Clone, Copy, Debug)]
pub struct ChatSettings {
    /// How much history is sent to the model, in characters. The newest message is always sent.
    pub history_budget_chars: usize,
    /// How long one reply may take.
    pub reply_deadline: Duration,
    /// The lease of a running reply: without a renewal within it, another node closes the reply.
    pub reply_lease: Duration,
}

/// Runs turns. Cheap to clone.
#[derive(Clone)]
pub struct Chat {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    events: EventBroker,
    model: Arc<dyn LanguageModel>,
    titles: Titles,
    tasks: TaskTracker,
    /// Aborts all replies: the shutdown deadline is over.
    abort: CancellationToken,
    settings: ChatSettings,
    metrics: Metrics,
}

/// An accepted message, from this request or from an earlier one with the same idempotency key.
pub struct SentMessage {
    /// The conversation with the message in it.
    pub conversation: Conversation,
    /// The message.
    pub message: Message,
    /// Whether the title is generated from this message.
    pub makes_title: bool,
    /// Its reply, from the requested offset or the beginning.
    pub reply: ReplyFollower,
    /// Changes of the conversation, subscribed before the message was published.
    pub changes: Changes,
}

impl Chat {
    /// Creates the service from its parts.
    pub fn new(
        db: Database,
        events: EventBroker,
        model: Arc<dyn LanguageModel>,
        titles: Titles,
        tasks: TaskTracker,
        abort: CancellationToken,
        settings: ChatSettings,
    ) -> Self {
        let inner = Inner {
            db,
            events,
            model,
            titles,
            tasks,
            abort,
            settings,
            metrics: Metrics::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The metrics of replies in this process.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Stores a message and starts its reply; with the first message of a conversation, also its title.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if a field is invalid; [`Error::NotFound`] if the conversation belongs to another owner;
    /// [`Error::IdempotencyKeyReused`]; [`Error::ShuttingDown`]; [`Error::Database`]. After an error the message is not
    /// stored. The exception is a lost connection during the commit: the outcome is unknown until the client retries
    /// with the same idempotency key.
    pub async fn send_message(&self, owner: &Owner, message: SendMessage) -> Result<SentMessage> {
        let (chat, owner) = (self.clone(), owner.clone());
        // A separate task, so that a disconnect does not cancel the transaction.
        let begin = async move { chat.begin(&owner, message).await };
        match self.inner.tasks.spawn(begin.in_current_span()).await {
            Ok(sent) => sent,
            Err(died) => Err(Error::Internal(died.into())),
        }
    }

    async fn begin(&self, owner: &Owner, message: SendMessage) -> Result<SentMessage> {
        let inner = &self.inner;
        if inner.abort.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let message = message.validated()?;
        let new = NewTurn {
            conversation_id: message.conversation_id.unwrap_or_default(),
            is_conversation_new: message.conversation_id.is_none(),
            message_id: MessageId::new(),
            reply_id: MessageId::new(),
            idempotency: message.idempotency(),
            topic_hint: message.topic_hint.or_else(|| {
                topic_hint::topic_hint(&shown_text(&message.text, &message.attachments))
            }),
            title: inner
                .titles
                .plan(&message.text, &message.attachments, message.auto_title),
            text: message.text,
            attachments: message.attachments,
            agent: message.agent,
            default_agent: DEFAULT_AGENT,
            run: (inner.events.node(), inner.settings.reply_lease),
        };
        // Open the run and subscribe before the turn is stored: a reader of the row finds the run, and no change of the
        // conversation is missed.
        let run = inner.events.open_run(ReplyIds {
            owner: owner.clone(),
            conversation: new.conversation_id,
            message: new.message_id,
            reply: new.reply_id,
        });
        let changes = inner.events.watch_conversation(owner, new.conversation_id);
        let begun = match timeout(STORE_TIMEOUT, inner.db.begin_turn(owner, &new)).await {
            Ok(begun) => begun?,
            Err(late) => return Err(Error::Database(late.into())),
        };
        let (conversation, message, claim) = match begun {
            BegunTurn::Known(turn) => return self.sent_before(owner, turn, None).await,
            BegunTurn::New {
                conversation,
                message,
                claim,
            } => (conversation, message, claim),
        };
        run.log().begin();
        step(Step::TurnCommitted, conversation.id);
        inner.events.publish(conversation.clone());
        let turn = Turn {
            conversation_id: new.conversation_id,
            message_id: new.message_id,
            reply_id: new.reply_id,
            reply: ReplyState::Running,
            failure: None,
            node: Some(new.run.0),
            written: String::new(),
        };
        let reply = ReplyFollower::running(run.log().clone(), None);
        let makes_title = claim.is_some() || message.is_first();
        match claim {
            Some(claim) if message.is_first() => inner.titles.start(claim, new.text),
            Some(claim) => inner.titles.start_deferred(claim),
            None => {}
        }
        inner.tasks.spawn(reply::run(
            self.clone(),
            owner.clone(),
            turn,
            message.clone(),
            run,
        ));
        Ok(SentMessage {
            conversation,
            message,
            makes_title,
            reply,
            changes,
        })
    }

    /// Resumes the reply to an earlier message from the client's cursor. Returns the same answer as the request that
    /// sent the message. `text` is the text of this request and must equal the stored message, so that a new message
    /// with an old cursor is not dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such message; [`Error::InvalidInput`] if the texts differ;
    /// [`Error::Database`].
    pub async fn resume(
        &self,
        owner: &Owner,
        cursor: ReplyCursor,
        text: &str,
    ) -> Result<SentMessage> {
        let turn = self.inner.db.find_turn(owner, cursor.message).await?;
        let turn = turn.ok_or_else(Error::no_conversation)?;
        let sent = self.sent_before(owner, turn, Some(cursor.offset)).await?;
        if sent.message.content != without_nul(text.to_owned()) {
            return Err(Error::invalid(
                "the Last-Event-ID belongs to the reply to another message; send a new message without it",
            ));
        }
        Ok(sent)
    }

    /// The answer for a message that is stored already.
    async fn sent_before(
        &self,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyOffset>,
    ) -> Result<SentMessage> {
        let id = turn.conversation_id;
        let changes = self.inner.events.watch_conversation(owner, id);
        let conversation = self.inner.db.conversation(owner, id).await?;
        let message = self.inner.db.find_message(owner, turn.message_id).await?;
        let message = message.ok_or_else(Error::no_conversation)?;
        Ok(SentMessage {
            conversation,
            // The row does not say which later message made the title.
            makes_title: message.is_first(),
            message,
            reply: self.follow_turn(owner, turn, after).await?,
            changes,
        })
    }

    /// Stops all running replies of the conversation, on all nodes, and keeps their text as incomplete. Returns the
    /// conversation, and whether a reply was running.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::Database`].
    pub async fn stop(&self, owner: &Owner, id: ConversationId) -> Result<(Conversation, bool)> {
        let conversation = self.inner.db.conversation(owner, id).await?;
        let runs = self.inner.db.stop_runs(owner, id).await?;
        let here = self.inner.events.find_runs(owner, id);
        let was_running = !runs.is_empty() || !here.is_empty();
        for run in here {
            run.stop();
        }
        for (node, reply) in runs {
            if let Some(node) = node.filter(|node| *node != self.inner.events.node()) {
                self.inner.events.stop_remote(node, reply).await;
            }
        }
        Ok((conversation, was_running))
    }

    /// Deletes a conversation with all its text, and stops its replies. Returns the tombstone.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::Database`].
    pub async fn delete(&self, owner: &Owner, id: ConversationId) -> Result<Conversation> {
        let tombstone = self.inner.db.delete_conversation(owner, id).await?;
        tracing::info!(conversation.id = %id, "conversation deleted");
        for run in self.inner.events.find_runs(owner, id) {
            run.stop();
        }
        self.inner.events.publish(tombstone.clone());
        Ok(tombstone)
    }

    /// Follows a reply of the conversation: with a cursor the reply of that cursor, else the newest one. The reply may
    /// run here, run on another node, or be stored. `None` before the first message.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::InvalidCursor`] if the cursor
    /// belongs to none of its replies; [`Error::Database`].
    pub async fn follow_reply(
        &self,
        owner: &Owner,
        id: ConversationId,
        after: Option<ReplyCursor>,
    ) -> Result<Option<ReplyFollower>> {
        let Some(turn) = self.find_turn(owner, id, after).await? else {
            return Ok(None);
        };
        let offset = after.map(|cursor| cursor.offset);
        self.follow_turn(owner, turn, offset).await.map(Some)
    }

    /// Like [`Self::follow_reply`], with everything that the sender of the message receives.
    ///
    /// # Errors
    /// As [`Self::follow_reply`].
    pub async fn turn(
        &self,
        owner: &Owner,
        id: ConversationId,
        after: Option<ReplyCursor>,
    ) -> Result<Option<SentMessage>> {
        let Some(turn) = self.find_turn(owner, id, after).await? else {
            return Ok(None);
        };
        let offset = after.map(|cursor| cursor.offset);
        self.sent_before(owner, turn, offset).await.map(Some)
    }

    async fn find_turn(
        &self,
        owner: &Owner,
        id: ConversationId,
        after: Option<ReplyCursor>,
    ) -> Result<Option<Turn>> {
        let db = &self.inner.db;
        db.conversation(owner, id).await?;
        let Some(cursor) = after else {
            return db.find_last_turn(owner, id).await;
        };
        let turn = db.find_turn(owner, cursor.message).await?;
        let turn = turn.filter(|turn| turn.conversation_id == id);
        turn.map(Some).ok_or(Error::InvalidCursor)
    }

    async fn follow_turn(
        &self,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyOffset>,
    ) -> Result<ReplyFollower> {
        if let Some(run) = self.inner.events.find_run(owner, turn.reply_id) {
            return Ok(ReplyFollower::running(run, after));
        }
        // A run is closed after its row is stored. So if no run is registered, read the row again: the row that was
        // read before the lookup may be older.
        let newer = self.inner.db.find_turn(owner, turn.message_id).await?;
        let turn = newer.unwrap_or(turn);
        if turn.reply == ReplyState::Running {
            return Ok(ReplyFollower::remote(self, owner, turn, after));
        }
        let message = self.inner.db.find_message(owner, turn.reply_id).await?;
        Ok(ReplyFollower::stored(&turn, message, after))
    }

    /// Starts the background loops of replies: checkpoints and leases until `closing`, and closing replies whose
    /// lease expired until `draining`.
    pub fn keep_up(
        &self,
        supervisor: &Supervisor,
        draining: &CancellationToken,
        closing: &CancellationToken,
    ) {
        let (chat, end) = (self.clone(), closing.clone());
        supervisor.spawn(Loop::ReplyLeases, closing.clone(), move |heartbeat| {
            let (chat, end) = (chat.clone(), end.clone());
            async move { leases::renew(&chat, &heartbeat, &end).await }
        });
        let (chat, end) = (self.clone(), draining.clone());
        supervisor.spawn(Loop::DeadReplies, draining.clone(), move |heartbeat| {
            let (chat, end) = (chat.clone(), end.clone());
            async move { leases::close_expired(&chat, &heartbeat, &end).await }
        });
    }
}
