//! Replies that are being written: the row says by which node, until when others believe that it lives, and
//! what it had written a moment ago. A node that dies leaves a lease that runs out; whoever notices closes
//! the reply with what was noted last.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    prelude::Uuid, sea_query::Expr,
};

use super::{ReplyOutcome, ReplyState, Turn, is_running};
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner},
    db::{
        BadRow, Database, Found, Place, commit,
        entity::turn::{Column, Entity, Model},
        fault::is_of_row,
        guarded::transact,
        pages::{beyond, read_page},
    },
    error::Result,
};

/// A reply that its node goes on writing.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The message that is replied to.
    pub message: MessageId,
    /// All that was written, if there is more than was noted.
    pub written: Option<String>,
}

/// What became of a renewal.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Replies that are to be stopped: on request, or because another node closed them.
    pub stopped: Vec<MessageId>,
    /// Rows that did not take what was written.
    pub bad: Vec<BadRow>,
}

/// A reply whose node was not heard of in time.
#[derive(Clone, Debug)]
pub struct DeadRun {
    /// Whose it is.
    pub owner: Owner,
    /// Its turn.
    pub turn: Turn,
}

fn is_overdue(at: DateTime<Utc>) -> Condition {
    Condition::all()
        .add(is_running())
        .add(Column::RunLeaseUntil.lte(at))
}

impl Database {
    /// Notes that these replies are being written, and what there is of them: all in one transaction, or each in its own
    /// when a row refuses it. A row that takes no text has its lease renewed at least.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); not all were noted then.
    pub async fn keep_runs(&self, runs: &[Kept], lease: Duration) -> Result<Renewed> {
        match self.keep_all(runs, lease).await {
            Err(error) if is_of_row(&error) => {}
            kept => {
                return kept.map(|stopped| Renewed {
                    stopped,
                    bad: Vec::new(),
                });
            }
        }
        let mut renewed = Renewed::default();
        for run in runs {
            let mut kept = self.keep_all(std::slice::from_ref(run), lease).await;
            if let Err(error) = kept {
                renewed.bad.push(BadRow::of(run.message.0, error)?);
                let without_text = Kept {
                    message: run.message,
                    written: None,
                };
                kept = self.keep_all(&[without_text], lease).await;
            }
            match kept {
                Ok(stopped) => renewed.stopped.extend(stopped),
                // It is among them already.
                Err(error) => drop(BadRow::of(run.message.0, error)?),
            }
        }
        Ok(renewed)
    }

    async fn keep_all(&self, runs: &[Kept], lease: Duration) -> Result<Vec<MessageId>> {
        transact(|| async {
            let tx = self.begin().await?;
            let until = self.now() + lease;
            let mut stopped = Vec::new();
            for run in runs {
                let mut update = Entity::update_many()
                    .col_expr(Column::RunLeaseUntil, Expr::val(until))
                    .filter(Column::MessageId.eq(run.message.0))
                    .filter(is_running())
                    .filter(Column::StopAsked.eq(false));
                if let Some(written) = &run.written {
                    update = update.col_expr(Column::RunText, Expr::val(written));
                }
                if update.exec(&tx).await?.rows_affected == 0 {
                    stopped.push(run.message);
                }
            }
            commit(tx).await?;
            Ok(stopped)
        })
        .await
    }

    /// Asks whoever writes replies in this conversation to stop. Returns the nodes and the replies.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn stop_runs(
        &self,
        owner: &Owner,
        conversation: ConversationId,
    ) -> Result<Vec<(Option<Uuid>, MessageId)>> {
        let rows = Entity::update_many()
            .col_expr(Column::StopAsked, Expr::val(true))
            .filter(Column::ConversationId.eq(conversation.0))
            .filter(Column::TenantId.eq(&owner.tenant))
            .filter(Column::UserId.eq(&owner.user))
            .filter(is_running())
            .exec_with_returning(&self.writer)
            .await?;
        let runs = rows.into_iter();
        Ok(runs
            .map(|row| (row.run_node, MessageId(row.reply_id)))
            .collect())
    }

    /// Replies of all owners whose node was not heard of in time, the longest overdue first, behind a place.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_dead_runs(
        &self,
        after: Option<&Place>,
        limit: u64,
    ) -> Result<Found<DeadRun>> {
        let select = Entity::find()
            .filter(is_overdue(self.now()))
            .order_by_asc(Column::RunLeaseUntil)
            .order_by_asc(Column::MessageId)
            .limit(limit);
        let order = (Column::RunLeaseUntil, Column::MessageId);
        let dead = |row: Model| {
            let owner = Owner {
                tenant: row.tenant_id.clone(),
                user: row.user_id.clone(),
            };
            let turn = row.try_into()?;
            Ok(DeadRun { owner, turn })
        };
        read_page(&self.reader, beyond(select, order, after), order, dead).await
    }

    /// Closes a reply that was found dead, as incomplete, with what was noted of it last. `None`: it was
    /// not dead, or there was nothing, or the conversation is gone.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn close_dead_run(&self, dead: &DeadRun) -> Result<Option<Conversation>> {
        let outcome = ReplyOutcome {
            state: ReplyState::Incomplete,
            text: &dead.turn.written,
            failure: None,
        };
        let is_dead = is_overdue(self.now());
        self.end_reply(&dead.owner, &dead.turn, outcome, None, is_dead)
            .await
    }
}

/// Forgets what was noted of the replies of a conversation that is deleted, and stops them.
pub(in crate::db) async fn forget(
    tx: &impl ConnectionTrait,
    conversation: ConversationId,
) -> Result<()> {
    let no_text: Option<String> = None;
    Entity::update_many()
        .col_expr(Column::RunText, Expr::val(no_text))
        .col_expr(Column::StopAsked, Expr::val(true))
        .filter(Column::ConversationId.eq(conversation.0))
        .filter(is_running())
        .exec(tx)
        .await?;
    Ok(())
}
