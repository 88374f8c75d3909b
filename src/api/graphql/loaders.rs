//! Batched reads of one request (data loaders).

use std::{collections::HashMap, sync::Arc};

use async_graphql::dataloader::{DataLoader, Loader};

use crate::{
    api::Services,
    auth::{Principal, Scope},
    conversation::{ConversationId, Message},
    db::{MessageRange, Page, interrupt::inherited},
    error::Error,
};

/// Loads the messages of all conversations of a list, with one statement for each requested range. Created for each
/// request and without a cache, because a subscription outlives the state of a row.
pub(super) struct Messages {
    services: Arc<Services>,
    caller: Principal,
}

/// The loader as it stands in a request's data.
pub(super) type MessageLoader = DataLoader<Messages>;

pub(super) fn messages(services: Arc<Services>, caller: Principal) -> MessageLoader {
    // Shutdown need not wait for these tasks: a batch does not outlive its request.
    #[expect(
        clippy::disallowed_methods,
        reason = "a loader's batch ends with its request"
    )]
    let spawn = |load| tokio::spawn(inherited(load));
    DataLoader::new(Messages { services, caller }, spawn)
}

/// A part of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) conversation: ConversationId,
    pub(super) range: MessageRange,
}

impl Loader<Part> for Messages {
    type Value = Page<Message>;
    type Error = Arc<Error>;

    async fn load(&self, parts: &[Part]) -> Result<HashMap<Part, Self::Value>, Self::Error> {
        // A mutation returns the conversation, but the write scope does not allow reading its messages.
        let owner = self.caller.owner(Scope::Read)?;
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
                .messages_of_many(owner, &conversations, range)
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
