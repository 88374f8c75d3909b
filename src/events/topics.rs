//! Topics: a broadcast channel for each watched conversation and each watched audience.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, broadcast};
use tokio_stream::{
    Stream,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};

use super::Lagged;
use crate::{
    clock::Clock,
    conversation::{Audience, Conversation, ConversationId, Owner},
};

/// How many changes a subscriber may lag behind before it loses some.
const CHANNEL_CAPACITY: usize = 256;

/// The minimum number of conversations whose newest revision is remembered.
const REVISION_CACHE_SIZE: usize = 4_096;

/// A topic that subscribers can watch. Each contains the owner or the tenant, so that a wrong id cannot cross owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    Conversation(Owner, ConversationId),
    /// The conversations of a user, or of all users of a tenant.
    Audience(Audience),
}

type Senders = HashMap<Topic, Channel>;

/// The channel of a topic with subscribers.
#[derive(Debug)]
struct Channel {
    sender: broadcast::Sender<Arc<Conversation>>,
    since: DateTime<Utc>,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    // One lock for senders and revisions: checking a revision and sending it must be atomic, or two publishers could
    // deliver in the wrong order. Nothing is awaited under it.
    inner: Mutex<Inner>,
    /// Wakes the relay when topics were added or removed.
    topics_changed: Notify,
    /// The clock of the rows' times.
    clock: Clock,
}

#[derive(Debug, Default)]
struct Inner {
    senders: Senders,
    revisions: Revisions,
    /// Topics added or removed since the relay last took them; `None` without a relay.
    changed: Option<HashSet<Topic>>,
}

impl Inner {
    fn send(&self, topic: &Topic, conversation: &Arc<Conversation>) {
        if let Some(watched) = self.senders.get(topic) {
            // An error means that the last subscriber has just left.
            let _ = watched.sender.send(conversation.clone());
        }
    }

    /// Records for the relay that a topic was added or removed. Returns whether the relay must be woken.
    fn mark_changed(&mut self, topic: &Topic) -> bool {
        self.changed
            .as_mut()
            .is_some_and(|changed| changed.insert(topic.clone()))
    }
}

impl Topics {
    /// Topics of a node without a relay.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// The current time by the clock of the rows.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Topics that record their changes for a relay.
    pub(super) fn relayed(clock: Clock) -> Self {
        let topics = Self::new(clock);
        topics.lock().changed = Some(HashSet::new());
        topics
    }

    /// Sends a change to the subscribers of its conversation, its owner and its tenant. Ignores revisions ≤ the newest
    /// published one.
    pub(super) fn publish(&self, conversation: Arc<Conversation>) {
        let mut inner = self.lock();
        if !inner
            .revisions
            .advance(conversation.id, conversation.revision)
        {
            return;
        }
        let owner = conversation.owner.clone();
        for topic in [
            Topic::Conversation(owner.clone(), conversation.id),
            Topic::Audience(Audience::Tenant(owner.tenant.clone())),
            Topic::Audience(Audience::User(owner)),
        ] {
            inner.send(&topic, &conversation);
        }
    }

    /// Sends a row to the subscribers of this topic only, without recording its revision, so that other topics still
    /// receive it. For topics whose subscribers compare revisions themselves.
    pub(super) fn send_to(&self, topic: &Topic, conversation: Conversation) {
        self.lock().send(topic, &Arc::new(conversation));
    }

    /// Whether this revision or a newer one was published recently.
    pub(super) fn has_published(&self, id: ConversationId, revision: i64) -> bool {
        let known = self.lock().revisions.find(id);
        known.is_some_and(|known| known >= revision)
    }

    /// When the topic got its first current subscriber; `None` without subscribers.
    pub(super) fn watched_since(&self, topic: &Topic) -> Option<DateTime<Utc>> {
        self.lock().senders.get(topic).map(|watched| watched.since)
    }

    /// All topics with subscribers.
    pub(super) fn watched(&self) -> Vec<Topic> {
        self.lock().senders.keys().cloned().collect()
    }

