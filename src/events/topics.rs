//! Topics: who listens to which conversations.

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
    conversation::{Conversation, ConversationId, Owner},
};

/// How many changes a subscriber may be behind before it has lost some.
const CAPACITY: usize = 256;

/// How many conversations' newest revisions are remembered at least.
const REMEMBERED: usize = 4_096;

/// What can be listened to. The owner is part of both, so that no mistake elsewhere can cross owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    Conversation(Owner, ConversationId),
    Owner(Owner),
}

type Senders = HashMap<Topic, Watched>;

/// A topic that somebody listens to.
#[derive(Debug)]
struct Watched {
    sender: broadcast::Sender<Arc<Conversation>>,
    since: DateTime<Utc>,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    // One lock for both: deciding that a revision is new and sending it must not be torn apart, or
    // two publishers could still deliver in the wrong order. Nothing is awaited under it.
    inner: Mutex<Inner>,
    /// Wakes the relay when topics came or went.
    stirred: Notify,
    /// What rows' times go by.
    clock: Clock,
}

#[derive(Debug, Default)]
struct Inner {
    senders: Senders,
    revisions: Revisions,
    /// The topics that came or went since the relay last looked; none without a relay.
    stirred: Option<HashSet<Topic>>,
}

impl Inner {
    fn send(&self, topic: &Topic, conversation: &Arc<Conversation>) {
        if let Some(watched) = self.senders.get(topic) {
            // An error says that nobody listens any more, which is nobody's loss.
            let _ = watched.sender.send(conversation.clone());
        }
    }

    /// Notes that a topic came or went; whether the relay does not know that yet.
    fn stir(&mut self, topic: &Topic) -> bool {
        self.stirred
            .as_mut()
            .is_some_and(|stirred| stirred.insert(topic.clone()))
    }
}

impl Topics {
    /// Topics without subscribers; since when there are some, this clock says.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// The time, as rows have it.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Topics whose coming and going a relay wants to know.
    pub(super) fn relayed(clock: Clock) -> Self {
        let topics = Self::new(clock);
        topics.lock().stirred = Some(HashSet::new());
        topics
    }

    /// Tells everybody whom it concerns, unless this revision or a newer one was told.
    pub(super) fn publish(&self, conversation: Arc<Conversation>) {
        let mut inner = self.lock();
        if !inner
            .revisions
            .is_news(conversation.id, conversation.revision)
        {
            return;
        }
        let owner = conversation.owner.clone();
        for topic in [
            Topic::Conversation(owner.clone(), conversation.id),
            Topic::Owner(owner),
        ] {
            inner.send(&topic, &conversation);
        }
    }

    /// Tells the subscribers of this topic alone, and does not remember it: the others still have to be
    /// told. For topics whose subscribers compare revisions themselves.
    pub(super) fn show(&self, topic: &Topic, conversation: Conversation) {
        self.lock().send(topic, &Arc::new(conversation));
    }

    /// Whether this revision, or a newer one, was told lately.
    pub(super) fn has_told(&self, id: ConversationId, revision: i64) -> bool {
        let known = self.lock().revisions.find(id);
        known.is_some_and(|known| known >= revision)
    }

    /// Since when somebody listens to this; none: nobody does.
    pub(super) fn watched_since(&self, topic: &Topic) -> Option<DateTime<Utc>> {
        self.lock().senders.get(topic).map(|watched| watched.since)
    }

    /// Everything that somebody listens to.
    pub(super) fn watched(&self) -> Vec<Topic> {
        self.lock().senders.keys().cloned().collect()
    }

    /// The topics that came or went since the last call, as soon as there are any.
    pub(super) async fn stirred(&self) -> HashSet<Topic> {
        loop {
            let stirred = self.lock().stirred.as_mut().map(std::mem::take);
            match stirred {
                Some(stirred) if !stirred.is_empty() => return stirred,
                _ => self.stirred.notified().await,
            }
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>, topic: Topic) -> Changes {
        let mut inner = self.lock();
        let receiver = match inner.senders.get(&topic) {
            Some(watched) => watched.sender.subscribe(),
            None => {
                let (sender, receiver) = broadcast::channel(CAPACITY);
                let since = self.clock.now();
                inner
                    .senders
                    .insert(topic.clone(), Watched { sender, since });
                if inner.stir(&topic) {
                    self.stirred.notify_one();
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

    fn leave(&self, topic: &Topic) {
        let mut inner = self.lock();
        if inner
            .senders
            .get(topic)
            .is_some_and(|watched| watched.sender.receiver_count() == 0)
        {
            inner.senders.remove(topic);
            if inner.stir(topic) {
                self.stirred.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under the lock can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes that one subscriber gets: each the conversation's row after a commit, revisions rising.
/// Leaving is dropping it.
#[derive(Debug)]
pub struct Changes {
    // None only while it is dropped: the receiver has to be gone before the topic counts who is left.
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
            topics.leave(&self.topic);
        }
    }
}

/// The newest revision told of each conversation lately: two generations, of which the older is
/// forgotten when the newer is full.
#[derive(Debug, Default)]
struct Revisions {
    young: HashMap<ConversationId, i64>,
    old: HashMap<ConversationId, i64>,
}

impl Revisions {
    fn find(&self, id: ConversationId) -> Option<i64> {
        self.young.get(&id).or_else(|| self.old.get(&id)).copied()
    }

    fn is_news(&mut self, id: ConversationId, revision: i64) -> bool {
        if self.find(id).is_some_and(|known| known >= revision) {
            return false;
        }
        if self.young.len() >= REMEMBERED {
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
    use crate::conversation::{ConversationStatus, TitleSource, TitleStatus};

    fn conversation(id: ConversationId, user: &str, revision: i64) -> Arc<Conversation> {
        Arc::new(Conversation {
            id,
            owner: owner(user),
            display_name: None,
            title_generated_at: None,
            title_source: TitleSource::Hint,
            title_status: TitleStatus::Pending,
            title_begun: false,
            title_waits: false,
            title_failure: None,
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
        let mut changes = topics.subscribe(Topic::Owner(owner("a")));
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
        // The topics are gone, so this ends; had anything arrived, it would come first.
        assert!(a.next().await.is_none());
    }

    #[tokio::test]
    async fn falling_behind_is_told() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let id = ConversationId::new();
        let mut changes = topics.subscribe(Topic::Conversation(owner("a"), id));
        for revision in 0..CAPACITY as i64 + 1 {
            topics.publish(conversation(id, "a", revision));
        }
        assert_eq!(changes.next().await, Some(Err(Lagged)));
    }

    #[test]
    fn the_last_to_leave_takes_the_topic_along() {
        let topics = Arc::new(Topics::new(Clock::default()));
        let first = topics.subscribe(Topic::Owner(owner("a")));
        let second = topics.subscribe(Topic::Owner(owner("a")));
        drop(first);
        assert_eq!(topics.len(), 1);
        drop(second);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn revisions_are_remembered_for_a_while_and_no_longer() {
        let mut revisions = Revisions::default();
        let id = ConversationId::new();
        assert!(revisions.is_news(id, 2));
        for _ in 0..REMEMBERED {
            revisions.is_news(ConversationId::new(), 1);
        }
        assert!(!revisions.is_news(id, 1), "still known");
        for _ in 0..3 * REMEMBERED {
            revisions.is_news(ConversationId::new(), 1);
        }
        assert!(revisions.young.len() + revisions.old.len() <= 2 * REMEMBERED);
    }
}
