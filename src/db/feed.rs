//! Feeds of changed conversations: reads the changes after a cursor.
//!
//! Triggers number the changes in the order of their commits (`m20251220_000001_create_feeds` explains how, and why no
//! number can be skipped). So every change after a cursor is found by its number, even if its event was lost. A page
//! holds the newest state of each conversation, tombstones included: several changes of one conversation appear as one.
//!
//! **Pruning.** Tombstones are pruned by deleting their rows of `agent_conversations`: a trigger deletes their changes
//! and raises the feed's floor in the same transaction. A reader whose cursor is below the floor may lack a deletion,
//! and gets a reset. Deleting the row of a conversation that is not a tombstone resets all readers of its feed. A
//! transaction that deletes rows of several owners calls [`lock_feeds`] at its end.

use std::collections::BTreeSet;

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryResult, QueryTrait, Statement,
    prelude::Uuid,
    sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement},
};

use super::{
    BadRow, Database,
    cursor::FeedCursor,
    entity::conversation::{Column, Entity, Model},
    guarded::Transaction,
};
use crate::{
    conversation::{Conversation, Owner, Rows},
    error::{Error, Result},
};

/// What a change means to the reader of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The conversation is new since the reader was last up to date.
    Created,
    /// The conversation changed.
    Updated,
    /// The conversation was deleted: the state is its tombstone.
    Deleted,
}

/// The newest state of a conversation that changed.
#[derive(Clone, Debug)]
pub struct FeedChange {
    /// What the change means to the reader.
    pub kind: ChangeKind,
    /// The conversation, or its tombstone.
    pub conversation: Conversation,
    /// The position after this change.
    pub cursor: FeedCursor,
}

/// The result of reading a feed after a position.
#[derive(Debug)]
pub enum FeedPage {
    /// The changes after the position.
    Changes {
        /// The changes in feed order, each conversation at most once.
        changes: Vec<FeedChange>,
        /// Unreadable rows, which the page skips.
        bad: Vec<BadRow>,
        /// The position after the page.
        cursor: FeedCursor,
        /// Whether more changes follow.
        has_more: bool,
    },
    /// The position belongs to another feed, or the changes after it were pruned: reload the list, then continue from
    /// the position given here.
    Reset(FeedCursor),
}

/// The state of a feed.
#[derive(Clone, Copy, Debug)]
struct State {
    epoch: i64,
    position: i64,
    floor: i64,
}

impl State {
    /// The position after the feed's last change.
    fn cursor(self) -> FeedCursor {
        FeedCursor {
            epoch: self.epoch,
            change: self.position,
            since: self.position,
        }
    }

    /// Whether every change after the position is still stored.
    fn has(self, after: FeedCursor) -> bool {
        after.epoch == self.epoch && (self.floor..=self.position).contains(&after.change)
    }
}

