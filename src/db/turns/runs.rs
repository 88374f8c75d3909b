//! Runs: replies in progress. The turn's row stores the node, its lease and the last checkpoint of the text.
//!
//! If a node dies, its leases expire, and another node closes the replies with their last checkpoint.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    prelude::Uuid, sea_query::Expr,
};

use super::{FinishedReply, Turn, is_running};
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner, Part, ReplyOutcome, part},
    db::{
        BadRow, Database, Keyset, KeysetPage,
        entity::turn::{Column, Entity, Model},
        fault::is_of_row,
        pages::{beyond, read_page},
        retention::kept,
    },
    error::Result,
};

/// A lease renewal of a run, with a checkpoint of its text.
#[derive(Clone, Debug)]
pub struct RunCheckpoint {
    /// The turn.
    pub turn: MessageId,
    /// If another node may have taken the run over: the node that must still run it, and this run's own lease.
    pub fence: Option<(Uuid, Duration)>,
    /// The full text so far, if it is longer than the last checkpoint.
    pub written: Option<String>,
    /// The parts to store, if they have changed since the last checkpoint.
    pub parts: Option<Vec<Part>>,
}

/// The outcome of a renewal.
#[derive(Debug, Default)]
pub struct RenewalOutcome {
    /// The turns whose replies the caller must stop: a client requested it, or another node closed them.
    pub stopped: Vec<MessageId>,
    /// Rows that rejected their checkpoint.
    pub bad: Vec<BadRow>,
}

/// A run whose lease has expired.
#[derive(Clone, Debug)]
pub struct DeadRun {
    /// The conversation's owner.
    pub owner: Owner,
    /// The turn.
    pub turn: Turn,
}

fn is_overdue(at: DateTime<Utc>) -> Condition {
    Condition::all()
        .add(is_running())
        .add(Column::RunLeaseUntil.lte(at))
}

impl Database {
    /// Renews the leases of runs and stores their checkpoints.
    ///
    /// Uses one transaction, or one per row if a row fails. If a checkpoint is rejected, only the lease is renewed.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); some leases may be renewed all the same.
    pub async fn renew_runs(
        &self,
        runs: &[RunCheckpoint],
        lease: Duration,
    ) -> Result<RenewalOutcome> {
        match self.renew_all(runs, lease).await {
            Err(error) if is_of_row(&error) => {}
            renewed => {
                return renewed.map(|stopped| RenewalOutcome {
                    stopped,
                    bad: Vec::new(),
                });
            }
        }
        let mut outcome = RenewalOutcome::default();
        for run in runs {
            let mut renewed = self.renew_all(std::slice::from_ref(run), lease).await;
            if let Err(error) = renewed {
                outcome.bad.push(BadRow::of(run.turn.0, error)?);
                let without_text = RunCheckpoint {
                    turn: run.turn,
                    fence: run.fence,
                    written: None,
                    parts: None,
                };
                renewed = self.renew_all(&[without_text], lease).await;
            }
            match renewed {
                Ok(stopped) => outcome.stopped.extend(stopped),
                // `outcome.bad` has the row already.
                Err(error) => drop(BadRow::of(run.turn.0, error)?),
            }
        }
        Ok(outcome)
    }

    async fn renew_all(&self, runs: &[RunCheckpoint], lease: Duration) -> Result<Vec<MessageId>> {
        self.transaction(|tx| async move {
            let now = self.now();
            let mut stopped = Vec::new();
            for run in runs {
                let lease = run.fence.map_or(lease, |(_, lease)| lease);
                let mut update = Entity::update_many()
                    .col_expr(Column::RunLeaseUntil, Expr::val(now + lease))
                    .filter(Column::MessageId.eq(run.turn))
                    .filter(is_running())
                    .filter(Column::StopAsked.eq(false));
                if let Some((node, _)) = run.fence {
                    update = update.filter(Column::RunNode.eq(node));
                }
                if let Some(written) = &run.written {
                    update = update.col_expr(Column::RunText, kept(Expr::val(written)));
                }
                if let Some(parts) = &run.parts {
                    update =
                        update.col_expr(Column::RunParts, kept(Expr::val(part::encode(parts))));
                }
                if update.exec(&tx).await?.rows_affected == 0 {
                    stopped.push(run.turn);
                }
            }
            Ok((tx, stopped))
        })
        .await
    }

    /// Stores a stop request for the running replies of a conversation, or for one of them. Returns each reply with its
    /// node.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn stop_runs(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        reply: Option<MessageId>,
    ) -> Result<Vec<(Option<Uuid>, MessageId)>> {
        let mut stop = Entity::update_many()
            .col_expr(Column::StopAsked, Expr::val(true))
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::TenantId.eq(&owner.tenant))
            .filter(Column::UserId.eq(&owner.user))
            .filter(is_running());
        if let Some(reply) = reply {
            stop = stop.filter(Column::ReplyId.eq(reply));
        }
        let rows = stop.exec_with_returning(&self.writer).await?;
        let runs = rows.into_iter();
        Ok(runs.map(|row| (row.run_node, row.reply_id)).collect())
    }

    /// A page of the runs of all owners whose lease has expired, oldest lease first, starting after `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_dead_runs(
        &self,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<DeadRun>> {
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

    /// Closes a run with an expired lease, as incomplete, with its last checkpoint.
    /// `redacts`: the preview leaves out secrets and personal numbers.
    ///
    /// `None`: the lease was renewed, or the conversation was deleted.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn close_dead_run(
        &self,
        dead: &DeadRun,
        redacts: bool,
    ) -> Result<Option<Conversation>> {
        let outcome = FinishedReply {
            outcome: match dead.turn.is_external && dead.turn.is_stopping {
                true => ReplyOutcome::Stopped,
                false => ReplyOutcome::Incomplete,
            },
            text: &dead.turn.written,
            failure: None,
            reason: None,
            model: "",
            parts: &dead.turn.written_parts,
            is_message: true,
            redacts,
        };
        let is_dead = is_overdue(self.now());
        self.end_reply(&dead.owner, &dead.turn, outcome, None, is_dead)
            .await
    }
}

/// Clears the checkpoints of a deleted conversation's runs, and stores a stop request for each.
pub(in crate::db) async fn clear_checkpoints(
    tx: &impl ConnectionTrait,
    conversation: ConversationId,
) -> Result<()> {
    let no_text: Option<String> = None;
    Entity::update_many()
        .col_expr(Column::RunText, Expr::val(no_text.clone()))
        .col_expr(Column::RunParts, Expr::val(no_text))
        .col_expr(Column::StopAsked, Expr::val(true))
        .filter(Column::ConversationId.eq(conversation))
        .filter(is_running())
        .exec(tx)
        .await?;
    Ok(())
}
