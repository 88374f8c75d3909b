//! The rows that an event refers to, read when it is sent: nothing is copied into the outbox, so a text that was
//! deleted in the meantime is not sent.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{WebhookEvent, WebhookLane};
use crate::{
    conversation::{Conversation, Message, MessageId},
    db::{
        Database, Turn,
        entity::{conversation, message, turn, version},
    },
    error::Result,
};

/// The rows of an event.
#[derive(Clone, Debug, Default)]
pub struct WebhookContent {
    /// The conversation, or its tombstone.
    pub conversation: Option<Conversation>,
    /// The message, or the reply that has ended.
    pub message: Option<Message>,
    /// The turn of the reply.
    pub turn: Option<Turn>,
}

impl Database {
    /// Reads the rows of an event.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhook_content(
        &self,
        lane: &WebhookLane,
        event: &WebhookEvent,
    ) -> Result<WebhookContent> {
        let row = conversation::Entity::find_by_id(lane.conversation)
            .one(&self.reader)
            .await?;
        let mut content = WebhookContent {
            conversation: row.map(Conversation::try_from).transpose()?,
            ..WebhookContent::default()
        };
        let Some(subject) = event.subject.map(MessageId) else {
            return Ok(content);
        };
        let message = match event.kind.as_str() {
            "conversation.reply_ended" => {
                let turn = turn::Entity::find_by_id(subject)
                    .filter(turn::Column::ConversationId.eq(lane.conversation))
                    .one(&self.reader)
                    .await?;
                content.turn = turn.map(Turn::try_from).transpose()?;
                content.turn.as_ref().map(|turn| turn.reply_id)
            }
            _ => Some(subject),
        };
        if let Some(id) = message {
            content.message = self.webhook_message(lane, id).await?;
        }
        Ok(content)
    }

    /// A message, whether or not it counts.
    async fn webhook_message(&self, lane: &WebhookLane, id: MessageId) -> Result<Option<Message>> {
        let counted = message::Entity::find_by_id(id)
            .filter(message::Column::ConversationId.eq(lane.conversation))
            .one(&self.reader)
            .await?;
        if let Some(row) = counted {
            return Ok(Some(row.try_into()?));
        }
        let version = version::Entity::find_by_id(id)
            .filter(version::Column::ConversationId.eq(lane.conversation))
            .one(&self.reader)
            .await?;
        version.map(Message::try_from).transpose()
    }
}
