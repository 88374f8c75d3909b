//! Routes: which events of which tenants are queued for which webhook.
//!
//! Nodes register the routes of their configuration, and renew them. So during a rolling reload, the union of all
//! nodes' configurations applies, and routes that no node has any more expire.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Value};

use crate::{db::Database, error::Result};

/// Rows per statement.
const ROWS: usize = 100;

/// The number of lanes of an unknown webhook that are removed at a time.
const LANES: u64 = 200;

/// An event of a tenant that is sent to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebhookRoute {
    /// The tenant.
    pub tenant: String,
    /// The name of the event.
    pub event: &'static str,
    /// The name of the webhook.
    pub hook: String,
}

impl Database {
    /// Registers routes, and renews those that were not renewed for `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn register_webhooks(
        &self,
        mut routes: Vec<WebhookRoute>,
        after: Duration,
    ) -> Result<()> {
        let now = self.now();
        // A fixed lock order prevents deadlocks between nodes that renew the same rows.
        routes.sort_unstable();
        for routes in routes.chunks(ROWS) {
            let mut values: Vec<Value> = vec![(now - after).into(), now.into()];
            let mut rows = Vec::with_capacity(routes.len());
            for route in routes {
                let next = values.len() + 1;
                rows.push(format!("(${next}, ${}, ${}, $2)", next + 1, next + 2));
                values.extend([
                    route.tenant.as_str().into(),
                    route.event.into(),
                    route.hook.as_str().into(),
                ]);
            }
            let sql = format!(
                "INSERT INTO agent_webhook_routes (tenant_id, event, hook, seen_at) VALUES {} \
                 ON CONFLICT (tenant_id, event, hook) DO UPDATE SET seen_at = excluded.seen_at \
                 WHERE agent_webhook_routes.seen_at < $1",
                rows.join(", ")
            );
            self.writer
                .execute_raw(self.statement(&sql, &sql, values))
                .await?;
        }
        Ok(())
    }

    /// Removes the routes that no node has renewed for `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn expire_webhook_routes(&self, after: Duration) -> Result<()> {
        const EXPIRED: &str = "DELETE FROM agent_webhook_routes WHERE seen_at < $1";
        let before: DateTime<Utc> = self.now() - after;
        self.writer
            .execute_raw(self.statement(EXPIRED, EXPIRED, [before.into()]))
            .await?;
        Ok(())
    }

    /// Whether any node sends this event of the tenant to this webhook.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn is_webhook_routed(&self, tenant: &str, event: &str, hook: &str) -> Result<bool> {
        const ROUTE: &str =
            "SELECT 1 FROM agent_webhook_routes WHERE tenant_id = $1 AND event = $2 AND hook = $3";
        let values = [tenant.into(), event.into(), hook.into()];
        let row = self
            .reader
            .query_one_raw(self.statement(ROUTE, ROUTE, values))
            .await?;
        Ok(row.is_some())
    }

    /// Removes events that have waited longer than `after` for a webhook without routes, which no configuration has any
    /// more: at most one page per webhook. Returns the number of removed events.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn drop_unrouted_webhooks(&self, after: Duration) -> Result<u64> {
        const NEXT_HOOK: &str =
            "SELECT hook FROM agent_webhook_lanes WHERE hook > $1 ORDER BY hook LIMIT 1";
        const IS_ROUTED: &str = "SELECT 1 FROM agent_webhook_routes WHERE hook = $1 LIMIT 1";
        let (mut hook, mut dropped) = (String::new(), 0);
        loop {
            let next = self.statement(NEXT_HOOK, NEXT_HOOK, [hook.as_str().into()]);
            let Some(row) = self.reader.query_one_raw(next).await? else {
                return Ok(dropped);
            };
            hook = row.try_get("", "hook")?;
            let routed = self.statement(IS_ROUTED, IS_ROUTED, [hook.as_str().into()]);
            if self.reader.query_one_raw(routed).await?.is_some() {
                continue;
            }
            let before: DateTime<Utc> = self.now() - after;
            let mut old = self.webhooks_parked_before(&hook, before, LANES).await?;
            old.extend(self.webhooks_due_before(&hook, before, LANES).await?);
            for id in old {
                dropped += self.drop_webhook_lane(&hook, id, None).await?;
            }
        }
    }
}
