//! Fan-out of events to the subscribers of this process, and between nodes.
//!
//! Two kinds of events pass through the [`EventBroker`]:
//!
//! - A committed change of a conversation is published as the whole row
//!   ([`watch_conversation`](EventBroker::watch_conversation), [`watch`](EventBroker::watch)). Subscribers
//!   compare it with the row that they have, so a coalesced event loses nothing.
//! - A running reply is an append-only log that readers follow from an offset ([`run`]).
//!
//! With several nodes, [`relay`] sends wake-ups for changes through NATS and reads the logs of other nodes.
//!
//! Rows are the truth and events are hints: nothing here is durable. This module depends on neither the database nor
//! the model.

mod cursor;
pub mod relay;
pub mod run;
mod topics;

use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

pub use self::{
    cursor::{Place, ReplyCursor, ReplyOffset},
    run::{
        Delta, ReasoningDelta, ReplyEnd, ReplyIds, ReplyLog, ReplyLogEvent, ReplySlice,
        ReplySnapshot, RunGuard,
    },
    topics::Changes,
};
use crate::{
    clock::Clock,
    conversation::{Audience, Conversation, ConversationId, MessageId, Owner},
    error::Error,
};

/// Publishes and subscribes within one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventBroker {
    node: Uuid,
    topics: Arc<topics::Topics>,
    runs: Arc<run::Runs>,
    /// Copies of the logs of replies that other nodes write, each shared by its readers on this node.
    copies: Arc<run::Runs>,
    published: UnboundedSender<PublishedRevision>,
    /// Sends wake-ups to other nodes; `None` on a single node.
    outbox: Option<relay::Outbox>,
}

/// The id and revision of a published change.
pub type PublishedRevision = (ConversationId, i64);

impl EventBroker {
    /// A broker for a single node, and the channel of published revisions. The channel is unbounded: drop the receiver
    /// or read it.
    pub fn new(clock: Clock) -> (Self, UnboundedReceiver<PublishedRevision>) {
        let (published, receiver) = unbounded_channel();
        let broker = Self {
            node: Uuid::now_v7(),
            topics: Arc::new(topics::Topics::new(clock)),
            runs: Arc::default(),
            copies: Arc::default(),
            published,
            outbox: None,
        };
        (broker, receiver)
    }

    /// A broker for one of several nodes, and its relay, which the caller must start.
    pub fn relayed(clock: Clock) -> (Self, UnboundedReceiver<PublishedRevision>, relay::Relay) {
        let (mut broker, receiver) = Self::new(clock.clone());
        broker.topics = Arc::new(topics::Topics::relayed(clock));
        let (outbox, relay) =
            relay::Relay::new(broker.node, broker.topics.clone(), broker.runs.clone());
        broker.outbox = Some(outbox);
        (broker, receiver, relay)
    }

    /// The state of the relay; `None` on a single node.
    pub fn relay(&self) -> Option<&relay::Status> {
        self.outbox.as_ref().map(|outbox| &*outbox.status)
    }

    /// The id of this process among the nodes on the same database.
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// Publishes a committed row to the subscribers of the conversation, of its owner and of its tenant. Ignores
    /// revisions ≤ the newest published one: two writers may publish in the wrong order, and the newer row includes the
    /// older change.
    pub fn publish(&self, conversation: Conversation) {
        if let Some(outbox) = &self.outbox {
            outbox.send(&conversation);
        }
        let revision = (conversation.id, conversation.revision);
        self.topics.publish(Arc::new(conversation));
        // Fails if the receiver was dropped, which is allowed.
        let _ = self.published.send(revision);
    }

    /// Subscribes to one conversation. Subscribe first, then read the row.
    pub fn watch_conversation(&self, owner: &Owner, id: ConversationId) -> Changes {
        self.topics
            .subscribe(topics::Topic::Conversation(owner.clone(), id))
    }

    /// Subscribes to all conversations of an audience.
    pub fn watch(&self, audience: Audience) -> Changes {
        self.topics.subscribe(topics::Topic::Audience(audience))
    }

    /// Registers the log of a reply until the guard is dropped.
    pub fn open_run(&self, of: ReplyIds) -> RunGuard {
        self.runs.open(of)
    }

    /// Like [`Self::open_run`], for a reply that a program outside of the server writes.
    pub fn open_external_run(&self, of: ReplyIds) -> RunGuard {
        self.runs.open_external(of)
    }

    /// Turns the log of a reply that this process wrote into a copy of another node's log. Its readers stay connected,
    /// and the caller must fill the copy.
    pub fn hand_over_run(&self, mut run: RunGuard) -> RunGuard {
        run.move_to(&self.copies);
        run
    }

    /// Follows a reply that another node writes, from an offset. The first follower receives a guard: it must fill the
    /// log for all followers until it has no readers or the reply ends.
    pub fn follow_copy(
        &self,
        of: &ReplyIds,
        after: Option<Place>,
    ) -> (
        impl Stream<Item = ReplyLogEvent> + Send + use<>,
        Option<RunGuard>,
    ) {
        self.copies.follow_copy(of, after)
    }

    /// The log of a reply that this process writes.
    pub fn find_run(&self, owner: &Owner, reply: MessageId) -> Option<Arc<ReplyLog>> {
        self.runs.find(owner, reply)
    }

    /// The logs of the conversation's replies that this process writes, oldest first.
    pub fn find_runs(&self, owner: &Owner, conversation: ConversationId) -> Vec<Arc<ReplyLog>> {
        self.runs.of_conversation(owner, conversation)
    }

    /// The logs of all replies that this process writes.
    pub fn runs(&self) -> Vec<Arc<ReplyLog>> {
        self.runs.all()
    }

    /// Reads, from the node that writes the reply, the text after `offset` and the parts changed after the change
    /// number `changes`. Waits briefly for new content. `None` if that node does not answer or no longer writes the
    /// reply; then read the row.
    pub async fn read_remote(
        &self,
        node: Uuid,
        reply: MessageId,
        offset: usize,
        changes: u64,
    ) -> Option<relay::RemoteSlice> {
        // The reply may have moved to this node since the reader joined.
        if node == self.node {
            return relay::read_here(&self.runs, reply, offset, changes).await;
        }
        let outbox = self.outbox.as_ref()?;
        outbox.read(node, reply, offset, changes).await
    }

    /// Asks another node to stop a reply. Only a hint: the row stores the stop flag.
    pub async fn stop_remote(&self, node: Uuid, reply: MessageId) {
        if let Some(outbox) = &self.outbox {
            outbox.stop(node, reply).await;
        }
    }

    /// Whether an upload of a reply is open on another node. False if that node does not answer.
    pub async fn is_held_remotely(&self, node: Uuid, reply: MessageId) -> bool {
        match &self.outbox {
            Some(outbox) if node != self.node => outbox.is_held(node, reply).await,
            _ => false,
        }
    }

    /// The number of topics with subscribers; for tests.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }
}

/// A subscriber was too slow and lost events: it must read the row again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged;

impl From<Lagged> for Error {
    fn from(Lagged: Lagged) -> Self {
        Self::Lagged
    }
}
