//! Batched reads: messages of many conversations in one statement, for lists that show a part of each.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, Iterable, Order,
    QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Asterisk, CaseStatement, Expr, Query, SelectStatement, WindowStatement},
};

use super::{
    Database, Page,
    entity::{
        conversation,
        message::{Column, Entity, Model},
    },
    messages::MessageRange,
    scope::these_of,
};
use crate::{
    conversation::{ConversationId, Message, Owner},
    error::{Error, Result},
};

/// The maximum size of the text in the pages of one statement.
const MAX_TEXT_BYTES: i64 = 4 * 1024 * 1024;

/// A column: the running total of text bytes up to and including this row.
const TOTAL_BYTES: &str = "total_bytes";

impl Database {
    /// The same range of several conversations' messages.
    ///
    /// A conversation that the owner does not have, or without a message in the range, gets no entry. All pages
    /// together have at most 4 MiB of text. A page that would exceed it is shorter than `range.limit`, and has the flag
    /// for more rows.
    ///
    /// # Errors
    /// [`Error::QueryTooLarge`] if the limit leaves no row for some page;
    /// [`Error::Database`].
    pub async fn messages_of_many(
        &self,
        owner: &Owner,
        conversations: &[ConversationId],
        range: MessageRange,
    ) -> Result<HashMap<ConversationId, Page<Message>>> {
        self.pages(range, rows_in(owner, conversations, range))
            .await
    }

    /// The pages of conversations, of `rows` in the range.
    pub(super) async fn pages(
        &self,
        range: MessageRange,
        rows: SelectStatement,
    ) -> Result<HashMap<ConversationId, Page<Message>>> {
        let statement = within_bytes(rows, range);
        let statement = self.reader.get_database_backend().build(&statement);
        let rows = self.reader.query_all_raw(statement).await?;
        let mut read: HashMap<ConversationId, (Vec<Message>, bool)> = HashMap::new();
        for row in rows {
            let is_within = row.try_get::<i64>("", TOTAL_BYTES)? <= MAX_TEXT_BYTES;
            let message = Message::try_from(Model::from_query_result(&row, "")?)?;
            let (messages, is_cut) = read.entry(message.conversation_id).or_default();
            if is_within {
                messages.push(message);
            } else if messages.is_empty() {
                return Err(Error::QueryTooLarge);
            } else {
                *is_cut = true;
            }
        }
        Ok(read
            .into_iter()
            .map(|(id, (rows, is_cut))| (id, range.page(rows, is_cut)))
            .collect())
    }
}

/// The rows of these conversations in a range, whatever its limit.
fn rows_in(
    owner: &Owner,
    conversations: &[ConversationId],
    range: MessageRange,
) -> SelectStatement {
    // Starts from the conversations, filtered by owner. With a filter on the messages, PostgreSQL would scan all
    // conversations of the owner.
    let conversations = these_of(owner, conversations.iter().copied())
        .select_only()
        .column(conversation::Column::Id)
        .into_query();
    let rows = Entity::find().filter(Column::ConversationId.in_subquery(conversations));
    QuerySelect::query(&mut range.restrict(rows)).to_owned()
}

/// The rows of each page and one more, ordered by their number in the page. Rows beyond [`MAX_TEXT_BYTES`] have an
/// empty text, so that the database does not send it.
fn within_bytes(rows: SelectStatement, range: MessageRange) -> SelectStatement {
    let numbered = Query::select()
        .columns(Column::iter())
        .expr_window_as(
            Expr::cust("row_number()"),
            WindowStatement::partition_by(Column::ConversationId)
                .order_by(Column::Position, range.order())
                .to_owned(),
            "place",
        )
        .from_subquery(rows, "page")
        .to_owned();
    let summed = Query::select()
        .column(Asterisk)
        .expr_window_as(
            Expr::cust("sum(octet_length(content))"),
            WindowStatement::new()
                .order_by("place", Order::Asc)
                .order_by(Column::ConversationId, Order::Asc)
                .to_owned(),
            TOTAL_BYTES,
        )
        .from_subquery(numbered, "numbered")
        .and_where(Expr::col("place").lte(range.limit + 1))
        .to_owned();
    let text = CaseStatement::new()
        .case(
            Expr::col(TOTAL_BYTES).lte(MAX_TEXT_BYTES),
            Expr::col(Column::Content),
        )
        .finally("");
    Query::select()
        .columns(Column::iter().filter(|column| !matches!(column, Column::Content)))
        .column(TOTAL_BYTES)
        .expr_as(text, Column::Content)
        .from_subquery(summed, "summed")
        .order_by("place", Order::Asc)
        .to_owned()
}
