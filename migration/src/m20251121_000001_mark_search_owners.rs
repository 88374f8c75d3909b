//! Prefixes the words of the search index with their owner's mark ([`marked`]), so that the cost of a search depends
//! only on the owner's own texts.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbErr, Statement, Value},
};

use crate::{
    progress,
    search_text::{capped, marked, owner_mark},
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Rows per batch: the whole table may not fit into memory.
const BATCH: usize = 500;

const ROWS: &str = "
    SELECT agent_search.id AS id, body, tenant_id, user_id
    FROM agent_search JOIN agent_conversations ON agent_conversations.id = conversation_id
    WHERE agent_search.id > $1 ORDER BY agent_search.id LIMIT $2";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        rewrite(manager, marked_once).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        rewrite(manager, unmarked).await
    }
}

/// The words with their marks. Idempotent, for words that a killed process has marked already. Capped, because the
/// marked words of a long text may exceed what PostgreSQL indexes.
fn marked_once(mark: &str, words: &str) -> String {
    let words = &*capped(words);
    match marked(mark, &unmarked(mark, words)) == words {
        true => words.to_owned(),
        false => marked(mark, words),
    }
}

/// The words without the marks that [`marked`] added.
fn unmarked(mark: &str, words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    let (mut rest, mut is_inside) = (words, false);
    while let Some(c) = rest.chars().next() {
        if c.is_alphanumeric() && !is_inside {
            rest = rest.strip_prefix(mark).unwrap_or(rest);
            is_inside = true;
            continue;
        }
        is_inside = c.is_alphanumeric();
        text.push(c);
        rest = &rest[c.len_utf8()..];
    }
    text
}

/// Rewrites the words of each row with a function of the owner's mark and the stored words.
async fn rewrite(
    manager: &SchemaManager<'_>,
    written: fn(&str, &str) -> String,
) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let backend = connection.get_database_backend();
    progress::expect(progress::rows_of(connection, "agent_search").await?);
    let mut last = i64::MIN;
    loop {
        let values: [Value; 2] = [last.into(), (BATCH as i64).into()];
        let select = Statement::from_sql_and_values(backend, ROWS, values);
        let rows = connection.query_all_raw(select).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut values: Vec<Value> = Vec::with_capacity(rows.len() * 2);
        for row in &rows {
            let (tenant, user): (String, String) =
                (row.try_get("", "tenant_id")?, row.try_get("", "user_id")?);
            let body: String = row.try_get("", "body")?;
            last = row.try_get("", "id")?;
            values.push(last.into());
            values.push(written(&owner_mark(&tenant, &user), &body).into());
        }
        let pairs: Vec<String> = (0..rows.len())
            .map(|row| format!("(CAST(${} AS bigint), ${})", row * 2 + 1, row * 2 + 2))
            .collect();
        let update = format!(
            "UPDATE agent_search SET body = fresh.column2 FROM (VALUES {}) AS fresh \
             WHERE agent_search.id = fresh.column1",
            pairs.join(", ")
        );
        let update = Statement::from_sql_and_values(backend, update, values);
        connection.execute_raw(update).await?;
        progress::advance(rows.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_down_leads_where_the_way_up_began() {
        for words in ["", "plan 京 都", "snake_case 3.14 don't", "abcd abcdabcd a"] {
            let marked = marked("abcd", words);
            assert_eq!(unmarked("abcd", &marked), words);
            assert_eq!(marked_once("abcd", &marked), marked);
        }
    }
}
