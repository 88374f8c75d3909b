//! Removal of the records of calls.

use sea_orm::{ConnectionTrait, Statement, Value};

use super::{Prune, PrunePlace, Pruned, cutoff};
use crate::{
    conversation::retention::Retention,
    db::{
        Database,
        removal::{self, Removed},
    },
    error::Result,
};

/// Records per transaction.
const CALLS: u64 = 500;

/// The tables of calls.
const CALL_TABLES: [&str; 2] = ["agent_title_calls", "agent_reply_calls"];

impl Database {
    /// Removes a batch of one tenant's calls, or moves on to the next tenant.
    pub(super) async fn prune_calls(
        &self,
        prune: &Prune<'_>,
        place: &mut PrunePlace,
    ) -> Result<Option<Pruned>> {
        let limits = |limits: Retention| limits.title_calls.is_some();
        if !prune.retentions.all().any(limits) {
            return Ok(None);
        }
        let Some(tenant) = self.next_tenant(place.tenant.as_deref()).await? else {
            return Ok(None);
        };
        let mut pruned = Pruned::default();
        if let Some(cutoff) = cutoff(self.now(), prune.retentions.of(&tenant).title_calls) {
            for table in CALL_TABLES {
                let old = "tenant_id = $1 AND created_at < $2";
                let values = || [Value::from(&tenant), cutoff.into()];
                if prune.is_dry {
                    let sql = format!("SELECT count(*) AS n FROM {table} WHERE {old}");
                    let count = self.count_rows(&sql, values()).await?;
                    pruned.removed.add(table, count);
                    continue;
                }
                let rows = &format!(
                    "id IN (SELECT id FROM {table} WHERE {old} ORDER BY created_at LIMIT {CALLS})"
                );
                let values = &values();
                let removed = self
                    .transaction(|tx| async move {
                        let mut removed = Removed::default();
                        removal::delete(&tx, table, rows, values, &mut removed).await?;
                        Ok((tx, removed))
                    })
                    .await?;
                pruned.removed.extend(&removed);
            }
        }
        let is_full = CALL_TABLES
            .iter()
            .any(|table| pruned.removed.of(table) >= CALLS);
        if prune.is_dry || !is_full {
            place.tenant = Some(tenant);
        }
        Ok(Some(pruned))
    }

    /// The next tenant that has calls.
    async fn next_tenant(&self, after: Option<&str>) -> Result<Option<String>> {
        let mut next: Option<String> = None;
        for table in CALL_TABLES {
            // One lookup in the index by tenant, however many calls a tenant has.
            let (condition, values) = match after {
                Some(after) => ("WHERE tenant_id > $1", vec![after.into()]),
                None => ("", Vec::new()),
            };
            let sql = format!("SELECT min(tenant_id) AS t FROM {table} {condition}");
            let backend = self.reader.get_database_backend();
            let statement = Statement::from_sql_and_values(backend, sql, values);
            let row = self.reader.query_one_raw(statement).await?;
            let found: Option<String> = row.map_or(Ok(None), |row| row.try_get("", "t"))?;
            next = match (next, found) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(next)
    }
}
