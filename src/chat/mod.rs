//! Turns: store a user message, write its reply, start its title.
//!
//! [`Chat::send_message`], [`Chat::regenerate_reply`] and [`Chat::edit_message`] are the entry points, for GraphQL and
//! for the legacy routes. They return when the turn is committed. The reply and the title then run as background tasks:
//! they finish even if the client disconnects. [`Chat::stop`] and [`Chat::delete`] stop a reply.
//!
//! | file | what it does |
//! | --- | --- |
//! | `request` | validates a message and hashes it for its idempotency key |
//! | `reply` | the task of one reply: a source and a writer |
//! | `model` | a source: calls the model and copies its stream into the writer |
//! | `patience` | retries a reply's reads while the database is unreachable |
//! | `writer` | writes one reply from any source: log, row, end |
//! | `external` | replies that an external program writes: open, append, finish, lease, take-over |
//! | `upload` | the formats in which such a program uploads a reply |
//! | `rewrite` | regenerates the newest reply, or edits the newest message |
//! | `record` | stores messages of an external program |
//! | `archive` | archives, pins, and stores metadata |
//! | `forget`, `prune` | erases the data of a tenant or user; removes what is older than the retention limits |
//! | `follow` | streams a reply to one reader, whether it runs here, on another node, or is stored |
//! | `remote` | copies the text of a reply that another node writes |
//! | `stored_end` | reads how a reply ended from its rows |
//! | `leases` | renews leases, checkpoints text, closes replies whose lease expired |
//! | `metrics` | Prometheus metrics of replies |

mod archive;
pub mod external;
mod follow;
pub mod forget;
mod leases;
pub mod metrics;
mod model;
mod patience;
mod prune;
mod record;
mod remote;
mod reply;
mod request;
mod rewrite;
mod stored_end;
pub mod upload;
mod writer;

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use self::metrics::Metrics;
pub use self::{
    follow::ReplyFollower,
    record::{MAX_RECORDED_MESSAGES, RecordMessage, RecordedMessages},
    request::{SendMessage, actor_key, check_agent, checked_text},
    rewrite::{EditMessage, RegenerateReply},
    stored_end::{replayed_end, stored_error},
};
use crate::{
    agents::{Agents, Registry},
    budget::Budget,
    conversation::{
        Actor, Conversation, ConversationId, ConversationName, Message, MessageId, Owner,
        PerTenant, attachment::shown_text, retention::Retentions, text::without_nul, topic_hint,
    },
    db::{BegunTurn, Database, NewTurn, ReplyState, Turn},
    error::{Error, Result},
    events::{Changes, EventBroker, ReplyCursor, ReplyIds, ReplyOffset},
    step::{Step, step},
    supervisor::{Loop, Supervisor},
    titles::Titles,
};

/// How long storing a message may take, including one retry after a broken connection.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings of turns.
#[derive(Clone, Debug)]
pub struct ChatSettings {
    /// The reply tokens that a tenant may use in a day; `None` for no limit.
    pub budget: PerTenant<Option<u64>>,
    /// How long one reply may take.
    pub reply_deadline: Duration,
    /// The lease of a running reply: without a renewal within it, another node closes the reply.
    pub reply_lease: Duration,
    /// How long an external reply stays open without an append, and the longest pause of an upload.
    pub external_lease: Duration,
}

/// Runs turns. Cheap to clone.
#[derive(Clone)]
pub struct Chat {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    events: EventBroker,
    registry: Registry,
    titles: Titles,
    tasks: TaskTracker,
    /// Aborts all replies: the shutdown deadline is over.
    abort: CancellationToken,
    settings: ChatSettings,
    /// The budget of reply tokens.
    budget: Budget,
    /// The external replies that are open on this node.
    external: external::Sessions,
    metrics: Metrics,
    retentions: RwLock<Retentions>,
}

