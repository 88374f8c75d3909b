//! Turns: a message is stored, its reply is written, its title is started.
//!
//! [`Chat::send_message`] is the one way in, for GraphQL as for the legacy routes. It returns when the
//! message is durable; the reply and the title are tasks of their own that finish whether or not
//! anybody stays to see them. Disconnecting is not stopping: [`Chat::stop`] is.

mod elsewhere;
mod follow;
mod keep;
pub mod metrics;
mod reply;
mod request;

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
    events::{Changes, EventBroker, LogOf, ReplyCursor, ReplyPlace},
    llm::LanguageModel,
    step::{Step, step},
    supervisor::{Loop, Supervisor},
    titles::Titles,
};

/// The agent of a conversation that names none.
pub const DEFAULT_AGENT: &str = "triage";

/// How long a message may take to be stored, a second try after a broken connection included.
const STORE_WITHIN: Duration = Duration::from_secs(20);

/// How turns are run.
#[derive(Clone, Copy, Debug)]
pub struct ChatSettings {
    /// How much of a conversation the model is shown, in characters; the newest message is shown
    /// whatever its length.
    pub history_budget_chars: usize,
    /// How long one reply may take in all.
    pub reply_deadline: Duration,
    /// How long a node that writes a reply may be silent before others close it.
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
    /// Cut all replies short: the server has no time left.
    abort: CancellationToken,
    settings: ChatSettings,
    metrics: Metrics,
}

/// A message that was accepted, now or by an earlier request with the same idempotency key.
pub struct SentMessage {
    /// The conversation with the message in it.
    pub conversation: Conversation,
    /// The message.
    pub message: Message,
    /// Whether the conversation's title is made from this message, beside the reply.
    pub makes_title: bool,
    /// Its reply, from the beginning.
    pub reply: ReplyFollower,
    /// Changes of the conversation since before the message was told.
    pub changes: Changes,
}

impl Chat {
    /// Turns on these parts.
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

    /// What became of replies in this process, for monitoring.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Stores a message, starts its reply and, with the first message of a conversation, its title.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when a field cannot be used; [`Error::NotFound`] when the conversation
    /// is somebody else's; [`Error::IdempotencyKeyReused`]; [`Error::ShuttingDown`];
    /// [`Error::Database`]. After an error nothing is stored; only when the database is lost in the very
    /// moment and does not come back in time, nobody knows: the same request with its idempotency key
    /// finds out.
    pub async fn send_message(&self, owner: &Owner, message: SendMessage) -> Result<SentMessage> {
        let (chat, owner) = (self.clone(), owner.clone());
        // A task of its own: a client that leaves while its message is being stored gets its reply too.
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
        let message = message.checked()?;
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
        // Both before the turn is stored: whoever sees it stored can find its run, and no change of
        // the conversation can be missed.
        let run = inner.events.open_run(LogOf {
            owner: owner.clone(),
            conversation: new.conversation_id,
            message: new.message_id,
            reply: new.reply_id,
        });
        let changes = inner.events.watch_conversation(owner, new.conversation_id);
        let begun = match timeout(STORE_WITHIN, inner.db.begin_turn(owner, &new)).await {
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

    /// Goes on with the reply to a message that was sent before: the same answer as to the request that
    /// sent it, from the reader's place on. `text` is that of the request, which has to be the message's:
    /// whoever sends something else means something else.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner has no such message; [`Error::InvalidInput`] when it is another
    /// one; [`Error::Database`].
    pub async fn resume(
        &self,
        owner: &Owner,
        cursor: ReplyCursor,
        text: &str,
    ) -> Result<SentMessage> {
        let turn = self.inner.db.find_turn(owner, cursor.message).await?;
        let turn = turn.ok_or_else(Error::no_conversation)?;
        let sent = self.sent_before(owner, turn, Some(cursor.place)).await?;
        if sent.message.content != without_nul(text.to_owned()) {
            return Err(Error::invalid(
                "the Last-Event-ID is one of the reply to another message",
            ));
        }
        Ok(sent)
    }

    /// The same answer as to the request that came first.
    async fn sent_before(
        &self,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyPlace>,
    ) -> Result<SentMessage> {
        let id = turn.conversation_id;
        let changes = self.inner.events.watch_conversation(owner, id);
        let conversation = self.inner.db.conversation(owner, id).await?;
        let message = self.inner.db.find_message(owner, turn.message_id).await?;
        let message = message.ok_or_else(Error::no_conversation)?;
        Ok(SentMessage {
            conversation,
            // Which later message made it is not known any more.
            makes_title: message.is_first(),
            message,
            reply: self.follow_turn(owner, turn, after).await?,
            changes,
        })
    }

    /// Stops every reply that runs in the conversation, on whichever node; what was written is kept as
    /// incomplete. Returns the conversation and whether anything was running.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
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
                self.inner.events.stop_elsewhere(node, reply).await;
            }
        }
        Ok((conversation, was_running))
    }

    /// Deletes a conversation with all its text, and stops its replies. Returns the tombstone.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn delete(&self, owner: &Owner, id: ConversationId) -> Result<Conversation> {
        let tombstone = self.inner.db.delete_conversation(owner, id).await?;
        tracing::info!(conversation.id = %id, "conversation deleted");
        for run in self.inner.events.find_runs(owner, id) {
            run.stop();
        }
        self.inner.events.publish(tombstone.clone());
        Ok(tombstone)
    }

    /// Follows a reply of the conversation: from a place on the one that the place is in, else the newest,
    /// whether it runs here, elsewhere, or not any more. `None` before the first message.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::InvalidCursor`] when the
    /// place is in none of its replies; [`Error::Database`].
    pub async fn follow_reply(
        &self,
        owner: &Owner,
        id: ConversationId,
        after: Option<ReplyCursor>,
    ) -> Result<Option<ReplyFollower>> {
        let Some(turn) = self.find_turn(owner, id, after).await? else {
            return Ok(None);
        };
        let place = after.map(|cursor| cursor.place);
        self.follow_turn(owner, turn, place).await.map(Some)
    }

    /// The same with all that the sender of the message gets.
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
        let place = after.map(|cursor| cursor.place);
        self.sent_before(owner, turn, place).await.map(Some)
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
        after: Option<ReplyPlace>,
    ) -> Result<ReplyFollower> {
        if let Some(run) = self.inner.events.find_run(owner, turn.reply_id) {
            return Ok(ReplyFollower::running(run, after));
        }
        // A run is closed after its row is stored: who does not find the run finds the row, but not in
        // what was read before looking for the run.
        let newer = self.inner.db.find_turn(owner, turn.message_id).await?;
        let turn = newer.unwrap_or(turn);
        if turn.reply == ReplyState::Running {
            return Ok(ReplyFollower::elsewhere(self, owner, turn, after));
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
            async move { keep::note(&chat, &heartbeat, &end).await }
        });
        let (chat, end) = (self.clone(), draining.clone());
        supervisor.spawn(Loop::DeadReplies, draining.clone(), move |heartbeat| {
            let (chat, end) = (chat.clone(), end.clone());
            async move { keep::close_dead(&chat, &heartbeat, &end).await }
        });
    }
}
