//! The outbox of webhooks, and the triggers that fill it.
//!
//! Triggers instead of our own statements, so that every writer announces its change in the same transaction, including
//! a node of the previous version, a node with another configuration, an import and a backfill. A tenant without
//! webhooks costs no statement. `agent_webhook_routes` lists the wanted events, and is empty without webhooks.
//!
//! A lane is a conversation's queue for one webhook: it is claimed, retried and parked as a whole, so events of a
//! conversation stay in order. Each event locks the lane's row before it is inserted. So an empty lane can be removed
//! under the same lock, and no event is left without a lane. `next_at` is also the end of a claim's lease: a claim
//! moves it ahead, and `token` is its fence.
//!
//! Within a conversation events are sorted by revision, then by the rank of the kind, then by number. The
//! conversation's row is locked by each transaction that raises its revision, so this is the order of commits.
//!
//! PostgreSQL: triggers have neither a condition nor a list of columns, because either would forbid changing the
//! columns' types. The writing function has its owner's privileges, because the roles of running nodes may lack
//! privileges on tables that a migration has just created.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: &str = "
    CREATE TABLE agent_webhook_routes (
        tenant_id varchar(128) NOT NULL,
        event varchar(32) NOT NULL,
        hook varchar(64) NOT NULL,
        seen_at TIME NOT NULL,
        PRIMARY KEY (tenant_id, event, hook)
    );
    CREATE TABLE agent_webhook_gone (
        hook varchar(64) NOT NULL PRIMARY KEY,
        since TIME NOT NULL
    );
    CREATE TABLE agent_webhook_lanes (
        hook varchar(64) NOT NULL,
        conversation_id UUID NOT NULL,
        tenant_id varchar(128) NOT NULL,
        user_id varchar(128) NOT NULL,
        next_at TIME NOT NULL,
        token UUID,
        attempts integer NOT NULL DEFAULT 0,
        failing_since TIME,
        failure varchar(64),
        parked_at TIME,
        PRIMARY KEY (hook, conversation_id)
    );
    CREATE INDEX agent_webhook_lanes_due ON agent_webhook_lanes (hook, next_at) WHERE parked_at IS NULL;
    CREATE INDEX agent_webhook_lanes_parked ON agent_webhook_lanes (hook, parked_at) WHERE parked_at IS NOT NULL;
    CREATE TABLE agent_webhook_events (
        number SERIAL_KEY,
        id UUID NOT NULL,
        hook varchar(64) NOT NULL,
        conversation_id UUID NOT NULL,
        tenant_id varchar(128) NOT NULL,
        user_id varchar(128) NOT NULL,
        event varchar(32) NOT NULL,
        revision bigint NOT NULL,
        rank smallint NOT NULL,
        subject_id UUID,
        created_at TIME NOT NULL
    );
    CREATE INDEX agent_webhook_events_in_order ON agent_webhook_events (hook, conversation_id, revision, rank, number);";

const NAMES: [&str; 4] = [
    "agent_webhook_events",
    "agent_webhook_lanes",
    "agent_webhook_gone",
    "agent_webhook_routes",
];

/// The events: the table and the kind of trigger, the name, the rank within a revision, the condition, and the row that
/// the event is about besides the conversation. A deleted conversation announces nothing further; an import announces
/// neither its new conversations nor their messages.
#[rustfmt::skip]
const EVENTS: [Announced; 6] = [
    Announced { name: "created", on: "INSERT ON agent_conversations", event: "conversation.created", rank: 0,
        condition: "new.published_revision < new.revision", subject: "NULL" },
    Announced { name: "retitled", on: "UPDATE OF display_name, status ON agent_conversations", event: "conversation.title_changed",
        rank: 3, condition: "new.status = 'active' AND new.display_name IS NOT old.display_name", subject: "NULL" },
    Announced { name: "deleted", on: "UPDATE OF status ON agent_conversations", event: "conversation.deleted", rank: 4,
        condition: "new.status = 'deleted' AND old.status <> 'deleted'", subject: "NULL" },
    Announced { name: "stored", on: "INSERT ON agent_messages", event: "conversation.message_stored", rank: 1,
        condition: "true", subject: "new.id" },
    Announced { name: "edited", on: "UPDATE OF created_at ON agent_messages", event: "conversation.message_stored", rank: 1,
        condition: "new.created_at <> old.created_at", subject: "new.id" },
    Announced { name: "ended", on: "UPDATE OF reply_status ON agent_turns", event: "conversation.reply_ended", rank: 2,
        condition: "old.reply_status = 'running' AND new.reply_status <> 'running'", subject: "new.message_id" },
];

