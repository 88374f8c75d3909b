//! Rows of `agent_turns`.

use sea_orm::entity::prelude::*;

use crate::conversation::{ConversationId, MessageId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_turns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    pub reply_id: MessageId,
    pub tenant_id: String,
    pub user_id: String,
    pub idempotency_key: Option<String>,
    pub request_hash: Option<String>,
    pub reply_status: String,
    pub reply_failure: Option<String>,
    pub created_at: DateTimeUtc,
    pub run_node: Option<Uuid>,
    pub run_lease_until: Option<DateTimeUtc>,
    pub run_text: Option<String>,
    pub stop_asked: bool,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
