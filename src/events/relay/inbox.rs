//! What a node was told to look at, and the looking: the rows are read and told to its own subscribers.
//!
//! However often a conversation is mentioned before its row is read, it is read once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, future::BoxFuture, stream};
use tokio::{sync::Notify, time::sleep};

use super::Status;
use crate::{
    conversation::{Conversation, ConversationId, Owner},
    error::{Error, Result},
    events::topics::{Topic, Topics},
};

/// How long wake-ups are collected: not to be felt, and long enough for those of one moment.
const MOMENT: Duration = Duration::from_millis(5);

/// How long the database is left alone after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How far apart the clocks of two nodes may be.
const SKEW: TimeDelta = TimeDelta::seconds(2);

/// How many rows, or lists of rows, are read at a time: requests need the database too.
const READS: usize = 4;

/// Rows that the relay asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// This one, a tombstone too, if the owner has it.
    Row(Owner, ConversationId),
    /// The owner's rows, tombstones too, that changed at this time or later: a page in the order of
    /// their ids, behind this one. An empty page is the end.
    Changed(Owner, DateTime<Utc>, Option<ConversationId>),
}

/// How the relay reads rows, since events do not know the database.
pub type ReadRows =
    Arc<dyn Fn(Wanted) -> BoxFuture<'static, Result<Vec<Conversation>>> + Send + Sync>;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// The newest revision that was mentioned.
    rows: HashMap<ConversationId, (Owner, i64)>,
    /// Topics that may have missed something since then.
    topics: HashMap<Topic, DateTime<Utc>>,
}

impl Inbox {
    /// This revision is there.
    pub(super) fn wake_up(&self, owner: Owner, id: ConversationId, revision: i64) {
        let mut pending = self.lock();
        let (_, newest) = pending.rows.entry(id).or_insert((owner, revision));
        *newest = revision.max(*newest);
        drop(pending);
        self.arrived.notify_one();
    }

    /// This topic may have missed something since then.
    pub(super) fn look_again(&self, topic: Topic, since: DateTime<Utc>) {
        let mut pending = self.lock();
        let oldest = pending.topics.entry(topic).or_insert(since);
        *oldest = since.min(*oldest);
        drop(pending);
        self.arrived.notify_one();
    }

    /// Reads and tells, until it is dropped. What cannot be read now is read later.
    pub(super) async fn tell(&self, topics: &Topics, read: &ReadRows, status: &Status) {
        loop {
            self.arrived.notified().await;
            sleep(MOMENT).await;
            let pending = std::mem::take(&mut *self.lock());
            let is_well = AtomicBool::new(true);
            let failed = |error: Error| {
                if is_well.swap(false, Ordering::Relaxed) {
                    error.log();
                }
            };
            let reader = &Reader {
                topics,
                read,
                status,
            };
            stream::iter(pending.rows)
                .for_each_concurrent(READS, |(id, (owner, revision))| async move {
                    if let Err(error) = reader.tell_row(owner.clone(), id, revision).await {
                        self.wake_up(owner, id, revision);
                        failed(error);
                    }
                })
                .await;
            stream::iter(pending.topics)
                .for_each_concurrent(READS, |(topic, since)| async move {
                    if let Err(error) = reader.tell_topic(&topic, since).await {
                        self.look_again(topic, since);
                        failed(error);
                    }
                })
                .await;
            if !is_well.into_inner() {
                sleep(PAUSE).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing under the lock can leave it half changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader<'a> {
    topics: &'a Topics,
    read: &'a ReadRows,
    status: &'a Status,
}

impl Reader<'_> {
    async fn rows(&self, wanted: Wanted) -> Result<Vec<Conversation>> {
        self.status.reads.fetch_add(1, Ordering::Relaxed);
        (self.read)(wanted).await
    }

    /// Tells of a conversation, unless this node has told so much already: its own change, or a
    /// wake-up that came twice.
    async fn tell_row(&self, owner: Owner, id: ConversationId, revision: i64) -> Result<()> {
        if self.topics.has_told(id, revision) {
            return Ok(());
        }
        for row in self.rows(Wanted::Row(owner, id)).await? {
            self.topics.publish(Arc::new(row));
        }
        Ok(())
    }

    /// Tells what a topic may have missed since then.
    async fn tell_topic(&self, topic: &Topic, since: DateTime<Utc>) -> Result<()> {
        // Before anybody listened nothing can be missed.
        let Some(begun) = self.topics.watched_since(topic) else {
            return Ok(());
        };
        let since = since.max(begun) - SKEW;
        match topic {
            // Its subscribers compare with the row that they read. Whoever listens to all of the
            // owner's conversations has nothing to compare with, and is not told what is no change.
            Topic::Conversation(owner, id) => {
                for row in self.rows(Wanted::Row(owner.clone(), *id)).await? {
                    self.topics.show(topic, row);
                }
            }
            Topic::Owner(owner) => {
                let mut after = None;
                loop {
                    let rows = self
                        .rows(Wanted::Changed(owner.clone(), since, after))
                        .await?;
                    let Some(last) = rows.last() else { break };
                    after = Some(last.id);
                    for row in rows {
                        self.topics.publish(Arc::new(row));
                    }
                }
            }
        }
        Ok(())
    }
}
