//! Messages: pages of one conversation, and the history for a reply.

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, Order, QueryFilter, QueryOrder, QueryResult, QuerySelect,
    QueryTrait, Select,
    sea_query::{Asterisk, Expr, Query, SelectStatement, UnionType},
};

use super::{
    Database, Page,
    cursor::MessageCursor,
    entity::{
        known,
        message::{Column, Entity, read_attachments},
        version,
    },
    scope::{messages_of, versions_of},
};
use crate::{
    conversation::{ConversationId, Message, MessageId, MessageStatus, Owner, Role, Rows},
    error::Result,
};

const TEXT_BYTES: &str = "octet_length(content)";

/// The columns of a page's rows, in the order in which [`decode`] reads them; the rows have the text in place of the
/// last one. Where a table lacks a column, the row has a constant.
pub(super) const SHOWN: [&str; 15] = [
    "id",
    "conversation_id",
    "position",
    BEHIND,
    "role",
    "status",
    "created_at",
    "attachments",
    ANSWERED,
    "outcome",
    "failure",
    "model",
    EXTERNAL_ID,
    "author",
    BYTES,
];

/// The column that is 1 for a message that does not count, which follows the message at its position, else 0.
pub(super) const BEHIND: &str = "behind";

/// The column with the message that a reply answers, or whose former text a version stores.
pub(super) const ANSWERED: &str = "in_reply_to";

/// The column with the external id, which versions do not have.
pub(super) const EXTERNAL_ID: &str = "external_id";

/// The column with the size of the text. A page's rows get the text itself last, so that no sort moves it.
pub(super) const BYTES: &str = "bytes";

/// A range of a conversation's messages. Pages are always in the order of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageRange {
    /// Only messages after this position.
    pub after: Option<MessageCursor>,
    /// Only messages before this position.
    pub before: Option<MessageCursor>,
    /// The maximum number of messages.
    pub limit: u64,
    /// Whether `limit` counts from the end.
    pub from_end: bool,
    /// Whether to leave out replies that have no text.
    pub needs_text: bool,
}

impl Database {
    /// The message with this id, if it may be read, whether or not it counts.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_message(
        &self,
        rows: impl Into<Rows<'_>>,
        id: MessageId,
    ) -> Result<Option<Message>> {
        let rows = rows.into();
        let counted = messages_of(rows).filter(Column::Id.eq(id));
        if let Some(row) = counted.one(&self.reader).await? {
            return row.try_into().map(Some);
        }
        let other = versions_of(rows).filter(version::Column::Id.eq(id));
        let row = other.one(&self.reader).await?;
        row.map(Message::try_from).transpose()
    }

    /// The message with this external id in a readable conversation: the first one, if a program recorded several under
    /// ids of ours.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_named_message(
        &self,
        rows: impl Into<Rows<'_>>,
        conversation: ConversationId,
        external_id: &str,
    ) -> Result<Option<Message>> {
        let named = messages_of(rows)
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::ExternalId.eq(external_id));
        // Not sorted in SQL, because SQLite would then scan the whole conversation in order.
        let rows = named.all(&self.reader).await?.into_iter();
        let first = rows.min_by_key(|row| row.position);
        first.map(Message::try_from).transpose()
    }

    /// A page of one conversation's messages, at most 4 MiB of text; empty if the conversation may not be read.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn messages(
        &self,
        rows: impl Into<Rows<'_>>,
        conversation: ConversationId,
        range: MessageRange,
    ) -> Result<Page<Message>> {
        let rows = rows.into();
        let counted = messages_of(rows)
            .filter(Column::ConversationId.eq(conversation))
            .order_by(Column::Position, range.order())
            .limit(range.limit + 1);
        let others = versions_of(rows)
            .filter(version::Column::ConversationId.eq(conversation))
            .order_by(version::Column::Position, range.order())
            .limit(range.limit + 1);
        let mut pages = self.pages(range, range.rows(counted, others)).await?;
        Ok(pages
            .remove(&conversation)
            .unwrap_or_else(|| range.page(Vec::new(), false)))
    }

    /// The first user messages of a conversation, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn first_user_messages(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        limit: u64,
    ) -> Result<Vec<Message>> {
        let rows = messages_of(owner)
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::Role.eq(Role::User))
            .order_by_asc(Column::Position)
            .limit(limit)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    /// The newest messages of a conversation up to and including `last`, oldest first.
    ///
    /// As many as fit into `budget_chars` characters; always includes `last`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn history(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        last: i64,
        budget_chars: usize,
    ) -> Result<Vec<Message>> {
        const BATCH: u64 = 32;
        let mut history: Vec<Message> = Vec::new();
        let mut left = budget_chars;
        let mut below = last + 1;
        'reading: loop {
            let rows = messages_of(owner)
                .filter(Column::ConversationId.eq(conversation))
                .filter(Column::Position.lt(below))
                .order_by_desc(Column::Position)
                .limit(BATCH)
                .all(&self.reader)
                .await?;
            let is_last_batch = (rows.len() as u64) < BATCH;
            for row in rows {
                let chars = row.content.chars().count();
                if chars > left && !history.is_empty() {
                    break 'reading;
                }
                left = left.saturating_sub(chars);
                below = row.position;
                history.push(row.try_into()?);
            }
            if is_last_batch {
                break;
            }
        }
        history.reverse();
        Ok(history)
    }
}

