//! The root type `Subscription`.

use std::pin::Pin;

use async_graphql::{Context, ID, Subscription};
use futures_util::{Stream, StreamExt, future::Either, stream};

use super::{
    errors::{About, GraphqlError, Result},
    objects::Conversation,
    query::owner_for,
    reply::{self, ReplyEvent},
};
use crate::{
    api::{rest::conversation_id, watch},
    auth::Scope,
    error::Error,
    events::{Lagged, ReplyCursor},
};

/// The live updates.
pub(super) struct Subscription;

type Conversations = Pin<Box<dyn Stream<Item = Result<Conversation>> + Send>>;

/// The live updates.
#[Subscription]
impl Subscription {
    /// A conversation each time it changes: its title, a message, its deletion. With an id: that conversation,
    /// beginning with its current state. Without an id: all conversations of the caller, from now on. Ends with the
    /// error code LAGGED if the client reads too slowly to receive every change of the list; read the list again then.
    async fn conversation_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation; all of the caller's if omitted.")] id: Option<ID>,
    ) -> Result<Conversations> {
        let (services, owner) = owner_for(ctx, Scope::Read)?;
        if let Some(id) = id {
            let id = conversation_id(&id).about("id")?;
            let states = watch::conversation(services.clone(), owner, id).await?;
            return Ok(states.map(|row| Ok(row.into())).boxed());
        }
        let changes = services.events.watch_owner(owner);
        Ok(changes
            .map(|change| match change {
                Ok(row) => Ok(row.into()),
                Err(Lagged) => Err(GraphqlError::from(Error::Lagged)),
            })
            // End after the first error: later events may be incomplete.
            .scan(false, |has_failed, item| {
                let item = (!*has_failed).then_some(item);
                *has_failed = matches!(item, Some(Err(_)));
                std::future::ready(item)
            })
            .boxed())
    }

    /// The newest reply of a conversation: the text so far, added text, and the end, from whichever node writes it. A
    /// finished reply is sent at once. After a disconnect, `after` resumes the reply of that cursor.
    async fn reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] conversation_id: ID,
        #[graphql(desc = "The last `cursor` received; from the beginning if omitted.")]
        after: Option<String>,
    ) -> Result<impl Stream<Item = ReplyEvent> + use<>> {
        let (services, owner) = owner_for(ctx, Scope::Read)?;
        let id = crate::api::rest::conversation_id(&conversation_id).about("conversationId")?;
        let after = after
            .map(|cursor| cursor.parse::<ReplyCursor>())
            .transpose()
            .about("after")?;
        let reply = services.chat.follow_reply(owner, id, after).await?;
        Ok(match reply {
            Some(reply) => Either::Left(reply::events(reply)),
            None => Either::Right(stream::empty()),
        })
    }
}
