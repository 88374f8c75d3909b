//! What happened, told to whoever listens now.
//!
//! Two kinds of news pass through the [`EventBroker`]. A committed change of a conversation travels as
//! the row itself ([`watch_conversation`](EventBroker::watch_conversation),
//! [`watch_owner`](EventBroker::watch_owner)): what changed is seen by comparing it with what one had,
//! so an event that was coalesced loses nothing. A running reply is a log that readers follow
//! ([`run`]). Several nodes tell each other of changes, and read each other's logs ([`relay`]).
//!
//! Rows are the truth and events are hints: nothing here is durable, and this room knows neither the
//! database nor the model.

mod cursor;
pub mod relay;
pub mod run;
mod topics;

use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

pub use self::{
    cursor::{ReplyCursor, ReplyPlace},
    run::{Delta, LogOf, Read, ReplyEnd, ReplyEvent, ReplyLog, RunGuard, SoFar},
    topics::Changes,
};
use crate::{
    clock::Clock,
    conversation::{Conversation, ConversationId, MessageId, Owner},
    error::Error,
};

/// The fan-out of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventBroker {
    node: Uuid,
    topics: Arc<topics::Topics>,
    runs: Arc<run::Runs>,
    /// Copies of replies that other nodes write, for those who follow them here.
    copies: Arc<run::Runs>,
    told: UnboundedSender<Told>,
    /// How an event leaves the process, if it does.
    outbox: Option<relay::Outbox>,
}

/// A revision of a conversation that the subscribers were told of.
pub type Told = (ConversationId, i64);

impl EventBroker {
    /// A broker without subscribers, and what it will have told. The receiver may be dropped; one that
    /// is kept has to be read.
    pub fn new(clock: Clock) -> (Self, UnboundedReceiver<Told>) {
        let (told, receiver) = unbounded_channel();
        let broker = Self {
            node: Uuid::now_v7(),
            topics: Arc::new(topics::Topics::new(clock)),
            runs: Arc::default(),
            copies: Arc::default(),
            told,
            outbox: None,
        };
        (broker, receiver)
    }

    /// The same for one of several nodes, and what connects it with the others, which has to be run.
    pub fn relayed(clock: Clock) -> (Self, UnboundedReceiver<Told>, relay::Relay) {
        let (mut broker, receiver) = Self::new(clock.clone());
        broker.topics = Arc::new(topics::Topics::relayed(clock));
        let (outbox, relay) =
            relay::Relay::new(broker.node, broker.topics.clone(), broker.runs.clone());
        broker.outbox = Some(outbox);
        (broker, receiver, relay)
    }

    /// How the connection with other nodes is; none for a node that is alone.
    pub fn relay(&self) -> Option<&relay::Status> {
        self.outbox.as_ref().map(|outbox| &*outbox.status)
    }

    /// The name of this process among those on the same database.
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// Tells the subscribers of the conversation and of its owner how it stands after a commit. A
    /// revision older than one that was told already is dropped: two writers may get here in the
    /// wrong order, and the newer row holds what the older one told.
    pub fn publish(&self, conversation: Conversation) {
        if let Some(outbox) = &self.outbox {
            outbox.send(&conversation);
        }
        let told = (conversation.id, conversation.revision);
        self.topics.publish(Arc::new(conversation));
        // Nobody may want to know.
        let _ = self.told.send(told);
    }

    /// Follows one conversation from now on. Subscribe first, read the row then.
    pub fn watch_conversation(&self, owner: &Owner, id: ConversationId) -> Changes {
        self.topics
            .subscribe(topics::Topic::Conversation(owner.clone(), id))
    }

    /// Follows all of the owner's conversations from now on.
    pub fn watch_owner(&self, owner: &Owner) -> Changes {
        self.topics.subscribe(topics::Topic::Owner(owner.clone()))
    }

    /// Opens the log of a reply, which others can find until the guard is dropped.
    pub fn open_run(&self, of: LogOf) -> RunGuard {
        self.runs.open(of)
    }

    /// Follows a reply that another node writes, from a place on. Whoever gets a guard has to fill the log
    /// for all who follow it here, until it is unwatched or over.
    pub fn follow_copy(
        &self,
        of: &LogOf,
        after: Option<usize>,
    ) -> (
        impl Stream<Item = ReplyEvent> + Send + use<>,
        Option<RunGuard>,
    ) {
        self.copies.follow_copy(of, after)
    }

    /// The log of a reply that runs in this process.
    pub fn find_run(&self, owner: &Owner, reply: MessageId) -> Option<Arc<ReplyLog>> {
        self.runs.find(owner, reply)
    }

    /// The logs of all replies that run in this conversation, oldest first.
    pub fn find_runs(&self, owner: &Owner, conversation: ConversationId) -> Vec<Arc<ReplyLog>> {
        self.runs.of_conversation(owner, conversation)
    }

    /// The logs of all replies that run in this process.
    pub fn runs(&self) -> Vec<Arc<ReplyLog>> {
        self.runs.all()
    }

    /// What another node has of a reply behind this place, waiting a moment for something; `None` when it
    /// cannot be asked, or does not write that reply any more. The row knows then.
    pub async fn read_elsewhere(
        &self,
        node: Uuid,
        reply: MessageId,
        place: usize,
    ) -> Option<relay::ReadElsewhere> {
        self.outbox.as_ref()?.read(node, reply, place).await
    }

    /// Asks another node to stop a reply that it writes: a hint, the row says it too.
    pub async fn stop_elsewhere(&self, node: Uuid, reply: MessageId) {
        if let Some(outbox) = &self.outbox {
            outbox.stop(node, reply).await;
        }
    }

    /// How many topics somebody listens to; for tests and metrics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }
}

/// A subscriber was too slow: what it missed is gone, and it has to read the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged;

impl From<Lagged> for Error {
    fn from(Lagged: Lagged) -> Self {
        Self::Lagged
    }
}
