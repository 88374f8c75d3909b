//! Lanes, the queues of a conversation's events for one webhook: their claims, and the outcome of their events.
//!
//! A claim is a token and a lease, as for titles. A claimed lane's next try is due at the end of the lease, so a dead
//! node needs no other recovery. Each write is fenced by the token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, QueryResult, Value, prelude::Uuid};

use crate::{
    conversation::{ConversationId, Owner},
    db::{Database, guarded::Transaction},
    error::Result,
};

/// The maximum of each count in [`WebhookBacklog`].
const MAX_COUNTED: u64 = 10_000;

/// The claim of a conversation's queue for one webhook.
#[derive(Clone, Debug)]
pub struct WebhookLane {
    /// The webhook.
    pub hook: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// The conversation's owner.
    pub owner: Owner,
    /// The number of failed tries of its first event.
    pub attempts: u32,
    /// When the first of these tries failed.
    pub failing_since: Option<DateTime<Utc>>,
    token: Uuid,
}

/// A queued event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    /// The key of its row.
    pub number: i64,
    /// The event's id, the same in every try.
    pub id: Uuid,
    /// Its name.
    pub kind: String,
    /// The revision of the conversation that it announces.
    pub revision: i64,
    /// The message or the turn that it is about.
    pub subject: Option<Uuid>,
    /// When the change was made.
    pub at: DateTime<Utc>,
}

/// The backlog of a webhook. Each number counts conversations, up to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookBacklog {
    /// Conversations with events to send.
    pub queued: u64,
    /// Queued conversations whose last try failed.
    pub failing: u64,
    /// Conversations whose first event was given up.
    pub parked: u64,
    /// How long the oldest queued conversation has been due without a delivered event.
    pub oldest: Duration,
    /// Whether the receiver has answered that it is gone (410).
    pub is_gone: bool,
}

impl WebhookLane {
    fn of(row: &QueryResult, token: Uuid) -> Result<Self> {
        let attempts: i32 = row.try_get("", "attempts")?;
        Ok(Self {
            hook: row.try_get("", "hook")?,
            conversation: row.try_get("", "conversation_id")?,
            owner: Owner {
                tenant: row.try_get("", "tenant_id")?,
                user: row.try_get("", "user_id")?,
            },
            attempts: attempts.try_into().unwrap_or(0),
            failing_since: row.try_get("", "failing_since")?,
            token,
        })
    }

    /// The values of `hook = $1 AND conversation_id = $2 AND token = $3`.
    fn key(&self) -> [Value; 3] {
        [
            self.hook.as_str().into(),
            self.conversation.into(),
            self.token.into(),
        ]
    }
}

impl WebhookEvent {
    pub(super) fn of(row: &QueryResult) -> Result<Self> {
        Ok(Self {
            number: row.try_get("", "number")?,
            id: row.try_get("", "id")?,
            kind: row.try_get("", "event")?,
            revision: row.try_get("", "revision")?,
            subject: row.try_get("", "subject_id")?,
            at: row.try_get("", "created_at")?,
        })
    }
}

/// The first event of a lane.
pub(super) const FIRST: &str = "SELECT number, id, event, revision, subject_id, created_at FROM agent_webhook_events \
    WHERE hook = $1 AND conversation_id = $2 ORDER BY revision, rank, number LIMIT 1";

