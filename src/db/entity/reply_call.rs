//! Rows of `agent_reply_calls`.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationId, MessageId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "agent_reply_calls")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    #[serde(skip)]
    pub id: MessageId,
    #[serde(skip)]
    pub tenant_id: String,
    #[serde(skip)]
    pub conversation_id: ConversationId,
    pub agent: String,
    pub model: String,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub reasoning_tokens: i64,
    pub created_at: DateTimeUtc,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
