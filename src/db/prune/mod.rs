//! Removes data older than its tenant's limits, in small steps: one page of conversations after the other, in the order
//! of their ids. A step depends only on the stored rows, so concurrent steps of several nodes are harmless.

mod calls;
mod trim;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, QueryFilter, QueryResult, QuerySelect, Statement, Value,
};

use super::{
    BadRow, Database,
    entity::conversation,
    feed::lock_feeds,
    forget::remove_rows,
    removal::{self, Removed},
    scope::active,
    turns,
};
use crate::{
    conversation::{
        Conversation, ConversationId, ConversationStatus, Owner,
        retention::{Retention, Retentions},
    },
    error::Result,
};

/// Conversations per transaction.
const STEP: usize = 20;

/// Old messages removed per step and conversation. Servers pause after each step, and a step has a deadline.
const MAX_TRIMMED: u64 = 20;

/// The limits and options of a pass.
pub struct Prune<'a> {
    /// The limits.
    pub retentions: &'a Retentions,
    /// Whether hints of a tenant leave out secrets and personal numbers.
    pub redacts: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// Whether to count only.
    pub is_dry: bool,
    /// The maximum number of conversations per step.
    pub page: u64,
}

/// A position of a pass: first all conversations, then the calls of each tenant.
#[derive(Clone, Debug, Default)]
pub struct PrunePlace {
    conversation: Option<ConversationId>,
    are_conversations_done: bool,
    tenant: Option<String>,
}

/// The outcome of one step.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The removed rows; in a dry run, those that would be removed.
    pub removed: Removed,
    /// Conversations that changed or became tombstones, to publish.
    pub changed: Vec<Conversation>,
    /// Rows that cannot be pruned, which are skipped.
    pub bad: Vec<BadRow>,
}

/// A conversation, and the times to compare with the limits.
struct Candidate {
    id: ConversationId,
    owner: Owner,
    is_tombstone: bool,
    is_pinned: bool,
    last_message_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    first_message_at: Option<DateTime<Utc>>,
    first_turn_at: Option<DateTime<Utc>>,
}

impl Candidate {
    fn of(row: &QueryResult) -> Result<Self> {
        let status: String = row.try_get("", "status")?;
        let pinned_at: Option<DateTime<Utc>> = row.try_get("", "pinned_at")?;
        Ok(Self {
            id: row.try_get("", "id")?,
            owner: Owner {
                tenant: row.try_get("", "tenant_id")?,
                user: row.try_get("", "user_id")?,
            },
            is_tombstone: status != ConversationStatus::Active.as_str(),
            is_pinned: pinned_at.is_some(),
            last_message_at: row.try_get("", "last_message_at")?,
            updated_at: row.try_get("", "updated_at")?,
            first_message_at: row.try_get("", "first_message_at")?,
            first_turn_at: row.try_get("", "first_turn_at")?,
        })
    }
}

/// The time before which something is too old; `None` for no limit.
fn cutoff(now: DateTime<Utc>, limit: Option<std::time::Duration>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(limit?).ok()?)
}

fn is_before(at: Option<DateTime<Utc>>, cutoff: Option<DateTime<Utc>>) -> bool {
    matches!((at, cutoff), (Some(at), Some(cutoff)) if at < cutoff)
}

