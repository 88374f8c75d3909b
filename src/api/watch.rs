//! Streams the state of one conversation, for all surfaces.

use std::sync::Arc;

use async_stream::stream;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use tokio_util::task::AbortOnDropHandle;

use super::{Services, reach};
use crate::{
    auth::Reach,
    conversation::{Conversation, ConversationId},
    db::Named,
    error::{Error, Result},
    events::{Changes, Lagged},
};

/// The current row, then the row after each change; ends with the tombstone. If the tenant shares its conversations,
/// also ends with [`Lagged`](crate::error::Error::Lagged) when its policy changes.
///
/// # Errors
/// [`NotFound`](crate::error::Error::NotFound) if the owner has no such conversation.
pub(super) async fn conversation(
    services: Arc<Services>,
    reach: Reach<'_>,
    id: ConversationId,
) -> Result<BoxStream<'static, Result<Arc<Conversation>>>> {
    let owner = reach::owner(&services, reach, Named::Conversation(id)).await?;
    // Subscribe first, then read, so that no change is lost in between.
    let changes = services.events.watch_conversation(&owner, id);
    let present = services.db.conversation(&owner, id).await?;
    let states = from(services.clone(), present, changes);
    Ok(match reach.visibility().is_shared() {
        true => reach::until_policy_changes(&services, reach, states).boxed(),
        false => states.map(Ok).boxed(),
    })
}

/// Like [`conversation`], from a row and a subscription that was made before the row was read.
pub(super) fn from(
    services: Arc<Services>,
    present: Conversation,
    mut changes: Changes,
) -> impl Stream<Item = Arc<Conversation>> + Send + 'static {
    stream! {
        let mut present = Arc::new(present);
        yield present.clone();
        while !present.is_deleted() {
            let newer = match changes.next().await {
                Some(Ok(newer)) => newer,
                // Only the newest state matters, so read the row after a lag.
                Some(Err(Lagged)) => {
                    match read(&services, &present).await {
                        Ok(Some(row)) => Arc::new(row),
                        // Deleted; the tombstone follows as an event.
                        Ok(None) => continue,
                        Err(error) => {
                            error.log();
                            continue;
                        }
                    }
                }
                None => break,
            };
            if newer.revision > present.revision {
                present = newer;
                yield present.clone();
            }
        }
    }
}

/// Reads the row in a separate task: a slow client stops polling the stream, and the read must not hold a database
/// connection meanwhile.
async fn read(services: &Arc<Services>, present: &Conversation) -> Result<Option<Conversation>> {
    let (db, owner, id) = (services.db.clone(), present.owner.clone(), present.id);
    let reading = services
        .tasks
        .spawn(async move { db.find_conversation(&owner, id).await });
    AbortOnDropHandle::new(reading)
        .await
        .map_err(|broken| Error::Internal(broken.into()))?
}
