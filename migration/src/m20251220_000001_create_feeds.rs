//! The feeds of changed conversations: each feed numbers the changes that it covers in the order of their commits.
//!
//! A feed is a row of `agent_feeds`: of one user, or of a whole tenant (`user_id` is empty; user ids never are). A
//! conversation's newest change in a feed is a row of `agent_changes`. Triggers write both, so that every writer
//! numbers its changes, including the previous version and a statement by hand.
//!
//! **Why no number can be skipped.** A change takes the next number by updating the feed's row. The row's lock is held
//! until the commit, so the next number is taken after the commit of the one before, and a rollback gives its number
//! back. A reader that sees a number therefore sees all smaller ones. A sequence would not do: two transactions can
//! commit in a different order than they took their numbers.
//!
//! **Why deferred.** On PostgreSQL the triggers run at the commit. The feed's row is then the last lock that a
//! transaction takes, so it cannot be part of a deadlock, and it is held for the commit alone instead of for the
//! statements that follow. A transaction with conversations of several owners takes several such locks: `db/feed.rs`
//! orders them. SQLite has one writer, and numbers at once. One PostgreSQL transaction should change at most some
//! thousands of conversations of one feed: each change creates a version of the feed's row, and the next change scans
//! all of them. Imports store a hundred per transaction.
//!
//! **Existing rows** are not numbered: a conversation without a row in `agent_changes` has not changed since the feed
//! began. `created` is the number of the change that created the conversation, or 0 if it is older than its feed.
//!
//! The functions run with the privileges of the role that migrates, because the roles of the previous version's nodes
//! have none on the new tables.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const SQLITE: &str = "
    CREATE TABLE agent_feeds (
        id INTEGER PRIMARY KEY,
        tenant_id varchar(128) NOT NULL,
        user_id varchar(128) NOT NULL,
        position bigint NOT NULL DEFAULT 0,
        floor bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL,
        UNIQUE (tenant_id, user_id)
    );
    CREATE TABLE agent_changes (
        feed_id bigint NOT NULL,
        conversation_id uuid_text NOT NULL,
        change bigint NOT NULL,
        created bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (feed_id, conversation_id)
    ) WITHOUT ROWID;
    CREATE INDEX agent_changes_in_order ON agent_changes (feed_id, change);
    CREATE TRIGGER agent_feed_inserted AFTER INSERT ON agent_conversations BEGIN
        INSERT INTO agent_feeds (tenant_id, user_id, position, epoch)
            VALUES (new.tenant_id, new.user_id, 1, abs(random() % 9007199254740991))
            ON CONFLICT (tenant_id, user_id) DO UPDATE SET position = position + 1;
        UPDATE agent_feeds SET position = position + 1 WHERE tenant_id = new.tenant_id AND user_id = '';
        INSERT INTO agent_changes (feed_id, conversation_id, change, created)
            SELECT id, new.id, position, position FROM agent_feeds
            WHERE tenant_id = new.tenant_id AND user_id IN ('', new.user_id)
            ON CONFLICT (feed_id, conversation_id) DO UPDATE SET change = excluded.change;
    END;
    CREATE TRIGGER agent_feed_updated AFTER UPDATE OF revision ON agent_conversations
    WHEN new.revision <> old.revision BEGIN
        INSERT INTO agent_feeds (tenant_id, user_id, position, epoch)
            VALUES (new.tenant_id, new.user_id, 1, abs(random() % 9007199254740991))
            ON CONFLICT (tenant_id, user_id) DO UPDATE SET position = position + 1;
        UPDATE agent_feeds SET position = position + 1 WHERE tenant_id = new.tenant_id AND user_id = '';
        INSERT INTO agent_changes (feed_id, conversation_id, change)
            SELECT id, new.id, position FROM agent_feeds
            WHERE tenant_id = new.tenant_id AND user_id IN ('', new.user_id)
            ON CONFLICT (feed_id, conversation_id) DO UPDATE SET change = excluded.change;
    END;
    CREATE TRIGGER agent_feed_removed AFTER DELETE ON agent_conversations BEGIN
        UPDATE agent_feeds SET
            floor = CASE old.status
                WHEN 'deleted' THEN max(floor, coalesce((SELECT change FROM agent_changes
                    WHERE feed_id = agent_feeds.id AND conversation_id = old.id), 0))
                ELSE position + 1
            END,
            position = position + (old.status <> 'deleted')
            WHERE tenant_id = old.tenant_id AND user_id IN ('', old.user_id);
        DELETE FROM agent_changes WHERE conversation_id = old.id AND feed_id IN
            (SELECT id FROM agent_feeds WHERE tenant_id = old.tenant_id AND user_id IN ('', old.user_id));
    END;
    CREATE TRIGGER agent_feed_ended AFTER DELETE ON agent_feeds BEGIN
        DELETE FROM agent_changes WHERE feed_id = old.id;
    END;";