impl Database {
    /// Does the next step of a pass: a page of conversations, or a batch of calls. `None` at the end of the pass.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn prune_next(
        &self,
        prune: &Prune<'_>,
        place: &mut PrunePlace,
    ) -> Result<Option<Pruned>> {
        if !place.are_conversations_done {
            match self.prune_conversations(prune, place).await? {
                Some(pruned) => return Ok(Some(pruned)),
                None => place.are_conversations_done = true,
            }
        }
        self.prune_calls(prune, place).await
    }

    async fn prune_conversations(
        &self,
        prune: &Prune<'_>,
        place: &mut PrunePlace,
    ) -> Result<Option<Pruned>> {
        let mut pruned = Pruned::default();
        let after = place.conversation;
        let Some((candidates, last)) = self.candidates(prune, after, &mut pruned).await? else {
            return Ok(None);
        };
        place.conversation = Some(last);
        let now = self.now();
        let (mut old, mut tombstones, mut trimmed) = (Vec::new(), Vec::new(), Vec::new());
        let mut turns: BTreeMap<DateTime<Utc>, Vec<ConversationId>> = BTreeMap::new();
        for one in candidates {
            let Retention {
                messages,
                conversations,
                tombstones: of_tombstones,
                title_calls,
            } = prune.retentions.of(&one.owner.tenant);
            if one.is_tombstone {
                if is_before(Some(one.updated_at), cutoff(now, of_tombstones)) {
                    tombstones.push((one.id, one.owner));
                    continue;
                }
            } else if !one.is_pinned
                && is_before(Some(one.last_message_at), cutoff(now, conversations))
            {
                old.push((one.id, cutoff(now, conversations)));
                continue;
            } else if let Some(cutoff) = cutoff(now, messages)
                && is_before(one.first_message_at, Some(cutoff))
            {
                trimmed.push((one.id, one.owner.tenant, cutoff));
            }
            if let Some(cutoff) = cutoff(now, title_calls)
                && is_before(one.first_turn_at, Some(cutoff))
            {
                turns.entry(cutoff).or_default().push(one.id);
            }
        }
        match prune.is_dry {
            true => {
                pruned
                    .removed
                    .add("agent_conversations", tombstones.len() as u64);
                pruned
                    .removed
                    .add("deleted_conversations", old.len() as u64);
                self.count_old(&trimmed, &turns, &mut pruned.removed)
                    .await?;
            }
            false => {
                self.entomb_old(&old, &mut pruned).await?;
                self.remove_old_tombstones(&tombstones, &mut pruned).await?;
                let limit = pruned.removed.of("agent_messages") + prune.page * MAX_TRIMMED;
                let mut done = after;
                for (id, tenant, cutoff) in trimmed {
                    let redacts = (prune.redacts)(&tenant);
                    let trimming = self.trim((id, cutoff), limit, redacts, &mut pruned).await;
                    match trimming {
                        Ok(true) => done = Some(id),
                        Ok(false) => {
                            // The next step begins with this conversation.
                            place.conversation = done;
                            break;
                        }
                        Err(error) => {
                            pruned.bad.push(BadRow::of(id.0, error)?);
                            done = Some(id);
                        }
                    }
                }
                self.remove_old_turns(&turns, &mut pruned).await?;
            }
        }
        if !pruned.removed.0.is_empty() {
            self.schedule_erasure();
        }
        Ok(Some(pruned))
    }

    /// The candidates on the page after this conversation, and the last id of the page; `None` at the end.
    async fn candidates(
        &self,
        prune: &Prune<'_>,
        after: Option<ConversationId>,
        pruned: &mut Pruned,
    ) -> Result<Option<(Vec<Candidate>, ConversationId)>> {
        let limits = || prune.retentions.all();
        // Times without a limit are not looked up.
        let first_message = match limits().any(|limits| limits.messages.is_some()) {
            true => {
                "(SELECT m.created_at FROM agent_messages AS m WHERE m.conversation_id = c.id \
                 ORDER BY m.position LIMIT 1)"
            }
            false => "NULL",
        };
        let first_turn = match limits().any(|limits| limits.title_calls.is_some()) {
            true => {
                "(SELECT min(t.created_at) FROM agent_turns AS t WHERE t.conversation_id = c.id)"
            }
            false => "NULL",
        };
        let (after, values) = match after {
            Some(id) => ("WHERE c.id > $1", vec![id.into()]),
            None => ("", Vec::new()),
        };
        let sql = format!(
            "SELECT c.id, c.tenant_id, c.user_id, c.status, c.pinned_at, c.last_message_at, c.updated_at, \
             CAST({first_message} AS timestamptz) AS first_message_at, CAST({first_turn} AS timestamptz) AS first_turn_at \
             FROM agent_conversations AS c {after} ORDER BY c.id LIMIT {}",
            prune.page
        );
        let sql = match self.is_embedded() {
            // SQLite has no such type, and its CAST would turn the text into a number.
            true => sql.replace("CAST(", "(").replace(" AS timestamptz)", ")"),
            false => sql,
        };
        let statement =
            Statement::from_sql_and_values(self.reader.get_database_backend(), sql, values);
        let rows = self.reader.query_all_raw(statement).await?;
        let mut candidates = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in &rows {
            let id: ConversationId = row.try_get("", "id")?;
            last = Some(id);
            match Candidate::of(row) {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => pruned.bad.push(BadRow::of(id.0, error)?),
            }
        }
        Ok(last.map(|last| (candidates, last)))
    }

    /// Deletes conversations as their users would, unless they were continued or pinned in the meantime, or a reply is
    /// running.
    async fn entomb_old(
        &self,
        old: &[(ConversationId, Option<DateTime<Utc>>)],
        pruned: &mut Pruned,
    ) -> Result<()> {
        for step in old.chunks(STEP) {
            let ids: &Vec<ConversationId> = &step.iter().map(|(id, _)| *id).collect();
            let cutoffs: &BTreeMap<_, _> = &step.iter().copied().collect();
            let (tombstones, removed) = self
                .transaction(|tx| async move {
                    let locked = removal::lock(&tx, ids).await?;
                    let running = turns::running_in(&tx, &locked).await?;
                    let rows: Vec<(ConversationId, DateTime<Utc>)> = active()
                        .filter(conversation::Column::Id.is_in(locked))
                        .filter(conversation::Column::PinnedAt.is_null())
                        .filter(conversation::Column::Id.is_not_in(running))
                        .select_only()
                        .columns([
                            conversation::Column::Id,
                            conversation::Column::LastMessageAt,
                        ])
                        .into_tuple()
                        .all(&tx)
                        .await?;
                    let still = rows.into_iter().filter(|(id, at)| {
                        is_before(Some(*at), cutoffs.get(id).copied().flatten())
                    });
                    let still: Vec<ConversationId> = still.map(|(id, _)| id).collect();
                    let mut removed = Removed::default();
                    let rows = removal::entomb(&tx, &still, self.now(), &mut removed).await?;
                    lock_feeds(&tx, rows.iter().map(|row| &row.owner)).await?;
                    Ok((tx, (rows, removed)))
                })
                .await?;
            pruned.removed.extend(&removed);
            pruned
                .removed
                .add("deleted_conversations", tombstones.len() as u64);
            pruned.changed.extend(tombstones);
        }
        Ok(())
    }

    async fn remove_old_tombstones(
        &self,
        tombstones: &[(ConversationId, Owner)],
        pruned: &mut Pruned,
    ) -> Result<()> {
        for step in tombstones.chunks(STEP) {
            let ids: &Vec<Value> = &step.iter().map(|(id, _)| (*id).into()).collect();
            let removed = self
                .transaction(|tx| async move {
                    let mut removed = Removed::default();
                    remove_rows(&tx, ids, &mut removed).await?;
                    lock_feeds(&tx, step.iter().map(|(_, owner)| owner)).await?;
                    Ok((tx, removed))
                })
                .await?;
            pruned.removed.extend(&removed);
        }
        Ok(())
    }

    async fn remove_old_turns(
        &self,
        turns: &BTreeMap<DateTime<Utc>, Vec<ConversationId>>,
        pruned: &mut Pruned,
    ) -> Result<()> {
        for (cutoff, ids) in turns {
            for step in ids.chunks(STEP) {
                let mut values: Vec<Value> = vec![(*cutoff).into()];
                values.extend(step.iter().map(|id| Value::from(*id)));
                let values = &values;
                let places: Vec<String> = (2..=values.len())
                    .map(|place| format!("${place}"))
                    .collect();
                let rows = &format!(
                    "created_at < $1 AND reply_status <> 'running' AND conversation_id IN ({})",
                    places.join(", ")
                );
                let removed = self
                    .transaction(|tx| async move {
                        let mut removed = Removed::default();
                        removal::delete(&tx, "agent_turns", rows, values, &mut removed).await?;
                        Ok((tx, removed))
                    })
                    .await?;
                pruned.removed.extend(&removed);
            }
        }
        Ok(())
    }

    /// Counts what a dry run would remove.
    async fn count_old(
        &self,
        trimmed: &[(ConversationId, String, DateTime<Utc>)],
        turns: &BTreeMap<DateTime<Utc>, Vec<ConversationId>>,
        removed: &mut Removed,
    ) -> Result<()> {
        for (id, _, cutoff) in trimmed {
            // Counts up to the first message that is not old, as `trim` removes them.
            let sql = "SELECT count(*) AS n FROM agent_messages WHERE conversation_id = $1 AND position < \
                       coalesce((SELECT min(position) FROM agent_messages WHERE conversation_id = $1 \
                       AND created_at >= $2), 9223372036854775807)";
            let count = self
                .count_rows(sql, [(*id).into(), (*cutoff).into()])
                .await?;
            removed.add("agent_messages", count);
        }
        for (cutoff, ids) in turns {
            for id in ids {
                let sql = "SELECT count(*) AS n FROM agent_turns WHERE conversation_id = $1 AND created_at < $2 \
                           AND reply_status <> 'running'";
                let count = self
                    .count_rows(sql, [(*id).into(), (*cutoff).into()])
                    .await?;
                removed.add("agent_turns", count);
            }
        }
        Ok(())
    }
}
