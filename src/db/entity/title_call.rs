//! Rows of `agent_title_calls`.

use sea_orm::entity::prelude::*;

use crate::conversation::ConversationId;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_title_calls")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: String,
    pub conversation_id: Option<ConversationId>,
    pub model: String,
    pub outcome: String,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub reasoning_tokens: i64,
    pub duration_ms: i64,
    pub created_at: DateTimeUtc,
    pub agent: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
