//! For all surfaces: who owns the conversation that a request names, and what the caller may do in it.
//!
//! Without sharing this needs no statement: the caller acts as the owner, and queries filter by owner.

use std::{io, pin::pin};

use async_stream::stream;
use axum::{body::Body, response::Response};
use futures_util::{Stream, StreamExt};

use super::Services;
use crate::{
    auth::Reach,
    conversation::{Actor, ConversationName, Owner, Visibility},
    db::Named,
    error::{Error, Result},
};

/// What the caller wants to do with a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read it.
    Read,
    /// Change it, or write in it.
    Write,
}

/// The caller as an actor in the conversation that a request names. If the caller has no access or the conversation
/// does not exist, the actor owns its own conversations only: the next statement then finds nothing, or creates the
/// conversation.
///
/// # Errors
/// [`Error::ForbiddenToGuests`] if the caller may only read the conversation but wants to write; [`Error::Database`].
pub(super) async fn actor(
    services: &Services,
    reach: Reach<'_>,
    named: Named,
    access: Access,
) -> Result<Actor> {
    let caller = reach.caller();
    let own = || Actor::own(caller.clone());
    if !reach.visibility().is_shared() {
        return Ok(own());
    }
    match services.db.find_owner(&caller.tenant, named).await? {
        Some(owner) if owner != *caller => {
            if access == Access::Write && reach.visibility() != Visibility::Tenant {
                return Err(Error::ForbiddenToGuests);
            }
            Ok(Actor {
                owner,
                author: caller.user.clone(),
            })
        }
        _ => Ok(own()),
    }
}

/// Like [`actor`], for a conversation by name. An external id always names one of the caller's own.
///
/// # Errors
/// As [`actor`].
pub(super) async fn actor_in(
    services: &Services,
    reach: Reach<'_>,
    name: Option<&ConversationName>,
    access: Access,
) -> Result<Actor> {
    match name {
        Some(ConversationName::Ours(id)) => {
            actor(services, reach, Named::Conversation(*id), access).await
        }
        Some(ConversationName::External(_)) | None => Ok(Actor::own(reach.caller().clone())),
    }
}

/// The owner of the conversation or message that a request reads.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn owner(services: &Services, reach: Reach<'_>, named: Named) -> Result<Owner> {
    let actor = actor(services, reach, named, Access::Read).await?;
    Ok(actor.owner)
}

/// Passes on the items of a stream until the tenant's policy changes, then yields [`Lagged`](Error::Lagged), on which a
/// client subscribes again and reads what it may see now.
pub(super) fn until_policy_changes<T: Send + 'static>(
    services: &Services,
    reach: Reach<'_>,
    items: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = Result<T>> + Send + 'static {
    let tenant = reach.caller().tenant.clone();
    let changed = services.sharing.changed(tenant, reach.visibility());
    stream! {
        let (mut items, mut changed) = (pin!(items), pin!(changed));
        loop {
            tokio::select! {
                biased;
                () = &mut changed => {
                    yield Err(Error::Lagged);
                    break;
                }
                item = items.next() => match item {
                    Some(item) => yield Ok(item),
                    None => break,
                },
            }
        }
    }
}

/// The response with a body that breaks off when the tenant's policy changes, so that the client reconnects under the
/// new policy.
pub(super) fn bound(services: &Services, reach: Reach<'_>, response: Response) -> Response {
    match reach.visibility().is_shared() {
        true => always_bound(services, reach, response),
        false => response,
    }
}

/// Like [`bound`], but also for a private tenant: for streams that show more once the tenant shares.
pub(super) fn always_bound(services: &Services, reach: Reach<'_>, response: Response) -> Response {
    response.map(|body| {
        let data = until_policy_changes(services, reach, body.into_data_stream());
        let broken = || axum::Error::new(io::Error::from(io::ErrorKind::ConnectionAborted));
        Body::from_stream(data.map(move |chunk| chunk.unwrap_or_else(|_| Err(broken()))))
    })
}
