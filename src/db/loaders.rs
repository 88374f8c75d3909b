//! Batched reads: messages of many conversations in one statement, for lists that show a part of each.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IdenStatic, Order, QueryFilter,
    QuerySelect, QueryTrait,
    sea_query::{Asterisk, CaseStatement, Expr, Query, SelectStatement, WindowStatement},
};

use super::{
    Database, Page,
    entity::{
        conversation,
        message::{Column, Entity},
        version,
    },
    messages::{ANSWERED, BEHIND, BYTES, MessageRange, SHOWN, decode, shown_versions},
    scope::{these_of, versions_of},
};
use crate::{
    conversation::{ConversationId, Message, MessageId, Role, Rows},
    error::{Error, Result},
};

/// The maximum size of the text in the pages of one statement.
const MAX_TEXT_BYTES: i64 = 4 * 1024 * 1024;

/// The text of a row of a page.
const TEXT: &str = "CASE behind WHEN 0 \
    THEN (SELECT content FROM agent_messages WHERE agent_messages.id = summed.id) \
    ELSE (SELECT content FROM agent_message_versions WHERE agent_message_versions.id = summed.id) END";

/// The maximum number of former versions of one message that are read.
const MAX_VERSIONS: u64 = 100;

/// The column with the running total of text bytes, up to and including this row.
const TOTAL_BYTES: &str = "total_bytes";

impl Database {
    /// The same range of several conversations' messages.
    ///
    /// A conversation that may not be read, or has no message in the range, gets no entry. All pages together have at
    /// most 4 MiB of text. A page that would exceed it is shorter than `range.limit`, and marked as having more rows.
    ///
    /// # Errors
    /// [`Error::QueryTooLarge`] if the limit leaves no row for some page;
    /// [`Error::Database`].
    pub async fn messages_of_many(
        &self,
        rows: impl Into<Rows<'_>>,
        conversations: &[ConversationId],
        range: MessageRange,
    ) -> Result<HashMap<ConversationId, Page<Message>>> {
        self.pages(range, rows_in(rows.into(), conversations, range))
            .await
    }

    /// The former versions of several messages of one role, oldest first. Replies are grouped by the message that they
    /// answer. At most the newest `MAX_VERSIONS` of each message, and 4 MiB of text together.
    ///
    /// # Errors
    /// [`Error::QueryTooLarge`]; [`Error::Database`].
    pub async fn versions(
        &self,
        rows: impl Into<Rows<'_>>,
        role: Role,
        messages: &[MessageId],
    ) -> Result<HashMap<MessageId, Vec<Message>>> {
        let rows = versions_of(rows)
            .filter(version::Column::MessageId.is_in(messages.iter().copied()))
            .filter(version::Column::Role.eq(role))
            .filter(version::Column::ReplacedAt.is_not_null());
        let order = [
            (version::Column::CreatedAt.as_str(), Order::Desc),
            (version::Column::Id.as_str(), Order::Desc),
        ];
        let statement = within_bytes(shown_versions(rows), ANSWERED, order, MAX_VERSIONS);
        let statement = self.reader.get_database_backend().build(&statement);
        let mut read: HashMap<MessageId, Vec<Message>> = HashMap::new();
        // The rows come newest first.
        for row in self.reader.query_all_raw(statement).await?.iter().rev() {
            if row.try_get::<i64>("", TOTAL_BYTES)? > MAX_TEXT_BYTES {
                return Err(Error::QueryTooLarge);
            }
            let of: MessageId = row.try_get("", ANSWERED)?;
            read.entry(of).or_default().push(decode(row)?);
        }
        Ok(read)
    }

    /// Reads the pages of several conversations from `rows`, which are those of the range.
    pub(super) async fn pages(
        &self,
        range: MessageRange,
        rows: SelectStatement,
    ) -> Result<HashMap<ConversationId, Page<Message>>> {
        let order = [
            (Column::Position.as_str(), range.order()),
            (BEHIND, range.order()),
        ];
        let statement = within_bytes(rows, "conversation_id", order, range.limit + 1);
        let statement = self.reader.get_database_backend().build(&statement);
        let rows = self.reader.query_all_raw(statement).await?;
        let mut read: HashMap<ConversationId, (Vec<Message>, bool)> = HashMap::new();
        for row in rows {
            let is_within = row.try_get::<i64>("", TOTAL_BYTES)? <= MAX_TEXT_BYTES;
            let message = decode(&row)?;
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

/// The rows of these conversations in a range, regardless of its limit.
fn rows_in(
    rows: Rows<'_>,
    conversations: &[ConversationId],
    range: MessageRange,
) -> SelectStatement {
    // Starts from the conversations, filtered by owner or tenant. With a filter on the messages, PostgreSQL would scan
    // all conversations of the owner.
    let conversations = || {
        these_of(rows, conversations.iter().copied())
            .select_only()
            .column(conversation::Column::Id)
            .into_query()
    };
    let counted = Entity::find().filter(Column::ConversationId.in_subquery(conversations()));
    let others = version::Entity::find()
        .filter(version::Column::ConversationId.in_subquery(conversations()));
    range.rows(counted, others)
}

/// The first `limit` rows of each group, ordered by their number in the group. Rows beyond [`MAX_TEXT_BYTES`] have an
/// empty text, so that the database does not send it.
fn within_bytes(
    rows: SelectStatement,
    group: &'static str,
    order: [(&'static str, Order); 2],
    limit: u64,
) -> SelectStatement {
    let mut window = WindowStatement::partition_by(group);
    for (column, order) in order {
        window.order_by(column, order);
    }
    let numbered = Query::select()
        .columns(SHOWN)
        .expr_window_as(Expr::cust("row_number()"), window, "place")
        .from_subquery(rows, "page")
        .to_owned();
    let summed = Query::select()
        .column(Asterisk)
        .expr_window_as(
            Expr::cust("sum(bytes)"),
            WindowStatement::new()
                .order_by("place", Order::Asc)
                .order_by(group, Order::Asc)
                .to_owned(),
            TOTAL_BYTES,
        )
        .from_subquery(numbered, "numbered")
        .and_where(Expr::col("place").lte(limit))
        .to_owned();
    let text = CaseStatement::new()
        .case(Expr::col(TOTAL_BYTES).lte(MAX_TEXT_BYTES), Expr::cust(TEXT))
        .finally("");
    Query::select()
        // The order of `SHOWN`, with the text in place of the last column.
        .columns(SHOWN.into_iter().filter(|column| *column != BYTES))
        .expr_as(text, "content")
        .column(TOTAL_BYTES)
        .from_subquery(summed, "summed")
        .order_by("place", Order::Asc)
        .to_owned()
}