impl Database {
    /// Claims at most `limit` due lanes of a webhook for the duration of the lease; none while the receiver is gone.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn claim_webhook_lanes(
        &self,
        hook: &str,
        limit: u64,
        lease: Duration,
    ) -> Result<Vec<WebhookLane>> {
        // Reads first: on SQLite, a write would wait for all other writes.
        const DUE: &str = "SELECT 1 FROM agent_webhook_lanes WHERE hook = $1 AND parked_at IS NULL AND next_at <= $2 \
            AND NOT EXISTS (SELECT 1 FROM agent_webhook_gone WHERE hook = $1) ORDER BY next_at LIMIT 1";
        const CLAIM: &str = "UPDATE agent_webhook_lanes SET token = $1, next_at = $2 \
            WHERE (hook, conversation_id) IN (SELECT hook, conversation_id FROM agent_webhook_lanes \
                WHERE hook = $3 AND parked_at IS NULL AND next_at <= $4 ORDER BY next_at LIMIT $5 SKIP) \
            RETURNING hook, conversation_id, tenant_id, user_id, attempts, failing_since";
        let now = self.now();
        let due = self.statement(DUE, DUE, [hook.into(), now.into()]);
        if self.reader.query_one_raw(due).await?.is_none() {
            return Ok(Vec::new());
        }
        let token = Uuid::new_v4();
        let values = [
            token.into(),
            (now + lease).into(),
            hook.into(),
            now.into(),
            limit.into(),
        ];
        let claim = self.statement(
            &CLAIM.replace(" SKIP", ""),
            // Skips lanes that another transaction is filling or claiming.
            &CLAIM.replace("SKIP", "FOR UPDATE SKIP LOCKED"),
            values,
        );
        let rows = self.writer.query_all_raw(claim).await?;
        rows.iter().map(|row| WebhookLane::of(row, token)).collect()
    }

    /// The event that the lane sends next.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn first_webhook_event(&self, lane: &WebhookLane) -> Result<Option<WebhookEvent>> {
        let key = [lane.hook.as_str().into(), lane.conversation.into()];
        let first = self.statement(FIRST, FIRST, key);
        let row = self.reader.query_one_raw(first).await?;
        row.as_ref().map(WebhookEvent::of).transpose()
    }

    /// Removes a delivered event and renews the claim. Returns false if the claim is lost; the event then stays.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhook_delivered(
        &self,
        lane: &WebhookLane,
        event: &WebhookEvent,
        lease: Duration,
    ) -> Result<bool> {
        const RENEW: &str = "UPDATE agent_webhook_lanes \
            SET next_at = $4, attempts = 0, failing_since = NULL, failure = NULL \
            WHERE hook = $1 AND conversation_id = $2 AND token = $3";
        const REMOVE: &str = "DELETE FROM agent_webhook_events WHERE number = $1";
        self.transaction(|tx| async move {
            let until = self.now() + lease;
            let values = lane.key().into_iter().chain([until.into()]);
            let renewed = tx.execute_raw(self.statement(RENEW, RENEW, values)).await?;
            let is_ours = renewed.rows_affected() > 0;
            if is_ours {
                tx.execute_raw(self.statement(REMOVE, REMOVE, [event.number.into()]))
                    .await?;
            }
            Ok((tx, is_ours))
        })
        .await
    }

    /// Stores a failed try and ends the claim. The next try is due at `until`; `None` parks the lane.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhook_failed(
        &self,
        lane: &WebhookLane,
        failure: &str,
        until: Option<DateTime<Utc>>,
    ) -> Result<()> {
        const FAIL: &str = "UPDATE agent_webhook_lanes SET token = NULL, attempts = attempts + 1, \
            failing_since = COALESCE(failing_since, $4), failure = $5, next_at = $6, parked_at = $7 \
            WHERE hook = $1 AND conversation_id = $2 AND token = $3";
        let now = self.now();
        let parked_at = until.is_none().then_some(now);
        let values = lane.key().into_iter().chain([
            now.into(),
            failure.into(),
            until.unwrap_or(now).into(),
            parked_at.into(),
        ]);
        self.writer
            .execute_raw(self.statement(FAIL, FAIL, values))
            .await?;
        Ok(())
    }

    /// Ends the claim without an outcome. The lane is due again after `due_in`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn release_webhook_lane(&self, lane: &WebhookLane, due_in: Duration) -> Result<()> {
        let next_at = self.now() + due_in;
        self.writer
            .execute_raw(self.released(lane, next_at))
            .await?;
        Ok(())
    }

    fn released(&self, lane: &WebhookLane, next_at: DateTime<Utc>) -> sea_orm::Statement {
        const RELEASE: &str = "UPDATE agent_webhook_lanes SET token = NULL, next_at = $4 \
            WHERE hook = $1 AND conversation_id = $2 AND token = $3";
        let values = lane.key().into_iter().chain([next_at.into()]);
        self.statement(RELEASE, RELEASE, values)
    }

    /// Ends the claim, and removes the lane if it has no events.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn close_webhook_lane(&self, lane: &WebhookLane) -> Result<()> {
        self.transaction(|tx| async move {
            // Locks the lane: a concurrent event waits for the lock, then creates a new lane.
            let released = tx.execute_raw(self.released(lane, self.now())).await?;
            if released.rows_affected() > 0 {
                self.remove_empty_lane(&tx, &lane.hook, lane.conversation)
                    .await?;
            }
            Ok((tx, ()))
        })
        .await
    }

    /// Removes a lane that the transaction has locked, if it has no events. Returns whether it did.
    pub(super) async fn remove_empty_lane(
        &self,
        tx: &Transaction,
        hook: &str,
        conversation: ConversationId,
    ) -> Result<bool> {
        const REMOVE: &str =
            "DELETE FROM agent_webhook_lanes WHERE hook = $1 AND conversation_id = $2";
        let key = || [hook.into(), conversation.into()];
        let first = self.statement(FIRST, FIRST, key());
        let is_empty = tx.query_one_raw(first).await?.is_none();
        if is_empty {
            tx.execute_raw(self.statement(REMOVE, REMOVE, key()))
                .await?;
        }
        Ok(is_empty)
    }

    /// Stores that the receiver of a webhook is gone: it gets no events until an operator retries the webhook.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhook_is_gone(&self, hook: &str) -> Result<()> {
        const GONE: &str = "INSERT INTO agent_webhook_gone (hook, since) VALUES ($1, $2) ON CONFLICT (hook) DO NOTHING";
        let values = [hook.into(), self.now().into()];
        self.writer
            .execute_raw(self.statement(GONE, GONE, values))
            .await?;
        Ok(())
    }

    /// The backlog of a webhook.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn webhook_backlog(&self, hook: &str) -> Result<WebhookBacklog> {
        // A try moves `next_at` ahead; a failing lane counts as due since its first try.
        const QUEUED: &str = "SELECT COUNT(*) AS queued, COUNT(failing_since) AS failing, \
            MIN(COALESCE(failing_since, next_at)) AS due_since FROM \
            (SELECT failing_since, next_at FROM agent_webhook_lanes \
                WHERE hook = $1 AND parked_at IS NULL ORDER BY next_at LIMIT $2) AS counted";
        const PARKED: &str = "SELECT COUNT(*) AS parked FROM \
            (SELECT 1 AS one FROM agent_webhook_lanes WHERE hook = $1 AND parked_at IS NOT NULL LIMIT $2) AS counted";
        const GONE: &str = "SELECT 1 FROM agent_webhook_gone WHERE hook = $1";
        let values = || [hook.into(), MAX_COUNTED.into()];
        let mut backlog = WebhookBacklog::default();
        let count = |row: &QueryResult, column| -> Result<u64> {
            let count: i64 = row.try_get("", column)?;
            Ok(count.try_into().unwrap_or(0))
        };
        let queued = self.statement(QUEUED, QUEUED, values());
        if let Some(row) = self.reader.query_one_raw(queued).await? {
            backlog.queued = count(&row, "queued")?;
            backlog.failing = count(&row, "failing")?;
            let due_since: Option<DateTime<Utc>> = row.try_get("", "due_since")?;
            let oldest = due_since.and_then(|since| (self.now() - since).to_std().ok());
            backlog.oldest = oldest.unwrap_or_default();
        }
        let parked = self.statement(PARKED, PARKED, values());
        if let Some(row) = self.reader.query_one_raw(parked).await? {
            backlog.parked = count(&row, "parked")?;
        }
        let gone = self.statement(GONE, GONE, [hook.into()]);
        backlog.is_gone = self.reader.query_one_raw(gone).await?.is_some();
        Ok(backlog)
    }
}
