//! Titles alone: conversations whose texts are dropped when their title is settled.
//!
//! The transaction that stores the title or gives it up also drops the texts: a crash before it does not lose the
//! title, and a crash after it leaves no text. Later messages are stored without their text.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, Statement, sea_query::Expr,
};

use super::{
    Database,
    entity::{conversation, message, reply_part, turn, version},
    guarded::Transaction,
    scope::row_of,
};
use crate::{
    conversation::{Conversation, TitleStatus},
    error::{Error, Result},
};

/// The value of `retain` for such a conversation.
pub(super) const UNTIL_TITLED: &str = "until_titled";

impl conversation::Model {
    /// Whether its texts are dropped: the title is settled. A title that will be retried is not settled.
    pub(super) fn drops_text(&self) -> bool {
        let is = |status: TitleStatus| self.title_status == status.as_str();
        let is_settled = is(TitleStatus::Ready)
            || is(TitleStatus::Skipped)
            || is(TitleStatus::Failed) && self.title_retry_at.is_none();
        self.retain.as_deref() == Some(UNTIL_TITLED) && is_settled
    }
}

/// Drops the texts of a conversation whose title is settled in this transaction, and returns its row: the title
/// replaces hint and preview, and the index has only the title. Returns any other row as it is.
pub(super) async fn settled(
    tx: &Transaction,
    row: conversation::Model,
) -> Result<conversation::Model> {
    if !row.drops_text() {
        return Ok(row);
    }
    let id = row.id;
    let no_text: Option<String> = None;
    message::Entity::update_many()
        .col_expr(message::Column::Content, Expr::val(""))
        .col_expr(message::Column::Attachments, Expr::val(no_text.clone()))
        .filter(message::Column::ConversationId.eq(id))
        .filter(
            Condition::any()
                .add(message::Column::Content.ne(""))
                .add(message::Column::Attachments.is_not_null()),
        )
        .exec(tx)
        .await?;
    version::Entity::delete_many()
        .filter(version::Column::ConversationId.eq(id))
        .exec(tx)
        .await?;
    reply_part::Entity::delete_many()
        .filter(reply_part::Column::ConversationId.eq(id))
        .exec(tx)
        .await?;
    turn::Entity::update_many()
        .col_expr(turn::Column::RunText, Expr::val(no_text.clone()))
        .col_expr(turn::Column::RunParts, Expr::val(no_text))
        .filter(turn::Column::ConversationId.eq(id))
        .filter(
            Condition::any()
                .add(turn::Column::RunText.is_not_null())
                .add(turn::Column::RunParts.is_not_null()),
        )
        .exec(tx)
        .await?;
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "DELETE FROM agent_search WHERE conversation_id = $1 AND message_id IS NOT NULL",
        [id.into()],
    ))
    .await?;
    use conversation::Column;
    // Keep the revision and counts of the calling update.
    let row = row_of(&row.owner(), id)
        .col_expr(Column::TopicHint, Expr::col(Column::DisplayName))
        .col_expr(Column::LastMessagePreview, Expr::col(Column::DisplayName))
        .exec_with_returning(tx)
        .await?
        .pop();
    row.ok_or_else(Error::no_conversation)
}

/// The text of a checkpoint as an update of a turn stores it: NULL if its conversation drops texts.
pub(super) fn kept(text: impl Into<Expr>) -> Expr {
    // The condition of `drops_text`.
    const DROPS: &str = "EXISTS (SELECT 1 FROM agent_conversations AS kept WHERE kept.id = agent_turns.conversation_id \
        AND kept.retain = 'until_titled' AND (kept.title_status IN ('ready', 'skipped') \
        OR kept.title_status = 'failed' AND kept.title_retry_at IS NULL))";
    let no_text: Option<String> = None;
    Expr::case(Expr::cust(DROPS), Expr::val(no_text))
        .finally(text.into())
        .into()
}

/// Like [`settled`], for the rows returned by an update of at most one row.
pub(super) async fn settled_rows(
    tx: &Transaction,
    rows: Vec<conversation::Model>,
) -> Result<Vec<conversation::Model>> {
    let mut settled_rows = Vec::with_capacity(rows.len());
    for row in rows {
        settled_rows.push(settled(tx, row).await?);
    }
    Ok(settled_rows)
}

impl Database {
    /// Schedules an erasure if the change dropped texts.
    pub(super) fn erase_dropped(&self, conversation: Option<&Conversation>) {
        if conversation.is_some_and(|conversation| conversation.drops_text) {
            self.schedule_erasure();
        }
    }
}