impl MessageRange {
    /// The rows of a page: messages that count, and the current replies that do not, after the messages that they
    /// answer.
    pub(super) fn rows(
        self,
        mut counted: Select<Entity>,
        others: Select<version::Entity>,
    ) -> SelectStatement {
        // A message that does not count follows the one at its position. Positions are whole numbers, so each cursor
        // becomes one bound; with OR, SQLite would scan the table.
        let mut others = others.filter(version::Column::ReplacedAt.is_null());
        if let Some(MessageCursor {
            position,
            is_behind,
        }) = self.after
        {
            let last = position.saturating_sub((!is_behind).into());
            counted = counted.filter(Column::Position.gt(position));
            others = others.filter(version::Column::Position.gt(last));
        }
        if let Some(MessageCursor {
            position,
            is_behind,
        }) = self.before
        {
            let first = position.saturating_add(is_behind.into());
            counted = counted.filter(Column::Position.lt(first));
            others = others.filter(version::Column::Position.lt(position));
        }
        if self.needs_text {
            others = others.filter(version::Column::Content.ne(""));
        }
        let counted = shown(
            counted,
            &[("failure", "NULL"), (BEHIND, "0"), (BYTES, TEXT_BYTES)],
        );
        let others = shown_versions(others);
        let mut both = Query::select();
        both.column(Asterisk).from_subquery(counted, "counted");
        let others = Query::select()
            .column(Asterisk)
            .from_subquery(others, "others")
            .to_owned();
        both.union(UnionType::All, others).to_owned()
    }

    /// The read order of the rows.
    pub(super) fn order(self) -> Order {
        match self.from_end {
            true => Order::Desc,
            false => Order::Asc,
        }
    }

    /// Makes a page from rows read in the range's direction, including one row beyond the page.
    ///
    /// `is_cut`: more rows follow, although fewer than the limit were read.
    pub(super) fn page(self, mut rows: Vec<Message>, is_cut: bool) -> Page<Message> {
        let more = is_cut || rows.len() as u64 > self.limit;
        rows.truncate(self.limit as usize);
        if self.from_end {
            rows.reverse();
            Page {
                items: rows,
                has_next: self.before.is_some(),
                has_previous: more,
            }
        } else {
            Page {
                items: rows,
                has_next: more,
                has_previous: self.after.is_some(),
            }
        }
    }
}

/// Selects the columns of [`SHOWN`] of messages that do not count.
pub(super) fn shown_versions(rows: Select<version::Entity>) -> SelectStatement {
    shown(
        rows,
        &[
            (ANSWERED, "message_id"),
            (BEHIND, "1"),
            (EXTERNAL_ID, "NULL"),
            (BYTES, TEXT_BYTES),
        ],
    )
}

/// Selects the columns of [`SHOWN`]; `others` are expressions for columns that the table does not have.
fn shown<E: EntityTrait>(rows: Select<E>, others: &[(&str, &'static str)]) -> SelectStatement {
    let mut rows = rows.select_only();
    for column in SHOWN {
        let other = others.iter().find(|(name, _)| *name == column);
        let value = match other {
            Some((_, sql)) => Expr::cust(*sql),
            None => Expr::col(column),
        };
        rows = rows.expr_as(value, column);
    }
    rows.into_query()
}

/// Decodes a row of [`SHOWN`] by column index: lookups by name would take a tenth of a list's time.
pub(super) fn decode(row: &QueryResult) -> Result<Message, DbErr> {
    let mut places = 0..;
    let mut next = || places.next().unwrap_or_default();
    let (id, conversation_id, position) = (next(), next(), next());
    let is_counted = row.try_get_by_index::<i32>(next())? == 0;
    let role: String = row.try_get_by_index(next())?;
    let status: String = row.try_get_by_index(next())?;
    let role = known(&role).unwrap_or(Role::Assistant);
    let created_at = row.try_get_by_index(next())?;
    let attachments: Option<String> = row.try_get_by_index(next())?;
    let in_reply_to: Option<MessageId> = row.try_get_by_index(next())?;
    let outcome: Option<String> = row.try_get_by_index(next())?;
    Ok(Message {
        id: row.try_get_by_index(id)?,
        conversation_id: row.try_get_by_index(conversation_id)?,
        position: row.try_get_by_index(position)?,
        role,
        status: known(&status).unwrap_or(MessageStatus::Incomplete),
        created_at,
        attachments: attachments
            .as_deref()
            .map(read_attachments)
            .unwrap_or_default(),
        is_counted,
        in_reply_to: in_reply_to.filter(|_| role == Role::Assistant),
        outcome: outcome.as_deref().and_then(known),
        failure: row.try_get_by_index(next())?,
        model: row.try_get_by_index(next())?,
        external_id: row.try_get_by_index(next())?,
        author: row.try_get_by_index(next())?,
        content: row.try_get_by_index(next())?,
    })
}
