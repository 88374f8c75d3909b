//! Data loaders: batched reads within one request, one statement for all objects of a list.

use std::{collections::HashMap, sync::Arc};

use async_graphql::dataloader::{self, DataLoader};

use crate::{
    api::Services,
    auth::{Principal, Scope},
    conversation::{self as domain, ConversationId, Message, MessageId, Role, Usage},
    db::{MessageRange, Page, Turn, interrupt::inherited},
    error::Error,
};

/// Loads the details of the conversations and messages in a list. Created per request and without a cache, because a
/// subscription outlives the state of a row.
pub(super) struct Batch {
    services: Arc<Services>,
    caller: Principal,
}

/// The loader as it is stored in a request's data.
pub(super) type Loader = DataLoader<Batch>;

pub(super) fn loader(services: Arc<Services>, caller: Principal) -> Loader {
    // Shutdown need not wait for these tasks, because a batch does not outlive its request.
    #[expect(
        clippy::disallowed_methods,
        reason = "a loader's batch ends with its request"
    )]
    let spawn = |load| tokio::spawn(inherited(load));
    DataLoader::new(Batch { services, caller }, spawn)
}

/// A range of messages in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) conversation: ConversationId,
    pub(super) range: MessageRange,
}

/// One statement for each requested range.
impl dataloader::Loader<Part> for Batch {
    type Value = Page<Message>;
    type Error = Arc<Error>;

    async fn load(&self, parts: &[Part]) -> Result<HashMap<Part, Self::Value>, Self::Error> {
        // A mutation also returns the conversation, but the write scope does not allow reading its messages.
        let reach = self.caller.reach(Scope::Read, &self.services.sharing)?;
        let mut by_range: HashMap<MessageRange, Vec<ConversationId>> = HashMap::new();
        for part in parts {
            by_range
                .entry(part.range)
                .or_default()
                .push(part.conversation);
        }
        let mut loaded = HashMap::with_capacity(parts.len());
        for (range, conversations) in by_range {
            let pages = self
                .services
                .db
                .messages_of_many(reach, &conversations, range)
                .await?;
            loaded.extend(pages.into_iter().map(|(conversation, page)| {
                (
                    Part {
                        conversation,
                        range,
                    },
                    page,
                )
            }));
        }
        Ok(loaded)
    }
}

/// The former versions of a message with this role. The id is that of the user's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct VersionsOf(pub(super) Role, pub(super) MessageId);

impl dataloader::Loader<VersionsOf> for Batch {
    type Value = Vec<Message>;
    type Error = Arc<Error>;

    async fn load(
        &self,
        wanted: &[VersionsOf],
    ) -> Result<HashMap<VersionsOf, Self::Value>, Self::Error> {
        let reach = self.caller.reach(Scope::Read, &self.services.sharing)?;
        let mut loaded = HashMap::with_capacity(wanted.len());
        for role in [Role::User, Role::Assistant] {
            let of_role = wanted.iter().filter(|of| of.0 == role);
            let messages: Vec<MessageId> = of_role.map(|of| of.1).collect();
            if !messages.is_empty() {
                let versions = self.services.db.versions(reach, role, &messages).await?;
                let versions = versions.into_iter();
                loaded.extend(versions.map(|(id, rows)| (VersionsOf(role, id), rows)));
            }
        }
        Ok(loaded)
    }
}

/// The model and the tokens of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CostOf(pub(super) MessageId);

impl dataloader::Loader<CostOf> for Batch {
    type Value = (String, Usage);
    type Error = Arc<Error>;

    async fn load(&self, wanted: &[CostOf]) -> Result<HashMap<CostOf, Self::Value>, Self::Error> {
        let reach = self.caller.reach(Scope::Read, &self.services.sharing)?;
        let replies: Vec<MessageId> = wanted.iter().map(|of| of.0).collect();
        let costs = self.services.db.reply_costs(reach, &replies).await?;
        let costs = costs.into_iter();
        Ok(costs.map(|(id, cost)| (CostOf(id), cost)).collect())
    }
}

/// The parts of a reply other than its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartsOf(pub(super) MessageId);

impl dataloader::Loader<PartsOf> for Batch {
    type Value = Vec<domain::Part>;
    type Error = Arc<Error>;

    async fn load(&self, wanted: &[PartsOf]) -> Result<HashMap<PartsOf, Self::Value>, Self::Error> {
        let reach = self.caller.reach(Scope::Read, &self.services.sharing)?;
        let replies: Vec<MessageId> = wanted.iter().map(|of| of.0).collect();
        let parts = self.services.db.reply_parts(reach, &replies).await?;
        let parts = parts.into_iter();
        Ok(parts.map(|(id, parts)| (PartsOf(id), parts)).collect())
    }
}

/// The running replies of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RunningIn(pub(super) ConversationId);

impl dataloader::Loader<RunningIn> for Batch {
    type Value = Vec<Turn>;
    type Error = Arc<Error>;

    async fn load(
        &self,
        wanted: &[RunningIn],
    ) -> Result<HashMap<RunningIn, Self::Value>, Self::Error> {
        // The turns hold ids but no text, so the payloads of mutations include them too.
        let reach = |scope| self.caller.reach(scope, &self.services.sharing);
        let reach = reach(Scope::Read)
            .or_else(|_| reach(Scope::Write))
            .or_else(|_| reach(Scope::Ingest))?;
        let conversations: Vec<ConversationId> = wanted.iter().map(|of| of.0).collect();
        let turns = self
            .services
            .db
            .running_turns(reach, &conversations)
            .await?;
        let turns = turns.into_iter();
        Ok(turns.map(|(id, turns)| (RunningIn(id), turns)).collect())
    }
}