    /// Waits until topics have been added or removed since the last call, and takes them.
    pub(super) async fn changed(&self) -> HashSet<Topic> {
        loop {
            let changed = self.lock().changed.as_mut().map(std::mem::take);
            match changed {
                Some(changed) if !changed.is_empty() => return changed,
                _ => self.topics_changed.notified().await,
            }
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>, topic: Topic) -> Changes {
        let mut inner = self.lock();
        let receiver = match inner.senders.get(&topic) {
            Some(watched) => watched.sender.subscribe(),
            None => {
                let (sender, receiver) = broadcast::channel(CHANNEL_CAPACITY);
                let since = self.clock.now();
                inner
                    .senders
                    .insert(topic.clone(), Channel { sender, since });
                if inner.mark_changed(&topic) {
                    self.topics_changed.notify_one();
                }
                receiver
            }
        };
        drop(inner);
        Changes {
            receiver: Some(BroadcastStream::new(receiver)),
            topic,
            topics: Arc::downgrade(self),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().senders.len()
    }

    /// Removes a topic that has no subscribers.
    fn remove_if_unused(&self, topic: &Topic) {
        let mut inner = self.lock();
        if inner
            .senders
            .get(topic)
            .is_some_and(|watched| watched.sender.receiver_count() == 0)
        {
            inner.senders.remove(topic);
            if inner.mark_changed(topic) {
                self.topics_changed.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No critical section can panic half-way through an update.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes for one subscriber: each is the conversation's row after a commit, with increasing revisions. Dropping
/// it unsubscribes.
#[derive(Debug)]
pub struct Changes {
    // `None` only during drop: the receiver must be gone before the topic counts its receivers.
    receiver: Option<BroadcastStream<Arc<Conversation>>>,
    topic: Topic,
    topics: Weak<Topics>,
}

impl Stream for Changes {
    type Item = Result<Arc<Conversation>, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(receiver) = &mut self.receiver else {
            return Poll::Ready(None);
        };
        Pin::new(receiver).poll_next(cx).map(|item| {
            item.map(|change| change.map_err(|BroadcastStreamRecvError::Lagged(_)| Lagged))
        })
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(topics) = self.topics.upgrade() {
            topics.remove_if_unused(&self.topic);
        }
    }
}

/// The newest published revision of recent conversations: a cache of two generations. When the young one is full, it
/// replaces the old one.
#[derive(Debug, Default)]
struct Revisions {
    young: HashMap<ConversationId, i64>,
    old: HashMap<ConversationId, i64>,
}

impl Revisions {
    fn find(&self, id: ConversationId) -> Option<i64> {
        self.young.get(&id).or_else(|| self.old.get(&id)).copied()
    }

    /// Records a revision. Returns whether it is newer than the recorded one.
    fn advance(&mut self, id: ConversationId, revision: i64) -> bool {
        if self.find(id).is_some_and(|known| known >= revision) {
            return false;
        }
        if self.young.len() >= REVISION_CACHE_SIZE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, revision);
        true
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::conversation::{ConversationStatus, Metadata, TitleSource, TitleStatus};

    fn conversation(id: ConversationId, user: &str, revision: i64) -> Arc<Conversation> {
        Arc::new(Conversation {
            external_id: None,
            drops_text: false,
            id,
            owner: owner(user),
            display_name: None,
            title_generated_at: None,
            title_source: TitleSource::Hint,
            title_status: TitleStatus::Pending,
            title_begun: false,
            title_waits: false,
            title_failure: None,
            title_retry_at: None,
            previous_title: None,
            title_locked: false,
            topic_hint: None,
            agent_entrypoint: "triage".into(),
            active_agent: "triage".into(),
            status: ConversationStatus::Active,
            message_count: 1,
            last_message_preview: None,
            last_message_at: DateTime::UNIX_EPOCH,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            revision,
            archived_at: None,
            pinned_at: None,
            metadata: Metadata::default(),
        })
    }

    fn owner(user: &str) -> Owner {
        Owner {
            tenant: "t".into(),
            user: user.into(),
        }
    }

    #[tokio::test]
    async fn an_older_revision_never_follows_a_newer_one() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let id = ConversationId::new();
        let mut changes = topics.subscribe(Topic::Audience(Audience::User(owner("a"))));
        for revision in [1, 3, 2, 3, 4] {
            topics.publish(conversation(id, "a", revision));
        }
        for expected in [1, 3, 4] {
            assert_eq!(changes.next().await.unwrap().unwrap().revision, expected);
        }
    }

    #[tokio::test]
    async fn owners_are_apart_even_with_the_same_conversation_id() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let id = ConversationId::new();
        let mut a = topics.subscribe(Topic::Conversation(owner("a"), id));
        let mut b = topics.subscribe(Topic::Conversation(owner("b"), id));
        topics.publish(conversation(id, "b", 1));
        assert_eq!(b.next().await.unwrap().unwrap().owner.user, "b");
        drop(topics);
        // Dropping the topics ends the stream; an event would have come first.
        assert!(a.next().await.is_none());
    }

    #[tokio::test]
    async fn a_tenant_receives_the_changes_of_its_users_and_of_no_other_tenant() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let tenant = |tenant: &str| Topic::Audience(Audience::Tenant(tenant.into()));
        let (mut ours, mut others) = (
            topics.subscribe(tenant("t")),
            topics.subscribe(tenant("other")),
        );
        for user in ["a", "b"] {
            topics.publish(conversation(ConversationId::new(), user, 1));
            assert_eq!(ours.next().await.unwrap().unwrap().owner.user, user);
        }
        drop(topics);
        // Dropping the topics ends the stream; an event would have come first.
        assert!(others.next().await.is_none());
    }

    #[tokio::test]
    async fn a_lagging_subscriber_receives_an_error() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let id = ConversationId::new();
        let mut changes = topics.subscribe(Topic::Conversation(owner("a"), id));
        for revision in 0..CHANNEL_CAPACITY as i64 + 1 {
            topics.publish(conversation(id, "a", revision));
        }
        assert_eq!(changes.next().await, Some(Err(Lagged)));
    }

    #[test]
    fn the_last_subscriber_removes_the_topic() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let first = topics.subscribe(Topic::Audience(Audience::User(owner("a"))));
        let second = topics.subscribe(Topic::Audience(Audience::User(owner("a"))));
        drop(first);
        assert_eq!(topics.len(), 1);
        drop(second);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn the_revision_cache_is_bounded_and_keeps_recent_ones() {
        let mut revisions = Revisions::default();
        let id = ConversationId::new();
        assert!(revisions.advance(id, 2));
        for _ in 0..REVISION_CACHE_SIZE {
            revisions.advance(ConversationId::new(), 1);
        }
        assert!(!revisions.advance(id, 1), "still known");
        for _ in 0..3 * REVISION_CACHE_SIZE {
            revisions.advance(ConversationId::new(), 1);
        }
        assert!(revisions.young.len() + revisions.old.len() <= 2 * REVISION_CACHE_SIZE);
    }
}