struct Announced {
    name: &'static str,
    on: &'static str,
    event: &'static str,
    rank: u8,
    condition: &'static str,
    subject: &'static str,
}

impl Announced {
    /// The trigger on SQLite.
    fn sqlite(&self) -> String {
        let Self {
            name,
            on,
            event,
            rank,
            condition,
            subject,
        } = self;
        // The conversation's row, and how it is found.
        let (row, join) = match on.ends_with("agent_conversations") {
            true => ("new", String::new()),
            false => (
                "conv",
                format!(
                    "JOIN agent_conversations AS conv ON conv.id = new.conversation_id AND conv.status = 'active'{}",
                    self.of_imports()
                ),
            ),
        };
        let wanted = format!(
            "FROM agent_webhook_routes AS route {join}
             WHERE route.tenant_id = {row}.tenant_id AND route.event = '{event}'"
        );
        format!(
            "CREATE TRIGGER agent_webhook_{name} AFTER {on} WHEN {condition} BEGIN
                INSERT INTO agent_webhook_lanes (hook, conversation_id, tenant_id, user_id, next_at)
                    SELECT route.hook, {row}.id, {row}.tenant_id, {row}.user_id, {row}.updated_at {wanted}
                    ON CONFLICT (hook, conversation_id) DO NOTHING;
                INSERT INTO agent_webhook_events
                    (id, hook, conversation_id, tenant_id, user_id, event, revision, rank, subject_id, created_at)
                    SELECT randomblob(16), route.hook, {row}.id, {row}.tenant_id, {row}.user_id, '{event}',
                        {row}.revision, {rank}, {subject}, {row}.updated_at {wanted};
            END;"
        )
    }

    /// The condition that leaves out the messages of an import: a new conversation counts as published.
    fn of_imports(&self) -> &'static str {
        match self.on.ends_with("agent_messages") {
            true => " AND conv.published_revision < conv.revision",
            false => "",
        }
    }
}

