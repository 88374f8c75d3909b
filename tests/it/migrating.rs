//! Several processes that migrate at once, files that a killed process left half-way, databases that are not ours: all
//! recognised before anything is written.

use futures_util::future::join_all;
use migration::{Migrator, MigratorTrait, SchemaManager};
use sea_orm::{ConnectionTrait, Database as SeaOrm};
use titlecast::db::Database;
use titlecast_testing::{Rows, Server, TestDatabase, Titlecast, eventually, postgres::Postgres};
use uuid::Uuid;

use crate::migrations::NAMES;

const SERVE: [&str; 4] = ["serve", "--migrate", "--listen", "127.0.0.1:0"];

/// A URL of a new SQLite file, in a folder of its own.
fn file() -> (std::path::PathBuf, String) {
    let folder = std::env::temp_dir().join(format!("titlecast-test-{}", Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("t.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    (path, url)
}

async fn forty_at_once(url: &str) {
    let started: Vec<_> = (0..40)
        .map(|_| {
            Titlecast::new(&["migrate", "up"])
                .env("DATABASE_URL", url)
                .start()
        })
        .collect();
    for ended in join_all(started.into_iter().map(|process| process.ended())).await {
        let list = ended.ok();
        assert_eq!(list.matches("applied ").count(), NAMES.len(), "{list}");
    }
}

async fn twelve_servers_at_once(url: &str) {
    let mut started: Vec<_> = (0..12)
        .map(|_| Titlecast::new(&SERVE).env("DATABASE_URL", url).start())
        .collect();
    for process in &mut started {
        process.url().await;
        process.terminate();
    }
    for process in started {
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn of_forty_processes_that_migrate_a_file_at_once_all_succeed() {
    let (path, url) = file();
    forty_at_once(&url).await;
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let (path, url) = file();
    twelve_servers_at_once(&url).await;
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn of_forty_processes_that_migrate_a_server_at_once_all_succeed() {
    let Some(server) = Postgres::start().await else {
        return;
    };
    forty_at_once(&server.url).await;
    server.administer("CREATE DATABASE another").await;
    let (at, _) = server.url.rsplit_once('/').unwrap();
    twelve_servers_at_once(&format!("{at}/another")).await;
}

/// What can be taken away again from what each migration made: as a process that was killed earlier left it.
const PIECES: [(usize, &[&str]); 8] = [
    (0, &["DROP TABLE agent_messages"]),
    (
        1,
        &[
            "ALTER TABLE agent_conversations DROP COLUMN revision",
            "ALTER TABLE agent_conversations DROP COLUMN title_failure",
        ],
    ),
    (2, &["DROP INDEX agent_turns_by_conversation"]),
    (3, &["DELETE FROM agent_search"]),
    (
        3,
        &[
            "DROP INDEX agent_search_by_conversation",
            "DROP TRIGGER agent_search_updated",
        ],
    ),
    (
        4,
        &[
            "DROP TABLE agent_title_calls",
            "DROP INDEX agent_conversations_leased",
            "ALTER TABLE agent_messages DROP COLUMN attachments",
        ],
    ),
    (
        5,
        &[
            "DROP INDEX agent_turns_running",
            "ALTER TABLE agent_turns DROP COLUMN stop_asked",
        ],
    ),
    (6, &["DELETE FROM agent_cursor_key"]),
];

/// A file with the first `applied` migrations and the whole of the next one, which is not recorded, but for these.
async fn half_way(applied: usize, taken_away: &[&str]) -> TestDatabase {
    let (_, url) = file();
    let database = TestDatabase::of_another(&url);
    let db = Database::connect(&url, 1).await.unwrap();
    // The rows are older than the rest of the schema.
    let first = applied.min(1) as u32;
    db.migrate_up(Some(first)).await.unwrap();
    let connection = SeaOrm::connect(&url).await.unwrap();
    if applied > 0 {
        for statement in [
            "INSERT INTO agent_conversations (id, tenant_id, user_id, topic_hint, agent_entrypoint, active_agent,
                 message_count, last_message_preview, last_message_at, created_at, updated_at)
             VALUES (x'01958c2f0a6f7c0ea1b2000000000001', 'local', 'local', 'Kyoto', 'triage', 'triage', 1, 'deer',
                 '2025-10-31T12:00:00+00:00', '2025-10-31T12:00:00+00:00', '2025-10-31T12:00:00+00:00')",
            "INSERT INTO agent_messages (id, conversation_id, position, role, content, created_at)
             VALUES (x'01958c2f0a6f7c0ea1b2000000000002', x'01958c2f0a6f7c0ea1b2000000000001', 1, 'user',
                 'Feed the deer', '2025-10-31T12:00:00+00:00')",
        ] {
            connection.execute_unprepared(statement).await.unwrap();
        }
    }
    db.migrate_up(Some(applied as u32 - first)).await.unwrap();
    db.close().await.unwrap();
    let next = &Migrator::migrations()[applied];
    next.up(&SchemaManager::new(&connection)).await.unwrap();
    for statement in taken_away {
        connection.execute_unprepared(statement).await.unwrap();
    }
    connection.close().await.unwrap();
    database
}

#[tokio::test]
async fn a_file_that_a_killed_process_left_half_way_starts_and_is_searched() {
    if TestDatabase::is_on_server() {
        return;
    }
    let whole = (0..10).map(|applied| (applied, &[][..]));
    for (applied, taken_away) in whole.chain(PIECES) {
        let database = half_way(applied, taken_away).await;
        let path = database.url.clone();
        let server = Server::on(database, &["--openai-base-url", "", "--openai-api-key", ""]).await;
        let (status, page) = server.get("/api/v1/conversations/search?q=deer").await;
        let found = page["items"].as_array().map(Vec::len);
        let expected = usize::from(applied > 0);
        assert_eq!(
            (status, found),
            (200, Some(expected)),
            "{applied} {taken_away:?}: {page}"
        );
        server.stop().await;
        let path = path
            .trim_start_matches("sqlite://")
            .trim_end_matches("?mode=rwc");
        let folder = std::path::Path::new(path).parent().unwrap();
        // SQLite may still be removing its log.
        eventually(async || std::fs::remove_dir_all(folder).ok()).await;
    }
}

/// Tables of other programs: what makes them, and a part of what is said.
const OTHERS: [(&[&str], &str); 6] = [
    (
        &["CREATE TABLE agent_conversations (id varchar(36) PRIMARY KEY, tenant_id varchar(128), user_id varchar(128),
              topic_hint varchar(256), agent_entrypoint varchar(64), active_agent varchar(64), status varchar(16),
              message_count integer, last_message_preview text, last_message_at timestamp, created_at timestamp,
              updated_at timestamp)"],
        "column id is of type",
    ),
    (&["CREATE TABLE agent_conversations (name text)"], "no column id"),
    (&["CREATE TABLE agent_messages (id text, body text)"], "agent_messages is not ours"),
    (
        &[
            "CREATE TABLE seaql_migrations (version varchar PRIMARY KEY, applied_at bigint NOT NULL)",
            "INSERT INTO seaql_migrations VALUES ('m20220101_000001_create_table', 1)",
            "CREATE TABLE cake (id integer PRIMARY KEY)",
        ],
        "m20220101_000001_create_table",
    ),
    (&["CREATE TABLE agent_turns (id integer PRIMARY KEY)"], "agent_turns"),
    (&["CREATE TABLE agent_cursor_key (id integer PRIMARY KEY, secret text)"], "agent_cursor_key"),
];

async fn schema_of(rows: &Rows) -> Vec<String> {
    let sql = match rows.0.get_database_backend() {
        sea_orm::DbBackend::Sqlite => {
            "SELECT coalesce(sql, name) AS line FROM sqlite_master ORDER BY 1"
        }
        _ => {
            "SELECT table_name || '.' || column_name AS line FROM information_schema.columns
             WHERE table_schema = 'public' ORDER BY 1"
        }
    };
    let rows = rows.all(sql, []).await;
    rows.iter()
        .map(|row| row.try_get("", "line").unwrap())
        .collect()
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    for (statements, part) in OTHERS {
        let database = TestDatabase::empty().await;
        let rows = Rows::of(&database).await;
        for statement in statements {
            rows.run(statement, []).await.unwrap();
        }
        let before = schema_of(&rows).await;
        let commands: [&[&str]; 5] = [
            &["migrate", "up"],
            &["migrate", "status"],
            &SERVE,
            &["stats"],
            &["migrate", "down"],
        ];
        for arguments in commands {
            let command = Titlecast::new(arguments).env("DATABASE_URL", &database.url);
            let ended = command.run().await;
            ended.assert_failed(&["another program", part, "docs/moving.md", "DATABASE_URL"]);
        }
        assert_eq!(schema_of(&rows).await, before);
        rows.0.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_file_of_another_program_or_format_keeps_its_bytes() {
    let (path, url) = file();
    let connection = SeaOrm::connect(&url).await.unwrap();
    connection
        .execute_unprepared("PRAGMA journal_mode = DELETE; CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url TEXT)")
        .await
        .unwrap();
    connection.close().await.unwrap();
    let places = std::fs::read(&path).unwrap();
    let table: [(Vec<u8>, &str); 5] = [
        (places, "moz_places"),
        (b"titles: 3\n".to_vec(), "not an SQLite database"),
        (b"no database ".repeat(1000), "not an SQLite database"),
        (
            (0..8192_u32).map(|i| ((i * 7919) >> 3) as u8).collect(),
            "encrypted",
        ),
        (b"SQLite format 3\0".to_vec(), "not an SQLite database"),
    ];
    for (content, part) in table {
        std::fs::write(&path, &content).unwrap();
        for arguments in [&["migrate", "up"][..], &SERVE, &["stats"]] {
            let command = Titlecast::new(arguments).env("DATABASE_URL", &url);
            let ended = command.run().await;
            ended.assert_failed(&["cannot open the database", "t.db", part]);
        }
        assert_eq!(std::fs::read(&path).unwrap(), content, "{part}");
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "{part}");
    }
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused_before_it_is_touched() {
    let Some(server) = Postgres::start().await else {
        return;
    };
    let (at, _) = server.url.rsplit_once('/').unwrap();
    for encoding in ["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP"] {
        let name = format!("in_{}", encoding.to_lowercase());
        let create = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        );
        server.administer(&create).await;
        let url = format!("{at}/{name}");
        for arguments in [&["migrate", "up"][..], &SERVE, &["stats"]] {
            let command = Titlecast::new(arguments).env("DATABASE_URL", &url);
            let ended = command.run().await;
            ended.assert_failed(&["cannot open the database", encoding, "ENCODING 'UTF8'"]);
        }
        let connection = SeaOrm::connect(&url).await.unwrap();
        assert!(schema_of(&Rows(connection)).await.is_empty());
    }
}

#[tokio::test]
async fn an_interrupt_ends_a_migration_that_waits_and_leaves_nothing() {
    let (path, url) = file();
    let holder = SeaOrm::connect(&url).await.unwrap();
    holder
        .execute_unprepared("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE")
        .await
        .unwrap();
    for signal in ["INT", "TERM"] {
        let command = Titlecast::new(&["migrate", "up"]).env("DATABASE_URL", &url);
        // So that its signals are caught: the log says that it waits for the lock.
        let mut process = command.start();
        process.line("migration waits").await;
        process.signal(signal);
        let ended = process.ended().await;
        ended.assert_failed(&["interrupted before it finished"]);
    }
    holder.execute_unprepared("ROLLBACK").await.unwrap();
    assert!(schema_of(&Rows(holder)).await.is_empty());
    let command = Titlecast::new(&["migrate", "up"]).env("DATABASE_URL", &url);
    command.run().await.ok();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
