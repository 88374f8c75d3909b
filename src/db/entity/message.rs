//! Rows of `agent_messages`.

use sea_orm::entity::prelude::*;

use super::known;
use crate::{
    conversation::{Attachment, ConversationId, Message, MessageId, MessageStatus, Role},
    error::Error,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub position: i64,
    pub role: String,
    #[sea_orm(column_type = "Text")]
    pub content: String,
    pub status: String,
    pub created_at: DateTimeUtc,
    /// JSON; NULL without attachments.
    #[sea_orm(column_type = "Text", nullable)]
    pub attachments: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

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
fn read_attachments(json: &str) -> Vec<Attachment> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let readable = entries.into_iter().map(serde_json::from_value);
    readable.filter_map(Result::ok).collect()
}

impl TryFrom<Model> for Message {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
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
        })
    }
}