impl Database {
    /// The position after the last committed change of a feed. Creates the feed if it does not exist.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn feed_position(&self, of: impl Into<Rows<'_>>) -> Result<FeedCursor> {
        let of = of.into();
        if let Some(state) = self.feed_state(of).await? {
            return Ok(state.cursor());
        }
        self.begin_feed(of).await?;
        let state = self.feed_state(of).await?;
        // The feed was erased between the two statements.
        let state = state.ok_or_else(|| Error::Database("the feed is gone".into()))?;
        Ok(state.cursor())
    }

    /// Whether a position belongs to this feed, and nothing after it was pruned.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_feed_position(&self, of: impl Into<Rows<'_>>, at: FeedCursor) -> Result<bool> {
        let state = self.feed_state(of.into()).await?;
        Ok(state.is_some_and(|state| state.has(at)))
    }

    /// At most `limit` changes after a position.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn feed_page(
        &self,
        of: impl Into<Rows<'_>>,
        after: FeedCursor,
        limit: u64,
    ) -> Result<FeedPage> {
        let of = of.into();
        let select = changes_behind(of, after, limit + 1);
        let statement = self.reader.get_database_backend().build(&select);
        let rows = self.reader.query_all_raw(statement).await?;
        let is_of_feed = match rows.first() {
            // Epoch and floor come from the same snapshot as the changes.
            Some(first) => {
                let (epoch, floor): (i64, i64) = (
                    first.try_get("", "feed_epoch")?,
                    first.try_get("", "feed_floor")?,
                );
                epoch == after.epoch && floor <= after.change
            }
            None => self.has_feed_position(of, after).await?,
        };
        if !is_of_feed {
            return Ok(FeedPage::Reset(self.feed_position(of).await?));
        }
        page(&rows, after, limit)
    }

    /// Creates a feed if it does not exist.
    ///
    /// A user's feed is also created by its first change, so it includes transactions in flight. For a tenant's feed,
    /// the triggers of a transaction in flight may have found no feed. So on PostgreSQL, the creation first waits for
    /// these transactions: it takes the lock that the triggers hold shared.
    async fn begin_feed(&self, of: Rows<'_>) -> Result<()> {
        let (tenant, user) = key(of);
        let begin = self.statement(
            "INSERT INTO agent_feeds (tenant_id, user_id, epoch)
             VALUES ($1, $2, abs(random() % 9007199254740991)) ON CONFLICT DO NOTHING",
            "INSERT INTO agent_feeds (tenant_id, user_id, epoch)
             VALUES ($1, $2, (random() * 9007199254740991)::bigint) ON CONFLICT DO NOTHING",
            [tenant.into(), user.into()],
        );
        let begin = &begin;
        self.transaction(|tx| async move {
            if user.is_empty() && tx.get_database_backend() == DbBackend::Postgres {
                // While this waits for the lock, the tenant's writers wait too, and a connection is held.
                tx.execute_unprepared("SET LOCAL lock_timeout = '500ms'")
                    .await?;
                lock_tenant(&tx, "pg_advisory_xact_lock", tenant).await?;
            }
            tx.execute_raw(begin.clone()).await?;
            Ok((tx, ()))
        })
        .await
    }

    async fn feed_state(&self, of: Rows<'_>) -> Result<Option<State>> {
        let select =
            "SELECT epoch, position, floor FROM agent_feeds WHERE tenant_id = $1 AND user_id = $2";
        let (tenant, user) = key(of);
        let select = self.statement(select, select, [tenant.into(), user.into()]);
        let Some(row) = self.reader.query_one_raw(select).await? else {
            return Ok(None);
        };
        Ok(Some(State {
            epoch: row.try_get("", "epoch")?,
            position: row.try_get("", "position")?,
            floor: row.try_get("", "floor")?,
        }))
    }
}

/// The key of a feed. A tenant's feed has an empty user; user ids are never empty.
fn key(of: Rows<'_>) -> (&str, &str) {
    match of {
        Rows::Of(owner) => (&owner.tenant, &owner.user),
        Rows::OfTenant(tenant) => (tenant, ""),
    }
}

/// Decodes a page row by row.
fn page(rows: &[QueryResult], after: FeedCursor, limit: u64) -> Result<FeedPage> {
    let has_more = rows.len() as u64 > limit;
    let rows = &rows[..rows.len().min(limit as usize)];
    let (mut changes, mut bad) = (Vec::with_capacity(rows.len()), Vec::new());
    let mut cursor = after;
    for (index, row) in rows.iter().enumerate() {
        cursor.change = row.try_get("", "feed_change")?;
        if !has_more && index + 1 == rows.len() {
            // Up to date: conversations created from here on are new to the reader.
            cursor.since = cursor.change;
        }
        let created: i64 = row.try_get("", "feed_created")?;
        let decoded = Model::from_query_result(row, "").map_err(Error::from);
        match decoded.and_then(Conversation::try_from) {
            Ok(conversation) => changes.push(FeedChange {
                kind: match conversation.is_deleted() {
                    true => ChangeKind::Deleted,
                    false if created > after.since => ChangeKind::Created,
                    false => ChangeKind::Updated,
                },
                conversation,
                cursor,
            }),
            Err(error) => {
                let id: Uuid = row.try_get("", "id").unwrap_or_default();
                bad.push(BadRow { id, error });
            }
        }
    }
    Ok(FeedPage::Changes {
        changes,
        bad,
        cursor,
        has_more,
    })
}

