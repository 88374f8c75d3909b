//! Pending wake-ups and resyncs: reads the rows that they name and publishes them to this node's subscribers.
//!
//! Wake-ups are coalesced: several for one conversation cause one read of its row.

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
    conversation::{Audience, Conversation, ConversationId},
    error::{Error, Result},
    events::topics::{Topic, Topics},
};

/// How long wake-ups are collected before their rows are read: too short to notice, long enough to coalesce a burst.
const COALESCE_WINDOW: Duration = Duration::from_millis(5);

/// The delay before a retry after a database error.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How far apart the clocks of two nodes may be.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// Concurrent reads of rows or pages. Bounded, because requests share the connection pool.
const MAX_CONCURRENT_READS: usize = 4;

/// A query of the relay for rows.
#[derive(Clone, Debug)]
pub enum RowQuery {
    /// This conversation, even as a tombstone, if the audience covers it.
    Row(Audience, ConversationId),
    /// The audience's rows, including tombstones, that changed at this time or later: a page ordered by id, after this
    /// id. An empty page is the end.
    Changed(Audience, DateTime<Utc>, Option<ConversationId>),
}

/// Reads rows for the relay. Injected, because `events` does not depend on `db`.
pub type ReadRows =
    Arc<dyn Fn(RowQuery) -> BoxFuture<'static, Result<Vec<Conversation>>> + Send + Sync>;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// The newest revision named by a wake-up.
    rows: HashMap<ConversationId, (Audience, i64)>,
    /// Topics to resync, and the time since when wake-ups may be lost.
    topics: HashMap<Topic, DateTime<Utc>>,
}

impl Inbox {
    /// Queues a wake-up for this revision.
    pub(super) fn wake_up(&self, audience: Audience, id: ConversationId, revision: i64) {
        let mut pending = self.lock();
        let (_, newest) = pending.rows.entry(id).or_insert((audience, revision));
        *newest = revision.max(*newest);
        drop(pending);
        self.arrived.notify_one();
    }

    /// Queues a resync of the topic for changes since this time.
    pub(super) fn request_resync(&self, topic: Topic, since: DateTime<Utc>) {
        let mut pending = self.lock();
        let oldest = pending.topics.entry(topic).or_insert(since);
        *oldest = since.min(*oldest);
        drop(pending);
        self.arrived.notify_one();
    }

    /// Reads pending rows and publishes them, until dropped. A failed read is queued again.
    pub(super) async fn run(&self, topics: &Topics, read: &ReadRows, status: &Status) {
        loop {
            self.arrived.notified().await;
            sleep(COALESCE_WINDOW).await;
            let pending = std::mem::take(&mut *self.lock());
            let is_ok = AtomicBool::new(true);
            let failed = |error: Error| {
                if is_ok.swap(false, Ordering::Relaxed) {
                    error.log();
                }
            };
            let reader = &Reader {
                topics,
                read,
                status,
            };
            stream::iter(pending.rows)
                .for_each_concurrent(
                    MAX_CONCURRENT_READS,
                    |(id, (audience, revision))| async move {
                        let reading = reader.publish_row(audience.clone(), id, revision);
                        if let Err(error) = reading.await {
                            self.wake_up(audience, id, revision);
                            failed(error);
                        }
                    },
                )
                .await;
            stream::iter(pending.topics)
                .for_each_concurrent(MAX_CONCURRENT_READS, |(topic, since)| async move {
                    if let Err(error) = reader.resync_topic(&topic, since).await {
                        self.request_resync(topic, since);
                        failed(error);
                    }
                })
                .await;
            if !is_ok.into_inner() {
                sleep(RETRY_DELAY).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Each critical section is one map update, so a panic cannot leave a partial one.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader<'a> {
    topics: &'a Topics,
    read: &'a ReadRows,
    status: &'a Status,
}

impl Reader<'_> {
    async fn rows(&self, query: RowQuery) -> Result<Vec<Conversation>> {
        self.status.reads.fetch_add(1, Ordering::Relaxed);
        (self.read)(query).await
    }

    /// Publishes a conversation, unless this revision was published already: a change of this node, or a repeated
    /// wake-up.
    async fn publish_row(
        &self,
        audience: Audience,
        id: ConversationId,
        revision: i64,
    ) -> Result<()> {
        if self.topics.has_published(id, revision) {
            return Ok(());
        }
        for row in self.rows(RowQuery::Row(audience, id)).await? {
            self.topics.publish(Arc::new(row));
        }
        Ok(())
    }

    /// Publishes the changes in a topic since this time.
    async fn resync_topic(&self, topic: &Topic, since: DateTime<Utc>) -> Result<()> {
        // Nothing was missed before the first subscriber.
        let Some(begun) = self.topics.watched_since(topic) else {
            return Ok(());
        };
        let since = since.max(begun) - MAX_CLOCK_SKEW;
        match topic {
            // Subscribers of one conversation compare revisions with the row that they read, so an unchanged row is
            // harmless. Subscribers of a list have nothing to compare with and must not receive it.
            Topic::Conversation(owner, id) => {
                let owner = Audience::User(owner.clone());
                for row in self.rows(RowQuery::Row(owner, *id)).await? {
                    self.topics.send_to(topic, row);
                }
            }
            Topic::Audience(audience) => {
                let mut after = None;
                loop {
                    let rows = self
                        .rows(RowQuery::Changed(audience.clone(), since, after))
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