/// An accepted message, from this request or from an earlier one with the same idempotency key.
pub struct SentMessage {
    /// The conversation, including the message.
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
        registry: Registry,
        titles: Titles,
        tasks: TaskTracker,
        abort: CancellationToken,
        settings: ChatSettings,
    ) -> Self {
        let inner = Inner {
            db,
            events,
            registry,
            titles,
            tasks,
            abort,
            budget: Budget::default(),
            settings,
            external: external::Sessions::default(),
            metrics: Metrics::default(),
            retentions: RwLock::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The agents in force.
    pub fn agents(&self) -> Arc<Agents> {
        self.inner.registry.current()
    }

    /// Validates the agent that a message names, for callers that refuse an unknown agent instead of using the default
    /// one.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the tenant has no such agent.
    pub fn check_agent(&self, owner: &Owner, agent: &str) -> Result<()> {
        let agents = self.agents();
        if agents.is_configured() && agents.find(&owner.tenant, agent).is_none() {
            return Err(Error::invalid_field("agent", "there is no such agent"));
        }
        Ok(())
    }

    /// Whether the last reload of the configuration failed.
    pub fn has_failed_reload(&self) -> bool {
        self.inner.registry.has_failed_reload()
    }

    /// The metrics of replies in this process.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Stores a message and starts its reply; with the first message of a conversation, also its title.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if a field is invalid; [`Error::NotFound`] if the conversation belongs to another owner;
    /// [`Error::IdTaken`] if the conversation already has a message with this external id;
    /// [`Error::IdempotencyKeyReused`]; [`Error::ShuttingDown`]; [`Error::Database`]. After an error the message is not
    /// stored. The exception is a lost connection during the commit: the outcome is unknown until the client retries
    /// with the same idempotency key.
    pub async fn send_message(&self, actor: &Actor, message: SendMessage) -> Result<SentMessage> {
        let (chat, actor) = (self.clone(), actor.clone());
        // A separate task, so that a disconnect does not cancel the transaction.
        let begin = async move { chat.begin(&actor, message).await };
        match self.inner.tasks.spawn(begin.in_current_span()).await {
            Ok(sent) => sent,
            Err(died) => Err(Error::Internal(died.into())),
        }
    }

    async fn begin(&self, actor: &Actor, message: SendMessage) -> Result<SentMessage> {
        let (inner, owner) = (&self.inner, &actor.owner);
        if inner.abort.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let message = message.validated()?;
        let conversation_id = message.conversation.as_ref().map(|name| name.id(owner));
        let agents = self.agents();
        let stored_name = |asked: &String| agents.stored_name(&owner.tenant, asked).to_owned();
        let (named, default_agent) = (
            message.agent.as_deref(),
            agents.default_agent().name.as_str(),
        );
        let redacts = match named {
            Some(agent) => inner.titles.redacts_with(&owner.tenant, agent),
            None if conversation_id.is_none() => {
                inner.titles.redacts_with(&owner.tenant, default_agent)
            }
            // If the conversation exists, its own agent answers, which is not known here.
            None => inner.titles.redacts(&owner.tenant),
        };
        let agent = named.unwrap_or(default_agent);
        let new = NewTurn {
            is_until_titled: agents.answering(&owner.tenant, agent).is_until_titled,
            conversation_id: conversation_id.unwrap_or_default(),
            is_conversation_new: conversation_id.is_none(),
            external_id: message
                .conversation
                .clone()
                .and_then(ConversationName::into_external),
            message_id: MessageId::new(),
            external_message_id: message.external_message_id.clone(),
            reply_id: MessageId::new(),
            author: actor.author.clone(),
            idempotency: message.idempotency(actor, conversation_id),
            topic_hint: message.topic_hint.or_else(|| {
                topic_hint::topic_hint(&shown_text(&message.text, &message.attachments), redacts)
            }),
            redacts,
            title: inner.titles.plan(
                (&owner.tenant, agent),
                &message.text,
                &message.attachments,
                message.auto_title,
            ),
            text: message.text,
            attachments: message.attachments,
            agent: message.agent.as_ref().map(stored_name),
            entrypoint: message.agent,
            default_agent: agents.default_agent().name.clone(),
            kept_agents: agents.kept_names(&owner.tenant),
            run: (inner.events.node(), inner.settings.reply_lease),
        };
        let ids = ReplyIds {
            owner: owner.clone(),
            conversation: new.conversation_id,
            turn: new.message_id,
            reply: new.reply_id,
        };
        let text = new.text.clone();
        self.start(ids, text, inner.db.begin_turn(owner, &new))
            .await
    }

    /// Stores a turn, and starts its reply and its title. `text` is the text of its message.
    async fn start(
        &self,
        ids: ReplyIds,
        text: String,
        store: impl Future<Output = Result<BegunTurn>>,
    ) -> Result<SentMessage> {
        let inner = &self.inner;
        let agents = self.agents();
        let owner = &ids.owner.clone();
        let (turn_id, reply_id) = (ids.turn, ids.reply);
        // Open the run and subscribe before the turn is stored: a reader of the row finds the run, and no change of the
        // conversation is missed.
        let changes = inner.events.watch_conversation(owner, ids.conversation);
        let run = inner.events.open_run(ids);
        let begun = match timeout(STORE_TIMEOUT, store).await {
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
            id: turn_id,
            conversation_id: conversation.id,
            message_id: message.id,
            reply_id,
            reply: ReplyState::Running,
            failure: None,
            reason: None,
            node: Some(inner.events.node()),
            is_external: false,
            is_stopping: false,
            lease_until: None,
            created_at: message.created_at,
            written: String::new(),
            written_parts: Vec::new(),
        };
        let reply = ReplyFollower::running(run.log().clone(), None);
        let makes_title = claim.is_some() || message.is_first() && turn_id == message.id;
        match claim {
            Some(claim) if message.is_first() => inner.titles.start(claim, message.id, text),
            Some(claim) => inner.titles.start_deferred(claim),
            None => {}
        }
        let active = &conversation.active_agent;
        let asked = reply::Asked {
            message: message.clone(),
            agent: agents.answering(&owner.tenant, active).clone(),
            agent_name: match agents.is_configured() {
                true => agents.answering(&owner.tenant, active).name.clone(),
                false => active.clone(),
            },
        };
        inner
            .tasks
            .spawn(reply::run(self.clone(), owner.clone(), turn, asked, run));
        Ok(SentMessage {
            conversation,
            message,
            makes_title,
            reply,
            changes,
        })
    }

    /// Resumes the reply to an earlier message from the client's cursor. Returns what the request that sent the message
    /// returned. `text` is the text of this request and must equal the stored message, so that a new message with an
    /// old cursor is not dropped.
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
        let turn = self.inner.db.find_turn(owner, cursor.turn).await?;
        let turn = turn.ok_or_else(Error::no_conversation)?;
        let sent = self.sent_before(owner, turn, Some(cursor.offset)).await?;
        if sent.message.content != without_nul(text.to_owned()) {
            return Err(Error::invalid(
                "the Last-Event-ID belongs to the reply to another message; send a new message without it",
            ));
        }
        Ok(sent)
    }

    /// The result for a message that is already stored, from its turn.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation was deleted; [`Error::Database`].
    pub async fn sent_before(
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
            makes_title: message.is_first() && turn.id == message.id,
            message,
            reply: self.follow_turn(owner, turn, after, true).await?,
            changes,
        })
    }

    /// Stops all running replies of the conversation, on all nodes, and keeps their text as incomplete. Returns the
    /// conversation, and whether a reply was running.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::Database`].
    pub async fn stop(&self, owner: &Owner, id: ConversationId) -> Result<(Conversation, bool)> {
        self.stop_in(owner, id, None).await
    }

    /// Like [`Self::stop`], for one reply.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such reply; [`Error::Database`].
    pub async fn stop_reply(
        &self,
        owner: &Owner,
        reply: MessageId,
    ) -> Result<(Conversation, bool)> {
        let turn = self.inner.db.find_turn_of(owner, reply).await?;
        let turn = turn.filter(|turn| turn.reply_id == reply);
        let turn = turn.ok_or(Error::NotFound { what: "reply" })?;
        self.stop_in(owner, turn.conversation_id, Some(reply)).await
    }

    async fn stop_in(
        &self,
        owner: &Owner,
        id: ConversationId,
        reply: Option<MessageId>,
    ) -> Result<(Conversation, bool)> {
        let conversation = self.inner.db.conversation(owner, id).await?;
        let runs = self.inner.db.stop_runs(owner, id, reply).await?;
        let mut here = self.inner.events.find_runs(owner, id);
        here.retain(|run| reply.is_none_or(|reply| run.ids().reply == reply));
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

    /// Deletes a conversation with all its text, and stops its replies. Returns the tombstone. `actor`: the user who
    /// deletes it, for the audit log.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::Database`].
    pub async fn delete(
        &self,
        owner: &Owner,
        id: ConversationId,
        actor: &str,
    ) -> Result<Conversation> {
        let tombstone = self.inner.db.delete_conversation(owner, id, actor).await?;
        tracing::info!(conversation.id = %id, "conversation deleted");
        for run in self.inner.events.find_runs(owner, id) {
            run.stop();
        }
        self.inner.events.publish(tombstone.clone());
        Ok(tombstone)
    }

    /// Follows a reply of the conversation: the cursor's reply, or the newest one if there is no cursor. The reply may
    /// run here, run on another node, or be stored. `None` before the first message. `with_parts`: read the parts and
    /// the tokens of a stored reply.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::InvalidCursor`] if the cursor
    /// belongs to none of its replies; [`Error::Database`].
    pub async fn follow_reply(
        &self,
        owner: &Owner,
        id: ConversationId,
        after: Option<ReplyCursor>,
        with_parts: bool,
    ) -> Result<Option<ReplyFollower>> {
        let Some(turn) = self.find_turn(owner, id, after).await? else {
            return Ok(None);
        };
        let offset = after.map(|cursor| cursor.offset);
        self.follow_turn(owner, turn, offset, with_parts)
            .await
            .map(Some)
    }

    /// Follows one reply: the id of a reply selects that reply, the id of a user message the newest reply to it. With a
    /// cursor, follows the cursor's reply.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such reply; [`Error::InvalidCursor`] if the cursor belongs to a reply to
    /// another message; [`Error::Database`].
    pub async fn follow_reply_of(
        &self,
        owner: &Owner,
        message: MessageId,
        after: Option<ReplyCursor>,
        with_parts: bool,
    ) -> Result<ReplyFollower> {
        let db = &self.inner.db;
        let turn = db.find_turn_of(owner, message).await?;
        let mut turn = turn.ok_or(Error::NotFound { what: "reply" })?;
        if let Some(cursor) = after.filter(|cursor| cursor.turn != turn.id) {
            let of_cursor = db.find_turn(owner, cursor.turn).await?;
            // A reply requested by its own id is never replaced by another one.
            let is_of_message = message == turn.message_id;
            turn = of_cursor
                .filter(|other| is_of_message && other.message_id == turn.message_id)
                .ok_or(Error::InvalidCursor)?;
        }
        self.follow_turn(owner, turn, after.map(|cursor| cursor.offset), with_parts)
            .await
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
        let turn = db.find_turn(owner, cursor.turn).await?;
        let turn = turn.filter(|turn| turn.conversation_id == id);
        turn.map(Some).ok_or(Error::InvalidCursor)
    }

    async fn follow_turn(
        &self,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyOffset>,
        with_parts: bool,
    ) -> Result<ReplyFollower> {
        if let Some(run) = self.inner.events.find_run(owner, turn.reply_id) {
            return Ok(ReplyFollower::running(run, after));
        }
        // A run is closed after its row is stored. So if no run is registered, read the row again: the row that was
        // read before the lookup may be older.
        let newer = self.inner.db.find_turn(owner, turn.id).await?;
        let turn = newer.unwrap_or(turn);
        if turn.reply == ReplyState::Running {
            return Ok(ReplyFollower::remote(self, owner, turn, after));
        }
        let message = self.inner.db.find_message(owner, turn.reply_id).await?;
        let beside = match with_parts {
            true => {
                let parts = self.inner.db.reply_parts(owner, &[turn.reply_id]).await?;
                let parts = parts.into_values().next().unwrap_or_default();
                (parts, stored_end::usage(self, owner, &turn).await?)
            }
            false => (Vec::new(), None),
        };
        Ok(ReplyFollower::stored(&turn, message, beside, after))
    }

    /// Starts the background loops of replies: checkpoints and leases until `closing`, and closing replies whose
    /// lease expired until `draining`.
    pub fn start_loops(
        &self,
        supervisor: &Supervisor,
        draining: &CancellationToken,
        closing: &CancellationToken,
    ) {
        self.inner.external.set_draining(draining.clone());
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
        let (chat, end) = (self.clone(), draining.clone());
        supervisor.spawn(Loop::Retention, draining.clone(), move |heartbeat| {
            let (chat, end) = (chat.clone(), end.clone());
            async move { prune::keep_pruning(&chat, &heartbeat, &end).await }
        });
    }
}
