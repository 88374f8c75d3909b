//! Following one conversation: what every surface that shows its present state does.

use std::sync::Arc;

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;

use super::Services;
use crate::{
    conversation::{Conversation, ConversationId, Owner},
    error::{Error, Result},
    events::{Changes, Lagged},
};

/// The conversation as it is now, and after each change; ends behind its tombstone.
///
/// # Errors
/// [`NotFound`](crate::error::Error::NotFound) when the owner does not have it.
pub(super) async fn conversation(
    services: Arc<Services>,
    owner: &Owner,
    id: ConversationId,
) -> Result<impl Stream<Item = Arc<Conversation>> + Send + 'static> {
    // First listen, then look: nothing can fall in between.
    let changes = services.events.watch_conversation(owner, id);
    let present = services.db.conversation(owner, id).await?;
    Ok(from(services, present, changes))
}

/// The same for a row and a subscription that is older than it.
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
                // Only the newest state is of interest, so falling behind costs a look at the row.
                Some(Err(Lagged)) => {
                    match read(&services, &present).await {
                        Ok(Some(row)) => Arc::new(row),
                        // Deleted: its tombstone is on its way.
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

/// Reads the row in a task of its own: a stream is not asked on while its reader takes nothing, and a database
/// connection must not wait for that.
async fn read(services: &Arc<Services>, present: &Conversation) -> Result<Option<Conversation>> {
    let (db, owner, id) = (services.db.clone(), present.owner.clone(), present.id);
    let reading = services
        .tasks
        .spawn(async move { db.find_conversation(&owner, id).await });
    AbortOnDropHandle::new(reading)
        .await
        .map_err(|broken| Error::Internal(broken.into()))?
}