/// Queues an event for each webhook that has a route for it. `%SCHEMA%` is the schema of the tables.
const POSTGRES_QUEUE: &str = "
    CREATE FUNCTION agent_webhook_queue(
        tenant text, person text, conversation uuid, at timestamptz, revision bigint, kind text, rank integer, subject uuid
    ) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = %SCHEMA%, pg_temp AS $$
    BEGIN
        INSERT INTO agent_webhook_lanes (hook, conversation_id, tenant_id, user_id, next_at)
            SELECT route.hook, conversation, tenant, person, at FROM agent_webhook_routes AS route
            WHERE route.tenant_id = tenant AND route.event = kind ORDER BY route.hook
            ON CONFLICT (hook, conversation_id) DO UPDATE SET tenant_id = excluded.tenant_id;
        INSERT INTO agent_webhook_events
            (id, hook, conversation_id, tenant_id, user_id, event, revision, rank, subject_id, created_at)
            SELECT gen_random_uuid(), route.hook, conversation, tenant, person, kind, revision, rank, subject,
                at FROM agent_webhook_routes AS route
            WHERE route.tenant_id = tenant AND route.event = kind ORDER BY route.hook;
    END $$;
    CREATE FUNCTION agent_webhook_queue_of(of_conversation uuid, kind text, rank integer, subject uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = %SCHEMA%, pg_temp AS $$
    BEGIN
        IF NOT EXISTS (SELECT FROM agent_webhook_routes) THEN
            RETURN;
        END IF;
        PERFORM agent_webhook_queue(
            conv.tenant_id, conv.user_id, conv.id, conv.updated_at, conv.revision, kind, rank, subject
        ) FROM agent_conversations AS conv WHERE conv.id = of_conversation AND conv.status = 'active'
            AND (kind <> 'conversation.message_stored' OR conv.published_revision < conv.revision);
    END $$;";

const POSTGRES_TRIGGERS: &str = "
    CREATE FUNCTION agent_webhook_of_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        kind text;
        rank integer;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF new.published_revision < new.revision THEN
                kind := 'conversation.created';
                rank := 0;
            END IF;
        ELSIF new.status = 'deleted' THEN
            IF old.status <> 'deleted' THEN
                kind := 'conversation.deleted';
                rank := 4;
            END IF;
        ELSIF new.display_name IS DISTINCT FROM old.display_name THEN
            kind := 'conversation.title_changed';
            rank := 3;
        END IF;
        IF kind IS NOT NULL THEN
            PERFORM agent_webhook_queue(
                new.tenant_id, new.user_id, new.id, new.updated_at, new.revision, kind, rank, NULL
            );
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION agent_webhook_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            PERFORM agent_webhook_queue_of(new.conversation_id, 'conversation.message_stored', 1, new.id);
        ELSIF new.created_at <> old.created_at THEN
            PERFORM agent_webhook_queue_of(new.conversation_id, 'conversation.message_stored', 1, new.id);
        END IF;
        RETURN NULL;
    END $$;
    CREATE FUNCTION agent_webhook_of_turn() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF old.reply_status = 'running' AND new.reply_status <> 'running' THEN
            PERFORM agent_webhook_queue_of(new.conversation_id, 'conversation.reply_ended', 2, new.message_id);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER agent_webhook_of_conversation AFTER INSERT OR UPDATE ON agent_conversations
        FOR EACH ROW EXECUTE FUNCTION agent_webhook_of_conversation();
    CREATE TRIGGER agent_webhook_of_message AFTER INSERT OR UPDATE ON agent_messages
        FOR EACH ROW EXECUTE FUNCTION agent_webhook_of_message();
    CREATE TRIGGER agent_webhook_of_turn AFTER UPDATE ON agent_turns
        FOR EACH ROW EXECUTE FUNCTION agent_webhook_of_turn();";

const DROP_POSTGRES: &str = "
    DROP TRIGGER agent_webhook_of_turn ON agent_turns;
    DROP TRIGGER agent_webhook_of_message ON agent_messages;
    DROP TRIGGER agent_webhook_of_conversation ON agent_conversations;
    DROP FUNCTION agent_webhook_of_turn();
    DROP FUNCTION agent_webhook_of_message();
    DROP FUNCTION agent_webhook_of_conversation();
    DROP FUNCTION agent_webhook_queue_of(uuid, text, integer, uuid);
    DROP FUNCTION agent_webhook_queue(text, text, uuid, timestamptz, bigint, text, integer, uuid);";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let is_postgres = connection.get_database_backend() == DbBackend::Postgres;
        let (time, uuid, key) = match is_postgres {
            true => (
                "timestamp with time zone",
                "uuid",
                "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            ),
            false => (
                "timestamp_with_timezone_text",
                "uuid_text",
                "INTEGER PRIMARY KEY AUTOINCREMENT",
            ),
        };
        let tables = TABLES
            .replace(" TIME", &format!(" {time}"))
            .replace(" UUID", &format!(" {uuid}"))
            .replace("SERIAL_KEY", key);
        connection.execute_unprepared(&tables).await?;
        if !is_postgres {
            for event in &EVENTS {
                connection.execute_unprepared(&event.sqlite()).await?;
            }
            return Ok(());
        }
        let schema = connection
            .query_one_raw(sea_orm_migration::sea_orm::Statement::from_string(
                DbBackend::Postgres,
                "SELECT quote_ident(current_schema()) AS schema",
            ))
            .await?
            .ok_or_else(|| DbErr::RecordNotFound("the current schema".into()))?;
        let schema: String = schema.try_get("", "schema")?;
        let queue = POSTGRES_QUEUE.replace("%SCHEMA%", &schema);
        connection.execute_unprepared(&queue).await?;
        connection.execute_unprepared(POSTGRES_TRIGGERS).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() == DbBackend::Postgres {
            connection.execute_unprepared(DROP_POSTGRES).await?;
        } else {
            for event in &EVENTS {
                let drop = format!("DROP TRIGGER agent_webhook_{}", event.name);
                connection.execute_unprepared(&drop).await?;
            }
        }
        for table in NAMES {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        Ok(())
    }
}