/// Selects the conversations that changed after a position, with their numbers and the state of the feed.
///
/// Scalar subqueries find the feed, so that both databases read the index of changes in its order and stop at the
/// limit. A join with the feed would sort all changes after the position first.
fn changes_behind(of: Rows<'_>, after: FeedCursor, limit: u64) -> SelectStatement {
    let (tenant, user) = key(of);
    let changes = || Alias::new("agent_changes");
    let column = |name: &str| Expr::col((changes(), Alias::new(name)));
    let of_feed = |column: &str| {
        let select = Query::select()
            .column(Alias::new(column))
            .from(Alias::new("agent_feeds"))
            .and_where(Expr::col(Alias::new("tenant_id")).eq(tenant))
            .and_where(Expr::col(Alias::new("user_id")).eq(user))
            .to_owned();
        Expr::SubQuery(None, Box::new(select.into()))
    };
    let mut select = Entity::find().into_query();
    select
        .expr_as(column("change"), Alias::new("feed_change"))
        .expr_as(column("created"), Alias::new("feed_created"))
        .expr_as(of_feed("epoch"), Alias::new("feed_epoch"))
        .expr_as(of_feed("floor"), Alias::new("feed_floor"))
        .inner_join(
            changes(),
            Expr::col((Entity, Column::Id)).eq(column("conversation_id")),
        )
        .and_where(column("feed_id").eq(of_feed("id")))
        .and_where(column("change").gt(after.change))
        .order_by((changes(), Alias::new("change")), Order::Asc)
        .limit(limit)
        .to_owned()
}

/// Takes the lock that guards the creation of a tenant's feed; the triggers take it shared, with the class
/// `1953067639`.
async fn lock_tenant(tx: &Transaction, function: &str, tenant: &str) -> Result<()> {
    let lock = Statement::from_sql_and_values(
        DbBackend::Postgres,
        format!("SELECT {function}(1953067639, hashtext($1))"),
        [tenant.into()],
    );
    tx.execute_raw(lock).await?;
    Ok(())
}

/// Locks the feeds of several owners in a fixed order, and creates those that do not exist. Call it after all other
/// statements of a transaction that changes or deletes conversations of several owners: at its commit, the triggers
/// would lock the feeds in the order of the changes, and two such transactions could deadlock. Does nothing on SQLite,
/// which has one writer.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn lock_feeds<'a>(
    tx: &Transaction,
    owners: impl IntoIterator<Item = &'a Owner>,
) -> Result<()> {
    let keys: BTreeSet<(&str, &str)> = owners
        .into_iter()
        .map(|owner| (owner.tenant.as_str(), owner.user.as_str()))
        .collect();
    if keys.len() < 2 || tx.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let mut tenant_before = None;
    for (tenant, user) in keys {
        if tenant_before != Some(tenant) {
            tenant_before = Some(tenant);
            // As in the triggers, first the lock against creating the tenant's feed, then that feed if it exists.
            lock_tenant(tx, "pg_advisory_xact_lock_shared", tenant).await?;
            let lock = Statement::from_sql_and_values(
                DbBackend::Postgres,
                "SELECT 1 FROM agent_feeds WHERE tenant_id = $1 AND user_id = '' FOR UPDATE",
                [tenant.into()],
            );
            tx.query_one_raw(lock).await?;
        }
        let lock = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "INSERT INTO agent_feeds (tenant_id, user_id, epoch)
             VALUES ($1, $2, (random() * 9007199254740991)::bigint)
             ON CONFLICT (tenant_id, user_id) DO UPDATE SET position = agent_feeds.position",
            [tenant.into(), user.into()],
        );
        tx.execute_raw(lock).await?;
    }
    Ok(())
}
