//! Rows of `agent_audit`.

use sea_orm::entity::prelude::*;

use crate::conversation::ConversationId;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_audit")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: String,
    /// The user or the operator; after an erasure a keyed hash.
    pub actor: String,
    pub act: String,
    pub conversation_id: Option<ConversationId>,
    /// The user whose data it was, if not the actor's.
    pub subject: Option<String>,
    pub created_at: DateTimeUtc,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
