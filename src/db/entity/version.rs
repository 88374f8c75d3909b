//! Rows of `agent_message_versions`: the messages that do not count.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::{json::Nested, known, message};
use crate::{
    conversation::{Attachment, ConversationId, Message, MessageId, Role},
    error::Error,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "agent_message_versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MessageId,
    #[serde(skip)]
    pub conversation_id: ConversationId,
    /// The message that a reply answers, or whose former text this is.
    pub message_id: MessageId,
    /// The position of that message when this row was stored.
    pub position: i64,
    pub role: String,
    #[sea_orm(column_type = "Text")]
    pub content: String,
    pub status: String,
    #[sea_orm(column_type = "Text", nullable)]
    #[serde(default, with = "Nested::<Vec<Attachment>>")]
    pub attachments: Option<String>,
    pub outcome: Option<String>,
    pub failure: Option<String>,
    pub model: Option<String>,
    pub created_at: DateTimeUtc,
    /// NULL: the current reply to its message.
    pub replaced_at: Option<DateTimeUtc>,
    pub author: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The version that a message becomes when it is replaced: a reply to `message`, or its former text.
    pub fn of(replaced: &message::Model, message: &message::Model, at: DateTimeUtc) -> Self {
        Self {
            id: replaced.id,
            conversation_id: replaced.conversation_id,
            message_id: message.id,
            position: message.position,
            role: replaced.role.clone(),
            content: replaced.content.clone(),
            status: replaced.status.clone(),
            attachments: replaced.attachments.clone(),
            outcome: replaced.outcome.clone(),
            failure: None,
            model: replaced.model.clone(),
            created_at: replaced.created_at,
            replaced_at: Some(at),
            author: replaced.author.clone(),
        }
    }
}

impl TryFrom<Model> for Message {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        let is_reply = known(&row.role) != Some(Role::User);
        let message = Self::try_from(message::Model {
            id: row.id,
            conversation_id: row.conversation_id,
            position: row.position,
            role: row.role,
            content: row.content,
            status: row.status,
            created_at: row.created_at,
            attachments: row.attachments,
            in_reply_to: is_reply.then_some(row.message_id),
            outcome: row.outcome,
            model: row.model,
            external_id: None,
            author: row.author,
        })?;
        Ok(Self {
            is_counted: false,
            failure: row.failure,
            ..message
        })
    }
}
