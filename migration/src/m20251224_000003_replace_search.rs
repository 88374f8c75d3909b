//! On PostgreSQL, a view replaces the table `agent_search`, with the same privileges. It has the columns that the
//! previous version reads and writes, so its nodes keep working.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

use crate::{
    m20251224_000001_create_search_texts::{COPIED, index_again},
    m20251224_000002_fill_search_texts::fill,
    search_text::LEXEMES,
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const VIEW: &str = "
    LOCK TABLE agent_search IN ACCESS EXCLUSIVE MODE;
    SELECT setval(pg_get_serial_sequence('agent_search_texts', 'id'),
        (SELECT coalesce(max(id), 0) + 1 FROM agent_search_texts), false);
    DO $$
    DECLARE
        owner oid; rights aclitem[]; one record;
    BEGIN
        SELECT relowner, relacl INTO owner, rights FROM pg_class WHERE oid = 'agent_search'::regclass;
        DROP TABLE agent_search;
        DROP FUNCTION agent_search_copied();
        CREATE VIEW agent_search AS
            SELECT id, conversation_id, message_id, body, {lexemes} AS words FROM agent_search_texts;
        FOR one IN SELECT grantee, privilege_type FROM aclexplode(rights) WHERE grantee <> owner LOOP
            EXECUTE format('GRANT %s ON agent_search TO %s', one.privilege_type,
                CASE one.grantee WHEN 0 THEN 'PUBLIC' ELSE one.grantee::regrole::text END);
        END LOOP;
    END $$;";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() == DbBackend::Postgres {
            let view = VIEW.replace("{lexemes}", LEXEMES);
            connection.execute_unprepared(&view).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        connection
            .execute_unprepared("DROP VIEW agent_search; TRUNCATE agent_search_texts")
            .await?;
        index_again(manager).await?;
        connection
            .execute_unprepared(
                "CREATE INDEX agent_search_by_owner ON agent_search (left(body, 4), id)",
            )
            .await?;
        // The rows have new ids now. Copies them again, so that `up` finds them as the preceding migration leaves them.
        connection.execute_unprepared(COPIED).await?;
        fill(connection).await
    }
}
