//! Excerpts of a conversation's messages for a digest: a bounded number of rows, and a bounded part of each text.

use sea_orm::{
    ColumnTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};

use super::{
    Database,
    entity::{known, message::Column},
    scope::messages_of,
};
use crate::{
    conversation::{ConversationId, Owner, Role},
    error::Result,
};

/// How many characters of a longer text are read, from its beginning and from its end.
const HEAD_CHARS: i32 = 600;
const TAIL_CHARS: i32 = 200;

/// The maximum number of user messages that are counted. A higher count makes no difference.
const MAX_COUNTED: u64 = 500;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The 1-based position in the conversation.
    pub position: i64,
    /// The author.
    pub role: Role,
    /// The text; of a long text, its beginning and its end.
    pub text: String,
}

#[derive(FromQueryResult)]
struct Row {
    position: i64,
    role: String,
    chars: i32,
    head: String,
    tail: String,
}

impl Database {
    /// The messages at these positions, in order, shortened. Leaves out positions without a message.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn excerpts(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        positions: Vec<i64>,
    ) -> Result<Vec<Excerpt>> {
        let rows: Vec<Row> = messages_of(owner)
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::Position.is_in(positions))
            .order_by_asc(Column::Position)
            .select_only()
            .column(Column::Position)
            .column(Column::Role)
            .expr_as(Expr::cust("length(content)"), "chars")
            .expr_as(
                Expr::cust(format!("substr(content, 1, {HEAD_CHARS})")),
                "head",
            )
            // Only a text longer than the head has a tail.
            .expr_as(
                Expr::cust(format!(
                    "CASE WHEN length(content) > {HEAD_CHARS} \
                     THEN substr(content, length(content) - {TAIL_CHARS} + 1) ELSE '' END"
                )),
                "tail",
            )
            .into_model()
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(Excerpt::from).collect())
    }

    /// The number of the user's messages in a conversation, at most 500.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_user_messages(
        &self,
        owner: &Owner,
        conversation: ConversationId,
    ) -> Result<usize> {
        let rows: Vec<i32> = messages_of(owner)
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::Role.eq(Role::User))
            .select_only()
            .expr(Expr::value(1))
            .order_by_asc(Column::Position)
            .limit(MAX_COUNTED)
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(rows.len())
    }
}

impl From<Row> for Excerpt {
    fn from(row: Row) -> Self {
        let text = match row.chars > HEAD_CHARS + TAIL_CHARS {
            true => format!("{} … {}", row.head, row.tail),
            // The tail repeats the end of the head.
            false if row.chars > HEAD_CHARS => {
                let more = (row.chars - HEAD_CHARS) as usize;
                let repeated = row.tail.chars().count().saturating_sub(more);
                row.head
                    .chars()
                    .chain(row.tail.chars().skip(repeated))
                    .collect()
            }
            false => row.head,
        };
        Self {
            position: row.position,
            role: known(&row.role).unwrap_or(Role::Assistant),
            text,
        }
    }
}
