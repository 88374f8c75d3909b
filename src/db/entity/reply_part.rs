//! Rows of `agent_reply_parts`: the parts of a reply beside its text, for replies that have any.

use sea_orm::entity::prelude::*;

use crate::conversation::{ConversationId, MessageId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_reply_parts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub reply_id: MessageId,
    pub conversation_id: ConversationId,
    /// The message that the reply answers.
    pub message_id: MessageId,
    /// JSON.
    #[sea_orm(column_type = "Text")]
    pub parts: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
