//! The owners in a tenant whose users share their conversations.

use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter, QuerySelect};

use super::{Database, entity::conversation::Column, scope::rows_of};
use crate::{
    conversation::{ConversationId, MessageId, Owner, Rows},
    error::Result,
};

/// What a request names, from which its conversation is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The conversation itself.
    Conversation(ConversationId),
    /// One of its messages or replies, including a running reply.
    Message(MessageId),
    /// One of its turns.
    Turn(MessageId),
}

#[derive(FromQueryResult)]
struct Member {
    user_id: String,
}

/// Reads one entry of an index for each user, however many conversations they have.
const MEMBERS: &str = "
    WITH RECURSIVE members (user_id) AS (
        SELECT min(user_id) FROM agent_conversations WHERE tenant_id = $1
        UNION ALL
        SELECT (SELECT min(user_id) FROM agent_conversations WHERE tenant_id = $1 AND user_id > members.user_id)
        FROM members WHERE members.user_id IS NOT NULL
    )
    SELECT user_id FROM members WHERE user_id IS NOT NULL LIMIT $2";

impl Database {
    /// The owner of the conversation that a request names, even if it is a tombstone; `None` if the tenant has none.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_owner(&self, tenant: &str, named: Named) -> Result<Option<Owner>> {
        let rows = Rows::OfTenant(tenant);
        let turn_of = |turn: Option<super::Turn>| turn.map(|turn| turn.conversation_id);
        let conversation = match named {
            Named::Conversation(id) => Some(id),
            Named::Turn(id) => turn_of(self.find_turn(rows, id).await?),
            Named::Message(id) => match self.find_message(rows, id).await? {
                Some(message) => Some(message.conversation_id),
                // A running reply is not a message yet.
                None => turn_of(self.find_turn_of(rows, id).await?),
            },
        };
        let Some(conversation) = conversation else {
            return Ok(None);
        };
        let user: Option<String> = rows_of(rows)
            .filter(Column::Id.eq(conversation))
            .select_only()
            .column(Column::UserId)
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(user.map(|user| Owner {
            tenant: tenant.to_owned(),
            user,
        }))
    }

    /// The users of a tenant who have conversations, in the order of their names, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub(super) async fn members(&self, tenant: &str, limit: usize) -> Result<Vec<Owner>> {
        let values = vec![tenant.into(), (limit as i64).into()];
        let statement = self.statement(MEMBERS, MEMBERS, values);
        let members = Member::find_by_statement(statement)
            .all(&self.reader)
            .await?;
        let owners = members.into_iter().map(|Member { user_id }| Owner {
            tenant: tenant.to_owned(),
            user: user_id,
        });
        Ok(owners.collect())
    }
}
