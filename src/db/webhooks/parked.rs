//! Operators' commands for lanes whose first event was given up: list, retry, or drop that event.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Value};
use serde::Serialize;

use super::lanes::FIRST;
use crate::{conversation::ConversationId, db::Database, error::Result};

/// A conversation with undelivered events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedLane {
    /// The webhook.
    pub hook: String,
    /// The conversation.
    pub conversation_id: String,
    /// Its tenant.
    pub tenant: String,
    /// The name of the event that fails.
    pub event: Option<String>,
    /// The revision that this event announces.
    pub revision: Option<i64>,
    /// The number of its failed tries.
    pub attempts: i32,
    /// Why the last try failed.
    pub failure: Option<String>,
    /// When the first try failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// When the event was given up; `None` if it is still being retried.
    pub parked_at: Option<DateTime<Utc>>,
    /// The earliest time of the next try.
    pub next_at: DateTime<Utc>,
}

impl Database {
    /// A page of the lanes whose events fail or were given up, sorted by webhook and conversation, after `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn failing_webhooks(
        &self,
        hook: Option<&str>,
        after: Option<(&str, ConversationId)>,
        limit: u64,
    ) -> Result<Vec<(ConversationId, ParkedLane)>> {
        let (mut conditions, mut values): (_, Vec<Value>) =
            (vec!["failing_since IS NOT NULL".to_owned()], Vec::new());
        if let Some(hook) = hook {
            values.push(hook.into());
            conditions.push(format!("hook = ${}", values.len()));
        }
        if let Some((hook, conversation)) = after {
            values.extend([hook.into(), conversation.into()]);
            let count = values.len();
            conditions.push(format!(
                "(hook, conversation_id) > (${}, ${count})",
                count - 1
            ));
        }
        values.push(limit.into());
        let sql = format!(
            "SELECT hook, conversation_id, tenant_id, attempts, failure, failing_since, parked_at, next_at \
             FROM agent_webhook_lanes WHERE {} ORDER BY hook, conversation_id LIMIT ${}",
            conditions.join(" AND "),
            values.len()
        );
        let mut lanes = Vec::new();
        for row in self
            .reader
            .query_all_raw(self.statement(&sql, &sql, values))
            .await?
        {
            let hook: String = row.try_get("", "hook")?;
            let id: ConversationId = row.try_get("", "conversation_id")?;
            let first = self.statement(FIRST, FIRST, [hook.as_str().into(), id.into()]);
            let first = self.reader.query_one_raw(first).await?;
            let lane = ParkedLane {
                hook,
                conversation_id: id.to_string(),
                tenant: row.try_get("", "tenant_id")?,
                event: first
                    .as_ref()
                    .map(|row| row.try_get("", "event"))
                    .transpose()?,
                revision: first
                    .as_ref()
                    .map(|row| row.try_get("", "revision"))
                    .transpose()?,
                attempts: row.try_get("", "attempts")?,
                failure: row.try_get("", "failure")?,
                failing_since: row.try_get("", "failing_since")?,
                parked_at: row.try_get("", "parked_at")?,
                next_at: row.try_get("", "next_at")?,
            };
            lanes.push((id, lane));
        }
        Ok(lanes)
    }

    /// Makes a lane due if its events fail or were given up. Returns whether it was such a lane.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn retry_webhook_lane(&self, hook: &str, id: ConversationId) -> Result<bool> {
        const RETRY: &str = "UPDATE agent_webhook_lanes SET token = NULL, attempts = 0, failing_since = NULL, \
            failure = NULL, parked_at = NULL, next_at = $3 \
            WHERE hook = $1 AND conversation_id = $2 AND failing_since IS NOT NULL";
        let values = [hook.into(), id.into(), self.now().into()];
        let retried = self
            .writer
            .execute_raw(self.statement(RETRY, RETRY, values))
            .await?;
        Ok(retried.rows_affected() > 0)
    }

    /// Stores that the receiver of a webhook is back. Returns whether it was gone.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhook_is_back(&self, hook: &str) -> Result<bool> {
        const BACK: &str = "DELETE FROM agent_webhook_gone WHERE hook = $1";
        let back = self
            .writer
            .execute_raw(self.statement(BACK, BACK, [hook.into()]))
            .await?;
        Ok(back.rows_affected() > 0)
    }

    /// Removes a lane's event that was given up, so that later events are sent. Returns whether the lane had one.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn drop_parked_webhook(&self, hook: &str, id: ConversationId) -> Result<bool> {
        const RESUME: &str = "UPDATE agent_webhook_lanes SET token = NULL, attempts = 0, failing_since = NULL, \
            failure = NULL, parked_at = NULL, next_at = $3 \
            WHERE hook = $1 AND conversation_id = $2 AND parked_at IS NOT NULL";
        const REMOVE: &str = "DELETE FROM agent_webhook_events WHERE number = $1";
        self.transaction(|tx| async move {
            let values = [hook.into(), id.into(), self.now().into()];
            let resumed = tx
                .execute_raw(self.statement(RESUME, RESUME, values))
                .await?;
            if resumed.rows_affected() == 0 {
                return Ok((tx, false));
            }
            let first = self.statement(FIRST, FIRST, [hook.into(), id.into()]);
            if let Some(row) = tx.query_one_raw(first).await? {
                let number: i64 = row.try_get("", "number")?;
                tx.execute_raw(self.statement(REMOVE, REMOVE, [number.into()]))
                    .await?;
            }
            self.remove_empty_lane(&tx, hook, id).await?;
            Ok((tx, true))
        })
        .await
    }

    /// The lanes of a webhook whose first event was given up before this time: at most `limit`, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhooks_parked_before(
        &self,
        hook: &str,
        before: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<ConversationId>> {
        const OLD: &str = "SELECT conversation_id FROM agent_webhook_lanes \
            WHERE hook = $1 AND parked_at IS NOT NULL AND parked_at < $2 ORDER BY parked_at LIMIT $3";
        self.lanes_before(OLD, hook, before, limit).await
    }

    /// The undelivered lanes of a webhook that were due before this time: at most `limit`, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhooks_due_before(
        &self,
        hook: &str,
        before: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<ConversationId>> {
        const OLD: &str = "SELECT conversation_id FROM agent_webhook_lanes \
            WHERE hook = $1 AND parked_at IS NULL AND next_at < $2 ORDER BY next_at LIMIT $3";
        self.lanes_before(OLD, hook, before, limit).await
    }

    async fn lanes_before(
        &self,
        select: &str,
        hook: &str,
        before: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<ConversationId>> {
        let values = [hook.into(), before.into(), limit.into()];
        let rows = self
            .reader
            .query_all_raw(self.statement(select, select, values))
            .await?;
        let ids = rows.iter().map(|row| row.try_get("", "conversation_id"));
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Removes a lane with all of its events; with `parked_before`, only if its first event was given up before that
    /// time. Returns the number of removed events.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn drop_webhook_lane(
        &self,
        hook: &str,
        id: ConversationId,
        parked_before: Option<DateTime<Utc>>,
    ) -> Result<u64> {
        const LOCK: &str =
            "UPDATE agent_webhook_lanes SET token = NULL WHERE hook = $1 AND conversation_id = $2";
        const LOCK_PARKED: &str = "UPDATE agent_webhook_lanes SET token = NULL \
            WHERE hook = $1 AND conversation_id = $2 AND parked_at < $3";
        const REMOVE: &str =
            "DELETE FROM agent_webhook_events WHERE hook = $1 AND conversation_id = $2";
        self.transaction(|tx| async move {
            let key = || [hook.into(), id.into()];
            let lock = match parked_before {
                Some(before) => {
                    let values = key().into_iter().chain([before.into()]);
                    self.statement(LOCK_PARKED, LOCK_PARKED, values)
                }
                None => self.statement(LOCK, LOCK, key()),
            };
            if tx.execute_raw(lock).await?.rows_affected() == 0 {
                return Ok((tx, 0));
            }
            let removed = tx
                .execute_raw(self.statement(REMOVE, REMOVE, key()))
                .await?;
            self.remove_empty_lane(&tx, hook, id).await?;
            Ok((tx, removed.rows_affected()))
        })
        .await
    }
}
