//! Lists of an owner's or a tenant's conversations: filters, orders, pages and counts.
//!
//! A list holds either the archived conversations or the others. Each order reads a partial index of that kind, so the
//! cost of a page does not depend on the number of conversations of the other kind. Filters by agent or metadata check
//! row by row in that order.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select,
    sea_query::{Asterisk, Expr, ExprTrait, Func, Query},
};
use sha2::{Digest, Sha256};

use super::{
    Database, Page,
    cursor::{ConversationCursor, ListMark},
    entity::conversation::{Column, Entity, Listed},
    scope::{behind, conversations_of},
};
use crate::{
    conversation::{Conversation, Metadata, Rows, text::without_nul},
    error::{Error, Result},
};

/// The maximum number of conversations that a count examines.
const MAX_COUNTED: u64 = 10_000;

/// Selects the conversations of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationFilter {
    /// Selects archived conversations instead of the others.
    pub is_archived: bool,
    /// Only pinned conversations (`true`), or only others (`false`).
    pub is_pinned: Option<bool>,
    /// Only conversations that started with this agent.
    pub agent: Option<String>,
    /// Only conversations with all of these pairs.
    pub metadata: Metadata,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConversationOrder {
    /// The newest activity first.
    #[default]
    Activity,
    /// The newest conversation first.
    Creation,
    /// Pinned conversations first, then the others; the newest activity first in both.
    PinnedFirst,
}

/// A list: a filter and an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationList {
    /// The conversations that it holds.
    pub filter: ConversationFilter,
    /// Its order.
    pub order: ConversationOrder,
}

impl ConversationList {
    /// The position of a conversation in this list.
    pub fn cursor(&self, conversation: &Conversation) -> ConversationCursor {
        ConversationCursor {
            at: match self.order {
                ConversationOrder::Creation => conversation.created_at,
                ConversationOrder::Activity | ConversationOrder::PinnedFirst => {
                    conversation.last_message_at
                }
            },
            id: conversation.id,
            list: self.mark(conversation.pinned_at.is_some()),
        }
    }

    /// Checks that a position belongs to this list.
    ///
    /// # Errors
    /// [`Error::InvalidCursor`].
    pub fn checked(&self, after: Option<ConversationCursor>) -> Result<Option<ConversationCursor>> {
        let marks = [self.mark(true), self.mark(false)];
        match after {
            Some(after) if !marks.contains(&after.list) => Err(Error::InvalidCursor),
            after => Ok(after),
        }
    }

    /// The mark that distinguishes this list's cursors from those of other lists. `None` for the lists that earlier
    /// versions have (by activity, with or without an agent), so that their cursors stay valid.
    fn mark(&self, is_pinned: bool) -> Option<ListMark> {
        let ConversationFilter {
            is_archived,
            is_pinned: only_pinned,
            agent,
            metadata,
        } = &self.filter;
        let filter = (is_archived, only_pinned, metadata.stored());
        let order = match self.order {
            ConversationOrder::Activity if filter == (&false, &None, None) => return None,
            ConversationOrder::Activity => 'a',
            ConversationOrder::Creation => 'c',
            ConversationOrder::PinnedFirst if is_pinned => 'p',
            ConversationOrder::PinnedFirst => 'u',
        };
        let filter = serde_json::json!([filter.0, filter.1, filter.2, agent]).to_string();
        let digest = Sha256::digest(filter.as_bytes());
        Some(ListMark {
            order,
            filter: u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]),
        })
    }

    /// The rows in this list's indexes: readable conversations, either archived or not, or only pinned ones.
    fn indexed(&self, rows: Rows<'_>) -> Select<Entity> {
        let select = conversations_of(rows).filter(match self.filter.is_archived {
            true => Column::ArchivedAt.is_not_null(),
            false => Column::ArchivedAt.is_null(),
        });
        match self.filter.is_pinned {
            Some(true) => select.filter(Column::PinnedAt.is_not_null()),
            Some(false) | None => select,
        }
    }

    /// The condition that is checked row by row.
    fn condition(&self, is_embedded: bool) -> Condition {
        let mut all = Condition::all();
        if self.filter.is_pinned == Some(false) {
            all = all.add(Column::PinnedAt.is_null());
        }
        if let Some(agent) = &self.filter.agent {
            // Stored names contain no U+0000, because PostgreSQL rejects it.
            all = all.add(Column::AgentEntrypoint.eq(without_nul(agent.clone())));
        }
        for pair in self.filter.metadata.stored_pairs() {
            let position = Func::cust(if is_embedded { "instr" } else { "strpos" })
                .arg(Expr::col((Entity, Column::Metadata)))
                .arg(Expr::val(pair));
            all = all.add(Expr::expr(position).gt(0));
        }
        all
    }
}

