//! The root type `Subscription`.

use std::pin::Pin;

use async_graphql::{Context, ID, Subscription};
use futures_util::{Stream, StreamExt, future::Either, stream};

use super::{
    errors::{About, GraphqlError, Result},
    feed::ConversationFeedEvent,
    objects::Conversation,
    query::reach_for,
    reply::{self, ReplyEvent},
};
use crate::{
    api::{
        feed,
        reach::{self, until_policy_changes},
        rest::{conversation_id, message_id},
        watch,
    },
    auth::Scope,
    conversation::{ConversationId, MessageId},
    db::Named,
    error::Error,
    events::{Lagged, ReplyCursor},
};

/// The live updates.
pub(super) struct Subscription;

type Replies = Pin<Box<dyn Stream<Item = Result<ReplyEvent>> + Send>>;

type FeedEvents = Pin<Box<dyn Stream<Item = Result<ConversationFeedEvent>> + Send>>;

type Conversations = Pin<Box<dyn Stream<Item = Result<Conversation>> + Send>>;

/// The live updates.
#[Subscription]
impl Subscription {
    /// A conversation each time it changes: its title, a message, its deletion. With an id: that conversation,
    /// beginning with its current state. Without an id: all conversations that the caller can see, from now on. Ends with
    /// the error code LAGGED if the client reads too slowly to receive every change of the list, or if the tenant's
    /// policy of sharing changes; read the list again then.
    async fn conversation_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation; all that the caller can see if omitted.")] id: Option<
            ID,
        >,
    ) -> Result<Conversations> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        if let Some(id) = id {
            let id = conversation_id(&id).about("id")?;
            let states = watch::conversation(services.clone(), reach, id).await?;
            return Ok(states.map(|row| Ok(Conversation::from(row?))).boxed());
        }
        let changes = services.events.watch(reach.audience());
        Ok(until_policy_changes(services, reach, changes)
            .map(|change| match change {
                Ok(Ok(row)) => Ok(row.into()),
                Ok(Err(Lagged)) | Err(_) => Err(GraphqlError::from(Error::Lagged)),
            })
            // End after the first error, because later events may be incomplete.
            .scan(false, |has_failed, item| {
                let item = (!*has_failed).then_some(item);
                *has_failed = matches!(item, Some(Err(_)));
                std::future::ready(item)
            })
            .boxed())
    }

    /// The changes of all conversations that the caller can see, without a gap: a client that was away passes the last
    /// `cursor` that it received. The first event is `FeedReady` or `FeedReset`. A conversation that changed several times
    /// may arrive once, in its newest state. A cursor is valid on every node, until later deletions are pruned. Ends with the
    /// error code LAGGED if the tenant's policy of sharing changes; subscribe again then.
    async fn conversations_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The last `cursor` received; from now on if omitted.")] after: Option<
            String,
        >,
    ) -> Result<FeedEvents> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        let events = feed::follow(services.clone(), reach.audience(), after.as_deref()).await?;
        Ok(until_policy_changes(services, reach, events)
            .map(|event| Ok(ConversationFeedEvent::from(event?)))
            .boxed())
    }

    /// The newest reply of a conversation, or one reply, whichever node writes it: the text so far, then added text, then
    /// the end. A finished reply is sent at once. After a disconnect, `after` resumes the reply of that cursor. Pass
    /// exactly one of `conversationId` and `messageId`.
    async fn reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation whose newest reply is sent.")] conversation_id: Option<
            ID,
        >,
        #[graphql(desc = "The reply, or the message that it answers.")] message_id: Option<ID>,
        #[graphql(desc = "The last `cursor` received; from the beginning if omitted.")]
        after: Option<String>,
        #[graphql(
            default,
            desc = "Whether to send reasoning, tool calls and data too: the events `ReplyPart` and `ReplyReasoning`."
        )]
        parts: bool,
    ) -> Result<Replies> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        let target = target(conversation_id, message_id)?;
        let after = after
            .map(|cursor| cursor.parse::<ReplyCursor>())
            .transpose()
            .about("after")?;
        let reply = match target {
            Target::Conversation(id) => {
                let owner = reach::owner(services, reach, Named::Conversation(id)).await?;
                let reply = services.chat.follow_reply(&owner, id, after, parts);
                reply.await?
            }
            Target::Message(id) => {
                let owner = reach::owner(services, reach, Named::Message(id)).await?;
                let reply = services
                    .chat
                    .follow_reply_of(&owner, id, after, parts)
                    .await;
                Some(reply.about("after")?)
            }
        };
        let events = match reply {
            Some(reply) => Either::Left(reply::events(reply, parts)),
            None => Either::Right(stream::empty()),
        };
        Ok(match reach.visibility().is_shared() {
            true => until_policy_changes(services, reach, events)
                .map(|event| Ok(event?))
                .boxed(),
            false => events.map(Ok).boxed(),
        })
    }
}

/// The reply to follow: the newest one of a conversation, or that of a message.
enum Target {
    Conversation(ConversationId),
    Message(MessageId),
}

fn target(conversation: Option<ID>, message: Option<ID>) -> Result<Target> {
    match (conversation, message) {
        (Some(id), None) => Ok(Target::Conversation(
            conversation_id(&id).about("conversationId")?,
        )),
        (None, Some(id)) => Ok(Target::Message(message_id(&id).about("messageId")?)),
        (conversation, _) => {
            let error = Error::invalid("pass exactly one of conversationId and messageId");
            let argument = match conversation {
                Some(_) => "messageId",
                None => "conversationId",
            };
            Err(error).about(argument)
        }
    }
}
