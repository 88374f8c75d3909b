//! Rows of `agent_messages`: the messages that count.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::{json::Nested, known};
use crate::{
    conversation::{Attachment, ConversationId, Message, MessageId, MessageStatus, Role},
    error::Error,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "agent_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MessageId,
    #[serde(skip)]
    pub conversation_id: ConversationId,
    /// Without gaps; the last message has the conversation's count.
    #[serde(skip)]
    pub position: i64,
    pub role: String,
    #[sea_orm(column_type = "Text")]
    pub content: String,
    pub status: String,
    pub created_at: DateTimeUtc,
    /// JSON; NULL without attachments.
    #[sea_orm(column_type = "Text", nullable)]
    #[serde(default, with = "Nested::<Vec<Attachment>>")]
    pub attachments: Option<String>,
    pub in_reply_to: Option<MessageId>,
    pub outcome: Option<String>,
    pub model: Option<String>,
    pub external_id: Option<String>,
    /// The author of a user message. NULL: the conversation's owner, as in rows of the previous version.
    pub author: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The row as it is stored, without its text if the conversation drops texts.
    pub fn kept(&self, drops_text: bool) -> Self {
        let mut row = self.clone();
        if drops_text {
            row.content.clear();
            row.attachments = None;
        }
        row
    }
}

/// Encodes attachments for their column.
pub fn write_attachments(attachments: &[Attachment]) -> Result<Option<String>, Error> {
    if attachments.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(attachments)
        .map(Some)
        .map_err(|error| Error::Internal(error.into()))
}

/// Decodes attachments. Skips unknown ones of a newer version, so that the message stays readable.
pub fn read_attachments(json: &str) -> Vec<Attachment> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let readable = entries.into_iter().map(serde_json::from_value);
    readable.filter_map(Result::ok).collect()
}

impl TryFrom<Model> for Message {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
            external_id: row.external_id,
            conversation_id: row.conversation_id,
            position: row.position,
            role: known(&row.role).unwrap_or(Role::Assistant),
            content: row.content,
            status: known(&row.status).unwrap_or(MessageStatus::Incomplete),
            created_at: row.created_at,
            attachments: row
                .attachments
                .as_deref()
                .map(read_attachments)
                .unwrap_or_default(),
            is_counted: true,
            in_reply_to: row.in_reply_to,
            outcome: row.outcome.as_deref().and_then(known),
            failure: None,
            model: row.model,
            author: row.author,
        })
    }
}