impl Database {
    /// A page of the conversations that may be read.
    ///
    /// # Errors
    /// [`Error::InvalidCursor`] if `after` is a position in another list; [`Error::Database`].
    pub async fn conversations(
        &self,
        rows: impl Into<Rows<'_>>,
        list: &ConversationList,
        after: Option<ConversationCursor>,
        limit: u64,
    ) -> Result<Page<Conversation>> {
        let after = list.checked(after)?;
        let condition = list.condition(self.is_embedded());
        let select = list.indexed(rows.into()).filter(condition);
        let wanted = limit + 1;
        let rows = match (list.order, list.filter.is_pinned) {
            (ConversationOrder::Creation, _) => {
                self.listed(select, Column::CreatedAt, after, wanted).await
            }
            (ConversationOrder::PinnedFirst, None) => {
                self.pinned_first(select, after, wanted).await
            }
            (ConversationOrder::Activity | ConversationOrder::PinnedFirst, _) => {
                let order = Column::LastMessageAt;
                self.listed(select, order, after, wanted).await
            }
        }?;
        let has_next = rows.len() as u64 > limit;
        let items = rows
            .into_iter()
            .take(limit as usize)
            .map(|Listed(row)| Conversation::try_from(row))
            .collect::<Result<_>>()?;
        Ok(Page {
            items,
            has_next,
            has_previous: after.is_some(),
        })
    }

    /// Rows sorted by a time column, newest first.
    async fn listed(
        &self,
        select: Select<Entity>,
        order: Column,
        after: Option<ConversationCursor>,
        wanted: u64,
    ) -> Result<Vec<Listed>> {
        let mut select = select
            .order_by_desc(order)
            .order_by_desc(Column::Id)
            .limit(wanted);
        if let Some(after) = after {
            select = select.filter(behind(order, after.at, after.id));
        }
        Ok(select.into_model::<Listed>().all(&self.reader).await?)
    }

    /// Pinned rows first, then the others if the page is not full. An index returns each group in order; one statement
    /// would sort all rows.
    async fn pinned_first(
        &self,
        select: Select<Entity>,
        after: Option<ConversationCursor>,
        wanted: u64,
    ) -> Result<Vec<Listed>> {
        let order = Column::LastMessageAt;
        let is_behind_pins = |after: &ConversationCursor| {
            let order = after.list.map(|mark| mark.order);
            order == Some('u')
        };
        let mut rows = match after.as_ref().is_some_and(is_behind_pins) {
            true => Vec::new(),
            false => {
                let pinned = select.clone().filter(Column::PinnedAt.is_not_null());
                self.listed(pinned, order, after, wanted).await?
            }
        };
        let missing = wanted - rows.len() as u64;
        if missing > 0 {
            let others = select.filter(Column::PinnedAt.is_null());
            let after = after.filter(is_behind_pins);
            let others = self.listed(others, order, after, missing).await?;
            // A conversation may have been unpinned between the two statements.
            let pinned: Vec<_> = rows.iter().map(|Listed(row)| row.id).collect();
            rows.extend(
                others
                    .into_iter()
                    .filter(|Listed(row)| !pinned.contains(&row.id)),
            );
        }
        Ok(rows)
    }

    /// The number of conversations of a list; `None` if more than 10,000 would have to be examined.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn count_conversations(
        &self,
        rows: impl Into<Rows<'_>>,
        list: &ConversationList,
    ) -> Result<Option<u64>> {
        // The condition is a selected column and not a filter: before the limit, a filter on a rare value would scan
        // every row.
        let is_match = Expr::case(list.condition(self.is_embedded()), 1).finally(0);
        let rows = rows.into();
        let mut looked_at = list
            .indexed(rows)
            .select_only()
            .expr_as(is_match, "is_match")
            .limit(MAX_COUNTED + 1);
        if let Rows::OfTenant(_) = rows {
            // Reads in index order: if a tenant owns most of the table, PostgreSQL would otherwise scan the table from
            // its beginning, however few of the first rows belong to the tenant.
            looked_at = looked_at.order_by_desc(Column::LastMessageAt);
        }
        let looked_at = looked_at.into_query();
        let count = Query::select()
            .expr_as(Expr::col(Asterisk).count(), "looked_at")
            .expr_as(Expr::col("is_match").sum(), "matches")
            .from_subquery(looked_at, "looked_at")
            .to_owned();
        let Some(row) = self.reader.query_one(&count).await? else {
            return Ok(None);
        };
        let looked_at: i64 = row.try_get("", "looked_at")?;
        let matches: Option<i64> = row.try_get("", "matches")?;
        let is_exact = looked_at.unsigned_abs() <= MAX_COUNTED;
        Ok(is_exact.then(|| matches.unwrap_or_default().unsigned_abs()))
    }
}