/// HOT updates of a feed's row need room on its page: each change creates a new version.
const POSTGRES: &str = "
    CREATE TABLE agent_feeds (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant_id varchar(128) NOT NULL,
        user_id varchar(128) NOT NULL,
        position bigint NOT NULL DEFAULT 0,
        floor bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL,
        UNIQUE (tenant_id, user_id)
    ) WITH (fillfactor = 70);
    CREATE TABLE agent_changes (
        feed_id bigint NOT NULL,
        conversation_id uuid NOT NULL,
        change bigint NOT NULL,
        created bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (feed_id, conversation_id)
    );
    CREATE INDEX agent_changes_in_order ON agent_changes (feed_id, change);
    CREATE FUNCTION agent_feed_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    DECLARE feed bigint; number bigint;
    BEGIN
        -- Who begins the feed of the tenant takes this lock alone: it waits for those who did not find that feed.
        PERFORM pg_advisory_xact_lock_shared(1953067639, hashtext(NEW.tenant_id));
        -- The order of the locks: the tenant's feed first.
        UPDATE agent_feeds SET position = position + 1 WHERE tenant_id = NEW.tenant_id AND user_id = ''
            RETURNING id, position INTO feed, number;
        IF FOUND THEN
            INSERT INTO agent_changes (feed_id, conversation_id, change, created)
                VALUES (feed, NEW.id, number, CASE TG_OP WHEN 'INSERT' THEN number ELSE 0 END)
                ON CONFLICT (feed_id, conversation_id) DO UPDATE SET change = EXCLUDED.change;
        END IF;
        UPDATE agent_feeds SET position = position + 1
            WHERE tenant_id = NEW.tenant_id AND user_id = NEW.user_id
            RETURNING id, position INTO feed, number;
        IF NOT FOUND THEN
            INSERT INTO agent_feeds (tenant_id, user_id, position, epoch)
                VALUES (NEW.tenant_id, NEW.user_id, 1, (random() * 9007199254740991)::bigint)
                ON CONFLICT (tenant_id, user_id) DO UPDATE SET position = agent_feeds.position + 1
                RETURNING id, position INTO feed, number;
        END IF;
        INSERT INTO agent_changes (feed_id, conversation_id, change, created)
            VALUES (feed, NEW.id, number, CASE TG_OP WHEN 'INSERT' THEN number ELSE 0 END)
            ON CONFLICT (feed_id, conversation_id) DO UPDATE SET change = EXCLUDED.change;
        RETURN NULL;
    END $$;
    CREATE FUNCTION agent_feed_removal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    DECLARE feed bigint; gone bigint;
    BEGIN
        FOR feed IN SELECT id FROM agent_feeds WHERE tenant_id = OLD.tenant_id AND user_id IN ('', OLD.user_id)
            ORDER BY user_id FOR UPDATE
        LOOP
            DELETE FROM agent_changes WHERE feed_id = feed AND conversation_id = OLD.id RETURNING change INTO gone;
            IF OLD.status = 'deleted' THEN
                -- GREATEST ignores NULL.
                UPDATE agent_feeds SET floor = greatest(floor, gone) WHERE id = feed;
            ELSE
                UPDATE agent_feeds SET floor = position + 1, position = position + 1 WHERE id = feed;
            END IF;
        END LOOP;
        RETURN NULL;
    END $$;
    CREATE FUNCTION agent_feed_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    BEGIN
        DELETE FROM agent_changes WHERE feed_id = OLD.id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER agent_feed_ended AFTER DELETE ON agent_feeds
        FOR EACH ROW EXECUTE FUNCTION agent_feed_end();
    CREATE CONSTRAINT TRIGGER agent_feed_inserted AFTER INSERT ON agent_conversations
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION agent_feed_change();
    CREATE CONSTRAINT TRIGGER agent_feed_updated AFTER UPDATE OF revision ON agent_conversations
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.revision <> NEW.revision)
        EXECUTE FUNCTION agent_feed_change();
    CREATE CONSTRAINT TRIGGER agent_feed_removed AFTER DELETE ON agent_conversations
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION agent_feed_removal();";

const DROP_SQLITE: &str = "
    DROP TRIGGER IF EXISTS agent_feed_inserted;
    DROP TRIGGER IF EXISTS agent_feed_updated;
    DROP TRIGGER IF EXISTS agent_feed_removed;
    DROP TABLE IF EXISTS agent_feeds;
    DROP TABLE IF EXISTS agent_changes;";

const DROP_POSTGRES: &str = "
    DROP TRIGGER IF EXISTS agent_feed_inserted ON agent_conversations;
    DROP TRIGGER IF EXISTS agent_feed_updated ON agent_conversations;
    DROP TRIGGER IF EXISTS agent_feed_removed ON agent_conversations;
    DROP FUNCTION IF EXISTS agent_feed_change();
    DROP FUNCTION IF EXISTS agent_feed_removal();
    DROP TABLE IF EXISTS agent_feeds;
    DROP FUNCTION IF EXISTS agent_feed_end();
    DROP TABLE IF EXISTS agent_changes;";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, SQLITE, POSTGRES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DROP_SQLITE, DROP_POSTGRES).await
    }
}

async fn run(manager: &SchemaManager<'_>, sqlite: &str, postgres: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let statements = match connection.get_database_backend() {
        DbBackend::Postgres => postgres,
        _ => sqlite,
    };
    connection.execute_unprepared(statements).await?;
    Ok(())
}
