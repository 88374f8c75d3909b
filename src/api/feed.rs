//! The live feed of a caller's conversations, for all surfaces.
//!
//! The feed's numbers are the truth ([`crate::db::FeedPage`]); an event only makes the stream read sooner. So a lost
//! event loses no change: the next event, the resync after a reconnect, or the poll reads everything past the cursor.

mod reads;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{sleep, timeout};

pub(super) use self::reads::FeedReads;
use super::Services;
use crate::{
    conversation::{Audience, Conversation, ConversationId},
    db::{
        BadRow, Database, FeedChange, FeedPage,
        cursor::{Cursor, FeedCursor},
    },
    error::Result,
    events::{Changes, Lagged},
};

/// How long to wait without an event before polling the feed's position. Some changes, such as imports, publish no
/// event.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The pause after a failed read.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// One event of a feed.
pub(super) enum FeedEvent {
    /// The subscription has begun. Every change after this position follows.
    Ready(FeedCursor),
    /// A conversation changed.
    Change(Box<FeedChange>),
    /// The changes before this position are unknown, so the client must read the list. Every change after it follows.
    Reset(FeedCursor),
}

/// The position that a client sent; `None` if it is malformed or belongs to another feed.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn known(db: &Database, of: &Audience, after: &str) -> Result<Option<FeedCursor>> {
    let Ok(after) = FeedCursor::decode(after) else {
        return Ok(None);
    };
    let is_known = db.has_feed_position(of, after).await?;
    Ok(is_known.then_some(after))
}

/// Follows a feed from a position, or from now on. The first event is `Ready` or `Reset`.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn follow(
    services: Arc<Services>,
    of: Audience,
    after: Option<&str>,
) -> Result<impl Stream<Item = FeedEvent> + Send + 'static + use<>> {
    // Subscribe first, then read, so that no change is lost in between.
    let changes = services.events.watch(of.clone());
    let known = match after {
        Some(after) => known(&services.db, &of, after).await?,
        None => None,
    };
    let first = match known {
        Some(known) => FeedEvent::Ready(known),
        None => {
            let position = services.db.feed_position(&of).await?;
            match after {
                Some(_) => FeedEvent::Reset(position),
                None => FeedEvent::Ready(position),
            }
        }
    };
    Ok(events(services, of, first, changes))
}

fn events(
    services: Arc<Services>,
    of: Audience,
    first: FeedEvent,
    mut changes: Changes,
) -> impl Stream<Item = FeedEvent> + Send + 'static {
    stream! {
        let (FeedEvent::Ready(mut cursor) | FeedEvent::Reset(mut cursor)) = first else { return };
        yield first;
        let mut sent = Sent::default();
        loop {
            let page = services.feed_reads.page(&services.db, &services.tasks, &of, cursor);
            match page.await.as_deref() {
                Ok(FeedPage::Changes { changes, cursor: next, has_more, .. }) => {
                    cursor = *next;
                    sent.replace(changes);
                    for change in changes {
                        yield FeedEvent::Change(Box::new(change.clone()));
                    }
                    if *has_more {
                        continue;
                    }
                }
                Ok(FeedPage::Reset(next)) => {
                    cursor = *next;
                    yield FeedEvent::Reset(cursor);
                }
                // The shared read has already logged the error.
                Err(_) => {
                    sleep(RETRY_AFTER).await;
                    continue;
                }
            }
            if !woken(&mut changes, &sent).await {
                return;
            }
        }
    }
}

/// Logs the unreadable rows of a page, which the feed skips.
pub(super) fn log_bad(page: &FeedPage) {
    let FeedPage::Changes { bad, .. } = page else {
        return;
    };
    for BadRow { id, error } in bad {
        let cause: &dyn std::error::Error = error;
        tracing::error!(row = %id, error.cause = cause, "skipped an unreadable row of a feed");
    }
}

/// The revisions of the last page, by conversation. An event with a revision ≤ the sent one needs no read.
#[derive(Default)]
struct Sent(HashMap<ConversationId, i64>);

impl Sent {
    fn replace(&mut self, changes: &[FeedChange]) {
        if changes.is_empty() {
            return;
        }
        let rows = changes.iter().map(|change| &change.conversation);
        self.0 = rows.map(|row| (row.id, row.revision)).collect();
    }

    fn has(&self, event: &Result<Arc<Conversation>, Lagged>) -> bool {
        event.as_ref().is_ok_and(|row| {
            let sent = self.0.get(&row.id);
            sent.is_some_and(|sent| *sent >= row.revision)
        })
    }
}

/// Waits until a read is due, because of an event with an unsent change or the poll interval. Drains the queued events.
/// Returns false if no further event can come.
async fn woken(changes: &mut Changes, sent: &Sent) -> bool {
    let waiting = async {
        loop {
            match changes.next().await {
                None => return false,
                Some(event) if sent.has(&event) => {}
                Some(_) => return true,
            }
        }
    };
    if let Ok(false) = timeout(poll_interval(), waiting).await {
        return false;
    }
    while let Some(Some(_)) = changes.next().now_or_never() {}
    true
}

/// The poll interval with jitter, so that the streams of a restarted node do not poll in unison.
fn poll_interval() -> Duration {
    fail::fail_point!("feed.poll", |ms| {
        let ms = ms.and_then(|ms| ms.parse().ok());
        ms.map_or(POLL_INTERVAL, Duration::from_millis)
    });
    POLL_INTERVAL.mul_f64(0.75 + 0.5 * fastrand::f64())
}
