//! Rows of `agent_turns`.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationId, MessageId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "agent_turns")]
pub struct Model {
    /// The turn's id: the message's id for the first reply, a separate id for a further one.
    #[sea_orm(primary_key, auto_increment = false)]
    #[serde(rename = "id")]
    pub message_id: MessageId,
    #[serde(skip)]
    pub conversation_id: ConversationId,
    pub reply_id: MessageId,
    #[serde(skip)]
    pub tenant_id: String,
    #[serde(skip)]
    pub user_id: String,
    pub idempotency_key: Option<String>,
    pub request_hash: Option<String>,
    pub reply_status: String,
    pub reply_failure: Option<String>,
    pub created_at: DateTimeUtc,
    #[serde(skip)]
    pub run_node: Option<Uuid>,
    #[serde(skip)]
    pub run_lease_until: Option<DateTimeUtc>,
    #[serde(skip)]
    pub run_text: Option<String>,
    #[serde(skip)]
    pub stop_asked: bool,
    /// The message that a further reply answers; NULL for the first reply.
    pub in_reply_to: Option<MessageId>,
    /// JSON: the parts of the last checkpoint.
    #[serde(skip)]
    pub run_parts: Option<String>,
    /// Why the reply is incomplete; NULL if it is not, or if that is unknown.
    pub reply_reason: Option<String>,
    /// The source of the reply: `external` for an external program; NULL for a model.
    pub source: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
