//! Messages: pages of one conversation, and the history for a reply.

use sea_orm::{ColumnTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};

use super::{
    Database, Page,
    cursor::MessageCursor,
    entity::message::{Column, Entity},
    scope::messages_of,
};
use crate::{
    conversation::{ConversationId, Message, MessageId, Owner, Role},
    error::Result,
};

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
}

impl Database {
    /// The message with this id, if the owner has it.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_message(&self, owner: &Owner, id: MessageId) -> Result<Option<Message>> {
        messages_of(owner)
            .filter(Column::Id.eq(id))
            .one(&self.reader)
            .await?
            .map(Message::try_from)
            .transpose()
    }

    /// A page of one conversation's messages, at most 4 MiB of text; empty if the owner does not have the conversation.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn messages(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        range: MessageRange,
    ) -> Result<Page<Message>> {
        let rows = messages_of(owner)
            .filter(Column::ConversationId.eq(conversation))
            .limit(range.limit + 1);
        let rows = range.restrict(rows);
        let rows =
            QuerySelect::query(&mut rows.order_by(Column::Position, range.order())).to_owned();
        let mut pages = self.pages(range, rows).await?;
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
    /// Restricts messages to those between the cursors.
    pub(super) fn restrict(self, mut rows: Select<Entity>) -> Select<Entity> {
        if let Some(after) = self.after {
            rows = rows.filter(Column::Position.gt(after.position));
        }
        if let Some(before) = self.before {
            rows = rows.filter(Column::Position.lt(before.position));
        }
        rows
    }

    /// The read order of the rows.
    pub(super) fn order(self) -> Order {
        match self.from_end {
            true => Order::Desc,
            false => Order::Asc,
        }
    }

    /// Makes a page of rows that were read in the range's direction with a limit of one more than the page.
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
